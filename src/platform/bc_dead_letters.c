/* What a consumer could not apply, and how far it is: read, replayed and discarded over its internal listener. */
#include "platform/bc_events_internal.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <stdio.h>

enum { letters_max = 100 }; /* of the longest events fit into a reply that bc_client takes */

static void answer_unavailable(bc_reply_t *reply) {
    bc_reply_problem(reply, "unavailable", NULL);
    bc_reply_retry_after(reply, 1000);
}

static json_t *number_text(int64_t number) {
    char text[24];
    (void)snprintf(text, sizeof(text), "%lld", (long long)number);
    return json_string(text);
}

static json_t *log_json(bc_db_t *db) {
    bc_statement_t *statement = bc_db_prepare(
        db, "SELECT (SELECT generation FROM outbox_generation WHERE number = 1), (SELECT MAX(position) FROM outbox)");
    json_t *log = NULL;
    if (bc_step(statement) == BC_DB_ROW)
        log = json_pack("{s:s?, s:o}", "generation", bc_column_text(statement, 0), "head",
                        number_text(bc_column_int(statement, 1)));
    bc_statement_done(statement);
    return log;
}

static json_t *followed_json(bc_db_t *db) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT source, position FROM followed ORDER BY source");
    json_t *list = json_array();
    while (bc_step(statement) == BC_DB_ROW) {
        json_t *one = json_pack("{s:s, s:o}", "source", bc_column_text(statement, 0), "position",
                                number_text(bc_column_int(statement, 1)));
        if (json_array_append_new(list, one) != 0) break; /* no memory: one less is shown */
    }
    bc_statement_done(statement);
    return list;
}

/* *next = the position to go on behind, 0: there are no more. */
static json_t *letters_json(bc_db_t *db, int64_t after, int64_t limit, int64_t *next) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT position, source, event, reason, tries, failed_ms FROM dead_letters "
                          "WHERE position > ? ORDER BY position LIMIT ?");
    bc_bind_int(statement, 1, after);
    bc_bind_int(statement, 2, limit + 1);
    json_t *list = json_array();
    int64_t last = 0;
    *next = 0;
    while (bc_step(statement) == BC_DB_ROW) {
        char failed_at[BC_TIME_TEXT_BYTES];
        if (json_array_size(list) == (size_t)limit) {
            *next = last;
            break;
        }
        last = bc_column_int(statement, 0);
        bc_time_format(bc_column_int(statement, 5), failed_at);
        json_t *letter = json_pack("{s:o, s:s, s:s, s:I, s:s, s:o}", "position", number_text(last), "source",
                                   bc_column_text(statement, 1), "reason", bc_column_text(statement, 3), "tries",
                                   (json_int_t)bc_column_int(statement, 4), "failed_at", failed_at, "event",
                                   json_loads(bc_column_text(statement, 2), 0, NULL));
        if (json_array_append_new(list, letter) != 0) break; /* no memory: fewer are shown */
    }
    bc_statement_done(statement);
    return list;
}

void bc_dead_letters_serve(bc_db_t *db, bc_request_t *request, bc_reply_t *reply) {
    int64_t after = 0, limit = 0, next = 0;
    if (!bc_request_query_int(request, reply, "after", 0, INT64_MAX, 0, &after) ||
        !bc_request_query_int(request, reply, "limit", 1, letters_max, letters_max, &limit))
        return;
    bc_db_t *reader = bc_db_enter_read(db);
    json_t *log = log_json(reader), *followed = followed_json(reader),
           *letters = letters_json(reader, after, limit, &next);
    bool sound = bc_db_is_sound(reader);
    bc_db_leave(reader);
    if (!sound) {
        json_decref(log);
        json_decref(followed);
        json_decref(letters);
        answer_unavailable(reply);
        return;
    }
    bc_reply_json(reply, 200,
                  json_pack("{s:o, s:o, s:o, s:o}", "log", log, "followed", followed, "items", letters, "next",
                            next == 0 ? json_null() : number_text(next)));
}

/* In a transaction: all letters, or all of the key of the one named. */
static int64_t mark(bc_db_t *db, const char *event) {
    bc_statement_t *statement;
    if (event == NULL) {
        statement = bc_db_prepare(db, "UPDATE dead_letters SET tries = -1");
    } else {
        statement =
            bc_db_prepare(db, "UPDATE dead_letters SET tries = -1 WHERE (source, event_key) IN (SELECT source, "
                              "event_key FROM (SELECT source, event_key FROM dead_letters WHERE event_id = ?) AS one)");
        bc_bind_text(statement, 1, event);
    }
    return bc_run(statement) == BC_DB_DONE ? bc_db_changes(db) : 0;
}

