/* The import command beside the running service and without it, and the route it uses. */
#include "library_harness.h"

/* As the ledger's event would. */
static void tell_stock(int64_t book, int64_t copies, int64_t revision) {
    const library_t *library = bc_service_context(service);
    bc_db_t *db = library_store_db(library->store);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(library_store_stock_inside(library->store, book, copies, revision), LIBRARY_OK);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
}

static bool take_copies(void *context, const library_row_t *row) {
    *(int64_t *)context = row->stock;
    return true;
}

static int64_t copies_of(int64_t book) {
    const library_t *library = bc_service_context(service);
    int64_t copies = -1;
    assert_int_equal(library_store_get(library->store, book, take_copies, &copies), LIBRARY_OK);
    return copies;
}

static void importing_twice_changes_nothing(void **state) {
    (void)state;
    const char *given = getenv("BOOKCART_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)bc_time_ms();
    print_message("seed %u\n", seed);
    srandom(seed);
    answer_t answer = {0};
    for (int round = 0; round < 5; round++) {
        /* Some rows new, some changed, some as before. */
        static char text[200000];
        char path[128], report[4096], before[32], counts[200];
        size_t used = (size_t)snprintf(text, sizeof(text), "id,title,authors,year\n");
        int rows = 500 + (int)(random() % 700);
        for (int i = 0; i < rows; i++) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%d,\"Book, %ld\",A %ld;B,%ld\n", 10 + i,
                                     random() % 3, random() % 2, random() % 2000);
        }
        write_file("random.csv", text, path);
        assert_int_equal(run_import(path, report, sizeof(report)), 0);
        /* Live stock and prices move between the two. */
        call(&answer, false, "PATCH", "/api/v1/admin/books/10", admin_token, "If-Match: *",
             "{\"price\":{\"amount\":77},\"title\":\"By hand\"}");
        assert_int_equal(answer.status, 200);
        tell_stock(10, 4321, round + 1);
        get_feed(&answer, "after=0&limit=5000");
        (void)snprintf(before, sizeof(before), "%s", text_of(&answer, "position"));
        bool running = round % 2 == 0; /* by the service, and straight to its database */
        if (!running) stop_service();
        assert_int_equal(run_import(path, report, sizeof(report)), 0);
        if (!running) start_service();
        (void)snprintf(counts, sizeof(counts), "%d rows: 0 new, 0 changed, %d unchanged, 0 rejected", rows, rows);
        assert_non_null(strstr(report, counts));
        get_feed(&answer, "after=0&limit=5000");
        assert_string_equal(text_of(&answer, "position"), before);
        call(&answer, false, "GET", "/api/v1/admin/books/10", admin_token, NULL, NULL);
        assert_string_equal(text_of(&answer, "title"), "By hand");
        assert_int_equal(copies_of(10), 4321);
    }
    /* A changed row changes the book, but not its stock nor a price that the file does not name. */
    import_text("id,title,stock\n10,Third,1\n", "1 rows: 0 new, 1 changed, 0 unchanged, 0 rejected");
    call(&answer, false, "GET", "/api/v1/admin/books/10", admin_token, NULL, NULL);
    assert_string_equal(text_of(&answer, "title"), "Third");
    assert_int_equal(copies_of(10), 4321);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(answer.json, "price"), "amount")), 77);
    drop(&answer);
}

static void rejected_rows_are_named_with_their_lines(void **state) {
    (void)state;
    char path[128], report[4096];
    write_file("bad.csv",
               "id,title,stock\n7,Good,1\n8,\"Lost\"quote,1\n7,Twice,1\n9,T,-1\n\n10,\"two\nlines\",1\nx,T,1\n", path);
    assert_int_equal(run_import(path, report, sizeof(report)), 0);
    assert_non_null(strstr(report, "line 3: row: text after a closing quote\n"));
    assert_non_null(strstr(report, "line 4: id stands in an earlier row\n"));
    assert_non_null(strstr(report, "line 5: stock is negative\n"));
    assert_non_null(strstr(report, "line 9: id is not a whole number\n"));
    assert_non_null(strstr(report, "6 rows: 2 new, 0 changed, 0 unchanged, 4 rejected"));
    static const char *const hopeless[] = {"", "id\n1\n", "name,colour\n", "id,title\nx,y\n"};
    for (size_t i = 0; i < sizeof(hopeless) / sizeof(hopeless[0]); i++) {
        write_file("bad.csv", hopeless[i], path);
        assert_int_equal(run_import(path, report, sizeof(report)), 1);
    }
    assert_int_equal(run_import("/nonexistent.csv", report, sizeof(report)), 1);
}

static void a_batch_is_judged_by_the_service_too(void **state) {
    (void)state;
    static const char path[] = "/internal/books/import";
    static const char *const bad[] = {"{\"books\":[]}", "{\"books\":[1]}", "{\"books\":[{\"id\":1}]}",
                                      "{\"books\":[{\"id\":0,\"title\":\"T\"}]}",
                                      "{\"books\":[{\"id\":1,\"title\":\"T\",\"stock\":-1}]}"};
    answer_t answer = {0};
    call(&answer, true, "POST", path, NULL, NULL, "{\"books\":[]}");
    assert_int_equal(answer.status, 401);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        call(&answer, true, "POST", path, service_key, NULL, bad[i]);
        assert_int_equal(answer.status, 422);
    }
    call(&answer, false, "POST", path, service_key, NULL, "{\"books\":[]}");
    assert_int_equal(answer.status, 404); /* not on the listener that the edge proxies */
    drop(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(importing_twice_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(rejected_rows_are_named_with_their_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_is_judged_by_the_service_too, setup, teardown),
    };
    bc_log_init("library-test", BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
