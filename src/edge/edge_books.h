/*
 * The book replica: what a cart shows of a book, known to all workers of one machine. In shared memory.
 *
 * Each book is one entry: numbers, and the text of its line up to the quantity, escaped and ready to be copied. Readers
 * take no lock (edge_seq.h, one number for each of EDGE_BOOKS_STRIPES stripes of the hash); writers hold the one lock.
 *  1. A book's newest state wins by its feed position, whatever order the records come in.
 *  2. A miss is never an answer: the caller asks the service. A full replica gives up another book, so a record that was
 *     asked for always finds room.
 *  3. A full list upserts; at its end whatever was not in it goes. Each book is whole at every moment.
 *  4. A writer that died: the next holder of the lock empties everything, positions too, and the feed begins anew.
 */
#ifndef EDGE_BOOKS_H
#define EDGE_BOOKS_H

#include "cart/cart_worker.h"
#include "cart/cart_zone.h"

#define EDGE_BOOKS_BYTES_MIN ((size_t)1 << 20)
#define EDGE_BOOKS_TEXT_MAX  4096 /* of one line's text; authors that do not fit are left out */
#define EDGE_BOOKS_STRIPES   1024
#define EDGE_BOOKS_PRICES    2 /* earlier prices remembered */

typedef struct edge_books_memory edge_books_memory_t;
typedef struct {
    edge_books_memory_t *memory; /* shm: under its lock; entries by stripe */
    cart_zone_locks_t locks;
} edge_books_t;

typedef struct {
    uint64_t book;
    uint64_t position;
    uint64_t price_minor;
    uint64_t digest;                        /* of everything shown of the book but `available` */
    uint64_t old_price[EDGE_BOOKS_PRICES];  /* newest first: the price before the change at changed_at */
    uint64_t changed_at[EDGE_BOOKS_PRICES]; /* feed positions; 0: none */
    uint32_t available;
    uint16_t text_length;
    uint8_t availability; /* cart_availability_t */
    uint8_t state;        /* cart_book_state_t */
} edge_book_t;

/* bytes of zeroed, 64-byte aligned memory. False: fewer than EDGE_BOOKS_BYTES_MIN. */
bool edge_books_init(edge_books_t *books, void *memory, size_t bytes);
bool edge_books_attach(edge_books_t *books, void *memory, size_t bytes);

/* Fetches what the first lines of a cart will need into the cache, all at once: a cart of five books costs one trip to
 * memory, not ten in a row. Only a hint. */
#define EDGE_BOOKS_EXPECT_MAX   16
#define EDGE_BOOKS_EXPECT_BYTES 384
void edge_books_expect(const edge_books_t *books, const cart_line_t *lines, unsigned count);

typedef enum { EDGE_BOOK_FOUND, EDGE_BOOK_MISSING, EDGE_BOOK_NO_ROOM } edge_book_found_t;
/* Copies the book and its text (book->text_length bytes into text). */
edge_book_found_t edge_books_read(edge_books_t *books, uint64_t id, edge_book_t *book, char *text, size_t capacity);

/* generation: of the list's store. Another one than before: its positions cannot be compared with ours, so what it says of
 * a book holds whatever we knew. */
void edge_books_full_begin(edge_books_t *books, uint64_t generation);
/* False: a record that fits nowhere (never, with a zone of EDGE_BOOKS_BYTES_MIN). */
bool edge_books_put(edge_books_t *books, const cart_book_record_t *record);
void edge_books_full_end(edge_books_t *books, uint64_t generation, uint64_t position);
void edge_books_advance(edge_books_t *books, uint64_t generation, uint64_t position);

/* The feed position reached, without a lock. */
uint64_t edge_books_position(const edge_books_t *books);

typedef struct {
    uint64_t generation, position, count, evicted, bytes_total, bytes_used;
    bool ready;   /* a full list was completed since the last reset */
    bool emptied; /* emptied because its writer died, and not full again: the feed must begin anew */
} edge_books_stats_t;
void edge_books_stats(edge_books_t *books, edge_books_stats_t *stats);

#endif
