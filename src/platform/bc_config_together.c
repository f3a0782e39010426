/* Settings judged together, once every one has its value: what cannot work beside what. Called by bc_config_finish only. */
#include "platform/bc_config_internal.h"

#include "platform/bc_rates.h"
#include "platform/bc_secret.h"

#include <string.h>

static const bc_key_t all_listeners[] = {
    BC_LISTEN,    BC_OPS_LISTEN,    BC_AUTH_LISTEN,    BC_AUTH_INTERNAL,    BC_LIBRARY_LISTEN,  BC_LIBRARY_INTERNAL,
    BC_CART_LINK, BC_CART_INTERNAL, BC_PAYMENT_LISTEN, BC_PAYMENT_INTERNAL, BC_QUESTION_LISTEN, BC_QUESTION_INTERNAL};

/* The first listener that others than this machine can reach, or NULL. */
static const char *public_listener(const bc_config_t *config) {
    for (size_t i = 0; i < sizeof(all_listeners) / sizeof(all_listeners[0]); i++) {
        bc_listen_t listen;
        if (bc_listen_parse(bc_config_text(config, all_listeners[i]), &listen) && !bc_listen_is_loopback(&listen))
            return bc_config_name(all_listeners[i]);
    }
    return NULL;
}

static bool url_is_loopback(const char *url) {
    static const char *const hosts[] = {"http://127.0.0.1", "http://[::1]", "http://localhost"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        size_t length = strlen(hosts[i]);
        if (strncmp(url, hosts[i], length) == 0 && (url[length] == '\0' || url[length] == ':')) return true;
    }
    return false;
}

/* "test", "live", or NULL when `key` does not begin with one of the prefixes and a mode, as in sk_test_. */
static const char *stripe_mode(const char *key, const char *const prefixes[]) {
    for (int i = 0; prefixes[i] != NULL; i++) {
        size_t length = strlen(prefixes[i]);
        if (strncmp(key, prefixes[i], length) != 0) continue;
        if (strncmp(key + length, "test_", 5) == 0 && key[length + 5] != '\0') return "test";
        if (strncmp(key + length, "live_", 5) == 0 && key[length + 5] != '\0') return "live";
    }
    return NULL;
}

static bool judge_stripe(const bc_config_t *config, char *reason) {
    static const char *const secret_prefixes[] = {"sk_", "rk_", NULL}, *const publishable_prefixes[] = {"pk_", NULL};
    const char *api = bc_config_text(config, BC_STRIPE_API),
               *secrets = bc_config_text(config, BC_STRIPE_WEBHOOK_SECRETS);
    const char *mode = stripe_mode(bc_config_text(config, BC_STRIPE_KEY), secret_prefixes);
    const char *shown = stripe_mode(bc_config_text(config, BC_STRIPE_PUBLISHABLE_KEY), publishable_prefixes);
    char word[BC_CONFIG_STRIPE_SECRET_MAX + 1];
    bool too_long = false;
    int count = 0;
    if (mode == NULL)
        return bc_config_refuse(
            reason,
            "%s: BOOKCART_STRIPE_KEY: stripe: needs a key that begins with sk_test_, sk_live_, rk_test_ or "
            "rk_live_",
            bc_config_origin(config, BC_STRIPE_KEY));
    if (shown == NULL || strcmp(shown, mode) != 0)
        return bc_config_refuse(
            reason, "%s: BOOKCART_STRIPE_PUBLISHABLE_KEY: stripe: needs the pk_%s_ key beside the secret one",
            bc_config_origin(config, BC_STRIPE_PUBLISHABLE_KEY), mode);
    while (bc_config_next_word(&secrets, word, sizeof(word), &too_long)) {
        bool good = strncmp(word, "whsec_", 6) == 0 && word[6] != '\0';
        bc_secret_wipe(word, sizeof(word));
        if (!good || ++count > BC_CONFIG_STRIPE_SECRETS_MAX) too_long = true;
        if (too_long) break;
    }
    if (count == 0 || too_long)
        return bc_config_refuse(
            reason, "%s: BOOKCART_STRIPE_WEBHOOK_SECRETS: stripe: needs 1 to %d secrets that begin with whsec_",
            bc_config_origin(config, BC_STRIPE_WEBHOOK_SECRETS), BC_CONFIG_STRIPE_SECRETS_MAX);
    if (strncmp(api, "https://", 8) != 0 && !url_is_loopback(api))
        return bc_config_refuse(reason,
                                "%s: BOOKCART_STRIPE_API: http:// is for loopback only: a secret key goes there",
                                bc_config_origin(config, BC_STRIPE_API));
    return true;
}

