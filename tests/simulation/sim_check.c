/*
 * The checker: the truth is what became durable, in its order; everything that anybody is told is held against it.
 *
 *   order        a commit that does not build on the newest durable image of its cart
 *   version-back a version that is not greater than every one before it
 *   doubled      one request id applied twice
 *   wrong-result a durable image that is not what the request makes of its predecessor
 *   late         a change decided after its time, or told 503 and applied after one of the same cart that was sent later
 *                on its slot had been answered
 *   revoked      a change of a session applied that was revoked before the batch was decided
 *   lost         after a crash, an acknowledged change (or its id within the repeat window) is nowhere
 *   unconfirmed  an image shown or saved that is not durable
 *   acked        a success told for an id that is not durable
 *   stale        an image shown that is older than the caller may see
 *   freed        a cart loaded from a base that never got the newest image: it was freed too early
 *   dropped      a journal segment dropped before the base had its carts
 *   fork         two owners' images met and something of one of them disappeared
 *   merge        a guest's cart absorbed twice, or changed after it was absorbed
 *   key          a condition or limit told for an id that had been applied before
 *   unanswered   a request that nobody ever answered
 */
#include <assert.h>
#include <stdlib.h>

#include "cart/cart_image.h"
#include "sim.h"

int sim_user_of(const sim_world_t *world, const cart_id_t *id) {
    for (unsigned i = 0; i < world->user_count; i++) {
        if (cart_id_equal(&world->users[i].id, id)) return (int)i;
    }
    return -1;
}

static const sim_change_t *newest(const sim_user_t *user) {
    return user->truth_count == 0 ? NULL : &user->truth[user->truth_count - 1];
}

static bool same_lines(const cart_line_t *a, unsigned a_count, const cart_line_t *b, unsigned b_count) {
    if (a_count != b_count) return false;
    for (unsigned i = 0; i < a_count; i++) {
        if (a[i].book != b[i].book || a[i].quantity != b[i].quantity) return false;
    }
    return true;
}

static sim_change_t *find_id(sim_user_t *user, const uint8_t id[CART_REQUEST_BYTES]) {
    for (unsigned i = user->truth_count; i > 0; i--) {
        if (memcmp(user->truth[i - 1].id, id, CART_REQUEST_BYTES) == 0) return &user->truth[i - 1];
    }
    return NULL;
}

/* What a change makes of lines, written as naively as can be: the product's cart_decide is not asked. */
static unsigned apply_naively(const cart_request_t *request, cart_line_t *lines, unsigned count) {
    for (unsigned c = 0; c < request->change_count; c++) {
        const cart_change_t *change = &request->changes[c];
        if (change->op == CART_CLEAR) {
            count = 0;
            continue;
        }
        unsigned at = 0;
        while (at < count && lines[at].book != change->book) at++;
        int64_t quantity = at < count ? (int64_t)lines[at].quantity : 0;
        if (change->op == CART_ADD) quantity += change->quantity;
        if (change->op == CART_SET) quantity = change->quantity;
        if (change->op == CART_REMOVE) quantity = 0;
        if (quantity > 0) {
            lines[at].book = change->book;
            lines[at].quantity = (uint32_t)quantity;
            if (at == count) count++;
        } else if (at < count) {
            memmove(&lines[at], &lines[at + 1], (count - at - 1) * sizeof(*lines));
            count--;
        }
    }
    return count;
}

static bool holds_all_of(const cart_image_t *image, const cart_line_t *lines, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        unsigned at = 0;
        while (at < image->line_count && image->lines[at].book != lines[i].book) at++;
        if (at == image->line_count || image->lines[at].quantity < lines[i].quantity) return false;
    }
    return true;
}

/* A change of the same cart that was sent later on the same slot and is answered already. Between carts a slot promises no
 * order: a cart that must be loaded does not hold up the others. */
static const sim_op_t *answered_after(const sim_world_t *world, const sim_op_t *told) {
    for (unsigned i = 0; i < world->op_count; i++) {
        const sim_op_t *op = &world->ops[i];
        if (op->kind != SIM_CHANGE || op->state != SIM_ANSWERED || op->user != told->user) continue;
        if (op->outcome == CART_SESSION_ENDED) continue; /* says nothing about the cart */
        if (op->worker == told->worker && op->order > told->order) return op;
    }
    return NULL;
}

