/* The payment service's tables. */
#include "services/payment/payment_service.h"

#include "platform/bc_events.h"
#include "platform/bc_mail.h"
#include "platform/bc_once.h"

const bc_migration_t payment_migrations[] = {
    {"events, mails, keys", BC_EVENTS_MIGRATION BC_MAIL_MIGRATION BC_ONCE_MIGRATION},
    {NULL, NULL},
};
