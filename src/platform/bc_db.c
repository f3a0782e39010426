#include "platform/bc_db.h"

#include "platform/bc_log.h"
#include "platform/bc_service.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    busy_ms = 5000,        /* another process that looks into the file may hold it for a moment */
    wal_pages = 1000,      /* SQLite's own default: from here on every commit moves the log into the file */
    readers_wait_ms = 100, /* an entry of a reader takes a few; who takes longer makes the log wait, not the writer */
};

struct bc_statement {
    bc_db_t *db;     /* borrowed: its owner */
    const char *sql; /* borrowed: a literal, the cache's key */
    sqlite3_stmt *handle;
    bool taken;
    bc_db_result_t bind_error; /* BC_DB_OK, or what a bind met */
};

/* One that waits for a reader; on its own stack, in order of coming. */
typedef struct waiter {
    pthread_cond_t given;
    bc_db_t *reader; /* NULL until given */
    struct waiter *next;
} waiter_t;

/* The connections that reads are made on. */
typedef struct {
    pthread_mutex_t lock; /* after a database's own */
    pthread_cond_t left;  /* somebody left while the writer waits for it */
    bc_db_t *all[BC_DB_READERS_MAX];
    bc_db_t *free;             /* under lock, as all below; linked by `next` */
    waiter_t *first, **behind; /* `behind`: where the next one to wait is linked */
    uint64_t entries;          /* given so far */
    bool closed;               /* a commit failed */
    bool awaited;              /* the writer waits for somebody to leave */
} readers_t;

/* The writer's connection, or (owner set) a reader's: the same struct, so that statements need not know which they run on. */
struct bc_db {
    pthread_mutex_t lock; /* of a reader: not used; whoever was given it has it alone */
    sqlite3 *handle;      /* NULL once closed by a failed commit */
    bc_statement_t *statements[BC_DB_STATEMENTS_MAX];
    int used;
    bc_db_t *next;           /* of those opened, under opened_lock; of those free, under the readers' lock */
    pthread_cond_t released; /* a hold is over */
    int64_t held_until_ms;   /* monotonic; 0: no hold; under lock */
    bool entered;            /* under lock */
    bool in_transaction;     /* under lock */
    bool log_unmoved;        /* a checkpoint failed; under lock */
    bc_db_result_t stuck;    /* first error since enter; under lock */
    readers_t readers;
    /* Of a reader only: */
    bc_db_t *owner;            /* borrowed: the writer */
    sqlite3_stmt *begin, *end; /* owned */
    uint64_t entry;            /* 0: nobody is inside; under the readers' lock */
};

static _Thread_local int statements_of_thread;
static _Thread_local const bc_db_t *reader_of_thread; /* waiting for a second one could be waiting for oneself */

static pthread_mutex_t opened_lock = PTHREAD_MUTEX_INITIALIZER; /* before a database's own */
static bc_db_t *opened;

static void add_opened(bc_db_t *db) {
    (void)pthread_mutex_lock(&opened_lock); /* a default mutex: fails only on our own misuse */
    db->next = opened;
    opened = db;
    (void)pthread_mutex_unlock(&opened_lock);
}

static void remove_opened(bc_db_t *db) {
    (void)pthread_mutex_lock(&opened_lock); /* a default mutex: fails only on our own misuse */
    bc_db_t **at = &opened;
    while (*at != db) at = &(*at)->next;
    *at = db->next;
    (void)pthread_mutex_unlock(&opened_lock);
}

int bc_db_count(void) {
    return statements_of_thread;
}

void bc_db_count_reset(void) {
    statements_of_thread = 0;
}

static bc_db_result_t result_of(int code) {
    switch (code & 0xff) {
    case SQLITE_OK:
        return BC_DB_OK;
    case SQLITE_ROW:
        return BC_DB_ROW;
    case SQLITE_DONE:
        return BC_DB_DONE;
    case SQLITE_CONSTRAINT:
        return BC_DB_CONSTRAINT;
    case SQLITE_FULL:
    case SQLITE_IOERR:
        return BC_DB_FULL;
    default:
        return BC_DB_FAILED;
    }
}

