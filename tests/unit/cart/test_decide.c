#include "seeded.h"

#include "cart/cart_decide.h"
#include "cart/cart_image.h"
#include "cart/cart_table.h"

#define NOW 1790000000U

static bool all_but_thirteen(void *context, uint64_t book) {
    (void)context;
    return book != 13;
}

static cart_image_t cart_of(unsigned lines, uint32_t quantity) {
    cart_image_t image = {.place = {1, 10}, .base_version = 8, .line_count = (uint8_t)lines};
    for (unsigned i = 0; i < lines; i++) image.lines[i] = (cart_line_t){100 + i, quantity};
    return image;
}

static cart_request_t asked(unsigned op, uint64_t book, int32_t quantity) {
    cart_request_t request = {.digest = 1, .change_count = 1};
    memset(request.user.bytes, 1, sizeof(request.user.bytes));
    memset(request.request_id, 2, sizeof(request.request_id));
    request.changes[0] = (cart_change_t){book, quantity, (uint8_t)op};
    return request;
}

/* Decides one change; checks what holds for every decision. */
static cart_verdict_t decided(const cart_image_t *before, const cart_request_t *request, cart_image_t *after) {
    assert_true(cart_request_check(request));
    cart_verdict_t verdict = cart_decide(before, NULL, 0, request, NOW, all_but_thirteen, NULL, after);
    if (verdict.outcome == CART_APPLIED) {
        assert_int_equal(after->place.version, before->place.version + 1);
        assert_int_equal(after->base_version, before->base_version);
        assert_true(cart_image_check(after));
    } else {
        assert_images_equal(before, after);
    }
    return verdict;
}

