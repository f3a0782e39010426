/*
 * The codec of the link. One pair of functions a record, in the order of docs/LINK.md; each reader takes from a bounded
 * cursor that can only run dry, never over: cart_take_* on too few bytes sets `ran_dry` and gives zeros, and the one check
 * at the end of a record says whether it was whole.
 */
#include "cart/cart_frame.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cart/cart_decide.h"

/* ---- cursors ------------------------------------------------------------------------------------------------------ */

typedef struct {
    const uint8_t *at, *end;
    bool ran_dry;
} cart_reader_t;

static inline const uint8_t *cart_take(cart_reader_t *reader, size_t bytes) {
    if ((size_t)(reader->end - reader->at) < bytes) {
        reader->ran_dry = true;
        return NULL;
    }
    const uint8_t *taken = reader->at;
    reader->at += bytes;
    return taken;
}

static inline uint64_t cart_load(const uint8_t *at, unsigned bytes) {
    uint64_t value = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(&value, at, bytes);
#else
    for (unsigned i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
#endif
    return value;
}

static inline uint64_t cart_take_number(cart_reader_t *reader, unsigned bytes) {
    const uint8_t *at = cart_take(reader, bytes);
    return at == NULL ? 0 : cart_load(at, bytes);
}

static inline uint8_t cart_take_u8(cart_reader_t *r) {
    return (uint8_t)cart_take_number(r, 1);
}
static inline uint16_t cart_take_u16(cart_reader_t *r) {
    return (uint16_t)cart_take_number(r, 2);
}
static inline uint32_t cart_take_u32(cart_reader_t *r) {
    return (uint32_t)cart_take_number(r, 4);
}
static inline uint64_t cart_take_u64(cart_reader_t *r) {
    return cart_take_number(r, 8);
}

static inline void cart_take_bytes(cart_reader_t *reader, uint8_t *to, size_t bytes) {
    const uint8_t *at = cart_take(reader, bytes);
    if (at == NULL)
        memset(to, 0, bytes);
    else
        memcpy(to, at, bytes);
}

static inline uint8_t *cart_put(uint8_t *to, uint64_t value, unsigned bytes) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(to, &value, bytes);
#else
    for (unsigned i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> (8 * i));
#endif
    return to + bytes;
}

static inline uint8_t *cart_put_bytes(uint8_t *to, const void *bytes, size_t length) {
    if (length > 0) memcpy(to, bytes, length);
    return to + length;
}

void cart_put_u32(uint8_t *bytes, uint32_t value) {
    (void)cart_put(bytes, value, 4); /* the next place is not needed */
}
uint32_t cart_get_u32(const uint8_t *bytes) {
    return (uint32_t)cart_load(bytes, 4);
}

/* ---- headers ------------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *name;
    uint16_t flags; /* all that a frame of this type may carry */
    bool batch;
} cart_frame_kind_t;

static const cart_frame_kind_t kinds[CART_FRAME_TYPE_MAX + 1] = {
    [0] = {"?", 0, false},
    [CART_FRAME_HELLO] = {"HELLO", CART_HELLO_SEVERAL, false},
    [CART_FRAME_WELCOME] = {"WELCOME",
                            CART_WELCOME_SHARED | CART_WELCOME_RESUMED | CART_WELCOME_BOOKS | CART_WELCOME_REVOKED,
                            false},
    [CART_FRAME_OPS] = {"OPS", 0, true},
    [CART_FRAME_DONE] = {"DONE", 0, true},
    [CART_FRAME_FETCH] = {"FETCH", 0, true},
    [CART_FRAME_CART] = {"CART", 0, true},
    [CART_FRAME_PUSH] = {"PUSH", 0, true},
    [CART_FRAME_RELEASE] = {"RELEASE", 0, true},
    [CART_FRAME_FOLLOW] = {"FOLLOW", CART_FOLLOW_STOP, false},
    [CART_FRAME_ASK] = {"ASK", 0, false},
    [CART_FRAME_BOOKS] = {"BOOKS", CART_LIST_FULL | CART_LIST_FIRST | CART_LIST_LAST | CART_LIST_ANSWERS, false},
    [CART_FRAME_REVOKE] = {"REVOKE", CART_LIST_FULL | CART_LIST_FIRST | CART_LIST_LAST, false},
    [CART_FRAME_PING] = {"PING", CART_PING_ANSWER | CART_PING_BOOKS | CART_PING_REVOKED, false},
};

