#include "seeded.h"

#include "cart/cart_policy.h"

#define T0 1790000000U

/* The owner of a test: a cart is clean, dirty or in use as its flags say. */
#define IS_DIRTY 1
#define IS_BUSY  2

typedef struct {
    cart_table_t *table;
    bool is_engine; /* phase 2 asks for a sync instead of releasing */
    unsigned asked; /* may_go calls since the last step began */
    unsigned gone[3];
    unsigned wanted, moved;
    unsigned clean_at_phase_2; /* entries that phase 1 could have taken when phase 2 began to act */
    bool check_phases;
    cart_may_go_t last;
    const cart_entry_t *last_entry;
} owner_t;

static cart_may_go_t may_go(void *context, const cart_entry_t *entry) {
    owner_t *owner = context;
    owner->asked++;
    owner->last_entry = entry;
    owner->last = entry->flags & IS_BUSY    ? CART_MAY_NOT_GO
                  : entry->flags & IS_DIRTY ? CART_MAY_GO_DIRTY
                                            : CART_MAY_GO_CLEAN;
    return owner->last;
}

static void count_clean(owner_t *owner) {
    if (!owner->check_phases) return;
    for (cart_entry_t *entry = cart_table_older_first(owner->table, NULL); entry != NULL;
         entry = cart_table_older_first(owner->table, entry)) {
        if (entry->flags == 0) owner->clean_at_phase_2++;
    }
}

static void going(void *context, cart_entry_t *entry, unsigned phase) {
    owner_t *owner = context;
    /* Whoever goes was asked about just now, and did not say no. */
    assert_ptr_equal(owner->last_entry, entry);
    assert_int_not_equal(owner->last, CART_MAY_NOT_GO);
    if (phase == 1) assert_int_equal(owner->last, CART_MAY_GO_CLEAN);
    if (owner->is_engine) assert_int_equal(owner->last, CART_MAY_GO_CLEAN);
    if (phase == 2) count_clean(owner);
    owner->gone[phase]++;
}

static void wanted(void *context, cart_entry_t *entry) {
    owner_t *owner = context;
    assert_int_equal(entry->flags, IS_DIRTY);
    count_clean(owner);
    owner->wanted++;
}

static void moved(void *context, const cart_entry_t *from, cart_entry_t *to) {
    owner_t *owner = context;
    assert_ptr_not_equal(from, to);
    assert_ptr_equal(cart_table_find(owner->table, &to->user), to);
    owner->moved++;
}

typedef struct {
    void *memory;
    size_t bytes;
    cart_table_t *table;
    cart_policy_t policy;
    cart_clearance_t clearance;
    owner_t owner;
    cart_policy_owner_t calls;
    uint32_t now_s;
} bench_t;

static bench_t begin(size_t bytes, bool is_engine, unsigned order) {
    bench_t bench;
    memset(&bench, 0, sizeof(bench));
    bench.bytes = bytes;
    bench.memory = seeded_map(bytes);
    bench.table = cart_table_init(bench.memory, bytes, 16, 100, seeded_u64());
    assert_non_null(bench.table);
    cart_policy_defaults(&bench.policy);
    bench.policy.order = (uint8_t)order;
    assert_null(cart_policy_check(&bench.policy));
    bench.owner.table = bench.table;
    bench.owner.is_engine = is_engine;
    bench.now_s = T0;
    return bench;
}

static void end(bench_t *bench) {
    assert_int_equal(munmap(bench->memory, bench->bytes), 0);
}

static unsigned step(bench_t *bench, unsigned budget) {
    bench->calls = (cart_policy_owner_t){.context = &bench->owner,
                                         .may_go = may_go,
                                         .going = going,
                                         .wanted = bench->owner.is_engine ? wanted : NULL,
                                         .moved = bench->calls.moved};
    uint32_t before = cart_table_count(bench->table);
    bench->owner.asked = 0;
    unsigned removed =
        cart_policy_step(&bench->policy, bench->table, &bench->clearance, &bench->calls, bench->now_s, budget);
    assert_true(bench->owner.asked <= budget);
    assert_true(removed <= budget);
    assert_int_equal(before - cart_table_count(bench->table), removed);
    return removed;
}

