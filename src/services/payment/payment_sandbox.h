/*
 * The sandbox: a payment provider that plays Stripe on this machine, moves no money and says `sandbox` wherever it shows. It keeps
 * its own file, DATA/sandbox.db, as another company would keep its own database: between its commits and ours everything can
 * happen that can happen with Stripe.
 *
 * Payments pass through Stripe's states:
 *
 *   requires_payment_method ──confirm──▶ succeeded                  pm_card_visa, …
 *     ▲      ▲    ▲   │  │
 *     │      │    │   │  └──confirm────▶ requires_action ──authenticate──▶ succeeded, or back with a decline (3-D Secure)
 *     │      │    └───┘ confirm: a decline
 *     │      └──────────settles──────────processing ──settles──▶ succeeded         bank debits: pm_success_de, pm_failed_de
 *     └ create           requires_payment_method, requires_action ──cancel──▶ canceled
 *
 * Refunds succeed at once, or settle later (pm_card_pendingRefund, pm_card_refundFail). What settles does so BOOKCART_SANDBOX_SETTLE
 * after it was asked for. Every change is told by signed webhooks over HTTP (payment_sandbox_webhooks.c).
 *
 * Threads: any may call. One task settles and delivers.
 */
#ifndef PAYMENT_SANDBOX_H
#define PAYMENT_SANDBOX_H

#include "services/payment/payment_provider.h"

/* NULL after a log line. config is borrowed until destroy. */
payment_provider_t *payment_sandbox_open(const bc_config_t *config);
bool payment_is_sandbox(const payment_provider_t *provider);

typedef enum {
    SANDBOX_OK,
    SANDBOX_DECLINED,       /* payment->last_error says why */
    SANDBOX_STATE,          /* the payment's state does not allow it */
    SANDBOX_MISSING,        /* no such payment */
    SANDBOX_UNKNOWN_METHOD, /* not one of the test methods */
    SANDBOX_FAILED          /* the database */
} sandbox_result_t;

/* What Stripe's payment form does in the customer's browser. *payment is set on SANDBOX_OK and SANDBOX_DECLINED. */
sandbox_result_t sandbox_confirm(payment_provider_t *provider, const char *id, const char *method,
                                 provider_payment_t *payment);
/* What the bank's 3-D Secure page does. */
sandbox_result_t sandbox_authenticate(payment_provider_t *provider, const char *id, bool success,
                                      provider_payment_t *payment);
/* A refund made by hand in the provider's own pages: it carries no metadata of ours. */
sandbox_result_t sandbox_refund_there(payment_provider_t *provider, const char *id, int64_t amount_minor,
                                      provider_refund_t *refund);
/* Delivers every event once more, also those that were lost. false: the database. */
bool sandbox_resend(payment_provider_t *provider);

const char *sandbox_state_word(provider_payment_state_t state); /* Stripe's */
const char *sandbox_refund_word(provider_refund_state_t state);

#endif
