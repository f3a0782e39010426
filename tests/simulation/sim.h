/*
 * The deterministic simulation: edges with several workers, the link, hub and engine, a journal and a base, all in one
 * process under one seeded scheduler. The code under test is the product's own (cart_zone, cart_worker, cart_hub, engine);
 * what stands in are the parts with I/O: sockets (byte pipes that delay and cut), the journal's and the base's disks,
 * nginx's glue around the zone, and the clients.
 *
 *   sim_main.c    seeds, planted bugs, what is printed
 *   sim_world.c   the scheduler: time, faults, who runs next
 *   sim_edge.c    an edge: zone, workers, what nginx's handler does with a request
 *   sim_service.c the cart service: hub and engine, started from what is durable
 *   sim_store.c   journal and base: what is durable, what is lost in a crash
 *   sim_client.c  customers: changes, reads, repeats, merges
 *   sim_check.c   the truth, and everything that is held against it
 *
 * A run is a pure function of (seed, planted bug). A violation prints the seed, the check and the last events.
 */
#ifndef SIM_H
#define SIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "cart/cart_decide.h"
#include "cart/cart_hub.h"
#include "cart/cart_worker.h"
#include "cart/cart_zone.h"
#include "engine/engine.h"

#define SIM_EDGES        2
#define SIM_WORKERS_MAX  4 /* of one edge at one time, old ones of a reload included */
#define SIM_USERS_MAX    24
#define SIM_SESSIONS     2 /* of each user */
#define SIM_OPS_MAX      4096
#define SIM_TRUTH_MAX    2048 /* changes of one cart in one run */
#define SIM_BOOKS        12
#define SIM_WORKERS_EVER 512
#define SIM_WIRES_MAX    256
#define SIM_MERGES_MAX   8
#define SIM_TRACE_LINES  400
#define SIM_TRACE_CHARS  200
#define SIM_NOTE         __attribute__((format(printf, 2, 3)))

/* ---- random ------------------------------------------------------------------------------------------------------- */
typedef struct {
    uint64_t s;
} sim_random_t;
uint64_t sim_u64(sim_random_t *r);
uint32_t sim_below(sim_random_t *r, uint32_t n); /* 0…n−1 */
bool sim_chance(sim_random_t *r, uint32_t in, uint32_t of);

/* ---- bytes on the way ---------------------------------------------------------------------------------------------- */
typedef struct {
    uint8_t *bytes;
    size_t length, capacity;
} sim_pipe_t;
void sim_pipe_put(sim_pipe_t *pipe, const uint8_t *bytes, size_t length);
void sim_pipe_drop(sim_pipe_t *pipe, size_t length);
void sim_pipe_free(sim_pipe_t *pipe);

/* ---- the truth: every durable change of one cart, in order --------------------------------------------------------- */
typedef struct {
    cart_place_t place;
    uint8_t state;
    uint8_t line_count;
    cart_line_t lines[CART_LINES_MAX];
    uint8_t id[CART_REQUEST_BYTES];
    uint64_t at_ms;
    bool keyed, acked;
} sim_change_t;

typedef struct {
    cart_id_t id;
    cart_id_t sessions[SIM_SESSIONS];
    uint64_t revoked_ms[SIM_SESSIONS]; /* 0: alive */
    sim_change_t *truth;               /* owned */
    unsigned truth_count;
    uint64_t acked_version; /* greatest version told to anybody, and when */
    uint64_t acked_ms;
    /* For the staleness check: (when, version) of acknowledged changes, ascending. */
    struct {
        uint64_t ms, version;
    } acks[SIM_TRUTH_MAX];
    unsigned ack_count;
    uint64_t edge_shown[SIM_EDGES]; /* greatest version that this edge has told anybody */
    bool has_foreign;               /* another owner has written the row in a newer epoch */
    sim_change_t foreign;
} sim_user_t;

