/*
 * A commit point: where a cart's change becomes durable, and so decided for good. The local journal is one; a Redis
 * function that compares versions or MySQL's compare-and-set fit behind the same few calls (DESIGN section 5).
 *
 * All calls start something and return at once; results come through commit_point_owner_t on the engine's thread, when
 * the engine's loop calls poll(). A commit point may use threads inside; the engine never sees them.
 *
 * One commit is under way at a time; the next batch gathers meanwhile. Loads may run beside it.
 */
#ifndef ENGINE_COMMIT_POINT_H
#define ENGINE_COMMIT_POINT_H

#include "cart/cart_recent.h"
#include "cart/cart_types.h"

/* One compare-and-set: the cart goes from `expected` to `image`. Borrowed until the commit's result was delivered. */
typedef struct {
    cart_id_t user;
    cart_place_t expected; /* the place of the image it was decided on; (0,0): the cart was nowhere */
    const uint8_t *image;  /* packed, the outcome */
    uint32_t image_length;
    const cart_recent_id_t *added; /* the ids that this change adds to the rings (one; a merge adds several) */
    uint32_t added_count;
    uint64_t base_version; /* what the base is known to hold, for the record */
} commit_set_t;

typedef enum {
    COMMIT_DONE = 1,     /* durable */
    COMMIT_CONFLICT = 2, /* somebody else's image is newer: it comes along; nothing of this set was stored */
    COMMIT_UNKNOWN = 3,  /* may or may not be stored. Nothing is decided on the cart until a load has told */
    COMMIT_REFUSED = 4,  /* certainly not stored: no room (disk full, at its limit) */
} commit_result_t;

typedef enum {
    COMMIT_LOAD_CONFIRMED = 1, /* the newest that was reported as COMMIT_DONE to this engine is the newest there is */
    COMMIT_LOAD_IMAGE = 2,     /* here is the newest, with its rings */
    COMMIT_LOAD_NONE = 3,      /* not here: the base's row is the newest */
    COMMIT_LOAD_FAILED = 4,    /* away: ask again later */
} commit_load_result_t;

typedef struct {
    cart_id_t user;
    commit_load_result_t result;
    const uint8_t *image; /* with COMMIT_LOAD_IMAGE, borrowed until the call returns */
    uint32_t image_length;
    const uint8_t *rings;
    uint32_t rings_length;
} commit_loaded_t;

/* A cart whose row in the base is confirmed at (epoch, version): the commit point may forget it up to there. */
typedef struct {
    cart_id_t user;
    cart_place_t place;
} commit_forget_t;

typedef struct {
    uint64_t bytes_used, bytes_limit; /* bytes_limit 0: unbounded */
    uint64_t segments;
    uint64_t oldest_age_ms; /* of the oldest record that cannot be dropped yet; 0: none */
    uint64_t syncs, sync_failures, records;
    bool accepts;    /* false: failed and recovering, or no room */
    bool recovering; /* a commit failed and what is stored is being found out: nothing is answered */
} commit_room_t;

typedef struct {
    void *context;
    /* results[i] belongs to sets[i] of the commit; newer[i] is set with COMMIT_CONFLICT (newer may be NULL when there is
     * none). All sets of one cart in one commit share one result. Delivered by poll(), never from inside commit(). */
    void (*committed)(void *context, const commit_result_t *results, const commit_loaded_t *newer, unsigned count);
    void (*loaded)(void *context, const commit_loaded_t *loaded, unsigned count);
    void (*log)(void *context, int level, const char *event, const char *detail);
} commit_point_owner_t;

typedef struct commit_point commit_point_t;
struct commit_point {
    void *state;
    bool shared; /* false: this engine is its only user (HELLO says `sole`) */

    void (*set_owner)(void *state, const commit_point_owner_t *owner);
    /* Starts one commit of count sets (at most COMMIT_SETS_MAX). False: one is under way, or it is recovering. */
    bool (*commit)(void *state, const commit_set_t *sets, unsigned count, uint64_t now_ms);
    /* Asks for the newest image of these carts. */
    bool (*load)(void *state, const cart_id_t *users, unsigned count, uint64_t now_ms);
    void (*forget)(void *state, const commit_forget_t *carts, unsigned count);
    void (*room)(void *state, commit_room_t *room, uint64_t now_ms);
    /* Delivers what is ready. fd() turns readable when there is something (−1: only poll tells). */
    void (*poll)(void *state, uint64_t now_ms);
    int (*fd)(void *state);
    /* From its return on, and for `ms`, nothing is written, so that the files can be copied; what is asked meanwhile waits. 0 lets go
     * before the time is over; again extends. Waits for one piece of work at most. Any thread. NULL: it has no files of ours. */
    void (*hold)(void *state, unsigned ms);
    void (*destroy)(void *state); /* waits for what is under way */
};
#define COMMIT_SETS_MAX 4096

#endif