const char *cart_frame_name(uint8_t type) {
    return kinds[type <= CART_FRAME_TYPE_MAX ? type : 0].name;
}

cart_frame_result_t cart_frame_read(const uint8_t *bytes, size_t length, cart_frame_t *frame, size_t *used) {
    if (length < CART_FRAME_HEADER_BYTES) return CART_FRAME_MORE;
    uint32_t payload = (uint32_t)cart_load(bytes, 4);
    uint8_t type = bytes[4];
    uint16_t flags = (uint16_t)cart_load(bytes + 6, 2);
    if (payload > CART_FRAME_PAYLOAD_MAX || type == 0 || type > CART_FRAME_TYPE_MAX) return CART_FRAME_BAD;
    /* The greeting of another protocol is read as far as its first fields, so that it can be answered. */
    bool greeting = type == CART_FRAME_HELLO || type == CART_FRAME_WELCOME;
    if (bytes[5] != CART_PROTOCOL && !greeting) return CART_FRAME_BAD;
    if (bytes[5] == CART_PROTOCOL && (flags & ~kinds[type].flags) != 0) return CART_FRAME_BAD;
    if (length - CART_FRAME_HEADER_BYTES < payload) return CART_FRAME_MORE;
    frame->type = type;
    frame->protocol = bytes[5];
    frame->flags = flags;
    frame->payload = bytes + CART_FRAME_HEADER_BYTES;
    frame->length = payload;
    *used = CART_FRAME_HEADER_BYTES + payload;
    return CART_FRAME_OK;
}

void cart_frame_header(uint8_t bytes[CART_FRAME_HEADER_BYTES], uint8_t type, uint16_t flags, uint32_t payload_length) {
    assert(payload_length <= CART_FRAME_PAYLOAD_MAX);
    assert((flags & ~kinds[type].flags) == 0);
    uint8_t *at = cart_put(bytes, payload_length, 4);
    at = cart_put(at, type, 1);
    at = cart_put(at, CART_PROTOCOL, 1);
    (void)cart_put(at, flags, 2); /* the last field */
}

bool cart_in_append(uint8_t **in, size_t *in_length, size_t *in_capacity, const uint8_t **bytes, size_t *length) {
    const size_t whole = CART_FRAME_HEADER_BYTES + CART_FRAME_PAYLOAD_MAX;
    size_t wanted = *in_length + *length < whole ? *in_length + *length : whole;
    if (wanted > *in_capacity) {
        size_t capacity = *in_capacity == 0 ? 1024 : *in_capacity;
        while (capacity < wanted) capacity *= 2;
        uint8_t *grown = realloc(*in, capacity);
        if (grown == NULL) return false;
        *in = grown;
        *in_capacity = capacity;
    }
    size_t taken = wanted - *in_length;
    memcpy(*in + *in_length, *bytes, taken);
    *in_length += taken;
    *bytes += taken;
    *length -= taken;
    return true;
}

static cart_reader_t payload_of(const cart_frame_t *frame) {
    return (cart_reader_t){.at = frame->payload, .end = frame->payload + frame->length, .ran_dry = false};
}

static bool used_up(const cart_reader_t *reader) {
    return !reader->ran_dry && reader->at == reader->end;
}

/* ---- HELLO, WELCOME ----------------------------------------------------------------------------------------------- */

void cart_hello_write(uint8_t *bytes, const cart_hello_t *hello) {
    cart_frame_header(bytes, CART_FRAME_HELLO, hello->several ? CART_HELLO_SEVERAL : 0, CART_HELLO_BYTES);
    uint8_t *at = cart_put(bytes + CART_FRAME_HEADER_BYTES, CART_FRAME_MAGIC, 4);
    at = cart_put(at, CART_PROTOCOL, 2);
    at = cart_put(at, hello->slot, 2);
    at = cart_put_bytes(at, hello->edge.bytes, CART_ID_BYTES);
    at = cart_put(at, hello->link, 8);
    at = cart_put_bytes(at, hello->service.bytes, CART_ID_BYTES);
    at = cart_put(at, hello->push_seen, 8);
    at = cart_put(at, hello->books_generation, 8);
    at = cart_put(at, hello->books_position, 8);
    at = cart_put(at, hello->revoked_generation, 8);
    at = cart_put(at, hello->revoked_position, 8);
    assert(at == bytes + CART_FRAME_HEADER_BYTES + CART_HELLO_BYTES);
}

