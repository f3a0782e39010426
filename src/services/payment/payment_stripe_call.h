/*
 * One call of Stripe's API: authorised, its version pinned, under an idempotency key, tried again while that may help, within the
 * caller's time. Any thread.
 *
 * Tried again with growing, jittered pauses (RETRY_FIRST_MS doubling to RETRY_PAUSE_MAX_MS, at least what Retry-After says), at
 * most STRIPE_TRIES_MAX times: no answer, 409 (the key is being worked on), 429, 5xx; Stripe-Should-Retry overrules the status. The
 * key is the same on every try, so what was done is done once. One try may take a little over half of the time that is left, so
 * that a connection that hangs does not eat the second try's time.
 */
#ifndef PAYMENT_STRIPE_CALL_H
#define PAYMENT_STRIPE_CALL_H

#include "platform/bc_fetch.h"
#include "services/payment/payment_stripe_json.h"

#define STRIPE_VERSION    "2024-06-20"
#define STRIPE_TRIES_MAX  5
#define STRIPE_REPLY_MAX  (4 * 1024 * 1024) /* bytes: a page of 100 payments is some 300 kB */
#define STRIPE_PAGE       100
#define STRIPE_FORM_BYTES 2048
#define STRIPE_TARGET_MAX 1024
#define STRIPE_HEADER_MAX 512

typedef struct {
    bc_fetch_t *fetch; /* owned by the provider */
    char base[256];    /* "https://api.stripe.com" */
    char authorization[STRIPE_HEADER_MAX];
} stripe_account_t;

/* application/x-www-form-urlencoded, built up; `full` sticks. */
typedef struct {
    char text[STRIPE_FORM_BYTES];
    size_t length;
    bool full;
} stripe_form_t;

void stripe_form_add(stripe_form_t *form, const char *name /* a literal */, const char *value);
void stripe_form_add_int(stripe_form_t *form, const char *name, int64_t value);

typedef struct {
    const char *method;
    const char *target;        /* "/v1/refunds?limit=100" */
    const stripe_form_t *form; /* NULL: none */
    const char *key;           /* idempotency key; on every POST, NULL on GET */
} stripe_call_t;               /* borrowed for the call */

/* PROVIDER_OK: 2xx, *answer is its JSON object (the caller's). PROVIDER_STATE, PROVIDER_MISSING, PROVIDER_REFUSED: 4xx, *error
 * says which. PROVIDER_AWAY. */
provider_result_t stripe_call(const stripe_account_t *account, const stripe_call_t *call, const provider_limit_t *limit,
                              json_t **answer, stripe_error_t *error);

#endif
