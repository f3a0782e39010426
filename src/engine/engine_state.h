/*
 * What the engine's files share: the requests it holds (slots), what it hangs on a resident cart, the batch under way.
 * Internal to engine*.c.
 *
 * A resident cart is one entry of the cart table plus engine_extra_t. What blocks it is said by its flags:
 *
 *   LOADING   a load is wanted or under way: no image yet, or (with UNKNOWN, RINGS, FORKED) not one to decide on
 *   UNKNOWN   a commit's result is unknown: the commit point is asked what is stored (rule 1)
 *   RINGS     replayed from the journal: its rings are completed from the base's row first
 *   FORKED    the base's row is none of ours: it is loaded and merged, and the merge is committed (rule 3)
 *   SAVING    its confirmed image is with the base
 *   IN_BATCH  the batch under way points at it
 *
 * Requests for a blocked cart wait on the cart, in order, and come back to the head of the queue when it is free.
 */
#ifndef ENGINE_STATE_H
#define ENGINE_STATE_H

#include "cart/cart_image.h"
#include "engine/engine.h"

/* ---- requests ---------------------------------------------------------------------------------------------------- */

typedef uint32_t engine_slot_ref_t; /* index in engine->slots; 0: none */

/* A list is the reference of its head; the head's prev is the tail. */
typedef engine_slot_ref_t engine_slot_list_t;

typedef enum { SLOT_FREE = 0, SLOT_QUEUED, SLOT_READY, SLOT_WAITING, SLOT_IN_BATCH } engine_where_t;
typedef enum { SLOT_CHANGE = 1, SLOT_FETCH, SLOT_MERGE } engine_kind_t;

#define SLOT_CHANGES_INLINE 3

typedef struct {
    cart_merge_line_t lines[CART_LINES_MAX];
    unsigned count;
    bool repeated;
} engine_merge_result_t;

typedef struct {
    engine_slot_ref_t prev, next;
    uint8_t where; /* engine_where_t */
    uint8_t kind;  /* engine_kind_t */
    uint8_t merge_mode;
    bool internal; /* no session to check */
    bool refused_stopping;
    bool keyed;
    uint8_t condition;
    cart_verdict_t verdict;
    uint32_t cart;  /* with SLOT_IN_BATCH: 1 + index in batch.carts; 0: decided on no cart */
    uint32_t guest; /* of a merge: the same for the guest */
    uint32_t set;   /* 1 + index of the set whose image it shows; 0: the resident image */
    engine_origin_t origin;
    uint64_t deadline_ms;
    cart_id_t user;
    cart_id_t session; /* of a merge: the guest */
    uint64_t issued_s;
    uint8_t request_id[CART_REQUEST_BYTES];
    uint64_t digest;
    cart_place_t expected;
    uint16_t change_count;
    cart_change_t changes[SLOT_CHANGES_INLINE];
    cart_change_t *more;          /* owned: all changes, when they do not fit inline */
    engine_merge_result_t *merge; /* owned, of a merge */
} engine_slot_t;

/* ---- residents --------------------------------------------------------------------------------------------------- */

enum {
    FLAG_LOADING = 1,
    FLAG_SAVING = 2,
    FLAG_IN_BATCH = 4,
    FLAG_UNKNOWN = 8,
    FLAG_RINGS = 16,
    FLAG_FORKED = 32,
    FLAG_RELEASED = 64,
    FLAG_FREE_WHEN_SAVED = 128, /* phase 2 chose it */
};
#define FLAGS_BLOCKED (FLAG_LOADING | FLAG_UNKNOWN | FLAG_RINGS | FLAG_FORKED)

/* A cart is on at most one of these lists. */
typedef enum {
    LIST_NONE = 0,
    LIST_LOAD_COMMIT, /* to be asked of the commit point */
    LIST_LOAD_BASE,   /* to be loaded from the base; a request waits */
    LIST_LOAD_IDLE,   /* to be loaded from the base; nobody waits (after a replay) */
    LIST_URGENT,      /* dirty: save at once */
    LIST_RELEASED,    /* dirty: an edge gave its seat up */
    LIST_DIRTY,       /* dirty: by calm and age */
    LIST_COUNT
} engine_list_t;

