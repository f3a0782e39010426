/* The real library service on unix sockets over a real database in a temporary folder, called by libcurl as the edge and the other
 * services call it; and the import command beside it and without it. */
#include "platform/bc_client.h"
#include "platform/bc_config.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"
#include "platform/bc_token.h"
#include "services/auth/auth.h"
#include "services/library/library.h"
#include "services/library/library_cursor.h"
#include "services/library/library_json.h"
#include "services/library/library_service.h"

#include <curl/curl.h>
#include <ftw.h>
#include <pthread.h>
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

static size_t take_body(char *bytes, size_t one, size_t count, void *context) {
    answer_t *answer = context;
    char *grown = realloc(answer->text, answer->used + one * count + 1);
    assert_non_null(grown);
    answer->text = grown;
    memcpy(answer->text + answer->used, bytes, one * count);
    answer->used += one * count;
    answer->text[answer->used] = '\0';
    return one * count;
}

static size_t take_header(char *bytes, size_t one, size_t count, void *context) {
    answer_t *answer = context;
    assert_true(answer->headers_used + one * count < sizeof(answer->headers));
    memcpy(answer->headers + answer->headers_used, bytes, one * count);
    answer->headers_used += one * count;
    return one * count;
}

static void drop(answer_t *answer) {
    free(answer->text);
    json_decref(answer->json);
    memset(answer, 0, sizeof(*answer));
}

