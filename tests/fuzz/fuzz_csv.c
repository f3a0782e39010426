/* Any bytes as a catalogue: the reader and both tables must stay within their limits, and what they let through must be a book. */
#include "services/library/library_columns.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    bool has_header;
    library_columns_t columns;
    uint64_t line;
    uint64_t digest; /* of all rows, to compare two ways of feeding */
} catalogue_t;

static void mix(catalogue_t *catalogue, const void *bytes, size_t size) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < size; i++) catalogue->digest = (catalogue->digest ^ p[i]) * UINT64_C(1099511628211);
}

static bool take(void *context, library_csv_row_t *row) {
    catalogue_t *catalogue = context;
    char reason[library_reason_bytes];
    char isbn[library_isbn_chars + 1];
    if (row->line < catalogue->line) abort();
    catalogue->line = row->line;
    mix(catalogue, &row->line, sizeof(row->line));
    mix(catalogue, &row->fault, sizeof(row->fault));
    for (size_t i = 0; i < row->field_count; i++) {
        if (strlen(row->fields[i]) != row->lengths[i]) abort();
        if (row->lengths[i] > library_csv_field_bytes_max) abort();
        if (!library_utf8_valid(row->fields[i], row->lengths[i])) abort();
        mix(catalogue, row->fields[i], row->lengths[i] + 1);
    }
    if (!catalogue->has_header) {
        catalogue->has_header = true;
        return library_columns_read(row, 2, &catalogue->columns, reason);
    }
    library_book_t book;
    if (library_columns_book(&catalogue->columns, row, &book, isbn, reason)) {
        if (library_book_check(&book).field != NULL) abort();
        char key[LIBRARY_FOLD_BYTES_MAX];
        library_fold(book.title, key, sizeof(key));
        if (!library_utf8_valid(key, strlen(key))) abort();
    }
    return true;
}

static uint64_t read_all(const uint8_t *data, size_t size, size_t step) {
    catalogue_t catalogue = {.digest = UINT64_C(14695981039346656037)};
    library_csv_t *csv = library_csv_create(take, &catalogue);
    if (csv == NULL) return 0;
    bool going = true;
    for (size_t i = 0; i < size && going; i += step) {
        going = library_csv_feed(csv, (const char *)data + i, size - i < step ? size - i : step);
    }
    if (going) (void)library_csv_finish(csv); /* false only when the header was refused */
    library_csv_destroy(csv);
    return catalogue.digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (read_all(data, size, size + 1) != read_all(data, size, 3)) abort();
    return 0;
}
