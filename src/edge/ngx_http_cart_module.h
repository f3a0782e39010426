/*
 * The nginx side of the edge: configuration, what a worker owns, what a request carries. Everything about carts, seats
 * and the link is decided in src/cart; these files bring it bytes, time and memory.
 *
 *   ngx_http_cart_module.c     directives, their checks, the module
 *   ngx_http_cart_shared.c     shared zones, locks
 *   ngx_http_cart_worker.c     a worker's life: start, keys, timers, end
 *   ngx_http_cart_link.c       one socket to a cart service
 *   ngx_http_cart_token.c      who asks: token, revocations
 *   ngx_http_cart_handler.c    routes, reads
 *   ngx_http_cart_change.c     bodies, conditions, changes
 *   ngx_http_cart_park.c       requests that wait
 *   ngx_http_cart_answer.c     answers
 *   ngx_http_cart_pages.c      pages of the catalogue that are answered from memory
 *   ngx_http_cart_status.c     numbers
 *   ngx_http_cart_variables.c  $cart_…
 */
#ifndef NGX_HTTP_CART_MODULE_H
#define NGX_HTTP_CART_MODULE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <ngx_http.h>

#include <stdatomic.h>

#include "cart/cart_worker.h"
#include "edge/edge_body.h"
#include "edge/edge_books.h"
#include "edge/edge_pages.h"
#include "edge/edge_problem.h"
#include "edge/edge_render.h"
#include "edge/edge_request.h"
#include "edge/edge_routes.h"
#include "edge/edge_revoked.h"
#include "edge/edge_tokens.h"

/* nginx's own casts a literal's const away in one step, which our warnings refuse. */
#undef ngx_string
#define ngx_string(text)                                                                                               \
    { sizeof(text) - 1, (u_char *)(uintptr_t)(text) }

#define NGX_HTTP_CART_SERVICES_MAX    16
#define NGX_HTTP_CART_COUNTER_BLOCKS  64
#define NGX_HTTP_CART_LATENCY_BUCKETS 16

extern ngx_module_t ngx_http_cart_module;

/* ---- counters: shared memory, one block a worker, atomic; never reset ---------------------------------------------- */
typedef struct {
    _Alignas(64) _Atomic uint64_t reads_hot;
    _Atomic uint64_t reads_cold, reads_noted, not_modified, changes, applied, repeated;
    _Atomic uint64_t unauthorized, refused, refused_reason[10], problems, cancelled, books_asked;
    _Atomic uint64_t token_hits, token_misses, token_evicted;
    _Atomic uint64_t parked; /* now */
    /* Parked requests by time to their answer: bucket i holds those below 2^i × 100 µs, the last all others. */
    _Atomic uint64_t latency[NGX_HTTP_CART_LATENCY_BUCKETS];
    _Atomic uint64_t latency_us;
} ngx_http_cart_counters_t;

/* ---- configuration --------------------------------------------------------------------------------------------------- */
typedef struct {
    ngx_str_t name;
    ngx_addr_t address;
    uint64_t hash; /* of the name, for rendezvous */
} ngx_http_cart_service_t;

typedef struct ngx_http_cart_worker_s ngx_http_cart_worker_t;

typedef struct {
    ngx_shm_zone_t *zone, *books_zone;
    ngx_array_t services; /* ngx_http_cart_service_t */
    ngx_str_t jwks;       /* path */
    ngx_str_t jwks_text;  /* pool: cf->pool; as read when the configuration was, empty if there was none */
    ngx_str_t issuer, audience, currency;
    ngx_msec_t write_timeout, stale_max, note_ttl, calm_ttl, active_ttl;
    size_t token_cache;
    ngx_int_t active_heat, high_water, low_water, shards, parked_max;
    ngx_flag_t used; /* some location has cart, cart_status or a variable of ours */
    ngx_int_t request_id_index;

    /* In every process, after the zones were found: */
    cart_zone_t cart_zone;
    edge_books_t books;
    edge_revoked_t revoked;
    ngx_http_cart_counters_t *counters; /* shm: atomic */
    /* In a worker: */
    ngx_http_cart_worker_t *worker; /* owned */
} ngx_http_cart_main_conf_t;