/* `header` and `token` may be NULL. The answer before is dropped. */
static void call(answer_t *answer, bool internal, const char *method, const char *path, const char *token,
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

static void get(answer_t *answer, const char *path) {
    call(answer, false, "GET", path, NULL, NULL, NULL);
}

static const char *header_of(const answer_t *answer, const char *name, char value[256]) {
    const char *at = strcasestr(answer->headers, name);
    assert_non_null(at);
    at += strlen(name) + 2;
    (void)snprintf(value, 256, "%.*s", (int)strcspn(at, "\r\n"), at);
    return value;
}

static const char *text_of(const answer_t *answer, const char *field) {
    return json_string_value(json_object_get(answer->json, field));
}

static int64_t item_id(const answer_t *answer, size_t index) {
    return json_integer_value(json_object_get(json_array_get(json_object_get(answer->json, "items"), index), "id"));
}

static size_t items(const answer_t *answer) {
    return json_array_size(json_object_get(answer->json, "items"));
}

static void expect_problem(const answer_t *answer, int status, const char *name, const char *field) {
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

static void write_file(const char *name, const char *text, char path[128]) {
    (void)snprintf(path, 128, "%s/%s", data, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

/* Runs the command with its report in `report`. */
static int run_import(const char *path, char *report, size_t size) {
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

static void import_text(const char *text, const char *last_line) {
    char path[128], report[4096];
    write_file("catalogue.csv", text, path);
    assert_int_equal(run_import(path, report, sizeof(report)), 0);
    assert_non_null(strstr(report, last_line));
}

/* Auth too: without its list of revoked sessions nobody's token is believed. */
static void start_service(void) {
    if (auth == NULL) auth = bc_service_start(&auth_service, config);
    assert_non_null(auth);
    service = bc_service_start(&library_service, config);
    assert_non_null(service);
    const library_t *library = bc_service_context(service);
    for (int i = 0; i < 500 && !bc_revoked_is_vouched(library->revoked); i++) (void)usleep(10000);
    assert_true(bc_revoked_is_vouched(library->revoked));
}

static void stop_service(void) {
    bc_service_stop(service);
    service = NULL;
}

static void make_token(bc_token_issuer_t *issuer, bc_kind_t kind, bc_role_t role, char *token) {
    int64_t now = bc_time_s();
    bc_claims_t claims = {.user = bc_random_id(),
                          .session = bc_random_id(),
                          .issued_s = now,
                          .expires_s = now + 600,
                          .kind = kind,
                          .role = role};
    assert_true(bc_token_issue(issuer, "at+jwt", &claims, token));
}

static int setup(void **state) {
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

/* As the ledger's event would. */
static void tell_stock(int64_t book, int64_t copies, int64_t revision) {
    const library_t *library = bc_service_context(service);
    bc_db_t *db = library_store_db(library->store);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(library_store_stock_inside(library->store, book, copies, revision), LIBRARY_OK);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
}

static bool take_copies(void *context, const library_row_t *row) {
    *(int64_t *)context = row->stock;
    return true;
}

static int64_t copies_of(int64_t book) {
    const library_t *library = bc_service_context(service);
    int64_t copies = -1;
    assert_int_equal(library_store_get(library->store, book, take_copies, &copies), LIBRARY_OK);
    return copies;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static int teardown(void **state) {
    (void)state;
    bc_service_stop(auth); /* first: it answers the library's long poll at once */
    auth = NULL;
    stop_service();
    bc_config_destroy(config);
    config = NULL;
    (void)nftw(data, remove_one, 16, FTW_DEPTH | FTW_PHYS); /* a left-over in /tmp fails no test */
    return 0;
}

/* --- reading --- */

static void shows_one_book_and_repeats_as_304(void **state) {
    (void)state;
    answer_t answer = {0};
    char etag[256], header[300], value[256];
    get(&answer, "/api/v1/books/1");
    assert_int_equal(answer.status, 200);
    json_t *expected = json_loads("{\"id\":1,\"title\":\"Emma\",\"authors\":[\"Jane Austen\"],\"year\":1815,"
                                  "\"language\":\"en\",\"isbn\":null,\"genres\":[\"novel\",\"romance\"],"
                                  "\"description\":null,\"price\":{\"amount\":999,\"currency\":\"EUR\"},"
                                  "\"availability\":\"in_stock\",\"rating\":null,\"ratings_count\":0,"
                                  "\"cover_url\":null,\"banner_url\":null}",
                                  0, NULL);
    assert_int_equal(json_object_del(answer.json, "updated_at"), 0);
    assert_true(json_equal(answer.json, expected));
    json_decref(expected);
    assert_string_equal(header_of(&answer, "Cache-Control", value), "public, no-cache");
    header_of(&answer, "ETag", etag);
    assert_int_equal(etag[0], '"'); /* strong */

    (void)snprintf(header, sizeof(header), "If-None-Match: \"other\", W/%s", etag);
    call(&answer, false, "GET", "/api/v1/books/1", NULL, header, NULL);
    assert_int_equal(answer.status, 304);
    assert_int_equal(answer.used, 0);
    call(&answer, false, "GET", "/api/v1/books/1", NULL, "If-None-Match: \"other\"", NULL);
    assert_int_equal(answer.status, 200);
    call(&answer, false, "HEAD", "/api/v1/books/1", NULL, NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_string_equal(header_of(&answer, "ETag", value), etag);

    static const char *const absent[] = {"/api/v1/books/99", "/api/v1/books/0", "/api/v1/books/01", "/api/v1/books/x",
                                         "/api/v1/books/99999999999999999999"};
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
        get(&answer, absent[i]);
        expect_problem(&answer, 404, "not-found", NULL);
    }
    drop(&answer);
}

static void lists_in_every_order_page_by_page(void **state) {
    (void)state;
    static const struct {
        const char *sort;
        int order[6];
    } cases[] = {
        {"title", {6, 2, 1, 3, 4, 5}}, /* beowulf emile emma faust под ἰλιάς: by bytes across scripts */
        {"newest", {4, 1, 3, 2, 5, 6}},
        {"rating", {6, 5, 4, 3, 2, 1}},
    };
    answer_t answer = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int limit = 1; limit <= 7; limit++) {
            char cursor[300] = "", path[600];
            int seen = 0;
            for (;;) {
                (void)snprintf(path, sizeof(path), "/api/v1/books?sort=%s&limit=%d%s%s", cases[i].sort, limit,
                               cursor[0] == '\0' ? "" : "&cursor=", cursor);
                get(&answer, path);
                assert_int_equal(answer.status, 200);
                assert_true(items(&answer) <= (size_t)limit);
                for (size_t k = 0; k < items(&answer); k++) {
                    assert_true(seen < 6);
                    assert_int_equal(item_id(&answer, k), cases[i].order[seen++]);
                }
                const char *next = text_of(&answer, "next_cursor");
                if (next == NULL) break;
                (void)snprintf(cursor, sizeof(cursor), "%s", next);
            }
            assert_int_equal(seen, 6);
        }
    }
    /* Prices rise and fall; the two equal ones (2, 3) keep one order. */
    for (int falling = 0; falling < 2; falling++) {
        get(&answer, falling ? "/api/v1/books?sort=-price" : "/api/v1/books?sort=price");
        assert_int_equal(items(&answer), 6);
        int64_t before = falling ? INT64_MAX : -1;
        for (size_t k = 0; k < 6; k++) {
            const json_t *item = json_array_get(json_object_get(answer.json, "items"), k);
            int64_t price = json_integer_value(json_object_get(json_object_get(item, "price"), "amount"));
            assert_true(falling ? price <= before : price >= before);
            before = price;
        }
    }
    drop(&answer);
}

static void filters_and_refuses_what_it_does_not_know(void **state) {
    (void)state;
    static const struct {
        const char *query;
        size_t count;
        int64_t first;
    } good[] = {
        {"author=jane%20AUSTEN", 1, 1}, {"author=%D0%B8%D0%B2%D0%B0%D0%BD%20%D0%B2%D0%B0%D0%B7%D0%BE%D0%B2", 1, 4},
        {"language=fre", 1, 2},         {"year_from=-800&year_to=0", 1, 5},
        {"year_to=1800", 2, 2},         {"year_from=1800", 3, 1},
        {"price_max=500", 2, 2},        {"available=false", 1, 3},
        {"genre=Novel", 2, 1},          {"genre=novel&language=bg", 1, 4},
        {"ids=3,1,3,99", 2, 1},         {"ids=1,2&author=Jane%20Austen", 1, 1},
        {"author=nobody", 0, 0},
    };
    static const struct {
        const char *query;
        const char *field;
    } bad[] = {
        {"limit=0", "limit"},
        {"limit=101", "limit"},
        {"limit=x", "limit"},
        {"colour=red", "colour"},
        {"q=", "q"},
        {"sort=relevance", "sort"},
        {"sort=", "sort"},
        {"ids=", "ids"},
        {"ids=1,", "ids"},
        {"ids=a", "ids"},
        {"ids=0", "ids"},
        {"ids=9007199254740992", "ids"},
        {"language=klingon", "language"},
        {"available=yes", "available"},
        {"year_from=1.5", "year_from"},
        {"price_max=-1", "price_max"},
        {"author=", "author"},
    };
    answer_t answer = {0};
    char path[2000];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?%s", good[i].query);
        get(&answer, path);
        assert_int_equal(answer.status, 200);
        assert_int_equal(items(&answer), good[i].count);
        if (good[i].count > 0) assert_int_equal(item_id(&answer, 0), good[i].first);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?%s", bad[i].query);
        get(&answer, path);
        expect_problem(&answer, 400, "malformed-request", bad[i].field);
    }
    size_t used = (size_t)snprintf(path, sizeof(path), "/api/v1/books?ids=1");
    for (int i = 2; i <= library_ids_max + 1; i++) used += (size_t)snprintf(path + used, sizeof(path) - used, ",%d", i);
    get(&answer, path);
    expect_problem(&answer, 400, "malformed-request", "ids");
    drop(&answer);
}

static void refuses_cursors_that_are_not_of_this_list(void **state) {
    (void)state;
    answer_t answer = {0};
    char cursor[300], path[600];
    get(&answer, "/api/v1/books?limit=2&sort=title");
    (void)snprintf(cursor, sizeof(cursor), "%s", text_of(&answer, "next_cursor"));
    static const char *const lists[] = {"sort=price", "sort=title&language=en", "ids=1,2,3"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?%s&cursor=%s", lists[i], cursor);
        get(&answer, path);
        expect_problem(&answer, 400, "bad-cursor", "cursor");
    }
    static const char *const garbage[] = {"",    "x",      "AAAA",
                                          "%00", "%21%21", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        (void)snprintf(path, sizeof(path), "/api/v1/books?cursor=%s", garbage[i]);
        get(&answer, path);
        assert_int_equal(answer.status, 400);
    }
    /* Every single change of a character, and every truncation, breaks the seal. */
    for (size_t i = 0; i < strlen(cursor); i++) {
        char forged[300];
        (void)snprintf(forged, sizeof(forged), "%s", cursor);
        forged[i] = forged[i] == 'A' ? 'B' : 'A';
        (void)snprintf(path, sizeof(path), "/api/v1/books?cursor=%s", forged);
        get(&answer, path);
        expect_problem(&answer, 400, "bad-cursor", "cursor");
    }
    (void)snprintf(path, sizeof(path), "/api/v1/books?limit=100&cursor=%s",
                   cursor); /* title is the default; another limit is fine */
    stop_service();
    start_service(); /* a cursor outlives the process */
    get(&answer, path);
    assert_int_equal(answer.status, 200);
    assert_int_equal(items(&answer), 4);
    drop(&answer);
}

static void shop_says_its_limits(void **state) {
    (void)state;
    answer_t answer = {0};
    get(&answer, "/api/v1/shop");
    assert_int_equal(answer.status, 200);
    assert_string_equal(text_of(&answer, "currency"), "EUR");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(answer.json, "limits"), "list_limit")), 100);
    drop(&answer);
}

/* --- changing --- */

static void tag_header(const char *path, char header[300]) {
    answer_t answer = {0};
    char etag[256];
    get(&answer, path);
    (void)snprintf(header, 300, "If-Match: %s", header_of(&answer, "ETag", etag));
    drop(&answer);
}

static void admin_changes_need_the_newest_tag(void **state) {
    (void)state;
    answer_t answer = {0};
    char match[300], value[256];
    static const char path[] = "/api/v1/admin/books/1";
    static const char price[] = "{\"price\":{\"amount\":1500,\"currency\":\"EUR\"}}";
    tag_header("/api/v1/books/1", match);

    call(&answer, false, "PATCH", path, NULL, match, price);
    expect_problem(&answer, 401, "unauthorized", NULL);
    call(&answer, false, "PATCH", path, guest_token, match, price);
    assert_int_equal(answer.status, 403);
    call(&answer, false, "PATCH", path, admin_token, NULL, price);
    expect_problem(&answer, 428, "precondition-required", NULL);
    call(&answer, false, "PATCH", path, admin_token, "If-Match: \"stale\"", price);
    expect_problem(&answer, 412, "precondition-failed", NULL);
    char weak[310];
    (void)snprintf(weak, sizeof(weak), "If-Match: W/%s", match + strlen("If-Match: "));
    call(&answer, false, "PATCH", path, admin_token, weak, price);
    expect_problem(&answer, 412, "precondition-failed", NULL);

    call(&answer, false, "PATCH", path, admin_token, match, price);
    assert_int_equal(answer.status, 200);
    assert_string_not_equal(header_of(&answer, "ETag", value), match + strlen("If-Match: "));
    call(&answer, false, "PATCH", path, admin_token, match, "{\"title\":\"Late\"}");
    expect_problem(&answer, 412, "precondition-failed", NULL);
    get(&answer, "/api/v1/books/1");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(answer.json, "price"), "amount")), 1500);
    assert_string_equal(text_of(&answer, "title"), "Emma");

    /* null removes; what changes nothing keeps its tag. */
    tag_header("/api/v1/books/1", match);
    call(&answer, false, "PATCH", path, admin_token, match,
         "{\"year\":null,\"genres\":null,\"authors\":[\"Ann Lee\"]}");
    assert_int_equal(answer.status, 200);
    assert_true(json_is_null(json_object_get(answer.json, "year")));
    assert_int_equal(json_array_size(json_object_get(answer.json, "genres")), 0);
    tag_header("/api/v1/books/1", match);
    call(&answer, false, "PATCH", path, admin_token, match, "{\"authors\":[\"Ann Lee\"]}");
    assert_string_equal(header_of(&answer, "ETag", value), match + strlen("If-Match: "));
    get(&answer, "/api/v1/books?author=ann%20lee");
    assert_int_equal(items(&answer), 1);
    get(&answer, "/api/v1/books?author=jane%20austen");
    assert_int_equal(items(&answer), 0);
    drop(&answer);
}