typedef struct {
    cart_place_t base;       /* the row as known; epoch 0: there is none, and version is what the cart started from */
    uint64_t dirty_since_ms; /* 0: clean */
    uint64_t due_ms;         /* on LIST_RELEASED and LIST_DIRTY: when it is looked at; each list is in this order */
    cart_ref_t rings;
    uint32_t rings_length;
    cart_ref_t prev, next; /* on its list */
    engine_slot_list_t waiting;
    uint32_t changed_s;
    uint16_t batch; /* 1 + index in batch.carts */
    uint8_t list;   /* engine_list_t */
    uint8_t spare;
} engine_extra_t;

_Static_assert(sizeof(engine_extra_t) == 64, "paid once a resident cart");

static inline engine_extra_t *engine_extra(cart_entry_t *entry) {
    return cart_entry_extra(entry);
}

typedef struct {
    cart_ref_t head, tail;
    uint64_t count;
} engine_cart_list_t;

/* ---- the batch --------------------------------------------------------------------------------------------------- */

#define ENGINE_TAKE_MAX 8192 /* requests taken up in one turn */

/* A cart that the batch read or changed. The before-image stays in the entry until the result is known. */
typedef struct {
    cart_entry_t *entry; /* pinned by FLAG_IN_BATCH */
    cart_ref_t image;    /* staged; CART_NO_REF: only read */
    uint32_t image_length;
    cart_ref_t rings;
    uint32_t rings_length;
    uint32_t last_set;        /* 1 + index; 0: only read */
    struct engine_fork *fork; /* borrowed: this batch commits its merge */
    uint8_t result;           /* commit_result_t */
} engine_batch_cart_t;

typedef struct {
    engine_batch_cart_t *carts;
    unsigned cart_count;
    commit_set_t *sets;
    cart_recent_id_t *added; /* one for each set */
    unsigned set_count;
    uint8_t *packed; /* the sets' images */
    size_t packed_length;
    engine_slot_list_t slots; /* in order of decision */
    unsigned taken;
    bool under_way;
} engine_batch_t;

/* A row that is none of ours, kept until the merge with it is committed. */
typedef struct engine_fork {
    struct engine_fork *next;
    cart_id_t user;
    cart_image_t row;
    uint32_t rings_length;
    uint8_t rings[]; /* rings_length bytes */
} engine_fork_t;

#define ENGINE_SAVE_BYTES     (8 * 1024 * 1024) /* of images and rings in one save */
#define ENGINE_SAVE_GATHER_MS 20                /* between two saves when nothing is urgent */
#define ENGINE_SWEEP_MS       100 /* between two looks for requests whose time ran out while they waited */
#define ENGINE_ROOM_MS        100
#define ENGINE_PURGE_MS       60000
#define ENGINE_CLEAR_MS       10
#define ENGINE_CLEAR_BUDGET   64
#define ENGINE_LOADS_IDLE_MAX 4096 /* replayed carts loading at one time */
#define ENGINE_RETRY_MIN_MS   50   /* back-off of base and commit point */
#define ENGINE_RETRY_MAX_MS   2000

struct engine {
    engine_config_t config;
    commit_point_t *commit;
    base_t *base;
    engine_owner_t owner;
    uint64_t now_ms;
    uint32_t now_s;
    uint64_t floor;
    bool stopping;

    engine_slot_t *slots; /* owned, ENGINE_QUEUE_MAX + 1 */
    engine_slot_ref_t *free_slots;
    uint32_t free_count;
    uint32_t slots_high; /* slots ever used */
    engine_slot_list_t queue, ready;
    uint32_t waiting; /* slots that wait on carts */
    uint64_t swept_ms;

    void *memory; /* owned: the table */
    cart_table_t *table;
    cart_arena_t *arena;
    cart_clearance_t clearance;
    uint64_t cleared_ms;
    const cart_entry_t *pinned; /* an entry in hand that the clearance must not take */
    engine_cart_list_t lists[LIST_COUNT];
    uint64_t dirty;

