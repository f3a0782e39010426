/* The customer's side: asking, reading what was said, going on. Whose a conversation is not gets the same 404 as for none. */
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"
#include "services/question/question_service.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { away_ms = 2000 };

/* --- asking --- */

static bool refuse_about(bc_reply_t *reply, const char *field, const char *why) {
    bc_reply_problem_field(reply, "not-acceptable-value", field, "invalid", why);
    return false;
}

/* A book's number, as a number or as its decimal text. false: neither. */
static bool read_book(const json_t *id, int64_t *book) {
    const char *text = json_string_value(id);
    int64_t value = json_integer_value(id); /* 0 for what is no integer */
    if (text != NULL) {
        size_t digits = strspn(text, "0123456789");
        if (digits == 0 || digits > 16 || text[digits] != '\0' || text[0] == '0') return false;
        for (size_t i = 0; i < digits; i++) value = value * 10 + (text[i] - '0');
    }
    if (value < 1 || value >= INT64_C(1) << 53) return false;
    *book = value;
    return true;
}

/* {"kind","id"}. false: 422 was set. */
static bool read_about(const json_t *about, bc_reply_t *reply, question_row_t *row) {
    const char *kind = json_string_value(json_object_get(about, "kind"));
    const json_t *id = json_object_get(about, "id");
    if (json_is_null(id)) id = NULL;
    size_t known = (kind != NULL) + (size_t)(json_object_get(about, "id") != NULL);
    if (kind == NULL || json_object_size(about) != known) return refuse_about(reply, "about", "{\"kind\", \"id\"}");
    if (strcmp(kind, "shop") == 0) {
        row->about = QUESTION_ABOUT_SHOP;
        return id == NULL || refuse_about(reply, "about.id", "a question about the shop names nothing");
    }
    if (strcmp(kind, "book") == 0) {
        row->about = QUESTION_ABOUT_BOOK;
        return read_book(id, &row->book) || refuse_about(reply, "about.id", "a book's number is needed");
    }
    if (strcmp(kind, "order") == 0) {
        const char *text = json_string_value(id);
        row->about = QUESTION_ABOUT_ORDER;
        return (text != NULL && cart_id_parse(QUESTION_ORDER_PREFIX, text, strlen(text), &row->order)) ||
               refuse_about(reply, "about.id", "an order's id is needed");
    }
    return refuse_about(reply, "about.kind", "shop, book or order");
}

/* Asks whose it is what the question is about. false: a problem was set. */
static bool check_about(const question_t *question, bc_reply_t *reply, const question_row_t *row) {
    question_part_t part = QUESTION_PART_YES;
    if (row->about == QUESTION_ABOUT_BOOK) part = question_part_book(question, row->book);
    if (row->about == QUESTION_ABOUT_ORDER) part = question_part_order(question, &row->order, &row->user);
    if (part == QUESTION_PART_YES) return true;
    if (part == QUESTION_PART_NO) {
        return refuse_about(reply, "about.id",
                            row->about == QUESTION_ABOUT_BOOK ? "there is no such book" : "you have no such order");
    }
    bc_reply_problem(reply, "unavailable", NULL);
    bc_reply_retry_after(reply, away_ms);
    return false;
}

/* The question, its event and the answer under the request's key, in one transaction. false: a problem was set. */
static bool save_question(question_t *question, bc_reply_t *reply, const question_row_t *row, const char *text,
                          bc_once_t *once, const json_t *body, const char *location) {
    int64_t open = 0;
    if (bc_db_begin(question->db) != BC_DB_OK) {
        question_reply_result(reply, QUESTION_FAILED);
        return false;
    }
    question_result_t result = question_count_open(question->db, &row->user, &open);
    if (result == QUESTION_OK && open >= question_open_max) {
        bc_db_rollback(question->db);
        bc_reply_problem(reply, "question-limit", "twenty of your questions wait for an answer");
        return false;
    }
    if (result == QUESTION_OK) result = question_put(question->db, row, text);
    if (result == QUESTION_OK) {
        question_event(question->db, "question.asked", &row->id);
        bc_once_keep(once, 201, body, location);
        if (bc_db_commit(question->db) == BC_DB_OK) return true;
        result = QUESTION_FAILED;
    } else {
        bc_db_rollback(question->db);
    }
    question_reply_result(reply, result);
    return false;
}

static void ask(question_t *question, const bc_request_t *request, bc_reply_t *reply, bc_once_t *once) {
    const bc_claims_t *caller = bc_request_caller(request);
    const char *text = bc_request_string(request, "text");
    char id[CART_ID_CHARS + 1], location[64];
    int64_t now_ms = bc_time_ms();
    question_row_t row = {
        .id = bc_random_id(),
        .has_user = true,
        .user = caller->user,
        .subject = bc_request_string(request, "subject"),
        .state = QUESTION_OPEN,
        .messages = 1,
        .created_ms = now_ms,
        .updated_ms = now_ms,
        .since_ms = now_ms,
    };
    if (!question_check_text(reply, "subject", row.subject, question_subject_chars_max, false) ||
        !question_check_text(reply, "text", text, question_text_chars_max, true) ||
        !read_about(json_object_get(bc_request_body(request), "about"), reply, &row) ||
        !check_about(question, reply, &row)) {
        return;
    }
    cart_id_format(QUESTION_PREFIX, &row.id, id);
    (void)snprintf(location, sizeof(location), "/api/v1/questions/%s", id); /* fits */
    const question_message_t message = {.number = 1, .author = QUESTION_BY_CUSTOMER, .text = text, .at_ms = now_ms};
    json_t *messages = json_pack("[o]", question_json_message(&message));
    json_t *body = question_json(&row, messages);
    json_decref(messages);
    if (body == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
    } else if (save_question(question, reply, &row, text, once, body, location)) {
        bc_outbox_wake(question->outbox);
        bc_log(BC_LOG_INFO, "question-asked", bc_f_text("question", id));
        bc_reply_header(reply, "Location", location);
        bc_reply_cache(reply, "private, no-cache");
        bc_reply_json(reply, 201, json_incref(body));
    }
    json_decref(body);
}

