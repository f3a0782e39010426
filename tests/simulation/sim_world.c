/*
 * The scheduler: one random choice after another, all from the seed. It decides who runs next, how far time moves, which
 * bytes arrive, what breaks. After its steps the world heals: no more faults, every keyed request is asked until it is
 * answered, everything is read once more, the service is killed and read again.
 */
#include <assert.h>
#include <stdlib.h>

#include "cart/cart_image.h"
#include "sim.h"

#define STEPS_MIN   600
#define STEPS_MAX   2600
#define HEAL_ROUNDS 4000
#define START_MS    UINT64_C(1790000000000)

uint64_t sim_u64(sim_random_t *r) { /* SplitMix64, Steele et al. 2014 */
    uint64_t z = r->s += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

uint32_t sim_below(sim_random_t *r, uint32_t n) {
    assert(n > 0);
    return (uint32_t)(sim_u64(r) % n);
}

bool sim_chance(sim_random_t *r, uint32_t in, uint32_t of) {
    return sim_below(r, of) < in;
}

void sim_pipe_put(sim_pipe_t *pipe, const uint8_t *bytes, size_t length) {
    if (pipe->length + length > pipe->capacity) {
        pipe->capacity = (pipe->length + length) * 2;
        pipe->bytes = realloc(pipe->bytes, pipe->capacity);
        assert(pipe->bytes != NULL);
    }
    memcpy(pipe->bytes + pipe->length, bytes, length);
    pipe->length += length;
}

void sim_pipe_drop(sim_pipe_t *pipe, size_t length) {
    assert(length <= pipe->length);
    pipe->length -= length;
    memmove(pipe->bytes, pipe->bytes + length, pipe->length);
}

void sim_pipe_free(sim_pipe_t *pipe) {
    free(pipe->bytes);
    memset(pipe, 0, sizeof(*pipe));
}

void sim_trace(sim_world_t *world, const char *format, ...) {
    char *line = world->trace[world->trace_next++ % SIM_TRACE_LINES];
    int head = snprintf(line, SIM_TRACE_CHARS,
                        "%6llu.%03llu step %llu: ", (unsigned long long)((world->now_ms - START_MS) / 1000),
                        (unsigned long long)(world->now_ms % 1000), (unsigned long long)world->step);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line + head, SIM_TRACE_CHARS - (size_t)head, format, arguments); /* a cut line is still a line */
    va_end(arguments);
    if (world->loud) printf("%s\n", line);
}

void sim_violation(sim_world_t *world, const char *check, const char *format, ...) {
    if (world->violation != NULL) return;
    world->violation = check;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(world->detail, sizeof(world->detail), format, arguments); /* a cut detail is still a detail */
    va_end(arguments);
    sim_trace(world, "VIOLATION %s: %s", check, world->detail);
}

sim_world_t *sim_world_create(uint64_t seed, bool loud) {
    sim_world_t *world = calloc(1, sizeof(*world));
    assert(world != NULL);
    world->trace = calloc(SIM_TRACE_LINES, SIM_TRACE_CHARS);
    world->ops = calloc(SIM_OPS_MAX, sizeof(*world->ops));
    assert(world->trace != NULL && world->ops != NULL);
    world->seed = seed;
    world->random.s = seed * UINT64_C(0xD1342543DE82EF95) + 1;
    world->loud = loud;
    world->now_ms = START_MS;
    world->user_count = 4 + sim_below(&world->random, SIM_USERS_MAX - 3);
    world->feed_vouched = true;
    world->base.epoch = 1;
    for (unsigned u = 0; u < world->user_count; u++) {
        sim_user_t *user = &world->users[u];
        user->truth = calloc(SIM_TRUTH_MAX, sizeof(*user->truth));
        assert(user->truth != NULL);
        for (size_t i = 0; i < CART_ID_BYTES; i++) user->id.bytes[i] = (uint8_t)sim_u64(&world->random);
        for (unsigned s = 0; s < SIM_SESSIONS; s++) {
            for (size_t i = 0; i < CART_ID_BYTES; i++) user->sessions[s].bytes[i] = (uint8_t)sim_u64(&world->random);
        }
    }
    sim_store_attach(world);
    sim_service_start(world);
    for (unsigned e = 0; e < SIM_EDGES; e++) {
        sim_edge_boot(world, e);
        unsigned workers = 1 + sim_below(&world->random, 3);
        for (unsigned w = 0; w < workers; w++) (void)sim_worker_start(world, e);
    }
    return world;
}

/* ---- one step ------------------------------------------------------------------------------------------------------- */

