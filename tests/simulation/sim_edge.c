/*
 * An edge of the simulation: the product's zone and workers, and what nginx's handler does with a request (read the seat,
 * else fetch; send a change). A worker's code runs inside sim_worker_run, where kill -9 can strike at any lock: the lock
 * stays held by the dead, the worker's memory goes to the graveyard, the zone is left as it was at that instant.
 */
#include <assert.h>
#include <stdlib.h>

#include "cart/cart_zone_memory.h"
#include "sim.h"

#define ZONE_BYTES (320 * 1024)

/* ---- locks: held in the name of the worker that runs ---------------------------------------------------------------- */

typedef struct {
    uint64_t holder; /* serial, 0: free */
    uint64_t spare[CART_ZONE_LOCK_BYTES / 8 - 1];
} sim_lock_t;
_Static_assert(sizeof(sim_lock_t) <= CART_ZONE_LOCK_BYTES, "a lock fits where the zone keeps it");

static bool is_alive(const sim_world_t *world, uint64_t serial) {
    for (unsigned e = 0; e < SIM_EDGES; e++) {
        for (unsigned w = 0; w < SIM_WORKERS_MAX; w++) {
            const sim_worker_t *worker = &world->edges[e].workers[w];
            if (worker->used && worker->serial == serial) return true;
        }
    }
    return false;
}

static void strike(sim_world_t *world) {
    sim_worker_t *worker = world->running;
    if (worker == NULL || worker->doom < 0) return;
    if (worker->doom-- == 0) longjmp(world->death, 1);
}

/* A death in the middle of a shard's change leaves some of its words as they were and some as they were to become. What
 * the shard was like is kept when a worker that is to die soon takes its lock. */
static uint8_t before_change[ZONE_BYTES];

static uint8_t *shard_of_lock(sim_world_t *world, void *lock, size_t *bytes) {
    sim_edge_t *edge = &world->edges[world->running->edge];
    const cart_zone_memory_t *memory = edge->memory;
    if ((uint8_t *)lock < (uint8_t *)edge->memory + memory->shard_first) return NULL; /* a slot's, the lease's */
    *bytes = memory->shard_bytes - CART_ZONE_LOCK_BYTES;
    return (uint8_t *)lock + CART_ZONE_LOCK_BYTES;
}

static void remember_shard(sim_world_t *world, void *lock) {
    size_t bytes = 0;
    if (world->running == NULL || world->running->doom < 0) return;
    const uint8_t *shard = shard_of_lock(world, lock, &bytes);
    if (shard != NULL) memcpy(before_change, shard, bytes);
}

static void tear_shard(sim_world_t *world, void *lock) {
    size_t bytes = 0;
    if (world->running == NULL || world->running->doom != 0) return;
    uint8_t *shard = shard_of_lock(world, lock, &bytes);
    for (size_t at = 0; shard != NULL && at + 8 <= bytes; at += 8) {
        if (memcmp(shard + at, before_change + at, 8) != 0 && sim_chance(&world->random, 1, 2)) {
            memcpy(shard + at, before_change + at, 8);
        }
    }
}

static void lock_init(void *context, void *lock) {
    (void)context;
    memset(lock, 0, CART_ZONE_LOCK_BYTES);
}

static cart_lock_result_t lock_take(void *context, void *memory) {
    sim_world_t *world = context;
    sim_lock_t *lock = memory;
    strike(world);
    uint64_t me = world->running == NULL ? UINT64_MAX : world->running->serial;
    cart_lock_result_t result = CART_LOCK_OK;
    assert(lock->holder != me); /* never twice */
    if (lock->holder != 0) {
        assert(lock->holder != UINT64_MAX && !is_alive(world, lock->holder));
        result = CART_LOCK_OWNER_DIED;
    }
    lock->holder = me;
    if (result == CART_LOCK_OK) {
        strike(world);
        remember_shard(world, memory);
    }
    return result;
}

static void lock_give(void *context, void *memory) {
    sim_world_t *world = context;
    sim_lock_t *lock = memory;
    tear_shard(world, memory);
    strike(world);
    lock->holder = 0;
    strike(world);
}

