/*
 * Mail, sent behind the request that caused it.
 *
 * A service puts a mail inside the transaction of the change (table `mails`); its mailer's thread sends it: into DATA/mail as .eml
 * (`files:`), or by SMTP (`smtp://`). Each has a key of its own ("order.paid/ord_…"): put twice is sent once. A failure is tried
 * again with growing pauses (BOOKCART_MAIL_RETRY, doubled) for BC_MAIL_TRIES_MAX tries, then it is kept as failed and logged; while the
 * server is away as a whole, no try is counted. What a mail says is wiped when it was sent or given up; no address and no text is
 * ever logged. Rows of ended mails go after BOOKCART_EVENTS_KEEP.
 *
 * Texts are in bc_mail_texts.c, one table: kind × language (en, fr, bg). Links start with BOOKCART_PUBLIC_URL.
 */
#ifndef BC_MAIL_H
#define BC_MAIL_H

#include "platform/bc_config.h"
#include "platform/bc_db.h"
#include "platform/bc_problem.h"

#include <jansson.h>

#define BC_MAIL_KEY_MAX     96
#define BC_MAIL_ADDRESS_MAX 254
#define BC_MAIL_TRIES_MAX   12
#define BC_MAIL_QUEUE_MAX   100000 /* unsent mails of one service; more are refused with a log line, never the request */

#define BC_MAIL_MIGRATION                                                                                              \
    "CREATE TABLE mails("                                                                                              \
    "  mail_key VARCHAR(96) PRIMARY KEY NOT NULL,"                                                                     \
    "  kind VARCHAR(32) NOT NULL,"                                                                                     \
    "  language VARCHAR(8) NOT NULL,"                                                                                  \
    "  user_id " BC_SQL_ID ","                      /* whom to ask for an address when there is none here */           \
    "  address VARCHAR(254),"                       /* wiped when sent */                                              \
    "  data TEXT,"                                  /* what the text shows; wiped when sent */                         \
    "  state " BC_SQL_BIGINT " NOT NULL DEFAULT 0," /* 0 waits, 1 sent, 2 failed, 3 nobody to send it to */            \
    "  tries " BC_SQL_BIGINT " NOT NULL DEFAULT 0,"                                                                    \
    "  next_ms " BC_SQL_BIGINT " NOT NULL,"                                                                            \
    "  created_ms " BC_SQL_BIGINT " NOT NULL,"                                                                         \
    "  sent_ms " BC_SQL_BIGINT " NOT NULL DEFAULT 0);"                                                                 \
    "CREATE INDEX mails_due ON mails(state, next_ms);"

typedef enum {
    BC_MAIL_VERIFY,            /* data: {"token"} */
    BC_MAIL_RESET,             /* {"token"} */
    BC_MAIL_EMAIL_CHANGED,     /* to the old address: {"new_email_hint"} */
    BC_MAIL_PASSWORD_CHANGED,  /* {} */
    BC_MAIL_ORDER_CONFIRMED,   /* an order as the API shows it */
    BC_MAIL_ORDER_SHIPPED,     /* {"number","carrier","tracking","lines"} */
    BC_MAIL_ORDER_REFUNDED,    /* {"number","amount":{"amount","currency"}} */
    BC_MAIL_LATE_REFUNDED,     /* money came after expiry and went back: {"number","amount"} */
    BC_MAIL_QUESTION_ANSWERED, /* {"question","subject"} */
    BC_MAIL_KIND_COUNT
} bc_mail_kind_t;

typedef struct {
    const char *key; /* unique in the service */
    bc_mail_kind_t kind;
    bc_language_t language; /* with an address; else the resolver says it */
    const char *address;    /* NULL: the resolver finds it */
    const cart_id_t *user;  /* whose it is; needed with address NULL, else for bc_mail_forget only (NULL: nobody's) */
    const json_t *data;     /* borrowed */
} bc_mail_t;

/* Inside bc_db_begin; the same key again does nothing. Errors stick. */
void bc_mail_put(bc_db_t *db, const bc_mail_t *mail);
/* Inside bc_db_begin: what waits for this user is not sent any more (the person was erased). Errors stick. */
void bc_mail_forget(bc_db_t *db, const cart_id_t *user);

typedef enum { BC_MAIL_FOUND, BC_MAIL_NOBODY, BC_MAIL_LATER } bc_mail_found_t;
/* Says where a user's mail goes and in which language; runs in the mailer's thread, outside a transaction. */
typedef bc_mail_found_t (*bc_mail_resolve_t)(void *context, const cart_id_t *user,
                                             char address[BC_MAIL_ADDRESS_MAX + 1], bc_language_t *language);

typedef struct bc_mailer bc_mailer_t;
/* Starts the thread. NULL after a log line. config and db are borrowed until destroy; `resolve` NULL: every mail has its address. */
bc_mailer_t *bc_mailer_create(const bc_config_t *config, bc_db_t *db, bc_mail_resolve_t resolve, void *context);
void bc_mailer_wake(bc_mailer_t *mailer); /* after a commit that put one */
void bc_mailer_stop(bc_mailer_t *mailer);
void bc_mailer_destroy(bc_mailer_t *mailer);

#endif
