/* What the parts of the auth service share. */
#ifndef AUTH_SERVICE_H
#define AUTH_SERVICE_H

#include "platform/bc_events.h"
#include "platform/bc_feed.h"
#include "platform/bc_http.h"
#include "platform/bc_images.h"
#include "platform/bc_mail.h"
#include "platform/bc_service.h"
#include "platform/bc_store.h"
#include "services/auth/auth_limits.h"
#include "services/auth/auth_password.h"
#include "services/auth/auth_store.h"

#include <pthread.h>
#include <stdatomic.h>

#define AUTH_REFRESH_CHARS   128 /* the longest refresh token */
#define AUTH_COOKIE          "__Secure-bookcart"
#define AUTH_COOKIE_PATH     "/api/v1/auth"
#define AUTH_PAGE            24
#define AUTH_PAGE_MAX        100
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
    bc_mailer_t *mailer;         /* NULL in admin calls without a service: the next one sends */
    bc_images_t *images;         /* NULL as the mailer */
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
/* After a commit that put events or mails, or told the feed: whoever waits for them is woken. */
void auth_committed(auth_t *auth);

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
typedef struct {
    const auth_user_t *user;
    const cart_id_t *session;
    const char *refresh;
    auth_transport_t transport;
    int64_t
        now_ms; /* when `user` was looked at, in the transaction: a change of his role that comes later is later than the token */
} auth_pair_t;
/* Signs an access token and answers `status` with the pair; `cart_merge` (taken; NULL: none) becomes the member of that name. */
void auth_answer_pair(auth_t *auth, bc_reply_t *reply, int status, const auth_pair_t *pair, json_t *cart_merge);
json_t *auth_user_json(const auth_user_t *user);

/* auth_tell.c: what a change tells others, in its own transaction */
void auth_tell_event(auth_t *auth, const char *type, const cart_id_t *user, json_t *more /* taken; NULL: none */);
/* `actor` NULL: a command of the operator's; `request` NULL: not over HTTP. */
void auth_tell_audit(auth_t *auth, const bc_request_t *request, const cart_id_t *actor, const char *action,
                     const cart_id_t *user, json_t *detail /* taken; NULL: none */);
/* Whose it is, so that an erasure forgets what was not sent yet. */
void auth_tell_mail(auth_t *auth, bc_mail_kind_t kind, const cart_id_t *user, const char *address, const char *language,
                    const json_t *data);
/* Draws a token, stores its hash for the link, and mails it to link->email. */
void auth_tell_link(auth_t *auth, const auth_link_t *link, const char *language, int64_t now_ms);

/* auth_own.c: the password asked once more before something that cannot be undone. Limits, delays and hashes like a login.
 * true: *user is the caller's row as it was looked at. false: the answer is set. */
bool auth_own_password(auth_t *auth, bc_request_t *request, bc_reply_t *reply, auth_user_t *user);
/* An id as the API writes it. false: *id unchanged. */
bool auth_id_read(const char *prefix, const char *text, cart_id_t *id);
bool auth_judge_password(bc_request_t *request, bc_reply_t *reply, const char *field);
json_t *auth_profile_json(const auth_user_t *user);
json_t *auth_session_json(const auth_session_t *session, const cart_id_t *current);
json_t *auth_audit_json(const auth_audit_t *entry);
/* Where a page of a list ordered by time and id begins; the audit's is a position in before_ms. */
typedef struct {
    int64_t before_ms;
    cart_id_t before;
} auth_place_t;
_Static_assert(sizeof(auth_place_t) == 24, "goes into cursors: no padding");
/* limit and cursor of the request; without a cursor the first page. false: the problem is set. */
bool auth_page_read(auth_t *auth, bc_request_t *request, bc_reply_t *reply, const char *list, int *limit,
                    auth_place_t *place);
/* Answers a page; `items` taken. `next` NULL: it is the last one. */
void auth_page_answer(auth_t *auth, bc_reply_t *reply, const char *list, json_t *items, const auth_place_t *next);

/* auth_link.c: in the keeper's thread, looks at addresses for which a new password was asked. */
void auth_forgotten_look(auth_t *auth);

/* auth_picture.c: for the image host's sweep; the context is an auth_t. */
bc_images_used_t auth_picture_used(void *context, const char *url);

/* auth_merge.c: sends one merge to the cart service. true: it is done, *reply is its answer (the caller owns it). */
bool auth_merge_send(const auth_t *auth, const auth_merge_t *merge, int64_t timeout_ms, json_t **reply);
void auth_merge_note(auth_t *auth, const auth_merge_t *merge, bool done);

/* auth_keeper.c: the thread that retries merges, tends keys and tidies tables */
bool auth_keeper_start(auth_t *auth);
void auth_keeper_stop(auth_t *auth);
void auth_keeper_wake(auth_t *auth);

/* auth_admin.c */
extern const bc_store_t auth_stored;
typedef enum {
    AUTH_ADMIN_DONE,
    AUTH_ADMIN_BAD_EMAIL,
    AUTH_ADMIN_BAD_PASSWORD,
    AUTH_ADMIN_TAKEN,
    AUTH_ADMIN_UNKNOWN,
    AUTH_ADMIN_FAILED
} auth_admin_result_t;
auth_admin_result_t auth_admin_make(auth_t *auth, const char *email, const char *password);
/* A new password for an administrator; all his sessions end. */
auth_admin_result_t auth_admin_set_password(auth_t *auth, const char *email, const char *password);

/* Handlers, one file a concern; auth_routes.c says who calls them how. */
void auth_guest(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_register(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_login(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_refresh(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_logout(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_forgot(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_reset(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_verify(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_me(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_me_change(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_me_picture(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_me_password(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_me_email(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_me_erase(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_me_export(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_sessions(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_session_end(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_users(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_user_change(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_audit(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_jwks(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_feed(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_internal_user(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_internal_admin(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_internal_admin_password(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_internal_rotate(bc_request_t *request, bc_reply_t *reply, void *context);

/* auth_events.c */
void auth_events(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context);
void auth_dead_letters_discard(bc_request_t *request, bc_reply_t *reply, void *context);

#endif
