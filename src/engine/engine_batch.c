/*
 * The batch: takes up what waits and decides it, each on the newest confirmed image plus what this very batch has decided
 * on the same cart before (several changes of one cart are chained, one set each, in order of arrival).
 *
 * A decision changes nothing that anybody can see. The new image and rings are prepared in blocks of their own, so that
 * installing them after the commit cannot fail, and throwing them away is a free().
 */
#include "cart/cart_planted.h"
#include "engine/engine_state.h"

#include <assert.h>

bool engine_batch_has_room(const engine_t *engine) {
    const engine_batch_t *batch = &engine->batch;
    return batch->set_count < engine->config.batch_max && batch->taken < ENGINE_TAKE_MAX;
}

engine_batch_cart_t *engine_batch_cart(engine_t *engine, cart_entry_t *entry) {
    engine_batch_t *batch = &engine->batch;
    engine_extra_t *extra = engine_extra(entry);
    if (extra->batch != 0) return &batch->carts[extra->batch - 1];
    assert(batch->cart_count < 2 * ENGINE_TAKE_MAX);
    assert((entry->flags & FLAGS_BLOCKED) == 0 || (entry->flags & FLAG_FORKED) != 0);
    engine_batch_cart_t *cart = &batch->carts[batch->cart_count++];
    *cart = (engine_batch_cart_t){.entry = entry};
    extra->batch = (uint16_t)batch->cart_count;
    entry->flags |= FLAG_IN_BATCH;
    return cart;
}

void engine_batch_before(engine_t *engine, const engine_batch_cart_t *cart, cart_image_t *image, const uint8_t **rings,
                         uint32_t *rings_length) {
    const engine_extra_t *extra = engine_extra(cart->entry);
    cart_ref_t ref = extra->rings;
    *rings_length = extra->rings_length;
    if (cart->last_set == 0) {
        engine_image(engine, cart->entry, image);
    } else {
        bool valid = cart_image_unpack_trusted(cart_arena_at(engine->arena, cart->image), cart->image_length, image);
        assert(valid);
        (void)valid; /* asserted */
        image->base_version = extra->base.version < image->place.version ? extra->base.version : image->place.version;
        ref = cart->rings;
        *rings_length = cart->rings_length;
    }
    *rings = *rings_length > 0 ? cart_arena_at(engine->arena, ref) : NULL;
}

/* ---- staging ----------------------------------------------------------------------------------------------------- */

static void link_set(engine_t *engine, engine_batch_cart_t *cart, const cart_image_t *after, uint32_t length,
                     cart_place_t expected, const cart_recent_id_t *added) {
    engine_batch_t *batch = &engine->batch;
    commit_set_t *set = &batch->sets[batch->set_count];
    cart_recent_id_t *kept = &batch->added[batch->set_count];
    if (added != NULL) *kept = *added;
    *set = (commit_set_t){.user = cart->entry->user,
                          .expected = expected,
                          .image = batch->packed + batch->packed_length,
                          .image_length = length,
                          .added = added != NULL ? kept : NULL,
                          .added_count = added != NULL,
                          .base_version = after->base_version};
    batch->packed_length += length;
    cart->last_set = ++batch->set_count;
}

/* Where the store knows the cart to be: (0, 0) when no tier has ever held it. */
static cart_place_t expected_place(engine_t *engine, const engine_batch_cart_t *cart) {
    cart_image_t *image = &engine->other;
    const uint8_t *rings;
    uint32_t rings_length;
    engine_batch_before(engine, cart, image, &rings, &rings_length);
    const engine_extra_t *extra = engine_extra(cart->entry);
    bool is_nowhere = cart->last_set == 0 && extra->base.epoch == 0 && extra->dirty_since_ms == 0;
    return is_nowhere ? (cart_place_t){0, 0} : image->place;
}

#ifdef BOOKCART_PLANT
/* Planted bug ring_of_64: the oldest keyed id goes, whatever its age. */
static uint32_t shorten_rings(uint8_t *rings, uint32_t length) {
    unsigned keyed = rings[0] | (unsigned)rings[1] << 8;
    if (!CART_PLANTED(ring_of_64) || keyed <= CART_RECENT_KEYED_KEEP) return length;
    memmove(rings + CART_RECENT_HEADER_BYTES, rings + CART_RECENT_HEADER_BYTES + CART_RECENT_ENTRY_BYTES,
            length - CART_RECENT_HEADER_BYTES - CART_RECENT_ENTRY_BYTES);
    keyed--;
    rings[0] = (uint8_t)keyed;
    rings[1] = (uint8_t)(keyed >> 8);
    return length - CART_RECENT_ENTRY_BYTES;
}
#endif

