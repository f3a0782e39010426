#include "platform/bc_store.h"

#include "platform/bc_events.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_service.h"

#include <assert.h>
#include <unistd.h>

bc_db_t *bc_store_open(const bc_store_t *store, const bc_config_t *config) {
    char path[BC_FILES_PATH_MAX];
    bc_db_t *db = NULL;
    assert(store->file != NULL);
    assert(store->migrations != NULL);
    if (!bc_config_path(config, store->file, path, sizeof(path))) {
        bc_log(BC_LOG_ERROR, "path-too-long", bc_f_text("file", store->file));
        return NULL;
    }
    return bc_db_open(path, store->migrations, &db) == BC_DB_OK ? db : NULL;
}

static bool begin_anew(const bc_store_t *store, bc_db_t *db) {
    if (bc_db_begin(db) != BC_DB_OK) return false;
    if (store->restored != NULL) store->restored(db);
    bc_outbox_renew(db);
    return bc_db_commit(db) == BC_DB_OK;
}

/* `then` on the open and complete file, with the lock around everything. NULL: to open it was all. */
static int under_lock(const bc_store_t *store, const bc_config_t *config,
                      bool (*then)(const bc_store_t *store, bc_db_t *db)) {
    if (!bc_random_init()) return 1;
    int lock = bc_service_lock(config, store->service, true);
    if (lock < 0) return 1;
    bc_db_t *db = bc_store_open(store, config);
    bool good =
        db != NULL && (store->complete == NULL || store->complete(config, db)) && (then == NULL || then(store, db));
    bc_db_close(db);
    (void)close(lock); /* releases the lock */
    return good ? 0 : 1;
}

int bc_store_migrate(const bc_store_t *store, const bc_config_t *config) {
    return under_lock(store, config, NULL);
}

int bc_store_restored(const bc_store_t *store, const bc_config_t *config) {
    return under_lock(store, config, begin_anew);
}