    engine_batch_t batch;
    uint64_t commit_retry_ms; /* the commit point refused to begin: not before */
    uint64_t commit_load_retry_ms;
    bool commit_troubled; /* the last commit was not done: ask it how it is before the next batch */
    bool commit_away;     /* it is finding out what is stored */
    engine_fork_t *forks; /* owned; oldest first */

    uint64_t base_retry_ms; /* the base is away: not before */
    uint32_t base_retry_delay_ms;
    bool base_away;
    unsigned loads_under_way;
    cart_id_t load_users[BASE_BATCH_MAX]; /* of the load that is being asked for */

    base_save_t *saves; /* owned, BASE_BATCH_MAX */
    uint8_t *save_bytes;
    unsigned save_count; /* under way; 0: none */
    uint64_t save_begun_ms;
    commit_forget_t *forgets; /* owned, BASE_BATCH_MAX: gathered while results are taken in */
    unsigned forget_count;
    commit_room_t room;
    uint64_t room_ms;
    bool pressure; /* journal short of room or memory stuck: save everything */
    uint64_t purged_ms;

    cart_request_t request; /* scratch */
    cart_image_t before, after, shown, other;
    cart_merge_line_t merge_lines[CART_LINES_MAX];
    uint8_t *rings_scratch; /* owned, 2 × CART_RECENT_BYTES_MAX */
    engine_stats_t stats;
};

/* ---- engine_slots.c ---------------------------------------------------------------------------------------------- */
engine_slot_t *engine_slot(engine_t *engine, engine_slot_ref_t ref);
engine_slot_ref_t engine_slot_take(engine_t *engine); /* 0: full */
void engine_slot_give(engine_t *engine, engine_slot_ref_t ref);
void engine_slots_append(engine_t *engine, engine_slot_list_t *list, engine_slot_ref_t ref);
void engine_slots_remove(engine_t *engine, engine_slot_list_t *list, engine_slot_ref_t ref);
/* Puts all of `from` before all of `list`; from is empty then. */
void engine_slots_prepend(engine_t *engine, engine_slot_list_t *list, engine_slot_list_t *from);
void engine_slot_request(engine_t *engine, const engine_slot_t *slot, cart_request_t *request);
/* Takes a request off whatever list it is on (not the batch's). */
void engine_slot_unlink(engine_t *engine, engine_slot_ref_t ref);

/* ---- engine_answer.c --------------------------------------------------------------------------------------------- */
/* Answers without a cart and gives the slot back: only for refusals that say nothing about a cart's state. */
void engine_refuse(engine_t *engine, engine_slot_ref_t ref, uint8_t outcome, uint8_t reason);
/* Answers what was decided; image: what to show, NULL: nothing. Gives the slot back. */
void engine_answer(engine_t *engine, engine_slot_ref_t ref, const cart_image_t *image);
void engine_log(engine_t *engine, int level, const char *event, const cart_id_t *user, const char *detail);

void engine_store_log(void *context, int level, const char *event, const char *detail); /* what the stores say */

/* ---- engine_residents.c ------------------------------------------------------------------------------------------ */
void engine_list_append(engine_t *engine, engine_list_t list, cart_entry_t *entry);
void engine_list_remove(engine_t *engine, cart_entry_t *entry); /* from whatever list it is on */
cart_entry_t *engine_list_head(engine_t *engine, engine_list_t list);
/* The confirmed image, with the base_version that is known now. */
void engine_image(engine_t *engine, cart_entry_t *entry, cart_image_t *image);
cart_ref_t engine_alloc(engine_t *engine,
                        size_t bytes); /* clears by the policy when short; CART_NO_REF: nothing may go */
