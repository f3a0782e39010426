/* The queue and its thread on a real database: once per key, retries, pauses, wiping, addresses found later, files. */
#include "platform/bc_fault.h"
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_mail_message.h"
#include "platform/bc_mail_send.h"
#include "platform/bc_metrics.h"
#include "platform/bc_random.h"
#include "platform/bc_time.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 10000

static char folder[64];
static bc_db_t *db;
static bc_config_t *config;

static const bc_migration_t migrations[] = {{"mails", BC_MAIL_MIGRATION}, {NULL, NULL}};

static bc_config_t *make_config(const char *more) {
    char text[512], reason[BC_CONFIG_REASON_BYTES];
    bc_config_t *made = bc_config_create();
    int length = snprintf(
        text, sizeof(text),
        "BOOKCART_DATA = %s\nBOOKCART_PUBLIC_URL = https://shop.example\nBOOKCART_MAIL_RETRY = 10ms\n%s", folder, more);
    assert_non_null(made);
    if (!bc_config_read_text(made, "test", text, (size_t)length, reason) || !bc_config_finish(made, reason))
        fail_msg("%s", reason);
    return made;
}

static void open_db(void) {
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/test.db", folder);
    assert_int_equal(bc_db_open(path, migrations, &db), BC_DB_OK);
}

static int set_up(void **state) {
    (void)state;
    bc_log_init("test", BC_LOG_ALERT + 1);
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-mail-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_true(bc_random_init());
    open_db();
    config = make_config("");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[128];
    bc_db_close(db);
    db = NULL;
    bc_config_destroy(config);
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    return 0;
}

/* --- a transport that does what a script says: one letter a try, the last one for ever --- */

typedef struct {
    bc_mail_transport_t transport;
    const char *script; /* d delivered, g again, r refused, a away */
    pthread_mutex_t lock;
    size_t tries;
    char last_to[BC_MAIL_ADDRESS_MAX + 1], first_id[128], last_id[128];
} scripted_t;

static scripted_t scripted;

static void find_id(const char *bytes, char *id, size_t size) {
    const char *start = strstr(bytes, "Message-ID: ");
    assert_non_null(start);
    (void)snprintf(id, size, "%.*s", (int)strcspn(start, "\r"), start);
}

static bc_mail_outcome_t send_scripted(bc_mail_transport_t *self, const bc_mail_parcel_t *parcel,
                                       const volatile bool *stop, bc_mail_trouble_t *trouble) {
    scripted_t *it = (scripted_t *)self;
    (void)stop;
    (void)pthread_mutex_lock(&it->lock);
    size_t last = strlen(it->script) - 1;
    char act = it->script[it->tries < last ? it->tries : last];
    find_id(parcel->bytes, it->tries == 0 ? it->first_id : it->last_id, sizeof(it->last_id));
    (void)snprintf(it->last_to, sizeof(it->last_to), "%s", parcel->to);
    it->tries++;
    (void)pthread_mutex_unlock(&it->lock);
    *trouble = (bc_mail_trouble_t){"script", 451};
    return act == 'd' ? BC_MAIL_DELIVERED : act == 'g' ? BC_MAIL_AGAIN : act == 'r' ? BC_MAIL_REFUSED : BC_MAIL_AWAY;
}

static void destroy_scripted(bc_mail_transport_t *self) {
    (void)self; /* static */
}

static bc_mail_transport_t *script(const char *text) {
    scripted = (scripted_t){{send_scripted, destroy_scripted}, text, PTHREAD_MUTEX_INITIALIZER, 0, "", "", ""};
    return &scripted.transport;
}

static size_t tries_made(void) {
    (void)pthread_mutex_lock(&scripted.lock);
    size_t tries = scripted.tries;
    (void)pthread_mutex_unlock(&scripted.lock);
    return tries;
}

/* --- queue --- */

