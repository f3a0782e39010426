/* The service's life: opens payment.db under the lock that bc_service holds, serves, closes. */
#include "services/payment/payment_service.h"

#include "platform/bc_store.h"
#include "services/payment/payment.h"

#include <stdlib.h>

static const bc_store_t stored = {.service = "payment", .file = "payment.db", .migrations = payment_migrations};

/* In the order that nobody uses what is gone: threads first, then what they write to. */
static void close_payment(void *context) {
    payment_t *payment = context;
    bc_consumer_destroy(payment->auth);
    bc_consumer_destroy(payment->library);
    bc_task_destroy(payment->keeper);
    bc_task_destroy(payment->announcer);
    payment_provider_destroy(payment->provider);
    bc_mailer_destroy(payment->mailer);
    bc_revoked_destroy(payment->revoked);
    bc_outbox_destroy(payment->outbox);
    bc_db_close(payment->db);
    free(payment);
}

static void stock_opened(void *context) {
    payment_t *payment = context;
    bc_task_wake(payment->announcer);
}

static void users_changed(void *context) {
    payment_t *payment = context;
    bc_task_wake(payment->keeper); /* an erased user's open order is to end */
}

static bool start_threads(payment_t *payment) {
    const bc_consumer_options_t library = {.source = "library",
                                           .listen = BC_LIBRARY_INTERNAL,
                                           .handlers = payment_library_events,
                                           .db = payment->db,
                                           .context = payment,
                                           .applied = stock_opened},
                                auth = {.source = "auth",
                                        .listen = BC_AUTH_INTERNAL,
                                        .handlers = payment_auth_events,
                                        .db = payment->db,
                                        .context = payment,
                                        .applied = users_changed};
    payment->mailer = bc_mailer_create(payment->config, payment->db, NULL, NULL); /* every mail has its address */
    if (payment->mailer != NULL) payment->announcer = bc_task_create("announcer", payment_announce_step, payment);
    if (payment->announcer != NULL) payment->keeper = bc_task_create("keeper", payment_keeper_step, payment);
    if (payment->keeper != NULL) payment->library = bc_consumer_create(payment->config, payment->service_key, &library);
    if (payment->library != NULL) payment->auth = bc_consumer_create(payment->config, payment->service_key, &auth);
    return payment->auth != NULL;
}

static bool open_payment(const bc_service_tools_t *tools, void **context) {
    payment_t *payment = calloc(1, sizeof(*payment));
    if (payment == NULL) return false;
    payment->config = tools->config;
    payment->service_key = tools->service_key;
    payment->stopping = tools->stopping;
    payment->db = bc_store_open(&stored, tools->config);
    if (payment->db != NULL) payment->outbox = bc_outbox_create("payment", payment->db);
    if (payment->outbox != NULL) payment->revoked = bc_revoked_create(tools->config, tools->service_key);
    if (payment->revoked != NULL) payment->provider = payment_provider_open(tools->config);
    if (payment->provider == NULL || !start_threads(payment)) {
        close_payment(payment);
        return false;
    }
    *context = payment;
    return true;
}

static void stop_payment(void *context) {
    payment_t *payment = context;
    bc_revoked_stop(payment->revoked);
    bc_consumer_stop(payment->auth);
    bc_consumer_stop(payment->library);
    bc_task_stop(payment->keeper);
    bc_task_stop(payment->announcer);
    payment_provider_stop(payment->provider);
    bc_mailer_stop(payment->mailer);
    bc_outbox_wake(payment->outbox);
}

static bool is_ready(void *context, json_t *checks) {
    payment_t *payment = context;
    bool open = bc_db_is_open(payment->db);
    bool vouched = bc_revoked_is_vouched(payment->revoked);
    if (json_object_set_new(checks, "revocations", json_string(vouched ? "ok" : "not vouched for")) != 0) return false;
    if (json_object_set_new(checks, "library events", json_string(bc_consumer_state(payment->library))) != 0 ||
        json_object_set_new(checks, "auth events", json_string(bc_consumer_state(payment->auth))) != 0)
        return false;
    return json_object_set_new(checks, "database", json_string(open ? "ok" : "closed")) == 0 && open;
}

static bc_standing_t standing(const bc_claims_t *claims, void *context) {
    const payment_t *payment = context;
    return bc_revoked_standing(payment->revoked, claims);
}

const bc_service_t payment_service = {
    .name = "payment",
    .listen = BC_PAYMENT_LISTEN,
    .internal = BC_PAYMENT_INTERNAL,
    .routes = payment_routes,
    .internal_routes = payment_internal_routes,
    .open = open_payment,
    .stop = stop_payment,
    .close = close_payment,
    .standing = standing,
    .ready = is_ready,
};

int payment_service_main(const bc_config_t *config) {
    return bc_service_main(&payment_service, config);
}

int payment_service_migrate(const bc_config_t *config) {
    return bc_store_migrate(&stored, config);
}

int payment_service_restored(const bc_config_t *config) {
    return bc_store_restored(&stored, config);
}