static void each_change_does_what_it_says(void **state) {
    (void)state;
    const struct {
        unsigned lines;
        uint32_t had;
        unsigned op;
        uint64_t book;
        int32_t quantity;
        unsigned outcome;
        unsigned lines_after;
        uint32_t quantity_after; /* of the book; 0: absent */
    } rows[] = {
        {0, 0, CART_ADD, 100, 2, CART_APPLIED, 1, 2},
        {1, 3, CART_ADD, 100, 2, CART_APPLIED, 1, 5},
        {1, 3, CART_ADD, 100, 96, CART_APPLIED, 1, 99},
        {1, 3, CART_ADD, 100, 97, CART_QUANTITY_LIMIT, 1, 3},
        {1, 3, CART_ADD, 100, -2, CART_APPLIED, 1, 1},
        {1, 3, CART_ADD, 100, -3, CART_APPLIED, 0, 0},
        {1, 3, CART_ADD, 100, -99, CART_APPLIED, 0, 0},
        {1, 3, CART_ADD, 500, -1, CART_APPLIED, 1, 0},
        {1, 3, CART_ADD, 13, -1, CART_APPLIED, 1, 0},
        {1, 3, CART_ADD, 13, 1, CART_UNKNOWN_BOOK, 1, 0},
        {1, 3, CART_SET, 100, 99, CART_APPLIED, 1, 99},
        {1, 3, CART_SET, 100, 100, CART_QUANTITY_LIMIT, 1, 3},
        {1, 3, CART_SET, 100, INT32_MAX, CART_QUANTITY_LIMIT, 1, 3},
        {1, 3, CART_SET, 100, 0, CART_APPLIED, 0, 0},
        {1, 3, CART_SET, 13, 0, CART_APPLIED, 1, 0},
        {1, 3, CART_SET, 13, 1, CART_UNKNOWN_BOOK, 1, 0},
        {1, 3, CART_SET, 13, 100, CART_UNKNOWN_BOOK, 1, 0},
        {1, 3, CART_REMOVE, 100, 0, CART_APPLIED, 0, 0},
        {1, 3, CART_REMOVE, 500, 0, CART_APPLIED, 1, 0},
        {99, 1, CART_SET, 500, 1, CART_APPLIED, 100, 1},
        {100, 1, CART_SET, 500, 1, CART_LINE_LIMIT, 100, 0},
        {100, 1, CART_ADD, 500, 1, CART_LINE_LIMIT, 100, 0},
        {100, 1, CART_ADD, 500, -1, CART_APPLIED, 100, 0},
        {100, 1, CART_ADD, 199, 1, CART_APPLIED, 100, 2},
        {100, 1, CART_CLEAR, 0, 0, CART_APPLIED, 0, 0},
        {0, 0, CART_CLEAR, 0, 0, CART_APPLIED, 0, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cart_image_t before = cart_of(rows[i].lines, rows[i].had);
        cart_request_t request = asked(rows[i].op, rows[i].book, rows[i].quantity);
        cart_image_t after;
        cart_verdict_t verdict = decided(&before, &request, &after);
        if (verdict.outcome != rows[i].outcome) fail_msg("row %zu: outcome %u", i, verdict.outcome);
        if (after.line_count != rows[i].lines_after) fail_msg("row %zu: %u lines", i, after.line_count);
        uint32_t quantity = 0;
        for (unsigned j = 0; j < after.line_count; j++) {
            if (after.lines[j].book == rows[i].book) quantity = after.lines[j].quantity;
        }
        if (rows[i].op != CART_CLEAR && quantity != rows[i].quantity_after) fail_msg("row %zu: %u", i, quantity);
    }
}

static void lines_keep_the_order_in_which_they_were_added(void **state) {
    (void)state;
    cart_image_t before = cart_of(3, 1);
    cart_request_t request = asked(CART_SET, 101, 9);
    request.change_count = 3;
    request.changes[1] = (cart_change_t){100, 0, CART_REMOVE};
    request.changes[2] = (cart_change_t){100, 4, CART_ADD};
    cart_image_t after;
    assert_int_equal(decided(&before, &request, &after).outcome, CART_APPLIED);
    assert_int_equal(after.line_count, 3);
    assert_int_equal(after.lines[0].book, 101);
    assert_int_equal(after.lines[1].book, 102);
    assert_int_equal(after.lines[2].book, 100);
}

static void a_group_is_applied_all_or_none_and_names_the_change_at_fault(void **state) {
    (void)state;
    cart_image_t before = cart_of(2, 5);
    cart_request_t request = asked(CART_CLEAR, 0, 0);
    request.change_count = 3;
    request.changes[1] = (cart_change_t){7, 99, CART_ADD};
    request.changes[2] = (cart_change_t){7, 1, CART_ADD};
    cart_image_t after;
    cart_verdict_t verdict = decided(&before, &request, &after);
    assert_int_equal(verdict.outcome, CART_QUANTITY_LIMIT);
    assert_int_equal(verdict.change, 2);
}

static void a_repeat_is_told_before_state_condition_and_limits(void **state) {
    (void)state;
    uint8_t rings[CART_RECENT_HEADER_BYTES + CART_RECENT_ENTRY_BYTES];
    cart_request_t request = asked(CART_ADD, 13, 1);
    request.condition = CART_IF_FAILED;
    for (unsigned keyed = 0; keyed < 2; keyed++) {
        request.keyed = keyed != 0;
        cart_recent_id_t id = {.digest = request.digest, .at_s = NOW, .keyed = request.keyed};
        memcpy(id.id, request.request_id, sizeof(id.id));
        size_t length = cart_recent_add(NULL, 0, &id, NOW, rings, sizeof(rings));
        for (unsigned cart_state = CART_OPEN; cart_state <= CART_CLOSED; cart_state++) {
            cart_image_t before = cart_of(1, 1);
            cart_image_t after;
            before.state = (uint8_t)cart_state;
            request.digest = 1;
            cart_verdict_t verdict =
                cart_decide(&before, rings, length, &request, NOW + 1, all_but_thirteen, NULL, &after);
            assert_int_equal(verdict.outcome, CART_REPEATED);
            assert_images_equal(&before, &after);
            request.digest = 2;
            verdict = cart_decide(&before, rings, length, &request, NOW + 1, all_but_thirteen, NULL, &after);
            assert_int_equal(verdict.outcome, CART_KEY_REUSED);
        }
        request.digest = 1;
    }
}

static void a_key_of_yesterday_is_a_new_key(void **state) {
    (void)state;
    uint8_t rings[CART_RECENT_HEADER_BYTES + CART_RECENT_ENTRY_BYTES];
    cart_request_t request = asked(CART_ADD, 7, 1);
    request.keyed = true;
    cart_recent_id_t id = {.digest = request.digest, .at_s = NOW, .keyed = true};
    memcpy(id.id, request.request_id, sizeof(id.id));
    size_t length = cart_recent_add(NULL, 0, &id, NOW, rings, sizeof(rings));
    cart_image_t before = cart_of(0, 0);
    cart_image_t after;
    uint32_t later_s = NOW + CART_RECENT_KEEP_S;
    assert_int_equal(cart_decide(&before, rings, length, &request, later_s - 1, NULL, NULL, &after).outcome,
                     CART_REPEATED);
    assert_int_equal(cart_decide(&before, rings, length, &request, later_s, NULL, NULL, &after).outcome, CART_APPLIED);
}

static void a_sealed_or_closed_cart_takes_no_change(void **state) {
    (void)state;
    cart_request_t request = asked(CART_ADD, 7, 1);
    for (unsigned cart_state = CART_SEALED; cart_state <= CART_CLOSED; cart_state++) {
        cart_image_t before = cart_of(1, 1);
        cart_image_t after;
        before.state = (uint8_t)cart_state;
        assert_int_equal(decided(&before, &request, &after).outcome, CART_SESSION_ENDED);
    }
}

static void the_condition_compares_epoch_and_version(void **state) {
    (void)state;
    cart_image_t before = cart_of(1, 1);
    cart_image_t after;
    cart_request_t request = asked(CART_ADD, 13, 1);
    request.condition = CART_IF_PLACE;
    request.expected = (cart_place_t){1, 9};
    assert_int_equal(decided(&before, &request, &after).outcome, CART_VERSION_MISMATCH);
    request.expected = (cart_place_t){2, 10};
    assert_int_equal(decided(&before, &request, &after).outcome, CART_VERSION_MISMATCH);
    request.expected = before.place;
    assert_int_equal(decided(&before, &request, &after).outcome, CART_UNKNOWN_BOOK);
    request.condition = CART_IF_FAILED;
    assert_int_equal(decided(&before, &request, &after).outcome, CART_VERSION_MISMATCH);
}

static void a_full_ring_refuses_before_anything_is_applied(void **state) {
    (void)state;
    static uint8_t rings[2][CART_RECENT_BYTES_MAX];
    size_t length = 0;
    for (unsigned i = 0; i < CART_RECENT_KEYED_MAX; i++) {
        cart_recent_id_t id = {.at_s = NOW, .keyed = true};
        memcpy(id.id, &i, sizeof(i));
        length = cart_recent_add(rings[i & 1], length, &id, NOW, rings[1 - (i & 1)], sizeof(rings[0]));
    }
    cart_image_t before = cart_of(1, 1);
    cart_image_t after;
    cart_request_t request = asked(CART_ADD, 7, 1);
    request.keyed = true;
    cart_verdict_t verdict = cart_decide(&before, rings[0], length, &request, NOW + 5, NULL, NULL, &after);
    assert_int_equal(verdict.outcome, CART_REFUSED);
    assert_int_equal(verdict.reason, CART_REASON_RECENT);
    assert_images_equal(&before, &after);
}

static void refuses_requests_that_no_sane_sender_builds(void **state) {
    (void)state;
    cart_request_t request = asked(CART_ADD, 7, 1);
    assert_true(cart_request_check(&request));
#define REFUSED(statement)                                                                                             \
    do {                                                                                                               \
        request = asked(CART_ADD, 7, 1);                                                                               \
        statement;                                                                                                     \
        assert_false(cart_request_check(&request));                                                                    \
    } while (0)
    REFUSED(request.change_count = 0);
    REFUSED(request.change_count = CART_CHANGES_MAX + 1);
    REFUSED(request.condition = 3);
    REFUSED(memset(&request.user, 0, sizeof(request.user)));
    REFUSED(request.changes[0].op = 0);
    REFUSED(request.changes[0].op = 5);
    REFUSED(request.changes[0].book = 0);
    REFUSED(request.changes[0].book = CART_BOOK_MAX + 1);
    REFUSED(request.changes[0].quantity = 0);
    REFUSED(request.changes[0].quantity = 100);
    REFUSED(request.changes[0].quantity = -100);
    REFUSED((request.changes[0].op = CART_SET, request.changes[0].quantity = -1));
#undef REFUSED
}

/* ---- the guest's cart ---------------------------------------------------------------------------------------------- */

static void a_guest_is_absorbed_by_the_mode(void **state) {
    (void)state;
    const struct {
        cart_merge_mode_t mode;
        uint8_t both, only_guest, only_user, clamped;
    } rows[] = {
        {CART_MERGE_MAX, 60, 2, 3, 0},
        {CART_MERGE_SUM, 99, 2, 3, 1},
        {CART_MERGE_KEEP, 60, 0, 3, 0},
        {CART_MERGE_REPLACE, 50, 2, 0, 0},
    };
    cart_image_t user = {.place = {1, 4}, .base_version = 4, .line_count = 2};
    user.lines[0] = (cart_line_t){30, 3};
    user.lines[1] = (cart_line_t){10, 60};
    cart_image_t guest = {.place = {1, 9}, .base_version = 9, .state = CART_SEALED, .line_count = 2};
    guest.lines[0] = (cart_line_t){10, 50};
    guest.lines[1] = (cart_line_t){20, 2};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cart_image_t after;
        cart_merge_line_t report[CART_LINES_MAX];
        unsigned count = 0;
        cart_absorb(&user, &guest, rows[i].mode, &after, report, &count);
        assert_true(cart_image_check(&after));
        assert_int_equal(after.place.version, 5);
        assert_int_equal(after.state, CART_OPEN);
        assert_int_equal(count, 2);
        assert_int_equal(report[0].book, 10);
        assert_int_equal(report[0].user, 60);
        assert_int_equal(report[0].guest, 50);
        assert_int_equal(report[0].result, rows[i].both);
        assert_int_equal(report[0].clamped, rows[i].clamped);
        assert_int_equal(report[1].result, rows[i].only_guest);
        assert_int_equal(report[1].clamped, 0);
        uint32_t only_user = 0;
        for (unsigned j = 0; j < after.line_count; j++) {
            if (after.lines[j].book == 30) only_user = after.lines[j].quantity;
        }
        assert_int_equal(only_user, rows[i].only_user);
    }
}

