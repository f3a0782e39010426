#include "services/library/library_store.h"

#include "platform/bc_images.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "services/library/library_events.h"
#include "services/library/library_json.h"
#include "services/library/library_sql.h"
#include "services/library/library_text.h"

#include <assert.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { digest_bytes = 16 };

struct library_store {
    bc_db_t *db;              /* borrowed */
    library_search_t *search; /* owned */
    char generation[library_generation_chars + 1];
    uint8_t cursor_key[library_cursor_key_bytes];
};

/* --- open --- */

static bool keep_meta(library_store_t *store, const char *name, const void *fresh, size_t length) {
    bc_statement_t *statement = bc_db_prepare(store->db, LIBRARY_SQL_META_PUT);
    bc_bind_text(statement, 1, name);
    bc_bind_bytes(statement, 2, fresh, length);
    return bc_run(statement) == BC_DB_DONE;
}

static bool read_meta(library_store_t *store, const char *name, void *bytes, size_t length) {
    bc_statement_t *statement = bc_db_prepare(store->db, LIBRARY_SQL_META_GET);
    bc_bind_text(statement, 1, name);
    bool good = bc_step(statement) == BC_DB_ROW;
    if (good) {
        size_t stored = 0;
        const void *value = bc_column_bytes(statement, 0, &stored);
        good = stored == length && value != NULL;
        if (good) memcpy(bytes, value, length);
    }
    bc_statement_done(statement);
    return good;
}

static bool load_meta(library_store_t *store) {
    uint8_t drawn[library_generation_chars / 2];
    char generation[library_generation_chars + 1];
    uint8_t cursor_key[library_cursor_key_bytes];
    bc_random_bytes(drawn, sizeof(drawn));
    (void)sodium_bin2hex(generation, sizeof(generation), drawn, sizeof(drawn)); /* returns its first argument */
    bc_random_bytes(cursor_key, sizeof(cursor_key));

    if (bc_db_begin(store->db) != BC_DB_OK) return false;
    bool good = keep_meta(store, "generation", generation, library_generation_chars) &&
                keep_meta(store, "cursor-key", cursor_key, sizeof(cursor_key)) &&
                read_meta(store, "generation", store->generation, library_generation_chars) &&
                read_meta(store, "cursor-key", store->cursor_key, sizeof(store->cursor_key));
    if (good) return bc_db_commit(store->db) == BC_DB_OK;
    bc_db_rollback(store->db);
    bc_log(BC_LOG_ERROR, "library-meta-unreadable");
    return false;
}

static bool fill_search(library_store_t *store);

library_store_t *library_store_open(bc_db_t *db, const char *search) {
    library_store_t *store = calloc(1, sizeof(*store));
    if (store == NULL) return NULL;
    store->db = db;
    bool good = load_meta(store);
    if (good) store->search = library_search_open(search, store->db);
    if (good && store->search != NULL && fill_search(store) && library_events_announce(store)) {
        return store;
    }
    library_store_close(store);
    return NULL;
}

void library_store_close(library_store_t *store) {
    if (store == NULL) return;
    library_search_close(store->search);
    free(store);
}

bool library_store_is_open(library_store_t *store) {
    return bc_db_is_open(store->db);
}

void library_store_renew(bc_db_t *db) {
    (void)bc_run(bc_db_prepare(db, LIBRARY_SQL_META_RENEW));
}

bc_db_t *library_store_db(library_store_t *store) {
    return store->db;
}

const char *library_store_generation(const library_store_t *store) {
    return store->generation;
}

const uint8_t *library_store_cursor_key(const library_store_t *store) {
    return store->cursor_key;
}

library_search_t *library_store_search(library_store_t *store) {
    return store->search;
}

/* --- reads --- */

