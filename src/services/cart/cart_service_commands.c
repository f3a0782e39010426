/*
 * What other services ask: a look at a cart, a guest merge, changes. A handler's or consumer's thread puts a command into the loop's queue
 * and waits; the loop answers it when what it says is durable. A command has a deadline of its own, after which the engine
 * refuses it; should even that not come, the handler leaves, and the loop frees the command when it lets go.
 */
#include "services/cart/cart_service_state.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define VIEW_MS   2000
#define MERGE_MS  2000
#define CHANGE_MS 2000
#define GRACE_MS  2000 /* past the deadline: the loop is in trouble then */
#define RETRY_MS  1000

/* ---- life of a command ----------------------------------------------------------------------------------------------- */

static command_t *command_create(command_kind_t kind, uint64_t wait_ms) {
    command_t *command = calloc(1, sizeof *command);
    if (command == NULL) return NULL;
    command->kind = kind;
    command->timeout_ms = wait_ms;
    command->holders = 1;
    bc_cond_init(&command->done_condition);
    return command;
}

/* Under the mutex. */
static void let_go(command_t *command) {
    assert(command->holders > 0);
    if (--command->holders > 0) return;
    (void)pthread_cond_destroy(&command->done_condition); /* nobody is left who could wait */
    free(command);
}

/* Waits for the answer. False: none came; the command may not be read any more. Either way the caller lets go of it with
 * command_end. */
static bool ask_loop(cart_service_t *service, command_t *command) {
    struct timespec until = bc_monotonic_deadline((int64_t)command->timeout_ms + GRACE_MS);
    (void)pthread_mutex_lock(&service->mutex);
    bool is_taken = !service->loop_over && service->command_count < COMMANDS_MAX;
    if (is_taken) {
        command->holders++;
        if (service->commands_last != NULL)
            service->commands_last->next = command;
        else
            service->commands_first = command;
        service->commands_last = command;
        service->command_count++;
        cart_service_wake(service);
        while (!command->done && pthread_cond_timedwait(&command->done_condition, &service->mutex, &until) == 0)
            continue;
    }
    bool is_done = is_taken && command->done;
    (void)pthread_mutex_unlock(&service->mutex);
    return is_done;
}

static void command_end(cart_service_t *service, command_t *command) {
    (void)pthread_mutex_lock(&service->mutex);
    let_go(command);
    (void)pthread_mutex_unlock(&service->mutex);
}

/* ---- on the loop ----------------------------------------------------------------------------------------------------- */

static command_t *take_command(cart_service_t *service) {
    (void)pthread_mutex_lock(&service->mutex);
    command_t *command = service->commands_first;
    if (command != NULL) {
        service->commands_first = command->next;
        if (service->commands_first == NULL) service->commands_last = NULL;
        service->command_count--;
    }
    (void)pthread_mutex_unlock(&service->mutex);
    return command;
}

void cart_service_commands_take(cart_service_t *service) {
    command_t *command;
    while ((command = take_command(service)) != NULL) {
        engine_origin_t origin = {.internal = command};
        uint64_t deadline_ms = service->now_ms + command->timeout_ms;
        engine_result_t result;
        if (command->kind == COMMAND_VIEW) {
            result = engine_fetch(service->engine, &origin, &command->user, NULL, 0, deadline_ms);
        } else if (command->kind == COMMAND_CHANGE) {
            result = engine_change(service->engine, &origin, &command->request, deadline_ms);
        } else {
            result =
                engine_merge(service->engine, &origin, &command->guest, &command->user, command->mode, deadline_ms);
        }
        if (result == ENGINE_OK) continue;
        static const cart_verdict_t full = {.outcome = CART_REFUSED, .reason = CART_REASON_QUEUE};
        cart_service_command_done(service, command, &full, NULL, NULL);
    }
}

void cart_service_command_done(cart_service_t *service, command_t *command, const cart_verdict_t *verdict,
                               const cart_image_t *image, const engine_merge_report_t *report) {
    (void)pthread_mutex_lock(&service->mutex);
    command->verdict = *verdict;
    command->has_image = image != NULL;
    if (image != NULL) cart_image_copy(&command->image, image);
    if (report != NULL) {
        command->repeated = report->repeated;
        command->line_count = report->line_count;
        if (report->line_count > 0) memcpy(command->lines, report->lines, report->line_count * sizeof *report->lines);
    }
    command->done = true;
    (void)pthread_cond_signal(&command->done_condition);
    let_go(command);
    (void)pthread_mutex_unlock(&service->mutex);
}

