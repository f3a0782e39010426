/*
 * What counts as a word: the one rule by which books are indexed, queries are read and what was found is marked in a text. Pure.
 *
 *   text             given out when indexing        when reading a query
 *   Pride, PRIDE     pride                          the same
 *   Émile Ἰλιάς      emile ιλιας                    the same: case and accents do not count in any script
 *   who's            whos, who, s                   whos
 *   J.R.R. Tolkien   jrr, j, r, r, tolkien          jrr, tolkien
 *   C++ C#           c++ c#                         the same: what follows a word without a blank
 *   紅樓夢           紅樓, 樓夢, 夢                 紅樓, 樓夢: scripts without blanks go by pairs
 *
 * Everything else (quotes, brackets, signs of any kind) ends a word and is never seen again: no text of a user can become an
 * operator of any engine.
 */
#ifndef LIBRARY_WORDS_H
#define LIBRARY_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    library_word_bytes_max = 64, /* the rest of a longer one is passed over */
    library_parts_max = 12,      /* words written as one: who's, J.R.R.; more begin anew */
};

typedef struct {
    char text[library_word_bytes_max + 1]; /* folded */
    size_t points;                         /* code points in `text` */
    size_t from, to;                       /* where it stands in the text, in code points: [from, to) */
    bool open;                             /* of a query: ends where the text ends, so its typing may go on */
} library_word_t;

/* A walk through a text. The fields are the walk's own. */
typedef struct {
    const char *at; /* borrowed: valid UTF-8 that outlives the walk */
    size_t point;
    bool query;
    size_t waiting, next;
    library_word_t words[library_parts_max + 1];
} library_words_t;

void library_words_begin(library_words_t *words, const char *text, bool query);
/* The next word. false: there is none; *word unchanged. */
bool library_words_next(library_words_t *words, library_word_t *word);

/* All words of a text as an index line, one blank between; cut at a whole word when `size` is short. */
void library_words_line(const char *text, char *line, size_t size);
/* All words of a query's reading written as one ("prideandprejudice"); cut at a whole word. */
void library_words_whole(const char *text, char *whole, size_t size);

/* Edits (a letter put in, left out, exchanged, or two neighbours swapped) that make one word of the other: 0…most, or most + 1 when
 * there are more. Both at most library_word_bytes_max bytes of valid UTF-8; most is 1 or 2. */
int library_words_distance(const char *one, const char *other, int most);

/* --- from library_fold.c --- */
uint32_t library_utf8_next(const char **at);
/* The folded form of one code point: lower case, no accent. Returns its length. */
size_t library_fold_point(uint32_t c, char out[4]);

#endif
