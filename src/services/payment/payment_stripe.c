/*
 * Payments by Stripe. Each function is one call of its API (lists: one a page), checked by payment_stripe_json.c and compared with
 * what was asked. Nothing is kept between calls but idle connections, so any thread may call at any time.
 *
 * Idempotency keys: create and refund use our order's and refund's ids, so a repeat after a crash or an AWAY finds what was made.
 * Stripe forgets keys after 24 hours; what is in doubt for longer is looked for by its metadata (find_payment, find_refund) before it is asked
 * for again (payment_provider.c). By lists, which are right at once; Stripe's search lags behind, and is not there for everybody.
 * A cancel has a fresh key each time (the same on its tries): its answer depends on the state, and Stripe would repeat an old one.
 */
#include "services/payment/payment_stripe.h"

#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"
#include "services/payment/payment_stripe_call.h"
#include "services/payment/payment_webhook_signature.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    payment_provider_t provider; /* first: what the domain holds */
    stripe_account_t account;
    webhook_secrets_t secrets;
    int64_t tolerance_s;
} stripe_t;

static provider_result_t bad_answer(const char *call) {
    bc_log(BC_LOG_ERROR, "stripe-answer-not-believed", bc_f_text("call", call));
    return PROVIDER_REFUSED;
}

/* "EUR" → "eur" */
static void lower_currency(const char *currency, char lower[4]) {
    for (int i = 0; i < 3; i++) lower[i] = (char)tolower((unsigned char)currency[i]);
    lower[3] = '\0';
}

/* The answer to what was made under our key names our order (refund), or leaves its metadata out; another's name is not believed. */
static bool take_reference(char reference[PROVIDER_KEY_MAX + 1], const char *key) {
    if (reference[0] != '\0') return strcmp(reference, key) == 0;
    (void)snprintf(reference, PROVIDER_KEY_MAX + 1, "%s", key); /* a key fits */
    return true;
}

/* One call whose answer is a PaymentIntent. */
static provider_result_t call_for_payment(stripe_t *stripe, const stripe_call_t *call, const char *name,
                                          const provider_limit_t *limit, provider_payment_t *payment) {
    json_t *answer = NULL;
    stripe_error_t error;
    provider_result_t result = stripe_call(&stripe->account, call, limit, &answer, &error);
    if (result != PROVIDER_OK) return result;
    if (stripe_read_payment(answer, !stripe->provider.test, payment) != STRIPE_READ) result = bad_answer(name);
    json_decref(answer);
    return result;
}

static provider_result_t create(payment_provider_t *self, const provider_create_t *asked, const provider_limit_t *limit,
                                provider_payment_t *payment) {
    stripe_form_t form = {.length = 0};
    provider_payment_t made;
    char currency[4];
    lower_currency(asked->currency, currency);
    stripe_form_add_int(&form, "amount", asked->amount_minor);
    stripe_form_add(&form, "currency", currency);
    stripe_form_add(&form, "automatic_payment_methods[enabled]", "true");
    stripe_form_add(&form, "description", asked->number);
    stripe_form_add(&form, "metadata[order]", asked->key);
    stripe_form_add(&form, "metadata[number]", asked->number);
    stripe_call_t call = {.method = "POST", .target = "/v1/payment_intents", .form = &form, .key = asked->key};
    provider_result_t result = call_for_payment((stripe_t *)self, &call, "create", limit, &made);
    if (result != PROVIDER_OK) return result;
    if (made.amount_minor != asked->amount_minor || strcmp(made.currency, asked->currency) != 0 ||
        !take_reference(made.order, asked->key))
        return bad_answer("create");
    *payment = made;
    return PROVIDER_OK;
}

static provider_result_t retrieve(payment_provider_t *self, const char *id, const provider_limit_t *limit,
                                  provider_payment_t *payment) {
    char target[STRIPE_TARGET_MAX];
    provider_payment_t found;
    if (!stripe_id_good(id, "pi_")) return PROVIDER_MISSING;
    (void)snprintf(target, sizeof(target), "/v1/payment_intents/%s", id); /* an id fits */
    stripe_call_t call = {.method = "GET", .target = target};
    provider_result_t result = call_for_payment((stripe_t *)self, &call, "retrieve", limit, &found);
    if (result != PROVIDER_OK) return result;
    if (strcmp(found.id, id) != 0) return bad_answer("retrieve");
    *payment = found;
    return PROVIDER_OK;
}

