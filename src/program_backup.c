/*
 * `bookcart backup --to DIR`: one cut across all files of the shop, while it runs.
 *
 *   1. copy what only grows or is replaced whole (pictures, mails, …), without stopping anybody
 *   2. hold the writes of every service, one after the other; the cut is when the last one is held
 *   3. copy the databases with their logs and the journal as they lie, and of the rest what is new
 *   4. let go; each service says whether its hold lasted. If not, there is no backup
 *   5. sync everything, read it back for its digests, write the manifest last: without it DIR is no backup
 *
 * One cut: what a service has written depends only on what others had written before they were held, and from the last hold on nobody
 * writes. A hold is a lease of HOLD_MS that is renewed while files are copied, HELD_MS_MAX in all: when this process dies, services go on by
 * themselves, before the changes that wait at the edge have run out of time. A service that does not run is held by its lock, so a shop that
 * is down is backed up the same way.
 *
 * Copying files of a live SQLite database is sound here because its only connection writes nothing meanwhile, neither log nor database; no
 * second connection is opened (SQLite 3.40.1 has the WAL-reset bug). Keys are not copied: a restored shop draws new ones.
 */
#include "program.h"

#include "platform/bc_client.h"
#include "platform/bc_fault.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_service.h"
#include "platform/bc_time.h"

#include <errno.h>
#include <fts.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOLD_MS     4000 /* less than BOOKCART_CART_WRITE_TIMEOUT is by default */
#define RENEW_MS    1000
#define HELD_MS_MAX 60000
#define CALL_MS     10000
#define TRIES       20
#define TRY_WAIT_US 200000

typedef struct {
    bc_client_t *client; /* owned; NULL: held by its lock */
    int lock;            /* -1: held by a call */
    bool held;
} hold_t;

typedef struct {
    const bc_config_t *config;
    char target[PATH_MAX]; /* DIR/data */
    char id[32];           /* of our holds */
    char key[BC_SECRET_MAX + 1];
    hold_t holds[PROGRAM_SERVICES];
    int64_t cut_ms;                    /* Unix time */
    int64_t held_since_ms, renewed_ms; /* monotonic */
    int64_t held_ms;
} backup_t;

static bool say(const char *what, const char *why) {
    fprintf(stderr, "bookcart: backup: %s: %s\n", what, why);
    return false;
}

/* --- the hold --- */

static bool ask_to_hold(backup_t *backup, bc_client_t *client, int *status) {
    json_t *reply = NULL, *body = json_pack("{s:s, s:i}", "id", backup->id, "ms", HOLD_MS);
    bool answered =
        body != NULL && bc_client_call(client, "POST", "/internal/hold", body, CALL_MS, NULL, status, &reply);
    json_decref(body);
    json_decref(reply);
    return answered && *status == 200;
}

/* The service, if it answers; else its lock, if nobody has it; for a moment between the two it may be neither. */
static bool hold_one(backup_t *backup, size_t i) {
    const program_service_t *service = &program_services[i];
    hold_t *hold = &backup->holds[i];
    for (int tries = 0; tries < TRIES; tries++) {
        int status = 0;
        hold->client = bc_client_create(bc_config_text(backup->config, service->internal), backup->key);
        hold->held = hold->client != NULL && ask_to_hold(backup, hold->client, &status);
        if (hold->held) return true;
        bc_client_destroy(hold->client);
        hold->client = NULL;
        if (status == 409) return say(service->name, "another backup is under way");
        hold->lock = bc_service_lock(backup->config, service->name, false);
        hold->held = hold->lock >= 0;
        if (hold->held) return true;
        (void)usleep(TRY_WAIT_US); /* a signal only shortens it */
    }
    return say(service->name, "it neither answers nor is it down");
}

/* Called while files are copied. false: it has lasted too long, or a service is gone. */
static bool keep_holding(void *context) {
    backup_t *backup = context;
    int64_t now_ms = bc_monotonic_ms();
    if (now_ms - backup->renewed_ms < RENEW_MS) return true;
    backup->renewed_ms = now_ms;
    bool good = now_ms - backup->held_since_ms < HELD_MS_MAX;
    for (size_t i = 0; i < PROGRAM_SERVICES && good; i++) {
        int status = 0;
        good = backup->holds[i].client == NULL || ask_to_hold(backup, backup->holds[i].client, &status);
    }
    return good;
}

