/*
 * Idempotency-Key on everything but carts: a repeat with the same key gets the stored answer, and the change counts once.
 *
 * A key belongs to user, method and path. It is stored with a digest of the body and the answer in the transaction of the change
 * itself (bc_once_keep), so there is no moment at which one is there without the other. Answers 409, 412 and 422 change nothing
 * and are stored by bc_once_end in a transaction of their own. Kept 24 hours; at most BC_ONCE_USER_MAX keys of one user, then 429.
 *
 * A handler:
 *     bc_once_t once;
 *     if (!bc_once_begin(db, request, reply, BC_ONCE_OPTIONAL, &once)) return;      // answered: a replay or a problem
 *     … begin; decide; change; bc_once_keep(&once, 201, body, location); commit …
 *     bc_reply_json(reply, 201, body);
 *     bc_once_end(&once, reply);                                                     // on every way out after begin was true
 *
 * The service's migrations hold BC_ONCE_MIGRATION once, and its task calls bc_once_tidy now and then.
 */
#ifndef BC_ONCE_H
#define BC_ONCE_H

#include "platform/bc_db.h"
#include "platform/bc_http.h"

#define BC_ONCE_KEY_MAX  64 /* visible ASCII characters */
#define BC_ONCE_USER_MAX 1000
#define BC_ONCE_KEPT_MS  (24LL * 3600 * 1000)
#define BC_ONCE_BODY_MAX (1024 * 1024) /* bytes of a stored answer; a longer one is our mistake */
#define BC_ONCE_DIGEST   32

#define BC_ONCE_MIGRATION                                                                                              \
    "CREATE TABLE once_keys("                                                                                          \
    "  user_id " BC_SQL_ID " NOT NULL,"                                                                                \
    "  place VARCHAR(255) NOT NULL," /* method and path as sent, without the query */                                  \
    "  once_key VARCHAR(64) NOT NULL,"                                                                                 \
    "  digest " BC_SQL_BYTES " NOT NULL,"                                                                              \
    "  status " BC_SQL_BIGINT " NOT NULL,"                                                                             \
    "  location VARCHAR(255),"                                                                                         \
    "  media VARCHAR(64) NOT NULL,"                                                                                    \
    "  body TEXT NOT NULL,"                                                                                            \
    "  created_ms " BC_SQL_BIGINT " NOT NULL,"                                                                         \
    "  PRIMARY KEY(user_id, place, once_key));"                                                                        \
    "CREATE INDEX once_keys_by_time ON once_keys(created_ms);"

typedef enum { BC_ONCE_OPTIONAL, BC_ONCE_REQUIRED } bc_once_need_t;

/* Lives in the handler's frame from begin to end, and must not move. */
typedef struct bc_once {
    bc_db_t *db;          /* borrowed; NULL: no key was sent, keep and end do nothing */
    struct bc_once *next; /* keys that run in this process; under the list's lock */
    cart_id_t user;
    char place[256];
    char key[BC_ONCE_KEY_MAX + 1];
    uint8_t digest[BC_ONCE_DIGEST];
    bool kept;
} bc_once_t;

/* Outside a transaction. false: the reply is set — the stored answer with `Idempotent-Replayed: true`, or
 * 400 idempotency-key-missing (required and absent), 400 malformed-request (not 1…64 visible ASCII), 422 idempotency-key-reused
 * (another body), 409 idempotency-key-in-use (the first one still runs in this process), 429, 503. */
bool bc_once_begin(bc_db_t *db, bc_request_t *request, bc_reply_t *reply, bc_once_need_t need, bc_once_t *once);
/* Inside the handler's transaction on the same database: this answer is the key's from the commit on. `body` borrowed; NULL: none.
 * `location` NULL: none. BC_DB_CONSTRAINT cannot be: the key is held. Errors stick. */
void bc_once_keep(bc_once_t *once, int status, const json_t *body, const char *location);
/* Lets the key go; stores the reply when it is a 409, 412 or 422 and nothing was kept. Outside a transaction. */
void bc_once_end(bc_once_t *once, const bc_reply_t *reply);

/* Inside a transaction: removes what is older than BC_ONCE_KEPT_MS. */
void bc_once_tidy(bc_db_t *db, int64_t now_ms);

#endif