static void put(const char *key, bc_mail_kind_t kind, const char *address, const cart_id_t *user, const char *data) {
    json_error_t error;
    json_t *loaded = json_loads(data, 0, &error);
    assert_non_null(loaded);
    const bc_mail_t mail = {
        .key = key, .kind = kind, .language = BC_EN, .address = address, .user = user, .data = loaded};
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    bc_mail_put(db, &mail);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    json_decref(loaded);
}

typedef struct {
    int64_t state, tries;
    bool wiped;
} row_t;

static row_t row_of(const char *key) {
    row_t row = {-1, -1, false};
    bc_db_enter(db);
    bc_statement_t *find =
        bc_db_prepare(db, "SELECT state, tries, address, data, user_id FROM mails WHERE mail_key = ?");
    bc_bind_text(find, 1, key);
    if (bc_step(find) == BC_DB_ROW) {
        row.state = bc_column_int(find, 0);
        row.tries = bc_column_int(find, 1);
        row.wiped = bc_column_is_null(find, 2) && bc_column_is_null(find, 3) && bc_column_is_null(find, 4);
    }
    bc_statement_done(find);
    bc_db_leave(db);
    return row;
}

static row_t wait_ended(const char *key) {
    struct timespec pause = {.tv_nsec = 2000000};
    for (int64_t end = bc_monotonic_ms() + WAIT_MS; bc_monotonic_ms() < end;) {
        row_t row = row_of(key);
        if (row.state != 0) return row;
        (void)nanosleep(&pause, NULL); /* shorter is as good */
    }
    fail_msg("%s still waits", key);
    return (row_t){-1, -1, false};
}

static void a_mail_is_sent_once_and_wiped(void **state) {
    (void)state;
    bc_mailer_t *mailer = bc_mailer_create_with(config, db, NULL, NULL, script("d"));
    assert_non_null(mailer);
    for (int i = 0; i < 3; i++) {
        put("verify/1", BC_MAIL_VERIFY, "reader@example.org", NULL, "{\"token\":\"abc\"}");
        bc_mailer_wake(mailer);
        row_t row = wait_ended("verify/1");
        assert_int_equal(row.state, 1);
        assert_true(row.wiped);
    }
    assert_int_equal(tries_made(), 1);
    assert_string_equal(scripted.last_to, "reader@example.org");
    bc_mailer_destroy(mailer);
}

static void a_mail_that_was_rolled_back_is_none(void **state) {
    (void)state;
    json_t *data = json_object();
    const bc_mail_t mail = {"password/1", BC_MAIL_PASSWORD_CHANGED, BC_EN, "reader@example.org", NULL, data};
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    bc_mail_put(db, &mail);
    bc_db_rollback(db);
    assert_int_equal(row_of("password/1").state, -1);
    json_decref(data);
}

static void a_put_is_one_statement(void **state) {
    (void)state;
    json_t *data = json_object();
    const bc_mail_t mail = {"password/1", BC_MAIL_PASSWORD_CHANGED, BC_EN, "reader@example.org", NULL, data};
    for (int i = 0; i < 2; i++) {
        bc_db_count_reset();
        assert_int_equal(bc_db_begin(db), BC_DB_OK);
        bc_mail_put(db, &mail);
        assert_int_equal(bc_db_commit(db), BC_DB_OK);
        assert_int_equal(bc_db_count(), 1);
    }
    json_decref(data);
}

static void a_refusal_for_now_is_tried_again_with_the_same_id(void **state) {
    (void)state;
    bc_mailer_t *mailer = bc_mailer_create_with(config, db, NULL, NULL, script("gggd"));
    put("reset/1", BC_MAIL_RESET, "reader@example.org", NULL, "{\"token\":\"abc\"}");
    bc_mailer_wake(mailer);
    row_t row = wait_ended("reset/1");
    assert_int_equal(row.state, 1);
    assert_int_equal(row.tries, 4);
    assert_int_equal(tries_made(), 4);
    assert_string_equal(scripted.first_id, scripted.last_id);
    bc_mailer_destroy(mailer);
}

