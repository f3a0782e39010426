#include "store_test.h"

#include <poll.h>

#include "engine/base_sqlite.h"
#include "engine/base_store.h"
#include "powercut/disk.h"

/* ---- an owner that counts ---------------------------------------------------------------------------------------- */

typedef struct {
    unsigned saved, forks, save_failed, rows, no_rows, load_failed, saved_calls, found, away, back;
    base_loaded_t last; /* its bytes are copied */
    uint8_t image[64], rings[64];
    cart_id_t found_users[BASE_PURGE_MAX];
    cart_place_t found_places[BASE_PURGE_MAX];
} owner_t;

static owner_t got;

static void on_saved(void *context, const cart_id_t *users, const cart_place_t *places,
                     const base_save_result_t *results, unsigned count) {
    owner_t *owner = context;
    (void)users;
    (void)places;
    owner->saved_calls++;
    for (unsigned i = 0; i < count; i++) {
        owner->saved += results[i] == BASE_SAVED;
        owner->forks += results[i] == BASE_FORK;
        owner->save_failed += results[i] == BASE_FAILED;
    }
}

static void on_loaded(void *context, const base_loaded_t *loaded, unsigned count) {
    owner_t *owner = context;
    for (unsigned i = 0; i < count; i++) {
        owner->rows += loaded[i].result == BASE_ROW;
        owner->no_rows += loaded[i].result == BASE_NO_ROW;
        owner->load_failed += loaded[i].result == BASE_LOAD_FAILED;
        owner->last = loaded[i];
        if (loaded[i].result == BASE_ROW && loaded[i].image_length <= 64 && loaded[i].rings_length <= 64) {
            memcpy(owner->image, loaded[i].image, loaded[i].image_length);
            memcpy(owner->rings, loaded[i].rings, loaded[i].rings_length);
        }
    }
}

static void on_purgeable(void *context, const cart_id_t *users, const cart_place_t *places, unsigned count) {
    owner_t *owner = context;
    memcpy(owner->found_users, users, count * sizeof(*users));
    memcpy(owner->found_places, places, count * sizeof(*places));
    owner->found = count;
}

static void on_log(void *context, int level, const char *event, const char *text) {
    owner_t *owner = context;
    (void)level;
    (void)text;
    owner->away += strcmp(event, "base_away") == 0;
    owner->back += strcmp(event, "base_back") == 0;
}

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static const cart_id_t journal_id = {{'j'}};
static char detail[200];

static base_sqlite_config_t on_disk(disk_t *disk) {
    disk_use_for_sqlite(disk);
    return (base_sqlite_config_t){
        .path = "/d/carts.db", .vfs = "disk", .synchronous_full = 1, .files = disk_files(disk), .checkpoint_pages = 8};
}

static void migrate(const base_sqlite_config_t *config) {
    unsigned applied = 99;
    assert_int_equal(base_sqlite_migrate(config, &applied, detail, sizeof(detail)), BASE_OPEN_OK);
}

static base_t *open_base(const base_sqlite_config_t *config) {
    base_t *base = NULL;
    uint64_t epoch, floor;
    base_open_t result = base_sqlite_open(config, &journal_id, 0, &epoch, &floor, &base, detail, sizeof(detail));
    if (result != BASE_OPEN_OK) print_message("%s\n", detail);
    assert_int_equal(result, BASE_OPEN_OK);
    got = (owner_t){0};
    base_owner_t owner = {
        .context = &got, .loaded = on_loaded, .saved = on_saved, .purgeable = on_purgeable, .log = on_log};
    base->set_owner(base->state, &owner);
    return base;
}

static void save(base_t *base, unsigned user, cart_place_t expected, cart_place_t place, bool empty) {
    static uint8_t image[8], rings[4];
    memset(image, (int)place.version, sizeof(image));
    memset(rings, (int)user, sizeof(rings));
    base_save_t one = {.user = test_user(user),
                       .expected = expected,
                       .place = place,
                       .changed_s = 1000 + user,
                       .empty = empty,
                       .image = image,
                       .image_length = 8,
                       .rings = rings,
                       .rings_length = user % 2 == 0 ? 4 : 0};
    got.saved = got.forks = got.save_failed = got.saved_calls = 0;
    assert_true(base->save(base->state, &one, 1));
    base->poll(base->state);
    assert_int_equal(got.saved_calls, 1);
}

static void load(base_t *base, unsigned user) {
    cart_id_t id = test_user(user);
    got.rows = got.no_rows = got.load_failed = 0;
    assert_true(base->load(base->state, &id, 1));
    base->poll(base->state);
    assert_int_equal(got.rows + got.no_rows + got.load_failed, 1);
}

