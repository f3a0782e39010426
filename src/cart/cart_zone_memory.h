/*
 * The zone as it lies in shared memory. Only cart_zone.c, cart_zone_slots.c and their tests include this.
 *
 *   head (fixed) · slots[CART_ZONE_SLOTS_MAX] · for each shard: shard head · notes · table (seats in its arena)
 *
 * No pointers: parts are found by offsets that follow from `bytes` and `shards`. Every part that has a lock begins at a
 * cache line with that lock. Fields marked "atomic" are read without a lock; each is written by one process at a time.
 */
#ifndef CART_ZONE_MEMORY_H
#define CART_ZONE_MEMORY_H

#include <stdatomic.h>

#include "cart/cart_zone.h"

#define CART_ZONE_MAGIC  UINT64_C(0x656e6f7a74726163) /* "cartzone" */
#define CART_ZONE_LAYOUT 1
#define CART_ZONE_LINE   64 /* bytes of a cache line */

/* Of entry->flags. */
#define SEAT_VOUCHED 0x01 /* its image came for its generation; with `slot` and `vouch` still good it is current */
#define SEAT_DIRTY   0x02 /* term > 0 */
#define SEAT_ACTIVE  0x04 /* was active at its last touch */

/* The seat's part of an entry, `extra` of the table: shm, under the shard's lock. */
typedef struct {
    uint64_t generation_slot; /* generation in the upper 48 bits, slot in the lower 16 */
    uint32_t vouch;
    uint32_t shown;
} cart_seat_t;
_Static_assert(sizeof(cart_seat_t) == 16, "every byte here is paid once a seat");

#define CART_SEAT_BYTES_HINT 104 /* entry 64, image of five lines 32, its share of a bucket */

typedef struct {
    _Alignas(CART_ZONE_LINE) uint8_t lock[CART_ZONE_LOCK_BYTES];
    /* under lock */
    cart_id_t service;
    uint64_t link_number;
    uint32_t pid; /* 0: nobody's */
    uint32_t up;
    uint64_t started;
    /* atomic; written by the slot's owner, or under lock by who takes it over */
    _Alignas(CART_ZONE_LINE) _Atomic uint64_t answered_ms;
    _Atomic uint64_t push_seen;
    _Atomic uint32_t vouch;
    uint32_t spare;
} cart_zone_slot_memory_t;
_Static_assert(sizeof(cart_zone_slot_memory_t) == 3 * CART_ZONE_LINE, "slots do not share cache lines");

typedef struct {
    _Alignas(CART_ZONE_LINE) uint8_t lock[CART_ZONE_LOCK_BYTES];
    cart_clearance_t clearance;
    uint64_t hits, misses, unvouched, reserve_full;
    uint64_t vouched, dirty, active; /* seats with that flag now */
    uint64_t emptied;
} cart_zone_shard_t;
_Static_assert(sizeof(cart_zone_shard_t) % CART_ZONE_LINE == 0, "what follows a shard's head is aligned");

struct cart_zone_memory {
    uint64_t magic;
    uint32_t layout;
    uint16_t shards;
    uint16_t slots;
    uint64_t bytes;
    uint64_t seed;
    cart_id_t incarnation;
    uint64_t shard_bytes; /* stride */
    uint64_t shard_first; /* offset */
    uint64_t notes;       /* in each shard */
    /* atomic counters; never reset */
    _Alignas(CART_ZONE_LINE) _Atomic uint64_t generation;
    _Atomic uint64_t link_number;
    _Atomic uint32_t vouch;
    _Atomic uint32_t step_shard; /* whose turn it is */
    _Atomic uint64_t books_ms, revocations_ms;
    _Alignas(CART_ZONE_LINE) uint8_t lease_lock[CART_ZONE_LOCK_BYTES];
    uint64_t lease_until_ms; /* under lease_lock */
    uint32_t lease_slot;     /* under lease_lock; slot + 1, 0: nobody's */
    uint32_t spare;
    cart_zone_slot_memory_t slot[CART_ZONE_SLOTS_MAX];
};
_Static_assert(sizeof(cart_zone_memory_t) % CART_ZONE_LINE == 0, "shards begin at a cache line");

uint32_t cart_zone_new_vouch(cart_zone_memory_t *memory);

#endif
