/*
 * Money that nobody waits for, step by step, on the real store file and the real sandbox: an order that is over is filled after all when its
 * copies are still there, else its money goes back; a second payment of one order goes back; and a payment of nobody is left alone. And money
 * that comes back: a refund that failed after it had succeeded is found when it is looked at again. And tries that are repeated when the
 * provider has forgotten their key make nothing twice. No webhook arrives in any of these.
 */
#include "platform/bc_config.h"
#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_service.h"
#include "platform/bc_time.h"
#include "services/payment/payment_apply.h"
#include "services/payment/payment_place.h"
#include "services/payment/payment_refund.h"
#include "services/payment/payment_sandbox.h"
#include "services/payment/payment_sandbox_store.h"
#include "services/payment/payment_settle.h"
#include "services/payment/payment_store_stock.h"
#include "services/payment/payment_watch.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { book = 7, copies = 3, plentiful = 8, price = 1500 };

static char folder[64];
static bc_config_t *config;
static payment_t payment;
static provider_limit_t limit = {.timeout_ms = 2000};

static int remove_entry(const char *path, const struct stat *found, int kind, struct FTW *walk) {
    (void)found;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int open_all(void **state) {
    static const volatile bool never = false;
    char text[256], path[128], reason[BC_CONFIG_REASON_BYTES];
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-late-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    config = bc_config_create();
    (void)snprintf(text, sizeof(text),
                   "BOOKCART_DATA = %s\nBOOKCART_SANDBOX_WEBHOOKS = lost\nBOOKCART_SANDBOX_SETTLE = 0\n", folder);
    if (config == NULL || !bc_config_read_text(config, "test", text, strlen(text), reason) ||
        !bc_config_finish(config, reason) || !bc_service_folders(config))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/payment.db", folder);
    payment = (payment_t){.config = config, .service_key = "key", .stopping = &never};
    if (bc_db_open(path, payment_migrations, &payment.db) != BC_DB_OK) return -1;
    payment.provider = payment_provider_open(config);
    if (payment.provider == NULL || bc_db_begin(payment.db) != BC_DB_OK) return -1;
    bool opened = stock_open(payment.db, book, copies, 1) && stock_open(payment.db, plentiful, 100, 1);
    return bc_db_commit(payment.db) == BC_DB_OK && opened ? 0 : -1;
}

static int close_all(void **state) {
    (void)state;
    payment_provider_destroy(payment.provider);
    bc_db_close(payment.db);
    bc_config_destroy(config);
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static order_t read_order(const cart_id_t *id) {
    order_t order;
    bc_db_enter(payment.db);
    assert_int_equal(order_find(payment.db, id, &order), ORDER_FOUND);
    bc_db_leave(payment.db);
    order_drop(&order); /* its numbers are looked at, not its JSON */
    return order;
}

static stock_t read_stock(void) {
    stock_t stock;
    bc_db_enter(payment.db);
    assert_int_equal(stock_find(payment.db, book, &stock), STOCK_OK);
    bc_db_leave(payment.db);
    return stock;
}

static int64_t count(const char *sql) {
    bc_db_enter(payment.db);
    bc_statement_t *statement = bc_db_prepare(payment.db, sql);
    assert_int_equal(bc_step(statement), BC_DB_ROW);
    int64_t number = bc_column_int(statement, 0);
    bc_statement_done(statement);
    bc_db_leave(payment.db);
    return number;
}

/* An open order of `quantity` copies, of which the provider was not told. */
static cart_id_t write_order(int of, int quantity) {
    char lines[64];
    int64_t now_ms = bc_time_ms();
    (void)snprintf(lines, sizeof(lines), "[{\"book\":%d,\"quantity\":%d}]", of, quantity);
    order_t order = {.id = bc_random_id(),
                     .user = bc_random_id(),
                     .test = true,
                     .provider = "sandbox",
                     .email = "ann@mail.example",
                     .country = "BG",
                     .currency = "EUR",
                     .shipping_method = "standard",
                     .total_minor = price * quantity,
                     .created_ms = now_ms,
                     .expires_ms = now_ms + 60000,
                     .check_ms = now_ms + 60000,
                     .lines = json_loads(lines, 0, NULL),
                     .shipping = json_pack("{s:s}", "country", "BG")};
    assert_int_equal(payment_place(&payment, &order, lines, 1), PLACED);
    order_drop(&order);
    return order.id;
}

static cart_id_t place_of(int of, int quantity) {
    cart_id_t id = write_order(of, quantity);
    assert_int_equal(payment_settle_create(&payment, &id, &limit), SETTLE_OK);
    return id;
}

static cart_id_t place(int quantity) {
    return place_of(book, quantity);
}

/* The shop lets go of the order; the provider does not hear of it. */
static void let_go(const cart_id_t *id, order_state_t as) {
    order_t order;
    assert_int_equal(bc_db_begin(payment.db), BC_DB_OK);
    assert_int_equal(order_find(payment.db, id, &order), ORDER_FOUND);
    assert_true(apply_ended(payment.db, &order, as, bc_time_ms()));
    order_drop(&order);
    assert_int_equal(bc_db_commit(payment.db), BC_DB_OK);
}

static void pay_by(const char *id, const char *method) {
    provider_payment_t paid;
    assert_int_equal(sandbox_confirm(payment.provider, id, method, &paid), SANDBOX_OK);
    assert_int_equal(payment_settle(&payment, id, &limit), SETTLE_OK);
    assert_int_equal(payment_settle(&payment, id, &limit), SETTLE_OK); /* told twice is told once */
}

static void pay(const char *id) {
    pay_by(id, "pm_card_visa");
}

static void tell_refunds(void) {
    refund_t due[4];
    bc_db_enter(payment.db);
    size_t found = refund_due(payment.db, INT64_MAX, due, 4);
    bc_db_leave(payment.db);
    for (size_t i = 0; i < found; i++) assert_int_equal(payment_settle_refund(&payment, &due[i].id, &limit), SETTLE_OK);
}

static void an_expired_order_is_filled_when_its_copies_are_there(void **state) {
    (void)state;
    cart_id_t id = place(2);
    let_go(&id, ORDER_EXPIRED);
    assert_int_equal(read_stock().reserved, 0);
    pay(read_order(&id).payment);
    assert_int_equal(read_order(&id).state, ORDER_PAID);
    assert_int_equal(read_stock().on_hand, copies - 2);
    assert_int_equal(read_stock().reserved, 0);
    assert_int_equal(count("SELECT COUNT(*) FROM outbox WHERE type = 'order.paid'"), 1);
    assert_int_equal(count("SELECT COUNT(*) FROM refunds"), 0);
}

static void its_money_goes_back_when_they_are_not(void **state) {
    (void)state;
    cart_id_t late = place(2);
    let_go(&late, ORDER_EXPIRED);
    cart_id_t other = place(2);
    pay(read_order(&late).payment);
    assert_int_equal(read_order(&late).state, ORDER_EXPIRED);
    assert_int_equal(read_order(&late).refunding_minor, 2 * price);
    assert_int_equal(count("SELECT COUNT(*) FROM refunds"), 1); /* told of it twice */
    tell_refunds();
    assert_int_equal(read_order(&late).refunded_minor, 2 * price);
    assert_int_equal(count("SELECT COUNT(*) FROM mails WHERE kind = 'late-refunded'"), 1);
    assert_int_equal(read_stock().on_hand, copies);
    pay(read_order(&other).payment);
    assert_int_equal(read_order(&other).state, ORDER_PAID);
}

static void who_cancelled_gets_his_money_back(void **state) {
    (void)state;
    cart_id_t id = place(1);
    let_go(&id, ORDER_CANCELLED);
    pay(read_order(&id).payment);
    assert_int_equal(read_order(&id).state, ORDER_CANCELLED);
    tell_refunds();
    assert_int_equal(read_order(&id).refunded_minor, price);
    assert_int_equal(read_stock().on_hand, copies);
}

/* A payment that names an order which has another one: nobody waits for its money. */
static void a_second_payment_of_an_order_goes_back(void **state) {
    (void)state;
    cart_id_t id = place(1);
    order_t order = read_order(&id);
    assert_int_equal(bc_db_begin(payment.db), BC_DB_OK);
    bc_statement_t *statement = bc_db_prepare(payment.db, "UPDATE orders SET payment_id = 'pi_another' WHERE id = ?1");
    bc_bind_id(statement, 1, &id);
    assert_int_equal(bc_run(statement), BC_DB_DONE);
    assert_int_equal(bc_db_commit(payment.db), BC_DB_OK);
    pay(order.payment);
    assert_int_equal(read_order(&id).state, ORDER_AWAITING);
    assert_int_equal(count("SELECT COUNT(*) FROM refunds WHERE origin = 3"), 1); /* told of it twice */
    tell_refunds();
    assert_int_equal(count("SELECT amount_minor FROM refunds WHERE state = 1"), price);
    assert_int_equal(read_stock().reserved, 1); /* the order is still open to its own payment */
}

static void a_payment_of_nobody_is_left_alone_until_the_store_was_restored(void **state) {
    (void)state;
    provider_payment_t stray;
    char name[CART_ID_CHARS + 1];
    cart_id_t nobody = bc_random_id();
    cart_id_format(PAYMENT_PREFIX_ORDER, &nobody, name);
    const provider_create_t asked = {.key = name, .number = "1", .amount_minor = price, .currency = "EUR"};
    assert_int_equal(payment_provider_create(payment.provider, &asked, &limit, &stray), PROVIDER_OK);
    pay(stray.id);
    assert_int_equal(count("SELECT COUNT(*) FROM refunds"), 0);
    assert_int_equal(payment_settle_lost(&payment, stray.id, &limit), SETTLE_OK);
    assert_int_equal(payment_settle_lost(&payment, stray.id, &limit), SETTLE_OK);
    assert_int_equal(count("SELECT COUNT(*) FROM refunds"), 1);
    tell_refunds();
    assert_int_equal(count("SELECT state FROM refunds"), PROVIDER_REFUND_SUCCEEDED);
    assert_int_equal(count("SELECT amount_minor FROM refunds"), price);
}

/* --- money that comes back --- */

static void change(const char *sql) {
    assert_int_equal(bc_db_begin(payment.db), BC_DB_OK);
    assert_int_equal(bc_run(bc_db_prepare(payment.db, sql)), BC_DB_DONE);
    assert_int_equal(bc_db_commit(payment.db), BC_DB_OK);
}

/* Written down; the provider was not told. */
static cart_id_t ask_back(const cart_id_t *order, const char *key, int64_t amount_minor) {
    static const uint8_t digest[REFUND_DIGEST] = {1};
    char none[] = "[]";
    refund_t refund;
    refund_ask_t asked = {.payment = &payment,
                          .order = *order,
                          .once_key = key,
                          .digest = digest,
                          .amount_minor = amount_minor,
                          .reason = "damaged",
                          .restock = none};
    cart_id_format(PAYMENT_PREFIX_ORDER, order, asked.order_text);
    assert_int_equal(payment_refund_ask(&asked, &refund), ASK_OK);
    return refund.id;
}

static void give_back(const cart_id_t *order, const char *key, int64_t amount_minor) {
    cart_id_t refund = ask_back(order, key, amount_minor);
    assert_int_equal(payment_settle_refund(&payment, &refund, &limit), SETTLE_OK);
}

static cart_id_t buy_and_give_back(const char *method) {
    cart_id_t id = place_of(plentiful, 1);
    pay_by(read_order(&id).payment, method);
    give_back(&id, "key", price);
    assert_int_equal(read_order(&id).refunded_minor, price);
    return id;
}

static bool keep_refund(void *context, const provider_refund_t *refund) {
    *(provider_refund_t *)context = *refund;
    return true;
}

static bool see_failed(void *context, const provider_refund_t *refund) {
    *(bool *)context = refund->state == PROVIDER_REFUND_FAILED;
    return true;
}

static void wait_failed_there(const char *id) {
    bool failed = false;
    for (int64_t end = bc_monotonic_ms() + 20000; !failed && bc_monotonic_ms() < end; (void)usleep(1000))
        assert_int_equal(payment_provider_refunds_of(payment.provider, id, &limit, see_failed, &failed), PROVIDER_OK);
    assert_true(failed);
}

static void a_refund_that_came_back_is_found_at_its_next_look(void **state) {
    (void)state;
    cart_id_t came_back = buy_and_give_back("pm_card_refundFail"), stayed = buy_and_give_back("pm_card_visa");
    wait_failed_there(read_order(&came_back).payment);
    assert_true(payment_watch_round(&payment, &limit)); /* not before its time: a day after it had succeeded */
    assert_int_equal(count("SELECT COUNT(*) FROM refunds WHERE state = 1"), 2);
    change("UPDATE refunds SET check_ms = 1");
    assert_true(payment_watch_round(&payment, &limit));
    assert_int_equal(count("SELECT COUNT(*) FROM refunds WHERE state = 2"), 1);
    assert_int_equal(read_order(&came_back).refunded_minor, 0);
    assert_int_equal(read_order(&came_back).refunding_minor, 0); /* free to be given back in another way */
    assert_int_equal(read_order(&stayed).refunded_minor, price);
    assert_int_equal(count("SELECT COUNT(*) FROM refunds WHERE state = 1 AND check_ms <= 1"), 0);
}

static void a_round_costs_the_same_however_many_there_are(void **state) {
    enum { statements = 4, more = 4 };
    (void)state;
    cart_id_t first = place_of(plentiful, 1);
    pay(read_order(&first).payment);
    give_back(&first, "one", 1);
    give_back(&first, "two", 1); /* two of one payment are one question */
    for (int i = 2; i < WATCH_BATCH + more; i++) (void)buy_and_give_back("pm_card_visa");
    change("UPDATE refunds SET check_ms = created_ms");
    /* The sandbox answers each question with one statement of its own. */
    const int questions[] = {WATCH_BATCH - 1, more};
    for (size_t i = 0; i < 2; i++) {
        bc_db_count_reset();
        assert_true(payment_watch_round(&payment, &limit));
        assert_int_equal(bc_db_count(), statements + questions[i]);
    }
    assert_int_equal(count("SELECT COUNT(*) FROM refunds WHERE check_ms = created_ms"), 0);
    bc_db_count_reset();
    assert_true(payment_watch_round(&payment, &limit));
    assert_int_equal(bc_db_count(), 1); /* nothing is due */
}

static void what_is_too_old_is_not_looked_at_any_more(void **state) {
    char reason[BC_CONFIG_REASON_BYTES];
    (void)state;
    (void)buy_and_give_back("pm_card_visa");
    change("UPDATE refunds SET check_ms = 1, created_ms = created_ms - 36 * 86400000");
    assert_true(bc_fault_init("provider.refunds-of=fail@*", reason)); /* would be heard of if it were asked */
    assert_true(payment_watch_round(&payment, &limit));
    assert_true(bc_fault_init("", reason));
    assert_int_equal(count("SELECT check_ms FROM refunds"), REFUND_WATCH_OVER);
}

static void an_away_provider_delays_only_what_it_was_asked(void **state) {
    char reason[BC_CONFIG_REASON_BYTES];
    (void)state;
    (void)buy_and_give_back("pm_card_visa");
    (void)buy_and_give_back("pm_card_visa");
    change("UPDATE refunds SET check_ms = 1");
    assert_true(bc_fault_init("provider.refunds-of=fail", reason)); /* the first of the two */
    assert_false(payment_watch_round(&payment, &limit));
    assert_true(bc_fault_init("", reason));
    int64_t soon_ms = bc_time_ms() + WATCH_AWAY_MS;
    bc_db_enter(payment.db);
    bc_statement_t *statement =
        bc_db_prepare(payment.db, "SELECT SUM(check_ms <= ?1), SUM(check_ms > ?1), MIN(check_ms) > 1 FROM refunds");
    bc_bind_int(statement, 1, soon_ms);
    assert_int_equal(bc_step(statement), BC_DB_ROW);
    for (int i = 0; i < 3; i++) assert_int_equal(bc_column_int(statement, i), 1);
    bc_statement_done(statement);
    bc_db_leave(payment.db);
}

/* --- keys that were forgotten --- */

static void move_back(bc_db_t *db, const char *sql, int hours) {
    bc_statement_t *statement = bc_db_prepare(db, sql);
    bc_bind_int(statement, 1, hours * INT64_C(3600000));
    assert_int_equal(bc_run(statement), BC_DB_DONE);
}

/* `hours` go by in which the provider is up, and more in the eyes of its keys: it forgets those that are older than a day. */
static void let_time_pass(int hours, int key_hours) {
    char path[128];
    bc_db_t *sandbox = NULL;
    payment_provider_destroy(payment.provider);
    (void)snprintf(path, sizeof(path), "%s/sandbox.db", folder);
    assert_int_equal(bc_db_open(path, sandbox_migrations, &sandbox), BC_DB_OK);
    assert_int_equal(bc_db_begin(sandbox), BC_DB_OK);
    move_back(sandbox, "UPDATE payments SET created_ms = created_ms - ?", hours);
    move_back(sandbox, "UPDATE refunds SET created_ms = created_ms - ?", hours);
    move_back(sandbox, "UPDATE request_keys SET created_ms = created_ms - ?", key_hours);
    sandbox_tidy(sandbox, bc_time_ms());
    assert_int_equal(bc_db_commit(sandbox), BC_DB_OK);
    bc_db_close(sandbox);
    payment.provider = payment_provider_open(config);
    assert_non_null(payment.provider);
    assert_int_equal(bc_db_begin(payment.db), BC_DB_OK);
    move_back(payment.db, "UPDATE orders SET created_ms = created_ms - ?", hours);
    move_back(payment.db, "UPDATE refunds SET created_ms = created_ms - ?", hours);
    assert_int_equal(bc_db_commit(payment.db), BC_DB_OK);
}

static void with_fault(const char *fault) {
    char reason[BC_CONFIG_REASON_BYTES];
    assert_true(bc_fault_init(fault, reason));
}

static bool count_refund(void *context, const provider_refund_t *refund) {
    assert_int_equal(refund->amount_minor, 100);
    ++*(int *)context;
    return true;
}

static int refunds_there(const cart_id_t *order) {
    int found = 0;
    assert_int_equal(
        payment_provider_refunds_of(payment.provider, read_order(order).payment, &limit, count_refund, &found),
        PROVIDER_OK);
    return found;
}

/* For each: heard or not at the first try, and hours later. */
static void a_refund_repeated_after_its_key_was_forgotten_is_made_once(void **state) {
    static const struct {
        const char *fault;
        int hours, there;
    } cases[] = {
        {"provider.refund-told=fail", 25, 1}, /* heard; the key is forgotten */
        {"provider.refund-told=fail", 22, 1}, /* heard; the key repeats it */
        {"provider.refund=fail", 25, 0},      /* not heard */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cart_id_t order = place(3);
        pay(read_order(&order).payment);
        cart_id_t refund = ask_back(&order, "key", 100);
        with_fault(cases[i].fault);
        assert_int_equal(payment_settle_refund(&payment, &refund, &limit), SETTLE_AWAY);
        with_fault("");
        assert_int_equal(refunds_there(&order), cases[i].there);
        let_time_pass(cases[i].hours, cases[i].hours);
        if (cases[i].hours > 23) { /* not asked for while it is not known whether it was made */
            with_fault("provider.find=fail");
            assert_int_equal(payment_settle_refund(&payment, &refund, &limit), SETTLE_AWAY);
            with_fault("");
            assert_int_equal(refunds_there(&order), cases[i].there);
        }
        assert_int_equal(payment_settle_refund(&payment, &refund, &limit), SETTLE_OK);
        assert_int_equal(refunds_there(&order), 1);
        assert_int_equal(read_order(&order).refunded_minor, 100);
        assert_int_equal(read_order(&order).refunding_minor, 100);
        assert_int_equal(close_all(state), 0);
        assert_int_equal(open_all(state), 0);
    }
}

static bool count_payment(void *context, const provider_payment_t *seen) {
    (void)seen;
    ++*(int *)context;
    return true;
}

static int payments_there(void) {
    int found = 0;
    assert_int_equal(payment_provider_payments_since(payment.provider, 0, &limit, count_payment, &found), PROVIDER_OK);
    return found;
}

static void a_payment_repeated_after_its_key_was_forgotten_is_made_once(void **state) {
    static const struct {
        const char *fault;
        int hours, there;
    } cases[] = {
        {"provider.create-told=fail", 25, 1},
        {"provider.create-told=fail", 22, 1},
        {"provider.create=fail", 25, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        with_fault(cases[i].fault);
        cart_id_t id = write_order(book, 1);
        assert_int_equal(payment_settle_create(&payment, &id, &limit), SETTLE_AWAY);
        with_fault("");
        assert_int_equal(payments_there(), cases[i].there);
        let_time_pass(cases[i].hours, cases[i].hours);
        assert_int_equal(payment_settle_create(&payment, &id, &limit), SETTLE_OK);
        assert_int_equal(payments_there(), 1);
        pay(read_order(&id).payment);
        assert_int_equal(read_order(&id).state, ORDER_PAID);
        assert_int_equal(close_all(state), 0);
        assert_int_equal(open_all(state), 0);
    }
}

/* It was all that was left of the payment, and its answer was lost. The provider refuses another: that one is told by its list. */
static void a_refund_that_is_refused_may_have_been_made(void **state) {
    (void)state;
    cart_id_t order = place(1);
    pay(read_order(&order).payment);
    cart_id_t refund = ask_back(&order, "key", price);
    with_fault("provider.refund-told=fail");
    assert_int_equal(payment_settle_refund(&payment, &refund, &limit), SETTLE_AWAY);
    with_fault("");
    let_time_pass(1, 25);
    assert_int_equal(payment_settle_refund(&payment, &refund, &limit), SETTLE_OK);
    assert_int_equal(count("SELECT state FROM refunds"), PROVIDER_REFUND_SUCCEEDED);
    assert_int_equal(read_order(&order).refunded_minor, price);
}

/* Two threads may hold answers of different age. */
static void an_older_answer_changes_nothing(void **state) {
    static const struct {
        provider_refund_state_t newer, older;
    } cases[] = {{PROVIDER_REFUND_FAILED, PROVIDER_REFUND_SUCCEEDED},
                 {PROVIDER_REFUND_FAILED, PROVIDER_REFUND_PENDING},
                 {PROVIDER_REFUND_SUCCEEDED, PROVIDER_REFUND_PENDING}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cart_id_t id = buy_and_give_back("pm_card_visa");
        const provider_refund_state_t answers[] = {cases[i].newer, cases[i].older};
        provider_refund_t shown;
        assert_int_equal(
            payment_provider_refunds_of(payment.provider, read_order(&id).payment, &limit, keep_refund, &shown),
            PROVIDER_OK);
        for (size_t k = 0; k < 2; k++) {
            order_t order;
            shown.state = answers[k];
            assert_int_equal(bc_db_begin(payment.db), BC_DB_OK);
            assert_int_equal(order_find(payment.db, &id, &order), ORDER_FOUND);
            assert_true(apply_refund(payment.db, &order, &shown, bc_time_ms()));
            order_drop(&order);
            assert_int_equal(bc_db_commit(payment.db), BC_DB_OK);
        }
        assert_int_equal(count("SELECT state FROM refunds"), cases[i].newer);
        assert_int_equal(read_order(&id).refunded_minor, cases[i].newer == PROVIDER_REFUND_SUCCEEDED ? price : 0);
        assert_int_equal(close_all(state), 0);
        assert_int_equal(open_all(state), 0);
    }
}

int main(void) {
#define EACH(test) cmocka_unit_test_setup_teardown(test, open_all, close_all)
    const struct CMUnitTest tests[] = {
        EACH(an_expired_order_is_filled_when_its_copies_are_there),
        EACH(its_money_goes_back_when_they_are_not),
        EACH(who_cancelled_gets_his_money_back),
        EACH(a_second_payment_of_an_order_goes_back),
        EACH(a_payment_of_nobody_is_left_alone_until_the_store_was_restored),
        EACH(a_refund_that_came_back_is_found_at_its_next_look),
        EACH(a_round_costs_the_same_however_many_there_are),
        EACH(what_is_too_old_is_not_looked_at_any_more),
        EACH(an_away_provider_delays_only_what_it_was_asked),
        EACH(a_refund_repeated_after_its_key_was_forgotten_is_made_once),
        EACH(a_payment_repeated_after_its_key_was_forgotten_is_made_once),
        EACH(a_refund_that_is_refused_may_have_been_made),
        EACH(an_older_answer_changes_nothing),
    };
#undef EACH
    bc_log_init("test", BC_LOG_ALERT);
    if (!bc_random_init()) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
