#include "services/payment/payment_provider.h"

#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <assert.h>

/* Logs what a person may have to look at. `what` is a literal. */
static provider_result_t note(const payment_provider_t *provider, const char *what, provider_result_t result) {
    if (result == PROVIDER_AWAY)
        bc_log(BC_LOG_WARN, "payment-provider-away", bc_f_text("provider", provider->ops->name),
               bc_f_text("call", what));
    if (result == PROVIDER_REFUSED)
        bc_log(BC_LOG_ERROR, "payment-provider-refused", bc_f_text("provider", provider->ops->name),
               bc_f_text("call", what));
    return result;
}

/* --- keys that may be forgotten --- */

static bool may_be_forgotten(int64_t since_ms) {
    return bc_time_ms() - since_ms >= PROVIDER_KEY_MS;
}

/* What is left of the call's time. */
static provider_limit_t rest_of(const provider_limit_t *limit, int64_t began_ms) {
    return (provider_limit_t){.timeout_ms = limit->timeout_ms - (bc_monotonic_ms() - began_ms), .stop = limit->stop};
}

/* MISSING: nothing was made, or the key would still be known if something had been: ask for it. What was made lately is not looked for: its key
 * is known. So the list is that of a time in which the shop or its provider was away, and short. */
static provider_result_t find_payment(payment_provider_t *provider, const provider_create_t *asked,
                                      const provider_limit_t *limit, provider_payment_t *found) {
    if (!may_be_forgotten(asked->since_ms)) return PROVIDER_MISSING;
    if (bc_fault("provider.find")) return PROVIDER_AWAY;
    return provider->ops->find_payment(provider, asked, asked->since_ms - PROVIDER_CLOCKS_MS,
                                       bc_time_ms() - PROVIDER_KEY_MS + PROVIDER_CLOCKS_MS, limit, found);
}

static provider_result_t find_refund(payment_provider_t *provider, const provider_refund_request_t *asked,
                                     const provider_limit_t *limit, provider_refund_t *found) {
    if (!may_be_forgotten(asked->since_ms)) return PROVIDER_MISSING;
    if (bc_fault("provider.find")) return PROVIDER_AWAY;
    return provider->ops->find_refund(provider, asked, limit, found);
}

/* --- the calls --- */

provider_result_t payment_provider_create(payment_provider_t *provider, const provider_create_t *asked,
                                          const provider_limit_t *limit, provider_payment_t *payment) {
    provider_payment_t made;
    assert(asked->amount_minor > 0);
    if (bc_fault("provider.create")) return note(provider, "create", PROVIDER_AWAY);
    int64_t began_ms = bc_monotonic_ms();
    provider_result_t result = find_payment(provider, asked, limit, &made);
    if (result == PROVIDER_MISSING) {
        const provider_limit_t rest = rest_of(limit, began_ms);
        result = provider->ops->create(provider, asked, &rest, &made);
    }
    if (bc_fault("provider.create-told")) result = PROVIDER_AWAY;
    if (result == PROVIDER_OK) *payment = made;
    return note(provider, "create", result);
}

provider_result_t payment_provider_retrieve(payment_provider_t *provider, const char *id, const provider_limit_t *limit,
                                            provider_payment_t *payment) {
    if (bc_fault("provider.retrieve")) return note(provider, "retrieve", PROVIDER_AWAY);
    return note(provider, "retrieve", provider->ops->retrieve(provider, id, limit, payment));
}

provider_result_t payment_provider_cancel(payment_provider_t *provider, const char *id, const provider_limit_t *limit,
                                          provider_payment_t *payment) {
    provider_payment_t ended;
    if (bc_fault("provider.cancel")) return note(provider, "cancel", PROVIDER_AWAY);
    if (bc_fault("provider.cancel-unknown")) return PROVIDER_MISSING;
    provider_result_t result = provider->ops->cancel(provider, id, limit, &ended);
    if (bc_fault("provider.cancel-told")) result = PROVIDER_AWAY;
    if (result == PROVIDER_OK) *payment = ended;
    return note(provider, "cancel", result);
}

provider_result_t payment_provider_refund(payment_provider_t *provider, const provider_refund_request_t *asked,
                                          const provider_limit_t *limit, provider_refund_t *refund) {
    provider_refund_t made;
    assert(asked->amount_minor > 0);
    if (bc_fault("provider.refund")) return note(provider, "refund", PROVIDER_AWAY);
    int64_t began_ms = bc_monotonic_ms();
    provider_result_t result = find_refund(provider, asked, limit, &made);
    if (result == PROVIDER_MISSING) {
        const provider_limit_t rest = rest_of(limit, began_ms);
        result = provider->ops->refund(provider, asked, &rest, &made);
    }
    if (bc_fault("provider.refund-told")) result = PROVIDER_AWAY;
    if (result == PROVIDER_OK) *refund = made;
    return note(provider, "refund", result);
}

provider_result_t payment_provider_refunds_of(payment_provider_t *provider, const char *payment,
                                              const provider_limit_t *limit, provider_see_refund_t see, void *context) {
    if (bc_fault("provider.refunds-of")) return note(provider, "refunds-of", PROVIDER_AWAY);
    return note(provider, "refunds-of", provider->ops->refunds_of(provider, payment, limit, see, context));
}

provider_result_t payment_provider_payments_since(payment_provider_t *provider, int64_t since_ms,
                                                  const provider_limit_t *limit, provider_see_payment_t see,
                                                  void *context) {
    if (bc_fault("provider.payments-since")) return note(provider, "payments-since", PROVIDER_AWAY);
    return note(provider, "payments-since", provider->ops->payments_since(provider, since_ms, limit, see, context));
}

provider_result_t payment_provider_refunds_since(payment_provider_t *provider, int64_t since_ms,
                                                 const provider_limit_t *limit, provider_see_refund_t see,
                                                 void *context) {
    if (bc_fault("provider.refunds-since")) return note(provider, "refunds-since", PROVIDER_AWAY);
    return note(provider, "refunds-since", provider->ops->refunds_since(provider, since_ms, limit, see, context));
}

void payment_provider_stop(payment_provider_t *provider) {
    if (provider != NULL && provider->ops->stop != NULL) provider->ops->stop(provider);
}

void payment_provider_destroy(payment_provider_t *provider) {
    if (provider == NULL) return;
    payment_provider_stop(provider);
    provider->ops->destroy(provider);
}
