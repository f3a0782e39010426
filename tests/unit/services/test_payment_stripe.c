/*
 * The Stripe provider against a server that plays tricks: right answers, wrong ones, slow, cut off, endless, refused, 429 and 5xx before
 * the good one. What is tested: what is asked (method, target, form, headers), how often and under which key, and that nothing which does
 * not fit gets through. How requests fare with Stripe's own description of its API is tested in tests/engines.
 */
#include "platform/bc_client.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"
#include "services/payment/payment_stripe.h"
#include "services/payment/payment_stripe_call.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define STEPS_MAX  64
#define SECRET_KEY "sk_test_51OnlyForThisTest"

typedef enum { ANSWER, HANG, CUT, CLOSE, ENDLESS, DRIP, LONG_HEADERS } trick_t;

typedef struct {
    trick_t trick;
    int status;
    const char *headers; /* each with its end; NULL: none */
    const char *body;
} step_t;

typedef struct {
    char method[8], target[STRIPE_TARGET_MAX], key[128], version[32], authorization[128], body[STRIPE_FORM_BYTES];
} asked_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static step_t steps[STEPS_MAX]; /* under lock, like all of these */
static size_t step_count, step_next;
static asked_t asked[STEPS_MAX];
static size_t asked_count;
static volatile bool ending;

static int listener = -1;
static uint16_t port;
static pthread_t server;
static bc_config_t *config;
static payment_provider_t *provider;

/* --- the server: one connection at a time, one request each --- */

/* false: the client had enough. */
static bool send_text(int fd, const char *text, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, text, length, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        text += sent;
        length -= (size_t)sent;
    }
    return true;
}

static void copy_header(const char *request, const char *name, char *value, size_t size) {
    const char *at = strcasestr(request, name);
    value[0] = '\0';
    if (at == NULL) return;
    at += strlen(name);
    (void)snprintf(value, size, "%.*s", (int)strcspn(at, "\r\n"), at);
}

/* false: the connection ended before a whole request. */
static bool read_request(int fd, asked_t *got) {
    static char request[16384];
    size_t used = 0;
    char *end = NULL, length[16];
    while (end == NULL || used < (size_t)(end + 4 - request) + strtoul(length, NULL, 10)) {
        ssize_t more = recv(fd, request + used, sizeof(request) - 1 - used, 0);
        if (more <= 0) return false;
        used += (size_t)more;
        request[used] = '\0';
        end = strstr(request, "\r\n\r\n");
        if (end != NULL) copy_header(request, "\r\nContent-Length: ", length, sizeof(length));
    }
    assert_int_equal(sscanf(request, "%7s %1023s", got->method, got->target), 2);
    (void)snprintf(got->body, sizeof(got->body), "%s", end + 4);
    copy_header(request, "\r\nIdempotency-Key: ", got->key, sizeof(got->key));
    copy_header(request, "\r\nStripe-Version: ", got->version, sizeof(got->version));
    copy_header(request, "\r\nAuthorization: ", got->authorization, sizeof(got->authorization));
    return true;
}

static void pause_ms(int ms) {
    (void)nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

static void play(int fd, const step_t *step) {
    char head[1024], filler[4096], ignored;
    bool going = true;
    memset(filler, ' ', sizeof(filler));
    size_t length = step->body == NULL ? 0 : strlen(step->body);
    int written = snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n",
                           step->status, length, step->headers == NULL ? "" : step->headers);
    switch (step->trick) {
    case ANSWER:
        (void)(send_text(fd, head, (size_t)written) &&
               send_text(fd, step->body, length)); /* the client's to judge, as below */
        break;
    case HANG: /* until the client gives up */
        while (!ending && recv(fd, &ignored, 1, 0) > 0) continue;
        break;
    case CUT:
        (void)(send_text(fd, head, (size_t)written) && send_text(fd, step->body, length / 2));
        break;
    case CLOSE:
        break;
    case ENDLESS:
        written = snprintf(head, sizeof(head), "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n");
        going = send_text(fd, head, (size_t)written);
        for (size_t sent = 0; going && sent < 2 * (size_t)STRIPE_REPLY_MAX; sent += sizeof(filler))
            going = send_text(fd, filler, sizeof(filler));
        break;
    case DRIP:
        going = send_text(fd, head, (size_t)written);
        for (size_t i = 0; going && i < length && !ending; i++) {
            pause_ms(100);
            going = send_text(fd, step->body + i, 1);
        }
        break;
    case LONG_HEADERS:
        going = send_text(fd, "HTTP/1.1 200 X\r\n", 16);
        for (size_t sent = 0; going && sent < 2 * (size_t)BC_FETCH_HEADERS_MAX; sent += 1000)
            going = send_text(fd, "X: ", 3) && send_text(fd, filler, 1000) && send_text(fd, "y\r\n", 3);
        break;
    }
}

