/*
 * Signing in with a guest's token, against a cart service that this test plays over the same HTTP: there at once, away and back, slow to come
 * to itself; and the feed of revocations that tells the edges.
 */
#include "auth_harness.h"

#include <pthread.h>

static pthread_mutex_t cart_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cart_asked = PTHREAD_COND_INITIALIZER;
static int cart_calls, cart_refusals_left;
static char cart_last[512];
static bc_http_t *cart;

static void play_merge(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    (void)pthread_mutex_lock(&cart_lock);
    cart_calls++;
    (void)snprintf(cart_last, sizeof(cart_last), "%s %s %s", bc_request_string(request, "guest"),
                   bc_request_string(request, "user"), bc_request_string(request, "mode"));
    bool refuse = cart_refusals_left > 0;
    if (refuse) cart_refusals_left--;
    (void)pthread_cond_broadcast(&cart_asked);
    (void)pthread_mutex_unlock(&cart_lock);
    if (refuse) {
        bc_reply_problem(reply, "unavailable", NULL);
        return;
    }
    bc_reply_json(reply, 200,
                  json_pack("{s:s, s:s, s:[{s:i, s:i, s:i, s:i, s:b}], s:[]}", "state", "merged", "version", "42",
                            "lines", "book", 7, "guest", 2, "user", 1, "result", 2, "clamped", 0, "dropped"));
}

static const bc_route_t cart_routes[] = {
    {"POST", "/internal/carts/merge", BC_INTERNAL, play_merge, .fields = "guest:string! user:string! mode:string!"},
    {.method = NULL},
};

static void start_cart(void) {
    static char key[256];
    (void)snprintf(key, sizeof(key), "%s", service_key());
    bc_http_options_t options = {.service = "cart",
                                 .listen = bc_config_text(config, BC_CART_INTERNAL),
                                 .routes = cart_routes,
                                 .connections_max = 16,
                                 .timeout_ms = 20000,
                                 .service_key = key};
    cart = bc_http_start(&options);
    assert_non_null(cart);
}

static void wait_for_cart_calls(int calls) {
    (void)pthread_mutex_lock(&cart_lock);
    while (cart_calls < calls) (void)pthread_cond_wait(&cart_asked, &cart_lock);
    (void)pthread_mutex_unlock(&cart_lock);
}

static answer_t feed(const char *query) {
    char path[256];
    (void)snprintf(path, sizeof(path), "/internal/feed/revocations%s", query);
    return call_with(BC_AUTH_INTERNAL, "GET", path, service_key(), NULL, NULL);
}

static int set_up(void **state) {
    cart_calls = 0;
    cart_refusals_left = 0;
    return make_data(state);
}

static int tear_down(void **state) {
    bc_http_stop(cart, 1000);
    cart = NULL;
    return drop_data(state);
}

static void a_login_merges_the_guests_cart_once_and_ends_the_guest(void **state) {
    (void)state;
    start_service("");
    start_cart();
    expect(post("/api/v1/auth/register", NULL, registration("emma@example.com")), 201, NULL);
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    answer_t login =
        post("/api/v1/auth/login", member(&guest, "access_token"),
             json_pack("{s:s, s:s, s:s}", "email", "emma@example.com", "password", "correct horse", "cart", "sum"));
    assert_int_equal(login.status, 200);
    assert_int_equal(statements_of(&login), 10);
    assert_string_equal(member(&login, "cart_merge.state"), "merged");
    assert_int_equal(json_array_size(json_object_get(json_object_get(login.body, "cart_merge"), "lines")), 1);
    char wanted[256];
    (void)snprintf(wanted, sizeof(wanted), "%s %s sum", member(&guest, "user.id"), member(&login, "user.id"));
    assert_string_equal(cart_last, wanted);
    assert_int_equal(cart_calls, 1);
    expect(get("/api/v1/me", member(&guest, "access_token")), 401, "unauthorized");
    expect(post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", member(&guest, "refresh_token"))),
           401, "bad-refresh-token");
    expect(post("/api/v1/auth/login", member(&guest, "access_token"), credentials("emma@example.com", "correct horse")),
           401, "unauthorized");
    answer_t list = feed("?after=0");
    assert_int_equal(list.status, 200);
    const json_t *item = json_array_get(json_object_get(list.body, "items"), 0);
    assert_string_equal(json_string_value(json_object_get(item, "kind")), "user");
    assert_string_equal(json_string_value(json_object_get(item, "id")), member(&guest, "user.id"));
    assert_true(json_integer_value(json_object_get(item, "issued_before")) > bc_time_s() - 60);
    drop(&list);
    drop(&login);
    drop(&guest);
}

static void a_merge_waits_for_the_cart_service_and_is_then_done(void **state) {
    (void)state;
    start_service("");
    expect(post("/api/v1/auth/register", NULL, registration("emma@example.com")), 201, NULL);
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL);
    answer_t login =
        post("/api/v1/auth/login", member(&guest, "access_token"), credentials("emma@example.com", "correct horse"));
    assert_int_equal(login.status, 200);
    assert_string_equal(member(&login, "cart_merge.state"), "pending");
    drop(&login);
    /* The process goes before the cart service comes: the merge is in the table. */
    stop_service();
    cart_refusals_left = 1;
    start_service("");
    start_cart();
    wait_for_cart_calls(2);
    char wanted[64];
    (void)snprintf(wanted, sizeof(wanted), "%s ", member(&guest, "user.id"));
    assert_true(strncmp(cart_last, wanted, strlen(wanted)) == 0);
    drop(&guest);
}

