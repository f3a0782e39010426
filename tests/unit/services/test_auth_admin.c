/* The program's own commands: administrators and keys, with the service up and down; key rotation; a schema from the future. */
#include "auth_harness.h"

#include "platform/bc_db.h"
#include "platform/bc_token.h"
#include "services/auth/auth_store.h"

/* Hands `text` to the next reader of standard input. */
static void give_input(const char *text) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
    close(ends[1]);
    assert_int_equal(dup2(ends[0], 0), 0);
    close(ends[0]);
    clearerr(stdin);
    (void)setvbuf(stdin, NULL, _IONBF, 0);
}

static int create_admin(const char *email, const char *input) {
    give_input(input);
    return auth_admin_create(config, email);
}

static void expect_admin(const char *email, const char *password) {
    answer_t login = post("/api/v1/auth/login", NULL, credentials(email, password));
    assert_int_equal(login.status, 200);
    assert_string_equal(member(&login, "user.role"), "admin");
    drop(&login);
}

static void an_admin_is_made_while_the_service_is_down(void **state) {
    (void)state;
    make_config("");
    assert_int_equal(create_admin("Root@Example.com", "long enough\n"), 0);
    assert_int_equal(create_admin("root@example.com", "long enough\n"), 1);
    assert_int_equal(create_admin("other@example.com", "short\n"), 1);
    assert_int_equal(create_admin("no address", "long enough\n"), 1);
    assert_int_equal(create_admin("other@example.com", ""), 1);
    start_service("");
    expect_admin("root@example.com", "long enough");
}

static void an_admin_is_made_while_the_service_runs(void **state) {
    (void)state;
    start_service("");
    assert_int_equal(create_admin("root@example.com", "long enough\n"), 0);
    expect_admin("root@example.com", "long enough");
    assert_int_equal(create_admin("root@example.com", "long enough\n"), 1);
    assert_int_equal(create_admin("other@example.com", "short\n"), 1);
    expect(call_with(BC_AUTH_INTERNAL, "POST", "/internal/admins", "wrong key", NULL,
                     credentials("a@b.cd", "long enough")),
           401, NULL);
}

static size_t published_keys(void) {
    answer_t set = get("/.well-known/jwks.json", NULL);
    assert_int_equal(set.status, 200);
    assert_non_null(strstr(set.headers, "Cache-Control: public, max-age=60"));
    size_t count = json_array_size(json_object_get(set.body, "keys"));
    for (size_t i = 0; i < count; i++) {
        const json_t *key = json_array_get(json_object_get(set.body, "keys"), i);
        assert_string_equal(json_string_value(json_object_get(key, "alg")), "ES256");
        assert_null(json_object_get(key, "d"));
    }
    drop(&set);
    return count;
}