static void *serve(void *argument) {
    (void)argument;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) return NULL;
        step_t step = {.trick = CLOSE};
        asked_t got;
        if (read_request(fd, &got)) {
            (void)pthread_mutex_lock(&lock);
            if (asked_count < STEPS_MAX) asked[asked_count++] = got;
            if (step_next < step_count) step = steps[step_next++];
            (void)pthread_mutex_unlock(&lock);
            play(fd, &step);
        }
        (void)close(fd);
    }
}

static int begin(void **state) {
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    char text[1024], reason[BC_CONFIG_REASON_BYTES];
    bc_log_init("test", BC_LOG_ALERT);
    if (!bc_random_init() || !bc_client_init()) return -1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 16) != 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        return -1;
    port = ntohs(address.sin_port);
    if (pthread_create(&server, NULL, serve, NULL) != 0) return -1;
    config = bc_config_create();
    (void)snprintf(text, sizeof(text),
                   "BOOKCART_DATA = /tmp\nBOOKCART_PAYMENTS = stripe:\nBOOKCART_STRIPE_KEY = " SECRET_KEY
                   "\nBOOKCART_STRIPE_PUBLISHABLE_KEY = pk_test_1\nBOOKCART_STRIPE_WEBHOOK_SECRETS = whsec_a whsec_b\n"
                   "BOOKCART_STRIPE_API = http://127.0.0.1:%u\n",
                   port);
    if (config == NULL || !bc_config_read_text(config, "test", text, strlen(text), reason) ||
        !bc_config_finish(config, reason))
        return -1;
    provider = payment_provider_open(config);
    return provider != NULL && strcmp(provider->ops->name, "stripe") == 0 && provider->test ? 0 : -1;
}

static int finish(void **state) {
    (void)state;
    ending = true;
    (void)shutdown(listener, SHUT_RDWR);
    (void)pthread_join(server, NULL);
    (void)close(listener);
    provider->ops->destroy(provider);
    bc_config_destroy(config);
    return 0;
}

static int forget(void **state) {
    (void)state;
    (void)pthread_mutex_lock(&lock);
    step_count = step_next = asked_count = 0;
    (void)pthread_mutex_unlock(&lock);
    return 0;
}

static void will(trick_t trick, int status, const char *headers, const char *body) {
    (void)pthread_mutex_lock(&lock);
    assert_true(step_count < STEPS_MAX);
    steps[step_count++] = (step_t){trick, status, headers, body};
    (void)pthread_mutex_unlock(&lock);
}

/* --- what is asked for --- */

#define PAYMENT(id, status, more)                                                                                      \
    "{\"object\":\"payment_intent\",\"id\":\"" id "\",\"livemode\":false,\"status\":\"" status                         \
    "\",\"amount\":1299,\"amount_received\":0,\"currency\":\"eur\",\"created\":1700000000,\"client_secret\":\"" id     \
    "_secret_x\",\"last_payment_error\":null,\"metadata\":{\"order\":\"ord_1\"}" more "}"
#define NEW_PAYMENT PAYMENT("pi_1", "requires_payment_method", "")
#define REFUND(id, status)                                                                                             \
    "{\"object\":\"refund\",\"id\":\"" id "\",\"payment_intent\":\"pi_1\",\"status\":\"" status                        \
    "\",\"amount\":500,\"currency\":\"eur\",\"created\":1700000000,\"metadata\":{\"refund\":\"ref_1\"}}"
#define ERROR(code) "{\"error\":{\"type\":\"invalid_request_error\",\"code\":\"" code "\",\"message\":\"words\"}}"

static const provider_create_t wish = {.key = "ord_1", .number = "B 1/ü", .amount_minor = 1299, .currency = "EUR"};
static const provider_refund_request_t refund_wish = {
    .key = "ref_1", .payment = "pi_1", .amount_minor = 500, .currency = "EUR"};

