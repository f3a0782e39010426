/*
 * Answers: the cart (the only success), problems, preflights. Everything is one buffer with a known length; nginx's
 * not-modified filter and gzip are kept away from it: conditions are decided here, and a compressed body would weaken a
 * strong tag.
 */
#include "edge/ngx_http_cart_module.h"

#define RENDER_BYTES_MAX ((size_t)1 << 20)

ngx_table_elt_t *ngx_http_cart_header(ngx_http_request_t *r, const char *name, size_t name_length, const char *lowcase,
                                      const void *value, size_t length) {
    ngx_table_elt_t *header = ngx_list_push(&r->headers_out.headers);
    if (header == NULL) return NULL;
    /* nginx's strings take no const; header filters only read them. */
    header->hash = 1;
    header->key.data = (u_char *)(uintptr_t)name;
    header->key.len = name_length;
    header->lowcase_key = (u_char *)(uintptr_t)lowcase;
    header->value.data = (u_char *)(uintptr_t)value;
    header->value.len = length;
    return header;
}

/* $request_id: one random number a request, made from our buffer unless something else asked for it first. */
ngx_str_t ngx_http_cart_request_id(ngx_http_request_t *r) {
    static const char hex[] = "0123456789abcdef";
    ngx_http_cart_main_conf_t *conf = ngx_http_get_module_main_conf(r, ngx_http_cart_module);
    ngx_http_variable_value_t *value = &r->variables[conf->request_id_index];
    ngx_str_t text = {0, NULL};
    if (!value->valid && !value->not_found && conf->worker != NULL) {
        uint8_t bytes[16];
        u_char *at = ngx_pnalloc(r->pool, 32);
        if (at != NULL) {
            ngx_http_cart_random(conf->worker, bytes, sizeof(bytes));
            for (unsigned i = 0; i < 16; i++) {
                at[2 * i] = (u_char)hex[bytes[i] >> 4];
                at[2 * i + 1] = (u_char)hex[bytes[i] & 15];
            }
            value->data = at;
            value->len = 32;
            value->valid = 1;
            value->no_cacheable = 0;
            value->not_found = 0;
        }
    } else {
        value = ngx_http_get_indexed_variable(r, (ngx_uint_t)conf->request_id_index);
    }
    if (value != NULL && value->valid) {
        text.data = value->data;
        text.len = value->len;
    }
    return text;
}

/* Headers of every answer. NULL context: a place without carts. */
static ngx_int_t common_headers(ngx_http_request_t *r, const ngx_http_cart_ctx_t *ctx, ngx_uint_t is_problem) {
    ngx_http_cart_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_cart_module);
    ngx_str_t id = ngx_http_cart_request_id(r);
    ngx_table_elt_t *vary;
    r->disable_not_modified = 1;
#if (NGX_HTTP_GZIP)
    r->gzip_tested = 1;
    r->gzip_ok = 0;
#endif
    if (ngx_http_cart_header_literal(r, "Cache-Control", "cache-control", "private, no-cache") == NULL ||
        ngx_http_cart_header(r, "Request-Id", 10, "request-id", id.data, id.len) == NULL) {
        return NGX_ERROR;
    }
    if (conf->origins != NULL) {
        vary = is_problem ? ngx_http_cart_header_literal(r, "Vary", "vary", "Authorization, Accept-Language, Origin")
                          : ngx_http_cart_header_literal(r, "Vary", "vary", "Authorization, Origin");
    } else {
        vary = is_problem ? ngx_http_cart_header_literal(r, "Vary", "vary", "Authorization, Accept-Language")
                          : ngx_http_cart_header_literal(r, "Vary", "vary", "Authorization");
    }
    if (vary == NULL) return NGX_ERROR;
    if (ctx == NULL || ctx->origin.len == 0) return NGX_OK;
    if (ngx_http_cart_header(r, "Access-Control-Allow-Origin", sizeof("Access-Control-Allow-Origin") - 1,
                             "access-control-allow-origin", ctx->origin.data, ctx->origin.len) == NULL ||
        ngx_http_cart_header_literal(r, "Access-Control-Expose-Headers", "access-control-expose-headers",
                                     "ETag, Location, Request-Id, Retry-After, Cart-Status, Cart-Durability, "
                                     "Idempotent-Replayed") == NULL) {
        return NGX_ERROR;
    }
    return NGX_OK;
}

