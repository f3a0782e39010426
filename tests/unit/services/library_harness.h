/*
 * The real library service inside a test, beside the real auth service: unix sockets over a real database in a temporary folder, called by
 * libcurl as the edge and the other services call it; and the import command, which works with the service and without it.
 * Included by test_library_*.c, one program each, so everything is static.
 */
#ifndef LIBRARY_HARNESS_H
#define LIBRARY_HARNESS_H

#include "platform/bc_client.h"
#include "platform/bc_config.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"
#include "platform/bc_token.h"
#include "services/auth/auth.h"
#include "services/library/library.h"
#include "services/library/library_service.h"

#include <curl/curl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char data[64];
static bc_config_t *config;
static bc_service_state_t *service;
static bc_service_state_t *auth;
static char admin_token[BC_TOKEN_MAX + 1];
static char guest_token[BC_TOKEN_MAX + 1];
static char service_key[BC_SECRET_MAX + 1];

/* --- calls --- */

typedef struct {
    int status;
    char headers[4096];
    size_t headers_used;
    char *text;
    size_t used;
    json_t *json;
} answer_t;

static inline size_t take_body(char *bytes, size_t one, size_t count, void *context) {
    answer_t *answer = context;
    char *grown = realloc(answer->text, answer->used + one * count + 1);
    assert_non_null(grown);
    answer->text = grown;
    memcpy(answer->text + answer->used, bytes, one * count);
    answer->used += one * count;
    answer->text[answer->used] = '\0';
    return one * count;
}

static inline size_t take_header(char *bytes, size_t one, size_t count, void *context) {
    answer_t *answer = context;
    assert_true(answer->headers_used + one * count < sizeof(answer->headers));
    memcpy(answer->headers + answer->headers_used, bytes, one * count);
    answer->headers_used += one * count;
    return one * count;
}

static inline void drop(answer_t *answer) {
    free(answer->text);
    json_decref(answer->json);
    memset(answer, 0, sizeof(*answer));
}

/* `header` and `token` may be NULL. The answer before is dropped. */
static inline void call(answer_t *answer, bool internal, const char *method, const char *path, const char *token,
                        const char *header, const char *body) {
    char url[2048], authorization[BC_TOKEN_MAX + 32], socket[128];
    drop(answer);
    CURL *curl = curl_easy_init();
    assert_non_null(curl);
    (void)snprintf(url, sizeof(url), "http://library%s", path);
    (void)snprintf(socket, sizeof(socket), "%s/run/library%s.sock", data, internal ? "-internal" : "");
    struct curl_slist *headers = NULL;
    if (token != NULL) {
        (void)snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", token);
        headers = curl_slist_append(headers, authorization);
    }
    if (header != NULL) headers = curl_slist_append(headers, header);
    if (body != NULL) headers = curl_slist_append(headers, "Content-Type: application/json");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
    if (strcmp(method, "HEAD") == 0) curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    if (body != NULL) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    assert_int_equal(curl_easy_perform(curl), CURLE_OK);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;
    if (answer->text != NULL) answer->json = json_loads(answer->text, 0, NULL);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
}

static inline void get(answer_t *answer, const char *path) {
    call(answer, false, "GET", path, NULL, NULL, NULL);
}

static inline const char *header_of(const answer_t *answer, const char *name, char value[256]) {
    const char *at = strcasestr(answer->headers, name);
    assert_non_null(at);
    at += strlen(name) + 2;
    (void)snprintf(value, 256, "%.*s", (int)strcspn(at, "\r\n"), at);
    return value;
}

static inline const char *text_of(const answer_t *answer, const char *field) {
    return json_string_value(json_object_get(answer->json, field));
}

static inline int64_t item_id(const answer_t *answer, size_t index) {
    return json_integer_value(json_object_get(json_array_get(json_object_get(answer->json, "items"), index), "id"));
}

static inline size_t items(const answer_t *answer) {
    return json_array_size(json_object_get(answer->json, "items"));
}

static inline void get_feed(answer_t *answer, const char *query) {
    char path[200];
    (void)snprintf(path, sizeof(path), "/internal/feed/books?%s", query);
    call(answer, true, "GET", path, service_key, NULL, NULL);
    assert_int_equal(answer->status, 200);
}

