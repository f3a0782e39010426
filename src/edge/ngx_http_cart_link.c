/*
 * One link: a socket to one cart service, driven by the pure state machine cart_worker.h. This file moves bytes and
 * time; it decides nothing about requests or seats.
 *
 *   tick ──wants_connect──▶ connecting ──writable──▶ connected ──read/write──▶ … ──error, close──▶ none (tick again)
 *
 * Answers that the core gives are only collected while it runs (link->busy) and finished after it returned, because
 * finishing a request may begin another one that parks. Output is gathered once per turn of the event loop.
 */
#include "edge/ngx_http_cart_module.h"

#include <netinet/tcp.h>

#define READ_CHUNK         65536
#define READS_A_TURN       16
#define CONNECT_TIMEOUT_MS 2000
#define TICK_PARKED_MS     20 /* how exactly a parked request's time is kept */
#define TICK_IDLE_MS       1000
#define PING_INTERVAL_MS   500
#define LINK_TIMEOUT_MS    5000
#define RECONNECT_MIN_MS   20
#define RECONNECT_MAX_MS   1000
#define LEASE_MS           2000

static void link_tick(ngx_event_t *event);
static void link_flush(ngx_event_t *event);
static void link_lost(ngx_http_cart_link_t *link);

/* ---- what the core tells ------------------------------------------------------------------------------------------- */

static void told_books(void *context, const cart_book_record_t *list, unsigned count, bool full, bool last,
                       bool answers, uint64_t generation, uint64_t position) {
    ngx_http_cart_link_t *link = context;
    edge_books_t *books = &link->worker->conf->books;
    if (full && !link->full_books) {
        link->full_books = 1;
        edge_books_full_begin(books, generation);
    } else if (full && count == 0 && !last) {
        edge_books_full_begin(books, generation); /* begun anew */
    }
    for (unsigned i = 0; i < count; i++) {
        if (!edge_books_put(books, &list[i])) {
            ngx_log_error(NGX_LOG_ERR, link->worker->log, 0, "cart_books_zone has no room for book %uL", list[i].book);
        }
    }
    if (full && last) {
        link->full_books = 0;
        edge_books_full_end(books, generation, position);
    } else if (!full && !answers) {
        edge_books_advance(books, generation, position);
    }
    if (!ngx_queue_empty(&link->worker->waiting)) {
        ngx_post_event(&link->worker->books_event, &ngx_posted_events);
    }
}

static void told_revocations(void *context, const cart_revocation_t *list, unsigned count, bool full, bool last,
                             uint64_t generation, uint64_t position) {
    ngx_http_cart_link_t *link = context;
    edge_revoked_t *revoked = &link->worker->conf->revoked;
    if (full && (!link->full_revocations || (count == 0 && !last))) {
        link->full_revocations = 1;
        edge_revoked_full_begin(revoked);
    }
    for (unsigned i = 0; i < count; i++) {
        if (edge_revoked_add(revoked, &list[i], full, (uint64_t)ngx_time()) == EDGE_REVOKED_FULL) {
            ngx_log_error(NGX_LOG_ALERT, link->worker->log, 0,
                          "cart_zone is too small for the revocation list: no token is accepted");
        }
    }
    if (full && last) {
        link->full_revocations = 0;
        edge_revoked_full_end(revoked, generation, position);
        ngx_http_cart_link_tick_within(link, 1); /* the core has a PING to send */
    } else if (!full && generation != 0) {
        edge_revoked_advance(revoked, generation, position);
    }
}

static void told_vouched(void *context, bool books, bool revocations) {
    ngx_http_cart_link_t *link = context;
    if (link->told && link->revocations_vouched && !revocations) {
        ngx_log_error(NGX_LOG_WARN, link->worker->log, 0, "cart service \"%V\" does not hear of revocations any more",
                      &link->service->name);
    }
    link->told = 1;
    link->books_vouched = books;
    link->revocations_vouched = revocations;
}

