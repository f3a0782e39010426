#include "services/payment/payment_sandbox_store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const bc_migration_t sandbox_migrations[] = {
    {"payments, refunds, keys, events", "CREATE TABLE payments("
                                        "  id VARCHAR(64) PRIMARY KEY NOT NULL,"
                                        "  client_secret VARCHAR(128) NOT NULL,"
                                        "  state " BC_SQL_BIGINT " NOT NULL,"
                                        "  amount " BC_SQL_BIGINT " NOT NULL,"
                                        "  currency VARCHAR(3) NOT NULL,"
                                        "  created_ms " BC_SQL_BIGINT " NOT NULL,"
                                        "  order_ref VARCHAR(64) NOT NULL,"
                                        "  number VARCHAR(64) NOT NULL,"
                                        "  method VARCHAR(64) NOT NULL,"
                                        "  code VARCHAR(63) NOT NULL,"
                                        "  decline VARCHAR(63) NOT NULL,"
                                        "  refunded " BC_SQL_BIGINT " NOT NULL,"
                                        "  settle_ms " BC_SQL_BIGINT " NOT NULL,"
                                        "  CHECK(refunded >= 0 AND refunded <= amount));"
                                        "CREATE INDEX payments_by_time ON payments(created_ms);"
                                        "CREATE INDEX payments_by_settle ON payments(settle_ms);"
                                        "CREATE TABLE refunds("
                                        "  id VARCHAR(64) PRIMARY KEY NOT NULL,"
                                        "  payment VARCHAR(64) NOT NULL REFERENCES payments(id),"
                                        "  state " BC_SQL_BIGINT " NOT NULL,"
                                        "  amount " BC_SQL_BIGINT " NOT NULL,"
                                        "  currency VARCHAR(3) NOT NULL,"
                                        "  created_ms " BC_SQL_BIGINT " NOT NULL,"
                                        "  refund_ref VARCHAR(64) NOT NULL,"
                                        "  settle_ms " BC_SQL_BIGINT " NOT NULL);"
                                        "CREATE INDEX refunds_by_payment ON refunds(payment, created_ms);"
                                        "CREATE INDEX refunds_by_time ON refunds(created_ms);"
                                        "CREATE INDEX refunds_by_settle ON refunds(settle_ms);"
                                        "CREATE TABLE request_keys("
                                        "  kind VARCHAR(16) NOT NULL,"
                                        "  request_key VARCHAR(64) NOT NULL,"
                                        "  params VARCHAR(255) NOT NULL,"
                                        "  object VARCHAR(64) NOT NULL,"
                                        "  state " BC_SQL_BIGINT " NOT NULL,"
                                        "  created_ms " BC_SQL_BIGINT " NOT NULL,"
                                        "  PRIMARY KEY(kind, request_key));"
                                        "CREATE INDEX request_keys_by_time ON request_keys(created_ms);"
                                        "CREATE TABLE events("
                                        "  position " BC_SQL_SERIAL ","
                                        "  id VARCHAR(64) NOT NULL,"
                                        "  type VARCHAR(63) NOT NULL,"
                                        "  created_ms " BC_SQL_BIGINT " NOT NULL,"
                                        "  body TEXT NOT NULL);"
                                        "CREATE INDEX events_by_time ON events(created_ms);"
                                        "CREATE TABLE deliveries("
                                        "  position " BC_SQL_SERIAL ","
                                        "  event " BC_SQL_BIGINT " NOT NULL REFERENCES events(position),"
                                        "  due_ms " BC_SQL_BIGINT " NOT NULL,"
                                        "  tries " BC_SQL_BIGINT " NOT NULL);"
                                        "CREATE INDEX deliveries_by_due ON deliveries(due_ms);"
                                        "CREATE INDEX deliveries_by_event ON deliveries(event);"},
    {NULL, NULL},
};

static void take_text(bc_statement_t *statement, int column, char *text, size_t size) {
    const char *value = bc_column_text(statement, column);
    (void)snprintf(text, size, "%s", value == NULL ? "" : value); /* our own rows fit */
}

