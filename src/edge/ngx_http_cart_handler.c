/*
 * The cart's routes, and reads.
 *
 * A hot read is: token (cached), revocation list, seat, books, bytes out. It takes one lock (the seat's shard), writes
 * no log and allocates from the request's pool only.
 */
#include "edge/ngx_http_cart_module.h"

/* The rows of edge_routes, in nginx's bits. */
static const ngx_uint_t methods[EDGE_ROUTES] = {
    [EDGE_ROUTE_CART] = NGX_HTTP_GET | NGX_HTTP_HEAD | NGX_HTTP_PATCH | NGX_HTTP_DELETE | NGX_HTTP_OPTIONS,
    [EDGE_ROUTE_LINES] = NGX_HTTP_POST | NGX_HTTP_OPTIONS,
    [EDGE_ROUTE_LINE] = NGX_HTTP_PUT | NGX_HTTP_DELETE | NGX_HTTP_OPTIONS,
};

/* What follows the location's prefix. NGX_DECLINED: there is no such place. */
static ngx_int_t find_route(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx) {
    static const char lines[] = "/lines";
    ngx_http_core_loc_conf_t *core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    size_t prefix = core->name.len; /* "/api/v1/cart", also where the location says "/api/v1/cart/" */
    if (prefix > 0 && core->name.data[prefix - 1] == '/') prefix--;
    if (r->uri.len < prefix) return NGX_DECLINED;
    const u_char *rest = r->uri.data + prefix;
    size_t length = r->uri.len - prefix;
    if (length == 0) {
        ctx->route = EDGE_ROUTE_CART;
        return NGX_OK;
    }
    if (length < sizeof(lines) - 1 || ngx_memcmp(rest, lines, sizeof(lines) - 1) != 0) return NGX_DECLINED;
    rest += sizeof(lines) - 1;
    length -= sizeof(lines) - 1;
    if (length == 0) {
        ctx->route = EDGE_ROUTE_LINES;
        return NGX_OK;
    }
    if (rest[0] != '/' || !edge_path_book((const char *)rest + 1, length - 1, &ctx->book)) return NGX_DECLINED;
    ctx->route = EDGE_ROUTE_LINE;
    return NGX_OK;
}

static ngx_uint_t is_header(const ngx_table_elt_t *header, const char *lowcase, size_t length) {
    return header->key.len == length && ngx_memcmp(header->lowcase_key, lowcase, length) == 0;
}

/* The headers that nginx does not index for us. False: Idempotency-Key twice. */
static bool find_headers(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const ngx_array_t *origins) {
    ngx_list_part_t *part = &r->headers_in.headers.part;
    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (is_header(&headers[i], "idempotency-key", sizeof("idempotency-key") - 1)) {
                if (ctx->idempotency_key.data != NULL) return false;
                ctx->idempotency_key = headers[i].value;
            } else if (origins != NULL && is_header(&headers[i], "origin", sizeof("origin") - 1)) {
                const ngx_str_t *allowed = origins->elts;
                for (ngx_uint_t k = 0; k < origins->nelts; k++) {
                    if (allowed[k].len == headers[i].value.len &&
                        ngx_memcmp(allowed[k].data, headers[i].value.data, allowed[k].len) == 0) {
                        ctx->origin = headers[i].value;
                    }
                }
            }
        }
    }
    return true;
}

static ngx_uint_t has_body(const ngx_http_request_t *r) {
    if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) return 1;
#if (NGX_HTTP_V2)
    if (r->stream != NULL && r->headers_in.content_length_n < 0 && !r->stream->in_closed) return 1;
#endif
    return 0;
}

ngx_http_cart_list_t ngx_http_cart_list(const ngx_http_cart_worker_t *worker) {
    uint64_t books_ms = 0;
    uint64_t revocations_ms = 0;
    cart_zone_feeds_at(&worker->conf->cart_zone, &books_ms, &revocations_ms);
    if (revocations_ms == 0) return NGX_HTTP_CART_LIST_NONE;
    return ngx_current_msec - revocations_ms > worker->conf->stale_max ? NGX_HTTP_CART_LIST_STALE
                                                                       : NGX_HTTP_CART_LIST_GOOD;
}

