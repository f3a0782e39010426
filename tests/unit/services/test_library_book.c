/* The rules of a book, and both tables an import reads. */
#include "services/library/library_book.h"
#include "services/library/library_columns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void reads_prices_by_the_currency(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int digits;
        int64_t minor; /* −1: refused */
    } cases[] = {
        {"12.99", 2, 1299},
        {"12", 2, 1200},
        {"12.9", 2, 1290},
        {"0", 2, 0},
        {"0.01", 2, 1},
        {"12.999", 2, -1},
        {"12.", 2, -1},
        {".5", 2, -1},
        {"-1", 2, -1},
        {"1,5", 2, -1},
        {"", 2, -1},
        {"1e3", 2, -1},
        {"12.0", 0, -1},
        {"12", 0, 12},
        {"1.234", 3, 1234},
        {"1.2.3", 2, -1},
        {"1000000", 2, 100000000},
        {"1000000.01", 2, -1},
        {"99999999999999999999999", 2, -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t minor = -7;
        const char *reason = library_price_read(cases[i].text, cases[i].digits, &minor);
        assert_int_equal(minor, cases[i].minor < 0 ? -7 : cases[i].minor);
        assert_true((reason != NULL) == (cases[i].minor < 0));
    }
    assert_int_equal(library_currency_digits("EUR"), 2);
    assert_int_equal(library_currency_digits("JPY"), 0);
    assert_int_equal(library_currency_digits("KWD"), 3);
    assert_int_equal(library_currency_digits("F C"), 2);
}

static void reads_isbns_of_both_lengths(void **state) {
    (void)state;
    char isbn[library_isbn_chars + 1] = "unchanged";
    assert_true(library_isbn_read("0-306-40615-2", isbn));
    assert_string_equal(isbn, "9780306406157");
    assert_true(library_isbn_read("978-0-306-40615-7", isbn));
    assert_string_equal(isbn, "9780306406157");
    assert_true(library_isbn_read("080442957X", isbn));
    assert_string_equal(isbn, "9780804429573");
    assert_false(library_isbn_read("0306406153", isbn));
    assert_false(library_isbn_read("9780306406158", isbn));
    assert_false(library_isbn_read("X804429570", isbn));
    assert_false(library_isbn_read("", isbn));
    assert_false(library_isbn_read("97803064061577", isbn));
    assert_string_equal(isbn, "9780804429573");
}

static void reads_languages_as_others_write_them(void **state) {
    (void)state;
    static const char *const good[][2] = {{"eng", "en"}, {"en-US", "en"}, {"EN", "en"},   {"fre", "fr"},
                                          {"fra", "fr"}, {"bul", "bg"},   {"grc", "grc"}, {"mul", "mul"},
                                          {"nl", "nl"},  {"ger", "de"},   {"zul", "zu"},  {"ab", "ab"}};
    static const char *const bad[] = {"", "xx", "english", "e", "-en", "qqq"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        const char *code = library_language_read(good[i][0]);
        assert_non_null(code);
        assert_string_equal(code, good[i][1]);
        assert_string_equal(library_language_read(code), code); /* what is kept is read again as itself */
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) assert_null(library_language_read(bad[i]));
}

static void folds_letters_for_sorting(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"Émile ZOLA", "emile zola"},
        {"Ærø ß", "aero ss"},
        {"Иван Вазов", "иван вазов"},
        {"Karel Čapek", "karel capek"},
        {"Œuvres", "oeuvres"},
        {"こゝろ", "こゝろ"},
        {"Ελλάς", "ελλάς"},
        {"İstanbul", "istanbul"},
        {"a÷b", "a÷b"},
    };
    char key[64];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        library_fold(cases[i][0], key, sizeof(key));
        assert_string_equal(key, cases[i][1]);
    }
    library_fold("ЯЯЯ", key, 4); /* cut at a whole letter */
    assert_string_equal(key, "я");
}

