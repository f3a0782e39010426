#include "edge/edge_routes.h"

const edge_route_row_t edge_routes[EDGE_ROUTES] = {
    [EDGE_ROUTE_CART] = {"/api/v1/cart", "GET, HEAD, PATCH, DELETE"},
    [EDGE_ROUTE_LINES] = {"/api/v1/cart/lines", "POST"},
    [EDGE_ROUTE_LINE] = {"/api/v1/cart/lines/{book}", "PUT, DELETE"},
};
