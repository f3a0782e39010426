/*
 * How a mail leaves: a small vtable, so that the mailer knows neither files nor SMTP. Used by the mailer's thread only.
 */
#ifndef BC_MAIL_SEND_H
#define BC_MAIL_SEND_H

#include "platform/bc_mail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *file; /* what a file of it is called, the same at every try */
    const char *from; /* bc_mail_address_fits, both */
    const char *to;
    const char *bytes;
    size_t length;
} bc_mail_parcel_t; /* everything borrowed for the call */

typedef enum {
    BC_MAIL_DELIVERED,
    BC_MAIL_AGAIN,   /* this mail, not now: its tries count */
    BC_MAIL_REFUSED, /* this mail, never */
    BC_MAIL_AWAY /* no mail can go now: nobody there, not let in, disk full. Nothing is counted, the mailer pauses */
} bc_mail_outcome_t;

/* For logs: never what a server wrote, it may quote the address. */
typedef struct {
    const char *what; /* a literal: "connect" */
    int64_t code;     /* SMTP reply, errno, …; 0: none */
} bc_mail_trouble_t;

typedef struct bc_mail_transport bc_mail_transport_t;
struct bc_mail_transport {
    /* May block, within the bounds that the transport states. *trouble is set unless delivered. */
    bc_mail_outcome_t (*send)(bc_mail_transport_t *self, const bc_mail_parcel_t *parcel, const volatile bool *stop,
                              bc_mail_trouble_t *trouble);
    void (*destroy)(bc_mail_transport_t *self);
};

/* `files:`: DATA/mail/<file>, whole or not at all, 0600. A repeat replaces a file by the same bytes. NULL after a log line. */
bc_mail_transport_t *bc_mail_files_create(const bc_config_t *config);

/* `smtp://host[:port]` (25; STARTTLS when it is offered) and `smtps://host[:port]` (465). With BOOKCART_MAIL_USER TLS is required
 * unless the host is loopback. NULL after a log line. */
bc_mail_transport_t *bc_mail_smtp_create(const bc_config_t *config);

typedef struct {
    bool tls; /* from the first byte */
    char host[256];
    uint16_t port;
    bool loopback;
} bc_mail_server_t;
/* NULL, or what is wrong with it in a few words; *server unchanged then. */
const char *bc_mail_smtp_parse(const char *text, bc_mail_server_t *server);

/* The mailer with a transport of the caller's (taken, also on failure): for tests. */
bc_mailer_t *bc_mailer_create_with(const bc_config_t *config, bc_db_t *db, bc_mail_resolve_t resolve, void *context,
                                   bc_mail_transport_t *transport);

#endif
