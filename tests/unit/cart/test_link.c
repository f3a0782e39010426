/*
 * Both ends of the link back to back under one seeded scheduler: two edges with two workers each, one service with a toy
 * engine (decides in memory, "syncs" later, forgets what was not synced when it dies). Bytes arrive late and in pieces,
 * links are cut (either end may notice first), workers are killed at any lock of the zone, the service restarts.
 *
 * Held against the history:
 *   answers    every ticket gets exactly one answer, cancelled and killed ones none; what was confirmed is durable, once
 *   images     whatever is shown was durable, with exactly these lines
 *   rule 6     a seat shown as current is not older than any answer that this edge gave before, and has every change that
 *              was durable stale_max ago
 *   rule 5     a request told 503 is not applied after a later change of its slot was answered
 */
#include "unit/cart/seeded.h"

#include "cart/cart_decide.h"
#include "cart/cart_hub.h"
#include "cart/cart_recent.h"
#include "cart/cart_worker.h"
#include "cart/cart_worker_state.h"
#include "cart/cart_zone_memory.h"

#define EDGES        2
#define WORKERS      2 /* of each edge */
#define USERS        12
#define STALE_MAX_MS 400
#define PIPE_MAX     (1 << 20)
#define REQUESTS_MAX 8192
#define VERSIONS_MAX 4096
#define ZONE_BYTES   (1 << 20)
#define BATCH_MAX    4096
#define DEAD_MAX     1024

typedef struct {
    uint8_t *bytes;
    size_t length;
} channel_t;

/* One connection; it outlives whichever end closes first. */
typedef struct {
    bool used;
    bool edge_open, service_open; /* each end's view */
    int edge, worker;
    cart_link_t link;
    channel_t up, down;
} pipe_t;

typedef struct {
    uint8_t id[CART_REQUEST_BYTES];
    int user;
    cart_request_t request;
    bool applied_durably;
    bool told_late;
    bool retried;
    uint64_t told_at; /* sequence */
    uint16_t slot;
    int edge;
} asked_t;

typedef struct {
    bool live;
    bool is_fetch;
    bool cancelled;
    cart_ticket_t ticket;
    int user;
    int asked; /* index; −1: fetch */
    uint64_t parked_at;
} waiting_t;

typedef struct {
    bool alive;
    cart_worker_t *worker;
    uint32_t pid;
    pipe_t *pipe;
    waiting_t waiting[256];
    unsigned waiting_count;
    unsigned answers_due;
} side_t;

typedef struct {
    int index;
    cart_zone_t zone;
    void *memory;
    side_t sides[WORKERS];
    uint64_t floor[USERS];                        /* the greatest version that this edge has shown */
    uint64_t answered_after[CART_ZONE_SLOTS_MAX]; /* greatest parked_at of a change answered on the slot */
} edge_t;

typedef struct {
    bool is_fetch;
    cart_origin_t origin;
    int user;
    int asked;
    uint64_t deadline_ms;
    cart_verdict_t verdict;
    cart_image_t image;
    bool applied;
} job_t;

typedef struct {
    cart_image_t image;
    uint8_t rings[4096];
    size_t rings_length;
} toy_cart_t;

typedef struct {
    uint64_t durable_ms; /* when the version became durable */
    cart_image_t image;
} version_t;

typedef struct {
    uint64_t now_ms;
    uint64_t sequence;
    uint32_t next_pid;
    cart_id_t users[USERS];
    edge_t edges[EDGES];
    pipe_t pipes[32];
    cart_hub_t *hub;
    job_t queue[BATCH_MAX], batch[BATCH_MAX];
    unsigned queued, batched;
    toy_cart_t decided[USERS], durable[USERS];
    version_t versions[USERS][VERSIONS_MAX];
    asked_t asked[REQUESTS_MAX];
    unsigned asked_count;
    long kill_at;     /* locks until the running worker is killed; negative: never */
    uint32_t running; /* pid whose code runs */
    jmp_buf killed;
    cart_worker_t *dead[DEAD_MAX];
    unsigned dead_count;
    unsigned hits, unvouched, kills, torn, cuts, restarts, answers, late;
    uint64_t replays, gaps, pushes;
} world_t;

