/* Every public call of auth with good and bad input, against the real service on a unix socket. */
#include "auth_people.h"

static void a_guest_gets_tokens_and_costs_no_query(void **state) {
    (void)state;
    start_service("");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    assert_int_equal(guest.status, 201);
    assert_int_equal(statements_of(&guest), 0);
    assert_non_null(strstr(guest.headers, "Cache-Control: no-store"));
    assert_string_equal(member(&guest, "token_type"), "Bearer");
    assert_string_equal(member(&guest, "user.kind"), "guest");
    assert_int_equal(json_integer_value(json_object_get(guest.body, "expires_in")), 900);
    answer_t me = get("/api/v1/me", member(&guest, "access_token"));
    assert_int_equal(me.status, 200);
    assert_int_equal(statements_of(&me), 2);
    assert_string_equal(member(&me, "id"), member(&guest, "user.id"));
    assert_non_null(strstr(me.headers, "Cache-Control: private, no-cache"));
    drop(&me);
    drop(&guest);
    expect(post("/api/v1/auth/guest", NULL, json_pack("{}")), 201, NULL);
    expect(post("/api/v1/auth/guest", NULL, json_pack("{s:i}", "x", 1)), 400, "malformed-request");
    expect(post("/api/v1/auth/guest", NULL, json_pack("{s:s}", "transport", "pigeon")), 422, "not-acceptable-value");
    expect(get("/api/v1/auth/guest", NULL), 405, "method-not-allowed");
}

static void me_needs_a_valid_token(void **state) {
    (void)state;
    start_service("");
    expect(get("/api/v1/me", NULL), 401, "unauthorized");
    expect(get("/api/v1/me", "x.y.z"), 401, "unauthorized");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    char token[2048];
    (void)snprintf(token, sizeof(token), "%s", member(&guest, "access_token"));
    size_t length = strlen(token);
    token[length - 10] = token[length - 10] == 'A' ? 'B' : 'A';
    expect(get("/api/v1/me", token), 401, "unauthorized");
    expect(get("/api/v1/me", member(&guest, "refresh_token")), 401, "unauthorized");
    drop(&guest);
}

static void a_guest_who_registers_keeps_his_id(void **state) {
    (void)state;
    start_service("");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    answer_t customer = post("/api/v1/auth/register", member(&guest, "access_token"), registration("Emma@Example.COM"));
    assert_int_equal(customer.status, 201);
    assert_int_equal(statements_of(&customer), 12);
    assert_string_equal(member(&customer, "user.id"), member(&guest, "user.id"));
    assert_string_equal(member(&customer, "user.kind"), "customer");
    assert_string_equal(member(&customer, "user.email"), "emma@example.com");
    /* The guest's session is over, in both its tokens. */
    expect(get("/api/v1/me", member(&guest, "access_token")), 401, "unauthorized");
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&guest, "refresh_token"))),
           401, "bad-refresh-token");
    expect(get("/api/v1/me", member(&customer, "access_token")), 200, NULL);
    expect(post("/api/v1/auth/register", member(&customer, "access_token"), registration("other@example.com")), 409,
           "already-registered");
    drop(&customer);
    drop(&guest);
}

static void registration_refuses_what_it_cannot_take(void **state) {
    (void)state;
    start_service("");
    char long_password[256];
    memset(long_password, 'a', sizeof(long_password));
    long_password[201] = '\0';
    expect(post("/api/v1/auth/register", NULL, registration("emma@example.com")), 201, NULL);
    expect(post("/api/v1/auth/register", NULL, registration("EMMA@example.com")), 409, "email-taken");
    expect(post("/api/v1/auth/register", NULL, registration("emma")), 422, "not-acceptable-value");
    expect(post("/api/v1/auth/register", NULL,
                json_pack("{s:s, s:s, s:s}", "email", "a@b.cd", "password", "1234567", "name", "A")),
           422, NULL);
    expect(post("/api/v1/auth/register", NULL,
                json_pack("{s:s, s:s, s:s}", "email", "a@b.cd", "password", long_password, "name", "A")),
           422, NULL);
    long_password[200] = '\0';
    expect(post("/api/v1/auth/register", NULL,
                json_pack("{s:s, s:s, s:s}", "email", "a@b.cd", "password", long_password, "name", "A")),
           201, NULL);
    expect(post("/api/v1/auth/register", NULL,
                json_pack("{s:s, s:s, s:s}", "email", "b@b.cd", "password", "пароль12", "name", "Ж")),
           201, NULL);
    expect(post("/api/v1/auth/register", NULL,
                json_pack("{s:s, s:s, s:s}", "email", "c@b.cd", "password", "12345678", "name", "")),
           422, NULL);
    expect(post("/api/v1/auth/register", NULL, credentials("d@b.cd", "12345678")), 400, "malformed-request");
    expect(post("/api/v1/auth/register", NULL,
                json_pack("{s:s, s:s, s:s, s:s}", "email", "a@b.cd", "password", "12345678", "name", "A", "role",
                          "admin")),
           400, "malformed-request");
    expect(post("/api/v1/auth/register", "nonsense", registration("e@b.cd")), 401, "unauthorized");
}

