#include "services/question/question_store.h"

#include "platform/bc_events.h"
#include "platform/bc_mail.h"
#include "platform/bc_once.h"

#include <assert.h>
#include <string.h>

/* Numbered, append only. */
const bc_migration_t question_migrations[] = {
    {"events, mails, keys", BC_EVENTS_MIGRATION BC_MAIL_MIGRATION BC_ONCE_MIGRATION},
    {"questions, frequent questions",
     "CREATE TABLE questions("
     " id " BC_SQL_ID " PRIMARY KEY NOT NULL,"
     " user_id " BC_SQL_ID "," /* null: erased */
     " about INTEGER NOT NULL CHECK(about IN (0, 1, 2)),"
     " book " BC_SQL_BIGINT ", order_id " BC_SQL_ID ","
     " subject TEXT NOT NULL,"
     " state INTEGER NOT NULL CHECK(state IN (0, 1, 2)),"
     " messages " BC_SQL_BIGINT " NOT NULL,"
     " created_ms " BC_SQL_BIGINT " NOT NULL, updated_ms " BC_SQL_BIGINT " NOT NULL,"
     " since_ms " BC_SQL_BIGINT " NOT NULL,"
     " is_public INTEGER NOT NULL DEFAULT 0,"
     " public_question TEXT, public_answer TEXT, answered_ms " BC_SQL_BIGINT " NOT NULL DEFAULT 0);"
     "CREATE INDEX questions_by_user ON questions(user_id, created_ms, id);"
     "CREATE INDEX questions_by_state ON questions(state, since_ms, id);"
     "CREATE INDEX questions_by_since ON questions(since_ms, id);"
     "CREATE INDEX questions_by_book ON questions(book, is_public, answered_ms, id);"
     "CREATE TABLE messages("
     " question " BC_SQL_ID " NOT NULL, number " BC_SQL_BIGINT " NOT NULL, author INTEGER NOT NULL,"
     " text TEXT NOT NULL, at_ms " BC_SQL_BIGINT " NOT NULL, PRIMARY KEY(question, number));"
     "CREATE TABLE faq("
     " language VARCHAR(8) PRIMARY KEY NOT NULL, items TEXT NOT NULL, updated_ms " BC_SQL_BIGINT " NOT NULL);"},
    {NULL, NULL},
};

/* --- reading --- */

/* read_row goes by this order. */
#define ROW                                                                                                            \
    "q.id, q.user_id, q.about, q.book, q.order_id, q.subject, q.state, q.messages, q.created_ms, q.updated_ms, "       \
    "q.since_ms, q.is_public, q.public_question, q.public_answer, q.answered_ms "
#define LAST      ", m.author, m.text, m.at_ms "
#define WITH_LAST "LEFT JOIN messages m ON m.question = q.id AND m.number = q.messages "

static void read_row(bc_statement_t *at, bool with_last, question_row_t *row) {
    *row = (question_row_t){
        .about = (question_about_t)bc_column_int(at, 2),
        .book = bc_column_int(at, 3), /* null is 0 */
        .subject = bc_column_text(at, 5),
        .state = (question_state_t)bc_column_int(at, 6),
        .messages = bc_column_int(at, 7),
        .created_ms = bc_column_int(at, 8),
        .updated_ms = bc_column_int(at, 9),
        .since_ms = bc_column_int(at, 10),
        .is_public = bc_column_int(at, 11) != 0,
        .public_question = bc_column_text(at, 12),
        .public_answer = bc_column_text(at, 13),
        .answered_ms = bc_column_int(at, 14),
    };
    (void)bc_column_id(at, 0, &row->id); /* stored by us */
    row->has_user = bc_column_id(at, 1, &row->user);
    (void)bc_column_id(at, 4, &row->order); /* null: stays zero */
    if (!with_last) return;
    row->last_author = (question_author_t)bc_column_int(at, 15);
    row->last_text = bc_column_text(at, 16);
    row->last_ms = bc_column_int(at, 17);
}

/* Steps through and ends the statement. */
static question_result_t show_rows(bc_db_t *db, bc_statement_t *statement, bool with_last, question_row_fn show,
                                   void *context, size_t *count) {
    bool good = true;
    *count = 0;
    while (good && bc_step(statement) == BC_DB_ROW) {
        question_row_t row;
        read_row(statement, with_last, &row);
        good = show(context, &row);
        (*count)++;
    }
    bc_statement_done(statement);
    return good && bc_db_is_sound(db) ? QUESTION_OK : QUESTION_FAILED;
}

question_result_t question_get(bc_db_t *db, const cart_id_t *id, question_row_fn show, void *context) {
    bc_statement_t *get = bc_db_prepare(db, "SELECT " ROW "FROM questions q WHERE q.id = ?1");
    size_t count = 0;
    bc_bind_id(get, 1, id);
    question_result_t result = show_rows(db, get, false, show, context, &count);
    return result == QUESTION_OK && count == 0 ? QUESTION_ABSENT : result;
}

