/* What the journal's own files share. Nobody else includes this. */
#ifndef ENGINE_JOURNAL_INTERNAL_H
#define ENGINE_JOURNAL_INTERNAL_H

#include "engine/journal.h"
#include "engine/journal_format.h"
#include "engine/journal_map.h"

#define JOURNAL_PATH_MAX      4096
#define JOURNAL_SPARE_NAME    "spare.tmp"
#define JOURNAL_DROP_RESERVE  4096                  /* kept free at a segment's end for drop batches */
#define JOURNAL_ZERO_STEP     (UINT64_C(512) << 10) /* a step of preparing: zeros written and synced at once */
#define JOURNAL_SEGMENT_SMALL (UINT64_C(64) << 10)  /* a segment made in an emergency holds at least this */

typedef struct {
    uint64_t number;
    uint64_t size;                      /* of the file */
    uint64_t length;                    /* bytes that count; all are synced */
    uint64_t previous, previous_length; /* as its header says */
    uint64_t oldest_ms;                 /* when its first record came */
    journal_map_t map;                  /* carts in it that the base does not have yet */
} journal_segment_t;

/* A segment in the making: its file is JOURNAL_SPARE_NAME. */
typedef struct {
    int file; /* −1: none */
    uint64_t size;
    uint64_t zeroed; /* so many bytes are written and synced; size: ready */
} journal_spare_t;

struct journal {
    const files_t *files; /* borrowed for the journal's life */
    char *folder;         /* owned */
    uint64_t segment_bytes, limit_bytes;
    cart_id_t id;
    int lock;                    /* file handle */
    int file;                    /* of the newest segment; −1: none */
    journal_segment_t *segments; /* owned; oldest first, the last is the newest */
    size_t count, capacity;
    journal_spare_t spare;
    uint64_t number_used; /* greatest number that any file may have */
    uint64_t sequence_next;
    uint64_t epoch_seen;
    uint8_t *buffer; /* owned; a batch in the making */
    size_t buffer_capacity;
    bool failed;    /* a write or sync failed: only journal_recover leads out */
    bool disk_full; /* the last attempt to make a segment failed */
    uint64_t syncs, sync_failures, records;
};

static inline journal_segment_t *journal_newest(const journal_t *journal) {
    return &journal->segments[journal->count - 1];
}

/* journal_segment.c */
int journal_path(const journal_t *journal, uint64_t number, char path[JOURNAL_PATH_MAX]);
int journal_spare_path(const journal_t *journal, char path[JOURNAL_PATH_MAX]);
bool journal_reserve_segments(journal_t *journal, size_t more);
bool journal_reserve_buffer(journal_t *journal, size_t bytes);
/* One bounded step of making the spare; *ready when it is done. 0 or −errno (then there is no spare any more). */
int journal_spare_step(journal_t *journal, uint64_t size, bool *ready);
void journal_spare_discard(journal_t *journal);
/* Makes the spare (whole, of `size` bytes, if it is not there yet), writes header and first batch into it, syncs, gives it
 * its name, syncs the folder. JOURNAL_FULL: no segment was made, nothing changed. JOURNAL_FAILED: it may be there after a
 * power cut or not: the journal has failed. The caller appends the segment to its list with JOURNAL_OK. */
journal_result_t journal_segment_start(journal_t *journal, journal_header_t *header, uint64_t size,
                                       const uint8_t *batch, size_t batch_length, int *file);
/* Removes the file of a segment that counts no more. The folder is synced by the caller. */
void journal_segment_remove(journal_t *journal, uint64_t number);

/* journal_scan.c */
typedef struct {
    const files_t *files;
    int file;
    uint64_t size;   /* of the file */
    uint8_t *window; /* owned: bytes start … start + filled of the file */
    size_t capacity, filled;
    uint64_t start;
} journal_reader_t;

journal_result_t journal_reader_init(journal_reader_t *reader, const files_t *files, int file);
void journal_reader_deinit(journal_reader_t *reader);
/* *bytes: at least `least` bytes (fewer only at the end of the file: *available says) at `offset`, borrowed until the next
 * call. */
journal_result_t journal_reader_at(journal_reader_t *reader, uint64_t offset, size_t least, const uint8_t **bytes,
                                   size_t *available);

typedef enum {
    JOURNAL_SCAN_BATCH, /* a valid batch */
    JOURNAL_SCAN_END,   /* no valid batch begins here */
    JOURNAL_SCAN_ERROR, /* *result says why it cannot be read */
} journal_scan_t;
/* The batch at where->offset; its payload is borrowed until the next call on the reader. */
journal_scan_t journal_scan_batch(journal_reader_t *reader, const journal_where_t *where, journal_batch_t *batch,
                                  journal_result_t *result);
/* Is there a valid batch at or after where->offset? *found is its offset, 0: there is none. */
journal_result_t journal_scan_find(journal_reader_t *reader, journal_where_t where, uint64_t *found);

#endif
