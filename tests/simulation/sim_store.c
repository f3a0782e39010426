/*
 * Journal and base of the simulation: what is durable, and what a crash leaves of what was under way.
 *
 * A commit or a save takes effect when it completes, at a moment the scheduler chooses. A sync that fails leaves its batch
 * in limbo: on the disk or not, nobody knows; a crash before the recovery makes it count, the recovery wipes it out.
 */
#include <assert.h>
#include <stdlib.h>

#include "cart/cart_image.h"
#include "sim.h"
#include "cart/cart_planted.h"

static void *copy_bytes(const void *bytes, size_t length) {
    if (length == 0) return NULL;
    void *copy = malloc(length);
    assert(copy != NULL);
    memcpy(copy, bytes, length);
    return copy;
}

static void record_copy(sim_world_t *world, sim_record_t *to, const commit_set_t *from) {
    to->set = *from;
    to->set.image = copy_bytes(from->image, from->image_length);
    to->set.added = copy_bytes(from->added, from->added_count * sizeof(*from->added));
    int user = sim_user_of(world, &from->user);
    assert(user >= 0);
    to->user = (unsigned)user;
    to->segment = 0;
}

static void record_free(sim_record_t *record) {
    free((void *)(uintptr_t)record->set.image);
    free((void *)(uintptr_t)record->set.added);
}

/* ---- journal -------------------------------------------------------------------------------------------------------- */

static void journal_append(sim_world_t *world, sim_record_t *record /* taken */) {
    sim_journal_t *journal = &world->journal;
    if (journal->count == journal->capacity) {
        journal->capacity = journal->capacity == 0 ? 64 : journal->capacity * 2;
        journal->records = realloc(journal->records, journal->capacity * sizeof(*journal->records));
        assert(journal->records != NULL);
    }
    if (journal->in_segment >= SIM_SEGMENT_RECORDS) {
        journal->segment++;
        journal->in_segment = 0;
    }
    record->segment = journal->segment;
    journal->in_segment++;
    journal->records[journal->count++] = *record;
}

static void pending_free(sim_journal_t *journal, bool records_too) {
    for (unsigned i = 0; records_too && i < journal->pending_count; i++) record_free(&journal->pending[i]);
    free(journal->pending);
    journal->pending = NULL;
    journal->pending_count = 0;
}

static void pending_becomes_durable(sim_world_t *world) {
    sim_journal_t *journal = &world->journal;
    for (unsigned i = 0; i < journal->pending_count; i++) {
        sim_check_durable(world, &journal->pending[i].set);
        journal_append(world, &journal->pending[i]);
    }
    pending_free(journal, false);
}

static void journal_set_owner(void *state, const commit_point_owner_t *owner) {
    sim_world_t *world = state;
    world->commit_owner = *owner;
}

static bool journal_commit_start(void *state, const commit_set_t *sets, unsigned count, uint64_t now_ms) {
    sim_world_t *world = state;
    (void)now_ms; /* the scheduler's time decides */
    sim_journal_t *journal = &world->journal;
    if (journal->committing || journal->recovering || journal->limbo) return false;
    assert(journal->pending == NULL && count > 0 && count <= COMMIT_SETS_MAX);
    journal->pending = calloc(count, sizeof(*journal->pending));
    assert(journal->pending != NULL);
    for (unsigned i = 0; i < count; i++) record_copy(world, &journal->pending[i], &sets[i]);
    journal->pending_count = count;
    journal->committing = true;
    journal->started_ms = world->now_ms;
    world->seen.commits++;
    return true;
}

static bool journal_load_start(void *state, const cart_id_t *users, unsigned count, uint64_t now_ms) {
    sim_world_t *world = state;
    (void)now_ms;
    sim_journal_t *journal = &world->journal;
    if (journal->loads != NULL || journal->committing) return false;
    journal->loads = calloc(count, sizeof(*journal->loads));
    assert(journal->loads != NULL);
    for (unsigned i = 0; i < count; i++) journal->loads[i].user = users[i];
    journal->load_count = count;
    journal->recovering = true;
    return true;
}

static void journal_drop_segments(sim_world_t *world) {
    sim_journal_t *journal = &world->journal;
    while (journal->count > 0 && journal->records[0].segment < journal->segment) {
        unsigned segment = journal->records[0].segment;
        unsigned length = 0;
        bool droppable = true;
        while (length < journal->count && journal->records[length].segment == segment) {
            const sim_record_t *record = &journal->records[length++];
            cart_image_t image;
            bool valid = cart_image_unpack(record->set.image, record->set.image_length, &image);
            assert(valid);
            if (cart_place_compare(journal->forgotten[record->user], image.place) < 0) droppable = false;
        }
        if (!droppable) return;
        sim_check_segment_dropped(world, segment);
        for (unsigned i = 0; i < length; i++) record_free(&journal->records[i]);
        memmove(journal->records, journal->records + length, (journal->count - length) * sizeof(*journal->records));
        journal->count -= length;
        sim_trace(world, "journal drops segment %u", segment);
    }
}

