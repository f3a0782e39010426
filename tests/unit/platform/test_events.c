/* A real log on a real socket, a real consumer with a database of its own: order, repeats, restored logs, waiting, dead letters. */
#include "platform/bc_client.h"
#include "platform/bc_events.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY         "sesame"
#define PATIENCE_MS 20000

static char folder[64];
static bc_config_t *config;
/* payment publishes */
static bc_db_t *log_db;
static bc_outbox_t *outbox;
static bc_http_t *log_server;
/* library consumes */
static bc_db_t *own_db;
static bc_consumer_t *consumer;
static bc_http_t *own_server;
static atomic_int waiting, failing; /* the number in data for which the handler waits, fails; -1: none */
static atomic_int tried, woken;
static atomic_bool broken; /* the log's items are of wrong form */

static const bc_migration_t migrations[] = {
    {"events", BC_EVENTS_MIGRATION "CREATE TABLE applied(n " BC_SQL_SERIAL
                                   ", event_key VARCHAR(64) NOT NULL, number " BC_SQL_BIGINT " NOT NULL);"},
    {NULL, NULL},
};

static void serve_log(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    if (atomic_load(&broken)) {
        bc_reply_json(reply, 200,
                      json_pack("{s:s, s:s, s:b, s:[{s:s, s:s}]}", "generation", "g", "position", "9", "more", 0,
                                "items", "position", "9", "id", "evt_9"));
        return;
    }
    bc_outbox_serve(outbox, request, reply);
}

static void serve_letters(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_dead_letters_serve(own_db, request, reply);
}

static void serve_replay(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_dead_letters_replay(&consumer, 1, own_db, request, reply);
}

static void serve_discard(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_dead_letters_discard(&consumer, 1, own_db, request, reply);
}

static const bc_route_t log_routes[] = {
    {"GET", BC_EVENTS_PATH, BC_INTERNAL, serve_log, .query = BC_FEED_QUERY},
    {.method = NULL},
};

static const bc_route_t own_routes[] = {
    {"GET", BC_DEAD_LETTERS_PATH, BC_INTERNAL, serve_letters, .query = BC_DEAD_LETTERS_QUERY},
    {"POST", BC_DEAD_LETTERS_REPLAY_PATH, BC_INTERNAL, serve_replay, .fields = BC_DEAD_LETTERS_FIELDS},
    {"POST", BC_DEAD_LETTERS_DISCARD_PATH, BC_INTERNAL, serve_discard, .fields = BC_DEAD_LETTERS_DISCARDED},
    {.method = NULL},
};

static bc_http_t *start_server(bc_key_t listen, const bc_route_t *routes) {
    bc_http_options_t options = {.service = "test",
                                 .listen = bc_config_text(config, listen),
                                 .routes = routes,
                                 .connections_max = 8,
                                 .timeout_ms = 20000,
                                 .service_key = KEY};
    bc_http_t *server = bc_http_start(&options);
    assert_non_null(server);
    return server;
}

static void start_log(void) {
    outbox = bc_outbox_create("payment", log_db);
    assert_non_null(outbox);
    log_server = start_server(BC_PAYMENT_INTERNAL, log_routes);
}

static void stop_log(void) {
    if (log_server == NULL) return;
    bc_http_announce_stop(log_server);
    bc_outbox_wake(outbox);
    bc_http_stop(log_server, 2000);
    bc_outbox_destroy(outbox);
    log_server = NULL;
    outbox = NULL;
}

static bc_db_t *open_db(const char *name) {
    char path[128];
    bc_db_t *db = NULL;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
    return db;
}

static void publish(const char *type, const char *key, int number) {
    json_t *data = json_pack("{s:i}", "number", number);
    assert_int_equal(bc_db_begin(log_db), BC_DB_OK);
    bc_event_put(log_db, "orders", type, key, data);
    assert_int_equal(bc_db_commit(log_db), BC_DB_OK);
    json_decref(data);
    bc_outbox_wake(outbox);
}

static bc_event_result_t apply(bc_db_t *db, const bc_event_t *event, void *context, char reason[256]) {
    assert_ptr_equal(context, &config);
    assert_string_equal(event->source, "payment");
    assert_string_equal(event->topic, "orders");
    assert_true(event->time_ms > 1700000000000LL);
    int number = (int)json_integer_value(json_object_get(event->data, "number"));
    bc_statement_t *put = bc_db_prepare(db, "INSERT INTO applied(event_key, number) VALUES(?, ?)");
    bc_bind_text(put, 1, event->key);
    bc_bind_int(put, 2, number);
    (void)bc_run(put);
    atomic_fetch_add(&tried, 1);
    if (number == atomic_load(&waiting)) return BC_EVENT_WAIT; /* what was written is rolled back */
    if (number != atomic_load(&failing)) return BC_EVENT_APPLIED;
    (void)snprintf(reason, 256, "number %d will not go", number);
    return BC_EVENT_FAILED;
}

