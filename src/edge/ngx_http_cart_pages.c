/*
 * Pages a worker answers by itself: `cart_pages on` beside `proxy_cache`. What left by the page cache or was just asked for (200, a strong
 * tag, public) is noted, and its bytes with it; until its time is over the worker answers it, or 304, without the page
 * cache's open, read and parse of a file. Everything that is not plainly such a request goes on to the page cache.
 *
 * How long: a page that a service was just asked for is right for a second from the moment it was asked, and each has its own second. A
 * page that the page cache had is only known to be right to the end of the clock's second, as nginx counts; our own
 * services let it have none without asking (decision 0024).
 *
 * Who calls: the filters note; the handler runs after the limits and before proxy_pass.
 */
#include "edge/ngx_http_cart_module.h"

#define NGX_HTTP_CART_PAGES_LOOK_MS 2 /* between two looks of one who waits */

/* A page whose bytes pass by. */
struct ngx_http_cart_copy_s {
    edge_pages_text_t tag, type; /* pool: r->pool */
    char *bytes;                 /* pool: r->pool */
    size_t length, have;
};

static ngx_http_output_header_filter_pt next_header_filter;
static ngx_http_output_body_filter_pt next_body_filter;

static edge_pages_t *pages_of(ngx_http_request_t *r) {
    ngx_http_cart_main_conf_t *conf = ngx_http_get_module_main_conf(r, ngx_http_cart_module);
    return conf->worker == NULL ? NULL : conf->worker->pages;
}

static edge_pages_text_t text_of(ngx_str_t text) {
    return (edge_pages_text_t){(const char *)text.data, text.len};
}

static int64_t now_ms(void) {
    return (int64_t)ngx_current_msec;
}

static ngx_uint_t is_on(ngx_http_request_t *r) {
    const ngx_http_cart_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_cart_module);
    return conf->pages == 1 && r == r->main && !r->internal && (r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD));
}

/* ---- noting --------------------------------------------------------------------------------------------------------- */

/* The Cache-Control; NULL: none, or there is a header that an answer from memory would not have. */
static const ngx_table_elt_t *find_control(ngx_http_request_t *r, ngx_uint_t *whole) {
    const ngx_table_elt_t *control = NULL;
    *whole = 1;
    for (ngx_list_part_t *part = &r->headers_out.headers.part; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (headers[i].hash == 0 || &headers[i] == r->headers_out.etag) continue;
            if (headers[i].key.len == sizeof("Cache-Control") - 1 &&
                ngx_strncasecmp(headers[i].key.data, (u_char *)(uintptr_t) "Cache-Control", headers[i].key.len) == 0) {
                control = &headers[i];
            } else {
                *whole = 0;
            }
        }
    }
    return control;
}

/* false: from where it came, nothing follows about its time. */
static bool ends_of(ngx_http_request_t *r, edge_pages_ends_t *ends) {
    int64_t second_ms;
    switch (r->upstream->cache_status) {
    case NGX_HTTP_CACHE_HIT: /* fresh in this second, and nginx counts whole ones */
        second_ms = now_ms() + 1000 - (int64_t)ngx_timeofday()->msec;
        *ends = (edge_pages_ends_t){now_ms(), second_ms, second_ms, second_ms};
        return true;
    case NGX_HTTP_CACHE_MISS:
    case NGX_HTTP_CACHE_EXPIRED:
    case NGX_HTTP_CACHE_REVALIDATED:
        *ends = edge_pages_ends((int64_t)r->upstream->start_time, (uint64_t)ngx_random());
        return true;
    default:
        return false;
    }
}

