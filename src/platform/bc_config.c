/*
 * Settings. `table` below is the one place where a key is defined; reading, judging, printing and the reference page all go
 * through it. Values are kept as text as they were given, beside the number they mean; defaults that depend on DATA are written
 * with "@/" for the data folder and filled in by bc_config_finish.
 */
#include "platform/bc_config_internal.h"

#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_mail_message.h"
#include "platform/bc_mail_send.h"
#include "platform/bc_rates.h"
#include "platform/bc_secret.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MB  (1024LL * 1024)
#define GB  (1024 * MB)
#define S   1000LL
#define MIN (60 * S)
#define H   (60 * MIN)
#define DAY (24 * H)

typedef enum {
    TEXT,
    PATH,
    NUMBER,
    SIZE,
    DURATION,
    FLAG,
    LISTEN,
    LOG_LEVEL,
    CURRENCY,
    URL,
    ORIGINS,
    PROXIES,
    WEBHOOKS,
    RATES,
    STORE,
    ADDRESS
} kind_t;

static const char *const kind_words[] = {
    "text",      "path",        "number", "size",    "duration",          "yes or no", "ADDR:PORT or unix:/path",
    "log level", "ISO 4217",    "URL",    "origins", "addresses or CIDR", "words",     "rates",
    "store",     "mail address"};

typedef struct {
    const char *name;
    kind_t kind;
    const char *fallback; /* the default; a STORE also takes what `stores` lists for it */
    int64_t least, most;  /* NUMBER; SIZE in bytes; DURATION in ms */
    bool secret;
    const char *help;
} row_t;

