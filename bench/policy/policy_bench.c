/*
 * policy_bench [TRACE.csv]: replays session traffic through src/cart's policy, as the edge runs it, and through reference
 * caches of the same number of seats; then through the rule of batch sync. Prints Markdown. No argument, or no such file:
 * a made-up trace of the same shape, and the output says so.
 *
 * Hit rates compare orders of clearance, so TTLs are out of the way there and every cache may hold exactly as many carts
 * as ours did at its fullest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cart/cart_policy.h"
#include "reference.h"
#include "trace.h"

#define ENTRY_BYTES 1024 /* of a seat here: large, so that small numbers of seats fill whole pages */
#define NO_TTL_S    (10 * 365 * 86400U)

/* ---- our policy ---------------------------------------------------------------------------------------------------- */

typedef struct {
    void *memory;
    cart_table_t *table;
    cart_policy_t policy;
    cart_clearance_t clearance;
    cart_note_t *notes;
    size_t note_count;
} ours_t;

static cart_may_go_t always(void *context, const cart_entry_t *entry) {
    (void)context;
    (void)entry;
    return CART_MAY_GO_CLEAN;
}

static void *memory_of(size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (memory == NULL) {
        perror("policy_bench");
        exit(1);
    }
    return memory;
}

static void ours_init(ours_t *ours, uint32_t seats, uint8_t order, bool with_notes) {
    memset(ours, 0, sizeof(*ours));
    /* Room for the seats below the high-water mark, with the arena's own pages. */
    size_t bytes = (size_t)seats * ENTRY_BYTES * 1000 / 900 + 16384;
    if (bytes < CART_ARENA_BYTES_MIN + 8192) bytes = CART_ARENA_BYTES_MIN + 8192;
    ours->memory = memory_of(bytes);
    ours->table = cart_table_init(ours->memory, bytes, ENTRY_BYTES - sizeof(cart_entry_t), ENTRY_BYTES, 1);
    if (ours->table == NULL) exit(1);
    cart_policy_defaults(&ours->policy);
    ours->policy.order = order;
    ours->policy.calm_ttl_s = ours->policy.active_ttl_s = NO_TTL_S;
    ours->policy.low_water_permille = 890;
    ours->note_count = with_notes ? (size_t)seats : 0;
    ours->notes = calloc(ours->note_count + 1, sizeof(*ours->notes));
    if (ours->notes == NULL) exit(1);
}

static void ours_deinit(ours_t *ours) {
    free(ours->memory);
    free(ours->notes);
}

static cart_id_t id_of(uint32_t user) {
    uint64_t words[2] = {(user + 1) * UINT64_C(0x9e3779b97f4a7c15), (user + 1) * UINT64_C(0xd6e8feb86659fd93)};
    cart_id_t id;
    memcpy(id.bytes, words, sizeof(id.bytes));
    return id;
}

static bool ours_request(ours_t *ours, uint32_t user, uint32_t now_s) {
    static const cart_policy_owner_t owner = {.may_go = always};
    cart_id_t id = id_of(user);
    cart_entry_t *entry = cart_table_find(ours->table, &id);
    bool is_hit = entry != NULL;
    if (!is_hit) {
        if (!cart_policy_note(&ours->policy, ours->notes, ours->note_count, &id, now_s)) return false;
        for (unsigned i = 0; i < 64 && cart_policy_over_high_water(&ours->policy, ours->table); i++) {
            (void)cart_policy_step(&ours->policy, ours->table, &ours->clearance, &owner, now_s, 64);
        }
        entry = cart_table_insert(ours->table, &id);
    }
    if (entry != NULL) cart_policy_touch(&ours->policy, ours->table, entry, now_s);
    return is_hit;
}

typedef struct {
    double hits;
    uint32_t fullest;
} replayed_t;

static replayed_t replay_ours(const trace_t *trace, uint32_t seats, uint8_t order, bool with_notes) {
    ours_t ours;
    ours_init(&ours, seats, order, with_notes);
    replayed_t result = {0, 0};
    for (uint32_t i = 0; i < trace->count; i++) {
        const request_t *request = &trace->requests[i];
        result.hits += ours_request(&ours, request->user, 1000000 + (uint32_t)request->at_s);
        if (cart_table_count(ours.table) > result.fullest) result.fullest = cart_table_count(ours.table);
    }
    result.hits /= trace->count;
    ours_deinit(&ours);
    return result;
}

static double replay_reference(const trace_t *trace, uint32_t capacity, reference_kind_t kind) {
    reference_t *cache = reference_create(kind, capacity, trace->users);
    uint32_t hits = 0;
    for (uint32_t i = 0; i < trace->count; i++) hits += reference_request(cache, trace->requests[i].user);
    reference_destroy(cache);
    return (double)hits / trace->count;
}

