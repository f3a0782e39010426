#include "seeded.h"

#include "cart/cart_arena.h"

#define BYTES (2 * 1024 * 1024)

static cart_arena_t *fresh(size_t bytes, void **memory) {
    *memory = seeded_map(bytes);
    memset(*memory, 0xa5, bytes); /* nothing may rely on zeroed memory */
    cart_arena_t *arena = cart_arena_init(*memory, bytes);
    assert_non_null(arena);
    assert_true(cart_arena_check(arena));
    return arena;
}

static cart_arena_usage_t usage_of(const cart_arena_t *arena) {
    cart_arena_usage_t usage;
    cart_arena_usage(arena, &usage);
    return usage;
}

static void refuses_memory_of_the_wrong_size_or_alignment(void **state) {
    (void)state;
    uint8_t *memory = seeded_map(CART_ARENA_BYTES_MIN + 4096);
    assert_null(cart_arena_init(memory, CART_ARENA_BYTES_MIN - 1));
    assert_null(cart_arena_init(memory + 8, CART_ARENA_BYTES_MIN));
    assert_null(cart_arena_init(memory, CART_ARENA_BYTES_MAX + 1));
    assert_non_null(cart_arena_init(memory + 16, CART_ARENA_BYTES_MIN));
    assert_int_equal(munmap(memory, CART_ARENA_BYTES_MIN + 4096), 0);
}

static void classes_waste_little(void **state) {
    (void)state;
    assert_int_equal(cart_arena_class(1), 16);
    assert_int_equal(cart_arena_class(16), 16);
    assert_int_equal(cart_arena_class(17), 32);
    assert_int_equal(cart_arena_class(2048), 2048);
    assert_int_equal(cart_arena_class(2049), 4096);
    assert_int_equal(cart_arena_class(4097), 8192);
    size_t last = 0;
    for (size_t bytes = 1; bytes <= 2048; bytes++) {
        size_t size = cart_arena_class(bytes);
        assert_true(size >= bytes && size >= last && size % CART_ARENA_UNIT == 0);
        if (bytes <= 256) assert_true(size - bytes < 16);
        /* No smaller block would let more of them into a page, but for the 16 bytes of a unit. */
        if (size > 256)
            assert_true(CART_ARENA_PAGE_BYTES / size == CART_ARENA_PAGE_BYTES / (size - 16) ||
                        cart_arena_class(size - 16) <= size);
        last = size;
    }
}

static void one_run_can_take_it_all(void **state) {
    (void)state;
    void *memory;
    cart_arena_t *arena = fresh(BYTES, &memory);
    size_t largest = cart_arena_largest(arena);
    assert_true(largest > BYTES * 98 / 100);
    assert_int_equal(cart_arena_alloc(arena, largest + 1), CART_NO_REF);
    cart_ref_t all = cart_arena_alloc(arena, largest);
    assert_int_not_equal(all, CART_NO_REF);
    memset(cart_arena_at(arena, all), 0x11, largest);
    assert_true((uint8_t *)cart_arena_at(arena, all) + largest <= (uint8_t *)memory + BYTES);
    assert_int_equal(cart_arena_alloc(arena, 1), CART_NO_REF);
    assert_int_equal(cart_arena_wanted_pages(arena), 1);
    assert_int_equal(usage_of(arena).used_bytes, largest);
    assert_true(cart_arena_check(arena));
    cart_arena_free(arena, all, largest);
    assert_int_equal(usage_of(arena).used_bytes, 0);
    assert_int_equal(usage_of(arena).live_bytes, 0);
    assert_true(cart_arena_check(arena));
    assert_int_equal(munmap(memory, BYTES), 0);
}

static void works_where_it_is_mapped_a_second_time(void **state) {
    (void)state;
    void *memory;
    cart_arena_t *arena = fresh(CART_ARENA_BYTES_MIN, &memory);
    cart_ref_t ref = cart_arena_alloc(arena, 40);
    memcpy(cart_arena_at(arena, ref), "found again", 12);
    void *elsewhere = seeded_map(CART_ARENA_BYTES_MIN);
    memcpy(elsewhere, memory, CART_ARENA_BYTES_MIN);
    assert_int_equal(munmap(memory, CART_ARENA_BYTES_MIN), 0);
    assert_string_equal(cart_arena_at(elsewhere, ref), "found again");
    assert_true(cart_arena_check(elsewhere));
    cart_arena_free(elsewhere, ref, 40);
    assert_true(cart_arena_check(elsewhere));
    assert_int_equal(munmap(elsewhere, CART_ARENA_BYTES_MIN), 0);
}

