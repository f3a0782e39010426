/* Reads beside the writer: what a reader sees, whom it waits for, and that it never writes. Syncs go through fdatasync below, which can be
 * made to wait or to fail, so no test depends on how long anything takes. */
#include "platform/bc_db.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { poll_us = 1000 };

static char path[64];
static bc_db_t *db;

static const bc_migration_t migrations[] = {
    {"things", "CREATE TABLE things(id INTEGER PRIMARY KEY, bytes BLOB); INSERT INTO things(id) VALUES(1)"},
    {NULL, NULL},
};

/* --- the disk --- */

typedef enum { SYNC_AS_IS, SYNC_WAITS, SYNC_FAILS_IN_FILE } sync_mode_t;

static pthread_mutex_t sync_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t sync_changed = PTHREAD_COND_INITIALIZER;
static sync_mode_t sync_mode;
static int sync_waiting;

static void set_sync(sync_mode_t mode) {
    (void)pthread_mutex_lock(&sync_lock);
    sync_mode = mode;
    (void)pthread_cond_broadcast(&sync_changed);
    (void)pthread_mutex_unlock(&sync_lock);
}

static bool is_log(int fd) {
    char link[64], name[256];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof(name) - 1);
    if (length < 0) return false;
    name[length] = '\0';
    return strstr(name, "-wal") != NULL;
}

/* SQLite's call comes here. */
int fdatasync(int fd) {
    (void)pthread_mutex_lock(&sync_lock);
    sync_waiting++;
    (void)pthread_cond_broadcast(&sync_changed);
    while (sync_mode == SYNC_WAITS) (void)pthread_cond_wait(&sync_changed, &sync_lock);
    sync_waiting--;
    bool fail = sync_mode == SYNC_FAILS_IN_FILE && !is_log(fd);
    (void)pthread_mutex_unlock(&sync_lock);
    if (!fail) return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}

static off_t size_of(const char *ending) {
    char name[80];
    struct stat found;
    (void)snprintf(name, sizeof(name), "%s%s", path, ending);
    return stat(name, &found) == 0 ? found.st_size : -1;
}

static void remove_files(void) {
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char name[80];
        (void)snprintf(name, sizeof(name), "%s%s", path, endings[i]);
        (void)unlink(name);
    }
}

static int set_up(void **state) {
    (void)state;
    bc_log_init("test", BC_LOG_ALERT + 1);
    (void)snprintf(path, sizeof(path), "/tmp/bookcart-readers-%ld.db", (long)getpid());
    remove_files();
    set_sync(SYNC_AS_IS);
    return bc_random_init() && bc_db_open(path, migrations, &db) == BC_DB_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    bc_db_close(db);
    db = NULL;
    remove_files();
    return 0;
}

static void reopen(void) {
    bc_db_close(db);
    db = NULL;
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
}

static bc_db_result_t put(bc_db_t *to, int64_t id) {
    bc_statement_t *statement = bc_db_prepare(to, "INSERT INTO things(id) VALUES(?)");
    bc_bind_int(statement, 1, id);
    return bc_run(statement);
}

