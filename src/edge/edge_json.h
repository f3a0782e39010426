/*
 * A strict pull reader for small JSON texts (RFC 8259) that come from strangers: request bodies, token parts, key sets.
 *
 * The caller asks for what he expects, in order; the reader never builds a tree and never allocates. The first fault ends
 * it: every later call fails at once, `fault` and `fault_at` (byte offset) say what and where. Texts are UTF-8, checked
 * (no overlong forms, no surrogates, nothing above U+10FFFF). Depth is bounded by EDGE_JSON_DEPTH_MAX.
 */
#ifndef EDGE_JSON_H
#define EDGE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EDGE_JSON_DEPTH_MAX 8

typedef enum {
    EDGE_JSON_OK = 0,
    EDGE_JSON_TRUNCATED, /* the text ends inside a value */
    EDGE_JSON_SYNTAX,
    EDGE_JSON_TYPE, /* another kind of value than the caller expects */
    EDGE_JSON_DEPTH,
    EDGE_JSON_UTF8,
    EDGE_JSON_ESCAPE,   /* unknown escape, half a surrogate pair */
    EDGE_JSON_CONTROL,  /* a raw control character in a string */
    EDGE_JSON_NUMBER,   /* leading zero, a sign alone */
    EDGE_JSON_FRACTION, /* an integer is expected */
    EDGE_JSON_EXPONENT, /* an integer is expected, written without exponent */
    EDGE_JSON_OVERFLOW, /* does not fit into 64 bits, signed */
    EDGE_JSON_LONG,     /* a string longer than the caller takes */
    EDGE_JSON_TRAILING, /* something behind the value */
} edge_json_fault_t;

typedef struct {
    const uint8_t *start, *at, *end; /* borrowed until the reader is given up */
    unsigned depth;
    bool first; /* in the innermost object or array: no member was read yet */
    edge_json_fault_t fault;
    size_t fault_at;
} edge_json_t;

/* What a step inside an object or array found. */
typedef enum { EDGE_JSON_MEMBER, EDGE_JSON_CLOSE, EDGE_JSON_FAULT } edge_json_step_t;

void edge_json_begin(edge_json_t *json, const void *bytes, size_t length);
/* Offset of the next value (white space skipped), to report faults that only the caller can see. */
size_t edge_json_place(edge_json_t *json);

bool edge_json_object(edge_json_t *json); /* reads '{' */
bool edge_json_array(edge_json_t *json);  /* reads '[' */
/* The next key with its ':', unescaped into key[capacity]; or '}'. A longer key is cut to capacity and *length says how
 * long it is, so that it equals no known name. */
edge_json_step_t edge_json_key(edge_json_t *json, char *key, size_t capacity, size_t *length);
/* Whether another element follows; or ']'. */
edge_json_step_t edge_json_element(edge_json_t *json);

bool edge_json_integer(edge_json_t *json, int64_t *value);
/* Unescaped, without a terminator. More than capacity bytes: EDGE_JSON_LONG. */
bool edge_json_string(edge_json_t *json, char *text, size_t capacity, size_t *length);
bool edge_json_skip(edge_json_t *json); /* any value, checked like the others */
bool edge_json_end(edge_json_t *json);  /* only white space may be left */

/* Length of the valid UTF-8 character at `bytes`, 0 when there is none within `length`. */
unsigned edge_utf8_length(const uint8_t *bytes, size_t length);

#endif
