/*
 * See cart_arena.h for what it promises. How:
 *
 *   [head | page descriptors, 16 bytes each | padding to 64 | pages of 4096 bytes]
 *
 * A page is cut into blocks of one class (class page), or is part of a run: free, or used by one large block. Only the
 * first and the last descriptor of a run are kept true, so that joining free neighbours needs no walk and a new arena
 * touches two descriptors, however large it is.
 *
 * Class pages with room are on one of four lists of their class, by how full they are. Blocks come from the fullest
 * list: thin pages are left alone and become empty, and an empty page is a free run again, for any class. Inside a page,
 * freed blocks are chained through their first two bytes; blocks never used yet are not touched (`carved`).
 *
 * Free runs are on lists by length: exact up to 15 pages, then by power of two. A search looks at RUN_LOOKS_MAX runs of
 * the list that may hold a fit and otherwise takes the head of the next longer list: bounded, and single pages come
 * from the shortest runs.
 *
 * Invariants (cart_arena_check):
 *  1. Walking from page 0 by run lengths ends exactly at the last page; no two free runs touch.
 *  2. Every free run is on the list of its length, every class page with room on the list of its fullness, no full one.
 *  3. In a class page: live + chained + not carved = blocks of the page.
 *  4. used_pages and live_bytes are the sums over the walk.
 */
#include "cart/cart_arena.h"

#include <assert.h>

#define PAGE_BYTES       CART_ARENA_PAGE_BYTES
#define PAGE_UNITS       (PAGE_BYTES / CART_ARENA_UNIT)
#define PAGE_ALIGN       64 /* blocks of 64 bytes lie in one cache line */
#define SMALL_MAX        256
#define SMALL_CLASSES    (SMALL_MAX / CART_ARENA_UNIT)
#define MIDDLE_CLASSES   14
#define CLASSES          (SMALL_CLASSES + MIDDLE_CLASSES)
#define BLOCK_MAX        2048
#define QUARTERS         4
#define RUN_EXACT        16 /* lists 1…15 hold runs of that many pages */
#define RUN_LISTS        (RUN_EXACT + 28)
#define RUN_LOOKS_MAX    16
#define DENSER_LOOKS_MAX 8
#define NO_PAGE          UINT32_MAX
#define NO_BLOCK         UINT16_MAX
#define ARENA_MAGIC      0x41524e31U

/* Up to 256 bytes every multiple of 16 is a class. Above, 16 more bytes often leave as many blocks to a page as before, so
 * a class is the largest multiple of 16 of which 15, 14, 13, … 2 blocks fit into a page. */
static const uint16_t middle_class[MIDDLE_CLASSES] = {272, 288, 304, 336, 368,  400,  448,
                                                      512, 576, 672, 816, 1024, 1360, BLOCK_MAX};

enum { PAGE_FREE = 1, PAGE_RUN = 2, PAGE_CLASS = 3 };

typedef struct {
    uint8_t kind;
    uint8_t class_index;
    uint16_t live;
    union {
        struct {
            uint16_t chain;  /* first freed block, NO_BLOCK = none */
            uint16_t carved; /* blocks ever used */
        } cut;
        uint32_t pages; /* of a run; in its first and last descriptor */
    } u;
    uint32_t previous, next; /* on a list; NO_PAGE ends */
} page_t;

_Static_assert(sizeof(page_t) == 16, "0.4 % of the memory goes into descriptors");

struct cart_arena {
    uint32_t magic;
    uint32_t page_count;
    uint32_t pages_offset; /* in bytes */
    uint32_t used_pages;
    uint32_t touched_pages;
    uint32_t wanted_pages; /* of the last allocation that found no room; 0: none since */
    uint64_t live_bytes;
    int64_t fail_after;
    uint64_t run_map; /* bit i: free_runs[i] is not empty */
    uint32_t free_runs[RUN_LISTS];
    uint32_t partial[CLASSES][QUARTERS];
};

_Static_assert(RUN_LISTS <= 64, "one word maps the lists");

