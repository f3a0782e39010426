#include "store_test.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/journal_crc.h"
#include "engine/journal_internal.h"
#include "powercut/disk.h"

static const journal_config_t config = {
    .folder = "/d/journal", .segment_bytes = 64 << 10, .limit_bytes = 512 << 10, .id_if_new = {{1, 2, 3}}};

/* ---- allocations that fail: linked with --wrap ------------------------------------------------------------------- */

static long fail_allocation = -1; /* countdown; −1: none */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size) {
    return fail_allocation >= 0 && fail_allocation-- == 0 ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
    return fail_allocation >= 0 && fail_allocation-- == 0 ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
    return fail_allocation >= 0 && fail_allocation-- == 0 ? NULL : __real_realloc(old, size);
}

/* ---- calls that fail --------------------------------------------------------------------------------------------- */

static long fail_call = -1;
static int fail_errno;
static const files_t *under;
static int fails(void) {
    return fail_call >= 0 && fail_call-- == 0;
}
#define FAILING(result, name, parameters, arguments)                                                                   \
    static result x_##name parameters {                                                                                \
        (void)context;                                                                                                 \
        return fails() ? -fail_errno : under->name arguments;                                                          \
    }
FAILING(int, open, (void *context, const char *path, int create, int exclusive),
        (under->context, path, create, exclusive))
FAILING(int64_t, pread, (void *context, int file, void *bytes, size_t length, uint64_t offset),
        (under->context, file, bytes, length, offset))
FAILING(int64_t, pwrite, (void *context, int file, const void *bytes, size_t length, uint64_t offset),
        (under->context, file, bytes, length, offset))
FAILING(int64_t, size, (void *context, int file), (under->context, file))
FAILING(int, truncate, (void *context, int file, uint64_t size), (under->context, file, size))
FAILING(int, allocate, (void *context, int file, uint64_t size), (under->context, file, size))
FAILING(int, sync_data, (void *context, int file), (under->context, file))
FAILING(int, sync_all, (void *context, int file), (under->context, file))
FAILING(int, sync_folder, (void *context, const char *folder), (under->context, folder))
FAILING(int, rename, (void *context, const char *from, const char *to), (under->context, from, to))
FAILING(int, unlink, (void *context, const char *path), (under->context, path))
FAILING(int, make_folder, (void *context, const char *path), (under->context, path))
FAILING(int, list, (void *context, const char *folder, void (*each)(void *argument, const char *name), void *argument),
        (under->context, folder, each, argument))
FAILING(int, lock, (void *context, const char *path, int wait), (under->context, path, wait))
static int x_close(void *context, int file) {
    (void)context;
    return under->close(under->context, file);
}
static const files_t failing = {.open = x_open,
                                .close = x_close,
                                .pread = x_pread,
                                .pwrite = x_pwrite,
                                .size = x_size,
                                .truncate = x_truncate,
                                .allocate = x_allocate,
                                .sync_data = x_sync_data,
                                .sync_all = x_sync_all,
                                .sync_folder = x_sync_folder,
                                .rename = x_rename,
                                .unlink = x_unlink,
                                .make_folder = x_make_folder,
                                .list = x_list,
                                .lock = x_lock};

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static char detail[200];
static test_replay_t replay;

static journal_result_t open_on(const files_t *files, journal_t **journal) {
    cart_id_t id;
    replay.count = 0;
    return journal_open(files, &config, 0, 1000, test_on_replay, &replay, journal, &id, detail, sizeof(detail));
}

static journal_t *opened(disk_t *disk) {
    journal_t *journal = NULL;
    journal_result_t result = open_on(disk_files(disk), &journal);
    if (result != JOURNAL_OK) print_message("%s\n", detail);
    assert_int_equal(result, JOURNAL_OK);
    return journal;
}

