/* Questions in a real database: the rules of texts, who writes first, pages, and what is forgotten. */
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "services/question/question_service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];
static bc_db_t *db;
static cart_id_t ann, ben;

static int setup(void **state) {
    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/bookcart-question-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) != 0 || unlink(path) != 0 || !bc_random_init()) return -1;
    ann = bc_random_id();
    ben = bc_random_id();
    if (bc_db_open(path, question_migrations, &db) != BC_DB_OK) return -1;
    return bc_db_begin(db) == BC_DB_OK ? 0 : -1; /* each test is one transaction */
}

static int teardown(void **state) {
    (void)state;
    bool committed = bc_db_commit(db) == BC_DB_OK;
    bc_db_close(db);
    return committed ? unlink(path) : -1;
}

static cart_id_t ask(const cart_id_t *user, question_about_t about, int64_t at_ms) {
    question_row_t row = {.id = bc_random_id(),
                          .has_user = true,
                          .user = *user,
                          .about = about,
                          .book = 7,
                          .order = bc_random_id(),
                          .subject = "S",
                          .state = QUESTION_OPEN,
                          .messages = 1,
                          .created_ms = at_ms};
    assert_int_equal(question_put(db, &row, "words"), QUESTION_OK);
    return row.id;
}

static int64_t number(const char *sql) {
    bc_statement_t *statement = bc_db_prepare(db, sql);
    assert_int_equal(bc_step(statement), BC_DB_ROW);
    int64_t value = bc_column_int(statement, 0);
    bc_statement_done(statement);
    return value;
}

static void texts_are_plain(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool lines;
        const char *fault;
    } cases[] = {
        {"fine", false, NULL},
        {"<b>&amp;</b>", false, NULL},
        {"two\r\n\tlines", true, NULL},
        {"two\nlines", false, "holds a control character"},
        {"", true, "is empty"},
        {" \t\n", true, "is empty"},
        {"\x1b[31m", true, "holds a control character"},
        {"\x7f", true, "holds a control character"},
        {"a\xc2\x9b", true, "holds a control character"}, /* U+009B */
        {"a\xc2\xa0", true, NULL},                        /* U+00A0 */
        {"яяяяя", false, NULL},                           /* five characters, ten bytes */
        {"яяяяяя", false, "is too long"},
        {"👋👋👋👋👋", false, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t most = strncmp(cases[i].text, "я", 2) == 0 || (unsigned char)cases[i].text[0] == 0xf0 ? 5 : 100;
        const char *fault = question_text_fault(cases[i].text, most, cases[i].lines);
        if (cases[i].fault == NULL) assert_null(fault);
        if (cases[i].fault != NULL) assert_string_equal(fault, cases[i].fault);
    }
}

static void of_two_who_write_at_once_one_is_refused(void **state) {
    (void)state;
    cart_id_t id = ask(&ann, QUESTION_ABOUT_BOOK, 1);
    question_conversation_t first, second, seen;
    assert_int_equal(question_load(db, &id, &first), QUESTION_OK);
    assert_int_equal(question_load(db, &id, &second), QUESTION_OK);
    assert_true(question_append(&first, QUESTION_BY_SHOP, "first", 2));
    assert_true(question_append(&second, QUESTION_BY_CUSTOMER, "second", 3));
    assert_int_equal(question_go_on(db, &first.row, QUESTION_BY_SHOP, "first"), QUESTION_OK);
    assert_int_equal(question_go_on(db, &second.row, QUESTION_BY_CUSTOMER, "second"), QUESTION_CHANGED);
    second.row.messages--;
    assert_int_equal(question_save(db, &second.row), QUESTION_CHANGED);
    assert_int_equal(question_load(db, &id, &seen), QUESTION_OK);
    assert_int_equal(seen.row.messages, 2);
    assert_int_equal(json_array_size(seen.messages), 2);
    assert_string_equal(seen.last_asked, "words");
    question_drop(&first);
    question_drop(&second);
    question_drop(&seen);
    cart_id_t none = bc_random_id();
    assert_int_equal(question_load(db, &none, &seen), QUESTION_ABSENT);
}

