/*
 * The engine's outside: making it, giving it requests, turning it. See engine.h for what it promises; the parts:
 *   engine_slots      requests on lists            engine_batch    taking up, deciding, staging
 *   engine_residents  carts, memory, clearance     engine_commit   commit, install, answer
 *   engine_load       loads, forks, replay         engine_sync     saves, forgetting, purge
 *   engine_merge      a guest signs in             engine_answer   the way out
 *
 * A turn is bounded: ENGINE_TAKE_MAX requests, one commit, one save, a few batches of loads, one step of clearance.
 */
#include "engine/engine_state.h"

#include <assert.h>
#include <stdlib.h>

/* What a usual cart takes: entry, five packed lines, a ring of eight keyless ids. */
#define BYTES_PER_CART  400
#define BATCH_CARTS_MAX (2 * ENGINE_TAKE_MAX + COMMIT_SETS_MAX)

_Static_assert(BATCH_CARTS_MAX < UINT16_MAX, "engine_extra_t.batch counts them in 16 bits");

/* ---- making it --------------------------------------------------------------------------------------------------- */

static void set_owners(engine_t *engine) {
    static const commit_point_owner_t commit_calls = {.committed = engine_committed, .loaded = engine_commit_loaded};
    static const base_owner_t base_calls = {
        .loaded = engine_base_loaded, .saved = engine_saved, .purgeable = engine_purgeable};
    commit_point_owner_t commit_owner = commit_calls;
    base_owner_t base_owner = base_calls;
    commit_owner.context = base_owner.context = engine;
    commit_owner.log = base_owner.log = engine_store_log;
    engine->commit->set_owner(engine->commit->state, &commit_owner);
    engine->base->set_owner(engine->base->state, &base_owner);
}

static bool make_memory(engine_t *engine) {
    const engine_config_t *config = &engine->config;
    size_t sets = config->batch_max + 4; /* a merge takes up to three, after the last that fits */
    engine->slots = calloc(ENGINE_QUEUE_MAX + 1, sizeof *engine->slots);
    engine->free_slots = calloc(ENGINE_QUEUE_MAX + 1, sizeof *engine->free_slots);
    engine->memory = aligned_alloc(64, config->memory_bytes / 64 * 64);
    engine->batch.carts = calloc(BATCH_CARTS_MAX, sizeof *engine->batch.carts);
    engine->batch.sets = calloc(sets, sizeof *engine->batch.sets);
    engine->batch.added = calloc(sets, sizeof *engine->batch.added);
    engine->batch.packed = malloc(sets * CART_IMAGE_PACKED_MAX);
    engine->saves = calloc(BASE_BATCH_MAX, sizeof *engine->saves);
    engine->save_bytes = malloc(ENGINE_SAVE_BYTES);
    engine->forgets = calloc(BASE_BATCH_MAX, sizeof *engine->forgets);
    engine->rings_scratch = malloc((size_t)2 * CART_RECENT_BYTES_MAX);
    if (engine->slots == NULL || engine->free_slots == NULL || engine->memory == NULL || engine->batch.carts == NULL ||
        engine->batch.sets == NULL || engine->batch.added == NULL || engine->batch.packed == NULL ||
        engine->saves == NULL || engine->save_bytes == NULL || engine->forgets == NULL ||
        engine->rings_scratch == NULL) {
        return false;
    }
    engine->table = cart_table_init(engine->memory, config->memory_bytes / 64 * 64, sizeof(engine_extra_t),
                                    BYTES_PER_CART, config->seed);
    if (engine->table == NULL) return false;
    engine->arena = cart_table_arena(engine->table);
    return true;
}

engine_t *engine_create(const engine_config_t *config, commit_point_t *commit, base_t *base,
                        const engine_owner_t *owner) {
    assert(cart_policy_check(&config->policy) == NULL);
    assert(config->batch_max >= 1 && config->batch_max + 4 <= COMMIT_SETS_MAX);
    engine_t *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return NULL;
    engine->config = *config;
    engine->owner = *owner;
    engine->floor = config->floor;
    if (!make_memory(engine)) {
        engine_destroy(engine);
        return NULL;
    }
    if (commit != NULL) engine_attach(engine, commit, base, config->epoch, config->floor);
    return engine;
}

void engine_attach(engine_t *engine, commit_point_t *commit, base_t *base, uint64_t epoch, uint64_t floor) {
    assert(engine->commit == NULL && engine->now_ms == 0);
    assert(commit != NULL && base != NULL && epoch >= 1);
    engine->commit = commit;
    engine->base = base;
    engine->config.epoch = epoch;
    engine->floor = floor;
    set_owners(engine);
}

