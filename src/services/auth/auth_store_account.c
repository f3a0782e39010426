/* What the owner of an account asks for: profile, sessions, links in mails, erasure. */
#include "services/auth/auth_store.h"

#include <assert.h>
#include <string.h>

static bool changed_one(bc_db_t *db, bc_statement_t *statement) {
    return bc_run(statement) == BC_DB_DONE && bc_db_changes(db) == 1;
}

bool auth_store_set_profile(bc_db_t *db, const cart_id_t *id, const char *name, const char *about, const char *language,
                            int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE users SET name = COALESCE(?, name), about = COALESCE(?, about), language = "
                          "COALESCE(?, language), changed_ms = ? WHERE id = ? AND closed = 0");
    bc_bind_text(statement, 1, name);
    bc_bind_text(statement, 2, about);
    bc_bind_text(statement, 3, language);
    bc_bind_int(statement, 4, now_ms);
    bc_bind_id(statement, 5, id);
    return changed_one(db, statement);
}

bool auth_store_set_picture(bc_db_t *db, const cart_id_t *id, const char *url, int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE users SET picture_url = ?, changed_ms = ? WHERE id = ? AND closed = 0");
    bc_bind_text(statement, 1, url);
    bc_bind_int(statement, 2, now_ms);
    bc_bind_id(statement, 3, id);
    return changed_one(db, statement);
}

bool auth_store_uses_picture(bc_db_t *db, const char *url) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT 1 FROM users WHERE picture_url = ? LIMIT 1");
    bc_bind_text(statement, 1, url);
    bool used = bc_step(statement) == BC_DB_ROW;
    bc_statement_done(statement);
    return used;
}

int auth_store_sessions(bc_db_t *db, const cart_id_t *user, int64_t now_ms, int64_t before_ms,
                        const cart_id_t *before_id, auth_session_t *sessions, int max) {
    int count = 0;
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT id, created_ms, used_ms, expires_ms, agent FROM sessions WHERE user_id = ? AND "
                          "revoked_ms = 0 AND expires_ms > ? AND (created_ms < ? OR (created_ms = ? AND id < ?)) "
                          "ORDER BY created_ms DESC, id DESC LIMIT ?");
    bc_bind_id(statement, 1, user);
    bc_bind_int(statement, 2, now_ms);
    bc_bind_int(statement, 3, before_ms);
    bc_bind_int(statement, 4, before_ms);
    bc_bind_id(statement, 5, before_id);
    bc_bind_int(statement, 6, max);
    while (count < max && bc_step(statement) == BC_DB_ROW) {
        auth_session_t *session = &sessions[count];
        if (!bc_column_id(statement, 0, &session->id)) continue;
        session->user = *user;
        session->created_ms = bc_column_int(statement, 1);
        session->used_ms = bc_column_int(statement, 2);
        session->expires_ms = bc_column_int(statement, 3);
        auth_store_copy_text(statement, 4, session->agent, sizeof(session->agent));
        count++;
    }
    bc_statement_done(statement);
    return count;
}

/* --- links --- */

void auth_store_put_link(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES], const auth_link_t *link,
                         int64_t expires_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO links(hash, kind, user_id, email, expires_ms) VALUES(?, ?, ?, ?, ?)");
    bc_bind_bytes(statement, 1, hash, AUTH_TOKEN_HASH_BYTES);
    bc_bind_int(statement, 2, link->kind);
    bc_bind_id(statement, 3, &link->user);
    bc_bind_text(statement, 4, link->email);
    bc_bind_int(statement, 5, expires_ms);
    bc_db_result_t result = bc_run(statement);
    assert(result != BC_DB_CONSTRAINT); /* 256 random bits twice, or a user who is not stored */
    (void)result;
}

bool auth_store_link(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES], int64_t now_ms, auth_link_t *link) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT kind, user_id, email FROM links WHERE hash = ? AND expires_ms > ?");
    bc_bind_bytes(statement, 1, hash, AUTH_TOKEN_HASH_BYTES);
    bc_bind_int(statement, 2, now_ms);
    bool found = bc_step(statement) == BC_DB_ROW;
    if (found) {
        int64_t kind = bc_column_int(statement, 0);
        found = kind >= AUTH_LINK_VERIFY && kind <= AUTH_LINK_CHANGE && bc_column_id(statement, 1, &link->user);
        link->kind = found ? (auth_link_kind_t)kind : AUTH_LINK_VERIFY;
        auth_store_copy_text(statement, 2, link->email, sizeof(link->email));
    }
    bc_statement_done(statement);
    return found;
}

bool auth_store_use_link(bc_db_t *db, const unsigned char hash[AUTH_TOKEN_HASH_BYTES]) {
    bc_statement_t *statement = bc_db_prepare(db, "DELETE FROM links WHERE hash = ?");
    bc_bind_bytes(statement, 1, hash, AUTH_TOKEN_HASH_BYTES);
    return changed_one(db, statement);
}

