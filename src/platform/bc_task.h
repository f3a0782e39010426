/*
 * A thread of a service that does something over and over: send what is queued, expire what is over, follow another
 * service's log. It runs its step, sleeps as long as the step says, and can be woken at any time.
 *
 * A wake that comes while the step runs is not lost: the step runs once more. Stop waits for a step that runs; a step that may
 * block looks at bc_task_stopping (or hands bc_task_stop_flag to bc_client_call).
 */
#ifndef BC_TASK_H
#define BC_TASK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct bc_task bc_task_t;

/* One round. Returns after how many milliseconds the next begins unless woken before (0: at once; negative: only when woken). */
typedef int64_t (*bc_task_step_t)(bc_task_t *task, void *context);

/* Starts the thread; its first step begins at once. NULL after a log line: no memory or no thread. `name` is borrowed. */
bc_task_t *bc_task_create(const char *name, bc_task_step_t step, void *context /* borrowed until destroy */);
void bc_task_wake(bc_task_t *task);    /* any thread, also a step; NULL is fine */
void bc_task_stop(bc_task_t *task);    /* ends and joins the thread; repeated or NULL: fine. Not from the step */
void bc_task_destroy(bc_task_t *task); /* stops; NULL is fine */

bool bc_task_stopping(const bc_task_t *task);
const volatile bool *bc_task_stop_flag(const bc_task_t *task); /* borrowed until destroy */

#endif
