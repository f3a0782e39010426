/*
 * A book's cover and banner: sent as a picture, kept by the image host, referred to by the book's row. The picture comes first, the
 * reference after it: a kill between the two leaves a picture that nothing refers to, which the next sweep removes.
 */
#include "platform/bc_log.h"
#include "platform/bc_time.h"
#include "services/library/library_json.h"
#include "services/library/library_service.h"

#include <assert.h>

typedef struct {
    const library_t *library;
    json_t *body; /* owned: the book as it is afterwards */
    bool gone;
    char etag[BC_ETAG_BYTES];
} shown_t;

static bool show(void *context, const library_row_t *row) {
    shown_t *shown = context;
    const char *currency = bc_config_text(shown->library->config, BC_CURRENCY);
    library_etag(row, library_store_generation(shown->library->store), currency, shown->etag);
    shown->gone = row->gone;
    json_decref(shown->body);
    shown->body = library_json_book(row, currency, true);
    return true;
}

/* A picture is much work: for a book that is there only. false: the reply is set. */
static bool find_book(const library_t *library, int64_t id, bc_reply_t *reply) {
    shown_t found = {.library = library};
    library_result_t result = library_store_get(library->store, id, show, &found);
    json_decref(found.body);
    if (result == LIBRARY_FAILED) {
        library_reply_failed(reply);
    } else if (result == LIBRARY_ABSENT) {
        bc_reply_not_found(reply);
    } else if (found.gone) {
        bc_reply_problem(reply, "conflict", "the book was deleted");
    }
    return result == LIBRARY_OK && !found.gone;
}

/* One transaction: the reference, and the book as it is then. */
static bool refer(const library_t *library, int64_t id, library_picture_t which, const char *url, shown_t *shown,
                  bool *changed) {
    bc_db_t *db = library_store_db(library->store);
    if (bc_db_begin(db) != BC_DB_OK) return false;
    if (library_store_picture_inside(library->store, id, which, url, bc_time_ms(), changed) == LIBRARY_OK &&
        library_store_get_inside(library->store, id, show, shown) == LIBRARY_OK)
        return bc_db_commit(db) == BC_DB_OK;
    bc_db_rollback(db);
    return false;
}

static void handle(bc_request_t *request, bc_reply_t *reply, const library_t *library, library_picture_t which) {
    shown_t shown = {.library = library};
    char url[BC_IMAGES_URL_MAX];
    int64_t id = 0;
    bool changed = false;
    if (!library_path_id(request, reply, &id) || !find_book(library, id, reply)) return;
    bc_picture_kind_t kind = which == LIBRARY_COVER ? BC_PICTURE_COVER : BC_PICTURE_BANNER;
    if (!bc_images_take(library->images, kind, request, reply, url)) return;
    if (!refer(library, id, which, url, &shown, &changed)) {
        library_reply_failed(reply);
    } else if (shown.gone) {
        bc_reply_problem(reply, "conflict", "the book was deleted"); /* while the picture was made */
    } else {
        if (changed) {
            bc_log(BC_LOG_INFO, "book-changed", bc_f_int("book", id));
            library_tell(library);
        }
        bc_reply_cache(reply, "private, no-cache");
        bc_reply_header(reply, "ETag", shown.etag);
        library_reply(reply, 200, json_incref(shown.body));
    }
    json_decref(shown.body);
}

void library_handle_cover(bc_request_t *request, bc_reply_t *reply, void *context) {
    handle(request, reply, context, LIBRARY_COVER);
}

void library_handle_banner(bc_request_t *request, bc_reply_t *reply, void *context) {
    handle(request, reply, context, LIBRARY_BANNER);
}

bc_images_used_t library_picture_used(void *context, const char *url) {
    const library_t *library = context;
    bool used = true;
    if (library_store_uses_picture(library->store, url, &used) != LIBRARY_OK) return BC_IMAGES_USED_UNKNOWN;
    return used ? BC_IMAGES_USED : BC_IMAGES_UNUSED;
}
