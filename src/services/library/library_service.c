/*
 * The service's life: opens library.db under the lock that bc_service holds, serves, closes. The import command is here too:
 * it does the same to the database when no service runs.
 */
#include "services/library/library_service.h"

#include "platform/bc_client.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"
#include "services/library/library.h"
#include "services/library/library_events.h"
#include "services/library/library_import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { keeper_pause_ms = 3600 * 1000 };

/* What opening a store does is what a migrated file needs: its keys are drawn, the search engine is filled. */
static bool complete(const bc_config_t *config, bc_db_t *db) {
    library_store_t *store = library_store_open(db, bc_config_text(config, BC_SEARCH));
    library_store_close(store);
    return store != NULL;
}

const bc_store_t library_stored = {
    .service = "library",
    .file = "library.db",
    .migrations = library_migrations,
    .complete = complete,
    .restored = library_store_renew,
};

/* A shop without its sample is still a shop: what goes wrong is logged. */
static void import_sample(const bc_config_t *config, library_store_t *store) {
    bool empty = false;
    const char *path = bc_config_text(config, BC_SAMPLE_FILE);
    if (!bc_config_flag(config, BC_SAMPLE_CATALOGUE)) return;
    if (library_store_is_empty(store, &empty) != LIBRARY_OK || !empty) return;
    library_import_counts_t counts;
    bool whole = *path != '\0' && library_import_file(path, bc_config_text(config, BC_CURRENCY),
                                                      library_import_to_store, store, NULL, &counts);
    if (whole) {
        bc_log(BC_LOG_INFO, "sample-imported", bc_f_int("books", (int64_t)counts.added));
    } else {
        bc_log(BC_LOG_WARN, "sample-not-imported", bc_f_text("path", path));
    }
}

static void close_library(void *context) {
    library_t *library = context;
    bc_task_destroy(library->jobs);
    bc_task_destroy(library->keeper);
    bc_images_destroy(library->images);
    bc_consumer_destroy(library->stock); /* before what its handlers use */
    bc_revoked_destroy(library->revoked);
    bc_feed_destroy(library->feed);
    bc_outbox_destroy(library->outbox);
    library_shelf_destroy(library->shelf);
    json_decref(library->countries);
    library_store_close(library->store);
    bc_db_close(library->db);
    free(library);
}

static void told_of_stock(void *context) {
    const library_t *library = context;
    bc_feed_wake(library->feed);
}

static bool follow_others(library_t *library, const bc_service_tools_t *tools) {
    const bc_consumer_options_t stock = {
        .source = "payment",
        .listen = BC_PAYMENT_INTERNAL,
        .handlers = library_stock_events,
        .db = library_store_db(library->store),
        .context = library,
        .applied = told_of_stock,
    };
    library->revoked = bc_revoked_create(tools->config, tools->service_key);
    if (library->revoked != NULL) library->stock = bc_consumer_create(tools->config, tools->service_key, &stock);
    return library->stock != NULL;
}

static void tell(void *context) {
    library_tell(context);
}

/* Forgets what is over: events, keys, jobs. */
static int64_t keep_house(bc_task_t *task, void *context) {
    const library_t *library = context;
    bc_db_t *db = library_store_db(library->store);
    (void)task;
    if (bc_db_begin(db) != BC_DB_OK) return keeper_pause_ms;
    bc_events_tidy(db, library->config, bc_time_ms());
    bc_once_tidy(db, bc_time_ms());
    library_job_tidy(db, bc_time_ms());
    (void)bc_db_commit(db); /* logged; it is tried again at the next round */
    return keeper_pause_ms;
}

static bool start_tasks(library_t *library) {
    library->worker = (library_worker_t){
        .config = library->config,
        .store = library->store,
        .tell = tell,
        .context = library,
    };
    library_job_sweep(library->config, library_store_db(library->store));
    library->jobs = bc_task_create("library-jobs", library_job_step, &library->worker);
    if (library->jobs != NULL) library->keeper = bc_task_create("library-keeper", keep_house, library);
    if (library->keeper != NULL) library->images = bc_images_create(library->config, LIBRARY_PICTURES);
    return library->images != NULL && bc_images_start_sweeping(library->images, library_picture_used, library);
}

