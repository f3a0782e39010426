#include "services/payment/payment_settle.h"

#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_time.h"
#include "services/payment/payment_apply.h"
#include "services/payment/payment_store_stock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LOOKED_AT_MAX 256 /* refunds of one payment; more is a person's work */

/* How a payment stands at the provider. */
typedef struct {
    provider_payment_t paid;
    provider_refund_t *refunds; /* owned */
    size_t refund_count;
    bool too_many;
    bool lost;        /* its order may have been lost: a restored store */
    int64_t asked_ms; /* before it was asked: what came in since may be newer */
} standing_t;

static bool keep_refund(void *context, const provider_refund_t *refund) {
    standing_t *standing = context;
    if (standing->refund_count == LOOKED_AT_MAX) {
        standing->too_many = true;
        return false;
    }
    standing->refunds[standing->refund_count++] = *refund;
    return true;
}

static settle_result_t result_of(provider_result_t result) {
    if (result == PROVIDER_OK) return SETTLE_OK;
    return result == PROVIDER_AWAY ? SETTLE_AWAY : SETTLE_REFUSED;
}

/* Refunds are asked for only when there can be some. */
static settle_result_t ask_refunds(payment_t *payment, const provider_limit_t *limit, standing_t *standing) {
    if (standing->paid.state != PROVIDER_SUCCEEDED) return SETTLE_OK;
    standing->refunds = calloc(LOOKED_AT_MAX, sizeof(*standing->refunds));
    if (standing->refunds == NULL) return SETTLE_AWAY;
    provider_result_t result =
        payment_provider_refunds_of(payment->provider, standing->paid.id, limit, keep_refund, standing);
    if (standing->too_many) bc_log(BC_LOG_ERROR, "too-many-refunds", bc_f_text("payment", standing->paid.id));
    return result_of(result);
}

/* The order that the payment is for: known by its id, or named by its metadata and still without one (our note of it was lost). */
static order_found_t find_order(bc_db_t *db, const provider_payment_t *paid, order_t *order) {
    cart_id_t id;
    order_found_t found = order_find_payment(db, paid->id, order);
    if (found != ORDER_ABSENT || !cart_id_parse(PAYMENT_PREFIX_ORDER, paid->order, strlen(paid->order), &id))
        return found;
    found = order_find(db, &id, order);
    if (found != ORDER_FOUND) return found;
    if (order->payment[0] == '\0' && order->total_minor == paid->amount_minor &&
        strcmp(order->currency, paid->currency) == 0)
        return order_set_payment(db, &id, paid->id, paid->client_secret) ? ORDER_FOUND : ORDER_FAILED;
    order_drop(order);
    return ORDER_ABSENT;
}

static bool apply_payment(bc_db_t *db, order_t *order, const provider_payment_t *paid, int64_t now_ms) {
    bool open = order->state == ORDER_AWAITING;
    if (paid->state == PROVIDER_SUCCEEDED && order->state != ORDER_PAID) {
        if (paid->received_minor != order->total_minor || strcmp(paid->currency, order->currency) != 0) {
            bc_log(BC_LOG_ERROR, "payment-is-another", bc_f_text("payment", paid->id));
            return true; /* a person must look; nothing is sold for it */
        }
        return open ? apply_paid(db, order, false, paid->received_minor, now_ms) : apply_late(db, order, paid, now_ms);
    }
    if (paid->state == PROVIDER_CANCELED && open) {
        bool over = !order->ending && now_ms >= order->expires_ms;
        return apply_ended(db, order, over ? ORDER_EXPIRED : ORDER_CANCELLED, now_ms);
    }
    if (open && paid->last_error[0] != '\0' && strcmp(paid->last_error, order->last_error) != 0)
        return order_set_error(db, &order->id, paid->last_error);
    return true;
}

/* Money without an order of its own goes back when it is ours beyond doubt: it names an order that we have (which has another payment),
 * or the store was restored and lost the order. Anything else on the provider's account is another's. */
static bool settle_stray(bc_db_t *db, const standing_t *standing, int64_t now_ms) {
    cart_id_t id;
    order_t order;
    const char *named = standing->paid.order;
    if (!cart_id_parse(PAYMENT_PREFIX_ORDER, named, strlen(named), &id)) return true;
    order_found_t found = order_find(db, &id, &order);
    if (found == ORDER_FAILED) return false;
    if (found == ORDER_FOUND) order_drop(&order);
    if (found == ORDER_FOUND || standing->lost) return apply_stray(db, &standing->paid, now_ms);
    bc_log(BC_LOG_WARN, "payment-of-no-order", bc_f_text("payment", standing->paid.id));
    return true;
}

