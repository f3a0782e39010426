/*
 * Settings: one table (bc_config.c) says every key's name, kind, default, range, help, and whether it is a secret.
 *
 * A value comes, weakest first, from the table's default, one file of `KEY = value` lines, the environment (for a secret
 * also KEY_FILE, the name of a file that holds it), and the command line. Everything is judged before anything starts: an
 * unknown key, a value out of its range or a combination that cannot work is refused with `file:line: KEY: reason`.
 *
 * After bc_config_finish a config is never changed, so any thread may read it.
 */
#ifndef BC_CONFIG_H
#define BC_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BC_CONFIG_REASON_BYTES 512
#define BC_CONFIG_LINE_MAX     4096 /* characters in one line of the file, its end not counted */
#define BC_CONFIG_VALUE_MAX    2048 /* bytes in one value */
#define BC_CONFIG_FILE_MAX     (256 * 1024)

#define BC_CONFIG_STRIPE_SECRETS_MAX 8   /* webhook secrets valid at the same time */
#define BC_CONFIG_STRIPE_SECRET_MAX  128 /* bytes in one */

/* One name per row of the table. The comment is the kind: text, path, number, size (bytes), duration (ms), flag, … */
typedef enum {
    BC_DATA,            /* path: the folder that holds everything */
    BC_LISTEN,          /* ADDR:PORT of the edge */
    BC_OPS_LISTEN,      /* ADDR:PORT of the edge's /healthz, /readyz, /metrics */
    BC_PUBLIC_URL,      /* URL the shop is reached by, no slash at its end; may be empty */
    BC_TRUSTED_PROXIES, /* list of CIDR, separated by commas or blanks */
    BC_TLS_CERT,        /* path */
    BC_TLS_KEY,         /* path */
    BC_WORKERS,         /* number: nginx workers; 0 = one per core */
    BC_SHOP_NAME,       /* text */
    BC_CURRENCY,        /* ISO 4217 code */
    BC_CORS_ORIGINS,    /* list of exact origins */
    BC_LOG_LEVEL,       /* debug info warn error alert */

    BC_DATABASE,     /* store: sqlite: */
    BC_CART_STORE,   /* journal: => sqlite:carts.db */
    BC_EVENTS,       /* local: */
    BC_SEARCH,       /* fts5: */
    BC_IMAGES,       /* files: */
    BC_IMAGES_SWEEP, /* duration: between two looks for pictures that nothing refers to */
    BC_PAYMENTS,     /* sandbox: or stripe: */
    BC_MAIL,         /* files:, smtp://host[:port], smtps://host[:port] */

    BC_MAIL_FROM,     /* mail address; empty: noreply@ the public URL's host */
    BC_MAIL_USER,     /* text; empty: no login */
    BC_MAIL_PASSWORD, /* secret */
    BC_MAIL_CA,       /* path; empty: the system's */
    BC_MAIL_RETRY,    /* duration: the first pause */

    BC_ISSUER,             /* text: `iss` of tokens */
    BC_AUDIENCE,           /* text: `aud` of tokens */
    BC_ACCESS_TOKEN_LIFE,  /* duration */
    BC_REFRESH_TOKEN_LIFE, /* duration */
    BC_REFRESH_GRACE,      /* duration: an old refresh token gives another pair for so long */
    BC_KEY_PUBLISH,        /* duration: a new key is published so long before it signs */
    BC_SERVICE_KEY,        /* secret: credential of calls between services; empty: DATA/keys/service.key */

    BC_AUTH_LISTEN,   /* unix:/path or ADDR:PORT, proxied by the edge */
    BC_AUTH_INTERNAL, /* the same, never proxied */
    BC_LIBRARY_LISTEN,
    BC_LIBRARY_INTERNAL,
    BC_CART_LINK,
    BC_CART_INTERNAL,
    BC_PAYMENT_LISTEN,
    BC_PAYMENT_INTERNAL,
    BC_QUESTION_LISTEN,
    BC_QUESTION_INTERNAL,

    BC_EVENTS_KEEP, /* duration: events and inbox entries are kept so long */
    BC_FAULTS,      /* text: bc_fault.h; loopback only */

    BC_SHIPPING,          /* text: bc_rates.h */
    BC_TAX,               /* text: bc_rates.h */
    BC_TAX_INCLUDED,      /* flag: prices hold the tax */
    BC_ORDER_HOLD,        /* duration: an unpaid order keeps its stock so long */
    BC_PAYMENT_RECONCILE, /* duration: what is in doubt is asked about so often at first */
    BC_PAYMENT_TIMEOUT,   /* duration: one call of the payment provider */

    BC_SAMPLE_CATALOGUE, /* flag: an empty library imports BC_SAMPLE_FILE at its start */
    BC_SAMPLE_FILE,      /* path: a CSV catalogue */

    BC_HTTP_CONNECTIONS, /* number: connections one listener serves at once */
    BC_HTTP_TIMEOUT,     /* duration: an idle connection is closed */

    BC_STRIPE_KEY,             /* secret: sk_… or rk_… */
    BC_STRIPE_PUBLISHABLE_KEY, /* text: pk_…, shown to customers */
    BC_STRIPE_WEBHOOK_SECRETS, /* secret: whsec_…, several while they are rotated */
    BC_STRIPE_API,             /* URL */
    BC_WEBHOOK_TOLERANCE,      /* duration: a signed webhook may be so old */
    BC_SANDBOX_PUBLIC,         /* flag */
    BC_SANDBOX_SETTLE,         /* duration: until what the sandbox takes its time for is decided */
    BC_SANDBOX_WEBHOOKS,       /* list: delivered, or duplicated, reversed, lost */
    BC_SANDBOX_WEBHOOK_DELAY,  /* duration */

    BC_RATE_LIMITS,       /* flag; off only when every listener is on loopback */
    BC_ARGON2_MEMORY,     /* size */
    BC_ARGON2_PASSES,     /* number */
    BC_ARGON2_CONCURRENT, /* number: hashes computed at once */
    BC_ARGON2_QUEUE,      /* number: hashes that may wait for one of those places */
    BC_ARGON2_WAIT,       /* duration: how long each may */

    BC_CART_ZONE,          /* size: the edge's shared memory for seats */
    BC_CART_BOOKS_ZONE,    /* size: the edge's shared memory for books */
    BC_CART_WRITE_TIMEOUT, /* duration: an unconfirmed change is answered with 503 */
    BC_CART_STALE_MAX,     /* duration: a seat nobody vouches for is not shown after this */
    BC_CART_NOTE_TTL,      /* duration: a second request within it earns a seat */
    BC_CART_SEAT_TTL,      /* duration: calm user's seat without interaction */
    BC_CART_ACTIVE_TTL,    /* duration: active user's seat without interaction */
    BC_CART_ACTIVE_HEAT,   /* number: requests a minute at which a user is active */
    BC_CART_MEMORY,        /* size: resident carts in the engine */
    BC_CART_DIRTY_AGE_MAX, /* duration: a change is in the base no later */
    BC_CART_CALM_AGE,      /* duration: a calm cart is synced this long after its change */
    BC_CART_JOURNAL_MAX,   /* size: all journal segments together */
    BC_CART_SEGMENT,       /* size: one journal segment */
    BC_CART_RELEASE_AGE,   /* duration: a cart whose seat was given up is synced this long after */
    BC_CART_BATCH,         /* number: cart changes in one commit */
    BC_CART_FEED_MAX,      /* duration: a feed not heard for so long is not vouched for */
    BC_CART_EDGE_USER,     /* text: user of the edge's workers; may be empty */
    BC_CART_TAKE_OVER,     /* flag: claim a base of another journal */

    BC_KEY_COUNT
} bc_key_t;

