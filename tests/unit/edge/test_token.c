/* Tokens: what is accepted is exactly what our auth service signs; everything else is refused for its reason. */
#include "unit/edge/edge_test.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "edge/edge_keys.h"
#include "edge/edge_tokens.h"

#define NOW    1790000000
#define HEADER "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}"
#define SUB    "usr_7mk1qbxhche08aaapde8qh8k48"
#define SID    "ses_6t06tt3gzwc07epc2f3nj6sr8g"
#define CLAIMS_BUT(exp)                                                                                                \
    "{\"iss\":\"bookcart\",\"aud\":\"bookcart\",\"sub\":\"" SUB "\",\"sid\":\"" SID                                    \
    "\",\"iat\":1789999990,\"exp\":" exp ",\"kind\":\"guest\",\"role\":\"customer\"}"
#define CLAIMS CLAIMS_BUT("1790000890")

static const edge_token_rules_t rules = {"bookcart", "bookcart"};
static EVP_PKEY *signer;
static char jwks[1024];
static edge_keys_t *keys;
static uint32_t numbers;

static size_t encode(const void *bytes, size_t length, char *text) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *at = bytes;
    size_t out = 0;
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t group =
            (uint32_t)at[i] << 16 | (left > 1 ? (uint32_t)at[i + 1] << 8 : 0) | (left > 2 ? at[i + 2] : 0U);
        text[out++] = digits[group >> 18 & 63];
        text[out++] = digits[group >> 12 & 63];
        if (left > 1) text[out++] = digits[group >> 6 & 63];
        if (left > 2) text[out++] = digits[group & 63];
    }
    text[out] = '\0';
    return out;
}

static void sign(EVP_PKEY *key, const char *text, size_t length, uint8_t raw[64]) {
    uint8_t der[80];
    size_t der_length = sizeof(der);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(context, der, &der_length, (const uint8_t *)text, length), 1);
    const uint8_t *at = der;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)der_length);
    assert_non_null(pair);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32), 32);
    ECDSA_SIG_free(pair);
    EVP_MD_CTX_free(context);
}

static size_t make_token(const char *header, const char *claims, char *token) {
    uint8_t raw[64];
    size_t length = encode(header, strlen(header), token);
    token[length++] = '.';
    length += encode(claims, strlen(claims), token + length);
    sign(signer, token, length, raw);
    token[length++] = '.';
    return length + encode(raw, sizeof(raw), token + length);
}

static edge_token_result_t verify(const char *token, size_t length, edge_claims_t *claims) {
    uint32_t key = 0;
    guard_t guard;
    guard_open(&guard, 8192);
    edge_token_result_t result =
        edge_token_verify(guard_put(&guard, token, length), length, keys, &rules, NOW, claims, &key);
    guard_close(&guard);
    return result;
}

static edge_token_result_t verify_parts(const char *header, const char *claims) {
    static char token[8192];
    edge_claims_t read;
    return verify(token, make_token(header, claims, token), &read);
}

static void point_of(EVP_PKEY *key, char *x, char *y) {
    uint8_t point[65];
    size_t length = 0;
    assert_int_equal(
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point, sizeof(point), &length), 1);
    assert_int_equal(length, 65);
    (void)encode(point + 1, 32, x);
    (void)encode(point + 33, 32, y);
}

static int setup(void **state) {
    char x[64];
    char y[64];
    const char *why = NULL;
    (void)state;
    signer = EVP_EC_gen("P-256");
    point_of(signer, x, y);
    (void)snprintf(jwks, sizeof(jwks),
                   "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\",\"kid\":\"r\"},"
                   "{\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"use\":\"sig\",\"kid\":\"k1\",\"x\":\"%s\","
                   "\"y\":\"%s\"}]}",
                   x, y);
    keys = edge_keys_parse(jwks, strlen(jwks), NULL, &numbers, &why);
    assert_non_null(keys);
    assert_int_equal(edge_keys_count(keys), 1);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    edge_keys_destroy(keys);
    EVP_PKEY_free(signer);
    return 0;
}

static void test_a_good_token(void **state) {
    (void)state;
    char token[4096];
    edge_claims_t claims;
    char text[CART_ID_CHARS + 1];
    size_t length = make_token(HEADER, CLAIMS, token);
    assert_int_equal(verify(token, length, &claims), EDGE_TOKEN_OK);
    cart_id_format("usr_", &claims.user, text);
    assert_string_equal(text, SUB);
    assert_true(claims.issued_s == 1789999990 && claims.expires_s == 1790000890 && claims.role == EDGE_ROLE_GUEST);
}

