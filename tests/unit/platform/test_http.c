/* A real server on a unix socket and on TCP, talked to byte by byte: routes, callers, form, conditions, limits, orderly stop. */
#include "platform/bc_http.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define SPOOL_MAX (24 * 1024 * 1024)

static char socket_path[108];
static char spool_folder[64];
static bc_http_t *server;

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate = PTHREAD_COND_INITIALIZER;
static int gate_inside;
static bool gate_open;

static void say_part(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_reply_json(reply, 200,
                  json_pack("{s:s, s:s*}", "id", bc_request_part(request, "id"), "q", bc_request_query(request, "q")));
}

static void say_literal(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)request;
    (void)context;
    bc_reply_json(reply, 200, json_pack("{s:b}", "literal", 1));
}

static void say_body(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_reply_json(reply, 201, json_deep_copy(bc_request_body(request)));
}

static void say_client(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_reply_json(reply, 200, json_pack("{s:s}", "client", bc_request_client(request)));
}

static void say_raw(bc_request_t *request, bc_reply_t *reply, void *context) {
    const char *bytes, *media;
    size_t length;
    (void)context;
    assert_true(bc_request_raw(request, &bytes, &length, &media));
    bc_reply_bytes(reply, 200, media, bytes, length);
}

static void say_tagged(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_reply_cache(reply, "public, no-cache");
    if (bc_reply_etag(request, reply, "\"abc\"")) return;
    bc_reply_json(reply, 200, json_pack("{s:i}", "n", 1));
}

static void forget(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)request;
    (void)reply;
    (void)context;
}

static void hold(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)request;
    (void)context;
    (void)pthread_mutex_lock(&gate_lock);
    gate_inside++;
    (void)pthread_cond_broadcast(&gate);
    while (!gate_open) (void)pthread_cond_wait(&gate, &gate_lock);
    gate_inside--;
    (void)pthread_mutex_unlock(&gate_lock);
    bc_reply_empty(reply, 204);
}

/* Says how long the spooled body is and how it begins; keeps it when asked to. */
static void say_spool(bc_request_t *request, bc_reply_t *reply, void *context) {
    int fd = -1;
    size_t length = 0;
    const char *media = NULL;
    char first[8] = "";
    (void)context;
    assert_true(bc_request_spool(request, &fd, &length, &media));
    const char *bytes;
    assert_false(bc_request_raw(request, &bytes, &length, &media));
    if (fd >= 0) assert_true(pread(fd, first, 4, 0) >= 0);
    if (bc_request_query(request, "keep") != NULL) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/kept", spool_folder);
        assert_true(bc_request_spool_keep(request, path));
    }
    bc_reply_json(reply, 200, json_pack("{s:I, s:s}", "length", (json_int_t)length, "first", first));
}

static const bc_route_t routes[] = {
    {"POST", "/spool", BC_ANYONE, say_spool, .query = "keep", .media = "text/csv", .body_max_bytes = SPOOL_MAX,
     .spool = true},
    {"POST", "/secret", BC_INTERNAL, say_spool, .media = "text/csv", .body_max_bytes = SPOOL_MAX, .spool = true},
    {"GET", "/books/{id}", BC_ANYONE, say_part, .query = "q"},
    {"PUT", "/books/{id}", BC_INTERNAL, say_part, .query = NULL},
    {"GET", "/books/suggest", BC_ANYONE, say_literal, .query = NULL},
    {"POST", "/things", BC_ANYONE, say_body, .fields = "name:string! age:int note:string? tags:array on:bool",
     .body_max_bytes = 512},
    {"POST", "/loose", BC_ANYONE, say_body, .fields = "name:string"},
    {"POST", "/raw", BC_ANYONE, say_raw, .media = "text/csv application/x-ndjson"},
    {"GET", "/client", BC_ANYONE, say_client, .query = NULL},
    {"GET", "/tagged", BC_ANYONE, say_tagged, .query = NULL},
    {"GET", "/forget", BC_ANYONE, forget, .query = NULL},
    {"GET", "/hold", BC_ANYONE, hold, .query = NULL},
    {.method = NULL},
};

static bc_http_t *start(const char *listen, int connections) {
    bc_http_options_t options = {.service = "test",
                                 .listen = listen,
                                 .routes = routes,
                                 .connections_max = connections,
                                 .timeout_ms = 20000,
                                 .service_key = "sesame",
                                 .spool_folder = spool_folder};
    return bc_http_start(&options);
}

