/* What mails say and how they look on the wire: every kind in every language, and what hostile values can not do. */
#include "platform/bc_mail_message.h"
#include "platform/bc_mail_texts.h"
#include "platform/bc_random.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LINE_MAX_CHARS 78

static const char *const order =
    "{\"id\":\"ord_06c1h2m3n4p5q6r7s8t9v0w1x2\",\"number\":\"2026-000123\",\"test\":true,"
    "\"lines\":[{\"book\":7,\"title\":\"Emma\",\"quantity\":2,\"unit_price\":{\"amount\":1299,\"currency\":\"EUR\"},"
    "\"total\":{\"amount\":2598,\"currency\":\"EUR\"}},{\"book\":9,\"title\":\"Под игото\",\"quantity\":1,"
    "\"total\":{\"amount\":123456,\"currency\":\"EUR\"}}],\"subtotal\":{\"amount\":126054,\"currency\":\"EUR\"},"
    "\"shipping\":{\"amount\":390,\"currency\":\"EUR\"},\"tax\":{\"amount\":8846,\"currency\":\"EUR\"},"
    "\"total\":{\"amount\":126444,\"currency\":\"EUR\"},\"shipping_address\":{\"name\":\"Zoë Иванова\",\"line1\":"
    "\"1 rue de l'Église\",\"postcode\":\"75001\",\"city\":\"Paris\",\"country\":\"FR\"}}";

static const struct {
    bc_mail_kind_t kind;
    const char *data;
    const char *shown; /* must stand in every language */
} samples[] = {
    {BC_MAIL_VERIFY, "{\"token\":\"aB-_9\"}", "https://shop.example/account/verify#token=aB-_9"},
    {BC_MAIL_RESET, "{\"token\":\"aB-_9\"}", "https://shop.example/account/reset#token=aB-_9"},
    {BC_MAIL_EMAIL_CHANGED, "{\"new_email_hint\":\"z…@example.org\"}", "z…@example.org"},
    {BC_MAIL_PASSWORD_CHANGED, "{}", "https://shop.example/account/forgot"},
    {BC_MAIL_ORDER_CONFIRMED, NULL, "https://shop.example/orders/ord_06c1h2m3n4p5q6r7s8t9v0w1x2\n"},
    {BC_MAIL_ORDER_SHIPPED,
     "{\"number\":\"2026-000123\",\"carrier\":\"DHL\",\"tracking\":\"JD01\",\"lines\":[{\"book\":7,\"quantity\":2}]}",
     "JD01"},
    {BC_MAIL_ORDER_REFUNDED, "{\"number\":\"2026-000123\",\"amount\":{\"amount\":500,\"currency\":\"CHF\"}}", "CHF"},
    {BC_MAIL_LATE_REFUNDED, "{\"number\":\"2026-000123\",\"amount\":{\"amount\":500,\"currency\":\"JPY\"}}", "500"},
    {BC_MAIL_QUESTION_ANSWERED, "{\"question\":\"que_1\",\"subject\":\"Où est ma commande ?\"}",
     "https://shop.example/questions/que_1"},
};

static json_t *data_of(const char *text) {
    json_error_t error;
    json_t *data = json_loads(text == NULL ? order : text, 0, &error);
    assert_non_null(data);
    return data;
}

static void write_mail(bc_mail_kind_t kind, bc_language_t language, const char *data, char **subject, char **text) {
    json_t *loaded = data_of(data);
    const bc_mail_facts_t facts = {"Bücher & Co", "https://shop.example", kind, language, loaded};
    const char *missing = NULL;
    if (!bc_mail_write(&facts, subject, text, &missing)) fail_msg("%s lacks %s", bc_mail_kind_word(kind), missing);
    json_decref(loaded);
}

