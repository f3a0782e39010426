/*
 * Sequence numbers for readers without locks: odd while a writer is inside. A writer holds the lock of what the number
 * guards; a reader copies out, then asks whether the number moved, and throws the copy away if it did. What a reader
 * follows inside (offsets, lengths) must be bounded before use: it may be half written.
 */
#ifndef EDGE_SEQ_H
#define EDGE_SEQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* How often a reader looks again before it asks the lock. A live writer is inside for less than this takes. */
#define EDGE_SEQ_TRIES_MAX 2000

static inline void edge_seq_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static inline bool edge_seq_read_begin(_Atomic uint32_t *sequence, uint32_t *before) {
    uint32_t value = atomic_load_explicit(sequence, memory_order_acquire);
    if ((value & 1) != 0) {
        edge_seq_pause();
        return false;
    }
    *before = value;
    return true;
}

static inline bool edge_seq_read_end(_Atomic uint32_t *sequence, uint32_t before) {
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(sequence, memory_order_relaxed) == before;
}

/* `| 1`: a predecessor may have died inside and left it odd. */
static inline void edge_seq_write_begin(_Atomic uint32_t *sequence) {
    atomic_store_explicit(sequence, (atomic_load_explicit(sequence, memory_order_relaxed) + 1) | 1,
                          memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

static inline void edge_seq_write_end(_Atomic uint32_t *sequence) {
    atomic_store_explicit(sequence, atomic_load_explicit(sequence, memory_order_relaxed) + 1, memory_order_release);
}

#endif
