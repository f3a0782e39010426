#include "edge/edge_pages.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { sweep_steps = 128 }; /* entries looked at for one page that needs room */

struct edge_pages {
    edge_page_t buckets[EDGE_PAGES_BUCKETS][2];
    size_t bytes; /* of all bodies */
    size_t hand;  /* the entry whose body is looked at next for room */
};

edge_pages_t *edge_pages_create(void) {
    return calloc(1, sizeof(edge_pages_t)); /* untouched pages cost nothing */
}

static void drop_body(edge_pages_t *pages, edge_page_t *page) {
    free(page->body);
    pages->bytes -= page->body_length;
    page->body = NULL;
    page->body_length = 0;
}

void edge_pages_destroy(edge_pages_t *pages) {
    if (pages == NULL) return;
    for (size_t i = 0; i < EDGE_PAGES_BUCKETS; i++) {
        drop_body(pages, &pages->buckets[i][0]);
        drop_body(pages, &pages->buckets[i][1]);
    }
    assert(pages->bytes == 0);
    free(pages);
}

size_t edge_pages_bytes(const edge_pages_t *pages) {
    return pages->bytes;
}

/* FNV-1a: whoever makes addresses collide makes pages miss, nothing more. */
static size_t bucket_of(edge_pages_text_t path) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < path.length; i++) hash = (hash ^ (unsigned char)path.bytes[i]) * 16777619u;
    return (hash ^ hash >> 15) % EDGE_PAGES_BUCKETS;
}

static bool is(const char *kept, size_t kept_length, edge_pages_text_t text) {
    return kept_length == text.length && memcmp(kept, text.bytes, kept_length) == 0;
}

/* NULL: not known. */
static edge_page_t *entry_of(edge_pages_t *pages, edge_pages_text_t path) {
    if (path.length == 0 || path.length > EDGE_PAGES_PATH_MAX) return NULL;
    edge_page_t *bucket = pages->buckets[bucket_of(path)];
    for (int i = 0; i < 2; i++) {
        if (is(bucket[i].path, bucket[i].path_length, path)) return &bucket[i];
    }
    return NULL;
}

static bool is_page(edge_pages_text_t path, edge_pages_text_t tag, edge_pages_text_t control) {
    if (path.length == 0 || path.length > EDGE_PAGES_PATH_MAX || control.length > EDGE_PAGES_CONTROL_MAX) return false;
    if (tag.length < 2 || tag.length > EDGE_PAGES_TAG_MAX) return false;
    if (tag.bytes[0] != '"' || tag.bytes[tag.length - 1] != '"') return false;
    return control.length >= 6 && memcmp(control.bytes, "public", 6) == 0;
}

static int64_t draw(uint64_t random, int64_t least, int64_t most) {
    return least + (int64_t)(random % (uint64_t)(most - least + 1));
}

edge_pages_ends_t edge_pages_ends(int64_t asked_ms, uint64_t random) {
    return (edge_pages_ends_t){
        .asked_ms = asked_ms,
        .new_ms = asked_ms + draw(random, EDGE_PAGES_NEW_LEAST_MS, EDGE_PAGES_FRESH_MOST_MS),
        .fresh_ms = asked_ms + draw(random, EDGE_PAGES_FRESH_LEAST_MS, EDGE_PAGES_FRESH_MOST_MS),
        .shown_ms = asked_ms + EDGE_PAGES_SHOWN_MS,
    };
}

