#include "services/library/library_json.h"

#include "platform/bc_etag.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static json_t *text_or_null(const char *text) {
    return text == NULL ? json_null() : json_string(text);
}

/* Stored by us: an array of strings, of which at most `most` are taken. */
static json_t *stored_names(const char *text, size_t most) {
    json_t *names = json_loads(text, 0, NULL);
    while (names != NULL && json_array_size(names) > most) (void)json_array_remove(names, json_array_size(names) - 1);
    return names;
}

json_t *library_json_book(const library_row_t *row, const char *currency, bool admin) {
    char updated[BC_TIME_TEXT_BYTES];
    bc_time_format(row->updated_ms, updated);
    json_t *book = json_pack(
        "{s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:I, s:s}, s:s, s:o, s:I, s:o, s:o, s:s}", "id",
        (json_int_t)row->id, "title", row->title, "authors", stored_names(row->authors, library_authors_max), "year",
        row->has_year ? json_integer(row->year) : json_null(), "language", text_or_null(row->language), "isbn",
        text_or_null(row->isbn), "genres", stored_names(row->genres, library_genres_max), "description",
        text_or_null(row->description), "price", "amount", (json_int_t)row->price_minor, "currency", currency,
        "availability", library_availability(row->stock), "rating",
        row->rating < 0 ? json_null() : json_real(row->rating / 100.0), "ratings_count", (json_int_t)row->ratings_count,
        "cover_url", text_or_null(row->cover_url), "banner_url", text_or_null(row->banner_url), "updated_at", updated);
    if (book != NULL && admin && json_object_set_new(book, "state", json_string(row->gone ? "gone" : "live")) != 0) {
        json_decref(book);
        book = NULL;
    }
    return book;
}

json_t *library_json_feed_item(const library_row_t *row) {
    char position[24];
    (void)snprintf(position, sizeof(position), "%llu", (unsigned long long)row->position); /* fits */
    return json_pack("{s:s, s:I, s:s, s:o, s:o, s:I, s:s, s:I, s:s}", "position", position, "id", (json_int_t)row->id,
                     "title", row->title, "authors", stored_names(row->authors, library_feed_authors_max), "cover_url",
                     text_or_null(row->cover_url), "price_minor", (json_int_t)row->price_minor, "availability",
                     library_availability(row->stock), "available", (json_int_t)row->stock, "state",
                     row->gone ? "gone" : "live");
}

json_t *library_json_some(const library_row_t *row) {
    return json_pack("{s:I, s:s, s:o, s:o, s:I, s:o, s:b}", "id", (json_int_t)row->id, "title", row->title, "authors",
                     stored_names(row->authors, library_authors_max), "isbn", text_or_null(row->isbn), "price_minor",
                     (json_int_t)row->price_minor, "language", text_or_null(row->language), "gone", (int)row->gone);
}

/* --- the plain form --- */

static bool put(json_t *object, const char *name, json_t *value) {
    return json_object_set_new(object, name, value) == 0;
}

static bool put_text(json_t *object, const char *name, const char *text) {
    return text == NULL || put(object, name, json_string(text));
}

