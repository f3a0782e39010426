/* Lines of orders and what became of them: shipped, cancelled, returned; shipments and refunds as the API shows them. */
#include "services/payment/payment_money.h"
#include "services/payment/payment_store_orders.h"
#include "services/payment/payment_store_refunds.h"

#include "platform/bc_time.h"

#include <assert.h>

json_t *order_lines(bc_db_t *db, const cart_id_t *id) {
    json_t *list = json_array();
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT book, quantity, shipped, cancelled, returned FROM order_lines "
                          "WHERE order_id = ?1 ORDER BY book");
    bc_bind_id(statement, 1, id);
    bc_db_result_t result;
    bool good = list != NULL;
    while ((result = bc_step(statement)) == BC_DB_ROW && good)
        good = json_array_append_new(list, json_pack("{s:I, s:I, s:I, s:I, s:I}", "book",
                                                     (json_int_t)bc_column_int(statement, 0), "quantity",
                                                     (json_int_t)bc_column_int(statement, 1), "shipped",
                                                     (json_int_t)bc_column_int(statement, 2), "cancelled",
                                                     (json_int_t)bc_column_int(statement, 3), "returned",
                                                     (json_int_t)bc_column_int(statement, 4))) == 0;
    bc_statement_done(statement);
    if (good && result == BC_DB_DONE) return list;
    json_decref(list);
    return NULL;
}

/* The CHECKs of order_lines refuse what is too much; a line that is not there is not counted. */
static order_lines_result_t run_lines(bc_db_t *db, bc_statement_t *statement, const cart_id_t *id, const char *lines,
                                      size_t count) {
    bc_bind_id(statement, 1, id);
    bc_bind_text(statement, 2, lines);
    bc_db_result_t result = bc_run(statement);
    if (result == BC_DB_CONSTRAINT) return ORDER_LINES_REFUSED;
    if (result != BC_DB_DONE) return ORDER_LINES_FAILED;
    return bc_db_changes(db) == (int64_t)count ? ORDER_LINES_OK : ORDER_LINES_REFUSED;
}

#define ASKED                                                                                                          \
    "(SELECT j.value ->> '$.quantity' FROM " BC_SQL_EACH("?2") " AS j WHERE (j.value ->> '$.book') = "                 \
                                                               "order_lines.book)"
#define NAMED " WHERE order_id = ?1 AND book IN (SELECT j.value ->> '$.book' FROM " BC_SQL_EACH("?2") " AS j)"

order_lines_result_t order_lines_ship(bc_db_t *db, const cart_id_t *id, const char *lines, size_t count) {
    return run_lines(db, bc_db_prepare(db, "UPDATE order_lines SET shipped = shipped + " ASKED NAMED), id, lines,
                     count);
}

order_lines_result_t order_lines_restock(bc_db_t *db, const cart_id_t *id, const char *lines, size_t count) {
    if (count == 0) return ORDER_LINES_OK;
    /* `returned` first: it looks at what is left unshipped before `cancelled` takes that. MySQL assigns from left to right. */
    return run_lines(
        db,
        bc_db_prepare(db,
                      "UPDATE order_lines SET returned = returned + CASE WHEN " ASKED
                      " > quantity - shipped - cancelled THEN " ASKED " - (quantity - shipped - cancelled) ELSE 0 END, "
                      "cancelled = cancelled + CASE WHEN " ASKED
                      " > quantity - shipped - cancelled THEN quantity - shipped - cancelled ELSE " ASKED " END" NAMED),
        id, lines, count);
}

order_lines_result_t order_put_shipment(bc_db_t *db, const cart_id_t *shipment, const char *order, const char *carrier,
                                        const char *tracking, const char *lines, int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO shipments(id, order_ref, carrier, tracking, lines, created_ms) SELECT ?1, ?2, "
                          "?3, ?4, ?5, ?6 WHERE (SELECT COUNT(*) FROM shipments WHERE order_ref = ?2) < ?7");
    bc_bind_id(statement, 1, shipment);
    bc_bind_text(statement, 2, order);
    bc_bind_text(statement, 3, carrier);
    bc_bind_text(statement, 4, tracking);
    bc_bind_text(statement, 5, lines);
    bc_bind_int(statement, 6, now_ms);
    bc_bind_int(statement, 7, ORDER_SHIPMENTS_MAX);
    if (bc_run(statement) != BC_DB_DONE) return ORDER_LINES_FAILED;
    return bc_db_changes(db) == 1 ? ORDER_LINES_OK : ORDER_LINES_REFUSED;
}

static json_t *show_shipment(bc_statement_t *statement) {
    char at[BC_TIME_TEXT_BYTES];
    bc_time_format(bc_column_int(statement, 4), at);
    return json_pack("{s:s, s:s, s:s, s:o, s:s}", "order", bc_column_text(statement, 0), "carrier",
                     bc_column_text(statement, 1), "tracking", bc_column_text(statement, 2), "lines",
                     json_loads(bc_column_text(statement, 3), 0, NULL), "shipped_at", at);
}

static json_t *show_refund(bc_statement_t *statement) {
    refund_t refund;
    if (!refund_read(statement, &refund)) return NULL;
    json_t *shown = refund_json(&refund);
    if (shown == NULL || json_object_set_new(shown, "order", json_string(refund.order)) == 0) return shown;
    json_decref(shown);
    return NULL;
}

/* One statement for many orders. CROSS JOIN fixes the order of SQLite's loops: the few ids first. */
static bool show_all(bc_statement_t *statement, const char *ids, json_t *items,
                     json_t *(*show)(bc_statement_t *statement)) {
    bc_bind_text(statement, 1, ids);
    bc_db_result_t result;
    bool good = true;
    while ((result = bc_step(statement)) == BC_DB_ROW && good)
        good = json_array_append_new(items, show(statement)) == 0;
    bc_statement_done(statement);
    return good && result == BC_DB_DONE;
}

bool order_shipments(bc_db_t *db, const char *ids, json_t *items) {
    return show_all(bc_db_prepare(db, "SELECT s.order_ref, s.carrier, s.tracking, s.lines, s.created_ms "
                                      "FROM " BC_SQL_EACH(
                                          "?1") " AS j CROSS JOIN shipments s ON s.order_ref = (j.value ->> '$.order') "
                                                "ORDER BY s.created_ms, s.id"),
                    ids, items, show_shipment);
}

bool order_refunds(bc_db_t *db, const char *ids, json_t *items) {
    return show_all(bc_db_prepare(db, "SELECT " REFUND_COLUMNS
                                      "FROM " BC_SQL_EACH("?1") " AS j CROSS JOIN refunds r ON r.order_ref = (j.value "
                                                                "->> '$.order') ORDER BY r.created_ms, r.id"),
                    ids, items, show_refund);
}
