/* Signatures of webhooks: one that Stripe made, every way to get one wrong, rotation, the window of time; and the events behind them. */
#include "platform/bc_random.h"
#include "services/payment/payment_stripe_json.h"
#include "services/payment/payment_webhook_signature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOLERANCE 300

/* The vector that Stripe's own libraries are tested with: body, secret and signature as Stripe computed it. */
#define VECTOR_TIME 1533204620
#define VECTOR_V1   "f0bdba6d4eacbd8ad8a3bbadd7248e633ec1477f7899c124c51b39405fa36613"
#define VECTOR_V0   "63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef"
static const char vector_body[] =
    "{\n  \"id\": \"evt_123\",\n  \"object\": \"event\",\n  \"account\": \"acct_123\",\n  \"api_version\": "
    "\"2017-05-25\",\n  \"created\": 1533204620,\n  \"data\": {\n    \"object\": {\n      \"id\": \"ii_123\",\n      "
    "\"object\": \"invoiceitem\",\n      \"amount\": 1000,\n      \"currency\": \"usd\",\n      \"customer\": "
    "\"cus_123\",\n      \"date\": 1533204620,\n      \"description\": \"Test Invoice Item\",\n      "
    "\"discountable\": false,\n      \"invoice\": \"in_123\",\n      \"livemode\": false,\n      \"metadata\": {},\n   "
    "   \"period\": {\n        \"start\": 1533204620,\n        \"end\": 1533204620\n      },\n      \"plan\": null,\n "
    "     \"proration\": false,\n      \"quantity\": null,\n      \"subscription\": null\n    }\n  },\n  \"livemode\": "
    "false,\n  \"pending_webhooks\": 1,\n  \"request\": {\n    \"id\": \"req_123\",\n    \"idempotency_key\": "
    "\"idempotency-key-123\"\n  },\n  \"type\": \"invoiceitem.created\"\n}\n";

static webhook_secrets_t secrets_of(const char *list) {
    webhook_secrets_t secrets;
    assert_true(webhook_secrets_read(list, &secrets));
    return secrets;
}

static webhook_verdict_t judge(const char *list, const char *header, int64_t now_s) {
    webhook_secrets_t secrets = secrets_of(list);
    return webhook_verify(&secrets, header, vector_body, strlen(vector_body), TOLERANCE, now_s);
}

static void what_stripe_signed_is_good(void **state) {
    (void)state;
    assert_int_equal(judge("webhook_secret", "t=1533204620,v1=" VECTOR_V1 ",v0=" VECTOR_V0, VECTOR_TIME + 100),
                     WEBHOOK_GOOD);
    char header[WEBHOOK_SIGNED_BYTES];
    webhook_sign("webhook_secret", vector_body, strlen(vector_body), VECTOR_TIME, header);
    assert_string_equal(header, "t=1533204620,v1=" VECTOR_V1);
}

static void every_changed_byte_is_noticed(void **state) {
    (void)state;
    webhook_secrets_t secrets = secrets_of("webhook_secret");
    char *body = strdup(vector_body);
    assert_non_null(body);
    for (size_t i = 0; i < strlen(vector_body); i += 7) {
        body[i] ^= 1;
        assert_int_equal(
            webhook_verify(&secrets, "t=1533204620,v1=" VECTOR_V1, body, strlen(vector_body), TOLERANCE, VECTOR_TIME),
            WEBHOOK_FORGED);
        body[i] ^= 1;
    }
    assert_int_equal(
        webhook_verify(&secrets, "t=1533204620,v1=" VECTOR_V1, body, strlen(vector_body) - 1, TOLERANCE, VECTOR_TIME),
        WEBHOOK_FORGED);
    free(body);
}

