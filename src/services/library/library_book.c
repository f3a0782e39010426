#include "services/library/library_book.h"

#include "platform/bc_images.h"

#include "services/library/library_csv.h"

#include <assert.h>
#include <string.h>

static bool has_control(const char *text, bool lines_allowed) {
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (lines_allowed && (*p == '\n' || *p == '\r' || *p == '\t')) continue;
        if (*p < 0x20 || *p == 0x7f) return true;
    }
    return false;
}

static const char *judge_text(const char *text, size_t bytes_max, bool lines_allowed) {
    size_t length = strlen(text);
    if (length == 0) return "is empty";
    if (length > bytes_max) return "is too long";
    if (!library_utf8_valid(text, length)) return "is not UTF-8";
    if (has_control(text, lines_allowed)) return "holds a control character";
    return NULL;
}

static const char *judge_names(const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const char *reason = judge_text(names[i], library_name_bytes_max, false);
        if (reason != NULL) return reason;
    }
    return NULL;
}

/* An address elsewhere, or of a picture that was uploaded here. */
static const char *judge_url(const char *url) {
    const char *reason = judge_text(url, library_url_bytes_max, false);
    if (reason != NULL || bc_images_is_address(url, LIBRARY_PICTURES)) return reason;
    if (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0) return "is not an http address";
    if (strpbrk(url, " \"<>\\^`{|}") != NULL) return "is not an http address";
    return NULL;
}

library_fault_t library_book_check(const library_book_t *book) {
    assert(book->author_count <= library_authors_max);
    assert(book->genre_count <= library_genres_max);
    const char *reason;
    if (book->id < 1 || book->id > LIBRARY_ID_MAX) return (library_fault_t){"id", "is not a number from 1 to 2^53 - 1"};
    if (book->title == NULL) return (library_fault_t){"title", "is missing"};
    if ((reason = judge_text(book->title, library_title_bytes_max, false)) != NULL) {
        return (library_fault_t){"title", reason};
    }
    if ((reason = judge_names(book->authors, book->author_count)) != NULL) return (library_fault_t){"authors", reason};
    if ((reason = judge_names(book->genres, book->genre_count)) != NULL) return (library_fault_t){"genres", reason};
    if (book->description != NULL &&
        (reason = judge_text(book->description, library_description_bytes_max, true)) != NULL) {
        return (library_fault_t){"description", reason};
    }
    if (book->cover_url != NULL && (reason = judge_url(book->cover_url)) != NULL) {
        return (library_fault_t){"cover_url", reason};
    }
    if (book->language != NULL) {
        const char *known = library_language_read(book->language);
        if (known == NULL || strcmp(known, book->language) != 0) {
            return (library_fault_t){"language", "is not a language code"};
        }
    }
    if (book->isbn != NULL) {
        char isbn[library_isbn_chars + 1];
        if (!library_isbn_read(book->isbn, isbn) || strcmp(isbn, book->isbn) != 0) {
            return (library_fault_t){"isbn", "is not an ISBN"};
        }
    }
    if (book->has_year && (book->year < library_year_least || book->year > library_year_most)) {
        return (library_fault_t){"year", "is out of range"};
    }
    if (book->has_price && (book->price_minor < 0 || book->price_minor > LIBRARY_PRICE_MOST)) {
        return (library_fault_t){"price", "is out of range"};
    }
    if (book->has_stock && book->stock < 0) return (library_fault_t){"stock", "is negative"};
    if (book->has_stock && book->stock > library_stock_most) return (library_fault_t){"stock", "is out of range"};
    if (book->has_rating && (book->rating < 0 || book->rating > library_rating_most || book->ratings_count < 0 ||
                             book->ratings_count > LIBRARY_RATINGS_MOST)) {
        return (library_fault_t){"rating", "is out of range"};
    }
    return (library_fault_t){NULL, NULL};
}

static size_t bytes_of(const char *text) {
    return text == NULL ? 0 : strlen(text);
}

size_t library_book_bytes(const library_book_t *book) {
    size_t bytes = bytes_of(book->title) + bytes_of(book->description) + bytes_of(book->language) +
                   bytes_of(book->isbn) + bytes_of(book->cover_url);
    for (size_t i = 0; i < book->author_count; i++) bytes += bytes_of(book->authors[i]);
    for (size_t i = 0; i < book->genre_count; i++) bytes += bytes_of(book->genres[i]);
    return bytes;
}

