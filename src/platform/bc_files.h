/* Files that must be there after a power cut, and the locks that make each of them one process's own. */
#ifndef BC_FILES_H
#define BC_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define BC_FILES_PATH_MAX 4096

/* Every missing folder of `path` with `mode`; an existing last folder keeps its mode. false: errno says why. */
bool bc_files_make_folders(const char *path, mode_t mode);

/* Replaces `path` by bytes: temporary file beside it, fsync, rename, fsync of the folder. A reader sees the old or the new
 * file, whole. false: errno says why, the old file stands. */
bool bc_files_replace(const char *path, const void *bytes, size_t length, mode_t mode);

/* The same, but refuses with EEXIST when `path` exists already (link instead of rename). */
bool bc_files_create(const char *path, const void *bytes, size_t length, mode_t mode);

/* The whole file, zero-terminated, in memory that the caller frees. false: errno; EFBIG when it is longer than `max`. */
bool bc_files_read(const char *path, size_t max, char **bytes, size_t *length);

/* fsync of the folder that holds `path`. */
bool bc_files_sync_folder_of(const char *path);

/* Takes an exclusive flock on `path` (made 0600 if missing) and returns the descriptor, or -1 with errno. While another holds
 * it, waits, with one log line when the wait begins; EINTR when *stop became true meanwhile (NULL: not looked at) or a blocked SIGTERM or SIGINT is pending. The lock
 * lasts until the descriptor is closed, or the process ends in whatever way. */
int bc_files_lock_wait(const char *path, const volatile bool *stop);
/* The same without waiting: -1 with EWOULDBLOCK when held. */
int bc_files_lock_try(const char *path);

#endif
