#include "seeded.h"

#include "cart/cart_recent.h"

#define NOW 1790000000U

static cart_recent_id_t drawn(bool keyed, uint32_t at_s) {
    cart_recent_id_t id = {.digest = seeded_u64(), .at_s = at_s, .keyed = keyed};
    cart_id_t random = seeded_id();
    memcpy(id.id, random.bytes, sizeof(id.id));
    return id;
}

/* The rings in two buffers that take turns. */
typedef struct {
    uint8_t bytes[2][CART_RECENT_BYTES_MAX];
    size_t length;
    unsigned now;
} rings_t;

static const uint8_t *rings_bytes(const rings_t *rings) {
    return rings->bytes[rings->now];
}

static bool rings_add(rings_t *rings, const cart_recent_id_t *id, uint32_t now_s) {
    size_t capacity = cart_recent_size_with(rings_bytes(rings), rings->length, id->keyed, now_s);
    if (capacity == 0) return false;
    assert_true(capacity <= CART_RECENT_BYTES_MAX);
    uint8_t *out = rings->bytes[1 - rings->now];
    rings->length = cart_recent_add(rings_bytes(rings), rings->length, id, now_s, out, capacity);
    assert_true(rings->length <= capacity);
    rings->now = 1 - rings->now;
    assert_true(cart_recent_check(out, rings->length));
    return true;
}

static cart_recent_found_t rings_find(const rings_t *rings, const cart_recent_id_t *id) {
    return cart_recent_find(rings_bytes(rings), rings->length, id->id, id->digest, id->keyed);
}

static rings_t rings;

static int empty_rings(void **state) {
    (void)state;
    rings.length = 0;
    rings.now = 0;
    return 0;
}

static void lays_entries_out_as_the_header_says(void **state) {
    (void)state;
    cart_recent_id_t id = {.digest = 0x0102030405060708U, .at_s = 0x0a0b0c0dU, .keyed = true};
    memset(id.id, 0x77, sizeof(id.id));
    assert_true(rings_add(&rings, &id, 0x0a0b0c0dU));
    const uint8_t *at = rings_bytes(&rings);
    assert_int_equal(rings.length, CART_RECENT_HEADER_BYTES + CART_RECENT_ENTRY_BYTES);
    assert_memory_equal(at, "\1\0\0\0", 4);
    assert_memory_equal(at + 4, id.id, 16);
    assert_memory_equal(at + 20, "\10\7\6\5\4\3\2\1\15\14\13\12", 12);
}

static void tells_same_other_and_absent_apart(void **state) {
    (void)state;
    seeded_start(__func__);
    cart_recent_id_t keyed = drawn(true, NOW);
    assert_int_equal(rings_find(&rings, &keyed), CART_RECENT_ABSENT);
    assert_true(rings_add(&rings, &keyed, NOW));
    assert_int_equal(rings_find(&rings, &keyed), CART_RECENT_SAME);
    keyed.digest++;
    assert_int_equal(rings_find(&rings, &keyed), CART_RECENT_OTHER_DIGEST);
    keyed.keyed = false;
    assert_int_equal(rings_find(&rings, &keyed), CART_RECENT_ABSENT);
}

static void keeps_the_last_64_keys_for_24_hours(void **state) {
    (void)state;
    seeded_start(__func__);
    cart_recent_id_t ids[CART_RECENT_KEYED_KEEP + 10];
    const unsigned count = sizeof(ids) / sizeof(ids[0]);
    uint32_t now_s = NOW;
    for (unsigned i = 0; i < count; i++, now_s += 200) {
        ids[i] = drawn(true, now_s);
        assert_true(rings_add(&rings, &ids[i], now_s));
    }
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(rings_find(&rings, &ids[i]), i < 10 ? CART_RECENT_ABSENT : CART_RECENT_SAME);
    }
    uint8_t *bytes = rings.bytes[rings.now];
    rings.length = cart_recent_expire(bytes, rings.length, ids[count - 1].at_s + CART_RECENT_KEEP_S - 1);
    assert_int_equal(cart_recent_count(bytes, rings.length), 1);
    rings.length = cart_recent_expire(bytes, rings.length, ids[count - 1].at_s + CART_RECENT_KEEP_S);
    assert_int_equal(rings.length, 0);
}