question_result_t question_messages(bc_db_t *db, const cart_id_t *id, question_message_fn show, void *context) {
    bc_statement_t *list =
        bc_db_prepare(db, "SELECT number, author, text, at_ms FROM messages WHERE question = ?1 ORDER BY number");
    bool good = true;
    bc_bind_id(list, 1, id);
    while (good && bc_step(list) == BC_DB_ROW) {
        question_message_t message = {
            .number = bc_column_int(list, 0),
            .author = (question_author_t)bc_column_int(list, 1),
            .text = bc_column_text(list, 2),
            .at_ms = bc_column_int(list, 3),
        };
        good = show(context, &message);
    }
    bc_statement_done(list);
    return good && bc_db_is_sound(db) ? QUESTION_OK : QUESTION_FAILED;
}

question_result_t question_count_open(bc_db_t *db, const cart_id_t *user, int64_t *count) {
    bc_statement_t *open = bc_db_prepare(db, "SELECT COUNT(*) FROM questions WHERE user_id = ?1 AND state = 0");
    bc_bind_id(open, 1, user);
    bool found = bc_step(open) == BC_DB_ROW;
    if (found) *count = bc_column_int(open, 0);
    bc_statement_done(open);
    return found ? QUESTION_OK : QUESTION_FAILED;
}

/* Rising or falling, the first page begins behind a place that no row has. */
static void bind_place(bc_statement_t *statement, int index, const question_place_t *behind, bool rising) {
    cart_id_t edge;
    memset(&edge, rising ? 0 : 0xff, sizeof(edge));
    bc_bind_int(statement, index, behind != NULL ? behind->at_ms : rising ? INT64_MIN : INT64_MAX);
    bc_bind_id(statement, index + 1, behind != NULL ? &behind->id : &edge);
}

question_result_t question_list_of(bc_db_t *db, const cart_id_t *user, const question_place_t *behind, int limit,
                                   question_row_fn show, void *context) {
    bc_statement_t *list = bc_db_prepare(db, "SELECT " ROW "FROM questions q WHERE q.user_id = ?1 "
                                             "AND (q.created_ms, q.id) < (?2, ?3) "
                                             "ORDER BY q.created_ms DESC, q.id DESC LIMIT ?4");
    size_t count = 0;
    bc_bind_id(list, 1, user);
    bind_place(list, 2, behind, false);
    bc_bind_int(list, 4, limit);
    return show_rows(db, list, false, show, context, &count);
}

question_result_t question_all_of(bc_db_t *db, const cart_id_t *user, question_row_fn show, void *context) {
    bc_statement_t *list = bc_db_prepare(
        db, "SELECT " ROW LAST "FROM questions q JOIN messages m ON m.question = q.id WHERE q.user_id = ?1 "
            "ORDER BY q.created_ms DESC, q.id DESC, m.number");
    size_t count = 0;
    bc_bind_id(list, 1, user);
    return show_rows(db, list, true, show, context, &count);
}

question_result_t question_queue(bc_db_t *db, question_state_t state, const question_place_t *behind, int limit,
                                 question_row_fn show, void *context) {
    static const char all[] = "SELECT " ROW LAST "FROM questions q " WITH_LAST "WHERE (q.since_ms, q.id) > (?1, ?2) "
                              "ORDER BY q.since_ms, q.id LIMIT ?3";
    static const char one[] =
        "SELECT " ROW LAST "FROM questions q " WITH_LAST "WHERE q.state = ?4 AND (q.since_ms, q.id) > (?1, ?2) "
        "ORDER BY q.since_ms, q.id LIMIT ?3";
    bc_statement_t *list = bc_db_prepare(db, state == QUESTION_STATE_COUNT ? all : one);
    size_t count = 0;
    bind_place(list, 1, behind, true);
    bc_bind_int(list, 3, limit);
    if (state != QUESTION_STATE_COUNT) bc_bind_int(list, 4, state);
    return show_rows(db, list, true, show, context, &count);
}

question_result_t question_published(bc_db_t *db, int64_t book, const question_place_t *behind, int limit,
                                     question_row_fn show, void *context) {
    bc_statement_t *list = bc_db_prepare(db, "SELECT " ROW "FROM questions q WHERE q.book = ?1 AND q.is_public = 1 "
                                             "AND (q.answered_ms, q.id) < (?2, ?3) "
                                             "ORDER BY q.answered_ms DESC, q.id DESC LIMIT ?4");
    size_t count = 0;
    bc_bind_int(list, 1, book);
    bind_place(list, 2, behind, false);
    bc_bind_int(list, 4, limit);
    return show_rows(db, list, false, show, context, &count);
}

/* --- writing --- */

static question_result_t put_message(bc_db_t *db, const cart_id_t *id, int64_t number, question_author_t author,
                                     const char *text, int64_t at_ms) {
    bc_statement_t *put =
        bc_db_prepare(db, "INSERT INTO messages(question, number, author, text, at_ms) VALUES(?1, ?2, ?3, ?4, ?5)");
    bc_bind_id(put, 1, id);
    bc_bind_int(put, 2, number);
    bc_bind_int(put, 3, author);
    bc_bind_text(put, 4, text);
    bc_bind_int(put, 5, at_ms);
    bc_db_result_t result = bc_run(put);
    return result == BC_DB_DONE ? QUESTION_OK : result == BC_DB_CONSTRAINT ? QUESTION_CHANGED : QUESTION_FAILED;
}

