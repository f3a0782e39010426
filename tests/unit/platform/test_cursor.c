/* A cursor opens what it closed, and nothing else does. */
#include "platform/bc_cursor.h"
#include "platform/bc_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_cursor_opens_what_it_closed(void **state) {
    (void)state;
    char text[BC_CURSOR_CHARS];
    uint8_t place[BC_CURSOR_PLACE_MAX], read[BC_CURSOR_PLACE_MAX];
    for (size_t length = 1; length <= sizeof(place); length++) {
        bc_random_bytes(place, length);
        bc_cursor_write("key", "list", place, length, text);
        assert_true(bc_cursor_read("key", "list", text, read, length));
        assert_memory_equal(place, read, length);
    }
}

static void a_cursor_of_another_list_key_or_length_is_refused(void **state) {
    (void)state;
    char text[BC_CURSOR_CHARS];
    int64_t place = 42, read = 7;
    bc_cursor_write("key", "users kind=guest", &place, sizeof(place), text);
    assert_false(bc_cursor_read("key", "users kind=customer", text, &read, sizeof(read)));
    assert_false(bc_cursor_read("key", "users kind=gues", text, &read, sizeof(read)));
    assert_false(bc_cursor_read("other", "users kind=guest", text, &read, sizeof(read)));
    assert_false(bc_cursor_read("key", "users kind=guest", text, &read, 4));
    assert_int_equal(read, 7);
}

static void every_changed_or_cut_character_is_refused(void **state) {
    (void)state;
    char text[BC_CURSOR_CHARS], changed[BC_CURSOR_CHARS];
    int64_t place[2] = {1, -1}, read[2] = {7, 7};
    bc_cursor_write("key", "list", place, sizeof(place), text);
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        memcpy(changed, text, length + 1);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        assert_false(bc_cursor_read("key", "list", changed, read, sizeof(read)));
        memcpy(changed, text, length + 1);
        changed[i] = '\0';
        assert_false(bc_cursor_read("key", "list", changed, read, sizeof(read)));
    }
    assert_false(bc_cursor_read("key", "list", "", read, sizeof(read)));
    assert_false(bc_cursor_read("key", "list", "not base64 !", read, sizeof(read)));
    char long_text[1001];
    memset(long_text, 'A', sizeof(long_text) - 1);
    long_text[1000] = '\0';
    assert_false(bc_cursor_read("key", "list", long_text, read, sizeof(read)));
    assert_int_equal(read[0], 7);
}

static int start(void **state) {
    (void)state;
    return bc_random_init() ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cursor_opens_what_it_closed),
        cmocka_unit_test(a_cursor_of_another_list_key_or_length_is_refused),
        cmocka_unit_test(every_changed_or_cut_character_is_refused),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