static void a_new_arena_touches_only_head_and_descriptors(void **state) {
    (void)state;
    /* A fault outside would be seen: only the first and the last of its pages of descriptors can be touched. */
    const size_t bytes = (size_t)1 << 30;
    uint8_t *memory = seeded_map(bytes);
    const size_t descriptors = (bytes / CART_ARENA_PAGE_BYTES) * 16;
    assert_int_equal(mprotect(memory + 2 * 4096, descriptors - 8 * 4096, PROT_NONE), 0);
    assert_int_equal(mprotect(memory + descriptors + 4 * 4096, bytes - descriptors - 4 * 4096, PROT_NONE), 0);
    cart_arena_t *arena = cart_arena_init(memory, bytes);
    assert_non_null(arena);
    assert_int_not_equal(cart_arena_alloc(arena, 64), CART_NO_REF);
    assert_true(usage_of(arena).touched_bytes <= 3 * 4096);
    assert_int_equal(munmap(memory, bytes), 0);
}

static void an_allocation_made_to_fail_changes_nothing(void **state) {
    (void)state;
    void *memory;
    cart_arena_t *arena = fresh(CART_ARENA_BYTES_MIN, &memory);
    cart_arena_fail_after(arena, 2);
    assert_int_not_equal(cart_arena_alloc(arena, 10), CART_NO_REF);
    assert_int_not_equal(cart_arena_alloc(arena, 5000), CART_NO_REF);
    cart_arena_usage_t before = usage_of(arena);
    assert_int_equal(cart_arena_alloc(arena, 10), CART_NO_REF);
    cart_arena_usage_t after = usage_of(arena);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(cart_arena_wanted_pages(arena), 0); /* it was no shortage */
    assert_int_not_equal(cart_arena_alloc(arena, 10), CART_NO_REF);
    assert_int_equal(munmap(memory, CART_ARENA_BYTES_MIN), 0);
}

/* ---- against a reference: who owns which bytes --------------------------------------------------------------------- */

typedef struct {
    cart_ref_t ref;
    uint32_t bytes;
    uint8_t pattern;
} block_t;

#define BLOCKS_MAX 60000
static block_t blocks[BLOCKS_MAX];
static unsigned block_count;

static void block_fill(cart_arena_t *arena, const block_t *block) {
    memset(cart_arena_at(arena, block->ref), block->pattern, block->bytes);
}

static void block_verify(cart_arena_t *arena, const block_t *block) {
    const uint8_t *at = cart_arena_at(arena, block->ref);
    for (uint32_t i = 0; i < block->bytes; i++) {
        if (at[i] != block->pattern) fail_msg("byte %u of a block of %u was written by another", i, block->bytes);
    }
}

static uint32_t drawn_size(unsigned phase) {
    switch (phase) {
    case 0:
        return 1 + seeded_below(64);
    case 1:
        return 1 + seeded_below(700);
    case 2:
        return seeded_chance(4) ? 2049 + seeded_below(40000) : 1 + seeded_below(3000);
    default:
        return 300 + seeded_below(100);
    }
}

static void equals_a_reference_under_random_load(void **state) {
    (void)state;
    seeded_start(__func__);
    void *memory;
    cart_arena_t *arena = fresh(BYTES, &memory);
    uint64_t live = 0;
    unsigned refused = 0;
    block_count = 0;
    unsigned long rounds = seeded_rounds(400000);
    for (unsigned long round = 0; round < rounds; round++) {
        unsigned phase = (unsigned)(round * 12 / rounds) % 4;
        unsigned fullness = (unsigned)(round / 5000 % 3); /* grow, keep, shrink */
        bool grow = fullness == 0 ? !seeded_chance(4) : fullness == 1 ? seeded_chance(2) : seeded_chance(4);
        if (grow && block_count < BLOCKS_MAX) {
            block_t block = {CART_NO_REF, drawn_size(phase), (uint8_t)seeded_u64()};
            cart_arena_usage_t before = usage_of(arena);
            block.ref = cart_arena_alloc(arena, block.bytes);
            cart_arena_usage_t after = usage_of(arena);
            if (block.ref == CART_NO_REF) {
                assert_int_equal(before.live_bytes, after.live_bytes);
                assert_int_equal(before.used_bytes, after.used_bytes);
                refused++;
            } else {
                live += cart_arena_class(block.bytes);
                block_fill(arena, &block);
                blocks[block_count++] = block;
            }
        } else if (block_count > 0) {
            block_t *block = &blocks[seeded_below(block_count)];
            block_verify(arena, block);
            if (seeded_chance(4)) {
                cart_ref_t denser = cart_arena_denser(arena, block->ref, block->bytes);
                if (denser != CART_NO_REF) {
                    assert_int_not_equal(denser, block->ref);
                    memcpy(cart_arena_at(arena, denser), cart_arena_at(arena, block->ref), block->bytes);
                    cart_arena_free(arena, block->ref, block->bytes);
                    block->ref = denser;
                    block_verify(arena, block);
                }
            }
            cart_arena_free(arena, block->ref, block->bytes);
            live -= cart_arena_class(block->bytes);
            *block = blocks[--block_count];
        }
        cart_arena_usage_t usage = usage_of(arena);
        assert_int_equal(usage.live_bytes, live);
        assert_true(usage.used_bytes >= live && usage.used_bytes <= usage.capacity_bytes);
        if (round % 2000 == 0) assert_true(cart_arena_check(arena));
    }
    while (block_count > 0) {
        block_count--;
        block_verify(arena, &blocks[block_count]);
        cart_arena_free(arena, blocks[block_count].ref, blocks[block_count].bytes);
    }
    assert_true(cart_arena_check(arena));
    assert_int_equal(usage_of(arena).used_bytes, 0);
    assert_int_not_equal(cart_arena_alloc(arena, cart_arena_largest(arena)), CART_NO_REF);
    printf("%u allocations found no room\n", refused);
    assert_int_equal(munmap(memory, BYTES), 0);
}

