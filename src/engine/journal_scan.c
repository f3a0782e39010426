/* Reading a segment: through a window of some MiB, so that a large segment needs no large memory. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/journal_internal.h"

#define WINDOW_BYTES (UINT64_C(4) << 20)

journal_result_t journal_reader_init(journal_reader_t *reader, const files_t *files, int file) {
    int64_t size = files->size(files->context, file);
    if (size < 0) return JOURNAL_FAILED;
    *reader = (journal_reader_t){.files = files, .file = file, .size = (uint64_t)size};
    return JOURNAL_OK;
}

void journal_reader_deinit(journal_reader_t *reader) {
    free(reader->window);
    reader->window = NULL;
}

static journal_result_t grow(journal_reader_t *reader, size_t least) {
    size_t capacity = least > WINDOW_BYTES ? least : (size_t)WINDOW_BYTES;
    if (capacity > reader->size && least <= reader->size) capacity = (size_t)reader->size;
    if (capacity <= reader->capacity) return JOURNAL_OK;
    free(reader->window); /* its bytes are read again */
    reader->filled = 0;
    reader->capacity = 0;
    reader->window = malloc(capacity);
    if (reader->window == NULL) return JOURNAL_NO_MEMORY;
    reader->capacity = capacity;
    return JOURNAL_OK;
}

journal_result_t journal_reader_at(journal_reader_t *reader, uint64_t offset, size_t least, const uint8_t **bytes,
                                   size_t *available) {
    uint64_t left = offset < reader->size ? reader->size - offset : 0;
    if (left == 0) { /* behind the end: there may be no window at all */
        *bytes = NULL;
        *available = 0;
        return JOURNAL_OK;
    }
    if (least > left) least = (size_t)left;
    bool inside = offset >= reader->start && offset + least <= reader->start + reader->filled;
    if (!inside || reader->window == NULL) {
        journal_result_t result = grow(reader, least);
        if (result != JOURNAL_OK) return result;
        size_t want = left < reader->capacity ? (size_t)left : reader->capacity;
        int64_t got =
            want == 0 ? 0 : reader->files->pread(reader->files->context, reader->file, reader->window, want, offset);
        if (got < 0 || (size_t)got < least) return JOURNAL_FAILED;
        reader->start = offset;
        reader->filled = (size_t)got;
    }
    *bytes = reader->window + (offset - reader->start);
    *available = (size_t)(reader->start + reader->filled - offset);
    return JOURNAL_OK;
}

journal_scan_t journal_scan_batch(journal_reader_t *reader, const journal_where_t *where, journal_batch_t *batch,
                                  journal_result_t *result) {
    const uint8_t *bytes;
    size_t available;
    *result = journal_reader_at(reader, where->offset, JOURNAL_BATCH_HEADER_BYTES, &bytes, &available);
    if (*result != JOURNAL_OK) return JOURNAL_SCAN_ERROR;
    if (available < JOURNAL_BATCH_HEADER_BYTES) return JOURNAL_SCAN_END;
    uint32_t length = journal_batch_length(bytes);
    if (length == 0 || length > reader->size - where->offset) return JOURNAL_SCAN_END;
    *result = journal_reader_at(reader, where->offset, length, &bytes, &available);
    if (*result != JOURNAL_OK) return JOURNAL_SCAN_ERROR;
    return journal_batch_decode(bytes, available, where, batch) ? JOURNAL_SCAN_BATCH : JOURNAL_SCAN_END;
}

journal_result_t journal_scan_find(journal_reader_t *reader, journal_where_t where, uint64_t *found) {
    assert(where.offset % 8 == 0);
    *found = 0;
    while (where.offset + JOURNAL_BATCH_HEADER_BYTES <= reader->size) {
        const uint8_t *bytes;
        size_t available;
        journal_result_t result =
            journal_reader_at(reader, where.offset, JOURNAL_BATCH_HEADER_BYTES, &bytes, &available);
        if (result != JOURNAL_OK) return result;
        size_t at = 0;
        while (at + JOURNAL_BATCH_HEADER_BYTES <= available && journal_batch_length(bytes + at) == 0) at += 8;
        where.offset += at;
        if (at + JOURNAL_BATCH_HEADER_BYTES > available) continue;
        journal_batch_t batch;
        journal_scan_t scan = journal_scan_batch(reader, &where, &batch, &result);
        if (scan == JOURNAL_SCAN_ERROR) return result;
        if (scan == JOURNAL_SCAN_BATCH) {
            *found = where.offset;
            return JOURNAL_OK;
        }
        where.offset += 8;
    }
    return JOURNAL_OK;
}