static void login_tells_nobody_whether_an_address_is_known(void **state) {
    (void)state;
    start_service("");
    expect(post("/api/v1/auth/register", NULL, registration("emma@example.com")), 201, NULL);
    answer_t wrong = post("/api/v1/auth/login", NULL, credentials("emma@example.com", "wrong horse"));
    answer_t unknown = post("/api/v1/auth/login", NULL, credentials("nobody@example.com", "wrong horse"));
    assert_int_equal(wrong.status, 401);
    assert_int_equal(unknown.status, 401);
    assert_int_equal(statements_of(&wrong), statements_of(&unknown));
    json_object_del(wrong.body, "request_id");
    json_object_del(unknown.body, "request_id");
    assert_true(json_equal(wrong.body, unknown.body));
    drop(&wrong);
    drop(&unknown);
    expect(post("/api/v1/auth/login", NULL, credentials("no address", "wrong horse")), 401, "bad-credentials");
    answer_t right = post("/api/v1/auth/login", NULL, credentials("Emma@example.com", "correct horse"));
    assert_int_equal(right.status, 200);
    assert_int_equal(statements_of(&right), 3);
    assert_string_equal(member(&right, "cart_merge.state"), "none");
    drop(&right);
    expect(post("/api/v1/auth/login", NULL,
                json_pack("{s:s, s:s, s:s}", "email", "emma@example.com", "password", "correct horse", "cart", "burn")),
           422, "not-acceptable-value");
    expect(post("/api/v1/auth/login", NULL, json_pack("{s:s}", "email", "emma@example.com")), 400, "malformed-request");
}

/* What a call costs that could tell by its time: password hashes, by far the most of it, and statements. */
typedef struct {
    int status;
    long hashes;
    int statements;
} cost_t;

static cost_t cost_of_login(const char *email, const char *password) {
    long before = counter("bookcart_auth_hashes_total");
    answer_t answer = post("/api/v1/auth/login", NULL, credentials(email, password));
    cost_t cost = {answer.status, counter("bookcart_auth_hashes_total") - before, statements_of(&answer)};
    drop(&answer);
    return cost;
}

/* Not by a clock, which other work disturbs: by what is done. One argon2id at the stated cost, one look at the account, whatever is wrong. */
static void a_login_that_fails_does_the_same_whatever_is_wrong(void **state) {
    (void)state;
    char long_one[301];
    memset(long_one, 'p', 300);
    long_one[300] = '\0';
    start_service("BOOKCART_RATE_LIMITS = off\n");
    person_t admin = administrator("admin@example.com"), disabled = registered("off@example.com");
    (void)registered("emma@example.com");
    char path[96];
    (void)snprintf(path, sizeof(path), "/api/v1/admin/users/%s", disabled.id);
    expect(patch(path, admin.token, json_pack("{s:b}", "disabled", 1)), 200, NULL);
    const struct {
        const char *email, *password;
    } wrong[] = {
        {"emma@example.com", "wrong horse"}, {"nobody@example.com", "wrong horse"},
        {"off@example.com", "wrong horse"},  {"emma@example.com", ""},
        {"nobody@example.com", ""},          {"emma@example.com", long_one},
        {"nobody@example.com", long_one},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cost_t cost = cost_of_login(wrong[i].email, wrong[i].password);
        assert_int_equal(cost.status, 401);
        assert_int_equal(cost.hashes, 1);
        assert_int_equal(cost.statements, 1);
    }
    cost_t right = cost_of_login("emma@example.com", PASSWORD), no_address = cost_of_login("nobody", "wrong horse");
    assert_int_equal(right.status, 200);
    assert_int_equal(right.hashes, 1);
    /* What no account can have says nothing of accounts; the hash is computed all the same. */
    assert_int_equal(no_address.status, 401);
    assert_int_equal(no_address.hashes, 1);
    assert_int_equal(no_address.statements, 0);
}

