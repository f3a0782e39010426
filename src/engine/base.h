/*
 * A base: the database that holds every cart at last. One row a cart: user, epoch, version, image, rings, changed at.
 * SQLite is one; MySQL fits behind the same calls. Calls start something; results come on the engine's thread by poll().
 *
 * Saved means durable (rule 2): saved() is called only after the database has synced the transaction.
 * A save is guarded (rule 3): it requires the row's (epoch, version) to be the saver's `expected`, or already its own.
 * Deleting a row raises the floor in the same transaction; a cart without a row starts at floor + 1. status() tells a
 * floor at least as high as that of every BASE_NO_ROW that was delivered before.
 */
#ifndef ENGINE_BASE_H
#define ENGINE_BASE_H

#include "cart/cart_types.h"

typedef struct {
    cart_id_t user;
    cart_place_t expected; /* row as the saver knows it; (0,0): no row */
    cart_place_t place;    /* of the image */
    uint64_t changed_s;    /* Unix seconds of the cart's last change */
    bool empty;            /* no lines: may be purged one day */
    const uint8_t *image;  /* packed; borrowed until saved() */
    uint32_t image_length;
    const uint8_t *rings;
    uint32_t rings_length;
} base_save_t;

typedef enum {
    BASE_SAVED = 1, /* durable, or already there */
    BASE_FORK = 2,  /* the row is something else: load it, merge, log an event, save again */
    /* Away or closed: nothing is known to be stored. The same save may be sent again; a newer one may be called a fork, with
     * the failed one's place in the row: the saver's own, to be saved over from there. */
    BASE_FAILED = 3,
} base_save_result_t;

typedef enum { BASE_ROW = 1, BASE_NO_ROW = 2, BASE_LOAD_FAILED = 3 } base_load_result_t;
typedef struct {
    cart_id_t user;
    base_load_result_t result;
    cart_place_t place;
    const uint8_t *image; /* borrowed until the call returns */
    uint32_t image_length;
    const uint8_t *rings;
    uint32_t rings_length;
} base_loaded_t;

typedef struct {
    void *context;
    void (*loaded)(void *context, const base_loaded_t *loaded, unsigned count);
    void (*saved)(void *context, const cart_id_t *users, const cart_place_t *places, const base_save_result_t *results,
                  unsigned count);
    /* Candidates for deletion came (empty, unchanged since the asked time); the engine keeps those it knows. */
    void (*purgeable)(void *context, const cart_id_t *users, const cart_place_t *places, unsigned count);
    void (*log)(void *context, int level, const char *event, const char *detail);
} base_owner_t;

typedef struct {
    uint64_t epoch;
    uint64_t floor;
    bool away; /* closed after a failed commit or checkpoint, or cannot be opened */
    uint64_t rows_saved, rows_loaded, commits, failures, checkpoints;
} base_status_t;

#define BASE_BATCH_MAX 1024
#define BASE_PURGE_MAX 256

typedef struct base base_t;
struct base {
    void *state;
    void (*set_owner)(void *state, const base_owner_t *owner);
    bool (*load)(void *state, const cart_id_t *users, unsigned count); /* false: queue full; ask again */
    /* One save is under way at a time (else false), at most BASE_BATCH_MAX rows. It may be several transactions, and loads
     * may run between them; saved() comes once, for all of it, in the order of `saves`. `saves` and what it points to stay
     * the caller's until then. */
    bool (*save)(void *state, const base_save_t *saves, unsigned count);
    bool (*find_purgeable)(void *state, uint64_t unchanged_since_s, unsigned limit); /* limit ≤ BASE_PURGE_MAX */
    /* Deletes those rows that are still at these places and empty. Before any load that is asked for later. At most
     * BASE_PURGE_MAX; false: one is under way. No answer: a row that stays is found again. */
    bool (*purge)(void *state, const cart_id_t *users, const cart_place_t *places, unsigned count);
    void (*status)(void *state, base_status_t *status);
    void (*poll)(void *state);
    int (*fd)(void *state);
    void (*hold)(void *state, unsigned ms); /* as the commit point's; loads wait too */
    void (*destroy)(void *state);
};

#endif
