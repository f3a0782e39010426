/* What a store publishes with each change, and what it takes of the ledger's news: a real database, no service around it. */
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "services/library/library_events.h"
#include "services/library/library_json.h"
#include "services/library/library_service.h"
#include "services/library/library_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];
static bc_db_t *database;
static library_store_t *store;

static void reopen(void) {
    library_store_close(store);
    bc_db_close(database);
    assert_int_equal(bc_db_open(path, library_migrations, &database), BC_DB_OK);
    store = library_store_open(database, "fts5:");
    assert_non_null(store);
}

static int setup(void **state) {
    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/bookcart-events-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) != 0 || unlink(path) != 0 || !bc_random_init()) return -1;
    store = NULL;
    database = NULL;
    reopen();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    library_store_close(store);
    bc_db_close(database);
    return unlink(path);
}

static library_book_t a_book(int64_t id, int64_t stock) {
    return (library_book_t){
        .id = id, .title = "T", .has_price = true, .price_minor = 100, .has_stock = true, .stock = stock};
}

static void import(int64_t id, const char *title, int64_t stock) {
    library_book_t book = a_book(id, stock);
    library_imported_t result;
    book.title = title;
    assert_int_equal(library_store_import(store, &book, 1, 1, &result), LIBRARY_OK);
}

/* "type data|" of each event behind `after`. */
static const char *log_after(int64_t after) {
    static char text[4096];
    bc_db_t *db = library_store_db(store);
    text[0] = '\0';
    bc_db_enter(db);
    bc_statement_t *events =
        bc_db_prepare(db, "SELECT topic, type, event_key, data FROM outbox WHERE position > ?1 ORDER BY position");
    bc_bind_int(events, 1, after);
    while (bc_step(events) == BC_DB_ROW) {
        size_t used = strlen(text);
        assert_string_equal(bc_column_text(events, 0), "books");
        (void)snprintf(text + used, sizeof(text) - used, "%s %s %s|", bc_column_text(events, 1),
                       bc_column_text(events, 2), bc_column_text(events, 3));
    }
    bc_statement_done(events);
    bc_db_leave(db);
    return text;
}

static library_change_t retitle(void *context, const library_row_t *row, library_book_t *book) {
    (void)row;
    *book = *(const library_book_t *)context;
    return LIBRARY_CHANGE_SAVE;
}

static bool look(void *context, const library_row_t *row) {
    (void)context;
    (void)row;
    return true;
}

static void each_change_is_published_with_it(void **state) {
    (void)state;
    import(1, "One", 5);
    import(1, "One", 9); /* only the copies differ: no change */
    import(1, "Uno", 5);
    library_book_t book = a_book(1, 5);
    assert_int_equal(library_store_change(store, 1, 2, retitle, look, &book), LIBRARY_OK);
    bc_db_t *db = library_store_db(store);
    library_hidden_t hidden;
    int64_t id = 0;
    library_book_t fresh = a_book(0, 3);
    fresh.id = 0;
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(library_store_hide_inside(store, 1, 3, &hidden), LIBRARY_OK);
    assert_int_equal(hidden, LIBRARY_HIDDEN);
    assert_int_equal(library_store_hide_inside(store, 1, 3, &hidden), LIBRARY_OK);
    assert_int_equal(hidden, LIBRARY_HIDDEN_BEFORE);
    assert_int_equal(library_store_hide_inside(store, 2, 3, &hidden), LIBRARY_OK);
    assert_int_equal(hidden, LIBRARY_HIDDEN_NEVER);
    assert_int_equal(library_store_create_inside(store, &fresh, 3, &id), LIBRARY_OK);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    assert_true(id == LIBRARY_OWN_ID_FIRST);
    assert_string_equal(log_after(0), "book.created 1 {\"book\":1,\"stock\":5}|book.changed 1 {\"book\":1}|"
                                      "book.changed 1 {\"book\":1}|book.hidden 1 {\"book\":1}|"
                                      "book.created 1000000000 {\"book\":1000000000,\"stock\":3}|");
}

typedef struct {
    int64_t ids[8];
    uint64_t positions[8];
    size_t count;
} fed_t;

static bool feed(void *context, const library_row_t *row) {
    fed_t *fed = context;
    fed->ids[fed->count] = row->id;
    fed->positions[fed->count++] = row->position;
    assert_true(row->gone);
    return true;
}

