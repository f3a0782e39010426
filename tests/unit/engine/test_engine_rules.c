/* The engine against the rules of the design, one by one, with stores whose results the test delays, reorders and fails. */
#include "engine_stores.h"

/* ---- rule 1: nothing overtakes the sync -------------------------------------------------------------------------- */

static void nothing_is_answered_before_the_commit(void **state) {
    (void)state;
    add(1, 10, 7, 1);
    add(1, 10, 7, 1); /* a repeat of it */
    fetch(1, 11);
    fetch(2, 12);
    turn();
    finish_loads(false);
    turn();
    assert_non_null(w->sets);
    assert_int_equal(w->set_count, 1);
    assert_int_equal(w->answer_count, 0);
    fetch(1, 13); /* arrives while the sync runs */
    turn();
    assert_int_equal(w->answer_count, 0);
    finish_commit(COMMIT_DONE, NULL);
    assert_int_equal(w->answer_count, 4);
    assert_int_equal(w->answers[0].verdict.outcome, CART_APPLIED);
    assert_int_equal(w->answers[1].verdict.outcome, CART_REPEATED);
    assert_int_equal(answer_to(11)->image.place.version, 1);
    assert_int_equal(answer_to(12)->image.place.version, 0);
    turn();
    assert_int_equal(answer_to(13)->image.place.version, 1);
}

static void changes_of_one_cart_are_chained_in_order(void **state) {
    (void)state;
    for (uint64_t i = 1; i <= 5; i++) add(1, i, 7, 1);
    turn();
    finish_loads(false);
    turn();
    assert_int_equal(w->set_count, 5);
    assert_int_equal(w->sets[0].expected.epoch, 0);
    for (unsigned i = 1; i < 5; i++) assert_int_equal(w->sets[i].expected.version, i);
    finish_commit(COMMIT_DONE, NULL);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(w->answers[i].cookie, i + 1);
        assert_int_equal(w->answers[i].image.place.version, i + 1);
        assert_int_equal(w->answers[i].image.lines[0].quantity, i + 1);
    }
}

static void after_unknown_nothing_is_decided_until_a_load_has_told(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    settle();
    add(1, 2, 7, 1);
    turn();
    finish_commit(COMMIT_UNKNOWN, NULL);
    assert_int_equal(answer_to(2)->verdict.outcome, CART_REFUSED);
    assert_int_equal(answer_to(2)->verdict.reason, CART_REASON_UNKNOWN);
    add(1, 2, 7, 1); /* the client asks again */
    add(2, 3, 7, 1); /* another cart goes on */
    turn();
    assert_int_equal(w->commit_load_count, 1);
    finish_loads(false);
    turn();
    assert_int_equal(w->set_count, 1);
    assert_int_equal(user_of(&w->sets[0].user), 2);
    finish_commit(COMMIT_DONE, NULL);
    unsigned before = w->answer_count;
    turn();
    assert_int_equal(w->answer_count, before);
    assert_null(w->sets);
    finish_commit_loads(COMMIT_LOAD_CONFIRMED, NULL, 0, NULL, 0); /* it was not stored */
    settle();
    assert_int_equal(answer_to(2)->verdict.outcome, CART_APPLIED);
    assert_int_equal(answer_to(2)->image.lines[0].quantity, 2);
}

static void an_unknown_commit_that_was_stored_makes_its_repeat_a_repeat(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    turn();
    finish_loads(false);
    turn();
    uint8_t image[CART_IMAGE_PACKED_MAX];
    uint32_t length = w->sets[0].image_length;
    memcpy(image, w->sets[0].image, length);
    uint8_t rings[64];
    size_t size = cart_recent_size_with(NULL, 0, true, (uint32_t)(w->now_ms / 1000));
    size_t rings_length = cart_recent_add(NULL, 0, w->sets[0].added, (uint32_t)(w->now_ms / 1000), rings, size);
    finish_commit(COMMIT_UNKNOWN, NULL);
    add(1, 1, 7, 1);
    turn();
    finish_commit_loads(COMMIT_LOAD_IMAGE, image, length, rings, (uint32_t)rings_length);
    settle();
    assert_int_equal(last_answer()->verdict.outcome, CART_REPEATED);
    assert_int_equal(last_answer()->image.lines[0].quantity, 1);
}

