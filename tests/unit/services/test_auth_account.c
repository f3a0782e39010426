/* What a customer does with his own account, against the real service; his mail is read where the mailer puts it. */
#include "auth_people.h"

#define OFF "BOOKCART_RATE_LIMITS = off\n"

static void a_profile_is_patched(void **state) {
    (void)state;
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    answer_t me = patch("/api/v1/me", emma.token,
                        json_pack("{s:s, s:s, s:s}", "name", "Émile", "about", "a\nb", "language", "fr"));
    assert_int_equal(me.status, 200);
    assert_int_equal(statements_of(&me), 4);
    assert_string_equal(member(&me, "name"), "Émile");
    assert_string_equal(member(&me, "about"), "a\nb");
    assert_string_equal(member(&me, "language"), "fr");
    assert_non_null(strstr(me.headers, "Cache-Control: private, no-cache"));
    drop(&me);
    me = patch("/api/v1/me", emma.token, json_pack("{s:n, s:n}", "about", "language"));
    assert_string_equal(member(&me, "about"), "");
    assert_true(json_is_null(json_object_get(me.body, "language")));
    assert_string_equal(member(&me, "name"), "Émile");
    drop(&me);
    assert_int_equal(events_of("user.changed"), 2);
    me = patch("/api/v1/me", emma.token, json_object());
    assert_int_equal(me.status, 200);
    assert_int_equal(statements_of(&me), 2);
    drop(&me);
    assert_int_equal(events_of("user.changed"), 2);
    expect(patch("/api/v1/me", emma.token, json_pack("{s:s}", "name", " ")), 422, "not-acceptable-value");
    expect(patch("/api/v1/me", emma.token, json_pack("{s:n}", "name")), 400, "malformed-request");
    expect(patch("/api/v1/me", emma.token, json_pack("{s:s}", "about", "\x07")), 422, "not-acceptable-value");
    expect(patch("/api/v1/me", emma.token, json_pack("{s:s}", "language", "de")), 422, "not-acceptable-value");
    expect(patch("/api/v1/me", emma.token, json_pack("{s:s}", "role", "admin")), 400, "malformed-request");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    expect(patch("/api/v1/me", member(&guest, "access_token"), json_object()), 403, "registration-required");
    drop(&guest);
}

static void about_holds_a_thousand_characters(void **state) {
    (void)state;
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    char about[4096] = "";
    for (int i = 0; i < 1000; i++) (void)strcat(about, "ж");
    expect(patch("/api/v1/me", emma.token, json_pack("{s:s}", "about", about)), 200, NULL);
    (void)strcat(about, "x");
    expect(patch("/api/v1/me", emma.token, json_pack("{s:s}", "about", about)), 422, "not-acceptable-value");
}

static json_t *new_password(const char *old, const char *new) {
    return json_pack("{s:s, s:s}", "password", old, "new_password", new);
}

static void a_new_password_ends_the_other_sessions(void **state) {
    (void)state;
    start_service(OFF);
    person_t here = registered("emma@example.com"), there = signed_in("emma@example.com", PASSWORD);
    expect(post("/api/v1/me/password", here.token, new_password("wrong horse", "a new horse")), 403, "wrong-password");
    expect(post("/api/v1/me/password", here.token, new_password(PASSWORD, "short")), 422, "not-acceptable-value");
    char three_hundred[301];
    memset(three_hundred, 'a', 300);
    three_hundred[300] = '\0';
    expect(post("/api/v1/me/password", here.token, new_password(PASSWORD, three_hundred)), 422, "not-acceptable-value");
    answer_t done = post("/api/v1/me/password", here.token, new_password(PASSWORD, "a new horse"));
    assert_int_equal(done.status, 204);
    assert_int_equal(statements_of(&done), 9);
    drop(&done);
    expect(get("/api/v1/me", here.token), 200, NULL);
    expect(refreshed(&here), 200, NULL);
    expect(get("/api/v1/me", there.token), 401, "unauthorized");
    expect(refreshed(&there), 401, "bad-refresh-token");
    expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", PASSWORD)), 401, "bad-credentials");
    expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", "a new horse")), 200, NULL);
    free(take_mail("emma@example.com", "assword"));
    assert_int_equal(events_of("user.changed"), 1);
}