static provider_result_t cancel(payment_provider_t *self, const char *id, const provider_limit_t *limit,
                                provider_payment_t *payment) {
    char target[STRIPE_TARGET_MAX], key[40];
    stripe_form_t form = {.length = 0};
    provider_payment_t ended;
    int64_t deadline = bc_monotonic_ms() + limit->timeout_ms;
    if (!stripe_id_good(id, "pi_")) return PROVIDER_MISSING;
    bc_random_text(24, key, sizeof(key));
    (void)snprintf(target, sizeof(target), "/v1/payment_intents/%s/cancel", id); /* an id fits */
    stripe_form_add(&form, "cancellation_reason", "abandoned");
    stripe_call_t call = {.method = "POST", .target = target, .form = &form, .key = key};
    provider_result_t result = call_for_payment((stripe_t *)self, &call, "cancel", limit, &ended);
    if (result == PROVIDER_STATE) {
        /* Over already: canceled, perhaps by the try before, is what was asked for. */
        provider_limit_t rest = {.timeout_ms = deadline - bc_monotonic_ms(), .stop = limit->stop};
        result = retrieve(self, id, &rest, &ended);
        if (result == PROVIDER_OK && ended.state != PROVIDER_CANCELED) return PROVIDER_STATE;
    }
    if (result != PROVIDER_OK) return result;
    if (strcmp(ended.id, id) != 0 || ended.state != PROVIDER_CANCELED) return bad_answer("cancel");
    *payment = ended;
    return PROVIDER_OK;
}

static provider_result_t refund(payment_provider_t *self, const provider_refund_request_t *asked,
                                const provider_limit_t *limit, provider_refund_t *refund_made) {
    stripe_t *stripe = (stripe_t *)self;
    stripe_form_t form = {.length = 0};
    json_t *answer = NULL;
    stripe_error_t error;
    provider_refund_t made;
    if (!stripe_id_good(asked->payment, "pi_")) return PROVIDER_MISSING;
    stripe_form_add(&form, "payment_intent", asked->payment);
    stripe_form_add_int(&form, "amount", asked->amount_minor);
    stripe_form_add(&form, "metadata[refund]", asked->key);
    stripe_call_t call = {.method = "POST", .target = "/v1/refunds", .form = &form, .key = asked->key};
    provider_result_t result = stripe_call(&stripe->account, &call, limit, &answer, &error);
    /* More than is left of the payment: a 400 about the amount, which has no code of its own. */
    if (result == PROVIDER_REFUSED && strcmp(error.param, "amount") == 0) return PROVIDER_STATE;
    if (result != PROVIDER_OK) return result;
    if (stripe_read_refund(answer, &made) != STRIPE_READ || made.amount_minor != asked->amount_minor ||
        strcmp(made.payment, asked->payment) != 0 || strcmp(made.currency, asked->currency) != 0 ||
        !take_reference(made.refund, asked->key))
        result = bad_answer("refund");
    json_decref(answer);
    if (result == PROVIDER_OK) *refund_made = made;
    return result;
}

/* --- lists: newest first, page by page --- */

/* What becomes of one item. false: enough; *result stays PROVIDER_OK, or says what is wrong. */
typedef bool (*see_item_t)(stripe_t *stripe, const json_t *item, void *context, provider_result_t *result);

typedef struct {
    provider_see_payment_t payment;
    provider_see_refund_t refund;
    const char *of; /* refunds_of: the payment; else NULL */
    void *context;
} seer_t;

static bool see_payment(stripe_t *stripe, const json_t *item, void *context, provider_result_t *result) {
    const seer_t *seer = context;
    provider_payment_t payment;
    switch (stripe_read_payment(item, !stripe->provider.test, &payment)) {
    case STRIPE_READ:
        return seer->payment(seer->context, &payment);
    case STRIPE_READ_OTHER:
        return true;
    case STRIPE_READ_BAD:
        break;
    }
    *result = bad_answer("payments-since");
    return false;
}

static bool see_refund(stripe_t *stripe, const json_t *item, void *context, provider_result_t *result) {
    const seer_t *seer = context;
    provider_refund_t refund_seen;
    (void)stripe;
    stripe_read_t read = stripe_read_refund(item, &refund_seen);
    if (read == STRIPE_READ_OTHER) return true;
    if (read == STRIPE_READ && (seer->of == NULL || strcmp(seer->of, refund_seen.payment) == 0))
        return seer->refund(seer->context, &refund_seen);
    *result = bad_answer("refunds");
    return false;
}

