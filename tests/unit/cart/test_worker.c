/* The edge's end alone: the test plays the service, frame by frame. Every transition of a parked request is here. */
#include "unit/cart/zone_fixture.h"

#include "cart/cart_frame.h"
#include "cart/cart_worker.h"
#include "cart/cart_worker_state.h"

#define BYTES (1 << 20)

static const cart_id_t service = {{9}};
static const cart_id_t session = {{3}};
static cart_zone_t zone;
static cart_worker_t *worker;
static uint64_t now_ms;

static struct {
    cart_ticket_t ticket;
    cart_answer_t answer;
} answers[64];
static unsigned answer_count;
static unsigned book_calls, full_begins, full_ends, revocation_calls, vouched_calls;
static uint64_t last_position;
static bool books_vouched, revoked_vouched;

static void on_answered(void *context, cart_ticket_t ticket, const cart_answer_t *answer) {
    (void)context;
    assert_true(answer_count < 64);
    answers[answer_count].ticket = ticket;
    answers[answer_count].answer.verdict = answer->verdict;
    answers[answer_count].answer.has_image = answer->has_image;
    answers[answer_count].answer.generation = answer->generation;
    if (answer->has_image) cart_image_copy(&answers[answer_count].answer.image, &answer->image);
    answer_count++;
}

static void on_books(void *context, const cart_book_record_t *books, unsigned count, bool full, bool last, bool given,
                     uint64_t generation, uint64_t position) {
    (void)context;
    (void)books;
    (void)given;
    assert_int_equal(generation, 4);
    if (full && count == 0 && !last) full_begins++;
    if (full && last) full_ends++;
    last_position = position;
    book_calls++;
}

static void on_revocations(void *context, const cart_revocation_t *list, unsigned count, bool full, bool last,
                           uint64_t generation, uint64_t position) {
    (void)context;
    (void)list;
    (void)count;
    (void)full;
    (void)last;
    (void)generation;
    (void)position;
    revocation_calls++;
}

static void on_vouched(void *context, bool books, bool revocations) {
    (void)context;
    books_vouched = books;
    revoked_vouched = revocations;
    vouched_calls++;
}

static cart_worker_config_t usual(void) {
    return (cart_worker_config_t){.write_timeout_ms = 1000,
                                  .ping_interval_ms = 100,
                                  .link_timeout_ms = 500,
                                  .reconnect_min_ms = 10,
                                  .reconnect_max_ms = 100,
                                  .lease_ms = 300,
                                  .pid = 100,
                                  .started = 1,
                                  .seed = 5};
}

static void create(const cart_worker_config_t *config) {
    const cart_worker_owner_t owner = {
        .answered = on_answered, .books = on_books, .revocations = on_revocations, .feeds_vouched = on_vouched};
    worker = cart_worker_create(&zone, config, &owner);
    assert_non_null(worker);
}

static int set_up(void **state) {
    (void)state;
    zone = fixture_zone(BYTES, 1, 1000);
    now_ms = 5000;
    answer_count = 0;
    book_calls = full_begins = full_ends = revocation_calls = vouched_calls = 0;
    const cart_worker_config_t config = usual();
    create(&config);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    cart_worker_destroy(worker);
    fixture_zone_free(&zone, BYTES);
    return 0;
}

/* ---- playing the service -------------------------------------------------------------------------------------------- */

static uint8_t sent[1 << 20];
static size_t sent_length;

/* Everything that the worker has to say now. */
static void collect(void) {
    const uint8_t *bytes;
    sent_length = cart_worker_output(worker, now_ms, &bytes);
    assert_true(sent_length <= sizeof(sent));
    if (sent_length > 0) memcpy(sent, bytes, sent_length);
    cart_worker_sent(worker, sent_length);
}

/* The n-th frame of the type among what was collected. */
static bool find(uint8_t type, unsigned n, cart_frame_t *frame) {
    size_t at = 0;
    size_t used;
    while (cart_frame_read(sent + at, sent_length - at, frame, &used) == CART_FRAME_OK) {
        if (frame->type == type && n-- == 0) return true;
        at += used;
    }
    assert_int_equal(at, sent_length);
    return false;
}

