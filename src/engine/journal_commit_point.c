/*
 * The journal behind commit_point.h: one thread that writes and syncs, so that the engine's loop never waits for a disk.
 *
 * Who runs where: every function of the commit point on the engine's thread; work() and what it calls on the journal's
 * own. The journal is touched by the journal's thread only. All that both see is under the mutex; results wait there until
 * the engine polls (an eventfd wakes its loop).
 *
 * The thread's order of work: a waiting commit · recovery, with back-off from 10 ms to 1 s · some forgets · a step of making
 * the next segment, when it lags or there is nothing else. So a commit waits at most for one bounded piece of the others.
 *
 * A load is answered CONFIRMED as soon as the journal is healthy: this engine is its only writer, and a recovered journal
 * has in its newest header, on disk, that nothing past the last confirmed batch counts.
 *
 * Limits: one commit; LOADS_MAX loads waiting (then load() says false); forgets wait in a growing list, and when there is
 * no memory for it forget() waits for the thread.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/journal.h"
#include "engine/store_thread.h"

#define LOADS_MAX        65536
#define FORGET_STEP      512
#define BACKOFF_FIRST_MS 10
#define BACKOFF_LAST_MS  1000
#define FULL_RETRY_MS    1000
#define LOAD_ANSWERS     256

typedef enum { COMMIT_NONE, COMMIT_WAITING, COMMIT_RUNNING, COMMIT_READY } commit_state_t;

typedef struct {
    commit_point_t public;      /* state points back at this */
    journal_t *journal;         /* owned; journal's thread only */
    commit_point_owner_t owner; /* engine's thread only */
    commit_result_t *results;   /* owned; COMMIT_SETS_MAX; engine's thread only */

    store_thread_t thread;  /* all below is under its mutex */
    pthread_cond_t drained; /* forgets were taken */
    uint64_t now_ms;        /* the engine's clock, as last heard */
    commit_state_t commit_state;
    const commit_set_t *sets; /* borrowed until committed() */
    unsigned count;
    journal_result_t commit_result;
    bool failed;      /* mirrors the journal's state */
    cart_id_t *loads; /* owned; LOADS_MAX, waiting for a healthy journal */
    unsigned load_count;
    commit_forget_t *forgets; /* owned */
    size_t forget_count, forget_capacity;
    commit_room_t room;
    uint64_t room_ms; /* now_ms of that room */
} journal_point_t;

/* ---- on the journal's thread ------------------------------------------------------------------------------------- */

static void take_room(journal_point_t *point, const commit_room_t *room, uint64_t now_ms) {
    point->room = *room;
    point->room_ms = now_ms;
}

/* Each of the pieces of work is entered and left with the mutex held, and lets go of it while it works. */
static void do_commit(journal_point_t *point) {
    point->commit_state = COMMIT_RUNNING;
    const commit_set_t *sets = point->sets;
    unsigned count = point->count;
    uint64_t now_ms = point->now_ms;
    (void)pthread_mutex_unlock(&point->thread.mutex);
    journal_result_t result = journal_commit(point->journal, sets, count, now_ms);
    commit_room_t room;
    journal_room(point->journal, &room, now_ms);
    (void)pthread_mutex_lock(&point->thread.mutex);
    take_room(point, &room, now_ms);
    point->commit_result = result;
    point->commit_state = COMMIT_READY;
    store_thread_wake_engine(&point->thread);
}

static void look_at_failure(journal_point_t *point) {
    bool failed = journal_has_failed(point->journal);
    if (failed == point->failed) return;
    point->failed = failed;
    store_thread_note(&point->thread, failed ? 1 : 3, failed ? "journal_failed" : "journal_recovered",
                      failed ? "a write or sync failed; nothing is confirmed until a new segment is on disk"
                             : "a new segment is on disk");
    store_thread_wake_engine(&point->thread);
}

static void do_recover(journal_point_t *point, unsigned *backoff_ms) {
    uint64_t now_ms = point->now_ms;
    (void)pthread_mutex_unlock(&point->thread.mutex);
    journal_result_t result = journal_recover(point->journal, now_ms);
    commit_room_t room;
    journal_room(point->journal, &room, now_ms);
    (void)pthread_mutex_lock(&point->thread.mutex);
    take_room(point, &room, now_ms);
    if (result == JOURNAL_OK) {
        *backoff_ms = 0;
    } else {
        *backoff_ms = *backoff_ms == 0 ? BACKOFF_FIRST_MS : *backoff_ms * 2;
        if (*backoff_ms > BACKOFF_LAST_MS) *backoff_ms = BACKOFF_LAST_MS;
    }
}

