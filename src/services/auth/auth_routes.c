/* The auth service: its routes at a glance, and what it opens and closes. */
#include "services/auth/auth.h"
#include "services/auth/auth_service.h"

#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
static const bc_route_t routes[] = {
    {"POST",   "/api/v1/auth/guest",           BC_ANYONE,   auth_guest,       .fields = "transport:string"},
    {"POST",   "/api/v1/auth/register",        BC_ANYONE,   auth_register,    .fields = "email:string! password:string! name:string! transport:string", .token = true},
    {"POST",   "/api/v1/auth/login",           BC_ANYONE,   auth_login,       .fields = "email:string! password:string! cart:string transport:string", .token = true},
    {"POST",   "/api/v1/auth/refresh",         BC_ANYONE,   auth_refresh,     .fields = "refresh_token:string"},
    {"POST",   "/api/v1/auth/logout",          BC_GUEST,    auth_logout,      .fields = "refresh_token:string"},
    {"POST",   "/api/v1/auth/password/forgot", BC_ANYONE,   auth_forgot,      .fields = "email:string!"},
    {"POST",   "/api/v1/auth/password/reset",  BC_ANYONE,   auth_reset,       .fields = "token:string! password:string!"},
    {"POST",   "/api/v1/auth/email/verify",    BC_ANYONE,   auth_verify,      .fields = "token:string!"},
    {"GET",    "/api/v1/me",                   BC_GUEST,    auth_me,          .query = NULL},
    {"PATCH",  "/api/v1/me",                   BC_CUSTOMER, auth_me_change,   .fields = "name:string about:string? language:string?"},
    {"PUT",    "/api/v1/me/picture",           BC_CUSTOMER, auth_me_picture,  .media = BC_IMAGES_MEDIA, .body_max_bytes = BC_PICTURE_BYTES_MAX},
    {"POST",   "/api/v1/me/password",          BC_CUSTOMER, auth_me_password, .fields = "password:string! new_password:string!"},
    {"POST",   "/api/v1/me/email",             BC_CUSTOMER, auth_me_email,    .fields = "password:string! email:string!"},
    {"POST",   "/api/v1/me/erase",             BC_CUSTOMER, auth_me_erase,    .fields = "password:string!"},
    {"GET",    "/api/v1/me/export",            BC_CUSTOMER, auth_me_export,   .query = NULL},
    {"GET",    "/api/v1/me/sessions",          BC_CUSTOMER, auth_sessions,    .query = "limit cursor"},
    {"DELETE", "/api/v1/me/sessions/{id}",     BC_CUSTOMER, auth_session_end, .query = NULL},
    {"GET",    "/api/v1/admin/users",          BC_ADMIN,    auth_users,       .query = "limit cursor email kind role disabled"},
    {"PATCH",  "/api/v1/admin/users/{id}",     BC_ADMIN,    auth_user_change, .fields = "role:string disabled:bool"},
    {"GET",    "/api/v1/admin/audit",          BC_ADMIN,    auth_audit,       .query = "limit cursor user"},
    {"GET",    "/.well-known/jwks.json",       BC_ANYONE,   auth_jwks,        .query = NULL},
    {.method = NULL},
};

static const bc_route_t internal_routes[] = {
    {"GET",  "/internal/feed/revocations", BC_INTERNAL, auth_feed,                    .query = BC_FEED_QUERY},
    {"GET",  BC_EVENTS_PATH,               BC_INTERNAL, auth_events,                  .query = BC_FEED_QUERY},
    {"GET",  BC_DEAD_LETTERS_PATH,         BC_INTERNAL, auth_dead_letters,            .query = BC_DEAD_LETTERS_QUERY},
    {"POST", BC_DEAD_LETTERS_REPLAY_PATH,  BC_INTERNAL, auth_dead_letters_replay,     .fields = BC_DEAD_LETTERS_FIELDS},
    {"POST", BC_DEAD_LETTERS_DISCARD_PATH, BC_INTERNAL, auth_dead_letters_discard,    .fields = BC_DEAD_LETTERS_DISCARDED},
    {"GET",  "/internal/users/{id}",       BC_INTERNAL, auth_internal_user,           .query = NULL},
    {"POST", "/internal/admins",           BC_INTERNAL, auth_internal_admin,          .fields = "email:string! password:string!"},
    {"POST", "/internal/admins/password",  BC_INTERNAL, auth_internal_admin_password, .fields = "email:string! password:string!"},
    {"POST", "/internal/keys/rotate",      BC_INTERNAL, auth_internal_rotate,         .query = NULL},
    {.method = NULL},
};
/* clang-format on */

void auth_answer_unavailable(bc_reply_t *reply) {
    bc_reply_problem(reply, "unavailable", NULL);
    bc_reply_retry_after(reply, 1000);
}

bool auth_limit_address(auth_t *auth, auth_limit_t limit, bc_request_t *request, bc_reply_t *reply) {
    int64_t wait_ms = auth_limit_take(auth->limits, limit, bc_request_client(request), bc_monotonic_ms());
    if (wait_ms == 0) return true;
    bc_reply_problem(reply, "too-many-requests", NULL);
    bc_reply_retry_after(reply, wait_ms);
    return false;
}

