/*
 * The HTTP server of a service.
 *
 * Threads: one accepts (accept_loop), each connection has one of libmicrohttpd's (on_request runs there), stop is called by the
 * owner. The daemon has no listening socket: we accept ourselves and hand connections over, because
 *  - a connection over the limit gets an answer (503) instead of silence;
 *  - an orderly stop accepts no more while the requests that run are still answered.
 * Ulfius holds a request's and an answer's parts; its own dispatcher, which keeps every body in memory up to one limit for all
 * routes before it asks who calls, is not used (decision 0093).
 *
 * A request: request id → route (404, 405) → caller (401, 403) → query (400) and announced length (413) → the body as it comes
 * (413) → its form (400, 415) → handler → reply. Refused on the way, the rest of the body is read and dropped: a peer that is still
 * sending would not hear an answer before.
 *
 * Invariants
 * 1. in_flight counts requests from their first line to their last byte (URI log and completion callbacks, which
 *    libmicrohttpd calls in pairs); bc_http_stop frees only after it is 0 or the daemon has joined its threads.
 * 2. A handler runs only when route, caller and form were found good.
 */
#include "platform/bc_db.h"
#include "platform/bc_http_internal.h"
#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG    512
#define CONNECTION_MEMORY (64 * 1024) /* bytes for headers and buffers of one connection */
#define THREAD_STACK      (1024 * 1024)

typedef struct {
    const bc_route_t *route;
    char text[BC_HTTP_PATH_MAX + 1]; /* the path, cut into parts by zero bytes */
    const char *parts[BC_PARTS_MAX];
    int parts_count;
} prepared_t;

struct bc_http {
    bc_http_options_t options;
    prepared_t *routes; /* owned */
    int routes_count;
    struct MHD_Daemon *daemon; /* owned; NULL: not started */
    int listen_fd;
    int wake_fd; /* eventfd: ends the accept loop */
    char unix_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    uint16_t port;
    pthread_t acceptor;
    bool acceptor_started;
    _Atomic int connections;
    volatile bool stopping;
    pthread_mutex_t lock;
    pthread_cond_t drained;
    int in_flight; /* under lock */
};

static bc_metric_t requests_2xx =
    BC_METRIC("bookcart_http_requests_total{class=\"2xx\"}", "Answered requests", "counter");
static bc_metric_t requests_3xx =
    BC_METRIC("bookcart_http_requests_total{class=\"3xx\"}", "Answered requests", "counter");
static bc_metric_t requests_4xx =
    BC_METRIC("bookcart_http_requests_total{class=\"4xx\"}", "Answered requests", "counter");
static bc_metric_t requests_5xx =
    BC_METRIC("bookcart_http_requests_total{class=\"5xx\"}", "Answered requests", "counter");
static bc_metric_t refused_connections =
    BC_METRIC("bookcart_http_connections_refused_total", "Connections over the limit, answered 503", "counter");
static bc_metric_t requests_inside =
    BC_METRIC("bookcart_http_requests_in_flight", "Requests between first and last byte", "gauge");
static bc_metric_t open_connections = BC_METRIC("bookcart_http_connections", "Open connections", "gauge");

/* --- routes --- */

/* Cuts `text` at its slashes. -1: an empty part, too many parts, or no leading slash. */
static int cut(char *text, const char **parts) {
    int count = 0;
    if (text[0] != '/') return -1;
    char *rest = text + 1;
    while (rest != NULL) {
        char *part = strsep(&rest, "/");
        if (*part == '\0' || count == BC_PARTS_MAX) return -1;
        parts[count++] = part;
    }
    return count;
}

static bool prepare_routes(bc_http_t *http) {
    int count = 0;
    while (http->options.routes[count].method != NULL) count++;
    assert(count <= BC_HTTP_ROUTES_MAX);
    http->routes = calloc((size_t)count + 1, sizeof(*http->routes));
    if (http->routes == NULL) return false;
    for (int i = 0; i < count; i++) {
        prepared_t *prepared = &http->routes[i];
        prepared->route = &http->options.routes[i];
        assert(strlen(prepared->route->path) <= BC_HTTP_PATH_MAX);
        (void)strcpy(prepared->text, prepared->route->path); /* asserted to fit */
        prepared->parts_count = cut(prepared->text, prepared->parts);
        assert(prepared->parts_count > 0);
        assert(prepared->route->handler != NULL);
    }
    http->routes_count = count;
    return true;
}

