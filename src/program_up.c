/*
 * `bookcart up`: one supervisor for nginx and the services of one machine.
 *
 * Invariants
 * 1. One supervisor a data folder: DATA/run/up.lock, taken without waiting. Services take locks of their own and wait for a
 *    predecessor that has not died yet, so a new supervisor needs not know what an old one left behind.
 * 2. No child outlives this process: every child is killed by the kernel when we die (program_child.c), nginx's workers when
 *    their master does. We are a subreaper: whatever loses its parent becomes our child, and is killed, because only
 *    workers of a dead nginx master get here and they would serve old seats on the same port.
 * 3. The listening sockets are ours and handed to nginx. So port 0 is no race, a connection that arrives while nginx starts over
 *    waits instead of being refused, and a new nginx can take over while the old one finishes (SIGUSR2).
 * 4. One thread, one loop: reap, start what is due, look for readiness, wait for a signal or the next deadline.
 *
 * A child:  IDLE ──start──▶ RUNNING ──ended──▶ WAITING (back-off) ──due──▶ RUNNING;   stopping: RUNNING ──ended──▶ IDLE
 * The whole: STARTING ──all ready──▶ SERVING ──SIGTERM, SIGINT──▶ STOPPING: nginx, question, payment, cart, library, auth, one
 *            after the other, so that parked requests are answered while the cart service still confirms.
 *
 * Limits: a child that fails START_FAILURES_MAX times in a row before everything was ready once ends the start; later it is
 * tried for ever, with a growing pause.
 */
#include "program.h"

#include "platform/bc_files.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_FAILURES_MAX 5
#define PROBE_EVERY_MS     50
#define SERVICE_GRACE_MS   15000
#define HURRY_AFTER_MS     1000
#define OPEN_FILES_MAX     65536

enum { AUTH, LIBRARY, CART, PAYMENT, QUESTION, SERVICES, NGINX = SERVICES, CHILDREN };
/* The order of a shutdown. */
static const int stop_order[CHILDREN] = {NGINX, QUESTION, PAYMENT, CART, LIBRARY, AUTH};

typedef struct {
    const char *name;
    bc_key_t key;
    int socket;
    char address[PROGRAM_ADDRESS]; /* as nginx writes it, with the port that was bound */
} listener_t;

enum { SHOP, OPERATIONS, LISTENERS };

typedef struct {
    const bc_config_t *config;
    program_owner_t owner;
    child_t children[CHILDREN];
    listener_t listeners[LISTENERS];
    int sockets[LISTENERS]; /* the same descriptors, as children inherit them */
    char module[PATH_MAX], nginx_conf[PATH_MAX], nginx_prefix[PATH_MAX], jwks[PATH_MAX];
    char environment_listen[64 + PATH_MAX], environment_operations[64 + PATH_MAX], environment_nginx[64];
    char nginx_global[PATH_MAX + 64]; /* -g: the pid file of this nginx */
    unsigned nginx_generation;
    unsigned open_files_max;
    pid_t old_nginx; /* after SIGUSR2: finishing its requests; 0: none */
    int64_t old_nginx_until_ms;
    pid_t next_nginx; /* after SIGUSR2: not yet taken over; 0: none */
    bool ready, stopping, failed, hurried;
    int stop_stage; /* index into stop_order */
    bool stage_signalled;
    int64_t stop_since_ms, stage_until_ms, probe_at_ms;
} up_t;

/* --- readiness --- */

