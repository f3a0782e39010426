/*
 * The frames of the link, both ends: bytes to plain structs and back (docs/LINK.md has the byte tables).
 *
 * Every frame is an 8-byte header and a payload:
 *
 *   0  u32  payload length, at most CART_FRAME_PAYLOAD_MAX
 *   4  u8   type, cart_frame_type_t
 *   5  u8   protocol, CART_PROTOCOL
 *   6  u16  flags of the type; unknown ones are an error
 *
 * Little endian, no padding. Six types are batches: u16 count (1…), u16 zero, then that many records back to back. A
 * payload is used up exactly. What is not exactly a frame is a protocol error: the link is closed, nothing of it is
 * guessed. Reading borrows from the input and never allocates; writing is for memory of the stated maximum.
 */
#ifndef CART_FRAME_H
#define CART_FRAME_H

#include "cart/cart_image.h"
#include "cart/cart_worker.h"

#define CART_PROTOCOL           1
#define CART_FRAME_HEADER_BYTES 8
#define CART_FRAME_BATCH_BYTES  4
#define CART_FRAME_PAYLOAD_MAX  65536
#define CART_FRAME_MAGIC        UINT32_C(0x4c434b42) /* "BKCL" as it lies in HELLO and WELCOME */
#define CART_REMAINING_MAX_MS   CART_WORKER_WRITE_TIMEOUT_MAX_MS

/* Wire values: append only. e: edge to service, s: service to edge. */
typedef enum {
    CART_FRAME_HELLO = 1,   /* e: first frame of a link */
    CART_FRAME_WELCOME = 2, /* s: the answer to HELLO, first frame of its direction */
    CART_FRAME_OPS = 3,     /* e: batch */
    CART_FRAME_DONE = 4,    /* s: batch */
    CART_FRAME_FETCH = 5,   /* e: batch */
    CART_FRAME_CART = 6,    /* s: batch */
    CART_FRAME_PUSH = 7,    /* s: batch */
    CART_FRAME_RELEASE = 8, /* e: batch */
    CART_FRAME_FOLLOW = 9,  /* e: begin or stop following the feeds */
    CART_FRAME_ASK = 10,    /* e: books that the replica misses */
    CART_FRAME_BOOKS = 11,  /* s */
    CART_FRAME_REVOKE = 12, /* s */
    CART_FRAME_PING = 13,   /* both */
} cart_frame_type_t;
#define CART_FRAME_TYPE_MAX CART_FRAME_PING

/* Flags. A type that is not named here has none. */
#define CART_HELLO_SEVERAL   0x0001 /* the edge names several services: a sole owner must refuse */
#define CART_WELCOME_SHARED  0x0001 /* the store is shared with other services */
#define CART_WELCOME_RESUMED 0x0002 /* PUSHes go on behind push_seen; else: gap */
#define CART_WELCOME_BOOKS   0x0004 /* the books feed is vouched for */
#define CART_WELCOME_REVOKED 0x0008 /* the revocations feed is vouched for */
#define CART_FOLLOW_STOP     0x0001
#define CART_LIST_FULL       0x0001 /* part of a full list */
#define CART_LIST_FIRST      0x0002 /* its beginning; only with FULL */
#define CART_LIST_LAST       0x0004 /* its end (a list of changes: caught up) */
#define CART_LIST_ANSWERS    0x0008 /* BOOKS only, not with FULL */
#define CART_PING_ANSWER     0x0001
#define CART_PING_BOOKS      0x0002 /* from the service: as in WELCOME */
#define CART_PING_REVOKED    0x0004

typedef struct {
    uint8_t type;
    uint8_t protocol; /* another than CART_PROTOCOL only with HELLO and WELCOME */
    uint16_t flags;
    const uint8_t *payload; /* borrowed from the input */
    uint32_t length;
} cart_frame_t;

typedef enum { CART_FRAME_OK, CART_FRAME_MORE /* not all there yet */, CART_FRAME_BAD } cart_frame_result_t;

