#include "cart/cart_recent.h"

#include <assert.h>

/*
 * Whether an entry stays is decided for each by itself, from its age and its rank from the young end; the rings need not
 * be sorted by time, so a clock that was set back evicts nothing: an entry "from the future" has age 0.
 *
 *   keyed:   age < repeat window, or among the last 64 and age < 24 hours
 *   keyless: age < resend window, or among the last 8 and age < repeat window
 *
 * Costs: everything is linear in the rings, which hold a few entries for most carts and at most 2 × 2048.
 */

#define KEYED_AT   0
#define KEYLESS_AT 2

typedef struct {
    const uint8_t *entries;
    unsigned count;
} ring_t;

_Static_assert(CART_RECENT_KEYED_KEEP <= CART_RECENT_KEYED_MAX, "what is kept must fit");
_Static_assert(CART_RECENT_RESEND_S <= CART_RECENT_REPEAT_S && CART_RECENT_REPEAT_S <= CART_RECENT_KEEP_S,
               "windows contain each other");

static unsigned get16(const uint8_t *at) {
    return (unsigned)at[0] | (unsigned)at[1] << 8;
}

static void put16(uint8_t *at, unsigned value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static uint32_t entry_at_s(const uint8_t *entry) {
    const uint8_t *at = entry + CART_REQUEST_BYTES + 8;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t entry_digest(const uint8_t *entry) {
    uint64_t digest = 0;
    for (unsigned i = 0; i < 8; i++) digest |= (uint64_t)entry[CART_REQUEST_BYTES + i] << (8 * i);
    return digest;
}

static void entry_put(uint8_t *entry, const cart_recent_id_t *add) {
    memcpy(entry, add->id, CART_REQUEST_BYTES);
    for (unsigned i = 0; i < 8; i++) entry[CART_REQUEST_BYTES + i] = (uint8_t)(add->digest >> (8 * i));
    for (unsigned i = 0; i < 4; i++) entry[CART_REQUEST_BYTES + 8 + i] = (uint8_t)(add->at_s >> (8 * i));
}

static ring_t ring_of(const uint8_t *rings, size_t length, bool keyed) {
    ring_t ring = {NULL, 0};
    if (length == 0) return ring;
    assert(length >= CART_RECENT_HEADER_BYTES);
    unsigned keyed_count = get16(rings + KEYED_AT);
    ring.entries = rings + CART_RECENT_HEADER_BYTES;
    ring.count = keyed_count;
    if (!keyed) {
        ring.entries += (size_t)keyed_count * CART_RECENT_ENTRY_BYTES;
        ring.count = get16(rings + KEYLESS_AT);
    }
    return ring;
}

static const uint8_t *ring_at(const ring_t *ring, unsigned i) {
    return ring->entries + (size_t)i * CART_RECENT_ENTRY_BYTES;
}

static const uint8_t *ring_find(const ring_t *ring, const uint8_t *id) {
    /* Youngest first: a repeat usually follows its first sending closely. */
    for (unsigned i = ring->count; i-- > 0;) {
        const uint8_t *entry = ring_at(ring, i);
        if (memcmp(entry, id, CART_REQUEST_BYTES) == 0) return entry;
    }
    return NULL;
}

/* rank: 0 is the youngest of its ring. */
static bool stays(const uint8_t *entry, bool keyed, unsigned rank, uint32_t now_s) {
    uint32_t at_s = entry_at_s(entry);
    uint32_t age_s = now_s > at_s ? now_s - at_s : 0;
    if (keyed) return age_s < CART_RECENT_REPEAT_S || (rank < CART_RECENT_KEYED_KEEP && age_s < CART_RECENT_KEEP_S);
    return age_s < CART_RECENT_RESEND_S || (rank < CART_RECENT_KEYLESS_KEEP && age_s < CART_RECENT_REPEAT_S);
}

/* How many entries stay when `more` younger ones join. */
static unsigned ring_staying(const ring_t *ring, bool keyed, unsigned more, uint32_t now_s) {
    unsigned count = 0;
    for (unsigned i = 0; i < ring->count; i++) {
        if (stays(ring_at(ring, i), keyed, ring->count - 1 - i + more, now_s)) count++;
    }
    return count;
}

static size_t rings_bytes(unsigned keyed_count, unsigned keyless_count) {
    if (keyed_count + keyless_count == 0) return 0;
    return CART_RECENT_HEADER_BYTES + (size_t)(keyed_count + keyless_count) * CART_RECENT_ENTRY_BYTES;
}

bool cart_recent_check(const uint8_t *rings, size_t length) {
    if (length == 0) return true;
    if (length < CART_RECENT_HEADER_BYTES) return false;
    unsigned keyed_count = get16(rings + KEYED_AT);
    unsigned keyless_count = get16(rings + KEYLESS_AT);
    if (keyed_count > CART_RECENT_KEYED_MAX || keyless_count > CART_RECENT_KEYLESS_MAX) return false;
    return length == rings_bytes(keyed_count, keyless_count);
}

bool cart_recent_get(const uint8_t *rings, size_t length, const uint8_t id[CART_REQUEST_BYTES], bool keyed,
                     cart_recent_id_t *found) {
    ring_t ring = ring_of(rings, length, keyed);
    const uint8_t *entry = ring_find(&ring, id);
    if (entry == NULL) return false;
    memcpy(found->id, entry, CART_REQUEST_BYTES);
    found->digest = entry_digest(entry);
    found->at_s = entry_at_s(entry);
    found->keyed = keyed;
    return true;
}

cart_recent_found_t cart_recent_find(const uint8_t *rings, size_t length, const uint8_t id[CART_REQUEST_BYTES],
                                     uint64_t digest, bool keyed) {
    cart_recent_id_t found;
    if (!cart_recent_get(rings, length, id, keyed, &found)) return CART_RECENT_ABSENT;
    return found.digest == digest ? CART_RECENT_SAME : CART_RECENT_OTHER_DIGEST;
}

size_t cart_recent_size_with(const uint8_t *rings, size_t length, bool keyed, uint32_t now_s) {
    ring_t keyed_ring = ring_of(rings, length, true);
    ring_t keyless_ring = ring_of(rings, length, false);
    unsigned keyed_count = ring_staying(&keyed_ring, true, keyed ? 1 : 0, now_s) + (keyed ? 1 : 0);
    unsigned keyless_count = ring_staying(&keyless_ring, false, keyed ? 0 : 1, now_s) + (keyed ? 0 : 1);
    if (keyed_count > CART_RECENT_KEYED_MAX || keyless_count > CART_RECENT_KEYLESS_MAX) return 0;
    return rings_bytes(keyed_count, keyless_count);
}

/* Copies what stays of one ring; `add` (NULL: none) replaces its older self and becomes the youngest. */
static uint8_t *ring_copy(const ring_t *ring, bool keyed, const cart_recent_id_t *add, uint32_t now_s, uint8_t *to,
                          const uint8_t *end) {
    unsigned more = add != NULL ? 1 : 0;
    for (unsigned i = 0; i < ring->count; i++) {
        const uint8_t *entry = ring_at(ring, i);
        if (!stays(entry, keyed, ring->count - 1 - i + more, now_s)) continue;
        if (add != NULL && memcmp(entry, add->id, CART_REQUEST_BYTES) == 0) continue;
        assert(end - to >= CART_RECENT_ENTRY_BYTES);
        memmove(to, entry, CART_RECENT_ENTRY_BYTES); /* expire works in place */
        to += CART_RECENT_ENTRY_BYTES;
    }
    if (add != NULL) {
        assert(end - to >= CART_RECENT_ENTRY_BYTES);
        entry_put(to, add);
        to += CART_RECENT_ENTRY_BYTES;
    }
    return to;
}

static size_t rings_rewrite(const uint8_t *rings, size_t length, const cart_recent_id_t *add, uint32_t now_s,
                            uint8_t *out, size_t capacity) {
    ring_t keyed_ring = ring_of(rings, length, true);
    ring_t keyless_ring = ring_of(rings, length, false);
    const cart_recent_id_t *add_keyed = add != NULL && add->keyed ? add : NULL;
    const cart_recent_id_t *add_keyless = add != NULL && !add->keyed ? add : NULL;
    const uint8_t *end = out + capacity;
    uint8_t *first = out + CART_RECENT_HEADER_BYTES;
    uint8_t *middle = ring_copy(&keyed_ring, true, add_keyed, now_s, first, end);
    uint8_t *last = ring_copy(&keyless_ring, false, add_keyless, now_s, middle, end);
    if (last == first) return 0;
    unsigned keyed_count = (unsigned)((size_t)(middle - first) / CART_RECENT_ENTRY_BYTES);
    unsigned keyless_count = (unsigned)((size_t)(last - middle) / CART_RECENT_ENTRY_BYTES);
    assert(keyed_count <= CART_RECENT_KEYED_MAX);
    assert(keyless_count <= CART_RECENT_KEYLESS_MAX);
    put16(out + KEYED_AT, keyed_count);
    put16(out + KEYLESS_AT, keyless_count);
    return (size_t)(last - out);
}

size_t cart_recent_add(const uint8_t *rings, size_t length, const cart_recent_id_t *add, uint32_t now_s, uint8_t *out,
                       size_t capacity) {
    size_t needed = cart_recent_size_with(rings, length, add->keyed, now_s);
    assert(needed != 0);
    assert(capacity >= needed);
    return rings_rewrite(rings, length, add, now_s, out, needed);
}

size_t cart_recent_expire(uint8_t *rings, size_t length, uint32_t now_s) {
    if (length == 0) return 0;
    assert(cart_recent_check(rings, length));
    return rings_rewrite(rings, length, NULL, now_s, rings, length);
}

/* Whether `other` holds the same id in a younger entry (or an equally old one, when `ties`): then this one is left out. */
static bool is_superseded(const uint8_t *entry, const ring_t *other, bool ties) {
    const uint8_t *twin = ring_find(other, entry);
    if (twin == NULL) return false;
    uint32_t at_s = entry_at_s(entry);
    uint32_t twin_s = entry_at_s(twin);
    return ties ? twin_s >= at_s : twin_s > at_s;
}

/* Merges by age and leaves out the `skip` oldest; counts only when `to` is NULL. */
static unsigned ring_unite(const ring_t *a, const ring_t *b, unsigned skip, uint8_t *to) {
    unsigned i = 0;
    unsigned j = 0;
    unsigned count = 0;
    while (i < a->count || j < b->count) {
        bool from_a = j == b->count || (i < a->count && entry_at_s(ring_at(a, i)) <= entry_at_s(ring_at(b, j)));
        const uint8_t *entry = from_a ? ring_at(a, i++) : ring_at(b, j++);
        if (is_superseded(entry, from_a ? b : a, from_a)) continue;
        if (to != NULL && count >= skip) {
            memcpy(to, entry, CART_RECENT_ENTRY_BYTES);
            to += CART_RECENT_ENTRY_BYTES;
        }
        count++;
    }
    return count;
}

size_t cart_recent_unite(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length, uint8_t *out,
                         size_t capacity) {
    static const unsigned maxima[2] = {CART_RECENT_KEYED_MAX, CART_RECENT_KEYLESS_MAX};
    unsigned counts[2];
    unsigned skips[2];
    for (unsigned k = 0; k < 2; k++) {
        ring_t mine = ring_of(a, a_length, k == 0);
        ring_t theirs = ring_of(b, b_length, k == 0);
        counts[k] = ring_unite(&mine, &theirs, 0, NULL);
        skips[k] = counts[k] > maxima[k] ? counts[k] - maxima[k] : 0;
        counts[k] -= skips[k];
    }
    size_t needed = rings_bytes(counts[0], counts[1]);
    if (needed == 0 || needed > capacity) return 0;
    put16(out + KEYED_AT, counts[0]);
    put16(out + KEYLESS_AT, counts[1]);
    uint8_t *to = out + CART_RECENT_HEADER_BYTES;
    for (unsigned k = 0; k < 2; k++) {
        ring_t mine = ring_of(a, a_length, k == 0);
        ring_t theirs = ring_of(b, b_length, k == 0);
        (void)ring_unite(&mine, &theirs, skips[k], to); /* counted above */
        to += (size_t)counts[k] * CART_RECENT_ENTRY_BYTES;
    }
    return needed;
}

unsigned cart_recent_count(const uint8_t *rings, size_t length) {
    return ring_of(rings, length, true).count + ring_of(rings, length, false).count;
}
