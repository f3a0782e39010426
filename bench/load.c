/*
 * A load generator for carts: as fast as N connections can (closed loop), or at a constant rate with every latency counted
 * from the request's scheduled start, so that a stall of the server is seen by every request that it delayed.
 * One thread, epoll, keep-alive, no pipelining. Loopback only; bounded by --count or --seconds.
 *
 *   bench_load --port P --tokens FILE --users N --pattern read|change|fill|get --connections C
 *              [--rate R] [--seconds S | --count K] [--keyed] [--seed X] [--books B]
 *
 * read: GET of a random user's cart. change: PUT of one of the five lines of a random user. fill: for users 0…N−1 in order
 * PATCH five lines, then GET twice (so that each is seated). get: FILE holds `name PATH` lines instead of tokens, and each request
 * asks for a random one of them, with `If-Match: *`, which no memory of the edge answers. Prints one JSON line.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define BUFFER_BYTES    65536
#define BUCKETS         4096 /* latency: 16 steps for each power of two of microseconds */

typedef enum { READ, CHANGE, FILL, GET } pattern_t;

typedef struct {
    int fd;
    bool busy;
    uint64_t scheduled_us;
    size_t have, sent, length;
    char out[2048];
    char in[BUFFER_BYTES];
} connection_t;

static struct {
    int port;
    unsigned connections;
    uint64_t users, rate, seconds, count, books;
    bool keyed;
    pattern_t pattern;
    uint64_t random;
    char *tokens;      /* mapped: `usr TOKEN` lines */
    const char **line; /* of each user: where its token begins */
    unsigned *token_length;
} setup;

static struct { uint64_t issued, done, errors, by_status[600], histogram[BUCKETS], max_us; } seen;

static uint64_t now_us(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t random_u64(void) { /* SplitMix64 */
    uint64_t z = setup.random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static unsigned bucket_of(uint64_t us) {
    if (us < 16) return (unsigned)us;
    unsigned power = 63U - (unsigned)__builtin_clzll(us);
    return (power - 3) * 16 + (unsigned)(us >> (power - 4) & 15);
}

static uint64_t bucket_value(unsigned bucket) {
    if (bucket < 16) return bucket;
    unsigned power = bucket / 16 + 3;
    return (UINT64_C(1) << power) + ((uint64_t)(bucket % 16) + 1) * (UINT64_C(1) << (power - 4));
}

static uint64_t percentile(double share) {
    uint64_t target = (uint64_t)((double)seen.done * share);
    uint64_t sum = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        sum += seen.histogram[i];
        if (sum > target) return bucket_value(i);
    }
    return seen.max_us;
}

/* The book of line `slot` of a user: the same in every run. */
static uint64_t book_of(uint64_t user, unsigned slot) {
    return 1 + (user * 7 + slot * 31) % setup.books;
}

static void begin_request(connection_t *c, int written) {
    c->length = written > 0 && (size_t)written < sizeof(c->out) ? (size_t)written : 0;
    c->sent = c->have = 0;
    c->busy = true;
    seen.issued++;
}

static void write_get(connection_t *c) {
    uint64_t line = random_u64() % setup.users;
    begin_request(c, snprintf(c->out, sizeof(c->out), "GET %.*s HTTP/1.1\r\nHost: shop\r\nIf-Match: *\r\n\r\n",
                              (int)setup.token_length[line], setup.line[line]));
}

static void write_request(connection_t *c, uint64_t number) {
    char body[512] = "";
    char key[64] = "";
    int body_length = 0;
    const char *method = "GET";
    char path[64] = "/api/v1/cart";
    uint64_t user = setup.pattern == FILL ? number / 3 : random_u64() % setup.users;
    if (setup.pattern == FILL && number % 3 == 0) {
        method = "PATCH";
        body_length = snprintf(body, sizeof(body), "{\"changes\":[");
        for (unsigned i = 0; i < 5; i++) {
            body_length += snprintf(body + body_length, sizeof(body) - (size_t)body_length,
                                    "%s{\"op\":\"set\",\"book\":%llu,\"quantity\":2}", i ? "," : "",
                                    (unsigned long long)book_of(user, i));
        }
        body_length += snprintf(body + body_length, sizeof(body) - (size_t)body_length, "]}");
    } else if (setup.pattern == CHANGE) {
        uint64_t draw = random_u64();
        method = "PUT";
        (void)snprintf(path, sizeof(path), "/api/v1/cart/lines/%llu",
                       (unsigned long long)book_of(user, (unsigned)(draw % 5)));
        body_length = snprintf(body, sizeof(body), "{\"quantity\":%llu}", (unsigned long long)(1 + draw / 5 % 90));
        if (setup.keyed) {
            (void)snprintf(key, sizeof(key), "Idempotency-Key: %016llx\r\n", (unsigned long long)random_u64());
        }
    }
    char length[64] = "";
    if (body_length > 0) {
        (void)snprintf(length, sizeof(length), "Content-Type: application/json\r\nContent-Length: %d\r\n", body_length);
    }
    int written =
        snprintf(c->out, sizeof(c->out), "%s %s HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer %.*s\r\n%s%s\r\n%s",
                 method, path, (int)setup.token_length[user], setup.line[user], key, length, body);
    begin_request(c, written);
}

static bool open_connection(connection_t *c, int poll, unsigned index) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)setup.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0) return false;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* a slower run, not a wrong one */
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
    return fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0 && epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event) == 0;
}