/* Keeps the first error of this entry and logs it. */
static bc_db_result_t stick(bc_db_t *db, const char *where, int code) {
    bc_db_result_t result = result_of(code);
    assert(result != BC_DB_OK && result != BC_DB_ROW && result != BC_DB_DONE && result != BC_DB_CONSTRAINT);
    if (db->stuck == BC_DB_OK) db->stuck = result;
    bc_log(BC_LOG_ERROR, "database-error", bc_f_text("at", where), bc_f_text("reason", sqlite3_errstr(code)),
           bc_f_text("message", db->handle == NULL ? "" : sqlite3_errmsg(db->handle)));
    return result;
}

static int execute(sqlite3 *handle, const char *sql) {
    int code = sqlite3_exec(handle, sql, NULL, NULL, NULL);
    if (code != SQLITE_OK)
        bc_log(BC_LOG_ERROR, "database-error", bc_f_text("at", "exec"), bc_f_text("message", sqlite3_errmsg(handle)));
    return code;
}

static void drop_statements(bc_db_t *db) {
    for (int i = 0; i < db->used; i++) {
        (void)sqlite3_finalize(db->statements[i]->handle); /* repeats an error that was answered already */
        db->statements[i]->handle = NULL;
    }
}

/* --- readers --- */

/* Under the readers' lock. */
static void note_reader(readers_t *readers, bc_db_t *reader) {
    assert(reader->entry == 0);
    reader->entry = ++readers->entries;
}

/* A free reader, or the one that a leaver hands over: nobody overtakes who waits. *closed: a commit has failed. */
static bc_db_t *take_reader(readers_t *readers, bool *closed) {
    (void)pthread_mutex_lock(&readers->lock); /* a default mutex: fails only on our own misuse */
    bc_db_t *reader = readers->free;
    if (reader != NULL) {
        assert(readers->first == NULL);
        readers->free = reader->next;
        note_reader(readers, reader);
    } else {
        waiter_t waiter = {.reader = NULL};
        bc_cond_init(&waiter.given);
        *readers->behind = &waiter;
        readers->behind = &waiter.next;
        while (waiter.reader == NULL) (void)pthread_cond_wait(&waiter.given, &readers->lock); /* the loop looks again */
        reader = waiter.reader;
        (void)pthread_cond_destroy(&waiter.given);
    }
    *closed = readers->closed;
    (void)pthread_mutex_unlock(&readers->lock);
    return reader;
}

static void give_reader(readers_t *readers, bc_db_t *reader) {
    (void)pthread_mutex_lock(&readers->lock); /* a default mutex: fails only on our own misuse */
    reader->entry = 0;
    waiter_t *waiter = readers->first;
    if (waiter != NULL) {
        readers->first = waiter->next;
        if (readers->first == NULL) readers->behind = &readers->first;
        note_reader(readers, reader);
        waiter->reader = reader;
        (void)pthread_cond_signal(&waiter->given);
    } else {
        reader->next = readers->free;
        readers->free = reader;
    }
    if (readers->awaited) (void)pthread_cond_signal(&readers->left);
    (void)pthread_mutex_unlock(&readers->lock);
}

/* Under the readers' lock: somebody is inside since entry `last` or before. */
static bool is_inside(const readers_t *readers, uint64_t last) {
    for (int i = 0; i < BC_DB_READERS_MAX; i++) {
        if (readers->all[i]->entry != 0 && readers->all[i]->entry <= last) return true;
    }
    return false;
}

/* Until everybody who is inside now has left; others come and go meanwhile. At most readers_wait_ms: then the log waits for the next
 * commit. Called by the writer, inside. */
static void await_readers(bc_db_t *db) {
    readers_t *readers = &db->readers;
    struct timespec until = bc_monotonic_deadline(readers_wait_ms);
    (void)pthread_mutex_lock(&readers->lock); /* a default mutex: fails only on our own misuse */
    uint64_t last = readers->entries;
    int code = 0;
    readers->awaited = true;
    while (is_inside(readers, last) && code == 0) code = pthread_cond_timedwait(&readers->left, &readers->lock, &until);
    readers->awaited = false;
    (void)pthread_mutex_unlock(&readers->lock);
}