/* The whole work of a forgotten password is behind the request. */
static void a_forgotten_password_costs_the_same_for_nobody(void **state) {
    (void)state;
    static const char *const emails[] = {"emma@example.com", "nobody@example.com", "no address"};
    start_service("BOOKCART_RATE_LIMITS = off\n");
    (void)registered("emma@example.com");
    for (size_t i = 0; i < sizeof(emails) / sizeof(emails[0]); i++) {
        long before = counter("bookcart_auth_hashes_total");
        answer_t answer = post("/api/v1/auth/password/forgot", NULL, json_pack("{s:s}", "email", emails[i]));
        assert_int_equal(answer.status, 202);
        assert_int_equal(statements_of(&answer), 1);
        assert_null(answer.text);
        assert_int_equal(counter("bookcart_auth_hashes_total"), before);
        drop(&answer);
    }
}

static void wrong_passwords_delay_an_account_and_many_tries_an_address(void **state) {
    (void)state;
    start_service("");
    expect(post("/api/v1/auth/register", NULL, registration("emma@example.com")), 201, NULL);
    for (int i = 0; i < 6; i++)
        expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", "wrong horse")), 401,
               "bad-credentials");
    answer_t late = post("/api/v1/auth/login", NULL, credentials("emma@example.com", "correct horse"));
    assert_int_equal(late.status, 429);
    assert_non_null(strstr(late.headers, "Retry-After: 1"));
    drop(&late);
    int limited = 0;
    for (int i = 0; i < 30 && limited == 0; i++) {
        answer_t other = post("/api/v1/auth/login", NULL, credentials("somebody@example.com", "wrong horse"));
        limited = other.status == 429 && statements_of(&other) == 0;
        drop(&other);
    }
    assert_int_equal(limited, 1);
}

static void limits_can_be_off_on_loopback(void **state) {
    (void)state;
    start_service("BOOKCART_RATE_LIMITS = off\n");
    for (int i = 0; i < 100; i++) expect(post("/api/v1/auth/guest", NULL, NULL), 201, NULL);
    for (int i = 0; i < 30; i++)
        expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", "wrong horse")), 401,
               "bad-credentials");
}

static void a_refresh_token_rotates(void **state) {
    (void)state;
    start_service("");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    answer_t first =
        post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&guest, "refresh_token")));
    assert_int_equal(first.status, 200);
    assert_int_equal(statements_of(&first), 7);
    assert_string_equal(member(&first, "user.id"), member(&guest, "user.id"));
    assert_string_not_equal(member(&first, "refresh_token"), member(&guest, "refresh_token"));
    answer_t second =
        post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&first, "refresh_token")));
    assert_int_equal(second.status, 200);
    assert_int_equal(statements_of(&second), 4);
    /* The old one again at once: another pair of the family, and nobody is thrown out. */
    answer_t again =
        post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&first, "refresh_token")));
    assert_int_equal(again.status, 200);
    assert_string_not_equal(member(&again, "refresh_token"), member(&second, "refresh_token"));
    expect(get("/api/v1/me", member(&again, "access_token")), 200, NULL);
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&second, "refresh_token"))),
           200, NULL);
    drop(&again);
    drop(&second);
    drop(&first);
    drop(&guest);
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", "bcr_nonsense")), 401,
           "bad-refresh-token");
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", "bcg_AAAA")), 401,
           "bad-refresh-token");
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", "")), 401, "bad-refresh-token");
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{}")), 400, "malformed-request");
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{s:i}", "refresh_token", 7)), 400, "malformed-request");
}

static void a_refresh_token_reused_late_ends_the_session(void **state) {
    (void)state;
    start_service("BOOKCART_REFRESH_GRACE = 0\n");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    answer_t first =
        post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&guest, "refresh_token")));
    assert_int_equal(first.status, 200);
    int64_t began = bc_time_ms();
    while (bc_time_ms() == began) continue; /* no grace: the next millisecond is late */
    answer_t thief =
        post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&guest, "refresh_token")));
    assert_int_equal(statements_of(&thief), 4);
    expect(thief, 401, "bad-refresh-token");
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&first, "refresh_token"))),
           401, "bad-refresh-token");
    expect(get("/api/v1/me", member(&first, "access_token")), 401, "unauthorized");
    drop(&first);
    drop(&guest);
}

static void a_session_that_was_logged_out_is_over(void **state) {
    (void)state;
    start_service("");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL), other = post("/api/v1/auth/guest", NULL, NULL);
    expect(post("/api/v1/auth/logout", NULL, json_pack("{s:s}", "refresh_token", member(&guest, "refresh_token"))), 401,
           "unauthorized");
    expect(post("/api/v1/auth/logout", member(&guest, "access_token"),
                json_pack("{s:s}", "refresh_token", member(&other, "refresh_token"))),
           401, "bad-refresh-token");
    expect(get("/api/v1/me", member(&guest, "access_token")), 200, NULL);
    expect(post("/api/v1/auth/logout", member(&guest, "access_token"),
                json_pack("{s:s}", "refresh_token", member(&guest, "refresh_token"))),
           204, NULL);
    expect(get("/api/v1/me", member(&guest, "access_token")), 401, "unauthorized");
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&guest, "refresh_token"))),
           401, "bad-refresh-token");
    expect(get("/api/v1/me", member(&other, "access_token")), 200, NULL);
    drop(&guest);
    drop(&other);
}