static void test_every_truncation_and_every_flipped_character(void **state) {
    (void)state;
    char token[4096];
    edge_claims_t claims;
    size_t length = make_token(HEADER, CLAIMS, token);
    for (size_t cut = 0; cut < length; cut++) assert_int_not_equal(verify(token, cut, &claims), EDGE_TOKEN_OK);
    for (size_t at = 0; at < length; at++) {
        char kept = token[at];
        token[at] = kept == 'A' ? 'B' : 'A';
        assert_int_not_equal(verify(token, length, &claims), EDGE_TOKEN_OK);
        token[at] = kept;
    }
    assert_int_equal(verify(token, length, &claims), EDGE_TOKEN_OK);
}

static void test_headers(void **state) {
    (void)state;
    static const struct {
        const char *header;
        edge_token_result_t result;
    } headers[] = {
        {"{\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", EDGE_TOKEN_ALGORITHM},
        {"{\"alg\":\"None\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", EDGE_TOKEN_ALGORITHM},
        {"{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", EDGE_TOKEN_ALGORITHM},
        {"{\"alg\":\"ES384\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", EDGE_TOKEN_ALGORITHM},
        {"{\"alg\":\"es256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", EDGE_TOKEN_ALGORITHM},
        {"{\"typ\":\"at+jwt\",\"kid\":\"k1\"}", EDGE_TOKEN_ALGORITHM},
        {"{\"alg\":[\"ES256\"],\"typ\":\"at+jwt\",\"kid\":\"k1\"}", EDGE_TOKEN_FORM},
        {"{\"alg\":\"ES256\",\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", EDGE_TOKEN_FORM},
        {"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"k1\"}", EDGE_TOKEN_TYPE},
        {"{\"alg\":\"ES256\",\"kid\":\"k1\"}", EDGE_TOKEN_TYPE},
        {"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"crit\":[\"b64\"]}", EDGE_TOKEN_TYPE},
        {"{\"alg\":\"ES256\",\"typ\":\"AT+JWT\",\"kid\":\"k1\"}", EDGE_TOKEN_OK},
        {"{\"alg\":\"ES256\",\"typ\":\"application/at+jwt\",\"kid\":\"k1\"}", EDGE_TOKEN_OK},
        {"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k2\"}", EDGE_TOKEN_KEY},
        {"{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}", EDGE_TOKEN_KEY},
        {"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"jwk\":{\"kty\":\"EC\"}}",
         EDGE_TOKEN_OK}, /* never looked at */
        {"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":7}", EDGE_TOKEN_FORM},
        {"[]", EDGE_TOKEN_FORM},
        {"{}x", EDGE_TOKEN_FORM},
        {"", EDGE_TOKEN_FORM},
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        edge_token_result_t result = verify_parts(headers[i].header, CLAIMS);
        if (result != headers[i].result) fail_msg("%s: %s", headers[i].header, edge_token_text(result));
    }
}

