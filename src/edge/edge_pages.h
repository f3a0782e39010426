/*
 * Pages that a worker answers by itself: a copy of what the services said, one table a worker, no lock. An entry is a page's address, its
 * tag, its Cache-Control, how long all that may be believed, and, where there was room, the page's type and bytes.
 *
 * A page has two ends. To the first it is fresh. After it, whoever comes first asks anew; while he does, the others are still shown the
 * page, to the second end, and then wait for his answer. So a page that is asked for by many is asked about by one, and never by
 * all of them at once.
 *
 * Two entries share a bucket; a new page takes the one that ends first. Bytes are bounded: for a new page those of ended ones are given
 * up, and while there is no room a page is known by its tag alone. What is too long is not kept, which costs a trip and nothing else. Pure.
 */
#ifndef EDGE_PAGES_H
#define EDGE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EDGE_PAGES_BUCKETS     2048 /* of two entries: about 1.6 MB a worker when all are used */
#define EDGE_PAGES_PATH_MAX    208  /* bytes, with the query */
#define EDGE_PAGES_TAG_MAX     64
#define EDGE_PAGES_CONTROL_MAX 32
#define EDGE_PAGES_TYPE_MAX    48
#define EDGE_PAGES_BODY_MAX    (128 * 1024)       /* one page's bytes */
#define EDGE_PAGES_BODIES_MAX  (16 * 1024 * 1024) /* all of them, a worker */

/* From the moment a service was asked: the second end is the promise "right within a second after a change". The first is drawn for each
 * page, widely when it did not live, so that pages that were asked for together are not asked for together again. */
#define EDGE_PAGES_NEW_LEAST_MS   100
#define EDGE_PAGES_FRESH_LEAST_MS 700
#define EDGE_PAGES_FRESH_MOST_MS  900
#define EDGE_PAGES_SHOWN_MS       1000
/* Whoever has waited so long for another's answer asks himself. */
#define EDGE_PAGES_WAIT_MS        2000

typedef struct {
    const char *bytes; /* borrowed by keep */
    size_t length;
} edge_pages_text_t;

typedef struct {
    int64_t fresh_ms, shown_ms; /* the two ends, of a clock that does not jump; 0: never used */
    int64_t asked_ms;           /* after the first end: when somebody began to ask anew; 0: nobody does */
    uint8_t path_length, tag_length, control_length, type_length;
    uint32_t body_length;
    char path[EDGE_PAGES_PATH_MAX];
    char tag[EDGE_PAGES_TAG_MAX]; /* with its quotes */
    char control[EDGE_PAGES_CONTROL_MAX];
    char type[EDGE_PAGES_TYPE_MAX];
    char *body; /* owned; NULL: only the tag is known */
} edge_page_t;

typedef struct {
    int64_t asked_ms;
    int64_t new_ms;   /* the first end, when the page was not known or had ended before it was asked for, */
    int64_t fresh_ms; /* and when it lived */
    int64_t shown_ms; /* the second end */
} edge_pages_ends_t;

typedef struct edge_pages edge_pages_t;

edge_pages_t *edge_pages_create(void); /* NULL: no memory */
void edge_pages_destroy(edge_pages_t *pages);

/* Notes a page. What is too long, is no strong tag, or is not said to be public is left out, and so is what ends before that which is known
 * already. The bytes stay if the tag does. Answers whether the page's bytes are wanted. */
bool edge_pages_keep(edge_pages_t *pages, edge_pages_text_t path, edge_pages_text_t tag, edge_pages_text_t control,
                     const edge_pages_ends_t *ends);
/* Of a page that a service was asked for at asked_ms; `random`: any number. */
edge_pages_ends_t edge_pages_ends(int64_t asked_ms, uint64_t random);
/* The bytes (copied) of a page that was kept with this tag; left out when it is not there any more, or there is no room at now_ms. */
void edge_pages_fill(edge_pages_t *pages, edge_pages_text_t path, edge_pages_text_t tag, edge_pages_text_t type,
                     edge_pages_text_t body, int64_t now_ms);
typedef enum {
    EDGE_PAGES_ASK,  /* not known, or the caller is the one who asks anew */
    EDGE_PAGES_SHOW, /* *page is right; borrowed until the next call of any of these */
    EDGE_PAGES_WAIT, /* another one asks: look again soon */
} edge_pages_result_t;

edge_pages_result_t edge_pages_find(edge_pages_t *pages, edge_pages_text_t path, int64_t now_ms,
                                    const edge_page_t **page);
/* Who began to ask at asked_ms has ended. If no answer of his was kept, the next one asks. */
void edge_pages_asked(edge_pages_t *pages, edge_pages_text_t path, int64_t asked_ms);
size_t edge_pages_bytes(const edge_pages_t *pages); /* of all bodies */

/* Whether an If-None-Match list names the tag (RFC 9110 13.1.2: weak comparison). `*` and what is no list: false. */
bool edge_pages_named(const char *list, size_t length, const edge_page_t *page);

#endif