/* Puts the prepared blocks in place of what the batch had staged for this cart before. */
static void link_blocks(engine_t *engine, engine_batch_cart_t *cart, cart_ref_t image, uint32_t image_length,
                        cart_ref_t rings, uint32_t rings_length) {
    if (cart->last_set != 0) {
        cart_arena_free(engine->arena, cart->image, cart->image_length);
        if (cart->rings_length > 0) cart_arena_free(engine->arena, cart->rings, cart->rings_length);
    }
    cart->image = image;
    cart->image_length = image_length;
    cart->rings = rings;
    cart->rings_length = rings_length;
}

static engine_stage_t stage(engine_t *engine, engine_batch_cart_t *cart, cart_image_t *after,
                            const cart_recent_id_t *added, const uint8_t *given, uint32_t given_length) {
    engine_batch_t *batch = &engine->batch;
    assert(!batch->under_way);
    assert((cart->entry->flags & FLAG_IN_BATCH) != 0);
    if (after->place.epoch < engine->config.epoch) after->place.epoch = engine->config.epoch;
    cart_place_t expected = expected_place(engine, cart);
    assert(cart_place_compare(expected, after->place) < 0);

    const uint8_t *rings;
    uint32_t rings_length;
    engine_batch_before(engine, cart, &engine->other, &rings, &rings_length);
    size_t new_length = given_length;
    if (given == NULL) {
        new_length = rings_length;
        if (added != NULL) {
            new_length = cart_recent_size_with(rings, rings_length, added->keyed, engine->now_s);
            if (new_length == 0) return STAGE_RECENT;
        }
    }
    size_t room = (size_t)(engine->config.batch_max + 4) * CART_IMAGE_PACKED_MAX - batch->packed_length;
    size_t length = cart_image_pack(after, batch->packed + batch->packed_length, room);
    assert(length > 0);
    cart_ref_t image = engine_alloc(engine, length);
    if (image == CART_NO_REF) return STAGE_NO_MEMORY;
    cart_ref_t fresh = CART_NO_REF;
    if (new_length > 0) {
        fresh = engine_alloc(engine, new_length);
        if (fresh == CART_NO_REF) {
            cart_arena_free(engine->arena, image, length);
            return STAGE_NO_MEMORY;
        }
        uint8_t *to = cart_arena_at(engine->arena, fresh);
        if (given != NULL) {
            memcpy(to, given, new_length);
        } else if (added != NULL) {
            size_t wrote = cart_recent_add(rings, rings_length, added, engine->now_s, to, new_length);
            assert(wrote > 0 && wrote <= new_length);
            /* Shorter when the id was there already, forgotten by its age: it became the youngest. */
            uint32_t fresh_length = (uint32_t)new_length;
            if (wrote != new_length && !cart_table_replace(engine->table, &fresh, &fresh_length, to, wrote)) {
                cart_arena_free(engine->arena, image, length);
                cart_arena_free(engine->arena, fresh, new_length);
                return STAGE_NO_MEMORY;
            }
            new_length = wrote;
        } else {
            memcpy(to, rings, new_length);
        }
    }
    memcpy(cart_arena_at(engine->arena, image), batch->packed + batch->packed_length, length);
    link_blocks(engine, cart, image, (uint32_t)length, fresh, (uint32_t)new_length);
#ifdef BOOKCART_PLANT
    if (CART_PLANTED(ring_of_64) && fresh != CART_NO_REF) {
        uint8_t shorter[CART_RECENT_BYTES_MAX];
        memcpy(shorter, cart_arena_at(engine->arena, fresh), new_length);
        uint32_t left = shorten_rings(shorter, (uint32_t)new_length);
        bool replaced = cart_table_replace(engine->table, &cart->rings, &cart->rings_length, shorter, left);
        (void)replaced; /* a planted bug that does not strike this time */
    }
#endif
    link_set(engine, cart, after, (uint32_t)length, expected, added);
    return STAGED;
}

engine_stage_t engine_stage(engine_t *engine, engine_batch_cart_t *cart, cart_image_t *after,
                            const cart_recent_id_t *added) {
    return stage(engine, cart, after, added, NULL, 0);
}

