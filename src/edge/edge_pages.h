/*
 * Which tag a page has until when: what a worker needs to answer `If-None-Match` by itself. A copy of what answers said, one table
 * a worker, no lock. An entry is a page's address, its tag and its Cache-Control, true to the end of second `until`.
 *
 * Two entries share a bucket; a new page takes the one that ends first. Nothing else is ever removed: an entry whose time is
 * over is only not found. Longer addresses and tags are not kept, which costs a trip and nothing else. Pure.
 */
#ifndef EDGE_PAGES_H
#define EDGE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EDGE_PAGES_BUCKETS     2048 /* of two entries: about 1.3 MB a worker when all are used */
#define EDGE_PAGES_PATH_MAX    208  /* bytes, with the query */
#define EDGE_PAGES_TAG_MAX     64
#define EDGE_PAGES_CONTROL_MAX 32

typedef struct {
    int64_t until_s; /* Unix time; 0: never used */
    uint8_t path_length, tag_length, control_length;
    char path[EDGE_PAGES_PATH_MAX];
    char tag[EDGE_PAGES_TAG_MAX]; /* with its quotes */
    char control[EDGE_PAGES_CONTROL_MAX];
} edge_page_t;

typedef struct edge_pages edge_pages_t;

edge_pages_t *edge_pages_create(void); /* NULL: no memory */
void edge_pages_destroy(edge_pages_t *pages);

/* Notes a page. What is too long, is no strong tag, or is not said to be public is left out. */
void edge_pages_keep(edge_pages_t *pages, const char *path, size_t path_length, const char *tag, size_t tag_length,
                     const char *control, size_t control_length, int64_t until_s);
/* NULL: not known, or its time is over at `now_s`. Borrowed until the next keep. */
const edge_page_t *edge_pages_find(const edge_pages_t *pages, const char *path, size_t path_length, int64_t now_s);

/* Whether an If-None-Match list names the tag (RFC 9110 13.1.2: weak comparison). `*` and what is no list: false. */
bool edge_pages_named(const char *list, size_t length, const edge_page_t *page);

#endif
