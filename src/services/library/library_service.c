/* The service's life: opens library.db under the lock that bc_service holds, serves, closes. */
#include "services/library/library_service.h"

#include "platform/bc_log.h"
#include "platform/bc_once.h"
#include "platform/bc_time.h"
#include "services/library/library.h"
#include "services/library/library_events.h"
#include "services/library/library_import.h"

#include <stdlib.h>
#include <string.h>

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
    bool whole = *path != '\0' && library_import_file(path, bc_config_text(config, BC_CURRENCY), store, NULL, &counts);
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
