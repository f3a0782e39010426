/*
 * Access tokens: ES256 JWTs (RFC 7519, 7515, profile of RFC 9068: typ at+jwt), read strictly, and the set of keys that
 * may have signed them (RFC 7517).
 *
 * The algorithm is a property of the key, never of the token: a token whose header says anything but ES256 is refused
 * before a key is looked for. Curve arithmetic is OpenSSL's. Reading allocates nothing; only keys own memory.
 */
#ifndef EDGE_TOKEN_H
#define EDGE_TOKEN_H

#include "cart/cart_types.h"

#define EDGE_TOKEN_BYTES_MAX  2048 /* a whole compact token; longer: EDGE_TOKEN_LONG */
#define EDGE_TOKEN_CLAIMS_MAX 32   /* names in one JSON object of a token */
#define EDGE_TOKEN_KID_MAX    64
#define EDGE_TOKEN_NAME_MAX   128 /* issuer, audience */
#define EDGE_TOKEN_LEEWAY_S   5
#define EDGE_KEYS_MAX         16
#define EDGE_KEYS_BYTES_MAX   65536

typedef enum {
    EDGE_TOKEN_OK = 0,
    EDGE_TOKEN_LONG,
    EDGE_TOKEN_FORM,      /* not three base64url parts of strict JSON, a claim twice, a claim of the wrong type */
    EDGE_TOKEN_ALGORITHM, /* alg is not ES256 */
    EDGE_TOKEN_TYPE,      /* typ is not at+jwt, or crit is there */
    EDGE_TOKEN_KEY,       /* no such kid */
    EDGE_TOKEN_SIGNATURE,
    EDGE_TOKEN_ISSUER,
    EDGE_TOKEN_AUDIENCE,
    EDGE_TOKEN_EXPIRED,
    EDGE_TOKEN_FUTURE,  /* iat or nbf lies ahead */
    EDGE_TOKEN_REVOKED, /* set by the caller, who knows the list */
} edge_token_result_t;

typedef enum { EDGE_ROLE_GUEST = 0, EDGE_ROLE_CUSTOMER = 1, EDGE_ROLE_ADMIN = 2 } edge_role_t;

typedef struct {
    cart_id_t user, session;
    uint64_t issued_s, expires_s; /* Unix seconds */
    uint8_t role;                 /* edge_role_t */
} edge_claims_t;

/* ---- keys ---- */
typedef struct edge_keys edge_keys_t; /* owned by the caller of edge_keys_parse */

/* Reads a JWK set. Keys that are not EC P-256 signing keys are passed over; a malformed one of those refuses the set.
 * previous (or NULL): a key that is in it too keeps its number, so that cached tokens live on; *numbers counts up and
 * gives every other key a number never used before. NULL: *why (static) says what is wrong. */
edge_keys_t *edge_keys_parse(const void *json, size_t length, const edge_keys_t *previous, uint32_t *numbers,
                             const char **why);
void edge_keys_destroy(edge_keys_t *keys); /* NULL is fine */
unsigned edge_keys_count(const edge_keys_t *keys);
/* Whether the key of this number is (still) in the set. */
bool edge_keys_has(const edge_keys_t *keys, uint32_t number);

/* ---- tokens ---- */
typedef struct {
    const char *issuer, *audience; /* zero-terminated, borrowed */
} edge_token_rules_t;

/* Verifies everything but revocation. *claims and *key (the key's number) are set only with EDGE_TOKEN_OK; with
 * EDGE_TOKEN_KEY the caller may look whether a newer key set has come. keys may be NULL: no key. */
edge_token_result_t edge_token_verify(const char *token, size_t length, const edge_keys_t *keys,
                                      const edge_token_rules_t *rules, uint64_t now_s, edge_claims_t *claims,
                                      uint32_t *key);
const char *edge_token_text(edge_token_result_t result); /* for logs; static */

/* Strict base64url without padding: no other characters, no stray bits. False: not that, or more than capacity. */
bool edge_base64url(const char *text, size_t length, uint8_t *bytes, size_t capacity, size_t *count);

#endif