static world_t *world;

/* ---- locks: a killed worker leaves them held ----------------------------------------------------------------------- */

typedef struct {
    uint32_t owner; /* pid; 0: free */
} test_lock_t;

static bool pid_lives(uint32_t pid) {
    for (int e = 0; e < EDGES; e++)
        for (int w = 0; w < WORKERS; w++)
            if (world->edges[e].sides[w].alive && world->edges[e].sides[w].pid == pid) return true;
    return pid == UINT32_MAX; /* the test itself */
}

static void maybe_kill(void) {
    if (world->kill_at < 0 || world->running == UINT32_MAX) return;
    if (world->kill_at-- == 0) longjmp(world->killed, 1);
}

static void lock_init(void *context, void *lock) {
    (void)context;
    ((test_lock_t *)lock)->owner = 0;
}

static cart_lock_result_t lock_lock(void *context, void *lock) {
    (void)context;
    maybe_kill();
    test_lock_t *mutex = lock;
    bool died = mutex->owner != 0;
    if (died) assert_false(pid_lives(mutex->owner));
    mutex->owner = world->running;
    maybe_kill();
    return died ? CART_LOCK_OWNER_DIED : CART_LOCK_OK;
}

static void lock_unlock(void *context, void *lock) {
    (void)context;
    maybe_kill();
    ((test_lock_t *)lock)->owner = 0;
    maybe_kill();
}

static bool lock_alive(void *context, uint32_t pid, uint64_t started) {
    (void)context;
    (void)started;
    return pid_lives(pid);
}

/* ---- checks -------------------------------------------------------------------------------------------------------- */

static int user_index(const cart_id_t *user) {
    for (int i = 0; i < USERS; i++)
        if (cart_id_equal(&world->users[i], user)) return i;
    fail_msg("unknown user");
    return -1;
}

/* The image was durable, with these lines; base_version may be any. */
static void check_confirmed(int user, const cart_image_t *image) {
    assert_true(image->place.version < VERSIONS_MAX);
    assert_true(image->place.version <= world->durable[user].image.place.version);
    cart_image_t expected = world->versions[user][image->place.version].image;
    assert_true(image->base_version >= expected.base_version);
    expected.base_version = image->base_version;
    assert_images_equal(image, &expected);
}

static void check_current(edge_t *edge, int user, const cart_image_t *image) {
    check_confirmed(user, image);
    uint64_t version = image->place.version;
    assert_true(version >= edge->floor[user]);
    uint64_t durable = world->durable[user].image.place.version;
    for (uint64_t newer = version + 1; newer <= durable; newer++) {
        /* Whatever it does not show became durable less than stale_max ago. */
        uint64_t at_ms = world->versions[user][newer].durable_ms;
        if (at_ms + STALE_MAX_MS < world->now_ms)
            fail_msg("user %d: shown %lu as current, but %lu is durable since %lu ms", user, (unsigned long)version,
                     (unsigned long)newer, (unsigned long)(world->now_ms - at_ms));
    }
}

static void shown(edge_t *edge, int user, uint64_t version) {
    if (version > edge->floor[user]) edge->floor[user] = version;
}

/* ---- the edge's owner ---------------------------------------------------------------------------------------------- */

static void on_answered(void *context, cart_ticket_t ticket, const cart_answer_t *answer) {
    side_t *side = context;
    edge_t *edge = NULL;
    for (int e = 0; e < EDGES; e++)
        if (side >= world->edges[e].sides && side < world->edges[e].sides + WORKERS) edge = &world->edges[e];
    waiting_t *waiting = NULL;
    for (unsigned i = 0; i < side->waiting_count; i++)
        if (side->waiting[i].live && side->waiting[i].ticket == ticket) waiting = &side->waiting[i];
    assert_non_null(waiting); /* a second answer, or one for a cancelled ticket */
    waiting->live = false;
    world->answers++;
    int user = waiting->user;
    if (answer->has_image) {
        check_confirmed(user, &answer->image);
        shown(edge, user, answer->image.place.version);
    }
    uint8_t outcome = answer->verdict.outcome;
    if (waiting->asked < 0) return;
    asked_t *asked = &world->asked[waiting->asked];
    if (outcome == CART_APPLIED || outcome == CART_REPEATED) assert_true(asked->applied_durably);
    if (outcome == CART_REFUSED && answer->verdict.reason == CART_REASON_LATE) {
        world->late++;
        asked->told_late = true;
        asked->told_at = ++world->sequence;
        asked->slot = side->worker->slot;
        asked->edge = edge->index;
    } else if (side->worker->has_slot && outcome != CART_REFUSED) {
        uint64_t *after = &edge->answered_after[side->worker->slot];
        if (waiting->parked_at > *after) *after = waiting->parked_at;
    }
}

