/*
 * See cart_table.h. Layout, in the caller's memory:
 *
 *   [head | padding to 64 | buckets, u32 each | padding to 64 | arena to the end]
 *
 * There are 1.25 buckets for each entry expected, so that a find meets 1.4 entries on the average and costs one cache
 * miss for the bucket and mostly one for the entry.
 *
 * Invariants (cart_table_check):
 *  1. Every entry is in exactly the bucket of its user, and once on the list; both hold `count` entries.
 *  2. The list is linked both ways; `oldest` has no older, `newest` no newer.
 *  3. A hand is CART_NO_REF or on the list.
 *  4. An entry has an image block exactly when image_length > 0.
 */
#include "cart/cart_table.h"

#include <assert.h>

#define TABLE_MAGIC 0x43545431U
#define TABLE_ALIGN 64
#define BUCKETS_MIN 16
#define BUCKETS_MAX UINT32_MAX

struct cart_table {
    uint32_t magic;
    uint32_t bucket_count;
    uint64_t seed;
    uint64_t arena_offset; /* in bytes */
    uint64_t arena_bytes;
    uint32_t buckets_offset; /* in bytes */
    uint32_t entry_bytes;
    uint32_t count;
    cart_ref_t newest, oldest;
    cart_ref_t hands[CART_HANDS];
};

cart_arena_t *cart_table_arena(cart_table_t *table) {
    return (cart_arena_t *)(void *)((uint8_t *)table + table->arena_offset);
}

static cart_ref_t *buckets(cart_table_t *table) {
    return (cart_ref_t *)(void *)((uint8_t *)table + table->buckets_offset);
}

static cart_entry_t *entry_at(cart_table_t *table, cart_ref_t ref) {
    return ref == CART_NO_REF ? NULL : cart_arena_at(cart_table_arena(table), ref);
}

static cart_ref_t ref_of(cart_table_t *table, const cart_entry_t *entry) {
    size_t offset = (size_t)((const uint8_t *)entry - (const uint8_t *)cart_table_arena(table));
    return (cart_ref_t)(offset / CART_ARENA_UNIT);
}

/* Multiply-and-fold over the whole id: a user cannot choose his id, and does not know the seed. The high half of a
 * 64-bit product with the number of buckets spreads evenly over any number of them. */
static cart_ref_t *bucket_of(cart_table_t *table, const cart_id_t *user) {
    uint64_t low;
    uint64_t high;
    memcpy(&low, user->bytes, sizeof(low));
    memcpy(&high, user->bytes + sizeof(low), sizeof(high));
    uint64_t mixed = (low ^ table->seed) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 32 ^ high) * UINT64_C(0xd6e8feb86659fd93);
    uint64_t slot = (mixed >> 32) * table->bucket_count >> 32;
    return buckets(table) + slot;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static size_t align_up(size_t value) {
    return (value + TABLE_ALIGN - 1) / TABLE_ALIGN * TABLE_ALIGN;
}

cart_table_t *cart_table_init(void *memory, size_t bytes, size_t extra_bytes, size_t bytes_per_entry_hint,
                              uint64_t seed) {
    assert(bytes_per_entry_hint > 0);
    assert((uintptr_t)memory % CART_ARENA_UNIT == 0);
    size_t count = bytes / bytes_per_entry_hint;
    count += count / 4;
    if (count < BUCKETS_MIN) count = BUCKETS_MIN;
    if (count > BUCKETS_MAX) count = BUCKETS_MAX;
    size_t buckets_offset = align_up(sizeof(cart_table_t));
    size_t arena_offset = align_up(buckets_offset + count * sizeof(cart_ref_t));
    if (arena_offset + CART_ARENA_BYTES_MIN > bytes) return NULL;

    cart_table_t *table = memory;
    memset(table, 0, sizeof(*table));
    table->bucket_count = (uint32_t)count;
    table->seed = seed;
    table->arena_offset = arena_offset;
    table->arena_bytes = bytes - arena_offset;
    if (table->arena_bytes > CART_ARENA_BYTES_MAX) table->arena_bytes = CART_ARENA_BYTES_MAX;
    table->buckets_offset = (uint32_t)buckets_offset;
    table->entry_bytes = (uint32_t)(sizeof(cart_entry_t) + extra_bytes);
    table->magic = TABLE_MAGIC;
    if (table->entry_bytes > CART_ARENA_PAGE_BYTES / 2) return NULL;
    cart_table_empty(table);
    return table;
}

void cart_table_empty(cart_table_t *table) {
    assert(table->magic == TABLE_MAGIC);
    table->count = 0;
    table->newest = table->oldest = CART_NO_REF;
    memset(table->hands, 0, sizeof(table->hands));
    memset(buckets(table), 0, (size_t)table->bucket_count * sizeof(cart_ref_t));
    cart_arena_t *arena = cart_arena_init(cart_table_arena(table), (size_t)table->arena_bytes);
    assert(arena == cart_table_arena(table));
    (void)arena; /* init tells only what was checked when the table was laid out */
}

