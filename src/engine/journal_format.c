#include "engine/journal_format.h"

#include <assert.h>

#include "engine/journal_crc.h"

#define HEADER_MAGIC    "bcjournl"
#define BATCH_MAGIC     "btch"
#define FORMAT_VERSION  1
#define HEADER_CRC_AT   (JOURNAL_HEADER_BYTES - 4)
#define BATCH_CRC_AT    24
#define BATCH_BYTES_MAX (UINT32_C(1) << 31)

/* Written for a little-endian machine's speed and a big-endian one's correctness: compilers make one move of it. */
static void put_u16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}
static void put_u32(uint8_t *at, uint32_t value) {
    put_u16(at, value);
    put_u16(at + 2, value >> 16);
}
static void put_u64(uint8_t *at, uint64_t value) {
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}
static uint32_t get_u16(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}
static uint32_t get_u32(const uint8_t *at) {
    return get_u16(at) | get_u16(at + 2) << 16;
}
static uint64_t get_u64(const uint8_t *at) {
    return (uint64_t)get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

/* ---- header ------------------------------------------------------------------------------------------------------ */

void journal_header_encode(const journal_header_t *header, uint8_t bytes[JOURNAL_HEADER_BYTES]) {
    assert(header->number > header->previous);
    assert(header->first <= header->number);
    memset(bytes, 0, JOURNAL_HEADER_BYTES);
    memcpy(bytes, HEADER_MAGIC, 8);
    put_u32(bytes + 8, FORMAT_VERSION);
    put_u32(bytes + 12, JOURNAL_HEADER_BYTES);
    memcpy(bytes + 16, header->id.bytes, CART_ID_BYTES);
    put_u64(bytes + 32, header->number);
    put_u64(bytes + 40, header->previous);
    put_u64(bytes + 48, header->previous_length);
    put_u64(bytes + 56, header->first);
    put_u64(bytes + 64, header->sequence);
    put_u64(bytes + 72, header->bytes);
    put_u64(bytes + 80, header->epoch_seen);
    put_u32(bytes + HEADER_CRC_AT, journal_crc32c(0, bytes, HEADER_CRC_AT));
}

journal_header_result_t journal_header_decode(const uint8_t bytes[JOURNAL_HEADER_BYTES], journal_header_t *header) {
    if (memcmp(bytes, HEADER_MAGIC, 8) != 0) return JOURNAL_HEADER_BAD;
    if (get_u32(bytes + HEADER_CRC_AT) != journal_crc32c(0, bytes, HEADER_CRC_AT)) return JOURNAL_HEADER_BAD;
    if (get_u32(bytes + 8) > FORMAT_VERSION) return JOURNAL_HEADER_NEWER;
    if (get_u32(bytes + 8) != FORMAT_VERSION || get_u32(bytes + 12) != JOURNAL_HEADER_BYTES) return JOURNAL_HEADER_BAD;
    journal_header_t read = {.number = get_u64(bytes + 32),
                             .previous = get_u64(bytes + 40),
                             .previous_length = get_u64(bytes + 48),
                             .first = get_u64(bytes + 56),
                             .sequence = get_u64(bytes + 64),
                             .bytes = get_u64(bytes + 72),
                             .epoch_seen = get_u64(bytes + 80)};
    memcpy(read.id.bytes, bytes + 16, CART_ID_BYTES);
    if (read.number == 0 || read.previous >= read.number || read.first > read.number) return JOURNAL_HEADER_BAD;
    if (read.previous != 0 && read.previous_length < JOURNAL_HEADER_BYTES) return JOURNAL_HEADER_BAD;
    *header = read;
    return JOURNAL_HEADER_OK;
}

/* ---- batch ------------------------------------------------------------------------------------------------------- */

static uint32_t batch_crc(const uint8_t *bytes, size_t length, const journal_where_t *where) {
    uint8_t place[CART_ID_BYTES + 16];
    memcpy(place, where->id->bytes, CART_ID_BYTES);
    put_u64(place + CART_ID_BYTES, where->number);
    put_u64(place + CART_ID_BYTES + 8, where->offset);
    uint32_t crc = journal_crc32c(0, place, sizeof(place));
    crc = journal_crc32c(crc, bytes, BATCH_CRC_AT);
    return journal_crc32c(crc, bytes + BATCH_CRC_AT + 4, length - BATCH_CRC_AT - 4);
}

static void batch_seal(uint8_t *bytes, uint32_t length, uint32_t count, journal_batch_kind_t kind, uint64_t sequence,
                       const journal_where_t *where) {
    assert(length % 8 == 0);
    assert(where->offset % 8 == 0);
    memcpy(bytes, BATCH_MAGIC, 4);
    put_u32(bytes + 4, length);
    put_u32(bytes + 8, count);
    put_u32(bytes + 12, (uint32_t)kind);
    put_u64(bytes + 16, sequence);
    put_u32(bytes + 28, 0);
    put_u32(bytes + BATCH_CRC_AT, batch_crc(bytes, length, where));
}

static size_t record_size(const commit_set_t *set) {
    return JOURNAL_RECORD_HEADER_BYTES + set->image_length + (size_t)set->added_count * JOURNAL_ADDED_BYTES;
}

size_t journal_batch_size(const commit_set_t *sets, unsigned count) {
    size_t size = JOURNAL_BATCH_HEADER_BYTES;
    for (unsigned i = 0; i < count; i++) {
        if (sets[i].image_length > JOURNAL_IMAGE_MAX || sets[i].added_count > JOURNAL_ADDED_MAX) return 0;
        size += record_size(&sets[i]);
        if (size > BATCH_BYTES_MAX - 8) return 0;
    }
    return (size + 7) & ~(size_t)7;
}

static uint8_t *record_encode(uint8_t *at, const commit_set_t *set) {
    memcpy(at, set->user.bytes, CART_ID_BYTES);
    put_u64(at + 16, set->expected.epoch);
    put_u64(at + 24, set->expected.version);
    put_u64(at + 32, set->base_version);
    put_u16(at + 40, set->image_length);
    put_u16(at + 42, set->added_count);
    at += JOURNAL_RECORD_HEADER_BYTES;
    memcpy(at, set->image, set->image_length);
    at += set->image_length;
    for (uint32_t i = 0; i < set->added_count; i++, at += JOURNAL_ADDED_BYTES) {
        memcpy(at, set->added[i].id, CART_REQUEST_BYTES);
        put_u64(at + 16, set->added[i].digest);
        put_u32(at + 24, set->added[i].at_s);
        at[28] = set->added[i].keyed ? 1 : 0;
    }
    return at;
}

void journal_batch_encode(const commit_set_t *sets, unsigned count, const journal_where_t *where, uint64_t sequence,
                          uint8_t *bytes, size_t size) {
    uint8_t *at = bytes + JOURNAL_BATCH_HEADER_BYTES;
    for (unsigned i = 0; i < count; i++) at = record_encode(at, &sets[i]);
    assert((size_t)(at - bytes) <= size && (size_t)(at - bytes) + 8 > size);
    memset(at, 0, (size_t)(bytes + size - at));
    batch_seal(bytes, (uint32_t)size, count, JOURNAL_BATCH_SETS, sequence, where);
}

void journal_drop_encode(uint64_t first, const journal_where_t *where, uint64_t sequence,
                         uint8_t bytes[JOURNAL_DROP_BYTES]) {
    put_u64(bytes + JOURNAL_BATCH_HEADER_BYTES, first);
    batch_seal(bytes, JOURNAL_DROP_BYTES, 0, JOURNAL_BATCH_DROP, sequence, where);
}

void journal_batch_move(uint8_t *bytes, const journal_where_t *where, uint64_t sequence) {
    batch_seal(bytes, get_u32(bytes + 4), get_u32(bytes + 8), (journal_batch_kind_t)get_u32(bytes + 12), sequence,
               where);
}

uint32_t journal_batch_length(const uint8_t *bytes) {
    if (memcmp(bytes, BATCH_MAGIC, 4) != 0) return 0;
    uint32_t length = get_u32(bytes + 4);
    if (length < JOURNAL_BATCH_HEADER_BYTES || length % 8 != 0 || length > BATCH_BYTES_MAX) return 0;
    return length;
}

/* Bytes of the record at `at`, or 0 when it does not fit into what is left. */
static size_t record_length(const uint8_t *at, size_t left) {
    if (left < JOURNAL_RECORD_HEADER_BYTES) return 0;
    size_t image = get_u16(at + 40);
    size_t added = get_u16(at + 42);
    if (image > JOURNAL_IMAGE_MAX || added > JOURNAL_ADDED_MAX) return 0;
    size_t length = JOURNAL_RECORD_HEADER_BYTES + image + added * JOURNAL_ADDED_BYTES;
    return length <= left ? length : 0;
}

static bool records_fill(const uint8_t *payload, size_t left, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        size_t length = record_length(payload, left);
        if (length == 0) return false;
        payload += length;
        left -= length;
    }
    return left < 8;
}