static bool push(connection_t *c) {
    while (c->sent < c->length) {
        ssize_t n = send(c->fd, c->out + c->sent, c->length - c->sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN; /* requests are far smaller than a socket buffer */
        c->sent += (size_t)n;
    }
    return true;
}

/* 1: a whole answer was taken, 0: more to come, −1: broken. */
static int pull(connection_t *c) {
    ssize_t n = recv(c->fd, c->in + c->have, sizeof(c->in) - 1 - c->have, 0);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) return -1;
    c->have += (size_t)n;
    c->in[c->have] = '\0';
    char *end = strstr(c->in, "\r\n\r\n");
    if (end == NULL) return 0;
    int status = atoi(c->in + 9);
    size_t body = 0;
    char *field = strcasestr(c->in, "\r\ncontent-length:");
    if (field != NULL && field < end) body = strtoul(field + 17, NULL, 10);
    if (c->have < (size_t)(end + 4 - c->in) + body) return 0;
    if (status > 0 && status < 600) seen.by_status[status]++;
    if (status != 200 && status != 304) seen.errors++;
    return 1;
}

static void finish(connection_t *c, uint64_t at_us) {
    uint64_t us = at_us - c->scheduled_us;
    unsigned bucket = bucket_of(us);
    seen.histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    if (us > seen.max_us) seen.max_us = us;
    seen.done++;
    c->busy = false;
}

static int run(void) {
    static connection_t connections[CONNECTIONS_MAX];
    int poll = epoll_create1(0);
    if (poll < 0) return 1;
    for (unsigned i = 0; i < setup.connections; i++) {
        if (!open_connection(&connections[i], poll, i)) {
            perror("connect");
            return 1;
        }
    }
    uint64_t start = now_us();
    uint64_t end = setup.seconds ? start + setup.seconds * 1000000 : UINT64_MAX;
    uint64_t total = setup.count ? setup.count : UINT64_MAX;
    unsigned busy = 0, turn = 0;
    for (;;) {
        uint64_t now = now_us();
        bool over = now >= end || seen.issued >= total;
        if (over && busy == 0) break;
        if (now > end && now - end > 10000000) break; /* what is not answered 10 s after the end is an error */
        unsigned looked = 0;
        while (!over && busy < setup.connections && seen.issued < total && looked < setup.connections) {
            uint64_t due = setup.rate ? start + seen.issued * 1000000 / setup.rate : now;
            if (due > now) break;
            connection_t *c = &connections[turn++ % setup.connections];
            looked++;
            if (c->busy) continue;
            c->scheduled_us = due;
            if (setup.pattern == GET) {
                write_get(c);
            } else {
                write_request(c, seen.issued);
            }
            busy++;
            if (!push(c)) return 1;
        }
        /* Until the next request is due, not longer and not in a busy loop: the client shares its cores with the server. */
        struct timespec wait = {.tv_sec = 0, .tv_nsec = 100000000};
        if (setup.rate && !over && busy < setup.connections && seen.issued < total) {
            uint64_t due = start + seen.issued * 1000000 / setup.rate;
            uint64_t until_us = due > now_us() ? due - now_us() : 0;
            wait =
                (struct timespec){.tv_sec = (time_t)(until_us / 1000000), .tv_nsec = (long)(until_us % 1000000) * 1000};
        }
        struct epoll_event events[256];
        int ready = epoll_pwait2(poll, events, 256, &wait, NULL);
        uint64_t at = now_us();
        for (int i = 0; i < ready; i++) {
            connection_t *c = &connections[events[i].data.u32];
            int result = pull(c);
            if (result < 0) {
                fprintf(stderr, "a connection was closed\n");
                return 1;
            }
            if (result == 0) continue;
            finish(c, at);
            busy--;
        }
    }
    double seconds = (double)(now_us() - start) / 1e6;
    printf("{\"requests\":%llu,\"seconds\":%.3f,\"rate\":%.1f,\"errors\":%llu,\"p50_us\":%llu,\"p99_us\":%llu,\"p999_"
           "us\":%llu,"
           "\"max_us\":%llu,\"unanswered\":%u,\"statuses\":{",
           (unsigned long long)seen.done, seconds, (double)seen.done / seconds, (unsigned long long)seen.errors,
           (unsigned long long)percentile(0.5), (unsigned long long)percentile(0.99),
           (unsigned long long)percentile(0.999), (unsigned long long)seen.max_us, busy);
    bool first = true;
    for (int s = 0; s < 600; s++) {
        if (seen.by_status[s] == 0) continue;
        printf("%s\"%d\":%llu", first ? "" : ",", s, (unsigned long long)seen.by_status[s]);
        first = false;
    }
    printf("}}\n");
    return 0;
}

