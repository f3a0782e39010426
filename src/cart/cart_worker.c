/*
 * The edge's end of one link. The header has the contract; this file is the link itself:
 *
 *   IDLE ──connecting──▶ CONNECTING ──connected──▶ GREETING (HELLO out) ──WELCOME ok──▶ UP
 *     ▲                                              │ refused, bad frame, silence       │ bad frame, silence
 *     └───────────────── disconnected ◀── wants_close┴───────────────────────────────────┘
 *
 * Nothing but HELLO is sent before WELCOME: only then is it known which PUSHes come again, and under which vouch a seat
 * is reserved. On every image that comes: first it is stored, then the PUSH number moves on, then an answer leaves.
 */
#include "cart/cart_worker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cart/cart_decide.h"
#include "cart/cart_image.h"
#include "cart/cart_planted.h"
#include "cart/cart_worker_state.h"

#define STEP_INTERVAL_MS 50 /* clearance and TTL: so many shards' steps each time … */
#define STEPS_EACH       4
#define STEPS_MAX        32 /* … and more while there is much to clear */
#define LIST_CHUNK       64 /* books or revocations given to the owner in one call */
#define TICK_MAX_MS      1000

enum { LOG_ALERT = 0, LOG_ERROR = 1, LOG_WARN = 2, LOG_INFO = 3 };

static void log_event(cart_worker_t *worker, int level, const char *event, const char *detail) {
    if (worker->owner.log != NULL) worker->owner.log(worker->owner.context, level, event, detail);
}

static uint64_t draw(cart_worker_t *worker) {
    /* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled" (2016) */
    worker->random ^= worker->random >> 12;
    worker->random ^= worker->random << 25;
    worker->random ^= worker->random >> 27;
    return worker->random * UINT64_C(2685821657736338717);
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

const char *cart_worker_config_check(const cart_worker_config_t *config) {
    if (config->write_timeout_ms == 0 || config->write_timeout_ms > CART_WORKER_WRITE_TIMEOUT_MAX_MS)
        return "write_timeout must be 1 ms to 30 s";
    if (config->ping_interval_ms == 0) return "ping_interval must be above 0";
    if (config->link_timeout_ms <= config->ping_interval_ms) return "link_timeout must be above ping_interval";
    if (config->reconnect_min_ms == 0 || config->reconnect_max_ms < config->reconnect_min_ms)
        return "reconnect_min must be above 0 and at most reconnect_max";
    if (config->lease_ms < 3) return "lease must be at least 3 ms";
    if (config->pid == 0) return "pid must be a process";
    return NULL;
}

cart_worker_t *cart_worker_create(cart_zone_t *zone, const cart_worker_config_t *config,
                                  const cart_worker_owner_t *owner) {
    if (cart_worker_config_check(config) != NULL) return NULL;
    cart_worker_t *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) return NULL;
    worker->releases = calloc(RELEASES_MAX, sizeof(*worker->releases));
    if (worker->releases == NULL) {
        free(worker);
        return NULL;
    }
    worker->zone = zone;
    worker->config = *config;
    worker->owner = *owner;
    worker->random = config->seed | 1;
    cart_out_init(&worker->out, CART_WORKER_OUT_MAX);
    return worker;
}

static void answer_refused(cart_worker_t *worker, cart_ticket_t ticket, cart_reason_t reason) {
    cart_answer_t answer;
    answer.verdict = (cart_verdict_t){.outcome = CART_REFUSED, .reason = (uint8_t)reason, .change = 0};
    answer.has_image = false;
    answer.generation = 0;
    worker->owner.answered(worker->owner.context, ticket, &answer);
}

void cart_worker_destroy(cart_worker_t *worker) {
    if (worker == NULL) return;
    while (worker->waiting.first != NULL) {
        cart_ticket_t ticket = worker->waiting.first->ticket;
        parked_free(worker, worker->waiting.first);
        answer_refused(worker, ticket, CART_REASON_STOPPING);
    }
    parked_destroy(worker);
    if (worker->has_slot) {
        cart_zone_slot_down(worker->zone, worker->slot);
        cart_zone_give_slot(worker->zone, worker->slot, worker->config.pid, worker->config.started);
    }
    cart_out_deinit(&worker->out);
    free(worker->releases);
    free(worker->in);
    free(worker);
}

