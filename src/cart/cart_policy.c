/*
 * See cart_policy.h. The state machine of clearance (clearance->phase), with what moves it:
 *
 *            over high water: start_round                    laps over, still above target: next_phase
 *   NONE ───────────────────────────▶ CALM ───────────────▶ ACTIVE ───────────────▶ DIRTY (heat_limit × 4 a lap)
 *    ▲ ▲                               │                      │                       │ last lap over, or enough asked for
 *    │ └───────────────────────────────┴──────────────────────┴───────────────────────┘ target reached: end_round
 *    │
 *    └─── TIDY ◀── pages short: start_round; a lap without enough room: start_round again, as CALM with a lower target
 *
 * Every phase has a number of entries to look at (`left`) fixed when it begins, so every round ends. A step looks at no
 * more than its budget and so does a bounded amount of work whatever the table holds.
 */
#include "cart/cart_policy.h"

#include <assert.h>

#define HEAT_ONE      256 /* one request, 8.8 fixed point */
#define NOTE_WAYS     4
#define BUDGET_MIN    4
#define HEAT_LIMIT_0  (HEAT_ONE / 4) /* first lap of phase 2 */
#define SHORT_PAGES_1 64             /* a 64th of the pages is kept free for a class that needs one */
#define SHORTAGE_PART 32             /* what a shortage of pages gives up at a time: 1/32 of the memory */

enum { PHASE_NONE = 0, PHASE_CALM = 1, PHASE_ACTIVE = 2, PHASE_DIRTY = 3, PHASE_TIDY = 4 };
enum { CLEARED_TTL = 0, CLEARED_PHASE_1 = 1, CLEARED_PHASE_2 = 2 };

/* What a step works on; lives on the stack of cart_policy_step. */
typedef struct {
    const cart_policy_t *policy;
    cart_table_t *table;
    cart_arena_t *arena;
    cart_clearance_t *clearance;
    const cart_policy_owner_t *owner;
    uint32_t now_s;
    unsigned removed;
} step_t;

/* ---- settings ------------------------------------------------------------------------------------------------------ */

void cart_policy_defaults(cart_policy_t *policy) {
    memset(policy, 0, sizeof(*policy));
    policy->note_ttl_s = 60;
    policy->calm_ttl_s = 600;
    policy->active_ttl_s = 3600;
    policy->heat_halflife_s = 60;
    policy->active_heat = 4 * HEAT_ONE;
    policy->high_water_permille = 900;
    policy->low_water_permille = 850;
    policy->order = CART_POLICY_LRU; /* docs/decisions/0040-lru-for-sessions.md */
}

const char *cart_policy_check(const cart_policy_t *policy) {
    if (policy->note_ttl_s == 0) return "note_ttl must be at least 1 s";
    if (policy->calm_ttl_s == 0) return "calm_ttl must be at least 1 s";
    if (policy->active_ttl_s < policy->calm_ttl_s) return "active_ttl must not be shorter than calm_ttl";
    if (policy->heat_halflife_s == 0) return "heat_halflife must be at least 1 s";
    if (policy->active_heat == 0) return "active_heat must be above 0";
    if (policy->high_water_permille > 1000) return "high_water must be at most 1000 permille";
    if (policy->low_water_permille == 0) return "low_water must be above 0";
    if (policy->low_water_permille >= policy->high_water_permille) return "low_water must be below high_water";
    if (policy->order > CART_POLICY_LRU) return "order must be sieve or lru";
    return NULL;
}

/* ---- heat and time ------------------------------------------------------------------------------------------------- */

/* A clock that was set back makes nobody older. */
static uint32_t idle_s(const cart_entry_t *entry, uint32_t now_s) {
    return now_s > entry->touched_s ? now_s - entry->touched_s : 0;
}

uint16_t cart_policy_heat(const cart_policy_t *policy, const cart_entry_t *entry, uint32_t now_s) {
    uint32_t idle = idle_s(entry, now_s);
    uint32_t halvings = idle / policy->heat_halflife_s;
    if (halvings >= 16) return 0;
    uint32_t heat = (uint32_t)entry->heat >> halvings;
    /* Linear between two halvings: at most 6 % above the exponential, and without a table. */
    uint64_t part = (uint64_t)heat * (idle % policy->heat_halflife_s) / (2 * (uint64_t)policy->heat_halflife_s);
    return (uint16_t)(heat - part);
}

