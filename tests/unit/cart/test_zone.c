/* The zone: what a seat shows and when, generations, vouches, slots, the lease, memory that runs short. */
#include "unit/cart/zone_fixture.h"

#include "cart/cart_zone_memory.h"

#define BYTES    (1 << 20)
#define STALE_MS 1000

static const cart_id_t service = {{9}};
static cart_zone_t zone;
static uint16_t slot;
static cart_image_t image;
static cart_seat_info_t info;
static cart_zone_gone_t gone[CART_ZONE_STEP_MAX];
static unsigned gone_count;

static int set_up(void **state) {
    (void)state;
    zone = fixture_zone(BYTES, 4, STALE_MS);
    assert_true(cart_zone_take_slot(&zone, 100, 1, &slot));
    (void)cart_zone_slot_connecting(&zone, slot); /* the number matters to other tests */
    cart_zone_slot_up(&zone, slot, &service, false, 1, 1000);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    fixture_zone_free(&zone, BYTES);
    return 0;
}

static uint64_t reserve(const cart_id_t *user, uint16_t for_slot, uint64_t now_ms) {
    uint64_t generation = 0;
    assert_int_equal(cart_zone_reserve(&zone, user, for_slot, now_ms, &generation, gone, &gone_count), CART_RESERVED);
    assert_true(generation > 0);
    return generation;
}

static void store(const cart_id_t *user, uint64_t generation, uint64_t version, uint64_t term) {
    const cart_image_t stored = fixture_image(1, version, term, 5);
    assert_true(cart_zone_store(&zone, user, generation, slot, &stored));
}

static cart_seat_found_t look(const cart_id_t *user, uint64_t now_ms) {
    return cart_zone_read(&zone, user, now_ms, true, &image, &info);
}

static void a_seat_is_reserved_then_filled_then_shown(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    assert_int_equal(look(&user, 1000), CART_SEAT_NONE);
    uint64_t generation = reserve(&user, slot, 1000);
    assert_int_equal(look(&user, 1000), CART_SEAT_EMPTY);
    assert_int_equal(info.generation, generation);
    const cart_image_t stored = fixture_image(1, 7, 3, 5);
    assert_true(cart_zone_store(&zone, &user, generation, slot, &stored));
    assert_int_equal(look(&user, 1000), CART_SEAT_HIT);
    assert_images_equal(&image, &stored);
    assert_int_equal(info.term, 3);
    cart_zone_drop(&zone, &user, generation + 1);
    assert_int_equal(look(&user, 1000), CART_SEAT_HIT);
    cart_zone_drop(&zone, &user, generation);
    assert_int_equal(look(&user, 1000), CART_SEAT_NONE);
}

static void an_image_of_another_generation_is_not_stored(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    const cart_image_t stored = fixture_image(1, 7, 0, 1);
    assert_false(cart_zone_store(&zone, &user, 0, slot, &stored));
    assert_false(cart_zone_store(&zone, &user, 1, slot, &stored));
    uint64_t generation = reserve(&user, slot, 1000);
    assert_false(cart_zone_store(&zone, &user, generation + 1, slot, &stored));
    assert_int_equal(look(&user, 1000), CART_SEAT_EMPTY);
    /* With a DONE it goes into whatever seat there is, and vouches for nothing. */
    assert_true(cart_zone_store(&zone, &user, 0, slot, &stored));
    assert_int_equal(look(&user, 1000), CART_SEAT_UNVOUCHED);
}

static void the_greater_place_wins_and_of_the_same_the_smaller_term(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    uint64_t generation = reserve(&user, slot, 1000);
    store(&user, generation, 7, 3);
    store(&user, generation, 6, 0);
    assert_int_equal(look(&user, 1000), CART_SEAT_HIT);
    assert_int_equal(image.place.version, 7);
    store(&user, generation, 7, 1);
    assert_int_equal(look(&user, 1000), CART_SEAT_HIT);
    assert_int_equal(info.term, 1);
    store(&user, generation, 7, 2);
    assert_int_equal(look(&user, 1000), CART_SEAT_HIT);
    assert_int_equal(info.term, 1);
    cart_image_t newer_epoch = fixture_image(2, 1, 0, 1);
    assert_true(cart_zone_store(&zone, &user, generation, slot, &newer_epoch));
    store(&user, generation, 9, 0);
    assert_int_equal(look(&user, 1000), CART_SEAT_HIT);
    assert_int_equal(image.place.epoch, 2);
}

