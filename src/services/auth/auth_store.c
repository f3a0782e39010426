#include "services/auth/auth_store.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define MERGES_KEPT_MS (30LL * 24 * 3600 * 1000)

/* --- users --- */

void auth_store_copy_text(bc_statement_t *row, int column, char *text, size_t size) {
    const char *value = bc_column_text(row, column);
    (void)snprintf(text, size, "%s", value == NULL ? "" : value); /* never longer: it was judged before it was stored */
}

void auth_store_read_user(bc_statement_t *row, int at, auth_user_t *user) {
    if (!bc_column_id(row, at, &user->id)) memset(&user->id, 0, sizeof(user->id)); /* the id of nobody */
    user->kind = bc_column_int(row, at + 1) == 1 ? BC_KIND_CUSTOMER : BC_KIND_GUEST;
    user->role = bc_column_int(row, at + 2) == 1 ? BC_ROLE_ADMIN : BC_ROLE_CUSTOMER;
    auth_store_copy_text(row, at + 3, user->email, sizeof(user->email));
    user->email_verified = bc_column_int(row, at + 4) != 0;
    auth_store_copy_text(row, at + 5, user->name, sizeof(user->name));
    auth_store_copy_text(row, at + 6, user->password_hash, sizeof(user->password_hash));
    int64_t closed = bc_column_int(row, at + 7);
    user->closed = closed >= AUTH_OPEN && closed <= AUTH_ERASED ? (auth_closed_t)closed : AUTH_DISABLED;
    auth_store_copy_text(row, at + 8, user->about, sizeof(user->about));
    auth_store_copy_text(row, at + 9, user->language, sizeof(user->language));
    user->tokens_from_s = bc_column_int(row, at + 10);
    user->created_ms = bc_column_int(row, at + 11);
    auth_store_copy_text(row, at + 12, user->picture_url, sizeof(user->picture_url));
}

static bool one_user(bc_statement_t *statement, auth_user_t *user) {
    bool found = bc_step(statement) == BC_DB_ROW;
    if (found) auth_store_read_user(statement, 0, user);
    bc_statement_done(statement);
    return found;
}

bool auth_store_user(bc_db_t *db, const cart_id_t *id, auth_user_t *user) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT " AUTH_USER_COLUMNS " FROM users u WHERE u.id = ?");
    bc_bind_id(statement, 1, id);
    return one_user(statement, user);
}

bool auth_store_user_by_email(bc_db_t *db, const char *email, auth_user_t *user) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT " AUTH_USER_COLUMNS " FROM users u WHERE u.email = ?");
    bc_bind_text(statement, 1, email);
    return one_user(statement, user);
}

bc_db_result_t auth_store_put_customer(bc_db_t *db, const auth_user_t *user, int64_t now_ms) {
    assert(user->kind == BC_KIND_CUSTOMER);
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO users(id, kind, role, email, name, password_hash, language, created_ms, "
                          "changed_ms) VALUES(?, 1, ?, ?, ?, ?, ?, ?, ?)" BC_SQL_UPSERT(
                              "id") "kind = 1, role = excluded.role, email = excluded.email, "
                                    "name = excluded.name, password_hash = excluded.password_hash, "
                                    "language = excluded.language, changed_ms = excluded.changed_ms");
    bc_bind_id(statement, 1, &user->id);
    bc_bind_int(statement, 2, user->role == BC_ROLE_ADMIN);
    bc_bind_text(statement, 3, user->email);
    bc_bind_text(statement, 4, user->name);
    bc_bind_text(statement, 5, user->password_hash);
    bc_bind_text(statement, 6, user->language);
    bc_bind_int(statement, 7, now_ms);
    bc_bind_int(statement, 8, now_ms);
    return bc_run(statement);
}

void auth_store_put_guest(bc_db_t *db, const cart_id_t *id, int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, BC_SQL_INSERT_IGNORE "users(id, kind, created_ms, changed_ms) VALUES(?, 0, ?, ?)");
    bc_bind_id(statement, 1, id);
    bc_bind_int(statement, 2, now_ms);
    bc_bind_int(statement, 3, now_ms);
    (void)bc_run(statement); /* errors stick and show at the commit; so in every function below */
}

