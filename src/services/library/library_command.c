/*
 * `bookcart import FILE`.
 *
 *   the service runs     the file is uploaded as a job (PUT LIBRARY_JOB_PATH{id}); the service works it off, and this process looks how
 *                        far it is until it has ended. A command that is killed leaves a job that goes on; a service that is killed goes
 *                        on behind its last batch when it is back, and is waited for. The command draws the job's id, so that an upload
 *                        whose answer was lost is sent again as the same job.
 *   the service is down  the command takes its lock and stores the rows itself (library_import.h).
 *
 * A service that is starting or ending is neither for a moment: it is tried again. Both ways print each rejected row with its line and
 * reason, and what became of all; a repeat changes nothing.
 */
#include "platform/bc_client.h"
#include "platform/bc_cursor.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"
#include "services/library/library_import.h"
#include "services/library/library_service.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ask_timeout_ms = 5000,
    upload_timeout_ms = 600 * 1000,
    patience_ms = 60 * 1000, /* for a service that does not answer */
    reach_pause_ms = 500,
    look_pause_ms = 100,
    said_pause_ms = 1000, /* between two lines of progress */
    rejects_page = 100,
};

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

static void pause_ms(int ms) {
    (void)poll(NULL, 0, ms); /* a signal only shortens it */
}

/* NULL: a service was never started on this folder, so there is none to ask. */
static bc_client_t *make_client(const bc_config_t *config) {
    char key[BC_SECRET_MAX + 1], path[BC_FILES_PATH_MAX];
    if (!bc_config_is_set(config, BC_SERVICE_KEY) &&
        (!bc_config_path(config, "keys/service.key", path, sizeof(path)) || access(path, F_OK) != 0)) {
        return NULL;
    }
    if (!bc_secret_service_key(config, false, key, sizeof(key))) return NULL;
    bc_client_t *client = bc_client_create(bc_config_text(config, BC_LIBRARY_INTERNAL), key);
    bc_secret_wipe(key, sizeof(key));
    return client;
}

/* true: the service answers. false: the client is gone. */
static bool reach_service(const bc_config_t *config, reach_t *reach) {
    int status = 0;
    json_t *reply = NULL;
    reach->client = make_client(config);
    bool answered = reach->client != NULL &&
                    bc_client_call(reach->client, "GET", "/readyz", NULL, ask_timeout_ms, NULL, &status, &reply);
    json_decref(reply);
    if (answered && status == 200) return true;
    bc_client_destroy(reach->client);
    reach->client = NULL;
    return false;
}

static bool reach_store(const bc_config_t *config, reach_t *reach) {
    reach->lock = bc_service_lock(config, library_stored.service, false);
    if (reach->lock < 0) return false;
    reach->db = bc_store_open(&library_stored, config);
    if (reach->db != NULL) reach->store = library_store_open(reach->db, bc_config_text(config, BC_SEARCH));
    return true;
}

/* false after a log line. */
static bool reach_library(const bc_config_t *config, reach_t *reach) {
    int64_t until = bc_monotonic_ms() + patience_ms;
    while (bc_monotonic_ms() < until) {
        if (reach_service(config, reach)) return true;
        if (reach_store(config, reach)) return reach->store != NULL;
        if (errno != EWOULDBLOCK) return false;
        pause_ms(reach_pause_ms);
    }
    bc_log(BC_LOG_ERROR, "library-unreachable");
    return false;
}

/* --- reports, which nothing depends on: what cannot be printed is not --- */

static bool say_end(const char *reason) {
    (void)printf("the import ends: %s\n", reason);
    return false;
}

static void say_counts(const library_import_counts_t *counts) {
    (void)printf("%llu rows: %llu new, %llu changed, %llu unchanged, %llu rejected\n", (unsigned long long)counts->rows,
                 (unsigned long long)counts->added, (unsigned long long)counts->changed,
                 (unsigned long long)counts->unchanged, (unsigned long long)counts->rejected);
}

/* --- by the service --- */

typedef struct {
    bc_client_t *client;          /* borrowed */
    const char *media;            /* a literal */
    int fd;                       /* borrowed */
    char name[CART_ID_CHARS + 1]; /* job_… */
} upload_t;

/* The answer's status, and its JSON for the caller to own. 0: nobody has answered for patience_ms. A service that says it is not now is
 * asked again as long as it takes: eight imports may be before this one. */
static int ask(const upload_t *upload, const char *method, const char *query, json_t **reply) {
    char path[sizeof(LIBRARY_JOB_PATH) + CART_ID_CHARS + BC_CURSOR_CHARS + 32];
    (void)snprintf(path, sizeof(path), LIBRARY_JOB_PATH "%s%s", upload->name, query); /* fits: an id and a cursor */
    int64_t until = bc_monotonic_ms() + patience_ms;
    for (;;) {
        int status = 0;
        *reply = NULL;
        bool sends = strcmp(method, "PUT") == 0;
        bool answered = sends
                            ? bc_client_upload(upload->client, method, path, upload->fd, upload->media,
                                               upload_timeout_ms, &status, reply)
                            : bc_client_call(upload->client, method, path, NULL, ask_timeout_ms, NULL, &status, reply);
        if (answered && status != 429 && status != 503) return status;
        json_decref(*reply);
        *reply = NULL;
        if (answered) until = bc_monotonic_ms() + patience_ms;
        if (bc_monotonic_ms() >= until) return 0;
        pause_ms(reach_pause_ms);
    }
}