static void read_body_handler(ngx_http_request_t *r) {
    ngx_http_cart_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_cart_module);
    ngx_int_t result = ngx_http_cart_read(r, ctx);
    if (result != NGX_DONE) ngx_http_finalize_request(r, result);
}

ngx_int_t ngx_http_cart_read(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx) {
    ngx_http_cart_worker_t *worker = ctx->worker;
    cart_seat_info_t info;
    switch (ngx_http_cart_list(worker)) {
    case NGX_HTTP_CART_LIST_GOOD:
        break;
    case NGX_HTTP_CART_LIST_NONE:
        return ngx_http_cart_park_early(ctx);
    default:
        return ngx_http_cart_problem(r, EDGE_PROBLEM_CART_UNAVAILABLE,
                                     "Whether the session has ended is not known now.");
    }
    cart_seat_found_t found =
        cart_zone_read(&worker->conf->cart_zone, &ctx->claims.user, ngx_current_msec, true, &worker->image, &info);
    ctx->shown_heat = 1;
    if (found == CART_SEAT_HIT) {
        ctx->heat = NGX_HTTP_CART_HOT;
        ctx->shown = info.shown;
        ctx->was_shown = info.shown != 0;
        ctx->term = info.term;
        ctx->term_known = 1;
        ngx_http_cart_count(&worker->counters->reads_hot, 1);
        ngx_int_t result = ngx_http_cart_send(r, ctx, &worker->image, info.generation);
        return result == NGX_BUSY ? ngx_http_cart_park_books(ctx, &worker->image) : result;
    }
    ngx_uint_t seat =
        found != CART_SEAT_NONE || cart_zone_note(&worker->conf->cart_zone, &ctx->claims.user, ngx_current_msec);
    ctx->heat = seat ? NGX_HTTP_CART_NOTED : NGX_HTTP_CART_COLD;
    ngx_http_cart_count(seat ? &worker->counters->reads_noted : &worker->counters->reads_cold, 1);
    return ngx_http_cart_park_fetch(ctx, seat);
}

/* Reads go straight on; a request that brings a body has it read first. */
static ngx_int_t begin_read(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx) {
    if (has_body(r)) {
        ngx_int_t result = ngx_http_read_client_request_body(r, read_body_handler);
        return result >= NGX_HTTP_SPECIAL_RESPONSE ? result : NGX_DONE;
    }
    ngx_int_t result = ngx_http_cart_read(r, ctx);
    if (result == NGX_DONE) r->main->count++; /* parked: its end is ours */
    return result;
}

/* application/json, with no charset or utf-8. */
static ngx_uint_t is_json(const ngx_http_request_t *r) {
    static const char type[] = "application/json";
    if (r->headers_in.content_type == NULL) return 0;
    const u_char *at = r->headers_in.content_type->value.data;
    const u_char *end = at + r->headers_in.content_type->value.len;
    size_t length = sizeof(type) - 1;
    if ((size_t)(end - at) < length || ngx_strncasecmp((u_char *)(uintptr_t)at, (u_char *)(uintptr_t)type, length) != 0)
        return 0;
    at += length;
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    if (at == end) return 1;
    if (*at++ != ';') return 0;
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    static const char *const charsets[] = {"charset=utf-8", "charset=\"utf-8\""};
    for (unsigned i = 0; i < 2; i++) {
        if ((size_t)(end - at) == strlen(charsets[i]) &&
            ngx_strncasecmp((u_char *)(uintptr_t)at, (u_char *)(uintptr_t)charsets[i], strlen(charsets[i])) == 0) {
            return 1;
        }
    }
    return 0;
}

