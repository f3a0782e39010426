/*
 * Events between services (docs/EVENTS.md lists them all).
 *
 * Publish: bc_event_put inside the transaction of the change writes a row of table `outbox`; after the commit bc_outbox_wake.
 * The event is a CloudEvents 1.0 object; `data` holds ids and facts, never personal data.
 * Log:     embedded, the outbox is the log. Its service serves it on its internal listener (GET /internal/events, a bc_feed by position).
 *          A relay to Kafka would read the same rows.
 * Consume: a bc_consumer_t follows one service's log and applies each event inside a transaction of its own database together with
 *          the event's id (table `inbox`) and the log's position (table `followed`): twice delivered is once applied, and a kill at
 *          any moment loses nothing.
 * Fail:    BC_EVENT_WAIT (something it needs is away) is tried again with growing pauses for ever and holds the log up.
 *          BC_EVENT_FAILED is tried BC_EVENT_TRIES_MAX times, then it goes to `dead_letters`, and so does whatever follows for the same
 *          key, so that a key's events keep their order. `bookcart events` shows, replays and discards them.
 * Restore: the log of a restored store has another `generation`. Its followers begin at 0; the inbox drops what was applied.
 *
 * A service's migrations hold BC_EVENTS_MIGRATION once.
 */
#ifndef BC_EVENTS_H
#define BC_EVENTS_H

#include "platform/bc_config.h"
#include "platform/bc_db.h"
#include "platform/bc_feed.h"
#include "platform/bc_http.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define BC_EVENT_ID_CHARS  30 /* "evt_" and 26 characters */
#define BC_EVENT_KEY_MAX   64
#define BC_EVENT_TYPE_MAX  48
#define BC_EVENT_DATA_MAX  (64 * 1024) /* bytes of data */
#define BC_EVENT_TRIES_MAX 6

#define BC_EVENTS_MIGRATION                                                                                            \
    "CREATE TABLE outbox("                                                                                             \
    "  position " BC_SQL_SERIAL ","                                                                                    \
    "  id VARCHAR(40) NOT NULL,"                                                                                       \
    "  topic VARCHAR(16) NOT NULL,"                                                                                    \
    "  type VARCHAR(48) NOT NULL,"                                                                                     \
    "  event_key VARCHAR(64) NOT NULL,"                                                                                \
    "  created_ms " BC_SQL_BIGINT " NOT NULL,"                                                                         \
    "  data TEXT NOT NULL);"                                                                                           \
    "CREATE INDEX outbox_by_time ON outbox(created_ms);"                                                               \
    "CREATE TABLE outbox_generation("                                                                                  \
    "  number " BC_SQL_BIGINT " PRIMARY KEY NOT NULL," /* 1: there is one row */                                       \
    "  generation VARCHAR(64) NOT NULL);"                                                                              \
    "CREATE TABLE followed("                                                                                           \
    "  source VARCHAR(32) PRIMARY KEY NOT NULL,"                                                                       \
    "  generation VARCHAR(64) NOT NULL,"                                                                               \
    "  position " BC_SQL_BIGINT " NOT NULL);"                                                                          \
    "CREATE TABLE inbox("                                                                                              \
    "  source VARCHAR(32) NOT NULL,"                                                                                   \
    "  event_id VARCHAR(40) NOT NULL,"                                                                                 \
    "  applied_ms " BC_SQL_BIGINT " NOT NULL,"                                                                         \
    "  PRIMARY KEY(source, event_id));"                                                                                \
    "CREATE INDEX inbox_by_time ON inbox(applied_ms);"                                                                 \
    "CREATE TABLE dead_letters("                                                                                       \
    "  position " BC_SQL_SERIAL ","                                                                                    \
    "  source VARCHAR(32) NOT NULL,"                                                                                   \
    "  event_id VARCHAR(40) NOT NULL,"                                                                                 \
    "  event_key VARCHAR(64) NOT NULL,"                                                                                \
    "  event TEXT NOT NULL," /* the whole CloudEvents object */                                                        \
    "  reason VARCHAR(255) NOT NULL,"                                                                                  \
    "  tries " BC_SQL_BIGINT " NOT NULL," /* 0: behind another of its key, never tried; -1: to be tried again now */   \
    "  failed_ms " BC_SQL_BIGINT " NOT NULL,"                                                                          \
    "  UNIQUE(source, event_id));"                                                                                     \
    "CREATE INDEX dead_letters_by_key ON dead_letters(source, event_key);"

/* --- publishing --- */

/* Inside bc_db_begin. `data` is borrowed. Errors stick in the database. `key` orders: events of one key stay in order. */
void bc_event_put(bc_db_t *db, const char *topic, const char *type, const char *key, const json_t *data);
/* The same of many keys with one statement, in their order: `events` is an array of {"key","data":{…}}, borrowed, as above; NULL (the caller
 * had no memory for it) makes the transaction fail. */
void bc_event_put_many(bc_db_t *db, const char *topic, const char *type, const json_t *events);