static journal_result_t commit(journal_t *journal, unsigned first_user, unsigned count, unsigned version) {
    static test_set_t made[64];
    commit_set_t sets[64];
    assert_true(count <= 64);
    for (unsigned i = 0; i < count; i++) {
        test_set(&made[i], first_user + i, version, 20 + (first_user + i) % 30);
        sets[i] = made[i].set;
    }
    return journal_commit(journal, sets, count, 2000);
}

static void forget(journal_t *journal, unsigned first_user, unsigned count, unsigned version) {
    for (unsigned i = 0; i < count; i++) {
        commit_forget_t cart = {test_user(first_user + i), {1, version}};
        journal_forget(journal, &cart, 1, 3000);
    }
}

static void segment_path(uint64_t number, char path[64]) {
    (void)snprintf(path, 64, "/d/journal/%016llx.journal", (unsigned long long)number);
}

/* A file of the simulated disk, whole. */
static uint8_t *contents(disk_t *disk, const char *path, size_t *length) {
    int inode = disk_open_path(disk, path, 0, 0);
    assert_true(inode >= 0);
    *length = disk_size(disk, inode);
    uint8_t *bytes = malloc(*length);
    assert_non_null(bytes);
    assert_int_equal(disk_read(disk, inode, bytes, *length, 0), *length);
    return bytes;
}

static disk_t *disk_with(const uint8_t *bytes, size_t length, uint64_t number) {
    char path[64];
    disk_t *disk = disk_create();
    segment_path(number, path);
    assert_int_equal(disk_files(disk)->make_folder(disk, "/d/journal"), 0);
    int inode = disk_open_path(disk, path, 1, 1);
    assert_int_equal(disk_write(disk, inode, bytes, length, 0), length);
    return disk;
}

/* ---- format ------------------------------------------------------------------------------------------------------ */

static void sums_are_the_same_by_table_and_by_instruction(void **state) {
    (void)state;
    uint8_t bytes[300];
    assert_int_equal(journal_crc32c(0, "123456789", 9), 0xe3069283u); /* the check value of CRC-32C */
    for (unsigned i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t)(i * 7 + 3);
    for (unsigned at = 0; at < 9; at++) {
        for (unsigned length = 0; length + at <= sizeof(bytes); length++) {
            assert_int_equal(journal_crc32c(5, bytes + at, length), journal_crc32c_by_table(5, bytes + at, length));
        }
    }
}

/* `length` bytes that end where reading on is a fault. */
static uint8_t *guarded(size_t length, void **map) {
    size_t pages = (length + 4095) / 4096 * 4096 + 4096;
    *map = mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(*map != MAP_FAILED);
    assert_int_equal(mprotect((char *)*map + pages - 4096, 4096, PROT_NONE), 0);
    return (uint8_t *)*map + pages - 4096 - length;
}

static void decodes_every_truncation_and_flip_within_bounds(void **state) {
    (void)state;
    test_set_t made[3];
    commit_set_t sets[3];
    for (unsigned i = 0; i < 3; i++) {
        test_set(&made[i], i, 1, 20 + i);
        sets[i] = made[i].set;
    }
    size_t size = journal_batch_size(sets, 3);
    cart_id_t id = {{9}};
    journal_where_t where = {.id = &id, .number = 4, .offset = 4096};
    void *map;
    uint8_t *bytes = guarded(size, &map);
    journal_batch_t batch;
    journal_batch_encode(sets, 3, &where, 8, bytes, size);
    assert_true(journal_batch_decode(bytes, size, &where, &batch));
    assert_int_equal(batch.count, 3);
    for (size_t length = 0; length < size; length++) {
        void *cut_map;
        uint8_t *cut = guarded(length, &cut_map);
        memcpy(cut, bytes, length);
        assert_false(journal_batch_decode(cut, length, &where, &batch));
        (void)munmap(cut_map, (length + 4095) / 4096 * 4096 + 4096);
    }
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(journal_batch_decode(bytes, size, &where, &batch));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    (void)munmap(map, 8192);
}

