/*
 * Requests that wait: for the service (a ticket of cart_worker.h), or for books the replica misses.
 *
 * One record (the context) a request, counted once while it waits. Released once, by whichever comes first: its end
 * (finish) or nginx's cleanup when the client has gone. An answer whose ticket is not in the tree any more is nobody's.
 * Success is only ever sent from ngx_http_cart_send, on an image that the service confirmed.
 */
#include "edge/ngx_http_cart_module.h"

#define ASK_AGAIN_MS   500
#define TICK_PARKED_MS 20

void ngx_http_cart_set_state(ngx_http_cart_ctx_t *ctx, ngx_http_cart_state_t to) {
    /* Bit n of row m: from m to n. */
    static const uint8_t legal[] = {
        [NGX_HTTP_CART_NEW] = 1 << NGX_HTTP_CART_EARLY | 1 << NGX_HTTP_CART_BODY | 1 << NGX_HTTP_CART_FETCHING |
                              1 << NGX_HTTP_CART_BOOKS | 1 << NGX_HTTP_CART_DONE,
        [NGX_HTTP_CART_EARLY] = 1 << NGX_HTTP_CART_EARLY | 1 << NGX_HTTP_CART_BODY | 1 << NGX_HTTP_CART_FETCHING |
                                1 << NGX_HTTP_CART_BOOKS | 1 << NGX_HTTP_CART_DONE,
        [NGX_HTTP_CART_BODY] = 1 << NGX_HTTP_CART_FETCHING | 1 << NGX_HTTP_CART_CHANGING | 1 << NGX_HTTP_CART_BOOKS |
                               1 << NGX_HTTP_CART_DONE,
        [NGX_HTTP_CART_FETCHING] = 1 << NGX_HTTP_CART_CHANGING | 1 << NGX_HTTP_CART_BOOKS | 1 << NGX_HTTP_CART_DONE,
        [NGX_HTTP_CART_BOOKS] = 1 << NGX_HTTP_CART_FETCHING | 1 << NGX_HTTP_CART_CHANGING | 1 << NGX_HTTP_CART_DONE,
        [NGX_HTTP_CART_CHANGING] = 1 << NGX_HTTP_CART_BOOKS | 1 << NGX_HTTP_CART_DONE,
        [NGX_HTTP_CART_DONE] = 0,
    };
    if ((legal[ctx->state] & 1 << to) == 0) {
        ngx_log_error(NGX_LOG_ALERT, ctx->request->connection->log, 0, "cart: state %d to %d", (int)ctx->state,
                      (int)to);
        ngx_debug_point();
    }
    ctx->state = (uint8_t)to;
}

/* Not waiting any more, whatever for. Idempotent. */
void ngx_http_cart_release(ngx_http_cart_ctx_t *ctx) {
    if (!ctx->parked) return;
    ctx->parked = 0;
    ctx->worker->parked--;
    atomic_store_explicit(&ctx->worker->counters->parked, ctx->worker->parked, memory_order_relaxed);
    if (ctx->answered || ctx->waiting) {
        ngx_queue_remove(&ctx->queue);
        ctx->answered = ctx->waiting = 0;
    }
    if (ctx->ticket != 0) {
        ngx_rbtree_delete(&ctx->link->tickets, &ctx->node);
        if (ctx->link->core != NULL) cart_worker_cancel(ctx->link->core, ctx->ticket);
        ctx->ticket = 0;
    }
}

static void cleanup(void *data) {
    ngx_http_cart_ctx_t *ctx = data;
    if (ctx->parked) ngx_http_cart_count(&ctx->worker->counters->cancelled, 1);
    ngx_http_cart_release(ctx);
}

/* Makes the request wait: its end is now ours, and the client's going away is told to us. */
static ngx_int_t park(ngx_http_cart_ctx_t *ctx) {
    ngx_http_request_t *r = ctx->request;
    ngx_http_cart_worker_t *worker = ctx->worker;
    if (!ctx->cleanup_added) {
        ngx_http_cleanup_t *entry = ngx_http_cleanup_add(r, 0);
        if (entry == NULL) return NGX_ERROR;
        entry->handler = cleanup;
        entry->data = ctx;
        ctx->cleanup_added = 1;
    }
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);
    } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }
    ctx->parked = 1;
    worker->parked++;
    atomic_store_explicit(&worker->counters->parked, worker->parked, memory_order_relaxed);
    if (ctx->started_us == 0) ctx->started_us = ngx_http_cart_now_us();
    return NGX_OK;
}