static void price_and_stock_follow_from_the_id(void **state) {
    (void)state;
    /* Fixed for ever: shops on other machines have these. */
    assert_int_equal(library_rule_price_minor(1), 2399);
    assert_int_equal(library_rule_stock(1), 11);
    assert_int_equal(library_rule_price_minor(7), 1599);
    assert_int_equal(library_rule_stock(7), 23);
    assert_int_equal(library_rule_price_minor(100002), 1999);
    assert_int_equal(library_rule_stock(100002), 122);
    unsigned none = 0;
    unsigned low = 0;
    for (int64_t id = 1; id <= 10000; id++) {
        int64_t price = library_rule_price_minor(id);
        int64_t stock = library_rule_stock(id);
        assert_true(price >= 499 && price <= 2999 && price % 100 == 99);
        assert_true(stock >= 0 && stock <= 125);
        none += stock == 0;
        low += strcmp(library_availability(stock), "low") == 0;
    }
    assert_true(none > 200 && none < 400);
    assert_true(low > 500 && low < 900);
    assert_string_equal(library_availability(0), "out_of_stock");
    assert_string_equal(library_availability(5), "low");
    assert_string_equal(library_availability(6), "in_stock");
}

/* --- tables --- */

typedef struct {
    library_columns_t columns;
    bool has_header;
    bool header_good;
    char reason[library_reason_bytes];
    size_t good;
    library_book_t book;
    char title[100];
    char authors[200];
    char isbn[library_isbn_chars + 1];
    char language[8];
    bool has_cover;
} table_t;

static bool take(void *context, library_csv_row_t *row) {
    table_t *table = context;
    char isbn[library_isbn_chars + 1];
    if (!table->has_header) {
        table->has_header = true;
        table->header_good = library_columns_read(row, 2, &table->columns, table->reason);
        return table->header_good;
    }
    if (!library_columns_book(&table->columns, row, &table->book, isbn, table->reason)) return true;
    table->good++;
    (void)snprintf(table->title, sizeof(table->title), "%s", table->book.title);
    table->authors[0] = '\0';
    for (size_t i = 0; i < table->book.author_count; i++) {
        strcat(strcat(table->authors, table->book.authors[i]), "/");
    }
    (void)snprintf(table->isbn, sizeof(table->isbn), "%s", table->book.isbn == NULL ? "" : table->book.isbn);
    (void)snprintf(table->language, sizeof(table->language), "%s",
                   table->book.language == NULL ? "" : table->book.language);
    table->has_cover = table->book.cover_url != NULL;
    return true;
}

static void read_table(const char *text, table_t *table) {
    memset(table, 0, sizeof(*table));
    library_csv_t *csv = library_csv_create(take, table);
    assert_non_null(csv);
    if (library_csv_feed(csv, text, strlen(text))) (void)library_csv_finish(csv);
    library_csv_destroy(csv);
}

static void refuses_headers_it_does_not_know(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"id,titel\n", "column \"titel\" is not known"},
        {"id\n", "column \"title\" is missing"},
        {"title,authors\n", "column \"id\" is missing"},
        {"id,title,id\n", "column \"id\" stands there twice"},
        {"book_id,authors\n", "column \"title\" is missing"},
        {"id,\"ti\"tle\n", "the header text after a closing quote"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        table_t table;
        read_table(cases[i][0], &table);
        assert_false(table.header_good);
        assert_string_equal(table.reason, cases[i][1]);
    }
}

