#include "powercut/run.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define JOURNAL_FOLDER "/d/journal"
#define BASE_PATH      "/d/carts.db"
#define TRIES_MAX      200
#define IMAGE_BYTES    1000

/* ---- what is stored for a user's version ------------------------------------------------------------------------- */

static cart_id_t user_id(unsigned user) {
    cart_id_t id;
    for (int half = 0; half < 2; half++) {
        uint64_t word = disk_mix(user * 2u + (unsigned)half + 7);
        memcpy(id.bytes + half * 8, &word, 8);
    }
    return id;
}

static int user_of(const cart_id_t *id) {
    for (unsigned user = 0; user < RUN_USERS; user++) {
        cart_id_t known = user_id(user);
        if (cart_id_equal(id, &known)) return (int)user;
    }
    return -1;
}

static unsigned put_varint(uint8_t *at, uint64_t value) {
    unsigned length = 0;
    for (; value >= 0x80; value >>= 7) at[length++] = (uint8_t)(value | 0x80);
    at[length++] = (uint8_t)value;
    return length;
}

/* The image's head is as the journal expects it; the rest tells user, version and attempt apart, byte by byte. */
static unsigned make_image(run_record_t record, uint8_t image[IMAGE_BYTES]) {
    unsigned length = put_varint(image, 1);
    length += put_varint(image + length, record.version);
    image[length++] = (uint8_t)record.attempt;
    uint64_t state = record.user * UINT64_C(1000003) + record.version * UINT64_C(257) + record.attempt;
    unsigned end = length + 10 + (unsigned)(disk_mix(state) % (IMAGE_BYTES - 40));
    while (length < end) image[length++] = (uint8_t)disk_random(&state);
    return length;
}

static int read_image(unsigned user, const uint8_t *image, unsigned length, run_record_t *record) {
    uint8_t expected[IMAGE_BYTES];
    unsigned at = 1;
    uint64_t version = 0;
    for (unsigned shift = 0; at < length && shift < 28; shift += 7) {
        version |= (uint64_t)(image[at] & 0x7f) << shift;
        if (image[at++] < 0x80) break;
    }
    if (at >= length) return -1;
    *record = (run_record_t){.user = user, .version = (unsigned)version, .attempt = image[at]};
    return make_image(*record, expected) == length && memcmp(image, expected, length) == 0 ? 0 : -1;
}

static void make_request_id(run_record_t record, uint8_t id[CART_REQUEST_BYTES]) {
    for (int half = 0; half < 2; half++) {
        uint64_t word = disk_mix(((uint64_t)record.user << 40) ^ ((uint64_t)record.version << 16) ^
                                 ((uint64_t)record.attempt << 8) ^ (uint64_t)half);
        memcpy(id + half * 8, &word, 8);
    }
}

static unsigned make_rings(const run_told_t *told, unsigned user, unsigned version, uint8_t *rings) {
    unsigned length = 0;
    for (unsigned v = version > RUN_RING ? version - RUN_RING + 1 : 1; v <= version; v++) {
        make_request_id((run_record_t){user, v, told->attempt[user][v]}, rings + length);
        length += CART_REQUEST_BYTES;
    }
    return length;
}

void run_tell(run_told_t *told, const run_event_t *event) {
    switch (event->kind) {
    case RUN_STARTED:
        told->started = 1;
        break;
    case RUN_BEGIN:
        memcpy(told->flight, event->flight, sizeof(told->flight));
        told->flight_count = event->flight_count;
        break;
    case RUN_ACK:
        for (unsigned i = 0; i < told->flight_count; i++) {
            told->acked[told->flight[i].user] = told->flight[i].version;
            told->attempt[told->flight[i].user][told->flight[i].version] = (uint8_t)told->flight[i].attempt;
        }
        told->flight_count = 0;
        break;
    case RUN_VOID:
        told->flight_count = 0;
        break;
    case RUN_SAVED:
        told->saved[event->record.user] = event->record.version;
        break;
    }
}

/* ---- a process: journal and base, open --------------------------------------------------------------------------- */

