#include "cart/cart_image.h"

#include <assert.h>

/* Why varints of the term and not of base_version: a clean cart, the usual one, then spends one byte on it. Count and
 * state share a varint (count << 2 | state): one byte up to 31 lines. */

#define VARINT_BYTES_MAX 10
#define STATE_BITS       2

_Static_assert(CART_IMAGE_PACKED_MAX <= UINT16_MAX, "lengths of packed images are kept in 16 bits");

static size_t varint_size(uint64_t value) {
    size_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

static uint8_t *varint_put(uint8_t *at, uint64_t value) {
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* NULL: cut off, longer than 64 bits, or (strict) not the shortest form. */
static inline const uint8_t *varint_get(const uint8_t *at, const uint8_t *end, bool strict, uint64_t *value) {
    if (end - at >= 2 && at[1] < 0x80 && at[0] >= 0x80) {
        /* Two bytes: nearly every book and version. On the path of every hot read, so without the loop. */
        if (strict && at[1] == 0) return NULL;
        *value = (uint64_t)(at[0] & 0x7f) | (uint64_t)at[1] << 7;
        return at + 2;
    }
    if (at == end) return NULL;
    uint64_t byte = *at++;
    uint64_t sum = byte & 0x7f;
    for (unsigned shift = 7; byte >= 0x80; shift += 7) {
        if (at == end || shift >= 7 * VARINT_BYTES_MAX) return NULL;
        byte = *at++;
        if (shift == 63 && byte > 1) return NULL;
        if (strict && byte == 0) return NULL;
        sum |= (byte & 0x7f) << shift;
    }
    *value = sum;
    return at;
}

static uint64_t count_and_state(const cart_image_t *image) {
    return (uint64_t)image->line_count << STATE_BITS | image->state;
}

size_t cart_image_packed_size(const cart_image_t *image) {
    assert(image->line_count <= CART_LINES_MAX);
    size_t size = varint_size(image->place.epoch) + varint_size(image->place.version) + varint_size(cart_term(image)) +
                  varint_size(count_and_state(image));
    for (unsigned i = 0; i < image->line_count; i++) size += varint_size(image->lines[i].book) + 1;
    return size;
}

size_t cart_image_pack(const cart_image_t *image, uint8_t *bytes, size_t capacity) {
    assert(image->line_count <= CART_LINES_MAX);
    assert(image->state <= CART_CLOSED);
    assert(image->base_version <= image->place.version);
    if (capacity < CART_IMAGE_PACKED_MAX && cart_image_packed_size(image) > capacity) return 0;
    uint8_t *at = varint_put(bytes, image->place.epoch);
    at = varint_put(at, image->place.version);
    at = varint_put(at, cart_term(image));
    at = varint_put(at, count_and_state(image));
    for (unsigned i = 0; i < image->line_count; i++) {
        at = varint_put(at, image->lines[i].book);
        *at++ = (uint8_t)image->lines[i].quantity;
    }
    return (size_t)(at - bytes);
}

static inline bool unpack(const uint8_t *bytes, size_t length, bool strict, cart_image_t *image) {
    const uint8_t *at = bytes;
    const uint8_t *end = bytes + length;
    uint64_t term = 0;
    uint64_t word = 0;
    if ((at = varint_get(at, end, strict, &image->place.epoch)) == NULL ||
        (at = varint_get(at, end, strict, &image->place.version)) == NULL ||
        (at = varint_get(at, end, strict, &term)) == NULL || (at = varint_get(at, end, strict, &word)) == NULL) {
        return false;
    }
    uint64_t count = word >> STATE_BITS;
    if (count > CART_LINES_MAX) return false;
    image->base_version = image->place.version - term;
    image->state = word & ((1U << STATE_BITS) - 1);
    image->line_count = (uint8_t)count;
    for (unsigned i = 0; i < count; i++) {
        at = varint_get(at, end, strict, &image->lines[i].book);
        if (at == NULL || at == end) return false;
        image->lines[i].quantity = *at++;
    }
    return at == end && term <= image->place.version;
}

bool cart_image_unpack(const uint8_t *bytes, size_t length, cart_image_t *image) {
    return unpack(bytes, length, true, image) && cart_image_check(image);
}

bool cart_image_unpack_trusted(const uint8_t *bytes, size_t length, cart_image_t *image) {
    return unpack(bytes, length, false, image);
}

bool cart_image_check(const cart_image_t *image) {
    if (image->place.epoch == 0 || image->base_version > image->place.version || image->state > CART_CLOSED ||
        image->line_count > CART_LINES_MAX) {
        return false;
    }
    for (unsigned i = 0; i < image->line_count; i++) {
        const cart_line_t *line = &image->lines[i];
        if (line->book == 0 || line->book > CART_BOOK_MAX || line->quantity == 0 ||
            line->quantity > CART_QUANTITY_MAX) {
            return false;
        }
        for (unsigned j = 0; j < i; j++) {
            if (image->lines[j].book == line->book) return false;
        }
    }
    return true;
}

void cart_image_merge(const cart_image_t *mine, const cart_image_t *theirs, cart_image_t *merged, unsigned *dropped) {
    assert(merged != mine);
    assert(merged != theirs);
    cart_image_copy(merged, mine);
    unsigned no_room = 0;
    for (unsigned i = 0; i < theirs->line_count; i++) {
        const cart_line_t *line = &theirs->lines[i];
        unsigned j = 0;
        while (j < mine->line_count && mine->lines[j].book != line->book) j++;
        if (j < mine->line_count) {
            if (line->quantity > merged->lines[j].quantity) merged->lines[j].quantity = line->quantity;
        } else if (merged->line_count < CART_LINES_MAX) {
            merged->lines[merged->line_count++] = *line;
        } else {
            no_room++;
        }
    }
    if (cart_place_compare(theirs->place, mine->place) > 0) {
        merged->place = theirs->place;
        merged->base_version = theirs->base_version;
    }
    if (theirs->state > merged->state) merged->state = theirs->state;
    *dropped = no_room;
}
