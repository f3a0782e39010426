/*
 * Orders as they are stored. All functions run inside bc_db_begin (reads: bc_db_enter).
 *
 *                 order_pay                        order_end
 *   (none) ─ order_insert ─▶ AWAITING ──▶ PAID      AWAITING ──▶ CANCELLED | EXPIRED ── order_pay (late money) ──▶ PAID
 *
 * A change is guarded by the state it leaves: it answers whether it was this call that made it, so each step happens once however many
 * threads and events ask for it.
 */
#ifndef PAYMENT_STORE_ORDERS_H
#define PAYMENT_STORE_ORDERS_H

#include "platform/bc_db.h"
#include "platform/bc_mail.h"
#include "services/payment/payment_provider.h"

#include <jansson.h>

#define PAYMENT_PREFIX_ORDER "ord_"
#define ORDER_NUMBER_CHARS   12 /* "482-0935-714" */
#define ORDER_DIGEST         32
#define ORDER_LINES_MAX      100 /* a cart has no more */
#define ORDER_SHIPMENTS_MAX  100

typedef enum { ORDER_AWAITING, ORDER_PAID, ORDER_CANCELLED, ORDER_EXPIRED, ORDER_STATE_COUNT } order_state_t;
typedef enum { ORDER_NONE, ORDER_PART, ORDER_SHIPPED, ORDER_FULFILMENT_COUNT } order_fulfilment_t;

const char *order_state_word(order_state_t state); /* "awaiting_payment" */
const char *order_fulfilment_word(order_fulfilment_t fulfilment);
bool order_state_read(const char *word, order_state_t *state);
bool order_fulfilment_read(const char *word, order_fulfilment_t *fulfilment);

typedef struct {
    cart_id_t id, user;
    char number[ORDER_NUMBER_CHARS + 1];
    order_state_t state;
    bool ending; /* its cancelling was asked for and is not over */
    order_fulfilment_t fulfilment;
    bool test;
    char provider[17];
    char payment[PROVIDER_ID_MAX +
                 1]; /* "": the provider was not told, or its answer was lost; or nothing is to be paid */
    char client_secret[PROVIDER_SECRET_MAX + 1];
    char last_error[PROVIDER_CODE_MAX + 1];
    int64_t cart_version;
    uint8_t digest[ORDER_DIGEST];
    bc_language_t language;
    char email[BC_MAIL_ADDRESS_MAX + 1]; /* "": erased */
    char country[3];
    char currency[4];
    char shipping_method[25];
    int64_t subtotal_minor, shipping_minor, tax_minor, total_minor;
    int tax_rate_bp;
    bool tax_included;
    int64_t paid_minor, refunding_minor, refunded_minor;
    int64_t created_ms, expires_ms, ended_ms, check_ms;
    int64_t tries;
    json_t *lines;    /* owned: an array, as the API shows them */
    json_t *shipping; /* owned; NULL: erased */
    json_t *billing;  /* owned; NULL: none */
} order_t;

void order_drop(order_t *order); /* what it owns; a zeroed one is fine */

typedef enum { ORDER_FOUND, ORDER_ABSENT, ORDER_FAILED } order_found_t;

/* *order is to be dropped when ORDER_FOUND, unchanged otherwise. 1 statement. */
order_found_t order_find(bc_db_t *db, const cart_id_t *id, order_t *order);
order_found_t order_find_open(bc_db_t *db, const cart_id_t *user, order_t *order);
order_found_t order_find_payment(bc_db_t *db, const char *payment, order_t *order);

/* The order and its lines: 2 statements. BC_DB_CONSTRAINT: the user has an open order, or the number is taken. */
bc_db_result_t order_insert(bc_db_t *db, const order_t *order, const char *lines);

