/*
 * An edge's shared state: what all nginx workers of one machine know together. Seats in shards, notes, link slots.
 *
 * Who calls it: the edge's workers (processes that share this memory), a simulator. No pointers inside the memory; each
 * process reaches it through a cart_zone_t handle of its own that carries the lock functions.
 *
 * Invariants (DESIGN section 5, rule 6; cart_zone_check executes what can be executed):
 *  1. A seat holds a confirmed image or none yet (reserved). Unconfirmed data never enters the zone.
 *  2. A seat is reserved, with a generation from the zone-wide counter, before its FETCH leaves. The counter is never
 *     reset while the zone lives, not even by the emptying of a shard.
 *  3. A lesser image never replaces a greater one of the same epoch; a greater epoch always wins.
 *  4. A seat names the slot and the vouch under which it was fetched. It may be shown as current only while that slot
 *     still has that vouch and `answered_ms` (when the last answered PING was *sent*) is at most stale_max_ms ago.
 *  5. slot.push_seen advances only after the image of that PUSH is stored (or is known to be nobody's).
 *  6. A shard whose lock a dead process held is emptied before anything in it is read.
 *
 * Link slots. A worker takes a slot for each link (neither its number nor its pid identifies it: old and new workers
 * overlap on reload) and keeps it until it exits; the slot of a dead process is taken over. (incarnation, slot, link
 * number) goes into HELLO. When the service resumes the link's PUSHes without a gap the vouch stays; otherwise the slot
 * gets a new vouch, and every seat under the old one is revalidated on its next touch.
 */
#ifndef CART_ZONE_H
#define CART_ZONE_H

#include "cart/cart_policy.h"
#include "cart/cart_types.h"

#define CART_ZONE_SLOTS_MAX  128 /* links at one time, old and new workers together: beyond, a worker has no link: 503 */
#define CART_ZONE_SHARDS_MAX 64
#define CART_ZONE_LOCK_BYTES 64

typedef struct cart_zone_memory cart_zone_memory_t; /* the shared block itself */

typedef enum { CART_LOCK_OK, CART_LOCK_OWNER_DIED /* held now; what it guards must be emptied */ } cart_lock_result_t;

/* Every lock is CART_ZONE_LOCK_BYTES of shared memory, 64-byte aligned. In nginx: a robust process-shared mutex. */
typedef struct {
    void *context;
    void (*init)(void *context, void *lock);
    cart_lock_result_t (*lock)(void *context, void *lock);
    void (*unlock)(void *context, void *lock);
    /* Whether the process that took a slot still lives (pid and start time as given to cart_zone_take_slot). */
    bool (*alive)(void *context, uint32_t pid, uint64_t started);
} cart_zone_locks_t;

typedef struct {
    cart_policy_t policy;
    uint32_t stale_max_ms;
    uint16_t shards; /* power of two, 1…CART_ZONE_SHARDS_MAX */
} cart_zone_config_t;

typedef struct {
    cart_zone_memory_t *memory; /* shm: each part under its own lock */
    cart_zone_locks_t locks;
    cart_zone_config_t config;
} cart_zone_t;

/* NULL, or what is wrong with the configuration. */
const char *cart_zone_config_check(const cart_zone_config_t *config);
size_t cart_zone_bytes_min(const cart_zone_config_t *config);

/* Lays a new zone out in `bytes` of zeroed memory. incarnation: 128 random bits, drawn by the caller. */
bool cart_zone_init(cart_zone_t *zone, void *memory, size_t bytes, const cart_id_t *incarnation, uint64_t seed);
/* Finds a zone that a predecessor (same module binary, same size) laid out. False: not ours, or of another layout. */
bool cart_zone_attach(cart_zone_t *zone, void *memory, size_t bytes);

const cart_id_t *cart_zone_incarnation(const cart_zone_t *zone);

/* ---- reading (every request) ------------------------------------------------------------------------------------- */
typedef enum {
    CART_SEAT_HIT,       /* *image is current */
    CART_SEAT_UNVOUCHED, /* there is a seat, but nobody vouches for it: revalidate before showing it as current */
    CART_SEAT_EMPTY,     /* reserved, its image has not come yet */
    CART_SEAT_NONE,
} cart_seat_found_t;

typedef struct {
    uint64_t generation;
    uint64_t term;
    uint32_t shown; /* owner's mark: feed position (low bits) at which this cart was last rendered */
    bool active;
} cart_seat_info_t;

/* Copies the image out under the shard's lock. touch: counts as an interaction (heat, TTL). */
cart_seat_found_t cart_zone_read(cart_zone_t *zone, const cart_id_t *user, uint64_t now_ms, bool touch,
                                 cart_image_t *image, cart_seat_info_t *info);
/* Sets the mark `shown` if the seat is still of that generation. */
void cart_zone_mark_shown(cart_zone_t *zone, const cart_id_t *user, uint64_t generation, uint32_t shown);

/* Notes an unseated user; true when he has earned a seat. */
bool cart_zone_note(cart_zone_t *zone, const cart_id_t *user, uint64_t now_ms);

/* ---- seats (called by cart_worker) -------------------------------------------------------------------------------- */
typedef enum { CART_RESERVED, CART_RESERVE_FULL } cart_reserve_t;
/* Reserves a seat or re-reserves the one there is for `slot` and its present vouch, with a new generation; an image that
 * is there stays (unvouched until the CART or PUSH for the new generation comes). Clears by the policy when memory is
 * short; FULL: nothing may go, the user gets no seat. */
