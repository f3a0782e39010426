/*
 * What a customer does with his own account: profile, password, address, and the end of it.
 *
 * A new password ends every session but the one it was set in. A new address becomes the account's when its owner follows the link that
 * was sent there (auth_link.c); until then nothing changes. Erasing forgets the person: address, name and whatever he wrote; the row
 * stays with its id, so that orders and the audit still name somebody, and user.erased tells the other services.
 */
#include "services/auth/auth_service.h"

#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* The language of mails to a user: his own, else that of the request. */
static const char *language_for(const auth_user_t *user, const bc_request_t *request) {
    return user->language[0] != '\0' ? user->language : bc_language_tag(bc_request_language(request));
}

/* The field's text; NULL in the body is an empty one. NULL: not there. */
static const char *patched(const bc_request_t *request, const char *field) {
    const json_t *value = json_object_get(bc_request_body(request), field);
    return value == NULL ? NULL : json_is_null(value) ? "" : json_string_value(value);
}

void auth_me_change(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    const bc_claims_t *caller = bc_request_caller(request);
    const char *name = patched(request, "name"), *about = patched(request, "about"),
               *language = patched(request, "language");
    auth_user_t user;
    bool good = true;
    if (name != NULL && !auth_name_acceptable(name)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "name", "length",
                               "1 to 100 characters are needed, no control characters");
        good = false;
    }
    if (about != NULL && !auth_about_acceptable(about)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "about", "length",
                               "at most 1000 characters, no control characters");
        good = false;
    }
    if (language != NULL && language[0] != '\0' && !auth_language_known(language)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "language", "unknown", "en, fr or bg");
        good = false;
    }
    if (!good) return;
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    bool changes = name != NULL || about != NULL || language != NULL;
    bool stored = !changes || auth_store_set_profile(auth->db, &caller->user, name, about, language, bc_time_ms());
    bool found = stored && auth_store_user(auth->db, &caller->user, &user);
    if (changes && stored) auth_tell_event(auth, "user.changed", &caller->user, NULL);
    if (bc_db_commit(auth->db) != BC_DB_OK || !found) {
        auth_answer_unavailable(reply);
        return;
    }
    if (changes) auth_committed(auth);
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, auth_profile_json(&user));
}

void auth_me_password(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    const bc_claims_t *caller = bc_request_caller(request);
    auth_user_t user;
    char hash[AUTH_HASH_BYTES];
    if (!auth_judge_password(request, reply, "new_password") || !auth_own_password(auth, request, reply, &user)) return;
    if (auth_password_hash(auth->passwords, bc_request_string(request, "new_password"), hash) != AUTH_PASSWORD_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    int64_t now_ms = bc_time_ms();
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    bool changed = auth_store_set_password(auth->db, &user.id, user.password_hash, hash, now_ms);
    if (changed) {
        auth_store_end_other_sessions(auth->db, &user.id, &caller->session, now_ms, auth->access_life_ms);
        auth_store_drop_links(auth->db, &user.id, AUTH_LINK_RESET);
        auth_tell_event(auth, "user.changed", &user.id, NULL);
        auth_tell_audit(auth, request, &user.id, "user.password-changed", &user.id, NULL);
        auth_tell_mail(auth, BC_MAIL_PASSWORD_CHANGED, &user.id, user.email, language_for(&user, request), NULL);
    }
    bool sound = bc_db_is_sound(auth->db);
    if (bc_db_commit(auth->db) != BC_DB_OK || !sound) {
        auth_answer_unavailable(reply);
        return;
    }
    if (!changed) { /* another one was set while ours was looked at */
        bc_reply_problem(reply, "wrong-password", NULL);
        return;
    }
    auth_committed(auth);
    bc_reply_empty(reply, 204);
}

void auth_me_email(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    auth_user_t user, other;
    auth_link_t link = {.kind = AUTH_LINK_CHANGE};
    if (!auth_email_normalise(bc_request_string(request, "email"), link.email)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "email", "not-an-address",
                               "this is no e-mail address that we can take");
        return;
    }
    if (!auth_own_password(auth, request, reply, &user)) return;
    link.user = user.id;
    /* His own again: he wants another mail to prove it by. */
    bool own = strcmp(link.email, user.email) == 0;
    if (own) link.kind = AUTH_LINK_VERIFY;
    int64_t wait_ms = auth_limit_take(auth->limits, AUTH_LIMIT_MAIL, link.email, bc_monotonic_ms());
    if (wait_ms > 0) {
        bc_reply_problem(reply, "too-many-requests", NULL);
        bc_reply_retry_after(reply, wait_ms);
        return;
    }
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    /* Registration tells it too; the unique index decides when the link is followed. */
    if (!own && auth_store_user_by_email(auth->db, link.email, &other)) {
        bc_db_rollback(auth->db);
        bc_reply_problem(reply, "email-taken", NULL);
        return;
    }
    if (!own || !user.email_verified) auth_tell_link(auth, &link, language_for(&user, request), bc_time_ms());
    if (bc_db_commit(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    auth_committed(auth);
    bc_reply_empty(reply, 202);
}

void auth_me_erase(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    auth_user_t user;
    if (!auth_own_password(auth, request, reply, &user)) return;
    assert(user.kind == BC_KIND_CUSTOMER);
    int64_t now_ms = bc_time_ms();
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    int64_t from_s = auth_store_revoke_tokens(auth->db, &user.id, user.tokens_from_s, now_ms, auth->access_life_ms);
    if (!auth_store_erase(auth->db, &user, from_s, now_ms)) {
        bool sound = bc_db_is_sound(auth->db);
        bc_db_rollback(auth->db);
        if (sound && user.role == BC_ROLE_ADMIN) {
            bc_reply_problem(reply, "last-admin", NULL);
        } else {
            auth_answer_unavailable(reply); /* or something was changed meanwhile: the same again will do */
        }
        return;
    }
    auth_store_end_sessions(auth->db, &user.id, now_ms);
    auth_store_drop_links(auth->db, &user.id, -1);
    bc_mail_forget(auth->db, &user.id);
    auth_tell_event(auth, "user.erased", &user.id, NULL);
    auth_tell_audit(auth, request, &user.id, "user.erased", &user.id, NULL);
    if (bc_db_commit(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    auth_committed(auth);
    bc_reply_empty(reply, 204);
}
