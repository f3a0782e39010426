/* The sandbox's states, one function a transition; payment_sandbox.h draws them. Each runs in one transaction of sandbox.db that also
 * holds the events about it, and wakes the task after the commit. */
#include "services/payment/payment_sandbox.h"

#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"
#include "services/payment/payment_sandbox_state.h"
#include "services/payment/payment_stripe_json.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const payment_provider_ops_t sandbox_ops;

bool payment_is_sandbox(const payment_provider_t *provider) {
    return provider != NULL && provider->ops == &sandbox_ops;
}

static sandbox_t *sandbox_of(payment_provider_t *provider) {
    assert(payment_is_sandbox(provider));
    return (sandbox_t *)provider;
}

const char *sandbox_state_word(provider_payment_state_t state) {
    static const char *const words[] = {"requires_payment_method", "requires_action", "processing", "succeeded",
                                        "canceled"};
    return words[state];
}

const char *sandbox_refund_word(provider_refund_state_t state) {
    static const char *const words[] = {"pending", "succeeded", "failed"};
    return words[state];
}

void sandbox_make_id(const char *prefix, char *id, size_t size) {
    static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789"; /* 32: five bits each */
    uint8_t bytes[24];
    size_t length = strlen(prefix);
    assert(length + sizeof(bytes) < size);
    bc_random_bytes(bytes, sizeof(bytes));
    memcpy(id, prefix, length);
    for (size_t i = 0; i < sizeof(bytes); i++) id[length + i] = letters[bytes[i] % 32];
    id[length + sizeof(bytes)] = '\0';
}

/* Ends the transaction. A failed commit closes the database and with it the service: as if the provider had gone. */
static bool commit(sandbox_t *sandbox) {
    if (bc_db_commit(sandbox->db) != BC_DB_OK) return false;
    bc_task_wake(sandbox->task);
    return true;
}

/* --- outcomes, inside a transaction --- */

static void set_error(sandbox_payment_t *payment, const char *code, const char *decline) {
    (void)snprintf(payment->code, sizeof(payment->code), "%s", code);
    (void)snprintf(payment->decline, sizeof(payment->decline), "%s", decline == NULL ? "" : decline);
    (void)snprintf(payment->shown.last_error, sizeof(payment->shown.last_error), "%s",
                   decline == NULL ? code : decline); /* all are literals that fit */
}

static void decline(sandbox_t *sandbox, sandbox_payment_t *payment, const char *code, const char *decline_code,
                    int64_t now_ms) {
    set_error(payment, code, decline_code);
    payment->shown.state = PROVIDER_REQUIRES_PAYMENT_METHOD;
    payment->settle_ms = 0;
    sandbox_put_payment(sandbox->db, payment);
    sandbox_tell_payment(sandbox, payment, "charge.failed", true, now_ms);
    sandbox_tell_payment(sandbox, payment, "payment_intent.payment_failed", false, now_ms);
}

static void succeed(sandbox_t *sandbox, sandbox_payment_t *payment, int64_t now_ms) {
    set_error(payment, "", NULL);
    payment->shown.state = PROVIDER_SUCCEEDED;
    payment->shown.received_minor = payment->shown.amount_minor;
    payment->settle_ms = 0;
    sandbox_put_payment(sandbox->db, payment);
    sandbox_tell_payment(sandbox, payment, "charge.succeeded", true, now_ms);
    sandbox_tell_payment(sandbox, payment, "payment_intent.succeeded", false, now_ms);
}

static void decide(sandbox_t *sandbox, sandbox_payment_t *payment, const sandbox_method_t *method, int64_t now_ms) {
    if (method->code != NULL) {
        decline(sandbox, payment, method->code, method->decline_code, now_ms);
    } else {
        succeed(sandbox, payment, now_ms);
    }
}

static void wait_in(sandbox_t *sandbox, sandbox_payment_t *payment, provider_payment_state_t state, const char *type,
                    int64_t settle_ms, int64_t now_ms) {
    set_error(payment, "", NULL);
    payment->shown.state = state;
    payment->settle_ms = settle_ms;
    sandbox_put_payment(sandbox->db, payment);
    sandbox_tell_payment(sandbox, payment, type, false, now_ms);
}

