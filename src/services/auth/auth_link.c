/*
 * Passwords that were forgotten and addresses that are proved: what a token sent by mail opens.
 *
 * forgot   stores the address it was asked for and answers 202, known or not: one statement, one commit, the same time. The keeper looks
 *          behind the request whether there is such an account, and only then draws a token and puts a mail (auth_forgotten_look).
 * reset    the token, then the hash (the costly one), then one transaction: the token is used up, the password changes, every session
 *          of the user ends, whatever other token was sent for a new password is void.
 * verify   the address of a registration is proved, or one that was asked for at /me/email becomes the account's; then the old address is
 *          told.
 *
 * A token is 256 random bits, kept as a hash only, good once and for a time. It dies with the address it was sent for: a link in a mailbox
 * that is not the account's any more opens nothing.
 */
#include "services/auth/auth_service.h"

#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_time.h"

#include <stdio.h>
#include <string.h>

#define FORGOTTEN_AT_ONCE 16

static bc_metric_t resets = BC_METRIC("bookcart_auth_password_resets_total", "Passwords set by a link", "counter");

void auth_forgot(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    char email[AUTH_EMAIL_MAX + 1] = "";
    if (!auth_limit_address(auth, AUTH_LIMIT_FORGOT, request, reply)) return;
    /* What is no address is stored too, as none: the same work. */
    (void)auth_email_normalise(bc_request_string(request, "email"), email);
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    bool stored =
        auth_store_put_forgotten(auth->db, email, bc_language_tag(bc_request_language(request)), bc_time_ms());
    if (bc_db_commit(auth->db) != BC_DB_OK || !stored) {
        auth_answer_unavailable(reply);
        return;
    }
    auth_keeper_wake(auth);
    bc_reply_empty(reply, 202);
}

/* Inside the transaction. */
static void answer_forgotten(auth_t *auth, const auth_forgotten_t *forgotten) {
    auth_user_t user;
    auth_store_drop_forgotten(auth->db, forgotten->position);
    if (forgotten->email[0] == '\0' || !auth_store_user_by_email(auth->db, forgotten->email, &user) || user.closed)
        return;
    if (auth_limit_take(auth->limits, AUTH_LIMIT_MAIL, user.email, bc_monotonic_ms()) != 0) return;
    auth_link_t link = {.kind = AUTH_LINK_RESET, .user = user.id};
    (void)strcpy(link.email, user.email); /* of the same size */
    auth_tell_link(auth, &link, user.language[0] == '\0' ? forgotten->language : user.language, bc_time_ms());
}

void auth_forgotten_look(auth_t *auth) {
    auth_forgotten_t forgotten[FORGOTTEN_AT_ONCE];
    int count = FORGOTTEN_AT_ONCE;
    while (count == FORGOTTEN_AT_ONCE && !*auth->stopping) {
        bc_db_enter(auth->db);
        count = auth_store_forgotten(auth->db, forgotten, FORGOTTEN_AT_ONCE);
        bc_db_leave(auth->db);
        if (count == 0 || bc_db_begin(auth->db) != BC_DB_OK) return;
        for (int i = 0; i < count; i++) answer_forgotten(auth, &forgotten[i]);
        if (bc_db_commit(auth->db) != BC_DB_OK) return; /* logged there; the rows are looked at again */
        auth_committed(auth);
    }
}

static void answer_bad_link(bc_reply_t *reply) {
    bc_reply_problem_field(reply, "bad-link", "token", "not-valid", "it was used, is too old, or never was");
}

/* After a statement that found nothing: the link's fault, or the store's. Ends the transaction. */
static void refuse_link(auth_t *auth, bc_reply_t *reply) {
    bool sound = bc_db_is_sound(auth->db);
    bc_db_rollback(auth->db);
    if (sound) {
        answer_bad_link(reply);
    } else {
        auth_answer_unavailable(reply);
    }
}

/* Outside a transaction: whether the token opens anything of that kind, before anything costly is done. false: the answer is set. */
static bool find_link(auth_t *auth, const unsigned char *hash, auth_link_t *link, bc_reply_t *reply) {
    bc_db_enter(auth->db);
    bool found = auth_store_link(auth->db, hash, bc_time_ms(), link), sound = bc_db_is_sound(auth->db);
    bc_db_leave(auth->db);
    if (found) return true;
    if (sound) {
        answer_bad_link(reply);
    } else {
        auth_answer_unavailable(reply);
    }
    return false;
}

