/* Every route of the payment service: method, path, who may call it, handler, what it may be given. */
#include "services/payment/payment_service.h"

/* clang-format off */
const bc_route_t payment_routes[] = {
    {.method = NULL},
};

const bc_route_t payment_internal_routes[] = {
    {"GET",  BC_EVENTS_PATH,              BC_INTERNAL, payment_events, .query = BC_FEED_QUERY},
    {"GET",  BC_DEAD_LETTERS_PATH,        BC_INTERNAL, payment_dead_letters, .query = BC_DEAD_LETTERS_QUERY},
    {"POST", BC_DEAD_LETTERS_REPLAY_PATH, BC_INTERNAL, payment_dead_letters_replay, .fields = BC_DEAD_LETTERS_FIELDS},
    {.method = NULL},
};
/* clang-format on */