static void bytes_verify_only_where_they_were_written(void **state) {
    (void)state;
    test_set_t made;
    test_set(&made, 1, 1, 20);
    uint8_t bytes[512];
    cart_id_t id = {{9}};
    cart_id_t other_id = {{8}};
    journal_where_t where = {.id = &id, .number = 4, .offset = 4096};
    journal_where_t other_offset = {.id = &id, .number = 4, .offset = 4104};
    journal_where_t other_number = {.id = &id, .number = 5, .offset = 4096};
    journal_where_t other_journal = {.id = &other_id, .number = 4, .offset = 4096};
    size_t size = journal_batch_size(&made.set, 1);
    journal_batch_encode(&made.set, 1, &where, 8, bytes, size);
    journal_batch_t batch;
    assert_true(journal_batch_decode(bytes, size, &where, &batch));
    assert_false(journal_batch_decode(bytes, size, &other_offset, &batch));
    assert_false(journal_batch_decode(bytes, size, &other_number, &batch));
    assert_false(journal_batch_decode(bytes, size, &other_journal, &batch));
    journal_batch_move(bytes, &other_number, 9);
    assert_true(journal_batch_decode(bytes, size, &other_number, &batch));
    assert_int_equal(batch.sequence, 9);
}

static void refuses_sets_that_are_out_of_range(void **state) {
    (void)state;
    test_set_t made;
    test_set(&made, 1, 1, 20);
    made.set.image_length = JOURNAL_IMAGE_MAX + 1;
    assert_int_equal(journal_batch_size(&made.set, 1), 0);
    test_set(&made, 1, 1, 20);
    made.set.added_count = JOURNAL_ADDED_MAX + 1;
    assert_int_equal(journal_batch_size(&made.set, 1), 0);
    disk_t *disk = disk_create();
    journal_t *journal = opened(disk);
    assert_int_equal(journal_commit(journal, &made.set, 1, 0), JOURNAL_FULL);
    assert_int_equal(commit(journal, 1, 1, 1), JOURNAL_OK);
    journal_close(journal);
    disk_destroy(disk);
}

static void a_map_equals_a_naive_one(void **state) {
    (void)state;
    const char *text = getenv("BOOKCART_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 1;
    print_message("BOOKCART_SEED=%llu\n", (unsigned long long)seed);
    static uint64_t naive[500];
    journal_map_t map = {0};
    size_t count = 0;
    memset(naive, 0, sizeof(naive));
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t word = disk_random(&seed);
        unsigned user = (unsigned)(word % 500);
        uint64_t version = 1 + (word >> 16) % 50;
        cart_id_t id = test_user(user);
        if ((word >> 40) % 2 == 0) {
            assert_true(journal_map_reserve(&map, 1));
            journal_map_put(&map, &id, (cart_place_t){1, version});
            if (naive[user] == 0) count++;
            if (version > naive[user]) naive[user] = version;
        } else {
            bool gone = journal_map_forget(&map, &id, (cart_place_t){1, version});
            assert_int_equal(gone, naive[user] != 0 && naive[user] <= version);
            if (gone) {
                naive[user] = 0;
                count--;
            }
        }
        assert_int_equal(map.count, count);
    }
    journal_map_deinit(&map);
}

/* ---- the journal ------------------------------------------------------------------------------------------------- */

static void replays_in_order_what_was_committed(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    journal_t *journal = opened(disk);
    assert_int_equal(replay.count, 0);
    for (unsigned version = 1; version <= 100; version++) assert_int_equal(commit(journal, 0, 20, version), JOURNAL_OK);
    commit_room_t room;
    journal_room(journal, &room, 2500);
    assert_true(room.segments >= 3);
    assert_int_equal(room.oldest_age_ms, 500);
    assert_int_equal(room.records, 2000);
    assert_true(room.accepts);
    journal_close(journal);
    for (unsigned again = 0; again < 3; again++) {
        journal = opened(disk);
        assert_int_equal(replay.count, 2000);
        for (unsigned i = 0; i < 2000; i++) {
            assert_int_equal(replay.seen[i].version, i / 20 + 1);
            assert_int_equal(replay.seen[i].user, i % 20);
        }
        journal_close(journal);
    }
    disk_destroy(disk);
}

