#include "edge/edge_etag.h"

#include <assert.h>

#include "edge/edge_out.h"

size_t edge_etag_format(const edge_etag_t *tag, char text[EDGE_ETAG_BYTES_MAX]) {
    edge_out_t out = {text, text + EDGE_ETAG_BYTES_MAX, false};
    edge_out_literal(&out, "\"");
    edge_out_u64(&out, tag->place.epoch);
    edge_out_literal(&out, "-");
    edge_out_u64(&out, tag->place.version);
    edge_out_literal(&out, "-");
    edge_out_hex64(&out, tag->digest);
    if (tag->once != 0) {
        edge_out_literal(&out, "-");
        edge_out_hex64(&out, tag->once);
    }
    edge_out_literal(&out, "\"");
    assert(!out.full);
    return (size_t)(out.at - text);
}

static bool read_decimal(const char **at, const char *end, uint64_t *value) {
    uint64_t sum = 0;
    const char *start = *at;
    while (*at < end && **at >= '0' && **at <= '9') {
        unsigned digit = (unsigned)(**at - '0');
        if (sum > (UINT64_MAX - digit) / 10) return false;
        sum = sum * 10 + digit;
        (*at)++;
    }
    if (*at == start || (*start == '0' && *at - start > 1)) return false;
    *value = sum;
    return true;
}

static bool read_hex(const char **at, const char *end, uint64_t *value) {
    if (end - *at < 16) return false;
    uint64_t sum = 0;
    for (int i = 0; i < 16; i++) {
        char c = *(*at)++;
        unsigned digit;
        if (c >= '0' && c <= '9') {
            digit = (unsigned)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = (unsigned)(c - 'a') + 10;
        } else {
            return false;
        }
        sum = sum << 4 | digit;
    }
    *value = sum;
    return true;
}

static bool read_dash(const char **at, const char *end) {
    if (*at == end || **at != '-') return false;
    (*at)++;
    return true;
}

/* What stands between the quotes; false: a tag that we never made. */
static bool parse_opaque(const char *at, const char *end, edge_etag_t *tag) {
    *tag = (edge_etag_t){0};
    if (!read_decimal(&at, end, &tag->place.epoch) || !read_dash(&at, end)) return false;
    if (!read_decimal(&at, end, &tag->place.version) || !read_dash(&at, end)) return false;
    if (!read_hex(&at, end, &tag->digest)) return false;
    if (at == end) return true;
    return read_dash(&at, end) && read_hex(&at, end, &tag->once) && tag->once != 0 && at == end;
}

static edge_match_t compare(const edge_etag_t *given, const edge_etag_t *shown, bool is_weak, bool weak) {
    bool same = cart_place_compare(given->place, shown->place) == 0 && given->digest == shown->digest;
    if (weak) return same && given->once == shown->once ? EDGE_MATCH_YES : EDGE_MATCH_NO;
    if (is_weak) return EDGE_MATCH_NO;
    if (same) return EDGE_MATCH_YES;
    bool newer = given->place.epoch == shown->place.epoch && given->place.version > shown->place.version;
    return newer ? EDGE_MATCH_NEWER : EDGE_MATCH_NO;
}

static void skip_blank(const char **at, const char *end) {
    while (*at < end && (**at == ' ' || **at == '\t')) (*at)++;
}

/* One entity-tag at *at. */
static edge_match_t match_one(const char **at, const char *end, const edge_etag_t *tag, bool weak) {
    bool is_weak = end - *at >= 2 && (*at)[0] == 'W' && (*at)[1] == '/';
    if (is_weak) *at += 2;
    if (*at == end || **at != '"') return EDGE_MATCH_BAD;
    const char *opaque = ++*at;
    while (*at < end && **at != '"') {
        unsigned char c = (unsigned char)**at;
        if (c <= ' ' || c == 0x7F) return EDGE_MATCH_BAD;
        (*at)++;
    }
    if (*at == end) return EDGE_MATCH_BAD;
    edge_etag_t given;
    bool ours = parse_opaque(opaque, *at, &given);
    (*at)++;
    return ours ? compare(&given, tag, is_weak, weak) : EDGE_MATCH_NO;
}

edge_match_t edge_etag_match(const char *list, size_t length, const edge_etag_t *tag, bool weak) {
    const char *at = list;
    const char *end = list + length;
    skip_blank(&at, end);
    if (at < end && *at == '*') {
        at++;
        skip_blank(&at, end);
        return at == end ? EDGE_MATCH_ANY : EDGE_MATCH_BAD;
    }
    edge_match_t result = EDGE_MATCH_NO;
    unsigned count = 0;
    while (at < end) {
        if (*at == ',') { /* RFC 9110, 5.6.1: empty elements are skipped */
            at++;
        } else {
            if (++count > EDGE_ETAG_LIST_MAX) return EDGE_MATCH_BAD;
            edge_match_t one = match_one(&at, end, tag, weak);
            if (one == EDGE_MATCH_BAD) return EDGE_MATCH_BAD;
            if (one == EDGE_MATCH_YES || (one == EDGE_MATCH_NEWER && result == EDGE_MATCH_NO)) result = one;
            skip_blank(&at, end);
            if (at < end && *at != ',') return EDGE_MATCH_BAD;
        }
        skip_blank(&at, end);
    }
    return count == 0 ? EDGE_MATCH_BAD : result;
}
