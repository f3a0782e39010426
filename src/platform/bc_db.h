/*
 * A service's database: one SQLite file; one connection that writes, under a mutex; BC_DB_READERS_MAX that read beside it.
 *
 * What waits for what. A writer (bc_db_begin, bc_db_enter) has the one writing connection to itself, the sync of its commit included. A reader
 * (bc_db_enter_read) waits for no writer and no sync, only for one of the reading connections, in order of coming. So a read whose result
 * decides a change of the same handler is made inside the writer's transaction; every other one by a reader.
 *
 * Invariants
 * 1. Statements run only between bc_db_enter (_enter_read, _begin) and _leave (_commit, _rollback), in the thread that entered.
 * 2. Parameters are bound, never pasted. SQL texts are string literals: the statement cache is keyed by their address.
 * 3. A failed COMMIT closes the database: bc_db_commit says so, every later call (of readers too) answers BC_DB_CLOSED, the log says
 *    ERROR, and the service ends with an error so that its supervisor starts it over on what is really stored. Nothing is tried again. A
 *    checkpoint that fails does the same behind its commit, which counts.
 * 4. journal_mode=WAL, synchronous=FULL, foreign_keys=ON; a COMMIT that returned is on the disk.
 * 5. A reader sees what is durable and nothing else: one picture of the database for the whole entry, not older than the last commit that
 *    had returned when it began.
 * 6. Readers never write, neither rows nor the log nor a checkpoint: they are opened read-only and told so twice. Checkpoints are the
 *    writer's, in its own thread, behind a commit and at the close, where it is the last. (SQLite before 3.51.3 may lose
 *    what was committed when one connection checkpoints while another writes. docs/decisions/0098)
 * 7. An entry of a reader is short and leaves no statement open, so that the log can begin anew. When it is longer than
 *    BC_DB_WAL_PAGES_MAX, the writer waits (100 ms at most) for those who are inside, so that it does whatever the load.
 *
 * The first error inside a transaction sticks: later statements answer it too, and commit turns into rollback. So a handler may
 * run its statements and look once, at the commit.
 */
#ifndef BC_DB_H
#define BC_DB_H

#include "cart/cart_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BC_DB_STATEMENTS_MAX 256 /* of one connection */
/* Two cores' work and as many again that wait for the disk; 2 MB of cache and two files each. */
#define BC_DB_READERS_MAX    4
#define BC_DB_WAL_PAGES_MAX  4000 /* 16 MB: beyond, a commit waits for readers to let the log begin anew */

typedef struct bc_db bc_db_t;
typedef struct bc_statement bc_statement_t;

typedef enum {
    BC_DB_OK,
    BC_DB_ROW,
    BC_DB_DONE,       /* no more rows; the statement did its work */
    BC_DB_CONSTRAINT, /* unique, foreign key, check: the caller decides what it means; does not stick */
    BC_DB_FULL,       /* disk full, or an I/O error */
    BC_DB_FAILED,     /* anything else; logged */
    BC_DB_CLOSED,     /* a commit failed before */
    BC_DB_NEWER       /* the file was made by a newer program */
} bc_db_result_t;

/* Migrations, in order; number 1 is the first. `sql` may hold several statements and runs in one transaction with its entry
 * in table `migrations`. A file that has applied more than the list holds is refused (BC_DB_NEWER). */
typedef struct {
    const char *name;
    const char *sql; /* NULL ends the list */
} bc_migration_t;

/* Opens (0600) and migrates. The caller holds the lock of the file's owner. *db unchanged on failure, which is logged. */
bc_db_result_t bc_db_open(const char *path, const bc_migration_t *migrations, bc_db_t **db);
void bc_db_close(bc_db_t *db);   /* NULL is fine; checkpoints */
bool bc_db_is_open(bc_db_t *db); /* false after a failed commit */

/* From its return on, and for `ms`, nothing is written to any file that this process has open: bc_db_begin waits, reads go on (their marks
 * in `-shm` are no part of a copy). So the files and their logs can be copied as they are. 0 lets go before the time is over; again extends.
 * Waits for transactions that run. */
void bc_db_hold_all(int64_t ms);

/* For reads. What comes back is the database to use until bc_db_leave, with all calls below but those that write: a write through
 * it fails (sticks, is logged). Waits while BC_DB_READERS_MAX are inside. A thread is inside one reader at a time, of whatever database; it
 * takes no lock inside that others hold while they enter. Never NULL: after a failed commit every statement answers BC_DB_CLOSED. */
