/*
 * The body of a request on its way in. It is taken in the pieces that come from the socket: appended in memory, or written to a spool
 * file of its own when the route says so; never more than the route takes. So the memory of a request is bounded by its own
 * route, and an upload of many megabytes costs a buffer.
 */
#include "platform/bc_files.h"
#include "platform/bc_http_internal.h"
#include "platform/bc_log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { retry_ms = 2000, first_capacity = 4096 };

size_t bc_body_max(const bc_request_t *request) {
    size_t max = request->route->body_max_bytes;
    return max == 0 ? BC_HTTP_BODY_MAX : max;
}

bool bc_body_announced(const bc_request_t *request, bc_reply_t *reply) {
    const char *header = bc_request_header(request, "Content-Length");
    /* The daemon has judged its form; a chunked body announces nothing and is counted as it comes. */
    if (header == NULL || strtoull(header, NULL, 10) <= bc_body_max(request)) return true;
    bc_reply_problem(reply, "body-too-large", NULL);
    return false;
}

void bc_body_drop(bc_request_t *request) {
    o_free(request->raw->binary_body);
    request->raw->binary_body = NULL;
    request->raw->binary_body_length = 0;
    request->body_capacity = 0;
    if (request->spool_fd < 0) return;
    (void)close(request->spool_fd); /* what could not be written is not kept */
    request->spool_fd = -1;
    (void)unlink(request->spool_path); /* kept under another name meanwhile: fine */
}

static bool append(bc_request_t *request, const char *bytes, size_t size) {
    struct _u_request *raw = request->raw;
    size_t wanted = raw->binary_body_length + size;
    if (wanted > request->body_capacity) {
        size_t capacity = request->body_capacity == 0 ? first_capacity : request->body_capacity * 2;
        if (capacity < wanted) capacity = wanted;
        char *more = o_realloc(raw->binary_body, capacity);
        if (more == NULL) return false;
        raw->binary_body = more;
        request->body_capacity = capacity;
    }
    memcpy((char *)raw->binary_body + raw->binary_body_length, bytes, size);
    raw->binary_body_length = wanted;
    return true;
}

static bool write_all(int fd, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        bytes += written;
        size -= (size_t)written;
    }
    return true;
}

static bool spool(bc_request_t *request, const char *folder, const char *bytes, size_t size) {
    assert(folder != NULL); /* bc_http_start has looked */
    if (request->spool_fd < 0) {
        int length = snprintf(request->spool_path, sizeof(request->spool_path), "%s/upload-XXXXXX", folder);
        if (length < 0 || (size_t)length >= sizeof(request->spool_path)) return false;
        request->spool_fd = mkostemp(request->spool_path, O_CLOEXEC); /* 0600 */
        if (request->spool_fd < 0) return false;
    }
    return write_all(request->spool_fd, bytes, size);
}

bool bc_body_take(bc_request_t *request, bc_reply_t *reply, const char *spool_folder, const char *bytes, size_t size) {
    request->body_length += size;
    if (request->body_length > bc_body_max(request)) {
        bc_reply_problem(reply, "body-too-large", NULL);
    } else if (request->route->spool ? spool(request, spool_folder, bytes, size) : append(request, bytes, size)) {
        return true;
    } else {
        bc_log(BC_LOG_ERROR, "body-not-taken", bc_f_text("reason", strerror(errno)));
        bc_reply_problem(reply, "unavailable", NULL);
        bc_reply_retry_after(reply, retry_ms);
    }
    bc_body_drop(request);
    return false;
}

bool bc_request_spool(const bc_request_t *request, int *fd, size_t *length, const char **media) {
    if (request->media == NULL || !request->route->spool) return false;
    *fd = request->spool_fd;
    *length = request->body_length;
    *media = request->media;
    return true;
}

bool bc_request_spool_keep(const bc_request_t *request, const char *path) {
    assert(request->spool_fd >= 0);
    return fsync(request->spool_fd) == 0 && rename(request->spool_path, path) == 0 && bc_files_sync_folder_of(path);
}
