/*
 * The bytes of a journal segment. Pure: no files, no state. All numbers are little endian.
 *
 * A segment is one file, named by its number (16 hex digits, ".journal"), of a fixed size, all zeros before it is used:
 *   header (4096 bytes) · batch · batch · … · zeros
 *
 * Header                                      | Batch (a multiple of 8 bytes, at an offset that is a multiple of 8)
 *   0  magic "bcjournl"                    8  |   0  magic "btch"                                 4
 *   8  format version (1)                  4  |   4  length with this header and padding          4
 *  12  bytes of this header (4096)         4  |   8  records in it                                4
 *  16  journal id, random                 16  |  12  kind: 1 sets, 2 drop                         4
 *  32  number of this segment              8  |  16  sequence: one more than the batch before     8
 *  40  number of the segment before        8  |  24  CRC-32C                                      4
 *  48  bytes of that one that count        8  |  28  zero                                         4
 *  56  first segment that still counts     8  |  32  payload, zero bytes up to the length
 *  64  sequence of the first batch here    8  |
 *  72  size of this file                   8  | Record (kind 1)
 *  80  greatest epoch journalled so far    8  |   0  user                                        16
 *  88  zero                             4004  |  16  expected epoch, expected version       8 and 8
 *4092  CRC-32C of bytes 0…4091             4  |  32  base version                                 8
 *                                             |  40  length of the image                          2
 * Drop (kind 2): first segment that           |  42  number of added ids                          2
 * still counts, 8 bytes; no records.          |  44  image (packed, cart_image.h)
 *                                             |  ..  added ids: id 16, digest 8, second 4, keyed 1
 *
 * The CRC of a batch begins with the journal's id, the segment's number and the batch's offset, then covers the batch
 * with its CRC field left out. So bytes of another journal, of another segment, of this one but elsewhere, or left on the
 * disk by an earlier file, never verify. A batch counts as a whole or not at all.
 *
 * "The segment before" is the one whose batches come before this one's, and it says of it how many bytes count. Numbers
 * in between belong to segments that were begun and given up; what is in them never counts.
 */
#ifndef ENGINE_JOURNAL_FORMAT_H
#define ENGINE_JOURNAL_FORMAT_H

#include "engine/commit_point.h"

#define JOURNAL_HEADER_BYTES        4096
#define JOURNAL_BATCH_HEADER_BYTES  32
#define JOURNAL_RECORD_HEADER_BYTES 44
#define JOURNAL_ADDED_BYTES         29
#define JOURNAL_IMAGE_MAX           4096 /* above CART_IMAGE_PACKED_MAX */
#define JOURNAL_ADDED_MAX           4096 /* both rings of an absorbed guest, full */
#define JOURNAL_DROP_BYTES          (JOURNAL_BATCH_HEADER_BYTES + 8)

typedef struct {
    cart_id_t id;
    uint64_t number;
    uint64_t previous;        /* 0: none */
    uint64_t previous_length; /* bytes of `previous` that count */
    uint64_t first;           /* segments below this number count no more */
    uint64_t sequence;        /* of the first batch */
    uint64_t bytes;
    uint64_t epoch_seen;
} journal_header_t;

typedef enum { JOURNAL_HEADER_OK, JOURNAL_HEADER_BAD, JOURNAL_HEADER_NEWER } journal_header_result_t;

typedef enum { JOURNAL_BATCH_SETS = 1, JOURNAL_BATCH_DROP = 2 } journal_batch_kind_t;

typedef struct {
    journal_batch_kind_t kind;
    uint32_t length; /* of the whole batch */
    uint32_t count;
    uint64_t sequence;
    const uint8_t *payload; /* borrowed: points into the bytes that were decoded */
    uint64_t first;         /* with JOURNAL_BATCH_DROP */
} journal_batch_t;

/* What makes a batch valid at one place only. */
typedef struct {
    const cart_id_t *id; /* borrowed */
    uint64_t number;
    uint64_t offset;
} journal_where_t;

void journal_header_encode(const journal_header_t *header, uint8_t bytes[JOURNAL_HEADER_BYTES]);
/* *header is written only with JOURNAL_HEADER_OK. */
journal_header_result_t journal_header_decode(const uint8_t bytes[JOURNAL_HEADER_BYTES], journal_header_t *header);

/* Bytes of the batch that these sets make; 0 when one of them is out of range (image or ids too long). */
size_t journal_batch_size(const commit_set_t *sets, unsigned count);
void journal_batch_encode(const commit_set_t *sets, unsigned count, const journal_where_t *where, uint64_t sequence,
                          uint8_t *bytes, size_t size);
void journal_drop_encode(uint64_t first, const journal_where_t *where, uint64_t sequence,
                         uint8_t bytes[JOURNAL_DROP_BYTES]);
/* Writes the same batch for another place. `bytes` holds a valid batch. */
void journal_batch_move(uint8_t *bytes, const journal_where_t *where, uint64_t sequence);

/* Length that the batch at `bytes` claims to have: 0 when no batch begins there. Needs JOURNAL_BATCH_HEADER_BYTES. */
uint32_t journal_batch_length(const uint8_t *bytes);
/* Checks everything: sum, kind, and that its records fill it exactly. `available` bytes may be read. */
bool journal_batch_decode(const uint8_t *bytes, size_t available, const journal_where_t *where, journal_batch_t *batch);

/* Walks the records of a batch that was decoded. `added` has room for JOURNAL_ADDED_MAX; *set points into it and into the
 * batch. *at begins with 0. False: no more. */
bool journal_record_next(const journal_batch_t *batch, uint32_t *index, size_t *at, cart_recent_id_t *added,
                         commit_set_t *set);

/* The place that a packed image begins with. False: these bytes are no image. */
bool journal_image_place(const uint8_t *image, size_t length, cart_place_t *place);

#endif
