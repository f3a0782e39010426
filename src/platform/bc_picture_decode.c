/*
 * Decoding, with the format's own library each. What a file is, its first bytes say. Sizes are judged before a pixel is decoded, so
 * that a few bytes cannot ask for gigabytes; a picture that ends early is refused, not shown half grey.
 */
#include "platform/bc_picture_decode.h"

#include <assert.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>
#include <zlib.h>

/* These two want stdio before them. */
#include <jpeglib.h>

#include <jerror.h>

/* Scans of a progressive JPEG times its pixels: a scan costs as much as its picture is large and may be a few bytes. Encoders make about
 * ten scans; the largest picture may have twenty. */
#define SCANS_MAX       100
#define SCAN_PIXELS_MAX (20LL * BC_PICTURE_PIXELS_MAX)

static bool too_large(uint32_t width, uint32_t height) {
    return width > BC_PICTURE_SIDE_MAX || height > BC_PICTURE_SIDE_MAX ||
           (uint64_t)width * height > BC_PICTURE_PIXELS_MAX;
}

/* --- EXIF orientation: TIFF 6.0, tag 0x0112 of the first directory --- */

static uint32_t read_number(const uint8_t *at, size_t bytes, bool big) {
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; i++) value |= (uint32_t)at[i] << 8 * (big ? bytes - 1 - i : i);
    return value;
}

int bc_picture_exif_orientation(const uint8_t *tiff, size_t length) {
    if (length >= 6 && memcmp(tiff, "Exif\0\0", 6) == 0) {
        tiff += 6;
        length -= 6;
    }
    if (length < 8 || (memcmp(tiff, "MM\0*", 4) != 0 && memcmp(tiff, "II*\0", 4) != 0)) return 1;
    bool big = tiff[0] == 'M';
    size_t place = read_number(tiff + 4, 4, big);
    if (place > length - 2) return 1;
    size_t entries = read_number(tiff + place, 2, big);
    place += 2;
    for (; entries > 0 && length - place >= 12; entries--, place += 12) {
        if (read_number(tiff + place, 2, big) != 0x0112) continue;
        uint32_t value = read_number(tiff + place + 8, 2, big);
        return read_number(tiff + place + 2, 2, big) == 3 && value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

/* Each finds the EXIF block of its container; NULL: none. */
static const uint8_t *jpeg_exif(const uint8_t *bytes, size_t length, size_t *size) {
    for (size_t at = 2; at + 4 <= length && bytes[at] == 0xff;) {
        uint8_t marker = bytes[at + 1];
        size_t segment = read_number(bytes + at + 2, 2, true);
        if (marker == 0xda || marker == 0xd9 || segment < 2 || segment > length - at - 2) return NULL;
        if (marker == 0xe1 && segment >= 8 && memcmp(bytes + at + 4, "Exif\0\0", 6) == 0) {
            *size = segment - 2;
            return bytes + at + 4;
        }
        at += 2 + segment;
    }
    return NULL;
}

static const uint8_t *png_exif(const uint8_t *bytes, size_t length, size_t *size) {
    for (size_t at = 8; at + 12 <= length;) {
        size_t chunk = read_number(bytes + at, 4, true);
        if (chunk > length - at - 12) return NULL;
        if (memcmp(bytes + at + 4, "eXIf", 4) == 0) {
            *size = chunk;
            return bytes + at + 8;
        }
        at += 12 + chunk;
    }
    return NULL;
}

static const uint8_t *webp_exif(const uint8_t *bytes, size_t length, size_t *size) {
    for (size_t at = 12; at + 8 <= length;) {
        size_t chunk = read_number(bytes + at + 4, 4, false);
        if (chunk > length - at - 8) return NULL;
        if (memcmp(bytes + at, "EXIF", 4) == 0) {
            *size = chunk;
            return bytes + at + 8;
        }
        at += 8 + chunk + (chunk & 1);
    }
    return NULL;
}

/* --- JPEG --- */

typedef struct {
    struct jpeg_error_mgr base; /* first: what libjpeg holds */
    jmp_buf out;
} jpeg_errors_t;

static void fail_jpeg(j_common_ptr info) {
    jpeg_errors_t *errors = (jpeg_errors_t *)info->err;
    longjmp(errors->out, 1);
}

/* libjpeg fills what is missing with grey and says so with a warning: those are failures here, the harmless ones are not. */
static void judge_jpeg_warning(j_common_ptr info, int level) {
    int code = info->err->msg_code;
    if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE)) fail_jpeg(info);
}

static void say_nothing(j_common_ptr info) {
    (void)info;
}

