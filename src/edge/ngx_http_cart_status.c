/*
 * The status location: what the edge counts, as JSON, or as Prometheus text with ?format=prometheus. One table names
 * every number; both forms are made from it. Counters are sums over all workers, old ones too; they never go back while
 * the zone lives. What belongs to the answering worker alone says so in its help.
 */
#include "edge/ngx_http_cart_module.h"

#include <stdio.h>

typedef struct {
    cart_zone_stats_t zone;
    edge_books_stats_t books;
    edge_revoked_stats_t revoked;
    edge_tokens_stats_t tokens;
    ngx_http_cart_counters_t sum;
    bool vouched;
    uint64_t links, links_up, zone_links_up, zone_slots, holds_feeds, keys;
} numbers_t;

typedef enum { GAUGE, COUNTER } kind_t;
typedef struct {
    const char *name, *help;
    kind_t kind;
    size_t offset;
    ngx_uint_t is_flag; /* a bool, not a uint64_t */
} row_t;

#define ROW(name, kind, field, help)                                                                                   \
    { name, help, kind, offsetof(numbers_t, field), 0 }
#define FLAG(name, field, help)                                                                                        \
    { name, help, GAUGE, offsetof(numbers_t, field), 1 }
static const row_t rows[] = {
    ROW("seats", GAUGE, zone.seats, "Seats in the zone"),
    ROW("seats_reserved", GAUGE, zone.reserved, "Seats that nobody vouches for yet"),
    ROW("seats_active", GAUGE, zone.active, "Seats of active users"),
    ROW("seats_dirty", GAUGE, zone.dirty, "Seats with term > 0"),
    ROW("zone_bytes", GAUGE, zone.bytes_total, "Bytes of the seat zone"),
    ROW("zone_bytes_used", GAUGE, zone.bytes_used, "Bytes handed out"),
    ROW("zone_bytes_touched", GAUGE, zone.bytes_touched, "Bytes ever touched"),
    ROW("seat_hits_total", COUNTER, zone.hits, "Reads that found a vouched seat"),
    ROW("seat_misses_total", COUNTER, zone.misses, "Reads that found no seat"),
    ROW("seat_unvouched_total", COUNTER, zone.unvouched, "Reads that found a seat nobody vouched for"),
    ROW("seats_refused_total", COUNTER, zone.reserve_full, "Seats not given: nothing may be freed"),
    ROW("shards_emptied_total", COUNTER, zone.emptied_shards, "Shards emptied after a process died holding the lock"),
    ROW("cleared_ttl_total", COUNTER, zone.cleared_ttl, "Seats given up by TTL"),
    ROW("cleared_phase1_total", COUNTER, zone.cleared_phase1, "Seats given up by phase 1"),
    ROW("cleared_phase2_total", COUNTER, zone.cleared_phase2, "Seats given up by phase 2"),
    ROW("reads_hot_total", COUNTER, sum.reads_hot, "Reads answered from memory"),
    ROW("reads_noted_total", COUNTER, sum.reads_noted, "Reads that earned or renewed a seat"),
    ROW("reads_cold_total", COUNTER, sum.reads_cold, "Reads of unknown users"),
    ROW("not_modified_total", COUNTER, sum.not_modified, "304 answers"),
    ROW("changes_total", COUNTER, sum.changes, "Changes asked for"),
    ROW("changes_applied_total", COUNTER, sum.applied, "Changes confirmed"),
    ROW("changes_repeated_total", COUNTER, sum.repeated, "Changes that had been applied before"),
    ROW("refused_total", COUNTER, sum.refused, "Requests the service refused or did not answer in time"),
    ROW("unauthorized_total", COUNTER, sum.unauthorized, "401 answers"),
    ROW("problems_total", COUNTER, sum.problems, "Problems of all kinds"),
    ROW("cancelled_total", COUNTER, sum.cancelled, "Parked requests whose client went away"),
    ROW("parked", GAUGE, sum.parked, "Requests parked now, all workers"),
    ROW("links", GAUGE, links, "Links of the answering worker"),
    ROW("links_up", GAUGE, links_up, "Links of the answering worker that are up"),
    ROW("zone_links_up", GAUGE, zone_links_up, "Links up, all workers"),
    ROW("zone_slots", GAUGE, zone_slots, "Link slots taken"),
    ROW("holds_feeds", GAUGE, holds_feeds, "1: the answering worker carries the feeds"),
    ROW("token_cache_entries", GAUGE, tokens.capacity, "Capacity of the answering worker's token cache"),
    ROW("token_cache_hits_total", COUNTER, tokens.hits, "Token cache hits, answering worker"),
    ROW("token_cache_misses_total", COUNTER, tokens.misses, "Token cache misses, answering worker"),
    ROW("token_cache_evicted_total", COUNTER, tokens.evicted, "Living tokens given up, answering worker"),
    ROW("token_keys", GAUGE, keys, "Keys the answering worker knows"),
    FLAG("revocations_vouched", vouched, "1: the revocation list is complete and still vouched for"),
    FLAG("revocations_ready", revoked.ready, "1: the revocation list is complete"),
    ROW("revocations", GAUGE, revoked.count, "Revocations known"),
    ROW("revocations_position", GAUGE, revoked.position, "Feed position of the revocation list"),
    FLAG("books_ready", books.ready, "1: the book replica is complete"),
    ROW("books", GAUGE, books.count, "Books in the replica"),
    ROW("books_position", GAUGE, books.position, "Feed position of the replica"),
    ROW("books_bytes", GAUGE, books.bytes_total, "Bytes of the book zone"),
    ROW("books_bytes_used", GAUGE, books.bytes_used, "Bytes handed out"),
    ROW("books_evicted_total", COUNTER, books.evicted, "Books given up for want of room"),
    ROW("books_asked_total", COUNTER, sum.books_asked, "Books the replica missed and asked for"),
};

