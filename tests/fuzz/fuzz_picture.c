/* Whatever bytes come: the decoders behind a picture refuse them or give pixels inside the limits, and the orientation is one. */
#include "platform/bc_picture_decode.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bc_bitmap_t bitmap = {.rgba = NULL};
    int orientation = bc_picture_exif_orientation(data, size);
    if (orientation < 1 || orientation > 8) abort();
    bc_picture_result_t result = bc_picture_decode(data, size, 64, &bitmap);
    if (result != BC_PICTURE_OK) {
        if (bitmap.rgba != NULL) abort();
        return 0;
    }
    if (bitmap.rgba == NULL || bitmap.width == 0 || bitmap.height == 0) abort();
    if (bitmap.width > BC_PICTURE_SIDE_MAX || bitmap.height > BC_PICTURE_SIDE_MAX) abort();
    if (bitmap.orientation < 1 || bitmap.orientation > 8) abort();
    size_t bytes = (size_t)bitmap.width * bitmap.height * 4;
    if (bytes > (size_t)BC_PICTURE_PIXELS_MAX * 4) abort();
    volatile uint8_t last = bitmap.rgba[bytes - 1]; /* a sanitizer sees a buffer that is too short */
    (void)last;
    free(bitmap.rgba);
    return 0;
}
