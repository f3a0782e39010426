#include "edge/edge_books.h"

#include <assert.h>

#include "cart/cart_arena.h"
#include "edge/edge_mix.h"
#include "edge/edge_out.h"
#include "edge/edge_seq.h"

/*
 * | offset        | bytes         | what |
 * | 0             | 64            | the lock |
 * | 64            | 128           | head |
 * | 192           | 4 × 1024      | sequence numbers, one a stripe |
 * | behind        | 4 × buckets   | arena references of chains |
 * | page boundary | the rest      | cart_arena: entries |
 */
#define MAGIC          UINT64_C(0x736b6f6f62656431) /* "1debooks" */
#define LAYOUT         1
#define CHAIN_MAX      64 /* steps a reader takes: a chain seen half written may be a circle */
#define BYTES_PER_BOOK 256

typedef struct {
    edge_book_t book;
    cart_ref_t next;
    uint32_t round; /* of the full list that named it last */
    char text[];
} entry_t;

struct edge_books_memory {
    _Alignas(64) uint8_t lock[CART_ZONE_LOCK_BYTES];
    uint64_t magic;
    uint32_t layout;
    uint32_t bucket_count; /* power of two, ≥ EDGE_BOOKS_STRIPES */
    uint64_t bytes, arena_at;
    uint64_t generation;
    _Atomic uint64_t position;
    uint64_t count, evicted;
    uint32_t round, evict_hand;
    uint32_t building, ready;
    uint32_t emptied;
    uint32_t foreign; /* the list being built is of another store than what was here before */
    _Alignas(64) _Atomic uint32_t sequences[EDGE_BOOKS_STRIPES];
    cart_ref_t buckets[];
};
_Static_assert(EDGE_BOOKS_TEXT_MAX <= UINT16_MAX, "text_length holds it");

static cart_arena_t *arena_of(const edge_books_memory_t *memory) {
    uintptr_t at = (uintptr_t)memory + memory->arena_at;
    return (cart_arena_t *)at; /* the block is ours to write; only the handle may be const */
}

static void layout_for(size_t bytes, uint32_t *buckets, size_t *arena_at) {
    uint32_t count = EDGE_BOOKS_STRIPES;
    while ((size_t)count * BYTES_PER_BOOK < bytes && count < (1U << 26)) count *= 2;
    *buckets = count;
    *arena_at = (sizeof(edge_books_memory_t) + (size_t)count * sizeof(cart_ref_t) + 4095) & ~(size_t)4095;
}

bool edge_books_init(edge_books_t *books, void *memory, size_t bytes) {
    if (bytes < EDGE_BOOKS_BYTES_MIN) return false;
    edge_books_memory_t *head = memory;
    size_t arena_at;
    books->memory = head;
    head->layout = LAYOUT;
    head->bytes = bytes;
    layout_for(bytes, &head->bucket_count, &arena_at);
    head->arena_at = arena_at;
    if (cart_arena_init((char *)memory + arena_at, bytes - arena_at) == NULL) return false;
    books->locks.init(books->locks.context, head->lock);
    head->magic = MAGIC;
    return true;
}

bool edge_books_attach(edge_books_t *books, void *memory, size_t bytes) {
    edge_books_memory_t *head = memory;
    if (bytes < EDGE_BOOKS_BYTES_MIN || head->magic != MAGIC || head->layout != LAYOUT || head->bytes != bytes) {
        return false;
    }
    books->memory = head;
    return true;
}

/* Under the lock: everything goes, readers see misses. */
static void reset(edge_books_memory_t *memory) {
    for (unsigned i = 0; i < EDGE_BOOKS_STRIPES; i++) edge_seq_write_begin(&memory->sequences[i]);
    memset(memory->buckets, 0, memory->bucket_count * sizeof(cart_ref_t));
    void *arena = arena_of(memory);
    (void)cart_arena_init(arena, memory->bytes - memory->arena_at); /* as at the start: cannot fail */
    memory->generation = 0;
    atomic_store(&memory->position, 0);
    memory->count = 0;
    memory->building = 0;
    memory->ready = 0;
    memory->emptied = 1;
    for (unsigned i = 0; i < EDGE_BOOKS_STRIPES; i++) edge_seq_write_end(&memory->sequences[i]);
}

