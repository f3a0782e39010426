/*
 * Passwords: argon2id by libsodium, with BOOKCART_ARGON2_MEMORY and _PASSES. One hash takes tens of milliseconds and megabytes, so
 * BOOKCART_ARGON2_CONCURRENT threads compute them, at most BOOKCART_ARGON2_QUEUE callers wait for one, and one more is told so.
 *
 * Hashes give way: their threads run at a lower priority (AUTH_HASH_NICE; a thread cannot raise its own again, so they do nothing else), and
 * after a hash that had to wait for its core they all rest for a while (auth_password_rest_ms). So on a busy machine whoever signs in
 * waits, BOOKCART_ARGON2_WAIT at most, and nobody's cart does; on one that is not, nothing rests.
 */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H

#include "platform/bc_config.h"

#include <sodium.h>
#include <stdbool.h>

#define AUTH_HASH_BYTES crypto_pwhash_STRBYTES /* with its zero */
#define AUTH_HASH_NICE  15                     /* added to the process's own */

/* How long to rest after a hash, in times of what it took of its core. */
enum {
    auth_hash_rest_waits = 3,   /* times what it waited for its core, but not more than */
    auth_hash_rest_most = 12,   /* times what it computed: a thirteenth of one core is left to hashes then; */
    auth_hash_rest_waiting = 8, /* less when so many wait: half as long, a third with twice as many, … */
};

typedef struct auth_passwords auth_passwords_t;

typedef enum {
    AUTH_PASSWORD_OK,
    AUTH_PASSWORD_WRONG,
    AUTH_PASSWORD_BUSY,  /* the queue is full, or one's turn did not come in time: 503 */
    AUTH_PASSWORD_FAILED /* no memory for the hash: 503 */
} auth_password_result_t;

auth_passwords_t *auth_passwords_create(const bc_config_t *config); /* NULL: no memory or no thread */
/* Nobody may wait in it any more. NULL is fine. */
void auth_passwords_destroy(auth_passwords_t *passwords);

auth_password_result_t auth_password_hash(auth_passwords_t *passwords, const char *password,
                                          char hash[AUTH_HASH_BYTES]);
/* `hash` NULL: nobody has it; takes the same time as a wrong password and answers WRONG. *outdated (may be NULL): right, but made at
 * another cost than the settings ask for now. */
auth_password_result_t auth_password_verify(auth_passwords_t *passwords, const char *password, const char *hash,
                                            bool *outdated);

/* A hash computed for cpu_ms and ended after wall_ms, beside others, `running` with it on `cores` cores; `waiting` callers have not begun. What
 * hashes wait for each other makes none of them rest, nor does less than a quarter of the time computed. */
int64_t auth_password_rest_ms(int64_t cpu_ms, int64_t wall_ms, int running, int cores, int waiting);

#endif
