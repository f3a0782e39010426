/*
 * The cart's routes as a table: what the module answers 405 from, what `bookcart routes` prints and the contract is compared with.
 * Everybody with a valid token may call them.
 */
#ifndef EDGE_ROUTES_H
#define EDGE_ROUTES_H

typedef enum {
    EDGE_ROUTE_CART,  /* the whole cart */
    EDGE_ROUTE_LINES, /* /lines */
    EDGE_ROUTE_LINE,  /* /lines/{book} */
    EDGE_ROUTES
} edge_route_t;

typedef struct {
    const char *path;
    const char *allow; /* as the header says it: methods with ", " between */
} edge_route_row_t;

extern const edge_route_row_t edge_routes[EDGE_ROUTES];

#endif
