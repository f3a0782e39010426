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

/* --- one import --- */

typedef struct {
    library_sink_fn sink;
    void *context;
    FILE *report; /* borrowed; may be NULL */
    library_import_counts_t *counts;
    int price_digits;
    bool has_header;
    bool failed;
    library_columns_t columns;
    id_set_t seen;
    json_t *batch; /* owned; NULL: empty */
    size_t batch_bytes;
    uint64_t lines[library_batch_max]; /* where each book of the batch stands */
} import_t;

static void reject(import_t *import, uint64_t line, const char *reason) {
    import->counts->rejected++;
    if (import->report == NULL) return;
    if (import->counts->rejected <= library_import_reports_max) {
        (void)fprintf(import->report, "line %llu: %s\n", (unsigned long long)line, reason); /* a report only */
    } else if (import->counts->rejected == library_import_reports_max + 1) {
        (void)fprintf(import->report, "more rows were rejected; they are counted below\n"); /* a report only */
    }
}

static bool fail(import_t *import, const char *reason) {
    import->failed = true;
    bc_log(BC_LOG_ERROR, "import-failed", bc_f_text("reason", reason));
    if (import->report != NULL) (void)fprintf(import->report, "the import ends: %s\n", reason); /* a report only */
    return false;
}

static bool send_batch(import_t *import) {
    size_t count = json_array_size(import->batch);
    if (count == 0) return true;
    library_imported_t results[library_batch_max];
    bool sent = import->sink(import->context, import->batch, results);
    json_decref(import->batch);
    import->batch = NULL;
    import->batch_bytes = 0;
    if (!sent) return fail(import, "the library did not take the rows; what was taken stays, run it again");
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

static bool take_book(import_t *import, const library_book_t *book, const library_csv_row_t *row) {
    bool known = false;
    if (!id_add(&import->seen, book->id, &known)) return fail(import, "no memory");
    if (known) {
        reject(import, row->line, "id stands in an earlier row");
        return true;
    }
    if (import->batch == NULL) import->batch = json_array();
    import->lines[json_array_size(import->batch)] = row->line;
    if (json_array_append_new(import->batch, library_json_plain(book)) != 0) return fail(import, "no memory");
    for (size_t i = 0; i < row->field_count; i++) import->batch_bytes += row->lengths[i];
    bool full =
        json_array_size(import->batch) == library_batch_max || import->batch_bytes >= LIBRARY_IMPORT_BATCH_BYTES;
    return full ? send_batch(import) : true;
}

static bool take_row(void *context, library_csv_row_t *row) {
    import_t *import = context;
    char reason[library_reason_bytes];
    char isbn[library_isbn_chars + 1];
    if (!import->has_header) {
        import->has_header = true;
        if (library_columns_read(row, import->price_digits, &import->columns, reason)) return true;
        return fail(import, reason);
    }
    if (import->counts->rows == library_import_rows_max) return fail(import, "more than ten million rows");
    import->counts->rows++;
    library_book_t book;
    if (library_columns_book(&import->columns, row, &book, isbn, reason)) return take_book(import, &book, row);
    reject(import, row->line, reason);
    return true;
}

static bool read_file(import_t *import, int fd) {
    library_csv_t *csv = library_csv_create(take_row, import);
    char *bytes = malloc(LIBRARY_IMPORT_BATCH_BYTES);
    bool going = csv != NULL && bytes != NULL;
    if (!going) (void)fail(import, "no memory"); /* always false */
    while (going) {
        ssize_t got = read(fd, bytes, LIBRARY_IMPORT_BATCH_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) going = fail(import, strerror(errno));
        if (got <= 0) break;
        going = library_csv_feed(csv, bytes, (size_t)got);
    }
    bool whole = going && library_csv_finish(csv) && !import->failed;
    if (whole && !import->has_header) whole = fail(import, "the file is empty");
    free(bytes);
    library_csv_destroy(csv);
    return whole && send_batch(import);
}

bool library_import_file(const char *path, int price_digits, library_sink_fn sink, void *context, FILE *report,
                         library_import_counts_t *counts) {
    *counts = (library_import_counts_t){0};
    import_t *import = calloc(1, sizeof(*import));
    if (import == NULL) return false;
    import->sink = sink;
    import->context = context;
    import->report = report;
    import->counts = counts;
    import->price_digits = price_digits;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool whole = fd >= 0 ? read_file(import, fd) : fail(import, strerror(errno));
    if (fd >= 0) (void)close(fd); /* read only */
    json_decref(import->batch);
    free(import->seen.slots);
    free(import);
    return whole;
}

library_result_t library_import_batch(library_store_t *store, const json_t *books, library_imported_t *results,
                                      size_t *count, library_fault_t *fault) {
    size_t given = json_array_size(books);
    *fault = (library_fault_t){NULL, NULL};
    if (given == 0 || given > library_batch_max) {
        *fault = (library_fault_t){"books", "from 1 to 500"};
        return LIBRARY_FAILED;
    }
    library_book_t *list = malloc(given * sizeof(*list));
    if (list == NULL) return LIBRARY_FAILED;
    for (size_t i = 0; i < given && fault->field == NULL; i++) {
        *fault = library_json_read(json_array_get(books, i), &list[i]);
    }
    library_result_t result =
        fault->field != NULL ? LIBRARY_FAILED : library_store_import(store, list, given, bc_time_ms(), results);
    if (result == LIBRARY_OK) *count = given;
    free(list);
    return result;
}

bool library_import_to_store(void *context, json_t *books, library_imported_t *results) {
    library_fault_t fault;
    size_t count = 0;
    library_result_t result = library_import_batch(context, books, results, &count, &fault);
    assert(fault.field == NULL); /* the rows were checked when they were read */
    return result == LIBRARY_OK;
}