static sim_worker_t *any_worker(sim_world_t *world) {
    unsigned first = sim_below(&world->random, SIM_EDGES * SIM_WORKERS_MAX);
    for (unsigned i = 0; i < SIM_EDGES * SIM_WORKERS_MAX; i++) {
        unsigned at = (first + i) % (SIM_EDGES * SIM_WORKERS_MAX);
        sim_worker_t *worker = &world->edges[at / SIM_WORKERS_MAX].workers[at % SIM_WORKERS_MAX];
        if (worker->used) return worker;
    }
    return NULL;
}

static void keep_workers_up(sim_world_t *world) {
    for (unsigned e = 0; e < SIM_EDGES; e++) {
        unsigned alive = 0;
        for (unsigned w = 0; w < SIM_WORKERS_MAX; w++) {
            alive += world->edges[e].workers[w].used && !world->edges[e].workers[w].exiting;
        }
        if (alive == 0 || (alive < 3 && sim_chance(&world->random, 1, 60))) (void)sim_worker_start(world, e);
    }
}

static void move_time(sim_world_t *world) {
    sim_random_t *random = &world->random;
    uint32_t scale = sim_below(random, 1000);
    if (scale < 960) {
        world->now_ms += sim_below(random, 5);
    } else if (scale < 997) {
        world->now_ms += sim_below(random, 120);
    } else if (!world->healing) {
        world->now_ms += sim_below(random, 4000);
    }
}

static void turn_worker(sim_world_t *world, sim_worker_t *worker) {
    if (sim_worker_connect(world, worker)) return;
    if (sim_chance(&world->random, 1, 2)) {
        sim_worker_read(world, worker);
    } else {
        sim_worker_turn(world, worker);
    }
}

static void turn_service(sim_world_t *world) {
    if (!world->service_up) return;
    unsigned first = sim_below(&world->random, SIM_WIRES_MAX);
    for (unsigned i = 0; i < SIM_WIRES_MAX && world->service_up; i++) {
        sim_wire_t *wire = &world->wires[(first + i) % SIM_WIRES_MAX];
        if (wire->used && wire->service_open && sim_chance(&world->random, 1, 2)) sim_service_read(world, wire);
    }
    sim_service_turn(world);
}

static void foreign_owner_writes(sim_world_t *world) {
    unsigned index = sim_below(&world->random, world->user_count / 2); /* guests are among the others */
    sim_user_t *user = &world->users[index];
    sim_row_t *row = &world->base.rows[index];
    if (user->has_foreign || !row->there || world->base.saves != NULL || world->base.load_count > 0) return;
    if (world->base.purges != NULL) return;
    cart_image_t image;
    if (!cart_image_unpack(row->image, row->image_length, &image) || image.state != CART_OPEN) return;
    /* It had the row, and added to it, in an epoch that it took over. */
    image.place.epoch = row->place.epoch + 1;
    image.place.version = row->place.version + 1 + sim_below(&world->random, 3);
    image.base_version = image.place.version;
    if (image.line_count < CART_LINES_MAX) {
        image.lines[image.line_count].book = SIM_BOOKS + 1;
        image.lines[image.line_count++].quantity = 2;
    }
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    size_t length = cart_image_pack(&image, packed, sizeof(packed));
    free(row->image);
    row->image = malloc(length);
    assert(row->image != NULL);
    memcpy(row->image, packed, length);
    row->image_length = (uint32_t)length;
    row->place = image.place;
    row->empty = false;
    user->has_foreign = true;
    user->foreign.place = image.place;
    user->foreign.line_count = image.line_count;
    memcpy(user->foreign.lines, image.lines, image.line_count * sizeof(*image.lines));
    sim_trace(world, "another owner writes user %u at (%llu, %llu)", index, (unsigned long long)image.place.epoch,
              (unsigned long long)image.place.version);
}

static void break_something(sim_world_t *world) {
    sim_random_t *random = &world->random;
    sim_worker_t *worker = any_worker(world);
    switch (sim_below(random, 16)) {
    case 0:
    case 1:
    case 2:
        if (worker != NULL) sim_worker_cut(world, worker);
        break;
    case 3:
    case 4:
        if (worker != NULL) worker->doom = (int32_t)sim_below(random, sim_chance(random, 1, 2) ? 4 : 40);
        break;
    case 5:
        if (worker != NULL) sim_worker_kill(world, worker);
        break;
    case 6: /* reload: new workers beside the old, which leave when nothing is parked */
        if (worker != NULL && sim_worker_start(world, worker->edge) != NULL) worker->exiting = true;
        break;
    case 7:
    case 8:
        if (world->service_up) sim_service_kill(world);
        break;
    case 9:
    case 10:
        world->journal.fail_next = true;
        break;
    case 11:
        world->base.away = !world->base.away;
        break;
    case 12:
        world->journal.full = !world->journal.full;
        break;
    case 13:
        if (sim_chance(random, 1, 4)) sim_edge_boot(world, sim_below(random, SIM_EDGES));
        break;
    case 14:
        world->feed_vouched = sim_chance(random, 3, 4);
        if (world->service_up) cart_hub_feeds_vouched(world->hub, true, world->feed_vouched);
        break;
    default:
        if (world->seed % 8 == 0) foreign_owner_writes(world);
        break;
    }
}

