/*
 * Random orders, payments, cancellings, refunds and webhooks by several threads against the real store file and the real sandbox, with
 * faults at random points: steps that fail, answers that are lost, and deaths by SIGKILL in the middle. After each run the service is
 * opened again without faults: what was committed must agree as it lies there, and again when it was left to itself until nothing is in
 * doubt. Then also with the provider's own books: nothing oversold, nothing paid twice, no refund over the sum, no ledger off, no money
 * without an order, and no order let go of while its payment could still be paid.
 *
 * A run is two processes: one that is disturbed, one that recovers. The store is carried on from run to run. Every run prints its seed when it
 * fails; BOOKCART_TEST_SEED repeats from it, BOOKCART_TEST_RUNS says how many (200 unless it does).
 *
 * What it sees was tried by planting bugs, one at a time, 2 × 200 runs each. Seen: an order paid twice; stock kept, forgotten or held on; ended
 * without the provider, before it or beside a payment nobody knows, or while money is on its way; a create or refund under a fresh key; a lost
 * answer taken for a failure; late money kept, given back each time, sold without copies or told to nobody; a refund of ours taken for the
 * provider's; webhooks never done; sweeps and checks that look away. Not seen, each for a second guard stands behind it:
 *
 *   bug                                          second guard                                            without both
 *   stock reserved without its guard             CHECK(on_hand >= reserved)                              seen here
 *   an order's UPDATE to paid without its state  apply_payment, in the same transaction                  seen here
 *   a refund set aside without its guard         CHECK(paid_minor >= refunding_minor)                    seen here
 *   a refund's UPDATE without its state          it was read in the same transaction                     –
 *   an older answer revives a failed refund      the next look moves it back: what lies there agrees     services.payment_late sees the bug
 *   a refused refund's list not asked for        what was heard is repeated under its key, not refused   services.payment_late sees the bug
 *   a stray's money given back each time         no payment here is a stray's                            services.payment_late sees the bug
 *   webhooks done that came after the question   the order's check, the refund's check, a sweep          –
 *   an order's payment overwritten               the key: another try brings the same payment            seen here
 */
#include "platform/bc_client.h"
#include "platform/bc_config.h"
#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"
#include "services/payment/payment_apply.h"
#include "services/payment/payment_place.h"
#include "services/payment/payment_refund.h"
#include "services/payment/payment_sandbox.h"
#include "services/payment/payment_settle.h"
#include "services/payment/payment_store_stock.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { runs_default = 200, runs_a_store = 30, threads = 3, steps = 5, books = 5, users = 5, sweeps = 3 };
#define FORGOTTEN "forgotten" /* last_error of an order that forget_one let go of */
enum { settle_ms = 20000, exit_disagree = 3, exit_unsettled = 4 };

static char folder[64], armed[96];

/* --- chance: xorshift64*, one state a thread, so that a seed says what was asked for (not how threads met) --- */

typedef struct {
    uint64_t state;
} chance_t;

static uint64_t draw(chance_t *chance) {
    chance->state ^= chance->state >> 12;
    chance->state ^= chance->state << 25;
    chance->state ^= chance->state >> 27;
    return chance->state * UINT64_C(0x2545f4914f6cdd1d);
}

static int64_t below(chance_t *chance, int64_t count) {
    return (int64_t)(draw(chance) >> 11) % count;
}

/* --- the service without its listeners --- */

static bc_config_t *make_config(void) {
    char text[512], reason[BC_CONFIG_REASON_BYTES];
    bc_config_t *config = bc_config_create();
    assert_non_null(config);
    (void)snprintf(text, sizeof(text),
                   "BOOKCART_DATA = %s\nBOOKCART_PAYMENT_RECONCILE = 50ms\nBOOKCART_PAYMENT_TIMEOUT = 2s\n"
                   "BOOKCART_SANDBOX_SETTLE = 5ms\nBOOKCART_SANDBOX_WEBHOOKS = lost\nBOOKCART_FAULTS = armed:%s\n",
                   folder, armed);
    if (!bc_config_read_text(config, "test", text, strlen(text), reason) || !bc_config_finish(config, reason))
        fail_msg("%s", reason);
    return config;
}