static void tries_end(void **state) {
    (void)state;
    bc_mailer_t *mailer = bc_mailer_create_with(config, db, NULL, NULL, script("g"));
    put("reset/1", BC_MAIL_RESET, "reader@example.org", NULL, "{\"token\":\"abc\"}");
    /* The pauses double; the clock is not waited for: what is due later is made due now. */
    for (int i = 0; i < 2000 && row_of("reset/1").state == 0; i++) {
        struct timespec pause = {.tv_nsec = 2000000};
        assert_int_equal(bc_db_begin(db), BC_DB_OK);
        assert_int_equal(bc_run(bc_db_prepare(db, "UPDATE mails SET next_ms = 0 WHERE state = 0")), BC_DB_DONE);
        assert_int_equal(bc_db_commit(db), BC_DB_OK);
        bc_mailer_wake(mailer);
        (void)nanosleep(&pause, NULL); /* shorter is as good */
    }
    row_t row = row_of("reset/1");
    assert_int_equal(row.state, 2);
    assert_int_equal(row.tries, BC_MAIL_TRIES_MAX);
    assert_int_equal(tries_made(), BC_MAIL_TRIES_MAX);
    assert_true(row.wiped);
    bc_mailer_destroy(mailer);
}

static void what_is_refused_for_good_is_not_tried_again(void **state) {
    (void)state;
    bc_mailer_t *mailer = bc_mailer_create_with(config, db, NULL, NULL, script("rd"));
    put("reset/1", BC_MAIL_RESET, "nobody@example.org", NULL, "{\"token\":\"abc\"}");
    bc_mailer_wake(mailer);
    row_t row = wait_ended("reset/1");
    assert_int_equal(row.state, 2);
    assert_true(row.wiped);
    put("reset/2", BC_MAIL_RESET, "reader@example.org", NULL, "{\"token\":\"abc\"}");
    bc_mailer_wake(mailer);
    assert_int_equal(wait_ended("reset/2").state, 1);
    assert_int_equal(tries_made(), 2);
    bc_mailer_destroy(mailer);
}

static void a_server_that_is_away_costs_no_try(void **state) {
    (void)state;
    bc_mailer_t *mailer = bc_mailer_create_with(config, db, NULL, NULL, script("ad"));
    put("reset/1", BC_MAIL_RESET, "reader@example.org", NULL, "{\"token\":\"abc\"}");
    for (int i = 0; i < 20; i++) bc_mailer_wake(mailer); /* the pause is not shortened by this */
    row_t row = wait_ended("reset/1");
    assert_int_equal(row.state, 1);
    assert_int_equal(row.tries, 1);
    assert_int_equal(tries_made(), 2);
    bc_mailer_destroy(mailer);
}

static void a_mail_that_cannot_be_written_is_given_up_and_holds_nobody_up(void **state) {
    (void)state;
    bc_mailer_t *mailer = bc_mailer_create_with(config, db, NULL, NULL, script("d"));
    put("verify/1", BC_MAIL_VERIFY, "reader@example.org", NULL, "{}");
    put("verify/2", BC_MAIL_VERIFY, "reader@example.org", NULL, "{\"token\":\"abc\"}");
    bc_mailer_wake(mailer);
    assert_int_equal(wait_ended("verify/1").state, 2);
    assert_int_equal(wait_ended("verify/2").state, 1);
    assert_int_equal(tries_made(), 1);
    bc_mailer_destroy(mailer);
}

static bc_mail_found_t found;

static bc_mail_found_t resolve(void *context, const cart_id_t *user, char address[BC_MAIL_ADDRESS_MAX + 1],
                               bc_language_t *language) {
    assert_ptr_equal(context, &found);
    assert_false(cart_id_is_none(user));
    if (found == BC_MAIL_LATER) {
        found = BC_MAIL_FOUND; /* the next question is answered */
        return BC_MAIL_LATER;
    }
    (void)snprintf(address, BC_MAIL_ADDRESS_MAX + 1, "found@example.org");
    *language = BC_BG;
    return found;
}

