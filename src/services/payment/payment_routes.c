/* Every route of the payment service: method, path, who may call it, handler, what it may be given. */
#include "services/payment/payment_service.h"

/* clang-format off */
const bc_route_t payment_routes[] = {
    {.method = NULL},
};

const bc_route_t payment_internal_routes[] = {
    {.method = NULL},
};
/* clang-format on */
