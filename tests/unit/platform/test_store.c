/* A service's store on a real data folder: opened, migrated while nobody has its lock, made another one by a restore. */
#include "platform/bc_events.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_service.h"
#include "platform/bc_store.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static bc_config_t *config;
static int completed; /* calls of `complete` */
static bool completes, restores;

static const bc_migration_t migrations[] = {
    {"events", BC_EVENTS_MIGRATION},
    {"things", "CREATE TABLE things(id INTEGER PRIMARY KEY, name VARCHAR(20))"},
    {NULL, NULL},
};

static bool complete(const bc_config_t *given, bc_db_t *db) {
    assert_ptr_equal(given, config);
    assert_true(bc_db_is_open(db));
    completed++;
    return completes;
}

static void forget_things(bc_db_t *db) {
    (void)bc_run(bc_db_prepare(db, "DELETE FROM things"));
    if (!restores) bc_db_fail(db, "test");
}

static const bc_store_t plain = {.service = "things", .file = "things.db", .migrations = migrations};
static const bc_store_t full = {.service = "things",
                                .file = "things.db",
                                .migrations = migrations,
                                .complete = complete,
                                .restored = forget_things};

static int set_up(void **state) {
    char text[128], reason[BC_CONFIG_REASON_BYTES];
    (void)state;
    bc_log_init("test", BC_LOG_ALERT + 1);
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-store-XXXXXX");
    if (mkdtemp(folder) == NULL || !bc_random_init()) return -1;
    int length = snprintf(text, sizeof(text), "BOOKCART_DATA = %s\n", folder);
    config = bc_config_create();
    completed = 0;
    completes = restores = true;
    return bc_config_read_text(config, "test", text, (size_t)length, reason) && bc_config_finish(config, reason) ? 0
                                                                                                                 : -1;
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    bc_config_destroy(config);
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static bool lock_is_free(void) {
    int lock = bc_service_lock(config, "things", false);
    if (lock >= 0) (void)close(lock);
    return lock >= 0;
}

static int64_t number(const char *sql) {
    bc_db_t *db = bc_store_open(&plain, config);
    assert_non_null(db);
    bc_db_enter(db);
    bc_statement_t *statement = bc_db_prepare(db, sql);
    assert_int_equal(bc_step(statement), BC_DB_ROW);
    int64_t value = bc_column_int(statement, 0);
    bc_statement_done(statement);
    bc_db_leave(db);
    bc_db_close(db);
    return value;
}

static void run(const char *sql) {
    bc_db_t *db = bc_store_open(&plain, config);
    assert_non_null(db);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    (void)bc_run(bc_db_prepare(db, sql));
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    bc_db_close(db);
}

static int64_t things(void) {
    return number("SELECT COUNT(*) FROM things");
}

/* The log's generation, which an outbox gives a new file at its first start. */
static void generation(char text[64]) {
    bc_db_t *db = bc_store_open(&plain, config);
    assert_non_null(db);
    bc_outbox_t *outbox = bc_outbox_create("things", db);
    assert_non_null(outbox);
    bc_db_enter(db);
    bc_statement_t *statement = bc_db_prepare(db, "SELECT generation FROM outbox_generation");
    assert_int_equal(bc_step(statement), BC_DB_ROW);
    (void)snprintf(text, 64, "%s", bc_column_text(statement, 0));
    bc_statement_done(statement);
    bc_db_leave(db);
    bc_outbox_destroy(outbox);
    bc_db_close(db);
}

static void opens_and_migrates_its_file_in_the_data_folder(void **state) {
    (void)state;
    char path[80];
    run("INSERT INTO things(id) VALUES(1)");
    assert_int_equal(things(), 1);
    assert_int_equal(number("SELECT COUNT(*) FROM migrations"), 2);
    (void)snprintf(path, sizeof(path), "%s/things.db", folder);
    assert_int_equal(access(path, F_OK), 0);
}

static void a_path_without_room_is_refused(void **state) {
    (void)state;
    static char name[5000];
    memset(name, 'x', sizeof(name) - 1);
    const bc_store_t store = {.service = "things", .file = name, .migrations = migrations};
    assert_null(bc_store_open(&store, config));
    assert_int_equal(bc_store_migrate(&store, config), 1);
    assert_true(lock_is_free());
}

static void migrating_completes_the_file_and_lets_the_lock_go(void **state) {
    (void)state;
    assert_int_equal(bc_store_migrate(&full, config), 0);
    assert_int_equal(completed, 1);
    assert_int_equal(things(), 0);
    assert_int_equal(bc_store_migrate(&plain, config), 0);
    completes = false;
    assert_int_equal(bc_store_migrate(&full, config), 1);
    assert_int_equal(completed, 2);
    assert_true(lock_is_free());
}

static void a_file_of_a_newer_program_is_refused(void **state) {
    (void)state;
    static const bc_migration_t older[] = {{"events", BC_EVENTS_MIGRATION}, {NULL, NULL}};
    const bc_store_t store = {.service = "things", .file = "things.db", .migrations = older};
    assert_int_equal(bc_store_migrate(&plain, config), 0);
    assert_int_equal(bc_store_migrate(&store, config), 1);
    assert_int_equal(bc_store_restored(&store, config), 1);
    assert_true(lock_is_free());
}

static atomic_bool over;

static void *migrate(void *code) {
    *(int *)code = bc_store_migrate(&full, config);
    atomic_store(&over, true);
    return NULL;
}

static void a_service_that_runs_is_waited_for(void **state) {
    (void)state;
    pthread_t thread;
    int code = -1;
    atomic_store(&over, false);
    int lock = bc_service_lock(config, "things", true);
    assert_true(lock >= 0);
    assert_int_equal(pthread_create(&thread, NULL, migrate, &code), 0);
    (void)usleep(200 * 1000); /* long enough to be over, if it did not wait */
    assert_false(atomic_load(&over));
    assert_int_equal(completed, 0);
    (void)close(lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(code, 0);
    assert_int_equal(completed, 1);
}

static void a_restored_file_is_another_one(void **state) {
    (void)state;
    char before[64], after[64];
    generation(before);
    run("INSERT INTO things(id) VALUES(1)");
    assert_int_equal(bc_store_restored(&plain, config), 0);
    generation(after);
    assert_string_not_equal(before, after);
    assert_int_equal(things(), 1);
    assert_int_equal(bc_store_restored(&full, config), 0);
    assert_int_equal(things(), 0);
    assert_int_equal(completed, 1);
    assert_true(lock_is_free());
}

static void a_restore_is_noted_whole_or_not_at_all(void **state) {
    (void)state;
    char before[64], after[64];
    generation(before);
    run("INSERT INTO things(id) VALUES(1)");
    restores = false;
    assert_int_equal(bc_store_restored(&full, config), 1);
    generation(after);
    assert_string_equal(before, after);
    assert_int_equal(things(), 1);
    restores = true;
    completes = false;
    assert_int_equal(bc_store_restored(&full, config), 1);
    generation(after);
    assert_string_equal(before, after);
    assert_int_equal(things(), 1);
    assert_true(lock_is_free());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_and_migrates_its_file_in_the_data_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_path_without_room_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(migrating_completes_the_file_and_lets_the_lock_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_of_a_newer_program_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_service_that_runs_is_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_restored_file_is_another_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_restore_is_noted_whole_or_not_at_all, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
