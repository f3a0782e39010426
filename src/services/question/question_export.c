/*
 * GET /internal/users/{id}/export: every question of a user with its messages, newest first, for auth's export of all that is known. One
 * statement reads them all; conversations are put together as their messages come.
 */
#include "services/question/question_service.h"

#include <string.h>

/* Below what a caller of an internal route takes (BC_CLIENT_REPLY_MAX); `complete` says whether that was all. */
enum { export_bytes_max = 4 * 1024 * 1024 };

typedef struct {
    json_t *list;     /* owned; NULL: no memory */
    json_t *messages; /* borrowed: those of the last conversation in the list */
    cart_id_t id;     /* of that conversation */
    size_t bytes;     /* of texts, as they are sent */
    bool full;
} export_t;

/* A conversation behind the others, still without messages. */
static bool begin(export_t *export, const question_row_t *row) {
    export->messages = json_array();
    json_t *item = export->messages == NULL ? NULL : question_json(row, export->messages);
    json_decref(export->messages); /* the item holds it now, if there is one */
    if (item == NULL) return false;
    export->id = row->id;
    export->bytes += json_dumpb(item, NULL, 0, JSON_COMPACT);
    return json_array_append_new(export->list, item) == 0;
}

/* What would come behind the limit is left out by whole conversations. */
static bool take(void *context, const question_row_t *row) {
    export_t *export = context;
    if (export->messages == NULL || !cart_id_equal(&export->id, &row->id)) {
        export->full = export->bytes >= export_bytes_max;
        if (export->full || !begin(export, row)) return false;
    }
    const question_message_t message = {.author = row->last_author, .text = row->last_text, .at_ms = row->last_ms};
    json_t *shown = question_json_message(&message);
    export->bytes += shown == NULL ? 0 : json_dumpb(shown, NULL, 0, JSON_COMPACT);
    return json_array_append_new(export->messages, shown) == 0;
}

void question_handle_export(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    const char *text = bc_request_part(request, "id");
    cart_id_t user;
    if (!cart_id_parse(BC_PREFIX_USER, text, strlen(text), &user)) {
        bc_reply_not_found(reply);
        return;
    }
    export_t export = {.list = json_array()};
    bc_db_t *db = bc_db_enter_read(question->db);
    question_result_t result = export.list == NULL ? QUESTION_FAILED : question_all_of(db, &user, take, &export);
    if (export.full && bc_db_is_sound(db)) result = QUESTION_OK; /* it was stopped by us */
    bc_db_leave(db);
    if (result != QUESTION_OK) {
        json_decref(export.list);
        question_reply_result(reply, QUESTION_FAILED);
        return;
    }
    bc_reply_json(reply, 200, json_pack("{s:o, s:b}", "questions", export.list, "complete", (int)!export.full));
}