engine_stage_t engine_stage_rings(engine_t *engine, engine_batch_cart_t *cart, cart_image_t *after,
                                  const uint8_t *rings, uint32_t rings_length) {
    static const uint8_t none[1];
    return stage(engine, cart, after, NULL, rings != NULL ? rings : none, rings_length);
}

/* ---- taking up --------------------------------------------------------------------------------------------------- */

cart_entry_t *engine_resident(engine_t *engine, engine_slot_ref_t ref, const cart_id_t *user) {
    cart_entry_t *entry = cart_table_find(engine->table, user);
    if (entry == NULL) {
        if (engine->base_away && engine->now_ms < engine->base_retry_ms) {
            engine_refuse(engine, ref, CART_REFUSED, CART_REASON_BASE_AWAY);
            return NULL;
        }
        entry = engine_insert(engine, user);
        if (entry == NULL) {
            engine_refuse(engine, ref, CART_REFUSED, CART_REASON_MEMORY);
            return NULL;
        }
        engine_load_begin(engine, entry);
    }
    if ((entry->flags & FLAGS_BLOCKED) == 0) return entry;
    engine_extra_t *extra = engine_extra(entry);
    if (extra->list == LIST_LOAD_IDLE) { /* somebody waits for it now */
        engine_list_remove(engine, entry);
        engine_list_append(engine, LIST_LOAD_BASE, entry);
    }
    engine_slot_t *slot = engine_slot(engine, ref);
    slot->where = SLOT_WAITING;
    engine_slots_append(engine, &extra->waiting, ref);
    engine->waiting++;
    return NULL;
}

/* Enters the request into the batch as decided with `outcome`; `cart` NULL: on no cart. */
static void decided(engine_t *engine, engine_slot_ref_t ref, const engine_batch_cart_t *cart, cart_verdict_t verdict) {
    engine_slot_t *slot = engine_slot(engine, ref);
    slot->verdict = verdict;
    slot->cart = cart != NULL ? (uint32_t)(cart - engine->batch.carts) + 1 : 0;
    slot->set = cart != NULL ? cart->last_set : 0;
    slot->where = SLOT_IN_BATCH;
    engine_slots_append(engine, &engine->batch.slots, ref);
}

static bool needs_book(const cart_request_t *request) {
    for (unsigned i = 0; i < request->change_count; i++) {
        if (request->changes[i].op == CART_SET && request->changes[i].quantity > 0) return true;
        if (request->changes[i].op == CART_ADD && request->changes[i].quantity > 0) return true;
    }
    return false;
}

static void decide_change(engine_t *engine, engine_slot_ref_t ref, cart_entry_t *entry) {
    engine_slot_t *slot = engine_slot(engine, ref);
    engine_batch_cart_t *cart = engine_batch_cart(engine, entry);
    cart_request_t *request = &engine->request;
    engine_slot_request(engine, slot, request);
    const uint8_t *rings;
    uint32_t rings_length;
    engine_batch_before(engine, cart, &engine->before, &rings, &rings_length);
    if (CART_PLANTED(sealed_takes_changes)) engine->before.state = CART_OPEN;
    if (CART_PLANTED(condition_before_key) && request->condition == CART_IF_PLACE &&
        cart_place_compare(request->expected, engine->before.place) != 0) {
        decided(engine, ref, cart, (cart_verdict_t){.outcome = CART_VERSION_MISMATCH});
        return;
    }
    /* Without the list of books only changes that need none come here: they make a line less, or none of it. What another service takes
     * out of a cart may leave some of a book that is not sold any more. */
    const engine_owner_t *owner = &engine->owner;
    bool has_books = !slot->internal && (owner->books_ready == NULL || owner->books_ready(owner->context));
    cart_verdict_t verdict = cart_decide(&engine->before, rings, rings_length, request, engine->now_s,
                                         has_books ? owner->known_book : NULL, owner->context, &engine->after);
    if (verdict.outcome == CART_APPLIED) {
        cart_recent_id_t id = {.digest = request->digest, .at_s = engine->now_s, .keyed = request->keyed};
        memcpy(id.id, request->request_id, sizeof id.id);
        switch (engine_stage(engine, cart, &engine->after, &id)) {
        case STAGED:
            break;
        case STAGE_NO_MEMORY:
            verdict = (cart_verdict_t){.outcome = CART_REFUSED, .reason = CART_REASON_MEMORY};
            break;
        case STAGE_RECENT:
            verdict = (cart_verdict_t){.outcome = CART_REFUSED, .reason = CART_REASON_RECENT};
            break;
        }
    }
    decided(engine, ref, cart, verdict);
}