static void do_forget(journal_point_t *point) {
    commit_forget_t step[FORGET_STEP];
    unsigned count = point->forget_count < FORGET_STEP ? (unsigned)point->forget_count : FORGET_STEP;
    /* From the end: order does not matter, each names its own place. */
    point->forget_count -= count;
    memcpy(step, point->forgets + point->forget_count, count * sizeof(*step));
    uint64_t now_ms = point->now_ms;
    (void)pthread_cond_signal(&point->drained);
    (void)pthread_mutex_unlock(&point->thread.mutex);
    journal_forget(point->journal, step, count, now_ms);
    commit_room_t room;
    journal_room(point->journal, &room, now_ms);
    (void)pthread_mutex_lock(&point->thread.mutex);
    take_room(point, &room, now_ms);
}

static bool do_prepare(journal_point_t *point) {
    uint64_t now_ms = point->now_ms;
    (void)pthread_mutex_unlock(&point->thread.mutex);
    bool more = journal_prepare(point->journal);
    commit_room_t room;
    journal_room(point->journal, &room, now_ms);
    (void)pthread_mutex_lock(&point->thread.mutex);
    take_room(point, &room, now_ms);
    return more;
}

static void wait_ms(journal_point_t *point, unsigned ms) {
    struct timespec until = store_thread_after_ms(ms);
    store_thread_wait_until(&point->thread, &until);
}

static void *work(void *argument) {
    journal_point_t *point = argument;
    unsigned backoff_ms = 0;
    bool recover_now = true;
    (void)pthread_mutex_lock(&point->thread.mutex);
    for (;;) {
        store_thread_rest(&point->thread);
        if (point->commit_state == COMMIT_WAITING) {
            do_commit(point);
            look_at_failure(point);
            /* One bounded piece of the rest between two commits, so that neither starves. */
            if (!point->failed && point->forget_count > 0) do_forget(point);
            if (!point->failed && journal_lags(point->journal)) (void)do_prepare(point);
        } else if (point->thread.stop) {
            break;
        } else if (point->failed) {
            if (recover_now) do_recover(point, &backoff_ms);
            recover_now = false;
            look_at_failure(point);
            if (point->failed) {
                wait_ms(point, backoff_ms == 0 ? BACKOFF_FIRST_MS : backoff_ms);
                recover_now = true;
            }
        } else if (point->forget_count > 0) {
            do_forget(point);
        } else if (do_prepare(point)) {
            continue;
        } else if (point->commit_state != COMMIT_WAITING && point->forget_count == 0 && !point->thread.stop) {
            if (point->room.accepts)
                (void)pthread_cond_wait(&point->thread.work, &point->thread.mutex);
            else
                wait_ms(point, FULL_RETRY_MS); /* the disk may have room again */
        }
        if (!point->failed) recover_now = true;
        look_at_failure(point);
    }
    (void)pthread_mutex_unlock(&point->thread.mutex);
    return NULL;
}

/* ---- on the engine's thread -------------------------------------------------------------------------------------- */

static void point_set_owner(void *state, const commit_point_owner_t *owner) {
    journal_point_t *point = state;
    point->owner = *owner;
}

static bool point_commit(void *state, const commit_set_t *sets, unsigned count, uint64_t now_ms) {
    journal_point_t *point = state;
    assert(count > 0 && count <= COMMIT_SETS_MAX);
    (void)pthread_mutex_lock(&point->thread.mutex);
    point->now_ms = now_ms;
    bool accepted = point->commit_state == COMMIT_NONE && !point->failed && !point->thread.stop;
    if (accepted) {
        point->sets = sets;
        point->count = count;
        point->commit_state = COMMIT_WAITING;
        (void)pthread_cond_signal(&point->thread.work);
    }
    (void)pthread_mutex_unlock(&point->thread.mutex);
    return accepted;
}

static bool point_load(void *state, const cart_id_t *users, unsigned count, uint64_t now_ms) {
    journal_point_t *point = state;
    (void)pthread_mutex_lock(&point->thread.mutex);
    point->now_ms = now_ms;
    bool accepted = count <= LOADS_MAX - point->load_count;
    if (accepted) {
        memcpy(point->loads + point->load_count, users, count * sizeof(*users));
        point->load_count += count;
        if (!point->failed) store_thread_wake_engine(&point->thread);
    }
    (void)pthread_mutex_unlock(&point->thread.mutex);
    return accepted;
}

static void point_forget(void *state, const commit_forget_t *carts, unsigned count) {
    journal_point_t *point = state;
    (void)pthread_mutex_lock(&point->thread.mutex);
    while (count > 0) {
        if (point->forget_count == point->forget_capacity) {
            size_t capacity = point->forget_capacity == 0 ? 4096 : point->forget_capacity * 2;
            commit_forget_t *larger = realloc(point->forgets, capacity * sizeof(*larger));
            if (larger != NULL) {
                point->forgets = larger;
                point->forget_capacity = capacity;
            } else if (point->forget_capacity == 0) {
                break; /* no memory at all: these segments stay until the next start */
            } else {
                (void)pthread_cond_wait(&point->drained, &point->thread.mutex);
                continue;
            }
        }
        point->forgets[point->forget_count++] = *carts++;
        count--;
    }
    (void)pthread_cond_signal(&point->thread.work);
    (void)pthread_mutex_unlock(&point->thread.mutex);
}

