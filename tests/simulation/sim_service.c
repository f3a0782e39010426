/*
 * The cart service of the simulation: the product's hub and engine, wired as the service's event loop wires them.
 */
#include <assert.h>
#include <stdlib.h>

#include "cart/cart_image.h"
#include "sim.h"

/* ---- hub → engine ------------------------------------------------------------------------------------------------ */

static bool hub_change(void *context, const cart_origin_t *origin, const cart_request_t *request,
                       uint64_t deadline_ms) {
    sim_world_t *world = context;
    engine_origin_t from = {.link = *origin, .internal = NULL};
    sim_check_submitted(world, request, deadline_ms);
    return engine_change(world->engine, &from, request, deadline_ms) == ENGINE_OK;
}

static bool hub_fetch(void *context, const cart_origin_t *origin, const cart_id_t *user, const cart_id_t *session,
                      uint64_t issued_s, uint64_t deadline_ms) {
    sim_world_t *world = context;
    engine_origin_t from = {.link = *origin, .internal = NULL};
    return engine_fetch(world->engine, &from, user, session, issued_s, deadline_ms) == ENGINE_OK;
}

static void hub_drop_link(void *context, cart_link_t link) {
    sim_world_t *world = context;
    engine_drop_link(world->engine, link);
}

static void hub_released(void *context, const cart_id_t *user, uint64_t term) {
    sim_world_t *world = context;
    engine_released(world->engine, user, term);
}

static void hub_ask_books(void *context, cart_link_t link, const uint64_t *books, unsigned count) {
    (void)context; /* the catalogue is the edge module's matter; nobody asks here */
    (void)link;
    (void)books;
    (void)count;
}

static void hub_follow(void *context, cart_link_t link, uint64_t books_generation, uint64_t books_position,
                       uint64_t revocations_generation, uint64_t revocations_position) {
    sim_world_t *world = context;
    (void)books_generation;
    (void)books_position;
    (void)revocations_generation;
    (void)revocations_position;
    cart_revocation_t list[SIM_USERS_MAX * SIM_SESSIONS];
    unsigned count = 0;
    for (unsigned u = 0; u < world->user_count; u++) {
        for (unsigned s = 0; s < SIM_SESSIONS; s++) {
            if (world->users[u].revoked_ms[s] == 0) continue;
            list[count] = (cart_revocation_t){.id = world->users[u].sessions[s],
                                              .position = count,
                                              .expires_s = UINT32_MAX,
                                              .kind = CART_REVOKE_SESSION};
            count++;
        }
    }
    cart_hub_revocations(world->hub, link, list, count, true, true, 1, count);
}

static void log_line(void *context, int level, const char *event, const char *detail) {
    sim_world_t *world = context;
    sim_trace(world, "log %d %s: %s", level, event, detail == NULL ? "" : detail);
    if (level == 0) sim_violation(world, "alert", "%s: %s", event, detail == NULL ? "" : detail);
}

/* ---- engine → hub, clients --------------------------------------------------------------------------------------- */

static void engine_done(void *context, const engine_origin_t *origin, const cart_id_t *user,
                        const cart_verdict_t *verdict, const cart_image_t *image) {
    sim_world_t *world = context;
    assert(origin->link.link != 0);
    cart_hub_done(world->hub, &origin->link, user, verdict, image);
}

static void engine_cart(void *context, const engine_origin_t *origin, const cart_id_t *user,
                        const cart_verdict_t *verdict, const cart_image_t *image) {
    sim_world_t *world = context;
    if (origin->link.link != 0) cart_hub_cart(world->hub, &origin->link, user, verdict, image);
}

static void engine_merged(void *context, const engine_origin_t *origin, const cart_verdict_t *verdict,
                          const cart_image_t *user_image, const engine_merge_report_t *report) {
    sim_world_t *world = context;
    (void)user_image;
    (void)report;
    sim_client_merge_done(world, (unsigned)((uintptr_t)origin->internal - 1), verdict);
}

static void engine_changed(void *context, const cart_id_t *user, const cart_image_t *image) {
    sim_world_t *world = context;
    cart_hub_changed(world->hub, user, image);
}

static bool known_book(void *context, uint64_t book) {
    (void)context;
    return book <= SIM_BOOKS;
}

static bool session_alive(void *context, const cart_id_t *user, const cart_id_t *session, uint64_t issued_s,
                          bool *vouched) {
    sim_world_t *world = context;
    (void)issued_s;
    *vouched = world->feed_vouched;
    int index = sim_user_of(world, user);
    for (unsigned s = 0; index >= 0 && s < SIM_SESSIONS; s++) {
        if (cart_id_equal(&world->users[index].sessions[s], session)) return world->users[index].revoked_ms[s] == 0;
    }
    return false;
}