bool cart_hello_is_other_protocol(const cart_frame_t *frame) {
    cart_reader_t reader = payload_of(frame);
    uint32_t magic = cart_take_u32(&reader);
    uint16_t protocol = cart_take_u16(&reader);
    bool other = protocol != CART_PROTOCOL || frame->protocol != CART_PROTOCOL;
    return frame->type == CART_FRAME_HELLO && !reader.ran_dry && magic == CART_FRAME_MAGIC && other;
}

bool cart_hello_read(const cart_frame_t *frame, cart_hello_t *hello) {
    if (frame->type != CART_FRAME_HELLO || frame->length != CART_HELLO_BYTES) return false;
    if (frame->protocol != CART_PROTOCOL) return false;
    cart_reader_t reader = payload_of(frame);
    uint32_t magic = cart_take_u32(&reader);
    uint16_t protocol = cart_take_u16(&reader);
    hello->slot = cart_take_u16(&reader);
    cart_take_bytes(&reader, hello->edge.bytes, CART_ID_BYTES);
    hello->link = cart_take_u64(&reader);
    cart_take_bytes(&reader, hello->service.bytes, CART_ID_BYTES);
    hello->push_seen = cart_take_u64(&reader);
    hello->books_generation = cart_take_u64(&reader);
    hello->books_position = cart_take_u64(&reader);
    hello->revoked_generation = cart_take_u64(&reader);
    hello->revoked_position = cart_take_u64(&reader);
    hello->several = (frame->flags & CART_HELLO_SEVERAL) != 0;
    return used_up(&reader) && magic == CART_FRAME_MAGIC && protocol == CART_PROTOCOL &&
           hello->slot < CART_ZONE_SLOTS_MAX && hello->link > 0 && !cart_id_is_none(&hello->edge);
}

void cart_welcome_write(uint8_t *bytes, const cart_welcome_t *welcome) {
    uint16_t flags =
        (uint16_t)((welcome->shared ? CART_WELCOME_SHARED : 0) | (welcome->resumed ? CART_WELCOME_RESUMED : 0) |
                   (welcome->books_vouched ? CART_WELCOME_BOOKS : 0) |
                   (welcome->revoked_vouched ? CART_WELCOME_REVOKED : 0));
    cart_frame_header(bytes, CART_FRAME_WELCOME, flags, CART_WELCOME_BYTES);
    uint8_t *at = cart_put(bytes + CART_FRAME_HEADER_BYTES, CART_FRAME_MAGIC, 4);
    at = cart_put(at, welcome->result, 1);
    at = cart_put(at, CART_PROTOCOL, 1);
    at = cart_put(at, 0, 2);
    at = cart_put_bytes(at, welcome->service.bytes, CART_ID_BYTES);
    at = cart_put(at, welcome->epoch, 8);
    at = cart_put(at, welcome->push_next, 8);
    at = cart_put(at, welcome->books_generation, 8);
    at = cart_put(at, welcome->books_position, 8);
    at = cart_put(at, welcome->revoked_generation, 8);
    at = cart_put(at, welcome->revoked_position, 8);
    assert(at == bytes + CART_FRAME_HEADER_BYTES + CART_WELCOME_BYTES);
}