question_result_t question_put(bc_db_t *db, const question_row_t *row, const char *text) {
    assert(row->has_user && row->messages == 1 && row->state == QUESTION_OPEN);
    bc_statement_t *put =
        bc_db_prepare(db, "INSERT INTO questions(id, user_id, about, book, order_id, subject, state, messages, "
                          "created_ms, updated_ms, since_ms) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?9)");
    bc_bind_id(put, 1, &row->id);
    bc_bind_id(put, 2, &row->user);
    bc_bind_int(put, 3, row->about);
    if (row->about == QUESTION_ABOUT_BOOK) bc_bind_int(put, 4, row->book); /* not bound: null */
    if (row->about == QUESTION_ABOUT_ORDER) bc_bind_id(put, 5, &row->order);
    bc_bind_text(put, 6, row->subject);
    bc_bind_int(put, 7, row->state);
    bc_bind_int(put, 8, row->messages);
    bc_bind_int(put, 9, row->created_ms);
    if (bc_run(put) != BC_DB_DONE) return QUESTION_FAILED;
    return put_message(db, &row->id, 1, QUESTION_BY_CUSTOMER, text, row->created_ms);
}

static question_result_t save(bc_db_t *db, const question_row_t *row, int64_t messages_before) {
    assert(row->state < QUESTION_STATE_COUNT);
    assert(!row->is_public || (row->public_question != NULL && row->public_answer != NULL));
    bc_statement_t *update = bc_db_prepare(
        db, "UPDATE questions SET state = ?2, messages = ?3, updated_ms = ?4, since_ms = ?5, is_public = ?6, "
            "public_question = ?7, public_answer = ?8, answered_ms = ?9 WHERE id = ?1 AND messages = ?10");
    bc_bind_id(update, 1, &row->id);
    bc_bind_int(update, 2, row->state);
    bc_bind_int(update, 3, row->messages);
    bc_bind_int(update, 4, row->updated_ms);
    bc_bind_int(update, 5, row->since_ms);
    bc_bind_int(update, 6, row->is_public);
    bc_bind_text(update, 7, row->public_question);
    bc_bind_text(update, 8, row->public_answer);
    bc_bind_int(update, 9, row->answered_ms);
    bc_bind_int(update, 10, messages_before);
    if (bc_run(update) != BC_DB_DONE) return QUESTION_FAILED;
    return bc_db_changes(db) == 1 ? QUESTION_OK : QUESTION_CHANGED;
}

question_result_t question_go_on(bc_db_t *db, const question_row_t *row, question_author_t author, const char *text) {
    assert(row->messages > 1);
    question_result_t result = save(db, row, row->messages - 1);
    return result == QUESTION_OK ? put_message(db, &row->id, row->messages, author, text, row->updated_ms) : result;
}

question_result_t question_save(bc_db_t *db, const question_row_t *row) {
    return save(db, row, row->messages);
}

void question_forget(bc_db_t *db, const cart_id_t *user) {
    static const char *const texts[] = {
        "DELETE FROM messages WHERE question IN (SELECT id FROM questions WHERE user_id = ?1 AND about = 2)",
        "DELETE FROM questions WHERE user_id = ?1 AND about = 2",
        "UPDATE questions SET user_id = NULL WHERE user_id = ?1",
        "DELETE FROM once_keys WHERE user_id = ?1",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        bc_statement_t *statement = bc_db_prepare(db, texts[i]);
        bc_bind_id(statement, 1, user);
        (void)bc_run(statement); /* errors stick */
    }
}

/* --- frequent questions --- */

question_result_t question_faq_get(bc_db_t *db, const char *language, char **items) {
    bc_statement_t *get = bc_db_prepare(db, "SELECT items FROM faq WHERE language = ?1");
    bc_bind_text(get, 1, language);
    bc_db_result_t found = bc_step(get);
    char *copy = found == BC_DB_ROW ? strdup(bc_column_text(get, 0)) : NULL;
    bc_statement_done(get);
    if (found == BC_DB_DONE) return QUESTION_ABSENT;
    if (copy == NULL) return QUESTION_FAILED;
    *items = copy;
    return QUESTION_OK;
}

question_result_t question_faq_put(bc_db_t *db, const char *language, const char *items, int64_t now_ms) {
    bc_statement_t *put =
        bc_db_prepare(db, "INSERT INTO faq(language, items, updated_ms) VALUES(?1, ?2, ?3)" BC_SQL_UPSERT(
                              "language") "items = excluded.items, updated_ms = excluded.updated_ms");
    bc_bind_text(put, 1, language);
    bc_bind_text(put, 2, items);
    bc_bind_int(put, 3, now_ms);
    return bc_run(put) == BC_DB_DONE ? QUESTION_OK : QUESTION_FAILED;
}
