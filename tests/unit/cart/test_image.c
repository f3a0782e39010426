#include "seeded.h"

#include "cart/cart_image.h"

static void packs_byte_by_byte_as_the_header_says(void **state) {
    (void)state;
    cart_image_t image = {.place = {1, 300}, .base_version = 299, .state = CART_SEALED, .line_count = 2};
    image.lines[0] = (cart_line_t){7, 2};
    image.lines[1] = (cart_line_t){CART_BOOK_MAX, 99};
    uint8_t bytes[CART_IMAGE_PACKED_MAX];
    size_t length = cart_image_pack(&image, bytes, sizeof(bytes));
    static const uint8_t expected[] = {1,    0xac, 2,    1,    2 << 2 | 1, 7,    2,    0xff,
                                       0xff, 0xff, 0xff, 0xff, 0xff,       0xff, 0x0f, 99};
    assert_int_equal(length, sizeof(expected));
    assert_memory_equal(bytes, expected, length);
    assert_int_equal(cart_image_packed_size(&image), length);
}

static void five_lines_take_at_most_thirty_bytes(void **state) {
    (void)state;
    cart_image_t image = {.place = {1, 1000000}, .base_version = 999990, .line_count = 5};
    for (unsigned i = 0; i < 5; i++) image.lines[i] = (cart_line_t){9000 + i, 3};
    assert_true(cart_image_packed_size(&image) <= 30);
}

static void the_largest_image_fits_into_the_named_maximum(void **state) {
    (void)state;
    cart_image_t image = {.place = {UINT64_MAX, UINT64_MAX}, .state = CART_CLOSED, .line_count = CART_LINES_MAX};
    for (unsigned i = 0; i < CART_LINES_MAX; i++) image.lines[i] = (cart_line_t){CART_BOOK_MAX - i, 99};
    uint8_t bytes[CART_IMAGE_PACKED_MAX];
    size_t length = cart_image_pack(&image, bytes, sizeof(bytes));
    assert_int_equal(length, CART_IMAGE_PACKED_MAX);
    cart_image_t back;
    assert_true(cart_image_unpack(bytes, length, &back));
    assert_images_equal(&image, &back);
}

static void a_capacity_too_small_is_told_and_not_passed(void **state) {
    (void)state;
    cart_image_t image = {.place = {1, 1}, .line_count = 1};
    image.lines[0] = (cart_line_t){7, 2};
    uint8_t bytes[16];
    memset(bytes, 0xee, sizeof(bytes));
    size_t length = cart_image_packed_size(&image);
    for (size_t capacity = 0; capacity < length; capacity++) {
        assert_int_equal(cart_image_pack(&image, bytes, capacity), 0);
        assert_int_equal(bytes[0], 0xee);
    }
    assert_int_equal(cart_image_pack(&image, bytes, length), length);
    assert_int_equal(bytes[length], 0xee);
}

static void refuses(const char *why, const uint8_t *bytes, size_t length) {
    cart_image_t image;
    if (cart_image_unpack(bytes, length, &image)) fail_msg("accepted: %s", why);
}

static void refuses_what_is_not_a_valid_image(void **state) {
    (void)state;
#define REFUSES(why, ...) refuses(why, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
    cart_image_t image;
    assert_true(cart_image_unpack((const uint8_t[]){1, 1, 0, 4, 7, 1}, 6, &image));
    REFUSES("epoch 0", 0, 1, 0, 4, 7, 1);
    REFUSES("a term above the version", 1, 1, 2, 4, 7, 1);
    REFUSES("a state unknown", 1, 1, 0, 7, 7, 1);
    REFUSES("book 0", 1, 1, 0, 4, 0, 1);
    REFUSES("a book of 2^53", 1, 1, 0, 4, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 1);
    REFUSES("quantity 0", 1, 1, 0, 4, 7, 0);
    REFUSES("quantity 100", 1, 1, 0, 4, 7, 100);
    REFUSES("a book twice", 1, 1, 0, 8, 7, 1, 7, 2);
    REFUSES("something left over", 1, 1, 0, 4, 7, 1, 0);
    REFUSES("a longer form", 0x81, 0x00, 1, 0, 4, 7, 1);
    REFUSES("more than 64 bits", 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 1, 0, 4, 7, 1);
    REFUSES("11 bytes", 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 1, 1, 0, 0);
    REFUSES("101 lines", 1, 1, 0, 0x94, 3);
    refuses("nothing", (const uint8_t *)"", 0);
#undef REFUSES
}

