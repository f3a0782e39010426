/*
 * SQLite on the simulated disk. It does what SQLite's own unix VFS does where it matters for a power cut: a new journal or
 * log file's first sync syncs its folder too, xDelete syncs the folder when asked, bytes beside a write survive
 * (SQLITE_IOCAP_POWERSAFE_OVERWRITE). Locks are not needed: the base opens its one connection exclusively.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "powercut/disk.h"

typedef struct {
    sqlite3_file base;
    disk_t *disk;
    int inode;
    int sync_folder; /* with the next sync */
    char folder[128];
} vfs_file_t;

static disk_t *current;
static uint64_t random_state = 1;

static int v_close(sqlite3_file *file) {
    (void)file;
    return SQLITE_OK;
}
static int v_read(sqlite3_file *handle, void *bytes, int length, sqlite3_int64 offset) {
    vfs_file_t *file = (vfs_file_t *)handle;
    int64_t got = disk_read(file->disk, file->inode, bytes, (size_t)length, (uint64_t)offset);
    if (got == length) return SQLITE_OK;
    memset((char *)bytes + got, 0, (size_t)(length - got));
    return SQLITE_IOERR_SHORT_READ;
}
static int v_write(sqlite3_file *handle, const void *bytes, int length, sqlite3_int64 offset) {
    vfs_file_t *file = (vfs_file_t *)handle;
    int64_t put = disk_write(file->disk, file->inode, bytes, (size_t)length, (uint64_t)offset);
    return put == length ? SQLITE_OK : put == -ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}
static int v_truncate(sqlite3_file *handle, sqlite3_int64 size) {
    vfs_file_t *file = (vfs_file_t *)handle;
    return disk_resize(file->disk, file->inode, (uint64_t)size) == 0 ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}
static int v_sync(sqlite3_file *handle, int flags) {
    vfs_file_t *file = (vfs_file_t *)handle;
    (void)flags;
    if (disk_sync(file->disk, file->inode) < 0) return SQLITE_IOERR_FSYNC;
    if (file->sync_folder && disk_sync_folder(file->disk, file->folder) < 0) return SQLITE_IOERR_DIR_FSYNC;
    file->sync_folder = 0;
    return SQLITE_OK;
}
static int v_size(sqlite3_file *handle, sqlite3_int64 *size) {
    vfs_file_t *file = (vfs_file_t *)handle;
    *size = (sqlite3_int64)disk_size(file->disk, file->inode);
    return SQLITE_OK;
}
static int v_lock(sqlite3_file *handle, int level) {
    (void)handle;
    (void)level;
    return SQLITE_OK;
}
static int v_check_lock(sqlite3_file *handle, int *held) {
    (void)handle;
    *held = 0;
    return SQLITE_OK;
}
static int v_control(sqlite3_file *handle, int what, void *argument) {
    (void)handle;
    (void)what;
    (void)argument;
    return SQLITE_NOTFOUND;
}
static int v_sector(sqlite3_file *handle) {
    (void)handle;
    return 4096; /* as unix says */
}
static int v_traits(sqlite3_file *handle) {
    (void)handle;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {.iVersion = 1,
                                           .xClose = v_close,
                                           .xRead = v_read,
                                           .xWrite = v_write,
                                           .xTruncate = v_truncate,
                                           .xSync = v_sync,
                                           .xFileSize = v_size,
                                           .xLock = v_lock,
                                           .xUnlock = v_lock,
                                           .xCheckReservedLock = v_check_lock,
                                           .xFileControl = v_control,
                                           .xSectorSize = v_sector,
                                           .xDeviceCharacteristics = v_traits};

static int v_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *handle, int flags, int *out_flags) {
    (void)vfs;
    vfs_file_t *file = (vfs_file_t *)handle;
    *file = (vfs_file_t){.disk = current};
    if (name == NULL) return SQLITE_CANTOPEN; /* temporary files: the base keeps them in memory */
    int existed = disk_has_path(current, name);
    file->inode = disk_open_path(current, name, flags & SQLITE_OPEN_CREATE, 0);
    if (file->inode < 0) return SQLITE_CANTOPEN;
    file->sync_folder =
        !existed && (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL)) != 0;
    (void)snprintf(file->folder, sizeof(file->folder), "%.*s", (int)(strrchr(name, '/') - name), name);
    if (out_flags != NULL) *out_flags = flags;
    file->base.pMethods = &methods;
    return SQLITE_OK;
}
static int v_delete(sqlite3_vfs *vfs, const char *name, int sync_folder) {
    (void)vfs;
    int result = disk_unlink(current, name);
    if (result == -ENOENT) return SQLITE_IOERR_DELETE_NOENT;
    if (result < 0) return SQLITE_IOERR_DELETE;
    char folder[128];
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(name, '/') - name), name);
    return sync_folder && disk_sync_folder(current, folder) < 0 ? SQLITE_IOERR_DIR_FSYNC : SQLITE_OK;
}
static int v_access(sqlite3_vfs *vfs, const char *name, int flags, int *result) {
    (void)vfs;
    (void)flags;
    int inode = disk_open_path(current, name, 0, 0);
    *result = inode >= 0 && (flags != SQLITE_ACCESS_EXISTS || disk_size(current, inode) > 0); /* as unix has it */
    return SQLITE_OK;
}
static int v_full_path(sqlite3_vfs *vfs, const char *name, int bytes, char *out) {
    (void)vfs;
    (void)snprintf(out, (size_t)bytes, "%s", name);
    return SQLITE_OK;
}
static int v_random(sqlite3_vfs *vfs, int bytes, char *out) {
    (void)vfs;
    for (int i = 0; i < bytes; i++) out[i] = (char)disk_random(&random_state);
    return bytes;
}
static int v_sleep(sqlite3_vfs *vfs, int microseconds) {
    (void)vfs;
    return microseconds;
}
static int v_time(sqlite3_vfs *vfs, double *now) {
    (void)vfs;
    *now = 2461000.5; /* always the same day: runs repeat */
    return SQLITE_OK;
}

void disk_use_for_sqlite(disk_t *disk) {
    static sqlite3_vfs vfs = {.iVersion = 1,
                              .szOsFile = sizeof(vfs_file_t),
                              .mxPathname = 512,
                              .zName = "disk",
                              .xOpen = v_open,
                              .xDelete = v_delete,
                              .xAccess = v_access,
                              .xFullPathname = v_full_path,
                              .xRandomness = v_random,
                              .xSleep = v_sleep,
                              .xCurrentTime = v_time};
    static int registered;
    if (!registered) {
        (void)sqlite3_vfs_register(&vfs, 1); /* fails only without memory: the next open says so */
        registered = 1;
    }
    current = disk;
}
