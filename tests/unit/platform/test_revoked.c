/* A follower of a real feed on a real socket: what it answers for claims, before the first list, with it, beyond its limits, and when
 * the feed starts anew or goes away. The test owns the feed's rows. */
#include "platform/bc_client.h"
#include "platform/bc_feed.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "platform/bc_revoked.h"
#include "platform/bc_time.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY         "sesame"
#define ROWS_MAX    4000
#define PATIENCE_MS 20000

typedef struct {
    cart_id_t id;
    int64_t issued_before_s; /* 0: a session */
    int64_t expires_s;
} row_t;

static char folder[64];
static bc_config_t *config;
static bc_http_t *server;
static bc_feed_t *feed;
static bc_revoked_t *revoked;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static row_t rows[ROWS_MAX]; /* under lock: row i has position i + 1 */
static size_t rows_used;
static int reads;     /* under lock */
static bool broken;   /* under lock: items of wrong form */
static bool standing; /* under lock: says `more` and goes no further */

static bool read_rows(void *context, uint64_t after, int limit, json_t *items, uint64_t *position, bool *more) {
    (void)context;
    (void)pthread_mutex_lock(&lock);
    reads++;
    *more = standing;
    for (size_t i = (size_t)after; i < rows_used && !standing; i++) {
        char id[CART_ID_CHARS + 1], number[24];
        if (json_array_size(items) == (size_t)limit) {
            *more = true;
            break;
        }
        bool of_user = rows[i].issued_before_s != 0;
        cart_id_format(of_user ? BC_PREFIX_USER : BC_PREFIX_SESSION, &rows[i].id, id);
        (void)snprintf(number, sizeof(number), "%zu", i + 1);
        json_t *item = json_pack("{s:s, s:s, s:s, s:I}", "position", number, "kind", of_user ? "user" : "session", "id",
                                 broken ? "nonsense" : id, "expires", (json_int_t)rows[i].expires_s);
        assert_non_null(item);
        if (of_user)
            assert_int_equal(
                json_object_set_new(item, "issued_before", json_integer((json_int_t)rows[i].issued_before_s)), 0);
        assert_int_equal(json_array_append_new(items, item), 0);
        *position = i + 1;
    }
    (void)pthread_mutex_unlock(&lock);
    return true;
}

static void serve(bc_request_t *request, bc_reply_t *reply, void *context) {
    (void)context;
    bc_feed_serve(feed, request, reply);
}

static const bc_route_t routes[] = {
    {"GET", "/internal/feed/revocations", BC_INTERNAL, serve, .query = BC_FEED_QUERY},
    {.method = NULL},
};

static void start_feed(const char *generation) {
    feed = bc_feed_create(generation, read_rows, NULL);
    assert_non_null(feed);
    bc_http_options_t options = {.service = "auth",
                                 .listen = bc_config_text(config, BC_AUTH_INTERNAL),
                                 .routes = routes,
                                 .connections_max = 8,
                                 .timeout_ms = 20000,
                                 .service_key = KEY};
    server = bc_http_start(&options);
    assert_non_null(server);
}

static void stop_feed(void) {
    if (server == NULL) return;
    bc_http_announce_stop(server);
    bc_feed_wake(feed);
    bc_http_stop(server, 1000);
    bc_feed_destroy(feed);
    server = NULL;
    feed = NULL;
}

static void put(const cart_id_t *id, int64_t issued_before_s, int64_t expires_in_s) {
    (void)pthread_mutex_lock(&lock);
    assert_true(rows_used < ROWS_MAX);
    rows[rows_used++] = (row_t){*id, issued_before_s, bc_time_s() + expires_in_s};
    (void)pthread_mutex_unlock(&lock);
    if (feed != NULL) bc_feed_wake(feed);
}

static void forget_rows(void) {
    (void)pthread_mutex_lock(&lock);
    rows_used = 0;
    broken = standing = false;
    (void)pthread_mutex_unlock(&lock);
}

static bc_claims_t someone(void) {
    return (bc_claims_t){.user = bc_random_id(), .session = bc_random_id(), .issued_s = bc_time_s()};
}

