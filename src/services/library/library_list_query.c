#include "services/library/library_list_query.h"

#include "services/library/library_service.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *word;
    library_sort_t sort;
} sort_word_t;

static const sort_word_t sort_words[] = {
    {"title", LIBRARY_SORT_TITLE},   {"price", LIBRARY_SORT_PRICE},   {"-price", LIBRARY_SORT_PRICE_FALLING},
    {"newest", LIBRARY_SORT_NEWEST}, {"rating", LIBRARY_SORT_RATING}, {"relevance", LIBRARY_SORT_RELEVANCE},
};

static bool refuse(bc_reply_t *reply, const char *field, const char *code, const char *detail) {
    bc_reply_problem_field(reply, "malformed-request", field, code, detail);
    return false;
}

bool library_list_read_text(bc_reply_t *reply, const char *text) {
    size_t points = 0;
    for (const char *at = text; *at != '\0' && points <= library_query_chars_max; points++)
        (void)library_utf8_next(&at); /* only the step counts */
    if (points >= 1 && points <= library_query_chars_max) return true;
    return refuse(reply, "q", "out-of-range", "1 to 100 characters");
}

/* A search is ranked unless it says otherwise; without one there is nothing to be relevant to. */
static bool read_sort(const bc_request_t *request, bc_reply_t *reply, library_list_t *list) {
    const char *word = bc_request_query(request, "sort");
    if (word == NULL) {
        list->query.sort = list->q != NULL ? LIBRARY_SORT_RELEVANCE : LIBRARY_SORT_TITLE;
        return true;
    }
    for (size_t i = 0; i < sizeof(sort_words) / sizeof(sort_words[0]); i++) {
        if (strcmp(sort_words[i].word, word) != 0) continue;
        list->query.sort = sort_words[i].sort;
        if (list->query.sort != LIBRARY_SORT_RELEVANCE || list->q != NULL) return true;
        return refuse(reply, "sort", "needs-q", "relevance is for a search");
    }
    return refuse(reply, "sort", "unknown", "one of relevance, title, price, -price, newest, rating");
}

static int compare_ids(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* "7,12,9" → 7 9 12: sorted and once each, so that the same set is the same list. */
static bool read_id_list(bc_reply_t *reply, const char *text, int64_t ids[library_ids_max], size_t *kept) {
    size_t count = 0;
    for (const char *at = text;;) {
        int64_t id = 0;
        int digits = 0;
        for (; *at >= '0' && *at <= '9' && digits <= 16; at++, digits++) id = id * 10 + (*at - '0');
        if (digits == 0 || digits > 16 || id < 1 || id > LIBRARY_ID_MAX || (*at != ',' && *at != '\0'))
            return refuse(reply, "ids", "malformed", "book numbers with commas between");
        if (count == library_ids_max) return refuse(reply, "ids", "too-many", "at most 100 books");
        ids[count++] = id;
        if (*at == '\0') break;
        at++;
    }
    qsort(ids, count, sizeof(ids[0]), compare_ids);
    *kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || ids[i] != ids[*kept - 1]) ids[(*kept)++] = ids[i];
    }
    return true;
}

static void ids_json(const int64_t *ids, size_t count, char *json, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        int length = snprintf(json + used, size - used, "%c%lld", used == 0 ? '[' : ',', (long long)ids[i]);
        assert(length > 0 && (size_t)length < size - used - 1);
        used += (size_t)length;
    }
    json[used] = ']';
    json[used + 1] = '\0';
}

bool library_read_ids(bc_reply_t *reply, const char *text, char *json, size_t size) {
    int64_t ids[library_ids_max];
    size_t count = 0;
    if (!read_id_list(reply, text, ids, &count)) return false;
    ids_json(ids, count, json, size);
    return true;
}

static bool read_name(const bc_request_t *request, bc_reply_t *reply, const char *field, char *key, size_t size,
                      const char **filter) {
    const char *text = bc_request_query(request, field);
    if (text == NULL) return true;
    if (*text == '\0' || strlen(text) > library_name_bytes_max)
        return refuse(reply, field, "out-of-range", "1 to 256 bytes");
    library_fold(text, key, size);
    *filter = key;
    return true;
}