/* ---- sizes --------------------------------------------------------------------------------------------------------- */

static unsigned class_of(size_t bytes) {
    assert(bytes >= 1);
    assert(bytes <= BLOCK_MAX);
    if (bytes <= SMALL_MAX) return (unsigned)((bytes - 1) / CART_ARENA_UNIT);
    unsigned i = 0;
    while (middle_class[i] < bytes) i++;
    return SMALL_CLASSES + i;
}

static unsigned class_bytes(unsigned class_index) {
    return class_index < SMALL_CLASSES ? (class_index + 1) * CART_ARENA_UNIT
                                       : middle_class[class_index - SMALL_CLASSES];
}

static unsigned class_blocks(unsigned class_index) {
    return PAGE_BYTES / class_bytes(class_index);
}

static size_t run_pages(size_t bytes) {
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES;
}

size_t cart_arena_class(size_t bytes) {
    return bytes <= BLOCK_MAX ? class_bytes(class_of(bytes)) : run_pages(bytes) * PAGE_BYTES;
}

size_t cart_arena_largest(const cart_arena_t *arena) {
    return (size_t)arena->page_count * PAGE_BYTES;
}

/* ---- pages --------------------------------------------------------------------------------------------------------- */

static page_t *page_at(cart_arena_t *arena, uint32_t page) {
    assert(page < arena->page_count);
    return (page_t *)(void *)(arena + 1) + page;
}

static uint8_t *page_memory(cart_arena_t *arena, uint32_t page) {
    return (uint8_t *)arena + arena->pages_offset + (size_t)page * PAGE_BYTES;
}

static uint32_t page_of(const cart_arena_t *arena, cart_ref_t ref) {
    size_t offset = (size_t)ref * CART_ARENA_UNIT;
    assert(offset >= arena->pages_offset);
    return (uint32_t)((offset - arena->pages_offset) / PAGE_BYTES);
}

static void list_push(cart_arena_t *arena, uint32_t *head, uint32_t page) {
    page_t *descriptor = page_at(arena, page);
    descriptor->previous = NO_PAGE;
    descriptor->next = *head;
    if (*head != NO_PAGE) page_at(arena, *head)->previous = page;
    *head = page;
}

static void list_take(cart_arena_t *arena, uint32_t *head, uint32_t page) {
    page_t *descriptor = page_at(arena, page);
    if (descriptor->previous != NO_PAGE) {
        page_at(arena, descriptor->previous)->next = descriptor->next;
    } else {
        assert(*head == page);
        *head = descriptor->next;
    }
    if (descriptor->next != NO_PAGE) page_at(arena, descriptor->next)->previous = descriptor->previous;
}

/* ---- runs ---------------------------------------------------------------------------------------------------------- */

static unsigned run_list(uint32_t pages) {
    assert(pages >= 1);
    if (pages < RUN_EXACT) return pages;
    return RUN_EXACT + (31 - (unsigned)__builtin_clz(pages)) - 4;
}

static void run_mark(cart_arena_t *arena, uint32_t first, uint32_t pages, uint8_t kind) {
    page_t *head = page_at(arena, first);
    page_t *tail = page_at(arena, first + pages - 1);
    head->kind = tail->kind = kind;
    head->u.pages = tail->u.pages = pages;
}

static void run_list_push(cart_arena_t *arena, uint32_t first, uint32_t pages) {
    unsigned list = run_list(pages);
    run_mark(arena, first, pages, PAGE_FREE);
    list_push(arena, &arena->free_runs[list], first);
    arena->run_map |= UINT64_C(1) << list;
}

static void run_list_take(cart_arena_t *arena, uint32_t first) {
    unsigned list = run_list(page_at(arena, first)->u.pages);
    list_take(arena, &arena->free_runs[list], first);
    if (arena->free_runs[list] == NO_PAGE) arena->run_map &= ~(UINT64_C(1) << list);
}