static void admin_changes_are_judged(void **state) {
    (void)state;
    static const struct {
        const char *body;
        int status;
        const char *field;
    } cases[] = {
        {"{\"title\":\"\"}", 422, "title"},
        {"{\"year\":99999}", 422, "year"},
        {"{\"price\":{\"amount\":-1,\"currency\":\"EUR\"}}", 422, "price"},
        {"{\"price\":{\"amount\":1,\"currency\":\"USD\"}}", 422, "price"},
        {"{\"price\":{\"amount\":1.5,\"currency\":\"EUR\"}}", 422, "price"},
        {"{\"price\":{\"amount\":1,\"x\":1}}", 422, "price"},
        {"{\"authors\":[1]}", 422, "authors"},
        {"{\"language\":\"zz\"}", 422, "language"},
        {"{\"isbn\":\"9780306406158\"}", 422, "isbn"},
        {"{\"cover_url\":\"javascript:x\"}", 422, "cover_url"},
        {"{\"rating\":5}", 400, "rating"},
        {"{\"stock\":5}", 400, "stock"}, /* the ledger's */
        {"{\"availability\":\"low\"}", 400, "availability"},
    };
    answer_t answer = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        call(&answer, false, "PATCH", "/api/v1/admin/books/1", admin_token, "If-Match: *", cases[i].body);
        assert_int_equal(answer.status, cases[i].status);
        expect_problem(&answer, cases[i].status, cases[i].status == 422 ? "not-acceptable-value" : "malformed-request",
                       cases[i].field);
    }
    call(&answer, false, "PATCH", "/api/v1/admin/books/99", admin_token, "If-Match: *", "{\"title\":\"T\"}");
    assert_int_equal(answer.status, 404);
    drop(&answer);
}