static void point_room(void *state, commit_room_t *room, uint64_t now_ms) {
    journal_point_t *point = state;
    (void)pthread_mutex_lock(&point->thread.mutex);
    *room = point->room;
    if (room->oldest_age_ms > 0 && now_ms > point->room_ms) room->oldest_age_ms += now_ms - point->room_ms;
    room->accepts = room->accepts && !point->failed;
    room->recovering = point->failed; /* what the last commit left is being found out: nothing is answered (rule 1) */
    (void)pthread_mutex_unlock(&point->thread.mutex);
}

static commit_result_t result_of(journal_result_t result) {
    switch (result) {
    case JOURNAL_OK:
        return COMMIT_DONE;
    case JOURNAL_FULL:
    case JOURNAL_NO_MEMORY:
        return COMMIT_REFUSED;
    case JOURNAL_FAILED:
    case JOURNAL_DAMAGED:
    case JOURNAL_LOCKED:
        break;
    }
    return COMMIT_UNKNOWN;
}

static void deliver_commit(journal_point_t *point) {
    (void)pthread_mutex_lock(&point->thread.mutex);
    bool ready = point->commit_state == COMMIT_READY;
    unsigned count = point->count;
    commit_result_t result = result_of(point->commit_result);
    if (ready) point->commit_state = COMMIT_NONE;
    (void)pthread_mutex_unlock(&point->thread.mutex);
    if (!ready) return;
    for (unsigned i = 0; i < count; i++) point->results[i] = result;
    point->owner.committed(point->owner.context, point->results, NULL, count);
}

/* Takes the waiting loads in pieces; a callback may ask for more. */
static void deliver_loads(journal_point_t *point) {
    commit_loaded_t answers[LOAD_ANSWERS];
    for (;;) {
        (void)pthread_mutex_lock(&point->thread.mutex);
        unsigned count = point->failed ? 0 : point->load_count;
        if (count > LOAD_ANSWERS) count = LOAD_ANSWERS;
        point->load_count -= count;
        for (unsigned i = 0; i < count; i++) {
            answers[i] =
                (commit_loaded_t){.user = point->loads[point->load_count + i], .result = COMMIT_LOAD_CONFIRMED};
        }
        (void)pthread_mutex_unlock(&point->thread.mutex);
        if (count == 0) return;
        point->owner.loaded(point->owner.context, answers, count);
    }
}

static void point_poll(void *state, uint64_t now_ms) {
    journal_point_t *point = state;
    store_thread_was_woken(&point->thread);
    (void)pthread_mutex_lock(&point->thread.mutex);
    point->now_ms = now_ms;
    (void)pthread_mutex_unlock(&point->thread.mutex);
    store_thread_deliver(&point->thread, point->owner.log, point->owner.context);
    deliver_commit(point);
    deliver_loads(point);
}

static int point_fd(void *state) {
    const journal_point_t *point = state;
    return point->thread.event;
}

static void point_hold(void *state, unsigned ms) {
    journal_point_t *point = state;
    store_thread_hold(&point->thread, ms);
}

static void point_free(journal_point_t *point) {
    store_thread_deinit(&point->thread);
    (void)pthread_cond_destroy(&point->drained);
    free(point->results);
    free(point->loads);
    free(point->forgets);
    free(point);
}

static void point_destroy(void *state) {
    journal_point_t *point = state;
    store_thread_end(&point->thread);
    journal_close(point->journal);
    point_free(point);
}

commit_point_t *journal_commit_point_create(journal_t *journal) {
    journal_point_t *point = calloc(1, sizeof(*point));
    if (point == NULL) return NULL;
    point->journal = journal;
    bool told = store_thread_init(&point->thread, true);
    (void)pthread_cond_init(&point->drained, NULL); /* on Linux it cannot fail */
    point->results = malloc(COMMIT_SETS_MAX * sizeof(*point->results));
    point->loads = malloc(LOADS_MAX * sizeof(*point->loads));
    if (!told || point->results == NULL || point->loads == NULL) {
        point_free(point);
        return NULL;
    }
    point->public = (commit_point_t){.state = point,
                                     .shared = false,
                                     .set_owner = point_set_owner,
                                     .commit = point_commit,
                                     .load = point_load,
                                     .forget = point_forget,
                                     .room = point_room,
                                     .poll = point_poll,
                                     .fd = point_fd,
                                     .hold = point_hold,
                                     .destroy = point_destroy};
    point->failed = journal_has_failed(journal);
    journal_room(journal, &point->room, 0);
    if (!store_thread_start(&point->thread, work, point)) {
        point_free(point);
        return NULL;
    }
    return &point->public;
}
