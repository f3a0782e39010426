#include "store_test.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>

/* ---- real files, and syncs that fail on demand ------------------------------------------------------------------- */

static atomic_int syncs_fail;
static files_t files;

static int sync_or_fail(void *context, int file) {
    return atomic_load(&syncs_fail) ? -EIO : files_posix()->sync_data(context, file);
}

/* ---- an owner that counts ---------------------------------------------------------------------------------------- */

static unsigned results[5], confirmed, recovered, failed;

static void on_committed(void *context, const commit_result_t *each, const commit_loaded_t *newer, unsigned count) {
    (void)context;
    assert_null(newer);
    for (unsigned i = 0; i < count; i++) results[each[i]]++;
}

static void on_loaded(void *context, const commit_loaded_t *loaded, unsigned count) {
    (void)context;
    for (unsigned i = 0; i < count; i++) confirmed += loaded[i].result == COMMIT_LOAD_CONFIRMED;
}

static void on_log(void *context, int level, const char *event, const char *text) {
    (void)context;
    (void)level;
    (void)text;
    failed += strcmp(event, "journal_failed") == 0;
    recovered += strcmp(event, "journal_recovered") == 0;
}

typedef struct {
    char folder[64], path[96];
    commit_point_t *point;
    test_replay_t replay;
} fixture_t;

static void open_point(fixture_t *fixture) {
    journal_config_t config = {.folder = fixture->path, .segment_bytes = 64 << 10, .limit_bytes = 256 << 10};
    journal_t *journal;
    cart_id_t id;
    char detail[200];
    fixture->replay.count = 0;
    assert_int_equal(
        journal_open(&files, &config, 0, 0, test_on_replay, &fixture->replay, &journal, &id, detail, sizeof(detail)),
        JOURNAL_OK);
    assert_false(cart_id_is_none(&id));
    fixture->point = journal_commit_point_create(journal);
    assert_non_null(fixture->point);
    assert_false(fixture->point->shared);
    commit_point_owner_t owner = {.committed = on_committed, .loaded = on_loaded, .log = on_log};
    fixture->point->set_owner(fixture->point->state, &owner);
    memset(results, 0, sizeof(results));
    confirmed = recovered = failed = 0;
}

