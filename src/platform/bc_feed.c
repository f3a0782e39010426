/*
 * Waiting without losing a wake-up: a request notes the feed's counter before it reads; if the read was empty, it sleeps only while the
 * counter is still that. A commit wakes after it is durable, so whoever reads after the wake finds the row.
 */
#include "platform/bc_feed.h"

#include "platform/bc_time.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bc_feed {
    char *generation; /* owned */
    bc_feed_read_t read;
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    uint64_t wakes; /* under lock */
};

bc_feed_t *bc_feed_create(const char *generation, bc_feed_read_t read, void *context) {
    bc_feed_t *feed = calloc(1, sizeof(*feed));
    char *copy = strdup(generation);
    if (feed == NULL || copy == NULL) {
        free(feed);
        free(copy);
        return NULL;
    }
    feed->generation = copy;
    feed->read = read;
    feed->context = context;
    (void)pthread_mutex_init(&feed->lock, NULL); /* a default mutex: cannot fail */
    bc_cond_init(&feed->woken);
    return feed;
}

void bc_feed_destroy(bc_feed_t *feed) {
    if (feed == NULL) return;
    (void)pthread_cond_destroy(&feed->woken);
    (void)pthread_mutex_destroy(&feed->lock);
    free(feed->generation);
    free(feed);
}

void bc_feed_wake(bc_feed_t *feed) {
    (void)pthread_mutex_lock(&feed->lock);
    feed->wakes++;
    (void)pthread_cond_broadcast(&feed->woken);
    (void)pthread_mutex_unlock(&feed->lock);
}

static bool read_position(const bc_request_t *request, bc_reply_t *reply, uint64_t *after) {
    const char *text = bc_request_query(request, "after");
    char *end = NULL;
    if (text == NULL) {
        *after = 0;
        return true;
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) {
        bc_reply_problem_field(reply, "malformed-request", "after", "out-of-range", "a position is needed");
        return false;
    }
    *after = value;
    return true;
}

/* true: something may be new; false: the time is over, or the service stops. */
static bool wait_for_wake(bc_feed_t *feed, const bc_request_t *request, uint64_t wakes,
                          const struct timespec *deadline) {
    (void)pthread_mutex_lock(&feed->lock);
    bool over = false;
    while (feed->wakes == wakes && !over && !bc_request_stopping(request))
        over = pthread_cond_timedwait(&feed->woken, &feed->lock, deadline) == ETIMEDOUT;
    bool changed = feed->wakes != wakes;
    (void)pthread_mutex_unlock(&feed->lock);
    return changed && !bc_request_stopping(request);
}

void bc_feed_serve(bc_feed_t *feed, bc_request_t *request, bc_reply_t *reply) {
    uint64_t after = 0, position = 0, wakes;
    int64_t limit = 0, wait_s = 0;
    bool more = false;
    if (!read_position(request, reply, &after) ||
        !bc_request_query_int(request, reply, "limit", 1, BC_FEED_LIMIT_MAX, BC_FEED_LIMIT, &limit) ||
        !bc_request_query_int(request, reply, "wait", 0, BC_FEED_WAIT_S_MAX, 0, &wait_s))
        return;
    struct timespec deadline = bc_monotonic_deadline(wait_s * 1000);
    json_t *items = json_array();
    for (;;) {
        (void)pthread_mutex_lock(&feed->lock);
        wakes = feed->wakes;
        (void)pthread_mutex_unlock(&feed->lock);
        position = after;
        more = false;
        if (items == NULL || !feed->read(feed->context, after, (int)limit, items, &position, &more)) {
            json_decref(items);
            bc_reply_problem(reply, "unavailable", NULL);
            bc_reply_retry_after(reply, 1000);
            return;
        }
        assert(position >= after);
        if (json_array_size(items) > 0 || wait_s == 0 || !wait_for_wake(feed, request, wakes, &deadline)) break;
    }
    char number[24];
    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)position);
    bc_reply_json(reply, 200,
                  json_pack("{s:s, s:s, s:b, s:o}", "generation", feed->generation, "position", number, "more", more,
                            "items", items));
}
