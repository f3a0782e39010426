/* The library service: what the program calls. Each function logs or prints what went wrong. */
#ifndef LIBRARY_H
#define LIBRARY_H

#include "platform/bc_config.h"
#include "platform/bc_service.h"

/* For bc_service_start: how tests run the real service inside their process. */
extern const bc_service_t library_service;

/* Serves until SIGTERM or SIGINT; the process's exit code. Call before any thread is made. With BOOKCART_SAMPLE_CATALOGUE=yes an
 * empty library first imports BOOKCART_SAMPLE_FILE. */
int library_service_main(const bc_config_t *config);

/* Brings DATA/library.db to this program's schema, under the service's lock (waits while the service runs). 0, or 1. */
int library_service_migrate(const bc_config_t *config);

/* Imports a file of books (library_columns.h, library_ndjson.h): as a job of the running service, whose progress is shown, or under its lock
 * when it is down. What became of the rows, and each rejected one with its line and reason, is printed on standard output. 0 when the
 * file was read to its end and no row was rejected; else 1. To run it again is always safe. */
int library_import(const bc_config_t *config, const char *path);

/* DATA/library.db is that of a backup: its catalogue and its log are others from now on. No service may run on it. 0, or 1. */
int library_service_restored(const bc_config_t *config);

#endif
