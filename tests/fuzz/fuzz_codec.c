/*
 * The link's codec and both of its ends. The first byte chooses:
 *   0  the bytes are frames: whatever reads must write back to the same bytes (one form for one meaning)
 *   1  the bytes come to a worker that is up to WELCOME's arrival   2  to a hub, as a link
 * The state machines must survive anything: at worst they say that the peer broke the protocol.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cart/cart_frame.h"
#include "cart/cart_hub.h"
#include "cart/cart_worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t written[CART_FRAME_HEADER_BYTES + CART_FRAME_PAYLOAD_MAX];

static void check_batch(const cart_frame_t *frame) {
    cart_batch_t batch;
    if (!cart_batch_open(frame, &batch)) return;
    for (;;) {
        const uint8_t *at = batch.at;
        size_t length = 0;
        union {
            cart_op_record_t op;
            cart_done_record_t done;
            cart_fetch_record_t fetch;
            cart_cart_record_t cart;
            cart_push_record_t push;
            cart_release_record_t release;
        } record;
        if (frame->type == CART_FRAME_OPS && cart_op_next(&batch, &record.op))
            length = cart_op_write(written, &record.op);
        else if (frame->type == CART_FRAME_DONE && cart_done_next(&batch, &record.done))
            length = cart_done_write(written, &record.done);
        else if (frame->type == CART_FRAME_FETCH && cart_fetch_next(&batch, &record.fetch))
            length = cart_fetch_write(written, &record.fetch);
        else if (frame->type == CART_FRAME_CART && cart_cart_next(&batch, &record.cart))
            length = cart_cart_write(written, &record.cart);
        else if (frame->type == CART_FRAME_PUSH && cart_push_next(&batch, &record.push))
            length = cart_push_write(written, &record.push);
        else if (frame->type == CART_FRAME_RELEASE && cart_release_next(&batch, &record.release))
            length = cart_release_write(written, &record.release);
        if (length == 0) return;
        assert(length == (size_t)(batch.at - at));
        assert(memcmp(written, at, length) == 0);
    }
}

static void check_list(const cart_frame_t *frame) {
    cart_list_t list;
    if (!cart_list_open(frame, &list)) return;
    for (;;) {
        const uint8_t *at = list.records.at;
        size_t length = 0;
        cart_book_record_t book;
        cart_revocation_t revocation;
        if (frame->type == CART_FRAME_BOOKS && cart_book_next(&list.records, &book))
            length = cart_book_write(written, &book);
        else if (frame->type == CART_FRAME_REVOKE && cart_revocation_next(&list.records, &revocation))
            length = cart_revocation_write(written, &revocation);
        if (length == 0) return;
        assert(length == (size_t)(list.records.at - at));
        assert(memcmp(written, at, length) == 0);
    }
}

static void check_frame(const cart_frame_t *frame, size_t used) {
    const uint8_t *bytes = frame->payload - CART_FRAME_HEADER_BYTES;
    cart_hello_t hello;
    cart_welcome_t welcome;
    cart_ping_t ping;
    cart_follow_t follow;
    uint64_t books[CART_WORKER_ASK_MAX];
    unsigned count;
    (void)cart_hello_is_other_protocol(frame); /* must only not read beyond the frame */
    bool ours = bytes[5] == CART_PROTOCOL;
    bool read = true;
    if (cart_hello_read(frame, &hello))
        cart_hello_write(written, &hello);
    else if (cart_welcome_read(frame, &welcome) && welcome.protocol == CART_PROTOCOL)
        cart_welcome_write(written, &welcome);
    else if (cart_ping_read(frame, &ping))
        cart_ping_write(written, &ping);
    else if (cart_follow_read(frame, &follow))
        cart_follow_write(written, &follow);
    else if (cart_ask_read(frame, books, &count))
        assert(cart_ask_write(written, books, count) == used);
    else
        read = false;
    if (read && ours) assert(memcmp(written, bytes, used) == 0);
    check_batch(frame);
    check_list(frame);
}

static void fuzz_frames(const uint8_t *data, size_t size) {
    cart_frame_t frame;
    size_t used;
    while (cart_frame_read(data, size, &frame, &used) == CART_FRAME_OK) {
        assert(used <= size);
        check_frame(&frame, used);
        data += used;
        size -= used;
    }
}

/* ---- both ends ----------------------------------------------------------------------------------------------------- */

static void lock_init(void *context, void *lock) {
    (void)context;
    (void)lock;
}
static cart_lock_result_t lock_lock(void *context, void *lock) {
    (void)context;
    (void)lock;
    return CART_LOCK_OK;
}
static bool lock_alive(void *context, uint32_t pid, uint64_t started) {
    (void)context;
    (void)pid;
    (void)started;
    return true;
}
static void on_answered(void *context, cart_ticket_t ticket, const cart_answer_t *answer) {
    (void)context;
    (void)ticket;
    assert(!answer->has_image || cart_image_check(&answer->image));
}
static void on_books(void *context, const cart_book_record_t *books, unsigned count, bool full, bool last, bool answers,
                     uint64_t generation, uint64_t position) {
    (void)context;
    (void)last;
    (void)generation;
    (void)position;
    assert(!(full && answers));
    for (unsigned i = 0; i < count; i++) assert(cart_book_bytes(&books[i]) > 0);
}
static void on_revocations(void *context, const cart_revocation_t *list, unsigned count, bool full, bool last,
                           uint64_t generation, uint64_t position) {
    (void)context;
    (void)full;
    (void)last;
    (void)generation;
    (void)position;
    for (unsigned i = 0; i < count; i++) assert(!cart_id_is_none(&list[i].id));
}

