/* What the parts of the question service share. One per process; handlers run in many threads. */
#ifndef QUESTION_SERVICE_H
#define QUESTION_SERVICE_H

#include "platform/bc_config.h"
#include "platform/bc_db.h"
#include "platform/bc_events.h"
#include "platform/bc_http.h"
#include "platform/bc_revoked.h"
#include "platform/bc_service.h"

typedef struct {
    const bc_config_t *config; /* borrowed for the service's life */
    const char *service_key;   /* borrowed for the service's life */
    bc_db_t *db;               /* owned */
    bc_outbox_t *outbox;       /* owned */
    bc_revoked_t *revoked;     /* owned */
} question_t;

/* question_routes.c */
extern const bc_route_t question_routes[];
extern const bc_route_t question_internal_routes[];

/* question_store.c */
extern const bc_migration_t question_migrations[];

/* question_events.c */
void question_events(bc_request_t *request, bc_reply_t *reply, void *context);
void question_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context);
void question_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context);

#endif