static cart_entry_t *seat(bench_t *bench, unsigned touches, uint8_t flags, size_t image_length) {
    static const uint8_t image[4000];
    cart_id_t user = seeded_id();
    cart_entry_t *entry = cart_table_insert(bench->table, &user);
    if (entry == NULL) return NULL;
    if (!cart_table_set_image(bench->table, entry, image, image_length)) {
        cart_table_remove(bench->table, entry);
        return NULL;
    }
    entry->flags = flags;
    for (unsigned i = 0; i < touches; i++) cart_policy_touch(&bench->policy, bench->table, entry, bench->now_s);
    return entry;
}

static size_t live_bytes(bench_t *bench) {
    cart_arena_usage_t usage;
    cart_arena_usage(cart_table_arena(bench->table), &usage);
    assert_true(usage.used_bytes <= usage.capacity_bytes);
    return usage.live_bytes;
}

static size_t mark(bench_t *bench, unsigned permille) {
    return cart_arena_largest(cart_table_arena(bench->table)) / 1000 * permille;
}

static unsigned count_flags(bench_t *bench, uint8_t flags) {
    unsigned count = 0;
    for (cart_entry_t *entry = cart_table_older_first(bench->table, NULL); entry != NULL;
         entry = cart_table_older_first(bench->table, entry)) {
        if (entry->flags == flags) count++;
    }
    return count;
}

/* ---- settings, heat, notes ----------------------------------------------------------------------------------------- */

static void names_the_setting_that_is_wrong(void **state) {
    (void)state;
    cart_policy_t policy;
#define WRONG(statement, name)                                                                                         \
    do {                                                                                                               \
        cart_policy_defaults(&policy);                                                                                 \
        assert_null(cart_policy_check(&policy));                                                                       \
        statement;                                                                                                     \
        const char *why = cart_policy_check(&policy);                                                                  \
        assert_non_null(why);                                                                                          \
        assert_non_null(strstr(why, name));                                                                            \
    } while (0)
    WRONG(policy.note_ttl_s = 0, "note_ttl");
    WRONG(policy.calm_ttl_s = 0, "calm_ttl");
    WRONG(policy.active_ttl_s = policy.calm_ttl_s - 1, "active_ttl");
    WRONG(policy.heat_halflife_s = 0, "heat_halflife");
    WRONG(policy.active_heat = 0, "active_heat");
    WRONG(policy.high_water_permille = 1001, "high_water");
    WRONG(policy.low_water_permille = 0, "low_water");
    WRONG(policy.low_water_permille = policy.high_water_permille, "low_water");
    WRONG(policy.order = 2, "order");
#undef WRONG
}

static void heat_halves_and_makes_active(void **state) {
    (void)state;
    bench_t bench = begin(256 * 1024, false, CART_POLICY_SIEVE);
    cart_entry_t *entry = seat(&bench, 3, 0, 20);
    assert_int_equal(cart_policy_heat(&bench.policy, entry, T0), 3 * 256);
    assert_false(cart_policy_is_active(&bench.policy, entry, T0));
    cart_policy_touch(&bench.policy, bench.table, entry, T0);
    assert_true(cart_policy_is_active(&bench.policy, entry, T0));
    assert_false(cart_policy_is_active(&bench.policy, entry, T0 + 1));
    assert_int_equal(cart_policy_heat(&bench.policy, entry, T0 + 60), 2 * 256);
    assert_int_equal(cart_policy_heat(&bench.policy, entry, T0 + 120), 256);
    assert_int_equal(cart_policy_heat(&bench.policy, entry, T0 - 500), 4 * 256); /* a clock set back heats nobody */
    assert_int_equal(cart_policy_heat(&bench.policy, entry, UINT32_MAX), 0);
    uint16_t last = UINT16_MAX;
    for (uint32_t age_s = 0; age_s < 2000; age_s++) {
        uint16_t heat = cart_policy_heat(&bench.policy, entry, T0 + age_s);
        assert_true(heat <= last);
        last = heat;
    }
    for (unsigned i = 0; i < 1000; i++) cart_policy_touch(&bench.policy, bench.table, entry, T0);
    assert_int_equal(entry->heat, UINT16_MAX); /* it saturates */
    end(&bench);
}

