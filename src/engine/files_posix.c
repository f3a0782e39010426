/* The file layer of a real machine (Linux). Nothing here retries a sync: what one reports is final. */
#include "engine/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int posix_open(void *context, const char *path, int create, int exclusive) {
    (void)context;
    int flags = O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0) | (exclusive ? O_EXCL : 0);
    int file;
    do file = open(path, flags, 0600);
    while (file < 0 && errno == EINTR);
    return file < 0 ? -errno : file;
}

static int posix_close(void *context, int file) {
    (void)context;
    return close(file) != 0 ? -errno : 0; /* EINTR too: Linux has closed it all the same */
}

/* Reads and writes go on after a short count, so that a caller sees all, the end of the file, or an error. */
static int64_t posix_pread(void *context, int file, void *bytes, size_t length, uint64_t offset) {
    (void)context;
    size_t done = 0;
    while (done < length) {
        ssize_t part = pread(file, (char *)bytes + done, length - done, (off_t)(offset + done));
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) return -errno;
        if (part == 0) break;
        done += (size_t)part;
    }
    return (int64_t)done;
}

static int64_t posix_pwrite(void *context, int file, const void *bytes, size_t length, uint64_t offset) {
    (void)context;
    size_t done = 0;
    while (done < length) {
        ssize_t part = pwrite(file, (const char *)bytes + done, length - done, (off_t)(offset + done));
        if (part < 0 && errno == EINTR) continue;
        if (part < 0) return -errno;
        if (part == 0) return -EIO;
        done += (size_t)part;
    }
    return (int64_t)done;
}

static int64_t posix_size(void *context, int file) {
    (void)context;
    struct stat about;
    return fstat(file, &about) != 0 ? -errno : (int64_t)about.st_size;
}

static int posix_truncate(void *context, int file, uint64_t size) {
    (void)context;
    int result;
    do result = ftruncate(file, (off_t)size);
    while (result != 0 && errno == EINTR);
    return result != 0 ? -errno : 0;
}

static int posix_allocate(void *context, int file, uint64_t size) {
    (void)context;
    int result;
    do result = fallocate(file, 0, 0, (off_t)size);
    while (result != 0 && errno == EINTR);
    if (result == 0) return 0;
    /* A file system that cannot reserve: the zeros that the journal writes next reserve as well. */
    if (errno == EOPNOTSUPP) return posix_truncate(context, file, size);
    return -errno;
}

static int posix_sync_data(void *context, int file) {
    (void)context;
    return fdatasync(file) != 0 ? -errno : 0;
}

static int posix_sync_all(void *context, int file) {
    (void)context;
    return fsync(file) != 0 ? -errno : 0;
}

static int posix_sync_folder(void *context, const char *folder) {
    (void)context;
    int handle = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle < 0) return -errno;
    int result = fsync(handle) != 0 ? -errno : 0;
    (void)close(handle); /* read only: nothing to lose */
    return result;
}

static int posix_rename(void *context, const char *from, const char *to) {
    (void)context;
    return rename(from, to) != 0 ? -errno : 0;
}

static int posix_unlink(void *context, const char *path) {
    (void)context;
    return unlink(path) != 0 ? -errno : 0;
}

static int posix_make_folder(void *context, const char *path) {
    (void)context;
    return mkdir(path, 0700) != 0 ? -errno : 0;
}

static int posix_list(void *context, const char *folder, void (*each)(void *argument, const char *name),
                      void *argument) {
    (void)context;
    DIR *handle = opendir(folder);
    if (handle == NULL) return -errno;
    int result = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(handle);
        if (entry == NULL) {
            result = -errno; /* 0 at the end */
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        each(argument, entry->d_name);
    }
    (void)closedir(handle); /* read only */
    return result;
}

static int posix_lock(void *context, const char *path, int wait) {
    int file = posix_open(context, path, 1, 0);
    if (file < 0) return file;
    int result;
    do result = flock(file, LOCK_EX | (wait ? 0 : LOCK_NB));
    while (result != 0 && errno == EINTR);
    if (result == 0) return file;
    result = -errno;
    (void)close(file); /* nothing was written */
    return result;
}

const files_t *files_posix(void) {
    static const files_t files = {.context = NULL,
                                  .open = posix_open,
                                  .close = posix_close,
                                  .pread = posix_pread,
                                  .pwrite = posix_pwrite,
                                  .size = posix_size,
                                  .truncate = posix_truncate,
                                  .allocate = posix_allocate,
                                  .sync_data = posix_sync_data,
                                  .sync_all = posix_sync_all,
                                  .sync_folder = posix_sync_folder,
                                  .rename = posix_rename,
                                  .unlink = posix_unlink,
                                  .make_folder = posix_make_folder,
                                  .list = posix_list,
                                  .lock = posix_lock};
    return &files;
}
