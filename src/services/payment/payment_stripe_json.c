#include "services/payment/payment_stripe_json.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

/* Only of `set`, 1…size - 1 characters. */
static bool take_word(const char *word, const char *set, char *text, size_t size) {
    size_t length = word == NULL ? 0 : strlen(word);
    if (length == 0 || length >= size || strspn(word, set) != length) return false;
    memcpy(text, word, length + 1);
    return true;
}

#define DIGITS "0123456789"
#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

static const char code_set[] = LOWER DIGITS "_";
static const char type_set[] = LOWER DIGITS "_.";

bool stripe_id_good(const char *id, const char *prefix) {
    char copy[PROVIDER_ID_MAX + 1];
    size_t length = strlen(prefix);
    return take_word(id, LOWER UPPER DIGITS "_", copy, sizeof(copy)) && strncmp(id, prefix, length) == 0 &&
           id[length] != '\0';
}

static bool take_id(const json_t *object, const char *name, const char *prefix, char id[PROVIDER_ID_MAX + 1]) {
    const char *text = text_of(object, name);
    if (text == NULL || !stripe_id_good(text, prefix)) return false;
    memcpy(id, text, strlen(text) + 1); /* judged to fit */
    return true;
}

static bool take_amount(const json_t *object, const char *name, int64_t *amount) {
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > STRIPE_AMOUNT_MAX)
        return false;
    *amount = json_integer_value(value);
    return true;
}

/* Seconds on the wire. */
static bool take_created(const json_t *object, int64_t *created_ms) {
    int64_t seconds = 0;
    if (!take_amount(object, "created", &seconds) || seconds > 253402300799) return false; /* the end of year 9999 */
    *created_ms = seconds * 1000;
    return true;
}

/* "eur" on the wire, "EUR" here. */
static bool take_currency(const json_t *object, char currency[4]) {
    char lower[4];
    if (!take_word(text_of(object, "currency"), LOWER, lower, sizeof(lower)) || strlen(lower) != 3) return false;
    for (int i = 0; i < 4; i++) currency[i] = (char)(lower[i] == '\0' ? '\0' : lower[i] - 'a' + 'A');
    return true;
}

/* Visible ASCII of at most PROVIDER_KEY_MAX, or "": metadata can also be typed by people. */
static void take_metadata(const json_t *object, const char *name, char text[PROVIDER_KEY_MAX + 1]) {
    const char *value = text_of(json_object_get(object, "metadata"), name);
    text[0] = '\0';
    size_t length = value == NULL ? 0 : strlen(value);
    if (length == 0 || length > PROVIDER_KEY_MAX) return;
    for (size_t i = 0; i < length; i++) {
        if (value[i] <= ' ' || value[i] > '~') return;
    }
    memcpy(text, value, length + 1);
}

/* --- PaymentIntent --- */

static stripe_read_t read_payment_state(const char *word, provider_payment_state_t *state) {
    static const struct {
        const char *word;
        provider_payment_state_t state;
    } known[] = {
        {"requires_payment_method", PROVIDER_REQUIRES_PAYMENT_METHOD},
        {"requires_confirmation", PROVIDER_REQUIRES_ACTION},
        {"requires_action", PROVIDER_REQUIRES_ACTION},
        {"processing", PROVIDER_PROCESSING},
        {"succeeded", PROVIDER_SUCCEEDED},
        {"canceled", PROVIDER_CANCELED},
    };
    if (word == NULL) return STRIPE_READ_BAD;
    if (strcmp(word, "requires_capture") == 0) return STRIPE_READ_OTHER;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(word, known[i].word) != 0) continue;
        *state = known[i].state;
        return STRIPE_READ;
    }
    return STRIPE_READ_BAD;
}

/* last_payment_error, null or absent when there was none. One whose codes cannot be read is still an error. */
static bool take_last_error(const json_t *object, char code[PROVIDER_CODE_MAX + 1]) {
    const json_t *error = json_object_get(object, "last_payment_error");
    code[0] = '\0';
    if (error == NULL || json_is_null(error)) return true;
    if (!json_is_object(error)) return false;
    if (!take_word(text_of(error, "decline_code"), code_set, code, PROVIDER_CODE_MAX + 1) &&
        !take_word(text_of(error, "code"), code_set, code, PROVIDER_CODE_MAX + 1))
        (void)snprintf(code, PROVIDER_CODE_MAX + 1, "payment_failed"); /* fits */
    return true;
}

static bool take_client_secret(const json_t *object, char secret[PROVIDER_SECRET_MAX + 1]) {
    static const char set[] = LOWER UPPER DIGITS "_-.~";
    return take_word(text_of(object, "client_secret"), set, secret, PROVIDER_SECRET_MAX + 1);
}

