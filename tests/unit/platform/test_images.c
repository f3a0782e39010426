/* Pictures in the data folder: whole or not at all, the same one once, and what a sweep may take. */
#include "platform/bc_images_host.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME  "0123456789abcdef0123456789abcdef"
#define OTHER "fedcba9876543210fedcba9876543210"

static char folder[64];
static bc_config_t *config;
static bc_images_host_t *host;

static uint8_t some_bytes[3] = {'a', 'b', 'c'};
static const bc_picture_t picture = {.versions = {{3, 3, some_bytes, 3}, {2, 2, some_bytes, 2}, {1, 1, some_bytes, 1}}};

static int set_up(void **state) {
    (void)state;
    char text[128], reason[BC_CONFIG_REASON_BYTES];
    bc_log_init("test", BC_LOG_ALERT + 1);
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-images-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_true(bc_random_init());
    int length = snprintf(text, sizeof(text), "BOOKCART_DATA = %s\n", folder);
    config = bc_config_create();
    assert_true(bc_config_read_text(config, "test", text, (size_t)length, reason) && bc_config_finish(config, reason));
    host = bc_images_files_create(config, "books");
    assert_non_null(host);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[128];
    host->destroy(host);
    bc_config_destroy(config);
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    return 0;
}

/* Entries of DATA/media/books, beginnings too. */
static int entries(void) {
    char path[96];
    int count = 0;
    (void)snprintf(path, sizeof(path), "%s/media/books", folder);
    DIR *all = opendir(path);
    if (all == NULL) return 0;
    for (const struct dirent *entry = readdir(all); entry != NULL; entry = readdir(all)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) count++;
    }
    assert_int_equal(closedir(all), 0);
    return count;
}

static long size_of(const char *name, const char *version) {
    char path[160];
    struct stat found;
    (void)snprintf(path, sizeof(path), "%s/media/books/%s/%s.webp", folder, name, version);
    return stat(path, &found) == 0 ? (long)found.st_size : -1;
}

static void grow_old(const char *name) {
    char path[128];
    const struct timespec long_ago[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    (void)snprintf(path, sizeof(path), "%s/media/books/%s", folder, name);
    assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
}

static void a_picture_is_there_with_all_its_versions(void **state) {
    (void)state;
    char url[BC_IMAGES_URL_MAX];
    assert_false(host->touch(host, NAME));
    assert_true(host->store(host, NAME, &picture));
    assert_true(host->touch(host, NAME));
    assert_int_equal(size_of(NAME, "large"), 3);
    assert_int_equal(size_of(NAME, "medium"), 2);
    assert_int_equal(size_of(NAME, "small"), 1);
    host->address(host, NAME, url);
    assert_string_equal(url, "/media/books/" NAME "/large.webp");
    assert_true(host->store(host, NAME, &picture)); /* again: the same one */
    assert_int_equal(entries(), 1);
}

static void addresses_are_told_from_others(void **state) {
    (void)state;
    static const char *const others[] = {
        "",
        "/media/books/",
        "/media/books/" NAME "/small.webp",
        "/media/books/" NAME "0/large.webp",
        "/media/users/" NAME "/large.webp",
        "/media/books/" NAME "/large.webp?x",
        "/media/books/../" NAME "/large.webp",
        "https://elsewhere.example/media/books/" NAME "/large.webp",
        "/media/books/0123456789ABCDEF0123456789abcdef/large.webp",
    };
    assert_true(bc_images_is_address("/media/books/" NAME "/large.webp", "books"));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (bc_images_is_address(others[i], "books")) fail_msg("took %s", others[i]);
    }
}

/* A disk that takes no more: nothing is left but what a sweep finds, and no half picture is ever shown. */
static void a_full_disk_leaves_no_half_picture(void **state) {
    (void)state;
    struct rlimit kept, none;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &kept), 0);
    none = kept;
    none.rlim_cur = 2; /* the large version has three bytes */
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    bool stored = host->store(host, NAME, &picture);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &kept), 0);
    assert_false(stored);
    assert_false(host->touch(host, NAME));
    assert_int_equal(entries(), 0);
}

