#include "services/payment/payment_store_refunds.h"

#include "platform/bc_time.h"
#include "services/payment/payment_money.h"
#include "services/payment/payment_store_orders.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const state_words[] = {"pending", "succeeded", "failed"};

const char *refund_state_word(provider_refund_state_t state) {
    assert(state <= PROVIDER_REFUND_FAILED);
    return state_words[state];
}

json_t *refund_json(const refund_t *refund) {
    char id[CART_ID_CHARS + 1], at[BC_TIME_TEXT_BYTES];
    cart_id_format(PAYMENT_PREFIX_REFUND, &refund->id, id);
    bc_time_format(refund->created_ms, at);
    return json_pack("{s:s, s:o, s:s, s:s, s:s}", "id", id, "amount",
                     money_json(refund->amount_minor, refund->currency), "state", refund_state_word(refund->state),
                     "reason", refund->reason, "created_at", at);
}

/* What does not fit is our mistake; null is "". */
static void take_text(bc_statement_t *statement, int column, char *text, size_t size) {
    const char *stored = bc_column_text(statement, column);
    int length = snprintf(text, size, "%s", stored == NULL ? "" : stored);
    assert(length >= 0 && (size_t)length < size);
    (void)length;
}

bool refund_read(bc_statement_t *statement, refund_t *refund) {
    refund_t read = {.origin = REFUND_BY_ADMIN};
    if (!bc_column_id(statement, 0, &read.id)) return false;
    take_text(statement, 1, read.order, sizeof(read.order));
    take_text(statement, 2, read.payment, sizeof(read.payment));
    take_text(statement, 3, read.provider_id, sizeof(read.provider_id));
    read.origin = (refund_origin_t)bc_column_int(statement, 4);
    read.state = (provider_refund_state_t)bc_column_int(statement, 5);
    read.amount_minor = bc_column_int(statement, 6);
    take_text(statement, 7, read.currency, sizeof(read.currency));
    take_text(statement, 8, read.reason, sizeof(read.reason));
    read.created_ms = bc_column_int(statement, 9);
    read.check_ms = bc_column_int(statement, 10);
    read.tries = bc_column_int(statement, 11);
    assert(read.origin <= REFUND_STRAY && read.state <= PROVIDER_REFUND_FAILED);
    *refund = read;
    return true;
}

/* Adds to the order's sums; false: the guard (a CHECK, or what is left) refused, or the database failed. */
static bc_db_result_t move_sums(bc_db_t *db, const char *order, int64_t refunding, int64_t refunded) {
    cart_id_t id;
    bool parsed = cart_id_parse(PAYMENT_PREFIX_ORDER, order, strlen(order), &id);
    assert(parsed);
    (void)parsed;
    bc_statement_t *statement = bc_db_prepare(
        db, "UPDATE orders SET refunding_minor = refunding_minor + ?2, refunded_minor = refunded_minor + ?3 "
            "WHERE id = ?1 AND refunding_minor + ?2 <= paid_minor");
    bc_bind_id(statement, 1, &id);
    bc_bind_int(statement, 2, refunding);
    bc_bind_int(statement, 3, refunded);
    bc_db_result_t result = bc_run(statement);
    if (result != BC_DB_DONE) return result;
    return bc_db_changes(db) == 1 ? BC_DB_DONE : BC_DB_CONSTRAINT;
}

static int64_t set_aside(const refund_t *refund) {
    return refund->state == PROVIDER_REFUND_FAILED ? 0 : refund->amount_minor;
}

static int64_t gone(const refund_t *refund) {
    return refund->state == PROVIDER_REFUND_SUCCEEDED ? refund->amount_minor : 0;
}

