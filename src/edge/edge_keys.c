#include "edge/edge_keys.h"

#include <assert.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "edge/edge_json.h"

#define COORDINATE_BYTES 32

struct edge_key {
    EVP_PKEY *pkey; /* owned */
    uint32_t number;
    uint8_t kid_length;
    char kid[EDGE_TOKEN_KID_MAX];
    uint8_t point[1 + 2 * COORDINATE_BYTES]; /* uncompressed */
};

struct edge_keys {
    unsigned count;
    edge_key_t keys[EDGE_KEYS_MAX];
};

/* One JWK as it is read. */
typedef struct {
    unsigned seen; /* SAW_… */
    bool ec, p256, es256, signing;
    char kid[EDGE_TOKEN_KID_MAX];
    size_t kid_length;
    uint8_t x[COORDINATE_BYTES], y[COORDINATE_BYTES];
} jwk_t;
enum { SAW_KTY = 1, SAW_CRV = 2, SAW_ALG = 4, SAW_USE = 8, SAW_KID = 16, SAW_X = 32, SAW_Y = 64, SAW_D = 128 };

static bool equals(const char *text, size_t length, const char *known) {
    return strlen(known) == length && memcmp(text, known, length) == 0;
}

/* RFC 7518, 6.2.1.2 wants all 32 bytes; some libraries leave out leading zeros, which one key in 128 has. The number is the
 * same, and OpenSSL checks that the point is on the curve. */
static bool read_coordinate(edge_json_t *json, uint8_t bytes[COORDINATE_BYTES]) {
    char text[64];
    uint8_t number[COORDINATE_BYTES];
    size_t length = 0;
    size_t count = 0;
    if (!edge_json_string(json, text, sizeof(text), &length) ||
        !edge_base64url(text, length, number, sizeof(number), &count) || count == 0) {
        return false;
    }
    memset(bytes, 0, COORDINATE_BYTES - count);
    memcpy(bytes + COORDINATE_BYTES - count, number, count);
    return true;
}

static bool read_member(edge_json_t *json, const char *name, size_t size, jwk_t *jwk) {
    static const struct {
        const char *name;
        unsigned bit;
    } members[] = {{"kty", SAW_KTY}, {"crv", SAW_CRV}, {"alg", SAW_ALG}, {"use", SAW_USE},
                   {"kid", SAW_KID}, {"x", SAW_X},     {"y", SAW_Y},     {"d", SAW_D}};
    unsigned bit = 0;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (equals(name, size, members[i].name)) bit = members[i].bit;
    if (bit == 0) return edge_json_skip(json);
    if ((jwk->seen & bit) != 0) return false;
    jwk->seen |= bit;
    /* Another key type has other things in x, y and d: read them only when they can be ours. */
    if (bit == SAW_D) return edge_json_skip(json);
    if (bit == SAW_X || bit == SAW_Y) {
        edge_json_t ahead = *json;
        if (read_coordinate(&ahead, bit == SAW_X ? jwk->x : jwk->y)) {
            *json = ahead;
            return true;
        }
        jwk->p256 = false;
        jwk->seen &= ~bit;
        return edge_json_skip(json);
    }
    if (bit == SAW_KID) return edge_json_string(json, jwk->kid, sizeof(jwk->kid), &jwk->kid_length);
    char text[32];
    size_t length = 0;
    if (!edge_json_string(json, text, sizeof(text), &length)) return false;
    if (bit == SAW_KTY) jwk->ec = equals(text, length, "EC");
    if (bit == SAW_CRV) jwk->p256 = equals(text, length, "P-256");
    if (bit == SAW_ALG) jwk->es256 = equals(text, length, "ES256");
    if (bit == SAW_USE) jwk->signing = equals(text, length, "sig");
    return true;
}

static bool read_jwk(edge_json_t *json, jwk_t *jwk) {
    *jwk = (jwk_t){.es256 = true, .signing = true}; /* alg and use may be absent */
    if (!edge_json_object(json)) return false;
    for (;;) {
        char name[16];
        size_t size = 0;
        edge_json_step_t step = edge_json_key(json, name, sizeof(name), &size);
        if (step == EDGE_JSON_FAULT) return false;
        if (step == EDGE_JSON_CLOSE) return true;
        if (!read_member(json, name, size, jwk)) return false;
    }
}

static bool make_pkey(edge_key_t *key) {
    char group[] = "prime256v1";
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, key->point, sizeof(key->point)),
        OSSL_PARAM_construct_end(),
    };
    /* fromdata refuses a point that is not on the curve. */
    bool ok = context != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
              EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, parameters) == 1;
    EVP_PKEY_CTX_free(context);
    if (ok) key->pkey = pkey;
    return ok;
}

static uint32_t number_for(const edge_key_t *key, const edge_keys_t *previous, uint32_t *numbers) {
    for (unsigned i = 0; previous != NULL && i < previous->count; i++) {
        const edge_key_t *old = &previous->keys[i];
        if (old->kid_length == key->kid_length && memcmp(old->kid, key->kid, key->kid_length) == 0 &&
            memcmp(old->point, key->point, sizeof(key->point)) == 0) {
            return old->number;
        }
    }
    return ++*numbers;
}

