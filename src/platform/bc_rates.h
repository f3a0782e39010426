/*
 * What shipping and tax cost by country: the two settings, read and judged. Pure; any thread; a setting is short and read anew each time.
 *
 *   BOOKCART_SHIPPING   groups with semicolons between: `BG: standard=490 express=990; FR, DE: standard=990; *: standard=1990`
 *                       countries (ISO 3166-1 alpha-2), a colon, methods with their flat price in minor units; `*` is every other country
 *   BOOKCART_TAX        `BG=900 FR=550 *=0`: country and rate in basis points, for books and their shipping; `*` is every other country
 */
#ifndef BC_RATES_H
#define BC_RATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BC_COUNTRY_CHARS        2
#define BC_SHIPPING_METHODS_MAX 8
#define BC_SHIPPING_METHOD_MAX  24 /* characters: a…z, 0…9, - */
#define BC_SHIPPING_PRICE_MAX   1000000000LL
#define BC_TAX_RATE_MAX         10000 /* basis points */

typedef struct {
    char id[BC_SHIPPING_METHOD_MAX + 1];
    int64_t price_minor;
} bc_shipping_method_t;

/* Two capital letters that ISO 3166-1 knows. */
bool bc_country_is_known(const char *code);

/* What is wrong with a setting, in a few words; NULL: nothing. */
const char *bc_shipping_judge(const char *setting);
const char *bc_tax_judge(const char *setting);
/* Both together: every country that is delivered to has a rate. */
const char *bc_rates_judge(const char *shipping, const char *tax);

/* The methods of a country in the setting's order; 0: nothing is delivered there. Settings that were judged. */
size_t bc_shipping_find(const char *setting, const char *country,
                        bc_shipping_method_t methods[BC_SHIPPING_METHODS_MAX]);
/* Basis points; -1: no rate. */
int bc_tax_find(const char *setting, const char *country);

/* Country number `index` of those delivered to, in the order of their codes; NULL past the last. Borrowed for ever. */
const char *bc_shipping_country_at(const char *setting, size_t index);

#endif
