/* Pages of orders: GET /orders and GET /admin/orders. */
#ifndef PAYMENT_LIST_H
#define PAYMENT_LIST_H

#include "services/payment/payment_json.h"

/* Reads `limit` and `cursor` into the filter. `list` names the list and its filters, for the cursor. false: a problem was set. */
bool payment_list_place(const payment_t *payment, const bc_request_t *request, bc_reply_t *reply, const char *list,
                        order_filter_t *filter);
/* Answers with a page: 3 statements. */
void payment_list_answer(payment_t *payment, bc_reply_t *reply, const char *list, const order_filter_t *filter,
                         bool admin);

#endif
