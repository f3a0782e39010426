/*
 * The question service's tables (DATA/question.db) and every statement on them.
 *
 * Invariants
 * 1. `messages` of a question is the number of its rows in `messages`, which count 1… without a gap; one statement that names the number
 *    it goes on from saves both, so of two who write at once one is refused (QUESTION_CHANGED).
 * 2. `since_ms` is when the present state began: what the queue is ordered by.
 * 3. A question without a user is one whose asker was erased. No call here finds it by a user again.
 *
 * Every function runs between bc_db_begin (reads: or bc_db_enter) and its end. Any thread.
 */
#ifndef QUESTION_STORE_H
#define QUESTION_STORE_H

#include "platform/bc_db.h"
#include "services/question/question_rules.h"

#define QUESTION_PREFIX       "que_"
#define QUESTION_ORDER_PREFIX "ord_"

typedef enum { QUESTION_OPEN, QUESTION_ANSWERED, QUESTION_CLOSED, QUESTION_STATE_COUNT } question_state_t; /* stored */
typedef enum { QUESTION_ABOUT_SHOP, QUESTION_ABOUT_BOOK, QUESTION_ABOUT_ORDER } question_about_t;          /* stored */
typedef enum { QUESTION_BY_CUSTOMER, QUESTION_BY_SHOP } question_author_t;                                 /* stored */

typedef enum {
    QUESTION_OK,
    QUESTION_ABSENT,
    QUESTION_CHANGED, /* somebody else was there first: read it again */
    QUESTION_FAILED   /* the database; it was logged */
} question_result_t;

/* Texts are borrowed: from the caller, or until the callback returns. */
typedef struct {
    cart_id_t id;
    bool has_user;
    cart_id_t user;
    question_about_t about;
    int64_t book;    /* with QUESTION_ABOUT_BOOK */
    cart_id_t order; /* with QUESTION_ABOUT_ORDER */
    const char *subject;
    question_state_t state;
    int64_t messages;
    int64_t created_ms;
    int64_t updated_ms;
    int64_t since_ms;
    bool is_public;
    const char *public_question; /* NULL: none */
    const char *public_answer;   /* NULL: none */
    int64_t answered_ms;         /* when it was published */
    /* The newest message, or each, where a list shows it; NULL elsewhere. */
    const char *last_text;
    question_author_t last_author;
    int64_t last_ms;
} question_row_t;

typedef struct {
    int64_t number;
    question_author_t author;
    const char *text;
    int64_t at_ms;
} question_message_t;

/* false stops the reading, and the call answers QUESTION_FAILED. No call back into the store. */
typedef bool (*question_row_fn)(void *context, const question_row_t *row);
typedef bool (*question_message_fn)(void *context, const question_message_t *message);

/* Where a page begins: behind this place. */
typedef struct {
    int64_t at_ms;
    cart_id_t id;
} question_place_t;

extern const bc_migration_t question_migrations[];

/* --- reading --- */
question_result_t question_get(bc_db_t *db, const cart_id_t *id, question_row_fn show, void *context);
question_result_t question_messages(bc_db_t *db, const cart_id_t *id, question_message_fn show, void *context);
/* How many of a user's questions are open. */
question_result_t question_count_open(bc_db_t *db, const cart_id_t *user, int64_t *count);

/* Newest first by created_ms. `behind` NULL: from the first; so below. */
question_result_t question_list_of(bc_db_t *db, const cart_id_t *user, const question_place_t *behind, int limit,
                                   question_row_fn show, void *context);
/* Every message of all his questions, newest question first, oldest message first: `last_…` is the message. */
question_result_t question_all_of(bc_db_t *db, const cart_id_t *user, question_row_fn show, void *context);
/* Oldest first by since_ms; with the newest message. `state` QUESTION_STATE_COUNT: all. */
question_result_t question_queue(bc_db_t *db, question_state_t state, const question_place_t *behind, int limit,
                                 question_row_fn show, void *context);
/* What is published about a book, newest first by answered_ms. */
question_result_t question_published(bc_db_t *db, int64_t book, const question_place_t *behind, int limit,
                                     question_row_fn show, void *context);

/* --- writing; the row is as it was read, with its new values --- */

/* A new question and its first message. */
question_result_t question_put(bc_db_t *db, const question_row_t *row, const char *text);
/* Message number row->messages, which the caller has counted on from what it read, and the row's state, times and publication. */
question_result_t question_go_on(bc_db_t *db, const question_row_t *row, question_author_t author, const char *text);
/* The row's state, times and publication, if no message came since it was read. */
question_result_t question_save(bc_db_t *db, const question_row_t *row);

/* The user is no longer known: questions about orders go, the others lose their author. */
void question_forget(bc_db_t *db, const cart_id_t *user);

/* --- the list of frequent questions: one row a language --- */

/* The list as JSON text, copied; the caller frees it. QUESTION_ABSENT: never written. */
question_result_t question_faq_get(bc_db_t *db, const char *language, char **items);
question_result_t question_faq_put(bc_db_t *db, const char *language, const char *items, int64_t now_ms);

#endif
