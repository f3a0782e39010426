/*
 * The publishing side: rows of `outbox`, put in the transaction of the change and served as a log.
 *
 * A position is given inside the transaction, and transactions of one connection come one after the other: whoever reads position n has
 * all that is committed below it. A database with several writers would have to number when it commits.
 */
#include "platform/bc_events_internal.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_PREFIX "evt_"

struct bc_outbox {
    const char *service; /* borrowed */
    bc_db_t *db;         /* borrowed */
    bc_feed_t *feed;     /* owned */
};

/* --- publishing --- */

void bc_event_put(bc_db_t *db, const char *topic, const char *type, const char *key, const json_t *data) {
    char id[CART_ID_CHARS + 1];
    cart_id_t drawn = bc_random_id();
    assert(strlen(topic) <= BC_EVENT_TOPIC_MAX && strlen(type) <= BC_EVENT_TYPE_MAX);
    assert(key[0] != '\0' && strlen(key) <= BC_EVENT_KEY_MAX);
    assert(json_is_object(data));
    char *text = json_dumps(data, JSON_COMPACT);
    assert(text == NULL || strlen(text) <= BC_EVENT_DATA_MAX);
    cart_id_format(EVENT_PREFIX, &drawn, id);
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO outbox(id, topic, type, event_key, created_ms, data) VALUES(?, ?, ?, ?, ?, ?)");
    bc_bind_text(statement, 1, id);
    bc_bind_text(statement, 2, topic);
    bc_bind_text(statement, 3, type);
    bc_bind_text(statement, 4, key);
    bc_bind_int(statement, 5, bc_time_ms());
    bc_bind_text(statement, 6, text);
    /* Without memory `data` is null, which the table refuses: that must not pass as a constraint the caller may overlook. */
    if (bc_run(statement) == BC_DB_CONSTRAINT) bc_db_fail(db, "outbox");
    free(text);
}

/* A row of bc_event_put_many: the event with an id of its own, its data as text. NULL without memory. */
static json_t *row_of(const json_t *event) {
    char id[CART_ID_CHARS + 1];
    cart_id_t drawn = bc_random_id();
    const char *key = json_string_value(json_object_get(event, "key"));
    const json_t *data = json_object_get(event, "data");
    assert(key != NULL && key[0] != '\0' && strlen(key) <= BC_EVENT_KEY_MAX);
    assert(json_is_object(data));
    char *text = json_dumps(data, JSON_COMPACT);
    assert(text == NULL || strlen(text) <= BC_EVENT_DATA_MAX);
    cart_id_format(EVENT_PREFIX, &drawn, id);
    json_t *row = text == NULL ? NULL : json_pack("{s:s, s:s, s:s}", "id", id, "key", key, "data", text);
    free(text);
    return row;
}

void bc_event_put_many(bc_db_t *db, const char *topic, const char *type, const json_t *events) {
    assert(strlen(topic) <= BC_EVENT_TOPIC_MAX && strlen(type) <= BC_EVENT_TYPE_MAX);
    json_t *rows = events == NULL ? NULL : json_array();
    bool good = rows != NULL;
    for (size_t i = 0; good && i < json_array_size(events); i++)
        good = json_array_append_new(rows, row_of(json_array_get(events, i))) == 0;
    char *text = good ? json_dumps(rows, JSON_COMPACT) : NULL;
    json_decref(rows);
    if (text == NULL) {
        bc_db_fail(db, "outbox");
        return;
    }
    bc_statement_t *statement = bc_db_prepare(
        db, "INSERT INTO outbox(id, topic, type, event_key, created_ms, data) SELECT j.value ->> '$.id', ?2, ?3, "
            "j.value ->> '$.key', ?4, j.value ->> '$.data' FROM " BC_SQL_EACH("?1") " AS j");
    bc_bind_text(statement, 1, text);
    bc_bind_text(statement, 2, topic);
    bc_bind_text(statement, 3, type);
    bc_bind_int(statement, 4, bc_time_ms());
    if (bc_run(statement) == BC_DB_CONSTRAINT) bc_db_fail(db, "outbox");
    free(text);
}

/* --- the log --- */

