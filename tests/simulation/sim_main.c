/*
 * Runs seeds, or plants bugs and shows that each is caught.
 *
 *   simulation [--seeds N] [--from S]     N seeds from S on; the first violation ends it with seed, check and trace
 *   simulation --seed S                   one seed, every event printed
 *   simulation --planted all|NAME [--seeds N]   each bug alone until a seed catches it; none within N: that is a failure
 *
 * Children run the seeds, a few hundred each, so that an assertion or a crash of the code under test names its seed too.
 * The last line is `N passed, N failed`.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cart/cart_planted.h"
#include "sim.h"
#include "sim_planted.h"

#define JOBS        2
#define SEEDS_CHILD 200

/* What a child tells its parent, in memory that both see. */
typedef struct {
    uint64_t seed; /* under way, or of the violation */
    uint64_t done;
    bool violated;
    char check[32];
    char detail[512];
    uint64_t applied, repeated, refused, hits, cold, unvouched, crashes, worker_deaths, commits, unknown, saves, merges,
        mismatches;
} report_t;

static void print_trace(const sim_world_t *world) {
    unsigned count = world->trace_next < SIM_TRACE_LINES ? world->trace_next : SIM_TRACE_LINES;
    unsigned shown = count < 60 ? count : 60;
    for (unsigned i = shown; i > 0; i--) printf("  %s\n", world->trace[(world->trace_next - i) % SIM_TRACE_LINES]);
}

static bool run_seed(uint64_t seed, bool loud, bool quiet, report_t *report) {
    report->seed = seed;
    sim_world_t *world = sim_world_create(seed, loud);
    sim_world_run(world);
    bool fine = world->violation == NULL;
    if (!fine) {
        report->violated = true;
        (void)snprintf(report->check, sizeof(report->check), "%s", world->violation); /* names are short */
        (void)snprintf(report->detail, sizeof(report->detail), "%s", world->detail);
        if (!quiet && !loud) print_trace(world);
    }
    report->applied += world->seen.applied;
    report->repeated += world->seen.repeated;
    report->refused += world->seen.refused;
    report->hits += world->seen.hits;
    report->cold += world->seen.cold;
    report->unvouched += world->seen.unvouched;
    report->crashes += world->seen.crashes;
    report->worker_deaths += world->seen.worker_deaths;
    report->commits += world->seen.commits;
    report->unknown += world->seen.unknown;
    report->saves += world->seen.saves;
    report->merges += world->seen.merges;
    report->mismatches += world->seen.mismatches;
    sim_world_destroy(world);
    return fine;
}

static pid_t start_child(report_t *report, uint64_t from, uint64_t count, bool quiet) {
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid != 0) return pid;
    if (quiet && freopen("/dev/null", "w", stderr) == NULL) _exit(3); /* a planted bug may end in an assertion */
    for (uint64_t i = 0; i < count; i++) {
        if (!run_seed(from + i, false, quiet, report)) break;
        report->done++;
    }
    (void)fflush(stdout);
    _exit(0);
}

