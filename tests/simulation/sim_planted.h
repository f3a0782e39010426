/*
 * The planted bugs: one table. `name` is the word in CART_PLANTED(name) in the product's sources.
 */
#ifndef SIM_PLANTED_H
#define SIM_PLANTED_H

#include <stddef.h>

typedef struct {
    int rule; /* of DESIGN section 5, "Rules that keep the promise" */
    const char *name, *what;
} sim_planted_t;

extern const sim_planted_t sim_planted[]; /* ends with a NULL name */

#endif
