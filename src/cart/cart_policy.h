/*
 * The policy: who is served by the edge, and what gives way when memory runs short (DESIGN section 3). Pure: time is an
 * argument, memory is the caller's, what only the owner knows comes through cart_policy_owner_t. The edge's seats, the
 * engine's carts and a simulator run this same code.
 *
 *   unknown ──first request──▶ noted ──second within note_ttl──▶ seated ──TTL, phase 1, phase 2──▶ unknown
 *
 * heat: 8.8 fixed-point requests, halved every heat_halflife_s; at or over active_heat the user is active, else calm.
 * An entry's heat is that of its last interaction; cart_policy_heat decays it to now. The TTL goes by the heat at the last
 * interaction: who was active when he left is kept longer.
 *
 * Clearance starts above the high-water mark (live bytes of the arena) and ends at the low one, in steps of at most
 * `budget` entries looked at:
 *   phase 1 gives up entries with term 0, first calm ones, then active ones, each in the chosen order;
 *   phase 2, only after phase 1 has been all round without reaching the low-water mark: the least active of the rest, by
 *   rising heat.
 * Clearance also starts when pages run short although live bytes do not (carts have changed their sizes, so that blocks
 * of one size lie thinly on many pages): then blocks are moved together first, and entries given up only if that was not
 * enough, a thirty-second of the memory at a time.
 * TTL runs beside it with a quarter of the budget, or all of it when there is nothing to clear.
 */
#ifndef CART_POLICY_H
#define CART_POLICY_H

#include "cart/cart_table.h"

typedef struct {
    uint32_t note_ttl_s;
    uint32_t calm_ttl_s;
    uint32_t active_ttl_s;
    uint32_t heat_halflife_s;
    uint16_t active_heat;         /* 8.8 fixed point */
    uint16_t high_water_permille; /* of arena capacity */
    uint16_t low_water_permille;
    uint8_t order; /* cart_policy_order_t */
} cart_policy_t;

typedef enum { CART_POLICY_SIEVE = 0, CART_POLICY_LRU = 1 } cart_policy_order_t;

/* Sensible defaults: 60 s note, 10 min calm, 60 min active, 60 s half-life, active at 4.0, water marks 900 and 850, LRU. */
void cart_policy_defaults(cart_policy_t *policy);
/* NULL, or what is wrong (a static text that names the field). */
const char *cart_policy_check(const cart_policy_t *policy);

/* One interaction of the entry's user. */
void cart_policy_touch(const cart_policy_t *policy, cart_table_t *table, cart_entry_t *entry, uint32_t now_s);
uint16_t cart_policy_heat(const cart_policy_t *policy, const cart_entry_t *entry, uint32_t now_s); /* decayed to now */
bool cart_policy_is_active(const cart_policy_t *policy, const cart_entry_t *entry, uint32_t now_s);
bool cart_policy_is_expired(const cart_policy_t *policy, const cart_entry_t *entry, uint32_t now_s);

/* ---- notes: a few bytes for each user seen once, in one array that the caller owns -------------------------------- */
typedef struct {
    uint32_t fingerprint;
    uint32_t seen_s;
} cart_note_t;
/* True when the user was noted within note_ttl_s (the note is then taken away: a seat is earned); else notes him. */
bool cart_policy_note(const cart_policy_t *policy, cart_note_t *notes, size_t count, const cart_id_t *user,
                      uint32_t now_s);

/* ---- clearance ---------------------------------------------------------------------------------------------------- */
typedef enum {
    CART_MAY_NOT_GO,   /* in use right now: a commit, a load or a save is under way */
    CART_MAY_GO_CLEAN, /* term 0 and confirmed */
    CART_MAY_GO_DIRTY, /* phase 2: at the edge a release; in the engine "ask for its sync": freed only when confirmed */
} cart_may_go_t;

typedef struct {
    void *context;
    cart_may_go_t (*may_go)(void *context, const cart_entry_t *entry);
    /* The entry is about to be removed by the policy: phase 0 is TTL. Free here what it owns besides its image. */
    void (*going)(void *context, cart_entry_t *entry, unsigned phase);
    /* Phase 2 (and TTL) where a dirty entry may not simply go: the owner starts its sync; once that is confirmed,
     * may_go says CLEAN. May be told again of the same entry. NULL: the policy removes it after going(). */
    void (*wanted)(void *context, cart_entry_t *entry);
    /* The entry has moved in memory: whatever pointed at `from` (already free) must point at `to`. NULL: the policy never
     * moves entries, only their images. */
    void (*moved)(void *context, const cart_entry_t *from, cart_entry_t *to);
} cart_policy_owner_t;

/* Progress of clearance; one per table, kept beside it (shared memory), zeroed at init and when the table is emptied. */
typedef struct {
    uint64_t target_bytes; /* live bytes at which the round ends */
    uint64_t wanted_bytes; /* of entries whose sync phase 2 has asked for in this round */
    uint32_t left;         /* entries still to look at in this phase */
    uint32_t freed;        /* entries removed in this round */
    uint16_t heat_limit;   /* phase 2 takes entries up to this heat now */
    uint8_t phase;         /* 0: none, 1: phase 1 calm, 2: phase 1 active too, 3: phase 2, 4: moving blocks together */
    uint8_t stuck;         /* the last whole round freed nothing: nothing may be freed now */
    uint32_t spare;
    uint64_t cleared[3]; /* entries removed by TTL, by phase 1, by phase 2 */
    uint64_t moved;      /* blocks moved together */
} cart_clearance_t;

/* Live bytes above the mark, or pages short: a step has work to do. */
bool cart_policy_over_high_water(const cart_policy_t *policy, cart_table_t *table);
/* One bounded step of clearance and of TTL expiry: at most `budget` (≥ 4) entries are looked at. Returns how many entries
 * were removed. Call it before an insert that may not fit, after one that did not, and from a timer. Any entry for which
 * may_go does not say CART_MAY_NOT_GO may be gone afterwards, any image moved. */
unsigned cart_policy_step(const cart_policy_t *policy, cart_table_t *table, cart_clearance_t *clearance,
                          const cart_policy_owner_t *owner, uint32_t now_s, unsigned budget);

#endif
