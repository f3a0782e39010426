/*
 * The cart service's life: opening what it owns in the order in which one part needs the other, and closing it in reverse.
 *
 *   journal (waits for a survivor's lock) → replay into the engine → base (migrated, claimed for this journal) → hub →
 *   the link's listener → loop → feeds → consumers of events
 *
 * A base that another journal has claimed is refused: two owners of one base would fork carts (rule 3). Whoever knows that
 * the other journal is gone for ever says BOOKCART_CART_TAKE_OVER=yes, which takes a new epoch.
 */
#include "services/cart/cart_service_state.h"

#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DETAIL_BYTES      512
#define PING_TIMEOUT_MS   15000
#define SUBSCRIPTIONS_MAX 4000000

/* ---- the stores ------------------------------------------------------------------------------------------------------ */

static bool is_store_known(const bc_config_t *config) {
    const char *store = bc_config_text(config, BC_CART_STORE);
    if (strcmp(store, "journal: => sqlite:carts.db") == 0) return true;
    bc_log(BC_LOG_ERROR, "store-not-in-this-build", bc_f_text("store", store),
           bc_f_text("has", "journal: => sqlite:carts.db"));
    return false;
}

typedef struct {
    cart_service_t *service;
    uint64_t records;
    bool is_too_small;
} replay_t;

static void replay_record(void *argument, const commit_set_t *record) {
    replay_t *replay = argument;
    if (replay->is_too_small) return;
    replay->records++;
    if (!engine_replay(replay->service->engine, record)) replay->is_too_small = true;
}

static bool open_journal(cart_service_t *service, cart_id_t *id) {
    char folder[BC_FILES_PATH_MAX];
    if (!bc_config_path(service->config, "journal", folder, sizeof folder)) return false;
    journal_config_t config = {.folder = folder,
                               .segment_bytes = (uint64_t)bc_config_number(service->config, BC_CART_SEGMENT),
                               .limit_bytes = (uint64_t)bc_config_number(service->config, BC_CART_JOURNAL_MAX)};
    if (config.segment_bytes > JOURNAL_SEGMENT_MAX) config.segment_bytes = JOURNAL_SEGMENT_MAX;
    replay_t replay = {.service = service};
    char detail[DETAIL_BYTES] = "";
    journal_t *journal = NULL;
    int64_t begun_ms = bc_monotonic_ms();
    uint64_t now_ms = (uint64_t)bc_time_ms();
    journal_result_t result =
        journal_open(files_posix(), &config, 0, now_ms, replay_record, &replay, &journal, id, detail, sizeof detail);
    if (result == JOURNAL_LOCKED) {
        bc_log(BC_LOG_WARN, "waiting-for-journal", bc_f_text("folder", folder));
        begun_ms = bc_monotonic_ms();
        result = journal_open(files_posix(), &config, 1, now_ms, replay_record, &replay, &journal, id, detail,
                              sizeof detail);
    }
    if (result != JOURNAL_OK) {
        bc_log(BC_LOG_ERROR, "journal-not-opened", bc_f_text("folder", folder), bc_f_text("reason", detail));
        return false;
    }
    if (replay.is_too_small) {
        bc_log(BC_LOG_ERROR, "memory-too-small",
               bc_f_text("reason", "the journal's carts do not fit: raise BOOKCART_CART_MEMORY"));
        journal_close(journal);
        return false;
    }
    bc_log(BC_LOG_INFO, "journal-replayed", bc_f_int("records", (int64_t)replay.records),
           bc_f_int("ms", bc_monotonic_ms() - begun_ms));
    service->commit = journal_commit_point_create(journal);
    if (service->commit == NULL) journal_close(journal);
    return service->commit != NULL;
}

static bool base_config(const bc_config_t *config, char path[BC_FILES_PATH_MAX], base_sqlite_config_t *base) {
    *base = (base_sqlite_config_t){.synchronous_full = 1, .threaded = 1, .wait = 1};
    base->incarnation = bc_random_id();
    base->path = path;
    return bc_config_path(config, "carts.db", path, BC_FILES_PATH_MAX);
}

static bool migrate(const bc_config_t *config) {
    char path[BC_FILES_PATH_MAX];
    char detail[DETAIL_BYTES] = "";
    base_sqlite_config_t base;
    unsigned applied = 0;
    if (!base_config(config, path, &base)) return false;
    if (base_sqlite_migrate(&base, &applied, detail, sizeof detail) != BASE_OPEN_OK) {
        bc_log(BC_LOG_ERROR, "base-not-migrated", bc_f_text("path", path), bc_f_text("reason", detail));
        return false;
    }
    if (applied > 0) bc_log(BC_LOG_INFO, "base-migrated", bc_f_text("path", path), bc_f_int("applied", applied));
    return true;
}