static void absorbing_reports_lines_without_room(void **state) {
    (void)state;
    cart_image_t user = cart_of(CART_LINES_MAX - 1, 1);
    cart_image_t guest = {.place = {1, 1}, .line_count = 2};
    guest.lines[0] = (cart_line_t){7, 1};
    guest.lines[1] = (cart_line_t){8, 1};
    cart_image_t after;
    cart_merge_line_t report[CART_LINES_MAX];
    unsigned count = 0;
    cart_absorb(&user, &guest, CART_MERGE_MAX, &after, report, &count);
    assert_int_equal(after.line_count, CART_LINES_MAX);
    assert_int_equal(report[0].result, 1);
    assert_int_equal(report[1].result, 0);
    assert_int_equal(report[1].clamped, 1);
}

static void every_guest_has_an_absorb_id_of_his_own(void **state) {
    (void)state;
    seeded_start(__func__);
    cart_id_t a = seeded_id();
    cart_id_t b = a;
    b.bytes[seeded_below(16)] ^= 1;
    uint8_t ids[3][CART_REQUEST_BYTES];
    cart_absorb_id(&a, ids[0]);
    cart_absorb_id(&a, ids[1]);
    cart_absorb_id(&b, ids[2]);
    assert_memory_equal(ids[0], ids[1], CART_REQUEST_BYTES);
    assert_memory_not_equal(ids[0], ids[2], CART_REQUEST_BYTES);
    assert_memory_not_equal(ids[0], a.bytes, CART_REQUEST_BYTES);
}