static void start_tasks(payment_t *payment) {
    payment->announcer = bc_task_create("announcer", payment_announce_step, payment);
    payment->keeper = bc_task_create("keeper", payment_keeper_step, payment);
    assert_true(payment->announcer != NULL && payment->keeper != NULL);
}

static payment_t *open_payment(const bc_config_t *config) {
    static const volatile bool never = false;
    char path[128];
    payment_t *payment = calloc(1, sizeof(*payment));
    assert_non_null(payment);
    (void)snprintf(path, sizeof(path), "%s/payment.db", folder);
    payment->config = config;
    payment->service_key = "key";
    payment->stopping = &never;
    assert_int_equal(bc_db_open(path, payment_migrations, &payment->db), BC_DB_OK);
    payment->provider = payment_provider_open(config);
    assert_non_null(payment->provider);
    return payment;
}

static void close_payment(payment_t *payment) {
    bc_task_destroy(payment->keeper);
    bc_task_destroy(payment->announcer);
    payment_provider_destroy(payment->provider);
    bc_db_close(payment->db);
    free(payment);
}

/* --- what a thread does --- */

typedef struct {
    payment_t *payment;
    chance_t chance;
} actor_t;

static const char *any_method(chance_t *chance) {
    static const char *const methods[] = {"pm_card_visa",
                                          "pm_card_visa",
                                          "pm_card_visa",
                                          "pm_card_pendingRefund",
                                          "pm_card_refundFail",
                                          "pm_card_visa_chargeDeclined",
                                          "pm_card_threeDSecure2Required",
                                          "pm_success_de"};
    return methods[below(chance, sizeof(methods) / sizeof(methods[0]))];
}

/* An order in that state; -1: in any. */
static bool any_order(actor_t *actor, int order_state, cart_id_t *id) {
    cart_id_t found[64];
    size_t count = 0;
    bc_db_enter(actor->payment->db);
    bc_statement_t *statement = bc_db_prepare(
        actor->payment->db, "SELECT id FROM orders WHERE ?1 < 0 OR state = ?1 ORDER BY created_ms DESC, id LIMIT 64");
    bc_bind_int(statement, 1, order_state);
    while (count < 64 && bc_step(statement) == BC_DB_ROW) {
        if (bc_column_id(statement, 0, &found[count])) count++;
    }
    bc_statement_done(statement);
    bc_db_leave(actor->payment->db);
    /* The newest are the likeliest. */
    int64_t most = 1 + below(&actor->chance, 8) * 8;
    if (count > 0) *id = found[below(&actor->chance, most < (int64_t)count ? most : (int64_t)count)];
    return count > 0;
}

static bool read_order(actor_t *actor, int order_state, order_t *order) {
    cart_id_t id;
    if (!any_order(actor, order_state, &id)) return false;
    bc_db_enter(actor->payment->db);
    bool found = order_find(actor->payment->db, &id, order) == ORDER_FOUND;
    bc_db_leave(actor->payment->db);
    return found;
}

static json_t *draw_lines(chance_t *chance, size_t *count, char **text) {
    json_t *lines = json_array();
    int64_t first = below(chance, books);
    *count = (size_t)(1 + below(chance, 3));
    for (size_t i = 0; i < *count; i++)
        assert_int_equal(json_array_append_new(
                             lines, json_pack("{s:I, s:I, s:s}", "book", (json_int_t)(1 + (first + (int64_t)i) % books),
                                              "quantity", (json_int_t)(1 + below(chance, 2)), "title", "Emma")),
                         0);
    *text = json_dumps(lines, JSON_COMPACT);
    return lines;
}

