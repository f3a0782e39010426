/*
 * Entity tags of carts, and the lists of tags that If-Match and If-None-Match carry (RFC 9110, section 8.8.3 and 13.1).
 *
 * A cart's tag is strong: "epoch-version-digest", the digest (64 bits, hexadecimal) over everything that is shown. An
 * answer that also carries a warning shown only once (price-changed) has that warning's digest as a fourth part: its
 * bytes differ, so its tag does; yet it names the same cart at the same prices, so If-Match looks at the first three.
 */
#ifndef EDGE_ETAG_H
#define EDGE_ETAG_H

#include "cart/cart_types.h"

#define EDGE_ETAG_BYTES_MAX (2 + 20 + 1 + 20 + 1 + 16 + 1 + 16)

typedef struct {
    cart_place_t place;
    uint64_t digest;
    uint64_t once; /* 0: no warning that is shown once */
} edge_etag_t;

/* Writes the tag with its quotes; returns its length. */
size_t edge_etag_format(const edge_etag_t *tag, char text[EDGE_ETAG_BYTES_MAX]);

typedef enum {
    EDGE_MATCH_NO,
    EDGE_MATCH_YES,
    EDGE_MATCH_ANY,   /* "*" */
    EDGE_MATCH_NEWER, /* no tag matches, but one names a newer version of this cart than `tag`: ours may be the old one */
    EDGE_MATCH_BAD,   /* not a list of entity tags */
} edge_match_t;

/* weak: compare as If-None-Match does (W/ is ignored, all parts count); else as If-Match does (a weak tag never
 * matches). At most EDGE_ETAG_LIST_MAX tags. */
#define EDGE_ETAG_LIST_MAX 64
edge_match_t edge_etag_match(const char *list, size_t length, const edge_etag_t *tag, bool weak);

#endif