static void a_batch_of_repeats_waits_while_the_commit_point_recovers(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    settle();
    add(2, 2, 7, 1);
    turn();
    finish_loads(false);
    turn();
    w->recovering = true;
    finish_commit(COMMIT_UNKNOWN, NULL);
    unsigned before = w->answer_count;
    add(1, 1, 7, 1);
    fetch(1, 3);
    turn();
    assert_int_equal(w->answer_count, before);
    w->recovering = false;
    turn();
    finish_commit_loads(COMMIT_LOAD_CONFIRMED, NULL, 0, NULL, 0);
    settle();
    assert_int_equal(answer_to(1)->verdict.outcome, CART_REPEATED);
    assert_int_equal(answer_to(3)->verdict.outcome, CART_APPLIED);
}

static void a_commit_that_is_not_taken_is_tried_again_in_order(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    settle();
    w->refuses_commit = true;
    add(1, 2, 7, 1);
    turn();
    add(1, 3, 7, 1);
    w->now_ms += 100;
    turn();
    assert_null(answer_to(2));
    w->refuses_commit = false;
    w->now_ms += 100;
    settle();
    assert_int_equal(answer_to(2)->image.place.version, 2);
    assert_int_equal(answer_to(3)->image.place.version, 3);
}

static void a_conflict_is_decided_again_on_the_newer_image(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    settle();
    add(1, 2, 7, 1);
    turn();
    cart_image_t newer = {.place = {1, 5}, .base_version = 0, .line_count = 1, .lines = {{.book = 7, .quantity = 10}}};
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    commit_loaded_t loaded = {.user = id_of(1), .result = COMMIT_LOAD_IMAGE, .image = packed};
    loaded.image_length = (uint32_t)cart_image_pack(&newer, packed, sizeof packed);
    unsigned before = w->answer_count;
    finish_commit(COMMIT_CONFLICT, &loaded);
    assert_int_equal(w->answer_count, before);
    settle();
    assert_int_equal(answer_to(2)->image.place.version, 6);
    assert_int_equal(answer_to(2)->image.lines[0].quantity, 11);
}

/* ---- rule 2: saved means durable --------------------------------------------------------------------------------- */

static void the_term_falls_only_when_the_base_has_confirmed(void **state) {
    (void)state;
    w->subscribed = true;
    add(1, 1, 7, 1);
    settle();
    assert_int_equal(cart_term(&last_answer()->image), 1);
    w->now_ms += 2000;
    turn();
    assert_int_equal(w->save_count, 1);
    assert_int_equal(w->saves[0].expected.epoch, 0);
    assert_int_equal(w->forgets, 0);
    fetch(1, 2);
    turn();
    assert_int_equal(cart_term(&answer_to(2)->image), 1);
    unsigned changed = w->changed_count;
    finish_save(false);
    assert_int_equal(w->forgets, 1);
    assert_int_equal(w->changed_count, changed + 1);
    assert_int_equal(cart_term(&w->changed_image), 0);
    fetch(1, 3);
    turn();
    assert_int_equal(cart_term(&answer_to(3)->image), 0);
}

static void a_change_during_a_save_is_saved_again_on_top_of_it(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    settle();
    w->now_ms += 2000;
    turn();
    assert_int_equal(w->save_count, 1);
    add(1, 2, 7, 1);
    turn();
    finish_commit(COMMIT_DONE, NULL);
    finish_save(false);
    fetch(1, 3);
    turn();
    assert_int_equal(cart_term(&answer_to(3)->image), 1);
    w->now_ms += 4000;
    turn();
    assert_int_equal(w->save_count, 1);
    assert_int_equal(w->saves[0].expected.version, 1);
    assert_int_equal(w->saves[0].place.version, 2);
    finish_save(false);
    assert_int_equal(w->forgotten[1].version, 2);
}

