/* Background tasks (no wake is lost, stop waits) and fault points (the passage that was asked for, and no other). */
#include "platform/bc_fault.h"
#include "platform/bc_log.h"
#include "platform/bc_task.h"
#include "platform/bc_time.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

typedef struct {
    atomic_int steps;
    int64_t wait_ms;  /* what a step returns */
    atomic_bool hold; /* a step stays inside while it is true */
    atomic_bool inside;
    atomic_bool self_wake; /* a step wakes its own task, once */
} counter_t;

static int64_t count_step(bc_task_t *task, void *context) {
    counter_t *counter = context;
    atomic_store(&counter->inside, true);
    atomic_fetch_add(&counter->steps, 1);
    if (atomic_exchange(&counter->self_wake, false)) bc_task_wake(task);
    while (atomic_load(&counter->hold) && !bc_task_stopping(task)) (void)usleep(200);
    atomic_store(&counter->inside, false);
    return counter->wait_ms;
}

static void wait_for_steps(counter_t *counter, int steps) {
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    while (atomic_load(&counter->steps) < steps) {
        if (bc_monotonic_ms() > until)
            fail_msg("%d steps after %d ms, not %d", atomic_load(&counter->steps), PATIENCE_MS, steps);
        (void)usleep(200);
    }
}

static void the_first_step_runs_at_once_and_a_wake_runs_another(void **state) {
    (void)state;
    counter_t counter = {.wait_ms = -1};
    bc_task_t *task = bc_task_create("test", count_step, &counter);
    assert_non_null(task);
    wait_for_steps(&counter, 1);
    (void)usleep(20000);
    assert_int_equal(atomic_load(&counter.steps), 1); /* only a wake runs another */
    bc_task_wake(task);
    wait_for_steps(&counter, 2);
    bc_task_destroy(task);
}

static void a_step_repeats_after_the_time_it_named(void **state) {
    (void)state;
    counter_t counter = {.wait_ms = 1};
    bc_task_t *task = bc_task_create("test", count_step, &counter);
    assert_non_null(task);
    wait_for_steps(&counter, 5);
    bc_task_destroy(task);
}

static void a_wake_during_a_step_is_not_lost(void **state) {
    (void)state;
    counter_t counter = {.wait_ms = -1, .hold = true};
    bc_task_t *task = bc_task_create("test", count_step, &counter);
    assert_non_null(task);
    wait_for_steps(&counter, 1);
    bc_task_wake(task);
    bc_task_wake(task); /* two during one step are one more step */
    atomic_store(&counter.hold, false);
    wait_for_steps(&counter, 2);
    (void)usleep(20000);
    assert_int_equal(atomic_load(&counter.steps), 2);
    bc_task_destroy(task);
}

static void a_step_may_wake_its_own_task(void **state) {
    (void)state;
    counter_t counter = {.wait_ms = -1, .self_wake = true};
    bc_task_t *task = bc_task_create("test", count_step, &counter);
    assert_non_null(task);
    wait_for_steps(&counter, 2);
    bc_task_destroy(task);
}

static void stop_waits_for_the_step_and_can_be_repeated(void **state) {
    (void)state;
    counter_t counter = {.wait_ms = 0, .hold = true};
    bc_task_t *task = bc_task_create("test", count_step, &counter);
    assert_non_null(task);
    wait_for_steps(&counter, 1);
    bc_task_stop(task);
    assert_false(atomic_load(&counter.inside));
    assert_true(*bc_task_stop_flag(task));
    int steps = atomic_load(&counter.steps);
    bc_task_wake(task); /* nothing is left that could hear it */
    bc_task_stop(task);
    assert_int_equal(atomic_load(&counter.steps), steps);
    bc_task_destroy(task);
    bc_task_wake(NULL);
    bc_task_stop(NULL);
    bc_task_destroy(NULL);
}

/* --- fault points --- */

static void init(const char *setting) {
    char reason[BC_CONFIG_REASON_BYTES] = "";
    if (!bc_fault_init(setting, reason)) fail_msg("%s", reason);
}