static void a_full_ring_refuses_until_its_oldest_has_left_the_window(void **state) {
    (void)state;
    seeded_start(__func__);
    for (unsigned i = 0; i < CART_RECENT_KEYED_MAX; i++) {
        cart_recent_id_t id = drawn(true, NOW + (i > 0));
        assert_true(rings_add(&rings, &id, NOW + 1));
    }
    cart_recent_id_t more = drawn(true, NOW + CART_RECENT_REPEAT_S);
    assert_false(rings_add(&rings, &more, NOW + CART_RECENT_REPEAT_S - 1));
    /* The other ring is not touched by that. */
    for (unsigned i = 0; i < CART_RECENT_KEYLESS_MAX; i++) {
        cart_recent_id_t keyless = drawn(false, NOW);
        assert_true(rings_add(&rings, &keyless, NOW));
    }
    cart_recent_id_t keyless = drawn(false, NOW);
    assert_false(rings_add(&rings, &keyless, NOW + CART_RECENT_RESEND_S - 1));
    assert_int_equal(rings.length, CART_RECENT_BYTES_MAX);
    assert_true(rings_add(&rings, &keyless, NOW + CART_RECENT_RESEND_S));
    assert_true(rings_add(&rings, &more, NOW + CART_RECENT_REPEAT_S));
}

static void an_id_that_comes_again_is_not_doubled(void **state) {
    (void)state;
    seeded_start(__func__);
    cart_recent_id_t first = drawn(true, NOW);
    cart_recent_id_t second = drawn(true, NOW);
    assert_true(rings_add(&rings, &first, NOW));
    assert_true(rings_add(&rings, &second, NOW));
    first.at_s = NOW + 5;
    assert_true(rings_add(&rings, &first, NOW + 5));
    assert_int_equal(cart_recent_count(rings_bytes(&rings), rings.length), 2);
    cart_recent_id_t found;
    assert_true(cart_recent_get(rings_bytes(&rings), rings.length, first.id, true, &found));
    assert_int_equal(found.at_s, NOW + 5);
}

static void refuses_bytes_that_are_not_rings(void **state) {
    (void)state;
    assert_true(cart_recent_check(NULL, 0));
    assert_false(cart_recent_check((const uint8_t *)"\0\0\0", 3));
    assert_false(cart_recent_check((const uint8_t *)"\0\0\0\0", 4)); /* nothing is written as nothing */
    assert_false(cart_recent_check((const uint8_t *)"\1\0\0\0", 4));
    static uint8_t bytes[CART_RECENT_BYTES_MAX + CART_RECENT_ENTRY_BYTES];
    bytes[0] = (CART_RECENT_KEYED_MAX + 1) & 0xff;
    bytes[1] = (CART_RECENT_KEYED_MAX + 1) >> 8;
    size_t length = CART_RECENT_HEADER_BYTES + (CART_RECENT_KEYED_MAX + 1) * CART_RECENT_ENTRY_BYTES;
    assert_false(cart_recent_check(bytes, length));
    bytes[0]--;
    assert_true(cart_recent_check(bytes, length - CART_RECENT_ENTRY_BYTES));
}

/* Against a list of all that was ever added: what a client was promised is found. */
static void keeps_every_promise_under_random_load(void **state) {
    (void)state;
    seeded_start(__func__);
    enum { ALL = 20000 };
    static cart_recent_id_t all[ALL];
    unsigned count = 0;
    uint32_t now_s = NOW;
    uint32_t latest_s = NOW; /* what a clock set forth has evicted, one set back does not bring again */
    unsigned long rounds = seeded_rounds(ALL);
    if (rounds > ALL) rounds = ALL;
    unsigned refused = 0;
    for (unsigned long round = 0; round < rounds; round++) {
        unsigned pace = (unsigned)(round / 1000 % 4); /* from a burst to a visit now and then */
        if (pace == 0 ? seeded_chance(30) : true) now_s += pace == 3 ? seeded_below(4000) : seeded_below(pace * 20 + 2);
        if (now_s > latest_s) latest_s = now_s;
        if (seeded_chance(1000)) now_s -= seeded_below(50);
        cart_recent_id_t id = drawn(!seeded_chance(3), now_s);
        if (!rings_add(&rings, &id, now_s)) {
            refused++;
            continue;
        }
        all[count++] = id;
        if (!seeded_chance(50)) continue;
        unsigned rank = 0;
        for (unsigned i = count; i-- > 0 && count - i < 5000;) {
            uint32_t age_s = latest_s - all[i].at_s;
            bool promised = all[i].keyed ? age_s < CART_RECENT_REPEAT_S ||
                                               (rank < CART_RECENT_KEYED_KEEP && age_s < CART_RECENT_KEEP_S)
                                         : age_s < CART_RECENT_RESEND_S;
            if (all[i].keyed) rank++;
            if (promised) assert_int_equal(rings_find(&rings, &all[i]), CART_RECENT_SAME);
        }
    }
    printf("%u added, %u refused\n", count, refused);
}

