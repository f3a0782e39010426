/*
 * Who asks. Once a request; the result is kept in its context, where the variables find it too.
 *
 *   Authorization: Bearer … → verified-token cache → else signature and claims → revocation list, on every request
 */
#include "edge/ngx_http_cart_module.h"

ngx_http_cart_ctx_t *ngx_http_cart_ctx(ngx_http_request_t *r) {
    ngx_http_cart_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_cart_module);
    if (ctx != NULL) return ctx;
    ngx_http_cart_main_conf_t *conf = ngx_http_get_module_main_conf(r, ngx_http_cart_module);
    if (conf->worker == NULL) return NULL;
    ctx = ngx_pcalloc(r->pool, sizeof(*ctx));
    if (ctx == NULL) return NULL;
    ctx->request = r;
    ctx->worker = conf->worker;
    ngx_http_set_ctx(r, ctx, ngx_http_cart_module);
    return ctx;
}

/* "Bearer" 1*SP token (RFC 6750, 2.1). */
static ngx_int_t bearer(ngx_http_request_t *r, ngx_str_t *token) {
    if (r->headers_in.authorization == NULL) return NGX_DECLINED;
    ngx_str_t value = r->headers_in.authorization->value;
    if (value.len < 7 || ngx_strncasecmp(value.data, (u_char *)(uintptr_t) "Bearer ", 7) != 0) return NGX_DECLINED;
    token->data = value.data + 7;
    token->len = value.len - 7;
    while (token->len > 0 && token->data[0] == ' ') token->data++, token->len--;
    while (token->len > 0 && token->data[token->len - 1] == ' ') token->len--;
    return NGX_OK;
}

static ngx_uint_t verify(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const ngx_str_t *token) {
    ngx_http_cart_worker_t *worker = ctx->worker;
    uint64_t now = (uint64_t)ngx_time();
    edge_token_hash_t hash;
    if (token->len > EDGE_TOKEN_BYTES_MAX) return 0;
    edge_tokens_hash((const char *)token->data, token->len, &hash);
    if (edge_tokens_find(worker->tokens, &hash, worker->keys, now, &ctx->claims)) return 1;
    edge_token_rules_t rules = {(const char *)worker->conf->issuer.data, (const char *)worker->conf->audience.data};
    uint32_t key = 0;
    edge_token_result_t result =
        edge_token_verify((const char *)token->data, token->len, worker->keys, &rules, now, &ctx->claims, &key);
    if (result == EDGE_TOKEN_KEY) {
        /* A key that was published a moment ago: look once more. */
        ngx_http_cart_look_at_keys(worker);
        result =
            edge_token_verify((const char *)token->data, token->len, worker->keys, &rules, now, &ctx->claims, &key);
    }
    if (result != EDGE_TOKEN_OK) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0, "cart: token refused: %s", edge_token_text(result));
        return 0;
    }
    edge_tokens_add(worker->tokens, &hash, key, &ctx->claims, now);
    return 1;
}

void ngx_http_cart_authenticate(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx) {
    ngx_str_t token;
    if (ctx->token != NGX_HTTP_CART_TOKEN_NEW) return;
    if (bearer(r, &token) != NGX_OK) {
        ctx->token = NGX_HTTP_CART_TOKEN_MISSING;
        return;
    }
    if (!verify(r, ctx, &token)) {
        ctx->token = NGX_HTTP_CART_TOKEN_BAD;
        return;
    }
    switch (
        edge_revoked_ask(&ctx->worker->conf->revoked, &ctx->claims.session, &ctx->claims.user, ctx->claims.issued_s)) {
    case EDGE_REVOKED_NO:
        ctx->token = NGX_HTTP_CART_TOKEN_OK;
        break;
    case EDGE_REVOKED_YES:
        ctx->token = NGX_HTTP_CART_TOKEN_BAD;
        break;
    default:
        ctx->token = NGX_HTTP_CART_TOKEN_NOT_READY;
        break;
    }
}
