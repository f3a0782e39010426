/* What an administrator does with users: the list, role and state, the audit; and that the last one stays whoever hurries. */
#include "auth_people.h"

#include "services/auth/auth_store.h"

#include <pthread.h>

#define OFF "BOOKCART_RATE_LIMITS = off\n"

static void path_of(const person_t *person, char path[128]) {
    (void)snprintf(path, 128, "/api/v1/admin/users/%s", person->id);
}

static answer_t change(const person_t *actor, const person_t *target, json_t *body) {
    char path[128];
    path_of(target, path);
    return patch(path, actor->token, body);
}

static void a_list_is_filtered(void **state) {
    (void)state;
    static const struct {
        const char *query;
        size_t count;
    } lists[] = {{"", 5},
                 {"?kind=customer", 4},
                 {"?kind=guest", 1},
                 {"?role=admin", 1},
                 {"?disabled=true", 1},
                 {"?disabled=false", 4},
                 {"?email=emma", 2},
                 {"?email=EMMA@", 1},
                 {"?email=emma%40example.com&disabled=true", 0},
                 {"?email=%25", 0},
                 {"?email=zz", 0},
                 {"?kind=customer&role=customer&disabled=true", 1}};
    start_service(OFF);
    person_t admin = administrator("admin@example.com");
    (void)registered("emma@example.com");
    (void)registered("emmanuel@example.com");
    person_t bad = registered("bad@example.com");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    person_t stored = person_of(&guest, 201);
    expect(refreshed(&stored), 200, NULL);
    expect(change(&admin, &bad, json_pack("{s:b}", "disabled", 1)), 200, NULL);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "/api/v1/admin/users%s", lists[i].query);
        answer_t list = get(path, admin.token);
        assert_int_equal(list.status, 200);
        assert_int_equal(statements_of(&list), 2);
        assert_int_equal(json_array_size(json_object_get(list.body, "items")), lists[i].count);
        assert_null(strstr(list.text, "argon2"));
        drop(&list);
    }
    static const char *const bad_queries[] = {"?kind=x",   "?role=",  "?disabled=1", "?limit=0",
                                              "?cursor=x", "?sort=x", "?email="};
    for (size_t i = 0; i < sizeof(bad_queries) / sizeof(bad_queries[0]); i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "/api/v1/admin/users%s", bad_queries[i]);
        expect(get(path, admin.token), 400, NULL);
    }
}

static void pages_of_users_hold_each_once(void **state) {
    (void)state;
    char path[512];
    start_service(OFF);
    person_t admin = administrator("admin@example.com");
    for (int i = 0; i < 9; i++) {
        char email[64];
        (void)snprintf(email, sizeof(email), "reader%d@example.com", i);
        (void)registered(email);
    }
    (void)sql("UPDATE users SET created_ms = 1000"); /* all at once: the id decides */
    json_t *seen = json_object();
    (void)snprintf(path, sizeof(path), "/api/v1/admin/users?limit=4");
    for (bool more = true; more;) {
        answer_t page = get(path, admin.token);
        assert_int_equal(page.status, 200);
        size_t i;
        json_t *item;
        json_array_foreach(json_object_get(page.body, "items"), i, item) {
            assert_null(json_object_get(seen, json_string_value(json_object_get(item, "id"))));
            json_object_set_new(seen, json_string_value(json_object_get(item, "id")), json_true());
        }
        char filtered[512];
        (void)snprintf(filtered, sizeof(filtered), "/api/v1/admin/users?limit=4&kind=customer&cursor=%s",
                       member(&page, "next_cursor"));
        more = member(&page, "next_cursor")[0] != '\0';
        if (more) expect(get(filtered, admin.token), 400, "bad-cursor"); /* filtered otherwise */
        if (more)
            (void)snprintf(path, sizeof(path), "/api/v1/admin/users?limit=4&cursor=%s", member(&page, "next_cursor"));
        drop(&page);
    }
    assert_int_equal(json_object_size(seen), 10);
    json_decref(seen);
}