/* ---- the list ------------------------------------------------------------------------------------------------------ */

static void hands_leave(cart_table_t *table, cart_ref_t ref, cart_ref_t to) {
    for (unsigned i = 0; i < CART_HANDS; i++) {
        if (table->hands[i] == ref) table->hands[i] = to;
    }
}

static void list_push(cart_table_t *table, cart_entry_t *entry, cart_ref_t ref) {
    entry->newer = CART_NO_REF;
    entry->older = table->newest;
    if (table->newest != CART_NO_REF) {
        entry_at(table, table->newest)->newer = ref;
    } else {
        table->oldest = ref;
    }
    table->newest = ref;
}

static void list_take(cart_table_t *table, cart_entry_t *entry, cart_ref_t ref) {
    hands_leave(table, ref, entry->newer);
    if (entry->newer != CART_NO_REF) {
        entry_at(table, entry->newer)->older = entry->older;
    } else {
        assert(table->newest == ref);
        table->newest = entry->older;
    }
    if (entry->older != CART_NO_REF) {
        entry_at(table, entry->older)->newer = entry->newer;
    } else {
        assert(table->oldest == ref);
        table->oldest = entry->newer;
    }
}

void cart_table_refresh(cart_table_t *table, cart_entry_t *entry) {
    cart_ref_t ref = ref_of(table, entry);
    if (table->newest == ref) return;
    list_take(table, entry, ref);
    list_push(table, entry, ref);
}

cart_entry_t *cart_table_hand(cart_table_t *table, cart_hand_t hand) {
    assert((unsigned)hand < CART_HANDS);
    cart_ref_t ref = table->hands[hand] != CART_NO_REF ? table->hands[hand] : table->oldest;
    if (ref == CART_NO_REF) return NULL;
    cart_entry_t *entry = entry_at(table, ref);
    table->hands[hand] = entry->newer;
    return entry;
}

void cart_table_hand_to_oldest(cart_table_t *table, cart_hand_t hand) {
    assert((unsigned)hand < CART_HANDS);
    table->hands[hand] = CART_NO_REF;
}

cart_entry_t *cart_table_older_first(cart_table_t *table, cart_entry_t *previous) {
    return entry_at(table, previous == NULL ? table->oldest : previous->newer);
}

uint32_t cart_table_count(const cart_table_t *table) {
    return table->count;
}

/* ---- entries ------------------------------------------------------------------------------------------------------- */

cart_entry_t *cart_table_find(cart_table_t *table, const cart_id_t *user) {
    assert(table->magic == TABLE_MAGIC);
    cart_arena_t *arena = cart_table_arena(table);
    for (cart_ref_t ref = *bucket_of(table, user); ref != CART_NO_REF;) {
        cart_entry_t *entry = cart_arena_at(arena, ref);
        if (cart_id_equal(&entry->user, user)) {
            /* Who looks a cart up reads it next: its block comes in while the caller looks at the entry. */
            __builtin_prefetch(cart_arena_at(arena, entry->image));
            return entry;
        }
        ref = entry->next;
    }
    return NULL;
}

/* The word that points at the entry: its bucket, or the `next` before it. */
static cart_ref_t *link_to(cart_table_t *table, const cart_entry_t *entry, cart_ref_t ref) {
    cart_ref_t *link = bucket_of(table, &entry->user);
    while (*link != ref) {
        assert(*link != CART_NO_REF);
        link = &entry_at(table, *link)->next;
    }
    return link;
}

cart_entry_t *cart_table_insert(cart_table_t *table, const cart_id_t *user) {
    assert(cart_table_find(table, user) == NULL);
    cart_ref_t ref = cart_arena_alloc(cart_table_arena(table), table->entry_bytes);
    if (ref == CART_NO_REF) return NULL;
    cart_entry_t *entry = entry_at(table, ref);
    memset(entry, 0, table->entry_bytes);
    entry->user = *user;
    cart_ref_t *bucket = bucket_of(table, user);
    entry->next = *bucket;
    *bucket = ref;
    list_push(table, entry, ref);
    table->count++;
    return entry;
}

void cart_table_remove(cart_table_t *table, cart_entry_t *entry) {
    assert(table->magic == TABLE_MAGIC);
    assert(table->count > 0);
    cart_ref_t ref = ref_of(table, entry);
    *link_to(table, entry, ref) = entry->next;
    list_take(table, entry, ref);
    table->count--;
    if (entry->image_length > 0) cart_arena_free(cart_table_arena(table), entry->image, entry->image_length);
    cart_arena_free(cart_table_arena(table), ref, table->entry_bytes);
}

/* ---- blocks -------------------------------------------------------------------------------------------------------- */

