#include "platform/bc_http_internal.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void clear_body(bc_reply_t *reply) {
    free(reply->bytes);
    free(reply->detail);
    json_decref(reply->errors);
    reply->bytes = NULL;
    reply->length = 0;
    reply->detail = NULL;
    reply->errors = NULL;
    reply->problem = NULL;
    reply->media = NULL;
}

void bc_reply_init(bc_reply_t *reply) {
    *reply = (bc_reply_t){.status = 500, .cache = "no-store"};
}

void bc_reply_deinit(bc_reply_t *reply) {
    clear_body(reply);
    for (int i = 0; i < reply->headers_count; i++) {
        free(reply->headers[i].name);
        free(reply->headers[i].value);
    }
}

int bc_reply_status(const bc_reply_t *reply) {
    return reply->status;
}

void bc_reply_problem(bc_reply_t *reply, const char *name, const char *detail) {
    clear_body(reply);
    reply->set = true;
    reply->problem = bc_problem_find(name);
    reply->status = reply->problem->status;
    if (detail != NULL) reply->detail = strdup(detail); /* without memory the problem stands without its detail */
}

void bc_reply_problem_field(bc_reply_t *reply, const char *name, const char *field, const char *code,
                            const char *detail) {
    if (reply->problem == NULL || strcmp(reply->problem->name, name) != 0) bc_reply_problem(reply, name, NULL);
    if (reply->errors == NULL) reply->errors = json_array();
    if (json_array_size(reply->errors) >= BC_FIELD_ERRORS_MAX) return;
    json_t *entry = json_pack("{s:s, s:s, s:s*}", "field", field, "code", code, "detail", detail);
    if (entry != NULL && json_array_append_new(reply->errors, entry) != 0)
        bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("at", "problem fields"));
}

void bc_reply_not_found(bc_reply_t *reply) {
    bc_reply_problem(reply, "not-found", NULL);
}

json_t *bc_reply_problem_parts(const bc_reply_t *reply) {
    if (reply->problem == NULL) return NULL;
    return json_pack("{s:s, s:s*, s:O*}", "name", reply->problem->name, "detail", reply->detail, "errors",
                     reply->errors);
}

void bc_reply_problem_from(bc_reply_t *reply, const json_t *parts) {
    const char *name = json_string_value(json_object_get(parts, "name"));
    bc_reply_problem(reply, name == NULL ? "internal-error" : name,
                     json_string_value(json_object_get(parts, "detail")));
    const json_t *errors = json_object_get(parts, "errors");
    if (json_array_size(errors) > 0) reply->errors = json_deep_copy(errors); /* without memory it stands without them */
}

void bc_reply_bytes(bc_reply_t *reply, int status, const char *media, const void *bytes, size_t length) {
    char *copy = malloc(length + 1);
    if (copy == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
        return;
    }
    clear_body(reply);
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    (void)snprintf(reply->media_text, sizeof(reply->media_text), "%s", media); /* our own literals: they fit */
    reply->media = reply->media_text;
    reply->bytes = copy;
    reply->length = length;
    reply->status = status;
    reply->set = true;
}

void bc_reply_json(bc_reply_t *reply, int status, json_t *body) {
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (text == NULL) {
        bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("at", "reply"));
        bc_reply_problem(reply, "internal-error", NULL);
        return;
    }
    clear_body(reply);
    reply->bytes = text;
    reply->length = strlen(text);
    reply->media = "application/json";
    reply->status = status;
    reply->set = true;
}

void bc_reply_empty(bc_reply_t *reply, int status) {
    clear_body(reply);
    reply->status = status;
    reply->set = true;
}

void bc_reply_header(bc_reply_t *reply, const char *name, const char *value) {
    assert(reply->headers_count < BC_HTTP_HEADERS_MAX);
    assert(strpbrk(value, "\r\n") == NULL);
    bc_header_t header = {strdup(name), strdup(value)};
    if (header.name == NULL || header.value == NULL) {
        free(header.name);
        free(header.value);
        bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("at", "header"));
        bc_reply_problem(reply, "internal-error", NULL); /* an answer without a header it needs is not that answer */
        return;
    }
    reply->headers[reply->headers_count++] = header;
}

