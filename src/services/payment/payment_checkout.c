/*
 * POST /checkout: an order of exactly this cart at exactly this price.
 *
 *   1. read: the body; what else the caller has open; cart and prices from their services
 *   2. transaction: stock reserved under a guard, order, lines, order.placed       ── fault point payment.reserved
 *   3. the provider makes the payment under the order's id                         ── provider.create, provider.create-told
 *   4. transaction: the payment's id and secret, the answer under its key          ── fault point payment.checked-out
 *
 * Died between 2 and 4: the same request finds the open order by its digest and goes on at 3; nobody comes: the keeper does.
 * The provider is away: 503; the order stays, and its stock is held, until the same request comes again or it expires.
 * Statements: 16, the sandbox's own among them, whatever the number of lines.
 */
#include "platform/bc_client.h"
#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"
#include "services/payment/payment_json.h"
#include "services/payment/payment_place.h"
#include "services/payment/payment_settle.h"
#include "services/payment/payment_store_stock.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    payment_t *payment;
    bc_request_t *request;
    bc_reply_t *reply;
    bc_once_t *once;
    const bc_claims_t *caller;
    int64_t expected_minor;
    bool replace;
    order_t order; /* what is to be ordered; owns its JSON */
    basket_t basket;
    basket_price_t price;
} checkout_t;

/* --- 1: reading --- */

/* A customer's own address, when the request names none. false: a problem was set. */
static bool ask_email(checkout_t *checkout) {
    char path[64], id[CART_ID_CHARS + 1];
    json_t *answer = NULL;
    int status = 0;
    cart_id_format(BC_PREFIX_USER, &checkout->caller->user, id);
    (void)snprintf(path, sizeof(path), "/internal/users/%s", id); /* fits */
    bc_client_t *client =
        bc_client_create(bc_config_text(checkout->payment->config, BC_AUTH_INTERNAL), checkout->payment->service_key);
    bool answered = client != NULL && bc_client_call(client, "GET", path, NULL, PAYMENT_CALL_MS,
                                                     checkout->payment->stopping, &status, &answer);
    bc_client_destroy(client);
    const char *email = json_string_value(json_object_get(answer, "email"));
    bool good = answered && status == 200 && email != NULL && payment_email_good(email);
    if (good) (void)snprintf(checkout->order.email, sizeof(checkout->order.email), "%s", email); /* judged to fit */
    json_decref(answer);
    if (!good) payment_answer_unavailable(checkout->reply);
    return good;
}

static bool read_email(checkout_t *checkout) {
    const char *email = bc_request_string(checkout->request, "email");
    if (email == NULL && checkout->caller->kind == BC_KIND_CUSTOMER) return ask_email(checkout);
    if (email == NULL) {
        bc_reply_problem_field(checkout->reply, "malformed-request", "email", "required", "a guest names an address");
        return false;
    }
    if (!payment_email_good(email)) {
        bc_reply_problem_field(checkout->reply, "not-acceptable-value", "email", "invalid", "is no e-mail address");
        return false;
    }
    (void)snprintf(checkout->order.email, sizeof(checkout->order.email), "%s", email); /* judged to fit */
    return true;
}

static bool read_address(checkout_t *checkout, const char *field, json_t **address) {
    const json_t *given = json_object_get(bc_request_body(checkout->request), field);
    if (given == NULL || json_is_null(given)) return true;
    *address = payment_without_nulls(given);
    address_fault_t fault = payment_address_judge(*address);
    if (fault.field == NULL) return true;
    payment_reply_fault(checkout->reply, field, &fault);
    return false;
}

