/*
 * The power-cut suite: records runs of the real journal and the real SQLite base on a disk that keeps only what was
 * synced, cuts the power after every operation of each run, several times with different writes surviving, recovers with the
 * real code, and holds what is there against what had been told (run.c). Then the same with a bug planted, one at a time:
 * a bug that is not caught fails the suite.
 *
 * usage: powercut [RUN…]      BOOKCART_SEED=n for other runs and choices (printed), default 1
 */
#include <stdio.h>
#include <stdlib.h>

#include "cart/cart_planted.h"
#include "powercut/run.h"

typedef struct {
    unsigned long cuts, recoveries, operations;
    run_outcomes_t outcomes;
    unsigned wrong;
    char first[512];
} tally_t;

/* Modes for one cut: nothing survives and some sectors survive always, the others take turns. */
static unsigned modes_of(size_t cut, unsigned modes[3]) {
    modes[0] = 0;
    modes[1] = 3;
    modes[2] = cut % 4 == 0 ? 1 : cut % 4 == 1 ? 2 : cut % 4 == 2 ? 4 : 5;
    return 3;
}

static void cut_everywhere(const run_config_t *config, const run_t *run, int stop_at_first, tally_t *tally) {
    disk_t *follower = disk_create_follower();
    static run_told_t told;
    told = (run_told_t){0};
    size_t events = 0;
    size_t ops = disk_op_count(run->disk);
    for (size_t cut = 0; cut <= ops && !(stop_at_first && tally->wrong > 0); cut++) {
        while (events < run->event_count && run->events[events].op <= cut) run_tell(&told, &run->events[events++]);
        unsigned modes[3];
        unsigned count = modes_of(cut, modes);
        tally->cuts++;
        for (unsigned i = 0; i < count; i++) {
            uint64_t seed = disk_mix(config->seed ^ (uint64_t)cut << 20 ^ modes[i]);
            disk_t *after = disk_cut(follower, modes[i], seed);
            char error[256] = "";
            tally->recoveries++;
            if (run_judge(config, after, &told, modes[i] == 3 && cut % 3 == 0, &tally->outcomes, error,
                          sizeof(error)) != 0) {
                if (tally->wrong++ == 0) {
                    (void)snprintf(tally->first, sizeof(tally->first), "cut after operation %zu of %zu, kept: %s: %s",
                                   cut, ops, disk_mode_names[modes[i]], error);
                }
            }
            disk_destroy(after);
        }
        if (cut < ops) disk_follow(follower, disk_op(run->disk, cut));
    }
    tally->operations += ops;
    disk_destroy(follower);
}

static int judge_sound(const run_config_t *config) {
    run_t run;
    tally_t tally = {0};
    cart_planted_name = NULL;
    run_record(config, &run);
    if (run.error[0] == '\0')
        cut_everywhere(config, &run, 0, &tally);
    else
        (void)snprintf(tally.first, sizeof(tally.first), "in the run itself: %s", run.error);
    printf("%-14s seed %llu: %u batches (%u refused), %u rows saved, %u segments dropped, %u checkpoints, %u syncs "
           "failed, "
           "%u recoveries, %u kills, %u saves found again\n",
           config->name, (unsigned long long)config->seed, run.batches, run.refused, run.saves, run.dropped,
           run.checkpoints, disk_failed_syncs(run.disk), run.voided, run.kills, run.forks);
    printf("               %lu operations, %lu cut points, %lu cuts; batch under way: %u whole, %u gone; %u wrong\n",
           tally.operations, tally.cuts, tally.recoveries, tally.outcomes.flight_whole, tally.outcomes.flight_gone,
           tally.wrong);
    int failed = tally.wrong > 0 || run.error[0] != '\0';
    if (failed) printf("  WRONG: %s\n", tally.first);
    /* A run without these would judge less than it says. */
    if (run.dropped == 0 || run.checkpoints < 3) {
        printf("  WRONG: no segment was dropped, or the log was not checkpointed: the run is too short\n");
        failed = 1;
    }
    run_deinit(&run);
    return failed;
}

/* Runs with the bug until one is caught; other seeds give it other chances. */
static int judge_planted(const run_config_t *planted) {
    for (unsigned attempt = 0; attempt < 4; attempt++) {
        run_config_t config = *planted;
        config.seed = disk_mix(planted->seed + attempt);
        run_t run;
        tally_t tally = {0};
        cart_planted_name = config.planted;
        run_record(&config, &run);
        if (run.error[0] != '\0') {
            (void)snprintf(tally.first, sizeof(tally.first), "in the run itself: %s", run.error);
            tally.wrong = 1;
        } else {
            cut_everywhere(&config, &run, 1, &tally);
        }
        run_deinit(&run);
        cart_planted_name = NULL;
        if (tally.wrong > 0) {
            printf("planted %-26s caught: %s\n", planted->name, tally.first);
            return 0;
        }
    }
    printf("planted %-26s NOT CAUGHT\n", planted->name);
    return 1;
}

static int is_wanted(const char *name, int argc, char **argv) {
    if (argc < 2) return 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *text = getenv("BOOKCART_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 1;
    const run_config_t sound[] = {
        {.name = "steady", .seed = seed, .steps = 600},
        {.name = "failing-syncs", .seed = seed + 1, .steps = 500, .fail_one_in = 25},
        {.name = "kills", .seed = seed + 2, .steps = 300, .kill_one_in = 12},
        {.name = "everything", .seed = seed + 3, .steps = 400, .fail_one_in = 30, .kill_one_in = 20, .full_one_in = 60},
    };
    const run_config_t planted[] = {
        {.name = "no-sync", .seed = seed, .steps = 60, .plant.no_sync = 1},
        {.name = "answer-before-sync", .seed = seed, .steps = 60, .answer_before_sync = 1},
        {.name = "retried-failed-sync", .seed = seed, .steps = 100, .fail_one_in = 12, .plant.retry_failed_sync = 1},
        {.name = "base-synchronous-normal", .seed = seed, .steps = 60, .synchronous_normal = 1},
        {.name = "no-folder-sync", .seed = seed, .steps = 60, .plant.no_folder_sync = 1},
        {.name = "dropped-before-saved", .seed = seed, .steps = 200, .forget_before_save = 1},
        {.name = "log-not-written-again", .seed = seed, .steps = 150, .fail_one_in = 10, .plant.no_rewrite = 1},
        {.name = "start-trusts-the-tail",
         .seed = seed,
         .steps = 150,
         .fail_one_in = 8,
         .kill_one_in = 6,
         .planted = "journal_start_trusts_tail"},
        {.name = "drop-not-said", .seed = seed, .steps = 600, .planted = "journal_drop_unsaid"},
        {.name = "recovery-keeps-the-batch",
         .seed = seed,
         .steps = 100,
         .fail_one_in = 10,
         .planted = "journal_recovery_counts_unknown"},
    };
    int failed = 0;
    printf("powercut: seed %llu (BOOKCART_SEED), SQLite %s\n", (unsigned long long)seed, sqlite3_libversion());
    for (size_t i = 0; i < sizeof(sound) / sizeof(sound[0]); i++) {
        if (is_wanted(sound[i].name, argc, argv)) failed += judge_sound(&sound[i]);
    }
    for (size_t i = 0; i < sizeof(planted) / sizeof(planted[0]); i++) {
        if (is_wanted(planted[i].name, argc, argv)) failed += judge_planted(&planted[i]);
    }
    printf("powercut: %s\n", failed == 0 ? "passed" : "FAILED");
    return failed == 0 ? 0 : 1;
}
