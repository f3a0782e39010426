/* The engine inside the database, by its interface alone: what it finds, what it refuses to understand, how it follows changes, what it
 * costs in statements; and the database asked in its stead. */
#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "services/library/library_highlight.h"
#include "services/library/library_shelf.h"
#include "services/library/library_sql.h"
#include "services/library/library_store.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];
static bc_db_t *database;
static library_store_t *store;
static library_search_t *search;

static library_book_t book_of(int64_t id, const char *title, const char *author, const char *description) {
    return (library_book_t){.id = id,
                            .title = title,
                            .authors = {author},
                            .author_count = author == NULL ? 0 : 1,
                            .description = description};
}

static void put(int64_t id, const char *title, const char *author, const char *description) {
    library_book_t book = book_of(id, title, author, description);
    library_imported_t result;
    assert_int_equal(library_store_import(store, &book, 1, 1000, &result), LIBRARY_OK);
}

static library_change_t hide(void *context, const library_row_t *row, library_book_t *book) {
    (void)context;
    (void)row;
    (void)book;
    return LIBRARY_CHANGE_HIDE;
}

static bool ignore(void *context, const library_row_t *row) {
    (void)context;
    (void)row;
    return true;
}

static void open_store(void) {
    assert_int_equal(bc_db_open(path, library_migrations, &database), BC_DB_OK);
    store = library_store_open(database, "fts5:");
    assert_non_null(store);
    search = library_store_search(store);
}

static void close_store(void) {
    library_store_close(store);
    bc_db_close(database);
}

static int setup(void **state) {
    (void)state;
    assert_true(bc_random_init());
    (void)snprintf(path, sizeof(path), "/tmp/bookcart-search-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    open_store();
    put(1, "Pride and Prejudice", "Jane Austen", "A proud man.");
    put(2, "Emma", "Jane Austen", "Emma Woodhouse, handsome, clever, and rich.");
    put(3, "Émile", "Jean-Jacques Rousseau", NULL);
    put(4, "The Emigrants", "Emma Writer", NULL);
    put(5, "Rabbits", NULL, "Emma is a rabbit.");
    put(6, "AND", NULL, NULL);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    close_store();
    char other[80];
    static const char *const tails[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(other, sizeof(other), "%s%s", path, tails[i]);
        (void)unlink(other); /* some are gone */
    }
    return 0;
}

static int compare_hits(const void *a, const void *b) {
    const library_hit_t *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1) : (x->book < y->book ? -1 : 1);
}

/* The books found, best first, as "2 4 5". */
static const char *find(const char *text) {
    static char line[256];
    library_found_t found;
    size_t used = 0;
    line[0] = '\0';
    assert_int_equal(library_search_find(search, text, &found), LIBRARY_SEARCH_OK);
    if (found.count > 1) qsort(found.hits, found.count, sizeof(*found.hits), compare_hits);
    for (size_t i = 0; i < found.count; i++)
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%lld", i == 0 ? "" : " ",
                                 (long long)found.hits[i].book);
    library_found_free(&found);
    return line;
}

static void title_goes_before_author_before_description(void **state) {
    (void)state;
    assert_string_equal(find("emma"), "2 4 5");
    assert_string_equal(find("EMMA"), "2 4 5");
    assert_string_equal(find("emma austen"), "2");
    assert_string_equal(find("austen"), "1 2");
}

static void forgives_typing_errors_and_accents(void **state) {
    (void)state;
    assert_string_equal(find("emile"), "3");
    assert_string_equal(find("predjudice"), "1");
    assert_string_equal(find("prejudise pridde"), "1");
    assert_string_equal(find("roussau"), "3");
    assert_string_equal(find("emigarnts"), "4");
    assert_string_equal(find("xyzzy"), "");
    assert_string_equal(find("xmma"), "2 4 5");
}

static void the_last_word_may_be_a_beginning(void **state) {
    (void)state;
    assert_string_equal(find("prej"), "1");
    assert_string_equal(find("pride and pre"), "1");
    assert_string_equal(find("emig"), "4");
    assert_string_equal(find("prideandp"), "1");
    assert_string_equal(find("pride prejudice pr"), "1");
}