static void unites_each_id_once_and_by_age(void **state) {
    (void)state;
    seeded_start(__func__);
    static rings_t a;
    static rings_t b;
    static uint8_t out[2 * CART_RECENT_BYTES_MAX];
    for (unsigned long round = seeded_rounds(300) + 1; round > 0; round--) {
        a.length = b.length = 0;
        unsigned distinct = 0;
        for (unsigned i = seeded_below(150); i > 0; i--) {
            cart_recent_id_t id = drawn(!seeded_chance(3), NOW + seeded_below(50));
            unsigned where = 1 + seeded_below(3);
            if (where & 1) assert_true(rings_add(&a, &id, NOW));
            if (where & 2) assert_true(rings_add(&b, &id, NOW));
            distinct++;
        }
        size_t length = cart_recent_unite(rings_bytes(&a), a.length, rings_bytes(&b), b.length, out, sizeof(out));
        assert_true(cart_recent_check(out, length));
        assert_int_equal(cart_recent_count(out, length), distinct);
        assert_true(length <= a.length + b.length);
        if (length > 0) {
            assert_int_equal(cart_recent_unite(rings_bytes(&a), a.length, rings_bytes(&b), b.length, out, length - 1),
                             0);
        }
    }
}

static void past_the_maximum_a_union_keeps_the_youngest(void **state) {
    (void)state;
    seeded_start(__func__);
    static rings_t other;
    static uint8_t out[2 * CART_RECENT_BYTES_MAX];
    other.length = 0;
    cart_recent_id_t oldest = drawn(true, NOW);
    cart_recent_id_t youngest = drawn(true, NOW + 3);
    assert_true(rings_add(&other, &oldest, NOW + 1));
    assert_true(rings_add(&other, &youngest, NOW + 1));
    for (unsigned i = 0; i < CART_RECENT_KEYED_MAX; i++) {
        cart_recent_id_t id = drawn(true, NOW + 1 + (i & 1));
        assert_true(rings_add(&rings, &id, NOW + 1));
    }
    size_t length =
        cart_recent_unite(rings_bytes(&rings), rings.length, rings_bytes(&other), other.length, out, sizeof(out));
    assert_true(cart_recent_check(out, length));
    assert_int_equal(cart_recent_count(out, length), CART_RECENT_KEYED_MAX);
    assert_int_equal(cart_recent_find(out, length, oldest.id, oldest.digest, true), CART_RECENT_ABSENT);
    assert_int_equal(cart_recent_find(out, length, youngest.id, youngest.digest, true), CART_RECENT_SAME);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lays_entries_out_as_the_header_says, empty_rings),
        cmocka_unit_test_setup(tells_same_other_and_absent_apart, empty_rings),
        cmocka_unit_test_setup(keeps_the_last_64_keys_for_24_hours, empty_rings),
        cmocka_unit_test_setup(a_full_ring_refuses_until_its_oldest_has_left_the_window, empty_rings),
        cmocka_unit_test_setup(an_id_that_comes_again_is_not_doubled, empty_rings),
        cmocka_unit_test_setup(refuses_bytes_that_are_not_rings, empty_rings),
        cmocka_unit_test_setup(keeps_every_promise_under_random_load, empty_rings),
        cmocka_unit_test_setup(unites_each_id_once_and_by_age, empty_rings),
        cmocka_unit_test_setup(past_the_maximum_a_union_keeps_the_youngest, empty_rings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
