/* Placing an order: its stock held, itself and its lines written, order.placed told, in one transaction. */
#ifndef PAYMENT_PLACE_H
#define PAYMENT_PLACE_H

#include "services/payment/payment_service.h"
#include "services/payment/payment_store_orders.h"

typedef enum {
    PLACED,
    PLACE_SHORT, /* not enough copies of a line; nothing changed */
    PLACE_OPEN,  /* the user has an open order; nothing changed */
    PLACE_FAILED
} place_result_t;

/* Everything of *order is filled in but its number, which is drawn here; `lines` is JSON text [{"book","quantity"}], `count` of them. An
 * order of which nothing is to be paid is paid at once. */
place_result_t payment_place(payment_t *payment, order_t *order, const char *lines, size_t count);

#endif
