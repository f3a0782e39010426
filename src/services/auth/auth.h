/* The auth service: what the program calls. Each function logs what went wrong. */
#ifndef AUTH_H
#define AUTH_H

#include "platform/bc_config.h"
#include "platform/bc_service.h"

/* For bc_service_start: how tests run the real service inside their process. */
extern const bc_service_t auth_service;

/* Serves until SIGTERM or SIGINT; the process's exit code. Call before any thread is made. */
int auth_service_main(const bc_config_t *config);

/* Brings DATA/auth.db to this program's schema, under the service's lock (waits while the service runs). 0, or 1. */
int auth_service_migrate(const bc_config_t *config);

/* Makes a customer with role admin. The password is the first line of standard input. Works by the running service's internal
 * listener, or under the service's lock when it is down. 0; 1 = refused or failed (the reason is on standard error). */
int auth_admin_create(const bc_config_t *config, const char *email);

/* Another password for an administrator, read and done in the same way; all his sessions end. */
int auth_admin_password(const bc_config_t *config, const char *email);

/* Publishes a new signing key; it signs after BOOKCART_KEY_PUBLISH. By the running service, or under its lock. 0, or 1. */
int auth_keys_rotate(const bc_config_t *config);

/* DATA/auth.db is that of a backup: every session ends, and its log is another one from now on. Keys are not its matter: a folder without
 * them gets new ones, and no token of before verifies. No service may run on it. 0, or 1. */
int auth_service_restored(const bc_config_t *config);

#endif
