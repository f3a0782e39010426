/*
 * Replays a committed corpus through a fuzz target, so that every input that was ever interesting is a unit test.
 * Usage: fuzz_<name> FOLDER. Prints how many inputs ran; fails when there is none.
 */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return -1;
    /* An exact-size heap block: a read one byte past the input is the sanitizer's to report. */
    uint8_t *data = NULL;
    int result = -1;
    long size = -1;
    if (fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        data = malloc(size > 0 ? (size_t)size : 1);
        if (data != NULL && fread(data, 1, (size_t)size, file) == (size_t)size) {
            (void)LLVMFuzzerTestOneInput(data, (size_t)size); /* libFuzzer reserves the value; 0 and -1 both pass */
            result = 0;
        }
    }
    free(data);
    (void)fclose(file); /* read only */
    return result;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    if (folder == NULL) {
        perror(argv[1]);
        return 1;
    }
    int count = 0;
    int failed = 0;
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.') continue;
        char path[4096];
        int length = snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        if (length < 0 || (size_t)length >= sizeof(path) || replay_file(path) != 0) {
            fprintf(stderr, "cannot read %s\n", entry->d_name);
            failed++;
        }
        count++;
    }
    (void)closedir(folder);
    printf("%d inputs replayed, %d unreadable\n", count, failed);
    return count > 0 && failed == 0 ? 0 : 1;
}
