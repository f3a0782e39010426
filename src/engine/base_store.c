#include "engine/base_store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_KIB     65536
#define SETTLE_BYTES  65536
#define PATH_MAX_HERE 4096

/* A guard on each: the row as the saver knows it, or already the saver's own image. */
static const char *const statement_text[BASE_STATEMENT_COUNT] = {
    [BASE_STATEMENT_LOAD] = "SELECT epoch, version, image, rings FROM cart WHERE user = ?1",
    [BASE_STATEMENT_INSERT] = "INSERT INTO cart (user, epoch, version, changed_s, empty, image, rings)"
                              " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
                              " ON CONFLICT (user) DO UPDATE SET changed_s = excluded.changed_s"
                              " WHERE cart.epoch = excluded.epoch AND cart.version = excluded.version",
    [BASE_STATEMENT_UPDATE] =
        "UPDATE cart SET epoch = ?2, version = ?3, changed_s = ?4, empty = ?5, image = ?6, rings = ?7"
        " WHERE user = ?1 AND ((epoch = ?8 AND version = ?9) OR (epoch = ?2 AND version = ?3))",
    [BASE_STATEMENT_FIND_PURGEABLE] = "SELECT user, epoch, version FROM cart WHERE empty = 1 AND changed_s < ?1"
                                      " ORDER BY changed_s LIMIT ?2",
    [BASE_STATEMENT_PURGE] = "DELETE FROM cart WHERE user = ?1 AND epoch = ?2 AND version = ?3 AND empty = 1",
    [BASE_STATEMENT_RAISE_FLOOR] = "UPDATE floor SET version = max(version, ?1)",
    [BASE_STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
    [BASE_STATEMENT_COMMIT] = "COMMIT",
    [BASE_STATEMENT_ROLLBACK] = "ROLLBACK",
};

static void keep_error(base_store_t *store, const char *what) {
    (void)snprintf(store->error, sizeof(store->error), "%s: %s", what,
                   store->db != NULL ? sqlite3_errmsg(store->db) : "not open"); /* cut at worst */
}

/* ---- connection -------------------------------------------------------------------------------------------------- */

base_open_t base_store_init(base_store_t *store, const base_sqlite_config_t *config) {
    *store = (base_store_t){.files = config->files != NULL ? config->files : files_posix(),
                            .synchronous_full = config->synchronous_full,
                            .lock = -1};
    char path[PATH_MAX_HERE];
    int length = snprintf(path, sizeof(path), "%s.lock", config->path);
    store->path = strdup(config->path);
    store->vfs = config->vfs == NULL ? NULL : strdup(config->vfs);
    if (store->path == NULL || (config->vfs != NULL && store->vfs == NULL) || length < 0 ||
        (size_t)length >= sizeof(path)) {
        (void)snprintf(store->error, sizeof(store->error), "no memory, or the path is too long");
        return BASE_OPEN_FAILED;
    }
    store->lock = store->files->lock(store->files->context, path, config->wait);
    if (store->lock >= 0) return BASE_OPEN_OK;
    (void)snprintf(store->error, sizeof(store->error), "%.80s: %s", path,
                   store->lock == -EWOULDBLOCK ? "held by another process" : strerror(-store->lock));
    return store->lock == -EWOULDBLOCK ? BASE_OPEN_LOCKED : BASE_OPEN_FAILED;
}

void base_store_deinit(base_store_t *store) {
    base_store_disconnect(store);
    if (store->lock >= 0) (void)store->files->close(store->files->context, store->lock); /* unlocks */
    free(store->path);
    free(store->vfs);
    *store = (base_store_t){.lock = -1};
}

void base_store_disconnect(base_store_t *store) {
    for (int i = 0; i < BASE_STATEMENT_COUNT; i++) {
        (void)sqlite3_finalize(store->statements[i]); /* repeats the error of the last step, which was handled */
        store->statements[i] = NULL;
    }
    if (store->db != NULL) (void)sqlite3_close_v2(store->db); /* cannot be busy: every statement is finalized */
    store->db = NULL;
}

static int sync_folder_of(base_store_t *store) {
    char folder[PATH_MAX_HERE];
    (void)snprintf(folder, sizeof(folder), "%s", store->path); /* fits: path.lock did */
    char *slash = strrchr(folder, '/');
    if (slash == NULL) return store->files->sync_folder(store->files->context, ".");
    slash[slash == folder ? 1 : 0] = '\0';
    return store->files->sync_folder(store->files->context, folder);
}

/* Writes the file's bytes again, as they read, and syncs. */
static int rewrite(base_store_t *store, int file) {
    const files_t *files = store->files;
    int64_t size = files->size(files->context, file);
    if (size < 0) return (int)size;
    uint8_t *bytes = malloc(SETTLE_BYTES);
    if (bytes == NULL) return -ENOMEM;
    int result = 0;
    for (int64_t at = 0; at < size && result == 0;) {
        int64_t got = files->pread(files->context, file, bytes, SETTLE_BYTES, (uint64_t)at);
        if (got > 0) {
            int64_t put = files->pwrite(files->context, file, bytes, (size_t)got, (uint64_t)at);
            result = put < 0 ? (int)put : 0;
            at += got;
        } else {
            result = got < 0 ? (int)got : -EIO;
        }
    }
    free(bytes);
    return result < 0 ? result : files->sync_all(files->context, file);
}

static bool settle(base_store_t *store) {
    char path[PATH_MAX_HERE];
    (void)snprintf(path, sizeof(path), "%s-wal", store->path); /* fits: path.lock did */
    int result = store->files->open(store->files->context, path, 0, 0);
    if (result >= 0) {
        int file = result;
        result = rewrite(store, file);
        (void)store->files->close(store->files->context, file); /* synced, or given up */
    } else if (result == -ENOENT) {
        result = 0;
    }
    if (result == 0) result = sync_folder_of(store);
    if (result < 0) (void)snprintf(store->error, sizeof(store->error), "cannot settle the log: %s", strerror(-result));
    return result == 0;
}

static bool run(base_store_t *store, const char *sql) {
    if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK) return true;
    keep_error(store, "set-up");
    return false;
}

