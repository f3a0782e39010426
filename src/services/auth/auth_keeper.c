/* The service's one thread of its own: retries merges that are due, lets key rotations take effect, removes what is over. */
#include "services/auth/auth_service.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <errno.h>

#define ROUND_MS         60000 /* keys and tables are looked at so often */
#define MERGES_AT_ONCE   16
#define MERGE_TIMEOUT_MS 5000

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

static void tidy(auth_t *auth) {
    (void)bc_token_tend(auth->issuer); /* logged there; tried again in the next round */
    if (bc_db_begin(auth->db) != BC_DB_OK) return;
    auth_store_tidy(auth->db, bc_time_ms());
    bc_events_tidy(auth->db, auth->config, bc_time_ms());
    (void)bc_db_commit(auth->db); /* logged there; tried again in the next round */
}

static void *keep(void *argument) {
    auth_t *auth = argument;
    int64_t tidied_ms = 0;
    (void)pthread_mutex_lock(&auth->keeper_lock); /* a default mutex: fails only on our own misuse */
    while (!auth->keeper_ends) {
        auth->keeper_has_work = false;
        (void)pthread_mutex_unlock(&auth->keeper_lock);
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
