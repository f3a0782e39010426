#include "services/payment/payment_list.h"

#include "platform/bc_cursor.h"

#include <string.h>

#define LIMIT     24
#define LIMIT_MAX 100

/* The place as it lies in a cursor: 8 bytes of time, big-endian, and the id. */
enum { place_bytes = 8 + CART_ID_BYTES };

static void write_place(int64_t created_ms, const cart_id_t *id, uint8_t place[place_bytes]) {
    for (int i = 0; i < 8; i++) place[i] = (uint8_t)((uint64_t)created_ms >> (56 - 8 * i));
    memcpy(place + 8, id->bytes, CART_ID_BYTES);
}

static void read_place(const uint8_t place[place_bytes], int64_t *created_ms, cart_id_t *id) {
    uint64_t read = 0;
    for (int i = 0; i < 8; i++) read = read << 8 | place[i];
    *created_ms = (int64_t)read;
    memcpy(id->bytes, place + 8, CART_ID_BYTES);
}

bool payment_list_place(const payment_t *payment, const bc_request_t *request, bc_reply_t *reply, const char *list,
                        order_filter_t *filter) {
    int64_t limit = 0;
    uint8_t place[place_bytes];
    const char *cursor = bc_request_query(request, "cursor");
    if (!bc_request_query_int(request, reply, "limit", 1, LIMIT_MAX, LIMIT, &limit)) return false;
    filter->limit = (int)limit;
    filter->before_ms = INT64_MAX;
    if (cursor == NULL) return true;
    if (!bc_cursor_read(payment->service_key, list, cursor, place, sizeof(place))) {
        bc_reply_problem(reply, "bad-cursor", NULL);
        return false;
    }
    read_place(place, &filter->before_ms, &filter->before);
    return true;
}

typedef struct {
    json_t *items;
    size_t limit;
    bool admin, more, failed;
    int64_t last_ms;
    cart_id_t last;
} page_t;

static bool see(void *context, const order_t *order) {
    page_t *page = context;
    if (json_array_size(page->items) == page->limit) {
        page->more = true;
        return false;
    }
    page->failed = json_array_append_new(page->items, payment_order_json(order, page->admin)) != 0;
    page->last_ms = order->created_ms;
    page->last = order->id;
    return !page->failed;
}

void payment_list_answer(payment_t *payment, bc_reply_t *reply, const char *list, const order_filter_t *filter,
                         bool admin) {
    page_t page = {.items = json_array(), .limit = (size_t)filter->limit, .admin = admin};
    order_filter_t one_more = *filter;
    char cursor[BC_CURSOR_CHARS] = "";
    one_more.limit++;
    bc_db_t *db = bc_db_enter_read(payment->db);
    bool good = page.items != NULL && order_list(db, &one_more, see, &page) && !page.failed &&
                payment_orders_fill(db, page.items);
    bc_db_leave(db);
    if (!good) {
        json_decref(page.items);
        payment_answer_unavailable(reply);
        return;
    }
    if (page.more) {
        uint8_t place[place_bytes];
        write_place(page.last_ms, &page.last, place);
        bc_cursor_write(payment->service_key, list, place, sizeof(place), cursor);
    }
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, json_pack("{s:o, s:s?}", "items", page.items, "next_cursor", page.more ? cursor : NULL));
}
