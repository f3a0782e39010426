/* Orders as the API shows them. What comes back is the caller's; NULL: no memory, or the database failed. */
#ifndef PAYMENT_JSON_H
#define PAYMENT_JSON_H

#include "services/payment/payment_address.h"
#include "services/payment/payment_basket.h"
#include "services/payment/payment_store_orders.h"
#include "services/payment/payment_store_refunds.h"

/* The word for people; an id that we have no word for is its own. */
const char *payment_method_name(const char *id, bc_language_t language);

/* The list of one rate. */
json_t *payment_tax_json(int rate_bp, int64_t base_minor, int64_t tax_minor, const char *currency);

/* An object without its members that are null (absent and null are one); anything else as it is. The caller owns it. */
json_t *payment_without_nulls(const json_t *object);
/* 422 with the field below `under`; 400 when it is of the wrong kind or unknown. */
void payment_reply_fault(bc_reply_t *reply, const char *under, const address_fault_t *fault);

/* Without shipments and refunds, which a new order has not. `admin`: with the user. */
json_t *payment_order_json(const order_t *order, bool admin);
/* With both, inside bc_db_enter or a transaction: 2 statements for all of `orders` (an array of payment_order_json). false: failed. */
bool payment_orders_fill(bc_db_t *db, json_t *orders);
/* One order as it is now, inside bc_db_enter or a transaction: 3 statements. */
json_t *payment_order_now(bc_db_t *db, const cart_id_t *id, bool admin);

#endif
