/*
 * Where pictures are kept: a small vtable, so that no service knows the host. `files:` keeps them below DATA/media, which the edge
 * serves itself; S3 or an image service would be another row in bc_images_create.
 *
 * 1. A picture's address never shows another picture: its name is a hash of what was sent, of which kind of picture it is to be, and of
 *    the recipe. So browsers and caches may keep it for ever, and the same picture sent again changes nothing.
 * 2. An address is `/media/<folder>/<name>/large.webp`; `medium.webp` and `small.webp` are beside it (bc_picture_boxes).
 * 3. Each service has a folder of its own ("books", "users") and is the only one to write or sweep it.
 * 4. A picture that nothing refers to is removed by the next sweep that finds it BC_IMAGES_KEPT_MS after it was last sent. Until then
 *    pages that were cached still show it.
 */
#ifndef BC_IMAGES_H
#define BC_IMAGES_H

#include "platform/bc_config.h"
#include "platform/bc_http.h"
#include "platform/bc_picture.h"

#include <stdbool.h>
#include <stdint.h>

#define BC_IMAGES_URL_MAX    128
#define BC_IMAGES_NAME_CHARS 32
#define BC_IMAGES_PREFIX     "/media/" /* of every address this host gives; no other address is ever swept */
#define BC_IMAGES_KEPT_MS    (24 * 3600 * 1000LL)
#define BC_IMAGES_MEDIA      "image/jpeg image/png image/webp" /* what a route of pictures takes */

typedef struct bc_images bc_images_t;

/* The host that BOOKCART_IMAGES names. NULL after a log line. `folder` is borrowed. The caller destroys it. */
bc_images_t *bc_images_create(const bc_config_t *config, const char *folder);
void bc_images_destroy(bc_images_t *images); /* NULL is fine */

/* The body of a picture route: decoded, encoded anew, stored durably; `url` is what to refer to it by. false: the reply is set (415,
 * 422, 503). Store the reference right after: an unreferenced picture is swept. Any thread. */
bool bc_images_take(bc_images_t *images, bc_picture_kind_t kind, bc_request_t *request, bc_reply_t *reply,
                    char url[BC_IMAGES_URL_MAX]);

/* Whether `url` is one of this host's addresses in that folder: what a service may take as a reference besides addresses elsewhere. */
bool bc_images_is_address(const char *url, const char *folder);

/* BC_IMAGES_USED_UNKNOWN (the database is away) keeps the picture. */
typedef enum { BC_IMAGES_USED, BC_IMAGES_UNUSED, BC_IMAGES_USED_UNKNOWN } bc_images_used_t;
typedef bc_images_used_t (*bc_images_is_used_t)(void *context, const char *url);

/* Removes what is not used and was last sent before `kept_ms`; returns how many. One thread at a time. `is_used` may not call into
 * `images`. */
int64_t bc_images_sweep(bc_images_t *images, int64_t kept_ms, bc_images_is_used_t is_used, void *context);

/* Sweeps every BOOKCART_IMAGES_SWEEP in a thread, the first time after that or ten minutes, whichever is less. false after a log line. */
bool bc_images_start_sweeping(bc_images_t *images, bc_images_is_used_t is_used, void *context);
void bc_images_stop(bc_images_t *images); /* in a service's stop(); NULL is fine */

#endif
