/* POST /checkout/quote: what the cart would cost, sent there. Changes nothing and holds nothing. */
#include "services/payment/payment_address.h"
#include "services/payment/payment_json.h"

#include <string.h>

static json_t *methods_json(const basket_price_t *price, bc_language_t language) {
    json_t *list = json_array();
    for (size_t i = 0; i < price->method_count && list != NULL; i++) {
        json_t *method = json_pack("{s:s, s:s, s:o}", "id", price->methods[i].id, "name",
                                   payment_method_name(price->methods[i].id, language), "price",
                                   money_json(price->methods[i].price_minor, price->currency));
        if (json_array_append_new(list, method) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *quote_json(const basket_t *basket, const basket_price_t *price, const char *version,
                          bc_language_t language) {
    return json_pack("{s:s, s:o, s:o, s:o, s:s, s:o, s:o, s:b, s:o}", "cart_version", version, "lines",
                     basket_lines_json(basket, price), "subtotal",
                     money_json(price->sum.subtotal_minor, price->currency), "shipping_methods",
                     methods_json(price, language), "shipping_method", price->methods[price->chosen].id, "shipping",
                     money_json(price->sum.shipping_minor, price->currency), "tax",
                     payment_tax_json(price->rate_bp, price->sum.base_minor, price->sum.tax_minor, price->currency),
                     "tax_included", price->included, "total", money_json(price->sum.total_minor, price->currency));
}

void payment_quote(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    const json_t *place = json_object_get(bc_request_body(request), "ship_to");
    basket_t basket = {.count = 0};
    basket_price_t price;
    int64_t version = 0;
    json_t *shown = payment_without_nulls(place);
    address_fault_t fault = payment_place_judge(shown);
    if (fault.field != NULL) {
        payment_reply_fault(reply, "ship_to", &fault);
    } else if (basket_read_version(request, reply, &version) &&
               basket_fetch(payment, &bc_request_caller(request)->user, version, &basket, reply) &&
               basket_price(payment, &basket, json_string_value(json_object_get(shown, "country")),
                            bc_request_string(request, "shipping_method"), &price, reply)) {
        bc_reply_cache(reply, "private, no-cache");
        bc_reply_json(
            reply, 200,
            quote_json(&basket, &price, bc_request_string(request, "cart_version"), bc_request_language(request)));
    }
    basket_drop(&basket);
    json_decref(shown);
}
