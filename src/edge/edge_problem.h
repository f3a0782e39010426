/*
 * Problems the edge answers with (RFC 9457): one table of name, status and titles in the shop's languages, the choice of
 * a language (RFC 9110, 12.5.4), and the document itself.
 */
#ifndef EDGE_PROBLEM_H
#define EDGE_PROBLEM_H

#include "edge/edge_out.h"

typedef enum { EDGE_EN, EDGE_FR, EDGE_BG, EDGE_LANGUAGES } edge_language_t;
edge_language_t edge_language_choose(const char *accept, size_t length);
const char *edge_language_tag(edge_language_t language);

typedef enum {
    EDGE_PROBLEM_MALFORMED,
    EDGE_PROBLEM_UNAUTHORIZED,
    EDGE_PROBLEM_FORBIDDEN,
    EDGE_PROBLEM_NOT_FOUND,
    EDGE_PROBLEM_METHOD,
    EDGE_PROBLEM_TIMEOUT,
    EDGE_PROBLEM_PRECONDITION,
    EDGE_PROBLEM_TOO_LARGE,
    EDGE_PROBLEM_URI_TOO_LONG,
    EDGE_PROBLEM_MEDIA_TYPE,
    EDGE_PROBLEM_UNKNOWN_BOOK,
    EDGE_PROBLEM_QUANTITY_LIMIT,
    EDGE_PROBLEM_LINE_LIMIT,
    EDGE_PROBLEM_KEY_REUSED,
    EDGE_PROBLEM_TOO_MANY,
    EDGE_PROBLEM_HEADER_TOO_LARGE,
    EDGE_PROBLEM_INTERNAL,
    EDGE_PROBLEM_NOT_IMPLEMENTED,
    EDGE_PROBLEM_BAD_GATEWAY,
    EDGE_PROBLEM_CART_UNAVAILABLE,
    EDGE_PROBLEM_UNAVAILABLE,
    EDGE_PROBLEM_GATEWAY_TIMEOUT,
    EDGE_PROBLEMS,
} edge_problem_t;

const char *edge_problem_name(edge_problem_t problem);
unsigned edge_problem_status(edge_problem_t problem);
const char *edge_problem_title(edge_problem_t problem, edge_language_t language);
/* The problem for a status that nginx itself decided on (its own 494…497 included); INTERNAL for what we do not know. */
edge_problem_t edge_problem_for_status(unsigned status);

typedef struct {
    edge_problem_t problem;
    edge_language_t language;
    const char *base;       /* "/problems/"; zero-terminated, borrowed */
    const char *request_id; /* borrowed */
    size_t request_id_length;
    const char *detail; /* in English; NULL: none */
    const char *field;  /* NULL: no errors[] */
    const char *code;
    const char *field_detail;
    size_t offset; /* of the field in the body; printed if has_offset */
    bool has_offset;
} edge_problem_text_t;

/* At most EDGE_PROBLEM_BYTES_MAX with a base, a field and texts of usual length; out->full says otherwise. */
#define EDGE_PROBLEM_BYTES_MAX 2048
void edge_problem_render(edge_out_t *out, const edge_problem_text_t *text);

#endif
