/* POST /admin/orders/{id}/ship: a paid order, or lines of it, left the house. One transaction: lines, shipment, event, mail, answer. */
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"
#include "services/payment/payment_apply.h"
#include "services/payment/payment_copies.h"
#include "services/payment/payment_json.h"

#include <stdio.h>
#include <stdlib.h>

#define CARRIER_MAX 100 /* code points, as the tracking number */

typedef struct {
    cart_id_t id;
    const char *carrier, *tracking;
    char *lines; /* owned; NULL: all that is left */
} ship_t;

typedef enum { SHIP_OK, SHIP_ABSENT, SHIP_STATE, SHIP_LINES, SHIP_FAILED } ship_result_t;

static bool read_ship(const bc_request_t *request, bc_reply_t *reply, ship_t *ship) {
    const json_t *lines = json_object_get(bc_request_body(request), "lines");
    ship->carrier = bc_request_string(request, "carrier");
    ship->tracking = bc_request_string(request, "tracking");
    if (!payment_path_id(request, reply, PAYMENT_PREFIX_ORDER, &ship->id)) return false;
    if (!payment_text_good(ship->carrier, CARRIER_MAX)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "carrier", "invalid", NULL);
        return false;
    }
    if (!payment_text_good(ship->tracking, CARRIER_MAX)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "tracking", "invalid", NULL);
        return false;
    }
    return lines == NULL || payment_copies_read(reply, "lines", lines, 1, &ship->lines);
}

static json_int_t number(const json_t *line, const char *name) {
    return json_integer_value(json_object_get(line, name));
}

/* [{"book","quantity"}] of what neither left nor went back. */
static json_t *what_is_left(const json_t *lines) {
    json_t *left = json_array();
    size_t i;
    const json_t *line;
    json_array_foreach(lines, i, line) {
        json_int_t count = number(line, "quantity") - number(line, "shipped") - number(line, "cancelled");
        if (count == 0 || left == NULL) continue;
        if (json_array_append_new(left, json_pack("{s:I, s:I}", "book", number(line, "book"), "quantity", count)) == 0)
            continue;
        json_decref(left);
        left = NULL;
    }
    return left;
}

static order_fulfilment_t fulfilment_of(const json_t *lines) {
    bool some = false, all = true;
    size_t i;
    const json_t *line;
    json_array_foreach(lines, i, line) {
        some = some || number(line, "shipped") > 0;
        all = all && number(line, "shipped") + number(line, "cancelled") == number(line, "quantity");
    }
    return !some ? ORDER_NONE : all ? ORDER_SHIPPED : ORDER_PART;
}

static bool tell(bc_db_t *db, const order_t *order, const ship_t *ship, const cart_id_t *shipment,
                 const json_t *lines) {
    char key[BC_MAIL_KEY_MAX + 1] = "order.shipped/";
    cart_id_format("shp_", shipment, key + 14);
    json_t *data = json_pack("{s:s, s:s, s:s, s:O}", "number", order->number, "carrier", ship->carrier, "tracking",
                             ship->tracking, "lines", lines);
    const bc_mail_t mail = {.key = key,
                            .kind = BC_MAIL_ORDER_SHIPPED,
                            .language = order->language,
                            .address = order->email,
                            .user = &order->user,
                            .data = data};
    if (data != NULL && order->email[0] != '\0') bc_mail_put(db, &mail);
    bool good = data != NULL && apply_event(db, "order.shipped", order, NULL);
    json_decref(data);
    return good;
}

