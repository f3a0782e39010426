#include "services/payment/payment_webhook_signature.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define MAC_BYTES crypto_auth_hmacsha256_BYTES
#define MAC_HEX   (2 * MAC_BYTES)

typedef struct {
    int64_t time_s;
    char time_text[16]; /* as it was signed */
    uint8_t macs[WEBHOOK_SIGNATURES_MAX][MAC_BYTES];
    size_t mac_count;
} parsed_t;

bool webhook_secrets_read(const char *list, webhook_secrets_t *secrets) {
    size_t length;
    secrets->count = 0;
    for (const char *at = list; *(at += strspn(at, ", \t")) != '\0'; at += length) {
        length = strcspn(at, ", \t");
        if (length > WEBHOOK_SECRET_MAX || secrets->count == WEBHOOK_SECRETS_MAX) goto refuse;
        memcpy(secrets->secrets[secrets->count], at, length);
        secrets->secrets[secrets->count++][length] = '\0';
    }
    if (secrets->count > 0) return true;
refuse:
    sodium_memzero(secrets, sizeof(*secrets));
    return false;
}

static void compute(const char *secret, const char *time_text, const char *body, size_t length,
                    uint8_t mac[MAC_BYTES]) {
    crypto_auth_hmacsha256_state state;
    (void)crypto_auth_hmacsha256_init(&state, (const unsigned char *)secret, strlen(secret)); /* all four: always 0 */
    (void)crypto_auth_hmacsha256_update(&state, (const unsigned char *)time_text, strlen(time_text));
    (void)crypto_auth_hmacsha256_update(&state, (const unsigned char *)".", 1);
    (void)crypto_auth_hmacsha256_update(&state, (const unsigned char *)body, length);
    (void)crypto_auth_hmacsha256_final(&state, mac);
    sodium_memzero(&state, sizeof(state));
}

/* "1533204620". Up to 12 digits: until the year 33658. */
static bool read_time(const char *text, size_t length, parsed_t *parsed) {
    if (parsed->time_text[0] != '\0' || length == 0 || length > 12) return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        parsed->time_s = parsed->time_s * 10 + (text[i] - '0');
    }
    memcpy(parsed->time_text, text, length);
    parsed->time_text[length] = '\0';
    return true;
}

/* A v1 that is no hexadecimal MAC can match nothing and is passed over, as Stripe's libraries do. false: too many. */
static bool read_mac(const char *text, size_t length, parsed_t *parsed) {
    size_t written = 0;
    uint8_t mac[MAC_BYTES];
    if (length != MAC_HEX || sodium_hex2bin(mac, sizeof(mac), text, length, NULL, &written, NULL) != 0 ||
        written != MAC_BYTES)
        return true;
    if (parsed->mac_count == WEBHOOK_SIGNATURES_MAX) return false;
    memcpy(parsed->macs[parsed->mac_count++], mac, MAC_BYTES);
    return true;
}

static bool read_header(const char *header, parsed_t *parsed) {
    if (strnlen(header, WEBHOOK_HEADER_MAX + 1) > WEBHOOK_HEADER_MAX) return false;
    for (const char *at = header; *at != '\0';) {
        size_t length = strcspn(at, ",");
        if (length >= 2 && memcmp(at, "t=", 2) == 0) {
            if (!read_time(at + 2, length - 2, parsed)) return false;
        } else if (length >= 3 && memcmp(at, "v1=", 3) == 0) {
            if (!read_mac(at + 3, length - 3, parsed)) return false;
        } /* other schemes are not ours to judge */
        at += length;
        if (*at == ',') at++;
    }
    return parsed->time_text[0] != '\0' && parsed->mac_count > 0;
}

webhook_verdict_t webhook_verify(const webhook_secrets_t *secrets, const char *header, const char *body, size_t length,
                                 int64_t tolerance_s, int64_t now_s) {
    parsed_t parsed = {.time_s = 0};
    uint8_t mac[MAC_BYTES];
    bool right = false;
    assert(secrets->count > 0 && secrets->count <= WEBHOOK_SECRETS_MAX);
    if (header == NULL) return WEBHOOK_UNSIGNED;
    if (!read_header(header, &parsed)) return WEBHOOK_MALFORMED;
    for (size_t i = 0; i < secrets->count; i++) {
        compute(secrets->secrets[i], parsed.time_text, body, length, mac);
        for (size_t j = 0; j < parsed.mac_count; j++) {
            bool same = sodium_memcmp(mac, parsed.macs[j], MAC_BYTES) == 0;
            right |= same;
        }
    }
    sodium_memzero(mac, sizeof(mac));
    if (!right) return WEBHOOK_FORGED;
    /* The time is believed only now: before, anybody could have written it. Both are below 10^12, so nothing overflows. */
    return now_s - parsed.time_s > tolerance_s || parsed.time_s - now_s > tolerance_s ? WEBHOOK_STALE : WEBHOOK_GOOD;
}

void webhook_sign(const char *secret, const char *body, size_t length, int64_t now_s,
                  char header[WEBHOOK_SIGNED_BYTES]) {
    char time_text[24], hex[MAC_HEX + 1];
    uint8_t mac[MAC_BYTES];
    assert(now_s >= 0 && now_s < 1000000000000);
    (void)snprintf(time_text, sizeof(time_text), "%lld", (long long)now_s); /* asserted to fit */
    compute(secret, time_text, body, length, mac);
    (void)sodium_bin2hex(hex, sizeof(hex), mac, sizeof(mac));
    int written = snprintf(header, WEBHOOK_SIGNED_BYTES, "t=%s,v1=%s", time_text, hex);
    assert(written > 0 && written < WEBHOOK_SIGNED_BYTES);
    (void)written;
}

const char *webhook_verdict_word(webhook_verdict_t verdict) {
    static const char *const words[] = {"good", "unsigned", "malformed", "forged", "stale"};
    return words[verdict];
}
