/*
 * What cart_worker.c (the link) and cart_worker_park.c (who waits for what) share. Private to both.
 */
#ifndef CART_WORKER_STATE_H
#define CART_WORKER_STATE_H

#include "cart/cart_frame.h"
#include "cart/cart_out.h"
#include "cart/cart_worker.h"

#define PARKED_INLINE_BYTES 160 /* an op of six changes; larger ones take a block of their own */
#define PARKED_CHUNK        256
#define PINGS_MAX           8    /* unanswered at one time; beyond, none is sent: the link is about to time out */
#define RELEASES_MAX        4096 /* waiting for a link; beyond, dropped: the next PUSH for such a seat releases it */

typedef enum { PARKED_FREE, PARKED_QUEUED, PARKED_SENT, PARKED_DEAD } parked_state_t;
typedef enum { PARKED_CHANGE, PARKED_FETCH } parked_kind_t;

/*
 * One record a ticket. QUEUED and SENT ones are on the list `waiting` in the order they were parked; the QUEUED are its
 * tail, from first_queued on. DEAD: nobody waits any more, but the service still owes an answer on this link.
 */
typedef struct parked {
    struct parked *previous, *next;
    cart_ticket_t ticket;
    uint64_t deadline_ms;
    uint64_t generation; /* fetch: of the seat that was reserved when it was sent; 0 = none */
    cart_id_t user;
    uint32_t number; /* on this link: uses << 16 | index; 0 = not sent */
    uint16_t index;
    uint16_t uses;
    uint8_t state; /* parked_state_t */
    uint8_t kind;  /* parked_kind_t */
    bool seat;     /* fetch: wants one */
    uint16_t length;
    uint8_t *bytes; /* the OPS or FETCH record; own_bytes or, owned, a block */
    uint8_t own_bytes[PARKED_INLINE_BYTES];
} parked_t;

typedef struct {
    parked_t *first, *last;
    unsigned count;
} parked_list_t;

typedef enum { LINK_IDLE, LINK_CONNECTING, LINK_GREETING, LINK_UP } link_state_t;

struct cart_worker {
    cart_zone_t *zone; /* borrowed */
    cart_worker_config_t config;
    cart_worker_owner_t owner;

    /* the link */
    uint8_t link; /* link_state_t */
    bool wants_close;
    bool has_slot;
    uint16_t slot;
    uint64_t link_number;
    uint64_t push_next;
    uint64_t hello_ms;
    cart_id_t hello_service; /* what HELLO asked to resume */
    uint64_t hello_push_seen;
    uint64_t heard_ms; /* sending time of the newest PING answered, or of HELLO */
    uint64_t retry_ms; /* not before: the next connect */
    unsigned failures;
    uint64_t random;
    cart_out_t out;
    uint8_t *in; /* owned: an incomplete frame */
    size_t in_length, in_capacity;

    /* liveness */
    uint64_t ping_number;
    uint64_t ping_answered;
    uint64_t ping_sent_ms[PINGS_MAX]; /* by number modulo */
    uint64_t ping_due_ms;

    /* feeds */
    bool holds_lease;
    uint64_t lease_due_ms;
    bool books_caught_up, revoked_caught_up; /* on this link, since FOLLOW */
    bool told_vouched, books_vouched, revoked_vouched;

    /* seats given up */
    cart_release_record_t *releases; /* owned, a ring */
    unsigned release_first, release_count;
    uint64_t releases_dropped;
    uint64_t step_due_ms;

    /* parked requests */
    parked_t **chunks; /* owned */
    unsigned chunk_count;
    parked_t *free_records;
    parked_list_t waiting, dead;
    parked_t *first_queued;
    uint64_t tickets;
};

/* ---- cart_worker_park.c -------------------------------------------------------------------------------------------- */
/* A record with room for `bytes`, not yet on a list. NULL: at the maximum, or no memory. */
parked_t *parked_new(cart_worker_t *worker, size_t bytes);
/* Puts it behind all others; draws its ticket. */
void parked_enqueue(cart_worker_t *worker, parked_t *parked);
parked_t *parked_by_ticket(cart_worker_t *worker, cart_ticket_t ticket);
/* SENT or DEAD under this number on this link; NULL: none. */
parked_t *parked_by_number(cart_worker_t *worker, uint32_t number);
void parked_mark_sent(cart_worker_t *worker, parked_t *parked);
/* Off its list and free. */
void parked_free(cart_worker_t *worker, parked_t *parked);
/* Nobody waits any more: free if it was never sent, else DEAD until the service has answered or the link is gone. */
void parked_abandon(cart_worker_t *worker, parked_t *parked);
/* The link is gone: SENT → QUEUED, DEAD → free. */
void parked_link_lost(cart_worker_t *worker);
void parked_destroy(cart_worker_t *worker);
unsigned parked_count(const cart_worker_t *worker);
bool parked_check(const cart_worker_t *worker);

#endif
