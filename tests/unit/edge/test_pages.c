/* What a worker remembers of pages: found to their end and no longer, asked anew by one, named as RFC 9110 says, bounded, never mixed up. */
#include "edge/edge_pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static edge_pages_text_t text(const char *text) {
    return (edge_pages_text_t){text, strlen(text)};
}

static bool keep_to(edge_pages_t *pages, const char *path, const char *tag, const char *control, int64_t fresh_ms,
                    int64_t shown_ms) {
    edge_pages_ends_t ends = {0, fresh_ms, fresh_ms, shown_ms};
    return edge_pages_keep(pages, text(path), text(tag), text(control), &ends);
}

static bool keep(edge_pages_t *pages, const char *path, const char *tag, const char *control, int64_t until_ms) {
    return keep_to(pages, path, tag, control, until_ms, until_ms);
}

static void fill(edge_pages_t *pages, const char *path, const char *tag, const char *body, int64_t now_ms) {
    edge_pages_fill(pages, text(path), text(tag), text("application/json"), text(body), now_ms);
}

static const edge_page_t *find(edge_pages_t *pages, const char *path, int64_t now_ms) {
    const edge_page_t *page = NULL;
    edge_pages_result_t result = edge_pages_find(pages, text(path), now_ms, &page);
    assert_int_equal(page != NULL, result == EDGE_PAGES_SHOW);
    return page;
}

static bool waits(edge_pages_t *pages, const char *path, int64_t now_ms) {
    const edge_page_t *page = NULL;
    return edge_pages_find(pages, text(path), now_ms, &page) == EDGE_PAGES_WAIT;
}

static void assert_body(const edge_page_t *page, const char *body) {
    assert_non_null(page);
    assert_int_equal(page->body_length, strlen(body));
    assert_memory_equal(page->body, body, strlen(body));
    assert_int_equal(page->type_length, 16);
}

static void a_page_is_known_to_its_end(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    assert_non_null(pages);
    assert_null(find(pages, "/a", 0));
    (void)keep(pages, "/a", "\"1\"", "public, no-cache", 100);
    assert_non_null(find(pages, "/a", 98));
    assert_non_null(find(pages, "/a", 99));
    assert_null(find(pages, "/a", 100));
    assert_null(find(pages, "/ab", 99));
    assert_null(find(pages, "/", 99));
    (void)keep(pages, "/a", "\"2\"", "public", 101);
    const edge_page_t *page = find(pages, "/a", 100);
    assert_non_null(page);
    assert_memory_equal(page->tag, "\"2\"", 3);
    assert_int_equal(page->control_length, 6);
    edge_pages_destroy(pages);
}

static void after_its_end_one_asks_and_the_others_are_shown_it_and_then_wait(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    (void)keep_to(pages, "/a", "\"1\"", "public", 900, 1000);
    assert_non_null(find(pages, "/a", 899));
    assert_null(find(pages, "/a", 910)); /* this caller asks */
    for (int64_t now_ms = 910; now_ms < 1000; now_ms++) assert_non_null(find(pages, "/a", now_ms));
    assert_true(waits(pages, "/a", 1000));
    assert_true(waits(pages, "/a", 910 + EDGE_PAGES_WAIT_MS - 1));
    assert_false(waits(pages, "/a", 910 + EDGE_PAGES_WAIT_MS)); /* no answer came: this one asks */
    assert_true(waits(pages, "/a", 910 + EDGE_PAGES_WAIT_MS));
    (void)keep_to(pages, "/a", "\"1\"", "public", 3900, 4000);
    assert_non_null(find(pages, "/a", 3899));
    assert_null(find(pages, "/a", 3950)); /* again just one */
    assert_non_null(find(pages, "/a", 3950));
    edge_pages_destroy(pages);
}

static void one_who_asks_and_gets_no_page_leaves_it_to_the_next(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    (void)keep(pages, "/a", "\"1\"", "public", 100);
    assert_false(waits(pages, "/a", 100)); /* asks */
    assert_true(waits(pages, "/a", 110));
    edge_pages_asked(pages, text("/a"), 99); /* somebody else's, from before */
    edge_pages_asked(pages, text("/b"), 100);
    assert_true(waits(pages, "/a", 110));
    edge_pages_asked(pages, text("/a"), 100);
    assert_false(waits(pages, "/a", 120)); /* asks */
    (void)keep(pages, "/a", "\"1\"", "public", 1100);
    edge_pages_asked(pages, text("/a"), 120); /* has his page: nothing changes */
    assert_non_null(find(pages, "/a", 130));
    assert_false(waits(pages, "/never", 100)); /* what is not known everyone asks for */
    assert_false(waits(pages, "/never", 100));
    edge_pages_destroy(pages);
}

