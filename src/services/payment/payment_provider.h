/*
 * Payment providers: what the domain (orders, refunds, reconciler) asks of who moves the money. Names and states are Stripe's.
 *
 * Two implementations: sandbox (payment_sandbox*.c) and Stripe (payment_stripe*.c); payment_provider_open chooses by BOOKCART_PAYMENTS.
 * The domain calls the functions below, never an `ops` itself: payment_provider.c passes a fault point before each call
 * ("provider.create=fail": the provider heard nothing; "=kill": we died before) and behind it ("provider.create-told=fail": it
 * heard, its answer was lost; "=kill": we died before we stored anything). "provider.cancel-unknown=fail": it says that it knows no such
 * payment, and is wrong: the only way to money that comes when an order is over.
 *
 * Invariants
 * 1. Every call may come from any thread, several at once, and ends within `limit->timeout_ms`, retries included, or soon after
 *    *limit->stop became true.
 * 2. Whatever came back was checked before it is handed on: sizes, UTF-8, known states, amounts ≥ 0, and for create, refund: the
 *    amount, currency and ids we asked for. What does not fit is PROVIDER_REFUSED and a log line without the body.
 * 3. create and refund are repeatable under their key: the same key gives the same payment (refund), made once. A provider forgets keys
 *    (Stripe after 24 hours), so from PROVIDER_KEY_MS after the first try on, what an earlier one made is looked for before a new try
 *    ("provider.find=fail": it could not be) (docs/decisions/0094).
 * 4. PROVIDER_AWAY says nothing about whether it was done. The domain asks again, with the same key.
 * 5. No text of the provider, no secret and no client secret is logged.
 * Out-parameters are unchanged unless PROVIDER_OK.
 */
#ifndef PAYMENT_PROVIDER_H
#define PAYMENT_PROVIDER_H

#include "platform/bc_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROVIDER_ID_MAX     255 /* characters, as Stripe promises */
#define PROVIDER_SECRET_MAX 255
#define PROVIDER_CODE_MAX   63 /* a decline code: letters, digits, underscores */
#define PROVIDER_TYPE_MAX   63
#define PROVIDER_KEY_MAX    64                          /* an idempotency key: our order's or refund's public id */
#define PROVIDER_KEY_MS     (INT64_C(23) * 3600 * 1000) /* a key is relied on so long, an hour less than it is kept */
#define PROVIDER_CLOCKS_MS  (INT64_C(3600) * 1000)      /* its clock and ours are no further apart */
#define PROVIDER_LIST_MAX   10000 /* payments or refunds that one list call visits; more: PROVIDER_REFUSED */

typedef enum {
    PROVIDER_OK,
    PROVIDER_STATE, /* the payment's state does not allow it: cancel of what succeeded, refund of what was not paid, or of more */
    PROVIDER_MISSING, /* it knows no such payment */
    PROVIDER_AWAY,    /* not reached, too slow, 429 or 5xx to the end: later again */
    PROVIDER_REFUSED  /* our mistake, our key, or an answer that cannot be believed: again would not help */
} provider_result_t;

/* A payment is over in SUCCEEDED and CANCELED. A decline leads back to REQUIRES_PAYMENT_METHOD with last_error. */
typedef enum {
    PROVIDER_REQUIRES_PAYMENT_METHOD,
    PROVIDER_REQUIRES_ACTION, /* also requires_confirmation */
    PROVIDER_PROCESSING,
    PROVIDER_SUCCEEDED,
    PROVIDER_CANCELED
} provider_payment_state_t;

/* Pending may become either; succeeded may still become failed (the bank sent it back). canceled counts as failed. */
typedef enum { PROVIDER_REFUND_PENDING, PROVIDER_REFUND_SUCCEEDED, PROVIDER_REFUND_FAILED } provider_refund_state_t;

typedef struct {
    char id[PROVIDER_ID_MAX + 1]; /* pi_… */
    char client_secret[PROVIDER_SECRET_MAX + 1];
    provider_payment_state_t state;
    int64_t amount_minor;
    int64_t received_minor; /* > 0 only when succeeded */
    char currency[4];       /* "EUR", upper case */
    int64_t created_ms;
    char order[PROVIDER_KEY_MAX + 1];       /* metadata `order`; "" when it has none */
    char last_error[PROVIDER_CODE_MAX + 1]; /* decline code, else error code; "" when there is none */
} provider_payment_t;

typedef struct {
    char id[PROVIDER_ID_MAX + 1];      /* re_… */
    char payment[PROVIDER_ID_MAX + 1]; /* pi_… */
    provider_refund_state_t state;
    int64_t amount_minor;
    char currency[4];
    int64_t created_ms;
    char refund[PROVIDER_KEY_MAX + 1]; /* metadata `refund`: our refund's id; "" when it was made at the provider */
} provider_refund_t;

/* A webhook's event is a hint only: it names a payment (also when it is about a charge or refund of it), and the domain asks the
 * provider how that stands. So late, doubled and reordered events end in the same state. */
typedef struct {
    char id[PROVIDER_ID_MAX + 1];      /* evt_… */
    char type[PROVIDER_TYPE_MAX + 1];  /* "payment_intent.succeeded" */
    int64_t created_ms;                /* by the provider's clock */
    char payment[PROVIDER_ID_MAX + 1]; /* pi_…; "" when it is about something else: kept, nothing to do */
} provider_event_t;

typedef enum {
    PROVIDER_EVENT_OK,
    PROVIDER_EVENT_FORGED,   /* no signature, a wrong one, or one outside the tolerance: 400 bad-signature */
    PROVIDER_EVENT_MALFORMED /* rightly signed, but no event: 400 malformed-request */
} provider_event_result_t;