void auth_reset(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    unsigned char hash[AUTH_TOKEN_HASH_BYTES];
    char password_hash[AUTH_HASH_BYTES];
    auth_link_t link;
    auth_user_t user;
    if (!auth_limit_address(auth, AUTH_LIMIT_SIGN_IN, request, reply) ||
        !auth_judge_password(request, reply, "password"))
        return;
    auth_refresh_text_hash(bc_request_string(request, "token"), hash);
    if (!find_link(auth, hash, &link, reply)) return;
    if (link.kind != AUTH_LINK_RESET) {
        answer_bad_link(reply);
        return;
    }
    if (auth_password_hash(auth->passwords, bc_request_string(request, "password"), password_hash) !=
        AUTH_PASSWORD_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    int64_t now_ms = bc_time_ms();
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    if (!auth_store_use_link(auth->db, hash) || !auth_store_user(auth->db, &link.user, &user)) {
        refuse_link(auth, reply);
        return;
    }
    int64_t from_s = auth_store_revoke_tokens(auth->db, &link.user, user.tokens_from_s, now_ms, auth->access_life_ms);
    if (!auth_store_reset_password(auth->db, &link, password_hash, from_s, now_ms)) {
        refuse_link(auth, reply);
        return;
    }
    auth_store_end_sessions(auth->db, &link.user, now_ms);
    auth_store_drop_links(auth->db, &link.user, AUTH_LINK_RESET);
    auth_tell_event(auth, "user.changed", &link.user, NULL);
    auth_tell_audit(auth, request, &link.user, "user.password-reset", &link.user, NULL);
    auth_tell_mail(auth, BC_MAIL_PASSWORD_CHANGED, &link.user, link.email,
                   user.language[0] == '\0' ? bc_language_tag(bc_request_language(request)) : user.language, NULL);
    if (bc_db_commit(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    auth_committed(auth);
    auth_account_succeeded(auth->limits, link.email); /* whoever read the mail need not wait for a guesser */
    bc_metric_add(&resets, 1);
    bc_reply_empty(reply, 204);
}

/* Inside the transaction: the new address. BC_DB_OK: done. BC_DB_CONSTRAINT: taken. Else: the link is void. */
static bc_db_result_t change_address(auth_t *auth, bc_request_t *request, const auth_link_t *link, int64_t now_ms) {
    auth_user_t before;
    bool changed = false;
    if (!auth_store_user(auth->db, &link->user, &before)) return BC_DB_DONE;
    bc_db_result_t result = auth_store_set_email(auth->db, &link->user, link->email, now_ms, &changed);
    if (result == BC_DB_CONSTRAINT) return result;
    if (!changed) return BC_DB_DONE;
    auth_store_drop_links(auth->db, &link->user, -1);
    auth_tell_audit(auth, request, &link->user, "user.email-changed", &link->user, NULL);
    if (before.email[0] != '\0') {
        /* Enough for its owner to know the new one again, and for nobody else. */
        char hint[AUTH_EMAIL_MAX + 8];
        (void)snprintf(hint, sizeof(hint), "%c…%s", link->email[0], strchr(link->email, '@')); /* was normalised */
        json_t *data = json_pack("{s:s}", "new_email_hint", hint);
        auth_tell_mail(auth, BC_MAIL_EMAIL_CHANGED, &before.id, before.email,
                       before.language[0] == '\0' ? bc_language_tag(bc_request_language(request)) : before.language,
                       data);
        json_decref(data);
    }
    return BC_DB_OK;
}

void auth_verify(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    unsigned char hash[AUTH_TOKEN_HASH_BYTES];
    auth_link_t link;
    int64_t now_ms = bc_time_ms();
    if (!auth_limit_address(auth, AUTH_LIMIT_SIGN_IN, request, reply)) return;
    auth_refresh_text_hash(bc_request_string(request, "token"), hash);
    if (!find_link(auth, hash, &link, reply)) return;
    if (link.kind == AUTH_LINK_RESET) {
        answer_bad_link(reply);
        return;
    }
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    bc_db_result_t result = BC_DB_DONE;
    if (auth_store_use_link(auth->db, hash)) {
        if (link.kind == AUTH_LINK_CHANGE) {
            result = change_address(auth, request, &link, now_ms);
        } else if (auth_store_verify_email(auth->db, &link.user, link.email, now_ms)) {
            result = BC_DB_OK;
        }
    }
    if (result == BC_DB_CONSTRAINT) {
        bc_db_rollback(auth->db);
        bc_reply_problem(reply, "email-taken", NULL);
        return;
    }
    if (result != BC_DB_OK) {
        refuse_link(auth, reply);
        return;
    }
    auth_tell_event(auth, "user.changed", &link.user, NULL);
    if (bc_db_commit(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    auth_committed(auth);
    bc_reply_empty(reply, 204);
}
