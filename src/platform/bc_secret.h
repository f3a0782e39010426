/* Secrets: compared in constant time, loaded from files only their owner reads, wiped after use. */
#ifndef BC_SECRET_H
#define BC_SECRET_H

#include "platform/bc_config.h"

#include <stdbool.h>
#include <stddef.h>

#define BC_SECRET_MAX 1024 /* bytes */

/* Time depends on the length of `given` only. */
bool bc_secret_equal(const char *given, const char *expected);
void bc_secret_wipe(void *bytes, size_t length);
/* The file's first line without its end. false: not readable, empty, or longer than size - 1; text unchanged then. */
bool bc_secret_load(const char *path, char *text, size_t size);

/* The credential of calls between services: BOOKCART_SERVICE_KEY, or DATA/keys/service.key. With `create`, a missing file is
 * made (0600, folder synced); two processes that make it at once agree on one. */
bool bc_secret_service_key(const bc_config_t *config, bool create, char *text, size_t size);

#endif
