/*
 * Changes: the body, the request id, the conditions.
 *
 * A condition is about what is shown (lines and prices), which only the edge knows; the order of changes only the engine
 * knows. So the edge finds out whether a tag of the caller names what is shown now, and sends the place it names along
 * (CART_IF_PLACE); the engine applies the change only if that place is still the newest. When no tag fits, the change is
 * sent all the same, as CART_IF_FAILED: a key that is known is answered before any condition.
 */
#include "edge/ngx_http_cart_module.h"

/* The whole body in one piece. NGX_DECLINED: more than EDGE_BODY_BYTES_MAX. */
static ngx_int_t gather(ngx_http_request_t *r, ngx_str_t *body) {
    body->data = (u_char *)(uintptr_t) "";
    body->len = 0;
    if (r->request_body == NULL || r->request_body->bufs == NULL) return NGX_OK;
    off_t length = 0;
    for (ngx_chain_t *chain = r->request_body->bufs; chain != NULL; chain = chain->next)
        length += ngx_buf_size(chain->buf);
    if (length > EDGE_BODY_BYTES_MAX) return NGX_DECLINED;
    if (length == 0) return NGX_OK;
    ngx_buf_t *only = r->request_body->bufs->buf;
    if (r->request_body->bufs->next == NULL && ngx_buf_in_memory(only)) {
        body->data = only->pos;
        body->len = (size_t)length;
        return NGX_OK;
    }
    u_char *at = ngx_pnalloc(r->pool, (size_t)length);
    if (at == NULL) return NGX_ERROR;
    body->data = at;
    for (ngx_chain_t *chain = r->request_body->bufs; chain != NULL; chain = chain->next) {
        ngx_buf_t *buf = chain->buf;
        size_t size = (size_t)ngx_buf_size(buf);
        if (size == 0) continue; /* the mark at the end of a chunked body is no memory and no file */
        if (ngx_buf_in_memory(buf)) {
            ngx_memcpy(at, buf->pos, size);
        } else if (ngx_read_file(buf->file, at, size, buf->file_pos) != (ssize_t)size) {
            return NGX_ERROR;
        }
        at += size;
    }
    body->len = (size_t)length;
    return NGX_OK;
}

static ngx_int_t refuse_body(ngx_http_request_t *r, const edge_body_error_t *error) {
    edge_problem_t problem = error->fault == EDGE_BODY_QUANTITY ? EDGE_PROBLEM_QUANTITY_LIMIT : EDGE_PROBLEM_MALFORMED;
    return ngx_http_cart_problem_field(r, problem, NULL, error->field, edge_body_code(error), edge_body_detail(error),
                                       (ngx_int_t)error->offset);
}