static void commit_one(int64_t id) {
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(put(db, id), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
}

/* -1: the statement failed. */
static int64_t count_inside(bc_db_t *reader) {
    int64_t things = -1;
    bc_statement_t *statement = bc_db_prepare(reader, "SELECT COUNT(*) FROM things");
    if (bc_step(statement) == BC_DB_ROW) things = bc_column_int(statement, 0);
    bc_statement_done(statement);
    return things;
}

static int64_t count(void) {
    bc_db_t *reader = bc_db_enter_read(db);
    int64_t things = count_inside(reader);
    bc_db_leave(reader);
    return things;
}

/* --- what a reader sees --- */

static void a_reader_sees_every_commit_that_returned_before(void **state) {
    (void)state;
    for (int64_t id = 2; id < 200; id++) {
        commit_one(id);
        assert_int_equal(count(), id);
    }
}

static void an_entry_is_one_picture(void **state) {
    (void)state;
    bc_db_t *reader = bc_db_enter_read(db);
    assert_int_equal(count_inside(reader), 1);
    commit_one(2);
    assert_int_equal(count_inside(reader), 1);
    bc_db_leave(reader);
    assert_int_equal(count(), 2);
}

static void a_reader_waits_for_no_transaction(void **state) {
    (void)state;
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(put(db, 2), BC_DB_DONE);
    assert_int_equal(count(), 1);
    assert_int_equal(put(db, 3), BC_DB_DONE);
    assert_int_equal(count(), 1);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    assert_int_equal(count(), 3);
}

static void *commit_two(void *argument) {
    bool good = bc_db_begin(db) == BC_DB_OK && put(db, 2) == BC_DB_DONE && bc_db_commit(db) == BC_DB_OK;
    return good ? argument : NULL;
}

static void a_reader_waits_for_no_sync_and_sees_nothing_before_it(void **state) {
    (void)state;
    pthread_t thread;
    void *good = NULL;
    set_sync(SYNC_WAITS);
    assert_int_equal(pthread_create(&thread, NULL, commit_two, path), 0);
    (void)pthread_mutex_lock(&sync_lock);
    while (sync_waiting == 0) (void)pthread_cond_wait(&sync_changed, &sync_lock);
    (void)pthread_mutex_unlock(&sync_lock);
    for (int i = 0; i < 100; i++) assert_int_equal(count(), 1); /* the commit stands in its sync all the time */
    set_sync(SYNC_AS_IS);
    assert_int_equal(pthread_join(thread, &good), 0);
    assert_non_null(good);
    assert_int_equal(count(), 2);
}

static void a_reader_sees_tables_that_were_made_later(void **state) {
    (void)state;
    assert_int_equal(count(), 1);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(bc_run(bc_db_prepare(db, "CREATE VIRTUAL TABLE words USING fts5(text)")), BC_DB_DONE);
    assert_int_equal(bc_run(bc_db_prepare(db, "INSERT INTO words(text) VALUES('late words')")), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    bc_db_t *reader = bc_db_enter_read(db);
    bc_statement_t *find = bc_db_prepare(reader, "SELECT rowid FROM words WHERE words MATCH 'late'");
    assert_int_equal(bc_step(find), BC_DB_ROW);
    bc_statement_done(find);
    assert_int_equal(count_inside(reader), 1); /* prepared before the table was there */
    bc_db_leave(reader);
}

static void statements_of_a_reader_count_as_any(void **state) {
    (void)state;
    bc_db_count_reset();
    bc_db_t *reader = bc_db_enter_read(db);
    assert_int_equal(count_inside(reader), 1);
    assert_int_equal(count_inside(reader), 1);
    bc_db_leave(reader);
    assert_int_equal(bc_db_count(), 2);
}

/* --- what it may not --- */

static void a_write_through_a_reader_fails_and_sticks(void **state) {
    (void)state;
    bc_db_t *reader = bc_db_enter_read(db);
    assert_int_equal(put(reader, 2), BC_DB_FAILED);
    assert_false(bc_db_is_sound(reader));
    assert_null(bc_db_prepare(reader, "SELECT COUNT(*) FROM things"));
    bc_db_leave(reader);
    assert_int_equal(count(), 1); /* the next entry is sound */
    commit_one(2);
    assert_int_equal(count(), 2);
}

static void a_reader_can_not_checkpoint(void **state) {
    (void)state;
    commit_one(2);
    off_t file = size_of(""), log = size_of("-wal");
    assert_true(log > 0);
    bc_db_t *reader = bc_db_enter_read(db);
    bc_statement_t *statement = bc_db_prepare(reader, "PRAGMA wal_checkpoint(TRUNCATE)");
    (void)bc_step(statement); /* an error, or a row that says busy */
    bc_statement_done(statement);
    bc_db_leave(reader);
    assert_int_equal(size_of("-wal"), log);
    assert_int_equal(size_of(""), file);
}

static void the_writer_closes_last_and_leaves_no_log(void **state) {
    (void)state;
    commit_one(2);
    assert_true(size_of("-wal") > 0);
    bc_db_close(db);
    db = NULL;
    assert_int_equal(size_of("-wal"), -1);
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
    assert_int_equal(count(), 2);
}

/* --- waiting --- */

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int inside;
    int let_go; /* how many may leave, in the order of their numbers */
    int order[BC_DB_READERS_MAX + 3];
} queue_t;

typedef struct {
    queue_t *queue;
    int number;
} visitor_t;

static void *visit(void *argument) {
    const visitor_t *visitor = argument;
    queue_t *queue = visitor->queue;
    bc_db_t *reader = bc_db_enter_read(db);
    (void)pthread_mutex_lock(&queue->lock);
    queue->order[queue->inside++] = visitor->number;
    (void)pthread_cond_broadcast(&queue->changed);
    while (queue->let_go <= visitor->number) (void)pthread_cond_wait(&queue->changed, &queue->lock);
    (void)pthread_mutex_unlock(&queue->lock);
    bc_db_leave(reader);
    return NULL;
}

static void let_go(queue_t *queue, int count) {
    (void)pthread_mutex_lock(&queue->lock);
    queue->let_go = count;
    (void)pthread_cond_broadcast(&queue->changed);
    (void)pthread_mutex_unlock(&queue->lock);
}

static void await_inside(queue_t *queue, int inside) {
    (void)pthread_mutex_lock(&queue->lock);
    while (queue->inside < inside) (void)pthread_cond_wait(&queue->changed, &queue->lock);
    assert_int_equal(queue->inside, inside);
    (void)pthread_mutex_unlock(&queue->lock);
}

static void who_comes_when_all_are_taken_waits_in_order(void **state) {
    (void)state;
    enum { visitors = BC_DB_READERS_MAX + 3 };
    queue_t queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    visitor_t visitor[visitors];
    pthread_t thread[visitors];
    for (int i = 0; i < visitors; i++) {
        visitor[i] = (visitor_t){.queue = &queue, .number = i};
        assert_int_equal(pthread_create(&thread[i], NULL, visit, &visitor[i]), 0);
        if (i < BC_DB_READERS_MAX) {
            await_inside(&queue, i + 1);
        } else {
            while (bc_db_waiting(db) < i + 1 - BC_DB_READERS_MAX) (void)usleep(poll_us);
        }
    }
    await_inside(&queue, BC_DB_READERS_MAX);
    commit_one(2); /* readers who stay hold up no commit */
    for (int i = 1; i <= visitors; i++) {
        let_go(&queue, i);
        await_inside(&queue, i + BC_DB_READERS_MAX < visitors ? i + BC_DB_READERS_MAX : visitors);
    }
    for (int i = 0; i < visitors; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(queue.order[i], i);
    }
    assert_int_equal(bc_db_waiting(db), 0);
    assert_int_equal(count(), 2);
}

/* --- the log --- */

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int turn; /* whose is to leave and come again; the other stays inside meanwhile */
    bool over;
} relay_t;

