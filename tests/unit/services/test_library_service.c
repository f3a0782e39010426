/* What everybody reads of the library, and the feed that others follow: the real service, asked as the edge asks it. */
#include "services/library/library_json.h"
#include "library_harness.h"

#include <pthread.h>

/* --- reading --- */

static void shows_one_book_and_repeats_as_304(void **state) {
    (void)state;
    answer_t answer = {0};
    char etag[256], header[300], value[256];
    get(&answer, "/api/v1/books/1");
    assert_int_equal(answer.status, 200);
    json_t *expected = json_loads("{\"id\":1,\"title\":\"Emma\",\"authors\":[\"Jane Austen\"],\"year\":1815,"
                                  "\"language\":\"en\",\"isbn\":null,\"genres\":[\"novel\",\"romance\"],"
                                  "\"description\":null,\"price\":{\"amount\":999,\"currency\":\"EUR\"},"
                                  "\"availability\":\"in_stock\",\"rating\":null,\"ratings_count\":0,"
                                  "\"cover_url\":null,\"banner_url\":null}",
                                  0, NULL);
    assert_int_equal(json_object_del(answer.json, "updated_at"), 0);
    assert_true(json_equal(answer.json, expected));
    json_decref(expected);
    assert_string_equal(header_of(&answer, "Cache-Control", value), "public, no-cache");
    header_of(&answer, "ETag", etag);
    assert_int_equal(etag[0], '"'); /* strong */

    (void)snprintf(header, sizeof(header), "If-None-Match: \"other\", W/%s", etag);
    call(&answer, false, "GET", "/api/v1/books/1", NULL, header, NULL);
    assert_int_equal(answer.status, 304);
    assert_int_equal(answer.used, 0);
    call(&answer, false, "GET", "/api/v1/books/1", NULL, "If-None-Match: \"other\"", NULL);
    assert_int_equal(answer.status, 200);
    call(&answer, false, "HEAD", "/api/v1/books/1", NULL, NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_string_equal(header_of(&answer, "ETag", value), etag);

    static const char *const absent[] = {"/api/v1/books/99", "/api/v1/books/0", "/api/v1/books/01", "/api/v1/books/x",
                                         "/api/v1/books/99999999999999999999"};
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
        get(&answer, absent[i]);
        expect_problem(&answer, 404, "not-found", NULL);
    }
    drop(&answer);
}

static void lists_in_every_order_page_by_page(void **state) {
    (void)state;
    static const struct {
        const char *sort;
        int order[6];
    } cases[] = {
        {"title", {6, 2, 1, 3, 4, 5}}, /* beowulf emile emma faust под ἰλιάς: by bytes across scripts */
        {"newest", {4, 1, 3, 2, 5, 6}},
        {"rating", {6, 5, 4, 3, 2, 1}},
    };
    answer_t answer = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int limit = 1; limit <= 7; limit++) {
            char cursor[300] = "", path[600];
            int seen = 0;
            for (;;) {
                (void)snprintf(path, sizeof(path), "/api/v1/books?sort=%s&limit=%d%s%s", cases[i].sort, limit,
                               cursor[0] == '\0' ? "" : "&cursor=", cursor);
                get(&answer, path);
                assert_int_equal(answer.status, 200);
                assert_true(items(&answer) <= (size_t)limit);
                for (size_t k = 0; k < items(&answer); k++) {
                    assert_true(seen < 6);
                    assert_int_equal(item_id(&answer, k), cases[i].order[seen++]);
                }
                const char *next = text_of(&answer, "next_cursor");
                if (next == NULL) break;
                (void)snprintf(cursor, sizeof(cursor), "%s", next);
            }
            assert_int_equal(seen, 6);
        }
    }
    /* Prices rise and fall; the two equal ones (2, 3) keep one order. */
    for (int falling = 0; falling < 2; falling++) {
        get(&answer, falling ? "/api/v1/books?sort=-price" : "/api/v1/books?sort=price");
        assert_int_equal(items(&answer), 6);
        int64_t before = falling ? INT64_MAX : -1;
        for (size_t k = 0; k < 6; k++) {
            const json_t *item = json_array_get(json_object_get(answer.json, "items"), k);
            int64_t price = json_integer_value(json_object_get(json_object_get(item, "price"), "amount"));
            assert_true(falling ? price <= before : price >= before);
            before = price;
        }
    }
    drop(&answer);
}

