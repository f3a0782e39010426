/* The service's end alone: the test plays edges, frame by frame, and the engine. */
#include "unit/cart/seeded.h"

#include "cart/cart_frame.h"
#include "cart/cart_hub.h"

static const cart_id_t edge_a = {{1}};
static const cart_id_t edge_b = {{2}};
static const cart_id_t incarnation = {{9}};
static cart_hub_t *hub;
static uint64_t now_ms;

static struct {
    cart_origin_t origin;
    cart_id_t user;
    uint64_t deadline_ms;
} asked[64];
static unsigned asked_count, dropped_count, released_count, follow_count, ask_count;
static cart_link_t dropped[8];
static bool queue_full;

static bool on_change(void *context, const cart_origin_t *origin, const cart_request_t *request, uint64_t deadline_ms) {
    (void)context;
    if (queue_full) return false;
    asked[asked_count].origin = *origin;
    asked[asked_count].user = request->user;
    asked[asked_count++].deadline_ms = deadline_ms;
    return true;
}

static bool on_fetch(void *context, const cart_origin_t *origin, const cart_id_t *user, const cart_id_t *session,
                     uint64_t issued_s, uint64_t deadline_ms) {
    (void)context;
    (void)session;
    (void)issued_s;
    if (queue_full) return false;
    asked[asked_count].origin = *origin;
    asked[asked_count].user = *user;
    asked[asked_count++].deadline_ms = deadline_ms;
    return true;
}

static void on_drop(void *context, cart_link_t link) {
    (void)context;
    dropped[dropped_count++ % 8] = link;
}
static void on_released(void *context, const cart_id_t *user, uint64_t term) {
    (void)context;
    (void)user;
    (void)term;
    released_count++;
}
static void on_ask(void *context, cart_link_t link, const uint64_t *books, unsigned count) {
    (void)context;
    (void)link;
    (void)books;
    ask_count += count;
}
static void on_follow(void *context, cart_link_t link, uint64_t bg, uint64_t bp, uint64_t rg, uint64_t rp) {
    (void)context;
    (void)link;
    (void)bg;
    (void)bp;
    (void)rg;
    (void)rp;
    follow_count++;
}

static void create(bool shared, uint32_t subscriptions_max) {
    const cart_hub_config_t config = {.incarnation = incarnation,
                                      .epoch = 3,
                                      .shared = shared,
                                      .ping_timeout_ms = 1000,
                                      .subscriptions_max = subscriptions_max,
                                      .seed = 7};
    const cart_hub_engine_t engine = {.change = on_change,
                                      .fetch = on_fetch,
                                      .drop_link = on_drop,
                                      .released = on_released,
                                      .ask_books = on_ask,
                                      .follow = on_follow};
    hub = cart_hub_create(&config, &engine);
    assert_non_null(hub);
}

static int set_up(void **state) {
    (void)state;
    now_ms = 5000;
    asked_count = dropped_count = released_count = follow_count = ask_count = 0;
    queue_full = false;
    create(false, 100);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    cart_hub_destroy(hub);
    return 0;
}

/* ---- playing edges -------------------------------------------------------------------------------------------------- */

static uint8_t heard[1 << 20];
static size_t heard_length;

static void collect(cart_link_t link) {
    const uint8_t *bytes;
    heard_length = cart_hub_output(hub, link, &bytes);
    assert_true(heard_length <= sizeof(heard));
    if (heard_length > 0) memcpy(heard, bytes, heard_length);
    cart_hub_sent(hub, link, heard_length);
}

static bool find(uint8_t type, unsigned n, cart_frame_t *frame) {
    size_t at = 0;
    size_t used;
    while (cart_frame_read(heard + at, heard_length - at, frame, &used) == CART_FRAME_OK) {
        if (frame->type == type && n-- == 0) return true;
        at += used;
    }
    assert_int_equal(at, heard_length);
    return false;
}

static bool say(cart_link_t link, const uint8_t *bytes, size_t length) {
    return cart_hub_received(hub, link, bytes, length, now_ms);
}