bc_db_t *bc_db_enter_read(bc_db_t *db);
int bc_db_waiting(bc_db_t *db); /* how many wait for a reader now */
/* The writer's connection, without a transaction: single statements that write, or reads beside them. */
void bc_db_enter(bc_db_t *db);
/* Between enter or begin and its end: no statement has failed so far (constraints do not count). */
bool bc_db_is_sound(const bc_db_t *db);
void bc_db_leave(bc_db_t *db);
/* Between begin and its end: the caller has failed outside the database (no memory, …); the commit becomes a rollback. */
void bc_db_spoil(bc_db_t *db);
bc_db_result_t bc_db_begin(bc_db_t *db);  /* enters, BEGIN IMMEDIATE; on failure it has not entered */
bc_db_result_t bc_db_commit(bc_db_t *db); /* leaves in every case. BC_DB_OK: durable. Anything else: nothing of it is */
void bc_db_rollback(bc_db_t *db);         /* leaves */
/* The caller cannot go on (no memory for a parameter): sticks like a statement's error, so that the commit turns into a rollback. */
void bc_db_fail(bc_db_t *db, const char *where);

/* A cached, reset statement with nothing bound; borrowed until bc_statement_done. NULL on error (sticks). All functions below take
 * NULL and answer with the error. Bound text and bytes are copied. Indexes: parameters from 1, columns from 0. */
bc_statement_t *bc_db_prepare(bc_db_t *db, const char *sql);
void bc_bind_int(bc_statement_t *statement, int index, int64_t value);
void bc_bind_text(bc_statement_t *statement, int index, const char *text); /* NULL binds null */
void bc_bind_bytes(bc_statement_t *statement, int index, const void *bytes, size_t length);
void bc_bind_id(bc_statement_t *statement, int index, const cart_id_t *id);
void bc_bind_null(bc_statement_t *statement, int index);
bc_db_result_t bc_step(bc_statement_t *statement); /* BC_DB_ROW, BC_DB_DONE or an error */
int64_t bc_column_int(bc_statement_t *statement, int column);
double bc_column_double(bc_statement_t *statement, int column);
const char *bc_column_text(bc_statement_t *statement, int column); /* borrowed until the next step; NULL: null */
const void *bc_column_bytes(bc_statement_t *statement, int column, size_t *length);
bool bc_column_id(bc_statement_t *statement, int column, cart_id_t *id); /* false: not 16 bytes */
bool bc_column_is_null(bc_statement_t *statement, int column);
void bc_statement_done(bc_statement_t *statement);
/* prepare has happened; step once, done: for writes. BC_DB_DONE or an error. */
bc_db_result_t bc_run(bc_statement_t *statement);

int64_t bc_db_changes(bc_db_t *db);  /* rows changed by the last statement */
int64_t bc_db_last_row(bc_db_t *db); /* rowid of the last insert */

/* Statements stepped by this thread since bc_db_count_reset: the number of queries of a request. bc_http resets it before a
 * handler, and services started with BOOKCART_LOG_LEVEL = debug send it as `Bookcart-Statements`. BEGIN and COMMIT do not count. */
int bc_db_count(void);
void bc_db_count_reset(void);

/* Where SQLite and MySQL 8 differ, a statement uses these; everything else is the dialect that both read. */
#define BC_SQL_INSERT_IGNORE "INSERT OR IGNORE INTO "               /* MySQL: INSERT IGNORE INTO */
#define BC_SQL_UPSERT(key)   " ON CONFLICT(" key ") DO UPDATE SET " /* MySQL: AS excluded ON DUPLICATE KEY UPDATE */
#define BC_SQL_ID            "BLOB"                                 /* MySQL: BINARY(16) */
#define BC_SQL_BYTES         "BLOB"                                 /* MySQL: VARBINARY(255) */
#define BC_SQL_BIGINT        "INTEGER"                              /* MySQL: BIGINT */
#define BC_SQL_SERIAL        "INTEGER PRIMARY KEY AUTOINCREMENT"    /* MySQL: BIGINT PRIMARY KEY AUTO_INCREMENT */
/* A parameter's JSON array as rows with a column `value`: `FROM " BC_SQL_EACH("?2") " AS j`, its members as `j.value ->> '$.book'`. So a
 * statement's number does not grow with the lines of an order. MySQL: JSON_TABLE(param, '$[*]' COLUMNS(value JSON PATH '$')) */
#define BC_SQL_EACH(param)   "json_each(" param ")"

#endif