static void only_administrators_may(void **state) {
    (void)state;
    start_service(OFF);
    person_t emma = registered("emma@example.com");
    expect(get("/api/v1/admin/users", emma.token), 403, "forbidden");
    expect(get("/api/v1/admin/audit", emma.token), 403, "forbidden");
    expect(change(&emma, &emma, json_pack("{s:s}", "role", "admin")), 403, "forbidden");
    expect(get("/api/v1/admin/users", NULL), 401, "unauthorized");
}

static void a_role_is_given_and_taken(void **state) {
    (void)state;
    start_service(OFF);
    person_t admin = administrator("admin@example.com"), emma = registered("emma@example.com");
    answer_t done = change(&admin, &emma, json_pack("{s:s}", "role", "admin"));
    assert_int_equal(done.status, 200);
    assert_int_equal(statements_of(&done), 7);
    assert_string_equal(member(&done, "role"), "admin");
    drop(&done);
    /* His old token said customer: he refreshes, in the same second, and is one. */
    expect(get("/api/v1/me", emma.token), 401, "unauthorized");
    answer_t next = refreshed(&emma);
    emma = person_of(&next, 200);
    expect(get("/api/v1/admin/users", emma.token), 200, NULL);
    answer_t same = change(&admin, &emma, json_pack("{s:s}", "role", "admin"));
    assert_int_equal(same.status, 200);
    assert_int_equal(statements_of(&same), 2);
    drop(&same);
    expect(change(&admin, &emma, json_pack("{s:s}", "role", "customer")), 200, NULL);
    expect(get("/api/v1/admin/users", emma.token), 401, "unauthorized");
    next = refreshed(&emma);
    emma = person_of(&next, 200);
    expect(get("/api/v1/admin/users", emma.token), 403, "forbidden");
    assert_int_equal(events_of("user.role-changed"), 2);
    expect(change(&admin, &emma, json_pack("{s:s}", "role", "king")), 422, "not-acceptable-value");
    expect(change(&admin, &emma, json_pack("{s:i}", "disabled", 1)), 400, "malformed-request");
    expect(patch("/api/v1/admin/users/usr_00000000000000000000000000", admin.token, json_object()), 404, "not-found");
    expect(patch("/api/v1/admin/users/nobody", admin.token, json_object()), 404, "not-found");
}

static void ones_own_role_is_not_ones_own_business(void **state) {
    (void)state;
    start_service(OFF);
    person_t admin = administrator("admin@example.com");
    expect(change(&admin, &admin, json_pack("{s:s}", "role", "customer")), 403, "forbidden");
    expect(change(&admin, &admin, json_pack("{s:b}", "disabled", 1)), 409, "last-admin");
    expect(post("/api/v1/me/erase", admin.token, json_pack("{s:s}", "password", PASSWORD)), 409, "last-admin");
    expect(get("/api/v1/admin/users", admin.token), 200, NULL);
    (void)administrator("second@example.com");
    expect(post("/api/v1/me/erase", admin.token, json_pack("{s:s}", "password", PASSWORD)), 204, NULL);
    assert_int_equal(sql("SELECT COUNT(*) FROM users WHERE role = 1 AND closed = 0"), 1);
}

static void a_disabled_user_is_out_until_he_is_enabled(void **state) {
    (void)state;
    start_service(OFF);
    person_t admin = administrator("admin@example.com"), emma = registered("emma@example.com");
    answer_t done = change(&admin, &emma, json_pack("{s:b}", "disabled", 1));
    assert_int_equal(done.status, 200);
    assert_int_equal(statements_of(&done), 8);
    assert_true(json_is_true(json_object_get(done.body, "disabled")));
    drop(&done);
    expect(get("/api/v1/me", emma.token), 401, "unauthorized");
    expect(refreshed(&emma), 401, "bad-refresh-token");
    expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", PASSWORD)), 403, "account-disabled");
    expect(post("/api/v1/auth/login", NULL, credentials("emma@example.com", "wrong")), 401, "bad-credentials");
    expect(post("/api/v1/auth/password/forgot", NULL, json_pack("{s:s}", "email", "emma@example.com")), 202, NULL);
    for (int i = 0; i < 1000 && sql("SELECT COUNT(*) FROM forgotten") > 0; i++) usleep(5000);
    assert_int_equal(sql("SELECT COUNT(*) FROM links WHERE kind = 1"), 0);
    expect(change(&admin, &emma, json_pack("{s:b}", "disabled", 0)), 200, NULL);
    emma = signed_in("emma@example.com", PASSWORD);
    expect(get("/api/v1/me", emma.token), 200, NULL); /* in the same second */
    assert_int_equal(events_of("user.disabled"), 1);
    assert_int_equal(events_of("user.enabled"), 1);
}

