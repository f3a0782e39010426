/*
 * The library's tables (DATA/library.db) and every statement on them.
 *
 * Invariants
 * 1. A book's row is never deleted and its id never used for another book: `gone` hides it.
 * 2. Every change of a row gives it the next position (greatest + 1) in the same transaction; so `position` orders books
 *    by their last change, and the feed is one index scan.
 * 3. An import writes a book only when the row it read differs from the row imported last (`imported`, a digest): a
 *    repeat changes nothing, whatever an admin did in between. It never writes the stock of a book that is there.
 * 4. Search learns of a book in the transaction that writes it.
 * 5. Queries per call are fixed: get 1, list 1, feed 1, change 13 at most, create 12 at most (5 of them search).
 * 6. Every change of a book publishes its event in the same transaction (library_events.h). `stock` is a copy of what the
 *    payment service's ledger says is free, by revision; only it changes the stock of a book that is there.
 *
 * Any thread may call; one connection serves all (see platform/bc_db.h).
 */
#ifndef LIBRARY_STORE_H
#define LIBRARY_STORE_H

#include "platform/bc_db.h"
#include "services/library/library_book.h"
#include "services/library/library_search.h"

/* Books made without an id get theirs here, clear of catalogues that number their own. */
#define LIBRARY_OWN_ID_FIRST INT64_C(1000000000)
#define LIBRARY_OWN_ID_LAST  INT64_C(1999999999)

enum {
    library_generation_chars = 16,
    library_cursor_key_bytes = 32,
    library_title_key_bytes = 96, /* titles are sorted by so many bytes of their key, then by id */
    library_ids_max = 100,
    library_batch_max = 500, /* books imported in one transaction */
};

typedef struct library_store library_store_t;

typedef enum {
    LIBRARY_OK = 0,
    LIBRARY_ABSENT, /* no such book was ever there */
    LIBRARY_FAILED, /* the database; it has been logged */
    LIBRARY_TAKEN,  /* the id is another book's */
} library_result_t;

/* A row as stored. Texts are borrowed until the callback returns; NULL: not known. */
typedef struct {
    int64_t id;
    bool gone;
    const char *title;
    const char *title_key;
    const char *authors; /* a JSON array of strings */
    const char *genres;  /* a JSON array of strings */
    const char *language;
    const char *isbn;
    const char *description;
    const char *cover_url;
    const char *banner_url;
    bool has_year;
    int year;
    int64_t year_key; /* year, or below every year */
    int64_t price_minor;
    int64_t stock;
    int rating; /* hundredths; −1: none */
    int64_t ratings_count;
    uint64_t position;
    int64_t updated_ms;
    uint64_t content_position; /* of the last change that was not one of stock */
} library_row_t;

/* false stops the reading. Runs while the database is entered: no call back into the store. */
typedef bool (*library_row_fn)(void *context, const library_row_t *row);

extern const bc_migration_t library_migrations[];

/* The books of a file that was opened with library_migrations: draws generation and cursor key for a new one, and fills a search engine
 * (BOOKCART_SEARCH) that does not hold all books. NULL after a log line. `db` is borrowed until the store is closed. */
library_store_t *library_store_open(bc_db_t *db, const char *search);
void library_store_close(library_store_t *store); /* NULL is fine */
bool library_store_is_open(library_store_t *store);
/* Inside a transaction, no store open on the file: it was restored. The catalogue's generation is drawn anew when it is opened next.
 * Errors stick. */
void library_store_renew(bc_db_t *db);
/* For the outbox and its transactions; borrowed. */
bc_db_t *library_store_db(library_store_t *store);

/* Names this store: another value means that positions seen before mean nothing. Borrowed for the store's life. */
const char *library_store_generation(const library_store_t *store);
/* library_cursor_key_bytes. Borrowed for the store's life. */
const uint8_t *library_store_cursor_key(const library_store_t *store);

/* Borrowed for the store's life. */
library_search_t *library_store_search(library_store_t *store);

/* These and the feed read beside whatever is being written. */
library_result_t library_store_get(library_store_t *store, int64_t id, library_row_fn show, void *context);
/* Those of `ids` (a JSON array of numbers) that ever were, gone ones too. */
library_result_t library_store_some(library_store_t *store, const char *ids, library_row_fn show, void *context);

/* Whether a book, gone ones included, refers to this picture. Waits for a change that is being written, which may be the one that refers to it. */
library_result_t library_store_uses_picture(library_store_t *store, const char *url, bool *used);

/* Whether there is any book, gone ones included. */
library_result_t library_store_is_empty(library_store_t *store, bool *empty);

typedef enum {
    LIBRARY_SORT_TITLE,
    LIBRARY_SORT_PRICE,
    LIBRARY_SORT_PRICE_FALLING,
    LIBRARY_SORT_NEWEST, /* by year; unknown years last */
    LIBRARY_SORT_RATING, /* best first, more ratings first; unrated last */
    LIBRARY_SORT_COUNT,
    LIBRARY_SORT_RELEVANCE /* of a search: ranked by the shelf, not by the database */
} library_sort_t;