/* NGX_DECLINED: go on; else the result to finish with. */
static ngx_int_t read_changes(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx) {
    cart_request_t *change = ctx->change;
    ngx_str_t body;
    ngx_int_t result = gather(r, &body);
    if (result == NGX_DECLINED) {
        return ngx_http_cart_problem(r, EDGE_PROBLEM_TOO_LARGE, "A cart's body has at most 16384 bytes.");
    }
    if (result != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (r->method == NGX_HTTP_DELETE) {
        if (body.len > 0) { /* it has no meaning here (RFC 9110, 9.3.5); better said than overlooked */
            return ngx_http_cart_problem_field(r, EDGE_PROBLEM_MALFORMED, NULL, "", "unexpected-body",
                                               "There is no body to this call.", -1);
        }
        change->change_count = 1;
        change->changes[0] = ctx->route == EDGE_ROUTE_CART ? (cart_change_t){.op = CART_CLEAR}
                                                           : (cart_change_t){.op = CART_REMOVE, .book = ctx->book};
        return NGX_DECLINED;
    }
    edge_body_shape_t shape = r->method == NGX_HTTP_POST  ? EDGE_BODY_LINE
                              : r->method == NGX_HTTP_PUT ? EDGE_BODY_QUANTITY_ONLY
                                                          : EDGE_BODY_CHANGES;
    edge_body_error_t error;
    if (!edge_body_parse(shape, ctx->book, body.data, body.len, change->changes, &change->change_count, &error)) {
        return refuse_body(r, &error);
    }
    return NGX_DECLINED;
}

static void identify(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx) {
    cart_request_t *change = ctx->change;
    change->user = ctx->claims.user;
    change->session = ctx->claims.session;
    change->issued_s = ctx->claims.issued_s;
    change->digest = edge_request_digest(change->changes, change->change_count);
    change->keyed = ctx->idempotency_key.data != NULL;
    if (change->keyed) {
        edge_request_id(&change->user, (const char *)r->method_name.data, r->method_name.len, (const char *)r->uri.data,
                        r->uri.len, (const char *)ctx->idempotency_key.data, ctx->idempotency_key.len,
                        change->request_id);
    } else {
        ngx_http_cart_random(ctx->worker, change->request_id, CART_REQUEST_BYTES);
    }
}

/* The verdict of If-Match and If-None-Match on what is shown. NGX_DECLINED: change->condition is set, go on; NGX_BUSY: our
 * image may be an old one, fetch; else the result to finish with. */
static ngx_int_t judge(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const edge_etag_t *tag, ngx_uint_t fresh) {
    cart_request_t *change = ctx->change;
    const ngx_table_elt_t *if_match = r->headers_in.if_match;
    const ngx_table_elt_t *if_none_match = r->headers_in.if_none_match;
    change->condition = CART_IF_NONE;
    if (if_match != NULL) {
        switch (edge_etag_match((const char *)if_match->value.data, if_match->value.len, tag, false)) {
        case EDGE_MATCH_ANY:
            break; /* there is always a cart */
        case EDGE_MATCH_YES:
            change->condition = CART_IF_PLACE;
            change->expected = tag->place;
            break;
        case EDGE_MATCH_NEWER:
            if (!fresh) return NGX_BUSY;
            change->condition = CART_IF_FAILED;
            break;
        case EDGE_MATCH_BAD:
            return ngx_http_cart_problem_field(r, EDGE_PROBLEM_MALFORMED, NULL, "If-Match", "format",
                                               "A list of entity tags, or *, is expected.", -1);
        default:
            change->condition = CART_IF_FAILED;
            break;
        }
    }
    if (if_none_match != NULL) {
        switch (edge_etag_match((const char *)if_none_match->value.data, if_none_match->value.len, tag, true)) {
        case EDGE_MATCH_BAD:
            return ngx_http_cart_problem_field(r, EDGE_PROBLEM_MALFORMED, NULL, "If-None-Match", "format",
                                               "A list of entity tags, or *, is expected.", -1);
        case EDGE_MATCH_ANY:
        case EDGE_MATCH_YES:
            change->condition = CART_IF_FAILED;
            break;
        default:
            break;
        }
    }
    return NGX_DECLINED;
}

ngx_int_t ngx_http_cart_change_now(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const cart_image_t *image,
                                   ngx_uint_t fresh) {
    ngx_http_cart_worker_t *worker = ctx->worker;
    edge_render_options_t options = {.currency = (const char *)worker->conf->currency.data};
    if (edge_render_cart(NULL, image, &worker->conf->books, &options, &worker->rendered) != EDGE_RENDER_OK) {
        return ngx_http_cart_park_books(ctx, image);
    }
    ngx_int_t result = judge(r, ctx, &worker->rendered.tag, fresh);
    if (result == NGX_BUSY) return ngx_http_cart_park_fetch(ctx, 1);
    return result == NGX_DECLINED ? ngx_http_cart_park_change(ctx) : result;
}

/* NGX_DONE when parked. */
static ngx_int_t begin(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx) {
    ngx_http_cart_worker_t *worker = ctx->worker;
    ctx->change = ngx_palloc(r->pool, sizeof(*ctx->change));
    if (ctx->change == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ngx_memzero(ctx->change, offsetof(cart_request_t, changes));
    ngx_int_t result = read_changes(r, ctx);
    if (result != NGX_DECLINED) return result;
    identify(r, ctx);

    ngx_http_cart_link_t *link = ngx_http_cart_link_for(worker, &ctx->claims.user);
    if (link->told && !link->revocations_vouched) {
        ngx_http_cart_count(&worker->counters->refused_reason[CART_REASON_FEED], 1);
        return ngx_http_cart_problem(r, EDGE_PROBLEM_CART_UNAVAILABLE,
                                     "Whether the session has ended is not known now.");
    }
    cart_seat_info_t info;
    cart_seat_found_t found =
        cart_zone_read(&worker->conf->cart_zone, &ctx->claims.user, ngx_current_msec, true, &worker->image, &info);
    ctx->shown_heat = 1;
    if (found == CART_SEAT_NONE) {
        ctx->earned = cart_zone_note(&worker->conf->cart_zone, &ctx->claims.user, ngx_current_msec);
        ctx->heat = ctx->earned ? NGX_HTTP_CART_NOTED : NGX_HTTP_CART_COLD;
    } else {
        ctx->heat = found == CART_SEAT_HIT ? NGX_HTTP_CART_HOT : NGX_HTTP_CART_NOTED;
        ctx->was_shown = found == CART_SEAT_HIT && info.shown != 0;
        ctx->shown = info.shown;
    }
    if (r->headers_in.if_match == NULL && r->headers_in.if_none_match == NULL) return ngx_http_cart_park_change(ctx);
    if (found == CART_SEAT_HIT) return ngx_http_cart_change_now(r, ctx, &worker->image, 0);
    ngx_uint_t seat = found != CART_SEAT_NONE || ctx->earned;
    ctx->earned = 0;
    return ngx_http_cart_park_fetch(ctx, seat);
}

void ngx_http_cart_body_handler(ngx_http_request_t *r) {
    ngx_http_cart_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_cart_module);
    ngx_int_t result = begin(r, ctx);
    if (result != NGX_DONE) ngx_http_finalize_request(r, result);
}