/* In the order of LIBRARY_ROW. */
static void read_row(bc_statement_t *statement, library_row_t *row) {
    *row = (library_row_t){
        .id = bc_column_int(statement, 0),
        .gone = bc_column_int(statement, 1) != 0,
        .title = bc_column_text(statement, 2),
        .title_key = bc_column_text(statement, 3),
        .authors = bc_column_text(statement, 4),
        .genres = bc_column_text(statement, 5),
        .language = bc_column_text(statement, 6),
        .isbn = bc_column_text(statement, 7),
        .description = bc_column_text(statement, 8),
        .cover_url = bc_column_text(statement, 9),
        .year_key = bc_column_int(statement, 10),
        .price_minor = bc_column_int(statement, 11),
        .stock = bc_column_int(statement, 12),
        .rating = (int)bc_column_int(statement, 13),
        .ratings_count = bc_column_int(statement, 14),
        .position = (uint64_t)bc_column_int(statement, 15),
        .updated_ms = bc_column_int(statement, 16),
        .content_position = (uint64_t)bc_column_int(statement, 17),
        .banner_url = bc_column_text(statement, 18),
    };
    row->has_year = row->year_key > LIBRARY_YEAR_UNKNOWN;
    row->year = row->has_year ? (int)row->year_key : 0;
}

/* Steps through and ends the statement. */
static library_result_t show_rows(bc_statement_t *statement, library_row_fn show, void *context, size_t *count) {
    bc_db_result_t result;
    size_t shown = 0;
    while ((result = bc_step(statement)) == BC_DB_ROW) {
        library_row_t row;
        read_row(statement, &row);
        shown++;
        if (!show(context, &row)) {
            result = BC_DB_DONE;
            break;
        }
    }
    bc_statement_done(statement);
    *count = shown;
    return result == BC_DB_DONE ? LIBRARY_OK : LIBRARY_FAILED;
}

static library_result_t get_from(bc_db_t *db, int64_t id, library_row_fn show, void *context) {
    bc_statement_t *statement = bc_db_prepare(db, LIBRARY_SQL_GET);
    bc_bind_int(statement, 1, id);
    size_t count = 0;
    library_result_t result = show_rows(statement, show, context, &count);
    return result == LIBRARY_OK && count == 0 ? LIBRARY_ABSENT : result;
}

library_result_t library_store_get_inside(library_store_t *store, int64_t id, library_row_fn show, void *context) {
    return get_from(store->db, id, show, context);
}

library_result_t library_store_get(library_store_t *store, int64_t id, library_row_fn show, void *context) {
    bc_db_t *db = bc_db_enter_read(store->db);
    library_result_t result = get_from(db, id, show, context);
    bc_db_leave(db);
    return result;
}

library_result_t library_store_some(library_store_t *store, const char *ids, library_row_fn show, void *context) {
    bc_db_t *db = bc_db_enter_read(store->db);
    bc_statement_t *statement = bc_db_prepare(db, LIBRARY_SQL_SOME);
    bc_bind_text(statement, 1, ids);
    size_t count = 0;
    library_result_t result = show_rows(statement, show, context, &count);
    bc_db_leave(db);
    return result;
}

library_result_t library_store_is_empty(library_store_t *store, bool *empty) {
    bc_db_enter(store->db);
    bc_statement_t *statement = bc_db_prepare(store->db, LIBRARY_SQL_ANY);
    bc_db_result_t result = bc_step(statement);
    bc_statement_done(statement);
    bc_db_leave(store->db);
    if (result != BC_DB_ROW && result != BC_DB_DONE) return LIBRARY_FAILED;
    *empty = result == BC_DB_DONE;
    return LIBRARY_OK;
}

static void bind_behind(bc_statement_t *statement, const library_query_t *query) {
    const library_place_t *behind = query->behind;
    bool falling = query->sort != LIBRARY_SORT_TITLE && query->sort != LIBRARY_SORT_PRICE;
    if (query->sort == LIBRARY_SORT_TITLE) {
        bc_bind_text(statement, 1, behind == NULL ? "" : behind->title_key);
    } else {
        bc_bind_int(statement, 1, behind != NULL ? behind->first : falling ? INT64_MAX : INT64_MIN);
    }
    bc_bind_int(statement, 2, behind != NULL ? behind->second : falling ? INT64_MAX : INT64_MIN);
    bc_bind_int(statement, 3, behind != NULL ? behind->id : falling ? INT64_MAX : 0);
}

