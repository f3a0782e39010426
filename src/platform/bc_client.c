#include "platform/bc_client.h"

#include "platform/bc_config.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STOP_LOOK_MS 50

struct bc_client {
    CURL *handle; /* owned */
    CURLM *multi; /* owned: keeps the connection between calls */
    bc_listen_t listen;
    char credential[1100];
};

typedef struct {
    char *bytes; /* owned */
    size_t length;
} buffer_t;

bool bc_client_init(void) {
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

bc_client_t *bc_client_create(const char *listen, const char *service_key) {
    bc_client_t *client = calloc(1, sizeof(*client));
    if (client == NULL) return NULL;
    client->handle = curl_easy_init();
    client->multi = curl_multi_init();
    int length = snprintf(client->credential, sizeof(client->credential), "Authorization: Bearer %s", service_key);
    if (client->handle == NULL || client->multi == NULL || length < 0 || (size_t)length >= sizeof(client->credential) ||
        !bc_listen_parse(listen, &client->listen)) {
        bc_client_destroy(client);
        return NULL;
    }
    return client;
}

void bc_client_destroy(bc_client_t *client) {
    if (client == NULL) return;
    curl_easy_cleanup(client->handle);
    (void)curl_multi_cleanup(client->multi); /* holds no handle now; NULL is fine */
    explicit_bzero(client->credential, sizeof(client->credential));
    free(client);
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *target) {
    buffer_t *buffer = target;
    size_t length = size * count;                                /* curl: size is 1 */
    if (buffer->length + length > BC_CLIENT_REPLY_MAX) return 0; /* ends the call as failed */
    char *more = realloc(buffer->bytes, buffer->length + length + 1);
    if (more == NULL) return 0;
    memcpy(more + buffer->length, bytes, length);
    buffer->bytes = more;
    buffer->length += length;
    buffer->bytes[buffer->length] = '\0';
    return length;
}

/* The transfer, looking at `stop` between short waits (libcurl by itself would look once a second). true: it went through. */
static bool perform(bc_client_t *client, const volatile bool *stop) {
    bool good = false;
    int running = 1, left = 0;
    if (curl_multi_add_handle(client->multi, client->handle) != CURLM_OK) return false;
    while (running > 0 && (stop == NULL || !*stop)) {
        if (curl_multi_perform(client->multi, &running) != CURLM_OK) break;
        if (running > 0 && curl_multi_poll(client->multi, NULL, 0, STOP_LOOK_MS, NULL) != CURLM_OK) break;
    }
    for (CURLMsg *message; (message = curl_multi_info_read(client->multi, &left)) != NULL;) {
        if (message->msg == CURLMSG_DONE) good = message->data.result == CURLE_OK;
    }
    (void)curl_multi_remove_handle(client->multi, client->handle); /* it was added above */
    return good;
}

static bool make_url(const bc_client_t *client, const char *path, char *url, size_t size) {
    int length;
    if (client->listen.is_unix) {
        length = snprintf(url, size, "http://localhost%s", path);
    } else if (strchr(client->listen.address, ':') != NULL) {
        length = snprintf(url, size, "http://[%s]:%u%s", client->listen.address, client->listen.port, path);
    } else {
        length = snprintf(url, size, "http://%s:%u%s", client->listen.address, client->listen.port, path);
    }
    return length > 0 && (size_t)length < size;
}

/* What is sent: a text, a file, or nothing. */
typedef struct {
    char *text; /* owned by the caller; NULL: none */
    int fd;     /* borrowed; -1: none */
    curl_off_t bytes;
    const char *media; /* NULL: nothing is sent */
} body_t;

static size_t read_file(char *bytes, size_t size, size_t count, void *context) {
    const body_t *body = context;
    ssize_t got = read(body->fd, bytes, size * count);
    return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

/* A kept connection that turns out to be closed is opened anew, and the file begins again. */
static int rewind_file(void *context, curl_off_t offset, int origin) {
    const body_t *body = context;
    return lseek(body->fd, offset, origin) < 0 ? CURL_SEEKFUNC_CANTSEEK : CURL_SEEKFUNC_OK;
}

static bool set_body(CURL *handle, body_t *body) {
    if (body->text != NULL) return curl_easy_setopt(handle, CURLOPT_POSTFIELDS, body->text) == CURLE_OK;
    if (body->fd < 0) return true;
    return curl_easy_setopt(handle, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
           curl_easy_setopt(handle, CURLOPT_INFILESIZE_LARGE, body->bytes) == CURLE_OK &&
           curl_easy_setopt(handle, CURLOPT_READFUNCTION, read_file) == CURLE_OK &&
           curl_easy_setopt(handle, CURLOPT_READDATA, body) == CURLE_OK &&
           curl_easy_setopt(handle, CURLOPT_SEEKFUNCTION, rewind_file) == CURLE_OK &&
           curl_easy_setopt(handle, CURLOPT_SEEKDATA, body) == CURLE_OK;
}

/* NULL: no memory. */
static struct curl_slist *make_headers(const bc_client_t *client, const body_t *body) {
    char type[128];
    (void)snprintf(type, sizeof(type), "Content-Type: %s", body->media == NULL ? "" : body->media); /* our own: fits */
    /* Without asking first whether it may be sent: it is one of ours that is asked. */
    const char *const lines[] = {client->credential, body->media == NULL ? NULL : type,
                                 body->fd < 0 ? NULL : "Expect:"};
    struct curl_slist *headers = NULL;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (lines[i] == NULL) continue;
        struct curl_slist *more = curl_slist_append(headers, lines[i]);
        if (more == NULL) {
            curl_slist_free_all(headers);
            return NULL;
        }
        headers = more;
    }
    return headers;
}

static bool exchange(bc_client_t *client, const char *method, const char *path, body_t *body, int64_t timeout_ms,
                     const volatile bool *stop, int *status, json_t **reply) {
    char url[2048];
    buffer_t answer = {NULL, 0};
    bool good = false;
    long code = 0;
    CURL *handle = client->handle;
    assert(path[0] == '/');
    if (!make_url(client, path, url, sizeof(url))) return false;
    struct curl_slist *headers = make_headers(client, body);
    if (headers == NULL) return false;
    curl_easy_reset(handle); /* keeps the connection, forgets the last call's options */
    if (!set_body(handle, body) || curl_easy_setopt(handle, CURLOPT_URL, url) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, method) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)timeout_ms) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_PROXY, "") != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take_bytes) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_WRITEDATA, &answer) != CURLE_OK)
        goto end;
    if (client->listen.is_unix &&
        curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, client->listen.address) != CURLE_OK)
        goto end;
    if (!perform(client, stop) || curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code) != CURLE_OK) goto end;
    json_error_t error;
    *status = (int)code;
    *reply = answer.bytes == NULL ? NULL : json_loadb(answer.bytes, answer.length, JSON_REJECT_DUPLICATES, &error);
    good = true;
end:
    curl_slist_free_all(headers);
    free(answer.bytes);
    return good;
}

bool bc_client_call(bc_client_t *client, const char *method, const char *path, const json_t *body, int64_t timeout_ms,
                    const volatile bool *stop, int *status, json_t **reply) {
    body_t sent = {.fd = -1};
    if (body != NULL) {
        sent.text = json_dumps(body, JSON_COMPACT);
        sent.media = "application/json";
        if (sent.text == NULL) return false;
    }
    bool good = exchange(client, method, path, &sent, timeout_ms, stop, status, reply);
    free(sent.text);
    return good;
}

bool bc_client_upload(bc_client_t *client, const char *method, const char *path, int fd, const char *media,
                      int64_t timeout_ms, int *status, json_t **reply) {
    struct stat about;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || lseek(fd, 0, SEEK_SET) != 0) return false;
    body_t sent = {.fd = fd, .bytes = (curl_off_t)about.st_size, .media = media};
    return exchange(client, method, path, &sent, timeout_ms, NULL, status, reply);
}
