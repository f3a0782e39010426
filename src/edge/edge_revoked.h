/*
 * Revoked sessions and users, known to all workers of one machine (DESIGN section 5, rule 9). In shared memory.
 *
 * Two tables: one is read, the other takes a full list while it arrives; its end switches them in one step. Readers take
 * no lock: each table has a sequence number that is odd while it is written; a reader that saw it move reads again.
 * Writers hold the one lock. Invariants:
 *  1. Nothing is said to be "not revoked" before the first full list is complete (`ready`).
 *  2. A revocation that came during a full list is in both tables.
 *  3. A writer that died: its table may be half written. The next holder of the lock forgets everything: not ready, no
 *     position, so that the feed begins anew. A reader that finds a table odd for long looks at the lock itself.
 *  4. Full (EDGE_REVOKED_FULL): not ready either. The edge refuses tokens rather than overlook one that is revoked.
 */
#ifndef EDGE_REVOKED_H
#define EDGE_REVOKED_H

#include "cart/cart_worker.h"
#include "cart/cart_zone.h"

#define EDGE_REVOKED_BYTES_MIN 65536

typedef struct edge_revoked_memory edge_revoked_memory_t;
typedef struct {
    edge_revoked_memory_t *memory; /* shm: under its lock; tables by sequence numbers */
    cart_zone_locks_t locks;
} edge_revoked_t;

/* bytes of zeroed, 64-byte aligned memory. False: too few. */
bool edge_revoked_init(edge_revoked_t *revoked, void *memory, size_t bytes);
bool edge_revoked_attach(edge_revoked_t *revoked, void *memory, size_t bytes);

typedef enum { EDGE_REVOKED_NO, EDGE_REVOKED_YES, EDGE_REVOKED_NOT_READY } edge_revoked_answer_t;
/* Whether a token of this session and user, issued then, is dead. */
edge_revoked_answer_t edge_revoked_ask(edge_revoked_t *revoked, const cart_id_t *session, const cart_id_t *user,
                                       uint64_t issued_s);

typedef enum { EDGE_REVOKED_OK, EDGE_REVOKED_FULL } edge_revoked_result_t;
void edge_revoked_full_begin(edge_revoked_t *revoked);
/* Into the list being built if `full`, and into the one that is read. now_s: what has expired may go. */
edge_revoked_result_t edge_revoked_add(edge_revoked_t *revoked, const cart_revocation_t *revocation, bool full,
                                       uint64_t now_s);
void edge_revoked_full_end(edge_revoked_t *revoked, uint64_t generation, uint64_t position);
/* After a change: where to resume. */
void edge_revoked_advance(edge_revoked_t *revoked, uint64_t generation, uint64_t position);

typedef struct {
    uint64_t generation, position, count, capacity;
    bool ready;
    bool emptied; /* its writer died, and no full list came since: the feed must begin anew */
} edge_revoked_stats_t;
void edge_revoked_stats(edge_revoked_t *revoked, edge_revoked_stats_t *stats);

#endif
