#include "store_test.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

static const files_t *files;

static void opens_creates_and_refuses(void **state) {
    (void)state;
    char folder[64], path[128];
    test_folder(folder);
    (void)snprintf(path, sizeof(path), "%s/a", folder);
    assert_int_equal(files->open(NULL, path, 0, 0), -ENOENT);
    int file = files->open(NULL, path, 1, 1);
    assert_true(file >= 0);
    assert_int_equal(files->open(NULL, path, 1, 1), -EEXIST);
    assert_int_equal(files->close(NULL, file), 0);
    assert_int_equal(files->make_folder(NULL, folder), -EEXIST);
    assert_int_equal(files->unlink(NULL, path), 0);
    assert_int_equal(files->unlink(NULL, path), -ENOENT);
    test_remove_folder(folder);
}

static void reads_back_what_was_written_and_zeros_where_only_allocated(void **state) {
    (void)state;
    char folder[64], path[128], other[128];
    test_folder(folder);
    (void)snprintf(path, sizeof(path), "%s/a", folder);
    (void)snprintf(other, sizeof(other), "%s/b", folder);
    int file = files->open(NULL, path, 1, 0);
    assert_true(file >= 0);
    assert_int_equal(files->allocate(NULL, file, 100000), 0);
    assert_int_equal(files->size(NULL, file), 100000);
    assert_int_equal(files->pwrite(NULL, file, "hello", 5, 99990), 5);
    char bytes[16] = "xxxxxxxxxxxxxxx";
    assert_int_equal(files->pread(NULL, file, bytes, 16, 99988), 12);
    assert_memory_equal(bytes, "\0\0hello\0\0\0\0\0", 12);
    assert_int_equal(files->sync_data(NULL, file), 0);
    assert_int_equal(files->sync_all(NULL, file), 0);
    assert_int_equal(files->truncate(NULL, file, 3), 0);
    assert_int_equal(files->size(NULL, file), 3);
    assert_int_equal(files->close(NULL, file), 0);
    assert_int_equal(files->rename(NULL, path, other), 0);
    assert_int_equal(files->sync_folder(NULL, folder), 0);
    assert_int_equal(files->sync_folder(NULL, other), -ENOTDIR);
    test_remove_folder(folder);
}

static void count_entry(void *context, const char *name) {
    unsigned *count = context;
    assert_string_not_equal(name, ".");
    assert_string_not_equal(name, "..");
    (*count)++;
}

static void lists_a_folder(void **state) {
    (void)state;
    char folder[64], path[128];
    unsigned count = 0;
    test_folder(folder);
    for (int i = 0; i < 5; i++) {
        (void)snprintf(path, sizeof(path), "%s/%d", folder, i);
        assert_int_equal(files->make_folder(NULL, path), 0);
    }
    assert_int_equal(files->list(NULL, folder, count_entry, &count), 0);
    assert_int_equal(count, 5);
    assert_int_equal(files->list(NULL, "/nowhere/at/all", count_entry, &count), -ENOENT);
    test_remove_folder(folder);
}

static void a_lock_waits_for_its_holder_to_die(void **state) {
    (void)state;
    char folder[64], path[128], byte;
    int holds[2];
    test_folder(folder);
    (void)snprintf(path, sizeof(path), "%s/lock", folder);
    assert_int_equal(pipe(holds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (files->lock(NULL, path, 0) < 0) _exit(1);
        if (write(holds[1], "l", 1) != 1) _exit(1);
        (void)pause(); /* until killed: the kernel unlocks */
        _exit(2);
    }
    assert_int_equal(read(holds[0], &byte, 1), 1);
    assert_int_equal(files->lock(NULL, path, 0), -EWOULDBLOCK);
    pid_t killer = fork();
    assert_true(killer >= 0);
    if (killer == 0) {
        (void)kill(child, SIGKILL);
        _exit(0);
    }
    int lock = files->lock(NULL, path, 1);
    assert_true(lock >= 0);
    int how;
    assert_int_equal(waitpid(killer, &how, 0), killer);
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    assert_int_equal(files->close(NULL, lock), 0);
    (void)close(holds[0]);
    (void)close(holds[1]);
    test_remove_folder(folder);
}

int main(void) {
    files = files_posix();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_creates_and_refuses),
        cmocka_unit_test(reads_back_what_was_written_and_zeros_where_only_allocated),
        cmocka_unit_test(lists_a_folder),
        cmocka_unit_test(a_lock_waits_for_its_holder_to_die),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