/* One transaction: order, refunds, and the webhooks that asked for it. */
static bool write_standing(payment_t *payment, const standing_t *standing) {
    order_t order = {.state = ORDER_AWAITING};
    int64_t now_ms = bc_time_ms();
    if (bc_fault("payment.settle") || bc_db_begin(payment->db) != BC_DB_OK) return false;
    order_found_t found = find_order(payment->db, &standing->paid, &order);
    bool known = found == ORDER_FOUND, good = found != ORDER_FAILED;
    if (good && known) good = apply_payment(payment->db, &order, &standing->paid, now_ms);
    for (size_t i = 0; i < standing->refund_count && good; i++)
        good = apply_refund(payment->db, known ? &order : NULL, &standing->refunds[i], now_ms);
    if (good && !known && standing->paid.state == PROVIDER_SUCCEEDED)
        good = settle_stray(payment->db, standing, now_ms);
    if (good) good = webhook_done(payment->db, standing->paid.id, standing->asked_ms);
    order_drop(&order);
    if (!good) {
        bc_db_rollback(payment->db);
        return false;
    }
    if (bc_db_commit(payment->db) != BC_DB_OK) return false;
    payment_wake(payment);
    (void)bc_fault("payment.settled"); /* only to be killed at */
    return true;
}

/* `paid` was just heard from the provider. */
static settle_result_t settle_with(payment_t *payment, const provider_payment_t *paid, int64_t asked_ms, bool lost,
                                   const provider_limit_t *limit) {
    standing_t standing = {.paid = *paid, .asked_ms = asked_ms, .lost = lost};
    settle_result_t result = ask_refunds(payment, limit, &standing);
    if (result == SETTLE_OK && !write_standing(payment, &standing)) result = SETTLE_AWAY;
    free(standing.refunds);
    return result;
}

settle_result_t payment_settle(payment_t *payment, const char *id, const provider_limit_t *limit) {
    provider_payment_t paid;
    int64_t asked_ms = bc_time_ms();
    settle_result_t result = result_of(payment_provider_retrieve(payment->provider, id, limit, &paid));
    return result == SETTLE_OK ? settle_with(payment, &paid, asked_ms, false, limit) : result;
}

settle_result_t payment_settle_lost(payment_t *payment, const char *id, const provider_limit_t *limit) {
    provider_payment_t paid;
    int64_t asked_ms = bc_time_ms();
    provider_result_t result = payment_provider_cancel(payment->provider, id, limit, &paid);
    if (result == PROVIDER_STATE) result = payment_provider_retrieve(payment->provider, id, limit, &paid);
    if (result != PROVIDER_OK) return result_of(result);
    return settle_with(payment, &paid, asked_ms, true, limit);
}

/* false: the database failed, or there is no such order (*order is to be dropped only when true). */
static bool read_order(payment_t *payment, const cart_id_t *id, order_t *order) {
    bc_db_enter(payment->db);
    order_found_t found = order_find(payment->db, id, order);
    bc_db_leave(payment->db);
    return found == ORDER_FOUND;
}

/* --- making a payment --- */

static bool write_payment(payment_t *payment, const cart_id_t *id, const provider_payment_t *made) {
    if (bc_db_begin(payment->db) != BC_DB_OK) return false;
    bool good = order_set_payment(payment->db, id, made->id, made->client_secret);
    if (!good) {
        bc_db_rollback(payment->db);
        return false;
    }
    return bc_db_commit(payment->db) == BC_DB_OK;
}

/* Asks for the order's payment and notes it. */
static settle_result_t create(payment_t *payment, const order_t *order, const provider_limit_t *limit,
                              provider_payment_t *made) {
    char key[CART_ID_CHARS + 1];
    cart_id_format(PAYMENT_PREFIX_ORDER, &order->id, key);
    const provider_create_t asked = {.key = key,
                                     .number = order->number,
                                     .amount_minor = order->total_minor,
                                     .currency = order->currency,
                                     .since_ms = order->created_ms};
    assert(order->total_minor > 0);
    provider_result_t result = payment_provider_create(payment->provider, &asked, limit, made);
    if (result != PROVIDER_OK) return result_of(result);
    return write_payment(payment, &order->id, made) ? SETTLE_OK : SETTLE_AWAY;
}

