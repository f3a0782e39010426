/*
 * The two byte strings of the core that come from disk or from the link: packed images and rings of recent ids.
 * The first byte chooses (even: an image, odd: rings; its upper bits are the time of the rings' operations), the rest is
 * the input. Whatever is accepted must hold its invariants and come back as the same bytes.
 */
#include <assert.h>
#include <stdlib.h>

#include "cart/cart_image.h"
#include "cart/cart_recent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void image(const uint8_t *bytes, size_t length) {
    cart_image_t image;
    (void)cart_image_unpack_trusted(bytes, length, &image); /* any answer: only its bounds are tested */
    if (!cart_image_unpack(bytes, length, &image)) return;
    assert(cart_image_check(&image));
    assert(cart_image_packed_size(&image) == length);
    uint8_t again[CART_IMAGE_PACKED_MAX];
    assert(cart_image_pack(&image, again, sizeof(again)) == length);
    assert(memcmp(again, bytes, length) == 0);
}

static void rings(const uint8_t *bytes, size_t length, uint32_t now_s) {
    if (!cart_recent_check(bytes, length)) return;
    cart_recent_id_t id = {.digest = 1, .at_s = now_s, .keyed = (now_s & 1) != 0};
    memcpy(id.id, bytes, length < sizeof(id.id) ? length : sizeof(id.id));
    size_t capacity = cart_recent_size_with(bytes, length, id.keyed, now_s);
    if (capacity > 0) {
        uint8_t *out = malloc(capacity);
        assert(out != NULL);
        size_t with = cart_recent_add(bytes, length, &id, now_s, out, capacity);
        assert(with <= capacity);
        assert(cart_recent_check(out, with));
        assert(cart_recent_find(out, with, id.id, id.digest, id.keyed) == CART_RECENT_SAME);
        free(out);
    }
    if (length == 0) return;
    uint8_t *both = malloc(2 * length);
    uint8_t *kept = malloc(length);
    assert(both != NULL && kept != NULL);
    size_t united = cart_recent_unite(bytes, length, bytes, length, both, 2 * length);
    assert(cart_recent_check(both, united));
    assert(united <= 2 * length);
    memcpy(kept, bytes, length);
    size_t left = cart_recent_expire(kept, length, now_s);
    assert(left <= length);
    assert(cart_recent_check(kept, left));
    free(kept);
    free(both);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    if (data[0] % 2 == 0) {
        image(data + 1, size - 1);
    } else {
        rings(data + 1, size - 1, (uint32_t)(data[0] / 2) * 30);
    }
    return 0;
}