static void the_ttl_is_restarted_and_longer_for_who_was_active(void **state) {
    (void)state;
    bench_t bench = begin(256 * 1024, false, CART_POLICY_SIEVE);
    cart_entry_t *calm = seat(&bench, 1, 0, 20);
    cart_entry_t *active = seat(&bench, 5, 0, 20);
    assert_false(cart_policy_is_expired(&bench.policy, calm, T0 + 599));
    assert_true(cart_policy_is_expired(&bench.policy, calm, T0 + 600));
    assert_false(cart_policy_is_expired(&bench.policy, active, T0 + 3599));
    assert_true(cart_policy_is_expired(&bench.policy, active, T0 + 3600));
    cart_policy_touch(&bench.policy, bench.table, calm, T0 + 500);
    assert_false(cart_policy_is_expired(&bench.policy, calm, T0 + 1099));
    end(&bench);
}

static void the_second_request_within_the_notes_life_earns_a_seat(void **state) {
    (void)state;
    seeded_start(__func__);
    cart_policy_t policy;
    cart_policy_defaults(&policy);
    static cart_note_t notes[1024];
    memset(notes, 0, sizeof(notes));
    cart_id_t user = seeded_id();
    assert_false(cart_policy_note(&policy, notes, 1024, &user, T0));
    assert_true(cart_policy_note(&policy, notes, 1024, &user, T0 + 60));
    assert_false(cart_policy_note(&policy, notes, 1024, &user, T0 + 60)); /* taken away with the seat */
    assert_false(cart_policy_note(&policy, notes, 1024, &user, T0 + 121));
    assert_true(cart_policy_note(&policy, notes, 1024, &user, T0 + 122));
    assert_true(cart_policy_note(&policy, NULL, 0, &user, T0));
    /* Any number of users in any number of notes: bounded, and who comes at once again is mostly still there. */
    for (unsigned count = 1; count <= 1024; count = count * 3 + 1) {
        unsigned earned = 0;
        for (unsigned i = 0; i < 1000; i++) {
            user = seeded_id();
            if (cart_policy_note(&policy, notes, count, &user, T0 + 1000 + i)) continue;
            earned += cart_policy_note(&policy, notes, count, &user, T0 + 1000 + i);
        }
        assert_true(earned > 990);
    }
}

/* ---- clearance ----------------------------------------------------------------------------------------------------- */

static void fill(bench_t *bench, unsigned active_in, unsigned dirty_in, unsigned busy_in) {
    while (live_bytes(bench) <= mark(bench, bench->policy.high_water_permille)) {
        uint8_t flags = busy_in > 0 && seeded_chance(busy_in)     ? IS_BUSY
                        : dirty_in > 0 && seeded_chance(dirty_in) ? IS_DIRTY
                                                                  : 0;
        unsigned touches = active_in > 0 && seeded_chance(active_in) ? 6 + seeded_below(20) : 1 + seeded_below(2);
        assert_non_null(seat(bench, touches, flags, 1 + seeded_below(60)));
    }
}

static void clear_down(bench_t *bench) {
    for (unsigned i = 0; i < 100000 && bench->clearance.stuck == 0; i++) {
        (void)step(bench, 64);
        if (bench->clearance.phase == 0) break;
    }
}