static void a_failed_save_is_asked_for_again_later(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    settle();
    w->now_ms += 2000;
    turn();
    finish_save(true);
    assert_int_equal(w->forgets, 0);
    turn();
    assert_int_equal(w->save_count, 0); /* not at once */
    w->now_ms += 5000;
    turn();
    assert_int_equal(w->save_count, 1);
    finish_save(false);
    assert_int_equal(w->forgets, 1);
}

static void phase_2_frees_only_what_the_base_has(void **state) {
    (void)state;
    engine_config_t config = default_config();
    config.memory_bytes = 128 * 1024;
    config.calm_delay_ms = 3600000;
    config.dirty_age_max_ms = 7200000;
    config.policy.high_water_permille = 500;
    config.policy.low_water_permille = 300;
    restart(&config);
    unsigned refused = 0;
    for (unsigned user = 0; user < USERS; user++) {
        add(user, user + 1, 7, 1);
        for (unsigned i = 0; i < 6; i++) {
            turn();
            if (w->load_count > 0) finish_loads(false);
            if (w->sets != NULL) finish_commit(COMMIT_DONE, NULL);
        }
        const answer_t *answer = answer_to(user + 1);
        assert_non_null(answer);
        if (answer->verdict.outcome == CART_APPLIED) continue;
        assert_int_equal(answer->verdict.reason, CART_REASON_MEMORY);
        refused++;
    }
    assert_true(refused > 0); /* no save has ended: nothing may be freed */
    engine_stats_t stats;
    engine_stats(w->engine, w->now_ms, &stats);
    assert_int_equal(stats.resident, USERS - refused);
    assert_int_equal(stats.cleared_phase2, 0);
    assert_true(w->save_count > 0); /* and was asked for */
    for (unsigned i = 0; i < 50; i++) {
        if (w->save_count > 0) finish_save(false);
        turn();
    }
    engine_stats(w->engine, w->now_ms, &stats);
    assert_true(stats.cleared_phase2 > 0);
    add(USERS - 1, 9999, 8, 1);
    settle();
    assert_int_equal(answer_to(9999)->verdict.outcome, CART_APPLIED);
    assert_int_equal(w->alerts, 0);
}

/* ---- rule 3: one owner ------------------------------------------------------------------------------------------- */

static void a_fork_is_merged_committed_and_saved(void **state) {
    (void)state;
    add(1, 1, 7, 3);
    settle();
    cart_image_t other = {.place = {2, 9}, .base_version = 9, .line_count = 2, .lines = {{7, 1}, {8, 2}}};
    put_row(1, &other, NULL, 0);
    w->now_ms += 2000;
    turn();
    finish_save(false); /* fork */
    assert_int_equal(w->forgets, 0);
    add(1, 2, 9, 1);
    turn();
    assert_int_equal(w->load_count, 1);
    finish_loads(false);
    assert_null(answer_to(2));
    turn();
    assert_int_equal(w->set_count, 1);
    assert_int_equal(w->sets[0].expected.version, 1);
    finish_commit(COMMIT_DONE, NULL);
    assert_int_equal(w->changed_count, 1);
    assert_int_equal(w->changed_image.place.epoch, 2);
    assert_int_equal(w->changed_image.place.version, 10);
    assert_int_equal(w->changed_image.line_count, 2);
    assert_int_equal(w->changed_image.lines[0].quantity, 3);
    settle();
    assert_int_equal(answer_to(2)->image.place.version, 11);
    w->now_ms += 5000;
    settle();
    assert_int_equal(w->rows[1].place.version, 11);
    assert_int_equal(w->rows[1].image.line_count, 3);
    engine_stats_t stats;
    engine_stats(w->engine, w->now_ms, &stats);
    assert_int_equal(stats.forks, 1);
}

