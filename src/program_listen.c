/* Listening sockets of the supervisor, and the question whether something behind an address is ready. */
#include "program.h"

#include "platform/bc_time.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BIND_WAIT_MS     5000
#define LISTEN_BACKLOG   511 /* as nginx's own */
#define PROBE_TIMEOUT_MS 500

static socklen_t make_address(const bc_listen_t *at, struct sockaddr_storage *storage) {
    memset(storage, 0, sizeof(*storage));
    if (at->is_unix) {
        struct sockaddr_un *address = (struct sockaddr_un *)storage;
        address->sun_family = AF_UNIX;
        assert(strlen(at->address) < sizeof(address->sun_path)); /* bc_listen_parse looked */
        memcpy(address->sun_path, at->address, strlen(at->address) + 1);
        return sizeof(*address);
    }
    struct sockaddr_in *four = (struct sockaddr_in *)storage;
    if (inet_pton(AF_INET, at->address, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(at->port);
        return sizeof(*four);
    }
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)storage;
    int parsed = inet_pton(AF_INET6, at->address, &six->sin6_addr);
    assert(parsed == 1); /* bc_listen_parse looked */
    (void)parsed;        /* read by the assertion only */
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(at->port);
    return sizeof(*six);
}

/* The descriptor, or -1 with errno. */
static int bind_address(const bc_listen_t *at) {
    struct sockaddr_storage storage;
    socklen_t length = make_address(at, &storage);
    const int yes = 1;
    if (at->is_unix) (void)unlink(at->address); /* a dead owner's: the data folder's lock is ours */
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0) goto failed;
    if (storage.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes)) != 0) goto failed;
    if (bind(fd, (struct sockaddr *)&storage, length) != 0 || listen(fd, LISTEN_BACKLOG) != 0) goto failed;
    return fd;
failed:;
    int error = errno;
    (void)close(fd); /* nothing was written to it */
    errno = error;
    return -1;
}

/* The bound address, as nginx writes it. */
static void name_address(int fd, const bc_listen_t *at, char address[PROGRAM_ADDRESS]) {
    if (at->is_unix) {
        (void)snprintf(address, PROGRAM_ADDRESS, "unix:%s", at->address); /* fits: 107 bytes at most */
        return;
    }
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound = {.v6 = {0}};
    socklen_t length = sizeof(bound);
    uint16_t port = at->port;
    if (getsockname(fd, &bound.any, &length) == 0) {
        port = ntohs(bound.any.sa_family == AF_INET ? bound.v4.sin_port : bound.v6.sin6_port);
    }
    const char *open = strchr(at->address, ':') != NULL ? "[" : "";
    (void)snprintf(address, PROGRAM_ADDRESS, "%s%s%s:%u", open, at->address, open[0] == '\0' ? "" : "]", port);
}

int program_listen(const char *who, const char *text, char address[PROGRAM_ADDRESS]) {
    bc_listen_t at;
    if (!bc_listen_parse(text, &at)) {
        program_event(who, "%s is no address", text);
        return -1;
    }
    int64_t until = bc_monotonic_ms() + BIND_WAIT_MS;
    bool said = false;
    int fd;
    while ((fd = bind_address(&at)) < 0) {
        if (errno != EADDRINUSE || bc_monotonic_ms() >= until) {
            program_event(who, "cannot listen on %s: %s", text, strerror(errno));
            return -1;
        }
        if (!said) program_event(who, "%s is in use, waiting", text);
        said = true;
        (void)usleep(20000); /* interrupted: tries earlier */
    }
    name_address(fd, &at, address);
    return fd;
}

bool program_probe(const char *address) {
    static const char request[] = "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n";
    const struct timeval timeout = {.tv_usec = PROBE_TIMEOUT_MS * 1000};
    bc_listen_t at;
    if (!bc_listen_parse(address, &at)) return false;
    struct sockaddr_storage storage;
    socklen_t length = make_address(&at, &storage);
    char head[13] = "";
    size_t got = 0;
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0 &&
        connect(fd, (struct sockaddr *)&storage, length) == 0 &&
        send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(request) - 1) {
        while (got < sizeof(head) - 1) {
            ssize_t n = recv(fd, head + got, sizeof(head) - 1 - got, 0);
            if (n <= 0) break;
            got += (size_t)n;
        }
    }
    (void)close(fd); /* nothing more is wanted of it */
    return got == sizeof(head) - 1 && strncmp(head, "HTTP/1.", 7) == 0 && strcmp(head + 8, " 200") == 0;
}