static void a_lesser_cart_leaves_the_image_but_vouches(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    uint64_t generation = reserve(&user, slot, 1000);
    store(&user, 0, 8, 1);
    assert_int_equal(look(&user, 1000), CART_SEAT_UNVOUCHED);
    store(&user, generation, 7, 0);
    assert_int_equal(look(&user, 1000), CART_SEAT_HIT);
    assert_int_equal(image.place.version, 8);
}

static void an_image_of_an_older_epoch_vouches_for_nothing(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    uint64_t generation = reserve(&user, slot, 1000);
    cart_image_t newer_epoch = fixture_image(2, 1, 0, 1);
    assert_true(cart_zone_store(&zone, &user, 0, slot, &newer_epoch));
    store(&user, generation, 9, 0);
    assert_int_equal(look(&user, 1000), CART_SEAT_UNVOUCHED);
    assert_int_equal(image.place.epoch, 2);
}

static void a_seat_is_current_for_stale_max_after_the_last_ping_answered(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    store(&user, reserve(&user, slot, 1000), 7, 0);
    assert_int_equal(look(&user, 1000 + STALE_MS), CART_SEAT_HIT);
    assert_int_equal(look(&user, 1001 + STALE_MS), CART_SEAT_UNVOUCHED);
    cart_zone_slot_answered(&zone, slot, 1500);
    assert_int_equal(look(&user, 1500 + STALE_MS), CART_SEAT_HIT);
    cart_zone_slot_answered(&zone, slot, 1200); /* never back */
    assert_int_equal(look(&user, 1500 + STALE_MS), CART_SEAT_HIT);
    assert_int_equal(look(&user, 1501 + STALE_MS), CART_SEAT_UNVOUCHED);
}

static void a_gap_unvouches_and_a_resume_does_not(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    store(&user, reserve(&user, slot, 1000), 7, 0);
    cart_zone_slot_down(&zone, slot);
    assert_int_equal(look(&user, 1100), CART_SEAT_HIT);
    (void)cart_zone_slot_connecting(&zone, slot); /* a new link */
    cart_zone_slot_up(&zone, slot, &service, true, 1, 1900);
    assert_int_equal(look(&user, 1100), CART_SEAT_HIT);
    /* The greeting of a resumed link says nothing about PUSHes that still come. */
    assert_int_equal(look(&user, 1001 + STALE_MS), CART_SEAT_UNVOUCHED);
    (void)cart_zone_slot_connecting(&zone, slot); /* and another */
    cart_zone_slot_up(&zone, slot, &service, false, 5, 2000);
    assert_int_equal(look(&user, 2000), CART_SEAT_UNVOUCHED);
    cart_slot_t copy;
    cart_zone_slot(&zone, slot, &copy);
    assert_int_equal(copy.push_seen, 4);
    assert_int_equal(copy.answered_ms, 2000);
    store(&user, reserve(&user, slot, 2000), 7, 0);
    assert_int_equal(look(&user, 2000), CART_SEAT_HIT);
}

static void a_seat_keeps_its_generation_under_its_vouch_only(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    uint64_t first = reserve(&user, slot, 1000);
    assert_int_equal(reserve(&user, slot, 1000), first);
    store(&user, first, 7, 0);
    assert_int_equal(reserve(&user, slot, 1000), first);
    assert_int_equal(look(&user, 1000), CART_SEAT_HIT);
    uint16_t other;
    assert_true(cart_zone_take_slot(&zone, 101, 1, &other));
    cart_zone_slot_up(&zone, other, &service, false, 1, 1000);
    uint64_t second = reserve(&user, other, 1000);
    assert_true(second > first);
    assert_int_equal(look(&user, 1000), CART_SEAT_UNVOUCHED);
    cart_zone_slot_up(&zone, other, &service, false, 1, 1000);
    assert_true(reserve(&user, other, 1000) > second);
}

