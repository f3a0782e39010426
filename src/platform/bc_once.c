/*
 * Keys that run are held in a list of this process, so that two requests with one key are never decided at the same time; keys that were
 * answered are rows. A key is held before its row is looked for: whoever comes after the first one's end finds the row.
 *
 * A stored problem is kept as its parts (name, detail, errors) and told again in the language and under the id of the request that
 * repeats it.
 */
#include "platform/bc_once.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEDIA_JSON    "application/json"
#define MEDIA_PROBLEM "application/problem+json"

enum { too_many_retry_ms = 3600 * 1000 };

static pthread_mutex_t running_lock = PTHREAD_MUTEX_INITIALIZER;
static bc_once_t *running; /* under running_lock; at most one a connection */

/* --- keys that run --- */

static bool same_key(const bc_once_t *a, const bc_once_t *b) {
    return a->db == b->db && cart_id_equal(&a->user, &b->user) && strcmp(a->place, b->place) == 0 &&
           strcmp(a->key, b->key) == 0;
}

static bool hold(bc_once_t *once) {
    (void)pthread_mutex_lock(&running_lock); /* a default mutex: fails only on our own misuse */
    const bc_once_t *other = running;
    while (other != NULL && !same_key(other, once)) other = other->next;
    if (other == NULL) {
        once->next = running;
        running = once;
    }
    (void)pthread_mutex_unlock(&running_lock);
    return other == NULL;
}

static void let_go(bc_once_t *once) {
    (void)pthread_mutex_lock(&running_lock);
    bc_once_t **at = &running;
    while (*at != NULL && *at != once) at = &(*at)->next;
    assert(*at == once);
    *at = once->next;
    (void)pthread_mutex_unlock(&running_lock);
}

/* --- reading the request --- */