static provider_result_t create_within(int64_t ms, provider_payment_t *payment) {
    provider_limit_t limit = {.timeout_ms = ms};
    return provider->ops->create(provider, &wish, &limit, payment);
}

static provider_result_t create(provider_payment_t *payment) {
    return create_within(20000, payment);
}

static void a_create_says_all_that_stripe_needs(void **state) {
    (void)state;
    provider_payment_t payment;
    will(ANSWER, 200, NULL, NEW_PAYMENT);
    assert_int_equal(create(&payment), PROVIDER_OK);
    assert_string_equal(payment.id, "pi_1");
    assert_string_equal(payment.client_secret, "pi_1_secret_x");
    assert_string_equal(payment.currency, "EUR");
    assert_string_equal(payment.order, "ord_1");
    assert_int_equal(payment.created_ms, 1700000000000);
    assert_int_equal(asked_count, 1);
    assert_string_equal(asked[0].method, "POST");
    assert_string_equal(asked[0].target, "/v1/payment_intents");
    assert_string_equal(asked[0].key, "ord_1");
    assert_string_equal(asked[0].version, STRIPE_VERSION);
    assert_string_equal(asked[0].authorization, "Bearer " SECRET_KEY);
    assert_string_equal(asked[0].body,
                        "amount=1299&currency=eur&automatic_payment_methods[enabled]=true&"
                        "description=B%201%2F%C3%BC&metadata[order]=ord_1&metadata[number]=B%201%2F%C3%BC");
}

static void what_may_help_is_tried_again_under_the_same_key(void **state) {
    (void)state;
    static const struct {
        trick_t trick;
        int status;
        const char *headers;
    } cases[] = {{ANSWER, 429, NULL},
                 {ANSWER, 500, NULL},
                 {ANSWER, 503, NULL},
                 {ANSWER, 409, NULL},
                 {CUT, 200, NULL},
                 {CLOSE, 0, NULL},
                 {ANSWER, 400, "Stripe-Should-Retry: true\r\n"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        provider_payment_t payment;
        (void)forget(NULL);
        will(cases[i].trick, cases[i].status, cases[i].headers, "{\"error\":{}}");
        will(cases[i].trick, cases[i].status, cases[i].headers, "{\"error\":{}}");
        will(ANSWER, 200, NULL, NEW_PAYMENT);
        assert_int_equal(create(&payment), PROVIDER_OK);
        assert_int_equal(asked_count, 3);
        for (size_t j = 0; j < 3; j++) assert_string_equal(asked[j].key, "ord_1");
    }
}

static void tries_have_an_end(void **state) {
    (void)state;
    provider_payment_t payment = {.id = "as before"};
    for (int i = 0; i < STRIPE_TRIES_MAX + 1; i++) will(ANSWER, 500, NULL, "");
    assert_int_equal(create(&payment), PROVIDER_AWAY);
    assert_int_equal(asked_count, STRIPE_TRIES_MAX);
    assert_string_equal(payment.id, "as before");
}

static void stripe_may_forbid_another_try(void **state) {
    (void)state;
    provider_payment_t payment;
    will(ANSWER, 500, "Stripe-Should-Retry: false\r\n", "");
    assert_int_equal(create(&payment), PROVIDER_AWAY);
    assert_int_equal(asked_count, 1);
}

static void retry_after_is_waited_for_or_the_call_ends(void **state) {
    (void)state;
    provider_payment_t payment;
    will(ANSWER, 429, "Retry-After: 1\r\n", "");
    will(ANSWER, 200, NULL, NEW_PAYMENT);
    int64_t began = bc_monotonic_ms();
    assert_int_equal(create(&payment), PROVIDER_OK);
    assert_true(bc_monotonic_ms() - began >= 1000);
    (void)forget(NULL);
    will(ANSWER, 429, "Retry-After: 3600\r\n", "");
    began = bc_monotonic_ms();
    assert_int_equal(create(&payment), PROVIDER_AWAY);
    assert_true(bc_monotonic_ms() - began < 10000);
    assert_int_equal(asked_count, 1);
}

static void a_call_ends_in_its_time(void **state) {
    (void)state;
    static const trick_t tricks[] = {HANG, DRIP};
    for (size_t i = 0; i < sizeof(tricks) / sizeof(tricks[0]); i++) {
        provider_payment_t payment;
        (void)forget(NULL);
        for (int j = 0; j < 8; j++) will(tricks[i], 200, NULL, NEW_PAYMENT);
        int64_t began = bc_monotonic_ms();
        assert_int_equal(create_within(1200, &payment), PROVIDER_AWAY);
        int64_t took = bc_monotonic_ms() - began;
        assert_true(took < 6000); /* 1.2 s, on a machine with other things to do */
        assert_true(asked_count >= 2);
    }
}

static void a_second_try_has_time_left_when_the_first_hangs(void **state) {
    (void)state;
    provider_payment_t payment;
    will(HANG, 0, NULL, NULL);
    will(ANSWER, 200, NULL, NEW_PAYMENT);
    assert_int_equal(create_within(2500, &payment), PROVIDER_OK);
}

static void *stop_soon(void *flag) {
    pause_ms(300);
    *(volatile bool *)flag = true;
    return NULL;
}

static void a_stop_ends_a_call_that_waits(void **state) {
    (void)state;
    static volatile bool stopping;
    pthread_t thread;
    provider_payment_t payment;
    provider_limit_t limit = {.timeout_ms = 60000, .stop = &stopping};
    will(ANSWER, 503, "Retry-After: 30\r\n", "");
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, (void *)(uintptr_t)&stopping), 0);
    int64_t began = bc_monotonic_ms();
    assert_int_equal(provider->ops->create(provider, &wish, &limit, &payment), PROVIDER_AWAY);
    assert_true(bc_monotonic_ms() - began < 10000);
    (void)pthread_join(thread, NULL);
}

