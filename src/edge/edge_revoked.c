#include "edge/edge_revoked.h"

#include <assert.h>
#include <stdatomic.h>

#include "edge/edge_seq.h"

/*
 * | offset | bytes | what |
 * | 0      | 64    | the lock |
 * | 64     | 64    | head: magic, layout, capacity, active table, ready, building, generation, position |
 * | 128    | 2×64  | table heads: sequence number, count |
 * | 256    | …     | entries of table 0, then of table 1 |
 */
#define MAGIC  UINT64_C(0x64656b6f76657231) /* "1revoked" */
#define LAYOUT 1

typedef struct {
    cart_id_t id;
    uint64_t issued_before_s; /* UINT64_MAX: a session, dead whenever issued */
    uint64_t expires_s;
    uint32_t kind; /* cart_revocation_kind_t; 0: free */
    uint32_t spare;
} entry_t;
_Static_assert(sizeof(entry_t) == 40, "layout 1");

typedef struct {
    _Alignas(64) _Atomic uint32_t sequence;
    uint32_t count;
} table_t;

struct edge_revoked_memory {
    _Alignas(64) uint8_t lock[CART_ZONE_LOCK_BYTES];
    uint64_t magic;
    uint32_t layout;
    uint32_t capacity; /* entries a table; power of two */
    _Atomic uint32_t active;
    _Atomic uint32_t ready;
    uint32_t building;
    uint32_t emptied;
    uint64_t generation, position;
    table_t tables[2];
};
_Static_assert(sizeof(edge_revoked_memory_t) == 256, "layout 1");

static entry_t *entries_of(edge_revoked_memory_t *memory, unsigned table) {
    return (entry_t *)(memory + 1) + (size_t)table * memory->capacity;
}

static uint32_t capacity_for(size_t bytes) {
    uint32_t capacity = 64;
    while (sizeof(edge_revoked_memory_t) + 2 * (size_t)(capacity * 2) * sizeof(entry_t) <= bytes &&
           capacity < (1U << 24)) {
        capacity *= 2;
    }
    return capacity;
}

bool edge_revoked_init(edge_revoked_t *revoked, void *memory, size_t bytes) {
    if (bytes < EDGE_REVOKED_BYTES_MIN) return false;
    edge_revoked_memory_t *head = memory;
    revoked->memory = head;
    head->layout = LAYOUT;
    head->capacity = capacity_for(bytes);
    revoked->locks.init(revoked->locks.context, head->lock);
    head->magic = MAGIC;
    return true;
}

bool edge_revoked_attach(edge_revoked_t *revoked, void *memory, size_t bytes) {
    edge_revoked_memory_t *head = memory;
    if (bytes < EDGE_REVOKED_BYTES_MIN || head->magic != MAGIC || head->layout != LAYOUT ||
        head->capacity != capacity_for(bytes)) {
        return false;
    }
    revoked->memory = head;
    return true;
}

/* Under the lock. A table whose count can be trusted and is 0 is clear: its pages stay untouched. */
static void clear_table(edge_revoked_memory_t *memory, unsigned table, bool trusted) {
    if (trusted && memory->tables[table].count == 0) return;
    edge_seq_write_begin(&memory->tables[table].sequence);
    memset(entries_of(memory, table), 0, (size_t)memory->capacity * sizeof(entry_t));
    memory->tables[table].count = 0;
    edge_seq_write_end(&memory->tables[table].sequence);
}

static void take_lock(edge_revoked_t *revoked) {
    edge_revoked_memory_t *memory = revoked->memory;
    if (revoked->locks.lock(revoked->locks.context, memory->lock) != CART_LOCK_OWNER_DIED) return;
    atomic_store(&memory->ready, 0);
    memory->building = 0;
    memory->emptied = 1;
    memory->generation = 0;
    memory->position = 0;
    clear_table(memory, 0, false);
    clear_table(memory, 1, false);
}

static void give_lock(edge_revoked_t *revoked) {
    revoked->locks.unlock(revoked->locks.context, revoked->memory->lock);
}