/* Waits for the answer, however long the machine takes. */
static void expect(const bc_claims_t *claims, bc_standing_t wanted) {
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    while (bc_revoked_standing(revoked, claims) != wanted && bc_monotonic_ms() < until) (void)usleep(2000);
    assert_int_equal(bc_revoked_standing(revoked, claims), wanted);
}

/* Until a page asked for after this call has been served and another asked for: the first one has been judged. */
static void expect_two_reads(void) {
    int64_t until = bc_monotonic_ms() + PATIENCE_MS;
    int begun = -1, now = 0;
    while (now < begun + 2 && bc_monotonic_ms() < until) {
        (void)pthread_mutex_lock(&lock);
        now = reads;
        (void)pthread_mutex_unlock(&lock);
        if (begun < 0) begun = now;
        (void)usleep(2000);
    }
    assert_true(now >= begun + 2);
}

static int setup(void **state) {
    (void)state;
    char reason[BC_CONFIG_REASON_BYTES], bound[] = "BOOKCART_CART_FEED_MAX=2s", path[128];
    char *environment[] = {bound, NULL};
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-revoked-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/run", folder);
    if (!bc_config_load(&config, NULL, environment, folder, reason)) fail_msg("%s", reason);
    assert_true(bc_random_init() && bc_client_init());
    forget_rows();
    return bc_files_make_folders(path, 0700) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char path[128];
    stop_feed();
    bc_revoked_destroy(revoked);
    revoked = NULL;
    bc_config_destroy(config);
    config = NULL;
    (void)snprintf(path, sizeof(path), "%s/run/auth-internal.sock", folder);
    (void)unlink(path); /* the server may have taken it away */
    (void)snprintf(path, sizeof(path), "%s/run", folder);
    (void)rmdir(path); /* a left-over in /tmp fails no test */
    (void)rmdir(folder);
    return 0;
}

static void follow(size_t entries_max) {
    revoked = bc_revoked_create_bounded(config, KEY, entries_max);
    assert_non_null(revoked);
}

static void nobody_is_believed_before_the_first_list(void **state) {
    (void)state;
    bc_claims_t claims = someone();
    follow(BC_REVOKED_MAX);
    assert_int_equal(bc_revoked_standing(revoked, &claims), BC_STANDING_UNKNOWN);
    assert_false(bc_revoked_is_vouched(revoked));
    start_feed("one"); /* an empty list is a list */
    expect(&claims, BC_STANDING_GOOD);
    assert_true(bc_revoked_is_vouched(revoked));
}

static void sessions_and_users_end(void **state) {
    (void)state;
    bc_claims_t known = someone(), ended = someone(), before = someone(), after = before;
    put(&known.session, 0, 600);
    start_feed("one");
    follow(BC_REVOKED_MAX);
    expect(&known, BC_STANDING_REVOKED); /* of the first list */
    expect(&ended, BC_STANDING_GOOD);
    put(&ended.session, 0, 600);
    expect(&ended, BC_STANDING_REVOKED); /* of a change */
    after.session = bc_random_id();
    after.issued_s = before.issued_s + 1;
    put(&before.user, after.issued_s, 600);
    expect(&before, BC_STANDING_REVOKED);
    assert_int_equal(bc_revoked_standing(revoked, &after), BC_STANDING_GOOD); /* signed in again */
    /* A session's id is no user's. */
    bc_claims_t other = someone();
    other.user = ended.session;
    assert_int_equal(bc_revoked_standing(revoked, &other), BC_STANDING_GOOD);
}

static void a_list_of_many_pages_is_heard_to_its_end(void **state) {
    (void)state;
    bc_claims_t first = someone(), last = someone();
    put(&first.session, 0, 600);
    for (int i = 0; i < 2500; i++) {
        cart_id_t id = bc_random_id();
        put(&id, 0, 600);
    }
    put(&last.session, 0, 600);
    start_feed("one");
    follow(BC_REVOKED_MAX);
    expect(&last, BC_STANDING_REVOKED);
    assert_int_equal(bc_revoked_standing(revoked, &first), BC_STANDING_REVOKED);
}

