/* Tokens: what is signed is accepted, and every way of being something else is refused. */
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_service.h"
#include "platform/bc_time.h"
#include "platform/bc_token.h"

#include <ftw.h>
#include <rhonabwy.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static bc_config_t *config;
static bc_token_issuer_t *issuer;
static bc_token_verifier_t *verifier;
static bc_claims_t claims;

static int remove_entry(const char *path, const struct stat *found, int kind, struct FTW *walk) {
    (void)found;
    (void)kind;
    (void)walk;
    return remove(path);
}

static bc_config_t *make_config(const char *extra) {
    char text[512], reason[BC_CONFIG_REASON_BYTES];
    bc_config_t *made = bc_config_create();
    (void)snprintf(text, sizeof(text), "BOOKCART_DATA = %s\nBOOKCART_KEY_PUBLISH = 0\n%s", folder, extra);
    assert_true(bc_config_read_text(made, "test", text, strlen(text), reason));
    assert_true(bc_config_finish(made, reason));
    return made;
}

static int set_up(void **state) {
    (void)state;
    bc_log_init("test", BC_LOG_ALERT + 1);
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-token-XXXXXX");
    if (!bc_random_init() || mkdtemp(folder) == NULL) return -1;
    config = make_config("");
    if (!bc_service_folders(config)) return -1;
    issuer = bc_token_issuer_create(config);
    verifier = bc_token_verifier_create(config);
    int64_t now = bc_time_s();
    claims = (bc_claims_t){.user = bc_random_id(),
                           .session = bc_random_id(),
                           .issued_s = now,
                           .expires_s = now + 900,
                           .kind = BC_KIND_CUSTOMER,
                           .role = BC_ROLE_ADMIN};
    return issuer != NULL && verifier != NULL ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    bc_token_issuer_destroy(issuer);
    bc_token_verifier_destroy(verifier);
    bc_config_destroy(config);
    issuer = NULL;
    verifier = NULL;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static bc_token_result_t verify(const char *token) {
    bc_claims_t read;
    memset(&read, 0x5a, sizeof(read));
    bc_claims_t kept = read;
    bc_token_result_t result = bc_token_verify(verifier, "at+jwt", token, bc_time_s(), &read);
    if (result == BC_TOKEN_OK) {
        assert_memory_equal(&read.user, &claims.user, sizeof(read.user));
    } else {
        assert_memory_equal(&read, &kept, sizeof(read)); /* unchanged on failure */
    }
    return result;
}

static void what_is_signed_is_read_back(void **state) {
    (void)state;
    char token[BC_TOKEN_MAX + 1];
    bc_claims_t read;
    assert_true(bc_token_issue(issuer, "at+jwt", &claims, token));
    assert_int_equal(bc_token_verify(verifier, "at+jwt", token, claims.issued_s, &read), BC_TOKEN_OK);
    assert_true(cart_id_equal(&read.user, &claims.user));
    assert_true(cart_id_equal(&read.session, &claims.session));
    assert_int_equal(read.issued_s, claims.issued_s);
    assert_int_equal(read.expires_s, claims.expires_s);
    assert_int_equal(read.kind, BC_KIND_CUSTOMER);
    assert_int_equal(read.role, BC_ROLE_ADMIN);
    assert_int_equal(bc_token_verify(verifier, "at+jwt", token, claims.expires_s + BC_TOKEN_LEEWAY_S, &read),
                     BC_TOKEN_OK);
    assert_int_equal(bc_token_verify(verifier, "at+jwt", token, claims.expires_s + BC_TOKEN_LEEWAY_S + 1, &read),
                     BC_TOKEN_EXPIRED);
    assert_int_equal(bc_token_verify(verifier, "at+jwt", token, claims.issued_s - BC_TOKEN_LEEWAY_S - 1, &read),
                     BC_TOKEN_EXPIRED);
    assert_int_equal(bc_token_verify(verifier, "JWT", token, claims.issued_s, &read), BC_TOKEN_MALFORMED);
}

static void every_changed_character_is_refused(void **state) {
    (void)state;
    char token[BC_TOKEN_MAX + 1];
    assert_true(bc_token_issue(issuer, "at+jwt", &claims, token));
    size_t length = strlen(token);
    /* The last character of a part carries unused bits; its neighbours do not. */
    for (size_t i = 0; i + 1 < length; i++) {
        char kept = token[i];
        if (token[i + 1] == '.') continue;
        token[i] = kept == 'A' ? 'B' : 'A';
        assert_int_not_equal(verify(token), BC_TOKEN_OK);
        token[i] = kept;
    }
    for (size_t i = 0; i < length; i += 7) {
        char kept = token[i];
        token[i] = '\0';
        assert_int_not_equal(verify(token), BC_TOKEN_OK);
        token[i] = kept;
    }
    assert_int_equal(verify(token), BC_TOKEN_OK);
}

/* A token with a header and claims of our choice, signed by `key` (NULL: by nobody). */
static char *forge(const char *header, const char *body, jwk_t *key, jwa_alg alg) {
    jwt_t *jwt = NULL;
    assert_int_equal(r_jwt_init(&jwt), RHN_OK);
    assert_int_equal(r_jwt_set_sign_alg(jwt, alg), RHN_OK);
    json_t *extra = json_loads(header, 0, NULL);
    const char *name;
    json_t *value;
    json_object_foreach(extra, name, value) assert_int_equal(r_jwt_set_header_json_t_value(jwt, name, value), RHN_OK);
    assert_int_equal(r_jwt_set_full_claims_json_str(jwt, body), RHN_OK);
    char *text = key == NULL ? r_jwt_serialize_signed_unsecure(jwt, NULL, 0) : r_jwt_serialize_signed(jwt, key, 0);
    json_decref(extra);
    r_jwt_free(jwt);
    assert_non_null(text);
    char *copy = strdup(text);
    r_free(text);
    return copy;
}

static void expect_forged(const char *header, const char *body, jwk_t *key, jwa_alg alg) {
    char *token = forge(header, body, key, alg);
    bc_token_result_t result = verify(token);
    if (result == BC_TOKEN_OK) fail_msg("accepted: %s %s", header, body);
    free(token);
}

static void a_header_never_chooses(void **state) {
    (void)state;
    char user[CART_ID_CHARS + 1], session[CART_ID_CHARS + 1], body[1024], header[1024], kid[64];
    cart_id_format("usr_", &claims.user, user);
    cart_id_format("ses_", &claims.session, session);
    (void)snprintf(body, sizeof(body),
                   "{\"iss\":\"bookcart\",\"aud\":\"bookcart\",\"sub\":\"%s\",\"sid\":\"%s\",\"iat\":%lld,\"exp\":%lld,"
                   "\"kind\":\"guest\",\"role\":\"customer\"}",
                   user, session, (long long)claims.issued_s, (long long)claims.expires_s);
    json_t *set = bc_token_jwks(issuer), *published = json_array_get(json_object_get(set, "keys"), 0);
    (void)snprintf(kid, sizeof(kid), "%s", json_string_value(json_object_get(published, "kid")));
    jwk_t *own = NULL, *own_public = NULL, *hmac = NULL;
    assert_int_equal(r_jwk_init(&own) | r_jwk_init(&own_public) | r_jwk_init(&hmac), RHN_OK);
    assert_int_equal(r_jwk_generate_key_pair(own, own_public, R_KEY_TYPE_EC, 256, kid), RHN_OK);
    (void)snprintf(header, sizeof(header), "{\"typ\":\"at+jwt\",\"kid\":\"%s\"}", kid);
    expect_forged(header, body, own, R_JWA_ALG_ES256); /* another key under the published name */
    expect_forged(header, body, NULL, R_JWA_ALG_NONE); /* nobody */
    /* the public key as the secret of a MAC */
    const char *x = json_string_value(json_object_get(published, "x"));
    assert_int_equal(r_jwk_import_from_symmetric_key(hmac, (const unsigned char *)x, strlen(x)), RHN_OK);
    expect_forged(header, body, hmac, R_JWA_ALG_HS256);
    /* its own key in its own header */
    char *own_text = r_jwk_export_to_json_str(own_public, 0);
    (void)snprintf(header, sizeof(header), "{\"typ\":\"at+jwt\",\"kid\":\"%s\",\"jwk\":%s}", kid, own_text);
    expect_forged(header, body, own, R_JWA_ALG_ES256);
    (void)snprintf(header, sizeof(header), "{\"typ\":\"at+jwt\",\"kid\":\"other\"}");
    expect_forged(header, body, own, R_JWA_ALG_ES256);
    (void)snprintf(header, sizeof(header), "{\"typ\":\"at+jwt\"}");
    expect_forged(header, body, own, R_JWA_ALG_ES256);
    r_free(own_text);
    r_jwk_free(own);
    r_jwk_free(own_public);
    r_jwk_free(hmac);
    json_decref(set);
}

/* Signed by the real key, but not saying what it must. */
static void claims_must_have_their_form(void **state) {
    (void)state;
    static const struct {
        const char *iss, *aud, *sub, *sid, *iat, *exp, *kind, *role;
        bc_token_result_t result;
    } cases[] = {
#define USER    "\"usr_00000000000000000000000001\""
#define SESSION "\"ses_00000000000000000000000001\""
        {"\"other\"", "\"bookcart\"", USER, SESSION, "1", "9999999999", "\"guest\"", "\"customer\"", BC_TOKEN_FOREIGN},
        {"\"bookcart\"", "\"other\"", USER, SESSION, "1", "9999999999", "\"guest\"", "\"customer\"", BC_TOKEN_FOREIGN},
        {"\"bookcart\"", "[\"bookcart\"]", USER, SESSION, "1", "9999999999", "\"guest\"", "\"customer\"",
         BC_TOKEN_FOREIGN},
        {"\"bookcart\"", "\"bookcart\"", SESSION, SESSION, "1", "9999999999", "\"guest\"", "\"customer\"",
         BC_TOKEN_MALFORMED},
        {"\"bookcart\"", "\"bookcart\"", USER, USER, "1", "9999999999", "\"guest\"", "\"customer\"",
         BC_TOKEN_MALFORMED},
        {"\"bookcart\"", "\"bookcart\"", "7", SESSION, "1", "9999999999", "\"guest\"", "\"customer\"",
         BC_TOKEN_MALFORMED},
        {"\"bookcart\"", "\"bookcart\"", USER, SESSION, "\"1\"", "9999999999", "\"guest\"", "\"customer\"",
         BC_TOKEN_MALFORMED},
        {"\"bookcart\"", "\"bookcart\"", USER, SESSION, "1", "1.5", "\"guest\"", "\"customer\"", BC_TOKEN_MALFORMED},
        {"\"bookcart\"", "\"bookcart\"", USER, SESSION, "5", "4", "\"guest\"", "\"customer\"", BC_TOKEN_MALFORMED},
        {"\"bookcart\"", "\"bookcart\"", USER, SESSION, "1", "2", "\"guest\"", "\"customer\"", BC_TOKEN_EXPIRED},
        {"\"bookcart\"", "\"bookcart\"", USER, SESSION, "1", "9999999999", "\"robot\"", "\"customer\"",
         BC_TOKEN_MALFORMED},
        {"\"bookcart\"", "\"bookcart\"", USER, SESSION, "1", "9999999999", "\"guest\"", "\"root\"", BC_TOKEN_MALFORMED},
        {"\"bookcart\"", "\"bookcart\"", USER, SESSION, "1", "9999999999", "\"guest\"", "\"admin\"",
         BC_TOKEN_MALFORMED},
        {"\"bookcart\"", "\"bookcart\"", USER, SESSION, "1", "9999999999", "\"guest\"", "\"customer\"", BC_TOKEN_OK},
    };
    assert_true(cart_id_parse("usr_", "usr_00000000000000000000000001", CART_ID_CHARS, &claims.user));
    char path[BC_FILES_PATH_MAX], header[128], body[512];
    json_t *set = bc_token_jwks(issuer);
    const char *kid = json_string_value(json_object_get(json_array_get(json_object_get(set, "keys"), 0), "kid"));
    (void)snprintf(path, sizeof(path), "%s/keys/signing-%s.json", folder, kid);
    json_t *file = json_load_file(path, 0, NULL);
    jwk_t *key = NULL;
    assert_int_equal(r_jwk_init(&key), RHN_OK);
    assert_int_equal(r_jwk_import_from_json_t(key, json_object_get(file, "jwk")), RHN_OK);
    (void)snprintf(header, sizeof(header), "{\"typ\":\"at+jwt\",\"kid\":\"%s\"}", kid);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)snprintf(body, sizeof(body),
                       "{\"iss\":%s,\"aud\":%s,\"sub\":%s,\"sid\":%s,\"iat\":%s,\"exp\":%s,\"kind\":%s,\"role\":%s}",
                       cases[i].iss, cases[i].aud, cases[i].sub, cases[i].sid, cases[i].iat, cases[i].exp,
                       cases[i].kind, cases[i].role);
        char *token = forge(header, body, key, R_JWA_ALG_ES256);
        assert_int_equal(verify(token), cases[i].result);
        free(token);
    }
    char *dated = forge("{\"typ\":\"JWT\",\"kid\":\"x\"}", body, key, R_JWA_ALG_ES256);
    assert_int_equal(verify(dated), BC_TOKEN_MALFORMED);
    free(dated);
    r_jwk_free(key);
    json_decref(file);
    json_decref(set);
}

