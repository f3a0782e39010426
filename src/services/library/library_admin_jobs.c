/* Uploading a catalogue, and looking how far it is. The work is in library_job.c. */
#include "platform/bc_cursor.h"
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"
#include "services/library/library_service.h"

#include <stdio.h>
#include <string.h>

enum { rejects_limit = 24, rejects_limit_max = 100 };

static const char *const state_words[] = {
    [LIBRARY_JOB_RUNNING] = "running",
    [LIBRARY_JOB_DONE] = "done",
    [LIBRARY_JOB_FAILED] = "failed",
};
static const char *const rule_words[] = {[LIBRARY_STOCK_NEW] = "new", [LIBRARY_STOCK_IGNORE] = "ignore"};

/* --- uploading --- */

/* One of two words; absent: the first. false: a problem was set. */
static bool read_choice(const bc_request_t *request, bc_reply_t *reply, const char *name, const char *const words[2],
                        int *choice) {
    const char *text = bc_request_query(request, name);
    for (int i = 0; i < 2; i++) {
        if (text == NULL || strcmp(text, words[i]) == 0) {
            *choice = i;
            return true;
        }
    }
    char detail[64];
    (void)snprintf(detail, sizeof(detail), "%s or %s", words[0], words[1]); /* fits */
    bc_reply_problem_field(reply, "malformed-request", name, "unknown", detail);
    return false;
}

static bool read_upload(const bc_request_t *request, bc_reply_t *reply, library_job_t *job, size_t *length) {
    static const char *const dry_words[2] = {"false", "true"};
    const char *media = NULL;
    int rule = 0, dry = 0, fd = -1;
    if (!read_choice(request, reply, "stock", rule_words, &rule) ||
        !read_choice(request, reply, "dry_run", dry_words, &dry)) {
        return false;
    }
    if (!bc_request_spool(request, &fd, length, &media) || *length == 0) {
        bc_reply_problem(reply, "malformed-request", "the body is empty");
        return false;
    }
    *job = (library_job_t){
        .id = bc_random_id(),
        .format = strcmp(media, LIBRARY_JOB_CSV) == 0 ? LIBRARY_FORMAT_CSV : LIBRARY_FORMAT_NDJSON,
        .rule = (library_stock_rule_t)rule,
        .dry_run = dry != 0,
        .created_ms = bc_time_ms(),
    };
    return true;
}

/* The job's row and the answer under the request's key, in one transaction. */
static library_result_t save_job(const library_t *library, const library_job_t *job, bc_once_t *once,
                                 const json_t *body, const char *location) {
    bc_db_t *db = library_store_db(library->store);
    if (bc_db_begin(db) != BC_DB_OK) return LIBRARY_FAILED;
    library_result_t result = library_job_put_inside(db, job);
    if (result != LIBRARY_OK) {
        bc_db_rollback(db);
        return result;
    }
    bc_once_keep(once, 202, body, location);
    return bc_db_commit(db) == BC_DB_OK ? LIBRARY_OK : LIBRARY_FAILED;
}

/* After a job could not be saved: whether it is there all the same, sent before under the id that its sender has drawn. The file is kept
 * only for a job that has yet to read it. */
static bool is_there_already(const library_t *library, const cart_id_t *id) {
    library_job_t there;
    bc_db_t *db = library_store_db(library->store);
    bc_db_enter(db);
    library_result_t found = library_job_get_inside(db, id, &there);
    bc_db_leave(db);
    /* Unknown: the file stays for the next start to look at. */
    if (found == LIBRARY_ABSENT || (found == LIBRARY_OK && there.state != LIBRARY_JOB_RUNNING))
        library_job_unspool(library->config, id);
    return found == LIBRARY_OK;
}

static void take_upload(const library_t *library, const bc_request_t *request, bc_reply_t *reply,
                        const library_job_t *job, size_t length, bc_once_t *once) {
    char name[CART_ID_CHARS + 1], location[64];
    cart_id_format(LIBRARY_JOB_PREFIX, &job->id, name);
    (void)snprintf(location, sizeof(location), "/api/v1/admin/jobs/%s", name); /* fits */
    json_t *body = json_pack("{s:s}", "id", name);
    library_result_t result = LIBRARY_FAILED;
    if (body != NULL && library_job_spool(library->config, &job->id, request)) {
        result = save_job(library, job, once, body, location);
        if (result != LIBRARY_OK && is_there_already(library, &job->id)) result = LIBRARY_OK;
    }
    if (result == LIBRARY_OK) {
        bc_task_wake(library->jobs);
        bc_log(BC_LOG_INFO, "import-begins", bc_f_text("job", name), bc_f_int("bytes", (int64_t)length));
        bc_reply_header(reply, "Location", location);
        bc_reply_cache(reply, "private, no-cache");
        bc_reply_json(reply, 202, json_incref(body));
    } else if (result == LIBRARY_TAKEN) {
        bc_reply_problem(reply, "too-many-requests", "eight imports wait already");
        bc_reply_retry_after(reply, 10000);
    } else {
        library_reply_failed(reply);
    }
    json_decref(body);
}

