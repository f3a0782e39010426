/*
 * The loop: one thread on which hub and engine live. A turn:
 *
 *   sockets are read (requests reach the engine's queue) → results of commit point and base are taken (answers reach the
 *   hub) → the engine takes its turn (the next commit begins) → links are told → sockets are written
 *
 * So the next commit runs while answers of the last one are written, and all that came meanwhile makes the batch after.
 */
#include "services/cart/cart_service_state.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENT_LISTENER = CART_HUB_LINKS_MAX, EVENT_COMMIT, EVENT_BASE, EVENT_WAKE };

#define EVENTS_MAX   128
#define TURN_MS_MAX  100  /* the loop looks around at least this often */
#define STOP_MS_MAX  8000 /* for saving everything dirty; the journal keeps what is left */
#define BOOKS_MS_MAX 2000 /* that links wait for the list of books at start */
#define MEASURE_MS   1000

/* ---- what the engine asks of the service ----------------------------------------------------------------------------- */

static void engine_done(void *context, const engine_origin_t *origin, const cart_id_t *user,
                        const cart_verdict_t *verdict, const cart_image_t *image) {
    cart_service_t *service = context;
    if (origin->link.link != 0)
        cart_hub_done(service->hub, &origin->link, user, verdict, image);
    else
        cart_service_command_done(service, origin->internal, verdict, image, NULL);
}

static void engine_cart(void *context, const engine_origin_t *origin, const cart_id_t *user,
                        const cart_verdict_t *verdict, const cart_image_t *image) {
    cart_service_t *service = context;
    if (origin->link.link != 0)
        cart_hub_cart(service->hub, &origin->link, user, verdict, image);
    else
        cart_service_command_done(service, origin->internal, verdict, image, NULL);
}

static void engine_merged(void *context, const engine_origin_t *origin, const cart_verdict_t *verdict,
                          const cart_image_t *user_image, const engine_merge_report_t *report) {
    cart_service_command_done(context, origin->internal, verdict, user_image, report);
}

static void engine_changed(void *context, const cart_id_t *user, const cart_image_t *image) {
    cart_service_t *service = context;
    cart_hub_changed(service->hub, user, image);
}

static bool known_book(void *context, uint64_t book) {
    return cart_service_knows_book(context, book);
}

static bool books_ready(void *context) {
    const cart_service_t *service = context;
    return service->lists[LIST_BOOKS] != NULL;
}

static bool session_alive(void *context, const cart_id_t *user, const cart_id_t *session, uint64_t issued_s,
                          bool *vouched) {
    const cart_service_t *service = context;
    *vouched = service->vouched[LIST_REVOCATIONS];
    return *vouched && cart_service_is_alive(service, user, session, issued_s);
}

static bool is_subscribed(void *context, const cart_id_t *user) {
    const cart_service_t *service = context;
    return cart_hub_is_subscribed(service->hub, user);
}

static void log_line(void *context, int level, const char *event, const char *detail) {
    (void)context;
    static const bc_log_level_t levels[] = {BC_LOG_ALERT, BC_LOG_ERROR, BC_LOG_WARN, BC_LOG_INFO};
    bc_log(levels[level < 0 || level > 3 ? 1 : level], event, bc_f_text("detail", detail == NULL ? "" : detail));
}

const engine_owner_t cart_service_engine_owner = {.done = engine_done,
                                                  .cart = engine_cart,
                                                  .merged = engine_merged,
                                                  .changed = engine_changed,
                                                  .known_book = known_book,
                                                  .books_ready = books_ready,
                                                  .session_alive = session_alive,
                                                  .is_subscribed = is_subscribed,
                                                  .log = log_line};

/* ---- what the hub asks of the service -------------------------------------------------------------------------------- */

static bool hub_change(void *context, const cart_origin_t *origin, const cart_request_t *request,
                       uint64_t deadline_ms) {
    const cart_service_t *service = context;
    engine_origin_t from = {.link = *origin};
    return engine_change(service->engine, &from, request, deadline_ms) == ENGINE_OK;
}

static bool hub_fetch(void *context, const cart_origin_t *origin, const cart_id_t *user, const cart_id_t *session,
                      uint64_t issued_s, uint64_t deadline_ms) {
    const cart_service_t *service = context;
    engine_origin_t from = {.link = *origin};
    return engine_fetch(service->engine, &from, user, session, issued_s, deadline_ms) == ENGINE_OK;
}

static void hub_drop_link(void *context, cart_link_t link) {
    const cart_service_t *service = context;
    engine_drop_link(service->engine, link);
}

static void hub_released(void *context, const cart_id_t *user, uint64_t term) {
    const cart_service_t *service = context;
    engine_released(service->engine, user, term);
}

static void hub_ask_books(void *context, cart_link_t link, const uint64_t *books, unsigned count) {
    cart_service_ask_books(context, link, books, count);
}

static void hub_follow(void *context, cart_link_t link, uint64_t books_generation, uint64_t books_position,
                       uint64_t revocations_generation, uint64_t revocations_position) {
    cart_service_follow(context, link, books_generation, books_position, revocations_generation, revocations_position);
}

const cart_hub_engine_t cart_service_hub_engine = {.change = hub_change,
                                                   .fetch = hub_fetch,
                                                   .drop_link = hub_drop_link,
                                                   .released = hub_released,
                                                   .ask_books = hub_ask_books,
                                                   .follow = hub_follow,
                                                   .log = log_line};

