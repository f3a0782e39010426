/*
 * The data folder: its form, whose it is, and who supervises it.
 *
 *   DATA/            0700   of one user: everything that works on it runs as this user (docs/decisions/0030)
 *     run/                  sockets, locks, pids
 *     keys/                 private keys 0600, jwks.json
 *     journal/ media/
 *     nginx/                nginx.conf, temporary files, page cache
 *
 * Folders are made with the owner's own rights (effective user id), so nothing is ever made as root inside a folder that another
 * user could have filled with links.
 */
#include "program.h"

#include "platform/bc_files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define NGINX_USER "www-data" /* the user of Debian's nginx */

static const char *const folders[] = {"run", "keys", "journal", "media", "nginx", "nginx/temp", "nginx/cache"};

__attribute__((format(printf, 2, 3))) static bool refuse(char *reason, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, PROGRAM_REASON, format, arguments); /* a cut message is still one */
    va_end(arguments);
    return false;
}

/* Runs as the owner for a while. Only the effective ids change: `restore` gives root back. */
bool program_act_as(const program_owner_t *owner) {
    if (geteuid() != 0 || owner->uid == 0) return true;
    return setegid(owner->gid) == 0 && seteuid(owner->uid) == 0;
}

void program_act_as_ourselves(void) {
    if (getuid() != 0) return;
    /* Root's way back cannot fail; going on with the wrong rights would be worse than to stop. */
    if (seteuid(0) != 0 || setegid(0) != 0) abort();
}

static bool parent_of(const char *path, char *parent, size_t size) {
    if ((size_t)snprintf(parent, size, "%s", path) >= size) return false;
    char *slash = strrchr(parent, '/');
    assert(slash != NULL); /* DATA is absolute */
    *(slash == parent ? slash + 1 : slash) = '\0';
    return true;
}

/* Can `user` walk into `folder`? Asked by walking, in the kernel's own words. */
static bool can_reach(const program_owner_t *user, const char *folder) {
    if (!program_act_as(user)) {
        program_act_as_ourselves();
        return false;
    }
    bool reached = faccessat(AT_FDCWD, folder, X_OK, AT_EACCESS) == 0;
    program_act_as_ourselves();
    return reached;
}

/* Whose a folder made by root should be. */
static void choose_owner(const char *parent, program_owner_t *owner) {
    const struct passwd *user = getpwnam(NGINX_USER);
    if (user == NULL) return;
    program_owner_t candidate = {.uid = user->pw_uid, .gid = user->pw_gid};
    if (can_reach(&candidate, parent)) *owner = candidate;
}

static bool make_data(const char *data, program_owner_t *owner, char *reason) {
    char parent[PATH_MAX];
    if (!parent_of(data, parent, sizeof(parent))) return refuse(reason, "%s: the path is too long", data);
    struct stat status;
    if (stat(data, &status) != 0) {
        if (errno != ENOENT) return refuse(reason, "%s: %s", data, strerror(errno));
        if (!bc_files_make_folders(parent, 0755)) return refuse(reason, "%s: %s", parent, strerror(errno));
        *owner = (program_owner_t){.uid = geteuid(), .gid = getegid()};
        if (owner->uid == 0) choose_owner(parent, owner);
        if (mkdir(data, 0700) != 0 && errno != EEXIST) return refuse(reason, "%s: %s", data, strerror(errno));
        if (owner->uid != geteuid() && chown(data, owner->uid, owner->gid) != 0)
            return refuse(reason, "%s: cannot give it to user %u: %s", data, owner->uid, strerror(errno));
        if (!bc_files_sync_folder_of(data)) return refuse(reason, "%s: %s", parent, strerror(errno));
    }
    if (stat(data, &status) != 0) return refuse(reason, "%s: %s", data, strerror(errno));
    if (!S_ISDIR(status.st_mode)) return refuse(reason, "%s: is not a folder", data);
    *owner = (program_owner_t){.uid = status.st_uid, .gid = status.st_gid};
    if (geteuid() != 0 && owner->uid != geteuid())
        return refuse(reason, "%s: belongs to user %u, this is user %u", data, owner->uid, geteuid());
    if ((status.st_mode & 07) != 0) return refuse(reason, "%s: others may look into it: chmod o= it first", data);
    return true;
}

/* nginx's configuration has no way to write these in every place that takes a path. */
static bool path_is_plain(const char *path) {
    return strpbrk(path, "\"'\\$;{}#*?[] \t\n") == NULL;
}

