#include "services/payment/payment_money.h"

#include <assert.h>
#include <string.h>

/* a × b ÷ c, rounded half up; a, b, c small enough that nothing overflows (asserted by the callers' limits). */
static int64_t scale_half_up(int64_t a, int64_t b, int64_t c) {
    assert(a >= 0 && a <= PAYMENT_TOTAL_MAX * 2);
    assert(b >= 0 && b <= 10000 && c >= 10000);
    return (2 * a * b + c) / (2 * c);
}

bool money_sum(const money_line_t *lines, size_t count, int64_t shipping_minor, int rate_bp, bool included,
               money_sum_t *sum) {
    int64_t subtotal = 0, goods = 0;
    assert(rate_bp >= 0 && rate_bp <= 10000);
    assert(shipping_minor >= 0);
    for (size_t i = 0; i < count; i++) {
        int64_t line = 0;
        assert(lines[i].quantity >= 0 && lines[i].unit_minor >= 0);
        if (__builtin_mul_overflow(lines[i].quantity, lines[i].unit_minor, &line) ||
            __builtin_add_overflow(subtotal, line, &subtotal) || subtotal > PAYMENT_TOTAL_MAX)
            return false;
    }
    if (__builtin_add_overflow(subtotal, shipping_minor, &goods) || goods > PAYMENT_TOTAL_MAX) return false;
    int64_t tax = scale_half_up(goods, rate_bp, included ? 10000 + rate_bp : 10000);
    int64_t total = included ? goods : goods + tax; /* both at most 2 × PAYMENT_TOTAL_MAX */
    if (total > PAYMENT_TOTAL_MAX) return false;
    *sum = (money_sum_t){.subtotal_minor = subtotal,
                         .shipping_minor = shipping_minor,
                         .tax_minor = tax,
                         .base_minor = total - tax,
                         .total_minor = total};
    return true;
}

json_t *money_json(int64_t minor, const char *currency) {
    return json_pack("{s:I, s:s}", "amount", (json_int_t)minor, "currency", currency);
}

bool money_read(const json_t *value, const char *currency, int64_t *minor) {
    const json_t *amount = json_object_get(value, "amount");
    const char *given = json_string_value(json_object_get(value, "currency"));
    if (!json_is_integer(amount) || given == NULL || strcmp(given, currency) != 0 || json_object_size(value) != 2)
        return false;
    if (json_integer_value(amount) < 0 || json_integer_value(amount) > PAYMENT_TOTAL_MAX) return false;
    *minor = json_integer_value(amount);
    return true;
}