bool cart_welcome_read(const cart_frame_t *frame, cart_welcome_t *welcome) {
    if (frame->type != CART_FRAME_WELCOME || frame->length != CART_WELCOME_BYTES) return false;
    cart_reader_t reader = payload_of(frame);
    uint32_t magic = cart_take_u32(&reader);
    welcome->result = cart_take_u8(&reader);
    welcome->protocol = cart_take_u8(&reader);
    uint16_t zero = cart_take_u16(&reader);
    cart_take_bytes(&reader, welcome->service.bytes, CART_ID_BYTES);
    welcome->epoch = cart_take_u64(&reader);
    welcome->push_next = cart_take_u64(&reader);
    welcome->books_generation = cart_take_u64(&reader);
    welcome->books_position = cart_take_u64(&reader);
    welcome->revoked_generation = cart_take_u64(&reader);
    welcome->revoked_position = cart_take_u64(&reader);
    welcome->shared = (frame->flags & CART_WELCOME_SHARED) != 0;
    welcome->resumed = (frame->flags & CART_WELCOME_RESUMED) != 0;
    welcome->books_vouched = (frame->flags & CART_WELCOME_BOOKS) != 0;
    welcome->revoked_vouched = (frame->flags & CART_WELCOME_REVOKED) != 0;
    if (!used_up(&reader) || magic != CART_FRAME_MAGIC || zero != 0) return false;
    if (welcome->result != CART_WELCOME_OK) return welcome->result <= CART_WELCOME_RESULT_MAX;
    return frame->protocol == CART_PROTOCOL && welcome->protocol == CART_PROTOCOL &&
           !cart_id_is_none(&welcome->service) && welcome->epoch > 0 && welcome->push_next > 0;
}

/* ---- PING, FOLLOW ------------------------------------------------------------------------------------------------- */

void cart_ping_write(uint8_t *bytes, const cart_ping_t *ping) {
    uint16_t flags = (uint16_t)((ping->answer ? CART_PING_ANSWER : 0) | (ping->books_vouched ? CART_PING_BOOKS : 0) |
                                (ping->revoked_vouched ? CART_PING_REVOKED : 0));
    cart_frame_header(bytes, CART_FRAME_PING, flags, CART_PING_BYTES);
    uint8_t *at = cart_put(bytes + CART_FRAME_HEADER_BYTES, ping->number, 8);
    (void)cart_put(at, ping->push_seen, 8); /* the last field */
}

bool cart_ping_read(const cart_frame_t *frame, cart_ping_t *ping) {
    if (frame->type != CART_FRAME_PING || frame->length != CART_PING_BYTES) return false;
    ping->number = cart_load(frame->payload, 8);
    ping->push_seen = cart_load(frame->payload + 8, 8);
    ping->answer = (frame->flags & CART_PING_ANSWER) != 0;
    ping->books_vouched = (frame->flags & CART_PING_BOOKS) != 0;
    ping->revoked_vouched = (frame->flags & CART_PING_REVOKED) != 0;
    return true;
}

void cart_follow_write(uint8_t *bytes, const cart_follow_t *follow) {
    cart_frame_header(bytes, CART_FRAME_FOLLOW, follow->stop ? CART_FOLLOW_STOP : 0, CART_FOLLOW_BYTES);
    uint8_t *at = cart_put(bytes + CART_FRAME_HEADER_BYTES, follow->books_generation, 8);
    at = cart_put(at, follow->books_position, 8);
    at = cart_put(at, follow->revoked_generation, 8);
    (void)cart_put(at, follow->revoked_position, 8); /* the last field */
}

bool cart_follow_read(const cart_frame_t *frame, cart_follow_t *follow) {
    if (frame->type != CART_FRAME_FOLLOW || frame->length != CART_FOLLOW_BYTES) return false;
    follow->books_generation = cart_load(frame->payload, 8);
    follow->books_position = cart_load(frame->payload + 8, 8);
    follow->revoked_generation = cart_load(frame->payload + 16, 8);
    follow->revoked_position = cart_load(frame->payload + 24, 8);
    follow->stop = (frame->flags & CART_FOLLOW_STOP) != 0;
    return true;
}

/* ---- batches ------------------------------------------------------------------------------------------------------ */

bool cart_batch_open(const cart_frame_t *frame, cart_batch_t *batch) {
    if (!kinds[frame->type].batch || frame->length < CART_FRAME_BATCH_BYTES) return false;
    uint16_t count = (uint16_t)cart_load(frame->payload, 2);
    if (count == 0 || cart_load(frame->payload + 2, 2) != 0) return false;
    batch->at = frame->payload + CART_FRAME_BATCH_BYTES;
    batch->end = frame->payload + frame->length;
    batch->left = count;
    return true;
}

static bool record_begin(const cart_batch_t *batch, cart_reader_t *reader) {
    *reader = (cart_reader_t){.at = batch->at, .end = batch->end, .ran_dry = false};
    return batch->left > 0;
}

/* Moves the batch on behind a record that was whole and valid. */
static bool record_end(cart_batch_t *batch, const cart_reader_t *reader, bool valid) {
    if (reader->ran_dry || !valid) return false;
    batch->at = reader->at;
    batch->left--;
    return true;
}

