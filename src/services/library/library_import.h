/*
 * Importing a catalogue: the file is read once, row by row; good rows go in batches to a sink, which is either the
 * running service or, when it is down, its database.
 *
 * Each batch is one transaction, and a batch that is sent again changes nothing; so an import that was cut off anywhere is completed
 * by running it again.
 */
#ifndef LIBRARY_IMPORT_H
#define LIBRARY_IMPORT_H

#include "services/library/library_reader.h"
#include "services/library/library_store.h"

#include <jansson.h>
#include <stdio.h>

#define LIBRARY_IMPORT_PATH        "/internal/books/import"
#define LIBRARY_IMPORT_BODY_MAX    (4 * 1024 * 1024)
/* A batch is sent at library_batch_max rows or so many bytes of them: escaped it stays below LIBRARY_IMPORT_BODY_MAX. */
#define LIBRARY_IMPORT_BATCH_BYTES (1024 * 1024)

enum {
    library_import_reports_max = 1000, /* rejected rows named one by one; the rest is counted */
};

typedef struct {
    uint64_t rows; /* without the header */
    uint64_t added;
    uint64_t changed;
    uint64_t unchanged;
    uint64_t rejected;
} library_import_counts_t;

/* Takes the plain forms in `books` (1…library_batch_max) and fills one result each. false: the import ends; it was logged. */
typedef bool (*library_sink_fn)(void *context, json_t *books, library_imported_t *results);

/* By the name's end: .ndjson and .jsonl are NDJSON, everything else is CSV. */
library_format_t library_import_format(const char *path);

/* Reads the file at `path` to its end. Rejected rows are printed on `report` (NULL: not). false: the file cannot be read, is no
 * catalogue, or the sink failed: the reason is on `report`, or logged without one. *counts is filled in every case. */
bool library_import_file(const char *path, const char *currency, library_sink_fn sink, void *context, FILE *report,
                         library_import_counts_t *counts);

/* A sink for an open store: `context` is the library_store_t. */
bool library_import_to_store(void *context, json_t *books, library_imported_t *results);

/* One batch as it came. Bad input: LIBRARY_FAILED with fault->field set; else fault->field is NULL. */
library_result_t library_import_batch(library_store_t *store, const json_t *books, library_imported_t *results,
                                      size_t *count, library_fault_t *fault);

#endif
