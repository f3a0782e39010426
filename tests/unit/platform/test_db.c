/* The database wrapper on real files: migrations, transactions, errors that stick, a commit that fails. */
#include "platform/bc_db.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];
static bc_db_t *db;

static const bc_migration_t migrations[] = {
    {"things", "CREATE TABLE things(id INTEGER PRIMARY KEY, name VARCHAR(20) UNIQUE, bytes BLOB);"
               "CREATE TABLE parts(thing INTEGER NOT NULL REFERENCES things(id))"},
    {"seed", "INSERT INTO things(id, name) VALUES(1, 'one')"},
    {NULL, NULL},
};

static int set_up(void **state) {
    (void)state;
    bc_log_init("test", BC_LOG_ALERT + 1);
    (void)snprintf(path, sizeof(path), "/tmp/bookcart-db-%ld.db", (long)getpid());
    (void)unlink(path);
    return bc_random_init() && bc_db_open(path, migrations, &db) == BC_DB_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    char other[80];
    bc_db_close(db);
    db = NULL;
    (void)unlink(path);
    (void)snprintf(other, sizeof(other), "%s-wal", path);
    (void)unlink(other);
    (void)snprintf(other, sizeof(other), "%s-shm", path);
    (void)unlink(other);
    return 0;
}

static bc_db_result_t put(int64_t id, const char *name) {
    bc_statement_t *statement = bc_db_prepare(db, "INSERT INTO things(id, name) VALUES(?, ?)");
    bc_bind_int(statement, 1, id);
    bc_bind_text(statement, 2, name);
    return bc_run(statement);
}

static int64_t count(void) {
    bc_db_enter(db);
    bc_statement_t *statement = bc_db_prepare(db, "SELECT COUNT(*) FROM things");
    assert_int_equal(bc_step(statement), BC_DB_ROW);
    int64_t things = bc_column_int(statement, 0);
    bc_statement_done(statement);
    bc_db_leave(db);
    return things;
}

static void reopen(void) {
    bc_db_close(db);
    db = NULL;
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
}

static void migrations_run_once_in_order(void **state) {
    (void)state;
    assert_int_equal(count(), 1);
    reopen();
    assert_int_equal(count(), 1);
    struct stat found;
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
}

static void a_newer_schema_is_refused_and_left_alone(void **state) {
    (void)state;
    const bc_migration_t older[] = {migrations[0], {NULL, NULL}};
    bc_db_close(db);
    db = NULL;
    assert_int_equal(bc_db_open(path, older, &db), BC_DB_NEWER);
    assert_null(db);
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
}

static void a_migration_that_fails_leaves_nothing(void **state) {
    (void)state;
    const bc_migration_t broken[] = {
        migrations[0],
        migrations[1],
        {"broken", "INSERT INTO things(id, name) VALUES(2, 'two'); INSERT INTO nowhere VALUES(1)"},
        {NULL, NULL}};
    bc_db_close(db);
    db = NULL;
    assert_int_equal(bc_db_open(path, broken, &db), BC_DB_FAILED);
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
    assert_int_equal(count(), 1);
}

static void a_commit_is_kept_and_a_rollback_is_not(void **state) {
    (void)state;
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(put(2, "two"), BC_DB_DONE);
    assert_int_equal(bc_db_changes(db), 1);
    assert_int_equal(bc_db_last_row(db), 2);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(put(3, "three"), BC_DB_DONE);
    bc_db_rollback(db);
    reopen();
    assert_int_equal(count(), 2);
}