static void asked_positions(void *context, uint64_t *books_generation, uint64_t *books_position,
                            uint64_t *revocations_generation, uint64_t *revocations_position) {
    ngx_http_cart_link_t *link = context;
    edge_books_stats_t books;
    edge_revoked_stats_t revoked;
    edge_books_stats(&link->worker->conf->books, &books);
    edge_revoked_stats(&link->worker->conf->revoked, &revoked);
    *books_generation = books.ready ? books.generation : 0;
    *books_position = books.ready ? books.position : 0;
    *revocations_generation = revoked.ready ? revoked.generation : 0;
    *revocations_position = revoked.ready ? revoked.position : 0;
}

static void told_log(void *context, int level, const char *event, const char *detail) {
    static const ngx_uint_t levels[] = {NGX_LOG_ALERT, NGX_LOG_ERR, NGX_LOG_WARN, NGX_LOG_NOTICE};
    ngx_http_cart_link_t *link = context;
    ngx_log_error(levels[level < 0 || level > 3 ? 0 : level], link->worker->log, 0, "cart link \"%V\": %s: %s",
                  &link->service->name, event, detail == NULL ? "" : detail);
}

/* ---- life ------------------------------------------------------------------------------------------------------------ */

ngx_int_t ngx_http_cart_link_start(ngx_http_cart_link_t *link) {
    ngx_http_cart_worker_t *worker = link->worker;
    cart_worker_config_t config = {
        .write_timeout_ms = (uint32_t)worker->conf->write_timeout,
        .ping_interval_ms = PING_INTERVAL_MS,
        .link_timeout_ms = LINK_TIMEOUT_MS,
        .reconnect_min_ms = RECONNECT_MIN_MS,
        .reconnect_max_ms = RECONNECT_MAX_MS,
        .lease_ms = LEASE_MS,
        .pid = (uint32_t)ngx_pid,
        .started = ngx_http_cart_process_started(ngx_pid),
        .several = worker->conf->services.nelts > 1,
    };
    ngx_http_cart_random(worker, (uint8_t *)&config.seed, sizeof(config.seed));
    cart_worker_owner_t owner = {.context = link,
                                 .answered = ngx_http_cart_answered,
                                 .books = told_books,
                                 .revocations = told_revocations,
                                 .feeds_vouched = told_vouched,
                                 .feed_positions = asked_positions,
                                 .log = told_log};
    const char *wrong = cart_worker_config_check(&config);
    if (wrong != NULL) {
        ngx_log_error(NGX_LOG_EMERG, worker->log, 0, "cart link: %s", wrong);
        return NGX_ERROR;
    }
    link->core = cart_worker_create(&worker->conf->cart_zone, &config, &owner);
    if (link->core == NULL) return NGX_ERROR;
    ngx_rbtree_init(&link->tickets, &link->sentinel, ngx_rbtree_insert_value);
    ngx_queue_init(&link->answered);
    link->tick.handler = link_tick;
    link->tick.data = link;
    link->tick.log = worker->log;
    link->tick.cancelable = 1;
    link->flush.handler = link_flush;
    link->flush.data = link;
    link->flush.log = worker->log;
    ngx_add_timer(&link->tick, 1);
    return NGX_OK;
}

void ngx_http_cart_link_stop(ngx_http_cart_link_t *link) {
    if (link->core == NULL) return;
    if (link->tick.timer_set) ngx_del_timer(&link->tick);
    if (link->flush.posted) {
        ngx_delete_posted_event(&link->flush);
    }
    if (link->peer.connection != NULL) {
        ngx_close_connection(link->peer.connection);
        link->peer.connection = NULL;
    }
    cart_worker_t *core = link->core;
    link->busy++;
    cart_worker_destroy(core); /* answers what is parked */
    link->busy--;
    link->core = NULL;
    ngx_http_cart_drain(link);
}

void ngx_http_cart_link_wake(ngx_http_cart_link_t *link) {
    ngx_post_event(&link->flush, &ngx_posted_events); /* once a turn, however often it is asked for */
}

