/*
 * What an admin does to books. Every change of one names the state it was decided on (If-Match): without it 428, with an older
 * one 412, and two admins never undo each other unseen. Tags are those of GET /books/{id}.
 */
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_time.h"
#include "services/library/library_json.h"
#include "services/library/library_service.h"

#include <assert.h>
#include <stdio.h>
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
    char etag[BC_ETAG_BYTES];
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
            json_t *amount = library_json_price(value, currency);
            if (amount == NULL) return false;
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
    char etag[BC_ETAG_BYTES];
    library_etag(row, library_store_generation(change->library->store), currency, etag);
    if (!bc_etag_matches(change->if_match, etag)) return refuse_change(change, REFUSED_TAG);
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

static void reply_price(bc_reply_t *reply) {
    bc_reply_problem_field(reply, "not-acceptable-value", "price", "invalid",
                           "{\"amount\": minor units, \"currency\": the shop's}");
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
        reply_price(reply);
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
    if (change->changed) library_tell(change->library);
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

/* --- a new book --- */

/* The book that the body names, in its plain form; NULL: a problem was set. *book borrows from it; its id is 0 when none was named. */
static json_t *read_new(const bc_request_t *request, bc_reply_t *reply, const char *currency, library_book_t *book) {
    const json_t *body = bc_request_body(request);
    bool named = json_object_get(body, "id") != NULL;
    /* The form is judged with an id, for every book has one; which it will be is known when it is written. */
    json_t *plain = json_pack("{s:I, s:i}", "id", (json_int_t)LIBRARY_OWN_ID_FIRST, "stock", 0);
    if (plain == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
        return NULL;
    }
    library_fault_t fault = {NULL, NULL};
    if (!apply_patch(plain, body, currency)) {
        reply_price(reply);
    } else if ((fault = library_json_read(plain, book)).field != NULL) {
        bc_reply_problem_field(reply, "not-acceptable-value", fault.field, "invalid", fault.reason);
    } else if (!book->has_price || !book->has_stock) {
        bc_reply_problem(reply, "internal-error", NULL); /* apply_patch had no memory for one of them */
    } else {
        if (!named) book->id = 0;
        return plain;
    }
    json_decref(plain);
    return NULL;
}

/* In one transaction: the book, its event, and the answer under the request's key. */
static library_result_t save_new(admin_change_t *made, const library_book_t *book, bc_once_t *once, char *location,
                                 size_t size) {
    library_store_t *store = made->library->store;
    bc_db_t *db = library_store_db(store);
    int64_t id = 0;
    if (bc_db_begin(db) != BC_DB_OK) return LIBRARY_FAILED;
    library_result_t result = library_store_create_inside(store, book, bc_time_ms(), &id);
    if (result == LIBRARY_OK) result = library_store_get_inside(store, id, show_admin, made);
    if (result != LIBRARY_OK || made->body == NULL) {
        bc_db_rollback(db);
        return result == LIBRARY_TAKEN ? LIBRARY_TAKEN : LIBRARY_FAILED;
    }
    (void)snprintf(location, size, "/api/v1/admin/books/%lld", (long long)id); /* fits */
    bc_once_keep(once, 201, made->body, location);
    return bc_db_commit(db) == BC_DB_OK ? LIBRARY_OK : LIBRARY_FAILED;
}

void library_handle_admin_create(bc_request_t *request, bc_reply_t *reply, void *context) {
    admin_change_t made = {.library = context};
    const char *currency = bc_config_text(made.library->config, BC_CURRENCY);
    bc_once_t once;
    library_book_t book;
    if (!bc_once_begin(library_store_db(made.library->store), request, reply, BC_ONCE_OPTIONAL, &once)) return;
    json_t *plain = read_new(request, reply, currency, &book);
    if (plain != NULL) {
        char location[64] = "";
        library_result_t result = save_new(&made, &book, &once, location, sizeof(location));
        if (result == LIBRARY_OK) {
            library_tell(made.library);
            bc_log(BC_LOG_INFO, "book-created", bc_f_text("location", location));
            bc_reply_cache(reply, "private, no-cache");
            bc_reply_header(reply, "Location", location);
            bc_reply_header(reply, "ETag", made.etag);
            library_reply(reply, 201, json_incref(made.body));
        } else if (result == LIBRARY_TAKEN) {
            bc_reply_problem(reply, "conflict", "the id was given to another book, perhaps one that was deleted");
        } else {
            library_reply_failed(reply);
        }
    }
    bc_once_end(&once, reply);
    json_decref(plain);
    json_decref(made.body);
}

/* --- many at once --- */

static const char *const hidden_words[] = {
    [LIBRARY_HIDDEN] = "hidden",
    [LIBRARY_HIDDEN_BEFORE] = "already-hidden",
    [LIBRARY_HIDDEN_NEVER] = "absent",
};

/* NULL: a problem was set. */
static const json_t *read_hide(const bc_request_t *request, bc_reply_t *reply) {
    const json_t *ids = json_object_get(bc_request_body(request), "ids");
    const char *wrong = NULL;
    if (json_array_size(ids) == 0 || json_array_size(ids) > library_ids_max) wrong = "1 to 100 books";
    for (size_t i = 0; wrong == NULL && i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 1 || json_integer_value(id) > LIBRARY_ID_MAX)
            wrong = "each a number from 1 to 2^53 - 1";
        for (size_t k = 0; wrong == NULL && k < i; k++) {
            if (json_integer_value(json_array_get(ids, k)) == json_integer_value(id)) wrong = "each once";
        }
    }
    if (wrong == NULL) return ids;
    bc_reply_problem_field(reply, "not-acceptable-value", "ids", "invalid", wrong);
    return NULL;
}

