/*
 * Seats: shards of confirmed images. The invariants are in the header; cart_zone_check executes them.
 *
 * A shard is a lock, its notes, and a cart_table whose entries are seats. Whatever touches a shard goes through
 * shard_lock, which empties it when the lock's owner has died: what it holds is a copy, and a copy half written is worth
 * less than a FETCH.
 *
 * A seat's states, by its flags and by whether it has an image:
 *
 *   (none) ──reserve──▶ EMPTY ──store(generation)──▶ VOUCHED ──slot's vouch or its PING gone──▶ (reads as UNVOUCHED)
 *                         │ store(0): image, still not vouched                    │ reserve: SEAT_VOUCHED off
 *                         ▼                                                       ▼
 *                       UNVOUCHED ◀───────────────────────────────────────────────┘ ──store(generation)──▶ VOUCHED
 *   any ──drop, clearance, no room for a newer image, shard emptied──▶ (none)
 */
#include "cart/cart_zone.h"

#include <assert.h>
#include <string.h>

#include "cart/cart_image.h"
#include "cart/cart_planted.h"
#include "cart/cart_zone_memory.h"

#define SHARD_BYTES_MIN   (CART_ARENA_BYTES_MIN * 2)
#define NOTES_SHARE       64 /* of a shard's bytes, one part of so many is for notes */
#define CLEARANCE_BUDGET  32 /* entries looked at in a step; of these and as many by TTL each may go: STEP_MAX */
#define RESERVE_STEPS_MAX 4  /* steps that one reserve does at most */

_Static_assert(2 * CLEARANCE_BUDGET <= CART_ZONE_STEP_MAX, "a step's releases fit");

/* ---- layout ------------------------------------------------------------------------------------------------------- */

const char *cart_zone_config_check(const cart_zone_config_t *config) {
    if (config->shards == 0 || config->shards > CART_ZONE_SHARDS_MAX || (config->shards & (config->shards - 1)) != 0)
        return "shards must be a power of two, at most 64";
    if (config->stale_max_ms == 0) return "stale_max must be above 0";
    return cart_policy_check(&config->policy);
}

size_t cart_zone_bytes_min(const cart_zone_config_t *config) {
    return sizeof(cart_zone_memory_t) + config->shards * (sizeof(cart_zone_shard_t) + SHARD_BYTES_MIN);
}

static cart_zone_shard_t *shard_at(const cart_zone_t *zone, unsigned index) {
    cart_zone_memory_t *memory = zone->memory;
    return (cart_zone_shard_t *)(void *)((uint8_t *)memory + memory->shard_first + index * memory->shard_bytes);
}

static cart_note_t *shard_notes(cart_zone_shard_t *shard) {
    return (cart_note_t *)(void *)(shard + 1);
}

static size_t notes_bytes(const cart_zone_memory_t *memory) {
    return memory->notes * sizeof(cart_note_t);
}

static cart_table_t *shard_table(const cart_zone_t *zone, cart_zone_shard_t *shard) {
    return (cart_table_t *)(void *)((uint8_t *)(shard + 1) + notes_bytes(zone->memory));
}

static size_t table_bytes(const cart_zone_memory_t *memory) {
    return memory->shard_bytes - sizeof(cart_zone_shard_t) - notes_bytes(memory);
}

static bool shard_init_table(const cart_zone_t *zone, cart_zone_shard_t *shard) {
    return cart_table_init(shard_table(zone, shard), table_bytes(zone->memory), sizeof(cart_seat_t),
                           CART_SEAT_BYTES_HINT, zone->memory->seed) != NULL;
}

