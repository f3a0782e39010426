/* The question service's tables. */
#include "services/question/question_service.h"

#include "platform/bc_events.h"
#include "platform/bc_mail.h"
#include "platform/bc_once.h"

const bc_migration_t question_migrations[] = {
    {"events, mails, keys", BC_EVENTS_MIGRATION BC_MAIL_MIGRATION BC_ONCE_MIGRATION},
    {NULL, NULL},
};
