/*
 * The edge's end of one link: a state machine without I/O. One for each nginx worker (and service named). Bytes and time
 * go in; bytes, answers and wishes (connect, close) come out. It parks what waits for the service, keeps the zone's seats
 * and slot as rule 6 of the design says, sends each request at most while its time lasts, and resends unanswered ones on
 * the next link under the same request id.
 *
 * A parked request has a ticket. Its transitions, all of them:
 *   queued → sent → answered                   the service's outcome: the only way to a success
 *   queued|sent → timed out                    CART_REFUSED/LATE; never sent again; a late DONE only updates the seat
 *   sent → queued                              link lost; goes out again on the next link while time is left
 *   any → cancelled                            client gone: no callback comes any more
 *   any → stopped                              worker exits: CART_REFUSED/STOPPING
 * Exactly one callback for each ticket that was not cancelled, never from inside the call that parked it.
 */
#ifndef CART_WORKER_H
#define CART_WORKER_H

#include "cart/cart_zone.h"

#define CART_WORKER_PARKED_MAX 16384             /* requests; beyond: CART_WORKER_FULL → 503 */
#define CART_WORKER_OUT_MAX    (4 * 1024 * 1024) /* bytes not yet taken by the socket; beyond: CART_WORKER_FULL */

typedef struct cart_worker cart_worker_t;
typedef uint64_t cart_ticket_t; /* never 0, never reused */

typedef struct {
    uint32_t write_timeout_ms; /* how long a change or fetch may stay parked */
    uint32_t ping_interval_ms;
    uint32_t link_timeout_ms;                    /* no PING answered for so long: the link is closed by us */
    uint32_t reconnect_min_ms, reconnect_max_ms; /* back-off, doubled, with jitter from `seed` */
    uint32_t lease_ms;
    uint32_t pid;
    uint64_t started;
    uint64_t seed;
    bool several; /* other services are named too: a service that says `sole` is refused */
} cart_worker_config_t;

typedef struct {
    cart_verdict_t verdict;
    bool has_image;
    cart_image_t image;  /* the cart after the commit; for a fetch, the cart; base_version gives the term */
    uint64_t generation; /* of the seat it was stored in, 0 = none */
} cart_answer_t;

/* One book of the replica as the link carries it. Strings are UTF-8, borrowed until the callback returns. */
#define CART_BOOK_TITLE_MAX   1024
#define CART_BOOK_AUTHORS_MAX 32
#define CART_BOOK_AUTHOR_MAX  1024 /* bytes of one name */
#define CART_BOOK_URL_MAX     1024
typedef struct {
    uint64_t book;
    uint64_t position; /* of its newest change in the feed */
    uint64_t price_minor;
    uint32_t available;   /* copies free now */
    uint8_t availability; /* cart_availability_t */
    uint8_t state;        /* cart_book_state_t */
    uint8_t author_count;
    uint16_t title_length;
    uint16_t url_length; /* 0 = null */
    const char *title;
    const char *url;
    const char *authors[CART_BOOK_AUTHORS_MAX];
    uint16_t author_lengths[CART_BOOK_AUTHORS_MAX];
} cart_book_record_t;
typedef enum { CART_IN_STOCK = 0, CART_LOW_STOCK = 1, CART_OUT_OF_STOCK = 2 } cart_availability_t;
typedef enum {
    CART_BOOK_LIVE = 0,
    CART_BOOK_GONE = 1,
    CART_BOOK_UNKNOWN = 2 /* answer to a question */
} cart_book_state_t;

typedef enum { CART_REVOKE_SESSION = 1, CART_REVOKE_USER = 2 } cart_revocation_kind_t;
typedef struct {
    cart_id_t id; /* session or user */
    uint64_t position;
    uint64_t issued_before_s; /* user: tokens issued before this are dead */
    uint64_t expires_s;       /* may be forgotten then */
    uint8_t kind;
} cart_revocation_t;

