/*
 * What one link still owes its socket: a queue of bytes that are whole frames, with a maximum.
 *
 * Records of the batch types are gathered: as long as the last frame in the queue is a batch of that type and was not
 * handed out, the next record joins it, so that a turn of the event loop sends a few frames and one write. Order is the
 * order of the calls. cart_out_take seals the last batch: what the socket may have seen never changes.
 */
#ifndef CART_OUT_H
#define CART_OUT_H

#include "cart/cart_frame.h"

typedef struct {
    uint8_t *bytes; /* owned */
    size_t head;    /* first byte not sent */
    size_t length;  /* end of what is queued */
    size_t capacity;
    size_t open; /* offset of the batch that may still grow; SIZE_MAX: none */
    size_t max;  /* bytes that may be owed */
} cart_out_t;

void cart_out_init(cart_out_t *out, size_t max_bytes);
void cart_out_deinit(cart_out_t *out);
/* Forgets everything: the link is gone. */
void cart_out_clear(cart_out_t *out);

static inline size_t cart_out_owed(const cart_out_t *out) {
    return out->length - out->head;
}

/* Room for `bytes` of whole frames, to be counted with cart_out_add. NULL: the maximum, or no memory. */
uint8_t *cart_out_room(cart_out_t *out, size_t bytes);
void cart_out_add(cart_out_t *out, size_t bytes);

/* Room for one record of at most `bytes` in a batch of `type`; cart_out_record_add must follow. NULL as above. */
uint8_t *cart_out_record(cart_out_t *out, uint8_t type, size_t bytes);
void cart_out_record_add(cart_out_t *out, size_t bytes);

/* What to write now; borrowed until the queue is next called. */
size_t cart_out_take(cart_out_t *out, const uint8_t **bytes);
void cart_out_sent(cart_out_t *out, size_t bytes);

#endif