static void a_broken_key_file_keeps_the_last_keys(void **state) {
    (void)state;
    char token[BC_TOKEN_MAX + 1], path[BC_FILES_PATH_MAX];
    assert_true(bc_token_issue(issuer, "at+jwt", &claims, token));
    assert_int_equal(verify(token), BC_TOKEN_OK);
    assert_true(bc_config_path(config, "keys/jwks.json", path, sizeof(path)));
    assert_true(bc_files_replace(path, "{\"keys\":", 8, 0644));
    assert_int_equal(verify(token), BC_TOKEN_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(verify(token), BC_TOKEN_OK);
    assert_true(bc_files_replace(path, "{\"keys\":[]}", 11, 0644));
    assert_int_equal(verify(token), BC_TOKEN_UNKNOWN_KEY);
}

static void a_rotation_is_seen_without_a_restart(void **state) {
    (void)state;
    char token[BC_TOKEN_MAX + 1], other[BC_TOKEN_MAX + 1];
    assert_true(bc_token_issue(issuer, "at+jwt", &claims, token));
    assert_true(bc_token_rotate(issuer));
    assert_true(bc_token_issue(issuer, "at+jwt", &claims, other));
    assert_int_equal(verify(token), BC_TOKEN_OK);
    assert_int_equal(verify(other), BC_TOKEN_OK);
    for (int i = 2; i < BC_TOKEN_KEYS_MAX; i++) assert_true(bc_token_rotate(issuer));
    assert_false(bc_token_rotate(issuer)); /* BC_TOKEN_KEYS_MAX */
    assert_int_equal(verify(token), BC_TOKEN_OK);
}

static void a_dead_key_goes_and_a_damaged_one_stops_the_start(void **state) {
    (void)state;
    char path[BC_FILES_PATH_MAX];
    /* A key of long ago beside the present one: as a folder looks weeks after a rotation. */
    json_t *set = bc_token_jwks(issuer);
    const char *kid = json_string_value(json_object_get(json_array_get(json_object_get(set, "keys"), 0), "kid"));
    (void)snprintf(path, sizeof(path), "%s/keys/signing-%s.json", folder, kid);
    json_t *file = json_load_file(path, 0, NULL);
    json_object_set_new(file, "kid", json_string("AAAAAAAAAAAAAAAA"));
    json_object_set_new(file, "created_ms", json_integer(1000));
    json_object_set_new(file, "signs_from_ms", json_integer(1000));
    (void)snprintf(path, sizeof(path), "%s/keys/signing-AAAAAAAAAAAAAAAA.json", folder);
    char *text = json_dumps(file, 0);
    assert_true(bc_files_replace(path, text, strlen(text), 0600));
    /* and the present one signs since an hour ago */
    char present[BC_FILES_PATH_MAX];
    (void)snprintf(present, sizeof(present), "%s/keys/signing-%s.json", folder, kid);
    json_object_set_new(file, "kid", json_string(kid));
    json_object_set_new(file, "signs_from_ms", json_integer(bc_time_ms() - 3600000));
    free(text);
    text = json_dumps(file, 0);
    assert_true(bc_files_replace(present, text, strlen(text), 0600));
    bc_token_issuer_destroy(issuer);
    issuer = bc_token_issuer_create(config);
    assert_non_null(issuer);
    assert_int_equal(access(path, F_OK), -1);
    json_t *now = bc_token_jwks(issuer);
    assert_int_equal(json_array_size(json_object_get(now, "keys")), 1);
    json_decref(now);
    bc_token_issuer_destroy(issuer);
    assert_true(bc_files_replace(present, "{}", 2, 0600));
    issuer = bc_token_issuer_create(config);
    assert_null(issuer);
    free(text);
    json_decref(file);
    json_decref(set);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(what_is_signed_is_read_back),
        CASE(every_changed_character_is_refused),
        CASE(a_header_never_chooses),
        CASE(claims_must_have_their_form),
        CASE(a_broken_key_file_keeps_the_last_keys),
        CASE(a_rotation_is_seen_without_a_restart),
        CASE(a_dead_key_goes_and_a_damaged_one_stops_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
