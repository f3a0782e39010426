/*
 * The feeds' threads: each long-polls one service, turns what comes into items and hands them to the loop page by page.
 *
 * A thread starts from nothing and so hears the full list first; after that only changes. A generation it has not seen means
 * another store (restored): it begins from nothing again, and the loop replaces the list in one step when it is complete.
 * A page of wrong form is logged and asked for again: a feed is our own service's, so this is a bug of ours.
 */
#include "services/cart/cart_service_state.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CALL_MS      ((FEED_WAIT_S + 4) * 1000)
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 1000

/* ---- reading one item ------------------------------------------------------------------------------------------------ */

static bool read_number(const json_t *value, uint64_t *number) {
    const char *text = json_string_value(value);
    if (text == NULL || text[0] < '0' || text[0] > '9') return false;
    char *end = NULL;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (*end != '\0') return false;
    *number = parsed;
    return true;
}

static uint64_t digest_of(const char *text) {
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    for (; *text != '\0'; text++) digest = (digest ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return digest == 0 ? 1 : digest;
}

static uint8_t availability_of(const char *word) {
    if (word != NULL && strcmp(word, "in_stock") == 0) return CART_IN_STOCK;
    if (word != NULL && strcmp(word, "low") == 0) return CART_LOW_STOCK;
    return CART_OUT_OF_STOCK;
}

/* Cuts UTF-8 at a character's border. */
static size_t cut(const char *text, size_t length, size_t max) {
    if (length <= max) return length;
    while (max > 0 && ((uint8_t)text[max] & 0xc0) == 0x80) max--;
    return max;
}

static list_item_t *read_book(const json_t *json) {
    const json_t *authors = json_object_get(json, "authors");
    const json_t *id = json_object_get(json, "id");
    const char *title = json_string_value(json_object_get(json, "title"));
    const char *url = json_string_value(json_object_get(json, "cover_url"));
    const char *state = json_string_value(json_object_get(json, "state"));
    uint64_t position = 0;
    if (!read_number(json_object_get(json, "position"), &position) || position == 0 || title == NULL || state == NULL ||
        json_integer_value(id) < 1 || (uint64_t)json_integer_value(id) > CART_BOOK_MAX) {
        return NULL;
    }
    size_t title_length = cut(title, strlen(title), CART_BOOK_TITLE_MAX);
    size_t url_length = url == NULL ? 0 : strlen(url);
    if (url_length > CART_BOOK_URL_MAX) url_length = 0; /* half an address is none */
    size_t author_count = json_array_size(authors);
    if (author_count > CART_BOOK_AUTHORS_MAX) author_count = CART_BOOK_AUTHORS_MAX;
    size_t bytes = title_length + url_length;
    for (size_t i = 0; i < author_count; i++) bytes += json_string_length(json_array_get(authors, i));
    list_item_t *item = calloc(1, sizeof *item + bytes + 1);
    if (item == NULL) return NULL;
    item->position = position;
    cart_book_record_t *book = &item->book;
    book->book = (uint64_t)json_integer_value(id);
    list_book_key(book->book, item->key);
    book->position = position;
    json_int_t price = json_integer_value(json_object_get(json, "price_minor"));
    book->price_minor = price > 0 ? (uint64_t)price : 0;
    json_int_t available = json_integer_value(json_object_get(json, "available"));
    book->available = available < 0 ? 0 : available > UINT32_MAX ? UINT32_MAX : (uint32_t)available;
    book->availability = availability_of(json_string_value(json_object_get(json, "availability")));
    book->state = strcmp(state, "live") == 0 ? CART_BOOK_LIVE : CART_BOOK_GONE;
    char *text = (char *)(item + 1);
    memcpy(text, title, title_length);
    book->title = text;
    book->title_length = (uint16_t)title_length;
    text += title_length;
    if (url_length > 0) memcpy(text, url, url_length);
    book->url = text;
    book->url_length = (uint16_t)url_length;
    text += url_length;
    for (size_t i = 0; i < author_count; i++) {
        const json_t *author = json_array_get(authors, i);
        if (!json_is_string(author)) continue;
        size_t length = json_string_length(author);
        if (length > UINT16_MAX) continue;
        memcpy(text, json_string_value(author), length);
        book->authors[book->author_count] = text;
        book->author_lengths[book->author_count++] = (uint16_t)length;
        text += length;
    }
    return item;
}

static list_item_t *read_revocation(const json_t *json) {
    const char *kind = json_string_value(json_object_get(json, "kind"));
    const char *id = json_string_value(json_object_get(json, "id"));
    cart_revocation_t revocation = {0};
    if (kind == NULL || id == NULL || !read_number(json_object_get(json, "position"), &revocation.position) ||
        revocation.position == 0) {
        return NULL;
    }
    bool is_session = strcmp(kind, "session") == 0;
    if (!is_session && strcmp(kind, "user") != 0) return NULL;
    if (!cart_id_parse(is_session ? "ses_" : "usr_", id, strlen(id), &revocation.id)) return NULL;
    revocation.kind = is_session ? CART_REVOKE_SESSION : CART_REVOKE_USER;
    json_int_t expires = json_integer_value(json_object_get(json, "expires"));
    json_int_t before = json_integer_value(json_object_get(json, "issued_before"));
    if (expires <= 0 || before < 0 || (!is_session && before == 0)) return NULL;
    revocation.expires_s = (uint64_t)expires;
    revocation.issued_before_s = (uint64_t)before;
    list_item_t *item = calloc(1, sizeof *item);
    if (item == NULL) return NULL;
    item->position = revocation.position;
    memcpy(item->key, revocation.id.bytes, CART_ID_BYTES);
    item->revocation = revocation;
    return item;
}

/* ---- a page ---------------------------------------------------------------------------------------------------------- */

static void page_free(feed_page_t *page) {
    if (page == NULL) return;
    for (unsigned i = 0; i < page->count; i++) free(page->items[i]);
    free(page);
}

static feed_page_t *read_page(list_kind_t kind, const json_t *reply) {
    const char *generation = json_string_value(json_object_get(reply, "generation"));
    const json_t *items = json_object_get(reply, "items");
    feed_page_t *page = calloc(1, sizeof *page);
    if (page == NULL || generation == NULL || !json_is_array(items) || json_array_size(items) > FEED_PAGE_MAX ||
        !read_number(json_object_get(reply, "position"), &page->position)) {
        free(page);
        return NULL;
    }
    page->generation = digest_of(generation);
    page->more = json_is_true(json_object_get(reply, "more"));
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *json = json_array_get(items, i);
        list_item_t *item = kind == LIST_BOOKS ? read_book(json) : read_revocation(json);
        if (item == NULL) {
            page_free(page);
            return NULL;
        }
        page->items[page->count++] = item;
    }
    return page;
}

