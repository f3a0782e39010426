/*
 * Where the provider's truth meets ours. Webhooks, the browser, the keeper and cancelling all come here: each asks the provider how a
 * payment stands and brings the order there in one transaction, so it does not matter in which order, how often, or whether at all any of
 * them happens.
 *
 * Called by handlers and by the keeper's thread, never inside a transaction. No database lock is held while the provider is asked.
 *
 * Fault points: payment.settle (asked, nothing written), payment.settled (written), payment.ending (cancelling is written down, the
 * provider does not know), payment.refund-told (the provider refunded, nothing written).
 */
#ifndef PAYMENT_SETTLE_H
#define PAYMENT_SETTLE_H

#include "services/payment/payment_service.h"
#include "services/payment/payment_store_orders.h"
#include "services/payment/payment_store_refunds.h"

typedef enum {
    SETTLE_OK,
    SETTLE_AWAY,    /* the provider did not answer, or the database failed: again later */
    SETTLE_REFUSED, /* the provider does not know it, or what it says cannot be: a person must look; logged */
} settle_result_t;

/* Brings the order of a payment, and its refunds, to where the provider says they are. */
settle_result_t payment_settle(payment_t *payment, const char *id, const provider_limit_t *limit);

/* The same for a payment whose order was lost with a store that was restored: cancelled if it can be, else refunded. */
settle_result_t payment_settle_lost(payment_t *payment, const char *id, const provider_limit_t *limit);

/* Makes sure that an open order has its payment (asked for under the order's id, so made once). *order is read anew. */
settle_result_t payment_settle_create(payment_t *payment, const cart_id_t *id, const provider_limit_t *limit);

typedef enum {
    END_DONE,        /* it is over: cancelled, expired, or paid meanwhile */
    END_IN_PROGRESS, /* money is on its way: it cannot be stopped */
    END_AWAY
} end_result_t;

/* Ends an open order: at the provider first; its stock returns when that is confirmed. */
end_result_t payment_settle_end(payment_t *payment, const cart_id_t *id, order_state_t as,
                                const provider_limit_t *limit);

/* Tells the provider of a refund that waits, and notes its answer. */
settle_result_t payment_settle_refund(payment_t *payment, const cart_id_t *id, const provider_limit_t *limit);

/* An order whose every copy is free: what was reserved is sold, nobody is asked for money. Inside a transaction; false: roll back. */
bool payment_settle_free(payment_t *payment, order_t *order, int64_t now_ms);

#endif
