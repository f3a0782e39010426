#include "edge/edge_body.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_CHARS 16

/* The fields of a change and of the top level; which of them a shape has is a mask. */
enum { HAS_OP = 1, HAS_BOOK = 2, HAS_QUANTITY = 4, HAS_CHANGES = 8 };
static const struct {
    const char *name;
    unsigned bit;
} fields[] = {{"op", HAS_OP}, {"book", HAS_BOOK}, {"quantity", HAS_QUANTITY}, {"changes", HAS_CHANGES}};

typedef struct {
    edge_json_t json;
    edge_body_error_t *error;
    char prefix[24]; /* path of the object being read, with its dot */
} reader_t;

static bool fail(reader_t *reader, edge_body_fault_t fault, size_t offset, const char *name) {
    edge_body_error_t *error = reader->error;
    error->fault = fault;
    error->json_fault = EDGE_JSON_OK;
    error->offset = offset;
    /* A path that does not fit is cut: it is a hint for people. */
    (void)snprintf(error->field, sizeof(error->field), "%s%s", reader->prefix, name);
    return false;
}

/* The reader below found a fault; `name` is the field in whose value it was. */
static bool fail_json(reader_t *reader, const char *name) {
    assert(reader->json.fault != EDGE_JSON_OK);
    (void)fail(reader, EDGE_BODY_JSON, reader->json.fault_at, name); /* completed below */
    reader->error->json_fault = reader->json.fault;
    return false;
}

static const char *name_of(unsigned bit) {
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (fields[i].bit == bit) return fields[i].name;
    assert(false);
    return "";
}

/* One key of an object that may hold `allowed`; `seen` collects. 0: '}'. */
static bool next_field(reader_t *reader, unsigned allowed, unsigned *seen, unsigned *field) {
    char key[NAME_MAX_CHARS];
    size_t length = 0;
    edge_json_step_t step = edge_json_key(&reader->json, key, sizeof(key), &length);
    if (step == EDGE_JSON_FAULT) return fail_json(reader, "");
    if (step == EDGE_JSON_CLOSE) {
        *field = 0;
        return true;
    }
    size_t place = edge_json_place(&reader->json);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strlen(fields[i].name) != length || memcmp(fields[i].name, key, length) != 0) continue;
        if ((fields[i].bit & allowed) == 0) break;
        if ((*seen & fields[i].bit) != 0) return fail(reader, EDGE_BODY_DUPLICATE, place, fields[i].name);
        *seen |= fields[i].bit;
        *field = fields[i].bit;
        return true;
    }
    /* The stranger's own words go back to him only as plain ASCII, cut. */
    char shown[NAME_MAX_CHARS + 1];
    size_t kept = length < NAME_MAX_CHARS ? length : NAME_MAX_CHARS;
    for (size_t i = 0; i < kept; i++) shown[i] = key[i] > ' ' && key[i] < 0x7F ? key[i] : '?';
    shown[kept] = '\0';
    return fail(reader, EDGE_BODY_UNKNOWN, place, shown);
}

static bool read_op(reader_t *reader, cart_change_t *change) {
    char text[8];
    size_t length = 0;
    size_t place = edge_json_place(&reader->json);
    if (!edge_json_string(&reader->json, text, sizeof(text), &length)) {
        if (reader->json.fault == EDGE_JSON_LONG) return fail(reader, EDGE_BODY_OP, place, "op");
        return fail_json(reader, "op");
    }
    if (length == 3 && memcmp(text, "add", 3) == 0) {
        change->op = CART_ADD;
    } else if (length == 3 && memcmp(text, "set", 3) == 0) {
        change->op = CART_SET;
    } else if (length == 6 && memcmp(text, "remove", 6) == 0) {
        change->op = CART_REMOVE;
    } else {
        return fail(reader, EDGE_BODY_OP, place, "op");
    }
    return true;
}