static void generations_survive_the_emptying_of_a_shard(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    uint64_t generation = reserve(&user, slot, 1000);
    store(&user, generation, 7, 2);
    for (unsigned i = 0; i < zone.memory->shards; i++) {
        uint8_t *shard = (uint8_t *)zone.memory + zone.memory->shard_first + i * zone.memory->shard_bytes;
        ((fixture_lock_t *)(void *)shard)->abandoned = 1;
        memset(shard + sizeof(cart_zone_shard_t), 0xa5, 30000); /* whatever it was writing */
    }
    assert_int_equal(look(&user, 1000), CART_SEAT_NONE);
    cart_zone_stats_t stats;
    cart_zone_stats(&zone, 1000, &stats);
    assert_int_equal(stats.emptied_shards, 4);
    assert_int_equal(stats.seats, 0);
    assert_int_equal(stats.dirty, 0);
    assert_true(reserve(&user, slot, 1000) > generation);
}

static void a_dead_workers_slot_is_taken_over_with_what_it_has_heard(void **state) {
    (void)state;
    cart_zone_slot_push_seen(&zone, slot, 5);
    uint64_t number = cart_zone_slot_connecting(&zone, slot);
    uint16_t other;
    assert_true(cart_zone_take_slot(&zone, 101, 1, &other));
    assert_int_not_equal(other, slot);
    fixture_dead_pid = 100;
    assert_true(cart_zone_take_slot(&zone, 102, 1, &other));
    assert_int_equal(other, slot); /* the one heard last, not one that was never used */
    cart_slot_t copy;
    cart_zone_slot(&zone, other, &copy);
    assert_int_equal(copy.pid, 102);
    assert_int_equal(copy.push_seen, 5);
    assert_true(cart_id_equal(&copy.service, &service));
    assert_false(copy.up);
    assert_true(cart_zone_slot_connecting(&zone, other) > number);
    /* The dead one's name gives nothing back. */
    cart_zone_give_slot(&zone, slot, 100, 1);
    cart_zone_slot(&zone, slot, &copy);
    assert_int_equal(copy.pid, 102);
    cart_zone_give_slot(&zone, slot, 102, 1);
    cart_zone_slot(&zone, slot, &copy);
    assert_int_equal(copy.pid, 0);
    assert_int_equal(copy.push_seen, 5);
}

static void a_slot_torn_by_a_death_forgets_what_it_has_heard(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    store(&user, reserve(&user, slot, 1000), 7, 0);
    ((fixture_lock_t *)(void *)zone.memory->slot[slot].lock)->abandoned = 1;
    cart_slot_t copy;
    cart_zone_slot(&zone, slot, &copy);
    assert_true(cart_id_is_none(&copy.service));
    assert_int_equal(look(&user, 1000), CART_SEAT_UNVOUCHED);
}

static void slots_run_out(void **state) {
    (void)state;
    uint16_t taken;
    for (unsigned i = 1; i < CART_ZONE_SLOTS_MAX; i++) assert_true(cart_zone_take_slot(&zone, 200 + i, 1, &taken));
    assert_false(cart_zone_take_slot(&zone, 999, 1, &taken));
}

static void one_slot_holds_the_lease(void **state) {
    (void)state;
    uint16_t holder;
    uint16_t other;
    assert_true(cart_zone_take_slot(&zone, 101, 1, &other));
    assert_false(cart_zone_lease_holder(&zone, &holder));
    assert_true(cart_zone_lease(&zone, slot, 1000, 100));
    assert_false(cart_zone_lease(&zone, other, 1050, 100));
    assert_true(cart_zone_lease(&zone, slot, 1050, 100));
    assert_false(cart_zone_lease(&zone, other, 1149, 100));
    assert_true(cart_zone_lease(&zone, other, 1150, 100));
    assert_false(cart_zone_lease(&zone, slot, 1150, 100));
    assert_true(cart_zone_lease_holder(&zone, &holder));
    assert_int_equal(holder, other);
    cart_zone_slot_down(&zone, other); /* a lost link gives it away at once */
    assert_true(cart_zone_lease(&zone, slot, 1151, 100));
    uint64_t books_ms, revocations_ms;
    cart_zone_feeds_heard(&zone, true, false, 900);
    cart_zone_feeds_heard(&zone, true, true, 800);
    cart_zone_feeds_at(&zone, &books_ms, &revocations_ms);
    assert_int_equal(books_ms, 900);
    assert_int_equal(revocations_ms, 800);
}