library_result_t library_store_list_inside(bc_db_t *db, const library_query_t *query, library_row_fn show,
                                           void *context) {
    assert(query->sort < LIBRARY_SORT_COUNT);
    assert(query->limit > 0);
    library_list_source_t source = query->ids != NULL          ? LIBRARY_LIST_IDS
                                   : query->author_key != NULL ? LIBRARY_LIST_AUTHOR
                                   : query->genre_key != NULL  ? LIBRARY_LIST_GENRE
                                                               : LIBRARY_LIST_ALL;
    bc_statement_t *statement = bc_db_prepare(db, library_sql_list[source][query->sort]);
    bind_behind(statement, query);
    bc_bind_int(statement, 4, query->limit);
    /* What is not bound is null, and a null filter lets everything pass. */
    if (query->language != NULL) bc_bind_text(statement, 5, query->language);
    if (query->has_year_from) bc_bind_int(statement, 6, query->year_from);
    if (query->has_year_to) bc_bind_int(statement, 7, query->year_to);
    if (query->has_price_max) bc_bind_int(statement, 8, query->price_max);
    if (query->has_available) bc_bind_int(statement, 9, query->available ? 1 : 0);
    if (query->author_key != NULL) bc_bind_text(statement, 10, query->author_key);
    if (query->genre_key != NULL) bc_bind_text(statement, 11, query->genre_key);
    if (query->ids != NULL) bc_bind_text(statement, 12, query->ids);
    size_t count = 0;
    return show_rows(statement, show, context, &count);
}

void library_place_of(library_sort_t sort, const library_row_t *row, library_place_t *place) {
    *place = (library_place_t){.id = row->id};
    switch (sort) {
    case LIBRARY_SORT_TITLE:
        (void)snprintf(place->title_key, sizeof(place->title_key), "%s", row->title_key); /* stored as short as this */
        break;
    case LIBRARY_SORT_PRICE:
    case LIBRARY_SORT_PRICE_FALLING:
        place->first = row->price_minor;
        break;
    case LIBRARY_SORT_NEWEST:
        place->first = row->year_key;
        break;
    case LIBRARY_SORT_RATING:
        place->first = row->rating;
        place->second = row->ratings_count;
        break;
    case LIBRARY_SORT_COUNT:
    case LIBRARY_SORT_RELEVANCE:
        assert(false);
    }
}

library_result_t library_store_feed_inside(bc_db_t *db, uint64_t after, int limit, library_row_fn show, void *context) {
    assert(limit > 0);
    bc_statement_t *statement = bc_db_prepare(db, LIBRARY_SQL_FEED);
    bc_bind_int(statement, 1, after > INT64_MAX ? INT64_MAX : (int64_t)after);
    bc_bind_int(statement, 2, limit);
    size_t count = 0;
    return show_rows(statement, show, context, &count);
}

library_result_t library_store_feed(library_store_t *store, uint64_t after, int limit, library_row_fn show,
                                    void *context) {
    bc_db_t *db = bc_db_enter_read(store->db);
    library_result_t result = library_store_feed_inside(db, after, limit, show, context);
    bc_db_leave(db);
    return result;
}

/* --- search --- */

typedef struct {
    library_store_t *store;
    int64_t last;
    bool failed;
} filling_t;

static bool fill_one(void *context, const library_row_t *row) {
    filling_t *filling = context;
    library_book_t book;
    json_t *plain = library_json_plain_row(row);
    filling->last = row->id;
    filling->failed = plain == NULL;
    if (filling->failed) return false;
    if (library_json_read(plain, &book).field == NULL) {
        library_search_put(filling->store->search, &book);
    } else {
        bc_log(BC_LOG_ERROR, "book-not-searchable", bc_f_int("book", row->id)); /* an older program's row */
    }
    json_decref(plain);
    return true;
}

