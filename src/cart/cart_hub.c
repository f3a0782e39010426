/*
 * The service's end of all links. The header has the contract; this file has the links and their frames.
 *
 *   opened ──▶ GREETING ──HELLO──▶ UP ──bad frame, silence, owes too much, newer link of its slot──▶ DEAD ──▶ closed
 *                 └── refused, bad frame, silence ─────────────────────────────────────────────────┘
 *
 * A DEAD link is not read any more, and no request of it reaches the engine. Its slot lives on without it.
 */
#include "cart/cart_hub.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cart/cart_hub_state.h"
#include "cart/cart_image.h"
#include "cart/cart_planted.h"

#define TICK_MAX_MS 1000

enum { LOG_ALERT = 0, LOG_ERROR = 1, LOG_WARN = 2, LOG_INFO = 3 };

void hub_log(cart_hub_t *hub, int level, const char *event, const char *detail) {
    if (hub->engine.log != NULL) hub->engine.log(hub->engine.context, level, event, detail);
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

cart_hub_t *cart_hub_create(const cart_hub_config_t *config, const cart_hub_engine_t *engine) {
    assert(!cart_id_is_none(&config->incarnation));
    assert(config->epoch > 0);
    cart_hub_t *hub = calloc(1, sizeof(*hub));
    if (hub == NULL) return NULL;
    hub->config = *config;
    hub->engine = *engine;
    hub->ready_first = HUB_NONE;
    hub->ready_last = HUB_NONE;
    hub->scratch = malloc(CART_FRAME_HEADER_BYTES + CART_FRAME_PAYLOAD_MAX);
    if (!hub_subs_init(hub) || hub->scratch == NULL) {
        cart_hub_destroy(hub);
        return NULL;
    }
    return hub;
}

void cart_hub_destroy(cart_hub_t *hub) {
    if (hub == NULL) return;
    for (unsigned i = 0; i < CART_HUB_LINKS_MAX; i++) {
        cart_out_deinit(&hub->links[i].out);
        free(hub->links[i].in);
    }
    hub_slots_deinit(hub);
    hub_subs_deinit(hub);
    free(hub->scratch);
    free(hub);
}

/* ---- links -------------------------------------------------------------------------------------------------------- */

static hub_link_t *link_by_id(cart_hub_t *hub, cart_link_t id) {
    hub_link_t *link = &hub->links[id & 0xff];
    return id != 0 && link->id == id ? link : NULL;
}

static uint32_t link_index(const cart_hub_t *hub, const hub_link_t *link) {
    return (uint32_t)(link - hub->links);
}

void hub_ready(cart_hub_t *hub, hub_link_t *link) {
    if (link->ready) return;
    link->ready = true;
    link->ready_next = HUB_NONE;
    if (hub->ready_last == HUB_NONE)
        hub->ready_first = link_index(hub, link);
    else
        hub->links[hub->ready_last].ready_next = link_index(hub, link);
    hub->ready_last = link_index(hub, link);
}

/* From here on the slot has no link. */
static void leave_slot(cart_hub_t *hub, hub_link_t *link) {
    if (link->slot == HUB_NONE) return;
    hub_slot_t *slot = &hub->slots[link->slot];
    if (slot->link == link_index(hub, link)) {
        slot->link = HUB_NONE;
        slot->away_ms = hub->now_ms;
    }
    link->slot = HUB_NONE;
}

static void drop_requests(cart_hub_t *hub, hub_link_t *link) {
    if (link->dropped) return;
    link->dropped = true;
    if (hub->engine.drop_link != NULL) hub->engine.drop_link(hub->engine.context, link->id);
}

void hub_give_up(cart_hub_t *hub, hub_link_t *link, const char *why) {
    if (link->state == HUB_DEAD) return;
    hub_log(hub, LOG_WARN, "link-closed", why);
    link->state = HUB_DEAD;
    link->close = true;
    link->follows = false;
    leave_slot(hub, link);
    hub_ready(hub, link);
}

void hub_send(cart_hub_t *hub, hub_link_t *link, const uint8_t *frame, size_t length) {
    uint8_t *to = cart_out_room(&link->out, length);
    if (to == NULL) {
        hub_give_up(hub, link, "owes more than it may");
        return;
    }
    memcpy(to, frame, length);
    cart_out_add(&link->out, length);
    hub_ready(hub, link);
}

cart_link_t cart_hub_opened(cart_hub_t *hub, uint64_t now_ms) {
    if (now_ms > hub->now_ms) hub->now_ms = now_ms;
    for (unsigned i = 0; i < CART_HUB_LINKS_MAX; i++) {
        hub_link_t *link = &hub->links[i];
        if (link->id != 0) continue;
        memset(link, 0, sizeof(*link));
        link->id = ++hub->link_sequence << 8 | i;
        link->slot = HUB_NONE;
        link->ready_next = HUB_NONE;
        link->heard_ms = now_ms;
        cart_out_init(&link->out, CART_HUB_OUT_MAX);
        hub->stats.links++;
        return link->id;
    }
    return 0;
}

static void ready_remove(cart_hub_t *hub, hub_link_t *link) {
    if (!link->ready) return;
    uint32_t index = link_index(hub, link);
    uint32_t before = HUB_NONE;
    uint32_t at = hub->ready_first;
    while (at != index) {
        before = at;
        at = hub->links[at].ready_next;
    }
    if (before == HUB_NONE)
        hub->ready_first = link->ready_next;
    else
        hub->links[before].ready_next = link->ready_next;
    if (hub->ready_last == index) hub->ready_last = before;
    link->ready = false;
}

void cart_hub_closed(cart_hub_t *hub, cart_link_t id, uint64_t now_ms) {
    if (now_ms > hub->now_ms) hub->now_ms = now_ms;
    hub_link_t *link = link_by_id(hub, id);
    if (link == NULL) return;
    drop_requests(hub, link);
    leave_slot(hub, link);
    ready_remove(hub, link);
    cart_out_deinit(&link->out);
    free(link->in);
    memset(link, 0, sizeof(*link));
    hub->stats.links--;
}

cart_link_t cart_hub_next_ready(cart_hub_t *hub, bool *close) {
    if (hub->ready_first == HUB_NONE) return 0;
    hub_link_t *link = &hub->links[hub->ready_first];
    hub->ready_first = link->ready_next;
    if (hub->ready_first == HUB_NONE) hub->ready_last = HUB_NONE;
    link->ready = false;
    *close = link->close;
    return link->id;
}

size_t cart_hub_output(cart_hub_t *hub, cart_link_t id, const uint8_t **bytes) {
    hub_link_t *link = link_by_id(hub, id);
    if (link == NULL) {
        *bytes = NULL;
        return 0;
    }
    return cart_out_take(&link->out, bytes);
}

void cart_hub_sent(cart_hub_t *hub, cart_link_t id, size_t length) {
    hub_link_t *link = link_by_id(hub, id);
    if (link != NULL) cart_out_sent(&link->out, length);
}

/* ---- greeting ----------------------------------------------------------------------------------------------------- */

static void send_welcome(cart_hub_t *hub, hub_link_t *link, cart_welcome_result_t result, bool resumed,
                         uint64_t push_next) {
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_WELCOME_BYTES];
    const cart_welcome_t welcome = {.result = (uint8_t)result,
                                    .service = hub->config.incarnation,
                                    .epoch = hub->config.epoch,
                                    .push_next = push_next,
                                    .books_generation = hub->generation[HUB_BOOKS],
                                    .books_position = hub->position[HUB_BOOKS],
                                    .revoked_generation = hub->generation[HUB_REVOKED],
                                    .revoked_position = hub->position[HUB_REVOKED],
                                    .shared = hub->config.shared,
                                    .resumed = resumed,
                                    .books_vouched = hub->books_vouched,
                                    .revoked_vouched = hub->revoked_vouched};
    cart_welcome_write(bytes, &welcome);
    hub_send(hub, link, bytes, sizeof(bytes));
}

