/*
 * Importing a catalogue straight into a store that nobody serves: the sample of an empty library, and the import command while the service
 * is down. The file is read once, row by row; good rows are stored in batches.
 *
 * Each batch is one transaction, and a batch that comes again changes nothing; so an import that was cut off anywhere is completed by
 * running it again. Into a library that is served a catalogue goes as a job (library_job.h).
 */
#ifndef LIBRARY_IMPORT_H
#define LIBRARY_IMPORT_H

#include "services/library/library_reader.h"
#include "services/library/library_store.h"

#include <jansson.h>
#include <stdio.h>

/* A batch is stored at library_batch_max rows or so many bytes of them. */
#define LIBRARY_IMPORT_BATCH_BYTES (1024 * 1024)

typedef struct {
    uint64_t rows; /* without the header */
    uint64_t added;
    uint64_t changed;
    uint64_t unchanged;
    uint64_t rejected;
} library_import_counts_t;

/* By the name's end: .ndjson and .jsonl are NDJSON, everything else is CSV. */
library_format_t library_import_format(const char *path);

/* Reads the file at `path` to its end. Rejected rows are printed on `report` (NULL: not). false: the file cannot be read, is no
 * catalogue, or the store failed: the reason is on `report`, or logged without one. *counts is filled in every case. */
bool library_import_file(const char *path, const char *currency, library_store_t *store, FILE *report,
                         library_import_counts_t *counts);

/* The books of a batch of plain forms (library_json_plain), which were judged when they were read: an array that the caller frees; its texts
 * are borrowed from `batch`. NULL: no memory. */
library_book_t *library_import_books(const json_t *batch);

#endif