static void a_guest_is_no_administrator_and_a_tombstone_nobody(void **state) {
    (void)state;
    start_service(OFF);
    person_t admin = administrator("admin@example.com"), emma = registered("emma@example.com");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    person_t stored = person_of(&guest, 201);
    expect(refreshed(&stored), 200, NULL);
    expect(change(&admin, &stored, json_pack("{s:s}", "role", "admin")), 409, "conflict");
    expect(post("/api/v1/me/erase", emma.token, json_pack("{s:s}", "password", PASSWORD)), 204, NULL);
    expect(change(&admin, &emma, json_pack("{s:b}", "disabled", 0)), 404, "not-found");
}

static void the_audit_says_who_did_what_to_whom(void **state) {
    (void)state;
    char path[128];
    start_service(OFF);
    person_t admin = administrator("admin@example.com"), emma = registered("emma@example.com");
    expect(change(&admin, &emma, json_pack("{s:s, s:b}", "role", "admin", "disabled", 1)), 200, NULL);
    answer_t audit = get("/api/v1/admin/audit", admin.token);
    assert_int_equal(audit.status, 200);
    assert_int_equal(statements_of(&audit), 2);
    json_t *items = json_object_get(audit.body, "items"), *role = json_array_get(items, 1);
    assert_int_equal(json_array_size(items), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(items, 0), "action")), "user.disabled");
    assert_string_equal(json_string_value(json_object_get(role, "action")), "user.role-changed");
    assert_string_equal(json_string_value(json_object_get(role, "actor")), admin.id);
    assert_string_equal(json_string_value(json_object_get(role, "target")), emma.id);
    assert_string_equal(json_string_value(json_object_get(json_object_get(role, "detail"), "to")), "admin");
    assert_true(json_is_null(json_object_get(json_array_get(items, 2), "actor"))); /* the command line */
    assert_null(strstr(audit.text, "emma@"));
    drop(&audit);
    (void)snprintf(path, sizeof(path), "/api/v1/admin/audit?limit=1&user=%s", emma.id);
    audit = get(path, admin.token);
    assert_int_equal(json_array_size(json_object_get(audit.body, "items")), 1);
    char next[512];
    (void)snprintf(next, sizeof(next), "%s&cursor=%s", path, member(&audit, "next_cursor"));
    drop(&audit);
    audit = get(next, admin.token);
    assert_int_equal(json_array_size(json_object_get(audit.body, "items")), 1);
    assert_true(json_is_null(json_object_get(audit.body, "next_cursor")));
    drop(&audit);
    expect(get("/api/v1/admin/audit?user=nobody", admin.token), 400, "malformed-request");
}

/* --- two take the role from each other --- */

typedef struct {
    const person_t *actor, *target;
    pthread_barrier_t *start;
    int status;
} duel_t;

static void *fight(void *argument) {
    duel_t *duel = argument;
    (void)pthread_barrier_wait(duel->start);
    answer_t answer = change(duel->actor, duel->target, json_pack("{s:s}", "role", "customer"));
    duel->status = answer.status;
    drop(&answer);
    return NULL;
}

static void of_two_who_take_it_from_each_other_one_stays(void **state) {
    (void)state;
    start_service(OFF);
    int wins[2] = {0, 0};
    (void)administrator("a@example.com");
    (void)administrator("b@example.com");
    for (int round = 0; round < 30; round++) {
        (void)sql("UPDATE users SET role = 1");
        person_t people[2] = {signed_in("a@example.com", PASSWORD), signed_in("b@example.com", PASSWORD)};
        pthread_barrier_t start;
        pthread_t threads[2];
        duel_t duels[2] = {{&people[0], &people[1], &start, 0}, {&people[1], &people[0], &start, 0}};
        assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
        for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, fight, &duels[i]), 0);
        for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(pthread_barrier_destroy(&start), 0);
        int winner = duels[0].status == 200 ? 0 : 1;
        assert_int_equal(duels[winner].status, 200);
        /* The other came too late: before the check of his token, or after it. */
        assert_true(duels[1 - winner].status == 409 || duels[1 - winner].status == 401);
        assert_int_equal(sql("SELECT COUNT(*) FROM users WHERE role = 1 AND closed = 0"), 1);
        wins[winner]++;
    }
    print_message("wins %d : %d\n", wins[0], wins[1]);
}

