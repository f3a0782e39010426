/*
 * Mints access tokens for load tests, many and quickly, with the shop's own signing key (a JWK file of DATA/keys).
 *
 *   bench_tokens KEY.json COUNT SEED TTL_SECONDS [PUBLIC.pem]
 *
 * Prints one `usr_… TOKEN` a line. User ids follow from SEED and the line's number, so that a later run names the same
 * users. PUBLIC.pem: where to write the public key for the classic stack.
 */
#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cart/cart_id.h"

#define PART_BYTES 32

static int base64url(const unsigned char *bytes, int length, char *text) {
    int out = EVP_EncodeBlock((unsigned char *)text, bytes, length);
    while (out > 0 && text[out - 1] == '=') out--;
    for (int i = 0; i < out; i++) {
        if (text[i] == '+') text[i] = '-';
        if (text[i] == '/') text[i] = '_';
    }
    text[out] = '\0';
    return out;
}

static int un_base64url(const char *text, unsigned char bytes[PART_BYTES]) {
    char padded[48] = {0};
    unsigned char raw[36];
    size_t length = strlen(text);
    if (length != 43) return -1;
    memcpy(padded, text, length);
    padded[43] = '=';
    for (size_t i = 0; i < length; i++) {
        if (padded[i] == '-') padded[i] = '+';
        if (padded[i] == '_') padded[i] = '/';
    }
    if (EVP_DecodeBlock(raw, (const unsigned char *)padded, 44) != 33) return -1;
    memcpy(bytes, raw, PART_BYTES);
    return 0;
}

static EVP_PKEY *load_key(const json_t *jwk) {
    unsigned char x[PART_BYTES], y[PART_BYTES], d[PART_BYTES], point[1 + 2 * PART_BYTES];
    const char *xs = json_string_value(json_object_get(jwk, "x"));
    const char *ys = json_string_value(json_object_get(jwk, "y"));
    const char *ds = json_string_value(json_object_get(jwk, "d"));
    if (xs == NULL || ys == NULL || ds == NULL) return NULL;
    if (un_base64url(xs, x) != 0 || un_base64url(ys, y) != 0 || un_base64url(ds, d) != 0) return NULL;
    point[0] = 4;
    memcpy(point + 1, x, PART_BYTES);
    memcpy(point + 1 + PART_BYTES, y, PART_BYTES);
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *secret = BN_bin2bn(d, PART_BYTES, NULL);
    if (context != NULL && builder != NULL && secret != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, secret) == 1 &&
        (params = OSSL_PARAM_BLD_to_param(builder)) != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, params) != 1) {
        key = NULL;
    }
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(context);
    BN_free(secret);
    return key;
}

/* DER to the 64 bytes that a JWT carries. */
static int raw_signature(const unsigned char *der, size_t length, unsigned char raw[2 * PART_BYTES]) {
    const unsigned char *at = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)length);
    if (signature == NULL) return -1;
    const BIGNUM *r = NULL;
    const BIGNUM *s = NULL;
    ECDSA_SIG_get0(signature, &r, &s);
    int fine =
        BN_bn2binpad(r, raw, PART_BYTES) == PART_BYTES && BN_bn2binpad(s, raw + PART_BYTES, PART_BYTES) == PART_BYTES;
    ECDSA_SIG_free(signature);
    return fine ? 0 : -1;
}

static uint64_t mix(uint64_t z) { /* SplitMix64 */
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static int print_token(EVP_PKEY *key, const char *head, uint64_t seed, uint64_t number, long long now, long long ttl) {
    cart_id_t user, session;
    for (int i = 0; i < 2; i++) {
        uint64_t a = mix(seed * 4 + number * UINT64_C(0x9E3779B97F4A7C15) + (uint64_t)i + 1);
        uint64_t b = mix(a + 77);
        memcpy(user.bytes + 8 * i, &a, 8);
        memcpy(session.bytes + 8 * i, &b, 8);
    }
    char user_text[CART_ID_CHARS + 1], session_text[CART_ID_CHARS + 1];
    cart_id_format("usr_", &user, user_text);
    cart_id_format("ses_", &session, session_text);
    char claims[512], token[1400];
    int length =
        snprintf(claims, sizeof(claims),
                 "{\"iss\":\"bookcart\",\"aud\":\"bookcart\",\"sub\":\"%s\",\"sid\":\"%s\",\"iat\":%lld,\"exp\":%lld,"
                 "\"kind\":\"customer\",\"role\":\"customer\"}",
                 user_text, session_text, now, now + ttl);
    if (length < 0 || (size_t)length >= sizeof(claims)) return -1;
    int at = snprintf(token, sizeof(token), "%s.", head);
    if (at < 0 || at > 300) return -1;
    at += base64url((const unsigned char *)claims, length, token + at);
    unsigned char der[128], raw[2 * PART_BYTES];
    size_t der_length = sizeof(der);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int fine = context != NULL && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
               EVP_DigestSign(context, der, &der_length, (const unsigned char *)token, (size_t)at) == 1 &&
               raw_signature(der, der_length, raw) == 0;
    EVP_MD_CTX_free(context);
    if (!fine) return -1;
    token[at++] = '.';
    (void)base64url(raw, sizeof(raw), token + at); /* ends the string; its length is not needed */
    return printf("%s %s\n", user_text, token) > 0 ? 0 : -1;
}

int main(int argc, char **argv) {
    if (argc < 5 || argc > 6) {
        fprintf(stderr, "usage: %s KEY.json COUNT SEED TTL_SECONDS [PUBLIC.pem]\n", argv[0]);
        return 2;
    }
    json_error_t error;
    json_t *jwk = json_load_file(argv[1], 0, &error);
    if (jwk != NULL && json_object_get(jwk, "jwk") != NULL) {
        json_t *inner = json_incref(json_object_get(jwk, "jwk"));
        json_decref(jwk);
        jwk = inner;
    }
    EVP_PKEY *key = jwk == NULL ? NULL : load_key(jwk);
    const char *kid = json_string_value(json_object_get(jwk, "kid"));
    if (key == NULL || kid == NULL) {
        fprintf(stderr, "%s: not a private EC key\n", argv[1]);
        return 1;
    }
    if (argc == 6) {
        FILE *file = fopen(argv[5], "w");
        if (file == NULL || PEM_write_PUBKEY(file, key) != 1 || fclose(file) != 0) {
            perror(argv[5]);
            return 1;
        }
    }
    char head[200], head64[300];
    int length = snprintf(head, sizeof(head), "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", kid);
    (void)base64url((const unsigned char *)head, length, head64); /* as above */
    unsigned long long count = strtoull(argv[2], NULL, 10);
    unsigned long long seed = strtoull(argv[3], NULL, 10);
    long long ttl = strtoll(argv[4], NULL, 10);
    long long now = (long long)time(NULL);
    int result = 0;
    for (unsigned long long i = 0; i < count && result == 0; i++) result = print_token(key, head64, seed, i, now, ttl);
    EVP_PKEY_free(key);
    json_decref(jwk);
    return result == 0 && fflush(stdout) == 0 ? 0 : 1;
}
