/*
 * Cursors of lists: the place where the next page begins, sealed, so that a cursor is ours and of this very list, or refused.
 *
 *   | bytes | what                                                        |
 *   | 1     | layout, 1                                                   |
 *   | 0…128 | the place: what the list's statement compares with          |
 *   | 16    | keyed BLAKE2b of the list's text and all before             |
 *
 * Written as URL-safe base64 without padding. The list's text names order and filters ("users kind=guest"), so that a cursor of
 * another list, or of the same one filtered otherwise, does not open. The key is made from the service key: a cursor survives restarts.
 * Pure; any thread.
 */
#ifndef BC_CURSOR_H
#define BC_CURSOR_H

#include <stdbool.h>
#include <stddef.h>

#define BC_CURSOR_PLACE_MAX 128 /* bytes */
#define BC_CURSOR_CHARS     200 /* the longest text with its zero */

/* `place`: 1…BC_CURSOR_PLACE_MAX bytes, the same everywhere it is read (no padding, no pointers). */
void bc_cursor_write(const char *service_key, const char *list, const void *place, size_t length,
                     char text[BC_CURSOR_CHARS]);
/* false: not ours, of another list, or of another length; *place unchanged. */
bool bc_cursor_read(const char *service_key, const char *list, const char *text, void *place, size_t length);

#endif
