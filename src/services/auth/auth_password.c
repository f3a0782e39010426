#include "services/auth/auth_password.h"

#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_random.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* One caller's wish, on his stack while he waits. */
typedef struct job {
    const char *password;
    const char *compared; /* the hash to verify against; NULL: make one */
    char *made;           /* where the new hash goes */
    int failed;           /* libsodium's answer */
    bool done;            /* under lock */
    pthread_cond_t finished;
    struct job *next;
} job_t;

struct auth_passwords {
    unsigned long long passes;
    size_t memory;
    int threads_max, waiting_max;
    pthread_mutex_t lock;
    pthread_cond_t work;
    job_t *first, *last;          /* under lock; jobs nobody computes yet, in their order */
    int inside;                   /* under lock; callers that wait or are computed for */
    bool ends;                    /* under lock */
    char nobody[AUTH_HASH_BYTES]; /* of a password that was thrown away */
    int threads_count;
    pthread_t threads[]; /* threads_max */
};

static bc_metric_t refused =
    BC_METRIC("bookcart_auth_hashes_refused_total", "Password hashes refused because too many wait", "counter");
static bc_metric_t computed = BC_METRIC("bookcart_auth_hashes_total", "Password hashes computed", "counter");

/* Linux keeps a priority for each thread. */
static void lower_priority(void) {
    id_t self = (id_t)gettid();
    errno = 0;
    int own = getpriority(PRIO_PROCESS, self);
    if ((own == -1 && errno != 0) || setpriority(PRIO_PROCESS, self, own + AUTH_HASH_NICE) != 0)
        bc_log(BC_LOG_WARN, "hash-priority-not-lowered", bc_f_text("reason", strerror(errno)));
}

static void *compute(void *argument) {
    auth_passwords_t *passwords = argument;
    lower_priority();
    (void)pthread_mutex_lock(&passwords->lock); /* a default mutex: fails only on our own misuse */
    for (;;) {
        while (passwords->first == NULL && !passwords->ends)
            (void)pthread_cond_wait(&passwords->work, &passwords->lock);
        job_t *job = passwords->first;
        if (job == NULL) break;
        passwords->first = job->next;
        if (passwords->first == NULL) passwords->last = NULL;
        (void)pthread_mutex_unlock(&passwords->lock);
        job->failed = job->compared != NULL
                          ? crypto_pwhash_str_verify(job->compared, job->password, strlen(job->password))
                          : crypto_pwhash_str_alg(job->made, job->password, strlen(job->password), passwords->passes,
                                                  passwords->memory, crypto_pwhash_ALG_ARGON2ID13);
        bc_metric_add(&computed, 1);
        (void)pthread_mutex_lock(&passwords->lock);
        job->done = true;
        (void)pthread_cond_signal(&job->finished);
    }
    (void)pthread_mutex_unlock(&passwords->lock);
    return NULL;
}

auth_passwords_t *auth_passwords_create(const bc_config_t *config) {
    int threads = (int)bc_config_number(config, BC_ARGON2_CONCURRENT);
    auth_passwords_t *passwords = calloc(1, sizeof(*passwords) + (size_t)threads * sizeof(passwords->threads[0]));
    char thrown_away[33];
    if (passwords == NULL) return NULL;
    passwords->passes = (unsigned long long)bc_config_number(config, BC_ARGON2_PASSES);
    passwords->memory = (size_t)bc_config_number(config, BC_ARGON2_MEMORY);
    passwords->threads_max = threads;
    passwords->waiting_max = (int)bc_config_number(config, BC_ARGON2_QUEUE);
    (void)pthread_mutex_init(&passwords->lock, NULL); /* default attributes: neither can fail */
    (void)pthread_cond_init(&passwords->work, NULL);
    while (passwords->threads_count < threads &&
           pthread_create(&passwords->threads[passwords->threads_count], NULL, compute, passwords) == 0)
        passwords->threads_count++;
    bc_random_text(24, thrown_away, sizeof(thrown_away));
    if (passwords->threads_count < threads ||
        auth_password_hash(passwords, thrown_away, passwords->nobody) != AUTH_PASSWORD_OK) {
        bc_log(BC_LOG_ERROR, "no-hash-threads", bc_f_int("threads", passwords->threads_count));
        auth_passwords_destroy(passwords);
        return NULL;
    }
    return passwords;
}

void auth_passwords_destroy(auth_passwords_t *passwords) {
    if (passwords == NULL) return;
    (void)pthread_mutex_lock(&passwords->lock);
    assert(passwords->inside == 0);
    passwords->ends = true;
    (void)pthread_cond_broadcast(&passwords->work);
    (void)pthread_mutex_unlock(&passwords->lock);
    for (int i = 0; i < passwords->threads_count; i++)
        (void)pthread_join(passwords->threads[i], NULL); /* our own joinable threads */
    (void)pthread_cond_destroy(&passwords->work);
    (void)pthread_mutex_destroy(&passwords->lock);
    free(passwords);
}

/* Waits until a thread has computed the job. false: too many wait already. */
static bool have_computed(auth_passwords_t *passwords, job_t *job) {
    (void)pthread_cond_init(&job->finished, NULL);
    (void)pthread_mutex_lock(&passwords->lock);
    bool taken = passwords->inside < passwords->threads_max + passwords->waiting_max;
    if (taken) {
        passwords->inside++;
        job->next = NULL;
        if (passwords->last == NULL) {
            passwords->first = job;
        } else {
            passwords->last->next = job;
        }
        passwords->last = job;
        (void)pthread_cond_signal(&passwords->work);
        while (!job->done) (void)pthread_cond_wait(&job->finished, &passwords->lock);
        passwords->inside--;
    }
    (void)pthread_mutex_unlock(&passwords->lock);
    (void)pthread_cond_destroy(&job->finished);
    if (!taken) {
        bc_metric_add(&refused, 1);
        bc_log(BC_LOG_WARN, "hash-queue-full", bc_f_int("waiting", passwords->waiting_max));
    }
    return taken;
}

auth_password_result_t auth_password_hash(auth_passwords_t *passwords, const char *password,
                                          char hash[AUTH_HASH_BYTES]) {
    job_t job = {.password = password, .made = hash};
    if (!have_computed(passwords, &job)) return AUTH_PASSWORD_BUSY;
    if (job.failed == 0) return AUTH_PASSWORD_OK;
    bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("at", "password hash"));
    return AUTH_PASSWORD_FAILED;
}

auth_password_result_t auth_password_verify(auth_passwords_t *passwords, const char *password, const char *hash,
                                            bool *outdated) {
    job_t job = {.password = password, .compared = hash == NULL ? passwords->nobody : hash};
    if (!have_computed(passwords, &job)) return AUTH_PASSWORD_BUSY;
    /* libsodium does not tell no memory from wrong: either way nobody gets in. */
    if (job.failed != 0 || hash == NULL) return AUTH_PASSWORD_WRONG;
    if (outdated != NULL) *outdated = crypto_pwhash_str_needs_rehash(hash, passwords->passes, passwords->memory) != 0;
    return AUTH_PASSWORD_OK;
}
