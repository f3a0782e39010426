/* What a payment's and a refund's state does to orders, stock, events and mail. Inside bc_db_begin; false: roll back. */
#ifndef PAYMENT_APPLY_H
#define PAYMENT_APPLY_H

#include "services/payment/payment_service.h"
#include "services/payment/payment_store_orders.h"
#include "services/payment/payment_store_refunds.h"

/* order.placed, order.paid, … with what the type has beside order and user (taken; NULL: nothing). */
bool apply_event(bc_db_t *db, const char *type, const order_t *order, json_t *more);

/* The order is paid: what it holds is sold, the event and the mail go out. `late`: it was over, and its stock was reserved anew. */
bool apply_paid(bc_db_t *db, order_t *order, bool late, int64_t paid_minor, int64_t now_ms);
/* The order is over without money; what it held is free. */
bool apply_ended(bc_db_t *db, order_t *order, order_state_t as, int64_t now_ms);

/* Money of an order that is over: filled after all if it expired and there are copies, else the money goes back. */
bool apply_late(bc_db_t *db, order_t *order, const provider_payment_t *paid, int64_t now_ms);
/* Money that belongs to no order we know goes back. */
bool apply_stray(bc_db_t *db, const provider_payment_t *paid, int64_t now_ms);

/* A refund as the provider shows it: one of ours, or one made there. `order` NULL: of no order. */
bool apply_refund(bc_db_t *db, const order_t *order, const provider_refund_t *shown, int64_t now_ms);
/* A refund of ours that the provider will not make. */
bool apply_refund_refused(bc_db_t *db, refund_t *refund, const order_t *order);

#endif