static void journal_forget_carts(void *state, const commit_forget_t *carts, unsigned count) {
    sim_world_t *world = state;
    for (unsigned i = 0; i < count; i++) {
        int user = sim_user_of(world, &carts[i].user);
        if (user < 0) continue;
        if (cart_place_compare(world->journal.forgotten[user], carts[i].place) < 0) {
            world->journal.forgotten[user] = carts[i].place;
        }
    }
    journal_drop_segments(world);
}

static void journal_room_now(void *state, commit_room_t *room, uint64_t now_ms) {
    sim_world_t *world = state;
    (void)now_ms;
    memset(room, 0, sizeof(*room));
    room->bytes_used = world->journal.count;
    room->bytes_limit = 4096;
    room->records = world->journal.count;
    room->recovering = world->journal.recovering;
    room->accepts = !world->journal.recovering && !world->journal.limbo && !world->journal.full;
}

bool sim_journal_complete(sim_world_t *world) {
    sim_journal_t *journal = &world->journal;
    if (journal->committing) {
        unsigned count = journal->pending_count;
        commit_result_t *results = calloc(count, sizeof(*results));
        assert(results != NULL);
        commit_result_t result = COMMIT_DONE;
        if (journal->full) result = COMMIT_REFUSED;
        if (journal->fail_next && !world->healing) result = COMMIT_UNKNOWN;
        journal->fail_next = false;
        journal->committing = false;
        if (result == COMMIT_DONE) {
            pending_becomes_durable(world);
        } else if (result == COMMIT_UNKNOWN) {
            world->seen.unknown++;
            journal->limbo = true; /* on the disk or not: a crash will tell, a recovery wipes it out */
            sim_trace(world, "sync fails, %u changes in limbo", count);
        } else {
            pending_free(journal, true);
        }
        for (unsigned i = 0; i < count; i++) results[i] = result;
        world->commit_owner.committed(world->commit_owner.context, results, NULL, count);
        free(results);
        return true;
    }
    if (journal->recovering) {
        if (sim_chance(&world->random, 1, 4) && !world->healing) return true; /* the disk still fails */
        if (journal->limbo) pending_free(journal, true);
        journal->limbo = false;
        journal->recovering = false;
        commit_loaded_t *loads = journal->loads;
        unsigned count = journal->load_count;
        journal->loads = NULL;
        journal->load_count = 0;
        for (unsigned i = 0; i < count; i++) loads[i].result = COMMIT_LOAD_CONFIRMED;
        sim_trace(world, "journal has recovered");
        world->commit_owner.loaded(world->commit_owner.context, loads, count);
        free(loads);
        return true;
    }
    return false;
}

static void poll_nothing(void *state, uint64_t now_ms) {
    (void)state; /* completions are delivered by the scheduler */
    (void)now_ms;
}

static int no_fd(void *state) {
    (void)state;
    return -1;
}

static void destroy_nothing(void *state) {
    (void)state; /* durable state outlives the service */
}

/* ---- base ------------------------------------------------------------------------------------------------------------ */

static void base_set_owner(void *state, const base_owner_t *owner) {
    sim_world_t *world = state;
    world->base_owner = *owner;
}

static void complete_purge(sim_world_t *world) {
    sim_base_t *base = &world->base;
    for (unsigned i = 0; i < base->purge_count && !base->away; i++) {
        int user = sim_user_of(world, &base->purges[i]);
        assert(user >= 0);
        sim_row_t *row = &base->rows[user];
        if (!row->there || cart_place_compare(row->place, base->purge_places[i]) != 0) continue;
        row->there = false;
        if (base->floor < row->place.version) base->floor = row->place.version;
        sim_trace(world, "base deletes the row of user %d at %llu", user, (unsigned long long)row->place.version);
    }
    free(base->purges);
    free(base->purge_places);
    base->purges = NULL;
    base->purge_places = NULL;
    base->purge_count = 0;
}

static bool base_load_start(void *state, const cart_id_t *users, unsigned count) {
    sim_world_t *world = state;
    sim_base_t *base = &world->base;
    if (base->load_count + count > 4 * SIM_USERS_MAX) return false;
    if (base->purges != NULL) complete_purge(world); /* base.h: before any load that is asked for later */
    base->loads = realloc(base->loads, (base->load_count + count) * sizeof(*base->loads));
    assert(base->loads != NULL);
    for (unsigned i = 0; i < count; i++) {
        base->loads[base->load_count++] = users[i];
        int user = sim_user_of(world, &users[i]);
        if (user >= 0) sim_check_base_load(world, (unsigned)user);
    }
    world->seen.loads += count;
    return true;
}

