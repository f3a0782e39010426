#include "edge/edge_json.h"

#include <assert.h>
#include <string.h>

void edge_json_begin(edge_json_t *json, const void *bytes, size_t length) {
    *json = (edge_json_t){.start = bytes, .at = bytes, .end = (const uint8_t *)bytes + length};
}

static bool fault_here(edge_json_t *json, edge_json_fault_t fault, const uint8_t *place) {
    if (json->fault == EDGE_JSON_OK) {
        json->fault = fault;
        json->fault_at = (size_t)(place - json->start);
    }
    return false;
}

static void skip_space(edge_json_t *json) {
    while (json->at < json->end) {
        uint8_t c = *json->at;
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') break;
        json->at++;
    }
}

/* The next byte that is not white space, or -1 with a fault. */
static int peek(edge_json_t *json) {
    if (json->fault != EDGE_JSON_OK) return -1;
    skip_space(json);
    if (json->at == json->end) {
        (void)fault_here(json, EDGE_JSON_TRUNCATED, json->end); /* the fault is what we report */
        return -1;
    }
    return *json->at;
}

size_t edge_json_place(edge_json_t *json) {
    if (json->fault != EDGE_JSON_OK) return json->fault_at;
    skip_space(json);
    return (size_t)(json->at - json->start);
}

/* Whether c can begin a value at all: tells "of another kind" from "not JSON". */
static bool begins_value(int c) {
    return c == '{' || c == '[' || c == '"' || c == '-' || (c >= '0' && c <= '9') || c == 't' || c == 'f' || c == 'n';
}

static bool open_with(edge_json_t *json, int bracket) {
    int c = peek(json);
    if (c < 0) return false;
    if (c != bracket) return fault_here(json, begins_value(c) ? EDGE_JSON_TYPE : EDGE_JSON_SYNTAX, json->at);
    if (json->depth == EDGE_JSON_DEPTH_MAX) return fault_here(json, EDGE_JSON_DEPTH, json->at);
    json->at++;
    json->depth++;
    json->first = true;
    return true;
}

bool edge_json_object(edge_json_t *json) {
    return open_with(json, '{');
}
bool edge_json_array(edge_json_t *json) {
    return open_with(json, '[');
}

/* Comma or closing bracket before the next member. */
static edge_json_step_t next_member(edge_json_t *json, int bracket) {
    int c = peek(json);
    if (c < 0) return EDGE_JSON_FAULT;
    assert(json->depth > 0);
    if (c == bracket) {
        json->at++;
        json->depth--;
        json->first = false; /* the container itself was a member of what is around it */
        return EDGE_JSON_CLOSE;
    }
    if (!json->first) {
        if (c != ',') {
            (void)fault_here(json, EDGE_JSON_SYNTAX, json->at); /* told by the step */
            return EDGE_JSON_FAULT;
        }
        json->at++;
    }
    json->first = false;
    return EDGE_JSON_MEMBER;
}

edge_json_step_t edge_json_element(edge_json_t *json) {
    edge_json_step_t step = next_member(json, ']');
    if (step == EDGE_JSON_MEMBER && peek(json) < 0) return EDGE_JSON_FAULT;
    return step;
}

unsigned edge_utf8_length(const uint8_t *bytes, size_t length) {
    if (length == 0) return 0;
    uint8_t lead = bytes[0];
    if (lead < 0x80) return 1;
    unsigned need = lead >= 0xC2 && lead <= 0xDF ? 2 : (lead & 0xF0) == 0xE0 ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
    if (need == 0 || length < need) return 0;
    for (unsigned i = 1; i < need; i++)
        if ((bytes[i] & 0xC0) != 0x80) return 0;
    if (lead == 0xE0 && bytes[1] < 0xA0) return 0; /* overlong */
    if (lead == 0xED && bytes[1] > 0x9F) return 0; /* surrogates */
    if (lead == 0xF0 && bytes[1] < 0x90) return 0; /* overlong */
    if (lead == 0xF4 && bytes[1] > 0x8F) return 0; /* above U+10FFFF */
    return need;
}

/* Where unescaped characters go: cut at capacity, counted in full. */
typedef struct {
    char *text;
    size_t capacity, length;
} sink_t;

static void sink_put(sink_t *sink, const void *bytes, size_t count) {
    if (sink->length < sink->capacity) {
        size_t room = sink->capacity - sink->length;
        memcpy(sink->text + sink->length, bytes, count < room ? count : room);
    }
    sink->length += count;
}