static void ends_are_drawn_within_their_bounds_and_apart_when_a_page_did_not_live(void **state) {
    (void)state;
    int64_t least = INT64_MAX, most = 0;
    edge_pages_t *pages = edge_pages_create();
    for (uint64_t random = 0; random < 5000; random++) {
        edge_pages_ends_t ends = edge_pages_ends(10000, random * UINT64_C(0x9E3779B97F4A7C15));
        assert_in_range(ends.new_ms, 10000 + EDGE_PAGES_NEW_LEAST_MS, 10000 + EDGE_PAGES_FRESH_MOST_MS);
        assert_in_range(ends.fresh_ms, 10000 + EDGE_PAGES_FRESH_LEAST_MS, 10000 + EDGE_PAGES_FRESH_MOST_MS);
        assert_int_equal(ends.shown_ms, 10000 + EDGE_PAGES_SHOWN_MS);
        if (ends.new_ms < least) least = ends.new_ms;
        if (ends.new_ms > most) most = ends.new_ms;
    }
    assert_true(most - least > 700); /* spread over the second */
    edge_pages_ends_t ends = {0, 300, 800, 1000};
    assert_true(edge_pages_keep(pages, text("/a"), text("\"1\""), text("public"), &ends));
    assert_non_null(find(pages, "/a", 299));
    assert_null(find(pages, "/a", 300)); /* new: asks */
    ends = (edge_pages_ends_t){300, 600, 1100, 1300};
    (void)edge_pages_keep(pages, text("/a"), text("\"1\""), text("public"), &ends);
    assert_non_null(find(pages, "/a", 1099));
    assert_null(find(pages, "/a", 1100)); /* lived when it was asked for */
    ends = (edge_pages_ends_t){1300, 1600, 2100, 2300};
    (void)edge_pages_keep(pages, text("/a"), text("\"1\""), text("public"), &ends);
    assert_null(find(pages, "/a", 1600)); /* had ended */
    edge_pages_destroy(pages);
}

static void bytes_live_as_long_as_their_tag(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    assert_true(keep(pages, "/a", "\"1\"", "public", 100)); /* wanted */
    assert_null(find(pages, "/a", 50)->body);
    fill(pages, "/a", "\"2\"", "of another", 50);
    fill(pages, "/b", "\"1\"", "of another", 50);
    assert_null(find(pages, "/a", 50)->body);
    fill(pages, "/a", "\"1\"", "one", 50);
    assert_body(find(pages, "/a", 50), "one");
    assert_false(keep(pages, "/a", "\"1\"", "public", 200)); /* the same: there already */
    assert_body(find(pages, "/a", 150), "one");
    fill(pages, "/a", "\"1\"", "not again", 150);
    assert_body(find(pages, "/a", 150), "one");
    assert_true(keep(pages, "/a", "\"2\"", "public", 300));
    assert_null(find(pages, "/a", 250)->body);
    assert_int_equal(edge_pages_bytes(pages), 0);
    edge_pages_destroy(pages);
}

static void an_older_answer_that_comes_later_is_not_believed(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    (void)keep(pages, "/a", "\"new\"", "public", 1020);
    assert_false(keep(pages, "/a", "\"old\"", "public", 1010));
    assert_memory_equal(find(pages, "/a", 1000)->tag, "\"new\"", 5);
    edge_pages_destroy(pages);
}