/* As a buyer does who does not hesitate. */
static void pay_now(actor_t *actor, const cart_id_t *id) {
    order_t order;
    provider_payment_t paid;
    provider_limit_t limit = payment_limit(actor->payment);
    bc_db_enter(actor->payment->db);
    bool found = order_find(actor->payment->db, id, &order) == ORDER_FOUND;
    bc_db_leave(actor->payment->db);
    if (!found) return;
    if (order.payment[0] != '\0') {
        (void)sandbox_confirm(actor->payment->provider, order.payment,
                              below(&actor->chance, 3) == 0 ? any_method(&actor->chance) : "pm_card_visa", &paid);
        (void)payment_settle(actor->payment, order.payment, &limit); /* may fail: that is what is tested */
    }
    order_drop(&order);
}

static void place_one(actor_t *actor) {
    chance_t *chance = &actor->chance;
    int64_t now_ms = bc_time_ms();
    char *text = NULL;
    size_t count = 0;
    order_t order = {.id = bc_random_id(),
                     .test = true,
                     .provider = "sandbox",
                     .email = "ann@mail.example",
                     .country = "BG",
                     .currency = "EUR",
                     .shipping_method = "standard",
                     .total_minor = below(chance, 60) == 0 ? 0 : 100 + below(chance, 5000),
                     .created_ms = now_ms,
                     .expires_ms = now_ms + (below(chance, 4) == 0 ? 1 + below(chance, 40) : 60000),
                     .check_ms = now_ms + 1 + below(chance, 40)};
    memset(order.user.bytes, (int)(1 + below(chance, users)), sizeof(order.user.bytes));
    order.lines = draw_lines(chance, &count, &text);
    order.shipping = json_pack("{s:s}", "country", "BG");
    provider_limit_t limit = payment_limit(actor->payment);
    if (payment_place(actor->payment, &order, text, count) == PLACED && order.total_minor > 0 && below(chance, 5) > 0)
        (void)payment_settle_create(actor->payment, &order.id, &limit); /* may fail: that is what is tested */
    if (below(chance, 2) == 0) pay_now(actor, &order.id);
    free(text);
    order_drop(&order);
}

static void pay_one(actor_t *actor) {
    order_t order;
    provider_payment_t paid;
    provider_limit_t limit = payment_limit(actor->payment);
    if (!read_order(actor, below(&actor->chance, 4) == 0 ? -1 : ORDER_AWAITING, &order)) return;
    if (order.payment[0] != '\0') {
        (void)sandbox_confirm(actor->payment->provider, order.payment, any_method(&actor->chance), &paid);
        if (below(&actor->chance, 3) == 0)
            (void)sandbox_authenticate(actor->payment->provider, order.payment, below(&actor->chance, 2) == 0, &paid);
        if (below(&actor->chance, 2) == 0) (void)payment_settle(actor->payment, order.payment, &limit);
        /* He changes his mind, perhaps while the money is on its way. */
        if (below(&actor->chance, 4) == 0) (void)payment_settle_end(actor->payment, &order.id, ORDER_CANCELLED, &limit);
    }
    order_drop(&order);
}

static void end_one(actor_t *actor) {
    order_t order;
    provider_limit_t limit = payment_limit(actor->payment);
    if (!read_order(actor, ORDER_AWAITING, &order)) return;
    if (order.state == ORDER_AWAITING)
        (void)payment_settle_end(actor->payment, &order.id,
                                 below(&actor->chance, 2) == 0 ? ORDER_CANCELLED : ORDER_EXPIRED, &limit);
    order_drop(&order);
}

static void refund_one(actor_t *actor) {
    static const uint8_t digest[REFUND_DIGEST] = {1};
    order_t order;
    refund_t refund;
    char key[16], restock[64] = "[]";
    provider_limit_t limit = payment_limit(actor->payment);
    if (!read_order(actor, below(&actor->chance, 8) == 0 ? -1 : ORDER_PAID, &order)) return;
    (void)snprintf(key, sizeof(key), "key-%d", (int)below(&actor->chance, 3));
    refund_ask_t asked = {.payment = actor->payment,
                          .order = order.id,
                          .once_key = key,
                          .digest = digest,
                          .all = below(&actor->chance, 3) == 0,
                          .amount_minor = 1 + below(&actor->chance, order.total_minor + 10),
                          .reason = "random",
                          .restock = restock};
    memset(asked.actor.bytes, 9, sizeof(asked.actor.bytes));
    cart_id_format(PAYMENT_PREFIX_ORDER, &order.id, asked.order_text);
    if (below(&actor->chance, 2) == 0) {
        const json_t *line = json_array_get(order.lines, 0);
        (void)snprintf(restock, sizeof(restock), "[{\"book\":%lld,\"quantity\":1}]",
                       (long long)json_integer_value(json_object_get(line, "book")));
        asked.restock_count = 1;
    }
    if (payment_refund_ask(&asked, &refund) == ASK_OK && below(&actor->chance, 4) > 0)
        (void)payment_settle_refund(actor->payment, &refund.id, &limit);
    order_drop(&order);
}

