/* The shop's side: the queue, answers, what becomes public, closing and opening. */
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_time.h"
#include "services/question/question_service.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* --- the queue --- */

static bool queue_row(void *context, const question_row_t *row) {
    question_rows_t *queue = context;
    return !question_rows_take(queue, row->since_ms, &row->id) ||
           json_array_append_new(queue->items, question_json_queued(row, queue->now_ms)) == 0;
}

static bool read_state(const char *word, question_state_t *state) {
    static const char *const words[QUESTION_STATE_COUNT] = {"open", "answered", "closed"};
    for (int i = 0; i < QUESTION_STATE_COUNT; i++) {
        if (strcmp(words[i], word) == 0) {
            *state = (question_state_t)i;
            return true;
        }
    }
    return false;
}

void question_handle_queue(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    const char *word = bc_request_query(request, "state");
    question_state_t state = QUESTION_STATE_COUNT;
    question_page_t page;
    char name[32];
    if (word != NULL && !read_state(word, &state)) {
        bc_reply_problem_field(reply, "malformed-request", "state", "unknown", "open, answered or closed");
        return;
    }
    (void)snprintf(name, sizeof(name), "queue %s", word == NULL ? "" : word); /* a word of ours: fits */
    if (!question_read_page(question, request, reply, name, &page)) return;
    question_rows_t queue = {.items = json_array(), .limit = page.limit, .now_ms = bc_time_ms()};
    bc_db_t *db = bc_db_enter_read(question->db);
    question_result_t result =
        question_queue(db, state, page.has_behind ? &page.behind : NULL, (int)page.limit + 1, queue_row, &queue);
    bc_db_leave(db);
    if (result != QUESTION_OK) {
        json_decref(queue.items);
        question_reply_result(reply, result);
        return;
    }
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, question_page_json(question, name, queue.items, queue.more, &queue.last));
}

void question_handle_admin_one(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    question_conversation_t conversation;
    cart_id_t id;
    if (!question_path_id(request, reply, &id)) return;
    bc_db_t *db = bc_db_enter_read(question->db);
    question_result_t result = question_load(db, &id, &conversation);
    bc_db_leave(db);
    if (result != QUESTION_OK) {
        question_reply_result(reply, result);
        return;
    }
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, question_json_admin(&conversation.row, conversation.messages, bc_time_ms()));
    question_drop(&conversation);
}

/* --- changes: each is read, decided and written in one transaction --- */

/* Changes conversation->row, writes it, publishes. Inside the transaction. false: a problem was set. */
typedef bool (*change_fn)(question_t *question, const bc_request_t *request, bc_reply_t *reply,
                          question_conversation_t *conversation);

/* `once` NULL: the request takes no key. */
static void run_change(question_t *question, const bc_request_t *request, bc_reply_t *reply, change_fn change,
                       int status, bc_once_t *once) {
    question_conversation_t conversation;
    json_t *body = NULL;
    cart_id_t id;
    if (!question_path_id(request, reply, &id)) return;
    if (bc_db_begin(question->db) != BC_DB_OK) {
        question_reply_result(reply, QUESTION_FAILED);
        return;
    }
    question_result_t result = question_load(question->db, &id, &conversation);
    if (result != QUESTION_OK) {
        bc_db_rollback(question->db);
        question_reply_result(reply, result);
        return;
    }
    bool good = change(question, request, reply, &conversation);
    if (good) body = question_json_admin(&conversation.row, conversation.messages, bc_time_ms());
    if (good && body == NULL) bc_reply_problem(reply, "internal-error", NULL);
    if (body == NULL) {
        bc_db_rollback(question->db);
    } else {
        if (once != NULL) bc_once_keep(once, status, body, NULL);
        if (bc_db_commit(question->db) != BC_DB_OK) {
            question_reply_result(reply, QUESTION_FAILED);
        } else {
            bc_outbox_wake(question->outbox);
            bc_mailer_wake(question->mailer);
            bc_reply_cache(reply, "private, no-cache");
            bc_reply_json(reply, status, json_incref(body));
        }
    }
    json_decref(body);
    question_drop(&conversation);
}

/* --- answering --- */