static void bytes_are_bounded_and_those_of_ended_pages_make_room(void **state) {
    (void)state;
    enum { whole = EDGE_PAGES_BODIES_MAX / EDGE_PAGES_BODY_MAX };
    edge_pages_t *pages = edge_pages_create();
    char *body = malloc(EDGE_PAGES_BODY_MAX + 2), path[64];
    memset(body, 'x', EDGE_PAGES_BODY_MAX + 1);
    body[EDGE_PAGES_BODY_MAX + 1] = '\0';
    (void)keep(pages, "/long", "\"1\"", "public", 1000);
    fill(pages, "/long", "\"1\"", body, 0);
    assert_null(find(pages, "/long", 0)->body); /* one byte too many */
    fill(pages, "/long", "\"1\"", "", 0);
    assert_null(find(pages, "/long", 0)->body);
    body[EDGE_PAGES_BODY_MAX] = '\0';
    int with_body = 0;
    for (int i = 0; i < whole + 4; i++) {
        (void)snprintf(path, sizeof(path), "/page/%d", i);
        (void)keep(pages, path, "\"1\"", "public", 1000);
        fill(pages, path, "\"1\"", body, 500);
        const edge_page_t *page = find(pages, path, 500);
        assert_non_null(page); /* by its tag at least */
        with_body += page->body != NULL;
    }
    assert_int_equal(with_body, whole); /* the last four found no room */
    assert_int_equal(edge_pages_bytes(pages), EDGE_PAGES_BODIES_MAX);
    for (int i = 0; i < 200; i++) { /* now they are over; the hand goes round */
        (void)snprintf(path, sizeof(path), "/later/%d", i);
        (void)keep(pages, path, "\"1\"", "public", 3000);
        fill(pages, path, "\"1\"", "small", 2000);
        assert_true(edge_pages_bytes(pages) <= EDGE_PAGES_BODIES_MAX);
    }
    assert_body(find(pages, "/later/199", 2000), "small");
    assert_true(edge_pages_bytes(pages) < EDGE_PAGES_BODIES_MAX);
    free(body);
    edge_pages_destroy(pages);
}

static void what_may_not_be_kept_is_not(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    char path[EDGE_PAGES_PATH_MAX + 2], tag[EDGE_PAGES_TAG_MAX + 2];
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    (void)keep(pages, path, "\"1\"", "public", 100);
    assert_null(find(pages, path, 99));
    path[sizeof(path) - 2] = '\0'; /* the longest that fits */
    (void)keep(pages, path, "\"1\"", "public", 100);
    assert_non_null(find(pages, path, 99));
    memset(tag, 'x', sizeof(tag));
    tag[0] = tag[sizeof(tag) - 2] = '"';
    tag[sizeof(tag) - 1] = '\0';
    (void)keep(pages, "/a", tag, "public", 100);
    static const char *const tags[] = {"", "\"", "W/\"1\"", "1", "\"1"};
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) (void)keep(pages, "/a", tags[i], "public", 100);
    (void)keep(pages, "/a", "\"1\"", "private, no-cache", 100);
    (void)keep(pages, "/a", "\"1\"", "publi", 100);
    (void)keep(pages, "/a", "\"1\"", "public, max-age=1234567890123456789", 100);
    assert_null(find(pages, "/a", 99));
    edge_pages_destroy(pages);
}

static void tags_are_compared_weakly(void **state) {
    (void)state;
    edge_pages_t *pages = edge_pages_create();
    (void)keep(pages, "/a", "\"tag\"", "public", 100);
    const edge_page_t *page = find(pages, "/a", 99);
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
        (void)keep(pages, path, tag, "public", 101 + i % 3);
        fill(pages, path, tag, path, 99);
    }
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?cursor=%d", i);
        (void)snprintf(tag, sizeof(tag), "\"%d\"", i);
        const edge_page_t *page = find(pages, path, 100);
        if (page == NULL) continue;
        known++;
        assert_int_equal(page->tag_length, strlen(tag));
        assert_memory_equal(page->tag, tag, strlen(tag));
        assert_int_equal(page->shown_ms, 101 + i % 3);
        assert_body(page, path);
    }
    assert_true(known > EDGE_PAGES_BUCKETS && known <= 2 * EDGE_PAGES_BUCKETS);
    edge_pages_destroy(pages);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_known_to_its_end),
        cmocka_unit_test(after_its_end_one_asks_and_the_others_are_shown_it_and_then_wait),
        cmocka_unit_test(one_who_asks_and_gets_no_page_leaves_it_to_the_next),
        cmocka_unit_test(ends_are_drawn_within_their_bounds_and_apart_when_a_page_did_not_live),
        cmocka_unit_test(bytes_live_as_long_as_their_tag),
        cmocka_unit_test(an_older_answer_that_comes_later_is_not_believed),
        cmocka_unit_test(bytes_are_bounded_and_those_of_ended_pages_make_room),
        cmocka_unit_test(what_may_not_be_kept_is_not),
        cmocka_unit_test(tags_are_compared_weakly),
        cmocka_unit_test(many_pages_push_each_other_out_and_are_never_mixed_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