void auth_committed(auth_t *auth) {
    bc_feed_wake(auth->revocations);
    bc_outbox_wake(auth->outbox);
    if (auth->mailer != NULL) bc_mailer_wake(auth->mailer);
}

static bool read_feed(void *context, uint64_t after, int limit, json_t *items, uint64_t *position, bool *more) {
    auth_t *auth = context;
    bc_db_t *db = bc_db_enter_read(auth->db);
    auth_store_feed(db, after, limit, bc_time_s(), items, position, more);
    bool good = bc_db_is_sound(db);
    bc_db_leave(db);
    return good;
}

bool auth_open(const bc_config_t *config, const char *service_key, const volatile bool *stopping, auth_t **auth) {
    char generation[24];
    auth_t *made = calloc(1, sizeof(*made));
    if (made == NULL) return false;
    made->config = config;
    made->service_key = service_key;
    made->stopping = stopping;
    made->access_life_ms = bc_config_number(config, BC_ACCESS_TOKEN_LIFE);
    made->refresh_life_ms = bc_config_number(config, BC_REFRESH_TOKEN_LIFE);
    made->grace_ms = bc_config_number(config, BC_REFRESH_GRACE);
    (void)pthread_mutex_init(&made->keeper_lock, NULL); /* default attributes: cannot fail */
    bc_cond_init(&made->keeper_wake);
    /* A new one at every start: readers then take the whole list, which is minutes of revocations, and whoever restored an older
     * store needs to tell nobody. */
    bc_random_text(12, generation, sizeof(generation));
    if ((made->db = bc_store_open(&auth_stored, config)) != NULL && auth_guest_key_load(made) &&
        (made->issuer = bc_token_issuer_create(config)) != NULL &&
        (made->passwords = auth_passwords_create(config)) != NULL &&
        (made->limits = auth_limits_create(bc_config_flag(config, BC_RATE_LIMITS))) != NULL &&
        (made->revocations = bc_feed_create(generation, read_feed, made)) != NULL &&
        (made->outbox = bc_outbox_create("auth", made->db)) != NULL) {
        *auth = made;
        return true;
    }
    auth_close(made);
    return false;
}

void auth_close(auth_t *auth) {
    if (auth == NULL) return;
    auth_keeper_stop(auth);
    if (auth->mailer != NULL) bc_mailer_destroy(auth->mailer);
    bc_images_destroy(auth->images);
    if (auth->outbox != NULL) bc_outbox_destroy(auth->outbox);
    bc_feed_destroy(auth->revocations);
    auth_limits_destroy(auth->limits);
    auth_passwords_destroy(auth->passwords);
    bc_token_issuer_destroy(auth->issuer);
    bc_db_close(auth->db);
    (void)pthread_cond_destroy(&auth->keeper_wake);
    (void)pthread_mutex_destroy(&auth->keeper_lock);
    sodium_memzero(auth->guest_key, sizeof(auth->guest_key));
    free(auth);
}

/* --- as a service --- */

static bool open_service(const bc_service_tools_t *tools, void **context) {
    auth_t *auth = NULL;
    if (!auth_open(tools->config, tools->service_key, tools->stopping, &auth)) return false;
    auth->mailer = bc_mailer_create(tools->config, auth->db, NULL, NULL);
    auth->images = bc_images_create(tools->config, AUTH_PICTURES);
    if (auth->mailer == NULL || auth->images == NULL || !auth_keeper_start(auth) ||
        !bc_images_start_sweeping(auth->images, auth_picture_used, auth)) {
        auth_close(auth);
        return false;
    }
    *context = auth;
    return true;
}

static void stop_service(void *context) {
    auth_t *auth = context;
    bc_feed_wake(auth->revocations);
    bc_outbox_wake(auth->outbox);
    auth_keeper_stop(auth);
    bc_mailer_stop(auth->mailer);
    bc_images_stop(auth->images);
}

static void close_service(void *context) {
    auth_close(context);
}

static bc_standing_t standing(const bc_claims_t *claims, void *context) {
    auth_t *auth = context;
    bc_db_t *db = bc_db_enter_read(auth->db);
    bool revoked = auth_store_is_revoked(db, claims), sound = bc_db_is_sound(db);
    bc_db_leave(db);
    return !sound ? BC_STANDING_UNKNOWN : revoked ? BC_STANDING_REVOKED : BC_STANDING_GOOD;
}

static bool is_ready(void *context, json_t *checks) {
    auth_t *auth = context;
    bool open = bc_db_is_open(auth->db);
    (void)json_object_set_new(checks, "database",
                              json_string(open ? "ok" : "closed")); /* without memory: a check less is shown */
    return open;
}

const bc_service_t auth_service = {
    .name = "auth",
    .listen = BC_AUTH_LISTEN,
    .internal = BC_AUTH_INTERNAL,
    .routes = routes,
    .internal_routes = internal_routes,
    .open = open_service,
    .stop = stop_service,
    .close = close_service,
    .standing = standing,
    .ready = is_ready,
};

int auth_service_main(const bc_config_t *config) {
    return bc_service_main(&auth_service, config);
}