typedef struct {
    run_told_t told; /* what this process knows */
    journal_t *journal;
    base_t *base;
    unsigned row[RUN_USERS]; /* version of the base's row, as far as we know */
    unsigned attempts[RUN_USERS];
    /* of a start */
    run_record_t *replayed; /* owned */
    size_t replayed_count, replayed_capacity;
    /* results that came by callback */
    base_save_result_t results[RUN_USERS];
    unsigned saved_count;
    unsigned loaded_count, loaded_failed;
    run_record_t rows[RUN_USERS]; /* version 0: none */
    char error[256];
} process_t;

__attribute__((format(printf, 2, 3))) static int wrong(process_t *process, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (process->error[0] == '\0') (void)vsnprintf(process->error, sizeof(process->error), format, arguments);
    va_end(arguments);
    return -1;
}

static void on_replay(void *context, const commit_set_t *set) {
    process_t *process = context;
    if (process->replayed_count == process->replayed_capacity) {
        process->replayed_capacity = process->replayed_capacity * 2 + 64;
        process->replayed = realloc(process->replayed, process->replayed_capacity * sizeof(*process->replayed));
        if (process->replayed == NULL) abort();
    }
    run_record_t *record = &process->replayed[process->replayed_count++];
    int user = user_of(&set->user);
    uint8_t id[CART_REQUEST_BYTES];
    if (user < 0 || read_image((unsigned)user, set->image, set->image_length, record) != 0) {
        (void)wrong(process, "the journal holds a torn record");
        *record = (run_record_t){0};
        return;
    }
    make_request_id(*record, id);
    if (set->added_count != 1 || memcmp(set->added[0].id, id, sizeof(id)) != 0 ||
        set->expected.version + 1 != record->version) {
        (void)wrong(process, "the journal holds a record with other ids");
    }
}

static void on_saved(void *context, const cart_id_t *users, const cart_place_t *places,
                     const base_save_result_t *results, unsigned count) {
    process_t *process = context;
    (void)users;
    (void)places;
    assert(count <= RUN_USERS);
    memcpy(process->results, results, count * sizeof(*results));
    process->saved_count = count;
}

static void on_loaded(void *context, const base_loaded_t *loaded, unsigned count) {
    process_t *process = context;
    for (unsigned i = 0; i < count; i++) {
        int user = user_of(&loaded[i].user);
        assert(user >= 0);
        process->loaded_count++;
        process->rows[user] = (run_record_t){.user = (unsigned)user};
        if (loaded[i].result == BASE_LOAD_FAILED) process->loaded_failed++;
        if (loaded[i].result != BASE_ROW) continue;
        run_record_t record;
        if (read_image((unsigned)user, loaded[i].image, loaded[i].image_length, &record) != 0 ||
            record.version != loaded[i].place.version || loaded[i].place.epoch != 1) {
            (void)wrong(process, "the base holds a torn row of user %d", user);
            continue;
        }
        process->rows[user] = record;
        uint8_t rings[RUN_RING * CART_REQUEST_BYTES];
        run_told_t *told = &process->told;
        if (record.version > told->acked[user] || record.attempt != told->attempt[user][record.version]) {
            (void)wrong(process, "user %d: the base holds version %u, which nobody was told (told: %u)", user,
                        record.version, told->acked[user]);
        } else if (make_rings(told, (unsigned)user, record.version, rings) != loaded[i].rings_length ||
                   memcmp(rings, loaded[i].rings, loaded[i].rings_length) != 0) {
            (void)wrong(process, "user %d: the base's row lacks ids", user);
        }
    }
}

static int process_open(const run_config_t *config, disk_t *disk, process_t *process) {
    static const cart_id_t journal_id = {{'p', 'o', 'w', 'e', 'r', 'c', 'u', 't'}};
    journal_config_t journal_config = {
        .folder = JOURNAL_FOLDER, .segment_bytes = 64 << 10, .limit_bytes = 64 << 20, .id_if_new = journal_id};
    base_sqlite_config_t base_config = {.path = BASE_PATH,
                                        .vfs = "disk",
                                        .synchronous_full = !config->synchronous_normal,
                                        .files = disk_files(disk),
                                        .checkpoint_pages = 24};
    char detail[200] = "";
    cart_id_t id;
    unsigned applied;
    uint64_t epoch;
    uint64_t floor;
    process->replayed_count = 0;
    disk_use_for_sqlite(disk);
    journal_result_t opened = journal_open(disk_files(disk), &journal_config, 0, 0, on_replay, process,
                                           &process->journal, &id, detail, sizeof(detail));
    if (opened != JOURNAL_OK) return wrong(process, "the journal does not open (%d): %s", (int)opened, detail);
    if (!cart_id_equal(&id, &journal_id)) return wrong(process, "the journal has another id");
    base_open_t base = base_sqlite_migrate(&base_config, &applied, detail, sizeof(detail));
    if (base == BASE_OPEN_OK) {
        base = base_sqlite_open(&base_config, &id, 0, &epoch, &floor, &process->base, detail, sizeof(detail));
    }
    if (base != BASE_OPEN_OK) return wrong(process, "the base does not open (%d): %s", (int)base, detail);
    if (epoch != 1) return wrong(process, "the base has another epoch");
    base_owner_t owner = {.context = process, .loaded = on_loaded, .saved = on_saved};
    process->base->set_owner(process->base->state, &owner);
    return 0;
}

