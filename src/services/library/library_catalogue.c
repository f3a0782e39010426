/* What everyone may read: the list of books, one book, the shop. Every answer has a strong tag, so that the edge's page cache and
 * browsers ask again for the price of a 304. */
#include "platform/bc_log.h"
#include "services/library/library_cursor.h"
#include "services/library/library_json.h"
#include "services/library/library_service.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { list_limit_max = 100, list_limit = 24 };

static const char public_cache[] = "public, no-cache";

static char *dump(const json_t *body) {
    return body == NULL ? NULL : json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(library_json_precision));
}

void library_reply(bc_reply_t *reply, int status, json_t *body) {
    char *text = dump(body);
    json_decref(body);
    if (text == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
        return;
    }
    bc_reply_bytes(reply, status, "application/json", text, strlen(text));
    free(text);
}

void library_reply_failed(bc_reply_t *reply) {
    bc_reply_problem(reply, "unavailable", NULL);
    bc_reply_retry_after(reply, 1000);
}

/* The tag of what is shown: taken from the bytes where no position stands for them. */
static void reply_tagged(bc_request_t *request, bc_reply_t *reply, json_t *body) {
    char *text = dump(body);
    json_decref(body);
    if (text == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
        return;
    }
    char etag[library_etag_bytes];
    library_etag_of(text, strlen(text), etag);
    bc_reply_cache(reply, public_cache);
    if (!bc_reply_etag(request, reply, etag)) bc_reply_bytes(reply, 200, "application/json", text, strlen(text));
    free(text);
}

bool library_path_id(const bc_request_t *request, bc_reply_t *reply, int64_t *id) {
    const char *text = bc_request_part(request, "id");
    int64_t value = 0;
    size_t length = strlen(text);
    bool good = length > 0 && length <= 16 && text[0] != '0'; /* one spelling per book */
    for (size_t i = 0; i < length && good; i++) {
        good = text[i] >= '0' && text[i] <= '9';
        value = value * 10 + (text[i] - '0');
    }
    if (!good || value > LIBRARY_ID_MAX) {
        bc_reply_not_found(reply);
        return false;
    }
    *id = value;
    return true;
}

/* --- one book --- */

typedef struct {
    const library_t *library;
    json_t *body; /* owned; NULL: gone, or no memory */
    bool gone;
    char etag[library_etag_bytes];
} one_book_t;

static bool show_book(void *context, const library_row_t *row) {
    one_book_t *one = context;
    const char *currency = bc_config_text(one->library->config, BC_CURRENCY);
    one->gone = row->gone;
    library_etag(row, library_store_generation(one->library->store), currency, one->etag);
    if (!row->gone) one->body = library_json_book(row, currency, false);
    return true;
}

void library_handle_book(bc_request_t *request, bc_reply_t *reply, void *context) {
    one_book_t one = {.library = context};
    int64_t id = 0;
    if (!library_path_id(request, reply, &id)) return;
    library_result_t result = library_store_get(one.library->store, id, show_book, &one);
    if (result == LIBRARY_FAILED) {
        library_reply_failed(reply);
    } else if (result == LIBRARY_ABSENT || one.gone) {
        bc_reply_not_found(reply);
    } else {
        bc_reply_cache(reply, public_cache);
        if (!bc_reply_etag(request, reply, one.etag)) library_reply(reply, 200, json_incref(one.body));
    }
    json_decref(one.body);
}

/* --- the list --- */

typedef struct {
    const char *word;
    library_sort_t sort;
} sort_word_t;

static const sort_word_t sort_words[] = {
    {"title", LIBRARY_SORT_TITLE},   {"price", LIBRARY_SORT_PRICE},   {"-price", LIBRARY_SORT_PRICE_FALLING},
    {"newest", LIBRARY_SORT_NEWEST}, {"rating", LIBRARY_SORT_RATING},
};

typedef struct {
    library_query_t query;
    int limit;
    char author_key[LIBRARY_FOLD_BYTES_MAX];
    char genre_key[LIBRARY_FOLD_BYTES_MAX];
    char ids[library_ids_text_max];
    library_place_t behind;
    uint8_t digest[library_list_digest_bytes];
} list_request_t;

