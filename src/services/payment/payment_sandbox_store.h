/*
 * The sandbox's own tables, in DATA/sandbox.db. All functions run inside bc_db_begin (or _enter, where only read) of that database
 * and let its errors stick: the caller looks at the commit.
 */
#ifndef PAYMENT_SANDBOX_STORE_H
#define PAYMENT_SANDBOX_STORE_H

#include "platform/bc_db.h"
#include "services/payment/payment_provider.h"
#include "services/payment/payment_sandbox_methods.h"

#define SANDBOX_PARAMS_MAX     255
#define SANDBOX_KEYS_KEPT_MS   (24LL * 3600 * 1000) /* as Stripe keeps idempotency keys */
#define SANDBOX_EVENTS_KEPT_MS (30LL * 24 * 3600 * 1000)

extern const bc_migration_t sandbox_migrations[];

typedef struct {
    provider_payment_t shown;
    char number[PROVIDER_KEY_MAX + 1];
    char method[SANDBOX_METHOD_MAX + 1]; /* last confirmed with; "" before */
    char code[PROVIDER_CODE_MAX + 1];    /* of the last error; "" when there is none */
    char decline[PROVIDER_CODE_MAX + 1]; /* its decline code; likewise */
    int64_t refunded_minor;              /* pending and succeeded refunds together */
    int64_t settle_ms;                   /* processing: decided then; else 0 */
} sandbox_payment_t;

typedef struct {
    provider_refund_t shown;
    int64_t settle_ms; /* its last state comes then; 0: this is the last */
} sandbox_refund_t;

/* An idempotency key: what was asked for, and what was answered. `kind`: "payment" or "refund". */
typedef struct {
    char params[SANDBOX_PARAMS_MAX + 1];
    char object[PROVIDER_ID_MAX + 1];
    int64_t state; /* of the object when it was answered first */
} sandbox_key_t;

bool sandbox_get_payment(bc_db_t *db, const char *id,
                         sandbox_payment_t *payment);                    /* false: none, or an error that sticks */
void sandbox_put_payment(bc_db_t *db, const sandbox_payment_t *payment); /* inserts, or replaces what changes */
bool sandbox_get_refund(bc_db_t *db, const char *id, sandbox_refund_t *refund);
void sandbox_put_refund(bc_db_t *db, const sandbox_refund_t *refund);
bool sandbox_get_key(bc_db_t *db, const char *kind, const char *key, sandbox_key_t *found);
void sandbox_put_key(bc_db_t *db, const char *kind, const char *key, const sandbox_key_t *made, int64_t now_ms);

/* In the order of creation. The database is entered while `see` runs: it may not use it. */
void sandbox_list_payments(bc_db_t *db, int64_t since_ms, provider_see_payment_t see, void *context);
void sandbox_list_refunds(bc_db_t *db, int64_t since_ms, provider_see_refund_t see, void *context);
void sandbox_list_refunds_of(bc_db_t *db, const char *payment, provider_see_refund_t see, void *context);

/* By their metadata, with amount and currency. false: none, or an error that sticks. */
bool sandbox_find_payment(bc_db_t *db, const provider_create_t *asked, int64_t from_ms, int64_t until_ms,
                          sandbox_payment_t *payment);
bool sandbox_find_refund(bc_db_t *db, const provider_refund_request_t *asked, sandbox_refund_t *refund);

/* The next that is to settle at `now_ms` or before; false: none. */
bool sandbox_due_payment(bc_db_t *db, int64_t now_ms, sandbox_payment_t *payment);
bool sandbox_due_refund(bc_db_t *db, int64_t now_ms, sandbox_refund_t *refund);

/* --- events and their deliveries --- */
typedef struct {
    int64_t position; /* of the delivery */
    int64_t tries;
    char *body; /* owned by whoever got it: free() */
} sandbox_delivery_t;

/* `copies` deliveries; 0: the event is kept and never delivered by itself. */
void sandbox_put_event(bc_db_t *db, const char *id, const char *type, const char *body, int64_t now_ms, int64_t due_ms,
                       int copies);
/* The oldest, or the newest, delivery that is due. false: none. */
bool sandbox_due_delivery(bc_db_t *db, int64_t now_ms, bool newest_first, sandbox_delivery_t *delivery);
void sandbox_end_delivery(bc_db_t *db, int64_t position);
void sandbox_put_off_delivery(bc_db_t *db, int64_t position, int64_t due_ms);
void sandbox_deliver_all_again(bc_db_t *db, int64_t now_ms);
int64_t sandbox_newest_event_ms(bc_db_t *db); /* 0: there is none */
/* When something is to be done next; 0: nothing is waiting. */
int64_t sandbox_next_ms(bc_db_t *db);

void sandbox_tidy(bc_db_t *db, int64_t now_ms);

#endif
