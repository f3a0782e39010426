/* What a handler reads of its request. */
#include "platform/bc_http_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *bc_request_part(const bc_request_t *request, const char *name) {
    /* The route's path is walked beside the request's parts. */
    size_t length = strlen(name);
    const char *at = request->route->path;
    for (int i = 0; i < request->parts_count; i++) {
        at++; /* the slash */
        size_t own = strcspn(at, "/");
        if (own == length + 2 && at[0] == '{' && memcmp(at + 1, name, length) == 0) return request->parts[i];
        at += own;
    }
    assert(!"a part that the route's path does not name");
    return "";
}

const char *bc_request_query(const bc_request_t *request, const char *name) {
    for (int i = 0; i < request->query_count; i++) {
        if (strcmp(request->query[i].name, name) == 0) return request->query[i].value;
    }
    return NULL;
}

const json_t *bc_request_body(const bc_request_t *request) {
    return request->body;
}

const char *bc_request_string(const bc_request_t *request, const char *field) {
    return json_string_value(json_object_get(request->body, field));
}

bool bc_request_raw(const bc_request_t *request, const char **bytes, size_t *length, const char **media) {
    if (request->media == NULL || request->route->spool) return false;
    *bytes = request->raw->binary_body == NULL ? "" : request->raw->binary_body;
    *length = request->raw->binary_body_length;
    *media = request->media;
    return true;
}

const char *bc_request_header(const bc_request_t *request, const char *name) {
    return u_map_get_case(request->raw->map_header, name);
}

const char *bc_request_cookie(const bc_request_t *request, const char *name) {
    return u_map_get(request->raw->map_cookie, name);
}

const char *bc_request_id(const bc_request_t *request) {
    return request->id;
}

const char *bc_request_method(const bc_request_t *request) {
    return request->raw->http_verb;
}

const char *bc_request_url(const bc_request_t *request) {
    return request->raw->http_url;
}

const char *bc_request_client(const bc_request_t *request) {
    return request->client;
}

bc_language_t bc_request_language(const bc_request_t *request) {
    return request->language;
}

const bc_claims_t *bc_request_caller(const bc_request_t *request) {
    return request->has_caller ? &request->caller : NULL;
}

bool bc_request_stopping(const bc_request_t *request) {
    return *request->stopping;
}

bool bc_request_query_int(const bc_request_t *request, bc_reply_t *reply, const char *name, int64_t least, int64_t most,
                          int64_t otherwise, int64_t *value) {
    const char *text = bc_request_query(request, name);
    if (text == NULL) {
        *value = otherwise;
        return true;
    }
    bool negative = text[0] == '-';
    const char *digits = text + negative;
    size_t length = strspn(digits, "0123456789");
    int64_t number = 0;
    bool good = length > 0 && digits[length] == '\0';
    for (size_t i = 0; good && i < length; i++)
        good =
            !__builtin_mul_overflow(number, 10, &number) && !__builtin_add_overflow(number, digits[i] - '0', &number);
    if (negative) number = -number;
    if (good && number >= least && number <= most) {
        *value = number;
        return true;
    }
    char detail[96];
    (void)snprintf(detail, sizeof(detail), "a whole number between %lld and %lld is needed", (long long)least,
                   (long long)most);
    bc_reply_problem_field(reply, "malformed-request", name, "out-of-range", detail);
    return false;
}
