/* Entity tags: one spelling, strong and weak comparison, lists. And what identifies a change. */
#include "unit/edge/edge_test.h"

#include "edge/edge_etag.h"
#include "edge/edge_request.h"

static const edge_etag_t shown = {.place = {3, 41}, .digest = UINT64_C(0x0123456789abcdef)};
#define TAG "\"3-41-0123456789abcdef\""

static edge_match_t match(const char *list, bool weak) {
    guard_t guard;
    guard_open(&guard, 16384);
    edge_match_t result = edge_etag_match(guard_put(&guard, list, strlen(list)), strlen(list), &shown, weak);
    guard_close(&guard);
    return result;
}

static void test_one_spelling(void **state) {
    (void)state;
    char text[EDGE_ETAG_BYTES_MAX];
    assert_int_equal(edge_etag_format(&shown, text), sizeof(TAG) - 1);
    assert_memory_equal(text, TAG, sizeof(TAG) - 1);
    edge_etag_t greatest = {{UINT64_MAX, UINT64_MAX}, UINT64_MAX, UINT64_MAX};
    assert_int_equal(edge_etag_format(&greatest, text), EDGE_ETAG_BYTES_MAX);
    assert_int_equal(edge_etag_match(text, EDGE_ETAG_BYTES_MAX, &greatest, true), EDGE_MATCH_YES);
}

static void test_strong_and_weak(void **state) {
    (void)state;
    static const struct {
        const char *list;
        edge_match_t strong, weak;
    } lists[] = {
        {TAG, EDGE_MATCH_YES, EDGE_MATCH_YES},
        {"W/" TAG, EDGE_MATCH_NO, EDGE_MATCH_YES},
        {"*", EDGE_MATCH_ANY, EDGE_MATCH_ANY},
        {" * ", EDGE_MATCH_ANY, EDGE_MATCH_ANY},
        {"\"x\", " TAG, EDGE_MATCH_YES, EDGE_MATCH_YES},
        {"\"x\",,\t" TAG " , \"y,z\"", EDGE_MATCH_YES, EDGE_MATCH_YES},
        {"\"\"", EDGE_MATCH_NO, EDGE_MATCH_NO},
        {"\"3-41-0123456789ABCDEF\"", EDGE_MATCH_NO, EDGE_MATCH_NO},
        {"\"3-041-0123456789abcdef\"", EDGE_MATCH_NO, EDGE_MATCH_NO},
        {"\"3-41-0123456789abcdef-\"", EDGE_MATCH_NO, EDGE_MATCH_NO},
        {"\"3-41-0123456789abcdef0\"", EDGE_MATCH_NO, EDGE_MATCH_NO},
        {"\"3-40-0123456789abcdef\"", EDGE_MATCH_NO, EDGE_MATCH_NO},
        {"\"3-42-0123456789abcdef\"", EDGE_MATCH_NEWER, EDGE_MATCH_NO},
        {"\"3-42-0123456789abcdef\", " TAG, EDGE_MATCH_YES, EDGE_MATCH_YES},
        {"\"4-42-0123456789abcdef\"", EDGE_MATCH_NO, EDGE_MATCH_NO},
        {"\"3-18446744073709551616-0123456789abcdef\"", EDGE_MATCH_NO, EDGE_MATCH_NO},
        /* with a warning that was shown once: another representation of the same cart */
        {"\"3-41-0123456789abcdef-00000000000000ff\"", EDGE_MATCH_YES, EDGE_MATCH_NO},
        {"\"3-41-0123456789abcdef-0000000000000000\"", EDGE_MATCH_NO, EDGE_MATCH_NO},
        {"", EDGE_MATCH_BAD, EDGE_MATCH_BAD},
        {",", EDGE_MATCH_BAD, EDGE_MATCH_BAD},
        {"*, \"x\"", EDGE_MATCH_BAD, EDGE_MATCH_BAD},
        {"\"x", EDGE_MATCH_BAD, EDGE_MATCH_BAD},
        {"x", EDGE_MATCH_BAD, EDGE_MATCH_BAD},
        {"w/\"x\"", EDGE_MATCH_BAD, EDGE_MATCH_BAD},
        {"\"x\" \"y\"", EDGE_MATCH_BAD, EDGE_MATCH_BAD},
        {"\"a b\"", EDGE_MATCH_BAD, EDGE_MATCH_BAD},
        {TAG "x", EDGE_MATCH_BAD, EDGE_MATCH_BAD},
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (match(lists[i].list, false) != lists[i].strong) fail_msg("strong: %s", lists[i].list);
        if (match(lists[i].list, true) != lists[i].weak) fail_msg("weak: %s", lists[i].list);
    }
}