static uint32_t run_find(cart_arena_t *arena, uint32_t pages) {
    unsigned list = run_list(pages);
    uint32_t candidate = arena->free_runs[list];
    for (unsigned looks = 0; candidate != NO_PAGE && looks < RUN_LOOKS_MAX; looks++) {
        if (page_at(arena, candidate)->u.pages >= pages) return candidate;
        candidate = page_at(arena, candidate)->next;
    }
    uint64_t longer = arena->run_map & ~((UINT64_C(2) << list) - 1);
    return longer == 0 ? NO_PAGE : arena->free_runs[__builtin_ctzll(longer)];
}

/* Cuts the run's front off. NO_PAGE: no room. */
static uint32_t run_alloc(cart_arena_t *arena, uint32_t pages) {
    uint32_t first = run_find(arena, pages);
    if (first == NO_PAGE) return NO_PAGE;
    uint32_t had = page_at(arena, first)->u.pages;
    assert(had >= pages);
    run_list_take(arena, first);
    if (had > pages) run_list_push(arena, first + pages, had - pages);
    arena->used_pages += pages;
    if (first + pages > arena->touched_pages) arena->touched_pages = first + pages;
    return first;
}

/* Pages of a run: a class page is a run of one. */
static uint32_t run_length(cart_arena_t *arena, uint32_t page) {
    const page_t *descriptor = page_at(arena, page);
    return descriptor->kind == PAGE_CLASS ? 1 : descriptor->u.pages;
}

static void run_free(cart_arena_t *arena, uint32_t first, uint32_t pages) {
    assert(arena->used_pages >= pages);
    arena->used_pages -= pages;
    uint32_t end = first + pages;
    if (end < arena->page_count && page_at(arena, end)->kind == PAGE_FREE) {
        uint32_t behind = run_length(arena, end);
        run_list_take(arena, end);
        end += behind;
    }
    if (first > 0 && page_at(arena, first - 1)->kind == PAGE_FREE) {
        uint32_t before = run_length(arena, first - 1);
        first -= before;
        run_list_take(arena, first);
    }
    run_list_push(arena, first, end - first);
}

/* ---- blocks -------------------------------------------------------------------------------------------------------- */

/* 0: thinnest … 3: fullest. Only for pages with room. */
static unsigned quarter_of(const page_t *page) {
    return page->live * QUARTERS / class_blocks(page->class_index);
}

static cart_ref_t block_take(cart_arena_t *arena, uint32_t page) {
    page_t *descriptor = page_at(arena, page);
    unsigned class_index = descriptor->class_index;
    unsigned blocks = class_blocks(class_index);
    unsigned before = quarter_of(descriptor);
    unsigned block = descriptor->u.cut.chain;
    uint8_t *memory = page_memory(arena, page);
    if (block != NO_BLOCK) {
        assert(block < descriptor->u.cut.carved);
        memcpy(&descriptor->u.cut.chain, memory + block * class_bytes(class_index), sizeof(uint16_t));
    } else {
        block = descriptor->u.cut.carved++;
        assert(block < blocks);
    }
    descriptor->live++;
    if (descriptor->live == blocks || quarter_of(descriptor) != before) {
        list_take(arena, &arena->partial[class_index][before], page);
        if (descriptor->live < blocks) list_push(arena, &arena->partial[class_index][quarter_of(descriptor)], page);
    }
    arena->live_bytes += class_bytes(class_index);
    size_t offset = (size_t)(memory - (uint8_t *)arena) + (size_t)block * class_bytes(class_index);
    return (cart_ref_t)(offset / CART_ARENA_UNIT);
}

static uint32_t page_with_room(cart_arena_t *arena, unsigned class_index) {
    for (unsigned quarter = QUARTERS; quarter-- > 0;) {
        if (arena->partial[class_index][quarter] != NO_PAGE) return arena->partial[class_index][quarter];
    }
    uint32_t page = run_alloc(arena, 1);
    if (page == NO_PAGE) return NO_PAGE;
    page_t *descriptor = page_at(arena, page);
    descriptor->kind = PAGE_CLASS;
    descriptor->class_index = (uint8_t)class_index;
    descriptor->live = 0;
    descriptor->u.cut.chain = NO_BLOCK;
    descriptor->u.cut.carved = 0;
    list_push(arena, &arena->partial[class_index][0], page);
    return page;
}

