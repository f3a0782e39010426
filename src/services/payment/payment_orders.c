/* What an owner does with orders: list, look, cancel. What is another's is not there. */
#include "platform/bc_once.h"
#include "services/payment/payment_list.h"
#include "services/payment/payment_settle.h"

void payment_orders(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    char list[48] = "orders ";
    const cart_id_t *user = &bc_request_caller(request)->user;
    order_filter_t filter = {.user = user, .state = -1, .fulfilment = -1, .to_ms = INT64_MAX};
    cart_id_format(BC_PREFIX_USER, user, list + 7);
    if (payment_list_place(payment, request, reply, list, &filter))
        payment_list_answer(payment, reply, list, &filter, false);
}

/* The caller's own order {id}. false: 404 or 503 was set; *order is to be dropped when true. */
static bool own_order(payment_t *payment, bc_request_t *request, bc_reply_t *reply, order_t *order) {
    cart_id_t id;
    if (!payment_path_id(request, reply, PAYMENT_PREFIX_ORDER, &id)) return false;
    bc_db_t *db = bc_db_enter_read(payment->db);
    order_found_t found = order_find(db, &id, order);
    bc_db_leave(db);
    if (found == ORDER_FAILED) payment_answer_unavailable(reply);
    if (found == ORDER_ABSENT) bc_reply_not_found(reply);
    if (found != ORDER_FOUND) return false;
    if (cart_id_equal(&order->user, &bc_request_caller(request)->user)) return true;
    order_drop(order);
    bc_reply_not_found(reply);
    return false;
}

static void answer_with(bc_reply_t *reply, json_t *shown) {
    if (shown == NULL) {
        payment_answer_unavailable(reply);
        return;
    }
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, shown);
}

void payment_order(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    order_t order;
    if (!own_order(payment, request, reply, &order)) return;
    json_t *shown = payment_order_json(&order, false), *list = json_pack("[O]", shown);
    order_drop(&order);
    bc_db_t *db = bc_db_enter_read(payment->db);
    bool good = list != NULL && payment_orders_fill(db, list);
    bc_db_leave(db);
    json_decref(list);
    if (!good) {
        json_decref(shown);
        shown = NULL;
    }
    answer_with(reply, shown);
}

/* The order as it is, kept under the key. Cancelling twice is cancelling once, so nothing is lost between the change and this. */
static void answer_cancelled(payment_t *payment, bc_once_t *once, bc_reply_t *reply, const cart_id_t *id) {
    json_t *shown = NULL;
    if (bc_db_begin(payment->db) == BC_DB_OK) {
        shown = payment_order_now(payment->db, id, false);
        if (shown != NULL) bc_once_keep(once, 200, shown, NULL);
        bool kept = bc_db_commit(payment->db) == BC_DB_OK;
        if (!kept) {
            json_decref(shown);
            shown = NULL;
        }
    }
    answer_with(reply, shown);
}

static void cancel(payment_t *payment, bc_once_t *once, bc_reply_t *reply, const order_t *order) {
    provider_limit_t limit = payment_limit(payment);
    order_t after = {.state = ORDER_AWAITING};
    if (order->state == ORDER_PAID || order->state == ORDER_EXPIRED) {
        bc_reply_problem(reply, "conflict", order->state == ORDER_PAID ? "the order was paid" : "the order expired");
        return;
    }
    end_result_t ended = END_DONE;
    if (order->state == ORDER_AWAITING) ended = payment_settle_end(payment, &order->id, ORDER_CANCELLED, &limit);
    if (ended == END_AWAY) {
        payment_answer_unavailable(reply);
        return;
    }
    bc_db_enter(payment->db);
    order_found_t found = order_find(payment->db, &order->id, &after);
    bc_db_leave(payment->db);
    bool over = found == ORDER_FOUND && (after.state == ORDER_CANCELLED || after.state == ORDER_EXPIRED);
    order_drop(&after);
    if (over) {
        answer_cancelled(payment, once, reply, &order->id);
    } else if (found == ORDER_FOUND) {
        bc_reply_problem(reply, "payment-in-progress", "the order is being paid, or was at this moment");
    } else {
        payment_answer_unavailable(reply);
    }
}

void payment_cancel(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    bc_once_t once;
    order_t order;
    bc_reply_cache(reply, "private, no-cache"); /* also a repeat's answer */
    if (!bc_once_begin(payment->db, request, reply, BC_ONCE_OPTIONAL, &once)) return;
    if (own_order(payment, request, reply, &order)) {
        cancel(payment, &once, reply, &order);
        order_drop(&order);
    }
    bc_once_end(&once, reply);
}
