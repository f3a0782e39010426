/* Sums and forms of orders: what is rounded where, what overflows, what an address may be. Pure. */
#include "services/payment/payment_address.h"
#include "services/payment/payment_money.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void tax_is_rounded_half_up_once_on_the_sum(void **state) {
    const money_line_t lines[] = {{2, 1207}};
    money_sum_t sum;
    (void)state;
    assert_true(money_sum(lines, 1, 490, 900, true, &sum));
    assert_int_equal(sum.subtotal_minor, 2414);
    assert_int_equal(sum.total_minor, 2904);
    assert_int_equal(sum.tax_minor, 240); /* 239.78 */
    assert_int_equal(sum.base_minor, 2664);
    assert_true(money_sum(lines, 1, 490, 900, false, &sum));
    assert_int_equal(sum.tax_minor, 261); /* 261.36 */
    assert_int_equal(sum.total_minor, 3165);
    const money_line_t half[] = {{1, 50}};
    assert_true(money_sum(half, 1, 0, 100, false, &sum)); /* 0.5 */
    assert_int_equal(sum.tax_minor, 1);
    assert_true(money_sum(NULL, 0, 0, 900, true, &sum));
    assert_int_equal(sum.total_minor, 0);
}

static void what_is_too_much_is_refused_and_never_wraps(void **state) {
    money_sum_t sum = {.total_minor = 7};
    (void)state;
    const money_line_t most[] = {{1, PAYMENT_TOTAL_MAX}}, more[] = {{1, PAYMENT_TOTAL_MAX}, {1, 1}},
                       wraps[] = {{INT64_MAX, INT64_MAX}}, adds[] = {{1, INT64_MAX}, {1, INT64_MAX}};
    assert_true(money_sum(most, 1, 0, 0, true, &sum));
    assert_int_equal(sum.total_minor, PAYMENT_TOTAL_MAX);
    sum.total_minor = 7;
    assert_false(money_sum(more, 2, 0, 0, true, &sum));
    assert_false(money_sum(most, 1, 1, 0, true, &sum));
    assert_false(money_sum(most, 1, INT64_MAX, 0, true, &sum));
    assert_false(money_sum(most, 1, 0, 1, false, &sum)); /* by the tax on top */
    assert_false(money_sum(wraps, 1, 0, 0, true, &sum));
    assert_false(money_sum(adds, 2, 0, 0, true, &sum));
    assert_int_equal(sum.total_minor, 7);
}

static void base_and_tax_are_the_total_whatever_the_sum(void **state) {
    unsigned seed = (unsigned)time(NULL);
    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    for (int i = 0; i < 20000; i++) {
        const money_line_t lines[] = {{1 + rand() % 99, rand() % 20000}, {1 + rand() % 99, rand() % 20000}};
        int rate = rand() % 10001;
        bool included = rand() % 2 == 0;
        int64_t shipping = rand() % 5000, goods = 0;
        money_sum_t sum;
        assert_true(money_sum(lines, 2, shipping, rate, included, &sum));
        goods = sum.subtotal_minor + shipping;
        assert_int_equal(sum.base_minor + sum.tax_minor, sum.total_minor);
        assert_int_equal(included ? sum.total_minor : sum.base_minor, goods);
        /* Within half a minor unit of the exact tax: |2 × tax × c − 2 × goods × rate| ≤ c. */
        int64_t c = included ? 10000 + rate : 10000, off = 2 * (sum.tax_minor * c - goods * rate);
        assert_true(off <= c && off > -c);
    }
}

static void money_has_one_form(void **state) {
    static const char *const wrong[] = {"{}",
                                        "5",
                                        "[]",
                                        "{\"amount\":5}",
                                        "{\"amount\":5,\"currency\":\"USD\"}",
                                        "{\"amount\":5.0,\"currency\":\"EUR\"}",
                                        "{\"amount\":-1,\"currency\":\"EUR\"}",
                                        "{\"amount\":100000000,\"currency\":\"EUR\"}",
                                        "{\"amount\":\"5\",\"currency\":\"EUR\"}",
                                        "{\"amount\":5,\"currency\":\"EUR\",\"tip\":1}"};
    int64_t minor = 7;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        json_t *value = json_loads(wrong[i], JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        if (money_read(value, "EUR", &minor)) fail_msg("%s was taken", wrong[i]);
        json_decref(value);
    }
    assert_int_equal(minor, 7);
    json_t *good = money_json(1299, "EUR");
    assert_true(money_read(good, "EUR", &minor));
    assert_int_equal(minor, 1299);
    json_decref(good);
}

static address_fault_t judged(const char *text) {
    json_t *address = json_loads(text, 0, NULL);
    assert_non_null(address);
    address_fault_t fault = payment_address_judge(address);
    json_decref(address);
    return fault;
}