static bool read_texts(const bc_request_t *request, bc_reply_t *reply, library_list_t *list) {
    const char *text;
    list->q = bc_request_query(request, "q");
    if (list->q != NULL && !library_list_read_text(reply, list->q)) return false;
    if (!read_name(request, reply, "author", list->author_key, sizeof(list->author_key), &list->query.author_key) ||
        !read_name(request, reply, "genre", list->genre_key, sizeof(list->genre_key), &list->query.genre_key))
        return false;
    if ((text = bc_request_query(request, "language")) != NULL) {
        list->query.language = library_language_read(text);
        if (list->query.language == NULL) return refuse(reply, "language", "unknown", "a language code such as en");
    }
    if ((text = bc_request_query(request, "available")) != NULL) {
        list->query.has_available = true;
        list->query.available = strcmp(text, "true") == 0;
        if (!list->query.available && strcmp(text, "false") != 0)
            return refuse(reply, "available", "malformed", "true or false");
    }
    if ((text = bc_request_query(request, "ids")) != NULL) {
        if (!read_id_list(reply, text, list->id_list, &list->query.id_count)) return false;
        ids_json(list->id_list, list->query.id_count, list->ids, sizeof(list->ids));
        list->query.ids = list->ids;
        list->query.id_list = list->id_list;
    }
    return read_sort(request, reply, list);
}

static bool read_int(const bc_request_t *request, bc_reply_t *reply, const char *name, int64_t least, int64_t most,
                     bool *there, int64_t *value) {
    *there = bc_request_query(request, name) != NULL;
    return bc_request_query_int(request, reply, name, least, most, 0, value);
}

static bool read_numbers(const bc_request_t *request, bc_reply_t *reply, library_list_t *list) {
    int64_t limit = 0;
    int64_t from = 0;
    int64_t to = 0;
    library_query_t *query = &list->query;
    if (!bc_request_query_int(request, reply, "limit", 1, library_list_limit_max, library_list_limit, &limit) ||
        !read_int(request, reply, "year_from", library_year_least, library_year_most, &query->has_year_from, &from) ||
        !read_int(request, reply, "year_to", library_year_least, library_year_most, &query->has_year_to, &to) ||
        !read_int(request, reply, "price_max", 0, LIBRARY_PRICE_MOST, &query->has_price_max, &query->price_max))
        return false;
    list->limit = (int)limit;
    query->year_from = (int)from;
    query->year_to = (int)to;
    return true;
}

static void digest_text(crypto_generichash_state *state, const char *text) {
    uint64_t length = text == NULL ? UINT64_MAX : strlen(text);
    (void)crypto_generichash_update(state, (const unsigned char *)&length, sizeof(length)); /* always 0 */
    if (text != NULL) (void)crypto_generichash_update(state, (const unsigned char *)text, strlen(text));
}

/* Not its limit: a page may be followed by a longer one. */
static void digest_list(library_list_t *list) {
    const library_query_t *query = &list->query;
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, sizeof(list->digest)); /* always 0 for this length */
    int64_t numbers[] = {query->sort,        query->has_year_from, query->year_from,
                         query->has_year_to, query->year_to,       query->has_price_max,
                         query->price_max,   query->has_available, query->available};
    (void)crypto_generichash_update(&state, (const unsigned char *)numbers, sizeof(numbers));
    digest_text(&state, list->q);
    digest_text(&state, query->language);
    digest_text(&state, query->author_key);
    digest_text(&state, query->genre_key);
    digest_text(&state, query->ids);
    (void)crypto_generichash_final(&state, list->digest, sizeof(list->digest));
}

bool library_list_read(const bc_request_t *request, bc_reply_t *reply, const uint8_t *cursor_key,
                       library_list_t *list) {
    memset(list, 0, sizeof(*list));
    if (!read_texts(request, reply, list) || !read_numbers(request, reply, list)) return false;
    digest_list(list);
    const char *cursor = bc_request_query(request, "cursor");
    if (cursor == NULL) return true;
    if (!library_cursor_read(cursor_key, list->digest, cursor, &list->behind)) {
        bc_reply_problem_field(reply, "bad-cursor", "cursor", "invalid", "not a cursor of this list");
        return false;
    }
    list->query.behind = &list->behind;
    return true;
}