void sim_check_submitted(sim_world_t *world, const cart_request_t *request, uint64_t deadline_ms) {
    for (unsigned i = 0; i < world->op_count; i++) {
        sim_op_t *op = &world->ops[i];
        if (op->request == NULL || memcmp(op->request->request_id, request->request_id, CART_REQUEST_BYTES) != 0)
            continue;
        if (op->deadline_ms < deadline_ms) op->deadline_ms = deadline_ms;
    }
}

static void check_late(sim_world_t *world, const cart_request_t *request) {
    const sim_op_t *told = NULL;
    const sim_op_t *later = NULL;
    for (unsigned i = 0; i < world->op_count; i++) {
        const sim_op_t *op = &world->ops[i];
        if (op->request == NULL || memcmp(op->request->request_id, request->request_id, CART_REQUEST_BYTES) != 0)
            continue;
        if (op->deadline_ms >= world->journal.started_ms) break;
        sim_violation(world, "late", "user %u: decided at %llu, its time had run out at %llu", op->user,
                      (unsigned long long)world->journal.started_ms, (unsigned long long)op->deadline_ms);
        return;
    }
    for (unsigned i = 0; i < world->op_count; i++) {
        const sim_op_t *op = &world->ops[i];
        if (op->request == NULL || memcmp(op->request->request_id, request->request_id, CART_REQUEST_BYTES) != 0)
            continue;
        if (op->state != SIM_TOLD_503) return; /* still asked for, or answered by nobody */
        told = op;
        later = answered_after(world, op);
        if (later == NULL) return;
    }
    if (told != NULL) {
        sim_violation(world, "late", "user %u: told 503 at %llu, applied now; sent later on its slot, answered at %llu",
                      told->user, (unsigned long long)told->ended_ms, (unsigned long long)later->ended_ms);
    }
}

static const cart_request_t *request_of(const sim_world_t *world, const uint8_t id[CART_REQUEST_BYTES],
                                        const sim_op_t **of) {
    for (unsigned i = 0; i < world->op_count; i++) {
        const sim_op_t *op = &world->ops[i];
        if (op->request == NULL || memcmp(op->request->request_id, id, CART_REQUEST_BYTES) != 0) continue;
        *of = op;
        return op->request;
    }
    return NULL;
}

static void check_result(sim_world_t *world, unsigned index, const cart_image_t *image, const cart_recent_id_t *added) {
    sim_user_t *user = &world->users[index];
    const sim_op_t *op = NULL;
    const cart_request_t *request = request_of(world, added->id, &op);
    if (request == NULL) return; /* a merge: checked by its own rule */
    if (sim_user_of(world, &request->user) != (int)index) {
        sim_violation(world, "order", "user %u: a change of another user's request", index);
        return;
    }
    uint64_t revoked_ms = user->revoked_ms[op->session];
    if (revoked_ms != 0 && revoked_ms < world->journal.started_ms) {
        sim_violation(world, "revoked", "user %u: session %u was revoked at %llu, batch decided at %llu", index,
                      op->session, (unsigned long long)revoked_ms, (unsigned long long)world->journal.started_ms);
    }
    check_late(world, request);

    const sim_change_t *last = newest(user);
    if (user->has_foreign && (last == NULL || cart_place_compare(last->place, user->foreign.place) < 0)) return;
    cart_line_t lines[CART_LINES_MAX + CART_CHANGES_MAX];
    unsigned count = last == NULL ? 0 : last->line_count;
    if (count > 0) memcpy(lines, last->lines, count * sizeof(*lines));
    count = apply_naively(request, lines, count);
    if (!same_lines(lines, count, image->lines, image->line_count)) {
        sim_violation(world, "wrong-result", "user %u version %llu: %u lines, should be %u", index,
                      (unsigned long long)image->place.version, image->line_count, count);
    }
}

