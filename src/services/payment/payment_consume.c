/* What payment does about the events of others. Each runs in the consumer's transaction; what it does twice changes nothing. */
#include "platform/bc_log.h"
#include "services/payment/payment_service.h"
#include "services/payment/payment_store_orders.h"
#include "services/payment/payment_store_stock.h"

#include <stdio.h>
#include <string.h>

static bc_event_result_t failed(char reason[256], const char *why) {
    (void)snprintf(reason, 256, "%s", why); /* literals */
    return BC_EVENT_FAILED;
}

/* The database's failure passes; a transaction that is unsound is rolled back by the consumer. */
static bc_event_result_t done(bool good) {
    return good ? BC_EVENT_APPLIED : BC_EVENT_WAIT;
}

static bc_event_result_t open_ledger(bc_db_t *db, const bc_event_t *event, void *context, char reason[256]) {
    const json_t *book = json_object_get(event->data, "book"), *stock = json_object_get(event->data, "stock");
    (void)context;
    if (!json_is_integer(book) || json_integer_value(book) < 1 || !json_is_integer(stock) ||
        json_integer_value(stock) < 0 || json_integer_value(stock) > STOCK_ON_HAND_MAX)
        return failed(reason, "no book, or no stock");
    return done(stock_open(db, json_integer_value(book), json_integer_value(stock), event->time_ms));
}

static bool read_user(const bc_event_t *event, const char *name, cart_id_t *id) {
    const char *text = json_string_value(json_object_get(event->data, name));
    return text != NULL && cart_id_parse(BC_PREFIX_USER, text, strlen(text), id);
}

static bc_event_result_t merge_user(bc_db_t *db, const bc_event_t *event, void *context, char reason[256]) {
    cart_id_t user, guest;
    (void)context;
    if (!read_user(event, "user", &user) || !read_user(event, "guest", &guest)) return failed(reason, "no user");
    return done(order_merge_user(db, &guest, &user));
}

static bc_event_result_t erase_user(bc_db_t *db, const bc_event_t *event, void *context, char reason[256]) {
    cart_id_t user;
    (void)context;
    if (!read_user(event, "user", &user)) return failed(reason, "no user");
    return done(order_erase_user(db, &user, event->time_ms));
}

const bc_event_handler_t payment_library_events[] = {{"book.created", open_ledger}, {NULL, NULL}};
const bc_event_handler_t payment_auth_events[] = {
    {"user.merged", merge_user}, {"user.erased", erase_user}, {NULL, NULL}};