/* Without memory the page is not copied, which costs nobody anything. */
static void begin_copy(ngx_http_request_t *r) {
    off_t length = r->headers_out.content_length_n;
    if (r->header_only || r->method == NGX_HTTP_HEAD || length <= 0 || length > EDGE_PAGES_BODY_MAX) return;
    ngx_http_cart_ctx_t *ctx = ngx_http_cart_ctx(r);
    ngx_http_cart_copy_t *copy = ctx == NULL ? NULL : ngx_pcalloc(r->pool, sizeof(*copy));
    if (copy == NULL) return;
    copy->length = (size_t)length;
    copy->bytes = ngx_pnalloc(r->pool, copy->length);
    ngx_str_t tag = r->headers_out.etag->value, type = r->headers_out.content_type;
    /* The filters behind us may change these. */
    copy->tag = (edge_pages_text_t){(const char *)ngx_pstrdup(r->pool, &tag), tag.len};
    copy->type = (edge_pages_text_t){(const char *)ngx_pstrdup(r->pool, &type), type.len};
    if (copy->bytes != NULL && copy->tag.bytes != NULL && copy->type.bytes != NULL) ctx->copy = copy;
}

static ngx_int_t header_filter(ngx_http_request_t *r) {
    edge_pages_t *pages = is_on(r) ? pages_of(r) : NULL;
    const ngx_table_elt_t *tag = r->headers_out.etag;
    edge_pages_ends_t ends;
    if (pages != NULL && r->headers_out.status == NGX_HTTP_OK && tag != NULL && tag->hash != 0 && r->upstream != NULL &&
        ends_of(r, &ends)) {
        ngx_uint_t whole = 0;
        const ngx_table_elt_t *control = find_control(r, &whole);
        if (control != NULL &&
            edge_pages_keep(pages, text_of(r->unparsed_uri), text_of(tag->value), text_of(control->value), &ends) &&
            whole)
            begin_copy(r);
    }
    return next_header_filter(r);
}

/* NGX_DECLINED: more than was announced, or a file that cannot be read. */
static ngx_int_t copy_buffer(ngx_http_cart_copy_t *copy, ngx_buf_t *buffer) {
    if (ngx_buf_special(buffer)) return NGX_OK;
    off_t size = ngx_buf_size(buffer);
    if (size < 0 || (size_t)size > copy->length - copy->have) return NGX_DECLINED;
    if (ngx_buf_in_memory(buffer)) {
        ngx_memcpy(copy->bytes + copy->have, buffer->pos, (size_t)size);
    } else if (!buffer->in_file || ngx_read_file(buffer->file, (u_char *)copy->bytes + copy->have, (size_t)size,
                                                 buffer->file_pos) != (ssize_t)size) {
        return NGX_DECLINED;
    }
    copy->have += (size_t)size;
    return NGX_OK;
}

static ngx_int_t body_filter(ngx_http_request_t *r, ngx_chain_t *in) {
    ngx_http_cart_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_cart_module);
    ngx_http_cart_copy_t *copy = ctx == NULL ? NULL : ctx->copy;
    for (ngx_chain_t *link = in; link != NULL && copy != NULL; link = link->next) {
        if (copy_buffer(copy, link->buf) != NGX_OK) copy = ctx->copy = NULL;
    }
    if (copy != NULL && copy->have == copy->length) {
        edge_pages_fill(ctx->worker->pages, text_of(r->unparsed_uri), copy->tag, copy->type,
                        (edge_pages_text_t){copy->bytes, copy->length}, now_ms());
        ctx->copy = NULL;
    }
    return next_body_filter(r, in);
}

/* ---- answering ------------------------------------------------------------------------------------------------------ */