static const cart_place_t nowhere = {0, 0};
static cart_place_t at(uint64_t epoch, uint64_t version) {
    return (cart_place_t){epoch, version};
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void migrates_once_and_refuses_what_it_does_not_know(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    base_sqlite_config_t config = on_disk(disk);
    base_t *base = NULL;
    uint64_t epoch, floor;
    unsigned applied = 99;
    assert_int_equal(base_sqlite_open(&config, &journal_id, 0, &epoch, &floor, &base, detail, sizeof(detail)),
                     BASE_OPEN_NOT_MIGRATED);
    assert_int_equal(base_sqlite_migrate(&config, &applied, detail, sizeof(detail)), BASE_OPEN_OK);
    assert_int_equal(applied, base_migrations_count);
    assert_int_equal(base_sqlite_migrate(&config, &applied, detail, sizeof(detail)), BASE_OPEN_OK);
    assert_int_equal(applied, 0);
    sqlite3 *db;
    assert_int_equal(sqlite3_open_v2("/d/carts.db", &db, SQLITE_OPEN_READWRITE, "disk"), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA user_version = 999", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(base_sqlite_migrate(&config, &applied, detail, sizeof(detail)), BASE_OPEN_NEWER);
    assert_int_equal(base_sqlite_open(&config, &journal_id, 0, &epoch, &floor, &base, detail, sizeof(detail)),
                     BASE_OPEN_NEWER);
    assert_null(base);
    disk_destroy(disk);
}

static void one_journal_owns_it_until_another_takes_over(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    base_sqlite_config_t config = on_disk(disk);
    migrate(&config);
    base_t *base = NULL, *second = NULL;
    uint64_t epoch = 0, floor = 9;
    cart_id_t other = {{'o'}};
    assert_int_equal(base_sqlite_open(&config, &journal_id, 0, &epoch, &floor, &base, detail, sizeof(detail)),
                     BASE_OPEN_OK);
    assert_int_equal(epoch, 1);
    assert_int_equal(floor, 0);
    assert_int_equal(base_sqlite_open(&config, &journal_id, 0, &epoch, &floor, &second, detail, sizeof(detail)),
                     BASE_OPEN_LOCKED);
    base->destroy(base->state);
    assert_int_equal(base_sqlite_open(&config, &other, 0, &epoch, &floor, &base, detail, sizeof(detail)),
                     BASE_OPEN_OTHER_OWNER);
    assert_int_equal(base_sqlite_open(&config, &other, 1, &epoch, &floor, &base, detail, sizeof(detail)), BASE_OPEN_OK);
    assert_int_equal(epoch, 2);
    base->destroy(base->state);
    assert_int_equal(base_sqlite_open(&config, &other, 1, &epoch, &floor, &base, detail, sizeof(detail)), BASE_OPEN_OK);
    assert_int_equal(epoch, 2); /* its own already */
    base->destroy(base->state);
    assert_int_equal(base_sqlite_open(&config, &journal_id, 0, &epoch, &floor, &base, detail, sizeof(detail)),
                     BASE_OPEN_OTHER_OWNER);
    disk_destroy(disk);
}

static void a_restored_base_is_in_a_new_epoch_for_its_own_journal(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    base_sqlite_config_t config = on_disk(disk);
    migrate(&config);
    assert_int_equal(base_sqlite_renew(&config, detail, sizeof(detail)),
                     BASE_OPEN_OK); /* nobody's yet: nothing to do */
    base_t *base = open_base(&config);
    uint64_t epoch = 0, floor = 0;
    save(base, 1, nowhere, at(1, 5), false);
    assert_int_equal(base_sqlite_renew(&config, detail, sizeof(detail)), BASE_OPEN_LOCKED);
    base->destroy(base->state);
    assert_int_equal(base_sqlite_renew(&config, detail, sizeof(detail)), BASE_OPEN_OK);
    assert_int_equal(base_sqlite_open(&config, &journal_id, 0, &epoch, &floor, &base, detail, sizeof(detail)),
                     BASE_OPEN_OK);
    assert_int_equal(epoch, 2);
    base->destroy(base->state);
    base = open_base(&config);
    save(base, 1, at(1, 5), at(2, 6), false); /* the row goes on from where it was */
    assert_int_equal(got.saved, 1);
    base->destroy(base->state);
    disk_destroy(disk);
}

static void a_save_is_guarded_by_the_row(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    base_sqlite_config_t config = on_disk(disk);
    migrate(&config);
    base_t *base = open_base(&config);
    load(base, 2);
    assert_int_equal(got.no_rows, 1);
    save(base, 2, nowhere, at(1, 3), false);
    assert_int_equal(got.saved, 1);
    save(base, 2, nowhere, at(1, 3), false); /* already its own */
    assert_int_equal(got.saved, 1);
    save(base, 2, nowhere, at(1, 4), false); /* there is a row */
    assert_int_equal(got.forks, 1);
    save(base, 2, at(1, 2), at(1, 5), false); /* not the row that the saver knew */
    assert_int_equal(got.forks, 1);
    save(base, 2, at(1, 3), at(1, 7), false);
    assert_int_equal(got.saved, 1);
    save(base, 2, at(1, 3), at(1, 7), false); /* said again after a lost answer */
    assert_int_equal(got.saved, 1);
    save(base, 2, at(2, 7), at(2, 8), false); /* another epoch */
    assert_int_equal(got.forks, 1);
    save(base, 5, at(1, 3), at(1, 4), false); /* the row that the saver knew is gone */
    assert_int_equal(got.forks, 1);
    load(base, 2);
    assert_int_equal(got.rows, 1);
    assert_int_equal(got.last.place.version, 7);
    assert_int_equal(got.last.image_length, 8);
    assert_int_equal(got.last.rings_length, 4);
    for (unsigned i = 0; i < 8; i++) assert_int_equal(got.image[i], 7);
    load(base, 5);
    assert_int_equal(got.no_rows, 1);
    save(base, 7, nowhere, at(1, 1), false);
    load(base, 7);
    assert_int_equal(got.last.rings_length, 0);
    base->destroy(base->state);
    base = open_base(&config);
    load(base, 2);
    assert_int_equal(got.last.place.version, 7);
    base->destroy(base->state);
    disk_destroy(disk);
}

static void deleting_raises_the_floor_with_it(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    base_sqlite_config_t config = on_disk(disk);
    migrate(&config);
    base_t *base = open_base(&config);
    save(base, 1, nowhere, at(1, 41), true);
    save(base, 2, nowhere, at(1, 90), false); /* has lines */
    save(base, 3, nowhere, at(1, 12), true);
    save(base, 4, nowhere, at(1, 70), true); /* changed too late: 1004 */
    assert_true(base->find_purgeable(base->state, 1004, 100));
    base->poll(base->state);
    assert_int_equal(got.found, 2);
    base_status_t status;
    save(base, 3, at(1, 12), at(1, 13), false); /* it changed since */
    assert_true(base->purge(base->state, got.found_users, got.found_places, 2));
    base->status(base->state, &status);
    assert_int_equal(status.floor, 41);
    load(base, 1);
    assert_int_equal(got.no_rows, 1);
    load(base, 3);
    assert_int_equal(got.rows, 1);
    base->destroy(base->state);
    uint64_t epoch, floor = 0;
    assert_int_equal(base_sqlite_open(&config, &journal_id, 0, &epoch, &floor, &base, detail, sizeof(detail)),
                     BASE_OPEN_OK);
    assert_int_equal(floor, 41);
    base->destroy(base->state);
    disk_destroy(disk);
}

static void a_failed_commit_or_checkpoint_closes_it_until_it_is_reopened(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    base_sqlite_config_t config = on_disk(disk);
    migrate(&config);
    base_t *base = open_base(&config);
    base_status_t status;
    save(base, 2, nowhere, at(1, 1), false);
    disk_fail_syncs(disk, 1, 1);
    save(base, 2, at(1, 1), at(1, 2), false);
    assert_int_equal(got.save_failed, 1);
    base->status(base->state, &status);
    assert_true(status.away);
    assert_int_equal(got.away, 1);
    load(base, 2); /* never an empty cart */
    assert_int_equal(got.load_failed, 1);
    save(base, 2, at(1, 1), at(1, 2), false);
    assert_int_equal(got.save_failed, 1);
    disk_fail_syncs(disk, 0, 0);
    base->poll(base->state);
    assert_int_equal(got.back, 1);
    save(base, 2, at(1, 1), at(1, 2), false); /* the same again */
    assert_int_equal(got.saved, 1);
    /* Until a checkpoint is due and fails: the save before it was good, the base goes away all the same. */
    unsigned version = 2;
    unsigned aways = got.away;
    for (unsigned i = 0; i < 200 && got.away == aways; i++) {
        disk_fail_syncs(disk, 3, i);
        save(base, 2, at(1, version), at(1, version + 1), false);
        disk_fail_syncs(disk, 0, 0);
        if (got.saved == 1) version++;
        base->poll(base->state);
    }
    assert_true(got.away > aways);
    base->poll(base->state);
    base->status(base->state, &status);
    assert_false(status.away);
    load(base, 2);
    assert_true(got.last.place.version == version || got.last.place.version == version + 1);
    base->destroy(base->state);
    disk_destroy(disk);
}

static void a_full_disk_fails_saves_and_loses_nothing(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    base_sqlite_config_t config = on_disk(disk);
    config.checkpoint_pages = 1000;
    migrate(&config);
    base_t *base = open_base(&config);
    save(base, 2, nowhere, at(1, 1), false);
    disk_set_room(disk, 1);
    unsigned version = 1;
    do {
        save(base, 2, at(1, version), at(1, version + 1), false);
        version += got.saved;
    } while (got.saved == 1);
    assert_int_equal(got.save_failed, 1);
    disk_set_room(disk, 0);
    base->poll(base->state);
    load(base, 2);
    assert_int_equal(got.last.place.version, version);
    save(base, 2, at(1, version), at(1, version + 1), false);
    assert_int_equal(got.saved, 1);
    base->destroy(base->state);
    disk_destroy(disk);
}

/* ---- with its thread, on a real disk ----------------------------------------------------------------------------- */

static void await(base_t *base, const unsigned *what, unsigned count) {
    struct pollfd event = {.fd = base->fd(base->state), .events = POLLIN};
    while (*what < count) {
        assert_int_equal(poll(&event, 1, 30000), 1);
        base->poll(base->state);
    }
}

static void serves_loads_beside_a_large_save(void **state) {
    (void)state;
    char folder[64], path[96];
    test_folder(folder);
    (void)snprintf(path, sizeof(path), "%s/carts.db", folder);
    base_sqlite_config_t config = {.path = path, .vfs = "unix", .synchronous_full = 1, .threaded = 1};
    migrate(&config);
    base_t *base = open_base(&config);
    static base_save_t saves[BASE_BATCH_MAX];
    static uint8_t image[40];
    cart_id_t users[BASE_BATCH_MAX];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < BASE_BATCH_MAX; i++) {
            users[i] = test_user(i);
            saves[i] = (base_save_t){.user = users[i],
                                     .expected = {round > 0, round},
                                     .place = {1, round + 1},
                                     .image = image,
                                     .image_length = 40};
        }
        got = (owner_t){0};
        assert_true(base->save(base->state, saves, BASE_BATCH_MAX));
        assert_true(base->load(base->state, users, BASE_BATCH_MAX));
        await(base, &got.saved, BASE_BATCH_MAX);
        assert_int_equal(got.saved_calls, 1);
        while (got.rows + got.no_rows < BASE_BATCH_MAX) { /* in the first round some rows are there already, some not */
            struct pollfd event = {.fd = base->fd(base->state), .events = POLLIN};
            assert_int_equal(poll(&event, 1, 30000), 1);
            base->poll(base->state);
        }
        assert_int_equal(got.load_failed, 0);
    }
    /* The queue has an end, and says so. */
    unsigned taken = 0;
    while (base->load(base->state, users, BASE_BATCH_MAX)) {
        taken++;
        if (taken == 1000) break;
    }
    got.rows = 0;
    await(base, &got.rows, taken * BASE_BATCH_MAX < 4096 ? taken * BASE_BATCH_MAX : 4096);
    base_status_t status;
    base->status(base->state, &status);
    assert_int_equal(status.rows_saved, 3 * BASE_BATCH_MAX);
    assert_false(status.away);
    base->destroy(base->state);
    test_remove_folder(folder);
}

