/* Asking for a refund: step 1 of payment_refund.c, beside the request. */
#ifndef PAYMENT_REFUND_H
#define PAYMENT_REFUND_H

#include "services/payment/payment_service.h"
#include "services/payment/payment_store_orders.h"
#include "services/payment/payment_store_refunds.h"

typedef struct {
    payment_t *payment;
    cart_id_t actor, order;
    char order_text[CART_ID_CHARS + 1];
    const char *once_key;  /* with actor: a repeat finds its refund */
    const uint8_t *digest; /* REFUND_DIGEST bytes */
    bool all;              /* all that is left */
    int64_t amount_minor;  /* unless all */
    const char *reason;
    char *restock; /* JSON text [{"book","quantity"}]; the asker's */
    size_t restock_count;
} refund_ask_t;

typedef enum { ASK_OK, ASK_ABSENT, ASK_STATE, ASK_TOO_MUCH, ASK_LINES, ASK_REUSED, ASK_FAILED } refund_ask_result_t;

/* The refund is written and its amount set aside, or an earlier try of the same request had done so. The provider is not told yet. */
refund_ask_result_t payment_refund_ask(const refund_ask_t *asked, refund_t *refund);

#endif
