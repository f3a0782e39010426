#include "services/payment/payment_sandbox_methods.h"

#include <string.h>

/* clang-format off */
static const sandbox_method_t methods[] = {
    {"pm_card_visa", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_visa_debit", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_mastercard", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_mastercard_debit", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_mastercard_prepaid", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_amex", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_discover", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_diners", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_jcb", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_unionpay", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_threeDSecureOptional", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_amex_threeDSecureNotSupported", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_AT_ONCE},

    {"pm_card_visa_chargeDeclined", SANDBOX_AT_ONCE, "card_declined", "generic_decline", SANDBOX_REFUND_AT_ONCE},
    {"pm_card_visa_chargeDeclinedInsufficientFunds", SANDBOX_AT_ONCE, "card_declined", "insufficient_funds", SANDBOX_REFUND_AT_ONCE},
    {"pm_card_visa_chargeDeclinedLostCard", SANDBOX_AT_ONCE, "card_declined", "lost_card", SANDBOX_REFUND_AT_ONCE},
    {"pm_card_visa_chargeDeclinedStolenCard", SANDBOX_AT_ONCE, "card_declined", "stolen_card", SANDBOX_REFUND_AT_ONCE},
    {"pm_card_visa_chargeDeclinedVelocityLimitExceeded", SANDBOX_AT_ONCE, "card_declined", "card_velocity_exceeded", SANDBOX_REFUND_AT_ONCE},
    {"pm_card_chargeDeclinedExpiredCard", SANDBOX_AT_ONCE, "expired_card", NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_chargeDeclinedIncorrectCvc", SANDBOX_AT_ONCE, "incorrect_cvc", NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_chargeDeclinedProcessingError", SANDBOX_AT_ONCE, "processing_error", NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_chargeCustomerFail", SANDBOX_AT_ONCE, "card_declined", "generic_decline", SANDBOX_REFUND_AT_ONCE},
    {"pm_card_radarBlock", SANDBOX_AT_ONCE, "card_declined", "fraudulent", SANDBOX_REFUND_AT_ONCE},

    {"pm_card_authenticationRequired", SANDBOX_AUTHENTICATED, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_authenticationRequiredOnSetup", SANDBOX_AUTHENTICATED, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", SANDBOX_AUTHENTICATED, "card_declined", "insufficient_funds", SANDBOX_REFUND_AT_ONCE},
    {"pm_card_threeDSecure2Required", SANDBOX_AUTHENTICATED, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_threeDSecureRequired", SANDBOX_AUTHENTICATED, NULL, NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_card_threeDSecureRequiredChargeDeclined", SANDBOX_AUTHENTICATED, "card_declined", "generic_decline", SANDBOX_REFUND_AT_ONCE},
    {"pm_card_threeDSecureRequiredProcessingError", SANDBOX_AUTHENTICATED, "processing_error", NULL, SANDBOX_REFUND_AT_ONCE},

    {"pm_success_de", SANDBOX_DEBITED, NULL, NULL, SANDBOX_REFUND_PENDING},
    {"pm_successDelayed_de", SANDBOX_DEBITED, NULL, NULL, SANDBOX_REFUND_PENDING},
    {"pm_failed_de", SANDBOX_DEBITED, "payment_intent_payment_attempt_failed", NULL, SANDBOX_REFUND_AT_ONCE},
    {"pm_failedDelayed_de", SANDBOX_DEBITED, "payment_intent_payment_attempt_failed", NULL, SANDBOX_REFUND_AT_ONCE},

    {"pm_card_pendingRefund", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_PENDING},
    {"pm_card_refundFail", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_FAILS},
    /* Ours: Stripe has no test method for a refund that is pending and then fails, but such refunds exist. */
    {"pm_sandbox_pendingRefundFail", SANDBOX_AT_ONCE, NULL, NULL, SANDBOX_REFUND_PENDING_FAILS},
};
/* clang-format on */

const sandbox_method_t *sandbox_method_find(const char *name) {
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(methods[i].name, name) == 0) return &methods[i];
    }
    return NULL;
}

const sandbox_method_t *sandbox_method_at(size_t index) {
    return index < sizeof(methods) / sizeof(methods[0]) ? &methods[index] : NULL;
}