static void a_deleted_book_is_gone_for_good(void **state) {
    (void)state;
    answer_t answer = {0};
    call(&answer, false, "DELETE", "/api/v1/admin/books/1", admin_token, NULL, NULL);
    assert_int_equal(answer.status, 428);
    call(&answer, false, "DELETE", "/api/v1/admin/books/1", admin_token, "If-Match: *", NULL);
    assert_int_equal(answer.status, 204);
    get(&answer, "/api/v1/books/1");
    assert_int_equal(answer.status, 404);
    get(&answer, "/api/v1/books?ids=1");
    assert_int_equal(items(&answer), 0);
    call(&answer, false, "GET", "/api/v1/admin/books/1", admin_token, NULL, NULL);
    assert_string_equal(text_of(&answer, "state"), "gone");
    call(&answer, false, "PATCH", "/api/v1/admin/books/1", admin_token, "If-Match: *", "{\"title\":\"T\"}");
    expect_problem(&answer, 409, "conflict", NULL);
    call(&answer, false, "DELETE", "/api/v1/admin/books/1", admin_token, "If-Match: *", NULL);
    assert_int_equal(answer.status, 204);
    /* No import brings it back. */
    import_text("id,title\n1,Emma again\n2,Émile\n", "2 rows: 0 new, 1 changed, 0 unchanged, 1 rejected");
    get(&answer, "/api/v1/books/1");
    assert_int_equal(answer.status, 404);
    drop(&answer);
}

