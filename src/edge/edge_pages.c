#include "edge/edge_pages.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct edge_pages {
    edge_page_t buckets[EDGE_PAGES_BUCKETS][2];
};

edge_pages_t *edge_pages_create(void) {
    return calloc(1, sizeof(edge_pages_t)); /* untouched pages cost nothing */
}

void edge_pages_destroy(edge_pages_t *pages) {
    free(pages);
}

/* FNV-1a: whoever makes addresses collide makes pages miss, nothing more. */
static size_t bucket_of(const char *path, size_t length) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)path[i]) * 16777619u;
    return (hash ^ hash >> 15) % EDGE_PAGES_BUCKETS;
}

static bool is_path(const edge_page_t *page, const char *path, size_t length) {
    return page->path_length == length && memcmp(page->path, path, length) == 0;
}

void edge_pages_keep(edge_pages_t *pages, const char *path, size_t path_length, const char *tag, size_t tag_length,
                     const char *control, size_t control_length, int64_t until_s) {
    if (path_length == 0 || path_length > EDGE_PAGES_PATH_MAX || control_length > EDGE_PAGES_CONTROL_MAX) return;
    if (tag_length < 2 || tag_length > EDGE_PAGES_TAG_MAX || tag[0] != '"' || tag[tag_length - 1] != '"') return;
    if (control_length < 6 || memcmp(control, "public", 6) != 0) return;
    edge_page_t *bucket = pages->buckets[bucket_of(path, path_length)];
    edge_page_t *page = is_path(&bucket[0], path, path_length)   ? &bucket[0]
                        : is_path(&bucket[1], path, path_length) ? &bucket[1]
                        : bucket[0].until_s <= bucket[1].until_s ? &bucket[0]
                                                                 : &bucket[1];
    page->until_s = until_s;
    page->path_length = (uint8_t)path_length;
    page->tag_length = (uint8_t)tag_length;
    page->control_length = (uint8_t)control_length;
    memcpy(page->path, path, path_length);
    memcpy(page->tag, tag, tag_length);
    memcpy(page->control, control, control_length);
}

const edge_page_t *edge_pages_find(const edge_pages_t *pages, const char *path, size_t path_length, int64_t now_s) {
    if (path_length == 0 || path_length > EDGE_PAGES_PATH_MAX) return NULL;
    const edge_page_t *bucket = pages->buckets[bucket_of(path, path_length)];
    for (int i = 0; i < 2; i++) {
        if (bucket[i].until_s >= now_s && is_path(&bucket[i], path, path_length)) return &bucket[i];
    }
    return NULL;
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