bool cart_policy_is_active(const cart_policy_t *policy, const cart_entry_t *entry, uint32_t now_s) {
    return cart_policy_heat(policy, entry, now_s) >= policy->active_heat;
}

bool cart_policy_is_expired(const cart_policy_t *policy, const cart_entry_t *entry, uint32_t now_s) {
    uint32_t ttl_s = entry->heat >= policy->active_heat ? policy->active_ttl_s : policy->calm_ttl_s;
    return idle_s(entry, now_s) >= ttl_s;
}

void cart_policy_touch(const cart_policy_t *policy, cart_table_t *table, cart_entry_t *entry, uint32_t now_s) {
    /* SIEVE: the interaction that brought the entry in is no visit, else one-time users would all get a second round. */
    bool is_first = entry->touched_s == 0 && entry->heat == 0;
    uint32_t heat = (uint32_t)cart_policy_heat(policy, entry, now_s) + HEAT_ONE;
    entry->heat = heat > UINT16_MAX ? UINT16_MAX : (uint16_t)heat;
    /* LRU: once a second is order enough, and spares a busy cart's reads the neighbours' cache lines. */
    if (policy->order == CART_POLICY_LRU && now_s != entry->touched_s) cart_table_refresh(table, entry);
    if (now_s > entry->touched_s) entry->touched_s = now_s;
    if (!is_first) entry->visited = 1;
}

/* ---- notes --------------------------------------------------------------------------------------------------------- */

bool cart_policy_note(const cart_policy_t *policy, cart_note_t *notes, size_t count, const cart_id_t *user,
                      uint32_t now_s) {
    if (count == 0) return true; /* no memory for notes: everybody earns a seat at once */
    uint64_t low;
    uint64_t high;
    memcpy(&low, user->bytes, sizeof(low));
    memcpy(&high, user->bytes + sizeof(low), sizeof(high));
    uint64_t mixed = (low ^ high >> 29 ^ high << 35) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t fingerprint = (uint32_t)mixed | 1; /* 0: empty */
    size_t ways = count < NOTE_WAYS ? count : NOTE_WAYS;
    cart_note_t *set = notes + (size_t)((mixed >> 32) * (uint64_t)(count / ways) >> 32) * ways;

    cart_note_t *oldest = set;
    for (size_t i = 0; i < ways; i++) {
        cart_note_t *note = set + i;
        if (note->fingerprint == fingerprint) {
            bool is_fresh = now_s < note->seen_s || now_s - note->seen_s <= policy->note_ttl_s;
            if (is_fresh) {
                note->fingerprint = 0;
                note->seen_s = 0;
                return true;
            }
            note->seen_s = now_s;
            return false;
        }
        if (note->seen_s < oldest->seen_s) oldest = note;
    }
    oldest->fingerprint = fingerprint;
    oldest->seen_s = now_s;
    return false;
}

/* ---- measures ------------------------------------------------------------------------------------------------------ */

static uint64_t live_bytes(const step_t *step) {
    cart_arena_usage_t usage;
    cart_arena_usage(step->arena, &usage);
    return usage.live_bytes;
}

static uint64_t mark_bytes(cart_arena_t *arena, unsigned permille) {
    cart_arena_usage_t usage;
    cart_arena_usage(arena, &usage);
    return (uint64_t)usage.capacity_bytes / 1000 * permille;
}

/* Free pages that must not be missing, so that a class which needs a page finds one. */
static uint32_t reserve_pages(cart_arena_t *arena) {
    return 1 + (uint32_t)(cart_arena_largest(arena) / CART_ARENA_PAGE_BYTES / SHORT_PAGES_1);
}

static bool is_short_of_pages(cart_arena_t *arena) {
    if (cart_arena_free_pages(arena) < reserve_pages(arena)) return true;
    uint32_t wanted = cart_arena_wanted_pages(arena);
    return wanted > 0 && !cart_arena_has_run(arena, wanted);
}

bool cart_policy_over_high_water(const cart_policy_t *policy, cart_table_t *table) {
    cart_arena_t *arena = cart_table_arena(table);
    cart_arena_usage_t usage;
    cart_arena_usage(arena, &usage);
    return usage.live_bytes > mark_bytes(arena, policy->high_water_permille) || is_short_of_pages(arena);
}

