/* What an administrator looks at and changes, and what is written down about it. */
#include "services/auth/auth_store.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

bool auth_store_set_standing(bc_db_t *db, const cart_id_t *id, bc_role_t role, auth_closed_t closed, bool leaves,
                             int64_t tokens_from_s, int64_t now_ms) {
    assert(closed == AUTH_OPEN || closed == AUTH_DISABLED);
    bc_statement_t *statement = bc_db_prepare(
        db,
        "UPDATE users SET role = ?, closed = ?, tokens_from_s = ?, changed_ms = ? WHERE id = ? AND closed IN (0, 2) "
        "AND (? = 0 OR (SELECT n FROM (SELECT COUNT(*) AS n FROM users WHERE role = 1 AND closed = 0) AS admins) > 1)");
    bc_bind_int(statement, 1, role == BC_ROLE_ADMIN);
    bc_bind_int(statement, 2, closed);
    bc_bind_int(statement, 3, tokens_from_s);
    bc_bind_int(statement, 4, now_ms);
    bc_bind_id(statement, 5, id);
    bc_bind_int(statement, 6, leaves);
    return bc_run(statement) == BC_DB_DONE && bc_db_changes(db) == 1;
}

bool auth_store_force_password(bc_db_t *db, const cart_id_t *id, const char *hash, int64_t tokens_from_s,
                               int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(
        db, "UPDATE users SET password_hash = ?, tokens_from_s = ?, changed_ms = ? WHERE id = ? AND role = 1");
    bc_bind_text(statement, 1, hash);
    bc_bind_int(statement, 2, tokens_from_s);
    bc_bind_int(statement, 3, now_ms);
    bc_bind_id(statement, 4, id);
    return bc_run(statement) == BC_DB_DONE && bc_db_changes(db) == 1;
}

/* The last address that begins so, and a little: addresses are ASCII below '~'+1. */
#define PREFIX_END "\x7f"

/* Filters that are off compare their parameter with -1 and are true for every row. */
#define USERS_WHERE                                                                                                    \
    "WHERE u.closed IN (0, 2) AND (? < 0 OR u.kind = ?) AND (? < 0 OR u.role = ?) AND (? < 0 OR u.closed = ?) "        \
    "AND (u.created_ms < ? OR (u.created_ms = ? AND u.id < ?)) "
#define USERS_ORDER "ORDER BY u.created_ms DESC, u.id DESC LIMIT ?"

int auth_store_users(bc_db_t *db, const auth_filter_t *filter, int64_t before_ms, const cart_id_t *before_id,
                     auth_user_t *users, int max) {
    int count = 0, at = 1;
    bool by_email = filter->email[0] != '\0';
    int closed = filter->disabled < 0 ? -1 : filter->disabled ? AUTH_DISABLED : AUTH_OPEN;
    const int filters[] = {filter->kind, filter->role, closed};
    bc_statement_t *statement =
        by_email ? bc_db_prepare(db, "SELECT " AUTH_USER_COLUMNS " FROM users u " USERS_WHERE
                                     "AND u.email >= ? AND u.email < ? " USERS_ORDER)
                 : bc_db_prepare(db, "SELECT " AUTH_USER_COLUMNS " FROM users u " USERS_WHERE USERS_ORDER);
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        bc_bind_int(statement, at++, filters[i]);
        bc_bind_int(statement, at++, filters[i]);
    }
    bc_bind_int(statement, at++, before_ms);
    bc_bind_int(statement, at++, before_ms);
    bc_bind_id(statement, at++, before_id);
    if (by_email) {
        char end[AUTH_EMAIL_MAX + 2];
        (void)snprintf(end, sizeof(end), "%s" PREFIX_END, filter->email); /* fits by its size */
        bc_bind_text(statement, at++, filter->email);
        bc_bind_text(statement, at++, end);
    }
    bc_bind_int(statement, at, max);
    while (count < max && bc_step(statement) == BC_DB_ROW) auth_store_read_user(statement, 0, &users[count++]);
    bc_statement_done(statement);
    return count;
}

/* --- audit --- */

void auth_store_put_audit(bc_db_t *db, const auth_audit_t *entry) {
    bc_statement_t *statement = bc_db_prepare(
        db, "INSERT INTO audit(at_ms, actor_id, action, user_id, detail, request_id) VALUES(?, ?, ?, ?, ?, ?)");
    bc_bind_int(statement, 1, entry->at_ms);
    if (entry->has_actor) {
        bc_bind_id(statement, 2, &entry->actor);
    } else {
        bc_bind_null(statement, 2);
    }
    bc_bind_text(statement, 3, entry->action);
    bc_bind_id(statement, 4, &entry->user);
    bc_bind_text(statement, 5, entry->detail);
    bc_bind_text(statement, 6, entry->request_id);
    (void)bc_run(statement); /* errors stick and show at the commit */
}

static int read_audit(bc_statement_t *statement, auth_audit_t *entries, int max) {
    int count = 0;
    while (count < max && bc_step(statement) == BC_DB_ROW) {
        auth_audit_t *entry = &entries[count];
        entry->position = bc_column_int(statement, 0);
        entry->at_ms = bc_column_int(statement, 1);
        entry->has_actor = bc_column_id(statement, 2, &entry->actor);
        auth_store_copy_text(statement, 3, entry->action, sizeof(entry->action));
        if (!bc_column_id(statement, 4, &entry->user)) continue;
        auth_store_copy_text(statement, 5, entry->detail, sizeof(entry->detail));
        auth_store_copy_text(statement, 6, entry->request_id, sizeof(entry->request_id));
        count++;
    }
    bc_statement_done(statement);
    return count;
}

#define AUDIT_COLUMNS "position, at_ms, actor_id, action, user_id, detail, request_id"

int auth_store_audit(bc_db_t *db, const cart_id_t *user, int64_t before, auth_audit_t *entries, int max) {
    bc_statement_t *statement;
    if (user == NULL) {
        statement =
            bc_db_prepare(db, "SELECT " AUDIT_COLUMNS " FROM audit WHERE position < ? ORDER BY position DESC LIMIT ?");
        bc_bind_int(statement, 1, before);
        bc_bind_int(statement, 2, max);
    } else {
        statement = bc_db_prepare(db, "SELECT " AUDIT_COLUMNS " FROM audit WHERE user_id = ? AND position < ? ORDER BY "
                                      "position DESC LIMIT ?");
        bc_bind_id(statement, 1, user);
        bc_bind_int(statement, 2, before);
        bc_bind_int(statement, 3, max);
    }
    return read_audit(statement, entries, max);
}

/* --- guests --- */

int auth_store_dead_guests(bc_db_t *db, int64_t before_ms, cart_id_t *guests, int max) {
    int count = 0;
    bc_statement_t *statement = bc_db_prepare(
        db, "SELECT DISTINCT u.id FROM sessions o JOIN users u ON u.id = o.user_id WHERE o.expires_ms < ? AND "
            "u.kind = 0 AND u.closed = 0 AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = u.id "
            "AND s.expires_ms >= ?) LIMIT ?");
    bc_bind_int(statement, 1, before_ms);
    bc_bind_int(statement, 2, before_ms);
    bc_bind_int(statement, 3, max);
    while (count < max && bc_step(statement) == BC_DB_ROW) {
        if (bc_column_id(statement, 0, &guests[count])) count++;
    }
    bc_statement_done(statement);
    return count;
}
