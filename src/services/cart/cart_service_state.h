/*
 * What the files of the cart service share.
 *
 * Threads: the loop (everything in cart_service_t that is not marked otherwise), two feed threads (each its own feed_t), two
 * consumers of other services' events and the HTTP server's handlers (commands only), and inside the stores one thread each. They meet in two bounded queues, both
 * under `mutex`, and in a few atomics that /readyz reads.
 */
#ifndef CART_SERVICE_STATE_H
#define CART_SERVICE_STATE_H

#include "engine/base_sqlite.h"
#include "engine/engine.h"
#include "engine/journal.h"
#include "platform/bc_client.h"
#include "platform/bc_events.h"
#include "platform/bc_http.h"
#include "platform/bc_service.h"
#include "platform/bc_task.h"
#include "services/cart/cart_service.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- lists that services publish (cart_service_lists.c) ------------------------------------------------------------ */

typedef enum { LIST_BOOKS = 0, LIST_REVOCATIONS = 1, LISTS = 2 } list_kind_t;

/* One book or revocation, in one block of memory. Found by key (a book's number, or an id), ordered by position. */
typedef struct list_item {
    uint64_t position;
    uint8_t key[CART_ID_BYTES];
    union {
        cart_book_record_t book; /* its strings lie behind the item */
        cart_revocation_t revocation;
    };
} list_item_t;

typedef struct {
    uint64_t generation; /* a digest of the feed's own word for it; never 0 */
    uint64_t position;
    list_item_t **log; /* owned, by position; NULL where a newer state has replaced it */
    size_t log_length, log_capacity, live;
    list_item_t **table; /* owned: open addressing by key */
    size_t table_mask;
} list_t;

list_t *list_create(uint64_t generation);
void list_destroy(list_t *list);
/* Takes the item. False: no memory (the item is freed). */
bool list_put(list_t *list, list_item_t *item);
const list_item_t *list_find(const list_t *list, const uint8_t key[CART_ID_BYTES]);
/* Items with positions over `after`, at most `max`; returns how many. */
unsigned list_after(const list_t *list, uint64_t after, const list_item_t **items, unsigned max);
/* Revocations whose tokens have all expired. */
void list_expire(list_t *list, uint64_t now_s);
void list_book_key(uint64_t book, uint8_t key[CART_ID_BYTES]);

/* ---- what the threads hand to the loop ------------------------------------------------------------------------------ */

#define FEED_PAGE_MAX  5000 /* items in one page */
#define FEED_QUEUE_MAX 4    /* pages of one feed that wait for the loop; beyond, its thread waits */
#define FEED_WAIT_S    4    /* of a long poll */
#define COMMANDS_MAX   1024 /* beyond: 503 */

typedef struct feed_page {
    struct feed_page *next;
    uint64_t generation;
    uint64_t position;
    bool restart; /* the first page of a full list */
    bool more;
    unsigned count;
    list_item_t *items[FEED_PAGE_MAX]; /* owned */
} feed_page_t;

struct cart_service;
typedef struct {
    struct cart_service *service;
    list_kind_t kind;
    pthread_t thread;
    bool started;
    bc_client_t *client; /* owned; the feed's thread */
    /* under the service's mutex */
    feed_page_t *first, *last;
    unsigned waiting;
    int64_t heard_ms; /* monotonic time of the last page that came; 0: never */
} feed_t;

typedef enum { COMMAND_VIEW = 1, COMMAND_MERGE, COMMAND_CHANGE } command_kind_t;
/* Held by the handler that waits and by the loop: whoever lets go last frees it. */
typedef struct command {
    struct command *next;
    command_kind_t kind;
    cart_id_t user, guest;
    cart_merge_mode_t mode;
    cart_request_t request; /* of a change */
    uint64_t timeout_ms;
    pthread_cond_t done_condition;
    /* under the service's mutex */
    bool done;
    unsigned holders;
    cart_verdict_t verdict;
    bool has_image;
    cart_image_t image;
    cart_merge_line_t lines[CART_LINES_MAX];
    unsigned line_count;
    bool repeated;
} command_t;

typedef enum { SOURCE_PAYMENT, SOURCE_AUTH, SOURCES } source_kind_t; /* whose events are followed */

/* ---- links --------------------------------------------------------------------------------------------------------- */

typedef struct {
    cart_link_t link; /* 0: free */
    int fd;
    bool waits_to_write;
    bool follows;
    struct {
        uint64_t generation, position; /* what the edge has, or is being told */
        bool is_full;                  /* a full list is under way */
        bool is_current;               /* it was told that it has everything */
    } at[LISTS];
} conn_t;

/* ---- the service ---------------------------------------------------------------------------------------------------- */