/* --- callers --- */

/* A call to auth's public listener; the credential is the caller's token. The caller owns what comes back. */
static json_t *call_auth(const char *path, const char *token, json_t *body, int wanted) {
    bc_client_t *client = bc_client_create(bc_config_text(config, BC_AUTH_LISTEN), token);
    json_t *reply = NULL;
    int status = 0;
    assert_non_null(client);
    assert_true(bc_client_call(client, "POST", path, body, 10000, NULL, &status, &reply));
    assert_int_equal(status, wanted);
    bc_client_destroy(client);
    json_decref(body);
    return reply;
}

/* Asks until the answer is that, however long the machine takes. */
static void wait_for_admin_status(answer_t *answer, const char *token, int status) {
    int64_t until = bc_monotonic_ms() + 20000;
    do {
        call(answer, false, "GET", "/api/v1/admin/books/1", token, NULL, NULL);
        if (answer->status != status) (void)usleep(2000);
    } while (answer->status != status && bc_monotonic_ms() < until);
    assert_int_equal(answer->status, status);
}

static void a_session_that_has_ended_is_refused(void **state) {
    (void)state;
    answer_t answer = {0};
    json_t *guest = call_auth("/api/v1/auth/guest", "none", NULL, 201);
    const char *token = json_string_value(json_object_get(guest, "access_token"));
    json_t *logout = json_pack("{s:O}", "refresh_token", json_object_get(guest, "refresh_token"));
    call(&answer, false, "GET", "/api/v1/admin/books/1", token, NULL, NULL);
    expect_problem(&answer, 403, "forbidden", NULL);
    json_decref(call_auth("/api/v1/auth/logout", token, logout, 204));
    wait_for_admin_status(&answer, token, 401);
    expect_problem(&answer, 401, "unauthorized", NULL);
    call(&answer, false, "GET", "/api/v1/books/1", token, NULL, NULL);
    assert_int_equal(answer.status, 200); /* anyone may, and nobody asks who it is */
    call(&answer, false, "GET", "/api/v1/admin/books/1", admin_token, NULL, NULL);
    assert_int_equal(answer.status, 200);
    json_decref(guest);
    drop(&answer);
}

