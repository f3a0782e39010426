/*
 * The real cart service in this process, over a real journal and base: what other services change in carts, by call and by event. Payment,
 * auth and library are logs and lists of the test, on their real sockets.
 */
#include "platform/bc_client.h"
#include "platform/bc_events.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_service.h"
#include "platform/bc_time.h"
#include "services/cart/cart_service_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

static char folder[64], service_key[BC_SECRET_MAX + 1];
static bc_config_t *config;
static bc_service_state_t *service;
static bc_feed_t *empty; /* no books, no revocations: lists nevertheless */
static bc_db_t *payment_db, *auth_db;
static bc_outbox_t *payment_outbox, *auth_outbox;
static bc_http_t *servers[3];

static const bc_migration_t migrations[] = {{"events", BC_EVENTS_MIGRATION}, {NULL, NULL}};

static bool read_nothing(void *context, uint64_t after, int limit, json_t *items, uint64_t *position, bool *more) {
    (void)context;
    (void)after;
    (void)limit;
    (void)items;
    (void)position;
    (void)more;
    return true;
}

static void serve_empty(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_feed_serve(empty, request, reply);
}

static void serve_log(bc_request_t *request, bc_reply_t *reply, void *context) {
    bc_outbox_serve(*(bc_outbox_t **)context, request, reply);
}

static const bc_route_t library_routes[] = {
    {"GET", "/internal/feed/books", BC_INTERNAL, serve_empty, .query = BC_FEED_QUERY}, {.method = NULL}};
static const bc_route_t payment_routes[] = {{"GET", BC_EVENTS_PATH, BC_INTERNAL, serve_log, .query = BC_FEED_QUERY},
                                            {.method = NULL}};
static const bc_route_t auth_routes[] = {
    {"GET", "/internal/feed/revocations", BC_INTERNAL, serve_empty, .query = BC_FEED_QUERY},
    {"GET", BC_EVENTS_PATH, BC_INTERNAL, serve_log, .query = BC_FEED_QUERY},
    {.method = NULL}};

static bc_http_t *start_server(bc_key_t listen, const bc_route_t *routes, void *context) {
    bc_http_options_t options = {.service = "test",
                                 .listen = bc_config_text(config, listen),
                                 .routes = routes,
                                 .context = context,
                                 .connections_max = 16,
                                 .timeout_ms = 60000,
                                 .service_key = service_key};
    bc_http_t *server = bc_http_start(&options);
    assert_non_null(server);
    return server;
}

static bc_db_t *open_db(const char *name) {
    char path[128];
    bc_db_t *db = NULL;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
    return db;
}

