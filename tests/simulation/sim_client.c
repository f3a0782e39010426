/*
 * The customers of the simulation: reads, changes with and without a key, conditions, repeats of what was not answered
 * (and of what was: an answer can be lost behind the edge too), bursts, merges of guests, revoked sessions.
 */
#include <assert.h>
#include <stdlib.h>

#include "sim.h"

static sim_worker_t *pick_worker(sim_world_t *world, unsigned edge) {
    unsigned first = sim_below(&world->random, SIM_WORKERS_MAX);
    for (unsigned i = 0; i < SIM_WORKERS_MAX; i++) {
        sim_worker_t *worker = &world->edges[edge].workers[(first + i) % SIM_WORKERS_MAX];
        if (worker->used && !worker->exiting) return worker;
    }
    return NULL;
}

static int new_op(sim_world_t *world, sim_op_kind_t kind, unsigned user) {
    if (world->op_count == SIM_OPS_MAX) return -1;
    sim_op_t *op = &world->ops[world->op_count];
    memset(op, 0, sizeof(*op));
    op->kind = kind;
    op->user = user;
    op->session = sim_below(&world->random, SIM_SESSIONS);
    op->edge = sim_below(&world->random, SIM_EDGES);
    return (int)world->op_count++;
}

static void submit(sim_world_t *world, int index) {
    sim_op_t *op = &world->ops[index];
    sim_worker_t *worker = pick_worker(world, op->edge);
    sim_check_start(world, op);
    if (worker == NULL) {
        op->state = SIM_NO_ANSWER;
        op->ended_ms = world->now_ms;
        return;
    }
    op->state = SIM_WAITING;
    sim_edge_submit(world, worker, (unsigned)index);
}

static void fill_change(sim_world_t *world, cart_request_t *request) {
    sim_random_t *random = &world->random;
    request->change_count = (uint16_t)(sim_chance(random, 1, 6) ? 1 + sim_below(random, 4) : 1);
    for (unsigned c = 0; c < request->change_count; c++) {
        cart_change_t *change = &request->changes[c];
        uint32_t kind = sim_below(random, 20);
        change->book = 1 + sim_below(random, SIM_BOOKS);
        if (kind < 11) {
            change->op = CART_ADD;
            change->quantity = 1 + (int32_t)sim_below(random, 3);
            if (sim_chance(random, 1, 4)) change->quantity = -change->quantity;
        } else if (kind < 15) {
            change->op = CART_SET;
            change->quantity = (int32_t)sim_below(random, 5);
        } else if (kind < 18) {
            change->op = CART_REMOVE;
            change->quantity = 0;
        } else {
            change->op = CART_CLEAR;
            change->book = 0;
            change->quantity = 0;
        }
    }
}

static void act_change(sim_world_t *world, unsigned index, bool keyed) {
    sim_user_t *user = &world->users[index];
    if (user->truth_count + 64 >= SIM_TRUTH_MAX) return;
    int number = new_op(world, SIM_CHANGE, index);
    if (number < 0) return;
    sim_op_t *op = &world->ops[number];
    cart_request_t *request = calloc(1, sizeof(*request));
    assert(request != NULL);
    op->request = request;
    request->user = user->id;
    request->session = user->sessions[op->session];
    for (size_t i = 0; i < CART_REQUEST_BYTES; i++) request->request_id[i] = (uint8_t)sim_u64(&world->random);
    request->digest = sim_u64(&world->random);
    request->keyed = keyed;
    fill_change(world, request);
    if (sim_chance(&world->random, 1, 8) && user->truth_count > 0) {
        request->condition = sim_chance(&world->random, 1, 5) ? CART_IF_FAILED : CART_IF_PLACE;
        unsigned back = sim_below(&world->random, user->truth_count > 2 ? 2 : 1);
        request->expected = user->truth[user->truth_count - 1 - back].place;
    }
    submit(world, number);
}

static void ask_again(sim_world_t *world, unsigned of) {
    const sim_op_t *first = &world->ops[of];
    if (first->request == NULL || !first->request->keyed || first->superseded) return;
    if (first->started_ms + (CART_RECENT_REPEAT_S - 20) * 1000 < world->now_ms) return; /* the client gives up */
    int number = new_op(world, SIM_CHANGE, first->user);
    if (number < 0) return;
    sim_op_t *op = &world->ops[number];
    first = &world->ops[of];
    op->request = malloc(sizeof(*op->request));
    assert(op->request != NULL);
    *op->request = *first->request;
    op->session = first->session;
    uint64_t started_ms = first->started_ms;
    world->ops[of].superseded = true;
    submit(world, number);
    world->ops[number].started_ms = started_ms; /* the window runs from the first time */
}

