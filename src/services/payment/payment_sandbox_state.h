/* What the sandbox's files share; nobody else includes it. */
#ifndef PAYMENT_SANDBOX_STATE_H
#define PAYMENT_SANDBOX_STATE_H

#include "platform/bc_fetch.h"
#include "platform/bc_task.h"
#include "services/payment/payment_sandbox.h"
#include "services/payment/payment_sandbox_store.h"
#include "services/payment/payment_webhook_signature.h"

typedef struct {
    payment_provider_t provider; /* first: what the domain holds */
    bc_db_t *db;                 /* owned: DATA/sandbox.db */
    bc_task_t *task;             /* owned: settles and delivers; its own thread uses the pointer its step gets */
    bc_fetch_t *fetch;           /* owned: deliveries */
    webhook_secrets_t secrets;   /* one: DATA/keys/sandbox-webhook.key */
    int64_t tolerance_s;
    int64_t settle_ms; /* BOOKCART_SANDBOX_SETTLE */
    int64_t delay_ms;  /* of webhooks */
    int copies;        /* of each webhook: 1, 2 when duplicated, 0 when lost */
    bool reversed;
    char url[512];     /* the shop's webhook */
    char socket[256];  /* its unix socket; "" for TCP */
    int64_t tidied_ms; /* the task only */
} sandbox_t;

#define SANDBOX_WEBHOOK_PATH "/api/v1/payment/webhook"

/* payment_sandbox.c: inside a transaction. What takes its time is decided now. */
void sandbox_settle_payment(sandbox_t *sandbox, sandbox_payment_t *payment, int64_t now_ms);
void sandbox_settle_refund(sandbox_t *sandbox, sandbox_refund_t *refund, int64_t now_ms);

/* payment_sandbox_webhooks.c. Each puts one event with its deliveries, inside the transaction of the change. `about_charge`: the
 * payload is the payment's charge. */
void sandbox_tell_payment(sandbox_t *sandbox, const sandbox_payment_t *payment, const char *type, bool about_charge,
                          int64_t now_ms);
void sandbox_tell_refund(sandbox_t *sandbox, const sandbox_refund_t *refund, const char *type, int64_t now_ms);
/* The task's step. */
int64_t sandbox_work(bc_task_t *task, void *context);

/* "pi_" and 24 random letters and digits. */
void sandbox_make_id(const char *prefix, char *id, size_t size);

#endif
