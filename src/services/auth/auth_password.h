/*
 * Passwords: argon2id by libsodium, with BOOKCART_ARGON2_MEMORY and _PASSES. One hash takes tens of milliseconds and megabytes, so
 * BOOKCART_ARGON2_CONCURRENT threads compute them, at most BOOKCART_ARGON2_QUEUE callers wait for one, and one more is told so.
 *
 * These threads run at a lower priority (AUTH_HASH_NICE): whoever signs in waits longer on a busy machine, and nobody's cart does. A
 * thread cannot raise its priority again, so they do nothing else.
 */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H

#include "platform/bc_config.h"

#include <sodium.h>
#include <stdbool.h>

#define AUTH_HASH_BYTES crypto_pwhash_STRBYTES /* with its zero */
#define AUTH_HASH_NICE  15                     /* added to the process's own */

typedef struct auth_passwords auth_passwords_t;

typedef enum {
    AUTH_PASSWORD_OK,
    AUTH_PASSWORD_WRONG,
    AUTH_PASSWORD_BUSY,  /* the queue is full: 503 */
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

#endif
