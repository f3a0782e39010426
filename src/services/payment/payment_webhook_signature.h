/*
 * Stripe's signature of a webhook: header `Stripe-Signature: t=<Unix seconds>,v1=<hex>[,v1=<hex>…][,v0=…]`, where v1 is
 * HMAC-SHA256 over `<t>.<body>` with the endpoint's whole signing secret ("whsec_…") as its key. While a secret is rotated, Stripe
 * signs with the old and the new one, and we hold both. Source: Stripe's documentation, "Verify webhook signatures manually".
 *
 * Pure: no clock, no I/O, no log. The sandbox signs with the same code; the tests check it against a signature made by Stripe.
 */
#ifndef PAYMENT_WEBHOOK_SIGNATURE_H
#define PAYMENT_WEBHOOK_SIGNATURE_H

#include "platform/bc_config.h"

#include <stddef.h>
#include <stdint.h>

#define WEBHOOK_SECRETS_MAX    BC_CONFIG_STRIPE_SECRETS_MAX
#define WEBHOOK_SECRET_MAX     BC_CONFIG_STRIPE_SECRET_MAX
#define WEBHOOK_SIGNATURES_MAX 16   /* v1 entries that are looked at; a header with more is malformed */
#define WEBHOOK_HEADER_MAX     2048 /* bytes of the header; more is malformed */
#define WEBHOOK_SIGNED_BYTES   96   /* what webhook_sign writes at most, its end included */

typedef enum {
    WEBHOOK_GOOD,
    WEBHOOK_UNSIGNED,  /* no header */
    WEBHOOK_MALFORMED, /* no time, two of them, no v1, or over a limit */
    WEBHOOK_FORGED,    /* no v1 is right under any secret */
    WEBHOOK_STALE      /* rightly signed, but more than the tolerance ago, or from now on */
} webhook_verdict_t;

/* Secrets valid at the same time; zero-terminated each. */
typedef struct {
    char secrets[WEBHOOK_SECRETS_MAX][WEBHOOK_SECRET_MAX + 1];
    size_t count;
} webhook_secrets_t;

/* From a setting's list (commas or blanks between). false: none, too many, or one too long; *secrets is wiped then. */
bool webhook_secrets_read(const char *list, webhook_secrets_t *secrets);

/* `header` NULL: the request had none. The time it takes depends on the lengths and on the number of secrets and of v1 entries,
 * not on where a signature differs. */
webhook_verdict_t webhook_verify(const webhook_secrets_t *secrets, const char *header, const char *body, size_t length,
                                 int64_t tolerance_s, int64_t now_s);

/* The header's value for a body signed at `now_s` with `secret`. */
void webhook_sign(const char *secret, const char *body, size_t length, int64_t now_s,
                  char header[WEBHOOK_SIGNED_BYTES]);

const char *webhook_verdict_word(webhook_verdict_t verdict); /* for the log */

#endif