/* ---- one turn -------------------------------------------------------------------------------------------------------- */

void cart_service_wake(cart_service_t *service) {
    uint64_t one = 1;
    ssize_t written = write(service->wake, &one, sizeof one);
    (void)written; /* fails only when the counter is at its maximum: it is readable then */
}

static void hear(cart_service_t *service, const struct epoll_event *event) {
    uint32_t what = event->data.u32;
    if (what < CART_HUB_LINKS_MAX) {
        conn_t *conn = &service->conns[what];
        if (conn->link != 0 && (event->events & EPOLLOUT) != 0) cart_service_write(service, conn);
        if (conn->link != 0 && (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) cart_service_read(service, conn);
    } else if (what == EVENT_LISTENER) {
        cart_service_accept(service);
    } else if (what == EVENT_WAKE) {
        uint64_t count;
        ssize_t got = read(service->wake, &count, sizeof count);
        (void)got; /* only empties it */
    }
}

static bool add(const cart_service_t *service, int fd, uint32_t what) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};
    return fd < 0 || epoll_ctl(service->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Links are taken once it is known which sessions have ended (rule 9), and books too unless the library is away. Until then
 * edges wait in the socket's backlog, usually some milliseconds, instead of being refused. */
static void open_link(cart_service_t *service) {
    if (service->link_is_open || service->lists[LIST_REVOCATIONS] == NULL || atomic_load(&service->stop)) return;
    if (service->lists[LIST_BOOKS] == NULL && service->now_ms < service->begun_ms + BOOKS_MS_MAX) return;
    service->link_is_open = add(service, service->listener, EVENT_LISTENER);
}

static int timeout_ms(const cart_service_t *service, uint32_t hub_ms) {
    uint32_t next_ms = engine_next_ms(service->engine, service->now_ms);
    if (hub_ms < next_ms) next_ms = hub_ms;
    return (int)(next_ms > TURN_MS_MAX ? TURN_MS_MAX : next_ms);
}

static void turn(cart_service_t *service, int wait_ms) {
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(service->epoll, events, EVENTS_MAX, wait_ms);
    if (count < 0) count = 0; /* interrupted */
    service->now_ms = (uint64_t)bc_monotonic_ms() + service->clock_offset_ms;
    for (int i = 0; i < count; i++) hear(service, &events[i]);
    cart_service_commands_take(service);
    cart_service_feeds_take(service);
    open_link(service);
    service->commit->poll(service->commit->state, service->now_ms);
    service->base->poll(service->base->state);
    engine_turn(service->engine, service->now_ms);
    cart_service_pump(service);
    if (service->now_ms >= service->measured_ms + MEASURE_MS) {
        service->measured_ms = service->now_ms;
        cart_service_measure(service);
    }
}

/* ---- the thread ------------------------------------------------------------------------------------------------------ */

/* No more requests; what is queued is committed and answered, everything dirty saved while time lasts. */
static void run_down(cart_service_t *service) {
    if (service->link_is_open) {
        (void)epoll_ctl(service->epoll, EPOLL_CTL_DEL, service->listener,
                        NULL); /* at worst one more link is accepted */
    }
    engine_stop(service->engine);
    uint64_t end_ms = service->now_ms + STOP_MS_MAX;
    bool is_idle = false;
    while (!is_idle && service->now_ms < end_ms) {
        turn(service, timeout_ms(service, TURN_MS_MAX));
        cart_service_flush(service);
        is_idle = engine_is_idle(service->engine);
    }
    engine_stats_t stats;
    engine_stats(service->engine, service->now_ms, &stats);
    bc_log(is_idle ? BC_LOG_INFO : BC_LOG_WARN, "engine-stopped", bc_f_int("unsaved", (int64_t)stats.dirty),
           bc_f_text("detail", stats.dirty == 0 ? "everything is in the base" : "the journal keeps what is unsaved"));
}

static void *run(void *argument) {
    cart_service_t *service = argument;
    uint32_t hub_ms = 0;
    while (!atomic_load(&service->stop)) {
        turn(service, timeout_ms(service, hub_ms));
        hub_ms = cart_hub_tick(service->hub, service->now_ms);
        cart_service_flush(service);
    }
    run_down(service);
    cart_service_commands_end(service);
    for (unsigned i = 0; i < CART_HUB_LINKS_MAX; i++) {
        if (service->conns[i].link != 0) cart_service_close_conn(service, &service->conns[i]);
    }
    return NULL;
}

bool cart_service_loop_start(cart_service_t *service) {
    service->epoll = epoll_create1(EPOLL_CLOEXEC);
    service->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (service->epoll < 0 || service->wake < 0) return false;
    if (!add(service, service->wake, EVENT_WAKE) ||
        !add(service, service->commit->fd(service->commit->state), EVENT_COMMIT) ||
        !add(service, service->base->fd(service->base->state), EVENT_BASE)) {
        return false;
    }
    if (pthread_create(&service->thread, NULL, run, service) != 0) return false;
    service->thread_started = true;
    return true;
}

void cart_service_loop_join(cart_service_t *service) {
    if (!service->thread_started) return;
    atomic_store(&service->stop, true);
    cart_service_wake(service);
    (void)pthread_join(service->thread, NULL); /* it is ours and joinable */
    service->thread_started = false;
}
