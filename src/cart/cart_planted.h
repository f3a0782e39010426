/*
 * Planted bugs: switches that break one rule each, so that the simulation can show that its checker would notice.
 *
 * CART_PLANTED(name) is the constant 0 everywhere but in the libraries `cart_planted` and `engine_planted`, which are the
 * same sources compiled once more with BOOKCART_PLANT for the simulation. The program never contains a switch. The name is
 * a bare word; `grep -rn CART_PLANTED src` lists them all with the place that each one breaks.
 */
#ifndef CART_PLANTED_H
#define CART_PLANTED_H

#ifdef BOOKCART_PLANT
#include <stdbool.h>

/* The name of the bug that is switched on; NULL: none. Set by the simulation before it creates anything. */
extern const char *cart_planted_name;
bool cart_is_planted(const char *name);
#define CART_PLANTED(name) cart_is_planted(#name)
#else
#define CART_PLANTED(name) 0
#endif

#endif
