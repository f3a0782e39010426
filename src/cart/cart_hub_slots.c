/*
 * Slots: what the service remembers of each (edge incarnation, slot), with or without a link, so that a link that comes
 * back misses nothing (rule 6). PUSH numbers count up for each slot while this service lives; the last of them are kept.
 *
 *   (unknown) ──HELLO──▶ linked ──link lost──▶ away ──HELLO in time──▶ linked, resumed
 *                          ▲                     └── too long away, or too many PUSHes: gap ──▶ linked, not resumed
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cart/cart_hub_state.h"
#include "cart/cart_planted.h"

static void replay_clear(hub_replay_t *replay) {
    replay->head = 0;
    replay->length = 0;
    replay->count = 0;
}

static size_t replay_record_bytes(const uint8_t *record) {
    return (size_t)CART_PUSH_FIXED_BYTES + record[CART_PUSH_FIXED_BYTES - 2] +
           ((size_t)record[CART_PUSH_FIXED_BYTES - 1] << 8);
}

static void replay_forget_oldest(hub_replay_t *replay) {
    assert(replay->count > 0);
    replay->head += replay_record_bytes(replay->bytes + replay->head);
    if (--replay->count == 0) replay_clear(replay);
}

static uint64_t replay_first(const hub_slot_t *slot) {
    return slot->push_next - slot->replay.count;
}

static bool replay_add(hub_replay_t *replay, const uint8_t *record, size_t length) {
    if (replay->length + length > replay->capacity) {
        if (replay->head > 0 && replay->head >= replay->length - replay->head) {
            memmove(replay->bytes, replay->bytes + replay->head, replay->length - replay->head);
            replay->length -= replay->head;
            replay->head = 0;
        }
        size_t capacity = replay->capacity == 0 ? 1024 : replay->capacity;
        while (replay->length + length > capacity) capacity *= 2;
        if (capacity != replay->capacity) {
            uint8_t *grown = realloc(replay->bytes, capacity);
            if (grown == NULL) return false;
            replay->bytes = grown;
            replay->capacity = capacity;
        }
    }
    memcpy(replay->bytes + replay->length, record, length);
    replay->length += length;
    replay->count++;
    return true;
}

static void slot_forget(cart_hub_t *hub, hub_slot_t *slot) {
    if (slot->push_next > hub->push_highest) hub->push_highest = slot->push_next;
    slot->used = false;
    slot->epoch++;
    replay_clear(&slot->replay);
    free(slot->replay.bytes);
    slot->replay.bytes = NULL;
    slot->replay.capacity = 0;
}

uint32_t hub_slot_for(cart_hub_t *hub, const cart_id_t *edge, uint16_t number, bool *fresh) {
    uint32_t free_slot = HUB_NONE;
    uint32_t longest = HUB_NONE;
    for (uint32_t i = 0; i < CART_HUB_SLOTS_MAX; i++) {
        hub_slot_t *slot = &hub->slots[i];
        if (slot->used && slot->slot == number && cart_id_equal(&slot->edge, edge)) {
            *fresh = false;
            return i;
        }
        if (!slot->used) {
            if (free_slot == HUB_NONE) free_slot = i;
        } else if (slot->link == HUB_NONE && (longest == HUB_NONE || slot->away_ms < hub->slots[longest].away_ms)) {
            longest = i;
        }
    }
    if (free_slot == HUB_NONE && longest != HUB_NONE) {
        slot_forget(hub, &hub->slots[longest]);
        free_slot = longest;
    }
    if (free_slot == HUB_NONE) return HUB_NONE;
    hub_slot_t *slot = &hub->slots[free_slot];
    slot->used = true;
    slot->slot = number;
    slot->edge = *edge;
    slot->link = HUB_NONE;
    slot->newest_link = 0;
    slot->push_next = hub->push_highest + 1; /* above any number that was ever given for a forgotten slot */
    slot->away_ms = hub->now_ms;
    *fresh = true;
    return free_slot;
}

void hub_slot_gap(cart_hub_t *hub, uint32_t index) {
    hub_slot_t *slot = &hub->slots[index];
    slot->epoch++;
    /* A number is skipped: whoever has not heard of this gap cannot resume behind it, should the WELCOME get lost. */
    slot->push_next++;
    replay_clear(&slot->replay);
}

bool hub_slot_can_resume(const hub_slot_t *slot, uint64_t push_seen) {
    return push_seen < slot->push_next && push_seen + 1 >= replay_first(slot);
}

void hub_slot_seen(hub_slot_t *slot, uint64_t push_seen) {
    while (slot->replay.count > 0 && replay_first(slot) <= push_seen) replay_forget_oldest(&slot->replay);
}

void hub_slot_replay(cart_hub_t *hub, uint32_t index, hub_link_t *link) {
    const hub_replay_t *replay = &hub->slots[index].replay;
    if (CART_PLANTED(replay_forgotten)) return;
    size_t at = replay->head;
    for (uint32_t i = 0; i < replay->count; i++) {
        size_t length = replay_record_bytes(replay->bytes + at);
        uint8_t *to = cart_out_record(&link->out, CART_FRAME_PUSH, length);
        if (to == NULL) {
            hub_give_up(hub, link, "replay does not fit");
            return;
        }
        memcpy(to, replay->bytes + at, length);
        cart_out_record_add(&link->out, length);
        hub->stats.replays++;
        at += length;
    }
}

uint64_t hub_slot_push(cart_hub_t *hub, uint32_t index, const cart_id_t *user, uint64_t generation,
                       const uint8_t *image, uint16_t image_length, size_t *length) {
    hub_slot_t *slot = &hub->slots[index];
    const cart_push_record_t record = {.number = slot->push_next,
                                       .generation = generation,
                                       .user = *user,
                                       .image = image,
                                       .image_length = image_length};
    *length = cart_push_write(hub->scratch, &record);
    slot->push_next++;
    hub->stats.pushes++;
    if (slot->replay.count == CART_HUB_REPLAY_MAX) {
        /* Without a link nobody can come back to this: its subscriptions cost work for nothing. */
        if (slot->link == HUB_NONE) {
            hub_slot_gap(hub, index);
            return record.number;
        }
        replay_forget_oldest(&slot->replay);
    }
    if (!replay_add(&slot->replay, hub->scratch, *length)) replay_clear(&slot->replay); /* a gap when it comes back */
    return record.number;
}

void hub_slots_tick(cart_hub_t *hub) {
    for (uint32_t i = 0; i < CART_HUB_SLOTS_MAX; i++) {
        hub_slot_t *slot = &hub->slots[i];
        if (slot->used && slot->link == HUB_NONE && hub->now_ms > slot->away_ms + CART_HUB_RESUME_MS)
            slot_forget(hub, slot);
    }
}

void hub_slots_deinit(cart_hub_t *hub) {
    for (uint32_t i = 0; i < CART_HUB_SLOTS_MAX; i++) free(hub->slots[i].replay.bytes);
}
