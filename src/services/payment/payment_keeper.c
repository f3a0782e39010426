/*
 * The service's own thread: what nobody waits for. It applies webhooks, looks after open orders (ends those whose time is up, asks about
 * those of which nothing was heard), tells the provider of refunds, and now and then reads the provider's lists for what no webhook told.
 *
 * Every item carries its next time in its row (check_ms, next_ms), so a restart forgets nothing and a failing item delays only itself.
 * Items that end with an away provider wait BOOKCART_PAYMENT_RECONCILE, then twice as long each time, up to 32 times that; after
 * AWAY_MAX of them in a row the round is over.
 *
 * In doubt, and found again by               within
 *   order without a payment (died before or     the order's next check, or its expiry
 *     behind the provider's create)
 *   payment that nobody told us of              the order's next check: reconcile × 1, 2, 4, …
 *   cancel half done                            reconcile × 1 after it was asked for
 *   expiry half done                            the order's next check
 *   refund not told, or its answer lost         the refund's next check
 *   refund made at the provider, untold         the next sweep: reconcile × 20
 *   refund that came back, untold               a day, for 35 days (payment_watch.h)
 *   whatever a restored store lost              the first sweep after its start, from the cut on
 */
#include "platform/bc_fault.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_time.h"
#include "services/payment/payment_settle.h"
#include "services/payment/payment_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH          32
#define AWAY_MAX       3
#define DOUBLINGS_MAX  5
#define WEBHOOK_TRIES  8
#define WAIT_MAX_MS    60000
#define TIDY_MS        3600000
#define SWEEP_ROUNDS   20
#define SWEEP_MARGIN_S 3600 /* clocks apart, and payments that were made long before they were paid */
#define RESTORED_MAX   4096 /* bytes of DATA/restored.json */

typedef struct {
    payment_t *payment;
    bc_task_t *task;
    provider_limit_t limit;
    int away; /* items in a row that the provider did not answer */
} round_t;

static bool goes_on(const round_t *round) {
    return round->away < AWAY_MAX && !bc_task_stopping(round->task);
}

static void count(round_t *round, bool away) {
    round->away = away ? round->away + 1 : 0;
}

static int64_t step_ms(const payment_t *payment, int64_t tries) {
    int64_t base_ms = bc_config_number(payment->config, BC_PAYMENT_RECONCILE);
    return base_ms << (tries > DOUBLINGS_MAX ? DOUBLINGS_MAX : tries);
}

/* --- webhooks --- */

static void note_webhook(payment_t *payment, const webhook_t *webhook, settle_result_t result) {
    if (result == SETTLE_OK) return; /* noted with what it changed */
    webhook_state_t state = WEBHOOK_WAITS;
    if (result == SETTLE_REFUSED && webhook->tries + 1 >= WEBHOOK_TRIES) {
        state = WEBHOOK_FAILED;
        bc_log(BC_LOG_ERROR, "webhook-not-applied", bc_f_text("event_id", webhook->id));
    }
    if (bc_db_begin(payment->db) != BC_DB_OK) return; /* again in the next round */
    if (webhook_later(payment->db, webhook->id, state, bc_time_ms() + step_ms(payment, webhook->tries))) {
        (void)bc_db_commit(payment->db); /* as above */
    } else {
        bc_db_rollback(payment->db);
    }
}

static void apply_webhooks(round_t *round) {
    webhook_t *due = calloc(BATCH, sizeof(*due));
    if (due == NULL) return;
    bc_db_enter(round->payment->db);
    size_t count_due = webhook_due(round->payment->db, bc_time_ms(), due, BATCH);
    bc_db_leave(round->payment->db);
    for (size_t i = 0; i < count_due && goes_on(round); i++) {
        bool done = false;
        for (size_t k = 0; k < i; k++) done = done || strcmp(due[k].payment, due[i].payment) == 0;
        if (done) continue; /* several of one payment were applied at once, or wait as the first does */
        settle_result_t result = payment_settle(round->payment, due[i].payment, &round->limit);
        note_webhook(round->payment, &due[i], result);
        count(round, result == SETTLE_AWAY);
    }
    free(due);
}

/* --- orders --- */

