/* Every route of the question service: method, path, who may call it, handler, what it may be given. */
#include "services/question/question_service.h"

#define PAGE        "limit cursor"
#define TEXTS_BYTES (80 * 1024)   /* two texts of 5,000 characters, and some escapes */
#define FAQ_BYTES   (1024 * 1024) /* all of a language's list */

/* clang-format off */
const bc_route_t question_routes[] = {
    {"POST",  "/api/v1/questions",                   BC_CUSTOMER, question_handle_ask,       .fields = "about:object! subject:string! text:string!", .body_max_bytes = TEXTS_BYTES},
    {"GET",   "/api/v1/questions",                   BC_OWNER,    question_handle_list,      .query = PAGE},
    {"GET",   "/api/v1/questions/{id}",              BC_OWNER,    question_handle_one,       .query = NULL},
    {"POST",  "/api/v1/questions/{id}/messages",     BC_OWNER,    question_handle_follow_up, .fields = "text:string!", .body_max_bytes = TEXTS_BYTES},
    {"GET",   "/api/v1/books/{id}/questions",        BC_ANYONE,   question_handle_published, .query = PAGE},
    {"GET",   "/api/v1/faq",                         BC_ANYONE,   question_handle_faq,       .query = "language"},
    {"GET",   "/api/v1/admin/questions",             BC_ADMIN,    question_handle_queue,     .query = "state " PAGE},
    {"GET",   "/api/v1/admin/questions/{id}",        BC_ADMIN,    question_handle_admin_one, .query = NULL},
    {"PATCH", "/api/v1/admin/questions/{id}",        BC_ADMIN,    question_handle_patch,     .fields = "state:string public:bool"},
    {"POST",  "/api/v1/admin/questions/{id}/answer", BC_ADMIN,    question_handle_answer,    .fields = "text:string! public:bool! public_question:string", .body_max_bytes = TEXTS_BYTES},
    {"PUT",   "/api/v1/admin/faq/{language}",        BC_ADMIN,    question_handle_faq_put,   .fields = "items:array!", .body_max_bytes = FAQ_BYTES},
    {.method = NULL},
};

const bc_route_t question_internal_routes[] = {
    {"GET",  "/internal/users/{id}/export", BC_INTERNAL, question_handle_export,       .query = NULL},
    {"GET",  BC_EVENTS_PATH,                BC_INTERNAL, question_events,              .query = BC_FEED_QUERY},
    {"GET",  BC_DEAD_LETTERS_PATH,          BC_INTERNAL, question_dead_letters,        .query = BC_DEAD_LETTERS_QUERY},
    {"POST", BC_DEAD_LETTERS_REPLAY_PATH,   BC_INTERNAL, question_dead_letters_replay, .fields = BC_DEAD_LETTERS_FIELDS},
    {"POST", BC_DEAD_LETTERS_DISCARD_PATH,  BC_INTERNAL, question_dead_letters_discard, .fields = BC_DEAD_LETTERS_DISCARDED},
    {.method = NULL},
};
/* clang-format on */
