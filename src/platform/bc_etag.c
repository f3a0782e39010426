#include "platform/bc_etag.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

void bc_etag_of(const void *bytes, size_t length, char etag[BC_ETAG_BYTES]) {
    unsigned char digest[16];
    char hex[2 * sizeof(digest) + 1];
    (void)crypto_generichash(digest, sizeof(digest), bytes, length, NULL, 0); /* always 0 for these sizes */
    (void)sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));           /* returns its first argument */
    (void)snprintf(etag, BC_ETAG_BYTES, "\"%s\"", hex);                       /* fits */
}

bool bc_etag_matches(const char *header, const char *etag) {
    size_t length = strlen(etag);
    const char *at = header + strspn(header, " \t");
    if (*at == '*') return true;
    while (*at != '\0') {
        at += strspn(at, " \t,");
        bool weak = strncmp(at, "W/", 2) == 0;
        if (weak) at += 2;
        if (*at != '"') return false; /* no tag: the rest cannot be read */
        const char *end = strchr(at + 1, '"');
        if (end == NULL) return false;
        if (!weak && (size_t)(end - at) + 1 == length && memcmp(at, etag, length) == 0) return true;
        at = end + 1;
    }
    return false;
}
