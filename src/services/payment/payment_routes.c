/* Every route of the payment service: method, path, who may call it, handler, what it may be given. */
#include "services/payment/payment_sandbox_routes.h"
#include "services/payment/payment_service.h"

#define QUOTE_FIELDS "cart_version:string! ship_to:object! shipping_method:string"
#define CHECKOUT_FIELDS                                                                                                \
    "cart_version:string! expected_total:object! email:string shipping_method:string! shipping_address:object! "       \
    "billing_address:object? replace:bool"
#define ORDERS_QUERY "limit cursor state fulfilment user from to"

/* clang-format off */
const bc_route_t payment_routes[] = {
    {"POST", "/api/v1/checkout/quote",            BC_GUEST,  payment_quote,        .fields = QUOTE_FIELDS},
    {"POST", "/api/v1/checkout",                  BC_GUEST,  payment_checkout,     .fields = CHECKOUT_FIELDS},
    {"GET",  "/api/v1/orders",                    BC_OWNER,  payment_orders,       .query = "limit cursor"},
    {"GET",  "/api/v1/orders/{id}",               BC_OWNER,  payment_order,        .query = NULL},
    {"POST", "/api/v1/orders/{id}/cancel",        BC_OWNER,  payment_cancel,       .fields = ""},
    {"POST", "/api/v1/payment/webhook",           BC_ANYONE, payment_webhook,      .media = "application/json", .body_max_bytes = 1024 * 1024},
    PAYMENT_SANDBOX_ROUTES,
    {"GET",  "/api/v1/admin/orders",              BC_ADMIN,  payment_admin_orders, .query = ORDERS_QUERY},
    {"GET",  "/api/v1/admin/orders/{id}",         BC_ADMIN,  payment_admin_order,  .query = NULL},
    {"POST", "/api/v1/admin/orders/{id}/ship",    BC_ADMIN,  payment_admin_ship,   .fields = "carrier:string! tracking:string! lines:array"},
    {"POST", "/api/v1/admin/orders/{id}/refunds", BC_ADMIN,  payment_admin_refund, .fields = "amount:object reason:string! restock:array!"},
    {"GET",  "/api/v1/admin/stock/{book}",        BC_ADMIN,  payment_admin_stock,  .query = "limit cursor"},
    {"POST", "/api/v1/admin/stock/{book}/adjust", BC_ADMIN,  payment_admin_adjust, .fields = "delta:int counted:int reason:string!"},
    {.method = NULL},
};

const bc_route_t payment_internal_routes[] = {
    {"GET",  "/internal/orders/{id}",       BC_INTERNAL, payment_internal_order, .query = NULL},
    {"GET",  "/internal/users/{id}/export", BC_INTERNAL, payment_internal_export, .query = NULL},
    PAYMENT_SANDBOX_INTERNAL_ROUTES,
    {"GET",  BC_EVENTS_PATH,                BC_INTERNAL, payment_events, .query = BC_FEED_QUERY},
    {"GET",  BC_DEAD_LETTERS_PATH,          BC_INTERNAL, payment_dead_letters, .query = BC_DEAD_LETTERS_QUERY},
    {"POST", BC_DEAD_LETTERS_REPLAY_PATH,   BC_INTERNAL, payment_dead_letters_replay, .fields = BC_DEAD_LETTERS_FIELDS},
    {"POST", BC_DEAD_LETTERS_DISCARD_PATH,  BC_INTERNAL, payment_dead_letters_discard, .fields = BC_DEAD_LETTERS_DISCARDED},
    {.method = NULL},
};
/* clang-format on */
