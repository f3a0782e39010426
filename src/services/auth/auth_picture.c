/*
 * A customer's picture: sent as a picture, kept by the image host, referred to by his row. The picture comes first, the reference
 * after it; one that nobody refers to any more, also after an erasure, is removed by the next sweep that finds it a day old.
 */
#include "services/auth/auth_service.h"

#include "platform/bc_time.h"

void auth_me_picture(bc_request_t *request, bc_reply_t *reply, void *context) {
    auth_t *auth = context;
    const bc_claims_t *caller = bc_request_caller(request);
    char url[BC_IMAGES_URL_MAX];
    auth_user_t user;
    if (!bc_images_take(auth->images, BC_PICTURE_PORTRAIT, request, reply, url)) return;
    if (bc_db_begin(auth->db) != BC_DB_OK) {
        auth_answer_unavailable(reply);
        return;
    }
    bool stored = auth_store_set_picture(auth->db, &caller->user, url, bc_time_ms()) &&
                  auth_store_user(auth->db, &caller->user, &user);
    if (stored) auth_tell_event(auth, "user.changed", &caller->user, NULL);
    if (bc_db_commit(auth->db) != BC_DB_OK || !stored) {
        auth_answer_unavailable(reply); /* the store, or the account ended meanwhile: his next request says which */
        return;
    }
    auth_committed(auth);
    bc_reply_cache(reply, "private, no-cache");
    bc_reply_json(reply, 200, auth_profile_json(&user));
}

bc_images_used_t auth_picture_used(void *context, const char *url) {
    auth_t *auth = context;
    bc_db_enter(auth->db);
    bool used = auth_store_uses_picture(auth->db, url), sound = bc_db_is_sound(auth->db);
    bc_db_leave(auth->db);
    return !sound ? BC_IMAGES_USED_UNKNOWN : used ? BC_IMAGES_USED : BC_IMAGES_UNUSED;
}
