/*
 * The sandbox's webhooks: events as Stripe writes them, stored in the transaction of the change they tell, signed as Stripe signs,
 * delivered over HTTP by the sandbox's task until they are answered with 2xx, with growing pauses (RETRY_FIRST_MS doubling to
 * RETRY_MAX_MS, RETRIES_MAX times). Signed anew at each try, as Stripe does. The task also settles what takes its time.
 *
 * BOOKCART_SANDBOX_WEBHOOKS and BOOKCART_SANDBOX_WEBHOOK_DELAY make them late, doubled, reversed or lost. Fault point
 * "sandbox.deliver": fail = the request does not arrive; "sandbox.delivered": kill = it arrived, and that was not noted.
 */
#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_time.h"
#include "services/payment/payment_sandbox_state.h"
#include "services/payment/payment_stripe_call.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_FIRST_MS  100
#define RETRY_MAX_MS    30000
#define RETRIES_MAX     40
#define DELIVERY_MS     10000       /* one request */
#define REPLY_MAX       (64 * 1024) /* bytes of its answer, which nobody reads */
#define TIDY_MS         (3600 * 1000)
#define AFTER_FAILED_MS 1000 /* the database */

/* --- objects --- */

static void lower_currency(const char currency[4], char lower[4]) {
    for (int i = 0; i < 4; i++)
        lower[i] = (char)(currency[i] >= 'A' && currency[i] <= 'Z' ? currency[i] - 'A' + 'a' : currency[i]);
}

/* Stripe's last_payment_error; null without one. The caller owns it. */
static json_t *error_object(const sandbox_payment_t *payment) {
    if (payment->code[0] == '\0') return json_null();
    return json_pack("{s:s, s:s, s:s*}", "type", "card_error", "code", payment->code, "decline_code",
                     payment->decline[0] == '\0' ? NULL : payment->decline);
}

static json_t *payment_object(const sandbox_payment_t *payment) {
    const provider_payment_t *shown = &payment->shown;
    char currency[4];
    lower_currency(shown->currency, currency);
    return json_pack("{s:s, s:s, s:I, s:I, s:s, s:I, s:s, s:b, s:s, s:s, s:s?, s:o, s:{s:s, s:s}}", "id", shown->id,
                     "object", "payment_intent", "amount", (json_int_t)shown->amount_minor, "amount_received",
                     (json_int_t)shown->received_minor, "currency", currency, "created",
                     (json_int_t)(shown->created_ms / 1000), "client_secret", shown->client_secret, "livemode", 0,
                     "status", sandbox_state_word(shown->state), "description", payment->number, "payment_method",
                     payment->method[0] == '\0' ? NULL : payment->method, "last_payment_error", error_object(payment),
                     "metadata", "order", shown->order, "number", payment->number);
}

/* A payment has one charge here; its id is the payment's with another prefix. */
static json_t *charge_object(const sandbox_payment_t *payment) {
    const provider_payment_t *shown = &payment->shown;
    char id[PROVIDER_ID_MAX + 1], currency[4];
    bool paid = shown->state == PROVIDER_SUCCEEDED;
    lower_currency(shown->currency, currency);
    (void)snprintf(id, sizeof(id), "ch_%s", shown->id + 3); /* behind "pi_" */
    return json_pack("{s:s, s:s, s:I, s:I, s:b, s:s, s:I, s:b, s:b, s:b, s:s, s:s, s:s?}", "id", id, "object", "charge",
                     "amount", (json_int_t)shown->amount_minor, "amount_refunded", (json_int_t)payment->refunded_minor,
                     "captured", paid, "currency", currency, "created", (json_int_t)(shown->created_ms / 1000),
                     "livemode", 0, "paid", paid, "refunded", payment->refunded_minor == shown->amount_minor, "status",
                     paid ? "succeeded" : "failed", "payment_intent", shown->id, "failure_code",
                     payment->code[0] == '\0' ? NULL : payment->code);
}