/* kill -9: memory goes, the disk is not touched. */
static void process_kill(process_t *process, disk_t *disk) {
    disk_freeze(disk, 1); /* closing in order would checkpoint */
    if (process->base != NULL) process->base->destroy(process->base->state);
    process->base = NULL;
    if (process->journal != NULL) journal_close(process->journal);
    process->journal = NULL;
    disk_kill_process(disk);
    disk_freeze(disk, 0);
}

static void load_rows(process_t *process) {
    cart_id_t users[RUN_USERS];
    for (unsigned user = 0; user < RUN_USERS; user++) users[user] = user_id(user);
    process->loaded_count = 0;
    process->loaded_failed = 0;
    (void)process->base->load(process->base->state, users, RUN_USERS); /* the queue is empty */
    process->base->poll(process->base->state);
    assert(process->loaded_count == RUN_USERS);
}

static void process_free(process_t *process) {
    free(process->replayed);
}

/* ---- judging ----------------------------------------------------------------------------------------------------- */

static int same(run_record_t a, run_record_t b) {
    return a.user == b.user && a.version == b.version && a.attempt == b.attempt;
}

/* Everything that was replayed and loaded against what was told. *flight: records of the batch under way that are there. */
static int compare(process_t *process, unsigned *flight) {
    const run_told_t *told = &process->told;
    static uint8_t there[RUN_USERS][RUN_VERSIONS];
    unsigned last[RUN_USERS] = {0};
    memset(there, 0, sizeof(there));
    *flight = 0;
    for (size_t i = 0; i < process->replayed_count; i++) {
        run_record_t record = process->replayed[i];
        if (record.version <= last[record.user]) {
            return wrong(process, "user %u: version %u is replayed after %u", record.user, record.version,
                         last[record.user]);
        }
        last[record.user] = record.version;
        unsigned in_flight = 0;
        for (unsigned f = 0; f < told->flight_count; f++) in_flight += same(record, told->flight[f]) ? 1 : 0;
        *flight += in_flight;
        if (in_flight == 0 && (record.version > told->acked[record.user] ||
                               record.attempt != told->attempt[record.user][record.version])) {
            return wrong(process, "user %u: version %u attempt %u came back, which was given up", record.user,
                         record.version, record.attempt);
        }
        there[record.user][record.version] = 1;
    }
    if (*flight != 0 && *flight != told->flight_count) {
        return wrong(process, "a batch is there in part: %u of %u", *flight, told->flight_count);
    }
    for (unsigned user = 0; user < RUN_USERS; user++) {
        unsigned row = process->rows[user].version;
        if (row < told->saved[user]) {
            return wrong(process, "user %u: the base said %u is saved and holds %u", user, told->saved[user], row);
        }
        for (unsigned version = row + 1; version <= told->acked[user]; version++) {
            if (!there[user][version]) {
                return wrong(process, "user %u: acknowledged version %u is gone (the base has %u)", user, version, row);
            }
        }
    }
    return 0;
}

static int commit(process_t *process, const run_record_t *records, unsigned count, journal_result_t *result);

static int judge_once(const run_config_t *config, disk_t *disk, process_t *process, unsigned *flight) {
    if (process_open(config, disk, process) != 0) return -1;
    load_rows(process);
    if (process->loaded_failed > 0) return wrong(process, "the base does not load");
    if (process->error[0] != '\0') return -1;
    return compare(process, flight);
}

