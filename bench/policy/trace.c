#include "trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUSEHOLDS_MAX 1000000 /* their numbers index arrays */

typedef struct {
    double at_s;
    uint32_t household;
    uint32_t lines;
} basket_t;

typedef struct {
    basket_t *baskets;
    uint32_t count, room;
} baskets_t;

static uint64_t random_state;

static uint64_t random_u64(void) {
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static double random_unit(void) {
    return (double)(random_u64() >> 11) / 9007199254740992.0;
}

static void *grown(void *memory, size_t bytes) {
    memory = realloc(memory, bytes);
    if (memory == NULL) {
        perror("policy_bench");
        exit(1);
    }
    return memory;
}

static basket_t *basket_add(baskets_t *all, double at_s, uint32_t household) {
    if (all->count == all->room) {
        all->room = all->room == 0 ? 1024 : all->room * 2;
        all->baskets = grown(all->baskets, all->room * sizeof(*all->baskets));
    }
    basket_t *basket = &all->baskets[all->count++];
    *basket = (basket_t){at_s, household, 0};
    return basket;
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

static bool read_file(baskets_t *all, const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    char line[256];
    char last[64] = "";
    unsigned number = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (number++ == 0) continue; /* the heading */
        char *end = NULL;
        double at_s = strtod(line, &end);
        unsigned long household = *end == ',' ? strtoul(end + 1, &end, 10) : 0;
        size_t basket_length = *end == ',' ? strcspn(end + 1, ",") : 0;
        if (basket_length == 0 || basket_length >= sizeof(last) || household >= HOUSEHOLDS_MAX) {
            fprintf(stderr, "policy_bench: %s:%u: not a line of baskets\n", path, number);
            exit(1);
        }
        char basket[sizeof(last)] = "";
        memcpy(basket, end + 1, basket_length);
        if (all->count == 0 || strcmp(basket, last) != 0) (void)basket_add(all, at_s, (uint32_t)household);
        all->baskets[all->count - 1].lines++;
        memcpy(last, basket, sizeof(last));
    }
    (void)fclose(file); /* read only */
    return all->count > 0;
}

/* A stand-in of the same shape: 2,377 households of skewed diligence over a year, 1.6 lines a basket. */
static void make_up(baskets_t *all) {
    enum { HOUSEHOLDS = 2377, BASKETS = 47243 };
    static double sum[HOUSEHOLDS];
    double total = 0;
    for (unsigned i = 0; i < HOUSEHOLDS; i++) sum[i] = total += 1 / sqrt(1 + i);
    for (unsigned i = 0; i < BASKETS; i++) {
        double drawn = random_unit() * total;
        unsigned low = 0;
        unsigned high = HOUSEHOLDS - 1;
        while (low < high) {
            unsigned middle = (low + high) / 2;
            if (sum[middle] < drawn)
                low = middle + 1;
            else
                high = middle;
        }
        basket_t *basket = basket_add(all, 365.0 * 86400 * i / BASKETS, low);
        basket->lines = 1;
        while (basket->lines < 12 && random_unit() < 0.37) basket->lines++;
    }
}

/* ---- requests ------------------------------------------------------------------------------------------------------ */

static void request_add(trace_t *trace, uint32_t *room, double at_s, uint32_t user, bool is_change) {
    if (trace->count == *room) {
        *room = *room == 0 ? 4096 : *room * 2;
        trace->requests = grown(trace->requests, *room * sizeof(*trace->requests));
    }
    trace->requests[trace->count++] = (request_t){at_s, user, is_change};
    trace->changes += is_change;
}

static double pause_s(void) {
    return 3 * exp(random_unit() * log(20));
}

static void session_add(trace_t *trace, uint32_t *room, double at_s, uint32_t user, unsigned lines) {
    for (unsigned i = 0; i < lines; i++) {
        request_add(trace, room, at_s, user, false);
        request_add(trace, room, at_s += pause_s(), user, true);
        request_add(trace, room, at_s += 0.2, user, false);
        at_s += pause_s();
    }
    request_add(trace, room, at_s, user, false);
    request_add(trace, room, at_s += pause_s(), user, false);
    request_add(trace, room, at_s += pause_s(), user, true);
    trace->sessions++;
    trace->lines += lines;
}

static int by_time(const void *a, const void *b) {
    double difference = ((const request_t *)a)->at_s - ((const request_t *)b)->at_s;
    return difference < 0 ? -1 : difference > 0;
}

void trace_make(trace_t *trace, const char *path, double squeeze, unsigned passers_percent) {
    memset(trace, 0, sizeof(*trace));
    random_state = 20170101;
    baskets_t all = {NULL, 0, 0};
    if (path == NULL || !read_file(&all, path)) {
        make_up(&all);
        trace->is_stand_in = true;
    }
    for (uint32_t i = 0; i < all.count; i++) {
        if (all.baskets[i].household >= trace->households) trace->households = all.baskets[i].household + 1;
    }
    trace->users = trace->households;
    uint32_t room = 0;
    for (uint32_t i = 0; i < all.count; i++) {
        double at_s = (all.baskets[i].at_s - all.baskets[0].at_s) / squeeze;
        session_add(trace, &room, at_s, all.baskets[i].household, all.baskets[i].lines);
        unsigned passers = passers_percent / 100 + (random_unit() * 100 < passers_percent % 100);
        for (unsigned passer = 0; passer < passers; passer++) {
            request_add(trace, &room, at_s, trace->users, false);
            if (random_unit() < 0.5) request_add(trace, &room, at_s + pause_s(), trace->users, false);
            trace->users++;
        }
    }
    free(all.baskets);
    qsort(trace->requests, trace->count, sizeof(*trace->requests), by_time);
}

void trace_free(trace_t *trace) {
    free(trace->requests);
}