static void headers_are_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *header;
        webhook_verdict_t verdict;
    } cases[] = {
        {NULL, WEBHOOK_UNSIGNED},
        {"", WEBHOOK_MALFORMED},
        {"t=1533204620", WEBHOOK_MALFORMED},
        {"v1=" VECTOR_V1, WEBHOOK_MALFORMED},
        {"t=,v1=" VECTOR_V1, WEBHOOK_MALFORMED},
        {"t=-1533204620,v1=" VECTOR_V1, WEBHOOK_MALFORMED},
        {"t=+1533204620,v1=" VECTOR_V1, WEBHOOK_MALFORMED},
        {"t=1533204620x,v1=" VECTOR_V1, WEBHOOK_MALFORMED},
        {"t=1533204620.0,v1=" VECTOR_V1, WEBHOOK_MALFORMED},
        {"t=9999999999999,v1=" VECTOR_V1, WEBHOOK_MALFORMED},
        {"t=1533204620,t=1533204620,v1=" VECTOR_V1, WEBHOOK_MALFORMED},
        {"t=1533204620 v1=" VECTOR_V1, WEBHOOK_MALFORMED},
        {"t=1533204620,v1=", WEBHOOK_MALFORMED},
        {"t=1533204620,v1=abc", WEBHOOK_MALFORMED},
        {"t=1533204620,v1=" VECTOR_V1 "00", WEBHOOK_MALFORMED},
        {"t=1533204620,v1=zz"
         "bdba6d4eacbd8ad8a3bbadd7248e633ec1477f7899c124c51b39405fa36613",
         WEBHOOK_MALFORMED},
        {"t=1533204620,v0=" VECTOR_V1, WEBHOOK_MALFORMED}, /* no downgrade to another scheme */
        {"t=01533204620,v1=" VECTOR_V1, WEBHOOK_FORGED},   /* signed is the text, not the number */
        {"t=1533204621,v1=" VECTOR_V1, WEBHOOK_FORGED},
        {"t=1533204620,v1=" VECTOR_V0, WEBHOOK_FORGED},
        {"v1=" VECTOR_V1 ",t=1533204620", WEBHOOK_GOOD}, /* any order */
        {"t=1533204620,v1=" VECTOR_V0 ",v1=" VECTOR_V1, WEBHOOK_GOOD},
        {"t=1533204620,v1=abc,v1=" VECTOR_V1 ",v9=x,,junk", WEBHOOK_GOOD},
        {"t=1533204620,v1=F0BDBA6D4EACBD8AD8A3BBADD7248E633EC1477F7899C124C51B39405FA36613", WEBHOOK_GOOD},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        webhook_verdict_t verdict = judge("webhook_secret", cases[i].header, VECTOR_TIME);
        if (verdict != cases[i].verdict) fail_msg("%s is %s", cases[i].header, webhook_verdict_word(verdict));
    }
}

static void limits_of_the_header_hold(void **state) {
    (void)state;
    char header[WEBHOOK_HEADER_MAX + 64];
    int length = snprintf(header, sizeof(header), "t=1533204620");
    for (int i = 0; i < WEBHOOK_SIGNATURES_MAX - 1; i++)
        length += snprintf(header + length, sizeof(header) - (size_t)length, ",v1=" VECTOR_V0);
    (void)snprintf(header + length, sizeof(header) - (size_t)length, ",v1=" VECTOR_V1);
    assert_int_equal(judge("webhook_secret", header, VECTOR_TIME), WEBHOOK_GOOD);
    length += snprintf(header + length, sizeof(header) - (size_t)length, ",v1=" VECTOR_V0);
    (void)snprintf(header + length, sizeof(header) - (size_t)length, ",v1=" VECTOR_V1);
    assert_int_equal(judge("webhook_secret", header, VECTOR_TIME), WEBHOOK_MALFORMED);

    length = snprintf(header, sizeof(header), "t=1533204620,v1=" VECTOR_V1 ",x=");
    memset(header + length, 'y', WEBHOOK_HEADER_MAX - (size_t)length);
    header[WEBHOOK_HEADER_MAX] = '\0';
    assert_int_equal(judge("webhook_secret", header, VECTOR_TIME), WEBHOOK_GOOD);
    header[WEBHOOK_HEADER_MAX] = 'y';
    header[WEBHOOK_HEADER_MAX + 1] = '\0';
    assert_int_equal(judge("webhook_secret", header, VECTOR_TIME), WEBHOOK_MALFORMED);
}

