/*
 * Revoked sessions and users, as auth tells them: a thread follows auth's feed and keeps what has not expired in memory. Every
 * service but auth has one; auth asks its own tables. The cart service keeps its list in its loop and hands it on to the edges.
 *
 * A list not heard for BOOKCART_CART_FEED_MAX, or never complete, is not vouched for: nobody's token is believed until it is, and
 * who is known to be revoked stays so.
 */
#ifndef BC_REVOKED_H
#define BC_REVOKED_H

#include "platform/bc_config.h"
#include "platform/bc_http.h"

#include <stdbool.h>
#include <stddef.h>

#define BC_REVOKED_MAX 1000000 /* entries; beyond, an alert, and the list is not vouched for until it fits again */

typedef struct bc_revoked bc_revoked_t;

/* Starts the thread. NULL after a log line: no memory or thread. config and service_key are borrowed until destroy. */
bc_revoked_t *bc_revoked_create(const bc_config_t *config, const char *service_key);
bc_revoked_t *bc_revoked_create_bounded(const bc_config_t *config, const char *service_key, size_t entries_max);
/* Ends the thread's waiting; before listeners close. */
void bc_revoked_stop(bc_revoked_t *revoked);
void bc_revoked_destroy(bc_revoked_t *revoked);

/* How a verified token stands. Any thread. */
bc_standing_t bc_revoked_standing(bc_revoked_t *revoked, const bc_claims_t *claims);
bool bc_revoked_is_vouched(bc_revoked_t *revoked);

#endif