void sandbox_settle_payment(sandbox_t *sandbox, sandbox_payment_t *payment, int64_t now_ms) {
    const sandbox_method_t *method = sandbox_method_find(payment->method);
    assert(payment->shown.state == PROVIDER_PROCESSING);
    assert(method != NULL); /* it was looked up when it was confirmed */
    decide(sandbox, payment, method, now_ms);
}

static void fail_refund(sandbox_t *sandbox, sandbox_refund_t *refund) {
    sandbox_payment_t payment;
    refund->shown.state = PROVIDER_REFUND_FAILED;
    if (!sandbox_get_payment(sandbox->db, refund->shown.payment, &payment)) return; /* an error that sticks */
    assert(payment.refunded_minor >= refund->shown.amount_minor);
    payment.refunded_minor -= refund->shown.amount_minor;
    sandbox_put_payment(sandbox->db, &payment);
}

/* The flow is the payment's method's: what was pending or is to be sent back. */
void sandbox_settle_refund(sandbox_t *sandbox, sandbox_refund_t *refund, int64_t now_ms) {
    sandbox_payment_t payment;
    if (!sandbox_get_payment(sandbox->db, refund->shown.payment, &payment)) return; /* an error that sticks */
    const sandbox_method_t *method = sandbox_method_find(payment.method);
    assert(method != NULL && refund->settle_ms > 0);
    refund->settle_ms = 0;
    bool fails = method->refund == SANDBOX_REFUND_FAILS || method->refund == SANDBOX_REFUND_PENDING_FAILS;
    if (fails) {
        fail_refund(sandbox, refund);
    } else {
        refund->shown.state = PROVIDER_REFUND_SUCCEEDED;
    }
    sandbox_put_refund(sandbox->db, refund);
    sandbox_tell_refund(sandbox, refund, "refund.updated", now_ms);
    sandbox_tell_refund(sandbox, refund, "charge.refund.updated", now_ms);
    if (fails) sandbox_tell_refund(sandbox, refund, "refund.failed", now_ms);
}

/* --- the form in the browser --- */

sandbox_result_t sandbox_confirm(payment_provider_t *provider, const char *id, const char *method_name,
                                 provider_payment_t *shown) {
    sandbox_t *sandbox = sandbox_of(provider);
    sandbox_payment_t payment;
    int64_t now_ms = bc_time_ms();
    const sandbox_method_t *method = sandbox_method_find(method_name);
    if (method == NULL) return SANDBOX_UNKNOWN_METHOD;
    if (bc_db_begin(sandbox->db) != BC_DB_OK) return SANDBOX_FAILED;
    if (!sandbox_get_payment(sandbox->db, id, &payment)) {
        bool sound = bc_db_is_sound(sandbox->db);
        bc_db_rollback(sandbox->db);
        return sound ? SANDBOX_MISSING : SANDBOX_FAILED;
    }
    if (payment.shown.state != PROVIDER_REQUIRES_PAYMENT_METHOD && payment.shown.state != PROVIDER_REQUIRES_ACTION) {
        bc_db_rollback(sandbox->db);
        return SANDBOX_STATE;
    }
    (void)snprintf(payment.method, sizeof(payment.method), "%s", method->name); /* names fit */
    switch (method->flow) {
    case SANDBOX_AT_ONCE:
        decide(sandbox, &payment, method, now_ms);
        break;
    case SANDBOX_AUTHENTICATED:
        wait_in(sandbox, &payment, PROVIDER_REQUIRES_ACTION, "payment_intent.requires_action", 0, now_ms);
        break;
    case SANDBOX_DEBITED:
        wait_in(sandbox, &payment, PROVIDER_PROCESSING, "payment_intent.processing", now_ms + sandbox->settle_ms,
                now_ms);
        break;
    }
    if (!commit(sandbox)) return SANDBOX_FAILED;
    *shown = payment.shown;
    return payment.shown.state == PROVIDER_REQUIRES_PAYMENT_METHOD ? SANDBOX_DECLINED : SANDBOX_OK;
}