/* What the service says against it. Takes `reply`. Always false. */
static bool say_refused(int status, json_t *reply) {
    const char *title = json_string_value(json_object_get(reply, "title"));
    const char *detail = json_string_value(json_object_get(reply, "detail"));
    if (status == 0) {
        (void)say_end("the library does not answer; a job that it has taken goes on when it is back");
    } else {
        (void)say_end(detail != NULL ? detail : title != NULL ? title : "the library refuses it");
    }
    json_decref(reply);
    return false;
}

static uint64_t number_of(const json_t *job, const char *name) {
    json_int_t value = json_integer_value(json_object_get(job, name));
    return value < 0 ? 0 : (uint64_t)value;
}

/* Until the job has ended. NULL: it was said why. */
static json_t *wait_for_end(const upload_t *upload) {
    int64_t said_ms = bc_monotonic_ms();
    uint64_t said = 0;
    for (;;) {
        json_t *job = NULL;
        int status = ask(upload, "GET", "?limit=1", &job);
        const char *state = json_string_value(json_object_get(job, "state"));
        if (status != 200 || state == NULL) {
            (void)say_refused(status, job); /* takes it */
            return NULL;
        }
        if (strcmp(state, "running") != 0) return job;
        uint64_t done = number_of(job, "rows_done");
        if (done != said && bc_monotonic_ms() - said_ms >= said_pause_ms) {
            (void)printf("%llu of %llu rows\n", (unsigned long long)done, (unsigned long long)number_of(job, "rows"));
            (void)fflush(stdout);
            said = done;
            said_ms = bc_monotonic_ms();
        }
        json_decref(job);
        pause_ms(look_pause_ms);
    }
}

/* Those that are named; the rest is counted. false: it was said why not. */
static bool say_rejected(const upload_t *upload, uint64_t rejected) {
    char query[BC_CURSOR_CHARS + 32], cursor[BC_CURSOR_CHARS + 1] = "";
    uint64_t named = 0;
    do {
        json_t *page = NULL;
        (void)snprintf(query, sizeof(query), "?limit=%d%s%s", (int)rejects_page,
                       cursor[0] == '\0' ? "" : "&cursor=", cursor);
        int status = ask(upload, "GET", query, &page);
        if (status != 200) return say_refused(status, page);
        size_t i;
        const json_t *row;
        json_array_foreach(json_object_get(page, "rejected"), i, row) {
            const char *reason = json_string_value(json_object_get(row, "reason"));
            (void)printf("line %llu: %s\n", (unsigned long long)number_of(row, "line"), reason == NULL ? "" : reason);
            named++;
        }
        const char *next = json_string_value(json_object_get(page, "next_cursor"));
        (void)snprintf(cursor, sizeof(cursor), "%s", next == NULL ? "" : next);
        json_decref(page);
    } while (cursor[0] != '\0');
    if (named < rejected) (void)printf("more rows were rejected; they are counted below\n");
    return true;
}

static bool import_as_job(bc_client_t *client, int fd, library_format_t format) {
    upload_t upload = {
        .client = client, .fd = fd, .media = format == LIBRARY_FORMAT_CSV ? LIBRARY_JOB_CSV : LIBRARY_JOB_NDJSON};
    cart_id_t id = bc_random_id();
    struct stat about;
    json_t *reply = NULL;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) return say_end("this is no file");
    if (about.st_size > LIBRARY_JOB_BYTES_MAX)
        return say_end("more than 64 MiB: in parts, or while the service is down");
    cart_id_format(LIBRARY_JOB_PREFIX, &id, upload.name);
    int status = ask(&upload, "PUT", "", &reply);
    if (status != 202) return say_refused(status, reply);
    json_decref(reply);
    (void)printf("%s\n", upload.name);
    (void)fflush(stdout);
    json_t *job = wait_for_end(&upload);
    if (job == NULL) return false;
    const library_import_counts_t counts = {.rows = number_of(job, "rows_done"),
                                            .added = number_of(job, "added"),
                                            .changed = number_of(job, "changed"),
                                            .unchanged = number_of(job, "unchanged"),
                                            .rejected = number_of(job, "rejected_count")};
    const char *reason = json_string_value(json_object_get(job, "reason"));
    bool whole = counts.rejected == 0 || say_rejected(&upload, counts.rejected);
    if (reason != NULL) whole = say_end(reason);
    say_counts(&counts);
    json_decref(job);
    return whole && counts.rejected == 0;
}

/* --- straight into the store --- */

static bool import_directly(const bc_config_t *config, library_store_t *store, const char *path) {
    library_import_counts_t counts;
    bool whole = library_import_file(path, bc_config_text(config, BC_CURRENCY), store, stdout, &counts);
    say_counts(&counts);
    return whole && counts.rejected == 0;
}

int library_import(const bc_config_t *config, const char *path) {
    reach_t reach = {.lock = -1};
    bool good = false;
    if (!bc_random_init() || !bc_client_init()) return 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        (void)say_end(strerror(errno)); /* always false */
        return 1;
    }
    if (reach_library(config, &reach)) {
        good = reach.client != NULL ? import_as_job(reach.client, fd, library_import_format(path))
                                    : import_directly(config, reach.store, path);
    }
    leave(&reach);
    (void)close(fd); /* read only */
    return good ? 0 : 1;
}