static bool say(const uint8_t *bytes, size_t length) {
    return cart_worker_received(worker, bytes, length, now_ms);
}

static bool say_record(uint8_t type, const uint8_t *record, size_t length) {
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_FRAME_BATCH_BYTES + CART_DONE_BYTES_MAX];
    cart_frame_header(bytes, type, 0, (uint32_t)(CART_FRAME_BATCH_BYTES + length));
    memcpy(bytes + 8, (uint8_t[]){1, 0, 0, 0}, 4);
    memcpy(bytes + 12, record, length);
    return say(bytes, 12 + length);
}

static cart_hello_t greet(void) {
    cart_frame_t frame;
    cart_hello_t hello;
    assert_true(cart_worker_wants_connect(worker, now_ms));
    cart_worker_connecting(worker, now_ms);
    cart_worker_connected(worker, now_ms);
    collect();
    assert_true(find(CART_FRAME_HELLO, 0, &frame));
    assert_true(cart_hello_read(&frame, &hello));
    return hello;
}

static bool say_welcome(const cart_welcome_t *welcome) {
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_WELCOME_BYTES];
    cart_welcome_write(bytes, welcome);
    return say(bytes, sizeof(bytes));
}

static void link_up(uint64_t push_next, bool resumed) {
    (void)greet();
    assert_true(
        say_welcome(&(cart_welcome_t){.service = service, .epoch = 1, .push_next = push_next, .resumed = resumed}));
    assert_true(cart_worker_is_up(worker));
}

static bool say_done(uint32_t number, cart_outcome_t outcome, uint64_t push, uint64_t generation,
                     const cart_image_t *image) {
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    uint8_t bytes[CART_DONE_BYTES_MAX];
    const cart_done_record_t record = {
        .number = number,
        .verdict = {.outcome = (uint8_t)outcome},
        .push = push,
        .generation = generation,
        .image = packed,
        .image_length = image == NULL ? 0 : (uint16_t)cart_image_pack(image, packed, sizeof(packed))};
    return say_record(CART_FRAME_DONE, bytes, cart_done_write(bytes, &record));
}

static bool say_cart(uint32_t number, cart_outcome_t outcome, uint64_t generation, const cart_image_t *image) {
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    uint8_t bytes[CART_CART_BYTES_MAX];
    const cart_cart_record_t record = {
        .number = number,
        .verdict = {.outcome = (uint8_t)outcome},
        .generation = generation,
        .image = packed,
        .image_length = image == NULL ? 0 : (uint16_t)cart_image_pack(image, packed, sizeof(packed))};
    return say_record(CART_FRAME_CART, bytes, cart_cart_write(bytes, &record));
}

static bool say_push(uint64_t number, const cart_id_t *user, uint64_t generation, const cart_image_t *image) {
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    uint8_t bytes[CART_PUSH_BYTES_MAX];
    const cart_push_record_t record = {
        .number = number,
        .generation = generation,
        .user = *user,
        .image = packed,
        .image_length = image == NULL ? 0 : (uint16_t)cart_image_pack(image, packed, sizeof(packed))};
    return say_record(CART_FRAME_PUSH, bytes, cart_push_write(bytes, &record));
}

static bool say_pong(uint64_t number, bool vouched) {
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_PING_BYTES];
    cart_ping_write(
        bytes, &(cart_ping_t){.number = number, .answer = true, .books_vouched = vouched, .revoked_vouched = vouched});
    return say(bytes, sizeof(bytes));
}

static cart_request_t request_of(const cart_id_t *user) {
    cart_request_t request;
    memset(&request, 0, sizeof(request));
    request.user = *user;
    request.session = session;
    const cart_id_t id = seeded_id();
    memcpy(request.request_id, id.bytes, sizeof(id.bytes));
    request.change_count = 1;
    request.changes[0] = (cart_change_t){.book = 7, .quantity = 2, .op = CART_SET};
    return request;
}

static cart_ticket_t change(const cart_id_t *user) {
    const cart_request_t request = request_of(user);
    cart_ticket_t ticket = 0;
    assert_int_equal(cart_worker_change(worker, &request, now_ms, &ticket), CART_WORKER_OK);
    assert_true(ticket != 0);
    return ticket;
}