static bool remaining_is_valid(uint32_t remaining_ms) {
    return remaining_ms > 0 && remaining_ms <= CART_REMAINING_MAX_MS;
}

#define OP_KEYED 0x01

void cart_record_patch(uint8_t *bytes, uint32_t number, uint32_t remaining_ms) {
    cart_put_u32(bytes, number);
    cart_put_u32(bytes + 4, remaining_ms);
}

void cart_fetch_patch(uint8_t *bytes, uint64_t generation) {
    (void)cart_put(bytes + CART_FETCH_BYTES - 8, generation, 8); /* the last field */
}

size_t cart_op_write(uint8_t *bytes, const cart_op_record_t *record) {
    size_t length = cart_op_write_request(bytes, &record->request);
    cart_record_patch(bytes, record->number, record->remaining_ms);
    return length;
}

size_t cart_op_write_request(uint8_t *bytes, const cart_request_t *request) {
    assert(request->change_count >= 1 && request->change_count <= CART_CHANGES_MAX);
    uint8_t *at = cart_put(bytes, 0, 8);
    at = cart_put_bytes(at, request->user.bytes, CART_ID_BYTES);
    at = cart_put_bytes(at, request->session.bytes, CART_ID_BYTES);
    at = cart_put(at, request->issued_s, 8);
    at = cart_put_bytes(at, request->request_id, CART_REQUEST_BYTES);
    at = cart_put(at, request->digest, 8);
    at = cart_put(at, request->keyed ? OP_KEYED : 0, 1);
    at = cart_put(at, request->condition, 1);
    bool placed = request->condition == CART_IF_PLACE;
    at = cart_put(at, placed ? request->expected.epoch : 0, 8);
    at = cart_put(at, placed ? request->expected.version : 0, 8);
    at = cart_put(at, request->change_count, 2);
    for (unsigned i = 0; i < request->change_count; i++) {
        at = cart_put(at, request->changes[i].op, 1);
        at = cart_put(at, request->changes[i].book, 8);
        at = cart_put(at, (uint32_t)request->changes[i].quantity, 4);
    }
    return (size_t)(at - bytes);
}

bool cart_op_next(cart_batch_t *batch, cart_op_record_t *record) {
    cart_reader_t reader;
    if (!record_begin(batch, &reader)) return false;
    cart_request_t *request = &record->request;
    record->number = cart_take_u32(&reader);
    record->remaining_ms = cart_take_u32(&reader);
    cart_take_bytes(&reader, request->user.bytes, CART_ID_BYTES);
    cart_take_bytes(&reader, request->session.bytes, CART_ID_BYTES);
    request->issued_s = cart_take_u64(&reader);
    cart_take_bytes(&reader, request->request_id, CART_REQUEST_BYTES);
    request->digest = cart_take_u64(&reader);
    uint8_t flags = cart_take_u8(&reader);
    request->keyed = (flags & OP_KEYED) != 0;
    request->condition = cart_take_u8(&reader);
    request->expected.epoch = cart_take_u64(&reader);
    request->expected.version = cart_take_u64(&reader);
    uint16_t count = cart_take_u16(&reader);
    if (reader.ran_dry || count == 0 || count > CART_CHANGES_MAX) return false;
    if ((size_t)(reader.end - reader.at) < (size_t)count * CART_OP_CHANGE_BYTES) return false;
    request->change_count = count;
    for (unsigned i = 0; i < count; i++) {
        request->changes[i].op = cart_take_u8(&reader);
        request->changes[i].book = cart_take_u64(&reader);
        request->changes[i].quantity = (int32_t)cart_take_u32(&reader);
    }
    bool placed = request->condition == CART_IF_PLACE;
    bool valid = (flags & ~OP_KEYED) == 0 && request->condition <= CART_IF_FAILED &&
                 (placed || (request->expected.epoch == 0 && request->expected.version == 0)) &&
                 remaining_is_valid(record->remaining_ms) && cart_request_check(request);
    return record_end(batch, &reader, valid);
}

static uint8_t *put_verdict(uint8_t *at, const cart_verdict_t *verdict) {
    at = cart_put(at, verdict->outcome, 1);
    at = cart_put(at, verdict->reason, 1);
    return cart_put(at, verdict->change, 2);
}

