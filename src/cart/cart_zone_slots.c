/*
 * Link slots, and the lease of the feeds.
 *
 * A slot's life:
 *
 *   nobody's ──take_slot──▶ taken ──connecting──▶ (link number drawn) ──slot_up──▶ up ──slot_down──▶ taken
 *      ▲                                                                            │
 *      └──────────── give_slot, or the process dies and another takes it ───────────┘
 *
 * What the slot has heard (service, push_seen, vouch) outlives its owner: whoever takes it next resumes there, and the
 * seats it vouches for stay good. A slot whose lock a dead process held may be half written: it forgets what it has
 * heard, takes a new vouch, and its seats are revalidated.
 */
#include <assert.h>
#include <string.h>

#include "cart/cart_planted.h"
#include "cart/cart_zone.h"
#include "cart/cart_zone_memory.h"

uint32_t cart_zone_new_vouch(cart_zone_memory_t *memory) {
    uint32_t vouch;
    do {
        vouch = atomic_fetch_add_explicit(&memory->vouch, 1, memory_order_relaxed) + 1;
    } while (vouch == 0); /* 0 is "never" */
    return vouch;
}

static cart_zone_slot_memory_t *slot_lock(cart_zone_t *zone, uint16_t index) {
    assert(index < CART_ZONE_SLOTS_MAX);
    cart_zone_slot_memory_t *slot = &zone->memory->slot[index];
    if (zone->locks.lock(zone->locks.context, slot->lock) == CART_LOCK_OWNER_DIED) {
        memset(&slot->service, 0, sizeof(slot->service));
        slot->up = 0;
        atomic_store_explicit(&slot->vouch, cart_zone_new_vouch(zone->memory), memory_order_release);
        atomic_store_explicit(&slot->answered_ms, 0, memory_order_release);
        atomic_store_explicit(&slot->push_seen, 0, memory_order_release);
    }
    return slot;
}

static void slot_unlock(cart_zone_t *zone, cart_zone_slot_memory_t *slot) {
    zone->locks.unlock(zone->locks.context, slot->lock);
}

static bool slot_is_free(const cart_zone_t *zone, const cart_zone_slot_memory_t *slot) {
    return slot->pid == 0 || !zone->locks.alive(zone->locks.context, slot->pid, slot->started);
}

static void lease_forget(cart_zone_t *zone, uint16_t slot);

bool cart_zone_take_slot(cart_zone_t *zone, uint32_t pid, uint64_t started, uint16_t *slot) {
    assert(pid != 0);
    /* The free slot that was heard last: its seats are the ones worth resuming. Another process may be quicker. */
    for (unsigned attempt = 0; attempt < CART_ZONE_SLOTS_MAX; attempt++) {
        unsigned best = CART_ZONE_SLOTS_MAX;
        uint64_t best_ms = 0;
        for (unsigned i = 0; i < CART_ZONE_SLOTS_MAX; i++) {
            cart_zone_slot_memory_t *candidate = slot_lock(zone, (uint16_t)i);
            uint64_t answered_ms = atomic_load_explicit(&candidate->answered_ms, memory_order_relaxed);
            if (slot_is_free(zone, candidate) && (best == CART_ZONE_SLOTS_MAX || answered_ms > best_ms)) {
                best = i;
                best_ms = answered_ms;
            }
            slot_unlock(zone, candidate);
        }
        if (best == CART_ZONE_SLOTS_MAX) return false;
        cart_zone_slot_memory_t *taken = slot_lock(zone, (uint16_t)best);
        bool got = slot_is_free(zone, taken);
        if (got) {
            taken->pid = pid;
            taken->started = started;
            taken->up = 0;
        }
        slot_unlock(zone, taken);
        if (!got) continue;
        lease_forget(zone, (uint16_t)best);
        *slot = (uint16_t)best;
        return true;
    }
    return false;
}

void cart_zone_give_slot(cart_zone_t *zone, uint16_t index, uint32_t pid, uint64_t started) {
    cart_zone_slot_memory_t *slot = slot_lock(zone, index);
    bool ours = slot->pid == pid && slot->started == started;
    if (ours) {
        slot->pid = 0;
        slot->started = 0;
        slot->up = 0;
    }
    slot_unlock(zone, slot);
    if (ours) lease_forget(zone, index);
}

void cart_zone_slot(cart_zone_t *zone, uint16_t index, cart_slot_t *copy) {
    cart_zone_slot_memory_t *slot = slot_lock(zone, index);
    copy->service = slot->service;
    copy->link_number = slot->link_number;
    copy->push_seen = atomic_load_explicit(&slot->push_seen, memory_order_relaxed);
    copy->answered_ms = atomic_load_explicit(&slot->answered_ms, memory_order_relaxed);
    copy->vouch = atomic_load_explicit(&slot->vouch, memory_order_relaxed);
    copy->pid = slot->pid;
    copy->started = slot->started;
    copy->up = slot->up != 0;
    slot_unlock(zone, slot);
}

