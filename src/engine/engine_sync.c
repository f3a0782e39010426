/*
 * Batch sync: dirty carts go to the base behind the commit point, many changes as one row.
 *
 *   LIST_URGENT    at once: phase 2 wants its memory, or a fork was settled
 *   LIST_RELEASED  release_delay_ms after an edge gave its seat up
 *   LIST_DIRTY     looked at every calm_delay_ms: saved when its user is calm and has done nothing for so long, or when the
 *                  next look would be past the cap on dirty age; else it goes to the end of the list. All wait equally
 *                  long, so the list is in order of time and its head is the next one due.
 * Pressure (the commit point short of room, memory stuck, stopping) saves everything, head first.
 *
 * One save at a time, of copies: the carts may change meanwhile. Only a confirmed save moves base.version, lets the commit
 * point forget and makes a cart free to go (rule 2). A save that failed is asked for again after a back-off.
 */
#include "cart/cart_planted.h"
#include "engine/engine_state.h"

#include <assert.h>

#define LOOKS_MAX         8192 /* carts of LIST_DIRTY looked at in one turn */
#define PRESSURE_PERMILLE 750  /* of the commit point's room */
#define PURGE_ROWS        256
#define PURGE_AGE_S       (CART_RECENT_KEEP_S + 3600) /* beyond it no promised repeat is forgotten with the row */
#define PURGE_ROOM_S      60

/* ---- the base away ----------------------------------------------------------------------------------------------- */

void engine_base_failed(engine_t *engine) {
    if (!engine->base_away) {
        engine_log(engine, 1, "base-away", NULL, "changes go on in the commit point; carts not in memory are refused");
        engine->base_retry_delay_ms = ENGINE_RETRY_MIN_MS;
    } else if (engine->now_ms < engine->base_retry_ms) {
        return; /* one outage, several results */
    } else {
        engine->base_retry_delay_ms *= 2;
        if (engine->base_retry_delay_ms > ENGINE_RETRY_MAX_MS) engine->base_retry_delay_ms = ENGINE_RETRY_MAX_MS;
    }
    engine->base_away = true;
    engine->base_retry_ms = engine->now_ms + engine->base_retry_delay_ms;
}

void engine_base_answered(engine_t *engine) {
    if (!engine->base_away) return;
    engine->base_away = false;
    engine->base_retry_ms = 0;
    engine_log(engine, 3, "base-back", NULL, "");
}

/* ---- forget ------------------------------------------------------------------------------------------------------ */

void engine_forget(engine_t *engine, const cart_id_t *user, cart_place_t place) {
    if (engine->forget_count == BASE_BATCH_MAX) engine_forget_flush(engine);
    engine->forgets[engine->forget_count++] = (commit_forget_t){.user = *user, .place = place};
}

