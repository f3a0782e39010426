/*
 * The SQLite base behind base.h: one thread that owns the connection (base_store.h), a queue in front of it.
 *
 * Who runs where: the functions of base_t on the engine's thread; work() and step_*() on the base's own thread, or, without
 * one (power-cut suite), on the caller's, at once (store_thread.h). All that both sides see is under its mutex; the store is touched
 * only by who works. Results wait under the mutex until poll().
 *
 * Order of work: a purge · loads, some at a time · a piece of the save (one transaction) · a search for purgeable rows · a
 * checkpoint that is due. So a load waits for one transaction of SAVE_STEP rows, or for one checkpoint of about
 * CHECKPOINT_PAGES pages, not for a whole batch.
 *
 *   here ──any error: disconnect──▶ away ──back-off, settle, open, checkpoint──▶ here
 * While away every save is BASE_FAILED and every load BASE_LOAD_FAILED, at once.
 */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base_store.h"
#include "engine/store_thread.h"

#define LOADS_MAX        16384 /* waiting; beyond, load() says false */
#define LOAD_STEP        128
#define SAVE_STEP        128
#define CHECKPOINT_PAGES 1000 /* of 4 KiB */
#define BACKOFF_FIRST_MS 50
#define BACKOFF_LAST_MS  5000

typedef struct answer answer_t;
struct answer {
    answer_t *next;
    base_loaded_t loaded; /* image and rings point into bytes */
    uint8_t bytes[];
};

typedef enum { SAVE_NONE, SAVE_WAITING, SAVE_READY } save_state_t;

typedef struct {
    base_t public;          /* state points back at this */
    base_store_t store;     /* who works */
    base_owner_t owner;     /* engine's thread */
    cart_id_t *saved_users; /* owned; BASE_BATCH_MAX each; for the call of saved() */
    cart_place_t *saved_places;
    int checkpoint_pages;
    unsigned backoff_ms; /* who works */

    store_thread_t thread; /* all below is under its mutex */
    cart_id_t *loads;      /* owned ring of LOADS_MAX */
    unsigned load_first, load_count;
    answer_t *answers, **answers_end; /* owned list */
    save_state_t save_state;
    const base_save_t *saves; /* borrowed until saved() */
    unsigned save_count, save_done;
    base_save_result_t *save_results; /* owned; BASE_BATCH_MAX */
    bool find_asked, found_ready;
    uint64_t find_since_s;
    unsigned find_limit, found;
    cart_id_t *found_users; /* owned; BASE_PURGE_MAX each */
    cart_place_t *found_places;
    cart_id_t *purge_users;
    cart_place_t *purge_places;
    unsigned purge_count;
    base_status_t status;
} base_sqlite_t;

/* ---- who works --------------------------------------------------------------------------------------------------- */

/* The store has failed: nothing is done on this connection any more. Under the mutex. */
static void leave(base_sqlite_t *base) {
    base->status.away = true;
    base->status.failures++;
    store_thread_note(&base->thread, 1, "base_away", base->store.error);
    (void)pthread_mutex_unlock(&base->thread.mutex);
    base_store_disconnect(&base->store);
    (void)pthread_mutex_lock(&base->thread.mutex);
}

/* Each step_ is entered and left with the mutex held, and lets go of it around the database. True: it did something. */
static bool step_purge(base_sqlite_t *base) {
    if (base->purge_count == 0) return false;
    bool done = false;
    bool away = base->status.away;
    unsigned count = base->purge_count;
    if (!away) {
        (void)pthread_mutex_unlock(&base->thread.mutex);
        done = base_store_purge(&base->store, base->purge_users, base->purge_places, count);
        (void)pthread_mutex_lock(&base->thread.mutex);
        if (done) base->status.floor = base->store.floor;
        if (done) base->status.commits++;
    }
    base->purge_count = 0;
    if (!away && !done) leave(base);
    return true;
}

static answer_t *answer_of(const base_loaded_t *loaded) {
    bool row = loaded->result == BASE_ROW;
    size_t bytes = row ? (size_t)loaded->image_length + loaded->rings_length : 0;
    answer_t *answer = malloc(sizeof(*answer) + bytes);
    if (answer == NULL) return NULL;
    answer->next = NULL;
    answer->loaded = *loaded;
    if (!row) return answer;
    if (loaded->image_length > 0) memcpy(answer->bytes, loaded->image, loaded->image_length);
    if (loaded->rings_length > 0) memcpy(answer->bytes + loaded->image_length, loaded->rings, loaded->rings_length);
    answer->loaded.image = answer->bytes;
    answer->loaded.rings = answer->bytes + loaded->image_length;
    return answer;
}

