/*
 * Refresh tokens as texts.
 *
 *   bcr_<43 characters>   32 random bytes
 *   bcg_<96 characters>   user (16 bytes) session (16) issued, seconds, little-endian (8) MAC of these (32)
 *
 * The MAC is HMAC-SHA-512-256 under the key in DATA/keys/guest.key, which is not the signing key of access tokens: that one is rotated and
 * dead within the hour, a guest's refresh token lives for weeks.
 */
#include "services/auth/auth_service.h"

#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"

#include <assert.h>
#include <errno.h>
#include <openssl/sha.h>
#include <sodium.h>
#include <string.h>

#define BASE64 sodium_base64_VARIANT_URLSAFE_NO_PADDING

typedef struct {
    uint8_t user[CART_ID_BYTES];
    uint8_t session[CART_ID_BYTES];
    uint8_t issued_s[8];
} signed_part_t;

typedef struct {
    signed_part_t part;
    uint8_t mac[crypto_auth_BYTES];
} guest_token_t;

_Static_assert(sizeof(guest_token_t) == 72, "the byte table above");
_Static_assert(crypto_auth_KEYBYTES == 32, "auth_t.guest_key");

void auth_refresh_text_random(char text[AUTH_REFRESH_CHARS]) {
    (void)strcpy(text, "bcr_"); /* fits: AUTH_REFRESH_CHARS */
    bc_random_text(32, text + 4, AUTH_REFRESH_CHARS - 4);
}

void auth_refresh_text_guest(const auth_t *auth, const cart_id_t *user, const cart_id_t *session, int64_t issued_s,
                             char text[AUTH_REFRESH_CHARS]) {
    guest_token_t token;
    memcpy(token.part.user, user->bytes, CART_ID_BYTES);
    memcpy(token.part.session, session->bytes, CART_ID_BYTES);
    for (int i = 0; i < 8; i++) token.part.issued_s[i] = (uint8_t)((uint64_t)issued_s >> (8 * i));
    (void)crypto_auth(token.mac, (const unsigned char *)&token.part, sizeof(token.part),
                      auth->guest_key); /* always 0 */
    (void)strcpy(text, "bcg_");         /* fits: AUTH_REFRESH_CHARS */
    (void)sodium_bin2base64(text + 4, AUTH_REFRESH_CHARS - 4, (const unsigned char *)&token, sizeof(token),
                            BASE64); /* fits: 96 + 1 */
}

bool auth_refresh_text_read_guest(const auth_t *auth, const char *text, cart_id_t *user, cart_id_t *session,
                                  int64_t *issued_s) {
    guest_token_t token;
    size_t length = 0;
    const char *end = NULL;
    if (strncmp(text, "bcg_", 4) != 0 ||
        sodium_base642bin((unsigned char *)&token, sizeof(token), text + 4, strlen(text + 4), NULL, &length, &end,
                          BASE64) != 0 ||
        length != sizeof(token) || *end != '\0' ||
        crypto_auth_verify(token.mac, (const unsigned char *)&token.part, sizeof(token.part), auth->guest_key) != 0)
        return false;
    uint64_t seconds = 0;
    for (int i = 0; i < 8; i++) seconds |= (uint64_t)token.part.issued_s[i] << (8 * i);
    memcpy(user->bytes, token.part.user, CART_ID_BYTES);
    memcpy(session->bytes, token.part.session, CART_ID_BYTES);
    *issued_s = (int64_t)seconds;
    return true;
}

void auth_refresh_text_hash(const char *text, unsigned char hash[AUTH_TOKEN_HASH_BYTES]) {
    _Static_assert(AUTH_TOKEN_HASH_BYTES == SHA256_DIGEST_LENGTH, "what tables hold");
    (void)SHA256((const unsigned char *)text, strlen(text), hash); /* returns hash */
}

bool auth_guest_key_load(auth_t *auth) {
    char path[BC_FILES_PATH_MAX], text[BC_SECRET_MAX];
    if (!bc_config_path(auth->config, "keys/guest.key", path, sizeof(path))) return false;
    if (!bc_secret_load(path, text, sizeof(text))) {
        char drawn[64];
        if (errno != ENOENT) goto fail;
        bc_random_text(32, drawn, sizeof(drawn));
        if (!bc_files_create(path, drawn, strlen(drawn), 0600) || !bc_secret_load(path, text, sizeof(text))) goto fail;
        bc_secret_wipe(drawn, sizeof(drawn));
    }
    (void)crypto_generichash(auth->guest_key, sizeof(auth->guest_key), (const unsigned char *)text, strlen(text), NULL,
                             0); /* always 0 */
    bc_secret_wipe(text, sizeof(text));
    return true;
fail:
    bc_log(BC_LOG_ERROR, "guest-key-unreadable", bc_f_text("path", path), bc_f_text("reason", strerror(errno)));
    return false;
}