static char *compose(const char *subject, const char *text, bc_language_t language, size_t *length) {
    char *bytes = NULL;
    const bc_mail_letter_t letter = {"Bücher & Co",
                                     "shop@example.org",
                                     "reader@example.org",
                                     "0123456789abcdef",
                                     "shop.example",
                                     language,
                                     1764252000123,
                                     subject,
                                     text};
    assert_true(bc_mail_compose(&letter, &bytes, length));
    assert_int_equal(strlen(bytes), *length);
    return bytes;
}

/* The lines end with CR LF and nothing else, are short and ASCII; answers how many headers there are. */
static size_t check_wire(const char *bytes) {
    size_t headers = 0;
    bool body = false;
    for (const char *line = bytes; *line != '\0';) {
        const char *end = strstr(line, "\r\n");
        assert_non_null(end);
        if (end - line > LINE_MAX_CHARS)
            fail_msg("a line of %d characters: %.*s", (int)(end - line), (int)(end - line), line);
        for (const char *c = line; c < end; c++) {
            if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
                fail_msg("byte %02x in: %.80s", (unsigned char)*c, line);
        }
        if (end == line) body = true;
        if (!body && *line != ' ') headers++;
        line = end + 2;
    }
    assert_true(body);
    return headers;
}

static char *decode_quoted(const char *body) {
    char *text = malloc(strlen(body) + 1), *next = text;
    assert_non_null(text);
    while (*body != '\0') {
        unsigned value = 0;
        if (strncmp(body, "=\r\n", 3) == 0) {
            body += 3;
        } else if (*body == '=' && sscanf(body + 1, "%2X", &value) == 1) {
            *next++ = (char)value;
            body += 3;
        } else {
            *next++ = *body++;
        }
    }
    *next = '\0';
    return text;
}

static char *decode_base64(const char *body) {
    size_t length = 0;
    char *text = malloc(strlen(body) + 1);
    assert_non_null(text);
    assert_int_equal(sodium_base642bin((unsigned char *)text, strlen(body), body, strlen(body), "\r\n", &length, NULL,
                                       sodium_base64_VARIANT_ORIGINAL),
                     0);
    text[length] = '\0';
    return text;
}

/* The body as a reader sees it, lines ended by \n; the caller frees it. */
static char *read_body(const char *bytes) {
    const char *body = strstr(bytes, "\r\n\r\n") + 4;
    char *text =
        strstr(bytes, "\r\nContent-Transfer-Encoding: base64\r\n") != NULL ? decode_base64(body) : decode_quoted(body);
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (*from != '\r') *to++ = *from;
    }
    *to = '\0';
    return text;
}

static void every_kind_in_every_language_is_whole(void **state) {
    (void)state;
    assert_int_equal(sizeof(samples) / sizeof(samples[0]), BC_MAIL_KIND_COUNT);
    for (size_t i = 0; i < BC_MAIL_KIND_COUNT; i++) {
        char *subjects[BC_LANGUAGE_COUNT], *texts[BC_LANGUAGE_COUNT];
        assert_int_equal(samples[i].kind, i);
        for (int language = 0; language < BC_LANGUAGE_COUNT; language++) {
            write_mail(samples[i].kind, (bc_language_t)language, samples[i].data, &subjects[language],
                       &texts[language]);
            assert_non_null(strstr(texts[language], samples[i].shown));
            assert_non_null(strstr(texts[language], "Bücher & Co\nhttps://shop.example\n"));
            assert_null(strpbrk(texts[language], "{}"));
            assert_null(strpbrk(subjects[language], "{}\r\n"));
            for (int other = 0; other < language; other++) {
                assert_string_not_equal(subjects[language], subjects[other]);
                assert_string_not_equal(texts[language], texts[other]);
            }
            size_t length = 0;
            char *bytes = compose(subjects[language], texts[language], (bc_language_t)language, &length);
            assert_int_equal(check_wire(bytes), 10);
            char *read = read_body(bytes);
            assert_string_equal(read, texts[language]);
            free(read);
            free(bytes);
        }
        for (int language = 0; language < BC_LANGUAGE_COUNT; language++) {
            free(subjects[language]);
            free(texts[language]);
        }
    }
}