static cart_ticket_t fetch(const cart_id_t *user, bool seat) {
    cart_ticket_t ticket = 0;
    assert_int_equal(cart_worker_fetch(worker, user, &session, 5, seat, now_ms, &ticket), CART_WORKER_OK);
    return ticket;
}

/* The only OPS or FETCH record among what was collected. */
static cart_op_record_t sent_op(void) {
    cart_frame_t frame;
    cart_batch_t batch;
    cart_op_record_t op;
    assert_true(find(CART_FRAME_OPS, 0, &frame));
    assert_true(cart_batch_open(&frame, &batch));
    assert_true(cart_op_next(&batch, &op));
    assert_true(cart_batch_is_complete(&batch));
    return op;
}

static cart_fetch_record_t sent_fetch(void) {
    cart_frame_t frame;
    cart_batch_t batch;
    cart_fetch_record_t record;
    assert_true(find(CART_FRAME_FETCH, 0, &frame));
    assert_true(cart_batch_open(&frame, &batch));
    assert_true(cart_fetch_next(&batch, &record));
    assert_true(cart_batch_is_complete(&batch));
    return record;
}

static cart_release_record_t sent_release(void) {
    cart_frame_t frame;
    cart_batch_t batch;
    cart_release_record_t record;
    assert_true(find(CART_FRAME_RELEASE, 0, &frame));
    assert_true(cart_batch_open(&frame, &batch));
    assert_true(cart_release_next(&batch, &record));
    return record;
}

static cart_seat_found_t look(const cart_id_t *user, cart_image_t *image) {
    cart_seat_info_t info;
    return cart_zone_read(&zone, user, now_ms, false, image, &info);
}

/* A vouched seat of version 5; its generation. */
static uint64_t seat(const cart_id_t *user) {
    const cart_image_t image = fixture_image(1, 5, 1, 2);
    (void)fetch(user, true); /* answered at once */
    collect();
    const cart_fetch_record_t record = sent_fetch();
    assert_true(say_cart(record.number, CART_APPLIED, record.generation, &image));
    return record.generation;
}

/* ---- tests ---------------------------------------------------------------------------------------------------------- */

static void a_change_is_sent_once_and_answered_once(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    cart_ticket_t ticket = change(&user);
    assert_int_equal(cart_worker_parked(worker), 1);
    now_ms += 300;
    collect();
    const cart_op_record_t op = sent_op();
    assert_int_equal(op.remaining_ms, 700);
    assert_true(cart_id_equal(&op.request.user, &user));
    collect();
    assert_int_equal(sent_length, 0);
    const cart_image_t image = fixture_image(1, 5, 1, 2);
    assert_true(say_done(op.number, CART_APPLIED, 0, 0, &image));
    assert_int_equal(answer_count, 1);
    assert_int_equal(answers[0].ticket, ticket);
    assert_int_equal(answers[0].answer.verdict.outcome, CART_APPLIED);
    assert_images_equal(&answers[0].answer.image, &image);
    assert_int_equal(cart_worker_parked(worker), 0);
    assert_false(say_done(op.number, CART_APPLIED, 0, 0, &image)); /* a second one is a protocol error */
    assert_true(cart_worker_wants_close(worker));
    assert_int_equal(answer_count, 1);
}

static void nothing_but_hello_leaves_before_welcome(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    (void)change(&user); /* answered by tear_down */
    (void)greet();
    collect();
    assert_int_equal(sent_length, 0);
    assert_false(cart_worker_is_up(worker));
}

static void a_request_that_was_never_sent_times_out_and_never_leaves(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_ticket_t ticket = change(&user);
    now_ms += 1000;
    (void)cart_worker_tick(worker, now_ms); /* when next does not matter */
    assert_int_equal(answer_count, 1);
    assert_int_equal(answers[0].ticket, ticket);
    assert_int_equal(answers[0].answer.verdict.outcome, CART_REFUSED);
    assert_int_equal(answers[0].answer.verdict.reason, CART_REASON_LATE);
    link_up(1, false);
    collect();
    cart_frame_t frame;
    assert_false(find(CART_FRAME_OPS, 0, &frame));
}