/* true: all were held until now. */
static bool let_go(backup_t *backup) {
    bool whole = true;
    for (size_t i = 0; i < PROGRAM_SERVICES; i++) {
        hold_t *hold = &backup->holds[i];
        if (hold->client != NULL && hold->held) {
            int status = 0;
            json_t *reply = NULL, *body = json_pack("{s:s}", "id", backup->id);
            bool lasted =
                body != NULL &&
                bc_client_call(hold->client, "POST", "/internal/hold/release", body, CALL_MS, NULL, &status, &reply) &&
                status == 200 && json_is_true(json_object_get(reply, "held"));
            if (!lasted) whole = say(program_services[i].name, "its hold did not last; try again");
            json_decref(body);
            json_decref(reply);
        }
        bc_client_destroy(hold->client);
        if (hold->lock >= 0) (void)close(hold->lock); /* releases the lock */
        *hold = (hold_t){.lock = -1};
    }
    return whole;
}

/* --- what is copied, and when --- */

static bool ends_with(const char *name, const char *end) {
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* Sockets, locks, keys, nginx's own, half-made files: nothing of it belongs to another time or place. */
static bool is_left_out(const FTSENT *at) {
    static const char *const folders[] = {"run", "nginx", "keys"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        if (at->fts_level == 1 && strcmp(at->fts_name, folders[i]) == 0) return true;
    return at->fts_level > 0 && (ends_with(at->fts_name, "lock") || ends_with(at->fts_name, "-shm") ||
                                 ends_with(at->fts_name, ".tmp") || strcmp(at->fts_name, PROGRAM_RESTORED) == 0);
}

/* Files that change in place: only under the hold. */
static bool is_store(const char *relative) {
    return strncmp(relative, "journal/", 8) == 0 || ends_with(relative, ".db") || ends_with(relative, ".db-wal") ||
           ends_with(relative, ".db-journal");
}

static bool copy_entry(backup_t *backup, const FTSENT *at, const char *relative, bool stores) {
    char to[PATH_MAX];
    if (snprintf(to, sizeof(to), "%s/%s", backup->target, relative) >= (int)sizeof(to)) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (at->fts_info == FTS_D) return mkdir(to, 0700) == 0 || errno == EEXIST;
    if (at->fts_info != FTS_F || (is_store(relative) && !stores)) return true;
    const program_tick_t tick = {keep_holding, backup};
    return program_copy_file(at->fts_path, to, !is_store(relative), stores ? &tick : NULL) ||
           (errno == ENOENT && !is_store(relative)); /* sent, or deleted: it was not needed any more */
}

static bool copy_data(backup_t *backup, bool stores) {
    char *data = strdup(bc_config_text(backup->config, BC_DATA));
    char *const roots[] = {data, NULL};
    FTS *walk = data == NULL ? NULL : fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    bool good = walk != NULL;
    FTSENT *at;
    while (good && (errno = 0, at = fts_read(walk)) != NULL) {
        if (at->fts_level == 0) continue;
        if (is_left_out(at)) {
            (void)fts_set(walk, at, FTS_SKIP); /* cannot fail with this word */
            continue;
        }
        const char *relative = at->fts_path + strlen(data) + 1;
        good = copy_entry(backup, at, relative, stores);
        if (!good) (void)say(relative, strerror(errno));
    }
    if (good && errno != 0) good = say(bc_config_text(backup->config, BC_DATA), strerror(errno));
    if (walk != NULL) (void)fts_close(walk); /* everything was read */
    free(data);
    return good;
}

static bool copy_held(backup_t *backup) {
    backup->held_since_ms = backup->renewed_ms = bc_monotonic_ms();
    bool good = true;
    for (size_t i = 0; i < PROGRAM_SERVICES && good; i++) good = hold_one(backup, i);
    backup->cut_ms = bc_time_ms();
    (void)bc_fault("backup.held");
    good = good && copy_data(backup, true);
    good = let_go(backup) && good;
    backup->held_ms = bc_monotonic_ms() - backup->held_since_ms;
    return good;
}

/* --- the manifest --- */

static json_t *manifest_json(const backup_t *backup, const program_files_t *files, int64_t *bytes) {
    char cut_at[BC_TIME_TEXT_BYTES];
    json_t *list = json_array();
    bc_time_format(backup->cut_ms, cut_at);
    *bytes = 0;
    for (size_t i = 0; i < files->count; i++) {
        const program_file_t *file = &files->files[i];
        *bytes += file->bytes;
        json_t *entry = json_pack("{s:s, s:I, s:i, s:s}", "path", file->path, "bytes", (json_int_t)file->bytes, "mode",
                                  (int)file->mode, "sha256", file->sha256);
        if (json_array_append_new(list, entry) != 0) {
            json_decref(list); /* no memory, or a name that is no UTF-8 */
            return NULL;
        }
    }
    return json_pack("{s:i, s:s, s:I, s:s, s:o}", "format", 1, "program", BOOKCART_VERSION, "cut_ms",
                     (json_int_t)backup->cut_ms, "cut_at", cut_at, "files", list);
}

static bool write_manifest(const backup_t *backup, const char *folder) {
    program_files_t files = {0};
    char path[PATH_MAX];
    int64_t bytes = 0;
    if (!program_describe_folder(backup->target, &files)) {
        program_files_free(&files);
        return say(backup->target, strerror(errno));
    }
    json_t *manifest = manifest_json(backup, &files, &bytes);
    char *text = manifest == NULL ? NULL : json_dumps(manifest, JSON_INDENT(1));
    size_t count = files.count;
    json_decref(manifest);
    program_files_free(&files);
    bool good = text != NULL && snprintf(path, sizeof(path), "%s/" PROGRAM_MANIFEST, folder) < (int)sizeof(path) &&
                bc_files_create(path, text, strlen(text), 0600);
    if (!good) (void)say(PROGRAM_MANIFEST, text == NULL ? "no memory, or a file's name is no UTF-8" : strerror(errno));
    free(text);
    if (good)
        printf("bookcart: backup: %zu files, %lld bytes in %s; writes were held for %lld ms\n", count, (long long)bytes,
               folder, (long long)backup->held_ms);
    return good;
}

/* Is the folder, or would it be when it is made, in DATA? */
static bool is_inside_data(const char *folder, const char *data) {
    char path[PATH_MAX], real[PATH_MAX], real_data[PATH_MAX];
    if ((size_t)snprintf(path, sizeof(path), "%s", folder) >= sizeof(path) || realpath(data, real_data) == NULL)
        return true;
    while (realpath(path, real) == NULL) { /* of what is there of it */
        char *slash = strrchr(path, '/');
        if (errno != ENOENT || slash == NULL || slash == path) return true;
        *slash = '\0';
    }
    size_t length = strlen(real_data);
    return strncmp(real, real_data, length) == 0 && (real[length] == '/' || real[length] == '\0');
}

int program_backup(const bc_config_t *config, const char *folder) {
    backup_t backup = {.config = config};
    for (size_t i = 0; i < PROGRAM_SERVICES; i++) backup.holds[i].lock = -1;
    if (is_inside_data(folder, bc_config_text(config, BC_DATA))) {
        (void)say(folder, "a backup inside the data folder is none");
        return 1;
    }
    if (!program_folder_is_free(folder)) {
        (void)say(folder, "is not empty");
        return 1;
    }
    if (snprintf(backup.target, sizeof(backup.target), "%s/" PROGRAM_FILES, folder) >= (int)sizeof(backup.target) ||
        !bc_files_make_folders(backup.target, 0700)) {
        (void)say(folder, strerror(errno));
        return 1;
    }
    char reason[BC_CONFIG_REASON_BYTES];
    if (!bc_fault_init(bc_config_text(config, BC_FAULTS), reason)) {
        (void)say("BOOKCART_FAULTS", reason);
        return 1;
    }
    if (!bc_client_init() || !program_service_key(config, "backup", backup.key, sizeof(backup.key))) return 1;
    bc_random_text(16, backup.id, sizeof(backup.id));
    bool good = copy_data(&backup, false) && copy_held(&backup) && write_manifest(&backup, folder);
    bc_secret_wipe(backup.key, sizeof(backup.key));
    if (!good) fprintf(stderr, "bookcart: backup: %s is no backup\n", folder);
    return good ? 0 : 1;
}
