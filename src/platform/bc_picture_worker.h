/* What a service and its picture worker say to each other, and the worker's work without its process. */
#ifndef BC_PICTURE_WORKER_H
#define BC_PICTURE_WORKER_H

#include "platform/bc_picture.h"

/*
 * Both directions over one socket pair, host byte order (one machine, one program):
 *   question: bc_picture_question_t, then `length` bytes
 *   answer:   bc_picture_answer_t, then the versions' bytes behind each other; with another result than OK nothing follows
 */
typedef struct {
    uint32_t kind;
    uint32_t length;
} bc_picture_question_t;

typedef struct {
    uint32_t result;
    struct {
        uint32_t width, height, length;
    } versions[BC_PICTURE_SIZE_COUNT];
} bc_picture_answer_t;

_Static_assert(sizeof(bc_picture_question_t) == 8, "travels as it lies in memory");
_Static_assert(sizeof(bc_picture_answer_t) == 4 + 12 * BC_PICTURE_SIZE_COUNT, "travels as it lies in memory");

#define BC_PICTURE_ANSWER_MAX (8 * 1024 * 1024) /* bytes of all versions together */

/* Exit codes of a worker that could not answer. */
enum { BC_PICTURE_EXIT_DONE = 0, BC_PICTURE_EXIT_NO_SANDBOX = 10, BC_PICTURE_EXIT_IO = 11 };

/* Decodes and encodes in this process. The versions' bytes are allocated; the caller frees each. Unchanged unless BC_PICTURE_OK. */
bc_picture_result_t bc_picture_make(bc_picture_kind_t kind, const uint8_t *bytes, size_t length,
                                    bc_picture_answer_t *answer, uint8_t *versions[BC_PICTURE_SIZE_COUNT]);

#endif
