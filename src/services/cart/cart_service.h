/* The cart service: what the program calls. Each function logs what went wrong. */
#ifndef CART_SERVICE_H
#define CART_SERVICE_H

#include "platform/bc_config.h"
#include "platform/bc_service.h"

extern const bc_service_t cart_service_definition; /* as bc_service_start takes it: program and tests start the same */

/* Serves until SIGTERM or SIGINT; the process's exit code. Call before any thread is made. */
int cart_service_main(const bc_config_t *config);

/* Brings DATA/carts.db to this program's schema, under its lock (waits while the service runs). 0, or 1. */
int cart_service_migrate(const bc_config_t *config);

/* The files of DATA are those of a backup: their carts live on in a new epoch. No service may run on them. 0, or 1. */
int cart_service_restored(const bc_config_t *config);

#endif
