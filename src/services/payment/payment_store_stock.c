#include "services/payment/payment_store_stock.h"

#include "platform/bc_time.h"

#include <assert.h>
#include <stdlib.h>

bool stock_open(bc_db_t *db, int64_t book, int64_t on_hand, int64_t now_ms) {
    assert(book > 0);
    assert(on_hand >= 0 && on_hand <= STOCK_ON_HAND_MAX);
    bc_statement_t *row = bc_db_prepare(db, BC_SQL_INSERT_IGNORE
                                        "stock(book, on_hand, reserved, revision, dirty) VALUES(?1, ?2, 0, 1, 1)");
    bc_bind_int(row, 1, book);
    bc_bind_int(row, 2, on_hand);
    if (bc_run(row) != BC_DB_DONE) return false;
    if (bc_db_changes(db) == 0) return true;
    bc_statement_t *entry =
        bc_db_prepare(db, "INSERT INTO stock_entries(book, delta, balance, reason, reference, note, created_ms) "
                          "VALUES(?1, ?2, ?2, 'opened', 'opening', NULL, ?3)");
    bc_bind_int(entry, 1, book);
    bc_bind_int(entry, 2, on_hand);
    bc_bind_int(entry, 3, now_ms);
    return bc_run(entry) == BC_DB_DONE;
}

static bc_db_result_t run_for_order(bc_db_t *db, const char *sql, const cart_id_t *order) {
    bc_statement_t *statement = bc_db_prepare(db, sql);
    bc_bind_id(statement, 1, order);
    return bc_run(statement);
}

static bool forget(bc_db_t *db, const cart_id_t *order) {
    return run_for_order(db, "DELETE FROM reservations WHERE order_id = ?1", order) == BC_DB_DONE;
}

stock_result_t stock_reserve(bc_db_t *db, const cart_id_t *order, const char *lines, size_t count) {
    bc_statement_t *held =
        bc_db_prepare(db, "INSERT INTO reservations(order_id, book, quantity) "
                          "SELECT ?1, j.value ->> '$.book', j.value ->> '$.quantity' FROM " BC_SQL_EACH("?2") " AS j");
    bc_bind_id(held, 1, order);
    bc_bind_text(held, 2, lines);
    if (bc_run(held) != BC_DB_DONE) return STOCK_FAILED;
    assert(bc_db_changes(db) == (int64_t)count); /* every book once */
    /* The guard stands in the statement that changes: two buyers of the last copy cannot both pass it. */
    bc_db_result_t result = run_for_order(
        db,
        "UPDATE stock SET reserved = reserved + (SELECT r.quantity FROM reservations r WHERE r.order_id = ?1 AND "
        "r.book = stock.book), revision = revision + 1, dirty = 1 "
        "WHERE book IN (SELECT r.book FROM reservations r WHERE r.order_id = ?1) AND on_hand - reserved >= "
        "(SELECT r.quantity FROM reservations r WHERE r.order_id = ?1 AND r.book = stock.book)",
        order);
    if (result != BC_DB_DONE) return STOCK_FAILED;
    return bc_db_changes(db) == (int64_t)count ? STOCK_OK : STOCK_SHORT;
}