static void nothing_goes_below_the_high_water_mark(void **state) {
    (void)state;
    bench_t bench = begin(512 * 1024, false, CART_POLICY_SIEVE);
    while (live_bytes(&bench) < mark(&bench, 890)) assert_non_null(seat(&bench, 1, 0, 20));
    for (unsigned i = 0; i < 1000; i++) assert_int_equal(step(&bench, 64), 0);
    end(&bench);
}

static void clears_to_the_low_water_mark_and_no_further(void **state) {
    (void)state;
    seeded_start(__func__);
    for (unsigned order = CART_POLICY_SIEVE; order <= CART_POLICY_LRU; order++) {
        bench_t bench = begin(1024 * 1024, false, order);
        fill(&bench, 5, 3, 10);
        assert_true(cart_policy_over_high_water(&bench.policy, bench.table));
        clear_down(&bench);
        assert_true(live_bytes(&bench) <= mark(&bench, 850));
        assert_true(live_bytes(&bench) > mark(&bench, 849));
        assert_int_equal(bench.owner.gone[0], 0);
        assert_int_equal(bench.owner.gone[2], 0);
        assert_true(cart_table_check(bench.table));
        end(&bench);
    }
}

static void calm_carts_go_before_active_ones(void **state) {
    (void)state;
    seeded_start(__func__);
    for (unsigned order = CART_POLICY_SIEVE; order <= CART_POLICY_LRU; order++) {
        bench_t bench = begin(1024 * 1024, false, order);
        fill(&bench, 2, 0, 0);
        unsigned active = 0;
        for (cart_entry_t *entry = cart_table_older_first(bench.table, NULL); entry != NULL;
             entry = cart_table_older_first(bench.table, entry)) {
            active += cart_policy_is_active(&bench.policy, entry, T0);
        }
        clear_down(&bench);
        unsigned active_after = 0;
        for (cart_entry_t *entry = cart_table_older_first(bench.table, NULL); entry != NULL;
             entry = cart_table_older_first(bench.table, entry)) {
            active_after += cart_policy_is_active(&bench.policy, entry, T0);
        }
        assert_int_equal(active, active_after);
        assert_true(bench.owner.gone[1] > 0);
        end(&bench);
    }
}

static void active_carts_go_when_calm_ones_were_not_enough(void **state) {
    (void)state;
    seeded_start(__func__);
    bench_t bench = begin(1024 * 1024, false, CART_POLICY_SIEVE);
    fill(&bench, 1, 0, 0); /* all are active */
    clear_down(&bench);
    assert_true(live_bytes(&bench) <= mark(&bench, 850));
    assert_true(bench.owner.gone[1] > 0);
    assert_int_equal(bench.owner.gone[2], 0);
    end(&bench);
}

static void phase_2_comes_only_after_phase_1_and_takes_the_least_active(void **state) {
    (void)state;
    seeded_start(__func__);
    bench_t bench = begin(1024 * 1024, false, CART_POLICY_SIEVE);
    /* One in fifty is clean: not enough. Of the dirty ones half are active. */
    while (live_bytes(&bench) <= mark(&bench, 900)) {
        assert_non_null(seat(&bench, seeded_chance(2) ? 20 : 1, seeded_chance(50) ? 0 : IS_DIRTY, 20));
    }
    bench.owner.check_phases = true;
    clear_down(&bench);
    assert_true(live_bytes(&bench) <= mark(&bench, 850));
    assert_true(bench.owner.gone[1] > 0);
    assert_true(bench.owner.gone[2] > 0);
    assert_int_equal(bench.owner.clean_at_phase_2, 0);
    for (cart_entry_t *entry = cart_table_older_first(bench.table, NULL); entry != NULL;
         entry = cart_table_older_first(bench.table, entry)) {
        if (entry->heat >= 20 * 256) bench.owner.wanted++; /* counts who is still there */
    }
    assert_true(bench.owner.wanted > cart_table_count(bench.table) / 2); /* only calm ones went */
    end(&bench);
}