sandbox_result_t sandbox_authenticate(payment_provider_t *provider, const char *id, bool success,
                                      provider_payment_t *shown) {
    sandbox_t *sandbox = sandbox_of(provider);
    sandbox_payment_t payment;
    int64_t now_ms = bc_time_ms();
    if (bc_db_begin(sandbox->db) != BC_DB_OK) return SANDBOX_FAILED;
    if (!sandbox_get_payment(sandbox->db, id, &payment)) {
        bool sound = bc_db_is_sound(sandbox->db);
        bc_db_rollback(sandbox->db);
        return sound ? SANDBOX_MISSING : SANDBOX_FAILED;
    }
    if (payment.shown.state != PROVIDER_REQUIRES_ACTION) {
        bc_db_rollback(sandbox->db);
        return SANDBOX_STATE;
    }
    const sandbox_method_t *method = sandbox_method_find(payment.method);
    assert(method != NULL); /* it was looked up when it was confirmed */
    if (success) {
        decide(sandbox, &payment, method, now_ms);
    } else {
        decline(sandbox, &payment, "payment_intent_authentication_failure", NULL, now_ms);
    }
    if (!commit(sandbox)) return SANDBOX_FAILED;
    *shown = payment.shown;
    return payment.shown.state == PROVIDER_SUCCEEDED ? SANDBOX_OK : SANDBOX_DECLINED;
}

/* --- what the domain asks --- */

/* Inside a transaction. true: the key was used before; *result says what that means, and *object and *state what was answered. */
static bool answered_before(sandbox_t *sandbox, const char *kind, const char *key, const char *params,
                            sandbox_key_t *before, provider_result_t *result) {
    if (!sandbox_get_key(sandbox->db, kind, key, before)) return false;
    *result = strcmp(before->params, params) == 0 ? PROVIDER_OK : PROVIDER_REFUSED; /* Stripe: idempotency_error */
    return true;
}

static provider_result_t create(payment_provider_t *self, const provider_create_t *asked, const provider_limit_t *limit,
                                provider_payment_t *shown) {
    sandbox_t *sandbox = sandbox_of(self);
    sandbox_payment_t payment = {.shown = {.state = PROVIDER_REQUIRES_PAYMENT_METHOD}};
    sandbox_key_t key;
    provider_result_t result = PROVIDER_OK;
    int64_t now_ms = bc_time_ms();
    char params[SANDBOX_PARAMS_MAX + 1];
    (void)limit;
    (void)snprintf(params, sizeof(params), "%lld %s %s", (long long)asked->amount_minor, asked->currency,
                   asked->number); /* cut would compare less: all fit */
    if (bc_db_begin(sandbox->db) != BC_DB_OK) return PROVIDER_AWAY;
    if (answered_before(sandbox, "payment", asked->key, params, &key, &result)) {
        if (result == PROVIDER_OK && !sandbox_get_payment(sandbox->db, key.object, &payment)) result = PROVIDER_AWAY;
        bc_db_rollback(sandbox->db);
        if (result != PROVIDER_OK) return result;
        payment.shown.state = (provider_payment_state_t)key.state; /* the answer of then, as Stripe repeats it */
        payment.shown.received_minor = 0;
        payment.shown.last_error[0] = '\0';
        *shown = payment.shown;
        return PROVIDER_OK;
    }
    provider_payment_t *made = &payment.shown;
    char secret[40];
    sandbox_make_id("pi_", made->id, sizeof(made->id));
    sandbox_make_id("secret_", secret, sizeof(secret));
    (void)snprintf(made->client_secret, sizeof(made->client_secret), "%.*s_%s", 27, made->id, secret);
    (void)snprintf(made->currency, sizeof(made->currency), "%.3s", asked->currency);
    (void)snprintf(made->order, sizeof(made->order), "%s", asked->key);          /* a key fits */
    (void)snprintf(payment.number, sizeof(payment.number), "%s", asked->number); /* for people: a cut one is fine */
    made->amount_minor = asked->amount_minor;
    made->created_ms = now_ms;
    key = (sandbox_key_t){.state = made->state};
    (void)snprintf(key.params, sizeof(key.params), "%s", params);
    (void)snprintf(key.object, sizeof(key.object), "%s", made->id);
    sandbox_put_payment(sandbox->db, &payment);
    sandbox_put_key(sandbox->db, "payment", asked->key, &key, now_ms);
    sandbox_tell_payment(sandbox, &payment, "payment_intent.created", false, now_ms);
    if (!commit(sandbox)) return PROVIDER_AWAY;
    *shown = *made;
    return PROVIDER_OK;
}

