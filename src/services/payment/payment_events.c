/* The log of the service's events, and what it could not apply of others'. */
#include "services/payment/payment_service.h"

void payment_events(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    bc_outbox_serve(payment->outbox, request, reply);
}

void payment_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    bc_dead_letters_serve(payment->db, request, reply);
}

void payment_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    bc_consumer_t *const consumers[] = {payment->library, payment->auth};
    bc_dead_letters_replay(consumers, 2, payment->db, request, reply);
}

void payment_dead_letters_discard(bc_request_t *request, bc_reply_t *reply, void *context) {
    payment_t *payment = context;
    bc_consumer_t *const consumers[] = {payment->library, payment->auth};
    bc_dead_letters_discard(consumers, 2, payment->db, request, reply);
}
