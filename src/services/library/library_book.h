/*
 * A book as the library knows it, and the rules that every way in (CSV, admin) shares: what a valid book is, how names are
 * folded for sorting and matching, and the price and stock of a book for which nobody named any.
 */
#ifndef LIBRARY_BOOK_H
#define LIBRARY_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIBRARY_ID_MAX ((INT64_C(1) << 53) - 1)

/* Below DATA/media: the pictures of books. */
#define LIBRARY_PICTURES "books"

enum {
    library_title_bytes_max = 1024,
    library_name_bytes_max = 256, /* one author, one genre */
    library_authors_max = 64,
    library_genres_max = 32,
    library_description_bytes_max = 16 * 1024,
    library_url_bytes_max = 1024,
    library_language_bytes_max = 3,
    library_isbn_chars = 13,
    library_year_least = -9999, /* negative: before the common era, as written (−750 is 750 BC) */
    library_year_most = 9999,
    library_rating_most = 500, /* hundredths */
    library_stock_most = 1000000,
    library_low_stock = 5, /* at most so many free copies are `low` */
};
#define LIBRARY_PRICE_MOST     INT64_C(100000000) /* minor units; 100 lines of 99 stay far below 2^53 */
#define LIBRARY_RATINGS_MOST   INT64_C(1000000000000)
#define LIBRARY_FOLD_BYTES_MAX (2 * library_title_bytes_max + 1) /* folding at most doubles a text */

/* All texts are UTF-8, zero-terminated, trimmed, and borrowed from whoever filled the struct. NULL: not known. */
typedef struct {
    int64_t id; /* 1…LIBRARY_ID_MAX */
    const char *title;
    const char *authors[library_authors_max];
    size_t author_count; /* 0: anonymous */
    const char *genres[library_genres_max];
    size_t genre_count;
    const char *description;
    const char *language;  /* ISO 639-1, or 639-3 where there is no two-letter code */
    const char *isbn;      /* 13 digits */
    const char *cover_url; /* https://, http://, or of a picture kept here */
    bool has_year;
    int year;
    bool has_price;
    int64_t price_minor;
    bool has_stock;
    int64_t stock; /* copies */
    bool has_rating;
    int rating; /* hundredths, 0…500 */
    int64_t ratings_count;
} library_book_t;

/* What is wrong with a book. */
typedef struct {
    const char *field;  /* static; NULL: nothing is wrong */
    const char *reason; /* static, English, for people */
} library_fault_t;

/* Judges every field that is set. Returns {NULL, NULL} for a good book. */
library_fault_t library_book_check(const library_book_t *book);

/* Bytes of all its texts: what a batch is measured by. */
size_t library_book_bytes(const library_book_t *book);

/* Trims, and turns every run of blanks, tabs and line breaks into one blank, in place. */
void library_squeeze(char *text);

/* Price and stock of a book when its source names none. A function of the id alone, so that every machine and every
 * repeat gets the same: x = splitmix64(id); price = 499 + 100 × (x mod 26) minor units (4.99 … 29.99);
 * y = (x ÷ 2^32) mod 100; stock = 0 when y < 3; 1 + y mod 5 when y < 10; else 6 + (x ÷ 2^40) mod 120. */
int64_t library_rule_price_minor(int64_t id);
int64_t library_rule_stock(int64_t id);

/* "in_stock", "low" or "out_of_stock". Static. */
const char *library_availability(int64_t stock);

/* Reads an ISBN of 10 or 13 characters (hyphens and blanks allowed) and writes its 13-digit form. false when it is none, or its
 * check digit is wrong; `isbn` unchanged. */
bool library_isbn_read(const char *text, char isbn[library_isbn_chars + 1]);

/* The code that names a language here for what others write ("eng", "en-US", "EN" → "en"; "fre", "fra" → "fr"; "grc" stays).
 * Static; NULL when `text` is no code we know. */
const char *library_language_read(const char *text);

/* A decimal amount in major units ("12.99") of a currency with `digits` fraction digits. `.` is the only separator; no sign, no
 * grouping. NULL and *minor on success; else the reason, *minor unchanged. */
const char *library_price_read(const char *text, int digits, int64_t *minor);

/* Fraction digits of an ISO 4217 currency (2 for most). */
int library_currency_digits(const char *currency);

/* The key that titles are sorted and names are matched by: lower case, without the accents of Latin letters (É → e, ß → ss,
 * Æ → ae). Writes at most `size` bytes with the zero, cut at a whole character. `text` must be valid UTF-8. */
void library_fold(const char *text, char *key, size_t size);

#endif
