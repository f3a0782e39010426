/* A journal at work: commits, recovery, forgetting. The rules are in journal.h, the bytes in journal_format.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "cart/cart_planted.h"
#include "engine/journal_internal.h"

/* ---- segments ---------------------------------------------------------------------------------------------------- */

static void remove_segment(journal_t *journal, size_t index) {
    assert(index < journal->count);
    journal_segment_remove(journal, journal->segments[index].number);
    journal_map_deinit(&journal->segments[index].map);
    journal->count--;
    memmove(&journal->segments[index], &journal->segments[index + 1],
            (journal->count - index) * sizeof(journal_segment_t));
}

/* Segments at the front whose carts are all in the base; the newest counts among them only if `with_newest`. */
static size_t droppable(const journal_t *journal, bool with_newest) {
    size_t end = with_newest ? journal->count : journal->count - 1;
    size_t count = 0;
    while (count < end && journal->segments[count].map.count == 0) count++;
    return count;
}

static uint64_t bytes_from(const journal_t *journal, size_t index) {
    uint64_t bytes = 0;
    for (size_t i = index; i < journal->count; i++) bytes += journal->segments[i].size;
    return bytes;
}

static uint64_t size_for(const journal_t *journal, size_t batch_length) {
    uint64_t least = JOURNAL_HEADER_BYTES + batch_length + JOURNAL_DROP_RESERVE;
    return journal->segment_bytes > least ? journal->segment_bytes : least;
}

/* The old newest segment is done with: its file is closed, an unused tail given back if it failed. */
static void leave_newest(journal_t *journal) {
    const files_t *files = journal->files;
    journal_segment_t *newest = journal_newest(journal);
    if (journal->failed && newest->length > JOURNAL_HEADER_BYTES &&
        files->truncate(files->context, journal->file, newest->length) == 0) {
        newest->size = newest->length;
    }
    (void)files->close(files->context, journal->file); /* all that counts is synced */
    journal->file = -1;
}

/* Begins the next segment, which also drops what may be dropped. `must`: beyond the limit too. */
static journal_result_t begin_segment(journal_t *journal, size_t batch_length, bool must, uint64_t now_ms) {
    if (!journal_reserve_segments(journal, 1)) return JOURNAL_NO_MEMORY; /* may move the segments: before any pointer */
    journal_segment_t *newest = journal_newest(journal);
    size_t drop = droppable(journal, true);
    uint64_t size = size_for(journal, batch_length);
    if (!must && bytes_from(journal, drop) + size > journal->limit_bytes) return JOURNAL_FULL;
    bool nothing_in_newest = newest->length == JOURNAL_HEADER_BYTES;
    journal_header_t header = {.id = journal->id,
                               .number = journal->number_used + 1,
                               .previous = nothing_in_newest ? newest->previous : newest->number,
                               .previous_length = nothing_in_newest ? newest->previous_length : newest->length,
                               .sequence = journal->sequence_next,
                               .epoch_seen = journal->epoch_seen};
    header.first = drop < journal->count ? journal->segments[drop].number : header.number;
    journal_map_t map = {0};
    if (!journal_map_reserve(&map, newest->map.peak)) return JOURNAL_NO_MEMORY;
    int file;
    journal_result_t result = journal_segment_start(journal, &header, size, NULL, 0, &file);
    if (result != JOURNAL_OK) {
        journal_map_deinit(&map);
        return result;
    }
    leave_newest(journal);
    /* Numbers in between are of segments that were begun and given up. */
    uint64_t previous_number = journal_newest(journal)->number;
    for (uint64_t number = previous_number + 1; number < header.number; number++)
        journal_segment_remove(journal, number);
    journal->file = file;
    journal->segments[journal->count++] = (journal_segment_t){.number = header.number,
                                                              .size = header.bytes,
                                                              .length = JOURNAL_HEADER_BYTES,
                                                              .previous = header.previous,
                                                              .previous_length = header.previous_length,
                                                              .oldest_ms = now_ms,
                                                              .map = map};
    bool removed = drop > 0 || nothing_in_newest || previous_number + 1 < header.number;
    if (nothing_in_newest && drop < journal->count - 1) remove_segment(journal, journal->count - 2);
    for (; drop > 0; drop--) remove_segment(journal, 0);
    /* A removal that a power cut undoes is done again at the next start. */
    if (removed) (void)journal->files->sync_folder(journal->files->context, journal->folder);
    return JOURNAL_OK;
}