static bool say_record(cart_link_t link, uint8_t type, const uint8_t *record, size_t length) {
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_FRAME_BATCH_BYTES + CART_OP_BYTES_MAX];
    cart_frame_header(bytes, type, 0, (uint32_t)(CART_FRAME_BATCH_BYTES + length));
    memcpy(bytes + 8, (uint8_t[]){1, 0, 0, 0}, 4);
    memcpy(bytes + 12, record, length);
    return say(link, bytes, 12 + length);
}

static cart_welcome_t greet(cart_link_t *link, const cart_hello_t *hello) {
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_HELLO_BYTES];
    cart_frame_t frame;
    cart_welcome_t welcome;
    *link = cart_hub_opened(hub, now_ms);
    assert_true(*link != 0);
    cart_hello_write(bytes, hello);
    assert_true(say(*link, bytes, sizeof(bytes)));
    collect(*link);
    assert_true(find(CART_FRAME_WELCOME, 0, &frame));
    assert_true(cart_welcome_read(&frame, &welcome));
    return welcome;
}

static cart_link_t link_up(const cart_id_t *edge, uint16_t slot, uint64_t number) {
    cart_link_t link;
    const cart_welcome_t welcome = greet(&link, &(cart_hello_t){.edge = *edge, .slot = slot, .link = number});
    assert_int_equal(welcome.result, CART_WELCOME_OK);
    assert_false(welcome.resumed);
    return link;
}

static void say_op(cart_link_t link, uint32_t number, const cart_id_t *user) {
    uint8_t bytes[CART_OP_BYTES_MAX];
    cart_op_record_t op;
    memset(&op, 0, sizeof(op));
    op.number = number;
    op.remaining_ms = 250;
    op.request.user = *user;
    op.request.change_count = 1;
    op.request.changes[0] = (cart_change_t){.book = 7, .quantity = 2, .op = CART_SET};
    assert_true(say_record(link, CART_FRAME_OPS, bytes, cart_op_write(bytes, &op)));
}

static void say_fetch(cart_link_t link, uint32_t number, const cart_id_t *user, uint64_t generation) {
    uint8_t bytes[CART_FETCH_BYTES];
    const cart_fetch_record_t record = {.number = number, .remaining_ms = 250, .user = *user, .generation = generation};
    assert_true(say_record(link, CART_FRAME_FETCH, bytes, cart_fetch_write(bytes, &record)));
}

static void say_release(cart_link_t link, const cart_id_t *user, uint64_t generation) {
    uint8_t bytes[CART_RELEASE_BYTES];
    const cart_release_record_t record = {.user = *user, .generation = generation, .term = 1};
    assert_true(say_record(link, CART_FRAME_RELEASE, bytes, cart_release_write(bytes, &record)));
}

static const cart_verdict_t applied = {.outcome = CART_APPLIED};
static const cart_verdict_t refused = {.outcome = CART_REFUSED, .reason = CART_REASON_BASE_AWAY};

static cart_image_t cart_at(uint64_t version) {
    cart_image_t image;
    memset(&image, 0, sizeof(image));
    image.place = (cart_place_t){3, version};
    return image;
}

/* Answers the newest request as a fetch. */
static void give_cart(const cart_verdict_t *verdict, uint64_t version) {
    const cart_image_t image = cart_at(version);
    cart_hub_cart(hub, &asked[asked_count - 1].origin, &asked[asked_count - 1].user, verdict,
                  verdict->outcome == CART_APPLIED ? &image : NULL);
}

static void give_done(const cart_verdict_t *verdict, uint64_t version) {
    const cart_image_t image = cart_at(version);
    cart_hub_done(hub, &asked[asked_count - 1].origin, &asked[asked_count - 1].user, verdict, &image);
}

static uint64_t subscribe(cart_link_t link, const cart_id_t *user, uint64_t generation) {
    cart_frame_t frame;
    cart_batch_t batch;
    cart_cart_record_t record;
    say_fetch(link, 900, user, generation);
    give_cart(&applied, 5);
    collect(link);
    assert_true(find(CART_FRAME_CART, 0, &frame) && cart_batch_open(&frame, &batch));
    assert_true(cart_cart_next(&batch, &record));
    return record.generation;
}