/* clang-format off */
static const row_t table[BC_KEY_COUNT] = {
    [BC_DATA]            = {"BOOKCART_DATA", PATH, "", 0, 0, false, "folder that holds everything there is"},
    [BC_LISTEN]          = {"BOOKCART_LISTEN", LISTEN, "127.0.0.1:8080", 0, 0, false, "address of the shop"},
    [BC_OPS_LISTEN]      = {"BOOKCART_OPS_LISTEN", LISTEN, "127.0.0.1:0", 0, 0, false, "address of the edge's /healthz, /readyz, /metrics; port 0: any free one"},
    [BC_PUBLIC_URL]      = {"BOOKCART_PUBLIC_URL", URL, "", 0, 0, false, "URL that customers reach the shop by; empty: http://LISTEN"},
    [BC_TRUSTED_PROXIES] = {"BOOKCART_TRUSTED_PROXIES", PROXIES, "", 0, 0, false, "proxies in front whose X-Forwarded-For is believed"},
    [BC_TLS_CERT]        = {"BOOKCART_TLS_CERT", PATH, "", 0, 0, false, "certificate chain (PEM); needs TLS_KEY"},
    [BC_TLS_KEY]         = {"BOOKCART_TLS_KEY", PATH, "", 0, 0, false, "private key (PEM); needs TLS_CERT"},
    [BC_WORKERS]         = {"BOOKCART_WORKERS", NUMBER, "0", 0, 256, false, "nginx workers; 0: one per core"},
    [BC_SHOP_NAME]       = {"BOOKCART_SHOP_NAME", TEXT, "bookcart", 0, 0, false, "name of the shop"},
    [BC_CURRENCY]        = {"BOOKCART_CURRENCY", CURRENCY, "EUR", 0, 0, false, "the shop's one currency"},
    [BC_CORS_ORIGINS]    = {"BOOKCART_CORS_ORIGINS", ORIGINS, "", 0, 0, false, "exact origins that scripts may call from; empty: CORS is off"},
    [BC_LOG_LEVEL]       = {"BOOKCART_LOG_LEVEL", LOG_LEVEL, "info", 0, 0, false, "least level that is written: debug, info, warn, error, alert"},

    [BC_DATABASE]        = {"BOOKCART_DATABASE", STORE, "sqlite:", 0, 0, false, "database of auth and library"},
    [BC_CART_STORE]      = {"BOOKCART_CART_STORE", STORE, "journal: => sqlite:carts.db", 0, 0, false, "commit point and base of the cart engine"},
    [BC_EVENTS]          = {"BOOKCART_EVENTS", STORE, "local:", 0, 0, false, "event log"},
    [BC_SEARCH]          = {"BOOKCART_SEARCH", STORE, "fts5:", 0, 0, false, "search engine"},
    [BC_IMAGES]          = {"BOOKCART_IMAGES", STORE, "files:", 0, 0, false, "where covers and pictures are kept"},
    [BC_IMAGES_SWEEP]    = {"BOOKCART_IMAGES_SWEEP", DURATION, "6h", 100, 7 * DAY, false, "pictures that nothing refers to are looked for so often; they go when they are a day old"},
    [BC_PAYMENTS]        = {"BOOKCART_PAYMENTS", STORE, "sandbox:", 0, 0, false, "payment provider"},
    [BC_MAIL]            = {"BOOKCART_MAIL", STORE, "files:", 0, 0, false, "where mail goes: files: (DATA/mail), smtp://host[:port] (STARTTLS when offered), smtps://host[:port]"},

    [BC_MAIL_FROM]       = {"BOOKCART_MAIL_FROM", ADDRESS, "", 0, 0, false, "mail address that the shop writes from; empty: noreply@ the public URL's host"},
    [BC_MAIL_USER]       = {"BOOKCART_MAIL_USER", TEXT, "", 0, 0, false, "login at the mail server (only over TLS, except on loopback); empty: none"},
    [BC_MAIL_PASSWORD]   = {"BOOKCART_MAIL_PASSWORD", TEXT, "", 0, 0, true, "password of that login"},
    [BC_MAIL_CA]         = {"BOOKCART_MAIL_CA", PATH, "", 0, 0, false, "authorities (PEM) that vouch for the mail server; empty: the system's"},
    [BC_MAIL_RETRY]      = {"BOOKCART_MAIL_RETRY", DURATION, "30s", 10, 1 * H, false, "pause before the second try of a mail; doubled after each"},

    [BC_ISSUER]             = {"BOOKCART_ISSUER", TEXT, "bookcart", 1, 0, false, "iss of access tokens"},
    [BC_AUDIENCE]           = {"BOOKCART_AUDIENCE", TEXT, "bookcart", 1, 0, false, "aud of access tokens"},
    [BC_ACCESS_TOKEN_LIFE]  = {"BOOKCART_ACCESS_TOKEN_LIFE", DURATION, "15m", 5 * S, 1 * H, false, "life of an access token"},
    [BC_REFRESH_TOKEN_LIFE] = {"BOOKCART_REFRESH_TOKEN_LIFE", DURATION, "30d", 1 * MIN, 365 * DAY, false, "life of a refresh token"},
    [BC_REFRESH_GRACE]      = {"BOOKCART_REFRESH_GRACE", DURATION, "20s", 0, 5 * MIN, false, "a used refresh token gives another pair for so long"},
    [BC_KEY_PUBLISH]        = {"BOOKCART_KEY_PUBLISH", DURATION, "10m", 0, 7 * DAY, false, "a new signing key is published so long before it signs"},
    [BC_SERVICE_KEY]        = {"BOOKCART_SERVICE_KEY", TEXT, "", 0, 0, true, "credential of calls between services; empty: DATA/keys/service.key"},

    [BC_AUTH_LISTEN]      = {"BOOKCART_AUTH_LISTEN", LISTEN, "unix:@/run/auth.sock", 0, 0, false, "auth, for the edge"},
    [BC_AUTH_INTERNAL]    = {"BOOKCART_AUTH_INTERNAL", LISTEN, "unix:@/run/auth-internal.sock", 0, 0, false, "auth, for other services and operations"},
    [BC_LIBRARY_LISTEN]   = {"BOOKCART_LIBRARY_LISTEN", LISTEN, "unix:@/run/library.sock", 0, 0, false, "library, for the edge"},
    [BC_LIBRARY_INTERNAL] = {"BOOKCART_LIBRARY_INTERNAL", LISTEN, "unix:@/run/library-internal.sock", 0, 0, false, "library, for other services and operations"},
    [BC_CART_LINK]        = {"BOOKCART_CART_LINK", LISTEN, "unix:@/run/cart-link.sock", 0, 0, false, "cart service, the link for the edge's workers"},
    [BC_CART_INTERNAL]    = {"BOOKCART_CART_INTERNAL", LISTEN, "unix:@/run/cart-internal.sock", 0, 0, false, "cart service, for other services and operations"},
    [BC_PAYMENT_LISTEN]    = {"BOOKCART_PAYMENT_LISTEN", LISTEN, "unix:@/run/payment.sock", 0, 0, false, "payment, for the edge"},
    [BC_PAYMENT_INTERNAL]  = {"BOOKCART_PAYMENT_INTERNAL", LISTEN, "unix:@/run/payment-internal.sock", 0, 0, false, "payment, for other services and operations"},
    [BC_QUESTION_LISTEN]   = {"BOOKCART_QUESTION_LISTEN", LISTEN, "unix:@/run/question.sock", 0, 0, false, "question, for the edge"},
    [BC_QUESTION_INTERNAL] = {"BOOKCART_QUESTION_INTERNAL", LISTEN, "unix:@/run/question-internal.sock", 0, 0, false, "question, for other services and operations"},

    [BC_EVENTS_KEEP] = {"BOOKCART_EVENTS_KEEP", DURATION, "30d", 1 * H, 365 * DAY, false, "events and the ids of those applied are kept so long"},
    [BC_FAULTS]      = {"BOOKCART_FAULTS", TEXT, "", 0, 0, false, "points at which a test lets the program fail: POINT=kill|fail[@N], …; only when every listener is on loopback"},

    [BC_SHIPPING] = {"BOOKCART_SHIPPING", RATES, "BG: standard=490 express=990; AT, BE, DE, ES, FR, GR, HR, HU, IT, LU, NL, PL, PT, RO, SI: standard=990 express=1990; *: standard=1990", 0, 0, false, "where is delivered to and how: COUNTRIES: METHOD=PRICE …; minor units, * is every other country"},
    [BC_TAX]      = {"BOOKCART_TAX", RATES, "AT=1000 BE=600 BG=900 DE=700 ES=400 FR=550 GR=600 HR=500 HU=500 IT=400 LU=300 NL=900 PL=500 PT=600 RO=1100 SI=500 *=0", 0, 0, false, "tax on books and their shipping by country, in basis points; * is every other country"},
    [BC_TAX_INCLUDED] = {"BOOKCART_TAX_INCLUDED", FLAG, "yes", 0, 0, false, "prices hold the tax already; no: it is added"},
    [BC_ORDER_HOLD]   = {"BOOKCART_ORDER_HOLD", DURATION, "15m", 1 * S, 1 * DAY, false, "an order that is not paid keeps its stock so long, then it expires"},
    [BC_PAYMENT_RECONCILE] = {"BOOKCART_PAYMENT_RECONCILE", DURATION, "30s", 50, 1 * H, false, "what is in doubt between shop and payment provider is asked about after so long, then in growing steps"},
    [BC_PAYMENT_TIMEOUT]   = {"BOOKCART_PAYMENT_TIMEOUT", DURATION, "10s", 100, 1 * MIN, false, "longest call of the payment provider, retries included"},

    [BC_SAMPLE_CATALOGUE] = {"BOOKCART_SAMPLE_CATALOGUE", FLAG, "no", 0, 0, false, "an empty library imports BOOKCART_SAMPLE_FILE at its start"},
    [BC_SAMPLE_FILE]      = {"BOOKCART_SAMPLE_FILE", PATH, "", 0, 0, false, "CSV catalogue for an empty library"},

    [BC_HTTP_CONNECTIONS] = {"BOOKCART_HTTP_CONNECTIONS", NUMBER, "256", 4, 4096, false, "connections that one listener of a service serves at once"},
    [BC_HTTP_TIMEOUT]     = {"BOOKCART_HTTP_TIMEOUT", DURATION, "75s", 1 * S, 1 * H, false, "a service closes a connection that was idle so long"},

    [BC_STRIPE_KEY]             = {"BOOKCART_STRIPE_KEY", TEXT, "", 0, 0, true, "Stripe's secret key (sk_… or a restricted rk_…); needed by BOOKCART_PAYMENTS = stripe:"},
    [BC_STRIPE_PUBLISHABLE_KEY] = {"BOOKCART_STRIPE_PUBLISHABLE_KEY", TEXT, "", 0, 0, false, "Stripe's publishable key (pk_…), which GET /shop hands to customers; needed by stripe:"},
    [BC_STRIPE_WEBHOOK_SECRETS] = {"BOOKCART_STRIPE_WEBHOOK_SECRETS", TEXT, "", 0, 0, true, "signing secrets of Stripe's webhook endpoint (whsec_…), up to 8 while they are rotated; needed by stripe:"},
    [BC_STRIPE_API]             = {"BOOKCART_STRIPE_API", URL, "https://api.stripe.com", 1, 0, false, "where Stripe's API answers; http:// on loopback only"},
    [BC_WEBHOOK_TOLERANCE]      = {"BOOKCART_WEBHOOK_TOLERANCE", DURATION, "5m", 1 * S, 1 * H, false, "a payment webhook signed longer ago, or so far in the future, is refused"},
    [BC_SANDBOX_PUBLIC]         = {"BOOKCART_SANDBOX_PUBLIC", FLAG, "no", 0, 0, false, "allows sandbox payments on a listener that is not loopback, for a demo"},
    [BC_SANDBOX_SETTLE]         = {"BOOKCART_SANDBOX_SETTLE", DURATION, "3s", 0, 1 * DAY, false, "the sandbox settles bank debits, pending and failing refunds so long after they were asked for"},
    [BC_SANDBOX_WEBHOOKS]       = {"BOOKCART_SANDBOX_WEBHOOKS", WEBHOOKS, "", 0, 0, false, "how the sandbox delivers webhooks, for tests: duplicated, reversed (newest first, when none came for the delay), lost"},
    [BC_SANDBOX_WEBHOOK_DELAY]  = {"BOOKCART_SANDBOX_WEBHOOK_DELAY", DURATION, "0", 0, 1 * DAY, false, "the sandbox delivers webhooks so long after their event"},

    [BC_RATE_LIMITS]       = {"BOOKCART_RATE_LIMITS", FLAG, "on", 0, 0, false, "limits per address and account; off only when every listener is on loopback"},
    [BC_ARGON2_MEMORY]     = {"BOOKCART_ARGON2_MEMORY", SIZE, "64m", 64 * 1024, 4 * GB, false, "memory of one password hash"},
    [BC_ARGON2_PASSES]     = {"BOOKCART_ARGON2_PASSES", NUMBER, "2", 1, 20, false, "passes of one password hash"},
    [BC_ARGON2_CONCURRENT] = {"BOOKCART_ARGON2_CONCURRENT", NUMBER, "2", 1, 64, false, "password hashes computed at once"},
    [BC_ARGON2_QUEUE]      = {"BOOKCART_ARGON2_QUEUE", NUMBER, "32", 0, 1024, false, "password hashes that may wait for their turn; more are answered 503"},
    [BC_ARGON2_WAIT]       = {"BOOKCART_ARGON2_WAIT", DURATION, "20s", 100, 1 * H, false, "how long each of them may wait on a busy machine; then it is answered 503"},

    [BC_CART_ZONE]          = {"BOOKCART_CART_ZONE", SIZE, "128m", 2 * MB, 1024 * GB, false, "shared memory of the edge for seats"},
    [BC_CART_BOOKS_ZONE]    = {"BOOKCART_CART_BOOKS_ZONE", SIZE, "32m", 2 * MB, 64 * GB, false, "shared memory of the edge for what carts show of books"},
    [BC_CART_WRITE_TIMEOUT] = {"BOOKCART_CART_WRITE_TIMEOUT", DURATION, "5s", 50, 30 * S, false, "a change not confirmed by then is answered 503"},
    [BC_CART_STALE_MAX]     = {"BOOKCART_CART_STALE_MAX", DURATION, "60s", 1 * S, 1 * H, false, "a seat that nobody vouches for is shown no longer than this"},
    [BC_CART_NOTE_TTL]      = {"BOOKCART_CART_NOTE_TTL", DURATION, "10m", 1 * S, 1 * DAY, false, "a second request within it earns a seat"},
    [BC_CART_SEAT_TTL]      = {"BOOKCART_CART_SEAT_TTL", DURATION, "10m", 1 * S, 7 * DAY, false, "a calm user's seat without interaction"},
    [BC_CART_ACTIVE_TTL]    = {"BOOKCART_CART_ACTIVE_TTL", DURATION, "30m", 1 * S, 7 * DAY, false, "an active user's seat without interaction"},
    [BC_CART_ACTIVE_HEAT]   = {"BOOKCART_CART_ACTIVE_HEAT", NUMBER, "6", 1, 255, false, "requests a minute at which a user is active"},
    [BC_CART_MEMORY]        = {"BOOKCART_CART_MEMORY", SIZE, "256m", 1 * MB, 1024 * GB, false, "memory of the cart engine for resident carts"},
    [BC_CART_DIRTY_AGE_MAX] = {"BOOKCART_CART_DIRTY_AGE_MAX", DURATION, "15m", 1 * S, 1 * DAY, false, "a change is in the base no later than this"},
    [BC_CART_CALM_AGE]      = {"BOOKCART_CART_CALM_AGE", DURATION, "3m", 0, 1 * DAY, false, "a calm cart goes to the base so long after its change"},
    [BC_CART_JOURNAL_MAX]   = {"BOOKCART_CART_JOURNAL_MAX", SIZE, "1g", 16 * MB, 1024 * GB, false, "all segments of the cart journal together; then changes are refused"},
    [BC_CART_SEGMENT]       = {"BOOKCART_CART_SEGMENT", SIZE, "64m", 1 * MB, 4 * GB, false, "one segment of the cart journal"},
    [BC_CART_RELEASE_AGE]   = {"BOOKCART_CART_RELEASE_AGE", DURATION, "1s", 0, 1 * DAY, false, "a cart whose seat was given up goes to the base so long after that"},
    [BC_CART_BATCH]         = {"BOOKCART_CART_BATCH", NUMBER, "1024", 1, 4000, false, "cart changes made durable by one sync, at most"},
    [BC_CART_FEED_MAX]      = {"BOOKCART_CART_FEED_MAX", DURATION, "15s", 2 * S, 10 * MIN, false, "revocations not heard for so long are not vouched for: changes are refused"},
    [BC_CART_EDGE_USER]     = {"BOOKCART_CART_EDGE_USER", TEXT, "", 0, 0, false, "user that the edge's workers run as, allowed on the link beside the service's own; empty: nobody else"},
    [BC_CART_TAKE_OVER]     = {"BOOKCART_CART_TAKE_OVER", FLAG, "no", 0, 0, false, "claim a base that belongs to another journal, in a new epoch: only when that journal is gone for ever"},
};
/* clang-format on */