static void test_claims(void **state) {
    (void)state;
    static const struct {
        const char *from, *to;
        edge_token_result_t result;
    } swaps[] = {
        {"\"iss\":\"bookcart\"", "\"iss\":\"other\"", EDGE_TOKEN_ISSUER},
        {"\"aud\":\"bookcart\"", "\"aud\":\"other\"", EDGE_TOKEN_AUDIENCE},
        {"\"aud\":\"bookcart\"", "\"aud\":[\"other\",\"bookcart\"]", EDGE_TOKEN_OK},
        {"\"aud\":\"bookcart\"", "\"aud\":[]", EDGE_TOKEN_AUDIENCE},
        {"\"aud\":\"bookcart\"", "\"aud\":[7]", EDGE_TOKEN_FORM},
        {"\"iss\":\"bookcart\",", "", EDGE_TOKEN_FORM},
        {"\"sub\":\"" SUB "\"", "\"sub\":\"usr_7MK1QBXHCHE08AAAPDE8QH8K48\"", EDGE_TOKEN_FORM},
        {"\"sub\":\"" SUB "\"", "\"sub\":\"" SID "\"", EDGE_TOKEN_FORM},
        {"\"sid\":\"" SID "\"", "\"sid\":null", EDGE_TOKEN_FORM},
        {"\"exp\":1790000890", "\"exp\":1789999995", EDGE_TOKEN_EXPIRED}, /* leeway 5 s: over at NOW */
        {"\"exp\":1790000890", "\"exp\":1789999996", EDGE_TOKEN_OK},
        {"\"exp\":1790000890", "\"exp\":1790000890.5", EDGE_TOKEN_FORM},
        {"\"exp\":1790000890", "\"exp\":\"1790000890\"", EDGE_TOKEN_FORM},
        {"\"exp\":1790000890", "\"exp\":99999999999999999999", EDGE_TOKEN_FORM},
        {"\"exp\":1790000890", "\"exp\":-1", EDGE_TOKEN_FORM},
        {"\"iat\":1789999990", "\"iat\":1790000005", EDGE_TOKEN_OK},
        {"\"iat\":1789999990", "\"iat\":1790000006", EDGE_TOKEN_FUTURE},
        {"\"iat\":1789999990", "\"nbf\":1790000006,\"iat\":1789999990", EDGE_TOKEN_FUTURE},
        {"\"kind\":\"guest\"", "\"kind\":\"ghost\"", EDGE_TOKEN_FORM},
        {"\"role\":\"customer\"", "\"role\":\"admin\"", EDGE_TOKEN_FORM}, /* a guest is no administrator */
        {"\"role\":\"customer\"", "\"role\":\"customer\",\"role\":\"admin\"", EDGE_TOKEN_FORM},
        {"\"role\":\"customer\"", "\"role\":\"customer\",\"r\\u006fle\":\"admin\"", EDGE_TOKEN_FORM},
        {"\"role\":\"customer\"", "\"role\":\"customer\",\"x\":1,\"x\":1", EDGE_TOKEN_FORM},
        {"\"role\":\"customer\"", "\"role\":\"customer\",\"x\":{\"y\":[1,2]}", EDGE_TOKEN_OK},
        {"\"role\":\"customer\"", "\"role\":\"customer\",\"x\":[[[[[[[[[[1]]]]]]]]]]", EDGE_TOKEN_FORM},
    };
    for (size_t i = 0; i < sizeof(swaps) / sizeof(swaps[0]); i++) {
        char claims[1024];
        const char *found = strstr(CLAIMS, swaps[i].from);
        assert_non_null(found);
        (void)snprintf(claims, sizeof(claims), "%.*s%s%s", (int)(found - CLAIMS), CLAIMS, swaps[i].to,
                       found + strlen(swaps[i].from));
        edge_token_result_t result = verify_parts(HEADER, claims);
        if (result != swaps[i].result) fail_msg("%s: %s", claims, edge_token_text(result));
    }
}

static void test_too_many_claims(void **state) {
    (void)state;
    char claims[2048];
    size_t length = (size_t)snprintf(claims, sizeof(claims), "%.*s", (int)strlen(CLAIMS) - 1, CLAIMS);
    for (unsigned i = 0; i < EDGE_TOKEN_CLAIMS_MAX - 8; i++)
        length += (size_t)snprintf(claims + length, sizeof(claims) - length, ",\"c%u\":%u", i, i);
    (void)snprintf(claims + length, sizeof(claims) - length, "}");
    assert_int_equal(verify_parts(HEADER, claims), EDGE_TOKEN_OK);
    (void)snprintf(claims + length, sizeof(claims) - length, ",\"one\":1}");
    assert_int_equal(verify_parts(HEADER, claims), EDGE_TOKEN_FORM);
}

/* The classic: the public key as an HMAC secret. */
static void test_hs256_with_the_public_key(void **state) {
    (void)state;
    char token[4096];
    uint8_t mac[32];
    unsigned mac_length = 0;
    edge_claims_t claims;
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}";
    size_t length = encode(header, strlen(header), token);
    token[length++] = '.';
    length += encode(CLAIMS, strlen(CLAIMS), token + length);
    assert_non_null(HMAC(EVP_sha256(), jwks, (int)strlen(jwks), (const uint8_t *)token, length, mac, &mac_length));
    token[length++] = '.';
    length += encode(mac, mac_length, token + length);
    assert_int_equal(verify(token, length, &claims), EDGE_TOKEN_ALGORITHM);
}

