#include "platform/bc_time.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

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

/* `count` digits as a number between least and most; -1: they are not. */
static int digits(const char *text, int count, int least, int most) {
    int value = 0;
    for (int i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value >= least && value <= most ? value : -1;
}

bool bc_time_parse(const char *text, int64_t *unix_ms) {
    static const char form[] = "0000-00-00T00:00:00";
    size_t length = strlen(text);
    if (length != 20 && length != 24) return false;
    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        if (form[i] != '0' && form[i] != text[i]) return false;
    }
    int year = digits(text, 4, 1970, 9999), month = digits(text + 5, 2, 1, 12), day = digits(text + 8, 2, 1, 31);
    int hour = digits(text + 11, 2, 0, 23), minute = digits(text + 14, 2, 0, 59), second = digits(text + 17, 2, 0, 59);
    int milliseconds = length == 20 ? 0 : text[19] == '.' ? digits(text + 20, 3, 0, 999) : -1;
    if (text[length - 1] != 'Z' || year < 0 || month < 0 || day < 0 || hour < 0 || minute < 0 || second < 0 ||
        milliseconds < 0)
        return false;
    struct tm utc = {.tm_year = year - 1900,
                     .tm_mon = month - 1,
                     .tm_mday = day,
                     .tm_hour = hour,
                     .tm_min = minute,
                     .tm_sec = second};
    time_t seconds = timegm(&utc);
    if (utc.tm_mday != day) return false; /* 30 February became 1 March */
    *unix_ms = (int64_t)seconds * 1000 + milliseconds;
    return true;
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