/* ---- deciding and storing against a naive model -------------------------------------------------------------------- */

#define USERS   400
#define BOOKS   150 /* above the line limit, so that it is met */
#define HISTORY 8192
#define ZONE    (8 * 1024 * 1024)

/* A cart as a schoolbook would keep it, and all that was ever applied to it (the last HISTORY of it). */
typedef struct {
    cart_id_t id;
    bool exists;
    uint64_t version;
    uint8_t quantities[BOOKS + 1];
    uint64_t added_at[BOOKS + 1]; /* for the order of lines */
    uint64_t additions;
    struct {
        uint8_t id[CART_REQUEST_BYTES];
        uint64_t digest;
        uint32_t at_s;
        bool keyed;
    } * history;
    unsigned history_count;
} naive_t;

static bool known_book(void *context, uint64_t book) {
    (void)context;
    return book % 17 != 0;
}

static unsigned naive_lines(const naive_t *cart) {
    unsigned count = 0;
    for (unsigned book = 1; book <= BOOKS; book++) count += cart->quantities[book] > 0;
    return count;
}

static cart_outcome_t naive_change(naive_t *cart, const cart_change_t *change) {
    if (change->op == CART_CLEAR) {
        memset(cart->quantities, 0, sizeof(cart->quantities));
        return CART_APPLIED;
    }
    int wanted = 0;
    if (change->op == CART_ADD) wanted = cart->quantities[change->book] + change->quantity;
    if (change->op == CART_SET) wanted = change->quantity;
    if (wanted < 0) wanted = 0;
    if (wanted > 0) {
        if (!known_book(NULL, change->book)) return CART_UNKNOWN_BOOK;
        if (wanted > 99) return CART_QUANTITY_LIMIT;
        if (cart->quantities[change->book] == 0) {
            if (naive_lines(cart) == 100) return CART_LINE_LIMIT;
            cart->added_at[change->book] = ++cart->additions;
        }
    }
    cart->quantities[change->book] = (uint8_t)wanted;
    return CART_APPLIED;
}

