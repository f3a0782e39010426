/*
 * The consuming side: one thread that follows one service's log.
 *
 * Invariants
 * 1. `followed` moves only in a transaction that applied, kept as a dead letter or passed over every event up to it.
 * 2. An event's id enters `inbox` in the transaction that applied it, and an id that is there is never applied again: what comes twice
 *    (a restart, a restored log that is read from 0) counts once.
 * 3. No event of a key is applied while a dead letter of that key is before it: it becomes one itself, behind it.
 * 4. Letters that are to be replayed go before the log's next event, oldest first.
 *
 * A step: a letter to replay? → a page in hand? apply it, first whole in one transaction, and when an event of it will not go, one by
 * one → else ask for the next page (a long poll). A pause is the step's return value, so that stop and wake cut it short.
 * What fails for want of the database waits like BC_EVENT_WAIT. A page that is not of the form is our mistake: nothing of it is taken, the
 * log says ALERT, /readyz says so, and it is asked for again.
 */
#include "platform/bc_events_internal.h"

#include "platform/bc_client.h"
#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_task.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 100 events of BC_EVENT_DATA_MAX fit into BC_CLIENT_REPLY_MAX. */
enum { page_max = 100, wait_s = 20, call_ms = (wait_s + 5) * 1000, pause_min_ms = 50, pause_max_ms = 5000 };
_Static_assert((BC_EVENT_DATA_MAX + 1024) * page_max < BC_CLIENT_REPLY_MAX, "a page of the longest events is read");

struct bc_consumer {
    bc_consumer_options_t options;
    bc_client_t *client; /* owned; the thread's */
    bc_task_t *task;     /* owned */
    pthread_mutex_t lock;
    bool stopping;             /* under lock */
    volatile bool interrupted; /* set under lock; ends a long poll */
    const char *state;         /* under lock: a literal */

    /* the thread's own */
    char generation[BC_GENERATION_MAX + 1];
    uint64_t position;
    bool loaded;  /* generation and position are the database's */
    bool patient; /* the log was heard just now: the next question may wait for an answer */
    json_t *page;
    size_t next;                       /* of the page */
    bool singly;                       /* for the rest of the page */
    char tried[BC_EVENT_ID_CHARS + 1]; /* the event or letter that failed last */
    int tries;                         /* of that one */
    int64_t pause_ms;
};

typedef struct {
    bc_event_result_t result;
    char reason[256];
} outcome_t;

static void say(bc_consumer_t *consumer, const char *state) {
    (void)pthread_mutex_lock(&consumer->lock);
    bool changed = strcmp(consumer->state, state) != 0 && !consumer->stopping;
    consumer->state = state;
    (void)pthread_mutex_unlock(&consumer->lock);
    if (!changed) return;
    bc_log(strcmp(state, "ok") == 0 ? BC_LOG_INFO : BC_LOG_WARN, "events-followed",
           bc_f_text("log", consumer->options.source), bc_f_text("state", state));
}

/* The pause before the next try, each twice as long as the last. */
static int64_t pause_longer(bc_consumer_t *consumer, const char *state) {
    say(consumer, state);
    int64_t pause = consumer->pause_ms;
    consumer->pause_ms = pause * 2 > pause_max_ms ? pause_max_ms : pause * 2;
    return pause;
}

static void went_well(bc_consumer_t *consumer) {
    consumer->tries = 0;
    consumer->pause_ms = pause_min_ms;
}

/* --- applying --- */

static bc_event_apply_t handler_of(const bc_consumer_t *consumer, const char *type) {
    for (const bc_event_handler_t *row = consumer->options.handlers; row->type != NULL; row++) {
        if (strcmp(row->type, type) == 0) return row->apply;
    }
    return NULL;
}

/* In a transaction. */
static void run_handler(bc_consumer_t *consumer, bc_event_apply_t apply, const bc_event_t *event, outcome_t *outcome) {
    bc_db_t *db = consumer->options.db;
    outcome->reason[0] = '\0';
    outcome->result = apply(db, event, consumer->options.context, outcome->reason);
    outcome->reason[sizeof(outcome->reason) - 1] = '\0';
    if (outcome->result == BC_EVENT_APPLIED) bc_inbox_put(db, event->source, event->id, bc_time_ms());
}