static bool pid_alive(void *context, uint32_t pid, uint64_t started) {
    (void)started;
    return is_alive(context, pid);
}

static cart_zone_locks_t locks_of(sim_world_t *world) {
    return (cart_zone_locks_t){
        .context = world, .init = lock_init, .lock = lock_take, .unlock = lock_give, .alive = pid_alive};
}

/* ---- life ------------------------------------------------------------------------------------------------------------ */

void sim_edge_boot(sim_world_t *world, unsigned edge) {
    sim_edge_t *place = &world->edges[edge];
    for (unsigned w = 0; w < SIM_WORKERS_MAX; w++) {
        if (place->workers[w].used) sim_worker_kill(world, &place->workers[w]);
    }
    /* The graveyard's machines still point into the old memory; nothing runs them, so it may be used again. */
    if (place->memory == NULL) place->memory = aligned_alloc(4096, ZONE_BYTES);
    assert(place->memory != NULL);
    place->bytes = ZONE_BYTES;
    memset(place->memory, 0, ZONE_BYTES);
    memset(&place->config, 0, sizeof(place->config));
    cart_policy_defaults(&place->config.policy);
    place->config.policy.note_ttl_s = 5;
    place->config.policy.calm_ttl_s = 2 + sim_below(&world->random, 10);
    place->config.policy.active_ttl_s = 2 * place->config.policy.calm_ttl_s;
    if (sim_chance(&world->random, 1, 2)) {
        place->config.policy.high_water_permille = (uint16_t)(20 + sim_below(&world->random, 100));
        place->config.policy.low_water_permille = (uint16_t)(place->config.policy.high_water_permille / 2);
    }
    place->config.stale_max_ms = 1500;
    place->config.shards = 1U << sim_below(&world->random, 2);
    cart_zone_t zone = {.locks = locks_of(world), .config = place->config};
    cart_id_t incarnation;
    for (size_t i = 0; i < CART_ID_BYTES; i++) incarnation.bytes[i] = (uint8_t)sim_u64(&world->random);
    const char *wrong = cart_zone_config_check(&place->config);
    if (wrong != NULL) {
        sim_violation(world, "setup", "%s", wrong);
        return;
    }
    bool made = cart_zone_init(&zone, place->memory, ZONE_BYTES, &incarnation, sim_u64(&world->random));
    if (!made) sim_violation(world, "setup", "the zone cannot be laid out");
    for (unsigned u = 0; u < world->user_count; u++) world->users[u].edge_shown[edge] = 0;
    world->seen.reboots_of_edges++;
    sim_trace(world, "edge %u boots", edge);
}

static void answered(void *context, cart_ticket_t ticket, const cart_answer_t *answer);

static void no_books(void *context, const cart_book_record_t *books, unsigned count, bool full, bool last, bool answers,
                     uint64_t generation, uint64_t position) {
    (void)context; /* the catalogue is the edge module's matter */
    (void)books;
    (void)count;
    (void)full;
    (void)last;
    (void)answers;
    (void)generation;
    (void)position;
}

static void no_revocations(void *context, const cart_revocation_t *list, unsigned count, bool full, bool last,
                           uint64_t generation, uint64_t position) {
    (void)context; /* here the service checks; the edge's own list is tested end to end */
    (void)list;
    (void)count;
    (void)full;
    (void)last;
    (void)generation;
    (void)position;
}

static void feeds_vouched(void *context, bool books, bool revocations) {
    (void)context;
    (void)books;
    (void)revocations;
}

static void feed_positions(void *context, uint64_t *books_generation, uint64_t *books_position,
                           uint64_t *revocations_generation, uint64_t *revocations_position) {
    (void)context;
    *books_generation = *books_position = *revocations_generation = *revocations_position = 0;
}

static void worker_log(void *context, int level, const char *event, const char *detail) {
    sim_world_t *world = context;
    sim_trace(world, "worker log %d %s: %s", level, event, detail == NULL ? "" : detail);
    if (level == 0) sim_violation(world, "alert", "%s: %s", event, detail == NULL ? "" : detail);
}