/* ---- seats given up ----------------------------------------------------------------------------------------------- */

static void release(cart_worker_t *worker, const cart_id_t *user, uint64_t generation, uint64_t term) {
    if (worker->release_count == RELEASES_MAX) {
        worker->releases_dropped++;
        return;
    }
    unsigned at = (worker->release_first + worker->release_count++) % RELEASES_MAX;
    worker->releases[at] = (cart_release_record_t){.user = *user, .generation = generation, .term = term};
}

static void release_all(cart_worker_t *worker, const cart_zone_gone_t *gone, unsigned count) {
    for (unsigned i = 0; i < count; i++) release(worker, &gone[i].user, gone[i].generation, gone[i].term);
}

/* ---- parking ------------------------------------------------------------------------------------------------------ */

static bool may_park(const cart_worker_t *worker) {
    return parked_count(worker) < CART_WORKER_PARKED_MAX && cart_out_owed(&worker->out) < CART_WORKER_OUT_MAX;
}

cart_worker_result_t cart_worker_change(cart_worker_t *worker, const cart_request_t *request, uint64_t now_ms,
                                        cart_ticket_t *ticket) {
    assert(cart_request_check(request));
    if (!may_park(worker)) return CART_WORKER_FULL;
    parked_t *parked = parked_new(worker, CART_OP_FIXED_BYTES + (size_t)request->change_count * CART_OP_CHANGE_BYTES);
    if (parked == NULL) return CART_WORKER_FULL;
    parked->length = (uint16_t)cart_op_write_request(parked->bytes, request); /* number and time: when it leaves */
    parked->kind = PARKED_CHANGE;
    parked->user = request->user;
    parked->deadline_ms = now_ms + worker->config.write_timeout_ms;
    parked_enqueue(worker, parked);
    *ticket = parked->ticket;
    return CART_WORKER_OK;
}

cart_worker_result_t cart_worker_fetch(cart_worker_t *worker, const cart_id_t *user, const cart_id_t *session,
                                       uint64_t issued_s, bool seat, uint64_t now_ms, cart_ticket_t *ticket) {
    if (!may_park(worker)) return CART_WORKER_FULL;
    parked_t *parked = parked_new(worker, CART_FETCH_BYTES);
    if (parked == NULL) return CART_WORKER_FULL;
    const cart_fetch_record_t record = {.user = *user, .session = *session, .issued_s = issued_s};
    parked->length = (uint16_t)cart_fetch_write(parked->bytes, &record);
    parked->kind = PARKED_FETCH;
    parked->seat = seat;
    parked->user = *user;
    parked->deadline_ms = now_ms + worker->config.write_timeout_ms;
    parked_enqueue(worker, parked);
    *ticket = parked->ticket;
    return CART_WORKER_OK;
}

void cart_worker_cancel(cart_worker_t *worker, cart_ticket_t ticket) {
    parked_t *parked = parked_by_ticket(worker, ticket);
    if (parked != NULL) parked_abandon(worker, parked);
}

bool cart_worker_ask_books(cart_worker_t *worker, const uint64_t *books, unsigned count) {
    if (worker->link != LINK_UP || worker->wants_close || count == 0 || count > CART_WORKER_ASK_MAX) return false;
    uint8_t *bytes = cart_out_room(&worker->out, CART_FRAME_HEADER_BYTES + CART_ASK_BYTES_MAX);
    if (bytes == NULL) return false;
    cart_out_add(&worker->out, cart_ask_write(bytes, books, count));
    return true;
}

/* ---- the socket --------------------------------------------------------------------------------------------------- */

bool cart_worker_wants_connect(const cart_worker_t *worker, uint64_t now_ms) {
    return worker->link == LINK_IDLE && now_ms >= worker->retry_ms;
}

