/* A zone for tests: locks that count, that can be left behind by a "dead" process, and a clock of the test's own. */
#ifndef CART_TESTS_ZONE_FIXTURE_H
#define CART_TESTS_ZONE_FIXTURE_H

#include "unit/cart/seeded.h"

#include "cart/cart_zone.h"

typedef struct {
    uint32_t held;
    uint32_t abandoned; /* its holder died */
} fixture_lock_t;

static uint32_t fixture_dead_pid; /* the one process that does not live */

static inline void fixture_lock_init(void *context, void *lock) {
    (void)context;
    memset(lock, 0, sizeof(fixture_lock_t));
}

static inline cart_lock_result_t fixture_lock(void *context, void *lock) {
    (void)context;
    fixture_lock_t *mutex = lock;
    assert_false(mutex->held);
    mutex->held = 1;
    bool died = mutex->abandoned != 0;
    mutex->abandoned = 0;
    return died ? CART_LOCK_OWNER_DIED : CART_LOCK_OK;
}

static inline void fixture_unlock(void *context, void *lock) {
    (void)context;
    assert_true(((fixture_lock_t *)lock)->held);
    ((fixture_lock_t *)lock)->held = 0;
}

static inline bool fixture_alive(void *context, uint32_t pid, uint64_t started) {
    (void)context;
    (void)started;
    return pid != fixture_dead_pid;
}

/* Zeroed memory of `bytes`, a zone laid out in it. */
static inline cart_zone_t fixture_zone(size_t bytes, uint16_t shards, uint32_t stale_max_ms) {
    cart_zone_t zone;
    memset(&zone, 0, sizeof(zone));
    zone.locks = (cart_zone_locks_t){
        .init = fixture_lock_init, .lock = fixture_lock, .unlock = fixture_unlock, .alive = fixture_alive};
    cart_policy_defaults(&zone.config.policy);
    zone.config.shards = shards;
    zone.config.stale_max_ms = stale_max_ms;
    const cart_id_t incarnation = seeded_id();
    assert_null(cart_zone_config_check(&zone.config));
    assert_true(cart_zone_init(&zone, seeded_map(bytes), bytes, &incarnation, seeded_u64()));
    fixture_dead_pid = 0;
    return zone;
}

static inline void fixture_zone_free(cart_zone_t *zone, size_t bytes) {
    assert_true(cart_zone_check(zone));
    assert_int_equal(munmap(zone->memory, bytes), 0);
}

static inline cart_image_t fixture_image(uint64_t epoch, uint64_t version, uint64_t term, unsigned lines) {
    cart_image_t image;
    memset(&image, 0, sizeof(image));
    image.place = (cart_place_t){epoch, version};
    image.base_version = version - term;
    image.line_count = (uint8_t)lines;
    for (unsigned i = 0; i < lines; i++) image.lines[i] = (cart_line_t){.book = 1000 + i, .quantity = 1 + i % 99};
    return image;
}

#endif
