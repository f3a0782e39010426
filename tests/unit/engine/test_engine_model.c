/*
 * A million random requests against a naive map, with commits that fail or are unknown, a base that goes away, little memory,
 * guests that sign in and services that are killed. What becomes durable is compared with the map change by change, what is
 * answered with what is durable.
 *
 * MODEL_SEED chooses another run, MODEL_REQUESTS its length.
 */
#include "engine_stores.h"

#include <stdio.h>

#define CARTS     96
#define BOOKS     12
#define IDS       4096 /* the last requests, found by number */
#define RESTART   4001 /* requests between two kills, about */
#define WINDOW_MS 50000

typedef struct {
    uint64_t version;
    uint32_t quantity[BOOKS + 1];
    unsigned lines;
    bool closed;
} naive_t;

typedef struct {
    uint64_t number;
    cart_request_t request;
    uint64_t asked_ms;
    bool durable;
} asked_t;

static naive_t naive[USERS];
static asked_t asked[IDS];
static uint64_t asked_count, applied, repeated, refused, kills, unknowns, rows_freed;
static uint64_t random_state;

static uint32_t below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 20) % limit);
}

static bool chance(uint32_t in) {
    return below(in) == 0;
}

static asked_t *find_asked(const uint8_t id[CART_REQUEST_BYTES]) {
    uint64_t number;
    memcpy(&number, id, sizeof number);
    asked_t *found = &asked[number % IDS];
    return found->number == number ? found : NULL;
}

/* ---- the naive cart ---------------------------------------------------------------------------------------------- */

static void naive_apply(naive_t *cart, const cart_request_t *request) {
    for (unsigned i = 0; i < request->change_count; i++) {
        const cart_change_t *change = &request->changes[i];
        uint32_t *quantity = &cart->quantity[change->op == CART_CLEAR ? 0 : change->book];
        if (change->op == CART_CLEAR)
            memset(cart->quantity, 0, sizeof cart->quantity);
        else if (change->op == CART_REMOVE)
            *quantity = 0;
        else if (change->op == CART_SET)
            *quantity = (uint32_t)change->quantity;
        else if ((int)*quantity + change->quantity <= 0)
            *quantity = 0;
        else
            *quantity += (uint32_t)change->quantity;
    }
}

static void assert_same(const naive_t *cart, const cart_image_t *image) {
    unsigned lines = 0;
    for (unsigned book = 1; book <= BOOKS; book++) lines += cart->quantity[book] > 0;
    assert_int_equal(image->line_count, lines);
    for (unsigned i = 0; i < lines; i++) {
        assert_int_equal(image->lines[i].quantity, cart->quantity[image->lines[i].book]);
    }
}

/* One set has become durable. */
static void durable(const commit_set_t *set) {
    cart_image_t image;
    naive_t *cart = &naive[user_of(&set->user)];
    assert_true(cart_image_unpack(set->image, set->image_length, &image));
    assert_int_equal(image.place.version, cart->version + 1); /* one order, no gap, no two of one version */
    cart->version++;
    assert_int_equal(set->added_count, 1);
    asked_t *one = find_asked(set->added->id);
    assert_non_null(one);
    assert_false(one->durable); /* counts once */
    assert_true(cart_id_equal(&one->request.user, &set->user));
    one->durable = true;
    applied++;
    naive_apply(cart, &one->request);
    assert_same(cart, &image);
    keep_record(set);
}

/* ---- what is under way ends, one way or another ------------------------------------------------------------------ */

static void drop_forgotten_records(void) {
    size_t left = 0;
    for (size_t i = 0; i < w->record_count; i++) {
        cart_image_t image;
        assert_true(cart_image_unpack(w->records[i].set.image, w->records[i].set.image_length, &image));
        if (cart_place_compare(w->forgotten[user_of(&w->records[i].set.user)], image.place) >= 0) {
            free((void *)(uintptr_t)w->records[i].set.image);
            free((void *)(uintptr_t)w->records[i].set.added);
        } else {
            w->records[left++] = w->records[i];
        }
    }
    w->record_count = left;
}

static void end_commit(void) {
    if (w->sets == NULL) return;
    commit_result_t result = COMMIT_DONE;
    if (chance(50)) result = COMMIT_UNKNOWN; /* a journal that recovers keeps nothing of it */
    if (chance(50)) result = COMMIT_REFUSED;
    unknowns += result == COMMIT_UNKNOWN;
    if (result == COMMIT_DONE) {
        w->keep_records = true;
        for (unsigned i = 0; i < w->set_count; i++) durable(&w->sets[i]);
        w->keep_records = false;
    }
    finish_commit(result, NULL);
}