typedef struct {
    relay_t *relay;
    int number;
} runner_t;

static void *run_relay(void *argument) {
    const runner_t *runner = argument;
    relay_t *relay = runner->relay;
    bool over = false;
    while (!over) {
        bc_db_t *reader = bc_db_enter_read(db);
        (void)count_inside(reader); /* takes its picture */
        (void)pthread_mutex_lock(&relay->lock);
        relay->turn = 1 - runner->number;
        (void)pthread_cond_broadcast(&relay->changed);
        while (relay->turn != runner->number && !relay->over) (void)pthread_cond_wait(&relay->changed, &relay->lock);
        over = relay->over;
        (void)pthread_mutex_unlock(&relay->lock);
        bc_db_leave(reader);
    }
    return NULL;
}

static void commit_bytes(int64_t id, const void *bytes, size_t length) {
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    bc_statement_t *statement = bc_db_prepare(db, "INSERT INTO things(id, bytes) VALUES(?, ?)");
    bc_bind_int(statement, 1, id);
    bc_bind_bytes(statement, 2, bytes, length);
    assert_int_equal(bc_run(statement), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
}

/* There is always somebody inside who has an older picture than the commit. */
static void the_log_begins_anew_though_somebody_always_reads(void **state) {
    (void)state;
    enum { piece = 2 << 20, pieces = 40, page = 4096 };
    relay_t relay = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    runner_t runners[2] = {{&relay, 0}, {&relay, 1}};
    pthread_t threads[2];
    char *bytes = calloc(1, piece);
    assert_non_null(bytes);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, run_relay, &runners[i]), 0);
    for (int64_t i = 0; i < pieces; i++) commit_bytes(2 + i, bytes, piece);
    (void)pthread_mutex_lock(&relay.lock);
    relay.over = true;
    (void)pthread_cond_broadcast(&relay.changed);
    (void)pthread_mutex_unlock(&relay.lock);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    free(bytes);
    /* The bound and two transactions: the one that reached it, and one more. */
    assert_true(size_of("-wal") < (off_t)(BC_DB_WAL_PAGES_MAX + 64) * (page + 24) + 2 * (off_t)piece);
    assert_true(size_of("") > (off_t)piece * (pieces / 2)); /* so it was moved */
    assert_int_equal(count(), pieces + 1);
}