static void wrong_passwords_delay_here_as_at_the_login(void **state) {
    (void)state;
    start_service("");
    person_t emma = registered("emma@example.com");
    for (int i = 0; i < 6; i++)
        expect(post("/api/v1/me/erase", emma.token, json_pack("{s:s}", "password", "wrong horse")), 403,
               "wrong-password");
    answer_t late = post("/api/v1/me/password", emma.token, new_password(PASSWORD, "a new horse"));
    assert_non_null(strstr(late.headers, "Retry-After: 1"));
    expect(late, 429, "too-many-requests");
    expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", PASSWORD)), 429, "too-many-requests");
}

static json_t *reset_body(const char *token, const char *password) {
    return json_pack("{s:s, s:s}", "token", token, "password", password);
}

static void a_forgotten_password_is_set_by_mail(void **state) {
    (void)state;
    char first[128], second[128], verify[128];
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    take_token("emma@example.com", VERIFY_SIGN, verify);
    /* Known, unknown and no address at all: nothing tells them apart. */
    static const char *const addresses[] = {"Emma@Example.com", "nobody@example.com", "no address", ""};
    for (size_t i = 0; i < 4; i++) {
        answer_t answer = post("/api/v1/auth/password/forgot", NULL, json_pack("{s:s}", "email", addresses[i]));
        assert_int_equal(answer.status, 202);
        assert_int_equal(statements_of(&answer), 1);
        assert_null(answer.text);
        drop(&answer);
    }
    take_token("emma@example.com", RESET_SIGN, first);
    expect(post("/api/v1/auth/password/forgot", NULL, json_pack("{s:s}", "email", "emma@example.com")), 202, NULL);
    take_token("emma@example.com", RESET_SIGN, second);
    assert_string_not_equal(first, second);
    assert_int_equal(sql("SELECT COUNT(*) FROM forgotten"), 0);
    assert_int_equal(sql("SELECT COUNT(*) FROM links WHERE kind = 1"), 2);

    expect(post("/api/v1/auth/password/reset", NULL, reset_body("bcl_nonsense", "a new horse")), 422, "bad-link");
    expect(post("/api/v1/auth/password/reset", NULL, reset_body(verify, "a new horse")), 422, "bad-link");
    expect(post("/api/v1/auth/email/verify", NULL, json_pack("{s:s}", "token", first)), 422, "bad-link");
    expect(post("/api/v1/auth/password/reset", NULL, reset_body(first, "short")), 422, "not-acceptable-value");
    answer_t done = post("/api/v1/auth/password/reset", NULL, reset_body(first, "a new horse"));
    assert_int_equal(done.status, 204);
    assert_int_equal(statements_of(&done), 10);
    drop(&done);
    expect(post("/api/v1/auth/password/reset", NULL, reset_body(first, "another horse")), 422, "bad-link");
    expect(post("/api/v1/auth/password/reset", NULL, reset_body(second, "another horse")), 422, "bad-link");
    expect(get("/api/v1/me", emma.token), 401, "unauthorized");
    expect(refreshed(&emma), 401, "bad-refresh-token");
    expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", PASSWORD)), 401, "bad-credentials");
    /* At once, in the same second as the revocation. */
    person_t again = signed_in("emma@example.com", "a new horse");
    answer_t me = get("/api/v1/me", again.token);
    assert_int_equal(me.status, 200);
    assert_true(json_is_true(json_object_get(me.body, "email_verified"))); /* he has read a mail */
    drop(&me);
}

static void a_link_dies_with_its_time(void **state) {
    (void)state;
    char token[128];
    start_service(OFF);
    (void)registered("emma@example.com");
    expect(post("/api/v1/auth/password/forgot", NULL, json_pack("{s:s}", "email", "emma@example.com")), 202, NULL);
    take_token("emma@example.com", RESET_SIGN, token);
    int64_t lives_ms = sql("SELECT expires_ms FROM links WHERE kind = 1") - bc_time_ms();
    assert_true(lives_ms > 3500 * 1000 && lives_ms <= 3600 * 1000);
    (void)sql("UPDATE links SET expires_ms = 1 WHERE kind = 1");
    expect(post("/api/v1/auth/password/reset", NULL, reset_body(token, "a new horse")), 422, "bad-link");
    expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", PASSWORD)), 200, NULL);
}

