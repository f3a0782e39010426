#include "services/auth/auth_password.h"

#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_random.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct auth_passwords {
    unsigned long long passes;
    size_t memory;
    int concurrent_max, waiting_max;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    int computing, waiting;       /* under lock */
    char nobody[AUTH_HASH_BYTES]; /* of a password that was thrown away */
};

static bc_metric_t refused =
    BC_METRIC("bookcart_auth_hashes_refused_total", "Password hashes refused because too many wait", "counter");
static bc_metric_t computed = BC_METRIC("bookcart_auth_hashes_total", "Password hashes computed", "counter");

auth_passwords_t *auth_passwords_create(const bc_config_t *config) {
    auth_passwords_t *passwords = calloc(1, sizeof(*passwords));
    char thrown_away[33];
    if (passwords == NULL) return NULL;
    passwords->passes = (unsigned long long)bc_config_number(config, BC_ARGON2_PASSES);
    passwords->memory = (size_t)bc_config_number(config, BC_ARGON2_MEMORY);
    passwords->concurrent_max = (int)bc_config_number(config, BC_ARGON2_CONCURRENT);
    passwords->waiting_max = (int)bc_config_number(config, BC_ARGON2_QUEUE);
    (void)pthread_mutex_init(&passwords->lock, NULL); /* default attributes: neither can fail */
    (void)pthread_cond_init(&passwords->freed, NULL);
    bc_random_text(24, thrown_away, sizeof(thrown_away));
    if (auth_password_hash(passwords, thrown_away, passwords->nobody) != AUTH_PASSWORD_OK) {
        auth_passwords_destroy(passwords);
        return NULL;
    }
    return passwords;
}

void auth_passwords_destroy(auth_passwords_t *passwords) {
    if (passwords == NULL) return;
    assert(passwords->computing == 0);
    assert(passwords->waiting == 0);
    (void)pthread_cond_destroy(&passwords->freed);
    (void)pthread_mutex_destroy(&passwords->lock);
    free(passwords);
}

static bool take_turn(auth_passwords_t *passwords) {
    bool taken = true;
    (void)pthread_mutex_lock(&passwords->lock); /* a default mutex: fails only on our own misuse */
    if (passwords->computing >= passwords->concurrent_max) {
        taken = passwords->waiting < passwords->waiting_max;
        if (taken) {
            passwords->waiting++;
            while (passwords->computing >= passwords->concurrent_max)
                (void)pthread_cond_wait(&passwords->freed, &passwords->lock);
            passwords->waiting--;
        }
    }
    if (taken) passwords->computing++;
    (void)pthread_mutex_unlock(&passwords->lock);
    if (!taken) {
        bc_metric_add(&refused, 1);
        bc_log(BC_LOG_WARN, "hash-queue-full", bc_f_int("waiting", passwords->waiting_max));
    }
    return taken;
}

static void give_turn(auth_passwords_t *passwords) {
    (void)pthread_mutex_lock(&passwords->lock);
    assert(passwords->computing > 0);
    passwords->computing--;
    (void)pthread_cond_signal(&passwords->freed);
    (void)pthread_mutex_unlock(&passwords->lock);
    bc_metric_add(&computed, 1);
}

auth_password_result_t auth_password_hash(auth_passwords_t *passwords, const char *password,
                                          char hash[AUTH_HASH_BYTES]) {
    if (!take_turn(passwords)) return AUTH_PASSWORD_BUSY;
    int failed = crypto_pwhash_str_alg(hash, password, strlen(password), passwords->passes, passwords->memory,
                                       crypto_pwhash_ALG_ARGON2ID13);
    give_turn(passwords);
    if (failed == 0) return AUTH_PASSWORD_OK;
    bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("at", "password hash"));
    return AUTH_PASSWORD_FAILED;
}

auth_password_result_t auth_password_verify(auth_passwords_t *passwords, const char *password, const char *hash,
                                            bool *outdated) {
    if (!take_turn(passwords)) return AUTH_PASSWORD_BUSY;
    int failed = crypto_pwhash_str_verify(hash == NULL ? passwords->nobody : hash, password, strlen(password));
    give_turn(passwords);
    /* libsodium does not tell no memory from wrong: either way nobody gets in. */
    if (failed != 0 || hash == NULL) return AUTH_PASSWORD_WRONG;
    if (outdated != NULL) *outdated = crypto_pwhash_str_needs_rehash(hash, passwords->passes, passwords->memory) != 0;
    return AUTH_PASSWORD_OK;
}
