/* The threads that hash passwords: how many at once, what is refused, at which priority; and how a login looks meanwhile. */
#include "auth_people.h"

#include "services/auth/auth_password.h"

#include <pthread.h>
#include <sys/resource.h>

/* Heavy enough that nobody is done before all have asked. */
#define COSTLY "BOOKCART_RATE_LIMITS = off\nBOOKCART_ARGON2_MEMORY = 64m\nBOOKCART_ARGON2_PASSES = 3\n"
#define GUESTS 12

static pthread_barrier_t start;

static void *sign_in(void *argument) {
    int *status = argument;
    (void)pthread_barrier_wait(&start);
    answer_t answer = post("/api/v1/auth/login", NULL, credentials("emma@example.com", PASSWORD));
    *status = answer.status;
    if (answer.status == 503) assert_non_null(strstr(answer.headers, "Retry-After: "));
    drop(&answer);
    return NULL;
}

/* GUESTS sign in at the same moment, each of them is served or refused, and then there is room again. */
static void sign_in_together(int *served, int *refused) {
    pthread_t threads[GUESTS];
    int statuses[GUESTS];
    *served = *refused = 0;
    (void)registered("emma@example.com");
    assert_int_equal(pthread_barrier_init(&start, NULL, GUESTS), 0);
    for (int i = 0; i < GUESTS; i++) assert_int_equal(pthread_create(&threads[i], NULL, sign_in, &statuses[i]), 0);
    for (int i = 0; i < GUESTS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(pthread_barrier_destroy(&start), 0);
    for (int i = 0; i < GUESTS; i++) {
        *served += statuses[i] == 200;
        *refused += statuses[i] == 503;
    }
    assert_int_equal(*served + *refused, GUESTS);
    (void)signed_in("emma@example.com", PASSWORD);
}

static void more_than_may_wait_are_refused_at_once(void **state) {
    (void)state;
    int served, refused;
    start_service(COSTLY "BOOKCART_ARGON2_CONCURRENT = 1\nBOOKCART_ARGON2_QUEUE = 2\n");
    sign_in_together(&served, &refused);
    assert_true(served >= 3); /* one computed, two waiting */
    assert_true(refused >= 1);
}

static void whose_turn_does_not_come_in_time_is_refused(void **state) {
    (void)state;
    int served, refused;
    start_service(COSTLY "BOOKCART_ARGON2_CONCURRENT = 1\nBOOKCART_ARGON2_WAIT = 100ms\n");
    sign_in_together(&served, &refused);
    assert_true(served >= 1);  /* the first */
    assert_true(refused >= 1); /* twelve of them take a second at least */
}

static void a_hash_that_waited_for_its_core_makes_them_rest(void **state) {
    (void)state;
    /* Nobody else wanted the core; or nobody but other hashes. */
    assert_int_equal(auth_password_rest_ms(100, 100, 1, 2, 0), 0);
    assert_int_equal(auth_password_rest_ms(100, 125, 2, 2, 0), 0);
    assert_int_equal(auth_password_rest_ms(100, 200, 2, 1, 0), 0);
    assert_int_equal(auth_password_rest_ms(0, 0, 1, 2, 0), 0);
    /* As long as it waited, several times, up to a bound. */
    assert_int_equal(auth_password_rest_ms(100, 200, 1, 2, 0), 100 * auth_hash_rest_waits);
    assert_int_equal(auth_password_rest_ms(100, 700, 2, 2, 0), 100 * auth_hash_rest_most);
    assert_int_equal(auth_password_rest_ms(100, 700, 2, 1, 0), 100 * auth_hash_rest_most);
    /* Many who wait shorten it. */
    assert_int_equal(auth_password_rest_ms(100, 700, 1, 2, auth_hash_rest_waiting - 1), 1200);
    assert_int_equal(auth_password_rest_ms(100, 700, 1, 2, auth_hash_rest_waiting), 600);
    assert_int_equal(auth_password_rest_ms(100, 700, 1, 2, 4 * auth_hash_rest_waiting), 240);
}

/* Threads of this process whose nice value is `nice`. */
static int threads_of_priority(int nice) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        if (entry->d_name[0] != '.' && getpriority(PRIO_PROCESS, (id_t)atoi(entry->d_name)) == nice) count++;
    }
    closedir(tasks);
    return count;
}

static void hashing_threads_give_way(void **state) {
    (void)state;
    int own = getpriority(PRIO_PROCESS, 0), low = own + AUTH_HASH_NICE > 19 ? 19 : own + AUTH_HASH_NICE;
    start_service("BOOKCART_ARGON2_CONCURRENT = 3\n");
    for (int i = 0; i < 1000 && threads_of_priority(low) < 3; i++) usleep(2000);
    assert_int_equal(threads_of_priority(low), 3);
    (void)registered("emma@example.com");
    assert_true(threads_of_priority(own) > 1); /* nobody else does */
    stop_service();
    assert_int_equal(threads_of_priority(low), 0);
}

static void a_hash_of_another_cost_is_renewed_at_the_login(void **state) {
    (void)state;
    start_service("BOOKCART_RATE_LIMITS = off\n");
    (void)registered("emma@example.com");
    assert_int_equal(sql("SELECT COUNT(*) FROM users WHERE password_hash LIKE '%m=64,t=1,%'"), 1);
    stop_service();
    start_service("BOOKCART_RATE_LIMITS = off\nBOOKCART_ARGON2_MEMORY = 128k\nBOOKCART_ARGON2_PASSES = 2\n");
    answer_t login = post("/api/v1/auth/login", NULL, credentials("emma@example.com", PASSWORD));
    assert_int_equal(statements_of(&login), 4);
    drop(&login);
    assert_int_equal(sql("SELECT COUNT(*) FROM users WHERE password_hash LIKE '%m=128,t=2,%'"), 1);
    (void)signed_in("emma@example.com", PASSWORD);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_data, drop_data)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(more_than_may_wait_are_refused_at_once),
        CASE(whose_turn_does_not_come_in_time_is_refused),
        cmocka_unit_test(a_hash_that_waited_for_its_core_makes_them_rest),
        CASE(hashing_threads_give_way),
        CASE(a_hash_of_another_cost_is_renewed_at_the_login),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
