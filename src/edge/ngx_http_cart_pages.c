/*
 * Repeats of pages: `cart_pages on` lets a worker answer `If-None-Match` with 304 from its own memory, while the page cache says that the
 * page is fresh. Without it the same 304 comes from the page cache, for an open, a read and a parse of its file.
 *
 * Who calls: the header filter notes every page that the page cache answers with (200, a strong tag, public); the handler runs after
 * the limits and before proxy_pass. It knows nothing that the page cache does not: a page is answered no longer than
 * the cache would answer it, and everything that is not plainly a repeat goes on to it.
 */
#include "edge/ngx_http_cart_module.h"

static ngx_http_output_header_filter_pt next_header_filter;

static edge_pages_t *pages_of(ngx_http_request_t *r) {
    ngx_http_cart_main_conf_t *conf = ngx_http_get_module_main_conf(r, ngx_http_cart_module);
    return conf->worker == NULL ? NULL : conf->worker->pages;
}

static ngx_uint_t is_on(ngx_http_request_t *r) {
    const ngx_http_cart_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_cart_module);
    return conf->pages == 1 && r == r->main && !r->internal && (r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD));
}

/* ---- noting --------------------------------------------------------------------------------------------------------- */

static const ngx_table_elt_t *find_header(ngx_http_request_t *r, const char *name, size_t length) {
    ngx_list_part_t *part = &r->headers_out.headers.part;
    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (headers[i].hash != 0 && headers[i].key.len == length &&
                ngx_strncasecmp(headers[i].key.data, (u_char *)(uintptr_t)name, length) == 0) {
                return &headers[i];
            }
        }
    }
    return NULL;
}

/* A hit says that the page is fresh in this second, and nginx counts whole ones: so it is to the second's end. When a page was just
 * fetched or revalidated its end is not known here (nginx sets it after the headers have left); the next request is a hit. */
static ngx_int_t header_filter(ngx_http_request_t *r) {
    edge_pages_t *pages = is_on(r) ? pages_of(r) : NULL;
    const ngx_table_elt_t *tag = r->headers_out.etag;
    if (pages != NULL && r->headers_out.status == NGX_HTTP_OK && tag != NULL && tag->hash != 0 && r->upstream != NULL &&
        r->upstream->cache_status == NGX_HTTP_CACHE_HIT) {
        const ngx_table_elt_t *control = find_header(r, "Cache-Control", sizeof("Cache-Control") - 1);
        if (control != NULL) {
            edge_pages_keep(pages, (const char *)r->unparsed_uri.data, r->unparsed_uri.len,
                            (const char *)tag->value.data, tag->value.len, (const char *)control->value.data,
                            control->value.len, ngx_time());
        }
    }
    return next_header_filter(r);
}

/* ---- answering ------------------------------------------------------------------------------------------------------ */

static ngx_int_t send_not_modified(ngx_http_request_t *r, const edge_page_t *page) {
    r->headers_out.status = NGX_HTTP_NOT_MODIFIED;
    r->headers_out.content_length_n = -1;
    (void)ngx_http_cart_request_id(r); /* from our buffer: the configuration's add_header finds it made */
    r->headers_out.etag = ngx_http_cart_header(r, "ETag", 4, "etag", page->tag, page->tag_length);
    if (r->headers_out.etag == NULL ||
        ngx_http_cart_header(r, "Cache-Control", 13, "cache-control", page->control, page->control_length) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    return ngx_http_send_header(r);
}

/* NGX_DECLINED: not a repeat that is known to be one. */
static ngx_int_t handler(ngx_http_request_t *r) {
    const ngx_http_headers_in_t *in = &r->headers_in;
    if (!is_on(r) || in->if_none_match == NULL || in->if_match != NULL || in->if_unmodified_since != NULL ||
        in->range != NULL) {
        return NGX_DECLINED;
    }
    edge_pages_t *pages = pages_of(r);
    if (pages == NULL) return NGX_DECLINED;
    const edge_page_t *page =
        edge_pages_find(pages, (const char *)r->unparsed_uri.data, r->unparsed_uri.len, ngx_time());
    if (page == NULL ||
        !edge_pages_named((const char *)in->if_none_match->value.data, in->if_none_match->value.len, page))
        return NGX_DECLINED;
    if (ngx_http_discard_request_body(r) != NGX_OK) return NGX_DECLINED; /* proxy_pass meets the same and answers it */
    ngx_http_finalize_request(r, send_not_modified(r, page));
    return NGX_DONE;
}

ngx_int_t ngx_http_cart_pages_init(ngx_conf_t *cf) {
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *place = ngx_array_push(&core->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (place == NULL) return NGX_ERROR;
    *place = handler;
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = header_filter;
    return NGX_OK;
}