static void whole_pages_serve_another_class(void **state) {
    (void)state;
    void *memory;
    cart_arena_t *arena = fresh(BYTES, &memory);
    for (unsigned pass = 0; pass < 8; pass++) {
        static const uint32_t sizes[] = {16, 48, 2048, 100, 512, 9000, 32, 700};
        uint32_t bytes = sizes[pass];
        block_count = 0;
        while (block_count < BLOCKS_MAX) {
            cart_ref_t ref = cart_arena_alloc(arena, bytes);
            if (ref == CART_NO_REF) break;
            blocks[block_count++] = (block_t){ref, bytes, 0};
        }
        size_t expected = bytes > 2048 ? BYTES / 12288 : BYTES / cart_arena_class(bytes);
        assert_true(block_count == BLOCKS_MAX || block_count > expected * 88 / 100);
        for (unsigned i = 0; i < block_count; i++) cart_arena_free(arena, blocks[i].ref, bytes);
        assert_int_equal(usage_of(arena).used_bytes, 0);
        assert_true(cart_arena_check(arena));
    }
    assert_int_equal(munmap(memory, BYTES), 0);
}

/* Nine of ten blocks go, here and there; moving the rest together must give nearly all their pages back. */
static void moving_blocks_to_denser_pages_empties_the_thin_ones(void **state) {
    (void)state;
    seeded_start(__func__);
    void *memory;
    cart_arena_t *arena = fresh(BYTES, &memory);
    block_count = 0;
    for (cart_ref_t ref; block_count < BLOCKS_MAX && (ref = cart_arena_alloc(arena, 48)) != CART_NO_REF;) {
        blocks[block_count] = (block_t){ref, 48, (uint8_t)block_count};
        block_fill(arena, &blocks[block_count++]);
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < block_count; i++) {
        if (seeded_chance(10)) {
            blocks[kept++] = blocks[i];
        } else {
            cart_arena_free(arena, blocks[i].ref, 48);
        }
    }
    assert_true(usage_of(arena).used_bytes > 3 * usage_of(arena).live_bytes);
    for (unsigned lap = 0; lap < 3; lap++) {
        for (unsigned i = 0; i < kept; i++) {
            cart_ref_t denser = cart_arena_denser(arena, blocks[i].ref, 48);
            if (denser == CART_NO_REF) continue;
            memcpy(cart_arena_at(arena, denser), cart_arena_at(arena, blocks[i].ref), 48);
            cart_arena_free(arena, blocks[i].ref, 48);
            blocks[i].ref = denser;
        }
    }
    assert_true(cart_arena_check(arena));
    for (unsigned i = 0; i < kept; i++) block_verify(arena, &blocks[i]);
    cart_arena_usage_t usage = usage_of(arena);
    assert_true(usage.used_bytes <= usage.live_bytes * 13 / 10 + 2 * CART_ARENA_PAGE_BYTES);
    assert_int_equal(munmap(memory, BYTES), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_memory_of_the_wrong_size_or_alignment),
        cmocka_unit_test(classes_waste_little),
        cmocka_unit_test(one_run_can_take_it_all),
        cmocka_unit_test(works_where_it_is_mapped_a_second_time),
        cmocka_unit_test(a_new_arena_touches_only_head_and_descriptors),
        cmocka_unit_test(an_allocation_made_to_fail_changes_nothing),
        cmocka_unit_test(equals_a_reference_under_random_load),
        cmocka_unit_test(whole_pages_serve_another_class),
        cmocka_unit_test(moving_blocks_to_denser_pages_empties_the_thin_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
