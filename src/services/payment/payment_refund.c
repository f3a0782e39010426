/*
 * POST /admin/orders/{id}/refunds: money goes back.
 *
 *   1. transaction: the amount set aside under a guard (never more than was paid, pending refunds counted), the refund, what `restock`
 *      names back on the shelf                                                     ── fault point payment.refund-stored
 *   2. the provider is told under the refund's id                                  ── provider.refund, provider.refund-told
 *   3. transaction: its answer, the sums, event and mail                           ── fault point payment.refund-told before it
 *   4. transaction: the answer under its key
 *
 * Died between 1 and 4: the same request finds its refund by caller and key and goes on at 2. The provider is away: 201 with `pending`;
 * the keeper tells it. `restock` says what came back to the shelf, whether the money arrives or not (docs/decisions/0083).
 */
#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"
#include "services/payment/payment_copies.h"
#include "services/payment/payment_json.h"
#include "services/payment/payment_refund.h"
#include "services/payment/payment_settle.h"
#include "services/payment/payment_store_stock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_asked(const bc_request_t *request, bc_reply_t *reply, refund_ask_t *asked) {
    const json_t *body = bc_request_body(request), *amount = json_object_get(body, "amount"),
                 *restock = json_object_get(body, "restock");
    asked->actor = bc_request_caller(request)->user;
    asked->reason = bc_request_string(request, "reason");
    asked->all = amount == NULL;
    if (!payment_path_id(request, reply, PAYMENT_PREFIX_ORDER, &asked->order)) return false;
    cart_id_format(PAYMENT_PREFIX_ORDER, &asked->order, asked->order_text);
    if (!asked->all &&
        (!money_read(amount, bc_config_text(asked->payment->config, BC_CURRENCY), &asked->amount_minor) ||
         asked->amount_minor == 0)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "amount", "invalid",
                               "{\"amount\": minor units, \"currency\": the shop's}");
        return false;
    }
    if (!payment_text_good(asked->reason, REFUND_REASON_MAX)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "reason", "invalid", NULL);
        return false;
    }
    asked->restock_count = json_array_size(restock);
    return payment_copies_read(reply, "restock", restock, 0, &asked->restock);
}

static refund_ask_result_t put_refund(const refund_ask_t *asked, const order_t *order, refund_t *refund) {
    bc_db_t *db = asked->payment->db;
    char reference[CART_ID_CHARS + 1];
    const refund_request_t request = {
        .actor = &asked->actor, .once_key = asked->once_key, .digest = asked->digest, .restock = asked->restock};
    *refund = (refund_t){.id = bc_random_id(),
                         .origin = REFUND_BY_ADMIN,
                         .state = PROVIDER_REFUND_PENDING,
                         .amount_minor = asked->all ? order->paid_minor - order->refunding_minor : asked->amount_minor,
                         .created_ms = bc_time_ms()};
    refund->check_ms = refund->created_ms + bc_config_number(asked->payment->config, BC_PAYMENT_RECONCILE);
    if (refund->amount_minor <= 0) return ASK_TOO_MUCH;
    memcpy(refund->order, asked->order_text, sizeof(refund->order));
    memcpy(refund->payment, order->payment, sizeof(refund->payment));
    memcpy(refund->currency, order->currency, sizeof(refund->currency));
    (void)snprintf(refund->reason, sizeof(refund->reason), "%s", asked->reason); /* judged to fit */
    refund_result_t inserted = refund_insert(db, refund, &request);
    if (inserted != REFUND_OK) return inserted == REFUND_TOO_MUCH ? ASK_TOO_MUCH : ASK_FAILED;
    order_lines_result_t back = order_lines_restock(db, &asked->order, asked->restock, asked->restock_count);
    if (back != ORDER_LINES_OK) return back == ORDER_LINES_REFUSED ? ASK_LINES : ASK_FAILED;
    cart_id_format(PAYMENT_PREFIX_REFUND, &refund->id, reference);
    if (asked->restock_count > 0 && !stock_return(db, asked->restock, reference, refund->created_ms)) return ASK_FAILED;
    return ASK_OK;
}