static void refund_there(actor_t *actor) {
    order_t order;
    provider_refund_t made;
    if (!read_order(actor, ORDER_PAID, &order)) return;
    if (order.payment[0] != '\0' && order.total_minor > 0)
        (void)sandbox_refund_there(actor->payment->provider, order.payment,
                                   1 + below(&actor->chance, order.total_minor), &made);
    order_drop(&order);
}

static void hear_webhook(actor_t *actor) {
    order_t order;
    provider_event_t event = {.type = "payment_intent.succeeded", .created_ms = 1};
    bool fresh = false;
    if (!read_order(actor, -1, &order)) return;
    (void)snprintf(event.id, sizeof(event.id), "evt_%d", (int)below(&actor->chance, 1 << 20));
    (void)memcpy(event.payment, order.payment, sizeof(event.payment));
    order_drop(&order);
    if (bc_db_begin(actor->payment->db) != BC_DB_OK) return;
    assert_true(webhook_put(actor->payment->db, &event, bc_time_ms(), &fresh));
    (void)bc_db_commit(actor->payment->db);
    bc_task_wake(actor->payment->keeper);
}

static void adjust_one(actor_t *actor) {
    stock_t after;
    char reference[CART_ID_CHARS + 1];
    cart_id_t id = bc_random_id();
    cart_id_format("adj_", &id, reference);
    if (bc_db_begin(actor->payment->db) != BC_DB_OK) return;
    if (stock_adjust(actor->payment->db, 1 + below(&actor->chance, 2), below(&actor->chance, 4) == 0,
                     below(&actor->chance, 8) - 1, reference, "random", bc_time_ms(), &after) == STOCK_OK) {
        (void)bc_db_commit(actor->payment->db);
    } else {
        bc_db_rollback(actor->payment->db);
    }
}

/* As if the shop had let go of an order whose payment lives on: money may come late. Marked, for the shop itself must never do that. */
static void forget_one(actor_t *actor) {
    order_t order = {.state = ORDER_AWAITING};
    cart_id_t id;
    if (!any_order(actor, ORDER_AWAITING, &id) || bc_db_begin(actor->payment->db) != BC_DB_OK) return;
    bool found = order_find(actor->payment->db, &id, &order) == ORDER_FOUND;
    bool good = found && order.state == ORDER_AWAITING && order.payment[0] != '\0' &&
                order_set_error(actor->payment->db, &order.id, FORGOTTEN) &&
                apply_ended(actor->payment->db, &order, below(&actor->chance, 3) == 0 ? ORDER_CANCELLED : ORDER_EXPIRED,
                            bc_time_ms());
    if (good) {
        (void)bc_db_commit(actor->payment->db);
    } else {
        bc_db_rollback(actor->payment->db);
    }
    if (found) order_drop(&order);
}

static void *act(void *argument) {
    actor_t *actor = argument;
    for (int i = 0; i < steps; i++) {
        switch (below(&actor->chance, 16)) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
            place_one(actor);
            break;
        case 5:
        case 6:
        case 7:
        case 8:
            pay_one(actor);
            break;
        case 9:
            end_one(actor);
            break;
        case 10:
        case 11:
            refund_one(actor);
            break;
        case 12:
            refund_there(actor);
            break;
        case 13:
            hear_webhook(actor);
            break;
        case 14:
            adjust_one(actor);
            break;
        case 15:
            forget_one(actor);
            break;
        }
    }
    return NULL;
}

/* --- faults --- */