static void count_scans(j_common_ptr info) {
    const struct jpeg_decompress_struct *picture = (j_decompress_ptr)info;
    int64_t scans = picture->input_scan_number;
    if (scans > SCANS_MAX || scans * picture->image_width * picture->image_height > SCAN_PIXELS_MAX) fail_jpeg(info);
}

/* Adobe writes CMYK inverted. */
static void convert_cmyk(const uint8_t *cmyk, uint8_t *rgba, uint32_t width, bool inverted) {
    for (uint32_t x = 0; x < width; x++, cmyk += 4, rgba += 4) {
        unsigned black = inverted ? cmyk[3] : 255u - cmyk[3];
        for (int c = 0; c < 3; c++) rgba[c] = (uint8_t)((inverted ? cmyk[c] : 255u - cmyk[c]) * black / 255);
        rgba[3] = 255;
    }
}

static unsigned jpeg_divisor(uint32_t width, uint32_t height, uint32_t enough) {
    uint32_t side = width > height ? width : height;
    unsigned divisor = 1;
    while (divisor < 8 && side / (divisor * 2) >= enough * 2) divisor *= 2;
    return divisor;
}

/* Between the two calls of setjmp's user nothing but `info` and what is volatile may have changed. */
static void read_jpeg_rows(j_decompress_ptr info, uint8_t *rgba, uint8_t *line) {
    bool cmyk = info->out_color_space == JCS_CMYK;
    while (info->output_scanline < info->output_height) {
        uint8_t *row = rgba + (size_t)info->output_scanline * info->output_width * 4;
        JSAMPROW into = cmyk ? line : row;
        (void)jpeg_read_scanlines(info, &into, 1); /* one row: the source never suspends */
        if (cmyk) convert_cmyk(line, row, info->output_width, info->saw_Adobe_marker);
    }
}

static bc_picture_result_t decode_jpeg(const uint8_t *bytes, size_t length, uint32_t enough, bc_bitmap_t *bitmap) {
    struct jpeg_decompress_struct info;
    struct jpeg_progress_mgr progress = {.progress_monitor = count_scans};
    jpeg_errors_t errors;
    uint8_t *volatile rgba = NULL, *volatile line = NULL;
    volatile bc_picture_result_t result = BC_PICTURE_BROKEN;
    memset(&info, 0, sizeof(info));
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = fail_jpeg;
    errors.base.emit_message = judge_jpeg_warning;
    errors.base.output_message = say_nothing;
    if (setjmp(errors.out) != 0) goto end;
    jpeg_create_decompress(&info);
    info.progress = &progress;
    jpeg_mem_src(&info, bytes, (unsigned long)length);
    (void)jpeg_read_header(&info, TRUE); /* with TRUE anything but a picture is an error */
    if (too_large(info.image_width, info.image_height)) {
        result = BC_PICTURE_TOO_LARGE;
        goto end;
    }
    bool cmyk = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
    info.out_color_space = cmyk ? JCS_CMYK : JCS_EXT_RGBA;
    info.scale_num = 1;
    info.scale_denom = jpeg_divisor(info.image_width, info.image_height, enough);
    (void)jpeg_start_decompress(&info); /* never suspends */
    size_t row = (size_t)info.output_width * 4;
    rgba = malloc(row * info.output_height);
    line = malloc(row);
    if (rgba == NULL || line == NULL) {
        result = BC_PICTURE_FAILED;
        goto end;
    }
    read_jpeg_rows(&info, rgba, line);
    (void)jpeg_finish_decompress(&info); /* the same */
    *bitmap = (bc_bitmap_t){info.output_width, info.output_height, 1, rgba};
    rgba = NULL;
    result = BC_PICTURE_OK;
end:
    jpeg_destroy_decompress(&info);
    free(line);
    free(rgba);
    return result;
}

/* --- PNG --- */

/* Bytes that the pixels of a PNG are before they are packed, at most (PNG 7.2, 8): each row of each pass has a filter byte and may end
 * inside a byte. `header` is the content of IHDR. */
static uint64_t png_raw_max(const uint8_t *header) {
    static const uint8_t channels[] = {1, 0, 3, 1, 2, 0, 4};
    uint64_t width = read_number(header, 4, true), height = read_number(header + 4, 4, true);
    uint64_t bits = header[9] < sizeof(channels) ? (uint64_t)channels[header[9]] * header[8] : 0;
    return height * (width * bits / 8 + 1) + (height + 8) * 4;
}

/* Whether the packed pixels hold more than the picture can show. libpng unpacks to the end whatever it needs: a megabyte can be a
 * gigabyte of zeros behind a small picture. What is not sound here is left for libpng to refuse. */
