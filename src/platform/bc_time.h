/* Clocks. Services store Unix milliseconds and write RFC 3339 UTC; waits and rates use the monotonic clock. */
#ifndef BC_TIME_H
#define BC_TIME_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define BC_TIME_TEXT_BYTES 32

int64_t bc_time_ms(void);      /* Unix time */
int64_t bc_time_s(void);       /* Unix time */
int64_t bc_monotonic_ms(void); /* for differences only */

/* "2026-01-31T10:00:00.123Z"; milliseconds left out when `unix_ms` is a whole second. */
void bc_time_format(int64_t unix_ms, char text[BC_TIME_TEXT_BYTES]);

/* Reads what bc_time_format writes: UTC with a Z, years 1970 to 9999. false: anything else; *unix_ms unchanged. */
bool bc_time_parse(const char *text, int64_t *unix_ms);

/* A condition variable whose timed waits take bc_monotonic_deadline. */
void bc_cond_init(pthread_cond_t *condition);
/* CLOCK_MONOTONIC as a timespec `in_ms` from now. */
struct timespec bc_monotonic_deadline(int64_t in_ms);

#endif
