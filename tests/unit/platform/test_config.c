/* Settings: what is read, what is refused and with which words, what is printed. */
#include "platform/bc_config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Reads `text` as file shop.conf, then `environment`, and finishes. NULL: it is fine. */
static const char *refusal(const char *text, char *const *environment, bc_config_t **kept) {
    static char reason[BC_CONFIG_REASON_BYTES];
    bc_config_t *config = bc_config_create();
    assert_non_null(config);
    reason[0] = '\0';
    bool good = bc_config_read_text(config, "shop.conf", text, strlen(text), reason) &&
                (environment == NULL || bc_config_read_environment(config, environment, reason)) &&
                bc_config_finish(config, reason);
    assert_int_equal(good, reason[0] == '\0');
    if (good && kept != NULL) {
        *kept = config;
    } else {
        bc_config_destroy(config);
    }
    return good ? NULL : reason;
}

static void defaults_are_good_and_follow_the_data_folder(void **state) {
    (void)state;
    bc_config_t *config = NULL;
    assert_null(refusal("BOOKCART_DATA = /srv/shop\n", NULL, &config));
    assert_string_equal(bc_config_text(config, BC_AUTH_LISTEN), "unix:/srv/shop/run/auth.sock");
    assert_string_equal(bc_config_text(config, BC_CURRENCY), "EUR");
    assert_int_equal(bc_config_number(config, BC_ACCESS_TOKEN_LIFE), 900000);
    assert_int_equal(bc_config_number(config, BC_ARGON2_MEMORY), 64 * 1024 * 1024);
    assert_true(bc_config_flag(config, BC_RATE_LIMITS));
    assert_true(bc_config_is_set(config, BC_DATA));
    assert_false(bc_config_is_set(config, BC_CURRENCY));
    char path[64] = "kept";
    assert_true(bc_config_path(config, "auth.db", path, sizeof(path)));
    assert_string_equal(path, "/srv/shop/auth.db");
    assert_false(bc_config_path(config, "auth.db", path, 10));
    bc_config_destroy(config);
}

static void the_environment_goes_over_the_file(void **state) {
    (void)state;
    char one[] = "BOOKCART_CURRENCY=BGN", two[] = "BOOKCART_TEST_SEED=1", three[] = "PATH=/bin";
    char *environment[] = {one, two, three, NULL};
    bc_config_t *config = NULL;
    assert_null(refusal("# the shop\n\n  BOOKCART_CURRENCY=CHF\r\nBOOKCART_WORKERS =  3 \n", environment, &config));
    assert_string_equal(bc_config_text(config, BC_CURRENCY), "BGN");
    assert_int_equal(bc_config_number(config, BC_WORKERS), 3);
    bc_config_destroy(config);
}

#define STRIPE      "BOOKCART_PAYMENTS = stripe:\n"
#define STRIPE_KEYS STRIPE "BOOKCART_STRIPE_KEY = sk_test_1\nBOOKCART_STRIPE_PUBLISHABLE_KEY = pk_test_1\n"

static void stripe_is_taken_with_all_it_needs(void **state) {
    (void)state;
    assert_null(refusal(
        STRIPE_KEYS "BOOKCART_STRIPE_WEBHOOK_SECRETS = whsec_1, whsec_2\nBOOKCART_LISTEN = 0.0.0.0:80\n", NULL, NULL));
    assert_null(refusal(STRIPE_KEYS
                        "BOOKCART_STRIPE_WEBHOOK_SECRETS = whsec_1\nBOOKCART_STRIPE_API = http://127.0.0.1:12111\n",
                        NULL, NULL));
    assert_null(refusal("BOOKCART_LISTEN = 0.0.0.0:80\nBOOKCART_SANDBOX_PUBLIC = yes\n", NULL, NULL));
    assert_null(refusal("BOOKCART_SANDBOX_WEBHOOKS = duplicated reversed\n", NULL, NULL));
}

