/*
 * The keys behind edge_token.h: what the token reader asks of a key set. Each key is one EC P-256 public key of
 * OpenSSL's, owned by the set. Not shared between threads: a worker has its own.
 */
#ifndef EDGE_KEYS_H
#define EDGE_KEYS_H

#include "edge/edge_token.h"

#define EDGE_SIGNATURE_BYTES 64 /* r and s, 32 bytes each (RFC 7518, 3.4) */

typedef struct edge_key edge_key_t; /* borrowed from its set */

const edge_key_t *edge_keys_find(const edge_keys_t *keys, const char *kid, size_t length);
uint32_t edge_key_number(const edge_key_t *key);
/* ES256 over `length` bytes. */
bool edge_key_verify(const edge_key_t *key, const char *text, size_t length,
                     const uint8_t signature[EDGE_SIGNATURE_BYTES]);

#endif
