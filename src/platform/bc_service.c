#include "platform/bc_service.h"

#include "platform/bc_client.h"
#include "platform/bc_db.h"
#include "platform/bc_fault.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INTERNAL_ROUTES_MAX 32
#define BC_HOLD_ID_CHARS    64

struct bc_service_state {
    const bc_service_t *service; /* borrowed */
    bc_service_tools_t tools;
    int lock_fd;
    char service_key[BC_SECRET_MAX];
    char spool[BC_FILES_PATH_MAX]; /* where uploads are written; "": no route takes any */
    void *context;
    bool opened;
    volatile bool stopping;
    pthread_mutex_t hold_lock;
    char hold_id[BC_HOLD_ID_CHARS + 1]; /* under hold_lock */
    int64_t held_until_ms;              /* monotonic; under hold_lock */
    bc_http_t *http, *internal;
    bc_route_t internal_routes[INTERNAL_ROUTES_MAX + 1];
};

static _Atomic bool main_runs;
static _Atomic bool failed;

void bc_service_fail(const char *why) {
    bc_log(BC_LOG_ERROR, "service-fails", bc_f_text("reason", why));
    atomic_store(&failed, true);
    if (atomic_load(&main_runs)) (void)kill(getpid(), SIGTERM); /* bc_service_main waits for it */
}

bool bc_service_folders(const bc_config_t *config) {
    static const char *const folders[] = {"", "/run", "/keys"};
    const char *data = bc_config_text(config, BC_DATA);
    if (data[0] == '\0') {
        bc_log(BC_LOG_ERROR, "no-data-folder", bc_f_text("needs", bc_config_name(BC_DATA)));
        return false;
    }
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        char path[BC_FILES_PATH_MAX];
        (void)snprintf(path, sizeof(path), "%s%s", data,
                       folders[i]); /* a data folder that long has no room for sockets: the config refused it */
        /* One user runs everything (docs/decisions/0030): nobody else has business here. */
        if (!bc_files_make_folders(path, 0700)) {
            bc_log(BC_LOG_ERROR, "no-folder", bc_f_text("path", path), bc_f_text("reason", strerror(errno)));
            return false;
        }
    }
    return true;
}

int bc_service_lock(const bc_config_t *config, const char *name, bool wait) {
    char relative[64], path[BC_FILES_PATH_MAX];
    (void)snprintf(relative, sizeof(relative), "run/%s.lock", name); /* our own names are short */
    if (!bc_service_folders(config) || !bc_config_path(config, relative, path, sizeof(path))) return -1;
    int fd = wait ? bc_files_lock_wait(path, NULL) : bc_files_lock_try(path);
    if (fd < 0 && errno != EWOULDBLOCK)
        bc_log(BC_LOG_ERROR, "lock-failed", bc_f_text("path", path), bc_f_text("reason", strerror(errno)));
    return fd;
}

/* --- operations routes that every service has --- */

static void healthz(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)request;
    (void)context;
    bc_reply_json(reply, 200, json_pack("{s:s}", "status", "ok"));
}

static void readyz(bc_request_t *request, bc_reply_t *reply, void *context);
static void hold(bc_request_t *request, bc_reply_t *reply, void *context);
static void release(bc_request_t *request, bc_reply_t *reply, void *context);

static void metrics(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)request;
    (void)context;
    char *page = bc_metrics_page();
    if (page == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
        return;
    }
    bc_reply_bytes(reply, 200, "text/plain; version=0.0.4; charset=utf-8", page, strlen(page));
    free(page);
}

const bc_route_t bc_service_routes[] = {
    {"GET", "/healthz", BC_OPS, healthz, .query = NULL},
    {"GET", "/readyz", BC_OPS, readyz, .query = NULL},
    {"GET", "/metrics", BC_OPS, metrics, .query = NULL},
    {"POST", "/internal/hold", BC_INTERNAL, hold, .fields = "id:string! ms:int!"},
    {"POST", "/internal/hold/release", BC_INTERNAL, release, .fields = "id:string!"},
    {.method = NULL},
};
#define OPS_ROUTES (sizeof(bc_service_routes) / sizeof(bc_service_routes[0]) - 1)

/* Handlers get the service's own context, so readyz finds its service here: a process runs one, a test may run several. */
#define RUNNING_MAX 16
static _Atomic(bc_service_state_t *) running[RUNNING_MAX];

