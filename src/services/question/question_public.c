/*
 * What everybody may read: published answers about a book, and the frequent questions of a language. Both have a tag and may be kept by
 * the edge for a second. Neither asks another service: a book that never was has no answers.
 */
#include "platform/bc_etag.h"
#include "platform/bc_log.h"
#include "platform/bc_time.h"
#include "services/question/question_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- a book's answers --- */

static bool take_answer(void *context, const question_row_t *row) {
    question_rows_t *answers = context;
    return !question_rows_take(answers, row->answered_ms, &row->id) ||
           json_array_append_new(answers->items, question_json_published(row)) == 0;
}

static bool path_book(const bc_request_t *request, bc_reply_t *reply, int64_t *book) {
    const char *text = bc_request_part(request, "id");
    size_t length = strlen(text);
    int64_t value = 0;
    bool good = length > 0 && length <= 16 && strspn(text, "0123456789") == length && text[0] != '0';
    for (size_t i = 0; good && i < length; i++) value = value * 10 + (text[i] - '0');
    if (!good || value >= INT64_C(1) << 53) {
        bc_reply_not_found(reply);
        return false;
    }
    *book = value;
    return true;
}

void question_handle_published(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    question_page_t page;
    char name[48];
    int64_t book = 0;
    if (!path_book(request, reply, &book)) return;
    (void)snprintf(name, sizeof(name), "answers %lld", (long long)book); /* fits */
    if (!question_read_page(question, request, reply, name, &page)) return;
    question_rows_t answers = {.items = json_array(), .limit = page.limit};
    bc_db_t *db = bc_db_enter_read(question->db);
    question_result_t result =
        question_published(db, book, page.has_behind ? &page.behind : NULL, (int)page.limit + 1, take_answer, &answers);
    bc_db_leave(db);
    if (result != QUESTION_OK) {
        json_decref(answers.items);
        question_reply_result(reply, result);
        return;
    }
    question_reply_public(request, reply,
                          question_page_json(question, name, answers.items, answers.more, &answers.last));
}

/* --- frequent questions --- */

/* One of ours; NULL: no such language. */
static const char *find_language(const char *tag) {
    for (int i = 0; i < BC_LANGUAGE_COUNT; i++) {
        if (strcmp(bc_language_tag((bc_language_t)i), tag) == 0) return bc_language_tag((bc_language_t)i);
    }
    return NULL;
}

/* {"language","items"}; between enter or begin and its end. NULL: the database or memory. */
static json_t *load_faq(bc_db_t *db, const char *language) {
    char *text = NULL;
    json_t *items = NULL;
    switch (question_faq_get(db, language, &text)) {
    case QUESTION_OK:
        items = json_loads(text, 0, NULL);
        break;
    case QUESTION_ABSENT:
        items = json_array();
        break;
    case QUESTION_CHANGED:
    case QUESTION_FAILED:
        break;
    }
    free(text);
    return items == NULL ? NULL : json_pack("{s:s, s:o}", "language", language, "items", items);
}

void question_handle_faq(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    const char *asked = bc_request_query(request, "language");
    const char *language = asked == NULL ? bc_language_tag(bc_request_language(request)) : find_language(asked);
    if (language == NULL) {
        bc_reply_problem_field(reply, "malformed-request", "language", "unknown", "en, fr or bg");
        return;
    }
    bc_db_t *db = bc_db_enter_read(question->db);
    json_t *faq = load_faq(db, language);
    bc_db_leave(db);
    if (faq == NULL) {
        question_reply_result(reply, QUESTION_FAILED);
        return;
    }
    /* Who names no language gets the one his browser asks for: copies of that are told apart by it. */
    if (asked == NULL) bc_reply_header(reply, "Vary", "Accept-Language");
    bc_reply_header(reply, "Content-Language", language);
    question_reply_public(request, reply, faq);
}