/* Reads one frame's header at `bytes`. OK: *frame, and *used bytes belong to it. BAD as soon as the header cannot be
 * one, whether or not the payload is there. Does not look into the payload. */
cart_frame_result_t cart_frame_read(const uint8_t *bytes, size_t length, cart_frame_t *frame, size_t *used);
/* Writes a header. */
void cart_frame_header(uint8_t bytes[CART_FRAME_HEADER_BYTES], uint8_t type, uint16_t flags, uint32_t payload_length);
const char *cart_frame_name(uint8_t type); /* static; "?" for what is none */

/* ---- frames with one payload: write returns the payload's length, read is true for exactly a payload ---------------- */
typedef struct {
    cart_id_t edge;    /* the zone's incarnation */
    uint16_t slot;     /* < CART_ZONE_SLOTS_MAX */
    uint64_t link;     /* link number, 1… */
    cart_id_t service; /* last heard on this slot, none = never */
    uint64_t push_seen;
    uint64_t books_generation, books_position; /* where the zone's replicas stand; 0, 0 = nothing */
    uint64_t revoked_generation, revoked_position;
    bool several;
} cart_hello_t;
#define CART_HELLO_BYTES (4 + 2 + 2 + 16 + 8 + 16 + 8 + 4 * 8)

/* Wire values: append only. */
typedef enum {
    CART_WELCOME_OK = 0,
    CART_WELCOME_PROTOCOL = 1, /* another protocol: `protocol` says which one is spoken */
    CART_WELCOME_SOLE = 2,     /* a sole owner, and the edge names several services */
    CART_WELCOME_OLD_LINK = 3, /* a newer link of this slot was seen */
    CART_WELCOME_FULL = 4,     /* no room for another link or slot */
} cart_welcome_result_t;
#define CART_WELCOME_RESULT_MAX CART_WELCOME_FULL

typedef struct {
    uint8_t result; /* cart_welcome_result_t */
    uint8_t protocol;
    cart_id_t service;
    uint64_t epoch;
    uint64_t push_next;                        /* the number of the next PUSH on this slot */
    uint64_t books_generation, books_position; /* newest that the service has heard; 0, 0 = nothing yet */
    uint64_t revoked_generation, revoked_position;
    bool shared, resumed, books_vouched, revoked_vouched;
} cart_welcome_t;
#define CART_WELCOME_BYTES (4 + 1 + 1 + 2 + 16 + 8 + 8 + 4 * 8)

typedef struct {
    uint64_t number;
    uint64_t push_seen; /* from the edge: what its zone has stored; from the service 0 */
    bool answer, books_vouched, revoked_vouched;
} cart_ping_t;
#define CART_PING_BYTES 16

typedef struct {
    uint64_t books_generation, books_position;
    uint64_t revoked_generation, revoked_position;
    bool stop;
} cart_follow_t;
#define CART_FOLLOW_BYTES 32

/* Whole frames, header included: each writes exactly CART_FRAME_HEADER_BYTES + CART_…_BYTES. */
void cart_hello_write(uint8_t *bytes, const cart_hello_t *hello);
void cart_welcome_write(uint8_t *bytes, const cart_welcome_t *welcome);
void cart_ping_write(uint8_t *bytes, const cart_ping_t *ping);
void cart_follow_write(uint8_t *bytes, const cart_follow_t *follow);
bool cart_hello_read(const cart_frame_t *frame, cart_hello_t *hello);
/* A HELLO of a protocol that this end does not speak: to be answered CART_WELCOME_PROTOCOL, then closed. */
bool cart_hello_is_other_protocol(const cart_frame_t *frame);
bool cart_welcome_read(const cart_frame_t *frame, cart_welcome_t *welcome);
bool cart_ping_read(const cart_frame_t *frame, cart_ping_t *ping);
bool cart_follow_read(const cart_frame_t *frame, cart_follow_t *follow);