static void look_for_readiness(up_t *up, int64_t now_ms) {
    static const bc_key_t internal[] = {[AUTH] = BC_AUTH_INTERNAL,
                                        [LIBRARY] = BC_LIBRARY_INTERNAL,
                                        [CART] = BC_CART_INTERNAL,
                                        [PAYMENT] = BC_PAYMENT_INTERNAL,
                                        [QUESTION] = BC_QUESTION_INTERNAL};
    up->probe_at_ms = now_ms + PROBE_EVERY_MS;
    for (int i = 0; i < CHILDREN; i++) {
        if (up->children[i].state != CHILD_RUNNING) return;
    }
    for (int i = 0; i < SERVICES; i++) {
        if (!program_probe(bc_config_text(up->config, internal[i]))) return;
    }
    if (!program_probe(up->listeners[OPERATIONS].address)) return;
    up->ready = true;
    const char *operations = up->listeners[OPERATIONS].address;
    program_event("operations", "%s%s", strncmp(operations, "unix:", 5) == 0 ? "" : "http://", operations);
    const char *scheme = bc_config_text(up->config, BC_TLS_CERT)[0] == '\0' ? "http" : "https";
    printf("ready %s://%s\n", scheme, up->listeners[SHOP].address);
    (void)fflush(stdout); /* as in program_event */
}

/* --- nginx --- */

static bool write_nginx_conf(up_t *up) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    bool good = false;
    if (out == NULL) return false;
    bc_listen_t shop, operations;
    (void)bc_listen_parse(bc_config_text(up->config, BC_LISTEN), &shop);           /* judged before */
    (void)bc_listen_parse(bc_config_text(up->config, BC_OPS_LISTEN), &operations); /* judged before */
    const program_nginx_t nginx = {
        .module = up->module,
        .listen = up->listeners[SHOP].address,
        .ops_listen = up->listeners[OPERATIONS].address,
        .loopback = bc_listen_is_loopback(&shop) && bc_listen_is_loopback(&operations),
        .as_root = geteuid() == 0 && up->owner.uid == 0,
        .open_files_max = up->open_files_max,
    };
    program_nginx_write(up->config, &nginx, out);
    if (fclose(out) == 0) {
        if (program_act_as(&up->owner)) good = bc_files_replace(up->nginx_conf, text, length, 0600);
        program_act_as_ourselves();
    }
    if (!good) program_event("nginx", "cannot write %s: %s", up->nginx_conf, strerror(errno));
    free(text);
    return good;
}

/* Each master has a pid file of its own, so that one that ends does not remove its successor's. */
static void next_nginx_generation(up_t *up) {
    up->nginx_generation++;
    (void)snprintf(up->nginx_global, sizeof(up->nginx_global), "pid %s/nginx-%u.pid;", up->nginx_prefix,
                   up->nginx_generation);
}

/* Calls `act` for each child of this process that is none of ours by choice. */
static void kill_orphans(up_t *up) {
    DIR *proc = opendir("/proc");
    if (proc == NULL) return;
    const struct dirent *entry;
    while ((entry = readdir(proc)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0])) continue;
        char path[64], text[512];
        (void)snprintf(path, sizeof(path), "/proc/%.20s/stat", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue; /* it has just ended */
        ssize_t length = read(fd, text, sizeof(text) - 1);
        (void)close(fd);
        if (length <= 0) continue;
        text[length] = '\0';
        const char *after_name = strrchr(text, ')');
        char state = 0;
        int parent = 0;
        /* A number that the kernel wrote fits. NOLINTNEXTLINE(cert-err34-c) */
        if (after_name == NULL || sscanf(after_name + 1, " %c %d", &state, &parent) != 2) continue;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (parent != getpid() || state == 'Z' || pid == up->old_nginx || pid == up->next_nginx) continue;
        bool ours = false;
        for (int i = 0; i < CHILDREN; i++) ours = ours || up->children[i].pid == pid;
        if (ours) continue;
        if (kill(pid, SIGKILL) != 0) continue; /* it has just ended */
        (void)waitpid(pid, NULL, 0);           /* killed: ends at once */
        program_event("nginx", "killed pid %d, left over from a dead master", pid);
    }
    (void)closedir(proc);
}

static void start_nginx(up_t *up, int64_t now_ms) {
    kill_orphans(up);
    if (!write_nginx_conf(up)) {
        up->children[NGINX].start_at_ms = now_ms + CHILD_BACK_OFF_MAX;
        return;
    }
    next_nginx_generation(up);
    child_start(&up->children[NGINX], now_ms);
}