/* What makes two requests the same order: all that was asked for, and by whom it is is known. */
static bool digest(checkout_t *checkout) {
    json_t *asked = json_copy((json_t *)(uintptr_t)bc_request_body(checkout->request)); /* only read */
    (void)json_object_del(asked, "replace");                                            /* may be absent */
    char *text = asked == NULL ? NULL : json_dumps(asked, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(asked);
    if (text == NULL) return false;
    int result = crypto_generichash(checkout->order.digest, sizeof(checkout->order.digest), (const unsigned char *)text,
                                    strlen(text), NULL, 0);
    assert(result == 0); /* fails only for sizes out of range */
    (void)result;
    free(text);
    return true;
}

static bool read_request(checkout_t *checkout) {
    order_t *order = &checkout->order;
    const json_t *body = bc_request_body(checkout->request);
    const char *currency = bc_config_text(checkout->payment->config, BC_CURRENCY);
    if (!basket_read_version(checkout->request, checkout->reply, &order->cart_version)) return false;
    if (!money_read(json_object_get(body, "expected_total"), currency, &checkout->expected_minor)) {
        bc_reply_problem_field(checkout->reply, "not-acceptable-value", "expected_total", "invalid",
                               "{\"amount\": minor units, \"currency\": the shop's}");
        return false;
    }
    if (!read_address(checkout, "shipping_address", &order->shipping) ||
        !read_address(checkout, "billing_address", &order->billing) || !read_email(checkout))
        return false;
    checkout->replace = json_is_true(json_object_get(body, "replace"));
    order->user = checkout->caller->user;
    order->language = bc_request_language(checkout->request);
    (void)snprintf(order->currency, sizeof(order->currency), "%s", currency); /* three letters, judged at start */
    (void)snprintf(order->country, sizeof(order->country), "%s",
                   json_string_value(json_object_get(order->shipping, "country"))); /* two letters, judged */
    if (digest(checkout)) return true;
    bc_reply_problem(checkout->reply, "internal-error", NULL);
    return false;
}

/* --- 3 and 4: the payment, and the answer --- */

static json_t *payment_part(const order_t *order) {
    if (order->total_minor == 0) return json_null();
    return json_pack("{s:s, s:s, s:s?}", "provider", order->provider, "id", order->payment, "client_secret",
                     order->client_secret[0] == '\0' ? NULL : order->client_secret);
}

/* Answers with the order as it is, and keeps that under the key. */
static void answer(checkout_t *checkout, const cart_id_t *id, int status) {
    payment_t *payment = checkout->payment;
    order_t order = {.state = ORDER_AWAITING};
    char location[64] = "/api/v1/orders/";
    cart_id_format(PAYMENT_PREFIX_ORDER, id, location + strlen(location));
    json_t *body = NULL;
    if (bc_db_begin(payment->db) == BC_DB_OK) {
        if (order_find(payment->db, id, &order) == ORDER_FOUND)
            body = json_pack("{s:o, s:o}", "order", payment_order_json(&order, false), "payment", payment_part(&order));
        if (body == NULL) {
            bc_db_rollback(payment->db);
        } else {
            bc_once_keep(checkout->once, status, body, location);
            if (bc_db_commit(payment->db) != BC_DB_OK) {
                json_decref(body);
                body = NULL;
            }
        }
    }
    order_drop(&order);
    if (body == NULL) {
        payment_answer_unavailable(checkout->reply);
        return;
    }
    (void)bc_fault("payment.checked-out"); /* only to be killed at */
    bc_reply_header(checkout->reply, "Location", location);
    bc_reply_json(checkout->reply, status, body);
}

static void make_payment(checkout_t *checkout, const cart_id_t *id, int status) {
    provider_limit_t limit = payment_limit(checkout->payment);
    if (payment_settle_create(checkout->payment, id, &limit) == SETTLE_OK) {
        answer(checkout, id, status);
    } else {
        payment_answer_unavailable(checkout->reply);
    }
}

/* --- 2: the order --- */

static bool fill_order(checkout_t *checkout) {
    order_t *order = &checkout->order;
    const money_sum_t *sum = &checkout->price.sum;
    int64_t now_ms = bc_time_ms(), hold_ms = bc_config_number(checkout->payment->config, BC_ORDER_HOLD),
            check_ms = bc_config_number(checkout->payment->config, BC_PAYMENT_RECONCILE);
    order->id = bc_random_id();
    order->test = checkout->payment->provider->test;
    (void)snprintf(order->provider, sizeof(order->provider), "%s", checkout->payment->provider->ops->name); /* fits */
    (void)snprintf(order->shipping_method, sizeof(order->shipping_method), "%s",
                   checkout->price.methods[checkout->price.chosen].id); /* as long */
    order->subtotal_minor = sum->subtotal_minor;
    order->shipping_minor = sum->shipping_minor;
    order->tax_minor = sum->tax_minor;
    order->total_minor = sum->total_minor;
    order->tax_rate_bp = checkout->price.rate_bp;
    order->tax_included = checkout->price.included;
    order->created_ms = now_ms;
    order->expires_ms = now_ms + hold_ms;
    order->check_ms = now_ms + (check_ms < hold_ms ? check_ms : hold_ms);
    order->lines = basket_lines_json(&checkout->basket, &checkout->price);
    return order->lines != NULL;
}

static void reply_short(checkout_t *checkout, const char *lines) {
    bc_db_enter(checkout->payment->db);
    json_t *shortage = stock_shortage(checkout->payment->db, lines);
    bc_db_leave(checkout->payment->db);
    if (shortage == NULL) {
        payment_answer_unavailable(checkout->reply);
    } else {
        basket_reply_short(checkout->reply, shortage);
    }
    json_decref(shortage);
}

static void reply_price(checkout_t *checkout) {
    char detail[96];
    (void)snprintf(detail, sizeof(detail), "the total is %lld %s now", (long long)checkout->price.sum.total_minor,
                   checkout->price.currency); /* fits */
    bc_reply_problem_field(checkout->reply, "price-changed", "expected_total", "changed", detail);
}

static void place_order(checkout_t *checkout) {
    char *lines = NULL;
    if (!basket_fetch(checkout->payment, &checkout->caller->user, checkout->order.cart_version, &checkout->basket,
                      checkout->reply) ||
        !basket_price(checkout->payment, &checkout->basket, checkout->order.country,
                      bc_request_string(checkout->request, "shipping_method"), &checkout->price, checkout->reply))
        return;
    if (checkout->price.sum.total_minor != checkout->expected_minor) {
        reply_price(checkout);
        return;
    }
    lines = basket_lines_text(&checkout->basket);
    place_result_t placed = lines == NULL || !fill_order(checkout)
                                ? PLACE_FAILED
                                : payment_place(checkout->payment, &checkout->order, lines, checkout->basket.count);
    switch (placed) {
    case PLACED:
        payment_wake(checkout->payment);
        (void)bc_fault("payment.reserved"); /* only to be killed at */
        make_payment(checkout, &checkout->order.id, 201);
        break;
    case PLACE_SHORT:
        reply_short(checkout, lines);
        break;
    case PLACE_OPEN:
        bc_reply_problem(checkout->reply, "order-open", "another order was placed at the same moment");
        break;
    case PLACE_FAILED:
        payment_answer_unavailable(checkout->reply);
        break;
    }
    free(lines);
}

/* The open order makes way. false: it cannot, a problem was set. */
static bool end_open(checkout_t *checkout, const cart_id_t *id, order_state_t as) {
    provider_limit_t limit = payment_limit(checkout->payment);
    order_t order = {.state = ORDER_AWAITING};
    end_result_t ended = payment_settle_end(checkout->payment, id, as, &limit);
    if (ended == END_AWAY) {
        payment_answer_unavailable(checkout->reply);
        return false;
    }
    bc_db_enter(checkout->payment->db);
    order_found_t found = order_find(checkout->payment->db, id, &order);
    bc_db_leave(checkout->payment->db);
    bool gone = found == ORDER_FOUND && (order.state == ORDER_CANCELLED || order.state == ORDER_EXPIRED);
    order_drop(&order);
    if (!gone) bc_reply_problem(checkout->reply, "payment-in-progress", "the open order is being paid, or was");
    return gone;
}

static void decide(checkout_t *checkout) {
    order_t open = {.state = ORDER_AWAITING};
    bc_db_enter(checkout->payment->db);
    order_found_t found = order_find_open(checkout->payment->db, &checkout->caller->user, &open);
    bc_db_leave(checkout->payment->db);
    bool over = found == ORDER_FOUND && open.expires_ms <= bc_time_ms(); /* the keeper comes for it at this moment */
    bool same = found == ORDER_FOUND && memcmp(open.digest, checkout->order.digest, sizeof(open.digest)) == 0 &&
                !open.ending && !over;
    cart_id_t id = open.id;
    order_drop(&open);
    if (found == ORDER_FAILED) {
        payment_answer_unavailable(checkout->reply);
    } else if (same) {
        make_payment(checkout, &id, 200);
    } else if (found == ORDER_FOUND && !checkout->replace && !over) {
        bc_reply_problem(checkout->reply, "order-open", "another order of yours awaits its payment");
    } else if (found == ORDER_ABSENT || end_open(checkout, &id, over ? ORDER_EXPIRED : ORDER_CANCELLED)) {
        place_order(checkout);
    }
}

void payment_checkout(bc_request_t *request, bc_reply_t *reply, void *context) {
    bc_once_t once;
    payment_t *payment = context;
    bc_reply_cache(reply, "private, no-cache"); /* also a repeat's answer */
    if (!bc_once_begin(payment->db, request, reply, BC_ONCE_REQUIRED, &once)) return;
    checkout_t *checkout = calloc(1, sizeof(*checkout));
    if (checkout == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
    } else {
        *checkout = (checkout_t){.payment = payment,
                                 .request = request,
                                 .reply = reply,
                                 .once = &once,
                                 .caller = bc_request_caller(request)};
        if (read_request(checkout)) decide(checkout);
        basket_drop(&checkout->basket);
        order_drop(&checkout->order);
        free(checkout);
    }
    bc_once_end(&once, reply);
}