sim_worker_t *sim_worker_start(sim_world_t *world, unsigned edge) {
    sim_worker_t *worker = NULL;
    for (unsigned w = 0; w < SIM_WORKERS_MAX && worker == NULL; w++) {
        if (!world->edges[edge].workers[w].used) worker = &world->edges[edge].workers[w];
    }
    if (worker == NULL || world->worker_serial + 1 >= SIM_WORKERS_EVER || world->graveyard_count >= 500) return NULL;
    memset(worker, 0, sizeof(*worker));
    worker->used = true;
    worker->serial = ++world->worker_serial;
    worker->edge = edge;
    worker->wire = -1;
    worker->doom = -1;
    worker->zone = (cart_zone_t){.locks = locks_of(world), .config = world->edges[edge].config};
    bool attached = cart_zone_attach(&worker->zone, world->edges[edge].memory, world->edges[edge].bytes);
    if (!attached) sim_violation(world, "setup", "a worker cannot attach its zone");
    cart_worker_config_t config = {.write_timeout_ms = 600,
                                   .ping_interval_ms = 200,
                                   .link_timeout_ms = 1000,
                                   .reconnect_min_ms = 10,
                                   .reconnect_max_ms = 200,
                                   .lease_ms = 1000,
                                   .pid = (uint32_t)worker->serial,
                                   .started = worker->serial,
                                   .seed = sim_u64(&world->random)};
    static const cart_worker_owner_t calls = {.answered = answered,
                                              .books = no_books,
                                              .revocations = no_revocations,
                                              .feeds_vouched = feeds_vouched,
                                              .feed_positions = feed_positions,
                                              .log = worker_log};
    cart_worker_owner_t owner = calls;
    owner.context = world;
    worker->machine = cart_worker_create(&worker->zone, &config, &owner);
    assert(worker->machine != NULL);
    sim_trace(world, "edge %u starts worker %llu", edge, (unsigned long long)worker->serial);
    return worker;
}

static void close_wire(sim_world_t *world, sim_worker_t *worker) {
    if (worker->wire >= 0) world->wires[worker->wire].edge_open = false;
    worker->wire = -1;
}

void sim_worker_kill(sim_world_t *world, sim_worker_t *worker) {
    sim_trace(world, "worker %llu of edge %u is killed", (unsigned long long)worker->serial, worker->edge);
    world->seen.worker_deaths++;
    for (unsigned i = 0; i < world->op_count; i++) {
        sim_op_t *op = &world->ops[i];
        if (op->state != SIM_WAITING || op->worker != worker->serial) continue;
        op->state = SIM_NO_ANSWER;
        op->ended_ms = world->now_ms;
    }
    close_wire(world, worker);
    /* Its zone handle dies with it: the machine in the graveyard gets a copy that outlives this slot. */
    world->graveyard[world->graveyard_count++] = worker->machine;
    worker->machine = NULL;
    worker->used = false;
}

bool sim_worker_run(sim_world_t *world, sim_worker_t *worker, sim_worker_fn body, void *argument) {
    assert(world->running == NULL);
    world->running = worker;
    if (setjmp(world->death) == 0) {
        body(world, worker, argument);
        world->running = NULL;
        return true;
    }
    world->running = NULL;
    sim_worker_kill(world, worker);
    return false;
}

/* ---- the socket -------------------------------------------------------------------------------------------------------- */

static void run_connect(sim_world_t *world, sim_worker_t *worker, void *argument) {
    (void)argument;
    cart_worker_connecting(worker->machine, world->now_ms);
    int free_wire = -1;
    for (int i = 0; i < SIM_WIRES_MAX && free_wire < 0; i++) {
        sim_wire_t *wire = &world->wires[i];
        if (wire->used && !wire->edge_open && !wire->service_open) {
            sim_pipe_free(&wire->up);
            sim_pipe_free(&wire->down);
            wire->used = false;
        }
        if (!wire->used) free_wire = i;
    }
    if (!world->service_up || free_wire < 0) {
        cart_worker_disconnected(worker->machine, world->now_ms);
        return;
    }
    sim_wire_t *wire = &world->wires[free_wire];
    *wire = (sim_wire_t){.used = true, .edge_open = true, .worker = worker->serial};
    sim_service_accept(world, wire);
    worker->wire = free_wire;
    cart_worker_connected(worker->machine, world->now_ms);
}