static bool matches(const prepared_t *prepared, const bc_request_t *request) {
    if (prepared->parts_count != request->parts_count) return false;
    for (int i = 0; i < prepared->parts_count; i++) {
        if (prepared->parts[i][0] != '{' && strcmp(prepared->parts[i], request->parts[i]) != 0) return false;
    }
    return true;
}

/* A literal part goes before a {name} part, whatever the table's order: /books/suggest before /books/{id}. */
static bool more_literal(const prepared_t *a, const prepared_t *b) {
    for (int i = 0; i < a->parts_count; i++) {
        bool a_name = a->parts[i][0] == '{', b_name = b->parts[i][0] == '{';
        if (a_name != b_name) return b_name;
    }
    return false;
}

static bool split_path(bc_request_t *request) {
    const char *url = request->raw->http_url;
    size_t length = strcspn(url, "?");
    if (length > BC_HTTP_PATH_MAX) return false;
    memcpy(request->path, url, length);
    request->path[length] = '\0';
    request->parts_count = cut(request->path, request->parts);
    if (request->parts_count < 0) return false;
    for (int i = 0; i < request->parts_count; i++) {
        /* The parts lie in request->path, which is ours to decode in place. */
        char *part = request->path + (request->parts[i] - request->path);
        if (!bc_form_decode(part, false) || strchr(part, '/') != NULL) return false;
    }
    return true;
}

static void answer_allow(const bc_http_t *http, const bc_request_t *request, const prepared_t *best,
                         bc_reply_t *reply) {
    char allow[128] = "";
    for (int i = 0; i < http->routes_count; i++) {
        const prepared_t *one = &http->routes[i];
        if (!matches(one, request) || more_literal(best, one)) continue;
        const char *words[] = {one->route->method, strcmp(one->route->method, "GET") == 0 ? "HEAD" : NULL};
        for (int w = 0; w < 2 && words[w] != NULL; w++) {
            size_t used = strlen(allow);
            (void)snprintf(allow + used, sizeof(allow) - used, "%s%s", used == 0 ? "" : ", ",
                           words[w]); /* few methods fit */
        }
    }
    bc_reply_problem(reply, "method-not-allowed", NULL);
    bc_reply_header(reply, "Allow", allow);
}

static bool find_route(const bc_http_t *http, bc_request_t *request, bc_reply_t *reply) {
    const char *method = request->raw->http_verb;
    if (strcmp(method, "HEAD") == 0) method = "GET";
    const prepared_t *best = NULL, *found = NULL;
    if (split_path(request)) {
        for (int i = 0; i < http->routes_count; i++) {
            if (matches(&http->routes[i], request) && (best == NULL || more_literal(&http->routes[i], best)))
                best = &http->routes[i];
        }
    }
    if (best == NULL) {
        bc_reply_not_found(reply);
        return false;
    }
    for (int i = 0; i < http->routes_count; i++) {
        const prepared_t *one = &http->routes[i];
        if (matches(one, request) && !more_literal(best, one) && strcmp(one->route->method, method) == 0) found = one;
    }
    if (found == NULL) {
        answer_allow(http, request, best, reply);
        return false;
    }
    request->route = found->route;
    return true;
}

/* --- who calls --- */

static void set_id(bc_request_t *request) {
    static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.";
    const char *given = bc_request_header(request, "Request-Id");
    size_t length = given == NULL ? 0 : strlen(given);
    if (length > 0 && length <= BC_REQUEST_ID_CHARS && strspn(given, allowed) == length) {
        memcpy(request->id, given, length + 1);
        return;
    }
    bc_random_text(16, request->id, sizeof(request->id));
}

/* An address as limits count it: IPv4 whole, IPv6 its /64 (RFC 6177: one site). `bytes`: of the address, 8 are enough for IPv6. */
static void format_client(int family, const unsigned char *bytes, char *text) {
    if (family == AF_INET) {
        (void)inet_ntop(AF_INET, bytes, text, BC_CLIENT_CHARS); /* 16 characters fit */
        return;
    }
    unsigned char site[16] = {0};
    memcpy(site, bytes, 8);
    (void)inet_ntop(AF_INET6, site, text, BC_CLIENT_CHARS - 4);
    (void)strcat(text, "/64"); /* 46 + 4 characters fit in 64 */
}

