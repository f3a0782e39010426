/* The codec: every frame there and back, every truncation before a guard page, every bit flipped, every size too much. */
#include "unit/cart/seeded.h"

#include "cart/cart_decide.h"
#include "cart/cart_frame.h"
#include "cart/cart_out.h"

#define FRAME_MAX (CART_FRAME_HEADER_BYTES + CART_FRAME_PAYLOAD_MAX)

static cart_out_t out;

static cart_request_t random_request(unsigned changes) {
    cart_request_t request;
    memset(&request, 0, sizeof(request));
    request.user = seeded_id();
    request.session = seeded_id();
    request.issued_s = seeded_u64();
    const cart_id_t id = seeded_id();
    memcpy(request.request_id, id.bytes, sizeof(request.request_id));
    request.digest = seeded_u64();
    request.keyed = seeded_chance(2);
    request.condition = (uint8_t)seeded_below(3);
    if (request.condition == CART_IF_PLACE) request.expected = (cart_place_t){1 + seeded_below(9), seeded_u64()};
    request.change_count = (uint16_t)changes;
    for (unsigned i = 0; i < changes; i++)
        request.changes[i] =
            (cart_change_t){.book = 1 + seeded_below(1000), .quantity = 1 + (int)seeded_below(99), .op = CART_ADD};
    return request;
}

static void assert_requests_equal(const cart_request_t *a, const cart_request_t *b) {
    assert_true(cart_id_equal(&a->user, &b->user));
    assert_true(cart_id_equal(&a->session, &b->session));
    assert_int_equal(a->issued_s, b->issued_s);
    assert_memory_equal(a->request_id, b->request_id, CART_REQUEST_BYTES);
    assert_int_equal(a->digest, b->digest);
    assert_int_equal(a->keyed, b->keyed);
    assert_int_equal(a->condition, b->condition);
    assert_int_equal(a->expected.epoch, b->expected.epoch);
    assert_int_equal(a->expected.version, b->expected.version);
    assert_int_equal(a->change_count, b->change_count);
    for (unsigned i = 0; i < a->change_count; i++) {
        assert_int_equal(a->changes[i].op, b->changes[i].op);
        assert_int_equal(a->changes[i].book, b->changes[i].book);
        assert_int_equal(a->changes[i].quantity, b->changes[i].quantity);
    }
}

/* ---- one sample of each frame -------------------------------------------------------------------------------------- */

static uint16_t sample_image(uint8_t packed[CART_IMAGE_PACKED_MAX]) {
    cart_image_t image;
    seeded_image(&image, 5);
    return (uint16_t)cart_image_pack(&image, packed, CART_IMAGE_PACKED_MAX);
}

static size_t sample_book(uint8_t *bytes) {
    const cart_book_record_t book = {.book = 7,
                                     .position = 12,
                                     .price_minor = 1299,
                                     .available = 3,
                                     .availability = CART_LOW_STOCK,
                                     .author_count = 2,
                                     .title_length = 4,
                                     .url_length = 6,
                                     .title = "Emma",
                                     .url = "/e.jpg",
                                     .authors = {"Jane Austen", "A. N. Other"},
                                     .author_lengths = {11, 11}};
    return cart_book_write(bytes, &book);
}