static void the_feed_shows_what_ended_and_wakes_at_once(void **state) {
    (void)state;
    start_service("");
    expect(call_with(BC_AUTH_INTERNAL, "GET", "/internal/feed/revocations", NULL, NULL, NULL), 401, "unauthorized");
    expect(get("/internal/feed/revocations", service_key()), 404, "not-found"); /* not on the public listener */
    answer_t empty = feed("?after=0&limit=10&wait=0");
    assert_int_equal(empty.status, 200);
    assert_string_equal(member(&empty, "position"), "0");
    assert_int_equal(json_array_size(json_object_get(empty.body, "items")), 0);
    drop(&empty);

    answer_t guests[3];
    for (int i = 0; i < 3; i++) {
        guests[i] = post("/api/v1/auth/guest", NULL, NULL);
        json_t *body = json_pack("{s:s}", "refresh_token", member(&guests[i], "refresh_token"));
        expect(post("/api/v1/auth/logout", member(&guests[i], "access_token"), body), 204, NULL);
    }
    answer_t two = feed("?after=0&limit=2");
    assert_int_equal(json_array_size(json_object_get(two.body, "items")), 2);
    assert_true(json_is_true(json_object_get(two.body, "more")));
    char query[64];
    (void)snprintf(query, sizeof(query), "?after=%s&wait=25", member(&two, "position"));
    answer_t last = feed(query);
    assert_int_equal(json_array_size(json_object_get(last.body, "items")), 1);
    assert_false(json_is_true(json_object_get(last.body, "more")));
    const json_t *item = json_array_get(json_object_get(last.body, "items"), 0);
    assert_string_equal(json_string_value(json_object_get(item, "kind")), "session");
    assert_true(json_integer_value(json_object_get(item, "expires")) >= bc_time_s() + 900 - 60);
    drop(&two);
    drop(&last);
    for (int i = 0; i < 3; i++) drop(&guests[i]);
    expect(feed("?after=-1"), 400, "malformed-request");
    expect(feed("?after=x"), 400, "malformed-request");
    expect(feed("?limit=5001"), 400, "malformed-request");
    expect(feed("?limit=0"), 400, "malformed-request");
    expect(feed("?wait=26"), 400, "malformed-request");
    expect(feed("?sort=up"), 400, "malformed-request");
}

static void *wait_on_feed(void *argument) {
    answer_t *answer = argument;
    *answer = feed("?after=0&wait=25");
    return NULL;
}

/* The waiter may come before or after the logout: either way it must get the row, and before its 25 seconds are over. */
static void a_waiting_reader_gets_the_revocation(void **state) {
    (void)state;
    start_service("");
    answer_t guest = post("/api/v1/auth/guest", NULL, NULL), waited;
    pthread_t waiter;
    assert_int_equal(pthread_create(&waiter, NULL, wait_on_feed, &waited), 0);
    json_t *body = json_pack("{s:s}", "refresh_token", member(&guest, "refresh_token"));
    expect(post("/api/v1/auth/logout", member(&guest, "access_token"), body), 204, NULL);
    (void)pthread_join(waiter, NULL);
    assert_int_equal(waited.status, 200);
    assert_int_equal(json_array_size(json_object_get(waited.body, "items")), 1);
    drop(&waited);
    drop(&guest);
}

static void a_stop_ends_waiting_readers(void **state) {
    (void)state;
    start_service("");
    answer_t waited;
    pthread_t waiter;
    (void)service_key(); /* read before the thread needs it */
    assert_int_equal(pthread_create(&waiter, NULL, wait_on_feed, &waited), 0);
    /* Until its request is inside, a stop would only refuse the connection. The call that asks is inside too. */
    for (int inside = 0; inside < 2;) {
        answer_t page = call_with(BC_AUTH_INTERNAL, "GET", "/metrics", NULL, NULL, NULL);
        const char *at = page.text == NULL ? NULL : strstr(page.text, "\nbookcart_http_requests_in_flight ");
        assert_non_null(at);
        inside = atoi(at + strlen("\nbookcart_http_requests_in_flight "));
        drop(&page);
    }
    int64_t began = bc_monotonic_ms();
    bc_service_state_t *stopped = service;
    service = NULL;
    bc_service_stop(stopped);
    (void)pthread_join(waiter, NULL);
    assert_int_equal(waited.status, 200);
    assert_true(bc_monotonic_ms() - began < 20000);
    drop(&waited);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_login_merges_the_guests_cart_once_and_ends_the_guest),
        CASE(a_merge_waits_for_the_cart_service_and_is_then_done),
        CASE(the_feed_shows_what_ended_and_wakes_at_once),
        CASE(a_waiting_reader_gets_the_revocation),
        CASE(a_stop_ends_waiting_readers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
