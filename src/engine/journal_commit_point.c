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
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/journal.h"

#define LOADS_MAX        65536
#define FORGET_STEP      512
#define BACKOFF_FIRST_MS 10
#define BACKOFF_LAST_MS  1000
#define FULL_RETRY_MS    1000
#define LOG_LINES_MAX    16
#define LOG_DETAIL_BYTES 128
#define LOAD_ANSWERS     256

typedef struct {
    int level;
    const char *event; /* static */
    char detail[LOG_DETAIL_BYTES];
} log_line_t;

typedef enum { COMMIT_NONE, COMMIT_WAITING, COMMIT_RUNNING, COMMIT_READY } commit_state_t;

typedef struct {
    commit_point_t public;      /* state points back at this */
    journal_t *journal;         /* owned; journal's thread only */
    commit_point_owner_t owner; /* engine's thread only */
    pthread_t thread;
    int event;                /* eventfd */
    commit_result_t *results; /* owned; COMMIT_SETS_MAX; engine's thread only */

    pthread_mutex_t mutex; /* all below */
    pthread_cond_t work;
    pthread_cond_t drained; /* forgets were taken */
    pthread_cond_t rested;  /* the thread has come to rest under a hold */
    bool stop;
    bool resting;
    struct timespec held_until; /* of the monotonic clock; zeros: no hold */
    uint64_t now_ms;            /* the engine's clock, as last heard */
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
    log_line_t lines[LOG_LINES_MAX];
    unsigned line_count;
} journal_point_t;

/* ---- on the journal's thread ------------------------------------------------------------------------------------- */

static void wake_engine(journal_point_t *point) {
    uint64_t one = 1;
    ssize_t written = write(point->event, &one, sizeof(one));
    (void)written; /* fails only when the counter is at its maximum: it is readable then */
}

/* Under the mutex. The engine hears of it at its next poll; lines beyond the maximum are dropped. */
static void note(journal_point_t *point, int level, const char *event, const char *detail) {
    if (point->line_count == LOG_LINES_MAX) return;
    log_line_t *line = &point->lines[point->line_count++];
    line->level = level;
    line->event = event;
    (void)snprintf(line->detail, sizeof(line->detail), "%s", detail); /* cut at worst */
}

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
    (void)pthread_mutex_unlock(&point->mutex);
    journal_result_t result = journal_commit(point->journal, sets, count, now_ms);
    commit_room_t room;
    journal_room(point->journal, &room, now_ms);
    (void)pthread_mutex_lock(&point->mutex);
    take_room(point, &room, now_ms);
    point->commit_result = result;
    point->commit_state = COMMIT_READY;
    wake_engine(point);
}

static void look_at_failure(journal_point_t *point) {
    bool failed = journal_has_failed(point->journal);
    if (failed == point->failed) return;
    point->failed = failed;
    note(point, failed ? 1 : 3, failed ? "journal_failed" : "journal_recovered",
         failed ? "a write or sync failed; nothing is confirmed until a new segment is on disk"
                : "a new segment is on disk");
    wake_engine(point);
}

static void do_recover(journal_point_t *point, unsigned *backoff_ms) {
    uint64_t now_ms = point->now_ms;
    (void)pthread_mutex_unlock(&point->mutex);
    journal_result_t result = journal_recover(point->journal, now_ms);
    commit_room_t room;
    journal_room(point->journal, &room, now_ms);
    (void)pthread_mutex_lock(&point->mutex);
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
    (void)pthread_mutex_unlock(&point->mutex);
    journal_forget(point->journal, step, count, now_ms);
    commit_room_t room;
    journal_room(point->journal, &room, now_ms);
    (void)pthread_mutex_lock(&point->mutex);
    take_room(point, &room, now_ms);
}

static bool do_prepare(journal_point_t *point) {
    uint64_t now_ms = point->now_ms;
    (void)pthread_mutex_unlock(&point->mutex);
    bool more = journal_prepare(point->journal);
    commit_room_t room;
    journal_room(point->journal, &room, now_ms);
    (void)pthread_mutex_lock(&point->mutex);
    take_room(point, &room, now_ms);
    return more;
}

static struct timespec after_ms(unsigned ms) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail with this clock */
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return until;
}

static bool is_over(const struct timespec *until) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

