#include "services/payment/payment_store_orders.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const state_words[ORDER_STATE_COUNT] = {"awaiting_payment", "paid", "cancelled", "expired"};
static const char *const fulfilment_words[ORDER_FULFILMENT_COUNT] = {"none", "part", "shipped"};

const char *order_state_word(order_state_t state) {
    assert(state < ORDER_STATE_COUNT);
    return state_words[state];
}

const char *order_fulfilment_word(order_fulfilment_t fulfilment) {
    assert(fulfilment < ORDER_FULFILMENT_COUNT);
    return fulfilment_words[fulfilment];
}

bool order_state_read(const char *word, order_state_t *state) {
    for (int i = 0; i < ORDER_STATE_COUNT; i++) {
        if (strcmp(state_words[i], word) != 0) continue;
        *state = (order_state_t)i;
        return true;
    }
    return false;
}

bool order_fulfilment_read(const char *word, order_fulfilment_t *fulfilment) {
    for (int i = 0; i < ORDER_FULFILMENT_COUNT; i++) {
        if (strcmp(fulfilment_words[i], word) != 0) continue;
        *fulfilment = (order_fulfilment_t)i;
        return true;
    }
    return false;
}

void order_drop(order_t *order) {
    json_decref(order->lines);
    json_decref(order->shipping);
    json_decref(order->billing);
    order->lines = order->shipping = order->billing = NULL;
}

/* --- reading --- */

#define COLUMNS                                                                                                        \
    "id, user_id, number, state, ending, fulfilment, test, provider, payment_id, client_secret, last_error, "          \
    "cart_version, digest, language, email, country, currency, shipping_method, subtotal_minor, shipping_minor, "      \
    "tax_minor, total_minor, tax_rate_bp, tax_included, paid_minor, refunding_minor, refunded_minor, created_ms, "     \
    "expires_ms, ended_ms, check_ms, tries, lines, shipping_address, billing_address "

/* Stored by us and no longer than `size`: what does not fit is our mistake. Null is "". */
static void take_text(bc_statement_t *statement, int column, char *text, size_t size) {
    const char *stored = bc_column_text(statement, column);
    int length = snprintf(text, size, "%s", stored == NULL ? "" : stored);
    assert(length >= 0 && (size_t)length < size);
    (void)length;
}

static json_t *take_json(bc_statement_t *statement, int column) {
    const char *stored = bc_column_text(statement, column);
    return stored == NULL ? NULL : json_loads(stored, 0, NULL);
}

/* The columns in the order of COLUMNS. false: no memory, or what is stored is not ours. */
static bool read_order(bc_statement_t *statement, order_t *order) {
    order_t read = {.state = ORDER_AWAITING};
    size_t length = 0;
    if (!bc_column_id(statement, 0, &read.id) || !bc_column_id(statement, 1, &read.user)) return false;
    take_text(statement, 2, read.number, sizeof(read.number));
    read.state = (order_state_t)bc_column_int(statement, 3);
    read.ending = bc_column_int(statement, 4) != 0;
    read.fulfilment = (order_fulfilment_t)bc_column_int(statement, 5);
    read.test = bc_column_int(statement, 6) != 0;
    take_text(statement, 7, read.provider, sizeof(read.provider));
    take_text(statement, 8, read.payment, sizeof(read.payment));
    take_text(statement, 9, read.client_secret, sizeof(read.client_secret));
    take_text(statement, 10, read.last_error, sizeof(read.last_error));
    read.cart_version = bc_column_int(statement, 11);
    const void *digest = bc_column_bytes(statement, 12, &length);
    if (digest == NULL || length != sizeof(read.digest)) return false;
    memcpy(read.digest, digest, sizeof(read.digest));
    read.language = (bc_language_t)bc_column_int(statement, 13);
    take_text(statement, 14, read.email, sizeof(read.email));
    take_text(statement, 15, read.country, sizeof(read.country));
    take_text(statement, 16, read.currency, sizeof(read.currency));
    take_text(statement, 17, read.shipping_method, sizeof(read.shipping_method));
    read.subtotal_minor = bc_column_int(statement, 18);
    read.shipping_minor = bc_column_int(statement, 19);
    read.tax_minor = bc_column_int(statement, 20);
    read.total_minor = bc_column_int(statement, 21);
    read.tax_rate_bp = (int)bc_column_int(statement, 22);
    read.tax_included = bc_column_int(statement, 23) != 0;
    read.paid_minor = bc_column_int(statement, 24);
    read.refunding_minor = bc_column_int(statement, 25);
    read.refunded_minor = bc_column_int(statement, 26);
    read.created_ms = bc_column_int(statement, 27);
    read.expires_ms = bc_column_int(statement, 28);
    read.ended_ms = bc_column_int(statement, 29);
    read.check_ms = bc_column_int(statement, 30);
    read.tries = bc_column_int(statement, 31);
    assert(read.state < ORDER_STATE_COUNT && read.fulfilment < ORDER_FULFILMENT_COUNT);
    read.lines = take_json(statement, 32);
    if (read.lines == NULL) return false;
    read.shipping = take_json(statement, 33);
    read.billing = take_json(statement, 34);
    *order = read;
    return true;
}

