/* Any bytes as newline-delimited books: within its limits, the same however the bytes are cut, and what it lets through is a book. */
#include "services/library/library_csv.h"
#include "services/library/library_ndjson.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    uint64_t line;
    uint64_t digest; /* of all lines, to compare two ways of feeding */
} lines_t;

static void mix(lines_t *lines, const void *bytes, size_t size) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < size; i++) lines->digest = (lines->digest ^ p[i]) * UINT64_C(1099511628211);
}

static bool take(void *context, uint64_t line, const library_book_t *book, const char *reason) {
    lines_t *lines = context;
    if (line <= lines->line) abort();
    if ((book == NULL) == (reason == NULL)) abort();
    lines->line = line;
    mix(lines, &line, sizeof(line));
    if (book == NULL) {
        if (!library_utf8_valid(reason, strlen(reason)) && strncmp(reason, "field ", 6) != 0) abort();
        mix(lines, reason, strlen(reason));
        return true;
    }
    if (library_book_check(book).field != NULL) abort();
    mix(lines, &book->id, sizeof(book->id));
    mix(lines, book->title, strlen(book->title));
    return true;
}

static uint64_t read_all(const uint8_t *data, size_t size, size_t step) {
    lines_t lines = {.digest = UINT64_C(14695981039346656037)};
    library_ndjson_t *ndjson = library_ndjson_create("EUR", take, &lines);
    if (ndjson == NULL) return 0;
    for (size_t i = 0; i < size; i += step) {
        if (!library_ndjson_feed(ndjson, (const char *)data + i, size - i < step ? size - i : step)) abort();
    }
    if (!library_ndjson_finish(ndjson)) abort();
    library_ndjson_destroy(ndjson);
    return lines.digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (read_all(data, size, size + 1) != read_all(data, size, 3)) abort();
    return 0;
}
