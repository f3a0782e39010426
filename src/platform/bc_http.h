/*
 * HTTP for services: a table of routes in front of Ulfius and libmicrohttpd.
 *
 * One bc_http_t serves one listener with one table. The table says who may call, which query parameters and body fields exist
 * and of which kind; whatever else comes is refused before the handler runs, with a problem that names the fields. So a
 * handler sees only requests of the right form from callers of the right kind.
 *
 * A caller that is refused, or a body longer than the route takes, costs no memory: what still comes of it is dropped as it comes.
 *
 * Every connection has its own thread (a handler may block: argon2, a feed), at most BOOKCART_HTTP_CONNECTIONS of them; one
 * more is answered 503 at once. Handlers run in several threads at the same time.
 *
 * Client address: on a unix socket the peer is the edge, and X-Real-IP is believed; on TCP the peer's own address counts and
 * forwarded headers are ignored.
 */
#ifndef BC_HTTP_H
#define BC_HTTP_H

#include "platform/bc_config.h"
#include "platform/bc_problem.h"
#include "platform/bc_token.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BC_HTTP_BODY_MAX      (16 * 1024) /* bytes, unless the route says otherwise; more is 413 */
#define BC_HTTP_BODY_HARD_MAX (64 * 1024 * 1024)
#define BC_HTTP_PATH_MAX      1024
#define BC_HTTP_QUERY_MAX     32 /* parameters in one URL */
#define BC_HTTP_ROUTES_MAX    128
#define BC_HTTP_HEADERS_MAX   16 /* set by one reply */
#define BC_REQUEST_ID_CHARS   32
#define BC_CLIENT_CHARS       64

typedef struct bc_http bc_http_t;
typedef struct bc_request bc_request_t;
typedef struct bc_reply bc_reply_t;

typedef enum {
    BC_ANYONE,   /* no token; one that is sent is checked only with .token */
    BC_GUEST,    /* any valid token */
    BC_CUSTOMER, /* a registered user's; a guest gets 403 registration-required */
    BC_OWNER,    /* any valid token; the handler compares the owner and answers bc_reply_not_found to others */
    BC_ADMIN,    /* role admin; others 403 */
    BC_INTERNAL, /* the service credential */
    BC_OPS       /* nobody is asked: internal listeners only */
} bc_access_t;

typedef void (*bc_handler_t)(bc_request_t *request, bc_reply_t *reply, void *context);

/*
 * path:   literal parts and {name} parts: "/api/v1/books/{id}". HEAD comes with GET.
 * query:  allowed parameters, blanks between: "limit cursor". NULL: none.
 * fields: a JSON object is the body, with these fields: "email:string! age:int tags:array? extra:any". Kinds: string int number
 *         bool object array any. `!` must be there; `?` may be null. NULL: a body is refused.
 * media:  instead of fields: media types of a raw body, blanks between: "text/csv application/x-ndjson".
 * spool:  with media: the body is not kept in memory but written to a file as it comes (bc_request_spool).
 */
typedef struct {
    const char *method;
    const char *path;
    bc_access_t access;
    bc_handler_t handler;
    const char *query;
    const char *fields;
    const char *media;
    size_t body_max_bytes; /* 0: BC_HTTP_BODY_MAX */
    bool spool;
    bool token; /* on BC_ANYONE: a token that is sent must be valid, and the handler sees its caller */
} bc_route_t;

typedef enum {
    BC_STANDING_GOOD,
    BC_STANDING_REVOKED, /* its session or user was: 401 */
    BC_STANDING_UNKNOWN  /* the list cannot be read now: 503 */
} bc_standing_t;

typedef struct {
    const char *service;           /* for logs and metrics; borrowed for the server's life */
    const char *listen;            /* unix:/path or ADDR:PORT (port 0: any free one) */
    const bc_route_t *routes;      /* ends with method NULL; borrowed */
    void *context;                 /* handed to handlers */
    int connections_max;           /* 1… */
    int64_t timeout_ms;            /* idle connections */
    bc_token_verifier_t *verifier; /* borrowed; NULL when no route asks for a token */
    bool show_statements;          /* every answer says its number of queries in `Bookcart-Statements`: for tests */
    const char *service_key;       /* borrowed; NULL: BC_INTERNAL routes are all refused */
    const char
        *spool_folder; /* borrowed; there must be one when a route spools, on the disk of the files it is kept as */
    /* How a token that verified stands; NULL: every one is good. */
    bc_standing_t (*standing)(const bc_claims_t *claims, void *context);
} bc_http_options_t;

