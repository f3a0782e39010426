#include "seeded.h"

static void formats_and_parses_known_ids(void **state) {
    (void)state;
    cart_id_t id;
    char text[CART_ID_CHARS + 1];
    memset(id.bytes, 0xff, sizeof(id.bytes));
    cart_id_format("usr_", &id, text);
    assert_string_equal(text, "usr_7zzzzzzzzzzzzzzzzzzzzzzzzz");
    memset(id.bytes, 0, sizeof(id.bytes));
    assert_true(cart_id_is_none(&id));
    id.bytes[15] = 33;
    cart_id_format("ses_", &id, text);
    assert_string_equal(text, "ses_00000000000000000000000011");
    cart_id_t back;
    assert_true(cart_id_parse("ses_", text, CART_ID_CHARS, &back));
    assert_true(cart_id_equal(&id, &back));
}

static void has_one_spelling(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "usr_00000000000000000000000000", /* no id */
        "usr_80000000000000000000000000", /* more than 128 bits */
        "usr_0000000000000000000000000A", "usr_0000000000000000000000000i", "usr_0000000000000000000000000l",
        "usr_0000000000000000000000000o", "usr_0000000000000000000000000u", "usr_0000000000000000000000000 ",
        "ses_00000000000000000000000001", "USR_00000000000000000000000001",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cart_id_t id;
        memset(id.bytes, 0x5a, sizeof(id.bytes));
        cart_id_t before = id;
        if (cart_id_parse("usr_", wrong[i], CART_ID_CHARS, &id)) fail_msg("accepted %s", wrong[i]);
        assert_true(cart_id_equal(&id, &before));
    }
}

static void round_trips_and_survives_every_truncation_and_byte(void **state) {
    (void)state;
    seeded_start(__func__);
    seeded_guard_t guard = seeded_guard(CART_ID_CHARS);
    for (unsigned long round = seeded_rounds(20000); round > 0; round--) {
        cart_id_t id = seeded_id();
        cart_id_t back;
        char text[CART_ID_CHARS + 1];
        cart_id_format("usr_", &id, text);
        assert_int_equal(strlen(text), CART_ID_CHARS);
        for (size_t cut = 0; cut <= CART_ID_CHARS; cut++) {
            char *at = (char *)guard.end - cut;
            memcpy(at, text, cut);
            assert_int_equal(cart_id_parse("usr_", at, cut, &back), cut == CART_ID_CHARS);
        }
        assert_true(cart_id_equal(&id, &back));
        char *at = (char *)guard.end - CART_ID_CHARS;
        at[seeded_below(CART_ID_CHARS)] = (char)seeded_below(256);
        if (cart_id_parse("usr_", at, CART_ID_CHARS, &back)) {
            char again[CART_ID_CHARS + 1];
            cart_id_format("usr_", &back, again);
            assert_memory_equal(again, at, CART_ID_CHARS);
        }
    }
    seeded_unguard(&guard);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_and_parses_known_ids),
        cmocka_unit_test(has_one_spelling),
        cmocka_unit_test(round_trips_and_survives_every_truncation_and_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