/* Inside the transaction. A refund that an earlier try of this very request made is that refund. */
static refund_ask_result_t find_or_put(const refund_ask_t *asked, refund_t *refund) {
    bc_db_t *db = asked->payment->db;
    uint8_t digest[REFUND_DIGEST];
    order_t order = {.state = ORDER_AWAITING};
    refund_result_t earlier =
        refund_find_request(db, asked->order_text, &asked->actor, asked->once_key, refund, digest);
    if (earlier == REFUND_FAILED) return ASK_FAILED;
    if (earlier == REFUND_OK) return memcmp(digest, asked->digest, sizeof(digest)) == 0 ? ASK_OK : ASK_REUSED;
    order_found_t found = order_find(db, &asked->order, &order);
    refund_ask_result_t result = found == ORDER_ABSENT ? ASK_ABSENT : ASK_FAILED;
    /* Money that came for an order that was over may be given back too, when our own refund of it failed; of copies there are none. */
    if (found == ORDER_FOUND)
        result = order.paid_minor == 0                                   ? ASK_STATE
                 : order.state != ORDER_PAID && asked->restock_count > 0 ? ASK_LINES
                                                                         : put_refund(asked, &order, refund);
    order_drop(&order);
    return result;
}

static void refuse(bc_reply_t *reply, refund_ask_result_t result) {
    if (result == ASK_ABSENT) bc_reply_not_found(reply);
    if (result == ASK_STATE) bc_reply_problem(reply, "conflict", "the order was not paid");
    if (result == ASK_TOO_MUCH)
        bc_reply_problem(reply, "conflict",
                         "more than was paid and is not on its way back already, or too many refunds");
    if (result == ASK_LINES)
        bc_reply_problem_field(reply, "not-acceptable-value", "restock", "too-many",
                               "a line that the order has not, or more than is left of it");
    if (result == ASK_REUSED) bc_reply_problem(reply, "idempotency-key-reused", NULL);
    if (result == ASK_FAILED) payment_answer_unavailable(reply);
}

/* Step 4. */
static void answer(payment_t *payment, bc_once_t *once, bc_reply_t *reply, const cart_id_t *id) {
    refund_t refund;
    json_t *shown = NULL;
    if (bc_db_begin(payment->db) == BC_DB_OK) {
        if (refund_find(payment->db, id, &refund) == REFUND_OK) shown = refund_json(&refund);
        if (shown != NULL) bc_once_keep(once, 201, shown, NULL);
        if (shown == NULL) {
            bc_db_rollback(payment->db);
        } else if (bc_db_commit(payment->db) != BC_DB_OK) {
            json_decref(shown);
            shown = NULL;
        }
    }
    if (shown == NULL) {
        payment_answer_unavailable(reply); /* the refund stands; the same request finds it */
    } else {
        bc_reply_json(reply, 201, shown);
    }
}

refund_ask_result_t payment_refund_ask(const refund_ask_t *asked, refund_t *refund) {
    if (bc_db_begin(asked->payment->db) != BC_DB_OK) return ASK_FAILED;
    refund_ask_result_t result = find_or_put(asked, refund);
    if (result != ASK_OK) {
        bc_db_rollback(asked->payment->db);
        return result;
    }
    if (bc_db_commit(asked->payment->db) != BC_DB_OK) return ASK_FAILED;
    payment_wake(asked->payment);
    return ASK_OK;
}

static void refund_order(const refund_ask_t *asked, bc_once_t *once, bc_reply_t *reply) {
    refund_t refund;
    provider_limit_t limit = payment_limit(asked->payment);
    refund_ask_result_t result = payment_refund_ask(asked, &refund);
    if (result != ASK_OK) {
        refuse(reply, result);
        return;
    }
    (void)bc_fault("payment.refund-stored"); /* only to be killed at */
    /* Away: it stays pending, and the keeper goes on. */
    (void)payment_settle_refund(asked->payment, &refund.id, &limit);
    answer(asked->payment, once, reply, &refund.id);
}

void payment_admin_refund(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    bc_once_t once;
    if (!bc_once_begin(payment->db, request, reply, BC_ONCE_REQUIRED, &once)) return;
    refund_ask_t asked = {.payment = payment, .once_key = once.key, .digest = once.digest};
    if (read_asked(request, reply, &asked)) refund_order(&asked, &once, reply);
    free(asked.restock);
    bc_once_end(&once, reply);
}
