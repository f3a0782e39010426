/*
 * The issuing half: signing keys in DATA/keys and the tokens they sign.
 *
 * A key is one file, signing-<kid>.json {"kid","created_ms","signs_from_ms","jwk"}, 0600. Nothing else is stored: which key signs
 * and which is dead follows from the times.
 *   signs      = the youngest key whose signs_from is past
 *   published  = every key there is; a key that does not sign yet is published for BOOKCART_KEY_PUBLISH before it does
 *   dead       = a younger key has been signing for longer than an access token lives
 * So a crash between two steps of a rotation leaves a state that is one of these, and bc_token_tend goes on from it.
 *
 * Order of writing: a new key's file first, then jwks.json; a dead key leaves jwks.json first, then its file goes.
 */
#include "platform/bc_token.h"

#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <rhonabwy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_FILE_MAX   8192
#define DEAD_MARGIN_MS 60000 /* clocks of edges and leeway */

typedef struct {
    char kid[32];
    int64_t created_ms, signs_from_ms;
    jwk_t *private_key; /* owned */
    json_t *public_key; /* owned */
} signing_key_t;

struct bc_token_issuer {
    const bc_config_t *config; /* borrowed */
    char folder[BC_FILES_PATH_MAX - 64];
    pthread_mutex_t lock;
    signing_key_t keys[BC_TOKEN_KEYS_MAX]; /* by signs_from_ms, oldest first; under lock */
    int count;
};

static void free_key(signing_key_t *key) {
    r_jwk_free(key->private_key);
    json_decref(key->public_key);
    *key = (signing_key_t){.kid = ""};
}

/* The public part, with what verifiers look at. */
static json_t *public_part(jwk_t *private_key, const char *kid) {
    const char *x = r_jwk_get_property_str(private_key, "x"), *y = r_jwk_get_property_str(private_key, "y");
    if (x == NULL || y == NULL) return NULL;
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "kty", "EC", "crv", "P-256", "alg", "ES256", "use", "sig",
                     "kid", kid, "x", x, "y", y);
}

static void sort_keys(bc_token_issuer_t *issuer) {
    for (int i = 1; i < issuer->count; i++) {
        for (int j = i; j > 0 && issuer->keys[j].signs_from_ms < issuer->keys[j - 1].signs_from_ms; j--) {
            signing_key_t kept = issuer->keys[j];
            issuer->keys[j] = issuer->keys[j - 1];
            issuer->keys[j - 1] = kept;
        }
    }
}

static bool load_key(const char *path, signing_key_t *key) {
    char *text = NULL;
    size_t length = 0;
    bool good = false;
    json_t *file = NULL;
    json_error_t error;
    *key = (signing_key_t){.kid = ""};
    if (!bc_files_read(path, KEY_FILE_MAX, &text, &length)) return false;
    file = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    const char *kid = NULL;
    json_int_t created = 0, signs_from = 0;
    json_t *jwk = NULL;
    errno = EINVAL;
    if (json_unpack(file, "{s:s, s:I, s:I, s:o}", "kid", &kid, "created_ms", &created, "signs_from_ms", &signs_from,
                    "jwk", &jwk) != 0 ||
        strlen(kid) >= sizeof(key->kid) || r_jwk_init(&key->private_key) != RHN_OK)
        goto end;
    (void)snprintf(key->kid, sizeof(key->kid), "%s", kid); /* fits, looked at above */
    key->created_ms = created;
    key->signs_from_ms = signs_from;
    unsigned bits = 0;
    if (r_jwk_import_from_json_t(key->private_key, jwk) != RHN_OK ||
        (r_jwk_key_type(key->private_key, &bits, 0) & (R_KEY_TYPE_EC | R_KEY_TYPE_PRIVATE)) !=
            (R_KEY_TYPE_EC | R_KEY_TYPE_PRIVATE) ||
        bits != 256)
        goto end;
    key->public_key = public_part(key->private_key, key->kid);
    good = key->public_key != NULL;
end:
    if (!good) free_key(key);
    json_decref(file);
    bc_secret_wipe(text, length);
    free(text);
    return good;
}

static void key_path(const bc_token_issuer_t *issuer, const char *kid, char path[BC_FILES_PATH_MAX]) {
    (void)snprintf(path, BC_FILES_PATH_MAX, "%s/signing-%.31s.json", issuer->folder, kid); /* folder leaves 64 bytes */
}

static bool load_folder(bc_token_issuer_t *issuer) {
    DIR *folder = opendir(issuer->folder);
    if (folder == NULL) return false;
    bool good = true;
    struct dirent *entry;
    while (good && (entry = readdir(folder)) != NULL) {
        size_t length = strlen(entry->d_name);
        if (strncmp(entry->d_name, "signing-", 8) != 0 || length < 14 ||
            strcmp(entry->d_name + length - 5, ".json") != 0)
            continue;
        char path[BC_FILES_PATH_MAX];
        (void)snprintf(path, sizeof(path), "%s/%.60s", issuer->folder, entry->d_name); /* our own names are short */
        if (issuer->count == BC_TOKEN_KEYS_MAX || !load_key(path, &issuer->keys[issuer->count])) {
            bc_log(BC_LOG_ERROR, "signing-key-unreadable", bc_f_text("path", path),
                   bc_f_text("reason", strerror(errno)));
            good = false;
        } else {
            issuer->count++;
        }
    }
    (void)closedir(folder);
    sort_keys(issuer);
    return good;
}