static const char *const points[] = {"provider.create",      "provider.create-told", "provider.retrieve",
                                     "provider.cancel",      "provider.cancel-told", "provider.refund",
                                     "provider.refund-told", "provider.refunds-of",  "payment.settle",
                                     "payment.settled",      "payment.ending",       "payment.refund-told"};

static void arm_some(chance_t *chance) {
    int64_t count = below(chance, 6);
    for (int64_t i = 0; i < count; i++) {
        char path[192];
        const char *point = points[below(chance, sizeof(points) / sizeof(points[0]))];
        (void)snprintf(path, sizeof(path), "%s/%s", armed, point);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        (void)fputs(below(chance, 2) == 0 ? "kill" : "fail", file);
        (void)fclose(file);
    }
}

static void disarm(void) {
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        char path[192];
        (void)snprintf(path, sizeof(path), "%s/%s", armed, points[i]);
        (void)unlink(path); /* most were not armed */
    }
}

/* --- the two processes of a run --- */

static void begin_child(bc_config_t **config, bool faults) {
    char reason[BC_CONFIG_REASON_BYTES];
    bc_log_init("test", BC_LOG_ALERT);
    *config = make_config();
    if (!bc_service_folders(*config) || !bc_fault_init(faults ? bc_config_text(*config, BC_FAULTS) : "", reason))
        _exit(1);
}

static void disturbed(uint64_t seed) {
    bc_config_t *config = NULL;
    begin_child(&config, true);
    payment_t *payment = open_payment(config);
    start_tasks(payment);
    actor_t actors[threads];
    pthread_t running[threads];
    for (int i = 0; i < threads; i++) {
        actors[i] = (actor_t){payment, {seed * threads + (uint64_t)i + 1}};
        for (int k = 0; k < 8; k++) (void)draw(&actors[i].chance);
        if (pthread_create(&running[i], NULL, act, &actors[i]) != 0) _exit(1);
    }
    for (int i = 0; i < threads; i++) (void)pthread_join(running[i], NULL);
    close_payment(payment);
    bc_config_destroy(config);
    _exit(0);
}

/* Everything is due now, and what awaits a payment is over. */
static bool nothing_left(payment_t *payment) {
    static const char *const hurry[] = {
        "UPDATE orders SET check_ms = 1, expires_ms = 1 WHERE state = 0",
        "UPDATE refunds SET check_ms = 1 WHERE state = 0",
        "UPDATE webhooks SET next_ms = 1 WHERE state = 0",
    };
    if (bc_db_begin(payment->db) != BC_DB_OK) return false;
    for (size_t i = 0; i < 3; i++) (void)bc_run(bc_db_prepare(payment->db, hurry[i]));
    bc_statement_t *left = bc_db_prepare(
        payment->db,
        "SELECT (SELECT COUNT(*) FROM orders WHERE state = 0) + (SELECT COUNT(*) FROM refunds WHERE state = 0) "
        "+ (SELECT COUNT(*) FROM webhooks WHERE state = 0) + (SELECT COUNT(*) FROM stock WHERE dirty = 1)");
    bool done = bc_step(left) == BC_DB_ROW && bc_column_int(left, 0) == 0;
    bc_statement_done(left);
    return bc_db_commit(payment->db) == BC_DB_OK && done;
}

/* --- the books --- */

