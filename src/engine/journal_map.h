/*
 * Which carts a segment holds, and the newest place of each in it: what tells when the segment may be dropped.
 *
 * Open addressing with linear probing over exact ids, 32 bytes a slot, at most three quarters full; deletion moves the
 * followers back, so there are no tombstones. Ids are random, so a part of them is the hash.
 */
#ifndef ENGINE_JOURNAL_MAP_H
#define ENGINE_JOURNAL_MAP_H

#include "cart/cart_types.h"

typedef struct {
    cart_id_t user;
    cart_place_t place; /* epoch 0: the slot is free */
} journal_slot_t;

typedef struct {
    journal_slot_t *slots; /* owned; NULL while capacity is 0 */
    size_t capacity;       /* a power of two, or 0 */
    size_t count;
    size_t peak; /* greatest count so far: the next segment's map begins with that size */
} journal_map_t;

/* Makes room for `more` further carts. False: no memory, nothing changed. */
bool journal_map_reserve(journal_map_t *map, size_t more);
/* Room was reserved. A place older than the one there is not taken. */
void journal_map_put(journal_map_t *map, const cart_id_t *user, cart_place_t place);
/* Removes the cart if its place here is not newer than `place`. True: it was removed. */
bool journal_map_forget(journal_map_t *map, const cart_id_t *user, cart_place_t place);
void journal_map_deinit(journal_map_t *map);

#endif