static void answers(void) {
    for (unsigned i = 0; i < w->answer_count; i++) {
        const answer_t *answer = &w->answers[i];
        if (answer->kind != 'd') {
            if (answer->has_image) assert_true(answer->image.place.version <= naive[answer->cookie >> 48].version);
            continue;
        }
        asked_t *one = &asked[answer->cookie % IDS];
        if (one->number != answer->cookie) continue;
        if (answer->verdict.outcome == CART_APPLIED || answer->verdict.outcome == CART_REPEATED) {
            assert_true(one->durable); /* nothing overtakes the sync */
            repeated += answer->verdict.outcome == CART_REPEATED;
        }
        refused += answer->verdict.outcome == CART_REFUSED;
        if (!answer->has_image) continue;
        const naive_t *cart = &naive[user_of(&one->request.user)];
        assert_true(answer->image.place.version <= cart->version);
        if (answer->image.place.version == cart->version) assert_same(cart, &answer->image);
    }
    w->answer_count = 0;
}

static void some_end(void) {
    engine_turn(w->engine, w->now_ms);
    if (!chance(4)) end_commit();
    if (w->load_count > 0 && !chance(3)) finish_loads(chance(100));
    if (w->commit_load_count > 0 && chance(2)) finish_commit_loads(COMMIT_LOAD_CONFIRMED, NULL, 0, NULL, 0);
    if (w->save_count > 0 && chance(2)) finish_save(chance(20));
    answers();
}

/* ---- what is asked ----------------------------------------------------------------------------------------------- */

static void random_request(asked_t *one) {
    cart_request_t *request = &one->request;
    *request = request_of(below(CARTS), one->number, chance(2));
    request->change_count = (uint16_t)(chance(10) ? 1 + below(8) : 1);
    for (unsigned i = 0; i < request->change_count; i++) {
        cart_change_t *change = &request->changes[i];
        change->book = 1 + below(BOOKS);
        change->op = (uint8_t)(1 + below(chance(20) ? 4 : 3));
        change->quantity = 0;
        if (change->op == CART_ADD) change->quantity = chance(3) ? -1 - (int)below(3) : 1 + (int)below(3);
        if (change->op == CART_SET) change->quantity = (int)below(20);
    }
    if (chance(10)) {
        request->condition = CART_IF_PLACE;
        request->expected = (cart_place_t){1, naive[user_of(&request->user)].version};
    }
}

static void ask(void) {
    if (asked_count > 20 && chance(5)) { /* the same again, from inside the window */
        asked_t *older = &asked[(asked_count - below(20)) % IDS];
        if (older->number != 0 && w->now_ms - older->asked_ms < WINDOW_MS) send(&older->request, older->number);
        return;
    }
    if (chance(6)) {
        unsigned user = below(CARTS);
        fetch(user, (uint64_t)user << 48 | 1);
        return;
    }
    asked_t *one = &asked[++asked_count % IDS];
    one->number = asked_count;
    one->durable = false;
    one->asked_ms = w->now_ms;
    random_request(one);
    send(&one->request, one->number);
}

static engine_config_t small_config(void) {
    engine_config_t config = default_config();
    config.memory_bytes = 160 * 1024;
    config.batch_max = 1 + below(100);
    config.policy.high_water_permille = 600;
    config.policy.low_water_permille = 400;
    config.policy.calm_ttl_s = 5;
    config.policy.active_ttl_s = 20;
    return config;
}

static void kill_service(void) {
    kills++;
    engine_stats_t stats;
    engine_stats(w->engine, w->now_ms, &stats);
    rows_freed += stats.cleared_ttl + stats.cleared_phase1 + stats.cleared_phase2;
    if (w->sets != NULL && chance(2)) { /* the batch is on the disk, its answers never left */
        w->keep_records = true;
        for (unsigned i = 0; i < w->set_count; i++) durable(&w->sets[i]);
        w->keep_records = false;
    }
    drop_forgotten_records();
    engine_config_t config = small_config();
    config.memory_bytes = 1 << 20; /* whatever the journal holds must fit */
    restart(&config);
}

static void everything_durable_matches_the_naive_map(void **state) {
    (void)state;
    const char *seed = getenv("MODEL_SEED");
    const char *length = getenv("MODEL_REQUESTS");
    random_state = seed != NULL ? strtoull(seed, NULL, 10) : 20260101;
    uint64_t requests = length != NULL ? strtoull(length, NULL, 10) : 1000000;
    print_message("MODEL_SEED=%llu MODEL_REQUESTS=%llu\n", (unsigned long long)random_state,
                  (unsigned long long)requests);
    engine_config_t config = small_config();
    restart(&config);
    for (uint64_t i = 0; i < requests; i++) {
        ask();
        if (chance(8)) some_end();
        if (chance(8)) w->now_ms += below(40);
        if (chance(RESTART)) kill_service();
        if (chance(2000)) assert_true(engine_check(w->engine));
    }
    for (unsigned i = 0; i < 400; i++) {
        w->now_ms += 100;
        some_end();
    }
    assert_int_equal(w->alerts, 0);
    assert_true(applied > requests / 4);
    assert_true(repeated > 0 && unknowns > 0 && rows_freed > 0 && (kills > 0 || requests < 100000));
    print_message("%llu applied, %llu repeats, %llu refused, %llu kills, %llu unknown commits, %llu freed\n",
                  (unsigned long long)applied, (unsigned long long)repeated, (unsigned long long)refused,
                  (unsigned long long)kills, (unsigned long long)unknowns, (unsigned long long)rows_freed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_durable_matches_the_naive_map, world_setup, world_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