typedef struct {
    ngx_flag_t cart, problem, pages;
    ngx_uint_t status;    /* ngx_http_cart_status_form_t */
    ngx_array_t *origins; /* ngx_str_t; NULL: CORS is off */
    ngx_str_t problem_base;
} ngx_http_cart_loc_conf_t;

typedef enum {
    NGX_HTTP_CART_STATUS_OFF,
    NGX_HTTP_CART_STATUS_ANY, /* JSON, or what ?format= says */
    NGX_HTTP_CART_STATUS_JSON,
    NGX_HTTP_CART_STATUS_PROMETHEUS,
    NGX_HTTP_CART_STATUS_READY,
} ngx_http_cart_status_form_t;

/* ---- a worker -------------------------------------------------------------------------------------------------------- */
typedef struct {
    ngx_http_cart_worker_t *worker; /* borrowed */
    ngx_http_cart_service_t *service;
    cart_worker_t *core;        /* owned */
    ngx_peer_connection_t peer; /* its connection is owned; NULL while there is none */
    ngx_log_t quiet;            /* for attempts to connect: the service may be starting */
    ngx_event_t tick;
    ngx_event_t flush;
    ngx_rbtree_t tickets; /* of parked requests */
    ngx_rbtree_node_t sentinel;
    ngx_queue_t answered; /* ctx->queue: answers that wait for the core to return */
    ngx_uint_t connected;
    ngx_uint_t busy; /* inside the core: nothing may be finished now */
    ngx_uint_t books_vouched, revocations_vouched, told;
    ngx_uint_t full_books, full_revocations; /* a full list is under way on this link */
} ngx_http_cart_link_t;

#define NGX_HTTP_CART_SCRATCH 65536
#define NGX_HTTP_CART_RANDOM  4096

struct ngx_http_cart_worker_s {
    ngx_http_cart_main_conf_t *conf; /* borrowed */
    ngx_log_t *log;
    ngx_uint_t link_count;
    ngx_http_cart_link_t links[NGX_HTTP_CART_SERVICES_MAX];
    edge_keys_t *keys; /* owned */
    uint32_t key_numbers;
    edge_tokens_t *tokens; /* owned */
    edge_pages_t *pages;   /* owned */
    ngx_event_t keys_timer;
    ngx_file_uniq_t keys_inode;
    time_t keys_mtime;
    off_t keys_size;
    ngx_msec_t keys_looked_ms;
    ngx_queue_t waiting; /* ctx->queue: requests that wait for books, oldest first */
    ngx_queue_t early;   /* ctx->queue: requests that came before the first revocation list, oldest first */
    ngx_event_t books_event;
    ngx_http_cart_counters_t *counters; /* shm: atomic; this worker's block */
    ngx_uint_t parked;
    size_t random_left;
    u_char random[NGX_HTTP_CART_RANDOM];
    cart_image_t image; /* scratch of a hot read */
    edge_rendered_t rendered;
    u_char scratch[NGX_HTTP_CART_SCRATCH];
};

/* ---- a request --------------------------------------------------------------------------------------------------------
 *
 *   NEW ──▶ EARLY ──▶ BODY ──▶ FETCHING ──▶ CHANGING ──▶ BOOKS ──▶ DONE
 * Every step may be left out; a condition on a book that is missed goes from BOOKS to FETCHING or CHANGING. Released
 * (ngx_http_cart_release) once, from DONE or from nginx's cleanup, whichever comes first: an answer that comes after that
 * finds no ticket. Success is sent by ngx_http_cart_send only. */
typedef enum {
    NGX_HTTP_CART_NEW,
    NGX_HTTP_CART_EARLY, /* nobody's token can be judged yet: a new zone waits for its first list */
    NGX_HTTP_CART_BODY,
    NGX_HTTP_CART_FETCHING,
    NGX_HTTP_CART_CHANGING,
    NGX_HTTP_CART_BOOKS,
    NGX_HTTP_CART_DONE,
} ngx_http_cart_state_t;

typedef enum { NGX_HTTP_CART_COLD, NGX_HTTP_CART_NOTED, NGX_HTTP_CART_HOT } ngx_http_cart_heat_t;

