/*
 * The Stripe provider against stripe-mock, which checks every request against Stripe's own description of its API and answers with
 * samples. Its answers keep no state: create and refund repeat what was asked (amount, payment), all else is fixed. So what is
 * shown here is that Stripe understands us, by the mock's own log, and that its samples pass our checks.
 */
#include "platform/bc_client.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"
#include "services/payment/payment_stripe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define START_MS 30000

static pid_t mock;
static uint16_t http_port, https_port;
static char log_path[64];
static const provider_limit_t limit = {.timeout_ms = 10000};

/* A port that was free a moment ago: the mock takes no port 0. */
static uint16_t free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static bool answers(uint16_t port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    (void)close(fd);
    return good;
}

static void run_mock(int log) {
    char http[32], https[32];
    (void)snprintf(http, sizeof(http), "127.0.0.1:%u", http_port);
    (void)snprintf(https, sizeof(https), "127.0.0.1:%u", https_port);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    (void)execl(ENGINES_FOLDER "/stripe-mock", "stripe-mock", "-http-addr", http, "-https-addr", https, (char *)NULL);
    _exit(127);
}

static int start_mock(void **state) {
    (void)state;
    bc_log_init("test", BC_LOG_ALERT);
    if (!bc_random_init() || !bc_client_init()) return -1;
    if (access(ENGINES_FOLDER "/stripe-mock", X_OK) != 0) {
        print_error("there is no %s: run tools/engines stripe-mock\n", ENGINES_FOLDER "/stripe-mock");
        return -1;
    }
    (void)snprintf(log_path, sizeof(log_path), "/tmp/bookcart-stripe-mock-XXXXXX");
    int log = mkstemp(log_path);
    http_port = free_port();
    https_port = free_port();
    mock = fork();
    if (mock == 0) run_mock(log);
    (void)close(log);
    int64_t end = bc_monotonic_ms() + START_MS;
    while (!answers(http_port) || !answers(https_port)) {
        if (waitpid(mock, NULL, WNOHANG) == mock || bc_monotonic_ms() > end) return -1;
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return 0;
}

static int stop_mock(void **state) {
    (void)state;
    (void)kill(mock, SIGTERM);
    (void)waitpid(mock, NULL, 0);
    return unlink(log_path);
}

/* How often the mock's log says so since it started. */
static int count_in_log(const char *text) {
    static char content[1024 * 1024];
    int fd = open(log_path, O_RDONLY | O_CLOEXEC), count = 0;
    ssize_t length = fd < 0 ? -1 : read(fd, content, sizeof(content) - 1);
    assert_true(length >= 0);
    (void)close(fd);
    content[length] = '\0';
    for (const char *at = content; (at = strstr(at, text)) != NULL; at++) count++;
    return count;
}

static payment_provider_t *open_provider(const char *scheme, uint16_t port, bc_config_t **config) {
    char text[1024], reason[BC_CONFIG_REASON_BYTES];
    *config = bc_config_create();
    assert_non_null(*config);
    (void)snprintf(text, sizeof(text),
                   "BOOKCART_DATA = /tmp\nBOOKCART_PAYMENTS = stripe:\nBOOKCART_STRIPE_KEY = sk_test_123\n"
                   "BOOKCART_STRIPE_PUBLISHABLE_KEY = pk_test_123\nBOOKCART_STRIPE_WEBHOOK_SECRETS = whsec_a\n"
                   "BOOKCART_STRIPE_API = %s://127.0.0.1:%u\n",
                   scheme, port);
    if (!bc_config_read_text(*config, "test", text, strlen(text), reason) || !bc_config_finish(*config, reason))
        fail_msg("%s", reason);
    payment_provider_t *provider = payment_stripe_open(*config);
    assert_non_null(provider);
    return provider;
}

static bool count_payment(void *context, const provider_payment_t *payment) {
    assert_memory_equal(payment->id, "pi_", 3);
    ++*(int *)context;
    return true;
}

static bool count_refund(void *context, const provider_refund_t *refund) {
    assert_string_not_equal(refund->id, "");
    ++*(int *)context;
    return true;
}

static void stripe_understands_every_call(void **state) {
    (void)state;
    bc_config_t *config;
    payment_provider_t *provider = open_provider("http", http_port, &config);
    provider_payment_t payment;
    provider_refund_t refund;
    int payments = 0, refunds = 0;
    provider_create_t wish = {.key = "ord_1", .number = "B-1", .amount_minor = 2598, .currency = "EUR"};
    assert_int_equal(provider->ops->create(provider, &wish, &limit, &payment), PROVIDER_OK);
    assert_int_equal(payment.amount_minor, 2598);
    assert_string_equal(payment.currency, "EUR");
    assert_string_equal(payment.order, "ord_1");
    assert_string_not_equal(payment.client_secret, "");
    assert_int_equal(provider->ops->retrieve(provider, "pi_123", &limit, &payment), PROVIDER_OK);
    assert_string_equal(payment.id, "pi_123");
    /* The mock takes the cancel and answers with a payment that is not canceled: rightly not believed. */
    assert_int_equal(provider->ops->cancel(provider, "pi_123", &limit, &payment), PROVIDER_REFUSED);
    provider_refund_request_t back = {.key = "ref_1", .payment = "pi_123", .amount_minor = 500, .currency = "USD"};
    assert_int_equal(provider->ops->refund(provider, &back, &limit, &refund), PROVIDER_OK);
    assert_int_equal(refund.amount_minor, 500);
    assert_string_equal(refund.payment, "pi_123");
    assert_string_equal(refund.refund, "ref_1");
    assert_int_equal(provider->ops->payments_since(provider, 1700000000000, &limit, count_payment, &payments),
                     PROVIDER_OK);
    assert_true(payments > 0);
    assert_int_equal(provider->ops->refunds_since(provider, 1700000000000, &limit, count_refund, &refunds),
                     PROVIDER_OK);
    assert_int_equal(provider->ops->refunds_of(provider, "pi_123", &limit, count_refund, &refunds), PROVIDER_OK);
    assert_int_equal(refunds, 0); /* the list's sample is a refund without a PaymentIntent: none of ours */
    assert_int_equal(provider->ops->find_payment(provider, &wish, 1700000000000, 1700003600000, &limit, &payment),
                     PROVIDER_MISSING); /* its samples name no order */
    assert_int_equal(provider->ops->find_refund(provider, &back, &limit, &refund), PROVIDER_MISSING);
    provider->ops->destroy(provider);
    bc_config_destroy(config);
    assert_int_equal(count_in_log("Request: "), 9);
    assert_int_equal(count_in_log("status=200"), 9);
}

static void a_certificate_nobody_vouches_for_is_refused(void **state) {
    (void)state;
    bc_config_t *config;
    payment_provider_t *provider = open_provider("https", https_port, &config);
    provider_payment_t payment = {.id = "as before"};
    int before = count_in_log("Request: ");
    assert_int_equal(provider->ops->retrieve(provider, "pi_123", &limit, &payment), PROVIDER_AWAY);
    assert_string_equal(payment.id, "as before");
    assert_int_equal(count_in_log("Request: "), before); /* no key was sent */
    provider->ops->destroy(provider);
    bc_config_destroy(config);
}

static void what_stripe_does_not_understand_is_refused(void **state) {
    (void)state;
    bc_config_t *config;
    payment_provider_t *provider = open_provider("http", http_port, &config);
    provider_payment_t payment;
    provider_create_t wish = {.key = "ord_2", .number = "B-2", .amount_minor = 100, .currency = "E U"};
    provider_result_t result = provider->ops->create(provider, &wish, &limit, &payment);
    assert_int_equal(result, PROVIDER_REFUSED);
    provider->ops->destroy(provider);
    bc_config_destroy(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stripe_understands_every_call),
        cmocka_unit_test(a_certificate_nobody_vouches_for_is_refused),
        cmocka_unit_test(what_stripe_does_not_understand_is_refused),
    };
    return cmocka_run_group_tests(tests, start_mock, stop_mock);
}
