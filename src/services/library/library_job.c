/* The thread that works jobs off, and their spool files. */
#include "services/library/library_job.h"

#include "platform/bc_fault.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_time.h"
#include "services/library/library_import.h"
#include "services/library/library_json.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the spool --- */

static bool spool_path(const bc_config_t *config, const char *name, char path[LIBRARY_JOB_PATH_BYTES]) {
    char relative[64];
    int length = snprintf(relative, sizeof(relative), "spool%s%s", name[0] == '\0' ? "" : "/", name);
    assert(length > 0 && (size_t)length < sizeof(relative));
    return bc_config_path(config, relative, path, LIBRARY_JOB_PATH_BYTES);
}

bool library_job_spool(const bc_config_t *config, const cart_id_t *id, const bc_request_t *request) {
    char name[CART_ID_CHARS + 1], path[LIBRARY_JOB_PATH_BYTES];
    cart_id_format(LIBRARY_JOB_PREFIX, id, name);
    if (spool_path(config, name, path) && bc_request_spool_keep(request, path)) return true;
    bc_log(BC_LOG_ERROR, "import-not-spooled", bc_f_text("job", name), bc_f_text("reason", strerror(errno)));
    library_job_unspool(config, id);
    return false;
}

void library_job_unspool(const bc_config_t *config, const cart_id_t *id) {
    char name[CART_ID_CHARS + 1], path[LIBRARY_JOB_PATH_BYTES];
    cart_id_format(LIBRARY_JOB_PREFIX, id, name);
    if (spool_path(config, name, path) && unlink(path) != 0 && errno != ENOENT)
        bc_log(BC_LOG_WARN, "import-file-left", bc_f_text("job", name), bc_f_text("reason", strerror(errno)));
}

void library_job_sweep(const bc_config_t *config, bc_db_t *db) {
    char folder[LIBRARY_JOB_PATH_BYTES];
    DIR *dir = spool_path(config, "", folder) ? opendir(folder) : NULL;
    if (dir == NULL) return; /* nothing was ever spooled */
    const struct dirent *entry;
    bool good = true;
    while (good && (entry = readdir(dir)) != NULL) {
        cart_id_t id;
        library_job_t job = {.state = LIBRARY_JOB_DONE};
        if (entry->d_name[0] == '.' && strlen(entry->d_name) <= 2) continue;
        if (cart_id_parse(LIBRARY_JOB_PREFIX, entry->d_name, strlen(entry->d_name), &id)) {
            bc_db_enter(db);
            good = library_job_get_inside(db, &id, &job) != LIBRARY_FAILED;
            bc_db_leave(db);
        }
        if (good && job.state != LIBRARY_JOB_RUNNING) (void)unlinkat(dirfd(dir), entry->d_name, 0); /* next start */
    }
    (void)closedir(dir); /* read only */
}

/* --- one run over a job's file --- */

typedef struct {
    const library_worker_t *worker;
    const bc_task_t *task;
    library_job_t job;                /* as stored, and then as it will be with the batch */
    int64_t row;                      /* rows read, 1… */
    json_t *books;                    /* owned; the batch */
    size_t bytes;                     /* of their texts */
    int64_t lines[library_batch_max]; /* where each book of the batch stands */
    library_reject_t *rejects;        /* owned; of the batch: library_batch_max */
    size_t reject_count;
    bool trouble; /* ours: again later */
} run_t;

static bool count_row(void *context, const library_reader_row_t *row) {
    run_t *run = context;
    (void)row;
    run->row++;
    return !bc_task_stopping(run->task);
}

static void note_reject(run_t *run, int64_t line, const char *reason) {
    library_reject_t *reject = &run->rejects[run->reject_count++];
    reject->line = line;
    (void)snprintf(reject->reason, sizeof(reject->reason), "%s", reason); /* cut is fine: for people */
}

