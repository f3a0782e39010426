/*
 * The SQLite file of the base: its connection and its statements, synchronous. base_sqlite.c puts a thread around it.
 *
 * Connecting always does the same, after a crash, after a failed sync, after a clean stop:
 *   1. settle: the WAL's bytes, as they read, are written again and synced. A predecessor's failed sync may have left bytes
 *      that read well and are not on disk; SQLite would build on them, and a checkpoint's pages could reach the disk
 *      where the commit that they belong to never did. Written again, what reads is what is there.
 *   2. open, exclusively; SQLite recovers the WAL;
 *   3. checkpoint and truncate: everything is in the database file, synced.
 * Closing never checkpoints on its own.
 *
 * Any error of SQLite ends the connection: the caller calls base_store_disconnect and, later, connects again.
 */
#ifndef ENGINE_BASE_STORE_H
#define ENGINE_BASE_STORE_H

#include <sqlite3.h>

#include "engine/base.h"
#include "engine/base_sqlite.h"

typedef enum {
    BASE_STATEMENT_LOAD,
    BASE_STATEMENT_INSERT, /* the saver knows of no row */
    BASE_STATEMENT_UPDATE, /* the saver knows the row */
    BASE_STATEMENT_FIND_PURGEABLE,
    BASE_STATEMENT_PURGE,
    BASE_STATEMENT_RAISE_FLOOR,
    BASE_STATEMENT_BEGIN,
    BASE_STATEMENT_COMMIT,
    BASE_STATEMENT_ROLLBACK,
    BASE_STATEMENT_COUNT,
} base_statement_t;

typedef struct {
    const files_t *files; /* borrowed */
    char *path;           /* owned */
    char *vfs;            /* owned; NULL: the default */
    int synchronous_full;
    int lock;                                       /* handle of path.lock; −1: not taken */
    sqlite3 *db;                                    /* owned; NULL: away */
    sqlite3_stmt *statements[BASE_STATEMENT_COUNT]; /* owned */
    uint64_t floor;
    int wal_pages; /* in the WAL since the last checkpoint */
    char error[160];
} base_store_t;

/* Takes the lock. */
base_open_t base_store_init(base_store_t *store, const base_sqlite_config_t *config);
void base_store_deinit(base_store_t *store);

base_open_t base_store_migrate(base_store_t *store, unsigned *applied);
/* NOT_MIGRATED, NEWER, FAILED: store->error says more, and there is no connection. */
base_open_t base_store_connect(base_store_t *store);
void base_store_disconnect(base_store_t *store);
/* OTHER_OWNER, FAILED. */
base_open_t base_store_claim(base_store_t *store, const cart_id_t *journal, const cart_id_t *incarnation, int take_over,
                             uint64_t *epoch);

/* The newest claim again, in the next epoch; nothing when there is none. */
bool base_store_renew(base_store_t *store);

/* False: SQLite failed; nothing of it is known to be stored. */
bool base_store_load(base_store_t *store,
                     base_loaded_t *loaded); /* loaded->user is asked; borrowed until the next call */
/* One transaction, durable when it returns true. Results are BASE_SAVED or BASE_FORK. */
bool base_store_save(base_store_t *store, const base_save_t *saves, unsigned count, base_save_result_t *results);
bool base_store_find_purgeable(base_store_t *store, uint64_t unchanged_since_s, unsigned limit, cart_id_t *users,
                               cart_place_t *places, unsigned *found);
bool base_store_purge(base_store_t *store, const cart_id_t *users, const cart_place_t *places, unsigned count);
bool base_store_checkpoint(base_store_t *store, bool truncate);

/* The migrations, base_migrations.c: base_migrations[i] leads from schema i to i + 1. */
extern const char *const base_migrations[];
extern const unsigned base_migrations_count;

#endif
