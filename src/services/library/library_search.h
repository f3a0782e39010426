/*
 * Finding books by words: a small interface in front of a search engine. BOOKCART_SEARCH chooses which (`fts5:` inside the library's own
 * database; an engine elsewhere fits the same table of functions). Nobody but library_search_*.c knows an engine.
 *
 * What every engine keeps to
 * 1. A query is text, never an operator: it is read by library_words, and only words reach an engine.
 * 2. title > author > description; a word matches as written, as a beginning, or, when no book has it, corrected (1 edit up to five
 *    letters, 2 beyond).
 * 3. All words must match; when no book has them all, some may (`some` says so).
 * 4. It answers ids and scores of books it knows. Whether a book is sold, costs what, fits the filters, is said by the database: a hidden
 *    book is never found whatever the engine still holds.
 * 5. An engine inside the database writes in the transaction of the change. One elsewhere follows `books` events, and answers
 *    LIBRARY_SEARCH_AWAY when it cannot be asked: then library_search_find asks the database itself (library_search_plain.c), which
 *    forgives no typos and ranks by popularity, but finds.
 *
 * Any thread may call find and suggest. Outside any entry of the database; they enter a reader themselves (an engine elsewhere needs none).
 */
#ifndef LIBRARY_SEARCH_H
#define LIBRARY_SEARCH_H

#include "platform/bc_config.h"
#include "platform/bc_db.h"
#include "services/library/library_book.h"
#include "services/library/library_words.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    library_query_chars_max = 100,
    library_query_words_max = 16, /* of a query; those behind are not looked for */
    library_terms_max = 128,
    library_hits_max = 50000, /* books one query finds; of more, the first by number */
};

typedef struct {
    int64_t book;
    int32_t score; /* greater is better; coarse: equally relevant books have one score */
} library_hit_t;

/* A word that matched: what to mark in a text. */
typedef struct {
    char text[library_word_bytes_max + 1];
    bool beginning; /* also words that begin with it */
} library_term_t;

typedef struct {
    library_hit_t *hits; /* owned, in no order */
    size_t count, room;
    library_term_t terms[library_terms_max];
    size_t term_count;
    bool some;  /* not all words of the query, but some */
    bool plain; /* the database answered for an engine that is away */
} library_found_t;

typedef enum {
    LIBRARY_SEARCH_OK,
    LIBRARY_SEARCH_AWAY,   /* the engine cannot be asked now; it was logged */
    LIBRARY_SEARCH_FAILED, /* memory or the database; it was logged */
} library_search_result_t;

typedef struct library_search library_search_t;

/* What an engine provides. `engine` is its own state. */
typedef struct {
    const char *name;
    /* In the transaction of the change; errors stick in the database. NULL: follows events instead. */
    void (*put)(void *engine, const library_book_t *book);
    void (*drop)(void *engine, const char *books); /* a JSON array of their ids; a fixed number of statements */
    /* Around many puts of one transaction: what they have in common is written once, at the end. NULL: nothing is gained. */
    void (*begin)(void *engine);
    void (*end)(void *engine, bool keep);
    /* Whether it holds all books (false: put is called for each, see library_store_open). */
    bool (*is_whole)(void *engine);
    bool (*set_whole)(void *engine); /* in the transaction of the last put */
    library_search_result_t (*find)(void *engine, const char *text, library_found_t *found);
    library_search_result_t (*suggest)(void *engine, const char *text, library_found_t *found);
    void (*close)(void *engine);
} library_engine_t;

/* The engine that `setting` (BOOKCART_SEARCH) names, over the library's open database (borrowed until close). NULL after a log
 * line. */
library_search_t *library_search_open(const char *setting, bc_db_t *db);
void library_search_close(library_search_t *search); /* NULL is fine */
const char *library_search_name(const library_search_t *search);

/* In the transaction of the change. A book that is there is replaced; nothing is written when no text of it is different. */
void library_search_put(library_search_t *search, const library_book_t *book);
void library_search_drop(library_search_t *search, const char *books /* a JSON array of their ids */);
/* Around many puts and drops of one transaction. `keep` false: it is given up. */
void library_search_begin(library_search_t *search);
void library_search_end(library_search_t *search, bool keep);
bool library_search_is_whole(library_search_t *search);
bool library_search_set_whole(library_search_t *search);

/* Fills *found (zeroed by this call), which the caller frees in every case. OK or FAILED. A fixed number of statements: 4, asked plainly
 * 1. */
library_search_result_t library_search_find(library_search_t *search, const char *text, library_found_t *found);
/* Books of which every word of `text` begins a word of the title or an author; no scores. 1 statement. */
library_search_result_t library_search_suggest(library_search_t *search, const char *text, library_found_t *found);
void library_found_free(library_found_t *found);

/* --- for engines --- */
bool library_found_add(library_found_t *found, int64_t book,
                       int32_t score); /* false without memory, or beyond the most */
void library_found_term(library_found_t *found, const char *text, bool beginning);
/* The words of a query, at most library_query_words_max. */
size_t library_query_words(const char *text, library_word_t words[library_query_words_max]);

/* library_search_fts5.c: NULL after a log line. */
extern const library_engine_t library_engine_fts5;
void *library_fts5_open(bc_db_t *db);
/* library_search_plain.c */
library_search_result_t library_search_plain(bc_db_t *db, const char *text, library_found_t *found);

#endif