/* --- payments --- */

#define PAYMENT_COLUMNS                                                                                                \
    "id, client_secret, state, amount, currency, created_ms, order_ref, number, method, code, decline, refunded, "     \
    "settle_ms"

static void read_payment(bc_statement_t *statement, sandbox_payment_t *payment) {
    provider_payment_t *shown = &payment->shown;
    *payment = (sandbox_payment_t){.settle_ms = bc_column_int(statement, 12)};
    take_text(statement, 0, shown->id, sizeof(shown->id));
    take_text(statement, 1, shown->client_secret, sizeof(shown->client_secret));
    shown->state = (provider_payment_state_t)bc_column_int(statement, 2);
    shown->amount_minor = bc_column_int(statement, 3);
    take_text(statement, 4, shown->currency, sizeof(shown->currency));
    shown->created_ms = bc_column_int(statement, 5);
    take_text(statement, 6, shown->order, sizeof(shown->order));
    take_text(statement, 7, payment->number, sizeof(payment->number));
    take_text(statement, 8, payment->method, sizeof(payment->method));
    take_text(statement, 9, payment->code, sizeof(payment->code));
    take_text(statement, 10, payment->decline, sizeof(payment->decline));
    payment->refunded_minor = bc_column_int(statement, 11);
    shown->received_minor = shown->state == PROVIDER_SUCCEEDED ? shown->amount_minor : 0;
    (void)snprintf(shown->last_error, sizeof(shown->last_error), "%s",
                   payment->decline[0] != '\0' ? payment->decline : payment->code); /* fits */
}

static bool read_one_payment(bc_statement_t *statement, sandbox_payment_t *payment) {
    bool found = bc_step(statement) == BC_DB_ROW;
    if (found) read_payment(statement, payment);
    bc_statement_done(statement);
    return found;
}

bool sandbox_get_payment(bc_db_t *db, const char *id, sandbox_payment_t *payment) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT " PAYMENT_COLUMNS " FROM payments WHERE id = ?");
    bc_bind_text(statement, 1, id);
    return read_one_payment(statement, payment);
}

void sandbox_put_payment(bc_db_t *db, const sandbox_payment_t *payment) {
    const provider_payment_t *shown = &payment->shown;
    bc_statement_t *statement = bc_db_prepare(
        db, "INSERT INTO payments(" PAYMENT_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)" BC_SQL_UPSERT(
                "id") "state = excluded.state, method = excluded.method, code = excluded.code, decline = "
                      "excluded.decline, refunded = excluded.refunded, settle_ms = excluded.settle_ms");
    bc_bind_text(statement, 1, shown->id);
    bc_bind_text(statement, 2, shown->client_secret);
    bc_bind_int(statement, 3, shown->state);
    bc_bind_int(statement, 4, shown->amount_minor);
    bc_bind_text(statement, 5, shown->currency);
    bc_bind_int(statement, 6, shown->created_ms);
    bc_bind_text(statement, 7, shown->order);
    bc_bind_text(statement, 8, payment->number);
    bc_bind_text(statement, 9, payment->method);
    bc_bind_text(statement, 10, payment->code);
    bc_bind_text(statement, 11, payment->decline);
    bc_bind_int(statement, 12, payment->refunded_minor);
    bc_bind_int(statement, 13, payment->settle_ms);
    bc_db_result_t result = bc_run(statement);
    assert(result != BC_DB_CONSTRAINT); /* refunded over the amount: looked at before */
    (void)result;                       /* other errors stick */
}

void sandbox_list_payments(bc_db_t *db, int64_t since_ms, provider_see_payment_t see, void *context) {
    sandbox_payment_t payment;
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT " PAYMENT_COLUMNS " FROM payments WHERE created_ms >= ? ORDER BY created_ms, id");
    bc_bind_int(statement, 1, since_ms);
    while (bc_step(statement) == BC_DB_ROW) {
        read_payment(statement, &payment);
        if (!see(context, &payment.shown)) break;
    }
    bc_statement_done(statement);
}

