/* The sandbox as the domain meets it: states, test methods, keys, refunds, and webhooks that arrive at a real listener. */
#include "platform/bc_client.h"
#include "platform/bc_fault.h"
#include "platform/bc_http.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_service.h"
#include "platform/bc_time.h"
#include "services/payment/payment_sandbox.h"
#include "services/payment/payment_sandbox_methods.h"

#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PATIENCE_MS  20000
#define RECEIVED_MAX 256

static const provider_limit_t limit = {.timeout_ms = 5000};

static char folder[64];
static bc_config_t *config;
static payment_provider_t *provider;
static bc_http_t *shop;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static provider_event_t received[RECEIVED_MAX]; /* under lock: verified ones, in the order of arrival */
static size_t received_count;                   /* under lock */
static int refusals;                            /* under lock: so many webhooks are answered 500 first */
static int forged;                              /* under lock */

static void take_webhook(bc_request_t *request, bc_reply_t *reply, void *context) {
    provider_event_t event;
    const char *body = NULL, *media = NULL;
    size_t length = 0;
    (void)context;
    (void)pthread_mutex_lock(&lock);
    if (!bc_request_raw(request, &body, &length, &media) ||
        provider->ops->verify(provider, bc_request_header(request, provider->ops->signature_header), body, length,
                              bc_time_s(), &event) != PROVIDER_EVENT_OK) {
        forged++;
        bc_reply_problem(reply, "malformed-request", NULL);
    } else if (refusals > 0) {
        refusals--;
        bc_reply_problem(reply, "internal-error", NULL);
    } else {
        if (received_count < RECEIVED_MAX) received[received_count++] = event;
        bc_reply_empty(reply, 200);
    }
    (void)pthread_mutex_unlock(&lock);
}

static const bc_route_t routes[] = {
    {"POST", "/api/v1/payment/webhook", BC_ANYONE, take_webhook, .media = "application/json"},
    {.method = NULL},
};

static void start_shop(void) {
    bc_http_options_t options = {.service = "shop",
                                 .listen = bc_config_text(config, BC_PAYMENT_LISTEN),
                                 .routes = routes,
                                 .connections_max = 16,
                                 .timeout_ms = 5000};
    shop = bc_http_start(&options);
    assert_non_null(shop);
}

static void stop_shop(void) {
    if (shop != NULL) bc_http_stop(shop, 5000);
    shop = NULL;
}

static void start(const char *settings) {
    char text[1024], reason[BC_CONFIG_REASON_BYTES];
    bc_config_destroy(config);
    config = bc_config_create();
    assert_non_null(config);
    (void)snprintf(text, sizeof(text), "BOOKCART_DATA = %s\nBOOKCART_SANDBOX_SETTLE = 50ms\n%s", folder, settings);
    if (!bc_config_read_text(config, "test", text, strlen(text), reason) || !bc_config_finish(config, reason))
        fail_msg("%s", reason);
    assert_true(bc_service_folders(config));
    assert_true(bc_fault_init(bc_config_text(config, BC_FAULTS), reason));
    provider = payment_sandbox_open(config);
    assert_non_null(provider);
    assert_true(payment_is_sandbox(provider));
    assert_true(provider->test);
}

static void stop(void) {
    if (provider != NULL) {
        provider->ops->stop(provider);
        provider->ops->destroy(provider);
    }
    provider = NULL;
}

static int remove_entry(const char *path, const struct stat *found, int kind, struct FTW *walk) {
    (void)found, (void)kind, (void)walk;
    return remove(path);
}