static void a_fork_whose_commit_is_unknown_is_committed_again(void **state) {
    (void)state;
    add(1, 1, 7, 3);
    settle();
    cart_image_t other = {.place = {2, 9}, .base_version = 9, .line_count = 1, .lines = {{8, 2}}};
    put_row(1, &other, NULL, 0);
    w->now_ms += 2000;
    turn();
    finish_save(false);
    turn();
    finish_loads(false);
    turn();
    finish_commit(COMMIT_UNKNOWN, NULL);
    turn();
    finish_commit_loads(COMMIT_LOAD_CONFIRMED, NULL, 0, NULL, 0);
    settle();
    fetch(1, 2);
    settle();
    assert_int_equal(answer_to(2)->image.line_count, 2);
}

/* ---- rule 4: repeats --------------------------------------------------------------------------------------------- */

static void seventy_keyed_changes_are_all_remembered_for_the_window(void **state) {
    (void)state;
    for (uint64_t i = 1; i <= 70; i++) {
        add(1, i, i, 1);
        settle();
    }
    for (uint64_t i = 1; i <= 70; i++) {
        add(1, i, i, 1);
        settle();
        assert_int_equal(last_answer()->verdict.outcome, CART_REPEATED);
    }
    assert_int_equal(last_answer()->image.place.version, 70);
}

static void a_ring_that_may_not_evict_refuses_before_deciding(void **state) {
    (void)state;
    for (uint64_t i = 1; i <= CART_RECENT_KEYED_MAX; i++) {
        add(1, i, 7, i % 2 == 0 ? -1 : 1);
        if (i % 60 == 0) settle();
    }
    settle();
    add(1, 99999, 7, 1);
    settle();
    assert_int_equal(last_answer()->verdict.outcome, CART_REFUSED);
    assert_int_equal(last_answer()->verdict.reason, CART_REASON_RECENT);
    w->now_ms += (uint64_t)(CART_RECENT_REPEAT_S + 1) * 1000;
    add(1, 99999, 7, 1);
    settle();
    assert_int_equal(last_answer()->verdict.outcome, CART_APPLIED);
}

static void the_key_is_checked_before_the_condition(void **state) {
    (void)state;
    cart_request_t request = request_of(1, 1, true);
    request.condition = CART_IF_PLACE;
    request.expected = (cart_place_t){1, 0};
    send(&request, 1);
    settle();
    assert_int_equal(last_answer()->verdict.outcome, CART_APPLIED);
    send(&request, 1);
    settle();
    assert_int_equal(last_answer()->verdict.outcome, CART_REPEATED);
    request.request_id[0] = 99;
    send(&request, 2);
    settle();
    assert_int_equal(last_answer()->verdict.outcome, CART_VERSION_MISMATCH);
}

/* ---- rule 5: old links, time ------------------------------------------------------------------------------------- */

static void a_dropped_link_leaves_no_undecided_request(void **state) {
    (void)state;
    add(1, 1, 7, 1); /* will wait on the load */
    turn();
    add(1, 2, 7, 1); /* queued */
    engine_drop_link(w->engine, 1);
    finish_loads(false);
    settle();
    assert_int_equal(w->answer_count, 0);
    assert_null(w->sets);
    fetch(1, 3);
    settle();
    assert_int_equal(last_answer()->image.line_count, 0);
}

static void what_is_decided_already_is_answered_to_a_dropped_link(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    turn();
    finish_loads(false);
    turn();
    engine_drop_link(w->engine, 1);
    finish_commit(COMMIT_DONE, NULL);
    assert_int_equal(w->answer_count, 1);
}

static void late_requests_are_refused_wherever_they_are(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    w->now_ms += 5000;
    turn();
    assert_int_equal(last_answer()->verdict.reason, CART_REASON_LATE);
    add(2, 2, 7, 1);
    turn();
    assert_int_equal(w->load_count, 1);
    w->now_ms += 5000;
    turn(); /* waits for its load too long */
    assert_int_equal(answer_to(2)->verdict.reason, CART_REASON_LATE);
    finish_loads(false);
    settle();
    fetch(2, 3);
    settle();
    assert_int_equal(answer_to(3)->image.place.version, 0);
}

