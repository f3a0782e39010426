/*
 * A guest signs in: seal, absorb, close (rule 8), three sets of one batch.
 *
 *   guest  OPEN ──seal──▶ SEALED (lines and rings frozen) ──close──▶ CLOSED (no lines; its ids are still repeats)
 *   user        ──absorb, under an id made from the guest's──▶ one version more
 *
 * Each step may be repeated, and a journal that ends between two of them is a state from which a repeat goes on: a SEALED
 * guest whose id is in the user's ring is only closed, one whose id is not is absorbed first. A guest that never had a
 * cart is closed all the same, so that a change of his that is still on its way cannot open one after him.
 */
#include "cart/cart_planted.h"
#include "engine/engine_state.h"

#include <assert.h>
#include <stdlib.h>

/* Both carts, with what this batch has made of them; NULL: the request waits or was refused. */
static bool both_resident(engine_t *engine, engine_slot_ref_t ref, cart_entry_t **guest, cart_entry_t **user) {
    engine_slot_t *slot = engine_slot(engine, ref);
    slot->guest = 1; /* it is the guest's cart that the request may wait on */
    *guest = engine_resident(engine, ref, &slot->session);
    if (*guest == NULL) return false;
    slot->guest = 0;
    const cart_entry_t *pinned = engine->pinned;
    engine->pinned = *guest;
    *user = engine_resident(engine, ref, &slot->user);
    engine->pinned = pinned;
    return *user != NULL;
}

static cart_verdict_t refused(engine_stage_t stage) {
    return (cart_verdict_t){.outcome = CART_REFUSED,
                            .reason = stage == STAGE_RECENT ? CART_REASON_RECENT : CART_REASON_MEMORY};
}

static cart_verdict_t absorb(engine_t *engine, engine_slot_t *slot, engine_batch_cart_t *user,
                             const cart_image_t *guest) {
    const uint8_t *rings;
    uint32_t rings_length;
    engine_batch_before(engine, user, &engine->before, &rings, &rings_length);
    cart_recent_id_t id = {.digest = 0, .at_s = engine->now_s, .keyed = true};
    cart_absorb_id(&slot->session, id.id);
    bool is_known = cart_recent_find(rings, rings_length, id.id, id.digest, true) != CART_RECENT_ABSENT;
    if (is_known && !CART_PLANTED(merge_without_id)) {
        slot->merge->repeated = true;
        return (cart_verdict_t){.outcome = CART_REPEATED};
    }
    if (engine->before.state != CART_OPEN) return (cart_verdict_t){.outcome = CART_SESSION_ENDED};
    cart_absorb(&engine->before, guest, (cart_merge_mode_t)slot->merge_mode, &engine->after, slot->merge->lines,
                &slot->merge->count);
    engine_stage_t staged = engine_stage(engine, user, &engine->after, &id);
    if (staged != STAGED) return refused(staged);
    return (cart_verdict_t){.outcome = CART_APPLIED};
}

/* One step of the guest's cart. */
static engine_stage_t step(engine_t *engine, engine_batch_cart_t *guest, cart_state_t state) {
    const uint8_t *rings;
    uint32_t rings_length;
    cart_image_t *image = &engine->after;
    engine_batch_before(engine, guest, image, &rings, &rings_length);
    image->place.version++;
    image->state = (uint8_t)state;
    if (state == CART_CLOSED) image->line_count = 0;
    return engine_stage(engine, guest, image, NULL);
}

static cart_verdict_t decide(engine_t *engine, engine_slot_t *slot, engine_batch_cart_t *guest,
                             engine_batch_cart_t *user) {
    static const cart_verdict_t applied = {.outcome = CART_APPLIED};
    cart_image_t frozen;
    const uint8_t *rings;
    uint32_t rings_length;
    engine_batch_before(engine, guest, &frozen, &rings, &rings_length);
    if (frozen.state == CART_CLOSED && !CART_PLANTED(merge_without_id)) {
        slot->merge->repeated = true;
        return (cart_verdict_t){.outcome = CART_REPEATED};
    }
    cart_verdict_t verdict = applied;
    if (frozen.line_count > 0 || frozen.state == CART_SEALED) {
        if (frozen.state == CART_OPEN) {
            engine_stage_t sealed = step(engine, guest, CART_SEALED);
            if (sealed != STAGED) return refused(sealed);
        }
        verdict = absorb(engine, slot, user, &frozen);
        if (verdict.outcome != CART_APPLIED && verdict.outcome != CART_REPEATED) return verdict;
    }
    if (CART_PLANTED(merge_without_id)) return verdict;
    engine_stage_t closed = step(engine, guest, CART_CLOSED);
    /* The user has absorbed it: a repeat, which is asked for after a refusal, closes it. */
    return closed == STAGED ? verdict : refused(closed);
}

bool engine_take_up_merge(engine_t *engine, engine_slot_ref_t ref) {
    engine_slot_t *slot = engine_slot(engine, ref);
    cart_entry_t *guest_entry = NULL;
    cart_entry_t *user_entry = NULL;
    if (!both_resident(engine, ref, &guest_entry, &user_entry)) return false;
    if (slot->merge == NULL) slot->merge = malloc(sizeof *slot->merge);
    if (slot->merge == NULL) {
        engine_refuse(engine, ref, CART_REFUSED, CART_REASON_MEMORY);
        return false;
    }
    slot->merge->count = 0;
    slot->merge->repeated = false;
    engine_batch_cart_t *guest = engine_batch_cart(engine, guest_entry);
    engine_batch_cart_t *user = engine_batch_cart(engine, user_entry);
    slot->verdict = decide(engine, slot, guest, user);
    slot->cart = (uint32_t)(user - engine->batch.carts) + 1;
    slot->guest = (uint32_t)(guest - engine->batch.carts) + 1;
    slot->set = user->last_set;
    return true;
}