/* Between two pieces of work: stays here while a hold lasts. */
static void rest(journal_point_t *point) {
    while (point->held_until.tv_sec != 0 && !point->stop && !is_over(&point->held_until)) {
        point->resting = true;
        (void)pthread_cond_broadcast(&point->rested);
        struct timespec until = point->held_until; /* early or late: the loop looks again */
        (void)pthread_cond_timedwait(&point->work, &point->mutex, &until);
    }
    point->resting = false;
    point->held_until = (struct timespec){0};
    (void)pthread_cond_broadcast(&point->rested); /* whoever asked while it was ending does not wait for ever */
}

static void wait_ms(journal_point_t *point, unsigned ms) {
    struct timespec until = after_ms(ms);
    (void)pthread_cond_timedwait(&point->work, &point->mutex, &until); /* early or late: the loop looks again */
}

static void *work(void *argument) {
    journal_point_t *point = argument;
    unsigned backoff_ms = 0;
    bool recover_now = true;
    (void)pthread_mutex_lock(&point->mutex);
    for (;;) {
        if (point->held_until.tv_sec != 0) rest(point);
        if (point->commit_state == COMMIT_WAITING) {
            do_commit(point);
            look_at_failure(point);
            /* One bounded piece of the rest between two commits, so that neither starves. */
            if (!point->failed && point->forget_count > 0) do_forget(point);
            if (!point->failed && journal_lags(point->journal)) (void)do_prepare(point);
        } else if (point->stop) {
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
        } else if (point->commit_state != COMMIT_WAITING && point->forget_count == 0 && !point->stop) {
            if (point->room.accepts)
                (void)pthread_cond_wait(&point->work, &point->mutex);
            else
                wait_ms(point, FULL_RETRY_MS); /* the disk may have room again */
        }
        if (!point->failed) recover_now = true;
        look_at_failure(point);
    }
    (void)pthread_mutex_unlock(&point->mutex);
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
    (void)pthread_mutex_lock(&point->mutex);
    point->now_ms = now_ms;
    bool accepted = point->commit_state == COMMIT_NONE && !point->failed && !point->stop;
    if (accepted) {
        point->sets = sets;
        point->count = count;
        point->commit_state = COMMIT_WAITING;
        (void)pthread_cond_signal(&point->work);
    }
    (void)pthread_mutex_unlock(&point->mutex);
    return accepted;
}

static bool point_load(void *state, const cart_id_t *users, unsigned count, uint64_t now_ms) {
    journal_point_t *point = state;
    (void)pthread_mutex_lock(&point->mutex);
    point->now_ms = now_ms;
    bool accepted = count <= LOADS_MAX - point->load_count;
    if (accepted) {
        memcpy(point->loads + point->load_count, users, count * sizeof(*users));
        point->load_count += count;
        if (!point->failed) wake_engine(point);
    }
    (void)pthread_mutex_unlock(&point->mutex);
    return accepted;
}

static void point_forget(void *state, const commit_forget_t *carts, unsigned count) {
    journal_point_t *point = state;
    (void)pthread_mutex_lock(&point->mutex);
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
                (void)pthread_cond_wait(&point->drained, &point->mutex);
                continue;
            }
        }
        point->forgets[point->forget_count++] = *carts++;
        count--;
    }
    (void)pthread_cond_signal(&point->work);
    (void)pthread_mutex_unlock(&point->mutex);
}

