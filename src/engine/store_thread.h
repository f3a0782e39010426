/*
 * What the two stores that work on a thread of their own have in common: the journal (journal_commit_point.c) and the base
 * (base_sqlite.c). Each embeds one of these, keeps under its mutex whatever both sides see, and writes its own loop:
 *
 *     lock
 *     for (;;) {
 *         store_thread_rest          a hold lasts: nothing is written meanwhile
 *         one bounded piece of work  lets go of the mutex while it works
 *         stop? break
 *         nothing to do: wait for `work`, for ever or until a time
 *     }
 *     unlock
 *
 * The engine's thread asks (under the mutex, then signals `work`) and is told by an eventfd that its loop watches; lines for its log
 * wait here until it comes for them.
 *
 * A hold is a lease: it ends by itself, when it is let go, or with the thread. store_thread_hold returns when the loop has come to rest
 * between two pieces of work, or has ended the hold in the meantime.
 *
 * Without a thread (the power-cut suite) the same calls work, there is no eventfd, and nothing may be held.
 */
#ifndef STORE_THREAD_H
#define STORE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#define STORE_THREAD_LINES_MAX    16 /* waiting for the engine; what comes beyond is dropped */
#define STORE_THREAD_DETAIL_BYTES 160

typedef struct {
    int level;
    const char *event; /* static */
    char detail[STORE_THREAD_DETAIL_BYTES];
} store_thread_line_t;

typedef struct {
    pthread_t id;
    bool threaded;
    int event; /* eventfd; −1 without a thread */

    pthread_mutex_t mutex; /* all below, and what the owner puts there */
    pthread_cond_t work;   /* of the monotonic clock */
    pthread_cond_t rested; /* the loop has come to rest under a hold */
    bool stop;
    bool resting;
    struct timespec held_until; /* of the monotonic clock; zeros: no hold */
    store_thread_line_t lines[STORE_THREAD_LINES_MAX];
    unsigned line_count;
} store_thread_t;

/* false: no descriptor. deinit is right in both cases, and after end. */
bool store_thread_init(store_thread_t *thread, bool threaded);
void store_thread_deinit(store_thread_t *thread);

/* false: no thread. Not without one. */
bool store_thread_start(store_thread_t *thread, void *(*work)(void *), void *argument);
/* Tells the loop to stop and waits for its end. Without a thread: nothing. */
void store_thread_end(store_thread_t *thread);

/* --- for the loop, under the mutex --- */

struct timespec store_thread_after_ms(unsigned ms);
bool store_thread_is_over(const struct timespec *until);
/* May return early or late: the loop looks again. */
void store_thread_wait_until(store_thread_t *thread, const struct timespec *until);
/* Stays while a hold lasts. */
void store_thread_rest(store_thread_t *thread);
void store_thread_wake_engine(store_thread_t *thread);
/* For the engine's log, and wakes it. `event` is static; `detail` is cut at worst. */
void store_thread_note(store_thread_t *thread, int level, const char *event, const char *detail);

/* --- for the engine's thread, without the mutex --- */

void store_thread_was_woken(store_thread_t *thread); /* before it looks for results */
/* Hands over the lines that wait. `log` NULL: drops them. */
void store_thread_deliver(store_thread_t *thread,
                          void (*log)(void *context, int level, const char *event, const char *detail), void *context);
/* From its return on and for `ms` the loop does no work; again extends. 0: lets go. */
void store_thread_hold(store_thread_t *thread, unsigned ms);

#endif
