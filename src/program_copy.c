/*
 * Files copied, checked and described, for backups. Nothing here follows a symbolic link or copies what is no regular file.
 *
 * A copy is not synced: under a hold it goes to the page cache as fast as memory allows. program_describe_folder syncs afterwards, file by
 * file and folder by folder, and reads back what it digests.
 */
#include "program.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { block_bytes = 256 * 1024, page_bytes = 4096 };

static bool is_zero(const unsigned char *bytes, size_t length) {
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static bool write_block(int fd, const unsigned char *bytes, size_t length, off_t at) {
    for (size_t done = 0; done < length;) {
        size_t part = length - done < page_bytes ? length - done : page_bytes;
        if (!is_zero(bytes + done, part)) {
            ssize_t put = pwrite(fd, bytes + done, part, at + (off_t)done);
            if (put < 0) return false;
            part = (size_t)put;
        }
        done += part;
    }
    return true;
}

static bool copy_bytes(int from, int to, const program_tick_t *tick, off_t *total) {
    unsigned char *block = malloc(block_bytes);
    off_t at = 0;
    ssize_t got = -1;
    if (block != NULL) {
        while ((got = pread(from, block, block_bytes, at)) > 0 && write_block(to, block, (size_t)got, at)) {
            at += got;
            if (tick != NULL && !tick->tick(tick->context)) {
                errno = ECANCELED;
                break;
            }
        }
    }
    int error = errno;
    free(block);
    errno = error;
    *total = at;
    return got == 0 && ftruncate(to, at) == 0;
}

static bool is_same(const struct stat *a, const struct stat *b) {
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool program_copy_file(const char *from, const char *to, bool again, const program_tick_t *tick) {
    struct stat source, target;
    off_t total = 0;
    int in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0) return false;
    bool good = fstat(in, &source) == 0;
    if (good && again && lstat(to, &target) == 0 && is_same(&source, &target)) {
        (void)close(in); /* only read */
        return true;
    }
    int out = good ? open(to, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600) : -1;
    const struct timespec times[2] = {source.st_atim, source.st_mtim};
    good = out >= 0 && copy_bytes(in, out, tick, &total) && fchmod(out, source.st_mode & 0700) == 0 &&
           futimens(out, times) == 0;
    int error = errno;
    (void)close(in); /* only read */
    if (out >= 0 && close(out) != 0 && good) {
        good = false;
        error = errno;
    }
    errno = error;
    return good;
}

bool program_describe_file(const char *path, program_file_t *file) {
    struct stat found;
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_state state;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    unsigned char *block = malloc(block_bytes);
    int64_t bytes = 0;
    ssize_t got = -1;
    if (fd >= 0 && block != NULL && fsync(fd) == 0 && fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) {
        (void)crypto_hash_sha256_init(&state); /* always 0; so the next */
        while ((got = read(fd, block, block_bytes)) > 0) {
            (void)crypto_hash_sha256_update(&state, block, (unsigned long long)got);
            bytes += got;
        }
    }
    if (got == 0) {
        (void)crypto_hash_sha256_final(&state, digest);
        (void)sodium_bin2hex(file->sha256, sizeof(file->sha256), digest,
                             sizeof(digest)); /* returns its first argument */
        file->bytes = bytes;
        file->mode = found.st_mode & 0777;
    }
    int error = errno;
    free(block);
    if (fd >= 0) (void)close(fd); /* only read */
    errno = error;
    return got == 0;
}

/* Takes the path. */
static bool add(program_files_t *files, char *path, const program_file_t *described) {
    if (files->count == files->capacity) {
        size_t capacity = files->capacity == 0 ? 256 : files->capacity * 2;
        program_file_t *larger = realloc(files->files, capacity * sizeof(*larger));
        if (larger == NULL) {
            free(path);
            return false;
        }
        files->files = larger;
        files->capacity = capacity;
    }
    files->files[files->count] = *described;
    files->files[files->count++].path = path;
    return true;
}

static bool sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = fsync(fd) == 0;
    int error = errno;
    (void)close(fd); /* only read */
    errno = error;
    return good;
}

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

bool program_describe_folder(const char *folder, program_files_t *files) {
    char *top = strdup(folder);
    char *const roots[] = {top, NULL};
    FTS *walk = top == NULL ? NULL : fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    bool good = walk != NULL;
    FTSENT *at;
    size_t skip = strlen(folder) + 1;
    while (good && (at = fts_read(walk)) != NULL) {
        if (at->fts_info == FTS_F) {
            program_file_t described = {0};
            char *path = NULL;
            good = program_describe_file(at->fts_path, &described) && (path = strdup(at->fts_path + skip)) != NULL &&
                   add(files, path, &described);
        } else if (at->fts_info == FTS_DP) {
            good = sync_folder(at->fts_path);
        } else if (at->fts_info == FTS_ERR || at->fts_info == FTS_DNR || at->fts_info == FTS_NS) {
            errno = at->fts_errno;
            good = false;
        }
    }
    int error = errno;
    if (walk != NULL) (void)fts_close(walk); /* everything was read */
    free(top);
    errno = error;
    return good;
}

void program_files_free(program_files_t *files) {
    for (size_t i = 0; i < files->count; i++) free(files->files[i].path);
    free(files->files);
    *files = (program_files_t){0};
}

bool program_path_is_inside(const char *path) {
    if (path[0] == '\0' || strlen(path) >= PATH_MAX / 2) return false;
    for (const char *at = path;;) {
        size_t part = strcspn(at, "/");
        bool is_dots = (part == 1 && at[0] == '.') || (part == 2 && at[0] == '.' && at[1] == '.');
        if (part == 0 || is_dots) return false;
        if (at[part] == '\0') return true;
        at += part + 1;
    }
}

bool program_folder_is_free(const char *path) {
    DIR *folder = opendir(path);
    if (folder == NULL) return errno == ENOENT;
    const struct dirent *entry;
    bool is_empty = true;
    while (is_empty && (entry = readdir(folder)) != NULL)
        is_empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    (void)closedir(folder); /* only read */
    return is_empty;
}