static void start_worker(edge_t *edge, side_t *side) {
    memset(side, 0, sizeof(*side));
    side->pid = ++world->next_pid;
    side->alive = true;
    const cart_worker_config_t config = {.write_timeout_ms = 150,
                                         .ping_interval_ms = 30,
                                         .link_timeout_ms = 200,
                                         .reconnect_min_ms = 5,
                                         .reconnect_max_ms = 40,
                                         .lease_ms = 60,
                                         .pid = side->pid,
                                         .started = side->pid,
                                         .seed = seeded_u64()};
    const cart_worker_owner_t owner = {.context = side, .answered = on_answered};
    side->worker = cart_worker_create(&edge->zone, &config, &owner);
    assert_non_null(side->worker);
}

/* ---- the toy engine ------------------------------------------------------------------------------------------------ */

static bool on_change(void *context, const cart_origin_t *origin, const cart_request_t *request, uint64_t deadline_ms) {
    (void)context;
    if (seeded_chance(50)) return false;
    assert_true(world->queued < BATCH_MAX);
    job_t *job = &world->queue[world->queued++];
    memset(job, 0, offsetof(job_t, image));
    job->origin = *origin;
    job->user = user_index(&request->user);
    job->deadline_ms = deadline_ms;
    job->applied = false;
    job->asked = -1;
    for (unsigned i = 0; i < world->asked_count; i++)
        if (memcmp(world->asked[i].id, request->request_id, CART_REQUEST_BYTES) == 0) job->asked = (int)i;
    assert_true(job->asked >= 0);
    assert_int_equal(request->digest, world->asked[job->asked].request.digest);
    return true;
}

static bool on_fetch(void *context, const cart_origin_t *origin, const cart_id_t *user, const cart_id_t *session,
                     uint64_t issued_s, uint64_t deadline_ms) {
    (void)context;
    (void)session;
    assert_int_equal(issued_s, 77);
    if (seeded_chance(50)) return false;
    assert_true(world->queued < BATCH_MAX);
    job_t *job = &world->queue[world->queued++];
    memset(job, 0, offsetof(job_t, image));
    job->is_fetch = true;
    job->origin = *origin;
    job->user = user_index(user);
    job->deadline_ms = deadline_ms;
    job->applied = false;
    return true;
}

static void on_drop_link(void *context, cart_link_t link) {
    (void)context;
    unsigned kept = 0;
    for (unsigned i = 0; i < world->queued; i++)
        if (world->queue[i].origin.link != link) world->queue[kept++] = world->queue[i];
    world->queued = kept;
}

static void decide(job_t *job) {
    toy_cart_t *cart = &world->decided[job->user];
    job->verdict = (cart_verdict_t){.outcome = CART_APPLIED};
    if (world->now_ms > job->deadline_ms) {
        job->verdict = (cart_verdict_t){.outcome = CART_REFUSED, .reason = CART_REASON_LATE};
        cart_image_copy(&job->image, &cart->image);
        return;
    }
    if (job->is_fetch) {
        cart_image_copy(&job->image, &cart->image);
        return;
    }
    asked_t *asked = &world->asked[job->asked];
    cart_image_t after;
    uint32_t now_s = 1000 + (uint32_t)(world->now_ms / 1000);
    job->verdict =
        cart_decide(&cart->image, cart->rings, cart->rings_length, &asked->request, now_s, NULL, NULL, &after);
    cart_image_copy(&job->image, &after);
    if (job->verdict.outcome != CART_APPLIED) return;
    job->applied = true;
    if (asked->told_late && !asked->retried)
        assert_true(world->edges[asked->edge].answered_after[asked->slot] <= asked->told_at);
    cart_image_copy(&cart->image, &after);
    cart_recent_id_t id = {.digest = asked->request.digest, .at_s = now_s, .keyed = true};
    memcpy(id.id, asked->id, sizeof(id.id));
    uint8_t rings[4096];
    size_t length = cart_recent_add(cart->rings, cart->rings_length, &id, now_s, rings, sizeof(rings));
    assert_true(length > 0);
    memcpy(cart->rings, rings, length);
    cart->rings_length = length;
}

