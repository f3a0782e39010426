#include "edge/edge_token.h"

#include <assert.h>
#include <string.h>

#include "edge/edge_json.h"
#include "edge/edge_keys.h"

static int sextet(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '-') return 62;
    if (c == '_') return 63;
    return -1;
}

bool edge_base64url(const char *text, size_t length, uint8_t *bytes, size_t capacity, size_t *count) {
    size_t rest = length % 4;
    size_t size = length / 4 * 3 + (rest == 0 ? 0 : rest - 1);
    if (rest == 1 || size > capacity) return false;
    uint32_t held = 0;
    unsigned bits = 0;
    size_t out = 0;
    for (size_t i = 0; i < length; i++) {
        int value = sextet(text[i]);
        if (value < 0) return false;
        held = held << 6 | (uint32_t)value;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes[out++] = (uint8_t)(held >> bits);
            held &= (1U << bits) - 1;
        }
    }
    if (held != 0) return false; /* stray bits: a second spelling of the same bytes */
    assert(out == size);
    *count = out;
    return true;
}

/* ---- names seen in one object: a name twice is a fault, also among those we do not know ------------------------------ */
#define CLAIM_NAME_MAX 64
typedef struct {
    char names[EDGE_TOKEN_CLAIMS_MAX][CLAIM_NAME_MAX];
    uint8_t lengths[EDGE_TOKEN_CLAIMS_MAX];
    unsigned count;
} names_t;

/* The next member's name, which lies in names->names[names->count - 1]. */
static edge_json_step_t next_name(edge_json_t *json, names_t *names, const char **name, size_t *length) {
    if (names->count == EDGE_TOKEN_CLAIMS_MAX) {
        /* Full: only the end may come. */
        char none[1];
        size_t ignored = 0;
        edge_json_step_t step = edge_json_key(json, none, 0, &ignored);
        return step == EDGE_JSON_CLOSE ? EDGE_JSON_CLOSE : EDGE_JSON_FAULT;
    }
    char *mine = names->names[names->count];
    size_t size = 0;
    edge_json_step_t step = edge_json_key(json, mine, CLAIM_NAME_MAX, &size);
    if (step != EDGE_JSON_MEMBER) return step;
    if (size > CLAIM_NAME_MAX) return EDGE_JSON_FAULT;
    for (unsigned i = 0; i < names->count; i++) {
        if (names->lengths[i] == size && memcmp(names->names[i], mine, size) == 0) return EDGE_JSON_FAULT;
    }
    names->lengths[names->count++] = (uint8_t)size;
    *name = mine;
    *length = size;
    return EDGE_JSON_MEMBER;
}

static bool is_name(const char *name, size_t length, const char *known) {
    return strlen(known) == length && memcmp(name, known, length) == 0;
}

/* ---- header ----------------------------------------------------------------------------------------------------------- */
typedef struct {
    bool has_alg, has_typ, has_kid;
    bool alg_ok, typ_ok, critical;
    char kid[EDGE_TOKEN_KID_MAX];
    size_t kid_length;
} header_t;

static bool equals_ignoring_case(const char *text, size_t length, const char *lower) {
    if (strlen(lower) != length) return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
        if (c != lower[i]) return false;
    }
    return true;
}

static edge_token_result_t read_header(const uint8_t *bytes, size_t length, header_t *header) {
    edge_json_t json;
    names_t names;
    names.count = 0;
    edge_json_begin(&json, bytes, length);
    if (!edge_json_object(&json)) return EDGE_TOKEN_FORM;
    for (;;) {
        const char *name = NULL;
        size_t size = 0;
        char text[32];
        size_t text_length = 0;
        edge_json_step_t step = next_name(&json, &names, &name, &size);
        if (step == EDGE_JSON_FAULT) return EDGE_TOKEN_FORM;
        if (step == EDGE_JSON_CLOSE) break;
        if (is_name(name, size, "alg")) {
            if (!edge_json_string(&json, text, sizeof(text), &text_length)) return EDGE_TOKEN_FORM;
            header->has_alg = true;
            header->alg_ok = is_name(text, text_length, "ES256");
        } else if (is_name(name, size, "typ")) {
            if (!edge_json_string(&json, text, sizeof(text), &text_length)) return EDGE_TOKEN_FORM;
            header->has_typ = true;
            header->typ_ok = equals_ignoring_case(text, text_length, "at+jwt") ||
                             equals_ignoring_case(text, text_length, "application/at+jwt");
        } else if (is_name(name, size, "kid")) {
            if (!edge_json_string(&json, header->kid, sizeof(header->kid), &header->kid_length)) return EDGE_TOKEN_FORM;
            header->has_kid = true;
        } else {
            if (is_name(name, size, "crit")) header->critical = true; /* RFC 7515, 4.1.11: we know no extension */
            if (!edge_json_skip(&json)) return EDGE_TOKEN_FORM;
        }
    }
    if (!edge_json_end(&json)) return EDGE_TOKEN_FORM;
    if (!header->has_alg || !header->alg_ok) return EDGE_TOKEN_ALGORITHM;
    if (!header->has_typ || !header->typ_ok || header->critical) return EDGE_TOKEN_TYPE;
    if (!header->has_kid) return EDGE_TOKEN_KEY;
    return EDGE_TOKEN_OK;
}