bool sandbox_find_payment(bc_db_t *db, const provider_create_t *asked, int64_t from_ms, int64_t until_ms,
                          sandbox_payment_t *payment) {
    bc_statement_t *statement = bc_db_prepare(
        db, "SELECT " PAYMENT_COLUMNS " FROM payments WHERE created_ms >= ? AND created_ms <= ? AND order_ref = ? AND "
            "amount = ? AND currency = ? ORDER BY state = 3 DESC, created_ms LIMIT 1");
    bc_bind_int(statement, 1, from_ms);
    bc_bind_int(statement, 2, until_ms);
    bc_bind_text(statement, 3, asked->key);
    bc_bind_int(statement, 4, asked->amount_minor);
    bc_bind_text(statement, 5, asked->currency);
    return read_one_payment(statement, payment);
}

bool sandbox_due_payment(bc_db_t *db, int64_t now_ms, sandbox_payment_t *payment) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT " PAYMENT_COLUMNS
                          " FROM payments WHERE settle_ms > 0 AND settle_ms <= ? ORDER BY settle_ms LIMIT 1");
    bc_bind_int(statement, 1, now_ms);
    return read_one_payment(statement, payment);
}

/* --- refunds --- */

#define REFUND_COLUMNS "id, payment, state, amount, currency, created_ms, refund_ref, settle_ms"

static void read_refund(bc_statement_t *statement, sandbox_refund_t *refund) {
    provider_refund_t *shown = &refund->shown;
    *refund = (sandbox_refund_t){.settle_ms = bc_column_int(statement, 7)};
    take_text(statement, 0, shown->id, sizeof(shown->id));
    take_text(statement, 1, shown->payment, sizeof(shown->payment));
    shown->state = (provider_refund_state_t)bc_column_int(statement, 2);
    shown->amount_minor = bc_column_int(statement, 3);
    take_text(statement, 4, shown->currency, sizeof(shown->currency));
    shown->created_ms = bc_column_int(statement, 5);
    take_text(statement, 6, shown->refund, sizeof(shown->refund));
}

static bool read_one_refund(bc_statement_t *statement, sandbox_refund_t *refund) {
    bool found = bc_step(statement) == BC_DB_ROW;
    if (found) read_refund(statement, refund);
    bc_statement_done(statement);
    return found;
}

bool sandbox_get_refund(bc_db_t *db, const char *id, sandbox_refund_t *refund) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT " REFUND_COLUMNS " FROM refunds WHERE id = ?");
    bc_bind_text(statement, 1, id);
    return read_one_refund(statement, refund);
}

void sandbox_put_refund(bc_db_t *db, const sandbox_refund_t *refund) {
    const provider_refund_t *shown = &refund->shown;
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO refunds(" REFUND_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?, ?)" BC_SQL_UPSERT(
                              "id") "state = excluded.state, settle_ms = excluded.settle_ms");
    bc_bind_text(statement, 1, shown->id);
    bc_bind_text(statement, 2, shown->payment);
    bc_bind_int(statement, 3, shown->state);
    bc_bind_int(statement, 4, shown->amount_minor);
    bc_bind_text(statement, 5, shown->currency);
    bc_bind_int(statement, 6, shown->created_ms);
    bc_bind_text(statement, 7, shown->refund);
    bc_bind_int(statement, 8, refund->settle_ms);
    (void)bc_run(statement); /* errors stick; the payment is there, so the reference holds */
}

static void list_refunds(bc_statement_t *statement, provider_see_refund_t see, void *context) {
    sandbox_refund_t refund;
    while (bc_step(statement) == BC_DB_ROW) {
        read_refund(statement, &refund);
        if (!see(context, &refund.shown)) break;
    }
    bc_statement_done(statement);
}