bool cart_zone_init(cart_zone_t *zone, void *memory_bytes, size_t bytes, const cart_id_t *incarnation, uint64_t seed) {
    if (cart_zone_config_check(&zone->config) != NULL || bytes < cart_zone_bytes_min(&zone->config)) return false;
    if (((uintptr_t)memory_bytes & (CART_ZONE_LINE - 1)) != 0 || cart_id_is_none(incarnation)) return false;
    cart_zone_memory_t *memory = memory_bytes;
    memory->layout = CART_ZONE_LAYOUT;
    memory->shards = zone->config.shards;
    memory->slots = CART_ZONE_SLOTS_MAX;
    memory->bytes = bytes;
    memory->seed = seed;
    memory->incarnation = *incarnation;
    memory->shard_first = sizeof(cart_zone_memory_t);
    uint64_t stride = (bytes - sizeof(cart_zone_memory_t)) / memory->shards;
    memory->shard_bytes = stride - stride % CART_ZONE_LINE;
    uint64_t lines = memory->shard_bytes / NOTES_SHARE / CART_ZONE_LINE;
    memory->notes = lines * (CART_ZONE_LINE / sizeof(cart_note_t));
    zone->memory = memory;
    for (unsigned i = 0; i < CART_ZONE_SLOTS_MAX; i++) zone->locks.init(zone->locks.context, memory->slot[i].lock);
    zone->locks.init(zone->locks.context, memory->lease_lock);
    for (unsigned i = 0; i < memory->shards; i++) {
        cart_zone_shard_t *shard = shard_at(zone, i);
        zone->locks.init(zone->locks.context, shard->lock);
        if (!shard_init_table(zone, shard)) {
            zone->memory = NULL;
            return false;
        }
    }
    memory->magic = CART_ZONE_MAGIC; /* last: a zone half laid out is nobody's */
    return true;
}

bool cart_zone_attach(cart_zone_t *zone, void *memory_bytes, size_t bytes) {
    cart_zone_memory_t *memory = memory_bytes;
    if (bytes < sizeof(*memory) || memory->magic != CART_ZONE_MAGIC || memory->layout != CART_ZONE_LAYOUT) return false;
    if (memory->bytes != bytes || memory->shards != zone->config.shards || memory->slots != CART_ZONE_SLOTS_MAX)
        return false;
    zone->memory = memory;
    return true;
}

const cart_id_t *cart_zone_incarnation(const cart_zone_t *zone) {
    return &zone->memory->incarnation;
}

/* ---- shards ------------------------------------------------------------------------------------------------------- */

static cart_zone_shard_t *shard_of(const cart_zone_t *zone, const cart_id_t *user) {
    uint64_t word;
    memcpy(&word, user->bytes, sizeof(word));
    word = (word ^ zone->memory->seed) * UINT64_C(0x9e3779b97f4a7c15);
    return shard_at(zone, (unsigned)(word >> 58) & (zone->memory->shards - 1U));
}

static void shard_empty(const cart_zone_t *zone, cart_zone_shard_t *shard) {
    /* Laid out anew, not cleared: the table's own head may be what the dead process was writing. */
    bool fits = shard_init_table(zone, shard);
    assert(fits);
    (void)fits; /* it fitted when the zone was laid out, and nothing has moved since */
    memset(shard_notes(shard), 0, notes_bytes(zone->memory));
    memset(&shard->clearance, 0, sizeof(shard->clearance));
    shard->vouched = 0;
    shard->dirty = 0;
    shard->active = 0;
    shard->emptied++;
}

static void shard_lock(const cart_zone_t *zone, cart_zone_shard_t *shard) {
    if (zone->locks.lock(zone->locks.context, shard->lock) == CART_LOCK_OK) return;
    if (CART_PLANTED(dead_shard_kept)) return;
    shard_empty(zone, shard);
}

static void shard_unlock(const cart_zone_t *zone, cart_zone_shard_t *shard) {
    zone->locks.unlock(zone->locks.context, shard->lock);
}

static cart_seat_t *seat_of(cart_entry_t *entry) {
    return cart_entry_extra(entry);
}
static uint64_t seat_generation(const cart_seat_t *seat) {
    return seat->generation_slot >> 16;
}
static uint16_t seat_slot(const cart_seat_t *seat) {
    return (uint16_t)seat->generation_slot;
}

static void set_flag(cart_entry_t *entry, uint8_t flag, bool on, uint64_t *count) {
    if (((entry->flags & flag) != 0) == on) return;
    entry->flags ^= flag;
    if (on)
        ++*count;
    else
        --*count;
}

static void seat_forget_counts(cart_zone_shard_t *shard, cart_entry_t *entry) {
    set_flag(entry, SEAT_VOUCHED, false, &shard->vouched);
    set_flag(entry, SEAT_DIRTY, false, &shard->dirty);
    set_flag(entry, SEAT_ACTIVE, false, &shard->active);
}

