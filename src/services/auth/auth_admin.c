/*
 * What the program's own commands do: make an administrator, rotate keys, migrate.
 *
 * While the service runs, its lock is held and the command goes through the internal listener; when it is down, the command takes the lock
 * and does the same work itself. Between the two (the service starts or stops meanwhile) it tries again a few times.
 */
#include "services/auth/auth.h"
#include "services/auth/auth_service.h"

#include "platform/bc_client.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CALL_TIMEOUT_MS 15000
#define TRIES           50
#define TRY_PAUSE_MS    200

auth_admin_result_t auth_admin_make(auth_t *auth, const char *email, const char *password) {
    auth_user_t user = {.id = bc_random_id(), .kind = BC_KIND_CUSTOMER, .role = BC_ROLE_ADMIN, .name = "Administrator"};
    if (!auth_email_normalise(email, user.email)) return AUTH_ADMIN_BAD_EMAIL;
    if (!auth_password_acceptable(password)) return AUTH_ADMIN_BAD_PASSWORD;
    if (auth_password_hash(auth->passwords, password, user.password_hash) != AUTH_PASSWORD_OK) return AUTH_ADMIN_FAILED;
    if (bc_db_begin(auth->db) != BC_DB_OK) return AUTH_ADMIN_FAILED;
    if (auth_store_put_customer(auth->db, &user, bc_time_ms()) == BC_DB_CONSTRAINT) {
        bc_db_rollback(auth->db);
        return AUTH_ADMIN_TAKEN;
    }
    auth_tell_event(auth, "user.registered", &user.id, NULL);
    auth_tell_audit(auth, NULL, NULL, "admin.created", &user.id, NULL);
    if (bc_db_commit(auth->db) != BC_DB_OK) return AUTH_ADMIN_FAILED;
    auth_committed(auth);
    return AUTH_ADMIN_DONE;
}

auth_admin_result_t auth_admin_set_password(auth_t *auth, const char *email, const char *password) {
    auth_user_t user;
    char normal[AUTH_EMAIL_MAX + 1], hash[AUTH_HASH_BYTES];
    if (!auth_email_normalise(email, normal)) return AUTH_ADMIN_BAD_EMAIL;
    if (!auth_password_acceptable(password)) return AUTH_ADMIN_BAD_PASSWORD;
    if (auth_password_hash(auth->passwords, password, hash) != AUTH_PASSWORD_OK) return AUTH_ADMIN_FAILED;
    int64_t now_ms = bc_time_ms();
    if (bc_db_begin(auth->db) != BC_DB_OK) return AUTH_ADMIN_FAILED;
    bool known = auth_store_user_by_email(auth->db, normal, &user) && user.role == BC_ROLE_ADMIN;
    if (known) {
        int64_t from_s = auth_store_revoke_tokens(auth->db, &user.id, user.tokens_from_s, now_ms, auth->access_life_ms);
        known = auth_store_force_password(auth->db, &user.id, hash, from_s, now_ms);
        auth_store_end_sessions(auth->db, &user.id, now_ms);
        auth_store_drop_links(auth->db, &user.id, AUTH_LINK_RESET);
        auth_tell_event(auth, "user.changed", &user.id, NULL);
        auth_tell_audit(auth, NULL, NULL, "admin.password-set", &user.id, NULL);
        auth_tell_mail(auth, BC_MAIL_PASSWORD_CHANGED, &user.id, user.email, user.language, NULL);
    }
    if (!known) {
        bool sound = bc_db_is_sound(auth->db);
        bc_db_rollback(auth->db);
        return sound ? AUTH_ADMIN_UNKNOWN : AUTH_ADMIN_FAILED;
    }
    if (bc_db_commit(auth->db) != BC_DB_OK) return AUTH_ADMIN_FAILED;
    auth_committed(auth);
    auth_account_succeeded(auth->limits, normal);
    return AUTH_ADMIN_DONE;
}

static void answer_admin(auth_admin_result_t result, bc_reply_t *reply) {
    switch (result) {
    case AUTH_ADMIN_DONE:
        bc_reply_empty(reply, 204);
        return;
    case AUTH_ADMIN_BAD_EMAIL:
        bc_reply_problem_field(reply, "not-acceptable-value", "email", "not-an-address", NULL);
        return;
    case AUTH_ADMIN_BAD_PASSWORD:
        bc_reply_problem_field(reply, "not-acceptable-value", "password", "length", "8 to 200 characters");
        return;
    case AUTH_ADMIN_TAKEN:
        bc_reply_problem(reply, "email-taken", NULL);
        return;
    case AUTH_ADMIN_UNKNOWN:
        bc_reply_not_found(reply);
        return;
    case AUTH_ADMIN_FAILED:
        auth_answer_unavailable(reply);
        return;
    }
}

void auth_internal_admin(bc_request_t *request, bc_reply_t *reply, void *context) {
    answer_admin(auth_admin_make(context, bc_request_string(request, "email"), bc_request_string(request, "password")),
                 reply);
}

void auth_internal_admin_password(bc_request_t *request, bc_reply_t *reply, void *context) {
    answer_admin(
        auth_admin_set_password(context, bc_request_string(request, "email"), bc_request_string(request, "password")),
        reply);
}

void auth_internal_rotate(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    (void)request;
    if (bc_token_rotate(auth->issuer)) {
        bc_reply_empty(reply, 204);
    } else {
        auth_answer_unavailable(reply);
    }
}

/* --- commands --- */