/* One object that describes a change: fields may come in any order, so ranges are looked at when all are there. */
static bool read_change(reader_t *reader, unsigned allowed, cart_change_t *change) {
    size_t start = edge_json_place(&reader->json);
    size_t quantity_place = 0;
    int64_t quantity = 0;
    unsigned seen = 0;
    if (!edge_json_object(&reader->json)) return fail_json(reader, "");
    for (;;) {
        unsigned field = 0;
        if (!next_field(reader, allowed, &seen, &field)) return false;
        if (field == 0) break;
        size_t place = edge_json_place(&reader->json);
        if (field == HAS_OP) {
            if (!read_op(reader, change)) return false;
        } else if (field == HAS_BOOK) {
            int64_t book = 0;
            if (!edge_json_integer(&reader->json, &book)) return fail_json(reader, "book");
            if (book < 1 || (uint64_t)book > CART_BOOK_MAX) return fail(reader, EDGE_BODY_BOOK, place, "book");
            change->book = (uint64_t)book;
        } else {
            assert(field == HAS_QUANTITY);
            quantity_place = place;
            if (!edge_json_integer(&reader->json, &quantity)) return fail_json(reader, "quantity");
        }
    }
    unsigned needed = change->op == CART_REMOVE ? HAS_OP | HAS_BOOK : allowed;
    for (unsigned bit = HAS_OP; bit <= HAS_QUANTITY; bit <<= 1) {
        if ((needed & bit) != 0 && (seen & bit) == 0) return fail(reader, EDGE_BODY_MISSING, start, name_of(bit));
    }
    if (change->op == CART_REMOVE) {
        if ((seen & HAS_QUANTITY) != 0) return fail(reader, EDGE_BODY_UNKNOWN, quantity_place, "quantity");
        change->quantity = 0;
        return true;
    }
    int64_t least = change->op == CART_ADD ? -CART_QUANTITY_MAX : 0;
    if (quantity < least || quantity > CART_QUANTITY_MAX) {
        return fail(reader, EDGE_BODY_QUANTITY, quantity_place, "quantity");
    }
    if (change->op == CART_ADD && quantity == 0) return fail(reader, EDGE_BODY_ZERO, quantity_place, "quantity");
    change->quantity = (int32_t)quantity;
    return true;
}

static bool read_list(reader_t *reader, cart_change_t changes[CART_CHANGES_MAX], uint16_t *count) {
    size_t start = edge_json_place(&reader->json);
    uint16_t found = 0;
    if (!edge_json_array(&reader->json)) return fail_json(reader, "changes");
    for (;;) {
        edge_json_step_t step = edge_json_element(&reader->json);
        if (step == EDGE_JSON_FAULT) return fail_json(reader, "changes");
        if (step == EDGE_JSON_CLOSE) break;
        if (found == CART_CHANGES_MAX) {
            return fail(reader, EDGE_BODY_COUNT, edge_json_place(&reader->json), "changes");
        }
        (void)snprintf(reader->prefix, sizeof(reader->prefix), "changes[%u].", (unsigned)found); /* fits: 16 bytes */
        changes[found] = (cart_change_t){0};
        if (!read_change(reader, HAS_OP | HAS_BOOK | HAS_QUANTITY, &changes[found])) return false;
        reader->prefix[0] = '\0';
        found++;
    }
    if (found == 0) return fail(reader, EDGE_BODY_COUNT, start, "changes");
    *count = found;
    return true;
}

static bool read_changes(reader_t *reader, cart_change_t changes[CART_CHANGES_MAX], uint16_t *count) {
    size_t start = edge_json_place(&reader->json);
    unsigned seen = 0;
    if (!edge_json_object(&reader->json)) return fail_json(reader, "");
    for (;;) {
        unsigned field = 0;
        if (!next_field(reader, HAS_CHANGES, &seen, &field)) return false;
        if (field == 0) break;
        if (!read_list(reader, changes, count)) return false;
    }
    if (seen == 0) return fail(reader, EDGE_BODY_MISSING, start, "changes");
    return true;
}

