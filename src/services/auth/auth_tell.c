/*
 * What a change tells others, written in the transaction of the change: an event, a line of the audit, a mail. Called by handlers between
 * bc_db_begin and the commit, after which auth_committed wakes whoever waits. Without memory the transaction fails: a change is never told
 * by half.
 */
#include "services/auth/auth_service.h"

#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINK_CHARS 48 /* "bcl_" and 43 characters */

static const struct {
    bc_mail_kind_t mail;
    int64_t life_ms;
} link_kinds[] = {
    [AUTH_LINK_VERIFY] = {BC_MAIL_VERIFY, 7LL * 24 * 3600 * 1000},
    [AUTH_LINK_RESET] = {BC_MAIL_RESET, 3600LL * 1000},
    [AUTH_LINK_CHANGE] = {BC_MAIL_VERIFY, 24LL * 3600 * 1000},
};

void auth_tell_event(auth_t *auth, const char *type, const cart_id_t *user, json_t *more) {
    char id[CART_ID_CHARS + 1];
    cart_id_format(BC_PREFIX_USER, user, id);
    json_t *data = json_pack("{s:s}", "user", id);
    if (data == NULL || (more != NULL && json_object_update(data, more) != 0)) {
        bc_db_fail(auth->db, "no memory for an event");
    } else {
        bc_event_put(auth->db, "users", type, id, data);
    }
    json_decref(data);
    json_decref(more);
}

void auth_tell_audit(auth_t *auth, const bc_request_t *request, const cart_id_t *actor, const char *action,
                     const cart_id_t *user, json_t *detail) {
    auth_audit_t entry = {.at_ms = bc_time_ms(), .has_actor = actor != NULL, .user = *user};
    assert(strlen(action) < sizeof(entry.action));
    if (actor != NULL) entry.actor = *actor;
    (void)strcpy(entry.action, action); /* asserted to fit */
    char *text = detail == NULL ? NULL : json_dumps(detail, JSON_COMPACT | JSON_SORT_KEYS);
    (void)snprintf(entry.detail, sizeof(entry.detail), "%s", text == NULL ? "{}" : text); /* a few words of ours */
    (void)snprintf(entry.request_id, sizeof(entry.request_id), "%s", request == NULL ? "" : bc_request_id(request));
    auth_store_put_audit(auth->db, &entry);
    free(text);
    json_decref(detail);
}

void auth_tell_mail(auth_t *auth, bc_mail_kind_t kind, const cart_id_t *user, const char *address, const char *language,
                    const json_t *data) {
    char key[BC_MAIL_KEY_MAX + 1];
    (void)strcpy(key, "auth/"); /* fits: BC_MAIL_KEY_MAX */
    bc_random_text(16, key + strlen(key), sizeof(key) - strlen(key));
    json_t *nothing = json_object();
    bc_mail_t mail = {.key = key,
                      .kind = kind,
                      .language = bc_language_choose(language),
                      .address = address,
                      .user = user,
                      .data = data == NULL ? nothing : data};
    bc_mail_put(auth->db, &mail);
    json_decref(nothing);
}

void auth_tell_link(auth_t *auth, const auth_link_t *link, const char *language, int64_t now_ms) {
    char token[LINK_CHARS];
    unsigned char hash[AUTH_TOKEN_HASH_BYTES];
    (void)strcpy(token, "bcl_"); /* fits: LINK_CHARS */
    bc_random_text(32, token + 4, sizeof(token) - 4);
    auth_refresh_text_hash(token, hash);
    auth_store_put_link(auth->db, hash, link, now_ms + link_kinds[link->kind].life_ms);
    json_t *data = json_pack("{s:s}", "token", token);
    auth_tell_mail(auth, link_kinds[link->kind].mail, &link->user, link->email, language, data);
    json_decref(data);
    sodium_memzero(token, sizeof(token));
}