static cart_done_record_t heard_done(void) {
    cart_frame_t frame;
    cart_batch_t batch;
    cart_done_record_t record;
    assert_true(find(CART_FRAME_DONE, 0, &frame) && cart_batch_open(&frame, &batch));
    assert_true(cart_done_next(&batch, &record));
    return record;
}

/* The pushes among what was collected, over all frames. */
static unsigned heard_pushes(cart_push_record_t pushes[16]) {
    unsigned count = 0;
    cart_frame_t frame;
    for (unsigned n = 0; find(CART_FRAME_PUSH, n, &frame); n++) {
        cart_batch_t batch;
        assert_true(cart_batch_open(&frame, &batch));
        while (count < 16 && cart_push_next(&batch, &pushes[count])) count++;
        assert_true(cart_batch_is_complete(&batch));
    }
    return count;
}

/* ---- tests ---------------------------------------------------------------------------------------------------------- */

static void a_request_gets_a_deadline_and_one_answer(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_link_t link = link_up(&edge_a, 3, 1);
    say_op(link, 17, &user);
    assert_int_equal(asked_count, 1);
    assert_int_equal(asked[0].deadline_ms, now_ms + 250);
    give_done(&applied, 6);
    collect(link);
    const cart_done_record_t done = heard_done();
    assert_int_equal(done.number, 17);
    assert_int_equal(done.push, 0);
    assert_true(done.image_length > 0);
}

static void a_full_queue_is_refused_by_the_hub(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_link_t link = link_up(&edge_a, 3, 1);
    queue_full = true;
    say_op(link, 17, &user);
    say_fetch(link, 18, &user, 4);
    collect(link);
    const cart_done_record_t done = heard_done();
    assert_int_equal(done.verdict.outcome, CART_REFUSED);
    assert_int_equal(done.verdict.reason, CART_REASON_QUEUE);
    cart_frame_t frame;
    assert_true(find(CART_FRAME_CART, 0, &frame));
    assert_false(cart_hub_is_subscribed(hub, &user));
}

static void the_older_link_ends_before_the_newer_is_read(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_link_t old = link_up(&edge_a, 3, 1);
    say_op(old, 17, &user);
    cart_link_t other_slot = link_up(&edge_a, 4, 2);
    cart_link_t new = link_up(&edge_a, 3, 3);
    assert_int_equal(dropped_count, 1);
    assert_true(dropped[0] == old);
    say_op(old, 18, &user); /* still in a buffer: not read any more */
    assert_int_equal(asked_count, 1);
    bool close = false;
    bool closed = false;
    cart_link_t ready;
    while ((ready = cart_hub_next_ready(hub, &close)) != 0) {
        if (ready == old) closed = close;
        if (ready == new || ready == other_slot) assert_false(close);
    }
    assert_true(closed);
    cart_hub_closed(hub, old, now_ms);
    assert_int_equal(dropped_count, 1); /* told once */
    say_op(new, 19, &user);
    assert_int_equal(asked_count, 2);
}

static void an_older_link_number_is_refused(void **state) {
    (void)state;
    cart_link_t link = link_up(&edge_a, 3, 7);
    cart_link_t late;
    assert_int_equal(greet(&late, &(cart_hello_t){.edge = edge_a, .slot = 3, .link = 6}).result, CART_WELCOME_OLD_LINK);
    cart_hub_closed(hub, link, now_ms);
    assert_int_equal(greet(&late, &(cart_hello_t){.edge = edge_a, .slot = 3, .link = 7}).result, CART_WELCOME_OLD_LINK);
}

static void a_sole_owner_refuses_an_edge_with_several(void **state) {
    (void)state;
    cart_link_t link;
    const cart_hello_t hello = {.edge = edge_a, .slot = 3, .link = 1, .several = true};
    assert_int_equal(greet(&link, &hello).result, CART_WELCOME_SOLE);
    cart_hub_destroy(hub);
    create(true, 100);
    const cart_welcome_t welcome = greet(&link, &hello);
    assert_int_equal(welcome.result, CART_WELCOME_OK);
    assert_true(welcome.shared);
    assert_int_equal(welcome.epoch, 3);
}

