/*
 * What an administrator does with users: the list, role and state, and the audit.
 *
 * A change of role or state is one transaction: the guarded statement, the revocation of every access token the user has (so that edge and
 * services refuse the old role within a second; he refreshes and has the new one), events, the audit. The last open administrator stays, also
 * when two take the role from each other at once: the statement counts, not we.
 */
#include "services/auth/auth_service.h"

#include "platform/bc_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the list --- */

static json_t *shown_user(const auth_user_t *user) {
    char created[BC_TIME_TEXT_BYTES];
    bc_time_format(user->created_ms, created);
    json_t *shown = auth_user_json(user);
    json_t *more = json_pack("{s:s?, s:b, s:s}", "language", user->language[0] == '\0' ? NULL : user->language,
                             "disabled", user->closed == AUTH_DISABLED, "created_at", created);
    if (shown != NULL && (more == NULL || json_object_update(shown, more) != 0)) {
        json_decref(shown);
        shown = NULL;
    }
    json_decref(more);
    return shown;
}

/* The number of the word among two; -1 when the parameter is not there. false: it is another word, the problem is set. */
static bool read_choice(bc_request_t *request, bc_reply_t *reply, const char *name, const char *const words[2],
                        int *choice) {
    const char *given = bc_request_query(request, name);
    *choice = -1;
    if (given == NULL) return true;
    for (int i = 0; i < 2; i++) {
        if (strcmp(given, words[i]) != 0) continue;
        *choice = i;
        return true;
    }
    char detail[64];
    (void)snprintf(detail, sizeof(detail), "%s or %s", words[0], words[1]); /* short words of ours */
    bc_reply_problem_field(reply, "malformed-request", name, "unknown", detail);
    return false;
}

static bool read_filter(bc_request_t *request, bc_reply_t *reply, auth_filter_t *filter) {
    static const char *const kinds[2] = {"guest", "customer"}, *const roles[2] = {"customer", "admin"},
                             *const flags[2] = {"false", "true"};
    const char *email = bc_request_query(request, "email");
    filter->email[0] = '\0';
    if (!read_choice(request, reply, "kind", kinds, &filter->kind) ||
        !read_choice(request, reply, "role", roles, &filter->role) ||
        !read_choice(request, reply, "disabled", flags, &filter->disabled))
        return false;
    /* Other letters than ASCII can only be a whole address with such a domain. */
    if (email == NULL || auth_email_prefix(email, filter->email) || auth_email_normalise(email, filter->email))
        return true;
    bc_reply_problem_field(reply, "malformed-request", "email", "not-an-address", "no address begins like this");
    return false;
}

void auth_users(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    auth_filter_t filter;
    auth_place_t place;
    char list[AUTH_EMAIL_MAX + 64];
    int limit = 0;
    if (!read_filter(request, reply, &filter)) return;
    (void)snprintf(list, sizeof(list), "users %d %d %d %s", filter.kind, filter.role, filter.disabled,
                   filter.email); /* fits by its size */
    if (!auth_page_read(auth, request, reply, list, &limit, &place)) return;
    auth_user_t *users = calloc((size_t)limit + 1, sizeof(*users));
    json_t *items = json_array();
    if (users == NULL || items == NULL) {
        free(users);
        json_decref(items);
        auth_answer_unavailable(reply);
        return;
    }
    bc_db_t *db = bc_db_enter_read(auth->db);
    int count = auth_store_users(db, &filter, place.before_ms, &place.before, users, limit + 1);
    bool sound = bc_db_is_sound(db);
    bc_db_leave(db);
    bool more = count > limit;
    if (more) count = limit;
    for (int i = 0; sound && i < count; i++) sound = json_array_append_new(items, shown_user(&users[i])) == 0;
    auth_place_t next = {0};
    if (more) next = (auth_place_t){users[count - 1].created_ms, users[count - 1].id};
    free(users);
    if (!sound) {
        json_decref(items);
        auth_answer_unavailable(reply);
        return;
    }
    auth_page_answer(auth, reply, list, items, more ? &next : NULL);
}

/* --- role and state --- */

typedef struct {
    bool has_role, has_disabled; /* what the request names */
    bc_role_t role;
    bool disabled;
} wish_t;

static bool read_wish(bc_request_t *request, bc_reply_t *reply, wish_t *wish) {
    const char *role = bc_request_string(request, "role");
    const json_t *disabled = json_object_get(bc_request_body(request), "disabled");
    *wish = (wish_t){.has_role = role != NULL, .has_disabled = disabled != NULL, .disabled = json_is_true(disabled)};
    if (role == NULL || strcmp(role, "customer") == 0) return true;
    if (strcmp(role, "admin") == 0) {
        wish->role = BC_ROLE_ADMIN;
        return true;
    }
    bc_reply_problem_field(reply, "not-acceptable-value", "role", "unknown", "customer or admin");
    return false;
}