/* --- what a sign-in must not overtake, at the store itself --- */

static void a_session_is_not_opened_for_what_is_no_more(void **state) {
    (void)state;
    char path[128];
    bc_db_t *db = NULL;
    auth_user_t user = {.id = bc_random_id(), .kind = BC_KIND_CUSTOMER, .email = "a@b.cd", .password_hash = "old"};
    (void)snprintf(path, sizeof(path), "%s/auth.db", data_folder);
    assert_int_equal(bc_db_open(path, auth_migrations, &db), BC_DB_OK);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(auth_store_put_customer(db, &user, 1000), BC_DB_DONE);
    auth_session_t session = {.id = bc_random_id(), .user = user.id, .expires_ms = 99999};
    assert_true(auth_store_open_session(db, &session, &user, 1000));
    session.id = bc_random_id();
    auth_user_t promoted = user;
    promoted.role = BC_ROLE_ADMIN;
    assert_false(auth_store_open_session(db, &session, &promoted, 1000));
    assert_true(auth_store_set_password(db, &user.id, "old", "new", 1000));
    assert_false(auth_store_open_session(db, &session, &user, 1000));
    /* Nor does a renewed hash of the old password overwrite the new one. */
    assert_false(auth_store_set_password(db, &user.id, "old", "old at a higher cost", 1000));
    (void)strcpy(user.password_hash, "new");
    assert_true(auth_store_set_standing(db, &user.id, BC_ROLE_CUSTOMER, AUTH_DISABLED, false, 1, 1000));
    assert_false(auth_store_open_session(db, &session, &user, 1000));
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    bc_db_close(db);
}

/* --- the command --- */

static int admin_password(const char *email, const char *password) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], password, strlen(password)), strlen(password));
    close(ends[1]);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    close(ends[0]);
    clearerr(stdin);
    (void)setvbuf(stdin, NULL, _IONBF, 0);
    return auth_admin_password(config, email);
}

static void the_operator_sets_an_administrators_password(void **state) {
    (void)state;
    start_service(OFF);
    person_t admin = administrator("admin@example.com");
    (void)registered("emma@example.com");
    assert_int_equal(admin_password("Admin@example.com", "a new horse"), 0);
    expect(get("/api/v1/me", admin.token), 401, "unauthorized");
    expect(refreshed(&admin), 401, "bad-refresh-token");
    admin = signed_in("admin@example.com", "a new horse");
    expect(get("/api/v1/admin/users", admin.token), 200, NULL);
    assert_int_equal(admin_password("emma@example.com", "a new horse"), 1); /* customers have the reset */
    assert_int_equal(admin_password("nobody@example.com", "a new horse"), 1);
    assert_int_equal(admin_password("admin@example.com", "short"), 1);
    stop_service();
    assert_int_equal(admin_password("admin@example.com", "another horse"), 0); /* while it is down */
    start_service(OFF);
    expect(get("/api/v1/me", admin.token), 401, "unauthorized");
    (void)signed_in("admin@example.com", "another horse");
    assert_int_equal(sql("SELECT COUNT(*) FROM audit WHERE action = 'admin.password-set' AND actor_id IS NULL"), 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_data, drop_data)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_list_is_filtered),
        CASE(pages_of_users_hold_each_once),
        CASE(only_administrators_may),
        CASE(a_role_is_given_and_taken),
        CASE(ones_own_role_is_not_ones_own_business),
        CASE(a_disabled_user_is_out_until_he_is_enabled),
        CASE(a_guest_is_no_administrator_and_a_tombstone_nobody),
        CASE(the_audit_says_who_did_what_to_whom),
        CASE(of_two_who_take_it_from_each_other_one_stays),
        CASE(a_session_is_not_opened_for_what_is_no_more),
        CASE(the_operator_sets_an_administrators_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