static void no_token_is_kept_readable(void **state) {
    (void)state;
    char token[128], text[256];
    start_service(OFF);
    (void)registered("emma@example.com");
    take_token("emma@example.com", VERIFY_SIGN, token);
    for (int i = 0; i < 1000 && sql("SELECT COUNT(*) FROM mails WHERE data IS NOT NULL OR address IS NOT NULL") > 0;
         i++)
        usleep(5000);
    assert_int_equal(sql("SELECT COUNT(*) FROM mails WHERE data IS NOT NULL OR address IS NOT NULL"), 0);
    (void)snprintf(text, sizeof(text), "SELECT COUNT(*) FROM links WHERE instr(hash, '%s') > 0", token);
    assert_int_equal(sql(text), 0);
}

static void mails_that_were_asked_for_are_few(void **state) {
    (void)state;
    start_service("");
    (void)registered("emma@example.com");
    for (int i = 0; i < 8; i++)
        expect(post("/api/v1/auth/password/forgot", NULL, json_pack("{s:s}", "email", "emma@example.com")), 202, NULL);
    for (int i = 0; i < 1000 && sql("SELECT COUNT(*) FROM forgotten") > 0; i++) usleep(5000);
    assert_int_equal(sql("SELECT COUNT(*) FROM forgotten"), 0);
    assert_int_equal(sql("SELECT COUNT(*) FROM links WHERE kind = 1"), 3);
    int limited = 0;
    for (int i = 0; i < 10 && limited == 0; i++) {
        answer_t other = post("/api/v1/auth/password/forgot", NULL, json_pack("{s:s}", "email", "nobody@example.com"));
        limited = other.status == 429;
        drop(&other);
    }
    assert_int_equal(limited, 1);
}

static void an_address_is_proved_once(void **state) {
    (void)state;
    char token[128];
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    answer_t me = get("/api/v1/me", emma.token);
    assert_true(json_is_false(json_object_get(me.body, "email_verified")));
    drop(&me);
    take_token("emma@example.com", VERIFY_SIGN, token);
    answer_t done = post("/api/v1/auth/email/verify", NULL, json_pack("{s:s}", "token", token));
    assert_int_equal(done.status, 204);
    assert_int_equal(statements_of(&done), 4);
    drop(&done);
    expect(post("/api/v1/auth/email/verify", NULL, json_pack("{s:s}", "token", token)), 422, "bad-link");
    me = get("/api/v1/me", emma.token);
    assert_true(json_is_true(json_object_get(me.body, "email_verified")));
    drop(&me);
}

static json_t *new_email(const char *email) {
    return json_pack("{s:s, s:s}", "password", PASSWORD, "email", email);
}

static void a_new_address_is_proved_and_the_old_one_told(void **state) {
    (void)state;
    char token[128], reset[128];
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    (void)registered("taken@example.com");
    expect(post("/api/v1/me/email", emma.token, new_email("taken@example.com")), 409, "email-taken");
    expect(post("/api/v1/me/email", emma.token, new_email("no address")), 422, "not-acceptable-value");
    expect(
        post("/api/v1/me/email", emma.token, json_pack("{s:s, s:s}", "password", "wrong", "email", "new@example.org")),
        403, "wrong-password");
    answer_t asked = post("/api/v1/me/email", emma.token, new_email("New@Example.org"));
    assert_int_equal(asked.status, 202);
    assert_int_equal(statements_of(&asked), 5);
    drop(&asked);
    answer_t me = get("/api/v1/me", emma.token);
    assert_string_equal(member(&me, "email"), "emma@example.com");
    drop(&me);
    expect(post("/api/v1/auth/password/forgot", NULL, json_pack("{s:s}", "email", "emma@example.com")), 202, NULL);
    take_token("emma@example.com", RESET_SIGN, reset);
    take_token("new@example.org", VERIFY_SIGN, token);
    answer_t done = post("/api/v1/auth/email/verify", NULL, json_pack("{s:s}", "token", token));
    assert_int_equal(done.status, 204);
    assert_int_equal(statements_of(&done), 8);
    drop(&done);
    me = get("/api/v1/me", emma.token);
    assert_string_equal(member(&me, "email"), "new@example.org");
    assert_true(json_is_true(json_object_get(me.body, "email_verified")));
    drop(&me);
    char *told = take_mail("emma@example.com", "n…@example.org");
    assert_null(strstr(told, "new@example.org"));
    free(told);
    /* Whoever reads the old mailbox opens nothing any more. */
    expect(post("/api/v1/auth/password/reset", NULL, reset_body(reset, "a new horse")), 422, "bad-link");
    expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", PASSWORD)), 401, "bad-credentials");
    expect(post("/api/v1/auth/login", NULL, credentials("new@example.org", PASSWORD)), 200, NULL);
}

