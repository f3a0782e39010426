/* What the parts of the payment service share. One per process; handlers run in many threads. */
#ifndef PAYMENT_SERVICE_H
#define PAYMENT_SERVICE_H

#include "platform/bc_config.h"
#include "platform/bc_db.h"
#include "platform/bc_events.h"
#include "platform/bc_http.h"
#include "platform/bc_revoked.h"
#include "platform/bc_service.h"
#include "services/payment/payment_provider.h"

typedef struct {
    const bc_config_t *config;    /* borrowed for the service's life */
    const char *service_key;      /* borrowed for the service's life */
    bc_db_t *db;                  /* owned */
    bc_outbox_t *outbox;          /* owned */
    bc_revoked_t *revoked;        /* owned */
    payment_provider_t *provider; /* owned */
} payment_t;

/* payment_routes.c */
extern const bc_route_t payment_routes[];
extern const bc_route_t payment_internal_routes[];

/* payment_store.c */
extern const bc_migration_t payment_migrations[];

/* For the sandbox's routes: whose order the provider's payment `id` belongs to. false: nobody's, or the database failed. */
bool payment_owner_of(payment_t *payment, const char *id, cart_id_t *user);

/* payment_events.c */
void payment_events(bc_request_t *request, bc_reply_t *reply, void *context);
void payment_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context);
void payment_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context);

#endif