static ngx_uint_t is_full(ngx_http_cart_worker_t *worker) {
    return worker->parked >= (ngx_uint_t)worker->conf->parked_max;
}

static void wait_for_ticket(ngx_http_cart_ctx_t *ctx) {
    ngx_http_cart_link_t *link = ctx->link;
    ctx->node.key = ctx->ticket;
    ngx_rbtree_insert(&link->tickets, &ctx->node);
    ngx_http_cart_link_tick_within(link, TICK_PARKED_MS);
    ngx_http_cart_link_wake(link);
}

static ngx_int_t refuse_full(ngx_http_cart_ctx_t *ctx) {
    ngx_http_cart_count(&ctx->worker->counters->refused_reason[CART_REASON_QUEUE], 1);
    return ngx_http_cart_problem(ctx->request, EDGE_PROBLEM_CART_UNAVAILABLE, "Too many requests are waiting.");
}

ngx_int_t ngx_http_cart_park_fetch(ngx_http_cart_ctx_t *ctx, ngx_uint_t seat) {
    ctx->link = ngx_http_cart_link_for(ctx->worker, &ctx->claims.user);
    if (is_full(ctx->worker)) return refuse_full(ctx);
    if (park(ctx) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (cart_worker_fetch(ctx->link->core, &ctx->claims.user, &ctx->claims.session, ctx->claims.issued_s, seat != 0,
                          ngx_current_msec, &ctx->ticket) != CART_WORKER_OK) {
        ctx->ticket = 0;
        ngx_http_cart_release(ctx);
        return refuse_full(ctx);
    }
    ngx_http_cart_set_state(ctx, NGX_HTTP_CART_FETCHING);
    wait_for_ticket(ctx);
    return NGX_DONE;
}

ngx_int_t ngx_http_cart_park_change(ngx_http_cart_ctx_t *ctx) {
    ctx->link = ngx_http_cart_link_for(ctx->worker, &ctx->claims.user);
    if (is_full(ctx->worker)) return refuse_full(ctx);
    if (park(ctx) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (ctx->earned) {
        /* A seat for who has earned it. Nobody waits for this answer, so its ticket is forgotten; when the link takes
         * no more, the next read earns the seat instead. */
        cart_ticket_t nobodys;
        (void)cart_worker_fetch(ctx->link->core, &ctx->claims.user, &ctx->claims.session, ctx->claims.issued_s, true,
                                ngx_current_msec, &nobodys);
        ctx->earned = 0;
    }
    if (cart_worker_change(ctx->link->core, ctx->change, ngx_current_msec, &ctx->ticket) != CART_WORKER_OK) {
        ctx->ticket = 0;
        ngx_http_cart_release(ctx);
        return refuse_full(ctx);
    }
    ngx_http_cart_set_state(ctx, NGX_HTTP_CART_CHANGING);
    wait_for_ticket(ctx);
    return NGX_DONE;
}

static void ask_books(ngx_http_cart_ctx_t *ctx) {
    edge_rendered_t *rendered = &ctx->worker->rendered;
    ngx_uint_t count = ngx_min(rendered->missing_count, CART_WORKER_ASK_MAX);
    ctx->asked_ms = ngx_current_msec;
    /* False: no link just now; asked again later, while there is time. */
    if (cart_worker_ask_books(ctx->link->core, rendered->missing, (unsigned)count)) {
        ngx_http_cart_count(&ctx->worker->counters->books_asked, count);
        ngx_http_cart_link_wake(ctx->link);
    }
}

/* worker->rendered.missing is what is missed. */
ngx_int_t ngx_http_cart_park_books(ngx_http_cart_ctx_t *ctx, const cart_image_t *image) {
    ctx->link = ngx_http_cart_link_for(ctx->worker, &ctx->claims.user);
    if (ctx->image == NULL) {
        ctx->image = ngx_palloc(ctx->request->pool, sizeof(cart_image_t));
        if (ctx->image == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (image != NULL && ctx->image != image) cart_image_copy(ctx->image, image);
    if (is_full(ctx->worker)) return refuse_full(ctx);
    if (park(ctx) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ngx_http_cart_set_state(ctx, NGX_HTTP_CART_BOOKS);
    ctx->deadline_ms = ngx_current_msec + ctx->worker->conf->write_timeout;
    ctx->waiting = 1;
    ngx_queue_insert_tail(&ctx->worker->waiting, &ctx->queue);
    ngx_http_cart_link_tick_within(&ctx->worker->links[0], TICK_PARKED_MS);
    ask_books(ctx);
    return NGX_DONE;
}

/* Before the first revocation list no token is good or bad: the request waits for it, as long as a change may wait. */
ngx_int_t ngx_http_cart_park_early(ngx_http_cart_ctx_t *ctx) {
    ctx->link = &ctx->worker->links[0];
    if (ctx->state != NGX_HTTP_CART_EARLY) ctx->deadline_ms = ngx_current_msec + ctx->worker->conf->write_timeout;
    if (is_full(ctx->worker)) return refuse_full(ctx);
    if (park(ctx) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ngx_http_cart_set_state(ctx, NGX_HTTP_CART_EARLY);
    ctx->waiting = 1;
    ngx_queue_insert_tail(&ctx->worker->early, &ctx->queue);
    ngx_http_cart_link_tick_within(ctx->link, TICK_PARKED_MS);
    return NGX_DONE;
}

/* ---- answers --------------------------------------------------------------------------------------------------------- */

static ngx_http_cart_ctx_t *find(ngx_http_cart_link_t *link, cart_ticket_t ticket) {
    ngx_rbtree_node_t *node = link->tickets.root;
    while (node != &link->sentinel) {
        if (node->key == ticket) return ngx_rbtree_data(node, ngx_http_cart_ctx_t, node);
        node = ticket < node->key ? node->left : node->right;
    }
    return NULL;
}

/* From inside the core: only noted, finished by ngx_http_cart_drain. */
void ngx_http_cart_answered(void *context, cart_ticket_t ticket, const cart_answer_t *answer) {
    ngx_http_cart_link_t *link = context;
    ngx_http_cart_ctx_t *ctx = find(link, ticket);
    if (ctx == NULL) return; /* a seat's fetch that nobody waits for */
    ngx_rbtree_delete(&link->tickets, &ctx->node);
    ctx->ticket = 0;
    ctx->verdict = answer->verdict;
    ctx->generation = answer->generation;
    ctx->has_image = 0;
    if (answer->has_image) {
        if (ctx->image == NULL) ctx->image = ngx_palloc(ctx->request->pool, sizeof(cart_image_t));
        if (ctx->image != NULL) {
            cart_image_copy(ctx->image, &answer->image);
            ctx->has_image = 1;
        }
    }
    ctx->answered = 1;
    ngx_queue_insert_tail(&link->answered, &ctx->queue);
}

static void count_latency(ngx_http_cart_ctx_t *ctx) {
    uint64_t spent = ngx_http_cart_now_us() - ctx->started_us;
    unsigned bucket = 0;
    while (bucket < NGX_HTTP_CART_LATENCY_BUCKETS - 1 && spent >= (UINT64_C(100) << bucket)) bucket++;
    ngx_http_cart_count(&ctx->worker->counters->latency[bucket], 1);
    ngx_http_cart_count(&ctx->worker->counters->latency_us, spent);
}

static ngx_int_t refused(ngx_http_cart_ctx_t *ctx) {
    static const char *const details[] = {
        [CART_REASON_NONE] = NULL,
        [CART_REASON_LATE] = "No confirmation came in time. Repeat it with the same key.",
        [CART_REASON_MEMORY] = "Memory is at its limit.",
        [CART_REASON_JOURNAL] = "The journal is at its limit.",
        [CART_REASON_BASE_AWAY] = "The cart cannot be loaded now.",
        [CART_REASON_UNKNOWN] = "Whether it was kept is not known. Repeat it with the same key.",
        [CART_REASON_QUEUE] = "Too many requests are waiting.",
        [CART_REASON_RECENT] = "Too many changes of this cart in a short time.",
        [CART_REASON_FEED] = "A service it depends on is away.",
        [CART_REASON_STOPPING] = "The server is stopping. Repeat it with the same key.",
    };
    unsigned reason = ctx->verdict.reason < sizeof(details) / sizeof(details[0]) ? ctx->verdict.reason : 0;
    ngx_http_cart_count(&ctx->worker->counters->refused, 1);
    ngx_http_cart_count(&ctx->worker->counters->refused_reason[reason], 1);
    return ngx_http_cart_problem(ctx->request, EDGE_PROBLEM_CART_UNAVAILABLE, details[reason]);
}

static ngx_int_t limit(ngx_http_cart_ctx_t *ctx, edge_problem_t problem, const char *name, const char *detail) {
    char field[32];
    if (ctx->change->change_count == 1 && ctx->route != EDGE_ROUTE_CART) {
        ngx_memcpy(field, name, strlen(name) + 1);
    } else {
        u_char *end =
            ngx_snprintf((u_char *)field, sizeof(field) - 1, "changes[%ui].%s", (ngx_uint_t)ctx->verdict.change, name);
        *end = '\0';
    }
    return ngx_http_cart_problem_field(ctx->request, problem, detail, field, edge_problem_name(problem), detail, -1);
}

/* What the service's word for a change means to the caller. */
static ngx_int_t outcome(ngx_http_cart_ctx_t *ctx) {
    ngx_http_request_t *r = ctx->request;
    ctx->decided = 1;
    switch (ctx->verdict.outcome) {
    case CART_APPLIED:
    case CART_REPEATED:
        ngx_http_cart_count(ctx->verdict.outcome == CART_APPLIED ? &ctx->worker->counters->applied
                                                                 : &ctx->worker->counters->repeated,
                            1);
        if (!ctx->has_image) return NGX_HTTP_INTERNAL_SERVER_ERROR;
        return ngx_http_cart_send(r, ctx, ctx->image, ctx->generation);
    case CART_KEY_REUSED:
        return ngx_http_cart_problem(r, EDGE_PROBLEM_KEY_REUSED, NULL);
    case CART_VERSION_MISMATCH:
        return ngx_http_cart_problem(r, EDGE_PROBLEM_PRECONDITION, "The cart has changed since.");
    case CART_LINE_LIMIT:
        return limit(ctx, EDGE_PROBLEM_LINE_LIMIT, "book", "A cart holds at most 100 books.");
    case CART_QUANTITY_LIMIT:
        return limit(ctx, EDGE_PROBLEM_QUANTITY_LIMIT, "quantity", "A line holds at most 99 copies.");
    case CART_UNKNOWN_BOOK:
        return limit(ctx, EDGE_PROBLEM_UNKNOWN_BOOK, "book", "There is no such book.");
    case CART_SESSION_ENDED:
        return ngx_http_cart_problem(r, EDGE_PROBLEM_UNAUTHORIZED, "The session has ended.");
    case CART_REFUSED:
        return refused(ctx);
    default:
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0, "cart: outcome %d", (int)ctx->verdict.outcome);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}

/* A fetch came back: the cart to show, or the cart that a condition is about. */
static ngx_int_t fetched(ngx_http_cart_ctx_t *ctx) {
    ngx_http_request_t *r = ctx->request;
    if (ctx->verdict.outcome == CART_SESSION_ENDED) {
        return ngx_http_cart_problem(r, EDGE_PROBLEM_UNAUTHORIZED, "The session has ended.");
    }
    if (ctx->verdict.outcome != CART_APPLIED || !ctx->has_image) return refused(ctx);
    if (ctx->is_change) return ngx_http_cart_change_now(r, ctx, ctx->image, 1);
    return ngx_http_cart_send(r, ctx, ctx->image, ctx->generation);
}

/* The end of a request that had waited; NGX_DONE: it waits again. */
static void finish(ngx_http_cart_ctx_t *ctx, ngx_int_t result) {
    ngx_http_request_t *r = ctx->request;
    ngx_connection_t *c = r->connection;
    if (result == NGX_BUSY) result = ngx_http_cart_park_books(ctx, ctx->image);
    if (result != NGX_DONE) {
        count_latency(ctx);
        ngx_http_cart_set_state(ctx, NGX_HTTP_CART_DONE);
        ngx_http_finalize_request(r, result);
    }
    ngx_http_run_posted_requests(c);
}

void ngx_http_cart_drain(ngx_http_cart_link_t *link) {
    if (link->busy != 0) return;
    while (!ngx_queue_empty(&link->answered)) {
        ngx_queue_t *first = ngx_queue_head(&link->answered);
        ngx_http_cart_ctx_t *ctx = ngx_queue_data(first, ngx_http_cart_ctx_t, queue);
        ngx_http_cart_release(ctx);
        finish(ctx, ctx->state == NGX_HTTP_CART_FETCHING ? fetched(ctx) : outcome(ctx));
    }
}

/* ---- books ----------------------------------------------------------------------------------------------------------- */

static ngx_int_t try_again(ngx_http_cart_ctx_t *ctx) {
    if (ctx->is_change && !ctx->decided) return ngx_http_cart_change_now(ctx->request, ctx, ctx->image, 1);
    return ngx_http_cart_send(ctx->request, ctx, ctx->image, ctx->generation);
}

/* Some books came. Who still misses some waits on; who does not is taken out before his request ends. */
void ngx_http_cart_books_came(ngx_event_t *event) {
    ngx_http_cart_worker_t *worker = event->data;
    ngx_queue_t turn;
    if (ngx_queue_empty(&worker->waiting)) return;
    /* Those that wait now; who parks meanwhile is for the next time. */
    ngx_queue_init(&turn);
    ngx_queue_add(&turn, &worker->waiting);
    ngx_queue_init(&worker->waiting);
    while (!ngx_queue_empty(&turn)) {
        ngx_http_cart_ctx_t *ctx = ngx_queue_data(ngx_queue_head(&turn), ngx_http_cart_ctx_t, queue);
        edge_render_options_t options = {.currency = (const char *)worker->conf->currency.data};
        if (edge_render_cart(NULL, ctx->image, &worker->conf->books, &options, &worker->rendered) ==
            EDGE_RENDER_MISSING) {
            ngx_queue_remove(&ctx->queue);
            ngx_queue_insert_tail(&worker->waiting, &ctx->queue);
            continue;
        }
        ngx_http_cart_release(ctx);
        finish(ctx, try_again(ctx));
    }
}

static void end_early(ngx_http_cart_ctx_t *ctx, ngx_uint_t good) {
    ngx_http_request_t *r = ctx->request;
    ngx_connection_t *c = r->connection;
    ngx_http_cart_release(ctx);
    if (good) {
        /* As nginx's content phase does: parked again (NGX_DONE) gives back the count that we held. */
        ngx_http_finalize_request(r, ngx_http_cart_resume(ctx));
        ngx_http_run_posted_requests(c);
        return;
    }
    ctx->verdict = (cart_verdict_t){.outcome = CART_REFUSED, .reason = CART_REASON_FEED};
    finish(ctx, refused(ctx));
}

/* Called by the tick: the first list has come, or some have waited too long for it. */
static void look_at_early(ngx_http_cart_worker_t *worker) {
    if (ngx_queue_empty(&worker->early)) return;
    edge_revoked_stats_t stats;
    edge_revoked_stats(&worker->conf->revoked, &stats);
    ngx_uint_t good = stats.ready && ngx_http_cart_list(worker) != NGX_HTTP_CART_LIST_NONE;
    ngx_queue_t turn; /* who is early again meanwhile is for the next time */
    ngx_queue_init(&turn);
    ngx_queue_add(&turn, &worker->early);
    ngx_queue_init(&worker->early);
    while (!ngx_queue_empty(&turn)) {
        ngx_queue_t *first = ngx_queue_head(&turn);
        ngx_http_cart_ctx_t *ctx = ngx_queue_data(first, ngx_http_cart_ctx_t, queue);
        if (good || (ngx_msec_int_t)(ctx->deadline_ms - ngx_current_msec) <= 0) {
            end_early(ctx, good);
        } else {
            ngx_queue_remove(first);
            ngx_queue_insert_tail(&worker->early, first);
        }
    }
}

/* Called by the tick: asks again, and ends what has waited too long. */
void ngx_http_cart_expire_waiting(ngx_http_cart_worker_t *worker) {
    look_at_early(worker);
    ngx_queue_t *at = ngx_queue_head(&worker->waiting);
    while (at != ngx_queue_sentinel(&worker->waiting)) {
        ngx_http_cart_ctx_t *ctx = ngx_queue_data(at, ngx_http_cart_ctx_t, queue);
        ngx_msec_int_t left = (ngx_msec_int_t)(ctx->deadline_ms - ngx_current_msec);
        at = ngx_queue_next(at);
        if (left <= 0) {
            ctx->verdict = (cart_verdict_t){.outcome = CART_REFUSED, .reason = CART_REASON_FEED};
            ngx_http_cart_release(ctx);
            finish(ctx, refused(ctx));
            at = ngx_queue_head(&worker->waiting); /* what ended may have taken others with it */
            continue;
        }
        if (ngx_current_msec - ctx->asked_ms >= ASK_AGAIN_MS) {
            edge_render_options_t options = {.currency = (const char *)worker->conf->currency.data};
            if (edge_render_cart(NULL, ctx->image, &worker->conf->books, &options, &worker->rendered) ==
                EDGE_RENDER_MISSING) {
                ask_books(ctx);
            }
        }
    }
}