static const char *const reasons[] = {"none",    "late",  "memory", "journal", "base-away",
                                      "unknown", "queue", "recent", "feed",    "stopping"};

/* Every counter is a 64-bit atomic, so a block is an array of them. */
static void sum_counters(const ngx_http_cart_counters_t *blocks, ngx_http_cart_counters_t *sum) {
    _Atomic uint64_t *to = (_Atomic uint64_t *)(void *)sum;
    for (unsigned i = 0; i < NGX_HTTP_CART_COUNTER_BLOCKS; i++) {
        const _Atomic uint64_t *from = (const _Atomic uint64_t *)(const void *)&blocks[i];
        for (size_t k = 0; k < sizeof(*sum) / sizeof(uint64_t); k++) {
            ngx_http_cart_count(&to[k], atomic_load_explicit(&from[k], memory_order_relaxed));
        }
    }
}

static void gather(ngx_http_cart_worker_t *worker, numbers_t *numbers) {
    ngx_http_cart_main_conf_t *conf = worker->conf;
    ngx_memzero(numbers, sizeof(*numbers));
    cart_zone_stats(&conf->cart_zone, ngx_current_msec, &numbers->zone);
    edge_books_stats(&conf->books, &numbers->books);
    edge_revoked_stats(&conf->revoked, &numbers->revoked);
    edge_tokens_stats(worker->tokens, &numbers->tokens);
    sum_counters(conf->counters, &numbers->sum);
    numbers->vouched = numbers->revoked.ready && ngx_http_cart_list(worker) == NGX_HTTP_CART_LIST_GOOD;
    numbers->keys = edge_keys_count(worker->keys);
    numbers->links = worker->link_count;
    numbers->zone_links_up = numbers->zone.links_up;
    numbers->zone_slots = numbers->zone.slots_taken;
    for (ngx_uint_t i = 0; i < worker->link_count; i++) {
        if (cart_worker_is_up(worker->links[i].core)) numbers->links_up++;
        if (cart_worker_holds_feeds(worker->links[i].core)) numbers->holds_feeds = 1;
    }
}