static json_t *refund_object(const sandbox_refund_t *refund) {
    const provider_refund_t *shown = &refund->shown;
    char charge[PROVIDER_ID_MAX + 1], currency[4];
    lower_currency(shown->currency, currency);
    (void)snprintf(charge, sizeof(charge), "ch_%s", shown->payment + 3); /* behind "pi_" */
    json_t *metadata = shown->refund[0] == '\0' ? json_object() : json_pack("{s:s}", "refund", shown->refund);
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:s, s:s, s:s, s:o}", "id", shown->id, "object", "refund", "amount",
                     (json_int_t)shown->amount_minor, "currency", currency, "created",
                     (json_int_t)(shown->created_ms / 1000), "status", sandbox_refund_word(shown->state),
                     "payment_intent", shown->payment, "charge", charge, "metadata", metadata);
}

/* --- events, inside the transaction of the change --- */

static void tell(sandbox_t *sandbox, json_t *object /* taken */, const char *type, int64_t now_ms) {
    char id[PROVIDER_ID_MAX + 1];
    sandbox_make_id("evt_", id, sizeof(id));
    json_t *event = json_pack("{s:s, s:s, s:s, s:I, s:b, s:i, s:{s:n, s:n}, s:s, s:{s:o}}", "id", id, "object", "event",
                              "api_version", STRIPE_VERSION, "created", (json_int_t)(now_ms / 1000), "livemode", 0,
                              "pending_webhooks", sandbox->copies, "request", "id", "idempotency_key", "type", type,
                              "data", "object", object);
    char *body = event == NULL ? NULL : json_dumps(event, JSON_INDENT(2)); /* Stripe's are indented too */
    if (body != NULL) {
        sandbox_put_event(sandbox->db, id, type, body, now_ms, now_ms + sandbox->delay_ms, sandbox->copies);
    } else {
        bc_log(BC_LOG_ERROR, "no-memory",
               bc_f_text("at", "sandbox webhook")); /* lost, as it can happen: the reconciler's */
    }
    free(body);
    json_decref(event);
}

void sandbox_tell_payment(sandbox_t *sandbox, const sandbox_payment_t *payment, const char *type, bool about_charge,
                          int64_t now_ms) {
    tell(sandbox, about_charge ? charge_object(payment) : payment_object(payment), type, now_ms);
}

void sandbox_tell_refund(sandbox_t *sandbox, const sandbox_refund_t *refund, const char *type, int64_t now_ms) {
    tell(sandbox, refund_object(refund), type, now_ms);
}

/* --- the task --- */

/* One thing that is due, in a transaction of its own. false: nothing was, or the database failed. */
static bool settle_one(sandbox_t *sandbox) {
    sandbox_payment_t payment;
    sandbox_refund_t refund;
    int64_t now_ms = bc_time_ms();
    if (bc_db_begin(sandbox->db) != BC_DB_OK) return false;
    if (sandbox_due_payment(sandbox->db, now_ms, &payment)) {
        sandbox_settle_payment(sandbox, &payment, now_ms);
    } else if (sandbox_due_refund(sandbox->db, now_ms, &refund)) {
        sandbox_settle_refund(sandbox, &refund, now_ms);
    } else {
        bc_db_rollback(sandbox->db);
        return false;
    }
    return bc_db_commit(sandbox->db) == BC_DB_OK;
}

static bool deliver(const sandbox_t *sandbox, const bc_task_t *task, const char *body) {
    char signature[WEBHOOK_SIGNED_BYTES], header[WEBHOOK_SIGNED_BYTES + 32];
    bc_fetch_reply_t reply = {.body = NULL};
    if (bc_fault("sandbox.deliver")) return false;
    webhook_sign(sandbox->secrets.secrets[0], body, strlen(body), bc_time_s(), signature);
    (void)snprintf(header, sizeof(header), "Stripe-Signature: %s", signature); /* fits */
    const char *const headers[] = {"Content-Type: application/json; charset=utf-8", "User-Agent: Stripe/1.0 (sandbox)",
                                   header, NULL};
    bc_fetch_request_t request = {
        .method = "POST",
        .url = sandbox->url,
        .unix_socket = sandbox->socket[0] == '\0' ? NULL : sandbox->socket,
        .headers = headers,
        .body = body,
        .length = strlen(body),
        .reply_max = REPLY_MAX,
        .timeout_ms = DELIVERY_MS,
        .stop = bc_task_stop_flag(task),
    };
    bool good =
        bc_fetch_call(sandbox->fetch, &request, &reply) == BC_FETCH_OK && reply.status >= 200 && reply.status <= 299;
    free(reply.body);
    return good;
}