static bool refuse(bc_reply_t *reply, const char *field, const char *code, const char *detail) {
    bc_reply_problem_field(reply, "malformed-request", field, code, detail);
    return false;
}

static bool read_sort(const bc_request_t *request, bc_reply_t *reply, library_sort_t *sort) {
    const char *word = bc_request_query(request, "sort");
    if (word == NULL) {
        *sort = LIBRARY_SORT_TITLE;
        return true;
    }
    for (size_t i = 0; i < sizeof(sort_words) / sizeof(sort_words[0]); i++) {
        if (strcmp(sort_words[i].word, word) == 0) {
            *sort = sort_words[i].sort;
            return true;
        }
    }
    return refuse(reply, "sort", "unknown", "one of title, price, -price, newest, rating");
}

static int compare_ids(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* "7,12,9" → "[7,9,12]": sorted and once each, so that the same set is the same list. */
bool library_read_ids(bc_reply_t *reply, const char *text, char *json, size_t size) {
    int64_t ids[library_ids_max];
    size_t count = 0;
    for (const char *at = text;;) {
        int64_t id = 0;
        int digits = 0;
        for (; *at >= '0' && *at <= '9' && digits <= 16; at++, digits++) id = id * 10 + (*at - '0');
        if (digits == 0 || digits > 16 || id < 1 || id > LIBRARY_ID_MAX || (*at != ',' && *at != '\0')) {
            return refuse(reply, "ids", "malformed", "book numbers with commas between");
        }
        if (count == library_ids_max) return refuse(reply, "ids", "too-many", "at most 100 books");
        ids[count++] = id;
        if (*at == '\0') break;
        at++;
    }
    qsort(ids, count, sizeof(ids[0]), compare_ids);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && ids[i] == ids[i - 1]) continue;
        int length = snprintf(json + used, size - used, "%c%lld", used == 0 ? '[' : ',', (long long)ids[i]);
        assert(length > 0 && (size_t)length < size - used - 1);
        used += (size_t)length;
    }
    json[used] = ']';
    json[used + 1] = '\0';
    return true;
}

static bool read_texts(const bc_request_t *request, bc_reply_t *reply, list_request_t *list) {
    const char *text;
    if (bc_request_query(request, "q") != NULL) {
        return refuse(reply, "q", "not-supported", "search is not available in this version");
    }
    if ((text = bc_request_query(request, "author")) != NULL) {
        if (*text == '\0' || strlen(text) > library_name_bytes_max) {
            return refuse(reply, "author", "out-of-range", "1 to 256 bytes");
        }
        library_fold(text, list->author_key, sizeof(list->author_key));
        list->query.author_key = list->author_key;
    }
    if ((text = bc_request_query(request, "genre")) != NULL) {
        if (*text == '\0' || strlen(text) > library_name_bytes_max) {
            return refuse(reply, "genre", "out-of-range", "1 to 256 bytes");
        }
        library_fold(text, list->genre_key, sizeof(list->genre_key));
        list->query.genre_key = list->genre_key;
    }
    if ((text = bc_request_query(request, "language")) != NULL) {
        list->query.language = library_language_read(text);
        if (list->query.language == NULL) return refuse(reply, "language", "unknown", "a language code such as en");
    }
    if ((text = bc_request_query(request, "available")) != NULL) {
        list->query.has_available = true;
        list->query.available = strcmp(text, "true") == 0;
        if (!list->query.available && strcmp(text, "false") != 0) {
            return refuse(reply, "available", "malformed", "true or false");
        }
    }
    if ((text = bc_request_query(request, "ids")) != NULL) {
        if (!library_read_ids(reply, text, list->ids, sizeof(list->ids))) return false;
        list->query.ids = list->ids;
    }
    return read_sort(request, reply, &list->query.sort);
}

static bool read_int(const bc_request_t *request, bc_reply_t *reply, const char *name, int64_t least, int64_t most,
                     bool *there, int64_t *value) {
    *there = bc_request_query(request, name) != NULL;
    return bc_request_query_int(request, reply, name, least, most, 0, value);
}