static bool take_verdict(cart_reader_t *reader, cart_verdict_t *verdict) {
    verdict->outcome = cart_take_u8(reader);
    verdict->reason = cart_take_u8(reader);
    verdict->change = cart_take_u16(reader);
    return verdict->outcome >= CART_APPLIED && verdict->outcome <= CART_SESSION_ENDED &&
           verdict->reason <= CART_REASON_STOPPING && verdict->change < CART_CHANGES_MAX;
}

static bool take_image(cart_reader_t *reader, const uint8_t **image, uint16_t *length) {
    *length = cart_take_u16(reader);
    *image = cart_take(reader, *length);
    return *length <= CART_IMAGE_PACKED_MAX;
}

static uint8_t *put_image(uint8_t *at, const uint8_t *image, uint16_t length) {
    assert(length <= CART_IMAGE_PACKED_MAX);
    at = cart_put(at, length, 2);
    return cart_put_bytes(at, image, length);
}

size_t cart_done_write(uint8_t *bytes, const cart_done_record_t *record) {
    uint8_t *at = cart_put(bytes, record->number, 4);
    at = put_verdict(at, &record->verdict);
    at = cart_put(at, record->push, 8);
    at = cart_put(at, record->generation, 8);
    at = put_image(at, record->image, record->image_length);
    return (size_t)(at - bytes);
}

bool cart_done_next(cart_batch_t *batch, cart_done_record_t *record) {
    cart_reader_t reader;
    if (!record_begin(batch, &reader)) return false;
    record->number = cart_take_u32(&reader);
    bool valid = take_verdict(&reader, &record->verdict);
    record->push = cart_take_u64(&reader);
    record->generation = cart_take_u64(&reader);
    valid = take_image(&reader, &record->image, &record->image_length) && valid;
    valid = valid && (record->push == 0) == (record->generation == 0);
    return record_end(batch, &reader, valid);
}

size_t cart_fetch_write(uint8_t *bytes, const cart_fetch_record_t *record) {
    uint8_t *at = cart_put(bytes, record->number, 4);
    at = cart_put(at, record->remaining_ms, 4);
    at = cart_put_bytes(at, record->user.bytes, CART_ID_BYTES);
    at = cart_put_bytes(at, record->session.bytes, CART_ID_BYTES);
    at = cart_put(at, record->issued_s, 8);
    at = cart_put(at, record->generation, 8);
    return (size_t)(at - bytes);
}

bool cart_fetch_next(cart_batch_t *batch, cart_fetch_record_t *record) {
    cart_reader_t reader;
    if (!record_begin(batch, &reader)) return false;
    record->number = cart_take_u32(&reader);
    record->remaining_ms = cart_take_u32(&reader);
    cart_take_bytes(&reader, record->user.bytes, CART_ID_BYTES);
    cart_take_bytes(&reader, record->session.bytes, CART_ID_BYTES);
    record->issued_s = cart_take_u64(&reader);
    record->generation = cart_take_u64(&reader);
    bool valid = remaining_is_valid(record->remaining_ms) && !cart_id_is_none(&record->user);
    return record_end(batch, &reader, valid);
}

size_t cart_cart_write(uint8_t *bytes, const cart_cart_record_t *record) {
    uint8_t *at = cart_put(bytes, record->number, 4);
    at = put_verdict(at, &record->verdict);
    at = cart_put(at, record->generation, 8);
    at = put_image(at, record->image, record->image_length);
    return (size_t)(at - bytes);
}

bool cart_cart_next(cart_batch_t *batch, cart_cart_record_t *record) {
    cart_reader_t reader;
    if (!record_begin(batch, &reader)) return false;
    record->number = cart_take_u32(&reader);
    bool valid = take_verdict(&reader, &record->verdict);
    record->generation = cart_take_u64(&reader);
    valid = take_image(&reader, &record->image, &record->image_length) && valid;
    /* A seat is subscribed only together with the image that fills it. */
    valid = valid && (record->generation == 0 || record->image_length > 0);
    return record_end(batch, &reader, valid);
}