#define CART_ZONE_STEP_MAX 64
typedef struct {
    cart_id_t user;
    uint64_t generation;
    uint64_t term;
    uint16_t slot; /* whose subscription it was */
} cart_zone_gone_t;
/* A seat that was reserved for this very slot and vouch keeps its generation: the subscription, if its FETCH came through,
 * is as good as a new one, and two FETCHes in flight for one user do not void each other. What had to go to make room is
 * in `gone`, for the caller to RELEASE. */
cart_reserve_t cart_zone_reserve(cart_zone_t *zone, const cart_id_t *user, uint16_t slot, uint64_t now_ms,
                                 uint64_t *generation, cart_zone_gone_t gone[CART_ZONE_STEP_MAX], unsigned *gone_count);
/* Stores a confirmed image. generation 0: into whatever seat the user has (an image that came with a DONE); it does not
 * vouch. Otherwise only into the seat of that generation, which is then vouched for by `slot`. False: no such seat, or
 * no room for the image: the seat is then taken away, because what it showed is older than what this edge now knows.
 * Of the same place the image with the greater base_version wins: that is how the term of a seat comes down. */
bool cart_zone_store(cart_zone_t *zone, const cart_id_t *user, uint64_t generation, uint16_t slot,
                     const cart_image_t *image);
/* Takes the seat away if it is of that generation (0: any). */
void cart_zone_drop(cart_zone_t *zone, const cart_id_t *user, uint64_t generation);

/* Bounded clearance and TTL of one shard (they take turns). Releases are appended to `gone`, *count of them, for the
 * caller to send as RELEASE frames. */
void cart_zone_step(cart_zone_t *zone, uint64_t now_ms, cart_zone_gone_t gone[CART_ZONE_STEP_MAX], unsigned *count);

/* ---- link slots ---------------------------------------------------------------------------------------------------- */
typedef struct {
    cart_id_t service;    /* the service's incarnation last heard on this slot; none: never */
    uint64_t link_number; /* of the newest link of this slot */
    uint64_t push_seen;
    uint64_t answered_ms; /* when the last answered PING of this slot was sent; 0: never */
    uint32_t vouch;
    uint32_t pid;
    uint64_t started;
    uint8_t up; /* HELLO was answered on the newest link and it has not been lost */
} cart_slot_t;

/* False: all slots are taken by living processes. */
bool cart_zone_take_slot(cart_zone_t *zone, uint32_t pid, uint64_t started, uint16_t *slot);
void cart_zone_give_slot(cart_zone_t *zone, uint16_t slot, uint32_t pid, uint64_t started);
void cart_zone_slot(cart_zone_t *zone, uint16_t slot, cart_slot_t *copy);
/* A new link of this slot begins: draws its number (zone-wide, never repeated). */
uint64_t cart_zone_slot_connecting(cart_zone_t *zone, uint16_t slot);
/* HELLO was answered. resumed false: a new vouch is drawn and answered_ms becomes ping_sent_ms (when HELLO was sent).
 * resumed true: vouch and answered_ms stay; only a PING, whose answer comes behind the replayed PUSHes, moves it on. */
void cart_zone_slot_up(cart_zone_t *zone, uint16_t slot, const cart_id_t *service, bool resumed, uint64_t push_next,
                       uint64_t ping_sent_ms);
void cart_zone_slot_down(cart_zone_t *zone, uint16_t slot);
void cart_zone_slot_answered(cart_zone_t *zone, uint16_t slot, uint64_t ping_sent_ms);
void cart_zone_slot_push_seen(cart_zone_t *zone, uint16_t slot, uint64_t number);

/* The lease of the feeds (books, revocations): one slot at a time; expires lease_ms after the last renewal or when its
 * holder dies. True: `slot` holds it now. */
bool cart_zone_lease(cart_zone_t *zone, uint16_t slot, uint64_t now_ms, uint32_t lease_ms);
bool cart_zone_lease_holder(cart_zone_t *zone, uint16_t *slot);
/* When the zone's replicas were last known to be true: the sending time of the newest PING that the lease's holder got
 * answered "vouched", after its link had caught up with the feed. 0: never. Rule 9 compares it with stale_max_ms. */
void cart_zone_feeds_heard(cart_zone_t *zone, bool books, bool revocations, uint64_t ping_sent_ms);
void cart_zone_feeds_at(const cart_zone_t *zone, uint64_t *books_ms, uint64_t *revocations_ms);

/* ---- numbers ------------------------------------------------------------------------------------------------------- */
typedef struct {
    uint64_t seats, reserved, active, dirty; /* reserved: not vouched yet; active: when last touched; dirty: term > 0 */
    uint64_t bytes_total, bytes_used, bytes_touched;
    uint64_t hits, misses, unvouched, reserve_full, emptied_shards;
    uint64_t cleared_ttl, cleared_phase1, cleared_phase2;
    uint32_t links_up, slots_taken;
} cart_zone_stats_t;
void cart_zone_stats(cart_zone_t *zone, uint64_t now_ms, cart_zone_stats_t *stats);
bool cart_zone_check(cart_zone_t *zone);

#endif