static int setup(void **state) {
    (void)state;
    char reason[BC_CONFIG_REASON_BYTES];
    char memory[] = "BOOKCART_CART_MEMORY=64m";
    char *environment[] = {memory, NULL};
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-cart-events-XXXXXX");
    assert_non_null(mkdtemp(folder));
    if (!bc_config_load(&config, NULL, environment, folder, reason)) fail_msg("%s", reason);
    assert_true(bc_random_init() && bc_client_init() && bc_service_folders(config));
    assert_true(bc_secret_service_key(config, true, service_key, sizeof(service_key)));
    empty = bc_feed_create("one", read_nothing, NULL);
    payment_db = open_db("payment.db");
    auth_db = open_db("auth.db");
    payment_outbox = bc_outbox_create("payment", payment_db);
    auth_outbox = bc_outbox_create("auth", auth_db);
    assert_true(empty != NULL && payment_outbox != NULL && auth_outbox != NULL);
    servers[0] = start_server(BC_LIBRARY_INTERNAL, library_routes, NULL);
    servers[1] = start_server(BC_PAYMENT_INTERNAL, payment_routes, &payment_outbox);
    servers[2] = start_server(BC_AUTH_INTERNAL, auth_routes, &auth_outbox);
    service = bc_service_start(&cart_service_definition, config);
    return service != NULL ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char command[160];
    bc_service_stop(service);
    service = NULL;
    for (int i = 0; i < 3; i++) bc_http_announce_stop(servers[i]);
    bc_feed_wake(empty);
    bc_outbox_wake(payment_outbox);
    bc_outbox_wake(auth_outbox);
    for (int i = 0; i < 3; i++) bc_http_stop(servers[i], 5000);
    bc_outbox_destroy(payment_outbox);
    bc_outbox_destroy(auth_outbox);
    bc_feed_destroy(empty);
    bc_db_close(payment_db);
    bc_db_close(auth_db);
    bc_config_destroy(config);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static void restart(void) {
    bc_service_stop(service);
    service = bc_service_start(&cart_service_definition, config);
    assert_non_null(service);
}

static json_t *call(const char *method, const char *path, json_t *body, int wanted) {
    bc_client_t *client = bc_client_create(bc_config_text(config, BC_CART_INTERNAL), service_key);
    int status = 0;
    json_t *reply = NULL;
    assert_true(bc_client_call(client, method, path, body, PATIENCE_MS, NULL, &status, &reply));
    if (status != wanted) print_error("%s\n", json_string_value(json_object_get(reply, "detail")));
    assert_int_equal(status, wanted);
    json_decref(body);
    bc_client_destroy(client);
    return reply;
}

/* "7:2 8:1" and the version. */
static void tell(const json_t *cart, char *text, size_t size) {
    size_t used = 0, i;
    const json_t *line;
    json_array_foreach(json_object_get(cart, "lines"), i, line) {
        used +=
            (size_t)snprintf(text + used, size - used, "%d:%d ", (int)json_integer_value(json_object_get(line, "book")),
                             (int)json_integer_value(json_object_get(line, "quantity")));
    }
    (void)snprintf(text + used, size - used, "v%s", json_string_value(json_object_get(cart, "version")));
}

static void change(const cart_id_t *user, const char *id, json_t *changes, const char *wanted) {
    char path[128], name[CART_ID_CHARS + 1], text[256];
    cart_id_format("usr_", user, name);
    (void)snprintf(path, sizeof(path), "/internal/carts/%s/changes", name);
    json_t *cart = call("POST", path, json_pack("{s:s, s:o}", "id", id, "changes", changes), 200);
    tell(cart, text, sizeof(text));
    assert_string_equal(text, wanted);
    json_decref(cart);
}

static void see(const cart_id_t *user, char *text, size_t size) {
    char path[128], name[CART_ID_CHARS + 1];
    cart_id_format("usr_", user, name);
    (void)snprintf(path, sizeof(path), "/internal/carts/%s", name);
    json_t *cart = call("GET", path, NULL, 200);
    tell(cart, text, size);
    json_decref(cart);
}

static void expect(const cart_id_t *user, const char *wanted) {
    char text[256];
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    do {
        see(user, text, sizeof(text));
        if (strcmp(text, wanted) == 0) return;
        (void)usleep(5000);
    } while (bc_monotonic_ms() < until);
    assert_string_equal(text, wanted);
}

static json_t *one(const char *op, int book, int quantity) {
    return json_pack("[{s:s, s:i, s:i}]", "op", op, "book", book, "quantity", quantity);
}

static void publish(bc_db_t *db, bc_outbox_t *outbox, const char *topic, const char *type, const char *key,
                    json_t *data) {
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    bc_event_put(db, topic, type, key, data);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    bc_outbox_wake(outbox);
    json_decref(data);
}

static void publish_paid(const cart_id_t *user, const char *order, int book, int quantity, int other, int more) {
    char name[CART_ID_CHARS + 1];
    cart_id_format("usr_", user, name);
    publish(payment_db, payment_outbox, "orders", "order.paid", order,
            json_pack("{s:s, s:s, s:[{s:i, s:i}, {s:i, s:i}]}", "order", order, "user", name, "lines", "book", book,
                      "quantity", quantity, "book", other, "quantity", more));
}

static void a_service_changes_a_cart_once_under_an_id(void **state) {
    (void)state;
    cart_id_t user = bc_random_id();
    expect(&user, "v0"); /* a guest who never had a cart */
    change(&user, "a", one("add", 7, 3), "7:3 v1");
    change(&user, "a", one("add", 7, 3), "7:3 v1");
    change(&user, "b", one("add", 7, -2), "7:1 v2");
    change(&user, "c", one("add", 7, -5), "v3"); /* not below nothing */
    change(&user, "d", one("add", 9, -1), "v4"); /* an absent line is fine */
    restart();                                   /* it is not resident any more: loaded for the change, ids and all */
    change(&user, "a", one("add", 7, 3), "v4");
    change(&user, "e",
           json_pack("[{s:s, s:i, s:i}, {s:s, s:i, s:i}]", "op", "set", "book", 1, "quantity", 4, "op", "set", "book",
                     2, "quantity", 5),
           "1:4 2:5 v5");
    change(&user, "f", json_pack("[{s:s, s:i}]", "op", "remove", "book", 1), "2:5 v6");
    change(&user, "g", json_pack("[{s:s}]", "op", "clear"), "v7");
}

static void changes_of_wrong_form_are_refused(void **state) {
    (void)state;
    cart_id_t user = bc_random_id();
    char path[128], name[CART_ID_CHARS + 1];
    static const char *const bad[] = {
        "{\"id\":\"\",\"changes\":[{\"op\":\"clear\"}]}",
        "{\"id\":\"x\",\"changes\":[]}",
        "{\"id\":\"x\",\"changes\":[{\"op\":\"more\",\"book\":1,\"quantity\":1}]}",
        "{\"id\":\"x\",\"changes\":[{\"op\":\"add\",\"book\":1,\"quantity\":0}]}",
        "{\"id\":\"x\",\"changes\":[{\"op\":\"add\",\"book\":1,\"quantity\":100}]}",
        "{\"id\":\"x\",\"changes\":[{\"op\":\"set\",\"book\":1,\"quantity\":-1}]}",
        "{\"id\":\"x\",\"changes\":[{\"op\":\"add\",\"book\":0,\"quantity\":1}]}",
        "{\"id\":\"x\",\"changes\":[{\"op\":\"add\",\"book\":9007199254740992,\"quantity\":1}]}",
        "{\"id\":\"x\",\"changes\":[{\"op\":\"remove\",\"book\":1,\"quantity\":1}]}",
        "{\"id\":\"x\",\"changes\":[{\"op\":\"add\",\"book\":1.5,\"quantity\":1}]}",
        "{\"id\":\"x\",\"changes\":[17]}",
        "{\"id\":\"x\",\"changes\":[{\"op\":\"clear\"}],\"more\":1}",
    };
    cart_id_format("usr_", &user, name);
    (void)snprintf(path, sizeof(path), "/internal/carts/%s/changes", name);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        json_decref(call("POST", path, json_loads(bad[i], 0, NULL), 400));
    change(&user, "x", one("add", 7, 3), "7:3 v1");
    json_t *other = json_pack("{s:s, s:o}", "id", "x", "changes", one("add", 7, 4));
    json_decref(call("POST", path, other, 422)); /* the id was of another change */
    other = json_pack("{s:s, s:o}", "id", "y", "changes", one("add", 7, 97));
    json_decref(call("POST", path, other, 422)); /* over 99 */
    json_decref(call("POST", "/internal/carts/usr_x/changes",
                     json_pack("{s:s, s:o}", "id", "y", "changes", one("add", 7, 1)), 404));
    expect(&user, "7:3 v1");
}

static void what_was_ordered_leaves_the_cart_and_what_was_added_stays(void **state) {
    (void)state;
    cart_id_t user = bc_random_id();
    change(&user, "a", one("set", 7, 2), "7:2 v1");
    change(&user, "b", one("set", 8, 1), "7:2 8:1 v2");
    change(&user, "c", one("add", 7, 3), "7:5 8:1 v3"); /* added while the payment ran */
    change(&user, "d", one("add", 9, 1), "7:5 8:1 9:1 v4");
    publish_paid(&user, "ord_1", 7, 2, 8, 1);
    expect(&user, "7:3 9:1 v5");
    publish_paid(&user, "ord_1", 7, 2, 8, 1); /* the same order in another event */
    publish_paid(&user, "ord_2", 9, 1, 8, 1);
    expect(&user, "7:3 v6");
}

static void an_event_that_comes_again_after_a_kill_counts_once(void **state) {
    (void)state;
    cart_id_t user = bc_random_id();
    change(&user, "a", one("set", 7, 9), "7:9 v1");
    publish_paid(&user, "ord_1", 7, 2, 8, 1);
    expect(&user, "7:7 v2");
    /* The engine has committed, the inbox has not: what a kill between the two leaves. */
    bc_service_stop(service);
    bc_db_t *db = open_db("cart-events.db");
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(bc_run(bc_db_prepare(db, "DELETE FROM inbox")), BC_DB_DONE);
    assert_int_equal(bc_run(bc_db_prepare(db, "DELETE FROM followed")), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    bc_db_close(db);
    service = bc_service_start(&cart_service_definition, config);
    assert_non_null(service);
    publish_paid(&user, "ord_2", 7, 1, 8, 1);
    expect(&user, "7:6 v3");
}

static void an_erased_user_has_an_empty_cart(void **state) {
    (void)state;
    cart_id_t user = bc_random_id();
    char name[CART_ID_CHARS + 1];
    cart_id_format("usr_", &user, name);
    change(&user, "a", one("set", 7, 2), "7:2 v1");
    publish(auth_db, auth_outbox, "users", "user.erased", name, json_pack("{s:s}", "user", name));
    expect(&user, "v2");
}

static void a_guest_whose_last_token_is_dead_has_an_empty_cart(void **state) {
    (void)state;
    cart_id_t user = bc_random_id();
    char name[CART_ID_CHARS + 1];
    cart_id_format("usr_", &user, name);
    change(&user, "a", one("set", 7, 2), "7:2 v1");
    publish(auth_db, auth_outbox, "users", "user.expired", name, json_pack("{s:s}", "user", name));
    expect(&user, "v2");
}

static void malformed_events_are_dead_letters(void **state) {
    (void)state;
    cart_id_t user = bc_random_id();
    char name[CART_ID_CHARS + 1];
    cart_id_format("usr_", &user, name);
    publish(payment_db, payment_outbox, "orders", "order.paid", "ord_1", json_pack("{s:s}", "user", name));
    publish(payment_db, payment_outbox, "orders", "order.paid", "ord_2",
            json_pack("{s:s, s:[{s:i, s:i}]}", "user", name, "lines", "book", 1, "quantity", 100));
    change(&user, "a", one("set", 7, 2), "7:2 v1");
    publish_paid(&user, "ord_3", 7, 1, 8, 1);
    expect(&user, "7:1 v2"); /* the log went on */
    json_t *letters = call("GET", BC_DEAD_LETTERS_PATH, NULL, 200);
    assert_int_equal(json_array_size(json_object_get(letters, "items")), 2);
    json_decref(letters);
    json_t *replayed = call("POST", BC_DEAD_LETTERS_REPLAY_PATH, json_object(), 200);
    assert_int_equal(json_integer_value(json_object_get(replayed, "replayed")), 2);
    json_decref(replayed);
}

static void a_guest_whose_cart_was_merged_holds_no_log_up(void **state) {
    (void)state;
    cart_id_t guest = bc_random_id(), user = bc_random_id();
    char guest_name[CART_ID_CHARS + 1], user_name[CART_ID_CHARS + 1];
    cart_id_format("usr_", &guest, guest_name);
    cart_id_format("usr_", &user, user_name);
    change(&guest, "a", one("set", 7, 2), "7:2 v1");
    json_decref(call("POST", "/internal/carts/merge",
                     json_pack("{s:s, s:s, s:s}", "guest", guest_name, "user", user_name, "mode", "sum"), 200));
    publish_paid(&guest, "ord_1", 7, 2, 8, 1);
    publish_paid(&user, "ord_2", 7, 1, 8, 1);
    expect(&user, "7:1 v2");
    json_t *body = json_pack("{s:s, s:o}", "id", "b", "changes", one("add", 7, 1));
    char path[128];
    (void)snprintf(path, sizeof(path), "/internal/carts/%s/changes", guest_name);
    json_decref(call("POST", path, body, 409));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_service_changes_a_cart_once_under_an_id, setup, teardown),
        cmocka_unit_test_setup_teardown(changes_of_wrong_form_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_ordered_leaves_the_cart_and_what_was_added_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(an_event_that_comes_again_after_a_kill_counts_once, setup, teardown),
        cmocka_unit_test_setup_teardown(an_erased_user_has_an_empty_cart, setup, teardown),
        cmocka_unit_test_setup_teardown(a_guest_whose_last_token_is_dead_has_an_empty_cart, setup, teardown),
        cmocka_unit_test_setup_teardown(malformed_events_are_dead_letters, setup, teardown),
        cmocka_unit_test_setup_teardown(a_guest_whose_cart_was_merged_holds_no_log_up, setup, teardown),
    };
    bc_log_init("cart-events-test", getenv("EVENTS_LOG") != NULL ? BC_LOG_DEBUG : BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