typedef struct {
    char *text; /* owned; NULL: the default */
    int64_t number;
    bool set;
    char origin[160]; /* "bookcart.conf:12" for messages about combinations */
} value_t;

struct bc_config {
    value_t values[BC_KEY_COUNT];
    bool finished;
};

bool bc_config_refuse(char *reason, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, BC_CONFIG_REASON_BYTES, format, arguments); /* a cut message is still one */
    va_end(arguments);
    return false;
}

bc_config_t *bc_config_create(void) {
    return calloc(1, sizeof(bc_config_t));
}

void bc_config_destroy(bc_config_t *config) {
    if (config == NULL) return;
    for (int key = 0; key < BC_KEY_COUNT; key++) {
        if (config->values[key].text == NULL) continue;
        if (table[key].secret) bc_secret_wipe(config->values[key].text, strlen(config->values[key].text));
        free(config->values[key].text);
    }
    free(config);
}

/* --- kinds: each says in a few words what is wrong, or NULL --- */

static bool digits_only(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
    }
    return length > 0;
}

typedef struct {
    const char *word;
    int64_t factor;
} unit_t;

static const unit_t size_units[] = {{"", 1}, {"k", 1024}, {"m", MB}, {"g", GB}, {NULL, 0}};
static const unit_t duration_units[] = {{"ms", 1}, {"s", S}, {"m", MIN}, {"h", H}, {"d", DAY}, {NULL, 0}};
static const unit_t plain_units[] = {{"", 1}, {NULL, 0}};