static int set_up(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-sandbox-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    received_count = 0;
    refusals = 0;
    forged = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    stop_shop();
    stop();
    bc_config_destroy(config);
    config = NULL;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* --- helpers --- */

static provider_payment_t make(const char *order, int64_t amount) {
    provider_payment_t payment;
    provider_create_t asked = {.key = order, .number = "B-1", .amount_minor = amount, .currency = "EUR"};
    assert_int_equal(provider->ops->create(provider, &asked, &limit, &payment), PROVIDER_OK);
    return payment;
}

static provider_payment_t look(const char *id) {
    provider_payment_t payment;
    assert_int_equal(provider->ops->retrieve(provider, id, &limit, &payment), PROVIDER_OK);
    return payment;
}

static provider_payment_t make_paid(const char *order, int64_t amount, const char *method) {
    provider_payment_t payment = make(order, amount);
    assert_int_equal(sandbox_confirm(provider, payment.id, method, &payment), SANDBOX_OK);
    assert_int_equal(payment.state, PROVIDER_SUCCEEDED);
    return payment;
}

static provider_result_t refund(const char *key, const char *payment, int64_t amount, provider_refund_t *made) {
    provider_refund_request_t asked = {.key = key, .payment = payment, .amount_minor = amount, .currency = "EUR"};
    return provider->ops->refund(provider, &asked, &limit, made);
}

static bool keep_refund(void *context, const provider_refund_t *refund_seen) {
    *(provider_refund_t *)context = *refund_seen;
    return true;
}

/* The last of the payment's refunds. */
static provider_refund_t last_refund(const char *payment) {
    provider_refund_t found = {.id = ""};
    assert_int_equal(provider->ops->refunds_of(provider, payment, &limit, keep_refund, &found), PROVIDER_OK);
    assert_string_not_equal(found.id, "");
    return found;
}

static void nap(void) {
    (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

#define WAIT_FOR(condition)                                                                                            \
    do {                                                                                                               \
        int64_t end = bc_monotonic_ms() + PATIENCE_MS;                                                                 \
        while (!(condition)) {                                                                                         \
            if (bc_monotonic_ms() > end) fail_msg("waited for: %s", #condition);                                       \
            nap();                                                                                                     \
        }                                                                                                              \
    } while (0)

static int count_of(const char *type) {
    int count = 0;
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < received_count; i++) count += strcmp(received[i].type, type) == 0;
    (void)pthread_mutex_unlock(&lock);
    return count;
}

static size_t received_now(void) {
    (void)pthread_mutex_lock(&lock);
    size_t count = received_count;
    (void)pthread_mutex_unlock(&lock);
    return count;
}

/* --- payments --- */

static void a_payment_is_made_once_under_its_key(void **state) {
    (void)state;
    start("");
    provider_payment_t payment = make("ord_1", 2598), again = make("ord_1", 2598), other = make("ord_2", 2598);
    assert_memory_equal(payment.id, "pi_", 3);
    assert_memory_equal(payment.client_secret, payment.id, strlen(payment.id));
    assert_int_equal(payment.state, PROVIDER_REQUIRES_PAYMENT_METHOD);
    assert_int_equal(payment.amount_minor, 2598);
    assert_int_equal(payment.received_minor, 0);
    assert_string_equal(payment.currency, "EUR");
    assert_string_equal(payment.order, "ord_1");
    assert_string_equal(again.id, payment.id);
    assert_string_not_equal(other.id, payment.id);
    /* As with Stripe: the repeat tells the answer of then, not the state of now. */
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_visa", &again), SANDBOX_OK);
    assert_int_equal(make("ord_1", 2598).state, PROVIDER_REQUIRES_PAYMENT_METHOD);
    assert_int_equal(look(payment.id).state, PROVIDER_SUCCEEDED);
    provider_create_t more = {.key = "ord_1", .number = "B-1", .amount_minor = 2599, .currency = "EUR"};
    assert_int_equal(provider->ops->create(provider, &more, &limit, &again), PROVIDER_REFUSED);
}

static void what_was_told_survives_a_restart(void **state) {
    (void)state;
    start("");
    provider_payment_t payment = make_paid("ord_1", 1000, "pm_card_visa");
    stop();
    start("");
    assert_int_equal(look(payment.id).state, PROVIDER_SUCCEEDED);
    assert_string_equal(make("ord_1", 1000).id, payment.id);
}

/* Every method of the table, from its row: where it leads at once, and in the end. */
static void every_method_leads_where_its_name_says(void **state) {
    (void)state;
    const sandbox_method_t *method;
    start("");
    for (size_t i = 0; (method = sandbox_method_at(i)) != NULL; i++) {
        char order[32];
        const char *wanted = method->decline_code != NULL ? method->decline_code : method->code;
        (void)snprintf(order, sizeof(order), "ord_m%zu", i);
        provider_payment_t payment = make(order, 1000);
        sandbox_result_t result = sandbox_confirm(provider, payment.id, method->name, &payment);
        if (method->flow == SANDBOX_AUTHENTICATED) {
            assert_int_equal(result, SANDBOX_OK);
            assert_int_equal(payment.state, PROVIDER_REQUIRES_ACTION);
            result = sandbox_authenticate(provider, payment.id, true, &payment);
        }
        if (method->flow == SANDBOX_DEBITED) {
            assert_int_equal(result, SANDBOX_OK);
            assert_int_equal(payment.state, PROVIDER_PROCESSING);
            WAIT_FOR((payment = look(payment.id)).state != PROVIDER_PROCESSING);
            result = payment.state == PROVIDER_SUCCEEDED ? SANDBOX_OK : SANDBOX_DECLINED;
        }
        assert_int_equal(result, wanted == NULL ? SANDBOX_OK : SANDBOX_DECLINED);
        assert_int_equal(payment.state, wanted == NULL ? PROVIDER_SUCCEEDED : PROVIDER_REQUIRES_PAYMENT_METHOD);
        assert_int_equal(payment.received_minor, wanted == NULL ? 1000 : 0);
        assert_string_equal(payment.last_error, wanted == NULL ? "" : wanted);
    }
}

static void a_decline_may_be_tried_again(void **state) {
    (void)state;
    start("");
    provider_payment_t payment = make("ord_1", 1000);
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_visa_chargeDeclinedInsufficientFunds", &payment),
                     SANDBOX_DECLINED);
    assert_string_equal(payment.last_error, "insufficient_funds");
    assert_string_equal(look(payment.id).last_error, "insufficient_funds");
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_threeDSecure2Required", &payment), SANDBOX_OK);
    assert_int_equal(sandbox_authenticate(provider, payment.id, false, &payment), SANDBOX_DECLINED);
    assert_string_equal(payment.last_error, "payment_intent_authentication_failure");
    assert_int_equal(sandbox_authenticate(provider, payment.id, true, &payment), SANDBOX_STATE);
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_threeDSecure2Required", &payment), SANDBOX_OK);
    assert_int_equal(sandbox_authenticate(provider, payment.id, true, &payment), SANDBOX_OK);
    assert_string_equal(payment.last_error, "");
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_visa", &payment), SANDBOX_STATE);
}

static void what_is_not_there_is_said(void **state) {
    (void)state;
    provider_payment_t payment;
    provider_refund_t made;
    start("");
    assert_int_equal(sandbox_confirm(provider, "pi_none", "pm_card_visa", &payment), SANDBOX_MISSING);
    assert_int_equal(sandbox_authenticate(provider, "pi_none", true, &payment), SANDBOX_MISSING);
    assert_int_equal(provider->ops->retrieve(provider, "pi_none", &limit, &payment), PROVIDER_MISSING);
    assert_int_equal(provider->ops->cancel(provider, "pi_none", &limit, &payment), PROVIDER_MISSING);
    assert_int_equal(refund("ref_1", "pi_none", 1, &made), PROVIDER_MISSING);
    payment = make("ord_1", 1000);
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_gold", &payment), SANDBOX_UNKNOWN_METHOD);
    assert_int_equal(sandbox_confirm(provider, payment.id, "", &payment), SANDBOX_UNKNOWN_METHOD);
}

static void only_what_waits_for_the_customer_can_be_canceled(void **state) {
    (void)state;
    start("");
    provider_payment_t payment = make("ord_1", 1000);
    assert_int_equal(provider->ops->cancel(provider, payment.id, &limit, &payment), PROVIDER_OK);
    assert_int_equal(payment.state, PROVIDER_CANCELED);
    assert_int_equal(provider->ops->cancel(provider, payment.id, &limit, &payment), PROVIDER_OK);
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_visa", &payment), SANDBOX_STATE);
    payment = make("ord_2", 1000);
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_threeDSecure2Required", &payment), SANDBOX_OK);
    assert_int_equal(provider->ops->cancel(provider, payment.id, &limit, &payment), PROVIDER_OK);
    assert_int_equal(sandbox_authenticate(provider, payment.id, true, &payment), SANDBOX_STATE);
    payment = make_paid("ord_3", 1000, "pm_card_visa");
    assert_int_equal(provider->ops->cancel(provider, payment.id, &limit, &payment), PROVIDER_STATE);
    payment = make("ord_4", 1000);
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_success_de", &payment), SANDBOX_OK);
    assert_int_equal(provider->ops->cancel(provider, payment.id, &limit, &payment),
                     PROVIDER_STATE); /* processing, or paid */
}

/* --- refunds --- */

static void never_more_than_was_paid_goes_back(void **state) {
    (void)state;
    provider_refund_t made, again;
    start("");
    provider_payment_t payment = make("ord_1", 1000);
    assert_int_equal(refund("ref_0", payment.id, 1, &made), PROVIDER_STATE);
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_visa", &payment), SANDBOX_OK);
    assert_int_equal(refund("ref_1", payment.id, 400, &made), PROVIDER_OK);
    assert_int_equal(made.state, PROVIDER_REFUND_SUCCEEDED);
    assert_string_equal(made.refund, "ref_1");
    assert_string_equal(made.payment, payment.id);
    assert_int_equal(refund("ref_1", payment.id, 400, &again), PROVIDER_OK);
    assert_string_equal(again.id, made.id);
    assert_int_equal(refund("ref_1", payment.id, 401, &again), PROVIDER_REFUSED);
    assert_int_equal(refund("ref_2", payment.id, 601, &again), PROVIDER_STATE);
    assert_int_equal(sandbox_refund_there(provider, payment.id, 601, &again), SANDBOX_STATE);
    assert_int_equal(sandbox_refund_there(provider, payment.id, 0, &again), SANDBOX_STATE);
    assert_int_equal(sandbox_refund_there(provider, payment.id, -1, &again), SANDBOX_STATE);
    assert_int_equal(sandbox_refund_there(provider, payment.id, 600, &again), SANDBOX_OK);
    assert_string_equal(again.refund, "");
    assert_int_equal(refund("ref_3", payment.id, 1, &again), PROVIDER_STATE);
    provider_refund_request_t foreign = {.key = "ref_4", .payment = payment.id, .amount_minor = 1, .currency = "USD"};
    assert_int_equal(provider->ops->refund(provider, &foreign, &limit, &again), PROVIDER_STATE);
}

static void refunds_settle_as_their_method_says(void **state) {
    (void)state;
    static const struct {
        const char *method;
        provider_refund_state_t first, last;
    } cases[] = {
        {"pm_card_visa", PROVIDER_REFUND_SUCCEEDED, PROVIDER_REFUND_SUCCEEDED},
        {"pm_card_pendingRefund", PROVIDER_REFUND_PENDING, PROVIDER_REFUND_SUCCEEDED},
        {"pm_card_refundFail", PROVIDER_REFUND_SUCCEEDED, PROVIDER_REFUND_FAILED},
        {"pm_sandbox_pendingRefundFail", PROVIDER_REFUND_PENDING, PROVIDER_REFUND_FAILED},
    };
    start("");
    start_shop();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char key[32];
        provider_refund_t made;
        (void)snprintf(key, sizeof(key), "ord_%zu", i);
        provider_payment_t payment = make_paid(key, 1000, cases[i].method);
        assert_int_equal(refund(key, payment.id, 700, &made), PROVIDER_OK);
        assert_int_equal(made.state, cases[i].first);
        WAIT_FOR(last_refund(payment.id).state == cases[i].last);
        assert_int_equal(refund(key, payment.id, 700, &made), PROVIDER_OK);
        assert_int_equal(made.state, cases[i].first); /* the answer of then */
        /* What failed can be refunded again; what did not, cannot. */
        (void)snprintf(key, sizeof(key), "again_%zu", i);
        assert_int_equal(refund(key, payment.id, 700, &made),
                         cases[i].last == PROVIDER_REFUND_FAILED ? PROVIDER_OK : PROVIDER_STATE);
    }
    WAIT_FOR(count_of("refund.failed") >= 2 && count_of("refund.updated") >= 3);
}

/* --- webhooks --- */

static void every_change_is_told_with_a_good_signature(void **state) {
    (void)state;
    start("");
    start_shop();
    provider_payment_t payment = make("ord_1", 1000);
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_visa_chargeDeclined", &payment), SANDBOX_DECLINED);
    assert_int_equal(sandbox_confirm(provider, payment.id, "pm_card_threeDSecure2Required", &payment), SANDBOX_OK);
    assert_int_equal(sandbox_authenticate(provider, payment.id, true, &payment), SANDBOX_OK);
    provider_refund_t made;
    assert_int_equal(refund("ref_1", payment.id, 1000, &made), PROVIDER_OK);
    static const char *const types[] = {"payment_intent.created",
                                        "charge.failed",
                                        "payment_intent.payment_failed",
                                        "payment_intent.requires_action",
                                        "charge.succeeded",
                                        "payment_intent.succeeded",
                                        "refund.created",
                                        "charge.refunded"};
    const size_t count = sizeof(types) / sizeof(types[0]);
    WAIT_FOR(received_now() >= count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(received[i].type, types[i]);
        assert_string_equal(received[i].payment, payment.id);
    }
    assert_int_equal(received_now(), count);
    assert_int_equal(forged, 0);
}

static void a_webhook_is_sent_until_it_is_taken(void **state) {
    (void)state;
    start("");
    refusals = 3;
    provider_payment_t payment = make("ord_1", 1000); /* nobody listens yet */
    nap();
    start_shop();
    WAIT_FOR(received_now() == 1);
    assert_string_equal(received[0].payment, payment.id);
    assert_int_equal(refusals, 0);
    /* What a stop interrupts, the next start sends. */
    stop_shop();
    (void)make("ord_2", 1000);
    stop();
    start("");
    start_shop();
    WAIT_FOR(received_now() == 2);
}

static void webhooks_can_be_doubled(void **state) {
    (void)state;
    start("BOOKCART_SANDBOX_WEBHOOKS = duplicated\n");
    start_shop();
    (void)make_paid("ord_1", 1000, "pm_card_visa");
    WAIT_FOR(received_now() == 6);
    assert_int_equal(count_of("payment_intent.succeeded"), 2);
    assert_int_equal(count_of("payment_intent.created"), 2);
}

static void webhooks_can_be_reversed(void **state) {
    (void)state;
    start("BOOKCART_SANDBOX_WEBHOOKS = reversed\nBOOKCART_SANDBOX_WEBHOOK_DELAY = 300ms\n");
    start_shop();
    (void)make_paid("ord_1", 1000, "pm_card_visa");
    assert_int_equal(received_now(), 0);
    WAIT_FOR(received_now() == 3);
    assert_string_equal(received[0].type, "payment_intent.succeeded");
    assert_string_equal(received[1].type, "charge.succeeded");
    assert_string_equal(received[2].type, "payment_intent.created");
}

static void webhooks_can_be_lost_and_sent_later(void **state) {
    (void)state;
    start("BOOKCART_SANDBOX_WEBHOOKS = lost\n");
    start_shop();
    (void)make_paid("ord_1", 1000, "pm_card_visa");
    for (int i = 0; i < 40; i++) nap();
    assert_int_equal(received_now(), 0);
    assert_true(sandbox_resend(provider));
    WAIT_FOR(received_now() == 3);
}

static void a_delivery_that_fails_is_tried_again(void **state) {
    (void)state;
    start("BOOKCART_FAULTS = sandbox.deliver=fail@1\n");
    start_shop();
    (void)make("ord_1", 1000);
    WAIT_FOR(received_now() == 1);
}

/* --- lists --- */

typedef struct {
    int64_t payments, refunds, amount;
    int enough;
} seen_t;

/* Calls the provider while it is shown its own list: what a reconciler does. */
static bool see_payment(void *context, const provider_payment_t *payment) {
    seen_t *seen = context;
    seen->payments++;
    seen->amount += look(payment->id).amount_minor;
    return seen->payments != seen->enough;
}

static bool see_refund(void *context, const provider_refund_t *refund_seen) {
    seen_t *seen = context;
    seen->refunds++;
    assert_int_equal(look(refund_seen->payment).state, PROVIDER_SUCCEEDED);
    return true;
}

static void lists_begin_where_they_are_told(void **state) {
    (void)state;
    seen_t seen = {.enough = 0};
    provider_refund_t made;
    start("");
    provider_payment_t first = make_paid("ord_1", 1, "pm_card_visa");
    assert_int_equal(refund("ref_1", first.id, 1, &made), PROVIDER_OK);
    while (bc_time_ms() == first.created_ms || bc_time_ms() == made.created_ms) nap();
    int64_t since_ms = bc_time_ms();
    provider_payment_t second = make_paid("ord_2", 20, "pm_card_visa");
    (void)make("ord_3", 300);
    assert_int_equal(refund("ref_2", second.id, 5, &made), PROVIDER_OK);
    assert_int_equal(refund("ref_3", second.id, 5, &made), PROVIDER_OK);
    assert_int_equal(provider->ops->payments_since(provider, since_ms, &limit, see_payment, &seen), PROVIDER_OK);
    assert_int_equal(seen.payments, 2);
    assert_int_equal(seen.amount, 320);
    assert_int_equal(provider->ops->refunds_since(provider, since_ms, &limit, see_refund, &seen), PROVIDER_OK);
    assert_int_equal(seen.refunds, 2);
    seen = (seen_t){.enough = 1};
    assert_int_equal(provider->ops->payments_since(provider, 0, &limit, see_payment, &seen), PROVIDER_OK);
    assert_int_equal(seen.payments, 1);
    assert_int_equal(provider->ops->refunds_of(provider, first.id, &limit, see_refund, &seen), PROVIDER_OK);
    assert_int_equal(seen.refunds, 1);
}

/* --- many at once --- */

static void *refund_often(void *argument) {
    const char *id = argument;
    int64_t *sum = calloc(1, sizeof(*sum));
    for (int i = 0; i < 40; i++) {
        provider_refund_t made;
        char key[40], random[16];
        bc_random_text(9, random, sizeof(random));
        (void)snprintf(key, sizeof(key), "ref_%s", random);
        if (refund(key, id, 37, &made) == PROVIDER_OK) *sum += made.amount_minor;
    }
    return sum;
}

static void refunds_that_race_stay_within_the_payment(void **state) {
    (void)state;
    pthread_t threads[4];
    int64_t sum = 0;
    start("BOOKCART_SANDBOX_WEBHOOKS = lost\n");
    provider_payment_t payment = make_paid("ord_1", 1000, "pm_card_visa");
    for (size_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, refund_often, payment.id), 0);
    for (size_t i = 0; i < 4; i++) {
        void *part = NULL;
        assert_int_equal(pthread_join(threads[i], &part), 0);
        sum += *(int64_t *)part;
        free(part);
    }
    assert_int_equal(sum, 1000 / 37 * 37);
}

static int begin(void **state) {
    (void)state;
    bc_log_init("test", BC_LOG_ALERT);
    return bc_random_init() && bc_client_init() ? 0 : -1;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_payment_is_made_once_under_its_key),
        TEST(what_was_told_survives_a_restart),
        TEST(every_method_leads_where_its_name_says),
        TEST(a_decline_may_be_tried_again),
        TEST(what_is_not_there_is_said),
        TEST(only_what_waits_for_the_customer_can_be_canceled),
        TEST(never_more_than_was_paid_goes_back),
        TEST(refunds_settle_as_their_method_says),
        TEST(every_change_is_told_with_a_good_signature),
        TEST(a_webhook_is_sent_until_it_is_taken),
        TEST(webhooks_can_be_doubled),
        TEST(webhooks_can_be_reversed),
        TEST(webhooks_can_be_lost_and_sent_later),
        TEST(a_delivery_that_fails_is_tried_again),
        TEST(lists_begin_where_they_are_told),
        TEST(refunds_that_race_stay_within_the_payment),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