static void an_order_shows_its_lines_sums_and_address(void **state) {
    (void)state;
    char *subject, *text;
    write_mail(BC_MAIL_ORDER_CONFIRMED, BC_EN, NULL, &subject, &text);
    assert_string_equal(subject, "Your order 2026-000123");
    assert_non_null(strstr(text, "  2 × Emma   €25.98\n  1 × Под игото   €1,234.56\n\n"));
    assert_non_null(
        strstr(text, "  Subtotal: €1,260.54\n  Shipping: €3.90\n  Tax included: €88.46\n  Total: €1,264.44\n\n"));
    assert_non_null(strstr(text, "  Zoë Иванова\n  1 rue de l'Église\n  75001 Paris\n  FR\n\n"));
    assert_non_null(strstr(text, "This is a test order"));
    free(subject);
    free(text);
    write_mail(BC_MAIL_ORDER_CONFIRMED, BC_FR, NULL, &subject, &text);
    assert_non_null(strstr(text, "1\xe2\x80\xaf"
                                 "264,44\xc2\xa0€"));
    free(subject);
    free(text);
}

static void money_follows_currency_and_language(void **state) {
    (void)state;
    static const struct {
        int64_t minor;
        const char *currency;
        bc_language_t language;
        const char *shown;
    } cases[] = {
        {1299, "EUR", BC_EN, "€12.99"},
        {1299, "EUR", BC_BG, "12,99\xc2\xa0€"},
        {5, "USD", BC_EN, "$0.05"},
        {500, "JPY", BC_EN, "¥500"},
        {1234, "KWD", BC_FR, "1,234\xc2\xa0KWD"},
        {0, "GBP", BC_EN, "£0.00"},
        {1000, "BGN", BC_EN,
         "лв.\xc2\xa0"
         "10.00"},
        {-250, "EUR", BC_EN, "−€2.50"},
        {1999, "SEK", BC_EN,
         "SEK\xc2\xa0"
         "19.99"},
        {INT64_MIN, "JPY", BC_EN, "−¥9,223,372,036,854,775,808"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char shown[128] = "";
        FILE *out = fmemopen(shown, sizeof(shown), "w");
        assert_non_null(out);
        bc_mail_put_money(out, cases[i].minor, cases[i].currency, cases[i].language);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(shown, cases[i].shown);
    }
}

static void data_that_lacks_something_is_no_mail(void **state) {
    (void)state;
    static const struct {
        bc_mail_kind_t kind;
        const char *data, *missing;
    } cases[] = {
        {BC_MAIL_VERIFY, "{}", "verify_link"},
        {BC_MAIL_RESET, "{\"token\":7}", "reset_link"},
        {BC_MAIL_ORDER_CONFIRMED, "{\"number\":\"1\"}", "lines"},
        {BC_MAIL_ORDER_SHIPPED, "{\"number\":\"1\",\"lines\":[{}],\"carrier\":\"x\",\"tracking\":\"y\"}", "lines"},
        {BC_MAIL_ORDER_REFUNDED, "{\"number\":\"1\",\"amount\":5}", "amount"},
        {BC_MAIL_QUESTION_ANSWERED, "{\"subject\":\"s\"}", "question_link"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *data = data_of(cases[i].data);
        const bc_mail_facts_t facts = {"Shop", "https://shop.example", cases[i].kind, BC_EN, data};
        char *subject = NULL, *text = NULL;
        const char *missing = NULL;
        assert_false(bc_mail_write(&facts, &subject, &text, &missing));
        assert_string_equal(missing, cases[i].missing);
        assert_null(subject);
        json_decref(data);
    }
}

static void no_value_adds_a_header_or_a_line(void **state) {
    (void)state;
    static const char *const attacks[] = {
        "x\\r\\nBcc: victim@example.org",
        "x\\nBcc: victim@example.org",
        "x\\r\\n\\r\\n<script>alert(1)</script>",
        "=?UTF-8?Q?=0D=0ABcc:_victim@example.org?=",
        "\\u2028Bcc: victim@example.org",
        "\\u0085Bcc: victim@example.org",
        "\\u202egro.elpmaxe",
        "x\\u0000y",
        "\\u001b[2J",
        ".\\n.\\n",
    };
    for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
        char data[256], *subject = NULL, *text = NULL;
        (void)snprintf(data, sizeof(data), "{\"question\":\"%s\",\"subject\":\"%s\"}", attacks[i], attacks[i]);
        json_error_t error;
        json_t *loaded = json_loads(data, JSON_ALLOW_NUL, &error);
        assert_non_null(loaded);
        const bc_mail_facts_t facts = {"Shop\r\nBcc: x@example.org", "https://shop.example", BC_MAIL_QUESTION_ANSWERED,
                                       BC_EN, loaded};
        const char *missing = NULL;
        assert_true(bc_mail_write(&facts, &subject, &text, &missing));
        size_t length = 0;
        char *bytes = NULL;
        const bc_mail_letter_t letter = {
            facts.shop_name, "shop@example.org", "reader@example.org", "00", "shop.example", BC_EN, 0, subject, text};
        assert_true(bc_mail_compose(&letter, &bytes, &length));
        assert_int_equal(check_wire(bytes), 10);
        assert_null(strstr(bytes, "\nBcc"));
        char *read = read_body(bytes);
        assert_null(strstr(read, "\nBcc"));
        assert_null(strstr(read, "\n.\n"));
        assert_null(strchr(read, 0x1b));
        assert_null(strstr(read, "\xe2\x80\xae"));
        free(read);
        free(bytes);
        free(subject);
        free(text);
        json_decref(loaded);
    }
}

static void headers_are_what_the_standards_say(void **state) {
    (void)state;
    size_t length = 0;
    char *bytes = compose("Your order 7", "Hello\n.dot\nFrom here\ntrailing \n", BC_EN, &length);
    static const char *const lines[] = {
        "Date: Thu, 27 Nov 2025 14:00:00 +0000\r\n",
        "\r\nFrom: =?UTF-8?B?QsO8Y2hlciAmIENv?=\r\n <shop@example.org>\r\n",
        "\r\nTo: <reader@example.org>\r\n",
        "\r\nMessage-ID: <0123456789abcdef@shop.example>\r\n",
        "\r\nSubject: Your order 7\r\n",
        "\r\nAuto-Submitted: auto-generated\r\n",
        "\r\nContent-Language: en\r\n",
        "\r\nMIME-Version: 1.0\r\n",
        "\r\nContent-Type: text/plain; charset=utf-8\r\n",
        "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHello\r\n=2Edot\r\n=46rom here\r\ntrailing=20\r\n",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) assert_non_null(strstr(bytes, lines[i]));
    free(bytes);
}

static void long_lines_are_folded_and_come_back(void **state) {
    (void)state;
    char text[6000], subject[1200];
    size_t used = 0;
    for (int i = 0; i < 900; i++) used += (size_t)snprintf(text + used, sizeof(text) - used, i % 7 == 0 ? "é" : "wörd");
    (void)snprintf(text + used, sizeof(text) - used, "\n");
    used = 0;
    for (int i = 0; i < 300; i++) used += (size_t)snprintf(subject + used, sizeof(subject) - used, "жж");
    size_t length = 0;
    char *bytes = compose(subject, text, BC_EN, &length);
    assert_int_equal(check_wire(bytes), 10);
    char *read = read_body(bytes);
    assert_string_equal(read, text);
    free(read);
    free(bytes);
}

/* Any bytes at all: the result stays ASCII, folded and of ten headers. */
static void any_bytes_make_a_sound_mail(void **state) {
    (void)state;
    for (int round = 0; round < 2000; round++) {
        char subject[200], text[2000];
        size_t subject_length = (size_t)round % sizeof(subject), text_length = (size_t)round % sizeof(text), length = 0;
        bc_random_bytes(subject, sizeof(subject));
        bc_random_bytes(text, sizeof(text));
        subject[subject_length] = '\0';
        text[text_length] = '\0';
        char *bytes = compose(subject, text, BC_FR, &length);
        assert_int_equal(check_wire(bytes), 10);
        free(bytes);
    }
}

static void a_text_too_long_is_refused(void **state) {
    (void)state;
    char *text = malloc(BC_MAIL_TEXT_MAX + 2), *bytes = NULL;
    size_t length = 0;
    assert_non_null(text);
    memset(text, 'a', BC_MAIL_TEXT_MAX + 1);
    text[BC_MAIL_TEXT_MAX + 1] = '\0';
    const bc_mail_letter_t letter = {"",  "shop@example.org", "reader@example.org", "00", "shop.example", BC_EN, 0, "s",
                                     text};
    assert_false(bc_mail_compose(&letter, &bytes, &length));
    assert_null(bytes);
    text[BC_MAIL_TEXT_MAX] = '\0';
    assert_true(bc_mail_compose(&letter, &bytes, &length));
    free(bytes);
    free(text);
}

static void addresses_hold_nothing_that_ends_a_header(void **state) {
    (void)state;
    static const char *const good[] = {"a@b.example", "first.last+tag@shop.example", "x@localhost", "x@[127.0.0.1]",
                                       "x@[IPv6:::1]"};
    static const char *const bad[] = {
        "",
        "a",
        "@b.example",
        "a@",
        "a b@c.example",
        "a@b.example\r\nBcc: x@y.example",
        "a@b@c.example",
        "<a@b.example>",
        "a@b.example>",
        "a,b@c.example",
        "a@-b.example",
        "a@b.example.",
        ".a@b.example",
        "a..b@c.example",
        "\"a b\"@c.example",
        "ä@b.example",
        "a@bücher.example",
        "a@b.example\n",
        "a@[",
        "a@[]",
        "a@[1]x",
    };
    char longest[400];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) assert_true(bc_mail_address_fits(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (bc_mail_address_fits(bad[i])) fail_msg("took %s", bad[i]);
    }
    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "a@", 2);
    longest[BC_MAIL_ADDRESS_MAX] = '\0';
    assert_true(bc_mail_address_fits(longest));
    longest[BC_MAIL_ADDRESS_MAX] = 'a';
    longest[BC_MAIL_ADDRESS_MAX + 1] = '\0';
    assert_false(bc_mail_address_fits(longest));
}