void auth_store_drop_links(bc_db_t *db, const cart_id_t *user, int kind) {
    bc_statement_t *statement = bc_db_prepare(db, "DELETE FROM links WHERE user_id = ? AND (? < 0 OR kind = ?)");
    bc_bind_id(statement, 1, user);
    bc_bind_int(statement, 2, kind);
    bc_bind_int(statement, 3, kind);
    (void)bc_run(statement);
}

bool auth_store_verify_email(bc_db_t *db, const cart_id_t *id, const char *email, int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, "UPDATE users SET email_verified = 1, changed_ms = ? WHERE id = ? AND closed = 0 AND email = ?");
    bc_bind_int(statement, 1, now_ms);
    bc_bind_id(statement, 2, id);
    bc_bind_text(statement, 3, email);
    return changed_one(db, statement);
}

bc_db_result_t auth_store_set_email(bc_db_t *db, const cart_id_t *id, const char *email, int64_t now_ms,
                                    bool *changed) {
    bc_statement_t *statement = bc_db_prepare(
        db, "UPDATE users SET email = ?, email_verified = 1, changed_ms = ? WHERE id = ? AND kind = 1 AND closed = 0");
    bc_bind_text(statement, 1, email);
    bc_bind_int(statement, 2, now_ms);
    bc_bind_id(statement, 3, id);
    bc_db_result_t result = bc_run(statement);
    *changed = result == BC_DB_DONE && bc_db_changes(db) == 1;
    return result;
}

bool auth_store_reset_password(bc_db_t *db, const auth_link_t *link, const char *hash, int64_t tokens_from_s,
                               int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, "UPDATE users SET password_hash = ?, email_verified = 1, tokens_from_s = ?, changed_ms = ? "
                          "WHERE id = ? AND closed = 0 AND email = ?");
    bc_bind_text(statement, 1, hash);
    bc_bind_int(statement, 2, tokens_from_s);
    bc_bind_int(statement, 3, now_ms);
    bc_bind_id(statement, 4, &link->user);
    bc_bind_text(statement, 5, link->email);
    return changed_one(db, statement);
}

/* --- forgotten passwords --- */

bool auth_store_put_forgotten(bc_db_t *db, const char *email, const char *language, int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, "INSERT INTO forgotten(email, language, created_ms) SELECT ?, ?, ? FROM (SELECT COUNT(*) AS n FROM "
            "forgotten) AS waiting WHERE waiting.n < ?");
    bc_bind_text(statement, 1, email);
    bc_bind_text(statement, 2, language);
    bc_bind_int(statement, 3, now_ms);
    bc_bind_int(statement, 4, AUTH_FORGOTTEN_MAX);
    return changed_one(db, statement);
}

int auth_store_forgotten(bc_db_t *db, auth_forgotten_t *forgotten, int max) {
    int count = 0;
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT position, email, language FROM forgotten ORDER BY position LIMIT ?");
    bc_bind_int(statement, 1, max);
    while (count < max && bc_step(statement) == BC_DB_ROW) {
        forgotten[count].position = bc_column_int(statement, 0);
        auth_store_copy_text(statement, 1, forgotten[count].email, sizeof(forgotten[count].email));
        auth_store_copy_text(statement, 2, forgotten[count].language, sizeof(forgotten[count].language));
        count++;
    }
    bc_statement_done(statement);
    return count;
}

void auth_store_drop_forgotten(bc_db_t *db, int64_t position) {
    bc_statement_t *statement = bc_db_prepare(db, "DELETE FROM forgotten WHERE position = ?");
    bc_bind_int(statement, 1, position);
    (void)bc_run(statement);
}

/* --- erasure --- */

bool auth_store_erase(bc_db_t *db, const auth_user_t *user, int64_t tokens_from_s, int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, "UPDATE users SET email = NULL, email_verified = 0, name = '', about = '', language = '', "
            "picture_url = NULL, "
            "password_hash = '', role = 0, closed = 3, tokens_from_s = ?, changed_ms = ? WHERE id = ? AND "
            "closed = 0 AND password_hash = ? AND tokens_from_s = ? AND (role = 0 OR (SELECT n FROM (SELECT COUNT(*) "
            "AS n FROM "
            "users WHERE role = 1 AND closed = 0) AS admins) > 1)");
    _Static_assert(AUTH_ERASED == 3, "the statement above");
    bc_bind_int(statement, 1, tokens_from_s);
    bc_bind_int(statement, 2, now_ms);
    bc_bind_id(statement, 3, &user->id);
    bc_bind_text(statement, 4, user->password_hash);
    bc_bind_int(statement, 5, user->tokens_from_s);
    return changed_one(db, statement);
}