static bc_images_used_t says;
static int asked;

static bc_images_used_t is_used(void *context, const char *url) {
    assert_ptr_equal(context, &says);
    assert_true(bc_images_is_address(url, "books"));
    asked++;
    return says;
}

static void a_sweep_takes_what_is_old_and_unused(void **state) {
    (void)state;
    assert_int_equal(host->sweep(host, 0, is_used, &says), 0); /* no folder yet */
    assert_true(host->store(host, NAME, &picture));
    asked = 0;
    says = BC_IMAGES_UNUSED;
    assert_int_equal(host->sweep(host, BC_IMAGES_KEPT_MS, is_used, &says), 0); /* young */
    assert_int_equal(asked, 0);
    grow_old(NAME);
    says = BC_IMAGES_USED;
    assert_int_equal(host->sweep(host, BC_IMAGES_KEPT_MS, is_used, &says), 0);
    says = BC_IMAGES_USED_UNKNOWN;
    assert_int_equal(host->sweep(host, BC_IMAGES_KEPT_MS, is_used, &says), 0);
    assert_int_equal(asked, 2);
    assert_int_equal(size_of(NAME, "large"), 3);
    says = BC_IMAGES_UNUSED;
    assert_int_equal(host->sweep(host, BC_IMAGES_KEPT_MS, is_used, &says), 1);
    assert_int_equal(entries(), 0);
    assert_false(host->touch(host, NAME));
}

static void a_picture_sent_again_is_young_again(void **state) {
    (void)state;
    assert_true(host->store(host, NAME, &picture));
    assert_true(host->store(host, OTHER, &picture));
    grow_old(NAME);
    grow_old(OTHER);
    assert_true(host->touch(host, NAME));
    says = BC_IMAGES_UNUSED;
    assert_int_equal(host->sweep(host, BC_IMAGES_KEPT_MS, is_used, &says), 1);
    assert_int_equal(size_of(NAME, "large"), 3);
    assert_int_equal(size_of(OTHER, "large"), -1);
}

static void a_sweep_takes_beginnings_and_leaves_strangers(void **state) {
    (void)state;
    char path[128];
    assert_true(host->store(host, NAME, &picture));
    (void)snprintf(path, sizeof(path), "%s/media/books/.left-by-a-kill", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/media/books/somebody-elses", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    grow_old(".left-by-a-kill");
    grow_old("somebody-elses");
    says = BC_IMAGES_UNUSED;
    assert_int_equal(host->sweep(host, BC_IMAGES_KEPT_MS, is_used, &says), 0); /* counted are pictures */
    assert_int_equal(entries(), 2);
}

static void *store_often(void *argument) {
    (void)argument;
    for (int i = 0; i < 100; i++) {
        if (!host->store(host, NAME, &picture)) return host;
        if (!host->touch(host, NAME)) return host;
    }
    return NULL;
}

/* Whoever touches or stores refers to it afterwards: a sweep in between may not take it, as it is young then. */
static void a_sweep_beside_storing_takes_nothing(void **state) {
    (void)state;
    pthread_t threads[3];
    void *failed = NULL;
    says = BC_IMAGES_UNUSED;
    assert_true(host->store(host, NAME, &picture));
    for (size_t i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, store_often, NULL), 0);
    for (int i = 0; i < 200; i++) assert_int_equal(host->sweep(host, 60000, is_used, &says), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(entries(), 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_picture_is_there_with_all_its_versions), CASE(addresses_are_told_from_others),
        CASE(a_full_disk_leaves_no_half_picture),       CASE(a_sweep_takes_what_is_old_and_unused),
        CASE(a_picture_sent_again_is_young_again),      CASE(a_sweep_takes_beginnings_and_leaves_strangers),
        CASE(a_sweep_beside_storing_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