void cart_service_commands_end(cart_service_t *service) {
    (void)pthread_mutex_lock(&service->mutex);
    service->loop_over = true;
    (void)pthread_mutex_unlock(&service->mutex);
    static const cart_verdict_t stopping = {.outcome = CART_REFUSED, .reason = CART_REASON_STOPPING};
    command_t *command;
    while ((command = take_command(service)) != NULL)
        cart_service_command_done(service, command, &stopping, NULL, NULL);
}

/* ---- changes by other services --------------------------------------------------------------------------------------- */

bool cart_service_change(cart_service_t *service, const cart_request_t *request, cart_verdict_t *verdict,
                         cart_image_t *image) {
    *verdict = (cart_verdict_t){.outcome = CART_REFUSED, .reason = CART_REASON_LATE};
    command_t *command = command_create(COMMAND_CHANGE, CHANGE_MS);
    if (command == NULL) return false;
    command->request = *request;
    bool is_answered = ask_loop(service, command);
    if (is_answered) {
        *verdict = command->verdict;
        if (command->has_image) cart_image_copy(image, &command->image);
    }
    command_end(service, command);
    return is_answered && verdict->outcome != CART_REFUSED;
}

/* ---- in JSON --------------------------------------------------------------------------------------------------------- */

static json_t *number_text(uint64_t number) {
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, number); /* 20 digits at most */
    return json_string(text);
}

static void refuse(bc_reply_t *reply, const char *why) {
    bc_reply_retry_after(reply, RETRY_MS);
    bc_reply_problem(reply, "unavailable", why);
}

const char *cart_service_reason(const cart_verdict_t *verdict) {
    static const char *const reasons[] = {
        [CART_REASON_NONE] = "not now",
        [CART_REASON_LATE] = "not in time",
        [CART_REASON_MEMORY] = "no memory may be freed now",
        [CART_REASON_JOURNAL] = "the journal has no room",
        [CART_REASON_BASE_AWAY] = "the base cannot be reached",
        [CART_REASON_UNKNOWN] = "the result of the commit is unknown; asking again is safe",
        [CART_REASON_QUEUE] = "too many requests wait",
        [CART_REASON_RECENT] = "too many changes of this cart at once",
        [CART_REASON_FEED] = "revocations or books are not heard",
        [CART_REASON_STOPPING] = "the service stops",
    };
    return verdict->reason < sizeof reasons / sizeof reasons[0] ? reasons[verdict->reason] : reasons[0];
}

static bool read_user(bc_reply_t *reply, const char *field, const char *text, cart_id_t *id) {
    if (text != NULL && cart_id_parse("usr_", text, strlen(text), id)) return true;
    bc_reply_problem_field(reply, "malformed-request", field, "bad-id", "an id of a user: usr_ and 26 characters");
    return false;
}

/* ---- GET /internal/carts/{user} -------------------------------------------------------------------------------------- */

json_t *cart_service_image_json(const cart_id_t *user, const cart_image_t *image) {
    static const char *const states[] = {[CART_OPEN] = "open", [CART_SEALED] = "sealed", [CART_CLOSED] = "closed"};
    char id[CART_ID_CHARS + 1];
    cart_id_format("usr_", user, id);
    json_t *lines = json_array();
    for (unsigned i = 0; i < image->line_count; i++) {
        const cart_line_t *line = &image->lines[i];
        (void)json_array_append_new(lines, json_pack("{s:I, s:i}", "book", (json_int_t)line->book, "quantity",
                                                     (int)line->quantity)); /* no memory: json_pack below fails too */
    }
    return json_pack("{s:s, s:o, s:o, s:o, s:s}", "user", id, "epoch", number_text(image->place.epoch), "version",
                     number_text(image->place.version), "lines", lines, "state", states[image->state]);
}