/* The words for statuses that nginx 1.22 has none for. */
static void set_status(ngx_http_request_t *r, ngx_uint_t status) {
    static u_char unprocessable[] = "422 Unprocessable Content";
    static u_char too_large[] = "431 Request Header Fields Too Large";
    r->headers_out.status = status;
    if (status == 422) r->headers_out.status_line = (ngx_str_t){sizeof(unprocessable) - 1, unprocessable};
    if (status == 431) r->headers_out.status_line = (ngx_str_t){sizeof(too_large) - 1, too_large};
}

static ngx_int_t send_buffer(ngx_http_request_t *r, u_char *text, size_t length) {
    r->headers_out.content_length_n = (off_t)length;
    ngx_int_t result = ngx_http_send_header(r);
    if (result == NGX_ERROR || result > NGX_OK || r->header_only) return result;
    ngx_buf_t *buf = ngx_calloc_buf(r->pool);
    if (buf == NULL) return NGX_ERROR;
    buf->pos = buf->start = text;
    buf->last = buf->end = text + length;
    buf->memory = 1;
    buf->last_buf = 1;
    buf->last_in_chain = 1;
    ngx_chain_t chain = {buf, NULL};
    return ngx_http_output_filter(r, &chain);
}

static void set_type(ngx_http_request_t *r, const char *type) {
    r->headers_out.content_type.data = (u_char *)(uintptr_t)type;
    r->headers_out.content_type.len = strlen(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
}

/* A text that the caller made in memory that lives as long as the request. */
ngx_int_t ngx_http_cart_send_text(ngx_http_request_t *r, ngx_uint_t status, const char *type, const u_char *text,
                                  size_t length) {
    r->headers_out.status = status;
    set_type(r, type);
    if (common_headers(r, NULL, 0) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return send_buffer(r, (u_char *)(uintptr_t)text, length);
}

/* ---- the cart -------------------------------------------------------------------------------------------------------- */

/* Into the worker's scratch, copied out to size; a huge cart straight into the pool. */
static ngx_int_t render(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const cart_image_t *image, ngx_str_t *body) {
    ngx_http_cart_worker_t *worker = ctx->worker;
    edge_render_options_t options = {
        .currency = (const char *)worker->conf->currency.data, .was_shown = ctx->was_shown, .shown = ctx->shown};
    edge_out_t out = {(char *)worker->scratch, (char *)worker->scratch + NGX_HTTP_CART_SCRATCH, false};
    edge_render_result_t result = edge_render_cart(&out, image, &worker->conf->books, &options, &worker->rendered);
    if (result == EDGE_RENDER_OK) {
        body->len = (size_t)(out.at - (char *)worker->scratch);
        body->data = ngx_pnalloc(r->pool, body->len);
        if (body->data == NULL) return NGX_ERROR;
        ngx_memcpy(body->data, worker->scratch, body->len);
        return NGX_OK;
    }
    for (size_t size = 4 * NGX_HTTP_CART_SCRATCH; result == EDGE_RENDER_NO_ROOM && size <= RENDER_BYTES_MAX;
         size *= 4) {
        body->data = ngx_pnalloc(r->pool, size);
        if (body->data == NULL) return NGX_ERROR;
        out = (edge_out_t){(char *)body->data, (char *)body->data + size, false};
        result = edge_render_cart(&out, image, &worker->conf->books, &options, &worker->rendered);
        body->len = (size_t)(out.at - (char *)body->data);
    }
    if (result == EDGE_RENDER_MISSING) return NGX_BUSY;
    return result == EDGE_RENDER_OK ? NGX_OK : NGX_ERROR;
}

static ngx_int_t cart_headers(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const edge_etag_t *tag) {
    static const struct {
        const char *text;
        size_t length;
    } heats[] = {{"cold", 4}, {"noted", 5}, {"hot", 3}};
    char *text = ngx_pnalloc(r->pool, EDGE_ETAG_BYTES_MAX);
    if (text == NULL || common_headers(r, ctx, 0) != NGX_OK) return NGX_ERROR;
    size_t length = edge_etag_format(tag, text);
    r->headers_out.etag = ngx_http_cart_header(r, "ETag", 4, "etag", text, length);
    if (r->headers_out.etag == NULL) return NGX_ERROR;
    if (ngx_http_cart_header(r, "Cart-Status", 11, "cart-status", heats[ctx->heat].text, heats[ctx->heat].length) ==
        NULL) {
        return NGX_ERROR;
    }
    if (!ctx->is_change) return NGX_OK;
    if (ngx_http_cart_header_literal(r, "Cart-Durability", "cart-durability", "committed") == NULL) return NGX_ERROR;
    if (ctx->verdict.outcome == CART_REPEATED && ctx->change->keyed &&
        ngx_http_cart_header_literal(r, "Idempotent-Replayed", "idempotent-replayed", "true") == NULL) {
        return NGX_ERROR;
    }
    return NGX_OK;
}

/* The conditions of a read (RFC 9110, 13.2.2). NGX_OK: show it; NGX_HTTP_NOT_MODIFIED, NGX_HTTP_PRECONDITION_FAILED,
 * NGX_HTTP_BAD_REQUEST. */
/* With NGX_HTTP_BAD_REQUEST *field is the header at fault. */
static ngx_int_t judge_read(ngx_http_request_t *r, const edge_etag_t *tag, const char **field) {
    const ngx_table_elt_t *if_match = r->headers_in.if_match;
    const ngx_table_elt_t *if_none_match = r->headers_in.if_none_match;
    if (if_match != NULL) {
        edge_match_t match = edge_etag_match((const char *)if_match->value.data, if_match->value.len, tag, false);
        *field = "If-Match";
        if (match == EDGE_MATCH_BAD) return NGX_HTTP_BAD_REQUEST;
        if (match != EDGE_MATCH_YES && match != EDGE_MATCH_ANY) return NGX_HTTP_PRECONDITION_FAILED;
    }
    if (if_none_match != NULL) {
        edge_match_t match =
            edge_etag_match((const char *)if_none_match->value.data, if_none_match->value.len, tag, true);
        *field = "If-None-Match";
        if (match == EDGE_MATCH_BAD) return NGX_HTTP_BAD_REQUEST;
        if (match == EDGE_MATCH_YES || match == EDGE_MATCH_ANY) return NGX_HTTP_NOT_MODIFIED;
    }
    return NGX_OK;
}

static ngx_int_t send_not_modified(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx) {
    ngx_http_cart_count(&ctx->worker->counters->not_modified, 1);
    if (cart_headers(r, ctx, &ctx->worker->rendered.tag) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    r->headers_out.status = NGX_HTTP_NOT_MODIFIED;
    r->headers_out.content_length_n = -1;
    r->header_only = 1;
    return ngx_http_send_header(r);
}

ngx_int_t ngx_http_cart_send(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const cart_image_t *image,
                             uint64_t generation) {
    ngx_http_cart_worker_t *worker = ctx->worker;
    ngx_str_t body = {0, NULL};
    ngx_int_t result = render(r, ctx, image, &body);
    if (result == NGX_BUSY) return NGX_BUSY;
    if (result != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->term = cart_term(image);
    ctx->term_known = 1;
    if (!ctx->is_change && (r->headers_in.if_match != NULL || r->headers_in.if_none_match != NULL)) {
        const char *field = "";
        result = judge_read(r, &worker->rendered.tag, &field);
        if (result == NGX_HTTP_NOT_MODIFIED) return send_not_modified(r, ctx);
        if (result == NGX_HTTP_PRECONDITION_FAILED) return ngx_http_cart_problem(r, EDGE_PROBLEM_PRECONDITION, NULL);
        if (result == NGX_HTTP_BAD_REQUEST) {
            return ngx_http_cart_problem_field(r, EDGE_PROBLEM_MALFORMED, NULL, field, "format",
                                               "A list of entity tags, or *, is expected.", -1);
        }
    }
    /* Shown now: later price changes are told once from here on. A seat that was never shown, or whose warning is in
     * this answer, or a change (its new lines were put in at today's prices). */
    uint32_t position = (uint32_t)worker->rendered.position;
    if (generation != 0 && position != ctx->shown &&
        (!ctx->was_shown || worker->rendered.once != 0 || ctx->is_change)) {
        cart_zone_mark_shown(&worker->conf->cart_zone, &ctx->claims.user, generation, position);
    }
    if (cart_headers(r, ctx, &worker->rendered.tag) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    r->headers_out.status = NGX_HTTP_OK;
    set_type(r, "application/json");
    return send_buffer(r, body.data, body.len);
}

/* ---- problems -------------------------------------------------------------------------------------------------------- */

/* q-values are looked at in every Accept-Language line. */
static edge_language_t language_of(ngx_http_request_t *r) {
    ngx_list_part_t *part = &r->headers_in.headers.part;
    static const char name[] = "accept-language";
    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (headers[i].key.len == sizeof(name) - 1 && headers[i].lowcase_key != NULL &&
                ngx_memcmp(headers[i].lowcase_key, name, sizeof(name) - 1) == 0) {
                return edge_language_choose((const char *)headers[i].value.data, headers[i].value.len);
            }
        }
    }
    return EDGE_EN;
}

static ngx_int_t problem_headers(ngx_http_request_t *r, edge_problem_t problem, edge_language_t language) {
    unsigned status = edge_problem_status(problem);
    const char *tag = edge_language_tag(language);
    ngx_http_cart_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_cart_module);
    if (common_headers(r, ctx, 1) != NGX_OK) return NGX_ERROR;
    if (ngx_http_cart_header(r, "Content-Language", 16, "content-language", tag, 2) == NULL) return NGX_ERROR;
    if (status == 401) {
        /* RFC 6750, 3: without a token no error is named. */
        ngx_uint_t bad =
            ctx != NULL && ctx->token != NGX_HTTP_CART_TOKEN_MISSING && ctx->token != NGX_HTTP_CART_TOKEN_NEW;
        r->headers_out.www_authenticate =
            bad ? ngx_http_cart_header_literal(r, "WWW-Authenticate", "www-authenticate",
                                               "Bearer error=\"invalid_token\"")
                : ngx_http_cart_header_literal(r, "WWW-Authenticate", "www-authenticate", "Bearer");
        if (r->headers_out.www_authenticate == NULL) return NGX_ERROR;
    }
    if ((status == 503 || status == 429) &&
        ngx_http_cart_header_literal(r, "Retry-After", "retry-after", "1") == NULL) {
        return NGX_ERROR;
    }
    return NGX_OK;
}

ngx_int_t ngx_http_cart_problem_field(ngx_http_request_t *r, edge_problem_t problem, const char *detail,
                                      const char *field, const char *code, const char *field_detail, ngx_int_t offset) {
    ngx_http_cart_main_conf_t *main_conf = ngx_http_get_module_main_conf(r, ngx_http_cart_module);
    ngx_http_cart_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_cart_module);
    ngx_str_t id = ngx_http_cart_request_id(r);
    edge_problem_text_t text = {.problem = problem,
                                .language = language_of(r),
                                .base = (const char *)conf->problem_base.data,
                                .request_id = (const char *)id.data,
                                .request_id_length = id.len,
                                .detail = detail,
                                .field = field,
                                .code = code,
                                .field_detail = field_detail,
                                .offset = offset < 0 ? 0 : (size_t)offset,
                                .has_offset = offset >= 0};
    char *body = ngx_pnalloc(r->pool, EDGE_PROBLEM_BYTES_MAX);
    if (body == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    edge_out_t out = {body, body + EDGE_PROBLEM_BYTES_MAX, false};
    edge_problem_render(&out, &text);
    if (out.full || problem_headers(r, problem, text.language) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (main_conf->worker != NULL) {
        ngx_http_cart_count(&main_conf->worker->counters->problems, 1);
        if (problem == EDGE_PROBLEM_UNAUTHORIZED) ngx_http_cart_count(&main_conf->worker->counters->unauthorized, 1);
    }
    /* What the client still sends is read and thrown away, so that the connection can go on. */
    ngx_int_t result = ngx_http_discard_request_body(r);
    if (result != NGX_OK) return result;
    set_status(r, edge_problem_status(problem));
    set_type(r, "application/problem+json");
    return send_buffer(r, (u_char *)body, (size_t)(out.at - body));
}

ngx_int_t ngx_http_cart_problem(ngx_http_request_t *r, edge_problem_t problem, const char *detail) {
    return ngx_http_cart_problem_field(r, problem, detail, NULL, NULL, NULL, -1);
}

ngx_int_t ngx_http_cart_method_not_allowed(ngx_http_request_t *r, const char *allow) {
    if (ngx_http_cart_header(r, "Allow", 5, "allow", allow, strlen(allow)) == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return ngx_http_cart_problem(r, EDGE_PROBLEM_METHOD, NULL);
}

/* A preflight of a listed origin gets its answer; everyone else learns the methods. */
ngx_int_t ngx_http_cart_options(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const char *allow) {
    ngx_int_t result = ngx_http_discard_request_body(r);
    if (result != NGX_OK) return result;
    if (common_headers(r, ctx, 0) != NGX_OK ||
        ngx_http_cart_header(r, "Allow", 5, "allow", allow, strlen(allow)) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (ctx->origin.len > 0 &&
        (ngx_http_cart_header(r, "Access-Control-Allow-Methods", sizeof("Access-Control-Allow-Methods") - 1,
                              "access-control-allow-methods", allow, strlen(allow)) == NULL ||
         ngx_http_cart_header_literal(r, "Access-Control-Allow-Headers", "access-control-allow-headers",
                                      "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, "
                                      "Accept-Language") == NULL ||
         ngx_http_cart_header_literal(r, "Access-Control-Max-Age", "access-control-max-age", "600") == NULL)) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;
    return ngx_http_send_header(r);
}
