/* Stripe's test payment methods, by their names and with their outcomes (Stripe's page "Testing"). */
#ifndef PAYMENT_SANDBOX_METHODS_H
#define PAYMENT_SANDBOX_METHODS_H

#include <stddef.h>

#define SANDBOX_METHOD_MAX 64 /* characters in a name */

typedef enum {
    SANDBOX_AT_ONCE,
    SANDBOX_AUTHENTICATED, /* by 3-D Secure first */
    SANDBOX_DEBITED        /* processing first, then the outcome */
} sandbox_flow_t;

typedef enum {
    SANDBOX_REFUND_AT_ONCE,
    SANDBOX_REFUND_PENDING,      /* pending, then succeeded */
    SANDBOX_REFUND_FAILS,        /* succeeded, then failed: the bank sent it back */
    SANDBOX_REFUND_PENDING_FAILS /* pending, then failed */
} sandbox_refund_flow_t;

typedef struct {
    const char *name;
    sandbox_flow_t flow;
    const char *code;         /* error code of the outcome; NULL: it succeeds */
    const char *decline_code; /* NULL: none */
    sandbox_refund_flow_t refund;
} sandbox_method_t;

const sandbox_method_t *sandbox_method_find(const char *name); /* NULL: unknown */
const sandbox_method_t *sandbox_method_at(size_t index);       /* NULL past the last */

#endif