void cart_worker_connecting(cart_worker_t *worker, uint64_t now_ms) {
    assert(worker->link == LINK_IDLE);
    worker->link = LINK_CONNECTING;
    worker->heard_ms = now_ms;
    worker->wants_close = false;
    if (!worker->has_slot) {
        worker->has_slot = cart_zone_take_slot(worker->zone, worker->config.pid, worker->config.started, &worker->slot);
        if (!worker->has_slot) {
            log_event(worker, LOG_ERROR, "link-no-slot", "all link slots of the zone are taken by living processes");
            worker->wants_close = true;
        }
    }
}

static void send_ping(cart_worker_t *worker, uint64_t now_ms) {
    if (worker->ping_number - worker->ping_answered >= PINGS_MAX) return;
    uint8_t *bytes = cart_out_room(&worker->out, CART_FRAME_HEADER_BYTES + CART_PING_BYTES);
    if (bytes == NULL) return; /* so much is owed that the link will time out */
    uint64_t number = ++worker->ping_number;
    worker->ping_sent_ms[number % PINGS_MAX] = now_ms;
    cart_ping_write(bytes, &(cart_ping_t){.number = number, .push_seen = worker->push_next - 1});
    cart_out_add(&worker->out, CART_FRAME_HEADER_BYTES + CART_PING_BYTES);
    worker->ping_due_ms = now_ms + worker->config.ping_interval_ms;
}

void cart_worker_connected(cart_worker_t *worker, uint64_t now_ms) {
    assert(worker->link == LINK_CONNECTING);
    if (!worker->has_slot) return; /* wants_close */
    worker->link = LINK_GREETING;
    worker->hello_ms = now_ms;
    worker->heard_ms = now_ms;
    worker->link_number = cart_zone_slot_connecting(worker->zone, worker->slot);
    cart_slot_t slot;
    cart_zone_slot(worker->zone, worker->slot, &slot);
    worker->hello_service = slot.service;
    worker->hello_push_seen = slot.push_seen;
    cart_hello_t hello = {.edge = *cart_zone_incarnation(worker->zone),
                          .slot = worker->slot,
                          .link = worker->link_number,
                          .service = slot.service,
                          .push_seen = slot.push_seen,
                          .several = worker->config.several};
    if (worker->owner.feed_positions != NULL)
        worker->owner.feed_positions(worker->owner.context, &hello.books_generation, &hello.books_position,
                                     &hello.revoked_generation, &hello.revoked_position);
    uint8_t *bytes = cart_out_room(&worker->out, CART_FRAME_HEADER_BYTES + CART_HELLO_BYTES);
    if (bytes == NULL) {
        worker->wants_close = true;
        return;
    }
    cart_hello_write(bytes, &hello);
    cart_out_add(&worker->out, CART_FRAME_HEADER_BYTES + CART_HELLO_BYTES);
}

/* The back-off: doubled with each failure, plus up to half of it again, so that workers do not come back as one. */
static uint64_t back_off_ms(cart_worker_t *worker) {
    uint64_t wait_ms = worker->config.reconnect_min_ms;
    for (unsigned i = 0; i < worker->failures && wait_ms < worker->config.reconnect_max_ms; i++) wait_ms *= 2;
    if (wait_ms > worker->config.reconnect_max_ms) wait_ms = worker->config.reconnect_max_ms;
    return wait_ms + draw(worker) % (wait_ms / 2 + 1);
}

void cart_worker_disconnected(cart_worker_t *worker, uint64_t now_ms) {
    if (worker->link == LINK_IDLE) return;
    if (worker->link == LINK_UP) {
        log_event(worker, LOG_WARN, "link-lost", "");
        worker->failures = 0;
    }
    if (worker->has_slot) cart_zone_slot_down(worker->zone, worker->slot);
    worker->link = LINK_IDLE;
    worker->wants_close = false;
    worker->holds_lease = false;
    worker->in_length = 0;
    cart_out_clear(&worker->out);
    parked_link_lost(worker);
    worker->retry_ms = now_ms + back_off_ms(worker);
    if (worker->failures < 32) worker->failures++;
}