static void what_cannot_be_is_refused_with_its_line(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"\nBOOKCART_COLOUR = red\n", "shop.conf:2: BOOKCART_COLOUR: is no setting"},
        {"BOOKCART_CURRENCY_FILE = /x\n", "shop.conf:1: BOOKCART_CURRENCY_FILE: is no setting"},
        {"BOOKCART_WORKERS = many\n", "shop.conf:1: BOOKCART_WORKERS: \"many\" is not a number"},
        {"BOOKCART_WORKERS = 3x\n", "shop.conf:1: BOOKCART_WORKERS: \"3x\" is not a whole number"},
        {"BOOKCART_WORKERS = 257\n", "shop.conf:1: BOOKCART_WORKERS: \"257\" is not between 0 and 256"},
        {"BOOKCART_WORKERS = -1\n", "shop.conf:1: BOOKCART_WORKERS: \"-1\" is not a number"},
        {"BOOKCART_CART_ZONE = 99999999999999999g\n",
         "shop.conf:1: BOOKCART_CART_ZONE: \"99999999999999999g\" is too large"},
        {"BOOKCART_CART_ZONE = 64 apples\n",
         "shop.conf:1: BOOKCART_CART_ZONE: \"64 apples\" needs a size such as 512k, 64m, 2g"},
        {"BOOKCART_CART_STALE_MAX = 60\n",
         "shop.conf:1: BOOKCART_CART_STALE_MAX: \"60\" needs a unit: ms, s, m, h or d"},
        {"BOOKCART_CURRENCY = euro\n", "shop.conf:1: BOOKCART_CURRENCY: \"euro\" is no ISO 4217 code such as EUR"},
        {"BOOKCART_RATE_LIMITS = maybe\n",
         "shop.conf:1: BOOKCART_RATE_LIMITS: \"maybe\" is neither yes, on, no nor off"},
        {"BOOKCART_ISSUER =\n", "shop.conf:1: BOOKCART_ISSUER: \"\" may not be empty"},
        {"BOOKCART_LISTEN = localhost:80\n", "shop.conf:1: BOOKCART_LISTEN: \"localhost:80\" is neither ADDR:PORT"},
        {"BOOKCART_LISTEN = 127.0.0.1:65536\n",
         "shop.conf:1: BOOKCART_LISTEN: \"127.0.0.1:65536\" is neither ADDR:PORT"},
        {"BOOKCART_LISTEN = ::1:80\n", "shop.conf:1: BOOKCART_LISTEN: \"::1:80\" is neither ADDR:PORT"},
        {"BOOKCART_AUTH_LISTEN = unix:here\n", "shop.conf:1: BOOKCART_AUTH_LISTEN: \"unix:here\" is neither ADDR:PORT"},
        {"BOOKCART_PUBLIC_URL = shop.example\n",
         "shop.conf:1: BOOKCART_PUBLIC_URL: \"shop.example\" does not begin with http"},
        {"BOOKCART_PUBLIC_URL = https://shop.example/\n", "has more than scheme, host and port"},
        {"BOOKCART_PUBLIC_URL = https://\n", "names no host"},
        {"BOOKCART_CORS_ORIGINS = https://a.example null\n", "may not name the origin null"},
        {"BOOKCART_CORS_ORIGINS = *\n", "takes exact origins, no *"},
        {"BOOKCART_TRUSTED_PROXIES = 10.0.0.0/33\n", "has an entry with a wrong prefix length"},
        {"BOOKCART_TRUSTED_PROXIES = proxy\n", "has an entry that is no address"},
        {"BOOKCART_DATABASE = mysql://user:secret@db/shop\n",
         "shop.conf:1: BOOKCART_DATABASE: names an engine that is not supported by this build"},
        {"BOOKCART_CART_STORE = redis://r => mysql://m\n",
         "shop.conf:1: BOOKCART_CART_STORE: names an engine that is not supported by this build"},
        {"BOOKCART_EVENTS = kafka://k\n",
         "shop.conf:1: BOOKCART_EVENTS: names an engine that is not supported by this build"},
        {"BOOKCART_DATABASE = oracle:\n", "shop.conf:1: BOOKCART_DATABASE: is not a store that this build knows"},
        {"BOOKCART_WORKERS = 1\nBOOKCART_WORKERS = 1\n", "shop.conf:2: BOOKCART_WORKERS: is given twice in this file"},
        {"BOOKCART_WORKERS\n", "shop.conf:1: is not of the form KEY = value"},
        {"= 1\n", "shop.conf:1: is not of the form KEY = value"},
        {"BOOKCART_SHOP_NAME = a\tb\x01\n", "shop.conf:1: BOOKCART_SHOP_NAME: has a control character"},
        /* combinations */
        {"BOOKCART_LISTEN = 0.0.0.0:80\nBOOKCART_RATE_LIMITS = off\n",
         "shop.conf:2: BOOKCART_RATE_LIMITS: off is refused while BOOKCART_LISTEN is not on loopback"},
        {"BOOKCART_CART_LINK = 10.0.0.1:7000\nBOOKCART_RATE_LIMITS = off\n", "BOOKCART_CART_LINK is not on loopback"},
        {"BOOKCART_LISTEN = [::]:80\nBOOKCART_PAYMENTS = sandbox:\n",
         "shop.conf:2: BOOKCART_PAYMENTS: sandbox: is refused"},
        {"BOOKCART_LISTEN = [::]:80\n", "default: BOOKCART_PAYMENTS: sandbox: is refused"},
        {"BOOKCART_PAYMENTS = paypal:\n", "shop.conf:1: BOOKCART_PAYMENTS: is not a store that this build knows"},
        {"BOOKCART_PAYMENTS = stripe:\n", "default: BOOKCART_STRIPE_KEY: stripe: needs a key"},
        {STRIPE "BOOKCART_STRIPE_KEY = pk_test_1\n", "shop.conf:2: BOOKCART_STRIPE_KEY: stripe: needs a key"},
        {STRIPE "BOOKCART_STRIPE_KEY = sk_test_\n", "shop.conf:2: BOOKCART_STRIPE_KEY: stripe: needs a key"},
        {STRIPE "BOOKCART_STRIPE_KEY = sk_test_1\n",
         "default: BOOKCART_STRIPE_PUBLISHABLE_KEY: stripe: needs the pk_test_"},
        {STRIPE "BOOKCART_STRIPE_KEY = rk_live_1\nBOOKCART_STRIPE_PUBLISHABLE_KEY = pk_test_1\n",
         "shop.conf:3: BOOKCART_STRIPE_PUBLISHABLE_KEY: stripe: needs the pk_live_"},
        {STRIPE_KEYS, "default: BOOKCART_STRIPE_WEBHOOK_SECRETS: stripe: needs 1 to 8"},
        {STRIPE_KEYS "BOOKCART_STRIPE_WEBHOOK_SECRETS = whsec_1 hush\n",
         "shop.conf:4: BOOKCART_STRIPE_WEBHOOK_SECRETS: stripe: needs 1 to 8"},
        {STRIPE_KEYS
         "BOOKCART_STRIPE_WEBHOOK_SECRETS = whsec_1 whsec_2 whsec_3 whsec_4 whsec_5 whsec_6 whsec_7 whsec_8 whsec_9\n",
         "shop.conf:4: BOOKCART_STRIPE_WEBHOOK_SECRETS: stripe: needs 1 to 8"},
        {STRIPE_KEYS "BOOKCART_STRIPE_WEBHOOK_SECRETS = whsec_1\nBOOKCART_STRIPE_API = http://api.stripe.com\n",
         "shop.conf:5: BOOKCART_STRIPE_API: http:// is for loopback only"},
        {STRIPE_KEYS "BOOKCART_STRIPE_WEBHOOK_SECRETS = whsec_1\nBOOKCART_STRIPE_API = http://127.0.0.1.evil.example\n",
         "shop.conf:5: BOOKCART_STRIPE_API: http:// is for loopback only"},
        {"BOOKCART_STRIPE_API =\n", "shop.conf:1: BOOKCART_STRIPE_API: \"\" may not be empty"},
        {"BOOKCART_SANDBOX_WEBHOOKS = lost, sometimes\n", "is none of duplicated, reversed, lost"},
        {"BOOKCART_TLS_CERT = /a.pem\n", "shop.conf:1: BOOKCART_TLS_CERT: needs BOOKCART_TLS_KEY beside it"},
        {"BOOKCART_TLS_KEY = /a.pem\n", "shop.conf:1: BOOKCART_TLS_KEY: needs BOOKCART_TLS_CERT beside it"},
        {"BOOKCART_REFRESH_TOKEN_LIFE = 1m\n", "BOOKCART_REFRESH_TOKEN_LIFE: is shorter than an access token's"},
        {"BOOKCART_CART_SEGMENT = 1g\n", "BOOKCART_CART_JOURNAL_MAX: has no room for two segments"},
        {"BOOKCART_AUTH_LISTEN = 127.0.0.1:7001\nBOOKCART_LIBRARY_LISTEN = 127.0.0.1:7001\n",
         "shop.conf:2: BOOKCART_LIBRARY_LISTEN: is the same as BOOKCART_AUTH_LISTEN"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *why = refusal(cases[i][0], NULL, NULL);
        if (why == NULL || strstr(why, cases[i][1]) == NULL)
            fail_msg("%s gave: %s", cases[i][0], why == NULL ? "(taken)" : why);
        assert_null(strstr(why, "secret@"));
        assert_null(strstr(why, "hush"));
    }
    char unknown[] = "BOOKCART_COLOUR=red";
    char *environment[] = {unknown, NULL};
    assert_string_equal(refusal("", environment, NULL), "environment: BOOKCART_COLOUR: is no setting");
}

