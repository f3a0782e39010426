/* What a caller sees: the cart's bytes and tag, warnings, problems in his language. */
#include "unit/edge/edge_test.h"

#include "edge/edge_json.h"
#include "edge/edge_problem.h"
#include "edge/edge_render.h"

#define BYTES ((size_t)2 << 20)

static edge_books_t books = {.locks = TEST_LOCKS};

static int setup(void **state) {
    (void)state;
    void *memory = test_shared(BYTES);
    assert_true(edge_books_init(&books, memory, BYTES));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return munmap(books.memory, BYTES);
}

static void put(uint64_t id, uint64_t position, uint64_t price, uint32_t available, const char *title) {
    cart_book_record_t record = test_book(id, position, price, available, title);
    assert_true(edge_books_put(&books, &record));
}

static cart_image_t one_line(uint64_t book, uint32_t quantity) {
    cart_image_t image = {.place = {1, 41}, .line_count = 1};
    image.lines[0] = (cart_line_t){book, quantity};
    return image;
}

static edge_render_result_t render(const cart_image_t *image, const edge_render_options_t *options, char *text,
                                   size_t bytes, edge_rendered_t *rendered) {
    edge_out_t out = {text, text + bytes - 1, false};
    edge_render_result_t result = edge_render_cart(&out, image, &books, options, rendered);
    *out.at = '\0';
    return result;
}

static const edge_render_options_t euros = {.currency = "EUR"};

static void test_the_documented_cart(void **state) {
    (void)state;
    char text[4096];
    edge_rendered_t rendered;
    put(7, 1, 1299, 1, "Emma");
    cart_image_t image = one_line(7, 2);
    assert_int_equal(render(&image, &euros, text, sizeof(text), &rendered), EDGE_RENDER_OK);
    assert_string_equal(
        text,
        "{\"version\":\"41\",\"lines\":[{\"book\":7,\"title\":\"Emma\",\"authors\":[\"Jane "
        "Austen\"],\"cover_url\":null,"
        "\"quantity\":2,\"unit_price\":{\"amount\":1299,\"currency\":\"EUR\"},\"total\":{\"amount\":2598,\"currency\":"
        "\"EUR\"},\"availability\":\"low\"}],\"count\":2,\"subtotal\":{\"amount\":2598,\"currency\":\"EUR\"},"
        "\"warnings\":[{\"code\":\"not-enough-stock\",\"book\":7,\"available\":1}]}");
    assert_true(rendered.tag.place.version == 41 && rendered.tag.once == 0);
    edge_rendered_t again;
    assert_int_equal(edge_render_cart(NULL, &image, &books, &euros, &again), EDGE_RENDER_OK);
    assert_true(again.tag.digest == rendered.tag.digest);
}

static void test_the_empty_cart(void **state) {
    (void)state;
    char text[256];
    edge_rendered_t rendered;
    cart_image_t image = {.place = {1, 0}};
    assert_int_equal(render(&image, &euros, text, sizeof(text), &rendered), EDGE_RENDER_OK);
    assert_string_equal(text,
                        "{\"version\":\"0\",\"lines\":[],\"count\":0,\"subtotal\":{\"amount\":0,\"currency\":\"EUR\"},"
                        "\"warnings\":[]}");
}

/* The digest is over everything that is shown, and over nothing else. */
static void test_the_tag_follows_what_is_shown(void **state) {
    (void)state;
    edge_rendered_t rendered;
    cart_image_t image = one_line(20, 2);
    uint64_t seen[6];
    static const struct {
        uint64_t price;
        uint32_t available;
        const char *title;
    } states[] = {{100, 50, "A"}, {101, 50, "A"}, {100, 50, "B"}, {100, 3, "A"}, {100, 1, "A"}, {100, 0, "A"}};
    for (unsigned i = 0; i < 6; i++) {
        put(20, 100 + i, states[i].price, states[i].available, states[i].title);
        assert_int_equal(edge_render_cart(NULL, &image, &books, &euros, &rendered), EDGE_RENDER_OK);
        seen[i] = rendered.tag.digest;
        for (unsigned k = 0; k < i; k++) assert_true(seen[k] != seen[i]);
    }
    put(20, 110, 100, 60, "A"); /* ten copies more: nothing that is shown */
    assert_int_equal(edge_render_cart(NULL, &image, &books, &euros, &rendered), EDGE_RENDER_OK);
    assert_true(rendered.tag.digest == seen[0]);
    image.lines[0].quantity = 3;
    assert_int_equal(edge_render_cart(NULL, &image, &books, &euros, &rendered), EDGE_RENDER_OK);
    assert_true(rendered.tag.digest != seen[0]);
}

