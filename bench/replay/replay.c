/*
 * Start-up after kill -9: bench_replay FOLDER [changes] [carts]. Writes a real journal with so many changes into FOLDER
 * (a new folder), closes it as a kill does, opens it again and replays it into an engine.
 */
#include "stores.h"

#include "cart/cart_image.h"
#include "engine/journal.h"

#define NOW_MS UINT64_C(1790000000000)
#define BATCH  256

static bool fill(const journal_config_t *config, uint64_t changes, uint64_t carts) {
    journal_t *journal = NULL;
    cart_id_t id;
    char detail[256] = "";
    static uint8_t images[BATCH][CART_IMAGE_PACKED_MAX];
    static cart_recent_id_t ids[BATCH];
    static commit_set_t sets[BATCH];
    uint64_t *versions = calloc(carts, sizeof *versions);
    if (versions == NULL || journal_open(files_posix(), config, 0, NOW_MS, NULL, NULL, &journal, &id, detail,
                                         sizeof detail) != JOURNAL_OK) {
        (void)fprintf(stderr, "%s\n", detail);
        free(versions);
        return false;
    }
    journal_result_t result = JOURNAL_OK;
    for (uint64_t i = 0; i < changes && result == JOURNAL_OK; i += BATCH) {
        for (unsigned j = 0; j < BATCH; j++) {
            uint64_t user = (i + j) * UINT64_C(2654435761) % carts;
            cart_image_t image = {.place = {1, ++versions[user]}, .line_count = 5};
            for (unsigned line = 0; line < 5; line++) {
                image.lines[line] =
                    (cart_line_t){.book = 1 + user % 2000 + line * 1000, .quantity = 1 + (uint32_t)(i % 90)};
            }
            ids[j] = (cart_recent_id_t){.digest = i + j, .at_s = (uint32_t)(NOW_MS / 1000), .keyed = false};
            uint64_t number = i + j;
            memcpy(ids[j].id, &number, sizeof number);
            sets[j] = (commit_set_t){.user = id_of(user),
                                     .expected = {1, versions[user] - 1},
                                     .image = images[j],
                                     .image_length = (uint32_t)cart_image_pack(&image, images[j], sizeof images[j]),
                                     .added = &ids[j],
                                     .added_count = 1};
        }
        result = journal_commit(journal, sets, BATCH, NOW_MS);
        while (result == JOURNAL_OK && journal_prepare(journal)) continue;
    }
    journal_close(journal);
    free(versions);
    return result == JOURNAL_OK;
}

typedef struct {
    engine_t *engine;
    uint64_t records;
    bool failed;
} replay_t;

static void replay_record(void *argument, const commit_set_t *record) {
    replay_t *replay = argument;
    replay->records++;
    if (!engine_replay(replay->engine, record)) replay->failed = true;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        (void)fprintf(stderr, "usage: %s FOLDER [changes] [carts]\n", argv[0]);
        return 2;
    }
    uint64_t changes = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    uint64_t carts = argc > 3 ? strtoull(argv[3], NULL, 10) : 200000;
    journal_config_t journal_config = {.folder = argv[1], .segment_bytes = 64u << 20, .limit_bytes = UINT64_C(4) << 30};
    if (!fill(&journal_config, changes, carts)) return 1;
    engine_config_t config = {.memory_bytes = (size_t)carts * 1024 + (64u << 20),
                              .epoch = 1,
                              .dirty_age_max_ms = 600000,
                              .calm_delay_ms = 30000,
                              .release_delay_ms = 1000,
                              .batch_max = 1024,
                              .seed = 7};
    cart_policy_defaults(&config.policy);
    replay_t replay = {.engine = engine_create(&config, NULL, NULL, &bench_owner)};
    if (replay.engine == NULL) return 1;
    journal_t *journal = NULL;
    cart_id_t id;
    char detail[256] = "";
    uint64_t begun = now_ns();
    if (journal_open(files_posix(), &journal_config, 0, NOW_MS, replay_record, &replay, &journal, &id, detail,
                     sizeof detail) != JOURNAL_OK ||
        replay.failed) {
        (void)fprintf(stderr, "not replayed: %s\n", detail);
        return 1;
    }
    (void)printf("%llu changes of %llu carts replayed in %.0f ms\n", (unsigned long long)replay.records,
                 (unsigned long long)carts, (double)(now_ns() - begun) / 1e6);
    journal_close(journal);
    engine_attach(replay.engine, &bench_commit, &bench_base, 1, 0);
    engine_destroy(replay.engine);
    return 0;
}