/* ---- commit ------------------------------------------------------------------------------------------------------ */

/* Writes what is in the buffer behind the newest segment's length, and syncs. */
static journal_result_t append(journal_t *journal, size_t length) {
    const files_t *files = journal->files;
    journal_segment_t *newest = journal_newest(journal);
    assert(newest->length + length <= newest->size);
    int64_t written = files->pwrite(files->context, journal->file, journal->buffer, length, newest->length);
    bool whole = written >= 0 && (size_t)written == length;
    if (whole) journal->syncs++;
    if (!whole || files->sync_data(files->context, journal->file) < 0) {
        if (CART_PLANTED(journal_recovery_counts_unknown) && whole) {
            newest->length += length;
            journal->sequence_next++;
        }
        journal->failed = true;
        journal->sync_failures++;
        return JOURNAL_FAILED;
    }
    newest->length += length;
    journal->sequence_next++;
    return JOURNAL_OK;
}

journal_result_t journal_commit(journal_t *journal, const commit_set_t *sets, unsigned count, uint64_t now_ms) {
    assert(count > 0 && count <= COMMIT_SETS_MAX);
    if (journal->failed) return JOURNAL_FAILED;
    size_t length = journal_batch_size(sets, count);
    if (length == 0) return JOURNAL_FULL;
    if (!journal_reserve_buffer(journal, length)) return JOURNAL_NO_MEMORY;
    journal_segment_t *newest = journal_newest(journal);
    if (newest->length + length + JOURNAL_DROP_RESERVE > newest->size) {
        journal_result_t begun = begin_segment(journal, length, false, now_ms);
        if (begun != JOURNAL_OK) return begun;
        newest = journal_newest(journal);
    }
    if (!journal_map_reserve(&newest->map, count)) return JOURNAL_NO_MEMORY;

    journal_where_t where = {.id = &journal->id, .number = newest->number, .offset = newest->length};
    journal_batch_encode(sets, count, &where, journal->sequence_next, journal->buffer, length);
    journal_result_t result = append(journal, length);
    if (result != JOURNAL_OK) return result;

    if (newest->map.count == 0) newest->oldest_ms = now_ms;
    for (unsigned i = 0; i < count; i++) {
        cart_place_t place;
        bool valid = journal_image_place(sets[i].image, sets[i].image_length, &place);
        assert(valid); /* the engine packs what it commits */
        if (!valid) continue;
        journal_map_put(&newest->map, &sets[i].user, place);
        if (place.epoch > journal->epoch_seen) journal->epoch_seen = place.epoch;
    }
    journal->records += count;
    return JOURNAL_OK;
}

journal_result_t journal_recover(journal_t *journal, uint64_t now_ms) {
    if (!journal->failed) return JOURNAL_OK;
    journal_spare_discard(journal); /* made by syncs that may have lied, too */
    journal_result_t result = begin_segment(journal, 0, true, now_ms);
    if (result == JOURNAL_OK) journal->failed = false;
    return result;
}

/* ---- forget ------------------------------------------------------------------------------------------------------ */

/* Says durably that the first `drop` segments count no more, then removes them. */
static void drop_front(journal_t *journal, size_t drop, uint64_t now_ms) {
    journal_segment_t *newest = journal_newest(journal);
    if (newest->length + JOURNAL_DROP_BYTES > newest->size) {
        (void)begin_segment(journal, 0, true, now_ms); /* drops; if it cannot, a later forget tries again */
        return;
    }
    if (!journal_reserve_buffer(journal, JOURNAL_DROP_BYTES)) return;
    journal_where_t where = {.id = &journal->id, .number = newest->number, .offset = newest->length};
    journal_drop_encode(journal->segments[drop].number, &where, journal->sequence_next, journal->buffer);
    if (!CART_PLANTED(journal_drop_unsaid) && append(journal, JOURNAL_DROP_BYTES) != JOURNAL_OK) return;
    for (; drop > 0; drop--) remove_segment(journal, 0);
    (void)journal->files->sync_folder(journal->files->context, journal->folder); /* as in begin_segment */
}