/* Those that are live, in the order asked; each with a position and an event of its own, and with as many statements as one. */
static void many_are_hidden_at_the_cost_of_one(void **state) {
    (void)state;
    static const int64_t ids[] = {5, 77, 3, 2, 4};
    static const library_hidden_t expected[] = {LIBRARY_HIDDEN, LIBRARY_HIDDEN_NEVER, LIBRARY_HIDDEN,
                                                LIBRARY_HIDDEN_BEFORE, LIBRARY_HIDDEN};
    library_hidden_t hidden[5];
    library_found_t found;
    fed_t fed = {.count = 0};
    bc_db_t *db = library_store_db(store);
    for (int64_t n = 1; n <= 5; n++) import(n, n == 1 ? "Shared Persuasion" : "Shared Emma", 1);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    bc_db_count_reset();
    assert_int_equal(library_store_hide_inside(store, 2, 3, hidden), LIBRARY_OK);
    int of_one = bc_db_count();
    bc_db_count_reset();
    assert_int_equal(library_store_hide_all_inside(store, ids, 5, 3, hidden), LIBRARY_OK);
    assert_int_equal(bc_db_count(), of_one);
    bc_db_count_reset();
    assert_int_equal(library_store_hide_all_inside(store, ids, 5, 3, hidden), LIBRARY_OK); /* once more: nothing */
    assert_int_equal(bc_db_count(), 1);
    for (size_t i = 0; i < 5; i++) assert_int_equal(hidden[i], i == 1 ? LIBRARY_HIDDEN_NEVER : LIBRARY_HIDDEN_BEFORE);
    bc_db_rollback(db);

    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(library_store_hide_inside(store, 2, 3, hidden), LIBRARY_OK);
    assert_int_equal(library_store_hide_all_inside(store, ids, 5, 3, hidden), LIBRARY_OK);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    assert_memory_equal(hidden, expected, sizeof(expected));
    assert_int_equal(library_store_feed(store, 5, 8, feed, &fed), LIBRARY_OK);
    assert_int_equal(fed.count, 4);
    static const int64_t in_order[] = {2, 5, 3, 4};
    assert_memory_equal(fed.ids, in_order, sizeof(in_order));
    for (size_t i = 1; i < fed.count; i++) assert_true(fed.positions[i] == fed.positions[i - 1] + 1);
    assert_non_null(strstr(log_after(0), "|book.hidden 2 {\"book\":2}|book.hidden 5 {\"book\":5}|"
                                         "book.hidden 3 {\"book\":3}|book.hidden 4 {\"book\":4}|"));
    /* The index knows neither them nor the word that only they had. */
    assert_int_equal(library_search_find(library_store_search(store), "shared", &found), LIBRARY_SEARCH_OK);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.hits[0].book, 1);
    library_found_free(&found);
    assert_int_equal(library_search_find(library_store_search(store), "emma", &found), LIBRARY_SEARCH_OK);
    assert_int_equal(found.count, 0);
    library_found_free(&found);
}

static void what_is_rolled_back_was_never_published(void **state) {
    (void)state;
    bc_db_t *db = library_store_db(store);
    library_book_t book = a_book(7, 1);
    int64_t id = 0;
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(library_store_create_inside(store, &book, 1, &id), LIBRARY_OK);
    bc_db_rollback(db);
    assert_string_equal(log_after(0), "");
    assert_int_equal(library_store_get(store, 7, look, NULL), LIBRARY_ABSENT);
    /* A dry run decides the same and writes nothing. */
    library_imported_t result;
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(library_store_import_inside(store, &book, 1, 1, LIBRARY_STOCK_NEW, true, &result), LIBRARY_OK);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    assert_int_equal(result, LIBRARY_IMPORT_NEW);
    assert_string_equal(log_after(0), "");
}

static void ids_are_chosen_upwards_and_never_twice(void **state) {
    (void)state;
    bc_db_t *db = library_store_db(store);
    library_hidden_t hidden;
    int64_t id = 0;
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    for (int64_t n = 0; n < 3; n++) {
        library_book_t book = a_book(0, 0);
        assert_int_equal(library_store_create_inside(store, &book, 1, &id), LIBRARY_OK);
        assert_true(id == LIBRARY_OWN_ID_FIRST + n);
        assert_int_equal(library_store_hide_inside(store, id, 1, &hidden), LIBRARY_OK);
    }
    library_book_t named = a_book(LIBRARY_OWN_ID_FIRST, 0);
    assert_int_equal(library_store_create_inside(store, &named, 1, &id), LIBRARY_TAKEN);
    named.id = LIBRARY_OWN_ID_LAST;
    assert_int_equal(library_store_create_inside(store, &named, 1, &id), LIBRARY_OK);
    library_book_t last = a_book(0, 0);
    assert_int_equal(library_store_create_inside(store, &last, 1, &id), LIBRARY_TAKEN);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
}