/* NULL, or what is wrong. */
static const char *add_key(edge_keys_t *keys, const jwk_t *jwk, const edge_keys_t *previous, uint32_t *numbers) {
    if ((jwk->seen & SAW_KTY) == 0) return "a key without kty";
    if (!jwk->ec || !jwk->es256 || !jwk->signing || (jwk->seen & SAW_CRV) == 0) return NULL; /* not one of ours */
    if (!jwk->p256)
        return (jwk->seen & SAW_X) == 0 || (jwk->seen & SAW_Y) == 0 ? "a coordinate that is no number of 32 bytes"
                                                                    : NULL;
    if ((jwk->seen & SAW_D) != 0) return "a private key";
    if ((jwk->seen & (SAW_X | SAW_Y)) != (SAW_X | SAW_Y)) return "a P-256 key without x and y";
    if ((jwk->seen & SAW_KID) == 0 || jwk->kid_length == 0) return "a key without kid";
    if (edge_keys_find(keys, jwk->kid, jwk->kid_length) != NULL) return "a kid twice";
    if (keys->count == EDGE_KEYS_MAX) return "more than 16 keys";
    edge_key_t *key = &keys->keys[keys->count];
    key->kid_length = (uint8_t)jwk->kid_length;
    memcpy(key->kid, jwk->kid, jwk->kid_length);
    key->point[0] = 4;
    memcpy(key->point + 1, jwk->x, COORDINATE_BYTES);
    memcpy(key->point + 1 + COORDINATE_BYTES, jwk->y, COORDINATE_BYTES);
    if (!make_pkey(key)) return "a point that is not on the curve";
    key->number = number_for(key, previous, numbers);
    keys->count++;
    return NULL;
}

static const char *read_list(edge_json_t *json, edge_keys_t *keys, const edge_keys_t *previous, uint32_t *numbers) {
    if (!edge_json_array(json)) return "keys is not a list";
    for (;;) {
        edge_json_step_t step = edge_json_element(json);
        if (step == EDGE_JSON_FAULT) return "malformed JSON";
        if (step == EDGE_JSON_CLOSE) return NULL;
        jwk_t jwk;
        if (!read_jwk(json, &jwk)) return "a malformed key";
        const char *why = add_key(keys, &jwk, previous, numbers);
        if (why != NULL) return why;
    }
}

static const char *read_set(edge_json_t *json, edge_keys_t *keys, const edge_keys_t *previous, uint32_t *numbers) {
    bool seen = false;
    if (!edge_json_object(json)) return "not a JSON object";
    for (;;) {
        char name[16];
        size_t size = 0;
        edge_json_step_t step = edge_json_key(json, name, sizeof(name), &size);
        if (step == EDGE_JSON_FAULT) return "malformed JSON";
        if (step == EDGE_JSON_CLOSE) break;
        if (equals(name, size, "keys")) {
            if (seen) return "keys twice";
            seen = true;
            const char *why = read_list(json, keys, previous, numbers);
            if (why != NULL) return why;
        } else if (!edge_json_skip(json)) {
            return "malformed JSON";
        }
    }
    if (!edge_json_end(json)) return "something behind the key set";
    if (!seen) return "no keys in it";
    return keys->count == 0 ? "no ES256 key in it" : NULL;
}

edge_keys_t *edge_keys_parse(const void *bytes, size_t length, const edge_keys_t *previous, uint32_t *numbers,
                             const char **why) {
    if (length > EDGE_KEYS_BYTES_MAX) {
        *why = "larger than 64 KiB";
        return NULL;
    }
    edge_keys_t *keys = calloc(1, sizeof(*keys));
    if (keys == NULL) {
        *why = "no memory";
        return NULL;
    }
    edge_json_t json;
    edge_json_begin(&json, bytes, length);
    const char *wrong = read_set(&json, keys, previous, numbers);
    if (wrong != NULL) {
        edge_keys_destroy(keys);
        *why = wrong;
        return NULL;
    }
    return keys;
}

void edge_keys_destroy(edge_keys_t *keys) {
    if (keys == NULL) return;
    /* One more than count may hold a key that was refused half-way; calloc made the rest NULL. */
    for (unsigned i = 0; i < EDGE_KEYS_MAX; i++) EVP_PKEY_free(keys->keys[i].pkey);
    free(keys);
}

unsigned edge_keys_count(const edge_keys_t *keys) {
    return keys == NULL ? 0 : keys->count;
}

bool edge_keys_has(const edge_keys_t *keys, uint32_t number) {
    for (unsigned i = 0; keys != NULL && i < keys->count; i++)
        if (keys->keys[i].number == number) return true;
    return false;
}

const edge_key_t *edge_keys_find(const edge_keys_t *keys, const char *kid, size_t length) {
    for (unsigned i = 0; keys != NULL && i < keys->count; i++) {
        const edge_key_t *key = &keys->keys[i];
        if (key->kid_length == length && memcmp(key->kid, kid, length) == 0) return key;
    }
    return NULL;
}

uint32_t edge_key_number(const edge_key_t *key) {
    return key->number;
}

/* r‖s as the DER that OpenSSL verifies. Owned by the caller (OPENSSL_free); 0: no memory. */
static int signature_der(const uint8_t signature[EDGE_SIGNATURE_BYTES], unsigned char **der) {
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, COORDINATE_BYTES, NULL);
    BIGNUM *s = BN_bin2bn(signature + COORDINATE_BYTES, COORDINATE_BYTES, NULL);
    int length = 0;
    if (pair != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL; /* the pair owns them now */
        length = i2d_ECDSA_SIG(pair, der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return length > 0 ? length : 0;
}

bool edge_key_verify(const edge_key_t *key, const char *text, size_t length,
                     const uint8_t signature[EDGE_SIGNATURE_BYTES]) {
    assert(key->pkey != NULL);
    unsigned char *der = NULL;
    bool good = false;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int der_length = signature_der(signature, &der);
    if (context != NULL && der_length != 0 && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key->pkey) == 1) {
        good = EVP_DigestVerify(context, der, (size_t)der_length, (const unsigned char *)text, length) == 1;
    }
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    return good;
}
