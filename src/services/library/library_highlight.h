/* Which words of a book's texts were meant by a search. Pure. */
#ifndef LIBRARY_HIGHLIGHT_H
#define LIBRARY_HIGHLIGHT_H

#include "services/library/library_search.h"
#include "services/library/library_store.h"

#include <jansson.h>

enum {
    library_highlight_ranges_max = 32, /* in one text */
    library_snippet_points = 240,      /* of a description, in code points */
    library_snippet_before = 60,       /* of them at most before the first word found */
};

/* [{"field","text","ranges":[[from,to],…]},…]: title and each author as they stand, of a description the part around the first word found.
 * Ranges are whole words, in code points of `text`, from inclusive, to exclusive, rising, apart. Texts without one are left out.
 * NULL without memory. */
json_t *library_highlights(const library_row_t *row, const library_found_t *found);

/* Whether every term of a suggestion is in this text. */
bool library_highlight_has_all(const char *text, const library_found_t *found);

#endif