size_t cart_push_write(uint8_t *bytes, const cart_push_record_t *record) {
    uint8_t *at = cart_put(bytes, record->number, 8);
    at = cart_put(at, record->generation, 8);
    at = cart_put_bytes(at, record->user.bytes, CART_ID_BYTES);
    at = put_image(at, record->image, record->image_length);
    return (size_t)(at - bytes);
}

bool cart_push_next(cart_batch_t *batch, cart_push_record_t *record) {
    cart_reader_t reader;
    if (!record_begin(batch, &reader)) return false;
    record->number = cart_take_u64(&reader);
    record->generation = cart_take_u64(&reader);
    cart_take_bytes(&reader, record->user.bytes, CART_ID_BYTES);
    bool valid = take_image(&reader, &record->image, &record->image_length);
    valid = valid && record->number > 0 && record->generation > 0 && !cart_id_is_none(&record->user);
    return record_end(batch, &reader, valid);
}

size_t cart_release_write(uint8_t *bytes, const cart_release_record_t *record) {
    uint8_t *at = cart_put_bytes(bytes, record->user.bytes, CART_ID_BYTES);
    at = cart_put(at, record->generation, 8);
    at = cart_put(at, record->term, 8);
    return (size_t)(at - bytes);
}

bool cart_release_next(cart_batch_t *batch, cart_release_record_t *record) {
    cart_reader_t reader;
    if (!record_begin(batch, &reader)) return false;
    cart_take_bytes(&reader, record->user.bytes, CART_ID_BYTES);
    record->generation = cart_take_u64(&reader);
    record->term = cart_take_u64(&reader);
    return record_end(batch, &reader, record->generation > 0 && !cart_id_is_none(&record->user));
}

/* ---- lists -------------------------------------------------------------------------------------------------------- */

void cart_list_write(uint8_t *bytes, uint64_t generation, uint64_t position, uint16_t count) {
    uint8_t *at = cart_put(bytes, generation, 8);
    at = cart_put(at, position, 8);
    at = cart_put(at, count, 2);
    (void)cart_put(at, 0, 2); /* the last field */
}

bool cart_list_open(const cart_frame_t *frame, cart_list_t *list) {
    if (frame->type != CART_FRAME_BOOKS && frame->type != CART_FRAME_REVOKE) return false;
    if (frame->length < CART_LIST_BYTES || cart_load(frame->payload + 18, 2) != 0) return false;
    bool full = (frame->flags & CART_LIST_FULL) != 0;
    if ((frame->flags & CART_LIST_FIRST) != 0 && !full) return false;
    if ((frame->flags & CART_LIST_ANSWERS) != 0 && full) return false;
    list->generation = cart_load(frame->payload, 8);
    list->position = cart_load(frame->payload + 8, 8);
    list->flags = frame->flags;
    list->records.left = (uint16_t)cart_load(frame->payload + 16, 2);
    list->records.at = frame->payload + CART_LIST_BYTES;
    list->records.end = frame->payload + frame->length;
    return true;
}

size_t cart_book_bytes(const cart_book_record_t *book) {
    if (book->title_length > CART_BOOK_TITLE_MAX || book->url_length > CART_BOOK_URL_MAX) return 0;
    if (book->author_count > CART_BOOK_AUTHORS_MAX || book->book == 0 || book->book > CART_BOOK_MAX) return 0;
    if (book->availability > CART_OUT_OF_STOCK || book->state > CART_BOOK_UNKNOWN) return 0;
    size_t bytes = CART_BOOK_FIXED_BYTES + (size_t)book->title_length + book->url_length;
    for (unsigned i = 0; i < book->author_count; i++) {
        if (book->author_lengths[i] > CART_BOOK_AUTHOR_MAX) return 0;
        bytes += 2u + book->author_lengths[i];
    }
    return bytes;
}

size_t cart_book_write(uint8_t *bytes, const cart_book_record_t *book) {
    uint8_t *at = cart_put(bytes, book->book, 8);
    at = cart_put(at, book->position, 8);
    at = cart_put(at, book->price_minor, 8);
    at = cart_put(at, book->available, 4);
    at = cart_put(at, book->availability, 1);
    at = cart_put(at, book->state, 1);
    at = cart_put(at, book->author_count, 1);
    at = cart_put(at, 0, 1);
    at = cart_put(at, book->title_length, 2);
    at = cart_put(at, book->url_length, 2);
    for (unsigned i = 0; i < book->author_count; i++) at = cart_put(at, book->author_lengths[i], 2);
    at = cart_put_bytes(at, book->title, book->title_length);
    at = cart_put_bytes(at, book->url, book->url_length);
    for (unsigned i = 0; i < book->author_count; i++)
        at = cart_put_bytes(at, book->authors[i], book->author_lengths[i]);
    return (size_t)(at - bytes);
}

