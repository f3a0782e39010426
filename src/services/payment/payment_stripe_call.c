#include "services/payment/payment_stripe_call.h"

#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define RETRY_FIRST_MS     250
#define RETRY_PAUSE_MAX_MS 4000
#define STOP_LOOK_MS       50

#define CALLS_HELP "Calls of Stripe's API by how they ended"
/* By provider_result_t. */
static bc_metric_t calls_total[] = {
    BC_METRIC("bookcart_stripe_calls_total{result=\"ok\"}", CALLS_HELP, "counter"),
    BC_METRIC("bookcart_stripe_calls_total{result=\"state\"}", CALLS_HELP, "counter"),
    BC_METRIC("bookcart_stripe_calls_total{result=\"missing\"}", CALLS_HELP, "counter"),
    BC_METRIC("bookcart_stripe_calls_total{result=\"away\"}", CALLS_HELP, "counter"),
    BC_METRIC("bookcart_stripe_calls_total{result=\"refused\"}", CALLS_HELP, "counter"),
};
static bc_metric_t retries_total =
    BC_METRIC("bookcart_stripe_retries_total", "Tries of calls of Stripe's API after the first", "counter");

/* --- forms --- */

static void add_bytes(stripe_form_t *form, const char *bytes, size_t length) {
    if (length >= sizeof(form->text) - form->length) form->full = true;
    if (form->full) return;
    memcpy(form->text + form->length, bytes, length);
    form->length += length;
    form->text[form->length] = '\0';
}

void stripe_form_add(stripe_form_t *form, const char *name, const char *value) {
    static const char hex[] = "0123456789ABCDEF";
    if (form->length > 0) add_bytes(form, "&", 1);
    add_bytes(form, name, strlen(name));
    add_bytes(form, "=", 1);
    for (const unsigned char *c = (const unsigned char *)value; *c != '\0'; c++) {
        bool plain = (*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') || *c == '-' ||
                     *c == '.' || *c == '_' || *c == '~';
        char escaped[3] = {'%', hex[*c >> 4], hex[*c & 15]};
        if (plain)
            add_bytes(form, (const char *)c, 1);
        else
            add_bytes(form, escaped, sizeof(escaped));
    }
}

void stripe_form_add_int(stripe_form_t *form, const char *name, int64_t value) {
    char text[24];
    (void)snprintf(text, sizeof(text), "%lld", (long long)value); /* fits */
    stripe_form_add(form, name, text);
}

/* --- one try --- */

typedef enum { SHOULD_UNSAID, SHOULD_RETRY, SHOULD_NOT } should_t;

typedef struct {
    should_t should;
    int64_t retry_after_ms; /* 0: not said */
} advice_t;

static void see_header(void *context, const char *name, const char *value) {
    advice_t *advice = context;
    if (strcasecmp(name, "Stripe-Should-Retry") == 0) {
        if (strcmp(value, "true") == 0) advice->should = SHOULD_RETRY;
        if (strcmp(value, "false") == 0) advice->should = SHOULD_NOT;
    }
    if (strcasecmp(name, "Retry-After") == 0) {
        size_t digits = strspn(value, "0123456789");
        if (digits > 0 && digits < 7 && value[digits] == '\0') advice->retry_after_ms = strtol(value, NULL, 10) * 1000;
    }
}

static bc_fetch_result_t try_once(const stripe_account_t *account, const stripe_call_t *call, int64_t timeout_ms,
                                  const volatile bool *stop, advice_t *advice, bc_fetch_reply_t *reply) {
    char url[sizeof(account->base) + STRIPE_TARGET_MAX], key[STRIPE_HEADER_MAX];
    const char *headers[6] = {account->authorization, "Stripe-Version: " STRIPE_VERSION, "Accept: application/json"};
    size_t count = 3;
    if (call->form != NULL) headers[count++] = "Content-Type: application/x-www-form-urlencoded";
    if (call->key != NULL) headers[count++] = key;
    int url_length = snprintf(url, sizeof(url), "%s%s", account->base, call->target);
    int key_length = snprintf(key, sizeof(key), "Idempotency-Key: %s", call->key == NULL ? "" : call->key);
    if (url_length < 0 || (size_t)url_length >= sizeof(url) || key_length < 0 || (size_t)key_length >= sizeof(key))
        return BC_FETCH_FAILED;
    bc_fetch_request_t request = {
        .method = call->method,
        .url = url,
        .headers = headers,
        .body = call->form == NULL ? NULL : call->form->text,
        .length = call->form == NULL ? 0 : call->form->length,
        .reply_max = STRIPE_REPLY_MAX,
        .timeout_ms = timeout_ms,
        .stop = stop,
        .header = see_header,
        .context = advice,
    };
    *advice = (advice_t){.should = SHOULD_UNSAID};
    return bc_fetch_call(account->fetch, &request, reply);
}

/* --- what an answer means --- */

static bool worth_a_retry(bc_fetch_result_t fetched, int status, const advice_t *advice) {
    if (fetched != BC_FETCH_OK) return fetched == BC_FETCH_AWAY;
    if (advice->should != SHOULD_UNSAID) return advice->should == SHOULD_RETRY;
    return status == 409 || status == 429 || status >= 500;
}

static void log_refused(const stripe_call_t *call, int status, const char *why) {
    char place[64]; /* without what stands behind the resource's name: ids are for the database */
    (void)snprintf(place, sizeof(place), "%.*s", (int)(4 + strcspn(call->target + 4, "/?")),
                   call->target); /* cut is fine */
    bc_log(BC_LOG_ERROR, "stripe-refused", bc_f_text("method", call->method), bc_f_text("place", place),
           bc_f_int("status", status), bc_f_text("why", why));
}

static provider_result_t judge_error(const stripe_call_t *call, int status, const stripe_error_t *error) {
    static const char *const of_state[] = {"payment_intent_unexpected_state", "charge_already_refunded",
                                           "charge_disputed", "charge_not_refundable", NULL};
    if (status == 409 || status == 429 || status >= 500) return PROVIDER_AWAY;
    if (status == 404 && strcmp(error->code, "resource_missing") == 0) return PROVIDER_MISSING;
    if (status == 402) return PROVIDER_STATE;
    for (int i = 0; of_state[i] != NULL; i++) {
        if (status == 400 && strcmp(error->code, of_state[i]) == 0) return PROVIDER_STATE;
    }
    log_refused(call, status, error->code[0] != '\0' ? error->code : "status");
    return PROVIDER_REFUSED;
}

static provider_result_t judge(const stripe_call_t *call, bc_fetch_result_t fetched, const bc_fetch_reply_t *reply,
                               json_t **answer, stripe_error_t *error) {
    json_error_t ignored;
    if (fetched == BC_FETCH_UNTRUSTED) bc_log(BC_LOG_ERROR, "stripe-not-trusted", bc_f_text("why", "its certificate"));
    if (fetched == BC_FETCH_TOO_LARGE) {
        log_refused(call, 0, "too large");
        return PROVIDER_REFUSED;
    }
    if (fetched != BC_FETCH_OK) return PROVIDER_AWAY;
    json_t *object = json_loadb(reply->body, reply->length, JSON_REJECT_DUPLICATES, &ignored);
    if (reply->status < 200 || reply->status > 299) {
        stripe_read_error(object, error);
        json_decref(object);
        return judge_error(call, reply->status, error);
    }
    if (!json_is_object(object)) {
        json_decref(object);
        log_refused(call, reply->status, "no JSON object");
        return PROVIDER_REFUSED;
    }
    *answer = object;
    return PROVIDER_OK;
}

/* --- tries --- */

/* false: *stop became true. */
static bool pause_for(int64_t ms, const volatile bool *stop) {
    for (int64_t end = bc_monotonic_ms() + ms, left = ms; left > 0; left = end - bc_monotonic_ms()) {
        if (stop != NULL && *stop) return false;
        int64_t nap = left < STOP_LOOK_MS ? left : STOP_LOOK_MS;
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)nap * 1000000}, NULL); /* woken early: looked at again */
    }
    return stop == NULL || !*stop;
}

