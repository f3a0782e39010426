/*
 * A worker's life: what it makes when it starts, the keys it watches, how it ends.
 *
 * A worker dies with its master: after a kill -9 of the master nobody would restart or stop it, and it would hold the
 * port against the next one. Timers of ours are cancelable while nothing is parked, so that an old worker goes as soon
 * as its last request has been answered.
 */
#include "edge/ngx_http_cart_module.h"

#include <openssl/rand.h>
#include <sys/prctl.h>

#define KEYS_EVERY_MS   1000
#define KEYS_AT_ONCE_MS 100 /* a token with an unknown key may ask for another look after this */

/* Out of a buffer: one call into OpenSSL for hundreds of ids. */
void ngx_http_cart_random(ngx_http_cart_worker_t *worker, uint8_t *bytes, size_t length) {
    if (worker->random_left < length) {
        if (RAND_bytes(worker->random, NGX_HTTP_CART_RANDOM) != 1) {
            ngx_log_error(NGX_LOG_ALERT, worker->log, 0, "cart: no random bytes");
            abort(); /* an id that could be guessed or repeated is worse than a restart */
        }
        worker->random_left = NGX_HTTP_CART_RANDOM;
    }
    worker->random_left -= length;
    ngx_memcpy(bytes, worker->random + worker->random_left, length);
    ngx_memzero(worker->random + worker->random_left, length);
}

/* The whole file into pool memory. NGX_DECLINED: not there, or nothing we would read. */
ngx_int_t ngx_http_cart_read_file(ngx_pool_t *pool, ngx_log_t *log, ngx_str_t *path, ngx_str_t *text,
                                  ngx_file_info_t *info) {
    ngx_fd_t fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) return NGX_DECLINED;
    ngx_int_t result = NGX_DECLINED;
    if (ngx_fd_info(fd, info) != NGX_FILE_ERROR && ngx_is_file(info) && ngx_file_size(info) > 0 &&
        ngx_file_size(info) <= EDGE_KEYS_BYTES_MAX) {
        size_t size = (size_t)ngx_file_size(info);
        u_char *data = ngx_pnalloc(pool, size);
        if (data != NULL && ngx_read_fd(fd, data, size) == (ssize_t)size) {
            text->data = data;
            text->len = size;
            result = NGX_OK;
        }
    }
    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, log, ngx_errno, ngx_close_file_n " \"%V\" failed", path);
    }
    return result;
}

static void take_keys(ngx_http_cart_worker_t *worker, const ngx_str_t *text) {
    const char *why = NULL;
    edge_keys_t *keys = edge_keys_parse(text->data, text->len, worker->keys, &worker->key_numbers, &why);
    if (keys == NULL) {
        ngx_log_error(NGX_LOG_ERR, worker->log, 0, "cart_jwks \"%V\": %s; the last good keys stay", &worker->conf->jwks,
                      why);
        return;
    }
    edge_keys_destroy(worker->keys);
    worker->keys = keys;
    ngx_log_error(NGX_LOG_NOTICE, worker->log, 0, "cart_jwks \"%V\": %ui keys", &worker->conf->jwks,
                  (ngx_uint_t)edge_keys_count(keys));
}

/* The file is replaced by rename: another inode, time or size. */
void ngx_http_cart_look_at_keys(ngx_http_cart_worker_t *worker) {
    ngx_file_info_t info;
    if (worker->keys_looked_ms != 0 && ngx_current_msec - worker->keys_looked_ms < KEYS_AT_ONCE_MS) return;
    worker->keys_looked_ms = ngx_current_msec;
    if (ngx_file_info(worker->conf->jwks.data, &info) == NGX_FILE_ERROR) return; /* away: the last ones stay */
    if (worker->keys_inode == ngx_file_uniq(&info) && worker->keys_mtime == ngx_file_mtime(&info) &&
        worker->keys_size == ngx_file_size(&info)) {
        return;
    }
    ngx_pool_t *pool = ngx_create_pool(4096, worker->log);
    ngx_str_t text;
    if (pool == NULL) return;
    if (ngx_http_cart_read_file(pool, worker->log, &worker->conf->jwks, &text, &info) == NGX_OK) {
        worker->keys_inode = ngx_file_uniq(&info);
        worker->keys_mtime = ngx_file_mtime(&info);
        worker->keys_size = ngx_file_size(&info);
        take_keys(worker, &text);
    }
    ngx_destroy_pool(pool);
}