/* ---- claims ----------------------------------------------------------------------------------------------------------- */
enum {
    SAW_ISS = 1,
    SAW_AUD = 2,
    SAW_SUB = 4,
    SAW_SID = 8,
    SAW_IAT = 16,
    SAW_EXP = 32,
    SAW_KIND = 64,
    SAW_ROLE = 128,
    SAW_ALL = 255
};

typedef struct {
    edge_claims_t claims;
    unsigned seen;
    bool issuer_ok, audience_ok, guest, admin;
    uint64_t not_before_s;
} payload_t;

static bool read_text(edge_json_t *json, char *text, size_t capacity, size_t *length) {
    return edge_json_string(json, text, capacity, length);
}

static bool read_seconds(edge_json_t *json, uint64_t *seconds) {
    int64_t value = 0;
    if (!edge_json_integer(json, &value) || value < 0) return false;
    *seconds = (uint64_t)value;
    return true;
}

/* aud is a string or a list of strings (RFC 7519, 4.1.3). */
static bool read_audience(edge_json_t *json, const char *audience, bool *ok) {
    char text[EDGE_TOKEN_NAME_MAX];
    size_t length = 0;
    size_t place = edge_json_place(json);
    if (json->start + place == json->end || json->start[place] != '[') {
        if (!read_text(json, text, sizeof(text), &length)) return false;
        *ok = is_name(text, length, audience);
        return true;
    }
    if (!edge_json_array(json)) return false;
    for (;;) {
        edge_json_step_t step = edge_json_element(json);
        if (step == EDGE_JSON_FAULT) return false;
        if (step == EDGE_JSON_CLOSE) return true;
        if (!read_text(json, text, sizeof(text), &length)) return false;
        if (is_name(text, length, audience)) *ok = true;
    }
}

static bool read_kind(edge_json_t *json, payload_t *payload) {
    char text[16];
    size_t length = 0;
    if (!read_text(json, text, sizeof(text), &length)) return false;
    payload->guest = is_name(text, length, "guest");
    return payload->guest || is_name(text, length, "customer");
}

static bool read_role(edge_json_t *json, payload_t *payload) {
    char text[16];
    size_t length = 0;
    if (!read_text(json, text, sizeof(text), &length)) return false;
    payload->admin = is_name(text, length, "admin");
    return payload->admin || is_name(text, length, "customer");
}

static bool read_claim(edge_json_t *json, const char *name, size_t size, const edge_token_rules_t *rules,
                       payload_t *payload) {
    char text[EDGE_TOKEN_NAME_MAX];
    size_t length = 0;
    edge_claims_t *claims = &payload->claims;
    if (is_name(name, size, "iss")) {
        payload->seen |= SAW_ISS;
        if (!read_text(json, text, sizeof(text), &length)) return false;
        payload->issuer_ok = is_name(text, length, rules->issuer);
        return true;
    }
    if (is_name(name, size, "aud")) {
        payload->seen |= SAW_AUD;
        return read_audience(json, rules->audience, &payload->audience_ok);
    }
    if (is_name(name, size, "sub")) {
        payload->seen |= SAW_SUB;
        return read_text(json, text, sizeof(text), &length) && cart_id_parse("usr_", text, length, &claims->user);
    }
    if (is_name(name, size, "sid")) {
        payload->seen |= SAW_SID;
        return read_text(json, text, sizeof(text), &length) && cart_id_parse("ses_", text, length, &claims->session);
    }
    if (is_name(name, size, "iat")) {
        payload->seen |= SAW_IAT;
        return read_seconds(json, &claims->issued_s);
    }
    if (is_name(name, size, "exp")) {
        payload->seen |= SAW_EXP;
        return read_seconds(json, &claims->expires_s);
    }
    if (is_name(name, size, "kind")) {
        payload->seen |= SAW_KIND;
        return read_kind(json, payload);
    }
    if (is_name(name, size, "role")) {
        payload->seen |= SAW_ROLE;
        return read_role(json, payload);
    }
    if (is_name(name, size, "nbf")) return read_seconds(json, &payload->not_before_s);
    return edge_json_skip(json);
}

