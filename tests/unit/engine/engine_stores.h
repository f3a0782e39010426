/*
 * A commit point and a base for tests of the engine: results come when, in the order and with the outcome that the test
 * says. Users are numbers (id_of). One world a test, in `w`.
 */
#ifndef ENGINE_STORES_H
#define ENGINE_STORES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cart/cart_image.h"
#include "engine/engine.h"

#define USERS   512
#define ANSWERS 4096
#define NOW_MS  UINT64_C(1790000000000)

typedef struct {
    bool exists;
    cart_place_t place;
    cart_image_t image;
    uint8_t *rings;
    uint32_t rings_length;
} row_t;

typedef struct {
    uint64_t cookie;
    char kind; /* 'd'one, 'c'art, 'm'erged */
    cart_verdict_t verdict;
    bool has_image;
    cart_image_t image;
    cart_merge_line_t lines[CART_LINES_MAX];
    unsigned line_count;
    bool repeated;
} answer_t;

typedef struct {
    commit_set_t set; /* pointers owned */
} record_t;

typedef struct {
    engine_t *engine;
    commit_point_t commit;
    base_t base;
    commit_point_owner_t commit_owner;
    base_owner_t base_owner;
    uint64_t now_ms;
    uint64_t epoch, floor;

    const commit_set_t *sets;
    unsigned set_count;
    bool refuses_commit, recovering;
    cart_id_t commit_loads[USERS];
    unsigned commit_load_count;
    record_t *records;
    size_t record_count, record_capacity;
    cart_place_t forgotten[USERS];
    unsigned forgets;

    row_t rows[USERS];
    cart_id_t loads[USERS];
    unsigned load_count, load_calls;
    const base_save_t *saves;
    unsigned save_count;
    bool refuses_load;
    cart_id_t purged[USERS];
    unsigned purged_count;
    uint64_t asked_since_s;

    answer_t answers[ANSWERS];
    unsigned answer_count;
    unsigned changed_count, given_up_count;
    cart_image_t changed_image;
    bool revoked, unvouched, no_books, subscribed;
    bool keep_records; /* for a restart */
    unsigned alerts;
} world_t;

static world_t *w;

static inline cart_id_t id_of(unsigned user) {
    cart_id_t id = {{0}};
    uint64_t mixed = (user + 1) * UINT64_C(0x9e3779b97f4a7c15);
    memcpy(id.bytes, &mixed, sizeof mixed);
    id.bytes[14] = (uint8_t)(user >> 8);
    id.bytes[15] = (uint8_t)user;
    return id;
}

static inline unsigned user_of(const cart_id_t *id) {
    return (unsigned)id->bytes[14] << 8 | id->bytes[15];
}

/* ---- commit point ------------------------------------------------------------------------------------------------ */

static inline void commit_set_owner(void *state, const commit_point_owner_t *owner) {
    (void)state;
    w->commit_owner = *owner;
}

static inline bool commit_start(void *state, const commit_set_t *sets, unsigned count, uint64_t now_ms) {
    (void)state;
    (void)now_ms;
    if (w->refuses_commit || w->recovering) return false;
    assert_null(w->sets);
    w->sets = sets;
    w->set_count = count;
    return true;
}

static inline bool commit_load(void *state, const cart_id_t *users, unsigned count, uint64_t now_ms) {
    (void)state;
    (void)now_ms;
    if (w->commit_load_count + count > USERS) return false;
    memcpy(w->commit_loads + w->commit_load_count, users, count * sizeof *users);
    w->commit_load_count += count;
    return true;
}

static inline void commit_forget(void *state, const commit_forget_t *carts, unsigned count) {
    (void)state;
    for (unsigned i = 0; i < count; i++) {
        unsigned user = user_of(&carts[i].user);
        w->forgets++;
        /* Only what the base holds may be forgotten (rule 2). */
        assert_true(w->rows[user].exists);
        assert_true(cart_place_compare(w->rows[user].place, carts[i].place) >= 0);
        if (cart_place_compare(w->forgotten[user], carts[i].place) < 0) w->forgotten[user] = carts[i].place;
    }
}

static inline void commit_room(void *state, commit_room_t *room, uint64_t now_ms) {
    (void)state;
    (void)now_ms;
    *room = (commit_room_t){.accepts = !w->recovering, .recovering = w->recovering};
}

static inline void keep_record(const commit_set_t *set) {
    if (!w->keep_records) return;
    if (w->record_count == w->record_capacity) {
        w->record_capacity = w->record_capacity * 2 + 64;
        w->records = realloc(w->records, w->record_capacity * sizeof *w->records);
        assert_non_null(w->records);
    }
    record_t *record = &w->records[w->record_count++];
    record->set = *set;
    uint8_t *image = malloc(set->image_length);
    cart_recent_id_t *added = malloc((set->added_count + 1) * sizeof *added);
    assert_non_null(image);
    assert_non_null(added);
    memcpy(image, set->image, set->image_length);
    if (set->added_count > 0) memcpy(added, set->added, set->added_count * sizeof *added);
    record->set.image = image;
    record->set.added = added;
}

