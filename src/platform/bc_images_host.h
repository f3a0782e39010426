/* What a host of pictures must be able to do. Any thread, unless it says otherwise. */
#ifndef BC_IMAGES_HOST_H
#define BC_IMAGES_HOST_H

#include "platform/bc_images.h"

typedef struct bc_images_host bc_images_host_t;
struct bc_images_host {
    /* Whether a picture of this name is there; from now on it counts as just sent. */
    bool (*touch)(bc_images_host_t *self, const char *name);
    /* All versions durably, or nothing. A name that is there already: the same picture, true. false: errno. */
    bool (*store)(bc_images_host_t *self, const char *name, const bc_picture_t *picture);
    /* The address of its large version. */
    void (*address)(bc_images_host_t *self, const char *name, char url[BC_IMAGES_URL_MAX]);
    int64_t (*sweep)(bc_images_host_t *self, int64_t kept_ms, bc_images_is_used_t is_used, void *context);
    void (*destroy)(bc_images_host_t *self);
};

/* `files:`. NULL after a log line. */
bc_images_host_t *bc_images_files_create(const bc_config_t *config, const char *folder);

#endif
