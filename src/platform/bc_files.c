#include "platform/bc_files.h"

#include "platform/bc_log.h"
#include "platform/bc_random.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_RETRY_NS 20000000L

bool bc_files_make_folders(const char *path, mode_t mode) {
    char part[BC_FILES_PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(part)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != '\0') continue;
        char kept = part[i];
        part[i] = '\0';
        if (mkdir(part, mode) == 0) {
            /* The umask may have taken bits away, and a folder on the way that nobody can walk through is a wall. */
            if (chmod(part, mode) != 0 || !bc_files_sync_folder_of(part)) return false;
        } else if (errno != EEXIST) {
            return false;
        }
        part[i] = kept;
    }
    struct stat found;
    if (stat(path, &found) != 0) return false;
    if (!S_ISDIR(found.st_mode)) {
        errno = ENOTDIR;
        return false;
    }
    return true;
}

bool bc_files_sync_folder_of(const char *path) {
    char folder[BC_FILES_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);
    if (length >= sizeof(folder)) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (slash == NULL) {
        memcpy(folder, ".", 2);
    } else if (length == 0) {
        memcpy(folder, "/", 2);
    } else {
        memcpy(folder, path, length);
        folder[length] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = fsync(fd) == 0;
    int why = errno;
    (void)close(fd); /* opened for reading: nothing can be lost */
    errno = why;
    return good;
}

/* Writes and syncs a new file with a random name beside `path`; its name goes to `temporary`. */
static bool write_beside(const char *path, const void *bytes, size_t length, mode_t mode, char *temporary,
                         size_t size) {
    char suffix[16];
    bc_random_text(8, suffix, sizeof(suffix));
    int wanted = snprintf(temporary, size, "%s.%s.tmp", path, suffix);
    if (wanted < 0 || (size_t)wanted >= size) {
        errno = ENAMETOOLONG;
        return false;
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) return false;
    bool good = fchmod(fd, mode) == 0; /* the umask may have taken bits away */
    const char *next = bytes;
    size_t left = length;
    while (good && left > 0) {
        ssize_t written = write(fd, next, left);
        if (written < 0) {
            good = errno == EINTR;
        } else {
            next += written;
            left -= (size_t)written;
        }
    }
    good = good && fsync(fd) == 0;
    int why = errno;
    if (close(fd) != 0 && good) {
        good = false;
        why = errno;
    }
    if (!good) (void)unlink(temporary); /* best effort: the failure that counts is in errno */
    errno = why;
    return good;
}

bool bc_files_replace(const char *path, const void *bytes, size_t length, mode_t mode) {
    char temporary[BC_FILES_PATH_MAX];
    if (!write_beside(path, bytes, length, mode, temporary, sizeof(temporary))) return false;
    if (rename(temporary, path) != 0) {
        int why = errno;
        (void)unlink(temporary);
        errno = why;
        return false;
    }
    return bc_files_sync_folder_of(path);
}

bool bc_files_create(const char *path, const void *bytes, size_t length, mode_t mode) {
    char temporary[BC_FILES_PATH_MAX];
    if (!write_beside(path, bytes, length, mode, temporary, sizeof(temporary))) return false;
    bool linked = link(temporary, path) == 0;
    int why = errno;
    (void)unlink(temporary); /* a left over temporary name harms nobody */
    errno = why;
    return linked && bc_files_sync_folder_of(path);
}

bool bc_files_read(const char *path, size_t max, char **bytes, size_t *length) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    char *held = NULL;
    size_t used = 0, room = 0;
    bool good = true;
    for (;;) {
        if (room - used < 4096) {
            char *more = realloc(held, room + 8192);
            if (more == NULL) {
                errno = ENOMEM;
                good = false;
                break;
            }
            held = more;
            room += 8192;
        }
        ssize_t got = read(fd, held + used, room - used - 1);
        if (got < 0) {
            if (errno == EINTR) continue;
            good = false;
            break;
        }
        if (got == 0) break;
        used += (size_t)got;
        if (used > max) {
            errno = EFBIG;
            good = false;
            break;
        }
    }
    int why = errno;
    (void)close(fd);
    if (!good) {
        free(held);
        errno = why;
        return false;
    }
    held[used] = '\0';
    *bytes = held;
    *length = used;
    return true;
}

int bc_files_lock_try(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    int why = errno;
    (void)close(fd);
    errno = why;
    return -1;
}

/* A process that blocks these signals and waits for them elsewhere would not hear them while it waits here. */
static bool end_is_pending(void) {
    sigset_t pending;
    return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

int bc_files_lock_wait(const char *path, const volatile bool *stop) {
    bool told = false;
    for (;;) {
        int fd = bc_files_lock_try(path);
        if (fd >= 0) {
            if (told) bc_log(BC_LOG_INFO, "lock-taken", bc_f_text("path", path));
            return fd;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) return -1;
        if (!told) bc_log(BC_LOG_WARN, "lock-waits", bc_f_text("path", path));
        told = true;
        if ((stop != NULL && *stop) || end_is_pending()) {
            errno = EINTR;
            return -1;
        }
        /* Asked again instead of a blocking flock, so that a wish to stop is heard. */
        struct timespec pause = {.tv_nsec = LOCK_RETRY_NS};
        (void)nanosleep(&pause, NULL); /* shorter is as good */
    }
}
