/*
 * Resident carts: entries of the cart table, the lists they are on, their memory, and what may go when it runs short.
 *
 * Lists hold references, not pointers, and a cart is on one at most:
 *   blocked by a load  → LIST_LOAD_*, or none once the load is under way
 *   dirty              → LIST_DIRTY, LIST_RELEASED or LIST_URGENT, or none while it is being saved
 *   clean              → none
 */
#include "cart/cart_planted.h"
#include "engine/engine_state.h"

#include <assert.h>

static cart_ref_t ref_of(engine_t *engine, const cart_entry_t *entry) {
    return (cart_ref_t)(((const uint8_t *)entry - (const uint8_t *)engine->arena) / CART_ARENA_UNIT);
}

static cart_entry_t *at(engine_t *engine, cart_ref_t ref) {
    return cart_arena_at(engine->arena, ref);
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

void engine_list_append(engine_t *engine, engine_list_t list, cart_entry_t *entry) {
    engine_extra_t *extra = engine_extra(entry);
    assert(extra->list == LIST_NONE);
    assert(list != LIST_NONE);
    engine_cart_list_t *carts = &engine->lists[list];
    cart_ref_t ref = ref_of(engine, entry);
    extra->list = (uint8_t)list;
    extra->next = CART_NO_REF;
    extra->prev = carts->tail;
    if (carts->tail != CART_NO_REF)
        engine_extra(at(engine, carts->tail))->next = ref;
    else
        carts->head = ref;
    carts->tail = ref;
    carts->count++;
}

void engine_list_remove(engine_t *engine, cart_entry_t *entry) {
    engine_extra_t *extra = engine_extra(entry);
    if (extra->list == LIST_NONE) return;
    engine_cart_list_t *carts = &engine->lists[extra->list];
    if (extra->prev != CART_NO_REF)
        engine_extra(at(engine, extra->prev))->next = extra->next;
    else
        carts->head = extra->next;
    if (extra->next != CART_NO_REF)
        engine_extra(at(engine, extra->next))->prev = extra->prev;
    else
        carts->tail = extra->prev;
    carts->count--;
    extra->prev = extra->next = CART_NO_REF;
    extra->list = LIST_NONE;
}

cart_entry_t *engine_list_head(engine_t *engine, engine_list_t list) {
    cart_ref_t ref = engine->lists[list].head;
    return ref == CART_NO_REF ? NULL : at(engine, ref);
}

/* ---- clearance --------------------------------------------------------------------------------------------------- */

static cart_may_go_t may_go(void *context, const cart_entry_t *entry) {
    engine_t *engine = context;
    const engine_extra_t *extra = (const engine_extra_t *)(const void *)(entry + 1);
    if (entry == engine->pinned) return CART_MAY_NOT_GO;
    if ((entry->flags & (FLAGS_BLOCKED | FLAG_SAVING | FLAG_IN_BATCH)) != 0) return CART_MAY_NOT_GO;
    if (extra->waiting != 0) return CART_MAY_NOT_GO;
    if (extra->dirty_since_ms == 0 || CART_PLANTED(phase2_frees_unsynced)) return CART_MAY_GO_CLEAN;
    return CART_MAY_GO_DIRTY;
}

static void free_rings(engine_t *engine, cart_entry_t *entry) {
    engine_extra_t *extra = engine_extra(entry);
    if (extra->rings_length > 0) cart_arena_free(engine->arena, extra->rings, extra->rings_length);
    extra->rings = CART_NO_REF;
    extra->rings_length = 0;
}

static void going(void *context, cart_entry_t *entry, unsigned phase) {
    engine_t *engine = context;
    (void)phase; /* counted by the clearance itself */
    assert(engine_extra(entry)->dirty_since_ms == 0 || CART_PLANTED(phase2_frees_unsynced));
    assert(engine_extra(entry)->waiting == 0);
    engine_set_clean(engine, entry);
    engine_list_remove(engine, entry);
    free_rings(engine, entry);
}

static void wanted(void *context, cart_entry_t *entry) {
    engine_t *engine = context;
    assert(engine_extra(entry)->dirty_since_ms != 0);
    entry->flags |= FLAG_FREE_WHEN_SAVED;
    if (engine_extra(entry)->list == LIST_URGENT) return;
    engine_list_remove(engine, entry);
    engine_list_append(engine, LIST_URGENT, entry);
}

void engine_clear(engine_t *engine, unsigned budget) {
    const cart_policy_owner_t owner = {.context = engine, .may_go = may_go, .going = going, .wanted = wanted};
    /* How many went is in clearance.cleared. */
    (void)cart_policy_step(&engine->config.policy, engine->table, &engine->clearance, &owner, engine->now_s, budget);
}

#define CLEAR_TRIES 16 /* bounded work for one allocation: 16 × 64 entries looked at */

cart_ref_t engine_alloc(engine_t *engine, size_t bytes) {
    cart_ref_t ref = cart_arena_alloc(engine->arena, bytes);
    for (unsigned i = 0; ref == CART_NO_REF && i < CLEAR_TRIES; i++) {
        engine_clear(engine, ENGINE_CLEAR_BUDGET);
        ref = cart_arena_alloc(engine->arena, bytes);
    }
    return ref;
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

cart_entry_t *engine_insert(engine_t *engine, const cart_id_t *user) {
    if (cart_policy_over_high_water(&engine->config.policy, engine->table)) {
        engine_clear(engine, ENGINE_CLEAR_BUDGET);
        /* What is left is for the carts that are here: their changes need room as well. */
        if (engine->clearance.stuck) return NULL;
    }
    cart_entry_t *entry = cart_table_insert(engine->table, user);
    for (unsigned i = 0; entry == NULL && i < CLEAR_TRIES; i++) {
        engine_clear(engine, ENGINE_CLEAR_BUDGET);
        entry = cart_table_insert(engine->table, user);
    }
    return entry;
}

void engine_image(engine_t *engine, cart_entry_t *entry, cart_image_t *image) {
    const uint8_t *packed = cart_table_image(engine->table, entry);
    assert(packed != NULL);
    bool valid = cart_image_unpack_trusted(packed, entry->image_length, image);
    assert(valid);
    (void)valid; /* asserted */
    /* The packed term is that of the time of the change; what the base holds moves without the image being packed anew. */
    uint64_t base_version = engine_extra(entry)->base.version;
    image->base_version = base_version < image->place.version ? base_version : image->place.version;
}

bool engine_set_rings(engine_t *engine, cart_entry_t *entry, const uint8_t *rings, size_t length) {
    engine_extra_t *extra = engine_extra(entry);
    const cart_entry_t *pinned = engine->pinned;
    engine->pinned = entry;
    bool done = cart_table_replace(engine->table, &extra->rings, &extra->rings_length, rings, length);
    for (unsigned i = 0; !done && i < CLEAR_TRIES; i++) {
        engine_clear(engine, ENGINE_CLEAR_BUDGET);
        done = cart_table_replace(engine->table, &extra->rings, &extra->rings_length, rings, length);
    }
    engine->pinned = pinned;
    return done;
}

bool engine_set_image(engine_t *engine, cart_entry_t *entry, const cart_image_t *image) {
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    size_t length = cart_image_pack(image, packed, sizeof packed);
    assert(length > 0);
    const cart_entry_t *pinned = engine->pinned;
    engine->pinned = entry;
    bool done = cart_table_set_image(engine->table, entry, packed, length);
    for (unsigned i = 0; !done && i < CLEAR_TRIES; i++) {
        engine_clear(engine, ENGINE_CLEAR_BUDGET);
        done = cart_table_set_image(engine->table, entry, packed, length);
    }
    engine->pinned = pinned;
    return done;
}

void engine_remove(engine_t *engine, cart_entry_t *entry) {
    assert(engine_extra(entry)->waiting == 0);
    assert(engine_extra(entry)->dirty_since_ms == 0);
    assert((entry->flags & FLAG_IN_BATCH) == 0);
    engine_list_remove(engine, entry);
    free_rings(engine, entry);
    cart_table_remove(engine->table, entry);
}

/* ---- clean and dirty --------------------------------------------------------------------------------------------- */

void engine_set_dirty(engine_t *engine, cart_entry_t *entry, uint64_t since_ms) {
    engine_extra_t *extra = engine_extra(entry);
    if (extra->dirty_since_ms == 0) engine->dirty++;
    extra->dirty_since_ms = since_ms > 0 ? since_ms : 1;
}

void engine_set_clean(engine_t *engine, cart_entry_t *entry) {
    engine_extra_t *extra = engine_extra(entry);
    if (extra->dirty_since_ms == 0) return;
    assert(engine->dirty > 0);
    engine->dirty--;
    extra->dirty_since_ms = 0;
    entry->flags &= (uint8_t) ~(FLAG_RELEASED | FLAG_FREE_WHEN_SAVED);
    if (extra->list >= LIST_URGENT) engine_list_remove(engine, entry);
}

void engine_list_dirty(engine_t *engine, cart_entry_t *entry) {
    engine_extra_t *extra = engine_extra(entry);
    if (extra->dirty_since_ms == 0 || extra->list != LIST_NONE) return;
    if ((entry->flags & (FLAGS_BLOCKED | FLAG_SAVING)) != 0) return;
    if ((entry->flags & FLAG_FREE_WHEN_SAVED) != 0) {
        engine_list_append(engine, LIST_URGENT, entry);
    } else if ((entry->flags & FLAG_RELEASED) != 0) {
        extra->due_ms = engine->now_ms + engine->config.release_delay_ms;
        engine_list_append(engine, LIST_RELEASED, entry);
    } else {
        extra->due_ms = engine->now_ms + engine->config.calm_delay_ms;
        engine_list_append(engine, LIST_DIRTY, entry);
    }
}

/* ---- who waits --------------------------------------------------------------------------------------------------- */

void engine_unblock(engine_t *engine, cart_entry_t *entry) {
    engine_extra_t *extra = engine_extra(entry);
    assert((entry->flags & FLAGS_BLOCKED) == 0);
    for (engine_slot_ref_t ref = extra->waiting; ref != 0; ref = engine_slot(engine, ref)->next) {
        engine_slot(engine, ref)->where = SLOT_READY;
        engine->waiting--;
    }
    /* Behind what is ready: carts take turns. None of these is this cart's, or it would be on its list. */
    engine_slots_prepend(engine, &extra->waiting, &engine->ready);
    engine->ready = extra->waiting;
    extra->waiting = 0;
}

void engine_refuse_waiting(engine_t *engine, cart_entry_t *entry, uint8_t reason) {
    engine_extra_t *extra = engine_extra(entry);
    while (extra->waiting != 0) {
        engine_slot_ref_t ref = extra->waiting;
        engine_slots_remove(engine, &extra->waiting, ref);
        engine->waiting--;
        engine_refuse(engine, ref, CART_REFUSED, reason);
    }
}

/* ---- the invariants, executed ------------------------------------------------------------------------------------ */

static bool check_entry(engine_t *engine, cart_entry_t *entry) {
    engine_extra_t *extra = engine_extra(entry);
    bool is_blocked = (entry->flags & FLAGS_BLOCKED) != 0;
    bool is_dirty = extra->dirty_since_ms != 0;
    if (entry->image_length == 0) {
        if (!is_blocked && (entry->flags & FLAG_IN_BATCH) == 0) return false; /* the empty cart has an image as well */
        if (is_dirty) return false;
    } else {
        cart_image_t image;
        const uint8_t *packed = cart_table_image(engine->table, entry);
        if (!cart_image_unpack(packed, entry->image_length, &image)) return false;
        bool is_saved = extra->base.version == image.place.version &&
                        (extra->base.epoch == 0 || extra->base.epoch == image.place.epoch);
        if (!is_blocked && is_saved == is_dirty) return false;
        if (!is_blocked && image.place.version < extra->base.version) return false;
    }
    if (!cart_recent_check(extra->rings_length > 0 ? cart_arena_at(engine->arena, extra->rings) : NULL,
                           extra->rings_length)) {
        return false;
    }
    if (extra->list >= LIST_URGENT && (!is_dirty || is_blocked)) return false;
    if (is_dirty && !is_blocked && (entry->flags & FLAG_SAVING) == 0 && extra->list < LIST_URGENT) return false;
    return extra->waiting == 0 || is_blocked;
}

bool engine_check(engine_t *engine) {
    if (!cart_table_check(engine->table)) return false;
    uint64_t dirty = 0;
    uint64_t listed[LIST_COUNT] = {0};
    uint32_t waiting = 0;
    for (cart_entry_t *entry = cart_table_older_first(engine->table, NULL); entry != NULL;
         entry = cart_table_older_first(engine->table, entry)) {
        engine_extra_t *extra = engine_extra(entry);
        if (!check_entry(engine, entry)) return false;
        dirty += extra->dirty_since_ms != 0;
        listed[extra->list]++;
        for (engine_slot_ref_t ref = extra->waiting; ref != 0; ref = engine_slot(engine, ref)->next) {
            if (engine_slot(engine, ref)->where != SLOT_WAITING) return false;
            waiting++;
        }
    }
    for (unsigned i = LIST_LOAD_COMMIT; i < LIST_COUNT; i++) {
        if (listed[i] != engine->lists[i].count) return false;
    }
    return dirty == engine->dirty && waiting == engine->waiting;
}
