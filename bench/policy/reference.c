#include "reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* Every user is on one queue at most. */
enum { OUT, QUEUE_A, QUEUE_B, QUEUE_C, QUEUES };

typedef struct {
    uint32_t newer, older;
    uint8_t queue;
    uint8_t count; /* SIEVE's bit, S3-FIFO's frequency */
} node_t;

typedef struct {
    uint32_t newest, oldest, length;
} queue_t;

struct reference {
    reference_kind_t kind;
    uint32_t capacity;
    node_t *nodes;
    queue_t queues[QUEUES];
    uint32_t hand; /* SIEVE */
    uint8_t *sketch;
    uint32_t sketch_mask, sketch_added;
};

static void push(reference_t *cache, unsigned queue, uint32_t user) {
    queue_t *q = &cache->queues[queue];
    node_t *node = &cache->nodes[user];
    node->queue = (uint8_t)queue;
    node->newer = NONE;
    node->older = q->newest;
    if (q->newest != NONE)
        cache->nodes[q->newest].newer = user;
    else
        q->oldest = user;
    q->newest = user;
    q->length++;
}

static void take(reference_t *cache, uint32_t user) {
    node_t *node = &cache->nodes[user];
    queue_t *q = &cache->queues[node->queue];
    if (node->newer != NONE)
        cache->nodes[node->newer].older = node->older;
    else
        q->newest = node->older;
    if (node->older != NONE)
        cache->nodes[node->older].newer = node->newer;
    else
        q->oldest = node->newer;
    q->length--;
    node->queue = OUT;
}

static void move(reference_t *cache, unsigned queue, uint32_t user) {
    take(cache, user);
    push(cache, queue, user);
}

/* ---- LRU, SIEVE ---------------------------------------------------------------------------------------------------- */

static bool lru(reference_t *cache, uint32_t user) {
    if (cache->nodes[user].queue != OUT) {
        move(cache, QUEUE_A, user);
        return true;
    }
    if (cache->queues[QUEUE_A].length == cache->capacity) take(cache, cache->queues[QUEUE_A].oldest);
    push(cache, QUEUE_A, user);
    return false;
}

static bool sieve(reference_t *cache, uint32_t user) {
    if (cache->nodes[user].queue != OUT) {
        cache->nodes[user].count = 1;
        return true;
    }
    if (cache->queues[QUEUE_A].length == cache->capacity) {
        uint32_t victim = cache->hand != NONE ? cache->hand : cache->queues[QUEUE_A].oldest;
        while (cache->nodes[victim].count != 0) {
            cache->nodes[victim].count = 0;
            victim = cache->nodes[victim].newer != NONE ? cache->nodes[victim].newer : cache->queues[QUEUE_A].oldest;
        }
        cache->hand = cache->nodes[victim].newer;
        take(cache, victim);
    }
    push(cache, QUEUE_A, user);
    cache->nodes[user].count = 0;
    return false;
}

/* ---- S3-FIFO: A small, B main, C ghost ----------------------------------------------------------------------------- */

static void s3_evict_main(reference_t *cache) {
    for (;;) {
        uint32_t user = cache->queues[QUEUE_B].oldest;
        if (cache->nodes[user].count == 0) {
            take(cache, user);
            return;
        }
        cache->nodes[user].count--;
        move(cache, QUEUE_B, user);
    }
}

static void s3_evict(reference_t *cache) {
    uint32_t small = cache->capacity / 10 > 0 ? cache->capacity / 10 : 1;
    while (cache->queues[QUEUE_A].length >= small) {
        uint32_t user = cache->queues[QUEUE_A].oldest;
        if (cache->nodes[user].count > 1) {
            cache->nodes[user].count = 0;
            move(cache, QUEUE_B, user);
            if (cache->queues[QUEUE_B].length > cache->capacity - small) {
                s3_evict_main(cache);
                return;
            }
            continue;
        }
        if (cache->queues[QUEUE_C].length >= cache->capacity - small) take(cache, cache->queues[QUEUE_C].oldest);
        move(cache, QUEUE_C, user);
        return;
    }
    s3_evict_main(cache);
}

static bool s3_fifo(reference_t *cache, uint32_t user) {
    node_t *node = &cache->nodes[user];
    if (node->queue == QUEUE_A || node->queue == QUEUE_B) {
        if (node->count < 3) node->count++;
        return true;
    }
    bool was_ghost = node->queue == QUEUE_C;
    if (was_ghost) take(cache, user);
    while (cache->queues[QUEUE_A].length + cache->queues[QUEUE_B].length >= cache->capacity) s3_evict(cache);
    node->count = 0;
    push(cache, was_ghost ? QUEUE_B : QUEUE_A, user);
    return false;
}

