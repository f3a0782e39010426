/*
 * A recorded run: the real journal and the real SQLite base on one simulated disk, driven as the engine drives them
 * (commit, answer, save, forget), with a list of what was told to whom and when. And the judge of a cut: recovers with the
 * real code and holds what is there against what had been told.
 */
#ifndef POWERCUT_RUN_H
#define POWERCUT_RUN_H

#include "engine/base_sqlite.h"
#include "engine/journal.h"
#include "powercut/disk.h"

#define RUN_USERS    24
#define RUN_VERSIONS 400 /* of one user in one run */
#define RUN_BATCH    6
#define RUN_SAVE     6  /* rows of one save: some carts stay dirty, so that segments are dropped one by one */
#define RUN_RING     16 /* ids that a row of the base keeps */

typedef struct {
    unsigned user, version, attempt;
} run_record_t;

/* What has been told up to some moment. */
typedef struct {
    int started;                              /* journal and base were open once */
    unsigned acked[RUN_USERS];                /* the newest version that was acknowledged */
    uint8_t attempt[RUN_USERS][RUN_VERSIONS]; /* which attempt at that version it was */
    unsigned saved[RUN_USERS];                /* the newest version that the base said is saved */
    run_record_t flight[RUN_BATCH];           /* the batch that is under way or unknown */
    unsigned flight_count;
} run_told_t;

typedef enum { RUN_STARTED, RUN_BEGIN, RUN_ACK, RUN_VOID, RUN_SAVED } run_event_kind_t;

typedef struct {
    size_t op; /* holds for every cut at or after this operation */
    run_event_kind_t kind;
    run_record_t record; /* with RUN_SAVED */
    run_record_t flight[RUN_BATCH];
    unsigned flight_count; /* with RUN_BEGIN */
} run_event_t;

typedef struct {
    const char *name;
    uint64_t seed;
    unsigned steps;
    unsigned fail_one_in; /* of the syncs; 0: none */
    unsigned kill_one_in; /* of the steps: kill -9 and start again */
    unsigned full_one_in; /* of the steps: the disk is full for the next thirty */
    disk_plant_t plant;
    int answer_before_sync;
    int forget_before_save;
    int synchronous_normal;
    const char *planted; /* a switch of cart/cart_planted.h; NULL: none */
} run_config_t;

typedef struct {
    disk_t *disk;        /* owned: its log is the run */
    run_event_t *events; /* owned */
    size_t event_count, event_capacity;
    unsigned batches, saves, kills, forks, voided, refused, dropped, checkpoints;
    char error[256]; /* the run itself went wrong: a plant may do that */
} run_t;

void run_record(const run_config_t *config, run_t *run);
void run_deinit(run_t *run);

void run_tell(run_told_t *told, const run_event_t *event);

typedef struct {
    unsigned flight_whole, flight_gone; /* cuts in which the batch under way survived, or not */
} run_outcomes_t;

/* Recovers on `disk` and judges. With `again`: goes on working after it, cuts the power once more, judges again. Returns
 * 0, or −1 and what is wrong. */
int run_judge(const run_config_t *config, disk_t *disk, const run_told_t *told, int again, run_outcomes_t *outcomes,
              char *error, size_t bytes);

#endif
