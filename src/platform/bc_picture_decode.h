/* The parsers of outside input behind bc_picture: bytes in, pixels out. Run in the worker and the fuzzer only. */
#ifndef BC_PICTURE_DECODE_H
#define BC_PICTURE_DECODE_H

#include "platform/bc_picture.h"

typedef struct {
    uint32_t width, height; /* as stored, before `orientation` */
    int orientation;        /* EXIF's 1…8 */
    uint8_t *rgba;          /* owned, width * 4 bytes a row */
} bc_bitmap_t;

/* `enough`: the long side that the caller needs; a JPEG may come back smaller than it is, but not smaller than twice that.
 * *bitmap is unchanged unless BC_PICTURE_OK; then the caller frees rgba. */
bc_picture_result_t bc_picture_decode(const uint8_t *bytes, size_t length, uint32_t enough, bc_bitmap_t *bitmap);

/* Orientation in a TIFF structure as EXIF has it; 1 when it says none or is none. */
int bc_picture_exif_orientation(const uint8_t *tiff, size_t length);

#endif
