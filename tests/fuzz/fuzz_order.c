/*
 * What a buyer sends with an order: addresses, e-mail, money. Whatever the bytes, the verdict is one of the words that the API has, and what
 * was taken keeps the limits that the tables and mails rely on. Also the two settings of shipping and tax.
 */
#include "platform/bc_rates.h"
#include "services/payment/payment_address.h"
#include "services/payment/payment_money.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge_json(const json_t *value) {
    int64_t minor = -1;
    address_fault_t fault = payment_address_judge(value), place = payment_place_judge(value);
    assert((fault.field == NULL) == (fault.code == NULL));
    assert((place.field == NULL) == (place.code == NULL));
    if (fault.field == NULL) {
        const char *country = json_string_value(json_object_get(value, "country"));
        assert(country != NULL && bc_country_is_known(country));
        assert(json_string_length(json_object_get(value, "name")) <= PAYMENT_ADDRESS_NAME_MAX * 4);
    }
    if (money_read(value, "EUR", &minor)) {
        assert(minor >= 0 && minor <= PAYMENT_TOTAL_MAX);
    } else {
        assert(minor == -1);
    }
}

static void judge_text(const char *text) {
    bc_shipping_method_t methods[BC_SHIPPING_METHODS_MAX];
    if (payment_email_good(text)) assert(strlen(text) <= BC_MAIL_ADDRESS_MAX && strchr(text, '@') != NULL);
    if (bc_shipping_judge(text) == NULL) {
        const char *country = bc_shipping_country_at(text, 0);
        assert(country != NULL && bc_shipping_find(text, country, methods) > 0);
    }
    if (bc_tax_judge(text) == NULL) assert(bc_tax_find(text, "BG") <= BC_TAX_RATE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (text == NULL) return 0;
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    json_t *value = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    if (value != NULL) judge_json(value);
    judge_text(text);
    json_decref(value);
    free(text);
    return 0;
}
