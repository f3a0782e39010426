#include "platform/bc_task.h"

#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct bc_task {
    const char *name; /* borrowed */
    bc_task_step_t step;
    void *context; /* borrowed */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool woken;             /* under lock */
    bool joined;            /* the owner's thread only */
    volatile bool stopping; /* set under lock; read anywhere */
};

/* Under the lock. `wait_ms` as a step returns it. */
static void sleep_until_due(bc_task_t *task, int64_t wait_ms) {
    struct timespec deadline = bc_monotonic_deadline(wait_ms < 0 ? 0 : wait_ms);
    while (!task->woken && !task->stopping) {
        if (wait_ms < 0) {
            (void)pthread_cond_wait(&task->wake, &task->lock); /* fails only on our own misuse */
        } else if (pthread_cond_timedwait(&task->wake, &task->lock, &deadline) == ETIMEDOUT) {
            break;
        }
    }
}

static void *run(void *argument) {
    bc_task_t *task = argument;
    (void)pthread_mutex_lock(&task->lock); /* a default mutex: fails only on our own misuse */
    while (!task->stopping) {
        task->woken = false;
        (void)pthread_mutex_unlock(&task->lock);
        int64_t wait_ms = task->step(task, task->context);
        (void)pthread_mutex_lock(&task->lock);
        sleep_until_due(task, wait_ms);
    }
    (void)pthread_mutex_unlock(&task->lock);
    return NULL;
}

bc_task_t *bc_task_create(const char *name, bc_task_step_t step, void *context) {
    bc_task_t *task = calloc(1, sizeof(*task));
    assert(step != NULL);
    if (task == NULL) {
        bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("task", name));
        return NULL;
    }
    task->name = name;
    task->step = step;
    task->context = context;
    (void)pthread_mutex_init(&task->lock, NULL); /* a default mutex: cannot fail */
    bc_cond_init(&task->wake);
    if (pthread_create(&task->thread, NULL, run, task) != 0) {
        bc_log(BC_LOG_ERROR, "no-thread", bc_f_text("task", name));
        task->joined = true; /* there is nothing to join */
        bc_task_destroy(task);
        return NULL;
    }
    return task;
}

void bc_task_wake(bc_task_t *task) {
    if (task == NULL) return;
    (void)pthread_mutex_lock(&task->lock);
    task->woken = true;
    (void)pthread_cond_signal(&task->wake);
    (void)pthread_mutex_unlock(&task->lock);
}

void bc_task_stop(bc_task_t *task) {
    if (task == NULL || task->joined) return;
    assert(!pthread_equal(pthread_self(), task->thread));
    (void)pthread_mutex_lock(&task->lock);
    task->stopping = true;
    (void)pthread_cond_signal(&task->wake);
    (void)pthread_mutex_unlock(&task->lock);
    (void)pthread_join(task->thread, NULL); /* our own joinable thread */
    task->joined = true;
}

void bc_task_destroy(bc_task_t *task) {
    if (task == NULL) return;
    bc_task_stop(task);
    (void)pthread_cond_destroy(&task->wake);
    (void)pthread_mutex_destroy(&task->lock);
    free(task);
}

bool bc_task_stopping(const bc_task_t *task) {
    return task->stopping;
}

const volatile bool *bc_task_stop_flag(const bc_task_t *task) {
    return &task->stopping;
}
