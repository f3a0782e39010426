/* What the parts of the auth service share. */
#ifndef AUTH_SERVICE_H
#define AUTH_SERVICE_H

#include "platform/bc_events.h"
#include "platform/bc_feed.h"
#include "platform/bc_http.h"
#include "platform/bc_service.h"
#include "services/auth/auth_limits.h"
#include "services/auth/auth_password.h"
#include "services/auth/auth_store.h"

#include <pthread.h>
#include <stdatomic.h>

#define AUTH_REFRESH_CHARS   128 /* the longest refresh token */
#define AUTH_COOKIE          "__Secure-bookcart"
#define AUTH_COOKIE_PATH     "/api/v1/auth"
#define AUTH_MERGE_INLINE_MS 2000 /* a sign-in waits so long for the cart service */

typedef struct auth {
    const bc_config_t *config;     /* borrowed */
    const char *service_key;       /* borrowed */
    const volatile bool *stopping; /* borrowed; NULL in admin calls without a service */
    bc_db_t *db;
    bc_token_issuer_t *issuer;
    auth_passwords_t *passwords;
    auth_limits_t *limits;
    bc_feed_t *revocations;
    bc_outbox_t *outbox;
    unsigned char guest_key[32]; /* authenticates guests' refresh tokens */
    int64_t access_life_ms, refresh_life_ms, grace_ms;

    pthread_t keeper; /* auth_keeper.c */
    bool keeper_started;
    pthread_mutex_t keeper_lock;
    pthread_cond_t keeper_wake;
    bool keeper_ends, keeper_has_work; /* under keeper_lock */
} auth_t;

/* auth_routes.c */
bool auth_open(const bc_config_t *config, const char *service_key, const volatile bool *stopping, auth_t **auth);
void auth_close(auth_t *auth);
/* The store or the hash queue cannot: 503 with Retry-After. */
void auth_answer_unavailable(bc_reply_t *reply);
bool auth_limit_address(auth_t *auth, auth_limit_t limit, bc_request_t *request, bc_reply_t *reply);

/* auth_refresh_token.c: texts of refresh tokens. A stored family's are random ("bcr_…"); a guest who has changed nothing yet is not
 * stored, so his carries user, session and time, authenticated with a key of ours ("bcg_…"). */
void auth_refresh_text_random(char text[AUTH_REFRESH_CHARS]);
void auth_refresh_text_guest(const auth_t *auth, const cart_id_t *user, const cart_id_t *session, int64_t issued_s,
                             char text[AUTH_REFRESH_CHARS]);
bool auth_refresh_text_read_guest(const auth_t *auth, const char *text, cart_id_t *user, cart_id_t *session,
                                  int64_t *issued_s);
void auth_refresh_text_hash(const char *text, unsigned char hash[AUTH_TOKEN_HASH_BYTES]);
bool auth_guest_key_load(auth_t *auth);

/* auth_tokens.c: pairs of tokens as answers show them */
typedef enum { AUTH_BY_BODY, AUTH_BY_COOKIE } auth_transport_t;
/* The `transport` field; false: it is neither word, the problem is set. */
bool auth_transport_read(bc_request_t *request, bc_reply_t *reply, auth_transport_t *transport);
/* The refresh token of the body, else of the cookie by its rules; NULL: the problem is set. */
const char *auth_refresh_take(auth_t *auth, bc_request_t *request, bc_reply_t *reply, auth_transport_t *transport);
void auth_cookie_clear(bc_reply_t *reply);
/* Stores a new token in the open transaction; its text is for auth_answer_pair after the commit. */
void auth_pair_store(auth_t *auth, const cart_id_t *session, int64_t now_ms, char refresh[AUTH_REFRESH_CHARS]);
/* Signs an access token and answers `status` with the pair; `extra` (taken; NULL: none) becomes the member `cart_merge`. */
void auth_answer_pair(auth_t *auth, bc_reply_t *reply, int status, const auth_user_t *user, const cart_id_t *session,
                      const char *refresh, auth_transport_t transport, json_t *cart_merge);
json_t *auth_user_json(const auth_user_t *user);

/* auth_merge.c: sends one merge to the cart service. true: it is done, *reply is its answer (the caller owns it). */
bool auth_merge_send(const auth_t *auth, const auth_merge_t *merge, int64_t timeout_ms, json_t **reply);
void auth_merge_note(auth_t *auth, const auth_merge_t *merge, bool done);

/* auth_keeper.c: the thread that retries merges, tends keys and tidies tables */
bool auth_keeper_start(auth_t *auth);
void auth_keeper_stop(auth_t *auth);
void auth_keeper_wake(auth_t *auth);

/* auth_admin.c */
typedef enum {
    AUTH_ADMIN_MADE,
    AUTH_ADMIN_BAD_EMAIL,
    AUTH_ADMIN_BAD_PASSWORD,
    AUTH_ADMIN_TAKEN,
    AUTH_ADMIN_FAILED
} auth_admin_result_t;
auth_admin_result_t auth_admin_make(auth_t *auth, const char *email, const char *password);

/* Handlers, one file a concern; auth_routes.c says who calls them how. */
void auth_guest(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_register(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_login(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_refresh(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_logout(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_me(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_jwks(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_feed(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_internal_admin(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_internal_rotate(bc_request_t *request, bc_reply_t *reply, void *context);

/* auth_events.c */
void auth_events(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context);

#endif