static bool read_number(base_store_t *store, const char *sql, uint64_t *number) {
    sqlite3_stmt *statement = NULL;
    bool read =
        sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW;
    if (read)
        *number = (uint64_t)sqlite3_column_int64(statement, 0);
    else
        keep_error(store, sql);
    (void)sqlite3_finalize(statement); /* its error was kept */
    return read;
}

static bool is_in_wal_mode(base_store_t *store, bool *is_wal) {
    sqlite3_stmt *statement = NULL;
    bool read = sqlite3_prepare_v2(store->db, "PRAGMA journal_mode", -1, &statement, NULL) == SQLITE_OK &&
                sqlite3_step(statement) == SQLITE_ROW;
    if (read)
        *is_wal = strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
    else
        keep_error(store, "journal mode");
    (void)sqlite3_finalize(statement); /* its error was kept */
    return read;
}

static int note_wal(void *context, sqlite3 *db, const char *name, int pages) {
    (void)db;
    (void)name;
    base_store_t *store = context;
    store->wal_pages = pages;
    return SQLITE_OK;
}

/* Opens and prepares the connection; the schema may still be any. */
static bool open_file(base_store_t *store, bool create) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | (create ? SQLITE_OPEN_CREATE : 0);
    if (!settle(store)) return false;
    if (sqlite3_open_v2(store->path, &store->db, flags, store->vfs) != SQLITE_OK) {
        keep_error(store, "open");
        return false;
    }
    char set_up[512];
    (void)snprintf(set_up, sizeof(set_up), /* fits */
                   "PRAGMA locking_mode = EXCLUSIVE;"
                   "PRAGMA page_size = 4096;"
                   "PRAGMA journal_mode = WAL;"
                   "PRAGMA synchronous = %s;"
                   "PRAGMA wal_autocheckpoint = 0;"
                   "PRAGMA mmap_size = 0;" /* an I/O error must be an error, not a signal */
                   "PRAGMA cache_size = -%d;"
                   "PRAGMA temp_store = MEMORY;"
                   "PRAGMA foreign_keys = ON;",
                   store->synchronous_full ? "FULL" : "NORMAL", CACHE_KIB);
    /* Closing must not checkpoint: after a failed sync that would be the retry in place. */
    if (sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) != SQLITE_OK || !run(store, set_up)) {
        return false;
    }
    bool is_wal = false;
    if (!is_in_wal_mode(store, &is_wal)) return false;
    if (!is_wal) {
        (void)snprintf(store->error, sizeof(store->error), "the file cannot be put into WAL mode");
        return false;
    }
    (void)sqlite3_wal_hook(store->db, note_wal, store); /* returns the former argument: none */
    return base_store_checkpoint(store, true);
}