static const char *parse_quantity(const char *text, const unit_t *units, int64_t *result) {
    size_t length = strspn(text, "0123456789");
    if (length == 0) return "is not a number";
    if (length > 18) return "is too large";
    int64_t value = 0;
    for (size_t i = 0; i < length; i++) value = value * 10 + (text[i] - '0');
    if (value == 0 && text[length] == '\0') { /* zero needs no unit */
        *result = 0;
        return NULL;
    }
    for (const unit_t *unit = units; unit->word != NULL; unit++) {
        if (strcasecmp(text + length, unit->word) != 0) continue;
        if (__builtin_mul_overflow(value, unit->factor, result)) return "is too large";
        return NULL;
    }
    if (units == size_units) return "needs a size such as 512k, 64m, 2g";
    if (units == duration_units) return "needs a unit: ms, s, m, h or d";
    return "is not a whole number";
}

static const char *parse_flag(const char *text, int64_t *result) {
    if (strcmp(text, "yes") == 0 || strcmp(text, "on") == 0) {
        *result = 1;
    } else if (strcmp(text, "no") == 0 || strcmp(text, "off") == 0) {
        *result = 0;
    } else {
        return "is neither yes, on, no nor off";
    }
    return NULL;
}

bool bc_listen_parse(const char *text, bc_listen_t *listen) {
    bc_listen_t parsed = {.is_unix = false};
    if (strncmp(text, "unix:", 5) == 0) {
        size_t length = strlen(text + 5);
        if (text[5] != '/' || length > 107) return false; /* sun_path has 108 bytes */
        parsed.is_unix = true;
        memcpy(parsed.address, text + 5, length + 1);
        *listen = parsed;
        return true;
    }
    const char *colon = strrchr(text, ':');
    if (colon == NULL || strlen(colon + 1) > 5 || !digits_only(colon + 1, strlen(colon + 1))) return false;
    long port = strtol(colon + 1, NULL, 10);
    const char *start = text;
    size_t length = (size_t)(colon - text);
    bool bracketed = length >= 2 && text[0] == '[' && colon[-1] == ']';
    if (bracketed) {
        start++;
        length -= 2;
    }
    if (port > 65535 || length == 0 || length >= INET6_ADDRSTRLEN) return false;
    memcpy(parsed.address, start, length);
    parsed.address[length] = '\0';
    unsigned char binary[16];
    if (inet_pton(bracketed ? AF_INET6 : AF_INET, parsed.address, binary) != 1) return false;
    parsed.port = (uint16_t)port;
    *listen = parsed;
    return true;
}