/* Steps once and ends the statement. */
static order_found_t read_one(bc_statement_t *statement, order_t *order) {
    bc_db_result_t result = bc_step(statement);
    order_found_t found = result == BC_DB_DONE ? ORDER_ABSENT : ORDER_FAILED;
    if (result == BC_DB_ROW && read_order(statement, order)) found = ORDER_FOUND;
    bc_statement_done(statement);
    return found;
}

order_found_t order_find(bc_db_t *db, const cart_id_t *id, order_t *order) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT " COLUMNS "FROM orders WHERE id = ?1");
    bc_bind_id(statement, 1, id);
    return read_one(statement, order);
}

order_found_t order_find_open(bc_db_t *db, const cart_id_t *user, order_t *order) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT " COLUMNS "FROM orders WHERE open_user = ?1");
    bc_bind_id(statement, 1, user);
    return read_one(statement, order);
}

order_found_t order_find_payment(bc_db_t *db, const char *payment, order_t *order) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT " COLUMNS "FROM orders WHERE payment_id = ?1");
    bc_bind_text(statement, 1, payment);
    return read_one(statement, order);
}

bool order_list(bc_db_t *db, const order_filter_t *filter, order_see_t see, void *context) {
    bc_statement_t *statement = bc_db_prepare(
        db, filter->user != NULL
                ? "SELECT " COLUMNS "FROM orders WHERE user_id = ?1 AND (created_ms, id) < (?2, ?3) "
                  "AND (?4 < 0 OR state = ?4) AND (?5 < 0 OR fulfilment = ?5) AND created_ms >= ?6 AND created_ms < ?7 "
                  "ORDER BY created_ms DESC, id DESC LIMIT ?8"
                : "SELECT " COLUMNS "FROM orders WHERE ?1 IS NULL AND (created_ms, id) < (?2, ?3) "
                  "AND (?4 < 0 OR state = ?4) AND (?5 < 0 OR fulfilment = ?5) AND created_ms >= ?6 AND created_ms < ?7 "
                  "ORDER BY created_ms DESC, id DESC LIMIT ?8");
    if (filter->user != NULL) bc_bind_id(statement, 1, filter->user);
    bc_bind_int(statement, 2, filter->before_ms);
    bc_bind_id(statement, 3, &filter->before);
    bc_bind_int(statement, 4, filter->state);
    bc_bind_int(statement, 5, filter->fulfilment);
    bc_bind_int(statement, 6, filter->from_ms);
    bc_bind_int(statement, 7, filter->to_ms);
    bc_bind_int(statement, 8, filter->limit);
    bc_db_result_t result;
    while ((result = bc_step(statement)) == BC_DB_ROW) {
        order_t order;
        if (!read_order(statement, &order)) {
            result = BC_DB_FAILED;
            break;
        }
        bool more = see(context, &order);
        order_drop(&order);
        if (!more) {
            result = BC_DB_DONE;
            break;
        }
    }
    bc_statement_done(statement);
    return result == BC_DB_DONE;
}

