/*
 * The life of a service's store: one database file in the data folder, which belongs to whoever holds the service's lock.
 *
 *   serve     bc_service_start holds DATA/run/<service>.lock → bc_store_open → … → bc_db_close → the lock is released
 *   migrate   bc_store_migrate  = lock (waits while the service runs) → open, which brings the file to this program's form → close
 *   restore   bc_store_restored = the same, and between the two one transaction in which the file becomes another one
 *
 * A restored file is as old as its backup: what others remember of it (positions in its log, tags of its pages) means nothing any more.
 * That is noted in the file itself, so that no start can forget it: the log's generation is drawn anew, and a service adds in
 * `restored` what else must not go on.
 *
 * Every function logs what went wrong. A service that needs more than its tables before it can serve (keys, an index) makes it in
 * `complete`, and calls the same where it starts.
 */
#ifndef BC_STORE_H
#define BC_STORE_H

#include "platform/bc_config.h"
#include "platform/bc_db.h"

#include <stdbool.h>

/* Static: one a service. */
typedef struct {
    const char *service; /* "payment": whose lock the file is under */
    const char *file;    /* "payment.db", in the data folder */
    const bc_migration_t *migrations;
    /* After each opening by a command: what a migrated file needs besides. false after a log line. NULL: nothing. */
    bool (*complete)(const bc_config_t *config, bc_db_t *db);
    /* Inside the transaction that draws a restored log's generation anew. Errors stick. NULL: nothing else. */
    void (*restored)(bc_db_t *db);
} bc_store_t;

/* The caller holds the service's lock, closes the result with bc_db_close, and releases the lock after that. NULL: failed. */
bc_db_t *bc_store_open(const bc_store_t *store, const bc_config_t *config);

/* For commands: under the lock that they take themselves. 0, or 1 for the process to exit with. */
int bc_store_migrate(const bc_store_t *store, const bc_config_t *config);
/* No service may run on the file; the store publishes events (BC_EVENTS_MIGRATION is among its migrations). */
int bc_store_restored(const bc_store_t *store, const bc_config_t *config);

#endif