/* ---- rule 7: loads ----------------------------------------------------------------------------------------------- */

static void one_load_serves_all_who_wait_in_order(void **state) {
    (void)state;
    for (uint64_t i = 1; i <= 5; i++) {
        add(1, i, 7, 1);
        turn();
    }
    assert_int_equal(w->load_count, 1);
    assert_int_equal(w->load_calls, 1);
    finish_loads(false);
    settle();
    for (unsigned i = 0; i < 5; i++) assert_int_equal(w->answers[i].cookie, i + 1);
}

static void the_base_away_is_never_an_empty_cart(void **state) {
    (void)state;
    fetch(1, 1);
    add(1, 2, 7, 1);
    turn();
    finish_loads(true);
    assert_int_equal(answer_to(1)->verdict.reason, CART_REASON_BASE_AWAY);
    assert_int_equal(answer_to(2)->verdict.reason, CART_REASON_BASE_AWAY);
    assert_false(answer_to(1)->has_image);
    fetch(1, 3);
    turn();
    assert_int_equal(answer_to(3)->verdict.reason, CART_REASON_BASE_AWAY); /* during the back-off, at once */
    w->now_ms += 3000;
    fetch(1, 4);
    settle();
    assert_int_equal(answer_to(4)->verdict.outcome, CART_APPLIED);
}

static void a_load_that_nobody_wants_is_thrown_away(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    settle();
    /* Cannot come from a base that keeps its word: the engine must not believe it. */
    base_loaded_t stale = {.user = id_of(1), .result = BASE_NO_ROW};
    fetch(2, 2);
    turn(); /* one load is under way, so that the engine's count holds */
    w->load_count = 0;
    w->base_owner.loaded(w->base_owner.context, &stale, 1);
    fetch(1, 3);
    settle();
    assert_int_equal(answer_to(3)->image.place.version, 1);
}

static void a_cart_without_a_row_starts_above_the_floor(void **state) {
    (void)state;
    w->floor = 41;
    fetch(1, 1);
    settle();
    assert_int_equal(last_answer()->image.place.version, 41);
    assert_int_equal(cart_term(&last_answer()->image), 0);
    add(1, 2, 7, 1);
    settle();
    assert_int_equal(last_answer()->image.place.version, 42);
    assert_int_equal(cart_term(&last_answer()->image), 1);
}

/* ---- replay ------------------------------------------------------------------------------------------------------ */

static void a_replayed_cart_gets_its_rings_from_the_base_first(void **state) {
    (void)state;
    w->keep_records = true;
    add(1, 1, 7, 1);
    settle();
    w->now_ms += 2000;
    settle(); /* saved, with the ring */
    assert_true(w->rows[1].exists);
    cut_records(0); /* its segment was dropped */
    add(1, 2, 7, 1);
    settle();
    engine_config_t config = default_config();
    restart(&config);
    add(1, 1, 7, 1);
    add(1, 2, 7, 1);
    turn();
    unsigned before = w->answer_count;
    assert_int_equal(w->load_count, 1);
    assert_int_equal(before, w->answer_count);
    finish_loads(false);
    settle();
    assert_int_equal(answer_to(1)->verdict.outcome, CART_REPEATED);
    assert_int_equal(answer_to(2)->verdict.outcome, CART_REPEATED);
    assert_int_equal(answer_to(2)->image.lines[0].quantity, 2);
    assert_int_equal(cart_term(&answer_to(2)->image), 1);
}

