/*
 * The loop's side of the feeds: takes the pages that the threads brought, keeps the lists, answers what the engine asks of
 * them, and sends each link that follows what it has not. A link is told page by page as its socket takes them, so that a
 * large catalogue never piles up behind one slow edge.
 *
 * A full list that is being heard is built beside the one in use and replaces it in one step (rule 9).
 */
#include "services/cart/cart_service_state.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdlib.h>

#define PUMP_ITEMS     256           /* in one call to the hub */
#define PUMP_BYTES_MAX (1024 * 1024) /* a link that owes its socket more is told later */
#define EXPIRE_MS      30000

/* ---- pages ----------------------------------------------------------------------------------------------------------- */

static void take_page(cart_service_t *service, feed_t *feed, feed_page_t *page) {
    list_t **staging = &service->staging[feed->kind];
    if (page->restart) {
        list_t *current = service->lists[feed->kind];
        if (page->count == 0 && !page->more && current != NULL && current->generation == page->generation &&
            current->live == 0) {
            return; /* still nothing */
        }
        list_destroy(*staging);
        *staging = list_create(page->generation);
    }
    list_t *list = *staging != NULL ? *staging : service->lists[feed->kind];
    for (unsigned i = 0; i < page->count; i++) {
        list_item_t *item = page->items[i];
        page->items[i] = NULL;
        if (list == NULL || !list_put(list, item)) {
            if (list == NULL) free(item);
            bc_service_fail("no memory for a feed's list"); /* a list with a hole must not be vouched for */
        }
    }
    if (list == NULL) return;
    if (list->position < page->position) list->position = page->position;
    if (page->more || *staging == NULL) return;
    list_destroy(service->lists[feed->kind]);
    service->lists[feed->kind] = *staging;
    *staging = NULL;
    atomic_store(&service->is_heard[feed->kind], true);
    bc_log(BC_LOG_INFO, "list-complete", bc_f_text("list", feed->kind == LIST_BOOKS ? "books" : "revocations"),
           bc_f_int("items", (int64_t)list->live));
}

static feed_page_t *next_page(cart_service_t *service, feed_t *feed, int64_t *heard_ms) {
    (void)pthread_mutex_lock(&service->mutex);
    feed_page_t *page = feed->first;
    if (page != NULL) {
        feed->first = page->next;
        if (feed->first == NULL) feed->last = NULL;
        feed->waiting--;
        (void)pthread_cond_broadcast(&service->taken);
    }
    *heard_ms = feed->heard_ms;
    (void)pthread_mutex_unlock(&service->mutex);
    return page;
}

void cart_service_feeds_take(cart_service_t *service) {
    int64_t bound_ms = bc_config_number(service->config, BC_CART_FEED_MAX);
    bool was[LISTS] = {service->vouched[0], service->vouched[1]};
    for (unsigned i = 0; i < LISTS; i++) {
        feed_t *feed = &service->feeds[i];
        int64_t heard_ms = 0;
        feed_page_t *page;
        while ((page = next_page(service, feed, &heard_ms)) != NULL) {
            take_page(service, feed, page);
            free(page);
        }
        bool is_fresh = heard_ms != 0 && bc_monotonic_ms() - heard_ms <= bound_ms;
        service->vouched[i] = service->lists[i] != NULL && is_fresh;
        atomic_store(&service->is_vouched[i], service->vouched[i]);
    }
    if (was[0] != service->vouched[0] || was[1] != service->vouched[1]) {
        cart_hub_feeds_vouched(service->hub, service->vouched[LIST_BOOKS], service->vouched[LIST_REVOCATIONS]);
        bool is_lost = was[LIST_REVOCATIONS] && !service->vouched[LIST_REVOCATIONS];
        bc_log(is_lost ? BC_LOG_ERROR : BC_LOG_INFO, "feeds-vouched", bc_f_int("books", service->vouched[LIST_BOOKS]),
               bc_f_int("revocations", service->vouched[LIST_REVOCATIONS]));
    }
    if (service->now_ms >= service->expired_ms + EXPIRE_MS) {
        service->expired_ms = service->now_ms;
        if (service->lists[LIST_REVOCATIONS] != NULL)
            list_expire(service->lists[LIST_REVOCATIONS], service->now_ms / 1000);
    }
}

/* ---- what is asked of them ------------------------------------------------------------------------------------------- */

static const cart_book_record_t *find_book(const cart_service_t *service, uint64_t book) {
    const list_t *list = service->lists[LIST_BOOKS];
    if (list == NULL) return NULL;
    uint8_t key[CART_ID_BYTES];
    list_book_key(book, key);
    const list_item_t *item = list_find(list, key);
    return item == NULL ? NULL : &item->book;
}