static void take_lock(edge_books_t *books) {
    if (books->locks.lock(books->locks.context, books->memory->lock) == CART_LOCK_OWNER_DIED) reset(books->memory);
}

static void give_lock(edge_books_t *books) {
    books->locks.unlock(books->locks.context, books->memory->lock);
}

static uint32_t bucket_of(const edge_books_memory_t *memory, uint64_t id) {
    return (uint32_t)edge_mix(id, UINT64_C(0x9e3779b97f4a7c15)) & (memory->bucket_count - 1);
}

static _Atomic uint32_t *sequence_of(edge_books_memory_t *memory, uint32_t bucket) {
    return &memory->sequences[bucket & (EDGE_BOOKS_STRIPES - 1)];
}

/* An entry as a reader may look at it: NULL when the reference points outside. */
static const entry_t *entry_within(const edge_books_memory_t *memory, cart_ref_t ref) {
    size_t size = memory->bytes - memory->arena_at;
    size_t at = (size_t)ref * CART_ARENA_UNIT;
    if (ref == CART_NO_REF || at > size - sizeof(entry_t)) return NULL;
    return (const entry_t *)((const char *)arena_of(memory) + at);
}

static edge_book_found_t copy_out(const edge_books_memory_t *memory, const entry_t *entry, edge_book_t *book,
                                  char *text, size_t capacity) {
    *book = entry->book;
    size_t length = book->text_length;
    const char *end = (const char *)memory + memory->bytes;
    if (length > EDGE_BOOKS_TEXT_MAX || (size_t)(end - entry->text) < length) return EDGE_BOOK_MISSING; /* torn */
    if (length > capacity) return EDGE_BOOK_NO_ROOM;
    memcpy(text, entry->text, length);
    return EDGE_BOOK_FOUND;
}

static edge_book_found_t find(const edge_books_memory_t *memory, uint32_t bucket, uint64_t id, edge_book_t *book,
                              char *text, size_t capacity) {
    cart_ref_t ref = memory->buckets[bucket];
    for (unsigned step = 0; step < CHAIN_MAX; step++) {
        const entry_t *entry = entry_within(memory, ref);
        if (entry == NULL) return EDGE_BOOK_MISSING;
        if (entry->book.book == id) return copy_out(memory, entry, book, text, capacity);
        ref = entry->next;
    }
    return EDGE_BOOK_MISSING;
}

void edge_books_expect(const edge_books_t *books, const cart_line_t *lines, unsigned count) {
    const edge_books_memory_t *memory = books->memory;
    uint32_t buckets[EDGE_BOOKS_EXPECT_MAX];
    if (count > EDGE_BOOKS_EXPECT_MAX) count = EDGE_BOOKS_EXPECT_MAX;
    for (unsigned i = 0; i < count; i++) {
        buckets[i] = bucket_of(memory, lines[i].book);
        __builtin_prefetch(&memory->buckets[buckets[i]]);
    }
    for (unsigned i = 0; i < count; i++) {
        /* Read outside the sequence: a reference that is torn or stale only fetches a line in vain. */
        const char *entry = (const char *)entry_within(memory, memory->buckets[buckets[i]]);
        if (entry == NULL) continue;
        for (unsigned at = 0; at < EDGE_BOOKS_EXPECT_BYTES; at += 64) __builtin_prefetch(entry + at);
    }
}

edge_book_found_t edge_books_read(edge_books_t *books, uint64_t id, edge_book_t *book, char *text, size_t capacity) {
    edge_books_memory_t *memory = books->memory;
    uint32_t bucket = bucket_of(memory, id);
    _Atomic uint32_t *sequence = sequence_of(memory, bucket);
    for (unsigned tries = 0; tries < EDGE_SEQ_TRIES_MAX; tries++) {
        uint32_t before;
        if (!edge_seq_read_begin(sequence, &before)) continue;
        edge_book_found_t found = find(memory, bucket, id, book, text, capacity);
        if (edge_seq_read_end(sequence, before)) return found;
    }
    /* A slow writer or a dead one: the lock tells, and empties what the dead left. */
    take_lock(books);
    edge_book_found_t found = find(memory, bucket, id, book, text, capacity);
    give_lock(books);
    return found;
}

