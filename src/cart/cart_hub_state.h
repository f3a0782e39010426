/*
 * What cart_hub.c (links and frames), cart_hub_slots.c (slots, PUSH numbers, replay), cart_hub_subs.c (who is subscribed)
 * and cart_hub_feeds.c (lists) share. Private to them.
 */
#ifndef CART_HUB_STATE_H
#define CART_HUB_STATE_H

#include "cart/cart_frame.h"
#include "cart/cart_hub.h"
#include "cart/cart_out.h"

#define HUB_NONE UINT32_MAX

_Static_assert(CART_HUB_LINKS_MAX <= 256, "a link's index is the low byte of its id");

typedef enum {
    HUB_GREETING,
    HUB_UP,
    HUB_DEAD /* given up by us: not read, only flushed and closed */
} hub_link_state_t;
typedef enum { HUB_BOOKS = 0, HUB_REVOKED = 1, HUB_FEEDS = 2 } hub_feed_t;

typedef struct {
    cart_link_t id; /* 0: free */
    uint8_t state;  /* hub_link_state_t */
    bool close;     /* to be closed by the caller */
    bool dropped;   /* the engine was told to forget its requests */
    bool ready;     /* on the list of links with news */
    bool follows;
    bool full_open[HUB_FEEDS];           /* a full list is under way on this link … */
    uint64_t full_generation[HUB_FEEDS]; /* … of this generation */
    bool caught_up[HUB_FEEDS];           /* since FOLLOW */
    uint32_t slot;                       /* index into slots; HUB_NONE */
    uint32_t ready_next;
    uint64_t heard_ms;
    cart_out_t out;
    uint8_t *in; /* owned: an incomplete frame */
    size_t in_length, in_capacity;
} hub_link_t;

/* The last PUSHes of a slot, as PUSH records back to back; numbers first … push_next − 1. */
typedef struct {
    uint8_t *bytes; /* owned */
    size_t head, length, capacity;
    uint32_t count;
} hub_replay_t;

typedef struct {
    bool used;
    uint16_t slot;
    cart_id_t edge;
    uint32_t link;        /* index of its live link; HUB_NONE */
    uint32_t epoch;       /* subscriptions of another epoch are void */
    uint64_t newest_link; /* greatest link number seen */
    uint64_t push_next;
    uint64_t away_ms; /* since when it has no link */
    hub_replay_t replay;
} hub_slot_t;

typedef struct {
    cart_id_t user;
    uint64_t generation; /* 0: free */
    uint32_t slot;
    uint32_t slot_epoch;
    uint32_t next; /* in the bucket, or of the free records */
    uint32_t spare;
} hub_sub_t;

#define HUB_SUB_CHUNK 4096

struct cart_hub {
    cart_hub_config_t config;
    cart_hub_engine_t engine;
    cart_hub_stats_t stats;
    uint64_t now_ms; /* the newest time that a caller gave */

    hub_link_t links[CART_HUB_LINKS_MAX];
    uint64_t link_sequence;
    uint32_t ready_first, ready_last;

    hub_slot_t slots[CART_HUB_SLOTS_MAX];
    uint64_t push_highest; /* of the slots that were forgotten */

    uint32_t *buckets; /* owned */
    uint32_t bucket_mask;
    hub_sub_t **sub_chunks; /* owned */
    uint32_t sub_chunk_count, sub_chunks_max;
    uint32_t sub_free;
    uint32_t sub_count;
    uint32_t sweep;

    bool books_vouched, revoked_vouched;
    uint64_t generation[HUB_FEEDS], position[HUB_FEEDS]; /* newest that was heard */
    uint8_t *scratch;                                    /* owned: one frame of the greatest size */
};

/* ---- cart_hub.c ---------------------------------------------------------------------------------------------------- */
void hub_log(cart_hub_t *hub, int level, const char *event, const char *detail);
/* It has output, or is to be closed. */
void hub_ready(cart_hub_t *hub, hub_link_t *link);
/* Not read any more; what is queued may still be written, then the caller closes it. */
void hub_give_up(cart_hub_t *hub, hub_link_t *link, const char *why);
/* Appends a whole frame; a link that owes too much is given up. */
void hub_send(cart_hub_t *hub, hub_link_t *link, const uint8_t *frame, size_t length);

/* ---- cart_hub_slots.c ---------------------------------------------------------------------------------------------- */
/* The slot of an edge; HUB_NONE: no room. *fresh: nothing is known of it. */
uint32_t hub_slot_for(cart_hub_t *hub, const cart_id_t *edge, uint16_t slot, bool *fresh);
/* Forgets its subscriptions and what could be replayed: a gap. */
void hub_slot_gap(cart_hub_t *hub, uint32_t slot);
bool hub_slot_can_resume(const hub_slot_t *slot, uint64_t push_seen);
/* PUSHes up to this number have been stored by the edge. */
void hub_slot_seen(hub_slot_t *slot, uint64_t push_seen);
void hub_slot_replay(cart_hub_t *hub, uint32_t slot, hub_link_t *link);
/* Draws the next PUSH number of the slot and keeps the PUSH for a replay; the record is in hub->scratch, *length bytes.
 * `bytes` length 0: the seat is to be given up. */
uint64_t hub_slot_push(cart_hub_t *hub, uint32_t slot, const cart_id_t *user, uint64_t generation, const uint8_t *image,
                       uint16_t image_length, size_t *length);
void hub_slots_tick(cart_hub_t *hub);
void hub_slots_deinit(cart_hub_t *hub);

/* ---- cart_hub_subs.c ----------------------------------------------------------------------------------------------- */
bool hub_subs_init(cart_hub_t *hub);
void hub_subs_deinit(cart_hub_t *hub);
/* The subscription of this user at this slot's edge; NULL: none. */
hub_sub_t *hub_sub_find(cart_hub_t *hub, const cart_id_t *user, const cart_id_t *edge);
/* False: a newer generation is subscribed, or no room. */
bool hub_sub_set(cart_hub_t *hub, const cart_id_t *user, uint32_t slot, uint64_t generation);
void hub_sub_remove(cart_hub_t *hub, const cart_id_t *user, const cart_id_t *edge, uint64_t generation);
/* Walks the user's subscriptions: start with HUB_NONE. The record may be removed by its caller afterwards. */
hub_sub_t *hub_sub_next(cart_hub_t *hub, const cart_id_t *user, uint32_t *at);
/* Takes void records away, a bounded number. */
void hub_subs_sweep(cart_hub_t *hub);

#endif