static void a_window_of_time_is_open_and_no_more(void **state) {
    (void)state;
    const char *header = "t=1533204620,v1=" VECTOR_V1;
    assert_int_equal(judge("webhook_secret", header, VECTOR_TIME + TOLERANCE), WEBHOOK_GOOD);
    assert_int_equal(judge("webhook_secret", header, VECTOR_TIME + TOLERANCE + 1), WEBHOOK_STALE);
    assert_int_equal(judge("webhook_secret", header, VECTOR_TIME - TOLERANCE), WEBHOOK_GOOD);
    assert_int_equal(judge("webhook_secret", header, VECTOR_TIME - TOLERANCE - 1), WEBHOOK_STALE);
    /* What is wrongly signed is forged, however old: the time was not Stripe's. */
    assert_int_equal(judge("webhook_secret", "t=1,v1=" VECTOR_V1, VECTOR_TIME), WEBHOOK_FORGED);
}

static void secrets_are_rotated_without_a_gap(void **state) {
    (void)state;
    char old_header[WEBHOOK_SIGNED_BYTES], new_header[WEBHOOK_SIGNED_BYTES], both[3 * WEBHOOK_SIGNED_BYTES];
    webhook_sign("whsec_old", vector_body, strlen(vector_body), VECTOR_TIME, old_header);
    webhook_sign("whsec_new", vector_body, strlen(vector_body), VECTOR_TIME, new_header);
    (void)snprintf(both, sizeof(both), "%s,%s", old_header, strchr(new_header, ',') + 1);
    assert_int_equal(judge("whsec_old whsec_new", old_header, VECTOR_TIME), WEBHOOK_GOOD);
    assert_int_equal(judge("whsec_old,whsec_new", new_header, VECTOR_TIME), WEBHOOK_GOOD);
    assert_int_equal(judge("whsec_old", both, VECTOR_TIME), WEBHOOK_GOOD);
    assert_int_equal(judge("whsec_new", both, VECTOR_TIME), WEBHOOK_GOOD);
    assert_int_equal(judge("whsec_new", old_header, VECTOR_TIME), WEBHOOK_FORGED);
}

static void lists_of_secrets_have_limits(void **state) {
    (void)state;
    webhook_secrets_t secrets;
    char text[WEBHOOK_SECRET_MAX + 2];
    memset(text, 'x', sizeof(text));
    text[WEBHOOK_SECRET_MAX + 1] = '\0';
    assert_false(webhook_secrets_read(text, &secrets));
    text[WEBHOOK_SECRET_MAX] = '\0';
    assert_true(webhook_secrets_read(text, &secrets));
    assert_false(webhook_secrets_read("", &secrets));
    assert_false(webhook_secrets_read(" , ", &secrets));
    assert_true(webhook_secrets_read("1 2 3 4 5 6 7 8", &secrets));
    assert_int_equal(secrets.count, WEBHOOK_SECRETS_MAX);
    assert_false(webhook_secrets_read("1 2 3 4 5 6 7 8 9", &secrets));
}

/* --- events --- */

#define EVENT(type, object)                                                                                            \
    "{\"object\":\"event\",\"id\":\"evt_1\",\"type\":" type ",\"created\":7,\"data\":{\"object\":" object "}}"

static bool read_event(const char *body, provider_event_t *event) {
    return stripe_read_event(body, strlen(body), event);
}

