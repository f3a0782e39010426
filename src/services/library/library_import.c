#include "services/library/library_import.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"
#include "services/library/library_json.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

library_format_t library_import_format(const char *path) {
    const char *end = strrchr(path, '.');
    bool json = end != NULL && (strcmp(end, ".ndjson") == 0 || strcmp(end, ".jsonl") == 0);
    return json ? LIBRARY_FORMAT_NDJSON : LIBRARY_FORMAT_CSV;
}

/* --- one import --- */

typedef struct {
    library_store_t *store; /* borrowed */
    FILE *report;           /* borrowed; may be NULL */
    library_import_counts_t *counts;
    json_t *batch; /* owned; NULL: empty */
    size_t batch_bytes;
    uint64_t lines[library_batch_max]; /* where each book of the batch stands */
} import_t;

static void reject(import_t *import, uint64_t line, const char *reason) {
    import->counts->rejected++;
    if (import->report == NULL) return;
    if (import->counts->rejected <= library_rejects_named_max) {
        (void)fprintf(import->report, "line %llu: %s\n", (unsigned long long)line, reason); /* a report only */
    } else if (import->counts->rejected == library_rejects_named_max + 1) {
        (void)fprintf(import->report, "more rows were rejected; they are counted below\n"); /* a report only */
    }
}

static bool fail(import_t *import, const char *reason) {
    bc_log(BC_LOG_ERROR, "import-failed", bc_f_text("reason", reason));
    if (import->report != NULL) (void)fprintf(import->report, "the import ends: %s\n", reason); /* a report only */
    return false;
}

library_book_t *library_import_books(const json_t *batch) {
    size_t count = json_array_size(batch);
    library_book_t *books = malloc(count * sizeof(*books));
    for (size_t i = 0; books != NULL && i < count; i++) {
        library_fault_t fault = library_json_read(json_array_get(batch, i), &books[i]);
        assert(fault.field == NULL);
        (void)fault;
    }
    return books;
}

static bool store_batch(import_t *import) {
    size_t count = json_array_size(import->batch);
    if (count == 0) return true;
    library_imported_t results[library_batch_max];
    library_book_t *books = library_import_books(import->batch);
    bool stored =
        books != NULL && library_store_import(import->store, books, count, bc_time_ms(), results) == LIBRARY_OK;
    free(books);
    json_decref(import->batch);
    import->batch = NULL;
    import->batch_bytes = 0;
    if (!stored) return fail(import, "the rows could not be stored; what was stored stays, run it again");
    for (size_t i = 0; i < count; i++) {
        switch (results[i]) {
        case LIBRARY_IMPORT_NEW:
            import->counts->added++;
            break;
        case LIBRARY_IMPORT_CHANGED:
            import->counts->changed++;
            break;
        case LIBRARY_IMPORT_UNCHANGED:
            import->counts->unchanged++;
            break;
        case LIBRARY_IMPORT_GONE:
            reject(import, import->lines[i], "id: the book was deleted");
            break;
        }
    }
    return true;
}

static bool take_book(import_t *import, const library_book_t *book, uint64_t line) {
    if (import->batch == NULL) import->batch = json_array();
    import->lines[json_array_size(import->batch)] = line;
    if (json_array_append_new(import->batch, library_json_plain(book)) != 0) return fail(import, "no memory");
    import->batch_bytes += library_book_bytes(book);
    bool full =
        json_array_size(import->batch) == library_batch_max || import->batch_bytes >= LIBRARY_IMPORT_BATCH_BYTES;
    return full ? store_batch(import) : true;
}

static bool take_row(void *context, const library_reader_row_t *row) {
    import_t *import = context;
    import->counts->rows++;
    if (row->book != NULL) return take_book(import, row->book, row->line);
    reject(import, row->line, row->reason);
    return true;
}

bool library_import_file(const char *path, const char *currency, library_store_t *store, FILE *report,
                         library_import_counts_t *counts) {
    *counts = (library_import_counts_t){0};
    import_t *import = calloc(1, sizeof(*import));
    if (import == NULL) return false;
    char reason[library_reason_bytes] = "";
    import->store = store;
    import->report = report;
    import->counts = counts;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool whole = fd >= 0;
    if (whole) {
        library_read_t read = library_reader_read(fd, library_import_format(path), currency, take_row, import, reason);
        whole = read == LIBRARY_READ_WHOLE;
        if (!whole && read != LIBRARY_READ_STOPPED) (void)fail(import, reason); /* always false; stopped: was said */
        (void)close(fd);                                                        /* read only */
    } else {
        (void)fail(import, strerror(errno)); /* always false */
    }
    whole = whole && store_batch(import);
    json_decref(import->batch);
    free(import);
    return whole;
}