void bc_reply_cache(bc_reply_t *reply, const char *cache_control) {
    assert(strlen(cache_control) < sizeof(reply->cache));
    (void)snprintf(reply->cache, sizeof(reply->cache), "%s", cache_control);
}

void bc_reply_retry_after(bc_reply_t *reply, int64_t ms) {
    char seconds[24];
    int64_t whole = (ms + 999) / 1000;
    (void)snprintf(seconds, sizeof(seconds), "%lld", (long long)(whole < 1 ? 1 : whole));
    bc_reply_header(reply, "Retry-After", seconds);
}

/* RFC 9110 13.1.2, weak comparison: W/ does not count on either side. */
static bool etag_listed(const char *header, const char *etag) {
    if (strncmp(etag, "W/", 2) == 0) etag += 2;
    size_t length = strlen(etag);
    const char *at = header + strspn(header, " \t");
    if (*at == '*') return true;
    while (*at != '\0') {
        at += strspn(at, " \t,");
        if (strncmp(at, "W/", 2) == 0) at += 2;
        if (*at != '"') return false; /* no entity tag: the rest cannot be read */
        const char *end = strchr(at + 1, '"');
        if (end == NULL) return false;
        if ((size_t)(end - at) + 1 == length && memcmp(at, etag, length) == 0) return true;
        at = end + 1;
    }
    return false;
}

bool bc_reply_etag(const bc_request_t *request, bc_reply_t *reply, const char *etag) {
    assert(etag[0] == '"' || strncmp(etag, "W/\"", 3) == 0);
    bc_reply_header(reply, "ETag", etag);
    const char *header = bc_request_header(request, "If-None-Match");
    if (header == NULL || !etag_listed(header, etag)) return false;
    bc_reply_empty(reply, 304);
    return true;
}

static void put_header(struct _u_response *response, const char *name, const char *value) {
    if (u_map_put(response->map_header, name, value) != U_OK)
        bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("at", "header"));
}

void bc_reply_send(bc_reply_t *reply, const bc_request_t *request, struct _u_response *response) {
    if (!reply->set) {
        bc_log(BC_LOG_ALERT, "no-reply", bc_f_text("path", request->route == NULL ? "" : request->route->path));
        bc_reply_problem(reply, "internal-error", NULL);
    }
    if (reply->problem != NULL) {
        const bc_problem_t *problem = reply->problem;
        json_t *body =
            bc_problem_body(problem, request->language, reply->detail, request->id, json_incref(reply->errors));
        char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
        json_decref(body);
        clear_body(reply);
        reply->bytes = text; /* without memory: the bare status */
        reply->length = text == NULL ? 0 : strlen(text);
        reply->media = "application/problem+json";
        reply->status = problem->status;
        put_header(response, "Content-Language", bc_language_tag(request->language));
        put_header(response, "Vary", "Accept-Language");
        if (problem->status == 401) put_header(response, "WWW-Authenticate", "Bearer");
        (void)snprintf(reply->cache, sizeof(reply->cache), "no-store");
    }
    put_header(response, "Request-Id", request->id);
    put_header(response, "Cache-Control", reply->cache);
    /* For the edge alone, which takes it off: keep this page and ask before each use, as the page cache counts uses. How long a worker may
     * answer it from its own memory the edge knows. */
    if (strncmp(reply->cache, "public", 6) == 0) put_header(response, "X-Accel-Expires", "@1");
    if (reply->media != NULL && reply->bytes != NULL) put_header(response, "Content-Type", reply->media);
    for (int i = 0; i < reply->headers_count; i++)
        put_header(response, reply->headers[i].name, reply->headers[i].value);
    response->status = reply->status;
    if (reply->bytes != NULL &&
        ulfius_set_binary_body_response(response, (unsigned)reply->status, reply->bytes, reply->length) != U_OK) {
        bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("at", "body"));
        response->status = 500;
    }
}
