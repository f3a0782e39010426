/* What the parts of bc_events share: events as they travel, and the consumer's tables. Nobody outside them includes it. */
#ifndef BC_EVENTS_INTERNAL_H
#define BC_EVENTS_INTERNAL_H

#include "platform/bc_events.h"

#define BC_EVENT_TOPIC_MAX  16
#define BC_EVENT_REASON_MAX 255 /* bytes of a dead letter's reason */
#define BC_GENERATION_MAX   64
#define BC_EVENT_SOURCE_MAX 32
#define BC_LETTER_BEHIND    0    /* `tries`: behind another of its key */
#define BC_LETTER_TO_REPLAY (-1) /* `tries`: goes before the log's next event */

/* bc_event_form.c */
/* The CloudEvents object of a stored event; NULL without memory or when `data` is no JSON. The caller owns it. */
json_t *bc_event_json(const char *service, const char *id, const char *topic, const char *type, const char *key,
                      int64_t created_ms, const char *data);
/* Reads one that came from outside; texts are borrowed from `object`. false: not of the form; *event unchanged. */
bool bc_event_read(const json_t *object, const char *source, bc_event_t *event);
/* A position as text: decimal, at most INT64_MAX. false: it is none; *position unchanged. */
bool bc_event_position(const json_t *text, uint64_t *position);

/* A page of a log: its generation (1 to BC_GENERATION_MAX bytes) and its array of items, both borrowed. NULL: it is no page. */
const char *bc_event_page(const json_t *reply, json_t **items);
/* All of them events of this log, with growing positions behind `after`. */
bool bc_event_items(const json_t *items, const char *source, uint64_t after);

/* bc_inbox.c: between bc_db_enter or _begin and its end. Errors stick. */
void bc_followed_get(bc_db_t *db, const char *source, char generation[BC_GENERATION_MAX + 1], uint64_t *position);
void bc_followed_set(bc_db_t *db, const char *source, const char *generation, uint64_t position);

typedef enum {
    BC_INBOX_NEW,
    BC_INBOX_APPLIED, /* its id is there */
    BC_INBOX_BEHIND,  /* a dead letter of its key is before it */
    BC_INBOX_REPLAYED /* so, but all of that key's are about to be tried again */
} bc_inbox_t;
bc_inbox_t bc_inbox_look(bc_db_t *db, const char *source, const char *id, const char *key);
void bc_inbox_put(bc_db_t *db, const char *source, const char *id, int64_t now_ms);

/* Keeps a dead letter; one that is there already stays as it is. `event` is the whole object, borrowed. */
void bc_letter_put(bc_db_t *db, const bc_event_t *event, const json_t *object, const char *reason, int tries,
                   int64_t now_ms);
/* The first of a source's letters that is to be tried again: a copy the caller owns; NULL: none, or an error that stuck. */
json_t *bc_letter_to_replay(bc_db_t *db, const char *source);
void bc_letter_drop(bc_db_t *db, const char *source, const char *id);
/* The letters of this key that were to be tried again are dead as before. */
void bc_letter_failed(bc_db_t *db, const bc_event_t *event, const char *reason, int tries, int64_t now_ms);

/* bc_consumer.c: a letter is to be tried again. */
void bc_consumer_wake(bc_consumer_t *consumer);

#endif