bool bc_listen_is_loopback(const bc_listen_t *listen) {
    return listen->is_unix || strncmp(listen->address, "127.", 4) == 0 || strcmp(listen->address, "::1") == 0;
}

static const char *judge_listen(const char *text) {
    bc_listen_t ignored;
    if (strncmp(text, "unix:@/", 7) == 0) return NULL; /* a default, before it is filled in */
    if (strncmp(text, "unix:/", 6) == 0 && strlen(text) > 5 + 107)
        return "is longer than a socket's path may be (107 bytes)";
    return bc_listen_parse(text, &ignored)
               ? NULL
               : "is neither ADDR:PORT (a numeric address, [..] around IPv6) nor unix:/path";
}

static const char *judge_url(const char *text) {
    if (text[0] == '\0') return NULL;
    size_t scheme = strncmp(text, "https://", 8) == 0 ? 8 : strncmp(text, "http://", 7) == 0 ? 7 : 0;
    if (scheme == 0) return "does not begin with http:// or https://";
    size_t host = strcspn(text + scheme, "/?#");
    if (host == 0) return "names no host";
    if (text[scheme + host] != '\0') return "has more than scheme, host and port (no slash at the end)";
    if (strpbrk(text, " \t\"'\\{};$@") != NULL) return "has a character that a URL's host has not";
    return NULL;
}

bool bc_config_next_word(const char **rest, char *word, size_t size, bool *too_long) {
    *rest += strspn(*rest, ", \t");
    size_t length = strcspn(*rest, ", \t");
    if (length == 0) return false;
    *too_long = length >= size;
    if (*too_long) return false;
    memcpy(word, *rest, length);
    word[length] = '\0';
    *rest += length;
    return true;
}

static const char *judge_origins(const char *text) {
    char word[300];
    bool too_long = false;
    while (bc_config_next_word(&text, word, sizeof(word), &too_long)) {
        if (strcmp(word, "null") == 0) return "may not name the origin null";
        if (strchr(word, '*') != NULL) return "takes exact origins, no *";
        if (judge_url(word) != NULL) return "has an entry that is no origin (https://host[:port])";
    }
    return too_long ? "has an entry that is too long" : NULL;
}

static const char *judge_proxies(const char *text) {
    char word[64];
    bool too_long = false;
    while (bc_config_next_word(&text, word, sizeof(word), &too_long)) {
        char *slash = strchr(word, '/');
        if (slash != NULL) *slash = '\0';
        unsigned char binary[16];
        int bits_max = inet_pton(AF_INET, word, binary) == 1 ? 32 : inet_pton(AF_INET6, word, binary) == 1 ? 128 : 0;
        if (bits_max == 0) return "has an entry that is no address";
        if (slash == NULL) continue;
        if (strlen(slash + 1) > 3 || !digits_only(slash + 1, strlen(slash + 1)) ||
            strtol(slash + 1, NULL, 10) > bits_max)
            return "has an entry with a wrong prefix length";
    }
    return too_long ? "has an entry that is no address" : NULL;
}

static const char *judge_webhooks(const char *text) {
    char word[16];
    bool too_long = false;
    while (bc_config_next_word(&text, word, sizeof(word), &too_long)) {
        if (strcmp(word, "duplicated") != 0 && strcmp(word, "reversed") != 0 && strcmp(word, "lost") != 0)
            return "has a word that is none of duplicated, reversed, lost";
    }
    return too_long ? "has a word that is none of duplicated, reversed, lost" : NULL;
}

/* What a STORE takes beside its default. A form that ends in :// stands for all that begin with it; whoever opens such a store
 * judges the rest. */
static const struct {
    bc_key_t key;
    const char *form;
} stores[] = {
    {BC_PAYMENTS, "stripe:"},
};

static void squeeze(const char *text, char *squeezed, size_t size) {
    size_t length = 0;
    for (; *text != '\0' && length < size - 1; text++) {
        if (*text != ' ' && *text != '\t') squeezed[length++] = *text;
    }
    squeezed[length] = '\0';
}

static bool has_form(const char *text, const char *form) {
    size_t length = strlen(form);
    bool open = length > 3 && strcmp(form + length - 3, "://") == 0;
    return open ? strncmp(text, form, length) == 0 && text[length] != '\0' : strcmp(text, form) == 0;
}