static cart_outcome_t naive_decide(naive_t *cart, const cart_request_t *request) {
    if (request->condition == CART_IF_FAILED) return CART_VERSION_MISMATCH;
    if (request->condition == CART_IF_PLACE &&
        (request->expected.epoch != 1 || request->expected.version != cart->version)) {
        return CART_VERSION_MISMATCH;
    }
    for (unsigned i = 0; i < request->change_count; i++) {
        cart_outcome_t outcome = naive_change(cart, &request->changes[i]);
        if (outcome != CART_APPLIED) return outcome;
    }
    cart->version++;
    return CART_APPLIED;
}

typedef enum { MUST_REPEAT, MAY_REPEAT, MUST_APPLY } promise_t;

/* What the client was promised about this id: counts once inside its window, is forgotten after 24 hours. */
static promise_t naive_promise(const naive_t *cart, const cart_request_t *request, uint32_t now_s, uint64_t *digest) {
    unsigned rank = 0;
    for (unsigned i = cart->history_count; i-- > 0;) {
        bool keyed = cart->history[i].keyed;
        if (keyed == request->keyed && memcmp(cart->history[i].id, request->request_id, CART_REQUEST_BYTES) == 0) {
            uint32_t age_s = now_s - cart->history[i].at_s;
            *digest = cart->history[i].digest;
            if (!keyed) return age_s < CART_RECENT_RESEND_S ? MUST_REPEAT : MAY_REPEAT;
            if (age_s >= CART_RECENT_KEEP_S) return MUST_APPLY;
            return age_s < CART_RECENT_REPEAT_S || rank < CART_RECENT_KEYED_KEEP ? MUST_REPEAT : MAY_REPEAT;
        }
        if (keyed && request->keyed) rank++;
    }
    return MUST_APPLY;
}

static void naive_remember(naive_t *cart, const cart_request_t *request, uint32_t now_s) {
    if (cart->history_count == HISTORY) {
        memmove(cart->history, cart->history + HISTORY / 2, HISTORY / 2 * sizeof(*cart->history));
        cart->history_count = HISTORY / 2;
    }
    unsigned i = cart->history_count++;
    memcpy(cart->history[i].id, request->request_id, CART_REQUEST_BYTES);
    cart->history[i].digest = request->digest;
    cart->history[i].at_s = now_s;
    cart->history[i].keyed = request->keyed;
}

typedef struct {
    cart_ref_t rings;
    uint32_t rings_length;
} stored_t;

static void load(cart_table_t *table, const naive_t *cart, cart_image_t *image, const uint8_t **rings,
                 size_t *rings_length) {
    *image = (cart_image_t){.place = {1, 0}};
    *rings = NULL;
    *rings_length = 0;
    cart_entry_t *entry = cart_table_find(table, &cart->id);
    if (entry == NULL) return;
    assert_true(cart_image_unpack_trusted(cart_table_image(table, entry), entry->image_length, image));
    const stored_t *stored = cart_entry_extra(entry);
    *rings_length = stored->rings_length;
    if (stored->rings_length > 0) *rings = cart_arena_at(cart_table_arena(table), stored->rings);
}