/* Inside the transaction: what changed is told. */
static void tell(auth_t *auth, const bc_request_t *request, const auth_user_t *before, const auth_user_t *after) {
    const cart_id_t *actor = &bc_request_caller(request)->user;
    if (before->role != after->role) {
        const char *word = bc_role_word(after->role);
        auth_tell_event(auth, "user.role-changed", &after->id, json_pack("{s:s}", "role", word));
        auth_tell_audit(auth, request, actor, "user.role-changed", &after->id,
                        json_pack("{s:s, s:s}", "from", bc_role_word(before->role), "to", word));
    }
    if (before->closed != after->closed) {
        const char *type = after->closed == AUTH_DISABLED ? "user.disabled" : "user.enabled";
        auth_tell_event(auth, type, &after->id, NULL);
        auth_tell_audit(auth, request, actor, type, &after->id, NULL);
    }
}

/* Inside the transaction. NULL: done, and *after is the user as he is now; else the problem to answer with. */
static const char *change_user(auth_t *auth, const bc_request_t *request, const cart_id_t *id, const wish_t *wish,
                               auth_user_t *after, bool *changed) {
    const bc_claims_t *caller = bc_request_caller(request);
    auth_user_t before, actor;
    int64_t now_ms = bc_time_ms();
    if (!auth_store_user(auth->db, id, &before) || before.closed == AUTH_ENDED || before.closed == AUTH_ERASED)
        return "not-found";
    *after = before;
    if (wish->has_role) after->role = wish->role;
    if (wish->has_disabled) after->closed = wish->disabled ? AUTH_DISABLED : AUTH_OPEN;
    *changed = after->role != before.role || after->closed != before.closed;
    if (wish->has_role && cart_id_equal(id, &caller->user)) return "forbidden";
    if (after->role == BC_ROLE_ADMIN && after->kind != BC_KIND_CUSTOMER) return "conflict"; /* a guest */
    if (!*changed) return NULL;
    bool was = before.role == BC_ROLE_ADMIN && before.closed == AUTH_OPEN;
    bool is = after->role == BC_ROLE_ADMIN && after->closed == AUTH_OPEN;
    after->tokens_from_s = auth_store_revoke_tokens(auth->db, id, before.tokens_from_s, now_ms, auth->access_life_ms);
    if (!auth_store_set_standing(auth->db, id, after->role, after->closed, was && !is, after->tokens_from_s, now_ms))
        return "last-admin";
    /* Whoever lost the role since his token was looked at changes nothing any more. */
    if (!cart_id_equal(id, &caller->user) &&
        (!auth_store_user(auth->db, &caller->user, &actor) || actor.role != BC_ROLE_ADMIN || actor.closed != AUTH_OPEN))
        return "forbidden";
    if (after->closed == AUTH_DISABLED) auth_store_end_sessions(auth->db, id, now_ms);
    tell(auth, request, &before, after);
    return NULL;
}

void auth_user_change(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    cart_id_t id;
    wish_t wish;
    auth_user_t user;
    bool changed = false;
    if (!read_wish(request, reply, &wish)) return;
    if (!auth_id_read(BC_PREFIX_USER, bc_request_part(request, "id"), &id)) {
        bc_reply_not_found(reply);
        return;
    }
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    const char *problem = change_user(auth, request, &id, &wish, &user, &changed);
    bool sound = bc_db_is_sound(auth->db);
    if (problem != NULL || !sound) {
        bc_db_rollback(auth->db);
        if (sound) {
            bc_reply_problem(reply, problem, NULL);
        } else {
            auth_answer_unavailable(reply);
        }
        return;
    }
    if (bc_db_commit(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    if (changed) auth_committed(auth);
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, shown_user(&user));
}

/* --- the audit --- */

void auth_audit(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    auth_audit_t entries[AUTH_PAGE_MAX + 1];
    const char *of = bc_request_query(request, "user");
    cart_id_t user;
    auth_place_t place;
    char list[96];
    int limit = 0;
    if (of != NULL && !auth_id_read(BC_PREFIX_USER, of, &user)) {
        bc_reply_problem_field(reply, "malformed-request", "user", "not-an-id", "a user's id begins with usr_");
        return;
    }
    (void)snprintf(list, sizeof(list), "audit %s", of == NULL ? "" : of); /* an id that parsed is short */
    if (!auth_page_read(auth, request, reply, list, &limit, &place)) return;
    bc_db_t *db = bc_db_enter_read(auth->db);
    int count = auth_store_audit(db, of == NULL ? NULL : &user, place.before_ms, entries, limit + 1);
    bool sound = bc_db_is_sound(db);
    bc_db_leave(db);
    bool more = count > limit;
    if (more) count = limit;
    json_t *items = json_array();
    for (int i = 0; sound && i < count; i++) sound = json_array_append_new(items, auth_audit_json(&entries[i])) == 0;
    if (!sound) {
        json_decref(items);
        auth_answer_unavailable(reply);
        return;
    }
    auth_place_t next = {0};
    if (more) next.before_ms = entries[count - 1].position;
    auth_page_answer(auth, reply, list, items, more ? &next : NULL);
}
