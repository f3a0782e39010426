/*
 * The link's sockets: listening, who may connect, bytes in and out. What the bytes mean is the hub's.
 *
 * A unix socket is 0660 and its peer must be our own user, root, or BOOKCART_CART_EDGE_USER. TCP is for loopback alone:
 * off it the link would need mutual TLS, which is not in this build, so such a listener is refused at start.
 */
#include "services/cart/cart_service_state.h"

#include "platform/bc_log.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG    64
#define READ_BYTES (256 * 1024)
#define READS_MAX  4 /* reads of one link in one turn, so that one edge does not keep the others waiting */

/* ---- listening ------------------------------------------------------------------------------------------------------- */

static bool fail(const char *listen, const char *why) {
    bc_log(BC_LOG_ERROR, "link-not-listening", bc_f_text("listen", listen), bc_f_text("reason", why));
    return false;
}

static bool find_edge_user(cart_service_t *service, gid_t *group) {
    const char *name = bc_config_text(service->config, BC_CART_EDGE_USER);
    service->edge_uid = (uid_t)-1;
    *group = (gid_t)-1;
    if (name[0] == '\0') return true;
    const struct passwd *user = getpwnam(name); /* at start, before there is a second thread of ours that asks */
    if (user == NULL) return fail(name, "BOOKCART_CART_EDGE_USER: there is no such user");
    service->edge_uid = user->pw_uid;
    *group = user->pw_gid;
    return true;
}

static int listen_unix(const cart_service_t *service, const char *path, gid_t group) {
    (void)service; /* symmetry with listen_tcp */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    (void)unlink(path); /* of a dead owner: we hold the service's lock */
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || chmod(path, 0660) != 0 ||
        (group != (gid_t)-1 && geteuid() == 0 && chown(path, (uid_t)-1, group) != 0) || listen(fd, BACKLOG) != 0) {
        int error = errno;
        (void)close(fd);
        return -error;
    }
    return fd;
}

static int listen_tcp(const bc_listen_t *listener) {
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(listener->port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(listener->port)};
    bool is_v6 = inet_pton(AF_INET6, listener->address, &v6.sin6_addr) == 1;
    if (!is_v6 && inet_pton(AF_INET, listener->address, &v4.sin_addr) != 1) return -EINVAL;
    int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int on = 1;
    int bound = -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0) {
        bound = is_v6 ? bind(fd, (const struct sockaddr *)&v6, sizeof v6)
                      : bind(fd, (const struct sockaddr *)&v4, sizeof v4);
    }
    if (bound != 0 || listen(fd, BACKLOG) != 0) {
        int error = errno;
        (void)close(fd);
        return -error;
    }
    return fd;
}

bool cart_service_listen(cart_service_t *service) {
    const char *text = bc_config_text(service->config, BC_CART_LINK);
    bc_listen_t listener;
    gid_t group;
    if (!bc_listen_parse(text, &listener)) return fail(text, "neither unix:/path nor ADDR:PORT");
    if (!bc_listen_is_loopback(&listener)) {
        return fail(text, "off loopback the link needs mutual TLS, which is not in this build: use unix: or 127.0.0.1");
    }
    if (!find_edge_user(service, &group)) return false;
    service->listener_is_unix = listener.is_unix;
    int fd = listener.is_unix ? listen_unix(service, listener.address, group) : listen_tcp(&listener);
    if (fd < 0) return fail(text, strerror(-fd));
    service->listener = fd;
    bc_log(BC_LOG_INFO, "link-listening", bc_f_text("listen", text));
    return true;
}

/* ---- connections ----------------------------------------------------------------------------------------------------- */

conn_t *cart_service_conn(cart_service_t *service, cart_link_t link) {
    for (unsigned i = 0; i < CART_HUB_LINKS_MAX; i++) {
        if (service->conns[i].link == link) return &service->conns[i];
    }
    return NULL;
}

static bool may_connect(const cart_service_t *service, int fd) {
    if (!service->listener_is_unix) return true;
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return false;
    if (peer.uid == geteuid() || peer.uid == 0) return true;
    return service->edge_uid != (uid_t)-1 && peer.uid == service->edge_uid;
}

static bool watch(const cart_service_t *service, const conn_t *conn, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)(conn - service->conns)};
    return epoll_ctl(service->epoll, operation, conn->fd, &event) == 0;
}

static void accept_one(cart_service_t *service, int fd) {
    if (!may_connect(service, fd)) {
        bc_log(BC_LOG_WARN, "link-refused", bc_f_text("reason", "the peer is another user"));
        (void)close(fd);
        return;
    }
    conn_t *conn = cart_service_conn(service, 0);
    cart_link_t link = conn == NULL ? 0 : cart_hub_opened(service->hub, service->now_ms);
    if (link == 0) {
        bc_log(BC_LOG_WARN, "link-refused", bc_f_text("reason", "too many links"));
        (void)close(fd);
        return;
    }
    int on = 1;
    if (!service->listener_is_unix) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* slower without it, not wrong */
    }
    *conn = (conn_t){.link = link, .fd = fd};
    if (!watch(service, conn, EPOLL_CTL_ADD, EPOLLIN)) cart_service_close_conn(service, conn);
}

void cart_service_accept(cart_service_t *service) {
    for (;;) {
        int fd = accept4(service->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return; /* none left, or none to be had: the next turn tries again */
        accept_one(service, fd);
    }
}

void cart_service_close_conn(cart_service_t *service, conn_t *conn) {
    assert(conn->link != 0);
    cart_link_t link = conn->link;
    (void)close(conn->fd); /* takes it out of the epoll set as well */
    *conn = (conn_t){.fd = -1};
    cart_hub_closed(service->hub, link, service->now_ms);
}

void cart_service_read(cart_service_t *service, conn_t *conn) {
    static uint8_t bytes[READ_BYTES]; /* the loop is one thread; its frames are used before the next read */
    for (unsigned i = 0; i < READS_MAX; i++) {
        ssize_t length = recv(conn->fd, bytes, sizeof bytes, 0);
        if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (length <= 0 || !cart_hub_received(service->hub, conn->link, bytes, (size_t)length, service->now_ms)) {
            cart_service_close_conn(service, conn);
            return;
        }
        if ((size_t)length < sizeof bytes) return;
    }
}

/* False: the connection was closed. */
static bool write_some(cart_service_t *service, conn_t *conn) {
    const uint8_t *bytes = NULL;
    size_t length;
    while ((length = cart_hub_output(service->hub, conn->link, &bytes)) > 0) {
        ssize_t sent = send(conn->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN) {
            cart_service_close_conn(service, conn);
            return false;
        }
        if (sent < 0) break;
        cart_hub_sent(service->hub, conn->link, (size_t)sent);
    }
    bool waits = length > 0;
    if (waits == conn->waits_to_write) return true;
    conn->waits_to_write = waits;
    if (!watch(service, conn, EPOLL_CTL_MOD, waits ? EPOLLIN | EPOLLOUT : EPOLLIN)) {
        cart_service_close_conn(service, conn);
        return false;
    }
    return true;
}

void cart_service_write(cart_service_t *service, conn_t *conn) {
    (void)write_some(service, conn); /* closed or not, there is nothing more to do for it here */
}

void cart_service_flush(cart_service_t *service) {
    bool close_it = false;
    cart_link_t link;
    while ((link = cart_hub_next_ready(service->hub, &close_it)) != 0) {
        conn_t *conn = cart_service_conn(service, link);
        if (conn == NULL) continue;
        if (write_some(service, conn) && close_it) cart_service_close_conn(service, conn);
    }
}