/* Stores image and rings both or neither, as the engine must. */
static bool store(cart_table_t *table, const naive_t *cart, const cart_image_t *image, const cart_recent_id_t *added,
                  uint32_t now_s) {
    static uint8_t buffer[CART_RECENT_BYTES_MAX];
    uint8_t packed[CART_IMAGE_PACKED_MAX];
    size_t packed_length = cart_image_pack(image, packed, sizeof(packed));
    cart_entry_t *entry = cart_table_find(table, &cart->id);
    bool is_new = entry == NULL;
    if (is_new) entry = cart_table_insert(table, &cart->id);
    if (entry == NULL) return false;
    stored_t *stored = cart_entry_extra(entry);
    const uint8_t *rings = stored->rings_length > 0 ? cart_arena_at(cart_table_arena(table), stored->rings) : NULL;
    size_t rings_length = cart_recent_add(rings, stored->rings_length, added, now_s, buffer, sizeof(buffer));
    stored_t fresh = {CART_NO_REF, 0};
    bool has_room = cart_table_replace(table, &fresh.rings, &fresh.rings_length, buffer, rings_length);
    if (has_room && !cart_table_set_image(table, entry, packed, packed_length)) {
        has_room = false;
        assert_true(cart_table_replace(table, &fresh.rings, &fresh.rings_length, NULL, 0));
    }
    if (has_room) {
        assert_true(cart_table_replace(table, &stored->rings, &stored->rings_length, NULL, 0));
        *stored = fresh;
    } else if (is_new) {
        cart_table_remove(table, entry);
    }
    return has_room;
}

static void assert_stored(cart_table_t *table, const naive_t *cart) {
    cart_image_t image;
    const uint8_t *rings;
    size_t rings_length;
    load(table, cart, &image, &rings, &rings_length);
    assert_int_equal(cart_table_find(table, &cart->id) != NULL, cart->exists);
    assert_int_equal(image.place.version, cart->version);
    assert_int_equal(image.line_count, naive_lines(cart));
    uint64_t added_at = 0;
    for (unsigned i = 0; i < image.line_count; i++) {
        assert_true(image.lines[i].book >= 1 && image.lines[i].book <= BOOKS);
        assert_int_equal(image.lines[i].quantity, cart->quantities[image.lines[i].book]);
        assert_true(cart->added_at[image.lines[i].book] > added_at);
        added_at = cart->added_at[image.lines[i].book];
    }
    assert_true(cart_recent_check(rings, rings_length));
}

static void draw_request(const naive_t *cart, cart_request_t *request) {
    request->user = cart->id;
    request->keyed = seeded_chance(2);
    request->digest = seeded_u64();
    cart_id_t id = seeded_id();
    memcpy(request->request_id, id.bytes, CART_REQUEST_BYTES);
    if (cart->history_count > 0 && seeded_chance(4)) {
        unsigned back = seeded_below(seeded_chance(4) ? cart->history_count : 1 + cart->history_count / 8);
        unsigned i = cart->history_count - 1 - back;
        memcpy(request->request_id, cart->history[i].id, CART_REQUEST_BYTES);
        request->keyed = cart->history[i].keyed;
        if (!seeded_chance(5)) request->digest = cart->history[i].digest;
    }
    request->condition = (uint8_t)(seeded_chance(4) ? 1 + seeded_below(2) : 0);
    request->expected = (cart_place_t){1, cart->version - (seeded_chance(3) && cart->version > 0)};
    request->change_count = (uint16_t)(seeded_chance(8) ? 1 + seeded_below(CART_CHANGES_MAX) : 1);
    for (unsigned i = 0; i < request->change_count; i++) {
        cart_change_t *change = &request->changes[i];
        change->book = 1 + seeded_below(BOOKS);
        change->op = (uint8_t)(seeded_chance(2) ? CART_ADD : seeded_chance(2) ? CART_SET : CART_REMOVE);
        if (seeded_chance(300)) change->op = CART_CLEAR;
        change->quantity = change->op == CART_SET ? (int32_t)seeded_below(101) : (int32_t)seeded_below(60) + 1;
        if (change->op == CART_ADD && seeded_chance(3)) change->quantity = -change->quantity;
    }
}

