#include "services/library/library_highlight.h"

#include <assert.h>
#include <string.h>

typedef struct {
    size_t from, to;
} range_t;

typedef struct {
    range_t list[library_highlight_ranges_max];
    size_t count;
} ranges_t;

static bool is_meant(const library_word_t *word, const library_term_t *term) {
    size_t length = strlen(term->text);
    if (length == 0 || strncmp(word->text, term->text, length) != 0) return false;
    return term->beginning || word->text[length] == '\0';
}

static bool is_any(const library_word_t *word, const library_found_t *found) {
    for (size_t i = 0; i < found->term_count; i++) {
        if (is_meant(word, &found->terms[i])) return true;
    }
    return false;
}

/* Words of one text come with rising ends but for the parts of a tied word, which lie in it. */
static void add_range(ranges_t *ranges, const library_word_t *word) {
    range_t *last = ranges->count == 0 ? NULL : &ranges->list[ranges->count - 1];
    if (last != NULL && word->from <= last->to) {
        if (word->to > last->to) last->to = word->to;
        return;
    }
    if (ranges->count == library_highlight_ranges_max) return;
    ranges->list[ranges->count++] = (range_t){.from = word->from, .to = word->to};
}

static void find_ranges(const char *text, const library_found_t *found, ranges_t *ranges) {
    library_words_t words;
    library_word_t word;
    ranges->count = 0;
    library_words_begin(&words, text, false);
    while (library_words_next(&words, &word)) {
        if (is_any(&word, found)) add_range(ranges, &word);
    }
}

static bool put_highlight(json_t *array, const char *field, const char *text, const ranges_t *ranges) {
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t i = 0; i < ranges->count && good; i++)
        good = json_array_append_new(
                   list, json_pack("[I, I]", (json_int_t)ranges->list[i].from, (json_int_t)ranges->list[i].to)) == 0;
    if (!good) {
        json_decref(list);
        return false;
    }
    return json_array_append_new(array, json_pack("{s:s, s:s, s:o}", "field", field, "text", text, "ranges", list)) ==
           0;
}

static const char *skip(const char *text, size_t points) {
    while (points-- > 0 && *text != '\0') (void)library_utf8_next(&text); /* only the step counts */
    return text;
}

/* The part of a long text around its first range: it begins behind a blank, unless there is none, and takes the ranges along that lie
 * in it wholly. */
static void cut_snippet(const char *text, ranges_t *ranges, char *snippet, size_t size) {
    size_t first = ranges->list[0].from;
    size_t from = first > library_snippet_before ? first - library_snippet_before : 0;
    const char *begin = skip(text, from);
    if (from > 0) {
        const char *at = begin;
        for (size_t point = from; point < first; point++) {
            if (library_utf8_next(&at) != ' ') continue;
            begin = at;
            from = point + 1;
            break;
        }
    }
    const char *end = skip(begin, library_snippet_points);
    size_t length = (size_t)(end - begin), kept = 0;
    assert(length < size);
    memcpy(snippet, begin, length);
    snippet[length] = '\0';
    for (size_t i = 0; i < ranges->count; i++) {
        if (ranges->list[i].from < from || ranges->list[i].to > from + library_snippet_points) continue;
        ranges->list[kept++] = (range_t){.from = ranges->list[i].from - from, .to = ranges->list[i].to - from};
    }
    ranges->count = kept;
}

json_t *library_highlights(const library_row_t *row, const library_found_t *found) {
    ranges_t ranges;
    json_t *array = json_array(), *authors = json_loads(row->authors, 0, NULL), *name;
    size_t i;
    bool good = array != NULL && authors != NULL;
    find_ranges(row->title, found, &ranges);
    if (good && ranges.count > 0) good = put_highlight(array, "title", row->title, &ranges);
    json_array_foreach(authors, i, name) {
        find_ranges(json_string_value(name), found, &ranges);
        if (good && ranges.count > 0) good = put_highlight(array, "authors", json_string_value(name), &ranges);
    }
    if (row->description != NULL) find_ranges(row->description, found, &ranges);
    if (good && row->description != NULL && ranges.count > 0) {
        char snippet[4 * library_snippet_points + 1];
        cut_snippet(row->description, &ranges, snippet, sizeof(snippet));
        if (ranges.count > 0) good = put_highlight(array, "description", snippet, &ranges);
    }
    json_decref(authors);
    if (good) return array;
    json_decref(array);
    return NULL;
}

bool library_highlight_has_all(const char *text, const library_found_t *found) {
    for (size_t i = 0; i < found->term_count; i++) {
        library_words_t words;
        library_word_t word;
        bool has = false;
        library_words_begin(&words, text, false);
        while (!has && library_words_next(&words, &word)) has = is_meant(&word, &found->terms[i]);
        if (!has) return false;
    }
    return true;
}