static void an_address_taken_meanwhile_is_refused_by_the_index(void **state) {
    (void)state;
    char token[128];
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    expect(post("/api/v1/me/email", emma.token, new_email("new@example.org")), 202, NULL);
    take_token("new@example.org", VERIFY_SIGN, token);
    (void)registered("new@example.org");
    expect(post("/api/v1/auth/email/verify", NULL, json_pack("{s:s}", "token", token)), 409, "email-taken");
    answer_t me = get("/api/v1/me", emma.token);
    assert_string_equal(member(&me, "email"), "emma@example.com");
    drop(&me);
}

static void ones_own_address_again_asks_for_another_mail(void **state) {
    (void)state;
    char first[128], second[128];
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    take_token("emma@example.com", VERIFY_SIGN, first);
    expect(post("/api/v1/me/email", emma.token, new_email("emma@example.com")), 202, NULL);
    take_token("emma@example.com", VERIFY_SIGN, second);
    expect(post("/api/v1/auth/email/verify", NULL, json_pack("{s:s}", "token", second)), 204, NULL);
    expect(post("/api/v1/me/email", emma.token, new_email("emma@example.com")), 202, NULL);
    assert_int_equal(sql("SELECT COUNT(*) FROM mails"), 2); /* proved: no third */
}

static void sessions_are_listed_and_ended(void **state) {
    (void)state;
    char path[256];
    start_service(OFF);
    person_t first = registered("emma@example.com"), other = registered("other@example.com");
    answer_t login = call_with(BC_AUTH_LISTEN, "POST", "/api/v1/auth/login", NULL,
                               "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
                               credentials("emma@example.com", PASSWORD));
    person_t second = person_of(&login, 200);
    answer_t list = get("/api/v1/me/sessions", second.token);
    assert_int_equal(list.status, 200);
    assert_int_equal(statements_of(&list), 2);
    json_t *items = json_object_get(list.body, "items"), *newest = json_array_get(items, 0),
           *oldest = json_array_get(items, 1);
    assert_int_equal(json_array_size(items), 2);
    assert_true(json_is_null(json_object_get(list.body, "next_cursor")));
    assert_true(json_is_true(json_object_get(newest, "current")));
    assert_true(json_is_false(json_object_get(oldest, "current")));
    assert_string_equal(json_string_value(json_object_get(newest, "browser")), "firefox");
    assert_string_equal(json_string_value(json_object_get(newest, "system")), "linux");
    assert_string_equal(json_string_value(json_object_get(oldest, "browser")), "other");
    (void)snprintf(path, sizeof(path), "/api/v1/me/sessions/%s", json_string_value(json_object_get(oldest, "id")));
    drop(&list);
    expect(call_with(BC_AUTH_LISTEN, "DELETE", path, other.token, NULL, NULL), 404, "not-found");
    answer_t ended = call_with(BC_AUTH_LISTEN, "DELETE", path, second.token, NULL, NULL);
    assert_int_equal(ended.status, 204);
    assert_int_equal(statements_of(&ended), 3);
    drop(&ended);
    expect(call_with(BC_AUTH_LISTEN, "DELETE", path, second.token, NULL, NULL), 404, "not-found");
    expect(call_with(BC_AUTH_LISTEN, "DELETE", "/api/v1/me/sessions/nonsense", second.token, NULL, NULL), 404,
           "not-found");
    expect(get("/api/v1/me", first.token), 401, "unauthorized");
    expect(refreshed(&first), 401, "bad-refresh-token");
    expect(get("/api/v1/me", second.token), 200, NULL);
}