bool program_data_prepare(const bc_config_t *config, program_owner_t *owner, char reason[PROGRAM_REASON]) {
    const char *data = bc_config_text(config, BC_DATA);
    if (data[0] == '\0') return refuse(reason, "no data folder: give --data DIR or set BOOKCART_DATA");
    if (data[0] != '/') return refuse(reason, "%s: is not absolute", data);
    if (strcmp(data, "/") == 0) return refuse(reason, "/: is no data folder");
    if (!path_is_plain(data)) return refuse(reason, "%s: blanks, quotes and $;{}#*?[]\\ cannot be in this path", data);

    program_owner_t found = {0};
    char restoring[PATH_MAX];
    if (!make_data(data, &found, reason)) return false;
    if (bc_config_path(config, PROGRAM_RESTORING, restoring, sizeof(restoring)) && access(restoring, F_OK) == 0)
        return refuse(reason, "%s: a restore into it did not end well: remove it and restore again", data);
    if (!can_reach(&found, data)) return refuse(reason, "%s: its owner (user %u) cannot reach it", data, found.uid);
    bool good = program_act_as(&found);
    if (!good) (void)refuse(reason, "cannot act as user %u: %s", found.uid, strerror(errno));
    for (size_t i = 0; good && i < sizeof(folders) / sizeof(folders[0]); i++) {
        char path[PATH_MAX];
        good = bc_config_path(config, folders[i], path, sizeof(path)) && bc_files_make_folders(path, 0700);
        if (!good) (void)refuse(reason, "%s/%s: %s", data, folders[i], strerror(errno));
    }
    program_act_as_ourselves();
    if (good) *owner = found;
    return good;
}

program_parent_t program_parent(void) {
    program_parent_t parent = {.pid = getppid()};
    if (prctl(PR_GET_PDEATHSIG, &parent.signal) != 0) parent.signal = 0;
    return parent;
}

bool program_become(const program_owner_t *owner, const program_parent_t *parent, char reason[PROGRAM_REASON]) {
    if (geteuid() == 0 && owner->uid != 0) {
        if (setgroups(0, NULL) != 0 || setgid(owner->gid) != 0 || setuid(owner->uid) != 0)
            return refuse(reason, "cannot become user %u: %s", owner->uid, strerror(errno));
        if (setuid(0) == 0) return refuse(reason, "user %u can become root again", owner->uid);
    }
    if (parent == NULL || parent->signal == 0) return true;
    if (prctl(PR_SET_PDEATHSIG, parent->signal) != 0)
        return refuse(reason, "cannot ask for a parent-death signal: %s", strerror(errno));
    /* It may have died while the kernel had forgotten. */
    if (getppid() != parent->pid) return refuse(reason, "the supervisor is gone");
    return true;
}

pid_t program_data_holder(const bc_config_t *config) {
    char path[PATH_MAX];
    if (!bc_config_path(config, "run/up.lock", path, sizeof(path))) return 0;
    if (access(path, F_OK) != 0) return 0;
    int lock = bc_files_lock_try(path);
    if (lock >= 0) {
        (void)close(lock); /* gives the lock back */
        return 0;
    }
    if (errno != EWOULDBLOCK) return 0;
    char *text = NULL;
    size_t length = 0;
    if (!bc_files_read(path, 64, &text, &length)) return -1;
    long pid = strtol(text, NULL, 10);
    free(text);
    return pid > 0 ? (pid_t)pid : -1;
}

int program_data_claim(const bc_config_t *config, const program_owner_t *owner, char reason[PROGRAM_REASON]) {
    char path[PATH_MAX];
    if (!bc_config_path(config, "run/up.lock", path, sizeof(path))) {
        (void)refuse(reason, "the path of the data folder is too long");
        return -1;
    }
    if (!program_act_as(owner)) {
        program_act_as_ourselves();
        (void)refuse(reason, "cannot act as user %u", owner->uid);
        return -1;
    }
    int lock = bc_files_lock_try(path);
    int error = errno;
    program_act_as_ourselves();
    if (lock < 0) {
        pid_t holder = error == EWOULDBLOCK ? program_data_holder(config) : 0;
        if (holder > 0) {
            (void)refuse(reason, "%s is in use by bookcart up, pid %d", bc_config_text(config, BC_DATA), holder);
        } else {
            (void)refuse(reason, "%s: %s", path, strerror(error));
        }
        return -1;
    }
    char text[32];
    int length = snprintf(text, sizeof(text), "%d\n", getpid());
    /* The pid is for people; the lock is what counts, so a full disk does not matter here. */
    if (ftruncate(lock, 0) != 0 || pwrite(lock, text, (size_t)length, 0) != length) errno = 0;
    return lock;
}