refund_result_t refund_insert(bc_db_t *db, const refund_t *refund, const refund_request_t *request) {
    assert(refund->amount_minor > 0);
    if (refund->order[0] != '\0') {
        bc_db_result_t result = move_sums(db, refund->order, set_aside(refund), gone(refund));
        if (result == BC_DB_CONSTRAINT) return REFUND_TOO_MUCH;
        if (result != BC_DB_DONE) return REFUND_FAILED;
    }
    bc_statement_t *statement = bc_db_prepare(
        db,
        "INSERT INTO refunds(id, order_ref, payment_id, provider_id, origin, state, amount_minor, currency, reason, "
        "restock, actor, once_key, digest, created_ms, check_ms, tries) "
        "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 0 "
        "WHERE ?5 <> 0 OR (SELECT COUNT(*) FROM refunds WHERE order_ref = ?2) < ?16");
    bc_bind_id(statement, 1, &refund->id);
    bc_bind_text(statement, 2, refund->order[0] == '\0' ? NULL : refund->order);
    bc_bind_text(statement, 3, refund->payment);
    bc_bind_text(statement, 4, refund->provider_id[0] == '\0' ? NULL : refund->provider_id);
    bc_bind_int(statement, 5, refund->origin);
    bc_bind_int(statement, 6, refund->state);
    bc_bind_int(statement, 7, refund->amount_minor);
    bc_bind_text(statement, 8, refund->currency);
    bc_bind_text(statement, 9, refund->reason);
    bc_bind_text(statement, 10, request->restock);
    if (request->actor != NULL) {
        bc_bind_id(statement, 11, request->actor);
        bc_bind_text(statement, 12, request->once_key);
        bc_bind_bytes(statement, 13, request->digest, REFUND_DIGEST);
    }
    bc_bind_int(statement, 14, refund->created_ms);
    bc_bind_int(statement, 15, refund->check_ms);
    bc_bind_int(statement, 16, REFUNDS_MAX);
    if (bc_run(statement) != BC_DB_DONE) return REFUND_FAILED;
    return bc_db_changes(db) == 1 ? REFUND_OK : REFUND_TOO_MUCH;
}

/* Steps once and ends the statement. */
static refund_result_t read_one(bc_statement_t *statement, refund_t *refund) {
    bc_db_result_t result = bc_step(statement);
    refund_result_t found = result == BC_DB_DONE ? REFUND_ABSENT : REFUND_FAILED;
    if (result == BC_DB_ROW && refund_read(statement, refund)) found = REFUND_OK;
    bc_statement_done(statement);
    return found;
}

refund_result_t refund_find_request(bc_db_t *db, const char *order, const cart_id_t *actor, const char *once_key,
                                    refund_t *refund, uint8_t digest[REFUND_DIGEST]) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT " REFUND_COLUMNS ", r.digest FROM refunds r "
                                                  "WHERE r.order_ref = ?1 AND r.actor = ?2 AND r.once_key = ?3");
    bc_bind_text(statement, 1, order);
    bc_bind_id(statement, 2, actor);
    bc_bind_text(statement, 3, once_key);
    bc_db_result_t result = bc_step(statement);
    refund_result_t found = result == BC_DB_DONE ? REFUND_ABSENT : REFUND_FAILED;
    if (result == BC_DB_ROW && refund_read(statement, refund)) {
        size_t length = 0;
        const void *stored = bc_column_bytes(statement, 12, &length);
        if (stored != NULL && length == REFUND_DIGEST) {
            memcpy(digest, stored, length);
            found = REFUND_OK;
        }
    }
    bc_statement_done(statement);
    return found;
}

refund_result_t refund_find(bc_db_t *db, const cart_id_t *id, refund_t *refund) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT " REFUND_COLUMNS "FROM refunds r WHERE r.id = ?1");
    bc_bind_id(statement, 1, id);
    return read_one(statement, refund);
}

refund_result_t refund_find_provider(bc_db_t *db, const char *provider_id, refund_t *refund) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT " REFUND_COLUMNS "FROM refunds r WHERE r.provider_id = ?1");
    bc_bind_text(statement, 1, provider_id);
    return read_one(statement, refund);
}

