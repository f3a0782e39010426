/*
 * GET /books and GET /books/suggest. Queries: a list takes 2 (the shelf, the rows), a search 4 more, a suggestion 3; whatever is asked.
 *
 * Everything is read beside whatever is being written: the engine in an entry of its own, shelf and rows in one more.
 *
 * Without `q` the database orders and cuts the page by its indexes, and the shelf counts total and facets. With `q` the engine names the
 * books, the shelf says which of them fit and counts them; by relevance the page is cut here (score, then number of ratings, then id),
 * in any other order the database does it among those books.
 */
#include "services/library/library_highlight.h"
#include "services/library/library_json.h"
#include "services/library/library_list_query.h"
#include "services/library/library_service.h"
#include "services/library/library_text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { suggestions_max = 10, suggestion_books_max = 30 };

typedef struct {
    const library_t *library;
    const library_found_t *found; /* NULL: no search */
    library_sort_t sort;
    size_t limit;
    const int64_t *order; /* of relevance: the page's ids, `order_count`; NULL: rows come in order */
    size_t order_count;
    json_t *items[library_list_limit_max]; /* owned; NULL: not there */
    size_t count;
    bool failed;
    bool more;
    library_place_t last;
} page_t;

static bool show_item(void *context, const library_row_t *row) {
    page_t *page = context;
    size_t at = page->count;
    if (page->order != NULL) {
        for (at = 0; at < page->order_count && page->order[at] != row->id;) at++;
        assert(at < page->order_count);
    } else if (page->count == page->limit) {
        page->more = true;
        return false;
    } else {
        library_place_of(page->sort, row, &page->last);
    }
    json_t *item = library_json_book(row, bc_config_text(page->library->config, BC_CURRENCY), false);
    if (item != NULL && page->found != NULL &&
        json_object_set_new(item, "highlights", library_highlights(row, page->found)) != 0) {
        json_decref(item);
        item = NULL;
    }
    page->items[at] = item;
    page->failed = item == NULL;
    page->count++;
    return !page->failed;
}

/* The items in order, without those that vanished between two queries. NULL without memory. */
static json_t *page_items(page_t *page) {
    json_t *array = json_array();
    for (size_t i = 0; i < library_list_limit_max; i++) {
        if (page->items[i] == NULL) continue;
        if (array == NULL) {
            json_decref(page->items[i]);
        } else if (json_array_append_new(array, page->items[i]) != 0) {
            json_decref(array);
            array = NULL;
        }
        page->items[i] = NULL;
    }
    return array;
}

/* --- relevance --- */

static int compare_picks(const void *a, const void *b) {
    const library_pick_t *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->ratings_count != y->ratings_count) return x->ratings_count > y->ratings_count ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Cuts the page: the first of the picks behind the cursor's place, in one pass. Most are found too far behind by one comparison. */
static void cut_by_relevance(const library_picks_t *picks, const library_list_t *list, page_t *page, int64_t *order) {
    library_pick_t first[library_list_limit_max];
    const library_pick_t behind = {
        .score = (int32_t)list->behind.first, .ratings_count = list->behind.second, .id = list->behind.id};
    size_t used = 0, count = 0;
    assert(page->limit > 0 && page->limit <= library_list_limit_max);
    for (size_t i = 0; i < picks->count; i++) {
        const library_pick_t *pick = &picks->list[i];
        if (list->query.behind != NULL && compare_picks(pick, &behind) <= 0) continue;
        count++;
        if (used == page->limit && compare_picks(pick, &first[used - 1]) > 0) continue;
        size_t at = used < page->limit ? used++ : used - 1;
        for (; at > 0 && compare_picks(pick, &first[at - 1]) < 0; at--) first[at] = first[at - 1];
        first[at] = *pick;
    }
    page->more = count > page->limit;
    for (size_t i = 0; i < used; i++) order[i] = first[i].id;
    page->order = order;
    page->order_count = used;
    if (used > 0) {
        const library_pick_t *last = &first[used - 1];
        page->last = (library_place_t){.first = last->score, .second = last->ratings_count, .id = last->id};
    }
}

static bool ids_text(library_text_t *text, const library_picks_t *picks, const page_t *page) {
    size_t count = page->order != NULL ? page->order_count : picks->count;
    library_text_put(text, "[");
    for (size_t i = 0; i < count; i++) {
        library_text_next(text);
        library_text_print(text, "%lld", (long long)(page->order != NULL ? page->order[i] : picks->list[i].id));
    }
    library_text_put(text, "]");
    return !text->failed;
}