/* The titles beside the copies, for the mail. */
static json_t *titled(const order_t *order, const json_t *copies) {
    json_t *list = json_array(), *line;
    size_t i, k;
    const json_t *copy;
    json_array_foreach(copies, i, copy) {
        json_array_foreach(order->lines, k, line) {
            if (list == NULL || number(line, "book") != number(copy, "book")) continue;
            if (json_array_append_new(list, json_pack("{s:I, s:O, s:I}", "book", number(copy, "book"), "title",
                                                      json_object_get(line, "title"), "quantity",
                                                      number(copy, "quantity"))) == 0)
                continue;
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* The part of the transaction that writes. */
static ship_result_t write_shipment(bc_db_t *db, order_t *order, const ship_t *ship, const char *text,
                                    const json_t *copies) {
    char id[CART_ID_CHARS + 1];
    cart_id_t shipment = bc_random_id();
    cart_id_format(PAYMENT_PREFIX_ORDER, &order->id, id);
    order_lines_result_t shipped = order_lines_ship(db, &order->id, text, json_array_size(copies));
    if (shipped != ORDER_LINES_OK) return shipped == ORDER_LINES_REFUSED ? SHIP_LINES : SHIP_FAILED;
    json_t *after = order_lines(db, &order->id), *lines = titled(order, copies);
    order_lines_result_t put = order_put_shipment(db, &shipment, id, ship->carrier, ship->tracking, text, bc_time_ms());
    bool good = after != NULL && lines != NULL && put == ORDER_LINES_OK &&
                order_set_fulfilment(db, &order->id, fulfilment_of(after)) && tell(db, order, ship, &shipment, lines);
    json_decref(after);
    json_decref(lines);
    if (put == ORDER_LINES_REFUSED) return SHIP_STATE;
    return good ? SHIP_OK : SHIP_FAILED;
}

static ship_result_t ship_order(bc_db_t *db, const ship_t *ship) {
    order_t order = {.state = ORDER_AWAITING};
    char *text = NULL;
    order_found_t found = order_find(db, &ship->id, &order);
    if (found != ORDER_FOUND) return found == ORDER_ABSENT ? SHIP_ABSENT : SHIP_FAILED;
    json_t *before = order_lines(db, &ship->id);
    json_t *copies = before == NULL        ? NULL
                     : ship->lines != NULL ? json_loads(ship->lines, 0, NULL)
                                           : what_is_left(before);
    ship_result_t result = SHIP_FAILED;
    if (copies != NULL && (order.state != ORDER_PAID || json_array_size(copies) == 0)) result = SHIP_STATE;
    if (copies != NULL && result != SHIP_STATE) text = json_dumps(copies, JSON_COMPACT);
    if (text != NULL) result = write_shipment(db, &order, ship, text, copies);
    free(text);
    json_decref(copies);
    json_decref(before);
    order_drop(&order);
    return result;
}

static void refuse(bc_reply_t *reply, ship_result_t result) {
    if (result == SHIP_ABSENT) bc_reply_not_found(reply);
    if (result == SHIP_STATE)
        bc_reply_problem(reply, "conflict",
                         "the order is not paid, nothing of it is left, or it was shipped in too many parts");
    if (result == SHIP_LINES)
        bc_reply_problem_field(reply, "not-acceptable-value", "lines", "too-many",
                               "a line that the order has not, or more than is left of it");
    if (result == SHIP_FAILED) payment_answer_unavailable(reply);
}

void payment_admin_ship(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    bc_once_t once;
    ship_t ship = {.lines = NULL};
    bc_reply_cache(reply, "private, no-cache"); /* also a repeat's answer */
    if (!bc_once_begin(payment->db, request, reply, BC_ONCE_OPTIONAL, &once)) return;
    if (!read_ship(request, reply, &ship)) goto end;
    if (bc_db_begin(payment->db) != BC_DB_OK) {
        refuse(reply, SHIP_FAILED);
        goto end;
    }
    ship_result_t result = ship_order(payment->db, &ship);
    json_t *shown = result == SHIP_OK ? payment_order_now(payment->db, &ship.id, true) : NULL;
    if (shown == NULL) {
        bc_db_rollback(payment->db);
        refuse(reply, result == SHIP_OK ? SHIP_FAILED : result);
        goto end;
    }
    bc_once_keep(&once, 200, shown, NULL);
    if (bc_db_commit(payment->db) != BC_DB_OK) {
        json_decref(shown);
        refuse(reply, SHIP_FAILED);
        goto end;
    }
    payment_wake(payment);
    bc_reply_json(reply, 200, shown);
end:
    free(ship.lines);
    bc_once_end(&once, reply);
}
