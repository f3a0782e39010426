/*
 * $cart_user, $cart_role, $cart_status, $cart_term: made when they are asked for. The first two verify the token, in any
 * location of the http block, so that limit_req and logs may use them; the others are known once a cart was answered.
 */
#include "edge/ngx_http_cart_module.h"

static ngx_int_t not_found(ngx_http_variable_value_t *value) {
    value->not_found = 1;
    value->valid = 0;
    return NGX_OK;
}

static ngx_int_t set_text(ngx_http_variable_value_t *value, const char *text, size_t length) {
    value->data = (u_char *)(uintptr_t)text;
    value->len = (unsigned)length & 0x0FFFFFFF;
    value->valid = 1;
    value->no_cacheable = 0;
    value->not_found = 0;
    return NGX_OK;
}

static ngx_http_cart_ctx_t *known_caller(ngx_http_request_t *r) {
    ngx_http_cart_ctx_t *ctx = ngx_http_cart_ctx(r);
    if (ctx == NULL) return NULL;
    ngx_http_cart_authenticate(r, ctx);
    return ctx->token == NGX_HTTP_CART_TOKEN_OK ? ctx : NULL;
}

static ngx_int_t user(ngx_http_request_t *r, ngx_http_variable_value_t *value, uintptr_t data) {
    (void)data;
    ngx_http_cart_ctx_t *ctx = known_caller(r);
    if (ctx == NULL) return not_found(value);
    char *text = ngx_pnalloc(r->pool, CART_ID_CHARS + 1);
    if (text == NULL) return NGX_ERROR;
    cart_id_format("usr_", &ctx->claims.user, text);
    return set_text(value, text, CART_ID_CHARS);
}

static ngx_int_t role(ngx_http_request_t *r, ngx_http_variable_value_t *value, uintptr_t data) {
    static const char *const names[] = {"guest", "customer", "admin"};
    (void)data;
    ngx_http_cart_ctx_t *ctx = known_caller(r);
    if (ctx == NULL) return not_found(value);
    return set_text(value, names[ctx->claims.role], strlen(names[ctx->claims.role]));
}

static ngx_int_t status(ngx_http_request_t *r, ngx_http_variable_value_t *value, uintptr_t data) {
    static const char *const names[] = {"cold", "noted", "hot"};
    (void)data;
    ngx_http_cart_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_cart_module);
    if (ctx == NULL || !ctx->shown_heat) return not_found(value);
    return set_text(value, names[ctx->heat], strlen(names[ctx->heat]));
}

static ngx_int_t term(ngx_http_request_t *r, ngx_http_variable_value_t *value, uintptr_t data) {
    (void)data;
    ngx_http_cart_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_cart_module);
    if (ctx == NULL || !ctx->term_known) return not_found(value);
    char *text = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (text == NULL) return NGX_ERROR;
    u_char *end = ngx_sprintf((u_char *)text, "%uL", ctx->term);
    return set_text(value, text, (size_t)(end - (u_char *)text));
}

static const struct {
    const char *name;
    ngx_http_get_variable_pt get;
} variables[] = {{"cart_user", user}, {"cart_role", role}, {"cart_status", status}, {"cart_term", term}};

ngx_int_t ngx_http_cart_add_variables(ngx_conf_t *cf) {
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        ngx_str_t name = {strlen(variables[i].name), (u_char *)(uintptr_t)variables[i].name};
        ngx_http_variable_t *variable = ngx_http_add_variable(cf, &name, NGX_HTTP_VAR_NOCACHEABLE);
        if (variable == NULL) return NGX_ERROR;
        variable->get_handler = variables[i].get;
    }
    return NGX_OK;
}