/* A frame of this type with two records where it has records; returns its length. */
static size_t sample(uint8_t type, uint8_t *bytes) {
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    cart_out_init(&out, FRAME_MAX * 2);
    uint8_t *body = bytes + CART_FRAME_HEADER_BYTES;
    size_t length;
    switch (type) {
    case CART_FRAME_HELLO:
        cart_hello_write(
            bytes,
            &(cart_hello_t){.edge = seeded_id(), .slot = 127, .link = 3, .push_seen = seeded_u64(), .several = true});
        return CART_FRAME_HEADER_BYTES + CART_HELLO_BYTES;
    case CART_FRAME_WELCOME:
        cart_welcome_write(
            bytes, &(cart_welcome_t){
                       .service = seeded_id(), .epoch = 4, .push_next = 9, .shared = true, .revoked_vouched = true});
        return CART_FRAME_HEADER_BYTES + CART_WELCOME_BYTES;
    case CART_FRAME_PING:
        cart_ping_write(bytes, &(cart_ping_t){.number = seeded_u64(), .push_seen = 5, .answer = true});
        return CART_FRAME_HEADER_BYTES + CART_PING_BYTES;
    case CART_FRAME_FOLLOW:
        cart_follow_write(bytes, &(cart_follow_t){.books_generation = 1, .books_position = seeded_u64()});
        return CART_FRAME_HEADER_BYTES + CART_FOLLOW_BYTES;
    case CART_FRAME_ASK:
        return cart_ask_write(bytes, (uint64_t[]){7, CART_BOOK_MAX}, 2);
    case CART_FRAME_BOOKS:
        cart_list_write(body, 1, 12, 2);
        length = CART_LIST_BYTES;
        length += sample_book(body + length);
        length += sample_book(body + length);
        cart_frame_header(bytes, type, CART_LIST_FULL | CART_LIST_FIRST, (uint32_t)length);
        return CART_FRAME_HEADER_BYTES + length;
    case CART_FRAME_REVOKE:
        cart_list_write(body, 1, 12, 2);
        length = CART_LIST_BYTES;
        for (int i = 0; i < 2; i++)
            length += cart_revocation_write(
                body + length, &(cart_revocation_t){.id = seeded_id(), .position = 3, .kind = CART_REVOKE_USER});
        cart_frame_header(bytes, type, CART_LIST_LAST, (uint32_t)length);
        return CART_FRAME_HEADER_BYTES + length;
    default:
        break;
    }
    for (int i = 0; i < 2; i++) {
        const uint16_t image = sample_image(packed);
        uint8_t *to = cart_out_record(&out, type, CART_OP_BYTES_MAX);
        assert_non_null(to);
        size_t used = 0;
        if (type == CART_FRAME_OPS) {
            cart_op_record_t op = {.number = 7, .remaining_ms = 100};
            op.request = random_request(3);
            used = cart_op_write(to, &op);
        } else if (type == CART_FRAME_DONE) {
            used = cart_done_write(to, &(cart_done_record_t){.number = 7,
                                                             .verdict = {CART_APPLIED, 0, 0},
                                                             .push = 3,
                                                             .generation = 4,
                                                             .image = packed,
                                                             .image_length = image});
        } else if (type == CART_FRAME_FETCH) {
            used = cart_fetch_write(
                to, &(cart_fetch_record_t){
                        .number = 8, .remaining_ms = 5, .user = seeded_id(), .session = seeded_id(), .generation = 9});
        } else if (type == CART_FRAME_CART) {
            used = cart_cart_write(to, &(cart_cart_record_t){.number = 7,
                                                             .verdict = {CART_APPLIED, 0, 0},
                                                             .generation = 4,
                                                             .image = packed,
                                                             .image_length = image});
        } else if (type == CART_FRAME_PUSH) {
            used = cart_push_write(
                to, &(cart_push_record_t){
                        .number = 7, .generation = 4, .user = seeded_id(), .image = packed, .image_length = image});
        } else if (type == CART_FRAME_RELEASE) {
            used = cart_release_write(to, &(cart_release_record_t){.user = seeded_id(), .generation = 4, .term = 2});
        }
        cart_out_record_add(&out, used);
    }
    const uint8_t *taken;
    length = cart_out_take(&out, &taken);
    memcpy(bytes, taken, length);
    cart_out_deinit(&out);
    return length;
}

