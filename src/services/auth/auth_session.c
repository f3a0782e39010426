/*
 * refresh and logout: the life of a session, which is one family of refresh tokens.
 *
 * Each token is good once. The same one again within BOOKCART_REFRESH_GRACE gives another pair (a client whose answer was lost, two tabs);
 * later it is a sign that somebody else has it: the whole session ends.
 *
 * A guest's signed token stands for a session that is not stored. Its first use stores user and session and marks it used; from then on
 * it is a token like any other. It is refused when a session of that id is stored already (registered, logged out) or the guest
 * was ended by a sign-in.
 */
#include "services/auth/auth_agent.h"
#include "services/auth/auth_service.h"

#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <string.h>

static bc_metric_t refreshed = BC_METRIC("bookcart_auth_refreshes_total", "Pairs given for a refresh token", "counter");
static bc_metric_t reused =
    BC_METRIC("bookcart_auth_reuses_total", "Sessions ended because a used refresh token came again", "counter");

typedef enum { REFRESH_GOOD, REFRESH_REFUSED, REFRESH_REUSED } refresh_result_t;

/* Inside the transaction. GOOD: *found has user and session. */
static refresh_result_t use_stored(auth_t *auth, const unsigned char *hash, int64_t now_ms,
                                   const auth_refresh_t *found) {
    if (found->session_revoked_ms != 0 || found->token_expires_ms <= now_ms || found->user.closed)
        return REFRESH_REFUSED;
    if (found->token_used_ms == 0) {
        auth_store_use_token(auth->db, hash, now_ms);
        return REFRESH_GOOD;
    }
    if (now_ms - found->token_used_ms <= auth->grace_ms) return REFRESH_GOOD;
    auth_store_revoke_session(auth->db, &found->session, &found->user.id, now_ms, auth->access_life_ms,
                              now_ms + auth->refresh_life_ms);
    return REFRESH_REUSED;
}

static refresh_result_t use_first(auth_t *auth, const bc_request_t *request, const char *token,
                                  const unsigned char *hash, int64_t now_ms, auth_refresh_t *found) {
    cart_id_t user, session;
    int64_t issued_s = 0;
    auth_user_t row;
    if (!auth_refresh_text_read_guest(auth, token, &user, &session, &issued_s)) return REFRESH_REFUSED;
    int64_t expires_ms = issued_s * 1000 + auth->refresh_life_ms;
    if (expires_ms <= now_ms || issued_s * 1000 > now_ms + BC_TOKEN_LEEWAY_S * 1000) return REFRESH_REFUSED;
    if (auth_store_user(auth->db, &user, &row)) {
        if (row.kind != BC_KIND_GUEST || row.closed) return REFRESH_REFUSED;
    } else {
        auth_store_put_guest(auth->db, &user, now_ms);
        row = (auth_user_t){.id = user, .kind = BC_KIND_GUEST, .role = BC_ROLE_CUSTOMER};
    }
    auth_session_t opened = {.id = session, .user = user, .expires_ms = now_ms + auth->refresh_life_ms};
    auth_agent_name(bc_request_header(request, "User-Agent"), opened.agent);
    if (!auth_store_put_session(auth->db, &opened, now_ms)) return REFRESH_REFUSED;
    auth_store_put_token(auth->db, hash, &session, expires_ms, now_ms);
    found->user = row;
    found->session = session;
    return REFRESH_GOOD;
}

void auth_refresh(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    auth_transport_t transport;
    unsigned char hash[AUTH_TOKEN_HASH_BYTES];
    auth_refresh_t found;
    char next[AUTH_REFRESH_CHARS];
    if (!auth_limit_address(auth, AUTH_LIMIT_REFRESH, request, reply)) return;
    const char *token = auth_refresh_take(auth, request, reply, &transport);
    if (token == NULL) return;
    auth_refresh_text_hash(token, hash);
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    int64_t now_ms = bc_time_ms();
    refresh_result_t result = auth_store_token(auth->db, hash, &found)
                                  ? use_stored(auth, hash, now_ms, &found)
                                  : use_first(auth, request, token, hash, now_ms, &found);
    if (result == REFRESH_REFUSED) {
        bool sound = bc_db_is_sound(auth->db);
        bc_db_rollback(auth->db);
        if (sound) {
            bc_reply_problem(reply, "bad-refresh-token", NULL);
        } else {
            auth_answer_unavailable(reply);
        }
        return;
    }
    if (result == REFRESH_GOOD) {
        auth_store_touch_session(auth->db, &found.session, now_ms, now_ms + auth->refresh_life_ms);
        auth_pair_store(auth, &found.session, now_ms, next);
    }
    if (bc_db_commit(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    if (result == REFRESH_REUSED) {
        bc_feed_wake(auth->revocations);
        bc_metric_add(&reused, 1);
        bc_log(BC_LOG_WARN, "refresh-token-reused");
        bc_reply_problem(reply, "bad-refresh-token", NULL);
        return;
    }
    bc_metric_add(&refreshed, 1);
    auth_pair_t pair = {&found.user, &found.session, next, transport, now_ms};
    auth_answer_pair(auth, reply, 200, &pair, NULL);
}

/* Whose session the token is of; false: nobody's. */
static bool owner_of(auth_t *auth, const char *token, cart_id_t *user, cart_id_t *session) {
    unsigned char hash[AUTH_TOKEN_HASH_BYTES];
    auth_refresh_t found;
    int64_t issued_s;
    auth_refresh_text_hash(token, hash);
    if (!auth_store_token(auth->db, hash, &found))
        return auth_refresh_text_read_guest(auth, token, user, session, &issued_s);
    *user = found.user.id;
    *session = found.session;
    return true;
}

void auth_logout(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    const bc_claims_t *caller = bc_request_caller(request);
    auth_transport_t transport;
    cart_id_t user, session;
    const char *token = auth_refresh_take(auth, request, reply, &transport);
    if (token == NULL) return;
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    if (!owner_of(auth, token, &user, &session) || !cart_id_equal(&user, &caller->user)) {
        bool sound = bc_db_is_sound(auth->db);
        bc_db_rollback(auth->db);
        if (sound) {
            bc_reply_problem(reply, "bad-refresh-token", NULL);
        } else {
            auth_answer_unavailable(reply);
        }
        return;
    }
    int64_t now_ms = bc_time_ms(), gone_ms = now_ms + auth->refresh_life_ms;
    auth_store_revoke_session(auth->db, &session, &user, now_ms, auth->access_life_ms, gone_ms);
    /* A user may hold an access token of one session and a refresh token of another: both end. */
    if (!cart_id_equal(&session, &caller->session))
        auth_store_revoke_session(auth->db, &caller->session, &caller->user, now_ms, auth->access_life_ms, gone_ms);
    if (bc_db_commit(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    bc_feed_wake(auth->revocations);
    if (transport == AUTH_BY_COOKIE) auth_cookie_clear(reply);
    bc_reply_empty(reply, 204);
}