bool refund_sum(bc_db_t *db, const char *payment, int64_t *amount_minor) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT COALESCE(SUM(amount_minor), 0) FROM refunds WHERE payment_id = ?1 AND state <> 2");
    bc_bind_text(statement, 1, payment);
    bool good = bc_step(statement) == BC_DB_ROW;
    if (good) *amount_minor = bc_column_int(statement, 0);
    bc_statement_done(statement);
    return good;
}

bool refund_move(bc_db_t *db, refund_t *refund, const char *provider_id, provider_refund_state_t state, bool *moved) {
    refund_t next = *refund;
    next.state = state;
    (void)snprintf(next.provider_id, sizeof(next.provider_id), "%s", provider_id); /* as long as its source */
    if (state == PROVIDER_REFUND_SUCCEEDED) next.check_ms = bc_time_ms() + REFUND_WATCH_EVERY_MS;
    *moved = state != refund->state;
    if (!*moved && strcmp(refund->provider_id, provider_id) == 0) return true;
    if (*moved && refund->order[0] != '\0' &&
        move_sums(db, refund->order, set_aside(&next) - set_aside(refund), gone(&next) - gone(refund)) != BC_DB_DONE)
        return false;
    bc_statement_t *statement = bc_db_prepare(
        db, "UPDATE refunds SET provider_id = ?2, state = ?3, check_ms = ?5 WHERE id = ?1 AND state = ?4");
    bc_bind_id(statement, 1, &refund->id);
    bc_bind_text(statement, 2, provider_id[0] == '\0' ? NULL : provider_id);
    bc_bind_int(statement, 3, state);
    bc_bind_int(statement, 4, refund->state);
    bc_bind_int(statement, 5, next.check_ms);
    if (bc_run(statement) != BC_DB_DONE || bc_db_changes(db) != 1) return false;
    *refund = next;
    return true;
}

bool refund_set_check(bc_db_t *db, const cart_id_t *id, int64_t check_ms, int64_t tries) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE refunds SET check_ms = ?2, tries = ?3 WHERE id = ?1 AND state = 0");
    bc_bind_id(statement, 1, id);
    bc_bind_int(statement, 2, check_ms);
    bc_bind_int(statement, 3, tries);
    return bc_run(statement) == BC_DB_DONE;
}

static size_t read_due(bc_db_t *db, int state, int64_t now_ms, refund_t *refunds, size_t limit) {
    size_t count = 0;
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT " REFUND_COLUMNS
                          "FROM refunds r WHERE r.state = ?1 AND r.check_ms <= ?2 ORDER BY r.check_ms LIMIT ?3");
    bc_bind_int(statement, 1, state);
    bc_bind_int(statement, 2, now_ms);
    bc_bind_int(statement, 3, (int64_t)limit);
    while (count < limit && bc_step(statement) == BC_DB_ROW) {
        if (refund_read(statement, &refunds[count])) count++;
    }
    bc_statement_done(statement);
    return count;
}

size_t refund_due(bc_db_t *db, int64_t now_ms, refund_t *refunds, size_t limit) {
    return read_due(db, PROVIDER_REFUND_PENDING, now_ms, refunds, limit);
}

size_t refund_watched(bc_db_t *db, int64_t now_ms, refund_t *refunds, size_t limit) {
    return read_due(db, PROVIDER_REFUND_SUCCEEDED, now_ms, refunds, limit);
}

bool refund_watch_later(bc_db_t *db, const char *payments, int64_t check_ms) {
    bc_statement_t *statement = bc_db_prepare(db, "UPDATE refunds SET check_ms = ?2 WHERE state = 1 AND payment_id IN "
                                                  "(SELECT j.value ->> '$.payment' FROM " BC_SQL_EACH("?1") " AS j)");
    bc_bind_text(statement, 1, payments);
    bc_bind_int(statement, 2, check_ms);
    return bc_run(statement) == BC_DB_DONE;
}

bool refund_watch_end(bc_db_t *db, int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE refunds SET check_ms = ?1 WHERE state = 1 AND check_ms <= ?2 AND created_ms < ?3");
    bc_bind_int(statement, 1, REFUND_WATCH_OVER);
    bc_bind_int(statement, 2, now_ms);
    bc_bind_int(statement, 3, now_ms - REFUND_WATCH_MS);
    return bc_run(statement) == BC_DB_DONE;
}