static void set_client(bc_request_t *request) {
    unsigned char address[16];
    /* Ulfius keeps sizeof(struct sockaddr) bytes of the address: all of IPv4, the first 8 bytes of an IPv6 one. */
    const struct sockaddr *peer = (const struct sockaddr *)request->raw->client_address;
    const unsigned char *raw = (const unsigned char *)peer;
    (void)strcpy(request->client, "unknown");
    if (peer->sa_family == AF_INET) {
        format_client(AF_INET, raw + offsetof(struct sockaddr_in, sin_addr), request->client);
    } else if (peer->sa_family == AF_INET6) {
        format_client(AF_INET6, raw + offsetof(struct sockaddr_in6, sin6_addr), request->client);
    } else {
        const char *real = bc_request_header(request, "X-Real-IP");
        if (real == NULL) return;
        if (inet_pton(AF_INET, real, address) == 1) {
            format_client(AF_INET, address, request->client);
        } else if (inet_pton(AF_INET6, real, address) == 1) {
            static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
            if (memcmp(address, mapped, sizeof(mapped)) == 0) {
                format_client(AF_INET, address + 12, request->client);
            } else {
                format_client(AF_INET6, address, request->client);
            }
        }
    }
}

/* The credential behind "Bearer ", or NULL. */
static const char *bearer(const bc_request_t *request) {
    const char *header = bc_request_header(request, "Authorization");
    if (header == NULL || strncasecmp(header, "Bearer ", 7) != 0) return NULL;
    header += 7;
    return *header == '\0' ? NULL : header;
}

static bool check_token(const bc_http_t *http, bc_request_t *request, bc_reply_t *reply) {
    const char *token = bearer(request);
    if (token == NULL) {
        bc_reply_problem(reply, "unauthorized", NULL);
        return false;
    }
    assert(http->options.verifier != NULL); /* a route that asks for a token on a server without keys */
    bc_token_result_t result = bc_token_verify(http->options.verifier, "at+jwt", token, bc_time_s(), &request->caller);
    bc_standing_t standing = BC_STANDING_GOOD;
    if (result == BC_TOKEN_OK && http->options.standing != NULL)
        standing = http->options.standing(&request->caller, http->options.context);
    if (result == BC_TOKEN_OK && standing == BC_STANDING_GOOD) {
        request->has_caller = true;
        return true;
    }
    if (result == BC_TOKEN_FAILED || standing == BC_STANDING_UNKNOWN) {
        bc_reply_problem(reply, "unavailable", NULL);
        bc_reply_retry_after(reply, 1000);
        return false;
    }
    bc_reply_problem(reply, "unauthorized",
                     result == BC_TOKEN_EXPIRED ? "the token has expired"
                     : result == BC_TOKEN_OK    ? "the session has ended"
                                                : NULL);
    return false;
}

static bool check_caller(const bc_http_t *http, bc_request_t *request, bc_reply_t *reply) {
    bc_access_t access = request->route->access;
    const char *given = NULL;
    switch (access) {
    case BC_OPS:
        return true;
    case BC_ANYONE:
        if (!request->route->token || bc_request_header(request, "Authorization") == NULL) return true;
        return check_token(http, request, reply);
    case BC_INTERNAL:
        given = bearer(request);
        if (given != NULL && http->options.service_key != NULL && bc_secret_equal(given, http->options.service_key))
            return true;
        bc_reply_problem(reply, "unauthorized", NULL);
        return false;
    case BC_GUEST:
    case BC_OWNER:
        return check_token(http, request, reply);
    case BC_CUSTOMER:
    case BC_ADMIN:
        if (!check_token(http, request, reply)) return false;
        if (access == BC_CUSTOMER && request->caller.kind != BC_KIND_CUSTOMER) {
            bc_reply_problem(reply, "registration-required", NULL);
            return false;
        }
        if (access == BC_ADMIN && request->caller.role != BC_ROLE_ADMIN) {
            bc_reply_problem(reply, "forbidden", NULL);
            return false;
        }
        return true;
    }
    assert(!"a route with an unknown caller");
    return false;
}