static void engine_decide(void) {
    for (unsigned i = 0; i < world->queued && world->batched < BATCH_MAX; i++) {
        job_t *job = &world->batch[world->batched++];
        *job = world->queue[i];
        decide(job);
    }
    world->queued = 0;
}

/* Everything decided becomes durable, then everything is said. */
static void engine_sync(void) {
    for (unsigned i = 0; i < world->batched; i++) {
        job_t *job = &world->batch[i];
        if (!job->applied) continue;
        asked_t *asked = &world->asked[job->asked];
        assert_false(asked->applied_durably); /* once */
        asked->applied_durably = true;
        version_t *version = &world->versions[job->user][job->image.place.version];
        version->durable_ms = world->now_ms;
        cart_image_copy(&version->image, &job->image);
    }
    for (int u = 0; u < USERS; u++) world->durable[u] = world->decided[u];
    unsigned count = world->batched;
    world->batched = 0;
    for (unsigned i = 0; i < count; i++) {
        job_t *job = &world->batch[i];
        const cart_id_t *user = &world->users[job->user];
        bool bare = job->verdict.outcome == CART_REFUSED;
        if (job->is_fetch)
            cart_hub_cart(world->hub, &job->origin, user, &job->verdict, bare ? NULL : &job->image);
        else
            cart_hub_done(world->hub, &job->origin, user, &job->verdict, bare ? NULL : &job->image);
    }
}

static void engine_save(void) {
    int u = (int)seeded_below(USERS);
    toy_cart_t *cart = &world->durable[u];
    if (world->batched > 0) return; /* the toy saves only what is durable and newest */
    if (cart->image.base_version == cart->image.place.version) return;
    cart->image.base_version = cart->image.place.version;
    world->decided[u].image.base_version = cart->image.base_version;
    cart_hub_changed(world->hub, &world->users[u], &cart->image);
}

static void engine_end_seats(void) {
    cart_hub_changed(world->hub, &world->users[seeded_below(USERS)], NULL);
}

static void start_service(void) {
    const cart_hub_config_t config = {.incarnation = seeded_id(),
                                      .epoch = 1,
                                      .shared = false,
                                      .ping_timeout_ms = 200,
                                      .subscriptions_max = seeded_chance(3) ? 3 : 100,
                                      .seed = seeded_u64()};
    const cart_hub_engine_t engine = {.change = on_change, .fetch = on_fetch, .drop_link = on_drop_link};
    world->hub = cart_hub_create(&config, &engine);
    assert_non_null(world->hub);
}

/* ---- transport ----------------------------------------------------------------------------------------------------- */

static void put(channel_t *channel, const uint8_t *bytes, size_t length) {
    assert_true(channel->length + length <= PIPE_MAX);
    memcpy(channel->bytes + channel->length, bytes, length);
    channel->length += length;
}

static size_t piece(const channel_t *channel) {
    if (channel->length == 0) return 0;
    if (seeded_chance(2)) return channel->length;
    return 1 + seeded_below((uint32_t)channel->length);
}

static void took(channel_t *channel, size_t length) {
    channel->length -= length;
    memmove(channel->bytes, channel->bytes + length, channel->length);
}

static void free_pipe(pipe_t *pipe) {
    if (pipe->edge_open || pipe->service_open) return;
    free(pipe->up.bytes);
    free(pipe->down.bytes);
    memset(pipe, 0, sizeof(*pipe));
}

