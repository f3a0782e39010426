/*
 * Stock: one row a book, and a ledger behind it in which every change of what is on hand is an entry. What an unpaid order holds is
 * reserved, not gone. All functions run inside bc_db_begin (reads: bc_db_enter); false (STOCK_FAILED)
 * means that the caller rolls back: an error of the database, or a constraint, which here is always our own mistake.
 *
 * Lines are JSON text [{"book","quantity"},…] with every book once, so that the number of statements does not grow with them.
 * Every change marks its rows dirty; payment_announce.c publishes their newest state.
 */
#ifndef PAYMENT_STORE_STOCK_H
#define PAYMENT_STORE_STOCK_H

#include "platform/bc_db.h"

#include <jansson.h>

#define STOCK_ON_HAND_MAX 1000000000LL
#define STOCK_NOTE_MAX    200 /* code points */

typedef struct {
    int64_t book, on_hand, reserved, revision;
} stock_t;

typedef enum { STOCK_OK, STOCK_ABSENT, STOCK_SHORT, STOCK_FAILED } stock_result_t;

/* Opens a book's ledger; a second time does nothing. 1 statement, 2 when it is new. */
bool stock_open(bc_db_t *db, int64_t book, int64_t on_hand, int64_t now_ms);

/* Holds all `count` lines for the order, or none counts: STOCK_SHORT, then the caller rolls back. */
stock_result_t stock_reserve(bc_db_t *db, const cart_id_t *order, const char *lines, size_t count);
/* The lines of which there are not enough: [{"book","requested","available"}]; the caller owns it. NULL: failed. */
json_t *stock_shortage(bc_db_t *db, const char *lines);
/* What the order holds leaves the house: reservations become ledger entries `sold`. */
bool stock_take(bc_db_t *db, const cart_id_t *order, const char *order_text, int64_t now_ms);
/* What the order holds is free again. */
bool stock_release(bc_db_t *db, const cart_id_t *order);
/* Copies come back to the shelf: entries `returned`. */
bool stock_return(bc_db_t *db, const char *lines, const char *reference, int64_t now_ms);

/* `counted` false: by `value`; true: to `value`. STOCK_SHORT: below what is reserved, or above STOCK_ON_HAND_MAX; nothing changed. */
stock_result_t stock_adjust(bc_db_t *db, int64_t book, bool counted, int64_t value, const char *reference,
                            const char *note, int64_t now_ms, stock_t *after);
stock_result_t stock_find(bc_db_t *db, int64_t book, stock_t *stock);

/* One page of a book's history, newest first, entries with ids under `before`: appended to `items` as the API shows them, with
 * their "id" beside. false: failed. */
bool stock_history(bc_db_t *db, int64_t book, int64_t before, int limit, json_t *items);

/* Up to `limit` rows that changed since they were announced; how many. They count as announced from the commit on. */
size_t stock_take_dirty(bc_db_t *db, stock_t *rows, size_t limit);

#endif
