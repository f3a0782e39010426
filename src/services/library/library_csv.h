/*
 * A strict, streaming CSV reader (RFC 4180, UTF-8). Bytes go in as they come, whole rows come out by a callback; memory
 * is bounded by library_csv_row_bytes_max whatever the file is.
 *
 * Strict means: a row that is not well formed is reported with its line and the reason, and never repaired by guessing.
 * What is allowed beyond the letter of the RFC: a lone LF ends a row as CRLF does, a UTF-8 byte order mark may open the
 * file, empty lines are passed over, and the last row need not end with a line break.
 *
 * After a fault the reader goes on with the next row. Where the fault leaves no doubt about the quotes (bad UTF-8, a
 * control character, too many columns) that is the row after the real end of this one; where it does (a stray or lost
 * quote, a field or row beyond its limit) it is whatever follows the next LF.
 */
#ifndef LIBRARY_CSV_H
#define LIBRARY_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    library_csv_field_bytes_max = 64 * 1024,
    library_csv_row_bytes_max = 256 * 1024,
    library_csv_columns_max = 64,
};

typedef enum {
    LIBRARY_CSV_OK = 0,
    LIBRARY_CSV_STRAY_QUOTE,      /* a quote inside an unquoted field */
    LIBRARY_CSV_AFTER_QUOTE,      /* something other than a comma or a line break after a closing quote */
    LIBRARY_CSV_LONE_CR,          /* a carriage return without a line feed, outside quotes */
    LIBRARY_CSV_UNTERMINATED,     /* the input ends inside quotes */
    LIBRARY_CSV_NOT_UTF8,         /* also: overlong forms, surrogates, beyond U+10FFFF */
    LIBRARY_CSV_CONTROL,          /* a control character other than tab, or CR and LF inside quotes */
    LIBRARY_CSV_FIELD_TOO_LONG,   /* beyond library_csv_field_bytes_max */
    LIBRARY_CSV_ROW_TOO_LONG,     /* beyond library_csv_row_bytes_max */
    LIBRARY_CSV_TOO_MANY_COLUMNS, /* beyond library_csv_columns_max */
} library_csv_fault_t;

typedef struct {
    uint64_t line;             /* where the row begins, 1… */
    library_csv_fault_t fault; /* not LIBRARY_CSV_OK: there are no fields */
    size_t field_count;        /* 1…library_csv_columns_max */
    /* Each field is UTF-8, ends with a zero and holds no other. Borrowed until the callback returns, which may write
     * into them. */
    char **fields;
    const size_t *lengths; /* bytes, without the zero */
} library_csv_row_t;

/* Returns true to go on, false to stop: the reader then takes nothing more. */
typedef bool (*library_csv_row_fn)(void *context, library_csv_row_t *row);

typedef struct library_csv library_csv_t;

/* Returns NULL when memory is short. The caller owns the reader. `context` is borrowed until destroy. */
library_csv_t *library_csv_create(library_csv_row_fn on_row, void *context);

void library_csv_destroy(library_csv_t *csv); /* NULL is fine */

/* Takes the next `size` bytes. Returns false once the callback has stopped the reader. */
bool library_csv_feed(library_csv_t *csv, const char *bytes, size_t size);

/* Says that the input has ended, which completes the last row. To be called once. Returns as library_csv_feed. */
bool library_csv_finish(library_csv_t *csv);

/* An English phrase for people, e.g. "a quote inside an unquoted field". Static. */
const char *library_csv_fault_text(library_csv_fault_t fault);

/* Whether the bytes are well-formed UTF-8 (RFC 3629). */
bool library_utf8_valid(const char *bytes, size_t size);

#endif
