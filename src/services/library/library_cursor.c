#include "services/library/library_cursor.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

enum {
    layout = 1,
    seal_bytes = 16,
    fixed_bytes = 1 + library_list_digest_bytes + 8 + 8 + 8 + 1,
    cursor_bytes_max = fixed_bytes + library_title_key_bytes + seal_bytes,
};

_Static_assert(sodium_base64_ENCODED_LEN(cursor_bytes_max, sodium_base64_VARIANT_URLSAFE_NO_PADDING) <=
                   library_cursor_chars_max,
               "the longest cursor fits");

static uint8_t *put_int(uint8_t *at, int64_t value) {
    for (int i = 0; i < 8; i++) *at++ = (uint8_t)((uint64_t)value >> (8 * i));
    return at;
}

static int64_t get_int(const uint8_t *at) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value |= (uint64_t)at[i] << (8 * i);
    return (int64_t)value;
}

static void seal(const uint8_t *key, const uint8_t *bytes, size_t length, uint8_t tag[seal_bytes]) {
    int result = crypto_generichash(tag, seal_bytes, bytes, length, key, library_cursor_key_bytes);
    assert(result == 0); /* fails only for sizes out of range */
    (void)result;
}

void library_cursor_write(const uint8_t key[library_cursor_key_bytes], const uint8_t list[library_list_digest_bytes],
                          const library_place_t *place, char text[library_cursor_chars_max]) {
    uint8_t bytes[cursor_bytes_max];
    uint8_t *at = bytes;
    size_t title = strlen(place->title_key);
    assert(title <= library_title_key_bytes);
    *at++ = layout;
    memcpy(at, list, library_list_digest_bytes);
    at = put_int(at + library_list_digest_bytes, place->first);
    at = put_int(at, place->second);
    at = put_int(at, place->id);
    *at++ = (uint8_t)title;
    memcpy(at, place->title_key, title);
    at += title;
    seal(key, bytes, (size_t)(at - bytes), at);
    at += seal_bytes;
    (void)sodium_bin2base64(text, library_cursor_chars_max, bytes, (size_t)(at - bytes),
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING); /* returns its first argument */
}

bool library_cursor_read(const uint8_t key[library_cursor_key_bytes], const uint8_t list[library_list_digest_bytes],
                         const char *text, library_place_t *place) {
    uint8_t bytes[cursor_bytes_max];
    uint8_t tag[seal_bytes];
    size_t length = 0;
    if (sodium_base642bin(bytes, sizeof(bytes), text, strlen(text), NULL, &length, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0) {
        return false;
    }
    if (length < fixed_bytes + seal_bytes) return false;
    seal(key, bytes, length - seal_bytes, tag);
    if (sodium_memcmp(tag, bytes + length - seal_bytes, seal_bytes) != 0) return false;
    /* Ours from here on; yet an older program may have made it, or another list. */
    size_t title = bytes[fixed_bytes - 1];
    if (bytes[0] != layout || length != fixed_bytes + title + seal_bytes || title > library_title_key_bytes)
        return false;
    if (memcmp(bytes + 1, list, library_list_digest_bytes) != 0) return false;
    const uint8_t *at = bytes + 1 + library_list_digest_bytes;
    library_place_t read = {.first = get_int(at), .second = get_int(at + 8), .id = get_int(at + 16)};
    memcpy(read.title_key, bytes + fixed_bytes, title);
    *place = read;
    return true;
}