/* ---- out ---------------------------------------------------------------------------------------------------------- */

static void gather_releases(cart_worker_t *worker) {
    while (worker->release_count > 0) {
        uint8_t *bytes = cart_out_record(&worker->out, CART_FRAME_RELEASE, CART_RELEASE_BYTES);
        if (bytes == NULL) return;
        cart_out_record_add(&worker->out, cart_release_write(bytes, &worker->releases[worker->release_first]));
        worker->release_first = (worker->release_first + 1) % RELEASES_MAX;
        worker->release_count--;
    }
}

/* Rule 6: the seat is there before its FETCH leaves. */
static void reserve_seat(cart_worker_t *worker, parked_t *parked, uint64_t now_ms) {
    cart_zone_gone_t gone[CART_ZONE_STEP_MAX];
    unsigned gone_count = 0;
    uint64_t generation = 0;
    if (cart_zone_reserve(worker->zone, &parked->user, worker->slot, now_ms, &generation, gone, &gone_count) ==
        CART_RESERVED)
        parked->generation = generation;
    release_all(worker, gone, gone_count);
}

static void time_out(cart_worker_t *worker, parked_t *parked) {
    cart_ticket_t ticket = parked->ticket;
    parked_abandon(worker, parked);
    if (ticket != 0) answer_refused(worker, ticket, CART_REASON_LATE);
}

static void time_out_all(cart_worker_t *worker, uint64_t now_ms) {
    while (worker->waiting.first != NULL && worker->waiting.first->deadline_ms <= now_ms)
        time_out(worker, worker->waiting.first);
}

static void gather_requests(cart_worker_t *worker, uint64_t now_ms) {
    parked_t *parked;
    while ((parked = worker->first_queued) != NULL) {
        /* Those whose time is over are answered by the next tick; until then they, and all behind them, wait. */
        if (parked->deadline_ms <= now_ms) return;
        uint8_t type = parked->kind == PARKED_CHANGE ? CART_FRAME_OPS : CART_FRAME_FETCH;
        uint8_t *bytes = cart_out_record(&worker->out, type, parked->length);
        if (bytes == NULL) return;
        if (parked->kind == PARKED_FETCH && parked->seat) reserve_seat(worker, parked, now_ms);
        parked_mark_sent(worker, parked);
        memcpy(bytes, parked->bytes, parked->length);
        cart_record_patch(bytes, parked->number, (uint32_t)(parked->deadline_ms - now_ms));
        if (parked->kind == PARKED_FETCH) cart_fetch_patch(bytes, parked->generation);
        cart_out_record_add(&worker->out, parked->length);
    }
}

size_t cart_worker_output(cart_worker_t *worker, uint64_t now_ms, const uint8_t **bytes) {
    if (worker->link < LINK_GREETING) {
        *bytes = NULL;
        return 0;
    }
    if (worker->link == LINK_UP && !worker->wants_close) {
        gather_requests(worker, now_ms);
        gather_releases(worker);
    }
    return cart_out_take(&worker->out, bytes);
}

void cart_worker_sent(cart_worker_t *worker, size_t length) {
    cart_out_sent(&worker->out, length);
}

/* ---- in: answers and images --------------------------------------------------------------------------------------- */

/* An image that came with a PUSH number (rule 6): stored, or given up; only then does the number move on. */
static bool take_push(cart_worker_t *worker, uint64_t number, uint64_t generation, const cart_id_t *user,
                      const cart_image_t *image, bool *seated) {
    if (number != worker->push_next) return false;
    if (CART_PLANTED(push_seen_first)) cart_zone_slot_push_seen(worker->zone, worker->slot, number);
    *seated = false;
    if (image == NULL) {
        cart_zone_drop(worker->zone, user, generation);
    } else {
        *seated = cart_zone_store(worker->zone, user, generation, worker->slot, image);
        if (!*seated) {
            /* The seat is gone or of another generation: heal the subscription, and use the image all the same. */
            (void)cart_zone_store(worker->zone, user, 0, worker->slot, image); /* no seat: nothing to do */
            release(worker, user, generation, cart_term(image));
        }
    }
    if (!CART_PLANTED(push_seen_first)) cart_zone_slot_push_seen(worker->zone, worker->slot, number);
    worker->push_next++;
    return true;
}

