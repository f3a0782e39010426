/* What the parts of the question service share. One per process; handlers run in many threads. */
#ifndef QUESTION_SERVICE_H
#define QUESTION_SERVICE_H

#include "platform/bc_config.h"
#include "platform/bc_db.h"
#include "platform/bc_events.h"
#include "platform/bc_http.h"
#include "platform/bc_mail.h"
#include "platform/bc_revoked.h"
#include "platform/bc_service.h"
#include "platform/bc_task.h"
#include "services/question/question_store.h"

typedef struct {
    const bc_config_t *config;     /* borrowed for the service's life */
    const char *service_key;       /* borrowed for the service's life */
    const volatile bool *stopping; /* borrowed for the service's life */
    bc_db_t *db;                   /* owned */
    bc_outbox_t *outbox;           /* owned */
    bc_revoked_t *revoked;         /* owned */
    bc_consumer_t *users;          /* owned: follows auth's log */
    bc_mailer_t *mailer;           /* owned */
    bc_task_t *keeper;             /* owned: forgets what is over */
} question_t;

/* question_routes.c */
extern const bc_route_t question_routes[];
extern const bc_route_t question_internal_routes[];

/* question_ask.c: the customer's side */
void question_handle_ask(bc_request_t *request, bc_reply_t *reply, void *context);
void question_handle_list(bc_request_t *request, bc_reply_t *reply, void *context);
void question_handle_one(bc_request_t *request, bc_reply_t *reply, void *context);
void question_handle_follow_up(bc_request_t *request, bc_reply_t *reply, void *context);

/* question_admin.c: the shop's side */
void question_handle_queue(bc_request_t *request, bc_reply_t *reply, void *context);
void question_handle_admin_one(bc_request_t *request, bc_reply_t *reply, void *context);
void question_handle_answer(bc_request_t *request, bc_reply_t *reply, void *context);
void question_handle_patch(bc_request_t *request, bc_reply_t *reply, void *context);

/* question_public.c: what everybody may read, and the list of frequent questions */
void question_handle_published(bc_request_t *request, bc_reply_t *reply, void *context);
void question_handle_faq(bc_request_t *request, bc_reply_t *reply, void *context);
void question_handle_faq_put(bc_request_t *request, bc_reply_t *reply, void *context);

/* question_events.c */
extern const bc_event_handler_t question_user_events[];
/* Inside bc_db_begin: `type` of this question. Errors stick. */
void question_event(bc_db_t *db, const char *type, const cart_id_t *id);
void question_events(bc_request_t *request, bc_reply_t *reply, void *context);
void question_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context);
void question_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context);
void question_dead_letters_discard(bc_request_t *request, bc_reply_t *reply, void *context);

/* question_parts.c: what other services are asked. Each blocks for question_part_timeout_ms at most. */
typedef enum { QUESTION_PART_YES, QUESTION_PART_NO, QUESTION_PART_AWAY } question_part_t;
/* Whether there is such a book and it is sold. */
question_part_t question_part_book(const question_t *question, int64_t book);
/* Whether there is such an order and it is this user's: somebody else's is the same as none. */
question_part_t question_part_order(const question_t *question, const cart_id_t *order, const cart_id_t *user);
/* bc_mail_resolve_t; the context is the question_t. */
bc_mail_found_t question_part_address(void *context, const cart_id_t *user, char address[BC_MAIL_ADDRESS_MAX + 1],
                                      bc_language_t *language);

/* question_export.c: all of a user's questions, for auth's export */
void question_handle_export(bc_request_t *request, bc_reply_t *reply, void *context);

/* question_reply.c: what handlers have in common */

/* A conversation as it was read; its row's texts point into it. */
typedef struct {
    question_row_t row;
    char *subject;         /* owned */
    char *public_question; /* owned; NULL: none */
    char *public_answer;   /* owned; NULL: none */
    json_t *messages;      /* owned: as the API shows them */
    char *last_asked;      /* owned: the customer's newest text */
} question_conversation_t;

/* Row and messages; between bc_db_begin or _enter and its end. On QUESTION_OK the caller calls drop. */
question_result_t question_load(bc_db_t *db, const cart_id_t *id, question_conversation_t *conversation);
void question_drop(question_conversation_t *conversation); /* a zeroed one is fine */
/* Puts a new message behind those that were read: counts it, and shows it. false: no memory. */
bool question_append(question_conversation_t *conversation, question_author_t author, const char *text, int64_t now_ms);

/* The {id} of the path. false: 404 was set. */
bool question_path_id(const bc_request_t *request, bc_reply_t *reply, cart_id_t *id);
/* A text field of the body (or `text` when it is elsewhere). false: 422 was set. */
bool question_check_text(bc_reply_t *reply, const char *field, const char *text, size_t chars_max, bool lines);
/* limit and cursor of a list that `name` tells from every other one. false: a problem was set. */
typedef struct {
    int64_t limit;
    bool has_behind;
    question_place_t behind;
} question_page_t;
bool question_read_page(const question_t *question, const bc_request_t *request, bc_reply_t *reply, const char *name,
                        question_page_t *page);
/* The rows of a page as a list shows them, gathered one by one: `more` when one came behind the last that fits. */
typedef struct {
    json_t *items; /* owned, until question_page_json takes it */
    int64_t limit;
    int64_t now_ms; /* the queue's only */
    bool more;
    question_place_t last;
} question_rows_t;
/* Whether there is room for the row, whose place is then the last one. */
bool question_rows_take(question_rows_t *rows, int64_t at_ms, const cart_id_t *id);
/* {"items","next_cursor"}: takes `items`, of which there may be one more than page->limit; `last` is the place of the last that is shown.
 * NULL without memory. */
json_t *question_page_json(const question_t *question, const char *name, json_t *items, bool more,
                           const question_place_t *last);
/* What is not QUESTION_OK: 404, 409 or 503. */
void question_reply_result(bc_reply_t *reply, question_result_t result);
/* Public, with a tag made from the bytes: `body` is taken. */
void question_reply_public(const bc_request_t *request, bc_reply_t *reply, json_t *body);

/* question_json.c: new references, or NULL without memory */
json_t *question_json_message(const question_message_t *message);
json_t *question_json_summary(const question_row_t *row);
/* `messages` is borrowed. */
json_t *question_json(const question_row_t *row, json_t *messages);
json_t *question_json_admin(const question_row_t *row, json_t *messages, int64_t now_ms);
json_t *question_json_queued(const question_row_t *row, int64_t now_ms);
json_t *question_json_published(const question_row_t *row);

#endif