static void seat_remove(const cart_zone_t *zone, cart_zone_shard_t *shard, cart_entry_t *entry) {
    seat_forget_counts(shard, entry);
    cart_table_remove(shard_table(zone, shard), entry);
}

static void seat_touch(const cart_zone_t *zone, cart_zone_shard_t *shard, cart_entry_t *entry, uint64_t now_ms) {
    uint32_t now_s = (uint32_t)(now_ms / 1000);
    cart_policy_touch(&zone->config.policy, shard_table(zone, shard), entry, now_s);
    set_flag(entry, SEAT_ACTIVE, cart_policy_is_active(&zone->config.policy, entry, now_s), &shard->active);
}

/* What an image we packed says of its place, without its lines. */
typedef struct {
    uint64_t epoch, version, term;
} packed_place_t;

static packed_place_t packed_place(const uint8_t *bytes, size_t length) {
    uint64_t number[3] = {0, 0, 0};
    size_t at = 0;
    for (unsigned i = 0; i < 3; i++) {
        unsigned shift = 0;
        while (at < length) {
            uint8_t byte = bytes[at++];
            number[i] |= (uint64_t)(byte & 0x7f) << shift;
            shift += 7;
            if (byte < 0x80) break;
        }
    }
    return (packed_place_t){number[0], number[1], number[2]};
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

/* Whether the slot still vouches. Read without its lock: answered_ms before vouch, the reverse of how slot_up writes
 * them, so that a new link's PING never speaks for a seat of the old vouch. */
static bool seat_is_current(const cart_zone_t *zone, const cart_entry_t *entry, const cart_seat_t *seat,
                            uint64_t now_ms) {
    if ((entry->flags & SEAT_VOUCHED) == 0) return false;
    cart_zone_slot_memory_t *slot = &zone->memory->slot[seat_slot(seat)];
    uint64_t answered_ms = atomic_load_explicit(&slot->answered_ms, memory_order_acquire);
    uint32_t vouch = atomic_load_explicit(&slot->vouch, memory_order_acquire);
    if (vouch != seat->vouch && !CART_PLANTED(vouch_ignored)) return false;
    if (CART_PLANTED(stale_max_ignored)) return true;
    return answered_ms > 0 && now_ms <= answered_ms + zone->config.stale_max_ms;
}

cart_seat_found_t cart_zone_read(cart_zone_t *zone, const cart_id_t *user, uint64_t now_ms, bool touch,
                                 cart_image_t *image, cart_seat_info_t *info) {
    cart_seat_found_t found = CART_SEAT_NONE;
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    size_t length = 0;
    cart_zone_shard_t *shard = shard_of(zone, user);
    shard_lock(zone, shard);
    cart_table_t *table = shard_table(zone, shard);
    cart_entry_t *entry = cart_table_find(table, user);
    if (entry == NULL) {
        shard->misses++;
    } else {
        cart_seat_t *seat = seat_of(entry);
        if (touch) seat_touch(zone, shard, entry, now_ms);
        info->generation = seat_generation(seat);
        info->shown = seat->shown;
        info->active = (entry->flags & SEAT_ACTIVE) != 0;
        info->term = 0;
        if (entry->image == CART_NO_REF) {
            found = CART_SEAT_EMPTY;
            shard->misses++;
        } else {
            length = entry->image_length;
            memcpy(packed, cart_table_image(table, entry), length);
            bool current = seat_is_current(zone, entry, seat, now_ms);
            found = current ? CART_SEAT_HIT : CART_SEAT_UNVOUCHED;
            if (current)
                shard->hits++;
            else
                shard->unvouched++;
        }
    }
    shard_unlock(zone, shard);
    if (length > 0) {
        bool whole = cart_image_unpack_trusted(packed, length, image);
        assert(whole);
        if (!whole) return CART_SEAT_NONE;
        info->term = cart_term(image);
    }
    return found;
}

void cart_zone_mark_shown(cart_zone_t *zone, const cart_id_t *user, uint64_t generation, uint32_t shown) {
    cart_zone_shard_t *shard = shard_of(zone, user);
    shard_lock(zone, shard);
    cart_entry_t *entry = cart_table_find(shard_table(zone, shard), user);
    if (entry != NULL && seat_generation(seat_of(entry)) == generation) seat_of(entry)->shown = shown;
    shard_unlock(zone, shard);
}

bool cart_zone_note(cart_zone_t *zone, const cart_id_t *user, uint64_t now_ms) {
    cart_zone_shard_t *shard = shard_of(zone, user);
    shard_lock(zone, shard);
    bool earned = cart_policy_note(&zone->config.policy, shard_notes(shard), zone->memory->notes, user,
                                   (uint32_t)(now_ms / 1000));
    shard_unlock(zone, shard);
    return earned;
}

/* ---- clearance ---------------------------------------------------------------------------------------------------- */

typedef struct {
    const cart_zone_t *zone;
    cart_zone_shard_t *shard;
    const cart_entry_t *busy; /* the caller works on it: may not go. NULL: none */
    cart_zone_gone_t *gone;
    unsigned count;
} clearing_t;

static cart_may_go_t seat_may_go(void *context, const cart_entry_t *entry) {
    clearing_t *clearing = context;
    if (entry == clearing->busy || clearing->count == CART_ZONE_STEP_MAX) return CART_MAY_NOT_GO;
    return (entry->flags & SEAT_DIRTY) != 0 ? CART_MAY_GO_DIRTY : CART_MAY_GO_CLEAN;
}

static void seat_going(void *context, cart_entry_t *entry, unsigned phase) {
    (void)phase; /* the policy counts by phase */
    clearing_t *clearing = context;
    cart_table_t *table = shard_table(clearing->zone, clearing->shard);
    if (clearing->count < CART_ZONE_STEP_MAX) {
        cart_zone_gone_t *gone = &clearing->gone[clearing->count++];
        gone->user = entry->user;
        gone->generation = seat_generation(seat_of(entry));
        gone->slot = seat_slot(seat_of(entry));
        gone->term = 0;
        if (entry->image != CART_NO_REF)
            gone->term = packed_place(cart_table_image(table, entry), entry->image_length).term;
    }
    seat_forget_counts(clearing->shard, entry);
}

/* Nothing but the table points at a seat across a step. */
static void seat_moved(void *context, const cart_entry_t *from, cart_entry_t *to) {
    (void)context;
    (void)from;
    (void)to;
}

static unsigned shard_clear(clearing_t *clearing, uint64_t now_ms) {
    const cart_policy_owner_t owner = {
        .context = clearing, .may_go = seat_may_go, .going = seat_going, .wanted = NULL, .moved = seat_moved};
    return cart_policy_step(&clearing->zone->config.policy, shard_table(clearing->zone, clearing->shard),
                            &clearing->shard->clearance, &owner, (uint32_t)(now_ms / 1000), CLEARANCE_BUDGET);
}

void cart_zone_step(cart_zone_t *zone, uint64_t now_ms, cart_zone_gone_t gone[CART_ZONE_STEP_MAX], unsigned *count) {
    unsigned turn = atomic_fetch_add_explicit(&zone->memory->step_shard, 1, memory_order_relaxed);
    cart_zone_shard_t *shard = shard_at(zone, turn & (zone->memory->shards - 1U));
    clearing_t clearing = {.zone = zone, .shard = shard, .busy = NULL, .gone = gone, .count = 0};
    shard_lock(zone, shard);
    (void)shard_clear(&clearing, now_ms); /* `gone` says what went */
    shard_unlock(zone, shard);
    *count = clearing.count;
}

/* ---- seats -------------------------------------------------------------------------------------------------------- */

static cart_entry_t *insert_seat(clearing_t *clearing, const cart_id_t *user, uint64_t now_ms) {
    cart_table_t *table = shard_table(clearing->zone, clearing->shard);
    const cart_policy_t *policy = &clearing->zone->config.policy;
    for (unsigned step = 0; step < RESERVE_STEPS_MAX && cart_policy_over_high_water(policy, table); step++) {
        if (clearing->count > CART_ZONE_STEP_MAX - 2 * CLEARANCE_BUDGET) break;
        (void)shard_clear(clearing, now_ms); /* whether it was enough shows at the insert */
    }
    cart_entry_t *entry = cart_table_insert(table, user);
    if (entry == NULL && clearing->count == 0) {
        (void)shard_clear(clearing, now_ms); /* as above */
        entry = cart_table_insert(table, user);
    }
    return entry;
}

cart_reserve_t cart_zone_reserve(cart_zone_t *zone, const cart_id_t *user, uint16_t slot, uint64_t now_ms,
                                 uint64_t *generation, cart_zone_gone_t gone[CART_ZONE_STEP_MAX],
                                 unsigned *gone_count) {
    assert(slot < CART_ZONE_SLOTS_MAX);
    uint32_t vouch = atomic_load_explicit(&zone->memory->slot[slot].vouch, memory_order_acquire);
    assert(vouch != 0);
    cart_zone_shard_t *shard = shard_of(zone, user);
    clearing_t clearing = {.zone = zone, .shard = shard, .busy = NULL, .gone = gone, .count = 0};
    cart_reserve_t result = CART_RESERVED;
    shard_lock(zone, shard);
    cart_entry_t *entry = cart_table_find(shard_table(zone, shard), user);
    if (entry == NULL) entry = insert_seat(&clearing, user, now_ms);
    if (entry == NULL) {
        shard->reserve_full++;
        result = CART_RESERVE_FULL;
    } else {
        cart_seat_t *seat = seat_of(entry);
        bool keeps = seat->vouch == vouch && seat_slot(seat) == slot && seat_generation(seat) != 0;
        if (!keeps) {
            uint64_t drawn = atomic_fetch_add_explicit(&zone->memory->generation, 1, memory_order_relaxed) + 1;
            seat->generation_slot = drawn << 16 | slot;
            seat->vouch = vouch;
            set_flag(entry, SEAT_VOUCHED, false, &shard->vouched);
        }
        seat_touch(zone, shard, entry, now_ms);
        *generation = seat_generation(seat);
    }
    shard_unlock(zone, shard);
    *gone_count = clearing.count;
    return result;
}

typedef enum { SEAT_OLDER, SEAT_KEEPS, SEAT_OTHER_EPOCH } seat_order_t;

/* Whether `image` is to replace what the seat has (invariant 3). */
static seat_order_t seat_order(cart_table_t *table, const cart_entry_t *entry, const cart_image_t *image) {
    if (entry->image == CART_NO_REF) return SEAT_OLDER;
    packed_place_t has = packed_place(cart_table_image(table, entry), entry->image_length);
    if (has.epoch != image->place.epoch) return has.epoch < image->place.epoch ? SEAT_OLDER : SEAT_OTHER_EPOCH;
    if (has.version != image->place.version) {
        return has.version < image->place.version || CART_PLANTED(lesser_image_wins) ? SEAT_OLDER : SEAT_KEEPS;
    }
    return cart_term(image) < has.term ? SEAT_OLDER : SEAT_KEEPS;
}

bool cart_zone_store(cart_zone_t *zone, const cart_id_t *user, uint64_t generation, uint16_t slot,
                     const cart_image_t *image) {
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    size_t length = cart_image_pack(image, packed, sizeof(packed));
    assert(length > 0);
    bool stored = false;
    cart_zone_shard_t *shard = shard_of(zone, user);
    shard_lock(zone, shard);
    cart_table_t *table = shard_table(zone, shard);
    cart_entry_t *entry = cart_table_find(table, user);
    if (entry == NULL) goto done;
    cart_seat_t *seat = seat_of(entry);
    if (generation != 0 && (seat_generation(seat) != generation || seat_slot(seat) != slot)) goto done;
    seat_order_t order = seat_order(table, entry, image);
    if (order == SEAT_OLDER) {
        if (!cart_table_set_image(table, entry, packed, length)) {
            /* What it shows is older than what this edge is about to answer. */
            seat_remove(zone, shard, entry);
            goto done;
        }
        set_flag(entry, SEAT_DIRTY, cart_term(image) > 0, &shard->dirty);
    }
    /* An image of an older epoch comes from a service that another has replaced: it vouches for nothing. */
    if (generation != 0 && order != SEAT_OTHER_EPOCH) set_flag(entry, SEAT_VOUCHED, true, &shard->vouched);
    stored = true;
done:
    shard_unlock(zone, shard);
    return stored;
}

void cart_zone_drop(cart_zone_t *zone, const cart_id_t *user, uint64_t generation) {
    cart_zone_shard_t *shard = shard_of(zone, user);
    shard_lock(zone, shard);
    cart_entry_t *entry = cart_table_find(shard_table(zone, shard), user);
    if (entry != NULL && (generation == 0 || seat_generation(seat_of(entry)) == generation))
        seat_remove(zone, shard, entry);
    shard_unlock(zone, shard);
}

/* ---- numbers ------------------------------------------------------------------------------------------------------ */

void cart_zone_stats(cart_zone_t *zone, uint64_t now_ms, cart_zone_stats_t *stats) {
    (void)now_ms; /* the running counts need no time; kept so that callers need not change when one does */
    memset(stats, 0, sizeof(*stats));
    cart_zone_memory_t *memory = zone->memory;
    stats->bytes_total = memory->bytes;
    stats->bytes_used = memory->shard_first;
    stats->bytes_touched = memory->shard_first;
    for (unsigned i = 0; i < memory->shards; i++) {
        cart_zone_shard_t *shard = shard_at(zone, i);
        shard_lock(zone, shard);
        cart_table_t *table = shard_table(zone, shard);
        cart_arena_usage_t usage;
        cart_arena_usage(cart_table_arena(table), &usage);
        size_t fixed = (size_t)((uint8_t *)cart_table_arena(table) - (uint8_t *)shard);
        uint32_t count = cart_table_count(table);
        stats->seats += count;
        stats->reserved += count - shard->vouched;
        stats->active += shard->active;
        stats->dirty += shard->dirty;
        stats->bytes_used += fixed + usage.used_bytes;
        stats->bytes_touched += fixed + usage.touched_bytes;
        stats->hits += shard->hits;
        stats->misses += shard->misses;
        stats->unvouched += shard->unvouched;
        stats->reserve_full += shard->reserve_full;
        stats->emptied_shards += shard->emptied;
        stats->cleared_ttl += shard->clearance.cleared[0];
        stats->cleared_phase1 += shard->clearance.cleared[1];
        stats->cleared_phase2 += shard->clearance.cleared[2];
        shard_unlock(zone, shard);
    }
    for (unsigned i = 0; i < CART_ZONE_SLOTS_MAX; i++) {
        cart_slot_t slot;
        cart_zone_slot(zone, (uint16_t)i, &slot);
        stats->links_up += slot.up;
        stats->slots_taken += slot.pid != 0;
    }
}

static bool shard_check(const cart_zone_t *zone, cart_zone_shard_t *shard) {
    cart_table_t *table = shard_table(zone, shard);
    if (!cart_table_check(table)) return false;
    uint64_t newest = atomic_load_explicit(&zone->memory->generation, memory_order_relaxed);
    uint64_t vouched = 0, dirty = 0, active = 0;
    for (cart_entry_t *entry = cart_table_older_first(table, NULL); entry != NULL;
         entry = cart_table_older_first(table, entry)) {
        cart_seat_t *seat = seat_of(entry);
        if (seat_generation(seat) == 0 || seat_generation(seat) > newest) return false;
        if (seat_slot(seat) >= CART_ZONE_SLOTS_MAX || seat->vouch == 0) return false;
        if (shard_of(zone, &entry->user) != shard) return false;
        vouched += (entry->flags & SEAT_VOUCHED) != 0;
        dirty += (entry->flags & SEAT_DIRTY) != 0;
        active += (entry->flags & SEAT_ACTIVE) != 0;
        if (entry->image == CART_NO_REF) {
            if ((entry->flags & (SEAT_VOUCHED | SEAT_DIRTY)) != 0) return false;
            continue;
        }
        cart_image_t image;
        if (!cart_image_unpack(cart_table_image(table, entry), entry->image_length, &image)) return false;
        if (((entry->flags & SEAT_DIRTY) != 0) != (cart_term(&image) > 0)) return false;
    }
    return vouched == shard->vouched && dirty == shard->dirty && active == shard->active;
}

bool cart_zone_check(cart_zone_t *zone) {
    bool good = true;
    for (unsigned i = 0; i < zone->memory->shards && good; i++) {
        cart_zone_shard_t *shard = shard_at(zone, i);
        shard_lock(zone, shard);
        good = shard_check(zone, shard);
        shard_unlock(zone, shard);
    }
    return good;
}
