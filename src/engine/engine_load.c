/*
 * Loads: a cart comes into memory, or what is in memory is compared with what is stored (rule 7).
 *
 *   cold       nobody has it: the base's row (a shared commit point is asked first). No row: the empty cart at
 *              (epoch, floor), so that its first change gets version floor + 1.
 *   UNKNOWN    the commit point says what is stored after a commit whose result is unknown
 *   RINGS      replayed from the journal, which keeps only the ids that each change added: the base's row has the rest
 *   FORKED     a save met a row that is none of ours
 *
 * One load a cart at a time: LOADING is set from the wish until the result is used. It begins after the cart's last
 * confirmed save, because until then the cart is resident and nobody loads it. A result for a cart that is not LOADING is
 * thrown away.
 *
 * The base away: a cold cart is given up and who waits is refused (BASE_AWAY), never shown an empty cart; the other two
 * kinds are tried again.
 *
 * When two rows of different owners meet, the merge (the greater quantity of each line) gets a place of its own and goes
 * through the next commit like any change: it is shown to nobody before.
 */
#include "cart/cart_planted.h"
#include "engine/engine_state.h"

#include <assert.h>
#include <stdlib.h>

void engine_load_begin(engine_t *engine, cart_entry_t *entry) {
    assert((entry->flags & FLAG_LOADING) == 0);
    entry->flags |= FLAG_LOADING;
    engine_list_append(engine, engine->commit->shared ? LIST_LOAD_COMMIT : LIST_LOAD_BASE, entry);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static unsigned gather(engine_t *engine, engine_list_t list) {
    cart_id_t *users = engine->load_users;
    unsigned count = 0;
    for (cart_ref_t ref = engine->lists[list].head; ref != CART_NO_REF && count < BASE_BATCH_MAX;) {
        cart_entry_t *entry = cart_arena_at(engine->arena, ref);
        users[count++] = entry->user;
        ref = engine_extra(entry)->next;
    }
    return count;
}

static void gone_out(engine_t *engine, engine_list_t list, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        cart_entry_t *entry = engine_list_head(engine, list);
        assert(entry != NULL);
        engine_list_remove(engine, entry);
    }
    engine->loads_under_way += count;
    engine->stats.loads += count;
}

static void load_from_base(engine_t *engine, engine_list_t list) {
    if (engine->now_ms < engine->base_retry_ms) return;
    while (engine->lists[list].count > 0) {
        unsigned count = gather(engine, list);
        if (!engine->base->load(engine->base->state, engine->load_users, count))
            return; /* its queue is full: next turn */
        gone_out(engine, list, count);
        if (list == LIST_LOAD_IDLE) return;
    }
}

void engine_loads_run(engine_t *engine) {
    if (engine->lists[LIST_LOAD_COMMIT].count > 0 && engine->now_ms >= engine->commit_load_retry_ms) {
        unsigned count = gather(engine, LIST_LOAD_COMMIT);
        if (engine->commit->load(engine->commit->state, engine->load_users, count, engine->now_ms)) {
            gone_out(engine, LIST_LOAD_COMMIT, count);
        }
    }
    load_from_base(engine, LIST_LOAD_BASE);
    if (engine->loads_under_way < ENGINE_LOADS_IDLE_MAX) load_from_base(engine, LIST_LOAD_IDLE);
}

/* ---- what came --------------------------------------------------------------------------------------------------- */

/* The entry whose load this is the result of; NULL: nobody wants it any more. */
static cart_entry_t *wanted_by(engine_t *engine, const cart_id_t *user) {
    cart_entry_t *entry = cart_table_find(engine->table, user);
    if (CART_PLANTED(load_beats_save) && entry != NULL && (entry->flags & (FLAGS_BLOCKED | FLAG_IN_BATCH)) == 0) {
        return entry;
    }
    if (entry != NULL && (entry->flags & FLAG_LOADING) != 0 && engine_extra(entry)->list == LIST_NONE) return entry;
    engine_log(engine, 2, "load-unwanted", user, "");
    return NULL;
}