/* When a delivery may go out at the earliest, given the newest event: reversed ones wait until no more came for the delay. */
static bool is_quiet(sandbox_t *sandbox, int64_t now_ms) {
    return !sandbox->reversed || sandbox_newest_event_ms(sandbox->db) + sandbox->delay_ms <= now_ms;
}

static void note_delivery(sandbox_t *sandbox, const sandbox_delivery_t *delivery, bool delivered) {
    int64_t pause = (int64_t)RETRY_FIRST_MS << (delivery->tries < 12 ? delivery->tries : 12);
    if (bc_db_begin(sandbox->db) != BC_DB_OK) return; /* delivered again: that happens with Stripe too */
    if (delivered) {
        sandbox_end_delivery(sandbox->db, delivery->position);
    } else if (delivery->tries >= RETRIES_MAX) {
        bc_log(BC_LOG_WARN, "sandbox-webhook-given-up", bc_f_int("tries", delivery->tries));
        sandbox_end_delivery(sandbox->db, delivery->position);
    } else {
        sandbox_put_off_delivery(sandbox->db, delivery->position,
                                 bc_time_ms() + (pause < RETRY_MAX_MS ? pause : RETRY_MAX_MS));
    }
    (void)bc_db_commit(sandbox->db); /* likewise */
}

/* false: none was due. */
static bool deliver_one(sandbox_t *sandbox, const bc_task_t *task) {
    sandbox_delivery_t delivery = {.body = NULL};
    int64_t now_ms = bc_time_ms();
    bc_db_enter(sandbox->db);
    bool due = is_quiet(sandbox, now_ms) && sandbox_due_delivery(sandbox->db, now_ms, sandbox->reversed, &delivery);
    bc_db_leave(sandbox->db);
    if (!due) return false;
    bool delivered = deliver(sandbox, task, delivery.body);
    free(delivery.body);
    (void)bc_fault("sandbox.delivered");                    /* only to be killed at: it will be delivered again */
    if (!delivered && bc_task_stopping(task)) return false; /* after the next start */
    note_delivery(sandbox, &delivery, delivered);
    return true;
}

static void tidy(sandbox_t *sandbox) {
    int64_t now_ms = bc_monotonic_ms();
    if (sandbox->tidied_ms != 0 && now_ms - sandbox->tidied_ms < TIDY_MS) return;
    sandbox->tidied_ms = now_ms;
    if (bc_db_begin(sandbox->db) != BC_DB_OK) return; /* the next hour */
    sandbox_tidy(sandbox->db, bc_time_ms());
    (void)bc_db_commit(sandbox->db); /* likewise */
}

int64_t sandbox_work(bc_task_t *task, void *context) {
    sandbox_t *sandbox = context;
    tidy(sandbox);
    while (!bc_task_stopping(task) && settle_one(sandbox)) continue;
    while (!bc_task_stopping(task) && deliver_one(sandbox, task)) continue;
    int64_t now_ms = bc_time_ms();
    bc_db_enter(sandbox->db);
    int64_t next_ms = sandbox_next_ms(sandbox->db);
    if (next_ms > 0 && sandbox->reversed) {
        int64_t quiet_ms = sandbox_newest_event_ms(sandbox->db) + sandbox->delay_ms;
        if (next_ms < quiet_ms) next_ms = quiet_ms;
    }
    bool sound = bc_db_is_sound(sandbox->db);
    bc_db_leave(sandbox->db);
    if (!sound) return AFTER_FAILED_MS;
    if (next_ms == 0 || next_ms - now_ms > TIDY_MS) return TIDY_MS;
    return next_ms > now_ms ? next_ms - now_ms : AFTER_FAILED_MS; /* due already: something failed just now */
}
