/*
 * What the library tells and hears (docs/EVENTS.md): topic `books`, keyed by book, from the transaction of the change; and the
 * stock.changed of the payment service's ledger, from which `availability` follows.
 */
#ifndef LIBRARY_EVENTS_H
#define LIBRARY_EVENTS_H

#include "platform/bc_events.h"
#include "services/library/library_store.h"

/* Inside bc_db_begin. Errors stick in the database. */
void library_event_created(bc_db_t *db, int64_t book, int64_t stock);
void library_event_changed(bc_db_t *db, int64_t book);
void library_events_hidden(bc_db_t *db, const int64_t *books, size_t count); /* one statement */

/* Publishes book.created for every live book of a store that is older than its outbox; once for a store, in one transaction. For
 * library_store_open. false: the database; it was logged. */
bool library_events_announce(library_store_t *store);

/* For bc_consumer_create; the context is the library_store_t. */
extern const bc_event_handler_t library_stock_events[];

#endif