stripe_read_t stripe_read_payment(const json_t *object, bool live, provider_payment_t *payment) {
    provider_payment_t read = {.received_minor = 0};
    int64_t received = 0;
    const char *kind = text_of(object, "object");
    const json_t *mode = json_object_get(object, "livemode");
    if (kind == NULL || strcmp(kind, "payment_intent") != 0 || !take_id(object, "id", "pi_", read.id) ||
        !json_is_boolean(mode) || json_is_true(mode) != live)
        return STRIPE_READ_BAD;
    stripe_read_t state = read_payment_state(text_of(object, "status"), &read.state);
    if (state != STRIPE_READ) return state;
    if (!take_amount(object, "amount", &read.amount_minor) || !take_amount(object, "amount_received", &received) ||
        !take_currency(object, read.currency) || !take_created(object, &read.created_ms) ||
        !take_client_secret(object, read.client_secret) || !take_last_error(object, read.last_error))
        return STRIPE_READ_BAD;
    if (read.state == PROVIDER_SUCCEEDED) {
        if (received == 0 || received > read.amount_minor) return STRIPE_READ_BAD;
        read.received_minor = received;
    }
    take_metadata(object, "order", read.order);
    *payment = read;
    return STRIPE_READ;
}

/* --- Refund --- */

static bool read_refund_state(const char *word, provider_refund_state_t *state) {
    static const struct {
        const char *word;
        provider_refund_state_t state;
    } known[] = {
        {"pending", PROVIDER_REFUND_PENDING},     {"requires_action", PROVIDER_REFUND_PENDING},
        {"succeeded", PROVIDER_REFUND_SUCCEEDED}, {"failed", PROVIDER_REFUND_FAILED},
        {"canceled", PROVIDER_REFUND_FAILED},
    };
    for (size_t i = 0; word != NULL && i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(word, known[i].word) != 0) continue;
        *state = known[i].state;
        return true;
    }
    return false;
}

stripe_read_t stripe_read_refund(const json_t *object, provider_refund_t *refund) {
    provider_refund_t read = {.amount_minor = 0};
    const char *kind = text_of(object, "object");
    if (kind == NULL || strcmp(kind, "refund") != 0) return STRIPE_READ_BAD;
    /* A refund of a bare charge or of a credit balance belongs to no PaymentIntent, so to no order. */
    if (json_is_null(json_object_get(object, "payment_intent"))) return STRIPE_READ_OTHER;
    if (!take_id(object, "id", "", read.id) || !take_id(object, "payment_intent", "pi_", read.payment) ||
        !read_refund_state(text_of(object, "status"), &read.state) ||
        !take_amount(object, "amount", &read.amount_minor) || !take_currency(object, read.currency) ||
        !take_created(object, &read.created_ms))
        return STRIPE_READ_BAD;
    take_metadata(object, "refund", read.refund);
    *refund = read;
    return STRIPE_READ;
}

/* --- Event --- */

/* The payment that the event's object is or is about; "" for other objects. false: malformed. */
static bool take_subject(const json_t *object, char payment[PROVIDER_ID_MAX + 1]) {
    static const char *const about[] = {"charge", "refund", "dispute"};
    const char *kind = text_of(object, "object");
    payment[0] = '\0';
    if (kind == NULL) return json_is_object(object);
    if (strcmp(kind, "payment_intent") == 0) return take_id(object, "id", "pi_", payment);
    for (size_t i = 0; i < sizeof(about) / sizeof(about[0]); i++) {
        if (strcmp(kind, about[i]) != 0) continue;
        const json_t *id = json_object_get(object, "payment_intent");
        return id == NULL || json_is_null(id) || take_id(object, "payment_intent", "pi_", payment);
    }
    return true;
}

bool stripe_read_event(const char *body, size_t length, provider_event_t *event) {
    provider_event_t read = {.created_ms = 0};
    json_error_t error;
    json_t *object = json_loadb(body, length, JSON_REJECT_DUPLICATES, &error);
    const char *kind = text_of(object, "object");
    bool good = kind != NULL && strcmp(kind, "event") == 0 && take_id(object, "id", "evt_", read.id) &&
                take_word(text_of(object, "type"), type_set, read.type, sizeof(read.type)) &&
                take_created(object, &read.created_ms) &&
                take_subject(json_object_get(json_object_get(object, "data"), "object"), read.payment);
    json_decref(object);
    if (good) *event = read;
    return good;
}

/* --- errors --- */

void stripe_read_error(const json_t *answer, stripe_error_t *error) {
    const json_t *object = json_object_get(answer, "error");
    *error = (stripe_error_t){.code = ""};
    (void)take_word(text_of(object, "code"), code_set, error->code, sizeof(error->code));    /* else empty */
    (void)take_word(text_of(object, "param"), code_set, error->param, sizeof(error->param)); /* else empty */
}
