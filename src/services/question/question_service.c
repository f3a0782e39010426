/* The service's life: opens question.db under the lock that bc_service holds, serves, closes. */
#include "services/question/question_service.h"

#include "platform/bc_once.h"
#include "platform/bc_store.h"
#include "platform/bc_time.h"
#include "services/question/question.h"

#include <stdlib.h>

enum { keeper_pause_ms = 3600 * 1000 };

static const bc_store_t stored = {.service = "question", .file = "question.db", .migrations = question_migrations};

static void close_question(void *context) {
    question_t *question = context;
    bc_task_destroy(question->keeper);
    bc_mailer_destroy(question->mailer);
    bc_consumer_destroy(question->users); /* before what its handlers use */
    bc_revoked_destroy(question->revoked);
    bc_outbox_destroy(question->outbox);
    bc_db_close(question->db);
    free(question);
}

/* Forgets what is over: events, keys. */
static int64_t keep_house(bc_task_t *task, void *context) {
    const question_t *question = context;
    (void)task;
    if (bc_db_begin(question->db) != BC_DB_OK) return keeper_pause_ms;
    bc_events_tidy(question->db, question->config, bc_time_ms());
    bc_once_tidy(question->db, bc_time_ms());
    (void)bc_db_commit(question->db); /* logged; it is tried again at the next round */
    return keeper_pause_ms;
}

static bool start_parts(question_t *question, const bc_service_tools_t *tools) {
    const bc_consumer_options_t users = {
        .source = "auth",
        .listen = BC_AUTH_INTERNAL,
        .handlers = question_user_events,
        .db = question->db,
        .context = question,
    };
    question->outbox = bc_outbox_create("question", question->db);
    if (question->outbox != NULL) question->revoked = bc_revoked_create(tools->config, tools->service_key);
    if (question->revoked != NULL) question->users = bc_consumer_create(tools->config, tools->service_key, &users);
    if (question->users != NULL)
        question->mailer = bc_mailer_create(tools->config, question->db, question_part_address, question);
    if (question->mailer != NULL) question->keeper = bc_task_create("question-keeper", keep_house, question);
    return question->keeper != NULL;
}

static bool open_question(const bc_service_tools_t *tools, void **context) {
    question_t *question = calloc(1, sizeof(*question));
    if (question == NULL) return false;
    question->config = tools->config;
    question->service_key = tools->service_key;
    question->stopping = tools->stopping;
    question->db = bc_store_open(&stored, tools->config);
    if (question->db == NULL || !start_parts(question, tools)) {
        close_question(question);
        return false;
    }
    *context = question;
    return true;
}

static void stop_question(void *context) {
    question_t *question = context;
    bc_revoked_stop(question->revoked);
    bc_consumer_stop(question->users);
    bc_mailer_stop(question->mailer);
    bc_task_stop(question->keeper);
    bc_outbox_wake(question->outbox);
}

static bool is_ready(void *context, json_t *checks) {
    question_t *question = context;
    bool open = bc_db_is_open(question->db);
    bool vouched = bc_revoked_is_vouched(question->revoked);
    if (json_object_set_new(checks, "events:auth", json_string(bc_consumer_state(question->users))) != 0) return false;
    if (json_object_set_new(checks, "revocations", json_string(vouched ? "ok" : "not vouched for")) != 0) return false;
    return json_object_set_new(checks, "database", json_string(open ? "ok" : "closed")) == 0 && open;
}

static bc_standing_t standing(const bc_claims_t *claims, void *context) {
    const question_t *question = context;
    return bc_revoked_standing(question->revoked, claims);
}

const bc_service_t question_service = {
    .name = "question",
    .listen = BC_QUESTION_LISTEN,
    .internal = BC_QUESTION_INTERNAL,
    .routes = question_routes,
    .internal_routes = question_internal_routes,
    .open = open_question,
    .stop = stop_question,
    .close = close_question,
    .standing = standing,
    .ready = is_ready,
};

int question_service_main(const bc_config_t *config) {
    return bc_service_main(&question_service, config);
}

int question_service_migrate(const bc_config_t *config) {
    return bc_store_migrate(&stored, config);
}

int question_service_restored(const bc_config_t *config) {
    return bc_store_restored(&stored, config);
}
