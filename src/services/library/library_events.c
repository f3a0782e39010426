#include "services/library/library_events.h"

#include "platform/bc_log.h"
#include "services/library/library_service.h"
#include "services/library/library_sql.h"

#include <assert.h>
#include <stdio.h>

enum { announce_page = 500 };

/* `data` is taken. */
static void put(bc_db_t *db, const char *type, int64_t book, json_t *data) {
    char key[24];
    (void)snprintf(key, sizeof(key), "%lld", (long long)book); /* fits */
    if (data == NULL) {
        bc_db_fail(db, "no memory for an event");
        return;
    }
    bc_event_put(db, "books", type, key, data);
    json_decref(data);
}

void library_event_created(bc_db_t *db, int64_t book, int64_t stock) {
    put(db, "book.created", book, json_pack("{s:I, s:I}", "book", (json_int_t)book, "stock", (json_int_t)stock));
}

void library_event_changed(bc_db_t *db, int64_t book) {
    put(db, "book.changed", book, json_pack("{s:I}", "book", (json_int_t)book));
}

void library_events_hidden(bc_db_t *db, const int64_t *books, size_t count) {
    json_t *events = json_array();
    for (size_t i = 0; i < count && events != NULL; i++) {
        char key[24];
        (void)snprintf(key, sizeof(key), "%lld", (long long)books[i]); /* fits */
        json_t *event = json_pack("{s:s, s:{s:I}}", "key", key, "data", "book", (json_int_t)books[i]);
        if (json_array_append_new(events, event) != 0) {
            json_decref(events);
            events = NULL;
        }
    }
    bc_event_put_many(db, "books", "book.hidden", events); /* fails the transaction without memory */
    json_decref(events);
}

/* --- a store that is older than its outbox --- */

static bool announce_page_after(bc_db_t *db, int64_t *after, size_t *count) {
    int64_t ids[announce_page], stocks[announce_page];
    bc_statement_t *page = bc_db_prepare(db, LIBRARY_SQL_AFTER);
    bc_bind_int(page, 1, *after);
    bc_bind_int(page, 2, announce_page);
    *count = 0;
    while (*count < announce_page && bc_step(page) == BC_DB_ROW) {
        ids[*count] = bc_column_int(page, 0);
        stocks[(*count)++] = bc_column_int(page, 1);
    }
    bc_statement_done(page);
    for (size_t i = 0; i < *count; i++) library_event_created(db, ids[i], stocks[i]);
    if (*count > 0) *after = ids[*count - 1];
    return bc_db_is_sound(db);
}

bool library_events_announce(library_store_t *store) {
    bc_db_t *db = library_store_db(store);
    if (bc_db_begin(db) != BC_DB_OK) return false;
    bc_statement_t *mark = bc_db_prepare(db, LIBRARY_SQL_META_PUT);
    bc_bind_text(mark, 1, "announced");
    bc_bind_bytes(mark, 2, "1", 1);
    bool first = bc_run(mark) == BC_DB_DONE && bc_db_changes(db) == 1;
    int64_t after = 0, total = 0;
    size_t count = 0;
    /* New books publish themselves from now on: the mark and the events are one transaction. */
    while (first && announce_page_after(db, &after, &count) && count > 0) total += (int64_t)count;
    if (bc_db_commit(db) != BC_DB_OK) return false;
    if (total > 0) bc_log(BC_LOG_INFO, "books-announced", bc_f_int("books", total));
    return true;
}

/* --- what the ledger tells --- */

static bool take_number(const json_t *data, const char *name, int64_t least, int64_t most, int64_t *number) {
    const json_t *value = json_object_get(data, name);
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most) return false;
    *number = json_integer_value(value);
    return true;
}

static bc_event_result_t apply_stock(bc_db_t *db, const bc_event_t *event, void *context, char reason[256]) {
    int64_t book = 0, copies = 0, revision = 0;
    const library_t *library = context;
    assert(db == library_store_db(library->store));
    (void)db;
    if (!take_number(event->data, "book", 1, LIBRARY_ID_MAX, &book) ||
        !take_number(event->data, "free", 0, INT64_MAX, &copies) ||
        !take_number(event->data, "revision", 1, INT64_MAX, &revision)) {
        (void)snprintf(reason, 256, "book, free or revision is missing or out of range"); /* fits */
        return BC_EVENT_FAILED;
    }
    if (library_store_stock_inside(library->store, book, copies, revision) == LIBRARY_OK) return BC_EVENT_APPLIED;
    (void)snprintf(reason, 256, "the database"); /* fits */
    return BC_EVENT_WAIT;
}

const bc_event_handler_t library_stock_events[] = {
    {"stock.changed", apply_stock},
    {NULL, NULL},
};

/* --- the log of the service's events, and what it could not apply of others' --- */

void library_tell(const library_t *library) {
    bc_feed_wake(library->feed);
    bc_outbox_wake(library->outbox);
}

void library_handle_events(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    bc_outbox_serve(library->outbox, request, reply);
}

void library_handle_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    bc_dead_letters_serve(library_store_db(library->store), request, reply);
}

void library_handle_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    bc_consumer_t *const consumers[] = {library->stock};
    bc_dead_letters_replay(consumers, 1, library_store_db(library->store), request, reply);
}

void library_handle_dead_letters_discard(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    bc_consumer_t *const consumers[] = {library->stock};
    bc_dead_letters_discard(consumers, 1, library_store_db(library->store), request, reply);
}
