/* Durable files, locks, secrets, log lines, clocks: the small things everything stands on. */
#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_metrics.h"
#include "platform/bc_random.h"
#include "platform/bc_secret.h"
#include "platform/bc_time.h"

#include <errno.h>
#include <ftw.h>
#include <jansson.h>
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

static char folder[64];

static int remove_entry(const char *path, const struct stat *found, int kind, struct FTW *walk) {
    (void)found;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int set_up(void **state) {
    (void)state;
    bc_log_init("test", BC_LOG_ALERT + 1);
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-files-XXXXXX");
    return bc_random_init() && mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *in_folder(const char *name) {
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void a_file_is_replaced_whole_with_its_mode(void **state) {
    (void)state;
    char *bytes = NULL;
    size_t length = 0;
    struct stat found;
    mode_t kept = umask(077);
    assert_true(bc_files_replace(in_folder("a"), "old", 3, 0600));
    assert_true(bc_files_replace(in_folder("a"), "new\0er", 6, 0644));
    (void)umask(kept);
    assert_true(bc_files_read(in_folder("a"), 6, &bytes, &length));
    assert_int_equal(length, 6);
    assert_memory_equal(bytes, "new\0er", 7);
    free(bytes);
    assert_int_equal(stat(in_folder("a"), &found), 0);
    assert_int_equal(found.st_mode & 0777, 0644);
    assert_false(bc_files_read(in_folder("a"), 5, &bytes, &length));
    assert_int_equal(errno, EFBIG);
    assert_false(bc_files_replace(in_folder("nowhere/a"), "x", 1, 0600));
    assert_false(bc_files_create(in_folder("a"), "x", 1, 0600));
    assert_int_equal(errno, EEXIST);
    assert_true(bc_files_create(in_folder("b"), "x", 1, 0600));
    /* Nothing temporary stays behind, neither after success nor after refusal. */
    assert_int_equal(unlink(in_folder("a")) | unlink(in_folder("b")), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_true(bc_files_make_folders(in_folder("deep/er"), 0700));
    assert_true(bc_files_make_folders(in_folder("deep/er"), 0700));
    assert_true(bc_files_create(in_folder("deep/file"), "x", 1, 0600));
    assert_false(bc_files_make_folders(in_folder("deep/file"), 0700));
}

static void a_lock_waits_for_its_holder_to_end(void **state) {
    (void)state;
    int ready[2], go[2];
    char byte = 0;
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t holder = fork();
    assert_true(holder >= 0);
    if (holder == 0) {
        int fd = bc_files_lock_try(in_folder("lock"));
        _exit(fd >= 0 && write(ready[1], "x", 1) == 1 && read(go[0], &byte, 1) == 1 ? 0 : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(bc_files_lock_try(in_folder("lock")), -1);
    assert_int_equal(errno, EWOULDBLOCK);
    volatile bool stop = true;
    assert_int_equal(bc_files_lock_wait(in_folder("lock"), &stop), -1);
    assert_int_equal(errno, EINTR);
    assert_int_equal(write(go[1], "x", 1), 1);
    int fd = bc_files_lock_wait(in_folder("lock"), NULL); /* the holder's end frees it */
    assert_true(fd >= 0);
    int status = 1;
    assert_int_equal(waitpid(holder, &status, 0), holder);
    assert_int_equal(status, 0);
    for (int i = 0; i < 2; i++) close(ready[i]), close(go[i]);
    close(fd);
}

static void secrets_are_compared_and_loaded_strictly(void **state) {
    (void)state;
    char text[8] = "kept";
    assert_true(bc_secret_equal("sesame", "sesame"));
    assert_false(bc_secret_equal("sesam", "sesame"));
    assert_false(bc_secret_equal("", "sesame"));
    assert_true(bc_files_replace(in_folder("s"), "1234567\nmore", 12, 0600));
    assert_true(bc_secret_load(in_folder("s"), text, sizeof(text)));
    assert_string_equal(text, "1234567");
    assert_true(bc_files_replace(in_folder("s"), "12345678\n", 9, 0600));
    assert_false(bc_secret_load(in_folder("s"), text, sizeof(text)));
    assert_true(bc_files_replace(in_folder("s"), "\n", 1, 0600));
    assert_false(bc_secret_load(in_folder("s"), text, sizeof(text)));
    assert_false(bc_secret_load(in_folder("none"), text, sizeof(text)));
    assert_string_equal(text, "1234567");
}

/* What is written to standard error while `log_some` runs. */
static char *logged(void (*log_some)(void)) {
    static char page[1 << 20];
    FILE *kept = tmpfile();
    int error = dup(STDERR_FILENO);
    assert_non_null(kept);
    (void)dup2(fileno(kept), STDERR_FILENO);
    bc_log_init("test", BC_LOG_INFO);
    log_some();
    bc_log_init("test", BC_LOG_ALERT + 1);
    (void)dup2(error, STDERR_FILENO);
    close(error);
    rewind(kept);
    page[fread(page, 1, sizeof(page) - 1, kept)] = '\0';
    fclose(kept);
    return page;
}

static void log_nasty(void) {
    static char text[BC_LOG_LINE_MAX * 2];
    memset(text, '"', sizeof(text) - 1);
    bc_log_set_request("abc");
    bc_log(BC_LOG_WARN, "nasty", bc_f_text("text", "a\"b\\c\nd\xff\xc3\xa9"), bc_f_int("number", INT64_MIN),
           bc_f_text("none", NULL));
    bc_log_set_request(NULL);
    bc_log(BC_LOG_WARN, "long", bc_f_text("text", text), bc_f_text("after", "x"));
    bc_log(BC_LOG_DEBUG, "quiet");
}

static void every_line_is_whole_json(void **state) {
    (void)state;
    char *page = logged(log_nasty), *line;
    int lines = 0;
    while ((line = strsep(&page, "\n")) != NULL && *line != '\0') {
        json_error_t error;
        json_t *parsed = json_loads(line, JSON_REJECT_DUPLICATES, &error);
        if (parsed == NULL) fail_msg("%s: %s", error.text, line);
        assert_string_equal(json_string_value(json_object_get(parsed, "service")), "test");
        if (lines == 0) assert_string_equal(json_string_value(json_object_get(parsed, "request_id")), "abc");
        if (lines == 1) assert_null(json_object_get(parsed, "request_id"));
        assert_true(strlen(line) < BC_LOG_LINE_MAX);
        json_decref(parsed);
        lines++;
    }
    assert_int_equal(lines, 2);
}

static void log_often(void) {
    for (int i = 0; i < BC_LOG_BURST * 5; i++) bc_log(BC_LOG_ERROR, "often", bc_f_int("i", i));
    bc_log(BC_LOG_ERROR, "rare");
}

static void repeats_are_held_back_but_not_others(void **state) {
    (void)state;
    int often = 0;
    char *page = logged(log_often);
    for (char *at = page; (at = strstr(at, "\"event\":\"often\"")) != NULL; at++) often++;
    assert_int_equal(often, BC_LOG_BURST);
    assert_non_null(strstr(page, "\"event\":\"rare\""));
}

static void times_are_rfc_3339(void **state) {
    (void)state;
    char text[BC_TIME_TEXT_BYTES];
    bc_time_format(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00Z");
    bc_time_format(1769853600123, text);
    assert_string_equal(text, "2026-01-31T10:00:00.123Z");
}

static bc_metric_t one = BC_METRIC("test_total{kind=\"a\"}", "Help", "counter");
static bc_metric_t two = BC_METRIC("test_total{kind=\"b\"}", "Help", "counter");

static void metrics_of_a_family_share_their_head(void **state) {
    (void)state;
    bc_metric_add(&one, 3);
    bc_metric_add(&two, 4);
    char *page = bc_metrics_page();
    assert_non_null(page);
    const char *head = strstr(page, "# TYPE test_total counter\n");
    assert_non_null(head);
    assert_null(strstr(head + 1, "# TYPE test_total"));
    assert_non_null(strstr(page, "test_total{kind=\"a\"} 3\n"));
    assert_non_null(strstr(page, "test_total{kind=\"b\"} 4\n"));
    free(page);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_file_is_replaced_whole_with_its_mode),   CASE(a_lock_waits_for_its_holder_to_end),
        CASE(secrets_are_compared_and_loaded_strictly), CASE(every_line_is_whole_json),
        CASE(repeats_are_held_back_but_not_others),     CASE(times_are_rfc_3339),
        CASE(metrics_of_a_family_share_their_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
