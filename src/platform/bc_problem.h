/*
 * Errors as the API shows them: application/problem+json (RFC 9457). One table (bc_problem.c) names every problem with its
 * status and its title in each language; a handler names the problem and may add a detail and the fields at fault.
 */
#ifndef BC_PROBLEM_H
#define BC_PROBLEM_H

#include <jansson.h>
#include <stddef.h>

typedef enum { BC_EN, BC_FR, BC_BG, BC_LANGUAGE_COUNT } bc_language_t;

typedef struct {
    const char *name; /* the last part of `type`: /problems/<name> */
    int status;
    const char *titles[BC_LANGUAGE_COUNT];
} bc_problem_t;

/* The row of that name. An unknown name is our mistake: asserted. */
const bc_problem_t *bc_problem_find(const char *name);
/* Row number `index`, NULL past the last: what pages and tests of the whole table go through. */
const bc_problem_t *bc_problem_at(size_t index);

/* A problem's body; the caller owns it. `detail` NULL: left out. `errors` (an array, taken) NULL: left out. */
json_t *bc_problem_body(const bc_problem_t *problem, bc_language_t language, const char *detail, const char *request_id,
                        json_t *errors);

/* The best language for an Accept-Language header (RFC 9110 12.5.4); English for none, nonsense or NULL. */
bc_language_t bc_language_choose(const char *accept_language);
const char *bc_language_tag(bc_language_t language); /* "en" */

#endif