static void deciding_and_storing_equals_a_naive_model_while_allocations_fail(void **state) {
    (void)state;
    seeded_start(__func__);
    static naive_t carts[USERS];
    static naive_t trial;
    memset(carts, 0, sizeof(carts));
    void *memory = seeded_map(ZONE);
    cart_table_t *table = cart_table_init(memory, ZONE, sizeof(stored_t), 4096, seeded_u64());
    assert_non_null(table);
    for (unsigned i = 0; i < USERS; i++) {
        carts[i].id = seeded_id();
        carts[i].history = calloc(HISTORY, sizeof(*carts[i].history));
        assert_non_null(carts[i].history);
    }
    unsigned outcomes[16] = {0};
    unsigned no_room = 0;
    uint32_t now_s = NOW;
    uint64_t every = 1;
    unsigned long rounds = seeded_rounds(1000000);
    for (unsigned long round = 0; round < rounds; round++) {
        /* For a while time stands still and one user goes mad: his rings fill up. */
        bool is_still = round % 500000 < 40000;
        if (!is_still && seeded_chance(2000)) now_s += seeded_below(seeded_chance(20) ? 90000 : 200);
        /* Few users are busy, so that rings overflow; most are not. */
        naive_t *cart = &carts[seeded_chance(3) ? seeded_below(4) : seeded_below(USERS)];
        if (is_still && seeded_chance(2)) cart = &carts[0];
        if (round % 997 == 0) every = 1 + seeded_below(12);
        if (round % every == 0) cart_arena_fail_after(cart_table_arena(table), seeded_below(3));
        cart_request_t request;
        draw_request(cart, &request);
        assert_true(cart_request_check(&request));

        cart_image_t before;
        cart_image_t after;
        const uint8_t *rings;
        size_t rings_length;
        load(table, cart, &before, &rings, &rings_length);
        cart_verdict_t verdict = cart_decide(&before, rings, rings_length, &request, now_s, known_book, NULL, &after);
        outcomes[verdict.outcome & 15]++;

        uint64_t digest = 0;
        promise_t promise = naive_promise(cart, &request, now_s, &digest);
        bool was_known = verdict.outcome == CART_REPEATED || verdict.outcome == CART_KEY_REUSED;
        if (promise == MUST_REPEAT) assert_true(was_known);
        if (promise == MUST_APPLY) assert_false(was_known);
        if (was_known) {
            assert_int_equal(verdict.outcome, digest == request.digest ? CART_REPEATED : CART_KEY_REUSED);
            assert_images_equal(&before, &after);
        } else if (verdict.outcome == CART_REFUSED) {
            assert_int_equal(verdict.reason, CART_REASON_RECENT);
        } else {
            trial = *cart;
            assert_int_equal(verdict.outcome, naive_decide(&trial, &request));
            assert_true(after.place.version >= before.place.version);
            if (verdict.outcome == CART_APPLIED) {
                cart_recent_id_t id = {.digest = request.digest, .at_s = now_s, .keyed = request.keyed};
                memcpy(id.id, request.request_id, sizeof(id.id));
                if (store(table, cart, &after, &id, now_s)) {
                    *cart = trial;
                    cart->exists = true;
                    naive_remember(cart, &request, now_s);
                } else {
                    no_room++;
                }
            } else {
                assert_images_equal(&before, &after);
            }
        }
        assert_stored(table, cart);
        if (round % 50000 == 0) {
            assert_true(cart_table_check(table));
            for (unsigned i = 0; i < USERS; i++) assert_stored(table, &carts[i]);
        }
    }
    assert_true(cart_table_check(table));
    printf("applied %u, repeated %u, key reused %u, mismatch %u, line %u, quantity %u, unknown book %u, refused %u; "
           "no room %u\n",
           outcomes[CART_APPLIED], outcomes[CART_REPEATED], outcomes[CART_KEY_REUSED], outcomes[CART_VERSION_MISMATCH],
           outcomes[CART_LINE_LIMIT], outcomes[CART_QUANTITY_LIMIT], outcomes[CART_UNKNOWN_BOOK],
           outcomes[CART_REFUSED], no_room);
    for (unsigned i = 0; i < USERS; i++) free(carts[i].history);
    assert_int_equal(munmap(memory, ZONE), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_change_does_what_it_says),
        cmocka_unit_test(lines_keep_the_order_in_which_they_were_added),
        cmocka_unit_test(a_group_is_applied_all_or_none_and_names_the_change_at_fault),
        cmocka_unit_test(a_repeat_is_told_before_state_condition_and_limits),
        cmocka_unit_test(a_key_of_yesterday_is_a_new_key),
        cmocka_unit_test(a_sealed_or_closed_cart_takes_no_change),
        cmocka_unit_test(the_condition_compares_epoch_and_version),
        cmocka_unit_test(a_full_ring_refuses_before_anything_is_applied),
        cmocka_unit_test(refuses_requests_that_no_sane_sender_builds),
        cmocka_unit_test(a_guest_is_absorbed_by_the_mode),
        cmocka_unit_test(absorbing_reports_lines_without_room),
        cmocka_unit_test(every_guest_has_an_absorb_id_of_his_own),
        cmocka_unit_test(deciding_and_storing_equals_a_naive_model_while_allocations_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