/* When an open order is looked at next: never behind its expiry while that lies ahead. */
static void note_order(payment_t *payment, const order_t *order) {
    int64_t now_ms = bc_time_ms(), next_ms = now_ms + step_ms(payment, order->tries);
    if (order->expires_ms > now_ms && next_ms > order->expires_ms) next_ms = order->expires_ms;
    if (bc_db_begin(payment->db) != BC_DB_OK) return;                          /* again in the next round */
    (void)order_set_check(payment->db, &order->id, next_ms, order->tries + 1); /* over: nothing to note */
    (void)bc_db_commit(payment->db);                                           /* as above */
}

static void keep_order(round_t *round, const order_t *order) {
    payment_t *payment = round->payment;
    bool away = false;
    if (order->ending || order->expires_ms <= bc_time_ms()) {
        order_state_t as = order->ending ? ORDER_CANCELLED : ORDER_EXPIRED;
        away = payment_settle_end(payment, &order->id, as, &round->limit) == END_AWAY;
    } else if (order->payment[0] == '\0') {
        away = payment_settle_create(payment, &order->id, &round->limit) == SETTLE_AWAY;
    } else {
        away = payment_settle(payment, order->payment, &round->limit) == SETTLE_AWAY;
    }
    note_order(payment, order);
    count(round, away);
}

static void keep_orders(round_t *round) {
    cart_id_t due[BATCH];
    bc_db_enter(round->payment->db);
    size_t count_due = order_due(round->payment->db, bc_time_ms(), due, BATCH);
    bc_db_leave(round->payment->db);
    for (size_t i = 0; i < count_due && goes_on(round); i++) {
        order_t order;
        bc_db_enter(round->payment->db);
        order_found_t found = order_find(round->payment->db, &due[i], &order);
        bc_db_leave(round->payment->db);
        if (found != ORDER_FOUND) continue;
        if (order.state == ORDER_AWAITING) keep_order(round, &order);
        order_drop(&order);
    }
}

/* --- refunds --- */

static void keep_refunds(round_t *round) {
    payment_t *payment = round->payment;
    refund_t *due = calloc(BATCH, sizeof(*due));
    if (due == NULL) return;
    bc_db_enter(payment->db);
    size_t count_due = refund_due(payment->db, bc_time_ms(), due, BATCH);
    bc_db_leave(payment->db);
    for (size_t i = 0; i < count_due && goes_on(round); i++) {
        settle_result_t result = due[i].provider_id[0] == '\0'
                                     ? payment_settle_refund(payment, &due[i].id, &round->limit)
                                     : payment_settle(payment, due[i].payment, &round->limit);
        count(round, result == SETTLE_AWAY);
        if (bc_db_begin(payment->db) != BC_DB_OK) continue; /* again in the next round */
        if (refund_set_check(payment->db, &due[i].id, bc_time_ms() + step_ms(payment, due[i].tries),
                             due[i].tries + 1)) {
            (void)bc_db_commit(payment->db); /* as above */
        } else {
            bc_db_rollback(payment->db);
        }
    }
    free(due);
}

/* --- sweeps --- */

typedef struct {
    payment_t *payment;
    bool restored;
    char (*ids)[PROVIDER_ID_MAX + 1]; /* owned: payments to settle */
    bool *lost;                       /* owned: beside each, whether its order was lost */
    size_t count, capacity;
    bool failed;
} sweep_t;

static bool add(sweep_t *sweep, const char *id, bool lost) {
    for (size_t i = 0; i < sweep->count; i++) {
        if (strcmp(sweep->ids[i], id) == 0) return true;
    }
    if (sweep->count == sweep->capacity) {
        size_t capacity = sweep->capacity == 0 ? BATCH : sweep->capacity * 2;
        char(*ids)[PROVIDER_ID_MAX + 1] = realloc(sweep->ids, capacity * sizeof(*ids));
        if (ids != NULL) sweep->ids = ids;
        bool *flags = realloc(sweep->lost, capacity * sizeof(*flags));
        if (flags != NULL) sweep->lost = flags;
        sweep->failed = sweep->failed || ids == NULL || flags == NULL;
        if (sweep->failed) return false;
        sweep->capacity = capacity;
    }
    (void)memcpy(sweep->ids[sweep->count], id, strlen(id) + 1); /* as long as an id may be */
    sweep->lost[sweep->count++] = lost;
    return true;
}