static bool is_subscribed(void *context, const cart_id_t *user) {
    sim_world_t *world = context;
    return cart_hub_is_subscribed(world->hub, user);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

void sim_service_start(sim_world_t *world) {
    assert(!world->service_up);
    static const cart_hub_engine_t hub_engine = {.change = hub_change,
                                                 .fetch = hub_fetch,
                                                 .drop_link = hub_drop_link,
                                                 .released = hub_released,
                                                 .ask_books = hub_ask_books,
                                                 .follow = hub_follow,
                                                 .log = log_line};
    static const engine_owner_t owner = {.done = engine_done,
                                         .cart = engine_cart,
                                         .merged = engine_merged,
                                         .changed = engine_changed,
                                         .known_book = known_book,
                                         .session_alive = session_alive,
                                         .is_subscribed = is_subscribed,
                                         .log = log_line};
    engine_config_t config = {.memory_bytes = 96 * 1024 + sim_below(&world->random, 3) * 64 * 1024,
                              .epoch = world->base.epoch,
                              .floor = world->base.floor,
                              .dirty_age_max_ms = 4000,
                              .calm_delay_ms = 300,
                              .release_delay_ms = 50,
                              .batch_max = 1 + sim_below(&world->random, 16),
                              .seed = sim_u64(&world->random)};
    cart_policy_defaults(&config.policy);
    config.policy.calm_ttl_s = 2 + sim_below(&world->random, 20);
    config.policy.active_ttl_s = config.policy.calm_ttl_s * 2;
    config.policy.high_water_permille = (uint16_t)(300 + sim_below(&world->random, 600));
    config.policy.low_water_permille = (uint16_t)(config.policy.high_water_permille / 2);

    cart_hub_config_t hub_config = {.epoch = world->base.epoch,
                                    .ping_timeout_ms = 3000,
                                    .subscriptions_max = 1024,
                                    .seed = sim_u64(&world->random)};
    for (size_t i = 0; i < CART_ID_BYTES; i++) hub_config.incarnation.bytes[i] = (uint8_t)sim_u64(&world->random);

    cart_hub_engine_t for_hub = hub_engine;
    engine_owner_t for_engine = owner;
    for_hub.context = for_engine.context = world;
    world->hub = cart_hub_create(&hub_config, &for_hub);
    world->engine = engine_create(&config, &world->commit, &world->base_calls, &for_engine);
    assert(world->hub != NULL && world->engine != NULL);
    memset(world->replayed, 0, sizeof(world->replayed));
    memset(world->forked, 0, sizeof(world->forked));
    for (unsigned i = 0; i < world->journal.count; i++) {
        bool kept = engine_replay(world->engine, &world->journal.records[i].set);
        if (!kept) sim_violation(world, "lost", "the journal does not fit into the engine's memory");
        world->replayed[world->journal.records[i].user] = true;
    }
    /* A new process writes into a new segment. */
    world->journal.segment++;
    world->journal.in_segment = 0;
    memset(world->journal.forgotten, 0, sizeof(world->journal.forgotten));
    cart_hub_feeds_vouched(world->hub, true, world->feed_vouched);
    world->service_up = true;
    world->service_life++;
    sim_trace(world, "service starts (%u records replayed)", world->journal.count);
}

void sim_service_kill(sim_world_t *world) {
    assert(world->service_up);
    sim_trace(world, "service is killed");
    world->service_up = false;
    world->seen.crashes++;
    sim_store_crash(world);
    engine_destroy(world->engine);
    cart_hub_destroy(world->hub);
    world->engine = NULL;
    world->hub = NULL;
    for (unsigned i = 0; i < SIM_WIRES_MAX; i++) {
        sim_wire_t *wire = &world->wires[i];
        /* Bytes that the service wrote may still arrive; what it had not read is gone. */
        if (wire->used && wire->service_open) wire->up.length = 0;
        wire->service_open = false;
        wire->link = 0;
    }
    for (unsigned m = 0; m < world->merge_count; m++) world->merges[m].under_way = false;
    sim_check_restart(world);
}

static sim_wire_t *wire_of_link(sim_world_t *world, cart_link_t link) {
    for (unsigned i = 0; i < SIM_WIRES_MAX; i++) {
        if (world->wires[i].used && world->wires[i].service_open && world->wires[i].link == link)
            return &world->wires[i];
    }
    return NULL;
}

void sim_service_accept(sim_world_t *world, sim_wire_t *wire) {
    wire->link = cart_hub_opened(world->hub, world->now_ms);
    wire->service_open = wire->link != 0;
}

void sim_service_read(sim_world_t *world, sim_wire_t *wire) {
    if (!world->service_up || !wire->service_open) return;
    if (wire->up.length > 0) {
        /* Cut anywhere: a read ends where the scheduler says. */
        size_t length = 1 + sim_below(&world->random, (uint32_t)wire->up.length);
        if (sim_chance(&world->random, 1, 2)) length = wire->up.length;
        if (!cart_hub_received(world->hub, wire->link, wire->up.bytes, length, world->now_ms)) {
            sim_trace(world, "hub closes the link of worker %llu", (unsigned long long)wire->worker);
            cart_hub_closed(world->hub, wire->link, world->now_ms);
            wire->service_open = false;
        }
        sim_pipe_drop(&wire->up, length);
    } else if (!wire->edge_open) {
        cart_hub_closed(world->hub, wire->link, world->now_ms);
        wire->service_open = false;
    }
}

static void flush_links(sim_world_t *world) {
    bool close = false;
    cart_link_t link;
    while ((link = cart_hub_next_ready(world->hub, &close)) != 0) {
        sim_wire_t *wire = wire_of_link(world, link);
        const uint8_t *bytes = NULL;
        size_t length = cart_hub_output(world->hub, link, &bytes);
        if (wire != NULL && wire->edge_open && length > 0) sim_pipe_put(&wire->down, bytes, length);
        cart_hub_sent(world->hub, link, length);
        if (!close) continue;
        cart_hub_closed(world->hub, link, world->now_ms);
        if (wire != NULL) wire->service_open = false;
    }
}

void sim_service_turn(sim_world_t *world) {
    if (!world->service_up) return;
    (void)cart_hub_tick(world->hub, world->now_ms); /* the scheduler calls often enough */
    engine_turn(world->engine, world->now_ms);
    flush_links(world);
    if (sim_chance(&world->random, 1, 50) && !engine_check(world->engine)) {
        sim_violation(world, "alert", "engine_check fails");
    }
}
