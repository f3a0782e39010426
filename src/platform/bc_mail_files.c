/* Mail into files: what an embedded shop and the tests read. Nothing here deletes them; the operator does. */
#include "platform/bc_mail_send.h"

#include "platform/bc_files.h"
#include "platform/bc_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    bc_mail_transport_t transport; /* first: what callers hold */
    char folder[BC_FILES_PATH_MAX];
} files_t;

static bc_mail_outcome_t send_file(bc_mail_transport_t *self, const bc_mail_parcel_t *parcel, const volatile bool *stop,
                                   bc_mail_trouble_t *trouble) {
    const files_t *files = (const files_t *)self;
    char path[BC_FILES_PATH_MAX + 128];
    (void)stop;                                                                   /* a file is short work */
    (void)snprintf(path, sizeof(path), "%s/%s.eml", files->folder, parcel->file); /* file names are ours, and short */
    if (bc_files_make_folders(files->folder, 0700) && bc_files_replace(path, parcel->bytes, parcel->length, 0600))
        return BC_MAIL_DELIVERED;
    *trouble = (bc_mail_trouble_t){"file", errno};
    return BC_MAIL_AWAY;
}

static void destroy_files(bc_mail_transport_t *self) {
    free(self);
}

bc_mail_transport_t *bc_mail_files_create(const bc_config_t *config) {
    files_t *files = calloc(1, sizeof(*files));
    if (files == NULL || !bc_config_path(config, "mail", files->folder, sizeof(files->folder))) {
        bc_log(BC_LOG_ERROR, "mail-not-started", bc_f_text("reason", files == NULL ? "no memory" : "path too long"));
        free(files);
        return NULL;
    }
    files->transport = (bc_mail_transport_t){send_file, destroy_files};
    return &files->transport;
}
