/*
 * How often an address may ask, and how long an account must wait after wrong passwords. In memory: a restart forgives everybody.
 *
 * A table of fixed size: sets of AUTH_LIMIT_WAYS slots found by a keyed hash, of which the one untouched longest is given up. An attacker with
 * many addresses can push others' slots out and so only loosens limits, never takes memory. Time is an argument: tests turn it.
 */
#ifndef AUTH_LIMITS_H
#define AUTH_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#define AUTH_LIMIT_SETS 1024
#define AUTH_LIMIT_WAYS 8

/* Wrong passwords that cost nothing; each further one doubles the wait, from one second to the longest. A delay, not a lock-out. */
#define AUTH_FAILURES_FREE     5
#define AUTH_DELAY_MAX_MS      30000
#define AUTH_FAILURE_MEMORY_MS (15 * 60 * 1000) /* after so long without a failure all is forgotten */

typedef struct auth_limits auth_limits_t;

typedef enum {
    AUTH_LIMIT_GUEST,
    AUTH_LIMIT_SIGN_IN,
    AUTH_LIMIT_REFRESH,
    AUTH_LIMIT_FORGOT, /* by address of the network */
    AUTH_LIMIT_MAIL,   /* by mail address: links that were asked for */
    AUTH_LIMIT_EXPORT  /* by user */
} auth_limit_t;

auth_limits_t *auth_limits_create(bool enabled); /* NULL: no memory */
void auth_limits_destroy(auth_limits_t *limits);

/* Takes one request of that kind from the bucket of `address` (or of whatever the kind counts by). 0: go on; else: how many ms until the next is let through. */
int64_t auth_limit_take(auth_limits_t *limits, auth_limit_t limit, const char *address, int64_t now_ms);

/* How long an account (its normalised address, whether it exists or not) must wait before the next try; 0: go on. */
int64_t auth_account_wait(auth_limits_t *limits, const char *email, int64_t now_ms);
void auth_account_failed(auth_limits_t *limits, const char *email, int64_t now_ms);
void auth_account_succeeded(auth_limits_t *limits, const char *email);

#endif