/* Runs seeds [from, from + count) until the first violation; false: there was one, described in *found. */
static bool run_range(uint64_t from, uint64_t count, bool quiet, report_t *total, report_t *found) {
    report_t *reports = mmap(NULL, JOBS * sizeof(*reports), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(reports != MAP_FAILED);
    pid_t pids[JOBS] = {0};
    uint64_t next = from;
    bool fine = true;
    unsigned running = 0;
    while (running > 0 || (fine && next < from + count)) {
        for (unsigned job = 0; job < JOBS && fine && next < from + count; job++) {
            if (pids[job] != 0) continue;
            memset(&reports[job], 0, sizeof(reports[job]));
            uint64_t share = from + count - next < SEEDS_CHILD ? from + count - next : SEEDS_CHILD;
            pids[job] = start_child(&reports[job], next, share, quiet);
            assert(pids[job] > 0);
            next += share;
            running++;
        }
        int status = 0;
        pid_t ended = waitpid(-1, &status, 0);
        if (ended < 0 && errno == EINTR) continue;
        for (unsigned job = 0; job < JOBS; job++) {
            if (pids[job] != ended) continue;
            pids[job] = 0;
            running--;
            report_t *report = &reports[job];
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                report->violated = true;
                (void)snprintf(report->check, sizeof(report->check), "died");
                (void)snprintf(report->detail, sizeof(report->detail), "the code under test ended with %s %d",
                               WIFSIGNALED(status) ? "signal" : "status",
                               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            }
            if (report->violated && (fine || report->seed < found->seed)) *found = *report;
            fine = fine && !report->violated;
            total->done += report->done;
            total->applied += report->applied;
            total->repeated += report->repeated;
            total->refused += report->refused;
            total->hits += report->hits;
            total->cold += report->cold;
            total->unvouched += report->unvouched;
            total->crashes += report->crashes;
            total->worker_deaths += report->worker_deaths;
            total->commits += report->commits;
            total->unknown += report->unknown;
            total->saves += report->saves;
            total->merges += report->merges;
            total->mismatches += report->mismatches;
        }
    }
    (void)munmap(reports, JOBS * sizeof(*reports));
    return fine;
}

static int run_planted(const char *name, uint64_t from, uint64_t seeds) {
    unsigned passed = 0;
    unsigned failed = 0;
    for (const sim_planted_t *bug = sim_planted; bug->name != NULL; bug++) {
        if (strcmp(name, "all") != 0 && strcmp(name, bug->name) != 0) continue;
        report_t total = {0};
        report_t found = {0};
        cart_planted_name = bug->name;
        bool escaped = run_range(from, seeds, true, &total, &found);
        cart_planted_name = NULL;
        if (escaped) {
            printf("rule %d  %-32s NOT CAUGHT in %llu seeds: %s\n", bug->rule, bug->name, (unsigned long long)seeds,
                   bug->what);
            failed++;
            continue;
        }
        printf("rule %d  %-32s caught by %-12s seed %-6llu %s\n", bug->rule, bug->name, found.check,
               (unsigned long long)found.seed, found.detail);
        passed++;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}

static int run_seeds(uint64_t from, uint64_t seeds) {
    report_t total = {0};
    report_t found = {0};
    struct timespec start, end;
    (void)clock_gettime(CLOCK_MONOTONIC, &start); /* cannot fail for this clock */
    bool fine = run_range(from, seeds, false, &total, &found);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    printf(
        "%llu seeds from %llu in %lld s: %llu changes applied, %llu repeats, %llu refused, %llu mismatches, %llu hits, "
        "%llu answers from the service, %llu seats revalidated, %llu merges\n"
        "faults: %llu service crashes, %llu worker deaths, %llu failed syncs of %llu commits, %llu rows saved\n",
        (unsigned long long)total.done, (unsigned long long)from, (long long)(end.tv_sec - start.tv_sec),
        (unsigned long long)total.applied, (unsigned long long)total.repeated, (unsigned long long)total.refused,
        (unsigned long long)total.mismatches, (unsigned long long)total.hits, (unsigned long long)total.cold,
        (unsigned long long)total.unvouched, (unsigned long long)total.merges, (unsigned long long)total.crashes,
        (unsigned long long)total.worker_deaths, (unsigned long long)total.unknown, (unsigned long long)total.commits,
        (unsigned long long)total.saves);
    if (!fine) {
        printf("VIOLATION in seed %llu: %s: %s\nsee it whole with --seed %llu\n", (unsigned long long)found.seed,
               found.check, found.detail, (unsigned long long)found.seed);
    }
    printf("%llu passed, %u failed\n", (unsigned long long)total.done, fine ? 0U : 1U);
    return fine ? 0 : 1;
}

static bool number(const char *text, uint64_t *value) {
    char *end = NULL;
    errno = 0;
    unsigned long long read = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') return false;
    *value = read;
    return true;
}

int main(int argc, char **argv) {
    uint64_t seeds = 0; /* 0: 1000, or 5000 for planted bugs: the rarest needs 1,400 */
    uint64_t from = 1;
    uint64_t one = 0;
    bool single = false;
    const char *planted = NULL;
    const char *chosen = getenv("BOOKCART_SEED");
    if (chosen != NULL && !number(chosen, &from)) {
        fprintf(stderr, "BOOKCART_SEED is not a number\n");
        return 2;
    }
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        bool known = false;
        if (strcmp(argv[i], "--seeds") == 0) known = number(value, &seeds);
        if (strcmp(argv[i], "--from") == 0) known = number(value, &from);
        if (strcmp(argv[i], "--seed") == 0) known = single = number(value, &one);
        if (strcmp(argv[i], "--planted") == 0) {
            planted = value;
            known = *value != '\0';
        }
        if (!known) {
            fprintf(stderr, "usage: %s [--seeds N] [--from S] [--seed S] [--planted all|NAME]\n", argv[0]);
            return 2;
        }
    }
    if (seeds == 0) seeds = planted != NULL ? 5000 : 1000;
    if (single) {
        report_t report = {0};
        cart_planted_name = planted;
        bool fine = run_seed(one, true, false, &report);
        printf("%d passed, %d failed\n", fine, !fine);
        return fine ? 0 : 1;
    }
    return planted != NULL ? run_planted(planted, from, seeds) : run_seeds(from, seeds);
}
