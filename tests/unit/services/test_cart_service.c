/*
 * The real cart service, as a process of its own (this program started again with "serve"), over a real journal and base in
 * a temporary folder. On the link's other end is the edge's own state machine with a zone; the feeds are served by the
 * platform's own HTTP server and feed, fed by the test.
 */
#include "cart/cart_image.h"
#include "cart/cart_worker.h"
#include "platform/bc_client.h"
#include "platform/bc_config.h"
#include "platform/bc_feed.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"
#include "services/cart/cart_service.h"

#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ZONE_BYTES (4 << 20)
#define BOOKS      50
#define WAIT_MS    20000 /* for what must come; a test that waits so long has failed */

static char self[256];
static char data[64];
static bc_config_t *config;
static char service_key[BC_SECRET_MAX];
static pid_t pid;

/* ---- feeds ----------------------------------------------------------------------------------------------------------- */

typedef struct {
    bc_feed_t *feed;
    pthread_mutex_t mutex;
    json_t *items; /* under mutex */
    uint64_t position;
} source_t;

static source_t books, revocations;
static bc_http_t *library, *auth;

static bool read_source(void *context, uint64_t after, int limit, json_t *items, uint64_t *position, bool *more) {
    source_t *source = context;
    (void)pthread_mutex_lock(&source->mutex);
    size_t i;
    json_t *item;
    *more = false;
    json_array_foreach(source->items, i, item) {
        uint64_t at = strtoull(json_string_value(json_object_get(item, "position")), NULL, 10);
        if (at <= after) continue;
        if (json_array_size(items) == (size_t)limit) {
            *more = true;
            break;
        }
        (void)json_array_append(items, item);
        *position = at;
    }
    (void)pthread_mutex_unlock(&source->mutex);
    return true;
}

/* Takes the item, gives it the next position; `id` of an older state of it goes away. */
static void publish(source_t *source, json_t *item) {
    char text[24];
    (void)pthread_mutex_lock(&source->mutex);
    for (size_t i = json_array_size(source->items); i > 0; i--) {
        if (json_equal(json_object_get(json_array_get(source->items, i - 1), "id"), json_object_get(item, "id"))) {
            (void)json_array_remove(source->items, i - 1);
        }
    }
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)++source->position);
    (void)json_object_set_new(item, "position", json_string(text));
    (void)json_array_append_new(source->items, item);
    (void)pthread_mutex_unlock(&source->mutex);
    bc_feed_wake(source->feed);
}

static void publish_book(int id, int price) {
    publish(&books,
            json_pack("{s:i, s:s, s:[s], s:n, s:i, s:s, s:i, s:s}", "id", id, "title", "Emma", "authors", "Jane Austen",
                      "cover_url", "price_minor", price, "availability", "in_stock", "available", 7, "state", "live"));
}

static void serve_feed(bc_request_t *request, bc_reply_t *reply, void *context) {
    source_t *source = context;
    bc_feed_serve(source->feed, request, reply);
}

static const bc_route_t library_routes[] = {
    {"GET", "/internal/feed/books", BC_INTERNAL, serve_feed, .query = BC_FEED_QUERY}, {.method = NULL}};
static const bc_route_t auth_routes[] = {
    {"GET", "/internal/feed/revocations", BC_INTERNAL, serve_feed, .query = BC_FEED_QUERY}, {.method = NULL}};

static void start_source(source_t *source, const char *generation) {
    (void)pthread_mutex_init(&source->mutex, NULL);
    source->items = json_array();
    source->position = 0;
    source->feed = bc_feed_create(generation, read_source, source);
    assert_non_null(source->feed);
}

static bc_http_t *start_http(bc_key_t listen, const bc_route_t *routes, void *context) {
    bc_http_options_t options = {.service = "test",
                                 .listen = bc_config_text(config, listen),
                                 .routes = routes,
                                 .context = context,
                                 .connections_max = 16,
                                 .timeout_ms = 60000,
                                 .service_key = service_key};
    bc_http_t *http = bc_http_start(&options);
    assert_non_null(http);
    return http;
}