static void has_one_owner(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    journal_t *journal = opened(disk);
    journal_t *other = NULL;
    assert_int_equal(open_on(disk_files(disk), &other), JOURNAL_LOCKED);
    assert_null(other);
    journal_close(journal);
    journal = opened(disk);
    journal_close(journal);
    disk_destroy(disk);
}

static void refuses_at_its_limit_until_carts_are_forgotten(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    journal_t *journal = opened(disk);
    unsigned version = 1;
    journal_result_t result = JOURNAL_OK;
    for (; version < 128 && result == JOURNAL_OK; version++) {
        for (unsigned user = 0; user < 640 && result == JOURNAL_OK; user += 64)
            result = commit(journal, user, 64, version);
    }
    assert_int_equal(result, JOURNAL_FULL);
    commit_room_t room;
    journal_room(journal, &room, 0);
    assert_true(room.bytes_used <= room.bytes_limit);
    assert_false(room.accepts);
    uint64_t records = room.records;
    assert_int_equal(commit(journal, 0, 64, 127), JOURNAL_FULL);
    assert_false(journal_has_failed(journal));
    journal_close(journal);
    journal = opened(disk);
    assert_int_equal(replay.count, records);
    forget(journal, 0, 640, 127);
    journal_room(journal, &room, 0);
    assert_true(room.accepts);
    assert_int_equal(room.oldest_age_ms, 0);
    assert_int_equal(commit(journal, 0, 64, 127), JOURNAL_OK);
    journal_close(journal);
    journal = opened(disk);
    assert_true(replay.count >= 64 && replay.count < records);
    journal_close(journal);
    disk_destroy(disk);
}

static void a_segment_stays_until_its_last_version_is_forgotten(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    journal_t *journal = opened(disk);
    commit_room_t room;
    assert_int_equal(commit(journal, 0, 2, 1), JOURNAL_OK);
    assert_int_equal(commit(journal, 0, 1, 2), JOURNAL_OK);
    do {
        assert_int_equal(commit(journal, 100, 64, 1), JOURNAL_OK);
        journal_room(journal, &room, 0);
    } while (room.segments < 3);
    forget(journal, 100, 64, 1);
    forget(journal, 1, 1, 1);
    forget(journal, 0, 1, 1); /* not the last: 2 is there too */
    journal_room(journal, &room, 0);
    assert_int_equal(room.segments, 3);
    forget(journal, 0, 1, 2);
    journal_room(journal, &room, 0);
    assert_int_equal(room.segments, 1);
    journal_close(journal);
    disk_destroy(disk);
}

static void a_full_disk_refuses_and_changes_nothing(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    journal_t *journal = opened(disk);
    disk_set_room(disk, 1);
    unsigned done = 0;
    while (commit(journal, 0, 64, 1 + done % 100) == JOURNAL_OK) done++;
    assert_true(done > 1);
    assert_false(journal_prepare(journal));
    assert_int_equal(commit(journal, 0, 64, 120), JOURNAL_FULL);
    assert_false(journal_has_failed(journal));
    commit_room_t room;
    journal_room(journal, &room, 0);
    assert_false(room.accepts);
    disk_set_room(disk, 0);
    assert_int_equal(commit(journal, 0, 64, 121), JOURNAL_OK);
    journal_close(journal);
    journal = opened(disk);
    assert_int_equal(replay.count, (done + 1) * 64);
    journal_close(journal);
    disk_destroy(disk);
}

