/*
 * Pictures from outside, made harmless: decoded and encoded anew in a process of its own (bc_picture_worker.c) that has no files, no
 * network, little memory and little time. What comes back is WebP of our own making in three sizes; nothing of the bytes that came in
 * (metadata, profiles, what hides behind the picture) is in it. EXIF's orientation is applied before it goes.
 *
 * Taken: JPEG (also CMYK, progressive), PNG (also 16 bit, palette, interlaced), WebP that does not move; what it is, its bytes say.
 * Limits: BC_PICTURE_BYTES_MAX, BC_PICTURE_PIXELS_MAX, BC_PICTURE_SIDE_MAX; in the worker memory, CPU seconds and scans of a JPEG.
 */
#ifndef BC_PICTURE_H
#define BC_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BC_PICTURE_BYTES_MAX      (5 * 1024 * 1024)
#define BC_PICTURE_PIXELS_MAX     25000000
#define BC_PICTURE_SIDE_MAX       10000
#define BC_PICTURE_CONCURRENT_MAX 2     /* workers of one service at once */
#define BC_PICTURE_WAIT_MS        10000 /* for one's turn; then BC_PICTURE_BUSY */
#define BC_PICTURE_TIME_MS        15000 /* a worker's life; then it is killed */
#define BC_PICTURE_WORKER         "picture-worker"

typedef enum { BC_PICTURE_COVER, BC_PICTURE_BANNER, BC_PICTURE_PORTRAIT, BC_PICTURE_KIND_COUNT } bc_picture_kind_t;
typedef enum { BC_PICTURE_LARGE, BC_PICTURE_MEDIUM, BC_PICTURE_SMALL, BC_PICTURE_SIZE_COUNT } bc_picture_size_t;

typedef struct {
    uint32_t width, height;
} bc_picture_box_t;

/* A version fits into its box and keeps its proportions; nothing is ever made larger than it came. */
extern const bc_picture_box_t bc_picture_boxes[BC_PICTURE_KIND_COUNT][BC_PICTURE_SIZE_COUNT];
extern const char *const bc_picture_size_words[BC_PICTURE_SIZE_COUNT]; /* "large" "medium" "small" */

typedef enum {
    BC_PICTURE_OK,
    BC_PICTURE_UNKNOWN,   /* neither JPEG, PNG nor WebP */
    BC_PICTURE_BROKEN,    /* cut off, damaged, or more work than a picture is */
    BC_PICTURE_TOO_LARGE, /* too many pixels, or a side that is too long */
    BC_PICTURE_MOVES,     /* an animation */
    BC_PICTURE_BUSY,      /* too many at once: later */
    BC_PICTURE_FAILED     /* our side: no process, no memory, no sandbox; logged */
} bc_picture_result_t;

typedef struct {
    uint32_t width, height;
    const uint8_t *bytes; /* WebP; inside `held` */
    size_t length;
} bc_picture_version_t;

typedef struct {
    bc_picture_version_t versions[BC_PICTURE_SIZE_COUNT];
    uint8_t *held; /* owned */
} bc_picture_t;

/* Blocks for as long as a worker takes. Any thread; a process that calls it must give its main's first argument BC_PICTURE_WORKER to
 * bc_picture_worker_main. *picture is unchanged unless BC_PICTURE_OK; then the caller releases it. */
bc_picture_result_t bc_picture_recode(bc_picture_kind_t kind, const void *bytes, size_t length, bc_picture_t *picture);
void bc_picture_release(bc_picture_t *picture);

/* The worker's whole life, in a fresh process: call it first thing in main. Returns the exit code. */
int bc_picture_worker_main(void);

/* Takes everything away from this process that decoding does not need: see bc_picture_worker.c. false: the kernel would not; nothing
 * may be decoded then. For the worker and its test. */
bool bc_picture_confine(void);

#endif
