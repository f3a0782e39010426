/*
 * The words of bookcart: what a cart is, what can be asked of it, what can come of it.
 *
 * A cart is one object with one order. Its place is (epoch, version): within an epoch the greater version is the newer
 * image; a new epoch is taken in the base when a store is created, restored or taken over. `base_version` is the
 * version that the base database is known to hold; version − base_version is the term.
 *
 * Plain values only: every struct here may be copied, none owns memory.
 */
#ifndef CART_TYPES_H
#define CART_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cart/cart_id.h"

#define CART_BOOK_MAX      ((UINT64_C(1) << 53) - 1) /* ids are JSON numbers that every client reads exactly; 0 is no book */
#define CART_LINES_MAX     100                       /* 422 line-limit */
#define CART_QUANTITY_MAX  99                        /* 422 quantity-limit */
#define CART_CHANGES_MAX   100                       /* changes in one all-or-none request: 400 beyond */
#define CART_REQUEST_BYTES 16 /* a request id: drawn from user and Idempotency-Key, else random */

/* ---- the cart ---------------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t epoch;   /* 1… ; 0 only in the place "nowhere" (0, 0) */
    uint64_t version; /* counts the cart's changes */
} cart_place_t;

typedef struct {
    uint64_t book;     /* 1…CART_BOOK_MAX */
    uint32_t quantity; /* 1…CART_QUANTITY_MAX */
} cart_line_t;

typedef enum {
    CART_OPEN = 0,
    CART_SEALED = 1, /* a guest whose cart is being absorbed: frozen */
    CART_CLOSED =
        2, /* a guest whose cart has been absorbed: has no lines, takes no changes, its ids are still repeats */
} cart_state_t;

typedef struct {
    cart_place_t place;
    uint64_t base_version;             /* ≤ place.version */
    uint8_t state;                     /* cart_state_t */
    uint8_t line_count;                /* ≤ CART_LINES_MAX */
    cart_line_t lines[CART_LINES_MAX]; /* in the order they were added; only the first line_count are initialised */
} cart_image_t;

static inline uint64_t cart_term(const cart_image_t *image) {
    return image->place.version - image->base_version;
}

/* <0, 0, >0 as a is older than, the same as, newer than b. Images of different epochs meet only in a merge. */
static inline int cart_place_compare(cart_place_t a, cart_place_t b) {
    if (a.epoch != b.epoch) return a.epoch < b.epoch ? -1 : 1;
    if (a.version != b.version) return a.version < b.version ? -1 : 1;
    return 0;
}

/* Copies only the lines that are there: an image is 1.6 KiB, a usual cart uses a tenth of it. */
static inline void cart_image_copy(cart_image_t *to, const cart_image_t *from) {
    memcpy(to, from, offsetof(cart_image_t, lines) + from->line_count * sizeof(cart_line_t));
}

/* ---- what is asked ----------------------------------------------------------------------------------------------- */

typedef enum {
    CART_ADD = 1,    /* quantity −99…99, not 0; the line goes at 0 or below */
    CART_SET = 2,    /* quantity 0…; 0 removes */
    CART_REMOVE = 3, /* an absent line is fine */
    CART_CLEAR = 4,
} cart_op_t;

typedef struct {
    uint64_t book;
    int32_t quantity;
    uint8_t op; /* cart_op_t */
} cart_change_t;

typedef enum {
    CART_IF_NONE = 0,  /* no condition */
    CART_IF_PLACE = 1, /* the edge found the caller's tag to name `expected`; the engine checks it against the newest */
    CART_IF_FAILED = 2, /* the edge found that no tag of the caller names what is shown: only a repeat may succeed */
} cart_condition_t;

typedef struct {
    cart_id_t user;
    cart_id_t session;
    uint64_t issued_s; /* the token's iat, Unix seconds */
    uint8_t request_id[CART_REQUEST_BYTES];
    uint64_t digest;   /* of what the request asks, to tell a repeat from a reused key */
    bool keyed;        /* request_id comes from an Idempotency-Key */
    uint8_t condition; /* cart_condition_t */
    cart_place_t expected;
    uint16_t change_count; /* 1…CART_CHANGES_MAX; applied all or none */
    cart_change_t changes[CART_CHANGES_MAX];
} cart_request_t;

/* ---- what comes of it -------------------------------------------------------------------------------------------- */

/* Wire values: append only. */
typedef enum {
    CART_APPLIED = 1,
    CART_REPEATED = 2,   /* was applied before under this id: counts once; the answer shows the cart as it is now */
    CART_KEY_REUSED = 3, /* the id is known with another digest */
    CART_VERSION_MISMATCH = 4,
    CART_LINE_LIMIT = 5,
    CART_QUANTITY_LIMIT = 6,
    CART_UNKNOWN_BOOK = 7,
    CART_REFUSED = 8,       /* cannot be kept or confirmed now (memory, journal, base away, too late): 503, ask again */
    CART_SESSION_ENDED = 9, /* the session is revoked or the guest's cart was absorbed: 401 */
} cart_outcome_t;

/* Why CART_REFUSED, for logs and counters. Wire values: append only. */
typedef enum {
    CART_REASON_NONE = 0,
    CART_REASON_LATE = 1,      /* the request's time had run out when it was taken up */
    CART_REASON_MEMORY = 2,    /* nothing may be freed */
    CART_REASON_JOURNAL = 3,   /* the journal is at its limit, or its disk is full */
    CART_REASON_BASE_AWAY = 4, /* the cart is not resident and cannot be loaded */
    CART_REASON_UNKNOWN = 5,   /* the commit's result is unknown; the same id may be sent again */
    CART_REASON_QUEUE = 6,     /* a queue is at its maximum */
    CART_REASON_RECENT = 7,    /* the ring of recent ids cannot grow and holds no id old enough to evict */
    CART_REASON_FEED = 8,      /* revocations or books are not vouched for */
    CART_REASON_STOPPING = 9,
} cart_reason_t;

typedef struct {
    uint8_t outcome; /* cart_outcome_t */
    uint8_t reason;  /* cart_reason_t, with CART_REFUSED */
    uint16_t change; /* index of the change at fault, with the three limits and unknown-book */
} cart_verdict_t;

#endif