static uint32_t slot_of(const edge_revoked_memory_t *memory, const cart_id_t *id) {
    uint64_t slice; /* ids are random */
    memcpy(&slice, id->bytes + 8, sizeof(slice));
    return (uint32_t)slice & (memory->capacity - 1);
}

/* One probe without a lock. */
static bool probe(edge_revoked_memory_t *memory, unsigned table, const cart_id_t *id, uint32_t kind,
                  uint64_t issued_s) {
    if (memory->tables[table].count == 0) return false; /* most of the time: no line of the table is touched */
    const entry_t *entries = entries_of(memory, table);
    uint32_t at = slot_of(memory, id);
    for (uint32_t i = 0; i < memory->capacity; i++) {
        const entry_t *entry = &entries[at];
        if (entry->kind == 0) return false;
        if (entry->kind == kind && cart_id_equal(&entry->id, id)) return issued_s < entry->issued_before_s;
        at = (at + 1) & (memory->capacity - 1);
    }
    return false;
}

edge_revoked_answer_t edge_revoked_ask(edge_revoked_t *revoked, const cart_id_t *session, const cart_id_t *user,
                                       uint64_t issued_s) {
    edge_revoked_memory_t *memory = revoked->memory;
    for (unsigned tries = 0; tries < EDGE_SEQ_TRIES_MAX; tries++) {
        if (atomic_load_explicit(&memory->ready, memory_order_acquire) == 0) return EDGE_REVOKED_NOT_READY;
        unsigned table = atomic_load_explicit(&memory->active, memory_order_acquire) & 1;
        uint32_t before;
        if (!edge_seq_read_begin(&memory->tables[table].sequence, &before)) continue;
        bool dead = probe(memory, table, session, CART_REVOKE_SESSION, 0) ||
                    probe(memory, table, user, CART_REVOKE_USER, issued_s);
        if (edge_seq_read_end(&memory->tables[table].sequence, before)) {
            return dead ? EDGE_REVOKED_YES : EDGE_REVOKED_NO;
        }
    }
    /* Odd for so long: a writer is slow, or dead; the lock tells. */
    take_lock(revoked);
    unsigned table = atomic_load(&memory->active) & 1;
    edge_revoked_answer_t answer = EDGE_REVOKED_NOT_READY;
    if (atomic_load(&memory->ready) != 0) {
        bool dead = probe(memory, table, session, CART_REVOKE_SESSION, 0) ||
                    probe(memory, table, user, CART_REVOKE_USER, issued_s);
        answer = dead ? EDGE_REVOKED_YES : EDGE_REVOKED_NO;
    }
    give_lock(revoked);
    return answer;
}

/* Under the lock, table odd. Half full is full: probes stay short. */
static edge_revoked_result_t put(edge_revoked_memory_t *memory, unsigned table, const entry_t *add) {
    entry_t *entries = entries_of(memory, table);
    uint32_t at = slot_of(memory, &add->id);
    while (entries[at].kind != 0) {
        if (entries[at].kind == add->kind && cart_id_equal(&entries[at].id, &add->id)) {
            /* A later word for the same user: the stricter bound holds. */
            if (add->issued_before_s > entries[at].issued_before_s) entries[at].issued_before_s = add->issued_before_s;
            if (add->expires_s > entries[at].expires_s) entries[at].expires_s = add->expires_s;
            return EDGE_REVOKED_OK;
        }
        at = (at + 1) & (memory->capacity - 1);
    }
    if (memory->tables[table].count >= memory->capacity / 2) return EDGE_REVOKED_FULL;
    entries[at] = *add;
    memory->tables[table].count++;
    return EDGE_REVOKED_OK;
}

static edge_revoked_result_t put_in_order(edge_revoked_memory_t *memory, unsigned table, const entry_t *add) {
    edge_seq_write_begin(&memory->tables[table].sequence);
    edge_revoked_result_t result = put(memory, table, add);
    edge_seq_write_end(&memory->tables[table].sequence);
    return result;
}