void engine_destroy(engine_t *engine) {
    if (engine == NULL) return;
    if (engine->slots != NULL) {
        for (uint32_t ref = 1; ref <= engine->slots_high; ref++) {
            free(engine->slots[ref].more);
            free(engine->slots[ref].merge);
        }
    }
    while (engine->forks != NULL) {
        engine_fork_t *fork = engine->forks;
        engine->forks = fork->next;
        free(fork);
    }
    free(engine->slots);
    free(engine->free_slots);
    free(engine->memory);
    free(engine->batch.carts);
    free(engine->batch.sets);
    free(engine->batch.added);
    free(engine->batch.packed);
    free(engine->saves);
    free(engine->save_bytes);
    free(engine->forgets);
    free(engine->rings_scratch);
    free(engine);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static engine_slot_ref_t take_slot(engine_t *engine, engine_kind_t kind, const engine_origin_t *origin,
                                   const cart_id_t *user, uint64_t deadline_ms) {
    engine_slot_ref_t ref = engine_slot_take(engine);
    if (ref == 0) return 0;
    engine_slot_t *slot = engine_slot(engine, ref);
    slot->kind = (uint8_t)kind;
    slot->origin = *origin;
    slot->user = *user;
    slot->deadline_ms = deadline_ms;
    slot->internal = false;
    slot->where = SLOT_QUEUED;
    engine_slots_append(engine, &engine->queue, ref);
    return ref;
}

engine_result_t engine_change(engine_t *engine, const engine_origin_t *origin, const cart_request_t *request,
                              uint64_t deadline_ms) {
    assert(cart_request_check(request));
    cart_change_t *more = NULL;
    size_t bytes = request->change_count * sizeof(cart_change_t);
    if (request->change_count > SLOT_CHANGES_INLINE) { /* a group: rare enough for malloc */
        more = malloc(bytes);
        if (more == NULL) return ENGINE_FULL;
        memcpy(more, request->changes, bytes);
    }
    engine_slot_ref_t ref = take_slot(engine, SLOT_CHANGE, origin, &request->user, deadline_ms);
    if (ref == 0) {
        free(more);
        return ENGINE_FULL;
    }
    engine_slot_t *slot = engine_slot(engine, ref);
    slot->internal = origin->link.link == 0;
    slot->session = request->session;
    slot->issued_s = request->issued_s;
    memcpy(slot->request_id, request->request_id, sizeof slot->request_id);
    slot->digest = request->digest;
    slot->keyed = request->keyed;
    slot->condition = request->condition;
    slot->expected = request->expected;
    slot->change_count = request->change_count;
    slot->more = more;
    if (more == NULL) memcpy(slot->changes, request->changes, bytes);
    return ENGINE_OK;
}

engine_result_t engine_fetch(engine_t *engine, const engine_origin_t *origin, const cart_id_t *user,
                             const cart_id_t *session, uint64_t issued_s, uint64_t deadline_ms) {
    engine_slot_ref_t ref = take_slot(engine, SLOT_FETCH, origin, user, deadline_ms);
    if (ref == 0) return ENGINE_FULL;
    engine_slot_t *slot = engine_slot(engine, ref);
    slot->internal = session == NULL;
    if (session != NULL) slot->session = *session;
    slot->issued_s = issued_s;
    return ENGINE_OK;
}

engine_result_t engine_merge(engine_t *engine, const engine_origin_t *origin, const cart_id_t *guest,
                             const cart_id_t *user, cart_merge_mode_t mode, uint64_t deadline_ms) {
    assert(!cart_id_equal(guest, user));
    engine_slot_ref_t ref = take_slot(engine, SLOT_MERGE, origin, user, deadline_ms);
    if (ref == 0) return ENGINE_FULL;
    engine_slot_t *slot = engine_slot(engine, ref);
    slot->internal = true;
    slot->session = *guest;
    slot->merge_mode = (uint8_t)mode;
    return ENGINE_OK;
}

void engine_drop_link(engine_t *engine, cart_link_t link) {
    for (engine_slot_ref_t ref = 1; ref <= engine->slots_high; ref++) {
        engine_slot_t *slot = engine_slot(engine, ref);
        if (slot->where == SLOT_FREE || slot->where == SLOT_IN_BATCH || slot->origin.link.link != link) continue;
        engine_slot_unlink(engine, ref);
        engine_slot_give(engine, ref);
    }
}

void engine_released(engine_t *engine, const cart_id_t *user, uint64_t term) {
    if (term == 0) return;
    cart_entry_t *entry = cart_table_find(engine->table, user);
    if (entry == NULL || engine_extra(entry)->dirty_since_ms == 0) return;
    entry->flags |= FLAG_RELEASED;
    if (engine_extra(entry)->list != LIST_DIRTY) return;
    engine_list_remove(engine, entry);
    engine_list_dirty(engine, entry);
}

/* ---- turning ----------------------------------------------------------------------------------------------------- */

/* Who waits longer than his time is told so; what is decided already is answered by its commit. */
static void sweep(engine_t *engine) {
    if (engine->now_ms < engine->swept_ms + ENGINE_SWEEP_MS) return;
    engine->swept_ms = engine->now_ms;
    if (engine->waiting == 0 && engine->queue == 0 && engine->ready == 0) return;
    for (engine_slot_ref_t ref = 1; ref <= engine->slots_high; ref++) {
        engine_slot_t *slot = engine_slot(engine, ref);
        if (slot->where == SLOT_FREE || slot->where == SLOT_IN_BATCH || engine->now_ms < slot->deadline_ms) continue;
        engine_slot_unlink(engine, ref);
        engine_refuse(engine, ref, CART_REFUSED, CART_REASON_LATE);
    }
}

void engine_turn(engine_t *engine, uint64_t now_ms) {
    assert(now_ms >= engine->now_ms && engine->commit != NULL);
    engine->now_ms = now_ms;
    engine->now_s = (uint32_t)(now_ms / 1000);
    engine_commit_check(engine);
    engine_batch_run(engine);
    sweep(engine);
    engine_loads_run(engine);
    if (now_ms >= engine->cleared_ms + ENGINE_CLEAR_MS ||
        cart_policy_over_high_water(&engine->config.policy, engine->table)) {
        engine->cleared_ms = now_ms;
        engine_clear(engine, ENGINE_CLEAR_BUDGET);
    }
    engine_sync_run(engine);
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

uint32_t engine_next_ms(const engine_t *engine, uint64_t now_ms) {
    uint32_t next_ms = 1000; /* housekeeping: expiry, purge */
    bool has_work = engine->queue != 0 || engine->ready != 0 || engine->forks != NULL;
    if (has_work && !engine->batch.under_way) {
        uint64_t retry_ms = engine->commit_retry_ms > now_ms ? engine->commit_retry_ms - now_ms : 0;
        if (engine->commit_away && retry_ms < 5) retry_ms = 5;
        next_ms = least(next_ms, (uint32_t)(retry_ms > 1000 ? 1000 : retry_ms));
    }
    if (engine->stats.queued > 0) next_ms = least(next_ms, ENGINE_SWEEP_MS);
    for (unsigned list = LIST_LOAD_COMMIT; list <= LIST_LOAD_IDLE; list++) {
        if (engine->lists[list].count > 0) next_ms = least(next_ms, 2);
    }
    if (engine->clearance.phase != 0) next_ms = least(next_ms, ENGINE_CLEAR_MS);
    return least(next_ms, engine_sync_next_ms(engine, now_ms));
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

void engine_stop(engine_t *engine) {
    engine->stopping = true;
}

bool engine_is_idle(const engine_t *engine) {
    if (engine->batch.under_way || engine->stats.queued > 0 || engine->save_count > 0) return false;
    if (engine->forks != NULL && !engine->commit_away) return false;
    return engine->dirty == 0 || engine->base_away;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

#define ACTIVE_SAMPLE 4096

/* Counted up to ACTIVE_SAMPLE carts, extrapolated beyond. */
static uint64_t count_active(const engine_t *engine) {
    uint32_t count = cart_table_count(engine->table);
    uint64_t looked = 0;
    uint64_t active = 0;
    for (cart_entry_t *entry = cart_table_older_first(engine->table, NULL); entry != NULL && looked < ACTIVE_SAMPLE;
         entry = cart_table_older_first(engine->table, entry)) {
        looked++;
        active += cart_policy_is_active(&engine->config.policy, entry, engine->now_s);
    }
    return looked == 0 ? 0 : active * count / looked;
}

static uint64_t oldest_dirty(const engine_t *engine, uint64_t now_ms) {
    uint64_t since_ms = UINT64_MAX;
    for (unsigned list = LIST_URGENT; list <= LIST_DIRTY; list++) {
        if (engine->lists[list].head == CART_NO_REF) continue;
        cart_entry_t *entry = cart_arena_at(engine->arena, engine->lists[list].head);
        if (engine_extra(entry)->dirty_since_ms < since_ms) since_ms = engine_extra(entry)->dirty_since_ms;
    }
    return since_ms == UINT64_MAX || since_ms <= 1 || since_ms > now_ms ? 0 : now_ms - since_ms;
}

void engine_stats(const engine_t *engine, uint64_t now_ms, engine_stats_t *stats) {
    cart_arena_usage_t usage;
    cart_arena_usage(engine->arena, &usage);
    *stats = engine->stats;
    stats->resident = cart_table_count(engine->table);
    stats->dirty = engine->dirty;
    stats->active = count_active(engine);
    stats->loading = engine->loads_under_way + engine->lists[LIST_LOAD_COMMIT].count +
                     engine->lists[LIST_LOAD_BASE].count + engine->lists[LIST_LOAD_IDLE].count;
    stats->saving = engine->save_count;
    stats->bytes_total = usage.capacity_bytes;
    stats->bytes_used = usage.used_bytes;
    stats->cleared_ttl = engine->clearance.cleared[0];
    stats->cleared_phase1 = engine->clearance.cleared[1];
    stats->cleared_phase2 = engine->clearance.cleared[2];
    stats->oldest_dirty_ms = oldest_dirty(engine, now_ms);
    stats->commit_away = engine->commit_away;
    stats->base_away = engine->base_away;
}