static void answers_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "",
        "null",
        "[]",
        "not JSON",
        "{\"object\":\"payment_intent\"",
        "{}",
        "{\"object\":\"payment_intent\",\"object\":\"payment_intent\"}",
        REFUND("re_1", "succeeded"),
        PAYMENT("ord_1", "requires_payment_method", ""),
        PAYMENT("pi_1/../x", "requires_payment_method", ""),
        PAYMENT("pi_1", "requires_capture", ""),
        PAYMENT("pi_1", "paid", ""),
        PAYMENT("pi_1", "succeeded", ""), /* with nothing received */
        "{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"livemode\":true,\"status\":\"requires_payment_method\","
        "\"amount\":1299,\"amount_received\":0,\"currency\":\"eur\",\"created\":1,\"client_secret\":\"s\"}",
        "{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"livemode\":false,\"status\":\"requires_payment_method\","
        "\"amount\":1298,\"amount_received\":0,\"currency\":\"eur\",\"created\":1,\"client_secret\":\"s\"}",
        "{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"livemode\":false,\"status\":\"requires_payment_method\","
        "\"amount\":1299,\"amount_received\":0,\"currency\":\"usd\",\"created\":1,\"client_secret\":\"s\"}",
        "{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"livemode\":false,\"status\":\"requires_payment_method\","
        "\"amount\":\"1299\",\"amount_received\":0,\"currency\":\"eur\",\"created\":1,\"client_secret\":\"s\"}",
        "{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"livemode\":false,\"status\":\"requires_payment_method\","
        "\"amount\":1299.0,\"amount_received\":0,\"currency\":\"eur\",\"created\":1,\"client_secret\":\"s\"}",
        "{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"livemode\":false,\"status\":\"requires_payment_method\","
        "\"amount\":1299,\"amount_received\":0,\"currency\":\"eur\",\"created\":1,\"client_secret\":\"s\\r\\nX: y\"}",
        "{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"livemode\":false,\"status\":\"requires_payment_method\","
        "\"amount\":1299,\"amount_received\":0,\"currency\":\"eur\",\"created\":1,\"client_secret\":\"s\","
        "\"metadata\":{\"order\":\"ord_2\"}}",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        provider_payment_t payment = {.id = "as before"};
        (void)forget(NULL);
        will(ANSWER, 200, NULL, bodies[i]);
        provider_result_t result = create(&payment);
        if (result != PROVIDER_REFUSED) fail_msg("%d for %s", result, bodies[i]);
        assert_string_equal(payment.id, "as before");
    }
}

static void what_is_too_large_is_not_read_to_its_end(void **state) {
    (void)state;
    provider_payment_t payment;
    will(ENDLESS, 0, NULL, NULL);
    assert_int_equal(create(&payment), PROVIDER_REFUSED);
    (void)forget(NULL);
    will(LONG_HEADERS, 0, NULL, NULL);
    assert_int_equal(create(&payment), PROVIDER_REFUSED);
    assert_int_equal(asked_count, 1);
}

