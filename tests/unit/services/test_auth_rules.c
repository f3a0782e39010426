/* What is accepted, and the limits that count time given to them. */
#include "services/auth/auth_agent.h"
#include "services/auth/auth_limits.h"
#include "services/auth/auth_rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void addresses_are_normalised_or_refused(void **state) {
    (void)state;
    static const char *const good[][2] = {
        {"emma@example.com", "emma@example.com"},
        {"EMMA@Example.COM", "emma@example.com"},
        {"a.b+c@x-y.org", "a.b+c@x-y.org"},
        {"a@b.cd", "a@b.cd"},
        {"o'hara@sub.example.co", "o'hara@sub.example.co"},
        /* One domain in all its forms: composed, decomposed, capital, already encoded, with an ideographic stop. */
        {"emma@b\xc3\xbc"
         "cher.example",
         "emma@xn--bcher-kva.example"},
        {"emma@bu\xcc\x88"
         "cher.example",
         "emma@xn--bcher-kva.example"},
        {"Emma@B\xc3\x9c"
         "CHER.example",
         "emma@xn--bcher-kva.example"},
        {"emma@XN--bcher-kva.example", "emma@xn--bcher-kva.example"},
        {"emma@b\xc3\xbc"
         "cher\xe3\x80\x82"
         "example",
         "emma@xn--bcher-kva.example"},
        {"emma@\xd0\xba\xd0\xbd\xd0\xb8\xd0\xb3\xd0\xb8.\xd0\xb1\xd0\xb3", "emma@xn--c1ajbfp.xn--90ae"},
        /* Full-width letters are the same letters. */
        {"emma@\xef\xbd\x81"
         "b.cd",
         "emma@ab.cd"},
    };
    static const char *const bad[] = {"", "emma", "@example.com", "emma@", "emma@example", "emma@@example.com",
                                      "em ma@example.com", "a..b@c.de", ".a@c.de", "a.@c.de", "a@-c.de", "a@c-.de",
                                      "a@c..de", "a@.c.de", "a@c.de.", "a@1.2.3.4", "a@[1.2.3.4]", "\"a b\"@c.de",
                                      "a@b@c.de", "emma\n@example.com",
                                      /* never folded: whose mailbox that would be is not ours to guess */
                                      "\xd0\xb5@example.com", "\xef\xbd\x85mma@example.com", "\xc4\xb1@example.com",
                                      "emma\xef\xbc\xa0"
                                      "example.com",
                                      "emma@\xe2\x80\x8b"
                                      ".example.com",
                                      "emma@\xf0\x9f\x93\x9a"
                                      ".example"};
    char normal[AUTH_EMAIL_MAX + 1];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(auth_email_normalise(good[i][0], normal));
        assert_string_equal(normal, good[i][1]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(normal, sizeof(normal), "kept");
        assert_false(auth_email_normalise(bad[i], normal));
        assert_string_equal(normal, "kept");
    }
}

static void the_longest_address_fits_and_one_more_does_not(void **state) {
    (void)state;
    char local[80], whole[300], normal[AUTH_EMAIL_MAX + 1];
    memset(local, 'a', sizeof(local));
    local[64] = '\0';
    (void)snprintf(whole, sizeof(whole), "%s@b.cd", local);
    assert_true(auth_email_normalise(whole, normal));
    local[64] = 'a';
    local[65] = '\0';
    (void)snprintf(whole, sizeof(whole), "%s@b.cd", local);
    assert_false(auth_email_normalise(whole, normal));
    char label[64];
    memset(label, 'b', 63);
    label[63] = '\0';
    /* 62 + @ + 63 + . + 63 + . + 60 + .cd = 254 */
    local[62] = '\0';
    (void)snprintf(whole, sizeof(whole), "%s@%s.%s.%.60s.cd", local, label, label, label);
    assert_int_equal(strlen(whole), 254);
    assert_true(auth_email_normalise(whole, normal));
    (void)snprintf(whole, sizeof(whole), "%s@%s.%s.%.61s.cd", local, label, label, label);
    assert_false(auth_email_normalise(whole, normal));
}

static void passwords_are_counted_in_code_points(void **state) {
    (void)state;
    assert_int_equal(auth_code_points("парола"), 6);
    assert_int_equal(auth_code_points("\xf0\x9f\x93\x9a"), 1);
    assert_false(auth_password_acceptable("парола1"));
    assert_true(auth_password_acceptable("парола12"));
    assert_true(auth_password_acceptable("        "));
    assert_false(auth_name_acceptable(""));
    assert_false(auth_name_acceptable("   "));
    assert_false(auth_name_acceptable("a\nb"));
    assert_true(auth_name_acceptable("Жюл Верн"));
}