static void without_auth_the_catalogue_is_served_and_admins_wait(void **state) {
    (void)state;
    answer_t answer = {0};
    char value[256];
    stop_service();
    bc_service_stop(auth);
    auth = NULL;
    service = bc_service_start(&library_service, config);
    assert_non_null(service);
    call(&answer, false, "PATCH", "/api/v1/admin/books/1", admin_token, "If-Match: *", "{\"title\":\"T\"}");
    expect_problem(&answer, 503, "unavailable", NULL);
    assert_string_equal(header_of(&answer, "Retry-After", value), "1");
    get(&answer, "/api/v1/books/1");
    assert_int_equal(answer.status, 200);
    call(&answer, true, "GET", "/readyz", NULL, NULL, NULL);
    assert_int_equal(answer.status, 200);
    const json_t *checks = json_object_get(answer.json, "checks");
    assert_string_equal(json_string_value(json_object_get(checks, "revocations")), "not vouched for");
    auth = bc_service_start(&auth_service, config);
    assert_non_null(auth);
    wait_for_admin_status(&answer, admin_token, 200);
    call(&answer, true, "GET", "/readyz", NULL, NULL, NULL);
    checks = json_object_get(answer.json, "checks");
    assert_string_equal(json_string_value(json_object_get(checks, "revocations")), "ok");
    drop(&answer);
}

/* --- feed --- */

static void get_feed(answer_t *answer, const char *query) {
    char path[200];
    (void)snprintf(path, sizeof(path), "/internal/feed/books?%s", query);
    call(answer, true, "GET", path, service_key, NULL, NULL);
    assert_int_equal(answer->status, 200);
}

static void feed_can_be_resumed_anywhere(void **state) {
    (void)state;
    answer_t answer = {0};
    call(&answer, true, "GET", "/internal/feed/books", NULL, NULL, NULL);
    assert_int_equal(answer.status, 401);
    call(&answer, true, "GET", "/internal/feed/books", "wrong", NULL, NULL);
    assert_int_equal(answer.status, 401);
    get_feed(&answer, "after=0");
    assert_int_equal(items(&answer), 6);
    assert_string_equal(text_of(&answer, "position"), "6");
    assert_true(json_is_false(json_object_get(answer.json, "more")));
    const json_t *first = json_array_get(json_object_get(answer.json, "items"), 0);
    json_t *expected = json_loads("{\"position\":\"1\",\"id\":1,\"title\":\"Emma\",\"authors\":[\"Jane Austen\"],"
                                  "\"cover_url\":null,\"price_minor\":999,\"availability\":\"in_stock\","
                                  "\"available\":7,\"state\":\"live\"}",
                                  0, NULL);
    assert_true(json_equal(first, expected));
    json_decref(expected);
    /* Page by page from every position it comes to the same. */
    char after[32] = "0", query[64], generation[64] = "";
    int seen = 0;
    bool more = true;
    while (more) {
        (void)snprintf(query, sizeof(query), "after=%s&limit=4", after);
        get_feed(&answer, query);
        seen += (int)items(&answer);
        (void)snprintf(after, sizeof(after), "%s", text_of(&answer, "position"));
        (void)snprintf(generation, sizeof(generation), "%s", text_of(&answer, "generation"));
        more = json_is_true(json_object_get(answer.json, "more"));
    }
    assert_int_equal(seen, 6);
    /* A change moves its book to the end; a restart keeps generation and positions. */
    call(&answer, false, "DELETE", "/api/v1/admin/books/2", admin_token, "If-Match: *", NULL);
    stop_service();
    start_service();
    get_feed(&answer, "after=6");
    assert_int_equal(items(&answer), 1);
    assert_int_equal(item_id(&answer, 0), 2);
    assert_string_equal(text_of(&answer, "position"), "7");
    assert_string_equal(text_of(&answer, "generation"), generation);
    get_feed(&answer, "after=0");
    assert_int_equal(items(&answer), 6); /* one item a book */
    get_feed(&answer, "after=7");
    assert_int_equal(items(&answer), 0);
    assert_string_equal(text_of(&answer, "position"), "7");
    call(&answer, true, "GET", "/internal/feed/books?limit=5001", service_key, NULL, NULL);
    assert_int_equal(answer.status, 400);
    drop(&answer);
}

static void *wait_for_feed(void *context) {
    get_feed(context, "after=6&wait=25");
    return NULL;
}