static inline void finish_commit(commit_result_t result, const commit_loaded_t *newer) {
    assert_non_null(w->sets);
    unsigned count = w->set_count;
    commit_result_t *results = calloc(count, sizeof *results);
    assert_non_null(results);
    for (unsigned i = 0; i < count; i++) {
        results[i] = result;
        if (result == COMMIT_DONE) keep_record(&w->sets[i]);
    }
    w->sets = NULL;
    w->set_count = 0;
    w->commit_owner.committed(w->commit_owner.context, results, newer, count);
    free(results);
}

static inline void finish_commit_loads(commit_load_result_t result, const uint8_t *image, uint32_t image_length,
                                       const uint8_t *rings, uint32_t rings_length) {
    unsigned count = w->commit_load_count;
    w->commit_load_count = 0;
    for (unsigned i = 0; i < count; i++) {
        commit_loaded_t one = {.user = w->commit_loads[i],
                               .result = result,
                               .image = image,
                               .image_length = image_length,
                               .rings = rings,
                               .rings_length = rings_length};
        w->commit_owner.loaded(w->commit_owner.context, &one, 1);
    }
}

/* ---- base -------------------------------------------------------------------------------------------------------- */

static inline void base_set_owner(void *state, const base_owner_t *owner) {
    (void)state;
    w->base_owner = *owner;
}

static inline bool base_load(void *state, const cart_id_t *users, unsigned count) {
    (void)state;
    if (w->refuses_load || w->load_count + count > USERS) return false;
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < w->load_count; j++) assert_false(cart_id_equal(&w->loads[j], &users[i]));
        w->loads[w->load_count++] = users[i];
    }
    w->load_calls++;
    return true;
}

static inline bool base_save(void *state, const base_save_t *saves, unsigned count) {
    (void)state;
    assert_int_equal(w->save_count, 0);
    w->saves = saves;
    w->save_count = count;
    return true;
}

static inline bool base_find(void *state, uint64_t since_s, unsigned limit) {
    (void)state;
    (void)limit;
    w->asked_since_s = since_s;
    return true;
}

static inline bool base_purge(void *state, const cart_id_t *users, const cart_place_t *places, unsigned count) {
    (void)state;
    for (unsigned i = 0; i < count; i++) {
        w->purged[w->purged_count++] = users[i];
        row_t *row = &w->rows[user_of(&users[i])];
        if (!row->exists || cart_place_compare(row->place, places[i]) != 0) continue;
        row->exists = false;
        if (places[i].version > w->floor) w->floor = places[i].version;
    }
    return true;
}

static inline void base_status(void *state, base_status_t *status) {
    (void)state;
    *status = (base_status_t){.epoch = w->epoch, .floor = w->floor};
}

static inline void finish_loads(bool away) {
    cart_id_t users[USERS];
    unsigned count = w->load_count;
    memcpy(users, w->loads, count * sizeof *users);
    w->load_count = 0;
    for (unsigned i = 0; i < count; i++) {
        const row_t *row = &w->rows[user_of(&users[i])];
        uint8_t image[CART_IMAGE_PACKED_MAX];
        base_loaded_t one = {.user = users[i], .result = away ? BASE_LOAD_FAILED : BASE_NO_ROW};
        if (!away && row->exists) {
            one.result = BASE_ROW;
            one.place = row->place;
            one.image = image;
            one.image_length = (uint32_t)cart_image_pack(&row->image, image, sizeof image);
            one.rings = row->rings;
            one.rings_length = row->rings_length;
        }
        w->base_owner.loaded(w->base_owner.context, &one, 1);
    }
}

static inline void put_row(unsigned user, const cart_image_t *image, const uint8_t *rings, uint32_t rings_length) {
    row_t *row = &w->rows[user];
    uint8_t *copy = malloc(rings_length + 1);
    assert_non_null(copy);
    if (rings_length > 0) memcpy(copy, rings, rings_length);
    free(row->rings);
    row->exists = true;
    row->image = *image;
    row->place = image->place;
    row->rings = copy;
    row->rings_length = rings_length;
}