static void a_replayed_cart_that_the_base_has_is_clean(void **state) {
    (void)state;
    w->keep_records = true;
    add(1, 1, 7, 1);
    settle();
    w->now_ms += 2000;
    settle();
    engine_config_t config = default_config();
    memset(w->forgotten, 0, sizeof w->forgotten);
    restart(&config);
    settle();
    assert_int_equal(w->forgotten[1].version, 1);
    engine_stats_t stats;
    engine_stats(w->engine, w->now_ms, &stats);
    assert_int_equal(stats.dirty, 0);
    assert_int_equal(w->save_count, 0);
}

static void a_replayed_cart_without_a_row_is_saved_soon(void **state) {
    (void)state;
    w->keep_records = true;
    add(1, 1, 7, 1);
    settle();
    engine_config_t config = default_config();
    restart(&config);
    settle();
    w->now_ms += 2000;
    settle();
    assert_true(w->rows[1].exists);
    assert_int_equal(w->rows[1].place.version, 1);
}

/* ---- rule 8: merge ----------------------------------------------------------------------------------------------- */

static void a_guest_is_sealed_absorbed_and_closed_in_one_batch(void **state) {
    (void)state;
    add(1, 1, 7, 2);
    add(2, 2, 7, 5);
    add(2, 3, 8, 1);
    settle();
    merge(1, 2, CART_MERGE_SUM, 4);
    turn();
    assert_int_equal(w->set_count, 3);
    assert_int_equal(user_of(&w->sets[0].user), 1);
    assert_int_equal(user_of(&w->sets[1].user), 2);
    assert_int_equal(user_of(&w->sets[2].user), 1);
    finish_commit(COMMIT_DONE, NULL);
    const answer_t *answer = answer_to(4);
    assert_int_equal(answer->verdict.outcome, CART_APPLIED);
    assert_int_equal(answer->line_count, 1);
    assert_int_equal(answer->lines[0].result, 7);
    assert_int_equal(answer->image.lines[0].quantity, 7);
    assert_int_equal(w->given_up_count, 1);
    merge(1, 2, CART_MERGE_SUM, 5);
    settle();
    assert_true(answer_to(5)->repeated);
    assert_int_equal(answer_to(5)->image.place.version, answer->image.place.version);
    assert_int_equal(answer_to(5)->image.lines[0].quantity, 7);
    add(1, 1, 7, 2); /* the guest's own repeat */
    add(1, 6, 7, 2); /* and a late change */
    fetch(1, 7);
    settle();
    assert_int_equal(answer_to(1)->verdict.outcome, CART_REPEATED);
    assert_int_equal(answer_to(1)->image.line_count, 0);
    assert_int_equal(answer_to(6)->verdict.outcome, CART_SESSION_ENDED);
    assert_int_equal(answer_to(7)->verdict.outcome, CART_SESSION_ENDED);
}

static void a_merge_counts_once_across_a_restart(void **state) {
    (void)state;
    w->keep_records = true;
    add(1, 1, 7, 2);
    settle();
    merge(1, 2, CART_MERGE_SUM, 2);
    settle();
    engine_config_t config = default_config();
    restart(&config);
    merge(1, 2, CART_MERGE_SUM, 3);
    settle();
    assert_true(answer_to(3)->repeated);
    assert_int_equal(answer_to(3)->image.lines[0].quantity, 2);
}

static void a_merge_goes_on_from_a_sealed_guest(void **state) {
    (void)state;
    w->keep_records = true;
    add(1, 1, 7, 2);
    settle();
    merge(1, 2, CART_MERGE_MAX, 2);
    settle();
    cut_records(w->record_count - 2); /* the journal ended after the seal */
    engine_config_t config = default_config();
    restart(&config);
    add(1, 3, 9, 1);
    settle();
    assert_int_equal(answer_to(3)->verdict.outcome, CART_SESSION_ENDED);
    merge(1, 2, CART_MERGE_MAX, 4);
    settle();
    assert_int_equal(answer_to(4)->verdict.outcome, CART_APPLIED);
    assert_false(answer_to(4)->repeated);
    assert_int_equal(answer_to(4)->image.lines[0].quantity, 2);
}

