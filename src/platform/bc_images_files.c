/*
 * Pictures in DATA/media/<folder>/<name>/{large,medium,small}.webp.
 *
 * A picture appears whole: its folder is made under another name beside the others, synced, and renamed. Names that begin with a dot
 * are such beginnings; the edge does not serve them, a sweep removes those that a kill left behind.
 *
 * The lock makes "sent again" and "swept" one after the other: a sweep looks at a picture's time, asks whether it is used and takes
 * it away without a touch in between; and who touches refers to it only afterwards. The time of a picture is its folder's.
 */
#include "platform/bc_images_host.h"

#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    bc_images_host_t host; /* first: what callers hold */
    const char *folder;    /* borrowed */
    char path[BC_FILES_PATH_MAX];
    pthread_mutex_t lock;
} files_t;

static bool make_path(const files_t *files, const char *name, const char *version, char path[BC_FILES_PATH_MAX]) {
    int length = version == NULL ? snprintf(path, BC_FILES_PATH_MAX, "%s/%s", files->path, name)
                                 : snprintf(path, BC_FILES_PATH_MAX, "%s/%s/%s.webp", files->path, name, version);
    if (length > 0 && length < BC_FILES_PATH_MAX) return true;
    errno = ENAMETOOLONG;
    return false;
}

/* Best effort: what stays is found by the next sweep. */
static void remove_picture(const files_t *files, const char *name) {
    char path[BC_FILES_PATH_MAX];
    for (size_t i = 0; i < BC_PICTURE_SIZE_COUNT; i++) {
        if (make_path(files, name, bc_picture_size_words[i], path)) (void)unlink(path);
    }
    if (make_path(files, name, NULL, path)) (void)rmdir(path);
}

static bool touch_locked(const files_t *files, const char *name) {
    char path[BC_FILES_PATH_MAX];
    return make_path(files, name, NULL, path) && utimensat(AT_FDCWD, path, NULL, 0) == 0;
}

static bool touch_file(bc_images_host_t *self, const char *name) {
    files_t *files = (files_t *)self;
    (void)pthread_mutex_lock(&files->lock); /* a default mutex: fails only on our own misuse */
    bool there = touch_locked(files, name);
    (void)pthread_mutex_unlock(&files->lock);
    return there;
}

/* A new folder with all versions under a name that nobody looks at. */
static bool write_aside(const files_t *files, const char *aside, const bc_picture_t *picture) {
    char path[BC_FILES_PATH_MAX];
    if (!make_path(files, aside, NULL, path) || !bc_files_make_folders(path, 0700)) return false;
    for (size_t i = 0; i < BC_PICTURE_SIZE_COUNT; i++) {
        if (!make_path(files, aside, bc_picture_size_words[i], path) ||
            !bc_files_create(path, picture->versions[i].bytes, picture->versions[i].length, 0600))
            return false;
    }
    return true;
}

static bool store_file(bc_images_host_t *self, const char *name, const bc_picture_t *picture) {
    files_t *files = (files_t *)self;
    char aside[32] = ".", from[BC_FILES_PATH_MAX], to[BC_FILES_PATH_MAX];
    assert(strlen(name) == BC_IMAGES_NAME_CHARS);
    bc_random_text(12, aside + 1, sizeof(aside) - 1);
    if (!make_path(files, aside, NULL, from) || !make_path(files, name, NULL, to)) return false;
    bool good = write_aside(files, aside, picture);
    int why = errno;
    if (good) {
        (void)pthread_mutex_lock(&files->lock);
        /* Somebody sent the same picture meanwhile: his is as good. */
        good = (rename(from, to) == 0 && bc_files_sync_folder_of(to)) || touch_locked(files, name);
        why = errno;
        (void)pthread_mutex_unlock(&files->lock);
    }
    remove_picture(files, aside); /* gone already when it was renamed */
    errno = why;
    return good;
}

static void address_file(bc_images_host_t *self, const char *name, char url[BC_IMAGES_URL_MAX]) {
    const files_t *files = (const files_t *)self;
    (void)snprintf(url, BC_IMAGES_URL_MAX, BC_IMAGES_PREFIX "%s/%.32s/%s.webp", files->folder, name,
                   bc_picture_size_words[BC_PICTURE_LARGE]); /* short parts of ours */
}

static bool is_older(const files_t *files, const char *name, int64_t kept_ms) {
    char path[BC_FILES_PATH_MAX];
    struct stat found;
    if (!make_path(files, name, NULL, path) || stat(path, &found) != 0) return false;
    int64_t touched_ms = (int64_t)found.st_mtim.tv_sec * 1000 + found.st_mtim.tv_nsec / 1000000;
    return bc_time_ms() - touched_ms >= kept_ms;
}

static bool sweep_one(files_t *files, const char *name, int64_t kept_ms, bc_images_is_used_t is_used, void *context) {
    char url[BC_IMAGES_URL_MAX];
    bool removed = false;
    bool ours = strlen(name) == BC_IMAGES_NAME_CHARS && strspn(name, "0123456789abcdef") == BC_IMAGES_NAME_CHARS;
    bool aside = name[0] == '.' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    if (!ours && !aside) return false; /* not made here */
    address_file(&files->host, name, url);
    (void)pthread_mutex_lock(&files->lock);
    if (is_older(files, name, kept_ms) && (aside || is_used(context, url) == BC_IMAGES_UNUSED)) {
        remove_picture(files, name);
        removed = ours;
    }
    (void)pthread_mutex_unlock(&files->lock);
    return removed;
}

static int64_t sweep_files(bc_images_host_t *self, int64_t kept_ms, bc_images_is_used_t is_used, void *context) {
    files_t *files = (files_t *)self;
    int64_t removed = 0;
    DIR *all = opendir(files->path);
    if (all == NULL) {
        if (errno != ENOENT) bc_log(BC_LOG_WARN, "pictures-not-swept", bc_f_text("reason", strerror(errno)));
        return 0;
    }
    for (const struct dirent *entry = readdir(all); entry != NULL; entry = readdir(all))
        removed += sweep_one(files, entry->d_name, kept_ms, is_used, context);
    (void)closedir(all); /* was only read */
    return removed;
}

static void destroy_files(bc_images_host_t *self) {
    files_t *files = (files_t *)self;
    (void)pthread_mutex_destroy(&files->lock);
    free(files);
}

bc_images_host_t *bc_images_files_create(const bc_config_t *config, const char *folder) {
    char below[64];
    files_t *files = calloc(1, sizeof(*files));
    (void)snprintf(below, sizeof(below), "media/%s", folder); /* a short word of ours */
    if (files == NULL || !bc_config_path(config, below, files->path, sizeof(files->path))) {
        bc_log(BC_LOG_ERROR, "images-not-started", bc_f_text("reason", files == NULL ? "no memory" : "path too long"));
        free(files);
        return NULL;
    }
    files->host = (bc_images_host_t){touch_file, store_file, address_file, sweep_files, destroy_files};
    files->folder = folder;
    (void)pthread_mutex_init(&files->lock, NULL); /* a default mutex: cannot fail */
    return &files->host;
}
