/* What the parts of the program share. bookcart.c reads the command line; program_data.c owns the data folder's form;
 * program_up.c supervises; program_listen.c opens its sockets; program_child.c is one supervised process; program_nginx.c
 * writes nginx's configuration; program_backup.c and program_restore.c copy the shop (program_copy.c its files);
 * program_events.c shows what services could not apply; program_services.c is how commands reach
 * services; program_routes.c prints the tables it works by. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "platform/bc_config.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define PROGRAM_NGINX  "/usr/sbin/nginx"
#define PROGRAM_MODULE "ngx_http_cart_module.so"
#define PROGRAM_REASON BC_CONFIG_REASON_BYTES

/* --- program_data.c: the data folder and whom it belongs to --- */

typedef struct {
    uid_t uid;
    gid_t gid;
} program_owner_t;

/* Makes DATA and its folders with their modes and says whose it is: everything that works on it runs as this user. A fresh
 * folder made by root belongs to www-data if that user can reach it, else to root. false: *reason says why. */
bool program_data_prepare(const bc_config_t *config, program_owner_t *owner, char reason[PROGRAM_REASON]);

/* What was asked for the case that our parent dies. Read it before anything else: every change of user makes the kernel forget. */
typedef struct {
    pid_t pid;
    int signal; /* 0: none */
} program_parent_t;

program_parent_t program_parent(void);

/* For good: a process of root becomes the owner, and the parent-death signal is asked for again (`parent` NULL: there is none).
 * Nothing happens when it already is the owner. */
bool program_become(const program_owner_t *owner, const program_parent_t *parent, char reason[PROGRAM_REASON]);

/* Between these two a process of root has the owner's rights. */
bool program_act_as(const program_owner_t *owner);
void program_act_as_ourselves(void);

/* Takes DATA/run/up.lock for this supervisor, without waiting, and writes its pid there. -1: *reason says who holds it. */
int program_data_claim(const bc_config_t *config, const program_owner_t *owner, char reason[PROGRAM_REASON]);
/* The pid of the supervisor that holds DATA, 0 when nobody does. */
pid_t program_data_holder(const bc_config_t *config);

/* --- program_child.c: one supervised process --- */

typedef enum {
    CHILD_IDLE,    /* not wanted yet, or stopped for good */
    CHILD_RUNNING, /* pid is valid */
    CHILD_WAITING  /* it ended; starts again at start_at_ms */
} child_state_t;

#define CHILD_ARGUMENTS_MAX 12
#define CHILD_BACK_OFF_MS   100
#define CHILD_BACK_OFF_MAX  5000
#define CHILD_STABLE_MS     5000 /* after running so long its next failure counts as the first */

typedef struct {
    const char *name;
    const char *path;                           /* what is executed */
    const char *arguments[CHILD_ARGUMENTS_MAX]; /* ends with NULL; borrowed for the child's life */
    const char *environment[4];                 /* NAME=value to add, ends with NULL; borrowed */
    const program_owner_t *become;              /* before it is executed; NULL: stays what this process is; borrowed */
    const int *inherited;                       /* descriptors it keeps, borrowed */
    unsigned inherited_count;
    child_state_t state;
    pid_t pid;
    int64_t started_ms, start_at_ms; /* monotonic */
    unsigned failures;               /* in a row */
} child_t;

/* Starts it now. A failure to fork counts like a start that failed: it is tried again later. Prints the event. */
void child_start(child_t *child, int64_t now_ms);
/* It has ended with `status` (of waitpid): sets when it starts again, or CHILD_IDLE when it is not wanted any more. */
void child_ended(child_t *child, int status, bool wanted, int64_t now_ms);
/* "ended with code 1", "killed by signal 9 (Killed)" */
void child_describe(int status, char *text, size_t size);

/* One line an event on standard output: `bookcart: <who>: …` */
__attribute__((format(printf, 2, 3))) void program_event(const char *who, const char *format, ...);

/* --- program_listen.c --- */

#define PROGRAM_ADDRESS 272

/* A listening socket on `text` (ADDR:PORT or unix:/path), closed on exec, and its address with the port that was bound. Waits a
 * few seconds while the address is in use: workers of a supervisor that was just killed may still be dying. -1 after an event. */