static bool builds_on(const sim_world_t *world, unsigned index, cart_place_t expected) {
    const sim_user_t *user = &world->users[index];
    const sim_change_t *last = newest(user);
    const sim_row_t *row = &world->base.rows[index];
    if (user->has_foreign && cart_place_compare(expected, user->foreign.place) == 0) return true;
    if (last == NULL) return expected.version <= world->base.floor; /* nowhere, or the empty cart at the floor */
    if (cart_place_compare(expected, last->place) == 0) return true;
    /* The row was deleted, rightly: then the cart is nowhere again. */
    return !row->there && last->line_count == 0 && last->place.version <= world->base.floor;
}

void sim_check_durable(sim_world_t *world, const commit_set_t *set) {
    int found = sim_user_of(world, &set->user);
    assert(found >= 0);
    unsigned index = (unsigned)found;
    sim_user_t *user = &world->users[index];
    cart_image_t image;
    if (!cart_image_unpack(set->image, set->image_length, &image)) {
        sim_violation(world, "wrong-result", "user %u: an image that cannot be read", index);
        return;
    }
    const sim_change_t *last = newest(user);
    if (!builds_on(world, index, set->expected)) {
        sim_violation(world, "order", "user %u: builds on (%llu, %llu), the newest is (%llu, %llu)", index,
                      (unsigned long long)set->expected.epoch, (unsigned long long)set->expected.version,
                      (unsigned long long)(last ? last->place.epoch : 0),
                      (unsigned long long)(last ? last->place.version : 0));
    }
    if (last != NULL && (image.place.version <= last->place.version || image.place.epoch < last->place.epoch)) {
        sim_violation(world, "version-back", "user %u: (%llu, %llu) after (%llu, %llu)", index,
                      (unsigned long long)image.place.epoch, (unsigned long long)image.place.version,
                      (unsigned long long)last->place.epoch, (unsigned long long)last->place.version);
    }
    for (unsigned i = 0; i < set->added_count; i++) {
        if (find_id(user, set->added[i].id) != NULL) {
            const sim_op_t *op = NULL;
            sim_violation(world, request_of(world, set->added[i].id, &op) == NULL ? "merge" : "doubled",
                          "user %u version %llu: an id that was applied before", index,
                          (unsigned long long)image.place.version);
        }
    }
    if (last != NULL && last->state != CART_OPEN && (set->added_count > 0 || image.state < last->state)) {
        sim_violation(world, "merge", "user %u: version %llu changes a cart that was absorbed", index,
                      (unsigned long long)image.place.version);
    }
    bool joins_fork = user->has_foreign && last != NULL && image.place.epoch > last->place.epoch &&
                      cart_place_compare(set->expected, user->foreign.place) != 0;
    if (joins_fork || (user->has_foreign && set->added_count == 0)) {
        if ((last != NULL && !holds_all_of(&image, last->lines, last->line_count)) ||
            !holds_all_of(&image, user->foreign.lines, user->foreign.line_count)) {
            sim_violation(world, "fork", "user %u: a line disappeared when two owners' images met", index);
        }
    } else if (set->added_count > 0) {
        check_result(world, index, &image, &set->added[0]);
    }
    if (world->violation != NULL) return;

    if (user->truth_count == SIM_TRUTH_MAX) return; /* the clients stop before; a merge may still come */
    sim_change_t *change = &user->truth[user->truth_count++];
    memset(change, 0, sizeof(*change));
    change->place = image.place;
    change->state = image.state;
    change->line_count = image.line_count;
    memcpy(change->lines, image.lines, image.line_count * sizeof(*image.lines));
    change->at_ms = world->now_ms;
    if (set->added_count > 0) {
        memcpy(change->id, set->added[0].id, CART_REQUEST_BYTES);
        change->keyed = set->added[0].keyed;
    }
    sim_trace(world, "durable: user %u (%llu, %llu), %u lines, id %02x%02x", index,
              (unsigned long long)image.place.epoch, (unsigned long long)image.place.version, image.line_count,
              change->id[0], change->id[1]);
}

/* ---- after a crash ----------------------------------------------------------------------------------------------- */