static void in_the_engine_phase_2_asks_and_frees_only_what_was_confirmed(void **state) {
    (void)state;
    seeded_start(__func__);
    bench_t bench = begin(1024 * 1024, true, CART_POLICY_SIEVE);
    fill(&bench, 5, 1, 0);
    unsigned all = cart_table_count(bench.table);
    bench.owner.check_phases = true;
    clear_down(&bench);
    assert_int_equal(cart_table_count(bench.table), all);
    assert_true(bench.owner.wanted > 0);
    assert_true(bench.owner.wanted < all / 8); /* about what has to go: a twentieth */
    assert_int_equal(bench.clearance.stuck, 1);
    assert_int_equal(bench.owner.clean_at_phase_2, 0);
    /* The base confirms some of them. */
    unsigned confirmed = 0;
    for (cart_entry_t *entry = cart_table_older_first(bench.table, NULL); entry != NULL && confirmed < all / 10;
         entry = cart_table_older_first(bench.table, entry), confirmed++) {
        entry->flags = 0;
    }
    for (unsigned i = 0; i < 10000 && live_bytes(&bench) > mark(&bench, 850); i++) (void)step(&bench, 64);
    assert_true(live_bytes(&bench) <= mark(&bench, 850));
    assert_int_equal(bench.clearance.stuck, 0);
    assert_int_equal(bench.owner.gone[2], 0);
    end(&bench);
}

static void says_stuck_when_nothing_may_go(void **state) {
    (void)state;
    seeded_start(__func__);
    bench_t bench = begin(512 * 1024, false, CART_POLICY_SIEVE);
    fill(&bench, 3, 0, 1);
    unsigned all = cart_table_count(bench.table);
    for (unsigned i = 0; i < 100000 && !bench.clearance.stuck; i++) assert_int_equal(step(&bench, 64), 0);
    assert_int_equal(bench.clearance.stuck, 1);
    assert_int_equal(cart_table_count(bench.table), all);
    /* It goes on trying, and recovers by itself. */
    for (cart_entry_t *entry = cart_table_older_first(bench.table, NULL); entry != NULL;
         entry = cart_table_older_first(bench.table, entry)) {
        entry->flags = 0;
    }
    for (unsigned i = 0; i < 10000 && live_bytes(&bench) > mark(&bench, 850); i++) (void)step(&bench, 64);
    assert_int_equal(bench.clearance.stuck, 0);
    assert_true(live_bytes(&bench) <= mark(&bench, 850));
    end(&bench);
}

static void no_entry_stays_for_ever(void **state) {
    (void)state;
    seeded_start(__func__);
    bench_t bench = begin(1024 * 1024, false, CART_POLICY_SIEVE);
    fill(&bench, 3, 3, 0);
    clear_down(&bench);
    unsigned all = cart_table_count(bench.table);
    bench.now_s = T0 + 3600;
    for (unsigned i = 0; i < all / 32 + 2; i++) (void)step(&bench, 32);
    assert_int_equal(cart_table_count(bench.table), 0);
    assert_true(bench.owner.gone[0] >= all / 2);
    assert_int_equal(live_bytes(&bench), 0);
    end(&bench);
}

/* Under steady pressure of new users the TTL still comes round: nobody idle is there long after his time. */
static void the_ttl_comes_round_under_pressure(void **state) {
    (void)state;
    seeded_start(__func__);
    bench_t bench = begin(512 * 1024, false, CART_POLICY_SIEVE);
    fill(&bench, 1, 1, 0); /* dirty and active: clearance would take new ones first */
    for (unsigned i = 0; i < 3600 * 2; i++) {
        bench.now_s++;
        for (unsigned j = 0; j < 20; j++) {
            (void)step(&bench, 16);
            (void)seat(&bench, 1, 0, 20);
        }
    }
    for (cart_entry_t *entry = cart_table_older_first(bench.table, NULL); entry != NULL;
         entry = cart_table_older_first(bench.table, entry)) {
        assert_true(bench.now_s - entry->touched_s < 3600 + 600);
    }
    end(&bench);
}

