/* The import command, as a job of the running service and without it; and the route it uses. */
#include "library_harness.h"

#include <dirent.h>
#include <fcntl.h>

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
    assert_int_equal(run_import(path, report, sizeof(report)), 1);
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

static void without_the_service_the_report_is_the_same(void **state) {
    (void)state;
    static const char rows[] = "id,title\n50,New\n1,Emma\nx,T\n6,Beowulf\n50,Twice\n";
    static const char wanted[] = "line 4: id is not a whole number\nline 6: id stands in an earlier row\n"
                                 "5 rows: 1 new, 2 changed, 0 unchanged, 2 rejected\n";
    char path[128], by_job[4096], directly[4096];
    write_file("rows.csv", rows, path);
    assert_int_equal(run_import(path, by_job, sizeof(by_job)), 1);
    const char *behind = strchr(by_job, '\n'); /* the job's name is the first line */
    assert_int_equal(strncmp(by_job, LIBRARY_JOB_PREFIX, strlen(LIBRARY_JOB_PREFIX)), 0);
    assert_string_equal(behind + 1, wanted);
    write_file("rows.csv", "id,title\n51,New\n1,Emma again\nx,T\n6,Beowulf again\n51,Twice\n", path);
    stop_service();
    assert_int_equal(run_import(path, directly, sizeof(directly)), 1);
    assert_string_equal(directly, wanted);
    start_service();
}

static void every_rejected_row_is_named_up_to_a_limit(void **state) {
    (void)state;
    enum { rows = library_rejects_named_max + 3 };
    static char text[16 + rows * 4], report[rows * 48];
    char path[128];
    size_t used = (size_t)snprintf(text, sizeof(text), "id,title\n");
    for (int i = 0; i < rows; i++) used += (size_t)snprintf(text + used, sizeof(text) - used, "x,T\n");
    write_file("hopeless.csv", text, path);
    for (int directly = 0; directly < 2; directly++) {
        if (directly) stop_service();
        assert_int_equal(run_import(path, report, sizeof(report)), 1);
        assert_non_null(strstr(report, "line 2: id is not a whole number\n"));
        assert_non_null(
            strstr(report, "line 10001: id is not a whole number\nmore rows were rejected; they are counted"));
        assert_null(strstr(report, "line 10002:"));
        assert_non_null(strstr(report, "10003 rows: 0 new, 0 changed, 0 unchanged, 10003 rejected\n"));
    }
    start_service();
}

static void what_is_too_much_for_a_job_is_said_before_it_is_sent(void **state) {
    (void)state;
    char path[128], report[4096];
    write_file("long.csv", "id,title\n7,T\n", path);
    assert_int_equal(truncate(path, LIBRARY_JOB_BYTES_MAX + 1), 0);
    assert_int_equal(run_import(path, report, sizeof(report)), 1);
    assert_string_equal(report, "the import ends: more than 64 MiB: in parts, or while the service is down\n");
    assert_int_equal(run_import("/dev/null", report, sizeof(report)), 1);
    assert_string_equal(report, "the import ends: this is no file\n");
}

/* --- the route --- */

/* An upload as the command makes it; the status, 0: no answer. */
static int put_job(const char *key, const char *id, const char *media, const char *path) {
    char place[128];
    int status = 0;
    json_t *reply = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    bc_client_t *client = bc_client_create(bc_config_text(config, BC_LIBRARY_INTERNAL), key);
    assert_non_null(client);
    (void)snprintf(place, sizeof(place), LIBRARY_JOB_PATH "%s", id);
    (void)bc_client_upload(client, "PUT", place, fd, media, 20000, &status, &reply);
    bc_client_destroy(client);
    json_decref(reply);
    (void)close(fd);
    return status;
}