static void count_results(run_t *run, const library_imported_t *results, size_t count) {
    for (size_t i = 0; i < count; i++) {
        switch (results[i]) {
        case LIBRARY_IMPORT_NEW:
            run->job.added++;
            break;
        case LIBRARY_IMPORT_CHANGED:
            run->job.changed++;
            break;
        case LIBRARY_IMPORT_UNCHANGED:
            run->job.unchanged++;
            break;
        case LIBRARY_IMPORT_GONE:
            note_reject(run, run->lines[i], "id: the book was deleted");
            break;
        }
    }
}

/* The books of the batch into the store. Inside the batch's transaction. */
static library_result_t import_books(run_t *run) {
    size_t count = json_array_size(run->books);
    if (count == 0) return LIBRARY_OK;
    library_imported_t results[library_batch_max];
    library_book_t *books = library_import_books(run->books);
    if (books == NULL) return LIBRARY_FAILED;
    library_result_t result = library_store_import_inside(run->worker->store, books, count, bc_time_ms(), run->job.rule,
                                                          run->job.dry_run, results);
    free(books);
    if (result == LIBRARY_OK) count_results(run, results, count);
    return result;
}

/* Stores what was read since the last batch, in one transaction with the job's progress. false: run->trouble. */
static bool store_batch(run_t *run) {
    bc_db_t *db = library_store_db(run->worker->store);
    const library_job_t before = run->job;
    if (run->row == before.rows_done) return true;
    run->trouble = true;
    if (bc_db_begin(db) != BC_DB_OK) return false;
    bool good = import_books(run) == LIBRARY_OK;
    for (size_t i = 0; good && i < run->reject_count; i++) {
        if (run->job.rejected++ >= library_rejects_named_max) continue;
        good = library_job_reject_inside(db, &run->job.id, &run->rejects[i]) == LIBRARY_OK;
    }
    run->job.rows_done = run->row;
    good = good && library_job_save_inside(db, &run->job) == LIBRARY_OK && !bc_fault("library.import-unstored");
    if (!good) bc_db_rollback(db);
    if (!good || bc_db_commit(db) != BC_DB_OK) {
        run->job = before;
        return false;
    }
    bool told = run->job.added != before.added || run->job.changed != before.changed;
    if (told && !run->job.dry_run) run->worker->tell(run->worker->context);
    json_decref(run->books);
    run->books = NULL;
    run->bytes = 0;
    run->reject_count = 0;
    run->trouble = bc_fault("library.import-stored");
    return !run->trouble;
}

static bool take_row(void *context, const library_reader_row_t *row) {
    run_t *run = context;
    if (bc_task_stopping(run->task)) return false;
    run->row++;
    if (run->row <= run->job.rows_done) return true; /* stored by an earlier run */
    if (row->book == NULL) {
        note_reject(run, (int64_t)row->line, row->reason);
    } else {
        if (run->books == NULL) run->books = json_array();
        run->lines[json_array_size(run->books)] = (int64_t)row->line;
        run->trouble = json_array_append_new(run->books, library_json_plain(row->book)) != 0;
        if (run->trouble) return false;
        run->bytes += library_book_bytes(row->book);
    }
    /* Books and rejected rows together: a book may become a rejected row when it is stored. */
    bool full = run->reject_count + json_array_size(run->books) == library_batch_max ||
                run->bytes >= LIBRARY_IMPORT_BATCH_BYTES;
    return full ? store_batch(run) : true;
}

