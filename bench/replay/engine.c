/*
 * What the engine itself costs a change: bench_engine [carts]. Stores that cost nothing; batches of 64 and 256. Time goes on
 * as at 50,000 changes a second, so that rings of recent ids are as long as they would be.
 */
#include "stores.h"

#define NOW_MS UINT64_C(1790000000000)

static void run(engine_t *engine, uint64_t *now_ms, uint64_t carts, uint64_t changes, unsigned batch, bool keyed,
                uint64_t *number) {
    uint64_t begun_ms = *now_ms;
    engine_origin_t origin = {.link = {.link = 1}};
    uint64_t random = 88172645463325252u;
    for (uint64_t i = 0; i < changes; i += batch) {
        for (unsigned j = 0; j < batch; j++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            uint64_t user = carts == 0 ? i + j : random % carts;
            cart_request_t request = request_of(user, ++*number, keyed);
            if (engine_change(engine, &origin, &request, *now_ms + 5000) != ENGINE_OK) abort();
        }
        for (unsigned turns = 0; turns < 3; turns++) {
            engine_turn(engine, *now_ms);
            commit_poll(NULL, *now_ms);
            base_poll(NULL);
        }
        *now_ms = begun_ms + i / 50;
    }
}

int main(int argc, char **argv) {
    uint64_t carts = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    engine_config_t config = {.memory_bytes = (size_t)carts * 1024 + (64u << 20),
                              .epoch = 1,
                              .dirty_age_max_ms = 600000,
                              .calm_delay_ms = 30000,
                              .release_delay_ms = 1000,
                              .batch_max = 1024,
                              .seed = 7};
    cart_policy_defaults(&config.policy);
    engine_t *engine = engine_create(&config, &bench_commit, &bench_base, &bench_owner);
    if (engine == NULL) return 1;
    uint64_t now_ms = NOW_MS;
    uint64_t number = 0;
    uint64_t begun = now_ns();
    run(engine, &now_ms, 0, carts, 256, false, &number);
    engine_stats_t stats;
    engine_stats(engine, now_ms, &stats);
    (void)printf("%llu carts loaded and changed once: %.0f ns each; %.0f bytes each, %llu resident\n",
                 (unsigned long long)carts, (double)(now_ns() - begun) / (double)carts,
                 (double)stats.bytes_used / (double)stats.resident, (unsigned long long)stats.resident);
    static const unsigned batches[] = {64, 256};
    for (unsigned i = 0; i < 8; i++) {
        uint64_t hot = i < 4 ? carts : 10000;
        bool keyed = i % 4 >= 2;
        uint64_t before = stores.done;
        begun = now_ns();
        run(engine, &now_ms, hot, 1000000, batches[i % 2], keyed, &number);
        (void)printf("1000000 %s changes on %llu carts, batches of %u: %.0f ns each, %llu applied\n",
                     keyed ? "keyed" : "keyless", (unsigned long long)hot, batches[i % 2],
                     (double)(now_ns() - begun) / 1e6, (unsigned long long)(stores.done - before));
    }
    engine_destroy(engine);
    return 0;
}
