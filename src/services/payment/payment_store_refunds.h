/*
 * Refunds as they are stored, and the webhook inbox. All functions run inside bc_db_begin (reads: bc_db_enter); false: roll back.
 *
 *            refund_insert (money is set aside on the order)
 *   (none) ───▶ PENDING, not told ──▶ PENDING, told ──▶ SUCCEEDED ──▶ FAILED (the bank sent it back)
 *                    └──────────────────────┴──▶ FAILED (what was set aside is free again)
 *
 * check_ms: PENDING: when it is told or asked about next; SUCCEEDED: when it is looked at again (payment_watch.h), REFUND_WATCH_OVER: never;
 * FAILED: without meaning.
 */
#ifndef PAYMENT_STORE_REFUNDS_H
#define PAYMENT_STORE_REFUNDS_H

#include "platform/bc_db.h"
#include "services/payment/payment_provider.h"

#include <jansson.h>

#define PAYMENT_PREFIX_REFUND "ref_"
#define REFUND_REASON_MAX     500 /* code points */
#define REFUND_DIGEST         32
#define REFUNDS_MAX           100 /* of one order that administrators ask for */
#define REFUND_WATCH_EVERY_MS (INT64_C(24) * 3600 * 1000)
#define REFUND_WATCH_MS       (35 * REFUND_WATCH_EVERY_MS) /* banks have thirty days from the posting, which is days later */
#define REFUND_WATCH_OVER     INT64_MAX

typedef enum {
    REFUND_BY_ADMIN,
    REFUND_LATE,        /* money for an order that was over and could not be filled any more */
    REFUND_BY_PROVIDER, /* made there */
    REFUND_STRAY        /* money that belongs to no order we know */
} refund_origin_t;

typedef struct {
    cart_id_t id;
    char order[CART_ID_CHARS + 1]; /* "ord_…"; "": none */
    char payment[PROVIDER_ID_MAX + 1];
    char provider_id[PROVIDER_ID_MAX + 1]; /* "": not told, or its answer was lost */
    refund_origin_t origin;
    provider_refund_state_t state;
    int64_t amount_minor;
    char currency[4];
    char reason[REFUND_REASON_MAX * 4 + 1];
    int64_t created_ms, check_ms, tries;
} refund_t;

#define REFUND_COLUMNS                                                                                                 \
    "r.id, r.order_ref, r.payment_id, r.provider_id, r.origin, r.state, r.amount_minor, r.currency, r.reason, "        \
    "r.created_ms, r.check_ms, r.tries "

const char *refund_state_word(provider_refund_state_t state);
bool refund_read(bc_statement_t *statement, refund_t *refund); /* the columns in the order of REFUND_COLUMNS */
json_t *refund_json(const refund_t *refund);                   /* {"id","amount","state","reason","created_at"} */

typedef enum { REFUND_OK, REFUND_ABSENT, REFUND_TOO_MUCH, REFUND_FAILED } refund_result_t;

typedef struct {
    const cart_id_t *actor; /* NULL: nobody's request */
    const char *once_key;   /* with actor */
    const uint8_t *digest;  /* REFUND_DIGEST bytes, with actor */
    const char *restock;    /* JSON text */
} refund_request_t;

/* Sets the amount aside on the order of a refund that has one (TOO_MUCH: more than is left, or REFUNDS_MAX), then writes the refund. */
refund_result_t refund_insert(bc_db_t *db, const refund_t *refund, const refund_request_t *request);
/* A refund that an earlier try of the same request made; digest as it was stored. */
refund_result_t refund_find_request(bc_db_t *db, const char *order, const cart_id_t *actor, const char *once_key,
                                    refund_t *refund, uint8_t digest[REFUND_DIGEST]);
refund_result_t refund_find(bc_db_t *db, const cart_id_t *id, refund_t *refund);
refund_result_t refund_find_provider(bc_db_t *db, const char *provider_id, refund_t *refund);
/* Sum of what goes, or went, back of a payment: all refunds that did not fail. */
bool refund_sum(bc_db_t *db, const char *payment, int64_t *amount_minor);

/* Moves *refund to what the provider says, with the order's sums; the id is noted. *moved: its state is another now. */
bool refund_move(bc_db_t *db, refund_t *refund, const char *provider_id, provider_refund_state_t state, bool *moved);
bool refund_set_check(bc_db_t *db, const cart_id_t *id, int64_t check_ms, int64_t tries);
size_t refund_due(bc_db_t *db, int64_t now_ms, refund_t *refunds, size_t limit);
int64_t refund_next_check(bc_db_t *db); /* 0: none */

/* Succeeded refunds whose look is due, the longest due first. */
size_t refund_watched(bc_db_t *db, int64_t now_ms, refund_t *refunds, size_t limit);
/* The succeeded refunds of `payments`, JSON text [{"payment"}], are looked at next at check_ms. */
bool refund_watch_later(bc_db_t *db, const char *payments, int64_t check_ms);
bool refund_watch_end(bc_db_t *db,
                      int64_t now_ms);  /* what is due and older than REFUND_WATCH_MS is never looked at again */
int64_t refund_next_watch(bc_db_t *db); /* 0: none */

/* --- webhooks --- */

typedef enum { WEBHOOK_WAITS, WEBHOOK_APPLIED, WEBHOOK_PASSED, WEBHOOK_FAILED } webhook_state_t;

/* Stores an event once. *fresh: it was not there. */
bool webhook_put(bc_db_t *db, const provider_event_t *event, int64_t now_ms, bool *fresh);
typedef struct {
    char id[PROVIDER_ID_MAX + 1], payment[PROVIDER_ID_MAX + 1];
    int64_t tries;
} webhook_t;
size_t webhook_due(bc_db_t *db, int64_t now_ms, webhook_t *webhooks, size_t limit);
int64_t webhook_next(bc_db_t *db); /* 0: none */
/* What waits for this payment is over, in one step: the payment's newest state was applied. */
bool webhook_done(bc_db_t *db, const char *payment, int64_t until_ms);
bool webhook_later(bc_db_t *db, const char *id, webhook_state_t state, int64_t next_ms);
bool webhook_tidy(bc_db_t *db, int64_t before_ms);

#endif
