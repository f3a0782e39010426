#include "platform/bc_images.h"

#include "platform/bc_images_host.h"
#include "platform/bc_log.h"
#include "platform/bc_task.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define RECIPE         "bookcart picture 1" /* counts up when boxes, format or quality change */
#define FIRST_SWEEP_MS (10 * 60 * 1000)
#define BUSY_RETRY_MS  5000

struct bc_images {
    bc_images_host_t *host; /* owned */
    bc_task_t *task;        /* owned; NULL: nobody sweeps */
    bc_images_is_used_t is_used;
    void *context; /* borrowed */
    int64_t sweep_every_ms;
    bool started; /* the task's */
};

bc_images_t *bc_images_create(const bc_config_t *config, const char *folder) {
    bc_images_t *images = calloc(1, sizeof(*images));
    if (images == NULL) {
        bc_log(BC_LOG_ERROR, "no-memory");
        return NULL;
    }
    images->sweep_every_ms = bc_config_number(config, BC_IMAGES_SWEEP);
    images->host = bc_images_files_create(config, folder); /* the settings allow no other yet */
    if (images->host == NULL) {
        free(images);
        return NULL;
    }
    return images;
}

void bc_images_stop(bc_images_t *images) {
    if (images != NULL) bc_task_stop(images->task);
}

void bc_images_destroy(bc_images_t *images) {
    if (images == NULL) return;
    bc_task_destroy(images->task);
    images->host->destroy(images->host);
    free(images);
}

bool bc_images_is_address(const char *url, const char *folder) {
    size_t prefix = strlen(BC_IMAGES_PREFIX), length = strlen(folder);
    if (strncmp(url, BC_IMAGES_PREFIX, prefix) != 0 || strncmp(url + prefix, folder, length) != 0) return false;
    const char *name = url + prefix + length;
    return name[0] == '/' && strspn(name + 1, "0123456789abcdef") == BC_IMAGES_NAME_CHARS &&
           strcmp(name + 1 + BC_IMAGES_NAME_CHARS, "/large.webp") == 0;
}

/* --- taking --- */

static void name_of(bc_picture_kind_t kind, const void *bytes, size_t length, char name[BC_IMAGES_NAME_CHARS + 1]) {
    crypto_hash_sha256_state state;
    unsigned char digest[crypto_hash_sha256_BYTES], which = (unsigned char)kind;
    (void)crypto_hash_sha256_init(&state); /* these always return 0 */
    (void)crypto_hash_sha256_update(&state, (const unsigned char *)RECIPE, sizeof(RECIPE));
    (void)crypto_hash_sha256_update(&state, &which, 1);
    (void)crypto_hash_sha256_update(&state, bytes, length);
    (void)crypto_hash_sha256_final(&state, digest);
    (void)sodium_bin2hex(name, BC_IMAGES_NAME_CHARS + 1, digest, BC_IMAGES_NAME_CHARS / 2); /* returns name */
}

static void reply_refused(bc_reply_t *reply, bc_picture_result_t result) {
    switch (result) {
    case BC_PICTURE_UNKNOWN:
        bc_reply_problem(reply, "unsupported-media-type", "send a JPEG, PNG or WebP picture");
        break;
    case BC_PICTURE_BROKEN:
        bc_reply_problem(reply, "not-acceptable-value", "the picture is damaged or ends early");
        break;
    case BC_PICTURE_TOO_LARGE:
        bc_reply_problem(reply, "not-acceptable-value",
                         "a picture has at most 25 megapixels and 10,000 pixels on a side");
        break;
    case BC_PICTURE_MOVES:
        bc_reply_problem(reply, "not-acceptable-value", "the picture is an animation");
        break;
    case BC_PICTURE_BUSY:
        bc_reply_problem(reply, "unavailable", "too many pictures at once");
        bc_reply_retry_after(reply, BUSY_RETRY_MS);
        break;
    case BC_PICTURE_FAILED:
    case BC_PICTURE_OK:
        bc_reply_problem(reply, "unavailable", NULL);
        bc_reply_retry_after(reply, BUSY_RETRY_MS);
        break;
    }
}

bool bc_images_take(bc_images_t *images, bc_picture_kind_t kind, bc_request_t *request, bc_reply_t *reply,
                    char url[BC_IMAGES_URL_MAX]) {
    const char *bytes = NULL, *media = NULL;
    size_t length = 0;
    char name[BC_IMAGES_NAME_CHARS + 1];
    bc_picture_t picture = {.held = NULL};
    /* What the header says of the form counts for nothing: the bytes say it. */
    if (!bc_request_raw(request, &bytes, &length, &media)) length = 0;
    name_of(kind, bytes, length, name);
    if (!images->host->touch(images->host, name)) {
        bc_picture_result_t result = bc_picture_recode(kind, bytes, length, &picture);
        if (result != BC_PICTURE_OK) {
            reply_refused(reply, result);
            return false;
        }
        bool stored = images->host->store(images->host, name, &picture);
        bc_picture_release(&picture);
        if (!stored) {
            bc_log(BC_LOG_ERROR, "picture-not-stored", bc_f_text("reason", strerror(errno)));
            reply_refused(reply, BC_PICTURE_FAILED);
            return false;
        }
    }
    images->host->address(images->host, name, url);
    return true;
}

/* --- sweeping --- */

int64_t bc_images_sweep(bc_images_t *images, int64_t kept_ms, bc_images_is_used_t is_used, void *context) {
    int64_t removed = images->host->sweep(images->host, kept_ms, is_used, context);
    if (removed > 0) bc_log(BC_LOG_INFO, "pictures-swept", bc_f_int("removed", removed));
    return removed;
}

static int64_t sweep_step(bc_task_t *task, void *context) {
    bc_images_t *images = context;
    (void)task;
    if (!images->started) { /* a start has better things to do */
        images->started = true;
        return images->sweep_every_ms < FIRST_SWEEP_MS ? images->sweep_every_ms : FIRST_SWEEP_MS;
    }
    (void)bc_images_sweep(images, BC_IMAGES_KEPT_MS, images->is_used, images->context); /* logged */
    return images->sweep_every_ms;
}

bool bc_images_start_sweeping(bc_images_t *images, bc_images_is_used_t is_used, void *context) {
    assert(images->task == NULL);
    images->is_used = is_used;
    images->context = context;
    images->task = bc_task_create("pictures", sweep_step, images);
    return images->task != NULL;
}