void ngx_http_cart_link_tick_within(ngx_http_cart_link_t *link, ngx_msec_t ms) {
    link->tick.cancelable = link->worker->parked == 0;
    if (link->tick.timer_set) {
        if ((ngx_msec_int_t)(link->tick.timer.key - ngx_current_msec) <= (ngx_msec_int_t)ms) return;
        ngx_del_timer(&link->tick); /* nginx itself does not move a timer by less than 300 ms */
    }
    ngx_add_timer(&link->tick, ms);
}

/* Rendezvous hashing: the service with the greatest hash of (service, user). */
ngx_http_cart_link_t *ngx_http_cart_link_for(ngx_http_cart_worker_t *worker, const cart_id_t *user) {
    if (worker->link_count == 1) return &worker->links[0];
    uint64_t slice;
    ngx_memcpy(&slice, user->bytes, sizeof(slice));
    ngx_http_cart_link_t *best = &worker->links[0];
    uint64_t best_hash = 0;
    for (ngx_uint_t i = 0; i < worker->link_count; i++) {
        /* Two rounds of splitmix64's finaliser over name and user. */
        uint64_t hash = worker->links[i].service->hash ^ slice;
        hash = (hash ^ hash >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        hash = (hash ^ hash >> 27) * UINT64_C(0x94d049bb133111eb);
        hash ^= hash >> 31;
        if (i == 0 || hash > best_hash) {
            best = &worker->links[i];
            best_hash = hash;
        }
    }
    return best;
}

/* ---- the socket ------------------------------------------------------------------------------------------------------ */

static void link_lost(ngx_http_cart_link_t *link) {
    if (link->peer.connection != NULL) {
        ngx_close_connection(link->peer.connection);
        link->peer.connection = NULL;
    }
    link->connected = 0;
    link->told = 0;
    link->full_books = 0;
    link->full_revocations = 0;
    link->busy++;
    cart_worker_disconnected(link->core, ngx_current_msec);
    link->busy--;
    ngx_http_cart_drain(link);
}

static void link_connected(ngx_http_cart_link_t *link) {
    ngx_connection_t *c = link->peer.connection;
    if (c->write->timer_set) ngx_del_timer(c->write);
    link->connected = 1;
    link->busy++;
    cart_worker_connected(link->core, ngx_current_msec);
    link->busy--;
    ngx_http_cart_drain(link);
    ngx_http_cart_link_wake(link);
}

static void link_read(ngx_event_t *event) {
    ngx_connection_t *c = event->data;
    ngx_http_cart_link_t *link = c->data;
    static u_char bytes[READ_CHUNK];
    if (!link->connected) return; /* connecting: the write event tells */
    for (unsigned i = 0; i < READS_A_TURN; i++) {
        ssize_t count = c->recv(c, bytes, sizeof(bytes));
        if (count == NGX_AGAIN) break;
        if (count <= 0) {
            ngx_log_error(NGX_LOG_NOTICE, link->worker->log, 0, "cart link \"%V\": closed", &link->service->name);
            link_lost(link);
            return;
        }
        link->busy++;
        bool good = cart_worker_received(link->core, bytes, (size_t)count, ngx_current_msec);
        link->busy--;
        if (!good) {
            ngx_log_error(NGX_LOG_ERR, link->worker->log, 0, "cart link \"%V\": broke the protocol",
                          &link->service->name);
            link_lost(link);
            return;
        }
    }
    if (ngx_handle_read_event(event, 0) != NGX_OK) {
        link_lost(link);
        return;
    }
    if (event->ready) {
        ngx_post_event(event, &ngx_posted_events); /* more is there; others first */
    }
    ngx_http_cart_drain(link);
    ngx_http_cart_link_wake(link);
}

static void link_write(ngx_event_t *event) {
    ngx_connection_t *c = event->data;
    ngx_http_cart_link_t *link = c->data;
    if (!link->connected) {
        int error = 0;
        socklen_t length = sizeof(error);
        if (event->timedout || getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length) == -1 || error != 0) {
            link_lost(link);
            return;
        }
        link_connected(link);
        return;
    }
    ngx_http_cart_link_wake(link);
}

