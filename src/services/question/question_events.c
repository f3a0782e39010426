/* The log of the service's events, and what it could not apply of others'. */
#include "services/question/question_service.h"

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
    bc_dead_letters_replay(NULL, 0, question->db, request, reply); /* it follows no log */
}
