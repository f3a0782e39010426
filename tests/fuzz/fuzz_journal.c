/*
 * The journal's reader on any bytes. The first byte chooses:
 *   0  the rest is a segment file as it is: the scan finds batches or does not, and never reads outside
 *   1  the rest is a header, whose sum is made right
 *   2  the rest is a batch's payload: its header and sum are made right, so that records are decoded
 *   3  as 0, behind a valid header and with each batch's sum made right where its length fits
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/journal_crc.h"
#include "engine/journal_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *file_bytes;
static size_t file_length;

static int64_t f_pread(void *context, int file, void *bytes, size_t length, uint64_t offset) {
    (void)context;
    (void)file;
    if (offset >= file_length) return 0;
    if (length > file_length - offset) length = (size_t)(file_length - offset);
    memcpy(bytes, file_bytes + offset, length);
    return (int64_t)length;
}
static int64_t f_size(void *context, int file) {
    (void)context;
    (void)file;
    return (int64_t)file_length;
}

static const cart_id_t id = {{7}};
static volatile uint8_t sink; /* so that every byte is really read */

static void walk(const journal_batch_t *batch) {
    static cart_recent_id_t added[JOURNAL_ADDED_MAX];
    commit_set_t set;
    uint32_t index = 0;
    size_t at = 0;
    while (journal_record_next(batch, &index, &at, added, &set)) {
        cart_place_t place;
        for (uint32_t i = 0; i < set.image_length; i++) sink = (uint8_t)(sink ^ set.image[i]);
        for (uint32_t i = 0; i < set.added_count; i++) sink = (uint8_t)(sink ^ set.added[i].id[0]);
        if (journal_image_place(set.image, set.image_length, &place) && place.epoch == 0) abort();
    }
    if (index != batch->count) abort();
}

static void scan(const uint8_t *bytes, size_t length) {
    static const files_t files = {.pread = f_pread, .size = f_size};
    file_bytes = bytes;
    file_length = length;
    journal_reader_t reader;
    journal_result_t result;
    if (journal_reader_init(&reader, &files, 0) != JOURNAL_OK) abort();
    journal_where_t where = {.id = &id, .number = 3, .offset = JOURNAL_HEADER_BYTES};
    journal_batch_t batch;
    while (journal_scan_batch(&reader, &where, &batch, &result) == JOURNAL_SCAN_BATCH) {
        walk(&batch);
        where.offset += batch.length;
    }
    if (result != JOURNAL_OK) abort();
    uint64_t found;
    if (journal_scan_find(&reader, where, &found) != JOURNAL_OK) abort();
    if (found != 0 && found <= where.offset) abort();
    journal_reader_deinit(&reader);
}

static void try_header(const uint8_t *data, size_t size) {
    uint8_t bytes[JOURNAL_HEADER_BYTES] = "bcjournl\1\0\0\0\0\x10";
    memcpy(bytes + 14, data, size < 200 ? size : 200);
    uint32_t crc = journal_crc32c(0, bytes, JOURNAL_HEADER_BYTES - 4);
    memcpy(bytes + JOURNAL_HEADER_BYTES - 4, &crc, 4);
    journal_header_t header;
    if (journal_header_decode(bytes, &header) != JOURNAL_HEADER_OK) return;
    if (header.number == 0 || header.previous >= header.number || header.first > header.number) abort();
    uint8_t again[JOURNAL_HEADER_BYTES];
    journal_header_encode(&header, again);
    if (memcmp(again, bytes, 88) != 0) abort();
}

/* Makes the sum of the batch at `offset` right. journal_batch_move also clears what must be zero. */
static uint32_t mend(uint8_t *bytes, size_t length, uint64_t offset, uint64_t sequence) {
    if (length - offset < JOURNAL_BATCH_HEADER_BYTES) return 0;
    uint32_t claimed = journal_batch_length(bytes + offset);
    if (claimed == 0 || claimed > length - offset) return 0;
    journal_where_t where = {.id = &id, .number = 3, .offset = offset};
    journal_batch_move(bytes + offset, &where, sequence);
    return claimed;
}

static void try_payload(const uint8_t *data, size_t size) {
    if (size < 1) return;
    uint32_t length = (uint32_t)(JOURNAL_BATCH_HEADER_BYTES + (size - 1)) & ~7u;
    if (length < JOURNAL_BATCH_HEADER_BYTES) return;
    uint8_t *bytes = calloc(1, length);
    if (bytes == NULL) return;
    memcpy(bytes, "btch", 4);
    memcpy(bytes + 4, &length, 4);
    bytes[8] = data[0] & 63;
    bytes[12] = data[0] < 64 ? JOURNAL_BATCH_DROP : JOURNAL_BATCH_SETS;
    memcpy(bytes + JOURNAL_BATCH_HEADER_BYTES, data + 1, length - JOURNAL_BATCH_HEADER_BYTES);
    journal_where_t where = {.id = &id, .number = 3, .offset = 4096};
    journal_batch_move(bytes, &where, 1);
    journal_batch_t batch;
    if (journal_batch_decode(bytes, length, &where, &batch)) walk(&batch);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > 1 << 20) return 0;
    uint8_t kind = data[0] & 3;
    data++;
    size--;
    if (kind == 1) try_header(data, size);
    if (kind == 2) try_payload(data, size);
    if (kind == 1 || kind == 2) return 0;
    uint8_t *bytes = calloc(1, JOURNAL_HEADER_BYTES + size);
    if (bytes == NULL) return 0;
    size_t length = JOURNAL_HEADER_BYTES + size;
    memcpy(bytes + JOURNAL_HEADER_BYTES, data, size);
    uint64_t sequence = 1;
    for (uint64_t at = JOURNAL_HEADER_BYTES; kind == 3 && at < length;) {
        uint32_t claimed = mend(bytes, length, at, sequence++);
        at += claimed == 0 ? 8 : claimed;
    }
    scan(bytes, length);
    free(bytes);
    return 0;
}
