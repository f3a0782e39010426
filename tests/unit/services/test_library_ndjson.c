/* Books as newline-delimited JSON: what each line becomes, however the bytes are cut. The faults themselves are in the end-to-end test. */
#include "services/library/library_ndjson.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct {
    char said[4096]; /* "line:id title|" or "line!reason|" of each */
    int stop_after;  /* lines; 0: never */
    int lines;
} seen_t;

static bool take(void *context, uint64_t line, const library_book_t *book, const char *reason) {
    seen_t *seen = context;
    size_t used = strlen(seen->said);
    if (book != NULL) {
        (void)snprintf(seen->said + used, sizeof(seen->said) - used, "%llu:%lld %s|", (unsigned long long)line,
                       (long long)book->id, book->title);
    } else {
        (void)snprintf(seen->said + used, sizeof(seen->said) - used, "%llu!%s|", (unsigned long long)line, reason);
    }
    return ++seen->lines != seen->stop_after;
}

static void read_cut(const char *text, size_t length, size_t step, seen_t *seen) {
    memset(seen, 0, sizeof(*seen));
    library_ndjson_t *ndjson = library_ndjson_create("EUR", take, seen);
    assert_non_null(ndjson);
    for (size_t at = 0; at < length; at += step) {
        /* Each piece in memory of its own, so that a read behind it is seen. */
        size_t part = length - at < step ? length - at : step;
        char *piece = malloc(part);
        assert_non_null(piece);
        memcpy(piece, text + at, part);
        assert_true(library_ndjson_feed(ndjson, piece, part));
        free(piece);
    }
    assert_true(library_ndjson_finish(ndjson));
    library_ndjson_destroy(ndjson);
}

static void lines_become_books_or_reasons(void **state) {
    (void)state;
    static const char text[] = "\xef\xbb\xbf{\"id\":1,\"title\":\"Emma\"}\r\n"
                               "\n   \n"
                               "{\"id\":2,\"title\":\"A\\nB\"}\n"
                               "{\"id\":3,\"title\":\"T\",\"language\":\"xx\"}\n"
                               "{\"id\":4,\"title\":\"Émile\",\"language\":\"fre\",\"year\":null}";
    static const char wanted[] =
        "1:1 Emma|4!title holds a control character|5!language is not a language code|6:4 Émile|";
    seen_t seen;
    for (size_t step = 1; step <= sizeof(text); step++) {
        read_cut(text, sizeof(text) - 1, step, &seen);
        assert_string_equal(seen.said, wanted);
    }
}

static void every_truncation_is_survived(void **state) {
    (void)state;
    static const char text[] =
        "{\"id\":1,\"title\":\"\\u00e9\\\"\",\"price\":{\"amount\":100,\"currency\":\"EUR\"},\"authors\":[\"A\"]}";
    seen_t seen;
    for (size_t length = 0; length < sizeof(text) - 1; length++) {
        read_cut(text, length, length + 1, &seen);
        assert_int_equal(seen.lines, length == 0 ? 0 : 1);
        if (length > 0) assert_non_null(strstr(seen.said, "1!row: not JSON at column"));
    }
    read_cut(text, sizeof(text) - 1, 7, &seen);
    assert_string_equal(seen.said, "1:1 é\"|");
}

static void the_longest_line_fits_and_one_more_byte_does_not(void **state) {
    (void)state;
    static const char head[] = "{\"id\":1,\"title\":\"T\"", tail[] = "}\n{\"id\":2,\"title\":\"U\"}\n";
    char *text = malloc(library_ndjson_line_bytes_max + sizeof(tail) + 1);
    seen_t seen;
    assert_non_null(text);
    for (size_t more = 0; more < 2; more++) {
        size_t blanks = library_ndjson_line_bytes_max - (sizeof(head) - 1) - 1 + more;
        memcpy(text, head, sizeof(head) - 1);
        memset(text + sizeof(head) - 1, ' ', blanks);
        memcpy(text + sizeof(head) - 1 + blanks, tail, sizeof(tail) - 1);
        for (size_t step = 4096; step < 1024 * 1024; step *= 16) {
            read_cut(text, sizeof(head) - 1 + blanks + sizeof(tail) - 1, step, &seen);
            assert_string_equal(seen.said, more == 0 ? "1:1 T|2:2 U|" : "1!row: longer than 256 KiB|2:2 U|");
        }
    }
    free(text);
}

static void a_callback_can_stop_it(void **state) {
    (void)state;
    static const char text[] = "{\"id\":1,\"title\":\"T\"}\n{\"id\":2,\"title\":\"U\"}\n";
    seen_t seen = {.stop_after = 1};
    library_ndjson_t *ndjson = library_ndjson_create("EUR", take, &seen);
    assert_non_null(ndjson);
    assert_false(library_ndjson_feed(ndjson, text, sizeof(text) - 1));
    assert_false(library_ndjson_finish(ndjson));
    assert_string_equal(seen.said, "1:1 T|");
    library_ndjson_destroy(ndjson);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_become_books_or_reasons),
        cmocka_unit_test(every_truncation_is_survived),
        cmocka_unit_test(the_longest_line_fits_and_one_more_byte_does_not),
        cmocka_unit_test(a_callback_can_stop_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