static bool on_push(cart_worker_t *worker, const cart_frame_t *frame) {
    cart_batch_t batch;
    cart_push_record_t record;
    cart_image_t image;
    if (!cart_batch_open(frame, &batch)) return false;
    while (cart_push_next(&batch, &record)) {
        bool seated;
        bool has_image = record.image_length > 0;
        if (has_image && !cart_image_unpack(record.image, record.image_length, &image)) return false;
        if (!take_push(worker, record.number, record.generation, &record.user, has_image ? &image : NULL, &seated))
            return false;
    }
    return cart_batch_is_complete(&batch);
}

static void give_answer(cart_worker_t *worker, parked_t *parked, const cart_answer_t *answer) {
    cart_ticket_t ticket = parked->ticket; /* 0: nobody waits any more */
    parked_free(worker, parked);
    if (ticket != 0) worker->owner.answered(worker->owner.context, ticket, answer);
}

static bool on_done(cart_worker_t *worker, const cart_frame_t *frame) {
    cart_batch_t batch;
    cart_done_record_t record;
    if (!cart_batch_open(frame, &batch)) return false;
    while (cart_done_next(&batch, &record)) {
        parked_t *parked = parked_by_number(worker, record.number);
        if (parked == NULL || parked->kind != PARKED_CHANGE) return false;
        cart_answer_t answer;
        answer.verdict = record.verdict;
        answer.has_image = record.image_length > 0;
        answer.generation = 0;
        if (answer.has_image && !cart_image_unpack(record.image, record.image_length, &answer.image)) return false;
        if (record.push != 0) {
            bool seated;
            if (!take_push(worker, record.push, record.generation, &parked->user,
                           answer.has_image ? &answer.image : NULL, &seated))
                return false;
            if (seated) answer.generation = record.generation;
        } else if (answer.has_image && !CART_PLANTED(done_not_stored)) {
            /* Another worker's seat: it must not show less than what is answered here. */
            (void)cart_zone_store(worker->zone, &parked->user, 0, worker->slot, &answer.image); /* no seat: fine */
        }
        give_answer(worker, parked, &answer);
    }
    return cart_batch_is_complete(&batch);
}

static bool on_cart(cart_worker_t *worker, const cart_frame_t *frame) {
    cart_batch_t batch;
    cart_cart_record_t record;
    if (!cart_batch_open(frame, &batch)) return false;
    while (cart_cart_next(&batch, &record)) {
        parked_t *parked = parked_by_number(worker, record.number);
        if (parked == NULL || parked->kind != PARKED_FETCH) return false;
        if (record.generation != 0 && record.generation != parked->generation) return false;
        cart_answer_t answer;
        answer.verdict = record.verdict;
        answer.has_image = record.image_length > 0;
        answer.generation = 0;
        if (answer.has_image && !cart_image_unpack(record.image, record.image_length, &answer.image)) return false;
        if (record.generation == 0 && parked->generation != 0)
            cart_zone_drop(worker->zone, &parked->user, parked->generation);
        if (record.generation != 0) {
            if (cart_zone_store(worker->zone, &parked->user, record.generation, worker->slot, &answer.image))
                answer.generation = record.generation;
            else
                release(worker, &parked->user, record.generation, cart_term(&answer.image));
        }
        if (answer.has_image && answer.generation == 0)
            (void)cart_zone_store(worker->zone, &parked->user, 0, worker->slot, &answer.image); /* no seat: fine */
        give_answer(worker, parked, &answer);
    }
    return cart_batch_is_complete(&batch);
}

/* ---- in: greeting, liveness, feeds -------------------------------------------------------------------------------- */