void library_squeeze(char *text) {
    char *out = text;
    for (const char *p = text; *p != '\0'; p++) {
        bool blank = *p == ' ' || *p == '\t' || *p == '\r' || *p == '\n';
        if (!blank) {
            *out++ = *p;
        } else if (out != text && out[-1] != ' ') {
            *out++ = ' ';
        }
    }
    if (out != text && out[-1] == ' ') out--;
    *out = '\0';
}

/* Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014). */
static uint64_t splitmix64(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

int64_t library_rule_price_minor(int64_t id) {
    return 499 + 100 * (int64_t)(splitmix64((uint64_t)id) % 26);
}

int64_t library_rule_stock(int64_t id) {
    uint64_t x = splitmix64((uint64_t)id);
    uint64_t y = (x >> 32) % 100;
    if (y < 3) return 0;
    if (y < 10) return (int64_t)(1 + y % 5);
    return (int64_t)(6 + (x >> 40) % 120);
}

const char *library_availability(int64_t stock) {
    if (stock <= 0) return "out_of_stock";
    return stock <= library_low_stock ? "low" : "in_stock";
}

static bool isbn10_good(const char digits[10]) {
    int sum = 0;
    for (int i = 0; i < 10; i++) {
        int value = digits[i] == 'X' ? 10 : digits[i] - '0';
        if (digits[i] == 'X' && i != 9) return false;
        sum += (10 - i) * value;
    }
    return sum % 11 == 0;
}

static char isbn13_check_digit(const char digits[12]) {
    int sum = 0;
    for (int i = 0; i < 12; i++) sum += (digits[i] - '0') * (i % 2 == 0 ? 1 : 3);
    return (char)('0' + (10 - sum % 10) % 10);
}

bool library_isbn_read(const char *text, char isbn[library_isbn_chars + 1]) {
    char digits[library_isbn_chars];
    size_t count = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '-' || *p == ' ') continue;
        char c = *p == 'x' ? 'X' : *p;
        if ((c < '0' || c > '9') && c != 'X') return false;
        if (count == sizeof(digits)) return false;
        digits[count++] = c;
    }
    char whole[library_isbn_chars + 1];
    if (count == 10) {
        if (!isbn10_good(digits)) return false;
        memcpy(whole, "978", 3);
        memcpy(whole + 3, digits, 9);
    } else if (count == 13) {
        if (memchr(digits, 'X', sizeof(digits)) != NULL) return false;
        if (memcmp(digits, "978", 3) != 0 && memcmp(digits, "979", 3) != 0) return false;
        if (digits[12] != isbn13_check_digit(digits)) return false;
        memcpy(whole, digits, 12);
    } else {
        return false;
    }
    whole[12] = isbn13_check_digit(whole);
    whole[13] = '\0';
    memcpy(isbn, whole, sizeof(whole));
    return true;
}

const char *library_price_read(const char *text, int digits, int64_t *minor) {
    assert(digits >= 0 && digits <= 4);
    int64_t value = 0;
    int fraction = -1; /* digits seen after the point; −1 before it */
    int whole = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '.' && fraction < 0 && whole > 0) {
            fraction = 0;
            continue;
        }
        if (*p == '-' && p == text) return "is negative";
        if (*p < '0' || *p > '9') return "is not a decimal number";
        if (fraction >= 0 && ++fraction > digits) return "has more fraction digits than the currency";
        if (fraction < 0) whole++;
        value = value * 10 + (*p - '0');
        if (value > LIBRARY_PRICE_MOST) return "is out of range";
    }
    if (whole == 0 || fraction == 0) return "is not a decimal number";
    for (int i = fraction < 0 ? 0 : fraction; i < digits; i++) value *= 10;
    if (value > LIBRARY_PRICE_MOST) return "is out of range";
    *minor = value;
    return NULL;
}

int library_currency_digits(const char *currency) {
    static const struct {
        const char *codes;
        int digits;
    } others[] = {
        {"BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF", 0},
        {"BHD IQD JOD KWD LYD OMR TND", 3},
        {"CLF UYW", 4},
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strlen(currency) == 3 && strchr(currency, ' ') == NULL && strstr(others[i].codes, currency) != NULL)
            return others[i].digits;
    }
    return 2;
}