static bool write_jwks(const bc_token_issuer_t *issuer) {
    char path[BC_FILES_PATH_MAX];
    json_t *list = json_array();
    for (int i = 0; list != NULL && i < issuer->count; i++) {
        if (json_array_append(list, issuer->keys[i].public_key) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    json_t *set = list == NULL ? NULL : json_pack("{s:o}", "keys", list);
    char *text = set == NULL ? NULL : json_dumps(set, JSON_COMPACT);
    (void)snprintf(path, sizeof(path), "%s/jwks.json", issuer->folder);
    errno = ENOMEM;
    bool good =
        text != NULL && bc_files_replace(path, text, strlen(text), 0644); /* public: nginx workers read it too */
    if (!good) bc_log(BC_LOG_ERROR, "jwks-not-written", bc_f_text("path", path), bc_f_text("reason", strerror(errno)));
    free(text);
    json_decref(set);
    return good;
}

/* Makes a key that signs from then on, writes its file, and takes it into the table. */
static bool add_key(bc_token_issuer_t *issuer, int64_t signs_from_ms) {
    signing_key_t key = {.created_ms = bc_time_ms(), .signs_from_ms = signs_from_ms};
    jwk_t *public_key = NULL;
    json_t *file = NULL;
    char *text = NULL;
    char path[BC_FILES_PATH_MAX];
    bool good = false;
    if (issuer->count == BC_TOKEN_KEYS_MAX) {
        bc_log(BC_LOG_ERROR, "too-many-keys", bc_f_int("keys", issuer->count));
        return false;
    }
    bc_random_text(12, key.kid, sizeof(key.kid));
    if (r_jwk_init(&key.private_key) != RHN_OK || r_jwk_init(&public_key) != RHN_OK ||
        r_jwk_generate_key_pair(key.private_key, public_key, R_KEY_TYPE_EC, 256, key.kid) != RHN_OK ||
        r_jwk_set_property_str(key.private_key, "alg", "ES256") != RHN_OK)
        goto end;
    key.public_key = public_part(key.private_key, key.kid);
    file = json_pack("{s:s, s:I, s:I, s:O}", "kid", key.kid, "created_ms", (json_int_t)key.created_ms, "signs_from_ms",
                     (json_int_t)signs_from_ms, "jwk", key.private_key);
    text = file == NULL ? NULL : json_dumps(file, JSON_COMPACT);
    if (key.public_key == NULL || text == NULL) goto end;
    key_path(issuer, key.kid, path);
    good = bc_files_replace(path, text, strlen(text), 0600);
end:
    if (good) {
        issuer->keys[issuer->count++] = key;
        sort_keys(issuer);
        bc_log(BC_LOG_INFO, "signing-key-made", bc_f_text("kid", key.kid), bc_f_int("signs_from_ms", signs_from_ms));
    } else {
        bc_log(BC_LOG_ERROR, "signing-key-not-made", bc_f_text("reason", strerror(errno)));
        free_key(&key);
    }
    if (text != NULL) bc_secret_wipe(text, strlen(text));
    free(text);
    json_decref(file);
    r_jwk_free(public_key);
    return good;
}

/* Index of the key that signs; 0 when none is due yet (the clock went back). */
static int signer(const bc_token_issuer_t *issuer, int64_t now_ms) {
    int found = 0;
    for (int i = 0; i < issuer->count; i++) {
        if (issuer->keys[i].signs_from_ms <= now_ms) found = i;
    }
    return found;
}

/* Drops keys whose last token is dead. They leave the public set before their file goes. */
static bool drop_dead(bc_token_issuer_t *issuer) {
    int64_t now = bc_time_ms(),
            life = bc_config_number(issuer->config, BC_ACCESS_TOKEN_LIFE) + BC_TOKEN_LEEWAY_S * 1000 + DEAD_MARGIN_MS;
    signing_key_t dead[BC_TOKEN_KEYS_MAX];
    int dead_count = 0;
    while (issuer->count > 1 && issuer->keys[1].signs_from_ms + life < now) {
        dead[dead_count++] = issuer->keys[0];
        issuer->count--;
        memmove(issuer->keys, issuer->keys + 1, (size_t)issuer->count * sizeof(issuer->keys[0]));
    }
    bool good = dead_count == 0 || write_jwks(issuer);
    for (int i = 0; i < dead_count; i++) {
        char path[BC_FILES_PATH_MAX];
        key_path(issuer, dead[i].kid, path);
        if (good && unlink(path) != 0) bc_log(BC_LOG_WARN, "dead-key-stays", bc_f_text("path", path));
        bc_log(BC_LOG_INFO, "signing-key-gone", bc_f_text("kid", dead[i].kid));
        free_key(&dead[i]); /* not unlinked: it is loaded and dropped again at the next start */
    }
    return good;
}

bc_token_issuer_t *bc_token_issuer_create(const bc_config_t *config) {
    bc_token_issuer_t *issuer = calloc(1, sizeof(*issuer));
    if (issuer == NULL) return NULL;
    issuer->config = config;
    (void)pthread_mutex_init(&issuer->lock, NULL); /* a default mutex: cannot fail */
    if (!bc_config_path(config, "keys", issuer->folder, sizeof(issuer->folder)) || !load_folder(issuer) ||
        (issuer->count == 0 && !add_key(issuer, bc_time_ms())) || !drop_dead(issuer) || !write_jwks(issuer)) {
        bc_log(BC_LOG_ERROR, "no-signing-keys", bc_f_text("folder", issuer->folder),
               bc_f_text("reason", strerror(errno)));
        bc_token_issuer_destroy(issuer);
        return NULL;
    }
    return issuer;
}

void bc_token_issuer_destroy(bc_token_issuer_t *issuer) {
    if (issuer == NULL) return;
    for (int i = 0; i < issuer->count; i++) free_key(&issuer->keys[i]);
    (void)pthread_mutex_destroy(&issuer->lock);
    free(issuer);
}

bool bc_token_issue(bc_token_issuer_t *issuer, const char *typ, const bc_claims_t *claims,
                    char token[BC_TOKEN_MAX + 1]) {
    char user[CART_ID_CHARS + 1], session[CART_ID_CHARS + 1];
    jwt_t *jwt = NULL;
    jwk_t *key = NULL;
    char *text = NULL, kid[32];
    json_t *body = NULL;
    bool good = false;
    assert(claims->expires_s > claims->issued_s);
    cart_id_format(BC_PREFIX_USER, &claims->user, user);
    cart_id_format(BC_PREFIX_SESSION, &claims->session, session);

    (void)pthread_mutex_lock(&issuer->lock);
    const signing_key_t *with = &issuer->keys[signer(issuer, bc_time_ms())];
    key = r_jwk_copy(with->private_key); /* signed with outside the lock */
    memcpy(kid, with->kid, sizeof(kid));
    (void)pthread_mutex_unlock(&issuer->lock);

    body = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s}", "iss", bc_config_text(issuer->config, BC_ISSUER),
                     "aud", bc_config_text(issuer->config, BC_AUDIENCE), "sub", user, "sid", session, "iat",
                     (json_int_t)claims->issued_s, "exp", (json_int_t)claims->expires_s, "kind",
                     bc_kind_word(claims->kind), "role", bc_role_word(claims->role));
    if (key == NULL || body == NULL || r_jwt_init(&jwt) != RHN_OK ||
        r_jwt_set_sign_alg(jwt, R_JWA_ALG_ES256) != RHN_OK || r_jwt_set_header_str_value(jwt, "typ", typ) != RHN_OK ||
        r_jwt_set_header_str_value(jwt, "kid", kid) != RHN_OK || r_jwt_set_full_claims_json_t(jwt, body) != RHN_OK)
        goto end;
    text = r_jwt_serialize_signed(jwt, key, 0);
    good = text != NULL && strlen(text) <= BC_TOKEN_MAX;
    if (good) memcpy(token, text, strlen(text) + 1);
end:
    if (!good) bc_log(BC_LOG_ERROR, "token-not-issued");
    r_free(text);
    json_decref(body);
    r_jwt_free(jwt);
    r_jwk_free(key);
    return good;
}

bool bc_token_rotate(bc_token_issuer_t *issuer) {
    (void)pthread_mutex_lock(&issuer->lock);
    bool good = add_key(issuer, bc_time_ms() + bc_config_number(issuer->config, BC_KEY_PUBLISH)) && write_jwks(issuer);
    (void)pthread_mutex_unlock(&issuer->lock);
    return good;
}

bool bc_token_tend(bc_token_issuer_t *issuer) {
    (void)pthread_mutex_lock(&issuer->lock);
    bool good = drop_dead(issuer);
    (void)pthread_mutex_unlock(&issuer->lock);
    return good;
}

json_t *bc_token_jwks(bc_token_issuer_t *issuer) {
    json_t *list = json_array();
    (void)pthread_mutex_lock(&issuer->lock);
    for (int i = 0; list != NULL && i < issuer->count; i++) {
        json_t *copy = json_deep_copy(issuer->keys[i].public_key);
        if (copy == NULL || json_array_append_new(list, copy) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    (void)pthread_mutex_unlock(&issuer->lock);
    return list == NULL ? NULL : json_pack("{s:o}", "keys", list);
}
