/*
 * A mail as bytes: RFC 5322 headers, one text/plain part in UTF-8. Pure: no clock, no I/O; the same letter gives the same bytes.
 *
 * 1. No value can end its header: control characters never leave it, addresses hold only what the form below allows.
 * 2. Every line has at most 78 characters and ends with CR LF (a long address may take more, far below the 998 that are allowed).
 * 3. Headers and body are ASCII: encoded words (RFC 2047, B), body in quoted-printable or base64, whichever is shorter.
 */
#ifndef BC_MAIL_MESSAGE_H
#define BC_MAIL_MESSAGE_H

#include "platform/bc_problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BC_MAIL_SUBJECT_MAX 200 /* characters shown; a longer subject is cut and ends with … */
#define BC_MAIL_TEXT_MAX    (512 * 1024)
#define BC_MAIL_NAME_CHARS  32 /* of bc_mail_name */

typedef struct {
    const char *from_name;    /* UTF-8, may be empty */
    const char *from_address; /* bc_mail_address_fits */
    const char *to;           /* bc_mail_address_fits */
    const char *name;         /* bc_mail_name of its key: the left part of its Message-ID */
    const char *host;         /* the right part; letters, digits, dots, hyphens */
    bc_language_t language;
    int64_t date_ms;
    const char *subject; /* UTF-8; what cannot stand in a header becomes a blank */
    const char *text;    /* UTF-8, lines end with \n */
} bc_mail_letter_t;      /* everything borrowed */

/* The caller frees *bytes. false: no memory, or a text beyond BC_MAIL_TEXT_MAX; both unchanged. Addresses that do not fit are
 * our mistake: asserted. */
bool bc_mail_compose(const bc_mail_letter_t *letter, char **bytes, size_t *length);

/* One address as SMTP and a header can carry it: ASCII dot-atom, @, a host name or [literal], 254 bytes at most. */
bool bc_mail_address_fits(const char *text);

/* 128 bits of SHA-256 over the key, in hex: the same for every try of one mail, and tells nothing of the key. */
void bc_mail_name(const char *key, char name[BC_MAIL_NAME_CHARS + 1]);

/* Copies UTF-8 for people to read: invalid bytes become U+FFFD; control characters (line ends too), direction marks and line
 * separators a blank. At most chars_max characters, then …. Errors stay in `out`. */
void bc_mail_put_plain(FILE *out, const char *text, size_t chars_max);

#endif