static void keys_timer(ngx_event_t *event) {
    ngx_http_cart_worker_t *worker = event->data;
    ngx_http_cart_look_at_keys(worker);
    ngx_add_timer(event, KEYS_EVERY_MS);
}

static ngx_int_t die_with_master(ngx_cycle_t *cycle) {
    if (ngx_process == NGX_PROCESS_SINGLE) return NGX_OK;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno, "cart: prctl(PR_SET_PDEATHSIG) failed");
        return NGX_ERROR;
    }
    /* It may have died before we asked. */
    if (getppid() != ngx_parent) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0, "cart: the master process is gone");
        return NGX_ERROR;
    }
    return NGX_OK;
}

ngx_int_t ngx_http_cart_init_process(ngx_cycle_t *cycle) {
    ngx_http_cart_main_conf_t *conf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_cart_module);
    if (conf == NULL || !conf->used) return NGX_OK;
    if (die_with_master(cycle) != NGX_OK) return NGX_ERROR;
    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE) return NGX_OK; /* cache helpers */

    ngx_http_cart_worker_t *worker = ngx_pcalloc(cycle->pool, sizeof(*worker));
    if (worker == NULL) return NGX_ERROR;
    worker->conf = conf;
    worker->log = cycle->log;
    worker->counters = &conf->counters[ngx_worker % NGX_HTTP_CART_COUNTER_BLOCKS];
    ngx_queue_init(&worker->waiting);
    ngx_queue_init(&worker->early);
    worker->tokens = edge_tokens_create(conf->token_cache);
    worker->pages = edge_pages_create();
    if (worker->tokens == NULL || worker->pages == NULL) return NGX_ERROR;
    worker->books_event.handler = ngx_http_cart_books_came;
    worker->books_event.data = worker;
    worker->books_event.log = cycle->log;
    conf->worker = worker;

    if (conf->jwks_text.len > 0) take_keys(worker, &conf->jwks_text);
    ngx_http_cart_look_at_keys(worker);
    worker->keys_timer.handler = keys_timer;
    worker->keys_timer.data = worker;
    worker->keys_timer.log = cycle->log;
    worker->keys_timer.cancelable = 1;
    ngx_add_timer(&worker->keys_timer, KEYS_EVERY_MS);

    ngx_http_cart_service_t *services = conf->services.elts;
    for (ngx_uint_t i = 0; i < conf->services.nelts; i++) {
        worker->links[i].worker = worker;
        worker->links[i].service = &services[i];
        if (ngx_http_cart_link_start(&worker->links[i]) != NGX_OK) return NGX_ERROR;
        worker->link_count++;
    }
    return NGX_OK;
}

void ngx_http_cart_exit_process(ngx_cycle_t *cycle) {
    ngx_http_cart_main_conf_t *conf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_cart_module);
    ngx_http_cart_worker_t *worker = conf == NULL ? NULL : conf->worker;
    if (worker == NULL) return;
    for (ngx_uint_t i = 0; i < worker->link_count; i++) ngx_http_cart_link_stop(&worker->links[i]);
    if (worker->keys_timer.timer_set) ngx_del_timer(&worker->keys_timer);
    conf->worker = NULL;
    edge_tokens_destroy(worker->tokens);
    edge_pages_destroy(worker->pages);
    edge_keys_destroy(worker->keys);
}