void engine_forget_flush(engine_t *engine) {
    if (engine->forget_count == 0) return;
    engine->commit->forget(engine->commit->state, engine->forgets, engine->forget_count);
    engine->forget_count = 0;
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

/* Adds the cart to the save. False: no more room in it. */
static bool add_save(engine_t *engine, cart_entry_t *entry, size_t *used) {
    engine_extra_t *extra = engine_extra(entry);
    size_t bytes = (size_t)entry->image_length + extra->rings_length;
    if (engine->save_count == BASE_BATCH_MAX || bytes > ENGINE_SAVE_BYTES - *used) return false;
    assert(entry->image_length > 0);
    assert((entry->flags & (FLAGS_BLOCKED | FLAG_SAVING)) == 0);
    engine_image(engine, entry, &engine->shown);
    uint8_t *to = engine->save_bytes + *used;
    memcpy(to, cart_table_image(engine->table, entry), entry->image_length);
    if (extra->rings_length > 0) {
        memcpy(to + entry->image_length, cart_arena_at(engine->arena, extra->rings), extra->rings_length);
    }
    *used += bytes;
    bool has_row = extra->base.epoch != 0;
    engine->saves[engine->save_count++] = (base_save_t){
        .user = entry->user,
        .expected = has_row ? extra->base : (cart_place_t){0, 0},
        .place = engine->shown.place,
        .changed_s = extra->changed_s != 0 ? extra->changed_s : engine->now_s, /* replayed: not known */
        .empty = engine->shown.line_count == 0,
        .image = to,
        .image_length = entry->image_length,
        .rings = to + entry->image_length,
        .rings_length = extra->rings_length,
    };
    engine_list_remove(engine, entry);
    entry->flags |= FLAG_SAVING;
    return true;
}

static bool may_wait(const engine_t *engine, cart_entry_t *entry) {
    const engine_config_t *config = &engine->config;
    const engine_extra_t *extra = engine_extra(entry);
    uint64_t age_ms = engine->now_ms - extra->dirty_since_ms;
    if (age_ms + config->calm_delay_ms >= config->dirty_age_max_ms) return false;
    if (cart_policy_is_active(&config->policy, entry, engine->now_s)) return true;
    return (uint64_t)entry->touched_s * 1000 + config->calm_delay_ms > engine->now_ms;
}

static void gather_list(engine_t *engine, engine_list_t list, bool all, size_t *used) {
    for (unsigned looks = 0; looks < LOOKS_MAX; looks++) {
        cart_entry_t *entry = engine_list_head(engine, list);
        if (entry == NULL) return;
        engine_extra_t *extra = engine_extra(entry);
        if (!all && list != LIST_URGENT && extra->due_ms > engine->now_ms) return;
        if (!all && list == LIST_DIRTY && may_wait(engine, entry)) {
            engine_list_remove(engine, entry);
            engine_list_dirty(engine, entry);
            continue;
        }
        if (!add_save(engine, entry, used)) return;
    }
}

/* No result will come: each cart goes back to where its state asks. */
static void take_back(engine_t *engine) {
    for (unsigned i = 0; i < engine->save_count; i++) {
        cart_entry_t *entry = cart_table_find(engine->table, &engine->saves[i].user);
        assert(entry != NULL);
        entry->flags &= (uint8_t)~FLAG_SAVING;
        engine_list_dirty(engine, entry);
    }
    engine->save_count = 0;
}

#ifdef BOOKCART_PLANT
static void plant_before_save(engine_t *engine) {
    for (unsigned i = 0; i < engine->save_count; i++) {
        const base_save_t *save = &engine->saves[i];
        if (CART_PLANTED(forget_before_saved)) engine_forget(engine, &save->user, save->place);
        if (CART_PLANTED(load_beats_save) && engine->base->load(engine->base->state, &save->user, 1)) {
            engine->loads_under_way++;
        }
    }
}
#endif

static void begin_save(engine_t *engine) {
    if (engine->save_count > 0 || engine->now_ms < engine->base_retry_ms) return;
    bool all = engine->pressure || engine->stopping;
    bool is_urgent = all || engine->lists[LIST_URGENT].count > 0;
    if (!is_urgent && engine->now_ms < engine->save_begun_ms + ENGINE_SAVE_GATHER_MS) return;
    size_t used = 0;
    gather_list(engine, LIST_URGENT, true, &used);
    gather_list(engine, LIST_RELEASED, all, &used);
    gather_list(engine, LIST_DIRTY, all, &used);
    if (engine->save_count == 0) return;
#ifdef BOOKCART_PLANT
    plant_before_save(engine);
#endif
    engine->save_begun_ms = engine->now_ms;
    if (!engine->base->save(engine->base->state, engine->saves, engine->save_count)) {
        take_back(engine);
        engine->base_retry_ms = engine->now_ms + ENGINE_RETRY_MIN_MS;
        return;
    }
    engine->stats.saves += engine->save_count;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void saved_one(engine_t *engine, cart_entry_t *entry, cart_place_t place) {
    engine_extra_t *extra = engine_extra(entry);
    cart_image_t *image = &engine->shown;
    extra->base = place;
    engine_forget(engine, &entry->user, place);
    engine_image(engine, entry, image);
    if (cart_place_compare(image->place, place) != 0) {
        /* Changed since the save began. */
        engine_set_dirty(engine, entry, engine->save_begun_ms);
        engine_list_dirty(engine, entry);
    } else {
        bool wants_room = (entry->flags & FLAG_FREE_WHEN_SAVED) != 0;
        engine_set_clean(engine, entry);
        if (wants_room && (entry->flags & (FLAGS_BLOCKED | FLAG_IN_BATCH)) == 0 && extra->waiting == 0 &&
            cart_policy_over_high_water(&engine->config.policy, engine->table)) {
            engine->clearance.cleared[2]++;
            engine_remove(engine, entry);
            return;
        }
    }
    if (engine->owner.is_subscribed(engine->owner.context, &entry->user)) {
        engine->owner.changed(engine->owner.context, &entry->user, image);
    }
}

static void forked_one(engine_t *engine, cart_entry_t *entry) {
    engine_log(engine, 1, "save-forked", &entry->user, "the base's row is not what this engine has saved");
    entry->flags |= FLAG_FORKED;
    engine_list_remove(engine, entry);
    if ((entry->flags & FLAG_LOADING) != 0) return; /* an unknown commit is settled first, then the base is asked */
    entry->flags |= FLAG_LOADING;
    engine_list_append(engine, LIST_LOAD_BASE, entry);
}

void engine_saved(void *context, const cart_id_t *users, const cart_place_t *places, const base_save_result_t *results,
                  unsigned count) {
    engine_t *engine = context;
    assert(count == engine->save_count);
    engine->save_count = 0;
    for (unsigned i = 0; i < count; i++) {
        cart_entry_t *entry = cart_table_find(engine->table, &users[i]);
        if (entry == NULL && CART_PLANTED(phase2_frees_unsynced)) continue;
        assert(entry != NULL);
        assert((entry->flags & FLAG_SAVING) != 0);
        entry->flags &= (uint8_t)~FLAG_SAVING;
        base_save_result_t result = results[i];
        if (result == BASE_FORK && CART_PLANTED(fork_ignored)) result = BASE_SAVED;
        switch (result) {
        case BASE_SAVED:
            engine_base_answered(engine);
            saved_one(engine, entry, places[i]);
            break;
        case BASE_FORK:
            engine_base_answered(engine);
            forked_one(engine, entry);
            break;
        case BASE_FAILED:
            engine_base_failed(engine);
            engine_list_dirty(engine, entry);
            break;
        }
    }
    engine_forget_flush(engine);
}

/* ---- rows that nobody needs -------------------------------------------------------------------------------------- */

static void begin_purge(engine_t *engine) {
    if (engine->stopping || engine->base_away || engine->now_ms < engine->purged_ms + ENGINE_PURGE_MS) return;
    engine->purged_ms = engine->now_ms;
    engine->commit->room(engine->commit->state, &engine->room, engine->now_ms);
    /* In no live segment: a replay would bring the cart back to life below the floor. */
    uint64_t age_s = engine->room.oldest_age_ms / 1000 + PURGE_ROOM_S;
    if (age_s < PURGE_AGE_S) age_s = PURGE_AGE_S;
    if (engine->now_s <= age_s) return;
    /* False: its queue is full; there is time. */
    (void)engine->base->find_purgeable(engine->base->state, engine->now_s - age_s, PURGE_ROWS);
}

void engine_purgeable(void *context, const cart_id_t *users, const cart_place_t *places, unsigned count) {
    engine_t *engine = context;
    cart_id_t chosen[PURGE_ROWS];
    cart_place_t chosen_places[PURGE_ROWS];
    unsigned chosen_count = 0;
    for (unsigned i = 0; i < count && chosen_count < PURGE_ROWS; i++) {
        /* Not resident: nothing newer exists, no load is under way; a load that comes later finds the row gone. */
        if (cart_table_find(engine->table, &users[i]) != NULL) continue;
        chosen[chosen_count] = users[i];
        chosen_places[chosen_count++] = places[i];
    }
    if (chosen_count == 0) return;
    /* False: they stay until the next round. */
    (void)engine->base->purge(engine->base->state, chosen, chosen_places, chosen_count);
    if (count == PURGE_ROWS) engine->purged_ms = 0; /* there may be more */
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void look_at_room(engine_t *engine) {
    if (engine->now_ms < engine->room_ms + ENGINE_ROOM_MS) return;
    engine->room_ms = engine->now_ms;
    engine->commit->room(engine->commit->state, &engine->room, engine->now_ms);
    const commit_room_t *room = &engine->room;
    bool is_short = room->bytes_limit > 0 && room->bytes_used > room->bytes_limit / 1000 * PRESSURE_PERMILLE;
    bool was = engine->pressure;
    engine->pressure = is_short || engine->clearance.stuck;
    if (engine->pressure && !was && is_short) engine_log(engine, 2, "commit-short-of-room", NULL, "saving everything");
}

void engine_sync_run(engine_t *engine) {
    look_at_room(engine);
    begin_save(engine);
    begin_purge(engine);
    engine_forget_flush(engine);
}

static uint32_t until(uint64_t due_ms, uint64_t now_ms) {
    if (due_ms <= now_ms) return 0;
    return due_ms - now_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)(due_ms - now_ms);
}

uint32_t engine_sync_next_ms(const engine_t *engine, uint64_t now_ms) {
    if (engine->save_count > 0 || engine->dirty == 0) return UINT32_MAX;
    uint64_t due_ms = UINT64_MAX;
    if (engine->lists[LIST_URGENT].count > 0) due_ms = now_ms;
    for (unsigned list = LIST_RELEASED; list <= LIST_DIRTY; list++) {
        cart_ref_t head = engine->lists[list].head;
        if (head == CART_NO_REF) continue;
        cart_entry_t *entry = cart_arena_at(engine->arena, head);
        uint64_t due = engine->pressure || engine->stopping ? now_ms : engine_extra(entry)->due_ms;
        if (due < due_ms) due_ms = due;
    }
    if (due_ms == UINT64_MAX) return UINT32_MAX;
    if (due_ms < engine->base_retry_ms) due_ms = engine->base_retry_ms;
    bool is_urgent = engine->lists[LIST_URGENT].count > 0 || engine->pressure || engine->stopping;
    if (!is_urgent && due_ms < engine->save_begun_ms + ENGINE_SAVE_GATHER_MS) {
        due_ms = engine->save_begun_ms + ENGINE_SAVE_GATHER_MS;
    }
    return until(due_ms, now_ms);
}
