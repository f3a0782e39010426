/*
 * A catalogue file as books: CSV (library_columns.h) or NDJSON (library_ndjson.h), from a descriptor, row by row.
 *
 * Reading the same bytes again gives the same rows, the same lines and the same refusals: what continues an import that was cut off
 * reads from the start and passes over the rows that are done. An id that an earlier row had is refused here, so memory grows by
 * 16…32 bytes a row; everything else is bounded whatever the file is.
 */
#ifndef LIBRARY_READER_H
#define LIBRARY_READER_H

#include "services/library/library_columns.h"

typedef enum { LIBRARY_FORMAT_CSV, LIBRARY_FORMAT_NDJSON } library_format_t; /* stored: the values stay */

enum {
    library_import_rows_max = 10 * 1000 * 1000, /* rows in one file; more: the file is refused at that row */
    library_rejects_named_max = 10000,          /* rejected rows of one file that are named; the rest is counted */
};

typedef struct {
    uint64_t line;
    const library_book_t *book; /* NULL: the row is refused */
    const char *reason;         /* with book NULL */
} library_reader_row_t;         /* borrowed until the callback returns */

/* false stops the reading. */
typedef bool (*library_reader_fn)(void *context, const library_reader_row_t *row);

typedef enum {
    LIBRARY_READ_WHOLE,   /* to its end */
    LIBRARY_READ_STOPPED, /* by the callback */
    LIBRARY_READ_REFUSED, /* it is no catalogue: `reason` says why */
    LIBRARY_READ_FAILED   /* the file cannot be read, or no memory: `reason` says why; another time it may go */
} library_read_t;

/* Reads `fd` from where it stands. `currency`: the shop's. */
library_read_t library_reader_read(int fd, library_format_t format, const char *currency, library_reader_fn on_row,
                                   void *context, char reason[library_reason_bytes]);

#endif
