/*
 * `bookcart restore --from DIR --data NEWDIR`: a backup becomes a shop of its own.
 *
 * Everything is verified before anything is written, and again while it is copied. Until all is done NEWDIR holds the file `restoring`,
 * and nothing starts on it. What is copied is the past, and others may remember a later one, so the restored stores are new generations:
 * carts live in a new epoch, catalogue and event logs have other names, every session has ended and the keys are drawn anew. Payment finds
 * `restored.json` and asks the provider what was paid since the cut.
 */
#include "program.h"

#include "platform/bc_files.h"
#include "services/auth/auth.h"
#include "services/cart/cart_service.h"
#include "services/library/library.h"
#include "services/payment/payment.h"
#include "services/question/question.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    const bc_config_t *config;
    const char *folder; /* borrowed: DIR */
    json_t *manifest;   /* owned */
    int64_t cut_ms;
    size_t count;
    int64_t bytes;
} restore_t;

static bool say(const char *what, const char *why) {
    fprintf(stderr, "bookcart: restore: %s: %s\n", what, why);
    return false;
}

/* --- the backup --- */

static bool read_manifest(restore_t *restore) {
    char path[PATH_MAX];
    char *text = NULL;
    size_t length = 0;
    if (snprintf(path, sizeof(path), "%s/" PROGRAM_MANIFEST, restore->folder) >= (int)sizeof(path) ||
        !bc_files_read(path, PROGRAM_MANIFEST_MAX, &text, &length))
        return say(path, errno == ENOENT ? "not there: this is no backup, or one that did not end" : strerror(errno));
    restore->manifest = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    const json_t *cut = json_object_get(restore->manifest, "cut_ms");
    if (json_integer_value(json_object_get(restore->manifest, "format")) != 1 || !json_is_integer(cut) ||
        json_integer_value(cut) <= 0 || !json_is_array(json_object_get(restore->manifest, "files")))
        return say(path, "is no manifest that this program reads");
    restore->cut_ms = json_integer_value(cut);
    return true;
}

static bool is_as_described(const char *path, const json_t *entry, mode_t *mode) {
    program_file_t found = {0};
    if (!program_describe_file(path, &found)) return say(path, strerror(errno));
    const char *digest = json_string_value(json_object_get(entry, "sha256"));
    if (found.bytes != json_integer_value(json_object_get(entry, "bytes")) || digest == NULL ||
        strcmp(digest, found.sha256) != 0)
        return say(path, "is not what was backed up");
    *mode = (mode_t)json_integer_value(json_object_get(entry, "mode")) & 0700;
    return true;
}

/* DIR/data/<path>. */
static bool source_of(const restore_t *restore, const json_t *entry, const char **relative, char path[PATH_MAX]) {
    *relative = json_string_value(json_object_get(entry, "path"));
    if (*relative == NULL || !program_path_is_inside(*relative))
        return say(PROGRAM_MANIFEST, "names a file that is none of a backup");
    return snprintf(path, PATH_MAX, "%s/" PROGRAM_FILES "/%s", restore->folder, *relative) < PATH_MAX ||
           say(*relative, "the path is too long");
}

static bool verify(restore_t *restore) {
    size_t i;
    const json_t *entry;
    json_array_foreach(json_object_get(restore->manifest, "files"), i, entry) {
        const char *relative;
        char path[PATH_MAX];
        mode_t mode;
        if (!source_of(restore, entry, &relative, path) || !is_as_described(path, entry, &mode)) return false;
        restore->count++;
        restore->bytes += json_integer_value(json_object_get(entry, "bytes"));
    }
    return true;
}

/* --- the new folder --- */

static bool make_folders_of(char *path) {
    char *slash = strrchr(path, '/');
    *slash = '\0';
    bool made = bc_files_make_folders(path, 0700);
    *slash = '/';
    return made;
}

static bool copy_all(const restore_t *restore) {
    size_t i;
    const json_t *entry;
    json_array_foreach(json_object_get(restore->manifest, "files"), i, entry) {
        const char *relative;
        char from[PATH_MAX], to[PATH_MAX];
        mode_t mode;
        if (!source_of(restore, entry, &relative, from)) return false;
        if (!bc_config_path(restore->config, relative, to, sizeof(to))) return say(relative, "the path is too long");
        if (!make_folders_of(to) || !program_copy_file(from, to, false, NULL)) return say(to, strerror(errno));
        if (!is_as_described(to, entry, &mode)) return false; /* reads it back, synced */
        if (chmod(to, mode) != 0 || !bc_files_sync_folder_of(to)) return say(to, strerror(errno));
    }
    return true;
}

static bool renew_stores(const bc_config_t *config) {
    return auth_service_restored(config) == 0 && library_service_restored(config) == 0 &&
           payment_service_restored(config) == 0 && question_service_restored(config) == 0 &&
           cart_service_restored(config) == 0;
}

static bool write_note(const restore_t *restore, const char *name) {
    char path[PATH_MAX], text[64];
    int length = snprintf(text, sizeof(text), "{\"cut_ms\":%lld}\n", (long long)restore->cut_ms); /* fits */
    return (bc_config_path(restore->config, name, path, sizeof(path)) &&
            bc_files_create(path, text, (size_t)length, 0600)) ||
           say(name, strerror(errno));
}

static bool fill(const restore_t *restore) {
    char path[PATH_MAX];
    if (!write_note(restore, PROGRAM_RESTORING) || !copy_all(restore)) return false;
    if (!renew_stores(restore->config)) return say(bc_config_text(restore->config, BC_DATA), "a store was not renewed");
    if (!write_note(restore, PROGRAM_RESTORED)) return false;
    return (bc_config_path(restore->config, PROGRAM_RESTORING, path, sizeof(path)) && unlink(path) == 0 &&
            bc_files_sync_folder_of(path)) ||
           say(PROGRAM_RESTORING, strerror(errno));
}

int program_restore(const bc_config_t *config, const char *folder) {
    restore_t restore = {.config = config, .folder = folder};
    program_parent_t parent = program_parent();
    program_owner_t owner;
    char reason[PROGRAM_REASON] = "";
    const char *data = bc_config_text(config, BC_DATA);
    bool good = program_folder_is_free(data) || say(data, "is not empty: a restore makes a new folder");
    good = good && read_manifest(&restore) && verify(&restore);
    if (good && (!program_data_prepare(config, &owner, reason) || !program_become(&owner, &parent, reason)))
        good = say(data, reason);
    good = good && fill(&restore);
    if (good)
        printf("bookcart: restore: %zu files, %lld bytes as of %s in %s; every session has ended\n", restore.count,
               (long long)restore.bytes, json_string_value(json_object_get(restore.manifest, "cut_at")), data);
    json_decref(restore.manifest);
    return good ? 0 : 1;
}
