/* The thread that both stores have: it rests under a hold, ends whatever is asked of it meanwhile, and tells the engine. */
#include "engine/store_thread.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_MS     60000
#define PATIENCE_MS 10000

typedef struct {
    store_thread_t thread;
    unsigned asked, done; /* under the mutex */
} counting_t;

/* Does what was asked, one piece after the other. */
static void *count_up(void *argument) {
    counting_t *counting = argument;
    (void)pthread_mutex_lock(&counting->thread.mutex);
    for (;;) {
        store_thread_rest(&counting->thread);
        if (counting->done < counting->asked) {
            counting->done++;
            store_thread_wake_engine(&counting->thread);
        } else if (counting->thread.stop) {
            break;
        } else {
            (void)pthread_cond_wait(&counting->thread.work, &counting->thread.mutex);
        }
    }
    (void)pthread_mutex_unlock(&counting->thread.mutex);
    return NULL;
}

static void start(counting_t *counting) {
    *counting = (counting_t){.asked = 0};
    assert_true(store_thread_init(&counting->thread, true));
    assert_true(store_thread_start(&counting->thread, count_up, counting));
}

static void end(counting_t *counting) {
    store_thread_end(&counting->thread);
    store_thread_deinit(&counting->thread);
}

static void ask(counting_t *counting) {
    (void)pthread_mutex_lock(&counting->thread.mutex);
    counting->asked++;
    (void)pthread_cond_signal(&counting->thread.work);
    (void)pthread_mutex_unlock(&counting->thread.mutex);
}

static unsigned done(counting_t *counting) {
    (void)pthread_mutex_lock(&counting->thread.mutex);
    unsigned count = counting->done;
    (void)pthread_mutex_unlock(&counting->thread.mutex);
    return count;
}

static bool is_told(const counting_t *counting, int wait_ms) {
    struct pollfd readable = {.fd = counting->thread.event, .events = POLLIN};
    return poll(&readable, 1, wait_ms) == 1;
}

static void wait_for(counting_t *counting, unsigned count) {
    while (done(counting) < count) {
        assert_true(is_told(counting, PATIENCE_MS));
        store_thread_was_woken(&counting->thread);
    }
    assert_int_equal(done(counting), count);
}

static void the_engine_is_told_until_it_looks(void **state) {
    (void)state;
    counting_t counting;
    start(&counting);
    assert_false(is_told(&counting, 0));
    ask(&counting);
    assert_true(is_told(&counting, PATIENCE_MS));
    store_thread_was_woken(&counting.thread);
    assert_false(is_told(&counting, 0));
    store_thread_was_woken(&counting.thread); /* nothing to take: does not wait */
    end(&counting);
}

static void under_a_hold_nothing_is_done(void **state) {
    (void)state;
    counting_t counting;
    start(&counting);
    store_thread_hold(&counting.thread, LONG_MS);
    store_thread_hold(&counting.thread, LONG_MS); /* again extends */
    ask(&counting);
    assert_false(is_told(&counting, 100)); /* long enough to be done, if it were not held */
    assert_int_equal(done(&counting), 0);
    store_thread_hold(&counting.thread, 0);
    wait_for(&counting, 1);
    store_thread_hold(&counting.thread, 0); /* nothing to let go any more */
    store_thread_hold(&counting.thread, 50);
    ask(&counting);
    wait_for(&counting, 2); /* it ends by itself */
    end(&counting);
}

static void a_thread_ends_under_a_hold(void **state) {
    (void)state;
    counting_t counting;
    start(&counting);
    store_thread_hold(&counting.thread, LONG_MS);
    ask(&counting);
    end(&counting);
    assert_int_equal(counting.done, 1); /* what was asked is done first */
}

static char heard[STORE_THREAD_LINES_MAX * 2][STORE_THREAD_DETAIL_BYTES];
static unsigned heard_count;

static void hear(void *context, int level, const char *event, const char *detail) {
    assert_ptr_equal(context, heard);
    assert_int_equal(level, 1);
    assert_string_equal(event, "test");
    (void)snprintf(heard[heard_count++], sizeof(heard[0]), "%s", detail);
}

static void lines_wait_for_the_engine_up_to_a_limit(void **state) {
    (void)state;
    store_thread_t thread;
    char longest[STORE_THREAD_DETAIL_BYTES * 2];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_true(store_thread_init(&thread, true));
    for (unsigned i = 0; i < STORE_THREAD_LINES_MAX + 3; i++)
        store_thread_note(&thread, 1, "test", i == 0 ? longest : "more");
    struct pollfd readable = {.fd = thread.event, .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 0), 1);
    heard_count = 0;
    store_thread_deliver(&thread, hear, heard);
    assert_int_equal(heard_count, STORE_THREAD_LINES_MAX);
    assert_int_equal(strlen(heard[0]), STORE_THREAD_DETAIL_BYTES - 1);
    store_thread_deliver(&thread, hear, heard); /* each once */
    assert_int_equal(heard_count, STORE_THREAD_LINES_MAX);
    store_thread_note(&thread, 1, "test", "more");
    store_thread_deliver(&thread, NULL, NULL); /* nobody hears */
    store_thread_deliver(&thread, hear, heard);
    assert_int_equal(heard_count, STORE_THREAD_LINES_MAX);
    store_thread_deinit(&thread);
}

static void without_a_thread_nobody_is_woken(void **state) {
    (void)state;
    store_thread_t thread;
    assert_true(store_thread_init(&thread, false));
    assert_int_equal(thread.event, -1);
    store_thread_wake_engine(&thread);
    store_thread_was_woken(&thread);
    store_thread_end(&thread);
    store_thread_deinit(&thread);
}

static void times_are_of_the_monotonic_clock(void **state) {
    (void)state;
    struct timespec past = store_thread_after_ms(0), future = store_thread_after_ms(LONG_MS + 999);
    assert_true(store_thread_is_over(&past));
    assert_false(store_thread_is_over(&future));
    assert_true(future.tv_nsec >= 0 && future.tv_nsec < 1000000000);
    assert_true(future.tv_sec - past.tv_sec >= LONG_MS / 1000 && future.tv_sec - past.tv_sec <= LONG_MS / 1000 + 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_engine_is_told_until_it_looks), cmocka_unit_test(under_a_hold_nothing_is_done),
        cmocka_unit_test(a_thread_ends_under_a_hold),        cmocka_unit_test(lines_wait_for_the_engine_up_to_a_limit),
        cmocka_unit_test(without_a_thread_nobody_is_woken),  cmocka_unit_test(times_are_of_the_monotonic_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
