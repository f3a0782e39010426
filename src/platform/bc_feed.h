/*
 * A long-poll feed over rows that have positions of their own in a service's tables.
 *
 *   GET …?after=<position>&limit=<1..5000>&wait=<0..25>
 *   {"generation":"…","position":"<u64>","more":bool,"items":[…]}
 *
 * The service writes rows in its own transactions, and calls bc_feed_wake after each commit that added one. A request reads; when
 * nothing is there it waits on the feed's condition variable and reads again. Position is that of the last item, or `after`.
 * A request reads once, and once more for each wake while it waits: with wait=0 that is one read, whatever it finds.
 * `generation` changes when the store is another one than before (restored): readers then start from 0.
 */
#ifndef BC_FEED_H
#define BC_FEED_H

#include "platform/bc_http.h"

#include <stdint.h>

#define BC_FEED_LIMIT_MAX  5000
#define BC_FEED_LIMIT      1000 /* when the request names none */
#define BC_FEED_WAIT_S_MAX 25
#define BC_FEED_QUERY      "after limit wait" /* .query of the route */

typedef struct bc_feed bc_feed_t;

/* Appends at most `limit` items with positions over `after` to `items`, in their order; *position = that of the last one appended;
 * *more = whether there are others behind it. Called without the feed's lock. false: the store failed (503). */
typedef bool (*bc_feed_read_t)(void *context, uint64_t after, int limit, json_t *items, uint64_t *position, bool *more);

bc_feed_t *bc_feed_create(const char *generation /* copied */, bc_feed_read_t read, void *context);
void bc_feed_destroy(bc_feed_t *feed); /* no request may be inside */

void bc_feed_wake(bc_feed_t *feed); /* rows were committed, or the service stops */
void bc_feed_serve(bc_feed_t *feed, bc_request_t *request, bc_reply_t *reply);

#endif
