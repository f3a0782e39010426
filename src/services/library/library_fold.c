/*
 * Folding for sort keys and name matching: lower case by the C.UTF-8 locale's tables (every script), and the letters of
 * Latin-1 and Latin Extended-A without their accents. Greek and Cyrillic keep theirs: there they are letters.
 */
#include "services/library/library_book.h"
#include "services/library/library_words.h"

#include <assert.h>
#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <wctype.h>

static locale_t folding_locale;
static pthread_once_t folding_once = PTHREAD_ONCE_INIT;

static void make_locale(void) {
    folding_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

/* U+00E0 … U+017F after lower-casing; "" = not a letter with an accent: keep. One text per code point. */
static const char *const latin[] = {
    /* 00e0 */ "a", "a", "a",  "a",  "a", "a", "ae", "c", "e", "e", "e", "e", "i", "i", "i",  "i",
    /* 00f0 */ "d", "n", "o",  "o",  "o", "o", "o",  "",  "o", "u", "u", "u", "u", "y", "th", "y",
    /* 0100 */ "a", "a", "a",  "a",  "a", "a", "c",  "c", "c", "c", "c", "c", "c", "c", "d",  "d",
    /* 0110 */ "d", "d", "e",  "e",  "e", "e", "e",  "e", "e", "e", "e", "e", "g", "g", "g",  "g",
    /* 0120 */ "g", "g", "g",  "g",  "h", "h", "h",  "h", "i", "i", "i", "i", "i", "i", "i",  "i",
    /* 0130 */ "i", "i", "ij", "ij", "j", "j", "k",  "k", "k", "l", "l", "l", "l", "l", "l",  "l",
    /* 0140 */ "l", "l", "l",  "n",  "n", "n", "n",  "n", "n", "n", "n", "n", "o", "o", "o",  "o",
    /* 0150 */ "o", "o", "oe", "oe", "r", "r", "r",  "r", "r", "r", "s", "s", "s", "s", "s",  "s",
    /* 0160 */ "s", "s", "t",  "t",  "t", "t", "t",  "t", "u", "u", "u", "u", "u", "u", "u",  "u",
    /* 0170 */ "u", "u", "u",  "u",  "w", "w", "y",  "y", "y", "z", "z", "z", "z", "z", "z",  "s",
};

/* `at` is at valid UTF-8, not at its end. */
uint32_t library_utf8_next(const char **at) {
    const unsigned char *p = (const unsigned char *)*at;
    uint32_t c = *p++;
    if (c >= 0x80) {
        int more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        c &= 0x3fU >> more;
        while (more-- > 0 && (*p & 0xc0) == 0x80) c = c << 6 | (*p++ & 0x3fU);
    }
    *at = (const char *)p;
    return c;
}

static size_t encode(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (char)((0xf00U >> length & 0xf0U) | c);
    return length;
}

static size_t fold_one(uint32_t c, char out[4]) {
    if (c == 0xdf || c == 0x1e9e) { /* ß, ẞ */
        memcpy(out, "ss", 2);
        return 2;
    }
    if (folding_locale != (locale_t)0) {
        c = (uint32_t)towlower_l((wint_t)c, folding_locale);
    } else if (c >= 'A' && c <= 'Z') {
        c += 'a' - 'A';
    }
    if (c >= 0xe0 && c <= 0x17f) {
        const char *plain = c < 0x100 ? latin[c - 0xe0] : latin[c - 0x100 + 0x20];
        size_t length = strlen(plain);
        if (length > 0) {
            memcpy(out, plain, length);
            return length;
        }
    }
    return encode(c, out);
}

size_t library_fold_point(uint32_t c, char out[4]) {
    (void)pthread_once(&folding_once, make_locale); /* cannot fail with a valid control */
    return fold_one(c, out);
}

void library_fold(const char *text, char *key, size_t size) {
    _Static_assert(sizeof(latin) / sizeof(latin[0]) == 0x20 + 0x80, "one row per code point");
    assert(size > 0);
    size_t used = 0;
    while (*text != '\0') {
        char out[4];
        size_t length = library_fold_point(library_utf8_next(&text), out);
        if (used + length >= size) break;
        memcpy(key + used, out, length);
        used += length;
    }
    key[used] = '\0';
}