cart_entry_t *engine_insert(engine_t *engine, const cart_id_t *user);
bool engine_set_rings(engine_t *engine, cart_entry_t *entry, const uint8_t *rings, size_t length);
bool engine_set_image(engine_t *engine, cart_entry_t *entry, const cart_image_t *image);
void engine_remove(engine_t *engine, cart_entry_t *entry);
void engine_set_dirty(engine_t *engine, cart_entry_t *entry, uint64_t since_ms);
void engine_set_clean(engine_t *engine, cart_entry_t *entry);
/* Puts a dirty cart on the list that its state asks for; a blocked or saving one waits for what blocks it. */
void engine_list_dirty(engine_t *engine, cart_entry_t *entry);
void engine_unblock(engine_t *engine, cart_entry_t *entry); /* what waits on it is ready */
void engine_refuse_waiting(engine_t *engine, cart_entry_t *entry, uint8_t reason);
void engine_clear(engine_t *engine, unsigned budget);

/* ---- engine_batch.c ---------------------------------------------------------------------------------------------- */
void engine_batch_run(engine_t *engine);
engine_batch_cart_t *engine_batch_cart(engine_t *engine, cart_entry_t *entry);
/* What the next decision on the cart sees. */
void engine_batch_before(engine_t *engine, const engine_batch_cart_t *cart, cart_image_t *image, const uint8_t **rings,
                         uint32_t *rings_length);
typedef enum { STAGED, STAGE_NO_MEMORY, STAGE_RECENT } engine_stage_t;
/* Adds one set: the cart becomes `after`, its rings take `added` (NULL: they stay). */
engine_stage_t engine_stage(engine_t *engine, engine_batch_cart_t *cart, cart_image_t *after,
                            const cart_recent_id_t *added);
/* The same, with rings as given (a fork's). */
engine_stage_t engine_stage_rings(engine_t *engine, engine_batch_cart_t *cart, cart_image_t *after,
                                  const uint8_t *rings, uint32_t rings_length);
/* The user's cart if decisions can be made on it now; else the request waits on it, or is refused. */
cart_entry_t *engine_resident(engine_t *engine, engine_slot_ref_t ref, const cart_id_t *user);
bool engine_batch_has_room(const engine_t *engine);

/* ---- engine_commit.c --------------------------------------------------------------------------------------------- */
void engine_commit_begin(engine_t *engine);
void engine_commit_finish(engine_t *engine, const commit_result_t *results, const commit_loaded_t *newer);
/* Asks the commit point how it is, when the last commit gave reason to. */
void engine_commit_check(engine_t *engine);
void engine_committed(void *context, const commit_result_t *results, const commit_loaded_t *newer, unsigned count);

/* ---- engine_merge.c ---------------------------------------------------------------------------------------------- */
/* True: decided (in the batch). False: it waits, or was refused. */
bool engine_take_up_merge(engine_t *engine, engine_slot_ref_t ref);

/* ---- engine_load.c ----------------------------------------------------------------------------------------------- */
void engine_load_begin(engine_t *engine, cart_entry_t *entry);
void engine_loads_run(engine_t *engine);
void engine_forks_stage(engine_t *engine);
void engine_fork_committed(engine_t *engine, engine_batch_cart_t *cart);
void engine_commit_loaded(void *context, const commit_loaded_t *loaded, unsigned count);
void engine_base_loaded(void *context, const base_loaded_t *loaded, unsigned count);

/* ---- engine_sync.c ----------------------------------------------------------------------------------------------- */
void engine_sync_run(engine_t *engine);
void engine_base_failed(engine_t *engine);
void engine_base_answered(engine_t *engine);
void engine_saved(void *context, const cart_id_t *users, const cart_place_t *places, const base_save_result_t *results,
                  unsigned count);
void engine_purgeable(void *context, const cart_id_t *users, const cart_place_t *places, unsigned count);
/* The base holds `place` of the user: the commit point may forget up to there. Sent at the end of the run. */
void engine_forget(engine_t *engine, const cart_id_t *user, cart_place_t place);
void engine_forget_flush(engine_t *engine);
/* When the sync wants to run, ms from now. */
uint32_t engine_sync_next_ms(const engine_t *engine, uint64_t now_ms);

#endif
