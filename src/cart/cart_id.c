#include "cart/cart_id.h"

#include <assert.h>

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

bool cart_id_is_none(const cart_id_t *id) {
    static const cart_id_t none;
    return cart_id_equal(id, &none);
}

static int digit_value(char c) {
    if (c == '\0') return -1; /* strchr would find the terminator */
    const char *found = strchr(digits, c);
    return found == NULL ? -1 : (int)(found - digits);
}

bool cart_id_parse(const char *prefix, const char *text, size_t length, cart_id_t *id) {
    assert(strlen(prefix) == CART_ID_PREFIX_CHARS);
    if (length != CART_ID_CHARS || memcmp(text, prefix, CART_ID_PREFIX_CHARS) != 0) return false;

    /* 26 digits hold 130 bits, so the first digit carries only three of the 128. */
    uint8_t bytes[CART_ID_BYTES];
    uint32_t held = 0;
    int held_bits = -2;
    size_t out = 0;
    for (size_t i = CART_ID_PREFIX_CHARS; i < length; i++) {
        int value = digit_value(text[i]);
        if (value < 0 || (i == CART_ID_PREFIX_CHARS && value > 7)) return false;
        held = held << 5 | (uint32_t)value;
        held_bits += 5;
        if (held_bits >= 8) {
            held_bits -= 8;
            bytes[out++] = (uint8_t)(held >> held_bits);
            held &= (1U << held_bits) - 1;
        }
    }
    assert(out == CART_ID_BYTES);

    cart_id_t parsed;
    memcpy(parsed.bytes, bytes, sizeof(bytes));
    if (cart_id_is_none(&parsed)) return false;
    *id = parsed;
    return true;
}

void cart_id_format(const char *prefix, const cart_id_t *id, char text[CART_ID_CHARS + 1]) {
    assert(strlen(prefix) == CART_ID_PREFIX_CHARS);
    memcpy(text, prefix, CART_ID_PREFIX_CHARS);
    uint32_t held = 0;
    int held_bits = 2; /* two leading zero bits make 130 */
    size_t in = 0;
    for (size_t i = CART_ID_PREFIX_CHARS; i < CART_ID_CHARS; i++) {
        if (held_bits < 5) {
            assert(in < CART_ID_BYTES);
            held = held << 8 | id->bytes[in++];
            held_bits += 8;
        }
        held_bits -= 5;
        text[i] = digits[held >> held_bits & 31];
        held &= (1U << held_bits) - 1;
    }
    text[CART_ID_CHARS] = '\0';
    assert(in == CART_ID_BYTES && held_bits == 0);
}