/* Waits while the loop has enough to do. False: the service stops; the page is freed. */
static bool hand_over(feed_t *feed, feed_page_t *page) {
    cart_service_t *service = feed->service;
    (void)pthread_mutex_lock(&service->mutex);
    while (feed->waiting >= FEED_QUEUE_MAX && !service->end_feeds) {
        (void)pthread_cond_wait(&service->taken, &service->mutex);
    }
    bool is_over = service->end_feeds;
    if (!is_over) {
        if (feed->last != NULL)
            feed->last->next = page;
        else
            feed->first = page;
        feed->last = page;
        feed->waiting++;
        feed->heard_ms = bc_monotonic_ms();
    }
    (void)pthread_mutex_unlock(&service->mutex);
    if (is_over)
        page_free(page);
    else
        cart_service_wake(service);
    return !is_over;
}

/* ---- the thread ------------------------------------------------------------------------------------------------------ */

static void back_off(feed_t *feed, int64_t *delay_ms) {
    cart_service_t *service = feed->service;
    struct timespec until = bc_monotonic_deadline(*delay_ms);
    (void)pthread_mutex_lock(&service->mutex);
    while (!service->end_feeds && pthread_cond_timedwait(&service->taken, &service->mutex, &until) == 0) continue;
    (void)pthread_mutex_unlock(&service->mutex);
    *delay_ms = *delay_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : *delay_ms * 2;
}