static void starts_on_a_disk_that_is_nearly_full(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    journal_config_t large = config;
    large.segment_bytes = 1 << 20;
    large.limit_bytes = 8 << 20;
    cart_id_t id;
    journal_t *journal;
    assert_int_equal(journal_open(disk_files(disk), &large, 0, 0, NULL, NULL, &journal, &id, detail, sizeof(detail)),
                     JOURNAL_OK);
    assert_int_equal(commit(journal, 0, 64, 1), JOURNAL_OK);
    while (journal_prepare(journal)) {
    }
    journal_close(journal);
    /* Two segments' worth are taken, the spare among them; 100 KiB are free. */
    disk_set_room(disk, (1 << 20) + (100 << 10));
    replay.count = 0;
    assert_int_equal(
        journal_open(disk_files(disk), &large, 0, 0, test_on_replay, &replay, &journal, &id, detail, sizeof(detail)),
        JOURNAL_OK);
    assert_int_equal(replay.count, 64);
    assert_int_equal(commit(journal, 0, 64, 2), JOURNAL_OK);
    journal_close(journal);
    disk_destroy(disk);
}

/* After a failed sync nothing is accepted, and what was written then never counts. */
static void recovers_without_what_a_failed_sync_had_written(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    journal_t *journal = opened(disk);
    assert_int_equal(commit(journal, 0, 5, 1), JOURNAL_OK);
    disk_fail_syncs(disk, 1, 1);
    assert_int_equal(commit(journal, 0, 5, 2), JOURNAL_FAILED);
    assert_true(journal_has_failed(journal));
    assert_int_equal(commit(journal, 5, 5, 1), JOURNAL_FAILED);
    for (unsigned i = 0; i < 3; i++) assert_int_not_equal(journal_recover(journal, 0), JOURNAL_OK);
    disk_fail_syncs(disk, 0, 0);
    assert_int_equal(journal_recover(journal, 0), JOURNAL_OK);
    assert_int_equal(commit(journal, 0, 5, 3), JOURNAL_OK);
    journal_close(journal);
    journal = opened(disk);
    assert_int_equal(replay.count, 10);
    for (unsigned i = 0; i < 10; i++) assert_int_equal(replay.seen[i].version, i < 5 ? 1 : 3);
    journal_close(journal);
    disk_destroy(disk);
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

/* A journal of one segment with batches of 1, 2 and 3 records; where each begins. */
static uint8_t *three_batches(size_t *length, size_t starts[4]) {
    disk_t *disk = disk_create();
    journal_t *journal = opened(disk);
    char path[64];
    starts[0] = JOURNAL_HEADER_BYTES;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(commit(journal, i * 10, i + 1, 1), JOURNAL_OK);
        starts[i + 1] = journal_newest(journal)->length;
    }
    journal_close(journal);
    segment_path(1, path);
    uint8_t *bytes = contents(disk, path, length);
    disk_destroy(disk);
    return bytes;
}

static void every_truncation_of_the_newest_segment(void **state) {
    (void)state;
    size_t length, starts[4];
    uint8_t *bytes = three_batches(&length, starts);
    for (size_t cut = 0; cut <= starts[3] + 16; cut += cut + 64 < JOURNAL_HEADER_BYTES ? 61 : 1) {
        disk_t *disk = disk_with(bytes, cut, 1);
        journal_t *journal = NULL;
        journal_result_t result = open_on(disk_files(disk), &journal);
        unsigned expected = cut >= starts[3] ? 6 : cut >= starts[2] ? 3 : cut >= starts[1] ? 1 : 0;
        assert_int_equal(result, cut < JOURNAL_HEADER_BYTES ? JOURNAL_DAMAGED : JOURNAL_OK);
        if (result == JOURNAL_OK) {
            assert_int_equal(replay.count, expected);
            journal_close(journal);
        }
        disk_destroy(disk);
    }
    free(bytes);
}

static void every_byte_flipped_in_the_newest_segment(void **state) {
    (void)state;
    size_t length, starts[4];
    uint8_t *bytes = three_batches(&length, starts);
    for (size_t at = 0; at < starts[3] + 40; at += at + 64 < JOURNAL_HEADER_BYTES ? 37 : 1) {
        bytes[at] ^= (uint8_t)(1 << at % 8);
        disk_t *disk = disk_with(bytes, starts[3] + 4096, 1);
        journal_t *journal = NULL;
        journal_result_t result = open_on(disk_files(disk), &journal);
        if (at < starts[2])
            assert_int_equal(result, JOURNAL_DAMAGED); /* a valid batch follows */
        else
            assert_int_equal(result, JOURNAL_OK); /* the last batch, or the zeros behind it: a torn tail */
        if (result == JOURNAL_OK) {
            assert_int_equal(replay.count, at < starts[3] ? 3 : 6);
            journal_close(journal);
        }
        disk_destroy(disk);
        bytes[at] ^= (uint8_t)(1 << at % 8);
    }
    free(bytes);
}