static inline void expect_problem(const answer_t *answer, int status, const char *name, const char *field) {
    char type[80];
    (void)snprintf(type, sizeof(type), "/problems/%s", name);
    assert_int_equal(answer->status, status);
    assert_non_null(answer->json);
    assert_string_equal(text_of(answer, "type"), type);
    if (field == NULL) return;
    const json_t *first = json_array_get(json_object_get(answer->json, "errors"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "field")), field);
}

/* --- the service, one per test, over a small catalogue --- */

static const char catalogue[] = "id,title,authors,year,language,genres,price,stock\n"
                                "1,Emma,Jane Austen,1815,en,novel;romance,9.99,7\n"
                                "2,Émile,Jean-Jacques Rousseau,1762,fr,philosophy,5.00,3\n"
                                "3,Faust,Johann Wolfgang von Goethe,1808,de,drama,5.00,0\n"
                                "4,Под игото,Иван Вазов,1894,bg,novel,7.50,100\n"
                                "5,Ἰλιάς,Ὅμηρος,-750,grc,,12.00,9\n"
                                "6,Beowulf,,,ang,,,\n";

static inline void write_file(const char *name, const char *text, char path[128]) {
    (void)snprintf(path, 128, "%s/%s", data, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

/* Runs the command with its report in `report`. */
static inline int run_import(const char *path, char *report, size_t size) {
    char out[128];
    (void)snprintf(out, sizeof(out), "%s/report", data);
    (void)fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_non_null(freopen(out, "w", stdout));
    int result = library_import(config, path);
    (void)fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    (void)close(saved);
    FILE *file = fopen(out, "r");
    assert_non_null(file);
    report[fread(report, 1, size - 1, file)] = '\0';
    (void)fclose(file);
    return result;
}

static inline void import_text(const char *text, const char *last_line) {
    char path[128], report[4096];
    write_file("catalogue.csv", text, path);
    int rejected = strstr(last_line, " 0 rejected") == NULL;
    assert_int_equal(run_import(path, report, sizeof(report)), rejected);
    assert_non_null(strstr(report, last_line));
}

/* Auth too: without its list of revoked sessions nobody's token is believed. */
static inline void start_service(void) {
    if (auth == NULL) auth = bc_service_start(&auth_service, config);
    assert_non_null(auth);
    service = bc_service_start(&library_service, config);
    assert_non_null(service);
    const library_t *library = bc_service_context(service);
    for (int i = 0; i < 500 && !bc_revoked_is_vouched(library->revoked); i++) (void)usleep(10000);
    assert_true(bc_revoked_is_vouched(library->revoked));
}

static inline void stop_service(void) {
    bc_service_stop(service);
    service = NULL;
}

static inline void make_token(bc_token_issuer_t *issuer, bc_kind_t kind, bc_role_t role, char *token) {
    int64_t now = bc_time_s();
    bc_claims_t claims = {.user = bc_random_id(),
                          .session = bc_random_id(),
                          .issued_s = now,
                          .expires_s = now + 600,
                          .kind = kind,
                          .role = role};
    assert_true(bc_token_issue(issuer, "at+jwt", &claims, token));
}

static inline int setup(void **state) {
    (void)state;
    char reason[BC_CONFIG_REASON_BYTES];
    (void)snprintf(data, sizeof(data), "/tmp/bookcart-library-XXXXXX");
    assert_non_null(mkdtemp(data));
    if (!bc_config_load(&config, NULL, NULL, data, reason)) fail_msg("%s", reason);
    assert_true(bc_random_init());
    assert_true(bc_service_folders(config));
    bc_token_issuer_t *issuer = bc_token_issuer_create(config);
    assert_non_null(issuer);
    make_token(issuer, BC_KIND_CUSTOMER, BC_ROLE_ADMIN, admin_token);
    make_token(issuer, BC_KIND_GUEST, BC_ROLE_CUSTOMER, guest_token);
    bc_token_issuer_destroy(issuer);
    start_service();
    assert_true(bc_secret_service_key(config, false, service_key, sizeof(service_key)));
    import_text(catalogue, "6 rows: 6 new, 0 changed, 0 unchanged, 0 rejected");
    return 0;
}

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static inline int teardown(void **state) {
    (void)state;
    bc_service_stop(auth); /* first: it answers the library's long poll at once */
    auth = NULL;
    stop_service();
    bc_config_destroy(config);
    config = NULL;
    (void)nftw(data, remove_one, 16, FTW_DEPTH | FTW_PHYS); /* a left-over in /tmp fails no test */
    return 0;
}

#endif
