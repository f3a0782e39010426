/*
 * The compact form of an image: what seats, the engine's table, the journal, the base and the link's frames store.
 *
 *   varint epoch · varint version · varint term (version − base_version) · varint (line count × 4 + state) · lines
 *   a line: varint book · one byte quantity. Varints are LEB128, shortest form only.
 *
 * A cart of five lines from a catalogue of 10,000 books takes 20 to 30 bytes.
 */
#ifndef CART_IMAGE_H
#define CART_IMAGE_H

#include "cart/cart_types.h"

#define CART_IMAGE_PACKED_MAX (3 * 10 + 2 + CART_LINES_MAX * (8 + 1))

/* Packed size in bytes. */
size_t cart_image_packed_size(const cart_image_t *image);

/* Writes at most `capacity` bytes; returns the length, or 0 when it does not fit. */
size_t cart_image_pack(const cart_image_t *image, uint8_t *bytes, size_t capacity);

/* Reads exactly `length` bytes. False, with *image unspecified, unless they are a valid image in shortest form:
 * quantities 1…99, books 1…CART_BOOK_MAX and each once, state known, epoch ≥ 1, nothing left over. */
bool cart_image_unpack(const uint8_t *bytes, size_t length, cart_image_t *image);

/* As cart_image_unpack for bytes that our own cart_image_pack wrote into our own memory: no checks but bounds. */
bool cart_image_unpack_trusted(const uint8_t *bytes, size_t length, cart_image_t *image);

/* Valid by itself: limits, unique books, base_version ≤ version. */
bool cart_image_check(const cart_image_t *image);

/* The greater quantity of each line, order of `mine` first, then new lines of `theirs` while there is room; for forks
 * between epochs. *dropped counts lines for which there was no room (they were in only one of the two). Place and
 * base_version are those of the newer of the two (the caller gives the merge a place of its own before it is stored),
 * the state is the further one. *merged must be neither of the two. */
void cart_image_merge(const cart_image_t *mine, const cart_image_t *theirs, cart_image_t *merged, unsigned *dropped);

#endif