typedef enum {
    NGX_HTTP_CART_TOKEN_NEW,
    NGX_HTTP_CART_TOKEN_OK,
    NGX_HTTP_CART_TOKEN_MISSING,
    NGX_HTTP_CART_TOKEN_BAD,
    NGX_HTTP_CART_TOKEN_NOT_READY, /* no revocation list yet */
} ngx_http_cart_token_t;

typedef struct ngx_http_cart_copy_s ngx_http_cart_copy_t; /* ngx_http_cart_pages.c */

typedef struct {
    ngx_http_request_t *request;
    ngx_http_cart_worker_t *worker;
    uint8_t state; /* ngx_http_cart_state_t */
    uint8_t heat;  /* ngx_http_cart_heat_t */
    uint8_t token; /* ngx_http_cart_token_t */
    uint8_t route;
    unsigned is_change : 1;
    unsigned answered : 1; /* on link->answered or worker->waiting */
    unsigned waiting : 1;
    unsigned parked : 1;
    unsigned cleanup_added : 1;
    unsigned shown_heat : 1; /* heat means something */
    unsigned earned : 1;     /* a change of an unseated user: fetch a seat too */
    unsigned was_shown : 1;
    unsigned term_known : 1;
    unsigned decided : 1; /* a change has its outcome */
    unsigned has_image : 1;
    edge_claims_t claims;
    uint64_t book; /* of the path */
    uint64_t term;
    uint32_t shown;
    ngx_str_t idempotency_key;
    ngx_str_t origin; /* empty: none, or not allowed */
    ngx_http_cart_link_t *link;
    ngx_rbtree_node_t node; /* key: ticket */
    cart_ticket_t ticket;
    ngx_queue_t queue;
    uint64_t started_us;
    ngx_msec_t deadline_ms, asked_ms;
    cart_request_t *change; /* pool: r->pool */
    cart_image_t *image;    /* pool: r->pool; of the answer */
    uint64_t generation;
    cart_verdict_t verdict;
    ngx_http_cart_copy_t *copy; /* pool: r->pool; NULL: no page is copied */
} ngx_http_cart_ctx_t;