static void another_protocol_is_told_which_one_is_spoken(void **state) {
    (void)state;
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_HELLO_BYTES];
    cart_frame_t frame;
    cart_welcome_t welcome;
    cart_link_t link = cart_hub_opened(hub, now_ms);
    cart_hello_write(bytes, &(cart_hello_t){.edge = edge_a, .slot = 3, .link = 1});
    bytes[5] = 2;
    assert_true(say(link, bytes, sizeof(bytes)));
    collect(link);
    assert_true(find(CART_FRAME_WELCOME, 0, &frame) && cart_welcome_read(&frame, &welcome));
    assert_int_equal(welcome.result, CART_WELCOME_PROTOCOL);
    assert_int_equal(welcome.protocol, CART_PROTOCOL);
}

static void a_change_is_pushed_to_the_others_and_numbered_for_its_own(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_push_record_t pushes[16];
    cart_link_t a = link_up(&edge_a, 3, 1);
    cart_link_t b = link_up(&edge_b, 3, 1);
    assert_int_equal(subscribe(a, &user, 4), 4);
    assert_int_equal(subscribe(b, &user, 9), 9);
    say_op(a, 17, &user);
    give_done(&applied, 6);
    collect(a);
    const cart_done_record_t done = heard_done();
    assert_int_equal(done.generation, 4);
    assert_true(done.push > 0);
    assert_int_equal(heard_pushes(pushes), 0);
    collect(b);
    assert_int_equal(heard_pushes(pushes), 1);
    assert_int_equal(pushes[0].generation, 9);
    /* What was not applied takes no number. */
    say_op(a, 18, &user);
    give_done(&refused, 6);
    collect(a);
    assert_int_equal(heard_done().push, 0);
    collect(b);
    assert_int_equal(heard_pushes(pushes), 0);
}

static void a_change_of_another_slot_of_the_edge_is_pushed(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_push_record_t pushes[16];
    cart_link_t a = link_up(&edge_a, 3, 1);
    cart_link_t b = link_up(&edge_a, 4, 2);
    assert_int_equal(subscribe(a, &user, 4), 4);
    say_op(b, 17, &user);
    give_done(&applied, 6);
    collect(b);
    assert_int_equal(heard_done().push, 0);
    collect(a);
    assert_int_equal(heard_pushes(pushes), 1);
    /* The seat moves to the other slot; an overtaken FETCH of the old generation does not take it back. */
    assert_int_equal(subscribe(b, &user, 6), 6);
    assert_int_equal(subscribe(a, &user, 5), 0);
    const cart_image_t image = cart_at(7);
    cart_hub_changed(hub, &user, &image);
    collect(a);
    assert_int_equal(heard_pushes(pushes), 0);
    collect(b);
    assert_int_equal(heard_pushes(pushes), 1);
}

static void a_link_that_comes_back_gets_what_it_missed(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_push_record_t pushes[16];
    cart_link_t link = link_up(&edge_a, 3, 1);
    (void)subscribe(link, &user, 4);
    cart_image_t image = cart_at(6);
    cart_hub_changed(hub, &user, &image);
    collect(link);
    assert_int_equal(heard_pushes(pushes), 1);
    const uint64_t seen = pushes[0].number;
    say_op(link, 17, &user);
    cart_hub_closed(hub, link, now_ms);
    give_done(&applied, 7); /* was decided already */
    image = cart_at(8);
    cart_hub_changed(hub, &user, &image);
    const cart_welcome_t welcome =
        greet(&link, &(cart_hello_t){.edge = edge_a, .slot = 3, .link = 2, .service = incarnation, .push_seen = seen});
    assert_true(welcome.resumed);
    assert_int_equal(welcome.push_next, seen + 1);
    assert_int_equal(heard_pushes(pushes), 2);
    assert_int_equal(pushes[0].number, seen + 1);
    assert_int_equal(pushes[1].number, seen + 2);
    assert_true(cart_hub_is_subscribed(hub, &user));
}