static void books_older_than_the_outbox_are_announced_once(void **state) {
    (void)state;
    static const char *const undo[] = {"DELETE FROM outbox", "DELETE FROM meta WHERE name = 'announced'"};
    for (int64_t n = 1; n <= 1201; n++) import(n, "T", n % 7); /* more than two pages of the announcement */
    bc_db_t *db = library_store_db(store);
    library_hidden_t hidden;
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(library_store_hide_inside(store, 3, 3, &hidden), LIBRARY_OK);
    for (size_t i = 0; i < 2; i++) assert_int_equal(bc_run(bc_db_prepare(db, undo[i])), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    for (int round = 0; round < 2; round++) {
        reopen();
        db = library_store_db(store);
        bc_db_enter(db);
        bc_statement_t *count =
            bc_db_prepare(db, "SELECT COUNT(*), COUNT(DISTINCT event_key) FROM outbox WHERE type = 'book.created'");
        assert_int_equal(bc_step(count), BC_DB_ROW);
        assert_int_equal(bc_column_int(count, 0), 1200); /* the hidden one is not for sale */
        assert_int_equal(bc_column_int(count, 1), 1200);
        bc_statement_done(count);
        bc_db_leave(db);
    }
}

/* --- the ledger's news --- */

typedef struct {
    int64_t stock;
    uint64_t position, content_position;
    char etag[BC_ETAG_BYTES];
} stocked_t;

static bool take_stocked(void *context, const library_row_t *row) {
    stocked_t *stocked = context;
    stocked->stock = row->stock;
    stocked->position = row->position;
    stocked->content_position = row->content_position;
    library_etag(row, "generation", "EUR", stocked->etag);
    return true;
}

static stocked_t stock_of(int64_t book) {
    stocked_t stocked = {0};
    assert_int_equal(library_store_get(store, book, take_stocked, &stocked), LIBRARY_OK);
    return stocked;
}

static bc_event_result_t tell(const char *data) {
    library_t library = {.store = store};
    char reason[256] = "";
    json_t *object = json_loads(data, 0, NULL);
    const bc_event_t event = {
        .id = "evt_1", .source = "payment", .topic = "stock", .type = "stock.changed", .key = "1", .data = object};
    bc_db_t *db = library_store_db(store);
    assert_string_equal(library_stock_events[0].type, "stock.changed");
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    bc_event_result_t result = library_stock_events[0].apply(db, &event, &library, reason);
    if (result == BC_EVENT_APPLIED) {
        assert_int_equal(bc_db_commit(db), BC_DB_OK);
    } else {
        bc_db_rollback(db);
        assert_true(reason[0] != '\0');
    }
    json_decref(object);
    return result;
}

static void an_older_revision_never_overrides_a_newer_one(void **state) {
    (void)state;
    import(1, "One", 100);
    import(2, "Two", 1);
    stocked_t before = stock_of(1);
    assert_int_equal(tell("{\"book\":1,\"free\":90,\"revision\":5}"), BC_EVENT_APPLIED);
    stocked_t after = stock_of(1);
    assert_int_equal(after.stock, 90);
    assert_true(after.position > before.position); /* the feed hears of it */
    assert_true(after.content_position == before.content_position);
    assert_string_equal(after.etag, before.etag); /* what is shown is the same: decision 0027 */
    static const char *const older[] = {"{\"book\":1,\"free\":95,\"revision\":4}",
                                        "{\"book\":1,\"free\":0,\"revision\":5}"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(tell(older[i]), BC_EVENT_APPLIED);
        assert_int_equal(stock_of(1).stock, 90);
        assert_true(stock_of(1).position == after.position);
    }
    assert_int_equal(tell("{\"book\":1,\"free\":90,\"revision\":6}"), BC_EVENT_APPLIED);
    assert_true(stock_of(1).position == after.position); /* the same number is no news */
    assert_int_equal(tell("{\"book\":1,\"free\":0,\"revision\":7}"), BC_EVENT_APPLIED);
    assert_string_not_equal(stock_of(1).etag, before.etag); /* in_stock became out_of_stock */
    assert_int_equal(stock_of(2).stock, 1);
    assert_int_equal(tell("{\"book\":3,\"free\":1,\"revision\":1}"), BC_EVENT_APPLIED); /* never was: nothing to keep */
}

static void news_of_another_form_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"{}",
                                      "{\"book\":1,\"free\":1}",
                                      "{\"book\":1,\"revision\":1}",
                                      "{\"book\":0,\"free\":1,\"revision\":1}",
                                      "{\"book\":9007199254740992,\"free\":1,\"revision\":1}",
                                      "{\"book\":1,\"free\":-1,\"revision\":1}",
                                      "{\"book\":1,\"free\":1,\"revision\":0}",
                                      "{\"book\":\"1\",\"free\":1,\"revision\":1}",
                                      "{\"book\":1,\"free\":1.5,\"revision\":1}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) assert_int_equal(tell(bad[i]), BC_EVENT_FAILED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_change_is_published_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(many_are_hidden_at_the_cost_of_one, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_rolled_back_was_never_published, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_are_chosen_upwards_and_never_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(books_older_than_the_outbox_are_announced_once, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_revision_never_overrides_a_newer_one, setup, teardown),
        cmocka_unit_test_setup_teardown(news_of_another_form_are_refused, setup, teardown),
    };
    bc_log_init("library-test", BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
