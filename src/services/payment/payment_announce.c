/*
 * Publishes stock.changed: the newest state of every book whose stock changed. A change marks its row dirty in its own transaction; here the
 * mark is taken off in the transaction that puts the event. So no change is lost, many changes of one book at once are one event, and the
 * number of statements of a checkout does not grow with its lines (docs/decisions/0081).
 */
#include "services/payment/payment_service.h"
#include "services/payment/payment_store_stock.h"

#include <stdio.h>

#define BATCH    100
#define AGAIN_MS 1000 /* after a failure */

static bool put_event(bc_db_t *db, const stock_t *stock) {
    char key[24];
    (void)snprintf(key, sizeof(key), "%lld", (long long)stock->book); /* fits */
    json_t *data = json_pack("{s:I, s:I, s:I, s:I, s:I}", "book", (json_int_t)stock->book, "free",
                             (json_int_t)(stock->on_hand - stock->reserved), "on_hand", (json_int_t)stock->on_hand,
                             "reserved", (json_int_t)stock->reserved, "revision", (json_int_t)stock->revision);
    if (data != NULL) bc_event_put(db, "stock", "stock.changed", key, data);
    bool good = data != NULL && bc_db_is_sound(db);
    json_decref(data);
    return good;
}

int64_t payment_announce_step(bc_task_t *task, void *context) {
    payment_t *payment = context;
    stock_t rows[BATCH];
    (void)task;
    if (bc_db_begin(payment->db) != BC_DB_OK) return AGAIN_MS;
    size_t count = stock_take_dirty(payment->db, rows, BATCH);
    bool good = bc_db_is_sound(payment->db);
    for (size_t i = 0; i < count && good; i++) good = put_event(payment->db, &rows[i]);
    if (!good) {
        bc_db_rollback(payment->db);
        return AGAIN_MS;
    }
    if (bc_db_commit(payment->db) != BC_DB_OK) return AGAIN_MS;
    if (count > 0) bc_outbox_wake(payment->outbox);
    return count == BATCH ? 0 : -1;
}