typedef struct cart_service {
    const bc_service_tools_t *tools; /* borrowed for the service's life */
    const bc_config_t *config;       /* the same */
    engine_t *engine;                /* owned */
    cart_hub_t *hub;                 /* owned */
    commit_point_t *commit;          /* owned */
    base_t *base;                    /* owned */
    uint64_t now_ms;                 /* Unix time that never goes back: monotonic time from the start's Unix time */
    uint64_t clock_offset_ms, begun_ms;

    pthread_t thread;
    bool thread_started;
    int epoll, wake, listener;
    bool listener_is_unix;
    bool link_is_open; /* the loop accepts */
    uid_t edge_uid;    /* allowed beside our own; (uid_t)-1: nobody */
    conn_t conns[CART_HUB_LINKS_MAX];
    cart_book_record_t book_scratch[256]; /* of one call to the hub */
    uint64_t ticked_ms, measured_ms, expired_ms;

    bc_db_t *events_db;                /* owned; nothing of the loop's */
    bc_consumer_t *consumers[SOURCES]; /* owned; threads of their own */
    bc_task_t *events_tidier;          /* owned; the same */

    list_t *lists[LISTS];   /* owned; NULL: never heard in full */
    list_t *staging[LISTS]; /* owned; a full list that is being heard */
    bool vouched[LISTS];
    feed_t feeds[LISTS];

    pthread_mutex_t mutex;
    pthread_cond_t taken;                      /* the loop has taken a feed's pages */
    command_t *commands_first, *commands_last; /* under mutex */
    unsigned command_count;                    /* under mutex */
    bool loop_over;                            /* under mutex: no command is taken any more */

    atomic_bool stop;        /* set by stop(), read by all threads */
    volatile bool end_feeds; /* bc_client's stop flag */
    atomic_bool is_heard[LISTS];
    atomic_bool is_vouched[LISTS];
    atomic_bool is_commit_away, is_base_away;
} cart_service_t;

/* cart_service_loop.c */
bool cart_service_loop_start(cart_service_t *service);
void cart_service_loop_join(cart_service_t *service);
void cart_service_wake(cart_service_t *service);
extern const engine_owner_t cart_service_engine_owner; /* context: the service */
extern const cart_hub_engine_t cart_service_hub_engine;

/* cart_service_links.c */
bool cart_service_listen(cart_service_t *service);
void cart_service_accept(cart_service_t *service);
void cart_service_read(cart_service_t *service, conn_t *conn);
void cart_service_flush(cart_service_t *service);
void cart_service_write(cart_service_t *service, conn_t *conn);
void cart_service_close_conn(cart_service_t *service, conn_t *conn);
conn_t *cart_service_conn(cart_service_t *service, cart_link_t link);

/* cart_service_feeds.c: the threads */
bool cart_service_feeds_start(cart_service_t *service);
void cart_service_feeds_stop(cart_service_t *service);

/* cart_service_follow.c: the loop's side of the feeds */
void cart_service_feeds_take(cart_service_t *service); /* pages that came, and whether the feeds are vouched for */
void cart_service_follow(cart_service_t *service, cart_link_t link, uint64_t books_generation, uint64_t books_position,
                         uint64_t revocations_generation, uint64_t revocations_position);
void cart_service_pump(cart_service_t *service); /* sends followers what they have not */
void cart_service_ask_books(cart_service_t *service, cart_link_t link, const uint64_t *books, unsigned count);
bool cart_service_knows_book(const cart_service_t *service, uint64_t book);
bool cart_service_is_alive(const cart_service_t *service, const cart_id_t *user, const cart_id_t *session,
                           uint64_t issued_s);

/* cart_service_commands.c */
extern const bc_route_t cart_service_routes[];
void cart_service_commands_take(cart_service_t *service);
void cart_service_command_done(cart_service_t *service, command_t *command, const cart_verdict_t *verdict,
                               const cart_image_t *image, const engine_merge_report_t *report);
/* Applies the request's changes and waits until they are durable; *image is the cart after. Any thread but the loop's. False: not now
 * (*verdict says why when an answer came); with the same request id it may be asked again and counts once. */
bool cart_service_change(cart_service_t *service, const cart_request_t *request, cart_verdict_t *verdict,
                         cart_image_t *image);
/* What a view or change answers; NULL: no memory. The caller owns it. */
json_t *cart_service_image_json(const cart_id_t *user, const cart_image_t *image);
const char *cart_service_reason(const cart_verdict_t *verdict);
void cart_service_commands_end(cart_service_t *service); /* refuses what waits; later ones are refused at once */

/* cart_service_changes.c */
void cart_service_handle_changes(bc_request_t *request, bc_reply_t *reply, void *context);
/* Makes the request id and the digest out of user, `id` and the changes. */
void cart_service_request_ids(cart_request_t *request, const char *id);

/* cart_service_events.c: what payment and auth have published */
bool cart_service_events_start(cart_service_t *service);
void cart_service_events_stop(cart_service_t *service); /* tells the threads to end */
void cart_service_events_end(cart_service_t *service);  /* waits for them, closes the database */
bool cart_service_events_migrate(const bc_config_t *config);
void cart_service_events_ready(cart_service_t *service, json_t *checks);
void cart_service_handle_letters(bc_request_t *request, bc_reply_t *reply, void *context);
void cart_service_handle_replay(bc_request_t *request, bc_reply_t *reply, void *context);
void cart_service_handle_discard(bc_request_t *request, bc_reply_t *reply, void *context);

/* cart_service_metrics.c */
void cart_service_measure(cart_service_t *service);

#endif