static void act_repeat(sim_world_t *world) {
    for (unsigned tries = 0; tries < 8 && world->op_count > 0; tries++) {
        unsigned back = sim_below(&world->random, world->op_count < 100 ? world->op_count : 100);
        unsigned of = world->op_count - 1 - back;
        const sim_op_t *op = &world->ops[of];
        if (op->kind != SIM_CHANGE || op->superseded || !op->request->keyed) continue;
        if (op->state == SIM_WAITING && !sim_chance(&world->random, 1, 4)) continue; /* impatient clients exist */
        ask_again(world, of);
        return;
    }
}

static void start_merge(sim_world_t *world, unsigned number) {
    cart_origin_t none = {0};
    engine_origin_t origin = {.link = none, .internal = (void *)((uintptr_t)number + 1)};
    world->merges[number].under_way = true;
    engine_result_t result =
        engine_merge(world->engine, &origin, &world->users[world->merges[number].guest].id,
                     &world->users[world->merges[number].user].id, world->merges[number].mode, world->now_ms + 500);
    if (result != ENGINE_OK) world->merges[number].under_way = false;
}

static void act_merge(sim_world_t *world) {
    if (!world->service_up) return;
    unsigned number = sim_below(&world->random, SIM_MERGES_MAX);
    if (number < world->merge_count) {
        if (!world->merges[number].under_way) start_merge(world, number); /* again: it counts once */
        return;
    }
    /* Guests are the last users, each merged into one of the first. */
    if (world->merge_count >= world->user_count / 2 || world->merge_count == SIM_MERGES_MAX) return;
    number = world->merge_count++;
    world->merges[number].guest = world->user_count - 1 - number;
    world->merges[number].user = sim_below(&world->random, world->user_count / 2);
    world->merges[number].mode = (cart_merge_mode_t)(1 + sim_below(&world->random, 4));
    start_merge(world, number);
}

void sim_client_merge_done(sim_world_t *world, unsigned merge, const cart_verdict_t *verdict) {
    assert(merge < world->merge_count);
    world->merges[merge].under_way = false;
    if (verdict->outcome != CART_APPLIED && verdict->outcome != CART_REPEATED) return;
    if (!world->merges[merge].done) world->seen.merges++;
    world->merges[merge].done = true;
}

static void act_revoke(sim_world_t *world) {
    sim_user_t *user = &world->users[sim_below(&world->random, world->user_count)];
    unsigned session = sim_below(&world->random, SIM_SESSIONS);
    if (user->revoked_ms[session] == 0) user->revoked_ms[session] = world->now_ms;
}

void sim_client_act(sim_world_t *world) {
    if (world->burst_left > 0) {
        world->burst_left--;
        act_change(world, world->burst_user, true);
        return;
    }
    sim_random_t *random = &world->random;
    unsigned user = sim_chance(random, 1, 2) ? sim_below(random, 3) : sim_below(random, world->user_count);
    uint32_t what = sim_below(random, 1000);
    if (what < 420) {
        int number = new_op(world, SIM_READ, user);
        if (number >= 0) submit(world, number);
    } else if (what < 800) {
        act_change(world, user, sim_chance(random, 2, 3));
    } else if (what < 980) {
        act_repeat(world);
    } else if (what < 993) {
        act_merge(world);
    } else if (what < 996) {
        act_revoke(world);
    } else {
        world->burst_user = user;
        world->burst_left = 70 + sim_below(random, 20);
    }
}

void sim_client_retry_all(sim_world_t *world) {
    for (unsigned i = 0; i < world->op_count && world->violation == NULL; i++) {
        const sim_op_t *op = &world->ops[i];
        if (op->kind == SIM_CHANGE && (op->state == SIM_TOLD_503 || op->state == SIM_NO_ANSWER)) ask_again(world, i);
    }
}

void sim_client_read_all(sim_world_t *world, bool cold) {
    for (unsigned user = 0; user < world->user_count; user++) {
        for (unsigned edge = 0; edge < SIM_EDGES; edge++) {
            int number = new_op(world, SIM_READ, user);
            if (number < 0) return;
            world->ops[number].edge = edge;
            world->ops[number].cold = cold;
            submit(world, number);
        }
    }
}

bool sim_client_is_settled(const sim_world_t *world) {
    for (unsigned i = 0; i < world->op_count; i++) {
        if (world->ops[i].state == SIM_WAITING) return false;
    }
    return true;
}