/* ---- W-TinyLFU: A window, B probation, C protected ----------------------------------------------------------------- */

#define ROWS 4

static uint8_t *counter(reference_t *cache, uint32_t user, unsigned row) {
    uint64_t mixed = (user + 1) * (UINT64_C(0x9e3779b97f4a7c15) + 2 * row * UINT64_C(0xd6e8feb86659fd93));
    return cache->sketch + (size_t)row * (cache->sketch_mask + 1) + (mixed >> 40 & cache->sketch_mask);
}

static unsigned estimate(reference_t *cache, uint32_t user) {
    unsigned least = 15;
    for (unsigned row = 0; row < ROWS; row++) {
        unsigned value = *counter(cache, user, row);
        if (value < least) least = value;
    }
    return least;
}

static void sketch_add(reference_t *cache, uint32_t user) {
    for (unsigned row = 0; row < ROWS; row++) {
        uint8_t *value = counter(cache, user, row);
        if (*value < 15) (*value)++;
    }
    if (++cache->sketch_added < 10 * cache->capacity) return;
    cache->sketch_added = 0;
    for (size_t i = 0; i < (size_t)ROWS * (cache->sketch_mask + 1); i++) cache->sketch[i] /= 2;
}

static bool w_tinylfu(reference_t *cache, uint32_t user) {
    uint32_t window = cache->capacity / 100 > 0 ? cache->capacity / 100 : 1;
    uint32_t main_length = cache->capacity - window;
    uint32_t protected = main_length * 4 / 5;
    sketch_add(cache, user);
    unsigned queue = cache->nodes[user].queue;
    if (queue == QUEUE_B || queue == QUEUE_C) {
        move(cache, QUEUE_C, user);
        if (cache->queues[QUEUE_C].length > protected) move(cache, QUEUE_B, cache->queues[QUEUE_C].oldest);
        return true;
    }
    if (queue == QUEUE_A) {
        move(cache, QUEUE_A, user);
        return true;
    }
    push(cache, QUEUE_A, user);
    if (cache->queues[QUEUE_A].length > window) {
        uint32_t candidate = cache->queues[QUEUE_A].oldest;
        if (cache->queues[QUEUE_B].length + cache->queues[QUEUE_C].length < main_length) {
            move(cache, QUEUE_B, candidate);
        } else {
            unsigned from = cache->queues[QUEUE_B].length > 0 ? QUEUE_B : QUEUE_C;
            uint32_t victim = cache->queues[from].oldest;
            if (victim != NONE && estimate(cache, candidate) > estimate(cache, victim)) {
                take(cache, victim);
                move(cache, QUEUE_B, candidate);
            } else {
                take(cache, candidate);
            }
        }
    }
    return false;
}

/* ---- public -------------------------------------------------------------------------------------------------------- */

static void *zeroed(size_t count, size_t bytes) {
    void *memory = calloc(count, bytes);
    if (memory == NULL) {
        perror("policy_bench");
        exit(1);
    }
    return memory;
}

reference_t *reference_create(reference_kind_t kind, uint32_t capacity, uint32_t users) {
    reference_t *cache = zeroed(1, sizeof(*cache));
    cache->kind = kind;
    cache->capacity = capacity < 2 ? 2 : capacity;
    cache->nodes = zeroed(users, sizeof(*cache->nodes));
    for (unsigned i = 0; i < QUEUES; i++) cache->queues[i] = (queue_t){NONE, NONE, 0};
    cache->hand = NONE;
    cache->sketch_mask = 1;
    while (cache->sketch_mask < 8 * cache->capacity) cache->sketch_mask = cache->sketch_mask * 2 + 1;
    cache->sketch = zeroed(ROWS, cache->sketch_mask + 1);
    return cache;
}

void reference_destroy(reference_t *cache) {
    free(cache->nodes);
    free(cache->sketch);
    free(cache);
}

bool reference_request(reference_t *cache, uint32_t user) {
    switch (cache->kind) {
    case REFERENCE_SIEVE:
        return sieve(cache, user);
    case REFERENCE_S3_FIFO:
        return s3_fifo(cache, user);
    case REFERENCE_W_TINYLFU:
        return w_tinylfu(cache, user);
    case REFERENCE_LRU:
    default:
        return lru(cache, user);
    }
}
