/* What counts as a word, where it stands, and how far two words are apart. */
#include "services/library/library_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct {
    const char *text;
    const char *index; /* the line it becomes */
    const char *query;
} words_case_t;

static const words_case_t cases[] = {
    {"Pride and Prejudice", "pride and prejudice", "pride and prejudice"},
    {"Émile, ou De l’éducation", "emile ou de leducation l education", "emile ou de leducation"},
    {"who's", "whos who s", "whos"},
    {"J.R.R. Tolkien", "jrr j r r tolkien", "jrr tolkien"},
    {"J. K. Rowling", "jk j k rowling", "jk rowling"},
    {"A. Milne", "a milne", "a milne"},
    {"C++ and C# or F#", "c++ and c# or f#", "c++ and c# or f#"},
    {"a+b #1 +x", "a b 1 x", "a b 1 x"},
    {"Ἰλιάς ΟΔΥΣΣΕΙΑ", "ιλιασ οδυσσεια", "ιλιασ οδυσσεια"},
    {"Под игото; Ёлка", "под игото елка", "под игото елка"},
    {"紅樓夢", "紅樓 樓夢 夢", "紅樓 樓夢"},
    {"夢", "夢", "夢"},
    {"源氏物語 I", "源氏 氏物 物語 語 i", "源氏 氏物 物語 i"},
    {"Straße Æsop œuvre", "strasse aesop oeuvre", "strasse aesop oeuvre"},
    {"Cafe\xcc\x81", "cafe", "cafe"},
    {"Tr\xe1\xba\xa7n", "tran", "tran"},
    {"گلستان", "گلستان", "گلستان"},
    {"", "", ""},
    {"\"", "", ""},
    {"*:*", "", ""},
    {"NEAR(", "near", "near"},
    {"AND OR NOT", "and or not", "and or not"},
    {"title:x^2 -y", "title x 2 y", "title x 2 y"},
    {"'' . ...", "", ""},
    {"rock'n'roll'", "rocknroll rock n roll", "rocknroll"},
};

static void reads_words_by_one_rule(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[512], read[512] = "";
        library_words_line(cases[i].text, line, sizeof(line));
        assert_string_equal(line, cases[i].index);
        library_words_t words;
        library_word_t word;
        library_words_begin(&words, cases[i].query == NULL ? "" : cases[i].text, true);
        while (library_words_next(&words, &word)) {
            if (read[0] != '\0') strcat(read, " ");
            strcat(read, word.text);
        }
        assert_string_equal(read, cases[i].query);
    }
}

static void says_where_a_word_stands_in_code_points(void **state) {
    (void)state;
    static const struct {
        const char *word;
        size_t from, to;
    } expected[] = {{"lecole", 0, 7}, {"l", 0, 1},    {"ecole", 2, 7}, {"紅樓", 8, 10},
                    {"樓夢", 9, 11},  {"夢", 10, 11}, {"c++", 12, 15}};
    library_words_t words;
    library_word_t word;
    library_words_begin(&words, "L’École 紅樓夢 C++", false);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_true(library_words_next(&words, &word));
        assert_string_equal(word.text, expected[i].word);
        assert_int_equal(word.from, expected[i].from);
        assert_int_equal(word.to, expected[i].to);
    }
    assert_false(library_words_next(&words, &word));
}

static void knows_which_word_is_still_being_typed(void **state) {
    (void)state;
    library_words_t words;
    library_word_t word;
    library_words_begin(&words, "war and pea", true);
    assert_true(library_words_next(&words, &word) && !word.open);
    assert_true(library_words_next(&words, &word) && !word.open);
    assert_true(library_words_next(&words, &word) && word.open);
    library_words_begin(&words, "war ", true);
    assert_true(library_words_next(&words, &word) && !word.open);
}

static void cuts_what_is_too_long_at_a_whole_word(void **state) {
    (void)state;
    char text[400], line[12];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    library_words_t words;
    library_word_t word;
    library_words_begin(&words, text, true);
    assert_true(library_words_next(&words, &word));
    assert_int_equal(strlen(word.text), library_word_bytes_max);
    assert_int_equal(word.to, sizeof(text) - 1);
    assert_false(library_words_next(&words, &word));
    library_words_line("one two three four", line, sizeof(line));
    assert_string_equal(line, "one two");
    library_words_whole("Moby-Dick; or, The Whale", text, sizeof(text));
    assert_string_equal(text, "mobydickorthewhale");
}

static void counts_edits(void **state) {
    (void)state;
    static const struct {
        const char *one, *other;
        int distance;
    } pairs[] = {{"emma", "emma", 0},
                 {"emma", "ema", 1},
                 {"emma", "amma", 1},
                 {"emma", "emam", 1},
                 {"prejudice", "predjudice", 1},
                 {"sense", "sence", 1},
                 {"karamazov", "karamzoff", 3},
                 {"dostoevsky", "dostoyevsky", 1},
                 {"игото", "иготто", 1},
                 {"ab", "ba", 1},
                 {"", "ab", 2},
                 {"quixote", "quijote", 1},
                 {"whale", "while", 1},
                 {"whale", "shell", 3},
                 {"abcdef", "badcfe", 3}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        assert_int_equal(library_words_distance(pairs[i].one, pairs[i].other, 2), pairs[i].distance);
        assert_int_equal(library_words_distance(pairs[i].other, pairs[i].one, 2), pairs[i].distance);
    }
    assert_int_equal(library_words_distance("whale", "shell", 1), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_words_by_one_rule),
        cmocka_unit_test(says_where_a_word_stands_in_code_points),
        cmocka_unit_test(knows_which_word_is_still_being_typed),
        cmocka_unit_test(cuts_what_is_too_long_at_a_whole_word),
        cmocka_unit_test(counts_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
