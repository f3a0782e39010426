/* GET /admin/stock/{book} and POST …/adjust: how many there are and why; copies came, went or were counted. */
#include "platform/bc_cursor.h"
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"
#include "services/payment/payment_address.h"
#include "services/payment/payment_service.h"
#include "services/payment/payment_store_stock.h"

#include <stdio.h>
#include <string.h>

#define LIMIT      24
#define LIMIT_MAX  100
#define CHANGE_MAX 1000000

static json_t *level_json(const stock_t *stock) {
    return json_pack("{s:I, s:I, s:I, s:I}", "book", (json_int_t)stock->book, "on_hand", (json_int_t)stock->on_hand,
                     "reserved", (json_int_t)stock->reserved, "free", (json_int_t)(stock->on_hand - stock->reserved));
}

static void write_place(int64_t id, uint8_t place[8]) {
    for (int i = 0; i < 8; i++) place[i] = (uint8_t)((uint64_t)id >> (56 - 8 * i));
}

static int64_t read_place(const uint8_t place[8]) {
    uint64_t read = 0;
    for (int i = 0; i < 8; i++) read = read << 8 | place[i];
    return (int64_t)read;
}

void payment_admin_stock(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    stock_t stock = {0};
    int64_t book = 0, limit = 0, before = INT64_MAX, last = 0;
    char list[48], cursor[BC_CURSOR_CHARS] = "";
    uint8_t place[8];
    const char *given = bc_request_query(request, "cursor");
    if (!payment_path_book(request, reply, &book)) return;
    if (!bc_request_query_int(request, reply, "limit", 1, LIMIT_MAX, LIMIT, &limit)) return;
    (void)snprintf(list, sizeof(list), "stock %lld", (long long)book); /* fits */
    if (given != NULL && !bc_cursor_read(payment->service_key, list, given, place, sizeof(place))) {
        bc_reply_problem(reply, "bad-cursor", NULL);
        return;
    }
    if (given != NULL) before = read_place(place);
    json_t *history = json_array();
    bc_db_t *db = bc_db_enter_read(payment->db);
    stock_result_t found = stock_find(db, book, &stock);
    bool good = found != STOCK_FAILED && history != NULL &&
                (found == STOCK_ABSENT || stock_history(db, book, before, (int)limit + 1, history));
    bc_db_leave(db);
    if (!good || found == STOCK_ABSENT) {
        json_decref(history);
        if (good) {
            bc_reply_not_found(reply);
        } else {
            payment_answer_unavailable(reply);
        }
        return;
    }
    bool more = json_array_size(history) > (size_t)limit;
    for (size_t i = 0; i < json_array_size(history); i++) {
        json_t *entry = json_array_get(history, i);
        if (more && i + 2 == json_array_size(history)) last = json_integer_value(json_object_get(entry, "id"));
        (void)json_object_del(entry, "id"); /* it is there */
    }
    if (more) {
        (void)json_array_remove(history, (size_t)limit); /* it is there */
        write_place(last, place);
        bc_cursor_write(payment->service_key, list, place, sizeof(place), cursor);
    }
    json_t *shown = level_json(&stock);
    if (shown == NULL || json_object_set_new(shown, "history", history) != 0 ||
        json_object_set_new(shown, "next_cursor", more ? json_string(cursor) : json_null()) != 0) {
        json_decref(shown);
        shown = NULL;
    }
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, shown);
}

typedef struct {
    int64_t book, value;
    bool counted;
    const char *reason;
} adjust_t;

static bool read_adjust(const bc_request_t *request, bc_reply_t *reply, adjust_t *adjust) {
    const json_t *delta = json_object_get(bc_request_body(request), "delta"),
                 *counted = json_object_get(bc_request_body(request), "counted");
    if (!payment_path_book(request, reply, &adjust->book)) return false;
    if ((delta == NULL) == (counted == NULL)) {
        bc_reply_problem_field(reply, "malformed-request", "delta", "required", "either delta or counted");
        return false;
    }
    adjust->counted = counted != NULL;
    adjust->value = json_integer_value(adjust->counted ? counted : delta);
    adjust->reason = bc_request_string(request, "reason");
    if (adjust->value > CHANGE_MAX || adjust->value < (adjust->counted ? 0 : -CHANGE_MAX) ||
        (!adjust->counted && adjust->value == 0)) {
        bc_reply_problem_field(reply, "not-acceptable-value", adjust->counted ? "counted" : "delta", "range", NULL);
        return false;
    }
    if (!payment_text_good(adjust->reason, STOCK_NOTE_MAX)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "reason", "invalid",
                               "is empty, too long or has control characters");
        return false;
    }
    return true;
}

static void adjust_stock(payment_t *payment, bc_once_t *once, bc_reply_t *reply, const adjust_t *adjust) {
    stock_t after = {0};
    char reference[CART_ID_CHARS + 1];
    cart_id_t id = bc_random_id();
    cart_id_format("adj_", &id, reference);
    if (bc_db_begin(payment->db) != BC_DB_OK) {
        payment_answer_unavailable(reply);
        return;
    }
    stock_result_t result = stock_adjust(payment->db, adjust->book, adjust->counted, adjust->value, reference,
                                         adjust->reason, bc_time_ms(), &after);
    if (result != STOCK_OK) {
        bc_db_rollback(payment->db);
        if (result == STOCK_ABSENT) bc_reply_not_found(reply);
        if (result == STOCK_SHORT)
            bc_reply_problem(reply, "conflict", "that is below what orders hold, or more than can be kept");
        if (result == STOCK_FAILED) payment_answer_unavailable(reply);
        return;
    }
    json_t *shown = level_json(&after);
    if (shown != NULL) bc_once_keep(once, 200, shown, NULL);
    if (shown == NULL || bc_db_commit(payment->db) != BC_DB_OK) {
        if (shown == NULL) bc_db_rollback(payment->db);
        json_decref(shown);
        payment_answer_unavailable(reply);
        return;
    }
    payment_wake(payment);
    bc_log(BC_LOG_INFO, "stock-adjusted", bc_f_int("book", after.book), bc_f_int("on_hand", after.on_hand));
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, shown);
}

void payment_admin_adjust(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    bc_once_t once;
    adjust_t adjust = {0};
    if (!bc_once_begin(payment->db, request, reply, BC_ONCE_OPTIONAL, &once)) return;
    if (read_adjust(request, reply, &adjust)) adjust_stock(payment, &once, reply, &adjust);
    bc_once_end(&once, reply);
}
