#define OPENSSL_SUPPRESS_DEPRECATED /* as in edge_tokens.c */

#include "edge/edge_request.h"

#include <assert.h>
#include <openssl/sha.h>

bool edge_key_check(const char *key, size_t length) {
    if (length == 0 || length > EDGE_KEY_CHARS_MAX) return false;
    for (size_t i = 0; i < length; i++)
        if (key[i] <= ' ' || key[i] > '~') return false;
    return true;
}

/* Length first: no two lists of parts give the same bytes. */
static void add_part(SHA256_CTX *context, const void *bytes, size_t length) {
    uint64_t size = length;
    (void)SHA256_Update(context, &size, sizeof(size)); /* cannot fail */
    (void)SHA256_Update(context, bytes, length);
}

void edge_request_id(const cart_id_t *user, const char *method, size_t method_length, const char *path,
                     size_t path_length, const char *key, size_t key_length, uint8_t id[CART_REQUEST_BYTES]) {
    SHA256_CTX context;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    (void)SHA256_Init(&context);
    add_part(&context, user->bytes, sizeof(user->bytes));
    add_part(&context, method, method_length);
    add_part(&context, path, path_length);
    add_part(&context, key, key_length);
    (void)SHA256_Final(digest, &context);
    memcpy(id, digest, CART_REQUEST_BYTES);
}

uint64_t edge_request_digest(const cart_change_t *changes, unsigned count) {
    SHA256_CTX context;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    assert(count >= 1 && count <= CART_CHANGES_MAX);
    (void)SHA256_Init(&context);
    for (unsigned i = 0; i < count; i++) {
        uint8_t bytes[13];
        bytes[0] = changes[i].op;
        for (unsigned k = 0; k < 8; k++) bytes[1 + k] = (uint8_t)(changes[i].book >> (8 * k));
        for (unsigned k = 0; k < 4; k++) bytes[9 + k] = (uint8_t)((uint32_t)changes[i].quantity >> (8 * k));
        (void)SHA256_Update(&context, bytes, sizeof(bytes));
    }
    (void)SHA256_Final(digest, &context);
    uint64_t value = 0;
    for (unsigned k = 0; k < 8; k++) value |= (uint64_t)digest[k] << (8 * k);
    return value;
}

bool edge_path_book(const char *text, size_t length, uint64_t *book) {
    uint64_t value = 0;
    if (length == 0 || length > 16 || text[0] == '0') return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (value > CART_BOOK_MAX) return false;
    *book = value;
    return true;
}