static void edge_closes(pipe_t *pipe) {
    pipe->edge_open = false;
    free_pipe(pipe);
}

static void service_closes(pipe_t *pipe) {
    if (!pipe->service_open) return;
    cart_hub_closed(world->hub, pipe->link, world->now_ms);
    pipe->service_open = false;
    free_pipe(pipe);
}

/* What a process was writing when it died under a shard's lock is anything. */
static void tear(edge_t *edge, uint32_t pid) {
    cart_zone_memory_t *memory = edge->zone.memory;
    for (unsigned i = 0; i < memory->shards; i++) {
        uint8_t *shard = (uint8_t *)memory + memory->shard_first + i * memory->shard_bytes;
        if (((test_lock_t *)(void *)shard)->owner != pid) continue;
        world->torn++;
        for (unsigned n = 0; n < 2000; n++) {
            uint64_t behind = memory->shard_bytes - sizeof(cart_zone_shard_t);
            uint64_t at = sizeof(cart_zone_shard_t) + seeded_u64() % (seeded_chance(2) ? behind : behind / 16);
            shard[at] = (uint8_t)seeded_u64();
        }
    }
}

/* Runs `code` as the worker's process: a kill inside ends it, and everything of it, right there. */
static void worker_died(edge_t *edge, side_t *side) {
    world->kills++;
    tear(edge, side->pid);
    world->running = UINT32_MAX;
    world->kill_at = -1;
    world->dead[world->dead_count++] = side->worker;
    if (side->pipe != NULL) edge_closes(side->pipe);
    side->alive = false;
    assert_true(world->dead_count < DEAD_MAX);
    start_worker(edge, side);
}

#define AS_WORKER(edge, side, code)                                                                                    \
    do {                                                                                                               \
        world->running = (side)->pid;                                                                                  \
        if (setjmp(world->killed) == 0) {                                                                              \
            code;                                                                                                      \
            world->running = UINT32_MAX;                                                                               \
        } else {                                                                                                       \
            worker_died(edge, side);                                                                                   \
        }                                                                                                              \
    } while (0)

static void worker_connect(side_t *side, int edge, int worker) {
    pipe_t *pipe = NULL;
    for (unsigned i = 0; i < 32 && pipe == NULL; i++)
        if (!world->pipes[i].used) pipe = &world->pipes[i];
    if (pipe == NULL) return;
    cart_worker_connecting(side->worker, world->now_ms);
    cart_link_t link = cart_hub_opened(world->hub, world->now_ms);
    assert_true(link != 0);
    *pipe =
        (pipe_t){.used = true, .edge_open = true, .service_open = true, .edge = edge, .worker = worker, .link = link};
    pipe->up.bytes = malloc(PIPE_MAX);
    pipe->down.bytes = malloc(PIPE_MAX);
    assert_true(pipe->up.bytes != NULL && pipe->down.bytes != NULL);
    side->pipe = pipe;
    cart_worker_connected(side->worker, world->now_ms);
}

static void worker_lost(side_t *side) {
    if (side->pipe != NULL) {
        pipe_t *pipe = side->pipe;
        side->pipe = NULL;
        edge_closes(pipe);
    }
    cart_worker_disconnected(side->worker, world->now_ms);
}

static void worker_turn(side_t *side, int edge, int worker) {
    (void)cart_worker_tick(side->worker, world->now_ms);
    if (side->pipe == NULL && cart_worker_wants_connect(side->worker, world->now_ms)) {
        worker_connect(side, edge, worker);
        if (side->pipe == NULL) return;
    }
    if (side->pipe == NULL) return;
    if (cart_worker_wants_close(side->worker)) {
        worker_lost(side);
        return;
    }
    const uint8_t *bytes;
    size_t length = cart_worker_output(side->worker, world->now_ms, &bytes);
    if (length > 0) {
        size_t part = seeded_chance(4) ? 1 + seeded_below((uint32_t)length) : length;
        put(&side->pipe->up, bytes, part);
        cart_worker_sent(side->worker, part);
    }
}