static void rejects_each_bad_row_with_its_reason(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"x,T,A,1,en,,,,1,1,", "id is not a whole number"},
        {",T,A,1,en,,,,1,1,", "id is missing"},
        {"0,T,A,1,en,,,,1,1,", "id is not a number from 1 to 2^53 - 1"},
        {"9007199254740992,T,A,1,en,,,,1,1,", "id is not a number from 1 to 2^53 - 1"},
        {"1, ,A,1,en,,,,1,1,", "title is missing"},
        {"1,T,A,1.5,en,,,,1,1,", "year is not a whole number"},
        {"1,T,A,1800.0,en,,,,1,1,", "year is not a whole number"},
        {"1,T,A,99999,en,,,,1,1,", "year is out of range"},
        {"1,T,A,1,klingon,,,,1,1,", "language is not a language code"},
        {"1,T,A,1,en,123,,,1,1,", "isbn is not an ISBN"},
        {"1,T,A,1,en,,,,1.999,1,", "price has more fraction digits than the currency"},
        {"1,T,A,1,en,,,,-1,1,", "price is negative"},
        {"1,T,A,1,en,,,,abc,1,", "price is not a decimal number"},
        {"1,T,A,1,en,,,,1,-1,", "stock is negative"},
        {"1,T,A,1,en,,,,1,1.0,", "stock is not a whole number"},
        {"1,T,A,1,en,,,,1,1,ftp://x", "cover_url is not an http address"},
        {"1,T,A,1,en,,,,1,1", "row: 10 columns where the header has 11"},
        {"1,T\"x,A,1,en,,,,1,1,", "row: a quote inside an unquoted field"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[400];
        table_t table;
        (void)snprintf(text, sizeof(text),
                       "id,title,authors,year,language,isbn,genres,description,price,stock,cover_url\n%s\n",
                       cases[i][0]);
        read_table(text, &table);
        assert_true(table.header_good);
        assert_int_equal(table.good, 0);
        assert_string_equal(table.reason, cases[i][1]);
    }
}

static void reads_our_table(void **state) {
    (void)state;
    table_t table;
    read_table("title,id,authors,year,price,stock\n\"  War,  and \tPeace \",7,Leo; Leo ;Ann,-750,9.5,3\n", &table);
    assert_int_equal(table.good, 1);
    assert_int_equal(table.book.id, 7);
    assert_string_equal(table.title, "War, and Peace");
    assert_string_equal(table.authors, "Leo/Ann/");
    assert_int_equal(table.book.year, -750);
    assert_int_equal(table.book.price_minor, 950);
    assert_int_equal(table.book.stock, 3);
}

static void reads_goodbooks_with_their_flaws(void **state) {
    (void)state;
    static const char header[] = "book_id,goodreads_book_id,isbn,authors,original_publication_year,title,language_code,"
                                 "average_rating,ratings_count,image_url\n";
    char text[600];
    table_t table;
    (void)snprintf(text, sizeof(text), "%s%s", header,
                   "7,1,439023483,\"Ann Lee, Bob, Ann Lee\",-750.0,T,en-US,4.34,99,https://x/nophoto/y.png\n");
    read_table(text, &table);
    assert_int_equal(table.good, 1);
    assert_string_equal(table.authors, "Ann Lee/Bob/");
    assert_string_equal(table.isbn, "9780439023481");
    assert_string_equal(table.language, "en");
    assert_int_equal(table.book.year, -750);
    assert_int_equal(table.book.rating, 434);
    assert_int_equal(table.book.ratings_count, 99);
    assert_false(table.has_cover);
    assert_false(table.book.has_price || table.book.has_stock);
    /* Unknown codes, wrong digits and missing years are no reason to lose a book. */
    (void)snprintf(text, sizeof(text), "%s%s", header, "7,1,439023484,Ann,,T,q?,4.0,99,https://x/y.png\n");
    read_table(text, &table);
    assert_int_equal(table.good, 1);
    assert_string_equal(table.isbn, "");
    assert_string_equal(table.language, "");
    assert_false(table.book.has_year);
    assert_true(table.has_cover);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_prices_by_the_currency),         cmocka_unit_test(reads_isbns_of_both_lengths),
        cmocka_unit_test(reads_languages_as_others_write_them), cmocka_unit_test(folds_letters_for_sorting),
        cmocka_unit_test(price_and_stock_follow_from_the_id),   cmocka_unit_test(refuses_headers_it_does_not_know),
        cmocka_unit_test(rejects_each_bad_row_with_its_reason), cmocka_unit_test(reads_our_table),
        cmocka_unit_test(reads_goodbooks_with_their_flaws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