/* --- one request --- */

static void count_answer(int status) {
    bc_metric_add(status < 300   ? &requests_2xx
                  : status < 400 ? &requests_3xx
                  : status < 500 ? &requests_4xx
                                 : &requests_5xx,
                  1);
}

/* One request and its answer, from the first line to the last byte. */
typedef struct {
    struct connection_info_struct *info; /* owned: Ulfius' request in it */
    bc_request_t request;
    bc_reply_t reply;
    int64_t began_ms;
    bool begun;   /* the head was looked at */
    bool refused; /* the reply is set already: what still comes of the body is dropped */
} exchange_t;

static enum MHD_Result take_value(void *cls, enum MHD_ValueKind kind, const char *name, const char *value) {
    struct _u_map *map = cls;
    (void)kind;
    /* The first of a name counts, however it is written: what stands behind it is a list's rest or an attempt. */
    if (value != NULL && bc_form_is_utf8(value) && !u_map_has_key_case(map, name) &&
        u_map_put(map, name, value) != U_OK)
        return MHD_NO;
    return MHD_YES;
}

/* Fills Ulfius' request from the head. false: no memory. */
static bool read_head(struct _u_request *raw, struct MHD_Connection *connection, const char *method) {
    const union MHD_ConnectionInfo *peer = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    raw->http_verb = o_strdup(method);
    raw->client_address = o_malloc(sizeof(struct sockaddr));
    if (raw->http_verb == NULL || raw->client_address == NULL || raw->http_url == NULL || peer == NULL) return false;
    memcpy(raw->client_address, peer->client_addr, sizeof(struct sockaddr));
    /* The count of values is known to the daemon; that each was taken, the maps tell by what is in them. */
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, take_value, raw->map_header);
    (void)MHD_get_connection_values(connection, MHD_COOKIE_KIND, take_value, raw->map_cookie);
    return true;
}

/* What can be said before the body: who calls what, in which form. */
static bool begin_exchange(bc_http_t *http, exchange_t *exchange, struct MHD_Connection *connection,
                           const char *method) {
    bc_request_t *request = &exchange->request;
    exchange->begun = true;
    exchange->began_ms = bc_monotonic_ms();
    exchange->info->has_post_processor = 0;
    exchange->info->post_processor = NULL;
    request->raw = exchange->info->request;
    if (!read_head(request->raw, connection, method)) return false;
    request->stopping = &http->stopping;
    set_id(request);
    set_client(request);
    request->language = bc_language_choose(bc_request_header(request, "Accept-Language"));
    bc_log_set_request(request->id);
    bc_db_count_reset();
    exchange->refused = !find_route(http, request, &exchange->reply) ||
                        !check_caller(http, request, &exchange->reply) ||
                        !bc_form_query(request, &exchange->reply, request->route->query) ||
                        !bc_body_announced(request, &exchange->reply);
    return true;
}

static enum MHD_Result send_reply(exchange_t *exchange, struct MHD_Connection *connection) {
    struct _u_response made;
    enum MHD_Result queued = MHD_NO;
    if (ulfius_init_response(&made) != U_OK) return MHD_NO;
    bc_reply_send(&exchange->reply, &exchange->request, &made);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(made.binary_body_length, made.binary_body, MHD_RESPMEM_MUST_COPY);
    const char **names = u_map_enum_keys(made.map_header);
    bool good = response != NULL && names != NULL;
    for (int i = 0; good && names[i] != NULL; i++)
        good = MHD_add_response_header(response, names[i], u_map_get(made.map_header, names[i])) == MHD_YES;
    if (good) queued = MHD_queue_response(connection, (unsigned)made.status, response);
    if (response != NULL) MHD_destroy_response(response);
    (void)ulfius_clean_response(&made); /* frees what is there */
    return queued;
}