static void worker_reads(side_t *side) {
    pipe_t *pipe = side->pipe;
    if (pipe == NULL) return;
    size_t length = piece(&pipe->down);
    if (length == 0) {
        if (!pipe->service_open) worker_lost(side); /* end of file */
        return;
    }
    static uint8_t bytes[PIPE_MAX]; /* a kill leaves from here: nothing may be owned */
    memcpy(bytes, pipe->down.bytes, length);
    took(&pipe->down, length);
    bool good = cart_worker_received(side->worker, bytes, length, world->now_ms);
    assert_true(good);
}

static void hub_turn(void) {
    bool close;
    cart_link_t link;
    while ((link = cart_hub_next_ready(world->hub, &close)) != 0) {
        for (unsigned i = 0; i < 32; i++) {
            pipe_t *pipe = &world->pipes[i];
            if (!pipe->used || !pipe->service_open || pipe->link != link) continue;
            const uint8_t *bytes;
            size_t length = cart_hub_output(world->hub, link, &bytes);
            if (length > 0) put(&pipe->down, bytes, length);
            cart_hub_sent(world->hub, link, length);
            if (close) service_closes(pipe);
            break;
        }
    }
}

static void hub_reads(pipe_t *pipe) {
    if (!pipe->used || !pipe->service_open) return;
    size_t length = piece(&pipe->up);
    if (length == 0) {
        if (!pipe->edge_open) service_closes(pipe); /* end of file */
        return;
    }
    assert_true(cart_hub_received(world->hub, pipe->link, pipe->up.bytes, length, world->now_ms));
    took(&pipe->up, length);
    hub_turn();
}

static void restart_service(void) {
    world->restarts++;
    cart_hub_stats_t stats;
    cart_hub_stats(world->hub, &stats);
    world->replays += stats.replays;
    world->gaps += stats.gaps;
    world->pushes += stats.pushes;
    cart_hub_destroy(world->hub);
    world->queued = 0;
    world->batched = 0;
    for (int u = 0; u < USERS; u++) world->decided[u] = world->durable[u];
    for (unsigned i = 0; i < 32; i++) {
        if (!world->pipes[i].used) continue;
        world->pipes[i].service_open = false;
        free_pipe(&world->pipes[i]);
    }
    start_service();
}

/* ---- clients ------------------------------------------------------------------------------------------------------- */

static waiting_t *new_waiting(side_t *side) {
    for (unsigned i = 0; i < side->waiting_count; i++)
        if (!side->waiting[i].live) return &side->waiting[i];
    if (side->waiting_count == 256) return NULL;
    return &side->waiting[side->waiting_count++];
}

static int new_request(int user) {
    if (world->asked_count == REQUESTS_MAX) return -1;
    asked_t *asked = &world->asked[world->asked_count];
    memset(asked, 0, sizeof(*asked));
    asked->user = user;
    cart_id_t id = seeded_id();
    memcpy(asked->id, id.bytes, sizeof(asked->id));
    cart_request_t *request = &asked->request;
    request->user = world->users[user];
    request->session = seeded_id();
    request->issued_s = 77;
    memcpy(request->request_id, asked->id, sizeof(asked->id));
    request->digest = seeded_u64();
    request->keyed = true;
    request->change_count = (uint16_t)(1 + seeded_below(seeded_chance(10) ? 30 : 2));
    for (unsigned i = 0; i < request->change_count; i++)
        request->changes[i] =
            (cart_change_t){.book = 1 + seeded_below(40), .quantity = (int)seeded_below(4), .op = CART_SET};
    return (int)world->asked_count++;
}

static void client_change(side_t *side, int edge) {
    (void)edge;
    waiting_t *waiting = new_waiting(side);
    if (waiting == NULL) return;
    int index = -1;
    if (world->asked_count > 0 && seeded_chance(4)) {
        index = (int)(world->asked_count - 1 - seeded_below(world->asked_count < 20 ? world->asked_count : 20));
        if (!world->asked[index].told_late) index = -1;
    }
    if (index >= 0)
        world->asked[index].retried = true;
    else
        index = new_request((int)seeded_below(USERS));
    if (index < 0) return;
    cart_ticket_t ticket;
    assert_int_equal(cart_worker_change(side->worker, &world->asked[index].request, world->now_ms, &ticket),
                     CART_WORKER_OK);
    *waiting = (waiting_t){.live = true,
                           .ticket = ticket,
                           .user = world->asked[index].user,
                           .asked = index,
                           .parked_at = ++world->sequence};
}

