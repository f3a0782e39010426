/* What the store's unit tests share: sets with recognisable images, folders of their own. */
#ifndef STORE_TEST_H
#define STORE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/journal.h"

typedef struct {
    commit_set_t set;
    uint8_t image[64];
    cart_recent_id_t added;
} test_set_t;

static inline cart_id_t test_user(unsigned number) {
    cart_id_t id = {{'u', 's', 'e', 'r'}};
    memcpy(id.bytes + 8, &number, sizeof(number));
    return id;
}

/* Version below 128: one byte of varint. */
static inline void test_set(test_set_t *set, unsigned user, unsigned version, unsigned image_length) {
    *set = (test_set_t){.set = {.user = test_user(user),
                                .expected = {version > 1 ? 1 : 0, version - 1},
                                .image = set->image,
                                .image_length = image_length,
                                .added = &set->added,
                                .added_count = 1,
                                .base_version = 3},
                        .added = {.id = {(uint8_t)user, (uint8_t)version},
                                  .digest = user * 1000 + version,
                                  .at_s = 77,
                                  .keyed = version % 2 == 0}};
    for (unsigned i = 2; i < image_length; i++) set->image[i] = (uint8_t)(user + version + i);
    set->image[0] = 1;
    set->image[1] = (uint8_t)version;
}

/* Replays are kept as (user, version) in the order they came, their content checked. */
typedef struct {
    unsigned count;
    struct {
        unsigned user, version;
    } seen[4096];
} test_replay_t;

static inline void test_on_replay(void *context, const commit_set_t *set) {
    test_replay_t *replay = context;
    unsigned user;
    memcpy(&user, set->user.bytes + 8, sizeof(user));
    unsigned version = set->image[1];
    test_set_t expected;
    test_set(&expected, user, version, set->image_length);
    assert_memory_equal(set->image, expected.image, set->image_length);
    assert_int_equal(set->expected.version, version - 1);
    assert_int_equal(set->base_version, 3);
    assert_int_equal(set->added_count, 1);
    assert_memory_equal(set->added[0].id, expected.added.id, CART_REQUEST_BYTES);
    assert_int_equal(set->added[0].digest, expected.added.digest);
    assert_int_equal(set->added[0].at_s, 77);
    assert_int_equal(set->added[0].keyed, version % 2 == 0);
    assert_true(replay->count < sizeof(replay->seen) / sizeof(replay->seen[0]));
    replay->seen[replay->count].user = user;
    replay->seen[replay->count++].version = version;
}

static inline void test_folder(char path[64]) {
    (void)snprintf(path, 64, "/tmp/bookcart-store-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static inline void test_remove_folder(const char *path) {
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

#endif