uint64_t cart_zone_slot_connecting(cart_zone_t *zone, uint16_t index) {
    uint64_t number = atomic_fetch_add_explicit(&zone->memory->link_number, 1, memory_order_relaxed) + 1;
    cart_zone_slot_memory_t *slot = slot_lock(zone, index);
    slot->link_number = number;
    slot->up = 0;
    slot_unlock(zone, slot);
    return number;
}

void cart_zone_slot_up(cart_zone_t *zone, uint16_t index, const cart_id_t *service, bool resumed, uint64_t push_next,
                       uint64_t ping_sent_ms) {
    assert(push_next > 0);
    cart_zone_slot_memory_t *slot = slot_lock(zone, index);
    if (!resumed) {
        /* The vouch first: see seat_is_current. */
        if (!CART_PLANTED(gap_keeps_vouch) || atomic_load(&slot->vouch) == 0)
            atomic_store_explicit(&slot->vouch, cart_zone_new_vouch(zone->memory), memory_order_release);
        atomic_store_explicit(&slot->push_seen, push_next - 1, memory_order_release);
        atomic_store_explicit(&slot->answered_ms, ping_sent_ms, memory_order_release);
    }
    slot->service = *service;
    slot->up = 1;
    slot_unlock(zone, slot);
}

void cart_zone_slot_down(cart_zone_t *zone, uint16_t index) {
    cart_zone_slot_memory_t *slot = slot_lock(zone, index);
    slot->up = 0;
    slot_unlock(zone, slot);
    lease_forget(zone, index);
}

void cart_zone_slot_answered(cart_zone_t *zone, uint16_t index, uint64_t ping_sent_ms) {
    cart_zone_slot_memory_t *slot = &zone->memory->slot[index];
    if (ping_sent_ms > atomic_load_explicit(&slot->answered_ms, memory_order_relaxed))
        atomic_store_explicit(&slot->answered_ms, ping_sent_ms, memory_order_release);
}

void cart_zone_slot_push_seen(cart_zone_t *zone, uint16_t index, uint64_t number) {
    cart_zone_slot_memory_t *slot = &zone->memory->slot[index];
    assert(number > atomic_load_explicit(&slot->push_seen, memory_order_relaxed));
    atomic_store_explicit(&slot->push_seen, number, memory_order_release);
}

/* ---- the lease ---------------------------------------------------------------------------------------------------- */

static void lease_lock(cart_zone_t *zone) {
    if (zone->locks.lock(zone->locks.context, zone->memory->lease_lock) == CART_LOCK_OWNER_DIED) {
        zone->memory->lease_slot = 0;
        zone->memory->lease_until_ms = 0;
    }
}

static void lease_unlock(cart_zone_t *zone) {
    zone->locks.unlock(zone->locks.context, zone->memory->lease_lock);
}

static void lease_forget(cart_zone_t *zone, uint16_t slot) {
    lease_lock(zone);
    if (zone->memory->lease_slot == slot + 1U) zone->memory->lease_slot = 0;
    lease_unlock(zone);
}

bool cart_zone_lease(cart_zone_t *zone, uint16_t slot, uint64_t now_ms, uint32_t lease_ms) {
    lease_lock(zone);
    cart_zone_memory_t *memory = zone->memory;
    bool held = memory->lease_slot == slot + 1U;
    if (!held && (memory->lease_slot == 0 || now_ms >= memory->lease_until_ms)) {
        memory->lease_slot = slot + 1U;
        held = true;
    }
    if (held) memory->lease_until_ms = now_ms + lease_ms;
    lease_unlock(zone);
    return held;
}

bool cart_zone_lease_holder(cart_zone_t *zone, uint16_t *slot) {
    lease_lock(zone);
    uint32_t holder = zone->memory->lease_slot;
    lease_unlock(zone);
    if (holder == 0) return false;
    *slot = (uint16_t)(holder - 1);
    return true;
}

static void raise_to(_Atomic uint64_t *value, uint64_t to) {
    uint64_t was = atomic_load_explicit(value, memory_order_relaxed);
    while (was < to &&
           !atomic_compare_exchange_weak_explicit(value, &was, to, memory_order_release, memory_order_relaxed)) {
    }
}

void cart_zone_feeds_heard(cart_zone_t *zone, bool books, bool revocations, uint64_t ping_sent_ms) {
    if (books) raise_to(&zone->memory->books_ms, ping_sent_ms);
    if (revocations) raise_to(&zone->memory->revocations_ms, ping_sent_ms);
}

void cart_zone_feeds_at(const cart_zone_t *zone, uint64_t *books_ms, uint64_t *revocations_ms) {
    *books_ms = atomic_load_explicit(&zone->memory->books_ms, memory_order_acquire);
    *revocations_ms = atomic_load_explicit(&zone->memory->revocations_ms, memory_order_acquire);
}
