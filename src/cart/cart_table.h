/*
 * The table of resident carts: users hashed to entries that live in an arena. The edge's seats and the engine's carts
 * are both entries; what each adds lies in `extra` bytes behind the common head (size fixed at init).
 *
 * Ids are random (auth draws them), so the bucket is a slice of the id; a secret seed is mixed in all the same.
 * An entry owns one further block, its packed image. What else the owner hangs on it (the engine: rings) he keeps as
 * (ref, length) in `extra`, replaces with cart_table_replace and frees before the entry is removed.
 * All entries are on one list, newest first, which the policy's hand walks (SIEVE) or reorders (LRU).
 *
 * Memory: [table head | buckets | arena]. Nothing outside it, no pointers in it.
 */
#ifndef CART_TABLE_H
#define CART_TABLE_H

#include "cart/cart_arena.h"

typedef struct {
    cart_id_t user;
    cart_ref_t next;         /* in the bucket */
    cart_ref_t newer, older; /* in the list */
    uint32_t touched_s;      /* last interaction; policy */
    uint16_t heat;           /* policy: decayed rate, see cart_policy.h */
    uint8_t visited;         /* SIEVE's bit */
    uint8_t flags;           /* the owner's */
    cart_ref_t image;        /* packed image, CART_NO_REF = none yet */
    uint16_t image_length;
    uint16_t spare;   /* the owner's */
    uint32_t spare32; /* the owner's */
} cart_entry_t;       /* 48 bytes; `extra` follows */

_Static_assert(sizeof(cart_entry_t) == 48, "every byte here is paid once a seat");

static inline void *cart_entry_extra(cart_entry_t *entry) {
    return entry + 1;
}

typedef struct cart_table cart_table_t;

/* bytes: all there is. NULL when too small. buckets are sized for bytes / bytes_per_entry_hint entries. */
cart_table_t *cart_table_init(void *memory, size_t bytes, size_t extra_bytes, size_t bytes_per_entry_hint,
                              uint64_t seed);
/* Empties it without walking it: O(buckets). */
void cart_table_empty(cart_table_t *table);

/* Borrowed until it is removed or (where the owner allows it) moved by the policy. NULL: absent. */
cart_entry_t *cart_table_find(cart_table_t *table, const cart_id_t *user);
/* The user must be absent. Everything but the user is zeroed, `extra` too; it is the newest of the list. NULL: no room. */
cart_entry_t *cart_table_insert(cart_table_t *table, const cart_id_t *user);
/* Frees the entry and its image. */
void cart_table_remove(cart_table_t *table, cart_entry_t *entry);

/* Replaces a block with a copy of `bytes` (length 0 frees it). Prepared fully, linked last: false, with the old block
 * untouched, when there is no room. */
bool cart_table_set_image(cart_table_t *table, cart_entry_t *entry, const uint8_t *bytes, size_t length);
/* The same for a block of the owner's: *ref and *length are read and, on success, replaced. */
bool cart_table_replace(cart_table_t *table, cart_ref_t *ref, uint32_t *length, const uint8_t *bytes,
                        size_t new_length);
/* NULL: none yet. Borrowed until the entry changes or the policy steps (it may move the block). */
const uint8_t *cart_table_image(cart_table_t *table, const cart_entry_t *entry);
/* Bytes that removing the entry gives back: itself and its image, by class. */
size_t cart_table_entry_bytes(const cart_table_t *table, const cart_entry_t *entry);

cart_arena_t *cart_table_arena(cart_table_t *table);
uint32_t cart_table_count(const cart_table_t *table);
/* Walks all entries, oldest first; resume with the last entry given (NULL starts). NULL: end. */
cart_entry_t *cart_table_older_first(cart_table_t *table, cart_entry_t *previous);

/* ---- for the policy ------------------------------------------------------------------------------------------------ */
/* Walkers that survive the removal, moving and re-ordering of the entry they stand on: each call gives the entry under
 * the hand and steps to the next newer one; behind the newest it starts again at the oldest. NULL: the table is empty. */
typedef enum { CART_HAND_CLEAR = 0, CART_HAND_TTL = 1, CART_HAND_TIDY = 2 } cart_hand_t;
#define CART_HANDS 3
cart_entry_t *cart_table_hand(cart_table_t *table, cart_hand_t hand);
void cart_table_hand_to_oldest(cart_table_t *table, cart_hand_t hand);
/* Makes it the newest of the list (LRU). */
void cart_table_refresh(cart_table_t *table, cart_entry_t *entry);
/* Moves the entry's image off a thin page when there is a fuller one. True: moved. */
bool cart_table_tidy_image(cart_table_t *table, cart_entry_t *entry);
/* The same for the entry itself; what points at it besides the table is the caller's to correct. NULL: stays. */
cart_entry_t *cart_table_tidy_entry(cart_table_t *table, cart_entry_t *entry);

/* Executes the invariants; for tests: walks everything. */
bool cart_table_check(cart_table_t *table);

#endif