static void a_name_is_its_key_and_hides_it(void **state) {
    (void)state;
    char one[BC_MAIL_NAME_CHARS + 1], again[BC_MAIL_NAME_CHARS + 1], other[BC_MAIL_NAME_CHARS + 1];
    bc_mail_name("order.paid/ord_1", one);
    bc_mail_name("order.paid/ord_1", again);
    bc_mail_name("order.paid/ord_2", other);
    assert_string_equal(one, again);
    assert_string_not_equal(one, other);
    assert_int_equal(strspn(one, "0123456789abcdef"), BC_MAIL_NAME_CHARS);
}

int main(void) {
    if (!bc_random_init()) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_in_every_language_is_whole),
        cmocka_unit_test(an_order_shows_its_lines_sums_and_address),
        cmocka_unit_test(money_follows_currency_and_language),
        cmocka_unit_test(data_that_lacks_something_is_no_mail),
        cmocka_unit_test(no_value_adds_a_header_or_a_line),
        cmocka_unit_test(headers_are_what_the_standards_say),
        cmocka_unit_test(long_lines_are_folded_and_come_back),
        cmocka_unit_test(any_bytes_make_a_sound_mail),
        cmocka_unit_test(a_text_too_long_is_refused),
        cmocka_unit_test(addresses_hold_nothing_that_ends_a_header),
        cmocka_unit_test(a_name_is_its_key_and_hides_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
