/*
 * The feeds on the link: books and revocations, in frames of at most CART_FRAME_PAYLOAD_MAX, to the links that follow.
 *
 * A link that has just begun to follow, or is in the middle of a full list, has not caught up. What changes for everybody
 * meanwhile is sent to it at once, so that the list in use has it, but in a form that does not move the place to resume
 * (books: as an answer; revocations: generation 0, position 0): a link that is cut then asks for all that it missed. While
 * a full list is under way the change is made part of it as well, so that the coming list has it too.
 */
#include <assert.h>
#include <string.h>

#include "cart/cart_hub_state.h"

/* One call's list on its way into frames. */
typedef struct {
    cart_hub_t *hub;
    cart_link_t to;
    hub_feed_t feed;
    uint8_t type;
    bool full, last, answers;
    uint64_t generation, position;
    uint64_t reached; /* position of the last record in the scratch frame */
    uint16_t count;   /* records in the scratch frame */
    size_t length;    /* bytes of its payload */
} hub_list_t;

static void list_begin(hub_list_t *list) {
    list->count = 0;
    list->length = CART_LIST_BYTES;
}

static void send_as(hub_list_t *list, hub_link_t *link, uint16_t flags, uint64_t generation, uint64_t position) {
    uint8_t *frame = list->hub->scratch;
    cart_frame_header(frame, list->type, flags, (uint32_t)list->length);
    cart_list_write(frame + CART_FRAME_HEADER_BYTES, generation, position, list->count);
    hub_send(list->hub, link, frame, CART_FRAME_HEADER_BYTES + list->length);
}

static void send_full(hub_list_t *list, hub_link_t *link, bool end) {
    bool first = !link->full_open[list->feed] || link->full_generation[list->feed] != list->generation;
    uint16_t flags = (uint16_t)(CART_LIST_FULL | (first ? CART_LIST_FIRST : 0) | (end ? CART_LIST_LAST : 0));
    link->full_open[list->feed] = !end;
    link->full_generation[list->feed] = list->generation;
    link->caught_up[list->feed] = end;
    send_as(list, link, flags, list->generation, list->position);
}

/* A change for everybody while this link still waits for what came before it: the place to resume may not move. */
static void send_ahead(hub_list_t *list, hub_link_t *link) {
    if (list->count == 0) return;
    if (list->feed == HUB_BOOKS)
        send_as(list, link, CART_LIST_ANSWERS, list->generation, list->position);
    else
        send_as(list, link, 0, 0, 0);
    bool same_list = link->full_open[list->feed] && link->full_generation[list->feed] == list->generation;
    if (same_list && link->state == HUB_UP) send_as(list, link, CART_LIST_FULL, list->generation, list->position);
}

static void send_change(hub_list_t *list, hub_link_t *link, bool whole, bool end) {
    if (list->to == 0 && !link->caught_up[list->feed]) {
        send_ahead(list, link);
        return;
    }
    if (end) link->caught_up[list->feed] = true;
    /* Of a call that takes several frames, each moves the place only as far as it has come. */
    send_as(list, link, end ? CART_LIST_LAST : 0, list->generation, whole ? list->position : list->reached);
}

static void list_send_to(hub_list_t *list, hub_link_t *link, bool whole, bool end) {
    if (link->id == 0 || link->state != HUB_UP) return;
    if (list->answers)
        send_as(list, link, CART_LIST_ANSWERS, list->generation, list->position);
    else if (!link->follows)
        return;
    else if (list->full)
        send_full(list, link, end);
    else
        send_change(list, link, whole, end);
}

/* Sends the frame in the scratch; whole: nothing of the call is left. */
static void list_send(hub_list_t *list, bool whole) {
    bool end = whole && list->last;
    cart_hub_t *hub = list->hub;
    if (list->to != 0) {
        hub_link_t *link = &hub->links[list->to & 0xff];
        if (link->id == list->to) list_send_to(list, link, whole, end);
    } else {
        for (unsigned i = 0; i < CART_HUB_LINKS_MAX; i++) list_send_to(list, &hub->links[i], whole, end);
    }
    list_begin(list);
}

/* Room for a record of `bytes`: sends what there is when it would not fit. */
static uint8_t *list_room(hub_list_t *list, size_t bytes, uint64_t position) {
    if (list->length + bytes > CART_FRAME_PAYLOAD_MAX) list_send(list, false);
    list->count++;
    list->reached = position;
    uint8_t *at = list->hub->scratch + CART_FRAME_HEADER_BYTES + list->length;
    list->length += bytes;
    return at;
}

static void remember(hub_list_t *list) {
    if (list->answers) return;
    list->hub->generation[list->feed] = list->generation;
    list->hub->position[list->feed] = list->position;
}

void cart_hub_books(cart_hub_t *hub, cart_link_t to, const cart_book_record_t *books, unsigned count, bool full,
                    bool last, bool answers, uint64_t generation, uint64_t position) {
    assert(!answers || (to != 0 && !full));
    hub_list_t list = {.hub = hub,
                       .to = to,
                       .feed = HUB_BOOKS,
                       .type = CART_FRAME_BOOKS,
                       .full = full,
                       .last = last,
                       .answers = answers,
                       .generation = generation,
                       .position = position};
    list_begin(&list);
    for (unsigned i = 0; i < count; i++) {
        size_t bytes = cart_book_bytes(&books[i]);
        if (bytes == 0) {
            hub_log(hub, 1, "book-not-sent", "a field is beyond its limit");
            continue;
        }
        (void)cart_book_write(list_room(&list, bytes, books[i].position), &books[i]); /* its length is `bytes` */
    }
    list_send(&list, true);
    remember(&list);
}

void cart_hub_revocations(cart_hub_t *hub, cart_link_t to, const cart_revocation_t *revocations, unsigned count,
                          bool full, bool last, uint64_t generation, uint64_t position) {
    hub_list_t list = {.hub = hub,
                       .to = to,
                       .feed = HUB_REVOKED,
                       .type = CART_FRAME_REVOKE,
                       .full = full,
                       .last = last,
                       .answers = false,
                       .generation = generation,
                       .position = position};
    list_begin(&list);
    for (unsigned i = 0; i < count; i++)
        (void)cart_revocation_write(list_room(&list, CART_REVOCATION_BYTES, revocations[i].position),
                                    &revocations[i]); /* fixed length */
    list_send(&list, true);
    remember(&list);
}