static provider_result_t retrieve(payment_provider_t *self, const char *id, const provider_limit_t *limit,
                                  provider_payment_t *shown) {
    sandbox_t *sandbox = sandbox_of(self);
    sandbox_payment_t payment;
    (void)limit;
    bc_db_enter(sandbox->db);
    bool found = sandbox_get_payment(sandbox->db, id, &payment);
    bool sound = bc_db_is_sound(sandbox->db);
    bc_db_leave(sandbox->db);
    if (!found) return sound ? PROVIDER_MISSING : PROVIDER_AWAY;
    *shown = payment.shown;
    return PROVIDER_OK;
}

static provider_result_t cancel(payment_provider_t *self, const char *id, const provider_limit_t *limit,
                                provider_payment_t *shown) {
    sandbox_t *sandbox = sandbox_of(self);
    sandbox_payment_t payment;
    int64_t now_ms = bc_time_ms();
    (void)limit;
    if (bc_db_begin(sandbox->db) != BC_DB_OK) return PROVIDER_AWAY;
    bool found = sandbox_get_payment(sandbox->db, id, &payment);
    provider_payment_state_t state = found ? payment.shown.state : PROVIDER_CANCELED;
    if (!found || (state != PROVIDER_REQUIRES_PAYMENT_METHOD && state != PROVIDER_REQUIRES_ACTION)) {
        bool sound = bc_db_is_sound(sandbox->db);
        bc_db_rollback(sandbox->db);
        if (!found) return sound ? PROVIDER_MISSING : PROVIDER_AWAY;
        if (state != PROVIDER_CANCELED) return PROVIDER_STATE;
        *shown = payment.shown;
        return PROVIDER_OK;
    }
    payment.shown.state = PROVIDER_CANCELED;
    sandbox_put_payment(sandbox->db, &payment);
    sandbox_tell_payment(sandbox, &payment, "payment_intent.canceled", false, now_ms);
    if (!commit(sandbox)) return PROVIDER_AWAY;
    *shown = payment.shown;
    return PROVIDER_OK;
}

/* Inside a transaction: makes the refund of a payment that allows it. */
static void make_refund(sandbox_t *sandbox, sandbox_payment_t *payment, int64_t amount_minor, const char *reference,
                        int64_t now_ms, sandbox_refund_t *refund) {
    const sandbox_method_t *method = sandbox_method_find(payment->method);
    assert(method != NULL && payment->shown.state == PROVIDER_SUCCEEDED);
    assert(amount_minor > 0 && amount_minor <= payment->shown.amount_minor - payment->refunded_minor);
    *refund = (sandbox_refund_t){.shown = {.amount_minor = amount_minor, .created_ms = now_ms}};
    bool pending = method->refund == SANDBOX_REFUND_PENDING || method->refund == SANDBOX_REFUND_PENDING_FAILS;
    refund->shown.state = pending ? PROVIDER_REFUND_PENDING : PROVIDER_REFUND_SUCCEEDED;
    if (method->refund != SANDBOX_REFUND_AT_ONCE) refund->settle_ms = now_ms + sandbox->settle_ms;
    sandbox_make_id("re_", refund->shown.id, sizeof(refund->shown.id));
    memcpy(refund->shown.payment, payment->shown.id, sizeof(refund->shown.payment));
    memcpy(refund->shown.currency, payment->shown.currency, sizeof(refund->shown.currency));
    (void)snprintf(refund->shown.refund, sizeof(refund->shown.refund), "%s", reference); /* a key fits */
    payment->refunded_minor += amount_minor;
    sandbox_put_payment(sandbox->db, payment);
    sandbox_put_refund(sandbox->db, refund);
    sandbox_tell_refund(sandbox, refund, "refund.created", now_ms);
    sandbox_tell_payment(sandbox, payment, "charge.refunded", true, now_ms);
}

