#include "services/auth/auth_password.h"

#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* One caller's wish, on his stack while he waits. */
typedef struct job {
    const char *password;
    const char *compared; /* the hash to verify against; NULL: make one */
    char *made;           /* where the new hash goes */
    int failed;           /* libsodium's answer */
    bool taken, done;     /* under lock */
    pthread_cond_t finished;
    struct job *next;
} job_t;

struct auth_passwords {
    unsigned long long passes;
    size_t memory;
    int threads_max, waiting_max, cores;
    int64_t wait_max_ms;
    pthread_mutex_t lock;
    pthread_cond_t work;
    job_t *first, *last;          /* under lock; jobs nobody computes yet, in their order */
    int inside;                   /* under lock; callers that wait or are computed for */
    int running;                  /* under lock; threads that compute */
    int64_t rests_until_ms;       /* under lock; monotonic: no thread begins before */
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

int64_t auth_password_rest_ms(int64_t cpu_ms, int64_t wall_ms, int running, int cores, int waiting) {
    assert(running > 0 && cores > 0 && waiting >= 0);
    int64_t fair_ms = running > cores ? cpu_ms * running / cores : cpu_ms;
    int64_t waited_ms = wall_ms - fair_ms;
    if (waited_ms <= cpu_ms / 4) return 0;
    int64_t rest_ms = waited_ms * auth_hash_rest_waits, most_ms = cpu_ms * auth_hash_rest_most;
    return (rest_ms < most_ms ? rest_ms : most_ms) / (1 + waiting / auth_hash_rest_waiting);
}

static int64_t thread_ms(void) {
    struct timespec used;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used); /* cannot fail for this clock */
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

static int waiting(const auth_passwords_t *passwords) {
    return passwords->inside - passwords->running;
}

/* Under lock, which is let go meanwhile. */
static void compute_one(auth_passwords_t *passwords, job_t *job) {
    int running = ++passwords->running;
    (void)pthread_mutex_unlock(&passwords->lock);
    int64_t begun_ms = bc_monotonic_ms(), used_ms = thread_ms();
    job->failed = job->compared != NULL
                      ? crypto_pwhash_str_verify(job->compared, job->password, strlen(job->password))
                      : crypto_pwhash_str_alg(job->made, job->password, strlen(job->password), passwords->passes,
                                              passwords->memory, crypto_pwhash_ALG_ARGON2ID13);
    int64_t now_ms = bc_monotonic_ms();
    used_ms = thread_ms() - used_ms;
    bc_metric_add(&computed, 1);
    (void)pthread_mutex_lock(&passwords->lock);
    passwords->running--;
    job->done = true;
    (void)pthread_cond_signal(&job->finished);
    if (passwords->rests_until_ms < now_ms) passwords->rests_until_ms = now_ms;
    passwords->rests_until_ms +=
        auth_password_rest_ms(used_ms, now_ms - begun_ms, running, passwords->cores, waiting(passwords));
}

/* Under lock: until there is a job and no rest. NULL: the end. */
static job_t *next_job(auth_passwords_t *passwords) {
    while (!passwords->ends) {
        int64_t rest_ms = passwords->rests_until_ms - bc_monotonic_ms();
        if (passwords->first != NULL && rest_ms <= 0) break;
        if (passwords->first == NULL) {
            (void)pthread_cond_wait(&passwords->work, &passwords->lock);
        } else {
            struct timespec until = bc_monotonic_deadline(rest_ms);
            (void)pthread_cond_timedwait(&passwords->work, &passwords->lock, &until); /* the loop looks again */
        }
    }
    job_t *job = passwords->first;
    if (job == NULL) return NULL;
    passwords->first = job->next;
    if (passwords->first == NULL) passwords->last = NULL;
    job->taken = true;
    return job;
}

static void *compute(void *argument) {
    auth_passwords_t *passwords = argument;
    lower_priority();
    (void)pthread_mutex_lock(&passwords->lock); /* a default mutex: fails only on our own misuse */
    for (job_t *job; (job = next_job(passwords)) != NULL;) compute_one(passwords, job);
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
    passwords->wait_max_ms = bc_config_number(config, BC_ARGON2_WAIT);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    passwords->cores = cores > 0 ? (int)cores : 1;
    (void)pthread_mutex_init(&passwords->lock, NULL); /* a default mutex: cannot fail */
    bc_cond_init(&passwords->work);
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

/* Under lock. */
static void join_queue(auth_passwords_t *passwords, job_t *job) {
    job->next = NULL;
    if (passwords->last == NULL) {
        passwords->first = job;
    } else {
        passwords->last->next = job;
    }
    passwords->last = job;
    (void)pthread_cond_broadcast(&passwords->work); /* one of them may be resting */
}

/* Under lock. */
static void leave_queue(auth_passwords_t *passwords, job_t *job) {
    job_t *before = NULL;
    for (job_t *at = passwords->first; at != job; at = at->next) before = at;
    if (before == NULL) {
        passwords->first = job->next;
    } else {
        before->next = job->next;
    }
    if (passwords->last == job) passwords->last = before;
}

/* Under lock. false: one's turn did not come in time. A hash that was begun is waited for. */
static bool wait_for_turn(auth_passwords_t *passwords, job_t *job) {
    struct timespec until = bc_monotonic_deadline(passwords->wait_max_ms);
    while (!job->done) {
        if (job->taken) {
            (void)pthread_cond_wait(&job->finished, &passwords->lock);
        } else if (pthread_cond_timedwait(&job->finished, &passwords->lock, &until) == ETIMEDOUT && !job->taken) {
            leave_queue(passwords, job);
            return false;
        }
    }
    return true;
}

/* Waits until a thread has computed the job. false: too many wait already, or it took too long. */
static bool have_computed(auth_passwords_t *passwords, job_t *job) {
    bc_cond_init(&job->finished);
    (void)pthread_mutex_lock(&passwords->lock);
    bool room = passwords->inside < passwords->threads_max + passwords->waiting_max, good = false;
    if (room) {
        passwords->inside++;
        join_queue(passwords, job);
        good = wait_for_turn(passwords, job);
        passwords->inside--;
    }
    (void)pthread_mutex_unlock(&passwords->lock);
    (void)pthread_cond_destroy(&job->finished);
    if (!good) {
        bc_metric_add(&refused, 1);
        bc_log(BC_LOG_WARN, room ? "hash-waited-too-long" : "hash-queue-full",
               bc_f_int("waiting", passwords->waiting_max), bc_f_int("wait_ms", passwords->wait_max_ms));
    }
    return good;
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