static bool load_tokens(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) return false;
    setup.tokens = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd); /* the mapping stays */
    if (setup.tokens == MAP_FAILED) return false;
    setup.line = calloc(setup.users, sizeof(*setup.line));
    setup.token_length = calloc(setup.users, sizeof(*setup.token_length));
    if (setup.line == NULL || setup.token_length == NULL) return false;
    const char *at = setup.tokens, *end = setup.tokens + info.st_size;
    for (uint64_t i = 0; i < setup.users; i++) {
        const char *space = at < end ? memchr(at, ' ', (size_t)(end - at)) : NULL;
        const char *newline = space == NULL ? NULL : memchr(space, '\n', (size_t)(end - space));
        if (newline == NULL) return false;
        setup.line[i] = space + 1;
        setup.token_length[i] = (unsigned)(newline - space - 1);
        at = newline + 1;
    }
    return true;
}

int main(int argc, char **argv) {
    setup.connections = 64;
    setup.users = 1000;
    setup.books = 10000;
    setup.random = 42;
    const char *tokens = "";
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--keyed") == 0) {
            setup.keyed = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : "";
        uint64_t number = strtoull(value, NULL, 10);
        if (strcmp(name, "--port") == 0)
            setup.port = (int)number;
        else if (strcmp(name, "--tokens") == 0)
            tokens = value;
        else if (strcmp(name, "--users") == 0)
            setup.users = number;
        else if (strcmp(name, "--connections") == 0)
            setup.connections = (unsigned)number;
        else if (strcmp(name, "--rate") == 0)
            setup.rate = number;
        else if (strcmp(name, "--seconds") == 0)
            setup.seconds = number;
        else if (strcmp(name, "--count") == 0)
            setup.count = number;
        else if (strcmp(name, "--books") == 0)
            setup.books = number;
        else if (strcmp(name, "--seed") == 0)
            setup.random = number;
        else if (strcmp(name, "--pattern") == 0) {
            setup.pattern = strcmp(value, "read") == 0     ? READ
                            : strcmp(value, "change") == 0 ? CHANGE
                            : strcmp(value, "get") == 0    ? GET
                                                           : FILL;
        } else {
            fprintf(stderr, "unknown option %s; see the top of bench/load.c\n", name);
            return 2;
        }
    }
    if (setup.pattern == FILL) setup.count = setup.users * 3;
    bool bounded = setup.seconds != 0 || setup.count != 0;
    if (setup.connections == 0 || setup.connections > CONNECTIONS_MAX || setup.users == 0 || setup.books == 0 ||
        !bounded) {
        fprintf(stderr, "connections 1…%d, users and books over 0, --seconds or --count\n", CONNECTIONS_MAX);
        return 2;
    }
    if (!load_tokens(tokens)) {
        fprintf(stderr, "%s: not %llu tokens\n", tokens, (unsigned long long)setup.users);
        return 1;
    }
    return run();
}