typedef struct bc_config bc_config_t;

/* A config of defaults, or NULL without memory. The caller destroys it. */
bc_config_t *bc_config_create(void);
void bc_config_destroy(bc_config_t *config); /* NULL is fine */

/* Each reads one source over what is there. false: refused, *reason says `place: KEY: why` and the config must only be
 * destroyed. `name` stands for the file in that message. */
bool bc_config_read_text(bc_config_t *config, const char *name, const char *text, size_t length,
                         char reason[BC_CONFIG_REASON_BYTES]);
bool bc_config_read_file(bc_config_t *config, const char *path, char reason[BC_CONFIG_REASON_BYTES]);
/* `environment` is a NULL-terminated list of NAME=value, as `environ`. Names that begin with BOOKCART_TEST_ belong to
 * the tests and are left alone. */
bool bc_config_read_environment(bc_config_t *config, char *const *environment, char reason[BC_CONFIG_REASON_BYTES]);
/* From the command line: `option` (for instance "--data") stands in the message. */
bool bc_config_set(bc_config_t *config, bc_key_t key, const char *value, const char *option,
                   char reason[BC_CONFIG_REASON_BYTES]);

/* Fills in what follows from other keys (sockets below DATA/run), makes DATA absolute, and judges combinations. Call once, last. */
bool bc_config_finish(bc_config_t *config, char reason[BC_CONFIG_REASON_BYTES]);

/* create, read file (NULL: none), read environment (NULL: none), set DATA (NULL: as it is), finish. *config is unchanged
 * on false. The caller destroys it. */
bool bc_config_load(bc_config_t **config, const char *file, char *const *environment, const char *data,
                    char reason[BC_CONFIG_REASON_BYTES]);

/* Values. The text lives as long as the config and is never NULL; an unset one is "". */
const char *bc_config_text(const bc_config_t *config, bc_key_t key);
int64_t bc_config_number(const bc_config_t *config, bc_key_t key); /* number, size in bytes, duration in ms */
bool bc_config_flag(const bc_config_t *config, bc_key_t key);
const char *bc_config_name(bc_key_t key);                       /* "BOOKCART_DATA" */
bool bc_config_is_set(const bc_config_t *config, bc_key_t key); /* by any source but the default */

/* Where customers reach the shop, without a slash at its end: BOOKCART_PUBLIC_URL, or made from BOOKCART_LISTEN. false: it does not
 * fit. */
bool bc_config_public_url(const bc_config_t *config, char *url, size_t size);

/* DATA/<relative> into `path`; false when it does not fit. */
bool bc_config_path(const bc_config_t *config, const char *relative, char *path, size_t size);

/* `KEY = value` lines of every key, secrets as ***. */
void bc_config_print(const bc_config_t *config, FILE *out);
/* The table as a Markdown page: what docs/OPERATIONS.md is made from. */
void bc_config_print_reference(FILE *out);

/* ADDR:PORT or unix:/path, as listeners are written. */
typedef struct {
    bool is_unix;
    char address[256]; /* path, or a numeric address without brackets */
    uint16_t port;
} bc_listen_t;

/* false when `text` is neither; *listen unchanged. Names are refused: an address is a number. */
bool bc_listen_parse(const char *text, bc_listen_t *listen);
bool bc_listen_is_loopback(const bc_listen_t *listen); /* unix sockets count as loopback */

#endif
