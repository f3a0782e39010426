/* A commit point and a base that do at once what they are asked, for benches of the engine alone. */
#ifndef REPLAY_STORES_H
#define REPLAY_STORES_H

#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct {
    commit_point_owner_t commit_owner;
    base_owner_t base_owner;
    unsigned count; /* sets of the commit under way */
    cart_id_t loads[65536];
    unsigned load_count;
    const base_save_t *saves;
    unsigned save_count;
    uint64_t done, rows;
} stores_t;

static stores_t stores;

static void commit_set_owner(void *state, const commit_point_owner_t *owner) {
    (void)state;
    stores.commit_owner = *owner;
}
static bool commit_start(void *state, const commit_set_t *sets, unsigned count, uint64_t now_ms) {
    (void)state;
    (void)sets;
    (void)now_ms;
    stores.count = count;
    return true;
}
static bool commit_load(void *state, const cart_id_t *users, unsigned count, uint64_t now_ms) {
    (void)state;
    (void)users;
    (void)count;
    (void)now_ms;
    return false;
}
static void commit_forget(void *state, const commit_forget_t *carts, unsigned count) {
    (void)state;
    (void)carts;
    (void)count;
}
static void commit_room(void *state, commit_room_t *room, uint64_t now_ms) {
    (void)state;
    (void)now_ms;
    *room = (commit_room_t){.accepts = true};
}
static void commit_poll(void *state, uint64_t now_ms) {
    (void)state;
    (void)now_ms;
    static commit_result_t results[COMMIT_SETS_MAX];
    unsigned count = stores.count;
    if (count == 0) return;
    for (unsigned i = 0; i < count; i++) results[i] = COMMIT_DONE;
    stores.count = 0;
    stores.commit_owner.committed(stores.commit_owner.context, results, NULL, count);
}
static int no_fd(void *state) {
    (void)state;
    return -1;
}
static void nothing(void *state) {
    (void)state;
}

static void base_set_owner(void *state, const base_owner_t *owner) {
    (void)state;
    stores.base_owner = *owner;
}
static bool base_load(void *state, const cart_id_t *users, unsigned count) {
    (void)state;
    if (stores.load_count + count > 65536) return false;
    for (unsigned i = 0; i < count; i++) stores.loads[stores.load_count++] = users[i];
    return true;
}
static bool base_save(void *state, const base_save_t *saves, unsigned count) {
    (void)state;
    stores.saves = saves;
    stores.save_count = count;
    return true;
}
static bool base_find(void *state, uint64_t since_s, unsigned limit) {
    (void)state;
    (void)since_s;
    (void)limit;
    return false;
}
static bool base_purge(void *state, const cart_id_t *users, const cart_place_t *places, unsigned count) {
    (void)state;
    (void)users;
    (void)places;
    (void)count;
    return false;
}
static void base_status(void *state, base_status_t *status) {
    (void)state;
    *status = (base_status_t){.epoch = 1};
}
static void base_poll(void *state) {
    (void)state;
    unsigned count = stores.load_count;
    stores.load_count = 0;
    for (unsigned i = 0; i < count; i++) {
        base_loaded_t one = {.user = stores.loads[i], .result = BASE_NO_ROW};
        stores.base_owner.loaded(stores.base_owner.context, &one, 1);
    }
    static cart_id_t users[BASE_BATCH_MAX];
    static cart_place_t places[BASE_BATCH_MAX];
    static base_save_result_t results[BASE_BATCH_MAX];
    count = stores.save_count;
    stores.save_count = 0;
    if (count == 0) return;
    for (unsigned i = 0; i < count; i++) {
        users[i] = stores.saves[i].user;
        places[i] = stores.saves[i].place;
        results[i] = BASE_SAVED;
    }
    stores.rows += count;
    stores.base_owner.saved(stores.base_owner.context, users, places, results, count);
}

static commit_point_t bench_commit = {.set_owner = commit_set_owner,
                                      .commit = commit_start,
                                      .load = commit_load,
                                      .forget = commit_forget,
                                      .room = commit_room,
                                      .poll = commit_poll,
                                      .fd = no_fd};
static base_t bench_base = {.set_owner = base_set_owner,
                            .load = base_load,
                            .save = base_save,
                            .find_purgeable = base_find,
                            .purge = base_purge,
                            .status = base_status,
                            .poll = base_poll,
                            .fd = no_fd,
                            .destroy = nothing};

static void on_done(void *context, const engine_origin_t *origin, const cart_id_t *user, const cart_verdict_t *verdict,
                    const cart_image_t *image) {
    (void)context;
    (void)origin;
    (void)user;
    (void)image;
    stores.done += verdict->outcome == CART_APPLIED;
}
static void on_merged(void *context, const engine_origin_t *origin, const cart_verdict_t *verdict,
                      const cart_image_t *image, const engine_merge_report_t *report) {
    (void)context;
    (void)origin;
    (void)verdict;
    (void)image;
    (void)report;
}
static void on_changed(void *context, const cart_id_t *user, const cart_image_t *image) {
    (void)context;
    (void)user;
    (void)image;
}
static bool known_book(void *context, uint64_t book) {
    (void)context;
    return book > 0;
}
static bool session_alive(void *context, const cart_id_t *user, const cart_id_t *session, uint64_t issued_s,
                          bool *vouched) {
    (void)context;
    (void)user;
    (void)session;
    (void)issued_s;
    *vouched = true;
    return true;
}
static bool is_subscribed(void *context, const cart_id_t *user) {
    (void)context;
    (void)user;
    return false;
}
static void on_log(void *context, int level, const char *event, const char *detail) {
    (void)context;
    if (level < 2) (void)fprintf(stderr, "%s %s\n", event, detail);
}
static const engine_owner_t bench_owner = {.done = on_done,
                                           .cart = on_done,
                                           .merged = on_merged,
                                           .changed = on_changed,
                                           .known_book = known_book,
                                           .session_alive = session_alive,
                                           .is_subscribed = is_subscribed,
                                           .log = on_log};

static inline uint64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline cart_id_t id_of(uint64_t number) {
    cart_id_t id;
    uint64_t mixed = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
    memcpy(id.bytes, &mixed, 8);
    mixed ^= mixed >> 29;
    mixed *= UINT64_C(0xbf58476d1ce4e5b9);
    memcpy(id.bytes + 8, &mixed, 8);
    return id;
}

static inline cart_request_t request_of(uint64_t user, uint64_t number, bool keyed) {
    cart_request_t request;
    request.user = request.session = id_of(user);
    request.issued_s = 1;
    memset(request.request_id, 0, sizeof request.request_id);
    memcpy(request.request_id, &number, sizeof number);
    request.digest = number;
    request.keyed = keyed;
    request.condition = CART_IF_NONE;
    request.change_count = 1;
    request.changes[0] = (cart_change_t){.op = CART_SET, .book = 1 + number % 5, .quantity = 1 + (int)(number % 90)};
    return request;
}

#endif
