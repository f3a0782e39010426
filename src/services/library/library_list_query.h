/* A request for a list, read and judged: what its answer is made from. */
#ifndef LIBRARY_LIST_QUERY_H
#define LIBRARY_LIST_QUERY_H

#include "platform/bc_http.h"
#include "services/library/library_cursor.h"
#include "services/library/library_store.h"

enum { library_list_limit_max = 100, library_list_limit = 24 };

typedef struct {
    library_query_t query;
    const char *q; /* NULL: no search. Borrowed from the request */
    int limit;
    char author_key[LIBRARY_FOLD_BYTES_MAX];
    char genre_key[LIBRARY_FOLD_BYTES_MAX];
    char ids[library_ids_max * 18 + 3]; /* a JSON array */
    int64_t id_list[library_ids_max];
    library_place_t behind;                    /* where the cursor points */
    uint8_t digest[library_list_digest_bytes]; /* which list this is: its order and filters */
} library_list_t;

/* false: a problem was set. *list is filled, and points into itself: it may not be moved. */
bool library_list_read(const bc_request_t *request, bc_reply_t *reply, const uint8_t *cursor_key, library_list_t *list);

/* The `q` of a search or suggestion: 1…library_query_chars_max characters. false: a problem was set. */
bool library_list_read_text(bc_reply_t *reply, const char *text);

#endif