static const char *const disagreements[] = {
    "SELECT 'on hand is not the ledger''s sum', s.book FROM stock s WHERE s.on_hand <> (SELECT COALESCE(SUM(e.delta), "
    "0) "
    "FROM stock_entries e WHERE e.book = s.book)",
    "SELECT 'reserved is not what orders hold', s.book FROM stock s WHERE s.reserved <> "
    "(SELECT COALESCE(SUM(r.quantity), 0) FROM reservations r WHERE r.book = s.book)",
    "SELECT 'oversold', book FROM stock WHERE reserved < 0 OR on_hand < reserved",
    "SELECT 'held by an order that is over', hex(r.order_id) FROM reservations r JOIN orders o ON o.id = r.order_id "
    "WHERE "
    "o.state <> 0",
    "SELECT 'sold but not paid, or paid but not sold', o.number FROM orders o JOIN order_lines l ON l.order_id = o.id "
    "WHERE "
    "(SELECT COUNT(*) FROM stock_entries e WHERE e.book = l.book AND e.reason = 'sold' AND e.delta = -l.quantity AND "
    "e.reference = ord(o.id)) <> (o.state = 1)",
    "SELECT 'told of more or less than paid orders', o.number FROM orders o WHERE (SELECT COUNT(*) FROM outbox b WHERE "
    "b.type = 'order.paid' AND b.event_key = ord(o.id)) <> (o.state = 1)",
    "SELECT 'refunded too much', number FROM orders WHERE refunded_minor > refunding_minor OR refunding_minor > "
    "paid_minor",
    "SELECT 'sums are not the refunds''', o.number FROM orders o WHERE o.refunded_minor <> (SELECT "
    "COALESCE(SUM(r.amount_minor), 0) FROM refunds r WHERE r.order_ref = ord(o.id) AND r.state = 1) OR "
    "o.refunding_minor <> "
    "(SELECT COALESCE(SUM(r.amount_minor), 0) FROM refunds r WHERE r.order_ref = ord(o.id) AND r.state <> 2)",
    "SELECT 'let go of while money was coming', o.number FROM orders o JOIN refunds r ON r.order_ref = ord(o.id) WHERE "
    "r.origin = 1 AND COALESCE(o.last_error, '') <> '" FORGOTTEN "'",
    "SELECT 'an order over holds a place', number FROM orders WHERE open_user IS NOT NULL AND state <> 0",
    "SELECT 'money for an order that is over stayed', number FROM orders WHERE state IN (2, 3) AND paid_minor <> "
    "refunding_minor AND number NOT IN (SELECT o.number FROM orders o JOIN refunds r ON r.order_ref = ord(o.id) WHERE "
    "r.state "
    "= 2)",
};

static void ord(sqlite3_context *context, int count, sqlite3_value **values) {
    char text[CART_ID_CHARS + 1];
    cart_id_t id;
    (void)count;
    memcpy(id.bytes, sqlite3_value_blob(values[0]), sizeof(id.bytes));
    cart_id_format(PAYMENT_PREFIX_ORDER, &id, text);
    sqlite3_result_text(context, text, -1, SQLITE_TRANSIENT);
}

static bool books_agree(void) {
    char path[128];
    sqlite3 *db = NULL;
    bool good = true;
    (void)snprintf(path, sizeof(path), "%s/payment.db", folder);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
        sqlite3_create_function(db, "ord", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL, ord, NULL, NULL) != SQLITE_OK)
        return false;
    for (size_t i = 0; i < sizeof(disagreements) / sizeof(disagreements[0]); i++) {
        sqlite3_stmt *statement = NULL;
        int code = sqlite3_prepare_v2(db, disagreements[i], -1, &statement, NULL);
        if (code != SQLITE_OK) print_error("%s\n", sqlite3_errmsg(db));
        good = good && code == SQLITE_OK;
        while (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
            print_error("%s: %s\n", sqlite3_column_text(statement, 0), sqlite3_column_text(statement, 1));
            good = false;
        }
        (void)sqlite3_finalize(statement);
    }
    (void)sqlite3_close(db);
    return good;
}

typedef struct {
    payment_t *payment;
    const char *id; /* of the payment */
    int64_t back_minor;
    size_t count;
    bool good;
} audit_t;

static bool add_refund(void *context, const provider_refund_t *refund) {
    audit_t *audit = context;
    refund_t known;
    if (refund->state != PROVIDER_REFUND_FAILED) audit->back_minor += refund->amount_minor;
    /* One that we asked for is ours, and not a second one that we took for the provider's own. */
    bc_db_enter(audit->payment->db);
    refund_result_t found = refund_find_provider(audit->payment->db, refund->id, &known);
    bc_db_leave(audit->payment->db);
    bool ours = found == REFUND_OK && known.origin != REFUND_BY_PROVIDER;
    if (found != REFUND_OK || ours != (refund->refund[0] != '\0') || known.state != refund->state) {
        print_error("refund %s of %s: known %d, as ours %d, state %d there\n", refund->id, refund->payment,
                    found == REFUND_OK, ours, (int)refund->state);
        audit->good = false;
    }
    return true;
}