static inline void finish_save(bool away) {
    unsigned count = w->save_count;
    assert_int_not_equal(count, 0);
    cart_id_t *users = calloc(count, sizeof *users);
    cart_place_t *places = calloc(count, sizeof *places);
    base_save_result_t *results = calloc(count, sizeof *results);
    assert_true(users != NULL && places != NULL && results != NULL);
    for (unsigned i = 0; i < count; i++) {
        const base_save_t *save = &w->saves[i];
        row_t *row = &w->rows[user_of(&save->user)];
        users[i] = save->user;
        places[i] = save->place;
        cart_place_t present = row->exists ? row->place : (cart_place_t){0, 0};
        if (away) {
            results[i] = BASE_FAILED;
        } else if (cart_place_compare(present, save->place) == 0) {
            results[i] = BASE_SAVED;
        } else if (cart_place_compare(present, save->expected) != 0) {
            results[i] = BASE_FORK;
        } else {
            cart_image_t image;
            assert_true(cart_image_unpack(save->image, save->image_length, &image));
            assert_true(cart_recent_check(save->rings, save->rings_length));
            put_row(user_of(&save->user), &image, save->rings, save->rings_length);
            results[i] = BASE_SAVED;
        }
    }
    w->save_count = 0;
    w->base_owner.saved(w->base_owner.context, users, places, results, count);
    free(users);
    free(places);
    free(results);
}

static inline void nothing_base(void *state) {
    (void)state;
}
static inline void nothing_commit(void *state, uint64_t now_ms) {
    (void)state;
    (void)now_ms;
}
static inline int no_fd(void *state) {
    (void)state;
    return -1;
}

/* ---- owner ------------------------------------------------------------------------------------------------------- */

static inline void note_answer(char kind, const engine_origin_t *origin, const cart_verdict_t *verdict,
                               const cart_image_t *image, const engine_merge_report_t *report) {
    answer_t *answer = &w->answers[w->answer_count++ % ANSWERS];
    memset(answer, 0, sizeof *answer);
    answer->kind = kind;
    answer->cookie = (uint64_t)(uintptr_t)origin->internal;
    answer->verdict = *verdict;
    answer->has_image = image != NULL;
    if (image != NULL) cart_image_copy(&answer->image, image);
    if (report == NULL) return;
    answer->line_count = report->line_count;
    answer->repeated = report->repeated;
    if (report->line_count > 0) memcpy(answer->lines, report->lines, report->line_count * sizeof *report->lines);
}

static inline void on_done(void *context, const engine_origin_t *origin, const cart_id_t *user,
                           const cart_verdict_t *verdict, const cart_image_t *image) {
    (void)context;
    (void)user;
    note_answer('d', origin, verdict, image, NULL);
}

static inline void on_cart(void *context, const engine_origin_t *origin, const cart_id_t *user,
                           const cart_verdict_t *verdict, const cart_image_t *image) {
    (void)context;
    (void)user;
    note_answer('c', origin, verdict, image, NULL);
}

static inline void on_merged(void *context, const engine_origin_t *origin, const cart_verdict_t *verdict,
                             const cart_image_t *image, const engine_merge_report_t *report) {
    (void)context;
    note_answer('m', origin, verdict, image, report);
}

static inline void on_changed(void *context, const cart_id_t *user, const cart_image_t *image) {
    (void)context;
    (void)user;
    w->changed_count++;
    if (image == NULL)
        w->given_up_count++;
    else
        cart_image_copy(&w->changed_image, image);
}

static inline bool on_known_book(void *context, uint64_t book) {
    (void)context;
    return book < 1000000 && !w->no_books;
}
static inline bool on_books_ready(void *context) {
    (void)context;
    return !w->no_books;
}
static inline bool on_session_alive(void *context, const cart_id_t *user, const cart_id_t *session, uint64_t issued_s,
                                    bool *vouched) {
    (void)context;
    (void)user;
    (void)session;
    (void)issued_s;
    *vouched = !w->unvouched;
    return !w->revoked;
}
static inline bool on_is_subscribed(void *context, const cart_id_t *user) {
    (void)context;
    (void)user;
    return w->subscribed;
}
static inline void on_log(void *context, int level, const char *event, const char *detail) {
    (void)context;
    (void)event;
    (void)detail;
    w->alerts += level == 0;
}

/* ---- the world --------------------------------------------------------------------------------------------------- */

static inline engine_config_t default_config(void) {
    engine_config_t config = {.memory_bytes = 4 << 20,
                              .epoch = w->epoch,
                              .floor = w->floor,
                              .dirty_age_max_ms = 60000,
                              .calm_delay_ms = 1000,
                              .release_delay_ms = 100,
                              .batch_max = 64,
                              .seed = 7};
    cart_policy_defaults(&config.policy);
    return config;
}