static void damage_or_loss_of_an_older_segment_is_refused(void **state) {
    (void)state;
    disk_t *disk = disk_create();
    journal_t *journal = opened(disk);
    for (unsigned version = 1; version <= 60; version++) assert_int_equal(commit(journal, 0, 30, version), JOURNAL_OK);
    assert_true(journal_newest(journal)->number >= 3);
    size_t end = journal->segments[0].length;
    journal_close(journal);
    char path[64];
    segment_path(1, path);
    size_t length;
    uint8_t *bytes = contents(disk, path, &length);
    int inode = disk_open_path(disk, path, 0, 0);
    for (size_t at = 0; at < end; at += 997) {
        uint8_t flipped = bytes[at] ^ 16;
        assert_int_equal(disk_write(disk, inode, &flipped, 1, at), 1);
        assert_int_equal(open_on(disk_files(disk), &journal), JOURNAL_DAMAGED);
        assert_int_equal(disk_write(disk, inode, bytes + at, 1, at), 1);
    }
    assert_int_equal(disk_resize(disk, inode, end - 8), 0);
    assert_int_equal(open_on(disk_files(disk), &journal), JOURNAL_DAMAGED);
    assert_int_equal(disk_unlink(disk, path), 0);
    assert_int_equal(open_on(disk_files(disk), &journal), JOURNAL_DAMAGED);
    assert_non_null(strstr(detail, "missing"));
    free(bytes);
    disk_destroy(disk);
}

static void a_newer_format_is_refused_by_name(void **state) {
    (void)state;
    size_t length, starts[4];
    uint8_t *bytes = three_batches(&length, starts);
    bytes[8] = 2;
    uint32_t crc = journal_crc32c(0, bytes, JOURNAL_HEADER_BYTES - 4);
    memcpy(bytes + JOURNAL_HEADER_BYTES - 4, &crc, 4);
    disk_t *disk = disk_with(bytes, length, 1);
    journal_t *journal;
    assert_int_equal(open_on(disk_files(disk), &journal), JOURNAL_DAMAGED);
    assert_non_null(strstr(detail, "newer"));
    disk_destroy(disk);
    free(bytes);
}

/* ---- every call fails once --------------------------------------------------------------------------------------- */

/* Opens, commits across segments, forgets, recovers where it must. acked[user] is the newest version that was confirmed.
 * Returns 0 when it came to its end. */
static int work_through(const files_t *files, unsigned acked[10]) {
    journal_t *journal = NULL;
    if (open_on(files, &journal) != JOURNAL_OK) return -1;
    for (unsigned i = 0; i < replay.count; i++) acked[replay.seen[i].user / 4] = replay.seen[i].version;
    for (unsigned round = 1; round <= 30; round++) {
        for (unsigned group = 0; group < 10; group++) {
            journal_result_t result = commit(journal, group * 4, 4, acked[group] + 1);
            if (result == JOURNAL_OK) acked[group]++;
            for (unsigned i = 0; i < 10 && journal_has_failed(journal); i++) (void)journal_recover(journal, 0);
            assert_false(journal_has_failed(journal));
        }
        if (round % 4 == 0) (void)journal_prepare(journal);
        if (round == 25) forget(journal, 0, 36, 5);
    }
    journal_close(journal);
    return 0;
}

