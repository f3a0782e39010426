/* Any text as a query and as a book's title: words stay within their limits, stand where they say, rise, and read the same again; what
 * makes a query's words is found among a title's. */
#include "services/library/library_csv.h"
#include "services/library/library_words.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t points_of(const char *text) {
    size_t points = 0;
    for (; *text != '\0'; points++) (void)library_utf8_next(&text); /* only the step counts */
    return points;
}

static void walk(const char *text, bool query) {
    library_words_t words;
    library_word_t word;
    size_t points = points_of(text), before = 0;
    library_words_begin(&words, text, query);
    while (library_words_next(&words, &word)) {
        size_t length = strlen(word.text);
        if (length > library_word_bytes_max || !library_utf8_valid(word.text, length)) abort();
        if (word.from >= word.to || word.to > points) abort();
        if (query && word.from < before) abort();
        if (word.open && !query) abort();
        if (strpbrk(word.text, " \"'*()^:{}\\,.-/") != NULL)
            abort(); /* nothing that an engine could take for an operator */
        before = word.from;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 4096 || memchr(data, 0, size) != NULL || !library_utf8_valid((const char *)data, size)) return 0;
    char *text = malloc(size + 1); /* exact, so that a sanitizer sees a step too far */
    char line[600], again[600], whole[64];
    if (text == NULL) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    walk(text, false);
    walk(text, true);
    library_words_line(text, line, sizeof(line));
    library_words_whole(text, whole, sizeof(whole));
    if (!library_utf8_valid(line, strlen(line)) || !library_utf8_valid(whole, strlen(whole))) abort();
    /* An index line is words already: their letters fold to themselves. */
    library_words_t words;
    library_word_t word;
    library_words_begin(&words, line, true);
    while (library_words_next(&words, &word)) {
        library_words_line(word.text, again, sizeof(again));
        if (word.text[0] != '\0' && again[0] == '\0') abort();
        if (library_words_distance(word.text, word.text, 2) != 0) abort();
        int far = library_words_distance(word.text, whole, 2);
        if (far < 0 || far > 3 || far != library_words_distance(whole, word.text, 2)) abort();
    }
    free(text);
    return 0;
}
