/*
 * Start-up of a journal.
 *
 *  1. lock, list the folder;
 *  2. the newest segment: its header must be valid (a segment has its name only when it is whole), its batches are read up
 *     to the tail, drop batches say which segments count no more;
 *  3. from there back along "the segment before": each that still counts must be there, with at least the bytes that count;
 *  4. replay, oldest first: every batch in an older segment must verify, up to exactly the length its successor states;
 *  5. a new segment of our own, with the last batch copied into it (it may be shown and yet not be on disk, invariant 4 of
 *     journal.h);
 *  6. only then leftovers are removed and the tail is cut off.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "cart/cart_planted.h"
#include "engine/journal_internal.h"

typedef struct {
    uint64_t *numbers; /* owned */
    size_t count, capacity;
    bool no_memory;
} names_t;

typedef struct {
    journal_header_t header;
    uint64_t length; /* bytes that count */
} link_t;

typedef struct {
    journal_t *journal;
    journal_replay_fn replay;
    void *argument;
    uint64_t now_ms;
    char *detail;
    size_t detail_bytes;
    names_t names;
    link_t *chain; /* owned; newest first */
    size_t chain_count;
    cart_recent_id_t *added; /* owned; JOURNAL_ADDED_MAX */
    uint64_t first;          /* segments below count no more */
    uint64_t newest_end;     /* of the newest segment's last valid batch */
    journal_map_t carried;   /* owned: carts of the batch that is copied */
    uint8_t *carry;          /* owned: that batch */
    size_t carry_length;
    uint64_t carry_sequence;
} opening_t;

__attribute__((format(printf, 3, 4))) static journal_result_t say(opening_t *opening, journal_result_t result,
                                                                  const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (opening->detail_bytes > 0) (void)vsnprintf(opening->detail, opening->detail_bytes, format, arguments);
    va_end(arguments); /* a cut detail is still one */
    return result;
}

/* ---- the folder -------------------------------------------------------------------------------------------------- */