/* ---- clients -------------------------------------------------------------------------------------------------------- */
typedef enum { SIM_READ, SIM_CHANGE } sim_op_kind_t;
typedef enum { SIM_WAITING, SIM_ANSWERED, SIM_TOLD_503, SIM_NO_ANSWER } sim_op_state_t;
typedef struct {
    sim_op_kind_t kind;
    sim_op_state_t state;
    unsigned user, session, edge;
    uint64_t worker; /* its serial: stands for the slot */
    uint64_t order;  /* parked as the n-th on that worker */
    cart_ticket_t ticket;
    cart_request_t *request; /* owned; SIM_CHANGE */
    uint64_t started_ms, ended_ms;
    uint64_t parked_ms;       /* of this very try; started_ms is of the first under the same id */
    uint64_t deadline_ms;     /* as the hub told the engine; 0: never reached it */
    uint64_t floor_same_edge; /* versions that this answer must reach, fixed at the start */
    uint64_t floor_anywhere;
    uint64_t floor_stale;
    uint8_t outcome; /* with SIM_ANSWERED */
    bool cold;       /* a read that asks the service whatever the seat says */
    bool superseded; /* asked again under the same id */
} sim_op_t;

/* ---- edge ------------------------------------------------------------------------------------------------------------ */
/* One connection. Both ends may close; what was written before is still read: so an old link's bytes can reach the service
 * after a newer link's. */
typedef struct {
    bool used, edge_open, service_open;
    cart_link_t link;
    sim_pipe_t up, down; /* edge → service, service → edge */
    uint64_t worker;     /* serial */
} sim_wire_t;

typedef struct {
    bool used, exiting;
    uint64_t serial;        /* never reused: pid and start time in one */
    cart_worker_t *machine; /* owned; a killed worker's is kept in the graveyard */
    cart_zone_t zone;       /* this process's handle */
    unsigned edge;
    int wire; /* its present connection; −1: none */
    uint64_t parked_order;
    int32_t doom; /* dies at the n-th lock or unlock from now; <0: lives */
} sim_worker_t;

typedef struct {
    void *memory; /* owned: the zone */
    size_t bytes;
    cart_zone_config_t config;
    sim_worker_t workers[SIM_WORKERS_MAX];
} sim_edge_t;

/* ---- durable ---------------------------------------------------------------------------------------------------------- */
typedef struct {
    commit_set_t set; /* pointers owned */
    unsigned user;
    unsigned segment;
} sim_record_t;

typedef struct {
    sim_record_t *records; /* owned: live, durable, in order */
    unsigned count, capacity;
    unsigned segment; /* being written */
    unsigned in_segment;
    cart_place_t forgotten[SIM_USERS_MAX];
    /* under way */
    sim_record_t *pending;
    unsigned pending_count;
    bool committing, recovering, limbo, full;
    uint64_t started_ms; /* of the last commit */
    commit_loaded_t *loads;
    unsigned load_count;
    bool fail_next;
} sim_journal_t;

typedef struct {
    bool there;
    cart_place_t place;
    uint8_t *image, *rings; /* owned */
    uint32_t image_length, rings_length;
    uint64_t changed_s;
    bool empty;
} sim_row_t;

typedef struct {
    sim_row_t rows[SIM_USERS_MAX];
    uint64_t epoch, floor;
    bool away;
    /* under way */
    base_save_t *saves;
    unsigned save_count;
    cart_id_t *loads;
    unsigned load_count;
    cart_id_t *purges;
    cart_place_t *purge_places;
    unsigned purge_count;
    bool purge_wanted;
    uint64_t purge_since_s;
} sim_base_t;

/* ---- the world ---------------------------------------------------------------------------------------------------------- */
typedef struct sim_world sim_world_t;
struct sim_world {
    sim_random_t random;
    uint64_t seed, now_ms, step;
    bool healing;                    /* the end of a run: no new faults */
    bool ending;                     /* everything is being taken down: callbacks mean nothing */
    unsigned burst_user, burst_left; /* a customer who cannot stop: many keyed changes in a row */

    unsigned user_count;
    sim_user_t users[SIM_USERS_MAX];
    sim_op_t *ops;
    unsigned op_count;

    sim_edge_t edges[SIM_EDGES];
    sim_wire_t wires[SIM_WIRES_MAX];
    uint64_t worker_serial;
    cart_worker_t *graveyard[512];
    unsigned graveyard_count;
    sim_worker_t *running; /* the worker whose code runs now: locks are taken in its name */
    jmp_buf death;         /* of the running worker */