static bool step_loads(base_sqlite_t *base) {
    if (base->load_count == 0) return false;
    cart_id_t users[LOAD_STEP];
    unsigned count = base->load_count < LOAD_STEP ? base->load_count : LOAD_STEP;
    for (unsigned i = 0; i < count; i++) users[i] = base->loads[(base->load_first + i) % LOADS_MAX];
    bool good = !base->status.away;
    bool away = base->status.away;
    answer_t *first = NULL;
    answer_t **end = &first;
    unsigned made = 0;
    (void)pthread_mutex_unlock(&base->thread.mutex);
    for (; made < count; made++) {
        base_loaded_t loaded = {.user = users[made], .result = BASE_LOAD_FAILED};
        if (good) good = base_store_load(&base->store, &loaded);
        if (!good) loaded.result = BASE_LOAD_FAILED;
        answer_t *answer = answer_of(&loaded);
        if (answer == NULL) break; /* the rest stays in the queue */
        *end = answer;
        end = &answer->next;
    }
    (void)pthread_mutex_lock(&base->thread.mutex);
    base->load_first = (base->load_first + made) % LOADS_MAX;
    base->load_count -= made;
    base->status.rows_loaded += good ? made : 0;
    if (first != NULL) {
        *base->answers_end = first;
        base->answers_end = end;
        store_thread_wake_engine(&base->thread);
    }
    if (!good && !away) leave(base);
    return made > 0;
}

static bool step_save(base_sqlite_t *base) {
    if (base->save_state != SAVE_WAITING) return false;
    unsigned left = base->save_count - base->save_done;
    unsigned count = left < SAVE_STEP ? left : SAVE_STEP;
    const base_save_t *saves = base->saves + base->save_done;
    base_save_result_t *results = base->save_results + base->save_done;
    bool saved = false;
    bool away = base->status.away;
    if (!away) {
        (void)pthread_mutex_unlock(&base->thread.mutex);
        saved = base_store_save(&base->store, saves, count, results);
        (void)pthread_mutex_lock(&base->thread.mutex);
    }
    if (saved) {
        base->status.commits++;
        base->status.rows_saved += count;
    } else {
        for (unsigned i = 0; i < count; i++) results[i] = BASE_FAILED;
    }
    base->save_done += count;
    if (base->save_done == base->save_count) {
        base->save_state = SAVE_READY;
        store_thread_wake_engine(&base->thread);
    }
    if (!saved && !away) leave(base);
    return true;
}

static bool step_find(base_sqlite_t *base) {
    if (!base->find_asked || base->found_ready) return false;
    base->find_asked = false;
    if (base->status.away) return true;
    uint64_t since_s = base->find_since_s;
    unsigned limit = base->find_limit;
    (void)pthread_mutex_unlock(&base->thread.mutex);
    unsigned found = 0;
    bool good = base_store_find_purgeable(&base->store, since_s, limit, base->found_users, base->found_places, &found);
    (void)pthread_mutex_lock(&base->thread.mutex);
    if (!good) {
        leave(base);
    } else {
        base->found = found;
        base->found_ready = true;
        store_thread_wake_engine(&base->thread);
    }
    return true;
}

static bool step_checkpoint(base_sqlite_t *base) {
    if (base->status.away || base->store.wal_pages < base->checkpoint_pages) return false;
    (void)pthread_mutex_unlock(&base->thread.mutex);
    bool good = base_store_checkpoint(&base->store, false);
    (void)pthread_mutex_lock(&base->thread.mutex);
    if (good)
        base->status.checkpoints++;
    else
        leave(base);
    return true;
}

