/* Asking the cart service to merge a guest's cart. It counts a guest once (DESIGN section 5, rule 8), so asking again is harmless. */
#include "services/auth/auth_service.h"

#include "platform/bc_client.h"
#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_time.h"

#define BACK_OFF_FIRST_MS 1000
#define BACK_OFF_MAX_MS   300000

static bc_metric_t merged =
    BC_METRIC("bookcart_auth_merges_total{result=\"done\"}", "Guest carts handed to the cart service", "counter");
static bc_metric_t postponed =
    BC_METRIC("bookcart_auth_merges_total{result=\"postponed\"}", "Guest carts handed to the cart service", "counter");

bool auth_merge_send(const auth_t *auth, const auth_merge_t *merge, int64_t timeout_ms, json_t **reply) {
    char guest[CART_ID_CHARS + 1], user[CART_ID_CHARS + 1];
    json_t *body = NULL, *answer = NULL;
    int status = 0;
    bool done = false;
    cart_id_format(BC_PREFIX_USER, &merge->guest, guest);
    cart_id_format(BC_PREFIX_USER, &merge->user, user);
    bc_client_t *client = bc_client_create(bc_config_text(auth->config, BC_CART_INTERNAL), auth->service_key);
    body = json_pack("{s:s, s:s, s:s}", "guest", guest, "user", user, "mode", merge->mode);
    if (client == NULL || body == NULL) goto end;
    if (!bc_client_call(client, "POST", "/internal/carts/merge", body, timeout_ms, auth->stopping, &status, &answer)) {
        bc_log(BC_LOG_WARN, "merge-postponed", bc_f_text("guest", guest), bc_f_text("reason", "no answer"));
        goto end;
    }
    done = status == 200 && json_is_object(answer);
    if (!done) bc_log(BC_LOG_WARN, "merge-postponed", bc_f_text("guest", guest), bc_f_int("status", status));
    if (done) {
        *reply = answer;
        answer = NULL;
    }
end:
    json_decref(answer);
    json_decref(body);
    bc_client_destroy(client);
    bc_metric_add(done ? &merged : &postponed, 1);
    return done;
}

void auth_merge_note(auth_t *auth, const auth_merge_t *merge, bool done) {
    int64_t now_ms = bc_time_ms();
    int64_t wait_ms = merge->attempts > 8 ? BACK_OFF_MAX_MS : (int64_t)BACK_OFF_FIRST_MS << merge->attempts;
    if (wait_ms > BACK_OFF_MAX_MS) wait_ms = BACK_OFF_MAX_MS;
    /* Not noted (the store is away): the merge is asked for once more, which counts once. */
    if (bc_db_begin(auth->db) != BC_DB_OK) return;
    if (done) {
        auth_store_merge_done(auth->db, &merge->guest, now_ms);
    } else {
        auth_store_merge_failed(auth->db, &merge->guest, now_ms + wait_ms);
    }
    (void)bc_db_commit(auth->db); /* logged there; see above */
    if (!done) auth_keeper_wake(auth);
}