/* An order is let go of when no money can come for it any more, and has one payment: whatever else names it is canceled. */
static bool audit_unpaid(audit_t *audit, const provider_payment_t *unpaid) {
    order_t order = {.state = ORDER_AWAITING};
    cart_id_t id;
    assert_true(cart_id_parse(PAYMENT_PREFIX_ORDER, unpaid->order, strlen(unpaid->order), &id));
    bc_db_enter(audit->payment->db);
    order_found_t found = order_find(audit->payment->db, &id, &order);
    bc_db_leave(audit->payment->db);
    if (unpaid->state != PROVIDER_CANCELED && (found != ORDER_FOUND || strcmp(order.last_error, FORGOTTEN) != 0)) {
        print_error("payment %s of order %s (state %d) could still be paid\n", unpaid->id, order.number,
                    (int)order.state);
        audit->good = false;
    }
    order_drop(&order);
    return true;
}

/* What the provider took is a paid order's, or went back: the same sums in both books. */
static bool audit_payment(void *context, const provider_payment_t *paid) {
    audit_t *audit = context;
    provider_limit_t limit = payment_limit(audit->payment);
    order_t order = {.state = ORDER_AWAITING};
    audit->count++;
    if (paid->state != PROVIDER_SUCCEEDED) return audit_unpaid(audit, paid);
    bc_db_enter(audit->payment->db);
    order_found_t found = order_find_payment(audit->payment->db, paid->id, &order);
    bc_db_leave(audit->payment->db);
    audit_t one = {.payment = audit->payment, .good = true};
    bool asked =
        payment_provider_refunds_of(audit->payment->provider, paid->id, &limit, add_refund, &one) == PROVIDER_OK;
    bool good = asked && one.good && found == ORDER_FOUND && order.paid_minor == paid->received_minor &&
                order.refunding_minor == one.back_minor && one.back_minor <= paid->received_minor;
    if (!good) {
        print_error("payment %s: order %s (state %d) paid %lld of %lld, refunding %lld, there %lld\n", paid->id,
                    order.number, (int)order.state, (long long)order.paid_minor, (long long)paid->received_minor,
                    (long long)order.refunding_minor, (long long)one.back_minor);
        audit->good = false;
    }
    order_drop(&order);
    return true;
}

/* The sandbox settles by itself what banks settle later. */
static bool provider_is_calm(void) {
    char path[128];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    (void)snprintf(path, sizeof(path), "%s/sandbox.db", folder);
    bool calm = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
                sqlite3_prepare_v2(db,
                                   "SELECT (SELECT COUNT(*) FROM refunds WHERE settle_ms > 0) + "
                                   "(SELECT COUNT(*) FROM payments WHERE settle_ms > 0)",
                                   -1, &statement, NULL) == SQLITE_OK &&
                sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_int64(statement, 0) == 0;
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
    return calm;
}