/* After the recovery: what survived of the batch under way is told from now on; two more batches; the next cut. */
static int go_on(process_t *process, unsigned flight) {
    run_event_t event = {.kind = flight > 0 ? RUN_ACK : RUN_VOID};
    run_tell(&process->told, &event);
    for (unsigned round = 0; round < 2; round++) {
        event = (run_event_t){.kind = RUN_BEGIN, .flight_count = 3};
        for (unsigned i = 0; i < 3; i++) {
            unsigned user = (round * 5 + i * 7) % RUN_USERS;
            event.flight[i] = (run_record_t){user, process->told.acked[user] + 1, 200};
        }
        run_tell(&process->told, &event);
        journal_result_t result;
        if (commit(process, event.flight, 3, &result) != 0) return -1;
        if (result != JOURNAL_OK) return wrong(process, "no commit after the recovery");
        event.kind = RUN_ACK;
        run_tell(&process->told, &event);
    }
    return 0;
}

int run_judge(const run_config_t *config, disk_t *disk, const run_told_t *told, int again, run_outcomes_t *outcomes,
              char *error, size_t bytes) {
    static process_t process; /* large */
    process = (process_t){.told = *told};
    unsigned flight = 0;
    disk_t *later = NULL;
    int result = -1;
    if (!told->started) {
        /* Nothing was promised but that a start works. */
        result = process_open(config, disk, &process);
        goto done;
    }
    result = judge_once(config, disk, &process, &flight);
    if (result != 0) goto done;
    if (told->flight_count > 0 && flight > 0) outcomes->flight_whole++;
    if (told->flight_count > 0 && flight == 0) outcomes->flight_gone++;
    if (!again) goto done;
    result = go_on(&process, flight);
    if (result != 0) goto done;
    later = disk_cut(disk, 0, 0);
    process_kill(&process, disk);
    result = judge_once(config, later, &process, &flight);
done:
    if (result != 0) (void)snprintf(error, bytes, "%s", process.error);
    process_kill(&process, later != NULL ? later : disk);
    disk_destroy(later);
    process_free(&process);
    return result;
}

/* ---- recording --------------------------------------------------------------------------------------------------- */

typedef struct {
    const run_config_t *config;
    run_t *run;
    process_t process;
    uint64_t random;
} recorder_t;

static void tell(recorder_t *recorder, run_event_t event) {
    run_t *run = recorder->run;
    if (run->event_count == run->event_capacity) {
        run->event_capacity = run->event_capacity * 2 + 64;
        run->events = realloc(run->events, run->event_capacity * sizeof(*run->events));
        if (run->events == NULL) abort();
    }
    event.op = disk_op_count(run->disk);
    run->events[run->event_count++] = event;
    run_tell(&recorder->process.told, &event);
}

static int commit(process_t *process, const run_record_t *records, unsigned count, journal_result_t *result) {
    commit_set_t sets[RUN_BATCH];
    uint8_t images[RUN_BATCH][IMAGE_BYTES];
    cart_recent_id_t added[RUN_BATCH];
    for (unsigned i = 0; i < count; i++) {
        added[i] = (cart_recent_id_t){.digest = 1, .at_s = 2, .keyed = true};
        make_request_id(records[i], added[i].id);
        sets[i] = (commit_set_t){.user = user_id(records[i].user),
                                 .expected = {records[i].version > 1 ? 1 : 0, records[i].version - 1},
                                 .image = images[i],
                                 .image_length = make_image(records[i], images[i]),
                                 .added = &added[i],
                                 .added_count = 1};
    }
    if (records[0].version >= RUN_VERSIONS) return wrong(process, "the run is too long");
    *result = journal_commit(process->journal, sets, count, 0);
    return 0;
}

static void answer_early(void *context) {
    recorder_t *recorder = context;
    if (recorder->process.told.flight_count > 0) tell(recorder, (run_event_t){.kind = RUN_ACK});
}

static void record_recovery(recorder_t *recorder) {
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        if (i == TRIES_MAX / 2) disk_set_room(recorder->run->disk, 0); /* somebody made room */
        if (journal_recover(recorder->process.journal, 0) == JOURNAL_OK) {
            if (recorder->process.told.flight_count > 0) tell(recorder, (run_event_t){.kind = RUN_VOID});
            recorder->run->voided++;
            return;
        }
    }
    (void)wrong(&recorder->process, "the journal does not recover");
}