/* Carts of one size fill the memory, then all of them change to another. Without moving blocks together nearly all
 * would have to be given up before a page comes free. */
static void a_change_of_sizes_costs_few_seats(void **state) {
    (void)state;
    seeded_start(__func__);
    for (unsigned round = 0; round < 2; round++) {
        bench_t bench = begin(4 * 1024 * 1024, false, CART_POLICY_SIEVE);
        bench.calls.moved = round == 0 ? NULL : moved;
        static const uint8_t image[200];
        fill(&bench, 0, 0, 0);
        clear_down(&bench);
        unsigned all = cart_table_count(bench.table);
        unsigned refused = 0;
        size_t lowest = SIZE_MAX;
        for (unsigned i = 0; i < 200000; i++) {
            cart_entry_t *entry = cart_table_hand(bench.table, CART_HAND_CLEAR);
            for (unsigned skip = seeded_below(8); skip > 0; skip--)
                entry = cart_table_hand(bench.table, CART_HAND_CLEAR);
            cart_id_t user = entry->user;
            bool fits = cart_table_set_image(bench.table, entry, image, 120);
            for (unsigned tries = 0; !fits && tries < 16; tries++) {
                (void)step(&bench, 64);
                entry = cart_table_find(bench.table, &user);
                if (entry == NULL) break;
                fits = cart_table_set_image(bench.table, entry, image, 120);
            }
            if (!fits && entry != NULL) refused++;
            if (live_bytes(&bench) < lowest) lowest = live_bytes(&bench);
            (void)step(&bench, 16);
            if (seeded_chance(4)) (void)seat(&bench, 1, 0, 120);
        }
        assert_true(cart_table_check(bench.table));
        printf("%s entries moved: %u seats before, %u after (of twice the size), %u changes refused, live bytes never "
               "below %zu permille\n",
               round == 0 ? "without" : "with", all, cart_table_count(bench.table), refused,
               lowest * 1000 / cart_arena_largest(cart_table_arena(bench.table)));
        assert_true(lowest > mark(&bench, round == 0 ? 400 : 700));
        assert_true(bench.clearance.moved > 0);
        end(&bench);
    }
}

static void a_large_block_gets_its_run_of_pages(void **state) {
    (void)state;
    seeded_start(__func__);
    bench_t bench = begin(4 * 1024 * 1024, false, CART_POLICY_SIEVE);
    bench.calls.moved = moved;
    fill(&bench, 0, 0, 0);
    for (unsigned i = 0; i < 30; i++) {
        cart_ref_t ref = cart_arena_alloc(cart_table_arena(bench.table), 60000);
        for (unsigned steps = 0; ref == CART_NO_REF && steps < 20000; steps++) {
            (void)step(&bench, 64);
            ref = cart_arena_alloc(cart_table_arena(bench.table), 60000);
        }
        assert_int_not_equal(ref, CART_NO_REF);
    }
    assert_true(cart_table_check(bench.table));
    end(&bench);
}