static bool parse_name(const char *name, uint64_t *number) {
    uint64_t read = 0;
    for (int i = 0; i < 16; i++) {
        char c = name[i];
        if (c >= '0' && c <= '9')
            read = read << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            read = read << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    if (strcmp(name + 16, ".journal") != 0 || read == 0) return false;
    *number = read;
    return true;
}

static void take_name(void *argument, const char *name) {
    names_t *names = argument;
    uint64_t number;
    if (!parse_name(name, &number)) return;
    if (names->count == names->capacity) {
        size_t capacity = names->capacity == 0 ? 64 : names->capacity * 2;
        uint64_t *larger = realloc(names->numbers, capacity * sizeof(*larger));
        if (larger == NULL) {
            names->no_memory = true;
            return;
        }
        names->numbers = larger;
        names->capacity = capacity;
    }
    names->numbers[names->count++] = number;
}

static bool has_name(const names_t *names, uint64_t number) {
    for (size_t i = 0; i < names->count; i++) {
        if (names->numbers[i] == number) return true;
    }
    return false;
}

static journal_result_t enter_folder(opening_t *opening, int wait) {
    journal_t *journal = opening->journal;
    const files_t *files = journal->files;
    int result = files->make_folder(files->context, journal->folder);
    if (result < 0 && result != -EEXIST) {
        return say(opening, result == -ENOSPC ? JOURNAL_FULL : JOURNAL_FAILED, "cannot make %s: %s", journal->folder,
                   strerror(-result));
    }
    char path[JOURNAL_PATH_MAX];
    int length = snprintf(path, sizeof(path), "%s/lock", journal->folder);
    if (length < 0 || (size_t)length >= sizeof(path)) return say(opening, JOURNAL_FAILED, "path too long");
    journal->lock = files->lock(files->context, path, wait);
    if (journal->lock == -EWOULDBLOCK) return say(opening, JOURNAL_LOCKED, "%s is in use by another process", path);
    if (journal->lock < 0) return say(opening, JOURNAL_FAILED, "cannot lock %s: %s", path, strerror(-journal->lock));

    /* The folder's own name may be as young as its maker's last moment. */
    char parent[JOURNAL_PATH_MAX];
    (void)snprintf(parent, sizeof(parent), "%s", journal->folder); /* fits: a longer one was refused above */
    char *slash = strrchr(parent, '/');
    if (slash != NULL && slash != parent) {
        *slash = '\0';
        result = files->sync_folder(files->context, parent);
        if (result < 0) return say(opening, JOURNAL_FAILED, "cannot sync %s: %s", parent, strerror(-result));
    }
    result = files->list(files->context, journal->folder, take_name, &opening->names);
    if (result < 0) return say(opening, JOURNAL_FAILED, "cannot list %s: %s", journal->folder, strerror(-result));
    if (opening->names.no_memory) return say(opening, JOURNAL_NO_MEMORY, "no memory");
    for (size_t i = 0; i < opening->names.count; i++) {
        if (opening->names.numbers[i] > journal->number_used) journal->number_used = opening->names.numbers[i];
    }
    return JOURNAL_OK;
}

/* ---- one segment ------------------------------------------------------------------------------------------------- */

static journal_result_t open_segment(opening_t *opening, uint64_t number, bool newest, journal_reader_t *reader,
                                     journal_header_t *header) {
    journal_t *journal = opening->journal;
    const files_t *files = journal->files;
    char path[JOURNAL_PATH_MAX];
    if (journal_path(journal, number, path) < 0) return say(opening, JOURNAL_FAILED, "path too long");
    int file = files->open(files->context, path, 0, 0);
    if (file < 0) return say(opening, JOURNAL_FAILED, "cannot open %s: %s", path, strerror(-file));
    journal_result_t result = journal_reader_init(reader, files, file);
    const uint8_t *bytes = NULL;
    size_t available = 0;
    if (result == JOURNAL_OK) result = journal_reader_at(reader, 0, JOURNAL_HEADER_BYTES, &bytes, &available);
    if (result != JOURNAL_OK) {
        (void)say(opening, result, "cannot read %s", path);
        goto fail;
    }
    journal_header_result_t decoded =
        available < JOURNAL_HEADER_BYTES ? JOURNAL_HEADER_BAD : journal_header_decode(bytes, header);
    if (decoded == JOURNAL_HEADER_NEWER) {
        result = say(opening, JOURNAL_DAMAGED, "%s was written by a newer program", path);
    } else if (decoded != JOURNAL_HEADER_OK || header->number != number) {
        result = say(opening, JOURNAL_DAMAGED, "the header of %s is damaged", path);
    } else if (!newest && !cart_id_equal(&header->id, &journal->id)) {
        result = say(opening, JOURNAL_DAMAGED, "%s belongs to another journal", path);
    }
    if (result == JOURNAL_OK) return JOURNAL_OK;
fail:
    journal_reader_deinit(reader);
    (void)files->close(files->context, file); /* read only so far */
    return result;
}

static void close_segment(opening_t *opening, journal_reader_t *reader) {
    journal_reader_deinit(reader);
    (void)opening->journal->files->close(opening->journal->files->context, reader->file); /* read only */
}

/* The newest segment: where it ends, what it drops, and its last batch to be copied. */
static journal_result_t survey_tail(opening_t *opening, journal_reader_t *reader, link_t *newest) {
    journal_t *journal = opening->journal;
    journal_where_t where = {.id = &journal->id, .number = newest->header.number, .offset = JOURNAL_HEADER_BYTES};
    uint64_t sequence = newest->header.sequence;
    uint64_t last = 0;
    journal_batch_kind_t last_kind = JOURNAL_BATCH_SETS;
    journal_batch_t batch;
    journal_result_t result;
    journal_scan_t scan;
    while ((scan = journal_scan_batch(reader, &where, &batch, &result)) == JOURNAL_SCAN_BATCH) {
        if (batch.sequence != sequence) {
            return say(opening, JOURNAL_DAMAGED,
                       "segment %" PRIu64 " at %" PRIu64 ": batch %" PRIu64 " where %" PRIu64 " belongs", where.number,
                       where.offset, batch.sequence, sequence);
        }
        if (batch.kind == JOURNAL_BATCH_DROP && batch.first > opening->first) opening->first = batch.first;
        last = where.offset;
        last_kind = batch.kind;
        where.offset += batch.length;
        sequence++;
    }
    if (scan == JOURNAL_SCAN_ERROR) return say(opening, result, "cannot read segment %" PRIu64, where.number);
    uint64_t found;
    uint64_t end = where.offset;
    result = journal_scan_find(reader, where, &found);
    if (result != JOURNAL_OK) return say(opening, result, "cannot read segment %" PRIu64, where.number);
    if (found != 0) {
        return say(opening, JOURNAL_DAMAGED,
                   "segment %" PRIu64 " is damaged at %" PRIu64 ": a valid batch follows at %" PRIu64, where.number,
                   end, found);
    }
    if (opening->first > newest->header.number) {
        return say(opening, JOURNAL_DAMAGED, "segment %" PRIu64 " drops itself", where.number);
    }
    opening->newest_end = end;
    if (CART_PLANTED(journal_start_trusts_tail)) last = 0; /* what reads is taken for what is on disk */
    newest->length = last == 0 ? end : last;
    journal->sequence_next = last == 0 ? sequence : sequence - 1;
    if (last == 0 || last_kind != JOURNAL_BATCH_SETS) return JOURNAL_OK; /* what a drop says goes into our header */

    const uint8_t *bytes;
    size_t available;
    size_t length = (size_t)(end - last);
    result = journal_reader_at(reader, last, length, &bytes, &available);
    if (result != JOURNAL_OK) return say(opening, result, "cannot read segment %" PRIu64, where.number);
    opening->carry = malloc(length);
    if (opening->carry == NULL) return say(opening, JOURNAL_NO_MEMORY, "no memory");
    memcpy(opening->carry, bytes, length);
    opening->carry_length = length;
    opening->carry_sequence = sequence - 1;
    return JOURNAL_OK;
}

/* ---- the chain --------------------------------------------------------------------------------------------------- */

static journal_result_t build_chain(opening_t *opening) {
    journal_t *journal = opening->journal;
    opening->chain = calloc(opening->names.count, sizeof(link_t));
    if (opening->chain == NULL) return say(opening, JOURNAL_NO_MEMORY, "no memory");
    journal_reader_t reader;
    link_t *newest = &opening->chain[0];
    journal_result_t result = open_segment(opening, journal->number_used, true, &reader, &newest->header);
    if (result != JOURNAL_OK) return result;
    journal->id = newest->header.id;
    opening->first = newest->header.first;
    result = survey_tail(opening, &reader, newest);
    close_segment(opening, &reader);
    if (result != JOURNAL_OK) return result;
    journal->epoch_seen = newest->header.epoch_seen;
    opening->chain_count = 1;

    for (link_t *at = newest; at->header.previous != 0 && at->header.previous >= opening->first; at++) {
        uint64_t number = at->header.previous;
        if (!has_name(&opening->names, number)) {
            return say(opening, JOURNAL_DAMAGED, "segment %" PRIu64 " is missing", number);
        }
        assert(opening->chain_count < opening->names.count); /* numbers only go down, each is a name */
        link_t *before = at + 1;
        result = open_segment(opening, number, false, &reader, &before->header);
        if (result != JOURNAL_OK) return result;
        before->length = at->header.previous_length;
        uint64_t size = reader.size;
        close_segment(opening, &reader);
        if (size < before->length) {
            return say(opening, JOURNAL_DAMAGED, "segment %" PRIu64 " ends at %" PRIu64 ", but %" PRIu64 " bytes count",
                       number, size, before->length);
        }
        opening->chain_count++;
    }
    return JOURNAL_OK;
}

/* ---- replay ------------------------------------------------------------------------------------------------------ */

static journal_result_t replay_batch(opening_t *opening, const journal_batch_t *batch, journal_map_t *map) {
    journal_t *journal = opening->journal;
    if (!journal_map_reserve(map, batch->count)) return say(opening, JOURNAL_NO_MEMORY, "no memory");
    commit_set_t set;
    uint32_t index = 0;
    size_t at = 0;
    while (journal_record_next(batch, &index, &at, opening->added, &set)) {
        cart_place_t place;
        if (!journal_image_place(set.image, set.image_length, &place)) {
            return say(opening, JOURNAL_DAMAGED, "batch %" PRIu64 " holds no image", batch->sequence);
        }
        journal_map_put(map, &set.user, place);
        if (place.epoch > journal->epoch_seen) journal->epoch_seen = place.epoch;
        if (opening->replay != NULL) opening->replay(opening->argument, &set);
        journal->records++;
    }
    return JOURNAL_OK;
}

static journal_result_t replay_segment(opening_t *opening, size_t link, uint64_t *sequence) {
    journal_t *journal = opening->journal;
    const link_t *at = &opening->chain[link];
    journal_segment_t *segment = &journal->segments[journal->count];
    *segment = (journal_segment_t){.number = at->header.number,
                                   .length = at->length,
                                   .oldest_ms = opening->now_ms,
                                   .previous = at->header.previous,
                                   .previous_length = at->header.previous_length};
    journal->count++;
    journal_reader_t reader = {0};
    journal_header_t header = {0};
    journal_result_t result = open_segment(opening, at->header.number, false, &reader, &header);
    if (result != JOURNAL_OK) return result;
    segment->size = reader.size;
    journal_where_t where = {.id = &journal->id, .number = segment->number, .offset = JOURNAL_HEADER_BYTES};
    uint64_t end = link == 0 ? opening->newest_end : at->length;
    if (*sequence == 0) *sequence = header.sequence;
    while (result == JOURNAL_OK && where.offset < end) {
        journal_batch_t batch;
        journal_scan_t scan = journal_scan_batch(&reader, &where, &batch, &result);
        if (scan == JOURNAL_SCAN_ERROR) {
            (void)say(opening, result, "cannot read segment %" PRIu64, segment->number);
        } else if (scan != JOURNAL_SCAN_BATCH || batch.sequence != *sequence || batch.length > end - where.offset) {
            result = say(opening, JOURNAL_DAMAGED, "segment %" PRIu64 " is damaged at %" PRIu64, segment->number,
                         where.offset);
        } else {
            bool copied = link == 0 && opening->carry != NULL && where.offset == at->length;
            result = replay_batch(opening, &batch, copied ? &opening->carried : &segment->map);
            where.offset += batch.length;
            (*sequence)++;
        }
    }
    close_segment(opening, &reader);
    return result;
}

static journal_result_t replay_all(opening_t *opening) {
    opening->added = malloc(JOURNAL_ADDED_MAX * sizeof(*opening->added));
    if (opening->added == NULL || !journal_reserve_segments(opening->journal, opening->chain_count + 1)) {
        return say(opening, JOURNAL_NO_MEMORY, "no memory");
    }
    uint64_t sequence = 0; /* the oldest segment says where it begins */
    for (size_t link = opening->chain_count; link > 0; link--) {
        journal_result_t result = replay_segment(opening, link - 1, &sequence);
        if (result != JOURNAL_OK) return result;
    }
    return JOURNAL_OK;
}

/* ---- our own segment --------------------------------------------------------------------------------------------- */

static void cut_tail(journal_t *journal, journal_segment_t *segment) {
    char path[JOURNAL_PATH_MAX];
    if (segment->size <= segment->length || journal_path(journal, segment->number, path) < 0) return;
    int file = journal->files->open(journal->files->context, path, 0, 0);
    if (file < 0) return;
    /* To give the space back; the segment means the same with its tail. */
    if (journal->files->truncate(journal->files->context, file, segment->length) == 0) segment->size = segment->length;
    (void)journal->files->close(journal->files->context, file);
}

static void remove_leftovers(opening_t *opening) {
    journal_t *journal = opening->journal;
    bool removed = false;
    for (size_t i = 0; i < opening->names.count; i++) {
        bool kept = false;
        for (size_t k = 0; k < journal->count; k++)
            kept = kept || journal->segments[k].number == opening->names.numbers[i];
        if (kept) continue;
        journal_segment_remove(journal, opening->names.numbers[i]);
        removed = true;
    }
    /* A removal that does not last is done again at the next start. */
    if (removed) (void)journal->files->sync_folder(journal->files->context, journal->folder);
}

static journal_result_t begin_own(opening_t *opening) {
    journal_t *journal = opening->journal;
    journal_header_t header = {.id = journal->id,
                               .number = journal->number_used + 1,
                               .sequence = journal->sequence_next,
                               .epoch_seen = journal->epoch_seen};
    if (journal->count > 0) {
        journal_segment_t *newest = journal_newest(journal);
        if (newest->length == JOURNAL_HEADER_BYTES) { /* nothing of it counts, but what it says of the one before */
            header.previous = newest->previous;
            header.previous_length = newest->previous_length;
            journal_map_deinit(&newest->map);
            journal->count--;
        } else {
            header.previous = newest->number;
            header.previous_length = newest->length;
        }
    }
    header.first = journal->count > 0 ? journal->segments[0].number : header.number;
    journal_where_t where = {.id = &journal->id, .number = header.number, .offset = JOURNAL_HEADER_BYTES};
    if (opening->carry != NULL) {
        assert(opening->carry_sequence == header.sequence);
        journal_batch_move(opening->carry, &where, opening->carry_sequence);
        journal->sequence_next++;
    }
    uint64_t least = JOURNAL_HEADER_BYTES + opening->carry_length + JOURNAL_DROP_RESERVE + JOURNAL_SEGMENT_SMALL;
    uint64_t size = journal->segment_bytes > least ? journal->segment_bytes : least;
    int file = -1;
    journal_result_t result =
        journal_segment_start(journal, &header, size, opening->carry, opening->carry_length, &file);
    /* On a disk that is nearly full, a small one: the base can then catch up, and older segments give their space back. */
    if (result == JOURNAL_FULL && least < size) {
        size = least;
        result = journal_segment_start(journal, &header, size, opening->carry, opening->carry_length, &file);
    }
    if (result != JOURNAL_OK) return say(opening, result, "cannot begin a segment in %s", journal->folder);
    journal->file = file;
    journal_segment_t *last = journal->count > 0 ? journal_newest(journal) : NULL;
    if (last != NULL) cut_tail(journal, last);
    assert(journal->segments != NULL); /* room was made before anything pointed into it */
    journal->segments[journal->count++] = (journal_segment_t){.number = header.number,
                                                              .size = size,
                                                              .length = JOURNAL_HEADER_BYTES + opening->carry_length,
                                                              .previous = header.previous,
                                                              .previous_length = header.previous_length,
                                                              .oldest_ms = opening->now_ms,
                                                              .map = opening->carried};
    opening->carried = (journal_map_t){0};
    remove_leftovers(opening);
    return JOURNAL_OK;
}

static journal_result_t open_files(opening_t *opening, const journal_config_t *config, int wait) {
    journal_t *journal = opening->journal;
    journal_result_t result = enter_folder(opening, wait);
    if (result != JOURNAL_OK) return result;
    if (opening->names.count > 0) {
        result = build_chain(opening);
        if (result == JOURNAL_OK) result = replay_all(opening);
        if (result != JOURNAL_OK) return result;
    } else {
        journal->id = config->id_if_new;
        journal->sequence_next = 1;
        while (cart_id_is_none(&journal->id)) {
            if (getrandom(journal->id.bytes, CART_ID_BYTES, 0) != CART_ID_BYTES) {
                return say(opening, JOURNAL_FAILED, "no random bytes");
            }
        }
        if (!journal_reserve_segments(journal, 1)) return say(opening, JOURNAL_NO_MEMORY, "no memory");
    }
    return begin_own(opening);
}

journal_result_t journal_open(const files_t *files, const journal_config_t *config, int wait, uint64_t now_ms,
                              journal_replay_fn replay, void *argument, journal_t **journal, cart_id_t *id,
                              char *detail, size_t detail_bytes) {
    assert(config->segment_bytes >= JOURNAL_SEGMENT_MIN && config->segment_bytes <= JOURNAL_SEGMENT_MAX);
    assert(config->limit_bytes / 2 >= config->segment_bytes);
    opening_t opening = {
        .replay = replay, .argument = argument, .now_ms = now_ms, .detail = detail, .detail_bytes = detail_bytes};
    journal_t *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) return say(&opening, JOURNAL_NO_MEMORY, "no memory");
    opening.journal = opened;
    *opened = (journal_t){.files = files,
                          .segment_bytes = config->segment_bytes,
                          .limit_bytes = config->limit_bytes,
                          .lock = -1,
                          .file = -1,
                          .spare = {.file = -1},
                          .folder = strdup(config->folder)};
    journal_result_t result =
        opened->folder == NULL ? say(&opening, JOURNAL_NO_MEMORY, "no memory") : open_files(&opening, config, wait);
    free(opening.names.numbers);
    free(opening.chain);
    free(opening.added);
    free(opening.carry);
    journal_map_deinit(&opening.carried);
    if (result != JOURNAL_OK) {
        journal_close(opened);
        return result;
    }
    *journal = opened;
    *id = opened->id;
    return JOURNAL_OK;
}
