/*
 * The process in which pictures are decoded: this program again, `bookcart picture-worker`, one picture a life.
 *
 * A decoder's bug must be worth nothing, so before the first outside byte is read the process gives up:
 *   - every descriptor but the socket to its service; its environment was never given to it
 *   - privileges it could gain (no_new_privs), core dumps, being looked into (not dumpable)
 *   - memory beyond MEMORY_MAX, CPU_S seconds, other processes, files to write
 *   - every system call but those on `allowed`: there is no way to open, connect, execute or signal; the kernel kills at the attempt
 * If one of these cannot be had, nothing is decoded (BC_PICTURE_EXIT_NO_SANDBOX).
 *
 * Built with a sanitizer, the memory limit and the list of calls are left out: the sanitizer itself needs more.
 */
#include "platform/bc_picture_worker.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <webp/encode.h>

#define MEMORY_MAX                                                                                                     \
    (768UL * 1024 * 1024) /* 25 megapixels twice as RGBA, a progressive JPEG's coefficients, the program itself */
#define CPU_S 8

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the picture worker's list of system calls is not known for this architecture"
#endif

#define LOAD(field)    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, (action))
#define ALLOW(name)    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (name), 0, 1), ANSWER(SECCOMP_RET_ALLOW)
/* Allowed while its third argument does not ask for executable memory (the low half holds the bit on both architectures). */
#define NO_EXECUTE(name)                                                                                               \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (name), 0, 4), LOAD(args[2]),                                                  \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0), ANSWER(SECCOMP_RET_ALLOW),                              \
        ANSWER(SECCOMP_RET_KILL_PROCESS)

static bool set_limit(int resource, rlim_t most) {
    const struct rlimit limit = {most, most};
    return setrlimit((__rlimit_resource_t)resource, &limit) == 0;
}

static bool allow_few_calls(void) {
    struct sock_filter allowed[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
        LOAD(nr), /* x32 numbers have a high bit and so are on no list */
        ALLOW(SYS_read),
        ALLOW(SYS_write),
        ALLOW(SYS_munmap),
        ALLOW(SYS_mremap),
        ALLOW(SYS_brk),
        ALLOW(SYS_madvise),
        ALLOW(SYS_futex),
        ALLOW(SYS_getrandom),
        ALLOW(SYS_rt_sigreturn),
        ALLOW(SYS_exit),
        ALLOW(SYS_exit_group),
        NO_EXECUTE(SYS_mmap),
        NO_EXECUTE(SYS_mprotect),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog program = {sizeof(allowed) / sizeof(allowed[0]), allowed};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

bool bc_picture_confine(void) {
    if (close_range(3, ~0U, 0) != 0 && errno != ENOSYS) return false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return false;
    if (!set_limit(RLIMIT_CORE, 0) || !set_limit(RLIMIT_CPU, CPU_S) || !set_limit(RLIMIT_FSIZE, 0)) return false;
    if (SANITIZED) return true; /* its reports go to standard error, too */
    (void)close(STDERR_FILENO); /* may be closed already */
    return set_limit(RLIMIT_AS, MEMORY_MAX) && set_limit(RLIMIT_NPROC, 0) && set_limit(RLIMIT_NOFILE, 0) &&
           allow_few_calls();
}

static bool read_all(void *bytes, size_t length) {
    char *next = bytes;
    while (length > 0) {
        ssize_t got = read(STDIN_FILENO, next, length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        next += got;
        length -= (size_t)got;
    }
    return true;
}

static bool write_all(const void *bytes, size_t length) {
    const char *next = bytes;
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, next, length);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        next += written;
        length -= (size_t)written;
    }
    return true;
}

static bool reply(const bc_picture_answer_t *answer, uint8_t *const versions[BC_PICTURE_SIZE_COUNT]) {
    bool good = write_all(answer, sizeof(*answer));
    for (size_t i = 0; good && answer->result == BC_PICTURE_OK && i < BC_PICTURE_SIZE_COUNT; i++)
        good = write_all(versions[i], answer->versions[i].length);
    return good;
}

int bc_picture_worker_main(void) {
    bc_picture_question_t question;
    bc_picture_answer_t answer = {.result = BC_PICTURE_FAILED};
    uint8_t *versions[BC_PICTURE_SIZE_COUNT] = {NULL};
    /* Should the service die meanwhile, nobody waits for this. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || !bc_picture_confine()) return BC_PICTURE_EXIT_NO_SANDBOX;
    if (!read_all(&question, sizeof(question)) || question.kind >= BC_PICTURE_KIND_COUNT ||
        question.length > BC_PICTURE_BYTES_MAX)
        return BC_PICTURE_EXIT_IO;
    uint8_t *bytes = malloc(question.length + 1);
    if (bytes == NULL || !read_all(bytes, question.length)) {
        free(bytes);
        return BC_PICTURE_EXIT_IO;
    }
    answer.result = bc_picture_make((bc_picture_kind_t)question.kind, bytes, question.length, &answer, versions);
    bool good = reply(&answer, versions);
    for (size_t i = 0; i < BC_PICTURE_SIZE_COUNT; i++) WebPFree(versions[i]);
    free(bytes);
    return good ? BC_PICTURE_EXIT_DONE : BC_PICTURE_EXIT_IO;
}
