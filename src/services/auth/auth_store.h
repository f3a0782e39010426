/*
 * The service's tables, and each question and change as one function: no SQL stands anywhere else in auth.
 *
 *   users           id, kind (0 guest, 1 customer), role (0 customer, 1 admin), email, name, password_hash, closed, …
 *   sessions        one family of refresh tokens; revoked_ms 0 = alive
 *   refresh_tokens  SHA-256 of each token given out; used_ms 0 = never used
 *   revocations     the feed: kind 0 = a session, 1 = all of a user's tokens issued before a second
 *   merges          guests whose cart has to go into a user's; state 0 = pending, 1 = done
 *
 * Every function runs inside bc_db_begin (reads: also bc_db_enter). Errors stick in the database and show at the commit (bc_db.h); a
 * function that finds a row answers true only when there was one.
 */
#ifndef AUTH_STORE_H
#define AUTH_STORE_H

#include "platform/bc_db.h"
#include "platform/bc_token.h"
#include "services/auth/auth_password.h"
#include "services/auth/auth_rules.h"

#include <jansson.h>

#define AUTH_TOKEN_HASH_BYTES 32
#define AUTH_NAME_BYTES       (AUTH_NAME_MAX * 4 + 1)

extern const bc_migration_t auth_migrations[];

typedef struct {
    cart_id_t id;
    bc_kind_t kind;
    bc_role_t role;
    char email[AUTH_EMAIL_MAX + 1]; /* "" for guests */
    bool email_verified;
    char name[AUTH_NAME_BYTES];
    char password_hash[AUTH_HASH_BYTES];
    bool closed; /* disabled, or a guest that ended in a sign-in */
} auth_user_t;

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
void auth_store_set_password(bc_db_t *db, const cart_id_t *id, const char *hash, int64_t now_ms);

/* false: it was there already. */
bool auth_store_put_session(bc_db_t *db, const cart_id_t *session, const cart_id_t *user, int64_t now_ms,
                            int64_t expires_ms, int64_t revoked_ms);
void auth_store_touch_session(bc_db_t *db, const cart_id_t *session, int64_t now_ms, int64_t expires_ms);
/* Ends the session and tells the feed. A session that is not stored yet (a guest's) is stored as ended until `gone_ms`, when no refresh
 * token of it can live any more. `life_ms`: of access tokens. */
void auth_store_revoke_session(bc_db_t *db, const cart_id_t *session, const cart_id_t *user, int64_t now_ms,
                               int64_t life_ms, int64_t gone_ms);
/* Ends every session of the user and tells the feed: all tokens issued up to this second. */
void auth_store_revoke_user(bc_db_t *db, const cart_id_t *user, int64_t now_ms, int64_t life_ms);
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

/* Removes what nobody can ask for any more: dead tokens, ended sessions, revocations older than any token they speak of. */
void auth_store_tidy(bc_db_t *db, int64_t now_ms);

#endif
