/*
 * The commit: hands the batch to the commit point, and when its result is there installs or throws away what was staged
 * and answers, in the order in which the batch decided. Nothing of a batch is answered before (rule 1).
 *
 *   result of a cart   what becomes of it                            its requests
 *   DONE               staged image and rings are installed          answered as decided
 *   CONFLICT           the newer image that came along is taken      decided again
 *   REFUSED            staged blocks are thrown away                 refused (JOURNAL)
 *   UNKNOWN            thrown away; the cart is blocked until a      refused (UNKNOWN): the same id may be sent again
 *                      load has told what is stored
 */
#include "cart/cart_planted.h"
#include "engine/engine_state.h"

#include <assert.h>

#define COMMIT_RETRY_MS 5

/* ---- staged blocks ----------------------------------------------------------------------------------------------- */

static void throw_away(engine_t *engine, engine_batch_cart_t *cart) {
    if (cart->last_set == 0) return;
    cart_arena_free(engine->arena, cart->image, cart->image_length);
    if (cart->rings_length > 0) cart_arena_free(engine->arena, cart->rings, cart->rings_length);
    cart->image = cart->rings = CART_NO_REF;
    cart->image_length = cart->rings_length = 0;
}

static void install(engine_t *engine, engine_batch_cart_t *cart) {
    cart_entry_t *entry = cart->entry;
    engine_extra_t *extra = engine_extra(entry);
    assert(cart->last_set != 0);
    assert(cart->image_length > 0 && cart->image_length <= UINT16_MAX);
    if (entry->image_length > 0) cart_arena_free(engine->arena, entry->image, entry->image_length);
    if (extra->rings_length > 0) cart_arena_free(engine->arena, extra->rings, extra->rings_length);
    entry->image = cart->image;
    entry->image_length = (uint16_t)cart->image_length;
    extra->rings = cart->rings;
    extra->rings_length = cart->rings_length;
    extra->changed_s = engine->now_s;
    if (extra->dirty_since_ms == 0) engine_set_dirty(engine, entry, engine->now_ms);
}

/* The cart is what the commit point says, not what we thought. False: no room to keep it. */
static bool take_newer(engine_t *engine, engine_batch_cart_t *cart, const commit_loaded_t *newer) {
    if (newer == NULL || newer->result != COMMIT_LOAD_IMAGE) return false;
    if (!cart_image_unpack(newer->image, newer->image_length, &engine->after)) return false;
    if (!engine_set_rings(engine, cart->entry, newer->rings, newer->rings_length)) return false;
    if (!engine_set_image(engine, cart->entry, &engine->after)) return false;
    engine_extra(cart->entry)->changed_s = engine->now_s;
    engine_set_dirty(engine, cart->entry, engine->now_ms);
    return true;
}

static void block_until_loaded(engine_t *engine, cart_entry_t *entry) {
    entry->flags |= FLAG_UNKNOWN | FLAG_LOADING;
    engine_list_remove(engine, entry);
    engine_list_append(engine, LIST_LOAD_COMMIT, entry);
}