/* In a transaction: applies, passes over, or keeps the event behind its key's dead letters. *applied: a handler did something. */
static void take_event(bc_consumer_t *consumer, const json_t *object, outcome_t *outcome, bool *applied) {
    bc_db_t *db = consumer->options.db;
    bc_event_t event;
    bool read = bc_event_read(object, consumer->options.source, &event);
    assert(read); /* the page was judged when it came */
    (void)read;
    bc_event_apply_t apply = handler_of(consumer, event.type);
    *outcome = (outcome_t){.result = BC_EVENT_APPLIED};
    if (apply == NULL) return;
    switch (bc_inbox_look(db, event.source, event.id, event.key)) {
    case BC_INBOX_APPLIED:
        return;
    case BC_INBOX_BEHIND:
        bc_letter_put(db, &event, object, "behind a dead letter of its key", BC_LETTER_BEHIND, bc_time_ms());
        return;
    case BC_INBOX_REPLAYED:
        bc_letter_put(db, &event, object, "behind a dead letter of its key", BC_LETTER_TO_REPLAY, bc_time_ms());
        return;
    case BC_INBOX_NEW:
        run_handler(consumer, apply, &event, outcome);
        *applied = *applied || outcome->result == BC_EVENT_APPLIED;
    }
}

static bool finish(bc_consumer_t *consumer, uint64_t position, bool applied) {
    bc_followed_set(consumer->options.db, consumer->options.source, consumer->generation, position);
    (void)bc_fault("events.apply");
    if (bc_db_commit(consumer->options.db) != BC_DB_OK) return false;
    (void)bc_fault("events.applied");
    consumer->position = position;
    went_well(consumer);
    if (applied && consumer->options.applied != NULL) consumer->options.applied(consumer->options.context);
    return true;
}

static uint64_t position_of(const json_t *object) {
    uint64_t position = 0;
    bool read = bc_event_position(json_object_get(object, "position"), &position);
    assert(read); /* the page was judged when it came */
    (void)read;
    return position;
}

/* All that is left of the page in one transaction. false: one by one, then. */
static bool take_page(bc_consumer_t *consumer) {
    size_t count = json_array_size(consumer->page);
    bool applied = false;
    if (bc_db_begin(consumer->options.db) != BC_DB_OK) return false;
    for (size_t i = consumer->next; i < count; i++) {
        outcome_t outcome;
        take_event(consumer, json_array_get(consumer->page, i), &outcome, &applied);
        if (outcome.result == BC_EVENT_APPLIED && bc_db_is_sound(consumer->options.db)) continue;
        bc_db_rollback(consumer->options.db);
        return false;
    }
    if (!finish(consumer, position_of(json_array_get(consumer->page, count - 1)), applied)) return false;
    consumer->next = count;
    return true;
}

static void log_dead(const bc_event_t *event, const char *reason) {
    bc_log(BC_LOG_ERROR, "event-is-dead", bc_f_text("log", event->source), bc_f_text("id", event->id),
           bc_f_text("type", event->type), bc_f_text("reason", reason));
}

/* What comes after an outcome that was rolled back: true = it was tried often enough and is to be a dead letter. */
static bool is_dead(bc_consumer_t *consumer, const bc_event_t *event, const outcome_t *outcome) {
    if (strcmp(consumer->tried, event->id) != 0) {
        /* Another than the last time: a replay went before it, or the one before it was discarded. */
        (void)snprintf(consumer->tried, sizeof(consumer->tried), "%s", event->id); /* judged to fit */
        consumer->tries = 0;
    }
    return outcome->result == BC_EVENT_FAILED && ++consumer->tries >= BC_EVENT_TRIES_MAX;
}

static int64_t wait_after(bc_consumer_t *consumer, const outcome_t *outcome) {
    return pause_longer(consumer,
                        outcome->result == BC_EVENT_FAILED ? "an event fails" : "waits for what an event needs");
}

static int64_t take_next(bc_consumer_t *consumer) {
    bc_db_t *db = consumer->options.db;
    const json_t *object = json_array_get(consumer->page, consumer->next);
    outcome_t outcome;
    bool applied = false;
    if (bc_db_begin(db) != BC_DB_OK) return pause_longer(consumer, "the database fails");
    take_event(consumer, object, &outcome, &applied);
    if (outcome.result != BC_EVENT_APPLIED) {
        bc_event_t event;
        bc_db_rollback(db);
        (void)bc_event_read(object, consumer->options.source, &event); /* was read before */
        if (!is_dead(consumer, &event, &outcome)) return wait_after(consumer, &outcome);
        if (bc_db_begin(db) != BC_DB_OK) return pause_longer(consumer, "the database fails");
        bc_letter_put(db, &event, object, outcome.reason, consumer->tries, bc_time_ms());
        log_dead(&event, outcome.reason);
    }
    if (!finish(consumer, position_of(object), applied)) return pause_longer(consumer, "the database fails");
    consumer->next++;
    return 0;
}

