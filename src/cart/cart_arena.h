/*
 * An allocator over one block of memory that someone else owns: a shard of nginx's shared memory, the engine's mmap, a
 * simulator's buffer. It works with offsets, so a block may be mapped anywhere; it never asks for more memory: an
 * allocation that does not fit returns CART_NO_REF and changes nothing.
 *
 * Blocks are cut from pages by size class (16-byte steps as long as a step changes how many fit into a page); a page whose blocks are all free
 * goes back and serves another class; what is larger than a page takes a run of pages. Costs: O(1) for small blocks,
 * a bounded search for runs. Not thread safe: callers hold the lock of what the memory belongs to.
 */
#ifndef CART_ARENA_H
#define CART_ARENA_H

#include "cart/cart_types.h"

typedef uint32_t cart_ref_t; /* offset in 16-byte units from the start of the arena */
#define CART_NO_REF          0
#define CART_ARENA_UNIT      16
#define CART_ARENA_BYTES_MIN (64 * 1024)
#define CART_ARENA_BYTES_MAX ((size_t)UINT32_MAX * CART_ARENA_UNIT)

typedef struct cart_arena cart_arena_t; /* lies at the start of the memory itself */

/* NULL when bytes is out of range or memory is not 16-byte aligned. Touches only the header and page descriptors. */
cart_arena_t *cart_arena_init(void *memory, size_t bytes);

/* bytes 1…cart_arena_largest(). CART_NO_REF: no room (or made to fail). */
cart_ref_t cart_arena_alloc(cart_arena_t *arena, size_t bytes);
/* bytes: as given to alloc. */
void cart_arena_free(cart_arena_t *arena, cart_ref_t ref, size_t bytes);

static inline void *cart_arena_at(cart_arena_t *arena, cart_ref_t ref) {
    return (uint8_t *)arena + (size_t)ref * CART_ARENA_UNIT;
}

/* A block of the same class on a fuller page, taken for the caller to move `ref` to (copy, re-link, free the old one):
 * what makes thin pages empty when carts have changed their sizes. CART_NO_REF: not worth moving. Never fails by order. */
cart_ref_t cart_arena_denser(cart_arena_t *arena, cart_ref_t ref, size_t bytes);

/* Pages that the largest allocation needed that found no room since cart_arena_forget_wanted; 0: none. The policy makes
 * room for it. */
uint32_t cart_arena_wanted_pages(const cart_arena_t *arena);
void cart_arena_forget_wanted(cart_arena_t *arena);
/* Whether that many pages lie free side by side (as an allocation would find them). */
bool cart_arena_has_run(cart_arena_t *arena, uint32_t pages);
uint32_t cart_arena_free_pages(const cart_arena_t *arena);

#define CART_ARENA_PAGE_BYTES 4096

size_t cart_arena_largest(const cart_arena_t *arena);
/* Bytes really taken for an allocation of `bytes` (its class). */
size_t cart_arena_class(size_t bytes);

typedef struct {
    size_t capacity_bytes; /* pages that can be handed out */
    size_t used_bytes;     /* pages handed out to classes and runs (slack included) */
    size_t live_bytes;     /* blocks in use, by class size */
    size_t touched_bytes;  /* high-water of pages ever used, with header and descriptors */
} cart_arena_usage_t;
void cart_arena_usage(const cart_arena_t *arena, cart_arena_usage_t *usage);

/* Tests: the next allocation but `countdown` fails, once; negative: never. Kept in the arena, no global. */
void cart_arena_fail_after(cart_arena_t *arena, int64_t countdown);
/* Executes the invariants; for tests. */
bool cart_arena_check(const cart_arena_t *arena);

#endif
