/* Questions in JSON, as the API shows them. */
#include "platform/bc_time.h"
#include "services/question/question_service.h"

#include <assert.h>

static const char *const state_words[QUESTION_STATE_COUNT] = {
    [QUESTION_OPEN] = "open",
    [QUESTION_ANSWERED] = "answered",
    [QUESTION_CLOSED] = "closed",
};
static const char *const author_words[] = {[QUESTION_BY_CUSTOMER] = "customer", [QUESTION_BY_SHOP] = "shop"};

static json_t *time_json(int64_t ms) {
    char text[BC_TIME_TEXT_BYTES];
    bc_time_format(ms, text);
    return json_string(text);
}

static json_t *text_or_null(const char *text) {
    return text == NULL ? json_null() : json_string(text);
}

static json_t *id_json(const char *prefix, const cart_id_t *id) {
    char text[CART_ID_CHARS + 1];
    cart_id_format(prefix, id, text);
    return json_string(text);
}

static json_t *about_json(const question_row_t *row) {
    switch (row->about) {
    case QUESTION_ABOUT_SHOP:
        return json_pack("{s:s, s:n}", "kind", "shop", "id");
    case QUESTION_ABOUT_BOOK:
        return json_pack("{s:s, s:I}", "kind", "book", "id", (json_int_t)row->book);
    case QUESTION_ABOUT_ORDER:
        return json_pack("{s:s, s:o}", "kind", "order", "id", id_json(QUESTION_ORDER_PREFIX, &row->order));
    }
    return NULL;
}

json_t *question_json_message(const question_message_t *message) {
    return json_pack("{s:s, s:s, s:o}", "from", author_words[message->author], "text", message->text, "at",
                     time_json(message->at_ms));
}

json_t *question_json_summary(const question_row_t *row) {
    assert(row->state < QUESTION_STATE_COUNT);
    return json_pack("{s:o, s:o, s:s, s:s, s:o, s:o}", "id", id_json(QUESTION_PREFIX, &row->id), "about",
                     about_json(row), "subject", row->subject, "state", state_words[row->state], "created_at",
                     time_json(row->created_ms), "updated_at", time_json(row->updated_ms));
}

/* All that is beside the summary; takes `more`. */
static json_t *with(json_t *summary, json_t *more) {
    if (summary != NULL && more != NULL && json_object_update_new(summary, more) == 0) return summary;
    json_decref(summary);
    return NULL;
}

json_t *question_json(const question_row_t *row, json_t *messages) {
    return with(question_json_summary(row), json_pack("{s:O}", "messages", messages));
}

static json_t *admin_fields(const question_row_t *row, int64_t now_ms) {
    bool waits = row->state == QUESTION_OPEN && now_ms > row->since_ms;
    return json_pack(
        "{s:o, s:o, s:b}", "user", row->has_user ? id_json(BC_PREFIX_USER, &row->user) : json_null(), "waiting_s",
        row->state == QUESTION_OPEN ? json_integer(waits ? (now_ms - row->since_ms) / 1000 : 0) : json_null(), "public",
        (int)row->is_public);
}

json_t *question_json_admin(const question_row_t *row, json_t *messages, int64_t now_ms) {
    json_t *body = with(question_json(row, messages), admin_fields(row, now_ms));
    return with(body, json_pack("{s:o}", "public_question", text_or_null(row->public_question)));
}

json_t *question_json_queued(const question_row_t *row, int64_t now_ms) {
    const question_message_t last = {.author = row->last_author, .text = row->last_text, .at_ms = row->last_ms};
    json_t *body = with(question_json_summary(row), admin_fields(row, now_ms));
    return with(body, json_pack("{s:I, s:o}", "messages_count", (json_int_t)row->messages, "last_message",
                                row->last_text == NULL ? json_null() : question_json_message(&last)));
}

json_t *question_json_published(const question_row_t *row) {
    return json_pack("{s:s, s:s, s:s, s:o, s:o}", "subject", row->subject, "question", row->public_question, "answer",
                     row->public_answer, "asked_at", time_json(row->created_ms), "answered_at",
                     time_json(row->answered_ms));
}