static bool id_is_kept(const sim_world_t *world, unsigned index, const sim_change_t *change) {
    const sim_row_t *row = &world->base.rows[index];
    for (int keyed = 0; keyed < 2; keyed++) {
        if (!row->there || row->rings_length == 0) break;
        /* Any digest: what counts is that the id is known. */
        if (cart_recent_find(row->rings, row->rings_length, change->id, 0, keyed) != CART_RECENT_ABSENT) return true;
    }
    for (unsigned i = 0; i < world->journal.count; i++) {
        const sim_record_t *record = &world->journal.records[i];
        for (unsigned a = 0; record->user == index && a < record->set.added_count; a++) {
            if (memcmp(record->set.added[a].id, change->id, CART_REQUEST_BYTES) == 0) return true;
        }
    }
    return false;
}

void sim_check_restart(sim_world_t *world) {
    for (unsigned index = 0; index < world->user_count; index++) {
        const sim_user_t *user = &world->users[index];
        cart_place_t best = {0, 0};
        if (world->base.rows[index].there) best = world->base.rows[index].place;
        for (unsigned i = 0; i < world->journal.count; i++) {
            cart_image_t image;
            if (world->journal.records[i].user != index) continue;
            bool valid = cart_image_unpack(world->journal.records[i].set.image,
                                           world->journal.records[i].set.image_length, &image);
            assert(valid);
            if (cart_place_compare(best, image.place) < 0) best = image.place;
        }
        uint64_t window_ms = CART_RECENT_REPEAT_S * 1000;
        for (unsigned i = 0; i < user->truth_count; i++) {
            const sim_change_t *change = &user->truth[i];
            if (!change->acked) continue;
            bool purged = best.epoch == 0 && change->place.version <= world->base.floor;
            if (cart_place_compare(best, change->place) < 0 && !purged) {
                sim_violation(world, "lost", "user %u: version %llu was acknowledged, disk has %llu", index,
                              (unsigned long long)change->place.version, (unsigned long long)best.version);
                return;
            }
            bool young = change->keyed && change->at_ms + window_ms > world->now_ms + 2000;
            if (young && !id_is_kept(world, index, change)) {
                sim_violation(world, "lost", "user %u: the id of version %llu, %llu ms old, is nowhere", index,
                              (unsigned long long)change->place.version,
                              (unsigned long long)(world->now_ms - change->at_ms));
                return;
            }
        }
    }
}

void sim_check_saved(sim_world_t *world, unsigned index, const base_save_t *save) {
    const sim_user_t *user = &world->users[index];
    cart_image_t image;
    if (!cart_image_unpack(save->image, save->image_length, &image) ||
        cart_place_compare(image.place, save->place) != 0) {
        sim_violation(world, "unconfirmed", "user %u: a save whose image is not what it says", index);
        return;
    }
    for (unsigned i = user->truth_count; i > 0; i--) {
        const sim_change_t *change = &user->truth[i - 1];
        if (cart_place_compare(change->place, image.place) != 0) continue;
        if (!same_lines(change->lines, change->line_count, image.lines, image.line_count)) break;
        return;
    }
    sim_violation(world, "unconfirmed", "user %u: version %llu goes to the base and is not durable", index,
                  (unsigned long long)image.place.version);
}

void sim_check_segment_dropped(sim_world_t *world, unsigned segment) {
    for (unsigned i = 0; i < world->journal.count; i++) {
        const sim_record_t *record = &world->journal.records[i];
        if (record->segment != segment) break;
        const sim_row_t *row = &world->base.rows[record->user];
        cart_image_t image;
        bool valid = cart_image_unpack(record->set.image, record->set.image_length, &image);
        assert(valid);
        bool purged = !row->there && image.place.version <= world->base.floor;
        if (!purged && (!row->there || cart_place_compare(row->place, image.place) < 0)) {
            sim_violation(world, "dropped", "segment %u: user %u version %llu, the base has %llu", segment,
                          record->user, (unsigned long long)image.place.version,
                          (unsigned long long)(row->there ? row->place.version : 0));
        }
    }
}

void sim_check_base_load(sim_world_t *world, unsigned index) {
    const sim_user_t *user = &world->users[index];
    const sim_change_t *last = newest(user);
    const sim_row_t *row = &world->base.rows[index];
    if (last == NULL || world->replayed[index] || world->forked[index] || user->has_foreign) return;
    if (row->there ? cart_place_compare(row->place, last->place) < 0 : last->place.version > world->base.floor) {
        sim_violation(world, "freed", "user %u is loaded at %llu, the newest is %llu", index,
                      (unsigned long long)(row->there ? row->place.version : 0),
                      (unsigned long long)last->place.version);
    }
}