static json_t *names_of(const char *const *names, size_t count) {
    json_t *array = json_array();
    for (size_t i = 0; i < count && array != NULL; i++) {
        if (json_array_append_new(array, json_string(names[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

json_t *library_json_plain(const library_book_t *book) {
    json_t *plain = json_object();
    bool good = plain != NULL && put(plain, "id", json_integer(book->id)) && put_text(plain, "title", book->title) &&
                put(plain, "authors", names_of(book->authors, book->author_count)) &&
                put(plain, "genres", names_of(book->genres, book->genre_count)) &&
                put_text(plain, "description", book->description) && put_text(plain, "language", book->language) &&
                put_text(plain, "isbn", book->isbn) && put_text(plain, "cover_url", book->cover_url) &&
                (!book->has_year || put(plain, "year", json_integer(book->year))) &&
                (!book->has_price || put(plain, "price_minor", json_integer(book->price_minor))) &&
                (!book->has_stock || put(plain, "stock", json_integer(book->stock))) &&
                (!book->has_rating || (put(plain, "rating", json_integer(book->rating)) &&
                                       put(plain, "ratings_count", json_integer(book->ratings_count))));
    if (good) return plain;
    json_decref(plain);
    return NULL;
}

json_t *library_json_plain_row(const library_row_t *row) {
    json_t *plain = json_object();
    bool good = plain != NULL && put(plain, "id", json_integer(row->id)) && put_text(plain, "title", row->title) &&
                put(plain, "authors", stored_names(row->authors, library_authors_max)) &&
                put(plain, "genres", stored_names(row->genres, library_genres_max)) &&
                put_text(plain, "description", row->description) && put_text(plain, "language", row->language) &&
                put_text(plain, "isbn", row->isbn) && put_text(plain, "cover_url", row->cover_url) &&
                (!row->has_year || put(plain, "year", json_integer(row->year))) &&
                put(plain, "price_minor", json_integer(row->price_minor)) &&
                put(plain, "stock", json_integer(row->stock)) &&
                (row->rating < 0 || (put(plain, "rating", json_integer(row->rating)) &&
                                     put(plain, "ratings_count", json_integer(row->ratings_count))));
    if (good) return plain;
    json_decref(plain);
    return NULL;
}

json_t *library_json_price(const json_t *price, const char *currency) {
    const char *given = json_string_value(json_object_get(price, "currency"));
    json_t *amount = json_object_get(price, "amount");
    size_t fields = (given != NULL) + (size_t)json_is_integer(amount);
    bool good = json_is_integer(amount) && (given == NULL || strcmp(given, currency) == 0);
    return good && json_object_size(price) == fields ? amount : NULL;
}

/* Absent leaves what is there. */
static bool take_text(const json_t *plain, const char *name, const char **text) {
    const json_t *value = json_object_get(plain, name);
    if (value == NULL) return true;
    *text = json_string_value(value);
    return *text != NULL;
}

static bool take_int(const json_t *plain, const char *name, bool *there, int64_t *number) {
    const json_t *value = json_object_get(plain, name);
    *there = value != NULL;
    if (value == NULL) return true;
    if (!json_is_integer(value)) return false;
    *number = json_integer_value(value);
    return true;
}

static bool take_names(const json_t *plain, const char *name, const char **list, size_t most, size_t *count) {
    const json_t *array = json_object_get(plain, name);
    if (array == NULL) return true;
    if (!json_is_array(array) || json_array_size(array) > most) return false;
    for (size_t i = 0; i < json_array_size(array); i++) {
        list[i] = json_string_value(json_array_get(array, i));
        if (list[i] == NULL) return false;
    }
    *count = json_array_size(array);
    return true;
}

library_fault_t library_json_read(const json_t *plain, library_book_t *book) {
    static const char wrong[] = "is of the wrong kind";
    library_book_t read;
    memset(&read, 0, sizeof(read));
    bool there = false;
    int64_t year = 0;
    int64_t rating = 0;
    if (!json_is_object(plain)) return (library_fault_t){"book", "is not an object"};
    if (!take_int(plain, "id", &there, &read.id)) return (library_fault_t){"id", wrong};
    if (!take_text(plain, "title", &read.title)) return (library_fault_t){"title", wrong};
    if (!take_text(plain, "description", &read.description)) return (library_fault_t){"description", wrong};
    if (!take_text(plain, "language", &read.language)) return (library_fault_t){"language", wrong};
    if (!take_text(plain, "isbn", &read.isbn)) return (library_fault_t){"isbn", wrong};
    if (!take_text(plain, "cover_url", &read.cover_url)) return (library_fault_t){"cover_url", wrong};
    if (!take_names(plain, "authors", read.authors, library_authors_max, &read.author_count)) {
        return (library_fault_t){"authors", "are too many, or not all texts"};
    }
    if (!take_names(plain, "genres", read.genres, library_genres_max, &read.genre_count)) {
        return (library_fault_t){"genres", "are too many, or not all texts"};
    }
    if (!take_int(plain, "year", &read.has_year, &year)) return (library_fault_t){"year", wrong};
    if (!take_int(plain, "price_minor", &read.has_price, &read.price_minor)) return (library_fault_t){"price", wrong};
    if (!take_int(plain, "stock", &read.has_stock, &read.stock)) return (library_fault_t){"stock", wrong};
    if (!take_int(plain, "rating", &read.has_rating, &rating)) return (library_fault_t){"rating", wrong};
    if (!take_int(plain, "ratings_count", &there, &read.ratings_count))
        return (library_fault_t){"ratings_count", wrong};
    /* Narrowed only where it fits; the check says the rest. */
    if (year < library_year_least || year > library_year_most) return (library_fault_t){"year", "is out of range"};
    if (rating < 0 || rating > library_rating_most) return (library_fault_t){"rating", "is out of range"};
    read.year = (int)year;
    read.rating = (int)rating;
    library_fault_t fault = library_book_check(&read);
    if (fault.field == NULL) *book = read;
    return fault;
}

/* --- entity tags --- */

void library_etag(const library_row_t *row, const char *generation, const char *currency, char etag[BC_ETAG_BYTES]) {
    /* A position is never given twice in a store, and every change takes one; of the stock only what is shown of it counts; the
     * version stands for how all is shown. */
    char text[160];
    int length = snprintf(text, sizeof(text), "%s|%lld|%llu|%s|%s|%s", generation, (long long)row->id,
                          (unsigned long long)row->content_position, library_availability(row->stock), currency,
                          BOOKCART_VERSION);
    assert(length > 0 && (size_t)length < sizeof(text));
    bc_etag_of(text, (size_t)length, etag);
}
