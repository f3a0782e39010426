/* The CSV reader: every malformed row in its own way, every split of the input, every truncation, every limit. */
#include "services/library/library_csv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
    char text[8192]; /* "line:field|field;" or "line!fault;" */
    size_t used;
    size_t rows;
    size_t stop_after; /* 0: never */
} seen_t;

static bool note(void *context, library_csv_row_t *row) {
    seen_t *seen = context;
    seen->rows++;
    char *at = seen->text + seen->used;
    size_t left = sizeof(seen->text) - seen->used;
    int length = 0;
    if (row->fault != LIBRARY_CSV_OK) {
        assert_int_equal(row->field_count, 0);
        length = snprintf(at, left, "%llu!%d;", (unsigned long long)row->line, (int)row->fault);
        seen->used += (size_t)length;
        return seen->rows != seen->stop_after;
    }
    length = snprintf(at, left, "%llu:", (unsigned long long)row->line);
    seen->used += (size_t)length;
    for (size_t i = 0; i < row->field_count; i++) {
        assert_int_equal(strlen(row->fields[i]), row->lengths[i]);
        if (row->lengths[i] > 100) continue;
        length = snprintf(seen->text + seen->used, sizeof(seen->text) - seen->used, "%s%s", i == 0 ? "" : "|",
                          row->fields[i]);
        seen->used += (size_t)length;
    }
    seen->text[seen->used++] = ';';
    seen->text[seen->used] = '\0';
    return seen->rows != seen->stop_after;
}

static void read_split(const char *bytes, size_t size, size_t step, seen_t *seen) {
    memset(seen, 0, sizeof(*seen));
    library_csv_t *csv = library_csv_create(note, seen);
    assert_non_null(csv);
    for (size_t i = 0; i < size; i += step) {
        assert_true(library_csv_feed(csv, bytes + i, size - i < step ? size - i : step));
    }
    assert_true(library_csv_finish(csv));
    library_csv_destroy(csv);
}

static void expect(const char *input, const char *output) {
    seen_t whole;
    read_split(input, strlen(input), strlen(input) + 1, &whole);
    assert_string_equal(whole.text, output);
    for (size_t step = 1; step < 4; step++) {
        seen_t split;
        read_split(input, strlen(input), step, &split);
        assert_string_equal(split.text, output);
    }
}

static void reads_well_formed_rows(void **state) {
    (void)state;
    expect("", "");
    expect("a,b\n1,2\n", "1:a|b;2:1|2;");
    expect("a,b\r\n1,2", "1:a|b;2:1|2;");
    expect("\xef\xbb\xbf"
           "a\n",
           "1:a;");
    expect("\xef\xbb", "1!5;"); /* the beginning of a mark is no mark */
    expect("a,\n,\n\"\"\n", "1:a|;2:|;3:;");
    expect("\"x,\"\"y\"\"\r\nz\",q\nb,c\n", "1:x,\"y\"\r\nz|q;3:b|c;");
    expect("\n\r\na\n\n", "3:a;"); /* empty lines are passed over and counted */
    expect("\xd0\x98\xd0\xb2\xd0\xb0\xd0\xbd\n", "1:\xd0\x98\xd0\xb2\xd0\xb0\xd0\xbd;");
}

static void names_each_fault_and_goes_on(void **state) {
    (void)state;
    expect("a\"b,c\nd\n", "1!1;2:d;");
    expect("\"a\"b,c\nd\n", "1!2;2:d;");
    expect("a\rb\nd\n", "1!3;2:d;");
    expect("a\r", "1!3;");
    expect("d\n\"a\nb", "1:d;2!4;");
    expect("\xff,b\nd\n", "1!5;2:d;");
    expect("\xc0\xaf\nd\n", "1!5;2:d;");          /* overlong */
    expect("\xed\xa0\x80\nd\n", "1!5;2:d;");      /* a surrogate */
    expect("\xf4\x90\x80\x80\nd\n", "1!5;2:d;");  /* beyond U+10FFFF */
    expect("\"\xff\nstill\",b\nd\n", "1!5;3:d;"); /* the row's real end is known */
    expect("a\x01"
           "b\nd\n",
           "1!6;2:d;");
    expect("\"a\x7f\nmore\"\nd\n", "1!6;3:d;");
}

static char *repeat(char c, size_t count, const char *tail) {
    char *text = malloc(count + strlen(tail) + 1);
    assert_non_null(text);
    memset(text, c, count);
    memcpy(text + count, tail, strlen(tail) + 1);
    return text;
}

static void keeps_its_limits(void **state) {
    (void)state;
    char *text = repeat('x', library_csv_field_bytes_max, "\nd\n");
    expect(text, "1:;2:d;"); /* at the limit it is read (the note leaves long fields out) */
    free(text);
    text = repeat('x', library_csv_field_bytes_max + 1, "\nd\n");
    expect(text, "1!7;2:d;");
    free(text);
    text = repeat(',', library_csv_columns_max - 1, "\nd\n");
    seen_t seen;
    read_split(text, strlen(text), 7, &seen);
    assert_int_equal(seen.rows, 2);
    assert_null(strchr(seen.text, '!'));
    free(text);
    text = repeat(',', library_csv_columns_max, "\nd\n");
    expect(text, "1!9;2:d;");
    free(text);
    /* Five fields of the greatest length are beyond a row. */
    text = repeat('x', 5 * (library_csv_field_bytes_max + 1), "\nd\n");
    for (size_t i = 1; i < 5; i++) text[i * (library_csv_field_bytes_max + 1) - 1] = ',';
    expect(text, "1!8;2:d;");
    free(text);
    /* A lost quote in a row that is faulty already does not swallow the file. */
    text = repeat('x', library_csv_row_bytes_max + 10, "\nd\n");
    memcpy(text, "\"\x01", 2);
    expect(text, "1!6;2:d;");
    free(text);
}

static void survives_every_truncation_before_a_guard_page(void **state) {
    (void)state;
    static const char input[] = "\xef\xbb\xbfid,\"ti\"\"tle\"\r\n1,\"a,\nb\"\r\n2,\xd0\x98\"\n3,\"x";
    long page = sysconf(_SC_PAGESIZE);
    char *map = mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mprotect(map + page, (size_t)page, PROT_NONE), 0);
    for (size_t size = 0; size < sizeof(input); size++) {
        char *at = map + page - size;
        memcpy(at, input, size);
        seen_t seen;
        read_split(at, size, size + 1, &seen);
        seen_t single;
        read_split(at, size, 1, &single);
        assert_string_equal(seen.text, single.text);
    }
    assert_int_equal(munmap(map, (size_t)page * 2), 0);
}

static void stops_when_told(void **state) {
    (void)state;
    seen_t seen = {.stop_after = 1};
    library_csv_t *csv = library_csv_create(note, &seen);
    assert_non_null(csv);
    assert_false(library_csv_feed(csv, "a\nb\nc\n", 6));
    assert_false(library_csv_feed(csv, "d\n", 2));
    assert_false(library_csv_finish(csv));
    assert_int_equal(seen.rows, 1);
    library_csv_destroy(csv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_well_formed_rows), cmocka_unit_test(names_each_fault_and_goes_on),
        cmocka_unit_test(keeps_its_limits),       cmocka_unit_test(survives_every_truncation_before_a_guard_page),
        cmocka_unit_test(stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
