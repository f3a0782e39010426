/* What an administrator sees of orders: everybody's, by state, fulfilment, user and time. */
#include "services/payment/payment_list.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* RFC 3339 in UTC, as we write it: 2026-01-31T10:00:00[.123]Z. */
static bool read_time(const char *text, int64_t *unix_ms) {
    struct tm parts = {0};
    int64_t ms = 0, scale = 100;
    const char *rest = strlen(text) < 20 ? NULL : strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest == NULL) return false;
    if (*rest == '.') {
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, scale /= 10) ms += (*rest - '0') * scale;
    }
    if (strcmp(rest, "Z") != 0) return false;
    *unix_ms = (int64_t)timegm(&parts) * 1000 + ms;
    return true;
}

static bool refuse(bc_reply_t *reply, const char *field) {
    bc_reply_problem_field(reply, "malformed-request", field, "invalid", NULL);
    return false;
}

static bool read_filter(const bc_request_t *request, bc_reply_t *reply, order_filter_t *filter, cart_id_t *user) {
    const char *state = bc_request_query(request, "state"), *fulfilment = bc_request_query(request, "fulfilment"),
               *whose = bc_request_query(request, "user"), *from = bc_request_query(request, "from"),
               *to = bc_request_query(request, "to");
    order_state_t state_read;
    order_fulfilment_t fulfilment_read;
    if (state != NULL) {
        if (!order_state_read(state, &state_read)) return refuse(reply, "state");
        filter->state = (int)state_read;
    }
    if (fulfilment != NULL) {
        if (!order_fulfilment_read(fulfilment, &fulfilment_read)) return refuse(reply, "fulfilment");
        filter->fulfilment = (int)fulfilment_read;
    }
    if (whose != NULL) {
        if (!cart_id_parse(BC_PREFIX_USER, whose, strlen(whose), user)) return refuse(reply, "user");
        filter->user = user;
    }
    if (from != NULL && !read_time(from, &filter->from_ms)) return refuse(reply, "from");
    if (to != NULL && !read_time(to, &filter->to_ms)) return refuse(reply, "to");
    return true;
}

void payment_admin_orders(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    cart_id_t user;
    char list[192], whose[CART_ID_CHARS + 1] = "-";
    order_filter_t filter = {.state = -1, .fulfilment = -1, .to_ms = INT64_MAX};
    if (!read_filter(request, reply, &filter, &user)) return;
    if (filter.user != NULL) cart_id_format(BC_PREFIX_USER, &user, whose);
    (void)snprintf(list, sizeof(list), "admin-orders %d %d %s %lld %lld", filter.state, filter.fulfilment, whose,
                   (long long)filter.from_ms, (long long)filter.to_ms); /* fits */
    if (payment_list_place(payment, request, reply, list, &filter))
        payment_list_answer(payment, reply, list, &filter, true);
}

void payment_admin_order(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    cart_id_t id;
    order_t order;
    json_t *shown = NULL;
    if (!payment_path_id(request, reply, PAYMENT_PREFIX_ORDER, &id)) return;
    bc_db_t *db = bc_db_enter_read(payment->db);
    order_found_t found = order_find(db, &id, &order);
    if (found == ORDER_FOUND) {
        shown = payment_order_json(&order, true);
        json_t *list = json_pack("[O]", shown);
        if (list == NULL || !payment_orders_fill(db, list)) found = ORDER_FAILED;
        json_decref(list);
        order_drop(&order);
    }
    bc_db_leave(db);
    if (found == ORDER_FOUND) {
        bc_reply_cache(reply, "private, no-cache");
        bc_reply_json(reply, 200, shown);
        return;
    }
    json_decref(shown);
    if (found == ORDER_ABSENT) {
        bc_reply_not_found(reply);
    } else {
        payment_answer_unavailable(reply);
    }
}