/* A service's outbox as a log for the others. */
typedef struct bc_outbox bc_outbox_t;
bc_outbox_t *bc_outbox_create(const char *service /* "auth": CloudEvents' source */, bc_db_t *db);
void bc_outbox_destroy(bc_outbox_t *outbox);
void bc_outbox_wake(bc_outbox_t *outbox); /* after a commit that put events, and in a service's stop() */
/* The handler behind {"GET", BC_EVENTS_PATH, BC_INTERNAL, …, .query = BC_FEED_QUERY}; items are CloudEvents objects with `position`. */
#define BC_EVENTS_PATH "/internal/events"
void bc_outbox_serve(bc_outbox_t *outbox, bc_request_t *request, bc_reply_t *reply);
/* Inside a transaction: removes events and inbox entries older than BOOKCART_EVENTS_KEEP. */
void bc_events_tidy(bc_db_t *db, const bc_config_t *config, int64_t now_ms);

/* Inside a transaction, when no outbox is open: the file was restored, its log is another one from now on. */
void bc_outbox_renew(bc_db_t *db);

/* --- consuming --- */

typedef struct {
    const char *id, *source, *topic, *type, *key; /* borrowed for the call */
    int64_t time_ms;
    const json_t *data; /* an object; hostile like every outside input */
} bc_event_t;

typedef enum {
    BC_EVENT_APPLIED,
    BC_EVENT_WAIT,  /* cannot now: again later, for ever */
    BC_EVENT_FAILED /* will not go: again a few times, then a dead letter */
} bc_event_result_t;

/* Runs inside bc_db_begin on the consumer's database; it may not commit or roll back. Anything but APPLIED rolls everything back.
 * What it does elsewhere (another service) must be repeatable under the event's id. `reason` is for the dead letter. */
typedef bc_event_result_t (*bc_event_apply_t)(bc_db_t *db, const bc_event_t *event, void *context, char reason[256]);

typedef struct {
    const char *type; /* NULL ends the table; a type without a row is passed over */
    bc_event_apply_t apply;
} bc_event_handler_t;

typedef struct {
    const char *source; /* the service whose log it is: "payment" */
    bc_key_t listen;    /* its internal listener */
    const bc_event_handler_t *handlers;
    bc_db_t *db; /* the consumer's */
    void *context;
    void (*applied)(void *context); /* after each commit that applied events: wake feeds; may be NULL */
} bc_consumer_options_t;            /* everything borrowed until destroy */

typedef struct bc_consumer bc_consumer_t;
/* Starts its thread. NULL after a log line. */
bc_consumer_t *bc_consumer_create(const bc_config_t *config, const char *service_key,
                                  const bc_consumer_options_t *options);
/* In a service's stop(): tells the thread to end, without waiting for it. Repeated or NULL: fine. */
void bc_consumer_stop(bc_consumer_t *consumer);
/* Waits for the thread; destroy a consumer before what its handlers use. NULL: fine. */
void bc_consumer_destroy(bc_consumer_t *consumer);
/* For /readyz: "ok", or why it is behind. */
const char *bc_consumer_state(bc_consumer_t *consumer);

/* --- dead letters: internal routes of every consumer, used by `bookcart events` and the admin's pages --- */
/* {"GET", "/internal/dead-letters", BC_INTERNAL, …, .query = "limit after"} answers
 *   {"log":{"generation","head"}, "followed":[{"source","position"}], "next":"<position>"|null,
 *    "items":[{"position","source","reason","tries","failed_at","event":{…}}]}
 * {"POST", "/internal/dead-letters/replay", BC_INTERNAL, …, .fields = "event:string"} answers {"replayed":<number>}, or 404: puts all, or
 * those of the named event's key, back before the log's next event, in their order.
 * {"POST", "/internal/dead-letters/discard", BC_INTERNAL, …, .fields = "event:string type:string"}, one of the two, answers
 *   {"items":[{"source","reason","event":{…}}], "more", "left"}: up to 100 that are none any more, whether others match, how many dead
 *   letters there are now; 404 when the named event is none. What is discarded counts as applied, is never tried again, and stands in the
 *   log (event-discarded); what was behind it is still dead. */
#define BC_DEAD_LETTERS_PATH         "/internal/dead-letters"
#define BC_DEAD_LETTERS_REPLAY_PATH  "/internal/dead-letters/replay"
#define BC_DEAD_LETTERS_DISCARD_PATH "/internal/dead-letters/discard"
#define BC_DEAD_LETTERS_QUERY        "limit after"
#define BC_DEAD_LETTERS_FIELDS       "event:string"
#define BC_DEAD_LETTERS_DISCARDED    "event:string type:string"
void bc_dead_letters_serve(bc_db_t *db, bc_request_t *request, bc_reply_t *reply);
void bc_dead_letters_replay(bc_consumer_t *const *consumers, size_t count, bc_db_t *db, bc_request_t *request,
                            bc_reply_t *reply);
void bc_dead_letters_discard(bc_consumer_t *const *consumers, size_t count, bc_db_t *db, bc_request_t *request,
                             bc_reply_t *reply);

#endif