static void check_acked(disk_t *disk, const unsigned acked[10]) {
    journal_t *journal = opened(disk);
    unsigned newest[40] = {0};
    for (unsigned i = 0; i < replay.count; i++) {
        assert_true(replay.seen[i].version > newest[replay.seen[i].user]);
        newest[replay.seen[i].user] = replay.seen[i].version;
    }
    for (unsigned user = 0; user < 40; user++) assert_int_equal(newest[user], acked[user / 4]);
    journal_close(journal);
}

static void any_call_may_fail(void **state) {
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    for (unsigned e = 0; e < 2; e++) {
        fail_errno = errors[e];
        for (long n = 0;; n++) {
            disk_t *disk = disk_create();
            unsigned acked[10] = {0};
            under = disk_files(disk);
            fail_call = n;
            int result = work_through(&failing, acked);
            bool clean = fail_call >= 0;
            fail_call = -1;
            assert_true(result == 0 || !clean);
            disk_kill_process(disk);
            if (result != 0) { /* the start failed: the next one does not */
                disk_kill_process(disk);
                assert_int_equal(work_through(&failing, acked), 0);
            }
            check_acked(disk, acked);
            disk_destroy(disk);
            if (clean) {
                print_message("%s: %ld calls\n", strerror(errors[e]), n);
                break;
            }
        }
    }
}

static void any_allocation_may_fail(void **state) {
    (void)state;
    char folder[64], path[96];
    journal_config_t here = config;
    for (long n = 0;; n++) {
        test_folder(folder);
        (void)snprintf(path, sizeof(path), "%s/journal", folder);
        here.folder = path;
        cart_id_t id;
        journal_t *journal = NULL;
        replay.count = 0;
        fail_allocation = n;
        journal_result_t result =
            journal_open(files_posix(), &here, 0, 0, test_on_replay, &replay, &journal, &id, detail, sizeof(detail));
        unsigned acked = 0;
        for (unsigned version = 1; result == JOURNAL_OK && version <= 40; version++) {
            journal_result_t committed = commit(journal, version * 64, 64, 1);
            assert_true(committed == JOURNAL_OK || committed == JOURNAL_NO_MEMORY);
            if (committed == JOURNAL_OK) acked += 64;
        }
        bool clean = fail_allocation >= 0;
        fail_allocation = -1;
        if (result == JOURNAL_OK)
            journal_close(journal);
        else
            assert_int_equal(result, JOURNAL_NO_MEMORY);
        /* and the same while it starts */
        for (long k = 0; k < 12; k++) {
            replay.count = 0;
            fail_allocation = k;
            result = journal_open(files_posix(), &here, 0, 0, test_on_replay, &replay, &journal, &id, detail,
                                  sizeof(detail));
            fail_allocation = -1;
            if (result != JOURNAL_OK) continue;
            assert_int_equal(replay.count, acked);
            journal_close(journal);
        }
        test_remove_folder(folder);
        if (clean) break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_the_same_by_table_and_by_instruction),
        cmocka_unit_test(decodes_every_truncation_and_flip_within_bounds),
        cmocka_unit_test(bytes_verify_only_where_they_were_written),
        cmocka_unit_test(refuses_sets_that_are_out_of_range),
        cmocka_unit_test(a_map_equals_a_naive_one),
        cmocka_unit_test(replays_in_order_what_was_committed),
        cmocka_unit_test(has_one_owner),
        cmocka_unit_test(refuses_at_its_limit_until_carts_are_forgotten),
        cmocka_unit_test(a_segment_stays_until_its_last_version_is_forgotten),
        cmocka_unit_test(a_full_disk_refuses_and_changes_nothing),
        cmocka_unit_test(starts_on_a_disk_that_is_nearly_full),
        cmocka_unit_test(recovers_without_what_a_failed_sync_had_written),
        cmocka_unit_test(every_truncation_of_the_newest_segment),
        cmocka_unit_test(every_byte_flipped_in_the_newest_segment),
        cmocka_unit_test(damage_or_loss_of_an_older_segment_is_refused),
        cmocka_unit_test(a_newer_format_is_refused_by_name),
        cmocka_unit_test(any_call_may_fail),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
