#include "services/payment/payment_apply.h"

#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_random.h"
#include "services/payment/payment_json.h"
#include "services/payment/payment_store_stock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bc_metric_t orders_paid =
    BC_METRIC("bookcart_payment_orders_total{end=\"paid\"}", "Orders that came to an end", "counter");
static bc_metric_t orders_ended =
    BC_METRIC("bookcart_payment_orders_total{end=\"unpaid\"}", "Orders that came to an end", "counter");
static bc_metric_t late_filled =
    BC_METRIC("bookcart_payment_late_total{end=\"filled\"}", "Money that came for orders that were over", "counter");
static bc_metric_t late_refunded =
    BC_METRIC("bookcart_payment_late_total{end=\"refunded\"}", "Money that came for orders that were over", "counter");

bool apply_event(bc_db_t *db, const char *type, const order_t *order, json_t *more) {
    char id[CART_ID_CHARS + 1], user[CART_ID_CHARS + 1];
    cart_id_format(PAYMENT_PREFIX_ORDER, &order->id, id);
    cart_id_format(BC_PREFIX_USER, &order->user, user);
    json_t *data = json_pack("{s:s, s:s}", "order", id, "user", user);
    bool good = data != NULL && (more == NULL || json_object_update(data, more) == 0);
    if (good) bc_event_put(db, "orders", type, id, data);
    json_decref(data);
    json_decref(more);
    return good && bc_db_is_sound(db);
}

/* Mails go to the order's own address; an erased person has none and gets none. `data` is taken. */
static bool put_mail(bc_db_t *db, const order_t *order, bc_mail_kind_t kind, const char *about, const cart_id_t *id,
                     const char *prefix, json_t *data) {
    char key[BC_MAIL_KEY_MAX + 1], text[CART_ID_CHARS + 1];
    cart_id_format(prefix, id, text);
    (void)snprintf(key, sizeof(key), "%s/%s", about, text); /* literals and 30 characters */
    const bc_mail_t mail = {.key = key,
                            .kind = kind,
                            .language = order->language,
                            .address = order->email,
                            .user = &order->user,
                            .data = data};
    if (data != NULL && order->email[0] != '\0') bc_mail_put(db, &mail);
    bool good = data != NULL && bc_db_is_sound(db);
    json_decref(data);
    return good;
}

