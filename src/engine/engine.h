/*
 * The cart engine: one order for every cart (DESIGN section 5). A state machine without I/O, clock or threads: requests
 * and results go in, commits, loads, saves and answers come out. The cart service's event loop drives it, the simulator
 * drives the same code.
 *
 * Life of a request:
 *   queued ──taken up (in time? resident? else load)──▶ decided on the newest image ──commit──▶ durable ──▶ answered
 * Invariants:
 *  1. At most one commit is under way; what arrives meanwhile waits undecided, so every decision is made on durable state
 *     plus this batch. Every answer of a batch (also repeats, refusals on a cart of the batch, fetches) leaves only after
 *     the batch's commit is done, and after that of every batch before it.
 *  2. A resident cart's image is the newest. It is freed only when the base has confirmed its place.
 *  3. After COMMIT_UNKNOWN the batch's images are thrown away, its requests are refused (UNKNOWN), and nothing is decided
 *     on those carts until a load has told what is stored.
 *  4. At most one load a cart is under way, and it begins after the cart's last confirmed save.
 *  5. Memory is bounded by the table; at its limit a request that cannot be kept is refused before it is decided.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include "cart/cart_decide.h"
#include "cart/cart_hub.h"
#include "cart/cart_policy.h"
#include "engine/base.h"
#include "engine/commit_point.h"

#define ENGINE_QUEUE_MAX 65536 /* requests waiting undecided: beyond, CART_REASON_QUEUE */

typedef struct engine engine_t;

typedef struct {
    size_t memory_bytes; /* of the table of resident carts */
    cart_policy_t policy;
    uint64_t epoch, floor;
    uint32_t dirty_age_max_ms; /* no cart stays unsaved longer (while the base answers) */
    uint32_t calm_delay_ms;    /* a calm cart is saved after this */
    uint32_t release_delay_ms; /* a released one after this */
    uint32_t batch_max;        /* changes in one commit, ≤ COMMIT_SETS_MAX */
    uint64_t seed;
} engine_config_t;

/* Whatever asks: a link's request (through the hub) or the service itself (internal view, merge). */
typedef struct {
    cart_origin_t link; /* link.link ≠ 0: answered through answer() and routed to the hub by the caller */
    void *internal;     /* link.link = 0: the caller's own cookie */
} engine_origin_t;

typedef struct {
    const cart_merge_line_t *lines; /* of a merge, else NULL; borrowed until the call returns */
    unsigned line_count;
    bool repeated;
} engine_merge_report_t;

typedef struct {
    void *context;
    /* The outcome of a change: durable. image NULL where there is none to show. */
    void (*done)(void *context, const engine_origin_t *origin, const cart_id_t *user, const cart_verdict_t *verdict,
                 const cart_image_t *image);
    /* The answer to a fetch or view. */
    void (*cart)(void *context, const engine_origin_t *origin, const cart_id_t *user, const cart_verdict_t *verdict,
                 const cart_image_t *image);
    void (*merged)(void *context, const engine_origin_t *origin, const cart_verdict_t *verdict,
                   const cart_image_t *user_image, const engine_merge_report_t *report);
    /* A cart changed otherwise than by a link's done(): merge, another service's change, save that moved base_version, fork. NULL image: give seats up. */
    void (*changed)(void *context, const cart_id_t *user, const cart_image_t *image);
    bool (*known_book)(void *context, uint64_t book);
    /* Whether the list of books is complete; while false, a change that needs one is refused (FEED). NULL: always. */
    bool (*books_ready)(void *context);
    /* Rule 9: false when the token's session or user is revoked, or while the list is not vouched for (*vouched). */
    bool (*session_alive)(void *context, const cart_id_t *user, const cart_id_t *session, uint64_t issued_s,
                          bool *vouched);
    bool (*is_subscribed)(void *context, const cart_id_t *user); /* a save of it is worth a PUSH */
    void (*log)(void *context, int level, const char *event, const char *detail);
} engine_owner_t;

/* The commit point and base are borrowed; their owners are set here. Both may be NULL while only engine_replay is called:
 * a journal is replayed before its commit point exists, and the base asks for the journal's id. Then engine_attach brings
 * them, with the epoch and floor that the base told. NULL: no memory. */
engine_t *engine_create(const engine_config_t *config, commit_point_t *commit, base_t *base,
                        const engine_owner_t *owner);
void engine_attach(engine_t *engine, commit_point_t *commit, base_t *base, uint64_t epoch, uint64_t floor);
void engine_destroy(engine_t *engine);

/* Start-up: one record of the journal, oldest first, before any request. The ring of such a cart is completed from the
 * base before anything is decided on it. False: no memory (the table is too small for the journal: refuse to start). */
bool engine_replay(engine_t *engine, const commit_set_t *record);

typedef enum { ENGINE_OK, ENGINE_FULL } engine_result_t;
/* From a link, or (origin->link.link = 0) from another service: then no session is checked, every book is known, and the cart's
 * subscribers hear of it by changed(). */
engine_result_t engine_change(engine_t *engine, const engine_origin_t *origin, const cart_request_t *request,
                              uint64_t deadline_ms);
engine_result_t engine_fetch(engine_t *engine, const engine_origin_t *origin, const cart_id_t *user,
                             const cart_id_t *session /* NULL: internal, no check */, uint64_t issued_s,
                             uint64_t deadline_ms);
/* Seal, absorb, close: repeatable, counts once (rule 8). */
engine_result_t engine_merge(engine_t *engine, const engine_origin_t *origin, const cart_id_t *guest,
                             const cart_id_t *user, cart_merge_mode_t mode, uint64_t deadline_ms);
/* Undecided requests of this link are forgotten, unanswered (rule 5). */
void engine_drop_link(engine_t *engine, cart_link_t link);
/* An edge gave its seat up with a term: save soon. */
void engine_released(engine_t *engine, const cart_id_t *user, uint64_t term);

/* One turn: takes up what waits, starts a commit when none is under way, loads, saves, clearance. Call after feeding a
 * turn's input, and after polling commit point and base. now_ms: Unix milliseconds from a clock that never goes back;
 * deadlines are times of the same clock. */
void engine_turn(engine_t *engine, uint64_t now_ms);
/* When engine_turn wants to be called at the latest, ms from now (UINT32_MAX: not before something happens). */
uint32_t engine_next_ms(const engine_t *engine, uint64_t now_ms);

/* Orderly stop: no new requests (STOPPING); true once nothing is under way and everything dirty is saved or the journal
 * keeps it. */
void engine_stop(engine_t *engine);
bool engine_is_idle(const engine_t *engine);

typedef struct {
    uint64_t resident, dirty, active, queued, loading, saving;
    uint64_t bytes_total, bytes_used;
    uint64_t commits, changes, repeats, refused[16] /* by cart_reason_t */, fetches, loads, saves, forks, merges;
    uint64_t cleared_ttl, cleared_phase1, cleared_phase2;
    uint64_t oldest_dirty_ms;
    bool commit_away, base_away;
} engine_stats_t;
void engine_stats(const engine_t *engine, uint64_t now_ms, engine_stats_t *stats);
bool engine_check(engine_t *engine);

#endif
