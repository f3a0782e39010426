/*
 * Pictures through the real worker process: every form that is taken, every one that is refused, what is left of what hides in them,
 * and that the sandbox is one. The pictures are made here, by the same libraries' encoders.
 */
#include "platform/bc_log.h"
#include "platform/bc_picture.h"
#include "platform/bc_picture_decode.h"
#include "platform/bc_random.h"

#include <fcntl.h>
#include <png.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <webp/decode.h>
#include <webp/encode.h>
#include <zlib.h>

/* After stdio. */
#include <jpeglib.h>

#include <cmocka.h>

typedef struct {
    uint8_t *bytes; /* owned */
    size_t length;
} file_t;

/* Left half red, right half blue, the top left corner (a sixteenth) green: enough to see which way is up. */
static void colour_at(uint32_t x, uint32_t y, uint32_t width, uint32_t height, uint8_t rgb[3]) {
    bool corner = x < width / 4 && y < height / 4, left = x < width / 2;
    rgb[0] = !corner && left ? 250 : 5;
    rgb[1] = corner ? 250 : 5;
    rgb[2] = !corner && !left ? 250 : 5;
}

static uint8_t *paint(uint32_t width, uint32_t height) {
    uint8_t *rgb = malloc((size_t)width * height * 3);
    assert_non_null(rgb);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) colour_at(x, y, width, height, rgb + ((size_t)y * width + x) * 3);
    }
    return rgb;
}

/* --- making files --- */

typedef enum { PLAIN, PROGRESSIVE, GREY, CMYK } jpeg_form_t;

static void put_exif(j_compress_ptr info, int orientation) {
    uint8_t exif[] = {'E',  'x',  'i', 'f', 0, 0, 'M', 'M', 0, '*', 0, 0, 0, 8, 0, 1,
                      0x01, 0x12, 0,   3,   0, 0, 0,   1,   0, 0,   0, 0, 0, 0, 0, 0};
    exif[25] = (uint8_t)orientation;
    jpeg_write_marker(info, JPEG_APP0 + 1, exif, sizeof(exif));
}