static void a_late_done_only_updates_the_seat(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    uint64_t generation = seat(&user);
    (void)change(&user); /* times out */
    collect();
    const cart_op_record_t op = sent_op();
    now_ms += 1000;
    (void)cart_worker_tick(worker, now_ms);
    assert_int_equal(answer_count, 2);
    assert_int_equal(answers[1].answer.verdict.reason, CART_REASON_LATE);
    const cart_image_t image = fixture_image(1, 6, 2, 3);
    worker->wants_close = false; /* the silence is not what this is about */
    assert_true(say_done(op.number, CART_APPLIED, 1, generation, &image));
    assert_int_equal(answer_count, 2);
    cart_image_t shown;
    assert_int_not_equal(look(&user, &shown), CART_SEAT_NONE);
    assert_int_equal(shown.place.version, 6);
    assert_int_equal(cart_worker_parked(worker), 0);
}

static void what_was_sent_goes_out_again_on_the_next_link_in_order(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t users[3] = {seeded_id(), seeded_id(), seeded_id()};
    for (int i = 0; i < 3; i++) (void)change(&users[i]); /* order is what counts */
    collect();
    cart_frame_t frame;
    assert_true(find(CART_FRAME_OPS, 0, &frame));
    now_ms += 100;
    cart_worker_disconnected(worker, now_ms);
    assert_false(cart_worker_wants_connect(worker, now_ms));
    now_ms += 200;
    link_up(1, true);
    collect();
    cart_batch_t batch;
    cart_op_record_t op;
    assert_true(find(CART_FRAME_OPS, 0, &frame));
    assert_true(cart_batch_open(&frame, &batch));
    for (int i = 0; i < 3; i++) {
        assert_true(cart_op_next(&batch, &op));
        assert_true(cart_id_equal(&op.request.user, &users[i]));
        assert_int_equal(op.remaining_ms, 700);
    }
    assert_true(cart_batch_is_complete(&batch));
}

static void a_request_told_503_is_not_sent_again(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    (void)change(&user); /* times out */
    collect();
    now_ms += 1000;
    (void)cart_worker_tick(worker, now_ms);
    cart_worker_disconnected(worker, now_ms);
    assert_int_equal(cart_worker_parked(worker), 0);
    now_ms += 300;
    link_up(1, true);
    collect();
    cart_frame_t frame;
    assert_false(find(CART_FRAME_OPS, 0, &frame));
    assert_int_equal(answer_count, 1);
}

static void a_cancelled_request_gets_no_answer(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    cart_worker_cancel(worker, change(&user)); /* never sent */
    collect();
    cart_frame_t frame;
    assert_false(find(CART_FRAME_OPS, 0, &frame));
    cart_ticket_t ticket = change(&user);
    collect();
    const cart_op_record_t op = sent_op();
    cart_worker_cancel(worker, ticket);
    cart_worker_cancel(worker, ticket); /* again, and after reuse, it is nothing */
    assert_int_equal(cart_worker_parked(worker), 1);
    const cart_image_t image = fixture_image(1, 5, 1, 2);
    assert_true(say_done(op.number, CART_APPLIED, 0, 0, &image));
    now_ms += 2000;
    (void)cart_worker_tick(worker, now_ms);
    assert_int_equal(answer_count, 0);
    assert_int_equal(cart_worker_parked(worker), 0);
}

static void a_stopping_worker_answers_everybody(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    (void)change(&user);
    collect();
    (void)fetch(&user, true);
    cart_worker_destroy(worker);
    assert_int_equal(answer_count, 2);
    for (int i = 0; i < 2; i++) assert_int_equal(answers[i].answer.verdict.reason, CART_REASON_STOPPING);
    cart_zone_stats_t stats;
    cart_zone_stats(&zone, now_ms, &stats);
    assert_int_equal(stats.slots_taken, 0);
    const cart_worker_config_t config = usual();
    create(&config);
}

