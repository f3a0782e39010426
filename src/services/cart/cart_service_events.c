/*
 * What payment and auth have published, applied to carts: `order.paid` takes the ordered quantities out of the cart and leaves what was
 * added meanwhile, `user.erased` and `user.expired` (a guest whose last token is dead) clear it.
 *
 * The inbox is in DATA/cart-events.db, the cart in the engine: two stores, so a kill between them applies an event again. The engine knows
 * the request id (made of the order, or the event) for CART_RECENT_KEEP_S and answers that it has been; so at least once is once.
 * Each consumer has its own thread; both, and the handlers of dead letters, share the database. None of it is the loop's.
 */
#include "services/cart/cart_service_state.h"

#include "platform/bc_log.h"
#include "platform/bc_service.h"
#include "platform/bc_store.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#define TIDY_MS (3600 * 1000)

static const bc_migration_t migrations[] = {
    {"events", BC_EVENTS_MIGRATION},
    {NULL, NULL},
};

/* ---- applying -------------------------------------------------------------------------------------------------------- */

static bc_event_result_t change_cart(cart_service_t *service, cart_request_t *request, const char *id,
                                     char reason[256]) {
    cart_verdict_t verdict;
    cart_image_t image;
    cart_service_request_ids(request, id);
    assert(cart_request_check(request));
    if (!cart_service_change(service, request, &verdict, &image)) return BC_EVENT_WAIT;
    switch ((cart_outcome_t)verdict.outcome) {
    case CART_APPLIED:
    case CART_REPEATED:
    case CART_SESSION_ENDED: /* a guest's cart that was merged into another: it has no lines any more */
        return BC_EVENT_APPLIED;
    default:
        (void)snprintf(reason, 256, "the cart answers with outcome %d", verdict.outcome); /* a word and a number fit */
        return BC_EVENT_FAILED;
    }
}

static bc_event_result_t malformed(char reason[256]) {
    (void)snprintf(reason, 256, "its data is malformed");
    return BC_EVENT_FAILED;
}

static bool read_user(const bc_event_t *event, cart_id_t *user) {
    const char *text = json_string_value(json_object_get(event->data, "user"));
    return text != NULL && cart_id_parse("usr_", text, strlen(text), user) && !cart_id_is_none(user);
}

static bc_event_result_t order_paid(bc_db_t *db, const bc_event_t *event, void *context, char reason[256]) {
    (void)db;
    cart_request_t request = {.condition = CART_IF_NONE};
    const json_t *lines = json_object_get(event->data, "lines");
    size_t count = json_array_size(lines);
    char id[64];
    if (!read_user(event, &request.user) || count < 1 || count > CART_CHANGES_MAX ||
        snprintf(id, sizeof(id), "order.paid/%s", event->key) >= (int)sizeof(id))
        return malformed(reason);
    for (size_t i = 0; i < count; i++) {
        const json_t *line = json_array_get(lines, i);
        json_int_t book = json_integer_value(json_object_get(line, "book"));
        json_int_t quantity = json_integer_value(json_object_get(line, "quantity"));
        if (book < 1 || (uint64_t)book > CART_BOOK_MAX || quantity < 1 || quantity > CART_QUANTITY_MAX)
            return malformed(reason);
        request.changes[i] = (cart_change_t){.op = CART_ADD, .book = (uint64_t)book, .quantity = -(int32_t)quantity};
    }
    request.change_count = (uint16_t)count;
    return change_cart(context, &request, id, reason);
}

static bc_event_result_t user_erased(bc_db_t *db, const bc_event_t *event, void *context, char reason[256]) {
    (void)db;
    cart_request_t request = {.condition = CART_IF_NONE, .change_count = 1};
    if (!read_user(event, &request.user)) return malformed(reason);
    request.changes[0] = (cart_change_t){.op = CART_CLEAR};
    return change_cart(context, &request, event->id, reason);
}

static const bc_event_handler_t payment_handlers[] = {{"order.paid", order_paid}, {NULL, NULL}};
static const bc_event_handler_t auth_handlers[] = {
    {"user.erased", user_erased}, {"user.expired", user_erased}, {NULL, NULL}};

/* ---- life ------------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    const char *check; /* in /readyz */
    bc_key_t listen;
    const bc_event_handler_t *handlers;
} sources[SOURCES] = {
    [SOURCE_PAYMENT] = {"payment", "payment_events", BC_PAYMENT_INTERNAL, payment_handlers},
    [SOURCE_AUTH] = {"auth", "auth_events", BC_AUTH_INTERNAL, auth_handlers},
};

static const bc_store_t stored = {.service = "cart", .file = "cart-events.db", .migrations = migrations};

static int64_t tidy(bc_task_t *task, void *context) {
    cart_service_t *service = context;
    (void)task;
    if (bc_db_begin(service->events_db) != BC_DB_OK) return TIDY_MS; /* logged there; so the commit */
    bc_events_tidy(service->events_db, service->config, bc_time_ms());
    (void)bc_db_commit(service->events_db);
    return TIDY_MS;
}

bool cart_service_events_start(cart_service_t *service) {
    service->events_db = bc_store_open(&stored, service->config);
    if (service->events_db == NULL) return false;
    service->events_tidier = bc_task_create("tidy", tidy, service);
    if (service->events_tidier == NULL) return false;
    for (unsigned i = 0; i < SOURCES; i++) {
        bc_consumer_options_t options = {.source = sources[i].name,
                                         .listen = sources[i].listen,
                                         .handlers = sources[i].handlers,
                                         .db = service->events_db,
                                         .context = service};
        service->consumers[i] = bc_consumer_create(service->config, service->tools->service_key, &options);
        if (service->consumers[i] == NULL) return false;
    }
    return true;
}

void cart_service_events_stop(cart_service_t *service) {
    for (unsigned i = 0; i < SOURCES; i++) bc_consumer_stop(service->consumers[i]);
}

void cart_service_events_end(cart_service_t *service) {
    for (unsigned i = 0; i < SOURCES; i++) {
        bc_consumer_destroy(service->consumers[i]);
        service->consumers[i] = NULL;
    }
    bc_task_destroy(service->events_tidier);
    service->events_tidier = NULL;
    bc_db_close(service->events_db);
    service->events_db = NULL;
}

bool cart_service_events_migrate(const bc_config_t *config) {
    int lock = bc_service_lock(config, "cart", false);
    if (lock < 0) return true; /* the service runs and did it when it started */
    bc_db_t *db = bc_store_open(&stored, config);
    bc_db_close(db);
    (void)close(lock); /* releases the lock */
    return db != NULL;
}

void cart_service_events_ready(cart_service_t *service, json_t *checks) {
    for (unsigned i = 0; i < SOURCES; i++) {
        /* No memory: an answer without it. */
        (void)json_object_set_new(checks, sources[i].check, json_string(bc_consumer_state(service->consumers[i])));
    }
}

/* ---- dead letters ---------------------------------------------------------------------------------------------------- */

void cart_service_handle_letters(bc_request_t *request, bc_reply_t *reply, void *context) {
    cart_service_t *service = context;
    bc_dead_letters_serve(service->events_db, request, reply);
}

void cart_service_handle_replay(bc_request_t *request, bc_reply_t *reply, void *context) {
    cart_service_t *service = context;
    bc_dead_letters_replay(service->consumers, SOURCES, service->events_db, request, reply);
}

void cart_service_handle_discard(bc_request_t *request, bc_reply_t *reply, void *context) {
    cart_service_t *service = context;
    bc_dead_letters_discard(service->consumers, SOURCES, service->events_db, request, reply);
}