static void an_address_is_asked_for_when_it_is_needed(void **state) {
    (void)state;
    cart_id_t user = bc_random_id();
    found = BC_MAIL_FOUND;
    bc_mailer_t *mailer = bc_mailer_create_with(config, db, resolve, &found, script("d"));
    put("answer/1", BC_MAIL_QUESTION_ANSWERED, NULL, &user, "{\"question\":\"que_1\",\"subject\":\"s\"}");
    bc_mailer_wake(mailer);
    assert_int_equal(wait_ended("answer/1").state, 1);
    assert_string_equal(scripted.last_to, "found@example.org");
    found = BC_MAIL_NOBODY;
    put("answer/2", BC_MAIL_QUESTION_ANSWERED, NULL, &user, "{\"question\":\"que_1\",\"subject\":\"s\"}");
    bc_mailer_wake(mailer);
    row_t row = wait_ended("answer/2");
    assert_int_equal(row.state, 3);
    assert_true(row.wiped);
    assert_int_equal(tries_made(), 1);
    bc_mailer_destroy(mailer);
}

static void who_knows_the_address_may_be_away(void **state) {
    (void)state;
    cart_id_t user = bc_random_id();
    found = BC_MAIL_LATER;
    bc_mailer_t *mailer = bc_mailer_create_with(config, db, resolve, &found, script("d"));
    put("answer/1", BC_MAIL_QUESTION_ANSWERED, NULL, &user, "{\"question\":\"que_1\",\"subject\":\"s\"}");
    bc_mailer_wake(mailer);
    row_t row = wait_ended("answer/1");
    assert_int_equal(row.state, 1);
    assert_int_equal(row.tries, 1);
    bc_mailer_destroy(mailer);
}

static void a_forgotten_user_gets_no_mail(void **state) {
    (void)state;
    cart_id_t user = bc_random_id(), other = bc_random_id();
    put("answer/1", BC_MAIL_QUESTION_ANSWERED, NULL, &user, "{\"question\":\"que_1\",\"subject\":\"s\"}");
    put("reset/1", BC_MAIL_RESET, "reader@example.org", &user, "{\"token\":\"t\"}");
    put("reset/2", BC_MAIL_RESET, "other@example.org", &other, "{\"token\":\"t\"}");
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    bc_mail_forget(db, &user);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    bc_mailer_t *mailer = bc_mailer_create_with(config, db, NULL, NULL, script("d"));
    assert_int_equal(wait_ended("reset/2").state, 1);
    assert_int_equal(row_of("answer/1").state, 3);
    assert_int_equal(row_of("reset/1").state, 3);
    assert_true(row_of("reset/1").wiped);
    assert_int_equal(tries_made(), 1);
    bc_mailer_destroy(mailer);
}

static void an_unfit_address_is_not_queued(void **state) {
    (void)state;
    put("reset/1", BC_MAIL_RESET, "a@b.example\r\nBcc: c@d.example", NULL, "{\"token\":\"t\"}");
    assert_int_equal(row_of("reset/1").state, -1);
}