bool cart_service_knows_book(const cart_service_t *service, uint64_t book) {
    const cart_book_record_t *record = find_book(service, book);
    return record != NULL && record->state == CART_BOOK_LIVE;
}

bool cart_service_is_alive(const cart_service_t *service, const cart_id_t *user, const cart_id_t *session,
                           uint64_t issued_s) {
    const list_t *list = service->lists[LIST_REVOCATIONS];
    assert(list != NULL);
    if (list_find(list, session->bytes) != NULL) return false;
    const list_item_t *item = list_find(list, user->bytes);
    return item == NULL || issued_s >= item->revocation.issued_before_s;
}

void cart_service_ask_books(cart_service_t *service, cart_link_t link, const uint64_t *books, unsigned count) {
    const list_t *list = service->lists[LIST_BOOKS];
    if (list == NULL) return; /* not heard yet: to say "unknown" would be a guess; the edge's request times out */
    cart_book_record_t records[CART_WORKER_ASK_MAX];
    if (count > CART_WORKER_ASK_MAX) count = CART_WORKER_ASK_MAX;
    for (unsigned i = 0; i < count; i++) {
        const cart_book_record_t *record = find_book(service, books[i]);
        if (record != NULL)
            records[i] = *record;
        else
            records[i] = (cart_book_record_t){.book = books[i], .state = CART_BOOK_UNKNOWN, .title = "", .url = ""};
    }
    cart_hub_books(service->hub, link, records, count, false, true, true, list->generation, list->position);
}

/* ---- links that follow ----------------------------------------------------------------------------------------------- */

void cart_service_follow(cart_service_t *service, cart_link_t link, uint64_t books_generation, uint64_t books_position,
                         uint64_t revocations_generation, uint64_t revocations_position) {
    conn_t *conn = cart_service_conn(service, link);
    if (conn == NULL) return;
    conn->follows = true;
    memset(conn->at, 0, sizeof conn->at);
    conn->at[LIST_BOOKS].generation = books_generation;
    conn->at[LIST_BOOKS].position = books_position;
    conn->at[LIST_REVOCATIONS].generation = revocations_generation;
    conn->at[LIST_REVOCATIONS].position = revocations_position;
}

static void send_items(cart_service_t *service, const conn_t *conn, list_kind_t kind, const list_item_t **items,
                       unsigned count, bool last, uint64_t position) {
    const list_t *list = service->lists[kind];
    if (kind == LIST_BOOKS) {
        cart_book_record_t *records = service->book_scratch;
        for (unsigned i = 0; i < count; i++) records[i] = items[i]->book;
        cart_hub_books(service->hub, conn->link, records, count, conn->at[kind].is_full, last, false, list->generation,
                       position);
    } else {
        cart_revocation_t records[PUMP_ITEMS];
        for (unsigned i = 0; i < count; i++) records[i] = items[i]->revocation;
        cart_hub_revocations(service->hub, conn->link, records, count, conn->at[kind].is_full, last, list->generation,
                             position);
    }
}

/* False: the link has taken enough for now. */
static bool tell(cart_service_t *service, conn_t *conn, list_kind_t kind) {
    const list_t *list = service->lists[kind];
    if (list == NULL) return true;
    bool is_other = conn->at[kind].generation != list->generation || conn->at[kind].position > list->position;
    if (is_other) {
        conn->at[kind].generation = list->generation;
        conn->at[kind].position = 0;
        conn->at[kind].is_full = true;
        conn->at[kind].is_current = false;
    }
    while (!conn->at[kind].is_current || conn->at[kind].position < list->position) {
        const uint8_t *bytes = NULL;
        if (cart_hub_output(service->hub, conn->link, &bytes) > PUMP_BYTES_MAX) return false;
        const list_item_t *items[PUMP_ITEMS];
        unsigned count = list_after(list, conn->at[kind].position, items, PUMP_ITEMS);
        bool last = count < PUMP_ITEMS;
        uint64_t position = last ? list->position : items[count - 1]->position;
        send_items(service, conn, kind, items, count, last, position);
        conn->at[kind].position = position;
        if (last) {
            conn->at[kind].is_full = false;
            conn->at[kind].is_current = true;
        }
    }
    return true;
}

void cart_service_pump(cart_service_t *service) {
    for (unsigned i = 0; i < CART_HUB_LINKS_MAX; i++) {
        conn_t *conn = &service->conns[i];
        if (conn->link == 0 || !conn->follows) continue;
        /* Revocations first: they may not wait behind a catalogue. */
        if (tell(service, conn, LIST_REVOCATIONS)) (void)tell(service, conn, LIST_BOOKS); /* goes on next turn */
    }
}