/* Exactly {"question","answer"}. false: 422 was set. */
static bool check_item(bc_reply_t *reply, const json_t *item, size_t index) {
    const char *asked = json_string_value(json_object_get(item, "question"));
    const char *answered = json_string_value(json_object_get(item, "answer"));
    char field[48];
    if (asked == NULL || answered == NULL || json_object_size(item) != 2) {
        (void)snprintf(field, sizeof(field), "items[%zu]", index); /* fits */
        bc_reply_problem_field(reply, "not-acceptable-value", field, "invalid",
                               "{\"question\", \"answer\"}, both texts");
        return false;
    }
    (void)snprintf(field, sizeof(field), "items[%zu].question", index); /* fits */
    if (!question_check_text(reply, field, asked, question_faq_question_chars_max, false)) return false;
    (void)snprintf(field, sizeof(field), "items[%zu].answer", index); /* fits */
    return question_check_text(reply, field, answered, question_text_chars_max, true);
}

static bool check_items(bc_reply_t *reply, const json_t *items) {
    if (json_array_size(items) > question_faq_items_max) {
        bc_reply_problem_field(reply, "not-acceptable-value", "items", "invalid", "at most 100");
        return false;
    }
    for (size_t i = 0; i < json_array_size(items); i++) {
        if (!check_item(reply, json_array_get(items, i), i)) return false;
    }
    return true;
}

/* The tag that GET /faq shows for this list. false: no memory. */
static bool tag_of(const json_t *faq, char etag[BC_ETAG_BYTES]) {
    char *text = faq == NULL ? NULL : json_dumps(faq, JSON_COMPACT);
    if (text == NULL) return false;
    bc_etag_of(text, strlen(text), etag);
    free(text);
    return true;
}

/* Compares, writes. The answer's body, or NULL: a problem was set. */
static json_t *replace_faq(question_t *question, const bc_request_t *request, bc_reply_t *reply, const char *language,
                           json_t *items) {
    const char *if_match = bc_request_header(request, "If-Match");
    char before_tag[BC_ETAG_BYTES], etag[BC_ETAG_BYTES];
    json_t *body = json_pack("{s:s, s:O}", "language", language, "items", items);
    char *text = json_dumps(items, JSON_COMPACT);
    question_result_t result = QUESTION_FAILED;
    bool stale = false;
    if (body != NULL && text != NULL && tag_of(body, etag) && bc_db_begin(question->db) == BC_DB_OK) {
        json_t *before = load_faq(question->db, language);
        if (tag_of(before, before_tag)) result = QUESTION_OK;
        json_decref(before);
        stale = result == QUESTION_OK && if_match != NULL && !bc_etag_matches(if_match, before_tag);
        if (result == QUESTION_OK && !stale) result = question_faq_put(question->db, language, text, bc_time_ms());
        if (result != QUESTION_OK || stale) {
            bc_db_rollback(question->db);
        } else if (bc_db_commit(question->db) != BC_DB_OK) {
            result = QUESTION_FAILED;
        }
    }
    free(text);
    if (result == QUESTION_OK && !stale) {
        bc_reply_header(reply, "ETag", etag);
        return body;
    }
    json_decref(body);
    if (stale) {
        bc_reply_problem(reply, "precondition-failed", "the list has changed since it was read");
    } else {
        question_reply_result(reply, result);
    }
    return NULL;
}

void question_handle_faq_put(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    const char *language = find_language(bc_request_part(request, "language"));
    json_t *items = json_object_get(bc_request_body(request), "items");
    if (language == NULL) {
        bc_reply_not_found(reply);
        return;
    }
    if (!check_items(reply, items)) return;
    json_t *body = replace_faq(question, request, reply, language, items);
    if (body == NULL) return;
    bc_log(BC_LOG_INFO, "faq-written", bc_f_text("language", language),
           bc_f_int("items", (int64_t)json_array_size(items)));
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, body);
}
