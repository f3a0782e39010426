#include "seeded.h"

#include "cart/cart_table.h"

#define BYTES (1024 * 1024)
#define EXTRA 16

static cart_table_t *fresh(size_t bytes, size_t extra, void **memory) {
    *memory = seeded_map(bytes);
    memset(*memory, 0xa5, bytes);
    cart_table_t *table = cart_table_init(*memory, bytes, extra, 100, seeded_u64());
    assert_non_null(table);
    return table;
}

static void is_refused_too_little_memory(void **state) {
    (void)state;
    void *memory = seeded_map(CART_ARENA_BYTES_MIN);
    assert_null(cart_table_init(memory, CART_ARENA_BYTES_MIN, EXTRA, 100, 1));
    assert_int_equal(munmap(memory, CART_ARENA_BYTES_MIN), 0);
}

static void an_insert_or_image_that_fails_leaves_no_trace(void **state) {
    (void)state;
    void *memory;
    cart_table_t *table = fresh(BYTES, EXTRA, &memory);
    cart_id_t user = seeded_id();
    cart_arena_fail_after(cart_table_arena(table), 0);
    assert_null(cart_table_insert(table, &user));
    assert_null(cart_table_find(table, &user));
    assert_int_equal(cart_table_count(table), 0);
    assert_true(cart_table_check(table));

    cart_entry_t *entry = cart_table_insert(table, &user);
    assert_true(cart_table_set_image(table, entry, (const uint8_t *)"short", 5));
    uint8_t longer[200] = {0};
    cart_arena_fail_after(cart_table_arena(table), 0);
    assert_false(cart_table_set_image(table, entry, longer, sizeof(longer)));
    assert_int_equal(entry->image_length, 5);
    assert_memory_equal(cart_table_image(table, entry), "short", 5);
    assert_true(cart_table_set_image(table, entry, NULL, 0));
    assert_null(cart_table_image(table, entry));
    assert_true(cart_table_check(table));
    assert_int_equal(munmap(memory, BYTES), 0);
}

/* DESIGN section 10 counts the zone's bytes for each seat of five lines; this is where they go. */
static void a_seat_of_five_lines_takes_about_a_hundred_bytes(void **state) {
    (void)state;
    const size_t bytes = 64 * 1024 * 1024;
    void *memory;
    cart_table_t *table = fresh(bytes, EXTRA, &memory);
    static const uint8_t image[28];
    cart_arena_usage_t usage;
    cart_arena_usage(cart_table_arena(table), &usage);
    for (;;) {
        cart_id_t user = seeded_id();
        cart_entry_t *entry = cart_table_insert(table, &user);
        if (entry == NULL || !cart_table_set_image(table, entry, image, sizeof(image))) break;
    }
    size_t each = bytes / cart_table_count(table);
    printf("%zu bytes a seat, everything counted, full to the last page\n", each);
    assert_true(each <= 102);
    assert_int_equal(munmap(memory, bytes), 0);
}

static void emptying_makes_everything_free_again(void **state) {
    (void)state;
    void *memory;
    cart_table_t *table = fresh(BYTES, EXTRA, &memory);
    for (unsigned round = 0; round < 3; round++) {
        unsigned count = 0;
        cart_id_t user = seeded_id();
        while (cart_table_insert(table, &user) != NULL) {
            user = seeded_id();
            count++;
        }
        assert_true(count > BYTES / 80);
        (void)cart_table_hand(table, CART_HAND_CLEAR);
        cart_table_empty(table);
        assert_int_equal(cart_table_count(table), 0);
        assert_null(cart_table_hand(table, CART_HAND_CLEAR));
        assert_null(cart_table_find(table, &user));
        assert_true(cart_table_check(table));
    }
    assert_int_equal(munmap(memory, BYTES), 0);
}

static void a_hand_goes_round_oldest_first_and_survives_what_it_stands_on(void **state) {
    (void)state;
    void *memory;
    cart_table_t *table = fresh(BYTES, EXTRA, &memory);
    cart_entry_t *entries[4];
    for (unsigned i = 0; i < 4; i++) {
        cart_id_t user = seeded_id();
        entries[i] = cart_table_insert(table, &user);
    }
    for (unsigned i = 0; i < 6; i++) assert_ptr_equal(cart_table_hand(table, CART_HAND_CLEAR), entries[i % 4]);
    cart_table_remove(table, entries[2]); /* under the hand */
    assert_ptr_equal(cart_table_hand(table, CART_HAND_CLEAR), entries[3]);
    assert_ptr_equal(cart_table_hand(table, CART_HAND_TTL), entries[0]);
    cart_table_refresh(table, entries[1]); /* under the other hand */
    assert_ptr_equal(cart_table_hand(table, CART_HAND_TTL), entries[3]);
    assert_ptr_equal(cart_table_hand(table, CART_HAND_TTL), entries[1]);
    assert_true(cart_table_check(table));
    assert_int_equal(munmap(memory, BYTES), 0);
}

/* ---- against a reference ------------------------------------------------------------------------------------------- */

#define USERS 3000
typedef struct {
    cart_id_t user;
    bool is_in;
    uint64_t rank; /* in the list: greater is newer */
    uint8_t pattern;
    uint16_t image_length;
    uint32_t block_length;
} model_t;
static model_t model[USERS];

typedef struct {
    cart_ref_t block;
    uint32_t block_length;
    uint64_t mark;
} extra_t;
_Static_assert(sizeof(extra_t) == EXTRA, "as the table was told");

