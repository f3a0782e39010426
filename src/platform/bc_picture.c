/*
 * The service's half: starts a worker, hands the picture over, takes the answer, waits for the end. A worker is hostile too (its
 * decoder may have been taken over): its answer is bounded and checked, and only its exit makes it count.
 */
#include "platform/bc_picture.h"

#include "platform/bc_log.h"
#include "platform/bc_picture_worker.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- turns --- */

static pthread_mutex_t turns_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turns_free;
static pthread_once_t turns_once = PTHREAD_ONCE_INIT;
static int turns_taken; /* under turns_lock */

static void init_turns(void) {
    bc_cond_init(&turns_free);
}

static bool take_turn(void) {
    (void)pthread_once(&turns_once, init_turns); /* cannot fail on a static control */
    struct timespec deadline = bc_monotonic_deadline(BC_PICTURE_WAIT_MS);
    (void)pthread_mutex_lock(&turns_lock); /* a default mutex: fails only on our own misuse */
    int failed = 0;
    while (turns_taken >= BC_PICTURE_CONCURRENT_MAX && failed == 0)
        failed = pthread_cond_timedwait(&turns_free, &turns_lock, &deadline);
    bool taken = turns_taken < BC_PICTURE_CONCURRENT_MAX;
    if (taken) turns_taken++;
    (void)pthread_mutex_unlock(&turns_lock);
    return taken;
}

static void give_turn(void) {
    (void)pthread_mutex_lock(&turns_lock);
    assert(turns_taken > 0);
    turns_taken--;
    (void)pthread_cond_signal(&turns_free);
    (void)pthread_mutex_unlock(&turns_lock);
}

/* --- the worker's process --- */

/* -1 with errno. *worker gets the pid; the caller closes the descriptor and reaps. */
static int start_worker(pid_t *worker) {
    static char program[] = "/proc/self/exe", name[] = "bookcart", command[] = BC_PICTURE_WORKER;
    char *const arguments[] = {name, command, NULL}, *const environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return -1;
    (void)sigemptyset(&none); /* none of these fails on valid arguments */
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGPIPE);
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed == 0) {
        failed = posix_spawnattr_init(&attributes);
        if (failed == 0) {
            failed |= posix_spawnattr_setsigmask(&attributes, &none);
            failed |= posix_spawnattr_setsigdefault(&attributes, &usual);
            failed |= posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
            failed |= posix_spawn_file_actions_adddup2(&actions, pair[1], STDIN_FILENO);
            failed |= posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
            if (failed == 0) failed = posix_spawn(worker, program, &actions, &attributes, arguments, environment);
            (void)posix_spawnattr_destroy(&attributes); /* cannot fail on an initialised one, as the next */
        }
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    (void)close(pair[1]);
    if (failed == 0) return pair[0];
    (void)close(pair[0]);
    errno = failed;
    return -1;
}

/* Waits until the socket can do `events`; false at the deadline. */
static bool wait_for(int fd, short events, int64_t deadline_ms) {
    for (;;) {
        int64_t left_ms = deadline_ms - bc_monotonic_ms();
        if (left_ms <= 0) return false;
        struct pollfd wanted = {.fd = fd, .events = events};
        int ready = poll(&wanted, 1, (int)left_ms);
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return false;
    }
}