static void record_commit(recorder_t *recorder) {
    process_t *process = &recorder->process;
    run_event_t event = {.kind = RUN_BEGIN, .flight_count = 1 + (unsigned)(disk_random(&recorder->random) % RUN_BATCH)};
    unsigned first = (unsigned)(disk_random(&recorder->random) % RUN_USERS);
    for (unsigned i = 0; i < event.flight_count; i++) {
        unsigned user = (first + i * 5) % RUN_USERS; /* 5 and 24 have no common factor: all differ */
        event.flight[i] = (run_record_t){user, process->told.acked[user] + 1, process->attempts[user]++ % 200};
    }
    tell(recorder, event);
    journal_result_t result;
    if (commit(process, event.flight, event.flight_count, &result) != 0) return;
    recorder->run->batches++;
    if (result == JOURNAL_OK) {
        if (process->told.flight_count > 0) tell(recorder, (run_event_t){.kind = RUN_ACK});
    } else if (result == JOURNAL_FAILED) {
        record_recovery(recorder);
    } else {
        tell(recorder, (run_event_t){.kind = RUN_VOID});
        recorder->run->refused++;
    }
    if (recorder->config->forget_before_save && result == JOURNAL_OK) {
        commit_forget_t carts[RUN_BATCH];
        for (unsigned i = 0; i < event.flight_count; i++) {
            carts[i] = (commit_forget_t){user_id(event.flight[i].user), {1, event.flight[i].version}};
        }
        journal_forget(process->journal, carts, event.flight_count, 0);
    }
}

/* As the engine: save what is dirty, forget in the journal what the base has, look at the row after a fork. */
static void record_save(recorder_t *recorder) {
    process_t *process = &recorder->process;
    static base_save_t saves[RUN_USERS];
    static uint8_t images[RUN_USERS][IMAGE_BYTES];
    static uint8_t rings[RUN_USERS][RUN_RING * CART_REQUEST_BYTES];
    unsigned count = 0;
    unsigned first = (unsigned)(disk_random(&recorder->random) % RUN_USERS);
    for (unsigned i = 0; i < RUN_USERS && count < RUN_SAVE; i++) {
        unsigned user = (first + i) % RUN_USERS;
        unsigned version = process->told.acked[user];
        if (version == process->row[user]) continue;
        base_save_t *save = &saves[count];
        *save = (base_save_t){.user = user_id(user),
                              .expected = {process->row[user] > 0 ? 1 : 0, process->row[user]},
                              .place = {1, version},
                              .image = images[count],
                              .rings = rings[count]};
        save->image_length =
            make_image((run_record_t){user, version, process->told.attempt[user][version]}, images[count]);
        save->rings_length = make_rings(&process->told, user, version, rings[count]);
        count++;
    }
    if (count == 0) return;
    process->saved_count = 0;
    bool taken = process->base->save(process->base->state, saves, count);
    assert(taken);
    (void)taken;
    process->base->poll(process->base->state);
    assert(process->saved_count == count);
    commit_forget_t forget[RUN_USERS];
    unsigned forgets = 0;
    bool forked = false;
    for (unsigned i = 0; i < count; i++) {
        int user = user_of(&saves[i].user);
        if (process->results[i] == BASE_FORK) forked = true;
        if (process->results[i] != BASE_SAVED) continue;
        process->row[user] = (unsigned)saves[i].place.version;
        tell(recorder, (run_event_t){.kind = RUN_SAVED, .record = {(unsigned)user, process->row[user], 0}});
        forget[forgets++] = (commit_forget_t){saves[i].user, saves[i].place};
        recorder->run->saves++;
    }
    if (forgets > 0) journal_forget(process->journal, forget, forgets, 0);
    if (forked) {
        /* The save before failed and is there all the same: the row is an older place of our own. */
        recorder->run->forks++;
        load_rows(process);
        for (unsigned user = 0; user < RUN_USERS && process->loaded_failed == 0; user++) {
            process->row[user] = process->rows[user].version;
        }
    }
    if (journal_has_failed(process->journal)) record_recovery(recorder);
}

static void count_checkpoints(recorder_t *recorder) {
    base_status_t status;
    if (recorder->process.base == NULL) return;
    recorder->process.base->status(recorder->process.base->state, &status);
    recorder->run->checkpoints += (unsigned)status.checkpoints;
}