static void a_gap_ends_the_subscriptions_and_cannot_be_resumed_behind(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_link_t link = link_up(&edge_a, 3, 1);
    (void)subscribe(link, &user, 4);
    cart_hub_closed(hub, link, now_ms);
    const cart_id_t other = {{8}};
    cart_welcome_t welcome =
        greet(&link, &(cart_hello_t){.edge = edge_a, .slot = 3, .link = 2, .service = other, .push_seen = 1});
    assert_false(welcome.resumed);
    assert_false(cart_hub_is_subscribed(hub, &user));
    cart_hub_closed(hub, link, now_ms); /* and that WELCOME was lost */
    for (uint64_t seen = 0; seen + 1 < welcome.push_next; seen++) {
        cart_link_t again;
        assert_false(greet(&again,
                           &(cart_hello_t){
                               .edge = edge_a, .slot = 3, .link = 3 + seen, .service = incarnation, .push_seen = seen})
                         .resumed);
    }
}

static void too_many_pushes_without_a_link_are_a_gap(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_link_t link = link_up(&edge_a, 3, 1);
    (void)subscribe(link, &user, 4);
    cart_hub_closed(hub, link, now_ms);
    for (unsigned i = 0; i < CART_HUB_REPLAY_MAX; i++) {
        const cart_image_t image = cart_at(6 + i);
        cart_hub_changed(hub, &user, &image);
    }
    assert_true(cart_hub_is_subscribed(hub, &user));
    const cart_image_t image = cart_at(6 + CART_HUB_REPLAY_MAX);
    cart_hub_changed(hub, &user, &image);
    assert_false(cart_hub_is_subscribed(hub, &user));
}

static void a_slot_too_long_away_is_forgotten(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_link_t link = link_up(&edge_a, 3, 1);
    (void)subscribe(link, &user, 4);
    cart_hub_closed(hub, link, now_ms);
    now_ms += CART_HUB_RESUME_MS;
    (void)cart_hub_tick(hub, now_ms); /* when next does not matter */
    assert_true(cart_hub_is_subscribed(hub, &user));
    now_ms += 1;
    (void)cart_hub_tick(hub, now_ms);
    assert_false(cart_hub_is_subscribed(hub, &user));
}

static void a_release_ends_only_its_own_generation(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_link_t a = link_up(&edge_a, 3, 1);
    cart_link_t b = link_up(&edge_a, 4, 2);
    (void)subscribe(a, &user, 4);
    say_release(a, &user, 3);
    assert_int_equal(released_count, 0);
    assert_true(cart_hub_is_subscribed(hub, &user));
    say_release(b, &user, 4); /* any process of the edge may clear a seat */
    assert_int_equal(released_count, 1);
    assert_false(cart_hub_is_subscribed(hub, &user));
}

static void a_refused_fetch_ends_its_subscription_by_a_number(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_push_record_t pushes[16];
    cart_link_t link = link_up(&edge_a, 3, 1);
    (void)subscribe(link, &user, 4);
    say_fetch(link, 18, &user, 4);
    give_cart(&refused, 0);
    collect(link);
    assert_int_equal(heard_pushes(pushes), 1);
    assert_int_equal(pushes[0].image_length, 0);
    assert_int_equal(pushes[0].generation, 4);
    assert_false(cart_hub_is_subscribed(hub, &user));
}

static void ended_seats_are_told_once(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_push_record_t pushes[16];
    cart_link_t a = link_up(&edge_a, 3, 1);
    cart_link_t b = link_up(&edge_b, 3, 1);
    (void)subscribe(a, &user, 4);
    (void)subscribe(b, &user, 4);
    cart_hub_changed(hub, &user, NULL);
    cart_hub_changed(hub, &user, NULL);
    collect(a);
    assert_int_equal(heard_pushes(pushes), 1);
    assert_int_equal(pushes[0].image_length, 0);
    collect(b);
    assert_int_equal(heard_pushes(pushes), 1);
}

