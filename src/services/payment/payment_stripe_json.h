/*
 * Stripe's objects as they come over the wire, checked field by field: PaymentIntent, Refund, Event, error. Unknown fields are
 * passed over (Stripe adds some within one API version); known ones must be of their kind and within their limits, or nothing is taken.
 * Pure. The sandbox's webhooks are read by the same code.
 */
#ifndef PAYMENT_STRIPE_JSON_H
#define PAYMENT_STRIPE_JSON_H

#include "services/payment/payment_provider.h"

#include <jansson.h>

#define STRIPE_AMOUNT_MAX INT64_C(9007199254740991) /* 2^53 - 1 */

typedef enum {
    STRIPE_READ,
    STRIPE_READ_OTHER, /* well formed, but a kind of payment that this shop never makes (captured later): not ours */
    STRIPE_READ_BAD
} stripe_read_t;

/* `live`: what the object's livemode must say. *payment, *refund unchanged unless STRIPE_READ. */
stripe_read_t stripe_read_payment(const json_t *object, bool live, provider_payment_t *payment);
stripe_read_t stripe_read_refund(const json_t *object, provider_refund_t *refund);

/* A webhook's body. false: it is no event; *event unchanged. */
bool stripe_read_event(const char *body, size_t length, provider_event_t *event);

typedef struct {
    char code[PROVIDER_CODE_MAX + 1];  /* "resource_missing"; "" when there is none */
    char param[PROVIDER_CODE_MAX + 1]; /* "amount"; likewise */
} stripe_error_t;

/* Whatever does not fit is left empty: an error needs no more than its status. `answer` may be NULL. */
void stripe_read_error(const json_t *answer, stripe_error_t *error);

/* `prefix` and 1… letters, digits and underscores, PROVIDER_ID_MAX in all. */
bool stripe_id_good(const char *id, const char *prefix);

#endif