static uint64_t value_of(const numbers_t *numbers, const row_t *row) {
    const char *at = (const char *)numbers + row->offset;
    if (row->is_flag) return *(const bool *)(const void *)at ? 1 : 0;
    uint64_t value;
    ngx_memcpy(&value, at, sizeof(value));
    return value;
}

static uint64_t load(const _Atomic uint64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void out_json(edge_out_t *out, const numbers_t *numbers) {
    edge_out_literal(out, "{");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        edge_out_literal(out, "\"");
        edge_out_text(out, rows[i].name);
        edge_out_literal(out, "\":");
        if (rows[i].is_flag)
            edge_out_text(out, value_of(numbers, &rows[i]) != 0 ? "true" : "false");
        else
            edge_out_u64(out, value_of(numbers, &rows[i]));
        edge_out_literal(out, ",");
    }
    edge_out_literal(out, "\"refused_by_reason\":{");
    for (size_t i = 1; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (i > 1) edge_out_literal(out, ",");
        edge_out_literal(out, "\"");
        edge_out_text(out, reasons[i]);
        edge_out_literal(out, "\":");
        edge_out_u64(out, load(&numbers->sum.refused_reason[i]));
    }
    edge_out_literal(out, "},\"latency\":{\"bucket_below_us\":[");
    for (unsigned i = 0; i < NGX_HTTP_CART_LATENCY_BUCKETS - 1; i++) {
        if (i > 0) edge_out_literal(out, ",");
        edge_out_u64(out, UINT64_C(100) << i);
    }
    edge_out_literal(out, "],\"counts\":[");
    for (unsigned i = 0; i < NGX_HTTP_CART_LATENCY_BUCKETS; i++) {
        if (i > 0) edge_out_literal(out, ",");
        edge_out_u64(out, load(&numbers->sum.latency[i]));
    }
    edge_out_literal(out, "],\"sum_us\":");
    edge_out_u64(out, load(&numbers->sum.latency_us));
    edge_out_literal(out, "}}\n");
}

static void out_prometheus(edge_out_t *out, const numbers_t *numbers) {
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        edge_out_literal(out, "# HELP bookcart_edge_");
        edge_out_text(out, rows[i].name);
        edge_out_literal(out, " ");
        edge_out_text(out, rows[i].help);
        edge_out_literal(out, "\n# TYPE bookcart_edge_");
        edge_out_text(out, rows[i].name);
        edge_out_text(out, rows[i].kind == COUNTER ? " counter\nbookcart_edge_" : " gauge\nbookcart_edge_");
        edge_out_text(out, rows[i].name);
        edge_out_literal(out, " ");
        edge_out_u64(out, value_of(numbers, &rows[i]));
        edge_out_literal(out, "\n");
    }
    edge_out_literal(out, "# HELP bookcart_edge_refused_reason_total Refusals by reason\n"
                          "# TYPE bookcart_edge_refused_reason_total counter\n");
    for (size_t i = 1; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        edge_out_literal(out, "bookcart_edge_refused_reason_total{reason=\"");
        edge_out_text(out, reasons[i]);
        edge_out_literal(out, "\"} ");
        edge_out_u64(out, load(&numbers->sum.refused_reason[i]));
        edge_out_literal(out, "\n");
    }
    edge_out_literal(out, "# HELP bookcart_edge_parked_seconds Time of parked requests to their answer\n"
                          "# TYPE bookcart_edge_parked_seconds histogram\n");
    uint64_t count = 0;
    for (unsigned i = 0; i < NGX_HTTP_CART_LATENCY_BUCKETS; i++) {
        char line[96];
        count += load(&numbers->sum.latency[i]);
        if (i == NGX_HTTP_CART_LATENCY_BUCKETS - 1) {
            (void)snprintf(line, sizeof(line), "bookcart_edge_parked_seconds_bucket{le=\"+Inf\"} %llu\n",
                           (unsigned long long)count); /* fits */
        } else {
            (void)snprintf(line, sizeof(line), "bookcart_edge_parked_seconds_bucket{le=\"%.4f\"} %llu\n",
                           (double)(UINT64_C(100) << i) / 1e6, (unsigned long long)count); /* fits */
        }
        edge_out_text(out, line);
    }
    char line[96];
    (void)snprintf(line, sizeof(line), "bookcart_edge_parked_seconds_sum %.6f\n",
                   (double)load(&numbers->sum.latency_us) / 1e6);
    edge_out_text(out, line);
    edge_out_literal(out, "bookcart_edge_parked_seconds_count ");
    edge_out_u64(out, count);
    edge_out_literal(out, "\n");
}

