/*
 * What a checkout is about: one exact version of a cart, its books at the library's prices of this moment, and what they cost sent to a
 * country. Asked of the cart service and the library, whose answers are read as outside input.
 */
#ifndef PAYMENT_BASKET_H
#define PAYMENT_BASKET_H

#include "platform/bc_rates.h"
#include "services/payment/payment_money.h"
#include "services/payment/payment_service.h"
#include "services/payment/payment_store_orders.h"

typedef struct {
    int64_t book, quantity, unit_minor;
    const char *title; /* borrowed from `books` */
    const char *isbn;  /* the same; NULL: none */
} basket_line_t;

typedef struct {
    int64_t version;
    size_t count;
    basket_line_t lines[ORDER_LINES_MAX];
    json_t *books; /* owned */
} basket_t;

typedef struct {
    bc_shipping_method_t methods[BC_SHIPPING_METHODS_MAX];
    size_t method_count;
    size_t chosen; /* of methods */
    int rate_bp;
    bool included;
    const char *currency; /* borrowed from the settings */
    money_sum_t sum;
} basket_price_t;

/* The user's cart if it has exactly this version and every book of it can be bought. false: a problem was set (409 cart-changed,
 * 409 out-of-stock for books that are gone, 422 for an empty cart or one that costs too much, 503). *basket is to be dropped in
 * any case; zero it first. */
bool basket_fetch(payment_t *payment, const cart_id_t *user, int64_t version, basket_t *basket, bc_reply_t *reply);
void basket_drop(basket_t *basket);

/* `method` NULL: the cheapest. false: a problem was set (422: not delivered there, no such method, too much). */
bool basket_price(const payment_t *payment, const basket_t *basket, const char *country, const char *method,
                  basket_price_t *price, bc_reply_t *reply);

/* The lines as the API shows them, and as the store takes them: [{"book","quantity"}]. The caller owns both; NULL: no memory. */
json_t *basket_lines_json(const basket_t *basket, const basket_price_t *price);
char *basket_lines_text(const basket_t *basket);

/* "41" in a body. false: a problem was set. */
bool basket_read_version(const bc_request_t *request, bc_reply_t *reply, int64_t *version);

/* 409 out-of-stock: `lines` is [{"book","available"}], borrowed. */
void basket_reply_short(bc_reply_t *reply, const json_t *lines);

#endif