static ngx_int_t send_headers(ngx_http_request_t *r, const edge_page_t *page, ngx_uint_t status) {
    r->headers_out.status = status;
    r->headers_out.content_length_n = status == NGX_HTTP_OK ? (off_t)page->body_length : -1;
    (void)ngx_http_cart_request_id(r); /* from our buffer: the configuration's add_header finds it made */
    r->headers_out.etag = ngx_http_cart_header(r, "ETag", 4, "etag", page->tag, page->tag_length);
    if (r->headers_out.etag == NULL ||
        ngx_http_cart_header(r, "Cache-Control", 13, "cache-control", page->control, page->control_length) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (status != NGX_HTTP_OK) return ngx_http_send_header(r);
    ngx_str_t type = {page->type_length, (u_char *)(uintptr_t)page->type};
    r->headers_out.content_type.data = ngx_pstrdup(r->pool, &type);
    if (r->headers_out.content_type.data == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    r->headers_out.content_type.len = r->headers_out.content_type_len = type.len;
    return ngx_http_send_header(r);
}

/* The bytes are copied: the table may have other ones before the last of them has left. */
static ngx_int_t send_page(ngx_http_request_t *r, const edge_page_t *page) {
    ngx_buf_t *buffer = ngx_create_temp_buf(r->pool, page->body_length);
    if (buffer == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    buffer->last = ngx_cpymem(buffer->last, page->body, page->body_length);
    buffer->last_buf = 1;
    buffer->last_in_chain = 1;
    ngx_int_t result = send_headers(r, page, NGX_HTTP_OK);
    if (result == NGX_ERROR || result > NGX_OK || r->header_only) return result;
    ngx_chain_t out = {buffer, NULL};
    return ngx_http_output_filter(r, &out);
}

/* Until a page that another one asks for is there: as nginx's own limits delay a request, by its connection's timer. */
static void look_again(ngx_http_request_t *r) {
    ngx_event_t *write = r->connection->write;
    if (write->delayed) { /* the socket, not the timer */
        if (ngx_handle_write_event(write, 0) != NGX_OK) ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }
    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r); /* begins with our handler */
}

static ngx_int_t wait_for_page(ngx_http_request_t *r) {
    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = look_again;
    r->connection->write->delayed = 1;
    ngx_add_timer(r->connection->write, NGX_HTTP_CART_PAGES_LOOK_MS);
    return NGX_AGAIN;
}

typedef struct {
    edge_pages_t *pages;    /* borrowed: the worker's */
    edge_pages_text_t path; /* the request's */
    int64_t asked_ms;
} asker_t;

static void asker_ends(void *data) {
    const asker_t *asker = data;
    edge_pages_asked(asker->pages, asker->path, asker->asked_ms);
}

/* Those who wait must learn of it when this request ends without a page. */
static ngx_int_t ask(ngx_http_request_t *r, edge_pages_t *pages) {
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, sizeof(asker_t));
    if (cleanup != NULL) {
        *(asker_t *)cleanup->data = (asker_t){pages, text_of(r->unparsed_uri), now_ms()};
        cleanup->handler = asker_ends;
    } /* without memory they wait their time */
    return NGX_DECLINED;
}

/* NGX_DECLINED: to the page cache. */
static ngx_int_t handler(ngx_http_request_t *r) {
    const ngx_http_headers_in_t *in = &r->headers_in;
    const edge_page_t *page = NULL;
    if (!is_on(r) || in->if_match != NULL || in->if_unmodified_since != NULL || in->range != NULL) return NGX_DECLINED;
    edge_pages_t *pages = pages_of(r);
    if (pages == NULL) return NGX_DECLINED;
    switch (edge_pages_find(pages, text_of(r->unparsed_uri), now_ms(), &page)) {
    case EDGE_PAGES_ASK:
        return ask(r, pages);
    case EDGE_PAGES_WAIT:
        return wait_for_page(r);
    default:
        break;
    }
    ngx_uint_t same = in->if_none_match != NULL &&
                      edge_pages_named((const char *)in->if_none_match->value.data, in->if_none_match->value.len, page);
    if (!same && page->body == NULL) return NGX_DECLINED;
    if (ngx_http_discard_request_body(r) != NGX_OK) return NGX_DECLINED; /* proxy_pass meets the same and answers it */
    ngx_http_finalize_request(r, same ? send_headers(r, page, NGX_HTTP_NOT_MODIFIED) : send_page(r, page));
    return NGX_DONE;
}

ngx_int_t ngx_http_cart_pages_init(ngx_conf_t *cf) {
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *place = ngx_array_push(&core->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (place == NULL) return NGX_ERROR;
    *place = handler;
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = header_filter;
    next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = body_filter;
    return NGX_OK;
}
