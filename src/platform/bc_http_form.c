/* The form of a request: query, media type, JSON body. Strict: what the route does not name is refused, and the answer names it. */
#include "platform/bc_http_internal.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* RFC 3629: shortest forms only, no surrogates, nothing beyond U+10FFFF. */
static bool is_utf8(const unsigned char *text) {
    while (*text != '\0') {
        unsigned char lead = *text++;
        if (lead < 0x80) continue;
        int more = lead >= 0xf0 && lead <= 0xf4   ? 3
                   : lead >= 0xe0 && lead <= 0xef ? 2
                   : lead >= 0xc2 && lead <= 0xdf ? 1
                                                  : -1;
        if (more < 0) return false;
        unsigned char least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        unsigned char most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        for (; more > 0; more--, text++) {
            if (*text < least || *text > most) return false;
            least = 0x80;
            most = 0xbf;
        }
    }
    return true;
}

bool bc_form_is_utf8(const char *text) {
    return is_utf8((const unsigned char *)text);
}

bool bc_form_decode(char *text, bool plus) {
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        if (*in == '%') {
            int high = hex_value(in[1]), low = high < 0 ? -1 : hex_value(in[2]);
            if (low < 0 || (high == 0 && low == 0)) return false;
            *out++ = (char)(high << 4 | low);
            in += 2;
        } else {
            *out++ = plus && *in == '+' ? ' ' : *in;
        }
    }
    *out = '\0';
    return is_utf8((const unsigned char *)text);
}

/* Whether `word` is one of the blank-separated words of `list`. */
static bool listed(const char *list, const char *word, size_t length) {
    while (list != NULL && *list != '\0') {
        size_t own = strcspn(list, " ");
        if (own == length && memcmp(list, word, length) == 0) return true;
        list += own + strspn(list + own, " ");
    }
    return false;
}

bool bc_form_query(bc_request_t *request, bc_reply_t *reply, const char *allowed) {
    const char *mark = strchr(request->raw->http_url, '?');
    if (mark == NULL || mark[1] == '\0') return true;
    request->query_text = strdup(mark + 1);
    if (request->query_text == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
        return false;
    }
    char *rest = request->query_text;
    while (rest != NULL && *rest != '\0') {
        char *item = strsep(&rest, "&");
        if (*item == '\0') continue;
        char *name = strsep(&item, "=");
        char *value = item == NULL ? name + strlen(name) : item;
        if (!bc_form_decode(name, true) || !bc_form_decode(value, true)) {
            bc_reply_problem(reply, "malformed-request", "the query is not percent-encoded UTF-8");
            return false;
        }
        for (int i = 0; i < request->query_count; i++) {
            if (strcmp(request->query[i].name, name) != 0) continue;
            bc_reply_problem_field(reply, "malformed-request", name, "repeated", "the parameter is given twice");
            return false;
        }
        if (!listed(allowed, name, strlen(name))) {
            bc_reply_problem_field(reply, "malformed-request", name, "unknown", "there is no such parameter");
            return false;
        }
        if (request->query_count == BC_HTTP_QUERY_MAX) {
            bc_reply_problem(reply, "malformed-request", "too many parameters");
            return false;
        }
        request->query[request->query_count].name = name;
        request->query[request->query_count++].value = value;
    }
    return true;
}

/* --- body --- */

typedef struct {
    const char *name;
    size_t length;
    const char *kind;
    size_t kind_length;
    bool needed, nullable;
} field_t;

static bool next_field(const char **list, field_t *field) {
    const char *at = *list + strspn(*list, " ");
    if (*at == '\0') return false;
    size_t length = strcspn(at, " ");
    const char *colon = memchr(at, ':', length);
    assert(colon != NULL); /* a route's field without a kind */
    *field = (field_t){.name = at, .length = (size_t)(colon - at), .kind = colon + 1};
    field->kind_length = length - field->length - 1;
    for (; field->kind_length > 0; field->kind_length--) {
        char mark = field->kind[field->kind_length - 1];
        if (mark == '!') {
            field->needed = true;
        } else if (mark == '?') {
            field->nullable = true;
        } else {
            break;
        }
    }
    *list = at + length;
    return true;
}

static bool kind_fits(const field_t *field, const json_t *value) {
    static const struct {
        const char *word;
        json_type type;
    } kinds[] = {{"string", JSON_STRING}, {"int", JSON_INTEGER}, {"object", JSON_OBJECT}, {"array", JSON_ARRAY}};
    if (json_is_null(value)) return field->nullable;
    if (field->kind_length == 3 && memcmp(field->kind, "any", 3) == 0) return true;
    if (field->kind_length == 4 && memcmp(field->kind, "bool", 4) == 0) return json_is_boolean(value);
    if (field->kind_length == 6 && memcmp(field->kind, "number", 6) == 0) return json_is_number(value);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strlen(kinds[i].word) == field->kind_length && memcmp(kinds[i].word, field->kind, field->kind_length) == 0)
            return json_typeof(value) == kinds[i].type;
    }
    assert(!"a route's field of an unknown kind");
    return false;
}