static void test_a_gone_book_stays_and_counts_nothing(void **state) {
    (void)state;
    char text[4096];
    edge_rendered_t rendered;
    put(31, 200, 500, 9, "Here");
    cart_book_record_t record = test_book(30, 201, 700, 9, "Gone");
    record.state = CART_BOOK_GONE;
    assert_true(edge_books_put(&books, &record));
    cart_image_t image = one_line(30, 4);
    image.line_count = 2;
    image.lines[1] = (cart_line_t){31, 1};
    assert_int_equal(render(&image, &euros, text, sizeof(text), &rendered), EDGE_RENDER_OK);
    assert_non_null(strstr(text, "\"count\":1,\"subtotal\":{\"amount\":500,"));
    assert_non_null(strstr(text, "\"warnings\":[{\"code\":\"gone\",\"book\":30}]"));
    assert_non_null(strstr(text, "\"book\":30,\"title\":\"Gone\""));
}

static void test_a_changed_price_is_told_once(void **state) {
    (void)state;
    char text[4096];
    edge_rendered_t rendered;
    cart_image_t image = one_line(40, 1);
    put(40, 300, 1000, 99, "X");
    edge_render_options_t options = {.currency = "EUR", .was_shown = true, .shown = 300};
    assert_int_equal(render(&image, &options, text, sizeof(text), &rendered), EDGE_RENDER_OK);
    assert_true(rendered.once == 0 && strstr(text, "\"warnings\":[]") != NULL);
    put(40, 305, 1200, 99, "X");
    assert_int_equal(render(&image, &options, text, sizeof(text), &rendered), EDGE_RENDER_OK);
    assert_true(rendered.once == 1 && rendered.tag.once != 0);
    assert_non_null(
        strstr(text, "{\"code\":\"price-changed\",\"book\":40,\"old_price\":{\"amount\":1000,\"currency\":\"EUR\"}}"));
    uint64_t digest = rendered.tag.digest;
    options.shown = 305;
    assert_int_equal(render(&image, &options, text, sizeof(text), &rendered), EDGE_RENDER_OK);
    assert_true(rendered.once == 0 && rendered.tag.once == 0);
    assert_true(rendered.tag.digest == digest); /* If-Match with the first tag still names this cart */
    /* Two changes since: the price he saw. And back again: nothing to tell. */
    put(40, 310, 1300, 99, "X");
    options.shown = 304;
    assert_int_equal(render(&image, &options, text, sizeof(text), &rendered), EDGE_RENDER_OK);
    assert_non_null(strstr(text, "\"old_price\":{\"amount\":1000,"));
    put(40, 311, 1200, 99, "X");
    options.shown = 305;
    assert_int_equal(render(&image, &options, text, sizeof(text), &rendered), EDGE_RENDER_OK);
    assert_int_equal(rendered.once, 0);
    /* Never shown before: nothing to compare with. */
    options = euros;
    assert_int_equal(render(&image, &options, text, sizeof(text), &rendered), EDGE_RENDER_OK);
    assert_int_equal(rendered.once, 0);
}

static void test_a_missing_book_makes_no_answer(void **state) {
    (void)state;
    char text[4096];
    edge_rendered_t rendered;
    cart_image_t image = one_line(7, 1);
    image.line_count = 3;
    image.lines[1] = (cart_line_t){990001, 1};
    image.lines[2] = (cart_line_t){990002, 1};
    assert_int_equal(render(&image, &euros, text, sizeof(text), &rendered), EDGE_RENDER_MISSING);
    assert_int_equal(rendered.missing_count, 2);
    assert_true(rendered.missing[0] == 990001 && rendered.missing[1] == 990002);
}