static enum MHD_Result end_exchange(bc_http_t *http, exchange_t *exchange, struct MHD_Connection *connection) {
    bc_request_t *request = &exchange->request;
    bc_reply_t *reply = &exchange->reply;
    if (!exchange->refused && bc_form_body(request, reply))
        request->route->handler(request, reply, http->options.context);
    if (http->options.show_statements) {
        char count[16];
        (void)snprintf(count, sizeof(count), "%d", bc_db_count());
        bc_reply_header(reply, "Bookcart-Statements", count);
    }
    if (http->stopping) bc_reply_header(reply, "Connection", "close");
    enum MHD_Result queued = send_reply(exchange, connection);
    count_answer(reply->status);
    bc_log(BC_LOG_DEBUG, "request", bc_f_text("method", request->raw->http_verb),
           bc_f_text("route", request->route == NULL ? "" : request->route->path), bc_f_int("status", reply->status),
           bc_f_int("took_ms", bc_monotonic_ms() - exchange->began_ms));
    bc_log_set_request(NULL);
    return queued;
}

/* Called with the head, then with each piece of the body, then once more without one. MHD_NO closes the connection. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *bytes, size_t *size, void **context) {
    bc_http_t *http = cls;
    exchange_t *exchange = *context;
    (void)url;
    (void)version;
    if (exchange == NULL) return MHD_NO; /* no memory when it began */
    if (!exchange->begun) return begin_exchange(http, exchange, connection, method) ? MHD_YES : MHD_NO;
    if (*size == 0) return end_exchange(http, exchange, connection);
    if (!exchange->refused) {
        exchange->refused =
            !bc_body_take(&exchange->request, &exchange->reply, http->options.spool_folder, bytes, *size);
    }
    *size = 0;
    return MHD_YES;
}

/* --- the daemon --- */

static void *request_begins(void *cls, const char *uri, struct MHD_Connection *connection) {
    bc_http_t *http = cls;
    (void)connection;
    (void)pthread_mutex_lock(&http->lock);
    http->in_flight++;
    (void)pthread_mutex_unlock(&http->lock);
    bc_metric_add(&requests_inside, 1);
    exchange_t *exchange = calloc(1, sizeof(*exchange));
    if (exchange == NULL) return NULL;
    exchange->request.spool_fd = -1;
    bc_reply_init(&exchange->reply);
    exchange->info = ulfius_uri_logger(NULL, uri);
    if (exchange->info != NULL) return exchange;
    free(exchange);
    return NULL;
}

static void destroy_exchange(exchange_t *exchange, struct MHD_Connection *connection,
                             enum MHD_RequestTerminationCode code) {
    void *info = exchange->info;
    if (exchange->begun) {
        bc_body_drop(&exchange->request);
    } else {
        exchange->info->has_post_processor = 0; /* Ulfius sets neither before it has seen the head */
        exchange->info->post_processor = NULL;
    }
    mhd_request_completed(NULL, connection, &info, code);
    bc_reply_deinit(&exchange->reply);
    json_decref(exchange->request.body);
    free(exchange->request.query_text);
    free(exchange);
}

static void request_ends(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
    bc_http_t *http = cls;
    if (*context != NULL) destroy_exchange(*context, connection, code);
    *context = NULL;
    bc_metric_add(&requests_inside, -1);
    (void)pthread_mutex_lock(&http->lock);
    assert(http->in_flight > 0);
    if (--http->in_flight == 0) (void)pthread_cond_broadcast(&http->drained);
    (void)pthread_mutex_unlock(&http->lock);
}

static void connection_changes(void *cls, struct MHD_Connection *connection, void **context,
                               enum MHD_ConnectionNotificationCode code) {
    bc_http_t *http = cls;
    (void)connection;
    (void)context;
    if (code != MHD_CONNECTION_NOTIFY_CLOSED) return; /* its begin is counted where we accept */
    (void)atomic_fetch_sub(&http->connections, 1);
    bc_metric_add(&open_connections, -1);
}

__attribute__((format(printf, 2, 0))) static void daemon_log(void *cls, const char *format, va_list arguments) {
    char text[256];
    (void)cls;
    (void)vsnprintf(text, sizeof(text), format, arguments); /* cut is fine */
    text[strcspn(text, "\r\n")] = '\0';
    bc_log(BC_LOG_DEBUG, "http-daemon", bc_f_text("message", text));
}