typedef enum { DONE, REFUSED, NOT_NOW } outcome_t;

static outcome_t call_service(const bc_config_t *config, const char *path, const json_t *body) {
    char key[BC_SECRET_MAX];
    outcome_t outcome = NOT_NOW;
    int status = 0;
    json_t *reply = NULL;
    if (!bc_client_init() || !bc_secret_service_key(config, false, key, sizeof(key))) return NOT_NOW;
    bc_client_t *client = bc_client_create(bc_config_text(config, BC_AUTH_INTERNAL), key);
    bc_secret_wipe(key, sizeof(key));
    if (client != NULL && bc_client_call(client, "POST", path, body, CALL_TIMEOUT_MS, NULL, &status, &reply)) {
        outcome = status == 204 ? DONE : status == 503 ? NOT_NOW : REFUSED;
        const json_t *error = json_array_get(json_object_get(reply, "errors"), 0);
        const char *title = json_string_value(json_object_get(reply, "title")),
                   *field = json_string_value(json_object_get(error, "field"));
        if (outcome == REFUSED)
            (void)fprintf(stderr, "refused: %s%s%s\n", title == NULL ? "no reason given" : title,
                          field == NULL ? "" : ": ", field == NULL ? "" : field);
    }
    json_decref(reply);
    bc_client_destroy(client);
    return outcome;
}

typedef outcome_t (*direct_t)(auth_t *auth, const char *email, const char *password);

/* By whichever way is open; 0 or 1. */
static int run_command(const bc_config_t *config, const char *path, const json_t *body, direct_t direct,
                       const char *email, const char *password) {
    static const volatile bool never = false;
    if (!bc_random_init()) return 1;
    for (int i = 0; i < TRIES; i++) {
        outcome_t outcome = NOT_NOW;
        int lock = bc_service_lock(config, "auth", false);
        if (lock < 0 && errno != EWOULDBLOCK) return 1;
        if (lock < 0) {
            outcome = call_service(config, path, body);
        } else {
            auth_t *auth = NULL;
            outcome = auth_open(config, "", &never, &auth) ? direct(auth, email, password) : REFUSED;
            auth_close(auth);
            (void)close(lock);
        }
        if (outcome != NOT_NOW) return outcome == DONE ? 0 : 1;
        (void)poll(NULL, 0, TRY_PAUSE_MS); /* the service is just starting or stopping */
    }
    (void)fprintf(stderr, "the auth service holds its lock but does not answer\n");
    return 1;
}

static outcome_t say(auth_admin_result_t result) {
    static const char *const reasons[] = {
        [AUTH_ADMIN_DONE] = "",
        [AUTH_ADMIN_BAD_EMAIL] = "this is no e-mail address",
        [AUTH_ADMIN_BAD_PASSWORD] = "a password has 8 to 200 characters",
        [AUTH_ADMIN_TAKEN] = "the e-mail address is taken",
        [AUTH_ADMIN_UNKNOWN] = "there is no administrator of that address",
        [AUTH_ADMIN_FAILED] = "it could not be stored",
    };
    if (result != AUTH_ADMIN_DONE) (void)fprintf(stderr, "refused: %s\n", reasons[result]);
    return result == AUTH_ADMIN_DONE ? DONE : REFUSED;
}

static outcome_t make_directly(auth_t *auth, const char *email, const char *password) {
    return say(auth_admin_make(auth, email, password));
}

static outcome_t set_password_directly(auth_t *auth, const char *email, const char *password) {
    return say(auth_admin_set_password(auth, email, password));
}

static outcome_t rotate_directly(auth_t *auth, const char *email, const char *password) {
    (void)email;
    (void)password;
    return bc_token_rotate(auth->issuer) ? DONE : REFUSED;
}

/* With the password of standard input. */
static int run_with_password(const bc_config_t *config, const char *path, direct_t direct, const char *email) {
    char password[AUTH_PASSWORD_MAX * 4 + 3];
    if (fgets(password, sizeof(password), stdin) == NULL) {
        (void)fprintf(stderr, "no password on standard input\n");
        return 1;
    }
    password[strcspn(password, "\r\n")] = '\0';
    json_t *body = json_pack("{s:s, s:s}", "email", email, "password", password); /* NULL: no UTF-8, or no memory */
    int code = 1;
    if (body == NULL) {
        (void)fprintf(stderr, "e-mail address and password must be UTF-8\n");
    } else {
        code = run_command(config, path, body, direct, email, password);
    }
    json_decref(body);
    bc_secret_wipe(password, sizeof(password));
    return code;
}

int auth_admin_create(const bc_config_t *config, const char *email) {
    return run_with_password(config, "/internal/admins", make_directly, email);
}

int auth_admin_password(const bc_config_t *config, const char *email) {
    return run_with_password(config, "/internal/admins/password", set_password_directly, email);
}

int auth_keys_rotate(const bc_config_t *config) {
    return run_command(config, "/internal/keys/rotate", NULL, rotate_directly, NULL, NULL);
}

/* --- the store --- */

/* Who was signed in at the time of the backup is not any more. */
static void end_the_past(bc_db_t *db) {
    auth_store_revoke_all(db, bc_time_ms());
}

const bc_store_t auth_stored = {
    .service = "auth", .file = "auth.db", .migrations = auth_migrations, .restored = end_the_past};

int auth_service_migrate(const bc_config_t *config) {
    return bc_store_migrate(&auth_stored, config);
}

int auth_service_restored(const bc_config_t *config) {
    return bc_store_restored(&auth_stored, config);
}
