/*
 * guest, register, login: the three ways to a pair of tokens.
 *
 * guest     nothing is stored: the tokens carry everything (auth_refresh_token.c).
 * register  with a guest's token that guest's row becomes the customer: same id, so the same cart. The guest's session ends, so that no old
 *           refresh token of his opens the customer's account.
 * login     with a guest's token: the pending merge, the guest's end and the new session are one transaction; then the cart service is
 *           asked at once, and if it does not answer the keeper asks again until it does.
 *
 * Order of a login's checks: limit of the address, delay of the account, password (the costly one), then the state of the account. An
 * unknown address takes the same way with a hash that nobody has, so neither answer nor time tells whether it exists.
 */
#include "services/auth/auth_agent.h"
#include "services/auth/auth_service.h"

#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define MERGE_RETRY_MS 5000 /* the keeper's first try, should the one of the sign-in be lost with this process */

static bc_metric_t guests = BC_METRIC("bookcart_auth_guests_total", "Guest sessions given out", "counter");
static bc_metric_t registered = BC_METRIC("bookcart_auth_registered_total", "Customers registered", "counter");
static bc_metric_t logins = BC_METRIC("bookcart_auth_logins_total{result=\"ok\"}", "Logins", "counter");
static bc_metric_t logins_wrong = BC_METRIC("bookcart_auth_logins_total{result=\"wrong\"}", "Logins", "counter");

void auth_guest(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    auth_transport_t transport;
    char refresh[AUTH_REFRESH_CHARS];
    if (!auth_limit_address(auth, AUTH_LIMIT_GUEST, request, reply) || !auth_transport_read(request, reply, &transport))
        return;
    auth_user_t user = {.id = bc_random_id(), .kind = BC_KIND_GUEST, .role = BC_ROLE_CUSTOMER};
    cart_id_t session = bc_random_id();
    auth_refresh_text_guest(auth, &user.id, &session, bc_time_s(), refresh);
    auth_pair_t pair = {&user, &session, refresh, transport, bc_time_ms()};
    auth_answer_pair(auth, reply, 201, &pair, NULL);
    bc_metric_add(&guests, 1);
}

/* false: the hash was refused, 503 is set. */
static bool hash_password(auth_t *auth, const char *password, char *hash, bc_reply_t *reply) {
    if (auth_password_hash(auth->passwords, password, hash) == AUTH_PASSWORD_OK) return true;
    auth_answer_unavailable(reply);
    return false;
}

static bool judge_registration(bc_request_t *request, bc_reply_t *reply, auth_user_t *user) {
    const char *name = bc_request_string(request, "name");
    bool good = true;
    if (!auth_email_normalise(bc_request_string(request, "email"), user->email)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "email", "not-an-address",
                               "this is no e-mail address that we can take");
        good = false;
    }
    if (!auth_judge_password(request, reply, "password")) good = false;
    if (!auth_name_acceptable(name)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "name", "length",
                               "1 to 100 characters are needed, no control characters");
        good = false;
    } else {
        (void)snprintf(user->name, sizeof(user->name), "%s", name); /* fits: 100 code points of 4 bytes */
    }
    (void)snprintf(user->language, sizeof(user->language), "%s", bc_language_tag(bc_request_language(request)));
    return good;
}

static bool email_is_taken(auth_t *auth, const char *email) {
    auth_user_t other;
    bc_db_t *db = bc_db_enter_read(auth->db);
    bool taken = auth_store_user_by_email(db, email, &other);
    bc_db_leave(db);
    return taken;
}

/* Inside the transaction; false: a problem is set. */
static bool take_over_guest(auth_t *auth, const bc_claims_t *guest, int64_t now_ms, bc_reply_t *reply) {
    auth_user_t row;
    if (auth_store_user(auth->db, &guest->user, &row) && (row.kind == BC_KIND_CUSTOMER || row.closed)) {
        bc_reply_problem(reply, "already-registered", NULL);
        return false;
    }
    auth_store_revoke_session(auth->db, &guest->session, &guest->user, now_ms, auth->access_life_ms,
                              now_ms + auth->refresh_life_ms);
    return true;
}

/* A session that begins now. */
static void fill_session(const auth_t *auth, const bc_request_t *request, cart_id_t user, auth_session_t *session) {
    int64_t now_ms = bc_time_ms();
    *session = (auth_session_t){.id = bc_random_id(),
                                .user = user,
                                .created_ms = now_ms,
                                .used_ms = now_ms,
                                .expires_ms = now_ms + auth->refresh_life_ms};
    auth_agent_name(bc_request_header(request, "User-Agent"), session->agent);
}

