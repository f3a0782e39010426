#include "services/library/library_reader.h"

#include "services/library/library_ndjson.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { chunk_bytes = 256 * 1024 };

/* --- ids seen, to find repeats within the file: open addressing, at most half full --- */

typedef struct {
    int64_t *slots; /* owned; 0 = free */
    size_t size;    /* a power of two */
    size_t used;
} id_set_t;

static size_t id_slot(const id_set_t *set, int64_t id) {
    size_t at = (size_t)((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (set->size - 1);
    while (set->slots[at] != 0 && set->slots[at] != id) at = (at + 1) & (set->size - 1);
    return at;
}

static bool id_grow(id_set_t *set) {
    id_set_t grown = {.size = set->size == 0 ? 1024 : set->size * 2, .used = set->used};
    grown.slots = calloc(grown.size, sizeof(*grown.slots));
    if (grown.slots == NULL) return false;
    for (size_t i = 0; i < set->size; i++) {
        if (set->slots[i] != 0) grown.slots[id_slot(&grown, set->slots[i])] = set->slots[i];
    }
    free(set->slots);
    *set = grown;
    return true;
}

/* false without memory. */
static bool id_add(id_set_t *set, int64_t id, bool *known) {
    assert(id > 0);
    if (set->used * 2 >= set->size && !id_grow(set)) return false;
    size_t at = id_slot(set, id);
    *known = set->slots[at] == id;
    if (*known) return true;
    set->slots[at] = id;
    set->used++;
    return true;
}

/* --- one reading --- */

typedef struct {
    library_reader_fn on_row;
    void *context;
    int price_digits;
    bool has_header;
    library_columns_t columns;
    id_set_t seen;
    uint64_t rows;
    library_read_t result; /* what ended it; LIBRARY_READ_WHOLE so far */
    char *reason;          /* borrowed: library_reason_bytes */
} reader_t;

static bool end(reader_t *reader, library_read_t result, const char *reason) {
    reader->result = result;
    (void)snprintf(reader->reason, library_reason_bytes, "%s", reason); /* cut is fine: for people */
    return false;
}

/* Each row of either format comes through here, good or not. */
static bool give(reader_t *reader, uint64_t line, const library_book_t *book, const char *reason) {
    bool known = false;
    if (reader->rows == library_import_rows_max) return end(reader, LIBRARY_READ_REFUSED, "more than ten million rows");
    reader->rows++;
    if (book != NULL && !id_add(&reader->seen, book->id, &known)) return end(reader, LIBRARY_READ_FAILED, "no memory");
    const library_reader_row_t row = {
        .line = line,
        .book = known ? NULL : book,
        .reason = known ? "id stands in an earlier row" : reason,
    };
    return reader->on_row(reader->context, &row) || end(reader, LIBRARY_READ_STOPPED, "");
}

static bool take_line(void *context, uint64_t line, const library_book_t *book, const char *reason) {
    return give(context, line, book, reason);
}

static bool take_row(void *context, library_csv_row_t *row) {
    reader_t *reader = context;
    char reason[library_reason_bytes];
    char isbn[library_isbn_chars + 1];
    library_book_t book;
    if (!reader->has_header) {
        reader->has_header = true;
        if (library_columns_read(row, reader->price_digits, &reader->columns, reason)) return true;
        return end(reader, LIBRARY_READ_REFUSED, reason);
    }
    bool good = library_columns_book(&reader->columns, row, &book, isbn, reason);
    return give(reader, row->line, good ? &book : NULL, good ? NULL : reason);
}

/* What both formats' readers are to the loop. */
typedef struct {
    library_csv_t *csv; /* owned; NULL: NDJSON */
    library_ndjson_t *ndjson;
} parser_t;

static bool feed(const parser_t *parser, const char *bytes, size_t size) {
    return parser->csv != NULL ? library_csv_feed(parser->csv, bytes, size)
                               : library_ndjson_feed(parser->ndjson, bytes, size);
}

static bool finish(const parser_t *parser) {
    return parser->csv != NULL ? library_csv_finish(parser->csv) : library_ndjson_finish(parser->ndjson);
}

static void read_all(reader_t *reader, const parser_t *parser, int fd, char *bytes) {
    bool going = true;
    while (going) {
        ssize_t got = read(fd, bytes, chunk_bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) (void)end(reader, LIBRARY_READ_FAILED, strerror(errno)); /* always false */
        if (got <= 0) break;
        going = feed(parser, bytes, (size_t)got);
    }
    if (going && reader->result == LIBRARY_READ_WHOLE) (void)finish(parser); /* reader->result tells */
    bool empty = parser->csv != NULL ? !reader->has_header : reader->rows == 0;
    if (reader->result == LIBRARY_READ_WHOLE && empty) {
        (void)end(reader, LIBRARY_READ_REFUSED, "the file is empty"); /* always false */
    }
}

library_read_t library_reader_read(int fd, library_format_t format, const char *currency, library_reader_fn on_row,
                                   void *context, char reason[library_reason_bytes]) {
    reader_t *reader = calloc(1, sizeof(*reader));
    char *bytes = malloc(chunk_bytes);
    parser_t parser = {NULL, NULL};
    library_read_t result = LIBRARY_READ_FAILED;
    (void)snprintf(reason, library_reason_bytes, "no memory"); /* fits */
    if (reader != NULL) {
        reader->on_row = on_row;
        reader->context = context;
        reader->price_digits = library_currency_digits(currency);
        reader->reason = reason;
        if (format == LIBRARY_FORMAT_CSV) {
            parser.csv = library_csv_create(take_row, reader);
        } else {
            parser.ndjson = library_ndjson_create(currency, take_line, reader);
        }
    }
    if (bytes != NULL && (parser.csv != NULL || parser.ndjson != NULL)) {
        reason[0] = '\0';
        read_all(reader, &parser, fd, bytes);
        result = reader->result;
    }
    library_csv_destroy(parser.csv);
    library_ndjson_destroy(parser.ndjson);
    if (reader != NULL) free(reader->seen.slots);
    free(reader);
    free(bytes);
    return result;
}