static void test_every_capacity_is_respected(void **state) {
    (void)state;
    guard_t guard;
    char text[4096];
    edge_rendered_t rendered;
    put(7, 400, 1299, 1, "Emma \"quoted\"\\\x01\xE2\x82\xAC");
    cart_image_t image = one_line(7, 2);
    assert_int_equal(render(&image, &euros, text, sizeof(text), &rendered), EDGE_RENDER_OK);
    size_t whole = strlen(text);
    edge_json_t json;
    edge_json_begin(&json, text, whole);
    assert_true(edge_json_skip(&json) && edge_json_end(&json));
    guard_open(&guard, 4096);
    for (size_t room = 0; room <= whole; room++) {
        char *at = guard.guard - room;
        edge_out_t out = {at, guard.guard, false};
        edge_render_result_t result = edge_render_cart(&out, &image, &books, &euros, &rendered);
        assert_int_equal(result, room < whole ? EDGE_RENDER_NO_ROOM : EDGE_RENDER_OK);
    }
    guard_close(&guard);
}

static void test_languages(void **state) {
    (void)state;
    static const struct {
        const char *accept;
        edge_language_t language;
    } accepts[] = {{"", EDGE_EN},
                   {"fr", EDGE_FR},
                   {"FR-ca", EDGE_FR},
                   {"bg,en;q=0.9", EDGE_BG},
                   {"en;q=0.5, fr;q=0.8", EDGE_FR},
                   {"fr;q=0", EDGE_EN},
                   {"xx, bg;q=0.1", EDGE_BG},
                   {"fro", EDGE_EN},
                   {"fr;q=2", EDGE_EN},
                   {"fr;x", EDGE_EN},
                   {",,, ,bg", EDGE_BG},
                   {"f", EDGE_EN},
                   {"fr; q=1.000", EDGE_FR}};
    guard_t guard;
    guard_open(&guard, 4096);
    for (size_t i = 0; i < sizeof(accepts) / sizeof(accepts[0]); i++) {
        size_t length = strlen(accepts[i].accept);
        if (edge_language_choose(guard_put(&guard, accepts[i].accept, length), length) != accepts[i].language)
            fail_msg("%s", accepts[i].accept);
    }
    guard_close(&guard);
}

static void test_every_problem_is_json_in_every_language(void **state) {
    (void)state;
    for (unsigned problem = 0; problem < EDGE_PROBLEMS; problem++) {
        for (unsigned language = 0; language < EDGE_LANGUAGES; language++) {
            char text[EDGE_PROBLEM_BYTES_MAX];
            edge_out_t out = {text, text + sizeof(text), false};
            edge_problem_text_t what = {.problem = (edge_problem_t)problem,
                                        .language = (edge_language_t)language,
                                        .base = "/problems/",
                                        .request_id = "0123",
                                        .request_id_length = 4,
                                        .detail = "a \"b\"",
                                        .field = "x",
                                        .code = "y",
                                        .field_detail = "z",
                                        .offset = 5,
                                        .has_offset = true};
            edge_problem_render(&out, &what);
            assert_false(out.full);
            edge_json_t json;
            edge_json_begin(&json, text, (size_t)(out.at - text));
            assert_true(edge_json_skip(&json) && edge_json_end(&json));
        }
        unsigned status = edge_problem_status((edge_problem_t)problem);
        assert_true(status >= 400 && status < 600);
        if (status != 422 && status != 503) assert_int_equal(edge_problem_for_status(status), problem);
    }
    assert_int_equal(edge_problem_status(edge_problem_for_status(494)), 431);
    assert_int_equal(edge_problem_status(edge_problem_for_status(497)), 400);
    assert_int_equal(edge_problem_status(edge_problem_for_status(599)), 500);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_documented_cart),
        cmocka_unit_test(test_the_empty_cart),
        cmocka_unit_test(test_the_tag_follows_what_is_shown),
        cmocka_unit_test(test_a_gone_book_stays_and_counts_nothing),
        cmocka_unit_test(test_a_changed_price_is_told_once),
        cmocka_unit_test(test_a_missing_book_makes_no_answer),
        cmocka_unit_test(test_every_capacity_is_respected),
        cmocka_unit_test(test_languages),
        cmocka_unit_test(test_every_problem_is_json_in_every_language),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
