#include "services/library/library_words.h"

#include <assert.h>
#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

static locale_t words_locale;
static pthread_once_t words_once = PTHREAD_ONCE_INIT;

static void make_locale(void) {
    words_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

/* --- letters --- */

typedef struct {
    uint16_t from, to;
} pair_t;

static const pair_t fold_pairs[] = {
#include "services/library/library_fold_pairs.h"
};

static int compare_pairs(const void *key, const void *pair) {
    uint32_t c = *(const uint32_t *)key;
    uint32_t from = ((const pair_t *)pair)->from;
    return c < from ? -1 : c > from;
}

/* Library_fold keeps the accents of Greek and Cyrillic, which sort as letters there; whoever searches does not type them. */
static size_t fold(uint32_t c, char out[4]) {
    size_t length = library_fold_point(c, out);
    if ((unsigned char)out[0] < 0x80) return length;
    char text[5] = {0};
    memcpy(text, out, length);
    const char *at = text;
    uint32_t folded = library_utf8_next(&at);
    if (*at != '\0') return length; /* two letters already */
    const pair_t *pair =
        bsearch(&folded, fold_pairs, sizeof(fold_pairs) / sizeof(fold_pairs[0]), sizeof(pair_t), compare_pairs);
    return pair == NULL ? length : library_fold_point(pair->to, out);
}

/* Stands inside words and is not kept: combining accents, Hebrew points, Arabic vowel signs and the stretching line, soft hyphen,
 * joiners, variation selectors. */
static bool is_mark(uint32_t c) {
    return (c >= 0x300 && c <= 0x36f) || (c >= 0x591 && c <= 0x5c7) || (c >= 0x64b && c <= 0x652) || c == 0x640 ||
           c == 0x670 || c == 0xad || (c >= 0x200c && c <= 0x200d) || (c >= 0xfe00 && c <= 0xfe0f);
}

/* Han, Hiragana, Katakana: written without blanks. */
static bool is_unspaced(uint32_t c) {
    return (c >= 0x3005 && c <= 0x3007) || (c >= 0x3041 && c <= 0x30fa) || c == 0x30fc ||
           (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x4e00 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
           (c >= 0x20000 && c <= 0x2fa1f);
}

static bool is_letter(uint32_t c) {
    if (c < 0x80) return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    if (is_unspaced(c)) return true;
    /* The vowel killers and dots of the Indic scripts, which the C library counts as punctuation. */
    if (c >= 0x900 && c <= 0xdff && c != 0x964 && c != 0x965) return true;
    return words_locale != (locale_t)0 && iswalnum_l((wint_t)c, words_locale) != 0;
}

static bool is_apostrophe(uint32_t c) {
    return c == '\'' || c == 0x2019 || c == 0x2bc || c == 0xb4 || c == 0x60;
}

static uint32_t look(const char *at) {
    return *at == '\0' ? 0 : library_utf8_next(&at);
}

/* --- the walk --- */

void library_words_begin(library_words_t *words, const char *text, bool query) {
    (void)pthread_once(&words_once, make_locale); /* cannot fail with a valid control */
    words->at = text;
    words->point = 0;
    words->query = query;
    words->waiting = 0;
    words->next = 0;
}

static uint32_t step(library_words_t *words) {
    words->point++;
    return library_utf8_next(&words->at);
}

static void append(library_word_t *word, const char *text, size_t length, size_t points) {
    size_t used = strlen(word->text);
    if (used + length > library_word_bytes_max) return;
    memcpy(word->text + used, text, length);
    word->text[used + length] = '\0';
    word->points += points;
}

/* A run of letters of one kind, and the signs that belong to it (C++). The walk stands at a letter. */
static void read_part(library_words_t *words, library_word_t *part) {
    *part = (library_word_t){.from = words->point};
    for (;;) {
        uint32_t c = look(words->at);
        if (!is_mark(c) && (!is_letter(c) || is_unspaced(c))) break;
        (void)step(words); /* seen already */
        if (is_mark(c)) continue;
        char out[4];
        size_t length = fold(c, out);
        append(part, out, length, (unsigned char)out[0] < 0x80 ? length : 1);
    }
    size_t signs = strspn(words->at, "+#");
    if (signs > 0 && signs <= 2 && !is_letter(look(words->at + signs))) {
        append(part, words->at, signs, signs);
        words->at += signs;
        words->point += signs;
    }
    part->to = words->point;
}

/* Passes over what ties two parts into one word: an apostrophe between letters, or the full stop of initials. */
static bool pass_tie(library_words_t *words, const library_word_t *part) {
    const char *at = words->at;
    if (*at == '\0') return false;
    uint32_t c = library_utf8_next(&at);
    size_t points = 1;
    bool initial = c == '.' && part->points == 1;
    if (initial && *at == ' ') {
        at++;
        points++;
    }
    if (!initial && !is_apostrophe(c)) return false;
    uint32_t after = look(at);
    if (after == 0 || !is_letter(after) || is_unspaced(after)) return false;
    if (initial) { /* the next must be one letter with a full stop too */
        const char *behind = at;
        (void)library_utf8_next(&behind); /* `after` */
        while (is_mark(look(behind))) (void)library_utf8_next(&behind);
        if (*behind != '.') return false;
    }
    words->at = at;
    words->point += points;
    return true;
}

static void read_tied(library_words_t *words) {
    library_word_t *whole = &words->words[0];
    library_word_t *parts = &words->words[1];
    size_t count = 0;
    do {
        read_part(words, &parts[count++]);
    } while (count < library_parts_max && pass_tie(words, &parts[count - 1]));
    *whole = (library_word_t){.from = parts[0].from, .to = parts[count - 1].to};
    for (size_t i = 0; i < count; i++) append(whole, parts[i].text, strlen(parts[i].text), parts[i].points);
    words->next = count == 1 ? 1 : 0;
    words->waiting = words->query ? words->next + 1 : count + 1;
}

/* Pairs of neighbours; when indexing the last letter too, so that one letter finds by being a beginning. */
static void read_unspaced(library_words_t *words) {
    library_word_t *pair = &words->words[0];
    library_word_t *last = &words->words[1];
    char first[4], second[4];
    *pair = (library_word_t){.from = words->point, .to = words->point + 1};
    size_t length = fold(step(words), first);
    append(pair, first, length, 1);
    uint32_t c = look(words->at);
    words->next = 0;
    words->waiting = 1;
    if (!is_unspaced(c)) return; /* one alone */
    length = fold(c, second);
    append(pair, second, length, 1);
    pair->to = words->point + 1;
    const char *behind = words->at;
    (void)library_utf8_next(&behind);      /* `c` */
    if (is_unspaced(look(behind))) return; /* the next pair begins at c */
    (void)step(words);                     /* seen already */
    if (words->query) return;
    *last = (library_word_t){.from = pair->to - 1, .to = pair->to};
    append(last, second, length, 1);
    words->waiting = 2;
}

bool library_words_next(library_words_t *words, library_word_t *word) {
    while (words->next == words->waiting) {
        uint32_t c = look(words->at);
        if (c == 0) return false;
        if (!is_letter(c)) {
            (void)step(words); /* not of a word */
        } else if (is_unspaced(c)) {
            read_unspaced(words);
        } else {
            read_tied(words);
        }
    }
    *word = words->words[words->next++];
    word->open = words->query && *words->at == '\0' && words->next == words->waiting;
    return true;
}

static void join(const char *text, bool query, const char *between, char *line, size_t size) {
    library_words_t words;
    library_word_t word;
    size_t used = 0, gap = strlen(between);
    assert(size > 0);
    library_words_begin(&words, text, query);
    while (library_words_next(&words, &word)) {
        size_t length = strlen(word.text);
        if (length == 0) continue; /* marks alone */
        if (used + gap + length >= size) break;
        if (used > 0) {
            memcpy(line + used, between, gap);
            used += gap;
        }
        memcpy(line + used, word.text, length);
        used += length;
    }
    line[used] = '\0';
}

void library_words_line(const char *text, char *line, size_t size) {
    join(text, false, " ", line, size);
}

void library_words_whole(const char *text, char *whole, size_t size) {
    join(text, true, "", whole, size);
}

/* --- distance --- */

static size_t points_of(const char *text, uint32_t points[library_word_bytes_max]) {
    size_t count = 0;
    while (*text != '\0' && count < library_word_bytes_max) points[count++] = library_utf8_next(&text);
    return count;
}

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Optimal string alignment, three rows. */
int library_words_distance(const char *one, const char *other, int most) {
    uint32_t a[library_word_bytes_max], b[library_word_bytes_max];
    int rows[3][library_word_bytes_max + 1];
    size_t n = points_of(one, a), m = points_of(other, b);
    assert(most >= 1 && most <= 2);
    if (n > m + (size_t)most || m > n + (size_t)most) return most + 1;
    int *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++) above[j] = before[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int smallest = row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int cost = above[j - 1] + (a[i - 1] != b[j - 1]);
            cost = least(cost, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) cost = least(cost, before[j - 2] + 1);
            row[j] = cost;
            smallest = least(smallest, cost);
        }
        if (smallest > most) return most + 1;
        int *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return least(above[m], most + 1);
}