/* Batch by batch, so that no transaction is long; what was put before a kill is put again, which writes nothing. */
static bool fill_search(library_store_t *store) {
    filling_t filling = {.store = store};
    size_t filled = 0, count = 0;
    if (library_search_is_whole(store->search)) return true;
    do {
        if (bc_db_begin(store->db) != BC_DB_OK) return false;
        bc_statement_t *statement = bc_db_prepare(store->db, LIBRARY_SQL_LIVE);
        bc_bind_int(statement, 1, filling.last);
        bc_bind_int(statement, 2, library_batch_max);
        library_search_begin(store->search);
        bool good = show_rows(statement, fill_one, &filling, &count) == LIBRARY_OK && !filling.failed;
        library_search_end(store->search, good);
        good = good && bc_db_is_sound(store->db) &&
               (count == library_batch_max || library_search_set_whole(store->search));
        if (!good) {
            bc_db_rollback(store->db);
            return false;
        }
        if (bc_db_commit(store->db) != BC_DB_OK) return false;
        filled += count;
    } while (count == library_batch_max);
    if (filled > 0) bc_log(BC_LOG_INFO, "search-filled", bc_f_int("books", (int64_t)filled));
    return true;
}

/* --- writes --- */

/* NULL without memory. With `folded`, keys instead of the names as written. */
static char *names_json(const char *const *names, size_t count, bool folded) {
    json_t *array = json_array();
    for (size_t i = 0; i < count && array != NULL; i++) {
        char key[LIBRARY_FOLD_BYTES_MAX];
        if (folded) library_fold(names[i], key, sizeof(key));
        if (json_array_append_new(array, json_string(folded ? key : names[i])) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    char *text = array == NULL ? NULL : json_dumps(array, JSON_COMPACT);
    json_decref(array);
    return text;
}

/* Each part with its length before it, so that no two books have one digest by moving text between fields. */
static void digest_part(crypto_generichash_state *state, const void *bytes, size_t length) {
    uint64_t size = length;
    (void)crypto_generichash_update(state, (const unsigned char *)&size, sizeof(size)); /* always 0 */
    (void)crypto_generichash_update(state, bytes, length);
}

static void digest_text(crypto_generichash_state *state, const char *text) {
    digest_part(state, text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
}

/* Of everything the source says, stock excepted: that is taken once and then lives on its own. */
static void digest_book(const library_book_t *book, uint8_t digest[digest_bytes]) {
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, digest_bytes); /* always 0 for this length */
    digest_text(&state, book->title);
    for (size_t i = 0; i < book->author_count; i++) digest_text(&state, book->authors[i]);
    digest_text(&state, "|");
    for (size_t i = 0; i < book->genre_count; i++) digest_text(&state, book->genres[i]);
    digest_text(&state, "|");
    digest_text(&state, book->description);
    digest_text(&state, book->language);
    digest_text(&state, book->isbn);
    digest_text(&state, book->cover_url);
    int64_t numbers[] = {book->has_year,   book->year,   book->has_price,    book->price_minor,
                         book->has_rating, book->rating, book->ratings_count};
    digest_part(&state, numbers, sizeof(numbers));
    (void)crypto_generichash_final(&state, digest, digest_bytes);
}

/* Parameters 2…14 of LIBRARY_SQL_UPSERT and LIBRARY_SQL_UPDATE. */
static bool bind_book(bc_statement_t *statement, const library_book_t *book, int64_t price_minor, int64_t stock) {
    char *authors = names_json(book->authors, book->author_count, false);
    char *genres = names_json(book->genres, book->genre_count, false);
    char title_key[library_title_key_bytes + 1];
    library_fold(book->title, title_key, sizeof(title_key));
    bc_bind_int(statement, 1, book->id);
    bc_bind_text(statement, 2, book->title);
    bc_bind_text(statement, 3, title_key);
    bc_bind_text(statement, 4, authors);
    bc_bind_text(statement, 5, genres);
    bc_bind_text(statement, 6, book->language);
    bc_bind_text(statement, 7, book->isbn);
    bc_bind_text(statement, 8, book->description);
    bc_bind_text(statement, 9, book->cover_url);
    bc_bind_int(statement, 10, book->has_year ? book->year : LIBRARY_YEAR_UNKNOWN);
    bc_bind_int(statement, 11, price_minor);
    bc_bind_int(statement, 12, stock);
    bc_bind_int(statement, 13, book->has_rating ? book->rating : -1);
    bc_bind_int(statement, 14, book->has_rating ? book->ratings_count : 0);
    bool good = authors != NULL && genres != NULL;
    free(authors);
    free(genres);
    return good;
}

static bool run_for(library_store_t *store, const char *sql, int64_t id, const char *keys) {
    bc_statement_t *statement = bc_db_prepare(store->db, sql);
    bc_bind_int(statement, 1, id);
    if (keys != NULL) bc_bind_text(statement, 2, keys);
    return bc_run(statement) == BC_DB_DONE;
}

/* The lists by which authors and genres are found. */
static bool write_lists(library_store_t *store, const library_book_t *book, bool new_book) {
    bool good = new_book || (run_for(store, LIBRARY_SQL_AUTHORS_DROP, book->id, NULL) &&
                             run_for(store, LIBRARY_SQL_GENRES_DROP, book->id, NULL));
    char *authors = names_json(book->authors, book->author_count, true);
    char *genres = names_json(book->genres, book->genre_count, true);
    good = good && authors != NULL && genres != NULL && run_for(store, LIBRARY_SQL_AUTHORS_PUT, book->id, authors) &&
           run_for(store, LIBRARY_SQL_GENRES_PUT, book->id, genres);
    free(authors);
    free(genres);
    return good && bc_db_is_sound(store->db);
}

/* Copies a new book begins with. */
static int64_t first_stock(const library_book_t *book, library_stock_rule_t rule) {
    if (rule == LIBRARY_STOCK_IGNORE) return 0;
    return book->has_stock ? book->stock : library_rule_stock(book->id);
}

typedef struct {
    int64_t now_ms;
    library_stock_rule_t rule;
    bool dry;
} importing_t;

static bool import_one(library_store_t *store, const library_book_t *book, const importing_t *how,
                       library_imported_t *result) {
    uint8_t digest[digest_bytes];
    digest_book(book, digest);
    /* What is reported; what is written is decided by the guarded statement below. */
    bc_statement_t *known = bc_db_prepare(store->db, LIBRARY_SQL_KNOWN);
    bc_bind_int(known, 1, book->id);
    bc_bind_bytes(known, 2, digest, sizeof(digest));
    bc_db_result_t found = bc_step(known);
    bool gone = found == BC_DB_ROW && bc_column_int(known, 0) != 0;
    bool same = found == BC_DB_ROW && bc_column_int(known, 1) != 0;
    bc_statement_done(known);
    if (found != BC_DB_ROW && found != BC_DB_DONE) return false;
    bool new_book = found == BC_DB_DONE;
    if (same || gone) {
        *result = same ? LIBRARY_IMPORT_UNCHANGED : LIBRARY_IMPORT_GONE;
        return true;
    }
    *result = new_book ? LIBRARY_IMPORT_NEW : LIBRARY_IMPORT_CHANGED;
    if (how->dry) return true;
    int64_t stock = first_stock(book, how->rule);
    bc_statement_t *upsert = bc_db_prepare(store->db, LIBRARY_SQL_UPSERT);
    bool good =
        bind_book(upsert, book, book->has_price ? book->price_minor : library_rule_price_minor(book->id), stock);
    bc_bind_bytes(upsert, 15, digest, sizeof(digest));
    bc_bind_int(upsert, 16, how->now_ms);
    bc_bind_int(upsert, 17, book->has_price ? 1 : 0);
    if (bc_run(upsert) != BC_DB_DONE || !good || !write_lists(store, book, new_book)) return false;
    if (new_book) {
        library_event_created(store->db, book->id, stock);
    } else {
        library_event_changed(store->db, book->id);
    }
    return bc_db_is_sound(store->db);
}

library_result_t library_store_import_inside(library_store_t *store, const library_book_t *books, size_t count,
                                             int64_t now_ms, library_stock_rule_t rule, bool dry,
                                             library_imported_t *results) {
    assert(count > 0 && count <= library_batch_max);
    const importing_t how = {.now_ms = now_ms, .rule = rule, .dry = dry};
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        assert(library_book_check(&books[i]).field == NULL);
        good = import_one(store, &books[i], &how, &results[i]);
    }
    /* All texts at once: a statement of many rows between two of them would make FTS5 write out what it has gathered. */
    library_search_begin(store->search);
    for (size_t i = 0; i < count && good && !dry; i++) {
        if (results[i] == LIBRARY_IMPORT_NEW || results[i] == LIBRARY_IMPORT_CHANGED)
            library_search_put(store->search, &books[i]);
    }
    library_search_end(store->search, good);
    return good && bc_db_is_sound(store->db) ? LIBRARY_OK : LIBRARY_FAILED;
}

library_result_t library_store_import(library_store_t *store, const library_book_t *books, size_t count, int64_t now_ms,
                                      library_imported_t *results) {
    library_imported_t done[library_batch_max];
    if (bc_db_begin(store->db) != BC_DB_OK) return LIBRARY_FAILED;
    if (library_store_import_inside(store, books, count, now_ms, LIBRARY_STOCK_NEW, false, done) != LIBRARY_OK) {
        bc_db_rollback(store->db);
        return LIBRARY_FAILED;
    }
    if (bc_db_commit(store->db) != BC_DB_OK) return LIBRARY_FAILED;
    memcpy(results, done, count * sizeof(*results));
    return LIBRARY_OK;
}

static bool choose_id(library_store_t *store, int64_t *id) {
    bc_statement_t *next = bc_db_prepare(store->db, LIBRARY_SQL_NEXT_OWN_ID);
    bc_bind_int(next, 1, LIBRARY_OWN_ID_FIRST);
    bc_bind_int(next, 2, LIBRARY_OWN_ID_LAST);
    bool found = bc_step(next) == BC_DB_ROW;
    if (found) *id = bc_column_int(next, 0);
    bc_statement_done(next);
    return found;
}

library_result_t library_store_create_inside(library_store_t *store, const library_book_t *book, int64_t now_ms,
                                             int64_t *id) {
    library_book_t made = *book;
    if (made.id == 0 && !choose_id(store, &made.id)) return LIBRARY_FAILED;
    if (book->id == 0 && made.id > LIBRARY_OWN_ID_LAST) return LIBRARY_TAKEN;
    assert(made.has_price && made.has_stock);
    assert(library_book_check(&made).field == NULL);
    bc_statement_t *create = bc_db_prepare(store->db, LIBRARY_SQL_CREATE);
    bool good = bind_book(create, &made, made.price_minor, made.stock);
    bc_bind_int(create, 15, now_ms);
    bc_db_result_t result = bc_run(create);
    if (result == BC_DB_CONSTRAINT) return LIBRARY_TAKEN;
    if (result != BC_DB_DONE || !good || !write_lists(store, &made, true)) return LIBRARY_FAILED;
    library_search_put(store->search, &made);
    library_event_created(store->db, made.id, made.stock);
    *id = made.id;
    return bc_db_is_sound(store->db) ? LIBRARY_OK : LIBRARY_FAILED;
}

/* --- hiding: a fixed number of statements, however many books --- */

/* What each of `ids` is, as it will be told; *next: the first position that is free. */
static bool read_states(library_store_t *store, const int64_t *ids, size_t count, library_hidden_t *hidden,
                        int64_t *next) {
    library_text_t list = {0};
    for (size_t i = 0; i < count; i++) {
        hidden[i] = LIBRARY_HIDDEN_NEVER;
        library_text_print(&list, "%s%lld", i == 0 ? "[" : ",", (long long)ids[i]);
    }
    library_text_put(&list, "]");
    if (list.failed) bc_db_fail(store->db, "no memory for the books to hide");
    bc_statement_t *states = bc_db_prepare(store->db, LIBRARY_SQL_STATES);
    bc_bind_text(states, 1, list.failed ? "[]" : list.bytes);
    while (bc_step(states) == BC_DB_ROW) {
        bool live = bc_column_int(states, 1) == 0;
        for (size_t i = 0; i < count; i++) {
            if (ids[i] == bc_column_int(states, 0)) hidden[i] = live ? LIBRARY_HIDDEN : LIBRARY_HIDDEN_BEFORE;
        }
        *next = bc_column_int(states, 2);
    }
    bc_statement_done(states);
    library_text_free(&list);
    return bc_db_is_sound(store->db);
}

/* `ids` are live: the transaction has just read it. */
static bool write_hidden(library_store_t *store, const int64_t *ids, size_t count, int64_t next, int64_t now_ms) {
    library_text_t list = {0}, placed = {0};
    for (size_t i = 0; i < count; i++) {
        library_text_print(&list, "%s%lld", i == 0 ? "[" : ",", (long long)ids[i]);
        library_text_print(&placed, "%s{\"book\":%lld,\"position\":%lld}", i == 0 ? "[" : ",", (long long)ids[i],
                           (long long)next + (long long)i);
    }
    library_text_put(&list, "]");
    library_text_put(&placed, "]");
    bool good = !list.failed && !placed.failed;
    if (good) {
        bc_statement_t *hide = bc_db_prepare(store->db, LIBRARY_SQL_HIDE);
        bc_bind_text(hide, 1, placed.bytes);
        bc_bind_int(hide, 2, now_ms);
        good = bc_run(hide) == BC_DB_DONE && bc_db_changes(store->db) == (int64_t)count;
    }
    if (good) {
        library_search_drop(store->search, list.bytes);
        library_events_hidden(store->db, ids, count);
    }
    library_text_free(&list);
    library_text_free(&placed);
    return good && bc_db_is_sound(store->db);
}

library_result_t library_store_hide_all_inside(library_store_t *store, const int64_t *ids, size_t count, int64_t now_ms,
                                               library_hidden_t *hidden) {
    int64_t live[library_ids_max], next = 0;
    size_t live_count = 0;
    assert(count > 0 && count <= library_ids_max);
    if (!read_states(store, ids, count, hidden, &next)) return LIBRARY_FAILED;
    for (size_t i = 0; i < count; i++) {
        if (hidden[i] == LIBRARY_HIDDEN) live[live_count++] = ids[i];
    }
    return live_count == 0 || write_hidden(store, live, live_count, next, now_ms) ? LIBRARY_OK : LIBRARY_FAILED;
}

library_result_t library_store_hide_inside(library_store_t *store, int64_t id, int64_t now_ms,
                                           library_hidden_t *hidden) {
    return library_store_hide_all_inside(store, &id, 1, now_ms, hidden);
}

/* --- other changes --- */

library_result_t library_store_stock_inside(library_store_t *store, int64_t id, int64_t copies, int64_t revision) {
    assert(copies >= 0 && revision > 0);
    bc_statement_t *update = bc_db_prepare(store->db, LIBRARY_SQL_STOCK);
    bc_bind_int(update, 1, id);
    bc_bind_int(update, 2, copies);
    bc_bind_int(update, 3, revision);
    return bc_run(update) == BC_DB_DONE ? LIBRARY_OK : LIBRARY_FAILED;
}

library_result_t library_store_picture_inside(library_store_t *store, int64_t id, library_picture_t which,
                                              const char *url, int64_t now_ms, bool *changed) {
    bc_statement_t *refer = bc_db_prepare(store->db, which == LIBRARY_COVER ? LIBRARY_SQL_COVER : LIBRARY_SQL_BANNER);
    assert(bc_images_is_address(url, LIBRARY_PICTURES));
    bc_bind_int(refer, 1, id);
    bc_bind_text(refer, 2, url);
    bc_bind_int(refer, 3, now_ms);
    if (bc_run(refer) != BC_DB_DONE) return LIBRARY_FAILED;
    *changed = bc_db_changes(store->db) == 1;
    if (*changed) library_event_changed(store->db, id);
    return bc_db_is_sound(store->db) ? LIBRARY_OK : LIBRARY_FAILED;
}

library_result_t library_store_uses_picture(library_store_t *store, const char *url, bool *used) {
    bc_db_enter(store->db);
    bc_statement_t *find = bc_db_prepare(store->db, LIBRARY_SQL_PICTURE_USED);
    bc_bind_text(find, 1, url);
    bc_db_result_t found = bc_step(find);
    bc_statement_done(find);
    bc_db_leave(store->db);
    if (found != BC_DB_ROW && found != BC_DB_DONE) return LIBRARY_FAILED;
    *used = found == BC_DB_ROW;
    return LIBRARY_OK;
}

typedef struct {
    library_decide_fn decide;
    void *context;
    library_change_t change;
    library_book_t book;
    uint64_t position;
} deciding_t;

static bool decide_row(void *context, const library_row_t *row) {
    deciding_t *deciding = context;
    deciding->position = row->position;
    deciding->change = deciding->decide(deciding->context, row, &deciding->book);
    return true;
}

static bool save_change(library_store_t *store, const deciding_t *deciding, int64_t id, int64_t now_ms) {
    const library_book_t *book = &deciding->book;
    if (deciding->change == LIBRARY_CHANGE_HIDE) {
        /* The transaction has read the row, so the row is as it was read. */
        library_hidden_t hidden = LIBRARY_HIDDEN_NEVER;
        return library_store_hide_inside(store, id, now_ms, &hidden) == LIBRARY_OK && hidden == LIBRARY_HIDDEN;
    }
    assert(book->id == id && book->has_price && book->has_stock);
    assert(library_book_check(book).field == NULL);
    bc_statement_t *update = bc_db_prepare(store->db, LIBRARY_SQL_UPDATE);
    bool good = bind_book(update, book, book->price_minor, book->stock);
    bc_bind_int(update, 15, now_ms);
    bc_bind_int(update, 16, (int64_t)deciding->position);
    if (bc_run(update) != BC_DB_DONE || !good || bc_db_changes(store->db) != 1 || !write_lists(store, book, false)) {
        return false;
    }
    library_search_put(store->search, book);
    library_event_changed(store->db, id);
    return bc_db_is_sound(store->db);
}

library_result_t library_store_change(library_store_t *store, int64_t id, int64_t now_ms, library_decide_fn decide,
                                      library_row_fn show, void *context) {
    deciding_t deciding = {.decide = decide, .context = context, .change = LIBRARY_CHANGE_REFUSE};
    if (bc_db_begin(store->db) != BC_DB_OK) return LIBRARY_FAILED;
    library_result_t result = library_store_get_inside(store, id, decide_row, &deciding);
    if (result == LIBRARY_OK && deciding.change != LIBRARY_CHANGE_REFUSE) {
        bool written = deciding.change == LIBRARY_CHANGE_NONE || save_change(store, &deciding, id, now_ms);
        result = written ? library_store_get_inside(store, id, show, context) : LIBRARY_FAILED;
    }
    if (result != LIBRARY_OK) {
        bc_db_rollback(store->db);
        return result;
    }
    return bc_db_commit(store->db) == BC_DB_OK ? LIBRARY_OK : LIBRARY_FAILED;
}
