/*
 * The requests that the engine holds: a fixed number of slots on intrusive lists, so that taking one up, letting it wait
 * on a cart and putting it back cost a few stores and no memory.
 */
#include "engine/engine_state.h"

#include <assert.h>
#include <stdlib.h>

engine_slot_t *engine_slot(engine_t *engine, engine_slot_ref_t ref) {
    assert(ref != 0);
    assert(ref <= ENGINE_QUEUE_MAX);
    return &engine->slots[ref];
}

engine_slot_ref_t engine_slot_take(engine_t *engine) {
    engine_slot_ref_t ref;
    if (engine->free_count > 0) {
        ref = engine->free_slots[--engine->free_count];
    } else if (engine->slots_high < ENGINE_QUEUE_MAX) {
        ref = ++engine->slots_high;
    } else {
        return 0;
    }
    engine_slot_t *slot = engine_slot(engine, ref);
    assert(slot->where == SLOT_FREE);
    slot->more = NULL;
    slot->merge = NULL;
    slot->cart = slot->guest = slot->set = 0;
    slot->verdict = (cart_verdict_t){0};
    slot->refused_stopping = engine->stopping;
    engine->stats.queued++;
    return ref;
}

void engine_slot_give(engine_t *engine, engine_slot_ref_t ref) {
    engine_slot_t *slot = engine_slot(engine, ref);
    assert(slot->where != SLOT_FREE);
    free(slot->more);
    free(slot->merge);
    slot->more = NULL;
    slot->merge = NULL;
    slot->where = SLOT_FREE;
    engine->free_slots[engine->free_count++] = ref;
    engine->stats.queued--;
}

void engine_slots_append(engine_t *engine, engine_slot_list_t *list, engine_slot_ref_t ref) {
    engine_slot_t *slot = engine_slot(engine, ref);
    slot->next = 0;
    if (*list == 0) {
        slot->prev = ref;
        *list = ref;
        return;
    }
    engine_slot_t *head = engine_slot(engine, *list);
    engine_slot(engine, head->prev)->next = ref;
    slot->prev = head->prev;
    head->prev = ref;
}

void engine_slots_remove(engine_t *engine, engine_slot_list_t *list, engine_slot_ref_t ref) {
    engine_slot_t *slot = engine_slot(engine, ref);
    assert(*list != 0);
    if (*list == ref) {
        *list = slot->next;
        if (slot->next != 0) engine_slot(engine, slot->next)->prev = slot->prev;
    } else {
        engine_slot(engine, slot->prev)->next = slot->next;
        engine_slot(engine, slot->next != 0 ? slot->next : *list)->prev = slot->prev;
    }
    slot->prev = slot->next = 0;
}

void engine_slots_prepend(engine_t *engine, engine_slot_list_t *list, engine_slot_list_t *from) {
    if (*from == 0) return;
    if (*list != 0) {
        engine_slot_t *first = engine_slot(engine, *from);
        engine_slot_t *second = engine_slot(engine, *list);
        engine_slot_ref_t middle = first->prev;
        engine_slot(engine, middle)->next = *list;
        first->prev = second->prev;
        second->prev = middle;
    }
    *list = *from;
    *from = 0;
}

void engine_slot_request(engine_t *engine, const engine_slot_t *slot, cart_request_t *request) {
    (void)engine; /* symmetry with the other calls */
    request->user = slot->user;
    request->session = slot->session;
    request->issued_s = slot->issued_s;
    memcpy(request->request_id, slot->request_id, sizeof request->request_id);
    request->digest = slot->digest;
    request->keyed = slot->keyed;
    request->condition = slot->condition;
    request->expected = slot->expected;
    request->change_count = slot->change_count;
    const cart_change_t *changes = slot->more != NULL ? slot->more : slot->changes;
    memcpy(request->changes, changes, slot->change_count * sizeof *changes);
}

void engine_slot_unlink(engine_t *engine, engine_slot_ref_t ref) {
    engine_slot_t *slot = engine_slot(engine, ref);
    switch ((engine_where_t)slot->where) {
    case SLOT_QUEUED:
        engine_slots_remove(engine, &engine->queue, ref);
        return;
    case SLOT_READY:
        engine_slots_remove(engine, &engine->ready, ref);
        return;
    case SLOT_WAITING: {
        /* A merge waits on the guest or on the user: on whichever has it. */
        cart_entry_t *entry = cart_table_find(engine->table, slot->guest == 1 ? &slot->session : &slot->user);
        assert(entry != NULL);
        engine_slots_remove(engine, &engine_extra(entry)->waiting, ref);
        engine->waiting--;
        return;
    }
    case SLOT_FREE:
    case SLOT_IN_BATCH:
        break;
    }
    assert(!"a request that is on no list");
}
