/* Shipping and tax by country: what a setting says, and what is refused at the start. */
#include "platform/bc_config.h"
#include "platform/bc_rates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void methods_are_a_countrys_own_or_every_others(void **state) {
    static const char setting[] = " BG: standard=490 express=990 ;FR,DE:standard=690; *: post=1490;";
    bc_shipping_method_t methods[BC_SHIPPING_METHODS_MAX];
    (void)state;
    assert_null(bc_shipping_judge(setting));
    assert_int_equal(bc_shipping_find(setting, "BG", methods), 2);
    assert_string_equal(methods[1].id, "express");
    assert_int_equal(methods[1].price_minor, 990);
    assert_int_equal(bc_shipping_find(setting, "DE", methods), 1);
    assert_int_equal(methods[0].price_minor, 690);
    assert_int_equal(bc_shipping_find(setting, "US", methods), 1);
    assert_string_equal(methods[0].id, "post");
    assert_int_equal(bc_shipping_find(setting, "XX", methods), 0);
    assert_int_equal(bc_shipping_find("BG: standard=490", "FR", methods), 0);
}

static void settings_that_say_nothing_are_refused(void **state) {
    static const char *const wrong[] = {"",
                                        " ; ",
                                        "BG",
                                        "BG:",
                                        ": standard=1",
                                        "BG: standard",
                                        "BG: standard=",
                                        "BG: =5",
                                        "BG: Standard=5",
                                        "BG: standard=-5",
                                        "BG: standard=4.90",
                                        "XX: standard=5",
                                        "bg: standard=5",
                                        "BG: standard=5; BG: express=6",
                                        "BG, BG: standard=5",
                                        "*: a=1; *: b=2",
                                        "BG: a=1 a=2",
                                        "BG: a=1000000001",
                                        "BG: a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1",
                                        "BG: abcdefghijklmnopqrstuvwxyz=1"};
    static const char *const wrong_tax[] = {"BG", "BG=", "BG=x", "BG=10001", "XX=5", "BG=1 BG=2", "=5", "BG=-1"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (bc_shipping_judge(wrong[i]) == NULL) fail_msg("\"%s\" was taken", wrong[i]);
    }
    for (size_t i = 0; i < sizeof(wrong_tax) / sizeof(wrong_tax[0]); i++) {
        if (bc_tax_judge(wrong_tax[i]) == NULL) fail_msg("\"%s\" was taken", wrong_tax[i]);
    }
}

static void every_country_that_is_delivered_to_needs_a_rate(void **state) {
    (void)state;
    assert_int_equal(bc_tax_find("BG=900 FR=550", "FR"), 550);
    assert_int_equal(bc_tax_find("BG=900 FR=550", "DE"), -1);
    assert_int_equal(bc_tax_find("*=0, BG=900", "DE"), 0);
    assert_int_equal(bc_tax_find("*=0, BG=900", "BG"), 900);
    assert_null(bc_rates_judge("BG: a=1", "BG=900"));
    assert_non_null(bc_rates_judge("BG, FR: a=1", "BG=900"));
    assert_null(bc_rates_judge("BG, FR: a=1", "BG=900 *=0"));
    assert_non_null(bc_rates_judge("*: a=1", "BG=900"));
}

static void countries_come_in_order(void **state) {
    (void)state;
    assert_string_equal(bc_shipping_country_at("FR, BG: a=1", 0), "BG");
    assert_string_equal(bc_shipping_country_at("FR, BG: a=1", 1), "FR");
    assert_null(bc_shipping_country_at("FR, BG: a=1", 2));
    assert_non_null(bc_shipping_country_at("*: a=1", 248));
    assert_null(bc_shipping_country_at("*: a=1", 249));
}

static void a_start_with_such_settings_says_why(void **state) {
    char reason[BC_CONFIG_REASON_BYTES] = "";
    (void)state;
    bc_config_t *config = bc_config_create();
    assert_non_null(config);
    static const char bad[] = "BOOKCART_SHIPPING = BG: standard\n";
    assert_false(bc_config_read_text(config, "conf", bad, strlen(bad), reason));
    assert_non_null(strstr(reason, "conf:1: BOOKCART_SHIPPING"));
    bc_config_destroy(config);
    config = bc_config_create();
    assert_non_null(config);
    static const char apart[] = "BOOKCART_DATA = /tmp/x\nBOOKCART_TAX = BG=900\n";
    assert_true(bc_config_read_text(config, "conf", apart, strlen(apart), reason));
    assert_false(bc_config_finish(config, reason));
    assert_non_null(strstr(reason, "BOOKCART_TAX"));
    bc_config_destroy(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_are_a_countrys_own_or_every_others),
        cmocka_unit_test(settings_that_say_nothing_are_refused),
        cmocka_unit_test(every_country_that_is_delivered_to_needs_a_rate),
        cmocka_unit_test(countries_come_in_order),
        cmocka_unit_test(a_start_with_such_settings_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