/* One transaction: the guest's end, the customer, his session, the mail that asks him to prove his address. false: the problem is set. */
static bool store_registration(auth_t *auth, const bc_claims_t *guest, const auth_user_t *user,
                               const auth_session_t *session, char *refresh, bc_reply_t *reply) {
    int64_t now_ms = session->created_ms;
    auth_link_t link = {.kind = AUTH_LINK_VERIFY, .user = user->id};
    (void)strcpy(link.email, user->email); /* of the same size */
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return false;
    }
    if (guest != NULL && !take_over_guest(auth, guest, now_ms, reply)) {
        bc_db_rollback(auth->db);
        return false;
    }
    if (auth_store_put_customer(auth->db, user, now_ms) == BC_DB_CONSTRAINT) {
        bc_db_rollback(auth->db);
        bc_reply_problem(reply, "email-taken", NULL);
        return false;
    }
    (void)auth_store_put_session(auth->db, session, now_ms); /* a fresh id: it is new */
    auth_pair_store(auth, &session->id, now_ms, refresh);
    auth_tell_event(auth, "user.registered", &user->id, NULL);
    auth_tell_link(auth, &link, user->language, now_ms);
    if (bc_db_commit(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return false;
    }
    auth_committed(auth);
    return true;
}

void auth_register(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    const bc_claims_t *caller = bc_request_caller(request);
    auth_transport_t transport;
    char refresh[AUTH_REFRESH_CHARS];
    auth_user_t user = {.kind = BC_KIND_CUSTOMER, .role = BC_ROLE_CUSTOMER};
    if (!auth_limit_address(auth, AUTH_LIMIT_SIGN_IN, request, reply) ||
        !auth_transport_read(request, reply, &transport) || !judge_registration(request, reply, &user))
        return;
    if (caller != NULL && caller->kind == BC_KIND_CUSTOMER) {
        bc_reply_problem(reply, "already-registered", NULL);
        return;
    }
    /* Looked at before the hash to spare it; the unique index decides in the transaction. */
    if (email_is_taken(auth, user.email)) {
        bc_reply_problem(reply, "email-taken", NULL);
        return;
    }
    if (!hash_password(auth, bc_request_string(request, "password"), user.password_hash, reply)) return;

    auth_session_t session;
    fill_session(auth, request, caller == NULL ? bc_random_id() : caller->user, &session);
    user.id = session.user;
    if (!store_registration(auth, caller, &user, &session, refresh, reply)) return;
    bc_metric_add(&registered, 1);
    auth_pair_t pair = {&user, &session.id, refresh, transport, session.created_ms};
    auth_answer_pair(auth, reply, 201, &pair, NULL);
}

/* --- login --- */

static bool read_mode(bc_request_t *request, bc_reply_t *reply, char *mode, size_t size) {
    static const char *const modes[] = {"max", "sum", "keep", "replace"};
    const char *word = bc_request_string(request, "cart");
    if (word == NULL) word = modes[0];
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(word, modes[i]) != 0) continue;
        (void)snprintf(mode, size, "%s", word);
        return true;
    }
    bc_reply_problem_field(reply, "not-acceptable-value", "cart", "unknown", "max, sum, keep or replace");
    return false;
}

/* Finds the account and checks the password; false: the answer is set. */
static bool check_password(auth_t *auth, bc_request_t *request, bc_reply_t *reply, auth_user_t *user, bool *outdated) {
    char email[AUTH_EMAIL_MAX + 1] = "";
    const char *password = bc_request_string(request, "password");
    bool known = auth_email_normalise(bc_request_string(request, "email"), email);
    int64_t wait_ms = known ? auth_account_wait(auth->limits, email, bc_monotonic_ms()) : 0;
    if (wait_ms > 0) {
        bc_reply_problem(reply, "too-many-requests", NULL);
        bc_reply_retry_after(reply, wait_ms);
        return false;
    }
    if (known) {
        bc_db_t *db = bc_db_enter_read(auth->db);
        known = auth_store_user_by_email(db, email, user);
        bc_db_leave(db);
    }
    /* Longer ones were never accepted: they take the time of a wrong one, without costing more. */
    bool fits = auth_code_points(password) <= AUTH_PASSWORD_MAX;
    auth_password_result_t result = auth_password_verify(auth->passwords, fits ? password : "",
                                                         known && fits ? user->password_hash : NULL, outdated);
    if (result == AUTH_PASSWORD_BUSY || result == AUTH_PASSWORD_FAILED) {
        auth_answer_unavailable(reply);
        return false;
    }
    if (result == AUTH_PASSWORD_WRONG) {
        if (email[0] != '\0') auth_account_failed(auth->limits, email, bc_monotonic_ms());
        bc_metric_add(&logins_wrong, 1);
        bc_reply_problem(reply, "bad-credentials", NULL);
        return false;
    }
    auth_account_succeeded(auth->limits, email);
    if (user->closed) {
        bc_reply_problem(reply, "account-disabled", NULL);
        return false;
    }
    return true;
}