/* --- writing --- */

static char *dump(const json_t *value) {
    return value == NULL ? NULL : json_dumps(value, JSON_COMPACT);
}

static void bind_order(bc_statement_t *statement, const order_t *order) {
    bc_bind_id(statement, 1, &order->id);
    bc_bind_text(statement, 2, order->number);
    bc_bind_id(statement, 3, &order->user);
    bc_bind_int(statement, 4, order->state);
    bc_bind_int(statement, 5, order->test);
    bc_bind_text(statement, 6, order->provider);
    bc_bind_int(statement, 7, order->cart_version);
    bc_bind_bytes(statement, 8, order->digest, sizeof(order->digest));
    bc_bind_int(statement, 9, order->language);
    bc_bind_text(statement, 10, order->email);
    bc_bind_text(statement, 11, order->country);
    bc_bind_text(statement, 12, order->currency);
    bc_bind_text(statement, 13, order->shipping_method);
    bc_bind_int(statement, 14, order->subtotal_minor);
    bc_bind_int(statement, 15, order->shipping_minor);
    bc_bind_int(statement, 16, order->tax_rate_bp);
    bc_bind_int(statement, 17, order->tax_included);
    bc_bind_int(statement, 18, order->tax_minor);
    bc_bind_int(statement, 19, order->total_minor);
    bc_bind_int(statement, 20, order->created_ms);
    bc_bind_int(statement, 21, order->expires_ms);
    bc_bind_int(statement, 22, order->check_ms);
}

bc_db_result_t order_insert(bc_db_t *db, const order_t *order, const char *lines) {
    char *shown = dump(order->lines), *shipping = dump(order->shipping), *billing = dump(order->billing);
    bc_db_result_t result = BC_DB_FAILED;
    assert(order->state == ORDER_AWAITING);
    if (shown == NULL || shipping == NULL || (order->billing != NULL && billing == NULL)) goto end;
    bc_statement_t *statement = bc_db_prepare(
        db, "INSERT INTO orders(id, number, user_id, open_user, state, ending, fulfilment, test, provider, "
            "cart_version, digest, language, email, country, currency, shipping_method, subtotal_minor, "
            "shipping_minor, tax_rate_bp, tax_included, tax_minor, total_minor, paid_minor, refunding_minor, "
            "refunded_minor, created_ms, expires_ms, ended_ms, check_ms, tries, lines, shipping_address, "
            "billing_address) VALUES(?1, ?2, ?3, ?3, ?4, 0, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, "
            "?17, ?18, ?19, 0, 0, 0, ?20, ?21, 0, ?22, 0, ?23, ?24, ?25)");
    bind_order(statement, order);
    bc_bind_text(statement, 23, shown);
    bc_bind_text(statement, 24, shipping);
    bc_bind_text(statement, 25, billing);
    result = bc_run(statement);
    if (result != BC_DB_DONE) goto end;
    statement = bc_db_prepare(
        db, "INSERT INTO order_lines(order_id, book, quantity, shipped, cancelled, returned) "
            "SELECT ?1, j.value ->> '$.book', j.value ->> '$.quantity', 0, 0, 0 FROM " BC_SQL_EACH("?2") " AS j");
    bc_bind_id(statement, 1, &order->id);
    bc_bind_text(statement, 2, lines);
    result = bc_run(statement);
end:
    free(shown);
    free(shipping);
    free(billing);
    return result;
}