json_t *stock_shortage(bc_db_t *db, const char *lines) {
    json_t *list = json_array();
    bc_statement_t *statement = bc_db_prepare(
        db, "SELECT j.value ->> '$.book', j.value ->> '$.quantity', COALESCE(s.on_hand - s.reserved, 0) "
            "FROM " BC_SQL_EACH("?1") " AS j LEFT JOIN stock s ON s.book = (j.value ->> '$.book') "
                                      "WHERE COALESCE(s.on_hand - s.reserved, 0) < (j.value ->> '$.quantity')");
    bc_bind_text(statement, 1, lines);
    bc_db_result_t result;
    while ((result = bc_step(statement)) == BC_DB_ROW && list != NULL) {
        json_t *line =
            json_pack("{s:I, s:I, s:I}", "book", (json_int_t)bc_column_int(statement, 0), "requested",
                      (json_int_t)bc_column_int(statement, 1), "available", (json_int_t)bc_column_int(statement, 2));
        if (json_array_append_new(list, line) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    bc_statement_done(statement);
    if (result == BC_DB_DONE) return list;
    json_decref(list);
    return NULL;
}

bool stock_take(bc_db_t *db, const cart_id_t *order, const char *order_text, int64_t now_ms) {
    bc_statement_t *entries =
        bc_db_prepare(db, "INSERT INTO stock_entries(book, delta, balance, reason, reference, note, created_ms) "
                          "SELECT r.book, -r.quantity, s.on_hand - r.quantity, 'sold', ?2, NULL, ?3 "
                          "FROM reservations r JOIN stock s ON s.book = r.book WHERE r.order_id = ?1 ORDER BY r.book");
    bc_bind_id(entries, 1, order);
    bc_bind_text(entries, 2, order_text);
    bc_bind_int(entries, 3, now_ms);
    if (bc_run(entries) != BC_DB_DONE) return false;
    return run_for_order(db,
                         "UPDATE stock SET on_hand = on_hand - (SELECT r.quantity FROM reservations r WHERE "
                         "r.order_id = ?1 AND r.book = stock.book), reserved = reserved - (SELECT r.quantity FROM "
                         "reservations r WHERE r.order_id = ?1 AND r.book = stock.book), revision = revision + 1, "
                         "dirty = 1 WHERE book IN (SELECT r.book FROM reservations r WHERE r.order_id = ?1)",
                         order) == BC_DB_DONE &&
           forget(db, order);
}

bool stock_release(bc_db_t *db, const cart_id_t *order) {
    return run_for_order(db,
                         "UPDATE stock SET reserved = reserved - (SELECT r.quantity FROM reservations r WHERE "
                         "r.order_id = ?1 AND r.book = stock.book), revision = revision + 1, dirty = 1 "
                         "WHERE book IN (SELECT r.book FROM reservations r WHERE r.order_id = ?1)",
                         order) == BC_DB_DONE &&
           forget(db, order);
}

bool stock_return(bc_db_t *db, const char *lines, const char *reference, int64_t now_ms) {
    bc_statement_t *entries = bc_db_prepare(
        db, "INSERT INTO stock_entries(book, delta, balance, reason, reference, note, created_ms) "
            "SELECT s.book, j.value ->> '$.quantity', s.on_hand + (j.value ->> '$.quantity'), 'returned', ?2, NULL, ?3 "
            "FROM " BC_SQL_EACH("?1") " AS j JOIN stock s ON s.book = (j.value ->> '$.book') ORDER BY s.book");
    bc_bind_text(entries, 1, lines);
    bc_bind_text(entries, 2, reference);
    bc_bind_int(entries, 3, now_ms);
    if (bc_run(entries) != BC_DB_DONE) return false;
    bc_statement_t *rows = bc_db_prepare(
        db, "UPDATE stock SET on_hand = on_hand + (SELECT e.delta FROM stock_entries e WHERE e.book = stock.book AND "
            "e.reason = 'returned' AND e.reference = ?2), revision = revision + 1, dirty = 1 "
            "WHERE book IN (SELECT j.value ->> '$.book' FROM " BC_SQL_EACH("?1") " AS j)");
    bc_bind_text(rows, 1, lines);
    bc_bind_text(rows, 2, reference);
    return bc_run(rows) == BC_DB_DONE;
}

stock_result_t stock_find(bc_db_t *db, int64_t book, stock_t *stock) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT book, on_hand, reserved, revision FROM stock WHERE book = ?1");
    bc_bind_int(statement, 1, book);
    bc_db_result_t result = bc_step(statement);
    if (result == BC_DB_ROW)
        *stock = (stock_t){.book = bc_column_int(statement, 0),
                           .on_hand = bc_column_int(statement, 1),
                           .reserved = bc_column_int(statement, 2),
                           .revision = bc_column_int(statement, 3)};
    bc_statement_done(statement);
    return result == BC_DB_ROW ? STOCK_OK : result == BC_DB_DONE ? STOCK_ABSENT : STOCK_FAILED;
}

stock_result_t stock_adjust(bc_db_t *db, int64_t book, bool counted, int64_t value, const char *reference,
                            const char *note, int64_t now_ms, stock_t *after) {
    stock_t before = {0};
    int64_t on_hand = 0;
    stock_result_t found = stock_find(db, book, &before);
    if (found != STOCK_OK) return found;
    if (counted ? (on_hand = value, false) : __builtin_add_overflow(before.on_hand, value, &on_hand))
        return STOCK_SHORT;
    if (on_hand < before.reserved || on_hand > STOCK_ON_HAND_MAX) return STOCK_SHORT;
    bc_statement_t *entry =
        bc_db_prepare(db, "INSERT INTO stock_entries(book, delta, balance, reason, reference, note, created_ms) "
                          "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    bc_bind_int(entry, 1, book);
    bc_bind_int(entry, 2, on_hand - before.on_hand);
    bc_bind_int(entry, 3, on_hand);
    bc_bind_text(entry, 4, counted ? "counted" : "adjusted");
    bc_bind_text(entry, 5, reference);
    bc_bind_text(entry, 6, note);
    bc_bind_int(entry, 7, now_ms);
    if (bc_run(entry) != BC_DB_DONE) return STOCK_FAILED;
    /* The revision says that the row is still the one that was read. */
    bc_statement_t *row = bc_db_prepare(db, "UPDATE stock SET on_hand = ?2, revision = revision + 1, dirty = 1 "
                                            "WHERE book = ?1 AND revision = ?3");
    bc_bind_int(row, 1, book);
    bc_bind_int(row, 2, on_hand);
    bc_bind_int(row, 3, before.revision);
    if (bc_run(row) != BC_DB_DONE || bc_db_changes(db) != 1) return STOCK_FAILED;
    *after = (stock_t){book, on_hand, before.reserved, before.revision + 1};
    return STOCK_OK;
}

bool stock_history(bc_db_t *db, int64_t book, int64_t before, int limit, json_t *items) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT id, delta, balance, reason, reference, note, created_ms FROM stock_entries "
                          "WHERE book = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
    bc_bind_int(statement, 1, book);
    bc_bind_int(statement, 2, before);
    bc_bind_int(statement, 3, limit);
    bc_db_result_t result;
    bool good = true;
    while (good && (result = bc_step(statement)) == BC_DB_ROW) {
        char at[BC_TIME_TEXT_BYTES];
        bc_time_format(bc_column_int(statement, 6), at);
        json_t *entry =
            json_pack("{s:I, s:s, s:I, s:s, s:s, s:s?}", "id", (json_int_t)bc_column_int(statement, 0), "at", at,
                      "delta", (json_int_t)bc_column_int(statement, 1), "reason", bc_column_text(statement, 3),
                      "reference", bc_column_text(statement, 4), "note", bc_column_text(statement, 5));
        good = json_array_append_new(items, entry) == 0;
    }
    bc_statement_done(statement);
    return good && result == BC_DB_DONE;
}

size_t stock_take_dirty(bc_db_t *db, stock_t *rows, size_t limit) {
    size_t count = 0;
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT book, on_hand, reserved, revision FROM stock WHERE dirty = 1 ORDER BY book LIMIT ?1");
    bc_bind_int(statement, 1, (int64_t)limit);
    while (count < limit && bc_step(statement) == BC_DB_ROW)
        rows[count++] = (stock_t){.book = bc_column_int(statement, 0),
                                  .on_hand = bc_column_int(statement, 1),
                                  .reserved = bc_column_int(statement, 2),
                                  .revision = bc_column_int(statement, 3)};
    bc_statement_done(statement);
    if (count == 0) return 0;
    bc_statement_t *clean = bc_db_prepare(db, "UPDATE stock SET dirty = 0 WHERE dirty = 1 AND book BETWEEN ?1 AND ?2");
    bc_bind_int(clean, 1, rows[0].book);
    bc_bind_int(clean, 2, rows[count - 1].book);
    (void)bc_run(clean); /* sticks: then nothing is announced */
    return count;
}