void auth_store_close_guest(bc_db_t *db, const cart_id_t *id, int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, "INSERT INTO users(id, kind, closed, created_ms, changed_ms) VALUES(?, 0, 1, ?, ?)" BC_SQL_UPSERT(
                "id") "closed = 1, changed_ms = excluded.changed_ms");
    bc_bind_id(statement, 1, id);
    bc_bind_int(statement, 2, now_ms);
    bc_bind_int(statement, 3, now_ms);
    (void)bc_run(statement);
}

bool auth_store_set_password(bc_db_t *db, const cart_id_t *id, const char *old_hash, const char *hash, int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, "UPDATE users SET password_hash = ?, changed_ms = ? WHERE id = ? AND closed = 0 AND password_hash = ?");
    bc_bind_text(statement, 1, hash);
    bc_bind_int(statement, 2, now_ms);
    bc_bind_id(statement, 3, id);
    bc_bind_text(statement, 4, old_hash);
    return bc_run(statement) == BC_DB_DONE && bc_db_changes(db) == 1;
}

/* --- sessions and revocations --- */

bool auth_store_put_session(bc_db_t *db, const auth_session_t *session, int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, BC_SQL_INSERT_IGNORE
        "sessions(id, user_id, created_ms, used_ms, expires_ms, revoked_ms, agent) VALUES(?, ?, ?, ?, ?, 0, ?)");
    bc_bind_id(statement, 1, &session->id);
    bc_bind_id(statement, 2, &session->user);
    bc_bind_int(statement, 3, now_ms);
    bc_bind_int(statement, 4, now_ms);
    bc_bind_int(statement, 5, session->expires_ms);
    bc_bind_text(statement, 6, session->agent);
    return bc_run(statement) == BC_DB_DONE && bc_db_changes(db) == 1;
}

bool auth_store_open_session(bc_db_t *db, const auth_session_t *session, const auth_user_t *user, int64_t now_ms) {
    assert(cart_id_equal(&session->user, &user->id));
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO sessions(id, user_id, created_ms, used_ms, expires_ms, revoked_ms, agent) "
                          "SELECT ?, u.id, ?, ?, ?, 0, ? FROM users u "
                          "WHERE u.id = ? AND u.closed = 0 AND u.role = ? AND u.password_hash = ?");
    bc_bind_id(statement, 1, &session->id);
    bc_bind_int(statement, 2, now_ms);
    bc_bind_int(statement, 3, now_ms);
    bc_bind_int(statement, 4, session->expires_ms);
    bc_bind_text(statement, 5, session->agent);
    bc_bind_id(statement, 6, &user->id);
    bc_bind_int(statement, 7, user->role == BC_ROLE_ADMIN);
    bc_bind_text(statement, 8, user->password_hash);
    return bc_run(statement) == BC_DB_DONE && bc_db_changes(db) == 1;
}

void auth_store_touch_session(bc_db_t *db, const cart_id_t *session, int64_t now_ms, int64_t expires_ms) {
    bc_statement_t *statement = bc_db_prepare(db, "UPDATE sessions SET used_ms = ?, expires_ms = ? WHERE id = ?");
    bc_bind_int(statement, 1, now_ms);
    bc_bind_int(statement, 2, expires_ms);
    bc_bind_id(statement, 3, session);
    (void)bc_run(statement);
}

/* When the last token that the revocation speaks of is dead, for every clock; whole seconds. */
static int64_t revocation_end_s(int64_t now_ms, int64_t life_ms) {
    return (now_ms + life_ms) / 1000 + 2 * BC_TOKEN_LEEWAY_S + 1;
}

static void put_revocation(bc_db_t *db, int kind, const cart_id_t *subject, int64_t issued_before_s,
                           int64_t expires_s) {
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO revocations(kind, subject, issued_before_s, expires_s) VALUES(?, ?, ?, ?)");
    bc_bind_int(statement, 1, kind);
    bc_bind_id(statement, 2, subject);
    bc_bind_int(statement, 3, issued_before_s);
    bc_bind_int(statement, 4, expires_s);
    (void)bc_run(statement);
}

