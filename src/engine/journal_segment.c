/*
 * Making segments. A segment gets its name only when its size, its zeros, its header and its first batch are on disk; then
 * the folder is synced. So whatever has a segment's name is a whole segment, whether or not the name survives a power cut.
 *
 *   none ──step: create, reserve──▶ growing ──steps: zeros, sync──▶ ready ──start: header, sync, rename, sync──▶ segment
 * Any failure before the rename throws the spare away and changes nothing else.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/journal_internal.h"

static int path_of(const journal_t *journal, const char *name, char path[JOURNAL_PATH_MAX]) {
    int length = snprintf(path, JOURNAL_PATH_MAX, "%s/%s", journal->folder, name);
    return length < 0 || length >= JOURNAL_PATH_MAX ? -ENAMETOOLONG : 0;
}

int journal_path(const journal_t *journal, uint64_t number, char path[JOURNAL_PATH_MAX]) {
    char name[32];
    (void)snprintf(name, sizeof(name), "%016" PRIx64 ".journal", number); /* fits: 16 + 8 characters */
    return path_of(journal, name, path);
}

int journal_spare_path(const journal_t *journal, char path[JOURNAL_PATH_MAX]) {
    return path_of(journal, JOURNAL_SPARE_NAME, path);
}

bool journal_reserve_segments(journal_t *journal, size_t more) {
    if (journal->count + more <= journal->capacity) return true;
    size_t capacity = (journal->count + more) * 2;
    journal_segment_t *larger = realloc(journal->segments, capacity * sizeof(*larger));
    if (larger == NULL) return false;
    journal->segments = larger;
    journal->capacity = capacity;
    return true;
}

bool journal_reserve_buffer(journal_t *journal, size_t bytes) {
    if (bytes <= journal->buffer_capacity) return true;
    size_t capacity = bytes + bytes / 2;
    uint8_t *larger = malloc(capacity); /* its content is not kept */
    if (larger == NULL) return false;
    free(journal->buffer);
    journal->buffer = larger;
    journal->buffer_capacity = capacity;
    return true;
}

void journal_spare_discard(journal_t *journal) {
    if (journal->spare.file < 0) return;
    char path[JOURNAL_PATH_MAX];
    (void)journal->files->close(journal->files->context, journal->spare.file); /* it is thrown away */
    journal->spare.file = -1;
    if (journal_spare_path(journal, path) == 0) {
        (void)journal->files->unlink(journal->files->context, path); /* a leftover is removed by the next one */
    }
}

static int spare_create(journal_t *journal, uint64_t size) {
    const files_t *files = journal->files;
    char path[JOURNAL_PATH_MAX];
    int result = journal_spare_path(journal, path);
    if (result < 0) return result;
    result = files->unlink(files->context, path); /* somebody's leftover */
    if (result < 0 && result != -ENOENT) return result;
    int file = files->open(files->context, path, 1, 1);
    if (file < 0) return file;
    journal->spare = (journal_spare_t){.file = file, .size = size, .zeroed = 0};
    return files->allocate(files->context, file, size);
}

static int spare_zero(journal_t *journal) {
    static const uint8_t zeros[64 << 10];
    const files_t *files = journal->files;
    journal_spare_t *spare = &journal->spare;
    uint64_t end = spare->zeroed + JOURNAL_ZERO_STEP < spare->size ? spare->zeroed + JOURNAL_ZERO_STEP : spare->size;
    for (uint64_t at = spare->zeroed; at < end;) {
        size_t part = end - at < sizeof(zeros) ? (size_t)(end - at) : sizeof(zeros);
        int64_t written = files->pwrite(files->context, spare->file, zeros, part, at);
        if (written < 0) return (int)written;
        if ((size_t)written != part) return -EIO;
        at += part;
    }
    /* The last sync is of everything: size, blocks and times are settled, so that later ones have data to write only. */
    int result = end < spare->size ? files->sync_data(files->context, spare->file)
                                   : files->sync_all(files->context, spare->file);
    if (result < 0) return result;
    spare->zeroed = end;
    return 0;
}

int journal_spare_step(journal_t *journal, uint64_t size, bool *ready) {
    assert(size > JOURNAL_HEADER_BYTES);
    if (journal->spare.file >= 0 && journal->spare.size < size) journal_spare_discard(journal);
    int result = journal->spare.file < 0 ? spare_create(journal, size) : 0;
    if (result == 0 && journal->spare.zeroed < journal->spare.size) result = spare_zero(journal);
    if (result < 0) {
        journal_spare_discard(journal);
        return result;
    }
    *ready = journal->spare.zeroed == journal->spare.size;
    return 0;
}

/* Header and batch into the ready spare, synced. */
static int spare_fill(journal_t *journal, const journal_header_t *header, const uint8_t *batch, size_t batch_length) {
    const files_t *files = journal->files;
    uint8_t bytes[JOURNAL_HEADER_BYTES];
    journal_header_encode(header, bytes);
    int64_t written = files->pwrite(files->context, journal->spare.file, bytes, sizeof(bytes), 0);
    if (written < 0) return (int)written;
    if ((size_t)written != sizeof(bytes)) return -EIO;
    if (batch_length > 0) {
        written = files->pwrite(files->context, journal->spare.file, batch, batch_length, sizeof(bytes));
        if (written < 0) return (int)written;
        if ((size_t)written != batch_length) return -EIO;
    }
    int result = files->sync_data(files->context, journal->spare.file);
    if (result < 0) journal->sync_failures++;
    return result;
}

journal_result_t journal_segment_start(journal_t *journal, journal_header_t *header, uint64_t size,
                                       const uint8_t *batch, size_t batch_length, int *file) {
    const files_t *files = journal->files;
    assert(header->number > journal->number_used);
    assert(JOURNAL_HEADER_BYTES + batch_length <= size);
    char from[JOURNAL_PATH_MAX];
    char to[JOURNAL_PATH_MAX];
    if (journal_spare_path(journal, from) < 0 || journal_path(journal, header->number, to) < 0) return JOURNAL_FULL;
    journal->disk_full = true;
    for (bool ready = false; !ready;) {
        if (journal_spare_step(journal, size, &ready) < 0) return JOURNAL_FULL;
    }
    header->bytes = journal->spare.size;
    if (spare_fill(journal, header, batch, batch_length) < 0) {
        journal_spare_discard(journal);
        return JOURNAL_FULL;
    }
    journal->number_used = header->number;
    int result = files->rename(files->context, from, to);
    if (result == 0) result = files->sync_folder(files->context, journal->folder);
    if (result < 0) {
        /* It may be there or not; its number is used up, and the next header leaves it out. */
        (void)files->close(files->context, journal->spare.file);
        journal->spare.file = -1;
        journal->failed = true;
        journal->sync_failures++;
        return JOURNAL_FAILED;
    }
    *file = journal->spare.file;
    journal->spare.file = -1;
    journal->disk_full = false;
    return JOURNAL_OK;
}

void journal_segment_remove(journal_t *journal, uint64_t number) {
    char path[JOURNAL_PATH_MAX];
    if (journal_path(journal, number, path) < 0) return;
    (void)journal->files->unlink(journal->files->context, path); /* a leftover is removed at the next start */
}