#define GOOD "\"name\":\"Ann\",\"line1\":\"1 Long Street\",\"city\":\"Sofia\","

static void addresses(void **state) {
    static const struct {
        const char *text, *field, *code;
    } cases[] = {
        {"{" GOOD "\"postcode\":\"1000\",\"country\":\"BG\"}", NULL, NULL},
        {"{" GOOD "\"country\":\"IE\"}", NULL, NULL}, /* not every address has a postcode */
        {"{" GOOD "\"country\":\"BG\"}", "postcode", "required"},
        {"{" GOOD "\"postcode\":\"100\",\"country\":\"BG\"}", "postcode", "invalid"},
        {"{" GOOD "\"postcode\":\"00-001\",\"country\":\"PL\"}", NULL, NULL},
        {"{" GOOD "\"postcode\":\"00001\",\"country\":\"PL\"}", "postcode", "invalid"},
        {"{" GOOD "\"postcode\":\"1000\",\"country\":\"bg\"}", "country", "invalid"},
        {"{" GOOD "\"postcode\":\"1000\",\"country\":\"EU\"}", "country", "invalid"},
        {"{" GOOD "\"postcode\":\"1000\",\"country\":\"BG\",\"phone\":\"+359 2 1\"}", NULL, NULL},
        {"{" GOOD "\"postcode\":\"1000\",\"country\":\"BG\",\"phone\":\"call me\"}", "phone", "invalid"},
        {"{" GOOD "\"postcode\":\"1000\",\"country\":\"BG\",\"floor\":\"2\"}", "", "unknown"},
        {"{\"line1\":\"x\",\"city\":\"y\",\"country\":\"IE\"}", "name", "required"},
        {"{\"name\":\"\",\"line1\":\"x\",\"city\":\"y\",\"country\":\"IE\"}", "name", "invalid"},
        {"{\"name\":\"a\\u0001\",\"line1\":\"x\",\"city\":\"y\",\"country\":\"IE\"}", "name", "invalid"},
        {"{\"name\":\"a\\u0085\",\"line1\":\"x\",\"city\":\"y\",\"country\":\"IE\"}", "name", "invalid"},
        {"{\"name\":5,\"line1\":\"x\",\"city\":\"y\",\"country\":\"IE\"}", "name", "wrong-kind"},
        {"{\"name\":\"Иван Вазов\",\"line1\":\"ул. Раковски 1\",\"city\":\"София\",\"postcode\":\"1000\",\"country\":"
         "\"BG\"}",
         NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        address_fault_t fault = judged(cases[i].text);
        bool same = cases[i].field == NULL ? fault.field == NULL
                                           : fault.field != NULL && strcmp(fault.field, cases[i].field) == 0 &&
                                                 strcmp(fault.code, cases[i].code) == 0;
        if (!same)
            fail_msg("%s: %s %s", cases[i].text, fault.field == NULL ? "good" : fault.field,
                     fault.code == NULL ? "" : fault.code);
    }
    char longest[512];
    (void)snprintf(longest, sizeof(longest), "{\"name\":\"%0100d\",\"line1\":\"x\",\"city\":\"y\",\"country\":\"IE\"}",
                   0);
    assert_null(judged(longest).field);
    (void)snprintf(longest, sizeof(longest), "{\"name\":\"%0101d\",\"line1\":\"x\",\"city\":\"y\",\"country\":\"IE\"}",
                   0);
    assert_string_equal(judged(longest).field, "name");
}

static void email_addresses(void **state) {
    static const char *const good[] = {"a@b.co", "Ann.Bell+books@mail.example", "x_y-z@sub.mail.example"};
    static const char *const bad[] = {"",         "@",       "a",           "a@",       "@b.co",      "a@b",
                                      "a@b.",     "a@.co",   "a..b@c.co",   ".a@c.co",  "a.@c.co",    "a b@c.co",
                                      "a@c_d.co", "a@-c.co", "a@192.0.2.1", "a@b.co\n", "\"a\"@b.co", "a@b@c.co"};
    char text[300];
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) assert_true(payment_email_good(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (payment_email_good(bad[i])) fail_msg("\"%s\" was taken", bad[i]);
    }
    (void)snprintf(text, sizeof(text), "%065d@b.co", 0);
    assert_false(payment_email_good(text));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tax_is_rounded_half_up_once_on_the_sum),
        cmocka_unit_test(what_is_too_much_is_refused_and_never_wraps),
        cmocka_unit_test(base_and_tax_are_the_total_whatever_the_sum),
        cmocka_unit_test(money_has_one_form),
        cmocka_unit_test(addresses),
        cmocka_unit_test(email_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
