/*
 * The verifying half, and what both halves share. Signatures are rhonabwy's (GnuTLS below); this file decides what is accepted.
 *
 * A token's header never chooses anything: it must hold exactly alg, typ and kid; kid finds the key, the key says its alg, and the
 * header's must be equal. Header members that carry keys (jwk, jku, x5c) are therefore refused unread.
 */
#include "platform/bc_token.h"

#include "platform/bc_files.h"
#include "platform/bc_log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <rhonabwy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define JWKS_BYTES_MAX (256 * 1024)

struct bc_token_verifier {
    const bc_config_t *config; /* borrowed: outlives the verifier */
    char path[BC_FILES_PATH_MAX];
    pthread_rwlock_t lock;
    json_t *keys;     /* kid → public JWK; owned; under lock */
    struct stat seen; /* of the file that `keys` came from; under lock */
    bool has_seen;
};

const char *bc_kind_word(bc_kind_t kind) {
    return kind == BC_KIND_CUSTOMER ? "customer" : "guest";
}

const char *bc_role_word(bc_role_t role) {
    return role == BC_ROLE_ADMIN ? "admin" : "customer";
}

/* --- keys --- */

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool is_our_kind(const json_t *jwk) {
    const char *kty = json_string_value(json_object_get(jwk, "kty")),
               *crv = json_string_value(json_object_get(jwk, "crv"));
    const char *alg = json_string_value(json_object_get(jwk, "alg"));
    return kty != NULL && crv != NULL && alg != NULL && strcmp(kty, "EC") == 0 && strcmp(crv, "P-256") == 0 &&
           strcmp(alg, "ES256") == 0 && json_object_get(jwk, "d") == NULL;
}

/* kid → key of a JWKS text, or NULL. Keys of other kinds are left out (RFC 7517 5). */
static json_t *read_keys(const char *text, size_t length) {
    json_error_t error;
    json_t *set = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    const json_t *list = json_object_get(set, "keys");
    json_t *keys = json_is_array(list) ? json_object() : NULL;
    for (size_t i = 0; keys != NULL && i < json_array_size(list) && json_object_size(keys) < BC_TOKEN_KEYS_MAX; i++) {
        json_t *jwk = json_array_get(list, i);
        const char *kid = json_string_value(json_object_get(jwk, "kid"));
        if (kid != NULL && is_our_kind(jwk) && json_object_set(keys, kid, jwk) != 0) {
            json_decref(keys);
            keys = NULL;
        }
    }
    json_decref(set);
    return keys;
}

/* Looks whether the file was replaced. One that cannot be read or parsed keeps the keys that are there. */
static void refresh(bc_token_verifier_t *verifier) {
    struct stat now;
    if (stat(verifier->path, &now) != 0) return;
    (void)pthread_rwlock_rdlock(&verifier->lock); /* fails only on our own misuse */
    bool known = verifier->has_seen && same_file(&now, &verifier->seen);
    (void)pthread_rwlock_unlock(&verifier->lock);
    if (known) return;
    char *text = NULL;
    size_t length = 0;
    if (!bc_files_read(verifier->path, JWKS_BYTES_MAX, &text, &length)) {
        bc_log(BC_LOG_ERROR, "keys-unreadable", bc_f_text("path", verifier->path),
               bc_f_text("reason", strerror(errno)));
        return;
    }
    json_t *keys = read_keys(text, length);
    free(text);
    (void)pthread_rwlock_wrlock(&verifier->lock);
    verifier->seen = now; /* also of a bad file: it is not parsed again until it is replaced */
    verifier->has_seen = true;
    json_t *old = NULL;
    if (keys != NULL) {
        old = verifier->keys;
        verifier->keys = keys;
    }
    (void)pthread_rwlock_unlock(&verifier->lock);
    if (keys == NULL) bc_log(BC_LOG_ERROR, "keys-malformed", bc_f_text("path", verifier->path));
    json_decref(old);
}

bc_token_verifier_t *bc_token_verifier_create(const bc_config_t *config) {
    bc_token_verifier_t *verifier = calloc(1, sizeof(*verifier));
    if (verifier == NULL) return NULL;
    verifier->config = config;
    verifier->keys = json_object();
    if (verifier->keys == NULL || !bc_config_path(config, "keys/jwks.json", verifier->path, sizeof(verifier->path))) {
        json_decref(verifier->keys);
        free(verifier);
        return NULL;
    }
    (void)pthread_rwlock_init(&verifier->lock, NULL); /* default attributes: cannot fail */
    refresh(verifier);
    return verifier;
}

void bc_token_verifier_destroy(bc_token_verifier_t *verifier) {
    if (verifier == NULL) return;
    json_decref(verifier->keys);
    (void)pthread_rwlock_destroy(&verifier->lock);
    free(verifier);
}

/* A copy of the key (the caller frees it), or NULL. */
static jwk_t *find_key(bc_token_verifier_t *verifier, const char *kid) {
    jwk_t *key = NULL;
    (void)pthread_rwlock_rdlock(&verifier->lock);
    const json_t *found = json_object_get(verifier->keys, kid);
    if (found != NULL) key = json_deep_copy(found); /* rhonabwy's jwk_t is a json_t */
    (void)pthread_rwlock_unlock(&verifier->lock);
    return key;
}

