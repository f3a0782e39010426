#include "services/library/library_columns.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *ours;
    const char *theirs;
    bool required;
} names[LIBRARY_COLUMN_COUNT] = {
    [LIBRARY_COLUMN_ID] = {"id", "book_id", true},
    [LIBRARY_COLUMN_TITLE] = {"title", "title", true},
    [LIBRARY_COLUMN_AUTHORS] = {"authors", "authors", false},
    [LIBRARY_COLUMN_YEAR] = {"year", "original_publication_year", false},
    [LIBRARY_COLUMN_LANGUAGE] = {"language", "language_code", false},
    [LIBRARY_COLUMN_ISBN] = {"isbn", "isbn", false},
    [LIBRARY_COLUMN_GENRES] = {"genres", NULL, false},
    [LIBRARY_COLUMN_DESCRIPTION] = {"description", NULL, false},
    [LIBRARY_COLUMN_PRICE] = {"price", NULL, false},
    [LIBRARY_COLUMN_STOCK] = {"stock", NULL, false},
    [LIBRARY_COLUMN_COVER_URL] = {"cover_url", "image_url", false},
    [LIBRARY_COLUMN_RATING] = {NULL, "average_rating", false},
    [LIBRARY_COLUMN_RATINGS_COUNT] = {NULL, "ratings_count", false},
};

static const char *column_name(const library_columns_t *columns, int column) {
    return columns->goodbooks ? names[column].theirs : names[column].ours;
}

static int find_name(const library_columns_t *columns, const char *text) {
    for (int i = 0; i < LIBRARY_COLUMN_COUNT; i++) {
        const char *name = column_name(columns, i);
        if (name != NULL && strcmp(name, text) == 0) return i;
    }
    return -1;
}

static void say(char reason[library_reason_bytes], const char *column, const char *what) {
    (void)snprintf(reason, library_reason_bytes, "%.100s %s", column, what); /* cut is fine: for people */
}

bool library_columns_read(const library_csv_row_t *header, int price_digits, library_columns_t *columns,
                          char reason[library_reason_bytes]) {
    assert(price_digits >= 0 && price_digits <= 4);
    if (header->fault != LIBRARY_CSV_OK) {
        say(reason, "the header", library_csv_fault_text(header->fault));
        return false;
    }
    library_columns_t read = {.width = header->field_count, .price_digits = price_digits};
    for (size_t i = 0; i < header->field_count; i++) {
        if (strcmp(header->fields[i], "book_id") == 0) read.goodbooks = true;
    }
    for (int i = 0; i < LIBRARY_COLUMN_COUNT; i++) read.place[i] = -1;
    for (size_t i = 0; i < header->field_count; i++) {
        int column = find_name(&read, header->fields[i]);
        if (column < 0 && !read.goodbooks) {
            (void)snprintf(reason, library_reason_bytes, "column \"%.100s\" is not known", header->fields[i]);
            return false;
        }
        if (column < 0) continue;
        if (read.place[column] >= 0) {
            (void)snprintf(reason, library_reason_bytes, "column \"%.100s\" stands there twice", header->fields[i]);
            return false;
        }
        read.place[column] = (int)i;
    }
    for (int i = 0; i < LIBRARY_COLUMN_COUNT; i++) {
        if (names[i].required && read.place[i] < 0) {
            (void)snprintf(reason, library_reason_bytes, "column \"%s\" is missing", column_name(&read, i));
            return false;
        }
    }
    *columns = read;
    return true;
}

/* A whole decimal number, perhaps negative; with `fraction`, one ".0" behind it is fine. */
static bool read_whole(const char *text, bool fraction, int64_t *value) {
    const char *p = text;
    bool negative = *p == '-';
    if (negative) p++;
    int64_t read = 0;
    int digits = 0;
    for (; *p >= '0' && *p <= '9'; p++, digits++) {
        if (digits == 16) return false; /* beyond every range we have, below overflow */
        read = read * 10 + (*p - '0');
    }
    if (digits == 0) return false;
    if (fraction && strcmp(p, ".0") == 0) p += 2;
    if (*p != '\0') return false;
    *value = negative ? -read : read;
    return true;
}

/* Splits in place. Returns NULL, or what is wrong. */
static const char *split_names(char *text, char separator, const char **list, size_t list_max, size_t *count) {
    size_t found = 0;
    for (char *next = text; next != NULL;) {
        char *name = next;
        char *end = strchr(name, separator);
        next = end == NULL ? NULL : end + 1;
        if (end != NULL) *end = '\0';
        library_squeeze(name);
        bool known = *name == '\0';
        for (size_t i = 0; i < found && !known; i++) known = strcmp(list[i], name) == 0;
        if (known) continue;
        if (found == list_max) return "names too many";
        list[found++] = name;
    }
    *count = found;
    return NULL;
}

static char *field(const library_columns_t *columns, const library_csv_row_t *row, library_column_t column) {
    if (columns->place[column] < 0) return NULL;
    char *text = row->fields[columns->place[column]];
    if (column != LIBRARY_COLUMN_DESCRIPTION) library_squeeze(text);
    return *text == '\0' ? NULL : text;
}

