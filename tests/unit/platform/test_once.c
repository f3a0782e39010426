/* Idempotency-Key before a real server and a real database: what is replayed, refused, kept, and what a second request with the same key
 * meets while the first one runs. */
#include "platform/bc_client.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <curl/curl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

typedef struct {
    long status;
    json_t *body;
    bool replayed;
    char location[64];
} answer_t;

static char folder[64], socket_path[80];
static bc_config_t *config;
static bc_db_t *db;
static bc_http_t *server;
static bc_token_verifier_t *verifier;
static char token[BC_TOKEN_MAX + 1], other_token[BC_TOKEN_MAX + 1];
static atomic_bool hold; /* handlers stay inside */
static atomic_int inside;

static const bc_migration_t migrations[] = {
    {"keys", BC_ONCE_MIGRATION "CREATE TABLE things(n " BC_SQL_SERIAL ", number " BC_SQL_BIGINT " NOT NULL);"},
    {NULL, NULL},
};

static int64_t count(const char *sql) {
    bc_db_enter(db);
    bc_statement_t *statement = bc_db_prepare(db, sql);
    assert_int_equal(bc_step(statement), BC_DB_ROW);
    int64_t number = bc_column_int(statement, 0);
    bc_statement_done(statement);
    bc_db_leave(db);
    return number;
}

static int64_t things(void) {
    return count("SELECT COUNT(*) FROM things");
}

/* Adds a thing; 13 is a conflict, 12 a value with a field at fault, 503 an outage. */
static void add(bc_request_t *request, bc_reply_t *reply, bc_once_need_t need) {
    bc_once_t once;
    if (!bc_once_begin(db, request, reply, need, &once)) return;
    atomic_fetch_add(&inside, 1);
    while (atomic_load(&hold)) (void)usleep(1000);
    int64_t number = json_integer_value(json_object_get(bc_request_body(request), "number"));
    if (number == 13) {
        bc_reply_problem(reply, "conflict", "thirteen");
    } else if (number == 12) {
        bc_reply_problem_field(reply, "not-acceptable-value", "number", "dozen", "no dozens");
    } else if (number == 503) {
        bc_reply_problem(reply, "unavailable", NULL);
    } else {
        char location[32];
        assert_int_equal(bc_db_begin(db), BC_DB_OK);
        bc_statement_t *put = bc_db_prepare(db, "INSERT INTO things(number) VALUES(?)");
        bc_bind_int(put, 1, number);
        (void)bc_run(put);
        int64_t id = bc_db_last_row(db);
        (void)snprintf(location, sizeof(location), "/things/%d", (int)id);
        json_t *body = json_pack("{s:I}", "id", (json_int_t)id);
        bc_once_keep(&once, 201, body, location);
        assert_int_equal(bc_db_commit(db), BC_DB_OK);
        bc_reply_json(reply, 201, body);
        bc_reply_header(reply, "Location", location);
    }
    bc_once_end(&once, reply);
}

static void add_optional(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    add(request, reply, BC_ONCE_OPTIONAL);
}

static void add_required(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    add(request, reply, BC_ONCE_REQUIRED);
}

static const bc_route_t routes[] = {
    {"POST", "/things", BC_GUEST, add_optional, .query = "colour", .fields = "number:int! note:string"},
    {"POST", "/orders", BC_GUEST, add_required, .fields = "number:int!"},
    {.method = NULL},
};

static size_t take_text(char *bytes, size_t size, size_t items, void *target) {
    char *text = target;
    size_t used = strlen(text), length = size * items;
    assert_true(used + length < 4000);
    memcpy(text + used, bytes, length);
    text[used + length] = '\0';
    return length;
}

static answer_t call_as(const char *bearer, const char *path, const char *key, const char *body) {
    char url[128], authorization[BC_TOKEN_MAX + 64], header[256], text[4096] = "", headers_text[4096] = "";
    answer_t answer = {.status = 0};
    CURL *handle = curl_easy_init();
    (void)snprintf(url, sizeof(url), "http://shop%s", path);
    (void)snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", bearer);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, authorization);
    headers = curl_slist_append(headers, "Accept-Language: fr");
    if (key != NULL) {
        (void)snprintf(header, sizeof(header), "Idempotency-Key: %s", key);
        headers = curl_slist_append(headers, header);
    }
    curl_easy_setopt(handle, CURLOPT_URL, url);
    curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, socket_path);
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take_text);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, text);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, take_text);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, headers_text);
    curl_easy_setopt(handle, CURLOPT_TIMEOUT, 60L);
    assert_int_equal(curl_easy_perform(handle), CURLE_OK);
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &answer.status);
    answer.body = json_loads(text, 0, NULL);
    answer.replayed = strstr(headers_text, "Idempotent-Replayed: true") != NULL;
    const char *location = strstr(headers_text, "Location: ");
    if (location != NULL) (void)sscanf(location, "Location: %60s", answer.location);
    curl_slist_free_all(headers);
    curl_easy_cleanup(handle);
    return answer;
}