/* ---- writing, under the lock --------------------------------------------------------------------------------------- */
static entry_t *entry_at(edge_books_memory_t *memory, cart_ref_t ref) {
    return cart_arena_at(arena_of(memory), ref);
}
static size_t entry_bytes(const entry_t *entry) {
    return sizeof(entry_t) + entry->book.text_length;
}

/* Where the reference to the book stands: its bucket, or its predecessor's `next`. *link is CART_NO_REF: absent. */
static cart_ref_t *link_of(edge_books_memory_t *memory, uint32_t bucket, uint64_t id) {
    cart_ref_t *link = &memory->buckets[bucket];
    while (*link != CART_NO_REF && entry_at(memory, *link)->book.book != id) link = &entry_at(memory, *link)->next;
    return link;
}

/* Stripe odd. */
static void remove_at(edge_books_memory_t *memory, cart_ref_t *link) {
    cart_ref_t ref = *link;
    entry_t *entry = entry_at(memory, ref);
    *link = entry->next;
    cart_arena_free(arena_of(memory), ref, entry_bytes(entry));
    memory->count--;
}

/* Gives up the books of the next bucket that has any, other than `keep`. False: there is none. */
static bool evict(edge_books_memory_t *memory, uint32_t keep) {
    for (uint32_t i = 0; i < memory->bucket_count; i++) {
        uint32_t bucket = memory->evict_hand++ & (memory->bucket_count - 1);
        if (bucket == keep || memory->buckets[bucket] == CART_NO_REF) continue;
        edge_seq_write_begin(sequence_of(memory, bucket));
        while (memory->buckets[bucket] != CART_NO_REF) {
            remove_at(memory, &memory->buckets[bucket]);
            memory->evicted++;
        }
        edge_seq_write_end(sequence_of(memory, bucket));
        return true;
    }
    return false;
}

/* The line's text up to the quantity. */
static size_t render(const cart_book_record_t *record, char text[EDGE_BOOKS_TEXT_MAX]) {
    static const char tail[] = "],\"cover_url\":null,\"quantity\":";
    edge_out_t out = {text, text + EDGE_BOOKS_TEXT_MAX - sizeof(tail), false};
    edge_out_literal(&out, "{\"book\":");
    edge_out_u64(&out, record->book);
    edge_out_literal(&out, ",\"title\":");
    char *mark = out.at;
    edge_out_json(&out, record->title, record->title_length);
    if (out.full) { /* a title of escapes only can be six times its length */
        out = (edge_out_t){mark, out.end, false};
        edge_out_literal(&out, "\"\"");
    }
    edge_out_literal(&out, ",\"authors\":[");
    for (unsigned i = 0; i < record->author_count; i++) {
        mark = out.at;
        if (i > 0) edge_out_literal(&out, ",");
        edge_out_json(&out, record->authors[i], record->author_lengths[i]);
        if (out.full) {
            out.at = mark;
            out.full = false;
            break;
        }
    }
    mark = out.at;
    edge_out_literal(&out, "],\"cover_url\":");
    if (record->url_length > 0)
        edge_out_json(&out, record->url, record->url_length);
    else
        edge_out_literal(&out, "null");
    edge_out_literal(&out, ",\"quantity\":");
    if (out.full) { /* the room kept for `tail` is always enough for a line without a picture */
        memcpy(mark, tail, sizeof(tail) - 1);
        return (size_t)(mark - text) + sizeof(tail) - 1;
    }
    return (size_t)(out.at - text);
}

static void remember_price(edge_book_t *book, const edge_book_t *old) {
    memcpy(book->old_price, old->old_price, sizeof(book->old_price));
    memcpy(book->changed_at, old->changed_at, sizeof(book->changed_at));
    if (old->state == CART_BOOK_UNKNOWN || old->price_minor == book->price_minor) return;
    for (unsigned i = EDGE_BOOKS_PRICES - 1; i > 0; i--) {
        book->old_price[i] = book->old_price[i - 1];
        book->changed_at[i] = book->changed_at[i - 1];
    }
    book->old_price[0] = old->price_minor;
    book->changed_at[0] = book->position;
}

static uint64_t digest_of(const edge_book_t *book, const char *text) {
    uint64_t digest = edge_mix_bytes(book->price_minor, text, book->text_length);
    return edge_mix(digest, (uint64_t)book->availability << 8 | book->state);
}