/* ---- rounds -------------------------------------------------------------------------------------------------------- */

static void start_phase(step_t *step, uint8_t phase) {
    cart_clearance_t *clearance = step->clearance;
    uint32_t count = cart_table_count(step->table);
    clearance->phase = phase;
    clearance->left = count;
    if (phase == PHASE_CALM || phase == PHASE_ACTIVE) {
        /* SIEVE: the first lap may only take visits back. LRU: the list is in order, so it begins at its cold end. */
        if (step->policy->order == CART_POLICY_SIEVE) {
            clearance->left = count > UINT32_MAX / 2 ? UINT32_MAX : 2 * count;
        } else {
            cart_table_hand_to_oldest(step->table, CART_HAND_CLEAR);
        }
    }
    if (phase == PHASE_DIRTY) clearance->heat_limit = HEAT_LIMIT_0;
}

static void start_clearing(step_t *step, uint64_t target_bytes) {
    step->clearance->target_bytes = target_bytes;
    step->clearance->wanted_bytes = 0;
    step->clearance->freed = 0;
    start_phase(step, PHASE_CALM);
}

static void end_round(step_t *step, bool is_stuck) {
    step->clearance->phase = PHASE_NONE;
    step->clearance->left = 0;
    step->clearance->stuck = is_stuck;
}

static void start_round(step_t *step) {
    if (live_bytes(step) > mark_bytes(step->arena, step->policy->high_water_permille)) {
        start_clearing(step, mark_bytes(step->arena, step->policy->low_water_permille));
    } else {
        start_phase(step, PHASE_TIDY);
    }
}

/* A whole lap has not made enough room: some must go. What an allocation missed is forgotten with it: who still needs it
 * asks again, and a demand that nobody repeats does not empty the table. */
static void end_tidying(step_t *step) {
    cart_arena_forget_wanted(step->arena);
    uint64_t live = live_bytes(step);
    uint64_t part = mark_bytes(step->arena, 1000) / SHORTAGE_PART;
    uint64_t low = mark_bytes(step->arena, step->policy->low_water_permille);
    uint64_t target = live > part ? live - part : 0;
    start_clearing(step, target < low ? target : low);
}

/* The laps of the present phase are over and the target was not reached. */
static void next_phase(step_t *step) {
    cart_clearance_t *clearance = step->clearance;
    switch (clearance->phase) {
    case PHASE_CALM:
        start_phase(step, PHASE_ACTIVE);
        break;
    case PHASE_ACTIVE:
        start_phase(step, PHASE_DIRTY);
        break;
    case PHASE_DIRTY:
        if (clearance->heat_limit == UINT16_MAX) {
            end_round(step, clearance->freed == 0);
        } else {
            uint32_t limit = (uint32_t)clearance->heat_limit * 4;
            clearance->heat_limit = limit > UINT16_MAX ? UINT16_MAX : (uint16_t)limit;
            clearance->left = cart_table_count(step->table);
        }
        break;
    default:
        assert(clearance->phase == PHASE_TIDY);
        end_tidying(step);
    }
}

static bool is_round_done(const step_t *step) {
    const cart_clearance_t *clearance = step->clearance;
    if (clearance->phase == PHASE_TIDY) return !is_short_of_pages(step->arena);
    uint64_t live = live_bytes(step);
    return live <= clearance->target_bytes || live - clearance->target_bytes <= clearance->wanted_bytes;
}

/* ---- one entry ----------------------------------------------------------------------------------------------------- */

static void remove_entry(step_t *step, cart_entry_t *entry, unsigned phase) {
    if (step->owner->going != NULL) step->owner->going(step->owner->context, entry, phase);
    cart_table_remove(step->table, entry);
    step->clearance->cleared[phase]++;
    step->removed++;
}

static void clear_in_phase_1(step_t *step, cart_entry_t *entry) {
    bool calm_only = step->clearance->phase == PHASE_CALM;
    if (calm_only && cart_policy_is_active(step->policy, entry, step->now_s)) return;
    if (step->policy->order == CART_POLICY_SIEVE && entry->visited) {
        entry->visited = 0;
        return;
    }
    if (step->owner->may_go(step->owner->context, entry) != CART_MAY_GO_CLEAN) return;
    remove_entry(step, entry, CLEARED_PHASE_1);
    step->clearance->freed++;
}