static bool send_all(int fd, const void *bytes, size_t length, int64_t deadline_ms) {
    const char *next = bytes;
    while (length > 0) {
        if (!wait_for(fd, POLLOUT, deadline_ms)) return false;
        ssize_t sent = send(fd, next, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (sent <= 0) return false;
        next += sent;
        length -= (size_t)sent;
    }
    return true;
}

static bool receive_all(int fd, void *bytes, size_t length, int64_t deadline_ms) {
    char *next = bytes;
    while (length > 0) {
        if (!wait_for(fd, POLLIN, deadline_ms)) return false;
        ssize_t got = recv(fd, next, length, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got <= 0) return false;
        next += got;
        length -= (size_t)got;
    }
    return true;
}

static bool is_webp(const bc_picture_version_t *version) {
    return version->length > 16 && memcmp(version->bytes, "RIFF", 4) == 0 && memcmp(version->bytes + 8, "WEBP", 4) == 0;
}

/* The versions of an answer into *picture. false: not what a worker says, or no memory. */
static bool take_versions(int fd, const bc_picture_answer_t *answer, int64_t deadline_ms, bc_picture_t *picture) {
    bc_picture_t taken = {.held = NULL};
    size_t total = 0;
    for (size_t i = 0; i < BC_PICTURE_SIZE_COUNT; i++) {
        if (answer->versions[i].length > BC_PICTURE_ANSWER_MAX) return false;
        total += answer->versions[i].length;
    }
    if (total == 0 || total > BC_PICTURE_ANSWER_MAX) return false;
    taken.held = malloc(total);
    bool good = taken.held != NULL && receive_all(fd, taken.held, total, deadline_ms);
    const uint8_t *next = taken.held;
    for (size_t i = 0; good && i < BC_PICTURE_SIZE_COUNT; i++) {
        taken.versions[i] = (bc_picture_version_t){answer->versions[i].width, answer->versions[i].height, next,
                                                   answer->versions[i].length};
        next += answer->versions[i].length;
        good = is_webp(&taken.versions[i]);
    }
    if (good) {
        *picture = taken;
    } else {
        free(taken.held);
    }
    return good;
}

/* *answered: the worker said what became of it. */
static bc_picture_result_t ask(int fd, bc_picture_kind_t kind, const void *bytes, size_t length, bool *answered,
                               bc_picture_t *picture) {
    const bc_picture_question_t question = {(uint32_t)kind, (uint32_t)length};
    bc_picture_answer_t answer;
    int64_t deadline_ms = bc_monotonic_ms() + BC_PICTURE_TIME_MS;
    if (!send_all(fd, &question, sizeof(question), deadline_ms) || !send_all(fd, bytes, length, deadline_ms) ||
        !receive_all(fd, &answer, sizeof(answer), deadline_ms) || answer.result > BC_PICTURE_FAILED)
        return BC_PICTURE_FAILED;
    bc_picture_result_t result = (bc_picture_result_t)answer.result;
    if (result == BC_PICTURE_OK && !take_versions(fd, &answer, deadline_ms, picture)) return BC_PICTURE_FAILED;
    *answered = true;
    return result;
}

/* What it means that a worker ended without an answer: a sandbox that could not be had is our trouble, everything else (memory or
 * time at its limit, a call that is not allowed, a crash) the picture's. */
static bc_picture_result_t judge_end(int status) {
    bool ours = WIFEXITED(status) && WEXITSTATUS(status) == BC_PICTURE_EXIT_NO_SANDBOX;
    bc_log(ours ? BC_LOG_ERROR : BC_LOG_WARN, ours ? "picture-worker-not-confined" : "picture-worker-died",
           bc_f_int("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0),
           bc_f_int("code", WIFEXITED(status) ? WEXITSTATUS(status) : 0));
    return ours ? BC_PICTURE_FAILED : BC_PICTURE_BROKEN;
}

static bc_picture_result_t run_worker(bc_picture_kind_t kind, const void *bytes, size_t length, bc_picture_t *picture) {
    pid_t worker = 0;
    bool answered = false;
    int status = 0;
    int fd = start_worker(&worker);
    if (fd < 0) {
        bc_log(BC_LOG_ERROR, "picture-worker-not-started", bc_f_text("reason", strerror(errno)));
        return BC_PICTURE_FAILED;
    }
    bc_picture_result_t result = ask(fd, kind, bytes, length, &answered, picture);
    (void)close(fd);
    /* One that has answered is leaving; one that has not may never. Reaped here, so the pid is still its own. */
    if (!answered) (void)kill(worker, SIGKILL);
    while (waitpid(worker, &status, 0) < 0 && errno == EINTR) continue;
    return answered ? result : judge_end(status);
}

bc_picture_result_t bc_picture_recode(bc_picture_kind_t kind, const void *bytes, size_t length, bc_picture_t *picture) {
    assert(kind < BC_PICTURE_KIND_COUNT);
    if (length > BC_PICTURE_BYTES_MAX) return BC_PICTURE_TOO_LARGE;
    if (!take_turn()) return BC_PICTURE_BUSY;
    bc_picture_result_t result = run_worker(kind, bytes, length, picture);
    give_turn();
    return result;
}

void bc_picture_release(bc_picture_t *picture) {
    free(picture->held);
    *picture = (bc_picture_t){.held = NULL};
}
