/*
 * Whatever happens to a consumer and to the log it follows, the end is that of a straight run.
 *
 * A round: one process publishes events of a few keys in a random interleaving, another applies them; both are killed at random, by signal or at
 * a fault point, and started again. While the consumer is dead its position may go back; while the log is dead its generation may change: both
 * deliver everything again. Some events fail until they are mended, so keys die, stay behind, and are replayed. The state of a key is a
 * fold that does not commute, so any lost, doubled or reordered event of a key shows in it.
 *
 * BOOKCART_TEST_SEED repeats a run; EVENTS_ROUNDS makes more of them.
 */
#include "platform/bc_client.h"
#include "platform/bc_events.h"
#include "platform/bc_fault.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SERVICE_KEY "sesame"
#define KEYS        5
#define EVENTS      80
#define KILLS       24
#define PATIENCE_MS 60000

typedef struct {
    int key, number;
    bool poisoned; /* fails until the file `mended` is there */
} event_t;

static char folder[64], mended[96];
static bc_config_t *config;
static event_t events[EVENTS];
static int64_t wanted[KEYS];
static uint64_t random_state;

static unsigned draw(unsigned below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % below);
}

static int64_t fold(int64_t state, int number) {
    return (state * 31 + number) % 1000000007;
}

static const bc_migration_t log_migrations[] = {{"events", BC_EVENTS_MIGRATION}, {NULL, NULL}};
static const bc_migration_t own_migrations[] = {
    {"events",
     BC_EVENTS_MIGRATION "CREATE TABLE states(event_key VARCHAR(64) PRIMARY KEY NOT NULL, value " BC_SQL_BIGINT
                         " NOT NULL, applied " BC_SQL_BIGINT " NOT NULL);"},
    {NULL, NULL},
};

static bc_db_t *open_db(const char *name, const bc_migration_t *migrations) {
    char path[128];
    bc_db_t *db = NULL;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (bc_db_open(path, migrations, &db) != BC_DB_OK) abort();
    return db;
}

static bc_http_t *start_server(bc_key_t listen, const bc_route_t *routes, void *context) {
    bc_http_options_t options = {.service = "test",
                                 .listen = bc_config_text(config, listen),
                                 .routes = routes,
                                 .context = context,
                                 .connections_max = 8,
                                 .timeout_ms = 20000,
                                 .service_key = SERVICE_KEY};
    return bc_http_start(&options);
}

/* --- the process that publishes --- */

static void serve_log(bc_request_t *request, bc_reply_t *reply, void *context) {
    bc_outbox_serve(context, request, reply);
}

static const bc_route_t log_routes[] = {{"GET", BC_EVENTS_PATH, BC_INTERNAL, serve_log, .query = BC_FEED_QUERY},
                                        {.method = NULL}};

/* How many of the events were published by those before us: they are published in order. */
static int published(bc_db_t *db) {
    bc_db_enter(db);
    bc_statement_t *count = bc_db_prepare(db, "SELECT COUNT(*) FROM outbox");
    int number = bc_step(count) == BC_DB_ROW ? (int)bc_column_int(count, 0) : -1;
    bc_statement_done(count);
    bc_db_leave(db);
    return number;
}

static void publish_all(void) {
    bc_db_t *db = open_db("log.db", log_migrations);
    bc_outbox_t *outbox = bc_outbox_create("payment", db);
    if (outbox == NULL || start_server(BC_PAYMENT_INTERNAL, log_routes, outbox) == NULL) abort();
    for (int i = published(db); i < EVENTS;) {
        int end = i + 1 + (int)draw(5);
        if (bc_db_begin(db) != BC_DB_OK) abort();
        for (; i < end && i < EVENTS; i++) {
            char key[16];
            json_t *data = json_pack("{s:i, s:b}", "number", events[i].number, "poisoned", events[i].poisoned);
            (void)snprintf(key, sizeof(key), "key-%d", events[i].key);
            bc_event_put(db, "orders", "order.paid", key, data);
            json_decref(data);
        }
        if (bc_db_commit(db) != BC_DB_OK) abort();
        bc_outbox_wake(outbox);
        (void)usleep(draw(20000));
    }
    for (;;) (void)pause(); /* until it is killed */
}

/* --- the process that applies --- */

static bc_consumer_t *consumer;
static bc_db_t *own_db;
static atomic_uint calls;

