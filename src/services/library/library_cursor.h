/*
 * Cursors: where the next page of one list begins, sealed with the store's key, so that a cursor is ours or refused.
 *
 * | bytes | what                                                |
 * |-------|-----------------------------------------------------|
 * | 1     | layout, 1                                           |
 * | 16    | digest of the order and filters: which list it is of |
 * | 8 8 8 | first, second, id; little-endian                    |
 * | 1     | length of the title key                             |
 * | 0…96  | the title key                                       |
 * | 16    | keyed BLAKE2b of all before                         |
 *
 * Written as URL-safe base64 without padding. It survives restarts and names a place, not a row: pages go on where they
 * were although books change between them.
 */
#ifndef LIBRARY_CURSOR_H
#define LIBRARY_CURSOR_H

#include "services/library/library_store.h"

enum { library_cursor_chars_max = 208, library_list_digest_bytes = 16 };

void library_cursor_write(const uint8_t key[library_cursor_key_bytes], const uint8_t list[library_list_digest_bytes],
                          const library_place_t *place, char text[library_cursor_chars_max]);

/* false: not one of ours, or of another list; *place unchanged. */
bool library_cursor_read(const uint8_t key[library_cursor_key_bytes], const uint8_t list[library_list_digest_bytes],
                         const char *text, library_place_t *place);

#endif