/* Whether the bytes are one frame whose payload is valid to the end. */
static bool reads(const uint8_t *bytes, size_t length) {
    cart_frame_t frame;
    size_t used;
    if (cart_frame_read(bytes, length, &frame, &used) != CART_FRAME_OK || used != length) return false;
    union {
        cart_hello_t hello;
        cart_welcome_t welcome;
        cart_ping_t ping;
        cart_follow_t follow;
        uint64_t books[CART_WORKER_ASK_MAX];
        cart_op_record_t op;
        cart_done_record_t done;
        cart_fetch_record_t fetch;
        cart_cart_record_t cart;
        cart_push_record_t push;
        cart_release_record_t release;
        cart_book_record_t book;
        cart_revocation_t revocation;
    } record;
    unsigned count;
    cart_batch_t batch;
    cart_list_t list;
    switch (frame.type) {
    case CART_FRAME_HELLO:
        return cart_hello_read(&frame, &record.hello);
    case CART_FRAME_WELCOME:
        return cart_welcome_read(&frame, &record.welcome);
    case CART_FRAME_PING:
        return cart_ping_read(&frame, &record.ping);
    case CART_FRAME_FOLLOW:
        return cart_follow_read(&frame, &record.follow);
    case CART_FRAME_ASK:
        return cart_ask_read(&frame, record.books, &count);
    case CART_FRAME_BOOKS:
        if (!cart_list_open(&frame, &list)) return false;
        while (cart_book_next(&list.records, &record.book)) {
        }
        return cart_batch_is_complete(&list.records);
    case CART_FRAME_REVOKE:
        if (!cart_list_open(&frame, &list)) return false;
        while (cart_revocation_next(&list.records, &record.revocation)) {
        }
        return cart_batch_is_complete(&list.records);
    default:
        break;
    }
    if (!cart_batch_open(&frame, &batch)) return false;
    bool more = true;
    while (more) {
        more = frame.type == CART_FRAME_OPS       ? cart_op_next(&batch, &record.op)
               : frame.type == CART_FRAME_DONE    ? cart_done_next(&batch, &record.done)
               : frame.type == CART_FRAME_FETCH   ? cart_fetch_next(&batch, &record.fetch)
               : frame.type == CART_FRAME_CART    ? cart_cart_next(&batch, &record.cart)
               : frame.type == CART_FRAME_PUSH    ? cart_push_next(&batch, &record.push)
               : frame.type == CART_FRAME_RELEASE ? cart_release_next(&batch, &record.release)
                                                  : false;
    }
    return cart_batch_is_complete(&batch);
}

/* ---- tests --------------------------------------------------------------------------------------------------------- */

static void every_sample_reads(void **state) {
    (void)state;
    static uint8_t bytes[FRAME_MAX];
    for (uint8_t type = 1; type <= CART_FRAME_TYPE_MAX; type++) {
        size_t length = sample(type, bytes);
        if (!reads(bytes, length)) fail_msg("%s does not read", cart_frame_name(type));
        assert_string_not_equal(cart_frame_name(type), "?");
    }
    assert_string_equal(cart_frame_name(0), "?");
    assert_string_equal(cart_frame_name(CART_FRAME_TYPE_MAX + 1), "?");
}

static void requests_come_back_as_they_went(void **state) {
    (void)state;
    static uint8_t bytes[FRAME_MAX];
    for (unsigned long i = 0; i < seeded_rounds(20000); i++) {
        cart_op_record_t op = {.number = (uint32_t)seeded_u64(), .remaining_ms = 1 + seeded_below(30000)};
        op.request = random_request(1 + seeded_below(seeded_chance(20) ? CART_CHANGES_MAX : 3));
        size_t length = cart_op_write(bytes, &op);
        assert_true(length <= CART_OP_BYTES_MAX);
        cart_batch_t batch = {.at = bytes, .end = bytes + length, .left = 1};
        cart_op_record_t back;
        assert_true(cart_op_next(&batch, &back));
        assert_true(cart_batch_is_complete(&batch));
        assert_int_equal(back.number, op.number);
        assert_int_equal(back.remaining_ms, op.remaining_ms);
        assert_requests_equal(&back.request, &op.request);
        /* What waits is written without number and time, and completed when it leaves. */
        uint8_t patched[CART_OP_BYTES_MAX];
        assert_int_equal(cart_op_write_request(patched, &op.request), length);
        cart_record_patch(patched, op.number, op.remaining_ms);
        assert_memory_equal(patched, bytes, length);
    }
}