static void a_constraint_does_not_stick(void **state) {
    (void)state;
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(put(2, "one"), BC_DB_CONSTRAINT);
    assert_true(bc_db_is_sound(db));
    bc_statement_t *orphan = bc_db_prepare(db, "INSERT INTO parts(thing) VALUES(?)");
    bc_bind_int(orphan, 1, 99);
    assert_int_equal(bc_run(orphan), BC_DB_CONSTRAINT);
    assert_int_equal(put(2, "two"), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    assert_int_equal(count(), 2);
}

static void an_error_sticks_and_turns_the_commit_into_a_rollback(void **state) {
    (void)state;
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(put(2, "two"), BC_DB_DONE);
    assert_null(bc_db_prepare(db, "SELECT nothing FROM nowhere"));
    assert_false(bc_db_is_sound(db));
    assert_int_equal(put(3, "three"), BC_DB_FAILED);
    assert_int_equal(bc_db_commit(db), BC_DB_FAILED);
    assert_true(bc_db_is_open(db));
    assert_int_equal(count(), 1);
}

static void values_come_back_as_they_were_bound(void **state) {
    (void)state;
    static const unsigned char bytes[] = {0, 1, 2, 0, 255};
    cart_id_t id = bc_random_id(), read;
    size_t length = 0;
    bc_db_enter(db);
    bc_statement_t *statement = bc_db_prepare(db, "SELECT ?, ?, ?, ?, ?");
    bc_bind_int(statement, 1, INT64_MIN);
    bc_bind_text(statement, 2, "'; DROP TABLE things; --");
    bc_bind_bytes(statement, 3, bytes, sizeof(bytes));
    bc_bind_id(statement, 4, &id);
    bc_bind_null(statement, 5);
    assert_int_equal(bc_step(statement), BC_DB_ROW);
    assert_true(bc_column_int(statement, 0) == INT64_MIN);
    assert_string_equal(bc_column_text(statement, 1), "'; DROP TABLE things; --");
    assert_memory_equal(bc_column_bytes(statement, 2, &length), bytes, sizeof(bytes));
    assert_int_equal(length, sizeof(bytes));
    assert_true(bc_column_id(statement, 3, &read) && cart_id_equal(&id, &read));
    assert_false(bc_column_id(statement, 2, &read));
    assert_true(bc_column_is_null(statement, 4));
    assert_null(bc_column_text(statement, 4));
    bc_statement_done(statement);
    bc_db_leave(db);
}

static void statements_are_counted_once_each(void **state) {
    (void)state;
    bc_db_count_reset();
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(put(2, "two"), BC_DB_DONE);
    assert_int_equal(put(3, "three"), BC_DB_DONE);
    bc_statement_t *statement = bc_db_prepare(db, "SELECT id FROM things");
    while (bc_step(statement) == BC_DB_ROW) continue;
    bc_statement_done(statement);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    assert_int_equal(bc_db_count(), 3);
}

/* A file that may grow no further: the commit fails as on a full disk, and then nothing is answered by this connection any more. */
static void a_failed_commit_closes_the_database(void **state) {
    (void)state;
    struct rlimit kept, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &kept), 0);
    tight = kept;
    tight.rlim_cur = 4096;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(put(2, "two"), BC_DB_DONE);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    bc_db_result_t result = bc_db_commit(db);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &kept), 0);
    assert_int_not_equal(result, BC_DB_OK);
    assert_false(bc_db_is_open(db));
    assert_int_equal(bc_db_begin(db), BC_DB_CLOSED);
    bc_db_enter(db);
    assert_null(bc_db_prepare(db, "SELECT COUNT(*) FROM things"));
    assert_false(bc_db_is_sound(db));
    bc_db_leave(db);
    reopen();
    assert_int_equal(count(), 1);
}

static void *put_two(void *argument) {
    atomic_bool *done = argument;
    bool good = bc_db_begin(db) == BC_DB_OK && put(2, "two") == BC_DB_DONE && bc_db_commit(db) == BC_DB_OK;
    atomic_store(done, true);
    return good ? argument : NULL;
}

static int64_t put_under_hold(int64_t release_after_ms) {
    pthread_t thread;
    void *result = NULL;
    atomic_bool done = false;
    int64_t begun_ms = bc_monotonic_ms();
    assert_int_equal(pthread_create(&thread, NULL, put_two, &done), 0);
    while (bc_monotonic_ms() - begun_ms < release_after_ms) {
        assert_false(atomic_load(&done));
        assert_int_equal(count(), 1); /* reads go on */
        (void)usleep(5000);
    }
    if (release_after_ms > 0) bc_db_hold_all(0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_non_null(result);
    assert_int_equal(count(), 2);
    return bc_monotonic_ms() - begun_ms;
}

static void under_a_hold_nobody_writes_until_it_is_let_go(void **state) {
    (void)state;
    bc_db_hold_all(60000);
    assert_true(put_under_hold(100) < 30000);
}

static void a_hold_ends_by_itself(void **state) {
    (void)state;
    bc_db_hold_all(200);
    assert_true(put_under_hold(0) >= 150);
}

static void a_hold_waits_for_the_transaction_that_runs(void **state) {
    (void)state;
    pthread_t thread;
    void *result = NULL;
    atomic_bool done = false;
    for (int i = 0; i < 20; i++) { /* wherever the writer is just then */
        assert_int_equal(bc_db_begin(db), BC_DB_OK);
        bc_statement_t *drop = bc_db_prepare(db, "DELETE FROM things WHERE id = 2");
        assert_int_equal(bc_run(drop), BC_DB_DONE);
        assert_int_equal(bc_db_commit(db), BC_DB_OK);
        assert_int_equal(pthread_create(&thread, NULL, put_two, &done), 0);
        (void)usleep((useconds_t)i * 50);
        bc_db_hold_all(60000);
        int64_t before = count();
        (void)usleep(2000);
        assert_int_equal(count(), before); /* all of it or nothing, and no more from now on */
        bc_db_hold_all(0);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_non_null(result);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(migrations_run_once_in_order),
        CASE(a_newer_schema_is_refused_and_left_alone),
        CASE(a_migration_that_fails_leaves_nothing),
        CASE(a_commit_is_kept_and_a_rollback_is_not),
        CASE(a_constraint_does_not_stick),
        CASE(an_error_sticks_and_turns_the_commit_into_a_rollback),
        CASE(values_come_back_as_they_were_bound),
        CASE(statements_are_counted_once_each),
        CASE(a_failed_commit_closes_the_database),
        CASE(under_a_hold_nobody_writes_until_it_is_let_go),
        CASE(a_hold_ends_by_itself),
        CASE(a_hold_waits_for_the_transaction_that_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
