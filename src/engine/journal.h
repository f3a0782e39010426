/*
 * The journal: the local commit point. Append-only segments of checksummed records, one sync a batch, in a folder of its
 * own with one owner.
 *
 * journal.c is the format and the file handling, synchronous, on a files_t (the power-cut suite drives it directly);
 * journal_commit_point.c puts it on a thread behind commit_point.h.
 */
#ifndef ENGINE_JOURNAL_H
#define ENGINE_JOURNAL_H

#include "engine/commit_point.h"
#include "engine/files.h"

typedef struct {
    const char *folder;
    uint64_t segment_bytes; /* preallocated; 1 MiB … 1 GiB */
    uint64_t limit_bytes;   /* of all segments together; at it, commits are COMMIT_REFUSED until the base catches up */
} journal_config_t;

typedef enum {
    JOURNAL_OK = 0,
    JOURNAL_FULL,      /* at its limit or no space on the disk: nothing was written that a replay would see */
    JOURNAL_FAILED,    /* a write or sync failed: what was appended since the last good sync is unknown */
    JOURNAL_DAMAGED,   /* a record before the tail is damaged: refuses to start, says where */
    JOURNAL_LOCKED,
    JOURNAL_NO_MEMORY,
} journal_result_t;

typedef struct journal journal_t;

/* One record as a replay meets it, oldest first. Borrowed until the call returns. */
typedef void (*journal_replay_fn)(void *argument, const commit_set_t *record);

/* Opens or creates; takes the lock (waits when wait); recovers the tail; replays. *id: the journal's random id. */
journal_result_t journal_open(const files_t *files, const journal_config_t *config, int wait, uint64_t now_ms,
                              journal_replay_fn replay, void *argument, journal_t **journal, cart_id_t *id,
                              char *detail, size_t detail_bytes);
void journal_close(journal_t *journal);

/* Appends sets and makes them durable with one sync. */
journal_result_t journal_commit(journal_t *journal, const commit_set_t *sets, unsigned count, uint64_t now_ms);
/* After JOURNAL_FAILED: opens a new segment that says what of the old one counts (nothing past the last good sync), syncs
 * it. Until it returns JOURNAL_OK nothing is accepted. */
journal_result_t journal_recover(journal_t *journal, uint64_t now_ms);
/* Drops whole segments, oldest first, in which every cart's last version is forgotten. */
void journal_forget(journal_t *journal, const commit_forget_t *carts, unsigned count, uint64_t now_ms);
void journal_room(const journal_t *journal, commit_room_t *room, uint64_t now_ms);

/* The commit point on a thread of its own. Takes the journal. NULL: no memory or thread. */
commit_point_t *journal_commit_point_create(journal_t *journal /* owned from here on */);

#endif