void journal_forget(journal_t *journal, const commit_forget_t *carts, unsigned count, uint64_t now_ms) {
    for (unsigned i = 0; i < count; i++) {
        for (size_t s = 0; s < journal->count; s++) {
            (void)journal_map_forget(&journal->segments[s].map, &carts[i].user, carts[i].place); /* not in every one */
        }
    }
    if (journal->failed) return; /* the next segment drops them */
    size_t drop = droppable(journal, false);
    if (drop > 0) drop_front(journal, drop, now_ms);
    if (journal->failed) return;
    /* Everything is in the base: a fresh segment makes the next start short. Not for a nearly empty one. */
    journal_segment_t *newest = journal_newest(journal);
    if (journal->count == 1 && newest->map.count == 0 && newest->length > newest->size / 4) {
        (void)begin_segment(journal, 0, true, now_ms); /* if it cannot, nothing is lost */
    }
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static bool may_grow(const journal_t *journal) {
    return bytes_from(journal, droppable(journal, true)) + journal->segment_bytes <= journal->limit_bytes;
}

bool journal_prepare(journal_t *journal) {
    if (journal->failed || (journal->spare.file >= 0 && journal->spare.zeroed == journal->spare.size)) return false;
    if (!may_grow(journal)) return false;
    bool ready;
    if (journal_spare_step(journal, journal->segment_bytes, &ready) < 0) {
        journal->disk_full = true;
        return false;
    }
    journal->disk_full = false;
    return !ready;
}

bool journal_lags(const journal_t *journal) {
    if (journal->failed || journal->disk_full || !may_grow(journal)) return false;
    const journal_segment_t *newest = journal_newest(journal);
    uint64_t zeroed = journal->spare.file < 0 ? 0 : journal->spare.zeroed;
    /* A step ahead, so that the segment's last commit finds the spare ready. */
    return zeroed < journal->segment_bytes && zeroed < newest->length + 2 * JOURNAL_ZERO_STEP;
}

bool journal_has_failed(const journal_t *journal) {
    return journal->failed;
}

void journal_room(const journal_t *journal, commit_room_t *room, uint64_t now_ms) {
    const journal_segment_t *newest = journal_newest(journal);
    *room = (commit_room_t){.bytes_used = bytes_from(journal, 0) - newest->size + newest->length,
                            .bytes_limit = journal->limit_bytes,
                            .segments = journal->count,
                            .syncs = journal->syncs,
                            .sync_failures = journal->sync_failures,
                            .records = journal->records};
    for (size_t i = 0; i < journal->count; i++) {
        if (journal->segments[i].map.count == 0) continue;
        uint64_t oldest_ms = journal->segments[i].oldest_ms;
        room->oldest_age_ms = now_ms > oldest_ms ? now_ms - oldest_ms : 0;
        break;
    }
    /* A batch of some hundred changes fits here, or a next segment can be made. */
    bool fits = newest->length + (UINT64_C(32) << 10) + JOURNAL_DROP_RESERVE <= newest->size;
    bool spare = journal->spare.file >= 0 && journal->spare.zeroed == journal->spare.size;
    room->accepts = !journal->failed && (fits || (may_grow(journal) && (spare || !journal->disk_full)));
}

void journal_close(journal_t *journal) {
    const files_t *files = journal->files;
    if (journal->file >= 0) (void)files->close(files->context, journal->file); /* all that counts is synced */
    if (journal->spare.file >= 0)
        (void)files->close(files->context, journal->spare.file); /* removed at the next start */
    for (size_t i = 0; i < journal->count; i++) journal_map_deinit(&journal->segments[i].map);
    free(journal->segments);
    free(journal->buffer);
    free(journal->folder);
    if (journal->lock >= 0) (void)files->close(files->context, journal->lock);
    free(journal);
}