static feed_page_t *ask(feed_t *feed, uint64_t after, bool wait, bool *was_away) {
    static const char *const paths[LISTS] = {"/internal/feed/books", "/internal/feed/revocations"};
    static const char *const names[LISTS] = {"books", "revocations"};
    char path[128];
    (void)snprintf(path, sizeof path, "%s?after=%" PRIu64 "&limit=%d&wait=%d", paths[feed->kind], after, FEED_PAGE_MAX,
                   wait ? FEED_WAIT_S : 0); /* fits: two short words and three numbers */
    int status = 0;
    json_t *reply = NULL;
    feed_page_t *page = NULL;
    if (bc_client_call(feed->client, "GET", path, NULL, CALL_MS, &feed->service->end_feeds, &status, &reply)) {
        if (status == 200) page = read_page(feed->kind, reply);
        if (status == 200 && page == NULL) bc_log(BC_LOG_ALERT, "feed-malformed", bc_f_text("feed", names[feed->kind]));
        json_decref(reply);
    }
    bool is_away = page == NULL;
    if (is_away != *was_away && !feed->service->end_feeds) {
        bc_log(is_away ? BC_LOG_WARN : BC_LOG_INFO, is_away ? "feed-away" : "feed-heard",
               bc_f_text("feed", names[feed->kind]), bc_f_int("status", status));
    }
    *was_away = is_away;
    return page;
}

static void *run(void *argument) {
    feed_t *feed = argument;
    uint64_t generation = 0;
    uint64_t position = 0;
    bool is_full = false; /* the full list of this generation has been heard */
    bool is_away = false;
    int64_t delay_ms = RETRY_MIN_MS;
    while (!feed->service->end_feeds) {
        feed_page_t *page = ask(feed, position, is_full, &is_away);
        if (page == NULL) {
            back_off(feed, &delay_ms);
            continue;
        }
        delay_ms = RETRY_MIN_MS;
        if (page->generation != generation && position != 0) {
            /* Another store than the one whose positions we know: all of it again. */
            generation = position = 0;
            is_full = false;
            page_free(page);
            continue;
        }
        page->restart = position == 0;
        generation = page->generation;
        if (!page->more) is_full = true;
        if (position == 0 && page->position == 0) is_full = true; /* an empty list: wait for its first item */
        position = page->position;
        if (!hand_over(feed, page)) break;
    }
    return NULL;
}

/* ---- start and stop -------------------------------------------------------------------------------------------------- */

bool cart_service_feeds_start(cart_service_t *service) {
    static const bc_key_t keys[LISTS] = {BC_LIBRARY_INTERNAL, BC_AUTH_INTERNAL};
    for (unsigned i = 0; i < LISTS; i++) {
        feed_t *feed = &service->feeds[i];
        feed->service = service;
        feed->kind = (list_kind_t)i;
        feed->client = bc_client_create(bc_config_text(service->config, keys[i]), service->tools->service_key);
        if (feed->client == NULL) return false;
        if (pthread_create(&feed->thread, NULL, run, feed) != 0) return false;
        feed->started = true;
    }
    return true;
}

void cart_service_feeds_stop(cart_service_t *service) {
    (void)pthread_mutex_lock(&service->mutex);
    service->end_feeds = true;
    (void)pthread_cond_broadcast(&service->taken);
    (void)pthread_mutex_unlock(&service->mutex);
    for (unsigned i = 0; i < LISTS; i++) {
        feed_t *feed = &service->feeds[i];
        if (feed->started) (void)pthread_join(feed->thread, NULL);
        feed->started = false;
        if (feed->client != NULL) bc_client_destroy(feed->client);
        feed->client = NULL;
        while (feed->first != NULL) {
            feed_page_t *page = feed->first;
            feed->first = page->next;
            page_free(page);
        }
        feed->last = NULL;
    }
}