static void sink_put_point(sink_t *sink, uint32_t point) {
    uint8_t bytes[4];
    if (point < 0x80) {
        bytes[0] = (uint8_t)point;
        sink_put(sink, bytes, 1);
    } else if (point < 0x800) {
        bytes[0] = (uint8_t)(0xC0 | point >> 6);
        bytes[1] = (uint8_t)(0x80 | (point & 0x3F));
        sink_put(sink, bytes, 2);
    } else if (point < 0x10000) {
        bytes[0] = (uint8_t)(0xE0 | point >> 12);
        bytes[1] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
        bytes[2] = (uint8_t)(0x80 | (point & 0x3F));
        sink_put(sink, bytes, 3);
    } else {
        bytes[0] = (uint8_t)(0xF0 | point >> 18);
        bytes[1] = (uint8_t)(0x80 | (point >> 12 & 0x3F));
        bytes[2] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
        bytes[3] = (uint8_t)(0x80 | (point & 0x3F));
        sink_put(sink, bytes, 4);
    }
}

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Four hex digits at json->at; moves past them. */
static bool read_hex4(edge_json_t *json, uint32_t *unit) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        if (json->at == json->end) return fault_here(json, EDGE_JSON_TRUNCATED, json->end);
        int digit = hex_value(*json->at);
        if (digit < 0) return fault_here(json, EDGE_JSON_ESCAPE, json->at);
        value = value << 4 | (uint32_t)digit;
        json->at++;
    }
    *unit = value;
    return true;
}

/* json->at is behind "\u". */
static bool read_unicode_escape(edge_json_t *json, sink_t *sink, const uint8_t *backslash) {
    uint32_t unit = 0;
    if (!read_hex4(json, &unit)) return false;
    if (unit >= 0xDC00 && unit <= 0xDFFF) return fault_here(json, EDGE_JSON_ESCAPE, backslash);
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        uint32_t low = 0;
        if (json->end - json->at < 2) return fault_here(json, EDGE_JSON_TRUNCATED, json->end);
        if (json->at[0] != '\\' || json->at[1] != 'u') return fault_here(json, EDGE_JSON_ESCAPE, backslash);
        json->at += 2;
        if (!read_hex4(json, &low)) return false;
        if (low < 0xDC00 || low > 0xDFFF) return fault_here(json, EDGE_JSON_ESCAPE, backslash);
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    sink_put_point(sink, unit);
    return true;
}

static bool read_escape(edge_json_t *json, sink_t *sink) {
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const uint8_t *backslash = json->at++;
    if (json->at == json->end) return fault_here(json, EDGE_JSON_TRUNCATED, json->end);
    uint8_t c = *json->at++;
    if (c == 'u') return read_unicode_escape(json, sink, backslash);
    const char *found = c == 0 ? NULL : strchr(names, c);
    if (found == NULL) return fault_here(json, EDGE_JSON_ESCAPE, backslash);
    sink_put(sink, &values[found - names], 1);
    return true;
}

/* A string from its opening quote on. */
static bool read_string(edge_json_t *json, sink_t *sink) {
    int c = peek(json);
    if (c < 0) return false;
    if (c != '"') return fault_here(json, begins_value(c) ? EDGE_JSON_TYPE : EDGE_JSON_SYNTAX, json->at);
    json->at++;
    while (json->at < json->end) {
        uint8_t byte = *json->at;
        if (byte == '"') {
            json->at++;
            return true;
        }
        if (byte == '\\') {
            if (!read_escape(json, sink)) return false;
            continue;
        }
        if (byte < 0x20) return fault_here(json, EDGE_JSON_CONTROL, json->at);
        unsigned length = edge_utf8_length(json->at, (size_t)(json->end - json->at));
        if (length == 0) return fault_here(json, EDGE_JSON_UTF8, json->at);
        sink_put(sink, json->at, length);
        json->at += length;
    }
    return fault_here(json, EDGE_JSON_TRUNCATED, json->end);
}

edge_json_step_t edge_json_key(edge_json_t *json, char *key, size_t capacity, size_t *length) {
    edge_json_step_t step = next_member(json, '}');
    if (step != EDGE_JSON_MEMBER) return step;
    if (peek(json) >= 0 && *json->at != '"') {
        (void)fault_here(json, EDGE_JSON_SYNTAX, json->at); /* told by the step */
        return EDGE_JSON_FAULT;
    }
    sink_t sink = {key, capacity, 0};
    if (!read_string(json, &sink)) return EDGE_JSON_FAULT;
    int c = peek(json);
    if (c != ':') {
        (void)fault_here(json, EDGE_JSON_SYNTAX, json->at); /* an earlier fault stays */
        return EDGE_JSON_FAULT;
    }
    json->at++;
    *length = sink.length;
    return EDGE_JSON_MEMBER;
}

bool edge_json_string(edge_json_t *json, char *text, size_t capacity, size_t *length) {
    if (peek(json) < 0) return false;
    const uint8_t *place = json->at;
    sink_t sink = {text, capacity, 0};
    if (!read_string(json, &sink)) return false;
    if (sink.length > capacity) return fault_here(json, EDGE_JSON_LONG, place);
    *length = sink.length;
    return true;
}