static void a_restart_forgets_nothing(void **state) {
    (void)state;
    start_service("");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL),
             customer = post("/api/v1/auth/register", NULL, registration("emma@example.com"));
    expect(post("/api/v1/auth/logout", member(&guest, "access_token"),
                json_pack("{s:s}", "refresh_token", member(&guest, "refresh_token"))),
           204, NULL);
    stop_service();
    start_service("");
    expect(get("/api/v1/me", member(&guest, "access_token")), 401, "unauthorized");
    expect(get("/api/v1/me", member(&customer, "access_token")), 200, NULL);
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&customer, "refresh_token"))),
           200, NULL);
    expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", "correct horse")), 200, NULL);
    drop(&customer);
    drop(&guest);
}

/* The value of the session cookie in an answer's headers. */
static void read_cookie(const answer_t *answer, char *cookie, size_t size) {
    const char *at = strstr(answer->headers, "Set-Cookie: __Secure-bookcart=");
    assert_non_null(at);
    at += strlen("Set-Cookie: ");
    (void)snprintf(cookie, size, "Cookie: %.*s", (int)strcspn(at, ";"), at);
    assert_non_null(strstr(at, "; HttpOnly"));
    assert_non_null(strstr(at, "; Secure"));
    assert_non_null(strstr(at, "; SameSite=Strict"));
    assert_non_null(strstr(at, "; Path=/api/v1/auth;"));
}

static void a_cookie_carries_the_refresh_token_by_its_rules(void **state) {
    (void)state;
    start_service("BOOKCART_PUBLIC_URL = https://shop.example\n");
    char cookie[512], both[1024];
    answer_t guest = post("/api/v1/auth/guest", NULL, json_pack("{s:s}", "transport", "cookie"));
    assert_int_equal(guest.status, 201);
    assert_null(json_object_get(guest.body, "refresh_token"));
    read_cookie(&guest, cookie, sizeof(cookie));
    expect(call_with(BC_AUTH_LISTEN, "POST", "/api/v1/auth/refresh", NULL, cookie, json_object()), 403, "forbidden");
    (void)snprintf(both, sizeof(both), "%s\r\nOrigin: https://evil.example", cookie);
    expect(call_with(BC_AUTH_LISTEN, "POST", "/api/v1/auth/refresh", NULL, both, json_object()), 403, "forbidden");
    (void)snprintf(both, sizeof(both), "%s\r\nOrigin: https://shop.example", cookie);
    expect(call_with(BC_AUTH_LISTEN, "POST", "/api/v1/auth/refresh", NULL, both, NULL), 415, "unsupported-media-type");
    answer_t next = call_with(BC_AUTH_LISTEN, "POST", "/api/v1/auth/refresh", NULL, both, json_object());
    assert_int_equal(next.status, 200);
    assert_null(json_object_get(next.body, "refresh_token"));
    read_cookie(&next, cookie, sizeof(cookie));
    (void)snprintf(both, sizeof(both), "%s\r\nOrigin: https://shop.example", cookie);
    answer_t out =
        call_with(BC_AUTH_LISTEN, "POST", "/api/v1/auth/logout", member(&next, "access_token"), both, json_object());
    assert_int_equal(out.status, 204);
    assert_non_null(strstr(out.headers, "__Secure-bookcart=; Path=/api/v1/auth; Max-Age=0"));
    drop(&out);
    drop(&next);
    drop(&guest);
}

static int stop_and_drop(void **state) {
    return drop_data(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_data, stop_and_drop)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_guest_gets_tokens_and_costs_no_query),
        CASE(me_needs_a_valid_token),
        CASE(a_guest_who_registers_keeps_his_id),
        CASE(registration_refuses_what_it_cannot_take),
        CASE(login_tells_nobody_whether_an_address_is_known),
        CASE(a_login_that_fails_does_the_same_whatever_is_wrong),
        CASE(a_forgotten_password_costs_the_same_for_nobody),
        CASE(wrong_passwords_delay_an_account_and_many_tries_an_address),
        CASE(limits_can_be_off_on_loopback),
        CASE(a_refresh_token_rotates),
        CASE(a_refresh_token_reused_late_ends_the_session),
        CASE(a_session_that_was_logged_out_is_over),
        CASE(a_restart_forgets_nothing),
        CASE(a_cookie_carries_the_refresh_token_by_its_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