static void tell_vouched(cart_worker_t *worker, bool books, bool revoked) {
    bool news = !worker->told_vouched || books != worker->books_vouched || revoked != worker->revoked_vouched;
    worker->told_vouched = true;
    worker->books_vouched = books;
    worker->revoked_vouched = revoked;
    if (news && worker->owner.feeds_vouched != NULL) worker->owner.feeds_vouched(worker->owner.context, books, revoked);
}

static void follow(cart_worker_t *worker, bool stop) {
    cart_follow_t frame = {.stop = stop};
    if (!stop && worker->owner.feed_positions != NULL)
        worker->owner.feed_positions(worker->owner.context, &frame.books_generation, &frame.books_position,
                                     &frame.revoked_generation, &frame.revoked_position);
    uint8_t *bytes = cart_out_room(&worker->out, CART_FRAME_HEADER_BYTES + CART_FOLLOW_BYTES);
    if (bytes == NULL) {
        worker->wants_close = true;
        return;
    }
    worker->books_caught_up = false;
    worker->revoked_caught_up = false;
    cart_follow_write(bytes, &frame);
    cart_out_add(&worker->out, CART_FRAME_HEADER_BYTES + CART_FOLLOW_BYTES);
}

static void renew_lease(cart_worker_t *worker, uint64_t now_ms) {
    bool held = cart_zone_lease(worker->zone, worker->slot, now_ms, worker->config.lease_ms);
    if (held != worker->holds_lease) {
        worker->holds_lease = held;
        follow(worker, !held);
    }
    worker->lease_due_ms = now_ms + worker->config.lease_ms / 3;
}

static bool on_welcome(cart_worker_t *worker, const cart_frame_t *frame, uint64_t now_ms) {
    static const char *const refused[CART_WELCOME_RESULT_MAX + 1] = {
        [CART_WELCOME_PROTOCOL] = "the service speaks another protocol",
        [CART_WELCOME_SOLE] = "the service is a sole owner, but several services are named",
        [CART_WELCOME_OLD_LINK] = "the service knows a newer link of this slot",
        [CART_WELCOME_FULL] = "the service has no room for another link",
    };
    cart_welcome_t welcome;
    if (worker->link != LINK_GREETING || !cart_welcome_read(frame, &welcome)) return false;
    cart_welcome_result_t result = welcome.result;
    if (result == CART_WELCOME_OK && worker->config.several && !welcome.shared) result = CART_WELCOME_SOLE;
    if (result != CART_WELCOME_OK) {
        log_event(worker, LOG_ERROR, "link-refused", refused[result]);
        worker->wants_close = true;
        return true;
    }
    if (welcome.resumed &&
        (!cart_id_equal(&worker->hello_service, &welcome.service) || welcome.push_next != worker->hello_push_seen + 1))
        return false; /* not what was asked for */
    cart_slot_t slot;
    cart_zone_slot(worker->zone, worker->slot, &slot);
    if (welcome.resumed && !cart_id_equal(&slot.service, &welcome.service)) {
        /* Another worker died with this slot's lock in hand, so the slot was emptied since HELLO: greet anew, from nothing. */
        log_event(worker, LOG_WARN, "link-slot-emptied", "");
        worker->wants_close = true;
        return true;
    }
    cart_zone_slot_up(worker->zone, worker->slot, &welcome.service, welcome.resumed, welcome.push_next,
                      worker->hello_ms);
    worker->push_next = welcome.push_next;
    worker->link = LINK_UP;
    worker->failures = 0;
    worker->ping_answered = worker->ping_number;
    worker->told_vouched = false;
    log_event(worker, LOG_INFO, "link-up", welcome.resumed ? "resumed" : "gap");
    tell_vouched(worker, welcome.books_vouched, welcome.revoked_vouched);
    send_ping(worker, now_ms);
    renew_lease(worker, now_ms);
    return true;
}