static void answers_come_back_as_they_went(void **state) {
    (void)state;
    uint8_t bytes[CART_DONE_BYTES_MAX];
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    for (unsigned long i = 0; i < seeded_rounds(20000); i++) {
        cart_image_t image, back_image;
        seeded_image(&image, CART_LINES_MAX);
        bool pushed = seeded_chance(2);
        const cart_done_record_t done = {.number = (uint32_t)seeded_u64(),
                                         .verdict = {(uint8_t)(1 + seeded_below(CART_SESSION_ENDED)),
                                                     (uint8_t)seeded_below(10), (uint16_t)seeded_below(100)},
                                         .push = pushed ? 1 + (seeded_u64() >> 1) : 0,
                                         .generation = pushed ? 1 + (seeded_u64() >> 1) : 0,
                                         .image = packed,
                                         .image_length = (uint16_t)cart_image_pack(&image, packed, sizeof(packed))};
        size_t length = cart_done_write(bytes, &done);
        assert_true(length <= CART_DONE_BYTES_MAX);
        cart_batch_t batch = {.at = bytes, .end = bytes + length, .left = 1};
        cart_done_record_t back;
        assert_true(cart_done_next(&batch, &back));
        assert_true(cart_batch_is_complete(&batch));
        assert_int_equal(back.number, done.number);
        assert_memory_equal(&back.verdict, &done.verdict, sizeof(done.verdict));
        assert_int_equal(back.push, done.push);
        assert_int_equal(back.generation, done.generation);
        assert_true(cart_image_unpack(back.image, back.image_length, &back_image));
        assert_images_equal(&back_image, &image);
    }
}

static void no_truncation_reads_or_reads_beyond(void **state) {
    (void)state;
    static uint8_t bytes[FRAME_MAX];
    seeded_guard_t guard = seeded_guard(FRAME_MAX);
    for (uint8_t type = 1; type <= CART_FRAME_TYPE_MAX; type++) {
        size_t length = sample(type, bytes);
        for (size_t cut = 0; cut < length; cut++) {
            /* The stream ends early: not all there yet. */
            uint8_t *at = guard.end - cut;
            memcpy(at, bytes, cut);
            cart_frame_t frame;
            size_t used;
            assert_int_equal(cart_frame_read(at, cut, &frame, &used), CART_FRAME_MORE);
            if (cut < CART_FRAME_HEADER_BYTES) continue;
            /* The frame says that it is shorter: malformed. */
            cart_put_u32(at, (uint32_t)(cut - CART_FRAME_HEADER_BYTES));
            if (reads(at, cut)) fail_msg("%s cut to %zu bytes reads", cart_frame_name(type), cut);
        }
        /* And longer. */
        memset(bytes + length, 0, 8);
        for (size_t more = 1; more <= 8; more++) {
            cart_put_u32(bytes, (uint32_t)(length + more - CART_FRAME_HEADER_BYTES));
            assert_false(reads(bytes, length + more));
        }
    }
    seeded_unguard(&guard);
}