static int connect_unix(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct timeval patience = {.tv_sec = 20};
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Sends all and reads to the end of the connection. */
static char *talk_on(int fd, const char *request) {
    static char answer[65536];
    size_t length = 0, left = strlen(request);
    while (left > 0) {
        ssize_t sent = send(fd, request, left, MSG_NOSIGNAL);
        assert_true(sent > 0);
        request += sent;
        left -= (size_t)sent;
    }
    for (;;) {
        ssize_t got = recv(fd, answer + length, sizeof(answer) - 1 - length, 0);
        assert_true(got >= 0);
        if (got == 0) break;
        length += (size_t)got;
    }
    answer[length] = '\0';
    close(fd);
    return answer;
}

static char *ask(const char *method, const char *target, const char *headers, const char *body) {
    static char request[16384];
    char length[64] = "";
    if (body != NULL) (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", strlen(body));
    (void)snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n%s%s\r\n%s", method,
                   target, headers, length, body == NULL ? "" : body);
    return talk_on(connect_unix(), request);
}

static int status_of(const char *answer) {
    int status = 0;
    assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &status), 1);
    return status;
}

static const char *body_of(const char *answer) {
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

#define JSON "Content-Type: application/json\r\n"

static void a_route_is_found_by_its_parts(void **state) {
    (void)state;
    char *answer = ask("GET", "/books/7?q=a%20b", "", NULL);
    assert_int_equal(status_of(answer), 200);
    assert_string_equal(body_of(answer), "{\"id\":\"7\",\"q\":\"a b\"}");
    assert_non_null(strstr(answer, "Cache-Control: no-store"));
    assert_string_equal(body_of(ask("GET", "/books/suggest", "", NULL)), "{\"literal\":true}");
    assert_string_equal(body_of(ask("GET", "/books/a%2Db", "", NULL)), "{\"id\":\"a-b\"}");
    assert_int_equal(status_of(ask("GET", "/books/a%2Fb", "", NULL)), 404);
    assert_int_equal(status_of(ask("GET", "/books//7", "", NULL)), 404);
    assert_int_equal(status_of(ask("GET", "/books/", "", NULL)), 404);
    assert_int_equal(status_of(ask("GET", "/nothing", "", NULL)), 404);
    assert_int_equal(status_of(ask("GET", "/books/%ff", "", NULL)), 404);
    assert_int_equal(status_of(ask("GET", "/books/%00", "", NULL)), 404);
}

static void another_method_is_refused_with_what_is_allowed(void **state) {
    (void)state;
    char *answer = ask("DELETE", "/books/7", "", NULL);
    assert_int_equal(status_of(answer), 405);
    assert_non_null(strstr(answer, "Allow: GET, HEAD, PUT\r\n"));
    assert_non_null(strstr(answer, "application/problem+json"));
    answer = ask("PUT", "/books/suggest", "", NULL); /* the literal route hides the named one */
    assert_int_equal(status_of(answer), 405);
    assert_non_null(strstr(answer, "Allow: GET, HEAD\r\n"));
}

static void head_answers_as_get_without_a_body(void **state) {
    (void)state;
    char *answer = ask("HEAD", "/books/7", "", NULL);
    assert_int_equal(status_of(answer), 200);
    assert_non_null(strstr(answer, "Content-Length: 10\r\n"));
    assert_string_equal(body_of(answer), "");
}

static void unknown_or_repeated_parameters_are_refused(void **state) {
    (void)state;
    char *answer = ask("GET", "/books/7?colour=red", "", NULL);
    assert_int_equal(status_of(answer), 400);
    assert_non_null(strstr(answer, "{\"field\":\"colour\",\"code\":\"unknown\""));
    assert_int_equal(status_of(ask("GET", "/books/7?q=1&q=2", "", NULL)), 400);
    assert_int_equal(status_of(ask("GET", "/books/7?q=%zz", "", NULL)), 400);
    assert_int_equal(status_of(ask("GET", "/books/7?q=%c0%80", "", NULL)), 400);
    assert_int_equal(status_of(ask("GET", "/books/7?", "", NULL)), 200);
}

static void a_body_must_be_what_the_route_says(void **state) {
    (void)state;
    assert_int_equal(
        status_of(ask("POST", "/things", JSON, "{\"name\":\"x\",\"age\":3,\"note\":null,\"tags\":[],\"on\":true}")),
        201);
    static const struct {
        const char *body, *tells;
    } bad[] = {
        {"{\"age\":3}", "\"field\":\"name\",\"code\":\"required\""},
        {"{\"name\":null}", "\"field\":\"name\",\"code\":\"wrong-kind\""},
        {"{\"name\":\"x\",\"age\":1.5}", "\"field\":\"age\",\"code\":\"wrong-kind\""},
        {"{\"name\":\"x\",\"age\":\"3\"}", "\"field\":\"age\",\"code\":\"wrong-kind\""},
        {"{\"name\":\"x\",\"shoe\":1}", "\"field\":\"shoe\",\"code\":\"unknown\""},
        {"{\"name\":\"x\",\"name\":\"y\"}", "malformed-request"},
        {"{\"name\":\"x\"", "malformed-request"},
        {"{\"name\":\"x\"} x", "malformed-request"},
        {"[]", "not a JSON object"},
        {"{\"name\":\"\\ud800\"}", "malformed-request"},
        {"{\"name\":\"\xff\"}", "malformed-request"},
        {"", "malformed-request"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *answer = ask("POST", "/things", JSON, bad[i].body);
        assert_int_equal(status_of(answer), 400);
        assert_non_null(strstr(answer, bad[i].tells));
    }
    assert_int_equal(status_of(ask("POST", "/things", "Content-Type: text/plain\r\n", "{\"name\":\"x\"}")), 415);
    assert_int_equal(status_of(ask("POST", "/things", "Content-Type: application/x-www-form-urlencoded\r\n", "name=x")),
                     415);
    assert_int_equal(
        status_of(ask("POST", "/things", "Content-Type: multipart/form-data; boundary=x\r\n", "--x\r\n\r\n--x--")),
        415);
    assert_int_equal(status_of(ask("POST", "/things", "", "{\"name\":\"x\"}")), 415);
    assert_int_equal(
        status_of(ask("POST", "/things", "Content-Type: application/json; charset=latin1\r\n", "{\"name\":\"x\"}")),
        415);
    assert_int_equal(
        status_of(ask("POST", "/things", "Content-Type: Application/JSON; charset=\"UTF-8\"\r\n", "{\"name\":\"x\"}")),
        201);
    assert_int_equal(status_of(ask("GET", "/books/7", JSON, "{}")), 400);
    assert_int_equal(status_of(ask("POST", "/loose", "", NULL)), 201);
}

static void a_body_over_the_limit_is_413(void **state) {
    (void)state;
    char body[600];
    int length = snprintf(body, sizeof(body), "{\"name\":\"%0498d\"}", 0);
    assert_int_equal(length, 509);
    (void)snprintf(body, sizeof(body), "{\"name\":\"%0501d\"}", 0);
    assert_int_equal(strlen(body), 512);
    assert_int_equal(status_of(ask("POST", "/things", JSON, body)), 201);
    (void)snprintf(body, sizeof(body), "{\"name\":\"%0502d\"}", 0);
    assert_int_equal(status_of(ask("POST", "/things", JSON, body)), 413);
}

static void raw_bodies_are_taken_by_media_type(void **state) {
    (void)state;
    char *answer = ask("POST", "/raw", "Content-Type: text/csv; charset=utf-8\r\n", "a,b\n1,2\n");
    assert_int_equal(status_of(answer), 200);
    assert_string_equal(body_of(answer), "a,b\n1,2\n");
    assert_int_equal(status_of(ask("POST", "/raw", JSON, "{}")), 415);
}

/* --- bodies that are spooled --- */

static int files_in_spool(void) {
    int count = 0;
    DIR *dir = opendir(spool_folder);
    assert_non_null(dir);
    while (readdir(dir) != NULL) count++;
    (void)closedir(dir);
    return count - 2; /* itself and its parent */
}

/* The process's memory in KiB, as the kernel counts its pages. */
static long resident_kib(void) {
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    (void)fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Sends a head and `size` bytes of a body, at most until the server closes. */
static int upload(const char *target, const char *headers, size_t size, bool announced) {
    char head[512], length[64] = "Transfer-Encoding: chunked\r\n";
    static char piece[64 * 1024];
    int fd = connect_unix();
    if (announced) (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", size);
    (void)snprintf(head, sizeof(head),
                   "POST %s HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Type: text/csv\r\n%s%s\r\n", target,
                   headers, length);
    assert_true(send(fd, head, strlen(head), MSG_NOSIGNAL) > 0);
    memset(piece, 'x', sizeof(piece));
    for (size_t sent = 0; sent < size;) {
        size_t part = size - sent < sizeof(piece) ? size - sent : sizeof(piece);
        char frame[32];
        int frame_length = announced ? 0 : snprintf(frame, sizeof(frame), "%zx\r\n", part);
        if (frame_length > 0) assert_int_equal(send(fd, frame, (size_t)frame_length, MSG_NOSIGNAL), frame_length);
        for (size_t at = 0; at < part;) {
            ssize_t got = send(fd, piece + at, part - at, MSG_NOSIGNAL);
            assert_true(got > 0);
            at += (size_t)got;
        }
        if (!announced) assert_int_equal(send(fd, "\r\n", 2, MSG_NOSIGNAL), 2);
        sent += part;
    }
    return fd;
}

static void a_spooled_body_is_written_and_gone_with_its_request(void **state) {
    (void)state;
    char *answer = ask("POST", "/spool", "Content-Type: text/csv\r\n", "a,b\n1,2\n");
    assert_int_equal(status_of(answer), 200);
    assert_string_equal(body_of(answer), "{\"length\":8,\"first\":\"a,b\\n\"}");
    assert_int_equal(status_of(ask("POST", "/spool", "Content-Type: text/csv\r\n", "")), 200);
    assert_int_equal(status_of(ask("POST", "/spool", JSON, "{}")), 415);
    assert_int_equal(files_in_spool(), 0);
    assert_int_equal(status_of(ask("POST", "/spool?keep=1", "Content-Type: text/csv\r\n", "kept")), 200);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/kept", spool_folder);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(files_in_spool(), 1);
    assert_int_equal(unlink(path), 0);
}

static void a_great_body_takes_no_memory(void **state) {
    (void)state;
    int fds[4];
    long before = resident_kib();
    for (int i = 0; i < 4; i++) fds[i] = upload("/spool", "", SPOOL_MAX, i % 2 == 0);
    long after = resident_kib();
    for (int i = 0; i < 4; i++) {
        char *answer = talk_on(fds[i], i % 2 == 0 ? "" : "0\r\n\r\n");
        assert_int_equal(status_of(answer), 200);
        assert_non_null(strstr(answer, "\"length\":25165824"));
    }
    assert_true(after - before < 16 * 1024); /* of 96 MiB that were sent */
    assert_int_equal(files_in_spool(), 0);
}

static void who_is_refused_is_not_kept_either(void **state) {
    (void)state;
    long before = resident_kib();
    int fds[2] = {upload("/secret", "", SPOOL_MAX, true), upload("/nothing", "", SPOOL_MAX, true)};
    assert_int_equal(files_in_spool(), 0);
    assert_true(resident_kib() - before < 8 * 1024);
    assert_int_equal(status_of(talk_on(fds[0], "")), 401);
    assert_int_equal(status_of(talk_on(fds[1], "")), 404);
    /* Too long: by what is announced, and as it comes. */
    assert_int_equal(status_of(talk_on(upload("/spool", "", SPOOL_MAX + 1, true), "")), 413);
    assert_int_equal(status_of(talk_on(upload("/spool", "", SPOOL_MAX + 1, false), "0\r\n\r\n")), 413);
    assert_int_equal(files_in_spool(), 0);
}

static void an_upload_that_breaks_off_leaves_nothing(void **state) {
    (void)state;
    char head[] =
        "POST /spool HTTP/1.1\r\nHost: shop\r\nContent-Type: text/csv\r\nContent-Length: 100\r\n\r\nonly this";
    int fd = connect_unix();
    assert_true(send(fd, head, strlen(head), MSG_NOSIGNAL) > 0);
    for (int i = 0; i < 500 && files_in_spool() == 0; i++) (void)usleep(10000);
    assert_int_equal(files_in_spool(), 1);
    (void)close(fd);
    for (int i = 0; i < 500 && files_in_spool() != 0; i++) (void)usleep(10000);
    assert_int_equal(files_in_spool(), 0);
}

static void the_first_of_a_repeated_header_counts(void **state) {
    (void)state;
    char *answer = ask("GET", "/client", "X-Real-IP: 192.0.2.1\r\nx-real-ip: 192.0.2.2\r\n", NULL);
    assert_string_equal(body_of(answer), "{\"client\":\"192.0.2.1\"}");
    assert_int_equal(
        status_of(ask("PUT", "/books/7", "Authorization: Bearer x\r\nAuthorization: Bearer sesame\r\n", NULL)), 401);
    assert_int_equal(status_of(ask("GET", "/books/7", "X-Odd: \xff\xfe\r\n", NULL)), 200);
}

static void internal_routes_need_the_service_key(void **state) {
    (void)state;
    char *answer = ask("PUT", "/books/7", "", NULL);
    assert_int_equal(status_of(answer), 401);
    assert_non_null(strstr(answer, "WWW-Authenticate: Bearer"));
    assert_int_equal(status_of(ask("PUT", "/books/7", "Authorization: Bearer sesam\r\n", NULL)), 401);
    assert_int_equal(status_of(ask("PUT", "/books/7", "Authorization: Basic sesame\r\n", NULL)), 401);
    assert_int_equal(status_of(ask("PUT", "/books/7", "Authorization: Bearer sesame\r\n", NULL)), 200);
}

static void a_request_id_goes_through_or_is_made(void **state) {
    (void)state;
    assert_non_null(strstr(ask("GET", "/books/7", "Request-Id: abc-1\r\n", NULL), "Request-Id: abc-1\r\n"));
    char *answer = ask("GET", "/nothing", "Request-Id: a\"b\r\n", NULL);
    assert_null(strstr(answer, "a\"b"));
    assert_non_null(strstr(answer, "\"request_id\":\""));
}

static void titles_follow_accept_language(void **state) {
    (void)state;
    char *answer = ask("GET", "/nothing", "Accept-Language: de, fr-CA;q=0.8, bg;q=0.5\r\n", NULL);
    assert_non_null(strstr(answer, "\"title\":\"Introuvable\""));
    assert_non_null(strstr(answer, "Vary: Accept-Language"));
    assert_non_null(strstr(answer, "Content-Language: fr"));
    assert_int_equal(bc_language_choose("bg"), BC_BG);
    assert_int_equal(bc_language_choose("fro"), BC_EN);
    assert_int_equal(bc_language_choose("fr;q=0, bg;q=0.1"), BC_BG);
    assert_int_equal(bc_language_choose(";;;,,q="), BC_EN);
    assert_int_equal(bc_language_choose(NULL), BC_EN);
}

static void an_etag_that_is_known_gives_304(void **state) {
    (void)state;
    char *answer = ask("GET", "/tagged", "", NULL);
    assert_int_equal(status_of(answer), 200);
    assert_non_null(strstr(answer, "ETag: \"abc\"\r\n"));
    answer = ask("GET", "/tagged", "If-None-Match: \"x\", W/\"abc\"\r\n", NULL);
    assert_int_equal(status_of(answer), 304);
    assert_non_null(strstr(answer, "Cache-Control: public, no-cache"));
    assert_int_equal(status_of(ask("GET", "/tagged", "If-None-Match: *\r\n", NULL)), 304);
    assert_int_equal(status_of(ask("GET", "/tagged", "If-None-Match: \"ab\"\r\n", NULL)), 200);
    assert_int_equal(status_of(ask("GET", "/tagged", "If-None-Match: abc\r\n", NULL)), 200);
}

static void the_edge_tells_the_client_on_a_unix_socket_only(void **state) {
    (void)state;
    assert_string_equal(body_of(ask("GET", "/client", "X-Real-IP: 203.0.113.9\r\n", NULL)),
                        "{\"client\":\"203.0.113.9\"}");
    assert_string_equal(body_of(ask("GET", "/client", "X-Real-IP: 2001:db8:1:2:3:4:5:6\r\n", NULL)),
                        "{\"client\":\"2001:db8:1:2::/64\"}");
    assert_string_equal(body_of(ask("GET", "/client", "X-Real-IP: ::ffff:203.0.113.9\r\n", NULL)),
                        "{\"client\":\"203.0.113.9\"}");
    assert_string_equal(body_of(ask("GET", "/client", "X-Real-IP: nonsense\r\n", NULL)), "{\"client\":\"unknown\"}");

    bc_http_t *tcp = start("127.0.0.1:0", 8);
    assert_non_null(tcp);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(bc_http_port(tcp)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    char *answer =
        talk_on(fd, "GET /client HTTP/1.1\r\nHost: x\r\nX-Real-IP: 203.0.113.9\r\nConnection: close\r\n\r\n");
    assert_string_equal(body_of(answer), "{\"client\":\"127.0.0.1\"}");
    bc_http_stop(tcp, 1000);
}

static void a_handler_that_forgets_to_answer_is_500(void **state) {
    (void)state;
    assert_int_equal(status_of(ask("GET", "/forget", "", NULL)), 500);
}

static void the_socket_is_for_owner_and_group(void **state) {
    (void)state;
    struct stat found;
    assert_int_equal(stat(socket_path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0660);
}

static void *ask_hold(void *answer) {
    *(int *)answer = status_of(talk_on(connect_unix(), "GET /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    return NULL;
}

static void *stop_server(void *argument) {
    bc_http_stop(argument, 20000);
    return NULL;
}

/* Two connections fill a server of two; the third is told 503. A stop then waits for the two. */
static void limits_connections_and_stops_in_order(void **state) {
    (void)state;
    bc_http_stop(server, 1000);
    server = NULL;
    char listen[128];
    (void)snprintf(listen, sizeof(listen), "unix:%s", socket_path);
    bc_http_t *small = start(listen, 2);
    assert_non_null(small);
    pthread_t callers[2], stopper;
    int answers[2] = {0, 0};
    static char third[65536];
    gate_open = false;
    /* talk_on has one static buffer: each caller's answer is read while the gate is shut for the others. */
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&callers[i], NULL, ask_hold, &answers[i]), 0);
    (void)pthread_mutex_lock(&gate_lock);
    while (gate_inside < 2) (void)pthread_cond_wait(&gate, &gate_lock);
    (void)pthread_mutex_unlock(&gate_lock);
    int fd = connect_unix();
    ssize_t got = recv(fd, third, sizeof(third) - 1, MSG_WAITALL);
    assert_true(got > 0);
    third[got] = '\0';
    close(fd);
    assert_int_equal(status_of(third), 503);
    assert_non_null(strstr(third, "Retry-After: 1"));
    int said = 0;
    assert_int_equal(sscanf(strstr(third, "Content-Length:"), "Content-Length: %d", &said), 1);
    assert_int_equal(said, strlen(body_of(third)));

    assert_int_equal(pthread_create(&stopper, NULL, stop_server, small), 0);
    (void)pthread_mutex_lock(&gate_lock);
    gate_open = true;
    (void)pthread_cond_broadcast(&gate);
    (void)pthread_mutex_unlock(&gate_lock);
    for (int i = 0; i < 2; i++) (void)pthread_join(callers[i], NULL);
    (void)pthread_join(stopper, NULL);
    assert_int_equal(answers[0], 204);
    assert_int_equal(answers[1], 204);
    assert_int_equal(access(socket_path, F_OK), -1);
}

static int set_up(void **state) {
    (void)state;
    bc_log_init("test", BC_LOG_ALERT + 1); /* what goes wrong here is wanted */
    char listen[128];
    (void)snprintf(socket_path, sizeof(socket_path), "/tmp/bookcart-http-%ld.sock", (long)getpid());
    (void)snprintf(listen, sizeof(listen), "unix:%s", socket_path);
    (void)snprintf(spool_folder, sizeof(spool_folder), "/tmp/bookcart-http-XXXXXX");
    if (mkdtemp(spool_folder) == NULL) return -1;
    server = bc_random_init() ? start(listen, 64) : NULL;
    return server == NULL ? -1 : 0;
}

static int tear_down(void **state) {
    (void)state;
    bc_http_stop(server, 1000);
    return rmdir(spool_folder); /* empty, or a test has failed */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_is_found_by_its_parts),
        cmocka_unit_test(another_method_is_refused_with_what_is_allowed),
        cmocka_unit_test(head_answers_as_get_without_a_body),
        cmocka_unit_test(unknown_or_repeated_parameters_are_refused),
        cmocka_unit_test(a_body_must_be_what_the_route_says),
        cmocka_unit_test(a_body_over_the_limit_is_413),
        cmocka_unit_test(raw_bodies_are_taken_by_media_type),
        cmocka_unit_test(a_spooled_body_is_written_and_gone_with_its_request),
        cmocka_unit_test(a_great_body_takes_no_memory),
        cmocka_unit_test(who_is_refused_is_not_kept_either),
        cmocka_unit_test(an_upload_that_breaks_off_leaves_nothing),
        cmocka_unit_test(the_first_of_a_repeated_header_counts),
        cmocka_unit_test(internal_routes_need_the_service_key),
        cmocka_unit_test(a_request_id_goes_through_or_is_made),
        cmocka_unit_test(titles_follow_accept_language),
        cmocka_unit_test(an_etag_that_is_known_gives_304),
        cmocka_unit_test(the_edge_tells_the_client_on_a_unix_socket_only),
        cmocka_unit_test(a_handler_that_forgets_to_answer_is_500),
        cmocka_unit_test(the_socket_is_for_owner_and_group),
        cmocka_unit_test(limits_connections_and_stops_in_order),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