static void come_back(base_sqlite_t *base) {
    (void)pthread_mutex_unlock(&base->thread.mutex);
    base_open_t opened = base_store_connect(&base->store);
    (void)pthread_mutex_lock(&base->thread.mutex);
    if (opened == BASE_OPEN_OK) {
        base->backoff_ms = 0;
        base->status.away = false;
        base->status.floor = base->store.floor;
        base->status.checkpoints++;
        store_thread_note(&base->thread, 3, "base_back", "reopened and checkpointed");
        return;
    }
    base->backoff_ms = base->backoff_ms == 0 ? BACKOFF_FIRST_MS : base->backoff_ms * 2;
    if (base->backoff_ms > BACKOFF_LAST_MS) base->backoff_ms = BACKOFF_LAST_MS;
}

static bool step(base_sqlite_t *base) {
    return step_purge(base) || step_loads(base) || step_save(base) || step_find(base) || step_checkpoint(base);
}

static void *work(void *argument) {
    base_sqlite_t *base = argument;
    struct timespec try_again = {0};
    (void)pthread_mutex_lock(&base->thread.mutex);
    for (;;) {
        store_thread_rest(&base->thread);
        if (step(base)) continue;
        if (base->thread.stop) break;
        if (!base->status.away) {
            base->backoff_ms = 0;
            (void)pthread_cond_wait(&base->thread.work, &base->thread.mutex);
        } else if (base->backoff_ms == 0 || store_thread_is_over(&try_again)) {
            come_back(base);
            try_again = store_thread_after_ms(base->backoff_ms);
        } else {
            store_thread_wait_until(&base->thread, &try_again);
        }
    }
    (void)pthread_mutex_unlock(&base->thread.mutex);
    return NULL;
}

/* Something was asked: wakes the thread, or does it now. Under the mutex. */
static void get_going(base_sqlite_t *base) {
    if (base->thread.threaded) {
        (void)pthread_cond_signal(&base->thread.work);
    } else {
        while (step(base)) {
        }
    }
}

/* ---- on the engine's thread -------------------------------------------------------------------------------------- */

static void sqlite_set_owner(void *state, const base_owner_t *owner) {
    base_sqlite_t *base = state;
    base->owner = *owner;
}

static bool sqlite_load(void *state, const cart_id_t *users, unsigned count) {
    base_sqlite_t *base = state;
    (void)pthread_mutex_lock(&base->thread.mutex);
    bool accepted = count <= LOADS_MAX - base->load_count;
    for (unsigned i = 0; accepted && i < count; i++) {
        base->loads[(base->load_first + base->load_count) % LOADS_MAX] = users[i];
        base->load_count++;
    }
    if (accepted) get_going(base);
    (void)pthread_mutex_unlock(&base->thread.mutex);
    return accepted;
}

static bool sqlite_save(void *state, const base_save_t *saves, unsigned count) {
    base_sqlite_t *base = state;
    assert(count > 0 && count <= BASE_BATCH_MAX);
    (void)pthread_mutex_lock(&base->thread.mutex);
    bool accepted = base->save_state == SAVE_NONE;
    if (accepted) {
        base->saves = saves;
        base->save_count = count;
        base->save_done = 0;
        base->save_state = SAVE_WAITING;
        get_going(base);
    }
    (void)pthread_mutex_unlock(&base->thread.mutex);
    return accepted;
}

static bool sqlite_find_purgeable(void *state, uint64_t unchanged_since_s, unsigned limit) {
    base_sqlite_t *base = state;
    (void)pthread_mutex_lock(&base->thread.mutex);
    bool accepted = !base->find_asked && !base->found_ready;
    if (accepted) {
        base->find_asked = true;
        base->find_since_s = unchanged_since_s;
        base->find_limit = limit < BASE_PURGE_MAX ? limit : BASE_PURGE_MAX;
        get_going(base);
    }
    (void)pthread_mutex_unlock(&base->thread.mutex);
    return accepted;
}

static bool sqlite_purge(void *state, const cart_id_t *users, const cart_place_t *places, unsigned count) {
    base_sqlite_t *base = state;
    (void)pthread_mutex_lock(&base->thread.mutex);
    bool accepted = base->purge_count == 0 && count <= BASE_PURGE_MAX;
    if (accepted && count > 0) {
        memcpy(base->purge_users, users, count * sizeof(*users));
        memcpy(base->purge_places, places, count * sizeof(*places));
        base->purge_count = count;
        get_going(base);
    }
    (void)pthread_mutex_unlock(&base->thread.mutex);
    return accepted;
}

