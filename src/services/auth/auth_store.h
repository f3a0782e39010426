/*
 * The service's tables, and each question and change as one function: no SQL stands anywhere else in auth.
 *
 *   users           id, kind (0 guest, 1 customer), role (0 customer, 1 admin), email, name, password_hash, closed (auth_closed_t), …;
 *                   tokens_from_s: no access token of his is issued with an earlier time
 *   sessions        one family of refresh tokens; revoked_ms 0 = alive
 *   refresh_tokens  SHA-256 of each token given out; used_ms 0 = never used
 *   revocations     the feed: kind 0 = a session, 1 = all of a user's tokens issued before a second
 *   merges          guests whose cart has to go into a user's; state 0 = pending, 1 = done
 *   links           SHA-256 of each token sent by mail, whom and which address it is for
 *   forgotten       addresses for which a new password was asked: looked at behind the request
 *   audit           who did what to whom, when
 *   outbox, mails   of bc_events.h, bc_mail.h
 *
 * Every function runs inside bc_db_begin (reads: also bc_db_enter). Errors stick in the database and show at the commit (bc_db.h); a
 * function that finds a row answers true only when there was one.
 *
 * auth_schema.c the tables; auth_store.c users, sessions, tokens, merges; auth_store_account.c what an account's owner asks for;
 * auth_store_admin.c what an administrator does.
 */
#ifndef AUTH_STORE_H
#define AUTH_STORE_H

#include "platform/bc_db.h"
#include "platform/bc_images.h"
#include "platform/bc_token.h"
#include "services/auth/auth_password.h"
#include "services/auth/auth_rules.h"

#include <jansson.h>

#define AUTH_TOKEN_HASH_BYTES 32
#define AUTH_NAME_BYTES       (AUTH_NAME_MAX * 4 + 1)
#define AUTH_ABOUT_BYTES      (AUTH_ABOUT_MAX * 4 + 1)
#define AUTH_LANGUAGE_BYTES   8
#define AUTH_AGENT_BYTES      33
#define AUTH_PICTURES         "users" /* below DATA/media */
#define AUTH_AUDIT_KEPT_MS    (800LL * 24 * 3600 * 1000)
#define AUTH_FORGOTTEN_MAX    1000 /* addresses that wait to be looked at; one more is answered 503 */

extern const bc_migration_t auth_migrations[];

typedef enum {
    AUTH_OPEN,
    AUTH_ENDED,    /* a guest that ended in a sign-in, or whose last token is dead */
    AUTH_DISABLED, /* by an administrator */
    AUTH_ERASED    /* by himself: the row keeps the id and nothing of the person */
} auth_closed_t;

typedef struct {
    cart_id_t id;
    bc_kind_t kind;
    bc_role_t role;
    char email[AUTH_EMAIL_MAX + 1]; /* "" for guests */
    bool email_verified;
    char name[AUTH_NAME_BYTES];
    char password_hash[AUTH_HASH_BYTES];
    auth_closed_t closed;
    char about[AUTH_ABOUT_BYTES];
    char language[AUTH_LANGUAGE_BYTES]; /* "": not chosen */
    int64_t tokens_from_s;
    int64_t created_ms;
    char picture_url[BC_IMAGES_URL_MAX]; /* "": none */
} auth_user_t;

typedef struct {
    cart_id_t id, user;
    int64_t created_ms, used_ms, expires_ms;
    char agent[AUTH_AGENT_BYTES]; /* auth_agent.h */
} auth_session_t;

typedef struct {
    cart_id_t session;
    auth_user_t user;
    int64_t token_used_ms; /* 0: not yet */
    int64_t token_expires_ms;
    int64_t session_revoked_ms; /* 0: alive */
} auth_refresh_t;

typedef struct {
    cart_id_t guest, user;
    char mode[12];
    int attempts;
} auth_merge_t;

bool auth_store_user(bc_db_t *db, const cart_id_t *id, auth_user_t *user);
bool auth_store_user_by_email(bc_db_t *db, const char *email, auth_user_t *user);
/* BC_DB_CONSTRAINT: the address is taken. A guest's row that is there becomes the customer. */
bc_db_result_t auth_store_put_customer(bc_db_t *db, const auth_user_t *user, int64_t now_ms);
/* Does nothing when the row is there. */
void auth_store_put_guest(bc_db_t *db, const cart_id_t *id, int64_t now_ms);
void auth_store_close_guest(bc_db_t *db, const cart_id_t *id, int64_t now_ms);
/* false: the account is closed, or its hash is not `old_hash` any more; nothing changed. */
bool auth_store_set_password(bc_db_t *db, const cart_id_t *id, const char *old_hash, const char *hash, int64_t now_ms);