static void any_load_stays_within_bounds(void **state) {
    (void)state;
    seeded_start(__func__);
    for (unsigned kind = 0; kind < 4; kind++) {
        bench_t bench = begin(512 * 1024, kind & 1, kind / 2 ? CART_POLICY_LRU : CART_POLICY_SIEVE);
        bench.calls.moved = moved;
        enum { KNOWN = 12000 };
        static cart_id_t users[KNOWN];
        for (unsigned i = 0; i < KNOWN; i++) users[i] = seeded_id();
        static const uint8_t image[1000];
        unsigned refused = 0;
        unsigned long rounds = seeded_rounds(200000);
        for (unsigned long round = 0; round < rounds; round++) {
            if (seeded_chance(200)) bench.now_s += seeded_below(5);
            if (seeded_chance(20000)) bench.now_s += 700;
            cart_id_t *user = &users[seeded_chance(2) ? seeded_below(KNOWN / 10) : seeded_below(KNOWN)];
            if (cart_policy_over_high_water(&bench.policy, bench.table)) (void)step(&bench, 4 + seeded_below(60));
            if (seeded_chance(10)) (void)step(&bench, 8);
            cart_entry_t *entry = cart_table_find(bench.table, user);
            if (entry == NULL) entry = cart_table_insert(bench.table, user);
            if (entry == NULL) {
                refused++;
                continue;
            }
            cart_policy_touch(&bench.policy, bench.table, entry, bench.now_s);
            if (seeded_chance(3)) {
                size_t length = seeded_chance(40) ? seeded_below(sizeof(image)) : 1 + seeded_below(60);
                if (!cart_table_set_image(bench.table, entry, image, length)) refused++;
                entry->flags = (uint8_t)(seeded_chance(30) ? IS_BUSY : IS_DIRTY);
            } else if (seeded_chance(2)) {
                entry->flags = 0;
            }
            if (seeded_chance(50)) cart_table_remove(bench.table, entry); /* under whatever hand */
            (void)live_bytes(&bench);
            if (round % 10000 == 0) assert_true(cart_table_check(bench.table));
        }
        printf("%s: cleared %llu by TTL, %llu + %llu by phase, asked for %u syncs, refused %u of %lu\n",
               kind & 1 ? "engine" : "edge", (unsigned long long)bench.clearance.cleared[0],
               (unsigned long long)bench.clearance.cleared[1], (unsigned long long)bench.clearance.cleared[2],
               bench.owner.wanted, refused, rounds);
        /* By time alone, when the seed lets much of it pass. */
        assert_true(bench.clearance.cleared[0] + bench.clearance.cleared[1] + bench.clearance.cleared[2] > 0);
        end(&bench);
    }
}

static void works_from_where_the_memory_is_mapped_next(void **state) {
    (void)state;
    seeded_start(__func__);
    bench_t bench = begin(512 * 1024, false, CART_POLICY_SIEVE);
    fill(&bench, 3, 3, 0);
    (void)step(&bench, 16); /* in the middle of a round */
    void *elsewhere = seeded_map(bench.bytes);
    memcpy(elsewhere, bench.memory, bench.bytes);
    end(&bench);
    bench.memory = elsewhere;
    bench.table = bench.owner.table = elsewhere;
    clear_down(&bench);
    assert_true(live_bytes(&bench) <= mark(&bench, 850));
    assert_int_equal(count_flags(&bench, IS_DIRTY) > 0, 1);
    end(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_the_setting_that_is_wrong),
        cmocka_unit_test(heat_halves_and_makes_active),
        cmocka_unit_test(the_ttl_is_restarted_and_longer_for_who_was_active),
        cmocka_unit_test(the_second_request_within_the_notes_life_earns_a_seat),
        cmocka_unit_test(nothing_goes_below_the_high_water_mark),
        cmocka_unit_test(clears_to_the_low_water_mark_and_no_further),
        cmocka_unit_test(calm_carts_go_before_active_ones),
        cmocka_unit_test(active_carts_go_when_calm_ones_were_not_enough),
        cmocka_unit_test(phase_2_comes_only_after_phase_1_and_takes_the_least_active),
        cmocka_unit_test(in_the_engine_phase_2_asks_and_frees_only_what_was_confirmed),
        cmocka_unit_test(says_stuck_when_nothing_may_go),
        cmocka_unit_test(no_entry_stays_for_ever),
        cmocka_unit_test(the_ttl_comes_round_under_pressure),
        cmocka_unit_test(a_change_of_sizes_costs_few_seats),
        cmocka_unit_test(a_large_block_gets_its_run_of_pages),
        cmocka_unit_test(any_load_stays_within_bounds),
        cmocka_unit_test(works_from_where_the_memory_is_mapped_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