static void loaded_well(engine_t *engine, cart_entry_t *entry) {
    entry->flags &= (uint8_t)~FLAGS_BLOCKED;
    engine_list_dirty(engine, entry);
    if ((entry->flags & FLAG_IN_BATCH) == 0) engine_unblock(engine, entry);
}

/* A cold cart cannot be had now. */
static void give_up(engine_t *engine, cart_entry_t *entry, uint8_t reason) {
    assert(entry->image_length == 0);
    engine_refuse_waiting(engine, entry, reason);
    engine_remove(engine, entry);
}

static void load_again(engine_t *engine, cart_entry_t *entry, engine_list_t list) {
    engine_list_append(engine, list, entry);
}

static void empty_cart(engine_t *engine, cart_image_t *image) {
    image->place = (cart_place_t){engine->config.epoch, engine->floor};
    image->base_version = engine->floor;
    image->state = CART_OPEN;
    image->line_count = 0;
}

static void settle_cold(engine_t *engine, cart_entry_t *entry, const cart_image_t *row, const uint8_t *rings,
                        uint32_t rings_length) {
    engine_extra_t *extra = engine_extra(entry);
    cart_image_t *image = &engine->after;
    if (row != NULL) {
        cart_image_copy(image, row);
        extra->base = row->place;
    } else {
        empty_cart(engine, image);
        extra->base = (cart_place_t){0, image->place.version};
    }
    extra->changed_s = engine->now_s;
    if (!engine_set_rings(engine, entry, rings, rings_length) || !engine_set_image(engine, entry, image)) {
        give_up(engine, entry, CART_REASON_MEMORY);
        return;
    }
    loaded_well(engine, entry);
}

/* ---- forks ------------------------------------------------------------------------------------------------------- */

static bool keep_fork(engine_t *engine, cart_entry_t *entry, const cart_image_t *row, const uint8_t *rings,
                      uint32_t rings_length) {
    engine_fork_t *fork = malloc(sizeof *fork + rings_length);
    if (fork == NULL) return false;
    fork->next = NULL;
    fork->user = entry->user;
    cart_image_copy(&fork->row, row);
    fork->rings_length = rings_length;
    if (rings_length > 0) memcpy(fork->rings, rings, rings_length);
    engine_fork_t **link = &engine->forks;
    while (*link != NULL) link = &(*link)->next;
    *link = fork;
    entry->flags |= FLAG_FORKED | FLAG_LOADING;
    engine->stats.forks++;
    engine_log(engine, 1, "cart-forked", &entry->user, "the base's row is another owner's: both are merged");
    return true;
}

static bool has_fork(const engine_t *engine, const cart_id_t *user) {
    for (const engine_fork_t *fork = engine->forks; fork != NULL; fork = fork->next) {
        if (cart_id_equal(&fork->user, user)) return true;
    }
    return false;
}

/* Forks first: their carts are blocked until the merge is committed. */
void engine_forks_stage(engine_t *engine) {
    for (engine_fork_t *fork = engine->forks; fork != NULL && engine_batch_has_room(engine); fork = fork->next) {
        cart_entry_t *entry = cart_table_find(engine->table, &fork->user);
        assert(entry != NULL);
        assert((entry->flags & FLAG_FORKED) != 0);
        if ((entry->flags & FLAG_UNKNOWN) != 0) continue; /* the commit of its merge is being found out */
        engine_batch_cart_t *cart = engine_batch_cart(engine, entry);
        const uint8_t *rings;
        uint32_t rings_length;
        engine_batch_before(engine, cart, &engine->before, &rings, &rings_length);
        unsigned dropped = 0;
        cart_image_merge(&engine->before, &fork->row, &engine->after, &dropped);
        if (dropped > 0) engine_log(engine, 1, "fork-lines-dropped", &fork->user, "the merge has no room for all");
        uint64_t version = engine->before.place.version;
        if (fork->row.place.version > version) version = fork->row.place.version;
        uint64_t epoch = engine->before.place.epoch;
        if (fork->row.place.epoch > epoch) epoch = fork->row.place.epoch;
        engine->after.place = (cart_place_t){epoch, version + 1};
        engine->after.base_version = fork->row.place.version;
        uint32_t length = (uint32_t)cart_recent_unite(rings, rings_length, fork->rings, fork->rings_length,
                                                      engine->rings_scratch, 2 * CART_RECENT_BYTES_MAX);
        cart->fork = fork;
        engine->batch.taken++;
        if (engine_stage_rings(engine, cart, &engine->after, engine->rings_scratch, length) != STAGED) {
            cart->fork = NULL;
            engine->commit_retry_ms = engine->now_ms + ENGINE_RETRY_MIN_MS; /* saves make room */
        }
    }
}