/* Each: true when this call changed it. 1 statement. */
bool order_set_payment(bc_db_t *db, const cart_id_t *id, const char *payment, const char *client_secret);
/* The keeper looks at it at check_ms, or before. */
bool order_set_ending(bc_db_t *db, const cart_id_t *id, bool ending, int64_t check_ms);
bool order_set_error(bc_db_t *db, const cart_id_t *id, const char *last_error);
bool order_set_check(bc_db_t *db, const cart_id_t *id, int64_t check_ms, int64_t tries);
/* AWAITING to PAID; with `late` from CANCELLED and EXPIRED. */
bool order_pay(bc_db_t *db, const cart_id_t *id, bool late, int64_t paid_minor, int64_t now_ms);
/* Money came that buys nothing: it is noted on an order that is over, so that refunds have what they may not exceed. */
bool order_note_money(bc_db_t *db, const cart_id_t *id, int64_t paid_minor);
bool order_end(bc_db_t *db, const cart_id_t *id, order_state_t state, int64_t now_ms);
bool order_set_fulfilment(bc_db_t *db, const cart_id_t *id, order_fulfilment_t fulfilment);

/* Ids of open orders whose check is due, the longest waiting first. */
size_t order_due(bc_db_t *db, int64_t now_ms, cart_id_t *ids, size_t limit);
/* When the next one is, or 0. */
int64_t order_next_check(bc_db_t *db);

typedef struct {
    const cart_id_t *user;  /* NULL: everybody's */
    int state, fulfilment;  /* -1: any */
    int64_t from_ms, to_ms; /* created: from ≤ … < to */
    int64_t before_ms;      /* the place to go on at: older than this, */
    cart_id_t before;       /* or as old with a lesser id */
    int limit;
} order_filter_t;

/* Newest first. false from `see` ends it. Returns false when the database failed. 1 statement. */
typedef bool (*order_see_t)(void *context, const order_t *order);
bool order_list(bc_db_t *db, const order_filter_t *filter, order_see_t see, void *context);

/* Lines with what became of them, as JSON [{"book","quantity","shipped","cancelled","returned"}]; the caller owns it. NULL: failed. */
json_t *order_lines(bc_db_t *db, const cart_id_t *id);
typedef enum { ORDER_LINES_OK, ORDER_LINES_REFUSED, ORDER_LINES_FAILED } order_lines_result_t;
/* `lines`: JSON text [{"book","quantity"}], `count` of them. REFUSED: a line that the order has not, or more than is left; the caller
 * rolls back. */
order_lines_result_t order_lines_ship(bc_db_t *db, const cart_id_t *id, const char *lines, size_t count);
/* Copies that were not shipped first, then those that were. 2 statements. */
order_lines_result_t order_lines_restock(bc_db_t *db, const cart_id_t *id, const char *lines, size_t count);

/* REFUSED: the order has ORDER_SHIPMENTS_MAX. */
order_lines_result_t order_put_shipment(bc_db_t *db, const cart_id_t *shipment, const char *order, const char *carrier,
                                        const char *tracking, const char *lines, int64_t now_ms);
/* Shipments and refunds of the orders named in `ids` (JSON text [{"order":"ord_…"},…]), each with "order", appended. 1 statement each.
 * false: failed. */
bool order_shipments(bc_db_t *db, const char *ids, json_t *items);
bool order_refunds(bc_db_t *db, const char *ids, json_t *items);

/* A guest ended in a user: his orders are the user's. 2 statements. */
bool order_merge_user(bc_db_t *db, const cart_id_t *guest, const cart_id_t *user);
/* Addresses and e-mail go; what bookkeeping needs (lines, sums, country, number) stays. Orders that are open are asked to end. */
bool order_erase_user(bc_db_t *db, const cart_id_t *user, int64_t now_ms);

/* Named numbers that outlive the process. *value is `otherwise` when there is none. */
bool mark_get(bc_db_t *db, const char *name, int64_t otherwise, int64_t *value);
bool mark_put(bc_db_t *db, const char *name, int64_t value);

#endif
