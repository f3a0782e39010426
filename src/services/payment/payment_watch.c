#include "services/payment/payment_watch.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"
#include "services/payment/payment_settle.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    refund_t due[WATCH_BATCH];
    size_t count;
    bool came_back; /* of the payment that is being asked about */
} watch_t;

/* Only what we hold for succeeded can be news: pending and failed ones are looked at elsewhere, or are over. */
static bool see(void *context, const provider_refund_t *shown) {
    watch_t *watch = context;
    for (size_t i = 0; i < watch->count; i++) {
        bool it = strcmp(watch->due[i].provider_id, shown->id) == 0;
        watch->came_back = watch->came_back || (it && shown->state == PROVIDER_REFUND_FAILED);
    }
    return !watch->came_back;
}

/* AWAY, or what was learned: REFUSED is logged where it arises, and asked again in its turn. */
static settle_result_t look(payment_t *payment, watch_t *watch, const char *id, const provider_limit_t *limit) {
    watch->came_back = false;
    provider_result_t result = payment_provider_refunds_of(payment->provider, id, limit, see, watch);
    if (result == PROVIDER_AWAY) return SETTLE_AWAY;
    if (!watch->came_back) return SETTLE_OK;
    bc_log(BC_LOG_WARN, "refund-came-back", bc_f_text("payment", id));
    return payment_settle(payment, id, limit);
}

static bool is_first_of_its_payment(const watch_t *watch, size_t at) {
    for (size_t i = 0; i < at; i++) {
        if (strcmp(watch->due[i].payment, watch->due[at].payment) == 0) return false;
    }
    return true;
}

static bool append(json_t *list, const char *payment) {
    return json_array_append_new(list, json_pack("{s:s}", "payment", payment)) == 0;
}

/* The next look of all refunds of these payments, and the end of the watch for what is too old: three statements, one transaction. */
static bool write_round(payment_t *payment, const json_t *looked, const json_t *away, int64_t now_ms) {
    char *looked_text = json_dumps(looked, JSON_COMPACT), *away_text = json_dumps(away, JSON_COMPACT);
    bool good = looked_text != NULL && away_text != NULL && bc_db_begin(payment->db) == BC_DB_OK;
    if (good) {
        good = refund_watch_later(payment->db, looked_text, now_ms + REFUND_WATCH_EVERY_MS) &&
               refund_watch_later(payment->db, away_text, now_ms + WATCH_AWAY_MS) &&
               refund_watch_end(payment->db, now_ms);
        if (good) {
            good = bc_db_commit(payment->db) == BC_DB_OK;
        } else {
            bc_db_rollback(payment->db);
        }
    }
    free(looked_text);
    free(away_text);
    return good;
}

bool payment_watch_round(payment_t *payment, const provider_limit_t *limit) {
    int64_t now_ms = bc_time_ms();
    json_t *looked = json_array(), *away = json_array();
    watch_t *watch = calloc(1, sizeof(*watch));
    bool good = looked != NULL && away != NULL && watch != NULL;
    if (good) {
        bc_db_enter(payment->db);
        watch->count = refund_watched(payment->db, now_ms, watch->due, WATCH_BATCH);
        bc_db_leave(payment->db);
    }
    for (size_t i = 0; good && i < watch->count && (limit->stop == NULL || !*limit->stop); i++) {
        const refund_t *refund = &watch->due[i];
        if (now_ms - refund->created_ms > REFUND_WATCH_MS || !is_first_of_its_payment(watch, i)) continue;
        bool answered = look(payment, watch, refund->payment, limit) != SETTLE_AWAY;
        good = append(answered ? looked : away, refund->payment);
    }
    if (good && watch->count > 0) good = write_round(payment, looked, away, now_ms);
    good = good && json_array_size(away) == 0;
    json_decref(looked);
    json_decref(away);
    free(watch);
    return good;
}
