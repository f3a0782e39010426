#include "platform/bc_cursor.h"

#include <assert.h>
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#define LAYOUT     1
#define SEAL_BYTES 16
#define BYTES_MAX  (1 + BC_CURSOR_PLACE_MAX + SEAL_BYTES)
#define BASE64     sodium_base64_VARIANT_URLSAFE_NO_PADDING

_Static_assert(sodium_base64_ENCODED_LEN(BYTES_MAX, BASE64) <= BC_CURSOR_CHARS, "the longest cursor fits");

/* libsodium's hash functions answer 0 for every length we give. */
static void seal(const char *service_key, const char *list, const uint8_t *bytes, size_t length,
                 uint8_t tag[SEAL_BYTES]) {
    static const unsigned char purpose[] = "bookcart cursor";
    uint8_t key[crypto_generichash_KEYBYTES];
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, purpose, sizeof(purpose), sizeof(key));
    (void)crypto_generichash_update(&state, (const unsigned char *)service_key, strlen(service_key));
    (void)crypto_generichash_final(&state, key, sizeof(key));
    (void)crypto_generichash_init(&state, key, sizeof(key), SEAL_BYTES);
    (void)crypto_generichash_update(&state, (const unsigned char *)list, strlen(list) + 1); /* its zero ends it */
    (void)crypto_generichash_update(&state, bytes, length);
    (void)crypto_generichash_final(&state, tag, SEAL_BYTES);
    sodium_memzero(key, sizeof(key));
}

void bc_cursor_write(const char *service_key, const char *list, const void *place, size_t length,
                     char text[BC_CURSOR_CHARS]) {
    uint8_t bytes[BYTES_MAX];
    assert(length > 0 && length <= BC_CURSOR_PLACE_MAX);
    bytes[0] = LAYOUT;
    memcpy(bytes + 1, place, length);
    seal(service_key, list, bytes, 1 + length, bytes + 1 + length);
    (void)sodium_bin2base64(text, BC_CURSOR_CHARS, bytes, 1 + length + SEAL_BYTES, BASE64); /* asserted to fit */
}

bool bc_cursor_read(const char *service_key, const char *list, const char *text, void *place, size_t length) {
    uint8_t bytes[BYTES_MAX], tag[SEAL_BYTES];
    size_t got = 0;
    assert(length > 0 && length <= BC_CURSOR_PLACE_MAX);
    if (sodium_base642bin(bytes, sizeof(bytes), text, strlen(text), NULL, &got, NULL, BASE64) != 0) return false;
    if (got != 1 + length + SEAL_BYTES || bytes[0] != LAYOUT) return false;
    seal(service_key, list, bytes, 1 + length, tag);
    if (sodium_memcmp(tag, bytes + 1 + length, SEAL_BYTES) != 0) return false;
    memcpy(place, bytes + 1, length);
    return true;
}