static void filters_and_refuses_what_it_does_not_know(void **state) {
    (void)state;
    static const struct {
        const char *query;
        size_t count;
        int64_t first;
    } good[] = {
        {"author=jane%20AUSTEN", 1, 1}, {"author=%D0%B8%D0%B2%D0%B0%D0%BD%20%D0%B2%D0%B0%D0%B7%D0%BE%D0%B2", 1, 4},
        {"language=fre", 1, 2},         {"year_from=-800&year_to=0", 1, 5},
        {"year_to=1800", 2, 2},         {"year_from=1800", 3, 1},
        {"price_max=500", 2, 2},        {"available=false", 1, 3},
        {"genre=Novel", 2, 1},          {"genre=novel&language=bg", 1, 4},
        {"ids=3,1,3,99", 2, 1},         {"ids=1,2&author=Jane%20Austen", 1, 1},
        {"author=nobody", 0, 0},
    };
    static const struct {
        const char *query;
        const char *field;
    } bad[] = {
        {"limit=0", "limit"},
        {"limit=101", "limit"},
        {"limit=x", "limit"},
        {"colour=red", "colour"},
        {"q=", "q"},
        {"sort=relevance", "sort"},
        {"sort=", "sort"},
        {"ids=", "ids"},
        {"ids=1,", "ids"},
        {"ids=a", "ids"},
        {"ids=0", "ids"},
        {"ids=9007199254740992", "ids"},
        {"language=klingon", "language"},
        {"available=yes", "available"},
        {"year_from=1.5", "year_from"},
        {"price_max=-1", "price_max"},
        {"author=", "author"},
    };
    answer_t answer = {0};
    char path[2000];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?%s", good[i].query);
        get(&answer, path);
        assert_int_equal(answer.status, 200);
        assert_int_equal(items(&answer), good[i].count);
        if (good[i].count > 0) assert_int_equal(item_id(&answer, 0), good[i].first);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?%s", bad[i].query);
        get(&answer, path);
        expect_problem(&answer, 400, "malformed-request", bad[i].field);
    }
    size_t used = (size_t)snprintf(path, sizeof(path), "/api/v1/books?ids=1");
    for (int i = 2; i <= library_ids_max + 1; i++) used += (size_t)snprintf(path + used, sizeof(path) - used, ",%d", i);
    get(&answer, path);
    expect_problem(&answer, 400, "malformed-request", "ids");
    drop(&answer);
}

static void refuses_cursors_that_are_not_of_this_list(void **state) {
    (void)state;
    answer_t answer = {0};
    char cursor[300], path[600];
    get(&answer, "/api/v1/books?limit=2&sort=title");
    (void)snprintf(cursor, sizeof(cursor), "%s", text_of(&answer, "next_cursor"));
    static const char *const lists[] = {"sort=price", "sort=title&language=en", "ids=1,2,3"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?%s&cursor=%s", lists[i], cursor);
        get(&answer, path);
        expect_problem(&answer, 400, "bad-cursor", "cursor");
    }
    static const char *const garbage[] = {"",    "x",      "AAAA",
                                          "%00", "%21%21", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?cursor=%s", garbage[i]);
        get(&answer, path);
        assert_int_equal(answer.status, 400);
    }
    /* Every single change of a character, and every truncation, breaks the seal. */
    for (size_t i = 0; i < strlen(cursor); i++) {
        char forged[300];
        (void)snprintf(forged, sizeof(forged), "%s", cursor);
        forged[i] = forged[i] == 'A' ? 'B' : 'A';
        (void)snprintf(path, sizeof(path), "/api/v1/books?cursor=%s", forged);
        get(&answer, path);
        expect_problem(&answer, 400, "bad-cursor", "cursor");
    }
    (void)snprintf(path, sizeof(path), "/api/v1/books?limit=100&cursor=%s",
                   cursor); /* title is the default; another limit is fine */
    stop_service();
    start_service(); /* a cursor outlives the process */
    get(&answer, path);
    assert_int_equal(answer.status, 200);
    assert_int_equal(items(&answer), 4);
    drop(&answer);
}

static void shop_says_its_limits(void **state) {
    (void)state;
    answer_t answer = {0};
    get(&answer, "/api/v1/shop");
    assert_int_equal(answer.status, 200);
    assert_string_equal(text_of(&answer, "currency"), "EUR");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(answer.json, "limits"), "list_limit")), 100);
    drop(&answer);
}

/* --- feed --- */

