/*
 * What identifies a change: its request id and the digest of what it asks (DESIGN section 5, rule 4).
 *
 * With an Idempotency-Key the id is drawn from user, method, path and key, so that a repeat through any worker of any
 * edge has the same id; without one it is random. The digest is over the changes in one spelling (op, book, quantity),
 * not over the body's bytes and not over conditions.
 */
#ifndef EDGE_REQUEST_H
#define EDGE_REQUEST_H

#include "cart/cart_types.h"

#define EDGE_KEY_CHARS_MAX 64

/* 1…64 visible ASCII characters. */
bool edge_key_check(const char *key, size_t length);

void edge_request_id(const cart_id_t *user, const char *method, size_t method_length, const char *path,
                     size_t path_length, const char *key, size_t key_length, uint8_t id[CART_REQUEST_BYTES]);
uint64_t edge_request_digest(const cart_change_t *changes, unsigned count);

/* A book in a path: a decimal number 1…CART_BOOK_MAX without leading zeros. False: there is no such place. */
bool edge_path_book(const char *text, size_t length, uint64_t *book);

#endif
