/* What the handlers have in common: loading a conversation, pages, refusals. */
#include "platform/bc_cursor.h"
#include "platform/bc_etag.h"
#include "services/question/question_service.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { retry_ms = 1000 };

/* --- a conversation --- */

static bool copy_text(char **copy, const char *text) {
    if (text == NULL) return true;
    *copy = strdup(text);
    return *copy != NULL;
}

static bool take_row(void *context, const question_row_t *row) {
    question_conversation_t *conversation = context;
    conversation->row = *row;
    if (!copy_text(&conversation->subject, row->subject) ||
        !copy_text(&conversation->public_question, row->public_question) ||
        !copy_text(&conversation->public_answer, row->public_answer)) {
        return false;
    }
    conversation->row.subject = conversation->subject;
    conversation->row.public_question = conversation->public_question;
    conversation->row.public_answer = conversation->public_answer;
    return true;
}

static bool take_message(void *context, const question_message_t *message) {
    question_conversation_t *conversation = context;
    if (message->author == QUESTION_BY_CUSTOMER) {
        free(conversation->last_asked);
        conversation->last_asked = strdup(message->text);
        if (conversation->last_asked == NULL) return false;
    }
    return json_array_append_new(conversation->messages, question_json_message(message)) == 0;
}

question_result_t question_load(bc_db_t *db, const cart_id_t *id, question_conversation_t *conversation) {
    memset(conversation, 0, sizeof(*conversation));
    conversation->messages = json_array();
    question_result_t result = conversation->messages == NULL ? QUESTION_FAILED : QUESTION_OK;
    if (result == QUESTION_OK) result = question_get(db, id, take_row, conversation);
    if (result == QUESTION_OK) result = question_messages(db, id, take_message, conversation);
    if (result != QUESTION_OK) question_drop(conversation);
    return result;
}

void question_drop(question_conversation_t *conversation) {
    free(conversation->subject);
    free(conversation->public_question);
    free(conversation->public_answer);
    free(conversation->last_asked);
    json_decref(conversation->messages);
    memset(conversation, 0, sizeof(*conversation));
}

bool question_append(question_conversation_t *conversation, question_author_t author, const char *text,
                     int64_t now_ms) {
    question_row_t *row = &conversation->row;
    const question_message_t message = {.number = row->messages + 1, .author = author, .text = text, .at_ms = now_ms};
    row->messages++;
    row->updated_ms = now_ms;
    return json_array_append_new(conversation->messages, question_json_message(&message)) == 0;
}

/* --- requests --- */

bool question_path_id(const bc_request_t *request, bc_reply_t *reply, cart_id_t *id) {
    const char *text = bc_request_part(request, "id");
    if (cart_id_parse(QUESTION_PREFIX, text, strlen(text), id)) return true;
    bc_reply_not_found(reply);
    return false;
}

bool question_check_text(bc_reply_t *reply, const char *field, const char *text, size_t chars_max, bool lines) {
    const char *fault = question_text_fault(text, chars_max, lines);
    if (fault == NULL) return true;
    bc_reply_problem_field(reply, "not-acceptable-value", field, "invalid", fault);
    return false;
}

bool question_read_page(const question_t *question, const bc_request_t *request, bc_reply_t *reply, const char *name,
                        question_page_t *page) {
    uint8_t place[8 + CART_ID_BYTES];
    const char *cursor = bc_request_query(request, "cursor");
    memset(page, 0, sizeof(*page));
    if (!bc_request_query_int(request, reply, "limit", 1, question_list_limit_max, question_list_limit, &page->limit))
        return false;
    if (cursor == NULL) return true;
    if (!bc_cursor_read(question->service_key, name, cursor, place, sizeof(place))) {
        bc_reply_problem(reply, "bad-cursor", NULL);
        return false;
    }
    memcpy(&page->behind.at_ms, place, 8);
    memcpy(page->behind.id.bytes, place + 8, CART_ID_BYTES);
    page->has_behind = true;
    return true;
}

bool question_rows_take(question_rows_t *rows, int64_t at_ms, const cart_id_t *id) {
    rows->more = json_array_size(rows->items) == (size_t)rows->limit;
    if (!rows->more) rows->last = (question_place_t){.at_ms = at_ms, .id = *id};
    return !rows->more;
}

json_t *question_page_json(const question_t *question, const char *name, json_t *items, bool more,
                           const question_place_t *last) {
    uint8_t place[8 + CART_ID_BYTES];
    char cursor[BC_CURSOR_CHARS];
    if (more) {
        memcpy(place, &last->at_ms, 8);
        memcpy(place + 8, last->id.bytes, CART_ID_BYTES);
        bc_cursor_write(question->service_key, name, place, sizeof(place), cursor);
    }
    return json_pack("{s:o, s:o}", "items", items, "next_cursor", more ? json_string(cursor) : json_null());
}

/* --- replies --- */

void question_reply_result(bc_reply_t *reply, question_result_t result) {
    assert(result != QUESTION_OK);
    if (result == QUESTION_ABSENT) {
        bc_reply_not_found(reply);
    } else if (result == QUESTION_CHANGED) {
        bc_reply_problem(reply, "conflict", "somebody wrote at the same moment; read it again");
    } else {
        bc_reply_problem(reply, "unavailable", NULL);
        bc_reply_retry_after(reply, retry_ms);
    }
}

void question_reply_public(const bc_request_t *request, bc_reply_t *reply, json_t *body) {
    char etag[BC_ETAG_BYTES];
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (text == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
        return;
    }
    bc_etag_of(text, strlen(text), etag);
    bc_reply_cache(reply, "public, no-cache");
    if (!bc_reply_etag(request, reply, etag)) bc_reply_bytes(reply, 200, "application/json", text, strlen(text));
    free(text);
}