void auth_store_revoke_session(bc_db_t *db, const cart_id_t *session, const cart_id_t *user, int64_t now_ms,
                               int64_t life_ms, int64_t gone_ms) {
    auth_store_put_guest(db, user, now_ms);
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO sessions(id, user_id, created_ms, used_ms, expires_ms, revoked_ms) VALUES(?, ?, "
                          "?, ?, ?, ?)" BC_SQL_UPSERT("id") "revoked_ms = excluded.revoked_ms");
    bc_bind_id(statement, 1, session);
    bc_bind_id(statement, 2, user);
    bc_bind_int(statement, 3, now_ms);
    bc_bind_int(statement, 4, now_ms);
    bc_bind_int(statement, 5, gone_ms);
    bc_bind_int(statement, 6, now_ms);
    (void)bc_run(statement);
    put_revocation(db, 0, session, 0, revocation_end_s(now_ms, life_ms));
}

void auth_store_revoke_all(bc_db_t *db, int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(db, "UPDATE sessions SET revoked_ms = ? WHERE revoked_ms = 0");
    bc_bind_int(statement, 1, now_ms);
    (void)bc_run(statement);
    statement = bc_db_prepare(db, "DELETE FROM links WHERE kind = ?");
    bc_bind_int(statement, 1, AUTH_LINK_RESET);
    (void)bc_run(statement);
}

int64_t auth_store_revoke_tokens(bc_db_t *db, const cart_id_t *user, int64_t from_before_s, int64_t now_ms,
                                 int64_t life_ms) {
    /* Times in tokens are whole seconds: one issued earlier in this second must not slip through, nor one that a change earlier in
     * this second has put into the next. */
    int64_t from_s = now_ms / 1000 + 1;
    if (from_s <= from_before_s) from_s = from_before_s + 1;
    put_revocation(db, 1, user, from_s, revocation_end_s(now_ms, life_ms));
    return from_s;
}

void auth_store_end_sessions(bc_db_t *db, const cart_id_t *user, int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE sessions SET revoked_ms = ? WHERE user_id = ? AND revoked_ms = 0");
    bc_bind_int(statement, 1, now_ms);
    bc_bind_id(statement, 2, user);
    (void)bc_run(statement);
}

void auth_store_end_other_sessions(bc_db_t *db, const cart_id_t *user, const cart_id_t *kept, int64_t now_ms,
                                   int64_t life_ms) {
    /* One that was not used for longer than an access token lives has none left to speak of. */
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO revocations(kind, subject, issued_before_s, expires_s) SELECT 0, id, 0, ? FROM "
                          "sessions WHERE user_id = ? AND revoked_ms = 0 AND id <> ? AND used_ms > ?");
    bc_bind_int(statement, 1, revocation_end_s(now_ms, life_ms));
    bc_bind_id(statement, 2, user);
    bc_bind_id(statement, 3, kept);
    bc_bind_int(statement, 4, now_ms - life_ms - 2 * BC_TOKEN_LEEWAY_S * 1000 - 1000);
    (void)bc_run(statement);
    statement =
        bc_db_prepare(db, "UPDATE sessions SET revoked_ms = ? WHERE user_id = ? AND revoked_ms = 0 AND id <> ?");
    bc_bind_int(statement, 1, now_ms);
    bc_bind_id(statement, 2, user);
    bc_bind_id(statement, 3, kept);
    (void)bc_run(statement);
}

bool auth_store_end_session(bc_db_t *db, const cart_id_t *session, const cart_id_t *user, int64_t now_ms,
                            int64_t life_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, "UPDATE sessions SET revoked_ms = ? WHERE id = ? AND user_id = ? AND revoked_ms = 0 AND expires_ms > ?");
    bc_bind_int(statement, 1, now_ms);
    bc_bind_id(statement, 2, session);
    bc_bind_id(statement, 3, user);
    bc_bind_int(statement, 4, now_ms);
    if (bc_run(statement) != BC_DB_DONE || bc_db_changes(db) != 1) return false;
    put_revocation(db, 0, session, 0, revocation_end_s(now_ms, life_ms));
    return true;
}

