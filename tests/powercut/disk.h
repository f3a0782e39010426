/*
 * A disk in memory that keeps only what was synced. The journal (through a files_t) and SQLite (through a VFS) write to it
 * at the same time; every operation is logged, so that a run can be cut after each.
 *
 * What it does that disks and kernels do:
 *  - a write lives in the cache until a sync of its file; a power cut keeps any subset of the unsynced ones, whole, by
 *    4 KiB page or by 512-byte sector, in any order (a sector shows some state that the cache had at some moment);
 *  - create, rename, unlink live in the cache until a sync of their folder; a cut keeps any subset; a file's sync does not
 *    save its name;
 *  - a change of size is kept or not until a sync of the file;
 *  - a failed sync marks everything clean: a part of it reaches the disk, the rest never will, and reads go on showing
 *    all of it, until somebody writes it again.
 * One folder level below "/d"; a folder's own name is durable only after a sync of "/d".
 */
#ifndef POWERCUT_DISK_H
#define POWERCUT_DISK_H

#include <sqlite3.h>

#include "engine/files.h"

#define DISK_SECTOR 512
#define DISK_PAGE   4096

typedef enum {
    DISK_WRITE,
    DISK_SIZE,
    DISK_SYNC,
    DISK_SYNC_FAILED,
    DISK_CREATE,
    DISK_UNLINK,
    DISK_RENAME,
    DISK_SYNC_FOLDER,
    DISK_SYNC_FOLDER_FAILED,
} disk_kind_t;

typedef struct {
    disk_kind_t kind;
    int inode;
    uint64_t offset; /* of a write; a size; the seed of a failed sync's choice */
    uint32_t length;
    uint8_t *bytes; /* owned by the log */
    char *name;     /* owned by the log; of a folder for its sync */
    char *to;       /* owned by the log */
} disk_op_t;

/* Bugs of the caller that this layer can play. */
typedef struct {
    int no_sync;                        /* a sync of a file of the journal does nothing */
    int no_folder_sync;                 /* nor does one of its folder */
    int retry_failed_sync;              /* a failed sync is tried again, which says yes */
    int no_rewrite;                     /* what is written again to SQLite's log is not */
    void (*before_sync)(void *context); /* told before a sync of a file of the journal: an answer that overtakes it */
    void *context;
} disk_plant_t;

typedef struct disk disk_t;

disk_t *disk_create(void);
void disk_destroy(disk_t *disk);

/* ---- for the recorded run ---- */
size_t disk_op_count(const disk_t *disk);
const disk_op_t *disk_op(const disk_t *disk, size_t index);
void disk_fail_syncs(disk_t *disk, unsigned one_in, uint64_t seed); /* 0: none */
unsigned disk_failed_syncs(const disk_t *disk);
void disk_set_room(disk_t *disk, uint64_t bytes); /* ENOSPC beyond; 0: no limit */
disk_plant_t *disk_plant(disk_t *disk);
void disk_freeze(disk_t *disk, int frozen); /* what a dying process's own code still tries is ignored */
void disk_kill_process(disk_t *disk);       /* kill -9: handles and locks are gone, the cache stays */

/* ---- for the cuts ---- */
disk_t *disk_create_follower(void);                      /* takes a log's operations; can only be cut */
void disk_follow(disk_t *follower, const disk_op_t *op); /* op stays borrowed until the follower is destroyed */
#define DISK_MODES 6
extern const char *const disk_mode_names[DISK_MODES];
disk_t *disk_cut(const disk_t *disk, unsigned mode, uint64_t seed); /* what is there when the power is back */

/* ---- for the code under test ---- */
const files_t *disk_files(disk_t *disk); /* borrowed until the disk is destroyed */
/* Registers the VFS "disk" as SQLite's default, and says which disk it is on from now on. */
void disk_use_for_sqlite(disk_t *disk);

/* splitmix64: every choice of the suite. */
static inline uint64_t disk_mix(uint64_t value) {
    value += UINT64_C(0x9E3779B97F4A7C15);
    value = (value ^ (value >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94D049BB133111EB);
    return value ^ (value >> 31);
}
static inline uint64_t disk_random(uint64_t *state) {
    return disk_mix((*state)++ * UINT64_C(0xD1342543DE82EF95));
}

/* ---- between disk.c and disk_vfs.c ---- */
int disk_open_path(disk_t *disk, const char *path, int create, int exclusive); /* an inode, or −errno */
int disk_has_path(const disk_t *disk, const char *path);
int64_t disk_read(const disk_t *disk, int inode, void *bytes, size_t length, uint64_t offset);
int64_t disk_write(disk_t *disk, int inode, const void *bytes, size_t length, uint64_t offset);
uint64_t disk_size(const disk_t *disk, int inode);
int disk_resize(disk_t *disk, int inode, uint64_t size);
int disk_sync(disk_t *disk, int inode);
int disk_sync_folder(disk_t *disk, const char *folder);
int disk_unlink(disk_t *disk, const char *path);

#endif
