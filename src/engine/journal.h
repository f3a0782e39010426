/*
 * The journal: the local commit point. Append-only segments of checksummed batches, one sync a batch, in a folder of its
 * own with one owner.
 *
 * journal*.c is the format and the file handling, synchronous, on a files_t (the power-cut suite drives it directly):
 * journal_format the bytes, journal_scan reading them, journal_segment making files, journal_open start-up, journal the
 * rest. journal_commit_point.c puts it on a thread behind commit_point.h. One thread at a time uses a journal.
 *
 * Invariants (the power-cut suite breaks each and must notice):
 *  1. JOURNAL_OK of a commit means: its batch is on disk, in a segment whose name is on disk, whose predecessors are.
 *  2. A batch is written only after the one before was synced. So of what a journal shows, only the last batch of the
 *     newest segment may not be on disk.
 *  3. A segment that this process did not make, or in which a write or sync failed, is never written again. The next
 *     segment's header says how many of its bytes count, and is on disk before anything else is accepted.
 *  4. Nothing is decided from what a file shows after a failed sync: what counts is what was known to be synced before.
 *     A start cannot know whether its predecessor's last sync failed, so it copies the last batch into its own new segment.
 *  5. A segment is removed only after a batch (or a header) that says so is on disk; so a missing segment is damage, and a
 *     removal that a power cut undoes is harmless.
 *
 * A batch that does not verify at the end of the newest segment is a torn tail: it was never acknowledged. One that is
 * followed by a valid batch, or that lies in an older segment, is damage.
 */
#ifndef ENGINE_JOURNAL_H
#define ENGINE_JOURNAL_H

#include "engine/commit_point.h"
#include "engine/files.h"

#define JOURNAL_SEGMENT_MIN (UINT64_C(64) << 10)
#define JOURNAL_SEGMENT_MAX (UINT64_C(1) << 30)

typedef struct {
    const char *folder;     /* made when it is not there; its parent is */
    uint64_t segment_bytes; /* preallocated; JOURNAL_SEGMENT_MIN … JOURNAL_SEGMENT_MAX, usually 64 MiB */
    uint64_t
        limit_bytes; /* of all segments together, at least two; at it, commits are refused until the base catches up */
    cart_id_t id_if_new; /* of a journal that is created now; all zeros: drawn at random (tests want the same again) */
} journal_config_t;

typedef enum {
    JOURNAL_OK = 0,
    JOURNAL_FULL, /* at its limit, or no segment can be made (disk full): nothing was written that a replay would see */
    JOURNAL_FAILED,  /* a write or sync failed: what was appended since the last good sync is unknown */
    JOURNAL_DAMAGED, /* a record before the tail is damaged or missing: refuses to start, says where */
    JOURNAL_LOCKED,
    JOURNAL_NO_MEMORY, /* nothing was written */
} journal_result_t;

typedef struct journal journal_t;

/* One record as a replay meets it, oldest first. Borrowed until the call returns. */
typedef void (*journal_replay_fn)(void *argument, const commit_set_t *record);

/* Opens or creates; takes the lock (waits when `wait`, else JOURNAL_LOCKED, so that a caller can log before it waits);
 * checks everything; replays; begins a new segment. *id: the journal's random id. On failure the out-parameters are
 * unchanged, *detail says what and where, and records may have been replayed: throw them away. */
journal_result_t journal_open(const files_t *files, const journal_config_t *config, int wait, uint64_t now_ms,
                              journal_replay_fn replay, void *argument, journal_t **journal, cart_id_t *id,
                              char *detail, size_t detail_bytes);
/* Nothing to flush: what was acknowledged is on disk. */
void journal_close(journal_t *journal);

/* Appends the sets as one batch (all or none) and makes it durable with one sync. count 1 … COMMIT_SETS_MAX. */
journal_result_t journal_commit(journal_t *journal, const commit_set_t *sets, unsigned count, uint64_t now_ms);
/* After JOURNAL_FAILED: begins a new segment that says what of the old one counts (nothing past the last good sync).
 * Until it returns JOURNAL_OK nothing is accepted. May be called again and again. */
journal_result_t journal_recover(journal_t *journal, uint64_t now_ms);
/* Drops whole segments, oldest first, in which every cart's last version is forgotten. */
void journal_forget(journal_t *journal, const commit_forget_t *carts, unsigned count, uint64_t now_ms);
/* One bounded step (at most 512 KiB written and synced) of making the next segment ahead, so that the commit that needs it
 * does not wait. True: there is more to do. */
bool journal_prepare(journal_t *journal);
/* True while making the next segment lags behind the filling of this one. */
bool journal_lags(const journal_t *journal);
bool journal_has_failed(const journal_t *journal);
void journal_room(const journal_t *journal, commit_room_t *room, uint64_t now_ms);

/* The commit point on a thread of its own. Takes the journal. NULL: no memory or thread, and the journal stays the
 * caller's. */
commit_point_t *journal_commit_point_create(journal_t *journal /* owned from here on */);

#endif