    bool service_up;
    uint64_t service_life;
    cart_hub_t *hub;
    engine_t *engine;
    commit_point_t commit;
    commit_point_owner_t commit_owner;
    base_t base_calls;
    base_owner_t base_owner;
    bool replayed[SIM_USERS_MAX]; /* resident since the replay: its first load completes its rings */
    bool forked[SIM_USERS_MAX];   /* a save met another row: it is loaded, perhaps twice, until a save succeeds */
    bool feed_vouched;

    sim_journal_t journal;
    sim_base_t base;

    struct {
        bool under_way, done;
        unsigned guest, user;
        cart_merge_mode_t mode;
    } merges[SIM_MERGES_MAX];
    unsigned merge_count;

    /* result */
    const char *violation; /* the check's name; NULL: none */
    char detail[512];
    char (*trace)[SIM_TRACE_CHARS];
    unsigned trace_next;
    bool loud;
    struct {
        uint64_t applied, repeated, refused, hits, cold, unvouched, crashes, worker_deaths, commits, unknown, saves,
            loads, pushes_resumed, merges, cleared, mismatches, reboots_of_edges;
    } seen;
};

#define SIM_SEGMENT_RECORDS 16

sim_world_t *sim_world_create(uint64_t seed, bool loud);
void sim_world_run(sim_world_t *world);
void sim_world_destroy(sim_world_t *world);
void sim_trace(sim_world_t *world, const char *format, ...) SIM_NOTE;
/* The first violation of a run is kept; the run ends. */
void sim_violation(sim_world_t *world, const char *check, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* store */
void sim_store_attach(sim_world_t *world);     /* fills commit and base_calls */
bool sim_journal_complete(sim_world_t *world); /* finishes what is under way; false: nothing was */
bool sim_base_complete(sim_world_t *world);
void sim_store_crash(sim_world_t *world); /* what was under way is durable or not */
void sim_store_free(sim_world_t *world);

/* service */
void sim_service_start(sim_world_t *world);
void sim_service_kill(sim_world_t *world);
void sim_service_turn(sim_world_t *world);
void sim_service_accept(sim_world_t *world, sim_wire_t *wire);
void sim_service_read(sim_world_t *world, sim_wire_t *wire);

/* edge */
void sim_edge_boot(sim_world_t *world, unsigned edge); /* a new zone (master's death, reboot) */
sim_worker_t *sim_worker_start(sim_world_t *world, unsigned edge);
void sim_worker_kill(sim_world_t *world, sim_worker_t *worker);
void sim_worker_cut(sim_world_t *world, sim_worker_t *worker); /* the link breaks, at both ends */
/* Runs one piece of a worker's code; false: it died in it. */
typedef void (*sim_worker_fn)(sim_world_t *world, sim_worker_t *worker, void *argument);
bool sim_worker_run(sim_world_t *world, sim_worker_t *worker, sim_worker_fn body, void *argument);
void sim_worker_turn(sim_world_t *world, sim_worker_t *worker);
void sim_worker_read(sim_world_t *world, sim_worker_t *worker);
bool sim_worker_connect(sim_world_t *world, sim_worker_t *worker); /* when it wants to */
void sim_edge_submit(sim_world_t *world, sim_worker_t *worker, unsigned op);

/* clients */
void sim_client_act(sim_world_t *world);
void sim_client_retry_all(sim_world_t *world); /* whatever keyed request has no answer yet is asked again */
void sim_client_read_all(sim_world_t *world, bool cold);
bool sim_client_is_settled(const sim_world_t *world);
void sim_client_merge_done(sim_world_t *world, unsigned merge, const cart_verdict_t *verdict);

/* check */
int sim_user_of(const sim_world_t *world, const cart_id_t *id); /* −1: none */
void sim_check_submitted(sim_world_t *world, const cart_request_t *request, uint64_t deadline_ms);
void sim_check_durable(sim_world_t *world, const commit_set_t *set);
void sim_check_restart(sim_world_t *world);
void sim_check_saved(sim_world_t *world, unsigned user, const base_save_t *save);
void sim_check_segment_dropped(sim_world_t *world, unsigned segment);
void sim_check_base_load(sim_world_t *world, unsigned user);
void sim_check_start(sim_world_t *world, sim_op_t *op);
void sim_check_shown(sim_world_t *world, sim_op_t *op, const cart_image_t *image, const char *how, bool stale_allowed);
void sim_check_acked(sim_world_t *world, sim_op_t *op, uint8_t outcome);
void sim_check_final(sim_world_t *world);

#endif
