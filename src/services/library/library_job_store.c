#include "services/library/library_job.h"

#include <assert.h>
#include <stdio.h>

#define JOB_ROW                                                                                                        \
    "id, state, format, stock_rule, dry_run, rows_total, rows_done, added, changed, unchanged, rejected, reason, "     \
    "created_ms, ended_ms "

static void read_job(bc_statement_t *row, library_job_t *job) {
    const char *reason = bc_column_text(row, 11);
    *job = (library_job_t){
        .state = (library_job_state_t)bc_column_int(row, 1),
        .format = (library_format_t)bc_column_int(row, 2),
        .rule = (library_stock_rule_t)bc_column_int(row, 3),
        .dry_run = bc_column_int(row, 4) != 0,
        .rows = bc_column_int(row, 5),
        .rows_done = bc_column_int(row, 6),
        .added = bc_column_int(row, 7),
        .changed = bc_column_int(row, 8),
        .unchanged = bc_column_int(row, 9),
        .rejected = bc_column_int(row, 10),
        .created_ms = bc_column_int(row, 12),
        .ended_ms = bc_column_int(row, 13),
    };
    (void)bc_column_id(row, 0, &job->id);                                                 /* stored by us */
    (void)snprintf(job->reason, sizeof(job->reason), "%s", reason == NULL ? "" : reason); /* stored as short */
}

static library_result_t one_job(bc_statement_t *statement, library_job_t *job) {
    bc_db_result_t found = bc_step(statement);
    if (found == BC_DB_ROW) read_job(statement, job);
    bc_statement_done(statement);
    return found == BC_DB_ROW ? LIBRARY_OK : found == BC_DB_DONE ? LIBRARY_ABSENT : LIBRARY_FAILED;
}

library_result_t library_job_put_inside(bc_db_t *db, const library_job_t *job) {
    assert(job->state == LIBRARY_JOB_RUNNING && job->rows_done == 0);
    bc_statement_t *put =
        bc_db_prepare(db, "INSERT INTO jobs(id, state, format, stock_rule, dry_run, rows_total, created_ms) "
                          "SELECT ?1, 0, ?2, ?3, ?4, -1, ?5 "
                          "WHERE (SELECT COUNT(*) FROM jobs WHERE state = 0) < ?6");
    bc_bind_id(put, 1, &job->id);
    bc_bind_int(put, 2, job->format);
    bc_bind_int(put, 3, job->rule);
    bc_bind_int(put, 4, job->dry_run);
    bc_bind_int(put, 5, job->created_ms);
    bc_bind_int(put, 6, library_jobs_running_max);
    if (bc_run(put) != BC_DB_DONE) return LIBRARY_FAILED;
    return bc_db_changes(db) == 1 ? LIBRARY_OK : LIBRARY_TAKEN;
}

library_result_t library_job_save_inside(bc_db_t *db, const library_job_t *job) {
    assert(job->added + job->changed + job->unchanged + job->rejected == job->rows_done);
    assert((job->ended_ms == 0) == (job->state == LIBRARY_JOB_RUNNING));
    bc_statement_t *save = bc_db_prepare(db, "UPDATE jobs SET state = ?2, rows_total = ?3, rows_done = ?4, added = ?5, "
                                             "changed = ?6, unchanged = ?7, rejected = ?8, reason = ?9, ended_ms = ?10 "
                                             "WHERE id = ?1 AND state = 0 AND rows_done <= ?4");
    bc_bind_id(save, 1, &job->id);
    bc_bind_int(save, 2, job->state);
    bc_bind_int(save, 3, job->rows);
    bc_bind_int(save, 4, job->rows_done);
    bc_bind_int(save, 5, job->added);
    bc_bind_int(save, 6, job->changed);
    bc_bind_int(save, 7, job->unchanged);
    bc_bind_int(save, 8, job->rejected);
    bc_bind_text(save, 9, job->reason[0] == '\0' ? NULL : job->reason);
    bc_bind_int(save, 10, job->ended_ms);
    return bc_run(save) == BC_DB_DONE && bc_db_changes(db) == 1 ? LIBRARY_OK : LIBRARY_FAILED;
}

library_result_t library_job_reject_inside(bc_db_t *db, const cart_id_t *job, const library_reject_t *reject) {
    bc_statement_t *put = bc_db_prepare(db, "INSERT INTO job_rejects(job, line, reason) VALUES(?1, ?2, ?3)");
    bc_bind_id(put, 1, job);
    bc_bind_int(put, 2, reject->line);
    bc_bind_text(put, 3, reject->reason);
    return bc_run(put) == BC_DB_DONE ? LIBRARY_OK : LIBRARY_FAILED;
}

library_result_t library_job_get_inside(bc_db_t *db, const cart_id_t *id, library_job_t *job) {
    bc_statement_t *get = bc_db_prepare(db, "SELECT " JOB_ROW "FROM jobs WHERE id = ?1");
    bc_bind_id(get, 1, id);
    return one_job(get, job);
}

library_result_t library_job_next(bc_db_t *db, library_job_t *job) {
    bc_db_enter(db);
    library_result_t result =
        one_job(bc_db_prepare(db, "SELECT " JOB_ROW "FROM jobs WHERE state = 0 ORDER BY created_ms, id LIMIT 1"), job);
    bc_db_leave(db);
    return result;
}

library_result_t library_job_rejects_inside(bc_db_t *db, const cart_id_t *job, int64_t after, int limit,
                                            library_reject_t *rejects, size_t *count) {
    bc_statement_t *page =
        bc_db_prepare(db, "SELECT line, reason FROM job_rejects WHERE job = ?1 AND line > ?2 ORDER BY line LIMIT ?3");
    bc_bind_id(page, 1, job);
    bc_bind_int(page, 2, after);
    bc_bind_int(page, 3, limit);
    size_t read = 0;
    while (read < (size_t)limit && bc_step(page) == BC_DB_ROW) {
        rejects[read].line = bc_column_int(page, 0);
        (void)snprintf(rejects[read].reason, sizeof(rejects[read].reason), "%s",
                       bc_column_text(page, 1)); /* as short */
        read++;
    }
    bc_statement_done(page);
    if (!bc_db_is_sound(db)) return LIBRARY_FAILED;
    *count = read;
    return LIBRARY_OK;
}

void library_job_tidy(bc_db_t *db, int64_t now_ms) {
    bc_statement_t *rejects = bc_db_prepare(
        db, "DELETE FROM job_rejects WHERE job IN (SELECT id FROM jobs WHERE state <> 0 AND ended_ms < ?1)");
    bc_bind_int(rejects, 1, now_ms - LIBRARY_JOB_KEPT_MS);
    (void)bc_run(rejects); /* errors stick */
    bc_statement_t *jobs = bc_db_prepare(db, "DELETE FROM jobs WHERE state <> 0 AND ended_ms < ?1");
    bc_bind_int(jobs, 1, now_ms - LIBRARY_JOB_KEPT_MS);
    (void)bc_run(jobs); /* errors stick */
}