static void test_wrong_signatures(void **state) {
    (void)state;
    char token[8192];
    edge_claims_t claims;
    uint8_t raw[64] = {0};
    size_t length = make_token(HEADER, CLAIMS, token);
    char *mark = strrchr(token, '.') + 1;
    (void)encode(raw, sizeof(raw), mark); /* r = s = 0 */
    assert_int_equal(verify(token, strlen(token), &claims), EDGE_TOKEN_SIGNATURE);
    memset(raw, 0xFF, sizeof(raw));
    (void)encode(raw, sizeof(raw), mark);
    assert_int_equal(verify(token, strlen(token), &claims), EDGE_TOKEN_SIGNATURE);
    (void)encode(raw, sizeof(raw) - 1, mark);
    assert_int_equal(verify(token, strlen(token), &claims), EDGE_TOKEN_FORM);
    EVP_PKEY *other = EVP_EC_gen("P-256");
    sign(other, token, (size_t)(mark - 1 - token), raw);
    EVP_PKEY_free(other);
    (void)encode(raw, sizeof(raw), mark);
    assert_int_equal(verify(token, strlen(token), &claims), EDGE_TOKEN_SIGNATURE);
    length = make_token(HEADER, CLAIMS, token);
    memset(token + length, 'A', EDGE_TOKEN_BYTES_MAX);
    assert_int_equal(verify(token, EDGE_TOKEN_BYTES_MAX + 1, &claims), EDGE_TOKEN_LONG);
    (void)strcpy(token + make_token(HEADER, CLAIMS, token), ".x");
    assert_int_equal(verify(token, strlen(token), &claims), EDGE_TOKEN_FORM);
}