bc_db_t *bc_db_enter_read(bc_db_t *db) {
    bool closed = false;
    assert(db->owner == NULL);
    assert(reader_of_thread == NULL);
    bc_db_t *reader = take_reader(&db->readers, &closed);
    assert(!reader->entered);
    reader_of_thread = reader;
    reader->entered = true;
    reader->stuck = closed ? BC_DB_CLOSED : BC_DB_OK;
    if (closed) return reader;
    int code = sqlite3_step(reader->begin);
    (void)sqlite3_reset(reader->begin); /* repeats the step's error */
    if (code != SQLITE_DONE) (void)stick(reader, "begin", code);
    return reader;
}

int bc_db_waiting(bc_db_t *db) {
    int waiting = 0;
    (void)pthread_mutex_lock(&db->readers.lock); /* a default mutex: fails only on our own misuse */
    for (const waiter_t *waiter = db->readers.first; waiter != NULL; waiter = waiter->next) waiting++;
    (void)pthread_mutex_unlock(&db->readers.lock);
    return waiting;
}

static bool has_taken(const bc_db_t *db) {
    for (int i = 0; i < db->used; i++) {
        if (db->statements[i]->taken) return true;
    }
    return false;
}

static void leave_reader(bc_db_t *reader) {
    assert(reader_of_thread == reader);
    assert(!has_taken(
        reader)); /* a statement that stays open would keep its picture of the database, and the log with it */
    if (sqlite3_get_autocommit(reader->handle) == 0) {
        int code = sqlite3_step(reader->end);
        (void)sqlite3_reset(reader->end); /* repeats the step's error */
        if (code != SQLITE_DONE) (void)stick(reader, "end", code);
    }
    reader->entered = false;
    reader_of_thread = NULL;
    give_reader(&reader->owner->readers, reader);
}

/* --- open and migrate --- */

static int64_t read_number(sqlite3 *handle, const char *sql) {
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;
    if (sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement); /* repeats the step's error, which number = -1 tells */
    return number;
}

static bool note_migration(sqlite3 *handle, int number, const char *name) {
    sqlite3_stmt *statement = NULL;
    bool good = sqlite3_prepare_v2(handle, "INSERT INTO migrations(number, name, applied_ms) VALUES(?, ?, ?)", -1,
                                   &statement, NULL) == SQLITE_OK &&
                sqlite3_bind_int(statement, 1, number) == SQLITE_OK &&
                sqlite3_bind_text(statement, 2, name, -1, SQLITE_TRANSIENT) == SQLITE_OK &&
                sqlite3_bind_int64(statement, 3, bc_time_ms()) == SQLITE_OK && sqlite3_step(statement) == SQLITE_DONE;
    (void)sqlite3_finalize(statement);
    return good;
}

static bc_db_result_t migrate(sqlite3 *handle, const char *path, const bc_migration_t *migrations) {
    if (execute(handle, "CREATE TABLE IF NOT EXISTS migrations(number INTEGER PRIMARY KEY, name VARCHAR(100) NOT NULL, "
                        "applied_ms INTEGER NOT NULL)") != SQLITE_OK)
        return BC_DB_FAILED;
    int64_t applied = read_number(handle, "SELECT COALESCE(MAX(number), 0) FROM migrations");
    if (applied < 0) return BC_DB_FAILED;
    int64_t known = 0;
    while (migrations[known].sql != NULL) known++;
    if (applied > known) {
        bc_log(BC_LOG_ERROR, "schema-is-newer", bc_f_text("path", path), bc_f_int("schema", applied),
               bc_f_int("known", known));
        return BC_DB_NEWER;
    }
    for (int64_t i = applied; i < known; i++) {
        if (execute(handle, "BEGIN IMMEDIATE") != SQLITE_OK) return BC_DB_FAILED;
        if (execute(handle, migrations[i].sql) != SQLITE_OK ||
            !note_migration(handle, (int)i + 1, migrations[i].name) || execute(handle, "COMMIT") != SQLITE_OK) {
            (void)sqlite3_exec(handle, "ROLLBACK", NULL, NULL, NULL); /* the caller closes the file */
            return BC_DB_FAILED;
        }
        bc_log(BC_LOG_INFO, "migrated", bc_f_text("path", path), bc_f_int("number", i + 1),
               bc_f_text("name", migrations[i].name));
    }
    return BC_DB_OK;
}

/* Moves the log into the file, as SQLite would by itself, and sees to it that the log can begin anew however many read: what was committed
 * last is moved only when nobody is inside who began before it. Called by SQLite behind a commit, in the writer's thread. */
