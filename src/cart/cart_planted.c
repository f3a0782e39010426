/* See cart_planted.h: empty but in the simulation's own copy of the library. */
#include "cart/cart_planted.h"

#ifdef BOOKCART_PLANT
#include <stddef.h>
#include <string.h>

const char *cart_planted_name;

bool cart_is_planted(const char *name) {
    return cart_planted_name != NULL && strcmp(cart_planted_name, name) == 0;
}
#else
typedef int cart_planted_is_off_t; /* ISO C wants a declaration in every file */
#endif