static void refuse_connection(int fd) {
    /* The body's length is counted by hand: test_http.c reads it back. */
    static const char answer[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\nContent-Length: 99\r\n\r\n"
        "{\"type\":\"/problems/unavailable\",\"title\":\"Not available at the "
        "moment\",\"status\":503,\"request_id\":\"\"}";
    ssize_t sent = send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent; /* a client that cannot take it is refused all the same */
    (void)shutdown(fd, SHUT_WR);
    (void)close(fd);
    bc_metric_add(&refused_connections, 1);
}

static void take_connection(bc_http_t *http) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    } peer = {.any = {.sa_family = AF_UNSPEC}};
    socklen_t length = sizeof(peer);
    int fd = accept4(http->listen_fd, &peer.any, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            bc_log(BC_LOG_ERROR, "accept-failed", bc_f_text("reason", strerror(errno)));
            (void)poll(NULL, 0, 50); /* the queue stays readable: without a pause this would spin */
        }
        return;
    }
    if (atomic_load(&http->connections) >= http->options.connections_max) {
        bc_log(BC_LOG_WARN, "connection-refused", bc_f_int("connections", http->options.connections_max));
        refuse_connection(fd);
        return;
    }
    if (http->unix_path[0] != '\0') {
        memset(&peer, 0, sizeof(peer));
        peer.any.sa_family = AF_UNIX;
        length = sizeof(peer.un); /* see the essay: all of it, though the kernel gave two bytes */
    }
    (void)atomic_fetch_add(&http->connections, 1);
    bc_metric_add(&open_connections, 1);
    if (MHD_add_connection(http->daemon, fd, &peer.any, length) != MHD_YES) {
        /* The daemon has closed fd. */
        (void)atomic_fetch_sub(&http->connections, 1);
        bc_metric_add(&open_connections, -1);
        bc_log(BC_LOG_ERROR, "connection-not-taken", bc_f_text("reason", strerror(errno)));
    }
}

static void *accept_loop(void *argument) {
    bc_http_t *http = argument;
    while (!http->stopping) {
        struct pollfd ready[2] = {{.fd = http->listen_fd, .events = POLLIN}, {.fd = http->wake_fd, .events = POLLIN}};
        if (poll(ready, 2, -1) > 0 && (ready[0].revents & POLLIN) != 0 && !http->stopping) take_connection(http);
    }
    return NULL;
}

/* --- start and stop --- */

static int listen_unix(bc_http_t *http, const bc_listen_t *listen_at) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(listen_at->address) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, listen_at->address, strlen(listen_at->address) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    struct stat found;
    /* Only a socket is removed: a path in the settings that names a file by mistake keeps the file. */
    if (lstat(address.sun_path, &found) == 0 && S_ISSOCK(found.st_mode))
        (void)unlink(address.sun_path); /* bind tells if it stayed */
    mode_t kept = umask(0117); /* 0660 from its first moment on; the process has no other thread that makes files yet */
    int failed = bind(fd, (const struct sockaddr *)&address, sizeof(address));
    int why = errno;
    (void)umask(kept);
    if (failed != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        if (failed == 0) why = errno;
        (void)close(fd);
        errno = why;
        return -1;
    }
    memcpy(http->unix_path, address.sun_path, sizeof(http->unix_path));
    return fd;
}

static int listen_tcp(bc_http_t *http, const bc_listen_t *listen_at) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    memset(&address, 0, sizeof(address));
    socklen_t length = sizeof(address.v4);
    if (inet_pton(AF_INET, listen_at->address, &address.v4.sin_addr) == 1) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(listen_at->port);
    } else if (inet_pton(AF_INET6, listen_at->address, &address.v6.sin6_addr) == 1) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(listen_at->port);
        length = sizeof(address.v6);
    } else {
        errno = EINVAL;
        return -1;
    }
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0) return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 || bind(fd, &address.any, length) != 0 ||
        listen(fd, LISTEN_BACKLOG) != 0 || getsockname(fd, &address.any, &length) != 0) {
        int why = errno;
        (void)close(fd);
        errno = why;
        return -1;
    }
    http->port = ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    return fd;
}