static void readyz(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)request;
    bool ready = true;
    json_t *checks = json_object();
    for (int i = 0; i < RUNNING_MAX; i++) {
        bc_service_state_t *state = atomic_load(&running[i]);
        if (state == NULL || state->context != context) continue;
        if (state->stopping) ready = false;
        if (state->service->ready != NULL && !state->service->ready(context, checks)) ready = false;
    }
    bc_reply_json(reply, ready ? 200 : 503,
                  json_pack("{s:s, s:o}", "status", ready ? "ready" : "not-ready", "checks", checks));
}

static bc_service_state_t *state_of(const void *context) {
    for (int i = 0; i < RUNNING_MAX; i++) {
        bc_service_state_t *state = atomic_load(&running[i]);
        if (state != NULL && state->context == context) return state;
    }
    return NULL;
}

static void hold(bc_request_t *request, bc_reply_t *reply, void *context) {
    bc_service_state_t *state = state_of(context);
    const char *id = bc_request_string(request, "id");
    json_int_t ms = json_integer_value(json_object_get(bc_request_body(request), "ms"));
    if (ms < 1 || ms > BC_SERVICE_HOLD_MS_MAX || id[0] == '\0' || strlen(id) > BC_HOLD_ID_CHARS) {
        bc_reply_problem(reply, "malformed-request", "an id of 1 to 64 bytes and 1 to 30000 ms");
        return;
    }
    if (state == NULL || state->stopping) {
        bc_reply_problem(reply, "unavailable", NULL);
        bc_reply_retry_after(reply, 1000);
        return;
    }
    (void)pthread_mutex_lock(&state->hold_lock); /* a default mutex: fails only on our own misuse */
    bool lasts = bc_monotonic_ms() < state->held_until_ms;
    bool mine = strcmp(state->hold_id, id) == 0;
    bool taken = !lasts || mine;
    if (taken) {
        /* Counted from before it begins: the files are still for a little longer than we say. */
        int64_t until_ms = bc_monotonic_ms() + ms;
        bc_db_hold_all(ms); /* first: a consumer may wait for the rest within its transaction */
        if (state->service->hold != NULL) state->service->hold(context, ms);
        state->held_until_ms = until_ms;
        (void)snprintf(state->hold_id, sizeof(state->hold_id), "%s", id); /* judged to fit */
    }
    (void)pthread_mutex_unlock(&state->hold_lock);
    if (!taken) {
        bc_reply_problem(reply, "conflict", "another backup holds the service");
        return;
    }
    bc_log(BC_LOG_INFO, "held", bc_f_int("ms", ms));
    bc_reply_json(reply, 200, json_pack("{s:I}", "ms", ms));
}

static void release(bc_request_t *request, bc_reply_t *reply, void *context) {
    bc_service_state_t *state = state_of(context);
    bool held = false;
    if (state != NULL) {
        (void)pthread_mutex_lock(&state->hold_lock); /* a default mutex: fails only on our own misuse */
        if (strcmp(state->hold_id, bc_request_string(request, "id")) == 0) {
            held = bc_monotonic_ms() < state->held_until_ms && !state->stopping;
            state->held_until_ms = 0;
            state->hold_id[0] = '\0';
            if (state->service->hold != NULL) state->service->hold(context, 0);
            bc_db_hold_all(0);
        }
        (void)pthread_mutex_unlock(&state->hold_lock);
    }
    bc_log(BC_LOG_INFO, "released", bc_f_text("held", held ? "yes" : "no"));
    bc_reply_json(reply, 200, json_pack("{s:b}", "held", held));
}

static void set_running(bc_service_state_t *from, bc_service_state_t *to) {
    for (int i = 0; i < RUNNING_MAX; i++) {
        bc_service_state_t *expected = from;
        if (atomic_compare_exchange_strong(&running[i], &expected, to)) return;
    }
}

/* --- start and stop --- */

static void gather_internal_routes(bc_service_state_t *state) {
    size_t used = 0;
    for (size_t i = 0; i < OPS_ROUTES; i++) state->internal_routes[used++] = bc_service_routes[i];
    for (const bc_route_t *route = state->service->internal_routes; route != NULL && route->method != NULL; route++) {
        assert(used < INTERNAL_ROUTES_MAX);
        state->internal_routes[used++] = *route;
    }
}

/* DATA/spool, where it is needed. */
static bool make_spool(bc_service_state_t *state, const bc_route_t *routes) {
    bool spools = false;
    for (const bc_route_t *route = routes; route->method != NULL; route++) spools = spools || route->spool;
    if (!spools) return true;
    if (bc_config_path(state->tools.config, "spool", state->spool, sizeof(state->spool)) &&
        bc_files_make_folders(state->spool, 0700)) {
        return true;
    }
    bc_log(BC_LOG_ERROR, "no-spool", bc_f_text("reason", strerror(errno)));
    return false;
}