static int wal_grown(void *context, sqlite3 *handle, const char *name, int pages) {
    bc_db_t *db = context;
    if (pages < wal_pages) return SQLITE_OK;
    bool long_log = pages >= BC_DB_WAL_PAGES_MAX;
    if (long_log) await_readers(db);
    int code = sqlite3_wal_checkpoint_v2(handle, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (code != SQLITE_OK && code != SQLITE_BUSY && code != SQLITE_LOCKED) { /* somebody reads: the next commit */
        db->log_unmoved = true;
        bc_log(BC_LOG_ERROR, "database-error", bc_f_text("at", "checkpoint"),
               bc_f_text("reason", sqlite3_errstr(code)));
    }
    if (long_log) await_readers(db); /* those who began while it moved: the next commit finds nobody reading the log */
    return SQLITE_OK;
}

static void close_reader(bc_db_t *reader) {
    if (reader == NULL) return;
    assert(!reader->entered);
    drop_statements(reader);
    for (int i = 0; i < reader->used; i++) free(reader->statements[i]);
    (void)sqlite3_finalize(reader->begin); /* they repeat an error that was answered already */
    (void)sqlite3_finalize(reader->end);
    if (sqlite3_close(reader->handle) != SQLITE_OK)
        bc_log(BC_LOG_ALERT, "database-left-open", bc_f_text("message", sqlite3_errmsg(reader->handle)));
    free(reader);
}

/* NULL after a log line. Its first read is made here: from it on SQLite knows of this connection, and the writer that closes before it
 * (a failed commit) does not take itself for the last. */
static bc_db_t *open_reader(bc_db_t *owner, const char *path) {
    bc_db_t *reader = calloc(1, sizeof(*reader));
    if (reader == NULL) return NULL;
    reader->owner = owner;
    if (sqlite3_open_v2(path, &reader->handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                        NULL) == SQLITE_OK &&
        sqlite3_db_config(reader->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) == SQLITE_OK &&
        sqlite3_busy_timeout(reader->handle, busy_ms) == SQLITE_OK &&
        execute(reader->handle, "PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0; PRAGMA temp_store=MEMORY; "
                                "PRAGMA trusted_schema=OFF") == SQLITE_OK &&
        read_number(reader->handle, "PRAGMA query_only") == 1 &&
        read_number(reader->handle, "PRAGMA wal_autocheckpoint") == 0 &&
        read_number(reader->handle, "SELECT COUNT(*) FROM migrations") >= 0 &&
        sqlite3_prepare_v3(reader->handle, "BEGIN", -1, SQLITE_PREPARE_PERSISTENT, &reader->begin, NULL) == SQLITE_OK &&
        sqlite3_prepare_v3(reader->handle, "COMMIT", -1, SQLITE_PREPARE_PERSISTENT, &reader->end, NULL) == SQLITE_OK)
        return reader;
    bc_log(BC_LOG_ERROR, "reader-not-opened", bc_f_text("path", path),
           bc_f_text("reason", reader->handle != NULL ? sqlite3_errmsg(reader->handle) : "memory"));
    close_reader(reader);
    return NULL;
}

static void close_readers(readers_t *readers) {
    assert(readers->first == NULL);
    for (int i = 0; i < BC_DB_READERS_MAX; i++) close_reader(readers->all[i]);
    (void)pthread_cond_destroy(&readers->left);
    (void)pthread_mutex_destroy(&readers->lock);
}

static bool open_readers(bc_db_t *db, const char *path) {
    readers_t *readers = &db->readers;
    for (int i = 0; i < BC_DB_READERS_MAX; i++) {
        bc_db_t *reader = open_reader(db, path);
        readers->all[i] = reader;
        if (reader == NULL) return false;
        reader->next = readers->free;
        readers->free = reader;
    }
    return true;
}

static void init_readers(readers_t *readers) {
    (void)pthread_mutex_init(&readers->lock, NULL); /* a default mutex: cannot fail */
    bc_cond_init(&readers->left);
    readers->behind = &readers->first;
}

/* SQLite's count of bytes in use would be one lock for all connections at every allocation. Too late when an engine beside us has
 * begun with SQLite already: then it counts. */
static void configure_sqlite(void) {
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* SQLite makes files with the umask's mode: made here first, they are the owner's alone. */
static bool make_private(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    (void)close(fd);
    return true;
}

static bool open_writer(bc_db_t *db, const char *path) {
    return make_private(path) &&
           sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                           NULL) == SQLITE_OK &&
           sqlite3_busy_timeout(db->handle, busy_ms) == SQLITE_OK &&
           execute(db->handle, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
                               "PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF") == SQLITE_OK &&
           read_number(db->handle, "PRAGMA synchronous") == 2 && read_number(db->handle, "PRAGMA foreign_keys") == 1;
}

bc_db_result_t bc_db_open(const char *path, const bc_migration_t *migrations, bc_db_t **db) {
    static pthread_once_t configured = PTHREAD_ONCE_INIT;
    (void)pthread_once(&configured, configure_sqlite); /* cannot fail */
    bc_db_t *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("at", "database"));
        return BC_DB_FAILED;
    }
    init_readers(&made->readers);
    bc_db_result_t result = open_writer(made, path) ? migrate(made->handle, path, migrations) : BC_DB_FAILED;
    if (result == BC_DB_OK && !open_readers(made, path)) result = BC_DB_FAILED;
    if (result != BC_DB_OK) {
        bc_log(BC_LOG_ERROR, "database-not-opened", bc_f_text("path", path),
               bc_f_text("reason", made->handle != NULL ? sqlite3_errmsg(made->handle) : "file or memory"));
        close_readers(&made->readers);
        (void)sqlite3_close(made->handle);
        free(made);
        return result;
    }
    (void)sqlite3_wal_hook(made->handle, wal_grown, made); /* returns the hook before: SQLite's own */
    (void)pthread_mutex_init(&made->lock, NULL);           /* a default mutex: cannot fail */
    bc_cond_init(&made->released);
    add_opened(made);
    *db = made;
    return BC_DB_OK;
}

