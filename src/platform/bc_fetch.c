#include "platform/bc_fetch.h"

#include <assert.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct bc_fetch {
    pthread_mutex_t lock;
    CURL *idle[BC_FETCH_IDLE_MAX]; /* owned; under lock */
    int idle_count;                /* under lock */
};

/* One call's state, on its thread's stack. */
typedef struct {
    const bc_fetch_request_t *request;
    char *bytes; /* owned until handed over */
    size_t length;
    size_t header_bytes;
    bool too_large;
} call_t;

bc_fetch_t *bc_fetch_create(void) {
    bc_fetch_t *fetch = calloc(1, sizeof(*fetch));
    if (fetch != NULL) (void)pthread_mutex_init(&fetch->lock, NULL); /* a default mutex: cannot fail */
    return fetch;
}

void bc_fetch_destroy(bc_fetch_t *fetch) {
    if (fetch == NULL) return;
    for (int i = 0; i < fetch->idle_count; i++) curl_easy_cleanup(fetch->idle[i]);
    (void)pthread_mutex_destroy(&fetch->lock);
    free(fetch);
}

static CURL *take_handle(bc_fetch_t *fetch) {
    CURL *handle = NULL;
    (void)pthread_mutex_lock(&fetch->lock);
    if (fetch->idle_count > 0) handle = fetch->idle[--fetch->idle_count];
    (void)pthread_mutex_unlock(&fetch->lock);
    return handle != NULL ? handle : curl_easy_init();
}

static void put_handle(bc_fetch_t *fetch, CURL *handle) {
    curl_easy_reset(handle); /* keeps the connection, forgets credentials and pointers of this call */
    (void)pthread_mutex_lock(&fetch->lock);
    if (fetch->idle_count < BC_FETCH_IDLE_MAX) {
        fetch->idle[fetch->idle_count++] = handle;
        handle = NULL;
    }
    (void)pthread_mutex_unlock(&fetch->lock);
    curl_easy_cleanup(handle); /* NULL is fine */
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *target) {
    call_t *call = target;
    size_t length = size * count; /* curl: size is 1 */
    if (length > call->request->reply_max - call->length) {
        call->too_large = true;
        return 0; /* ends the call */
    }
    char *more = realloc(call->bytes, call->length + length + 1);
    if (more == NULL) return 0;
    if (length > 0) memcpy(more + call->length, bytes, length);
    call->bytes = more;
    call->length += length;
    call->bytes[call->length] = '\0';
    return length;
}

static size_t take_header(char *bytes, size_t size, size_t count, void *target) {
    call_t *call = target;
    size_t length = size * count; /* curl: size is 1, the line with its end */
    char line[1024];
    call->header_bytes += length;
    if (call->header_bytes > BC_FETCH_HEADERS_MAX) {
        call->too_large = true;
        return 0;
    }
    if (call->request->header == NULL || length >= sizeof(line)) return length; /* so long a line is none we ask for */
    memcpy(line, bytes, length);
    line[length] = '\0';
    size_t end = strcspn(line, "\r\n");
    line[end] = '\0';
    char *colon = strchr(line, ':');
    if (colon == NULL) return length; /* the status line */
    *colon = '\0';
    while (end > (size_t)(colon + 1 - line) && (line[end - 1] == ' ' || line[end - 1] == '\t')) line[--end] = '\0';
    call->request->header(call->request->context, line, colon + 1 + strspn(colon + 1, " \t"));
    return length;
}

static int look_at_stop(void *argument, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    const call_t *call = argument;
    (void)a, (void)b, (void)c, (void)d;
    return call->request->stop != NULL && *call->request->stop ? 1 : 0;
}

static struct curl_slist *list_headers(const char *const *headers, bool *good) {
    struct curl_slist *list = NULL;
    *good = true;
    for (size_t i = 0; headers != NULL && headers[i] != NULL; i++) {
        struct curl_slist *more = curl_slist_append(list, headers[i]);
        if (more == NULL) {
            *good = false;
            break;
        }
        list = more;
    }
    return list;
}

static bool prepare(CURL *handle, const bc_fetch_request_t *request, struct curl_slist *headers, call_t *call) {
    if (curl_easy_setopt(handle, CURLOPT_URL, request->url) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_PROXY, "") != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 1L) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 2L) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take_bytes) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_WRITEDATA, call) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, take_header) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_HEADERDATA, call) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, look_at_stop) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_XFERINFODATA, call) != CURLE_OK)
        return false;
    if (request->unix_socket != NULL &&
        curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, request->unix_socket) != CURLE_OK)
        return false;
    /* The size first: the body may hold zero bytes. */
    return request->body == NULL ||
           (curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->length) == CURLE_OK &&
            curl_easy_setopt(handle, CURLOPT_POSTFIELDS, request->body) == CURLE_OK);
}

static bc_fetch_result_t result_of(CURLcode code, const call_t *call) {
    if (call->too_large) return BC_FETCH_TOO_LARGE;
    switch (code) {
    case CURLE_OK:
        return BC_FETCH_OK;
    case CURLE_ABORTED_BY_CALLBACK:
        return BC_FETCH_STOPPED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return BC_FETCH_UNTRUSTED;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_WRITE_ERROR: /* take_bytes without memory */
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return BC_FETCH_FAILED;
    default:
        return BC_FETCH_AWAY;
    }
}

bc_fetch_result_t bc_fetch_call(bc_fetch_t *fetch, const bc_fetch_request_t *request, bc_fetch_reply_t *reply) {
    call_t call = {.request = request};
    long status = 0;
    bool good = false;
    bc_fetch_result_t result = BC_FETCH_FAILED;
    assert(request->timeout_ms > 0 && request->reply_max > 0);
    CURL *handle = take_handle(fetch);
    struct curl_slist *headers = list_headers(request->headers, &good);
    if (handle == NULL || !good || !prepare(handle, request, headers, &call)) goto end;
    result = result_of(curl_easy_perform(handle), &call);
    if (result != BC_FETCH_OK) goto end;
    if (call.bytes == NULL) call.bytes = calloc(1, 1); /* an answer without a body */
    if (call.bytes == NULL || curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK) {
        result = BC_FETCH_FAILED;
        goto end;
    }
    *reply = (bc_fetch_reply_t){.status = (int)status, .body = call.bytes, .length = call.length};
    call.bytes = NULL;
end:
    free(call.bytes);
    if (handle != NULL) put_handle(fetch, handle);
    curl_slist_free_all(headers);
    return result;
}
