/*
 * Log: one JSON object a line on standard error:
 *   {"ts":"2026-01-31T10:00:00.123Z","level":"info","service":"auth","event":"listening","request_id":"…",…}
 *
 * Levels: alert = our bug; error = data or a dependency at risk; warn = degraded; info = lifecycle; debug.
 * Never a token, password, mail address or search text. Of one event at one level at most BC_LOG_BURST lines are written
 * in BC_LOG_WINDOW_MS; the next line after that says how many were left out ("suppressed").
 * Any thread may log; a line is one write.
 */
#ifndef BC_LOG_H
#define BC_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BC_LOG_BURST     20
#define BC_LOG_WINDOW_MS 10000
#define BC_LOG_LINE_MAX  4096 /* bytes; what does not fit is cut */

typedef enum { BC_LOG_DEBUG, BC_LOG_INFO, BC_LOG_WARN, BC_LOG_ERROR, BC_LOG_ALERT } bc_log_level_t;

typedef struct {
    const char *name; /* NULL ends the list */
    const char *text; /* borrowed during the call; NULL: the number counts */
    int64_t number;
} bc_log_field_t;

/* Before the first line; `service` is borrowed for ever. Lines below `least` are dropped. */
void bc_log_init(const char *service, bc_log_level_t least);
/* false for a word that is no level; *level unchanged. */
bool bc_log_level_parse(const char *word, bc_log_level_t *level);

/* The id that lines of this thread carry from now on; NULL: none. Copied. bc_http sets it around a handler. */
void bc_log_set_request(const char *request_id);

void bc_log_write(bc_log_level_t level, const char *event, const bc_log_field_t *fields);

static inline bc_log_field_t bc_f_text(const char *name, const char *text) {
    return (bc_log_field_t){name, text == NULL ? "" : text, 0};
}
static inline bc_log_field_t bc_f_int(const char *name, int64_t number) {
    return (bc_log_field_t){name, NULL, number};
}

/* bc_log(BC_LOG_INFO, "listening", bc_f_text("listen", path), bc_f_int("connections", 64)); */
#define bc_log(level, event, ...)                                                                                      \
    bc_log_write((level), (event), (const bc_log_field_t[]){__VA_ARGS__ __VA_OPT__(, ){NULL, NULL, 0}})

#endif