void engine_fork_committed(engine_t *engine, engine_batch_cart_t *cart) {
    cart_entry_t *entry = cart->entry;
    engine_fork_t **link = &engine->forks;
    while (*link != cart->fork) {
        assert(*link != NULL);
        link = &(*link)->next;
    }
    engine_fork_t *fork = *link;
    *link = fork->next;
    engine_extra(entry)->base = fork->row.place;
    free(fork);
    cart->fork = NULL;
    entry->flags &= (uint8_t)~FLAGS_BLOCKED;
    engine_image(engine, entry, &engine->shown);
    engine->owner.changed(engine->owner.context, &entry->user, &engine->shown);
}

/* ---- a resident cart meets its row ------------------------------------------------------------------------------- */

/* The row is what we have, older than it, or another's. */
static void settle_resident(engine_t *engine, cart_entry_t *entry, const cart_image_t *row, const uint8_t *rings,
                            uint32_t rings_length) {
    engine_extra_t *extra = engine_extra(entry);
    cart_image_t *mine = &engine->before;
    engine_image(engine, entry, mine);
    bool is_fork = (entry->flags & FLAG_FORKED) != 0;
    if (row == NULL) {
        if (is_fork) engine_log(engine, 1, "row-vanished", &entry->user, "the base has lost the cart: saved again");
        extra->base = (cart_place_t){0, mine->place.version > extra->base.version ? extra->base.version
                                                                                  : mine->place.version - 1};
        loaded_well(engine, entry);
        return;
    }
    int order = cart_place_compare(row->place, mine->place);
    bool is_newer_epoch = row->place.epoch > mine->place.epoch;
    /* Within an epoch there is one order, so a lesser version is an ancestor: a save of ours that was told "failed" and was
     * stored all the same. Merging with it would bring removed lines back. */
    bool is_ancestor = order < 0 && row->place.epoch == mine->place.epoch;
    bool is_base = cart_place_compare(row->place, extra->base) == 0;
    bool is_other = (is_fork && order != 0 && !is_base && !is_ancestor) || is_newer_epoch;
    if (CART_PLANTED(save_expects_itself) && is_fork) {
        extra->base = row->place;
        loaded_well(engine, entry);
        return;
    }
    if (is_other || (order < 0 && row->place.version >= mine->place.version)) {
        if (!keep_fork(engine, entry, row, rings, rings_length)) load_again(engine, entry, LIST_LOAD_BASE);
        return;
    }
    const uint8_t *own = extra->rings_length > 0 ? cart_arena_at(engine->arena, extra->rings) : NULL;
    uint32_t length = (uint32_t)cart_recent_unite(own, extra->rings_length, rings, rings_length, engine->rings_scratch,
                                                  2 * CART_RECENT_BYTES_MAX);
    bool is_kept = engine_set_rings(engine, entry, engine->rings_scratch, length);
    if (is_kept && order > 0) {
        /* Our own later state: the journal's later segments have been dropped since the base has it. */
        is_kept = engine_set_image(engine, entry, row);
    }
    if (!is_kept) { /* no room now: it stays blocked, and is asked for again */
        engine->base_retry_ms = engine->now_ms + ENGINE_RETRY_MIN_MS;
        load_again(engine, entry, LIST_LOAD_BASE);
        return;
    }
    extra->base = row->place;
    if (order >= 0) {
        engine_set_clean(engine, entry);
        engine_forget(engine, &entry->user, row->place);
    }
    loaded_well(engine, entry);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void base_failed_for(engine_t *engine, cart_entry_t *entry) {
    if (entry->image_length == 0) {
        if (CART_PLANTED(away_is_empty)) {
            settle_cold(engine, entry, NULL, NULL, 0);
            return;
        }
        give_up(engine, entry, CART_REASON_BASE_AWAY);
        return;
    }
    engine_refuse_waiting(engine, entry, CART_REASON_BASE_AWAY);
    load_again(engine, entry, LIST_LOAD_BASE);
}

void engine_base_loaded(void *context, const base_loaded_t *loaded, unsigned count) {
    engine_t *engine = context;
    assert(engine->loads_under_way >= count);
    engine->loads_under_way -= count;
    base_status_t status = {0};
    engine->base->status(engine->base->state, &status);
    if (status.floor > engine->floor) engine->floor = status.floor;
    cart_image_t row;
    for (unsigned i = 0; i < count; i++) {
        const base_loaded_t *one = &loaded[i];
        cart_entry_t *entry = wanted_by(engine, &one->user);
        if (entry == NULL) continue;
        if (one->result == BASE_LOAD_FAILED) {
            engine_base_failed(engine);
            base_failed_for(engine, entry);
            continue;
        }
        engine_base_answered(engine);
        const cart_image_t *image = NULL;
        if (one->result == BASE_ROW) {
            if (!cart_image_unpack(one->image, one->image_length, &row) ||
                !cart_recent_check(one->rings, one->rings_length)) {
                engine_log(engine, 0, "row-damaged", &one->user, "its cart cannot be shown or changed");
                base_failed_for(engine, entry);
                continue;
            }
            row.base_version = row.place.version;
            image = &row;
        }
        uint32_t rings_length = image != NULL ? one->rings_length : 0;
        if (entry->image_length == 0 || (CART_PLANTED(load_beats_save) && (entry->flags & FLAGS_BLOCKED) == 0)) {
            settle_cold(engine, entry, image, one->rings, rings_length);
        } else {
            settle_resident(engine, entry, image, one->rings, rings_length);
        }
    }
}

static void settle_commit_image(engine_t *engine, cart_entry_t *entry, const commit_loaded_t *one) {
    engine_extra_t *extra = engine_extra(entry);
    bool is_cold = entry->image_length == 0;
    cart_image_t *image = &engine->after;
    if (!cart_image_unpack(one->image, one->image_length, image)) {
        engine_log(engine, 0, "image-damaged", &one->user, "its cart cannot be shown or changed");
        load_again(engine, entry, LIST_LOAD_COMMIT);
        return;
    }
    const uint8_t *own = extra->rings_length > 0 ? cart_arena_at(engine->arena, extra->rings) : NULL;
    uint32_t length = (uint32_t)cart_recent_unite(own, extra->rings_length, one->rings, one->rings_length,
                                                  engine->rings_scratch, 2 * CART_RECENT_BYTES_MAX);
    if (!engine_set_rings(engine, entry, engine->rings_scratch, length) || !engine_set_image(engine, entry, image)) {
        if (is_cold)
            give_up(engine, entry, CART_REASON_MEMORY);
        else
            load_again(engine, entry, LIST_LOAD_COMMIT);
        return;
    }
    extra->changed_s = engine->now_s;
    if (is_cold) extra->base = (cart_place_t){image->place.epoch, image->base_version};
    bool is_saved = cart_place_compare(extra->base, image->place) == 0;
    if (is_saved)
        engine_set_clean(engine, entry);
    else
        engine_set_dirty(engine, entry, engine->now_ms);
    loaded_well(engine, entry);
}

void engine_commit_loaded(void *context, const commit_loaded_t *loaded, unsigned count) {
    engine_t *engine = context;
    assert(engine->loads_under_way >= count);
    engine->loads_under_way -= count;
    for (unsigned i = 0; i < count; i++) {
        const commit_loaded_t *one = &loaded[i];
        cart_entry_t *entry = wanted_by(engine, &one->user);
        if (entry == NULL) continue;
        bool is_cold = entry->image_length == 0;
        switch (one->result) {
        case COMMIT_LOAD_CONFIRMED:
        case COMMIT_LOAD_NONE:
            /* Cold: the base has it. Else: what we hold is what was confirmed last (none there: the base's row is). */
            entry->flags &= (uint8_t)~FLAG_UNKNOWN;
            if (has_fork(engine, &one->user)) break; /* its merge is committed again */
            if (is_cold || (entry->flags & (FLAG_FORKED | FLAG_RINGS)) != 0)
                load_again(engine, entry, LIST_LOAD_BASE);
            else
                loaded_well(engine, entry);
            break;
        case COMMIT_LOAD_IMAGE:
            settle_commit_image(engine, entry, one);
            break;
        case COMMIT_LOAD_FAILED:
            engine->commit_load_retry_ms = engine->now_ms + ENGINE_RETRY_MIN_MS;
            if (is_cold)
                give_up(engine, entry, CART_REASON_BASE_AWAY);
            else
                load_again(engine, entry, LIST_LOAD_COMMIT);
            break;
        }
    }
}

/* ---- start-up ---------------------------------------------------------------------------------------------------- */

static bool replay_ids(engine_t *engine, cart_entry_t *entry, const commit_set_t *record) {
    for (uint32_t i = 0; i < record->added_count; i++) {
        const cart_recent_id_t *id = &record->added[i];
        engine_extra_t *extra = engine_extra(entry);
        const uint8_t *rings = extra->rings_length > 0 ? cart_arena_at(engine->arena, extra->rings) : NULL;
        size_t length = cart_recent_size_with(rings, extra->rings_length, id->keyed, id->at_s);
        if (length == 0) {
            /* It was accepted once, so a ring that begins empty has room; a clock set back could still do this. */
            engine_log(engine, 0, "replay-ring-full", &record->user, "a repeat of this change may count twice");
            continue;
        }
        length = cart_recent_add(rings, extra->rings_length, id, id->at_s, engine->rings_scratch, length);
        if (!engine_set_rings(engine, entry, engine->rings_scratch, length)) return false;
    }
    return true;
}

bool engine_replay(engine_t *engine, const commit_set_t *record) {
    cart_image_t *image = &engine->after;
    if (!cart_image_unpack(record->image, record->image_length, image)) {
        engine_log(engine, 0, "record-damaged", &record->user, "a record of the journal does not hold a cart");
        return false;
    }
    cart_entry_t *entry = cart_table_find(engine->table, &record->user);
    if (entry == NULL) {
        entry = cart_table_insert(engine->table, &record->user);
        if (entry == NULL) return false;
        entry->flags = FLAG_RINGS | FLAG_LOADING;
        engine_list_append(engine, LIST_LOAD_IDLE, entry);
        engine_set_dirty(engine, entry, 1); /* since before this start: due at once */
    }
    engine_extra_t *extra = engine_extra(entry);
    bool is_newer = entry->image_length == 0;
    if (!is_newer) {
        engine_image(engine, entry, &engine->before);
        is_newer = cart_place_compare(image->place, engine->before.place) > 0;
    }
    if (is_newer) {
        if (!engine_set_image(engine, entry, image)) return false;
        extra->base = (cart_place_t){0, record->base_version};
    }
    return replay_ids(engine, entry, record);
}