static void recovering(void) {
    bc_config_t *config = NULL;
    begin_child(&config, false);
    payment_t *payment = open_payment(config);
    /* Whatever was committed agrees, also in the middle of it all, and before anything puts it right. */
    if (!books_agree()) _exit(exit_disagree);
    start_tasks(payment);
    int64_t until_ms = bc_monotonic_ms() + settle_ms;
    while (!nothing_left(payment)) {
        if (bc_monotonic_ms() > until_ms) _exit(exit_unsettled);
        bc_task_wake(payment->keeper);
        bc_task_wake(payment->announcer);
        (void)usleep(1000);
    }
    /* No webhook arrives, so what happened at the provider (a refund made there, one that came back) is found by sweeps, once it has
     * happened; a late refund that a sweep led to may come back in turn. A keeper that has just started begins with a sweep. */
    for (int i = 0; i < sweeps; i++) {
        while (!provider_is_calm()) {
            if (bc_monotonic_ms() > until_ms) _exit(exit_unsettled);
            (void)usleep(1000);
        }
        bc_task_destroy(payment->keeper);
        payment->swept_ms = 0;
        payment->keeper = bc_task_create("keeper", payment_keeper_step, payment);
        while (*(volatile int64_t *)&payment->swept_ms == 0 || !nothing_left(payment)) {
            if (bc_monotonic_ms() > until_ms) _exit(exit_unsettled);
            bc_task_wake(payment->keeper);
            bc_task_wake(payment->announcer);
            (void)usleep(1000);
        }
    }
    audit_t audit = {.payment = payment, .good = true};
    provider_limit_t limit = payment_limit(payment);
    bool agreed = books_agree() &&
                  payment_provider_payments_since(payment->provider, 0, &limit, audit_payment, &audit) == PROVIDER_OK;
    close_payment(payment);
    bc_config_destroy(config);
    _exit(agreed && audit.good ? 0 : exit_disagree);
}

/* --- the runs --- */

static int remove_entry(const char *path, const struct stat *found, int kind, struct FTW *walk) {
    (void)found;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void new_store(void) {
    bc_config_t *config = NULL;
    (void)nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS); /* the first time it is not there */
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(mkdir(armed, 0700), 0);
    pid_t child = fork();
    if (child == 0) {
        begin_child(&config, false);
        payment_t *payment = open_payment(config);
        if (bc_db_begin(payment->db) != BC_DB_OK) _exit(1);
        for (int64_t book = 1; book <= books; book++) {
            /* Two are scarce, so that buyers race; of the others there is something to sell for many runs. */
            if (!stock_open(payment->db, book, book <= 2 ? 3 : 400, 1)) _exit(1);
        }
        _exit(bc_db_commit(payment->db) == BC_DB_OK ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void whatever_happens_the_books_agree(void **state) {
    const char *seed_text = getenv("BOOKCART_TEST_SEED"), *runs_text = getenv("BOOKCART_TEST_RUNS");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 10) : (uint64_t)bc_time_ms();
    int runs = runs_text != NULL ? (int)strtol(runs_text, NULL, 10) : runs_default, killed = 0;
    (void)state;
    print_message("BOOKCART_TEST_SEED=%llu, %d runs\n", (unsigned long long)seed, runs);
    for (int run = 0; run < runs; run++) {
        int status = 0;
        chance_t chance = {seed + (uint64_t)run * 7919 + 1};
        for (int i = 0; i < 8; i++) (void)draw(&chance);
        if (run % runs_a_store == 0) new_store();
        arm_some(&chance);
        pid_t child = fork();
        if (child == 0) disturbed(seed + (uint64_t)run);
        assert_int_equal(waitpid(child, &status, 0), child);
        bool died = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        if (!died && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
            fail_msg("run %d of BOOKCART_TEST_SEED=%llu: ended with %x", run, (unsigned long long)seed, status);
        killed += died;
        disarm();
        child = fork();
        if (child == 0) recovering();
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("run %d of BOOKCART_TEST_SEED=%llu: %s (%x), kept in %s", run, (unsigned long long)seed,
                     WIFEXITED(status) && WEXITSTATUS(status) == exit_unsettled ? "something is still in doubt"
                                                                                : "the books do not agree",
                     status, folder);
    }
    print_message("%d runs, %d of them killed in the middle: nothing oversold, paid twice, refunded too much or off\n",
                  runs, killed);
    (void)nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS); /* a leftover is harmless */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_happens_the_books_agree)};
    struct stat found;
    bool memory = stat("/dev/shm", &found) == 0 && access("/dev/shm", W_OK) == 0;
    /* Killed processes, not lost power: what is synced does not matter here, so the disk is spared. */
    (void)snprintf(folder, sizeof(folder), "%s/bookcart-random-%d", memory ? "/dev/shm" : "/tmp", (int)getpid());
    (void)snprintf(armed, sizeof(armed), "%s/armed", folder);
    bc_log_init("test", BC_LOG_ALERT);
    if (!bc_random_init() || !bc_client_init()) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