static bool end_job(run_t *run, library_job_state_t state, const char *reason) {
    bc_db_t *db = library_store_db(run->worker->store);
    char name[CART_ID_CHARS + 1];
    cart_id_format(LIBRARY_JOB_PREFIX, &run->job.id, name);
    run->job.state = state;
    run->job.ended_ms = bc_time_ms();
    if (state == LIBRARY_JOB_DONE) run->job.rows = run->job.rows_done;
    (void)snprintf(run->job.reason, sizeof(run->job.reason), "%s", reason); /* cut is fine: for people */
    if (bc_db_begin(db) != BC_DB_OK) return false;
    if (library_job_save_inside(db, &run->job) != LIBRARY_OK) {
        bc_db_rollback(db);
        return false;
    }
    if (bc_db_commit(db) != BC_DB_OK) return false;
    library_job_unspool(run->worker->config, &run->job.id);
    bc_log(BC_LOG_INFO, state == LIBRARY_JOB_DONE ? "import-done" : "import-refused", bc_f_text("job", name),
           bc_f_int("rows", run->job.rows_done), bc_f_int("new", run->job.added), bc_f_int("changed", run->job.changed),
           bc_f_int("rejected", run->job.rejected), bc_f_int("dry_run", run->job.dry_run));
    return true;
}

/* How many rows there are, which is shown while they are worked off. */
static library_read_t count_rows(run_t *run, int fd, char reason[library_reason_bytes]) {
    const char *currency = bc_config_text(run->worker->config, BC_CURRENCY);
    library_read_t read = library_reader_read(fd, run->job.format, currency, count_row, run, reason);
    if (read == LIBRARY_READ_WHOLE) run->job.rows = run->row;
    if (read == LIBRARY_READ_WHOLE && lseek(fd, 0, SEEK_SET) != 0) read = LIBRARY_READ_FAILED;
    run->row = 0;
    return read;
}

/* true: the job has ended, and so did its row. */
static bool run_job(run_t *run, int fd) {
    char reason[library_reason_bytes] = "";
    const char *currency = bc_config_text(run->worker->config, BC_CURRENCY);
    library_read_t read = LIBRARY_READ_WHOLE;
    if (run->job.rows < 0) read = count_rows(run, fd, reason);
    if (read == LIBRARY_READ_WHOLE) {
        read = library_reader_read(fd, run->job.format, currency, take_row, run, reason);
    }
    switch (read) {
    case LIBRARY_READ_WHOLE:
        return store_batch(run) && end_job(run, LIBRARY_JOB_DONE, "");
    case LIBRARY_READ_REFUSED:
        /* What was read before the fault is stored, as each batch before it was. */
        return store_batch(run) && end_job(run, LIBRARY_JOB_FAILED, reason);
    case LIBRARY_READ_STOPPED:
        return false; /* the service stops, or the database does not take it now */
    case LIBRARY_READ_FAILED:
        bc_log(BC_LOG_WARN, "import-waits", bc_f_text("reason", reason));
        return false;
    }
    return false;
}

int64_t library_job_step(bc_task_t *task, void *context) {
    const library_worker_t *worker = context;
    char name[CART_ID_CHARS + 1], path[LIBRARY_JOB_PATH_BYTES];
    int64_t next_ms = library_job_pause_ms;
    run_t *run = calloc(1, sizeof(*run));
    if (run == NULL) return next_ms;
    run->worker = worker;
    run->task = task;
    library_result_t found = library_job_next(library_store_db(worker->store), &run->job);
    run->rejects = calloc(library_batch_max, sizeof(*run->rejects));
    if (found == LIBRARY_ABSENT) next_ms = -1;
    if (found != LIBRARY_OK || run->rejects == NULL) goto done;
    cart_id_format(LIBRARY_JOB_PREFIX, &run->job.id, name);
    int fd = spool_path(worker->config, name, path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (run_job(run, fd)) next_ms = 0; /* the next one waits */
        (void)close(fd);                   /* read only */
    } else if (errno == ENOENT) {
        /* Not by a crash (invariant 1): somebody took the file away, or it was not in a backup. */
        if (end_job(run, LIBRARY_JOB_FAILED, "the uploaded file is no longer there; upload it again")) next_ms = 0;
    } else {
        bc_log(BC_LOG_ERROR, "import-waits", bc_f_text("reason", strerror(errno)));
    }
done:
    json_decref(run->books);
    free(run->rejects);
    free(run);
    return next_ms;
}
