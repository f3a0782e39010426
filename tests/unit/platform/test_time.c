/* Times as text: what is written is read, and nothing else. */
#include "platform/bc_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void what_is_written_is_read(void **state) {
    (void)state;
    static const int64_t times[] = {0,
                                    1,
                                    999,
                                    1000,
                                    951782400000 /* 29 February 2000 */,
                                    1709164799999 /* 28 February 2024 */,
                                    1795788000123,
                                    253402300799999 /* the last of 9999 */};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        char text[BC_TIME_TEXT_BYTES];
        int64_t read = -1;
        bc_time_format(times[i], text);
        assert_true(bc_time_parse(text, &read));
        assert_int_equal(read, times[i]);
    }
}

static void anything_else_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "2026",
                                        "2026-11-27",
                                        "2026-11-27T15:00:00",
                                        "2026-11-27T15:00:00z",
                                        "2026-11-27 15:00:00Z",
                                        "2026-11-27T15:00:00+00:00",
                                        "2026-11-27T15:00:00.Z",
                                        "2026-11-27T15:00:00.12Z",
                                        "2026-11-27T15:00:00.1234Z",
                                        "2026-11-27T15:00:00,123Z",
                                        "2026-11-31T15:00:00Z",
                                        "2025-02-29T15:00:00Z",
                                        "2026-13-01T15:00:00Z",
                                        "2026-00-01T15:00:00Z",
                                        "2026-11-00T15:00:00Z",
                                        "2026-11-27T24:00:00Z",
                                        "2026-11-27T15:60:00Z",
                                        "2026-11-27T15:00:60Z",
                                        "1969-12-31T23:59:59Z",
                                        "-026-11-27T15:00:00Z",
                                        "2026-11-27T1 :00:00Z"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t read = 7;
        assert_false(bc_time_parse(texts[i], &read));
        assert_int_equal(read, 7);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_written_is_read),
                                       cmocka_unit_test(anything_else_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