/* --- claims --- */

static bool read_id(const json_t *object, const char *name, const char *prefix, cart_id_t *id) {
    const json_t *text = json_object_get(object, name);
    return json_is_string(text) && cart_id_parse(prefix, json_string_value(text), json_string_length(text), id);
}

static bool read_claims(const json_t *object, bc_claims_t *claims) {
    const json_t *issued = json_object_get(object, "iat"), *expires = json_object_get(object, "exp");
    const char *kind = json_string_value(json_object_get(object, "kind")),
               *role = json_string_value(json_object_get(object, "role"));
    if (!read_id(object, "sub", BC_PREFIX_USER, &claims->user) ||
        !read_id(object, "sid", BC_PREFIX_SESSION, &claims->session) || !json_is_integer(issued) ||
        !json_is_integer(expires) || kind == NULL || role == NULL)
        return false;
    claims->issued_s = json_integer_value(issued);
    claims->expires_s = json_integer_value(expires);
    if (claims->issued_s < 0 || claims->expires_s <= claims->issued_s) return false;
    if (strcmp(kind, "guest") != 0 && strcmp(kind, "customer") != 0) return false;
    if (strcmp(role, "customer") != 0 && strcmp(role, "admin") != 0) return false;
    claims->kind = strcmp(kind, "customer") == 0 ? BC_KIND_CUSTOMER : BC_KIND_GUEST;
    claims->role = strcmp(role, "admin") == 0 ? BC_ROLE_ADMIN : BC_ROLE_CUSTOMER;
    return claims->role != BC_ROLE_ADMIN || claims->kind == BC_KIND_CUSTOMER; /* no guest is an admin */
}

static bool text_is(const json_t *object, const char *name, const char *wanted) {
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL && strcmp(text, wanted) == 0;
}

/* Three parts of base64url characters. */
static bool has_form(const char *token) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (int part = 0; part < 3; part++) {
        size_t length = strspn(token, digits);
        if (length == 0 || token[length] != (part == 2 ? '\0' : '.')) return false;
        token += length + 1;
    }
    return true;
}

static bc_token_result_t verify_parsed(bc_token_verifier_t *verifier, const char *typ, jwt_t *jwt, int64_t now_s,
                                       bc_claims_t *claims) {
    bc_token_result_t result = BC_TOKEN_MALFORMED;
    jwk_t *key = NULL;
    bc_claims_t read;
    json_t *header = r_jwt_get_full_header_json_t(jwt), *body = NULL;
    const char *kid = json_string_value(json_object_get(header, "kid"));
    if (json_object_size(header) != 3 || kid == NULL || !text_is(header, "typ", typ)) goto end;
    key = find_key(verifier, kid);
    if (key == NULL) {
        result = BC_TOKEN_UNKNOWN_KEY;
        goto end;
    }
    result = BC_TOKEN_FORGED;
    const char *alg = json_string_value(json_object_get(header, "alg"));
    if (alg == NULL || !text_is(key, "alg", alg) || r_jwt_verify_signature(jwt, key, 0) != RHN_OK) goto end;

    result = BC_TOKEN_MALFORMED;
    body = r_jwt_get_full_claims_json_t(jwt);
    if (!read_claims(body, &read)) goto end;
    result = BC_TOKEN_FOREIGN;
    if (!text_is(body, "iss", bc_config_text(verifier->config, BC_ISSUER)) ||
        !text_is(body, "aud", bc_config_text(verifier->config, BC_AUDIENCE)))
        goto end;
    result = BC_TOKEN_EXPIRED;
    if (now_s > read.expires_s + BC_TOKEN_LEEWAY_S || read.issued_s > now_s + BC_TOKEN_LEEWAY_S) goto end;
    *claims = read;
    result = BC_TOKEN_OK;
end:
    json_decref(body);
    r_jwk_free(key);
    json_decref(header);
    return result;
}

bc_token_result_t bc_token_verify(bc_token_verifier_t *verifier, const char *typ, const char *token, int64_t now_s,
                                  bc_claims_t *claims) {
    assert(verifier != NULL && claims != NULL);
    if (strnlen(token, BC_TOKEN_MAX + 1) > BC_TOKEN_MAX || !has_form(token)) return BC_TOKEN_MALFORMED;
    refresh(verifier);
    jwt_t *jwt = NULL;
    if (r_jwt_init(&jwt) != RHN_OK) return BC_TOKEN_FAILED;
    bc_token_result_t result = BC_TOKEN_MALFORMED;
    if (r_jwt_advanced_parse(jwt, token, R_PARSE_NONE, 0) == RHN_OK && r_jwt_get_type(jwt) == R_JWT_TYPE_SIGN)
        result = verify_parsed(verifier, typ, jwt, now_s, claims);
    r_jwt_free(jwt);
    return result;
}
