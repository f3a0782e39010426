/*
 * What an admin does to a book. Every change names the state it was decided on (If-Match): without it 428, with an older
 * one 412, and two admins never undo each other unseen. Tags are those of GET /books/{id}.
 */
#include "platform/bc_log.h"
#include "platform/bc_time.h"
#include "services/library/library_json.h"
#include "services/library/library_service.h"

#include <assert.h>
#include <string.h>

typedef enum { REFUSED_NOT, REFUSED_TAG, REFUSED_GONE, REFUSED_VALUE, REFUSED_CURRENCY, REFUSED_MEMORY } refusal_t;

typedef struct {
    const library_t *library;
    const char *if_match;
    const json_t *patch; /* NULL: hide */
    refusal_t refusal;
    library_fault_t fault; /* with REFUSED_VALUE */
    json_t *plain;         /* owned: what the book given to the store borrows from */
    json_t *body;          /* owned: the book as it is afterwards */
    bool changed;
    char etag[library_etag_bytes];
} admin_change_t;

static bool show_admin(void *context, const library_row_t *row) {
    admin_change_t *change = context;
    const char *currency = bc_config_text(change->library->config, BC_CURRENCY);
    library_etag(row, library_store_generation(change->library->store), currency, change->etag);
    json_decref(change->body);
    change->body = library_json_book(row, currency, true);
    return true;
}

void library_handle_admin_book(bc_request_t *request, bc_reply_t *reply, void *context) {
    admin_change_t shown = {.library = context};
    int64_t id = 0;
    if (!library_path_id(request, reply, &id)) return;
    library_result_t result = library_store_get(shown.library->store, id, show_admin, &shown);
    if (result == LIBRARY_FAILED) {
        library_reply_failed(reply);
    } else if (result == LIBRARY_ABSENT) {
        bc_reply_not_found(reply);
    } else {
        bc_reply_cache(reply, "private, no-cache");
        if (!bc_reply_etag(request, reply, shown.etag)) library_reply(reply, 200, json_incref(shown.body));
    }
    json_decref(shown.body);
}

/* RFC 7396 on the plain form: null removes, anything else replaces. false: a price in another currency, or of another form. */
static bool apply_patch(json_t *plain, const json_t *patch, const char *currency) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)patch, name,
                        value) { /* jansson's iterator takes no const; it only reads */
        if (strcmp(name, "price") == 0) {
            const char *given = json_string_value(json_object_get(value, "currency"));
            json_t *amount = json_object_get(value, "amount");
            size_t fields = (given != NULL) + (size_t)json_is_integer(amount);
            if (!json_is_integer(amount) || (given != NULL && strcmp(given, currency) != 0) ||
                json_object_size(value) != fields) {
                return false;
            }
            (void)json_object_set(plain, "price_minor", amount); /* without memory the old price stays: no change */
        } else if (json_is_null(value)) {
            (void)json_object_del(plain, name); /* was not there: fine */
        } else {
            (void)json_object_set(plain, name, value); /* as above */
        }
    }
    return true;
}

static library_change_t refuse_change(admin_change_t *change, refusal_t refusal) {
    change->refusal = refusal;
    return LIBRARY_CHANGE_REFUSE;
}

static library_change_t decide(void *context, const library_row_t *row, library_book_t *book) {
    admin_change_t *change = context;
    const char *currency = bc_config_text(change->library->config, BC_CURRENCY);
    char etag[library_etag_bytes];
    library_etag(row, library_store_generation(change->library->store), currency, etag);
    if (!library_etag_matches(change->if_match, etag)) return refuse_change(change, REFUSED_TAG);
    if (change->patch == NULL) {
        change->changed = !row->gone;
        return row->gone ? LIBRARY_CHANGE_NONE : LIBRARY_CHANGE_HIDE;
    }
    if (row->gone) return refuse_change(change, REFUSED_GONE);

    json_t *before = library_json_plain_row(row);
    change->plain = json_deep_copy(before);
    bool same = false;
    if (before != NULL && change->plain != NULL) {
        if (!apply_patch(change->plain, change->patch, currency)) {
            json_decref(before);
            return refuse_change(change, REFUSED_CURRENCY);
        }
        same = json_equal(before, change->plain) == 1;
    }
    bool memory = before != NULL && change->plain != NULL;
    json_decref(before);
    if (!memory) return refuse_change(change, REFUSED_MEMORY);
    if (same) return LIBRARY_CHANGE_NONE;
    change->fault = library_json_read(change->plain, book);
    if (change->fault.field != NULL) return refuse_change(change, REFUSED_VALUE);
    change->changed = true;
    return LIBRARY_CHANGE_SAVE;
}

static void reply_refusal(bc_reply_t *reply, const admin_change_t *change) {
    switch (change->refusal) {
    case REFUSED_TAG:
        bc_reply_problem(reply, "precondition-failed", "the book has changed since it was read");
        break;
    case REFUSED_GONE:
        bc_reply_problem(reply, "conflict", "the book was deleted");
        break;
    case REFUSED_CURRENCY:
        bc_reply_problem_field(reply, "not-acceptable-value", "price", "invalid",
                               "{\"amount\": minor units, \"currency\": the shop's}");
        break;
    case REFUSED_VALUE:
        bc_reply_problem_field(reply, "not-acceptable-value", change->fault.field, "invalid", change->fault.reason);
        break;
    case REFUSED_MEMORY:
    case REFUSED_NOT:
        bc_reply_problem(reply, "internal-error", NULL);
        break;
    }
}

/* Decides and writes in one transaction, tells the feed, answers what is not a success. true: changed as asked. */
static bool run_change(bc_request_t *request, bc_reply_t *reply, admin_change_t *change, int64_t *id) {
    change->if_match = bc_request_header(request, "If-Match");
    if (!library_path_id(request, reply, id)) return false;
    if (change->if_match == NULL) {
        bc_reply_problem(reply, "precondition-required", "send If-Match with the ETag of the book");
        return false;
    }
    library_result_t result =
        library_store_change(change->library->store, *id, bc_time_ms(), decide, show_admin, change);
    if (result == LIBRARY_FAILED) {
        library_reply_failed(reply);
        return false;
    }
    if (result == LIBRARY_ABSENT) {
        bc_reply_not_found(reply);
        return false;
    }
    if (change->refusal != REFUSED_NOT) {
        reply_refusal(reply, change);
        return false;
    }
    if (change->changed) bc_feed_wake(change->library->feed);
    return true;
}

void library_handle_admin_patch(bc_request_t *request, bc_reply_t *reply, void *context) {
    admin_change_t change = {.library = context, .patch = bc_request_body(request)};
    int64_t id = 0;
    if (run_change(request, reply, &change, &id)) {
        if (change.changed) bc_log(BC_LOG_INFO, "book-changed", bc_f_int("book", id));
        bc_reply_cache(reply, "private, no-cache");
        bc_reply_header(reply, "ETag", change.etag);
        library_reply(reply, 200, json_incref(change.body));
    }
    json_decref(change.plain);
    json_decref(change.body);
}

void library_handle_admin_delete(bc_request_t *request, bc_reply_t *reply, void *context) {
    admin_change_t change = {.library = context};
    int64_t id = 0;
    if (run_change(request, reply, &change, &id)) {
        if (change.changed) bc_log(BC_LOG_INFO, "book-deleted", bc_f_int("book", id));
        bc_reply_cache(reply, "private, no-cache");
        bc_reply_empty(reply, 204);
    }
    json_decref(change.body);
}