static void a_redirect_is_not_followed(void **state) {
    (void)state;
    char header[128];
    provider_payment_t payment;
    (void)snprintf(header, sizeof(header), "Location: http://127.0.0.1:%u/elsewhere\r\n", port);
    will(ANSWER, 302, header, "");
    assert_int_equal(create(&payment), PROVIDER_REFUSED);
    assert_int_equal(asked_count, 1);
}

static void errors_say_whether_again_would_help(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *body;
        provider_result_t result;
    } cases[] = {
        {400, ERROR("parameter_invalid_integer"), PROVIDER_REFUSED},
        {400, "{\"error\":{\"type\":\"idempotency_error\"}}", PROVIDER_REFUSED},
        {401, ERROR("api_key_expired"), PROVIDER_REFUSED},
        {403, "", PROVIDER_REFUSED},
        {404, ERROR("resource_missing"), PROVIDER_MISSING},
        {404, "<html>", PROVIDER_REFUSED}, /* somebody else's 404 */
        {400, ERROR("payment_intent_unexpected_state"), PROVIDER_STATE},
        {402, ERROR("card_declined"), PROVIDER_STATE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        provider_payment_t payment;
        provider_limit_t limit = {.timeout_ms = 20000};
        (void)forget(NULL);
        will(ANSWER, cases[i].status, NULL, cases[i].body);
        provider_result_t result = provider->ops->retrieve(provider, "pi_1", &limit, &payment);
        if (result != cases[i].result) fail_msg("%d for %d %s", result, cases[i].status, cases[i].body);
        assert_int_equal(asked_count, 1);
        assert_string_equal(asked[0].method, "GET");
        assert_string_equal(asked[0].target, "/v1/payment_intents/pi_1");
        assert_string_equal(asked[0].key, "");
    }
}

static void a_payment_of_another_id_is_not_believed(void **state) {
    (void)state;
    provider_payment_t payment;
    provider_limit_t limit = {.timeout_ms = 20000};
    will(ANSWER, 200, NULL, PAYMENT("pi_2", "processing", ""));
    assert_int_equal(provider->ops->retrieve(provider, "pi_1", &limit, &payment), PROVIDER_REFUSED);
    /* An id that is none never becomes part of a URL. */
    assert_int_equal(provider->ops->retrieve(provider, "pi_1/cancel", &limit, &payment), PROVIDER_MISSING);
    assert_int_equal(provider->ops->retrieve(provider, "", &limit, &payment), PROVIDER_MISSING);
    assert_int_equal(asked_count, 1);
}

static void a_cancel_of_what_is_canceled_is_done(void **state) {
    (void)state;
    provider_payment_t payment;
    provider_limit_t limit = {.timeout_ms = 20000};
    will(ANSWER, 200, NULL, PAYMENT("pi_1", "canceled", ""));
    assert_int_equal(provider->ops->cancel(provider, "pi_1", &limit, &payment), PROVIDER_OK);
    assert_int_equal(payment.state, PROVIDER_CANCELED);
    will(ANSWER, 400, NULL, ERROR("payment_intent_unexpected_state"));
    will(ANSWER, 200, NULL, PAYMENT("pi_1", "canceled", ""));
    assert_int_equal(provider->ops->cancel(provider, "pi_1", &limit, &payment), PROVIDER_OK);
    will(ANSWER, 400, NULL, ERROR("payment_intent_unexpected_state"));
    will(ANSWER, 200, NULL, PAYMENT("pi_1", "processing", ""));
    assert_int_equal(provider->ops->cancel(provider, "pi_1", &limit, &payment), PROVIDER_STATE);
    will(ANSWER, 200, NULL, PAYMENT("pi_1", "processing", ""));
    assert_int_equal(provider->ops->cancel(provider, "pi_1", &limit, &payment), PROVIDER_REFUSED);
    /* Its key is fresh each time: Stripe would repeat the old answer under the old one. */
    assert_string_equal(asked[0].target, "/v1/payment_intents/pi_1/cancel");
    assert_string_not_equal(asked[0].key, "");
    assert_string_not_equal(asked[0].key, asked[1].key);
}

