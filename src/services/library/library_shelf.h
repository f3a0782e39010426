/*
 * The shelf: of every book that is sold, the few numbers that lists are filtered, counted and ranked by, in memory. One pass over it gives
 * a list's total and all its facets, whatever the filters are; the rows that are shown come from the database.
 *
 * Who: handlers, any thread; one at a time between enter and leave. A handler is inside a reader of the database first (so that nobody
 * waits for one while others wait for the shelf), and reads the rows that it shows from the same picture.
 *
 * Invariants
 * 1. A copy and nothing else: it follows `books.position` (every change of a row gives it the next), so each enter reads what changed
 *    since the last, by one statement. A process that starts anew starts from nothing.
 * 2. Never ahead of the database, and behind it by at most what one enter may read (library_shelf_step_max rows); the rest follows at the
 *    next. It only goes forward: from an older picture than another handler's it reads nothing, for there every position is passed.
 * 3. Names (authors, genres) are numbered when first seen and keep their number; they are shown as first written, matched as folded.
 *
 * Costs: about 120 bytes a book and a name's length once; a pass over 10,000 books takes about 0.1 ms.
 */
#ifndef LIBRARY_SHELF_H
#define LIBRARY_SHELF_H

#include "services/library/library_search.h"
#include "services/library/library_store.h"

#include <jansson.h>

enum {
    library_shelf_step_max = 20000, /* rows read by one enter */
    library_facet_names_max = 20,   /* authors, genres, languages named in a facet: the most frequent */
    library_facet_years_max = 60,   /* ranges of years: the latest */
};

typedef struct {
    int64_t id;
    int64_t price_minor;
    int64_t stock;
    int64_t ratings_count;
    int64_t year_key;
    uint16_t year_range; /* where it is counted (library_facets.c); so the next two */
    uint8_t price_step, availability;
    uint32_t language; /* number of a name; 0: not known */
    uint32_t author_count, genre_count;
    uint32_t *names; /* owned: numbers of authors, then of genres; NULL: none */
} library_volume_t;

typedef struct library_shelf library_shelf_t;

/* Reads everything. NULL after a log line. */
library_shelf_t *library_shelf_create(library_store_t *store, int price_digits);
void library_shelf_destroy(library_shelf_t *shelf); /* NULL is fine */

/* Inside `db`, a reader. 1 statement. false: not entered; the database or memory, which was logged. */
bool library_shelf_enter(library_shelf_t *shelf, bc_db_t *db);
void library_shelf_leave(library_shelf_t *shelf);

/* --- between enter and leave --- */

/* NULL: no book that is sold has this id. Borrowed until leave. */
const library_volume_t *library_shelf_find(const library_shelf_t *shelf, int64_t id);

typedef struct {
    int64_t id;
    int64_t ratings_count;
    int32_t score;
} library_pick_t;

typedef struct {
    library_pick_t *list; /* owned; the books that fit, in no order; only of a search */
    size_t count;
    json_t *facets; /* owned */
    uint64_t total;
} library_picks_t;

/* Counts the books that fit the query's filters: of all (`found` NULL), or of those found. false: no memory. The caller frees *picks in
 * both cases. */
bool library_shelf_pick(library_shelf_t *shelf, const library_query_t *query, const library_found_t *found,
                        library_picks_t *picks);
void library_picks_free(library_picks_t *picks);

/* --- for library_facets.c --- */
size_t library_shelf_size(const library_shelf_t *shelf);
const library_volume_t *library_shelf_at(const library_shelf_t *shelf, size_t index);
int library_shelf_price_digits(const library_shelf_t *shelf);
/* Of a volume whose numbers have been read: in which ranges it is counted. */
void library_facets_place(library_volume_t *volume, int price_digits);

typedef enum { LIBRARY_AUTHORS, LIBRARY_GENRES, LIBRARY_LANGUAGES, LIBRARY_NAMES_COUNT } library_names_t;
/* How many numbers are given (0 is given to nobody). */
uint32_t library_shelf_names(const library_shelf_t *shelf, library_names_t kind);
const char *library_shelf_name(const library_shelf_t *shelf, library_names_t kind, uint32_t number);
/* 0: no book has that name. `key` is folded. */
uint32_t library_shelf_number(const library_shelf_t *shelf, library_names_t kind, const char *key);

#endif