static void test_a_list_is_bounded(void **state) {
    (void)state;
    char list[EDGE_ETAG_LIST_MAX * 4 + 8] = "";
    for (unsigned i = 0; i < EDGE_ETAG_LIST_MAX; i++) (void)strcat(list, "\"x\",");
    assert_int_equal(match(list, true), EDGE_MATCH_NO);
    (void)strcat(list, "\"x\"");
    assert_int_equal(match(list, true), EDGE_MATCH_BAD);
}

static void test_keys(void **state) {
    (void)state;
    char key[80];
    memset(key, '~', sizeof(key));
    assert_true(edge_key_check("!", 1));
    assert_true(edge_key_check(key, EDGE_KEY_CHARS_MAX));
    assert_false(edge_key_check(key, EDGE_KEY_CHARS_MAX + 1));
    assert_false(edge_key_check("", 0));
    assert_false(edge_key_check("a b", 3));
    assert_false(edge_key_check("\x7f", 1));
    assert_false(edge_key_check("\xc3\xa9", 2));
}

static void test_an_id_belongs_to_user_method_path_and_key(void **state) {
    (void)state;
    cart_id_t user = {{1}};
    cart_id_t other = {{2}};
    uint8_t ids[6][CART_REQUEST_BYTES];
    edge_request_id(&user, "PUT", 3, "/a", 2, "key", 3, ids[0]);
    edge_request_id(&other, "PUT", 3, "/a", 2, "key", 3, ids[1]);
    edge_request_id(&user, "POST", 4, "/a", 2, "key", 3, ids[2]);
    edge_request_id(&user, "PUT", 3, "/b", 2, "key", 3, ids[3]);
    edge_request_id(&user, "PUT", 3, "/ak", 3, "ey", 2, ids[4]);
    edge_request_id(&user, "PUT", 3, "/a", 2, "key", 3, ids[5]);
    for (unsigned i = 1; i < 5; i++) assert_memory_not_equal(ids[0], ids[i], CART_REQUEST_BYTES);
    assert_memory_equal(ids[0], ids[5], CART_REQUEST_BYTES);
}

static void test_a_digest_is_of_what_is_asked(void **state) {
    (void)state;
    cart_change_t changes[2] = {{.op = CART_ADD, .book = 7, .quantity = 1}, {.op = CART_ADD, .book = 8, .quantity = 1}};
    uint64_t two = edge_request_digest(changes, 2);
    assert_true(two == edge_request_digest(changes, 2));
    assert_true(two != edge_request_digest(changes, 1));
    changes[1].quantity = -1;
    assert_true(two != edge_request_digest(changes, 2));
    changes[1] = (cart_change_t){.op = CART_SET, .book = 8, .quantity = 1};
    assert_true(two != edge_request_digest(changes, 2));
}

static void test_books_in_paths(void **state) {
    (void)state;
    uint64_t book = 99;
    static const char *const bad[] = {
        "", "0", "07", "-1", "+1", "1x", "x", " 1", "9007199254740992", "99999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(edge_path_book(bad[i], strlen(bad[i]), &book));
    assert_int_equal(book, 99);
    assert_true(edge_path_book("9007199254740991", 16, &book) && book == CART_BOOK_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_spelling),
        cmocka_unit_test(test_strong_and_weak),
        cmocka_unit_test(test_a_list_is_bounded),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_an_id_belongs_to_user_method_path_and_key),
        cmocka_unit_test(test_a_digest_is_of_what_is_asked),
        cmocka_unit_test(test_books_in_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