static bool refuse(cart_hub_t *hub, hub_link_t *link, cart_welcome_result_t result, const char *why) {
    send_welcome(hub, link, result, false, 0);
    hub_give_up(hub, link, why);
    return true;
}

/* Rule 5: the older link ends, with all of it that is not decided, before anything of the newer one is read. */
static void supersede(cart_hub_t *hub, hub_slot_t *slot) {
    if (slot->link == HUB_NONE) return;
    hub_link_t *old = &hub->links[slot->link];
    if (CART_PLANTED(old_link_kept)) {
        slot->link = HUB_NONE; /* its slot index stays: it is read on */
        return;
    }
    drop_requests(hub, old);
    hub_give_up(hub, old, "a newer link of its slot has come");
}

static bool on_hello(cart_hub_t *hub, hub_link_t *link, const cart_frame_t *frame) {
    cart_hello_t hello;
    if (cart_hello_is_other_protocol(frame))
        return refuse(hub, link, CART_WELCOME_PROTOCOL, "the edge speaks another protocol");
    if (!cart_hello_read(frame, &hello)) return false;
    if (hello.several && !hub->config.shared)
        return refuse(hub, link, CART_WELCOME_SOLE, "the edge names several services, and this one is a sole owner");
    bool fresh;
    uint32_t index = hub_slot_for(hub, &hello.edge, hello.slot, &fresh);
    if (index == HUB_NONE) return refuse(hub, link, CART_WELCOME_FULL, "no room for another slot");
    hub_slot_t *slot = &hub->slots[index];
    if (hello.link <= slot->newest_link)
        return refuse(hub, link, CART_WELCOME_OLD_LINK, "a newer link of this slot was seen");
    slot->newest_link = hello.link;
    supersede(hub, slot);
    slot->link = link_index(hub, link);
    link->slot = index;
    link->state = HUB_UP;
    bool resumed =
        !fresh && cart_id_equal(&hello.service, &hub->config.incarnation) && hub_slot_can_resume(slot, hello.push_seen);
    if (resumed) {
        hub_slot_seen(slot, hello.push_seen);
        send_welcome(hub, link, CART_WELCOME_OK, true, hello.push_seen + 1);
        hub_slot_replay(hub, index, link);
    } else {
        hub->stats.gaps++;
        hub_slot_gap(hub, index);
        send_welcome(hub, link, CART_WELCOME_OK, false, slot->push_next);
    }
    hub_log(hub, LOG_INFO, "link-up", resumed ? "resumed" : "gap");
    return true;
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

static const cart_verdict_t queue_is_full = {.outcome = CART_REFUSED, .reason = CART_REASON_QUEUE, .change = 0};

static bool on_ops(cart_hub_t *hub, hub_link_t *link, const cart_frame_t *frame) {
    cart_batch_t batch;
    cart_op_record_t record;
    if (!cart_batch_open(frame, &batch)) return false;
    while (link->state == HUB_UP && cart_op_next(&batch, &record)) {
        const cart_origin_t origin = {.link = link->id, .number = record.number, .index = link->slot, .generation = 0};
        if (hub->engine.change(hub->engine.context, &origin, &record.request, hub->now_ms + record.remaining_ms))
            continue;
        hub->stats.refused_queue++;
        cart_hub_done(hub, &origin, &record.request.user, &queue_is_full, NULL);
    }
    return link->state != HUB_UP || cart_batch_is_complete(&batch);
}

static bool on_fetch(cart_hub_t *hub, hub_link_t *link, const cart_frame_t *frame) {
    cart_batch_t batch;
    cart_fetch_record_t record;
    if (!cart_batch_open(frame, &batch)) return false;
    while (link->state == HUB_UP && cart_fetch_next(&batch, &record)) {
        hub->stats.fetches++;
        /* Rule 6: subscribed before it is read. Where that cannot be, CART says so with generation 0. */
        if (record.generation != 0) (void)hub_sub_set(hub, &record.user, link->slot, record.generation);
        const cart_origin_t origin = {
            .link = link->id, .number = record.number, .index = link->slot, .generation = record.generation};
        if (hub->engine.fetch(hub->engine.context, &origin, &record.user, &record.session, record.issued_s,
                              hub->now_ms + record.remaining_ms))
            continue;
        hub->stats.refused_queue++;
        cart_hub_cart(hub, &origin, &record.user, &queue_is_full, NULL);
    }
    return link->state != HUB_UP || cart_batch_is_complete(&batch);
}

static bool on_release(cart_hub_t *hub, hub_link_t *link, const cart_frame_t *frame) {
    cart_batch_t batch;
    cart_release_record_t record;
    if (!cart_batch_open(frame, &batch)) return false;
    const cart_id_t edge = hub->slots[link->slot].edge;
    while (link->state == HUB_UP && cart_release_next(&batch, &record)) {
        const hub_sub_t *sub = hub_sub_find(hub, &record.user, &edge);
        bool newer = sub != NULL && sub->generation > record.generation;
        hub_sub_remove(hub, &record.user, &edge, record.generation);
        if (!newer && hub->engine.released != NULL)
            hub->engine.released(hub->engine.context, &record.user, record.term);
    }
    return link->state != HUB_UP || cart_batch_is_complete(&batch);
}

/* ---- liveness, feeds ---------------------------------------------------------------------------------------------- */

static void send_ping(cart_hub_t *hub, hub_link_t *link, uint64_t number, bool answer) {
    uint8_t bytes[CART_FRAME_HEADER_BYTES + CART_PING_BYTES];
    const cart_ping_t ping = {.number = number,
                              .push_seen = 0,
                              .answer = answer,
                              .books_vouched = hub->books_vouched,
                              .revoked_vouched = hub->revoked_vouched};
    cart_ping_write(bytes, &ping);
    hub_send(hub, link, bytes, sizeof(bytes));
}

static bool on_ping(cart_hub_t *hub, hub_link_t *link, const cart_frame_t *frame) {
    cart_ping_t ping;
    if (!cart_ping_read(frame, &ping) || ping.answer || ping.books_vouched || ping.revoked_vouched) return false;
    hub_slot_t *slot = &hub->slots[link->slot];
    if (ping.push_seen >= slot->push_next) return false;
    hub_slot_seen(slot, ping.push_seen);
    send_ping(hub, link, ping.number, true);
    return true;
}

static bool on_follow(cart_hub_t *hub, hub_link_t *link, const cart_frame_t *frame) {
    cart_follow_t follow;
    if (!cart_follow_read(frame, &follow)) return false;
    link->follows = !follow.stop;
    for (unsigned feed = 0; feed < HUB_FEEDS; feed++) {
        link->full_open[feed] = false;
        link->caught_up[feed] = false;
    }
    if (!follow.stop && hub->engine.follow != NULL)
        hub->engine.follow(hub->engine.context, link->id, follow.books_generation, follow.books_position,
                           follow.revoked_generation, follow.revoked_position);
    return true;
}

static bool on_ask(cart_hub_t *hub, hub_link_t *link, const cart_frame_t *frame) {
    uint64_t books[CART_WORKER_ASK_MAX];
    unsigned count;
    if (!cart_ask_read(frame, books, &count)) return false;
    if (hub->engine.ask_books != NULL) hub->engine.ask_books(hub->engine.context, link->id, books, count);
    return true;
}

static bool on_frame(cart_hub_t *hub, hub_link_t *link, const cart_frame_t *frame) {
    if (link->state == HUB_GREETING) return on_hello(hub, link, frame);
    switch (frame->type) {
    case CART_FRAME_OPS:
        return on_ops(hub, link, frame);
    case CART_FRAME_FETCH:
        return on_fetch(hub, link, frame);
    case CART_FRAME_RELEASE:
        return on_release(hub, link, frame);
    case CART_FRAME_FOLLOW:
        return on_follow(hub, link, frame);
    case CART_FRAME_ASK:
        return on_ask(hub, link, frame);
    case CART_FRAME_PING:
        return on_ping(hub, link, frame);
    default:
        return false;
    }
}

static bool take_frames(cart_hub_t *hub, hub_link_t *link, const uint8_t *bytes, size_t length, size_t *used) {
    *used = 0;
    while (link->state != HUB_DEAD) {
        cart_frame_t frame;
        size_t size;
        cart_frame_result_t result = cart_frame_read(bytes + *used, length - *used, &frame, &size);
        if (result == CART_FRAME_MORE) return true;
        if (result == CART_FRAME_BAD || !on_frame(hub, link, &frame)) return false;
        *used += size;
    }
    *used = length;
    return true;
}

bool cart_hub_received(cart_hub_t *hub, cart_link_t id, const uint8_t *bytes, size_t length, uint64_t now_ms) {
    if (now_ms > hub->now_ms) hub->now_ms = now_ms;
    hub_link_t *link = link_by_id(hub, id);
    if (link == NULL) return false;
    if (link->state == HUB_DEAD) return true; /* not read; next_ready says that it is to be closed */
    link->heard_ms = hub->now_ms;
    size_t used = 0;
    bool good = true;
    if (link->in_length == 0) {
        good = take_frames(hub, link, bytes, length, &used);
        bytes += used;
        length -= used;
    }
    while (good && length > 0 && link->state != HUB_DEAD) {
        good = cart_in_append(&link->in, &link->in_length, &link->in_capacity, &bytes, &length);
        if (!good) break;
        good = take_frames(hub, link, link->in, link->in_length, &used);
        link->in_length -= used;
        memmove(link->in, link->in + used, link->in_length);
    }
    if (!good) {
        hub->stats.protocol_errors++;
        hub_give_up(hub, link, "it broke the protocol");
    }
    return good;
}

uint32_t cart_hub_tick(cart_hub_t *hub, uint64_t now_ms) {
    if (now_ms > hub->now_ms) hub->now_ms = now_ms;
    uint64_t next_ms = hub->now_ms + TICK_MAX_MS;
    for (unsigned i = 0; i < CART_HUB_LINKS_MAX; i++) {
        hub_link_t *link = &hub->links[i];
        if (link->id == 0 || link->state == HUB_DEAD) continue;
        uint64_t silent_ms = link->heard_ms + hub->config.ping_timeout_ms;
        if (hub->now_ms > silent_ms)
            hub_give_up(hub, link, "it was silent for too long");
        else if (silent_ms + 1 < next_ms)
            next_ms = silent_ms + 1;
    }
    hub_slots_tick(hub);
    hub_subs_sweep(hub);
    return (uint32_t)(next_ms - hub->now_ms);
}

/* ---- from the engine ---------------------------------------------------------------------------------------------- */

/* One PUSH to one subscription, kept for a replay and, where its slot has a link, sent. */
static void push(cart_hub_t *hub, const hub_sub_t *sub, const uint8_t *image, uint16_t image_length) {
    uint32_t index = sub->slot;
    size_t length;
    (void)hub_slot_push(hub, index, &sub->user, sub->generation, image, image_length,
                        &length); /* it is in the record */
    uint32_t at = hub->slots[index].link;
    if (at == HUB_NONE) return;
    hub_link_t *link = &hub->links[at];
    uint8_t *to = cart_out_record(&link->out, CART_FRAME_PUSH, length);
    if (to == NULL) {
        hub_give_up(hub, link, "owes more than it may");
        return;
    }
    memcpy(to, hub->scratch, length);
    cart_out_record_add(&link->out, length);
    hub_ready(hub, link);
}

/* To every subscriber but the slot `but` (HUB_NONE: none is left out). Without an image the subscription ends with it. */
static void push_all(cart_hub_t *hub, const cart_id_t *user, uint32_t but, const uint8_t *image,
                     uint16_t image_length) {
    uint32_t at = HUB_NONE;
    hub_sub_t *sub;
    while ((sub = hub_sub_next(hub, user, &at)) != NULL) {
        if (sub->slot == but) continue;
        push(hub, sub, image, image_length);
        if (image_length > 0) continue;
        const cart_id_t edge = hub->slots[sub->slot].edge;
        const cart_id_t whose = *user; /* the caller's may be the record's own */
        hub_sub_remove(hub, &whose, &edge, sub->generation);
        at = HUB_NONE;
    }
}

static uint16_t pack(const cart_image_t *image, uint8_t packed[CART_IMAGE_PACKED_MAX]) {
    if (image == NULL) return 0;
    size_t length = cart_image_pack(image, packed, CART_IMAGE_PACKED_MAX);
    assert(length > 0);
    return (uint16_t)length;
}

void cart_hub_done(cart_hub_t *hub, const cart_origin_t *origin, const cart_id_t *user, const cart_verdict_t *verdict,
                   const cart_image_t *image) {
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    uint16_t length = pack(image, packed);
    hub_link_t *link = link_by_id(hub, origin->link);
    bool applied = verdict->outcome == CART_APPLIED;
    uint32_t own = HUB_NONE;
    if (link != NULL && link->state == HUB_UP && link->slot != HUB_NONE) {
        cart_done_record_t record = {.number = origin->number,
                                     .verdict = *verdict,
                                     .push = 0,
                                     .generation = 0,
                                     .image = packed,
                                     .image_length = length};
        const hub_sub_t *sub = applied ? hub_sub_find(hub, user, &hub->slots[link->slot].edge) : NULL;
        if (sub != NULL && sub->slot == link->slot) {
            /* The change takes a PUSH number though this DONE carries its image (rule 6). */
            size_t ignored;
            own = sub->slot;
            record.generation = sub->generation;
            record.push = hub_slot_push(hub, own, user, sub->generation, packed, length, &ignored);
        }
        uint8_t *to = cart_out_record(&link->out, CART_FRAME_DONE, CART_DONE_FIXED_BYTES + (size_t)length);
        if (to == NULL) {
            hub_give_up(hub, link, "owes more than it may");
        } else {
            cart_out_record_add(&link->out, cart_done_write(to, &record));
            hub->stats.dones++;
            hub_ready(hub, link);
        }
        if (own != HUB_NONE && length == 0) {
            const cart_id_t edge = hub->slots[own].edge;
            hub_sub_remove(hub, user, &edge, record.generation);
        }
    }
    if (applied && !CART_PLANTED(push_forgotten)) push_all(hub, user, own, packed, length);
}

void cart_hub_cart(cart_hub_t *hub, const cart_origin_t *origin, const cart_id_t *user, const cart_verdict_t *verdict,
                   const cart_image_t *image) {
    hub_link_t *link = link_by_id(hub, origin->link);
    bool live = link != NULL && link->state == HUB_UP && link->slot != HUB_NONE;
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    uint16_t length = pack(image, packed);
    bool given = verdict->outcome == CART_APPLIED && length > 0;
    if (!live) return; /* what was subscribed stays for a resume: the edge asks again under the same seat */
    const cart_id_t edge = hub->slots[link->slot].edge;
    const hub_sub_t *sub = origin->generation == 0 ? NULL : hub_sub_find(hub, user, &edge);
    bool subscribed = sub != NULL && sub->slot == link->slot && sub->generation == origin->generation;
    if (subscribed && !given) {
        /* Not only by this CART, which a cut may lose: another FETCH of the same seat may have been answered before, and
         * its image would stay vouched for by nobody. */
        push(hub, sub, NULL, 0);
        hub_sub_remove(hub, user, &edge, origin->generation);
        subscribed = false;
        if (link->state != HUB_UP) return;
    }
    const cart_cart_record_t record = {.number = origin->number,
                                       .verdict = *verdict,
                                       .generation = subscribed ? origin->generation : 0,
                                       .image = packed,
                                       .image_length = length};
    uint8_t *to = cart_out_record(&link->out, CART_FRAME_CART, CART_CART_FIXED_BYTES + (size_t)length);
    if (to == NULL) {
        hub_give_up(hub, link, "owes more than it may");
        return;
    }
    cart_out_record_add(&link->out, cart_cart_write(to, &record));
    hub_ready(hub, link);
}

void cart_hub_changed(cart_hub_t *hub, const cart_id_t *user, const cart_image_t *image) {
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    uint16_t length = pack(image, packed);
    push_all(hub, user, HUB_NONE, packed, length);
}

bool cart_hub_is_subscribed(const cart_hub_t *hub, const cart_id_t *user) {
    uint32_t at = HUB_NONE;
    /* Looking may take void records away, which nobody can tell. */
    return hub_sub_next((cart_hub_t *)(uintptr_t)hub, user, &at) != NULL;
}

void cart_hub_feeds_vouched(cart_hub_t *hub, bool books, bool revocations) {
    if (books == hub->books_vouched && revocations == hub->revoked_vouched) return;
    hub->books_vouched = books;
    hub->revoked_vouched = revocations;
    for (unsigned i = 0; i < CART_HUB_LINKS_MAX; i++) {
        hub_link_t *link = &hub->links[i];
        if (link->id != 0 && link->state == HUB_UP) send_ping(hub, link, 0, false);
    }
}

void cart_hub_stats(const cart_hub_t *hub, cart_hub_stats_t *stats) {
    *stats = hub->stats;
    stats->subscriptions = hub->sub_count;
}
