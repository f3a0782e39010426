/*
 * What the edge's tests share: inputs that end at an unreadable page, locks, records of books, keys that sign tokens.
 */
#ifndef EDGE_TEST_H
#define EDGE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>

#include "cart/cart_worker.h"
#include "cart/cart_zone.h"

/* ---- inputs before a guard page: a read one byte too far ends the test ----------------------------------------------- */
typedef struct {
    char *pages, *guard;
    size_t bytes;
} guard_t;

static inline void guard_open(guard_t *guard, size_t bytes_max) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guard->bytes = (bytes_max + page - 1) / page * page + page;
    guard->pages = mmap(NULL, guard->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(guard->pages != MAP_FAILED);
    guard->guard = guard->pages + guard->bytes - page;
    assert_int_equal(mprotect(guard->guard, page, PROT_NONE), 0);
}

static inline char *guard_put(const guard_t *guard, const void *bytes, size_t length) {
    char *at = guard->guard - length;
    assert_true(at >= guard->pages);
    memcpy(at, bytes, length);
    return at;
}

static inline void guard_close(guard_t *guard) {
    assert_int_equal(munmap(guard->pages, guard->bytes), 0);
}

/* ---- robust process-shared mutexes, as the module has them ------------------------------------------------------------ */
static inline void test_lock_init(void *context, void *lock) {
    pthread_mutexattr_t attributes;
    (void)context;
    assert_int_equal(pthread_mutexattr_init(&attributes), 0);
    assert_int_equal(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
    assert_int_equal(pthread_mutex_init(lock, &attributes), 0);
}

static inline cart_lock_result_t test_lock(void *context, void *lock) {
    (void)context;
    int result = pthread_mutex_lock(lock);
    if (result == 0) return CART_LOCK_OK;
    assert_int_equal(result, EOWNERDEAD);
    assert_int_equal(pthread_mutex_consistent(lock), 0);
    return CART_LOCK_OWNER_DIED;
}

static inline void test_unlock(void *context, void *lock) {
    (void)context;
    assert_int_equal(pthread_mutex_unlock(lock), 0);
}

static inline bool test_alive(void *context, uint32_t pid, uint64_t started) {
    (void)context;
    (void)pid;
    (void)started;
    return true;
}

#define TEST_LOCKS                                                                                                     \
    { NULL, test_lock_init, test_lock, test_unlock, test_alive }

static inline void *test_shared(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

/* ---- books ------------------------------------------------------------------------------------------------------------ */
static inline cart_book_record_t test_book(uint64_t id, uint64_t position, uint64_t price, uint32_t available,
                                           const char *title) {
    cart_book_record_t record = {.book = id,
                                 .position = position,
                                 .price_minor = price,
                                 .available = available,
                                 .availability = available == 0  ? CART_OUT_OF_STOCK
                                                 : available < 5 ? CART_LOW_STOCK
                                                                 : CART_IN_STOCK,
                                 .state = CART_BOOK_LIVE,
                                 .author_count = 1,
                                 .title_length = (uint16_t)strlen(title),
                                 .title = title};
    record.authors[0] = "Jane Austen";
    record.author_lengths[0] = 11;
    return record;
}

/* ---- random numbers that can be had again ------------------------------------------------------------------------------ */
static inline uint64_t test_seed(void) {
    const char *given = getenv("BOOKCART_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)getpid() * UINT64_C(0x9e3779b97f4a7c15);
    printf("BOOKCART_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static inline uint64_t test_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

#endif