/* false: it was there already. */
bool auth_store_put_session(bc_db_t *db, const auth_session_t *session, int64_t now_ms);
/* A session for somebody who was looked at before this transaction. false: closed, password or role are not what they were then;
 * nothing changed. */
bool auth_store_open_session(bc_db_t *db, const auth_session_t *session, const auth_user_t *user, int64_t now_ms);
void auth_store_touch_session(bc_db_t *db, const cart_id_t *session, int64_t now_ms, int64_t expires_ms);
/* Ends the session and tells the feed. A session that is not stored yet (a guest's) is stored as ended until `gone_ms`, when no refresh
 * token of it can live any more. `life_ms`: of access tokens. */
void auth_store_revoke_session(bc_db_t *db, const cart_id_t *session, const cart_id_t *user, int64_t now_ms,
                               int64_t life_ms, int64_t gone_ms);
/* After a restore. Ends all sessions there are, without entries in the list: the keys that signed their tokens are gone. And forgets links
 * that set a password: one that was used after the cut would be good again. */
void auth_store_revoke_all(bc_db_t *db, int64_t now_ms);
/* Ends every session of the user, without telling the feed: goes with auth_store_revoke_tokens. */
void auth_store_end_sessions(bc_db_t *db, const cart_id_t *user, int64_t now_ms);
/* Tells the feed that the user's tokens issued so far are dead; what tokens_from_s (`from_before_s` until now) must become, so that his
 * next ones are not. */
int64_t auth_store_revoke_tokens(bc_db_t *db, const cart_id_t *user, int64_t from_before_s, int64_t now_ms,
                                 int64_t life_ms);
/* All of the user's but one; tells the feed of each. */
void auth_store_end_other_sessions(bc_db_t *db, const cart_id_t *user, const cart_id_t *kept, int64_t now_ms,
                                   int64_t life_ms);
/* false: it is not the user's, or over already. */
bool auth_store_end_session(bc_db_t *db, const cart_id_t *session, const cart_id_t *user, int64_t now_ms,
                            int64_t life_ms);
bool auth_store_is_revoked(bc_db_t *db, const bc_claims_t *claims);

void auth_store_put_token(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES], const cart_id_t *session,
                          int64_t expires_ms, int64_t used_ms);
bool auth_store_token(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES], auth_refresh_t *found);
void auth_store_use_token(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES], int64_t now_ms);

/* false: that guest's merge is stored already (into whomever), nothing changed. */
bool auth_store_put_merge(bc_db_t *db, const auth_merge_t *merge, int64_t now_ms, int64_t next_ms);
void auth_store_merge_done(bc_db_t *db, const cart_id_t *guest, int64_t now_ms);
void auth_store_merge_failed(bc_db_t *db, const cart_id_t *guest, int64_t next_ms);
/* At most `max` pending merges that are due, the longest due first; how many. *next_ms: when the next one is due, 0: none. */
int auth_store_due_merges(bc_db_t *db, int64_t now_ms, auth_merge_t *merges, int max, int64_t *next_ms);

/* What bc_feed_read_t asks. */
void auth_store_feed(bc_db_t *db, uint64_t after, int limit, int64_t now_s, json_t *items, uint64_t *position,
                     bool *more);

/* Removes what nobody can ask for any more: dead tokens, sessions that were over before `over_ms`, revocations older than any token they
 * speak of, … */
void auth_store_tidy(bc_db_t *db, int64_t now_ms, int64_t over_ms, int64_t refresh_life_ms);

/* --- auth_store_account.c --- */

/* NULL: stays as it is. false: closed meanwhile. */
bool auth_store_set_profile(bc_db_t *db, const cart_id_t *id, const char *name, const char *about, const char *language,
                            int64_t now_ms);
/* false: closed meanwhile. */
bool auth_store_set_picture(bc_db_t *db, const cart_id_t *id, const char *url, int64_t now_ms);
bool auth_store_uses_picture(bc_db_t *db, const char *url);
/* At most `max` live sessions, the newest first, older than (before_ms, before_id); how many. */
int auth_store_sessions(bc_db_t *db, const cart_id_t *user, int64_t now_ms, int64_t before_ms,
                        const cart_id_t *before_id, auth_session_t *sessions, int max);

