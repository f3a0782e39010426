/* What other services and the program may call: the feed of books, and some books. */
#include "services/library/library_json.h"
#include "services/library/library_service.h"

#include <stdio.h>

typedef struct {
    json_t *items;
    size_t limit;
    uint64_t position;
    bool more;
    bool failed;
} feed_page_t;

static bool show_item(void *context, const library_row_t *row) {
    feed_page_t *page = context;
    if (json_array_size(page->items) == page->limit) {
        page->more = true;
        return false;
    }
    page->failed = json_array_append_new(page->items, library_json_feed_item(row)) != 0;
    if (!page->failed) page->position = row->position;
    return !page->failed;
}

bool library_feed_read(void *context, uint64_t after, int limit, json_t *items, uint64_t *position, bool *more) {
    const library_t *library = context;
    feed_page_t page = {.items = items, .limit = (size_t)limit, .position = after};
    library_result_t result = library_store_feed(library->store, after, limit + 1, show_item, &page);
    if (result != LIBRARY_OK || page.failed) return false;
    *position = page.position;
    *more = page.more;
    return true;
}

void library_handle_feed(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    bc_feed_serve(library->feed, request, reply);
}

/* --- some books, as other services need them --- */

static bool show_some(void *context, const library_row_t *row) {
    feed_page_t *page = context;
    page->failed = json_array_append_new(page->items, library_json_some(row)) != 0;
    return !page->failed;
}

void library_handle_some(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    char ids[library_ids_text_max];
    const char *text = bc_request_query(request, "ids");
    if (text == NULL) {
        bc_reply_problem_field(reply, "malformed-request", "ids", "missing", "book numbers with commas between");
        return;
    }
    if (!library_read_ids(reply, text, ids, sizeof(ids))) return;
    feed_page_t page = {.items = json_array()};
    library_result_t result =
        page.items == NULL ? LIBRARY_FAILED : library_store_some(library->store, ids, show_some, &page);
    if (result != LIBRARY_OK || page.failed) {
        json_decref(page.items);
        library_reply_failed(reply);
        return;
    }
    library_reply(reply, 200, json_pack("{s:o}", "items", page.items));
}
