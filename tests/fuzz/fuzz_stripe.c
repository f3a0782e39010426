/* Any bytes as an answer of Stripe's API: what is read as a payment, a refund or an error holds only what its limits allow. */
#include "services/payment/payment_stripe_json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_payment(const json_t *object) {
    provider_payment_t payment;
    for (int live = 0; live < 2; live++) {
        if (stripe_read_payment(object, live != 0, &payment) != STRIPE_READ) continue;
        if (!stripe_id_good(payment.id, "pi_") || payment.client_secret[0] == '\0') abort();
        if (payment.amount_minor < 0 || payment.amount_minor > STRIPE_AMOUNT_MAX || payment.created_ms < 0) abort();
        if ((payment.received_minor > 0) != (payment.state == PROVIDER_SUCCEEDED)) abort();
        if (payment.received_minor > payment.amount_minor || strlen(payment.currency) != 3) abort();
        if (strlen(payment.order) > PROVIDER_KEY_MAX || strlen(payment.last_error) > PROVIDER_CODE_MAX) abort();
    }
}

static void check_refund(const json_t *object) {
    provider_refund_t refund;
    if (stripe_read_refund(object, &refund) != STRIPE_READ) return;
    if (!stripe_id_good(refund.id, "") || !stripe_id_good(refund.payment, "pi_")) abort();
    if (refund.amount_minor < 0 || refund.amount_minor > STRIPE_AMOUNT_MAX || strlen(refund.currency) != 3) abort();
    if (strlen(refund.refund) > PROVIDER_KEY_MAX) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_error_t ignored;
    stripe_error_t error;
    json_t *object = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, &ignored);
    check_payment(object);
    check_refund(object);
    stripe_read_error(object, &error);
    if (strlen(error.code) > PROVIDER_CODE_MAX || strlen(error.param) > PROVIDER_CODE_MAX) abort();
    json_decref(object);
    return 0;
}