static void record_start(recorder_t *recorder) {
    process_t *process = &recorder->process;
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        if (i == TRIES_MAX / 2) disk_set_room(recorder->run->disk, 0); /* somebody made room */
        process->error[0] = '\0';
        int opened = process_open(recorder->config, recorder->run->disk, process);
        unsigned flight = 0;
        if (opened == 0) load_rows(process);
        if (opened != 0 || process->loaded_failed > 0) {
            process_kill(process, recorder->run->disk); /* a sync failed in it: the supervisor starts it again */
            continue;
        }
        if (compare(process, &flight) != 0 || process->error[0] != '\0') return;
        if (process->told.flight_count > 0) tell(recorder, (run_event_t){.kind = flight > 0 ? RUN_ACK : RUN_VOID});
        for (unsigned user = 0; user < RUN_USERS; user++) process->row[user] = process->rows[user].version;
        if (!process->told.started) tell(recorder, (run_event_t){.kind = RUN_STARTED});
        return;
    }
    (void)wrong(process, "no start in %d tries", TRIES_MAX);
}

/* A commit that a kill interrupts after it was written or synced, before the answer: its end is left unknown. */
static void record_kill(recorder_t *recorder) {
    process_t *process = &recorder->process;
    if (disk_random(&recorder->random) % 2 == 0 && !recorder->config->answer_before_sync) {
        run_event_t event = {.kind = RUN_BEGIN, .flight_count = 2};
        unsigned user = (unsigned)(disk_random(&recorder->random) % (RUN_USERS - 1));
        for (unsigned i = 0; i < 2; i++) {
            event.flight[i] =
                (run_record_t){user + i, process->told.acked[user + i] + 1, process->attempts[user + i]++ % 200};
        }
        tell(recorder, event);
        journal_result_t result; /* the process dies before it looks at it */
        if (commit(process, event.flight, 2, &result) != 0) return;
    }
    count_checkpoints(recorder);
    process_kill(process, recorder->run->disk);
    recorder->run->kills++;
    record_start(recorder);
}

void run_record(const run_config_t *config, run_t *run) {
    static recorder_t recorder; /* large */
    *run = (run_t){.disk = disk_create()};
    recorder = (recorder_t){.config = config, .run = run, .random = config->seed};
    *disk_plant(run->disk) = config->plant;
    if (config->answer_before_sync) {
        disk_plant(run->disk)->before_sync = answer_early;
        disk_plant(run->disk)->context = &recorder;
    }
    /* SQLite's own random numbers (salts of its log) begin anew with each run. */
    (void)sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(config->seed & 0x7fffffff) | 1, NULL);
    unsigned full_until = 0;
    record_start(&recorder);
    disk_fail_syncs(run->disk, config->fail_one_in, config->seed);
    for (unsigned i = 0; i < config->steps && recorder.process.error[0] == '\0'; i++) {
        uint64_t choice = disk_random(&recorder.random) % 100;
        if (config->full_one_in > 0 && disk_random(&recorder.random) % config->full_one_in == 0) full_until = i + 30;
        disk_set_room(run->disk, i < full_until ? 1 : 0); /* 1: no file may grow */
        if (config->kill_one_in > 0 && disk_random(&recorder.random) % config->kill_one_in == 0)
            record_kill(&recorder);
        else if (choice < 62)
            record_commit(&recorder);
        else if (choice < 72)
            (void)journal_prepare(recorder.process.journal); /* whether there is more to do */
        else
            record_save(&recorder);
    }
    if (recorder.process.error[0] != '\0') (void)snprintf(run->error, sizeof(run->error), "%s", recorder.process.error);
    disk_fail_syncs(run->disk, 0, 0);
    disk_set_room(run->disk, 0);
    for (size_t i = 0; i < disk_op_count(run->disk); i++) {
        const disk_op_t *op = disk_op(run->disk, i);
        if (op->kind == DISK_UNLINK && strstr(op->name, ".journal") != NULL) run->dropped++;
    }
    count_checkpoints(&recorder);
    size_t ops = disk_op_count(run->disk);
    process_kill(&recorder.process, run->disk);
    assert(ops == disk_op_count(run->disk));
    (void)ops;
    process_free(&recorder.process);
}

void run_deinit(run_t *run) {
    disk_destroy(run->disk);
    free(run->events);
}