settle_result_t payment_settle_create(payment_t *payment, const cart_id_t *id, const provider_limit_t *limit) {
    order_t order;
    provider_payment_t made;
    if (!read_order(payment, id, &order)) return SETTLE_AWAY;
    settle_result_t result = SETTLE_OK;
    if (order.state == ORDER_AWAITING && order.payment[0] == '\0') result = create(payment, &order, limit, &made);
    order_drop(&order);
    return result;
}

/* --- ending --- */

static bool write_ending(payment_t *payment, const cart_id_t *id, bool ending) {
    if (bc_db_begin(payment->db) != BC_DB_OK) return false;
    int64_t check_ms = bc_time_ms() + bc_config_number(payment->config, BC_PAYMENT_RECONCILE);
    (void)order_set_ending(payment->db, id, ending, check_ms); /* was so, or is over: both are fine */
    return bc_db_commit(payment->db) == BC_DB_OK;
}

/* The provider knows no payment of this order and never will: nothing can come for it. */
static bool write_ended(payment_t *payment, const cart_id_t *id, order_state_t as) {
    order_t order = {.state = ORDER_AWAITING};
    if (bc_db_begin(payment->db) != BC_DB_OK) return false;
    order_found_t found = order_find(payment->db, id, &order);
    bool good = found == ORDER_FOUND;
    if (good && order.state == ORDER_AWAITING) good = apply_ended(payment->db, &order, as, bc_time_ms());
    order_drop(&order);
    if (!good) {
        bc_db_rollback(payment->db);
        return false;
    }
    good = bc_db_commit(payment->db) == BC_DB_OK;
    if (good) payment_wake(payment);
    return good;
}

typedef struct {
    const char *order;
    bool found;
} look_t;

static bool look_for_order(void *context, const provider_payment_t *payment) {
    look_t *look = context;
    look->found = strcmp(payment->order, look->order) == 0;
    return !look->found;
}

/* The provider refuses to make the payment, which does not say that there is none. */
static end_result_t end_without_payment(payment_t *payment, const order_t *order, order_state_t as,
                                        const provider_limit_t *limit) {
    enum { clocks_apart_ms = 3600 * 1000 };
    char id[CART_ID_CHARS + 1];
    cart_id_format(PAYMENT_PREFIX_ORDER, &order->id, id);
    look_t look = {.order = id};
    provider_result_t result = payment_provider_payments_since(payment->provider, order->created_ms - clocks_apart_ms,
                                                               limit, look_for_order, &look);
    if (result != PROVIDER_OK || look.found) return END_AWAY;
    return write_ended(payment, &order->id, as) ? END_DONE : END_AWAY;
}

static end_result_t end_payment(payment_t *payment, const order_t *order, const char *id, order_state_t as,
                                const provider_limit_t *limit) {
    provider_payment_t paid;
    int64_t asked_ms = bc_time_ms();
    provider_result_t result = payment_provider_cancel(payment->provider, id, limit, &paid);
    if (result == PROVIDER_AWAY) return END_AWAY;
    if (result == PROVIDER_MISSING) return write_ended(payment, &order->id, as) ? END_DONE : END_AWAY;
    if (result != PROVIDER_OK) {
        result = payment_provider_retrieve(payment->provider, id, limit, &paid);
        if (result != PROVIDER_OK) return END_AWAY;
    }
    if (paid.state != PROVIDER_SUCCEEDED && paid.state != PROVIDER_CANCELED) {
        /* On its way: the wish to cancel is forgotten, and the outcome is waited for. */
        return write_ending(payment, &order->id, false) ? END_IN_PROGRESS : END_AWAY;
    }
    return settle_with(payment, &paid, asked_ms, false, limit) == SETTLE_OK ? END_DONE : END_AWAY;
}

