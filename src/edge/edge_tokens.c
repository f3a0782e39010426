/* SHA256() of OpenSSL 3 looks its provider up on every call, which costs more than the hash of a token. The functions
 * below do not; they are marked deprecated, not insecure. docs/decisions/0052 has the measurement. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "edge/edge_tokens.h"

#include <assert.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WAYS 4

typedef struct {
    edge_token_hash_t hash;
    cart_id_t user, session;
    uint32_t issued_s, expires_s; /* expires_s 0: free */
    uint32_t key;
    uint8_t role;
    uint8_t spare[3];
} entry_t;
_Static_assert(sizeof(entry_t) == 64, "one cache line an entry");

struct edge_tokens {
    entry_t *entries; /* owned, mapped */
    size_t bytes;
    size_t set_mask;
    edge_tokens_stats_t stats;
};

edge_tokens_t *edge_tokens_create(size_t bytes) {
    size_t sets = 1;
    if (bytes < EDGE_TOKENS_BYTES_MIN) bytes = EDGE_TOKENS_BYTES_MIN;
    if (bytes > EDGE_TOKENS_BYTES_MAX) bytes = EDGE_TOKENS_BYTES_MAX;
    while (sets * 2 * WAYS * sizeof(entry_t) <= bytes) sets *= 2;
    edge_tokens_t *tokens = calloc(1, sizeof(*tokens));
    if (tokens == NULL) return NULL;
    tokens->bytes = sets * WAYS * sizeof(entry_t);
    tokens->set_mask = sets - 1;
    tokens->stats.capacity = sets * WAYS;
    /* Mapped, not allocated: pages that no token has used yet cost nothing. */
    void *memory = mmap(NULL, tokens->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        free(tokens);
        return NULL;
    }
    tokens->entries = memory;
    return tokens;
}

void edge_tokens_destroy(edge_tokens_t *tokens) {
    if (tokens == NULL) return;
    (void)munmap(tokens->entries, tokens->bytes); /* our own mapping: cannot fail */
    free(tokens);
}

void edge_tokens_hash(const char *token, size_t length, edge_token_hash_t *hash) {
    SHA256_CTX context;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    (void)SHA256_Init(&context); /* these three cannot fail: no memory, no provider */
    (void)SHA256_Update(&context, token, length);
    (void)SHA256_Final(digest, &context);
    memcpy(hash->bytes, digest, sizeof(hash->bytes));
}

static entry_t *set_of(const edge_tokens_t *tokens, const edge_token_hash_t *hash) {
    uint64_t slice;
    memcpy(&slice, hash->bytes, sizeof(slice));
    return tokens->entries + (slice & tokens->set_mask) * WAYS;
}

static bool is_dead(const entry_t *entry, uint64_t now_s) {
    return entry->expires_s == 0 || now_s >= (uint64_t)entry->expires_s + EDGE_TOKEN_LEEWAY_S;
}

bool edge_tokens_find(edge_tokens_t *tokens, const edge_token_hash_t *hash, const edge_keys_t *keys, uint64_t now_s,
                      edge_claims_t *claims) {
    entry_t *set = set_of(tokens, hash);
    for (unsigned i = 0; i < WAYS; i++) {
        entry_t *entry = &set[i];
        if (memcmp(&entry->hash, hash, sizeof(*hash)) != 0) continue;
        if (is_dead(entry, now_s) || !edge_keys_has(keys, entry->key)) {
            entry->expires_s = 0;
            continue;
        }
        claims->user = entry->user;
        claims->session = entry->session;
        claims->issued_s = entry->issued_s;
        claims->expires_s = entry->expires_s;
        claims->role = entry->role;
        tokens->stats.hits++;
        return true;
    }
    tokens->stats.misses++;
    return false;
}

void edge_tokens_add(edge_tokens_t *tokens, const edge_token_hash_t *hash, uint32_t key, const edge_claims_t *claims,
                     uint64_t now_s) {
    assert(claims->expires_s > 0 && claims->expires_s <= UINT32_MAX);
    assert(claims->issued_s < claims->expires_s);
    entry_t *set = set_of(tokens, hash);
    entry_t *victim = &set[0];
    for (unsigned i = 0; i < WAYS; i++) {
        if (is_dead(&set[i], now_s) || memcmp(&set[i].hash, hash, sizeof(*hash)) == 0) {
            victim = &set[i];
            break;
        }
        if (set[i].expires_s < victim->expires_s) victim = &set[i];
    }
    if (!is_dead(victim, now_s)) tokens->stats.evicted++;
    *victim = (entry_t){.hash = *hash,
                        .user = claims->user,
                        .session = claims->session,
                        .issued_s = (uint32_t)claims->issued_s,
                        .expires_s = (uint32_t)claims->expires_s,
                        .key = key,
                        .role = claims->role};
}

void edge_tokens_stats(const edge_tokens_t *tokens, edge_tokens_stats_t *stats) {
    *stats = tokens->stats;
}