static void a_second_request_within_the_notes_life_earns_a_seat(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    assert_false(cart_zone_note(&zone, &user, 1000));
    assert_true(cart_zone_note(&zone, &user, 2000));
    assert_false(cart_zone_note(&zone, &user, 3000));
    assert_false(cart_zone_note(&zone, &user, 3000 + 1000 * (zone.config.policy.note_ttl_s + 2)));
}

static void marks_stay_with_their_generation(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    uint64_t generation = reserve(&user, slot, 1000);
    store(&user, generation, 7, 0);
    cart_zone_mark_shown(&zone, &user, generation, 42);
    assert_int_equal(look(&user, 1000), CART_SEAT_HIT);
    assert_int_equal(info.shown, 42);
    cart_zone_mark_shown(&zone, &user, generation + 1, 43);
    assert_int_equal(look(&user, 1000), CART_SEAT_HIT);
    assert_int_equal(info.shown, 42);
}

static void seats_end_with_their_ttl(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    uint64_t generation = reserve(&user, slot, 1000);
    store(&user, generation, 7, 2);
    uint64_t later_ms = 1000 + 1000 * ((uint64_t)zone.config.policy.active_ttl_s + zone.config.policy.calm_ttl_s + 5);
    unsigned found = 0;
    for (unsigned i = 0; i < 4 * zone.memory->shards && found == 0; i++) {
        cart_zone_step(&zone, later_ms, gone, &gone_count);
        for (unsigned n = 0; n < gone_count; n++) {
            assert_true(cart_id_equal(&gone[n].user, &user));
            assert_int_equal(gone[n].generation, generation);
            assert_int_equal(gone[n].term, 2);
            assert_int_equal(gone[n].slot, slot);
            found++;
        }
    }
    assert_int_equal(found, 1);
    assert_int_equal(look(&user, later_ms), CART_SEAT_NONE);
}

/* Many more users than there is room for: every seat that went is told, none silently; clean ones go before dirty ones. */
static void memory_that_runs_short_is_cleared_and_told(void **state) {
    (void)state;
    const unsigned users = 30000;
    unsigned full = 0;
    uint64_t told = 0;
    for (unsigned i = 0; i < users; i++) {
        const cart_id_t user = seeded_id();
        uint64_t generation;
        cart_reserve_t result = cart_zone_reserve(&zone, &user, slot, 1000, &generation, gone, &gone_count);
        assert_true(gone_count <= CART_ZONE_STEP_MAX);
        told += gone_count;
        if (result == CART_RESERVE_FULL) {
            full++;
            continue;
        }
        const cart_image_t stored = fixture_image(1, 7, i % 4 == 0 ? 1 : 0, 5);
        if (!cart_zone_store(&zone, &user, generation, slot, &stored)) told++; /* no room: the seat went with it */
    }
    cart_zone_stats_t stats;
    cart_zone_stats(&zone, 1000, &stats);
    assert_true(told > 0);
    assert_int_equal(stats.seats + told + full, users);
    assert_int_equal(stats.cleared_phase1 + stats.cleared_phase2 + stats.cleared_ttl, told);
    assert_true(stats.cleared_phase1 > 0);
    assert_true(stats.bytes_touched <= stats.bytes_total);
    assert_int_equal(stats.reserve_full, full);
    assert_true(cart_zone_check(&zone));
}

/* An image that cannot grow for want of memory takes its seat away: it must not show less than was answered. */
static void an_image_without_room_takes_its_seat_away(void **state) {
    (void)state;
    enum { USERS = 12000 };
    static cart_id_t users[USERS];
    static uint64_t generations[USERS];
    unsigned lost = 0;
    zone.config.policy.high_water_permille = 1000;
    zone.config.policy.low_water_permille = 999;
    for (unsigned i = 0; i < USERS; i++) {
        users[i] = seeded_id();
        uint64_t generation = 0;
        if (cart_zone_reserve(&zone, &users[i], slot, 1000, &generation, gone, &gone_count) == CART_RESERVED) {
            const cart_image_t small = fixture_image(1, 1, 1, 1);
            (void)cart_zone_store(&zone, &users[i], generation, slot, &small); /* may find no room already */
        }
        generations[i] = generation;
    }
    for (unsigned i = 0; i < USERS; i++) {
        cart_seat_found_t before = look(&users[i], 1000);
        if (before != CART_SEAT_HIT || info.generation != generations[i]) continue;
        const cart_image_t large = fixture_image(1, 2, 1, CART_LINES_MAX);
        bool stored = cart_zone_store(&zone, &users[i], 0, slot, &large);
        cart_seat_found_t after = look(&users[i], 1000);
        if (stored) {
            assert_int_equal(after, CART_SEAT_HIT);
            assert_int_equal(image.place.version, 2);
        } else {
            assert_int_equal(after, CART_SEAT_NONE);
            lost++;
        }
    }
    assert_true(lost > 0);
}