static void a_guest_without_a_cart_is_closed_all_the_same(void **state) {
    (void)state;
    merge(1, 2, CART_MERGE_MAX, 1);
    settle();
    assert_int_equal(answer_to(1)->verdict.outcome, CART_APPLIED);
    assert_int_equal(answer_to(1)->line_count, 0);
    assert_int_equal(answer_to(1)->image.place.version, 0);
    add(1, 2, 7, 1);
    settle();
    assert_int_equal(answer_to(2)->verdict.outcome, CART_SESSION_ENDED);
}

static void a_merge_that_is_not_committed_leaves_both_as_they_were(void **state) {
    (void)state;
    add(1, 1, 7, 2);
    settle();
    merge(1, 2, CART_MERGE_MAX, 2);
    turn();
    finish_loads(false);
    turn();
    finish_commit(COMMIT_REFUSED, NULL);
    assert_int_equal(answer_to(2)->verdict.reason, CART_REASON_JOURNAL);
    assert_int_equal(w->given_up_count, 0);
    fetch(1, 3);
    fetch(2, 4);
    settle();
    assert_int_equal(answer_to(3)->image.lines[0].quantity, 2);
    assert_int_equal(answer_to(4)->image.line_count, 0);
}

/* ---- rule 9: tokens ---------------------------------------------------------------------------------------------- */

static void sessions_are_checked_when_a_request_is_taken_up(void **state) {
    (void)state;
    add(1, 1, 7, 1);
    w->revoked = true;
    settle();
    assert_int_equal(answer_to(1)->verdict.outcome, CART_SESSION_ENDED);
    assert_false(answer_to(1)->has_image);
    w->revoked = false;
    w->unvouched = true;
    add(1, 2, 7, 1);
    fetch(1, 3);
    settle();
    assert_int_equal(answer_to(2)->verdict.reason, CART_REASON_FEED);
    assert_int_equal(answer_to(3)->verdict.reason, CART_REASON_FEED);
}

static void missing_books_block_changes_that_need_one_and_nothing_else(void **state) {
    (void)state;
    add(1, 1, 7, 2);
    settle();
    w->no_books = true;
    add(1, 2, 8, 1);
    add(1, 3, 7, -1);
    fetch(1, 4);
    settle();
    assert_int_equal(answer_to(2)->verdict.reason, CART_REASON_FEED);
    assert_int_equal(answer_to(3)->verdict.outcome, CART_APPLIED);
    assert_int_equal(answer_to(4)->verdict.outcome, CART_APPLIED);
}

/* ---- sync, purge, stop ------------------------------------------------------------------------------------------- */

static void released_carts_are_saved_soon_and_active_ones_by_the_cap(void **state) {
    (void)state;
    cart_id_t one = id_of(1);
    add(1, 1, 7, 1);
    add(2, 2, 7, 1);
    settle();
    engine_released(w->engine, &one, 1);
    w->now_ms += 150;
    turn();
    assert_int_equal(w->save_count, 1);
    finish_save(false);
    uint64_t begun_ms = w->now_ms;
    for (uint64_t i = 10; !w->rows[2].exists; i++) { /* busy all the time */
        add(2, i, 7, i % 2 == 0 ? 1 : -1);
        w->now_ms += 300;
        settle();
        assert_true(w->now_ms - begun_ms <= 60000);
    }
    assert_true(w->now_ms - begun_ms > 50000);
}

static void purge_spares_what_is_resident(void **state) {
    (void)state;
    cart_image_t empty = {.place = {1, 9}, .base_version = 9};
    put_row(1, &empty, NULL, 0);
    put_row(2, &empty, NULL, 0);
    fetch(1, 1);
    settle();
    w->now_ms += 120000;
    turn();
    assert_true(w->asked_since_s > 0);
    assert_true(w->asked_since_s + CART_RECENT_KEEP_S <= w->now_ms / 1000);
    cart_id_t users[2] = {id_of(1), id_of(2)};
    cart_place_t places[2] = {{1, 9}, {1, 9}};
    w->base_owner.purgeable(w->base_owner.context, users, places, 2);
    assert_int_equal(w->purged_count, 1);
    assert_int_equal(user_of(&w->purged[0]), 2);
    fetch(2, 2);
    settle();
    assert_int_equal(answer_to(2)->image.place.version, 9); /* never goes back */
}

