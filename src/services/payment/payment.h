/* The payment service: what the program calls. Each function logs what went wrong. */
#ifndef PAYMENT_H
#define PAYMENT_H

#include "platform/bc_config.h"
#include "platform/bc_service.h"

/* For bc_service_start: how tests run the real service inside their process. */
extern const bc_service_t payment_service;

/* Serves until SIGTERM or SIGINT; the process's exit code. Call before any thread is made. */
int payment_service_main(const bc_config_t *config);

/* Brings DATA/payment.db to this program's schema, under the service's lock (waits while the service runs). 0, or 1. */
int payment_service_migrate(const bc_config_t *config);

/* DATA/payment.db is that of a backup: its log is another one from now on. No service may run on it. 0, or 1. */
int payment_service_restored(const bc_config_t *config);

#endif