static void put_mail(question_t *question, const question_row_t *row) {
    char id[CART_ID_CHARS + 1], key[BC_MAIL_KEY_MAX + 1];
    if (!row->has_user) return;
    cart_id_format(QUESTION_PREFIX, &row->id, id);
    (void)snprintf(key, sizeof(key), "question.answered/%s/%lld", id, (long long)row->messages); /* fits */
    json_t *data = json_pack("{s:s, s:s}", "question", id, "subject", row->subject);
    if (data == NULL) {
        bc_db_fail(question->db, "no memory for a mail");
        return;
    }
    const bc_mail_t mail = {.key = key, .kind = BC_MAIL_QUESTION_ANSWERED, .user = &row->user, .data = data};
    bc_mail_put(question->db, &mail);
    json_decref(data);
}

/* What is published is a copy: what is said later in the conversation does not change it. */
static void publish(question_conversation_t *conversation, const char *wording, const char *answer) {
    question_row_t *row = &conversation->row;
    row->is_public = true;
    row->public_question = wording != NULL ? wording : conversation->last_asked;
    row->public_answer = answer;
    row->answered_ms = row->updated_ms;
    assert(row->public_question != NULL); /* a conversation begins with its customer's words */
}

static bool answer(question_t *question, const bc_request_t *request, bc_reply_t *reply,
                   question_conversation_t *conversation) {
    const char *text = bc_request_string(request, "text");
    const char *wording = bc_request_string(request, "public_question");
    bool open = json_is_true(json_object_get(bc_request_body(request), "public"));
    question_row_t *row = &conversation->row;
    if (open && row->about != QUESTION_ABOUT_BOOK) {
        bc_reply_problem_field(reply, "not-acceptable-value", "public", "invalid",
                               "only answers about a book have a page to be shown on");
        return false;
    }
    if (row->messages >= question_messages_max) {
        bc_reply_problem(reply, "message-limit", "this conversation is full");
        return false;
    }
    bool memory = question_append(conversation, QUESTION_BY_SHOP, text, bc_time_ms());
    row->state = QUESTION_ANSWERED;
    row->since_ms = row->updated_ms;
    if (open) publish(conversation, wording, text);
    question_result_t result = memory ? question_go_on(question->db, row, QUESTION_BY_SHOP, text) : QUESTION_FAILED;
    if (result != QUESTION_OK) {
        question_reply_result(reply, result);
        return false;
    }
    question_event(question->db, "question.answered", &row->id);
    if (open) question_event(question->db, "question.published", &row->id);
    put_mail(question, row);
    return true;
}

void question_handle_answer(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    const char *wording = bc_request_string(request, "public_question");
    bool open = json_is_true(json_object_get(bc_request_body(request), "public"));
    bc_once_t once;
    if (!bc_once_begin(question->db, request, reply, BC_ONCE_OPTIONAL, &once)) return;
    if (wording != NULL && !open) {
        bc_reply_problem_field(reply, "not-acceptable-value", "public_question", "invalid", "the answer is not public");
    } else if (question_check_text(reply, "text", bc_request_string(request, "text"), question_text_chars_max, true) &&
               (wording == NULL ||
                question_check_text(reply, "public_question", wording, question_text_chars_max, true))) {
        run_change(question, request, reply, answer, 201, &once);
    }
    bc_once_end(&once, reply);
}

/* --- closing, opening, taking back --- */

static bool patch(question_t *question, const bc_request_t *request, bc_reply_t *reply,
                  question_conversation_t *conversation) {
    const char *word = bc_request_string(request, "state");
    const json_t *open = json_object_get(bc_request_body(request), "public");
    question_row_t *row = &conversation->row;
    question_state_t state = row->state;
    if (word != NULL && (!read_state(word, &state) || state == QUESTION_ANSWERED)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "state", "invalid",
                               "open or closed; answered is what an answer makes it");
        return false;
    }
    if (json_is_true(open) && !row->is_public) {
        bc_reply_problem_field(reply, "not-acceptable-value", "public", "invalid",
                               "an answer is published when it is given");
        return false;
    }
    bool moved = state != row->state, withdrawn = json_is_false(open) && row->is_public;
    if (!moved && !withdrawn) return true;
    row->updated_ms = bc_time_ms();
    if (moved) {
        row->state = state;
        row->since_ms = row->updated_ms;
        question_event(question->db, state == QUESTION_OPEN ? "question.reopened" : "question.closed", &row->id);
    }
    if (withdrawn) {
        row->is_public = false;
        row->public_question = NULL;
        row->public_answer = NULL;
        question_event(question->db, "question.withdrawn", &row->id);
    }
    question_result_t result = question_save(question->db, row);
    if (result == QUESTION_OK) return true;
    question_reply_result(reply, result);
    return false;
}

void question_handle_patch(bc_request_t *request, bc_reply_t *reply, void *context) {
    run_change(context, request, reply, patch, 200, NULL);
}
