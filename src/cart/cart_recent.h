/*
 * The ids of the last applied requests of one cart: what makes a repeat count once (DESIGN section 5, rule 4).
 *
 * Two rings, keyed and keyless, so that a burst of one never evicts the other. A keyed id is kept 24 hours, among the
 * last CART_RECENT_KEYED_KEEP; any number of them for the repeat window. A keyless id is kept for the resend window, the
 * last CART_RECENT_KEYLESS_KEEP of them for the repeat window. Time is the caller's, in Unix seconds; set back it evicts
 * nothing. No id younger than its window is ever evicted: a change that would force it is refused before it is decided.
 *
 * The rings are one byte string in the caller's memory (the engine's arena, a journal record, a base row):
 *   u16 keyed count · u16 keyless count · entries of CART_RECENT_ENTRY_BYTES, oldest first, keyed before keyless
 *   entry: id (16) · digest (8, little endian) · applied at, Unix seconds (4)
 */
#ifndef CART_RECENT_H
#define CART_RECENT_H

#include "cart/cart_types.h"

#define CART_RECENT_KEYED_KEEP   64
#define CART_RECENT_KEYLESS_KEEP 8
#define CART_RECENT_KEYED_MAX    2048 /* of one cart; all younger than the repeat window: CART_REASON_RECENT */
#define CART_RECENT_KEYLESS_MAX  2048
#define CART_RECENT_KEEP_S       86400
#define CART_RECENT_REPEAT_S     120 /* the repeat window */
#define CART_RECENT_RESEND_S     60  /* the resend window: above any cart_write_timeout that the edge accepts (30 s) */
#define CART_RECENT_ENTRY_BYTES  28
#define CART_RECENT_HEADER_BYTES 4
#define CART_RECENT_BYTES_MAX                                                                                          \
    (CART_RECENT_HEADER_BYTES + (CART_RECENT_KEYED_MAX + CART_RECENT_KEYLESS_MAX) * CART_RECENT_ENTRY_BYTES)

typedef struct {
    uint8_t id[CART_REQUEST_BYTES];
    uint64_t digest;
    uint32_t at_s;
    bool keyed;
} cart_recent_id_t;

typedef enum { CART_RECENT_ABSENT, CART_RECENT_SAME, CART_RECENT_OTHER_DIGEST } cart_recent_found_t;

/* Valid by itself (lengths and counts). length 0 is the empty rings. */
bool cart_recent_check(const uint8_t *rings, size_t length);

/* The newest entry of this id, as it was added. False, *found unchanged: absent. */
bool cart_recent_get(const uint8_t *rings, size_t length, const uint8_t id[CART_REQUEST_BYTES], bool keyed,
                     cart_recent_id_t *found);

/* An id past its time is found until an add or expire has dropped it. */
cart_recent_found_t cart_recent_find(const uint8_t *rings, size_t length, const uint8_t id[CART_REQUEST_BYTES],
                                     uint64_t digest, bool keyed);

/* Bytes that the rings will take with one more id, after eviction of what may go; 0 when the ring is at its maximum
 * with nothing old enough (the caller refuses with CART_REASON_RECENT). */
size_t cart_recent_size_with(const uint8_t *rings, size_t length, bool keyed, uint32_t now_s);

/* Writes `rings` plus `add` into `out` (capacity as cart_recent_size_with said, which must not have been 0). Returns the
 * length. `out` must not overlap `rings`. An id that is already there is not doubled: it becomes the youngest. */
size_t cart_recent_add(const uint8_t *rings, size_t length, const cart_recent_id_t *add, uint32_t now_s, uint8_t *out,
                       size_t capacity);

/* Drops what is past its time; in place; returns the new length. */
size_t cart_recent_expire(uint8_t *rings, size_t length, uint32_t now_s);

/* Unites two rings (what the base had and what the journal adds; or user and absorbed guest): each id once, by age. Past
 * a ring's maximum the oldest are left out: one owner's history never has that many inside the window, because
 * cart_recent_size_with refuses first. a_length + b_length is always enough. `out` must overlap neither. Returns the
 * length, 0 when capacity is too small or both are empty. */
size_t cart_recent_unite(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length, uint8_t *out,
                         size_t capacity);

unsigned cart_recent_count(const uint8_t *rings, size_t length);

#endif