/* Runs and says whether a row changed. */
static bool changed(bc_db_t *db, bc_statement_t *statement) {
    return bc_run(statement) == BC_DB_DONE && bc_db_changes(db) == 1;
}

bool order_set_payment(bc_db_t *db, const cart_id_t *id, const char *payment, const char *client_secret) {
    bc_statement_t *statement = bc_db_prepare(
        db, "UPDATE orders SET payment_id = ?2, client_secret = CASE WHEN state = 0 THEN ?3 ELSE NULL END "
            "WHERE id = ?1 AND (payment_id IS NULL OR payment_id = ?2)");
    bc_bind_id(statement, 1, id);
    bc_bind_text(statement, 2, payment);
    bc_bind_text(statement, 3, client_secret);
    return changed(db, statement);
}

bool order_set_ending(bc_db_t *db, const cart_id_t *id, bool ending, int64_t check_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE orders SET ending = ?2, tries = 0, check_ms = CASE WHEN check_ms < ?3 THEN check_ms "
                          "ELSE ?3 END WHERE id = ?1 AND state = 0 AND ending <> ?2");
    bc_bind_id(statement, 1, id);
    bc_bind_int(statement, 2, ending);
    bc_bind_int(statement, 3, check_ms);
    return changed(db, statement);
}

bool order_set_error(bc_db_t *db, const cart_id_t *id, const char *last_error) {
    bc_statement_t *statement = bc_db_prepare(db, "UPDATE orders SET last_error = ?2 WHERE id = ?1 AND state = 0");
    bc_bind_id(statement, 1, id);
    bc_bind_text(statement, 2, last_error);
    return changed(db, statement);
}

bool order_set_check(bc_db_t *db, const cart_id_t *id, int64_t check_ms, int64_t tries) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE orders SET check_ms = ?2, tries = ?3 WHERE id = ?1 AND state = 0");
    bc_bind_id(statement, 1, id);
    bc_bind_int(statement, 2, check_ms);
    bc_bind_int(statement, 3, tries);
    return changed(db, statement);
}

bool order_pay(bc_db_t *db, const cart_id_t *id, bool late, int64_t paid_minor, int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, late ? "UPDATE orders SET state = 1, paid_minor = ?2, ended_ms = ?3, ending = 0, open_user = NULL, "
                   "client_secret = NULL, last_error = NULL WHERE id = ?1 AND state IN (2, 3) AND paid_minor = 0"
                 : "UPDATE orders SET state = 1, paid_minor = ?2, ended_ms = ?3, ending = 0, open_user = NULL, "
                   "client_secret = NULL, last_error = NULL WHERE id = ?1 AND state = 0");
    bc_bind_id(statement, 1, id);
    bc_bind_int(statement, 2, paid_minor);
    bc_bind_int(statement, 3, now_ms);
    return changed(db, statement);
}

bool order_note_money(bc_db_t *db, const cart_id_t *id, int64_t paid_minor) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE orders SET paid_minor = ?2 WHERE id = ?1 AND state IN (2, 3) AND paid_minor = 0");
    bc_bind_id(statement, 1, id);
    bc_bind_int(statement, 2, paid_minor);
    return changed(db, statement);
}

bool order_end(bc_db_t *db, const cart_id_t *id, order_state_t state, int64_t now_ms) {
    assert(state == ORDER_CANCELLED || state == ORDER_EXPIRED);
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE orders SET state = ?2, ended_ms = ?3, ending = 0, open_user = NULL, "
                          "client_secret = NULL WHERE id = ?1 AND state = 0");
    bc_bind_id(statement, 1, id);
    bc_bind_int(statement, 2, state);
    bc_bind_int(statement, 3, now_ms);
    return changed(db, statement);
}

bool order_set_fulfilment(bc_db_t *db, const cart_id_t *id, order_fulfilment_t fulfilment) {
    bc_statement_t *statement = bc_db_prepare(db, "UPDATE orders SET fulfilment = ?2 WHERE id = ?1 AND state = 1");
    bc_bind_id(statement, 1, id);
    bc_bind_int(statement, 2, fulfilment);
    return changed(db, statement);
}