/* ---- what customers are told --------------------------------------------------------------------------------------- */

void sim_check_start(sim_world_t *world, sim_op_t *op) {
    const sim_user_t *user = &world->users[op->user];
    uint64_t stale_ms = world->edges[op->edge].config.stale_max_ms;
    op->started_ms = op->parked_ms = world->now_ms;
    op->floor_same_edge = user->edge_shown[op->edge];
    op->floor_anywhere = user->acked_version;
    op->floor_stale = 0;
    for (unsigned i = user->ack_count; i > 0; i--) {
        if (user->acks[i - 1].ms + stale_ms >= world->now_ms) continue;
        op->floor_stale = user->acks[i - 1].version;
        break;
    }
}

static bool is_truth(const sim_world_t *world, const sim_user_t *user, const cart_image_t *image) {
    for (unsigned i = user->truth_count; i > 0; i--) {
        const sim_change_t *change = &user->truth[i - 1];
        if (cart_place_compare(change->place, image->place) != 0) continue;
        return same_lines(change->lines, change->line_count, image->lines, image->line_count);
    }
    if (user->has_foreign && cart_place_compare(user->foreign.place, image->place) == 0) {
        return same_lines(user->foreign.lines, user->foreign.line_count, image->lines, image->line_count);
    }
    /* A cart without a row: empty, at the floor. */
    return image->line_count == 0 && image->place.version <= world->base.floor;
}

void sim_check_shown(sim_world_t *world, sim_op_t *op, const cart_image_t *image, const char *how, bool stale_allowed) {
    sim_user_t *user = &world->users[op->user];
    if (!is_truth(world, user, image)) {
        sim_violation(world, "unconfirmed", "user %u: %s shows (%llu, %llu) with %u lines, which is not durable",
                      op->user, how, (unsigned long long)image->place.epoch, (unsigned long long)image->place.version,
                      image->line_count);
        return;
    }
    uint64_t floor = stale_allowed ? op->floor_stale : op->floor_anywhere;
    if (floor < op->floor_same_edge) floor = op->floor_same_edge;
    if (image->place.version < floor) {
        sim_violation(world, "stale", "user %u: %s shows version %llu, must be %llu or more (edge %u, %s)", op->user,
                      how, (unsigned long long)image->place.version, (unsigned long long)floor, op->edge,
                      floor == op->floor_same_edge ? "told there before" : "acknowledged before");
    }
    if (user->edge_shown[op->edge] < image->place.version) user->edge_shown[op->edge] = image->place.version;
}

void sim_check_acked(sim_world_t *world, sim_op_t *op, uint8_t outcome) {
    sim_user_t *user = &world->users[op->user];
    sim_change_t *change = find_id(user, op->request->request_id);
    bool decided = outcome >= CART_VERSION_MISMATCH && outcome <= CART_UNKNOWN_BOOK;
    if (decided && change != NULL && change->at_ms < op->parked_ms) {
        sim_violation(world, "key", "user %u: outcome %u told for an id that was applied before it was asked again",
                      op->user, outcome);
    }
    if (outcome != CART_APPLIED && outcome != CART_REPEATED) return;
    if (change == NULL) {
        sim_violation(world, "acked", "user %u: success told for an id that is not durable (outcome %u)", op->user,
                      outcome);
        return;
    }
    change->acked = true;
    if (user->acked_version < change->place.version) {
        user->acked_version = change->place.version;
        if (user->ack_count < SIM_TRUTH_MAX) {
            user->acks[user->ack_count].ms = world->now_ms;
            user->acks[user->ack_count++].version = change->place.version;
        }
    }
}

void sim_check_final(sim_world_t *world) {
    for (unsigned i = 0; i < world->op_count && world->violation == NULL; i++) {
        const sim_op_t *op = &world->ops[i];
        if (op->state == SIM_WAITING) {
            sim_violation(world, "unanswered", "user %u: asked at %llu on worker %llu, never answered", op->user,
                          (unsigned long long)op->started_ms, (unsigned long long)op->worker);
        }
    }
    if (world->violation == NULL) sim_check_restart(world);
}