static void round_trips_and_survives_every_truncation_and_bit_flip(void **state) {
    (void)state;
    seeded_start(__func__);
    seeded_guard_t guard = seeded_guard(CART_IMAGE_PACKED_MAX);
    unsigned long rounds = seeded_rounds(5000);
    for (unsigned long round = 0; round < rounds; round++) {
        cart_image_t image;
        cart_image_t back;
        seeded_image(&image, seeded_chance(20) ? CART_LINES_MAX : 8);
        uint8_t bytes[CART_IMAGE_PACKED_MAX];
        size_t length = cart_image_pack(&image, bytes, sizeof(bytes));
        assert_int_equal(length, cart_image_packed_size(&image));
        assert_true(cart_image_check(&image));

        uint8_t *at = guard.end - length;
        memcpy(at, bytes, length);
        assert_true(cart_image_unpack(at, length, &back));
        assert_images_equal(&image, &back);
        assert_true(cart_image_unpack_trusted(at, length, &back));
        assert_images_equal(&image, &back);
        for (size_t cut = 0; cut < length; cut++) {
            memcpy(guard.end - cut, bytes, cut);
            assert_false(cart_image_unpack(guard.end - cut, cut, &back));
            assert_false(cart_image_unpack_trusted(guard.end - cut, cut, &back));
        }
        memcpy(at, bytes, length);
        for (unsigned flip = 0; flip < 64; flip++) {
            unsigned bit = seeded_below((uint32_t)length * 8);
            at[bit / 8] ^= (uint8_t)(1U << bit % 8);
            (void)cart_image_unpack_trusted(at, length, &back); /* any answer; it must stay within bounds */
            if (cart_image_unpack(at, length, &back)) {
                /* Still an image, then: of exactly these bytes. */
                uint8_t again[CART_IMAGE_PACKED_MAX];
                assert_true(cart_image_check(&back));
                assert_int_equal(cart_image_pack(&back, again, sizeof(again)), length);
                assert_memory_equal(again, at, length);
            }
            if (seeded_chance(2)) at[bit / 8] = bytes[bit / 8];
        }
    }
    seeded_unguard(&guard);
}

static void merge_keeps_the_greater_quantity_and_counts_what_has_no_room(void **state) {
    (void)state;
    cart_image_t mine = {.place = {2, 5}, .base_version = 4, .line_count = 2};
    cart_image_t theirs = {.place = {1, 9}, .base_version = 9, .line_count = 3};
    mine.lines[0] = (cart_line_t){1, 5};
    mine.lines[1] = (cart_line_t){2, 1};
    theirs.lines[0] = (cart_line_t){3, 7};
    theirs.lines[1] = (cart_line_t){2, 4};
    theirs.lines[2] = (cart_line_t){1, 1};
    cart_image_t merged;
    unsigned dropped = 99;
    cart_image_merge(&mine, &theirs, &merged, &dropped);
    cart_image_t expected = {.place = {2, 5}, .base_version = 4, .line_count = 3};
    expected.lines[0] = (cart_line_t){1, 5};
    expected.lines[1] = (cart_line_t){2, 4};
    expected.lines[2] = (cart_line_t){3, 7};
    assert_images_equal(&merged, &expected);
    assert_int_equal(dropped, 0);

    mine.line_count = CART_LINES_MAX;
    for (unsigned i = 0; i < CART_LINES_MAX; i++) mine.lines[i] = (cart_line_t){100 + i, 1};
    cart_image_merge(&mine, &theirs, &merged, &dropped);
    assert_int_equal(merged.line_count, CART_LINES_MAX);
    assert_int_equal(dropped, 3);
}

static void a_merge_loses_no_line_that_has_room(void **state) {
    (void)state;
    seeded_start(__func__);
    for (unsigned long round = seeded_rounds(20000); round > 0; round--) {
        cart_image_t mine;
        cart_image_t theirs;
        cart_image_t merged;
        unsigned dropped = 0;
        seeded_image(&mine, CART_LINES_MAX);
        seeded_image(&theirs, CART_LINES_MAX);
        if (mine.line_count > 0 && theirs.line_count > 0) theirs.lines[0].book = mine.lines[mine.line_count / 2].book;
        if (!cart_image_check(&theirs)) continue; /* that book was in it already */
        cart_image_merge(&mine, &theirs, &merged, &dropped);
        assert_true(cart_image_check(&merged));
        unsigned missing = 0;
        for (unsigned i = 0; i < theirs.line_count; i++) {
            unsigned j = 0;
            while (j < merged.line_count && merged.lines[j].book != theirs.lines[i].book) j++;
            if (j == merged.line_count)
                missing++;
            else
                assert_true(merged.lines[j].quantity >= theirs.lines[i].quantity);
        }
        for (unsigned i = 0; i < mine.line_count; i++) {
            assert_int_equal(merged.lines[i].book, mine.lines[i].book);
            assert_true(merged.lines[i].quantity >= mine.lines[i].quantity);
        }
        assert_int_equal(missing, dropped);
        assert_true(dropped == 0 || merged.line_count == CART_LINES_MAX);
        assert_true(cart_place_compare(merged.place, mine.place) >= 0);
        assert_true(cart_place_compare(merged.place, theirs.place) >= 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_byte_by_byte_as_the_header_says),
        cmocka_unit_test(five_lines_take_at_most_thirty_bytes),
        cmocka_unit_test(the_largest_image_fits_into_the_named_maximum),
        cmocka_unit_test(a_capacity_too_small_is_told_and_not_passed),
        cmocka_unit_test(refuses_what_is_not_a_valid_image),
        cmocka_unit_test(round_trips_and_survives_every_truncation_and_bit_flip),
        cmocka_unit_test(merge_keeps_the_greater_quantity_and_counts_what_has_no_room),
        cmocka_unit_test(a_merge_loses_no_line_that_has_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