bool edge_body_parse(edge_body_shape_t shape, uint64_t book, const void *bytes, size_t length,
                     cart_change_t changes[CART_CHANGES_MAX], uint16_t *count, edge_body_error_t *error) {
    assert(length <= EDGE_BODY_BYTES_MAX);
    reader_t reader = {.error = error};
    edge_json_begin(&reader.json, bytes, length);
    if (edge_json_place(&reader.json) == length) return fail(&reader, EDGE_BODY_EMPTY, 0, "");
    uint16_t found = 1;
    if (shape == EDGE_BODY_CHANGES) {
        if (!read_changes(&reader, changes, &found)) return false;
    } else {
        bool line = shape == EDGE_BODY_LINE;
        changes[0] = (cart_change_t){.book = line ? 0 : book, .op = line ? CART_ADD : CART_SET};
        if (!read_change(&reader, line ? HAS_BOOK | HAS_QUANTITY : HAS_QUANTITY, &changes[0])) return false;
    }
    if (!edge_json_end(&reader.json)) return fail_json(&reader, "");
    *count = found;
    error->fault = EDGE_BODY_OK;
    return true;
}

/* One table: code and sentence of every fault. */
typedef struct {
    const char *code, *detail;
} words_t;

static const words_t json_words[] = {
    [EDGE_JSON_OK] = {"", ""},
    [EDGE_JSON_TRUNCATED] = {"truncated", "The text ends too early."},
    [EDGE_JSON_SYNTAX] = {"syntax", "This is not JSON."},
    [EDGE_JSON_TYPE] = {"type", "Another kind of value is expected here."},
    [EDGE_JSON_DEPTH] = {"depth", "Nested too deeply."},
    [EDGE_JSON_UTF8] = {"utf-8", "Not valid UTF-8."},
    [EDGE_JSON_ESCAPE] = {"escape", "Not a valid escape in a string."},
    [EDGE_JSON_CONTROL] = {"control-character", "A control character in a string must be escaped."},
    [EDGE_JSON_NUMBER] = {"number", "Not a number as JSON writes them."},
    [EDGE_JSON_FRACTION] = {"fraction", "A whole number is expected."},
    [EDGE_JSON_EXPONENT] = {"exponent", "A whole number without exponent is expected."},
    [EDGE_JSON_OVERFLOW] = {"overflow", "The number is too large."},
    [EDGE_JSON_LONG] = {"too-long", "The text is too long."},
    [EDGE_JSON_TRAILING] = {"trailing", "Something follows the end of the JSON text."},
};

static const words_t body_words[] = {
    [EDGE_BODY_OK] = {"", ""},
    [EDGE_BODY_JSON] = {"syntax", "This is not JSON."},
    [EDGE_BODY_EMPTY] = {"empty", "A JSON body is expected."},
    [EDGE_BODY_UNKNOWN] = {"unknown-field", "There is no such field here."},
    [EDGE_BODY_DUPLICATE] = {"duplicate-field", "The field is there twice."},
    [EDGE_BODY_MISSING] = {"missing", "The field must be there."},
    [EDGE_BODY_BOOK] = {"range", "A book is a number from 1 to 9007199254740991."},
    [EDGE_BODY_OP] = {"op", "The operation is one of add, set and remove."},
    [EDGE_BODY_COUNT] = {"count", "From 1 to 100 changes are expected."},
    [EDGE_BODY_ZERO] = {"zero", "Adding 0 changes nothing."},
    [EDGE_BODY_QUANTITY] = {"range", "The quantity is out of range."},
};

static const words_t *words_of(const edge_body_error_t *error) {
    return error->fault == EDGE_BODY_JSON ? &json_words[error->json_fault] : &body_words[error->fault];
}

const char *edge_body_code(const edge_body_error_t *error) {
    return words_of(error)->code;
}
const char *edge_body_detail(const edge_body_error_t *error) {
    return words_of(error)->detail;
}