/* The read table without what has expired, by way of the other one; only while that is not being built. */
static void drop_expired(edge_revoked_memory_t *memory, uint64_t now_s) {
    unsigned from = atomic_load(&memory->active) & 1;
    unsigned to = 1 - from;
    assert(memory->building == 0);
    clear_table(memory, to, true);
    const entry_t *entries = entries_of(memory, from);
    edge_seq_write_begin(&memory->tables[to].sequence);
    for (uint32_t i = 0; i < memory->capacity; i++) {
        if (entries[i].kind == 0 || entries[i].expires_s <= now_s) continue;
        (void)put(memory, to, &entries[i]); /* fits: it came from a table of this size */
    }
    edge_seq_write_end(&memory->tables[to].sequence);
    atomic_store(&memory->active, to);
}

void edge_revoked_full_begin(edge_revoked_t *revoked) {
    take_lock(revoked);
    clear_table(revoked->memory, 1 - (atomic_load(&revoked->memory->active) & 1), true);
    revoked->memory->building = 1;
    give_lock(revoked);
}

edge_revoked_result_t edge_revoked_add(edge_revoked_t *revoked, const cart_revocation_t *revocation, bool full,
                                       uint64_t now_s) {
    edge_revoked_memory_t *memory = revoked->memory;
    bool session = revocation->kind == CART_REVOKE_SESSION;
    entry_t entry = {.id = revocation->id,
                     .issued_before_s = session ? UINT64_MAX : revocation->issued_before_s,
                     .expires_s = revocation->expires_s,
                     .kind = revocation->kind};
    edge_revoked_result_t result = EDGE_REVOKED_OK;
    take_lock(revoked);
    unsigned active = atomic_load(&memory->active) & 1;
    (void)full; /* what comes while a list is built belongs into both, whoever sent it */
    if (memory->building != 0) result = put_in_order(memory, 1 - active, &entry);
    /* Also during a full list: a revocation acts at once. */
    if (result == EDGE_REVOKED_OK && put_in_order(memory, active, &entry) == EDGE_REVOKED_FULL) {
        if (memory->building != 0) {
            /* The list being built replaces this one in a moment; until then only what it knew. */
            result = EDGE_REVOKED_OK;
        } else {
            drop_expired(memory, now_s);
            result = put_in_order(memory, atomic_load(&memory->active) & 1, &entry);
        }
    }
    if (result == EDGE_REVOKED_FULL) {
        atomic_store(&memory->ready, 0);
        memory->building = 0;
        memory->generation = 0;
        memory->position = 0;
    }
    give_lock(revoked);
    return result;
}

void edge_revoked_full_end(edge_revoked_t *revoked, uint64_t generation, uint64_t position) {
    edge_revoked_memory_t *memory = revoked->memory;
    take_lock(revoked);
    if (memory->building != 0) {
        memory->building = 0;
        memory->emptied = 0;
        atomic_store(&memory->active, 1 - (atomic_load(&memory->active) & 1));
        memory->generation = generation;
        memory->position = position;
        atomic_store_explicit(&memory->ready, 1, memory_order_release);
    }
    give_lock(revoked);
}

void edge_revoked_advance(edge_revoked_t *revoked, uint64_t generation, uint64_t position) {
    edge_revoked_memory_t *memory = revoked->memory;
    take_lock(revoked);
    /* After a reset nothing but a full list gives a position. */
    if (atomic_load(&memory->ready) != 0 && memory->generation == generation && position > memory->position) {
        memory->position = position;
    }
    give_lock(revoked);
}

void edge_revoked_stats(edge_revoked_t *revoked, edge_revoked_stats_t *stats) {
    edge_revoked_memory_t *memory = revoked->memory;
    take_lock(revoked);
    *stats = (edge_revoked_stats_t){.generation = memory->generation,
                                    .position = memory->position,
                                    .count = memory->tables[atomic_load(&memory->active) & 1].count,
                                    .capacity = memory->capacity / 2,
                                    .ready = atomic_load(&memory->ready) != 0,
                                    .emptied = memory->emptied != 0};
    give_lock(revoked);
}