static void client_read(edge_t *edge, side_t *side) {
    int user = (int)seeded_below(USERS);
    cart_image_t image;
    cart_seat_info_t info;
    cart_seat_found_t found = cart_zone_read(&edge->zone, &world->users[user], world->now_ms, true, &image, &info);
    if (found == CART_SEAT_HIT) {
        world->hits++;
        check_current(edge, user, &image);
        shown(edge, user, image.place.version);
        return;
    }
    if (found == CART_SEAT_UNVOUCHED) world->unvouched++;
    bool seat = found != CART_SEAT_NONE || cart_zone_note(&edge->zone, &world->users[user], world->now_ms);
    waiting_t *waiting = new_waiting(side);
    if (waiting == NULL) return;
    cart_ticket_t ticket;
    const cart_id_t session = seeded_id();
    assert_int_equal(cart_worker_fetch(side->worker, &world->users[user], &session, 77, seat, world->now_ms, &ticket),
                     CART_WORKER_OK);
    *waiting = (waiting_t){
        .live = true, .is_fetch = true, .ticket = ticket, .user = user, .asked = -1, .parked_at = ++world->sequence};
}

static void client_leaves(side_t *side) {
    if (side->waiting_count == 0) return;
    waiting_t *waiting = &side->waiting[seeded_below(side->waiting_count)];
    if (!waiting->live) return;
    cart_worker_cancel(side->worker, waiting->ticket);
    waiting->live = false; /* an answer now is a failure */
}

/* ---- the world ----------------------------------------------------------------------------------------------------- */

static void start_world(void) {
    world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->kill_at = -1;
    world->running = UINT32_MAX;
    world->now_ms = 5000;
    for (int u = 0; u < USERS; u++) {
        world->users[u] = seeded_id();
        world->decided[u].image.place = (cart_place_t){.epoch = 1, .version = 1};
        world->durable[u] = world->decided[u];
        cart_image_copy(&world->versions[u][1].image, &world->durable[u].image);
    }
    start_service();
    for (int e = 0; e < EDGES; e++) {
        edge_t *edge = &world->edges[e];
        edge->index = e;
        edge->memory = seeded_map(ZONE_BYTES);
        edge->zone.locks =
            (cart_zone_locks_t){.init = lock_init, .lock = lock_lock, .unlock = lock_unlock, .alive = lock_alive};
        cart_policy_defaults(&edge->zone.config.policy);
        edge->zone.config.shards = seeded_chance(2) ? 1 : 4;
        edge->zone.config.stale_max_ms = STALE_MAX_MS;
        const cart_id_t incarnation = seeded_id();
        assert_true(cart_zone_init(&edge->zone, edge->memory, ZONE_BYTES, &incarnation, seeded_u64()));
        for (int w = 0; w < WORKERS; w++) start_worker(edge, &edge->sides[w]);
    }
}

static void free_dead_worker(cart_worker_t *worker) {
    parked_destroy(worker);
    cart_out_deinit(&worker->out);
    free(worker->releases);
    free(worker->in);
    free(worker);
}

static void end_world(void) {
    for (int e = 0; e < EDGES; e++) {
        for (int w = 0; w < WORKERS; w++) {
            side_t *side = &world->edges[e].sides[w];
            world->running = side->pid;
            assert_true(parked_check(side->worker));
            cart_worker_destroy(side->worker);
            world->running = UINT32_MAX;
            side->alive = false;
            for (unsigned i = 0; i < side->waiting_count; i++) assert_false(side->waiting[i].live);
        }
        assert_true(cart_zone_check(&world->edges[e].zone));
        assert_int_equal(munmap(world->edges[e].memory, ZONE_BYTES), 0);
    }
    for (unsigned i = 0; i < world->dead_count; i++) free_dead_worker(world->dead[i]);
    for (unsigned i = 0; i < 32; i++) {
        free(world->pipes[i].up.bytes);
        free(world->pipes[i].down.bytes);
    }
    cart_hub_destroy(world->hub);
}