void bc_dead_letters_replay(bc_consumer_t *const *consumers, size_t count, bc_db_t *db, bc_request_t *request,
                            bc_reply_t *reply) {
    const char *event = bc_request_string(request, "event");
    if (bc_db_begin(db) != BC_DB_OK) {
        answer_unavailable(reply);
        return;
    }
    int64_t marked = mark(db, event);
    if (bc_db_commit(db) != BC_DB_OK) {
        answer_unavailable(reply);
        return;
    }
    if (event != NULL && marked == 0) {
        bc_reply_not_found(reply);
        return;
    }
    for (size_t i = 0; i < count; i++) bc_consumer_wake(consumers[i]);
    bc_reply_json(reply, 200, json_pack("{s:I}", "replayed", (json_int_t)marked));
}

/* --- discarding --- */

/* Parameters: an event's id and a type, one of them null and so matching nothing, and the last position that is looked at. */
#define DISCARDED " FROM dead_letters WHERE (event_id = ? OR event ->> '$.type' = ?) AND position <= ?"

static void bind_discarded(bc_statement_t *statement, int first, bc_request_t *request, int64_t last) {
    bc_bind_text(statement, first, bc_request_string(request, "event"));
    bc_bind_text(statement, first + 1, bc_request_string(request, "type"));
    bc_bind_int(statement, first + 2, last);
}

/* In a transaction, like all below: the first that match, up to letters_max. *last = the position of the last of them. */
static json_t *discarded_json(bc_db_t *db, bc_request_t *request, int64_t *last, bool *more) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT position, source, reason, event" DISCARDED " ORDER BY position LIMIT ?");
    bind_discarded(statement, 1, request, INT64_MAX);
    bc_bind_int(statement, 4, letters_max + 1);
    json_t *list = json_array();
    while (bc_step(statement) == BC_DB_ROW) {
        *more = json_array_size(list) == letters_max;
        if (*more) break;
        json_t *letter =
            json_pack("{s:s, s:s, s:o}", "source", bc_column_text(statement, 1), "reason", bc_column_text(statement, 2),
                      "event", json_loads(bc_column_text(statement, 3), 0, NULL));
        if (json_array_append_new(list, letter) != 0) {
            bc_db_fail(db, "discarded"); /* no memory: what is not shown must not go */
            break;
        }
        *last = bc_column_int(statement, 0);
    }
    bc_statement_done(statement);
    return list;
}

/* They count as applied: a log that is read anew does not bring them back. */
static void drop_discarded(bc_db_t *db, bc_request_t *request, int64_t last) {
    bc_statement_t *applied = bc_db_prepare(db, BC_SQL_INSERT_IGNORE
                                            "inbox(source, event_id, applied_ms) SELECT source, event_id, ?" DISCARDED);
    bc_bind_int(applied, 1, bc_time_ms());
    bind_discarded(applied, 2, request, last);
    (void)bc_run(applied); /* errors stick */
    bc_statement_t *gone = bc_db_prepare(db, "DELETE" DISCARDED);
    bind_discarded(gone, 1, request, last);
    (void)bc_run(gone);
}

static int64_t letters_left(bc_db_t *db) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT COUNT(*) FROM dead_letters");
    int64_t left = bc_step(statement) == BC_DB_ROW ? bc_column_int(statement, 0) : 0;
    bc_statement_done(statement);
    return left;
}

static void log_discarded(const json_t *letters) {
    size_t i;
    const json_t *letter;
    json_array_foreach(letters, i, letter) {
        const json_t *event = json_object_get(letter, "event");
        bc_log(BC_LOG_WARN, "event-discarded", bc_f_text("log", json_string_value(json_object_get(letter, "source"))),
               bc_f_text("id", json_string_value(json_object_get(event, "id"))),
               bc_f_text("type", json_string_value(json_object_get(event, "type"))),
               bc_f_text("key", json_string_value(json_object_get(event, "subject"))),
               bc_f_text("reason", json_string_value(json_object_get(letter, "reason"))));
    }
}

void bc_dead_letters_discard(bc_consumer_t *const *consumers, size_t count, bc_db_t *db, bc_request_t *request,
                             bc_reply_t *reply) {
    const char *event = bc_request_string(request, "event"), *type = bc_request_string(request, "type");
    int64_t last = 0;
    bool more = false;
    if ((event == NULL) == (type == NULL)) {
        bc_reply_problem(reply, "malformed-request", "either an event or a type");
        return;
    }
    if (bc_db_begin(db) != BC_DB_OK) {
        answer_unavailable(reply);
        return;
    }
    json_t *letters = discarded_json(db, request, &last, &more);
    drop_discarded(db, request, last);
    int64_t left = letters_left(db);
    if (bc_db_commit(db) != BC_DB_OK) {
        json_decref(letters);
        answer_unavailable(reply);
        return;
    }
    if (event != NULL && json_array_size(letters) == 0) {
        json_decref(letters);
        bc_reply_not_found(reply);
        return;
    }
    log_discarded(letters);
    for (size_t i = 0; i < count; i++)
        bc_consumer_wake(consumers[i]); /* one may be pausing before its next try of it */
    bc_reply_json(reply, 200, json_pack("{s:o, s:b, s:I}", "items", letters, "more", more, "left", (json_int_t)left));
}
