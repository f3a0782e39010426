/*
 * The real auth service inside a test: its own data folder, unix sockets, a temporary SQLite file; talked to by libcurl as the edge would.
 * Included by test_auth_*.c, one program each, so everything is static.
 */
#ifndef AUTH_HARNESS_H
#define AUTH_HARNESS_H

#include "platform/bc_client.h"
#include "platform/bc_config.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_service.h"
#include "platform/bc_time.h"
#include "services/auth/auth.h"

#include <curl/curl.h>
#include <ftw.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
    int status;
    json_t *body; /* NULL: none, or no JSON */
    char *text;   /* NULL: none */
    char headers[8192];
} answer_t;

static char data_folder[64];
static bc_config_t *config;
static bc_service_state_t *service;

static inline int remove_entry(const char *path, const struct stat *found, int kind, struct FTW *walk) {
    (void)found;
    (void)kind;
    (void)walk;
    return remove(path);
}

static inline void make_config(const char *extra) {
    char text[2048], reason[BC_CONFIG_REASON_BYTES];
    bc_config_destroy(config);
    config = bc_config_create();
    assert_non_null(config);
    /* The real hash with little work in it, unless the test says otherwise. */
    bool cheap = strstr(extra, "BOOKCART_ARGON2_MEMORY") == NULL;
    (void)snprintf(text, sizeof(text), "BOOKCART_DATA = %s\nBOOKCART_LOG_LEVEL = debug\n%s%s", data_folder,
                   cheap ? "BOOKCART_ARGON2_MEMORY = 64k\nBOOKCART_ARGON2_PASSES = 1\n" : "", extra);
    if (!bc_config_read_text(config, "test", text, strlen(text), reason) || !bc_config_finish(config, reason))
        fail_msg("%s", reason);
}

static inline void start_service(const char *extra) {
    make_config(extra);
    service = bc_service_start(&auth_service, config);
    assert_non_null(service);
}

static inline void stop_service(void) {
    bc_service_stop(service);
    service = NULL;
}

static inline int make_data(void **state) {
    (void)state;
    bc_log_init("test", BC_LOG_ALERT);
    (void)snprintf(data_folder, sizeof(data_folder), "/tmp/bookcart-auth-XXXXXX");
    return bc_random_init() && bc_client_init() && mkdtemp(data_folder) != NULL ? 0 : -1;
}

static inline int drop_data(void **state) {
    (void)state;
    stop_service();
    bc_config_destroy(config);
    config = NULL;
    return nftw(data_folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static inline size_t keep_text(char *bytes, size_t size, size_t count, void *target) {
    char **text = target;
    size_t used = *text == NULL ? 0 : strlen(*text);
    char *more = realloc(*text, used + size * count + 1);
    assert_non_null(more);
    memcpy(more + used, bytes, size * count);
    more[used + size * count] = '\0';
    *text = more;
    return size * count;
}

/* `body` is taken; NULL: none. `token` NULL: none. `header` NULL: none more. */
static inline answer_t call_with(bc_key_t listen, const char *method, const char *path, const char *token,
                                 const char *header, json_t *body) {
    answer_t answer = {0, NULL, NULL, ""};
    char url[512], authorization[4096], *text = NULL, *headers_text = NULL,
                                        *sent = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    CURL *handle = curl_easy_init();
    long status = 0;
    assert_non_null(handle);
    (void)snprintf(url, sizeof(url), "http://shop%s", path);
    if (token != NULL) {
        (void)snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", token);
        headers = curl_slist_append(headers, authorization);
    }
    if (header != NULL) headers = curl_slist_append(headers, header);
    if (sent != NULL) {
        headers = curl_slist_append(headers, "Content-Type: application/json");
        curl_easy_setopt(handle, CURLOPT_POSTFIELDS, sent);
    }
    curl_easy_setopt(handle, CURLOPT_URL, url);
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, bc_config_text(config, listen) + 5);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, keep_text);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, &text);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, keep_text);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, &headers_text);
    curl_easy_setopt(handle, CURLOPT_TIMEOUT, 60L);
    assert_int_equal(curl_easy_perform(handle), CURLE_OK);
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    answer.status = (int)status;
    if (text != NULL) answer.body = json_loads(text, 0, NULL);
    (void)snprintf(answer.headers, sizeof(answer.headers), "%s", headers_text == NULL ? "" : headers_text);
    curl_easy_cleanup(handle);
    curl_slist_free_all(headers);
    answer.text = text;
    free(headers_text);
    free(sent);
    json_decref(body);
    return answer;
}

static inline answer_t post(const char *path, const char *token, json_t *body) {
    return call_with(BC_AUTH_LISTEN, "POST", path, token, NULL, body);
}

static inline answer_t get(const char *path, const char *token) {
    return call_with(BC_AUTH_LISTEN, "GET", path, token, NULL, NULL);
}

static inline void drop(answer_t *answer) {
    json_decref(answer->body);
    free(answer->text);
    answer->body = NULL;
    answer->text = NULL;
}

/* A member by path "user.id"; "" when it is not there. Borrowed from the answer. */
static inline const char *member(const answer_t *answer, const char *path) {
    char copy[128], *rest = copy;
    json_t *value = answer->body;
    (void)snprintf(copy, sizeof(copy), "%s", path);
    while (rest != NULL) value = json_object_get(value, strsep(&rest, "."));
    return json_is_string(value) ? json_string_value(value) : "";
}

/* Expects a status (and for problems the name behind /problems/), then forgets the answer. */
static inline void expect(answer_t answer, int status, const char *problem) {
    if (answer.status != status) {
        char *text = json_dumps(answer.body, 0);
        print_error("status %d: %s\n", answer.status, text == NULL ? "" : text);
        free(text);
    }
    assert_int_equal(answer.status, status);
    if (problem != NULL) {
        assert_true(strncmp(member(&answer, "type"), "/problems/", 10) == 0);
        assert_string_equal(member(&answer, "type") + 10, problem);
    }
    drop(&answer);
}

static inline int statements_of(const answer_t *answer) {
    const char *at = strstr(answer->headers, "Bookcart-Statements: ");
    return at == NULL ? -1 : atoi(at + 21);
}

/* A counter of /metrics; 0 before it was first counted. */
static inline long counter(const char *name) {
    char line[128];
    answer_t page = call_with(BC_AUTH_INTERNAL, "GET", "/metrics", NULL, NULL, NULL);
    assert_int_equal(page.status, 200);
    (void)snprintf(line, sizeof(line), "\n%s ", name);
    const char *at = page.text == NULL ? NULL : strstr(page.text, line);
    long value = at == NULL ? 0 : atol(at + strlen(line));
    drop(&page);
    return value;
}

static inline char *service_key(void) {
    static char text[256];
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/keys/service.key", data_folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static inline json_t *credentials(const char *email, const char *password) {
    return json_pack("{s:s, s:s}", "email", email, "password", password);
}

static inline json_t *registration(const char *email) {
    return json_pack("{s:s, s:s, s:s}", "email", email, "password", "correct horse", "name", "Emma");
}

#endif
