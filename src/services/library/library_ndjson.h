/*
 * A strict, streaming reader of books as newline-delimited JSON (UTF-8; LF or CRLF; empty lines are passed over; a byte order mark may
 * open the file). Each line is one object in the form of the API:
 *
 *   {"id","title","authors":[…],"year","language","isbn","genres":[…],"description","price":{"amount","currency"},"stock","cover_url"}
 *
 * `id` and `title` must be there; null is the same as absent; an unknown or repeated field refuses the line, as an unknown column
 * refuses a CSV file. Languages and ISBNs may be written as in a CSV file. Memory is bounded by library_ndjson_line_bytes_max.
 */
#ifndef LIBRARY_NDJSON_H
#define LIBRARY_NDJSON_H

#include "services/library/library_book.h"

#include <jansson.h>

enum {
    library_ndjson_line_bytes_max = 256 * 1024,
    library_ndjson_reason_bytes = 256,
};

/* One line that is not empty. `book` NULL: refused, `reason` says why. Borrowed until the callback returns. */
typedef bool (*library_ndjson_line_fn)(void *context, uint64_t line, const library_book_t *book, const char *reason);

typedef struct library_ndjson library_ndjson_t;

/* NULL when memory is short. `currency` and `context` are borrowed until destroy. */
library_ndjson_t *library_ndjson_create(const char *currency, library_ndjson_line_fn on_line, void *context);
void library_ndjson_destroy(library_ndjson_t *ndjson); /* NULL is fine */

/* Takes the next bytes. false once the callback has stopped the reader. */
bool library_ndjson_feed(library_ndjson_t *ndjson, const char *bytes, size_t size);
/* The input has ended, which completes the last line. Once. */
bool library_ndjson_finish(library_ndjson_t *ndjson);

#endif