/* [{"book","quantity"}] of the order's lines. */
static json_t *plain_lines(const order_t *order) {
    json_t *list = json_array(), *line;
    size_t i;
    json_array_foreach(order->lines, i, line) {
        json_t *plain = json_pack("{s:O, s:O}", "book", json_object_get(line, "book"), "quantity",
                                  json_object_get(line, "quantity"));
        if (list == NULL || json_array_append_new(list, plain) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

bool apply_paid(bc_db_t *db, order_t *order, bool late, int64_t paid_minor, int64_t now_ms) {
    char id[CART_ID_CHARS + 1];
    cart_id_format(PAYMENT_PREFIX_ORDER, &order->id, id);
    if (!order_pay(db, &order->id, late, paid_minor, now_ms)) return false;
    if (!stock_take(db, &order->id, id, now_ms)) return false;
    order->state = ORDER_PAID;
    order->ended_ms = now_ms;
    order->paid_minor = paid_minor;
    order->last_error[0] = '\0';
    json_t *lines = plain_lines(order);
    if (!apply_event(db, "order.paid", order, lines == NULL ? NULL : json_pack("{s:o}", "lines", lines)) ||
        lines == NULL)
        return false;
    if (!put_mail(db, order, BC_MAIL_ORDER_CONFIRMED, "order.paid", &order->id, PAYMENT_PREFIX_ORDER,
                  payment_order_json(order, false)))
        return false;
    bc_metric_add(&orders_paid, 1);
    bc_log(BC_LOG_INFO, "order-paid", bc_f_text("order", id), bc_f_int("late", late));
    return true;
}

bool apply_ended(bc_db_t *db, order_t *order, order_state_t as, int64_t now_ms) {
    char id[CART_ID_CHARS + 1];
    cart_id_format(PAYMENT_PREFIX_ORDER, &order->id, id);
    if (!order_end(db, &order->id, as, now_ms) || !stock_release(db, &order->id)) return false;
    order->state = as;
    order->ending = false;
    order->ended_ms = now_ms;
    if (!apply_event(db, as == ORDER_CANCELLED ? "order.cancelled" : "order.expired", order, NULL)) return false;
    bc_metric_add(&orders_ended, 1);
    bc_log(BC_LOG_INFO, "order-ended", bc_f_text("order", id), bc_f_text("as", order_state_word(as)));
    return true;
}

/* --- money that nobody waits for --- */

/* A refund of our own, to be told to the provider by the keeper. */
static bool put_back(bc_db_t *db, const order_t *order, const provider_payment_t *paid, int64_t amount_minor,
                     int64_t now_ms) {
    refund_t refund = {.id = bc_random_id(),
                       .origin = order == NULL ? REFUND_STRAY : REFUND_LATE,
                       .state = PROVIDER_REFUND_PENDING,
                       .amount_minor = amount_minor,
                       .created_ms = now_ms,
                       .check_ms = now_ms};
    if (order != NULL) cart_id_format(PAYMENT_PREFIX_ORDER, &order->id, refund.order);
    memcpy(refund.payment, paid->id, sizeof(refund.payment));
    memcpy(refund.currency, paid->currency, sizeof(refund.currency));
    (void)snprintf(refund.reason, sizeof(refund.reason), "%s",
                   order == NULL ? "the payment belongs to no order" : "the payment came when the order was over");
    const refund_request_t request = {.restock = "[]"};
    return refund_insert(db, &refund, &request) == REFUND_OK;
}

bool apply_late(bc_db_t *db, order_t *order, const provider_payment_t *paid, int64_t now_ms) {
    char id[CART_ID_CHARS + 1];
    bool good = false;
    assert(order->state == ORDER_EXPIRED || order->state == ORDER_CANCELLED);
    cart_id_format(PAYMENT_PREFIX_ORDER, &order->id, id);
    if (order->paid_minor > 0) return true; /* seen before: it went back, or is on its way */
    json_t *lines = plain_lines(order);
    char *text = lines == NULL ? NULL : json_dumps(lines, JSON_COMPACT);
    json_t *shortage = text == NULL ? NULL : stock_shortage(db, text);
    if (shortage == NULL) goto end;
    if (order->state == ORDER_EXPIRED && order->email[0] != '\0' && json_array_size(shortage) == 0) {
        good = stock_reserve(db, &order->id, text, json_array_size(lines)) == STOCK_OK &&
               apply_paid(db, order, true, paid->received_minor, now_ms);
        if (good) bc_metric_add(&late_filled, 1);
        goto end;
    }
    good = order_note_money(db, &order->id, paid->received_minor) &&
           put_back(db, order, paid, paid->received_minor, now_ms);
    if (good) bc_metric_add(&late_refunded, 1);
    if (good) bc_log(BC_LOG_WARN, "late-money-goes-back", bc_f_text("order", id));
end:
    json_decref(shortage);
    free(text);
    json_decref(lines);
    return good;
}

bool apply_stray(bc_db_t *db, const provider_payment_t *paid, int64_t now_ms) {
    int64_t back_minor = 0;
    if (!refund_sum(db, paid->id, &back_minor)) return false;
    if (back_minor >= paid->received_minor) return true;
    bc_log(BC_LOG_ERROR, "money-without-order", bc_f_text("payment", paid->id));
    return put_back(db, NULL, paid, paid->received_minor - back_minor, now_ms);
}

/* --- refunds --- */

/* A refund reached SUCCEEDED: the event and the mail, once. */
static bool tell_refunded(bc_db_t *db, const order_t *order, const refund_t *refund) {
    char id[CART_ID_CHARS + 1];
    cart_id_format(PAYMENT_PREFIX_REFUND, &refund->id, id);
    json_t *more = json_pack("{s:s, s:o}", "refund", id, "amount", money_json(refund->amount_minor, refund->currency));
    if (more == NULL || !apply_event(db, "order.refunded", order, more)) return false;
    bool late = refund->origin == REFUND_LATE;
    return put_mail(
        db, order, late ? BC_MAIL_LATE_REFUNDED : BC_MAIL_ORDER_REFUNDED, "order.refunded", &refund->id,
        PAYMENT_PREFIX_REFUND,
        json_pack("{s:s, s:o}", "number", order->number, "amount", money_json(refund->amount_minor, refund->currency)));
}

static bool move(bc_db_t *db, const order_t *order, refund_t *refund, const char *provider_id,
                 provider_refund_state_t state) {
    char id[CART_ID_CHARS + 1];
    bool moved = false;
    /* A failed refund stays so, whatever an older answer of the provider says; what it set aside may have been used again. */
    if (refund->state == PROVIDER_REFUND_FAILED ||
        (refund->state == PROVIDER_REFUND_SUCCEEDED && state == PROVIDER_REFUND_PENDING)) {
        if (state == PROVIDER_REFUND_SUCCEEDED) bc_log(BC_LOG_ERROR, "failed-refund-succeeded");
        return true;
    }
    if (!refund_move(db, refund, provider_id, state, &moved)) return false;
    if (!moved) return true;
    cart_id_format(PAYMENT_PREFIX_REFUND, &refund->id, id);
    bc_log(state == PROVIDER_REFUND_FAILED ? BC_LOG_WARN : BC_LOG_INFO, "refund", bc_f_text("refund", id),
           bc_f_text("state", refund_state_word(state)));
    return state != PROVIDER_REFUND_SUCCEEDED || order == NULL || tell_refunded(db, order, refund);
}

/* One that was made at the provider. What it exceeds there is the provider's affair: it is noted, never more than was paid. */
static bool put_foreign(bc_db_t *db, const order_t *order, const provider_refund_t *shown, int64_t now_ms) {
    refund_t refund = {.id = bc_random_id(),
                       .origin = REFUND_BY_PROVIDER,
                       .state = shown->state,
                       .amount_minor = shown->amount_minor,
                       .created_ms = shown->created_ms,
                       .check_ms = shown->state == PROVIDER_REFUND_SUCCEEDED ? now_ms + REFUND_WATCH_EVERY_MS : now_ms};
    cart_id_format(PAYMENT_PREFIX_ORDER, &order->id, refund.order);
    memcpy(refund.payment, shown->payment, sizeof(refund.payment));
    memcpy(refund.provider_id, shown->id, sizeof(refund.provider_id));
    memcpy(refund.currency, shown->currency, sizeof(refund.currency));
    (void)snprintf(refund.reason, sizeof(refund.reason), "made at the payment provider"); /* fits */
    const refund_request_t request = {.restock = "[]"};
    refund_result_t result = refund_insert(db, &refund, &request);
    if (result == REFUND_TOO_MUCH) {
        bc_log(BC_LOG_ERROR, "provider-refunded-too-much", bc_f_text("order", refund.order));
        return true;
    }
    if (result != REFUND_OK) return false;
    return refund.state != PROVIDER_REFUND_SUCCEEDED || tell_refunded(db, order, &refund);
}

bool apply_refund(bc_db_t *db, const order_t *order, const provider_refund_t *shown, int64_t now_ms) {
    cart_id_t id;
    refund_t refund;
    refund_result_t found = refund_find_provider(db, shown->id, &refund);
    if (found == REFUND_ABSENT && cart_id_parse(PAYMENT_PREFIX_REFUND, shown->refund, strlen(shown->refund), &id)) {
        found = refund_find(db, &id, &refund);
        /* Its metadata names one of ours: believed only when all else agrees. */
        if (found == REFUND_OK && (strcmp(refund.payment, shown->payment) != 0 || refund.provider_id[0] != '\0' ||
                                   refund.amount_minor != shown->amount_minor))
            found = REFUND_ABSENT;
    }
    if (found == REFUND_FAILED) return false;
    if (found == REFUND_ABSENT) return order == NULL || put_foreign(db, order, shown, now_ms);
    return move(db, order, &refund, shown->id, shown->state);
}

bool apply_refund_refused(bc_db_t *db, refund_t *refund, const order_t *order) {
    return move(db, order, refund, refund->provider_id, PROVIDER_REFUND_FAILED);
}