/* NULL with a log line when it cannot listen. A stale socket file of a dead owner is replaced (the caller holds the service's lock). */
bc_http_t *bc_http_start(const bc_http_options_t *options);
/* bc_request_stopping is true from now on; wake what waits for it after this call. */
void bc_http_announce_stop(bc_http_t *http);
/* No new connections; waits until the requests that run have been answered, at most `grace_ms`; frees everything. */
void bc_http_stop(bc_http_t *http, int64_t grace_ms);
uint16_t bc_http_port(const bc_http_t *http); /* 0 on unix sockets */

/* --- the request: everything returned is borrowed until the handler returns; NULL = not there --- */
const char *bc_request_part(const bc_request_t *request, const char *name);    /* {name} of the path; never NULL */
const char *bc_request_query(const bc_request_t *request, const char *name);   /* decoded, valid UTF-8 */
const json_t *bc_request_body(const bc_request_t *request);                    /* the checked object */
const char *bc_request_string(const bc_request_t *request, const char *field); /* of the body */
bool bc_request_raw(const bc_request_t *request, const char **bytes, size_t *length, const char **media);
/* Of a route that spools: the file's descriptor (its position is the end; read it with pread) and length. */
bool bc_request_spool(const bc_request_t *request, int *fd, size_t *length, const char **media);
/* Makes the spooled body the file at `path`, whole and synced, its name too. Else it is gone when the request ends. false: errno. */
bool bc_request_spool_keep(const bc_request_t *request, const char *path);
const char *bc_request_header(const bc_request_t *request, const char *name);
const char *bc_request_cookie(const bc_request_t *request, const char *name);
const char *bc_request_id(const bc_request_t *request);     /* never NULL */
const char *bc_request_method(const bc_request_t *request); /* as sent: HEAD stays HEAD */
const char *bc_request_url(const bc_request_t *request);    /* path and query as sent */
const char *bc_request_client(const bc_request_t *request); /* address; an IPv6 one as its /64; never NULL */
bc_language_t bc_request_language(const bc_request_t *request);
const bc_claims_t *bc_request_caller(const bc_request_t *request); /* NULL: no token */
bool bc_request_stopping(const bc_request_t *request);             /* the server wants to stop: end waits */

/* A decimal query parameter between least and most. Absent: *value = otherwise. false: a problem was set, return. */
bool bc_request_query_int(const bc_request_t *request, bc_reply_t *reply, const char *name, int64_t least, int64_t most,
                          int64_t otherwise, int64_t *value);

/* --- the reply: exactly one of these per request; a handler that sets none answers 500 --- */
void bc_reply_json(bc_reply_t *reply, int status, json_t *body /* taken; NULL answers 500 */);
void bc_reply_bytes(bc_reply_t *reply, int status, const char *media, const void *bytes, size_t length /* copied */);
void bc_reply_empty(bc_reply_t *reply, int status);
void bc_reply_problem(bc_reply_t *reply, const char *name, const char *detail /* NULL: none */);
/* With one field at fault; call again to add more to the same problem. */
void bc_reply_problem_field(bc_reply_t *reply, const char *name, const char *field, const char *code,
                            const char *detail);
void bc_reply_not_found(bc_reply_t *reply);
/* Beside any of them. Copied. */
void bc_reply_header(bc_reply_t *reply, const char *name, const char *value);
void bc_reply_cache(bc_reply_t *reply, const char *cache_control); /* default: no-store */
void bc_reply_retry_after(bc_reply_t *reply, int64_t ms);          /* rounded up to seconds, 1 at least */
/* Sets ETag (`etag` with its quotes). true: If-None-Match matches (weak comparison), 304 was set, return without a body. */
bool bc_reply_etag(const bc_request_t *request, bc_reply_t *reply, const char *etag);
int bc_reply_status(const bc_reply_t *reply);
/* A problem as {"name","detail"?,"errors"?}, to be told again: bc_once. The caller owns it; NULL: the reply is none, or no memory. */
json_t *bc_reply_problem_parts(const bc_reply_t *reply);
void bc_reply_problem_from(bc_reply_t *reply, const json_t *parts /* borrowed; of no such form answers 500 */);

#endif