static void subscriptions_have_a_maximum(void **state) {
    (void)state;
    cart_hub_destroy(hub);
    create(false, 2);
    const cart_id_t users[3] = {seeded_id(), seeded_id(), seeded_id()};
    cart_link_t link = link_up(&edge_a, 3, 1);
    assert_int_equal(subscribe(link, &users[0], 1), 1);
    assert_int_equal(subscribe(link, &users[1], 2), 2);
    assert_int_equal(subscribe(link, &users[2], 3), 0);
    say_release(link, &users[0], 1);
    assert_int_equal(subscribe(link, &users[2], 4), 4);
}

static void links_have_a_maximum(void **state) {
    (void)state;
    cart_link_t links[CART_HUB_LINKS_MAX];
    for (unsigned i = 0; i < CART_HUB_LINKS_MAX; i++) assert_true((links[i] = cart_hub_opened(hub, now_ms)) != 0);
    assert_true(cart_hub_opened(hub, now_ms) == 0);
    cart_hub_closed(hub, links[7], now_ms);
    cart_link_t again = cart_hub_opened(hub, now_ms);
    assert_true(again != 0 && again != links[7]);
}

static void a_link_that_does_not_read_is_closed(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    cart_link_t link = link_up(&edge_a, 3, 1);
    (void)subscribe(link, &user, 4);
    cart_image_t image = cart_at(6);
    image.line_count = CART_LINES_MAX;
    for (unsigned i = 0; i < CART_LINES_MAX; i++) image.lines[i] = (cart_line_t){CART_BOOK_MAX - i, 9};
    bool close = false;
    unsigned pushes = 0;
    while (!close) {
        assert_true(pushes++ < CART_HUB_OUT_MAX / 500);
        image.place.version++;
        cart_hub_changed(hub, &user, &image);
        if (cart_hub_next_ready(hub, &close) == 0) close = false;
    }
    const uint8_t *bytes;
    assert_true(cart_hub_output(hub, link, &bytes) <= CART_HUB_OUT_MAX);
}

static void a_silent_link_is_closed(void **state) {
    (void)state;
    cart_link_t link = link_up(&edge_a, 3, 1);
    bool close = false;
    while (cart_hub_next_ready(hub, &close) != 0) {
    }
    now_ms += 1000;
    (void)cart_hub_tick(hub, now_ms);
    assert_true(cart_hub_next_ready(hub, &close) == 0);
    now_ms += 1;
    (void)cart_hub_tick(hub, now_ms);
    assert_true(cart_hub_next_ready(hub, &close) == link);
    assert_true(close);
}

static void pings_are_answered_behind_pushes(void **state) {
    (void)state;
    const cart_id_t user = seeded_id();
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_PING_BYTES];
    cart_link_t link = link_up(&edge_a, 3, 1);
    (void)subscribe(link, &user, 4);
    cart_hub_feeds_vouched(hub, true, false);
    collect(link);
    cart_frame_t frame;
    cart_ping_t ping;
    assert_true(find(CART_FRAME_PING, 0, &frame) && cart_ping_read(&frame, &ping));
    assert_true(!ping.answer && ping.books_vouched && !ping.revoked_vouched);
    const cart_image_t image = cart_at(6);
    cart_hub_changed(hub, &user, &image);
    cart_ping_write(bytes, &(cart_ping_t){.number = 77});
    assert_true(say(link, bytes, sizeof(bytes)));
    collect(link);
    assert_int_equal(heard[4], CART_FRAME_PUSH);
    assert_true(find(CART_FRAME_PING, 0, &frame) && cart_ping_read(&frame, &ping));
    assert_true(ping.answer && ping.books_vouched);
    assert_int_equal(ping.number, 77);
    /* Having stored what was never sent is nothing that an edge of ours says. */
    cart_ping_write(bytes, &(cart_ping_t){.number = 78, .push_seen = 1000});
    assert_false(say(link, bytes, sizeof(bytes)));
}