bool sim_worker_connect(sim_world_t *world, sim_worker_t *worker) {
    if (worker->wire >= 0 || !cart_worker_wants_connect(worker->machine, world->now_ms)) return false;
    (void)sim_worker_run(world, worker, run_connect, NULL); /* it may die in it */
    return true;
}

static void run_disconnect(sim_world_t *world, sim_worker_t *worker, void *argument) {
    (void)argument;
    close_wire(world, worker);
    cart_worker_disconnected(worker->machine, world->now_ms);
}

void sim_worker_cut(sim_world_t *world, sim_worker_t *worker) {
    if (worker->wire < 0) return;
    sim_wire_t *wire = &world->wires[worker->wire];
    sim_trace(world, "the link of worker %llu is cut", (unsigned long long)worker->serial);
    /* What was under way may be lost, from any byte on, or still arrive. */
    if (wire->up.length > 0 && sim_chance(&world->random, 1, 2)) {
        wire->up.length = sim_below(&world->random, (uint32_t)wire->up.length + 1);
    }
    (void)sim_worker_run(world, worker, run_disconnect, NULL); /* it may die in it */
}

static void run_read(sim_world_t *world, sim_worker_t *worker, void *argument) {
    size_t length = *(size_t *)argument;
    sim_wire_t *wire = &world->wires[worker->wire];
    bool fine = cart_worker_received(worker->machine, wire->down.bytes, length, world->now_ms);
    if (!fine) sim_violation(world, "protocol", "a worker refuses what the hub wrote");
    sim_pipe_drop(&wire->down, length);
}

void sim_worker_read(sim_world_t *world, sim_worker_t *worker) {
    if (worker->wire < 0) return;
    sim_wire_t *wire = &world->wires[worker->wire];
    if (wire->down.length > 0) {
        size_t length = 1 + sim_below(&world->random, (uint32_t)wire->down.length);
        if (sim_chance(&world->random, 1, 2)) length = wire->down.length;
        /* In the middle of taking in what came is where a death hurts most. */
        if (!world->healing && sim_chance(&world->random, 1, 500)) worker->doom = (int32_t)sim_below(&world->random, 3);
        (void)sim_worker_run(world, worker, run_read, &length); /* it may die in it */
    } else if (!wire->service_open) {
        (void)sim_worker_run(world, worker, run_disconnect, NULL);
    }
}

static void run_turn(sim_world_t *world, sim_worker_t *worker, void *argument) {
    (void)argument;
    (void)cart_worker_tick(worker->machine, world->now_ms); /* the scheduler calls often enough */
    if (cart_worker_wants_close(worker->machine) && worker->wire >= 0) {
        run_disconnect(world, worker, NULL);
        return;
    }
    if (worker->wire < 0) return;
    const uint8_t *bytes = NULL;
    size_t length = cart_worker_output(worker->machine, world->now_ms, &bytes);
    if (length == 0) return;
    /* A socket takes as much as it likes. */
    if (sim_chance(&world->random, 1, 4)) length = 1 + sim_below(&world->random, (uint32_t)length);
    sim_pipe_put(&world->wires[worker->wire].up, bytes, length);
    cart_worker_sent(worker->machine, length);
}

static void run_exit(sim_world_t *world, sim_worker_t *worker, void *argument) {
    (void)argument;
    cart_worker_destroy(worker->machine);
    worker->machine = NULL;
    close_wire(world, worker);
    worker->used = false;
    sim_trace(world, "worker %llu exits", (unsigned long long)worker->serial);
}