static void pages_of_sessions_hold_each_once(void **state) {
    (void)state;
    char path[512], strange[512];
    start_service(OFF);
    person_t emma = registered("emma@example.com"), other = registered("other@example.com");
    for (int i = 0; i < 6; i++) (void)signed_in("emma@example.com", PASSWORD);
    json_t *seen = json_object();
    (void)snprintf(path, sizeof(path), "/api/v1/me/sessions?limit=3");
    int pages = 0;
    for (bool more = true; more; pages++) {
        answer_t page = get(path, emma.token);
        assert_int_equal(page.status, 200);
        size_t i;
        json_t *item;
        json_array_foreach(json_object_get(page.body, "items"), i, item) {
            const char *id = json_string_value(json_object_get(item, "id"));
            assert_null(json_object_get(seen, id));
            json_object_set_new(seen, id, json_true());
        }
        more = member(&page, "next_cursor")[0] != '\0';
        if (more)
            (void)snprintf(path, sizeof(path), "/api/v1/me/sessions?limit=3&cursor=%s", member(&page, "next_cursor"));
        if (pages == 0) (void)snprintf(strange, sizeof(strange), "%s", path);
        drop(&page);
    }
    assert_int_equal(pages, 3);
    assert_int_equal(json_object_size(seen), 7);
    json_decref(seen);
    expect(get(strange, other.token), 400, "bad-cursor"); /* another's list */
    expect(get("/api/v1/me/sessions?cursor=nonsense", emma.token), 400, "bad-cursor");
    expect(get("/api/v1/me/sessions?limit=-1", emma.token), 400, "malformed-request");
    expect(get("/api/v1/me/sessions?limit=101", emma.token), 400, "malformed-request");
}

static void erasing_forgets_the_person_and_keeps_the_id(void **state) {
    (void)state;
    char path[128], text[256];
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    expect(patch("/api/v1/me", emma.token, json_pack("{s:s}", "about", "something of mine")), 200, NULL);
    expect(post("/api/v1/me/erase", emma.token, json_pack("{s:s}", "password", "wrong")), 403, "wrong-password");
    answer_t done = post("/api/v1/me/erase", emma.token, json_pack("{s:s}", "password", PASSWORD));
    assert_int_equal(done.status, 204);
    assert_int_equal(statements_of(&done), 9);
    drop(&done);
    expect(get("/api/v1/me", emma.token), 401, "unauthorized");
    expect(refreshed(&emma), 401, "bad-refresh-token");
    expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", PASSWORD)), 401, "bad-credentials");
    assert_int_equal(events_of("user.erased"), 1);
    (void)snprintf(path, sizeof(path), "/internal/users/%s", emma.id);
    answer_t left = call_with(BC_AUTH_INTERNAL, "GET", path, service_key(), NULL, NULL);
    assert_int_equal(left.status, 200);
    assert_true(json_is_null(json_object_get(left.body, "email")));
    assert_true(json_is_null(json_object_get(left.body, "name")));
    assert_true(json_is_true(json_object_get(left.body, "closed")));
    drop(&left);
    (void)snprintf(text, sizeof(text),
                   "SELECT COUNT(*) FROM users WHERE email IS NOT NULL OR name <> '' OR about <> '' OR "
                   "password_hash <> '' OR language <> ''");
    assert_int_equal(sql(text), 0);
    assert_int_equal(sql("SELECT COUNT(*) FROM links"), 0);
    person_t again = registered("emma@example.com"); /* the address is free */
    assert_string_not_equal(again.id, emma.id);
}

static void an_export_names_what_is_missing(void **state) {
    (void)state;
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    answer_t all = get("/api/v1/me/export", emma.token);
    assert_int_equal(all.status, 200);
    assert_int_equal(statements_of(&all), 4);
    assert_string_equal(member(&all, "user.email"), "emma@example.com");
    assert_int_equal(json_array_size(json_object_get(all.body, "sessions")), 1);
    assert_int_equal(json_array_size(json_object_get(all.body, "missing")), 3);
    assert_true(json_is_null(json_object_get(all.body, "cart")));
    assert_null(strstr(all.text, "argon2"));
    drop(&all);
}

static void internal_users_are_for_services(void **state) {
    (void)state;
    char path[128];
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    (void)snprintf(path, sizeof(path), "/internal/users/%s", emma.id);
    expect(call_with(BC_AUTH_INTERNAL, "GET", path, emma.token, NULL, NULL), 401, "unauthorized");
    expect(get(path, emma.token), 404, "not-found");
    answer_t user = call_with(BC_AUTH_INTERNAL, "GET", path, service_key(), NULL, NULL);
    assert_int_equal(user.status, 200);
    assert_int_equal(statements_of(&user), 1);
    assert_string_equal(member(&user, "email"), "emma@example.com");
    assert_string_equal(member(&user, "language"), "en");
    assert_true(json_is_false(json_object_get(user.body, "closed")));
    drop(&user);
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    (void)snprintf(path, sizeof(path), "/internal/users/%s", member(&guest, "user.id"));
    expect(call_with(BC_AUTH_INTERNAL, "GET", path, service_key(), NULL, NULL), 404, "not-found");
    drop(&guest);
    expect(call_with(BC_AUTH_INTERNAL, "GET", "/internal/users/nonsense", service_key(), NULL, NULL), 404, "not-found");
}