void question_handle_ask(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    bc_once_t once;
    if (!bc_once_begin(question->db, request, reply, BC_ONCE_OPTIONAL, &once)) return;
    ask(question, request, reply, &once);
    bc_once_end(&once, reply);
}

/* --- reading --- */

static bool list_row(void *context, const question_row_t *row) {
    question_rows_t *list = context;
    return !question_rows_take(list, row->created_ms, &row->id) ||
           json_array_append_new(list->items, question_json_summary(row)) == 0;
}

void question_handle_list(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    const bc_claims_t *caller = bc_request_caller(request);
    char user[CART_ID_CHARS + 1], name[64];
    question_page_t page;
    cart_id_format(BC_PREFIX_USER, &caller->user, user);
    (void)snprintf(name, sizeof(name), "questions %s", user); /* fits */
    if (!question_read_page(question, request, reply, name, &page)) return;
    question_rows_t list = {.items = json_array(), .limit = page.limit};
    bc_db_t *db = bc_db_enter_read(question->db);
    question_result_t result = question_list_of(db, &caller->user, page.has_behind ? &page.behind : NULL,
                                                (int)page.limit + 1, list_row, &list);
    bc_db_leave(db);
    if (result != QUESTION_OK) {
        json_decref(list.items);
        question_reply_result(reply, result);
        return;
    }
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, question_page_json(question, name, list.items, list.more, &list.last));
}

static bool is_own(const question_conversation_t *conversation, const bc_request_t *request) {
    return conversation->row.has_user && cart_id_equal(&conversation->row.user, &bc_request_caller(request)->user);
}

void question_handle_one(bc_request_t *request, bc_reply_t *reply, void *context) {
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
    if (is_own(&conversation, request)) {
        bc_reply_cache(reply, "private, no-cache");
        bc_reply_json(reply, 200, question_json(&conversation.row, conversation.messages));
    } else {
        bc_reply_not_found(reply);
    }
    question_drop(&conversation);
}

/* --- going on --- */

/* Inside the transaction. false: a problem was set. */
static bool go_on(question_t *question, const bc_request_t *request, bc_reply_t *reply, bc_once_t *once,
                  question_conversation_t *conversation, json_t **body) {
    question_row_t *row = &conversation->row;
    const char *text = bc_request_string(request, "text");
    if (!is_own(conversation, request)) {
        bc_reply_not_found(reply);
        return false;
    }
    /* One place stays free for the shop's answer. */
    if (row->messages >= question_messages_max - 1) {
        bc_reply_problem(reply, "message-limit", "this conversation is full; begin another one");
        return false;
    }
    bool opened = row->state != QUESTION_OPEN;
    bool memory = question_append(conversation, QUESTION_BY_CUSTOMER, text, bc_time_ms());
    if (opened) row->since_ms = row->updated_ms;
    row->state = QUESTION_OPEN;
    question_result_t result = memory ? question_go_on(question->db, row, QUESTION_BY_CUSTOMER, text) : QUESTION_FAILED;
    *body = question_json(row, conversation->messages);
    if (result != QUESTION_OK || *body == NULL) {
        question_reply_result(reply, result == QUESTION_OK ? QUESTION_FAILED : result);
        return false;
    }
    question_event(question->db, "question.followed-up", &row->id);
    if (opened) question_event(question->db, "question.reopened", &row->id);
    bc_once_keep(once, 201, *body, NULL);
    return true;
}

static void follow_up(question_t *question, const bc_request_t *request, bc_reply_t *reply, bc_once_t *once) {
    question_conversation_t conversation;
    json_t *body = NULL;
    cart_id_t id;
    if (!question_path_id(request, reply, &id) ||
        !question_check_text(reply, "text", bc_request_string(request, "text"), question_text_chars_max, true)) {
        return;
    }
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
    if (!go_on(question, request, reply, once, &conversation, &body)) {
        bc_db_rollback(question->db);
    } else if (bc_db_commit(question->db) != BC_DB_OK) {
        question_reply_result(reply, QUESTION_FAILED);
    } else {
        bc_outbox_wake(question->outbox);
        bc_reply_cache(reply, "private, no-cache");
        bc_reply_json(reply, 201, json_incref(body));
    }
    json_decref(body);
    question_drop(&conversation);
}

void question_handle_follow_up(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    bc_once_t once;
    if (!bc_once_begin(question->db, request, reply, BC_ONCE_OPTIONAL, &once)) return;
    follow_up(question, request, reply, &once);
    bc_once_end(&once, reply);
}
