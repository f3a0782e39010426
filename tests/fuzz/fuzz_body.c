/*
 * Bodies of cart changes. First byte: the shape (modulo 3). What is taken must hold to the limits; what is refused must
 * say where, within the body, and have words for it. And whatever is skipped as JSON is read to its end or refused.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "edge/edge_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_change(const cart_change_t *change) {
    assert(change->book >= 1 && change->book <= CART_BOOK_MAX);
    if (change->op == CART_ADD) {
        assert(change->quantity != 0 && change->quantity >= -CART_QUANTITY_MAX &&
               change->quantity <= CART_QUANTITY_MAX);
    } else if (change->op == CART_SET) {
        assert(change->quantity >= 0 && change->quantity <= CART_QUANTITY_MAX);
    } else {
        assert(change->op == CART_REMOVE && change->quantity == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size - 1 > EDGE_BODY_BYTES_MAX) return 0;
    edge_body_shape_t shape = (edge_body_shape_t)(data[0] % 3);
    size_t length = size - 1;
    uint8_t *body = malloc(length > 0 ? length : 1); /* its own block: a byte too far is the sanitizer's to report */
    if (body == NULL) return 0;
    memcpy(body, data + 1, length);
    cart_change_t changes[CART_CHANGES_MAX];
    uint16_t count = 0;
    edge_body_error_t error;
    bool good = edge_body_parse(shape, 5, body, length, changes, &count, &error);
    if (good) {
        assert(count >= 1 && count <= CART_CHANGES_MAX);
        for (unsigned i = 0; i < count; i++) check_change(&changes[i]);
    } else {
        assert(error.fault != EDGE_BODY_OK && error.offset <= length);
        assert(memchr(error.field, '\0', sizeof(error.field)) != NULL);
        assert(edge_body_code(&error)[0] != '\0' && edge_body_detail(&error)[0] != '\0');
    }
    edge_json_t json;
    edge_json_begin(&json, body, length);
    bool is_json = edge_json_skip(&json) && edge_json_end(&json);
    assert(is_json || json.fault != EDGE_JSON_OK);
    assert(!good || is_json); /* the strict reader takes nothing that the general one refuses */
    free(body);
    return 0;
}