static edge_token_result_t read_payload(const uint8_t *bytes, size_t length, const edge_token_rules_t *rules,
                                        uint64_t now_s, edge_claims_t *claims) {
    edge_json_t json;
    names_t names;
    payload_t payload = {0};
    names.count = 0;
    edge_json_begin(&json, bytes, length);
    if (!edge_json_object(&json)) return EDGE_TOKEN_FORM;
    for (;;) {
        const char *name = NULL;
        size_t size = 0;
        edge_json_step_t step = next_name(&json, &names, &name, &size);
        if (step == EDGE_JSON_FAULT) return EDGE_TOKEN_FORM;
        if (step == EDGE_JSON_CLOSE) break;
        if (!read_claim(&json, name, size, rules, &payload)) return EDGE_TOKEN_FORM;
    }
    if (!edge_json_end(&json) || payload.seen != SAW_ALL) return EDGE_TOKEN_FORM;
    if (payload.guest && payload.admin) return EDGE_TOKEN_FORM;
    if (!payload.issuer_ok) return EDGE_TOKEN_ISSUER;
    if (!payload.audience_ok) return EDGE_TOKEN_AUDIENCE;
    if (payload.claims.expires_s <= payload.claims.issued_s || payload.claims.expires_s > UINT32_MAX) {
        return EDGE_TOKEN_FORM; /* a token that never lives is nobody's; our cache keeps 32 bits */
    }
    if (now_s >= payload.claims.expires_s + EDGE_TOKEN_LEEWAY_S) return EDGE_TOKEN_EXPIRED;
    if (payload.claims.issued_s > now_s + EDGE_TOKEN_LEEWAY_S) return EDGE_TOKEN_FUTURE;
    if (payload.not_before_s > now_s + EDGE_TOKEN_LEEWAY_S) return EDGE_TOKEN_FUTURE;
    payload.claims.role = payload.guest ? EDGE_ROLE_GUEST : payload.admin ? EDGE_ROLE_ADMIN : EDGE_ROLE_CUSTOMER;
    *claims = payload.claims;
    return EDGE_TOKEN_OK;
}

/* ---- the whole --------------------------------------------------------------------------------------------------------- */
edge_token_result_t edge_token_verify(const char *token, size_t length, const edge_keys_t *keys,
                                      const edge_token_rules_t *rules, uint64_t now_s, edge_claims_t *claims,
                                      uint32_t *key) {
    if (length > EDGE_TOKEN_BYTES_MAX) return EDGE_TOKEN_LONG;
    const char *end = token + length;
    const char *dot1 = memchr(token, '.', length);
    if (dot1 == NULL) return EDGE_TOKEN_FORM;
    const char *dot2 = memchr(dot1 + 1, '.', (size_t)(end - dot1 - 1));
    if (dot2 == NULL || memchr(dot2 + 1, '.', (size_t)(end - dot2 - 1)) != NULL) return EDGE_TOKEN_FORM;

    uint8_t bytes[EDGE_TOKEN_BYTES_MAX];
    uint8_t signature[EDGE_SIGNATURE_BYTES];
    size_t count = 0;
    header_t header = {0};
    if (!edge_base64url(token, (size_t)(dot1 - token), bytes, sizeof(bytes), &count)) return EDGE_TOKEN_FORM;
    edge_token_result_t result = read_header(bytes, count, &header);
    if (result != EDGE_TOKEN_OK) return result;
    if (!edge_base64url(dot2 + 1, (size_t)(end - dot2 - 1), signature, sizeof(signature), &count) ||
        count != sizeof(signature)) {
        return EDGE_TOKEN_FORM;
    }
    const edge_key_t *found = edge_keys_find(keys, header.kid, header.kid_length);
    if (found == NULL) return EDGE_TOKEN_KEY;

    /* The cheap reading first: a token that is expired or for another audience costs us no curve arithmetic. Nothing of
     * it is used before the signature is found good. */
    edge_claims_t read;
    if (!edge_base64url(dot1 + 1, (size_t)(dot2 - dot1 - 1), bytes, sizeof(bytes), &count)) return EDGE_TOKEN_FORM;
    result = read_payload(bytes, count, rules, now_s, &read);
    if (result != EDGE_TOKEN_OK) return result;
    if (!edge_key_verify(found, token, (size_t)(dot2 - token), signature)) return EDGE_TOKEN_SIGNATURE;
    *claims = read;
    *key = edge_key_number(found);
    return EDGE_TOKEN_OK;
}

const char *edge_token_text(edge_token_result_t result) {
    static const char *const texts[] = {
        [EDGE_TOKEN_OK] = "ok",
        [EDGE_TOKEN_LONG] = "too long",
        [EDGE_TOKEN_FORM] = "malformed",
        [EDGE_TOKEN_ALGORITHM] = "alg",
        [EDGE_TOKEN_TYPE] = "typ",
        [EDGE_TOKEN_KEY] = "unknown key",
        [EDGE_TOKEN_SIGNATURE] = "signature",
        [EDGE_TOKEN_ISSUER] = "issuer",
        [EDGE_TOKEN_AUDIENCE] = "audience",
        [EDGE_TOKEN_EXPIRED] = "expired",
        [EDGE_TOKEN_FUTURE] = "not yet valid",
        [EDGE_TOKEN_REVOKED] = "revoked",
    };
    return texts[result];
}