static void decide_fetch(engine_t *engine, engine_slot_ref_t ref, cart_entry_t *entry) {
    engine_slot_t *slot = engine_slot(engine, ref);
    const engine_batch_cart_t *cart = engine_batch_cart(engine, entry);
    const uint8_t *rings;
    uint32_t rings_length;
    engine_batch_before(engine, cart, &engine->before, &rings, &rings_length);
    cart_verdict_t verdict = {.outcome = CART_APPLIED};
    /* A guest whose cart was absorbed has no cart any more; the internal view still tells its state. */
    if (engine->before.state != CART_OPEN && !slot->internal) verdict.outcome = CART_SESSION_ENDED;
    decided(engine, ref, cart, verdict);
}

/* What can be said without looking at a cart. True: answered. */
static bool refused_at_the_door(engine_t *engine, engine_slot_ref_t ref) {
    engine_slot_t *slot = engine_slot(engine, ref);
    if (engine->now_ms >= slot->deadline_ms && !CART_PLANTED(late_is_applied)) {
        engine_refuse(engine, ref, CART_REFUSED, CART_REASON_LATE);
        return true;
    }
    if (slot->refused_stopping) {
        engine_refuse(engine, ref, CART_REFUSED, CART_REASON_STOPPING);
        return true;
    }
    if (slot->internal || CART_PLANTED(revocation_unchecked)) return false;
    bool is_vouched = true;
    bool is_alive =
        engine->owner.session_alive(engine->owner.context, &slot->user, &slot->session, slot->issued_s, &is_vouched);
    if (!is_vouched) {
        engine_refuse(engine, ref, CART_REFUSED, CART_REASON_FEED);
        return true;
    }
    if (!is_alive) {
        engine_refuse(engine, ref, CART_SESSION_ENDED, CART_REASON_NONE);
        return true;
    }
    if (slot->kind == SLOT_CHANGE && engine->owner.books_ready != NULL) {
        engine_slot_request(engine, slot, &engine->request);
        if (needs_book(&engine->request) && !engine->owner.books_ready(engine->owner.context)) {
            engine_refuse(engine, ref, CART_REFUSED, CART_REASON_FEED);
            return true;
        }
    }
    return false;
}

static void take_up(engine_t *engine, engine_slot_ref_t ref) {
    engine->batch.taken++;
    if (refused_at_the_door(engine, ref)) return;
    engine_slot_t *slot = engine_slot(engine, ref);
    if (slot->kind == SLOT_MERGE) {
        if (!engine_take_up_merge(engine, ref)) return;
        slot->where = SLOT_IN_BATCH;
        engine_slots_append(engine, &engine->batch.slots, ref);
        return;
    }
    cart_entry_t *entry = engine_resident(engine, ref, &slot->user);
    if (entry == NULL) return;
    /* The shop's own look at a cart is not an interaction of its user. */
    if (!slot->internal) {
        cart_policy_touch(&engine->config.policy, engine->table, entry, engine->now_s);
    }
    if (slot->kind == SLOT_CHANGE)
        decide_change(engine, ref, entry);
    else
        decide_fetch(engine, ref, entry);
}

static engine_slot_ref_t next_request(engine_t *engine) {
    engine_slot_list_t *list = engine->ready != 0 ? &engine->ready : &engine->queue;
    engine_slot_ref_t ref = *list;
    if (ref != 0) engine_slots_remove(engine, list, ref);
    return ref;
}

void engine_batch_run(engine_t *engine) {
    engine_batch_t *batch = &engine->batch;
    while (!batch->under_way && engine->now_ms >= engine->commit_retry_ms) {
        /* While the commit point finds out what is stored, nothing is decided and nothing answered (rule 1). */
        if (engine->commit_away) return;
        engine_forks_stage(engine);
        while (engine_batch_has_room(engine)) {
            engine_slot_ref_t ref = next_request(engine);
            if (ref == 0) break;
            take_up(engine, ref);
        }
        if (batch->set_count > 0) {
            engine_commit_begin(engine);
            return;
        }
        bool is_over = batch->taken == 0;
        engine_commit_finish(engine, NULL, NULL);
        if (is_over) return;
    }
}
