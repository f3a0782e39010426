/* What the library's handlers share. One per process; handlers run in many threads. */
#ifndef LIBRARY_SERVICE_H
#define LIBRARY_SERVICE_H

#include "platform/bc_config.h"
#include "platform/bc_events.h"
#include "platform/bc_feed.h"
#include "platform/bc_http.h"
#include "platform/bc_images.h"
#include "platform/bc_revoked.h"
#include "platform/bc_service.h"
#include "platform/bc_store.h"
#include "services/library/library.h"
#include "services/library/library_job.h"
#include "services/library/library_shelf.h"
#include "services/library/library_store.h"

typedef struct {
    const bc_config_t *config; /* borrowed for the service's life */
    bc_db_t *db;               /* owned */
    library_store_t *store;    /* owned */
    library_shelf_t *shelf;    /* owned */
    json_t *countries;         /* owned: where the shop sends to, in order */
    bc_feed_t *feed;           /* owned */
    bc_outbox_t *outbox;       /* owned */
    bc_consumer_t *stock;      /* owned: follows payment's log */
    library_worker_t worker;   /* what the thread of jobs works with */
    bc_task_t *jobs;           /* owned */
    bc_task_t *keeper;         /* owned: forgets what is over */
    bc_images_t *images;       /* owned */
    const char *service_key;   /* borrowed for the service's life */
    bc_revoked_t *revoked;     /* owned */
} library_t;

/* library_service.c */
extern const bc_store_t library_stored;

/* library_routes.c */
extern const bc_route_t library_routes[];
extern const bc_route_t library_internal_routes[];

/* library_list.c */
void library_handle_list(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_suggest(bc_request_t *request, bc_reply_t *reply, void *context);

/* library_catalogue.c */
json_t *library_countries(const bc_config_t *config); /* NULL without memory */
void library_handle_book(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_shop(bc_request_t *request, bc_reply_t *reply, void *context);

/* Numbers with commas between, into a JSON array: rising, each once. false: a problem with field `ids` was set. */
enum { library_ids_text_max = library_ids_max * 18 + 3 };
bool library_read_ids(bc_reply_t *reply, const char *text, char *json, size_t size);

/* library_admin.c */
void library_handle_admin_create(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_admin_hide(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_admin_book(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_admin_patch(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_admin_delete(bc_request_t *request, bc_reply_t *reply, void *context);

/* library_picture.c */
void library_handle_cover(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_banner(bc_request_t *request, bc_reply_t *reply, void *context);
bc_images_used_t library_picture_used(void *context, const char *url); /* of library_t */

/* library_admin_jobs.c */
void library_handle_job_import(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_job_put(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_job(bc_request_t *request, bc_reply_t *reply, void *context);

/* library_internal.c */
void library_handle_feed(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_some(bc_request_t *request, bc_reply_t *reply, void *context);
bool library_feed_read(void *context, uint64_t after, int limit, json_t *items, uint64_t *position, bool *more);

/* After a commit that changed books: whoever follows them is told. */
void library_tell(const library_t *library);

/* The {id} of the path. false: 404 was set. */
bool library_path_id(const bc_request_t *request, bc_reply_t *reply, int64_t *id);

/* Sends `body` (taken) with numbers as people write them. */
void library_reply(bc_reply_t *reply, int status, json_t *body);

/* The same for everyone to keep: public, with the strong tag of its bytes, or 304. */
void library_reply_tagged(bc_request_t *request, bc_reply_t *reply, json_t *body);

/* 503 with Retry-After. */
void library_reply_failed(bc_reply_t *reply);

/* library_events.c */
void library_handle_events(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_dead_letters(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_dead_letters_replay(bc_request_t *request, bc_reply_t *reply, void *context);
void library_handle_dead_letters_discard(bc_request_t *request, bc_reply_t *reply, void *context);

#endif