bool auth_store_is_revoked(bc_db_t *db, const bc_claims_t *claims) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT 1 FROM revocations WHERE (subject = ? AND kind = 0) OR "
                                                  "(subject = ? AND kind = 1 AND issued_before_s > ?) LIMIT 1");
    bc_bind_id(statement, 1, &claims->session);
    bc_bind_id(statement, 2, &claims->user);
    bc_bind_int(statement, 3, claims->issued_s);
    bc_db_result_t result = bc_step(statement);
    bc_statement_done(statement);
    return result == BC_DB_ROW;
}

void auth_store_feed(bc_db_t *db, uint64_t after, int limit, int64_t now_s, json_t *items, uint64_t *position,
                     bool *more) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT position, kind, subject, issued_before_s, expires_s FROM revocations "
                          "WHERE position > ? AND expires_s > ? ORDER BY position LIMIT ?");
    int64_t from = after > INT64_MAX ? INT64_MAX : (int64_t)after;
    bc_bind_int(statement, 1, from);
    bc_bind_int(statement, 2, now_s);
    bc_bind_int(statement, 3, limit + 1);
    while (bc_step(statement) == BC_DB_ROW) {
        char number[24], id[CART_ID_CHARS + 1];
        cart_id_t subject;
        if (json_array_size(items) == (size_t)limit) {
            *more = true;
            break;
        }
        bool of_user = bc_column_int(statement, 1) == 1;
        uint64_t at = (uint64_t)bc_column_int(statement, 0);
        (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)at);
        if (!bc_column_id(statement, 2, &subject)) continue;
        cart_id_format(of_user ? BC_PREFIX_USER : BC_PREFIX_SESSION, &subject, id);
        json_int_t expires = bc_column_int(statement, 4), before = bc_column_int(statement, 3);
        json_t *item = of_user ? json_pack("{s:s, s:s, s:s, s:I, s:I}", "position", number, "kind", "user", "id", id,
                                           "issued_before", before, "expires", expires)
                               : json_pack("{s:s, s:s, s:s, s:I}", "position", number, "kind", "session", "id", id,
                                           "expires", expires);
        if (item == NULL ||
            json_array_append_new(items, item) != 0) { /* no memory: the rest comes with the next call */
            *more = true;
            break;
        }
        *position = at;
    }
    bc_statement_done(statement);
}

/* --- refresh tokens --- */

void auth_store_put_token(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES], const cart_id_t *session,
                          int64_t expires_ms, int64_t used_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO refresh_tokens(hash, session_id, expires_ms, used_ms) VALUES(?, ?, ?, ?)");
    bc_bind_bytes(statement, 1, hash, AUTH_TOKEN_HASH_BYTES);
    bc_bind_id(statement, 2, session);
    bc_bind_int(statement, 3, expires_ms);
    bc_bind_int(statement, 4, used_ms);
    bc_db_result_t result = bc_run(statement);
    assert(result != BC_DB_CONSTRAINT); /* 256 random bits twice, or a token of a session that is not stored */
    (void)result;
}

bool auth_store_token(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES], auth_refresh_t *found) {
    bc_statement_t *statement = bc_db_prepare(
        db, "SELECT " AUTH_USER_COLUMNS ", s.id, s.revoked_ms, t.used_ms, t.expires_ms FROM refresh_tokens t "
            "JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id WHERE t.hash = ?");
    bc_bind_bytes(statement, 1, hash, AUTH_TOKEN_HASH_BYTES);
    bool got = bc_step(statement) == BC_DB_ROW;
    if (got) {
        auth_store_read_user(statement, 0, &found->user);
        got = bc_column_id(statement, AUTH_USER_COLUMNS_COUNT, &found->session);
        found->session_revoked_ms = bc_column_int(statement, AUTH_USER_COLUMNS_COUNT + 1);
        found->token_used_ms = bc_column_int(statement, AUTH_USER_COLUMNS_COUNT + 2);
        found->token_expires_ms = bc_column_int(statement, AUTH_USER_COLUMNS_COUNT + 3);
    }
    bc_statement_done(statement);
    return got;
}