static void note_applied(void *context) {
    (void)context;
    atomic_fetch_add(&woken, 1);
}

static const bc_event_handler_t handlers[] = {{"order.paid", apply}, {"order.shipped", apply}, {NULL, NULL}};

static void start_consumer(void) {
    bc_consumer_options_t options = {.source = "payment",
                                     .listen = BC_PAYMENT_INTERNAL,
                                     .handlers = handlers,
                                     .db = own_db,
                                     .context = (void *)&config,
                                     .applied = note_applied};
    consumer = bc_consumer_create(config, KEY, &options);
    assert_non_null(consumer);
}

static void stop_consumer(void) {
    bc_consumer_stop(consumer);
    bc_consumer_destroy(consumer);
    consumer = NULL;
}

static int setup(void **state) {
    (void)state;
    char reason[BC_CONFIG_REASON_BYTES], path[128];
    char *environment[] = {NULL};
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-events-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/run", folder);
    if (!bc_config_load(&config, NULL, environment, folder, reason)) fail_msg("%s", reason);
    assert_true(bc_random_init() && bc_client_init());
    assert_true(bc_files_make_folders(path, 0700));
    atomic_store(&waiting, -1);
    atomic_store(&failing, -1);
    atomic_store(&tried, 0);
    atomic_store(&woken, 0);
    atomic_store(&broken, false);
    log_db = open_db("log.db");
    own_db = open_db("own.db");
    own_server = start_server(BC_LIBRARY_INTERNAL, own_routes);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[160];
    bc_consumer_stop(consumer);
    stop_log();
    stop_consumer();
    bc_http_stop(own_server, 2000);
    bc_db_close(log_db);
    bc_db_close(own_db);
    bc_config_destroy(config);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

/* What was applied, as "key:number key:number …", in order. */
static void read_applied(char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    bc_db_enter(own_db);
    bc_statement_t *rows = bc_db_prepare(own_db, "SELECT event_key, number FROM applied ORDER BY n");
    while (bc_step(rows) == BC_DB_ROW)
        used += (size_t)snprintf(text + used, size - used, "%s%s:%d", used == 0 ? "" : " ", bc_column_text(rows, 0),
                                 (int)bc_column_int(rows, 1));
    bc_statement_done(rows);
    bc_db_leave(own_db);
}

static void expect_applied(const char *wanted) {
    char text[4096];
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    do {
        read_applied(text, sizeof(text));
        if (strcmp(text, wanted) == 0) return;
        (void)usleep(2000);
    } while (bc_monotonic_ms() < until);
    assert_string_equal(text, wanted);
}

static void expect_state(const char *wanted) {
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    while (strcmp(bc_consumer_state(consumer), wanted) != 0 && bc_monotonic_ms() < until) (void)usleep(2000);
    assert_string_equal(bc_consumer_state(consumer), wanted);
}

static json_t *call(const char *method, const char *path, json_t *body, int wanted) {
    bc_client_t *client = bc_client_create(bc_config_text(config, BC_LIBRARY_INTERNAL), KEY);
    int status = 0;
    json_t *reply = NULL;
    assert_true(bc_client_call(client, method, path, body, PATIENCE_MS, NULL, &status, &reply));
    assert_int_equal(status, wanted);
    json_decref(body);
    bc_client_destroy(client);
    return reply;
}

static json_t *letters(void) {
    return call("GET", BC_DEAD_LETTERS_PATH, NULL, 200);
}

static void expect_letters(size_t wanted) {
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    size_t found;
    do {
        json_t *reply = letters();
        found = json_array_size(json_object_get(reply, "items"));
        json_decref(reply);
    } while (found != wanted && bc_monotonic_ms() < until);
    assert_int_equal(found, wanted);
}

static void events_come_in_order_and_unknown_types_are_passed_over(void **state) {
    (void)state;
    publish("order.paid", "a", 1);
    publish("order.placed", "a", 2); /* no handler */
    start_log();
    start_consumer();
    expect_applied("a:1");
    publish("order.shipped", "b", 3); /* while the consumer waits for it */
    publish("order.paid", "a", 4);
    expect_applied("a:1 b:3 a:4");
    expect_state("ok");
    assert_true(atomic_load(&woken) > 0);
    json_t *reply = letters();
    const json_t *followed = json_array_get(json_object_get(reply, "followed"), 0);
    assert_string_equal(json_string_value(json_object_get(followed, "source")), "payment");
    assert_string_equal(json_string_value(json_object_get(followed, "position")), "4");
    json_decref(reply);
}

static void many_pages_are_applied_to_the_last(void **state) {
    (void)state;
    char wanted[4096];
    size_t used = 0;
    assert_int_equal(bc_db_begin(log_db), BC_DB_OK);
    for (int i = 0; i < 250; i++) {
        json_t *data = json_pack("{s:i}", "number", i);
        bc_event_put(log_db, "orders", "order.paid", "k", data);
        json_decref(data);
        used += (size_t)snprintf(wanted + used, sizeof(wanted) - used, "%sk:%d", i == 0 ? "" : " ", i);
    }
    assert_int_equal(bc_db_commit(log_db), BC_DB_OK);
    start_log();
    start_consumer();
    expect_applied(wanted);
}

/* The position goes back: everything comes twice. */
static void twice_delivered_is_once_applied(void **state) {
    (void)state;
    start_log();
    start_consumer();
    publish("order.paid", "a", 1);
    publish("order.paid", "b", 2);
    expect_applied("a:1 b:2");
    stop_consumer();
    assert_int_equal(bc_db_begin(own_db), BC_DB_OK);
    assert_int_equal(bc_run(bc_db_prepare(own_db, "UPDATE followed SET position = 0")), BC_DB_DONE);
    assert_int_equal(bc_db_commit(own_db), BC_DB_OK);
    start_consumer();
    publish("order.paid", "a", 3);
    expect_applied("a:1 b:2 a:3");
}

static void a_restored_log_is_read_from_its_beginning(void **state) {
    (void)state;
    start_log();
    start_consumer();
    publish("order.paid", "a", 1);
    publish("order.paid", "a", 2);
    publish("order.paid", "a", 3);
    expect_applied("a:1 a:2 a:3");
    stop_log();
    /* The store of before the third event; its counter goes on below the position that was followed. */
    assert_int_equal(bc_db_begin(log_db), BC_DB_OK);
    assert_int_equal(bc_run(bc_db_prepare(log_db, "DELETE FROM outbox WHERE position > 1")), BC_DB_DONE);
    assert_int_equal(bc_run(bc_db_prepare(log_db, "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'outbox'")),
                     BC_DB_DONE);
    assert_int_equal(bc_run(bc_db_prepare(log_db, "UPDATE outbox_generation SET generation = 'another'")), BC_DB_DONE);
    assert_int_equal(bc_db_commit(log_db), BC_DB_OK);
    publish("order.paid", "a", 4);
    start_log();
    expect_applied("a:1 a:2 a:3 a:4");
}

static void what_waits_holds_the_log_up_and_goes_on(void **state) {
    (void)state;
    atomic_store(&waiting, 2);
    publish("order.paid", "a", 1);
    publish("order.paid", "a", 2);
    publish("order.paid", "b", 3);
    start_log();
    start_consumer();
    expect_state("waits for what an event needs");
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    while (atomic_load(&tried) < 9 && bc_monotonic_ms() < until) (void)usleep(2000); /* more often than what fails */
    assert_true(atomic_load(&tried) >= 9);
    expect_applied("a:1");
    expect_letters(0);
    atomic_store(&waiting, -1);
    expect_applied("a:1 a:2 b:3");
    expect_state("ok");
}

static void what_fails_is_dead_and_its_key_stays_behind_it(void **state) {
    (void)state;
    atomic_store(&failing, 2);
    publish("order.paid", "a", 1);
    publish("order.paid", "a", 2);
    publish("order.paid", "b", 3);
    publish("order.paid", "a", 4);
    start_log();
    start_consumer();
    expect_applied("a:1 b:3");
    expect_letters(2);
    json_t *reply = letters();
    const json_t *first = json_array_get(json_object_get(reply, "items"), 0);
    const json_t *second = json_array_get(json_object_get(reply, "items"), 1);
    assert_string_equal(json_string_value(json_object_get(first, "reason")), "number 2 will not go");
    assert_int_equal(json_integer_value(json_object_get(first, "tries")), BC_EVENT_TRIES_MAX);
    assert_int_equal(json_integer_value(json_object_get(second, "tries")), 0);
    const char *id = json_string_value(json_object_get(json_object_get(second, "event"), "id"));
    /* A replay while it still fails changes nothing, for the one named or for all. */
    json_decref(call("POST", BC_DEAD_LETTERS_REPLAY_PATH, json_pack("{s:s}", "event", id), 200));
    publish("order.paid", "b", 5);
    expect_applied("a:1 b:3 b:5");
    expect_letters(2);
    /* Mended: the one behind is named, both go in their order, and so does what was published meanwhile. */
    publish("order.paid", "a", 6);
    expect_letters(3);
    atomic_store(&failing, -1);
    json_decref(call("POST", BC_DEAD_LETTERS_REPLAY_PATH, json_pack("{s:s}", "event", id), 200));
    expect_applied("a:1 b:3 b:5 a:2 a:4 a:6");
    expect_letters(0);
    json_decref(reply);
    json_decref(call("POST", BC_DEAD_LETTERS_REPLAY_PATH, json_pack("{s:s}", "event", "evt_none"), 404));
    reply = call("POST", BC_DEAD_LETTERS_REPLAY_PATH, json_object(), 200);
    assert_int_equal(json_integer_value(json_object_get(reply, "replayed")), 0);
    json_decref(reply);
}

/* How many went; *left and *more as the answer says. */
static size_t discard(const char *field, const char *value, int *left, bool *more) {
    json_t *reply = call("POST", BC_DEAD_LETTERS_DISCARD_PATH, json_pack("{s:s}", field, value), 200);
    size_t count = json_array_size(json_object_get(reply, "items"));
    *left = (int)json_integer_value(json_object_get(reply, "left"));
    *more = json_is_true(json_object_get(reply, "more"));
    json_decref(reply);
    return count;
}

static void read_log_anew(void) {
    stop_consumer();
    assert_int_equal(bc_db_begin(own_db), BC_DB_OK);
    assert_int_equal(bc_run(bc_db_prepare(own_db, "UPDATE followed SET position = 0")), BC_DB_DONE);
    assert_int_equal(bc_db_commit(own_db), BC_DB_OK);
    start_consumer();
}

static void what_is_discarded_is_never_tried_again(void **state) {
    (void)state;
    char id[64];
    int left = -1;
    bool more = true;
    atomic_store(&failing, 2);
    publish("order.paid", "a", 2);
    publish("order.paid", "b", 3);
    publish("order.paid", "a", 4);
    start_log();
    start_consumer();
    expect_letters(2);
    expect_applied("b:3");
    json_t *reply = letters();
    const json_t *event = json_object_get(json_array_get(json_object_get(reply, "items"), 0), "event");
    (void)snprintf(id, sizeof(id), "%s", json_string_value(json_object_get(event, "id")));
    json_t *gone = call("POST", BC_DEAD_LETTERS_DISCARD_PATH, json_pack("{s:s}", "event", id), 200);
    const json_t *first = json_array_get(json_object_get(gone, "items"), 0);
    assert_int_equal(json_array_size(json_object_get(gone, "items")), 1);
    assert_true(json_equal(json_object_get(first, "event"), event)); /* whole: it is the last copy */
    assert_string_equal(json_string_value(json_object_get(first, "source")), "payment");
    assert_string_equal(json_string_value(json_object_get(first, "reason")), "number 2 will not go");
    assert_int_equal(json_integer_value(json_object_get(gone, "left")), 1);
    assert_true(json_is_false(json_object_get(gone, "more")));
    json_decref(gone);
    json_decref(reply);
    json_decref(call("POST", BC_DEAD_LETTERS_DISCARD_PATH, json_pack("{s:s}", "event", id), 404));
    /* What was behind it stays behind it, and what comes after that, until they are replayed. */
    publish("order.paid", "a", 5);
    expect_letters(2);
    read_log_anew();
    publish("order.paid", "b", 6);
    expect_applied("b:3 b:6");
    expect_letters(2);
    atomic_store(&failing, -1); /* it would go now, and is not asked */
    json_decref(call("POST", BC_DEAD_LETTERS_REPLAY_PATH, json_object(), 200));
    expect_applied("b:3 b:6 a:4 a:5");
    expect_letters(0);
    read_log_anew();
    publish("order.paid", "a", 7);
    expect_applied("b:3 b:6 a:4 a:5 a:7");
    assert_int_equal(discard("type", "order.paid", &left, &more), 0);
    assert_int_equal(left, 0);
    assert_false(more);
}

static void all_of_a_type_are_discarded_in_bounded_steps(void **state) {
    (void)state;
    int left = -1;
    bool more = false;
    json_t *data = json_pack("{s:i}", "number", 2);
    atomic_store(&failing, 2);
    assert_int_equal(bc_db_begin(log_db), BC_DB_OK);
    for (int i = 0; i < 201; i++) bc_event_put(log_db, "orders", "order.paid", "a", data);
    bc_event_put(log_db, "orders", "order.shipped", "a", data);
    assert_int_equal(bc_db_commit(log_db), BC_DB_OK);
    json_decref(data);
    start_log();
    start_consumer();
    publish("order.paid", "b", 3); /* applied: everything before it is dead */
    expect_applied("b:3");
    assert_int_equal(discard("type", "order.refunded", &left, &more), 0);
    assert_int_equal(left, 202);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(discard("type", "order.paid", &left, &more), 100);
        assert_true(more);
        assert_int_equal(left, 102 - 100 * i);
    }
    assert_int_equal(discard("type", "order.paid", &left, &more), 1);
    assert_false(more);
    assert_int_equal(left, 1); /* of another type */
    static const char *const bad[] = {"{}", "{\"event\":\"evt_x\",\"type\":\"order.paid\"}", "{\"event\":7}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        json_decref(call("POST", BC_DEAD_LETTERS_DISCARD_PATH, json_loads(bad[i], 0, NULL), 400));
    expect_letters(1);
}

static void what_is_discarded_while_it_is_tried_costs_the_next_no_try(void **state) {
    (void)state;
    int left = -1;
    bool more = true;
    atomic_store(&failing, 2);
    publish("order.paid", "a", 2);
    start_log();
    start_consumer();
    expect_letters(1);
    int before = atomic_load(&tried);
    json_decref(call("POST", BC_DEAD_LETTERS_REPLAY_PATH, json_object(), 200));
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    while (atomic_load(&tried) < before + 3 && bc_monotonic_ms() < until) (void)usleep(2000);
    assert_int_equal(discard("type", "order.paid", &left, &more), 1);
    assert_int_equal(left, 0);
    atomic_store(&failing, 7);
    before = atomic_load(&tried);
    publish("order.paid", "c", 7);
    expect_letters(1);
    assert_true(atomic_load(&tried) - before >= BC_EVENT_TRIES_MAX);
}

static void a_log_that_is_away_is_asked_again(void **state) {
    (void)state;
    start_consumer();
    expect_state("its service is away");
    publish("order.paid", "a", 1);
    start_log();
    expect_applied("a:1");
    expect_state("ok");
}

static void a_malformed_page_is_not_taken(void **state) {
    (void)state;
    publish("order.paid", "a", 1);
    atomic_store(&broken, true);
    start_log();
    start_consumer();
    expect_state("its log is malformed");
    expect_applied("");
    atomic_store(&broken, false);
    expect_applied("a:1");
}

static void old_events_are_tidied_and_the_inbox_remembers_longer(void **state) {
    (void)state;
    start_log();
    start_consumer();
    publish("order.paid", "a", 1);
    expect_applied("a:1");
    stop_consumer();
    stop_log();
    int64_t keep_ms = bc_config_number(config, BC_EVENTS_KEEP), now_ms = bc_time_ms();
    const struct {
        bc_db_t *db;
        int64_t at_ms;
        const char *sql;
        int64_t left;
    } cases[] = {
        {log_db, now_ms + keep_ms - 60000, "SELECT COUNT(*) FROM outbox", 1},
        {log_db, now_ms + keep_ms + 60000, "SELECT COUNT(*) FROM outbox", 0},
        {own_db, now_ms + keep_ms + 60000, "SELECT COUNT(*) FROM inbox", 1},
        {own_db, now_ms + 2 * keep_ms + 60000, "SELECT COUNT(*) FROM inbox", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(bc_db_begin(cases[i].db), BC_DB_OK);
        bc_events_tidy(cases[i].db, config, cases[i].at_ms);
        bc_statement_t *count = bc_db_prepare(cases[i].db, cases[i].sql);
        assert_int_equal(bc_step(count), BC_DB_ROW);
        assert_int_equal(bc_column_int(count, 0), cases[i].left);
        bc_statement_done(count);
        assert_int_equal(bc_db_commit(cases[i].db), BC_DB_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(events_come_in_order_and_unknown_types_are_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(many_pages_are_applied_to_the_last, setup, teardown),
        cmocka_unit_test_setup_teardown(twice_delivered_is_once_applied, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restored_log_is_read_from_its_beginning, setup, teardown),
        cmocka_unit_test_setup_teardown(what_waits_holds_the_log_up_and_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(what_fails_is_dead_and_its_key_stays_behind_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_discarded_is_never_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(all_of_a_type_are_discarded_in_bounded_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_discarded_while_it_is_tried_costs_the_next_no_try, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_that_is_away_is_asked_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_malformed_page_is_not_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(old_events_are_tidied_and_the_inbox_remembers_longer, setup, teardown),
    };
    bc_log_init("events-test", getenv("EVENTS_LOG") != NULL ? BC_LOG_DEBUG : BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