static bc_http_t *start_http(bc_service_state_t *state, bc_key_t listen, const bc_route_t *routes) {
    const bc_config_t *config = state->tools.config;
    if (!make_spool(state, routes)) return NULL;
    bc_http_options_t options = {
        .service = state->service->name,
        .listen = bc_config_text(config, listen),
        .routes = routes,
        .context = state->context,
        .connections_max = (int)bc_config_number(config, BC_HTTP_CONNECTIONS),
        .timeout_ms = bc_config_number(config, BC_HTTP_TIMEOUT),
        .verifier = state->tools.verifier,
        .show_statements = strcmp(bc_config_text(config, BC_LOG_LEVEL), "debug") == 0,
        .service_key = state->service_key,
        .spool_folder = state->spool[0] == '\0' ? NULL : state->spool,
        .standing = state->service->standing,
    };
    return bc_http_start(&options);
}

bc_service_state_t *bc_service_start(const bc_service_t *service, const bc_config_t *config) {
    bc_service_state_t *state = calloc(1, sizeof(*state));
    if (state == NULL) return NULL;
    state->service = service;
    state->lock_fd = -1;
    (void)pthread_mutex_init(&state->hold_lock, NULL); /* a default mutex: cannot fail */
    char reason[BC_CONFIG_REASON_BYTES];
    if (!bc_fault_init(bc_config_text(config, BC_FAULTS), reason)) {
        bc_log(BC_LOG_ERROR, "setting-refused", bc_f_text("reason", reason));
        goto fail;
    }
    if (!bc_random_init() || !bc_client_init()) goto fail;
    state->lock_fd = bc_service_lock(config, service->name, true);
    if (state->lock_fd < 0) goto fail;
    if (!bc_secret_service_key(config, true, state->service_key, sizeof(state->service_key))) goto fail;
    state->tools =
        (bc_service_tools_t){.config = config, .service_key = state->service_key, .stopping = &state->stopping};
    state->tools.verifier = bc_token_verifier_create(config);
    if (state->tools.verifier == NULL) goto fail;
    if (!service->open(&state->tools, &state->context)) goto fail;
    state->opened = true;
    set_running(NULL, state);
    gather_internal_routes(state);
    state->internal = start_http(state, service->internal, state->internal_routes);
    if (state->internal == NULL) goto fail;
    if (service->routes != NULL) {
        state->http = start_http(state, service->listen, service->routes);
        if (state->http == NULL) goto fail;
    }
    bc_log(BC_LOG_INFO, "ready");
    return state;
fail:
    bc_log(BC_LOG_ERROR, "service-not-started", bc_f_text("name", service->name));
    bc_service_stop(state);
    return NULL;
}

void bc_service_stop(bc_service_state_t *state) {
    if (state == NULL) return;
    state->stopping = true;
    bc_http_announce_stop(state->http);
    bc_http_announce_stop(state->internal);
    if (state->opened && state->service->stop != NULL) state->service->stop(state->context);
    bc_http_stop(state->http, BC_SERVICE_GRACE_MS);
    bc_http_stop(state->internal, BC_SERVICE_GRACE_MS);
    set_running(state, NULL);
    if (state->opened) state->service->close(state->context);
    bc_token_verifier_destroy(state->tools.verifier);
    bc_secret_wipe(state->service_key, sizeof(state->service_key));
    (void)pthread_mutex_destroy(&state->hold_lock);
    if (state->lock_fd >= 0) (void)close(state->lock_fd); /* last: whoever waits for it finds everything closed */
    free(state);
}

void *bc_service_context(bc_service_state_t *state) {
    return state->context;
}

int bc_service_main(const bc_service_t *service, const bc_config_t *config) {
    bc_log_level_t level = BC_LOG_INFO;
    (void)bc_log_level_parse(bc_config_text(config, BC_LOG_LEVEL), &level); /* the config has judged it */
    bc_log_init(service->name, level);
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &signals, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) return 1;
    atomic_store(&main_runs, true);
    bc_service_state_t *state = bc_service_start(service, config);
    if (state == NULL) return 1;
    int got = 0;
    while (sigwait(&signals, &got) != 0) continue;
    bc_log(BC_LOG_INFO, "stopping", bc_f_int("signal", got));
    bc_service_stop(state);
    bool bad = atomic_load(&failed);
    bc_log(BC_LOG_INFO, "stopped", bc_f_int("exit_code", bad));
    return bad ? 1 : 0;
}