static void link_flush(ngx_event_t *event) {
    ngx_http_cart_link_t *link = event->data;
    ngx_connection_t *c = link->peer.connection;
    if (c == NULL || !link->connected) return;
    for (;;) {
        const uint8_t *bytes = NULL;
        size_t length = cart_worker_output(link->core, ngx_current_msec, &bytes);
        if (length == 0) break;
        ssize_t sent =
            c->send(c, (u_char *)(uintptr_t)bytes, length); /* nginx's send takes no const; it does not write */
        if (sent == NGX_AGAIN) break;
        if (sent < 0) {
            link_lost(link);
            return;
        }
        cart_worker_sent(link->core, (size_t)sent);
    }
    if (ngx_handle_write_event(c->write, 0) != NGX_OK) link_lost(link);
}

static void link_connect(ngx_http_cart_link_t *link) {
    link->busy++;
    cart_worker_connecting(link->core, ngx_current_msec);
    link->busy--;
    ngx_memzero(&link->peer, sizeof(link->peer));
    link->peer.sockaddr = link->service->address.sockaddr;
    link->peer.socklen = link->service->address.socklen;
    link->peer.name = &link->service->name;
    link->peer.get = ngx_event_get_peer;
    link->quiet = *link->worker->log;
    link->quiet.log_level = NGX_LOG_ALERT;
    link->peer.log = &link->quiet;
    link->peer.log_error = NGX_ERROR_ERR;
    ngx_int_t result = ngx_event_connect_peer(&link->peer);
    if (result != NGX_OK && result != NGX_AGAIN) {
        link_lost(link);
        return;
    }
    ngx_connection_t *c = link->peer.connection;
    c->data = link;
    c->log = link->worker->log;
    c->read->log = c->write->log = c->log;
    c->read->handler = link_read;
    c->write->handler = link_write;
    c->read->cancelable = c->write->cancelable = 1;
    int on = 1;
    if (link->peer.sockaddr->sa_family != AF_UNIX &&
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == -1) {
        ngx_log_error(NGX_LOG_WARN, link->worker->log, ngx_errno, "cart link: TCP_NODELAY failed"); /* slower only */
    }
    if (result == NGX_AGAIN) {
        ngx_add_timer(c->write, CONNECT_TIMEOUT_MS);
    } else {
        link_connected(link);
    }
}

/* A replica that was emptied (its writer died) comes back only by a new HELLO, which says that we have nothing. */
static ngx_uint_t must_begin_anew(ngx_http_cart_link_t *link) {
    edge_books_stats_t books;
    edge_revoked_stats_t revoked;
    if (!cart_worker_is_up(link->core) || !cart_worker_holds_feeds(link->core) || !link->told) return 0;
    edge_revoked_stats(&link->worker->conf->revoked, &revoked);
    if (revoked.emptied && !link->full_revocations) return 1;
    edge_books_stats(&link->worker->conf->books, &books);
    return books.emptied && !link->full_books;
}

static void link_tick(ngx_event_t *event) {
    ngx_http_cart_link_t *link = event->data;
    ngx_msec_t now = ngx_current_msec;
    link->busy++;
    ngx_msec_t next = cart_worker_tick(link->core, now);
    link->busy--;
    ngx_http_cart_drain(link);
    if (link == &link->worker->links[0]) ngx_http_cart_expire_waiting(link->worker);
    if (cart_worker_wants_close(link->core) || must_begin_anew(link)) link_lost(link);
    if (link->peer.connection == NULL && cart_worker_wants_connect(link->core, now)) link_connect(link);
    ngx_http_cart_link_wake(link);
    ngx_msec_t most = link->worker->parked > 0 ? TICK_PARKED_MS : TICK_IDLE_MS;
    if (link->peer.connection == NULL && most > RECONNECT_MIN_MS) most = RECONNECT_MIN_MS;
    if (next > most) next = most;
    event->cancelable = link->worker->parked == 0;
    ngx_add_timer(event, ngx_max(next, 1));
}