/* One page. Leaves the last item's id in `last`; *more says whether another page is to be asked for. */
static provider_result_t take_page(stripe_t *stripe, const json_t *page, see_item_t see, seer_t *seer,
                                   char last[PROVIDER_ID_MAX + 1], bool *more) {
    const json_t *items = json_object_get(page, "data"), *has_more = json_object_get(page, "has_more");
    provider_result_t result = PROVIDER_OK;
    if (!json_is_array(items) || json_array_size(items) > STRIPE_PAGE || !json_is_boolean(has_more))
        return bad_answer("list");
    *more = json_is_true(has_more);
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        const char *id = json_string_value(json_object_get(item, "id"));
        if (id == NULL || !stripe_id_good(id, "")) return bad_answer("list");
        memcpy(last, id, strlen(id) + 1); /* judged to fit */
        if (see(stripe, item, seer, &result)) continue;
        *more = false;
        return result;
    }
    /* An empty page that promises more would have us ask for ever. */
    return *more && json_array_size(items) == 0 ? bad_answer("list") : PROVIDER_OK;
}

/* `filter`: "created[gte]=1700000000" or "payment_intent=pi_…". */
static provider_result_t list(stripe_t *stripe, const char *place, const char *filter, const provider_limit_t *limit,
                              see_item_t see, seer_t *seer) {
    char target[STRIPE_TARGET_MAX], last[PROVIDER_ID_MAX + 1] = "";
    int64_t deadline = bc_monotonic_ms() + limit->timeout_ms;
    bool more = true;
    for (int visited = 0; more; visited += STRIPE_PAGE) {
        json_t *page = NULL;
        stripe_error_t error;
        provider_limit_t rest = {.timeout_ms = deadline - bc_monotonic_ms(), .stop = limit->stop};
        if (visited >= PROVIDER_LIST_MAX) return bad_answer("list");
        if (rest.timeout_ms <= 0) return PROVIDER_AWAY;
        (void)snprintf(target, sizeof(target), "%s?limit=%d&%s%s%s", place, STRIPE_PAGE, filter,
                       last[0] == '\0' ? "" : "&starting_after=", last); /* two ids fit */
        stripe_call_t call = {.method = "GET", .target = target};
        provider_result_t result = stripe_call(&stripe->account, &call, &rest, &page, &error);
        if (result != PROVIDER_OK) return result;
        result = take_page(stripe, page, see, seer, last, &more);
        json_decref(page);
        if (result != PROVIDER_OK) return result;
    }
    return PROVIDER_OK;
}

static provider_result_t refunds_of(payment_provider_t *self, const char *payment, const provider_limit_t *limit,
                                    provider_see_refund_t see, void *context) {
    char filter[PROVIDER_ID_MAX + 32];
    seer_t seer = {.refund = see, .of = payment, .context = context};
    if (!stripe_id_good(payment, "pi_")) return PROVIDER_MISSING;
    (void)snprintf(filter, sizeof(filter), "payment_intent=%s", payment); /* an id fits */
    return list((stripe_t *)self, "/v1/refunds", filter, limit, see_refund, &seer);
}

static void since_filter(int64_t since_ms, char filter[48]) {
    (void)snprintf(filter, 48, "created[gte]=%lld", (long long)(since_ms / 1000)); /* fits */
}

static provider_result_t payments_since(payment_provider_t *self, int64_t since_ms, const provider_limit_t *limit,
                                        provider_see_payment_t see, void *context) {
    char filter[48];
    seer_t seer = {.payment = see, .context = context};
    since_filter(since_ms, filter);
    return list((stripe_t *)self, "/v1/payment_intents", filter, limit, see_payment, &seer);
}

static provider_result_t refunds_since(payment_provider_t *self, int64_t since_ms, const provider_limit_t *limit,
                                       provider_see_refund_t see, void *context) {
    char filter[48];
    seer_t seer = {.refund = see, .context = context};
    since_filter(since_ms, filter);
    return list((stripe_t *)self, "/v1/refunds", filter, limit, see_refund, &seer);
}

/* --- what an earlier try made --- */

typedef struct {
    const provider_create_t *asked;
    provider_payment_t *payment; /* the asker's; set when found */
    const provider_refund_request_t *asked_refund;
    provider_refund_t *refund; /* likewise */
    bool found;
} search_t;

/* A paid one is the last word; of others the first that is met will do. */
static bool match_payment(void *context, const provider_payment_t *seen) {
    search_t *search = context;
    const provider_create_t *asked = search->asked;
    if (strcmp(seen->order, asked->key) != 0 || seen->amount_minor != asked->amount_minor ||
        strcmp(seen->currency, asked->currency) != 0)
        return true;
    if (!search->found || seen->state == PROVIDER_SUCCEEDED) *search->payment = *seen;
    search->found = true;
    return seen->state != PROVIDER_SUCCEEDED;
}