static void a_change_wakes_who_waits(void **state) {
    (void)state;
    answer_t waiting = {0};
    answer_t answer = {0};
    pthread_t waiter;
    int64_t begun = bc_monotonic_ms();
    assert_int_equal(pthread_create(&waiter, NULL, wait_for_feed, &waiting), 0);
    /* Whether the change comes before or after the waiter's first read, the answer holds it. */
    call(&answer, false, "PATCH", "/api/v1/admin/books/4", admin_token, "If-Match: *", "{\"price\":{\"amount\":1}}");
    assert_int_equal(answer.status, 200);
    assert_int_equal(pthread_join(waiter, NULL), 0);
    assert_int_equal(items(&waiting), 1);
    assert_int_equal(item_id(&waiting, 0), 4);
    assert_true(bc_monotonic_ms() - begun < 20000); /* woken, not timed out after 25 s */
    drop(&waiting);
    drop(&answer);
}

/* --- import --- */

static void importing_twice_changes_nothing(void **state) {
    (void)state;
    const char *given = getenv("BOOKCART_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)bc_time_ms();
    print_message("seed %u\n", seed);
    srandom(seed);
    answer_t answer = {0};
    for (int round = 0; round < 5; round++) {
        /* Some rows new, some changed, some as before. */
        static char text[200000];
        char path[128], report[4096], before[32], counts[200];
        size_t used = (size_t)snprintf(text, sizeof(text), "id,title,authors,year\n");
        int rows = 500 + (int)(random() % 700);
        for (int i = 0; i < rows; i++) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%d,\"Book, %ld\",A %ld;B,%ld\n", 10 + i,
                                     random() % 3, random() % 2, random() % 2000);
        }
        write_file("random.csv", text, path);
        assert_int_equal(run_import(path, report, sizeof(report)), 0);
        /* Live stock and prices move between the two. */
        call(&answer, false, "PATCH", "/api/v1/admin/books/10", admin_token, "If-Match: *",
             "{\"price\":{\"amount\":77},\"title\":\"By hand\"}");
        assert_int_equal(answer.status, 200);
        tell_stock(10, 4321, round + 1);
        get_feed(&answer, "after=0&limit=5000");
        (void)snprintf(before, sizeof(before), "%s", text_of(&answer, "position"));
        bool running = round % 2 == 0; /* by the service, and straight to its database */
        if (!running) stop_service();
        assert_int_equal(run_import(path, report, sizeof(report)), 0);
        if (!running) start_service();
        (void)snprintf(counts, sizeof(counts), "%d rows: 0 new, 0 changed, %d unchanged, 0 rejected", rows, rows);
        assert_non_null(strstr(report, counts));
        get_feed(&answer, "after=0&limit=5000");
        assert_string_equal(text_of(&answer, "position"), before);
        call(&answer, false, "GET", "/api/v1/admin/books/10", admin_token, NULL, NULL);
        assert_string_equal(text_of(&answer, "title"), "By hand");
        assert_int_equal(copies_of(10), 4321);
    }
    /* A changed row changes the book, but not its stock nor a price that the file does not name. */
    import_text("id,title,stock\n10,Third,1\n", "1 rows: 0 new, 1 changed, 0 unchanged, 0 rejected");
    call(&answer, false, "GET", "/api/v1/admin/books/10", admin_token, NULL, NULL);
    assert_string_equal(text_of(&answer, "title"), "Third");
    assert_int_equal(copies_of(10), 4321);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(answer.json, "price"), "amount")), 77);
    drop(&answer);
}

static void rejected_rows_are_named_with_their_lines(void **state) {
    (void)state;
    char path[128], report[4096];
    write_file("bad.csv",
               "id,title,stock\n7,Good,1\n8,\"Lost\"quote,1\n7,Twice,1\n9,T,-1\n\n10,\"two\nlines\",1\nx,T,1\n", path);
    assert_int_equal(run_import(path, report, sizeof(report)), 0);
    assert_non_null(strstr(report, "line 3: row: text after a closing quote\n"));
    assert_non_null(strstr(report, "line 4: id stands in an earlier row\n"));
    assert_non_null(strstr(report, "line 5: stock is negative\n"));
    assert_non_null(strstr(report, "line 9: id is not a whole number\n"));
    assert_non_null(strstr(report, "6 rows: 2 new, 0 changed, 0 unchanged, 4 rejected"));
    static const char *const hopeless[] = {"", "id\n1\n", "name,colour\n", "id,title\nx,y\n"};
    for (size_t i = 0; i < sizeof(hopeless) / sizeof(hopeless[0]); i++) {
        write_file("bad.csv", hopeless[i], path);
        assert_int_equal(run_import(path, report, sizeof(report)), 1);
    }
    assert_int_equal(run_import("/nonexistent.csv", report, sizeof(report)), 1);
}