static bool digest_file(crypto_generichash_state *state, int fd, size_t length) {
    unsigned char bytes[16 * 1024];
    for (size_t at = 0; at < length;) {
        ssize_t got = pread(fd, bytes, sizeof(bytes), (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        (void)crypto_generichash_update(state, bytes, (unsigned long long)got); /* always 0 */
        at += (size_t)got;
    }
    return true;
}

/* Body and query: what the key was given for. A JSON body counts as what it says, not as how it is spaced. */
static bool digest_request(const bc_request_t *request, uint8_t digest[BC_ONCE_DIGEST]) {
    crypto_generichash_state state;
    const char *query = strchr(bc_request_url(request), '?'), *bytes = NULL, *media = NULL;
    size_t length = 0;
    int fd = -1;
    const json_t *body = bc_request_body(request);
    (void)crypto_generichash_init(&state, NULL, 0, BC_ONCE_DIGEST); /* always 0 for this length; so the next */
    if (query != NULL) (void)crypto_generichash_update(&state, (const unsigned char *)query, strlen(query));
    (void)crypto_generichash_update(&state, (const unsigned char *)"\n", 1);
    if (body != NULL) {
        char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
        if (text == NULL) return false;
        (void)crypto_generichash_update(&state, (const unsigned char *)text, strlen(text));
        free(text);
    } else if (bc_request_raw(request, &bytes, &length, &media)) {
        (void)crypto_generichash_update(&state, (const unsigned char *)bytes, length);
    } else if (bc_request_spool(request, &fd, &length, &media) && !digest_file(&state, fd, length)) {
        return false;
    }
    (void)crypto_generichash_final(&state, digest, BC_ONCE_DIGEST);
    return true;
}

static bool key_is_good(const char *key) {
    size_t length = strlen(key);
    if (length < 1 || length > BC_ONCE_KEY_MAX) return false;
    for (size_t i = 0; i < length; i++) {
        if (key[i] <= ' ' || key[i] > '~') return false;
    }
    return true;
}

/* false: a problem was set. */
static bool read_request(bc_db_t *db, const bc_request_t *request, bc_reply_t *reply, const char *key,
                         bc_once_t *once) {
    const bc_claims_t *caller = bc_request_caller(request);
    assert(caller != NULL); /* routes with keys have callers */
    const char *url = bc_request_url(request);
    int length =
        snprintf(once->place, sizeof(once->place), "%s %.*s", bc_request_method(request), (int)strcspn(url, "?"), url);
    if (!key_is_good(key) || length < 0 || (size_t)length >= sizeof(once->place)) {
        bc_reply_problem_field(reply, "malformed-request", "Idempotency-Key", "malformed",
                               "1 to 64 visible ASCII characters are needed");
        return false;
    }
    if (!digest_request(request, once->digest)) {
        bc_reply_problem(reply, "internal-error", NULL);
        return false;
    }
    once->user = caller->user;
    memcpy(once->key, key, strlen(key) + 1);
    once->db = db;
    return true;
}

/* --- rows --- */

static void bind_key(bc_statement_t *statement, int at, const bc_once_t *once) {
    bc_bind_id(statement, at, &once->user);
    bc_bind_text(statement, at + 1, once->place);
    bc_bind_text(statement, at + 2, once->key);
}

static void replay(bc_statement_t *row, bc_reply_t *reply) {
    const char *location = bc_column_text(row, 3), *media = bc_column_text(row, 4), *body = bc_column_text(row, 5);
    int status = (int)bc_column_int(row, 2);
    if (strcmp(media, MEDIA_PROBLEM) == 0) {
        json_t *parts = json_loads(body, 0, NULL);
        bc_reply_problem_from(reply, parts);
        json_decref(parts);
    } else if (body[0] == '\0') {
        bc_reply_empty(reply, status);
    } else {
        bc_reply_bytes(reply, status, media, body, strlen(body));
    }
    if (location != NULL) bc_reply_header(reply, "Location", location);
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_header(reply, "Idempotent-Replayed", "true");
}

/* true: the key is new, go on. */
static bool look_up(const bc_once_t *once, bc_reply_t *reply) {
    bc_db_enter(once->db);
    bc_statement_t *statement = bc_db_prepare(
        once->db, "SELECT (SELECT COUNT(*) FROM once_keys WHERE user_id = ? AND created_ms > ?), k.digest, k.status, "
                  "k.location, k.media, k.body FROM (SELECT 1) AS one LEFT JOIN once_keys k "
                  "ON k.user_id = ? AND k.place = ? AND k.once_key = ? AND k.created_ms > ?");
    int64_t oldest_ms = bc_time_ms() - BC_ONCE_KEPT_MS;
    bc_bind_id(statement, 1, &once->user);
    bc_bind_int(statement, 2, oldest_ms);
    bind_key(statement, 3, once);
    bc_bind_int(statement, 6, oldest_ms);
    bool fresh = false;
    if (bc_step(statement) != BC_DB_ROW) {
        bc_reply_problem(reply, "unavailable", NULL);
        bc_reply_retry_after(reply, 1000);
    } else if (!bc_column_is_null(statement, 1)) {
        size_t length = 0;
        const void *digest = bc_column_bytes(statement, 1, &length);
        if (length == BC_ONCE_DIGEST && memcmp(digest, once->digest, length) == 0) {
            replay(statement, reply);
        } else {
            bc_reply_problem(reply, "idempotency-key-reused", NULL);
        }
    } else if (bc_column_int(statement, 0) >= BC_ONCE_USER_MAX) {
        bc_reply_problem(reply, "too-many-requests", "too many idempotency keys within a day");
        bc_reply_retry_after(reply, too_many_retry_ms);
    } else {
        fresh = true;
    }
    bc_statement_done(statement);
    bc_db_leave(once->db);
    return fresh;
}

static void put_row(bc_once_t *once, int status, const char *media, const char *body, const char *location) {
    bc_statement_t *statement = bc_db_prepare(
        once->db, "INSERT INTO once_keys(user_id, place, once_key, digest, status, location, media, body, created_ms) "
                  "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)" BC_SQL_UPSERT(
                      "user_id, place, once_key") /* one that is over a day old and not tidied yet */
        "digest = excluded.digest, status = excluded.status, location = excluded.location, "
        "media = excluded.media, body = excluded.body, created_ms = excluded.created_ms");
    bind_key(statement, 1, once);
    bc_bind_bytes(statement, 4, once->digest, BC_ONCE_DIGEST);
    bc_bind_int(statement, 5, status);
    bc_bind_text(statement, 6, location);
    bc_bind_text(statement, 7, media);
    bc_bind_text(statement, 8, body);
    bc_bind_int(statement, 9, bc_time_ms());
    if (bc_run(statement) == BC_DB_CONSTRAINT) bc_db_fail(once->db, "idempotency key"); /* null body: no memory */
}

/* --- the handler's calls --- */

bool bc_once_begin(bc_db_t *db, bc_request_t *request, bc_reply_t *reply, bc_once_need_t need, bc_once_t *once) {
    const char *key = bc_request_header(request, "Idempotency-Key");
    *once = (bc_once_t){.db = NULL};
    if (key == NULL) {
        if (need == BC_ONCE_OPTIONAL) return true;
        bc_reply_problem(reply, "idempotency-key-missing", NULL);
        return false;
    }
    if (!read_request(db, request, reply, key, once)) return false;
    if (!hold(once)) {
        bc_reply_problem(reply, "idempotency-key-in-use", NULL);
        bc_reply_retry_after(reply, 1000);
        return false;
    }
    if (look_up(once, reply)) return true;
    let_go(once);
    return false;
}

void bc_once_keep(bc_once_t *once, int status, const json_t *body, const char *location) {
    if (once->db == NULL) return;
    assert(status >= 200 && status < 300);
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    assert(text == NULL || strlen(text) <= BC_ONCE_BODY_MAX);
    put_row(once, status, MEDIA_JSON, body == NULL ? "" : text, location);
    once->kept = true;
    free(text);
}

static void keep_refusal(bc_once_t *once, const bc_reply_t *reply) {
    json_t *parts = bc_reply_problem_parts(reply);
    char *text = parts == NULL ? NULL : json_dumps(parts, JSON_COMPACT);
    json_decref(parts);
    /* What cannot be kept is decided anew by a repeat: nothing was changed. */
    if (text != NULL && bc_db_begin(once->db) == BC_DB_OK) {
        put_row(once, bc_reply_status(reply), MEDIA_PROBLEM, text, NULL);
        if (bc_db_commit(once->db) != BC_DB_OK) bc_log(BC_LOG_WARN, "refusal-not-kept");
    }
    free(text);
}

void bc_once_end(bc_once_t *once, const bc_reply_t *reply) {
    if (once->db == NULL) return;
    int status = bc_reply_status(reply);
    if (!once->kept && (status == 409 || status == 412 || status == 422)) keep_refusal(once, reply);
    let_go(once);
    once->db = NULL;
}

void bc_once_tidy(bc_db_t *db, int64_t now_ms) {
    bc_statement_t *statement = bc_db_prepare(db, "DELETE FROM once_keys WHERE created_ms < ?");
    bc_bind_int(statement, 1, now_ms - BC_ONCE_KEPT_MS);
    (void)bc_run(statement); /* errors stick */
}