/* ---- batches ------------------------------------------------------------------------------------------------------- */
typedef struct {
    const uint8_t *at, *end; /* borrowed */
    uint16_t left;
} cart_batch_t;

/* False: no batch, or an empty one. */
bool cart_batch_open(const cart_frame_t *frame, cart_batch_t *batch);
/* All records were read and nothing is left over. */
static inline bool cart_batch_is_complete(const cart_batch_t *batch) {
    return batch->left == 0 && batch->at == batch->end;
}

typedef struct {
    uint32_t number;       /* of this request on its link */
    uint32_t remaining_ms; /* 1…CART_REMAINING_MAX_MS */
    cart_request_t request;
} cart_op_record_t;
#define CART_OP_FIXED_BYTES      (4 + 4 + 16 + 16 + 8 + 16 + 8 + 1 + 1 + 16 + 2)
#define CART_OP_CHANGE_BYTES     (1 + 8 + 4)
#define CART_OP_BYTES_MAX        (CART_OP_FIXED_BYTES + CART_CHANGES_MAX * CART_OP_CHANGE_BYTES)
#define CART_OP_NUMBER_OFFSET    0 /* number and remaining time are patched into a record when it leaves */
#define CART_OP_REMAINING_OFFSET 4

typedef struct {
    uint32_t number;
    cart_verdict_t verdict;
    uint64_t push;        /* PUSH number that this change takes on the link's slot; 0: the slot is not subscribed */
    uint64_t generation;  /* of the subscribed seat; 0 with push 0 */
    const uint8_t *image; /* packed; borrowed; length 0: none */
    uint16_t image_length;
} cart_done_record_t;
#define CART_DONE_FIXED_BYTES (4 + 4 + 8 + 8 + 2)
#define CART_DONE_BYTES_MAX   (CART_DONE_FIXED_BYTES + CART_IMAGE_PACKED_MAX)

typedef struct {
    uint32_t number; /* shares its counter with OPS */
    uint32_t remaining_ms;
    cart_id_t user, session;
    uint64_t issued_s;
    uint64_t generation; /* of the reserved seat; 0: none, do not subscribe */
} cart_fetch_record_t;
#define CART_FETCH_BYTES (4 + 4 + 16 + 16 + 8 + 8)

typedef struct {
    uint32_t number;
    cart_verdict_t verdict;
    uint64_t generation; /* of the FETCH when its seat is subscribed now; 0: it is not, give the seat up */
    const uint8_t *image;
    uint16_t image_length;
} cart_cart_record_t;
#define CART_CART_FIXED_BYTES (4 + 4 + 8 + 2)
#define CART_CART_BYTES_MAX   (CART_CART_FIXED_BYTES + CART_IMAGE_PACKED_MAX)

typedef struct {
    uint64_t number;
    uint64_t generation;
    cart_id_t user;
    const uint8_t *image; /* length 0: give the seat up */
    uint16_t image_length;
} cart_push_record_t;
#define CART_PUSH_FIXED_BYTES (8 + 8 + 16 + 2)
#define CART_PUSH_BYTES_MAX   (CART_PUSH_FIXED_BYTES + CART_IMAGE_PACKED_MAX)

typedef struct {
    cart_id_t user;
    uint64_t generation;
    uint64_t term; /* > 0: its sync is wanted soon */
} cart_release_record_t;
#define CART_RELEASE_BYTES (16 + 8 + 8)

/* One record, without the batch around it: `bytes` has room for the type's maximum. Returns its length. */
size_t cart_op_write(uint8_t *bytes, const cart_op_record_t *record);
/* The same with number and remaining time 0, for a record that waits; cart_record_patch completes it (OPS and FETCH). */
size_t cart_op_write_request(uint8_t *bytes, const cart_request_t *request);
void cart_record_patch(uint8_t *bytes, uint32_t number, uint32_t remaining_ms);
void cart_fetch_patch(uint8_t *bytes, uint64_t generation);
size_t cart_done_write(uint8_t *bytes, const cart_done_record_t *record);
size_t cart_fetch_write(uint8_t *bytes, const cart_fetch_record_t *record);
size_t cart_cart_write(uint8_t *bytes, const cart_cart_record_t *record);
size_t cart_push_write(uint8_t *bytes, const cart_push_record_t *record);
size_t cart_release_write(uint8_t *bytes, const cart_release_record_t *record);