static void settle_cart(engine_t *engine, engine_batch_cart_t *cart, const commit_loaded_t *newer) {
    cart_entry_t *entry = cart->entry;
    if (cart->result == COMMIT_UNKNOWN && CART_PLANTED(decide_after_unknown)) {
        install(engine, cart);
        return;
    }
    switch ((commit_result_t)cart->result) {
    case COMMIT_DONE:
        install(engine, cart);
        if (cart->fork != NULL) engine_fork_committed(engine, cart);
        break;
    case COMMIT_CONFLICT:
        throw_away(engine, cart);
        if (!take_newer(engine, cart, newer)) {
            cart->result = COMMIT_UNKNOWN;
            block_until_loaded(engine, entry);
        }
        break;
    case COMMIT_REFUSED:
        throw_away(engine, cart);
        if (cart->fork != NULL) engine->commit_retry_ms = engine->now_ms + ENGINE_RETRY_MIN_MS;
        break;
    case COMMIT_UNKNOWN:
        throw_away(engine, cart);
        block_until_loaded(engine, entry);
        break;
    }
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static const engine_batch_cart_t *cart_of(const engine_batch_t *batch, uint32_t number) {
    return number == 0 ? NULL : &batch->carts[number - 1];
}

/* How the request fared: DONE when nothing that it was decided on was lost. */
static commit_result_t result_of(const engine_batch_t *batch, const engine_slot_t *slot) {
    const engine_batch_cart_t *cart = cart_of(batch, slot->cart);
    const engine_batch_cart_t *guest = cart_of(batch, slot->guest);
    commit_result_t result = COMMIT_DONE;
    if (cart != NULL && cart->last_set != 0) result = (commit_result_t)cart->result;
    if (result == COMMIT_DONE && guest != NULL && guest->last_set != 0) result = (commit_result_t)guest->result;
    return result;
}

/* What the answer shows: the image of the set that it was decided on, else the cart as it is. NULL: nothing. */
static const cart_image_t *image_of(engine_t *engine, const engine_slot_t *slot) {
    engine_batch_t *batch = &engine->batch;
    const engine_batch_cart_t *cart = cart_of(batch, slot->cart);
    if (cart == NULL || slot->verdict.outcome == CART_REFUSED || slot->verdict.outcome == CART_SESSION_ENDED) {
        return NULL;
    }
    cart_image_t *shown = &engine->shown;
    if (slot->set == 0) {
        engine_image(engine, cart->entry, shown);
    } else {
        const commit_set_t *set = &batch->sets[slot->set - 1];
        bool valid = cart_image_unpack_trusted(set->image, set->image_length, shown);
        assert(valid);
        (void)valid; /* asserted */
        uint64_t base_version = engine_extra(cart->entry)->base.version;
        shown->base_version = base_version < shown->place.version ? base_version : shown->place.version;
    }
    return shown;
}

static void announce_merge(engine_t *engine, const engine_slot_t *slot, const cart_image_t *image) {
    if (slot->verdict.outcome != CART_APPLIED && slot->verdict.outcome != CART_REPEATED) return;
    const engine_owner_t *owner = &engine->owner;
    owner->changed(owner->context, &slot->session, NULL); /* the guest's seats are given up */
    if (slot->verdict.outcome == CART_APPLIED && image != NULL) owner->changed(owner->context, &slot->user, image);
}

static void answer(engine_t *engine, engine_slot_ref_t ref) {
    engine_slot_t *slot = engine_slot(engine, ref);
    const cart_image_t *image = image_of(engine, slot);
    if (slot->kind == SLOT_MERGE) announce_merge(engine, slot, image);
    if (slot->kind == SLOT_CHANGE && slot->internal && slot->verdict.outcome == CART_APPLIED && image != NULL)
        engine->owner.changed(engine->owner.context, &slot->user, image);
    engine_answer(engine, ref, image);
}

static void settle_slots(engine_t *engine) {
    engine_batch_t *batch = &engine->batch;
    engine_slot_list_t again = 0;
    while (batch->slots != 0) {
        engine_slot_ref_t ref = batch->slots;
        engine_slot_t *slot = engine_slot(engine, ref);
        engine_slots_remove(engine, &batch->slots, ref);
        commit_result_t result = result_of(batch, slot);
        if (result == COMMIT_UNKNOWN && CART_PLANTED(repeats_skip_sync) && slot->verdict.outcome == CART_REPEATED) {
            result = COMMIT_DONE;
        }
        switch (result) {
        case COMMIT_DONE:
            answer(engine, ref);
            break;
        case COMMIT_CONFLICT:
            slot->where = SLOT_READY;
            slot->cart = slot->guest = slot->set = 0;
            engine_slots_append(engine, &again, ref);
            break;
        case COMMIT_REFUSED:
            engine_refuse(engine, ref, CART_REFUSED, CART_REASON_JOURNAL);
            break;
        case COMMIT_UNKNOWN:
            engine_refuse(engine, ref, CART_REFUSED, CART_REASON_UNKNOWN);
            break;
        }
    }
    engine_slots_prepend(engine, &engine->ready, &again);
}

/* ---- begin and finish -------------------------------------------------------------------------------------------- */

static void leave_batch(engine_t *engine) {
    engine_batch_t *batch = &engine->batch;
    for (unsigned i = 0; i < batch->cart_count; i++) {
        cart_entry_t *entry = batch->carts[i].entry;
        entry->flags &= (uint8_t)~FLAG_IN_BATCH;
        engine_extra(entry)->batch = 0;
        engine_list_dirty(engine, entry);
        if ((entry->flags & FLAGS_BLOCKED) == 0 && engine_extra(entry)->waiting != 0) engine_unblock(engine, entry);
    }
    batch->cart_count = 0;
    batch->set_count = 0;
    batch->packed_length = 0;
    batch->taken = 0;
}

void engine_commit_finish(engine_t *engine, const commit_result_t *results, const commit_loaded_t *newer) {
    engine_batch_t *batch = &engine->batch;
    assert(!batch->under_way);
    assert((results == NULL) == (batch->set_count == 0));
    bool is_troubled = false;
    for (unsigned i = 0; i < batch->cart_count; i++) {
        engine_batch_cart_t *cart = &batch->carts[i];
        if (cart->last_set == 0) continue;
        cart->result = (uint8_t)results[cart->last_set - 1];
        settle_cart(engine, cart, newer == NULL ? NULL : &newer[cart->last_set - 1]);
        if (cart->result == COMMIT_REFUSED) engine->pressure = true;
        if (cart->result == COMMIT_UNKNOWN) is_troubled = true;
    }
    if (results != NULL) engine->commit_troubled = is_troubled;
    settle_slots(engine);
    leave_batch(engine);
}

/* The commit point did not take the batch: nothing was decided. Its requests wait, in order, for the next try. */
static void undo(engine_t *engine) {
    engine_batch_t *batch = &engine->batch;
    for (unsigned i = 0; i < batch->cart_count; i++) throw_away(engine, &batch->carts[i]);
    for (engine_slot_ref_t ref = batch->slots; ref != 0; ref = engine_slot(engine, ref)->next) {
        engine_slot_t *slot = engine_slot(engine, ref);
        slot->where = SLOT_READY;
        slot->cart = slot->guest = slot->set = 0;
    }
    engine_slots_prepend(engine, &engine->ready, &batch->slots);
    leave_batch(engine);
    engine->commit_troubled = true;
    engine->commit_retry_ms = engine->now_ms + COMMIT_RETRY_MS;
}

void engine_commit_begin(engine_t *engine) {
    engine_batch_t *batch = &engine->batch;
    assert(!batch->under_way);
    assert(batch->set_count > 0);
    if (!engine->commit->commit(engine->commit->state, batch->sets, batch->set_count, engine->now_ms)) {
        undo(engine);
        return;
    }
    batch->under_way = true;
    engine->stats.commits++;
    if (CART_PLANTED(outcome_before_sync)) {
        while (batch->slots != 0) {
            engine_slot_ref_t ref = batch->slots;
            engine_slots_remove(engine, &batch->slots, ref);
            answer(engine, ref);
        }
    }
}

void engine_committed(void *context, const commit_result_t *results, const commit_loaded_t *newer, unsigned count) {
    engine_t *engine = context;
    assert(engine->batch.under_way);
    assert(count == engine->batch.set_count);
    (void)count; /* asserted */
    engine->batch.under_way = false;
    engine_commit_finish(engine, results, newer);
}

void engine_commit_check(engine_t *engine) {
    if (!engine->commit_troubled) {
        engine->commit_away = false;
        return;
    }
    engine->commit->room(engine->commit->state, &engine->room, engine->now_ms);
    bool was_away = engine->commit_away;
    engine->commit_away = engine->room.recovering;
    if (was_away != engine->commit_away) {
        engine_log(engine, engine->commit_away ? 1 : 3, engine->commit_away ? "commit-away" : "commit-back", NULL, "");
    }
    if (!engine->commit_away && engine->room.accepts) engine->commit_troubled = false;
}