void sandbox_list_refunds(bc_db_t *db, int64_t since_ms, provider_see_refund_t see, void *context) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT " REFUND_COLUMNS " FROM refunds WHERE created_ms >= ? ORDER BY created_ms, id");
    bc_bind_int(statement, 1, since_ms);
    list_refunds(statement, see, context);
}

void sandbox_list_refunds_of(bc_db_t *db, const char *payment, provider_see_refund_t see, void *context) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT " REFUND_COLUMNS " FROM refunds WHERE payment = ? ORDER BY created_ms, id");
    bc_bind_text(statement, 1, payment);
    list_refunds(statement, see, context);
}

bool sandbox_find_refund(bc_db_t *db, const provider_refund_request_t *asked, sandbox_refund_t *refund) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT " REFUND_COLUMNS
                          " FROM refunds WHERE payment = ? AND refund_ref = ? AND amount = ? AND currency = ? "
                          "ORDER BY created_ms LIMIT 1");
    bc_bind_text(statement, 1, asked->payment);
    bc_bind_text(statement, 2, asked->key);
    bc_bind_int(statement, 3, asked->amount_minor);
    bc_bind_text(statement, 4, asked->currency);
    return read_one_refund(statement, refund);
}

bool sandbox_due_refund(bc_db_t *db, int64_t now_ms, sandbox_refund_t *refund) {
    bc_statement_t *statement = bc_db_prepare(
        db, "SELECT " REFUND_COLUMNS " FROM refunds WHERE settle_ms > 0 AND settle_ms <= ? ORDER BY settle_ms LIMIT 1");
    bc_bind_int(statement, 1, now_ms);
    return read_one_refund(statement, refund);
}

/* --- idempotency keys --- */

bool sandbox_get_key(bc_db_t *db, const char *kind, const char *key, sandbox_key_t *found) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT params, object, state FROM request_keys WHERE kind = ? AND request_key = ?");
    bc_bind_text(statement, 1, kind);
    bc_bind_text(statement, 2, key);
    bool there = bc_step(statement) == BC_DB_ROW;
    if (there) {
        take_text(statement, 0, found->params, sizeof(found->params));
        take_text(statement, 1, found->object, sizeof(found->object));
        found->state = bc_column_int(statement, 2);
    }
    bc_statement_done(statement);
    return there;
}

void sandbox_put_key(bc_db_t *db, const char *kind, const char *key, const sandbox_key_t *made, int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, "INSERT INTO request_keys(kind, request_key, params, object, state, created_ms) VALUES(?, ?, ?, ?, ?, ?)");
    bc_bind_text(statement, 1, kind);
    bc_bind_text(statement, 2, key);
    bc_bind_text(statement, 3, made->params);
    bc_bind_text(statement, 4, made->object);
    bc_bind_int(statement, 5, made->state);
    bc_bind_int(statement, 6, now_ms);
    (void)bc_run(statement); /* errors stick; the key was looked for in this transaction */
}

/* --- events and deliveries --- */

static void put_delivery(bc_db_t *db, int64_t event, int64_t due_ms) {
    bc_statement_t *statement = bc_db_prepare(db, "INSERT INTO deliveries(event, due_ms, tries) VALUES(?, ?, 0)");
    bc_bind_int(statement, 1, event);
    bc_bind_int(statement, 2, due_ms);
    (void)bc_run(statement); /* errors stick */
}

void sandbox_put_event(bc_db_t *db, const char *id, const char *type, const char *body, int64_t now_ms, int64_t due_ms,
                       int copies) {
    bc_statement_t *statement = bc_db_prepare(db, "INSERT INTO events(id, type, created_ms, body) VALUES(?, ?, ?, ?)");
    bc_bind_text(statement, 1, id);
    bc_bind_text(statement, 2, type);
    bc_bind_int(statement, 3, now_ms);
    bc_bind_text(statement, 4, body);
    (void)bc_run(statement); /* errors stick */
    int64_t event = bc_db_last_row(db);
    for (int i = 0; i < copies; i++) put_delivery(db, event, due_ms);
}