static ngx_int_t begin_change(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx) {
    ctx->is_change = 1;
    ngx_http_cart_count(&ctx->worker->counters->changes, 1);
    if (ctx->idempotency_key.data != NULL &&
        !edge_key_check((const char *)ctx->idempotency_key.data, ctx->idempotency_key.len)) {
        return ngx_http_cart_problem_field(r, EDGE_PROBLEM_MALFORMED, NULL, "Idempotency-Key", "format",
                                           "A key has 1 to 64 visible ASCII characters.", -1);
    }
    if (r->headers_in.content_length_n > EDGE_BODY_BYTES_MAX) {
        return ngx_http_cart_problem(r, EDGE_PROBLEM_TOO_LARGE, "A cart's body has at most 16384 bytes.");
    }
    if ((r->method & NGX_HTTP_DELETE) == 0 && !is_json(r)) {
        return ngx_http_cart_problem(r, EDGE_PROBLEM_MEDIA_TYPE, "Send application/json.");
    }
    ngx_http_cart_set_state(ctx, NGX_HTTP_CART_BODY);
    r->request_body_in_single_buf = 1;
    ngx_int_t result = ngx_http_read_client_request_body(r, ngx_http_cart_body_handler);
    return result >= NGX_HTTP_SPECIAL_RESPONSE ? result : NGX_DONE;
}

static ngx_int_t handle(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx) {
    ngx_http_cart_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_cart_module);
    if (find_route(r, ctx) != NGX_OK) return ngx_http_cart_problem(r, EDGE_PROBLEM_NOT_FOUND, NULL);
    const char *allow = edge_routes[ctx->route].allow;
    ngx_uint_t is_read = (r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD)) != 0;
    if ((!is_read || conf->origins != NULL) && !find_headers(r, ctx, conf->origins)) {
        return ngx_http_cart_problem_field(r, EDGE_PROBLEM_MALFORMED, NULL, "Idempotency-Key", "duplicate-field",
                                           "The header is there twice.", -1);
    }
    if ((r->method & methods[ctx->route]) == 0) return ngx_http_cart_method_not_allowed(r, allow);
    if (r->method == NGX_HTTP_OPTIONS) return ngx_http_cart_options(r, ctx, allow);

    ngx_http_cart_authenticate(r, ctx);
    switch (ctx->token) {
    case NGX_HTTP_CART_TOKEN_OK:
        break;
    case NGX_HTTP_CART_TOKEN_NOT_READY: {
        ngx_int_t result = ngx_http_cart_park_early(ctx);
        if (result == NGX_DONE) r->main->count++; /* its end is ours */
        return result;
    }
    default:
        return ngx_http_cart_problem(r, EDGE_PROBLEM_UNAUTHORIZED, NULL);
    }
    if (r->args.len > 0) {
        return ngx_http_cart_problem_field(r, EDGE_PROBLEM_MALFORMED, NULL, "query", "unknown-field",
                                           "There are no parameters here.", -1);
    }
    return is_read ? begin_read(r, ctx) : begin_change(r, ctx);
}

ngx_int_t ngx_http_cart_handler(ngx_http_request_t *r) {
    if (r != r->main) return NGX_HTTP_FORBIDDEN; /* a cart is nobody's include */
    ngx_http_cart_ctx_t *ctx = ngx_http_cart_ctx(r);
    if (ctx == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return handle(r, ctx);
}

ngx_int_t ngx_http_cart_resume(ngx_http_cart_ctx_t *ctx) {
    ctx->token = NGX_HTTP_CART_TOKEN_NEW;
    ngx_str_null(&ctx->idempotency_key);
    return handle(ctx->request, ctx);
}

/* error_page leads here: whatever nginx itself decided, as a problem. */
ngx_int_t ngx_http_cart_problem_handler(ngx_http_request_t *r) {
    ngx_uint_t status = r->err_status != 0 ? r->err_status : r->headers_out.status;
    if (status < 400) status = NGX_HTTP_NOT_FOUND;
    r->err_status = 0;
    /* nginx refuses TRACE before it looks at the path: a 405 needs an Allow all the same (RFC 9110, 15.5.6). */
    if (status == NGX_HTTP_NOT_ALLOWED)
        return ngx_http_cart_method_not_allowed(r, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    return ngx_http_cart_problem(r, edge_problem_for_status((unsigned)status), NULL);
}