/* A payment is news when money came and its order does not know, or when a restored store has no order for it. */
static bool see_payment(void *context, const provider_payment_t *paid) {
    sweep_t *sweep = context;
    order_t order = {.state = ORDER_AWAITING};
    cart_id_t id;
    if (!cart_id_parse(PAYMENT_PREFIX_ORDER, paid->order, strlen(paid->order), &id)) return true; /* another's */
    bc_db_enter(sweep->payment->db);
    order_found_t found = order_find(sweep->payment->db, &id, &order);
    bc_db_leave(sweep->payment->db);
    bool known = found == ORDER_FOUND, own = known && strcmp(order.payment, paid->id) == 0;
    bool news = paid->state == PROVIDER_SUCCEEDED && (!own || order.paid_minor == 0);
    sweep->failed = sweep->failed || found == ORDER_FAILED;
    order_drop(&order);
    if (sweep->failed) return false;
    if (!known && sweep->restored && paid->state != PROVIDER_CANCELED) return add(sweep, paid->id, true);
    return (!news || (!known && !sweep->restored)) ? true : add(sweep, paid->id, false);
}

static bool see_refund(void *context, const provider_refund_t *shown) {
    sweep_t *sweep = context;
    refund_t refund;
    order_t order = {.state = ORDER_AWAITING};
    bc_db_enter(sweep->payment->db);
    refund_result_t found = refund_find_provider(sweep->payment->db, shown->id, &refund);
    order_found_t ours =
        found == REFUND_ABSENT ? order_find_payment(sweep->payment->db, shown->payment, &order) : ORDER_ABSENT;
    bc_db_leave(sweep->payment->db);
    sweep->failed = sweep->failed || found == REFUND_FAILED || ours == ORDER_FAILED;
    order_drop(&order);
    if (sweep->failed) return false;
    bool news = found == REFUND_OK ? refund.state != shown->state : ours == ORDER_FOUND;
    return !news || add(sweep, shown->payment, false);
}

/* Reads what was made since `since_ms` and settles what is news. true: all of it. */
static bool sweep_since(round_t *round, int64_t since_ms, bool restored) {
    payment_t *payment = round->payment;
    sweep_t sweep = {.payment = payment, .restored = restored};
    bool good =
        payment_provider_payments_since(payment->provider, since_ms, &round->limit, see_payment, &sweep) ==
            PROVIDER_OK &&
        payment_provider_refunds_since(payment->provider, since_ms, &round->limit, see_refund, &sweep) == PROVIDER_OK &&
        !sweep.failed;
    if (good && sweep.count > 0) bc_log(BC_LOG_WARN, "sweep-found", bc_f_int("payments", (int64_t)sweep.count));
    for (size_t i = 0; i < sweep.count && good; i++) {
        settle_result_t result = sweep.lost[i] ? payment_settle_lost(payment, sweep.ids[i], &round->limit)
                                               : payment_settle(payment, sweep.ids[i], &round->limit);
        good = result != SETTLE_AWAY && !bc_task_stopping(round->task);
    }
    free(sweep.ids);
    free(sweep.lost);
    return good;
}

/* The mark says up to when the lists are known. */
static void sweep(round_t *round) {
    payment_t *payment = round->payment;
    int64_t now_ms = bc_time_ms(), mark_ms = 0;
    bc_db_enter(payment->db);
    bool good = mark_get(payment->db, "swept", now_ms, &mark_ms);
    bc_db_leave(payment->db);
    if (!good || !sweep_since(round, mark_ms - SWEEP_MARGIN_S * 1000LL, false)) return;
    payment->swept_ms = bc_monotonic_ms();
    if (bc_db_begin(payment->db) != BC_DB_OK) return; /* then the next sweep reads a little more */
    if (mark_put(payment->db, "swept", now_ms)) {
        (void)bc_db_commit(payment->db); /* as above */
    } else {
        bc_db_rollback(payment->db);
    }
}