static bool is_digit(const edge_json_t *json) {
    return json->at < json->end && *json->at >= '0' && *json->at <= '9';
}

/* Digits by the grammar: "0" or a digit 1…9 and more. Sum saturates: *fits turns false. */
static bool read_digits(edge_json_t *json, uint64_t *sum, bool *fits) {
    if (json->at == json->end) return fault_here(json, EDGE_JSON_TRUNCATED, json->end);
    if (!is_digit(json)) return fault_here(json, EDGE_JSON_NUMBER, json->at);
    if (*json->at == '0') {
        json->at++;
        if (is_digit(json)) return fault_here(json, EDGE_JSON_NUMBER, json->at);
        return true;
    }
    while (is_digit(json)) {
        unsigned digit = *json->at++ - '0';
        if (*sum > (UINT64_MAX - digit) / 10) {
            *fits = false;
        } else {
            *sum = *sum * 10 + digit;
        }
    }
    return true;
}

bool edge_json_integer(edge_json_t *json, int64_t *value) {
    int c = peek(json);
    if (c < 0) return false;
    const uint8_t *place = json->at;
    bool negative = c == '-';
    if (!negative && (c < '0' || c > '9')) {
        return fault_here(json, begins_value(c) ? EDGE_JSON_TYPE : EDGE_JSON_SYNTAX, place);
    }
    if (negative) json->at++;
    uint64_t sum = 0;
    bool fits = true;
    if (!read_digits(json, &sum, &fits)) return false;
    if (json->at < json->end && *json->at == '.') return fault_here(json, EDGE_JSON_FRACTION, json->at);
    if (json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
        return fault_here(json, EDGE_JSON_EXPONENT, json->at);
    }
    if (!fits || sum > (uint64_t)INT64_MAX) return fault_here(json, EDGE_JSON_OVERFLOW, place);
    *value = negative ? -(int64_t)sum : (int64_t)sum;
    return true;
}

static bool skip_number(edge_json_t *json) {
    uint64_t sum = 0;
    bool fits = true;
    if (*json->at == '-') json->at++;
    if (!read_digits(json, &sum, &fits)) return false;
    if (json->at < json->end && *json->at == '.') {
        json->at++;
        if (!is_digit(json)) return fault_here(json, EDGE_JSON_NUMBER, json->at);
        while (is_digit(json)) json->at++;
    }
    if (json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
        json->at++;
        if (json->at < json->end && (*json->at == '+' || *json->at == '-')) json->at++;
        if (!is_digit(json)) return fault_here(json, EDGE_JSON_NUMBER, json->at);
        while (is_digit(json)) json->at++;
    }
    return true;
}

static bool skip_word(edge_json_t *json, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(json->end - json->at) < length || memcmp(json->at, word, length) != 0) {
        return fault_here(json, EDGE_JSON_SYNTAX, json->at);
    }
    json->at += length;
    return true;
}

static bool skip_scalar(edge_json_t *json, int c) {
    sink_t nowhere = {NULL, 0, 0};
    switch (c) {
    case '"':
        return read_string(json, &nowhere);
    case 't':
        return skip_word(json, "true");
    case 'f':
        return skip_word(json, "false");
    case 'n':
        return skip_word(json, "null");
    default:
        if (c == '-' || (c >= '0' && c <= '9')) return skip_number(json);
        return fault_here(json, EDGE_JSON_SYNTAX, json->at);
    }
}

/* Iterative: the depth of a stranger's text is no depth of our stack. */
bool edge_json_skip(edge_json_t *json) {
    unsigned base = json->depth;
    bool is_object[EDGE_JSON_DEPTH_MAX];
    for (;;) {
        int c = peek(json);
        if (c < 0) return false;
        if (c == '{' || c == '[') {
            if (!open_with(json, c)) return false;
            is_object[json->depth - 1] = c == '{';
        } else if (!skip_scalar(json, c)) {
            return false;
        }
        /* To the next value: close what ends here. */
        for (;;) {
            if (json->depth == base) return true;
            size_t length = 0;
            edge_json_step_t step =
                is_object[json->depth - 1] ? edge_json_key(json, NULL, 0, &length) : edge_json_element(json);
            if (step == EDGE_JSON_FAULT) return false;
            if (step == EDGE_JSON_MEMBER) break;
        }
    }
}

bool edge_json_end(edge_json_t *json) {
    if (json->fault != EDGE_JSON_OK) return false;
    skip_space(json);
    assert(json->depth == 0);
    if (json->at != json->end) return fault_here(json, EDGE_JSON_TRAILING, json->at);
    return true;
}