static void a_guest_without_life_is_closed_and_told(void **state) {
    (void)state;
    start_service(OFF);
    answer_t one = post("/api/v1/auth/guest", NULL, NULL), two = post("/api/v1/auth/guest", NULL, NULL);
    person_t dead = person_of(&one, 201), alive = person_of(&two, 201);
    one = refreshed(&dead);
    dead = person_of(&one, 200);
    two = refreshed(&alive);
    alive = person_of(&two, 200);
    assert_int_equal(events_of("user.expired"), 0);
    stop_service();
    /* The first one's tokens are over: a month has gone by. */
    char text[256];
    (void)sql("UPDATE sessions SET expires_ms = 1000 WHERE id = (SELECT s.id FROM sessions s JOIN users u ON u.id = "
              "s.user_id "
              "ORDER BY s.created_ms LIMIT 1)");
    (void)sql(
        "UPDATE refresh_tokens SET expires_ms = 1000 WHERE session_id IN (SELECT id FROM sessions WHERE expires_ms = "
        "1000)");
    start_service(OFF);
    for (int i = 0; i < 1000 && events_of("user.expired") == 0; i++) usleep(5000);
    assert_int_equal(events_of("user.expired"), 1);
    (void)snprintf(text, sizeof(text), "SELECT COUNT(*) FROM outbox WHERE type = 'user.expired' AND event_key = '%s'",
                   dead.id);
    assert_int_equal(sql(text), 1);
    expect(refreshed(&dead), 401, "bad-refresh-token");
    expect(refreshed(&alive), 200, NULL);
    (void)snprintf(text, sizeof(text), "SELECT COUNT(*) FROM sessions WHERE expires_ms = 1000");
    for (int i = 0; i < 1000 && sql(text) > 0; i++) usleep(5000);
    assert_int_equal(sql(text), 0); /* tidied after the guest was told of, not before */
}

static void events_tell_of_every_change(void **state) {
    (void)state;
    start_service(OFF);
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    char guest_token[2048], guest_id[40];
    (void)snprintf(guest_token, sizeof(guest_token), "%s", member(&guest, "access_token"));
    (void)snprintf(guest_id, sizeof(guest_id), "%s", member(&guest, "user.id"));
    drop(&guest);
    person_t emma = registered("emma@example.com");
    expect(post("/api/v1/auth/login", guest_token, credentials("emma@example.com", PASSWORD)), 200, NULL);
    answer_t log = call_with(BC_AUTH_INTERNAL, "GET", "/internal/events?after=0&wait=0", service_key(), NULL, NULL);
    assert_int_equal(log.status, 200);
    json_t *items = json_object_get(log.body, "items"), *merged = json_array_get(items, 1);
    assert_int_equal(json_array_size(items), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(items, 0), "type")), "user.registered");
    assert_string_equal(json_string_value(json_object_get(merged, "type")), "user.merged");
    assert_string_equal(json_string_value(json_object_get(merged, "subject")), emma.id);
    assert_string_equal(json_string_value(json_object_get(json_object_get(merged, "data"), "guest")), guest_id);
    assert_null(strstr(log.text, "emma@"));
    drop(&log);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_data, drop_data)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_profile_is_patched),
        CASE(about_holds_a_thousand_characters),
        CASE(a_new_password_ends_the_other_sessions),
        CASE(wrong_passwords_delay_here_as_at_the_login),
        CASE(a_forgotten_password_is_set_by_mail),
        CASE(a_link_dies_with_its_time),
        CASE(no_token_is_kept_readable),
        CASE(mails_that_were_asked_for_are_few),
        CASE(an_address_is_proved_once),
        CASE(a_new_address_is_proved_and_the_old_one_told),
        CASE(an_address_taken_meanwhile_is_refused_by_the_index),
        CASE(ones_own_address_again_asks_for_another_mail),
        CASE(sessions_are_listed_and_ended),
        CASE(pages_of_sessions_hold_each_once),
        CASE(erasing_forgets_the_person_and_keeps_the_id),
        CASE(an_export_names_what_is_missing),
        CASE(internal_users_are_for_services),
        CASE(a_guest_without_life_is_closed_and_told),
        CASE(events_tell_of_every_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