/* Blanks around => are free; everything else must be a value that this build has an engine for. */
static const char *judge_store(bc_key_t key, const char *text) {
    static const char *const later[] = {"mysql://", "redis://", "kafka://",      "http://",
                                        "https://", "s3://",    "cloudinary://", NULL};
    char squeezed[BC_CONFIG_VALUE_MAX + 1], known[128];
    squeeze(text, squeezed, sizeof(squeezed));
    squeeze(table[key].fallback, known, sizeof(known));
    if (strcmp(squeezed, known) == 0) return NULL;
    for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
        if (stores[i].key == key && has_form(squeezed, stores[i].form)) return NULL;
    }
    for (int i = 0; later[i] != NULL; i++) {
        if (strstr(squeezed, later[i]) != NULL) return "names an engine that is not supported by this build";
    }
    return "is not a store that this build knows";
}

static const char *judge(bc_key_t key, const char *text, int64_t *number) {
    const row_t *row = &table[key];
    bc_log_level_t level;
    bc_mail_server_t mail_server;
    switch (row->kind) {
    case TEXT:
        return row->least > 0 && text[0] == '\0' ? "may not be empty" : NULL;
    case PATH:
        return NULL;
    case NUMBER:
        return parse_quantity(text, plain_units, number);
    case SIZE:
        return parse_quantity(text, size_units, number);
    case DURATION:
        return parse_quantity(text, duration_units, number);
    case FLAG:
        return parse_flag(text, number);
    case LISTEN:
        return judge_listen(text);
    case LOG_LEVEL:
        return bc_log_level_parse(text, &level) ? NULL : "is none of debug, info, warn, error, alert";
    case CURRENCY:
        return strlen(text) == 3 && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 3 ? NULL
                                                                                    : "is no ISO 4217 code such as EUR";
    case URL:
        return row->least > 0 && text[0] == '\0' ? "may not be empty" : judge_url(text);
    case ORIGINS:
        return judge_origins(text);
    case PROXIES:
        return judge_proxies(text);
    case WEBHOOKS:
        return judge_webhooks(text);
    case RATES:
        return key == BC_TAX ? bc_tax_judge(text) : bc_shipping_judge(text);
    case STORE:
        return key == BC_MAIL && strcmp(text, "files:") != 0 ? bc_mail_smtp_parse(text, &mail_server)
                                                             : judge_store(key, text);
    case ADDRESS:
        return text[0] == '\0' || bc_mail_address_fits(text) ? NULL : "is no mail address";
    }
    return "has no kind";
}

static bool take(bc_config_t *config, bc_key_t key, const char *text, size_t length, const char *origin, char *reason) {
    const row_t *row = &table[key];
    char value[BC_CONFIG_VALUE_MAX + 1];
    if (length > BC_CONFIG_VALUE_MAX)
        return bc_config_refuse(reason, "%s: %s: is longer than %d bytes", origin, row->name, BC_CONFIG_VALUE_MAX);
    memcpy(value, text, length);
    value[length] = '\0';
    bool good = false;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f) {
            (void)bc_config_refuse(reason, "%s: %s: has a control character", origin, row->name);
            goto end;
        }
    }
    int64_t number = 0;
    const char *wrong = judge(key, value, &number);
    if (wrong != NULL) {
        /* A store may carry a password, so values are shown only where none can be. */
        if (row->secret || row->kind == STORE) {
            (void)bc_config_refuse(reason, "%s: %s: %s", origin, row->name, wrong);
        } else {
            (void)bc_config_refuse(reason, "%s: %s: \"%.80s\" %s", origin, row->name, value, wrong);
        }
        goto end;
    }
    bool ranged = row->kind == NUMBER || row->kind == SIZE || row->kind == DURATION;
    if (ranged && (number < row->least || number > row->most)) {
        (void)bc_config_refuse(reason, "%s: %s: \"%.80s\" is not between %lld and %lld%s", origin, row->name, value,
                               (long long)row->least, (long long)row->most,
                               row->kind == SIZE       ? " bytes"
                               : row->kind == DURATION ? " ms"
                                                       : "");
        goto end;
    }
    char *kept = strdup(value);
    if (kept == NULL) {
        (void)bc_config_refuse(reason, "%s: %s: no memory", origin, row->name);
        goto end;
    }
    free(config->values[key].text);
    config->values[key].text = kept;
    config->values[key].number = number;
    config->values[key].set = true;
    (void)snprintf(config->values[key].origin, sizeof(config->values[key].origin), "%s", origin); /* cut is fine */
    good = true;
end:
    if (row->secret) bc_secret_wipe(value, sizeof(value));
    return good;
}

/* Finds `name`, or NAME of NAME_FILE for a secret. -1: no such key. */
static int find_key(const char *name, size_t length, bool *from_file) {
    for (int key = 0; key < BC_KEY_COUNT; key++) {
        size_t own = strlen(table[key].name);
        if (length < own || memcmp(name, table[key].name, own) != 0) continue;
        *from_file = table[key].secret && length == own + 5 && memcmp(name + own, "_FILE", 5) == 0;
        if (length == own || *from_file) return key;
    }
    return -1;
}

static bool take_named(bc_config_t *config, const char *name, size_t name_length, const char *text, size_t length,
                       const char *origin, char *reason) {
    bool from_file = false;
    int key = find_key(name, name_length, &from_file);
    if (key < 0)
        return bc_config_refuse(reason, "%s: %.*s: is no setting", origin, (int)(name_length > 80 ? 80 : name_length),
                                name);
    if (!from_file) return take(config, (bc_key_t)key, text, length, origin, reason);

    char path[BC_CONFIG_VALUE_MAX + 1], secret[BC_SECRET_MAX];
    if (length > BC_CONFIG_VALUE_MAX)
        return bc_config_refuse(reason, "%s: %s_FILE: is too long", origin, table[key].name);
    memcpy(path, text, length);
    path[length] = '\0';
    if (!bc_secret_load(path, secret, sizeof(secret)))
        return bc_config_refuse(reason, "%s: %s_FILE: cannot read a secret from %.200s: %s", origin, table[key].name,
                                path, strerror(errno));
    bool good = take(config, (bc_key_t)key, secret, strlen(secret), origin, reason);
    bc_secret_wipe(secret, sizeof(secret));
    return good;
}