static bool base_save_start(void *state, const base_save_t *saves, unsigned count) {
    sim_world_t *world = state;
    sim_base_t *base = &world->base;
    if (base->saves != NULL) return false;
    base->saves = calloc(count, sizeof(*base->saves));
    assert(base->saves != NULL);
    for (unsigned i = 0; i < count; i++) {
        base->saves[i] = saves[i];
        base->saves[i].image = copy_bytes(saves[i].image, saves[i].image_length);
        base->saves[i].rings = copy_bytes(saves[i].rings, saves[i].rings_length);
    }
    base->save_count = count;
    return true;
}

static bool base_find_purgeable(void *state, uint64_t unchanged_since_s, unsigned limit) {
    sim_world_t *world = state;
    (void)limit; /* there are fewer users */
    world->base.purge_since_s = unchanged_since_s;
    world->base.purge_wanted = true;
    return true;
}

static bool base_purge_start(void *state, const cart_id_t *users, const cart_place_t *places, unsigned count) {
    sim_world_t *world = state;
    sim_base_t *base = &world->base;
    if (base->purges != NULL || count == 0) return count == 0;
    base->purges = copy_bytes(users, count * sizeof(*users));
    base->purge_places = copy_bytes(places, count * sizeof(*places));
    base->purge_count = count;
    return true;
}

static void base_status_now(void *state, base_status_t *status) {
    sim_world_t *world = state;
    memset(status, 0, sizeof(*status));
    status->epoch = world->base.epoch;
    status->floor = world->base.floor;
    status->away = world->base.away;
}

static void base_poll_nothing(void *state) {
    (void)state; /* as poll_nothing */
}

static base_save_result_t apply_save(sim_world_t *world, const base_save_t *save) {
    int user = sim_user_of(world, &save->user);
    assert(user >= 0);
    sim_row_t *row = &world->base.rows[user];
    cart_place_t have = row->there ? row->place : (cart_place_t){0, 0};
    if (row->there && cart_place_compare(have, save->place) == 0) return BASE_SAVED;
    if (cart_place_compare(have, save->expected) != 0) return BASE_FORK;
    sim_check_saved(world, (unsigned)user, save);
    free(row->image);
    free(row->rings);
    row->there = true;
    row->place = save->place;
    row->image = copy_bytes(save->image, save->image_length);
    row->image_length = save->image_length;
    row->rings = copy_bytes(save->rings, save->rings_length);
    row->rings_length = save->rings_length;
    row->changed_s = save->changed_s;
    row->empty = save->empty;
    return BASE_SAVED;
}

static void saves_free(sim_base_t *base) {
    for (unsigned i = 0; i < base->save_count; i++) {
        free((void *)(uintptr_t)base->saves[i].image);
        free((void *)(uintptr_t)base->saves[i].rings);
    }
    free(base->saves);
    base->saves = NULL;
    base->save_count = 0;
}

static void complete_saves(sim_world_t *world) {
    sim_base_t *base = &world->base;
    unsigned count = base->save_count;
    cart_id_t *users = calloc(count, sizeof(*users));
    cart_place_t *places = calloc(count, sizeof(*places));
    base_save_result_t *results = calloc(count, sizeof(*results));
    assert(users != NULL && places != NULL && results != NULL);
    /* A failed transaction is stored, whole, or not at all; either way the saver is told "failed". */
    bool fails = base->away || (!world->healing && sim_chance(&world->random, 1, 20));
    bool stored = !fails || (!base->away && sim_chance(&world->random, 1, 2));
    for (unsigned i = 0; i < count; i++) {
        users[i] = base->saves[i].user;
        places[i] = base->saves[i].place;
        results[i] = BASE_FAILED;
        base_save_result_t result = stored ? apply_save(world, &base->saves[i]) : BASE_FAILED;
        if (!fails) results[i] = result;
        int user = sim_user_of(world, &users[i]);
        if (!fails && result == BASE_SAVED && user >= 0) world->forked[user] = false;
        if (result == BASE_FORK && user >= 0) world->forked[user] = true; /* it is asked for, to be merged */
    }
    sim_trace(world, "base saves %u carts: %s", count, fails ? "fails" : "done");
    world->seen.saves += fails ? 0 : count;
    saves_free(base);
    world->base_owner.saved(world->base_owner.context, users, places, results, count);
    free(users);
    free(places);
    free(results);
}

