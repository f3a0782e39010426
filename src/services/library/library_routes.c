/* Every route of the library: method, path, who may call it, handler, what it may be given. */
#include "services/library/library_service.h"

#define LIST_QUERY "limit cursor sort q ids author genre language year_from year_to price_max available"
/* Beside title and price, which a new book must have and a patch may. */
#define BOOK_FIELDS                                                                                                    \
    "authors:array year:int? language:string? isbn:string? genres:array? description:string? cover_url:string?"

/* clang-format off */
const bc_route_t library_routes[] = {
    {"GET",    "/api/v1/books",            BC_ANYONE, library_handle_list,         .query = LIST_QUERY},
    {"GET",    "/api/v1/books/suggest",    BC_ANYONE, library_handle_suggest,      .query = "q"},
    {"GET",    "/api/v1/books/{id}",       BC_ANYONE, library_handle_book,         .query = NULL},
    {"GET",    "/api/v1/shop",             BC_ANYONE, library_handle_shop,         .query = NULL},
    {"POST",   "/api/v1/admin/books",      BC_ADMIN,  library_handle_admin_create, .fields = "id:int price:object! stock:int title:string! " BOOK_FIELDS, .body_max_bytes = 64 * 1024},
    {"POST",   "/api/v1/admin/books/delete", BC_ADMIN, library_handle_admin_hide,  .fields = "ids:array!"},
    {"GET",    "/api/v1/admin/books/{id}", BC_ADMIN,  library_handle_admin_book,   .query = NULL},
    {"PATCH",  "/api/v1/admin/books/{id}", BC_ADMIN,  library_handle_admin_patch,  .fields = "title:string price:object " BOOK_FIELDS, .body_max_bytes = 64 * 1024},
    {"DELETE", "/api/v1/admin/books/{id}", BC_ADMIN,  library_handle_admin_delete, .query = NULL},
    {"PUT",    "/api/v1/admin/books/{id}/cover",  BC_ADMIN, library_handle_cover,  .media = BC_IMAGES_MEDIA, .body_max_bytes = BC_PICTURE_BYTES_MAX},
    {"PUT",    "/api/v1/admin/books/{id}/banner", BC_ADMIN, library_handle_banner, .media = BC_IMAGES_MEDIA, .body_max_bytes = BC_PICTURE_BYTES_MAX},
    {"POST",   "/api/v1/admin/books/import", BC_ADMIN, library_handle_job_import,  .query = "stock dry_run", .media = LIBRARY_JOB_MEDIA, .body_max_bytes = LIBRARY_JOB_BYTES_MAX, .spool = true},
    {"GET",    "/api/v1/admin/jobs/{id}",  BC_ADMIN,  library_handle_job,          .query = "limit cursor"},
    {.method = NULL},
};

const bc_route_t library_internal_routes[] = {
    {"GET",  "/internal/feed/books",     BC_INTERNAL, library_handle_feed,   .query = BC_FEED_QUERY},
    {"GET",  "/internal/books",          BC_INTERNAL, library_handle_some,   .query = "ids"},
    {"PUT",  LIBRARY_JOB_PATH "{id}",    BC_INTERNAL, library_handle_job_put, .query = "stock dry_run", .media = LIBRARY_JOB_MEDIA, .body_max_bytes = LIBRARY_JOB_BYTES_MAX, .spool = true},
    {"GET",  LIBRARY_JOB_PATH "{id}",    BC_INTERNAL, library_handle_job,    .query = "limit cursor"},
    {"GET",  BC_EVENTS_PATH,              BC_INTERNAL, library_handle_events, .query = BC_FEED_QUERY},
    {"GET",  BC_DEAD_LETTERS_PATH,        BC_INTERNAL, library_handle_dead_letters, .query = BC_DEAD_LETTERS_QUERY},
    {"POST", BC_DEAD_LETTERS_REPLAY_PATH, BC_INTERNAL, library_handle_dead_letters_replay, .fields = BC_DEAD_LETTERS_FIELDS},
    {"POST", BC_DEAD_LETTERS_DISCARD_PATH, BC_INTERNAL, library_handle_dead_letters_discard, .fields = BC_DEAD_LETTERS_DISCARDED},
    {.method = NULL},
};
/* clang-format on */
