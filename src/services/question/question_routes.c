/* Every route of the question service: method, path, who may call it, handler, what it may be given. */
#include "services/question/question_service.h"

/* clang-format off */
const bc_route_t question_routes[] = {
    {.method = NULL},
};

const bc_route_t question_internal_routes[] = {
    {.method = NULL},
};
/* clang-format on */