static bool read_log(void *context, uint64_t after, int limit, json_t *items, uint64_t *position, bool *more) {
    const bc_outbox_t *outbox = context;
    bc_db_t *db = bc_db_enter_read(outbox->db);
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT position, id, topic, type, event_key, created_ms, data FROM outbox "
                          "WHERE position > ? ORDER BY position LIMIT ?");
    bc_bind_int(statement, 1, after > INT64_MAX ? INT64_MAX : (int64_t)after);
    bc_bind_int(statement, 2, (int64_t)limit + 1);
    bool good = true;
    while (good && bc_step(statement) == BC_DB_ROW) {
        char number[24];
        if (json_array_size(items) == (size_t)limit) {
            *more = true;
            break;
        }
        uint64_t at = (uint64_t)bc_column_int(statement, 0);
        (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)at);
        json_t *event = bc_event_json(outbox->service, bc_column_text(statement, 1), bc_column_text(statement, 2),
                                      bc_column_text(statement, 3), bc_column_text(statement, 4),
                                      bc_column_int(statement, 5), bc_column_text(statement, 6));
        good = event != NULL && json_object_set_new(event, "position", json_string(number)) == 0;
        if (!good) {
            json_decref(event);
            break;
        }
        good = json_array_append_new(items, event) == 0;
        if (good) *position = at;
    }
    bc_statement_done(statement);
    good = good && bc_db_is_sound(db);
    bc_db_leave(db);
    return good;
}

/* The log's generation: drawn with the file, drawn anew by a restore. */
static bool load_generation(bc_db_t *db, char generation[BC_GENERATION_MAX + 1]) {
    char drawn[24];
    bc_random_text(12, drawn, sizeof(drawn));
    if (bc_db_begin(db) != BC_DB_OK) return false;
    bc_statement_t *put = bc_db_prepare(db, BC_SQL_INSERT_IGNORE "outbox_generation(number, generation) VALUES(1, ?)");
    bc_bind_text(put, 1, drawn);
    (void)bc_run(put); /* errors stick */
    bc_statement_t *get = bc_db_prepare(db, "SELECT generation FROM outbox_generation WHERE number = 1");
    bool found = bc_step(get) == BC_DB_ROW;
    if (found) (void)snprintf(generation, BC_GENERATION_MAX + 1, "%s", bc_column_text(get, 0)); /* as long at most */
    bc_statement_done(get);
    return bc_db_commit(db) == BC_DB_OK && found;
}

void bc_outbox_renew(bc_db_t *db) {
    char drawn[24];
    bc_random_text(12, drawn, sizeof(drawn));
    bc_statement_t *statement = bc_db_prepare(db, "UPDATE outbox_generation SET generation = ? WHERE number = 1");
    bc_bind_text(statement, 1, drawn);
    (void)bc_run(statement); /* errors stick */
}

bc_outbox_t *bc_outbox_create(const char *service, bc_db_t *db) {
    char generation[BC_GENERATION_MAX + 1];
    assert(strlen(service) <= BC_EVENT_SOURCE_MAX);
    bc_outbox_t *outbox = calloc(1, sizeof(*outbox));
    if (outbox == NULL) return NULL;
    outbox->service = service;
    outbox->db = db;
    if (load_generation(db, generation)) outbox->feed = bc_feed_create(generation, read_log, outbox);
    if (outbox->feed == NULL) {
        free(outbox);
        return NULL;
    }
    return outbox;
}

void bc_outbox_destroy(bc_outbox_t *outbox) {
    if (outbox == NULL) return;
    bc_feed_destroy(outbox->feed);
    free(outbox);
}

void bc_outbox_wake(bc_outbox_t *outbox) {
    if (outbox != NULL) bc_feed_wake(outbox->feed);
}

void bc_outbox_serve(bc_outbox_t *outbox, bc_request_t *request, bc_reply_t *reply) {
    bc_feed_serve(outbox->feed, request, reply);
}

void bc_events_tidy(bc_db_t *db, const bc_config_t *config, int64_t now_ms) {
    int64_t keep_ms = bc_config_number(config, BC_EVENTS_KEEP);
    bc_statement_t *outbox = bc_db_prepare(db, "DELETE FROM outbox WHERE created_ms < ?");
    bc_bind_int(outbox, 1, now_ms - keep_ms);
    (void)bc_run(outbox); /* errors stick */
    /* Twice as long: an event that its log still holds may come again, and must be known then. */
    bc_statement_t *inbox = bc_db_prepare(db, "DELETE FROM inbox WHERE applied_ms < ?");
    bc_bind_int(inbox, 1, now_ms - 2 * keep_ms);
    (void)bc_run(inbox);
}
