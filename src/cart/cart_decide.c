#include "cart/cart_decide.h"

#include <assert.h>

static cart_verdict_t verdict_of(cart_outcome_t outcome, cart_reason_t reason, unsigned change) {
    cart_verdict_t verdict = {(uint8_t)outcome, (uint8_t)reason, (uint16_t)change};
    return verdict;
}

bool cart_request_check(const cart_request_t *request) {
    if (request->change_count == 0 || request->change_count > CART_CHANGES_MAX) return false;
    if (request->condition > CART_IF_FAILED || cart_id_is_none(&request->user)) return false;
    for (unsigned i = 0; i < request->change_count; i++) {
        const cart_change_t *change = &request->changes[i];
        if (change->op == CART_CLEAR) continue;
        if (change->book == 0 || change->book > CART_BOOK_MAX) return false;
        switch (change->op) {
        case CART_ADD:
            if (change->quantity == 0 || change->quantity < -CART_QUANTITY_MAX ||
                change->quantity > CART_QUANTITY_MAX) {
                return false;
            }
            break;
        case CART_SET:
            if (change->quantity < 0) return false;
            break;
        case CART_REMOVE:
            break;
        default:
            return false;
        }
    }
    return true;
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

static unsigned line_find(const cart_image_t *image, uint64_t book) {
    unsigned i = 0;
    while (i < image->line_count && image->lines[i].book != book) i++;
    return i;
}

static void line_remove(cart_image_t *image, unsigned at) {
    if (at == image->line_count) return;
    image->line_count--;
    memmove(&image->lines[at], &image->lines[at + 1], (image->line_count - at) * sizeof(image->lines[0]));
}

static void line_put(cart_image_t *image, unsigned at, uint64_t book, uint32_t quantity) {
    assert(at < CART_LINES_MAX);
    image->lines[at].book = book;
    image->lines[at].quantity = quantity;
    if (at == image->line_count) image->line_count++;
}

/* ---- changes ------------------------------------------------------------------------------------------------------- */

/* CART_APPLIED, or what the change breaks; then the image is as it was. */
static cart_outcome_t apply(cart_image_t *image, const cart_change_t *change, cart_known_book_fn known, void *context) {
    if (change->op == CART_CLEAR) {
        image->line_count = 0;
        return CART_APPLIED;
    }
    unsigned at = line_find(image, change->book);
    int64_t quantity = 0;
    if (change->op == CART_SET) {
        quantity = change->quantity;
    } else if (change->op == CART_ADD) {
        quantity = at < image->line_count ? image->lines[at].quantity : 0;
        quantity += change->quantity;
    } else {
        assert(change->op == CART_REMOVE);
    }
    if (quantity <= 0) {
        line_remove(image, at);
        return CART_APPLIED;
    }
    if (known != NULL && !known(context, change->book)) return CART_UNKNOWN_BOOK;
    if (quantity > CART_QUANTITY_MAX) return CART_QUANTITY_LIMIT;
    if (at == CART_LINES_MAX) return CART_LINE_LIMIT;
    line_put(image, at, change->book, (uint32_t)quantity);
    return CART_APPLIED;
}

/* A key is promised for 24 hours; one that is still there by chance is as good as forgotten. A keyless id is random and
 * comes back only as a resend. */
static cart_recent_found_t find_recent(const uint8_t *rings, size_t rings_length, const cart_request_t *request,
                                       uint32_t now_s) {
    cart_recent_id_t found;
    if (!cart_recent_get(rings, rings_length, request->request_id, request->keyed, &found)) return CART_RECENT_ABSENT;
    if (found.keyed && now_s > found.at_s && now_s - found.at_s >= CART_RECENT_KEEP_S) return CART_RECENT_ABSENT;
    return found.digest == request->digest ? CART_RECENT_SAME : CART_RECENT_OTHER_DIGEST;
}

static bool condition_holds(const cart_image_t *image, const cart_request_t *request) {
    switch (request->condition) {
    case CART_IF_NONE:
        return true;
    case CART_IF_PLACE:
        return cart_place_compare(image->place, request->expected) == 0;
    default:
        return false;
    }
}

cart_verdict_t cart_decide(const cart_image_t *before, const uint8_t *rings, size_t rings_length,
                           const cart_request_t *request, uint32_t now_s, cart_known_book_fn known, void *context,
                           cart_image_t *after) {
    assert(after != before);
    assert(before->line_count <= CART_LINES_MAX);
    cart_image_copy(after, before);

    cart_recent_found_t recent = find_recent(rings, rings_length, request, now_s);
    if (recent == CART_RECENT_SAME) return verdict_of(CART_REPEATED, CART_REASON_NONE, 0);
    if (recent == CART_RECENT_OTHER_DIGEST) return verdict_of(CART_KEY_REUSED, CART_REASON_NONE, 0);
    if (before->state != CART_OPEN) return verdict_of(CART_SESSION_ENDED, CART_REASON_NONE, 0);
    if (!condition_holds(before, request)) return verdict_of(CART_VERSION_MISMATCH, CART_REASON_NONE, 0);
    if (cart_recent_size_with(rings, rings_length, request->keyed, now_s) == 0) {
        return verdict_of(CART_REFUSED, CART_REASON_RECENT, 0);
    }

    for (unsigned i = 0; i < request->change_count; i++) {
        cart_outcome_t outcome = apply(after, &request->changes[i], known, context);
        if (outcome != CART_APPLIED) {
            cart_image_copy(after, before);
            return verdict_of(outcome, CART_REASON_NONE, i);
        }
    }
    after->place.version++;
    assert(after->place.version > before->place.version);
    return verdict_of(CART_APPLIED, CART_REASON_NONE, 0);
}

/* ---- the guest's cart ---------------------------------------------------------------------------------------------- */

static uint32_t wanted_quantity(cart_merge_mode_t mode, uint32_t guest, uint32_t user) {
    switch (mode) {
    case CART_MERGE_SUM:
        return guest + user;
    case CART_MERGE_KEEP:
        return user;
    case CART_MERGE_REPLACE:
        return guest;
    case CART_MERGE_MAX:
    default:
        return guest > user ? guest : user;
    }
}

void cart_absorb(const cart_image_t *user, const cart_image_t *guest, cart_merge_mode_t mode, cart_image_t *after,
                 cart_merge_line_t report[CART_LINES_MAX], unsigned *count) {
    assert(after != user);
    assert(after != guest);
    cart_image_copy(after, user);
    if (mode == CART_MERGE_REPLACE) after->line_count = 0;
    for (unsigned i = 0; i < guest->line_count; i++) {
        const cart_line_t *line = &guest->lines[i];
        unsigned at_user = line_find(user, line->book);
        uint32_t had = at_user < user->line_count ? user->lines[at_user].quantity : 0;
        uint32_t wanted = wanted_quantity(mode, line->quantity, had);
        uint32_t result = wanted > CART_QUANTITY_MAX ? CART_QUANTITY_MAX : wanted;
        unsigned at = line_find(after, line->book);
        if (at == CART_LINES_MAX) result = 0;
        if (result > 0) line_put(after, at, line->book, result);
        report[i].book = line->book;
        report[i].guest = (uint8_t)line->quantity;
        report[i].user = (uint8_t)had;
        report[i].result = (uint8_t)result;
        report[i].clamped = result < wanted;
    }
    after->place.version++;
    *count = guest->line_count;
}

void cart_absorb_id(const cart_id_t *guest, uint8_t id[CART_REQUEST_BYTES]) {
    /* One guest, one id; any fixed mask does, for a guest's id is as random as a request's. */
    static const uint8_t mask[CART_REQUEST_BYTES] = {'a', 'b', 's', 'o', 'r', 'b', ' ', 't',
                                                     'h', 'e', ' ', 'g', 'u', 'e', 's', 't'};
    _Static_assert(CART_REQUEST_BYTES == CART_ID_BYTES, "an id of a guest makes an id of a request");
    for (unsigned i = 0; i < CART_REQUEST_BYTES; i++) id[i] = guest->bytes[i] ^ mask[i];
}