/* Half of it is certain, half is drawn, so that many who failed together do not come back together. */
static int64_t next_pause(int tried, const advice_t *advice) {
    uint16_t drawn;
    int64_t pause = (int64_t)RETRY_FIRST_MS << (tried - 1);
    if (pause > RETRY_PAUSE_MAX_MS) pause = RETRY_PAUSE_MAX_MS;
    bc_random_bytes(&drawn, sizeof(drawn));
    pause = pause / 2 + pause / 2 * drawn / UINT16_MAX;
    return pause < advice->retry_after_ms ? advice->retry_after_ms : pause;
}

static provider_result_t call_until_answered(const stripe_account_t *account, const stripe_call_t *call,
                                             const provider_limit_t *limit, json_t **answer, stripe_error_t *error) {
    int64_t deadline = bc_monotonic_ms() + limit->timeout_ms;
    assert((call->key != NULL) == (strcmp(call->method, "POST") == 0));
    if (call->form != NULL && call->form->full) {
        log_refused(call, 0, "our form is too long");
        return PROVIDER_REFUSED;
    }
    for (int tried = 1;; tried++) {
        bc_fetch_reply_t reply = {.body = NULL};
        advice_t advice;
        int64_t left = deadline - bc_monotonic_ms();
        if (left <= 0) return PROVIDER_AWAY;
        int64_t share = tried == STRIPE_TRIES_MAX ? left : left / 2 + 100;
        bc_fetch_result_t fetched = try_once(account, call, share < left ? share : left, limit->stop, &advice, &reply);
        bool again = worth_a_retry(fetched, reply.status, &advice) && tried < STRIPE_TRIES_MAX;
        int64_t pause = again ? next_pause(tried, &advice) : 0;
        if (!again || pause >= deadline - bc_monotonic_ms()) {
            provider_result_t result = judge(call, fetched, &reply, answer, error);
            free(reply.body);
            return result;
        }
        free(reply.body);
        if (!pause_for(pause, limit->stop)) return PROVIDER_AWAY;
        bc_metric_add(&retries_total, 1);
    }
}

provider_result_t stripe_call(const stripe_account_t *account, const stripe_call_t *call, const provider_limit_t *limit,
                              json_t **answer, stripe_error_t *error) {
    *error = (stripe_error_t){.code = ""};
    provider_result_t result = call_until_answered(account, call, limit, answer, error);
    assert((size_t)result < sizeof(calls_total) / sizeof(calls_total[0]));
    bc_metric_add(&calls_total[result], 1);
    return result;
}
