#include "engine/store_thread.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool store_thread_init(store_thread_t *thread, bool threaded) {
    pthread_condattr_t clock;
    *thread = (store_thread_t){.threaded = threaded, .event = -1};
    /* On Linux none of these fails with these arguments. */
    (void)pthread_mutex_init(&thread->mutex, NULL);
    (void)pthread_condattr_init(&clock);
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&thread->work, &clock);
    (void)pthread_cond_init(&thread->rested, NULL);
    (void)pthread_condattr_destroy(&clock);
    if (threaded) thread->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return !threaded || thread->event >= 0;
}

void store_thread_deinit(store_thread_t *thread) {
    if (thread->event >= 0) (void)close(thread->event); /* nothing is kept in it */
    thread->event = -1;
    (void)pthread_cond_destroy(&thread->work);
    (void)pthread_cond_destroy(&thread->rested);
    (void)pthread_mutex_destroy(&thread->mutex);
}

bool store_thread_start(store_thread_t *thread, void *(*work)(void *), void *argument) {
    assert(thread->threaded);
    return pthread_create(&thread->id, NULL, work, argument) == 0;
}

void store_thread_end(store_thread_t *thread) {
    if (!thread->threaded) return;
    (void)pthread_mutex_lock(&thread->mutex);
    thread->stop = true;
    (void)pthread_cond_signal(&thread->work);
    (void)pthread_mutex_unlock(&thread->mutex);
    int joined = pthread_join(thread->id, NULL);
    assert(joined == 0);
    (void)joined;
}

/* --- for the loop --- */

struct timespec store_thread_after_ms(unsigned ms) {
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

bool store_thread_is_over(const struct timespec *until) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

void store_thread_wait_until(store_thread_t *thread, const struct timespec *until) {
    (void)pthread_cond_timedwait(&thread->work, &thread->mutex, until);
}

void store_thread_rest(store_thread_t *thread) {
    if (thread->held_until.tv_sec == 0) return;
    while (thread->held_until.tv_sec != 0 && !thread->stop && !store_thread_is_over(&thread->held_until)) {
        thread->resting = true;
        (void)pthread_cond_broadcast(&thread->rested);
        struct timespec until = thread->held_until; /* which may be extended meanwhile */
        store_thread_wait_until(thread, &until);
    }
    thread->resting = false;
    thread->held_until = (struct timespec){0};
    (void)pthread_cond_broadcast(&thread->rested); /* whoever asked while it was ending does not wait for ever */
}

void store_thread_wake_engine(store_thread_t *thread) {
    if (thread->event < 0) return;
    uint64_t one = 1;
    ssize_t written = write(thread->event, &one, sizeof(one));
    (void)written; /* fails only when the counter is at its maximum: it is readable then */
}

void store_thread_note(store_thread_t *thread, int level, const char *event, const char *detail) {
    if (thread->line_count == STORE_THREAD_LINES_MAX) return;
    store_thread_line_t *line = &thread->lines[thread->line_count++];
    line->level = level;
    line->event = event;
    (void)snprintf(line->detail, sizeof(line->detail), "%s", detail); /* cut at worst */
    store_thread_wake_engine(thread);
}

/* --- for the engine's thread --- */

void store_thread_was_woken(store_thread_t *thread) {
    if (thread->event < 0) return;
    uint64_t counter;
    ssize_t got = read(thread->event, &counter, sizeof(counter));
    (void)got; /* EAGAIN: nobody woke us, we look all the same */
}

void store_thread_deliver(store_thread_t *thread,
                          void (*log)(void *context, int level, const char *event, const char *detail), void *context) {
    store_thread_line_t lines[STORE_THREAD_LINES_MAX]; /* a copy: the callback may take its time */
    (void)pthread_mutex_lock(&thread->mutex);
    unsigned count = thread->line_count;
    memcpy(lines, thread->lines, count * sizeof(*lines));
    thread->line_count = 0;
    (void)pthread_mutex_unlock(&thread->mutex);
    for (unsigned i = 0; i < count && log != NULL; i++) log(context, lines[i].level, lines[i].event, lines[i].detail);
}

void store_thread_hold(store_thread_t *thread, unsigned ms) {
    assert(thread->threaded);
    (void)pthread_mutex_lock(&thread->mutex);
    if (ms > 0) {
        thread->held_until = store_thread_after_ms(ms);
        (void)pthread_cond_signal(&thread->work);
        while (!thread->resting && thread->held_until.tv_sec != 0)
            (void)pthread_cond_wait(&thread->rested, &thread->mutex);
    } else if (thread->held_until.tv_sec != 0) {
        thread->held_until = (struct timespec){.tv_sec = 1}; /* long ago */
        (void)pthread_cond_signal(&thread->work);
    }
    (void)pthread_mutex_unlock(&thread->mutex);
}