static void block_free(cart_arena_t *arena, uint32_t page, cart_ref_t ref) {
    page_t *descriptor = page_at(arena, page);
    unsigned class_index = descriptor->class_index;
    unsigned blocks = class_blocks(class_index);
    uint8_t *memory = page_memory(arena, page);
    uint8_t *at = cart_arena_at(arena, ref);
    unsigned block = (unsigned)((size_t)(at - memory) / class_bytes(class_index));
    assert((size_t)(at - memory) % class_bytes(class_index) == 0);
    assert(descriptor->live > 0);
    bool was_full = descriptor->live == blocks;
    unsigned before = was_full ? 0 : quarter_of(descriptor);
    memcpy(at, &descriptor->u.cut.chain, sizeof(uint16_t));
    descriptor->u.cut.chain = (uint16_t)block;
    descriptor->live--;
    arena->live_bytes -= class_bytes(class_index);
    if (was_full || descriptor->live == 0 || quarter_of(descriptor) != before) {
        if (!was_full) list_take(arena, &arena->partial[class_index][before], page);
        if (descriptor->live == 0) {
            run_free(arena, page, 1);
        } else {
            list_push(arena, &arena->partial[class_index][quarter_of(descriptor)], page);
        }
    }
}

/* ---- public -------------------------------------------------------------------------------------------------------- */

cart_arena_t *cart_arena_init(void *memory, size_t bytes) {
    if (bytes < CART_ARENA_BYTES_MIN || bytes > CART_ARENA_BYTES_MAX || (uintptr_t)memory % CART_ARENA_UNIT != 0) {
        return NULL;
    }
    /* As many pages as fit with their descriptors and the padding. */
    size_t head = sizeof(cart_arena_t) + PAGE_ALIGN;
    size_t count = (bytes - head) / (PAGE_BYTES + sizeof(page_t));
    size_t offset = sizeof(cart_arena_t) + count * sizeof(page_t);
    size_t past = ((uintptr_t)memory + offset) % PAGE_ALIGN;
    if (past != 0) offset += PAGE_ALIGN - past;
    assert(offset + count * PAGE_BYTES <= bytes);
    assert(offset <= UINT32_MAX);

    cart_arena_t *arena = memory;
    memset(arena, 0, sizeof(*arena));
    arena->magic = ARENA_MAGIC;
    arena->page_count = (uint32_t)count;
    arena->pages_offset = (uint32_t)offset;
    arena->fail_after = -1;
    memset(arena->free_runs, 0xff, sizeof(arena->free_runs));
    memset(arena->partial, 0xff, sizeof(arena->partial));
    run_list_push(arena, 0, arena->page_count);
    return arena;
}

static bool made_to_fail(cart_arena_t *arena) {
    if (arena->fail_after < 0) return false;
    return arena->fail_after-- == 0;
}

cart_ref_t cart_arena_alloc(cart_arena_t *arena, size_t bytes) {
    assert(arena->magic == ARENA_MAGIC);
    assert(bytes >= 1);
    if (made_to_fail(arena)) return CART_NO_REF;
    if (bytes <= BLOCK_MAX) {
        uint32_t page = page_with_room(arena, class_of(bytes));
        if (page != NO_PAGE) return block_take(arena, page);
        if (arena->wanted_pages == 0) arena->wanted_pages = 1;
        return CART_NO_REF;
    }
    if (bytes > cart_arena_largest(arena)) return CART_NO_REF;
    uint32_t pages = (uint32_t)run_pages(bytes);
    uint32_t first = run_alloc(arena, pages);
    if (first == NO_PAGE) {
        if (arena->wanted_pages < pages) arena->wanted_pages = pages;
        return CART_NO_REF;
    }
    run_mark(arena, first, pages, PAGE_RUN);
    arena->live_bytes += (uint64_t)pages * PAGE_BYTES;
    return (cart_ref_t)((arena->pages_offset + (size_t)first * PAGE_BYTES) / CART_ARENA_UNIT);
}

