/*
 * The requests that a trace of baskets stands for, in order of time.
 *
 * The file (`unix_seconds,household_id,basket_id,product_id,quantity,sales_value`, oldest first) says who buys when and how
 * many lines a basket has. What it does not say is made up by a fixed rule from a fixed seed:
 *   a session of a basket ends at its time; per line: a look at the cart, the add, a look; then two looks and the clearing
 *   of the cart by the paid order. 3 to 60 s pass between requests.
 * Arrivals can be squeezed (`squeeze` times faster) to make a year of a small shop a day of a large one; the pace inside
 * a session stays. Passers-by are users of one or two looks who never come again, `passers_percent` of the sessions.
 */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    double at_s; /* from the first session */
    uint32_t user;
    bool is_change;
} request_t;

typedef struct {
    request_t *requests; /* owned */
    uint32_t count;
    uint32_t users, households;
    uint32_t sessions, changes, lines;
    bool is_stand_in; /* the file was missing: made by a rule of the same shape */
} trace_t;

/* The program ends with a message when memory or the file's form fails it. */
void trace_make(trace_t *trace, const char *path, double squeeze, unsigned passers_percent);
void trace_free(trace_t *trace);

#endif