static void a_reader_who_stays_holds_up_no_commit_for_long(void **state) {
    (void)state;
    enum { piece = 6 << 20 };
    char *bytes = calloc(1, piece);
    assert_non_null(bytes);
    bc_db_t *reader = bc_db_enter_read(db);
    assert_int_equal(count_inside(reader), 1);
    for (int64_t i = 0; i < 4; i++) commit_bytes(2 + i, bytes, piece); /* each gives up waiting for this very thread */
    assert_int_equal(count_inside(reader), 1);
    bc_db_leave(reader);
    assert_int_equal(count(), 5);
    free(bytes);
}

/* --- when it fails --- */

static void a_failed_commit_closes_the_readers_too(void **state) {
    (void)state;
    commit_one(2);
    bc_db_t *inside = bc_db_enter_read(db);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(put(db, 3), BC_DB_DONE);
    struct rlimit kept, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &kept), 0);
    tight = kept;
    tight.rlim_cur = 4096;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    bc_db_result_t result = bc_db_commit(db);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &kept), 0);
    assert_int_not_equal(result, BC_DB_OK);
    assert_int_equal(count_inside(inside), 2); /* what was durable before */
    bc_db_leave(inside);
    bc_db_t *reader = bc_db_enter_read(db);
    assert_false(bc_db_is_sound(reader));
    assert_null(bc_db_prepare(reader, "SELECT COUNT(*) FROM things"));
    bc_db_leave(reader);
    assert_int_equal(count(), -1);
    bc_db_close(db);
    db = NULL;
    assert_true(size_of("-wal") > 0); /* left for the successor: no reader has moved it */
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
    assert_int_equal(count(), 2);
}

static void a_failed_checkpoint_closes_the_database_behind_its_commit(void **state) {
    (void)state;
    enum { piece = 6 << 20 };
    char *bytes = calloc(1, piece);
    assert_non_null(bytes);
    set_sync(SYNC_FAILS_IN_FILE);
    commit_bytes(2, bytes, piece); /* is in the log, whose sync has not failed */
    set_sync(SYNC_AS_IS);
    assert_false(bc_db_is_open(db));
    assert_int_equal(bc_db_begin(db), BC_DB_CLOSED);
    assert_int_equal(count(), -1);
    reopen();
    assert_int_equal(count(), 2);
    free(bytes);
}

static void a_kill_with_readers_inside_loses_nothing(void **state) {
    (void)state;
    bc_db_close(db);
    db = NULL;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (bc_db_open(path, migrations, &db) != BC_DB_OK || bc_db_begin(db) != BC_DB_OK) _exit(1);
        if (put(db, 2) != BC_DB_DONE || bc_db_commit(db) != BC_DB_OK) _exit(1);
        bc_db_t *reader = bc_db_enter_read(db);
        if (count_inside(reader) != 2 || bc_db_begin(db) != BC_DB_OK || put(db, 3) != BC_DB_DONE) _exit(1);
        (void)raise(SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
    assert_int_equal(count(), 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_reader_sees_every_commit_that_returned_before),
        CASE(an_entry_is_one_picture),
        CASE(a_reader_waits_for_no_transaction),
        CASE(a_reader_waits_for_no_sync_and_sees_nothing_before_it),
        CASE(a_reader_sees_tables_that_were_made_later),
        CASE(statements_of_a_reader_count_as_any),
        CASE(a_write_through_a_reader_fails_and_sticks),
        CASE(a_reader_can_not_checkpoint),
        CASE(the_writer_closes_last_and_leaves_no_log),
        CASE(who_comes_when_all_are_taken_waits_in_order),
        CASE(the_log_begins_anew_though_somebody_always_reads),
        CASE(a_reader_who_stays_holds_up_no_commit_for_long),
        CASE(a_failed_commit_closes_the_readers_too),
        CASE(a_failed_checkpoint_closes_the_database_behind_its_commit),
        CASE(a_kill_with_readers_inside_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