static void events_name_their_payment(void **state) {
    (void)state;
    static const struct {
        const char *body;
        const char *payment;
    } cases[] = {
        {EVENT("\"payment_intent.succeeded\"", "{\"object\":\"payment_intent\",\"id\":\"pi_1\"}"), "pi_1"},
        {EVENT("\"charge.refunded\"", "{\"object\":\"charge\",\"id\":\"ch_1\",\"payment_intent\":\"pi_2\"}"), "pi_2"},
        {EVENT("\"refund.failed\"", "{\"object\":\"refund\",\"id\":\"re_1\",\"payment_intent\":\"pi_3\"}"), "pi_3"},
        {EVENT("\"charge.dispute.created\"", "{\"object\":\"dispute\",\"payment_intent\":\"pi_4\"}"), "pi_4"},
        {EVENT("\"charge.succeeded\"", "{\"object\":\"charge\",\"id\":\"ch_1\",\"payment_intent\":null}"), ""},
        {EVENT("\"charge.succeeded\"", "{\"object\":\"charge\",\"id\":\"ch_1\"}"), ""},
        {EVENT("\"customer.created\"", "{\"object\":\"customer\",\"id\":\"cus_1\"}"), ""},
        {EVENT("\"v2.never.heard.of\"", "{}"), ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        provider_event_t event;
        if (!read_event(cases[i].body, &event)) fail_msg("%s", cases[i].body);
        assert_string_equal(event.id, "evt_1");
        assert_int_equal(event.created_ms, 7000);
        assert_string_equal(event.payment, cases[i].payment);
    }
}

static void what_is_no_event_is_refused(void **state) {
    (void)state;
    static const char *const cases[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"object\":\"event\"",
        "{\"object\":\"charge\",\"id\":\"evt_1\",\"type\":\"a\",\"created\":7,\"data\":{\"object\":{}}}",
        "{\"object\":\"event\",\"object\":\"event\",\"id\":\"evt_1\",\"type\":\"a\",\"created\":7,\"data\":{\"object\":"
        "{}}}",
        "{\"object\":\"event\",\"id\":\"pi_1\",\"type\":\"a\",\"created\":7,\"data\":{\"object\":{}}}",
        "{\"object\":\"event\",\"id\":\"evt_\",\"type\":\"a\",\"created\":7,\"data\":{\"object\":{}}}",
        "{\"object\":\"event\",\"id\":\"evt_1\",\"type\":\"a\",\"created\":\"7\",\"data\":{\"object\":{}}}",
        "{\"object\":\"event\",\"id\":\"evt_1\",\"type\":\"a\",\"created\":-7,\"data\":{\"object\":{}}}",
        "{\"object\":\"event\",\"id\":\"evt_1\",\"type\":\"a\",\"created\":7.5,\"data\":{\"object\":{}}}",
        "{\"object\":\"event\",\"id\":\"evt_1\",\"type\":\"a\",\"created\":7}",
        "{\"object\":\"event\",\"id\":\"evt_1\",\"type\":\"a\",\"created\":7,\"data\":{\"object\":7}}",
        EVENT("7", "{}"),
        EVENT("\"\"", "{}"),
        EVENT("\"Shout\"", "{}"),
        EVENT("\"a b\"", "{}"),
        EVENT("\"a\"", "{\"object\":\"payment_intent\"}"),
        EVENT("\"a\"", "{\"object\":\"payment_intent\",\"id\":\"ord_1\"}"),
        EVENT("\"a\"", "{\"object\":\"payment_intent\",\"id\":\"pi_../../x\"}"),
        EVENT("\"a\"", "{\"object\":\"charge\",\"payment_intent\":7}"),
        EVENT("\"a\"", "{\"object\":\"charge\",\"payment_intent\":\"\"}"),
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        provider_event_t event = {.id = "as before"};
        if (read_event(cases[i], &event)) fail_msg("taken: %s", cases[i]);
        assert_string_equal(event.id, "as before");
    }
}

static void ids_as_long_as_stripe_promises_fit(void **state) {
    (void)state;
    char body[1024], id[PROVIDER_ID_MAX + 2];
    provider_event_t event;
    memset(id, 'x', sizeof(id));
    memcpy(id, "pi_", 3);
    id[PROVIDER_ID_MAX] = '\0';
    (void)snprintf(body, sizeof(body), EVENT("\"a\"", "{\"object\":\"payment_intent\",\"id\":\"%s\"}"), id);
    assert_true(read_event(body, &event));
    assert_string_equal(event.payment, id);
    id[PROVIDER_ID_MAX] = 'x';
    id[PROVIDER_ID_MAX + 1] = '\0';
    (void)snprintf(body, sizeof(body), EVENT("\"a\"", "{\"object\":\"payment_intent\",\"id\":\"%s\"}"), id);
    assert_false(read_event(body, &event));
}

static int set_up(void **state) {
    (void)state;
    return bc_random_init() ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_stripe_signed_is_good),
        cmocka_unit_test(every_changed_byte_is_noticed),
        cmocka_unit_test(headers_are_read_strictly),
        cmocka_unit_test(limits_of_the_header_hold),
        cmocka_unit_test(a_window_of_time_is_open_and_no_more),
        cmocka_unit_test(secrets_are_rotated_without_a_gap),
        cmocka_unit_test(lists_of_secrets_have_limits),
        cmocka_unit_test(events_name_their_payment),
        cmocka_unit_test(what_is_no_event_is_refused),
        cmocka_unit_test(ids_as_long_as_stripe_promises_fit),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