static void nonsense_is_a_protocol_error(void **state) {
    (void)state;
    const uint8_t done[8] = {0, 0, 0, 0, CART_FRAME_DONE, CART_PROTOCOL, 0, 0}; /* not for a service */
    cart_link_t link = link_up(&edge_a, 3, 1);
    assert_false(say(link, done, sizeof(done)));
    link = cart_hub_opened(hub, now_ms);
    const uint8_t ops[8] = {0, 0, 0, 0, CART_FRAME_OPS, CART_PROTOCOL, 0, 0}; /* before HELLO */
    assert_false(say(link, ops, sizeof(ops)));
    cart_hub_stats_t stats;
    cart_hub_stats(hub, &stats);
    assert_int_equal(stats.protocol_errors, 2);
    assert_false(cart_hub_received(hub, 12345, ops, sizeof(ops), now_ms));
}

/* ---- feeds ---------------------------------------------------------------------------------------------------------- */

static void books(cart_link_t to, unsigned count, uint64_t first, bool full, bool last, bool answers) {
    static cart_book_record_t list[4000];
    static char title[100];
    memset(title, 'x', sizeof(title));
    for (unsigned i = 0; i < count; i++)
        list[i] = (cart_book_record_t){
            .book = first + i, .position = first + i, .title = title, .title_length = 100, .url = ""};
    cart_hub_books(hub, to, list, count, full, last, answers, 4, first + count - 1);
}

static cart_list_t heard_list(uint8_t type, unsigned n) {
    cart_frame_t frame;
    cart_list_t list;
    assert_true(find(type, n, &frame));
    assert_true(cart_list_open(&frame, &list));
    return list;
}

static void say_follow(cart_link_t link) {
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_FOLLOW_BYTES];
    cart_follow_write(bytes, &(cart_follow_t){.books_generation = 4, .books_position = 2});
    assert_true(say(link, bytes, sizeof(bytes)));
}

static void a_full_list_has_one_beginning_and_one_end(void **state) {
    (void)state;
    cart_link_t link = link_up(&edge_a, 3, 1);
    cart_link_t other = link_up(&edge_a, 4, 2);
    say_follow(link);
    assert_int_equal(follow_count, 1);
    books(link, 2000, 1, true, false, false);
    books(link, 2000, 2001, true, true, false);
    collect(link);
    cart_frame_t frame;
    unsigned firsts = 0, lasts = 0, frames = 0, records = 0;
    for (; find(CART_FRAME_BOOKS, frames, &frame); frames++) {
        cart_list_t list = heard_list(CART_FRAME_BOOKS, frames);
        assert_true((list.flags & CART_LIST_FULL) != 0);
        firsts += (list.flags & CART_LIST_FIRST) != 0;
        lasts += (list.flags & CART_LIST_LAST) != 0;
        records += list.records.left;
        if (frames == 0) assert_int_equal(firsts, 1);
    }
    assert_true(frames > 2);
    assert_int_equal(firsts, 1);
    assert_int_equal(lasts, 1);
    assert_int_equal(records, 4000);
    collect(other);
    assert_false(find(CART_FRAME_BOOKS, 0, &frame));
}

static void a_change_ahead_of_its_turn_does_not_move_the_place(void **state) {
    (void)state;
    cart_link_t link = link_up(&edge_a, 3, 1);
    say_follow(link);
    books(0, 1, 50, false, true, false); /* before the follower was answered */
    collect(link);
    assert_int_equal(heard_list(CART_FRAME_BOOKS, 0).flags, CART_LIST_ANSWERS);
    books(link, 10, 1, true, false, false);
    books(0, 1, 51, false, true, false); /* in the middle of its list */
    collect(link);
    assert_int_equal(heard_list(CART_FRAME_BOOKS, 1).flags, CART_LIST_ANSWERS);
    assert_int_equal(heard_list(CART_FRAME_BOOKS, 2).flags, CART_LIST_FULL);
    books(link, 10, 11, true, true, false);
    books(0, 1, 52, false, true, false);
    collect(link);
    const cart_list_t change = heard_list(CART_FRAME_BOOKS, 1);
    assert_int_equal(change.flags, CART_LIST_LAST);
    assert_int_equal(change.position, 52);
    const cart_revocation_t revocation = {.id = edge_a, .position = 9, .kind = CART_REVOKE_SESSION};
    cart_hub_revocations(hub, 0, &revocation, 1, false, true, 4, 9);
    collect(link);
    assert_int_equal(heard_list(CART_FRAME_REVOKE, 0).position, 0); /* that feed has not caught up */
    cart_hub_revocations(hub, link, NULL, 0, false, true, 4, 9);
    cart_hub_revocations(hub, 0, &revocation, 1, false, true, 4, 10);
    collect(link);
    assert_int_equal(heard_list(CART_FRAME_REVOKE, 1).position, 10);
}