static bc_event_result_t apply(bc_db_t *db, const bc_event_t *event, void *context, char reason[256]) {
    (void)context;
    int number = (int)json_integer_value(json_object_get(event->data, "number"));
    bc_statement_t *get = bc_db_prepare(db, "SELECT value FROM states WHERE event_key = ?");
    bc_bind_text(get, 1, event->key);
    int64_t value = bc_step(get) == BC_DB_ROW ? bc_column_int(get, 0) : 0;
    bc_statement_done(get);
    bc_statement_t *put =
        bc_db_prepare(db, "INSERT INTO states(event_key, value, applied) VALUES(?, ?, 1)" BC_SQL_UPSERT(
                              "event_key") "value = excluded.value, applied = states.applied + 1");
    bc_bind_text(put, 1, event->key);
    bc_bind_int(put, 2, fold(value, number));
    (void)bc_run(put);
    if (json_is_true(json_object_get(event->data, "poisoned")) && access(mended, F_OK) != 0) {
        (void)snprintf(reason, 256, "poisoned");
        return BC_EVENT_FAILED;
    }
    return atomic_fetch_add(&calls, 1) % 11 == 10 ? BC_EVENT_WAIT : BC_EVENT_APPLIED;
}

static const bc_event_handler_t handlers[] = {{"order.paid", apply}, {NULL, NULL}};

static void serve_letters(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_dead_letters_serve(own_db, request, reply);
}

static void serve_replay(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_dead_letters_replay(&consumer, 1, own_db, request, reply);
}

static const bc_route_t own_routes[] = {
    {"GET", BC_DEAD_LETTERS_PATH, BC_INTERNAL, serve_letters, .query = BC_DEAD_LETTERS_QUERY},
    {"POST", BC_DEAD_LETTERS_REPLAY_PATH, BC_INTERNAL, serve_replay, .fields = BC_DEAD_LETTERS_FIELDS},
    {.method = NULL}};

static void apply_all(const char *faults) {
    char reason[BC_CONFIG_REASON_BYTES];
    if (!bc_fault_init(faults, reason)) abort();
    own_db = open_db("own.db", own_migrations);
    bc_consumer_options_t options = {
        .source = "payment", .listen = BC_PAYMENT_INTERNAL, .handlers = handlers, .db = own_db};
    consumer = bc_consumer_create(config, SERVICE_KEY, &options);
    if (consumer == NULL || start_server(BC_LIBRARY_INTERNAL, own_routes, NULL) == NULL) abort();
    for (;;) (void)pause(); /* until it is killed */
}

/* --- the round --- */

/* It ends with the test, however that ends. */
static void die_with_parent(void) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* cannot fail with a valid signal */
}

static pid_t start_log(void) {
    pid_t pid = fork();
    if (pid == 0) {
        die_with_parent();
        publish_all();
    }
    return pid;
}

/* A fault point kills it at a passage of its own choice, if the signal does not come first. */
static pid_t start_consumer(bool with_faults) {
    char faults[64] = "";
    if (with_faults && draw(2) == 0)
        (void)snprintf(faults, sizeof(faults), "%s=kill@%u", draw(2) == 0 ? "events.apply" : "events.applied",
                       1 + draw(6));
    pid_t pid = fork();
    if (pid == 0) {
        die_with_parent();
        apply_all(faults);
    }
    return pid;
}

static void end(pid_t pid) {
    int status = 0;
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* it did not fail by itself */
}

