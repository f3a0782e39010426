/*
 * Who is subscribed: (edge incarnation, user) → (slot, generation). One record each, in chunks that never move, found by
 * a keyed hash of the user.
 *
 * A gap voids all subscriptions of a slot at once by moving the slot's epoch; the records are taken away when they are
 * met, or by a sweep of bounded steps, so that a lost link costs no stall however many seats it had.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cart/cart_hub_state.h"
#include "cart/cart_planted.h"

#define SWEEP_STEP 2048

static uint32_t bucket_of(const cart_hub_t *hub, const cart_id_t *user) {
    uint64_t low, high;
    memcpy(&low, user->bytes, 8);
    memcpy(&high, user->bytes + 8, 8);
    uint64_t hash = (low ^ hub->config.seed) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ (hash >> 32) ^ high) * UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(hash >> 32) & hub->bucket_mask;
}

static hub_sub_t *sub_at(const cart_hub_t *hub, uint32_t index) {
    return &hub->sub_chunks[index / HUB_SUB_CHUNK][index % HUB_SUB_CHUNK];
}

bool hub_subs_init(cart_hub_t *hub) {
    uint32_t buckets = 1024;
    while (buckets < hub->config.subscriptions_max && buckets < UINT32_C(1) << 30) buckets *= 2;
    hub->buckets = malloc((size_t)buckets * sizeof(*hub->buckets));
    hub->sub_chunks_max = (uint32_t)(((uint64_t)hub->config.subscriptions_max + HUB_SUB_CHUNK - 1) / HUB_SUB_CHUNK);
    hub->sub_chunks = calloc(hub->sub_chunks_max + 1U, sizeof(*hub->sub_chunks));
    if (hub->buckets == NULL || hub->sub_chunks == NULL) return false;
    memset(hub->buckets, 0xff, (size_t)buckets * sizeof(*hub->buckets)); /* HUB_NONE */
    hub->bucket_mask = buckets - 1;
    hub->sub_free = HUB_NONE;
    return true;
}

void hub_subs_deinit(cart_hub_t *hub) {
    for (uint32_t i = 0; i < hub->sub_chunk_count; i++) free(hub->sub_chunks[i]);
    free(hub->sub_chunks);
    free(hub->buckets);
}

static bool sub_is_void(const cart_hub_t *hub, const hub_sub_t *sub) {
    return sub->slot_epoch != hub->slots[sub->slot].epoch;
}

static void unlink_sub(cart_hub_t *hub, uint32_t *link, uint32_t index) {
    hub_sub_t *sub = sub_at(hub, index);
    *link = sub->next;
    sub->generation = 0;
    sub->next = hub->sub_free;
    hub->sub_free = index;
    assert(hub->sub_count > 0);
    hub->sub_count--;
}

/* The link that names the user's first valid record from `link` on; void ones on the way are taken away. */
static uint32_t *next_of_user(cart_hub_t *hub, const cart_id_t *user, uint32_t *link) {
    while (*link != HUB_NONE) {
        uint32_t index = *link;
        hub_sub_t *sub = sub_at(hub, index);
        if (sub_is_void(hub, sub)) {
            unlink_sub(hub, link, index);
            continue;
        }
        if (cart_id_equal(&sub->user, user)) return link;
        link = &sub->next;
    }
    return NULL;
}

static uint32_t *find_link(cart_hub_t *hub, const cart_id_t *user, const cart_id_t *edge) {
    uint32_t *link = &hub->buckets[bucket_of(hub, user)];
    while ((link = next_of_user(hub, user, link)) != NULL) {
        hub_sub_t *sub = sub_at(hub, *link);
        if (cart_id_equal(&hub->slots[sub->slot].edge, edge)) return link;
        link = &sub->next;
    }
    return NULL;
}

hub_sub_t *hub_sub_find(cart_hub_t *hub, const cart_id_t *user, const cart_id_t *edge) {
    uint32_t *link = find_link(hub, user, edge);
    return link == NULL ? NULL : sub_at(hub, *link);
}

hub_sub_t *hub_sub_next(cart_hub_t *hub, const cart_id_t *user, uint32_t *at) {
    uint32_t *link = *at == HUB_NONE ? &hub->buckets[bucket_of(hub, user)] : &sub_at(hub, *at)->next;
    link = next_of_user(hub, user, link);
    if (link == NULL) return NULL;
    *at = *link;
    return sub_at(hub, *link);
}

static bool add_chunk(cart_hub_t *hub) {
    if (hub->sub_chunk_count == hub->sub_chunks_max) return false;
    hub_sub_t *chunk = calloc(HUB_SUB_CHUNK, sizeof(*chunk));
    if (chunk == NULL) return false;
    uint32_t base = hub->sub_chunk_count * HUB_SUB_CHUNK;
    hub->sub_chunks[hub->sub_chunk_count++] = chunk;
    for (uint32_t i = HUB_SUB_CHUNK; i-- > 0;) {
        chunk[i].next = hub->sub_free;
        hub->sub_free = base + i;
    }
    return true;
}

bool hub_sub_set(cart_hub_t *hub, const cart_id_t *user, uint32_t slot, uint64_t generation) {
    assert(generation != 0);
    hub_sub_t *sub = hub_sub_find(hub, user, &hub->slots[slot].edge);
    if (sub != NULL) {
        /* FETCHes of two workers may arrive in the other order than their seats were reserved: the newer one stays. */
        if (sub->generation > generation) return false;
    } else {
        if (hub->sub_count >= hub->config.subscriptions_max) return false;
        if (hub->sub_free == HUB_NONE && !add_chunk(hub)) return false;
        uint32_t index = hub->sub_free;
        sub = sub_at(hub, index);
        hub->sub_free = sub->next;
        sub->user = *user;
        uint32_t *bucket = &hub->buckets[bucket_of(hub, user)];
        sub->next = *bucket;
        *bucket = index;
        hub->sub_count++;
    }
    sub->generation = generation;
    sub->slot = slot;
    sub->slot_epoch = hub->slots[slot].epoch;
    return true;
}

void hub_sub_remove(cart_hub_t *hub, const cart_id_t *user, const cart_id_t *edge, uint64_t generation) {
    uint32_t *link = find_link(hub, user, edge);
    if (link == NULL) return;
    if (sub_at(hub, *link)->generation == generation || CART_PLANTED(release_any_generation))
        unlink_sub(hub, link, *link);
}

void hub_subs_sweep(cart_hub_t *hub) {
    uint32_t all = hub->sub_chunk_count * HUB_SUB_CHUNK;
    for (unsigned i = 0; i < SWEEP_STEP && i < all; i++) {
        if (hub->sweep >= all) hub->sweep = 0;
        hub_sub_t *sub = sub_at(hub, hub->sweep++);
        if (sub->generation == 0 || !sub_is_void(hub, sub)) continue;
        cart_id_t user = sub->user;
        uint32_t *link = &hub->buckets[bucket_of(hub, &user)];
        while ((link = next_of_user(hub, &user, link)) != NULL) link = &sub_at(hub, *link)->next;
    }
}