static void refunds_are_asked_for_and_compared(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *body;
        provider_result_t result;
    } cases[] = {
        {200, REFUND("re_1", "succeeded"), PROVIDER_OK},
        {200, REFUND("re_1", "pending"), PROVIDER_OK},
        {200, REFUND("re_1", "requires_action"), PROVIDER_OK},
        {200, REFUND("re_1", "canceled"), PROVIDER_OK},
        {200, REFUND("re_1", "unheard_of"), PROVIDER_REFUSED},
        {200, REFUND("", "succeeded"), PROVIDER_REFUSED},
        {200, NEW_PAYMENT, PROVIDER_REFUSED},
        {200,
         "{\"object\":\"refund\",\"id\":\"re_1\",\"payment_intent\":\"pi_1\",\"status\":\"succeeded\",\"amount\":501,"
         "\"currency\":\"eur\",\"created\":1}",
         PROVIDER_REFUSED},
        {200,
         "{\"object\":\"refund\",\"id\":\"re_1\",\"payment_intent\":\"pi_2\",\"status\":\"succeeded\",\"amount\":500,"
         "\"currency\":\"eur\",\"created\":1}",
         PROVIDER_REFUSED},
        {400, ERROR("charge_already_refunded"), PROVIDER_STATE},
        {400, "{\"error\":{\"type\":\"invalid_request_error\",\"param\":\"amount\"}}", PROVIDER_STATE},
        {400, "{\"error\":{\"type\":\"invalid_request_error\",\"param\":\"payment_intent\"}}", PROVIDER_REFUSED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        provider_refund_t made;
        provider_limit_t limit = {.timeout_ms = 20000};
        (void)forget(NULL);
        will(ANSWER, cases[i].status, NULL, cases[i].body);
        provider_result_t result = provider->ops->refund(provider, &refund_wish, &limit, &made);
        if (result != cases[i].result) fail_msg("%d for %d %s", result, cases[i].status, cases[i].body);
        assert_string_equal(asked[0].key, "ref_1");
        assert_string_equal(asked[0].body, "payment_intent=pi_1&amount=500&metadata[refund]=ref_1");
    }
}

/* --- lists --- */

typedef struct {
    char ids[8][16];
    size_t count, enough;
} seen_t;

static bool see_refund(void *context, const provider_refund_t *refund) {
    seen_t *seen = context;
    (void)snprintf(seen->ids[seen->count++], 16, "%.15s", refund->id);
    return seen->count != seen->enough;
}

static bool see_payment(void *context, const provider_payment_t *payment) {
    seen_t *seen = context;
    (void)snprintf(seen->ids[seen->count++], 16, "%.15s", payment->id);
    return seen->count != seen->enough;
}

static void lists_are_followed_page_by_page(void **state) {
    (void)state;
    seen_t seen = {.enough = 0};
    provider_limit_t limit = {.timeout_ms = 20000};
    will(ANSWER, 200, NULL,
         "{\"data\":[" REFUND("re_1", "succeeded") "," REFUND("re_2", "failed") "],\"has_more\":true}");
    will(ANSWER, 500, NULL, "");
    will(ANSWER, 200, NULL, "{\"data\":[" REFUND("re_3", "pending") "],\"has_more\":false}");
    assert_int_equal(provider->ops->refunds_of(provider, "pi_1", &limit, see_refund, &seen), PROVIDER_OK);
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.ids[2], "re_3");
    assert_int_equal(asked_count, 3);
    assert_string_equal(asked[0].target, "/v1/refunds?limit=100&payment_intent=pi_1");
    assert_string_equal(asked[2].target, "/v1/refunds?limit=100&payment_intent=pi_1&starting_after=re_2");
}

static void a_list_ends_when_it_is_enough(void **state) {
    (void)state;
    seen_t seen = {.enough = 1};
    provider_limit_t limit = {.timeout_ms = 20000};
    will(ANSWER, 200, NULL,
         "{\"data\":[" PAYMENT("pi_1", "requires_capture", "") "," PAYMENT("pi_2", "processing", "") "," PAYMENT(
             "pi_3", "processing", "") "],\"has_more\":true}");
    assert_int_equal(provider->ops->payments_since(provider, 1700000000999, &limit, see_payment, &seen), PROVIDER_OK);
    assert_int_equal(asked_count, 1);
    assert_string_equal(asked[0].target, "/v1/payment_intents?limit=100&created[gte]=1700000000");
    assert_int_equal(seen.count, 1); /* what this shop never makes is passed over */
    assert_string_equal(seen.ids[0], "pi_2");
}