bool cart_table_replace(cart_table_t *table, cart_ref_t *ref, uint32_t *length, const uint8_t *bytes,
                        size_t new_length) {
    assert((*length == 0) == (*ref == CART_NO_REF));
    assert(new_length <= UINT32_MAX);
    cart_arena_t *arena = cart_table_arena(table);
    if (new_length > 0 && *length > 0 && cart_arena_class(new_length) == cart_arena_class(*length)) {
        /* Same block: most changes of a quantity. memmove, for bytes may be the block's own. */
        memmove(cart_arena_at(arena, *ref), bytes, new_length);
        *length = (uint32_t)new_length;
        return true;
    }
    cart_ref_t fresh = CART_NO_REF;
    if (new_length > 0) {
        fresh = cart_arena_alloc(arena, new_length);
        if (fresh == CART_NO_REF) return false;
        memcpy(cart_arena_at(arena, fresh), bytes, new_length);
    }
    if (*length > 0) cart_arena_free(arena, *ref, *length);
    *ref = fresh;
    *length = (uint32_t)new_length;
    return true;
}

bool cart_table_set_image(cart_table_t *table, cart_entry_t *entry, const uint8_t *bytes, size_t length) {
    assert(length <= UINT16_MAX);
    uint32_t image_length = entry->image_length;
    if (!cart_table_replace(table, &entry->image, &image_length, bytes, length)) return false;
    entry->image_length = (uint16_t)image_length;
    return true;
}

const uint8_t *cart_table_image(cart_table_t *table, const cart_entry_t *entry) {
    return entry->image_length == 0 ? NULL : cart_arena_at(cart_table_arena(table), entry->image);
}

size_t cart_table_entry_bytes(const cart_table_t *table, const cart_entry_t *entry) {
    size_t bytes = cart_arena_class(table->entry_bytes);
    if (entry->image_length > 0) bytes += cart_arena_class(entry->image_length);
    return bytes;
}

bool cart_table_tidy_image(cart_table_t *table, cart_entry_t *entry) {
    if (entry->image_length == 0) return false;
    cart_arena_t *arena = cart_table_arena(table);
    cart_ref_t fresh = cart_arena_denser(arena, entry->image, entry->image_length);
    if (fresh == CART_NO_REF) return false;
    memcpy(cart_arena_at(arena, fresh), cart_arena_at(arena, entry->image), entry->image_length);
    cart_arena_free(arena, entry->image, entry->image_length);
    entry->image = fresh;
    return true;
}

cart_entry_t *cart_table_tidy_entry(cart_table_t *table, cart_entry_t *entry) {
    cart_arena_t *arena = cart_table_arena(table);
    cart_ref_t old = ref_of(table, entry);
    cart_ref_t fresh = cart_arena_denser(arena, old, table->entry_bytes);
    if (fresh == CART_NO_REF) return NULL;
    cart_entry_t *moved = cart_arena_at(arena, fresh);
    memcpy(moved, entry, table->entry_bytes);
    *link_to(table, entry, old) = fresh;
    hands_leave(table, old, fresh);
    if (moved->newer != CART_NO_REF) {
        entry_at(table, moved->newer)->older = fresh;
    } else {
        table->newest = fresh;
    }
    if (moved->older != CART_NO_REF) {
        entry_at(table, moved->older)->newer = fresh;
    } else {
        table->oldest = fresh;
    }
    cart_arena_free(arena, old, table->entry_bytes);
    return moved;
}

/* ---- the invariants, executed -------------------------------------------------------------------------------------- */

static bool check_list(cart_table_t *table) {
    unsigned hands_found = 0;
    for (unsigned i = 0; i < CART_HANDS; i++) hands_found += table->hands[i] == CART_NO_REF;
    uint32_t count = 0;
    cart_ref_t older = CART_NO_REF;
    for (cart_ref_t ref = table->oldest; ref != CART_NO_REF; ref = entry_at(table, ref)->newer) {
        const cart_entry_t *entry = entry_at(table, ref);
        if (count++ >= table->count || entry->older != older) return false;
        if ((entry->image_length > 0) != (entry->image != CART_NO_REF)) return false;
        if (cart_table_find(table, &entry->user) != entry) return false;
        for (unsigned i = 0; i < CART_HANDS; i++) hands_found += table->hands[i] == ref;
        older = ref;
    }
    return count == table->count && table->newest == older && hands_found == CART_HANDS;
}

bool cart_table_check(cart_table_t *table) {
    if (table->magic != TABLE_MAGIC) return false;
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->bucket_count; i++) {
        for (cart_ref_t ref = buckets(table)[i]; ref != CART_NO_REF; ref = entry_at(table, ref)->next) {
            if (count++ >= table->count) return false;
            if (bucket_of(table, &entry_at(table, ref)->user) != buckets(table) + i) return false;
        }
    }
    return count == table->count && check_list(table) && cart_arena_check(cart_table_arena(table));
}
