/*
 * Refunds that may come back. A bank can send a refund back days after the provider called it succeeded (Stripe: refund.failed); the webhook
 * that says so can be lost, and the sweeps read only what was made lately. So each refund that succeeded is looked at once in
 * REFUND_WATCH_EVERY_MS until it is REFUND_WATCH_MS old (payment_store_refunds.h).
 *
 * The next time stands in the row (check_ms, indexed beside the state), so a round costs an index range and not the table: four statements
 * and at most WATCH_BATCH calls of the provider, one for each payment, however many refunds there are. What has failed is then settled like
 * anything else (payment_settle). Cost a day, of 1,000 refunds a month: some 1,200 calls.
 *
 * A backlog (more than WATCH_BATCH a round, for long) stretches the time between two looks and nothing else. An item that ends with an away
 * provider waits WATCH_AWAY_MS, so that it stands in nobody's way.
 */
#ifndef PAYMENT_WATCH_H
#define PAYMENT_WATCH_H

#include "services/payment/payment_service.h"

#define WATCH_BATCH   8       /* refunds a round; a round each BOOKCART_PAYMENT_RECONCILE: 23,040 a day by default */
#define WATCH_AWAY_MS 1800000 /* half an hour */

/* One round. The keeper's thread, outside a transaction. false: the provider is away, or the database failed. */
bool payment_watch_round(payment_t *payment, const provider_limit_t *limit);

#endif