/* SIGUSR2: a new nginx beside the old one, on the same sockets. It is known to serve when its pid file is there. */
static void upgrade_nginx(up_t *up, int64_t now_ms) {
    child_t *nginx = &up->children[NGINX];
    if (nginx->state != CHILD_RUNNING || up->old_nginx != 0) {
        program_event("nginx", "no upgrade now: %s", up->old_nginx != 0 ? "one is under way" : "it is not running");
        return;
    }
    if (!write_nginx_conf(up)) return;
    program_event("nginx", "upgrade: a new nginx takes over from pid %d", nginx->pid);
    up->old_nginx = nginx->pid;
    up->old_nginx_until_ms = 0;
    nginx->pid = 0;
    nginx->state = CHILD_IDLE;
    next_nginx_generation(up);
    child_start(nginx, now_ms);
    up->next_nginx = nginx->pid;
}

static bool nginx_wrote_pid(const up_t *up, pid_t pid) {
    char path[PATH_MAX + 32], *text = NULL;
    size_t length = 0;
    (void)snprintf(path, sizeof(path), "%s/nginx-%u.pid", up->nginx_prefix, up->nginx_generation);
    if (!bc_files_read(path, 32, &text, &length)) return false;
    bool same = strtol(text, NULL, 10) == pid;
    free(text);
    return same;
}

static void tend_upgrade(up_t *up, int64_t now_ms) {
    if (up->old_nginx == 0) return;
    if (up->next_nginx != 0 && nginx_wrote_pid(up, up->next_nginx)) {
        up->next_nginx = 0;
        up->old_nginx_until_ms = now_ms + program_nginx_grace_ms(up->config) + 2000;
        program_event("nginx", "upgrade: pid %d finishes its requests", up->old_nginx);
        (void)kill(up->old_nginx, SIGQUIT); /* ended already: reaped below */
    }
    if (up->old_nginx_until_ms != 0 && now_ms >= up->old_nginx_until_ms) {
        program_event("nginx", "pid %d did not finish in time, killed", up->old_nginx);
        (void)kill(up->old_nginx, SIGKILL); /* as above */
        up->old_nginx_until_ms = now_ms + 1000;
    }
}

/* --- life --- */

static void begin_stop(up_t *up, const char *why) {
    int64_t now_ms = bc_monotonic_ms();
    if (up->stopping) {
        /* Soon after the first it is the same wish, said to the process and to its group. */
        if (up->hurried || now_ms - up->stop_since_ms < HURRY_AFTER_MS) return;
        program_event("up", "%s again: what still runs is killed", why);
        up->hurried = true;
        return;
    }
    up->stop_since_ms = now_ms;
    program_event("up", "%s: stopping in order", why);
    up->stopping = true;
    up->stop_stage = 0;
    up->stage_signalled = false;
}

static void reap(up_t *up, int64_t now_ms) {
    int status = 0;
    pid_t pid;
    bool orphans = false;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == up->old_nginx) {
            char how[96];
            child_describe(status, how, sizeof(how));
            program_event("nginx", "pid %d, the old one, %s", pid, how);
            up->old_nginx = 0;
            orphans = true;
            continue;
        }
        int found = -1;
        for (int i = 0; i < CHILDREN; i++) {
            if (up->children[i].pid == pid) found = i;
        }
        if (found < 0) continue; /* an orphan that ended by itself */
        if (found == NGINX) orphans = true;
        if (pid == up->next_nginx) {
            /* The new nginx did not come up: the old one stays. */
            up->next_nginx = 0;
            if (up->old_nginx != 0) {
                char how[96];
                child_describe(status, how, sizeof(how));
                program_event("nginx", "upgrade failed, pid %d %s; pid %d stays", pid, how, up->old_nginx);
                up->children[NGINX].pid = up->old_nginx;
                up->children[NGINX].state = CHILD_RUNNING;
                up->old_nginx = 0;
                continue;
            }
        }
        child_ended(&up->children[found], status, !up->stopping, now_ms);
        if (!up->ready && !up->stopping && up->children[found].failures >= START_FAILURES_MAX) {
            program_event(up->children[found].name, "failed %d times in a row: giving up", START_FAILURES_MAX);
            up->failed = true;
            begin_stop(up, "start failed");
        }
    }
    if (orphans) kill_orphans(up);
}