void cart_arena_free(cart_arena_t *arena, cart_ref_t ref, size_t bytes) {
    assert(arena->magic == ARENA_MAGIC);
    assert(ref != CART_NO_REF);
    uint32_t page = page_of(arena, ref);
    const page_t *descriptor = page_at(arena, page);
    if (bytes <= BLOCK_MAX) {
        assert(descriptor->kind == PAGE_CLASS);
        assert(descriptor->class_index == class_of(bytes));
        block_free(arena, page, ref);
        return;
    }
    uint32_t pages = (uint32_t)run_pages(bytes);
    assert(descriptor->kind == PAGE_RUN);
    assert(descriptor->u.pages == pages);
    arena->live_bytes -= (uint64_t)pages * PAGE_BYTES;
    run_free(arena, page, pages);
}

cart_ref_t cart_arena_denser(cart_arena_t *arena, cart_ref_t ref, size_t bytes) {
    assert(ref != CART_NO_REF);
    if (bytes > BLOCK_MAX) return CART_NO_REF;
    uint32_t page = page_of(arena, ref);
    const page_t *from = page_at(arena, page);
    assert(from->kind == PAGE_CLASS);
    assert(from->class_index == class_of(bytes));
    if (from->live == class_blocks(from->class_index)) return CART_NO_REF;
    for (unsigned quarter = QUARTERS; quarter-- > quarter_of(from);) {
        uint32_t target = arena->partial[from->class_index][quarter];
        for (unsigned looks = 0; target != NO_PAGE && looks < DENSER_LOOKS_MAX; looks++) {
            const page_t *to = page_at(arena, target);
            /* Of two equally full pages the one with the lesser number is filled: nothing moves back and forth. */
            bool is_denser = to->live > from->live || (to->live == from->live && target < page);
            if (is_denser && target != page) return block_take(arena, target);
            target = to->next;
        }
    }
    return CART_NO_REF;
}

uint32_t cart_arena_wanted_pages(const cart_arena_t *arena) {
    return arena->wanted_pages;
}

void cart_arena_forget_wanted(cart_arena_t *arena) {
    arena->wanted_pages = 0;
}

bool cart_arena_has_run(cart_arena_t *arena, uint32_t pages) {
    return run_find(arena, pages) != NO_PAGE;
}

uint32_t cart_arena_free_pages(const cart_arena_t *arena) {
    return arena->page_count - arena->used_pages;
}

void cart_arena_usage(const cart_arena_t *arena, cart_arena_usage_t *usage) {
    assert(arena->magic == ARENA_MAGIC);
    usage->capacity_bytes = (size_t)arena->page_count * PAGE_BYTES;
    usage->used_bytes = (size_t)arena->used_pages * PAGE_BYTES;
    usage->live_bytes = (size_t)arena->live_bytes;
    usage->touched_bytes = sizeof(*arena) + (size_t)arena->touched_pages * (sizeof(page_t) + PAGE_BYTES);
}

void cart_arena_fail_after(cart_arena_t *arena, int64_t countdown) {
    arena->fail_after = countdown;
}

/* ---- the invariants, executed -------------------------------------------------------------------------------------- */

static bool check_class_page(cart_arena_t *arena, uint32_t page) {
    const page_t *descriptor = page_at(arena, page);
    if (descriptor->class_index >= CLASSES) return false;
    unsigned bytes = class_bytes(descriptor->class_index);
    unsigned blocks = class_blocks(descriptor->class_index);
    if (descriptor->live == 0 || descriptor->live > blocks || descriptor->u.cut.carved > blocks) return false;
    unsigned chained = 0;
    for (uint16_t block = descriptor->u.cut.chain; block != NO_BLOCK; chained++) {
        if (block >= descriptor->u.cut.carved || chained >= blocks) return false;
        memcpy(&block, page_memory(arena, page) + block * bytes, sizeof(block));
    }
    return descriptor->live + chained == descriptor->u.cut.carved;
}

