/*
 * The shared zones. Each is one block out of nginx's slab (which nginx itself maps, keeps on reload, and drops), laid
 * out by us. A zone that a reload finds again (same name, size and module) is attached to; with another layout the
 * reload is refused, because the old workers still use it: a restart, or another name, makes a new one.
 *
 *   cart_zone        counters | revocations | cart_zone.h
 *   cart_books_zone  edge_books.h
 */
#include "edge/ngx_http_cart_module.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include <openssl/rand.h>

/* ---- locks ----------------------------------------------------------------------------------------------------------- */
_Static_assert(sizeof(pthread_mutex_t) <= CART_ZONE_LOCK_BYTES, "a robust mutex lies in a lock's bytes");

static void lock_init(void *context, void *lock) {
    pthread_mutexattr_t attributes;
    (void)context;
    /* Only ENOMEM and nonsense can fail here; glibc allocates nothing. */
    (void)pthread_mutexattr_init(&attributes);
    (void)pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(lock, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
}

static cart_lock_result_t lock_lock(void *context, void *lock) {
    (void)context;
    int result = pthread_mutex_lock(lock);
    if (result == 0) return CART_LOCK_OK;
    if (result == EOWNERDEAD) {
        (void)pthread_mutex_consistent(lock); /* held, and what it guards is emptied by the caller */
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0, "cart: a process died holding a lock; its part is emptied");
        return CART_LOCK_OWNER_DIED;
    }
    /* ENOTRECOVERABLE cannot come: we always make it consistent. Anything else is our bug: going on would tear data. */
    ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, result, "cart: a lock cannot be taken");
    ngx_debug_point();
    abort();
}

static void lock_unlock(void *context, void *lock) {
    (void)context;
    (void)pthread_mutex_unlock(lock); /* ours: cannot fail */
}

/* The process's start time in clock ticks since boot, field 22 of /proc/PID/stat; 0: no such process. */
uint64_t ngx_http_cart_process_started(ngx_pid_t pid) {
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid); /* fits */
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    size_t length = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file); /* read only */
    text[length] = '\0';
    char *at = strrchr(text, ')'); /* the name may hold anything; field 3 is behind it */
    if (at == NULL) return 0;
    for (unsigned field = 2; field < 22; field++) {
        at = strchr(at + 1, ' ');
        if (at == NULL) return 0;
    }
    return strtoull(at + 1, NULL, 10);
}

static bool lock_alive(void *context, uint32_t pid, uint64_t started) {
    (void)context;
    if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) return false;
    uint64_t now = ngx_http_cart_process_started((ngx_pid_t)pid);
    return now == started;
}

static const cart_zone_locks_t locks = {NULL, lock_init, lock_lock, lock_unlock, lock_alive};

/* ---- blocks ---------------------------------------------------------------------------------------------------------- */

/* The one block of a zone: what the slab has left, in whole pages. */
static u_char *block_of(ngx_shm_zone_t *zone, size_t *bytes, ngx_uint_t *is_new) {
    ngx_slab_pool_t *pool = (ngx_slab_pool_t *)(void *)zone->shm.addr;
    u_char *block = pool->data;
    *is_new = 0;
    if (block == NULL) {
        pool->log_nomem = 0;
        *is_new = 1;
        *bytes = (size_t)pool->pfree * ngx_pagesize;
        block = ngx_slab_alloc(pool, *bytes);
        pool->data = block;
    }
    /* The block reaches to the end of the pool, also when a predecessor took it. */
    if (block != NULL) *bytes = (size_t)(pool->end - block) & ~(ngx_pagesize - 1);
    return block;
}

/* A sixteenth of the zone; pages that no revocation needs stay untouched. */
static size_t revoked_bytes(size_t bytes) {
    size_t part = bytes / 16 & ~(size_t)4095;
    return ngx_min(ngx_max(part, (size_t)EDGE_REVOKED_BYTES_MIN), (size_t)64 * 1024 * 1024);
}

static size_t counter_bytes(void) {
    return (NGX_HTTP_CART_COUNTER_BLOCKS * sizeof(ngx_http_cart_counters_t) + 4095) & ~(size_t)4095;
}

ngx_uint_t ngx_http_cart_zone_fits(const cart_zone_config_t *config, size_t zone_bytes) {
    /* nginx's slab keeps a head and a descriptor of at most 32 bytes a page. */
    size_t bytes = (zone_bytes - 2 * ngx_pagesize - zone_bytes / ngx_pagesize * 32) & ~(ngx_pagesize - 1);
    return bytes >= counter_bytes() + revoked_bytes(bytes) + cart_zone_bytes_min(config);
}

ngx_int_t ngx_http_cart_init_zone(ngx_shm_zone_t *zone, void *data) {
    ngx_http_cart_main_conf_t *conf = zone->data;
    ngx_uint_t is_new;
    size_t bytes;
    (void)data; /* the old cycle's configuration; the memory is found through the slab */
    u_char *block = block_of(zone, &bytes, &is_new);
    size_t counters = counter_bytes();
    if (block == NULL || bytes < counters + revoked_bytes(bytes) + cart_zone_bytes_min(&conf->cart_zone.config)) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0, "\"cart_zone\": \"%V\" is too small for %ui shards",
                      &zone->shm.name, (ngx_uint_t)conf->cart_zone.config.shards);
        return NGX_ERROR;
    }
    u_char *revoked = block + counters;
    u_char *seats = revoked + revoked_bytes(bytes);
    size_t seat_bytes = bytes - (size_t)(seats - block);
    conf->counters = (ngx_http_cart_counters_t *)(void *)block;
    conf->cart_zone.locks = locks;
    conf->revoked.locks = locks;
    if (!is_new) {
        if (edge_revoked_attach(&conf->revoked, revoked, revoked_bytes(bytes)) &&
            cart_zone_attach(&conf->cart_zone, seats, seat_bytes)) {
            return NGX_OK;
        }
        ngx_log_error(
            NGX_LOG_EMERG, zone->shm.log, 0,
            "\"cart_zone\": \"%V\" is in use with another layout (cart_shards?): restart, or give it another name",
            &zone->shm.name);
        return NGX_ERROR;
    }
    cart_id_t incarnation;
    uint64_t seed;
    if (RAND_bytes(incarnation.bytes, sizeof(incarnation.bytes)) != 1 ||
        RAND_bytes((unsigned char *)&seed, sizeof(seed)) != 1) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0, "\"cart_zone\": no random bytes");
        return NGX_ERROR;
    }
    if (!edge_revoked_init(&conf->revoked, revoked, revoked_bytes(bytes)) ||
        !cart_zone_init(&conf->cart_zone, seats, seat_bytes, &incarnation, seed)) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0, "\"cart_zone\": \"%V\" cannot be laid out", &zone->shm.name);
        return NGX_ERROR;
    }
    return NGX_OK;
}

ngx_int_t ngx_http_cart_init_books_zone(ngx_shm_zone_t *zone, void *data) {
    ngx_http_cart_main_conf_t *conf = zone->data;
    ngx_uint_t is_new;
    size_t bytes;
    (void)data;
    u_char *block = block_of(zone, &bytes, &is_new);
    conf->books.locks = locks;
    bool ok = block != NULL &&
              (is_new ? edge_books_init(&conf->books, block, bytes) : edge_books_attach(&conf->books, block, bytes));
    if (!ok) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0, "\"cart_books_zone\": \"%V\" cannot be laid out",
                      &zone->shm.name);
        return NGX_ERROR;
    }
    return NGX_OK;
}