/* Where a page begins: behind the row with these keys. */
typedef struct {
    char title_key[library_title_key_bytes + 1]; /* title only */
    int64_t first;                               /* price, year or rating */
    int64_t second;                              /* number of ratings */
    int64_t id;
} library_place_t;

typedef struct {
    library_sort_t sort;
    const library_place_t *behind; /* NULL: from the first */
    int limit;
    const char *language;   /* NULL: any; the same below */
    const char *author_key; /* folded */
    const char *genre_key;  /* folded */
    const char *ids;        /* a JSON array of numbers */
    const int64_t *id_list; /* the same, rising; for the shelf */
    size_t id_count;
    bool has_year_from, has_year_to, has_price_max, has_available;
    int year_from, year_to;
    int64_t price_max;
    bool available;
} library_query_t;

/* Live books only. Between bc_db_enter_read and its end. */
library_result_t library_store_list_inside(bc_db_t *db, const library_query_t *query, library_row_fn show,
                                           void *context);
/* The place of a row in an order: what a cursor holds. */
void library_place_of(library_sort_t sort, const library_row_t *row, library_place_t *place);

/* Rows with positions over `after`, in their order; gone ones too. */
library_result_t library_store_feed(library_store_t *store, uint64_t after, int limit, library_row_fn show,
                                    void *context);
library_result_t library_store_feed_inside(bc_db_t *db, uint64_t after, int limit, library_row_fn show, void *context);

typedef enum {
    LIBRARY_IMPORT_NEW,
    LIBRARY_IMPORT_CHANGED,
    LIBRARY_IMPORT_UNCHANGED,
    LIBRARY_IMPORT_GONE, /* hidden by an admin: an import does not bring it back */
} library_imported_t;

/* What an import does with the copies that a row names. Either way it is said once, when the book is new (decision 0021). */
typedef enum {
    LIBRARY_STOCK_NEW,    /* a new book begins with them; where none are named, with those of the rule */
    LIBRARY_STOCK_IGNORE, /* a new book begins with none */
} library_stock_rule_t;

/* All of `books` (1…library_batch_max, checked, distinct ids) in one transaction, by LIBRARY_STOCK_NEW. *results has one entry each;
 * unchanged on failure, of which nothing is stored. */
library_result_t library_store_import(library_store_t *store, const library_book_t *books, size_t count, int64_t now_ms,
                                      library_imported_t *results);

/* --- for callers that put more into the transaction: between bc_db_begin(library_store_db(store)) and its end --- */

/* As library_store_import. `dry`: says what would become of them and writes nothing. */
library_result_t library_store_import_inside(library_store_t *store, const library_book_t *books, size_t count,
                                             int64_t now_ms, library_stock_rule_t rule, bool dry,
                                             library_imported_t *results);

library_result_t library_store_get_inside(library_store_t *store, int64_t id, library_row_fn show, void *context);

/* A new book. `book->id` 0: one is chosen, from LIBRARY_OWN_ID_FIRST on. LIBRARY_TAKEN: there is a book of that id, or no id is left to
 * choose. */
library_result_t library_store_create_inside(library_store_t *store, const library_book_t *book, int64_t now_ms,
                                             int64_t *id);

typedef enum { LIBRARY_HIDDEN, LIBRARY_HIDDEN_BEFORE, LIBRARY_HIDDEN_NEVER } library_hidden_t;
/* Hides books, whatever their positions: those that are live. `ids` each once, at most library_ids_max; `hidden` has a place for each.
 * Statements: 1, and 7 when there is something to hide. */
library_result_t library_store_hide_all_inside(library_store_t *store, const int64_t *ids, size_t count, int64_t now_ms,
                                               library_hidden_t *hidden);
library_result_t library_store_hide_inside(library_store_t *store, int64_t id, int64_t now_ms,
                                           library_hidden_t *hidden);

/* Takes the free copies of a book as its ledger told them; a revision that is not greater than the last one taken changes nothing, nor
 * does a book that never was. */
library_result_t library_store_stock_inside(library_store_t *store, int64_t id, int64_t copies, int64_t revision);

typedef enum { LIBRARY_COVER, LIBRARY_BANNER } library_picture_t;
/* Refers a live book to a picture. The picture that is there already is no change: no new position, no event. A book
 * that is gone stays as it is. One statement, and the event's. */
library_result_t library_store_picture_inside(library_store_t *store, int64_t id, library_picture_t which,
                                              const char *url, int64_t now_ms, bool *changed);

typedef enum {
    LIBRARY_CHANGE_REFUSE, /* nothing; the decider keeps the reason */
    LIBRARY_CHANGE_NONE,   /* nothing is different: no new position, but the row is shown */
    LIBRARY_CHANGE_SAVE,   /* *book, with price and stock set */
    LIBRARY_CHANGE_HIDE,
} library_change_t;

/* Looks at the row and decides. *book borrows from the decider, not from the row. */
typedef library_change_t (*library_decide_fn)(void *context, const library_row_t *row, library_book_t *book);

/* One transaction: read, decide, write, show the row as it is then (not after a refusal). `show` may run although the commit fails:
 * only LIBRARY_OK makes what it saw true. */
library_result_t library_store_change(library_store_t *store, int64_t id, int64_t now_ms, library_decide_fn decide,
                                      library_row_fn show, void *context);

#endif