/* The readers first: the last to close is the one that may checkpoint. */
void bc_db_close(bc_db_t *db) {
    if (db == NULL) return;
    assert(!db->entered);
    assert(db->owner == NULL);
    remove_opened(db);
    close_readers(&db->readers);
    drop_statements(db);
    for (int i = 0; i < db->used; i++) free(db->statements[i]);
    if (db->handle != NULL && sqlite3_close(db->handle) != SQLITE_OK)
        bc_log(BC_LOG_ALERT, "database-left-open", bc_f_text("message", sqlite3_errmsg(db->handle)));
    (void)pthread_cond_destroy(&db->released);
    (void)pthread_mutex_destroy(&db->lock);
    free(db);
}

bool bc_db_is_open(bc_db_t *db) {
    assert(db->owner == NULL);
    (void)pthread_mutex_lock(&db->readers.lock); /* not the writer's: a check of health waits for no sync */
    bool open = !db->readers.closed;
    (void)pthread_mutex_unlock(&db->readers.lock);
    return open;
}

/* --- entries and transactions --- */

void bc_db_hold_all(int64_t ms) {
    (void)pthread_mutex_lock(&opened_lock); /* default mutexes: fail only on our own misuse */
    for (bc_db_t *db = opened; db != NULL; db = db->next) {
        (void)pthread_mutex_lock(&db->lock); /* no transaction runs now */
        db->held_until_ms = ms > 0 ? bc_monotonic_ms() + ms : 0;
        if (ms <= 0) (void)pthread_cond_broadcast(&db->released);
        (void)pthread_mutex_unlock(&db->lock);
    }
    (void)pthread_mutex_unlock(&opened_lock);
}

/* Under lock. Whoever writes waits here; the time is over by itself when nobody lets go. */
static void wait_for_release(bc_db_t *db) {
    for (int64_t left_ms; (left_ms = db->held_until_ms - bc_monotonic_ms()) > 0;) {
        struct timespec until = bc_monotonic_deadline(left_ms);
        (void)pthread_cond_timedwait(&db->released, &db->lock, &until); /* the loop looks again */
    }
}

/* Under lock. */
static void note_entry(bc_db_t *db) {
    assert(!db->entered);
    db->entered = true;
    db->stuck = db->handle == NULL ? BC_DB_CLOSED : BC_DB_OK;
}