static void point_room(void *state, commit_room_t *room, uint64_t now_ms) {
    journal_point_t *point = state;
    (void)pthread_mutex_lock(&point->mutex);
    *room = point->room;
    if (room->oldest_age_ms > 0 && now_ms > point->room_ms) room->oldest_age_ms += now_ms - point->room_ms;
    room->accepts = room->accepts && !point->failed;
    room->recovering = point->failed; /* what the last commit left is being found out: nothing is answered (rule 1) */
    (void)pthread_mutex_unlock(&point->mutex);
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

static void deliver_lines(journal_point_t *point) {
    log_line_t lines[LOG_LINES_MAX];
    (void)pthread_mutex_lock(&point->mutex);
    unsigned count = point->line_count;
    memcpy(lines, point->lines, count * sizeof(*lines));
    point->line_count = 0;
    (void)pthread_mutex_unlock(&point->mutex);
    for (unsigned i = 0; i < count && point->owner.log != NULL; i++) {
        point->owner.log(point->owner.context, lines[i].level, lines[i].event, lines[i].detail);
    }
}

static void deliver_commit(journal_point_t *point) {
    (void)pthread_mutex_lock(&point->mutex);
    bool ready = point->commit_state == COMMIT_READY;
    unsigned count = point->count;
    commit_result_t result = result_of(point->commit_result);
    if (ready) point->commit_state = COMMIT_NONE;
    (void)pthread_mutex_unlock(&point->mutex);
    if (!ready) return;
    for (unsigned i = 0; i < count; i++) point->results[i] = result;
    point->owner.committed(point->owner.context, point->results, NULL, count);
}

/* Takes the waiting loads in pieces; a callback may ask for more. */
static void deliver_loads(journal_point_t *point) {
    commit_loaded_t answers[LOAD_ANSWERS];
    for (;;) {
        (void)pthread_mutex_lock(&point->mutex);
        unsigned count = point->failed ? 0 : point->load_count;
        if (count > LOAD_ANSWERS) count = LOAD_ANSWERS;
        point->load_count -= count;
        for (unsigned i = 0; i < count; i++) {
            answers[i] =
                (commit_loaded_t){.user = point->loads[point->load_count + i], .result = COMMIT_LOAD_CONFIRMED};
        }
        (void)pthread_mutex_unlock(&point->mutex);
        if (count == 0) return;
        point->owner.loaded(point->owner.context, answers, count);
    }
}

static void point_poll(void *state, uint64_t now_ms) {
    journal_point_t *point = state;
    uint64_t counter;
    ssize_t got = read(point->event, &counter, sizeof(counter));
    (void)got; /* EAGAIN: nobody woke us, we look all the same */
    (void)pthread_mutex_lock(&point->mutex);
    point->now_ms = now_ms;
    (void)pthread_mutex_unlock(&point->mutex);
    deliver_lines(point);
    deliver_commit(point);
    deliver_loads(point);
}

static int point_fd(void *state) {
    const journal_point_t *point = state;
    return point->event;
}

static void point_hold(void *state, unsigned ms) {
    journal_point_t *point = state;
    (void)pthread_mutex_lock(&point->mutex);
    if (ms > 0) {
        point->held_until = after_ms(ms);
        (void)pthread_cond_signal(&point->work);
        while (!point->resting && point->held_until.tv_sec != 0) (void)pthread_cond_wait(&point->rested, &point->mutex);
    } else if (point->held_until.tv_sec != 0) {
        point->held_until = (struct timespec){.tv_sec = 1}; /* long ago */
        (void)pthread_cond_signal(&point->work);
    }
    (void)pthread_mutex_unlock(&point->mutex);
}

static void point_free(journal_point_t *point) {
    if (point->event >= 0) (void)close(point->event); /* nothing is kept in it */
    free(point->results);
    free(point->loads);
    free(point->forgets);
    free(point);
}

static void point_destroy(void *state) {
    journal_point_t *point = state;
    (void)pthread_mutex_lock(&point->mutex);
    point->stop = true;
    (void)pthread_cond_signal(&point->work);
    (void)pthread_mutex_unlock(&point->mutex);
    int joined = pthread_join(point->thread, NULL);
    assert(joined == 0);
    (void)joined;
    journal_close(point->journal);
    (void)pthread_cond_destroy(&point->work);
    (void)pthread_cond_destroy(&point->rested);
    (void)pthread_cond_destroy(&point->drained);
    (void)pthread_mutex_destroy(&point->mutex);
    point_free(point);
}

commit_point_t *journal_commit_point_create(journal_t *journal) {
    journal_point_t *point = calloc(1, sizeof(*point));
    if (point == NULL) return NULL;
    point->journal = journal;
    point->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    point->results = malloc(COMMIT_SETS_MAX * sizeof(*point->results));
    point->loads = malloc(LOADS_MAX * sizeof(*point->loads));
    pthread_condattr_t clock;
    if (point->event < 0 || point->results == NULL || point->loads == NULL || pthread_condattr_init(&clock) != 0) {
        point_free(point);
        return NULL;
    }
    /* On Linux none of these fails with these arguments. */
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&point->mutex, NULL);
    (void)pthread_cond_init(&point->work, &clock);
    (void)pthread_cond_init(&point->drained, NULL);
    (void)pthread_cond_init(&point->rested, NULL);
    (void)pthread_condattr_destroy(&clock);
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
    if (pthread_create(&point->thread, NULL, work, point) != 0) {
        (void)pthread_cond_destroy(&point->work);
        (void)pthread_cond_destroy(&point->rested);
        (void)pthread_cond_destroy(&point->drained);
        (void)pthread_mutex_destroy(&point->mutex);
        point_free(point);
        return NULL;
    }
    return &point->public;
}
