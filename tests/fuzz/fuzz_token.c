/*
 * Tokens and key sets. The first byte chooses: a whole token against a real key set (only the one in the corpus that was
 * signed may pass), or a key set as the file holds it, or a list of entity tags, or an Accept-Language.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "edge/edge_etag.h"
#include "edge/edge_keys.h"
#include "edge/edge_problem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The public key that signed corpus/token/good (RFC 7515, appendix A.3.1). */
static const char jwks[] = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k1\","
                           "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                           "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";

static void fuzz_token(const char *text, size_t length) {
    static edge_keys_t *keys; /* kept: making a key costs more than all the rest */
    static const edge_token_rules_t rules = {"bookcart", "bookcart"};
    static uint32_t numbers;
    const char *why = NULL;
    if (keys == NULL) keys = edge_keys_parse(jwks, strlen(jwks), NULL, &numbers, &why);
    assert(keys != NULL);
    edge_claims_t claims;
    uint32_t key = 0;
    edge_token_result_t result = edge_token_verify(text, length, keys, &rules, 1790000000, &claims, &key);
    assert(edge_token_text(result) != NULL);
    if (result == EDGE_TOKEN_OK) {
        assert(length <= EDGE_TOKEN_BYTES_MAX && edge_keys_has(keys, key));
        assert(!cart_id_is_none(&claims.user) && !cart_id_is_none(&claims.session));
        assert(claims.expires_s > claims.issued_s && claims.expires_s <= UINT32_MAX);
    }
}

static void fuzz_keys(const char *text, size_t length) {
    uint32_t numbers = 0;
    const char *why = NULL;
    edge_keys_t *keys = edge_keys_parse(text, length, NULL, &numbers, &why);
    if (keys == NULL) {
        assert(why != NULL);
    } else {
        assert(edge_keys_count(keys) >= 1 && edge_keys_count(keys) <= EDGE_KEYS_MAX);
    }
    edge_keys_destroy(keys);
}

static void fuzz_tags(const char *text, size_t length) {
    edge_etag_t tag = {.place = {1, 41}, .digest = UINT64_C(0x0123456789abcdef)};
    edge_match_t strong = edge_etag_match(text, length, &tag, false);
    edge_match_t weak = edge_etag_match(text, length, &tag, true);
    assert((strong == EDGE_MATCH_BAD) == (weak == EDGE_MATCH_BAD));
    assert((strong == EDGE_MATCH_ANY) == (weak == EDGE_MATCH_ANY));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    size_t length = size - 1;
    char *text = malloc(length > 0 ? length : 1);
    if (text == NULL) return 0;
    memcpy(text, data + 1, length);
    switch (data[0]) {
    case 'k':
        fuzz_keys(text, length);
        break;
    case 'e':
        fuzz_tags(text, length);
        break;
    case 'l':
        assert(edge_language_choose(text, length) < EDGE_LANGUAGES);
        break;
    default:
        fuzz_token(text, length);
        break;
    }
    free(text);
    return 0;
}