static void step(unsigned busy, unsigned deadly) {
    if (seeded_chance(3)) world->now_ms += seeded_below(seeded_chance(300) ? 300 : 4);
    int e = (int)seeded_below(EDGES);
    int w = (int)seeded_below(WORKERS);
    edge_t *edge = &world->edges[e];
    side_t *side = &edge->sides[w];
    world->kill_at = seeded_chance(deadly) ? (long)seeded_below(seeded_chance(2) ? 2 : 12) : -1;
    switch (seeded_below(16)) {
    case 0:
    case 1:
        if (seeded_chance(busy)) AS_WORKER(edge, side, client_change(side, e));
        break;
    case 2:
    case 3:
        AS_WORKER(edge, side, client_read(edge, side));
        break;
    case 4:
    case 5:
    case 6:
        AS_WORKER(edge, side, worker_turn(side, e, w));
        break;
    case 7:
    case 8:
    case 9:
        AS_WORKER(edge, side, worker_reads(side));
        break;
    case 10:
    case 11:
    case 12:
        hub_reads(&world->pipes[seeded_below(32)]);
        hub_reads(&world->pipes[seeded_below(8)]);
        break;
    case 13:
        engine_decide();
        break;
    case 14:
        engine_sync();
        (void)cart_hub_tick(world->hub, world->now_ms);
        hub_turn();
        break;
    default:
        if (seeded_chance(3)) {
            engine_save();
        } else if (seeded_chance(20)) {
            engine_end_seats();
        } else if (seeded_chance(8)) {
            AS_WORKER(edge, side, client_leaves(side));
        } else if (seeded_chance(15)) {
            world->cuts++;
            AS_WORKER(edge, side, worker_lost(side));
        } else if (seeded_chance(60)) {
            restart_service();
        }
        hub_turn();
    }
    world->kill_at = -1;
}

static void run_world(unsigned steps) {
    start_world();
    /* In a quiet world a lost PUSH is not soon made good by the next one. */
    unsigned busy = seeded_chance(2) ? 2 : 12;
    unsigned deadly = seeded_chance(2) ? 40 : 400;
    for (unsigned i = 0; i < steps; i++) step(busy, deadly);
    end_world();
}

static void the_link_keeps_its_promises(void **state) {
    (void)state;
    seeded_start("link");
    unsigned long hits = 0, unvouched = 0, kills = 0, torn = 0, cuts = 0, restarts = 0, answers = 0, late = 0;
    uint64_t replays = 0, gaps = 0, pushes = 0;
    unsigned long rounds = seeded_rounds(600);
    for (unsigned long i = 0; i < rounds; i++) {
        uint64_t seed = seeded_state;
        printf("round %lu: BOOKCART_SEED=%llu BOOKCART_ROUNDS=1\r", i, (unsigned long long)seed);
        (void)fflush(stdout); /* only so that a crash shows its seed */
        run_world(6000);
        hits += world->hits;
        unvouched += world->unvouched;
        kills += world->kills;
        torn += world->torn;
        cuts += world->cuts;
        restarts += world->restarts;
        answers += world->answers;
        late += world->late;
        replays += world->replays;
        gaps += world->gaps;
        pushes += world->pushes;
        free(world);
        world = NULL;
    }
    printf("\n%lu hits, %lu unvouched, %lu answers, %lu late, %lu kills (%lu in a lock), %lu cuts, %lu restarts; "
           "before a restart: %llu "
           "pushes, %llu replayed, %llu gaps\n",
           hits, unvouched, answers, late, kills, torn, cuts, restarts, (unsigned long long)pushes,
           (unsigned long long)replays, (unsigned long long)gaps);
    if (rounds < 10) return;
    /* A run that never met what it is about proves nothing. */
    assert_true(hits > 0 && unvouched > 0 && kills > 0 && torn > 0 && cuts > 0 && restarts > 0 && late > 0 &&
                answers > 0);
    assert_true(replays > 0 && gaps > 0 && pushes > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_link_keeps_its_promises)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
