/* Handlers of payment_sandbox_routes.c, for the service's route tables. */
#ifndef PAYMENT_SANDBOX_ROUTES_H
#define PAYMENT_SANDBOX_ROUTES_H

#include "platform/bc_http.h"

/* Public: BC_OWNER. */
void payment_sandbox_confirm(bc_request_t *request, bc_reply_t *reply, void *context);
void payment_sandbox_authenticate(bc_request_t *request, bc_reply_t *reply, void *context);

/* Internal. */
void payment_sandbox_refund(bc_request_t *request, bc_reply_t *reply, void *context);
void payment_sandbox_resend(bc_request_t *request, bc_reply_t *reply, void *context);

#define PAYMENT_SANDBOX_ROUTES                                                                                         \
    {"POST", "/api/v1/sandbox/payments/{id}/confirm", BC_OWNER, payment_sandbox_confirm,                               \
     .fields = "payment_method:string!"},                                                                              \
    {                                                                                                                  \
        "POST", "/api/v1/sandbox/payments/{id}/authenticate", BC_OWNER, payment_sandbox_authenticate,                  \
            .fields = "success:bool!"                                                                                  \
    }

#define PAYMENT_SANDBOX_INTERNAL_ROUTES                                                                                \
    {"POST", "/internal/sandbox/payments/{id}/refunds", BC_INTERNAL, payment_sandbox_refund, .fields = "amount:int!"}, \
    {                                                                                                                  \
        "POST", "/internal/sandbox/webhooks/resend", BC_INTERNAL, payment_sandbox_resend, .fields = NULL               \
    }

#endif
