/*
 * Verified tokens of one worker: what was found good once is found again by a hash of the whole token, and not verified
 * again. Bounded: a fixed table in sets of four; a full set gives up its entry that expires first.
 *
 *  1. An entry is found only by all 128 bits of SHA-256 (truncated) over the whole token.
 *  2. It dies with the token's `exp` (plus leeway) and with its key: a number that the key set no longer has.
 *  3. Revocation is not this table's business: the caller asks his list on every hit.
 */
#ifndef EDGE_TOKENS_H
#define EDGE_TOKENS_H

#include "edge/edge_token.h"

typedef struct edge_tokens edge_tokens_t;

typedef struct {
    uint8_t bytes[16];
} edge_token_hash_t;

#define EDGE_TOKENS_BYTES_MIN 4096
#define EDGE_TOKENS_BYTES_MAX ((size_t)1 << 30)

/* bytes: memory to use, EDGE_TOKENS_BYTES_MIN… (rounded down). NULL: no memory. */
edge_tokens_t *edge_tokens_create(size_t bytes);
void edge_tokens_destroy(edge_tokens_t *tokens); /* NULL is fine */

void edge_tokens_hash(const char *token, size_t length, edge_token_hash_t *hash);
/* *claims is set only when found. */
bool edge_tokens_find(edge_tokens_t *tokens, const edge_token_hash_t *hash, const edge_keys_t *keys, uint64_t now_s,
                      edge_claims_t *claims);
void edge_tokens_add(edge_tokens_t *tokens, const edge_token_hash_t *hash, uint32_t key, const edge_claims_t *claims,
                     uint64_t now_s);

typedef struct {
    uint64_t capacity, hits, misses, evicted;
} edge_tokens_stats_t;
void edge_tokens_stats(const edge_tokens_t *tokens, edge_tokens_stats_t *stats);

#endif