static bool prepare_all(base_store_t *store) {
    for (int i = 0; i < BASE_STATEMENT_COUNT; i++) {
        if (sqlite3_prepare_v3(store->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT, &store->statements[i],
                               NULL) != SQLITE_OK) {
            keep_error(store, "prepare");
            return false;
        }
    }
    return true;
}

base_open_t base_store_connect(base_store_t *store) {
    assert(store->db == NULL && store->lock >= 0);
    base_open_t result = BASE_OPEN_FAILED;
    uint64_t schema = 0;
    int exists = store->files->open(store->files->context, store->path, 0, 0);
    if (exists == -ENOENT) {
        (void)snprintf(store->error, sizeof(store->error), "there is no database yet");
        return BASE_OPEN_NOT_MIGRATED;
    }
    if (exists >= 0) (void)store->files->close(store->files->context, exists); /* only looked */
    if (!open_file(store, false) || !read_number(store, "PRAGMA user_version", &schema)) goto fail;
    if (schema != base_migrations_count) {
        result = schema < base_migrations_count ? BASE_OPEN_NOT_MIGRATED : BASE_OPEN_NEWER;
        (void)snprintf(store->error, sizeof(store->error), "schema %u where this program has %u", (unsigned)schema,
                       base_migrations_count);
        goto fail;
    }
    if (!prepare_all(store) || !read_number(store, "SELECT version FROM floor", &store->floor)) goto fail;
    return BASE_OPEN_OK;
fail:
    base_store_disconnect(store);
    return result;
}

base_open_t base_store_migrate(base_store_t *store, unsigned *applied) {
    assert(store->db == NULL && store->lock >= 0);
    uint64_t schema = 0;
    unsigned count = 0;
    base_open_t result = BASE_OPEN_FAILED;
    if (!open_file(store, true) || !read_number(store, "PRAGMA user_version", &schema)) goto done;
    if (schema > base_migrations_count) {
        result = BASE_OPEN_NEWER;
        (void)snprintf(store->error, sizeof(store->error), "schema %u where this program has %u", (unsigned)schema,
                       base_migrations_count);
        goto done;
    }
    for (; schema < base_migrations_count; schema++, count++) {
        char version[64];
        (void)snprintf(version, sizeof(version), "PRAGMA user_version = %u; COMMIT", (unsigned)schema + 1); /* fits */
        /* The number moves in the step's own transaction; a failure ends the connection, which rolls back. */
        if (!run(store, "BEGIN IMMEDIATE") || !run(store, base_migrations[schema]) || !run(store, version)) goto done;
    }
    if (!base_store_checkpoint(store, true)) goto done;
    if (sync_folder_of(store) < 0) {
        (void)snprintf(store->error, sizeof(store->error), "cannot sync the folder");
        goto done;
    }
    *applied = count;
    result = BASE_OPEN_OK;
done:
    base_store_disconnect(store);
    return result;
}