static int set_up(void **state) {
    fixture_t *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    files = *files_posix();
    files.sync_data = sync_or_fail;
    atomic_store(&syncs_fail, 0);
    test_folder(fixture->folder);
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/journal", fixture->folder);
    open_point(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    fixture_t *fixture = *state;
    fixture->point->destroy(fixture->point->state);
    test_remove_folder(fixture->folder);
    free(fixture);
    return 0;
}

static void await(fixture_t *fixture, const unsigned *what, unsigned count) {
    struct pollfd event = {.fd = fixture->point->fd(fixture->point->state), .events = POLLIN};
    while (*what < count) {
        assert_int_equal(poll(&event, 1, 30000), 1);
        fixture->point->poll(fixture->point->state, 5);
    }
}

static test_set_t made[64];
static commit_set_t sets[64];

static void make_sets(unsigned count, unsigned version) {
    for (unsigned i = 0; i < count; i++) {
        test_set(&made[i], i, version, 60);
        sets[i] = made[i].set;
    }
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void a_commit_is_done_when_it_is_on_disk(void **state) {
    fixture_t *fixture = *state;
    for (unsigned version = 1; version <= 20; version++) {
        make_sets(10, version);
        assert_true(fixture->point->commit(fixture->point->state, sets, 10, version));
        await(fixture, &results[COMMIT_DONE], version * 10);
    }
    fixture->point->destroy(fixture->point->state);
    open_point(fixture);
    assert_int_equal(fixture->replay.count, 200);
}

static void one_commit_at_a_time(void **state) {
    fixture_t *fixture = *state;
    make_sets(1, 1);
    assert_true(fixture->point->commit(fixture->point->state, sets, 1, 1));
    assert_false(
        fixture->point->commit(fixture->point->state, sets, 1, 1)); /* undelivered, whether or not it is done */
    await(fixture, &results[COMMIT_DONE], 1);
    make_sets(1, 2);
    assert_true(fixture->point->commit(fixture->point->state, sets, 1, 1));
    await(fixture, &results[COMMIT_DONE], 2);
}

static void after_unknown_a_load_tells_what_is_stored(void **state) {
    fixture_t *fixture = *state;
    commit_point_t *point = fixture->point;
    make_sets(4, 1);
    assert_true(point->commit(point->state, sets, 4, 1));
    await(fixture, &results[COMMIT_DONE], 4);
    atomic_store(&syncs_fail, 1);
    make_sets(4, 2);
    assert_true(point->commit(point->state, sets, 4, 1));
    await(fixture, &results[COMMIT_UNKNOWN], 4);
    commit_room_t room;
    point->room(point->state, &room, 1);
    assert_false(room.accepts);
    assert_false(point->commit(point->state, sets, 4, 1));
    cart_id_t users[4] = {test_user(0), test_user(1), test_user(2), test_user(3)};
    assert_true(point->load(point->state, users, 4, 1));
    await(fixture, &failed, 1);
    point->poll(point->state, 2);
    assert_int_equal(confirmed, 0); /* not while the disk fails */
    atomic_store(&syncs_fail, 0);
    await(fixture, &confirmed, 4);
    assert_int_equal(recovered, 1);
    make_sets(4, 3);
    assert_true(point->commit(point->state, sets, 4, 1));
    await(fixture, &results[COMMIT_DONE], 8);
    point->destroy(point->state);
    open_point(fixture);
    assert_int_equal(fixture->replay.count, 8);
    for (unsigned i = 0; i < 8; i++) assert_int_equal(fixture->replay.seen[i].version, i < 4 ? 1 : 3);
}

static void a_healthy_journal_confirms_at_once_and_bounds_its_queue(void **state) {
    fixture_t *fixture = *state;
    commit_point_t *point = fixture->point;
    static cart_id_t users[COMMIT_SETS_MAX];
    unsigned taken = 0;
    while (point->load(point->state, users, COMMIT_SETS_MAX, 1)) taken += COMMIT_SETS_MAX;
    assert_true(taken >= 65536);
    await(fixture, &confirmed, taken);
    assert_true(point->load(point->state, users, 1, 1));
    await(fixture, &confirmed, taken + 1);
}

static void refuses_without_room_and_accepts_after_forgetting(void **state) {
    fixture_t *fixture = *state;
    commit_point_t *point = fixture->point;
    unsigned version = 0;
    while (results[COMMIT_REFUSED] == 0) {
        unsigned before = results[COMMIT_DONE];
        make_sets(64, 1 + version % 100);
        assert_true(point->commit(point->state, sets, 64, 1));
        while (results[COMMIT_DONE] == before && results[COMMIT_REFUSED] == 0) {
            struct pollfd event = {.fd = point->fd(point->state), .events = POLLIN};
            assert_int_equal(poll(&event, 1, 30000), 1);
            point->poll(point->state, 1);
        }
        version++;
    }
    assert_int_equal(results[COMMIT_REFUSED], 64);
    commit_room_t room;
    point->room(point->state, &room, 1);
    assert_false(room.accepts);
    assert_true(room.bytes_used <= room.bytes_limit);
    commit_forget_t carts[64];
    for (unsigned i = 0; i < 64; i++) carts[i] = (commit_forget_t){test_user(i), {1, 127}};
    point->forget(point->state, carts, 64);
    /* The thread takes it up; what is refused meanwhile is asked again, as the engine does. */
    unsigned done = results[COMMIT_DONE];
    while (results[COMMIT_DONE] == done) {
        unsigned before = results[COMMIT_REFUSED];
        make_sets(64, 100);
        if (point->commit(point->state, sets, 64, 1)) {
            while (results[COMMIT_DONE] == done && results[COMMIT_REFUSED] == before) point->poll(point->state, 1);
        }
    }
    point->room(point->state, &room, 1);
    assert_true(room.bytes_used < room.bytes_limit / 2);
}

static void under_a_hold_nothing_is_written(void **state) {
    fixture_t *fixture = *state;
    commit_point_t *point = fixture->point;
    struct pollfd event = {.fd = point->fd(point->state), .events = POLLIN};
    make_sets(4, 1);
    assert_true(point->commit(point->state, sets, 4, 1));
    await(fixture, &results[COMMIT_DONE], 4);
    point->hold(point->state, 60000);
    point->hold(point->state, 60000); /* again extends */
    make_sets(4, 2);
    assert_true(point->commit(point->state, sets, 4, 1));
    assert_int_equal(poll(&event, 1, 100), 0);
    point->hold(point->state, 0);
    point->hold(point->state, 0); /* nothing to let go any more */
    await(fixture, &results[COMMIT_DONE], 8);
    point->hold(point->state, 100); /* and ends by itself */
    make_sets(4, 3);
    assert_true(point->commit(point->state, sets, 4, 1));
    await(fixture, &results[COMMIT_DONE], 12);
    point->hold(point->state, 60000);
    point->destroy(point->state); /* a stop does not wait for it */
    open_point(fixture);
    assert_int_equal(fixture->replay.count, 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_commit_is_done_when_it_is_on_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_commit_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_unknown_a_load_tells_what_is_stored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_healthy_journal_confirms_at_once_and_bounds_its_queue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_without_room_and_accepts_after_forgetting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(under_a_hold_nothing_is_written, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
