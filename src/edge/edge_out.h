/*
 * Writing text into a bounded buffer: what every renderer of the edge is made of. Nothing is written past `end`;
 * `full` says that something did not fit, and the caller starts again with more room.
 */
#ifndef EDGE_OUT_H
#define EDGE_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    char *at, *end; /* borrowed */
    bool full;
} edge_out_t;

static inline void edge_out_bytes(edge_out_t *out, const void *bytes, size_t length) {
    if ((size_t)(out->end - out->at) < length) {
        out->full = true;
        return;
    }
    memcpy(out->at, bytes, length);
    out->at += length;
}

/* A string literal: its length is known to the compiler. */
#define edge_out_literal(out, text) edge_out_bytes((out), "" text, sizeof(text) - 1)

static inline void edge_out_text(edge_out_t *out, const char *text) {
    edge_out_bytes(out, text, strlen(text));
}

void edge_out_u64(edge_out_t *out, uint64_t value);
void edge_out_hex64(edge_out_t *out, uint64_t value); /* 16 digits, lower case */
/* A JSON string with its quotes. Not valid UTF-8: each bad byte becomes U+FFFD. */
void edge_out_json(edge_out_t *out, const char *text, size_t length);

#endif
