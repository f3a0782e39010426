#include "services/library/library_ndjson.h"

#include "services/library/library_csv.h"
#include "services/library/library_json.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct library_ndjson {
    library_ndjson_line_fn on_line;
    void *context;        /* borrowed until destroy */
    const char *currency; /* borrowed until destroy */
    uint64_t line;        /* being read, 1… */
    size_t used;
    bool too_long; /* of this line: what follows is dropped up to its end */
    bool stopped;
    char text[library_ndjson_line_bytes_max + 1];
    char reason[library_ndjson_reason_bytes];
};

library_ndjson_t *library_ndjson_create(const char *currency, library_ndjson_line_fn on_line, void *context) {
    library_ndjson_t *ndjson = malloc(sizeof(*ndjson));
    if (ndjson == NULL) return NULL;
    assert(on_line != NULL);
    ndjson->on_line = on_line;
    ndjson->context = context;
    ndjson->currency = currency;
    ndjson->line = 1;
    ndjson->used = 0;
    ndjson->too_long = false;
    ndjson->stopped = false;
    return ndjson;
}

void library_ndjson_destroy(library_ndjson_t *ndjson) {
    free(ndjson);
}

static bool is_field(const char *name) {
    static const char *const fields[] = {"id",     "title",       "authors", "year",  "language", "isbn",
                                         "genres", "description", "price",   "stock", "cover_url"};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i], name) == 0) return true;
    }
    return false;
}

/* What people write becomes what is stored; what cannot is left for the check to name. */
static void normalise(json_t *plain) {
    const char *language = json_string_value(json_object_get(plain, "language"));
    const char *code = language == NULL ? NULL : library_language_read(language);
    if (code != NULL) (void)json_object_set_new(plain, "language", json_string(code)); /* else as it was */
    char isbn[library_isbn_chars + 1];
    const char *given = json_string_value(json_object_get(plain, "isbn"));
    if (given != NULL && library_isbn_read(given, isbn)) {
        (void)json_object_set_new(plain, "isbn", json_string(isbn)); /* else as it was */
    }
}

/* The plain form of a line's object; NULL: ndjson->reason says why not. */
static json_t *read_plain(library_ndjson_t *ndjson, const json_t *object) {
    const char *name;
    json_t *value;
    json_t *plain = json_object();
    const char *wrong = plain == NULL ? "row: no memory" : NULL;
    json_object_foreach((json_t *)(uintptr_t)object, name,
                        value) { /* jansson's iterator takes no const; it only reads */
        if (wrong != NULL) break;
        if (!is_field(name)) {
            (void)snprintf(ndjson->reason, sizeof(ndjson->reason), "field \"%.100s\" is not known", name);
            json_decref(plain);
            return NULL;
        }
        if (json_is_null(value)) continue;
        const char *to = strcmp(name, "price") == 0 ? "price_minor" : name;
        if (to != name) {
            value = library_json_price(value, ndjson->currency);
            if (value == NULL) wrong = "price is not {\"amount\": minor units, \"currency\": the shop's}";
        }
        if (wrong == NULL && json_object_set(plain, to, value) != 0) wrong = "row: no memory";
    }
    if (wrong == NULL && json_object_get(plain, "id") == NULL) wrong = "id is missing";
    if (wrong == NULL && json_object_get(plain, "title") == NULL) wrong = "title is missing";
    if (wrong == NULL) {
        normalise(plain);
        return plain;
    }
    (void)snprintf(ndjson->reason, sizeof(ndjson->reason), "%s", wrong); /* literals, which fit */
    json_decref(plain);
    return NULL;
}

static json_t *parse(library_ndjson_t *ndjson, size_t length) {
    const char *wrong = NULL;
    json_error_t error;
    json_t *object = NULL;
    if (ndjson->too_long) {
        wrong = "row: longer than 256 KiB";
    } else if (!library_utf8_valid(ndjson->text, length)) {
        wrong = "row: not UTF-8";
    } else if ((object = json_loadb(ndjson->text, length, JSON_REJECT_DUPLICATES, &error)) == NULL) {
        bool twice = json_error_code(&error) == json_error_duplicate_key;
        (void)snprintf(ndjson->reason, sizeof(ndjson->reason), "row: %s at column %d",
                       twice ? "a field stands there twice" : "not JSON", error.column);
        return NULL;
    } else if (!json_is_object(object)) {
        wrong = "row: not an object";
    }
    if (wrong == NULL) return object;
    (void)snprintf(ndjson->reason, sizeof(ndjson->reason), "%s", wrong); /* literals, which fit */
    json_decref(object);
    return NULL;
}

static void end_line(library_ndjson_t *ndjson) {
    size_t length = ndjson->used;
    const char *text = ndjson->text;
    if (length > 0 && text[length - 1] == '\r') length--;
    bool empty = !ndjson->too_long && strspn(text, " \t\r") >= length;
    if (!empty) {
        library_book_t book;
        const library_book_t *good = NULL;
        json_t *object = parse(ndjson, length);
        json_t *plain = object == NULL ? NULL : read_plain(ndjson, object);
        if (plain != NULL) {
            library_fault_t fault = library_json_read(plain, &book);
            if (fault.field == NULL) good = &book;
            if (good == NULL) {
                (void)snprintf(ndjson->reason, sizeof(ndjson->reason), "%s %s", fault.field,
                               fault.reason); /* they fit */
            }
        }
        if (!ndjson->on_line(ndjson->context, ndjson->line, good, good == NULL ? ndjson->reason : NULL)) {
            ndjson->stopped = true;
        }
        json_decref(plain);
        json_decref(object);
    }
    ndjson->line++;
    ndjson->used = 0;
    ndjson->too_long = false;
}

bool library_ndjson_feed(library_ndjson_t *ndjson, const char *bytes, size_t size) {
    while (size > 0 && !ndjson->stopped) {
        const char *end = memchr(bytes, '\n', size);
        size_t part = end == NULL ? size : (size_t)(end - bytes);
        if (ndjson->used + part > library_ndjson_line_bytes_max) {
            ndjson->too_long = true;
        } else if (!ndjson->too_long) {
            memcpy(ndjson->text + ndjson->used, bytes, part);
            ndjson->used += part;
        }
        ndjson->text[ndjson->used] = '\0';
        static const char mark[] = "\xef\xbb\xbf";
        if (end != NULL) {
            part++;
            if (ndjson->line == 1 && ndjson->used >= 3 && memcmp(ndjson->text, mark, 3) == 0) {
                ndjson->used -= 3;
                memmove(ndjson->text, ndjson->text + 3, ndjson->used + 1);
            }
            end_line(ndjson);
        }
        bytes += part;
        size -= part;
    }
    return !ndjson->stopped;
}

bool library_ndjson_finish(library_ndjson_t *ndjson) {
    if (ndjson->stopped) return false;
    bool open = ndjson->used > 0 || ndjson->too_long;
    return open ? library_ndjson_feed(ndjson, "\n", 1) : true;
}