size_t order_due(bc_db_t *db, int64_t now_ms, cart_id_t *ids, size_t limit) {
    size_t count = 0;
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT id FROM orders WHERE state = 0 AND check_ms <= ?1 ORDER BY check_ms LIMIT ?2");
    bc_bind_int(statement, 1, now_ms);
    bc_bind_int(statement, 2, (int64_t)limit);
    while (count < limit && bc_step(statement) == BC_DB_ROW) {
        if (bc_column_id(statement, 0, &ids[count])) count++;
    }
    bc_statement_done(statement);
    return count;
}

int64_t order_next_check(bc_db_t *db) {
    int64_t next_ms = 0;
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT check_ms FROM orders WHERE state = 0 ORDER BY check_ms LIMIT 1");
    if (bc_step(statement) == BC_DB_ROW) next_ms = bc_column_int(statement, 0);
    bc_statement_done(statement);
    return next_ms;
}

bool order_merge_user(bc_db_t *db, const cart_id_t *guest, const cart_id_t *user) {
    bool open = false;
    bc_statement_t *statement = bc_db_prepare(db, "SELECT 1 FROM orders WHERE open_user = ?1");
    bc_bind_id(statement, 1, user);
    bc_db_result_t result = bc_step(statement);
    open = result == BC_DB_ROW;
    bc_statement_done(statement);
    if (result != BC_DB_ROW && result != BC_DB_DONE) return false;
    /* Who has an open order keeps that one as such; the guest's lives on beside it until it is paid or over. */
    statement = bc_db_prepare(db, "UPDATE orders SET user_id = ?2, open_user = CASE WHEN open_user IS NULL OR ?3 THEN "
                                  "NULL ELSE ?2 END WHERE user_id = ?1");
    bc_bind_id(statement, 1, guest);
    bc_bind_id(statement, 2, user);
    bc_bind_int(statement, 3, open);
    return bc_run(statement) == BC_DB_DONE;
}

bool order_erase_user(bc_db_t *db, const cart_id_t *user, int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE orders SET email = NULL, shipping_address = NULL, billing_address = NULL, "
                          "ending = CASE WHEN state = 0 THEN 1 ELSE ending END, "
                          "check_ms = CASE WHEN state = 0 THEN ?2 ELSE check_ms END WHERE user_id = ?1");
    bc_bind_id(statement, 1, user);
    bc_bind_int(statement, 2, now_ms);
    if (bc_run(statement) != BC_DB_DONE) return false;
    bc_mail_forget(db, user);
    /* Answers that a repeat would be given again show addresses. */
    statement = bc_db_prepare(db, "DELETE FROM once_keys WHERE user_id = ?1");
    bc_bind_id(statement, 1, user);
    return bc_run(statement) == BC_DB_DONE;
}

bool mark_get(bc_db_t *db, const char *name, int64_t otherwise, int64_t *value) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT value FROM marks WHERE name = ?1");
    bc_bind_text(statement, 1, name);
    bc_db_result_t result = bc_step(statement);
    if (result == BC_DB_ROW || result == BC_DB_DONE)
        *value = result == BC_DB_ROW ? bc_column_int(statement, 0) : otherwise;
    bc_statement_done(statement);
    return result == BC_DB_ROW || result == BC_DB_DONE;
}

bool mark_put(bc_db_t *db, const char *name, int64_t value) {
    bc_statement_t *statement = bc_db_prepare(
        db, "INSERT INTO marks(name, value) VALUES(?1, ?2)" BC_SQL_UPSERT("name") "value = excluded.value");
    bc_bind_text(statement, 1, name);
    bc_bind_int(statement, 2, value);
    return bc_run(statement) == BC_DB_DONE;
}