/* Whether carts can be served and changed, dependency by dependency. Books may be asked for one by one, so an edge
 * without a full replica is slow, not away. */
static bool out_ready(edge_out_t *out, const numbers_t *numbers) {
    bool links = numbers->links_up == numbers->links;
    bool keys = numbers->keys > 0;
    bool ready = links && keys && numbers->vouched;
    edge_out_text(out,
                  ready ? "{\"status\":\"ready\",\"dependencies\":{" : "{\"status\":\"not-ready\",\"dependencies\":{");
    edge_out_text(out, links ? "\"cart-service\":\"up\"," : "\"cart-service\":\"down\",");
    edge_out_text(out, keys ? "\"token-keys\":\"up\"," : "\"token-keys\":\"down\",");
    edge_out_text(out, numbers->vouched ? "\"revocations\":\"up\"," : "\"revocations\":\"down\",");
    edge_out_text(out, numbers->books.ready ? "\"books\":\"up\"}}\n" : "\"books\":\"filling\"}}\n");
    return ready;
}

#define STATUS_BYTES_MAX 32768

ngx_int_t ngx_http_cart_status_handler(ngx_http_request_t *r) {
    static const char prometheus[] = "format=prometheus";
    static const char json[] = "format=json";
    ngx_http_cart_main_conf_t *conf = ngx_http_get_module_main_conf(r, ngx_http_cart_module);
    if ((r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD)) == 0) return ngx_http_cart_method_not_allowed(r, "GET, HEAD");
    if (conf->worker == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ngx_http_cart_loc_conf_t *loc_conf = ngx_http_get_module_loc_conf(r, ngx_http_cart_module);
    ngx_uint_t form = loc_conf->status;
    ngx_uint_t as_text = form == NGX_HTTP_CART_STATUS_PROMETHEUS;
    ngx_uint_t as_json = form != NGX_HTTP_CART_STATUS_PROMETHEUS;
    if (form == NGX_HTTP_CART_STATUS_ANY && r->args.len > 0) {
        as_text = r->args.len == sizeof(prometheus) - 1 && ngx_memcmp(r->args.data, prometheus, r->args.len) == 0;
        as_json = r->args.len == sizeof(json) - 1 && ngx_memcmp(r->args.data, json, r->args.len) == 0;
    }
    if (!as_text && !as_json) return ngx_http_cart_problem(r, EDGE_PROBLEM_MALFORMED, "format is json or prometheus.");
    ngx_int_t result = ngx_http_discard_request_body(r);
    if (result != NGX_OK) return result;
    char *text = ngx_pnalloc(r->pool, STATUS_BYTES_MAX);
    if (text == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    edge_out_t out = {text, text + STATUS_BYTES_MAX, false};
    numbers_t numbers;
    gather(conf->worker, &numbers);
    ngx_uint_t status = NGX_HTTP_OK;
    if (form == NGX_HTTP_CART_STATUS_READY) {
        if (!out_ready(&out, &numbers)) status = NGX_HTTP_SERVICE_UNAVAILABLE;
    } else if (as_text)
        out_prometheus(&out, &numbers);
    else
        out_json(&out, &numbers);
    if (out.full) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return ngx_http_cart_send_text(r, status, as_text ? "text/plain; version=0.0.4; charset=utf-8" : "application/json",
                                   (u_char *)text, (size_t)(out.at - text));
}