void bc_db_enter(bc_db_t *db) {
    assert(db->owner == NULL);
    (void)pthread_mutex_lock(&db->lock); /* a default mutex: fails only on our own misuse */
    note_entry(db);
}

bool bc_db_is_sound(const bc_db_t *db) {
    assert(db->entered);
    return db->stuck == BC_DB_OK;
}

void bc_db_spoil(bc_db_t *db) {
    assert(db->entered);
    if (db->stuck == BC_DB_OK) db->stuck = BC_DB_FAILED;
}

void bc_db_leave(bc_db_t *db) {
    assert(db->entered);
    assert(!db->in_transaction);
    if (db->owner != NULL) {
        leave_reader(db);
        return;
    }
    db->entered = false;
    (void)pthread_mutex_unlock(&db->lock);
}

bc_db_result_t bc_db_begin(bc_db_t *db) {
    assert(db->owner == NULL);
    (void)pthread_mutex_lock(&db->lock); /* a default mutex: fails only on our own misuse */
    wait_for_release(db);
    note_entry(db);
    bc_db_result_t result = db->stuck;
    if (result == BC_DB_OK) {
        int code = sqlite3_exec(db->handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        if (code != SQLITE_OK) result = stick(db, "begin", code);
    }
    if (result != BC_DB_OK) {
        bc_db_leave(db);
        return result;
    }
    db->in_transaction = true;
    return BC_DB_OK;
}

void bc_db_rollback(bc_db_t *db) {
    assert(db->in_transaction);
    /* SQLite may have rolled back by itself after a full disk; then there is nothing to undo. */
    if (db->handle != NULL && sqlite3_get_autocommit(db->handle) == 0 &&
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        bc_log(BC_LOG_ERROR, "rollback-failed", bc_f_text("message", sqlite3_errmsg(db->handle)));
    db->in_transaction = false;
    bc_db_leave(db);
}

void bc_db_fail(bc_db_t *db, const char *where) {
    assert(db->entered);
    (void)stick(db, where, SQLITE_NOMEM);
}

/* What is on the disk is unknown now: nothing is tried again on this connection (invariant 3). Readers inside end what they do, on what
 * was durable before; the next ones are told. */
static void close_failed(bc_db_t *db, const char *why) {
    (void)pthread_mutex_lock(&db->readers.lock); /* a default mutex: fails only on our own misuse */
    db->readers.closed = true;
    (void)pthread_mutex_unlock(&db->readers.lock);
    drop_statements(db);
    (void)sqlite3_close_v2(db->handle); /* the process ends; the successor recovers from the files */
    db->handle = NULL;
    bc_service_fail(why);
}

bc_db_result_t bc_db_commit(bc_db_t *db) {
    assert(db->in_transaction);
    if (db->stuck != BC_DB_OK) {
        bc_db_result_t result = db->stuck;
        bc_db_rollback(db);
        return result;
    }
    int code = sqlite3_exec(db->handle, "COMMIT", NULL, NULL, NULL);
    bc_db_result_t result = BC_DB_OK;
    if (code != SQLITE_OK) {
        result = stick(db, "commit", code);
        bc_log(BC_LOG_ERROR, "commit-failed-database-closed", bc_f_text("reason", sqlite3_errstr(code)));
        close_failed(db, "a commit failed");
    } else if (db->log_unmoved) {
        close_failed(db, "a checkpoint failed"); /* this commit is in the log, which the successor reads */
    }
    db->in_transaction = false;
    bc_db_leave(db);
    return result;
}

/* --- statements --- */

static bc_statement_t *find_statement(bc_db_t *db, const char *sql) {
    for (int i = 0; i < db->used; i++) {
        if (db->statements[i]->sql == sql && !db->statements[i]->taken) return db->statements[i];
    }
    return NULL;
}

bc_statement_t *bc_db_prepare(bc_db_t *db, const char *sql) {
    assert(db->entered);
    if (db->stuck != BC_DB_OK) return NULL;
    bc_statement_t *statement = find_statement(db, sql);
    if (statement == NULL) {
        assert(db->used < BC_DB_STATEMENTS_MAX); /* SQL texts are literals: their number is known when we write them */
        statement = calloc(1, sizeof(*statement));
        if (statement == NULL) {
            (void)stick(db, "prepare", SQLITE_NOMEM);
            return NULL;
        }
        int code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement->handle, NULL);
        if (code != SQLITE_OK) {
            (void)stick(db, sql, code);
            free(statement);
            return NULL;
        }
        statement->db = db;
        statement->sql = sql;
        db->statements[db->used++] = statement;
    }
    statement->taken = true;
    statement->bind_error = BC_DB_OK;
    return statement;
}

static void check_bind(bc_statement_t *statement, int code) {
    if (code != SQLITE_OK && statement->bind_error == BC_DB_OK)
        statement->bind_error = stick(statement->db, "bind", code);
}

void bc_bind_int(bc_statement_t *statement, int index, int64_t value) {
    if (statement != NULL) check_bind(statement, sqlite3_bind_int64(statement->handle, index, value));
}

void bc_bind_text(bc_statement_t *statement, int index, const char *text) {
    if (statement != NULL)
        check_bind(statement, sqlite3_bind_text(statement->handle, index, text, -1, SQLITE_TRANSIENT));
}

void bc_bind_bytes(bc_statement_t *statement, int index, const void *bytes, size_t length) {
    if (statement != NULL)
        check_bind(statement, sqlite3_bind_blob64(statement->handle, index, bytes, length, SQLITE_TRANSIENT));
}

void bc_bind_id(bc_statement_t *statement, int index, const cart_id_t *id) {
    bc_bind_bytes(statement, index, id->bytes, sizeof(id->bytes));
}

void bc_bind_null(bc_statement_t *statement, int index) {
    if (statement != NULL) check_bind(statement, sqlite3_bind_null(statement->handle, index));
}

bc_db_result_t bc_step(bc_statement_t *statement) {
    if (statement == NULL) return BC_DB_FAILED;
    bc_db_t *db = statement->db;
    assert(db->entered && statement->taken);
    if (db->stuck != BC_DB_OK) return db->stuck;
    if (sqlite3_stmt_busy(statement->handle) == 0) statements_of_thread++; /* its first step */
    int code = sqlite3_step(statement->handle);
    bc_db_result_t result = result_of(code);
    if (result == BC_DB_OK) result = BC_DB_DONE;
    if (result == BC_DB_ROW || result == BC_DB_DONE || result == BC_DB_CONSTRAINT) return result;
    return stick(db, statement->sql, code);
}

int64_t bc_column_int(bc_statement_t *statement, int column) {
    return sqlite3_column_int64(statement->handle, column);
}

double bc_column_double(bc_statement_t *statement, int column) {
    return sqlite3_column_double(statement->handle, column);
}

const char *bc_column_text(bc_statement_t *statement, int column) {
    return (const char *)sqlite3_column_text(statement->handle, column);
}

const void *bc_column_bytes(bc_statement_t *statement, int column, size_t *length) {
    const void *bytes = sqlite3_column_blob(statement->handle, column);
    *length = (size_t)sqlite3_column_bytes(statement->handle, column);
    return bytes;
}

bool bc_column_id(bc_statement_t *statement, int column, cart_id_t *id) {
    size_t length = 0;
    const void *bytes = bc_column_bytes(statement, column, &length);
    if (bytes == NULL || length != sizeof(id->bytes)) return false;
    memcpy(id->bytes, bytes, length);
    return true;
}

bool bc_column_is_null(bc_statement_t *statement, int column) {
    return sqlite3_column_type(statement->handle, column) == SQLITE_NULL;
}

void bc_statement_done(bc_statement_t *statement) {
    if (statement == NULL) return;
    assert(statement->taken);
    statement->taken = false;
    if (statement->handle == NULL) return;           /* a failed commit closed it */
    (void)sqlite3_reset(statement->handle);          /* repeats the step's error, which was answered */
    (void)sqlite3_clear_bindings(statement->handle); /* always SQLITE_OK */
}

bc_db_result_t bc_run(bc_statement_t *statement) {
    bc_db_result_t result = bc_step(statement);
    bc_statement_done(statement);
    return result == BC_DB_ROW ? BC_DB_DONE : result;
}

int64_t bc_db_changes(bc_db_t *db) {
    return db->handle == NULL ? 0 : sqlite3_changes64(db->handle);
}

int64_t bc_db_last_row(bc_db_t *db) {
    return db->handle == NULL ? 0 : sqlite3_last_insert_rowid(db->handle);
}