static void a_full_worker_says_so(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    const cart_request_t request = request_of(&user);
    cart_ticket_t ticket, last = 0;
    for (unsigned i = 0; i < CART_WORKER_PARKED_MAX; i++)
        assert_int_equal(cart_worker_change(worker, &request, now_ms, &last), CART_WORKER_OK);
    assert_int_equal(cart_worker_change(worker, &request, now_ms, &ticket), CART_WORKER_FULL);
    assert_int_equal(cart_worker_fetch(worker, &user, &session, 5, true, now_ms, &ticket), CART_WORKER_FULL);
    cart_worker_cancel(worker, last);
    assert_int_equal(cart_worker_fetch(worker, &user, &session, 5, true, now_ms, &ticket), CART_WORKER_OK);
    /* Nobody waits for the rest of this. */
    for (unsigned i = 0; i < CART_WORKER_PARKED_MAX; i++) cart_worker_cancel(worker, (uint64_t)(i + 1) << 16 | i);
    cart_worker_cancel(worker, ticket);
    assert_int_equal(cart_worker_parked(worker), 0);
}

static void a_seat_is_reserved_before_its_fetch_leaves(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    cart_image_t image;
    (void)fetch(&user, true);
    assert_int_equal(look(&user, &image), CART_SEAT_NONE);
    collect();
    const cart_fetch_record_t record = sent_fetch();
    assert_true(record.generation > 0);
    assert_int_equal(look(&user, &image), CART_SEAT_EMPTY);
    const cart_image_t cart = fixture_image(1, 5, 1, 2);
    assert_true(say_cart(record.number, CART_APPLIED, record.generation, &cart));
    assert_int_equal(look(&user, &image), CART_SEAT_HIT);
    assert_int_equal(answers[0].answer.generation, record.generation);
}

static void a_fetch_without_a_seat_reserves_none(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    cart_image_t image;
    (void)fetch(&user, false);
    collect();
    const cart_fetch_record_t record = sent_fetch();
    assert_int_equal(record.generation, 0);
    const cart_image_t cart = fixture_image(1, 5, 1, 2);
    assert_true(say_cart(record.number, CART_APPLIED, 0, &cart));
    assert_int_equal(answer_count, 1);
    assert_int_equal(look(&user, &image), CART_SEAT_NONE);
}

static void a_seat_that_is_not_subscribed_is_given_up(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    cart_image_t image;
    (void)fetch(&user, true);
    collect();
    const cart_image_t cart = fixture_image(1, 5, 1, 2);
    assert_true(say_cart(sent_fetch().number, CART_APPLIED, 0, &cart));
    assert_int_equal(answer_count, 1);
    assert_true(answers[0].answer.has_image);
    assert_int_equal(look(&user, &image), CART_SEAT_NONE);
}

static void the_number_moves_on_with_every_push(void **state) {
    (void)state;
    link_up(8, false);
    const cart_id_t user = seeded_id();
    cart_image_t image;
    cart_slot_t slot;
    uint64_t generation = seat(&user);
    const cart_image_t newer = fixture_image(1, 6, 2, 3);
    assert_true(say_push(8, &user, generation, &newer));
    cart_zone_slot(&zone, 0, &slot);
    assert_int_equal(slot.push_seen, 8);
    assert_int_equal(look(&user, &image), CART_SEAT_HIT);
    assert_int_equal(image.place.version, 6);
    (void)change(&user);
    collect();
    const cart_image_t newest = fixture_image(1, 7, 3, 3);
    assert_true(say_done(sent_op().number, CART_APPLIED, 9, generation, &newest));
    cart_zone_slot(&zone, 0, &slot);
    assert_int_equal(slot.push_seen, 9);
    /* The next link resumes there. */
    cart_worker_disconnected(worker, now_ms);
    now_ms += 300;
    const cart_hello_t hello = greet();
    assert_int_equal(hello.push_seen, 9);
    assert_true(cart_id_equal(&hello.service, &service));
}

static void a_skipped_or_repeated_push_number_ends_the_link(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    const cart_image_t image = fixture_image(1, 6, 2, 3);
    link_up(8, false);
    assert_false(say_push(9, &user, 1, &image));
    cart_worker_disconnected(worker, now_ms);
    now_ms += 300;
    link_up(8, true);
    assert_true(say_push(8, &user, 1, &image));
    assert_false(say_push(8, &user, 1, &image));
}