static void a_zone_is_found_again_only_as_it_was_laid_out(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    store(&user, reserve(&user, slot, 1000), 7, 0);
    void *memory = zone.memory;
    cart_zone_t again = zone;
    again.memory = NULL;
    assert_false(cart_zone_attach(&again, memory, BYTES - 4096));
    again.config.shards = 8;
    assert_false(cart_zone_attach(&again, memory, BYTES));
    again.config.shards = 4;
    assert_true(cart_zone_attach(&again, memory, BYTES));
    assert_true(cart_id_equal(cart_zone_incarnation(&again), cart_zone_incarnation(&zone)));
    assert_int_equal(cart_zone_read(&again, &user, 1000, false, &image, &info), CART_SEAT_HIT);
    uint8_t *other = seeded_map(BYTES);
    assert_false(cart_zone_attach(&again, other, BYTES));
    assert_int_equal(munmap(other, BYTES), 0);
}

static void nonsense_is_refused(void **state) {
    (void)state;
    cart_zone_config_t config = zone.config;
    config.shards = 3;
    assert_non_null(cart_zone_config_check(&config));
    config.shards = 128;
    assert_non_null(cart_zone_config_check(&config));
    config = zone.config;
    config.stale_max_ms = 0;
    assert_non_null(cart_zone_config_check(&config));
    cart_zone_t small = zone;
    const cart_id_t incarnation = seeded_id();
    uint8_t *memory = seeded_map(BYTES);
    assert_false(cart_zone_init(&small, memory, cart_zone_bytes_min(&zone.config) - 1, &incarnation, 1));
    assert_false(cart_zone_init(&small, memory + 16, BYTES / 2, &incarnation, 1));
    assert_true(cart_zone_init(&small, memory, cart_zone_bytes_min(&zone.config), &incarnation, 1));
    assert_int_equal(munmap(memory, BYTES), 0);
}

#define IN_A_ZONE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    seeded_start("zone");
    const struct CMUnitTest tests[] = {
        IN_A_ZONE(a_seat_is_reserved_then_filled_then_shown),
        IN_A_ZONE(an_image_of_another_generation_is_not_stored),
        IN_A_ZONE(the_greater_place_wins_and_of_the_same_the_smaller_term),
        IN_A_ZONE(a_lesser_cart_leaves_the_image_but_vouches),
        IN_A_ZONE(an_image_of_an_older_epoch_vouches_for_nothing),
        IN_A_ZONE(a_seat_is_current_for_stale_max_after_the_last_ping_answered),
        IN_A_ZONE(a_gap_unvouches_and_a_resume_does_not),
        IN_A_ZONE(a_seat_keeps_its_generation_under_its_vouch_only),
        IN_A_ZONE(generations_survive_the_emptying_of_a_shard),
        IN_A_ZONE(a_dead_workers_slot_is_taken_over_with_what_it_has_heard),
        IN_A_ZONE(a_slot_torn_by_a_death_forgets_what_it_has_heard),
        IN_A_ZONE(slots_run_out),
        IN_A_ZONE(one_slot_holds_the_lease),
        IN_A_ZONE(a_second_request_within_the_notes_life_earns_a_seat),
        IN_A_ZONE(marks_stay_with_their_generation),
        IN_A_ZONE(seats_end_with_their_ttl),
        IN_A_ZONE(memory_that_runs_short_is_cleared_and_told),
        IN_A_ZONE(an_image_without_room_takes_its_seat_away),
        IN_A_ZONE(a_zone_is_found_again_only_as_it_was_laid_out),
        IN_A_ZONE(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