bool journal_batch_decode(const uint8_t *bytes, size_t available, const journal_where_t *where,
                          journal_batch_t *batch) {
    if (available < JOURNAL_BATCH_HEADER_BYTES) return false;
    uint32_t length = journal_batch_length(bytes);
    if (length == 0 || length > available) return false;
    if (get_u32(bytes + BATCH_CRC_AT) != batch_crc(bytes, length, where)) return false;
    journal_batch_t read = {.kind = (journal_batch_kind_t)get_u32(bytes + 12),
                            .length = length,
                            .count = get_u32(bytes + 8),
                            .sequence = get_u64(bytes + 16),
                            .payload = bytes + JOURNAL_BATCH_HEADER_BYTES};
    if (read.kind == JOURNAL_BATCH_DROP) {
        if (length != JOURNAL_DROP_BYTES || read.count != 0) return false;
        read.first = get_u64(read.payload);
    } else if (read.kind != JOURNAL_BATCH_SETS ||
               !records_fill(read.payload, length - JOURNAL_BATCH_HEADER_BYTES, read.count)) {
        return false;
    }
    *batch = read;
    return true;
}

bool journal_record_next(const journal_batch_t *batch, uint32_t *index, size_t *at, cart_recent_id_t *added,
                         commit_set_t *set) {
    if (*index >= batch->count) return false;
    const uint8_t *record = batch->payload + *at;
    assert(record_length(record, batch->length - JOURNAL_BATCH_HEADER_BYTES - *at) != 0);
    memcpy(set->user.bytes, record, CART_ID_BYTES);
    set->expected.epoch = get_u64(record + 16);
    set->expected.version = get_u64(record + 24);
    set->base_version = get_u64(record + 32);
    set->image_length = get_u16(record + 40);
    set->added_count = get_u16(record + 42);
    set->image = record + JOURNAL_RECORD_HEADER_BYTES;
    set->added = added;
    const uint8_t *id = set->image + set->image_length;
    for (uint32_t i = 0; i < set->added_count; i++, id += JOURNAL_ADDED_BYTES) {
        memcpy(added[i].id, id, CART_REQUEST_BYTES);
        added[i].digest = get_u64(id + 16);
        added[i].at_s = get_u32(id + 24);
        added[i].keyed = id[28] != 0;
    }
    *at = (size_t)(id - batch->payload);
    (*index)++;
    return true;
}

/* ---- image ------------------------------------------------------------------------------------------------------- */

static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *value) {
    uint64_t read = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        read |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = read;
            return true;
        }
    }
    return false;
}

bool journal_image_place(const uint8_t *image, size_t length, cart_place_t *place) {
    cart_place_t read;
    const uint8_t *end = image + length;
    if (!read_varint(&image, end, &read.epoch) || !read_varint(&image, end, &read.version)) return false;
    if (read.epoch == 0) return false;
    *place = read;
    return true;
}