void sim_worker_turn(sim_world_t *world, sim_worker_t *worker) {
    if (worker->exiting && cart_worker_parked(worker->machine) == 0) {
        worker->doom = -1; /* a death in destroy would leave it half freed: that is a test of free(), not of us */
        (void)sim_worker_run(world, worker, run_exit, NULL);
        return;
    }
    (void)sim_worker_run(world, worker, run_turn, NULL); /* it may die in it */
}

/* ---- the handler ------------------------------------------------------------------------------------------------------- */

static void finish(sim_world_t *world, sim_op_t *op, sim_op_state_t state) {
    op->state = state;
    op->ended_ms = world->now_ms;
}

static void run_submit(sim_world_t *world, sim_worker_t *worker, void *argument) {
    sim_op_t *op = &world->ops[*(unsigned *)argument];
    sim_user_t *user = &world->users[op->user];
    op->worker = worker->serial;
    op->order = ++worker->parked_order;
    uint64_t issued_s = world->now_ms / 1000;
    if (op->kind == SIM_CHANGE) {
        op->request->issued_s = issued_s;
        cart_worker_result_t result = cart_worker_change(worker->machine, op->request, world->now_ms, &op->ticket);
        if (result != CART_WORKER_OK) finish(world, op, SIM_TOLD_503);
        return;
    }
    cart_image_t image;
    cart_seat_info_t info;
    cart_seat_found_t found =
        op->cold ? CART_SEAT_UNVOUCHED : cart_zone_read(&worker->zone, &user->id, world->now_ms, true, &image, &info);
    if (found == CART_SEAT_HIT) {
        world->seen.hits++;
        finish(world, op, SIM_ANSWERED);
        sim_check_shown(world, op, &image, "a hit", true);
        return;
    }
    bool seat = found != CART_SEAT_NONE || cart_zone_note(&worker->zone, &user->id, world->now_ms);
    if (found == CART_SEAT_UNVOUCHED) world->seen.unvouched++;
    cart_worker_result_t result = cart_worker_fetch(worker->machine, &user->id, &user->sessions[op->session], issued_s,
                                                    seat, world->now_ms, &op->ticket);
    if (result != CART_WORKER_OK) finish(world, op, SIM_TOLD_503);
}

void sim_edge_submit(sim_world_t *world, sim_worker_t *worker, unsigned op) {
    (void)sim_worker_run(world, worker, run_submit, &op); /* a death ends the request without an answer */
}

static sim_op_t *op_of_ticket(sim_world_t *world, cart_ticket_t ticket) {
    assert(world->running != NULL);
    for (unsigned i = world->op_count; i > 0; i--) {
        sim_op_t *op = &world->ops[i - 1];
        if (op->state == SIM_WAITING && op->ticket == ticket && op->worker == world->running->serial) return op;
    }
    return NULL;
}

static void answered(void *context, cart_ticket_t ticket, const cart_answer_t *answer) {
    sim_world_t *world = context;
    if (world->ending) return;
    sim_op_t *op = op_of_ticket(world, ticket);
    if (op == NULL) {
        sim_violation(world, "alert", "an answer for a ticket that does not wait");
        return;
    }
    uint8_t outcome = answer->verdict.outcome;
    if (outcome == CART_REFUSED) {
        world->seen.refused++;
        finish(world, op, SIM_TOLD_503);
        return;
    }
    finish(world, op, SIM_ANSWERED);
    sim_trace(world, "worker %llu answers user %u: outcome %u, version %llu, seat %llu", (unsigned long long)op->worker,
              op->user, outcome, (unsigned long long)(answer->has_image ? answer->image.place.version : 0),
              (unsigned long long)answer->generation);
    op->outcome = outcome;
    if (op->kind == SIM_CHANGE) {
        sim_check_acked(world, op, outcome);
        if (outcome == CART_APPLIED) world->seen.applied++;
        if (outcome == CART_REPEATED) world->seen.repeated++;
        if (outcome == CART_VERSION_MISMATCH) world->seen.mismatches++;
    } else {
        world->seen.cold++;
    }
    if (answer->has_image) sim_check_shown(world, op, &answer->image, "an answer", false);
}