static void no_text_is_an_operator(void **state) {
    (void)state;
    static const char *const texts[] = {
        "\"",    "*:*",          "NEAR(",        "AND",   "OR NOT", "title:emma", "emma*",
        "^emma", "{title}:emma", "emma AND",     "(emma", "emma\"", "'",          "--",
        ";",     "-emma",        "whole : emma", "\\",    "%"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *found = find(texts[i]); /* asserts OK */
        if (strstr(texts[i], "emma") != NULL) assert_non_null(strchr(found, '2'));
    }
    assert_string_equal(find("AND"), "6 1 2");
}

static void some_words_are_better_than_nothing(void **state) {
    (void)state;
    library_found_t found;
    assert_int_equal(library_search_find(search, "emma paperback edition", &found), LIBRARY_SEARCH_OK);
    assert_true(found.some);
    assert_int_equal(found.count, 3);
    library_found_free(&found);
    assert_int_equal(library_search_find(search, "emma woodhouse", &found), LIBRARY_SEARCH_OK);
    assert_false(found.some);
    assert_int_equal(found.count, 1);
    library_found_free(&found);
}

static void follows_every_change_in_its_transaction(void **state) {
    (void)state;
    put(2, "Persuasion", "Jane Austen", NULL); /* the row imported for it is another one now */
    assert_string_equal(find("persuasion"), "2");
    assert_string_equal(find("woodhouse"), "");
    assert_string_equal(find("persausion"), "2");
    assert_int_equal(library_store_change(store, 2, 2000, hide, ignore, NULL), LIBRARY_OK);
    assert_string_equal(find("persuasion"), "");
    assert_string_equal(find("persausion"), ""); /* a word of no book corrects nothing */
    close_store();
    open_store();
    assert_string_equal(find("prejudice"), "1");
}

static void an_index_that_is_gone_is_made_again(void **state) {
    (void)state;
    bc_db_t *db = library_store_db(store);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(bc_run(bc_db_prepare(db, "UPDATE search_layout SET layout = 0")), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    close_store();
    open_store();
    assert_true(library_search_is_whole(search));
    assert_string_equal(find("emma"), "2 4 5");
    assert_string_equal(find("predjudice"), "1");
    assert_string_equal(find("rabits"), "5");
}

static void costs_a_fixed_number_of_statements(void **state) {
    (void)state;
    static const char *const texts[] = {"emma", "emmma", "pride and predjudice", "zzzz yyyy xxxx",
                                        "a b c d e f g h i j k l m n o p q r s t"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        bc_db_count_reset();
        (void)find(texts[i]);
        assert_int_equal(bc_db_count(), 4);
    }
    library_found_t found;
    bc_db_count_reset();
    assert_int_equal(library_search_suggest(search, "ja au", &found), LIBRARY_SEARCH_OK);
    assert_int_equal(found.count, 2);
    assert_int_equal(bc_db_count(), 1);
    library_found_free(&found);
    bc_db_count_reset();
    put(1, "Pride and Prejudice", "Jane Austen", "A proud man, a prejudiced woman.");
    int first = bc_db_count();
    bc_db_count_reset();
    put(1, "Pride, Prejudice and Many Other New Words for the Vocabulary", "Jane Austen", "A proud man.");
    assert_int_equal(bc_db_count(), first + 3); /* the words are other ones */
}

static void the_database_answers_for_an_engine_that_is_away(void **state) {
    (void)state;
    char reason[BC_CONFIG_REASON_BYTES];
    assert_true(bc_fault_init("library.search-away=fail@*", reason));
    library_found_t found;
    bc_db_count_reset();
    assert_int_equal(library_search_find(search, "austen, emma", &found), LIBRARY_SEARCH_OK);
    assert_true(found.plain);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.hits[0].book, 2);
    assert_int_equal(bc_db_count(), 1);
    library_found_free(&found);
    assert_string_equal(find("ÉMILE rousseau"), "3");
    assert_string_equal(find("emmma"), ""); /* it forgives no typing errors */
    assert_string_equal(find("%"), "");
    assert_string_equal(find("_mma"), "2 4");
    assert_int_equal(library_search_suggest(search, "pre", &found), LIBRARY_SEARCH_OK);
    assert_int_equal(found.count, 1);
    library_found_free(&found);
    assert_true(bc_fault_init("", reason));
    assert_string_equal(find("emmma"), "2 4 5");
}