static void print_hit_rates(const char *path, double squeeze, unsigned passers_percent) {
    static const uint32_t sizes[] = {60, 100, 150, 200, 300, 500, 1000};
    trace_t trace;
    trace_make(&trace, path, squeeze, passers_percent);
    printf("\n### Hit rate: a year of arrivals in %.1f days, %u passers-by for 100 sessions%s\n\n", 365 / squeeze,
           passers_percent, trace.is_stand_in ? " (made-up trace)" : "");
    printf("%u requests of %u users in %u sessions.\n\n", trace.count, trace.users, trace.sessions);
    printf(
        "| seats | ours, SIEVE | ours, LRU | ours with notes, SIEVE | ours with notes, LRU | LRU | SIEVE | S3-FIFO | "
        "W-TinyLFU |\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        replayed_t sieve = replay_ours(&trace, sizes[i], CART_POLICY_SIEVE, false);
        replayed_t lru = replay_ours(&trace, sizes[i], CART_POLICY_LRU, false);
        uint32_t seats = sieve.fullest > lru.fullest ? sieve.fullest : lru.fullest;
        printf("| %u | %.4f | %.4f | %.4f | %.4f | %.4f | %.4f | %.4f | %.4f |\n", seats, sieve.hits, lru.hits,
               replay_ours(&trace, sizes[i], CART_POLICY_SIEVE, true).hits,
               replay_ours(&trace, sizes[i], CART_POLICY_LRU, true).hits,
               replay_reference(&trace, seats, REFERENCE_LRU), replay_reference(&trace, seats, REFERENCE_SIEVE),
               replay_reference(&trace, seats, REFERENCE_S3_FIFO),
               replay_reference(&trace, seats, REFERENCE_W_TINYLFU));
    }
    trace_free(&trace);
}

/* ---- batch sync ---------------------------------------------------------------------------------------------------- */

typedef struct {
    cart_entry_t heat; /* only heat and touched_s are used */
    double dirty_at_s, changed_at_s;
    bool is_dirty;
} sync_user_t;

/* The engine's rule: a calm cart is saved calm_delay after its last change, any other at the cap on dirty age. */
static double save_due_s(const cart_policy_t *policy, const sync_user_t *user, double calm_delay_s, double cap_s) {
    double latest_s = user->dirty_at_s + cap_s;
    double due_s = user->changed_at_s + calm_delay_s;
    while (due_s < latest_s && cart_policy_is_active(policy, &user->heat, 1000000 + (uint32_t)due_s)) due_s += 1;
    return due_s < latest_s ? due_s : latest_s;
}

static uint32_t count_writes(const trace_t *trace, double calm_delay_s, double cap_s) {
    cart_policy_t policy;
    cart_policy_defaults(&policy);
    sync_user_t *users = calloc(trace->users, sizeof(*users));
    if (users == NULL) exit(1);
    uint32_t writes = 0;
    for (uint32_t i = 0; i < trace->count; i++) {
        const request_t *request = &trace->requests[i];
        sync_user_t *user = &users[request->user];
        uint32_t now_s = 1000000 + (uint32_t)request->at_s;
        if (user->is_dirty && save_due_s(&policy, user, calm_delay_s, cap_s) <= request->at_s) {
            writes++;
            user->is_dirty = false;
        }
        uint32_t heat = cart_policy_heat(&policy, &user->heat, now_s) + 256U;
        user->heat.heat = heat > UINT16_MAX ? UINT16_MAX : (uint16_t)heat;
        user->heat.touched_s = now_s;
        if (!request->is_change) continue;
        if (!user->is_dirty) user->dirty_at_s = request->at_s;
        user->is_dirty = true;
        user->changed_at_s = request->at_s;
    }
    for (uint32_t i = 0; i < trace->users; i++) writes += users[i].is_dirty;
    free(users);
    return writes;
}

static void print_writes(const char *path) {
    static const double delays_s[] = {0, 10, 30, 60, 120, 180, 300, 900};
    static const double caps_s[] = {60, 300, 900, 3600};
    trace_t trace;
    trace_make(&trace, path, 1, 0);
    printf("\n### Base row writes per cart change%s\n\n", trace.is_stand_in ? " (made-up trace)" : "");
    printf("%u changes in %u sessions of %.2f lines, at the trace's own pace. One write a change is 1.000; one write a "
           "session, the least without waiting for the next visit, is %.3f.\n\n",
           trace.changes, trace.sessions, (double)trace.lines / trace.sessions, (double)trace.sessions / trace.changes);
    printf("| calm delay | cap on dirty age 60 s | 300 s | 900 s | 3600 s |\n| ---: | ---: | ---: | ---: | ---: |\n");
    for (unsigned i = 0; i < sizeof(delays_s) / sizeof(delays_s[0]); i++) {
        printf("| %.0f s |", delays_s[i]);
        for (unsigned j = 0; j < sizeof(caps_s) / sizeof(caps_s[0]); j++) {
            printf(" %.3f |", (double)count_writes(&trace, delays_s[i], caps_s[j]) / trace.changes);
        }
        printf("\n");
    }
    trace_free(&trace);
}

int main(int argc, char **argv) {
    if (argc > 2) {
        fprintf(stderr, "usage: %s [TRACE.csv]\n", argv[0]);
        return 2;
    }
    const char *path = argc == 2 ? argv[1] : NULL;
    print_hit_rates(path, 365, 0);
    print_hit_rates(path, 365, 100);
    print_hit_rates(path, 365, 500);
    print_hit_rates(path, 52, 100);
    print_writes(path);
    return 0;
}