static void sqlite_status(void *state, base_status_t *status) {
    base_sqlite_t *base = state;
    (void)pthread_mutex_lock(&base->thread.mutex);
    *status = base->status;
    (void)pthread_mutex_unlock(&base->thread.mutex);
}

static void deliver_answers(base_sqlite_t *base) {
    (void)pthread_mutex_lock(&base->thread.mutex);
    answer_t *answer = base->answers;
    base->answers = NULL;
    base->answers_end = &base->answers;
    (void)pthread_mutex_unlock(&base->thread.mutex);
    while (answer != NULL) {
        base_loaded_t loaded[LOAD_STEP];
        unsigned count = 0;
        for (answer_t *at = answer; at != NULL && count < LOAD_STEP; at = at->next) loaded[count++] = at->loaded;
        base->owner.loaded(base->owner.context, loaded, count);
        for (; count > 0; count--) {
            answer_t *next = answer->next;
            free(answer);
            answer = next;
        }
    }
}

static void deliver_saved(base_sqlite_t *base) {
    (void)pthread_mutex_lock(&base->thread.mutex);
    bool ready = base->save_state == SAVE_READY;
    unsigned count = base->save_count;
    (void)pthread_mutex_unlock(&base->thread.mutex);
    if (!ready) return;
    base_save_result_t results[BASE_BATCH_MAX]; /* a copy: the callback may start the next save */
    for (unsigned i = 0; i < count; i++) {
        base->saved_users[i] = base->saves[i].user;
        base->saved_places[i] = base->saves[i].place;
        results[i] = base->save_results[i];
    }
    (void)pthread_mutex_lock(&base->thread.mutex);
    base->save_state = SAVE_NONE;
    base->saves = NULL;
    (void)pthread_mutex_unlock(&base->thread.mutex);
    base->owner.saved(base->owner.context, base->saved_users, base->saved_places, results, count);
}

static void deliver_found(base_sqlite_t *base) {
    cart_id_t users[BASE_PURGE_MAX];
    cart_place_t places[BASE_PURGE_MAX];
    (void)pthread_mutex_lock(&base->thread.mutex);
    bool ready = base->found_ready;
    unsigned count = base->found;
    if (ready) {
        memcpy(users, base->found_users, count * sizeof(*users));
        memcpy(places, base->found_places, count * sizeof(*places));
        base->found_ready = false;
    }
    (void)pthread_mutex_unlock(&base->thread.mutex);
    if (ready && base->owner.purgeable != NULL) base->owner.purgeable(base->owner.context, users, places, count);
}

static void sqlite_poll(void *state) {
    base_sqlite_t *base = state;
    store_thread_was_woken(&base->thread);
    if (!base->thread.threaded) {
        (void)pthread_mutex_lock(&base->thread.mutex);
        if (base->status.away) come_back(base);
        while (step(base)) {
        }
        (void)pthread_mutex_unlock(&base->thread.mutex);
    }
    store_thread_deliver(&base->thread, base->owner.log, base->owner.context);
    deliver_answers(base);
    deliver_saved(base);
    deliver_found(base);
}

static int sqlite_fd(void *state) {
    const base_sqlite_t *base = state;
    return base->thread.event;
}

static void sqlite_hold(void *state, unsigned ms) {
    base_sqlite_t *base = state;
    store_thread_hold(&base->thread, ms);
}

static void base_free(base_sqlite_t *base) {
    while (base->answers != NULL) {
        answer_t *next = base->answers->next;
        free(base->answers);
        base->answers = next;
    }
    base_store_deinit(&base->store);
    store_thread_deinit(&base->thread);
    free(base->saved_users);
    free(base->saved_places);
    free(base->loads);
    free(base->save_results);
    free(base->found_users);
    free(base->found_places);
    free(base->purge_users);
    free(base->purge_places);
    free(base);
}

