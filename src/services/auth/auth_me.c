/* Who the caller is, where he is signed in, the public keys, what other services ask: what is read, and the end of one session. */
#include "services/auth/auth_service.h"

#include "platform/bc_time.h"

#include <string.h>

void auth_me(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    const bc_claims_t *caller = bc_request_caller(request);
    auth_user_t user;
    bc_db_t *db = bc_db_enter_read(auth->db);
    bool found = auth_store_user(db, &caller->user, &user), sound = bc_db_is_sound(db);
    bc_db_leave(db);
    if (!found) {
        if (!sound || caller->kind == BC_KIND_CUSTOMER) {
            auth_answer_unavailable(reply); /* a customer has a row: the store could not tell */
            return;
        }
        user = (auth_user_t){.id = caller->user, .kind = BC_KIND_GUEST, .role = BC_ROLE_CUSTOMER};
    }
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, auth_profile_json(&user));
}

void auth_sessions(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    const bc_claims_t *caller = bc_request_caller(request);
    auth_session_t sessions[AUTH_PAGE_MAX + 1];
    char list[CART_ID_CHARS + 16];
    auth_place_t place;
    int limit = 0;
    (void)strcpy(list, "sessions ");
    cart_id_format(BC_PREFIX_USER, &caller->user, list + strlen(list)); /* a cursor is of this user's list */
    if (!auth_page_read(auth, request, reply, list, &limit, &place)) return;
    bc_db_t *db = bc_db_enter_read(auth->db);
    int count =
        auth_store_sessions(db, &caller->user, bc_time_ms(), place.before_ms, &place.before, sessions, limit + 1);
    bool sound = bc_db_is_sound(db);
    bc_db_leave(db);
    json_t *items = json_array();
    if (!sound || items == NULL) {
        json_decref(items);
        auth_answer_unavailable(reply);
        return;
    }
    bool more = count > limit;
    if (more) count = limit;
    for (int i = 0; i < count; i++)
        (void)json_array_append_new(items, auth_session_json(&sessions[i], &caller->session)); /* no memory: left out */
    auth_place_t next = {0};
    if (more) next = (auth_place_t){sessions[count - 1].created_ms, sessions[count - 1].id};
    auth_page_answer(auth, reply, list, items, more ? &next : NULL);
}

void auth_session_end(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    cart_id_t session;
    if (!auth_id_read(BC_PREFIX_SESSION, bc_request_part(request, "id"), &session)) {
        bc_reply_not_found(reply);
        return;
    }
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    bool ended = auth_store_end_session(auth->db, &session, &bc_request_caller(request)->user, bc_time_ms(),
                                        auth->access_life_ms);
    if (bc_db_commit(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    if (!ended) {
        bc_reply_not_found(reply);
        return;
    }
    auth_committed(auth);
    bc_reply_empty(reply, 204);
}

void auth_internal_user(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    cart_id_t id;
    auth_user_t user;
    if (!auth_id_read(BC_PREFIX_USER, bc_request_part(request, "id"), &id)) {
        bc_reply_not_found(reply);
        return;
    }
    bc_db_t *db = bc_db_enter_read(auth->db);
    bool found = auth_store_user(db, &id, &user), sound = bc_db_is_sound(db);
    bc_db_leave(db);
    if (!sound) {
        auth_answer_unavailable(reply);
    } else if (!found) {
        bc_reply_not_found(reply);
    } else {
        bool nobody = user.email[0] == '\0';
        json_t *shown = auth_user_json(&user);
        if (shown != NULL && nobody) { /* a guest, or erased */
            (void)json_object_set_new(shown, "email", json_null());
            (void)json_object_set_new(shown, "name", json_null());
        }
        json_t *more = json_pack("{s:s?, s:b}", "language", user.language[0] == '\0' ? NULL : user.language, "closed",
                                 user.closed != AUTH_OPEN);
        bool whole = shown != NULL && more != NULL && json_object_update(shown, more) == 0;
        json_decref(more);
        if (!whole) {
            json_decref(shown);
            shown = NULL; /* answers 500 */
        }
        bc_reply_json(reply, 200, shown);
    }
}

void auth_jwks(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    (void)request;
    bc_reply_cache(reply, "public, max-age=60"); /* much less than a new key is published before it signs */
    bc_reply_json(reply, 200, bc_token_jwks(auth->issuer));
}

void auth_feed(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    bc_feed_serve(auth->revocations, request, reply);
}
