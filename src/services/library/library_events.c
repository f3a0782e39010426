/* The log of the service's events, and what it could not apply of others'. */
#include "services/library/library_service.h"

void library_handle_events(bc_request_t *request, bc_reply_t *reply, void *context) {
    library_t *library = context;
    bc_outbox_serve(library->outbox, request, reply);
}

void library_handle_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context) {
    library_t *library = context;
    bc_dead_letters_serve(library_store_db(library->store), request, reply);
}

void library_handle_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context) {
    library_t *library = context;
    bc_dead_letters_replay(NULL, 0, library_store_db(library->store), request, reply); /* it follows no log */
}