static void an_address_is_limited_and_let_in_again(void **state) {
    (void)state;
    auth_limits_t *limits = auth_limits_create(true);
    int64_t now = 1000000, wait = 0;
    int taken = 0;
    while (taken < 1000 && (wait = auth_limit_take(limits, AUTH_LIMIT_SIGN_IN, "203.0.113.9", now)) == 0) taken++;
    assert_int_equal(taken, 20);
    assert_true(wait > 0 && wait <= 3001);
    assert_true(auth_limit_take(limits, AUTH_LIMIT_SIGN_IN, "203.0.113.9", now + wait - 1000) > 0);
    assert_int_equal(auth_limit_take(limits, AUTH_LIMIT_SIGN_IN, "203.0.113.9", now + wait), 0);
    assert_int_equal(auth_limit_take(limits, AUTH_LIMIT_SIGN_IN, "203.0.113.10", now), 0);
    assert_int_equal(auth_limit_take(limits, AUTH_LIMIT_GUEST, "203.0.113.9", now), 0);
    auth_limits_destroy(limits);
}

static void an_account_waits_longer_with_each_failure_but_never_for_ever(void **state) {
    (void)state;
    auth_limits_t *limits = auth_limits_create(true);
    int64_t now = 1000000, longest = 0;
    for (int i = 0; i < AUTH_FAILURES_FREE; i++) {
        auth_account_failed(limits, "a@b.cd", now);
        assert_int_equal(auth_account_wait(limits, "a@b.cd", now), 0);
    }
    for (int i = 0; i < 100; i++) {
        auth_account_failed(limits, "a@b.cd", now);
        int64_t wait = auth_account_wait(limits, "a@b.cd", now);
        assert_true(wait >= longest && wait >= 1000 && wait <= AUTH_DELAY_MAX_MS);
        longest = wait;
        now += wait;
        assert_int_equal(auth_account_wait(limits, "a@b.cd", now), 0);
    }
    assert_int_equal(longest, AUTH_DELAY_MAX_MS);
    auth_account_succeeded(limits, "a@b.cd");
    auth_account_failed(limits, "a@b.cd", now);
    assert_int_equal(auth_account_wait(limits, "a@b.cd", now), 0);
    assert_int_equal(auth_account_wait(limits, "x@b.cd", now), 0);
    auth_limits_destroy(limits);
}

static void many_addresses_take_no_more_memory_and_do_not_lock_out(void **state) {
    (void)state;
    auth_limits_t *limits = auth_limits_create(true);
    char address[32];
    for (int i = 0; i < 100000; i++) {
        (void)snprintf(address, sizeof(address), "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        assert_int_equal(auth_limit_take(limits, AUTH_LIMIT_GUEST, address, 1000000 + i), 0);
    }
    auth_limits_destroy(limits);
}

static void a_browser_becomes_two_words(void **state) {
    (void)state;
    static const char *const agents[][2] = {
        {"Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "firefox/linux"},
        {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 "
         "Safari/537.36 "
         "Edg/120.0.0.0",
         "edge/windows"},
        {"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Mobile "
         "Safari/537.36",
         "chrome/android"},
        {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 "
         "Mobile/15E148 Safari/604.1",
         "safari/ios"},
        {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17 "
         "Safari/605",
         "safari/macos"},
        {"curl/8.5.0", "curl/other"},
        {"<script>alert(1)</script>", "other/other"},
        {"", "other/other"},
    };
    char name[AUTH_AGENT_BYTES], browser[AUTH_AGENT_BYTES], system[AUTH_AGENT_BYTES];
    for (size_t i = 0; i < sizeof(agents) / sizeof(agents[0]); i++) {
        auth_agent_name(agents[i][0], name);
        assert_string_equal(name, agents[i][1]);
        auth_agent_halves(name, browser, system);
        assert_int_equal(strncmp(name, browser, strlen(browser)), 0);
        assert_string_equal(strchr(name, '/') + 1, system);
    }
    auth_agent_name(NULL, name);
    assert_string_equal(name, "other/other");
    auth_agent_halves("", browser, system); /* a session of before */
    assert_string_equal(browser, "other");
    assert_string_equal(system, "other");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_normalised_or_refused),
        cmocka_unit_test(the_longest_address_fits_and_one_more_does_not),
        cmocka_unit_test(passwords_are_counted_in_code_points),
        cmocka_unit_test(a_browser_becomes_two_words),
        cmocka_unit_test(an_address_is_limited_and_let_in_again),
        cmocka_unit_test(an_account_waits_longer_with_each_failure_but_never_for_ever),
        cmocka_unit_test(many_addresses_take_no_more_memory_and_do_not_lock_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