bool sandbox_due_delivery(bc_db_t *db, int64_t now_ms, bool newest_first, sandbox_delivery_t *delivery) {
    bc_statement_t *statement =
        newest_first
            ? bc_db_prepare(db, "SELECT d.position, d.tries, e.body FROM deliveries d JOIN events e ON "
                                "e.position = d.event WHERE d.due_ms <= ? ORDER BY d.event DESC LIMIT 1")
            : bc_db_prepare(db, "SELECT d.position, d.tries, e.body FROM deliveries d JOIN events e ON "
                                "e.position = d.event WHERE d.due_ms <= ? ORDER BY d.due_ms, d.position LIMIT 1");
    bc_bind_int(statement, 1, now_ms);
    bool found = bc_step(statement) == BC_DB_ROW;
    if (found) {
        const char *body = bc_column_text(statement, 2);
        delivery->position = bc_column_int(statement, 0);
        delivery->tries = bc_column_int(statement, 1);
        delivery->body = body == NULL ? NULL : strdup(body);
        found = delivery->body != NULL; /* without memory: the next round */
    }
    bc_statement_done(statement);
    return found;
}

void sandbox_end_delivery(bc_db_t *db, int64_t position) {
    bc_statement_t *statement = bc_db_prepare(db, "DELETE FROM deliveries WHERE position = ?");
    bc_bind_int(statement, 1, position);
    (void)bc_run(statement); /* errors stick */
}

void sandbox_put_off_delivery(bc_db_t *db, int64_t position, int64_t due_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE deliveries SET due_ms = ?, tries = tries + 1 WHERE position = ?");
    bc_bind_int(statement, 1, due_ms);
    bc_bind_int(statement, 2, position);
    (void)bc_run(statement); /* errors stick */
}

void sandbox_deliver_all_again(bc_db_t *db, int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO deliveries(event, due_ms, tries) SELECT position, ?, 0 FROM events");
    bc_bind_int(statement, 1, now_ms);
    (void)bc_run(statement); /* errors stick */
}

static int64_t read_number(bc_statement_t *statement) {
    int64_t number = bc_step(statement) == BC_DB_ROW ? bc_column_int(statement, 0) : 0;
    bc_statement_done(statement);
    return number;
}

int64_t sandbox_newest_event_ms(bc_db_t *db) {
    return read_number(bc_db_prepare(db, "SELECT COALESCE(MAX(created_ms), 0) FROM events"));
}

int64_t sandbox_next_ms(bc_db_t *db) {
    int64_t due[] = {
        read_number(bc_db_prepare(db, "SELECT COALESCE(MIN(settle_ms), 0) FROM payments WHERE settle_ms > 0")),
        read_number(bc_db_prepare(db, "SELECT COALESCE(MIN(settle_ms), 0) FROM refunds WHERE settle_ms > 0")),
        read_number(bc_db_prepare(db, "SELECT COALESCE(MIN(due_ms), 0) FROM deliveries")),
    };
    int64_t next = 0;
    for (size_t i = 0; i < sizeof(due) / sizeof(due[0]); i++) {
        if (due[i] > 0 && (next == 0 || due[i] < next)) next = due[i];
    }
    return next;
}

void sandbox_tidy(bc_db_t *db, int64_t now_ms) {
    bc_statement_t *keys = bc_db_prepare(db, "DELETE FROM request_keys WHERE created_ms < ?");
    bc_bind_int(keys, 1, now_ms - SANDBOX_KEYS_KEPT_MS);
    (void)bc_run(keys); /* errors stick */
    bc_statement_t *events =
        bc_db_prepare(db, "DELETE FROM events WHERE created_ms < ? AND position NOT IN (SELECT event FROM deliveries)");
    bc_bind_int(events, 1, now_ms - SANDBOX_EVENTS_KEPT_MS);
    (void)bc_run(events); /* errors stick */
}
