/*
 * HTTP calls to services that are not ours: Stripe, a webhook's receiver. What answers is not trusted: the time of a call, the
 * size of its answer and of its headers are bounded, redirects are not followed, certificates are checked, and nothing of what
 * came or went is logged here.
 *
 * A bc_fetch_t keeps idle connections; any thread may call, several at once. Calls go straight to the host, never through a
 * proxy that the environment names.
 */
#ifndef BC_FETCH_H
#define BC_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BC_FETCH_IDLE_MAX    8           /* connections kept for later calls */
#define BC_FETCH_HEADERS_MAX (64 * 1024) /* bytes of an answer's headers */

typedef struct bc_fetch bc_fetch_t;

typedef enum {
    BC_FETCH_OK,        /* an answer came, whole; its status may be anything */
    BC_FETCH_AWAY,      /* not reached, too slow, cut off: the other side may or may not have done what was asked */
    BC_FETCH_STOPPED,   /* *stop became true; otherwise as AWAY */
    BC_FETCH_TOO_LARGE, /* headers, or a body over reply_max */
    BC_FETCH_UNTRUSTED, /* its certificate: nothing was sent */
    BC_FETCH_FAILED     /* no memory, a URL that is none */
} bc_fetch_result_t;

typedef struct {
    const char *method;         /* "GET" */
    const char *url;            /* http:// or https:// */
    const char *unix_socket;    /* NULL: by TCP */
    const char *const *headers; /* "Name: value", NULL at the end; NULL: none */
    const char *body;           /* NULL: none */
    size_t length;
    size_t reply_max;          /* bytes of the answer's body */
    int64_t timeout_ms;        /* of the whole call, > 0 */
    const volatile bool *stop; /* looked at about once a second; NULL: not looked at */
    /* Called with each header of the answer, `value` without blanks around it; both borrowed during the call. NULL: nobody asks. */
    void (*header)(void *context, const char *name, const char *value);
    void *context;
} bc_fetch_request_t; /* everything borrowed for the call */

typedef struct {
    int status;
    char *body; /* owned by the caller, zero-terminated; never NULL on BC_FETCH_OK */
    size_t length;
} bc_fetch_reply_t;

/* NULL: no memory. bc_client_init comes first (it starts libcurl). The caller destroys it when no call runs. */
bc_fetch_t *bc_fetch_create(void);
void bc_fetch_destroy(bc_fetch_t *fetch); /* NULL is fine */

/* Blocks. *reply is unchanged unless BC_FETCH_OK. */
bc_fetch_result_t bc_fetch_call(bc_fetch_t *fetch, const bc_fetch_request_t *request, bc_fetch_reply_t *reply);

#endif
