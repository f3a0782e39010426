/*
 * Which journal: a plain log with checksums (ours), or an append-only SQLite file? Both make the same batches durable, one
 * sync each, in turns in one run on the same disk; several rounds, the median counts.
 *
 * usage: journal_bench FOLDER [ROUNDS [BATCHES]]     FOLDER is made, and left empty
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/journal.h"

#define SETS_MAX   256
#define ROUNDS_MAX 15
#define IMAGE      26 /* five lines of a catalogue of 10,000 */

typedef struct {
    double rate[ROUNDS_MAX];  /* changes a second */
    double worst[ROUNDS_MAX]; /* ms of the slowest batch */
} figures_t;

static commit_set_t sets[SETS_MAX];
static uint8_t images[SETS_MAX][IMAGE];
static cart_recent_id_t added[SETS_MAX];

static double now_s(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fill(unsigned batch, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        uint64_t user = ((uint64_t)batch * count + i) % 1000000 * UINT64_C(0x9E3779B97F4A7C15);
        sets[i] = (commit_set_t){.image = images[i], .image_length = IMAGE, .added = &added[i], .added_count = 1};
        memcpy(sets[i].user.bytes, &user, sizeof(user));
        images[i][0] = 1;
        images[i][1] = (uint8_t)(batch % 100 + 1);
        memcpy(added[i].id, &user, sizeof(user));
    }
}

static void fail(const char *what) {
    fprintf(stderr, "journal_bench: %s\n", what);
    exit(1);
}

static void run_log(const char *folder, unsigned batches, unsigned count, double *rate, double *worst) {
    char path[512], detail[200] = "";
    (void)snprintf(path, sizeof(path), "%s/journal", folder);
    journal_config_t config = {.folder = path, .segment_bytes = 64 << 20, .limit_bytes = UINT64_C(4) << 30};
    journal_t *journal;
    cart_id_t id;
    if (journal_open(files_posix(), &config, 0, 0, NULL, NULL, &journal, &id, detail, sizeof(detail)) != JOURNAL_OK)
        fail(detail);
    double begin = now_s();
    *worst = 0;
    for (unsigned batch = 0; batch < batches; batch++) {
        fill(batch, count);
        double start = now_s();
        if (journal_commit(journal, sets, count, 0) != JOURNAL_OK) fail("commit");
        if (journal_lags(journal)) (void)journal_prepare(journal); /* counted: its thread would do it between commits */
        double took = (now_s() - start) * 1e3;
        if (took > *worst) *worst = took;
    }
    *rate = (double)batches * count / (now_s() - begin);
    journal_close(journal);
}

static void sql(sqlite3 *db, const char *text) {
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) fail(sqlite3_errmsg(db));
}

static void run_sqlite(const char *folder, unsigned batches, unsigned count, double *rate, double *worst) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/journal.db", folder);
    sqlite3 *db;
    sqlite3_stmt *insert;
    if (sqlite3_open(path, &db) != SQLITE_OK) fail("open");
    sql(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE record (number INTEGER PRIMARY KEY, user BLOB, expected INTEGER, image BLOB, added BLOB)");
    if (sqlite3_prepare_v2(db, "INSERT INTO record (user, expected, image, added) VALUES (?1, ?2, ?3, ?4)", -1, &insert,
                           NULL) != SQLITE_OK)
        fail("prepare");
    double begin = now_s();
    *worst = 0;
    for (unsigned batch = 0; batch < batches; batch++) {
        fill(batch, count);
        double start = now_s();
        sql(db, "BEGIN IMMEDIATE");
        for (unsigned i = 0; i < count; i++) {
            if (sqlite3_bind_blob(insert, 1, sets[i].user.bytes, CART_ID_BYTES, SQLITE_STATIC) != SQLITE_OK ||
                sqlite3_bind_int64(insert, 2, (sqlite3_int64)sets[i].expected.version) != SQLITE_OK ||
                sqlite3_bind_blob(insert, 3, images[i], IMAGE, SQLITE_STATIC) != SQLITE_OK ||
                sqlite3_bind_blob(insert, 4, &added[i], 29, SQLITE_STATIC) != SQLITE_OK ||
                sqlite3_step(insert) != SQLITE_DONE)
                fail("insert");
            (void)sqlite3_reset(insert); /* its step was good */
        }
        sql(db, "COMMIT");
        double took = (now_s() - start) * 1e3;
        if (took > *worst) *worst = took;
    }
    *rate = (double)batches * count / (now_s() - begin);
    (void)sqlite3_finalize(insert); /* its last step was good */
    (void)sqlite3_close(db);        /* measured already */
}

static void clean(const char *folder) {
    char command[600];
    (void)snprintf(command, sizeof(command), "rm -rf '%s/journal' '%s/journal.db' '%s/journal.db-wal'", folder, folder,
                   folder);
    if (system(command) != 0) fail("clean");
}

static int by_value(const void *a, const void *b) {
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

int main(int argc, char **argv) {
    if (argc < 2) fail("usage: journal_bench FOLDER [ROUNDS [BATCHES]]");
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 5;
    unsigned batches = argc > 3 ? (unsigned)atoi(argv[3]) : 2000;
    if (rounds < 1 || rounds > ROUNDS_MAX) fail("ROUNDS is 1…15");
    (void)mkdir(argv[1], 0700); /* there already is fine; else the next step says so */
    static const unsigned counts[] = {1, 16, 64, 256};
    printf("| changes a batch | log: changes/s | SQLite: changes/s | log ÷ SQLite | log: slowest batch | SQLite: "
           "slowest batch |\n");
    printf("| ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (unsigned c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        figures_t log, lite;
        for (unsigned round = 0; round < rounds; round++) {
            run_log(argv[1], batches, counts[c], &log.rate[round], &log.worst[round]);
            clean(argv[1]);
            run_sqlite(argv[1], batches, counts[c], &lite.rate[round], &lite.worst[round]);
            clean(argv[1]);
        }
        qsort(log.rate, rounds, sizeof(double), by_value);
        qsort(lite.rate, rounds, sizeof(double), by_value);
        qsort(log.worst, rounds, sizeof(double), by_value);
        qsort(lite.worst, rounds, sizeof(double), by_value);
        unsigned middle = rounds / 2;
        printf("| %u | %.0f (%.0f…%.0f) | %.0f (%.0f…%.0f) | %.2f | %.1f ms | %.1f ms |\n", counts[c], log.rate[middle],
               log.rate[0], log.rate[rounds - 1], lite.rate[middle], lite.rate[0], lite.rate[rounds - 1],
               log.rate[middle] / lite.rate[middle], log.worst[middle], lite.worst[middle]);
    }
    return 0;
}
