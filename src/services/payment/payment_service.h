/* What the parts of the payment service share. One per process; handlers run in many threads. */
#ifndef PAYMENT_SERVICE_H
#define PAYMENT_SERVICE_H

#include "platform/bc_config.h"
#include "platform/bc_db.h"
#include "platform/bc_events.h"
#include "platform/bc_http.h"
#include "platform/bc_mail.h"
#include "platform/bc_revoked.h"
#include "platform/bc_service.h"
#include "platform/bc_task.h"
#include "services/payment/payment_provider.h"

#define PAYMENT_CALL_MS 3000 /* one call of another service, inside a request */

typedef struct {
    const bc_config_t *config;     /* borrowed for the service's life */
    const char *service_key;       /* borrowed for the service's life */
    const volatile bool *stopping; /* borrowed for the service's life */
    bc_db_t *db;                   /* owned, like all below */
    bc_revoked_t *revoked;
    payment_provider_t *provider;
    bc_outbox_t *outbox;
    bc_mailer_t *mailer;
    bc_consumer_t *library; /* follows the library's log */
    bc_consumer_t *auth;    /* follows auth's log */
    bc_task_t *keeper;      /* payment_keeper.c */
    bc_task_t *announcer;   /* payment_announce.c */
    /* The keeper's own. */
    int64_t swept_ms;   /* when the provider's lists were read last, by the monotonic clock; 0: never */
    int64_t watched_ms; /* the same for refunds that may come back */
    int64_t tidied_ms;  /* the same for what is too old */
} payment_t;

/* payment_routes.c */
extern const bc_route_t payment_routes[];
extern const bc_route_t payment_internal_routes[];

/* payment_store.c */
extern const bc_migration_t payment_migrations[];

/* After a commit that changed orders, stock or mails: wakes whoever carries it on. */
void payment_wake(payment_t *payment);

/* The limit of one provider call. */
provider_limit_t payment_limit(const payment_t *payment);

/* 503 with Retry-After. */
void payment_answer_unavailable(bc_reply_t *reply);

/* {id} of the path. false: 404 was set. */
bool payment_path_id(const bc_request_t *request, bc_reply_t *reply, const char *prefix, cart_id_t *id);
bool payment_path_book(const bc_request_t *request, bc_reply_t *reply, int64_t *book);

/* For the sandbox's routes: whose order the provider's payment `id` belongs to. false: nobody's, or the database failed. */
bool payment_owner_of(payment_t *payment, const char *id, cart_id_t *user);

/* Handlers, by file. */
void payment_quote(bc_request_t *request, bc_reply_t *reply, void *context);          /* payment_quote.c */
void payment_checkout(bc_request_t *request, bc_reply_t *reply, void *context);       /* payment_checkout.c */
void payment_orders(bc_request_t *request, bc_reply_t *reply, void *context);         /* payment_orders.c */
void payment_order(bc_request_t *request, bc_reply_t *reply, void *context);          /* payment_orders.c */
void payment_cancel(bc_request_t *request, bc_reply_t *reply, void *context);         /* payment_orders.c */
void payment_webhook(bc_request_t *request, bc_reply_t *reply, void *context);        /* payment_webhook.c */
void payment_admin_orders(bc_request_t *request, bc_reply_t *reply, void *context);   /* payment_admin.c */
void payment_admin_order(bc_request_t *request, bc_reply_t *reply, void *context);    /* payment_admin.c */
void payment_admin_ship(bc_request_t *request, bc_reply_t *reply, void *context);     /* payment_ship.c */
void payment_admin_refund(bc_request_t *request, bc_reply_t *reply, void *context);   /* payment_refund.c */
void payment_admin_stock(bc_request_t *request, bc_reply_t *reply, void *context);    /* payment_stock.c */
void payment_admin_adjust(bc_request_t *request, bc_reply_t *reply, void *context);   /* payment_stock.c */
void payment_internal_order(bc_request_t *request, bc_reply_t *reply, void *context); /* payment_internal.c */
void payment_internal_export(bc_request_t *request, bc_reply_t *reply, void *context);
void payment_events(bc_request_t *request, bc_reply_t *reply, void *context); /* payment_events.c */
void payment_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context);
void payment_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context);
void payment_dead_letters_discard(bc_request_t *request, bc_reply_t *reply, void *context);

/* Threads' steps. */
int64_t payment_keeper_step(bc_task_t *task, void *context);
int64_t payment_announce_step(bc_task_t *task, void *context);

/* payment_consume.c: what payment does about the events of others. */
extern const bc_event_handler_t payment_library_events[];
extern const bc_event_handler_t payment_auth_events[];

#endif