static void points_without_a_setting_do_nothing(void **state) {
    (void)state;
    init("");
    for (int i = 0; i < 100; i++) assert_false(bc_fault("a.point"));
}

static void a_point_fails_at_its_passage_only(void **state) {
    (void)state;
    init("first=fail, third=fail@3,always=fail@*");
    assert_true(bc_fault("first"));
    assert_false(bc_fault("first"));
    assert_false(bc_fault("third"));
    assert_false(bc_fault("third"));
    assert_true(bc_fault("third"));
    assert_false(bc_fault("third"));
    for (int i = 0; i < 5; i++) assert_true(bc_fault("always"));
    assert_false(bc_fault("other"));
    assert_false(bc_fault("firs"));
    init(""); /* a new setting replaces the old one */
    assert_false(bc_fault("always"));
}

static void a_point_kills_the_process(void **state) {
    (void)state;
    init("fatal=kill@2");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)bc_fault("fatal"); /* the first passage is survived */
        (void)bc_fault("fatal");
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    init("");
}

static void nonsense_is_refused_with_the_part_that_is_wrong(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "point",          "=kill",        "point=",        "point=die",          "point=kill@",
        "point=kill@0",   "point=kill@x", "point=kill@1x", "point=fail@9999999", "ok=fail, bad",
        "point=killkill", "point=fail@**"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char reason[BC_CONFIG_REASON_BYTES] = "";
        if (bc_fault_init(wrong[i], reason)) fail_msg("\"%s\" was taken", wrong[i]);
        assert_non_null(strstr(reason, "BOOKCART_FAULTS"));
    }
    char name[BC_FAULT_NAME_MAX + 16], many[1024] = "", reason[BC_CONFIG_REASON_BYTES];
    memset(name, 'n', BC_FAULT_NAME_MAX + 1);
    (void)strcpy(name + BC_FAULT_NAME_MAX + 1, "=kill");
    assert_false(bc_fault_init(name, reason));
    for (int i = 0; i <= BC_FAULTS_MAX; i++) (void)sprintf(many + strlen(many), "p%d=fail ", i);
    assert_false(bc_fault_init(many, reason));
    init("");
}

static void arm(const char *folder, const char *point, const char *word) {
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, point);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(word, file);
    (void)fclose(file);
}

static void an_armed_point_is_passed_once(void **state) {
    char folder[] = "/tmp/bookcart-fault-XXXXXX", setting[64], reason[BC_CONFIG_REASON_BYTES];
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(setting, sizeof(setting), "other=fail@2 armed:%s", folder);
    assert_true(bc_fault_init(setting, reason));
    assert_false(bc_fault("here"));
    arm(folder, "here", "fail");
    assert_false(bc_fault("there"));
    assert_true(bc_fault("here"));
    assert_false(bc_fault("here"));
    assert_false(bc_fault("other"));
    assert_true(bc_fault("other")); /* counted points beside it */
    arm(folder, "here", "kill");
    pid_t child = fork();
    if (child == 0) {
        (void)bc_fault("here");
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_false(bc_fault("here"));
    assert_true(bc_fault_init("", reason));
    assert_int_equal(rmdir(folder), 0); /* nothing is left in it */
}

int main(void) {
    bc_log_init("test", BC_LOG_ALERT + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_step_runs_at_once_and_a_wake_runs_another),
        cmocka_unit_test(a_step_repeats_after_the_time_it_named),
        cmocka_unit_test(a_wake_during_a_step_is_not_lost),
        cmocka_unit_test(a_step_may_wake_its_own_task),
        cmocka_unit_test(stop_waits_for_the_step_and_can_be_repeated),
        cmocka_unit_test(points_without_a_setting_do_nothing),
        cmocka_unit_test(a_point_fails_at_its_passage_only),
        cmocka_unit_test(a_point_kills_the_process),
        cmocka_unit_test(nonsense_is_refused_with_the_part_that_is_wrong),
        cmocka_unit_test(an_armed_point_is_passed_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