static int64_t jobs(void) {
    const library_t *library = bc_service_context(service);
    bc_db_enter(library->db);
    bc_statement_t *statement = bc_db_prepare(library->db, "SELECT COUNT(*) FROM jobs");
    assert_int_equal(bc_step(statement), BC_DB_ROW);
    int64_t count = bc_column_int(statement, 0);
    bc_statement_done(statement);
    bc_db_leave(library->db);
    return count;
}

static int spooled(void) {
    char folder[128];
    (void)snprintf(folder, sizeof(folder), "%s/spool", data);
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int count = -2; /* . and .. */
    while (readdir(dir) != NULL) count++;
    (void)closedir(dir);
    return count;
}

static void an_upload_that_is_sent_again_is_the_same_job(void **state) {
    (void)state;
    char path[128], name[CART_ID_CHARS + 1], place[128];
    answer_t answer = {0};
    cart_id_t id = bc_random_id();
    cart_id_format(LIBRARY_JOB_PREFIX, &id, name);
    (void)snprintf(place, sizeof(place), LIBRARY_JOB_PATH "%s", name);
    write_file("rows.csv", "id,title\n70,Seventy\n", path);
    int64_t before = jobs();
    assert_int_equal(put_job(service_key, name, LIBRARY_JOB_CSV, path), 202);
    assert_int_equal(put_job(service_key, name, LIBRARY_JOB_CSV, path), 202); /* it may run, or have ended */
    int64_t until = bc_monotonic_ms() + 20000;
    do {
        call(&answer, true, "GET", place, service_key, NULL, NULL);
        assert_int_equal(answer.status, 200);
    } while (strcmp(text_of(&answer, "state"), "running") == 0 && bc_monotonic_ms() < until);
    assert_string_equal(text_of(&answer, "state"), "done");
    assert_int_equal(put_job(service_key, name, LIBRARY_JOB_CSV, path), 202); /* has ended */
    call(&answer, true, "GET", place, service_key, NULL, NULL);
    assert_int_equal(json_integer_value(json_object_get(answer.json, "added")), 1);
    assert_int_equal(jobs(), before + 1);
    assert_int_equal(spooled(), 0);
    drop(&answer);
}

static void the_route_is_for_the_program_alone(void **state) {
    (void)state;
    char path[128], empty[128], name[CART_ID_CHARS + 1], place[128];
    answer_t answer = {0};
    cart_id_t id = bc_random_id();
    cart_id_format(LIBRARY_JOB_PREFIX, &id, name);
    (void)snprintf(place, sizeof(place), LIBRARY_JOB_PATH "%s", name);
    write_file("rows.csv", "id,title\n70,Seventy\n", path);
    write_file("empty.csv", "", empty);
    assert_int_equal(put_job("wrong", name, LIBRARY_JOB_CSV, path), 401);
    assert_int_equal(put_job(admin_token, name, LIBRARY_JOB_CSV, path), 401);
    assert_int_equal(put_job(service_key, "job_1", LIBRARY_JOB_CSV, path), 404);
    assert_int_equal(put_job(service_key, name, "application/json", path), 415);
    assert_int_equal(put_job(service_key, name, LIBRARY_JOB_CSV, empty), 400);
    call(&answer, true, "GET", place, service_key, NULL, NULL);
    assert_int_equal(answer.status, 404);
    call(&answer, true, "GET", place, NULL, NULL, NULL);
    assert_int_equal(answer.status, 401);
    call(&answer, false, "GET", place, service_key, NULL, NULL);
    assert_int_equal(answer.status, 404); /* not on the listener that the edge proxies */
    assert_int_equal(spooled(), 0);
    drop(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(importing_twice_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(rejected_rows_are_named_with_their_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(without_the_service_the_report_is_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(every_rejected_row_is_named_up_to_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_too_much_for_a_job_is_said_before_it_is_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(an_upload_that_is_sent_again_is_the_same_job, setup, teardown),
        cmocka_unit_test_setup_teardown(the_route_is_for_the_program_alone, setup, teardown),
    };
    bc_log_init("library-test", BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
