#include "services/payment/payment_place.h"

#include "services/payment/payment_apply.h"
#include "services/payment/payment_settle.h"
#include "services/payment/payment_store_stock.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>

#define NUMBER_TRIES 5

/* For people: ten digits, easy to say and no hint of how many orders there are (docs/decisions/0080). */
static void draw_number(order_t *order) {
    uint32_t a = randombytes_uniform(1000), b = randombytes_uniform(10000), c = randombytes_uniform(1000);
    int length = snprintf(order->number, sizeof(order->number), "%03u-%04u-%03u", a, b, c);
    assert(length == ORDER_NUMBER_CHARS);
    (void)length;
}

/* PLACED: written. */
static place_result_t insert(bc_db_t *db, order_t *order, const char *lines) {
    for (int i = 0; i < NUMBER_TRIES; i++) {
        order_t open = {.state = ORDER_AWAITING};
        draw_number(order);
        bc_db_result_t inserted = order_insert(db, order, lines);
        if (inserted != BC_DB_CONSTRAINT) return inserted == BC_DB_DONE ? PLACED : PLACE_FAILED;
        /* Another request of this user was faster, or the number is taken: which of the two is told by looking. */
        if (order_find_open(db, &order->user, &open) == ORDER_FOUND) {
            order_drop(&open);
            return PLACE_OPEN;
        }
    }
    return PLACE_FAILED;
}

place_result_t payment_place(payment_t *payment, order_t *order, const char *lines, size_t count) {
    bc_db_t *db = payment->db;
    if (bc_db_begin(db) != BC_DB_OK) return PLACE_FAILED;
    stock_result_t held = stock_reserve(db, &order->id, lines, count);
    place_result_t result = held == STOCK_OK      ? insert(db, order, lines)
                            : held == STOCK_SHORT ? PLACE_SHORT
                                                  : PLACE_FAILED;
    bool good = result == PLACED && apply_event(db, "order.placed", order, NULL);
    if (good && order->total_minor == 0) good = payment_settle_free(payment, order, order->created_ms);
    if (good) return bc_db_commit(db) == BC_DB_OK ? PLACED : PLACE_FAILED;
    bc_db_rollback(db);
    return result == PLACED ? PLACE_FAILED : result;
}