static void clear_in_phase_2(step_t *step, cart_entry_t *entry) {
    if (cart_policy_heat(step->policy, entry, step->now_s) > step->clearance->heat_limit) return;
    cart_may_go_t may_go = step->owner->may_go(step->owner->context, entry);
    if (may_go == CART_MAY_NOT_GO) return;
    if (may_go == CART_MAY_GO_DIRTY && step->owner->wanted != NULL) {
        step->clearance->wanted_bytes += cart_table_entry_bytes(step->table, entry);
        step->owner->wanted(step->owner->context, entry);
        return;
    }
    remove_entry(step, entry, CLEARED_PHASE_2);
    step->clearance->freed++;
}

static void tidy(step_t *step, cart_entry_t *entry) {
    if (step->owner->may_go(step->owner->context, entry) == CART_MAY_NOT_GO) return;
    if (cart_table_tidy_image(step->table, entry)) step->clearance->moved++;
    if (step->owner->moved == NULL) return;
    cart_entry_t *to = cart_table_tidy_entry(step->table, entry);
    if (to == NULL) return;
    step->clearance->moved++;
    step->owner->moved(step->owner->context, entry, to);
}

/* ---- the step ------------------------------------------------------------------------------------------------------ */

static unsigned clear_some(step_t *step, unsigned budget) {
    cart_clearance_t *clearance = step->clearance;
    unsigned looked = 0;
    if (clearance->phase == PHASE_NONE) start_round(step);
    while (looked < budget && clearance->phase != PHASE_NONE) {
        if (is_round_done(step)) {
            bool is_waiting = clearance->phase == PHASE_DIRTY && clearance->freed == 0;
            if (clearance->phase == PHASE_TIDY) cart_arena_forget_wanted(step->arena);
            end_round(step, is_waiting);
            break;
        }
        if (clearance->left == 0) {
            next_phase(step);
            looked++; /* so that a table without entries ends the step as well */
            continue;
        }
        bool is_tidying = clearance->phase == PHASE_TIDY;
        cart_entry_t *entry = cart_table_hand(step->table, is_tidying ? CART_HAND_TIDY : CART_HAND_CLEAR);
        clearance->left = entry == NULL ? 0 : clearance->left - 1;
        looked++;
        if (entry == NULL) continue;
        if (is_tidying) {
            tidy(step, entry);
        } else if (clearance->phase == PHASE_DIRTY) {
            clear_in_phase_2(step, entry);
        } else {
            clear_in_phase_1(step, entry);
        }
    }
    return looked;
}

static void expire_some(step_t *step, unsigned budget) {
    uint32_t count = cart_table_count(step->table);
    if (budget > count) budget = count;
    for (unsigned i = 0; i < budget; i++) {
        cart_entry_t *entry = cart_table_hand(step->table, CART_HAND_TTL);
        if (entry == NULL) return;
        if (!cart_policy_is_expired(step->policy, entry, step->now_s)) continue;
        cart_may_go_t may_go = step->owner->may_go(step->owner->context, entry);
        if (may_go == CART_MAY_NOT_GO) continue;
        if (may_go == CART_MAY_GO_DIRTY && step->owner->wanted != NULL) {
            step->owner->wanted(step->owner->context, entry);
        } else {
            remove_entry(step, entry, CLEARED_TTL);
        }
    }
}

unsigned cart_policy_step(const cart_policy_t *policy, cart_table_t *table, cart_clearance_t *clearance,
                          const cart_policy_owner_t *owner, uint32_t now_s, unsigned budget) {
    assert(owner->may_go != NULL);
    assert(clearance->phase <= PHASE_TIDY);
    if (budget < BUDGET_MIN) budget = BUDGET_MIN;
    step_t step = {policy, table, cart_table_arena(table), clearance, owner, now_s, 0};
    unsigned looked = 0;
    if (clearance->phase != PHASE_NONE || cart_policy_over_high_water(policy, table)) {
        looked = clear_some(&step, budget - budget / 4);
    } else {
        clearance->stuck = 0;
        cart_arena_forget_wanted(step.arena);
    }
    expire_some(&step, budget - looked);
    if (step.removed > 0) clearance->stuck = 0;
    return step.removed;
}
