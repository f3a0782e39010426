/*
 * The file layer under the journal: the few calls it makes, as a table, so that the power-cut suite can put a disk
 * under it that forgets, tears and reorders whatever no sync has covered. The real one is files_posix().
 *
 * Return values: ≥ 0, or −errno. Paths are absolute. A file handle is an int of the layer's own.
 */
#ifndef ENGINE_FILES_H
#define ENGINE_FILES_H

#include <stddef.h>
#include <stdint.h>

typedef struct files files_t;
struct files {
    void *context;
    int (*open)(void *context, const char *path, int create, int exclusive);
    int (*close)(void *context, int file);
    int64_t (*pread)(void *context, int file, void *bytes, size_t length, uint64_t offset);
    int64_t (*pwrite)(void *context, int file, const void *bytes, size_t length, uint64_t offset);
    int64_t (*size)(void *context, int file);
    int (*truncate)(void *context, int file, uint64_t size);
    int (*allocate)(void *context, int file, uint64_t size); /* reserves blocks and size, so that a sync writes data only */
    int (*sync_data)(void *context, int file);
    int (*sync_all)(void *context, int file);
    int (*sync_folder)(void *context, const char *folder);
    int (*rename)(void *context, const char *from, const char *to);
    int (*unlink)(void *context, const char *path);
    int (*make_folder)(void *context, const char *path);
    /* Calls each(name) for every entry but . and .. */
    int (*list)(void *context, const char *folder, void (*each)(void *argument, const char *name), void *argument);
    int (*lock)(void *context, const char *path, int wait); /* exclusive, of the process; −EWOULDBLOCK */
};

const files_t *files_posix(void);

#endif