/* --- sources --- */

static void trim(const char **start, size_t *length) {
    while (*length > 0 && strchr(" \t\r", (*start)[0]) != NULL && (*start)[0] != '\0') (*start)++, (*length)--;
    while (*length > 0 && strchr(" \t\r", (*start)[*length - 1]) != NULL && (*start)[*length - 1] != '\0') (*length)--;
}

static bool read_line(bc_config_t *config, const char *origin, const char *line, size_t length, bool seen[BC_KEY_COUNT],
                      char *reason) {
    trim(&line, &length);
    if (length == 0 || line[0] == '#') return true;
    if (length > BC_CONFIG_LINE_MAX)
        return bc_config_refuse(reason, "%s: line is longer than %d characters", origin, BC_CONFIG_LINE_MAX);
    if (memchr(line, '\0', length) != NULL) return bc_config_refuse(reason, "%s: line has a zero byte", origin);
    const char *equals = memchr(line, '=', length);
    if (equals == NULL) return bc_config_refuse(reason, "%s: is not of the form KEY = value", origin);
    const char *name = line, *text = equals + 1;
    size_t name_length = (size_t)(equals - line), text_length = length - name_length - 1;
    trim(&name, &name_length);
    trim(&text, &text_length);
    if (name_length == 0) return bc_config_refuse(reason, "%s: is not of the form KEY = value", origin);
    bool from_file = false;
    int key = find_key(name, name_length, &from_file);
    if (key >= 0 && seen[key])
        return bc_config_refuse(reason, "%s: %s: is given twice in this file", origin, table[key].name);
    if (key >= 0) seen[key] = true;
    return take_named(config, name, name_length, text, text_length, origin, reason);
}

bool bc_config_read_text(bc_config_t *config, const char *name, const char *text, size_t length,
                         char reason[BC_CONFIG_REASON_BYTES]) {
    assert(!config->finished);
    bool seen[BC_KEY_COUNT] = {false};
    int number = 0;
    while (length > 0) {
        const char *end = memchr(text, '\n', length);
        size_t line = end == NULL ? length : (size_t)(end - text);
        char origin[160];
        number++;
        (void)snprintf(origin, sizeof(origin), "%.140s:%d", name, number);
        if (!read_line(config, origin, text, line, seen, reason)) return false;
        size_t step = end == NULL ? line : line + 1;
        text += step;
        length -= step;
    }
    return true;
}

bool bc_config_read_file(bc_config_t *config, const char *path, char reason[BC_CONFIG_REASON_BYTES]) {
    char *text = NULL;
    size_t length = 0;
    if (!bc_files_read(path, BC_CONFIG_FILE_MAX, &text, &length))
        return bc_config_refuse(reason, "%.300s: cannot be read: %s", path, strerror(errno));
    bool good = bc_config_read_text(config, path, text, length, reason);
    bc_secret_wipe(text, length);
    free(text);
    return good;
}

bool bc_config_read_environment(bc_config_t *config, char *const *environment, char reason[BC_CONFIG_REASON_BYTES]) {
    assert(!config->finished);
    for (; *environment != NULL; environment++) {
        const char *entry = *environment, *equals = strchr(entry, '=');
        if (equals == NULL || strncmp(entry, "BOOKCART_", 9) != 0 || strncmp(entry, "BOOKCART_TEST_", 14) == 0)
            continue;
        if (!take_named(config, entry, (size_t)(equals - entry), equals + 1, strlen(equals + 1), "environment", reason))
            return false;
    }
    return true;
}

bool bc_config_set(bc_config_t *config, bc_key_t key, const char *value, const char *option,
                   char reason[BC_CONFIG_REASON_BYTES]) {
    assert(!config->finished);
    return take(config, key, value, strlen(value), option, reason);
}

/* --- the end of reading --- */

static bool keep_default(bc_config_t *config, bc_key_t key, char *reason) {
    const char *fallback = table[key].fallback;
    char filled[BC_FILES_PATH_MAX + 64];
    if (strncmp(fallback, "unix:@/", 7) == 0) {
        const char *data = bc_config_text(config, BC_DATA);
        if (data[0] == '\0') fallback = ""; /* no data folder: such a listener must be named to be used */
        if (data[0] != '\0') {
            (void)snprintf(filled, sizeof(filled), "unix:%s/%s", data, fallback + 7);
            fallback = filled;
            if (judge_listen(filled) != NULL)
                return bc_config_refuse(
                    reason, "%s: %s: %.200s is too long a path for sockets below it (107 bytes); name listeners",
                    config->values[BC_DATA].origin, table[BC_DATA].name, data);
        }
    }
    config->values[key].text = strdup(fallback);
    if (config->values[key].text == NULL) return bc_config_refuse(reason, "no memory");
    if (fallback[0] != '\0') {
        const char *wrong = judge(key, fallback, &config->values[key].number);
        assert(wrong == NULL); /* a default in the table that its own row refuses */
        (void)wrong;
    }
    return true;
}

