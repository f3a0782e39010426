/* From the bytes that came to three WebP versions: decode, fit into the boxes from the largest down, turn upright, encode. */
#include "platform/bc_picture_decode.h"
#include "platform/bc_picture_worker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <webp/encode.h>

#define QUALITY 82.0f

const bc_picture_box_t bc_picture_boxes[BC_PICTURE_KIND_COUNT][BC_PICTURE_SIZE_COUNT] = {
    [BC_PICTURE_COVER] = {{1000, 1500}, {400, 600}, {160, 240}},
    [BC_PICTURE_BANNER] = {{1920, 1080}, {960, 540}, {480, 270}},
    [BC_PICTURE_PORTRAIT] = {{512, 512}, {256, 256}, {96, 96}},
};
const char *const bc_picture_size_words[BC_PICTURE_SIZE_COUNT] = {"large", "medium", "small"};

/* EXIF 2.3, 4.6.4: 5…8 lie on their side. */
static bool lies(int orientation) {
    return orientation >= 5;
}

/* The greatest size of these proportions inside the box, at least 1 × 1, not above the picture's own. */
static void fit(uint32_t width, uint32_t height, bc_picture_box_t box, int *fitted_width, int *fitted_height) {
    uint64_t w = width, h = height;
    if (w > box.width) {
        h = (h * box.width + w / 2) / w;
        w = box.width;
    }
    if (h > box.height) {
        w = (w * box.height + h / 2) / h;
        h = box.height;
    }
    *fitted_width = w == 0 ? 1 : (int)w;
    *fitted_height = h == 0 ? 1 : (int)h;
}

/* Where the upright picture's pixel (x, y) lies in the stored one of width × height. */
static size_t place_of(int orientation, int x, int y, int width, int height) {
    int from_x = lies(orientation) ? y : x, from_y = lies(orientation) ? x : y;
    bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    if (mirror_x) from_x = width - 1 - from_x;
    if (mirror_y) from_y = height - 1 - from_y;
    return (size_t)from_y * (size_t)width + (size_t)from_x;
}

/* A copy of `stored` turned upright. */
static bool turn(const WebPPicture *stored, int orientation, WebPPicture *upright) {
    upright->use_argb = 1;
    upright->width = lies(orientation) ? stored->height : stored->width;
    upright->height = lies(orientation) ? stored->width : stored->height;
    if (!WebPPictureAlloc(upright)) return false;
    assert(stored->argb_stride == stored->width);
    for (int y = 0; y < upright->height; y++) {
        for (int x = 0; x < upright->width; x++) {
            upright->argb[(size_t)y * (size_t)upright->argb_stride + (size_t)x] =
                stored->argb[place_of(orientation, x, y, stored->width, stored->height)];
        }
    }
    return true;
}

/* *bytes is owned by the caller. */
static bool encode(WebPPicture *picture, uint8_t **bytes, size_t *length) {
    WebPConfig config;
    WebPMemoryWriter writer;
    if (!WebPConfigPreset(&config, WEBP_PRESET_PHOTO, QUALITY)) return false;
    WebPMemoryWriterInit(&writer);
    picture->writer = WebPMemoryWrite;
    picture->custom_ptr = &writer;
    if (!WebPEncode(&config, picture)) {
        WebPMemoryWriterClear(&writer);
        return false;
    }
    *bytes = writer.mem;
    *length = writer.size;
    return true;
}

/* `stored` becomes smaller: versions are made from the largest down. */
static bool make_version(WebPPicture *stored, int orientation, bc_picture_box_t box, bc_picture_answer_t *answer,
                         size_t index, uint8_t **bytes) {
    WebPPicture upright;
    int width = 0, height = 0;
    size_t length = 0;
    bc_picture_box_t laid = lies(orientation) ? (bc_picture_box_t){box.height, box.width} : box;
    if (!WebPPictureInit(&upright)) return false;
    fit((uint32_t)stored->width, (uint32_t)stored->height, laid, &width, &height);
    if ((width != stored->width || height != stored->height) && !WebPPictureRescale(stored, width, height))
        return false;
    bool good = turn(stored, orientation, &upright) && encode(&upright, bytes, &length);
    if (good) {
        answer->versions[index].width = (uint32_t)upright.width;
        answer->versions[index].height = (uint32_t)upright.height;
        answer->versions[index].length = (uint32_t)length;
    }
    WebPPictureFree(&upright);
    return good;
}

bc_picture_result_t bc_picture_make(bc_picture_kind_t kind, const uint8_t *bytes, size_t length,
                                    bc_picture_answer_t *answer, uint8_t *versions[BC_PICTURE_SIZE_COUNT]) {
    const bc_picture_box_t *boxes = bc_picture_boxes[kind];
    uint32_t enough = boxes[0].width > boxes[0].height ? boxes[0].width : boxes[0].height;
    bc_bitmap_t bitmap;
    WebPPicture stored;
    bc_picture_answer_t made = {.result = BC_PICTURE_OK};
    uint8_t *encoded[BC_PICTURE_SIZE_COUNT] = {NULL};
    assert(kind < BC_PICTURE_KIND_COUNT);
    if (!WebPPictureInit(&stored)) return BC_PICTURE_FAILED;
    bc_picture_result_t result = bc_picture_decode(bytes, length, enough, &bitmap);
    if (result != BC_PICTURE_OK) return result;
    stored.use_argb = 1;
    stored.width = (int)bitmap.width;
    stored.height = (int)bitmap.height;
    bool good = WebPPictureImportRGBA(&stored, bitmap.rgba, (int)bitmap.width * 4) != 0;
    free(bitmap.rgba);
    for (size_t i = 0; good && i < BC_PICTURE_SIZE_COUNT; i++)
        good = make_version(&stored, bitmap.orientation, boxes[i], &made, i, &encoded[i]);
    WebPPictureFree(&stored);
    if (!good) {
        for (size_t i = 0; i < BC_PICTURE_SIZE_COUNT; i++) WebPFree(encoded[i]);
        return BC_PICTURE_FAILED;
    }
    *answer = made;
    memcpy(versions, encoded, sizeof(encoded));
    return BC_PICTURE_OK;
}
