/*
 * The service's end of all links: a state machine without I/O. Bytes and time in, bytes out; what it learns goes to the
 * engine through cart_hub_engine_t, what the engine confirms comes back through cart_hub_done, _cart, _changed.
 *
 * It closes the older link of a slot and drops its undecided requests before it reads the newer one (rule 5), keeps who
 * is subscribed to which cart (edge incarnation, user → slot, generation), numbers PUSHes for each slot and keeps the last
 * of them for a link that comes back (rule 6), turns a request's remaining time into a deadline, carries the feeds.
 *
 * It must be called in the order in which things became durable: the engine calls cart_hub_done only then (rule 1).
 */
#ifndef CART_HUB_H
#define CART_HUB_H

#include "cart/cart_worker.h"

#define CART_HUB_LINKS_MAX  256
#define CART_HUB_SLOTS_MAX  1024 /* (edge incarnation, slot) remembered, with or without a link; the longest away goes */
#define CART_HUB_RESUME_MS  120000 /* a slot without a link for so long is forgotten: a gap when it comes back */
#define CART_HUB_REPLAY_MAX 4096   /* PUSHes kept for each slot; a longer absence is a gap */
#define CART_HUB_OUT_MAX    (16 * 1024 * 1024) /* bytes a link may owe its socket; beyond, it is closed (and gets a gap) */

typedef struct cart_hub cart_hub_t;
typedef uint64_t cart_link_t; /* one connection; never 0, never reused */

typedef struct {
    cart_link_t link;
    uint32_t number;     /* of the request on its link */
    uint32_t index;      /* the hub's own */
    uint64_t generation; /* the hub's own: of the seat that a fetch subscribes, 0 = none */
} cart_origin_t;         /* copy it whole and give it back as it came */

typedef struct {
    void *context;
    /* False: the engine's queue is full; the hub answers CART_REFUSED/QUEUE itself. */
    bool (*change)(void *context, const cart_origin_t *origin, const cart_request_t *request, uint64_t deadline_ms);
    bool (*fetch)(void *context, const cart_origin_t *origin, const cart_id_t *user, const cart_id_t *session,
                  uint64_t issued_s, uint64_t deadline_ms);
    /* Undecided requests of this link are to be forgotten, at once. */
    void (*drop_link)(void *context, cart_link_t link);
    /* An edge gave the seat up with this term: its sync is wanted soon when term > 0. */
    void (*released)(void *context, const cart_id_t *user, uint64_t term);
    /* A worker asks for books. Answered by cart_hub_books(…, to). */
    void (*ask_books)(void *context, cart_link_t link, const uint64_t *books, unsigned count);
    /* A link follows the feeds from these positions; the owner answers with cart_hub_books / cart_hub_revocations to it
     * (full when the generation differs or the position is too old), and from then on with every change. To say that the
     * link has caught up, the last call for each feed has last = true, also when nothing is new (count 0, not full). */
    void (*follow)(void *context, cart_link_t link, uint64_t books_generation, uint64_t books_position,
                   uint64_t revocations_generation, uint64_t revocations_position);
    void (*log)(void *context, int level, const char *event, const char *detail);
} cart_hub_engine_t;

typedef struct {
    cart_id_t incarnation; /* of this service process, drawn at start */
    uint64_t epoch;
    bool shared;              /* false: sole owner (journal) */
    uint32_t ping_timeout_ms; /* a silent link is closed after this */
    uint32_t subscriptions_max;
    uint64_t seed;
} cart_hub_config_t;

cart_hub_t *cart_hub_create(const cart_hub_config_t *config, const cart_hub_engine_t *engine);
void cart_hub_destroy(cart_hub_t *hub);

/* 0: no room for another link. */
cart_link_t cart_hub_opened(cart_hub_t *hub, uint64_t now_ms);
/* False: protocol error; close it. */
bool cart_hub_received(cart_hub_t *hub, cart_link_t link, const uint8_t *bytes, size_t length, uint64_t now_ms);
size_t cart_hub_output(cart_hub_t *hub, cart_link_t link, const uint8_t **bytes);
void cart_hub_sent(cart_hub_t *hub, cart_link_t link, size_t length);
void cart_hub_closed(cart_hub_t *hub, cart_link_t link, uint64_t now_ms);
/* The next link that has news to write, or is to be closed (*close: write what cart_hub_output still gives, as far as the
 * socket takes it at once, close it and call cart_hub_closed); 0: none. Call until 0 after each turn. A link is told once
 * for each news: what the socket did not take is the caller's to write when it becomes writable. */
cart_link_t cart_hub_next_ready(cart_hub_t *hub, bool *close);
uint32_t cart_hub_tick(cart_hub_t *hub, uint64_t now_ms);

/* ---- from the engine, only for what is durable --------------------------------------------------------------------- */
/* The outcome of a change, with the cart as it is now (NULL with CART_SESSION_ENDED and when there is none to show).
 * With CART_APPLIED every other subscriber gets a PUSH, and the origin's DONE carries a PUSH number of its slot. */
void cart_hub_done(cart_hub_t *hub, const cart_origin_t *origin, const cart_id_t *user, const cart_verdict_t *verdict,
                   const cart_image_t *image);
/* The answer to a fetch; verdict CART_APPLIED with an image, or CART_REFUSED / CART_SESSION_ENDED without. */
void cart_hub_cart(cart_hub_t *hub, const cart_origin_t *origin, const cart_id_t *user, const cart_verdict_t *verdict,
                   const cart_image_t *image);
/* A cart changed for another reason (merge, save moved base_version): PUSH to all its subscribers. image NULL: its seats
 * are to be given up (guest sealed). */
void cart_hub_changed(cart_hub_t *hub, const cart_id_t *user, const cart_image_t *image);
bool cart_hub_is_subscribed(const cart_hub_t *hub, const cart_id_t *user);

/* Feeds: to one link (0: to every link that follows). Parameters as in cart_worker_owner_t. */
void cart_hub_books(cart_hub_t *hub, cart_link_t to, const cart_book_record_t *books, unsigned count, bool full,
                    bool last, bool answers, uint64_t generation, uint64_t position);
void cart_hub_revocations(cart_hub_t *hub, cart_link_t to, const cart_revocation_t *list, unsigned count, bool full,
                          bool last, uint64_t generation, uint64_t position);
/* While a feed is not vouched for (auth or library away too long), the edges are told and act by rule 9. */
void cart_hub_feeds_vouched(cart_hub_t *hub, bool books, bool revocations);

typedef struct {
    uint64_t links, subscriptions, pushes, replays, gaps, dones, fetches, refused_queue, protocol_errors;
} cart_hub_stats_t;
void cart_hub_stats(const cart_hub_t *hub, cart_hub_stats_t *stats);

#endif
