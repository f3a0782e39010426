#include "edge/edge_out.h"

#include "edge/edge_json.h"

void edge_out_u64(edge_out_t *out, uint64_t value) {
    char digits[20];
    char *at = digits + sizeof(digits);
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    edge_out_bytes(out, at, (size_t)(digits + sizeof(digits) - at));
}

static const char hex[] = "0123456789abcdef";

void edge_out_hex64(edge_out_t *out, uint64_t value) {
    char digits[16];
    for (int i = 15; i >= 0; i--) {
        digits[i] = hex[value & 15];
        value >>= 4;
    }
    edge_out_bytes(out, digits, sizeof(digits));
}

static void out_control(edge_out_t *out, uint8_t byte) {
    char text[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
    edge_out_bytes(out, text, sizeof(text));
}

void edge_out_json(edge_out_t *out, const char *text, size_t length) {
    const uint8_t *at = (const uint8_t *)text;
    const uint8_t *end = at + length;
    edge_out_literal(out, "\"");
    while (at < end && !out->full) {
        if (*at == '"' || *at == '\\') {
            char pair[2] = {'\\', (char)*at++};
            edge_out_bytes(out, pair, 2);
        } else if (*at < 0x20 || *at == 0x7F) {
            out_control(out, *at++);
        } else {
            unsigned count = edge_utf8_length(at, (size_t)(end - at));
            if (count == 0) {
                edge_out_literal(out, "\xEF\xBF\xBD");
                at++;
            } else {
                edge_out_bytes(out, at, count);
                at += count;
            }
        }
    }
    edge_out_literal(out, "\"");
}