static inline void ngx_http_cart_count(_Atomic uint64_t *counter, uint64_t by) {
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* ngx_http_cart_shared.c */
ngx_int_t ngx_http_cart_init_zone(ngx_shm_zone_t *zone, void *data);
ngx_int_t ngx_http_cart_init_books_zone(ngx_shm_zone_t *zone, void *data);
/* Whether a zone of that size has room for the shards. */
ngx_uint_t ngx_http_cart_zone_fits(const cart_zone_config_t *config, size_t zone_bytes);
uint64_t ngx_http_cart_process_started(ngx_pid_t pid);

/* ngx_http_cart_worker.c */
ngx_int_t ngx_http_cart_init_process(ngx_cycle_t *cycle);
void ngx_http_cart_exit_process(ngx_cycle_t *cycle);
void ngx_http_cart_look_at_keys(ngx_http_cart_worker_t *worker);
ngx_int_t ngx_http_cart_read_file(ngx_pool_t *pool, ngx_log_t *log, ngx_str_t *path, ngx_str_t *text,
                                  ngx_file_info_t *info);
void ngx_http_cart_random(ngx_http_cart_worker_t *worker, uint8_t *bytes, size_t length);

/* ngx_http_cart_link.c */
ngx_int_t ngx_http_cart_link_start(ngx_http_cart_link_t *link);
void ngx_http_cart_link_stop(ngx_http_cart_link_t *link);
/* Something was queued: write it at the end of this turn. */
void ngx_http_cart_link_wake(ngx_http_cart_link_t *link);
/* The next tick comes no later than in `ms`. */
void ngx_http_cart_link_tick_within(ngx_http_cart_link_t *link, ngx_msec_t ms);
ngx_http_cart_link_t *ngx_http_cart_link_for(ngx_http_cart_worker_t *worker, const cart_id_t *user);

/* ngx_http_cart_token.c */
ngx_http_cart_ctx_t *ngx_http_cart_ctx(ngx_http_request_t *r); /* made at first use; NULL: no memory */
void ngx_http_cart_authenticate(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx);

/* ngx_http_cart_handler.c */
ngx_int_t ngx_http_cart_handler(ngx_http_request_t *r);
/* From the beginning, for a request that was early: as the content handler. */
ngx_int_t ngx_http_cart_resume(ngx_http_cart_ctx_t *ctx);
ngx_int_t ngx_http_cart_problem_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_cart_read(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx);
typedef enum { NGX_HTTP_CART_LIST_GOOD, NGX_HTTP_CART_LIST_NONE, NGX_HTTP_CART_LIST_STALE } ngx_http_cart_list_t;
/* Whether the revocation list may be believed for reads (rule 9). */
ngx_http_cart_list_t ngx_http_cart_list(const ngx_http_cart_worker_t *worker);

/* ngx_http_cart_change.c */
void ngx_http_cart_body_handler(ngx_http_request_t *r);
/* The cart as it stands is known (ctx->image): checks the conditions and sends the change off. */
ngx_int_t ngx_http_cart_change_now(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const cart_image_t *image,
                                   ngx_uint_t fresh);

/* ngx_http_cart_park.c: NGX_DONE when parked, else the result to finish with */
void ngx_http_cart_set_state(ngx_http_cart_ctx_t *ctx, ngx_http_cart_state_t to);
ngx_int_t ngx_http_cart_park_fetch(ngx_http_cart_ctx_t *ctx, ngx_uint_t seat);
ngx_int_t ngx_http_cart_park_change(ngx_http_cart_ctx_t *ctx);
ngx_int_t ngx_http_cart_park_books(ngx_http_cart_ctx_t *ctx, const cart_image_t *image);
ngx_int_t ngx_http_cart_park_early(ngx_http_cart_ctx_t *ctx);
void ngx_http_cart_answered(void *context, cart_ticket_t ticket, const cart_answer_t *answer);
void ngx_http_cart_drain(ngx_http_cart_link_t *link);
void ngx_http_cart_books_came(ngx_event_t *event);
void ngx_http_cart_expire_waiting(ngx_http_cart_worker_t *worker);
void ngx_http_cart_release(ngx_http_cart_ctx_t *ctx);

/* ngx_http_cart_answer.c */
/* 200 with the cart, 304, 412; NGX_BUSY: nothing sent, worker->rendered.missing must be asked for first. */
ngx_int_t ngx_http_cart_send(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const cart_image_t *image,
                             uint64_t generation);
ngx_int_t ngx_http_cart_problem(ngx_http_request_t *r, edge_problem_t problem, const char *detail);
ngx_int_t ngx_http_cart_problem_field(ngx_http_request_t *r, edge_problem_t problem, const char *detail,
                                      const char *field, const char *code, const char *field_detail, ngx_int_t offset);
ngx_int_t ngx_http_cart_method_not_allowed(ngx_http_request_t *r, const char *allow);
ngx_int_t ngx_http_cart_options(ngx_http_request_t *r, ngx_http_cart_ctx_t *ctx, const char *allow);
ngx_int_t ngx_http_cart_send_text(ngx_http_request_t *r, ngx_uint_t status, const char *type, const u_char *text,
                                  size_t length);
ngx_table_elt_t *ngx_http_cart_header(ngx_http_request_t *r, const char *name, size_t name_length, const char *lowcase,
                                      const void *value, size_t length);
#define ngx_http_cart_header_literal(r, name, lowcase, value)                                                          \
    ngx_http_cart_header((r), name, sizeof(name) - 1, lowcase, value, sizeof(value) - 1)

/* Borrowed from the pool; empty without memory. */
ngx_str_t ngx_http_cart_request_id(ngx_http_request_t *r);

/* ngx_http_cart_pages.c: sets handler and filters in place */
ngx_int_t ngx_http_cart_pages_init(ngx_conf_t *cf);

/* ngx_http_cart_status.c */
ngx_int_t ngx_http_cart_status_handler(ngx_http_request_t *r);

/* ngx_http_cart_variables.c */
ngx_int_t ngx_http_cart_add_variables(ngx_conf_t *cf);

static inline uint64_t ngx_http_cart_now_us(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* this clock is always there */
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

#endif