/* DATA/restored.json {"cut_ms"}: the store is one of that moment, and the provider knows what was paid since. true: nothing is left to do. */
static bool heed_restore(round_t *round) {
    char path[BC_FILES_PATH_MAX], *text = NULL;
    size_t length = 0;
    if (!bc_config_path(round->payment->config, "restored.json", path, sizeof(path))) return true;
    if (!bc_files_read(path, RESTORED_MAX, &text, &length)) return errno == ENOENT;
    json_t *found = json_loadb(text, length, 0, NULL);
    const json_t *cut = json_object_get(found, "cut_ms");
    bool good = json_is_integer(cut);
    if (!good) bc_log(BC_LOG_ERROR, "restore-unreadable", bc_f_text("path", path));
    int64_t cut_ms = json_integer_value(cut);
    json_decref(found);
    free(text);
    if (!good || !sweep_since(round, cut_ms - SWEEP_MARGIN_S * 1000LL, true)) return false;
    bc_log(BC_LOG_INFO, "restore-reconciled", bc_f_int("cut_ms", cut_ms));
    if (unlink(path) != 0) bc_log(BC_LOG_ERROR, "restore-mark-stays", bc_f_text("reason", strerror(errno)));
    return true;
}

/* --- refunds that may come back --- */

static bool may_watch(const payment_t *payment) {
    return payment->watched_ms == 0 || bc_monotonic_ms() - payment->watched_ms >= step_ms(payment, 0);
}

/* However often the keeper is woken, a batch is asked for once in a while. */
static void watch(round_t *round) {
    payment_t *payment = round->payment;
    if (!may_watch(payment)) return;
    payment->watched_ms = bc_monotonic_ms();
    count(round, !payment_watch_round(payment, &round->limit));
}

/* 0: nothing to watch. */
static int64_t next_watch(payment_t *payment) {
    int64_t due_ms = refund_next_watch(payment->db), least_ms = bc_time_ms() + step_ms(payment, 0);
    return due_ms == 0 || due_ms > least_ms ? due_ms : least_ms;
}

/* --- the round --- */

static void tidy(payment_t *payment) {
    int64_t now_ms = bc_time_ms();
    if (bc_db_begin(payment->db) != BC_DB_OK) return;
    bc_once_tidy(payment->db, now_ms);
    bc_events_tidy(payment->db, payment->config, now_ms);
    if (webhook_tidy(payment->db, now_ms - bc_config_number(payment->config, BC_EVENTS_KEEP))) {
        (void)bc_db_commit(payment->db); /* again in an hour */
    } else {
        bc_db_rollback(payment->db);
    }
    payment->tidied_ms = bc_monotonic_ms();
}

static int64_t earlier(int64_t a, int64_t b) {
    if (a == 0 || b == 0) return a + b;
    return a < b ? a : b;
}

static int64_t until_next(const round_t *round, bool unswept) {
    payment_t *payment = round->payment;
    bc_db_enter(payment->db);
    int64_t next_ms =
        earlier(earlier(order_next_check(payment->db), refund_next_check(payment->db)), webhook_next(payment->db));
    next_ms = earlier(next_ms, next_watch(payment));
    bc_db_leave(payment->db);
    int64_t least_ms = round->away > 0 || unswept ? step_ms(payment, 0) : 0,
            most_ms = step_ms(payment, 0) * SWEEP_ROUNDS;
    int64_t wait_ms = next_ms == 0 ? WAIT_MAX_MS : next_ms - bc_time_ms();
    if (most_ms > WAIT_MAX_MS || unswept) most_ms = WAIT_MAX_MS;
    if (unswept && most_ms > least_ms) most_ms = least_ms;
    if (wait_ms > most_ms) wait_ms = most_ms;
    return wait_ms < least_ms ? least_ms : wait_ms;
}

int64_t payment_keeper_step(bc_task_t *task, void *context) {
    payment_t *payment = context;
    round_t round = {.payment = payment, .task = task, .limit = payment_limit(payment)};
    int64_t now_ms = bc_monotonic_ms();
    round.limit.stop = bc_task_stop_flag(task);
    apply_webhooks(&round);
    keep_orders(&round);
    keep_refunds(&round);
    bool due = payment->swept_ms == 0 || now_ms - payment->swept_ms >= step_ms(payment, 0) * SWEEP_ROUNDS;
    bool heeded = !due || !goes_on(&round) || heed_restore(&round);
    if (due && heeded && goes_on(&round)) sweep(&round);
    if (goes_on(&round)) watch(&round);
    if (payment->tidied_ms == 0 || now_ms - payment->tidied_ms >= TIDY_MS) tidy(payment);
    return until_next(&round, payment->swept_ms == 0);
}
