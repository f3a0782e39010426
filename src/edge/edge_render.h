/*
 * A cart as its caller sees it: JSON and entity tag, from a confirmed image and the book replica.
 *
 * Pure: the same image and the same books give the same bytes and the same tag on every worker and machine. The tag's
 * digest is over everything that is shown. A book that the replica misses makes no line: the result is MISSING with the
 * list of what to ask the service for.
 */
#ifndef EDGE_RENDER_H
#define EDGE_RENDER_H

#include "cart/cart_types.h"
#include "edge/edge_books.h"
#include "edge/edge_etag.h"
#include "edge/edge_out.h"

#define EDGE_CURRENCY_CHARS 3

typedef enum { EDGE_RENDER_OK, EDGE_RENDER_MISSING, EDGE_RENDER_NO_ROOM } edge_render_result_t;

typedef struct {
    const char *currency; /* ISO 4217, three letters, borrowed */
    /* The feed position (low 32 bits) at which this cart was shown last; prices that changed since get their warning.
     * Looked at only if was_shown. */
    bool was_shown;
    uint32_t shown;
} edge_render_options_t;

typedef struct {
    edge_etag_t tag;
    uint64_t position; /* the replica's feed position before the books were read: the cart's new `shown` */
    unsigned once;     /* warnings in it that are shown once */
    unsigned missing_count;
    uint64_t missing[CART_LINES_MAX];
} edge_rendered_t;

/* out NULL: only the tag is wanted. With NO_ROOM the caller tries again with more. */
edge_render_result_t edge_render_cart(edge_out_t *out, const cart_image_t *image, edge_books_t *books,
                                      const edge_render_options_t *options, edge_rendered_t *rendered);

#endif