static bool make_data_absolute(bc_config_t *config, char *reason) {
    value_t *data = &config->values[BC_DATA];
    if (data->text == NULL || data->text[0] == '\0' || data->text[0] == '/') return true;
    char here[BC_FILES_PATH_MAX], whole[BC_FILES_PATH_MAX * 2];
    if (getcwd(here, sizeof(here)) == NULL)
        return bc_config_refuse(reason, "%s: %s: no current folder: %s", data->origin, table[BC_DATA].name,
                                strerror(errno));
    (void)snprintf(whole, sizeof(whole), "%s/%s", here, data->text);
    char *kept = strdup(whole);
    if (kept == NULL) return bc_config_refuse(reason, "no memory");
    free(data->text);
    data->text = kept;
    return true;
}

bool bc_config_finish(bc_config_t *config, char reason[BC_CONFIG_REASON_BYTES]) {
    assert(!config->finished);
    if (!make_data_absolute(config, reason)) return false;
    for (int key = 0; key < BC_KEY_COUNT; key++) {
        if (config->values[key].text == NULL && !keep_default(config, (bc_key_t)key, reason)) return false;
    }
    if (!bc_config_judge_together(config, reason)) return false;
    config->finished = true;
    return true;
}

bool bc_config_load(bc_config_t **config, const char *file, char *const *environment, const char *data,
                    char reason[BC_CONFIG_REASON_BYTES]) {
    bc_config_t *made = bc_config_create();
    if (made == NULL) return bc_config_refuse(reason, "no memory");
    if ((file == NULL || bc_config_read_file(made, file, reason)) &&
        (environment == NULL || bc_config_read_environment(made, environment, reason)) &&
        (data == NULL || bc_config_set(made, BC_DATA, data, "--data", reason)) && bc_config_finish(made, reason)) {
        *config = made;
        return true;
    }
    bc_config_destroy(made);
    return false;
}

/* --- values --- */

const char *bc_config_text(const bc_config_t *config, bc_key_t key) {
    assert(key < BC_KEY_COUNT);
    return config->values[key].text == NULL ? "" : config->values[key].text;
}

int64_t bc_config_number(const bc_config_t *config, bc_key_t key) {
    assert(key < BC_KEY_COUNT);
    assert(table[key].kind == NUMBER || table[key].kind == SIZE || table[key].kind == DURATION);
    return config->values[key].number;
}

bool bc_config_flag(const bc_config_t *config, bc_key_t key) {
    assert(key < BC_KEY_COUNT);
    assert(table[key].kind == FLAG);
    return config->values[key].number != 0;
}

const char *bc_config_name(bc_key_t key) {
    assert(key < BC_KEY_COUNT);
    return table[key].name;
}

const char *bc_config_origin(const bc_config_t *config, bc_key_t key) {
    return config->values[key].set ? config->values[key].origin : "default";
}

bool bc_config_is_set(const bc_config_t *config, bc_key_t key) {
    assert(key < BC_KEY_COUNT);
    return config->values[key].set;
}

bool bc_config_public_url(const bc_config_t *config, char *url, size_t size) {
    const char *given = bc_config_text(config, BC_PUBLIC_URL);
    const char *scheme = bc_config_text(config, BC_TLS_CERT)[0] == '\0' ? "http" : "https";
    int length = given[0] != '\0' ? snprintf(url, size, "%s", given)
                                  : snprintf(url, size, "%s://%s", scheme, bc_config_text(config, BC_LISTEN));
    return length > 0 && (size_t)length < size;
}

bool bc_config_path(const bc_config_t *config, const char *relative, char *path, size_t size) {
    int length = snprintf(path, size, "%s/%s", bc_config_text(config, BC_DATA), relative);
    return length > 0 && (size_t)length < size;
}

void bc_config_print(const bc_config_t *config, FILE *out) {
    for (int key = 0; key < BC_KEY_COUNT; key++) {
        const char *text = bc_config_text(config, (bc_key_t)key);
        bool hide = table[key].secret && text[0] != '\0';
        (void)fprintf(out, "%s = %s\n", table[key].name, hide ? "***" : text); /* the caller looks at ferror */
    }
}

static void print_limit(FILE *out, const row_t *row, int64_t value) {
    const unit_t *units = row->kind == SIZE ? size_units : row->kind == DURATION ? duration_units : plain_units;
    const unit_t *best = units;
    for (const unit_t *unit = units; unit->word != NULL; unit++) {
        if (value != 0 && value % unit->factor == 0) best = unit;
    }
    (void)fprintf(out, "%lld%s", (long long)(value / best->factor), value == 0 ? "" : best->word);
}

void bc_config_print_reference(FILE *out) {
    (void)fprintf(out, "| setting | kind | default | range | meaning |\n| --- | --- | --- | --- | --- |\n");
    for (int key = 0; key < BC_KEY_COUNT; key++) {
        const row_t *row = &table[key];
        const char *fallback = strncmp(row->fallback, "unix:@/", 7) == 0 ? row->fallback + 7 : row->fallback;
        (void)fprintf(out, "| `%s` | %s%s | %s%s%s%s | ", row->name, kind_words[row->kind],
                      row->secret ? ", secret (also `_FILE`)" : "", fallback[0] == '\0' ? "" : "`",
                      fallback == row->fallback ? "" : "unix:DATA/", fallback, fallback[0] == '\0' ? "" : "`");
        if (row->kind == NUMBER || row->kind == SIZE || row->kind == DURATION) {
            print_limit(out, row, row->least);
            (void)fprintf(out, "…");
            print_limit(out, row, row->most);
        }
        (void)fprintf(out, " | %s |\n", row->help);
    }
}