/* `key` NULL: made at the provider, without idempotency. */
static provider_result_t refund_payment(sandbox_t *sandbox, const char *id, const char *key, int64_t amount_minor,
                                        const char *currency, provider_refund_t *shown) {
    sandbox_payment_t payment;
    sandbox_refund_t refund;
    sandbox_key_t before;
    provider_result_t result = PROVIDER_OK;
    int64_t now_ms = bc_time_ms();
    char params[SANDBOX_PARAMS_MAX + 1];
    (void)snprintf(params, sizeof(params), "%lld %.64s", (long long)amount_minor, id); /* our ids are short */
    if (bc_db_begin(sandbox->db) != BC_DB_OK) return PROVIDER_AWAY;
    if (key != NULL && answered_before(sandbox, "refund", key, params, &before, &result)) {
        if (result == PROVIDER_OK && !sandbox_get_refund(sandbox->db, before.object, &refund)) result = PROVIDER_AWAY;
        bc_db_rollback(sandbox->db);
        if (result != PROVIDER_OK) return result;
        refund.shown.state = (provider_refund_state_t)before.state; /* the answer of then */
        *shown = refund.shown;
        return PROVIDER_OK;
    }
    if (!sandbox_get_payment(sandbox->db, id, &payment)) {
        result = bc_db_is_sound(sandbox->db) ? PROVIDER_MISSING : PROVIDER_AWAY;
    } else if (payment.shown.state != PROVIDER_SUCCEEDED || amount_minor <= 0 ||
               amount_minor > payment.shown.amount_minor - payment.refunded_minor) {
        result = PROVIDER_STATE;
    } else if (currency != NULL && strcmp(currency, payment.shown.currency) != 0) {
        result = PROVIDER_REFUSED;
    }
    if (result != PROVIDER_OK) {
        bc_db_rollback(sandbox->db);
        return result;
    }
    make_refund(sandbox, &payment, amount_minor, key == NULL ? "" : key, now_ms, &refund);
    before = (sandbox_key_t){.state = refund.shown.state};
    (void)snprintf(before.params, sizeof(before.params), "%s", params);
    (void)snprintf(before.object, sizeof(before.object), "%s", refund.shown.id);
    if (key != NULL) sandbox_put_key(sandbox->db, "refund", key, &before, now_ms);
    if (!commit(sandbox)) return PROVIDER_AWAY;
    *shown = refund.shown;
    return PROVIDER_OK;
}

static provider_result_t refund(payment_provider_t *self, const provider_refund_request_t *asked,
                                const provider_limit_t *limit, provider_refund_t *shown) {
    (void)limit;
    return refund_payment(sandbox_of(self), asked->payment, asked->key, asked->amount_minor, asked->currency, shown);
}

static provider_result_t find_payment(payment_provider_t *self, const provider_create_t *asked, int64_t from_ms,
                                      int64_t until_ms, const provider_limit_t *limit, provider_payment_t *shown) {
    sandbox_t *sandbox = sandbox_of(self);
    sandbox_payment_t payment;
    (void)limit;
    bc_db_enter(sandbox->db);
    bool found = sandbox_find_payment(sandbox->db, asked, from_ms, until_ms, &payment);
    bool sound = bc_db_is_sound(sandbox->db);
    bc_db_leave(sandbox->db);
    if (!found) return sound ? PROVIDER_MISSING : PROVIDER_AWAY;
    *shown = payment.shown;
    return PROVIDER_OK;
}

static provider_result_t find_refund(payment_provider_t *self, const provider_refund_request_t *asked,
                                     const provider_limit_t *limit, provider_refund_t *shown) {
    sandbox_t *sandbox = sandbox_of(self);
    sandbox_refund_t made;
    (void)limit;
    bc_db_enter(sandbox->db);
    bool found = sandbox_find_refund(sandbox->db, asked, &made);
    bool sound = bc_db_is_sound(sandbox->db);
    bc_db_leave(sandbox->db);
    if (!found) return sound ? PROVIDER_MISSING : PROVIDER_AWAY;
    *shown = made.shown;
    return PROVIDER_OK;
}

sandbox_result_t sandbox_refund_there(payment_provider_t *provider, const char *id, int64_t amount_minor,
                                      provider_refund_t *shown) {
    switch (refund_payment(sandbox_of(provider), id, NULL, amount_minor, NULL, shown)) {
    case PROVIDER_OK:
        return SANDBOX_OK;
    case PROVIDER_MISSING:
        return SANDBOX_MISSING;
    case PROVIDER_STATE:
        return SANDBOX_STATE;
    default:
        return SANDBOX_FAILED;
    }
}

bool sandbox_resend(payment_provider_t *provider) {
    sandbox_t *sandbox = sandbox_of(provider);
    if (bc_db_begin(sandbox->db) != BC_DB_OK) return false;
    sandbox_deliver_all_again(sandbox->db, bc_time_ms());
    return commit(sandbox);
}

/* --- lists: gathered first, so that `see` may call us, or wait for another database --- */