typedef struct {
    int64_t timeout_ms;        /* for the whole call */
    const volatile bool *stop; /* borrowed; NULL: not looked at */
} provider_limit_t;

typedef struct {
    const char *key;      /* idempotency key and metadata `order`: "ord_…" */
    const char *number;   /* metadata `number`: the order's number for people */
    int64_t amount_minor; /* > 0 */
    const char *currency; /* "EUR" */
    int64_t since_ms;     /* no try was made before: when the order was written. 0: unknown */
} provider_create_t;      /* borrowed for the call */

typedef struct {
    const char *key;     /* idempotency key and metadata `refund`: "ref_…" */
    const char *payment; /* pi_… */
    int64_t amount_minor;
    const char *currency;
    int64_t since_ms; /* as above: when the refund was written */
} provider_refund_request_t;

typedef bool (*provider_see_payment_t)(void *context, const provider_payment_t *payment); /* false: enough */
typedef bool (*provider_see_refund_t)(void *context, const provider_refund_t *refund);

typedef struct payment_provider payment_provider_t;

/* What an implementation fills in; `self` is its own struct, which begins with a payment_provider_t. */
typedef struct {
    const char *name;             /* "sandbox", "stripe": what the API shows */
    const char *signature_header; /* "Stripe-Signature" */
    provider_result_t (*create)(payment_provider_t *self, const provider_create_t *asked, const provider_limit_t *limit,
                                provider_payment_t *payment);
    provider_result_t (*retrieve)(payment_provider_t *self, const char *id, const provider_limit_t *limit,
                                  provider_payment_t *payment);
    /* PROVIDER_OK also when it was canceled before. */
    provider_result_t (*cancel)(payment_provider_t *self, const char *id, const provider_limit_t *limit,
                                provider_payment_t *payment);
    provider_result_t (*refund)(payment_provider_t *self, const provider_refund_request_t *asked,
                                const provider_limit_t *limit, provider_refund_t *refund);
    /* What a try for `asked` made, by its metadata, amount and currency: a payment made from_ms…until_ms (when there are several, one that was
     * paid), a refund of the payment. PROVIDER_MISSING: nothing was made. */
    provider_result_t (*find_payment)(payment_provider_t *self, const provider_create_t *asked, int64_t from_ms,
                                      int64_t until_ms, const provider_limit_t *limit, provider_payment_t *payment);
    provider_result_t (*find_refund)(payment_provider_t *self, const provider_refund_request_t *asked,
                                     const provider_limit_t *limit, provider_refund_t *refund);
    /* All refunds of one payment, oldest or newest first; PROVIDER_OK when `see` said enough. */
    provider_result_t (*refunds_of)(payment_provider_t *self, const char *payment, const provider_limit_t *limit,
                                    provider_see_refund_t see, void *context);
    /* Payments, and refunds, created at `since_ms` or later. */
    provider_result_t (*payments_since)(payment_provider_t *self, int64_t since_ms, const provider_limit_t *limit,
                                        provider_see_payment_t see, void *context);
    provider_result_t (*refunds_since)(payment_provider_t *self, int64_t since_ms, const provider_limit_t *limit,
                                       provider_see_refund_t see, void *context);
    /* `signature` NULL: the header was not there. No I/O. */
    provider_event_result_t (*verify)(payment_provider_t *self, const char *signature, const char *body, size_t length,
                                      int64_t now_s, provider_event_t *event);
    void (*stop)(
        payment_provider_t *self); /* ends its threads, before listeners close; repeated is fine. May be NULL */
    void (*destroy)(payment_provider_t *self);
} payment_provider_ops_t;

struct payment_provider {
    const payment_provider_ops_t *ops; /* borrowed: static */
    bool test;                         /* no real money: the sandbox, or a test key. Orders say so */
};

/* payment_provider_open.c. NULL after a log line. config is borrowed until destroy. */
payment_provider_t *payment_provider_open(const bc_config_t *config);

/* payment_provider.c: as the ops of the same name, with the fault points; create, retrieve and cancel also log AWAY and REFUSED. */
provider_result_t payment_provider_create(payment_provider_t *provider, const provider_create_t *asked,
                                          const provider_limit_t *limit, provider_payment_t *payment);
provider_result_t payment_provider_retrieve(payment_provider_t *provider, const char *id, const provider_limit_t *limit,
                                            provider_payment_t *payment);
provider_result_t payment_provider_cancel(payment_provider_t *provider, const char *id, const provider_limit_t *limit,
                                          provider_payment_t *payment);
provider_result_t payment_provider_refund(payment_provider_t *provider, const provider_refund_request_t *asked,
                                          const provider_limit_t *limit, provider_refund_t *refund);
provider_result_t payment_provider_refunds_of(payment_provider_t *provider, const char *payment,
                                              const provider_limit_t *limit, provider_see_refund_t see, void *context);
provider_result_t payment_provider_payments_since(payment_provider_t *provider, int64_t since_ms,
                                                  const provider_limit_t *limit, provider_see_payment_t see,
                                                  void *context);
provider_result_t payment_provider_refunds_since(payment_provider_t *provider, int64_t since_ms,
                                                 const provider_limit_t *limit, provider_see_refund_t see,
                                                 void *context);
void payment_provider_stop(payment_provider_t *provider);    /* NULL is fine */
void payment_provider_destroy(payment_provider_t *provider); /* NULL is fine */

#endif