/* All or none. The answer's body, or NULL. */
static json_t *hide_all(const library_t *library, const json_t *ids, bc_once_t *once, bool *changed) {
    bc_db_t *db = library_store_db(library->store);
    int64_t now_ms = bc_time_ms();
    json_t *items = json_array();
    if (items == NULL || bc_db_begin(db) != BC_DB_OK) {
        json_decref(items);
        return NULL;
    }
    int64_t list[library_ids_max];
    library_hidden_t hidden[library_ids_max];
    size_t count = json_array_size(ids);
    assert(count > 0 && count <= library_ids_max); /* judged */
    for (size_t i = 0; i < count; i++) list[i] = json_integer_value(json_array_get(ids, i));
    bool good = library_store_hide_all_inside(library->store, list, count, now_ms, hidden) == LIBRARY_OK;
    for (size_t i = 0; good && i < count; i++) {
        json_t *item = json_pack("{s:I, s:s}", "id", (json_int_t)list[i], "result", hidden_words[hidden[i]]);
        good = json_array_append_new(items, item) == 0;
        if (hidden[i] == LIBRARY_HIDDEN) *changed = true;
    }
    json_t *body = json_pack("{s:o}", "items", items);
    good = good && body != NULL;
    if (good) bc_once_keep(once, 200, body, NULL);
    if (!good) bc_db_rollback(db);
    if (good && bc_db_commit(db) == BC_DB_OK) return body;
    json_decref(body);
    return NULL;
}

void library_handle_admin_hide(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    bc_once_t once;
    const json_t *ids = NULL;
    bool changed = false;
    if (!bc_once_begin(library_store_db(library->store), request, reply, BC_ONCE_OPTIONAL, &once)) return;
    if ((ids = read_hide(request, reply)) != NULL) {
        json_t *body = hide_all(library, ids, &once, &changed);
        if (body == NULL) {
            library_reply_failed(reply);
        } else {
            if (changed) library_tell(library);
            bc_log(BC_LOG_INFO, "books-deleted", bc_f_int("asked", (int64_t)json_array_size(ids)));
            bc_reply_cache(reply, "private, no-cache");
            library_reply(reply, 200, body);
        }
    }
    bc_once_end(&once, reply);
}
