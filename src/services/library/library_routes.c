/* Every route of the library: method, path, who may call it, handler, what it may be given. */
#include "services/library/library_import.h"
#include "services/library/library_service.h"

#define LIST_QUERY "limit cursor sort q ids author genre language year_from year_to price_max available"
#define BOOK_FIELDS                                                                                                    \
    "title:string authors:array year:int? language:string? isbn:string? genres:array? description:string? "            \
    "price:object cover_url:string? stock:int"

/* clang-format off */
const bc_route_t library_routes[] = {
    {"GET",    "/api/v1/books",            BC_ANYONE, library_handle_list,         .query = LIST_QUERY},
    {"GET",    "/api/v1/books/{id}",       BC_ANYONE, library_handle_book,         .query = NULL},
    {"GET",    "/api/v1/shop",             BC_ANYONE, library_handle_shop,         .query = NULL},
    {"GET",    "/api/v1/admin/books/{id}", BC_ADMIN,  library_handle_admin_book,   .query = NULL},
    {"PATCH",  "/api/v1/admin/books/{id}", BC_ADMIN,  library_handle_admin_patch,  .fields = BOOK_FIELDS, .body_max_bytes = 64 * 1024},
    {"DELETE", "/api/v1/admin/books/{id}", BC_ADMIN,  library_handle_admin_delete, .query = NULL},
    {.method = NULL},
};

const bc_route_t library_internal_routes[] = {
    {"GET",  "/internal/feed/books",     BC_INTERNAL, library_handle_feed,   .query = BC_FEED_QUERY},
    {"POST", LIBRARY_IMPORT_PATH,        BC_INTERNAL, library_handle_import, .fields = "books:array!", .body_max_bytes = LIBRARY_IMPORT_BODY_MAX},
    {"GET",  BC_EVENTS_PATH,              BC_INTERNAL, library_handle_events, .query = BC_FEED_QUERY},
    {"GET",  BC_DEAD_LETTERS_PATH,        BC_INTERNAL, library_handle_dead_letters, .query = BC_DEAD_LETTERS_QUERY},
    {"POST", BC_DEAD_LETTERS_REPLAY_PATH, BC_INTERNAL, library_handle_dead_letters_replay, .fields = BC_DEAD_LETTERS_FIELDS},
    {.method = NULL},
};
/* clang-format on */