/* Prepare fully, link last. */
static bool put(edge_books_memory_t *memory, const cart_book_record_t *record) {
    char text[EDGE_BOOKS_TEXT_MAX];
    uint32_t bucket = bucket_of(memory, record->book);
    cart_ref_t *link = link_of(memory, bucket, record->book);
    entry_t *old = *link == CART_NO_REF ? NULL : entry_at(memory, *link);
    bool comparable = old != NULL && (memory->foreign == 0 || old->round == memory->round);
    if (comparable && old->book.position > record->position && old->book.state != CART_BOOK_UNKNOWN) {
        old->round = memory->round;
        return true; /* we know better */
    }
    edge_book_t book = {.book = record->book,
                        .position = record->position,
                        .price_minor = record->price_minor,
                        .available = record->available,
                        .text_length = (uint16_t)render(record, text),
                        .availability = record->availability,
                        .state = record->state};
    book.digest = digest_of(&book, text);
    if (comparable) remember_price(&book, &old->book);
    cart_ref_t ref;
    while ((ref = cart_arena_alloc(arena_of(memory), sizeof(entry_t) + book.text_length)) == CART_NO_REF) {
        if (!evict(memory, bucket)) return false;
    }
    entry_t *entry = entry_at(memory, ref);
    entry->book = book;
    entry->round = memory->round;
    memcpy(entry->text, text, book.text_length);
    edge_seq_write_begin(sequence_of(memory, bucket));
    if (*link != CART_NO_REF) remove_at(memory, link);
    entry->next = memory->buckets[bucket];
    memory->buckets[bucket] = ref;
    memory->count++;
    edge_seq_write_end(sequence_of(memory, bucket));
    return true;
}

bool edge_books_put(edge_books_t *books, const cart_book_record_t *record) {
    assert(record->book >= 1 && record->book <= CART_BOOK_MAX);
    take_lock(books);
    bool ok = put(books->memory, record);
    give_lock(books);
    return ok;
}

void edge_books_full_begin(edge_books_t *books, uint64_t generation) {
    take_lock(books);
    books->memory->round++;
    books->memory->building = 1;
    books->memory->foreign = generation != books->memory->generation;
    give_lock(books);
}

/* What the full list did not name. */
static void sweep(edge_books_memory_t *memory) {
    for (uint32_t bucket = 0; bucket < memory->bucket_count; bucket++) {
        cart_ref_t *link = &memory->buckets[bucket];
        while (*link != CART_NO_REF) {
            if (entry_at(memory, *link)->round == memory->round) {
                link = &entry_at(memory, *link)->next;
                continue;
            }
            edge_seq_write_begin(sequence_of(memory, bucket));
            remove_at(memory, link);
            edge_seq_write_end(sequence_of(memory, bucket));
        }
    }
}

void edge_books_full_end(edge_books_t *books, uint64_t generation, uint64_t position) {
    edge_books_memory_t *memory = books->memory;
    take_lock(books);
    if (memory->building != 0) {
        sweep(memory);
        memory->building = 0;
        memory->foreign = 0;
        memory->ready = 1;
        memory->emptied = 0;
        memory->generation = generation;
        atomic_store(&memory->position, position);
    }
    give_lock(books);
}

void edge_books_advance(edge_books_t *books, uint64_t generation, uint64_t position) {
    edge_books_memory_t *memory = books->memory;
    take_lock(books);
    if (memory->ready != 0 && memory->generation == generation && position > atomic_load(&memory->position)) {
        atomic_store(&memory->position, position);
    }
    give_lock(books);
}

uint64_t edge_books_position(const edge_books_t *books) {
    return atomic_load_explicit(&books->memory->position, memory_order_relaxed);
}

void edge_books_stats(edge_books_t *books, edge_books_stats_t *stats) {
    edge_books_memory_t *memory = books->memory;
    cart_arena_usage_t usage;
    take_lock(books);
    cart_arena_usage(arena_of(memory), &usage);
    *stats = (edge_books_stats_t){.generation = memory->generation,
                                  .position = atomic_load(&memory->position),
                                  .count = memory->count,
                                  .evicted = memory->evicted,
                                  .bytes_total = memory->bytes,
                                  .bytes_used = memory->arena_at + usage.used_bytes,
                                  .ready = memory->ready != 0,
                                  .emptied = memory->emptied != 0};
    give_lock(books);
}