typedef enum {
    AUTH_LINK_VERIFY, /* proves that the address is the user's */
    AUTH_LINK_RESET,  /* sets a new password */
    AUTH_LINK_CHANGE  /* makes the address the user's */
} auth_link_kind_t;
typedef struct {
    auth_link_kind_t kind;
    cart_id_t user;
    char email[AUTH_EMAIL_MAX + 1];
} auth_link_t;
void auth_store_put_link(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES], const auth_link_t *link,
                         int64_t expires_ms);
bool auth_store_link(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES], int64_t now_ms, auth_link_t *link);
/* false: somebody else has used it up. */
bool auth_store_use_link(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES]);
/* Every link of the user; `kind` < 0: of all kinds. */
void auth_store_drop_links(bc_db_t *db, const cart_id_t *user, int kind);
/* false: the account is closed or its address is another one by now. */
bool auth_store_verify_email(bc_db_t *db, const cart_id_t *id, const char *email, int64_t now_ms);
/* BC_DB_CONSTRAINT: the address is taken. BC_DB_DONE and *changed false: the account is closed. */
bc_db_result_t auth_store_set_email(bc_db_t *db, const cart_id_t *id, const char *email, int64_t now_ms, bool *changed);
/* A password by link: whoever read the mail owns the address. false: closed, or another address by now. */
bool auth_store_reset_password(bc_db_t *db, const auth_link_t *link, const char *hash, int64_t tokens_from_s,
                               int64_t now_ms);

/* false: AUTH_FORGOTTEN_MAX wait already. */
bool auth_store_put_forgotten(bc_db_t *db, const char *email, const char *language, int64_t now_ms);
typedef struct {
    int64_t position;
    char email[AUTH_EMAIL_MAX + 1];
    char language[AUTH_LANGUAGE_BYTES];
} auth_forgotten_t;
/* At most `max`, the oldest first. */
int auth_store_forgotten(bc_db_t *db, auth_forgotten_t *forgotten, int max);
void auth_store_drop_forgotten(bc_db_t *db, int64_t position);

/* Forgets the person, keeps the id. false: the row is not as it was when the password was checked, or he is the last administrator. */
bool auth_store_erase(bc_db_t *db, const auth_user_t *user, int64_t tokens_from_s, int64_t now_ms);

/* --- auth_store_admin.c --- */

/* Role and state in one guarded statement. `leaves`: an open administrator stops being one; then false also means that there is no other. */
bool auth_store_set_standing(bc_db_t *db, const cart_id_t *id, bc_role_t role, auth_closed_t closed, bool leaves,
                             int64_t tokens_from_s, int64_t now_ms);
/* Of an administrator who forgot it, by a command of the operator's. */
bool auth_store_force_password(bc_db_t *db, const cart_id_t *id, const char *hash, int64_t tokens_from_s,
                               int64_t now_ms);

typedef struct {
    int kind, role, disabled;       /* -1: whatever */
    char email[AUTH_EMAIL_MAX + 1]; /* how it begins; "": whatever */
} auth_filter_t;
/* At most `max` users that are or can be again (no tombstones), the newest first, older than (before_ms, before_id). */
int auth_store_users(bc_db_t *db, const auth_filter_t *filter, int64_t before_ms, const cart_id_t *before_id,
                     auth_user_t *users, int max);

typedef struct {
    int64_t position, at_ms;
    bool has_actor; /* false: a command of the operator's */
    cart_id_t actor, user;
    char action[33];
    char detail[256]; /* a JSON object */
    char request_id[41];
} auth_audit_t;
void auth_store_put_audit(bc_db_t *db, const auth_audit_t *entry);
/* At most `max`, the newest first, before `before`; of one user unless NULL. */
int auth_store_audit(bc_db_t *db, const cart_id_t *user, int64_t before, auth_audit_t *entries, int max);

/* At most `max` open guests of whom every session was over before `before_ms`. Looks at sessions that are over only, which tidying removes
 * afterwards: what it costs does not grow with the guests there are. */
int auth_store_dead_guests(bc_db_t *db, int64_t before_ms, cart_id_t *guests, int max);

/* --- shared by the store's files --- */
#define AUTH_USER_COLUMNS                                                                                              \
    "u.id, u.kind, u.role, u.email, u.email_verified, u.name, u.password_hash, u.closed, u.about, u.language, "        \
    "u.tokens_from_s, u.created_ms, u.picture_url"
#define AUTH_USER_COLUMNS_COUNT 13
void auth_store_read_user(bc_statement_t *row, int at, auth_user_t *user);
void auth_store_copy_text(bc_statement_t *row, int column, char *text, size_t size);

#endif
