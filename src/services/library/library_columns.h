/*
 * The two tables the library imports, told apart by their header, and how a row of each becomes a book.
 *
 * | ours          |          | goodbooks-10k             | how it is read                                              |
 * |---------------|----------|---------------------------|-------------------------------------------------------------|
 * | id            | required | book_id                   | a number below 2^53                                         |
 * | title         | required | title                     | blanks squeezed                                             |
 * | authors       |          | authors                   | separated by `;` (ours) or `,` (theirs); a repeat is dropped |
 * | year          |          | original_publication_year | negative before the common era; theirs may end in `.0`      |
 * | language      |          | language_code             | see library_language_read; theirs: an unknown code is none  |
 * | isbn          |          | isbn                      | theirs lost leading zeros; one with a wrong digit is none   |
 * | genres        |          | –                         | separated by `;`                                            |
 * | description   |          | –                         |                                                             |
 * | price         |          | –                         | major units, `.`; none: library_rule_price_minor            |
 * | stock         |          | –                         | copies; only for a new book; none: library_rule_stock       |
 * | cover_url     |          | image_url                 | theirs: the "no photo" picture is none                      |
 * | –             |          | average_rating            | 0…5, at most two fraction digits                            |
 * | –             |          | ratings_count             |                                                             |
 *
 * Columns may stand in any order. In our table an unknown or repeated column refuses the file: a misspelt one would be
 * lost silently. Theirs has columns we do not use.
 */
#ifndef LIBRARY_COLUMNS_H
#define LIBRARY_COLUMNS_H

#include "services/library/library_book.h"
#include "services/library/library_csv.h"

typedef enum {
    LIBRARY_COLUMN_ID,
    LIBRARY_COLUMN_TITLE,
    LIBRARY_COLUMN_AUTHORS,
    LIBRARY_COLUMN_YEAR,
    LIBRARY_COLUMN_LANGUAGE,
    LIBRARY_COLUMN_ISBN,
    LIBRARY_COLUMN_GENRES,
    LIBRARY_COLUMN_DESCRIPTION,
    LIBRARY_COLUMN_PRICE,
    LIBRARY_COLUMN_STOCK,
    LIBRARY_COLUMN_COVER_URL,
    LIBRARY_COLUMN_RATING,
    LIBRARY_COLUMN_RATINGS_COUNT,
    LIBRARY_COLUMN_COUNT
} library_column_t;

enum { library_reason_bytes = 256 };

typedef struct {
    bool goodbooks;
    size_t width;                    /* columns in the header; every row has as many */
    int place[LIBRARY_COLUMN_COUNT]; /* −1: not in this file */
    int price_digits;                /* of the shop's currency */
} library_columns_t;

/* Reads a header row. false: neither table; `reason` says why, *columns unchanged. */
bool library_columns_read(const library_csv_row_t *header, int price_digits, library_columns_t *columns,
                          char reason[library_reason_bytes]);

/* Reads a row (and writes into its fields). *book borrows from the row and from `isbn`. false: `reason` names the column and
 * what is wrong with it. */
bool library_columns_book(const library_columns_t *columns, library_csv_row_t *row, library_book_t *book,
                          char isbn[library_isbn_chars + 1], char reason[library_reason_bytes]);

#endif