int program_listen(const char *who, const char *text, char address[PROGRAM_ADDRESS]);
/* Does GET /readyz at `address` answer 200 within half a second? */
bool program_probe(const char *address);

/* --- program_nginx.c --- */

typedef struct {
    const char *module; /* absolute path of the module */
    const char *listen; /* as nginx writes an address: 127.0.0.1:8080 */
    const char *ops_listen;
    bool loopback;           /* every listener is: limits by address may be off */
    bool as_root;            /* it is started by root and stays so: the data folder is root's alone */
    unsigned open_files_max; /* descriptors a worker may have */
} program_nginx_t;

/* Writes the whole nginx.conf. Pure: config and arguments in, text out. */
void program_nginx_write(const bc_config_t *config, const program_nginx_t *nginx, FILE *out);
/* The longest a stopping worker may take to answer what is parked. */
int64_t program_nginx_grace_ms(const bc_config_t *config);

/* --- program_routes.c --- */

/* Every public route: service, method, path, callers. 0, or 1. */
int program_routes(FILE *out);
/* Every route of the internal listeners, of each service; callers are `service` (the service key) or `operations`. 0, or 1. */
int program_internal_routes(FILE *out);
/* Every problem: name, status, title in English, French, Bulgarian. 0, or 1. */
int program_problems(FILE *out);
/* nginx's map of $uri to the page behind a problem's `type`, $problem_page; empty: there is none. */
void program_problem_map(FILE *out);

/* --- program_services.c: the services as commands reach them --- */

#define PROGRAM_SERVICES 5
typedef struct {
    const char *name;
    bc_key_t internal; /* its internal listener */
} program_service_t;
extern const program_service_t program_services[PROGRAM_SERVICES];

/* Reads the service key of DATA. false after a message: a shop was never started on it. */
bool program_service_key(const bc_config_t *config, const char *command, char *key, size_t size);

/* --- program_copy.c: files of a folder, copied, checked, described --- */

typedef struct {
    char *path; /* owned; relative */
    int64_t bytes;
    unsigned mode;
    char sha256[65];
} program_file_t;

typedef struct {
    program_file_t *files; /* owned */
    size_t count, capacity;
} program_files_t;

/* Copies one regular file with mode and time, without syncing; holes where there are zeros. `again`: not when the target has its size
 * and time already. `tick` (NULL: none) is called now and then; when it says false the copy ends (ECANCELED). false: errno says why. */
typedef struct {
    bool (*tick)(void *context);
    void *context;
} program_tick_t;
bool program_copy_file(const char *from, const char *to, bool again, const program_tick_t *tick);
/* Syncs the file and reads it: *file gets bytes, mode and digest (its path stays). false: errno. */
bool program_describe_file(const char *path, program_file_t *file);
/* Describes all regular files below `folder` and syncs everything. false: errno. */
bool program_describe_folder(const char *folder, program_files_t *files);
void program_files_free(program_files_t *files);
/* Is this a path that a manifest may name: relative, of plain parts? */
bool program_path_is_inside(const char *path);
/* Not there, or an empty folder. */
bool program_folder_is_free(const char *path);

/* --- program_backup.c, program_restore.c: `folder` is absolute; the process's exit code --- */

#define PROGRAM_MANIFEST     "manifest.json"
#define PROGRAM_MANIFEST_MAX (256 * 1024 * 1024)
#define PROGRAM_FILES        "data"      /* the folder beside the manifest */
#define PROGRAM_RESTORING    "restoring" /* in DATA while a restore is not complete: nothing starts on it */
#define PROGRAM_RESTORED     "restored.json"

int program_backup(const bc_config_t *config, const char *folder);
int program_restore(const bc_config_t *config, const char *folder);

/* --- program_events.c: `bookcart events`; words, and the type after --all-of, are NULL where not given. The process's exit code. --- */

int program_events(const bc_config_t *config, const char *verb, const char *event, const char *all_of);

/* --- program_up.c --- */

/* Everything on one machine until SIGTERM or SIGINT. `config_path` NULL: none. The process's exit code. */
int program_up(const bc_config_t *config, const char *config_path);

#endif