/* --- the list --- */

static bool count_list(const library_t *library, bc_db_t *db, const library_list_t *list, const library_found_t *found,
                       library_picks_t *picks) {
    if (!library_shelf_enter(library->shelf, db)) return false;
    bool good = library_shelf_pick(library->shelf, &list->query, found, picks);
    library_shelf_leave(library->shelf);
    return good;
}

static bool read_page(bc_db_t *db, const library_list_t *list, const library_picks_t *picks, page_t *page) {
    library_text_t ids = {0};
    library_query_t query = list->query;
    int64_t order[library_list_limit_max];
    query.limit = list->limit + 1; /* one more tells whether another page follows */
    bool good = true;
    if (list->q != NULL) {
        if (query.sort == LIBRARY_SORT_RELEVANCE) {
            cut_by_relevance(picks, list, page, order);
            query.sort = LIBRARY_SORT_TITLE; /* any: the page has its order */
            query.behind = NULL;
        }
        good = ids_text(&ids, picks, page);
        query.ids = ids.bytes;
    }
    good = good && library_store_list_inside(db, &query, show_item, page) == LIBRARY_OK && !page->failed;
    page->order = NULL;
    library_text_free(&ids);
    return good;
}

static json_t *list_body(const library_t *library, const library_list_t *list, library_picks_t *picks, page_t *page) {
    char next[library_cursor_chars_max];
    if (page->more) library_cursor_write(library_store_cursor_key(library->store), list->digest, &page->last, next);
    return json_pack("{s:o, s:o, s:I, s:O}", "items", page_items(page), "next_cursor",
                     page->more ? json_string(next) : json_null(), "total_estimate", (json_int_t)picks->total, "facets",
                     picks->facets);
}

/* Shelf and rows from one picture of the database. */
static bool read_list(const library_t *library, const library_list_t *list, library_picks_t *picks, page_t *page) {
    bc_db_t *db = bc_db_enter_read(library_store_db(library->store));
    bool good = count_list(library, db, list, page->found, picks) && read_page(db, list, picks, page);
    bc_db_leave(db);
    return good;
}

void library_handle_list(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    library_list_t list;
    library_found_t found = {0};
    library_picks_t picks = {0};
    if (!library_list_read(request, reply, library_store_cursor_key(library->store), &list)) return;
    page_t page = {.library = library,
                   .found = list.q != NULL ? &found : NULL,
                   .sort = list.query.sort,
                   .limit = (size_t)list.limit};
    bool good = list.q == NULL ||
                library_search_find(library_store_search(library->store), list.q, &found) == LIBRARY_SEARCH_OK;
    if (good && read_list(library, &list, &picks, &page)) {
        library_reply_tagged(request, reply, list_body(library, &list, &picks, &page));
    } else {
        json_decref(page_items(&page)); /* only to free them */
        library_reply_failed(reply);
    }
    library_picks_free(&picks);
    library_found_free(&found);
}

/* --- suggestions --- */

typedef struct {
    const library_found_t *found;
    library_pick_t order[suggestion_books_max]; /* most popular first */
    size_t count;
    json_t *titles[suggestion_books_max];  /* owned; NULL: the title was not meant */
    json_t *authors[suggestion_books_max]; /* owned; an array of names */
    bool failed;
} suggesting_t;

/* Keeps the most popular of what was found. */
static void rank_suggestions(library_shelf_t *shelf, suggesting_t *suggesting) {
    for (size_t i = 0; i < suggesting->found->count; i++) {
        const library_volume_t *volume = library_shelf_find(shelf, suggesting->found->hits[i].book);
        if (volume == NULL) continue;
        library_pick_t pick = {.id = volume->id, .ratings_count = volume->ratings_count};
        size_t at = suggesting->count;
        while (at > 0 && compare_picks(&pick, &suggesting->order[at - 1]) < 0) at--;
        if (at == suggestion_books_max) continue;
        if (suggesting->count < suggestion_books_max) suggesting->count++;
        memmove(&suggesting->order[at + 1], &suggesting->order[at],
                (suggesting->count - at - 1) * sizeof(library_pick_t));
        suggesting->order[at] = pick;
    }
}