static bool png_holds_too_much(const uint8_t *bytes, size_t length) {
    uint8_t scratch[16384];
    z_stream stream = {.zalloc = Z_NULL};
    uint64_t raw_max = 0, raw = 0;
    int state = Z_OK;
    if (inflateInit(&stream) != Z_OK) return false;
    for (size_t at = 8; at + 12 <= length && state == Z_OK;) {
        size_t chunk = read_number(bytes + at, 4, true);
        if (chunk > length - at - 12) break;
        if (memcmp(bytes + at + 4, "IHDR", 4) == 0 && chunk >= 13) raw_max = png_raw_max(bytes + at + 8);
        if (memcmp(bytes + at + 4, "IDAT", 4) == 0) {
            stream.next_in = (z_const Bytef *)(uintptr_t)(bytes + at + 8); /* zlib reads it only */
            stream.avail_in = (uInt)chunk;
            do {
                stream.next_out = scratch;
                stream.avail_out = sizeof(scratch);
                state = inflate(&stream, Z_NO_FLUSH);
                raw += sizeof(scratch) - stream.avail_out;
            } while (state == Z_OK && raw <= raw_max && (stream.avail_in > 0 || stream.avail_out == 0));
            if (state == Z_BUF_ERROR) state = Z_OK; /* it wants the next chunk */
            if (raw > raw_max) break;
        }
        at += 12 + chunk;
    }
    (void)inflateEnd(&stream); /* an unfinished one says so */
    return raw > raw_max;
}

static bc_picture_result_t decode_png(const uint8_t *bytes, size_t length, bc_bitmap_t *bitmap) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    bc_picture_result_t result = BC_PICTURE_BROKEN;
    uint8_t *rgba = NULL;
    if (png_image_begin_read_from_memory(&image, bytes, length) == 0) goto end;
    if (too_large(image.width, image.height)) {
        result = BC_PICTURE_TOO_LARGE;
        goto end;
    }
    if (png_holds_too_much(bytes, length)) goto end;
    image.format = PNG_FORMAT_RGBA; /* from any depth, palette or grey, to sRGB */
    rgba = malloc(PNG_IMAGE_SIZE(image));
    if (rgba == NULL) {
        result = BC_PICTURE_FAILED;
        goto end;
    }
    if (png_image_finish_read(&image, NULL, rgba, 0, NULL) == 0) goto end;
    *bitmap = (bc_bitmap_t){image.width, image.height, 1, rgba};
    rgba = NULL;
    result = BC_PICTURE_OK;
end:
    png_image_free(&image);
    free(rgba);
    return result;
}

/* --- WebP --- */

static bc_picture_result_t decode_webp(const uint8_t *bytes, size_t length, bc_bitmap_t *bitmap) {
    WebPBitstreamFeatures features;
    if (WebPGetFeatures(bytes, length, &features) != VP8_STATUS_OK) return BC_PICTURE_BROKEN;
    if (features.width <= 0 || features.height <= 0) return BC_PICTURE_BROKEN;
    if (too_large((uint32_t)features.width, (uint32_t)features.height)) return BC_PICTURE_TOO_LARGE;
    if (features.has_animation) return BC_PICTURE_MOVES;
    size_t row = (size_t)features.width * 4, size = row * (size_t)features.height;
    uint8_t *rgba = malloc(size);
    if (rgba == NULL) return BC_PICTURE_FAILED;
    if (WebPDecodeRGBAInto(bytes, length, rgba, size, (int)row) == NULL) {
        free(rgba);
        return BC_PICTURE_BROKEN;
    }
    *bitmap = (bc_bitmap_t){(uint32_t)features.width, (uint32_t)features.height, 1, rgba};
    return BC_PICTURE_OK;
}

bc_picture_result_t bc_picture_decode(const uint8_t *bytes, size_t length, uint32_t enough, bc_bitmap_t *bitmap) {
    bc_picture_result_t result = BC_PICTURE_UNKNOWN;
    bc_bitmap_t made = {0, 0, 1, NULL};
    const uint8_t *exif = NULL;
    size_t size = 0;
    assert(enough > 0);
    if (length >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0) {
        result = decode_jpeg(bytes, length, enough, &made);
        exif = jpeg_exif(bytes, length, &size);
    } else if (length >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0) {
        result = decode_png(bytes, length, &made);
        exif = png_exif(bytes, length, &size);
    } else if (length >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0) {
        result = decode_webp(bytes, length, &made);
        exif = webp_exif(bytes, length, &size);
    }
    if (result != BC_PICTURE_OK) return result;
    if (exif != NULL) made.orientation = bc_picture_exif_orientation(exif, size);
    assert(made.rgba != NULL && made.width > 0 && made.height > 0);
    *bitmap = made;
    return BC_PICTURE_OK;
}
