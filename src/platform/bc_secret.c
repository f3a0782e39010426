#include "platform/bc_secret.h"

#include "platform/bc_files.h"
#include "platform/bc_log.h"
#include "platform/bc_random.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE_KEY_BYTES 32

bool bc_secret_equal(const char *given, const char *expected) {
    /* Digests first: then lengths need not be equal, and neither they nor a common prefix show in the time. */
    unsigned char a[crypto_generichash_BYTES], b[crypto_generichash_BYTES];
    (void)crypto_generichash(a, sizeof(a), (const unsigned char *)given, strlen(given), NULL, 0); /* cannot fail */
    (void)crypto_generichash(b, sizeof(b), (const unsigned char *)expected, strlen(expected), NULL, 0);
    return sodium_memcmp(a, b, sizeof(a)) == 0;
}

void bc_secret_wipe(void *bytes, size_t length) {
    sodium_memzero(bytes, length);
}

bool bc_secret_load(const char *path, char *text, size_t size) {
    char *bytes = NULL;
    size_t length = 0;
    assert(size > 1);
    if (!bc_files_read(path, BC_SECRET_MAX, &bytes, &length)) return false;
    size_t line = strcspn(bytes, "\r\n");
    bool good = line > 0 && line < size && line <= length;
    if (good) {
        memcpy(text, bytes, line);
        text[line] = '\0';
    } else {
        errno = EINVAL;
    }
    sodium_memzero(bytes, length);
    free(bytes);
    return good;
}

bool bc_secret_service_key(const bc_config_t *config, bool create, char *text, size_t size) {
    const char *given = bc_config_text(config, BC_SERVICE_KEY);
    if (given[0] != '\0') {
        if (strlen(given) >= size) return false;
        memcpy(text, given, strlen(given) + 1);
        return true;
    }
    char path[BC_FILES_PATH_MAX];
    if (!bc_config_path(config, "keys/service.key", path, sizeof(path))) return false;
    if (bc_secret_load(path, text, size)) return true;
    if (errno == ENOENT && create) {
        char drawn[SERVICE_KEY_BYTES * 2];
        bc_random_text(SERVICE_KEY_BYTES, drawn, sizeof(drawn) - 1);
        size_t length = strlen(drawn);
        drawn[length] = '\n';
        bool made = bc_files_create(path, drawn, length + 1, 0600);
        sodium_memzero(drawn, sizeof(drawn));
        /* EEXIST: another service was first, and its key is the one. */
        if ((made || errno == EEXIST) && bc_secret_load(path, text, size)) return true;
    }
    bc_log(BC_LOG_ERROR, "service-key-unreadable", bc_f_text("path", path), bc_f_text("reason", strerror(errno)));
    return false;
}