/* The next record. False: no further one, or a bad one (the batch is then not complete). Images are not looked into:
 * cart_image_unpack judges them. */
bool cart_op_next(cart_batch_t *batch, cart_op_record_t *record);
bool cart_done_next(cart_batch_t *batch, cart_done_record_t *record);
bool cart_fetch_next(cart_batch_t *batch, cart_fetch_record_t *record);
bool cart_cart_next(cart_batch_t *batch, cart_cart_record_t *record);
bool cart_push_next(cart_batch_t *batch, cart_push_record_t *record);
bool cart_release_next(cart_batch_t *batch, cart_release_record_t *record);

/* ---- lists: ASK, BOOKS, REVOKE -------------------------------------------------------------------------------------- */
/* BOOKS and REVOKE: u64 generation · u64 position · u16 count (0…) · u16 zero · records. ASK: u16 count · u16 zero · u64… */
typedef struct {
    uint64_t generation, position;
    uint16_t flags; /* CART_LIST_… */
    cart_batch_t records;
} cart_list_t;
#define CART_LIST_BYTES       (8 + 8 + 4)
#define CART_BOOK_FIXED_BYTES (8 + 8 + 8 + 4 + 1 + 1 + 1 + 1 + 2 + 2)
#define CART_BOOK_BYTES_MAX                                                                                            \
    (CART_BOOK_FIXED_BYTES + CART_BOOK_TITLE_MAX + CART_BOOK_URL_MAX +                                                 \
     CART_BOOK_AUTHORS_MAX * (2 + CART_BOOK_AUTHOR_MAX))
#define CART_REVOCATION_BYTES (1 + 16 + 8 + 8 + 8)

bool cart_list_open(const cart_frame_t *frame, cart_list_t *list);
bool cart_book_next(cart_batch_t *records, cart_book_record_t *book); /* strings borrowed from the frame */
bool cart_revocation_next(cart_batch_t *records, cart_revocation_t *revocation);
/* 0: the book is not one that can travel (a length beyond its maximum). */
size_t cart_book_bytes(const cart_book_record_t *book);
size_t cart_book_write(uint8_t *bytes, const cart_book_record_t *book);
size_t cart_revocation_write(uint8_t *bytes, const cart_revocation_t *revocation);
/* CART_LIST_BYTES. */
void cart_list_write(uint8_t *bytes, uint64_t generation, uint64_t position, uint16_t count);

/* Room for CART_WORKER_ASK_MAX ids. False unless 1…that many valid ids. */
bool cart_ask_read(const cart_frame_t *frame, uint64_t books[CART_WORKER_ASK_MAX], unsigned *count);
#define CART_ASK_BYTES_MAX (CART_FRAME_BATCH_BYTES + 8 * CART_WORKER_ASK_MAX)
/* A whole frame; returns its length. */
size_t cart_ask_write(uint8_t *bytes, const uint64_t *books, unsigned count);

/* What both ends do with bytes that are not a whole frame yet: appends to the block *in (owned, grows to one frame at most)
 * what of *bytes it has room for, and takes it off *bytes. False: no memory. */
bool cart_in_append(uint8_t **in, size_t *in_length, size_t *in_capacity, const uint8_t **bytes, size_t *length);

/* Little-endian numbers at any alignment, for what is patched into frames. */
void cart_put_u32(uint8_t *bytes, uint32_t value);
uint32_t cart_get_u32(const uint8_t *bytes);

#endif
