/* The consumer's tables: how far each log was followed, what was applied, what could not be. */
#include "platform/bc_events_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bc_followed_get(bc_db_t *db, const char *source, char generation[BC_GENERATION_MAX + 1], uint64_t *position) {
    bc_statement_t *statement = bc_db_prepare(db, "SELECT generation, position FROM followed WHERE source = ?");
    bc_bind_text(statement, 1, source);
    generation[0] = '\0';
    *position = 0;
    if (bc_step(statement) == BC_DB_ROW) {
        (void)snprintf(generation, BC_GENERATION_MAX + 1, "%s", bc_column_text(statement, 0)); /* as long at most */
        *position = (uint64_t)bc_column_int(statement, 1);
    }
    bc_statement_done(statement);
}

void bc_followed_set(bc_db_t *db, const char *source, const char *generation, uint64_t position) {
    assert(position <= INT64_MAX);
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO followed(source, generation, position) VALUES(?, ?, ?)" BC_SQL_UPSERT(
                              "source") "generation = excluded.generation, position = excluded.position");
    bc_bind_text(statement, 1, source);
    bc_bind_text(statement, 2, generation);
    bc_bind_int(statement, 3, (int64_t)position);
    (void)bc_run(statement);
}

bc_inbox_t bc_inbox_look(bc_db_t *db, const char *source, const char *id, const char *key) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT EXISTS(SELECT 1 FROM inbox WHERE source = ? AND event_id = ?), "
                          "(SELECT MAX(tries) FROM dead_letters WHERE source = ? AND event_key = ?)");
    bc_bind_text(statement, 1, source);
    bc_bind_text(statement, 2, id);
    bc_bind_text(statement, 3, source);
    bc_bind_text(statement, 4, key);
    bc_inbox_t found = BC_INBOX_NEW;
    if (bc_step(statement) == BC_DB_ROW) {
        if (bc_column_int(statement, 0) != 0) {
            found = BC_INBOX_APPLIED;
        } else if (!bc_column_is_null(statement, 1)) {
            found = bc_column_int(statement, 1) == BC_LETTER_TO_REPLAY ? BC_INBOX_REPLAYED : BC_INBOX_BEHIND;
        }
    }
    bc_statement_done(statement);
    return found;
}

void bc_inbox_put(bc_db_t *db, const char *source, const char *id, int64_t now_ms) {
    bc_statement_t *statement =
        bc_db_prepare(db, BC_SQL_INSERT_IGNORE "inbox(source, event_id, applied_ms) VALUES(?, ?, ?)");
    bc_bind_text(statement, 1, source);
    bc_bind_text(statement, 2, id);
    bc_bind_int(statement, 3, now_ms);
    (void)bc_run(statement);
}

void bc_letter_put(bc_db_t *db, const bc_event_t *event, const json_t *object, const char *reason, int tries,
                   int64_t now_ms) {
    char *text = json_dumps(object, JSON_COMPACT);
    bc_statement_t *statement =
        bc_db_prepare(db, "INSERT INTO dead_letters(source, event_id, event_key, event, reason, tries, failed_ms) "
                          "VALUES(?, ?, ?, ?, ?, ?, ?)" BC_SQL_UPSERT("source, event_id") "source = excluded.source");
    bc_bind_text(statement, 1, event->source);
    bc_bind_text(statement, 2, event->id);
    bc_bind_text(statement, 3, event->key);
    bc_bind_text(statement, 4, text);
    bc_bind_text(statement, 5, reason);
    bc_bind_int(statement, 6, tries);
    bc_bind_int(statement, 7, now_ms);
    if (bc_run(statement) == BC_DB_CONSTRAINT) bc_db_fail(db, "dead letter"); /* null text: no memory */
    free(text);
}

json_t *bc_letter_to_replay(bc_db_t *db, const char *source) {
    bc_statement_t *statement =
        bc_db_prepare(db, "SELECT event FROM dead_letters WHERE source = ? AND tries = -1 ORDER BY position LIMIT 1");
    bc_bind_text(statement, 1, source);
    json_t *object = NULL;
    if (bc_step(statement) == BC_DB_ROW) object = json_loads(bc_column_text(statement, 0), 0, NULL);
    bc_statement_done(statement);
    return object;
}

void bc_letter_drop(bc_db_t *db, const char *source, const char *id) {
    bc_statement_t *statement = bc_db_prepare(db, "DELETE FROM dead_letters WHERE source = ? AND event_id = ?");
    bc_bind_text(statement, 1, source);
    bc_bind_text(statement, 2, id);
    (void)bc_run(statement);
}

void bc_letter_failed(bc_db_t *db, const bc_event_t *event, const char *reason, int tries, int64_t now_ms) {
    bc_statement_t *own = bc_db_prepare(
        db, "UPDATE dead_letters SET tries = ?, reason = ?, failed_ms = ? WHERE source = ? AND event_id = ?");
    bc_bind_int(own, 1, tries);
    bc_bind_text(own, 2, reason);
    bc_bind_int(own, 3, now_ms);
    bc_bind_text(own, 4, event->source);
    bc_bind_text(own, 5, event->id);
    (void)bc_run(own);
    bc_statement_t *others =
        bc_db_prepare(db, "UPDATE dead_letters SET tries = 0 WHERE source = ? AND event_key = ? AND tries = -1");
    bc_bind_text(others, 1, event->source);
    bc_bind_text(others, 2, event->key);
    (void)bc_run(others);
}