/* Inside the transaction: the guest ends, his cart is to be merged. false: it was merged before (or is being), into whomever. */
static bool end_guest(auth_t *auth, const auth_merge_t *merge, int64_t now_ms) {
    bool fresh = auth_store_put_merge(auth->db, merge, now_ms, now_ms + MERGE_RETRY_MS);
    auth_store_close_guest(auth->db, &merge->guest, now_ms);
    auth_store_end_sessions(auth->db, &merge->guest, now_ms);
    (void)auth_store_revoke_tokens(auth->db, &merge->guest, 0, now_ms, auth->access_life_ms); /* he gets no next one */
    if (fresh) {
        char id[CART_ID_CHARS + 1];
        cart_id_format(BC_PREFIX_USER, &merge->guest, id);
        auth_tell_event(auth, "user.merged", &merge->user, json_pack("{s:s}", "guest", id));
    }
    return fresh;
}

/* After the commit: one try at once. The answer's cart_merge; NULL: no memory. */
static json_t *try_merge(auth_t *auth, const auth_merge_t *merge) {
    json_t *answer = NULL;
    bool done = auth_merge_send(auth, merge, AUTH_MERGE_INLINE_MS, &answer);
    auth_merge_note(auth, merge, done);
    if (!done) return json_pack("{s:s, s:[]}", "state", "pending", "lines");
    json_t *state = json_object_get(answer, "state"), *lines = json_object_get(answer, "lines"),
           *dropped = json_object_get(answer, "dropped");
    json_t *shown = json_pack("{s:O*, s:O*, s:O*}", "state", state, "lines", lines, "dropped", dropped);
    json_decref(answer);
    return shown;
}

/* What changed between the look at the account and the transaction, as an answer. */
static void answer_changed_account(auth_t *auth, const auth_user_t *seen, bc_reply_t *reply) {
    auth_user_t now;
    bc_db_enter(auth->db);
    bool found = auth_store_user(auth->db, &seen->id, &now);
    bc_db_leave(auth->db);
    bool other_role = found && !now.closed && strcmp(now.password_hash, seen->password_hash) == 0;
    if (!found || other_role) {
        auth_answer_unavailable(reply); /* the same again will do */
    } else {
        bc_reply_problem(reply, now.closed == AUTH_DISABLED ? "account-disabled" : "bad-credentials", NULL);
    }
}

typedef struct {
    auth_user_t user;
    auth_session_t session;
    auth_merge_t merge;
    bool with_guest, merge_is_fresh;
    const char *rehashed; /* NULL: the hash stays */
} login_t;

/* One transaction: the session, the guest's end, the renewed hash. false: the answer is set. */
static bool store_login(auth_t *auth, login_t *login, char *refresh, bc_reply_t *reply) {
    int64_t now_ms = login->session.created_ms;
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return false;
    }
    if (!auth_store_open_session(auth->db, &login->session, &login->user, now_ms)) {
        bool sound = bc_db_is_sound(auth->db);
        bc_db_rollback(auth->db);
        if (sound) {
            answer_changed_account(auth, &login->user, reply);
        } else {
            auth_answer_unavailable(reply);
        }
        return false;
    }
    if (login->with_guest) login->merge_is_fresh = end_guest(auth, &login->merge, now_ms);
    if (login->rehashed != NULL) /* always: the session's statement has just seen this hash */
        (void)auth_store_set_password(auth->db, &login->user.id, login->user.password_hash, login->rehashed, now_ms);
    auth_pair_store(auth, &login->session.id, now_ms, refresh);
    if (bc_db_commit(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return false;
    }
    if (login->with_guest) auth_committed(auth);
    return true;
}

void auth_login(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    const bc_claims_t *caller = bc_request_caller(request);
    auth_transport_t transport;
    login_t login = {.user = {.kind = BC_KIND_GUEST}};
    bool outdated = false;
    char refresh[AUTH_REFRESH_CHARS], rehashed[AUTH_HASH_BYTES] = "";
    if (!auth_limit_address(auth, AUTH_LIMIT_SIGN_IN, request, reply) ||
        !auth_transport_read(request, reply, &transport) ||
        !read_mode(request, reply, login.merge.mode, sizeof(login.merge.mode)) ||
        !check_password(auth, request, reply, &login.user, &outdated))
        return;
    /* The cost of hashes was changed: renewed now, the only time the password is known. Refused for lack of a place: next time. */
    if (outdated &&
        auth_password_hash(auth->passwords, bc_request_string(request, "password"), rehashed) == AUTH_PASSWORD_OK)
        login.rehashed = rehashed;
    fill_session(auth, request, login.user.id, &login.session);
    login.with_guest = caller != NULL && caller->kind == BC_KIND_GUEST;
    if (login.with_guest) {
        login.merge.guest = caller->user;
        login.merge.user = login.user.id;
    }
    if (!store_login(auth, &login, refresh, reply)) return;
    bc_metric_add(&logins, 1);
    json_t *shown = login.merge_is_fresh
                        ? try_merge(auth, &login.merge)
                        : json_pack("{s:s, s:[]}", "state", login.with_guest ? "already-merged" : "none", "lines");
    auth_pair_t pair = {&login.user, &login.session.id, refresh, transport, login.session.created_ms};
    auth_answer_pair(auth, reply, 200, &pair, shown);
}