static void limits_of_lines_and_values_hold(void **state) {
    (void)state;
    static char text[BC_CONFIG_LINE_MAX + 64];
    int length = snprintf(text, sizeof(text), "BOOKCART_SHOP_NAME = ");
    memset(text + length, 'x', BC_CONFIG_VALUE_MAX);
    text[length + BC_CONFIG_VALUE_MAX] = '\0';
    assert_null(refusal(text, NULL, NULL));
    text[length + BC_CONFIG_VALUE_MAX] = 'x';
    text[length + BC_CONFIG_VALUE_MAX + 1] = '\0';
    assert_non_null(strstr(refusal(text, NULL, NULL), "is longer than 2048 bytes"));
    memset(text, 'x', BC_CONFIG_LINE_MAX + 1);
    text[BC_CONFIG_LINE_MAX + 1] = '\0';
    assert_non_null(strstr(refusal(text, NULL, NULL), "line is longer than 4096 characters"));
}

static void a_secret_comes_from_a_file_and_is_never_printed(void **state) {
    (void)state;
    char name[] = "/tmp/bookcart-secret-XXXXXX", entry[128], page[16384], reason[BC_CONFIG_REASON_BYTES];
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "open sesame\n", 12), 12);
    close(fd);
    (void)snprintf(entry, sizeof(entry), "BOOKCART_SERVICE_KEY_FILE=%s", name);
    char *environment[] = {entry, NULL};
    bc_config_t *config = NULL;
    assert_null(refusal("", environment, &config));
    assert_string_equal(bc_config_text(config, BC_SERVICE_KEY), "open sesame");
    FILE *out = fmemopen(page, sizeof(page), "w");
    bc_config_print(config, out);
    fclose(out);
    assert_non_null(strstr(page, "BOOKCART_SERVICE_KEY = ***\n"));
    assert_null(strstr(page, "sesame"));
    assert_non_null(strstr(page, "BOOKCART_CURRENCY = EUR\n"));
    bc_config_destroy(config);
    unlink(name);
    assert_non_null(strstr(refusal("", environment, NULL), "BOOKCART_SERVICE_KEY_FILE: cannot read a secret"));
    config = bc_config_create();
    assert_false(bc_config_read_file(config, "/nowhere/shop.conf", reason));
    assert_non_null(strstr(reason, "/nowhere/shop.conf: cannot be read"));
    bc_config_destroy(config);
}

