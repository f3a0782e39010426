/*
 * The life of a service process: lock, database, listeners, signals, orderly end. A service fills one bc_service_t and calls
 * bc_service_main; its tests use start and stop and so run the real thing inside their own process.
 *
 *   start: data folders → exclusive lock on DATA/run/<name>.lock (waits for a predecessor) → service key → token verifier → open()
 *          → internal and public listener
 *   stop:  listeners (requests that run are answered) → close() → lock
 */
#ifndef BC_SERVICE_H
#define BC_SERVICE_H

#include "platform/bc_config.h"
#include "platform/bc_http.h"
#include "platform/bc_token.h"

#include <stdbool.h>

#define BC_SERVICE_GRACE_MS    10000
#define BC_SERVICE_HOLD_MS_MAX 30000

typedef struct bc_service_state bc_service_state_t;

/* What open() and handlers may use; borrowed from the running service. */
typedef struct {
    const bc_config_t *config;
    const char *service_key;
    bc_token_verifier_t *verifier;
    const volatile bool *stopping; /* becomes true before stop() */
} bc_service_tools_t;

typedef struct {
    const char *name; /* "auth" */
    bc_key_t listen;  /* public listener; BC_KEY_COUNT: none */
    bc_key_t internal;
    const bc_route_t *routes;          /* public; NULL: none */
    const bc_route_t *internal_routes; /* /healthz, /readyz, /metrics are there without being named */
    /* Opens what the service owns (under its lock); *context is what handlers get. false after a log line. */
    bool (*open)(const bc_service_tools_t *tools, void **context);
    void (*stop)(void *context); /* wakes and ends what waits (feeds, threads) before listeners close; may be NULL */
    void (*close)(void *context);
    bc_standing_t (*standing)(const bc_claims_t *claims, void *context); /* may be NULL */
    /* From its return on, and for `ms`, nothing of DATA changes that is no bc_db's: those are held before it is called. 0 lets go. NULL: there
     * is nothing else. A backup holds all services at once: POST /internal/hold {"id","ms"} answers {"ms"}, 409 while another holds; POST
     * /internal/hold/release {"id"} answers {"held"}: whether it has lasted until now without a gap. */
    void (*hold)(void *context, int64_t ms);
    /* Adds one entry per dependency to /readyz's `checks` ("database":"ok"); false: not ready. May be NULL. */
    bool (*ready)(void *context, json_t *checks);
} bc_service_t;

/* What every internal listener serves beside the service's own routes; ends with method NULL. */
extern const bc_route_t bc_service_routes[];

/* NULL after a log line. `config` and `service` are borrowed until stop. */
bc_service_state_t *bc_service_start(const bc_service_t *service, const bc_config_t *config);
void bc_service_stop(bc_service_state_t *state);
void *bc_service_context(bc_service_state_t *state);

/* start, wait for SIGTERM, SIGINT or bc_service_fail, stop. Returns the process's exit code: 0, or 1. Blocks those signals in the
 * calling thread first: call it before any thread is made. */
int bc_service_main(const bc_service_t *service, const bc_config_t *config);

/* The service cannot go on (a commit failed, …): ends in order with exit code 1. Any thread. */
void bc_service_fail(const char *why);

/* Takes DATA/run/<name>.lock as start does; for admin calls and migrations. wait: as bc_files_lock_wait, else tries once. -1: held
 * or failed. Close the descriptor to release. */
int bc_service_lock(const bc_config_t *config, const char *name, bool wait);

/* DATA, DATA/run, DATA/keys, 0700. */
bool bc_service_folders(const bc_config_t *config);

#endif