static void a_long_change_moves_the_place_as_far_as_it_has_come(void **state) {
    (void)state;
    cart_link_t link = link_up(&edge_a, 3, 1);
    say_follow(link);
    books(link, 3000, 1, false, true, false);
    collect(link);
    cart_frame_t frame;
    uint64_t reached = 0;
    unsigned n = 0;
    for (; find(CART_FRAME_BOOKS, n, &frame); n++) {
        const cart_list_t list = heard_list(CART_FRAME_BOOKS, n);
        reached += list.records.left;
        assert_int_equal(list.position, reached);
    }
    assert_true(n > 1);
    assert_int_equal(reached, 3000);
}

static void questions_are_answered_to_who_asked(void **state) {
    (void)state;
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_ASK_BYTES_MAX];
    cart_link_t link = link_up(&edge_a, 3, 1);
    assert_true(say(link, bytes, cart_ask_write(bytes, (uint64_t[]){7, 8}, 2)));
    assert_int_equal(ask_count, 2);
    books(link, 1, 7, false, true, true);
    collect(link);
    assert_int_equal(heard_list(CART_FRAME_BOOKS, 0).flags, CART_LIST_ANSWERS);
}

#define WITH_A_HUB(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    seeded_start("hub");
    const struct CMUnitTest tests[] = {
        WITH_A_HUB(a_request_gets_a_deadline_and_one_answer),
        WITH_A_HUB(a_full_queue_is_refused_by_the_hub),
        WITH_A_HUB(the_older_link_ends_before_the_newer_is_read),
        WITH_A_HUB(an_older_link_number_is_refused),
        WITH_A_HUB(a_sole_owner_refuses_an_edge_with_several),
        WITH_A_HUB(another_protocol_is_told_which_one_is_spoken),
        WITH_A_HUB(a_change_is_pushed_to_the_others_and_numbered_for_its_own),
        WITH_A_HUB(a_change_of_another_slot_of_the_edge_is_pushed),
        WITH_A_HUB(a_link_that_comes_back_gets_what_it_missed),
        WITH_A_HUB(a_gap_ends_the_subscriptions_and_cannot_be_resumed_behind),
        WITH_A_HUB(too_many_pushes_without_a_link_are_a_gap),
        WITH_A_HUB(a_slot_too_long_away_is_forgotten),
        WITH_A_HUB(a_release_ends_only_its_own_generation),
        WITH_A_HUB(a_refused_fetch_ends_its_subscription_by_a_number),
        WITH_A_HUB(ended_seats_are_told_once),
        WITH_A_HUB(subscriptions_have_a_maximum),
        WITH_A_HUB(links_have_a_maximum),
        WITH_A_HUB(a_link_that_does_not_read_is_closed),
        WITH_A_HUB(a_silent_link_is_closed),
        WITH_A_HUB(pings_are_answered_behind_pushes),
        WITH_A_HUB(nonsense_is_a_protocol_error),
        WITH_A_HUB(a_full_list_has_one_beginning_and_one_end),
        WITH_A_HUB(a_change_ahead_of_its_turn_does_not_move_the_place),
        WITH_A_HUB(a_long_change_moves_the_place_as_far_as_it_has_come),
        WITH_A_HUB(questions_are_answered_to_who_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
