/* Calls from one service to another: HTTP by libcurl over a unix socket or TCP, with the service credential, a time limit and a
 * bounded reply. Blocks; any thread. */
#ifndef BC_CLIENT_H
#define BC_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define BC_CLIENT_REPLY_MAX (8 * 1024 * 1024) /* bytes */

typedef struct bc_client bc_client_t;

/* Once per process, before threads. */
bool bc_client_init(void);

/* A client of one listener (unix:/path or ADDR:PORT). It keeps one connection; used by one thread at a time. NULL: no memory or a
 * listener that cannot be parsed. The caller destroys it. */
bc_client_t *bc_client_create(const char *listen, const char *service_key);
void bc_client_destroy(bc_client_t *client);

/* Sends `body` (borrowed; NULL: none) and waits at most timeout_ms. true: an answer came; *status is its status and *reply its JSON
 * (the caller owns it; NULL when it had none or none that parses). false: no answer; both unchanged. `stop` (NULL: none) is
 * looked at many times a second: when true the call ends with false. */
bool bc_client_call(bc_client_t *client, const char *method, const char *path, const json_t *body, int64_t timeout_ms,
                    const volatile bool *stop, int *status, json_t **reply);

/* The same with a file as the body: all of `fd` (borrowed; a regular file), of `media`. It is read as it is sent, never held whole. */
bool bc_client_upload(bc_client_t *client, const char *method, const char *path, int fd, const char *media,
                      int64_t timeout_ms, int *status, json_t **reply);

#endif