static void flipped_bits_read_as_something_valid_or_not_at_all(void **state) {
    (void)state;
    static uint8_t bytes[FRAME_MAX];
    seeded_guard_t guard = seeded_guard(FRAME_MAX);
    for (uint8_t type = 1; type <= CART_FRAME_TYPE_MAX; type++) {
        size_t length = sample(type, bytes);
        uint8_t *at = guard.end - length;
        memcpy(at, bytes, length);
        for (size_t bit = 0; bit < length * 8; bit++) {
            at[bit / 8] ^= (uint8_t)(1 << bit % 8);
            bool header = bit < CART_FRAME_HEADER_BYTES * 8;
            bool good = reads(at, length);
            if (header && bit / 8 == 5) assert_false(good); /* another protocol */
            if (header && bit / 8 < 4) assert_false(good);  /* another length */
            at[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_true(reads(at, length));
    }
    seeded_unguard(&guard);
}

static void headers_beyond_limits_are_bad_at_once(void **state) {
    (void)state;
    uint8_t bytes[CART_FRAME_HEADER_BYTES];
    cart_frame_t frame;
    size_t used;
    cart_frame_header(bytes, CART_FRAME_PING, 0, CART_FRAME_PAYLOAD_MAX);
    assert_int_equal(cart_frame_read(bytes, 8, &frame, &used), CART_FRAME_MORE);
    cart_put_u32(bytes, CART_FRAME_PAYLOAD_MAX + 1);
    assert_int_equal(cart_frame_read(bytes, 8, &frame, &used), CART_FRAME_BAD);
    cart_frame_header(bytes, CART_FRAME_PING, 0, 16);
    bytes[4] = 0;
    assert_int_equal(cart_frame_read(bytes, 8, &frame, &used), CART_FRAME_BAD);
    bytes[4] = CART_FRAME_TYPE_MAX + 1;
    assert_int_equal(cart_frame_read(bytes, 8, &frame, &used), CART_FRAME_BAD);
    bytes[4] = CART_FRAME_PING;
    bytes[5] = CART_PROTOCOL + 1;
    assert_int_equal(cart_frame_read(bytes, 8, &frame, &used), CART_FRAME_BAD);
    bytes[5] = CART_PROTOCOL;
    bytes[7] = 0x80;
    assert_int_equal(cart_frame_read(bytes, 8, &frame, &used), CART_FRAME_BAD);
}

static void greetings_of_another_protocol_are_told_apart(void **state) {
    (void)state;
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_HELLO_BYTES];
    (void)sample(CART_FRAME_HELLO, bytes); /* its length is the buffer's */
    cart_frame_t frame;
    cart_hello_t hello;
    size_t used;
    assert_int_equal(cart_frame_read(bytes, sizeof(bytes), &frame, &used), CART_FRAME_OK);
    assert_false(cart_hello_is_other_protocol(&frame));
    bytes[5] = 9;
    bytes[7] = 0xff; /* flags of a protocol that we do not know */
    bytes[CART_FRAME_HEADER_BYTES + 4] = 9;
    assert_int_equal(cart_frame_read(bytes, sizeof(bytes), &frame, &used), CART_FRAME_OK);
    assert_true(cart_hello_is_other_protocol(&frame));
    assert_false(cart_hello_read(&frame, &hello));
    bytes[CART_FRAME_HEADER_BYTES] ^= 1; /* no bookcart at all */
    assert_false(cart_hello_is_other_protocol(&frame));
}

static bool op_reads_with(void (*spoil)(cart_op_record_t *)) {
    uint8_t bytes[CART_OP_BYTES_MAX];
    cart_op_record_t op = {.number = 1, .remaining_ms = 100};
    op.request = random_request(2);
    op.request.condition = CART_IF_NONE;
    spoil(&op);
    size_t length = cart_op_write(bytes, &op);
    cart_batch_t batch = {.at = bytes, .end = bytes + length, .left = 1};
    return cart_op_next(&batch, &op);
}

static void as_it_is(cart_op_record_t *op) {
    (void)op;
}
static void no_time(cart_op_record_t *op) {
    op->remaining_ms = 0;
}
static void too_long(cart_op_record_t *op) {
    op->remaining_ms = CART_REMAINING_MAX_MS + 1;
}
static void no_such_op(cart_op_record_t *op) {
    op->request.changes[1].op = 5;
}
static void no_such_book(cart_op_record_t *op) {
    op->request.changes[0].book = CART_BOOK_MAX + 1;
}
static void no_such_condition(cart_op_record_t *op) {
    op->request.condition = 3;
}

static void requests_that_no_sane_sender_builds_are_refused(void **state) {
    (void)state;
    assert_true(op_reads_with(as_it_is));
    assert_false(op_reads_with(no_time));
    assert_false(op_reads_with(too_long));
    assert_false(op_reads_with(no_such_op));
    assert_false(op_reads_with(no_such_book));
    assert_false(op_reads_with(no_such_condition));
}

static void books_beyond_a_limit_do_not_travel(void **state) {
    (void)state;
    static char text[CART_BOOK_AUTHOR_MAX + 1];
    cart_book_record_t book = {.book = 7, .title = text, .url = text};
    assert_int_equal(cart_book_bytes(&book), CART_BOOK_FIXED_BYTES);
    book.title_length = CART_BOOK_TITLE_MAX;
    book.url_length = CART_BOOK_URL_MAX;
    book.author_count = CART_BOOK_AUTHORS_MAX;
    for (unsigned i = 0; i < CART_BOOK_AUTHORS_MAX; i++) {
        book.authors[i] = text;
        book.author_lengths[i] = CART_BOOK_AUTHOR_MAX;
    }
    assert_int_equal(cart_book_bytes(&book), CART_BOOK_BYTES_MAX);
    assert_true(CART_LIST_BYTES + CART_BOOK_BYTES_MAX <= CART_FRAME_PAYLOAD_MAX);
    book.author_lengths[3]++;
    assert_int_equal(cart_book_bytes(&book), 0);
    book.author_count = 3;
    assert_true(cart_book_bytes(&book) > 0);
    book.title_length++;
    assert_int_equal(cart_book_bytes(&book), 0);
    book.title_length = 0;
    book.state = CART_BOOK_UNKNOWN + 1;
    assert_int_equal(cart_book_bytes(&book), 0);
}

/* ---- the queue ----------------------------------------------------------------------------------------------------- */

static void records_of_one_turn_share_a_frame(void **state) {
    (void)state;
    cart_out_init(&out, 1 << 20);
    const cart_release_record_t record = {.user = seeded_id(), .generation = 1};
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 10; i++) {
            uint8_t *to = cart_out_record(&out, CART_FRAME_RELEASE, CART_RELEASE_BYTES);
            assert_non_null(to);
            cart_out_record_add(&out, cart_release_write(to, &record));
        }
        const uint8_t *bytes;
        size_t length = cart_out_take(&out, &bytes);
        assert_int_equal(length, (size_t)(turn + 1) * (8 + 4 + 10 * CART_RELEASE_BYTES));
        assert_int_equal(bytes[8], 10); /* what was handed out before did not grow */
    }
    cart_out_deinit(&out);
}