static bool show_suggestion(void *context, const library_row_t *row) {
    suggesting_t *suggesting = context;
    size_t at = 0;
    while (at < suggesting->count && suggesting->order[at].id != row->id) at++;
    assert(at < suggesting->count);
    json_t *names = json_loads(row->authors, 0, NULL), *meant = json_array();
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name) {
        if (library_highlight_has_all(json_string_value(name), suggesting->found))
            (void)json_array_append(meant, name); /* without memory one suggestion less */
    }
    bool title = library_highlight_has_all(row->title, suggesting->found) || json_array_size(meant) == 0;
    if (title)
        suggesting->titles[at] =
            json_pack("{s:s, s:s, s:I}", "kind", "title", "text", row->title, "book", (json_int_t)row->id);
    suggesting->authors[at] = meant;
    suggesting->failed = names == NULL || meant == NULL || (title && suggesting->titles[at] == NULL);
    json_decref(names);
    return !suggesting->failed;
}

static bool has_author(const json_t *items, const char *name) {
    char key[LIBRARY_FOLD_BYTES_MAX], other[LIBRARY_FOLD_BYTES_MAX];
    size_t i;
    json_t *item;
    library_fold(name, key, sizeof(key));
    json_array_foreach(items, i, item) {
        if (json_object_get(item, "book") != NULL) continue;
        library_fold(json_string_value(json_object_get(item, "text")), other, sizeof(other));
        if (strcmp(key, other) == 0) return true;
    }
    return false;
}

/* Book by book, the most popular first: its author, when he was meant, then its title. */
static json_t *suggestions_json(suggesting_t *suggesting) {
    json_t *items = json_array();
    bool good = items != NULL;
    for (size_t at = 0; at < suggesting->count && good; at++) {
        size_t i;
        json_t *name;
        json_array_foreach(suggesting->authors[at], i, name) {
            if (json_array_size(items) < suggestions_max && !has_author(items, json_string_value(name)))
                good =
                    good && json_array_append_new(items, json_pack("{s:s, s:O}", "kind", "author", "text", name)) == 0;
        }
        if (suggesting->titles[at] != NULL && json_array_size(items) < suggestions_max)
            good = good && json_array_append(items, suggesting->titles[at]) == 0;
    }
    if (good) return items;
    json_decref(items);
    return NULL;
}

static bool read_suggestions(const library_t *library, bc_db_t *db, suggesting_t *suggesting) {
    if (!library_shelf_enter(library->shelf, db)) return false;
    rank_suggestions(library->shelf, suggesting);
    library_shelf_leave(library->shelf);
    library_text_t ids = {0};
    library_text_put(&ids, "[");
    for (size_t i = 0; i < suggesting->count; i++) {
        library_text_next(&ids);
        library_text_print(&ids, "%lld", (long long)suggesting->order[i].id);
    }
    library_text_put(&ids, "]");
    const library_query_t query = {.sort = LIBRARY_SORT_TITLE, .limit = suggestion_books_max, .ids = ids.bytes};
    bool good = !ids.failed && library_store_list_inside(db, &query, show_suggestion, suggesting) == LIBRARY_OK &&
                !suggesting->failed;
    library_text_free(&ids);
    return good;
}

static bool suggest(const library_t *library, const char *text, library_found_t *found, suggesting_t *suggesting) {
    if (library_search_suggest(library_store_search(library->store), text, found) != LIBRARY_SEARCH_OK) return false;
    suggesting->found = found;
    bc_db_t *db = bc_db_enter_read(library_store_db(library->store));
    bool good = read_suggestions(library, db, suggesting);
    bc_db_leave(db);
    return good;
}

void library_handle_suggest(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    library_found_t found = {0};
    suggesting_t suggesting = {0};
    const char *text = bc_request_query(request, "q");
    if (text == NULL) {
        bc_reply_problem_field(reply, "malformed-request", "q", "missing", "what has been typed");
        return;
    }
    if (!library_list_read_text(reply, text)) return;
    if (suggest(library, text, &found, &suggesting)) {
        library_reply_tagged(request, reply, json_pack("{s:o}", "items", suggestions_json(&suggesting)));
    } else {
        library_reply_failed(reply);
    }
    for (size_t i = 0; i < suggestion_books_max; i++) {
        json_decref(suggesting.titles[i]);
        json_decref(suggesting.authors[i]);
    }
    library_found_free(&found);
}
