#include "powercut/disk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT "/d"

typedef struct {
    uint8_t *bytes; /* owned */
    uint64_t size, capacity;
} content_t;

typedef struct {
    content_t seen;    /* what reads show */
    content_t kept;    /* what a power cut keeps for certain */
    uint32_t *pending; /* owned; operations not yet synced, by index */
    uint32_t pending_count, pending_capacity;
    int is_folder;
} inode_t;

typedef struct {
    char *name; /* owned */
    int inode;
} entry_t;

typedef struct {
    entry_t *entries; /* owned */
    size_t count, capacity;
} names_t;

typedef struct {
    int inode;
    int is_lock;
    int open;
} handle_t;

struct disk {
    inode_t *inodes; /* owned */
    int inode_count, inode_capacity;
    names_t seen, kept;
    uint32_t *pending_names; /* owned; operations on names, by index */
    uint32_t pending_names_count, pending_names_capacity;
    const disk_op_t **ops; /* owned array; a follower borrows what it points to, a recorder owns it */
    size_t op_count, op_capacity;
    int follower, frozen;
    handle_t *handles; /* owned */
    int handle_count, handle_capacity;
    unsigned fail_one_in, failed_syncs;
    uint64_t random;
    uint64_t room, used;
    disk_plant_t plant;
    files_t files;
};

const char *const disk_mode_names[DISK_MODES] = {"nothing unsynced", "everything", "some writes",
                                                 "some sectors",     "some pages", "the later half"};

/* ---- small parts ------------------------------------------------------------------------------------------------- */

/* A test program: without memory it ends. */
static void *grown(void *old, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return old;
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    void *larger = realloc(old, *capacity * size);
    if (larger == NULL) abort();
    return larger;
}

static void *grown_u32(void *old, uint32_t count, uint32_t *capacity, size_t size) {
    size_t wide = *capacity;
    void *larger = grown(old, count, &wide, size);
    *capacity = (uint32_t)wide;
    return larger;
}

static char *copied(const char *text) {
    char *copy = strdup(text);
    if (copy == NULL) abort();
    return copy;
}

static void content_resize(content_t *content, uint64_t size) {
    if (size > content->capacity) {
        uint64_t capacity = size + size / 2 + DISK_PAGE;
        uint8_t *larger = realloc(content->bytes, capacity);
        if (larger == NULL) abort();
        content->bytes = larger;
        content->capacity = capacity;
    }
    if (size > content->size) memset(content->bytes + content->size, 0, size - content->size);
    content->size = size;
}

static void content_write(content_t *content, uint64_t offset, const uint8_t *bytes, size_t length) {
    if (length == 0) return;
    if (offset + length > content->size) content_resize(content, offset + length);
    memcpy(content->bytes + offset, bytes, length);
}

static void content_copy(content_t *to, const content_t *from) {
    content_resize(to, from->size);
    if (from->size > 0) memcpy(to->bytes, from->bytes, from->size);
}

static int names_find(const names_t *names, const char *name) {
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) return (int)i;
    }
    return -1;
}

static void names_set(names_t *names, const char *name, int inode) {
    int at = names_find(names, name);
    if (at < 0) {
        names->entries = grown(names->entries, names->count, &names->capacity, sizeof(*names->entries));
        at = (int)names->count++;
        names->entries[at].name = copied(name);
    }
    names->entries[at].inode = inode;
}

static void names_remove(names_t *names, const char *name) {
    int at = names_find(names, name);
    if (at < 0) return;
    free(names->entries[at].name);
    names->entries[at] = names->entries[--names->count];
}

static void names_apply(names_t *names, const disk_op_t *op) {
    if (op->kind == DISK_CREATE) names_set(names, op->name, op->inode);
    if (op->kind == DISK_UNLINK) names_remove(names, op->name);
    if (op->kind == DISK_RENAME) {
        int at = names_find(names, op->name);
        if (at >= 0 && names->entries[at].inode == op->inode) names_remove(names, op->name);
        names_set(names, op->to, op->inode);
    }
}

static size_t folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path);
}

static int is_in(const char *path, const char *folder) {
    size_t length = folder_length(path);
    return length == strlen(folder) && memcmp(path, folder, length) == 0;
}