static void lists_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "{}",
        "{\"data\":{},\"has_more\":false}",
        "{\"data\":[]}",
        "{\"data\":[],\"has_more\":true}", /* for ever */
        "{\"data\":[7],\"has_more\":false}",
        "{\"data\":[{\"id\":\"re_1&x=y\"}],\"has_more\":true}",
        "{\"data\":[{\"id\":\"re_1\"}],\"has_more\":false}",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        seen_t seen = {.enough = 0};
        provider_limit_t limit = {.timeout_ms = 20000};
        (void)forget(NULL);
        will(ANSWER, 200, NULL, bodies[i]);
        provider_result_t result = provider->ops->refunds_since(provider, 0, &limit, see_refund, &seen);
        if (result != PROVIDER_REFUSED) fail_msg("%d for %s", result, bodies[i]);
        assert_int_equal(seen.count, 0);
    }
}

/* --- what an earlier try made --- */

#define SOME_PAYMENT(id, status, amount, received, currency, order)                                                    \
    "{\"object\":\"payment_intent\",\"id\":\"" id "\",\"livemode\":false,\"status\":\"" status "\",\"amount\":" amount \
    ",\"amount_received\":" received ",\"currency\":\"" currency                                                       \
    "\",\"created\":1700000000,\"client_secret\":\"s\",\"metadata\":{\"order\":\"" order "\"}}"
#define SOME_REFUND(id, amount, currency, refund)                                                                      \
    "{\"object\":\"refund\",\"id\":\"" id "\",\"payment_intent\":\"pi_1\",\"status\":\"succeeded\",\"amount\":" amount \
    ",\"currency\":\"" currency "\",\"created\":1700000000,\"metadata\":{\"refund\":\"" refund "\"}}"
#define OTHERS                                                                                                         \
    SOME_PAYMENT("pi_4", "canceled", "1299", "0", "eur", "ord_2")                                                      \
    "," SOME_PAYMENT("pi_5", "canceled", "1298", "0", "eur", "ord_1") "," SOME_PAYMENT(                                \
        "pi_6", "canceled", "1299", "0", "usd", "ord_1") "," SOME_PAYMENT("pi_7", "canceled", "1299", "0", "eur", "")

static provider_result_t find_payment(provider_payment_t *payment) {
    provider_limit_t limit = {.timeout_ms = 20000};
    return provider->ops->find_payment(provider, &wish, 1700000000999, 1700003600000, &limit, payment);
}

static void a_payment_is_found_by_its_order(void **state) {
    (void)state;
    provider_payment_t payment = {.id = "as before"};
    will(ANSWER, 200, NULL,
         "{\"data\":[" OTHERS "," SOME_PAYMENT("pi_2", "canceled", "1299", "0", "eur", "ord_1") "],\"has_more\":true}");
    will(ANSWER, 200, NULL,
         "{\"data\":[" SOME_PAYMENT("pi_3", "succeeded", "1299", "1299", "eur", "ord_1") "],\"has_more\":true}");
    assert_int_equal(find_payment(&payment), PROVIDER_OK);
    assert_string_equal(payment.id, "pi_3"); /* the paid one before the others; the list was left there */
    assert_int_equal(asked_count, 2);
    assert_string_equal(asked[0].method, "GET");
    assert_string_equal(asked[0].target,
                        "/v1/payment_intents?limit=100&created[gte]=1700000000&created[lte]=1700003600");
    (void)forget(NULL);
    will(ANSWER, 200, NULL, "{\"data\":[" PAYMENT("pi_1", "processing", "") "," OTHERS "],\"has_more\":false}");
    assert_int_equal(find_payment(&payment), PROVIDER_OK);
    assert_string_equal(payment.id, "pi_1");
}