static bool read_numbers(const bc_request_t *request, bc_reply_t *reply, list_request_t *list) {
    int64_t limit = 0;
    int64_t from = 0;
    int64_t to = 0;
    if (!bc_request_query_int(request, reply, "limit", 1, list_limit_max, list_limit, &limit) ||
        !read_int(request, reply, "year_from", library_year_least, library_year_most, &list->query.has_year_from,
                  &from) ||
        !read_int(request, reply, "year_to", library_year_least, library_year_most, &list->query.has_year_to, &to) ||
        !read_int(request, reply, "price_max", 0, LIBRARY_PRICE_MOST, &list->query.has_price_max,
                  &list->query.price_max)) {
        return false;
    }
    list->limit = (int)limit;
    list->query.year_from = (int)from;
    list->query.year_to = (int)to;
    return true;
}

static void digest_text(crypto_generichash_state *state, const char *text) {
    uint64_t length = text == NULL ? UINT64_MAX : strlen(text);
    (void)crypto_generichash_update(state, (const unsigned char *)&length, sizeof(length)); /* always 0 */
    if (text != NULL) (void)crypto_generichash_update(state, (const unsigned char *)text, strlen(text));
}

/* Which list this is: its order and filters, not its limit: a page may be followed by a longer one. */
static void digest_list(list_request_t *list) {
    const library_query_t *query = &list->query;
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, sizeof(list->digest)); /* always 0 for this length */
    int64_t numbers[] = {query->sort,        query->has_year_from, query->year_from,
                         query->has_year_to, query->year_to,       query->has_price_max,
                         query->price_max,   query->has_available, query->available};
    (void)crypto_generichash_update(&state, (const unsigned char *)numbers, sizeof(numbers));
    digest_text(&state, query->language);
    digest_text(&state, query->author_key);
    digest_text(&state, query->genre_key);
    digest_text(&state, query->ids);
    (void)crypto_generichash_final(&state, list->digest, sizeof(list->digest));
}

typedef struct {
    const library_t *library;
    const list_request_t *list;
    json_t *items; /* owned */
    bool failed;
    bool more;
    library_place_t last;
} page_t;

static bool show_item(void *context, const library_row_t *row) {
    page_t *page = context;
    if (json_array_size(page->items) == (size_t)page->list->limit) {
        page->more = true;
        return false;
    }
    library_place_of(page->list->query.sort, row, &page->last);
    json_t *book = library_json_book(row, bc_config_text(page->library->config, BC_CURRENCY), false);
    page->failed = json_array_append_new(page->items, book) != 0;
    return !page->failed;
}

void library_handle_list(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    list_request_t list;
    memset(&list, 0, sizeof(list));
    if (!read_texts(request, reply, &list) || !read_numbers(request, reply, &list)) return;
    digest_list(&list);
    const uint8_t *key = library_store_cursor_key(library->store);
    const char *cursor = bc_request_query(request, "cursor");
    if (cursor != NULL) {
        if (!library_cursor_read(key, list.digest, cursor, &list.behind)) {
            bc_reply_problem_field(reply, "bad-cursor", "cursor", "invalid", "not a cursor of this list");
            return;
        }
        list.query.behind = &list.behind;
    }
    list.query.limit = list.limit + 1; /* one more tells whether another page follows */

    page_t page = {.library = library, .list = &list, .items = json_array()};
    if (page.items == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
        return;
    }
    library_result_t result = library_store_list(library->store, &list.query, show_item, &page);
    if (result != LIBRARY_OK || page.failed) {
        json_decref(page.items);
        library_reply_failed(reply);
        return;
    }
    char next[library_cursor_chars_max];
    if (page.more) library_cursor_write(key, list.digest, &page.last, next);
    reply_tagged(
        request, reply,
        json_pack("{s:o, s:o}", "items", page.items, "next_cursor", page.more ? json_string(next) : json_null()));
}

/* --- the shop --- */

void library_handle_shop(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    reply_tagged(request, reply,
                 json_pack("{s:s, s:s, s:[s, s, s], s:{s:i, s:i, s:i, s:i}}", "name",
                           bc_config_text(library->config, BC_SHOP_NAME), "currency",
                           bc_config_text(library->config, BC_CURRENCY), "languages", "en", "fr", "bg", "limits",
                           "cart_lines", 100, "line_quantity", 99, "list_limit", list_limit_max, "list_ids",
                           (int)library_ids_max));
}
