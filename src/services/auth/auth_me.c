/* Who the caller is, the public keys, and the feed of revocations: what is only read. */
#include "services/auth/auth_service.h"

void auth_me(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    const bc_claims_t *caller = bc_request_caller(request);
    auth_user_t user;
    bc_db_enter(auth->db);
    bool found = auth_store_user(auth->db, &caller->user, &user);
    bc_db_leave(auth->db);
    if (!found) {
        if (!bc_db_is_open(auth->db) || caller->kind == BC_KIND_CUSTOMER) {
            auth_answer_unavailable(reply); /* a customer has a row: the store could not tell */
            return;
        }
        user = (auth_user_t){.id = caller->user, .kind = BC_KIND_GUEST, .role = BC_ROLE_CUSTOMER};
    }
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, auth_user_json(&user));
}

void auth_jwks(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    (void)request;
    bc_reply_cache(reply, "public, max-age=60"); /* much less than a new key is published before it signs */
    bc_reply_json(reply, 200, bc_token_jwks(auth->issuer));
}

void auth_feed(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    bc_feed_serve(auth->revocations, request, reply);
}