static file_t make_jpeg(uint32_t width, uint32_t height, jpeg_form_t form, int orientation) {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    unsigned long length = 0;
    unsigned char *bytes = NULL;
    uint8_t *rgb = paint(width, height), *line = malloc((size_t)width * 4);
    assert_non_null(line);
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &bytes, &length);
    info.image_width = width;
    info.image_height = height;
    info.input_components = form == CMYK ? 4 : 3;
    info.in_color_space = form == CMYK ? JCS_CMYK : JCS_RGB;
    jpeg_set_defaults(&info);
    if (form == GREY) jpeg_set_colorspace(&info, JCS_GRAYSCALE);
    jpeg_set_quality(&info, 95, TRUE);
    if (form == PROGRESSIVE) jpeg_simple_progression(&info);
    jpeg_start_compress(&info, TRUE);
    if (orientation > 0) put_exif(&info, orientation);
    jpeg_write_marker(&info, JPEG_COM, (const JOCTET *)"secret place 48.2 16.4", 22);
    while (info.next_scanline < height) {
        uint8_t *row = rgb + (size_t)info.next_scanline * width * 3;
        for (uint32_t x = 0; form == CMYK && x < width; x++) { /* Adobe's: inverted */
            memcpy(line + (size_t)x * 4, row + (size_t)x * 3, 3);
            line[x * 4 + 3] = 255;
        }
        JSAMPROW from = form == CMYK ? line : row;
        (void)jpeg_write_scanlines(&info, &from, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    free(rgb);
    free(line);
    return (file_t){bytes, length};
}

/* A progressive JPEG of one black, with as many scans as asked for: DC, then each coefficient by itself, then each a bit finer. */
static file_t make_scans(uint32_t width, uint32_t height, int scans) {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    unsigned long length = 0;
    unsigned char *bytes = NULL;
    uint8_t *row = calloc(1, width);
    jpeg_scan_info script[128] = {{0}};
    int made = 0;
    assert_non_null(row);
    assert_true(scans <= 127);
    script[made++] = (jpeg_scan_info){.comps_in_scan = 1, .Ss = 0, .Se = 0, .Ah = 0, .Al = 0};
    for (int band = 1; band < 64 && made < scans; band++)
        script[made++] = (jpeg_scan_info){.comps_in_scan = 1, .Ss = band, .Se = band, .Ah = 0, .Al = 1};
    for (int band = 1; band < 64 && made < scans; band++)
        script[made++] = (jpeg_scan_info){.comps_in_scan = 1, .Ss = band, .Se = band, .Ah = 1, .Al = 0};
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &bytes, &length);
    info.image_width = width;
    info.image_height = height;
    info.input_components = 1;
    info.in_color_space = JCS_GRAYSCALE;
    jpeg_set_defaults(&info);
    info.scan_info = script;
    info.num_scans = made;
    jpeg_start_compress(&info, TRUE);
    while (info.next_scanline < height) {
        JSAMPROW from = row;
        (void)jpeg_write_scanlines(&info, &from, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    free(row);
    return (file_t){bytes, length};
}

static file_t make_png(uint32_t width, uint32_t height) {
    png_image image = {.version = PNG_IMAGE_VERSION, .width = width, .height = height, .format = PNG_FORMAT_RGB};
    uint8_t *rgb = paint(width, height);
    png_alloc_size_t length = 0;
    assert_int_not_equal(png_image_write_get_memory_size(image, length, 0, rgb, 0, NULL), 0);
    file_t file = {malloc(length), length};
    assert_non_null(file.bytes);
    assert_int_not_equal(png_image_write_to_memory(&image, file.bytes, &length, 0, rgb, 0, NULL), 0);
    free(rgb);
    return file;
}

static file_t make_png_16(uint32_t width, uint32_t height) {
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = width, .height = height, .format = PNG_FORMAT_LINEAR_RGB_ALPHA};
    uint16_t *pixels = malloc((size_t)width * height * 8);
    png_alloc_size_t length = 0;
    uint8_t rgb[3];
    assert_non_null(pixels);
    for (uint32_t i = 0; i < width * height; i++) {
        colour_at(i % width, i / width, width, height, rgb);
        for (int c = 0; c < 3; c++) pixels[i * 4 + (uint32_t)c] = rgb[c] > 100 ? 65535 : 0;
        pixels[i * 4 + 3] = 65535;
    }
    assert_int_not_equal(png_image_write_get_memory_size(image, length, 0, pixels, 0, NULL), 0);
    file_t file = {malloc(length), length};
    assert_non_null(file.bytes);
    assert_int_not_equal(png_image_write_to_memory(&image, file.bytes, &length, 0, pixels, 0, NULL), 0);
    free(pixels);
    return file;
}

static file_t make_webp(uint32_t width, uint32_t height) {
    uint8_t *rgb = paint(width, height);
    file_t file = {NULL, 0};
    file.length = WebPEncodeRGB(rgb, (int)width, (int)height, (int)width * 3, 95, &file.bytes);
    assert_true(file.length > 0);
    free(rgb);
    return file;
}

static void put_be(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static size_t put_chunk(uint8_t *at, const char *type, const void *data, uint32_t length) {
    put_be(at, length);
    memcpy(at + 4, type, 4);
    if (length > 0) memcpy(at + 8, data, length);
    put_be(at + 8 + length, (uint32_t)crc32(0, at + 4, length + 4));
    return 12 + length;
}

/* A PNG that says what it likes about its size and holds `pixels` zero bytes, well packed. */
static file_t make_png_bomb(uint32_t width, uint32_t height, size_t pixels) {
    uint8_t head[13] = {0}, *zeros = calloc(1, pixels);
    uLongf packed_length = compressBound(pixels);
    uint8_t *packed = malloc(packed_length);
    assert_non_null(zeros);
    assert_non_null(packed);
    assert_int_equal(compress2(packed, &packed_length, zeros, pixels, 9), Z_OK);
    file_t file = {malloc(packed_length + 128), 8};
    assert_non_null(file.bytes);
    memcpy(file.bytes, "\x89PNG\r\n\x1a\n", 8);
    put_be(head, width);
    put_be(head + 4, height);
    head[8] = 8;
    head[9] = 2;
    file.length += put_chunk(file.bytes + file.length, "IHDR", head, 13);
    file.length += put_chunk(file.bytes + file.length, "IDAT", packed, (uint32_t)packed_length);
    file.length += put_chunk(file.bytes + file.length, "IEND", NULL, 0);
    free(zeros);
    free(packed);
    return file;
}

static file_t text_file(const char *text) {
    file_t file = {(uint8_t *)strdup(text), strlen(text)};
    assert_non_null(file.bytes);
    return file;
}

static void append(file_t *file, const char *text) {
    file->bytes = realloc(file->bytes, file->length + strlen(text));
    assert_non_null(file->bytes);
    memcpy(file->bytes + file->length, text, strlen(text));
    file->length += strlen(text);
}

/* --- looking --- */

static void expect(file_t file, bc_picture_result_t wanted, const char *what) {
    bc_picture_t picture = {.held = NULL};
    bc_picture_result_t result = bc_picture_recode(BC_PICTURE_COVER, file.bytes, file.length, &picture);
    if (result != wanted) fail_msg("%s: %d instead of %d", what, result, wanted);
    bc_picture_release(&picture);
    free(file.bytes);
}

static bool holds(const bc_picture_t *picture, const char *text) {
    for (int i = 0; i < BC_PICTURE_SIZE_COUNT; i++) {
        if (memmem(picture->versions[i].bytes, picture->versions[i].length, text, strlen(text)) != NULL) return true;
    }
    return false;
}

/* The letter of the colour at a place given in hundredths of the sides: r, g, b or ?. */
static char seen(const bc_picture_version_t *version, int x, int y) {
    int width = 0, height = 0;
    uint8_t *rgb = WebPDecodeRGB(version->bytes, version->length, &width, &height);
    assert_non_null(rgb);
    assert_int_equal(width, version->width);
    assert_int_equal(height, version->height);
    const uint8_t *pixel = rgb + ((size_t)(height * y / 100) * (size_t)width + (size_t)(width * x / 100)) * 3;
    char letter = pixel[0] > 150 && pixel[1] < 90 && pixel[2] < 90   ? 'r'
                  : pixel[1] > 150 && pixel[0] < 90 && pixel[2] < 90 ? 'g'
                  : pixel[2] > 150 && pixel[0] < 90 && pixel[1] < 90 ? 'b'
                                                                     : '?';
    WebPFree(rgb);
    return letter;
}

/* Corner, below it, right of the middle. */
static void check_upright(const bc_picture_t *picture, const char *what) {
    for (int i = 0; i < BC_PICTURE_SIZE_COUNT; i++) {
        const bc_picture_version_t *version = &picture->versions[i];
        if (seen(version, 10, 10) != 'g' || seen(version, 10, 60) != 'r' || seen(version, 80, 10) != 'b')
            fail_msg("%s, %s: %c%c%c", what, bc_picture_size_words[i], seen(version, 10, 10), seen(version, 10, 60),
                     seen(version, 80, 10));
    }
}

static void every_form_that_is_taken_comes_out_right(void **state) {
    (void)state;
    const struct {
        const char *what;
        file_t file;
        bool grey;
    } cases[] = {
        {"jpeg", make_jpeg(800, 1200, PLAIN, 0), false},
        {"progressive jpeg", make_jpeg(800, 1200, PROGRESSIVE, 0), false},
        {"cmyk jpeg", make_jpeg(800, 1200, CMYK, 0), false},
        {"grey jpeg", make_jpeg(800, 1200, GREY, 0), true},
        {"png", make_png(800, 1200), false},
        {"16-bit png", make_png_16(800, 1200), false},
        {"webp", make_webp(800, 1200), false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bc_picture_t picture = {.held = NULL};
        if (bc_picture_recode(BC_PICTURE_COVER, cases[i].file.bytes, cases[i].file.length, &picture) != BC_PICTURE_OK)
            fail_msg("%s was refused", cases[i].what);
        assert_int_equal(picture.versions[BC_PICTURE_LARGE].width, 800);
        assert_int_equal(picture.versions[BC_PICTURE_LARGE].height, 1200);
        assert_int_equal(picture.versions[BC_PICTURE_MEDIUM].width, 400);
        assert_int_equal(picture.versions[BC_PICTURE_SMALL].width, 160);
        assert_int_equal(picture.versions[BC_PICTURE_SMALL].height, 240);
        if (!cases[i].grey) check_upright(&picture, cases[i].what);
        assert_false(holds(&picture, "secret"));
        bc_picture_release(&picture);
        free(cases[i].file.bytes);
    }
}

static void every_orientation_is_turned_upright(void **state) {
    (void)state;
    /* What orientation n stores is the upright picture's copy under its inverse; here: which corner the green one must come from. */
    static const char *const corner_of[] = {NULL, "tl", "tr", "br", "bl", "tl", "tr", "br", "bl"};
    for (int orientation = 1; orientation <= 8; orientation++) {
        file_t file = make_jpeg(300, 200, PLAIN, orientation);
        bc_picture_t picture = {.held = NULL};
        assert_int_equal(bc_picture_recode(BC_PICTURE_BANNER, file.bytes, file.length, &picture), BC_PICTURE_OK);
        const bc_picture_version_t *large = &picture.versions[BC_PICTURE_LARGE];
        assert_int_equal(large->width, orientation >= 5 ? 200 : 300);
        assert_int_equal(large->height, orientation >= 5 ? 300 : 200);
        int x = corner_of[orientation][1] == 'l' ? 10 : 90, y = corner_of[orientation][0] == 't' ? 10 : 90;
        if (seen(large, x, y) != 'g') fail_msg("orientation %d: the corner is elsewhere", orientation);
        assert_false(holds(&picture, "Exif"));
        bc_picture_release(&picture);
        free(file.bytes);
    }
}

static void versions_fit_their_boxes_and_are_never_enlarged(void **state) {
    (void)state;
    static const struct {
        uint32_t width, height;
        uint32_t large_width, large_height, small_width, small_height;
    } cases[] = {
        {1, 1, 1, 1, 1, 1},          {3000, 3000, 1000, 1000, 160, 160},
        {4000, 10, 1000, 3, 160, 1}, /* nothing vanishes */
        {10, 4000, 4, 1500, 1, 240}, {159, 100, 159, 100, 159, 100},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        file_t file = make_png(cases[i].width, cases[i].height);
        bc_picture_t picture = {.held = NULL};
        assert_int_equal(bc_picture_recode(BC_PICTURE_COVER, file.bytes, file.length, &picture), BC_PICTURE_OK);
        assert_int_equal(picture.versions[BC_PICTURE_LARGE].width, cases[i].large_width);
        assert_int_equal(picture.versions[BC_PICTURE_LARGE].height, cases[i].large_height);
        assert_int_equal(picture.versions[BC_PICTURE_SMALL].width, cases[i].small_width);
        assert_int_equal(picture.versions[BC_PICTURE_SMALL].height, cases[i].small_height);
        bc_picture_release(&picture);
        free(file.bytes);
    }
}

static void twenty_five_megapixels_are_taken_and_not_one_row_more(void **state) {
    (void)state;
    file_t most = make_jpeg(5000, 5000, PROGRESSIVE, 0);
    bc_picture_t picture = {.held = NULL};
    assert_int_equal(bc_picture_recode(BC_PICTURE_COVER, most.bytes, most.length, &picture), BC_PICTURE_OK);
    check_upright(&picture, "25 megapixels");
    bc_picture_release(&picture);
    free(most.bytes);
    expect(make_png(5000, 5000), BC_PICTURE_OK, "25 megapixels of png");
    expect(make_png_bomb(5000, 5001, 100), BC_PICTURE_TOO_LARGE, "a row more");
    expect(make_png_bomb(10000, 1, 30001), BC_PICTURE_OK, "10,000 wide");
    expect(make_png_bomb(10001, 1, 30004), BC_PICTURE_TOO_LARGE, "10,001 wide");
    expect(make_png_bomb(30000, 30000, 1000), BC_PICTURE_TOO_LARGE, "30,000 px");
    expect(make_png_bomb(2147483647, 2147483647, 1000), BC_PICTURE_BROKEN, "the greatest PNG");
    expect(make_jpeg(10001, 2, PLAIN, 0), BC_PICTURE_TOO_LARGE, "a wide jpeg");
    expect(make_webp(10001, 2), BC_PICTURE_TOO_LARGE, "a wide webp");
}

/* Small files, much work: refused before it is done. */
static void bombs_cost_little(void **state) {
    (void)state;
    const size_t bomb = 256UL * 1024 * 1024;
    expect(make_png_bomb(10, 10, bomb), BC_PICTURE_BROKEN, "a quarter of a gigabyte behind ten pixels");
    expect(make_png_bomb(5000, 5000, bomb), BC_PICTURE_BROKEN, "a quarter of a gigabyte behind 25 megapixels");
    expect(make_png_bomb(10, 10, 310), BC_PICTURE_OK, "just what it says");
    expect(make_scans(2500, 2500, 90), BC_PICTURE_BROKEN, "90 scans of six megapixels");
    expect(make_scans(400, 400, 90), BC_PICTURE_OK, "90 scans of a small picture");
    expect(make_scans(16, 16, 101), BC_PICTURE_BROKEN, "101 scans");
}

static void what_is_no_picture_is_unknown(void **state) {
    (void)state;
    expect(text_file(""), BC_PICTURE_UNKNOWN, "nothing");
    expect(text_file("<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>"), BC_PICTURE_UNKNOWN,
           "svg");
    expect(text_file("<?xml version=\"1.0\"?><!DOCTYPE svg [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><svg>&x;</svg>"),
           BC_PICTURE_UNKNOWN, "svg with an entity");
    expect(text_file("GIF89a/*......*/=1;alert(1)"), BC_PICTURE_UNKNOWN, "gif that is a script");
    expect(text_file("<html><script>alert(1)</script>"), BC_PICTURE_UNKNOWN, "html");
    expect(text_file("%PDF-1.7"), BC_PICTURE_UNKNOWN, "pdf");
    expect(text_file("RIFF....WAVEfmt "), BC_PICTURE_UNKNOWN, "wave");
    expect(text_file("\xff\xd8"), BC_PICTURE_UNKNOWN, "half a jpeg's mark");
    expect(text_file("\xff\xd8\xff\xe0 and then nonsense"), BC_PICTURE_BROKEN, "a jpeg in name");
    expect(text_file("\x89PNG\r\n\x1a\n and then nonsense"), BC_PICTURE_BROKEN, "a png in name");
    expect(text_file("RIFF....WEBPVP8 and then nonsense"), BC_PICTURE_BROKEN, "a webp in name");
}

static void what_hides_behind_a_picture_is_not_passed_on(void **state) {
    (void)state;
    static const char script[] = "<html><body><script>alert('gone')</script>";
    file_t files[] = {make_jpeg(100, 100, PLAIN, 1), make_png(100, 100), make_webp(100, 100)};
    for (size_t i = 0; i < 3; i++) {
        bc_picture_t picture = {.held = NULL};
        append(&files[i], script);
        assert_int_equal(bc_picture_recode(BC_PICTURE_PORTRAIT, files[i].bytes, files[i].length, &picture),
                         BC_PICTURE_OK);
        assert_false(holds(&picture, "script"));
        assert_false(holds(&picture, "secret"));
        bc_picture_release(&picture);
        free(files[i].bytes);
    }
}

static void animations_are_refused(void **state) {
    (void)state;
    /* VP8X with the animation flag, one empty ANIM: enough for the header to say so. */
    static const uint8_t moving[] = {'R', 'I', 'F', 'F', 40, 0,    0, 0, 'W', 'E', 'B', 'P', 'V', 'P', '8',
                                     'X', 10,  0,   0,   0,  0x02, 0, 0, 0,   9,   0,   0,   9,   0,   0,
                                     'A', 'N', 'I', 'M', 6,  0,    0, 0, 0,   0,   0,   0,   0,   0};
    file_t file = {malloc(sizeof(moving)), sizeof(moving)};
    assert_non_null(file.bytes);
    memcpy(file.bytes, moving, sizeof(moving));
    expect(file, BC_PICTURE_MOVES, "an animated webp");
}

/* Cut anywhere: refused, or (behind the last pixel) taken; never a crash, never a half picture. */
static void a_picture_that_ends_early_is_refused(void **state) {
    (void)state;
    file_t files[] = {make_jpeg(64, 64, PLAIN, 1), make_jpeg(64, 64, PROGRESSIVE, 1),
                      make_jpeg(64, 64, CMYK, 0),  make_png(64, 64),
                      make_png_16(64, 64),         make_webp(64, 64)};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        for (size_t length = 0; length < files[i].length; length++) {
            bc_bitmap_t bitmap = {.rgba = NULL};
            uint8_t *exact = malloc(length == 0 ? 1 : length); /* so that a sanitizer sees a byte too far */
            assert_non_null(exact);
            memcpy(exact, files[i].bytes, length);
            bc_picture_result_t result = bc_picture_decode(exact, length, 64, &bitmap);
            if (result == BC_PICTURE_OK && length + 14 < files[i].length)
                fail_msg("file %zu cut at %zu was taken", i, length);
            if (result != BC_PICTURE_OK && result != BC_PICTURE_BROKEN && result != BC_PICTURE_UNKNOWN)
                fail_msg("file %zu cut at %zu: %d", i, length, result);
            free(bitmap.rgba);
            free(exact);
        }
        expect((file_t){memcpy(malloc(files[i].length), files[i].bytes, files[i].length), files[i].length / 2},
               BC_PICTURE_BROKEN, "half a picture");
        free(files[i].bytes);
    }
}

static void damaged_pictures_do_no_harm(void **state) {
    (void)state;
    file_t files[] = {make_jpeg(64, 64, PROGRESSIVE, 1), make_jpeg(64, 64, CMYK, 0), make_png(64, 64),
                      make_webp(64, 64)};
    for (int round = 0; round < 4000; round++) {
        file_t *file = &files[round % 4];
        uint8_t *copy = malloc(file->length), changes[12];
        bc_bitmap_t bitmap = {.rgba = NULL};
        assert_non_null(copy);
        memcpy(copy, file->bytes, file->length);
        bc_random_bytes(changes, sizeof(changes));
        for (size_t i = 0; i < sizeof(changes); i += 3)
            copy[(changes[i] << 8 | changes[i + 1]) % file->length] = changes[i + 2];
        (void)bc_picture_decode(copy, file->length, 64, &bitmap); /* whatever it says */
        free(bitmap.rgba);
        free(copy);
    }
    for (size_t i = 0; i < 4; i++) free(files[i].bytes);
}

static void the_orientation_of_any_bytes_is_one(void **state) {
    (void)state;
    for (int round = 0; round < 20000; round++) {
        uint8_t random[40];
        bc_random_bytes(random, sizeof(random));
        size_t length = (size_t)round % (sizeof(random) + 1);
        if (round % 2 == 0) memcpy(random, round % 4 == 0 ? "MM\0*\0\0\0" : "II*\0\x08\0\0", 7);
        uint8_t *exact = malloc(length == 0 ? 1 : length);
        assert_non_null(exact);
        memcpy(exact, random, length);
        int orientation = bc_picture_exif_orientation(exact, length);
        assert_in_range(orientation, 1, 8);
        free(exact);
    }
}

static void too_many_bytes_never_reach_a_worker(void **state) {
    (void)state;
    file_t file = {calloc(1, BC_PICTURE_BYTES_MAX + 1), BC_PICTURE_BYTES_MAX + 1};
    assert_non_null(file.bytes);
    expect(file, BC_PICTURE_TOO_LARGE, "5 MiB + 1");
}

/* --- the sandbox --- */

static void try_open(void) {
    (void)open("/etc/passwd", O_RDONLY);
}
static void try_connect(void) {
    (void)socket(AF_INET, SOCK_STREAM, 0);
}
static void try_fork(void) {
    (void)fork();
}
static void try_execute(void) {
    (void)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void try_signal(void) {
    (void)kill(getppid(), 0);
}
static void try_nothing(void) {
    _exit(malloc(100) != NULL ? 7 : 8);
}
static void try_memory(void) {
    _exit(malloc(1024UL * 1024 * 1024) == NULL ? 7 : 8);
}

static int end_of(void (*attempt)(void)) {
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!bc_picture_confine()) _exit(9);
        attempt();
        _exit(10);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void the_sandbox_allows_nothing_but_work(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* the list of calls is left out there */
#endif
    void (*const forbidden[])(void) = {try_open, try_connect, try_fork, try_execute, try_signal};
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        int status = end_of(forbidden[i]);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS) fail_msg("attempt %zu: status 0x%x", i, status);
    }
    assert_int_equal(WEXITSTATUS(end_of(try_nothing)), 7);
    assert_int_equal(WEXITSTATUS(end_of(try_memory)), 7);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], BC_PICTURE_WORKER) == 0) return bc_picture_worker_main();
    bc_log_init("test", BC_LOG_ERROR);
    if (!bc_random_init()) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_that_is_taken_comes_out_right),
        cmocka_unit_test(every_orientation_is_turned_upright),
        cmocka_unit_test(versions_fit_their_boxes_and_are_never_enlarged),
        cmocka_unit_test(twenty_five_megapixels_are_taken_and_not_one_row_more),
        cmocka_unit_test(bombs_cost_little),
        cmocka_unit_test(what_is_no_picture_is_unknown),
        cmocka_unit_test(what_hides_behind_a_picture_is_not_passed_on),
        cmocka_unit_test(animations_are_refused),
        cmocka_unit_test(a_picture_that_ends_early_is_refused),
        cmocka_unit_test(damaged_pictures_do_no_harm),
        cmocka_unit_test(the_orientation_of_any_bytes_is_one),
        cmocka_unit_test(too_many_bytes_never_reach_a_worker),
        cmocka_unit_test(the_sandbox_allows_nothing_but_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
