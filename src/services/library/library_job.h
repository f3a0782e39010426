/*
 * Imports as jobs: an uploaded catalogue lies in a spool file (DATA/spool/<job>), a row of `jobs` says how far it is, and one thread
 * works them off, oldest first.
 *
 *   begin ──▶ RUNNING ──▶ DONE      read to its end; rejected rows are named
 *                └──────▶ FAILED    no catalogue: an unknown column, an empty file, …
 *
 * Invariants
 * 1. The spool file is whole and synced before its job's row is committed; it is removed only after the job has ended.
 * 2. Books, events, rejected rows and `rows_done` of a batch are one transaction: after a kill at any moment the job goes on behind
 *    the last batch that is stored, and no row counts twice. Reading is repeatable (library_reader.h), so the place is a count of rows.
 * 3. A trouble of ours (database, memory, disk) never fails a job: it is tried again after library_job_pause_ms.
 */
#ifndef LIBRARY_JOB_H
#define LIBRARY_JOB_H

#include "platform/bc_config.h"
#include "platform/bc_http.h"
#include "platform/bc_task.h"
#include "services/library/library_reader.h"
#include "services/library/library_store.h"

#define LIBRARY_JOB_PREFIX     "job_"
#define LIBRARY_JOB_PATH       "/internal/jobs/" /* and its id: PUT uploads, GET says how far it is */
#define LIBRARY_JOB_CSV        "text/csv"
#define LIBRARY_JOB_NDJSON     "application/x-ndjson"
#define LIBRARY_JOB_MEDIA      LIBRARY_JOB_CSV " " LIBRARY_JOB_NDJSON
#define LIBRARY_JOB_BYTES_MAX  (64 * 1024 * 1024)
#define LIBRARY_JOB_KEPT_MS    (30LL * 24 * 3600 * 1000) /* an ended job is shown so long */
#define LIBRARY_JOB_PATH_BYTES 4096

enum {
    library_job_reason_bytes = 256,
    library_job_pause_ms = 1000,
    library_jobs_running_max = 8, /* that wait or run at once; more are refused */
};

typedef enum { LIBRARY_JOB_RUNNING, LIBRARY_JOB_DONE, LIBRARY_JOB_FAILED } library_job_state_t; /* stored */

typedef struct {
    cart_id_t id;
    library_job_state_t state;
    library_format_t format;
    library_stock_rule_t rule;
    bool dry_run;
    int64_t rows; /* −1: not counted yet */
    int64_t rows_done;
    int64_t added;
    int64_t changed;
    int64_t unchanged;
    int64_t rejected;
    char reason[library_job_reason_bytes]; /* with LIBRARY_JOB_FAILED */
    int64_t created_ms;
    int64_t ended_ms; /* 0: has not */
} library_job_t;

typedef struct {
    int64_t line;
    char reason[library_job_reason_bytes];
} library_reject_t;

/* --- rows (library_job_store.c); those named _inside: between bc_db_begin or _enter and its end --- */

/* LIBRARY_TAKEN: as many as may wait are waiting. */
library_result_t library_job_put_inside(bc_db_t *db, const library_job_t *job);
library_result_t library_job_save_inside(bc_db_t *db, const library_job_t *job);
library_result_t library_job_reject_inside(bc_db_t *db, const cart_id_t *job, const library_reject_t *reject);

/* One job, or LIBRARY_ABSENT. */
library_result_t library_job_get_inside(bc_db_t *db, const cart_id_t *id, library_job_t *job);
/* The oldest that runs, or LIBRARY_ABSENT. */
library_result_t library_job_next(bc_db_t *db, library_job_t *job);
/* Rejected rows behind line `after`, in their order; at most `limit`. *count is how many were read. */
library_result_t library_job_rejects_inside(bc_db_t *db, const cart_id_t *job, int64_t after, int limit,
                                            library_reject_t *rejects, size_t *count);
/* Forgets what ended longer than LIBRARY_JOB_KEPT_MS ago. In a transaction. */
void library_job_tidy(bc_db_t *db, int64_t now_ms);

/* --- the spool (library_job.c) --- */

/* Makes a request's spooled body the job's file, synced. false: logged, and nothing is left. */
bool library_job_spool(const bc_config_t *config, const cart_id_t *id, const bc_request_t *request);
void library_job_unspool(const bc_config_t *config, const cart_id_t *id); /* absent: fine */

/* Removes what a kill left: files whose upload was never answered, or whose job has ended. Before uploads are taken. */
void library_job_sweep(const bc_config_t *config, bc_db_t *db);

/* --- the thread --- */

typedef struct {
    const bc_config_t *config;   /* borrowed */
    library_store_t *store;      /* borrowed */
    void (*tell)(void *context); /* after each batch that changed books */
    void *context;
} library_worker_t;

/* One round of the thread (bc_task_step_t; the context is a library_worker_t): works off one job. */
int64_t library_job_step(bc_task_t *task, void *context);

#endif