static inline void start_engine(const engine_config_t *config) {
    w->commit = (commit_point_t){.set_owner = commit_set_owner,
                                 .commit = commit_start,
                                 .load = commit_load,
                                 .forget = commit_forget,
                                 .room = commit_room,
                                 .poll = nothing_commit,
                                 .fd = no_fd};
    w->base = (base_t){.set_owner = base_set_owner,
                       .load = base_load,
                       .save = base_save,
                       .find_purgeable = base_find,
                       .purge = base_purge,
                       .status = base_status,
                       .poll = nothing_base,
                       .fd = no_fd};
    static const engine_owner_t owner = {.done = on_done,
                                         .cart = on_cart,
                                         .merged = on_merged,
                                         .changed = on_changed,
                                         .known_book = on_known_book,
                                         .books_ready = on_books_ready,
                                         .session_alive = on_session_alive,
                                         .is_subscribed = on_is_subscribed,
                                         .log = on_log};
    w->engine = engine_create(config, &w->commit, &w->base, &owner);
    assert_non_null(w->engine);
}

static inline int world_setup(void **state) {
    w = calloc(1, sizeof *w);
    assert_non_null(w);
    *state = w;
    w->now_ms = NOW_MS;
    w->epoch = 1;
    engine_config_t config = default_config();
    start_engine(&config);
    return 0;
}

/* The journal has only its first `count` records. */
static inline void cut_records(size_t count) {
    for (size_t i = count; i < w->record_count; i++) {
        free((void *)(uintptr_t)w->records[i].set.image);
        free((void *)(uintptr_t)w->records[i].set.added);
    }
    w->record_count = count;
}

static inline int world_teardown(void **state) {
    (void)state;
    engine_destroy(w->engine);
    for (unsigned i = 0; i < USERS; i++) free(w->rows[i].rings);
    cut_records(0);
    free(w->records);
    free(w);
    return 0;
}

/* kill -9: only rows and records stay. */
static inline void restart(const engine_config_t *config) {
    engine_destroy(w->engine);
    w->sets = NULL;
    w->set_count = w->save_count = w->load_count = w->commit_load_count = 0;
    start_engine(config);
    for (size_t i = 0; i < w->record_count; i++) assert_true(engine_replay(w->engine, &w->records[i].set));
}

static inline void turn(void) {
    engine_turn(w->engine, w->now_ms);
    assert_true(engine_check(w->engine));
}

/* Everything that is under way ends well, until nothing is. */
static inline void settle(void) {
    for (unsigned i = 0; i < 64; i++) {
        turn();
        if (w->load_count > 0)
            finish_loads(false);
        else if (w->commit_load_count > 0)
            finish_commit_loads(COMMIT_LOAD_CONFIRMED, NULL, 0, NULL, 0);
        else if (w->sets != NULL)
            finish_commit(COMMIT_DONE, NULL);
        else if (w->save_count > 0)
            finish_save(false);
        else if (i > 1)
            return;
    }
}

static inline cart_request_t request_of(unsigned user, uint64_t id, bool keyed) {
    cart_request_t request = {.user = id_of(user), .keyed = keyed, .digest = id, .change_count = 1};
    memcpy(request.request_id, &id, sizeof id);
    request.changes[0] = (cart_change_t){.op = CART_ADD, .book = 7, .quantity = 1};
    return request;
}

static inline void send(const cart_request_t *request, uint64_t cookie) {
    engine_origin_t origin = {.link = {.link = 1}, .internal = (void *)(uintptr_t)cookie};
    assert_int_equal(engine_change(w->engine, &origin, request, w->now_ms + 5000), ENGINE_OK);
}

static inline void add(unsigned user, uint64_t id, uint64_t book, int quantity) {
    cart_request_t request = request_of(user, id, true);
    request.changes[0].book = book;
    request.changes[0].quantity = quantity;
    send(&request, id);
}

static inline void fetch(unsigned user, uint64_t cookie) {
    engine_origin_t origin = {.link = {.link = 1}, .internal = (void *)(uintptr_t)cookie};
    cart_id_t id = id_of(user);
    assert_int_equal(engine_fetch(w->engine, &origin, &id, &id, 1, w->now_ms + 5000), ENGINE_OK);
}

static inline void merge(unsigned guest, unsigned user, cart_merge_mode_t mode, uint64_t cookie) {
    engine_origin_t origin = {.internal = (void *)(uintptr_t)cookie};
    cart_id_t from = id_of(guest);
    cart_id_t to = id_of(user);
    assert_int_equal(engine_merge(w->engine, &origin, &from, &to, mode, w->now_ms + 5000), ENGINE_OK);
}

static inline const answer_t *last_answer(void) {
    assert_int_not_equal(w->answer_count, 0);
    return &w->answers[(w->answer_count - 1) % ANSWERS];
}

static inline const answer_t *answer_to(uint64_t cookie) {
    for (unsigned i = w->answer_count; i > 0 && i + ANSWERS > w->answer_count; i--) {
        if (w->answers[(i - 1) % ANSWERS].cookie == cookie) return &w->answers[(i - 1) % ANSWERS];
    }
    return NULL;
}

#endif
