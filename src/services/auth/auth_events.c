/* The log of the service's events, and what it could not apply of others'. */
#include "services/auth/auth_service.h"

void auth_events(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    bc_outbox_serve(auth->outbox, request, reply);
}

void auth_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    bc_dead_letters_serve(auth->db, request, reply);
}

void auth_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    bc_dead_letters_replay(NULL, 0, auth->db, request, reply); /* it follows no log */
}

void auth_dead_letters_discard(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    bc_dead_letters_discard(NULL, 0, auth->db, request, reply);
}