static void stop_source(source_t *source, bc_http_t **http) {
    bc_feed_wake(source->feed);
    if (*http != NULL) bc_http_stop(*http, 10000);
    *http = NULL;
    bc_feed_destroy(source->feed);
    json_decref(source->items);
    (void)pthread_mutex_destroy(&source->mutex);
}

/* ---- the service ----------------------------------------------------------------------------------------------------- */

static void start_service(const char *key, const char *value) {
    pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return;
    (void)setenv("BOOKCART_DATA", data, 1);
    (void)setenv("BOOKCART_CART_MEMORY", "8m", 1);
    (void)setenv("BOOKCART_CART_SEGMENT", "1m", 1);
    (void)setenv("BOOKCART_CART_CALM_AGE", "100ms", 1);
    (void)setenv("BOOKCART_CART_RELEASE_AGE", "50ms", 1);
    (void)setenv("BOOKCART_LOG_LEVEL", "error", 1);
    (void)setenv("BOOKCART_SANDBOX_PUBLIC", "yes", 1); /* the link on a public address is the service's own to refuse */
    if (key != NULL) (void)setenv(key, value, 1);
    (void)execl(self, self, "serve", (char *)NULL);
    _exit(9);
}

static int end_service(int signal_number) {
    int status = 0;
    if (signal_number != 0) assert_int_equal(kill(pid, signal_number), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    pid = 0;
    return status;
}

/* ---- the edge's end of the link -------------------------------------------------------------------------------------- */

typedef struct {
    void *memory;
    cart_zone_t zone;
    cart_worker_t *worker;
    int fd;
    cart_answer_t answer;
    cart_ticket_t answered;
    bool has_books, has_revocations, vouched;
    uint64_t prices[BOOKS + 1];
} edge_t;

static edge_t edge;

static void lock_init(void *context, void *lock) {
    (void)context;
    (void)lock;
}
static cart_lock_result_t lock_lock(void *context, void *lock) {
    (void)context;
    (void)lock;
    return CART_LOCK_OK;
}
static bool is_alive(void *context, uint32_t process, uint64_t started) {
    (void)context;
    (void)process;
    (void)started;
    return true;
}

static void on_answer(void *context, cart_ticket_t ticket, const cart_answer_t *answer) {
    (void)context;
    edge.answered = ticket;
    edge.answer = *answer;
}

static void on_books(void *context, const cart_book_record_t *list, unsigned count, bool full, bool last, bool answers,
                     uint64_t generation, uint64_t position) {
    (void)context;
    (void)full;
    (void)answers;
    (void)generation;
    (void)position;
    for (unsigned i = 0; i < count; i++) {
        if (list[i].book <= BOOKS) edge.prices[list[i].book] = list[i].price_minor;
    }
    if (last && edge.prices[1] != 0) edge.has_books = true;
}

static void on_revocations(void *context, const cart_revocation_t *list, unsigned count, bool full, bool last,
                           uint64_t generation, uint64_t position) {
    (void)context;
    (void)list;
    (void)count;
    (void)full;
    (void)generation;
    (void)position;
    if (last) edge.has_revocations = true;
}

static void on_vouched(void *context, bool are_books, bool are_revocations) {
    (void)context;
    (void)are_books;
    edge.vouched = are_revocations;
}

static void on_positions(void *context, uint64_t *books_generation, uint64_t *books_position,
                         uint64_t *revocations_generation, uint64_t *revocations_position) {
    (void)context;
    *books_generation = *books_position = *revocations_generation = *revocations_position = 0;
}

static void on_log(void *context, int level, const char *event, const char *detail) {
    (void)context;
    (void)level;
    (void)event;
    (void)detail;
}

static uint64_t now_ms(void) {
    return (uint64_t)bc_monotonic_ms();
}

static void start_edge(void) {
    memset(&edge, 0, sizeof(edge));
    edge.fd = -1;
    edge.memory = aligned_alloc(64, ZONE_BYTES);
    assert_non_null(edge.memory);
    memset(edge.memory, 0, ZONE_BYTES);
    edge.zone.locks = (cart_zone_locks_t){.init = lock_init, .lock = lock_lock, .unlock = lock_init, .alive = is_alive};
    edge.zone.config.shards = 1;
    edge.zone.config.stale_max_ms = 60000;
    cart_policy_defaults(&edge.zone.config.policy);
    cart_id_t incarnation = bc_random_id();
    assert_true(cart_zone_init(&edge.zone, edge.memory, ZONE_BYTES, &incarnation, 7));
    cart_worker_config_t worker = {.write_timeout_ms = 10000,
                                   .ping_interval_ms = 200,
                                   .link_timeout_ms = 5000,
                                   .reconnect_min_ms = 5,
                                   .reconnect_max_ms = 50,
                                   .lease_ms = 1000,
                                   .pid = 1,
                                   .started = 1,
                                   .seed = 7};
    cart_worker_owner_t owner = {.answered = on_answer,
                                 .books = on_books,
                                 .revocations = on_revocations,
                                 .feeds_vouched = on_vouched,
                                 .feed_positions = on_positions,
                                 .log = on_log};
    edge.worker = cart_worker_create(&edge.zone, &worker, &owner);
    assert_non_null(edge.worker);
}

static void stop_edge(void) {
    cart_worker_destroy(edge.worker);
    if (edge.fd >= 0) (void)close(edge.fd);
    free(edge.memory);
}

static void hang_up(void) {
    if (edge.fd >= 0) (void)close(edge.fd);
    edge.fd = -1;
    cart_worker_disconnected(edge.worker, now_ms());
}

static void connect_link(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/cart-link.sock", data);
    cart_worker_connecting(edge.worker, now_ms());
    edge.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(edge.fd >= 0);
    if (connect(edge.fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        hang_up();
        return;
    }
    cart_worker_connected(edge.worker, now_ms());
}

/* One turn of the edge's event loop. */
static void spin(void) {
    static uint8_t bytes[65536];
    if (edge.fd < 0 && cart_worker_wants_connect(edge.worker, now_ms())) connect_link();
    uint32_t wait_ms = cart_worker_tick(edge.worker, now_ms());
    const uint8_t *out = NULL;
    size_t length = edge.fd < 0 ? 0 : cart_worker_output(edge.worker, now_ms(), &out);
    if (length > 0) {
        ssize_t sent = send(edge.fd, out, length, MSG_NOSIGNAL);
        if (sent <= 0) {
            hang_up();
            return;
        }
        cart_worker_sent(edge.worker, (size_t)sent);
    }
    struct pollfd poller = {.fd = edge.fd, .events = POLLIN};
    if (poll(&poller, edge.fd < 0 ? 0 : 1, (int)(wait_ms > 5 ? 5 : wait_ms)) <= 0 || poller.revents == 0) return;
    ssize_t got = recv(edge.fd, bytes, sizeof(bytes), 0);
    if (got <= 0 || !cart_worker_received(edge.worker, bytes, (size_t)got, now_ms())) hang_up();
    if (cart_worker_wants_close(edge.worker)) hang_up();
}

#define SPIN_UNTIL(condition)                                                                                          \
    do {                                                                                                               \
        uint64_t end_ms = now_ms() + WAIT_MS;                                                                          \
        while (!(condition)) {                                                                                         \
            spin();                                                                                                    \
            assert_true(now_ms() < end_ms);                                                                            \
        }                                                                                                              \
    } while (0)

static void wait_until_served(void) {
    SPIN_UNTIL(cart_worker_is_up(edge.worker) && edge.has_books && edge.vouched);
}

static cart_request_t request_of(const cart_id_t *user, const cart_id_t *session, uint64_t book, int quantity) {
    cart_request_t request = {.user = *user, .session = *session, .issued_s = (uint64_t)bc_time_s(), .keyed = true};
    request.change_count = 1;
    request.digest = book;
    request.changes[0] = (cart_change_t){.op = CART_ADD, .book = book, .quantity = quantity};
    bc_random_bytes(request.request_id, sizeof(request.request_id));
    return request;
}

static const cart_answer_t *ask(const cart_request_t *request) {
    cart_ticket_t ticket;
    edge.answered = 0;
    assert_int_equal(cart_worker_change(edge.worker, request, now_ms(), &ticket), CART_WORKER_OK);
    SPIN_UNTIL(edge.answered == ticket);
    return &edge.answer;
}

static const cart_answer_t *look(const cart_id_t *user, const cart_id_t *session) {
    cart_ticket_t ticket;
    edge.answered = 0;
    assert_int_equal(cart_worker_fetch(edge.worker, user, session, (uint64_t)bc_time_s(), false, now_ms(), &ticket),
                     CART_WORKER_OK);
    SPIN_UNTIL(edge.answered == ticket);
    return &edge.answer;
}

/* ---- HTTP ------------------------------------------------------------------------------------------------------------ */

static int call(const char *key, const char *method, const char *path, json_t *body, json_t **reply) {
    bc_client_t *client = bc_client_create(bc_config_text(config, BC_CART_INTERNAL), key);
    assert_non_null(client);
    int status = 0;
    *reply = NULL;
    for (uint64_t end_ms = now_ms() + WAIT_MS; now_ms() < end_ms && status == 0;) {
        if (!bc_client_call(client, method, path, body, 5000, NULL, &status, reply)) spin();
    }
    bc_client_destroy(client);
    json_decref(body);
    return status;
}

/* ---- setup ----------------------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *walk) {
    (void)about;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int setup(void **state) {
    (void)state;
    char reason[BC_CONFIG_REASON_BYTES];
    (void)snprintf(data, sizeof(data), "/tmp/bookcart-cart-XXXXXX");
    assert_non_null(mkdtemp(data));
    char folder[128];
    static const char *const folders[] = {"run", "keys"};
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(folder, sizeof(folder), "%s/%s", data, folders[i]);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
    assert_true(bc_config_load(&config, NULL, NULL, data, reason));
    assert_true(bc_secret_service_key(config, true, service_key, sizeof(service_key)));
    start_source(&books, "books-1");
    start_source(&revocations, "revocations-1");
    for (int i = 1; i <= BOOKS; i++) publish_book(i, 1000 + i);
    library = start_http(BC_LIBRARY_INTERNAL, library_routes, &books);
    auth = start_http(BC_AUTH_INTERNAL, auth_routes, &revocations);
    start_service(NULL, NULL);
    start_edge();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        pid = 0;
    }
    stop_edge();
    stop_source(&books, &library);
    stop_source(&revocations, &auth);
    bc_config_destroy(config);
    (void)nftw(data, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

/* ---- tests ----------------------------------------------------------------------------------------------------------- */

static void what_was_acknowledged_survives_kill_9(void **state) {
    (void)state;
    enum { CARTS = 20, ROUNDS = 6, CHANGES = 60 };
    cart_id_t users[CARTS];
    cart_id_t session = bc_random_id();
    uint64_t versions[CARTS] = {0};
    uint32_t quantities[CARTS] = {0};
    for (unsigned i = 0; i < CARTS; i++) users[i] = bc_random_id();
    for (unsigned round = 0; round < ROUNDS; round++) {
        wait_until_served();
        for (unsigned i = 0; i < CHANGES; i++) {
            unsigned who = (i * 7 + round) % CARTS;
            cart_request_t request = request_of(&users[who], &session, 7, 1);
            const cart_answer_t *answer = ask(&request);
            assert_int_equal(answer->verdict.outcome, CART_APPLIED);
            assert_int_equal(answer->image.place.version, ++versions[who]);
            assert_int_equal(answer->image.lines[0].quantity, ++quantities[who]);
            if (i % 20 != 0) continue;
            assert_int_equal(ask(&request)->verdict.outcome, CART_REPEATED);
        }
        /* One more that may or may not have been taken when the service dies: repeated until it is answered. */
        cart_request_t request = request_of(&users[0], &session, 7, 1);
        cart_ticket_t ticket;
        edge.answered = 0;
        assert_int_equal(cart_worker_change(edge.worker, &request, now_ms(), &ticket), CART_WORKER_OK);
        spin();
        assert_true(WIFSIGNALED(end_service(SIGKILL)));
        edge.has_books = edge.vouched = false;
        start_service(NULL, NULL);
        SPIN_UNTIL(edge.answered == ticket);
        cart_answer_t answer = edge.answer;
        while (answer.verdict.outcome == CART_REFUSED) { /* the service has not heard its feeds yet */
            answer = *ask(&request);
        }
        assert_true(answer.verdict.outcome == CART_APPLIED || answer.verdict.outcome == CART_REPEATED);
        assert_int_equal(answer.image.place.version, ++versions[0]);
        assert_int_equal(answer.image.lines[0].quantity, ++quantities[0]);
        for (unsigned i = 0; i < CARTS; i++) {
            const cart_answer_t *seen = look(&users[i], &session);
            assert_true(seen->has_image);
            assert_int_equal(seen->image.place.version, versions[i]);
        }
    }
}

static void a_stop_saves_everything_and_a_start_finds_it(void **state) {
    (void)state;
    wait_until_served();
    cart_id_t user = bc_random_id();
    cart_id_t session = bc_random_id();
    for (int i = 1; i <= 5; i++) {
        cart_request_t request = request_of(&user, &session, (uint64_t)i, i);
        assert_int_equal(ask(&request)->verdict.outcome, CART_APPLIED);
    }
    int status = end_service(SIGTERM);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    start_service(NULL, NULL);
    edge.has_books = edge.vouched = false;
    wait_until_served();
    const cart_answer_t *seen = look(&user, &session);
    assert_int_equal(seen->image.place.version, 5);
    assert_int_equal(cart_term(&seen->image), 0); /* it is in the base */
    assert_int_equal(seen->image.line_count, 5);
}

static void a_changed_price_reaches_the_edge(void **state) {
    (void)state;
    wait_until_served();
    assert_int_equal(edge.prices[7], 1007);
    publish_book(7, 4242);
    SPIN_UNTIL(edge.prices[7] == 4242);
    publish_book(9, 1);
    SPIN_UNTIL(edge.prices[9] == 1);
}

static void a_book_that_nobody_sells_is_refused_and_told_unknown(void **state) {
    (void)state;
    wait_until_served();
    cart_id_t user = bc_random_id();
    cart_id_t session = bc_random_id();
    cart_request_t request = request_of(&user, &session, 4711, 1);
    assert_int_equal(ask(&request)->verdict.outcome, CART_UNKNOWN_BOOK);
    publish_book(BOOKS, 77);
    SPIN_UNTIL(edge.prices[BOOKS] == 77);
}

static void a_revoked_session_ends_at_the_service(void **state) {
    (void)state;
    wait_until_served();
    cart_id_t user = bc_random_id();
    cart_id_t session = bc_random_id();
    char text[CART_ID_CHARS + 1];
    cart_request_t request = request_of(&user, &session, 7, 1);
    assert_int_equal(ask(&request)->verdict.outcome, CART_APPLIED);
    cart_id_format("ses_", &session, text);
    publish(&revocations,
            json_pack("{s:s, s:s, s:I}", "kind", "session", "id", text, "expires", (json_int_t)(bc_time_s() + 900)));
    do {
        request = request_of(&user, &session, 7, 1);
    } while (ask(&request)->verdict.outcome == CART_APPLIED);
    assert_int_equal(edge.answer.verdict.outcome, CART_SESSION_ENDED);
    assert_false(edge.answer.has_image);
    /* A user's tokens from before a moment. */
    cart_id_t other = bc_random_id();
    cart_id_format("usr_", &user, text);
    publish(&revocations, json_pack("{s:s, s:s, s:I, s:I}", "kind", "user", "id", text, "issued_before",
                                    (json_int_t)(bc_time_s() + 5), "expires", (json_int_t)(bc_time_s() + 900)));
    do {
        request = request_of(&user, &other, 7, 1);
        request.issued_s -= 10;
    } while (ask(&request)->verdict.outcome == CART_APPLIED);
    assert_int_equal(edge.answer.verdict.outcome, CART_SESSION_ENDED);
    request = request_of(&user, &other, 7, 1);
    request.issued_s += 10;
    assert_int_equal(ask(&request)->verdict.outcome, CART_APPLIED);
}

static void other_services_see_and_merge_carts(void **state) {
    (void)state;
    wait_until_served();
    cart_id_t guest = bc_random_id();
    cart_id_t user = bc_random_id();
    cart_id_t session = bc_random_id();
    char guest_text[CART_ID_CHARS + 1];
    char user_text[CART_ID_CHARS + 1];
    char path[128];
    cart_id_format("usr_", &guest, guest_text);
    cart_id_format("usr_", &user, user_text);
    cart_request_t request = request_of(&guest, &session, 7, 2);
    assert_int_equal(ask(&request)->verdict.outcome, CART_APPLIED);

    json_t *reply = NULL;
    (void)snprintf(path, sizeof(path), "/internal/carts/%s", guest_text);
    assert_int_equal(call("wrong", "GET", path, NULL, &reply), 401);
    json_decref(reply);
    assert_int_equal(call(service_key, "GET", "/internal/carts/usr_x", NULL, &reply), 404);
    json_decref(reply);
    assert_int_equal(call(service_key, "GET", path, NULL, &reply), 200);
    assert_string_equal(json_string_value(json_object_get(reply, "version")), "1");
    assert_string_equal(json_string_value(json_object_get(reply, "state")), "open");
    assert_int_equal(json_array_size(json_object_get(reply, "lines")), 1);
    json_decref(reply);

    for (int i = 0; i < 2; i++) {
        json_t *body = json_pack("{s:s, s:s, s:s}", "guest", guest_text, "user", user_text, "mode", "sum");
        assert_int_equal(call(service_key, "POST", "/internal/carts/merge", body, &reply), 200);
        assert_string_equal(json_string_value(json_object_get(reply, "state")), i == 0 ? "merged" : "already-merged");
        assert_string_equal(json_string_value(json_object_get(reply, "version")), "1");
        if (i == 0) assert_int_equal(json_array_size(json_object_get(reply, "lines")), 1);
        json_decref(reply);
    }
    assert_int_equal(call(service_key, "GET", path, NULL, &reply), 200);
    assert_string_equal(json_string_value(json_object_get(reply, "state")), "closed");
    json_decref(reply);
    json_t *bad = json_pack("{s:s, s:s, s:s}", "guest", guest_text, "user", guest_text, "mode", "sum");
    assert_int_equal(call(service_key, "POST", "/internal/carts/merge", bad, &reply), 422);
    json_decref(reply);
    bad = json_pack("{s:s, s:s, s:s}", "guest", guest_text, "user", user_text, "mode", "most");
    assert_int_equal(call(service_key, "POST", "/internal/carts/merge", bad, &reply), 400);
    json_decref(reply);
    assert_int_equal(call(service_key, "GET", "/readyz", NULL, &reply), 200);
    json_decref(reply);
    assert_int_equal(look(&user, &session)->image.lines[0].quantity, 2);
}

static void without_books_carts_can_still_be_read(void **state) {
    (void)state;
    wait_until_served();
    cart_id_t user = bc_random_id();
    cart_id_t session = bc_random_id();
    cart_request_t request = request_of(&user, &session, 7, 2);
    assert_int_equal(ask(&request)->verdict.outcome, CART_APPLIED);
    bc_feed_wake(books.feed);
    bc_http_stop(library, 10000);
    library = NULL;
    (void)end_service(SIGKILL);
    start_service(NULL, NULL);
    edge.vouched = false;
    assert_int_equal(look(&user, &session)->image.lines[0].quantity, 2);
    cart_request_t less = request_of(&user, &session, 7, -1);
    assert_int_equal(ask(&less)->verdict.outcome, CART_APPLIED);
    cart_request_t more = request_of(&user, &session, 7, 1);
    assert_int_equal(ask(&more)->verdict.reason, CART_REASON_FEED);
    json_t *reply = NULL;
    assert_int_equal(call(service_key, "GET", "/readyz", NULL, &reply), 503);
    json_decref(reply);
}

static void impossible_settings_end_the_start(void **state) {
    (void)state;
    wait_until_served();
    (void)end_service(SIGTERM);
    start_service("BOOKCART_CART_LINK", "0.0.0.0:0");
    assert_int_equal(WEXITSTATUS(end_service(0)), 1);
    start_service("BOOKCART_CART_EDGE_USER", "nobody-of-that-name");
    assert_int_equal(WEXITSTATUS(end_service(0)), 1);
    /* The base belongs to the journal it was written with. */
    char from[128];
    char to[128];
    (void)snprintf(from, sizeof(from), "%s/journal", data);
    (void)snprintf(to, sizeof(to), "%s/journal-away", data);
    assert_int_equal(rename(from, to), 0);
    start_service(NULL, NULL);
    assert_int_equal(WEXITSTATUS(end_service(0)), 1);
    start_service("BOOKCART_CART_TAKE_OVER", "yes");
    edge.vouched = false;
    edge.has_books = false;
    wait_until_served();
    cart_id_t user = bc_random_id();
    cart_id_t session = bc_random_id();
    cart_request_t request = request_of(&user, &session, 7, 1);
    assert_int_equal(ask(&request)->verdict.outcome, CART_APPLIED);
    assert_true(edge.answer.image.place.epoch >= 2);
}

static void a_successor_waits_for_a_survivor(void **state) {
    (void)state;
    wait_until_served();
    cart_id_t user = bc_random_id();
    cart_id_t session = bc_random_id();
    pid_t survivor = pid;
    start_service(NULL, NULL);
    pid_t successor = pid;
    cart_request_t request = request_of(&user, &session, 7, 1);
    assert_int_equal(ask(&request)->verdict.outcome, CART_APPLIED);
    assert_int_equal(waitpid(successor, NULL, WNOHANG), 0);
    pid = survivor;
    (void)end_service(SIGTERM);
    pid = successor;
    edge.vouched = false;
    SPIN_UNTIL(edge.vouched);
    assert_int_equal(look(&user, &session)->image.place.version, 1);
}

static int serve(void) {
    extern char **environ;
    char reason[BC_CONFIG_REASON_BYTES];
    bc_config_t *settings = NULL;
    if (!bc_config_load(&settings, NULL, environ, NULL, reason)) {
        (void)fprintf(stderr, "%s\n", reason);
        return 2;
    }
    int code = cart_service_main(settings);
    bc_config_destroy(settings);
    return code;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "serve") == 0) return serve();
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length <= 0 || !bc_random_init() || !bc_client_init()) return 1;
    bc_log_init("test", BC_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        T(what_was_acknowledged_survives_kill_9), T(a_stop_saves_everything_and_a_start_finds_it),
        T(a_changed_price_reaches_the_edge),      T(a_book_that_nobody_sells_is_refused_and_told_unknown),
        T(a_revoked_session_ends_at_the_service), T(other_services_see_and_merge_carts),
        T(without_books_carts_can_still_be_read), T(impossible_settings_end_the_start),
        T(a_successor_waits_for_a_survivor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