/* --- replaying --- */

/* In a transaction, which it ends. */
static int64_t replay(bc_consumer_t *consumer, const json_t *letter) {
    bc_db_t *db = consumer->options.db;
    bc_event_t event;
    outcome_t outcome = {.result = BC_EVENT_APPLIED};
    bool read = bc_event_read(letter, consumer->options.source, &event);
    assert(read); /* it was when it became one */
    (void)read;
    bc_event_apply_t apply = handler_of(consumer, event.type);
    bool applied = apply != NULL && bc_inbox_look(db, event.source, event.id, event.key) != BC_INBOX_APPLIED;
    if (applied) run_handler(consumer, apply, &event, &outcome);
    if (outcome.result != BC_EVENT_APPLIED) {
        applied = false;
        bc_db_rollback(db);
        if (!is_dead(consumer, &event, &outcome)) return wait_after(consumer, &outcome);
        if (bc_db_begin(db) != BC_DB_OK) return pause_longer(consumer, "the database fails");
        bc_letter_failed(db, &event, outcome.reason, consumer->tries, bc_time_ms());
        log_dead(&event, outcome.reason);
    } else {
        bc_letter_drop(db, event.source, event.id);
    }
    return finish(consumer, consumer->position, applied) ? 0 : pause_longer(consumer, "the database fails");
}

/* -1: there is nothing to replay. Else the pause before the next step. */
static int64_t replay_next(bc_consumer_t *consumer) {
    bc_db_t *db = consumer->options.db;
    if (bc_db_begin(db) != BC_DB_OK) return pause_longer(consumer, "the database fails");
    json_t *letter = bc_letter_to_replay(db, consumer->options.source);
    if (letter == NULL) {
        bool sound = bc_db_is_sound(db);
        bc_db_rollback(db); /* nothing was written */
        return sound ? -1 : pause_longer(consumer, "the database fails");
    }
    int64_t pause = replay(consumer, letter);
    json_decref(letter);
    return pause;
}

/* --- asking --- */

/* Writes down which log is followed, for people to see; what is applied next says it again. */
static void note_log(bc_consumer_t *consumer) {
    if (bc_db_begin(consumer->options.db) != BC_DB_OK) return;
    bc_followed_set(consumer->options.db, consumer->options.source, consumer->generation, 0);
    (void)bc_db_commit(consumer->options.db); /* logged there */
}

/* Judges a whole page before anything of it is taken. false: it is not of the form. */
static bool take_reply(bc_consumer_t *consumer, const json_t *reply) {
    json_t *items = NULL;
    const char *generation = bc_event_page(reply, &items);
    if (generation == NULL) return false;
    if (strcmp(generation, consumer->generation) != 0) {
        /* The first one, or a restored store: its log counts from its own beginning, and the inbox knows what was applied. */
        bool from_start = consumer->position == 0;
        bc_log(BC_LOG_INFO, "events-log-is-another", bc_f_text("log", consumer->options.source));
        memcpy(consumer->generation, generation, strlen(generation) + 1);
        consumer->position = 0;
        note_log(consumer);
        if (!from_start) return true; /* what it answered was behind a position of the other log */
    }
    if (!bc_event_items(items, consumer->options.source, consumer->position)) return false;
    if (json_array_size(items) == 0) return true;
    consumer->page = json_incref(items);
    consumer->next = 0;
    consumer->singly = false;
    return true;
}

/*
 * A log that was restored answers a question behind its end only when the wait is over. So the first question after a silence (a start, a
 * failed call, an empty answer, which may be the last word of a service that stops) does not wait.
 */