static void another_generation_replaces_the_list(void **state) {
    (void)state;
    bc_claims_t old = someone(), fresh = someone();
    put(&old.session, 0, 600);
    put(&old.user, old.issued_s + 1, 600);
    start_feed("one");
    follow(BC_REVOKED_MAX);
    expect(&old, BC_STANDING_REVOKED);
    stop_feed();
    forget_rows();
    put(&fresh.session, 0, 600); /* its position is smaller than the one heard */
    start_feed("two");
    expect(&fresh, BC_STANDING_REVOKED);
    expect(&old, BC_STANDING_GOOD);
}

static void a_list_not_heard_is_not_vouched_for(void **state) {
    (void)state;
    bc_claims_t alive = someone(), ended = someone();
    put(&ended.session, 0, 600);
    start_feed("one");
    follow(BC_REVOKED_MAX);
    expect(&alive, BC_STANDING_GOOD);
    stop_feed();
    expect(&alive, BC_STANDING_UNKNOWN);
    assert_int_equal(bc_revoked_standing(revoked, &ended), BC_STANDING_REVOKED); /* it does not come back to life */
    start_feed("one");
    expect(&alive, BC_STANDING_GOOD);
}

static void pages_of_wrong_form_are_not_heard(void **state) {
    (void)state;
    bc_claims_t alive = someone(), ended = someone();
    put(&ended.session, 0, 600);
    broken = true;
    start_feed("one");
    follow(BC_REVOKED_MAX);
    expect_two_reads();
    assert_int_equal(bc_revoked_standing(revoked, &alive), BC_STANDING_UNKNOWN);
    (void)pthread_mutex_lock(&lock);
    broken = false;
    standing = true;
    (void)pthread_mutex_unlock(&lock);
    expect_two_reads();
    assert_int_equal(bc_revoked_standing(revoked, &alive), BC_STANDING_UNKNOWN);
    (void)pthread_mutex_lock(&lock);
    standing = false;
    (void)pthread_mutex_unlock(&lock);
    expect(&ended, BC_STANDING_REVOKED);
    expect(&alive, BC_STANDING_GOOD);
}

static void a_list_over_the_limit_is_not_vouched_for_until_it_fits(void **state) {
    (void)state;
    bc_claims_t alive = someone();
    for (int i = 0; i < 10; i++) {
        cart_id_t id = bc_random_id();
        put(&id, 0, 600);
    }
    start_feed("one");
    follow(10);
    expect(&alive, BC_STANDING_GOOD); /* exactly full is complete */
    cart_id_t more = bc_random_id();
    put(&more, 0, 600);
    expect(&alive, BC_STANDING_UNKNOWN);
    /* Auth leaves out what has expired: the same store, a shorter list. */
    (void)pthread_mutex_lock(&lock);
    rows_used = 9;
    (void)pthread_mutex_unlock(&lock);
    expect(&alive, BC_STANDING_GOOD);
}

static void what_has_expired_makes_room(void **state) {
    (void)state;
    bc_claims_t alive = someone(), ended = someone();
    start_feed("one");
    follow(2);
    expect(&alive, BC_STANDING_GOOD);
    cart_id_t dead = bc_random_id();
    for (int i = 0; i < 40; i++) { /* one place of the table after the other has expired when the next one comes */
        dead.bytes[CART_ID_BYTES - 1]++;
        put(&dead, 0, -10);
    }
    put(&ended.session, 0, 600);
    expect(&ended, BC_STANDING_REVOKED);
    expect(&alive, BC_STANDING_GOOD);
}

static void ends_while_it_waits(void **state) {
    (void)state;
    bc_claims_t claims = someone();
    start_feed("one");
    follow(BC_REVOKED_MAX);
    expect(&claims, BC_STANDING_GOOD);
    bc_revoked_stop(revoked);
    bc_revoked_destroy(revoked); /* joins: would hang */
    revoked = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_is_believed_before_the_first_list, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_and_users_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_list_of_many_pages_is_heard_to_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(another_generation_replaces_the_list, setup, teardown),
        cmocka_unit_test_setup_teardown(a_list_not_heard_is_not_vouched_for, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_of_wrong_form_are_not_heard, setup, teardown),
        cmocka_unit_test_setup_teardown(a_list_over_the_limit_is_not_vouched_for_until_it_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(what_has_expired_makes_room, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_while_it_waits, setup, teardown),
    };
    bc_log_init("revoked-test", BC_LOG_ALERT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