static void stopping_commits_what_waits_and_saves_everything(void **state) {
    (void)state;
    for (unsigned user = 0; user < 50; user++) add(user, user + 1, 7, 1);
    engine_stop(w->engine);
    add(60, 100, 7, 1);
    settle();
    assert_int_equal(answer_to(100)->verdict.reason, CART_REASON_STOPPING);
    for (unsigned user = 0; user < 50; user++) {
        assert_int_equal(answer_to(user + 1)->verdict.outcome, CART_APPLIED);
        assert_true(w->rows[user].exists);
    }
    assert_true(engine_is_idle(w->engine));
}

static void the_queue_has_an_end(void **state) {
    (void)state;
    engine_origin_t origin = {.link = {.link = 1}};
    cart_request_t request = request_of(1, 1, true);
    for (unsigned i = 0; i < ENGINE_QUEUE_MAX; i++) {
        assert_int_equal(engine_change(w->engine, &origin, &request, w->now_ms + 5000), ENGINE_OK);
    }
    assert_int_equal(engine_change(w->engine, &origin, &request, w->now_ms + 5000), ENGINE_FULL);
    engine_drop_link(w->engine, 1);
    assert_int_equal(engine_change(w->engine, &origin, &request, w->now_ms + 5000), ENGINE_OK);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(nothing_is_answered_before_the_commit),
        T(changes_of_one_cart_are_chained_in_order),
        T(after_unknown_nothing_is_decided_until_a_load_has_told),
        T(an_unknown_commit_that_was_stored_makes_its_repeat_a_repeat),
        T(a_batch_of_repeats_waits_while_the_commit_point_recovers),
        T(a_commit_that_is_not_taken_is_tried_again_in_order),
        T(a_conflict_is_decided_again_on_the_newer_image),
        T(the_term_falls_only_when_the_base_has_confirmed),
        T(a_change_during_a_save_is_saved_again_on_top_of_it),
        T(a_failed_save_is_asked_for_again_later),
        T(phase_2_frees_only_what_the_base_has),
        T(a_fork_is_merged_committed_and_saved),
        T(a_fork_whose_commit_is_unknown_is_committed_again),
        T(seventy_keyed_changes_are_all_remembered_for_the_window),
        T(a_ring_that_may_not_evict_refuses_before_deciding),
        T(the_key_is_checked_before_the_condition),
        T(a_dropped_link_leaves_no_undecided_request),
        T(what_is_decided_already_is_answered_to_a_dropped_link),
        T(late_requests_are_refused_wherever_they_are),
        T(one_load_serves_all_who_wait_in_order),
        T(the_base_away_is_never_an_empty_cart),
        T(a_load_that_nobody_wants_is_thrown_away),
        T(a_cart_without_a_row_starts_above_the_floor),
        T(a_replayed_cart_gets_its_rings_from_the_base_first),
        T(a_replayed_cart_that_the_base_has_is_clean),
        T(a_replayed_cart_without_a_row_is_saved_soon),
        T(a_guest_is_sealed_absorbed_and_closed_in_one_batch),
        T(a_merge_counts_once_across_a_restart),
        T(a_merge_goes_on_from_a_sealed_guest),
        T(a_guest_without_a_cart_is_closed_all_the_same),
        T(a_merge_that_is_not_committed_leaves_both_as_they_were),
        T(sessions_are_checked_when_a_request_is_taken_up),
        T(missing_books_block_changes_that_need_one_and_nothing_else),
        T(released_carts_are_saved_soon_and_active_ones_by_the_cap),
        T(purge_spares_what_is_resident),
        T(stopping_commits_what_waits_and_saves_everything),
        T(the_queue_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