static void feed_can_be_resumed_anywhere(void **state) {
    (void)state;
    answer_t answer = {0};
    call(&answer, true, "GET", "/internal/feed/books", NULL, NULL, NULL);
    assert_int_equal(answer.status, 401);
    call(&answer, true, "GET", "/internal/feed/books", "wrong", NULL, NULL);
    assert_int_equal(answer.status, 401);
    get_feed(&answer, "after=0");
    assert_int_equal(items(&answer), 6);
    assert_string_equal(text_of(&answer, "position"), "6");
    assert_true(json_is_false(json_object_get(answer.json, "more")));
    const json_t *first = json_array_get(json_object_get(answer.json, "items"), 0);
    json_t *expected = json_loads("{\"position\":\"1\",\"id\":1,\"title\":\"Emma\",\"authors\":[\"Jane Austen\"],"
                                  "\"cover_url\":null,\"price_minor\":999,\"availability\":\"in_stock\","
                                  "\"available\":7,\"state\":\"live\"}",
                                  0, NULL);
    assert_true(json_equal(first, expected));
    json_decref(expected);
    /* Page by page from every position it comes to the same. */
    char after[32] = "0", query[64], generation[64] = "";
    int seen = 0;
    bool more = true;
    while (more) {
        (void)snprintf(query, sizeof(query), "after=%s&limit=4", after);
        get_feed(&answer, query);
        seen += (int)items(&answer);
        (void)snprintf(after, sizeof(after), "%s", text_of(&answer, "position"));
        (void)snprintf(generation, sizeof(generation), "%s", text_of(&answer, "generation"));
        more = json_is_true(json_object_get(answer.json, "more"));
    }
    assert_int_equal(seen, 6);
    /* A change moves its book to the end; a restart keeps generation and positions. */
    call(&answer, false, "DELETE", "/api/v1/admin/books/2", admin_token, "If-Match: *", NULL);
    stop_service();
    start_service();
    get_feed(&answer, "after=6");
    assert_int_equal(items(&answer), 1);
    assert_int_equal(item_id(&answer, 0), 2);
    assert_string_equal(text_of(&answer, "position"), "7");
    assert_string_equal(text_of(&answer, "generation"), generation);
    get_feed(&answer, "after=0");
    assert_int_equal(items(&answer), 6); /* one item a book */
    get_feed(&answer, "after=7");
    assert_int_equal(items(&answer), 0);
    assert_string_equal(text_of(&answer, "position"), "7");
    call(&answer, true, "GET", "/internal/feed/books?limit=5001", service_key, NULL, NULL);
    assert_int_equal(answer.status, 400);
    drop(&answer);
}

static void *wait_for_feed(void *context) {
    get_feed(context, "after=6&wait=25");
    return NULL;
}

static void a_change_wakes_who_waits(void **state) {
    (void)state;
    answer_t waiting = {0};
    answer_t answer = {0};
    pthread_t waiter;
    int64_t begun = bc_monotonic_ms();
    assert_int_equal(pthread_create(&waiter, NULL, wait_for_feed, &waiting), 0);
    /* Whether the change comes before or after the waiter's first read, the answer holds it. */
    call(&answer, false, "PATCH", "/api/v1/admin/books/4", admin_token, "If-Match: *", "{\"price\":{\"amount\":1}}");
    assert_int_equal(answer.status, 200);
    assert_int_equal(pthread_join(waiter, NULL), 0);
    assert_int_equal(items(&waiting), 1);
    assert_int_equal(item_id(&waiting, 0), 4);
    assert_true(bc_monotonic_ms() - begun < 20000); /* woken, not timed out after 25 s */
    drop(&waiting);
    drop(&answer);
}

/* --- the store behind it --- */

static void queries_per_request_are_few_and_fixed(void **state) {
    (void)state;
    const library_t *library = bc_service_context(service);
    bc_db_count_reset();
    uint64_t position = 0;
    bool more = false;
    json_t *list = json_array();
    assert_true(library_feed_read(bc_service_context(service), 0, 3, list, &position, &more));
    assert_true(more);
    assert_int_equal(json_array_size(list), 3);
    assert_int_equal(bc_db_count(), 1);
    json_decref(list);
    bool empty = true;
    bc_db_count_reset();
    assert_int_equal(library_store_is_empty(library->store, &empty), LIBRARY_OK);
    assert_false(empty);
    assert_int_equal(bc_db_count(), 1);
}

static void an_empty_library_opens_with_the_sample_when_told(void **state) {
    (void)state;
    answer_t answer = {0};
    char path[128], reason[BC_CONFIG_REASON_BYTES], sample[200], yes[64] = "BOOKCART_SAMPLE_CATALOGUE=yes";
    write_file("sample.csv", "id,title\n100001,Emma\n100002,Faust\n", path);
    (void)snprintf(sample, sizeof(sample), "BOOKCART_SAMPLE_FILE=%s", path);
    char *environment[] = {yes, sample, NULL};
    bc_config_t *told = NULL;
    if (!bc_config_load(&told, NULL, environment, data, reason)) fail_msg("%s", reason);
    stop_service();
    service = bc_service_start(&library_service, told);
    assert_non_null(service);
    get(&answer, "/api/v1/books/100001");
    assert_int_equal(answer.status, 404); /* there are books already */
    stop_service();
    char database[128];
    static const char *const files[] = {"library.db", "library.db-wal", "library.db-shm"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(database, sizeof(database), "%s/%s", data, files[i]);
        (void)unlink(database); /* the last two are gone after an orderly end */
    }
    service = bc_service_start(&library_service, told);
    assert_non_null(service);
    get(&answer, "/api/v1/books");
    assert_int_equal(items(&answer), 2);
    stop_service();
    bc_config_destroy(told);
    start_service();
    drop(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shows_one_book_and_repeats_as_304, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_in_every_order_page_by_page, setup, teardown),
        cmocka_unit_test_setup_teardown(filters_and_refuses_what_it_does_not_know, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_cursors_that_are_not_of_this_list, setup, teardown),
        cmocka_unit_test_setup_teardown(shop_says_its_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(feed_can_be_resumed_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_wakes_who_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(queries_per_request_are_few_and_fixed, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_library_opens_with_the_sample_when_told, setup, teardown),
    };
    bc_log_init("library-test", BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
