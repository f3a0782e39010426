/*
 * Bodies of cart changes: the three shapes that API.md knows, read strictly and within bounds.
 *
 * Every fault is one 400 that says where: byte offset and field path ("changes[3].quantity"). Well-formed numbers that
 * no cart can hold (quantity 100) are another kind, EDGE_BODY_QUANTITY: 422 quantity-limit.
 */
#ifndef EDGE_BODY_H
#define EDGE_BODY_H

#include "cart/cart_types.h"
#include "edge/edge_json.h"

#define EDGE_BODY_BYTES_MAX 16384 /* 413 beyond */
#define EDGE_BODY_FIELD_MAX 48

typedef enum {
    EDGE_BODY_LINE,          /* {"book":7,"quantity":2}: one CART_ADD */
    EDGE_BODY_QUANTITY_ONLY, /* {"quantity":3}: one CART_SET of the path's book */
    EDGE_BODY_CHANGES,       /* {"changes":[{"op":"add","book":7,"quantity":1}, …]} */
} edge_body_shape_t;

typedef enum {
    EDGE_BODY_OK = 0,
    EDGE_BODY_JSON,      /* not JSON as we read it: json_fault says how */
    EDGE_BODY_EMPTY,     /* no bytes but white space */
    EDGE_BODY_UNKNOWN,   /* a field that this shape does not have */
    EDGE_BODY_DUPLICATE, /* a field twice */
    EDGE_BODY_MISSING,   /* a field that must be there */
    EDGE_BODY_BOOK,      /* not 1…2^53 − 1 */
    EDGE_BODY_OP,        /* not add, set or remove */
    EDGE_BODY_COUNT,     /* no change, or more than CART_CHANGES_MAX */
    EDGE_BODY_ZERO,      /* add of nothing */
    EDGE_BODY_QUANTITY,  /* outside of −99…99 (add) or 0…99 (set): 422 */
} edge_body_fault_t;

typedef struct {
    edge_body_fault_t fault;
    edge_json_fault_t json_fault;
    size_t offset;                   /* bytes from the start of the body */
    char field[EDGE_BODY_FIELD_MAX]; /* path, "" = the whole body */
} edge_body_error_t;

/* book: of the path, for EDGE_BODY_QUANTITY_ONLY. False: *error says why, changes are unspecified. */
bool edge_body_parse(edge_body_shape_t shape, uint64_t book, const void *bytes, size_t length,
                     cart_change_t changes[CART_CHANGES_MAX], uint16_t *count, edge_body_error_t *error);

/* "duplicate-field" …: the `code` of the problem's errors[]. Static. */
const char *edge_body_code(const edge_body_error_t *error);
/* A sentence in English. Static. */
const char *edge_body_detail(const edge_body_error_t *error);

#endif