static bool judge_payments(const bc_config_t *config, const char *open, char *reason) {
    if (strncmp(bc_config_text(config, BC_PAYMENTS), "stripe:", 7) == 0) return judge_stripe(config, reason);
    if (open != NULL && !bc_config_flag(config, BC_SANDBOX_PUBLIC))
        return bc_config_refuse(
            reason,
            "%s: BOOKCART_PAYMENTS: sandbox: is refused while %s is not on loopback (BOOKCART_SANDBOX_PUBLIC "
            "= yes allows it)",
            bc_config_origin(config, BC_PAYMENTS), open);
    return true;
}

bool bc_config_judge_together(const bc_config_t *config, char reason[BC_CONFIG_REASON_BYTES]) {
    const char *open = public_listener(config);
    if (open != NULL && !bc_config_flag(config, BC_RATE_LIMITS))
        return bc_config_refuse(reason, "%s: BOOKCART_RATE_LIMITS: off is refused while %s is not on loopback",
                                bc_config_origin(config, BC_RATE_LIMITS), open);
    if (open != NULL && bc_config_text(config, BC_FAULTS)[0] != '\0')
        return bc_config_refuse(reason, "%s: BOOKCART_FAULTS: is for tests and refused while %s is not on loopback",
                                bc_config_origin(config, BC_FAULTS), open);
    if (!judge_payments(config, open, reason)) return false;
    const char *rates = bc_rates_judge(bc_config_text(config, BC_SHIPPING), bc_config_text(config, BC_TAX));
    if (rates != NULL) return bc_config_refuse(reason, "%s: BOOKCART_TAX: %s", bc_config_origin(config, BC_TAX), rates);
    bool cert = bc_config_text(config, BC_TLS_CERT)[0] != '\0', key = bc_config_text(config, BC_TLS_KEY)[0] != '\0';
    if (cert != key)
        return bc_config_refuse(
            reason, "%s: %s: needs %s beside it", bc_config_origin(config, cert ? BC_TLS_CERT : BC_TLS_KEY),
            bc_config_name(cert ? BC_TLS_CERT : BC_TLS_KEY), bc_config_name(cert ? BC_TLS_KEY : BC_TLS_CERT));
    if (bc_config_number(config, BC_REFRESH_TOKEN_LIFE) < bc_config_number(config, BC_ACCESS_TOKEN_LIFE))
        return bc_config_refuse(reason, "%s: BOOKCART_REFRESH_TOKEN_LIFE: is shorter than an access token's",
                                bc_config_origin(config, BC_REFRESH_TOKEN_LIFE));
    if (bc_config_number(config, BC_CART_SEGMENT) * 2 > bc_config_number(config, BC_CART_JOURNAL_MAX))
        return bc_config_refuse(reason,
                                "%s: BOOKCART_CART_JOURNAL_MAX: has no room for two segments (BOOKCART_CART_SEGMENT)",
                                bc_config_origin(config, BC_CART_JOURNAL_MAX));
    if (bc_config_number(config, BC_CART_CALM_AGE) > bc_config_number(config, BC_CART_DIRTY_AGE_MAX))
        return bc_config_refuse(reason, "%s: BOOKCART_CART_CALM_AGE: is longer than BOOKCART_CART_DIRTY_AGE_MAX",
                                bc_config_origin(config, BC_CART_CALM_AGE));
    for (size_t i = 0; i < sizeof(all_listeners) / sizeof(all_listeners[0]); i++) {
        const char *one = bc_config_text(config, all_listeners[i]);
        size_t length = strlen(one);
        if (one[0] == '\0' || (length > 2 && strcmp(one + length - 2, ":0") == 0)) continue;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(one, bc_config_text(config, all_listeners[j])) == 0)
                return bc_config_refuse(reason, "%s: %s: is the same as %s", bc_config_origin(config, all_listeners[i]),
                                        bc_config_name(all_listeners[i]), bc_config_name(all_listeners[j]));
        }
    }
    return true;
}