static void a_push_for_a_seat_that_is_gone_is_released(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    uint64_t generation = seat(&user);
    cart_zone_drop(&zone, &user, 0);
    const cart_image_t newer = fixture_image(1, 6, 2, 3);
    assert_true(say_push(1, &user, generation, &newer));
    collect();
    const cart_release_record_t released = sent_release();
    assert_true(cart_id_equal(&released.user, &user));
    assert_int_equal(released.generation, generation);
    assert_int_equal(released.term, 2);
}

static void a_push_without_an_image_ends_the_seat(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    cart_image_t image;
    uint64_t generation = seat(&user);
    assert_true(say_push(1, &user, generation + 1, NULL));
    assert_int_equal(look(&user, &image), CART_SEAT_HIT);
    assert_true(say_push(2, &user, generation, NULL));
    assert_int_equal(look(&user, &image), CART_SEAT_NONE);
}

static void seats_are_revalidated_behind_a_gap(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    cart_image_t image;
    uint64_t generation = seat(&user);
    assert_int_equal(look(&user, &image), CART_SEAT_HIT);
    cart_worker_disconnected(worker, now_ms);
    assert_int_equal(look(&user, &image), CART_SEAT_HIT); /* until stale_max */
    now_ms += 200;
    link_up(7, false);
    assert_int_equal(look(&user, &image), CART_SEAT_UNVOUCHED);
    assert_true(seat(&user) > generation);
    assert_int_equal(look(&user, &image), CART_SEAT_HIT);
}

static void a_resume_that_was_not_asked_for_ends_the_link(void **state) {
    (void)state;
    (void)greet();
    assert_false(say_welcome(&(cart_welcome_t){.service = service, .epoch = 1, .push_next = 1, .resumed = true}));
}

static void refusals_close_the_link_and_back_off(void **state) {
    (void)state;
    for (uint8_t result = 1; result <= CART_WELCOME_RESULT_MAX; result++) {
        (void)greet();
        assert_true(say_welcome(&(cart_welcome_t){.result = result}));
        assert_true(cart_worker_wants_close(worker));
        cart_worker_disconnected(worker, now_ms);
        assert_false(cart_worker_wants_connect(worker, now_ms));
        now_ms += 200;
    }
}

static void an_edge_with_several_services_refuses_a_sole_owner(void **state) {
    (void)state;
    cart_worker_destroy(worker);
    cart_worker_config_t config = usual();
    config.several = true;
    create(&config);
    assert_true(greet().several);
    assert_true(say_welcome(&(cart_welcome_t){.service = service, .epoch = 1, .push_next = 1}));
    assert_true(cart_worker_wants_close(worker));
    cart_worker_disconnected(worker, now_ms);
    now_ms += 200;
    (void)greet();
    assert_true(say_welcome(&(cart_welcome_t){.service = service, .epoch = 1, .push_next = 1, .shared = true}));
    assert_true(cart_worker_is_up(worker));
}

static void a_silent_service_is_left(void **state) {
    (void)state;
    link_up(1, false);
    cart_frame_t frame;
    cart_ping_t ping;
    collect();
    assert_true(find(CART_FRAME_PING, 0, &frame)); /* at once: a resumed link must not wait for it */
    assert_true(cart_ping_read(&frame, &ping));
    now_ms += 100;
    assert_true(say_pong(ping.number, true));
    (void)cart_worker_tick(worker, now_ms);
    collect();
    assert_true(find(CART_FRAME_PING, 0, &frame));
    now_ms += 400;
    (void)cart_worker_tick(worker, now_ms); /* 500 since the sending of the first, which was answered */
    assert_false(cart_worker_wants_close(worker));
    now_ms += 1;
    (void)cart_worker_tick(worker, now_ms);
    assert_true(cart_worker_wants_close(worker));
    assert_false(cart_worker_is_up(worker));
}

static void staleness_counts_from_the_sending_of_the_ping(void **state) {
    (void)state;
    link_up(1, false);
    cart_frame_t frame;
    cart_ping_t ping;
    cart_slot_t slot;
    collect();
    assert_true(find(CART_FRAME_PING, 0, &frame) && cart_ping_read(&frame, &ping));
    now_ms += 333;
    assert_true(say_pong(ping.number, false));
    cart_zone_slot(&zone, 0, &slot);
    assert_int_equal(slot.answered_ms, now_ms - 333);
    assert_false(say_pong(ping.number, false)); /* answered twice, or never asked: not a service of ours */
}