static bool start_daemon(bc_http_t *http) {
    for (int i = 0; i < http->routes_count; i++) {
        const bc_route_t *route = http->routes[i].route;
        assert(route->body_max_bytes <= BC_HTTP_BODY_HARD_MAX);
        assert(!route->spool || (route->media != NULL && http->options.spool_folder != NULL));
        (void)route;
    }
    /* MHD_OptionItem carries callbacks as integers and their argument as pointer: that is its interface. */
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)daemon_log, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)request_ends, http},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)request_begins, http},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)connection_changes, http},
        {MHD_OPTION_CONNECTION_LIMIT, http->options.connections_max + 8, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)((http->options.timeout_ms + 999) / 1000), NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL},
        {MHD_OPTION_THREAD_STACK_SIZE, THREAD_STACK, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
                     MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    http->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, http, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
    return http->daemon != NULL;
}

bc_http_t *bc_http_start(const bc_http_options_t *options) {
    bc_listen_t listen_at;
    bc_http_t *http = calloc(1, sizeof(*http));
    if (http == NULL) return NULL;
    assert(options->connections_max > 0 && options->timeout_ms > 0);
    http->options = *options;
    http->listen_fd = -1;
    (void)pthread_mutex_init(&http->lock, NULL);
    bc_cond_init(&http->drained);
    http->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (http->wake_fd < 0 || !prepare_routes(http) || !start_daemon(http)) {
        bc_log(BC_LOG_ERROR, "http-not-started", bc_f_text("listen", options->listen));
        goto fail;
    }
    if (!bc_listen_parse(options->listen, &listen_at)) {
        bc_log(BC_LOG_ERROR, "no-listener", bc_f_text("listen", options->listen));
        goto fail;
    }
    http->listen_fd = listen_at.is_unix ? listen_unix(http, &listen_at) : listen_tcp(http, &listen_at);
    if (http->listen_fd < 0) {
        bc_log(BC_LOG_ERROR, "cannot-listen", bc_f_text("listen", options->listen),
               bc_f_text("reason", strerror(errno)));
        goto fail;
    }
    if (pthread_create(&http->acceptor, NULL, accept_loop, http) != 0) {
        bc_log(BC_LOG_ERROR, "no-thread", bc_f_text("listen", options->listen));
        goto fail;
    }
    http->acceptor_started = true;
    bc_log(BC_LOG_INFO, "listening", bc_f_text("listen", options->listen), bc_f_int("port", http->port));
    return http;
fail:
    bc_http_stop(http, 0);
    return NULL;
}

static void wait_until_drained(bc_http_t *http, int64_t grace_ms) {
    struct timespec deadline = bc_monotonic_deadline(grace_ms);
    (void)pthread_mutex_lock(&http->lock);
    while (http->in_flight > 0) {
        if (pthread_cond_timedwait(&http->drained, &http->lock, &deadline) == ETIMEDOUT) break;
    }
    if (http->in_flight > 0) bc_log(BC_LOG_WARN, "stop-cuts-requests", bc_f_int("requests", http->in_flight));
    (void)pthread_mutex_unlock(&http->lock);
}

void bc_http_announce_stop(bc_http_t *http) {
    if (http != NULL) http->stopping = true;
}

void bc_http_stop(bc_http_t *http, int64_t grace_ms) {
    if (http == NULL) return;
    http->stopping = true;
    if (http->acceptor_started) {
        uint64_t one = 1;
        ssize_t written = write(http->wake_fd, &one, sizeof(one));
        assert(written == sizeof(one));
        (void)written;
        (void)pthread_join(http->acceptor, NULL); /* our own joinable thread */
    }
    if (http->listen_fd >= 0) (void)close(http->listen_fd);
    if (http->unix_path[0] != '\0') (void)unlink(http->unix_path); /* gone already: fine */
    if (http->daemon != NULL) {
        wait_until_drained(http, grace_ms);
        MHD_stop_daemon(http->daemon); /* joins every thread */
    }
    if (http->wake_fd >= 0) (void)close(http->wake_fd);
    (void)pthread_cond_destroy(&http->drained);
    (void)pthread_mutex_destroy(&http->lock);
    free(http->routes);
    free(http);
}

uint16_t bc_http_port(const bc_http_t *http) {
    return http->port;
}
