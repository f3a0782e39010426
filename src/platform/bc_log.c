/*
 * One line is built in a buffer on the stack and leaves in one write, so that lines of several threads and processes on one
 * pipe do not mix. What is cut is cut before the closing brace: a line is always whole JSON.
 *
 * Repeats: a small table keyed by (level, event) counts lines in the current window. A full table lets lines through: it is a
 * brake, not a gate.
 */
#include "platform/bc_log.h"

#include "platform/bc_time.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EVENTS_MAX       64
#define REQUEST_ID_BYTES 80

static const char *service_name = "bookcart";
static bc_log_level_t least_level = BC_LOG_INFO;
static _Thread_local char request_id_of_thread[REQUEST_ID_BYTES];

static struct {
    pthread_mutex_t lock;
    struct {
        const char *event; /* literals: compared by text */
        bc_log_level_t level;
        int64_t window_start_ms;
        int lines;
        int64_t left_out;
    } slots[EVENTS_MAX];
    int used;
} repeats = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char *const level_words[] = {"debug", "info", "warn", "error", "alert"};

void bc_log_init(const char *service, bc_log_level_t least) {
    service_name = service;
    least_level = least;
}

bool bc_log_level_parse(const char *word, bc_log_level_t *level) {
    for (int i = 0; i < (int)(sizeof(level_words) / sizeof(level_words[0])); i++) {
        if (strcmp(word, level_words[i]) == 0) {
            *level = (bc_log_level_t)i;
            return true;
        }
    }
    return false;
}

void bc_log_set_request(const char *request_id) {
    size_t length = request_id == NULL ? 0 : strlen(request_id);
    if (length >= sizeof(request_id_of_thread)) length = sizeof(request_id_of_thread) - 1;
    if (length > 0) memcpy(request_id_of_thread, request_id, length);
    request_id_of_thread[length] = '\0';
}

/* true: write it; *left_out = lines not written since the last one that was. */
static bool take_line(bc_log_level_t level, const char *event, int64_t *left_out) {
    bool take = true;
    int64_t now = bc_monotonic_ms();
    (void)pthread_mutex_lock(&repeats.lock); /* a default mutex: fails only on our own misuse */
    int at = 0;
    while (at < repeats.used && (repeats.slots[at].level != level || strcmp(repeats.slots[at].event, event) != 0)) at++;
    if (at == repeats.used && repeats.used < EVENTS_MAX) {
        repeats.slots[at].event = event;
        repeats.slots[at].level = level;
        repeats.slots[at].window_start_ms = now;
        repeats.used++;
    }
    if (at < repeats.used) {
        if (now - repeats.slots[at].window_start_ms >= BC_LOG_WINDOW_MS) {
            repeats.slots[at].window_start_ms = now;
            repeats.slots[at].lines = 0;
        }
        take = repeats.slots[at].lines < BC_LOG_BURST;
        if (take) {
            repeats.slots[at].lines++;
            *left_out = repeats.slots[at].left_out;
            repeats.slots[at].left_out = 0;
        } else {
            repeats.slots[at].left_out++;
        }
    }
    (void)pthread_mutex_unlock(&repeats.lock);
    return take;
}

typedef struct {
    char bytes[BC_LOG_LINE_MAX];
    size_t length;
} line_t;

#define LINE_ROOM (BC_LOG_LINE_MAX - 8) /* the end of the line always fits behind it */

static void put(line_t *line, const char *text, size_t length) {
    if (line->length + length > LINE_ROOM) return;
    memcpy(line->bytes + line->length, text, length);
    line->length += length;
}

static void put_escaped(line_t *line, const char *text) {
    put(line, "\"", 1);
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        char escaped[8];
        if (line->length + 16 > LINE_ROOM) break;
        if (*c == '"' || *c == '\\') {
            escaped[0] = '\\';
            escaped[1] = (char)*c;
            put(line, escaped, 2);
        } else if (*c < 0x20 || *c >= 0x7f) {
            /* Bytes beyond ASCII as \u00xx: the line stays valid whatever the text was. */
            (void)snprintf(escaped, sizeof(escaped), "\\u%04x", *c);
            put(line, escaped, 6);
        } else {
            put(line, (const char *)c, 1);
        }
    }
    put(line, "\"", 1);
}

static void put_member(line_t *line, const char *name, const char *text, int64_t number) {
    /* A member goes in whole or not at all. */
    if (line->length + strlen(name) + 64 > LINE_ROOM) return;
    put(line, line->length == 1 ? "" : ",", line->length == 1 ? 0 : 1);
    put_escaped(line, name);
    put(line, ":", 1);
    if (text != NULL) {
        put_escaped(line, text);
    } else {
        char digits[24];
        int length = snprintf(digits, sizeof(digits), "%lld", (long long)number);
        put(line, digits, (size_t)length);
    }
}

void bc_log_write(bc_log_level_t level, const char *event, const bc_log_field_t *fields) {
    assert(event != NULL && fields != NULL);
    if (level < least_level) return;
    int kept_errno = errno;
    int64_t left_out = 0;
    if (!take_line(level, event, &left_out)) return;

    line_t line = {.bytes = "{", .length = 1};
    char now[BC_TIME_TEXT_BYTES];
    bc_time_format(bc_time_ms(), now);
    put_member(&line, "ts", now, 0);
    put_member(&line, "level", level_words[level], 0);
    put_member(&line, "service", service_name, 0);
    put_member(&line, "event", event, 0);
    if (request_id_of_thread[0] != '\0') put_member(&line, "request_id", request_id_of_thread, 0);
    for (; fields->name != NULL; fields++) put_member(&line, fields->name, fields->text, fields->number);
    if (left_out > 0) put_member(&line, "suppressed", NULL, left_out);
    memcpy(line.bytes + line.length, "}\n", 2);
    line.length += 2;
    ssize_t written = write(STDERR_FILENO, line.bytes, line.length);
    (void)written; /* nowhere is left to report it */
    errno = kept_errno;
}