/* What is away comes back after a while: a run in which everything is refused shows nothing. */
static void mend_something(sim_world_t *world) {
    if (world->base.away && sim_chance(&world->random, 1, 150)) world->base.away = false;
    if (world->journal.full && sim_chance(&world->random, 1, 100)) world->journal.full = false;
    if (!world->feed_vouched && sim_chance(&world->random, 1, 100)) {
        world->feed_vouched = true;
        if (world->service_up) cart_hub_feeds_vouched(world->hub, true, true);
    }
}

static void step(sim_world_t *world) {
    sim_random_t *random = &world->random;
    world->step++;
    move_time(world);
    keep_workers_up(world);
    mend_something(world);
    if (!world->service_up && (world->healing || sim_chance(random, 1, 20))) sim_service_start(world);
    uint32_t what = sim_below(random, 100);
    if (what < 45) {
        sim_worker_t *worker = any_worker(world);
        if (worker != NULL) turn_worker(world, worker);
    } else if (what < 75) {
        turn_service(world);
    } else if (what < 85) {
        if (world->service_up) (void)sim_journal_complete(world); /* nothing may be under way */
    } else if (what < 92) {
        if (world->service_up) (void)sim_base_complete(world);
    } else if (!world->healing) {
        sim_client_act(world);
        if (sim_chance(random, 1, 40)) break_something(world);
    }
}

static void heal(sim_world_t *world) {
    world->healing = true;
    world->base.away = false;
    world->journal.full = false;
    world->journal.fail_next = false;
    world->feed_vouched = true;
    if (world->service_up) cart_hub_feeds_vouched(world->hub, true, true);
    for (unsigned e = 0; e < SIM_EDGES; e++) {
        for (unsigned w = 0; w < SIM_WORKERS_MAX; w++) world->edges[e].workers[w].doom = -1;
    }
    for (unsigned i = 0; i < HEAL_ROUNDS * 20 && world->violation == NULL && !sim_client_is_settled(world); i++)
        step(world);
}

void sim_world_run(sim_world_t *world) {
    unsigned steps = STEPS_MIN + sim_below(&world->random, STEPS_MAX - STEPS_MIN);
    steps *= 4; /* a client acts in one step of twelve */
    for (unsigned i = 0; i < steps && world->violation == NULL; i++) step(world);
    if (world->violation == NULL) heal(world);
    for (unsigned round = 0; round < 4 && world->violation == NULL; round++) {
        sim_client_retry_all(world);
        heal(world);
    }
    if (world->violation != NULL) return;
    sim_client_read_all(world, false);
    sim_client_read_all(world, true);
    heal(world);
    if (world->violation == NULL && world->service_up) sim_service_kill(world);
    if (world->violation == NULL) sim_client_read_all(world, true);
    if (world->violation == NULL) heal(world);
    if (world->violation == NULL) sim_check_final(world);
}

void sim_world_destroy(sim_world_t *world) {
    world->ending = true;
    if (world->service_up) {
        engine_destroy(world->engine);
        cart_hub_destroy(world->hub);
    }
    for (unsigned e = 0; e < SIM_EDGES; e++) {
        for (unsigned w = 0; w < SIM_WORKERS_MAX; w++) {
            sim_worker_t *worker = &world->edges[e].workers[w];
            if (!worker->used) continue;
            worker->doom = -1;
            cart_worker_destroy(worker->machine);
        }
    }
    /* A killed worker's memory is not freed the orderly way: whatever it was in the middle of stays as it was. The process
     * of the simulation ends soon; leak detection is off for it. */
    for (unsigned i = 0; i < SIM_WIRES_MAX; i++) {
        sim_pipe_free(&world->wires[i].up);
        sim_pipe_free(&world->wires[i].down);
    }
    sim_store_free(world);
    for (unsigned i = 0; i < world->op_count; i++) free(world->ops[i].request);
    for (unsigned u = 0; u < world->user_count; u++) free(world->users[u].truth);
    for (unsigned e = 0; e < SIM_EDGES; e++) free(world->edges[e].memory);
    free(world->ops);
    free(world->trace);
    free(world);
}