static void under_a_hold_the_file_stays_as_it_is(void **state) {
    (void)state;
    char folder[64], path[96];
    test_folder(folder);
    (void)snprintf(path, sizeof(path), "%s/carts.db", folder);
    base_sqlite_config_t config = {.path = path, .vfs = "unix", .synchronous_full = 1, .threaded = 1};
    migrate(&config);
    base_t *base = open_base(&config);
    static uint8_t image[40];
    base_save_t one = {.user = test_user(1), .place = {1, 1}, .image = image, .image_length = 40};
    struct pollfd event = {.fd = base->fd(base->state), .events = POLLIN};
    base->hold(base->state, 60000);
    assert_true(base->save(base->state, &one, 1));
    assert_int_equal(poll(&event, 1, 100), 0);
    base->hold(base->state, 0);
    await(base, &got.saved, 1);
    one.expected = one.place;
    one.place.version = 2;
    base->hold(base->state, 100); /* and ends by itself */
    assert_true(base->save(base->state, &one, 1));
    await(base, &got.saved, 2);
    base->hold(base->state, 60000);
    base->destroy(base->state); /* a stop does not wait for it */
    test_remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(migrates_once_and_refuses_what_it_does_not_know),
        cmocka_unit_test(one_journal_owns_it_until_another_takes_over),
        cmocka_unit_test(a_restored_base_is_in_a_new_epoch_for_its_own_journal),
        cmocka_unit_test(under_a_hold_the_file_stays_as_it_is),
        cmocka_unit_test(a_save_is_guarded_by_the_row),
        cmocka_unit_test(deleting_raises_the_floor_with_it),
        cmocka_unit_test(a_failed_commit_or_checkpoint_closes_it_until_it_is_reopened),
        cmocka_unit_test(a_full_disk_fails_saves_and_loses_nothing),
        cmocka_unit_test(serves_loads_beside_a_large_save),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