static void handle_view(bc_request_t *request, bc_reply_t *reply, void *context) {
    cart_service_t *service = context;
    cart_id_t user;
    const char *text = bc_request_part(request, "user");
    if (!cart_id_parse("usr_", text, strlen(text), &user)) {
        bc_reply_not_found(reply);
        return;
    }
    command_t *command = command_create(COMMAND_VIEW, VIEW_MS);
    if (command == NULL) {
        refuse(reply, "no memory");
        return;
    }
    command->user = user;
    if (!ask_loop(service, command))
        refuse(reply, "not in time");
    else if (!command->has_image)
        refuse(reply, cart_service_reason(&command->verdict));
    else
        bc_reply_json(reply, 200, cart_service_image_json(&command->user, &command->image));
    command_end(service, command);
}

/* ---- POST /internal/carts/merge -------------------------------------------------------------------------------------- */

static bool read_mode(bc_reply_t *reply, const char *text, cart_merge_mode_t *mode) {
    static const struct {
        const char *word;
        cart_merge_mode_t mode;
    } modes[] = {
        {"max", CART_MERGE_MAX}, {"sum", CART_MERGE_SUM}, {"keep", CART_MERGE_KEEP}, {"replace", CART_MERGE_REPLACE}};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(text, modes[i].word) != 0) continue;
        *mode = modes[i].mode;
        return true;
    }
    bc_reply_problem_field(reply, "malformed-request", "mode", "bad-value", "max, sum, keep or replace");
    return false;
}

static json_t *merge_json(const command_t *command) {
    json_t *lines = json_array();
    json_t *dropped = json_array();
    for (unsigned i = 0; i < command->line_count; i++) {
        const cart_merge_line_t *line = &command->lines[i];
        json_int_t book = (json_int_t)line->book;
        /* No memory: json_pack below fails too. */
        (void)json_array_append_new(lines,
                                    json_pack("{s:I, s:i, s:i, s:i, s:b}", "book", book, "guest", line->guest, "user",
                                              line->user, "result", line->result, "clamped", line->clamped));
        if (line->result == 0 && line->clamped) (void)json_array_append_new(dropped, json_integer(book));
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "state", command->repeated ? "already-merged" : "merged", "version",
                     number_text(command->image.place.version), "lines", lines, "dropped", dropped);
}

static void handle_merge(bc_request_t *request, bc_reply_t *reply, void *context) {
    cart_service_t *service = context;
    cart_id_t guest;
    cart_id_t user;
    cart_merge_mode_t mode;
    if (!read_user(reply, "guest", bc_request_string(request, "guest"), &guest) ||
        !read_user(reply, "user", bc_request_string(request, "user"), &user) ||
        !read_mode(reply, bc_request_string(request, "mode"), &mode)) {
        return;
    }
    if (cart_id_equal(&guest, &user)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "guest", "same-user", "guest and user are the same");
        return;
    }
    command_t *command = command_create(COMMAND_MERGE, MERGE_MS);
    if (command == NULL) {
        refuse(reply, "no memory");
        return;
    }
    command->user = user;
    command->guest = guest;
    command->mode = mode;
    if (!ask_loop(service, command))
        refuse(reply, "not in time; asking again is safe");
    else if (command->verdict.outcome == CART_SESSION_ENDED)
        bc_reply_problem(reply, "conflict", "the user's own cart has been merged into another");
    else if (!command->has_image)
        refuse(reply, cart_service_reason(&command->verdict));
    else
        bc_reply_json(reply, 200, merge_json(command));
    command_end(service, command);
}

const bc_route_t cart_service_routes[] = {
    {"GET", "/internal/carts/{user}", BC_INTERNAL, handle_view, .query = NULL},
    {"POST", "/internal/carts/{user}/changes", BC_INTERNAL, cart_service_handle_changes,
     .fields = "id:string! changes:array!"},
    {"GET", BC_DEAD_LETTERS_PATH, BC_INTERNAL, cart_service_handle_letters, .query = BC_DEAD_LETTERS_QUERY},
    {"POST", BC_DEAD_LETTERS_REPLAY_PATH, BC_INTERNAL, cart_service_handle_replay, .fields = BC_DEAD_LETTERS_FIELDS},
    {"POST", BC_DEAD_LETTERS_DISCARD_PATH, BC_INTERNAL, cart_service_handle_discard,
     .fields = BC_DEAD_LETTERS_DISCARDED},
    {"POST", "/internal/carts/merge", BC_INTERNAL, handle_merge, .fields = "guest:string! user:string! mode:string!"},
    {.method = NULL},
};
