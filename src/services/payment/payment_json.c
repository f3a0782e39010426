#include "services/payment/payment_json.h"

#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *id;
    const char *names[BC_LANGUAGE_COUNT];
} methods[] = {
    {"standard", {"Standard delivery", "Livraison standard", "Стандартна доставка"}},
    {"express", {"Express delivery", "Livraison express", "Експресна доставка"}},
    {"pickup", {"Collect in the shop", "Retrait en magasin", "Вземане от магазина"}},
};

const char *payment_method_name(const char *id, bc_language_t language) {
    assert(language < BC_LANGUAGE_COUNT);
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(methods[i].id, id) == 0) return methods[i].names[language];
    }
    return id;
}

json_t *payment_tax_json(int rate_bp, int64_t base_minor, int64_t tax_minor, const char *currency) {
    return json_pack("[{s:i, s:o, s:o}]", "rate_bp", rate_bp, "base", money_json(base_minor, currency), "amount",
                     money_json(tax_minor, currency));
}

json_t *payment_without_nulls(const json_t *object) {
    json_t *copy = json_deep_copy(object);
    const char *name;
    json_t *value;
    void *next;
    if (!json_is_object(copy)) return copy;
    json_object_foreach_safe(copy, next, name, value) {
        if (json_is_null(value)) (void)json_object_del(copy, name); /* it is there */
    }
    return copy;
}

void payment_reply_fault(bc_reply_t *reply, const char *under, const address_fault_t *fault) {
    char field[64];
    bool form = strcmp(fault->code, "unknown") == 0 || strcmp(fault->code, "wrong-kind") == 0 ||
                strcmp(fault->code, "required") == 0;
    (void)snprintf(field, sizeof(field), "%s%s%s", under, fault->field[0] == '\0' ? "" : ".",
                   fault->field); /* literals */
    bc_reply_problem_field(reply, form ? "malformed-request" : "not-acceptable-value", field, fault->code,
                           fault->detail);
}

static json_t *time_json(int64_t unix_ms) {
    char text[BC_TIME_TEXT_BYTES];
    if (unix_ms == 0) return json_null();
    bc_time_format(unix_ms, text);
    return json_string(text);
}

static json_t *text_or_null(const char *text) {
    return text[0] == '\0' ? json_null() : json_string(text);
}

static json_t *shared_or_null(json_t *value) {
    return value == NULL ? json_null() : json_incref(value);
}

static json_t *payment_part(const order_t *order) {
    if (order->total_minor == 0) return json_null();
    return json_pack("{s:s, s:o, s:o}", "provider", order->provider, "id", text_or_null(order->payment), "last_error",
                     text_or_null(order->last_error));
}

json_t *payment_order_json(const order_t *order, bool admin) {
    char id[CART_ID_CHARS + 1], user[CART_ID_CHARS + 1];
    cart_id_format(PAYMENT_PREFIX_ORDER, &order->id, id);
    cart_id_format(BC_PREFIX_USER, &order->user, user);
    json_t *shown = json_pack(
        "{s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:O, s:o, s:s, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:[], s:[]}",
        "id", id, "number", order->number, "state", order_state_word(order->state), "fulfilment",
        order_fulfilment_word(order->fulfilment), "test", order->test, "created_at", time_json(order->created_ms),
        "expires_at", time_json(order->state == ORDER_AWAITING ? order->expires_ms : 0), "email",
        text_or_null(order->email), "lines", order->lines, "subtotal",
        money_json(order->subtotal_minor, order->currency), "shipping_method", order->shipping_method, "shipping",
        money_json(order->shipping_minor, order->currency), "tax",
        payment_tax_json(order->tax_rate_bp, order->total_minor - order->tax_minor, order->tax_minor, order->currency),
        "tax_included", order->tax_included, "total", money_json(order->total_minor, order->currency), "refunded",
        money_json(order->refunded_minor, order->currency), "shipping_address", shared_or_null(order->shipping),
        "billing_address", shared_or_null(order->billing), "payment", payment_part(order), "shipments", "refunds");
    if (shown != NULL && admin && json_object_set_new(shown, "user", json_string(user)) != 0) {
        json_decref(shown);
        shown = NULL;
    }
    return shown;
}

/* Hands every item ("order": whose it is) to its order's list `name`. */
static bool deal(json_t *orders, json_t *items, const char *name) {
    size_t i, k;
    json_t *item, *order;
    json_array_foreach(items, i, item) {
        json_t *whose = json_incref(json_object_get(item, "order"));
        (void)json_object_del(item, "order"); /* it is there */
        bool good = whose != NULL;
        json_array_foreach(orders, k, order) {
            if (good && json_equal(json_object_get(order, "id"), whose) == 1)
                good = json_array_append(json_object_get(order, name), item) == 0;
        }
        json_decref(whose);
        if (!good) return false;
    }
    return true;
}

bool payment_orders_fill(bc_db_t *db, json_t *orders) {
    json_t *ids = json_array(), *shipments = json_array(), *refunds = json_array(), *order;
    char *text = NULL;
    bool good = ids != NULL && shipments != NULL && refunds != NULL;
    size_t i;
    json_array_foreach(orders, i, order) {
        if (good) good = json_array_append_new(ids, json_pack("{s:O}", "order", json_object_get(order, "id"))) == 0;
    }
    if (good) text = json_dumps(ids, JSON_COMPACT);
    good = text != NULL && order_shipments(db, text, shipments) && order_refunds(db, text, refunds) &&
           deal(orders, shipments, "shipments") && deal(orders, refunds, "refunds");
    free(text);
    json_decref(ids);
    json_decref(shipments);
    json_decref(refunds);
    return good;
}

json_t *payment_order_now(bc_db_t *db, const cart_id_t *id, bool admin) {
    order_t order = {.state = ORDER_AWAITING};
    if (order_find(db, id, &order) != ORDER_FOUND) return NULL;
    json_t *shown = payment_order_json(&order, admin);
    order_drop(&order);
    json_t *list = json_pack("[O]", shown);
    bool good = list != NULL && payment_orders_fill(db, list);
    json_decref(list);
    if (good) return shown;
    json_decref(shown);
    return NULL;
}