void auth_store_use_token(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES], int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE refresh_tokens SET used_ms = ? WHERE hash = ? AND used_ms = 0");
    bc_bind_int(statement, 1, now_ms);
    bc_bind_bytes(statement, 2, hash, AUTH_TOKEN_HASH_BYTES);
    (void)bc_run(statement);
}

/* --- merges --- */

bool auth_store_put_merge(bc_db_t *db, const auth_merge_t *merge, int64_t now_ms, int64_t next_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, BC_SQL_INSERT_IGNORE "merges(guest_id, user_id, mode, next_ms, created_ms) VALUES(?, ?, ?, ?, ?)");
    bc_bind_id(statement, 1, &merge->guest);
    bc_bind_id(statement, 2, &merge->user);
    bc_bind_text(statement, 3, merge->mode);
    bc_bind_int(statement, 4, next_ms);
    bc_bind_int(statement, 5, now_ms);
    return bc_run(statement) == BC_DB_DONE && bc_db_changes(db) == 1;
}

void auth_store_merge_done(bc_db_t *db, const cart_id_t *guest, int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE merges SET state = 1, done_ms = ? WHERE guest_id = ? AND state = 0");
    bc_bind_int(statement, 1, now_ms);
    bc_bind_id(statement, 2, guest);
    (void)bc_run(statement);
}

void auth_store_merge_failed(bc_db_t *db, const cart_id_t *guest, int64_t next_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE merges SET attempts = attempts + 1, next_ms = ? WHERE guest_id = ? AND state = 0");
    bc_bind_int(statement, 1, next_ms);
    bc_bind_id(statement, 2, guest);
    (void)bc_run(statement);
}

int auth_store_due_merges(bc_db_t *db, int64_t now_ms, auth_merge_t *merges, int max, int64_t *next_ms) {
    int count = 0;
    bc_statement_t *statement = bc_db_prepare(
        db, "SELECT guest_id, user_id, mode, attempts, next_ms FROM merges WHERE state = 0 ORDER BY next_ms LIMIT ?");
    bc_bind_int(statement, 1, max + 1);
    *next_ms = 0;
    while (bc_step(statement) == BC_DB_ROW) {
        int64_t due = bc_column_int(statement, 4);
        if (due > now_ms || count == max) {
            *next_ms = due;
            break;
        }
        auth_merge_t *merge = &merges[count];
        if (!bc_column_id(statement, 0, &merge->guest) || !bc_column_id(statement, 1, &merge->user)) continue;
        auth_store_copy_text(statement, 2, merge->mode, sizeof(merge->mode));
        merge->attempts = (int)bc_column_int(statement, 3);
        count++;
    }
    bc_statement_done(statement);
    return count;
}

/* --- tidying --- */

void auth_store_tidy(bc_db_t *db, int64_t now_ms, int64_t over_ms, int64_t refresh_life_ms) {
    static const char *const deletions[] = {
        "DELETE FROM refresh_tokens WHERE expires_ms < ?",
        "DELETE FROM sessions WHERE expires_ms < ? AND id NOT IN (SELECT session_id FROM refresh_tokens)",
        "DELETE FROM revocations WHERE expires_s < ?",
        "DELETE FROM merges WHERE state = 1 AND done_ms < ?",
        "DELETE FROM links WHERE expires_ms < ?",
        "DELETE FROM audit WHERE at_ms < ?",
        /* A guest that has ended: his row only said that no old token of his may come back; none lives any more. */
        ("DELETE FROM users WHERE kind = 0 AND closed = 1 AND changed_ms < ? AND NOT EXISTS "
         "(SELECT 1 FROM sessions s WHERE s.user_id = users.id)"),
    };
    const int64_t before[] = {now_ms,
                              over_ms,
                              now_ms / 1000,
                              now_ms - MERGES_KEPT_MS,
                              now_ms,
                              now_ms - AUTH_AUDIT_KEPT_MS,
                              now_ms - 2 * refresh_life_ms};
    _Static_assert(sizeof(before) / sizeof(before[0]) == sizeof(deletions) / sizeof(deletions[0]), "one for each");
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        bc_statement_t *statement = bc_db_prepare(db, deletions[i]);
        bc_bind_int(statement, 1, before[i]);
        (void)bc_run(statement);
    }
}