static const char *read_isbn(bool goodbooks, const char *text, char isbn[library_isbn_chars + 1], bool *known) {
    char padded[library_isbn_chars + 1];
    if (goodbooks && strlen(text) < 10) {
        size_t lost = 10 - strlen(text);
        memset(padded, '0', lost);
        memcpy(padded + lost, text, strlen(text) + 1);
        text = padded;
    }
    *known = library_isbn_read(text, isbn);
    return *known || goodbooks ? NULL : "is not an ISBN";
}

static const char *read_rating(const char *text, int *hundredths) {
    int64_t value = 0;
    const char *reason = library_price_read(text, 2, &value); /* the same form: digits, a point, at most two more */
    if (reason != NULL) return "is not a number with at most two fraction digits";
    if (value > library_rating_most) return "is out of range";
    *hundredths = (int)value;
    return NULL;
}

/* Numbers; the texts need no reading. Returns what is wrong with *column, or NULL. */
static const char *read_numbers(const library_columns_t *columns, const library_csv_row_t *row, library_book_t *book,
                                library_column_t *column) {
    const char *text;
    int64_t value = 0;
    *column = LIBRARY_COLUMN_ID;
    if ((text = field(columns, row, *column)) == NULL) return "is missing";
    if (!read_whole(text, false, &book->id)) return "is not a whole number";
    *column = LIBRARY_COLUMN_YEAR;
    if ((text = field(columns, row, *column)) != NULL) {
        if (!read_whole(text, columns->goodbooks, &value)) return "is not a whole number";
        if (value < library_year_least || value > library_year_most) return "is out of range";
        book->year = (int)value;
        book->has_year = true;
    }
    *column = LIBRARY_COLUMN_STOCK;
    if ((text = field(columns, row, *column)) != NULL) {
        if (!read_whole(text, false, &book->stock)) return "is not a whole number";
        book->has_stock = true;
    }
    *column = LIBRARY_COLUMN_PRICE;
    if ((text = field(columns, row, *column)) != NULL) {
        const char *reason = library_price_read(text, columns->price_digits, &book->price_minor);
        if (reason != NULL) return reason;
        book->has_price = true;
    }
    *column = LIBRARY_COLUMN_RATING;
    if ((text = field(columns, row, *column)) != NULL) {
        const char *reason = read_rating(text, &book->rating);
        if (reason != NULL) return reason;
        book->has_rating = true;
    }
    *column = LIBRARY_COLUMN_RATINGS_COUNT;
    if ((text = field(columns, row, *column)) != NULL && !read_whole(text, false, &book->ratings_count)) {
        return "is not a whole number";
    }
    return NULL;
}

static const char *read_texts(const library_columns_t *columns, const library_csv_row_t *row, library_book_t *book,
                              char isbn[library_isbn_chars + 1], library_column_t *column) {
    char *text;
    const char *reason;
    bool theirs = columns->goodbooks;
    *column = LIBRARY_COLUMN_TITLE;
    if ((book->title = field(columns, row, *column)) == NULL) return "is missing";
    *column = LIBRARY_COLUMN_AUTHORS;
    if ((text = field(columns, row, *column)) != NULL &&
        (reason = split_names(text, theirs ? ',' : ';', book->authors, library_authors_max, &book->author_count)) !=
            NULL) {
        return reason;
    }
    *column = LIBRARY_COLUMN_GENRES;
    if ((text = field(columns, row, *column)) != NULL &&
        (reason = split_names(text, ';', book->genres, library_genres_max, &book->genre_count)) != NULL) {
        return reason;
    }
    *column = LIBRARY_COLUMN_LANGUAGE;
    if ((text = field(columns, row, *column)) != NULL) {
        book->language = library_language_read(text);
        if (book->language == NULL && !theirs) return "is not a language code";
    }
    *column = LIBRARY_COLUMN_ISBN;
    if ((text = field(columns, row, *column)) != NULL) {
        bool known = false;
        if ((reason = read_isbn(theirs, text, isbn, &known)) != NULL) return reason;
        if (known) book->isbn = isbn;
    }
    book->description = field(columns, row, LIBRARY_COLUMN_DESCRIPTION);
    text = field(columns, row, LIBRARY_COLUMN_COVER_URL);
    if (text != NULL && !(theirs && strstr(text, "/nophoto/") != NULL)) book->cover_url = text;
    return NULL;
}

bool library_columns_book(const library_columns_t *columns, library_csv_row_t *row, library_book_t *book,
                          char isbn[library_isbn_chars + 1], char reason[library_reason_bytes]) {
    assert(columns->width > 0);
    if (row->fault != LIBRARY_CSV_OK) {
        say(reason, "row:", library_csv_fault_text(row->fault));
        return false;
    }
    if (row->field_count != columns->width) {
        (void)snprintf(reason, library_reason_bytes, "row: %zu columns where the header has %zu", row->field_count,
                       columns->width);
        return false;
    }
    library_book_t read;
    memset(&read, 0, sizeof(read));
    library_column_t column = LIBRARY_COLUMN_ID;
    const char *wrong = read_numbers(columns, row, &read, &column);
    if (wrong == NULL) wrong = read_texts(columns, row, &read, isbn, &column);
    if (wrong != NULL) {
        say(reason, column_name(columns, (int)column), wrong);
        return false;
    }
    library_fault_t fault = library_book_check(&read);
    if (fault.field != NULL) {
        say(reason, fault.field, fault.reason);
        return false;
    }
    *book = read;
    return true;
}