bool edge_pages_keep(edge_pages_t *pages, edge_pages_text_t path, edge_pages_text_t tag, edge_pages_text_t control,
                     const edge_pages_ends_t *ends) {
    assert(ends->new_ms <= ends->shown_ms && ends->fresh_ms <= ends->shown_ms);
    if (!is_page(path, tag, control)) return false;
    edge_page_t *page = entry_of(pages, path);
    bool lives = page != NULL && page->shown_ms > ends->asked_ms;
    if (page == NULL) {
        edge_page_t *bucket = pages->buckets[bucket_of(path)];
        page = bucket[0].shown_ms <= bucket[1].shown_ms ? &bucket[0] : &bucket[1];
        drop_body(pages, page);
    } else if (page->shown_ms > ends->shown_ms) {
        return false; /* asked earlier, answered later: what is known is newer */
    } else if (!is(page->tag, page->tag_length, tag)) {
        drop_body(pages, page);
    }
    page->fresh_ms = lives ? ends->fresh_ms : ends->new_ms;
    page->shown_ms = ends->shown_ms;
    page->asked_ms = 0;
    page->path_length = (uint8_t)path.length;
    page->tag_length = (uint8_t)tag.length;
    page->control_length = (uint8_t)control.length;
    memcpy(page->path, path.bytes, path.length);
    memcpy(page->tag, tag.bytes, tag.length);
    memcpy(page->control, control.bytes, control.length);
    return page->body == NULL;
}

/* Gives up bodies whose time is over, as many as it takes or a few steps find. */
static bool make_room(edge_pages_t *pages, size_t length, int64_t now_ms) {
    for (int step = 0; pages->bytes + length > EDGE_PAGES_BODIES_MAX && step < sweep_steps; step++) {
        edge_page_t *page = &pages->buckets[pages->hand / 2][pages->hand % 2];
        if (page->shown_ms <= now_ms) drop_body(pages, page);
        pages->hand = (pages->hand + 1) % ((size_t)EDGE_PAGES_BUCKETS * 2);
    }
    return pages->bytes + length <= EDGE_PAGES_BODIES_MAX;
}

void edge_pages_fill(edge_pages_t *pages, edge_pages_text_t path, edge_pages_text_t tag, edge_pages_text_t type,
                     edge_pages_text_t body, int64_t now_ms) {
    edge_page_t *page = entry_of(pages, path);
    if (page == NULL || page->body != NULL || !is(page->tag, page->tag_length, tag)) return;
    if (type.length == 0 || type.length > EDGE_PAGES_TYPE_MAX) return;
    if (body.length == 0 || body.length > EDGE_PAGES_BODY_MAX || !make_room(pages, body.length, now_ms)) return;
    char *copy = malloc(body.length);
    if (copy == NULL) return;
    memcpy(copy, body.bytes, body.length);
    memcpy(page->type, type.bytes, type.length);
    page->type_length = (uint8_t)type.length;
    page->body = copy;
    page->body_length = (uint32_t)body.length;
    pages->bytes += body.length;
}

edge_pages_result_t edge_pages_find(edge_pages_t *pages, edge_pages_text_t path, int64_t now_ms,
                                    const edge_page_t **page) {
    edge_page_t *entry = entry_of(pages, path);
    if (entry == NULL) return EDGE_PAGES_ASK;
    bool asked = entry->asked_ms != 0 && now_ms < entry->asked_ms + EDGE_PAGES_WAIT_MS;
    if (now_ms < entry->fresh_ms || (asked && now_ms < entry->shown_ms)) {
        *page = entry;
        return EDGE_PAGES_SHOW;
    }
    if (asked) return EDGE_PAGES_WAIT;
    entry->asked_ms = now_ms;
    return EDGE_PAGES_ASK;
}

void edge_pages_asked(edge_pages_t *pages, edge_pages_text_t path, int64_t asked_ms) {
    edge_page_t *entry = entry_of(pages, path);
    if (entry != NULL && entry->asked_ms == asked_ms) entry->asked_ms = 0;
}

bool edge_pages_named(const char *list, size_t length, const edge_page_t *page) {
    const char *at = list, *end = list + length;
    assert(page->tag_length >= 2);
    for (;;) {
        while (at < end && (*at == ' ' || *at == '\t' || *at == ',')) at++;
        if (end - at > 2 && at[0] == 'W' && at[1] == '/') at += 2;
        if (at == end || *at != '"') return false; /* no tag: the rest cannot be read */
        const char *close = memchr(at + 1, '"', (size_t)(end - at - 1));
        if (close == NULL) return false;
        if ((size_t)(close + 1 - at) == page->tag_length && memcmp(at, page->tag, page->tag_length) == 0) return true;
        at = close + 1;
    }
}