static answer_t call(const char *path, const char *key, const char *body) {
    return call_as(token, path, key, body);
}

/* Status, and of a problem its name. */
static void expect(answer_t answer, long status, const char *problem) {
    assert_int_equal(answer.status, status);
    if (problem != NULL) {
        const char *type = json_string_value(json_object_get(answer.body, "type"));
        assert_non_null(type);
        assert_string_equal(type + strlen("/problems/"), problem);
    }
    json_decref(answer.body);
}

static void make_token(bc_token_issuer_t *issuer, char *text) {
    bc_claims_t claims = {.user = bc_random_id(),
                          .session = bc_random_id(),
                          .issued_s = bc_time_s(),
                          .expires_s = bc_time_s() + 900,
                          .kind = BC_KIND_CUSTOMER};
    assert_true(bc_token_issue(issuer, "at+jwt", &claims, text));
}

static int setup(void **state) {
    (void)state;
    char reason[BC_CONFIG_REASON_BYTES], path[128];
    char *environment[] = {NULL};
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-once-XXXXXX");
    assert_non_null(mkdtemp(folder));
    if (!bc_config_load(&config, NULL, environment, folder, reason)) fail_msg("%s", reason);
    assert_true(bc_random_init() && bc_client_init());
    (void)snprintf(path, sizeof(path), "%s/keys", folder);
    assert_true(bc_files_make_folders(path, 0700));
    bc_token_issuer_t *issuer = bc_token_issuer_create(config);
    assert_non_null(issuer);
    make_token(issuer, token);
    make_token(issuer, other_token);
    bc_token_issuer_destroy(issuer);
    verifier = bc_token_verifier_create(config);
    (void)snprintf(path, sizeof(path), "%s/own.db", folder);
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
    (void)snprintf(socket_path, sizeof(socket_path), "%s/s", folder);
    (void)snprintf(path, sizeof(path), "unix:%s", socket_path);
    bc_http_options_t options = {.service = "test",
                                 .listen = path,
                                 .routes = routes,
                                 .connections_max = 16,
                                 .timeout_ms = 20000,
                                 .verifier = verifier};
    server = bc_http_start(&options);
    assert_non_null(server);
    atomic_store(&hold, false);
    atomic_store(&inside, 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[160];
    bc_http_stop(server, 5000);
    bc_token_verifier_destroy(verifier);
    bc_db_close(db);
    bc_config_destroy(config);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static void a_repeat_gets_the_same_answer_and_changes_nothing(void **state) {
    (void)state;
    answer_t first = call("/things", "a-key", "{\"number\":1,\"note\":\"x\"}");
    answer_t again = call("/things", "a-key", "{ \"note\":\"x\", \"number\": 1 }"); /* says the same */
    assert_int_equal(first.status, 201);
    assert_false(first.replayed);
    assert_int_equal(again.status, 201);
    assert_true(again.replayed);
    assert_string_equal(first.location, "/things/1");
    assert_string_equal(again.location, "/things/1");
    assert_true(json_equal(first.body, again.body));
    assert_int_equal(things(), 1);
    json_decref(first.body);
    json_decref(again.body);
    expect(call("/things", NULL, "{\"number\":1,\"note\":\"x\"}"), 201, NULL); /* without a key it counts again */
    assert_int_equal(things(), 2);
}

static void a_key_belongs_to_user_path_and_body(void **state) {
    (void)state;
    expect(call("/things", "k", "{\"number\":1}"), 201, NULL);
    expect(call("/things", "k", "{\"number\":2}"), 422, "idempotency-key-reused");
    expect(call("/things?colour=red", "k", "{\"number\":1}"), 422, "idempotency-key-reused");
    expect(call("/orders", "k", "{\"number\":1}"), 201, NULL);
    expect(call_as(other_token, "/things", "k", "{\"number\":1}"), 201, NULL);
    assert_int_equal(things(), 3);
}

static void a_key_that_is_missing_or_malformed_is_refused(void **state) {
    (void)state;
    char longest[BC_ONCE_KEY_MAX + 2];
    memset(longest, 'k', sizeof(longest));
    longest[BC_ONCE_KEY_MAX + 1] = '\0';
    expect(call("/orders", NULL, "{\"number\":1}"), 400, "idempotency-key-missing");
    expect(call("/orders", longest, "{\"number\":1}"), 400, "malformed-request");
    expect(call("/orders", "a b", "{\"number\":1}"), 400, "malformed-request");
    expect(call("/orders", "\xc3\xa9", "{\"number\":1}"), 400, "malformed-request");
    longest[BC_ONCE_KEY_MAX] = '\0';
    expect(call("/orders", longest, "{\"number\":1}"), 201, NULL);
    assert_int_equal(things(), 1);
}

static void refusals_are_kept_and_outages_are_not(void **state) {
    (void)state;
    expect(call("/things", "c", "{\"number\":13}"), 409, "conflict");
    answer_t again = call("/things", "c", "{\"number\":13}");
    assert_true(again.replayed);
    assert_string_equal(json_string_value(json_object_get(again.body, "detail")), "thirteen");
    expect(again, 409, "conflict");
    expect(call("/things", "d", "{\"number\":12}"), 422, "not-acceptable-value");
    again = call("/things", "d", "{\"number\":12}");
    assert_true(again.replayed);
    const json_t *error = json_array_get(json_object_get(again.body, "errors"), 0);
    assert_string_equal(json_string_value(json_object_get(error, "code")), "dozen");
    expect(again, 422, "not-acceptable-value");
    expect(call("/things", "e", "{\"number\":503}"), 503, "unavailable");
    again = call("/things", "e", "{\"number\":503}");
    assert_false(again.replayed);
    expect(again, 503, "unavailable");
    assert_int_equal(count("SELECT COUNT(*) FROM once_keys"), 2);
}

static void *call_held(void *argument) {
    (void)argument;
    answer_t *answer = malloc(sizeof(*answer));
    *answer = call("/things", "k", "{\"number\":7}");
    return answer;
}

static void while_the_first_runs_the_second_is_told_so(void **state) {
    (void)state;
    pthread_t thread;
    void *result = NULL;
    atomic_store(&hold, true);
    assert_int_equal(pthread_create(&thread, NULL, call_held, NULL), 0);
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    while (atomic_load(&inside) == 0 && bc_monotonic_ms() < until) (void)usleep(1000);
    expect(call("/things", "k", "{\"number\":7}"), 409, "idempotency-key-in-use");
    atomic_store(&hold, false);
    assert_int_equal(pthread_join(thread, &result), 0);
    answer_t *first = result;
    expect(*first, 201, NULL);
    free(first);
    answer_t again = call("/things", "k", "{\"number\":7}");
    assert_true(again.replayed); /* "in use" was not kept as the key's answer */
    expect(again, 201, NULL);
    assert_int_equal(things(), 1);
}

static void many_at_once_count_once(void **state) {
    (void)state;
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++) assert_int_equal(pthread_create(&threads[i], NULL, call_held, NULL), 0);
    int made = 0;
    for (size_t i = 0; i < 8; i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        answer_t *answer = result;
        assert_true(answer->status == 201 || answer->status == 409);
        made += answer->status == 201 && !answer->replayed;
        json_decref(answer->body);
        free(answer);
    }
    assert_int_equal(made, 1);
    assert_int_equal(things(), 1);
}

static void keys_are_forgotten_after_a_day_and_counted(void **state) {
    (void)state;
    expect(call("/things", "k", "{\"number\":1}"), 201, NULL);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    bc_statement_t *age = bc_db_prepare(db, "UPDATE once_keys SET created_ms = created_ms - ?");
    bc_bind_int(age, 1, BC_ONCE_KEPT_MS + 1000);
    assert_int_equal(bc_run(age), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    expect(call("/things", "k", "{\"number\":2}"), 201, NULL); /* over, though its row is there */
    assert_int_equal(count("SELECT COUNT(*) FROM once_keys"), 1);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    bc_once_tidy(db, bc_time_ms() + 1000);
    bc_once_tidy(db, bc_time_ms() + BC_ONCE_KEPT_MS + 1000);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    assert_int_equal(count("SELECT COUNT(*) FROM once_keys"), 0);
    expect(call("/things", "k0", "{\"number\":3}"), 201, NULL);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    for (int i = 1; i < BC_ONCE_USER_MAX; i++) {
        bc_statement_t *fill = bc_db_prepare(
            db, "INSERT INTO once_keys(user_id, place, once_key, digest, status, media, body, created_ms) "
                "SELECT user_id, place, ?, digest, status, media, body, created_ms FROM once_keys LIMIT 1");
        char key[24];
        (void)snprintf(key, sizeof(key), "fill-%d", i);
        bc_bind_text(fill, 1, key);
        assert_int_equal(bc_run(fill), BC_DB_DONE);
    }
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    expect(call("/things", "one-more", "{\"number\":4}"), 429, "too-many-requests");
    answer_t known = call("/things", "k0", "{\"number\":3}");
    assert_true(known.replayed); /* known ones are answered still */
    expect(known, 201, NULL);
    expect(call_as(other_token, "/things", "k", "{\"number\":5}"), 201, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_repeat_gets_the_same_answer_and_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_belongs_to_user_path_and_body, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_that_is_missing_or_malformed_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_are_kept_and_outages_are_not, setup, teardown),
        cmocka_unit_test_setup_teardown(while_the_first_runs_the_second_is_told_so, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once_count_once, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_are_forgotten_after_a_day_and_counted, setup, teardown),
    };
    bc_log_init("once-test", BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