static bool open_base(cart_service_t *service, const cart_id_t *journal, uint64_t *epoch) {
    char path[BC_FILES_PATH_MAX];
    char detail[DETAIL_BYTES] = "";
    base_sqlite_config_t config;
    uint64_t floor = 0;
    if (!migrate(service->config) || !base_config(service->config, path, &config)) return false;
    int take_over = bc_config_flag(service->config, BC_CART_TAKE_OVER);
    base_open_t result =
        base_sqlite_open(&config, journal, take_over, epoch, &floor, &service->base, detail, sizeof detail);
    if (result == BASE_OPEN_OTHER_OWNER) {
        bc_log(BC_LOG_ERROR, "base-of-another-journal", bc_f_text("path", path), bc_f_text("reason", detail),
               bc_f_text("what-now",
                         "start it with the journal folder it was written with; only if that is gone for ever, "
                         "BOOKCART_CART_TAKE_OVER=yes claims it in a new epoch"));
        return false;
    }
    if (result != BASE_OPEN_OK) {
        bc_log(BC_LOG_ERROR, "base-not-opened", bc_f_text("path", path), bc_f_text("reason", detail));
        return false;
    }
    engine_attach(service->engine, service->commit, service->base, *epoch, floor);
    bc_log(BC_LOG_INFO, "base-opened", bc_f_text("path", path), bc_f_int("epoch", (int64_t)*epoch),
           bc_f_int("floor", (int64_t)floor));
    return true;
}

/* ---- engine and hub -------------------------------------------------------------------------------------------------- */

static uint64_t seed(void) {
    uint64_t value;
    bc_random_bytes(&value, sizeof value);
    return value;
}

static bool make_engine(cart_service_t *service) {
    const bc_config_t *settings = service->config;
    engine_config_t config = {
        .memory_bytes = (size_t)bc_config_number(settings, BC_CART_MEMORY),
        .epoch = 1, /* until the base has told */
        .dirty_age_max_ms = (uint32_t)bc_config_number(settings, BC_CART_DIRTY_AGE_MAX),
        .calm_delay_ms = (uint32_t)bc_config_number(settings, BC_CART_CALM_AGE),
        .release_delay_ms = (uint32_t)bc_config_number(settings, BC_CART_RELEASE_AGE),
        .batch_max = (uint32_t)bc_config_number(settings, BC_CART_BATCH),
        .seed = seed(),
    };
    cart_policy_defaults(&config.policy);
    config.policy.calm_ttl_s = (uint32_t)(bc_config_number(settings, BC_CART_SEAT_TTL) / 1000);
    config.policy.active_ttl_s = (uint32_t)(bc_config_number(settings, BC_CART_ACTIVE_TTL) / 1000);
    if (config.policy.active_ttl_s < config.policy.calm_ttl_s) config.policy.active_ttl_s = config.policy.calm_ttl_s;
    int64_t heat = bc_config_number(settings, BC_CART_ACTIVE_HEAT) * 256;
    config.policy.active_heat = heat > UINT16_MAX ? UINT16_MAX : (uint16_t)heat;
    engine_owner_t owner = cart_service_engine_owner;
    owner.context = service;
    service->engine = engine_create(&config, NULL, NULL, &owner);
    if (service->engine == NULL) bc_log(BC_LOG_ERROR, "no-memory", bc_f_int("bytes", (int64_t)config.memory_bytes));
    return service->engine != NULL;
}

static bool make_hub(cart_service_t *service, uint64_t epoch) {
    cart_hub_config_t config = {.incarnation = bc_random_id(),
                                .epoch = epoch,
                                .shared = service->commit->shared,
                                .ping_timeout_ms = PING_TIMEOUT_MS,
                                .subscriptions_max = SUBSCRIPTIONS_MAX,
                                .seed = seed()};
    cart_hub_engine_t engine = cart_service_hub_engine;
    engine.context = service;
    service->hub = cart_hub_create(&config, &engine);
    return service->hub != NULL;
}

/* ---- open and close -------------------------------------------------------------------------------------------------- */

