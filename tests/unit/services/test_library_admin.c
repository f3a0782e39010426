/* Who may change the catalogue, and what becomes of it: conditions, judgement, deletion, and callers whose standing changes. */
#include "library_harness.h"

/* --- changing --- */

static void tag_header(const char *path, char header[300]) {
    answer_t answer = {0};
    char etag[256];
    get(&answer, path);
    (void)snprintf(header, 300, "If-Match: %s", header_of(&answer, "ETag", etag));
    drop(&answer);
}

static void admin_changes_need_the_newest_tag(void **state) {
    (void)state;
    answer_t answer = {0};
    char match[300], value[256];
    static const char path[] = "/api/v1/admin/books/1";
    static const char price[] = "{\"price\":{\"amount\":1500,\"currency\":\"EUR\"}}";
    tag_header("/api/v1/books/1", match);

    call(&answer, false, "PATCH", path, NULL, match, price);
    expect_problem(&answer, 401, "unauthorized", NULL);
    call(&answer, false, "PATCH", path, guest_token, match, price);
    assert_int_equal(answer.status, 403);
    call(&answer, false, "PATCH", path, admin_token, NULL, price);
    expect_problem(&answer, 428, "precondition-required", NULL);
    call(&answer, false, "PATCH", path, admin_token, "If-Match: \"stale\"", price);
    expect_problem(&answer, 412, "precondition-failed", NULL);
    char weak[310];
    (void)snprintf(weak, sizeof(weak), "If-Match: W/%s", match + strlen("If-Match: "));
    call(&answer, false, "PATCH", path, admin_token, weak, price);
    expect_problem(&answer, 412, "precondition-failed", NULL);

    call(&answer, false, "PATCH", path, admin_token, match, price);
    assert_int_equal(answer.status, 200);
    assert_string_not_equal(header_of(&answer, "ETag", value), match + strlen("If-Match: "));
    call(&answer, false, "PATCH", path, admin_token, match, "{\"title\":\"Late\"}");
    expect_problem(&answer, 412, "precondition-failed", NULL);
    get(&answer, "/api/v1/books/1");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(answer.json, "price"), "amount")), 1500);
    assert_string_equal(text_of(&answer, "title"), "Emma");

    /* null removes; what changes nothing keeps its tag. */
    tag_header("/api/v1/books/1", match);
    call(&answer, false, "PATCH", path, admin_token, match,
         "{\"year\":null,\"genres\":null,\"authors\":[\"Ann Lee\"]}");
    assert_int_equal(answer.status, 200);
    assert_true(json_is_null(json_object_get(answer.json, "year")));
    assert_int_equal(json_array_size(json_object_get(answer.json, "genres")), 0);
    tag_header("/api/v1/books/1", match);
    call(&answer, false, "PATCH", path, admin_token, match, "{\"authors\":[\"Ann Lee\"]}");
    assert_string_equal(header_of(&answer, "ETag", value), match + strlen("If-Match: "));
    get(&answer, "/api/v1/books?author=ann%20lee");
    assert_int_equal(items(&answer), 1);
    get(&answer, "/api/v1/books?author=jane%20austen");
    assert_int_equal(items(&answer), 0);
    drop(&answer);
}

static void admin_changes_are_judged(void **state) {
    (void)state;
    static const struct {
        const char *body;
        int status;
        const char *field;
    } cases[] = {
        {"{\"title\":\"\"}", 422, "title"},
        {"{\"year\":99999}", 422, "year"},
        {"{\"price\":{\"amount\":-1,\"currency\":\"EUR\"}}", 422, "price"},
        {"{\"price\":{\"amount\":1,\"currency\":\"USD\"}}", 422, "price"},
        {"{\"price\":{\"amount\":1.5,\"currency\":\"EUR\"}}", 422, "price"},
        {"{\"price\":{\"amount\":1,\"x\":1}}", 422, "price"},
        {"{\"authors\":[1]}", 422, "authors"},
        {"{\"language\":\"zz\"}", 422, "language"},
        {"{\"isbn\":\"9780306406158\"}", 422, "isbn"},
        {"{\"cover_url\":\"javascript:x\"}", 422, "cover_url"},
        {"{\"rating\":5}", 400, "rating"},
        {"{\"stock\":5}", 400, "stock"}, /* the ledger's */
        {"{\"availability\":\"low\"}", 400, "availability"},
    };
    answer_t answer = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        call(&answer, false, "PATCH", "/api/v1/admin/books/1", admin_token, "If-Match: *", cases[i].body);
        assert_int_equal(answer.status, cases[i].status);
        expect_problem(&answer, cases[i].status, cases[i].status == 422 ? "not-acceptable-value" : "malformed-request",
                       cases[i].field);
    }
    call(&answer, false, "PATCH", "/api/v1/admin/books/99", admin_token, "If-Match: *", "{\"title\":\"T\"}");
    assert_int_equal(answer.status, 404);
    drop(&answer);
}

