/*
 * What the calls below /me and the lists have in common: the password asked once more, how users, sessions and the audit are shown, and
 * pages.
 */
#include "services/auth/auth_agent.h"
#include "services/auth/auth_service.h"

#include "platform/bc_cursor.h"
#include "platform/bc_time.h"

#include <stdio.h>
#include <string.h>

bool auth_id_read(const char *prefix, const char *text, cart_id_t *id) {
    return cart_id_parse(prefix, text, strlen(text), id);
}

bool auth_judge_password(bc_request_t *request, bc_reply_t *reply, const char *field) {
    if (auth_password_acceptable(bc_request_string(request, field))) return true;
    bc_reply_problem_field(reply, "not-acceptable-value", field, "length", "8 to 200 characters are needed");
    return false;
}

bool auth_own_password(auth_t *auth, bc_request_t *request, bc_reply_t *reply, auth_user_t *user) {
    const char *password = bc_request_string(request, "password");
    if (!auth_limit_address(auth, AUTH_LIMIT_SIGN_IN, request, reply)) return false;
    bc_db_t *db = bc_db_enter_read(auth->db);
    bool found = auth_store_user(db, &bc_request_caller(request)->user, user);
    bc_db_leave(db);
    if (!found || user->closed) { /* a customer whose token is good has an open row, a moment ago at least */
        auth_answer_unavailable(reply);
        return false;
    }
    int64_t wait_ms = auth_account_wait(auth->limits, user->email, bc_monotonic_ms());
    if (wait_ms > 0) {
        bc_reply_problem(reply, "too-many-requests", NULL);
        bc_reply_retry_after(reply, wait_ms);
        return false;
    }
    bool fits = auth_code_points(password) <= AUTH_PASSWORD_MAX;
    switch (auth_password_verify(auth->passwords, fits ? password : "", fits ? user->password_hash : NULL, NULL)) {
    case AUTH_PASSWORD_OK:
        auth_account_succeeded(auth->limits, user->email);
        return true;
    case AUTH_PASSWORD_WRONG:
        auth_account_failed(auth->limits, user->email, bc_monotonic_ms());
        bc_reply_problem(reply, "wrong-password", NULL);
        return false;
    case AUTH_PASSWORD_BUSY:
    case AUTH_PASSWORD_FAILED:
        break;
    }
    auth_answer_unavailable(reply);
    return false;
}

/* --- how things are shown; NULL: no memory --- */

static void show_time(json_t *object, const char *name, int64_t unix_ms) {
    char text[BC_TIME_TEXT_BYTES];
    bc_time_format(unix_ms, text);
    (void)json_object_set_new(
        object, name,
        json_string(text)); /* without memory: the answer lacks it and is refused as a whole by its reader */
}

json_t *auth_profile_json(const auth_user_t *user) {
    bool guest = user->kind == BC_KIND_GUEST;
    json_t *shown = auth_user_json(user);
    json_t *more = json_pack("{s:s?, s:s?, s:s?}", "about", guest ? NULL : user->about, "language",
                             user->language[0] == '\0' ? NULL : user->language, "picture_url",
                             user->picture_url[0] == '\0' ? NULL : user->picture_url);
    if (shown == NULL || more == NULL || json_object_update(shown, more) != 0) {
        json_decref(shown);
        shown = NULL;
    }
    json_decref(more);
    return shown;
}

json_t *auth_session_json(const auth_session_t *session, const cart_id_t *current) {
    char id[CART_ID_CHARS + 1], browser[AUTH_AGENT_BYTES], system[AUTH_AGENT_BYTES];
    cart_id_format(BC_PREFIX_SESSION, &session->id, id);
    auth_agent_halves(session->agent, browser, system);
    json_t *shown = json_pack("{s:s, s:b, s:s, s:s}", "id", id, "current", cart_id_equal(&session->id, current),
                              "browser", browser, "system", system);
    show_time(shown, "created_at", session->created_ms);
    show_time(shown, "last_used_at", session->used_ms);
    show_time(shown, "expires_at", session->expires_ms);
    return shown;
}

json_t *auth_audit_json(const auth_audit_t *entry) {
    char user[CART_ID_CHARS + 1], actor[CART_ID_CHARS + 1], position[24];
    cart_id_format(BC_PREFIX_USER, &entry->user, user);
    cart_id_format(BC_PREFIX_USER, &entry->actor, actor);
    (void)snprintf(position, sizeof(position), "aud_%lld", (long long)entry->position);
    json_t *detail = json_loads(entry->detail, 0, NULL);
    json_t *shown =
        json_pack("{s:s, s:s?, s:s, s:s, s:o, s:s?}", "id", position, "actor", entry->has_actor ? actor : NULL,
                  "action", entry->action, "target", user, "detail", detail == NULL ? json_object() : detail,
                  "request_id", entry->request_id[0] == '\0' ? NULL : entry->request_id);
    show_time(shown, "at", entry->at_ms);
    return shown;
}

/* --- pages --- */

bool auth_page_read(auth_t *auth, bc_request_t *request, bc_reply_t *reply, const char *list, int *limit,
                    auth_place_t *place) {
    const char *cursor = bc_request_query(request, "cursor");
    int64_t wanted = 0;
    if (!bc_request_query_int(request, reply, "limit", 1, AUTH_PAGE_MAX, AUTH_PAGE, &wanted)) return false;
    if (cursor == NULL) {
        place->before_ms = INT64_MAX;
        memset(&place->before, 0xff, sizeof(place->before));
    } else if (!bc_cursor_read(auth->service_key, list, cursor, place, sizeof(*place))) {
        bc_reply_problem(reply, "bad-cursor", NULL);
        return false;
    }
    *limit = (int)wanted;
    return true;
}

void auth_page_answer(auth_t *auth, bc_reply_t *reply, const char *list, json_t *items, const auth_place_t *next) {
    char cursor[BC_CURSOR_CHARS] = "";
    if (next != NULL) bc_cursor_write(auth->service_key, list, next, sizeof(*next), cursor);
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, json_pack("{s:o, s:s?}", "items", items, "next_cursor", next == NULL ? NULL : cursor));
}