static void feeds_are_followed_by_the_lease_and_told(void **state) {
    (void)state;
    link_up(1, false);
    assert_int_equal(vouched_calls, 1);
    assert_false(books_vouched);
    assert_true(cart_worker_holds_feeds(worker));
    collect();
    cart_frame_t frame;
    cart_ping_t ping;
    cart_follow_t follow;
    assert_true(find(CART_FRAME_FOLLOW, 0, &frame) && cart_follow_read(&frame, &follow));
    assert_true(find(CART_FRAME_PING, 0, &frame) && cart_ping_read(&frame, &ping));
    static uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_FRAME_PAYLOAD_MAX];
    size_t length = CART_LIST_BYTES;
    for (uint64_t i = 1; i <= 200; i++) {
        const cart_book_record_t book = {.book = i, .position = i, .title = "", .url = ""};
        length += cart_book_write(bytes + CART_FRAME_HEADER_BYTES + length, &book);
    }
    cart_list_write(bytes + CART_FRAME_HEADER_BYTES, 4, 200, 200);
    cart_frame_header(bytes, CART_FRAME_BOOKS, CART_LIST_FULL | CART_LIST_FIRST, (uint32_t)length);
    assert_true(say(bytes, CART_FRAME_HEADER_BYTES + length));
    assert_int_equal(full_begins, 1);
    assert_int_equal(full_ends, 0);
    cart_frame_header(bytes, CART_FRAME_BOOKS, 0, (uint32_t)length);
    book_calls = 0;
    assert_true(say(bytes, CART_FRAME_HEADER_BYTES + length));
    assert_int_equal(book_calls, 4); /* of 64 at most */
    assert_int_equal(last_position, 200);
    cart_frame_header(bytes, CART_FRAME_BOOKS, CART_LIST_FULL | CART_LIST_LAST, (uint32_t)length);
    assert_true(say(bytes, CART_FRAME_HEADER_BYTES + length));
    assert_int_equal(full_ends, 1);
    /* The books have caught up, the revocations have not. */
    assert_true(say_pong(ping.number, true));
    assert_int_equal(vouched_calls, 2);
    assert_true(books_vouched && revoked_vouched);
    uint64_t books_ms, revocations_ms;
    cart_zone_feeds_at(&zone, &books_ms, &revocations_ms);
    assert_int_equal(books_ms, now_ms);
    assert_int_equal(revocations_ms, 0);
}

static void a_stolen_lease_ends_the_following(void **state) {
    (void)state;
    link_up(1, false);
    collect();
    now_ms += 400; /* it has slept beyond its lease */
    uint16_t other;
    assert_true(cart_zone_take_slot(&zone, 101, 1, &other));
    assert_true(cart_zone_lease(&zone, other, now_ms, 300));
    (void)cart_worker_tick(worker, now_ms);
    assert_false(cart_worker_holds_feeds(worker));
    collect();
    cart_frame_t frame;
    cart_follow_t follow;
    assert_true(find(CART_FRAME_FOLLOW, 0, &frame) && cart_follow_read(&frame, &follow));
    assert_true(follow.stop);
}

static void bytes_may_come_one_by_one(void **state) {
    (void)state;
    link_up(1, false);
    const cart_id_t user = seeded_id();
    (void)fetch(&user, true);
    (void)change(&user);
    collect();
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    uint8_t bytes[2048];
    const cart_image_t image = fixture_image(1, 5, 1, 90);
    const cart_done_record_t record = {.number = sent_op().number,
                                       .verdict = {.outcome = CART_APPLIED},
                                       .image = packed,
                                       .image_length = (uint16_t)cart_image_pack(&image, packed, sizeof(packed))};
    size_t length = cart_done_write(bytes + 12, &record);
    cart_frame_header(bytes, CART_FRAME_DONE, 0, (uint32_t)(4 + length));
    memcpy(bytes + 8, (uint8_t[]){1, 0, 0, 0}, 4);
    for (size_t i = 0; i < 12 + length; i++) {
        assert_int_equal(answer_count, 0);
        assert_true(say(bytes + i, 1));
    }
    assert_int_equal(answer_count, 1);
    assert_images_equal(&answers[0].answer.image, &image);
}