static void execute(const char *name, const bc_migration_t *migrations, const char *sql) {
    bc_db_t *db = open_db(name, migrations);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(bc_run(bc_db_prepare(db, sql)), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    bc_db_close(db);
}

static void make_events(void) {
    memset(wanted, 0, sizeof(wanted));
    for (int i = 0; i < EVENTS; i++) {
        events[i] = (event_t){.key = (int)draw(KEYS), .number = 1 + (int)draw(1000)};
        wanted[events[i].key] = fold(wanted[events[i].key], events[i].number);
    }
    for (int i = 0; i < 2; i++) events[draw(EVENTS / 2)].poisoned = true;
}

/* false: it does not answer yet. */
static bool look(long *position, size_t *letters) {
    bc_client_t *client = bc_client_create(bc_config_text(config, BC_LIBRARY_INTERNAL), SERVICE_KEY);
    int status = 0;
    json_t *reply = NULL;
    bool good = bc_client_call(client, "GET", BC_DEAD_LETTERS_PATH, NULL, 2000, NULL, &status, &reply) && status == 200;
    if (good) {
        const json_t *followed = json_array_get(json_object_get(reply, "followed"), 0);
        const char *text = json_string_value(json_object_get(followed, "position"));
        *position = text == NULL ? 0 : strtol(text, NULL, 10);
        *letters = json_array_size(json_object_get(reply, "items"));
    }
    json_decref(reply);
    bc_client_destroy(client);
    return good;
}

static void wait_for_end(bool with_letters) {
    long position = 0;
    size_t letters = 0;
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    while (!(look(&position, &letters) && position == EVENTS && (with_letters || letters == 0))) {
        if (bc_monotonic_ms() > until) fail_msg("position %ld, %zu dead letters", position, letters);
        (void)usleep(10000);
    }
}

static void replay_all(void) {
    bc_client_t *client = bc_client_create(bc_config_text(config, BC_LIBRARY_INTERNAL), SERVICE_KEY);
    int status = 0;
    json_t *reply = NULL, *body = json_object();
    assert_true(bc_client_call(client, "POST", BC_DEAD_LETTERS_REPLAY_PATH, body, 5000, NULL, &status, &reply));
    assert_int_equal(status, 200);
    json_decref(body);
    json_decref(reply);
    bc_client_destroy(client);
}

static void expect_straight_run(void) {
    int64_t applied = 0;
    bc_db_t *db = open_db("own.db", own_migrations);
    bc_db_enter(db);
    bc_statement_t *rows = bc_db_prepare(db, "SELECT event_key, value, applied FROM states ORDER BY event_key");
    while (bc_step(rows) == BC_DB_ROW) {
        int key = atoi(bc_column_text(rows, 0) + strlen("key-"));
        assert_int_equal(bc_column_int(rows, 1), wanted[key]);
        applied += bc_column_int(rows, 2);
    }
    bc_statement_done(rows);
    bc_db_leave(db);
    bc_db_close(db);
    assert_int_equal(applied, EVENTS);
}

static void run_round(void) {
    make_events();
    pid_t log = start_log(), own = start_consumer(true);
    for (int i = 0; i < KILLS; i++) {
        (void)usleep(draw(60000));
        if (draw(3) == 0) {
            end(log);
            if (draw(2) == 0)
                execute("log.db", log_migrations, "UPDATE outbox_generation SET generation = generation || 'x'");
            log = start_log();
        }
        if (draw(4) != 0) {
            end(own);
            if (draw(3) == 0) execute("own.db", own_migrations, "UPDATE followed SET position = position / 2");
            own = start_consumer(true);
        }
    }
    end(own);
    own = start_consumer(false);
    wait_for_end(true); /* the poisoned ones are dead by now, or were applied by a redelivery after mending */
    int file = open(mended, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    (void)close(file);
    replay_all();
    (void)usleep(draw(40000));
    end(own); /* in the middle of the replay */
    own = start_consumer(false);
    wait_for_end(false);
    end(own);
    end(log);
    expect_straight_run();
}

static void any_kill_and_any_repeat_ends_as_a_straight_run(void **state) {
    (void)state;
    const char *text = getenv("BOOKCART_TEST_SEED"), *more = getenv("EVENTS_ROUNDS");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : (uint64_t)bc_time_ms();
    int rounds = more != NULL ? atoi(more) : 3;
    for (int i = 0; i < rounds; i++, seed++) {
        char reason[BC_CONFIG_REASON_BYTES], path[128], command[160];
        char *environment[] = {NULL};
        print_message("BOOKCART_TEST_SEED=%llu\n", (unsigned long long)seed);
        random_state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
        (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-events-XXXXXX");
        assert_non_null(mkdtemp(folder));
        (void)snprintf(mended, sizeof(mended), "%s/mended", folder);
        (void)snprintf(path, sizeof(path), "%s/run", folder);
        if (!bc_config_load(&config, NULL, environment, folder, reason)) fail_msg("%s", reason);
        assert_true(bc_files_make_folders(path, 0700));
        run_round();
        bc_config_destroy(config);
        (void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
        assert_int_equal(system(command), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_kill_and_any_repeat_ends_as_a_straight_run)};
    bc_log_init("events-test", BC_LOG_ALERT);
    if (!bc_random_init() || !bc_client_init()) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
