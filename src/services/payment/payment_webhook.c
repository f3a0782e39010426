/*
 * POST /payment/webhook: believed for its signature alone, stored before the 200, applied by the keeper. An event is a hint that a payment
 * changed; what it says of it is not used, so none of it is kept beside id, type and the payment's id.
 */
#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_time.h"
#include "services/payment/payment_service.h"
#include "services/payment/payment_store_refunds.h"

static bool store(payment_t *payment, const provider_event_t *event) {
    bool fresh = false;
    if (bc_fault("payment.webhook") || bc_db_begin(payment->db) != BC_DB_OK) return false;
    if (!webhook_put(payment->db, event, bc_time_ms(), &fresh)) {
        bc_db_rollback(payment->db);
        return false;
    }
    if (bc_db_commit(payment->db) != BC_DB_OK) return false;
    if (fresh && event->payment[0] != '\0') bc_task_wake(payment->keeper);
    return true;
}

void payment_webhook(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    const payment_provider_ops_t *ops = payment->provider->ops;
    provider_event_t event;
    const char *bytes = NULL, *media = NULL;
    size_t length = 0;
    if (!bc_request_raw(request, &bytes, &length, &media)) {
        bc_reply_problem(reply, "internal-error", NULL);
        return;
    }
    switch (ops->verify(payment->provider, bc_request_header(request, ops->signature_header), bytes, length,
                        bc_time_s(), &event)) {
    case PROVIDER_EVENT_FORGED:
        bc_log(BC_LOG_WARN, "webhook-forged", bc_f_text("client", bc_request_client(request)));
        bc_reply_problem(reply, "bad-signature", NULL);
        return;
    case PROVIDER_EVENT_MALFORMED:
        bc_reply_problem(reply, "malformed-request", "the body is no event");
        return;
    case PROVIDER_EVENT_OK:
        break;
    }
    if (!store(payment, &event)) {
        payment_answer_unavailable(reply);
        return;
    }
    (void)bc_fault("payment.webhook-stored"); /* only to be killed at */
    bc_reply_json(reply, 200, json_pack("{s:b}", "received", 1));
}
