#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>

static int64_t clock_ms(clockid_t clock) {
    struct timespec now;
    int failed = clock_gettime(clock, &now);
    assert(failed == 0);
    (void)failed; /* the two clocks used here always exist */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t bc_time_ms(void) {
    return clock_ms(CLOCK_REALTIME);
}

int64_t bc_time_s(void) {
    return clock_ms(CLOCK_REALTIME) / 1000;
}

int64_t bc_monotonic_ms(void) {
    return clock_ms(CLOCK_MONOTONIC);
}

void bc_time_format(int64_t unix_ms, char text[BC_TIME_TEXT_BYTES]) {
    assert(unix_ms >= 0);
    time_t seconds = (time_t)(unix_ms / 1000);
    int milliseconds = (int)(unix_ms % 1000);
    struct tm utc;
    char stem[24];
    if (gmtime_r(&seconds, &utc) == NULL || strftime(stem, sizeof(stem), "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
        text[0] = '\0'; /* a year past 9999: no such time is ever stored */
        return;
    }
    if (milliseconds == 0) {
        (void)snprintf(text, BC_TIME_TEXT_BYTES, "%sZ", stem); /* 20 characters fit */
    } else {
        (void)snprintf(text, BC_TIME_TEXT_BYTES, "%s.%03dZ", stem, milliseconds); /* 24 fit */
    }
}

void bc_cond_init(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);
    failed |= pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    failed |= pthread_cond_init(condition, &attributes);
    assert(failed == 0); /* glibc: none of the three can fail with these arguments */
    (void)failed;
    (void)pthread_condattr_destroy(&attributes); /* cannot fail on an initialised one */
}

struct timespec bc_monotonic_deadline(int64_t in_ms) {
    int64_t at = bc_monotonic_ms() + (in_ms > 0 ? in_ms : 0);
    return (struct timespec){.tv_sec = (time_t)(at / 1000), .tv_nsec = (long)(at % 1000) * 1000000};
}
