/*
 * All that the shop knows of a customer, in one answer: what is here, and what cart, payment and question say when they are asked. A part
 * that is away is null and named in `missing`: the customer sees that it is not all, and may ask again.
 */
#include "services/auth/auth_service.h"

#include "platform/bc_client.h"
#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <stdio.h>
#include <stdlib.h>

#define PART_TIMEOUT_MS    3000
#define SESSIONS_SHOWN_MAX 1000
#define ACTIVITY_SHOWN_MAX 1000

typedef struct {
    const char *name; /* of the service, and of the part */
    bc_key_t listen;
    const char *before, *after; /* the path around the user's id */
} part_t;

static const part_t parts[] = {
    {"cart", BC_CART_INTERNAL, "/internal/carts/", ""},
    {"payment", BC_PAYMENT_INTERNAL, "/internal/users/", "/export"},
    {"question", BC_QUESTION_INTERNAL, "/internal/users/", "/export"},
};

/* The part's own answer; NULL: it is away, or does not answer as it should. The caller owns it. */
static json_t *ask_part(const auth_t *auth, const part_t *part, const char *user) {
    char path[128];
    int status = 0;
    json_t *answer = NULL;
    (void)snprintf(path, sizeof(path), "%s%s%s", part->before, user, part->after); /* short texts of ours and an id */
    bc_client_t *client = bc_client_create(bc_config_text(auth->config, part->listen), auth->service_key);
    bool answered =
        client != NULL && bc_client_call(client, "GET", path, NULL, PART_TIMEOUT_MS, auth->stopping, &status, &answer);
    bc_client_destroy(client);
    if (answered && status == 200 && json_is_object(answer)) return answer;
    bc_log(BC_LOG_WARN, "export-incomplete", bc_f_text("part", part->name), bc_f_int("status", answered ? status : 0));
    json_decref(answer);
    return NULL;
}

/* What auth itself knows. NULL: the store or memory failed. */
static json_t *own_part(auth_t *auth, const bc_claims_t *caller) {
    auth_user_t user;
    auth_place_t first = {.before_ms = INT64_MAX};
    json_t *own = NULL, *session_list = json_array(), *activity = json_array();
    auth_session_t *sessions = calloc(SESSIONS_SHOWN_MAX, sizeof(*sessions));
    auth_audit_t *entries = calloc(ACTIVITY_SHOWN_MAX, sizeof(*entries));
    if (session_list == NULL || activity == NULL || sessions == NULL || entries == NULL) goto end;
    bc_db_t *db = bc_db_enter_read(auth->db);
    bool good = auth_store_user(db, &caller->user, &user);
    int sessions_count = auth_store_sessions(db, &caller->user, bc_time_ms(), first.before_ms, &first.before, sessions,
                                             SESSIONS_SHOWN_MAX);
    int entries_count = auth_store_audit(db, &caller->user, INT64_MAX, entries, ACTIVITY_SHOWN_MAX);
    good = good && bc_db_is_sound(db);
    bc_db_leave(db);
    for (int i = 0; good && i < sessions_count; i++)
        good = json_array_append_new(session_list, auth_session_json(&sessions[i], &caller->session)) == 0;
    for (int i = 0; good && i < entries_count; i++)
        good = json_array_append_new(activity, auth_audit_json(&entries[i])) == 0;
    if (good)
        own = json_pack("{s:o*, s:O, s:O}", "user", auth_profile_json(&user), "sessions", session_list, "activity",
                        activity);
end:
    free(sessions);
    free(entries);
    json_decref(session_list);
    json_decref(activity);
    return own;
}

void auth_me_export(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    const bc_claims_t *caller = bc_request_caller(request);
    char id[CART_ID_CHARS + 1], now[BC_TIME_TEXT_BYTES];
    cart_id_format(BC_PREFIX_USER, &caller->user, id);
    bc_time_format(bc_time_ms(), now);
    int64_t wait_ms = auth_limit_take(auth->limits, AUTH_LIMIT_EXPORT, id, bc_monotonic_ms());
    if (wait_ms > 0) {
        bc_reply_problem(reply, "too-many-requests", NULL);
        bc_reply_retry_after(reply, wait_ms);
        return;
    }
    json_t *whole = own_part(auth, caller), *missing = json_array();
    if (whole == NULL || missing == NULL) {
        json_decref(whole);
        json_decref(missing);
        auth_answer_unavailable(reply);
        return;
    }
    bool good = json_object_set_new(whole, "exported_at", json_string(now)) == 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        json_t *part = ask_part(auth, &parts[i], id);
        if (part == NULL) good = good && json_array_append_new(missing, json_string(parts[i].name)) == 0;
        good = json_object_set_new(whole, parts[i].name, part == NULL ? json_null() : part) == 0 && good;
    }
    good = json_object_set_new(whole, "missing", missing) == 0 && good;
    if (!good) {
        json_decref(whole);
        whole = NULL; /* answers 500 */
    }
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, whole);
}