end_result_t payment_settle_end(payment_t *payment, const cart_id_t *id, order_state_t as,
                                const provider_limit_t *limit) {
    order_t order;
    provider_payment_t made;
    if (as == ORDER_CANCELLED && !write_ending(payment, id, true)) return END_AWAY;
    (void)bc_fault("payment.ending"); /* only to be killed at */
    if (!read_order(payment, id, &order)) return END_AWAY;
    end_result_t result = END_DONE;
    if (order.state == ORDER_AWAITING) {
        settle_result_t known = SETTLE_OK;
        (void)memcpy(made.id, order.payment, sizeof(made.id));
        /* Made first if it may have been made: one that we do not know of could still be paid. */
        if (order.payment[0] == '\0') known = create(payment, &order, limit, &made);
        result = known == SETTLE_OK     ? end_payment(payment, &order, made.id, as, limit)
                 : known == SETTLE_AWAY ? END_AWAY
                                        : end_without_payment(payment, &order, as, limit);
    }
    order_drop(&order);
    return result;
}

/* --- refunds --- */

static bool read_refund(payment_t *payment, const cart_id_t *id, refund_t *refund) {
    bc_db_enter(payment->db);
    refund_result_t found = refund_find(payment->db, id, refund);
    bc_db_leave(payment->db);
    return found == REFUND_OK;
}

/* The order of a refund, if it has one. false: the database failed. */
static bool order_of(bc_db_t *db, const refund_t *refund, order_t *order, bool *known) {
    cart_id_t id;
    *known = false;
    if (!cart_id_parse(PAYMENT_PREFIX_ORDER, refund->order, strlen(refund->order), &id)) return true;
    *known = order_find(db, &id, order) == ORDER_FOUND;
    return *known;
}

/* What the provider said about a refund of ours; NULL: that it will not make it. */
static bool write_refund(payment_t *payment, const cart_id_t *id, const provider_refund_t *made) {
    order_t order = {.state = ORDER_AWAITING};
    refund_t refund;
    bool known = false;
    if (bc_db_begin(payment->db) != BC_DB_OK) return false;
    bool good = refund_find(payment->db, id, &refund) == REFUND_OK && order_of(payment->db, &refund, &order, &known);
    if (good && made != NULL) good = apply_refund(payment->db, known ? &order : NULL, made, bc_time_ms());
    if (good && made == NULL && refund.provider_id[0] == '\0' && refund.state == PROVIDER_REFUND_PENDING)
        good = apply_refund_refused(payment->db, &refund, known ? &order : NULL);
    order_drop(&order);
    if (!good) {
        bc_db_rollback(payment->db);
        return false;
    }
    good = bc_db_commit(payment->db) == BC_DB_OK;
    if (good) payment_wake(payment);
    return good;
}

settle_result_t payment_settle_refund(payment_t *payment, const cart_id_t *id, const provider_limit_t *limit) {
    refund_t refund;
    provider_refund_t made;
    char key[CART_ID_CHARS + 1];
    if (!read_refund(payment, id, &refund)) return SETTLE_AWAY;
    if (refund.state != PROVIDER_REFUND_PENDING || refund.provider_id[0] != '\0') return SETTLE_OK;
    cart_id_format(PAYMENT_PREFIX_REFUND, id, key);
    const provider_refund_request_t asked = {.key = key,
                                             .payment = refund.payment,
                                             .amount_minor = refund.amount_minor,
                                             .currency = refund.currency,
                                             .since_ms = refund.created_ms};
    provider_result_t result = payment_provider_refund(payment->provider, &asked, limit, &made);
    (void)bc_fault("payment.refund-told"); /* only to be killed at */
    if (result == PROVIDER_AWAY) return SETTLE_AWAY;
    if (result == PROVIDER_OK) return write_refund(payment, id, &made) ? SETTLE_OK : SETTLE_AWAY;
    /* Refused, which does not say that an earlier try was not heard: its list tells. */
    settle_result_t listed = payment_settle(payment, refund.payment, limit);
    if (listed == SETTLE_AWAY) return SETTLE_AWAY;
    /* A list that cannot be believed tells nothing: it stays in doubt, for a person to see. */
    if (listed == SETTLE_REFUSED && result == PROVIDER_REFUSED) return SETTLE_REFUSED;
    if (!write_refund(payment, id, NULL)) return SETTLE_AWAY;
    bc_log(BC_LOG_WARN, "refund-refused", bc_f_text("refund", key));
    return payment_settle(payment, refund.payment, limit); /* what was set aside may be what was refunded there */
}

/* --- nothing to pay --- */

bool payment_settle_free(payment_t *payment, order_t *order, int64_t now_ms) {
    assert(order->total_minor == 0);
    return apply_paid(payment->db, order, false, 0, now_ms);
}