static void a_deleted_book_is_gone_for_good(void **state) {
    (void)state;
    answer_t answer = {0};
    call(&answer, false, "DELETE", "/api/v1/admin/books/1", admin_token, NULL, NULL);
    assert_int_equal(answer.status, 428);
    call(&answer, false, "DELETE", "/api/v1/admin/books/1", admin_token, "If-Match: *", NULL);
    assert_int_equal(answer.status, 204);
    get(&answer, "/api/v1/books/1");
    assert_int_equal(answer.status, 404);
    get(&answer, "/api/v1/books?ids=1");
    assert_int_equal(items(&answer), 0);
    call(&answer, false, "GET", "/api/v1/admin/books/1", admin_token, NULL, NULL);
    assert_string_equal(text_of(&answer, "state"), "gone");
    call(&answer, false, "PATCH", "/api/v1/admin/books/1", admin_token, "If-Match: *", "{\"title\":\"T\"}");
    expect_problem(&answer, 409, "conflict", NULL);
    call(&answer, false, "DELETE", "/api/v1/admin/books/1", admin_token, "If-Match: *", NULL);
    assert_int_equal(answer.status, 204);
    /* No import brings it back. */
    import_text("id,title\n1,Emma again\n2,Émile\n", "2 rows: 0 new, 1 changed, 0 unchanged, 1 rejected");
    get(&answer, "/api/v1/books/1");
    assert_int_equal(answer.status, 404);
    drop(&answer);
}

/* --- callers --- */

/* A call to auth's public listener; the credential is the caller's token. The caller owns what comes back. */
static json_t *call_auth(const char *path, const char *token, json_t *body, int wanted) {
    bc_client_t *client = bc_client_create(bc_config_text(config, BC_AUTH_LISTEN), token);
    json_t *reply = NULL;
    int status = 0;
    assert_non_null(client);
    assert_true(bc_client_call(client, "POST", path, body, 10000, NULL, &status, &reply));
    assert_int_equal(status, wanted);
    bc_client_destroy(client);
    json_decref(body);
    return reply;
}

/* Asks until the answer is that, however long the machine takes. */
static void wait_for_admin_status(answer_t *answer, const char *token, int status) {
    int64_t until = bc_monotonic_ms() + 20000;
    do {
        call(answer, false, "GET", "/api/v1/admin/books/1", token, NULL, NULL);
        if (answer->status != status) (void)usleep(2000);
    } while (answer->status != status && bc_monotonic_ms() < until);
    assert_int_equal(answer->status, status);
}

static void a_session_that_has_ended_is_refused(void **state) {
    (void)state;
    answer_t answer = {0};
    json_t *guest = call_auth("/api/v1/auth/guest", "none", NULL, 201);
    const char *token = json_string_value(json_object_get(guest, "access_token"));
    json_t *logout = json_pack("{s:O}", "refresh_token", json_object_get(guest, "refresh_token"));
    call(&answer, false, "GET", "/api/v1/admin/books/1", token, NULL, NULL);
    expect_problem(&answer, 403, "forbidden", NULL);
    json_decref(call_auth("/api/v1/auth/logout", token, logout, 204));
    wait_for_admin_status(&answer, token, 401);
    expect_problem(&answer, 401, "unauthorized", NULL);
    call(&answer, false, "GET", "/api/v1/books/1", token, NULL, NULL);
    assert_int_equal(answer.status, 200); /* anyone may, and nobody asks who it is */
    call(&answer, false, "GET", "/api/v1/admin/books/1", admin_token, NULL, NULL);
    assert_int_equal(answer.status, 200);
    json_decref(guest);
    drop(&answer);
}

static void without_auth_the_catalogue_is_served_and_admins_wait(void **state) {
    (void)state;
    answer_t answer = {0};
    char value[256];
    stop_service();
    bc_service_stop(auth);
    auth = NULL;
    service = bc_service_start(&library_service, config);
    assert_non_null(service);
    call(&answer, false, "PATCH", "/api/v1/admin/books/1", admin_token, "If-Match: *", "{\"title\":\"T\"}");
    expect_problem(&answer, 503, "unavailable", NULL);
    assert_string_equal(header_of(&answer, "Retry-After", value), "1");
    get(&answer, "/api/v1/books/1");
    assert_int_equal(answer.status, 200);
    call(&answer, true, "GET", "/readyz", NULL, NULL, NULL);
    assert_int_equal(answer.status, 200);
    const json_t *checks = json_object_get(answer.json, "checks");
    assert_string_equal(json_string_value(json_object_get(checks, "revocations")), "not vouched for");
    auth = bc_service_start(&auth_service, config);
    assert_non_null(auth);
    wait_for_admin_status(&answer, admin_token, 200);
    call(&answer, true, "GET", "/readyz", NULL, NULL, NULL);
    checks = json_object_get(answer.json, "checks");
    assert_string_equal(json_string_value(json_object_get(checks, "revocations")), "ok");
    drop(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(admin_changes_need_the_newest_tag, setup, teardown),
        cmocka_unit_test_setup_teardown(admin_changes_are_judged, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deleted_book_is_gone_for_good, setup, teardown),
        cmocka_unit_test_setup_teardown(a_session_that_has_ended_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(without_auth_the_catalogue_is_served_and_admins_wait, setup, teardown),
    };
    bc_log_init("library-test", BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
