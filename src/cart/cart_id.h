/*
 * Identifiers: 128 bits, written as a four-character prefix ("usr_", "ses_", "job_") and 26 digits of Crockford's base32
 * in lower case (the first digit is 0…7). One text per value: upper case, i, l, o and u are refused, so that two
 * spellings never name two carts.
 *
 * Source: https://www.crockford.com/base32.html (digits only; no check symbol, no aliases on reading).
 */
#ifndef CART_ID_H
#define CART_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CART_ID_BYTES        16
#define CART_ID_PREFIX_CHARS 4
#define CART_ID_CHARS        30 /* prefix and digits, without a terminator */

typedef struct {
    uint8_t bytes[CART_ID_BYTES];
} cart_id_t;

_Static_assert(sizeof(cart_id_t) == CART_ID_BYTES, "an id travels in frames and tables as it lies in memory");

static inline bool cart_id_equal(const cart_id_t *a, const cart_id_t *b) {
    return memcmp(a->bytes, b->bytes, CART_ID_BYTES) == 0;
}

/* true when every bit is 0: no id; never drawn, never parsed. */
bool cart_id_is_none(const cart_id_t *id);

/* Reads exactly CART_ID_CHARS characters that begin with `prefix` (4 characters). On anything else returns false and
 * leaves *id unchanged. */
bool cart_id_parse(const char *prefix, const char *text, size_t length, cart_id_t *id);

/* Writes CART_ID_CHARS characters and a terminating zero. */
void cart_id_format(const char *prefix, const cart_id_t *id, char text[CART_ID_CHARS + 1]);

#endif