static void close_service(void *context) {
    cart_service_t *service = context;
    cart_service_events_stop(service);
    cart_service_loop_join(service);
    cart_service_events_end(service);
    cart_service_feeds_stop(service);
    if (service->listener >= 0) (void)close(service->listener);
    if (service->epoll >= 0) (void)close(service->epoll);
    if (service->base != NULL) service->base->destroy(service->base->state);
    if (service->commit != NULL) service->commit->destroy(service->commit->state);
    engine_destroy(service->engine);
    if (service->hub != NULL) cart_hub_destroy(service->hub);
    for (unsigned i = 0; i < LISTS; i++) {
        list_destroy(service->lists[i]);
        list_destroy(service->staging[i]);
    }
    if (service->wake >= 0) (void)close(service->wake);
    (void)pthread_cond_destroy(&service->taken); /* all threads are joined */
    (void)pthread_mutex_destroy(&service->mutex);
    free(service);
}

static bool open_service(const bc_service_tools_t *tools, void **context) {
    if (!is_store_known(tools->config)) return false;
    cart_service_t *service = calloc(1, sizeof *service);
    if (service == NULL) return false;
    service->tools = tools;
    service->config = tools->config;
    service->epoll = service->wake = service->listener = -1;
    (void)pthread_mutex_init(&service->mutex, NULL); /* a plain mutex cannot fail */
    bc_cond_init(&service->taken);
    service->clock_offset_ms = (uint64_t)(bc_time_ms() - bc_monotonic_ms());
    service->now_ms = service->begun_ms = (uint64_t)bc_time_ms();
    cart_id_t journal;
    uint64_t epoch = 0;
    if (!make_engine(service) || !open_journal(service, &journal) || !open_base(service, &journal, &epoch) ||
        !make_hub(service, epoch) || !cart_service_listen(service) || !cart_service_loop_start(service) ||
        !cart_service_feeds_start(service) || !cart_service_events_start(service)) {
        close_service(service);
        return false;
    }
    *context = service;
    return true;
}

/* Requests that wait are answered by the loop on its way down; handlers still running get theirs. */
static void stop_service(void *context) {
    cart_service_t *service = context;
    cart_service_events_stop(service);
    cart_service_loop_join(service);
}

static bool is_ready(void *context, json_t *checks) {
    cart_service_t *service = context;
    bool is_heard = true;
    static const char *const names[LISTS] = {"books", "revocations"};
    for (unsigned i = 0; i < LISTS; i++) {
        bool heard = atomic_load(&service->is_heard[i]);
        const char *word = !heard ? "not-heard" : atomic_load(&service->is_vouched[i]) ? "ok" : "stale";
        is_heard = is_heard && heard;
        (void)json_object_set_new(checks, names[i], json_string(word)); /* no memory: an answer without it */
    }
    bool is_commit_away = atomic_load(&service->is_commit_away);
    bool is_base_away = atomic_load(&service->is_base_away);
    (void)json_object_set_new(checks, "journal", json_string(is_commit_away ? "recovering" : "ok")); /* as above */
    (void)json_object_set_new(checks, "base", json_string(is_base_away ? "away" : "ok"));            /* as above */
    cart_service_events_ready(service, checks);
    /* Without the base the service goes on from its journal; without its journal it confirms nothing. */
    return is_heard && atomic_load(&service->is_vouched[LIST_REVOCATIONS]) && !is_commit_away;
}

static void hold(void *context, int64_t ms) {
    cart_service_t *service = context;
    service->commit->hold(service->commit->state, (unsigned)ms);
    service->base->hold(service->base->state, (unsigned)ms);
}

const bc_service_t cart_service_definition = {.name = "cart",
                                              .listen = BC_KEY_COUNT,
                                              .internal = BC_CART_INTERNAL,
                                              .internal_routes = cart_service_routes,
                                              .open = open_service,
                                              .stop = stop_service,
                                              .close = close_service,
                                              .hold = hold,
                                              .ready = is_ready};

int cart_service_main(const bc_config_t *config) {
    return bc_service_main(&cart_service_definition, config);
}

int cart_service_migrate(const bc_config_t *config) {
    if (!is_store_known(config) || !bc_random_init() || !bc_service_folders(config)) return 1;
    return migrate(config) && cart_service_events_migrate(config) ? 0 : 1;
}

int cart_service_restored(const bc_config_t *config) {
    char path[BC_FILES_PATH_MAX];
    char detail[DETAIL_BYTES] = "";
    base_sqlite_config_t base;
    if (cart_service_migrate(config) != 0 || !base_config(config, path, &base)) return 1;
    if (base_sqlite_renew(&base, detail, sizeof detail) == BASE_OPEN_OK) return 0;
    bc_log(BC_LOG_ERROR, "base-not-renewed", bc_f_text("path", path), bc_f_text("reason", detail));
    return 1;
}