static bool open_library(const bc_service_tools_t *tools, void **context) {
    library_t *library = calloc(1, sizeof(*library));
    if (library == NULL) return false;
    library->config = tools->config;
    library->service_key = tools->service_key;
    library->db = bc_store_open(&library_stored, tools->config);
    if (library->db != NULL) library->store = library_store_open(library->db, bc_config_text(tools->config, BC_SEARCH));
    if (library->store != NULL) {
        import_sample(tools->config, library->store);
        library->shelf =
            library_shelf_create(library->store, library_currency_digits(bc_config_text(tools->config, BC_CURRENCY)));
    }
    library->countries = library_countries(tools->config);
    if (library->shelf != NULL && library->countries != NULL) {
        library->feed = bc_feed_create(library_store_generation(library->store), library_feed_read, library);
    }
    if (library->feed != NULL) library->outbox = bc_outbox_create("library", library_store_db(library->store));
    if (library->outbox == NULL || !follow_others(library, tools) || !start_tasks(library)) {
        close_library(library);
        return false;
    }
    *context = library;
    return true;
}

static void stop_library(void *context) {
    library_t *library = context;
    bc_revoked_stop(library->revoked);
    bc_consumer_stop(library->stock);
    bc_task_stop(library->jobs);
    bc_images_stop(library->images);
    bc_task_stop(library->keeper);
    bc_feed_wake(library->feed);
    bc_outbox_wake(library->outbox);
}

static bool library_is_ready(void *context, json_t *checks) {
    const library_t *library = context;
    bool open = library_store_is_open(library->store);
    /* The catalogue is served without it; only who must say who he is waits. */
    bool vouched = bc_revoked_is_vouched(library->revoked);
    if (json_object_set_new(checks, "events:payment", json_string(bc_consumer_state(library->stock))) != 0)
        return false;
    if (json_object_set_new(checks, "revocations", json_string(vouched ? "ok" : "not vouched for")) != 0) return false;
    return json_object_set_new(checks, "database", json_string(open ? "ok" : "closed")) == 0 && open;
}

static bc_standing_t library_standing(const bc_claims_t *claims, void *context) {
    const library_t *library = context;
    return bc_revoked_standing(library->revoked, claims);
}

const bc_service_t library_service = {
    .name = "library",
    .listen = BC_LIBRARY_LISTEN,
    .internal = BC_LIBRARY_INTERNAL,
    .routes = library_routes,
    .internal_routes = library_internal_routes,
    .open = open_library,
    .stop = stop_library,
    .close = close_library,
    .standing = library_standing,
    .ready = library_is_ready,
};

int library_service_main(const bc_config_t *config) {
    return bc_service_main(&library_service, config);
}

int library_service_migrate(const bc_config_t *config) {
    return bc_store_migrate(&library_stored, config);
}

int library_service_restored(const bc_config_t *config) {
    return bc_store_restored(&library_stored, config);
}

/* --- the import command --- */

enum { ask_timeout_ms = 2000, batch_timeout_ms = 30000, batch_tries = 3, reach_tries = 60, reach_pause_ms = 500 };

typedef struct {
    bc_client_t *client;    /* owned; NULL: the service is down */
    bc_db_t *db;            /* owned; NULL: the service runs */
    library_store_t *store; /* owned, of db */
    int lock;               /* with db */
} reach_t;

static void leave(reach_t *reach) {
    library_store_close(reach->store);
    bc_db_close(reach->db);
    bc_client_destroy(reach->client);
    if (reach->lock >= 0) (void)close(reach->lock); /* releases the lock, last */
}