typedef struct {
    void *context;
    void (*answered)(void *context, cart_ticket_t ticket, const cart_answer_t *answer);
    /* Feeds. A full list begins with a call of count 0, full, not last (forget any half list), goes on with chunks and
     * replaces the old one in one step with the call that has last = true; in it a book may come twice: the greater
     * position holds. Position is where to resume once the call is taken in (in a full list: from its last call).
     * generation: of the feed's store. `answers` true: books asked for, or changed while a full list is under way: apply
     * them, position and generation do not move. For revocations the latter is generation 0, position 0. */
    void (*books)(void *context, const cart_book_record_t *books, unsigned count, bool full, bool last, bool answers,
                  uint64_t generation, uint64_t position);
    void (*revocations)(void *context, const cart_revocation_t *list, unsigned count, bool full, bool last,
                        uint64_t generation, uint64_t position);
    /* Whether the service still hears the feeds from their sources (rule 9). Told after HELLO and on every change. */
    void (*feeds_vouched)(void *context, bool books, bool revocations);
    /* Where the zone's replicas stand, for HELLO and for following a feed: 0, 0 = nothing yet. */
    void (*feed_positions)(void *context, uint64_t *books_generation, uint64_t *books_position,
                           uint64_t *revocations_generation, uint64_t *revocations_position);
    void (*log)(void *context, int level /* 0 alert 1 error 2 warn 3 info */, const char *event, const char *detail);
} cart_worker_owner_t;

/* NULL, or what is wrong with the configuration (a static text that names the field). */
#define CART_WORKER_WRITE_TIMEOUT_MAX_MS 30000 /* half the resend window of cart_recent.h */
const char *cart_worker_config_check(const cart_worker_config_t *config);
/* NULL: no memory. The zone is borrowed. Takes a slot lazily, at the first connect. */
cart_worker_t *cart_worker_create(cart_zone_t *zone, const cart_worker_config_t *config,
                                  const cart_worker_owner_t *owner);
/* Answers everything parked with STOPPING, gives the slot back. Not from inside a callback. */
void cart_worker_destroy(cart_worker_t *worker);

typedef enum { CART_WORKER_OK, CART_WORKER_FULL } cart_worker_result_t;

/* Parks a change. The request is copied. */
cart_worker_result_t cart_worker_change(cart_worker_t *worker, const cart_request_t *request, uint64_t now_ms,
                                        cart_ticket_t *ticket);
/* Parks a read that the zone could not answer. seat: reserve a seat and subscribe (when memory allows). */
cart_worker_result_t cart_worker_fetch(cart_worker_t *worker, const cart_id_t *user, const cart_id_t *session,
                                       uint64_t issued_s, bool seat, uint64_t now_ms, cart_ticket_t *ticket);
/* Asks for books that the replica misses; the answer comes through owner.books with answers = true. Not parked: the
 * caller parks his own request until then or his time-out. False: no link, or too many asked. */
#define CART_WORKER_ASK_MAX 100
bool cart_worker_ask_books(cart_worker_t *worker, const uint64_t *books, unsigned count);
void cart_worker_cancel(cart_worker_t *worker, cart_ticket_t ticket);

/* The socket. wants_connect turns true when the back-off allows another attempt (then call connected or disconnected). */
bool cart_worker_wants_connect(const cart_worker_t *worker, uint64_t now_ms);
void cart_worker_connecting(cart_worker_t *worker, uint64_t now_ms);
void cart_worker_connected(cart_worker_t *worker, uint64_t now_ms);
void cart_worker_disconnected(cart_worker_t *worker, uint64_t now_ms);
/* False: the peer broke the protocol; close the socket and call disconnected. */
bool cart_worker_received(cart_worker_t *worker, const uint8_t *bytes, size_t length, uint64_t now_ms);
/* What to write next: gathers everything queued since the last call into frames (call once per turn of the event loop).
 * Borrowed until the next call. */
size_t cart_worker_output(cart_worker_t *worker, uint64_t now_ms, const uint8_t **bytes);
void cart_worker_sent(cart_worker_t *worker, size_t length);

/* Timers: time-outs, PING, lease, clearance of the zone. Returns when it wants to be called next, in ms from now. */
uint32_t cart_worker_tick(cart_worker_t *worker, uint64_t now_ms);
/* True: the link is to be closed (timeouts, refused peer). */
bool cart_worker_wants_close(const cart_worker_t *worker);

bool cart_worker_is_up(const cart_worker_t *worker);
bool cart_worker_holds_feeds(const cart_worker_t *worker);
unsigned cart_worker_parked(const cart_worker_t *worker);

#endif