typedef struct {
    void *items; /* owned */
    size_t size, count, room;
    bool full, failed;
} gathered_t;

static bool gather(gathered_t *gathered, const void *item) {
    if (gathered->count == PROVIDER_LIST_MAX) {
        gathered->full = true;
        return false;
    }
    if (gathered->count == gathered->room) {
        size_t room = gathered->room == 0 ? 64 : gathered->room * 2;
        void *more = realloc(gathered->items, room * gathered->size);
        if (more == NULL) {
            gathered->failed = true;
            return false;
        }
        gathered->items = more;
        gathered->room = room;
    }
    memcpy((char *)gathered->items + gathered->count++ * gathered->size, item, gathered->size);
    return true;
}

static bool gather_payment(void *context, const provider_payment_t *payment) {
    return gather(context, payment);
}

static bool gather_refund(void *context, const provider_refund_t *seen) {
    return gather(context, seen);
}

static provider_result_t hand_on(gathered_t *gathered, bool sound, provider_see_payment_t see_payment,
                                 provider_see_refund_t see_refund, void *context) {
    bool going = sound && !gathered->failed;
    for (size_t i = 0; going && i < gathered->count; i++) {
        const char *item = (const char *)gathered->items + i * gathered->size;
        going = see_payment != NULL ? see_payment(context, (const provider_payment_t *)(const void *)item)
                                    : see_refund(context, (const provider_refund_t *)(const void *)item);
    }
    free(gathered->items);
    if (!sound || gathered->failed) return PROVIDER_AWAY;
    return gathered->full && going ? PROVIDER_REFUSED : PROVIDER_OK;
}

static provider_result_t payments_since(payment_provider_t *self, int64_t since_ms, const provider_limit_t *limit,
                                        provider_see_payment_t see, void *context) {
    sandbox_t *sandbox = sandbox_of(self);
    gathered_t gathered = {.size = sizeof(provider_payment_t)};
    (void)limit;
    bc_db_enter(sandbox->db);
    sandbox_list_payments(sandbox->db, since_ms, gather_payment, &gathered);
    bool sound = bc_db_is_sound(sandbox->db);
    bc_db_leave(sandbox->db);
    return hand_on(&gathered, sound, see, NULL, context);
}

static provider_result_t refunds_since(payment_provider_t *self, int64_t since_ms, const provider_limit_t *limit,
                                       provider_see_refund_t see, void *context) {
    sandbox_t *sandbox = sandbox_of(self);
    gathered_t gathered = {.size = sizeof(provider_refund_t)};
    (void)limit;
    bc_db_enter(sandbox->db);
    sandbox_list_refunds(sandbox->db, since_ms, gather_refund, &gathered);
    bool sound = bc_db_is_sound(sandbox->db);
    bc_db_leave(sandbox->db);
    return hand_on(&gathered, sound, NULL, see, context);
}

static provider_result_t refunds_of(payment_provider_t *self, const char *payment, const provider_limit_t *limit,
                                    provider_see_refund_t see, void *context) {
    sandbox_t *sandbox = sandbox_of(self);
    gathered_t gathered = {.size = sizeof(provider_refund_t)};
    (void)limit;
    bc_db_enter(sandbox->db);
    sandbox_list_refunds_of(sandbox->db, payment, gather_refund, &gathered);
    bool sound = bc_db_is_sound(sandbox->db);
    bc_db_leave(sandbox->db);
    return hand_on(&gathered, sound, NULL, see, context);
}

/* --- webhooks, life --- */

static provider_event_result_t verify(payment_provider_t *self, const char *signature, const char *body, size_t length,
                                      int64_t now_s, provider_event_t *event) {
    const sandbox_t *sandbox = sandbox_of(self);
    webhook_verdict_t verdict = webhook_verify(&sandbox->secrets, signature, body, length, sandbox->tolerance_s, now_s);
    if (verdict != WEBHOOK_GOOD) {
        bc_log(BC_LOG_WARN, "webhook-refused", bc_f_text("why", webhook_verdict_word(verdict)));
        return PROVIDER_EVENT_FORGED;
    }
    return stripe_read_event(body, length, event) ? PROVIDER_EVENT_OK : PROVIDER_EVENT_MALFORMED;
}

static void stop(payment_provider_t *self) {
    bc_task_stop(sandbox_of(self)->task);
}