static bool match_refund(void *context, const provider_refund_t *seen) {
    search_t *search = context;
    const provider_refund_request_t *asked = search->asked_refund;
    search->found = strcmp(seen->refund, asked->key) == 0 && seen->amount_minor == asked->amount_minor &&
                    strcmp(seen->currency, asked->currency) == 0;
    if (search->found) *search->refund = *seen;
    return !search->found;
}

static provider_result_t find_payment(payment_provider_t *self, const provider_create_t *asked, int64_t from_ms,
                                      int64_t until_ms, const provider_limit_t *limit, provider_payment_t *payment) {
    char filter[96];
    provider_payment_t found;
    search_t search = {.asked = asked, .payment = &found};
    seer_t seer = {.payment = match_payment, .context = &search};
    (void)snprintf(filter, sizeof(filter), "created[gte]=%lld&created[lte]=%lld",
                   (long long)(from_ms > 0 ? from_ms / 1000 : 0), (long long)(until_ms / 1000)); /* fits */
    provider_result_t result = list((stripe_t *)self, "/v1/payment_intents", filter, limit, see_payment, &seer);
    if (result != PROVIDER_OK) return result;
    if (!search.found) return PROVIDER_MISSING;
    *payment = found;
    return PROVIDER_OK;
}

static provider_result_t find_refund(payment_provider_t *self, const provider_refund_request_t *asked,
                                     const provider_limit_t *limit, provider_refund_t *refund_found) {
    provider_refund_t found;
    search_t search = {.asked_refund = asked, .refund = &found};
    provider_result_t result = refunds_of(self, asked->payment, limit, match_refund, &search);
    if (result != PROVIDER_OK) return result;
    if (!search.found) return PROVIDER_MISSING;
    *refund_found = found;
    return PROVIDER_OK;
}

/* --- webhooks, life --- */

static provider_event_result_t verify(payment_provider_t *self, const char *signature, const char *body, size_t length,
                                      int64_t now_s, provider_event_t *event) {
    const stripe_t *stripe = (const stripe_t *)self;
    webhook_verdict_t verdict = webhook_verify(&stripe->secrets, signature, body, length, stripe->tolerance_s, now_s);
    if (verdict != WEBHOOK_GOOD) {
        bc_log(BC_LOG_WARN, "webhook-refused", bc_f_text("why", webhook_verdict_word(verdict)));
        return PROVIDER_EVENT_FORGED;
    }
    return stripe_read_event(body, length, event) ? PROVIDER_EVENT_OK : PROVIDER_EVENT_MALFORMED;
}

static void destroy(payment_provider_t *self) {
    stripe_t *stripe = (stripe_t *)self;
    bc_fetch_destroy(stripe->account.fetch);
    bc_secret_wipe(stripe, sizeof(*stripe));
    free(stripe);
}

static const payment_provider_ops_t stripe_ops = {
    .name = "stripe",
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
    .destroy = destroy,
};

payment_provider_t *payment_stripe_open(const bc_config_t *config) {
    stripe_t *stripe = calloc(1, sizeof(*stripe));
    if (stripe == NULL) return NULL;
    const char *key = bc_config_text(config, BC_STRIPE_KEY);
    stripe->provider.ops = &stripe_ops;
    stripe->provider.test = strncmp(key + 2, "_test_", 6) == 0; /* sk_test_…, rk_test_…: the config judged the rest */
    stripe->tolerance_s = bc_config_number(config, BC_WEBHOOK_TOLERANCE) / 1000;
    stripe->account.fetch = bc_fetch_create();
    int base =
        snprintf(stripe->account.base, sizeof(stripe->account.base), "%s", bc_config_text(config, BC_STRIPE_API));
    int authorization =
        snprintf(stripe->account.authorization, sizeof(stripe->account.authorization), "Authorization: Bearer %s", key);
    if (stripe->account.fetch == NULL || base < 0 || (size_t)base >= sizeof(stripe->account.base) ||
        authorization < 0 || (size_t)authorization >= sizeof(stripe->account.authorization) ||
        !webhook_secrets_read(bc_config_text(config, BC_STRIPE_WEBHOOK_SECRETS), &stripe->secrets)) {
        bc_log(BC_LOG_ERROR, "stripe-not-opened", bc_f_text("why", "a setting is too long, or no memory"));
        destroy(&stripe->provider);
        return NULL;
    }
    return &stripe->provider;
}