static void a_refund_is_found_by_its_name(void **state) {
    (void)state;
    provider_limit_t limit = {.timeout_ms = 20000};
    provider_refund_t found = {.id = "as before"};
    will(ANSWER, 200, NULL,
         "{\"data\":[" SOME_REFUND("re_2", "500", "eur", "ref_2") "," SOME_REFUND(
             "re_3", "499", "eur", "ref_1") "," SOME_REFUND("re_4", "500", "usd", "ref_1") "],\"has_more\":true}");
    will(ANSWER, 200, NULL, "{\"data\":[" REFUND("re_1", "failed") "],\"has_more\":false}");
    assert_int_equal(provider->ops->find_refund(provider, &refund_wish, &limit, &found), PROVIDER_OK);
    assert_string_equal(found.id, "re_1");
    assert_int_equal(found.state, PROVIDER_REFUND_FAILED);
    assert_string_equal(asked[0].target, "/v1/refunds?limit=100&payment_intent=pi_1");
}

/* Only a list that was read to its end says that there is nothing. */
static void nothing_is_there_only_when_the_whole_list_says_so(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *body;
        provider_result_t result;
    } cases[] = {
        {200, "{\"data\":[],\"has_more\":false}", PROVIDER_MISSING},
        {200, "{\"data\":[" OTHERS "],\"has_more\":false}", PROVIDER_MISSING},
        {200, "{\"data\":[" OTHERS "]}", PROVIDER_REFUSED},
        {200, "{\"data\":[7],\"has_more\":false}", PROVIDER_REFUSED},
        {401, ERROR("api_key_expired"), PROVIDER_REFUSED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        provider_payment_t payment = {.id = "as before"};
        (void)forget(NULL);
        will(ANSWER, cases[i].status, NULL, cases[i].body);
        provider_result_t result = find_payment(&payment);
        if (result != cases[i].result) fail_msg("%d for %s", result, cases[i].body);
        assert_string_equal(payment.id, "as before");
    }
    (void)forget(NULL);
    for (int i = 0; i < STRIPE_TRIES_MAX; i++) will(ANSWER, 503, NULL, "");
    provider_payment_t payment;
    assert_int_equal(find_payment(&payment), PROVIDER_AWAY);
}

static void nobody_there_is_away(void **state) {
    (void)state;
    char text[512], reason[BC_CONFIG_REASON_BYTES];
    bc_config_t *other = bc_config_create();
    provider_payment_t payment;
    provider_limit_t limit = {.timeout_ms = 1200};
    assert_non_null(other);
    (void)snprintf(text, sizeof(text),
                   "BOOKCART_DATA = /tmp\nBOOKCART_PAYMENTS = stripe:\nBOOKCART_STRIPE_KEY = " SECRET_KEY
                   "\nBOOKCART_STRIPE_PUBLISHABLE_KEY = pk_test_1\nBOOKCART_STRIPE_WEBHOOK_SECRETS = whsec_a\n"
                   "BOOKCART_STRIPE_API = http://127.0.0.1:1\n");
    assert_true(bc_config_read_text(other, "test", text, strlen(text), reason) && bc_config_finish(other, reason));
    payment_provider_t *lonely = payment_stripe_open(other);
    assert_non_null(lonely);
    assert_int_equal(lonely->ops->retrieve(lonely, "pi_1", &limit, &payment), PROVIDER_AWAY);
    lonely->ops->destroy(lonely);
    bc_config_destroy(other);
}

#define TEST(function) cmocka_unit_test_setup(function, forget)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_create_says_all_that_stripe_needs),
        TEST(what_may_help_is_tried_again_under_the_same_key),
        TEST(tries_have_an_end),
        TEST(stripe_may_forbid_another_try),
        TEST(retry_after_is_waited_for_or_the_call_ends),
        TEST(a_call_ends_in_its_time),
        TEST(a_second_try_has_time_left_when_the_first_hangs),
        TEST(a_stop_ends_a_call_that_waits),
        TEST(answers_that_do_not_fit_are_refused),
        TEST(what_is_too_large_is_not_read_to_its_end),
        TEST(a_redirect_is_not_followed),
        TEST(errors_say_whether_again_would_help),
        TEST(a_payment_of_another_id_is_not_believed),
        TEST(a_cancel_of_what_is_canceled_is_done),
        TEST(refunds_are_asked_for_and_compared),
        TEST(lists_are_followed_page_by_page),
        TEST(a_list_ends_when_it_is_enough),
        TEST(lists_that_do_not_fit_are_refused),
        TEST(a_payment_is_found_by_its_order),
        TEST(a_refund_is_found_by_its_name),
        TEST(nothing_is_there_only_when_the_whole_list_says_so),
        TEST(nobody_there_is_away),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