static int64_t first_number(bc_statement_t *statement) {
    int64_t number = 0;
    if (bc_step(statement) == BC_DB_ROW) number = bc_column_int(statement, 0);
    bc_statement_done(statement);
    return number;
}

int64_t refund_next_watch(bc_db_t *db) {
    return first_number(bc_db_prepare(db, "SELECT check_ms FROM refunds WHERE state = 1 ORDER BY check_ms LIMIT 1"));
}

int64_t refund_next_check(bc_db_t *db) {
    return first_number(bc_db_prepare(db, "SELECT check_ms FROM refunds WHERE state = 0 ORDER BY check_ms LIMIT 1"));
}

/* --- webhooks --- */

bool webhook_put(bc_db_t *db, const provider_event_t *event, int64_t now_ms, bool *fresh) {
    bc_statement_t *statement = bc_db_prepare(
        db, BC_SQL_INSERT_IGNORE "webhooks(event_id, type, payment_id, state, tries, sent_ms, received_ms, next_ms) "
                                 "VALUES(?1, ?2, ?3, ?4, 0, ?5, ?6, ?6)");
    bc_bind_text(statement, 1, event->id);
    bc_bind_text(statement, 2, event->type);
    bc_bind_text(statement, 3, event->payment);
    bc_bind_int(statement, 4, event->payment[0] == '\0' ? WEBHOOK_PASSED : WEBHOOK_WAITS);
    bc_bind_int(statement, 5, event->created_ms);
    bc_bind_int(statement, 6, now_ms);
    if (bc_run(statement) != BC_DB_DONE) return false;
    *fresh = bc_db_changes(db) == 1;
    return true;
}

size_t webhook_due(bc_db_t *db, int64_t now_ms, webhook_t *webhooks, size_t limit) {
    size_t count = 0;
    bc_statement_t *statement = bc_db_prepare(
        db,
        "SELECT event_id, payment_id, tries FROM webhooks WHERE state = 0 AND next_ms <= ?1 ORDER BY next_ms LIMIT ?2");
    bc_bind_int(statement, 1, now_ms);
    bc_bind_int(statement, 2, (int64_t)limit);
    while (count < limit && bc_step(statement) == BC_DB_ROW) {
        take_text(statement, 0, webhooks[count].id, sizeof(webhooks[count].id));
        take_text(statement, 1, webhooks[count].payment, sizeof(webhooks[count].payment));
        webhooks[count++].tries = bc_column_int(statement, 2);
    }
    bc_statement_done(statement);
    return count;
}

int64_t webhook_next(bc_db_t *db) {
    return first_number(bc_db_prepare(db, "SELECT next_ms FROM webhooks WHERE state = 0 ORDER BY next_ms LIMIT 1"));
}

bool webhook_done(bc_db_t *db, const char *payment, int64_t until_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE webhooks SET state = 1 WHERE state = 0 AND payment_id = ?1 AND received_ms < ?2");
    bc_bind_text(statement, 1, payment);
    bc_bind_int(statement, 2, until_ms);
    return bc_run(statement) == BC_DB_DONE;
}

bool webhook_later(bc_db_t *db, const char *id, webhook_state_t state, int64_t next_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE webhooks SET state = ?2, next_ms = ?3, tries = tries + 1 WHERE event_id = ?1");
    bc_bind_text(statement, 1, id);
    bc_bind_int(statement, 2, state);
    bc_bind_int(statement, 3, next_ms);
    return bc_run(statement) == BC_DB_DONE;
}

bool webhook_tidy(bc_db_t *db, int64_t before_ms) {
    bc_statement_t *statement = bc_db_prepare(db, "DELETE FROM webhooks WHERE received_ms < ?1 AND state <> 0");
    bc_bind_int(statement, 1, before_ms);
    return bc_run(statement) == BC_DB_DONE;
}
