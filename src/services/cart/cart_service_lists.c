/*
 * A list as a service publishes it by a feed: one item for each key, its newest state, in the order of last changes. The
 * loop's own; nobody else touches it.
 *
 * The log keeps items by position. A newer state of a key leaves a hole where the older one was; when holes outnumber items
 * the log is closed up. So an item costs O(1) amortised, and "what has changed since" is a binary search.
 */
#include "services/cart/cart_service_state.h"

#include <assert.h>
#include <stdlib.h>

#define TABLE_FIRST 256

static size_t slot_of(const list_t *list, const uint8_t key[CART_ID_BYTES]) {
    uint64_t low;
    uint64_t high;
    memcpy(&low, key, sizeof low);
    memcpy(&high, key + sizeof low, sizeof high);
    uint64_t mixed = (low ^ high) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 20) & list->table_mask;
}

void list_book_key(uint64_t book, uint8_t key[CART_ID_BYTES]) {
    memset(key, 0, CART_ID_BYTES);
    memcpy(key, &book, sizeof book);
}

list_t *list_create(uint64_t generation) {
    list_t *list = calloc(1, sizeof *list);
    if (list == NULL) return NULL;
    list->table = calloc(TABLE_FIRST, sizeof(list_item_t *));
    if (list->table == NULL) {
        free(list);
        return NULL;
    }
    list->table_mask = TABLE_FIRST - 1;
    list->generation = generation;
    return list;
}

void list_destroy(list_t *list) {
    if (list == NULL) return;
    for (size_t i = 0; i < list->log_length; i++) free(list->log[i]);
    free(list->log);
    free(list->table);
    free(list);
}

/* The place of the key in the table: its item, or an empty place. */
static list_item_t **place_of(const list_t *list, const uint8_t key[CART_ID_BYTES]) {
    size_t at = slot_of(list, key);
    while (list->table[at] != NULL && memcmp(list->table[at]->key, key, CART_ID_BYTES) != 0) {
        at = (at + 1) & list->table_mask;
    }
    return &list->table[at];
}

const list_item_t *list_find(const list_t *list, const uint8_t key[CART_ID_BYTES]) {
    return *place_of(list, key);
}

static bool rebuild_table(list_t *list, size_t size) {
    list_item_t **table = calloc(size, sizeof(list_item_t *));
    if (table == NULL) return false;
    free(list->table);
    list->table = table;
    list->table_mask = size - 1;
    for (size_t i = 0; i < list->log_length; i++) {
        if (list->log[i] != NULL) *place_of(list, list->log[i]->key) = list->log[i];
    }
    return true;
}

static void close_up(list_t *list) {
    size_t used = 0;
    for (size_t i = 0; i < list->log_length; i++) {
        if (list->log[i] != NULL) list->log[used++] = list->log[i];
    }
    list->log_length = used;
    assert(used == list->live);
}

static bool make_room(list_t *list) {
    if ((list->live + 1) * 2 > list->table_mask && !rebuild_table(list, (list->table_mask + 1) * 2)) return false;
    if (list->log_length < list->log_capacity) return true;
    if (list->log_length > 2 * list->live + 64) {
        close_up(list);
        return true;
    }
    size_t capacity = list->log_capacity == 0 ? 1024 : list->log_capacity * 2;
    list_item_t **log = realloc(list->log, capacity * sizeof(list_item_t *));
    if (log == NULL) return false;
    list->log = log;
    list->log_capacity = capacity;
    return true;
}

/* First place of the log whose item's position is over `after`; holes have none and are passed by. */
static size_t first_after(const list_t *list, uint64_t after) {
    size_t low = 0;
    size_t high = list->log_length;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        size_t at = middle;
        while (at < high && list->log[at] == NULL) at++;
        bool is_over = at == high || list->log[at]->position > after;
        if (is_over)
            high = middle;
        else
            low = at + 1;
    }
    return low;
}

static void leave_hole(list_t *list, const list_item_t *item) {
    size_t at = first_after(list, item->position - 1);
    while (at < list->log_length && list->log[at] != item) at++;
    assert(at < list->log_length);
    list->log[at] = NULL;
    list->live--;
}

bool list_put(list_t *list, list_item_t *item) {
    assert(item->position > 0);
    if (item->position <= list->position || !make_room(list)) { /* a feed that repeats itself changes nothing */
        bool is_old = item->position <= list->position;
        free(item);
        return is_old;
    }
    list_item_t **place = place_of(list, item->key);
    list_item_t *older = *place;
    if (older != NULL) leave_hole(list, older);
    *place = item;
    list->log[list->log_length++] = item;
    list->live++;
    list->position = item->position;
    free(older);
    return true;
}

unsigned list_after(const list_t *list, uint64_t after, const list_item_t **items, unsigned max) {
    unsigned count = 0;
    for (size_t at = first_after(list, after); at < list->log_length && count < max; at++) {
        if (list->log[at] != NULL) items[count++] = list->log[at];
    }
    return count;
}

void list_expire(list_t *list, uint64_t now_s) {
    size_t gone = 0;
    for (size_t i = 0; i < list->log_length; i++) {
        list_item_t *item = list->log[i];
        if (item == NULL || item->revocation.expires_s > now_s) continue;
        list->log[i] = NULL;
        list->live--;
        free(item);
        gone++;
    }
    if (gone == 0) return;
    close_up(list);
    memset(list->table, 0, (list->table_mask + 1) * sizeof(list_item_t *));
    for (size_t i = 0; i < list->log_length; i++) *place_of(list, list->log[i]->key) = list->log[i];
}