static void test_base64url_is_strict(void **state) {
    (void)state;
    uint8_t bytes[8];
    size_t count = 0;
    assert_true(edge_base64url("-_8", 3, bytes, sizeof(bytes), &count) && count == 2 && bytes[0] == 0xFB &&
                bytes[1] == 0xFF);
    assert_true(edge_base64url("", 0, bytes, sizeof(bytes), &count) && count == 0);
    static const char *const bad[] = {"A", "AAAAA", "AA==", "A+AA", "A/AA", "A A", "AB", "AAB", "-_9"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(edge_base64url(bad[i], strlen(bad[i]), bytes, sizeof(bytes), &count));
    assert_false(edge_base64url("AAAAAAAAAAAA", 12, bytes, sizeof(bytes), &count)); /* 9 bytes into 8 */
}

static void test_key_sets(void **state) {
    (void)state;
    char text[2048];
    char x[64];
    char y[64];
    const char *why = NULL;
    point_of(signer, x, y);
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"keys\":7}",
        "{\"keys\":[]}",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[{\"kid\":\"a\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"AA\",\"y\":\"AA\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"a\",\"x\":\"AA\",\"y\":\"AA\"}]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\",\"kid\":\"a\"}]}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (edge_keys_parse(bad[i], strlen(bad[i]), NULL, &numbers, &why) != NULL) fail_msg("%s", bad[i]);
        assert_non_null(why);
    }
#define EC "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"%s\",\"y\":\"%s\"%s}"
    (void)snprintf(text, sizeof(text), "{\"keys\":[" EC "]}", x, x, ""); /* not on the curve */
    assert_null(edge_keys_parse(text, strlen(text), NULL, &numbers, &why));
    (void)snprintf(text, sizeof(text), "{\"keys\":[" EC "]}", x, y, ",\"d\":\"AAAA\"");
    assert_null(edge_keys_parse(text, strlen(text), NULL, &numbers, &why));
    assert_string_equal(why, "a private key");
    (void)snprintf(text, sizeof(text), "{\"keys\":[" EC "," EC "]}", x, y, "", x, y, "");
    assert_null(edge_keys_parse(text, strlen(text), NULL, &numbers, &why));
    (void)snprintf(text, sizeof(text), "{\"keys\":[" EC "]}x", x, y, "");
    assert_null(edge_keys_parse(text, strlen(text), NULL, &numbers, &why));
    for (size_t cut = 0; cut < strlen(jwks); cut++) assert_null(edge_keys_parse(jwks, cut, NULL, &numbers, &why));
}

/* A library that leaves out leading zeros still names the same key. */
static void test_coordinates_without_leading_zeros(void **state) {
    (void)state;
    char text[512];
    char x[64];
    char y[64];
    for (;;) { /* one key in 256 */
        uint8_t point[65];
        size_t length = 0;
        const char *why = NULL;
        EVP_PKEY *key = EVP_EC_gen("P-256");
        assert_int_equal(
            EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point, sizeof(point), &length), 1);
        EVP_PKEY_free(key);
        if (point[1] != 0) continue;
        (void)encode(point + 2, 31, x);
        (void)encode(point + 33, 32, y);
        (void)snprintf(text, sizeof(text),
                       "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"%s\",\"y\":\"%s\"}]}", x, y);
        edge_keys_t *set = edge_keys_parse(text, strlen(text), NULL, &numbers, &why);
        assert_non_null(set);
        edge_keys_destroy(set);
        return;
    }
}

static edge_claims_t some_claims(uint64_t expires_s) {
    edge_claims_t claims = {.issued_s = expires_s - 900, .expires_s = expires_s, .role = EDGE_ROLE_CUSTOMER};
    claims.user.bytes[0] = 1;
    claims.session.bytes[0] = 2;
    return claims;
}

static void test_cache_finds_until_exp_and_key_end(void **state) {
    (void)state;
    edge_tokens_t *tokens = edge_tokens_create(EDGE_TOKENS_BYTES_MIN);
    edge_token_hash_t hash;
    edge_claims_t claims = some_claims(NOW + 10);
    edge_claims_t read;
    const char *why = NULL;
    edge_keys_t *first = edge_keys_parse(jwks, strlen(jwks), NULL, &numbers, &why);
    uint32_t key = edge_key_number(edge_keys_find(first, "k1", 2));
    edge_tokens_hash("token", 5, &hash);
    assert_false(edge_tokens_find(tokens, &hash, first, NOW, &read));
    edge_tokens_add(tokens, &hash, key, &claims, NOW);
    assert_true(edge_tokens_find(tokens, &hash, first, NOW, &read));
    assert_true(read.role == EDGE_ROLE_CUSTOMER && read.issued_s == claims.issued_s &&
                cart_id_equal(&read.user, &claims.user));
    assert_true(edge_tokens_find(tokens, &hash, first, NOW + 14, &read)); /* leeway */
    assert_false(edge_tokens_find(tokens, &hash, first, NOW + 15, &read));

    edge_tokens_add(tokens, &hash, key, &claims, NOW);
    edge_keys_t *same = edge_keys_parse(jwks, strlen(jwks), first, &numbers, &why);
    assert_true(edge_tokens_find(tokens, &hash, same, NOW, &read)); /* the key stayed */
    edge_keys_t *anew = edge_keys_parse(jwks, strlen(jwks), NULL, &numbers, &why);
    assert_false(edge_tokens_find(tokens, &hash, anew, NOW, &read)); /* another key of the same name */
    assert_false(edge_tokens_find(tokens, &hash, same, NOW, &read)); /* and it stays dead */
    edge_keys_destroy(first);
    edge_keys_destroy(same);
    edge_keys_destroy(anew);
    edge_tokens_destroy(tokens);
}

static void test_cache_is_bounded(void **state) {
    (void)state;
    edge_tokens_t *tokens = edge_tokens_create(EDGE_TOKENS_BYTES_MIN);
    uint32_t key = edge_key_number(edge_keys_find(keys, "k1", 2));
    edge_tokens_stats_t stats;
    unsigned found = 0;
    for (unsigned i = 0; i < 1000; i++) {
        edge_token_hash_t hash;
        edge_claims_t claims = some_claims(NOW + 100 + i);
        edge_tokens_hash((const char *)&i, sizeof(i), &hash);
        edge_tokens_add(tokens, &hash, key, &claims, NOW);
    }
    for (unsigned i = 0; i < 1000; i++) {
        edge_token_hash_t hash;
        edge_claims_t read;
        edge_tokens_hash((const char *)&i, sizeof(i), &hash);
        found += edge_tokens_find(tokens, &hash, keys, NOW, &read);
        if (found > 0) continue;
        assert_true(i < 999);
    }
    edge_tokens_stats(tokens, &stats);
    assert_int_equal(stats.capacity, EDGE_TOKENS_BYTES_MIN / 64);
    assert_true(found > 0 && found <= stats.capacity);
    assert_true(stats.evicted >= 1000 - stats.capacity);
    edge_tokens_destroy(tokens);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_token),
        cmocka_unit_test(test_every_truncation_and_every_flipped_character),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_too_many_claims),
        cmocka_unit_test(test_hs256_with_the_public_key),
        cmocka_unit_test(test_wrong_signatures),
        cmocka_unit_test(test_base64url_is_strict),
        cmocka_unit_test(test_key_sets),
        cmocka_unit_test(test_coordinates_without_leading_zeros),
        cmocka_unit_test(test_cache_finds_until_exp_and_key_end),
        cmocka_unit_test(test_cache_is_bounded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
