#include "platform/bc_random.h"

#include <assert.h>
#include <sodium.h>

bool bc_random_init(void) {
    return sodium_init() >= 0;
}

void bc_random_bytes(void *bytes, size_t length) {
    randombytes_buf(bytes, length);
}

cart_id_t bc_random_id(void) {
    cart_id_t id;
    do {
        randombytes_buf(id.bytes, sizeof(id.bytes));
    } while (cart_id_is_none(&id));
    return id;
}

void bc_random_text(size_t bytes, char *text, size_t size) {
    unsigned char drawn[64];
    assert(bytes > 0 && bytes <= sizeof(drawn));
    assert(size >= sodium_base64_encoded_len(bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING));
    randombytes_buf(drawn, bytes);
    (void)sodium_bin2base64(text, size, drawn, bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING); /* returns text */
    sodium_memzero(drawn, sizeof(drawn));
}
