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
    uint16_t spare;          /* the owner's */
    uint32_t spare32;        /* the owner's */
} cart_entry_t; /* 48 bytes; `extra` follows */

_Static_assert(sizeof(cart_entry_t) == 48, "every byte here is paid once a seat");

static inline void *cart_entry_extra(cart_entry_t *entry) { return entry + 1; }

typedef struct cart_table cart_table_t;

/* bytes: all there is. NULL when too small. buckets are sized for bytes / bytes_per_entry_hint entries. */
cart_table_t *cart_table_init(void *memory, size_t bytes, size_t extra_bytes, size_t bytes_per_entry_hint,
                              uint64_t seed);
/* Empties it without walking it: O(buckets). */
void cart_table_empty(cart_table_t *table);

cart_entry_t *cart_table_find(cart_table_t *table, const cart_id_t *user);
/* The user must be absent. extra is zeroed. NULL: no room. */
cart_entry_t *cart_table_insert(cart_table_t *table, const cart_id_t *user);
/* Frees the entry and its image. */
void cart_table_remove(cart_table_t *table, cart_entry_t *entry);

/* Replaces a block with a copy of `bytes` (length 0 frees it). Prepared fully, linked last: false, with the old block
 * untouched, when there is no room. */
bool cart_table_set_image(cart_table_t *table, cart_entry_t *entry, const uint8_t *bytes, size_t length);
/* The same for a block of the owner's: *ref and *length are read and, on success, replaced. */
bool cart_table_replace(cart_table_t *table, cart_ref_t *ref, uint32_t *length, const uint8_t *bytes, size_t new_length);
const uint8_t *cart_table_image(cart_table_t *table, const cart_entry_t *entry); /* borrowed until the entry changes */

cart_arena_t *cart_table_arena(cart_table_t *table);
uint32_t cart_table_count(const cart_table_t *table);
/* Walks all entries, oldest first; resume with the last entry given (NULL starts). NULL: end. */
cart_entry_t *cart_table_older_first(cart_table_t *table, cart_entry_t *previous);
bool cart_table_check(cart_table_t *table);

#endif