static void destroy(payment_provider_t *self) {
    sandbox_t *sandbox = sandbox_of(self);
    bc_task_destroy(sandbox->task);
    bc_fetch_destroy(sandbox->fetch);
    bc_db_close(sandbox->db);
    bc_secret_wipe(&sandbox->secrets, sizeof(sandbox->secrets));
    free(sandbox);
}

static const payment_provider_ops_t sandbox_ops = {
    .name = "sandbox",
    .signature_header = "Stripe-Signature",
    .create = create,
    .retrieve = retrieve,
    .cancel = cancel,
    .refund = refund,
    .find_payment = find_payment,
    .find_refund = find_refund,
    .refunds_of = refunds_of,
    .payments_since = payments_since,
    .refunds_since = refunds_since,
    .verify = verify,
    .stop = stop,
    .destroy = destroy,
};

/* DATA/keys/sandbox-webhook.key; made at the first start. */
static bool read_webhook_key(const bc_config_t *config, webhook_secrets_t *secrets) {
    char path[BC_FILES_PATH_MAX], secret[BC_SECRET_MAX], random[48];
    if (!bc_config_path(config, "keys/sandbox-webhook.key", path, sizeof(path))) return false;
    bc_random_text(24, random, sizeof(random));
    int length = snprintf(secret, sizeof(secret), "whsec_%s\n", random);
    bool good = (bc_files_create(path, secret, (size_t)length, 0600) || errno == EEXIST) &&
                bc_secret_load(path, secret, sizeof(secret)) && webhook_secrets_read(secret, secrets);
    bc_secret_wipe(secret, sizeof(secret));
    bc_secret_wipe(random, sizeof(random));
    return good;
}

/* Webhooks go where the edge's would: to the payment service's own listener. */
static bool find_webhook_url(const bc_config_t *config, sandbox_t *sandbox) {
    bc_listen_t listen;
    int length;
    if (!bc_listen_parse(bc_config_text(config, BC_PAYMENT_LISTEN), &listen)) return false;
    if (listen.is_unix) {
        (void)snprintf(sandbox->socket, sizeof(sandbox->socket), "%s", listen.address); /* judged: 107 at most */
        length = snprintf(sandbox->url, sizeof(sandbox->url), "http://localhost" SANDBOX_WEBHOOK_PATH);
    } else {
        bool six = strchr(listen.address, ':') != NULL;
        length = snprintf(sandbox->url, sizeof(sandbox->url), "http://%s%s%s:%u" SANDBOX_WEBHOOK_PATH, six ? "[" : "",
                          listen.address, six ? "]" : "", listen.port);
    }
    return length > 0 && (size_t)length < sizeof(sandbox->url);
}

payment_provider_t *payment_sandbox_open(const bc_config_t *config) {
    char path[BC_FILES_PATH_MAX];
    sandbox_t *sandbox = calloc(1, sizeof(*sandbox));
    if (sandbox == NULL) return NULL;
    const char *how = bc_config_text(config, BC_SANDBOX_WEBHOOKS);
    sandbox->provider = (payment_provider_t){.ops = &sandbox_ops, .test = true};
    sandbox->tolerance_s = bc_config_number(config, BC_WEBHOOK_TOLERANCE) / 1000;
    sandbox->settle_ms = bc_config_number(config, BC_SANDBOX_SETTLE);
    sandbox->delay_ms = bc_config_number(config, BC_SANDBOX_WEBHOOK_DELAY);
    sandbox->copies = strstr(how, "lost") != NULL ? 0 : strstr(how, "duplicated") != NULL ? 2 : 1;
    sandbox->reversed = strstr(how, "reversed") != NULL;
    sandbox->fetch = bc_fetch_create();
    if (sandbox->fetch == NULL || !read_webhook_key(config, &sandbox->secrets) || !find_webhook_url(config, sandbox) ||
        !bc_config_path(config, "sandbox.db", path, sizeof(path)) ||
        bc_db_open(path, sandbox_migrations, &sandbox->db) != BC_DB_OK)
        goto fail;
    sandbox->task = bc_task_create("sandbox", sandbox_work, sandbox);
    if (sandbox->task == NULL) goto fail;
    return &sandbox->provider;
fail:
    bc_log(BC_LOG_ERROR, "sandbox-not-opened");
    destroy(&sandbox->provider);
    return NULL;
}