static bool check_fields(bc_reply_t *reply, json_t *body, const char *fields) {
    bool good = true;
    const char *name;
    json_t *value;
    field_t field;
    void *iterator = json_object_iter(body);
    for (; iterator != NULL; iterator = json_object_iter_next(body, iterator)) {
        name = json_object_iter_key(iterator);
        bool known = false;
        for (const char *list = fields; !known && next_field(&list, &field);)
            known = field.length == strlen(name) && memcmp(field.name, name, field.length) == 0;
        if (known) continue;
        bc_reply_problem_field(reply, "malformed-request", name, "unknown", "there is no such field");
        good = false;
    }
    for (const char *list = fields; next_field(&list, &field);) {
        char own[64];
        assert(field.length < sizeof(own));
        memcpy(own, field.name, field.length);
        own[field.length] = '\0';
        value = json_object_get(body, own);
        if (value == NULL && field.needed) {
            bc_reply_problem_field(reply, "malformed-request", own, "required", "the field is missing");
            good = false;
        } else if (value != NULL && !kind_fits(&field, value)) {
            char detail[64];
            (void)snprintf(detail, sizeof(detail), "the field is not of kind %.*s", (int)field.kind_length, field.kind);
            bc_reply_problem_field(reply, "malformed-request", own, "wrong-kind", detail);
            good = false;
        }
    }
    return good;
}

/* The media type without parameters, in lower case; false when it does not fit or a charset is not UTF-8. */
static bool read_media(const char *header, char *media, size_t size) {
    size_t length = strcspn(header, "; \t");
    if (length == 0 || length >= size) return false;
    for (size_t i = 0; i < length; i++) media[i] = (char)tolower((unsigned char)header[i]);
    media[length] = '\0';
    const char *charset = strcasestr(header + length, "charset=");
    if (charset == NULL) return true;
    charset += 8 + (charset[8] == '"');
    return strncasecmp(charset, "utf-8", 5) == 0 && strchr("\" ;\t", charset[5]) != NULL;
}

static bool read_json(bc_request_t *request, bc_reply_t *reply) {
    json_error_t error;
    request->body =
        json_loadb(request->raw->binary_body, request->raw->binary_body_length, JSON_REJECT_DUPLICATES, &error);
    if (request->body == NULL) {
        char detail[JSON_ERROR_TEXT_LENGTH + 64];
        (void)snprintf(detail, sizeof(detail), "line %d, column %d: %s", error.line, error.column, error.text);
        /* jansson shows what it stood at: only plain characters of it go out. */
        for (char *c = detail; *c != '\0'; c++) {
            if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e) *c = '?';
        }
        bc_reply_problem(reply, "malformed-request", detail);
        return false;
    }
    if (!json_is_object(request->body)) {
        bc_reply_problem(reply, "malformed-request", "the body is not a JSON object");
        return false;
    }
    return check_fields(reply, request->body, request->route->fields);
}

bool bc_form_body(bc_request_t *request, bc_reply_t *reply) {
    const bc_route_t *route = request->route;
    size_t length = request->body_length;
    assert(length <= bc_body_max(request)); /* more was refused as it came */
    if (route->fields == NULL && route->media == NULL) {
        if (length == 0) return true;
        bc_reply_problem(reply, "malformed-request", "this call takes no body");
        return false;
    }
    const char *header = bc_request_header(request, "Content-Type");
    bool fits = header != NULL && read_media(header, request->media_text, sizeof(request->media_text));
    if (route->media != NULL) {
        if (!fits || !listed(route->media, request->media_text, strlen(request->media_text))) {
            bc_reply_problem(reply, "unsupported-media-type", NULL);
            return false;
        }
        request->media = request->media_text;
        return true;
    }
    /* A body of optional fields only may be left out, and then needs no type. */
    if (length == 0 && header == NULL && strchr(route->fields, '!') == NULL) {
        request->body = json_object();
        if (request->body == NULL) bc_reply_problem(reply, "internal-error", NULL);
        return request->body != NULL;
    }
    if (!fits || (strcmp(request->media_text, "application/json") != 0 &&
                  strcmp(request->media_text, "application/merge-patch+json") != 0)) {
        bc_reply_problem(reply, "unsupported-media-type", NULL);
        return false;
    }
    return read_json(request, reply);
}
