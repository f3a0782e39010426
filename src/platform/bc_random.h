/* Randomness from the kernel, by libsodium. */
#ifndef BC_RANDOM_H
#define BC_RANDOM_H

#include "cart/cart_id.h"

#include <stddef.h>

/* Once, before threads; false when libsodium cannot start (then nothing may). */
bool bc_random_init(void);
void bc_random_bytes(void *bytes, size_t length);
/* A fresh id, never the zero one. */
cart_id_t bc_random_id(void);
/* URL-safe base64 without padding of `bytes` random bytes into text (needs bytes * 4 / 3 + 2 characters). */
void bc_random_text(size_t bytes, char *text, size_t size);

#endif
