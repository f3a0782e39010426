/*
 * Random tests: one generator, seeded from BOOKCART_SEED or the clock, the seed printed so that a failure can be
 * replayed. BOOKCART_ROUNDS scales their length; under a sanitizer they are ten times shorter by default.
 */
#ifndef CART_TESTS_SEEDED_H
#define CART_TESTS_SEEDED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cart/cart_types.h"

#if defined(__SANITIZE_ADDRESS__)
#define SEEDED_SLOWER 10
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SEEDED_SLOWER 10
#endif
#endif
#ifndef SEEDED_SLOWER
#define SEEDED_SLOWER 1
#endif

/* cmocka's failures leave by longjmp, so the state may as well be the program's. */
static uint64_t seeded_state;

static inline void seeded_start(const char *test) {
    const char *given = getenv("BOOKCART_SEED");
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail with this clock; any value is a seed */
    uint64_t seed =
        given != NULL ? strtoull(given, NULL, 0) : (uint64_t)now.tv_sec * 1000000007U + (uint64_t)now.tv_nsec;
    printf("%s: BOOKCART_SEED=%llu\n", test, (unsigned long long)seed);
    (void)fflush(stdout); /* so that the seed is there when the test crashes */
    seeded_state = seed;
}

/* splitmix64 */
static inline uint64_t seeded_u64(void) {
    uint64_t z = seeded_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0…n−1 */
static inline uint32_t seeded_below(uint32_t n) {
    return (uint32_t)((seeded_u64() >> 32) * n >> 32);
}
static inline bool seeded_chance(uint32_t one_in) {
    return seeded_below(one_in) == 0;
}

static inline cart_id_t seeded_id(void) {
    uint64_t words[2] = {seeded_u64(), seeded_u64() | 1};
    cart_id_t id;
    memcpy(id.bytes, words, sizeof(id.bytes));
    return id;
}

static inline unsigned long seeded_rounds(unsigned long usual) {
    const char *given = getenv("BOOKCART_ROUNDS");
    return given != NULL ? strtoul(given, NULL, 0) : usual / SEEDED_SLOWER;
}

/* Memory that ends where the next page cannot be touched: `bytes` behind `end − bytes` are usable. */
typedef struct {
    uint8_t *map;
    size_t map_bytes;
    uint8_t *end;
} seeded_guard_t;

static inline seeded_guard_t seeded_guard(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = (bytes + page - 1) / page * page;
    seeded_guard_t guard;
    guard.map_bytes = usable + page;
    guard.map = mmap(NULL, guard.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(guard.map != MAP_FAILED);
    guard.end = guard.map + usable;
    assert_int_equal(mprotect(guard.end, page, PROT_NONE), 0);
    return guard;
}

static inline void seeded_unguard(seeded_guard_t *guard) {
    assert_int_equal(munmap(guard->map, guard->map_bytes), 0);
}

/* Zeroed memory for arenas and tables, aligned like a zone. */
static inline void *seeded_map(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

/* A valid image with up to lines_max lines. */
static inline void seeded_image(cart_image_t *image, unsigned lines_max) {
    image->place.epoch = 1 + seeded_below(3);
    image->place.version = seeded_u64() >> (1 + seeded_below(63));
    image->base_version = image->place.version - (seeded_chance(2) ? 0 : seeded_u64() % (image->place.version + 1));
    image->state = (uint8_t)(seeded_chance(8) ? 1 + seeded_below(2) : CART_OPEN);
    image->line_count = (uint8_t)seeded_below(lines_max + 1);
    unsigned bits = 1 + seeded_below(46);
    for (unsigned i = 0; i < image->line_count; i++) {
        /* Unique: the low seven bits are the line's own. */
        image->lines[i].book = seeded_u64() >> (64 - bits) << 7 | (i + 1);
        image->lines[i].quantity = 1 + seeded_below(CART_QUANTITY_MAX);
    }
}

static inline void assert_images_equal(const cart_image_t *a, const cart_image_t *b) {
    assert_int_equal(a->place.epoch, b->place.epoch);
    assert_int_equal(a->place.version, b->place.version);
    assert_int_equal(a->base_version, b->base_version);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->line_count, b->line_count);
    for (unsigned i = 0; i < a->line_count; i++) {
        assert_int_equal(a->lines[i].book, b->lines[i].book);
        assert_int_equal(a->lines[i].quantity, b->lines[i].quantity);
    }
}

#endif