static void sqlite_destroy(void *state) {
    base_sqlite_t *base = state;
    store_thread_end(&base->thread);
    /* A tidy end: one file instead of two. If it fails, the next start settles the log. */
    if (base->store.db != NULL) (void)base_store_checkpoint(&base->store, true);
    base_free(base);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static base_sqlite_t *base_new(bool threaded) {
    base_sqlite_t *base = calloc(1, sizeof(*base));
    if (base == NULL) return NULL;
    base->store.lock = -1;
    base->answers_end = &base->answers;
    bool told = store_thread_init(&base->thread, threaded);
    base->saved_users = malloc(BASE_BATCH_MAX * sizeof(cart_id_t));
    base->saved_places = malloc(BASE_BATCH_MAX * sizeof(cart_place_t));
    base->loads = malloc(LOADS_MAX * sizeof(cart_id_t));
    base->save_results = malloc(BASE_BATCH_MAX * sizeof(base_save_result_t));
    base->found_users = malloc(BASE_PURGE_MAX * sizeof(cart_id_t));
    base->found_places = malloc(BASE_PURGE_MAX * sizeof(cart_place_t));
    base->purge_users = malloc(BASE_PURGE_MAX * sizeof(cart_id_t));
    base->purge_places = malloc(BASE_PURGE_MAX * sizeof(cart_place_t));
    bool whole = base->saved_users != NULL && base->saved_places != NULL && base->loads != NULL &&
                 base->save_results != NULL && base->found_users != NULL && base->found_places != NULL &&
                 base->purge_users != NULL && base->purge_places != NULL && told;
    if (whole) return base;
    base_free(base);
    return NULL;
}

base_open_t base_sqlite_migrate(const base_sqlite_config_t *config, unsigned *applied, char *detail, size_t bytes) {
    base_store_t store;
    base_open_t result = base_store_init(&store, config);
    if (result == BASE_OPEN_OK) result = base_store_migrate(&store, applied);
    if (result != BASE_OPEN_OK && bytes > 0) (void)snprintf(detail, bytes, "%s", store.error); /* cut at worst */
    base_store_deinit(&store);
    return result;
}

base_open_t base_sqlite_renew(const base_sqlite_config_t *config, char *detail, size_t bytes) {
    base_store_t store;
    base_open_t result = base_store_init(&store, config);
    if (result == BASE_OPEN_OK) result = base_store_connect(&store);
    if (result == BASE_OPEN_OK && (!base_store_renew(&store) || !base_store_checkpoint(&store, true)))
        result = BASE_OPEN_FAILED;
    if (result != BASE_OPEN_OK && bytes > 0) (void)snprintf(detail, bytes, "%s", store.error); /* cut at worst */
    base_store_deinit(&store);
    return result;
}

base_open_t base_sqlite_open(const base_sqlite_config_t *config, const cart_id_t *journal_id, int take_over,
                             uint64_t *epoch, uint64_t *floor, base_t **base, char *detail, size_t bytes) {
    base_sqlite_t *opened = base_new(config->threaded != 0);
    if (opened == NULL) {
        if (bytes > 0) (void)snprintf(detail, bytes, "no memory");
        return BASE_OPEN_FAILED;
    }
    uint64_t claimed = 0;
    opened->checkpoint_pages = config->checkpoint_pages > 0 ? config->checkpoint_pages : CHECKPOINT_PAGES;
    base_open_t result = base_store_init(&opened->store, config);
    if (result == BASE_OPEN_OK) result = base_store_connect(&opened->store);
    if (result == BASE_OPEN_OK) {
        result = base_store_claim(&opened->store, journal_id, &config->incarnation, take_over, &claimed);
    }
    if (result != BASE_OPEN_OK) goto fail;
    opened->status.epoch = claimed;
    opened->status.floor = opened->store.floor;
    opened->public = (base_t){.state = opened,
                              .set_owner = sqlite_set_owner,
                              .load = sqlite_load,
                              .save = sqlite_save,
                              .find_purgeable = sqlite_find_purgeable,
                              .purge = sqlite_purge,
                              .status = sqlite_status,
                              .poll = sqlite_poll,
                              .fd = sqlite_fd,
                              .hold = sqlite_hold,
                              .destroy = sqlite_destroy};
    if (opened->thread.threaded && !store_thread_start(&opened->thread, work, opened)) {
        (void)snprintf(opened->store.error, sizeof(opened->store.error), "no thread"); /* fits */
        result = BASE_OPEN_FAILED;
        goto fail;
    }
    *epoch = claimed;
    *floor = opened->store.floor;
    *base = &opened->public;
    return BASE_OPEN_OK;
fail:
    if (bytes > 0) (void)snprintf(detail, bytes, "%s", opened->store.error); /* cut at worst */
    base_free(opened);
    return result;
}
