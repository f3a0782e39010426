/* The service's one thread of its own: looks at forgotten passwords, retries merges that are due, lets key rotations take effect, closes
 * guests of whom nothing lives, removes what is over. */
#include "services/auth/auth_service.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <errno.h>

#define ROUND_MS         60000 /* keys and tables are looked at so often */
#define MERGES_AT_ONCE   16
#define MERGE_TIMEOUT_MS 5000
#define GUESTS_AT_ONCE   256

/* Sends what is due; when the next one is, or 0. */
static int64_t send_due_merges(auth_t *auth) {
    auth_merge_t due[MERGES_AT_ONCE];
    int64_t next_ms = 0;
    bc_db_enter(auth->db);
    int count = auth_store_due_merges(auth->db, bc_time_ms(), due, MERGES_AT_ONCE, &next_ms);
    bc_db_leave(auth->db);
    for (int i = 0; i < count && !*auth->stopping; i++) {
        json_t *answer = NULL;
        bool done = auth_merge_send(auth, &due[i], MERGE_TIMEOUT_MS, &answer);
        json_decref(answer);
        auth_merge_note(auth, &due[i], done);
    }
    return next_ms;
}

/* A guest ends when no token of his can be used any more: the last refresh token is over, and so is the last access token. Each end is an
 * event, so that his cart may go. false: there are more. */
static bool close_guests(auth_t *auth, int64_t over_ms) {
    cart_id_t guests[GUESTS_AT_ONCE];
    if (bc_db_begin(auth->db) != BC_DB_OK) return true;
    int count = auth_store_dead_guests(auth->db, over_ms, guests, GUESTS_AT_ONCE);
    for (int i = 0; i < count; i++) {
        auth_store_close_guest(auth->db, &guests[i], bc_time_ms());
        auth_tell_event(auth, "user.expired", &guests[i], NULL);
    }
    bool done = bc_db_commit(auth->db) == BC_DB_OK; /* logged there; tried again in the next round */
    if (done && count > 0) auth_committed(auth);
    return !done || count < GUESTS_AT_ONCE;
}

static void tidy(auth_t *auth) {
    int64_t now_ms = bc_time_ms(), over_ms = now_ms - auth->access_life_ms - 2 * BC_TOKEN_LEEWAY_S * 1000;
    (void)bc_token_tend(auth->issuer); /* logged there; tried again in the next round */
    while (!close_guests(auth, over_ms)) {
        if (*auth->stopping) return; /* their sessions stay until they are closed */
    }
    if (bc_db_begin(auth->db) != BC_DB_OK) return;
    auth_store_tidy(auth->db, now_ms, over_ms, auth->refresh_life_ms);
    bc_events_tidy(auth->db, auth->config, now_ms);
    (void)bc_db_commit(auth->db); /* logged there; tried again in the next round */
}

static void *keep(void *argument) {
    auth_t *auth = argument;
    int64_t tidied_ms = 0;
    (void)pthread_mutex_lock(&auth->keeper_lock); /* a default mutex: fails only on our own misuse */
    while (!auth->keeper_ends) {
        auth->keeper_has_work = false;
        (void)pthread_mutex_unlock(&auth->keeper_lock);
        auth_forgotten_look(auth);
        int64_t next_ms = send_due_merges(auth);
        if (tidied_ms == 0 || bc_monotonic_ms() - tidied_ms >= ROUND_MS) {
            tidy(auth);
            tidied_ms = bc_monotonic_ms();
        }
        int64_t wait_ms = ROUND_MS, until_ms = next_ms - bc_time_ms();
        if (next_ms != 0 && until_ms < wait_ms) wait_ms = until_ms < 100 ? 100 : until_ms;
        struct timespec deadline = bc_monotonic_deadline(wait_ms);
        (void)pthread_mutex_lock(&auth->keeper_lock);
        while (!auth->keeper_ends && !auth->keeper_has_work) {
            if (pthread_cond_timedwait(&auth->keeper_wake, &auth->keeper_lock, &deadline) == ETIMEDOUT) break;
        }
    }
    (void)pthread_mutex_unlock(&auth->keeper_lock);
    return NULL;
}

bool auth_keeper_start(auth_t *auth) {
    auth->keeper_started = pthread_create(&auth->keeper, NULL, keep, auth) == 0;
    return auth->keeper_started;
}

void auth_keeper_wake(auth_t *auth) {
    (void)pthread_mutex_lock(&auth->keeper_lock);
    auth->keeper_has_work = true;
    (void)pthread_cond_signal(&auth->keeper_wake);
    (void)pthread_mutex_unlock(&auth->keeper_lock);
}

void auth_keeper_stop(auth_t *auth) {
    if (!auth->keeper_started) return;
    (void)pthread_mutex_lock(&auth->keeper_lock);
    auth->keeper_ends = true;
    (void)pthread_cond_signal(&auth->keeper_wake);
    (void)pthread_mutex_unlock(&auth->keeper_lock);
    (void)pthread_join(auth->keeper, NULL); /* our own joinable thread */
    auth->keeper_started = false;
}
