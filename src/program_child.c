/*
 * One supervised process: how it is started so that it cannot outlive its supervisor, and when it is started again.
 *
 * A child asks the kernel to be killed when its parent dies, and then looks whether the parent died before it could ask. It is
 * a process group of its own, so that Ctrl-C in a terminal reaches the supervisor only and the order of a shutdown is ours.
 */
#include "program.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void program_event(const char *who, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments); /* a cut line is still one */
    va_end(arguments);
    printf("bookcart: %s: %s\n", who, text);
    (void)fflush(stdout); /* nobody may be reading: that stops no shop */
}

void child_describe(int status, char *text, size_t size) {
    if (WIFEXITED(status)) {
        (void)snprintf(text, size, "ended with code %d", WEXITSTATUS(status));
    } else if (WIFSIGNALED(status)) {
        (void)snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else {
        (void)snprintf(text, size, "ended (status 0x%x)", (unsigned)status);
    }
}

/* In the child, between fork and exec: only calls that are safe there. */
static void become_child(const child_t *child, pid_t supervisor) {
    (void)setpgid(0, 0); /* fails only when it already leads a group */
    char reason[PROGRAM_REASON];
    if (child->become != NULL && !program_become(child->become, NULL, reason)) _exit(126);
    /* After the user has changed, because the kernel forgets it then. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) _exit(126);
    if (getppid() != supervisor) _exit(126);

    sigset_t none;
    (void)sigemptyset(&none);                    /* cannot fail on a valid pointer */
    (void)sigprocmask(SIG_SETMASK, &none, NULL); /* the same */
    struct sigaction usual = {.sa_handler = SIG_DFL};
    (void)sigaction(SIGPIPE, &usual, NULL); /* the same */

    for (unsigned i = 0; i < child->inherited_count; i++) {
        if (fcntl(child->inherited[i], F_SETFD, 0) != 0) _exit(126);
    }
    for (int i = 0; child->environment[i] != NULL; i++) {
        /* One thread, so no lock of the allocator can be held by another; the text outlives the exec. */
        if (putenv((char *)(uintptr_t)child->environment[i]) != 0) _exit(126);
    }
    (void)execv(child->path, (char *const *)(uintptr_t)child->arguments); /* returns only on failure */
    const char *why = strerror(errno);
    (void)!write(STDERR_FILENO, why, strlen(why)); /* the exit code tells too */
    (void)!write(STDERR_FILENO, "\n", 1);
    _exit(127);
}

static void plan_restart(child_t *child, int64_t now_ms) {
    assert(child->failures > 0);
    int64_t delay = CHILD_BACK_OFF_MS;
    for (unsigned i = 1; i < child->failures && delay < CHILD_BACK_OFF_MAX; i++) delay *= 2;
    if (delay > CHILD_BACK_OFF_MAX) delay = CHILD_BACK_OFF_MAX;
    child->start_at_ms = now_ms + delay;
    child->state = CHILD_WAITING;
    child->pid = 0;
}

void child_start(child_t *child, int64_t now_ms) {
    assert(child->state != CHILD_RUNNING);
    assert(child->pid == 0);
    pid_t supervisor = getpid();
    (void)fflush(NULL); /* so that nothing is written twice */
    pid_t pid = fork();
    if (pid == 0) become_child(child, supervisor);
    if (pid < 0) {
        program_event(child->name, "cannot fork: %s", strerror(errno));
        child->failures++;
        plan_restart(child, now_ms);
        return;
    }
    child->pid = pid;
    child->state = CHILD_RUNNING;
    child->started_ms = now_ms;
    program_event(child->name, "started, pid %d", pid);
}

void child_ended(child_t *child, int status, bool wanted, int64_t now_ms) {
    assert(child->state == CHILD_RUNNING);
    char how[96];
    child_describe(status, how, sizeof(how));
    pid_t pid = child->pid;
    child->pid = 0;
    if (!wanted) {
        child->state = CHILD_IDLE;
        program_event(child->name, "pid %d %s", pid, WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "stopped" : how);
        return;
    }
    if (now_ms - child->started_ms >= CHILD_STABLE_MS) child->failures = 0;
    child->failures++;
    plan_restart(child, now_ms);
    program_event(child->name, "pid %d %s; starts again in %lld ms", pid, how,
                  (long long)(child->start_at_ms - now_ms));
}
