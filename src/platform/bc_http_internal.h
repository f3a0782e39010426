/* What the parts of bc_http share: routes prepared for matching, the request and the reply. Nobody outside bc_http*.c includes it. */
#ifndef BC_HTTP_INTERNAL_H
#define BC_HTTP_INTERNAL_H

#include "platform/bc_http.h"

#include <ulfius.h>

#define BC_PARTS_MAX        12 /* parts of a path */
#define BC_SPOOL_PATH_MAX   4096
#define BC_FIELD_ERRORS_MAX 16 /* named in one problem */

typedef struct {
    const char *name;
    char *value; /* owned, decoded */
} bc_query_item_t;

struct bc_request {
    struct _u_request *raw; /* borrowed: Ulfius' own, for the exchange */
    const bc_route_t *route;
    char path[BC_HTTP_PATH_MAX + 1]; /* cut into parts by zero bytes */
    const char *parts[BC_PARTS_MAX]; /* into path */
    int parts_count;
    char *query_text; /* owned; items point into it */
    struct {
        const char *name, *value;
    } query[BC_HTTP_QUERY_MAX];
    int query_count;
    json_t *body;      /* owned */
    const char *media; /* of a raw body: into the route's list's spelling, owned copy below */
    char media_text[80];
    char id[BC_REQUEST_ID_CHARS + 1];
    char client[BC_CLIENT_CHARS];
    bc_language_t language;
    bool has_caller;
    bc_claims_t caller;
    const volatile bool *stopping;
    size_t body_length;   /* bytes that came, whether kept in memory, spooled or dropped */
    size_t body_capacity; /* bytes raw->binary_body has room for */
    int spool_fd;         /* owned; -1: none */
    char spool_path[BC_SPOOL_PATH_MAX];
};

typedef struct {
    char *name, *value; /* owned */
} bc_header_t;

struct bc_reply {
    bool set;
    int status;
    char *bytes; /* owned */
    size_t length;
    const char *media; /* borrowed literal, or media_text */
    char media_text[80];
    char cache[64];
    const bc_problem_t *problem; /* set: the body is made at the end, in the request's language */
    char *detail;                /* owned */
    json_t *errors;              /* owned */
    bc_header_t headers[BC_HTTP_HEADERS_MAX];
    int headers_count;
};

/* bc_http_form.c: each sets a problem and returns false when the request is not of the route's form. */
bool bc_form_query(bc_request_t *request, bc_reply_t *reply, const char *allowed);
bool bc_form_body(bc_request_t *request, bc_reply_t *reply);
/* Percent-decodes in place; false: a bad escape, a zero byte or no UTF-8. `plus`: + means a blank. */
bool bc_form_decode(char *text, bool plus);
bool bc_form_is_utf8(const char *text);

/* bc_http_body.c: takes the body as it comes, into memory or the spool. false: a problem was set, and nothing of it is kept. */
bool bc_body_announced(const bc_request_t *request, bc_reply_t *reply); /* by Content-Length, before it comes */
bool bc_body_take(bc_request_t *request, bc_reply_t *reply, const char *spool_folder, const char *bytes, size_t size);
void bc_body_drop(bc_request_t *request);
size_t bc_body_max(const bc_request_t *request);

/* bc_http_reply.c */
void bc_reply_init(bc_reply_t *reply);
void bc_reply_deinit(bc_reply_t *reply);
/* Makes a problem's body, adds the headers of every answer, and hands all to Ulfius. `head`: the caller asked by HEAD. */
void bc_reply_send(bc_reply_t *reply, const bc_request_t *request, struct _u_response *response);

#endif
