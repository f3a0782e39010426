/*
 * Money: minor units in int64, every operation checked. Pure.
 *
 * Rounding (docs/decisions/0082): tax is computed once for each rate on the sum of what it applies to (lines and shipping), and
 * rounded half up to the minor unit. Lines are never rounded, so nothing is lost or gained by how a basket is split.
 */
#ifndef PAYMENT_MONEY_H
#define PAYMENT_MONEY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAYMENT_TOTAL_MAX 99999999LL /* minor units: the most that Stripe takes in one payment */

typedef struct {
    int64_t quantity;   /* 1… */
    int64_t unit_minor; /* 0… */
} money_line_t;

typedef struct {
    int64_t subtotal_minor; /* the lines, as their prices say */
    int64_t shipping_minor;
    int64_t tax_minor;  /* inside or on top of both */
    int64_t base_minor; /* what the rate applies to, without the tax */
    int64_t total_minor;
} money_sum_t;

/* false: more than PAYMENT_TOTAL_MAX in all; *sum unchanged. rate_bp: 0…10000. */
bool money_sum(const money_line_t *lines, size_t count, int64_t shipping_minor, int rate_bp, bool included,
               money_sum_t *sum);

/* {"amount","currency"}; the caller owns it. */
json_t *money_json(int64_t minor, const char *currency);
/* Exactly {"amount": 0…PAYMENT_TOTAL_MAX, "currency": `currency`}; false: *minor unchanged. */
bool money_read(const json_t *value, const char *currency, int64_t *minor);

#endif
