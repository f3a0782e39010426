/* What other services ask: whose an order is; what is known of a user (auth puts it into his export). And what all handlers share. */
#include "services/payment/payment_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AWAY_MS     2000
#define EXPORT_PAGE 100
#define EXPORT_MAX  10000 /* orders of one user */

provider_limit_t payment_limit(const payment_t *payment) {
    return (provider_limit_t){.timeout_ms = bc_config_number(payment->config, BC_PAYMENT_TIMEOUT),
                              .stop = payment->stopping};
}

void payment_wake(payment_t *payment) {
    bc_outbox_wake(payment->outbox);
    bc_mailer_wake(payment->mailer);
    bc_task_wake(payment->announcer);
    bc_task_wake(payment->keeper);
}

void payment_answer_unavailable(bc_reply_t *reply) {
    bc_reply_problem(reply, "unavailable", NULL);
    bc_reply_retry_after(reply, AWAY_MS);
}

bool payment_path_id(const bc_request_t *request, bc_reply_t *reply, const char *prefix, cart_id_t *id) {
    const char *text = bc_request_part(request, "id");
    if (cart_id_parse(prefix, text, strlen(text), id)) return true;
    bc_reply_not_found(reply);
    return false;
}

bool payment_path_book(const bc_request_t *request, bc_reply_t *reply, int64_t *book) {
    const char *text = bc_request_part(request, "book");
    size_t length = strlen(text);
    if (length > 0 && length <= 16 && strspn(text, "0123456789") == length && text[0] != '0') {
        *book = strtoll(text, NULL, 10);
        return true;
    }
    bc_reply_not_found(reply);
    return false;
}

bool payment_owner_of(payment_t *payment, const char *id, cart_id_t *user) {
    order_t order = {.state = ORDER_AWAITING};
    bc_db_t *db = bc_db_enter_read(payment->db);
    order_found_t found = order_find_payment(db, id, &order);
    bc_db_leave(db);
    if (found == ORDER_FOUND) *user = order.user;
    order_drop(&order);
    return found == ORDER_FOUND;
}

void payment_internal_order(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    cart_id_t id;
    order_t order = {.state = ORDER_AWAITING};
    char text[CART_ID_CHARS + 1], user[CART_ID_CHARS + 1];
    if (!payment_path_id(request, reply, PAYMENT_PREFIX_ORDER, &id)) return;
    bc_db_t *db = bc_db_enter_read(payment->db);
    order_found_t found = order_find(db, &id, &order);
    bc_db_leave(db);
    if (found == ORDER_FOUND) {
        cart_id_format(PAYMENT_PREFIX_ORDER, &order.id, text);
        cart_id_format(BC_PREFIX_USER, &order.user, user);
        bc_reply_json(reply, 200,
                      json_pack("{s:s, s:s, s:s, s:s}", "id", text, "number", order.number, "user", user, "state",
                                order_state_word(order.state)));
    } else if (found == ORDER_ABSENT) {
        bc_reply_not_found(reply);
    } else {
        payment_answer_unavailable(reply);
    }
    order_drop(&order);
}

typedef struct {
    json_t *page;
    order_filter_t filter;
    bool failed;
} export_t;

static bool see(void *context, const order_t *order) {
    export_t *export = context;
    export->filter.before_ms = order->created_ms;
    export->filter.before = order->id;
    export->failed = json_array_append_new(export->page, payment_order_json(order, false)) != 0;
    return !export->failed;
}

void payment_internal_export(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    cart_id_t user;
    export_t export = {
        .filter = {.state = -1, .fulfilment = -1, .to_ms = INT64_MAX, .before_ms = INT64_MAX, .limit = EXPORT_PAGE}};
    if (!payment_path_id(request, reply, BC_PREFIX_USER, &user)) return;
    json_t *orders = json_array();
    size_t count = EXPORT_PAGE;
    export.filter.user = &user;
    /* Page by page, so that others come in between. */
    while (orders != NULL && !export.failed && count == EXPORT_PAGE && json_array_size(orders) < EXPORT_MAX) {
        export.page = json_array();
        bc_db_t *db = bc_db_enter_read(payment->db);
        export.failed = export.page == NULL || !order_list(db, &export.filter, see, &export) || export.failed ||
                        !payment_orders_fill(db, export.page);
        bc_db_leave(db);
        count = json_array_size(export.page);
        export.failed = export.failed || json_array_extend(orders, export.page) != 0;
        json_decref(export.page);
    }
    if (orders == NULL || export.failed) {
        json_decref(orders);
        payment_answer_unavailable(reply);
        return;
    }
    bc_reply_json(reply, 200, json_pack("{s:o}", "orders", orders));
}
