/* What the service tells and hears (docs/EVENTS.md): topic `questions`, keyed by question; and auth's user.erased. */
#include "services/question/question_service.h"

#include <stdio.h>
#include <string.h>

void question_event(bc_db_t *db, const char *type, const cart_id_t *id) {
    char text[CART_ID_CHARS + 1];
    cart_id_format(QUESTION_PREFIX, id, text);
    json_t *data = json_pack("{s:s}", "question", text);
    if (data == NULL) {
        bc_db_fail(db, "no memory for an event");
        return;
    }
    bc_event_put(db, "questions", type, text, data);
    json_decref(data);
}

/* Decision 0028 says what stays. Applied twice it finds nothing the second time. */
static bc_event_result_t forget_user(bc_db_t *db, const bc_event_t *event, void *context, char reason[256]) {
    const char *text = json_string_value(json_object_get(event->data, "user"));
    cart_id_t user;
    (void)context;
    if (text == NULL || !cart_id_parse(BC_PREFIX_USER, text, strlen(text), &user)) {
        (void)snprintf(reason, 256, "user is no user's id"); /* fits */
        return BC_EVENT_FAILED;
    }
    question_forget(db, &user);
    bc_mail_forget(db, &user);
    return bc_db_is_sound(db) ? BC_EVENT_APPLIED : BC_EVENT_WAIT;
}

const bc_event_handler_t question_user_events[] = {
    {"user.erased", forget_user},
    {NULL, NULL},
};

/* --- the log of the service's events, and what it could not apply of others' --- */

void question_events(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    bc_outbox_serve(question->outbox, request, reply);
}

void question_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    bc_dead_letters_serve(question->db, request, reply);
}

void question_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    bc_consumer_t *const consumers[] = {question->users};
    bc_dead_letters_replay(consumers, 1, question->db, request, reply);
}

void question_dead_letters_discard(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    bc_consumer_t *const consumers[] = {question->users};
    bc_dead_letters_discard(consumers, 1, question->db, request, reply);
}