static void assert_same(cart_table_t *table, const model_t *user) {
    cart_entry_t *entry = cart_table_find(table, &user->user);
    if (!user->is_in) {
        assert_null(entry);
        return;
    }
    assert_non_null(entry);
    assert_true(cart_id_equal(&entry->user, &user->user));
    assert_int_equal(entry->image_length, user->image_length);
    const uint8_t *image = cart_table_image(table, entry);
    assert_int_equal(image != NULL, user->image_length > 0);
    for (unsigned i = 0; image != NULL && i < user->image_length; i++) assert_int_equal(image[i], user->pattern);
    const extra_t *extra = cart_entry_extra(entry);
    assert_int_equal(extra->block_length, user->block_length);
    const uint8_t *block = cart_arena_at(cart_table_arena(table), extra->block);
    for (unsigned i = 0; i < user->block_length; i++) assert_int_equal(block[i], user->pattern ^ 0xff);
}

static void remove_user(cart_table_t *table, model_t *user) {
    cart_entry_t *entry = cart_table_find(table, &user->user);
    extra_t *extra = cart_entry_extra(entry);
    assert_true(cart_table_replace(table, &extra->block, &extra->block_length, NULL, 0));
    cart_table_remove(table, entry);
    user->is_in = false;
    user->image_length = 0;
    user->block_length = 0;
}

static void assert_order(cart_table_t *table) {
    uint64_t rank = 0;
    uint32_t count = 0;
    for (cart_entry_t *entry = cart_table_older_first(table, NULL); entry != NULL;
         entry = cart_table_older_first(table, entry)) {
        const extra_t *extra = cart_entry_extra(entry);
        const model_t *user = &model[extra->mark];
        assert_true(cart_id_equal(&user->user, &entry->user));
        assert_true(user->is_in && user->rank > rank);
        rank = user->rank;
        count++;
    }
    assert_int_equal(count, cart_table_count(table));
}

static void equals_a_reference_under_random_load(void **state) {
    (void)state;
    seeded_start(__func__);
    void *memory;
    cart_table_t *table = fresh(400 * 1024, EXTRA, &memory);
    memset(model, 0, sizeof(model));
    for (unsigned i = 0; i < USERS; i++) model[i].user = seeded_id();
    uint64_t rank = 0;
    unsigned failures = 0;
    uint8_t bytes[1024];
    unsigned long rounds = seeded_rounds(600000);
    for (unsigned long round = 0; round < rounds; round++) {
        unsigned number = seeded_below(USERS);
        model_t *user = &model[number];
        if (seeded_chance(50)) cart_arena_fail_after(cart_table_arena(table), seeded_below(3));
        cart_entry_t *entry = cart_table_find(table, &user->user);
        assert_int_equal(entry != NULL, user->is_in);
        if (entry == NULL) {
            entry = cart_table_insert(table, &user->user);
            if (entry == NULL) {
                failures++;
                continue;
            }
            *user = (model_t){.user = user->user, .is_in = true, .rank = ++rank};
            ((extra_t *)cart_entry_extra(entry))->mark = number;
        }
        extra_t *extra = cart_entry_extra(entry);
        uint32_t length = seeded_chance(20) ? seeded_below(sizeof(bytes)) : seeded_below(60);
        uint8_t pattern = (uint8_t)seeded_u64();
        switch (seeded_below(7)) {
        case 0:
            remove_user(table, user);
            break;
        case 1:
            cart_table_refresh(table, entry);
            user->rank = ++rank;
            break;
        case 2:
            (void)cart_table_hand(table, (cart_hand_t)seeded_below(CART_HANDS));
            break;
        case 3:
            (void)cart_table_tidy_image(table, entry);
            break;
        case 4:
            (void)cart_table_tidy_entry(table, entry); /* either way it is found again by its user */
            break;
        default:
            /* Both blocks with one pattern, or none: the second failing leaves the first as it was. */
            memset(bytes, pattern ^ 0xff, length);
            cart_ref_t fresh_block = CART_NO_REF;
            uint32_t fresh_length = 0;
            if (!cart_table_replace(table, &fresh_block, &fresh_length, bytes, length)) {
                failures++;
                break;
            }
            memset(bytes, pattern, length);
            if (!cart_table_set_image(table, entry, bytes, length)) {
                assert_true(cart_table_replace(table, &fresh_block, &fresh_length, NULL, 0));
                failures++;
                break;
            }
            assert_true(cart_table_replace(table, &extra->block, &extra->block_length, NULL, 0));
            extra->block = fresh_block;
            extra->block_length = fresh_length;
            user->pattern = pattern;
            user->image_length = (uint16_t)length;
            user->block_length = length;
        }
        assert_same(table, user);
        if (round % 5000 == 0) {
            assert_true(cart_table_check(table));
            assert_order(table);
            for (unsigned i = 0; i < USERS; i++) assert_same(table, &model[i]);
        }
    }
    for (unsigned i = 0; i < USERS; i++) {
        if (model[i].is_in) remove_user(table, &model[i]);
    }
    cart_arena_usage_t usage;
    cart_arena_usage(cart_table_arena(table), &usage);
    assert_int_equal(usage.used_bytes, 0);
    assert_true(cart_table_check(table));
    printf("%u operations found no room\n", failures);
    assert_int_equal(munmap(memory, 400 * 1024), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_refused_too_little_memory),
        cmocka_unit_test(an_insert_or_image_that_fails_leaves_no_trace),
        cmocka_unit_test(a_seat_of_five_lines_takes_about_a_hundred_bytes),
        cmocka_unit_test(emptying_makes_everything_free_again),
        cmocka_unit_test(a_hand_goes_round_oldest_first_and_survives_what_it_stands_on),
        cmocka_unit_test(equals_a_reference_under_random_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
