#include "cart/cart_out.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define OUT_FIRST_BYTES 4096
#define OUT_KEEP_BYTES  (256 * 1024) /* an empty queue above this gives its memory back */
#define OUT_NONE        SIZE_MAX

void cart_out_init(cart_out_t *out, size_t max_bytes) {
    memset(out, 0, sizeof(*out));
    out->open = OUT_NONE;
    out->max = max_bytes;
}

void cart_out_deinit(cart_out_t *out) {
    free(out->bytes);
    cart_out_init(out, out->max);
}

void cart_out_clear(cart_out_t *out) {
    out->head = 0;
    out->length = 0;
    out->open = OUT_NONE;
    if (out->capacity > OUT_KEEP_BYTES) cart_out_deinit(out);
}

/* Moves what is owed to the front once that is cheap: at most one byte moved for each byte sent. */
static void compact(cart_out_t *out) {
    if (out->head == 0 || out->head < out->length - out->head) return;
    memmove(out->bytes, out->bytes + out->head, out->length - out->head);
    if (out->open != OUT_NONE) out->open -= out->head;
    out->length -= out->head;
    out->head = 0;
}

static bool make_room(cart_out_t *out, size_t bytes) {
    if (cart_out_owed(out) + bytes > out->max) return false;
    if (out->length + bytes <= out->capacity) return true;
    compact(out);
    if (out->length + bytes <= out->capacity) return true;
    size_t capacity = out->capacity == 0 ? OUT_FIRST_BYTES : out->capacity;
    while (capacity < out->length + bytes) capacity *= 2;
    uint8_t *grown = realloc(out->bytes, capacity);
    if (grown == NULL) return false;
    out->bytes = grown;
    out->capacity = capacity;
    return true;
}

uint8_t *cart_out_room(cart_out_t *out, size_t bytes) {
    if (!make_room(out, bytes)) return NULL;
    return out->bytes + out->length;
}

void cart_out_add(cart_out_t *out, size_t bytes) {
    assert(out->length + bytes <= out->capacity);
    out->length += bytes;
    out->open = OUT_NONE;
}

static bool batch_takes(const cart_out_t *out, uint8_t type, size_t bytes) {
    if (out->open == OUT_NONE || out->bytes[out->open + 4] != type) return false;
    size_t payload = out->length - out->open - CART_FRAME_HEADER_BYTES;
    return payload + bytes <=
           CART_FRAME_PAYLOAD_MAX; /* the count cannot overflow: no record is smaller than 18 bytes */
}

uint8_t *cart_out_record(cart_out_t *out, uint8_t type, size_t bytes) {
    if (batch_takes(out, type, bytes)) {
        if (!make_room(out, bytes)) return NULL;
        return out->bytes + out->length;
    }
    size_t head = CART_FRAME_HEADER_BYTES + CART_FRAME_BATCH_BYTES;
    if (!make_room(out, head + bytes)) return NULL;
    /* Whoever asks for room adds the record: a batch without one would be a bad frame. */
    out->open = out->length;
    cart_frame_header(out->bytes + out->length, type, 0, 0);
    memset(out->bytes + out->length + CART_FRAME_HEADER_BYTES, 0, CART_FRAME_BATCH_BYTES);
    out->length += head;
    return out->bytes + out->length;
}

void cart_out_record_add(cart_out_t *out, size_t bytes) {
    assert(out->open != OUT_NONE);
    assert(out->length + bytes <= out->capacity);
    out->length += bytes;
    uint8_t *frame = out->bytes + out->open;
    cart_put_u32(frame, (uint32_t)(out->length - out->open - CART_FRAME_HEADER_BYTES));
    uint8_t *count = frame + CART_FRAME_HEADER_BYTES;
    if (++count[0] == 0) count[1]++;
}

size_t cart_out_take(cart_out_t *out, const uint8_t **bytes) {
    out->open = OUT_NONE;
    *bytes = out->bytes == NULL ? NULL : out->bytes + out->head;
    return cart_out_owed(out);
}

void cart_out_sent(cart_out_t *out, size_t bytes) {
    assert(bytes <= cart_out_owed(out));
    out->head += bytes;
    if (out->head == out->length) cart_out_clear(out);
}
