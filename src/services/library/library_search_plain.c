/*
 * Search without an engine: what the database can do by itself, in the dialect that every database shares. For the time in which the
 * engine is away. A scan that is bounded by the number of books: titles (their first 96 bytes) and authors that hold
 * every one of the query's first words, wherever they stand. No scores: popularity ranks.
 */
#include "services/library/library_search.h"

#include <stdio.h>
#include <string.h>

enum { plain_words_max = 4 };

#define HOLDS(n)                                                                                                       \
    "(" n " IS NULL OR b.title_key LIKE " n " OR EXISTS(SELECT 1 FROM book_authors a WHERE a.book = b.id AND "         \
    "a.author_key LIKE " n ")) "

static const char sql_plain[] = "SELECT b.id FROM books b WHERE b.state = 0 AND " HOLDS("?1") "AND " HOLDS(
    "?2") "AND " HOLDS("?3") "AND " HOLDS("?4") "ORDER BY b.id LIMIT ?5";

/* The query's own letters between two places, folded as titles and names are in the database. No % or _ can be among them: neither is
 * a letter nor ties letters together. */
static void pattern_of(const char *text, const library_word_t *word, char *pattern, size_t size) {
    char piece[4 * library_query_chars_max + 1];
    size_t used = 0;
    for (size_t point = 0; *text != '\0' && point < word->to; point++) {
        const char *from = text;
        (void)library_utf8_next(&text); /* only the step counts */
        if (point < word->from || used + (size_t)(text - from) >= sizeof(piece)) continue;
        memcpy(piece + used, from, (size_t)(text - from));
        used += (size_t)(text - from);
    }
    piece[used] = '\0';
    pattern[0] = '%';
    library_fold(piece, pattern + 1, size - 2);
    (void)strcat(pattern, "%"); /* two bytes were left */
}

library_search_result_t library_search_plain(bc_db_t *db, const char *text, library_found_t *found) {
    library_word_t words[library_query_words_max];
    size_t count = library_query_words(text, words);
    if (count == 0) return LIBRARY_SEARCH_OK;
    bc_db_t *reader = bc_db_enter_read(db);
    bc_statement_t *statement = bc_db_prepare(reader, sql_plain);
    for (size_t i = 0; i < count && i < plain_words_max; i++) {
        char pattern[8 * library_query_chars_max + 8];
        pattern_of(text, &words[i], pattern, sizeof(pattern));
        bc_bind_text(statement, (int)i + 1, pattern); /* those not bound are null: any */
        library_found_term(found, words[i].text, true);
    }
    bc_bind_int(statement, plain_words_max + 1, library_hits_max);
    bc_db_result_t result;
    bool good = true;
    while (good && (result = bc_step(statement)) == BC_DB_ROW)
        good = library_found_add(found, bc_column_int(statement, 0), 0);
    bc_statement_done(statement);
    bc_db_leave(reader);
    return good && result == BC_DB_DONE ? LIBRARY_SEARCH_OK : LIBRARY_SEARCH_FAILED;
}