static void a_batch_never_exceeds_a_frame_nor_the_queue_its_maximum(void **state) {
    (void)state;
    const size_t max = 400000;
    cart_out_init(&out, max);
    const cart_release_record_t record = {.user = seeded_id(), .generation = 1};
    unsigned records = 0;
    uint8_t *to;
    while ((to = cart_out_record(&out, CART_FRAME_RELEASE, CART_RELEASE_BYTES)) != NULL) {
        cart_out_record_add(&out, cart_release_write(to, &record));
        records++;
    }
    assert_null(cart_out_room(&out, CART_RELEASE_BYTES + 64));
    const uint8_t *bytes;
    size_t length = cart_out_take(&out, &bytes);
    assert_true(length <= max && length > max - 64);
    unsigned read = 0;
    while (length > 0) {
        cart_frame_t frame;
        size_t used;
        assert_int_equal(cart_frame_read(bytes, length, &frame, &used), CART_FRAME_OK);
        cart_batch_t batch;
        assert_true(cart_batch_open(&frame, &batch));
        read += batch.left;
        bytes += used;
        length -= used;
    }
    assert_int_equal(read, records);
    cart_out_deinit(&out);
}

static void what_was_sent_in_pieces_is_what_was_queued(void **state) {
    (void)state;
    cart_out_init(&out, 1 << 20);
    uint64_t written = 0, sent = 0;
    for (unsigned long i = 0; i < seeded_rounds(20000); i++) {
        if (seeded_chance(2)) {
            uint8_t *to = cart_out_room(&out, 8);
            if (to != NULL) {
                memcpy(to, &written, 8);
                written++;
                cart_out_add(&out, 8);
            }
        }
        const uint8_t *bytes;
        size_t length = cart_out_take(&out, &bytes);
        size_t part = seeded_below((uint32_t)length + 1) / 8 * 8;
        for (size_t at = 0; at < part; at += 8) {
            uint64_t word;
            memcpy(&word, bytes + at, 8);
            assert_int_equal(word, sent);
            sent++;
        }
        cart_out_sent(&out, part);
    }
    assert_true(sent > 0);
    cart_out_deinit(&out);
}

int main(void) {
    seeded_start("frame");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample_reads),
        cmocka_unit_test(requests_come_back_as_they_went),
        cmocka_unit_test(answers_come_back_as_they_went),
        cmocka_unit_test(no_truncation_reads_or_reads_beyond),
        cmocka_unit_test(flipped_bits_read_as_something_valid_or_not_at_all),
        cmocka_unit_test(headers_beyond_limits_are_bad_at_once),
        cmocka_unit_test(greetings_of_another_protocol_are_told_apart),
        cmocka_unit_test(requests_that_no_sane_sender_builds_are_refused),
        cmocka_unit_test(books_beyond_a_limit_do_not_travel),
        cmocka_unit_test(records_of_one_turn_share_a_frame),
        cmocka_unit_test(a_batch_never_exceeds_a_frame_nor_the_queue_its_maximum),
        cmocka_unit_test(what_was_sent_in_pieces_is_what_was_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