static void a_full_queue_refuses_mail_but_not_the_change(void **state) {
    (void)state;
    char *page = bc_metrics_page();
    assert_non_null(page);
    free(page);
    /* The gauge of the queue is shared by the process: fill the table itself and let a mailer count it. */
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    bc_statement_t *fill = bc_db_prepare(
        db,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO mails(mail_key, kind, "
        "language, address, data, next_ms, created_ms) SELECT 'k' || i, 'reset', 'en', 'a@b.example', '{}', ?, 0 FROM "
        "n");
    bc_bind_int(fill, 1, BC_MAIL_QUEUE_MAX);
    bc_bind_int(fill, 2, bc_time_ms() + 3600000);
    assert_int_equal(bc_run(fill), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    bc_mailer_t *mailer = bc_mailer_create_with(config, db, NULL, NULL, script("d"));
    struct timespec pause = {.tv_nsec = 300000000};
    (void)nanosleep(&pause, NULL); /* its first step counts */
    bc_mailer_stop(mailer);
    put("reset/1", BC_MAIL_RESET, "a@b.example", NULL, "{\"token\":\"t\"}");
    assert_int_equal(row_of("reset/1").state, -1);
    bc_mailer_destroy(mailer);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(bc_run(bc_db_prepare(db, "DELETE FROM mails")), BC_DB_DONE);
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
    mailer = bc_mailer_create_with(config, db, NULL, NULL, script("d"));
    (void)nanosleep(&pause, NULL); /* counts again */
    put("reset/1", BC_MAIL_RESET, "a@b.example", NULL, "{\"token\":\"t\"}");
    bc_mailer_wake(mailer);
    assert_int_equal(wait_ended("reset/1").state, 1);
    bc_mailer_destroy(mailer);
}

/* --- files --- */

/* How many files DATA/mail holds; the last one's path. */
static size_t files_in_mail(char path[512]) {
    char mail[96];
    size_t count = 0;
    (void)snprintf(mail, sizeof(mail), "%s/mail", folder);
    DIR *all = opendir(mail);
    if (all == NULL) return 0;
    for (const struct dirent *entry = readdir(all); entry != NULL; entry = readdir(all)) {
        if (entry->d_name[0] == '.') continue;
        (void)snprintf(path, 512, "%s/%.255s", mail, entry->d_name);
        count++;
    }
    assert_int_equal(closedir(all), 0);
    return count;
}

static void a_file_is_whole_and_its_owners(void **state) {
    (void)state;
    char path[512] = "";
    bc_mailer_t *mailer = bc_mailer_create(config, db, NULL, NULL);
    assert_non_null(mailer);
    put("verify/1", BC_MAIL_VERIFY, "reader@example.org", NULL, "{\"token\":\"abc\"}");
    bc_mailer_wake(mailer);
    assert_int_equal(wait_ended("verify/1").state, 1);
    bc_mailer_destroy(mailer);
    assert_int_equal(files_in_mail(path), 1);
    struct stat found_file;
    assert_int_equal(stat(path, &found_file), 0);
    assert_int_equal(found_file.st_mode & 0777, 0600);
    assert_non_null(strstr(path, "-verify-"));
    char *bytes = NULL;
    size_t length = 0;
    assert_true(bc_files_read(path, 65536, &bytes, &length));
    assert_non_null(strstr(bytes, "From: bookcart\r\n <noreply@shop.example>\r\nTo: <reader@example.org>\r\n"));
    assert_non_null(strstr(bytes, "https://shop.example/account/verify#token=3Dabc"));
    free(bytes);
}

static void a_folder_that_cannot_be_written_is_waited_for(void **state) {
    (void)state;
    char path[512] = "", blocked[96];
    (void)snprintf(blocked, sizeof(blocked), "%s/mail", folder);
    assert_true(bc_files_create(blocked, "x", 1, 0600)); /* a file where the folder should be */
    bc_mailer_t *mailer = bc_mailer_create(config, db, NULL, NULL);
    put("verify/1", BC_MAIL_VERIFY, "reader@example.org", NULL, "{\"token\":\"abc\"}");
    bc_mailer_wake(mailer);
    struct timespec pause = {.tv_nsec = 100000000};
    (void)nanosleep(&pause, NULL);
    assert_int_equal(row_of("verify/1").state, 0);
    assert_int_equal(row_of("verify/1").tries, 0);
    assert_int_equal(unlink(blocked), 0);
    assert_int_equal(wait_ended("verify/1").state, 1);
    bc_mailer_destroy(mailer);
    assert_int_equal(files_in_mail(path), 1);
}

/* Killed between the file and the commit, at that very point: the next process writes the same file, so there is one. */
static void a_kill_between_file_and_commit_leaves_one_file(void **state) {
    (void)state;
    char path[512] = "", reason[BC_CONFIG_REASON_BYTES];
    put("verify/1", BC_MAIL_VERIFY, "reader@example.org", NULL, "{\"token\":\"abc\"}");
    bc_db_close(db);
    db = NULL;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!bc_fault_init("mail.sent=kill", reason)) _exit(2);
        open_db();
        bc_mailer_t *mailer = bc_mailer_create(config, db, NULL, NULL);
        struct timespec pause = {.tv_sec = WAIT_MS / 1000};
        (void)nanosleep(&pause, NULL);
        bc_mailer_destroy(mailer);
        _exit(3);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(files_in_mail(path), 1);
    open_db();
    assert_int_equal(row_of("verify/1").state, 0);
    bc_mailer_t *mailer = bc_mailer_create(config, db, NULL, NULL);
    assert_int_equal(wait_ended("verify/1").state, 1);
    bc_mailer_destroy(mailer);
    assert_int_equal(files_in_mail(path), 1);
}

/* --- settings --- */

static void mail_servers_are_read_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *host;
        int port;
        bool tls, loopback;
    } good[] = {
        {"smtp://mail.example", "mail.example", 25, false, false},
        {"smtp://mail.example:587", "mail.example", 587, false, false},
        {"smtps://mail.example", "mail.example", 465, true, false},
        {"smtp://127.0.0.1:2525", "127.0.0.1", 2525, false, true},
        {"smtp://[::1]:2525", "[::1]", 2525, false, true},
        {"smtp://localhost:1", "localhost", 1, false, true},
        {"smtp://[2001:db8::1]", "[2001:db8::1]", 25, false, false},
    };
    static const char *const bad[] = {
        "",
        "smtp:",
        "smtp://",
        "smtp://:25",
        "http://mail.example",
        "smtp://user:secret@mail.example",
        "smtp://mail.example:",
        "smtp://mail.example:0",
        "smtp://mail.example:65536",
        "smtp://mail.example:25x",
        "smtp://mail.example/x",
        "smtp://mail example",
        "smtp://[::1",
        "smtp://[nonsense]:25",
        "smtp://[::1]x",
        "smtp://mail.example?x=1",
    };
    bc_mail_server_t server;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_null(bc_mail_smtp_parse(good[i].text, &server));
        assert_string_equal(server.host, good[i].host);
        assert_int_equal(server.port, good[i].port);
        assert_int_equal(server.tls, good[i].tls);
        assert_int_equal(server.loopback, good[i].loopback);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (bc_mail_smtp_parse(bad[i], &server) == NULL) fail_msg("took %s", bad[i]);
    }
    bc_config_t *smtp = make_config("BOOKCART_MAIL = smtps://mail.example\nBOOKCART_MAIL_FROM = books@shop.example\n");
    assert_string_equal(bc_config_text(smtp, BC_MAIL_FROM), "books@shop.example");
    bc_config_destroy(smtp);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_mail_is_sent_once_and_wiped),
        CASE(a_mail_that_was_rolled_back_is_none),
        CASE(a_put_is_one_statement),
        CASE(a_refusal_for_now_is_tried_again_with_the_same_id),
        CASE(tries_end),
        CASE(what_is_refused_for_good_is_not_tried_again),
        CASE(a_server_that_is_away_costs_no_try),
        CASE(a_mail_that_cannot_be_written_is_given_up_and_holds_nobody_up),
        CASE(an_address_is_asked_for_when_it_is_needed),
        CASE(who_knows_the_address_may_be_away),
        CASE(a_forgotten_user_gets_no_mail),
        CASE(an_unfit_address_is_not_queued),
        CASE(a_full_queue_refuses_mail_but_not_the_change),
        CASE(a_file_is_whole_and_its_owners),
        CASE(a_folder_that_cannot_be_written_is_waited_for),
        CASE(a_kill_between_file_and_commit_leaves_one_file),
        CASE(mail_servers_are_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
