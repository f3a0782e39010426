/*
 * Deciding: what one request makes of one cart. A pure function of image, rings, request and time.
 *
 * Order of the checks (a caller can rely on it): the id (a repeat or a reused key is answered before all else, also on a
 * guest's cart that is sealed or closed), then the cart's state, the condition, room for the id in its ring, and at last
 * the changes one by one on a copy; the first that breaks a limit ends it and nothing is applied. Of one change: unknown
 * book before quantity limit before line limit. An applied request takes exactly one version, also when it leaves the
 * lines as they were.
 */
#ifndef CART_DECIDE_H
#define CART_DECIDE_H

#include "cart/cart_recent.h"
#include "cart/cart_types.h"

/* Whether a book can be put into a cart now (exists and is not hidden). Asked only for changes that leave a quantity. */
typedef bool (*cart_known_book_fn)(void *context, uint64_t book);

/* `request` has passed cart_request_check, `rings` cart_recent_check. now_s: Unix seconds, as the ids in the rings.
 * Everything but `after` is read only, and `after` is not `before`. With CART_APPLIED *after is the new image (version + 1, base_version kept);
 * with any other outcome *after is a copy of `before`. `known` may be NULL: every book is known. */
cart_verdict_t cart_decide(const cart_image_t *before, const uint8_t *rings, size_t rings_length,
                           const cart_request_t *request, uint32_t now_s, cart_known_book_fn known, void *context,
                           cart_image_t *after);

/* A request that a sane sender can have built: counts, ops, quantities and books in range. The codec refuses others. */
bool cart_request_check(const cart_request_t *request);

typedef enum { CART_MERGE_MAX = 1, CART_MERGE_SUM = 2, CART_MERGE_KEEP = 3, CART_MERGE_REPLACE = 4 } cart_merge_mode_t;

typedef struct {
    uint64_t book;
    uint8_t guest;   /* quantity in the guest's cart */
    uint8_t user;    /* in the user's before */
    uint8_t result;  /* in the user's after */
    uint8_t clamped; /* 1: a quantity or line limit made it less than asked */
} cart_merge_line_t;

/* The user's cart after absorbing the guest's lines (limits clamp, nothing fails): one line of report for every line of
 * the guest, *count of them; result 0 with clamped 1 = no room for the line. *after takes one version. */
void cart_absorb(const cart_image_t *user, const cart_image_t *guest, cart_merge_mode_t mode, cart_image_t *after,
                 cart_merge_line_t report[CART_LINES_MAX], unsigned *count);

/* The id under which `user` absorbs `guest`: derived from the guest's id, so that a merge counts once. */
void cart_absorb_id(const cart_id_t *guest, uint8_t id[CART_REQUEST_BYTES]);

#endif