void library_handle_job_import(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    library_job_t job;
    size_t length = 0;
    bc_once_t once;
    if (!read_upload(request, reply, &job, &length)) return;
    if (!bc_once_begin(library_store_db(library->store), request, reply, BC_ONCE_OPTIONAL, &once)) return;
    take_upload(library, request, reply, &job, length, &once);
    bc_once_end(&once, reply);
}

/* Of the import command: it draws the id, so that what it sends again, not knowing whether it came, is the same job. */
void library_handle_job_put(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    const char *name = bc_request_part(request, "id");
    library_job_t job;
    size_t length = 0;
    cart_id_t id;
    bc_once_t none = {.db = NULL};
    if (!cart_id_parse(LIBRARY_JOB_PREFIX, name, strlen(name), &id)) {
        bc_reply_not_found(reply);
        return;
    }
    if (!read_upload(request, reply, &job, &length)) return;
    job.id = id;
    take_upload(library, request, reply, &job, length, &none);
}

/* --- looking --- */

static json_t *time_or_null(int64_t ms) {
    char text[BC_TIME_TEXT_BYTES];
    if (ms == 0) return json_null();
    bc_time_format(ms, text);
    return json_string(text);
}

static json_t *rejects_json(const library_reject_t *rejects, size_t count) {
    json_t *items = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *item = json_pack("{s:I, s:s}", "line", (json_int_t)rejects[i].line, "reason", rejects[i].reason);
        if (json_array_append_new(items, item) != 0) { /* also without `items` */
            json_decref(items);
            return NULL;
        }
    }
    return items;
}

/* Takes `rejects`. NULL without memory. */
static json_t *job_json(const library_job_t *job, const char *name, json_t *rejects, const char *next) {
    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "id", name,
                     "kind", "import", "state", state_words[job->state], "dry_run", (int)job->dry_run, "stock",
                     rule_words[job->rule], "rows", job->rows < 0 ? json_null() : json_integer(job->rows), "rows_done",
                     (json_int_t)job->rows_done, "added", (json_int_t)job->added, "changed", (json_int_t)job->changed,
                     "unchanged", (json_int_t)job->unchanged, "rejected_count", (json_int_t)job->rejected, "rejected",
                     rejects, "reason", job->reason[0] == '\0' ? json_null() : json_string(job->reason), "created_at",
                     time_or_null(job->created_ms), "finished_at", time_or_null(job->ended_ms), "next_cursor",
                     next == NULL ? json_null() : json_string(next));
}

void library_handle_job(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    const char *name = bc_request_part(request, "id");
    const char *cursor = bc_request_query(request, "cursor");
    cart_id_t id;
    int64_t limit = 0, after = 0;
    if (!cart_id_parse(LIBRARY_JOB_PREFIX, name, strlen(name), &id)) {
        bc_reply_not_found(reply);
        return;
    }
    if (!bc_request_query_int(request, reply, "limit", 1, rejects_limit_max, rejects_limit, &limit)) return;
    if (cursor != NULL && !bc_cursor_read(library->service_key, name, cursor, &after, sizeof(after))) {
        bc_reply_problem(reply, "bad-cursor", NULL);
        return;
    }
    library_job_t job;
    library_reject_t rejects[rejects_limit_max + 1];
    size_t count = 0;
    bc_db_t *db = bc_db_enter_read(library_store_db(library->store));
    library_result_t result = library_job_get_inside(db, &id, &job);
    if (result == LIBRARY_OK) result = library_job_rejects_inside(db, &id, after, (int)limit + 1, rejects, &count);
    bc_db_leave(db);
    if (result == LIBRARY_ABSENT) {
        bc_reply_not_found(reply);
        return;
    }
    if (result != LIBRARY_OK) {
        library_reply_failed(reply);
        return;
    }
    char next[BC_CURSOR_CHARS];
    bool more = count > (size_t)limit;
    if (more) {
        count = (size_t)limit;
        bc_cursor_write(library->service_key, name, &rejects[count - 1].line, sizeof(rejects[0].line), next);
    }
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, job_json(&job, name, rejects_json(rejects, count), more ? next : NULL));
}