/* Counts a list's pages and checks that each belongs there. SIZE_MAX: broken. */
static size_t check_list(cart_arena_t *arena, uint32_t head, bool runs, unsigned index, unsigned quarter) {
    size_t count = 0;
    uint32_t previous = NO_PAGE;
    for (uint32_t page = head; page != NO_PAGE; page = page_at(arena, page)->next) {
        if (page >= arena->page_count || count++ > arena->page_count) return SIZE_MAX;
        const page_t *descriptor = page_at(arena, page);
        if (descriptor->previous != previous) return SIZE_MAX;
        previous = page;
        if (runs) {
            if (descriptor->kind != PAGE_FREE || run_list(descriptor->u.pages) != index) return SIZE_MAX;
        } else if (descriptor->kind != PAGE_CLASS || descriptor->class_index != index ||
                   descriptor->live == class_blocks(index) || quarter_of(descriptor) != quarter) {
            return SIZE_MAX;
        }
    }
    return count;
}

static bool check_lists(cart_arena_t *arena, size_t free_runs, size_t partial_pages) {
    size_t found_runs = 0;
    for (unsigned list = 0; list < RUN_LISTS; list++) {
        size_t count = check_list(arena, arena->free_runs[list], true, list, 0);
        if (count == SIZE_MAX || (count > 0) != ((arena->run_map >> list & 1) == 1)) return false;
        found_runs += count;
    }
    size_t found_pages = 0;
    for (unsigned i = 0; i < CLASSES * QUARTERS; i++) {
        unsigned class_index = i / QUARTERS;
        unsigned quarter = i % QUARTERS;
        size_t count = check_list(arena, arena->partial[class_index][quarter], false, class_index, quarter);
        if (count == SIZE_MAX) return false;
        found_pages += count;
    }
    return found_runs == free_runs && found_pages == partial_pages;
}

bool cart_arena_check(const cart_arena_t *constant) {
    /* The helpers hand out writable descriptors; nothing is written here. */
    union {
        const cart_arena_t *constant;
        cart_arena_t *arena;
    } cast = {constant};
    cart_arena_t *arena = cast.arena;
    if (arena->magic != ARENA_MAGIC || arena->used_pages > arena->page_count) return false;

    size_t free_runs = 0;
    size_t partial_pages = 0;
    uint64_t used = 0;
    uint64_t live = 0;
    bool after_free = false;
    uint32_t page = 0;
    while (page < arena->page_count) {
        const page_t *descriptor = page_at(arena, page);
        uint32_t pages = run_length(arena, page);
        if (pages == 0 || pages > arena->page_count - page) return false;
        const page_t *last = page_at(arena, page + pages - 1);
        if (last->kind != descriptor->kind || run_length(arena, page + pages - 1) != pages) return false;
        if (descriptor->kind == PAGE_FREE) {
            if (after_free) return false;
            free_runs++;
        } else {
            used += pages;
        }
        if (descriptor->kind == PAGE_CLASS) {
            if (!check_class_page(arena, page)) return false;
            unsigned class_index = descriptor->class_index;
            live += (uint64_t)descriptor->live * class_bytes(class_index);
            if (descriptor->live < class_blocks(class_index)) partial_pages++;
        } else if (descriptor->kind == PAGE_RUN) {
            live += (uint64_t)pages * PAGE_BYTES;
        } else if (descriptor->kind != PAGE_FREE) {
            return false;
        }
        after_free = descriptor->kind == PAGE_FREE;
        page += pages;
    }
    return used == arena->used_pages && live == arena->live_bytes && check_lists(arena, free_runs, partial_pages);
}