/* false: a service was never started on this folder, so there is none to ask. */
static bool has_service_key(const bc_config_t *config, char *key, size_t size) {
    char path[BC_FILES_PATH_MAX];
    if (!bc_config_is_set(config, BC_SERVICE_KEY) &&
        (!bc_config_path(config, "keys/service.key", path, sizeof(path)) || access(path, F_OK) != 0)) {
        return false;
    }
    return bc_secret_service_key(config, false, key, size);
}

/* The service if it answers, else its database under its lock; a service that is starting or ending is neither for a moment. */
static bool reach_library(const bc_config_t *config, reach_t *reach) {
    char key[BC_SECRET_MAX + 1];
    *reach = (reach_t){.lock = -1};
    for (int i = 0; i < reach_tries; i++) {
        int status = 0;
        json_t *reply = NULL;
        if (has_service_key(config, key, sizeof(key))) {
            reach->client = bc_client_create(bc_config_text(config, BC_LIBRARY_INTERNAL), key);
        }
        bool answered = reach->client != NULL &&
                        bc_client_call(reach->client, "GET", "/readyz", NULL, ask_timeout_ms, NULL, &status, &reply);
        json_decref(reply);
        if (answered && status == 200) return true;
        bc_client_destroy(reach->client);
        reach->client = NULL;
        reach->lock = bc_service_lock(config, "library", false);
        if (reach->lock >= 0) {
            reach->db = bc_store_open(&library_stored, config);
            if (reach->db != NULL) reach->store = library_store_open(reach->db, bc_config_text(config, BC_SEARCH));
            return reach->store != NULL;
        }
        if (errno != EWOULDBLOCK) return false;
        const struct timespec pause = {.tv_nsec = reach_pause_ms * 1000000L};
        (void)nanosleep(&pause, NULL); /* a signal only shortens it */
    }
    bc_secret_wipe(key, sizeof(key));
    bc_log(BC_LOG_ERROR, "library-unreachable");
    return false;
}

static bool import_by_service(void *context, json_t *books, library_imported_t *results) {
    bc_client_t *client = context;
    size_t count = json_array_size(books);
    json_t *body = json_pack("{s:O}", "books", books);
    bool done = false;
    /* A batch counts once however often it is sent. */
    for (int i = 0; i < batch_tries && body != NULL && !done; i++) {
        int status = 0;
        json_t *reply = NULL;
        if (!bc_client_call(client, "POST", LIBRARY_IMPORT_PATH, body, batch_timeout_ms, NULL, &status, &reply))
            continue;
        const json_t *words = json_object_get(reply, "results");
        done = status == 200 && json_array_size(words) == count;
        for (size_t k = 0; k < count && done; k++) {
            json_int_t word = json_integer_value(json_array_get(words, k));
            done = word >= LIBRARY_IMPORT_NEW && word <= LIBRARY_IMPORT_GONE;
            if (done) results[k] = (library_imported_t)word;
        }
        json_decref(reply);
        if (!done) bc_log(BC_LOG_WARN, "import-batch-refused", bc_f_int("status", status));
    }
    json_decref(body);
    return done;
}

int library_import(const bc_config_t *config, const char *path) {
    reach_t reach = {.lock = -1};
    library_import_counts_t counts = {0};
    bool whole = false;
    if (!bc_random_init() || !bc_client_init()) return 1;
    if (reach_library(config, &reach)) {
        library_sink_fn sink = reach.client != NULL ? import_by_service : library_import_to_store;
        void *context = reach.client != NULL ? (void *)reach.client : (void *)reach.store;
        whole = library_import_file(path, bc_config_text(config, BC_CURRENCY), sink, context, stdout, &counts);
        (void)printf("%llu rows: %llu new, %llu changed, %llu unchanged, %llu rejected\n",
                     (unsigned long long)counts.rows, (unsigned long long)counts.added,
                     (unsigned long long)counts.changed, (unsigned long long)counts.unchanged,
                     (unsigned long long)counts.rejected); /* a report only */
    }
    leave(&reach);
    return whole && (counts.rows == 0 || counts.rejected < counts.rows) ? 0 : 1;
}