static void nonsense_ends_the_link(void **state) {
    (void)state;
    const uint8_t header[8] = {0, 0, 0, 0, CART_FRAME_OPS, CART_PROTOCOL, 0, 0}; /* not for an edge */
    link_up(1, false);
    assert_false(say(header, sizeof(header)));
    assert_true(cart_worker_wants_close(worker));
    assert_true(say(header, sizeof(header))); /* not read any more */
}

static void nonsense_is_not_configured(void **state) {
    (void)state;
    cart_worker_config_t config = usual();
    assert_null(cart_worker_config_check(&config));
    config.write_timeout_ms = CART_WORKER_WRITE_TIMEOUT_MAX_MS + 1;
    assert_non_null(cart_worker_config_check(&config));
    config = usual();
    config.link_timeout_ms = config.ping_interval_ms;
    assert_non_null(cart_worker_config_check(&config));
    config = usual();
    config.reconnect_max_ms = config.reconnect_min_ms - 1;
    assert_non_null(cart_worker_config_check(&config));
    config = usual();
    config.pid = 0;
    assert_non_null(cart_worker_config_check(&config));
}

static void books_are_asked_for_on_a_link_only(void **state) {
    (void)state;
    uint64_t books[CART_WORKER_ASK_MAX + 1] = {7};
    assert_false(cart_worker_ask_books(worker, books, 1));
    link_up(1, false);
    assert_true(cart_worker_ask_books(worker, books, 1));
    assert_false(cart_worker_ask_books(worker, books, CART_WORKER_ASK_MAX + 1));
    collect();
    cart_frame_t frame;
    unsigned count;
    assert_true(find(CART_FRAME_ASK, 0, &frame));
    assert_true(cart_ask_read(&frame, books, &count));
    assert_int_equal(count, 1);
}

#define WITH_A_WORKER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    seeded_start("worker");
    const struct CMUnitTest tests[] = {
        WITH_A_WORKER(a_change_is_sent_once_and_answered_once),
        WITH_A_WORKER(nothing_but_hello_leaves_before_welcome),
        WITH_A_WORKER(a_request_that_was_never_sent_times_out_and_never_leaves),
        WITH_A_WORKER(a_late_done_only_updates_the_seat),
        WITH_A_WORKER(what_was_sent_goes_out_again_on_the_next_link_in_order),
        WITH_A_WORKER(a_request_told_503_is_not_sent_again),
        WITH_A_WORKER(a_cancelled_request_gets_no_answer),
        WITH_A_WORKER(a_stopping_worker_answers_everybody),
        WITH_A_WORKER(a_full_worker_says_so),
        WITH_A_WORKER(a_seat_is_reserved_before_its_fetch_leaves),
        WITH_A_WORKER(a_fetch_without_a_seat_reserves_none),
        WITH_A_WORKER(a_seat_that_is_not_subscribed_is_given_up),
        WITH_A_WORKER(the_number_moves_on_with_every_push),
        WITH_A_WORKER(a_skipped_or_repeated_push_number_ends_the_link),
        WITH_A_WORKER(a_push_for_a_seat_that_is_gone_is_released),
        WITH_A_WORKER(a_push_without_an_image_ends_the_seat),
        WITH_A_WORKER(seats_are_revalidated_behind_a_gap),
        WITH_A_WORKER(a_resume_that_was_not_asked_for_ends_the_link),
        WITH_A_WORKER(refusals_close_the_link_and_back_off),
        WITH_A_WORKER(an_edge_with_several_services_refuses_a_sole_owner),
        WITH_A_WORKER(a_silent_service_is_left),
        WITH_A_WORKER(staleness_counts_from_the_sending_of_the_ping),
        WITH_A_WORKER(feeds_are_followed_by_the_lease_and_told),
        WITH_A_WORKER(a_stolen_lease_ends_the_following),
        WITH_A_WORKER(bytes_may_come_one_by_one),
        WITH_A_WORKER(nonsense_ends_the_link),
        WITH_A_WORKER(nonsense_is_not_configured),
        WITH_A_WORKER(books_are_asked_for_on_a_link_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