static void complete_loads(sim_world_t *world) {
    sim_base_t *base = &world->base;
    unsigned count = 1 + sim_below(&world->random, base->load_count);
    base_loaded_t *loaded = calloc(count, sizeof(*loaded));
    assert(loaded != NULL);
    for (unsigned i = 0; i < count; i++) {
        loaded[i].user = base->loads[i];
        loaded[i].result = base->away ? BASE_LOAD_FAILED : BASE_NO_ROW;
        int user = sim_user_of(world, &base->loads[i]);
        sim_row_t *row = user >= 0 ? &base->rows[user] : NULL;
        if (base->away || row == NULL) continue;
        world->replayed[user] = false;
        if (!row->there) continue;
        loaded[i].result = BASE_ROW;
        loaded[i].place = row->place;
        loaded[i].image = row->image;
        loaded[i].image_length = row->image_length;
        loaded[i].rings = row->rings;
        loaded[i].rings_length = row->rings_length;
    }
    base->load_count -= count;
    memmove(base->loads, base->loads + count, base->load_count * sizeof(*base->loads));
    world->base_owner.loaded(world->base_owner.context, loaded, count);
    free(loaded);
}

static void complete_find_purgeable(sim_world_t *world) {
    sim_base_t *base = &world->base;
    cart_id_t users[SIM_USERS_MAX];
    cart_place_t places[SIM_USERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < world->user_count && !base->away; i++) {
        if (!base->rows[i].there || !base->rows[i].empty) continue;
        if (base->rows[i].changed_s > base->purge_since_s) continue;
        users[count] = world->users[i].id;
        places[count++] = base->rows[i].place;
    }
    base->purge_wanted = false;
    world->base_owner.purgeable(world->base_owner.context, users, places, count);
}

bool sim_base_complete(sim_world_t *world) {
    sim_base_t *base = &world->base;
    unsigned what = sim_below(&world->random, 3);
    if (what == 0 && base->saves != NULL) {
        complete_saves(world);
    } else if (what == 1 && base->purges != NULL) {
        complete_purge(world);
    } else if (what == 1 && base->purge_wanted) {
        complete_find_purgeable(world);
    } else if (base->load_count > 0) {
        complete_loads(world);
    } else if (base->saves != NULL) {
        complete_saves(world);
    } else {
        return false;
    }
    return true;
}

/* ---- both ------------------------------------------------------------------------------------------------------------ */

void sim_store_crash(sim_world_t *world) {
    sim_journal_t *journal = &world->journal;
    if (journal->pending != NULL) {
        if (sim_chance(&world->random, 1, 2)) {
            sim_trace(world, "the crash leaves the last batch (%u) on disk", journal->pending_count);
            pending_becomes_durable(world);
        } else {
            pending_free(journal, true);
        }
    }
    journal->committing = journal->recovering = journal->limbo = false;
    free(journal->loads);
    journal->loads = NULL;
    journal->load_count = 0;

    sim_base_t *base = &world->base;
    if (base->saves != NULL && !base->away && sim_chance(&world->random, 1, 2)) {
        for (unsigned i = 0; i < base->save_count; i++) (void)apply_save(world, &base->saves[i]); /* nobody is told */
    }
    saves_free(base);
    if (base->purges != NULL && sim_chance(&world->random, 1, 2)) complete_purge(world);
    free(base->purges);
    free(base->purge_places);
    base->purges = NULL;
    base->purge_places = NULL;
    base->purge_wanted = false;
    free(base->loads);
    base->loads = NULL;
    base->load_count = 0;
}

void sim_store_attach(sim_world_t *world) {
    world->commit = (commit_point_t){.state = world,
                                     .shared = false,
                                     .set_owner = journal_set_owner,
                                     .commit = journal_commit_start,
                                     .load = journal_load_start,
                                     .forget = journal_forget_carts,
                                     .room = journal_room_now,
                                     .poll = poll_nothing,
                                     .fd = no_fd,
                                     .destroy = destroy_nothing};
    world->base_calls = (base_t){.state = world,
                                 .set_owner = base_set_owner,
                                 .load = base_load_start,
                                 .save = base_save_start,
                                 .find_purgeable = base_find_purgeable,
                                 .purge = base_purge_start,
                                 .status = base_status_now,
                                 .poll = base_poll_nothing,
                                 .fd = no_fd,
                                 .destroy = destroy_nothing};
}

void sim_store_free(sim_world_t *world) {
    sim_store_crash(world);
    for (unsigned i = 0; i < world->journal.count; i++) record_free(&world->journal.records[i]);
    free(world->journal.records);
    for (unsigned i = 0; i < SIM_USERS_MAX; i++) {
        free(world->base.rows[i].image);
        free(world->base.rows[i].rings);
    }
}