/* The edge verifies tokens by the set that auth publishes: before the first one there is nothing to serve. The first nginx also
 * waits for the link, so that its first lines are not complaints; a later one must serve without it. */
static bool nginx_may_start(const up_t *up) {
    if (access(up->jwks, R_OK) != 0) return false;
    bc_listen_t link;
    if (up->nginx_generation > 0 || up->children[CART].failures > 0) return true;
    if (!bc_listen_parse(bc_config_text(up->config, BC_CART_LINK), &link) || !link.is_unix) return true;
    return access(link.address, F_OK) == 0;
}

static void start_what_is_due(up_t *up, int64_t now_ms) {
    for (int i = 0; i < CHILDREN; i++) {
        child_t *child = &up->children[i];
        if (child->state == CHILD_RUNNING || now_ms < child->start_at_ms) continue;
        if (i == NGINX) {
            if (!nginx_may_start(up)) continue;
            start_nginx(up, now_ms);
        } else {
            child_start(child, now_ms);
        }
    }
}

/* true when everything has ended. */
static bool stop_next(up_t *up, int64_t now_ms) {
    while (up->stop_stage < CHILDREN) {
        child_t *child = &up->children[stop_order[up->stop_stage]];
        bool is_nginx = stop_order[up->stop_stage] == NGINX;
        bool old_runs = is_nginx && up->old_nginx != 0;
        if (child->state != CHILD_RUNNING && !old_runs) {
            child->state = CHILD_IDLE;
            up->stop_stage++;
            up->stage_signalled = false;
            continue;
        }
        if (!up->stage_signalled) {
            up->stage_signalled = true;
            up->stage_until_ms = now_ms + (is_nginx ? program_nginx_grace_ms(up->config) + 2000 : SERVICE_GRACE_MS);
            if (child->pid > 0) (void)kill(child->pid, is_nginx ? SIGQUIT : SIGTERM); /* ended already: reaped next */
            if (old_runs) (void)kill(up->old_nginx, SIGQUIT);                         /* the same */
        } else if (now_ms >= up->stage_until_ms || up->hurried) {
            program_event(child->name, "did not stop in time, killed");
            if (child->pid > 0) (void)kill(child->pid, SIGKILL); /* ended already: reaped next */
            if (old_runs) (void)kill(up->old_nginx, SIGKILL);    /* the same */
            up->stage_until_ms = now_ms + 1000;
        }
        return false;
    }
    return true;
}

static int64_t next_deadline(const up_t *up, int64_t now_ms) {
    int64_t next = now_ms + 60000;
    if (up->stopping) {
        if (up->stage_until_ms < next) next = up->stage_until_ms;
        return next;
    }
    for (int i = 0; i < CHILDREN; i++) {
        const child_t *child = &up->children[i];
        if (child->state != CHILD_RUNNING && child->start_at_ms < next) next = child->start_at_ms;
    }
    if (!up->ready && up->probe_at_ms < next) next = up->probe_at_ms;
    if (up->old_nginx != 0 && now_ms + PROBE_EVERY_MS < next) next = now_ms + PROBE_EVERY_MS;
    /* What is due but cannot start yet (nginx before the key set) is looked at again soon, not at once. */
    return next < now_ms + PROBE_EVERY_MS ? now_ms + PROBE_EVERY_MS : next;
}