/* --- marking --- */

static void marks(const char *title, const char *description, const char *text, const char *expected) {
    library_found_t found;
    library_row_t row = {.title = title, .authors = "[]", .description = description};
    assert_int_equal(library_search_find(search, text, &found), LIBRARY_SEARCH_OK);
    json_t *list = library_highlights(&row, &found);
    char *dumped = json_dumps(list, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(dumped, expected);
    free(dumped);
    json_decref(list);
    library_found_free(&found);
}

static void marks_whole_words_in_code_points(void **state) {
    (void)state;
    marks("Émile & Emma", NULL, "emile", "[{\"field\":\"title\",\"ranges\":[[0,5]],\"text\":\"Émile & Emma\"}]");
    marks("“Emma”, emma's EMMA", NULL, "emma",
          "[{\"field\":\"title\",\"ranges\":[[1,5],[8,14],[15,19]],\"text\":\"“Emma”, emma's EMMA\"}]");
    marks("Nothing", NULL, "emma", "[]");
    marks("Prejudices", NULL, "prej", "[{\"field\":\"title\",\"ranges\":[[0,10]],\"text\":\"Prejudices\"}]");
}

static void cuts_a_description_around_the_first_word(void **state) {
    (void)state;
    char text[2000] = "", expected[64];
    for (int i = 0; i < 60; i++) strcat(text, "être ");
    strcat(text, "Emma ");
    for (int i = 0; i < 60; i++) strcat(text, "être ");
    library_found_t found;
    library_row_t row = {.title = "T", .authors = "[]", .description = text};
    assert_int_equal(library_search_find(search, "emma", &found), LIBRARY_SEARCH_OK);
    json_t *list = library_highlights(&row, &found), *first = json_array_get(list, 0);
    const char *snippet = json_string_value(json_object_get(first, "text"));
    json_int_t from = json_integer_value(json_array_get(json_array_get(json_object_get(first, "ranges"), 0), 0));
    const char *at = snippet;
    size_t points = 0;
    for (; *at != '\0'; points++) {
        if ((json_int_t)points == from) (void)snprintf(expected, sizeof(expected), "%.4s", at);
        (void)library_utf8_next(&at); /* only the step counts */
    }
    assert_string_equal(expected, "Emma");
    assert_int_equal(points, library_snippet_points);
    assert_true(from <= library_snippet_before);
    assert_int_equal(strncmp(snippet, "être", strlen("être")), 0); /* begins with a whole word */
    json_decref(list);
    library_found_free(&found);
}

/* --- the shelf --- */

static uint64_t total(library_shelf_t *shelf, const library_query_t *query) {
    library_picks_t picks;
    bc_db_t *reader = bc_db_enter_read(library_store_db(store));
    assert_true(library_shelf_enter(shelf, reader));
    assert_true(library_shelf_pick(shelf, query, NULL, &picks));
    library_shelf_leave(shelf);
    bc_db_leave(reader);
    uint64_t count = picks.total;
    library_picks_free(&picks);
    return count;
}

static void the_shelf_is_what_the_database_lists(void **state) {
    (void)state;
    library_shelf_t *shelf = library_shelf_create(store, 2);
    assert_non_null(shelf);
    library_query_t all = {.sort = LIBRARY_SORT_TITLE}, austen = {.author_key = "jane austen"},
                    nobody = {.author_key = "nobody"};
    assert_int_equal(total(shelf, &all), 6);
    assert_int_equal(total(shelf, &austen), 2);
    assert_int_equal(total(shelf, &nobody), 0);
    /* Books come, change and go, in an order that a seed chooses; the shelf follows. */
    unsigned seed = (unsigned)getpid();
    (void)printf("seed %u\n", seed);
    srandom(seed);
    bool there[400] = {false};
    for (int round = 0; round < 400; round++) {
        int64_t id = 100 + random() % 300;
        char title[32];
        (void)snprintf(title, sizeof(title), "Book %ld", random() % 1000);
        if (there[id - 100] && random() % 3 == 0) {
            assert_int_equal(library_store_change(store, id, 2000, hide, ignore, NULL), LIBRARY_OK);
            there[id - 100] = false;
        } else {
            library_book_t book = book_of(id, title, random() % 2 ? "Jane Austen" : "Other Author", NULL);
            library_imported_t result;
            assert_int_equal(library_store_import(store, &book, 1, 1000, &result), LIBRARY_OK);
            /* A hidden book is unchanged or gone to an import, and stays hidden. */
            if (result == LIBRARY_IMPORT_NEW || result == LIBRARY_IMPORT_CHANGED) there[id - 100] = true;
        }
        if (round % 50 != 49) continue;
        uint64_t expected = 6;
        for (size_t i = 0; i < 400; i++) expected += there[i];
        bc_db_count_reset();
        assert_int_equal(total(shelf, &all), expected);
        assert_int_equal(bc_db_count(), 1);
        library_shelf_t *fresh = library_shelf_create(store, 2);
        assert_int_equal(total(fresh, &austen), total(shelf, &austen));
        bc_db_t *reader = bc_db_enter_read(library_store_db(store));
        assert_true(library_shelf_enter(shelf, reader));
        for (int64_t look = 100; look < 400; look++)
            assert_int_equal(library_shelf_find(shelf, look) != NULL, there[look - 100]);
        library_shelf_leave(shelf);
        bc_db_leave(reader);
        library_shelf_destroy(fresh);
    }
    library_shelf_destroy(shelf);
}

static void *follow(void *shelf) {
    const library_query_t all = {.sort = LIBRARY_SORT_TITLE};
    return total(shelf, &all) == 7 ? shelf : NULL;
}

static void an_older_picture_takes_nothing_back_from_the_shelf(void **state) {
    (void)state;
    library_shelf_t *shelf = library_shelf_create(store, 2);
    assert_non_null(shelf);
    bc_db_t *older = bc_db_enter_read(library_store_db(store));
    assert_true(library_shelf_enter(shelf, older)); /* takes its picture */
    library_shelf_leave(shelf);
    library_book_t book = book_of(500, "Later", "Jane Austen", NULL);
    library_imported_t result;
    assert_int_equal(library_store_import(store, &book, 1, 1000, &result), LIBRARY_OK);
    pthread_t thread;
    void *followed = NULL;
    assert_int_equal(pthread_create(&thread, NULL, follow, shelf), 0);
    assert_int_equal(pthread_join(thread, &followed), 0);
    assert_non_null(followed);
    assert_true(library_shelf_enter(shelf, older));
    assert_int_equal(library_shelf_size(shelf), 7);
    assert_non_null(library_shelf_find(shelf, 500));
    library_shelf_leave(shelf);
    bc_db_leave(older);
    library_shelf_destroy(shelf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(title_goes_before_author_before_description, setup, teardown),
        cmocka_unit_test_setup_teardown(forgives_typing_errors_and_accents, setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_word_may_be_a_beginning, setup, teardown),
        cmocka_unit_test_setup_teardown(no_text_is_an_operator, setup, teardown),
        cmocka_unit_test_setup_teardown(some_words_are_better_than_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(follows_every_change_in_its_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(an_index_that_is_gone_is_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(costs_a_fixed_number_of_statements, setup, teardown),
        cmocka_unit_test_setup_teardown(the_database_answers_for_an_engine_that_is_away, setup, teardown),
        cmocka_unit_test_setup_teardown(marks_whole_words_in_code_points, setup, teardown),
        cmocka_unit_test_setup_teardown(cuts_a_description_around_the_first_word, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_picture_takes_nothing_back_from_the_shelf, setup, teardown),
        cmocka_unit_test_setup_teardown(the_shelf_is_what_the_database_lists, setup, teardown),
    };
    bc_log_init("search-test", BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