/* The kid of a token: between its first quote pairs after "kid". */
static void kid_of(const char *token, char *kid, size_t size) {
    unsigned char header[512];
    size_t length = 0;
    assert_int_equal(sodium_base642bin(header, sizeof(header) - 1, token, strcspn(token, "."), NULL, &length, NULL,
                                       sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                     0);
    header[length] = '\0';
    json_t *parsed = json_loads((char *)header, 0, NULL);
    (void)snprintf(kid, size, "%s", json_string_value(json_object_get(parsed, "kid")));
    assert_string_equal(json_string_value(json_object_get(parsed, "typ")), "at+jwt");
    json_decref(parsed);
}

static void a_new_key_is_published_before_it_signs(void **state) {
    (void)state;
    char before[64], after[64];
    start_service("BOOKCART_KEY_PUBLISH = 1h\n");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    kid_of(member(&guest, "access_token"), before, sizeof(before));
    drop(&guest);
    assert_int_equal(published_keys(), 1);
    assert_int_equal(auth_keys_rotate(config), 0);
    assert_int_equal(published_keys(), 2);
    guest = post("/api/v1/auth/guest", NULL, NULL);
    kid_of(member(&guest, "access_token"), after, sizeof(after));
    drop(&guest);
    assert_string_equal(before, after);
}

static void an_old_key_stays_until_its_tokens_are_dead(void **state) {
    (void)state;
    char before[64], after[64];
    start_service("BOOKCART_KEY_PUBLISH = 0\n");
    answer_t old = post("/api/v1/auth/guest", NULL, NULL);
    kid_of(member(&old, "access_token"), before, sizeof(before));
    stop_service();
    assert_int_equal(auth_keys_rotate(config), 0); /* while the service is down */
    start_service("BOOKCART_KEY_PUBLISH = 0\n");
    answer_t fresh = post("/api/v1/auth/guest", NULL, NULL);
    kid_of(member(&fresh, "access_token"), after, sizeof(after));
    assert_string_not_equal(before, after);
    expect(get("/api/v1/me", member(&old, "access_token")), 200, NULL);
    expect(get("/api/v1/me", member(&fresh, "access_token")), 200, NULL);
    assert_int_equal(published_keys(), 2);
    drop(&old);
    drop(&fresh);
}

static void private_files_are_their_owners(void **state) {
    (void)state;
    static const struct {
        const char *name;
        mode_t mode;
    } files[] = {{"keys/service.key", 0600}, {"keys/guest.key", 0600}, {"keys/jwks.json", 0644}, {"auth.db", 0600}};
    start_service("");
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[128];
        struct stat found;
        (void)snprintf(path, sizeof(path), "%s/%s", data_folder, files[i].name);
        assert_int_equal(stat(path, &found), 0);
        assert_int_equal(found.st_mode & 0777, files[i].mode);
    }
}

static void a_schema_from_the_future_is_refused(void **state) {
    (void)state;
    make_config("");
    assert_int_equal(auth_service_migrate(config), 0);
    assert_int_equal(auth_service_migrate(config), 0);
    bc_migration_t future[64] = {{NULL, NULL}};
    size_t known = 0;
    for (; auth_migrations[known].sql != NULL; known++) future[known] = auth_migrations[known];
    assert_true(known + 1 < sizeof(future) / sizeof(future[0]));
    future[known] = (bc_migration_t){"from the future", "CREATE TABLE flying_cars(id INTEGER)"};
    char path[128];
    bc_db_t *db = NULL;
    (void)snprintf(path, sizeof(path), "%s/auth.db", data_folder);
    assert_int_equal(bc_db_open(path, future, &db), BC_DB_OK);
    bc_db_close(db);
    assert_int_equal(auth_service_migrate(config), 1);
    assert_null(bc_service_start(&auth_service, config));
}

static void operations_answer_on_the_internal_listener(void **state) {
    (void)state;
    start_service("");
    expect(call_with(BC_AUTH_INTERNAL, "GET", "/healthz", NULL, NULL, NULL), 200, NULL);
    answer_t ready = call_with(BC_AUTH_INTERNAL, "GET", "/readyz", NULL, NULL, NULL);
    assert_int_equal(ready.status, 200);
    assert_string_equal(member(&ready, "status"), "ready");
    assert_string_equal(member(&ready, "checks.database"), "ok");
    drop(&ready);
    answer_t page = call_with(BC_AUTH_INTERNAL, "GET", "/metrics", NULL, NULL, NULL);
    assert_int_equal(page.status, 200);
    assert_non_null(strstr(page.headers, "text/plain; version=0.0.4"));
    drop(&page);
    expect(get("/healthz", NULL), 404, "not-found");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_data, drop_data)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(an_admin_is_made_while_the_service_is_down),
        CASE(an_admin_is_made_while_the_service_runs),
        CASE(a_new_key_is_published_before_it_signs),
        CASE(an_old_key_stays_until_its_tokens_are_dead),
        CASE(private_files_are_their_owners),
        CASE(a_schema_from_the_future_is_refused),
        CASE(operations_answer_on_the_internal_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