static void wait_for_signal(up_t *up, const sigset_t *signals, int64_t now_ms) {
    int64_t wait_ms = next_deadline(up, now_ms) - now_ms;
    const struct timespec timeout = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000};
    int signal = sigtimedwait(signals, NULL, &timeout);
    switch (signal) {
    case SIGTERM:
    case SIGINT:
        begin_stop(up, signal == SIGTERM ? "SIGTERM" : "SIGINT");
        break;
    case SIGHUP:
        if (up->stopping || up->children[NGINX].state != CHILD_RUNNING || !write_nginx_conf(up)) break;
        program_event("nginx", "reload");
        (void)kill(up->children[NGINX].pid, SIGHUP); /* ended already: it starts over with the new file */
        break;
    case SIGUSR2:
        if (!up->stopping) upgrade_nginx(up, bc_monotonic_ms());
        break;
    default: /* SIGCHLD: the loop reaps; or the time has come, or EINTR */
        break;
    }
}

static void run(up_t *up, const sigset_t *signals) {
    for (;;) {
        int64_t now_ms = bc_monotonic_ms();
        reap(up, now_ms);
        if (up->stopping) {
            if (stop_next(up, now_ms)) return;
        } else {
            start_what_is_due(up, now_ms);
            tend_upgrade(up, now_ms);
            if (!up->ready && now_ms >= up->probe_at_ms) look_for_readiness(up, now_ms);
        }
        wait_for_signal(up, signals, now_ms);
    }
}

/* --- preparation --- */

static bool find_module(up_t *up) {
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length <= 0) return false;
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    assert(slash != NULL); /* the kernel's path is absolute */
    *slash = '\0';
    if ((size_t)snprintf(up->module, sizeof(up->module), "%s/%s", self, PROGRAM_MODULE) >= sizeof(up->module))
        return false;
    bool readable = program_act_as(&up->owner) && faccessat(AT_FDCWD, up->module, R_OK, AT_EACCESS) == 0;
    program_act_as_ourselves();
    if (!readable) {
        program_event("up", "user %u, whose the data folder is, cannot read %s", up->owner.uid, up->module);
        return false;
    }
    if (access(PROGRAM_NGINX, X_OK) != 0) {
        program_event("up", "%s: %s (install nginx)", PROGRAM_NGINX, strerror(errno));
        return false;
    }
    return true;
}

static void raise_open_files(up_t *up) {
    struct rlimit limit = {.rlim_cur = 1024, .rlim_max = 1024};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        rlim_t wanted = limit.rlim_max < OPEN_FILES_MAX ? limit.rlim_max : OPEN_FILES_MAX;
        if (limit.rlim_cur < wanted) limit.rlim_cur = wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* fails: what there is must do */
        (void)getrlimit(RLIMIT_NOFILE, &limit); /* worked above */
    }
    up->open_files_max = limit.rlim_cur > OPEN_FILES_MAX ? OPEN_FILES_MAX : (unsigned)limit.rlim_cur;
}

/* After an orderly stop the folder holds files only, so that any way of copying it is a move. */
static void remove_sockets(const bc_config_t *config) {
    char folder[PATH_MAX], path[PATH_MAX];
    if (!bc_config_path(config, "run", folder, sizeof(folder))) return;
    DIR *run_folder = opendir(folder);
    if (run_folder == NULL) return;
    const struct dirent *entry;
    while ((entry = readdir(run_folder)) != NULL) {
        const char *ending = strrchr(entry->d_name, '.');
        if (ending == NULL || strcmp(ending, ".sock") != 0) continue;
        int length = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (length > 0 && (size_t)length < sizeof(path)) (void)unlink(path); /* the next start removes it as well */
    }
    (void)closedir(run_folder); /* read only */
}

