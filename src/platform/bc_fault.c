#include "platform/bc_fault.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char name[BC_FAULT_NAME_MAX + 1];
    bool kills;
    long at; /* which passage; 0: every one */
    atomic_long passed;
} fault_t;

static fault_t faults[BC_FAULTS_MAX];
static size_t fault_count; /* written before threads */
static char armed_folder[BC_FAULT_PATH_MAX + 1];

static bool refuse(char *reason, const char *what, const char *text, size_t length) {
    (void)snprintf(reason, BC_CONFIG_REASON_BYTES, "BOOKCART_FAULTS: \"%.*s\": %s", (int)length, text, what);
    return false;
}

/* "name=kill@3" */
static bool read_one(const char *text, size_t length, fault_t *fault, char *reason) {
    const char *equals = memchr(text, '=', length);
    size_t name = equals == NULL ? 0 : (size_t)(equals - text);
    if (name == 0 || name > BC_FAULT_NAME_MAX)
        return refuse(reason, "POINT=kill or POINT=fail, @N behind it", text, length);
    memcpy(fault->name, text, name);
    fault->name[name] = '\0';
    const char *action = equals + 1;
    size_t left = length - name - 1, word = left;
    const char *at = memchr(action, '@', left);
    fault->at = 1;
    if (at != NULL) {
        word = (size_t)(at - action);
        size_t digits = left - word - 1;
        if (digits == 1 && at[1] == '*') {
            fault->at = 0;
        } else {
            if (digits == 0 || digits > 6 || strspn(at + 1, "0123456789") < digits)
                return refuse(reason, "@N is a number or *", text, length);
            fault->at = strtol(at + 1, NULL, 10);
            if (fault->at == 0) return refuse(reason, "passages are counted from 1", text, length);
        }
    }
    if (word != 4 || (memcmp(action, "kill", 4) != 0 && memcmp(action, "fail", 4) != 0))
        return refuse(reason, "kill or fail", text, length);
    fault->kills = action[0] == 'k';
    return true;
}

bool bc_fault_init(const char *setting, char reason[BC_CONFIG_REASON_BYTES]) {
    fault_count = 0;
    armed_folder[0] = '\0';
    for (const char *at = setting; *(at += strspn(at, ", \t")) != '\0';) {
        size_t length = strcspn(at, ", \t");
        if (strncmp(at, "armed:/", 7) == 0) {
            if (length - 6 > BC_FAULT_PATH_MAX) return refuse(reason, "too long a folder", at, length);
            memcpy(armed_folder, at + 6, length - 6);
            armed_folder[length - 6] = '\0';
            at += length;
            continue;
        }
        if (fault_count == BC_FAULTS_MAX) return refuse(reason, "too many points", at, length);
        fault_t *fault = &faults[fault_count];
        if (!read_one(at, length, fault, reason)) return false;
        atomic_store(&fault->passed, 0);
        fault_count++;
        at += length;
    }
    return true;
}

static void die(void) {
    (void)kill(getpid(), SIGKILL); /* cannot fail on ourselves */
    for (;;) (void)pause();        /* until it arrives */
}

/* Whoever removes the file has passed the point; the others have not. */
static bool is_armed(const char *name) {
    char path[BC_FAULT_PATH_MAX + BC_FAULT_NAME_MAX + 2], word[8] = "";
    (void)snprintf(path, sizeof(path), "%s/%s", armed_folder, name); /* fits: both have their maxima */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t length = read(fd, word, sizeof(word) - 1);
    (void)close(fd);
    if (length <= 0 || unlink(path) != 0) return false;
    if (strncmp(word, "kill", 4) == 0) die();
    return strncmp(word, "fail", 4) == 0;
}

bool bc_fault(const char *name) {
    assert(strlen(name) <= BC_FAULT_NAME_MAX);
    if (armed_folder[0] != '\0' && is_armed(name)) return true;
    for (size_t i = 0; i < fault_count; i++) {
        fault_t *fault = &faults[i];
        if (strcmp(fault->name, name) != 0) continue;
        long passage = atomic_fetch_add(&fault->passed, 1) + 1;
        if (fault->at != 0 && passage != fault->at) continue;
        if (!fault->kills) return true;
        die();
    }
    return false;
}