bool base_store_checkpoint(base_store_t *store, bool truncate) {
    int in_wal = 0;
    int moved = 0;
    if (store->statements[BASE_STATEMENT_LOAD] != NULL) {
        (void)sqlite3_reset(
            store->statements[BASE_STATEMENT_LOAD]); /* its row is borrowed no longer; it holds a read mark */
    }
    int mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    if (sqlite3_wal_checkpoint_v2(store->db, NULL, mode, &in_wal, &moved) != SQLITE_OK) {
        keep_error(store, "checkpoint");
        return false;
    }
    if (in_wal != moved) { /* only another connection could hold it up, and there is none */
        (void)snprintf(store->error, sizeof(store->error), "checkpoint moved %d of %d pages", moved, in_wal);
        return false;
    }
    store->wal_pages = 0;
    return true;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

/* A statement is reset after each use: one that is not keeps a read mark, and the WAL would grow. */
static bool step_done(base_store_t *store, base_statement_t which) {
    int result = sqlite3_step(store->statements[which]);
    if (result != SQLITE_DONE) keep_error(store, "statement");
    (void)sqlite3_reset(store->statements[which]); /* repeats the step's error */
    return result == SQLITE_DONE;
}

/* Ends a transaction that failed. The connection is closed next, which would roll back as well. */
static bool give_up(base_store_t *store) {
    if (sqlite3_get_autocommit(store->db) == 0) {
        (void)sqlite3_step(store->statements[BASE_STATEMENT_ROLLBACK]); /* the caller closes in any case */
        (void)sqlite3_reset(store->statements[BASE_STATEMENT_ROLLBACK]);
    }
    return false;
}

static bool bind_id(sqlite3_stmt *statement, int index, const cart_id_t *id) {
    return sqlite3_bind_blob(statement, index, id->bytes, CART_ID_BYTES, SQLITE_STATIC) == SQLITE_OK;
}

static bool bind_number(sqlite3_stmt *statement, int index, uint64_t number) {
    assert(number <= INT64_MAX);
    return sqlite3_bind_int64(statement, index, (sqlite3_int64)number) == SQLITE_OK;
}

/* An empty blob, not NULL, for no bytes. */
static bool bind_bytes(sqlite3_stmt *statement, int index, const uint8_t *bytes, uint32_t length) {
    return sqlite3_bind_blob64(statement, index, length > 0 ? (const void *)bytes : "", length, SQLITE_STATIC) ==
           SQLITE_OK;
}

base_open_t base_store_claim(base_store_t *store, const cart_id_t *journal, const cart_id_t *incarnation, int take_over,
                             uint64_t *epoch) {
    sqlite3_stmt *statement = NULL;
    base_open_t result = BASE_OPEN_FAILED;
    uint64_t newest = 0;
    bool ours = false;
    if (!run(store, "BEGIN IMMEDIATE")) return BASE_OPEN_FAILED;
    if (sqlite3_prepare_v2(store->db, "SELECT epoch, journal FROM claims ORDER BY epoch DESC LIMIT 1", -1, &statement,
                           NULL) != SQLITE_OK)
        goto done;
    int step = sqlite3_step(statement);
    if (step == SQLITE_ROW) {
        newest = (uint64_t)sqlite3_column_int64(statement, 0);
        ours = sqlite3_column_bytes(statement, 1) == CART_ID_BYTES &&
               memcmp(sqlite3_column_blob(statement, 1), journal->bytes, CART_ID_BYTES) == 0;
    } else if (step != SQLITE_DONE) {
        goto done;
    }
    (void)sqlite3_finalize(statement); /* ended well */
    statement = NULL;
    if (newest != 0 && !ours && !take_over) {
        (void)snprintf(store->error, sizeof(store->error), "another journal owns it, in epoch %llu",
                       (unsigned long long)newest);
        (void)run(store, "ROLLBACK"); /* nothing was written */
        return BASE_OPEN_OTHER_OWNER;
    }
    if (!ours) newest++;
    if (sqlite3_prepare_v2(store->db,
                           "INSERT INTO claims (epoch, journal, incarnation, claimed_s)"
                           " VALUES (?1, ?2, ?3, CAST(strftime('%s', 'now') AS INTEGER))"
                           " ON CONFLICT (epoch) DO UPDATE SET incarnation = excluded.incarnation",
                           -1, &statement, NULL) != SQLITE_OK ||
        !bind_number(statement, 1, newest) || !bind_id(statement, 2, journal) || !bind_id(statement, 3, incarnation) ||
        sqlite3_step(statement) != SQLITE_DONE)
        goto done;
    (void)sqlite3_finalize(statement); /* ended well */
    statement = NULL;
    if (!run(store, "COMMIT")) return BASE_OPEN_FAILED;
    *epoch = newest;
    result = BASE_OPEN_OK;
done:
    if (result != BASE_OPEN_OK) keep_error(store, "claim");
    (void)sqlite3_finalize(statement); /* its error was kept */
    return result;
}

bool base_store_renew(base_store_t *store) {
    return run(store,
               "INSERT INTO claims (epoch, journal, incarnation, claimed_s) SELECT epoch + 1, journal, incarnation, "
               "CAST(strftime('%s', 'now') AS INTEGER) FROM claims ORDER BY epoch DESC LIMIT 1");
}

bool base_store_load(base_store_t *store, base_loaded_t *loaded) {
    sqlite3_stmt *statement = store->statements[BASE_STATEMENT_LOAD];
    (void)sqlite3_reset(statement); /* of the row before: it was borrowed until now */
    if (!bind_id(statement, 1, &loaded->user)) return false;
    int step = sqlite3_step(statement);
    if (step == SQLITE_DONE) {
        loaded->result = BASE_NO_ROW;
        (void)sqlite3_reset(statement); /* ended well */
        return true;
    }
    if (step != SQLITE_ROW) {
        keep_error(store, "load");
        (void)sqlite3_reset(statement); /* repeats the error */
        return false;
    }
    loaded->result = BASE_ROW;
    loaded->place =
        (cart_place_t){(uint64_t)sqlite3_column_int64(statement, 0), (uint64_t)sqlite3_column_int64(statement, 1)};
    loaded->image = sqlite3_column_blob(statement, 2);
    loaded->image_length = (uint32_t)sqlite3_column_bytes(statement, 2);
    loaded->rings = sqlite3_column_blob(statement, 3);
    loaded->rings_length = (uint32_t)sqlite3_column_bytes(statement, 3);
    return true;
}

static bool save_one(base_store_t *store, const base_save_t *save, base_save_result_t *result) {
    bool insert = save->expected.epoch == 0;
    base_statement_t which = insert ? BASE_STATEMENT_INSERT : BASE_STATEMENT_UPDATE;
    sqlite3_stmt *statement = store->statements[which];
    bool bound = bind_id(statement, 1, &save->user) && bind_number(statement, 2, save->place.epoch) &&
                 bind_number(statement, 3, save->place.version) && bind_number(statement, 4, save->changed_s) &&
                 bind_number(statement, 5, save->empty ? 1 : 0) &&
                 bind_bytes(statement, 6, save->image, save->image_length) &&
                 bind_bytes(statement, 7, save->rings, save->rings_length);
    if (bound && !insert) {
        bound = bind_number(statement, 8, save->expected.epoch) && bind_number(statement, 9, save->expected.version);
    }
    if (!bound) keep_error(store, "bind");
    if (!bound || !step_done(store, which)) return false;
    *result = sqlite3_changes(store->db) == 1 ? BASE_SAVED : BASE_FORK;
    return true;
}

bool base_store_save(base_store_t *store, const base_save_t *saves, unsigned count, base_save_result_t *results) {
    assert(count > 0 && count <= BASE_BATCH_MAX);
    (void)sqlite3_reset(store->statements[BASE_STATEMENT_LOAD]); /* its row is borrowed no longer */
    if (!step_done(store, BASE_STATEMENT_BEGIN)) return give_up(store);
    for (unsigned i = 0; i < count; i++) {
        if (!save_one(store, &saves[i], &results[i])) return give_up(store);
    }
    if (!step_done(store, BASE_STATEMENT_COMMIT)) return give_up(store);
    return true;
}

bool base_store_find_purgeable(base_store_t *store, uint64_t unchanged_since_s, unsigned limit, cart_id_t *users,
                               cart_place_t *places, unsigned *found) {
    sqlite3_stmt *statement = store->statements[BASE_STATEMENT_FIND_PURGEABLE];
    if (!bind_number(statement, 1, unchanged_since_s) || !bind_number(statement, 2, limit)) return false;
    unsigned count = 0;
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW && count < limit) {
        if (sqlite3_column_bytes(statement, 0) != CART_ID_BYTES) continue; /* the table's check forbids it */
        memcpy(users[count].bytes, sqlite3_column_blob(statement, 0), CART_ID_BYTES);
        places[count] =
            (cart_place_t){(uint64_t)sqlite3_column_int64(statement, 1), (uint64_t)sqlite3_column_int64(statement, 2)};
        count++;
    }
    if (step != SQLITE_DONE && step != SQLITE_ROW) keep_error(store, "find");
    (void)sqlite3_reset(statement); /* repeats the step's error */
    if (step != SQLITE_DONE && step != SQLITE_ROW) return false;
    *found = count;
    return true;
}

bool base_store_purge(base_store_t *store, const cart_id_t *users, const cart_place_t *places, unsigned count) {
    sqlite3_stmt *purge = store->statements[BASE_STATEMENT_PURGE];
    sqlite3_stmt *raise = store->statements[BASE_STATEMENT_RAISE_FLOOR];
    uint64_t floor = store->floor;
    (void)sqlite3_reset(store->statements[BASE_STATEMENT_LOAD]); /* its row is borrowed no longer */
    if (!step_done(store, BASE_STATEMENT_BEGIN)) return give_up(store);
    for (unsigned i = 0; i < count; i++) {
        if (!bind_id(purge, 1, &users[i]) || !bind_number(purge, 2, places[i].epoch) ||
            !bind_number(purge, 3, places[i].version) || !step_done(store, BASE_STATEMENT_PURGE)) {
            return give_up(store);
        }
        if (sqlite3_changes(store->db) == 1 && places[i].version > floor) floor = places[i].version;
    }
    if (!bind_number(raise, 1, floor) || !step_done(store, BASE_STATEMENT_RAISE_FLOOR)) return give_up(store);
    if (!step_done(store, BASE_STATEMENT_COMMIT)) return give_up(store);
    store->floor = floor;
    return true;
}