static void describe_children(up_t *up, const char *config_path) {
    static const char *const names[] = {
        [AUTH] = "auth", [LIBRARY] = "library", [CART] = "cart", [PAYMENT] = "payment", [QUESTION] = "question"};
    (void)snprintf(up->environment_listen, sizeof(up->environment_listen), "BOOKCART_LISTEN=%s",
                   up->listeners[SHOP].address);
    (void)snprintf(up->environment_operations, sizeof(up->environment_operations), "BOOKCART_OPS_LISTEN=%s",
                   up->listeners[OPERATIONS].address);
    for (int i = 0; i < SERVICES; i++) {
        up->children[i] = (child_t){
            .name = names[i],
            .path = "/proc/self/exe",
            .arguments = {"bookcart", "serve", names[i], "--data", bc_config_text(up->config, BC_DATA),
                          config_path == NULL ? NULL : "--config", config_path},
            .environment = {up->environment_listen, up->environment_operations},
        };
    }
    for (int i = 0; i < LISTENERS; i++) up->sockets[i] = up->listeners[i].socket;
    (void)snprintf(up->environment_nginx, sizeof(up->environment_nginx), "NGINX=%d;%d;", up->sockets[SHOP],
                   up->sockets[OPERATIONS]);
    up->children[NGINX] = (child_t){
        .name = "nginx",
        .path = PROGRAM_NGINX,
        .arguments = {"nginx", "-e", "stderr", "-p", up->nginx_prefix, "-c", up->nginx_conf, "-g", up->nginx_global},
        .environment = {up->environment_nginx},
        .become = geteuid() == 0 && up->owner.uid != 0 ? &up->owner : NULL,
        .inherited = up->sockets,
        .inherited_count = LISTENERS,
    };
}

int program_up(const bc_config_t *config, const char *config_path) {
    static up_t up; /* large, and alive as long as the process */
    up.config = config;
    for (int i = 0; i < LISTENERS; i++) up.listeners[i].socket = -1;
    up.listeners[SHOP].name = "shop";
    up.listeners[SHOP].key = BC_LISTEN;
    up.listeners[OPERATIONS].name = "operations";
    up.listeners[OPERATIONS].key = BC_OPS_LISTEN;

    sigset_t signals;
    (void)sigemptyset(&signals); /* none of these fails on valid arguments */
    static const int handled[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR2};
    for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++) (void)sigaddset(&signals, handled[i]);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL); /* a reader of our lines may go away */

    char reason[PROGRAM_REASON] = "";
    int code = 1, lock = -1;
    if (!program_data_prepare(config, &up.owner, reason)) goto end;
    lock = program_data_claim(config, &up.owner, reason);
    if (lock < 0) goto end;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        (void)snprintf(reason, sizeof(reason), "cannot become a subreaper: %s", strerror(errno));
        goto end;
    }
    if (!bc_config_path(config, "nginx", up.nginx_prefix, sizeof(up.nginx_prefix)) ||
        !bc_config_path(config, "nginx/nginx.conf", up.nginx_conf, sizeof(up.nginx_conf)) ||
        !bc_config_path(config, "keys/jwks.json", up.jwks, sizeof(up.jwks))) {
        (void)snprintf(reason, sizeof(reason), "the path of the data folder is too long");
        goto end;
    }
    if (!find_module(&up)) goto end;
    if (geteuid() == 0 && up.owner.uid == 0) {
        program_event("up", "everything runs as root; give the data folder to another user (chown -R) to change that");
    }
    raise_open_files(&up);
    for (int i = 0; i < LISTENERS; i++) {
        listener_t *listener = &up.listeners[i];
        listener->socket = program_listen(listener->name, bc_config_text(config, listener->key), listener->address);
        if (listener->socket < 0) goto end;
    }
    describe_children(&up, config_path);

    program_event("up", "pid %d, data in %s", getpid(), bc_config_text(config, BC_DATA));
    run(&up, &signals);
    remove_sockets(config);
    code = up.failed ? 1 : 0;
    program_event("up", "stopped");
end:
    if (reason[0] != '\0') fprintf(stderr, "bookcart: up: %s\n", reason);
    for (int i = 0; i < LISTENERS; i++) {
        if (up.listeners[i].socket >= 0) (void)close(up.listeners[i].socket);
    }
    if (lock >= 0) (void)close(lock); /* gives it back */
    return code;
}
