/* GET /internal/users/{id}/export: every question of a user with its messages, newest first, for auth's export of all that is known. */
#include "services/question/question_service.h"

#include <string.h>

/* Bounded by bytes, below what a caller of an internal route takes (BC_CLIENT_REPLY_MAX); `complete` says whether that was all. */
enum { export_bytes_max = 4 * 1024 * 1024, export_page = 50 };

typedef struct {
    cart_id_t ids[export_page];
    size_t count;
    question_place_t last;
} ids_t;

static bool take_id(void *context, const question_row_t *row) {
    ids_t *ids = context;
    ids->ids[ids->count++] = row->id;
    ids->last = (question_place_t){.at_ms = row->created_ms, .id = row->id};
    return true;
}

/* One conversation behind the others; *bytes counts its texts as they are sent. */
static question_result_t add(bc_db_t *db, const cart_id_t *id, json_t *list, size_t *bytes) {
    question_conversation_t conversation;
    question_result_t result = question_load(db, id, &conversation);
    if (result != QUESTION_OK) return result;
    json_t *item = question_json(&conversation.row, conversation.messages);
    *bytes += item == NULL ? 0 : json_dumpb(item, NULL, 0, JSON_COMPACT);
    if (item == NULL || json_array_append_new(list, item) != 0) result = QUESTION_FAILED;
    question_drop(&conversation);
    return result;
}

static question_result_t collect(bc_db_t *db, const cart_id_t *user, json_t *list, bool *complete) {
    ids_t ids = {.count = 0};
    size_t bytes = 0;
    bool first = true;
    *complete = false;
    for (;;) {
        const question_place_t behind = ids.last;
        ids.count = 0;
        question_result_t result = question_list_of(db, user, first ? NULL : &behind, export_page, take_id, &ids);
        if (result != QUESTION_OK) return result;
        *complete = ids.count == 0;
        if (*complete) return QUESTION_OK;
        for (size_t i = 0; i < ids.count; i++) {
            if (bytes >= export_bytes_max) return QUESTION_OK;
            result = add(db, &ids.ids[i], list, &bytes);
            if (result != QUESTION_OK) return result;
        }
        first = false;
    }
}

void question_handle_export(bc_request_t *request, bc_reply_t *reply, void *context) {
    question_t *question = context;
    const char *text = bc_request_part(request, "id");
    bool complete = false;
    cart_id_t user;
    if (!cart_id_parse(BC_PREFIX_USER, text, strlen(text), &user)) {
        bc_reply_not_found(reply);
        return;
    }
    json_t *list = json_array();
    bc_db_enter(question->db);
    question_result_t result = list == NULL ? QUESTION_FAILED : collect(question->db, &user, list, &complete);
    bc_db_leave(question->db);
    if (result != QUESTION_OK) {
        json_decref(list);
        question_reply_result(reply, QUESTION_FAILED);
        return;
    }
    bc_reply_json(reply, 200, json_pack("{s:o, s:b}", "questions", list, "complete", (int)complete));
}