static void the_reference_names_every_setting(void **state) {
    (void)state;
    static char page[32768];
    FILE *out = fmemopen(page, sizeof(page), "w");
    bc_config_print_reference(out);
    fclose(out);
    for (int key = 0; key < BC_KEY_COUNT; key++) assert_non_null(strstr(page, bc_config_name((bc_key_t)key)));
    assert_non_null(strstr(page, "`unix:DATA/run/auth.sock`"));
}

static void a_relative_data_folder_becomes_absolute(void **state) {
    (void)state;
    bc_config_t *config = NULL;
    char reason[BC_CONFIG_REASON_BYTES];
    assert_int_equal(chdir("/tmp"), 0);
    assert_true(bc_config_load(&config, NULL, NULL, "shop", reason));
    assert_string_equal(bc_config_text(config, BC_DATA), "/tmp/shop");
    bc_config_destroy(config);
}

static void listeners_are_told_apart(void **state) {
    (void)state;
    bc_listen_t listen;
    assert_true(bc_listen_parse("unix:/run/a.sock", &listen));
    assert_true(listen.is_unix && bc_listen_is_loopback(&listen));
    assert_true(bc_listen_parse("[::1]:80", &listen));
    assert_string_equal(listen.address, "::1");
    assert_true(bc_listen_is_loopback(&listen));
    assert_true(bc_listen_parse("127.3.2.1:0", &listen));
    assert_true(bc_listen_is_loopback(&listen));
    assert_true(bc_listen_parse("0.0.0.0:8080", &listen));
    assert_int_equal(listen.port, 8080);
    assert_false(bc_listen_is_loopback(&listen));
    static const char *const bad[] = {
        "",      ":",     ":80", "80", "a:80", "[::1:80", "::1]:80", "[127.0.0.1]:80", "127.0.0.1:", "127.0.0.1:8o",
        "unix:", "unix:a"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) assert_false(bc_listen_parse(bad[i], &listen));
    assert_int_equal(listen.port, 8080);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_good_and_follow_the_data_folder),
        cmocka_unit_test(the_environment_goes_over_the_file),
        cmocka_unit_test(what_cannot_be_is_refused_with_its_line),
        cmocka_unit_test(stripe_is_taken_with_all_it_needs),
        cmocka_unit_test(limits_of_lines_and_values_hold),
        cmocka_unit_test(a_secret_comes_from_a_file_and_is_never_printed),
        cmocka_unit_test(the_reference_names_every_setting),
        cmocka_unit_test(a_relative_data_folder_becomes_absolute),
        cmocka_unit_test(listeners_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
