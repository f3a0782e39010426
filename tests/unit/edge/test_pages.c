/* What a worker remembers of pages: found while fresh and only then, named as RFC 9110 says, and never mixed up. */
#include "edge/edge_pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void keep(edge_pages_t *pages, const char *path, const char *tag, const char *control, int64_t until_s) {
    edge_pages_keep(pages, path, strlen(path), tag, strlen(tag), control, strlen(control), until_s);
}

static const edge_page_t *find(const edge_pages_t *pages, const char *path, int64_t now_s) {
    return edge_pages_find(pages, path, strlen(path), now_s);
}

static void a_page_is_known_to_the_end_of_its_second(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    assert_non_null(pages);
    assert_null(find(pages, "/a", 0));
    keep(pages, "/a", "\"1\"", "public, no-cache", 100);
    assert_non_null(find(pages, "/a", 99));
    assert_non_null(find(pages, "/a", 100));
    assert_null(find(pages, "/a", 101));
    assert_null(find(pages, "/ab", 100));
    assert_null(find(pages, "/", 100));
    keep(pages, "/a", "\"2\"", "public", 101);
    const edge_page_t *page = find(pages, "/a", 101);
    assert_non_null(page);
    assert_memory_equal(page->tag, "\"2\"", 3);
    assert_int_equal(page->control_length, 6);
    edge_pages_destroy(pages);
}

static void what_may_not_be_kept_is_not(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    char path[EDGE_PAGES_PATH_MAX + 2], tag[EDGE_PAGES_TAG_MAX + 2];
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    keep(pages, path, "\"1\"", "public", 100);
    assert_null(find(pages, path, 100));
    path[sizeof(path) - 2] = '\0'; /* the longest that fits */
    keep(pages, path, "\"1\"", "public", 100);
    assert_non_null(find(pages, path, 100));
    memset(tag, 'x', sizeof(tag));
    tag[0] = tag[sizeof(tag) - 2] = '"';
    tag[sizeof(tag) - 1] = '\0';
    keep(pages, "/a", tag, "public", 100);
    static const char *const tags[] = {"", "\"", "W/\"1\"", "1", "\"1"};
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) keep(pages, "/a", tags[i], "public", 100);
    keep(pages, "/a", "\"1\"", "private, no-cache", 100);
    keep(pages, "/a", "\"1\"", "publi", 100);
    keep(pages, "/a", "\"1\"", "public, max-age=1234567890123456789", 100);
    assert_null(find(pages, "/a", 100));
    edge_pages_destroy(pages);
}

static void tags_are_compared_weakly(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    keep(pages, "/a", "\"tag\"", "public", 100);
    const edge_page_t *page = find(pages, "/a", 100);
    static const char *const yes[] = {"\"tag\"",     "W/\"tag\"", "\"other\", \"tag\"", "\"other\",W/\"tag\",\"more\"",
                                      "  \"tag\"  ", ",\"tag\""};
    static const char *const no[] = {"",          "*",  "tag", "\"tag",     "\"Tag\"",  "\"tag2\"",
                                     "\"ta\"",    "W/", "W",   "\"other\"", "x\"tag\"", "\"a\" x \"tag\"",
                                     "w/\"tag\"", "\"", ", ,"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        assert_true(edge_pages_named(yes[i], strlen(yes[i]), page));
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        char *exact = malloc(strlen(no[i]) + 1); /* so that a sanitizer sees a step too far */
        memcpy(exact, no[i], strlen(no[i]));
        assert_false(edge_pages_named(exact, strlen(no[i]), page));
        free(exact);
    }
    edge_pages_destroy(pages);
}

static void many_pages_push_each_other_out_and_are_never_mixed_up(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    char path[64], tag[64];
    int known = 0;
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?cursor=%d", i);
        (void)snprintf(tag, sizeof(tag), "\"%d\"", i);
        keep(pages, path, tag, "public", 100 + i % 3);
    }
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?cursor=%d", i);
        (void)snprintf(tag, sizeof(tag), "\"%d\"", i);
        const edge_page_t *page = find(pages, path, 100);
        if (page == NULL) continue;
        known++;
        assert_int_equal(page->tag_length, strlen(tag));
        assert_memory_equal(page->tag, tag, strlen(tag));
        assert_int_equal(page->until_s, 100 + i % 3);
    }
    assert_true(known > EDGE_PAGES_BUCKETS && known <= 2 * EDGE_PAGES_BUCKETS);
    edge_pages_destroy(pages);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_known_to_the_end_of_its_second),
        cmocka_unit_test(what_may_not_be_kept_is_not),
        cmocka_unit_test(tags_are_compared_weakly),
        cmocka_unit_test(many_pages_push_each_other_out_and_are_never_mixed_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
