/*
 * The SQLite base: one file, one process, one connection, one thread (Debian's SQLite 3.40.1 has the WAL-reset bug that
 * needs two connections; the connection locks the file exclusively, so that nobody's shell is the second one). WAL with
 * synchronous=FULL; checkpoints are ours, on the same thread, and a failed commit or checkpoint closes the database until
 * it has been reopened and checkpointed.
 */
#ifndef ENGINE_BASE_SQLITE_H
#define ENGINE_BASE_SQLITE_H

#include "engine/base.h"
#include "engine/files.h"

typedef struct {
    const char *path;
    const char *vfs;       /* NULL: the default; the power-cut suite names its own */
    int synchronous_full;  /* 1; 0 only for the power-cut suite's planted bug */
    int threaded;          /* 1; 0: calls run at once and results wait for poll (power-cut suite) */
    cart_id_t incarnation; /* of this process; noted beside its claim */
    const files_t *files;  /* of the same disk as vfs; NULL: files_posix() */
    int checkpoint_pages;  /* a checkpoint when the log has so many pages of 4 KiB; 0: 1000 */
    int wait; /* 1: wait for the lock on path.lock; 0: BASE_OPEN_LOCKED, so that a caller can log, then wait */
} base_sqlite_config_t;

typedef enum {
    BASE_OPEN_OK = 0,
    BASE_OPEN_FAILED,
    BASE_OPEN_LOCKED,
    BASE_OPEN_NEWER, /* the schema is of a newer program */
    BASE_OPEN_NOT_MIGRATED,
    BASE_OPEN_OTHER_OWNER, /* claimed by another journal: an explicit take-over takes a new epoch */
} base_open_t;

/* Numbered migrations; *applied counts them. Creates the file. Takes the lock for as long as it runs. */
base_open_t base_sqlite_migrate(const base_sqlite_config_t *config, unsigned *applied, char *detail, size_t bytes);
/* Opens, claims for this journal (or refuses), tells epoch and floor. take_over: claim all the same, in a new epoch.
 * On failure the out-parameters are unchanged and `detail` says why. The base is the caller's: base->destroy(). */
base_open_t base_sqlite_open(const base_sqlite_config_t *config, const cart_id_t *journal_id, int take_over,
                             uint64_t *epoch, uint64_t *floor, base_t **base, char *detail, size_t bytes);

/* The file was restored: whoever claims it next gets a new epoch, its own journal too. Takes the lock for as long as it runs. */
base_open_t base_sqlite_renew(const base_sqlite_config_t *config, char *detail, size_t bytes);

#endif