typedef struct {
    int count;
    int most;
    question_place_t last;
} page_t;

static bool take_created(void *context, const question_row_t *row) {
    page_t *page = context;
    if (page->count++ > 0) assert_true(row->created_ms <= page->last.at_ms);
    page->last = (question_place_t){.at_ms = row->created_ms, .id = row->id};
    return true;
}

static bool take_since(void *context, const question_row_t *row) {
    page_t *page = context;
    if (page->count++ > 0) assert_true(row->since_ms >= page->last.at_ms);
    page->last = (question_place_t){.at_ms = row->since_ms, .id = row->id};
    assert_string_equal(row->last_text, "words");
    return true;
}

static void pages_meet_each_row_once_although_times_are_equal(void **state) {
    (void)state;
    for (int i = 0; i < 23; i++) (void)ask(i % 3 == 0 ? &ben : &ann, QUESTION_ABOUT_SHOP, i / 5);
    for (int limit = 1; limit <= 24; limit++) {
        page_t mine = {0}, queue = {0};
        for (int before = -1; mine.count != before;) {
            before = mine.count;
            const question_place_t behind = mine.last;
            assert_int_equal(question_list_of(db, &ann, before == 0 ? NULL : &behind, limit, take_created, &mine),
                             QUESTION_OK);
        }
        assert_int_equal(mine.count, 15);
        for (int before = -1; queue.count != before;) {
            before = queue.count;
            const question_place_t behind = queue.last;
            assert_int_equal(question_queue(db, QUESTION_OPEN, before == 0 ? NULL : &behind, limit, take_since, &queue),
                             QUESTION_OK);
        }
        assert_int_equal(queue.count, 23);
    }
    int64_t open = 0;
    assert_int_equal(question_count_open(db, &ben, &open), QUESTION_OK);
    assert_int_equal(open, 8);
}

static void an_erased_asker_is_forgotten_and_nobody_else(void **state) {
    (void)state;
    cart_id_t about_book = ask(&ann, QUESTION_ABOUT_BOOK, 1), about_order = ask(&ann, QUESTION_ABOUT_ORDER, 2);
    cart_id_t other = ask(&ben, QUESTION_ABOUT_ORDER, 3);
    question_conversation_t seen;
    for (int round = 0; round < 2; round++) { /* told twice is told once */
        question_forget(db, &ann);
        assert_true(bc_db_is_sound(db));
        assert_int_equal(question_load(db, &about_order, &seen), QUESTION_ABSENT);
        assert_int_equal(question_load(db, &about_book, &seen), QUESTION_OK);
        assert_false(seen.row.has_user);
        assert_int_equal(json_array_size(seen.messages), 1);
        question_drop(&seen);
        assert_int_equal(question_load(db, &other, &seen), QUESTION_OK);
        assert_true(seen.row.has_user && cart_id_equal(&seen.row.user, &ben));
        question_drop(&seen);
    }
    assert_int_equal(number("SELECT COUNT(*) FROM messages"), 2);
}

static void frequent_questions_are_replaced_whole(void **state) {
    (void)state;
    char *items = NULL;
    assert_int_equal(question_faq_get(db, "en", &items), QUESTION_ABSENT);
    assert_int_equal(question_faq_put(db, "en", "[1]", 1), QUESTION_OK);
    assert_int_equal(question_faq_put(db, "en", "[2]", 2), QUESTION_OK);
    assert_int_equal(question_faq_put(db, "fr", "[3]", 2), QUESTION_OK);
    assert_int_equal(question_faq_get(db, "en", &items), QUESTION_OK);
    assert_string_equal(items, "[2]");
    free(items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_plain),
        cmocka_unit_test_setup_teardown(of_two_who_write_at_once_one_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_meet_each_row_once_although_times_are_equal, setup, teardown),
        cmocka_unit_test_setup_teardown(an_erased_asker_is_forgotten_and_nobody_else, setup, teardown),
        cmocka_unit_test_setup_teardown(frequent_questions_are_replaced_whole, setup, teardown),
    };
    bc_log_init("question-test", BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