static int64_t ask(bc_consumer_t *consumer) {
    char path[128];
    bool patient = consumer->patient;
    int status = 0;
    json_t *reply = NULL;
    consumer->patient = false;
    (void)snprintf(path, sizeof(path), BC_EVENTS_PATH "?after=%" PRIu64 "&limit=%d&wait=%d", consumer->position,
                   page_max, patient ? wait_s : 0); /* fits: words and three numbers */
    bool answered =
        bc_client_call(consumer->client, "GET", path, NULL, call_ms, &consumer->interrupted, &status, &reply);
    if (!answered && consumer->interrupted) return 0;
    const char *fault = !answered || status != 200 ? "its service is away" : NULL;
    if (fault == NULL && !take_reply(consumer, reply)) {
        bc_log(BC_LOG_ALERT, "events-malformed", bc_f_text("log", consumer->options.source));
        fault = "its log is malformed";
    }
    json_decref(reply);
    if (fault != NULL) return pause_longer(consumer, fault);
    consumer->patient = !patient || consumer->page != NULL;
    went_well(consumer);
    say(consumer, "ok");
    return 0;
}

/* --- the thread --- */

static bool load(bc_consumer_t *consumer) {
    bc_db_enter(consumer->options.db);
    bc_followed_get(consumer->options.db, consumer->options.source, consumer->generation, &consumer->position);
    consumer->loaded = bc_db_is_sound(consumer->options.db);
    bc_db_leave(consumer->options.db);
    return consumer->loaded;
}

static bool begin_step(bc_consumer_t *consumer) {
    (void)pthread_mutex_lock(&consumer->lock);
    bool stopping = consumer->stopping;
    if (!stopping) consumer->interrupted = false;
    (void)pthread_mutex_unlock(&consumer->lock);
    return !stopping;
}

static int64_t step(bc_task_t *task, void *context) {
    bc_consumer_t *consumer = context;
    (void)task;
    if (!begin_step(consumer)) return -1;
    if (!consumer->loaded && !load(consumer)) return pause_longer(consumer, "the database fails");
    int64_t pause = replay_next(consumer);
    if (pause >= 0) return pause;
    if (consumer->page == NULL) return ask(consumer);
    if (!consumer->singly && !take_page(consumer)) consumer->singly = true;
    if (consumer->singly) pause = take_next(consumer);
    if (consumer->next == json_array_size(consumer->page)) {
        json_decref(consumer->page);
        consumer->page = NULL;
        say(consumer, "ok");
    }
    return pause < 0 ? 0 : pause;
}

bc_consumer_t *bc_consumer_create(const bc_config_t *config, const char *service_key,
                                  const bc_consumer_options_t *options) {
    assert(strlen(options->source) <= BC_EVENT_SOURCE_MAX && options->handlers != NULL && options->db != NULL);
    bc_consumer_t *consumer = calloc(1, sizeof(*consumer));
    if (consumer == NULL) {
        bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("at", "consumer"));
        return NULL;
    }
    consumer->options = *options;
    consumer->state = "begins";
    consumer->pause_ms = pause_min_ms;
    (void)pthread_mutex_init(&consumer->lock, NULL); /* a default mutex: cannot fail */
    consumer->client = bc_client_create(bc_config_text(config, options->listen), service_key);
    if (consumer->client != NULL) consumer->task = bc_task_create("events", step, consumer);
    if (consumer->task == NULL) {
        bc_log(BC_LOG_ERROR, "events-not-followed", bc_f_text("log", options->source));
        bc_consumer_destroy(consumer);
        return NULL;
    }
    return consumer;
}

static void interrupt(bc_consumer_t *consumer, bool stop) {
    (void)pthread_mutex_lock(&consumer->lock);
    consumer->stopping = consumer->stopping || stop;
    consumer->interrupted = true;
    (void)pthread_mutex_unlock(&consumer->lock);
    bc_task_wake(consumer->task);
}

void bc_consumer_wake(bc_consumer_t *consumer) {
    if (consumer != NULL) interrupt(consumer, false);
}

void bc_consumer_stop(bc_consumer_t *consumer) {
    if (consumer != NULL) interrupt(consumer, true);
}

void bc_consumer_destroy(bc_consumer_t *consumer) {
    if (consumer == NULL) return;
    bc_consumer_stop(consumer);
    bc_task_destroy(consumer->task);
    bc_client_destroy(consumer->client);
    json_decref(consumer->page);
    (void)pthread_mutex_destroy(&consumer->lock);
    free(consumer);
}

const char *bc_consumer_state(bc_consumer_t *consumer) {
    (void)pthread_mutex_lock(&consumer->lock);
    const char *state = consumer->state;
    (void)pthread_mutex_unlock(&consumer->lock);
    return state;
}