static bool on_ping(cart_worker_t *worker, const cart_frame_t *frame) {
    cart_ping_t ping;
    if (!cart_ping_read(frame, &ping)) return false;
    if (ping.answer) {
        if (ping.number <= worker->ping_answered || ping.number > worker->ping_number) return false;
        worker->ping_answered = ping.number;
        uint64_t sent_ms = worker->ping_sent_ms[ping.number % PINGS_MAX];
        worker->heard_ms = sent_ms;
        cart_zone_slot_answered(worker->zone, worker->slot, sent_ms);
        if (worker->holds_lease)
            cart_zone_feeds_heard(worker->zone, ping.books_vouched && worker->books_caught_up,
                                  ping.revoked_vouched && worker->revoked_caught_up, sent_ms);
    }
    tell_vouched(worker, ping.books_vouched, ping.revoked_vouched);
    return true;
}

static bool on_books(cart_worker_t *worker, const cart_frame_t *frame) {
    cart_list_t list;
    cart_book_record_t books[LIST_CHUNK];
    if (!cart_list_open(frame, &list)) return false;
    void *context = worker->owner.context;
    bool full = (list.flags & CART_LIST_FULL) != 0;
    bool last = (list.flags & CART_LIST_LAST) != 0;
    bool answers = (list.flags & CART_LIST_ANSWERS) != 0;
    if (worker->owner.books == NULL) return true;
    if ((list.flags & CART_LIST_FIRST) != 0)
        worker->owner.books(context, NULL, 0, true, false, false, list.generation, list.position);
    unsigned count;
    do {
        count = 0;
        while (count < LIST_CHUNK && cart_book_next(&list.records, &books[count])) count++;
        bool end = list.records.left == 0;
        if (count < LIST_CHUNK && !cart_batch_is_complete(&list.records)) return false;
        /* Of a frame that takes several calls, each moves the place only as far as it has come. */
        uint64_t position = end || full ? list.position : books[count - 1].position;
        worker->owner.books(context, books, count, full, last && end, answers, list.generation, position);
    } while (list.records.left > 0);
    if (!cart_batch_is_complete(&list.records)) return false;
    if (last && !answers) {
        if (!worker->books_caught_up) worker->ping_due_ms = 0; /* its answer vouches: readers wait for it */
        worker->books_caught_up = true;
    }
    return true;
}

static bool on_revoke(cart_worker_t *worker, const cart_frame_t *frame) {
    cart_list_t list;
    cart_revocation_t revocations[LIST_CHUNK];
    if (!cart_list_open(frame, &list)) return false;
    void *context = worker->owner.context;
    bool full = (list.flags & CART_LIST_FULL) != 0;
    bool last = (list.flags & CART_LIST_LAST) != 0;
    if (worker->owner.revocations == NULL) return true;
    if ((list.flags & CART_LIST_FIRST) != 0)
        worker->owner.revocations(context, NULL, 0, true, false, list.generation, list.position);
    unsigned count;
    do {
        count = 0;
        while (count < LIST_CHUNK && cart_revocation_next(&list.records, &revocations[count])) count++;
        bool end = list.records.left == 0;
        if (count < LIST_CHUNK && !cart_batch_is_complete(&list.records)) return false;
        bool moves = !end && !full && list.position != 0;
        uint64_t position = moves ? revocations[count - 1].position : list.position;
        worker->owner.revocations(context, revocations, count, full, last && end, list.generation, position);
    } while (list.records.left > 0);
    if (!cart_batch_is_complete(&list.records)) return false;
    if (last) {
        if (!worker->revoked_caught_up) worker->ping_due_ms = 0; /* as above */
        worker->revoked_caught_up = true;
    }
    return true;
}

static bool on_frame(cart_worker_t *worker, const cart_frame_t *frame, uint64_t now_ms) {
    if (worker->link == LINK_GREETING) return on_welcome(worker, frame, now_ms);
    switch (frame->type) {
    case CART_FRAME_DONE:
        return on_done(worker, frame);
    case CART_FRAME_CART:
        return on_cart(worker, frame);
    case CART_FRAME_PUSH:
        return on_push(worker, frame);
    case CART_FRAME_BOOKS:
        return on_books(worker, frame);
    case CART_FRAME_REVOKE:
        return on_revoke(worker, frame);
    case CART_FRAME_PING:
        return on_ping(worker, frame);
    default:
        return false;
    }
}

