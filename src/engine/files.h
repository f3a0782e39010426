/*
 * The file layer under the journal (and under what the SQLite base does beside SQLite): the few calls they make, as a
 * table, so that the power-cut suite can put a disk under them that forgets, tears and reorders whatever no sync has
 * covered. The real one is files_posix().
 *
 * Return values: ≥ 0, or −errno. Paths are absolute. A file handle is an int of the layer's own. pread and pwrite give
 * all of `length`, or an error; pread less only at the end of the file.
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
    /* Reserves blocks and sets the size; the content reads as zeros. Writing those zeros is the caller's, and makes a later
     * sync of written data a sync of data only. */
    int (*allocate)(void *context, int file, uint64_t size);
    int (*sync_data)(void *context, int file);
    int (*sync_all)(void *context, int file);
    int (*sync_folder)(void *context, const char *folder);
    int (*rename)(void *context, const char *from, const char *to);
    int (*unlink)(void *context, const char *path);
    int (*make_folder)(void *context, const char *path); /* −EEXIST when there is one */
    /* Calls each(name) for every entry but . and .. */
    int (*list)(void *context, const char *folder, void (*each)(void *argument, const char *name), void *argument);
    /* Creates the file, locks it exclusively, waits for its holder when `wait`; close() unlocks. −EWOULDBLOCK. */
    int (*lock)(void *context, const char *path, int wait);
};

const files_t *files_posix(void); /* static */

#endif
