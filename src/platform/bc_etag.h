/* Entity tags of answers (RFC 9110 8.8.3): made from bytes, and compared as If-Match asks. If-None-Match is bc_reply_etag's. */
#ifndef BC_ETAG_H
#define BC_ETAG_H

#include <stdbool.h>
#include <stddef.h>

#define BC_ETAG_BYTES 40 /* with quotes and zero */

/* The strong tag of any bytes. */
void bc_etag_of(const void *bytes, size_t length, char etag[BC_ETAG_BYTES]);
/* If-Match (RFC 9110 13.1.1): strong comparison, lists and `*`. */
bool bc_etag_matches(const char *header, const char *etag);

#endif