static void need_inode(disk_t *disk, int inode) {
    while (disk->inode_count <= inode) {
        size_t capacity = (size_t)disk->inode_capacity;
        disk->inodes = grown(disk->inodes, (size_t)disk->inode_count, &capacity, sizeof(*disk->inodes));
        disk->inode_capacity = (int)capacity;
        disk->inodes[disk->inode_count++] = (inode_t){0};
    }
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

/* Does this part of the pending operation number k of n survive? */
typedef int (*survives_fn)(const void *choice, uint32_t k, uint32_t n, uint64_t offset);

static void keep_part(content_t *kept, const disk_op_t *op, uint32_t k, uint32_t n, survives_fn survives,
                      const void *choice) {
    if (op->kind == DISK_SIZE) {
        if (survives == NULL || survives(choice, k, n, UINT64_MAX)) content_resize(kept, op->offset);
        return;
    }
    if (survives == NULL) {
        content_write(kept, op->offset, op->bytes, op->length);
        return;
    }
    for (uint64_t at = op->offset; at < op->offset + op->length;) {
        uint64_t end = (at / DISK_SECTOR + 1) * DISK_SECTOR;
        if (end > op->offset + op->length) end = op->offset + op->length;
        if (survives(choice, k, n, at)) content_write(kept, at, op->bytes + (at - op->offset), (size_t)(end - at));
        at = end;
    }
}

static int half_survives(const void *choice, uint32_t k, uint32_t n, uint64_t offset) {
    const uint64_t *seed = choice;
    (void)n;
    return (int)(disk_mix(*seed ^ (uint64_t)k << 40 ^ offset / DISK_SECTOR) & 1);
}

static void apply_sync(disk_t *disk, const disk_op_t *op) {
    inode_t *inode = &disk->inodes[op->inode];
    for (uint32_t k = 0; k < inode->pending_count; k++) {
        keep_part(&inode->kept, disk->ops[inode->pending[k]], k, inode->pending_count,
                  op->kind == DISK_SYNC ? NULL : half_survives, &op->offset);
    }
    inode->pending_count = 0;
}

static void apply_sync_folder(disk_t *disk, const disk_op_t *op) {
    uint32_t left = 0;
    for (uint32_t k = 0; k < disk->pending_names_count; k++) {
        const disk_op_t *change = disk->ops[disk->pending_names[k]];
        if (!is_in(change->name, op->name))
            disk->pending_names[left++] = disk->pending_names[k];
        else if (op->kind == DISK_SYNC_FOLDER || half_survives(&op->offset, k, 0, 0))
            names_apply(&disk->kept, change);
    }
    disk->pending_names_count = left;
}

/* Number `index` of the log. What is seen changes at once; what is kept only with a sync. */
static void apply(disk_t *disk, const disk_op_t *op, size_t index) {
    switch (op->kind) {
    case DISK_WRITE:
    case DISK_SIZE: {
        inode_t *inode = &disk->inodes[op->inode];
        if (!disk->follower && op->kind == DISK_WRITE) content_write(&inode->seen, op->offset, op->bytes, op->length);
        if (!disk->follower && op->kind == DISK_SIZE) content_resize(&inode->seen, op->offset);
        inode->pending = grown_u32(inode->pending, inode->pending_count, &inode->pending_capacity, sizeof(uint32_t));
        inode->pending[inode->pending_count++] = (uint32_t)index;
        break;
    }
    case DISK_SYNC:
    case DISK_SYNC_FAILED:
        apply_sync(disk, op);
        break;
    case DISK_CREATE:
    case DISK_UNLINK:
    case DISK_RENAME:
        if (op->kind == DISK_CREATE) need_inode(disk, op->inode);
        if (op->kind == DISK_CREATE && op->length == 1) disk->inodes[op->inode].is_folder = 1;
        names_apply(&disk->seen, op);
        disk->pending_names =
            grown_u32(disk->pending_names, disk->pending_names_count, &disk->pending_names_capacity, sizeof(uint32_t));
        disk->pending_names[disk->pending_names_count++] = (uint32_t)index;
        break;
    case DISK_SYNC_FOLDER:
    case DISK_SYNC_FOLDER_FAILED:
        apply_sync_folder(disk, op);
        break;
    }
}

static void take_op(disk_t *disk, const disk_op_t *op) {
    disk->ops = grown(disk->ops, disk->op_count, &disk->op_capacity, sizeof(*disk->ops));
    disk->ops[disk->op_count] = op;
    apply(disk, op, disk->op_count++);
}

static void do_op(disk_t *disk, disk_op_t op) {
    if (disk->frozen) {
        free(op.bytes);
        free(op.name);
        free(op.to);
        return;
    }
    disk_op_t *kept = malloc(sizeof(*kept));
    if (kept == NULL) abort();
    *kept = op;
    take_op(disk, kept);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static disk_t *disk_new(void) {
    disk_t *disk = calloc(1, sizeof(*disk));
    if (disk == NULL) abort();
    return disk;
}

disk_t *disk_create_follower(void) {
    disk_t *disk = disk_new();
    disk->follower = 1;
    return disk;
}

static void names_free(names_t *names) {
    for (size_t i = 0; i < names->count; i++) free(names->entries[i].name);
    free(names->entries);
}

void disk_destroy(disk_t *disk) {
    if (disk == NULL) return;
    for (int i = 0; i < disk->inode_count; i++) {
        free(disk->inodes[i].seen.bytes);
        free(disk->inodes[i].kept.bytes);
        free(disk->inodes[i].pending);
    }
    for (size_t i = 0; i < disk->op_count && !disk->follower; i++) {
        free(disk->ops[i]->bytes);
        free(disk->ops[i]->name);
        free(disk->ops[i]->to);
        free((void *)(uintptr_t)disk->ops[i]); /* ours: do_op made it */
    }
    free(disk->ops);
    free(disk->inodes);
    names_free(&disk->seen);
    names_free(&disk->kept);
    free(disk->pending_names);
    free(disk->handles);
    free(disk);
}

size_t disk_op_count(const disk_t *disk) {
    return disk->op_count;
}
const disk_op_t *disk_op(const disk_t *disk, size_t index) {
    return disk->ops[index];
}
unsigned disk_failed_syncs(const disk_t *disk) {
    return disk->failed_syncs;
}
disk_plant_t *disk_plant(disk_t *disk) {
    return &disk->plant;
}
void disk_set_room(disk_t *disk, uint64_t bytes) {
    disk->room = bytes;
}

void disk_fail_syncs(disk_t *disk, unsigned one_in, uint64_t seed) {
    disk->fail_one_in = one_in;
    disk->random = seed;
}

void disk_freeze(disk_t *disk, int frozen) {
    disk->frozen = frozen;
}

void disk_kill_process(disk_t *disk) {
    disk->handle_count = 0;
}

void disk_follow(disk_t *follower, const disk_op_t *op) {
    take_op(follower, op);
}

/* ---- the cut ----------------------------------------------------------------------------------------------------- */

typedef struct {
    unsigned mode;
    uint64_t seed; /* differs from file to file */
} choice_t;

static int cut_survives(const void *context, uint32_t k, uint32_t n, uint64_t offset) {
    const choice_t *choice = context;
    switch (choice->mode) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return (int)(disk_mix(choice->seed ^ (uint64_t)k << 32) & 1);
    case 3: /* a sector shows what the cache had after some of the writes */
        return k < disk_mix(choice->seed ^ offset / DISK_SECTOR) % (n + 1);
    case 4:
        return k < disk_mix(choice->seed ^ offset / DISK_PAGE) % (n + 1);
    default:
        return k >= n / 2;
    }
}

disk_t *disk_cut(const disk_t *disk, unsigned mode, uint64_t seed) {
    disk_t *after = disk_new();
    names_t names = {0};
    for (size_t i = 0; i < disk->kept.count; i++)
        names_set(&names, disk->kept.entries[i].name, disk->kept.entries[i].inode);
    for (uint32_t k = 0; k < disk->pending_names_count; k++) {
        int survives = mode == 0 ? 0 : mode == 1 ? 1 : (int)(disk_mix(seed ^ 0x6e616d65 ^ (uint64_t)k << 32) & 1);
        if (survives) names_apply(&names, disk->ops[disk->pending_names[k]]);
    }
    if (disk->inode_count > 0) need_inode(after, disk->inode_count - 1);
    for (size_t i = 0; i < names.count; i++) {
        char folder[256];
        (void)snprintf(folder, sizeof(folder), "%.*s", (int)folder_length(names.entries[i].name),
                       names.entries[i].name);
        if (strcmp(folder, ROOT) != 0 && names_find(&names, folder) < 0) continue; /* its folder is gone */
        int number = names.entries[i].inode;
        const inode_t *from = &disk->inodes[number];
        inode_t *to = &after->inodes[number];
        names_set(&after->seen, names.entries[i].name, number);
        names_set(&after->kept, names.entries[i].name, number);
        to->is_folder = from->is_folder;
        content_copy(&to->kept, &from->kept);
        choice_t choice = {.mode = mode, .seed = disk_mix(seed ^ (uint64_t)number << 48)};
        for (uint32_t k = 0; k < from->pending_count; k++) {
            keep_part(&to->kept, disk->ops[from->pending[k]], k, from->pending_count, cut_survives, &choice);
        }
        content_copy(&to->seen, &to->kept);
    }
    names_free(&names);
    return after;
}

/* ---- what the code under test calls ------------------------------------------------------------------------------ */

int disk_has_path(const disk_t *disk, const char *path) {
    return names_find(&disk->seen, path) >= 0;
}

int disk_open_path(disk_t *disk, const char *path, int create, int exclusive) {
    int at = names_find(&disk->seen, path);
    if (at >= 0) return create && exclusive ? -EEXIST : disk->seen.entries[at].inode;
    if (!create) return -ENOENT;
    int inode = disk->inode_count;
    do_op(disk, (disk_op_t){.kind = DISK_CREATE, .inode = inode, .name = copied(path)});
    return inode;
}

int64_t disk_read(const disk_t *disk, int inode, void *bytes, size_t length, uint64_t offset) {
    const content_t *seen = &disk->inodes[inode].seen;
    if (offset >= seen->size) return 0;
    if (length > seen->size - offset) length = (size_t)(seen->size - offset);
    memcpy(bytes, seen->bytes + offset, length);
    return (int64_t)length;
}

static int take_room(disk_t *disk, int inode, uint64_t size) {
    uint64_t now = disk->inodes[inode].seen.size;
    if (size <= now) return 0;
    if (disk->room != 0) {
        uint64_t used = 0;
        for (size_t i = 0; i < disk->seen.count; i++) used += disk->inodes[disk->seen.entries[i].inode].seen.size;
        if (used + size - now > disk->room) return -ENOSPC;
    }
    return 0;
}

int64_t disk_write(disk_t *disk, int inode, const void *bytes, size_t length, uint64_t offset) {
    int result = take_room(disk, inode, offset + length);
    if (result < 0) return result;
    disk_op_t op = {
        .kind = DISK_WRITE, .inode = inode, .offset = offset, .length = (uint32_t)length, .bytes = malloc(length + 1)};
    if (op.bytes == NULL) abort();
    memcpy(op.bytes, bytes, length);
    do_op(disk, op);
    return (int64_t)length;
}

uint64_t disk_size(const disk_t *disk, int inode) {
    return disk->inodes[inode].seen.size;
}

int disk_resize(disk_t *disk, int inode, uint64_t size) {
    int result = take_room(disk, inode, size);
    if (result < 0) return result;
    if (size != disk_size(disk, inode)) do_op(disk, (disk_op_t){.kind = DISK_SIZE, .inode = inode, .offset = size});
    return 0;
}

static int sync_fails(disk_t *disk) {
    if (disk->frozen || disk->fail_one_in == 0 || disk_random(&disk->random) % disk->fail_one_in != 0) return 0;
    disk->failed_syncs++;
    return 1;
}

int disk_sync(disk_t *disk, int inode) {
    if (sync_fails(disk)) {
        do_op(disk, (disk_op_t){.kind = DISK_SYNC_FAILED, .inode = inode, .offset = disk_random(&disk->random)});
        return -EIO;
    }
    do_op(disk, (disk_op_t){.kind = DISK_SYNC, .inode = inode});
    return 0;
}

int disk_sync_folder(disk_t *disk, const char *folder) {
    disk_op_t op = {.kind = DISK_SYNC_FOLDER, .name = copied(folder)};
    if (sync_fails(disk)) {
        op.kind = DISK_SYNC_FOLDER_FAILED;
        op.offset = disk_random(&disk->random);
    }
    do_op(disk, op);
    return op.kind == DISK_SYNC_FOLDER ? 0 : -EIO;
}

int disk_unlink(disk_t *disk, const char *path) {
    int at = names_find(&disk->seen, path);
    if (at < 0) return -ENOENT;
    do_op(disk, (disk_op_t){.kind = DISK_UNLINK, .inode = disk->seen.entries[at].inode, .name = copied(path)});
    return 0;
}

/* ---- files_t ----------------------------------------------------------------------------------------------------- */

static int new_handle(disk_t *disk, int inode, int is_lock) {
    size_t capacity = (size_t)disk->handle_capacity;
    disk->handles = grown(disk->handles, (size_t)disk->handle_count, &capacity, sizeof(*disk->handles));
    disk->handle_capacity = (int)capacity;
    disk->handles[disk->handle_count] = (handle_t){.inode = inode, .is_lock = is_lock, .open = 1};
    return disk->handle_count++;
}

static int inode_of(const disk_t *disk, int file) {
    assert(file >= 0 && file < disk->handle_count && disk->handles[file].open);
    return disk->handles[file].inode;
}

static int f_open(void *context, const char *path, int create, int exclusive) {
    disk_t *disk = context;
    int inode = disk_open_path(disk, path, create, exclusive);
    return inode < 0 ? inode : new_handle(disk, inode, 0);
}
static int f_close(void *context, int file) {
    disk_t *disk = context;
    assert(file >= 0 && file < disk->handle_count && disk->handles[file].open);
    disk->handles[file].open = 0;
    return 0;
}
static int64_t f_pread(void *context, int file, void *bytes, size_t length, uint64_t offset) {
    disk_t *disk = context;
    return disk_read(disk, inode_of(disk, file), bytes, length, offset);
}

static int is_wal(const disk_t *disk, int inode) {
    for (size_t i = 0; i < disk->seen.count; i++) {
        const char *name = disk->seen.entries[i].name;
        size_t length = strlen(name);
        if (disk->seen.entries[i].inode == inode && length > 4 && strcmp(name + length - 4, "-wal") == 0) return 1;
    }
    return 0;
}

static int64_t f_pwrite(void *context, int file, const void *bytes, size_t length, uint64_t offset) {
    disk_t *disk = context;
    if (disk->plant.no_rewrite && is_wal(disk, inode_of(disk, file))) return (int64_t)length;
    return disk_write(disk, inode_of(disk, file), bytes, length, offset);
}
static int64_t f_size(void *context, int file) {
    disk_t *disk = context;
    return (int64_t)disk_size(disk, inode_of(disk, file));
}
static int f_truncate(void *context, int file, uint64_t size) {
    disk_t *disk = context;
    return disk_resize(disk, inode_of(disk, file), size);
}
static int f_sync(void *context, int file) {
    disk_t *disk = context;
    int inode = inode_of(disk, file);
    if (disk->plant.before_sync != NULL) disk->plant.before_sync(disk->plant.context);
    if (disk->plant.no_sync) return 0;
    int result = disk_sync(disk, inode);
    while (result < 0 && disk->plant.retry_failed_sync) result = disk_sync(disk, inode);
    return result;
}
static int f_sync_folder(void *context, const char *folder) {
    disk_t *disk = context;
    return disk->plant.no_folder_sync ? 0 : disk_sync_folder(disk, folder);
}
static int f_rename(void *context, const char *from, const char *to) {
    disk_t *disk = context;
    int at = names_find(&disk->seen, from);
    if (at < 0) return -ENOENT;
    do_op(disk,
          (disk_op_t){
              .kind = DISK_RENAME, .inode = disk->seen.entries[at].inode, .name = copied(from), .to = copied(to)});
    return 0;
}
static int f_unlink(void *context, const char *path) {
    return disk_unlink(context, path);
}
static int f_make_folder(void *context, const char *path) {
    disk_t *disk = context;
    if (disk_has_path(disk, path)) return -EEXIST;
    do_op(disk, (disk_op_t){.kind = DISK_CREATE, .inode = disk->inode_count, .length = 1, .name = copied(path)});
    return 0;
}
static int f_list(void *context, const char *folder, void (*each)(void *argument, const char *name), void *argument) {
    disk_t *disk = context;
    for (size_t i = 0; i < disk->seen.count; i++) {
        const char *name = disk->seen.entries[i].name;
        if (is_in(name, folder)) each(argument, name + strlen(folder) + 1);
    }
    return 0;
}
static int f_lock(void *context, const char *path, int wait) {
    disk_t *disk = context;
    (void)wait;
    int inode = disk_open_path(disk, path, 1, 0);
    for (int i = 0; i < disk->handle_count; i++) {
        if (disk->handles[i].open && disk->handles[i].is_lock && disk->handles[i].inode == inode) return -EWOULDBLOCK;
    }
    return new_handle(disk, inode, 1);
}

const files_t *disk_files(disk_t *disk) {
    disk->files = (files_t){.context = disk,
                            .open = f_open,
                            .close = f_close,
                            .pread = f_pread,
                            .pwrite = f_pwrite,
                            .size = f_size,
                            .truncate = f_truncate,
                            .allocate = f_truncate,
                            .sync_data = f_sync,
                            .sync_all = f_sync,
                            .sync_folder = f_sync_folder,
                            .rename = f_rename,
                            .unlink = f_unlink,
                            .make_folder = f_make_folder,
                            .list = f_list,
                            .lock = f_lock};
    return &disk->files;
}

disk_t *disk_create(void) {
    return disk_new();
}