#define ZONE_BYTES (512 * 1024)

/* In pieces, the first of `piece` bytes. */
static void fuzz_worker(const uint8_t *data, size_t size, size_t piece) {
    cart_zone_t zone = {.locks = {.init = lock_init, .lock = lock_lock, .unlock = lock_init, .alive = lock_alive},
                        .config = {.stale_max_ms = 1000, .shards = 1}};
    cart_policy_defaults(&zone.config.policy);
    void *memory = aligned_alloc(64, ZONE_BYTES);
    assert(memory != NULL);
    memset(memory, 0, ZONE_BYTES);
    const cart_id_t incarnation = {.bytes = {1}};
    if (!cart_zone_init(&zone, memory, ZONE_BYTES, &incarnation, 7)) abort();
    const cart_worker_config_t config = {.write_timeout_ms = 100,
                                         .ping_interval_ms = 10,
                                         .link_timeout_ms = 100,
                                         .reconnect_min_ms = 1,
                                         .reconnect_max_ms = 2,
                                         .lease_ms = 30,
                                         .pid = 1,
                                         .started = 1,
                                         .seed = 1};
    const cart_worker_owner_t owner = {.answered = on_answered, .books = on_books, .revocations = on_revocations};
    cart_worker_t *worker = cart_worker_create(&zone, &config, &owner);
    assert(worker != NULL);
    cart_worker_connecting(worker, 1000);
    cart_worker_connected(worker, 1000);
    const cart_request_t request = {
        .user = {{2}}, .session = {{3}}, .change_count = 1, .changes = {{.book = 1, .quantity = 1, .op = CART_SET}}};
    const cart_id_t session = {{3}};
    cart_ticket_t ticket;
    (void)cart_worker_change(worker, &request, 1000, &ticket);                        /* there is room */
    (void)cart_worker_fetch(worker, &request.user, &session, 5, true, 1000, &ticket); /* there is room */
    const cart_welcome_t welcome = {.result = CART_WELCOME_OK, .service = {{9}}, .epoch = 1, .push_next = 1};
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_WELCOME_BYTES];
    cart_welcome_write(bytes, &welcome);
    assert(cart_worker_received(worker, bytes, sizeof(bytes), 1001));
    const uint8_t *out;
    cart_worker_sent(worker, cart_worker_output(worker, 1002, &out));
    if (piece > size) piece = size;
    if (cart_worker_received(worker, data, piece, 1003)) {
        (void)cart_worker_received(worker, data + piece, size - piece, 1004); /* either answer is right */
        (void)cart_worker_tick(worker, 1005);                                 /* its next time is not needed */
        cart_worker_sent(worker, cart_worker_output(worker, 1006, &out));
    }
    assert(cart_zone_check(&zone));
    cart_worker_disconnected(worker, 1007);
    cart_worker_destroy(worker);
    free(memory);
}

static cart_hub_t *hub;

static bool on_change(void *context, const cart_origin_t *origin, const cart_request_t *request, uint64_t deadline_ms) {
    (void)context;
    (void)deadline_ms;
    const cart_verdict_t applied = {.outcome = CART_APPLIED};
    cart_image_t image = {.place = {.epoch = 1, .version = 2}};
    cart_hub_done(hub, origin, &request->user, &applied, &image);
    return true;
}
static bool on_fetch(void *context, const cart_origin_t *origin, const cart_id_t *user, const cart_id_t *session,
                     uint64_t issued_s, uint64_t deadline_ms) {
    (void)context;
    (void)session;
    (void)issued_s;
    (void)deadline_ms;
    const cart_verdict_t applied = {.outcome = CART_APPLIED};
    cart_image_t image = {.place = {.epoch = 1, .version = 2}};
    cart_hub_cart(hub, origin, user, &applied, &image);
    return true;
}

static void fuzz_hub(const uint8_t *data, size_t size, size_t piece) {
    const cart_hub_config_t config = {
        .incarnation = {{9}}, .epoch = 1, .ping_timeout_ms = 100, .subscriptions_max = 8, .seed = 3};
    const cart_hub_engine_t engine = {.change = on_change, .fetch = on_fetch};
    hub = cart_hub_create(&config, &engine);
    assert(hub != NULL);
    cart_link_t link = cart_hub_opened(hub, 1000);
    const cart_hello_t hello = {.edge = {{1}}, .slot = 3, .link = 4};
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_HELLO_BYTES];
    cart_hello_write(bytes, &hello);
    if (piece != 77) assert(cart_hub_received(hub, link, bytes, sizeof(bytes), 1001)); /* 77: the greeting is fuzzed */
    if (piece > size) piece = size;
    if (cart_hub_received(hub, link, data, piece, 1002))
        (void)cart_hub_received(hub, link, data + piece, size - piece, 1003); /* either answer is right */
    (void)cart_hub_tick(hub, 1004);                                           /* its next time is not needed */
    bool close;
    cart_link_t ready;
    while ((ready = cart_hub_next_ready(hub, &close)) != 0) {
        const uint8_t *out;
        cart_hub_sent(hub, ready, cart_hub_output(hub, ready, &out));
        if (close) cart_hub_closed(hub, ready, 1005);
    }
    cart_hub_destroy(hub);
    hub = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    size_t piece = data[1];
    switch (data[0] % 3) {
    case 0:
        fuzz_frames(data + 2, size - 2);
        break;
    case 1:
        fuzz_worker(data + 2, size - 2, piece);
        break;
    default:
        fuzz_hub(data + 2, size - 2, piece);
    }
    return 0;
}