/* Handles whole frames from the front; *used bytes are done with. */
static bool take_frames(cart_worker_t *worker, const uint8_t *bytes, size_t length, size_t *used, uint64_t now_ms) {
    *used = 0;
    while (!worker->wants_close) {
        cart_frame_t frame;
        size_t size;
        cart_frame_result_t result = cart_frame_read(bytes + *used, length - *used, &frame, &size);
        if (result == CART_FRAME_MORE) return true;
        if (result == CART_FRAME_BAD) return false;
        if (!on_frame(worker, &frame, now_ms)) {
            log_event(worker, LOG_ERROR, "link-protocol-error", cart_frame_name(frame.type));
            return false;
        }
        *used += size;
    }
    *used = length;
    return true;
}

bool cart_worker_received(cart_worker_t *worker, const uint8_t *bytes, size_t length, uint64_t now_ms) {
    if (worker->link < LINK_GREETING || worker->wants_close) return true; /* about to be closed: not read any more */
    size_t used = 0;
    bool good;
    if (worker->in_length == 0) {
        good = take_frames(worker, bytes, length, &used, now_ms);
        bytes += used;
        length -= used;
    } else {
        good = true;
    }
    while (good && length > 0) {
        if (!cart_in_append(&worker->in, &worker->in_length, &worker->in_capacity, &bytes, &length)) {
            log_event(worker, LOG_ERROR, "link-memory", "");
            good = false;
            break;
        }
        good = take_frames(worker, worker->in, worker->in_length, &used, now_ms);
        worker->in_length -= used;
        memmove(worker->in, worker->in + used, worker->in_length);
    }
    if (!good) worker->wants_close = true;
    return good;
}

/* ---- timers ------------------------------------------------------------------------------------------------------- */

static void step_zone(cart_worker_t *worker, uint64_t now_ms) {
    unsigned steps = STEPS_EACH;
    for (unsigned i = 0; i < steps; i++) {
        cart_zone_gone_t gone[CART_ZONE_STEP_MAX];
        unsigned count = 0;
        cart_zone_step(worker->zone, now_ms, gone, &count);
        release_all(worker, gone, count);
        if (count >= CART_ZONE_STEP_MAX / 4 && steps < STEPS_MAX) steps++;
    }
    worker->step_due_ms = now_ms + STEP_INTERVAL_MS;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint32_t cart_worker_tick(cart_worker_t *worker, uint64_t now_ms) {
    time_out_all(worker, now_ms);
    if (now_ms >= worker->step_due_ms) step_zone(worker, now_ms);
    uint64_t next_ms = earlier(now_ms + TICK_MAX_MS, worker->step_due_ms);
    if (worker->waiting.first != NULL) next_ms = earlier(next_ms, worker->waiting.first->deadline_ms);
    if (worker->link == LINK_IDLE) {
        if (worker->retry_ms > now_ms) next_ms = earlier(next_ms, worker->retry_ms);
    } else if (now_ms > worker->heard_ms + worker->config.link_timeout_ms && !worker->wants_close) {
        log_event(worker, LOG_WARN, "link-silent", "no answer within link_timeout");
        worker->wants_close = true;
    }
    if (worker->link == LINK_UP && !worker->wants_close) {
        if (now_ms >= worker->ping_due_ms) send_ping(worker, now_ms);
        if (now_ms >= worker->lease_due_ms) renew_lease(worker, now_ms);
        next_ms = earlier(next_ms, earlier(worker->ping_due_ms, worker->lease_due_ms));
    }
    return next_ms > now_ms ? (uint32_t)(next_ms - now_ms) : 1;
}

bool cart_worker_wants_close(const cart_worker_t *worker) {
    return worker->wants_close;
}
bool cart_worker_is_up(const cart_worker_t *worker) {
    return worker->link == LINK_UP && !worker->wants_close;
}
bool cart_worker_holds_feeds(const cart_worker_t *worker) {
    return worker->holds_lease;
}
unsigned cart_worker_parked(const cart_worker_t *worker) {
    return parked_count(worker);
}