static void a_batch_is_judged_by_the_service_too(void **state) {
    (void)state;
    static const char path[] = "/internal/books/import";
    static const char *const bad[] = {"{\"books\":[]}", "{\"books\":[1]}", "{\"books\":[{\"id\":1}]}",
                                      "{\"books\":[{\"id\":0,\"title\":\"T\"}]}",
                                      "{\"books\":[{\"id\":1,\"title\":\"T\",\"stock\":-1}]}"};
    answer_t answer = {0};
    call(&answer, true, "POST", path, NULL, NULL, "{\"books\":[]}");
    assert_int_equal(answer.status, 401);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        call(&answer, true, "POST", path, service_key, NULL, bad[i]);
        assert_int_equal(answer.status, 422);
    }
    call(&answer, false, "POST", path, service_key, NULL, "{\"books\":[]}");
    assert_int_equal(answer.status, 404); /* not on the listener that the edge proxies */
    drop(&answer);
}

static void queries_per_request_are_few_and_fixed(void **state) {
    (void)state;
    const library_t *library = bc_service_context(service);
    bc_db_count_reset();
    uint64_t position = 0;
    bool more = false;
    json_t *list = json_array();
    assert_true(library_feed_read(bc_service_context(service), 0, 3, list, &position, &more));
    assert_true(more);
    assert_int_equal(json_array_size(list), 3);
    assert_int_equal(bc_db_count(), 1);
    json_decref(list);
    bool empty = true;
    bc_db_count_reset();
    assert_int_equal(library_store_is_empty(library->store, &empty), LIBRARY_OK);
    assert_false(empty);
    assert_int_equal(bc_db_count(), 1);
}

static void an_empty_library_opens_with_the_sample_when_told(void **state) {
    (void)state;
    answer_t answer = {0};
    char path[128], reason[BC_CONFIG_REASON_BYTES], sample[200], yes[64] = "BOOKCART_SAMPLE_CATALOGUE=yes";
    write_file("sample.csv", "id,title\n100001,Emma\n100002,Faust\n", path);
    (void)snprintf(sample, sizeof(sample), "BOOKCART_SAMPLE_FILE=%s", path);
    char *environment[] = {yes, sample, NULL};
    bc_config_t *told = NULL;
    if (!bc_config_load(&told, NULL, environment, data, reason)) fail_msg("%s", reason);
    stop_service();
    service = bc_service_start(&library_service, told);
    assert_non_null(service);
    get(&answer, "/api/v1/books/100001");
    assert_int_equal(answer.status, 404); /* there are books already */
    stop_service();
    char database[128];
    static const char *const files[] = {"library.db", "library.db-wal", "library.db-shm"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(database, sizeof(database), "%s/%s", data, files[i]);
        (void)unlink(database); /* the last two are gone after an orderly end */
    }
    service = bc_service_start(&library_service, told);
    assert_non_null(service);
    get(&answer, "/api/v1/books");
    assert_int_equal(items(&answer), 2);
    stop_service();
    bc_config_destroy(told);
    start_service();
    drop(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shows_one_book_and_repeats_as_304, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_in_every_order_page_by_page, setup, teardown),
        cmocka_unit_test_setup_teardown(filters_and_refuses_what_it_does_not_know, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_cursors_that_are_not_of_this_list, setup, teardown),
        cmocka_unit_test_setup_teardown(shop_says_its_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(admin_changes_need_the_newest_tag, setup, teardown),
        cmocka_unit_test_setup_teardown(admin_changes_are_judged, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deleted_book_is_gone_for_good, setup, teardown),
        cmocka_unit_test_setup_teardown(a_session_that_has_ended_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(without_auth_the_catalogue_is_served_and_admins_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(feed_can_be_resumed_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_wakes_who_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(importing_twice_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(rejected_rows_are_named_with_their_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_is_judged_by_the_service_too, setup, teardown),
        cmocka_unit_test_setup_teardown(queries_per_request_are_few_and_fixed, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_library_opens_with_the_sample_when_told, setup, teardown),
    };
    bc_log_init("library-test", BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