bool cart_book_next(cart_batch_t *records, cart_book_record_t *book) {
    cart_reader_t reader;
    if (!record_begin(records, &reader)) return false;
    book->book = cart_take_u64(&reader);
    book->position = cart_take_u64(&reader);
    book->price_minor = cart_take_u64(&reader);
    book->available = cart_take_u32(&reader);
    book->availability = cart_take_u8(&reader);
    book->state = cart_take_u8(&reader);
    book->author_count = cart_take_u8(&reader);
    uint8_t zero = cart_take_u8(&reader);
    book->title_length = cart_take_u16(&reader);
    book->url_length = cart_take_u16(&reader);
    if (reader.ran_dry || book->author_count > CART_BOOK_AUTHORS_MAX) return false;
    for (unsigned i = 0; i < book->author_count; i++) book->author_lengths[i] = cart_take_u16(&reader);
    book->title = (const char *)cart_take(&reader, book->title_length);
    book->url = (const char *)cart_take(&reader, book->url_length);
    for (unsigned i = 0; i < book->author_count; i++)
        book->authors[i] = (const char *)cart_take(&reader, book->author_lengths[i]);
    return record_end(records, &reader, zero == 0 && cart_book_bytes(book) != 0);
}

size_t cart_revocation_write(uint8_t *bytes, const cart_revocation_t *revocation) {
    uint8_t *at = cart_put(bytes, revocation->kind, 1);
    at = cart_put_bytes(at, revocation->id.bytes, CART_ID_BYTES);
    at = cart_put(at, revocation->position, 8);
    at = cart_put(at, revocation->issued_before_s, 8);
    at = cart_put(at, revocation->expires_s, 8);
    return (size_t)(at - bytes);
}

bool cart_revocation_next(cart_batch_t *records, cart_revocation_t *revocation) {
    cart_reader_t reader;
    if (!record_begin(records, &reader)) return false;
    revocation->kind = cart_take_u8(&reader);
    cart_take_bytes(&reader, revocation->id.bytes, CART_ID_BYTES);
    revocation->position = cart_take_u64(&reader);
    revocation->issued_before_s = cart_take_u64(&reader);
    revocation->expires_s = cart_take_u64(&reader);
    bool valid = revocation->kind == CART_REVOKE_SESSION || revocation->kind == CART_REVOKE_USER;
    return record_end(records, &reader, valid && !cart_id_is_none(&revocation->id));
}

size_t cart_ask_write(uint8_t *bytes, const uint64_t *books, unsigned count) {
    assert(count >= 1 && count <= CART_WORKER_ASK_MAX);
    cart_frame_header(bytes, CART_FRAME_ASK, 0, (uint32_t)(CART_FRAME_BATCH_BYTES + 8 * count));
    uint8_t *at = cart_put(bytes + CART_FRAME_HEADER_BYTES, count, 2);
    at = cart_put(at, 0, 2);
    for (unsigned i = 0; i < count; i++) at = cart_put(at, books[i], 8);
    return (size_t)(at - bytes);
}

bool cart_ask_read(const cart_frame_t *frame, uint64_t books[CART_WORKER_ASK_MAX], unsigned *count) {
    if (frame->type != CART_FRAME_ASK || frame->length < CART_FRAME_BATCH_BYTES) return false;
    unsigned asked = (unsigned)cart_load(frame->payload, 2);
    if (asked == 0 || asked > CART_WORKER_ASK_MAX || cart_load(frame->payload + 2, 2) != 0) return false;
    if (frame->length != CART_FRAME_BATCH_BYTES + 8 * asked) return false;
    for (unsigned i = 0; i < asked; i++) {
        uint64_t book = cart_load(frame->payload + CART_FRAME_BATCH_BYTES + (size_t)i * 8, 8);
        if (book == 0 || book > CART_BOOK_MAX) return false;
        books[i] = book;
    }
    *count = asked;
    return true;
}
