/* What auth accepts as e-mail address, password and name. Pure: text in, verdict out. */
#ifndef AUTH_RULES_H
#define AUTH_RULES_H

#include <stdbool.h>
#include <stddef.h>

#define AUTH_EMAIL_MAX       254 /* bytes (RFC 5321 4.5.3.1) */
#define AUTH_EMAIL_LOCAL_MAX 64
#define AUTH_PASSWORD_MIN    8 /* Unicode code points */
#define AUTH_PASSWORD_MAX    200
#define AUTH_NAME_MAX        100 /* Unicode code points */
#define AUTH_ABOUT_MAX       1000

/* The address in the one spelling it is stored and compared in: ASCII, lower case throughout (nobody runs two mailboxes that differ
 * in case, and an account must not be doubled by it). A dot-atom local part in ASCII, and a domain of two labels or more; a domain in other
 * letters, in whatever Unicode form and case, becomes its A-labels (IDNA2008 with UTS 46, not transitional). Anything else, quoted local
 * parts and address literals too, is refused. false: *normal unchanged. `text` is valid UTF-8. */
bool auth_email_normalise(const char *text, char normal[AUTH_EMAIL_MAX + 1]);

/* Code points of valid UTF-8. */
size_t auth_code_points(const char *text);
bool auth_password_acceptable(const char *text); /* AUTH_PASSWORD_MIN…MAX code points of whatever kind */
bool auth_name_acceptable(const char *text); /* 1…AUTH_NAME_MAX code points, no control characters, not only blanks */
bool auth_about_acceptable(
    const char *text); /* 0…AUTH_ABOUT_MAX code points, no control characters but line ends and tabs */
bool auth_language_known(const char *text); /* "en", "fr", "bg" */
/* Lower case of what an address may begin with, for a search; false: no address begins so. */
bool auth_email_prefix(const char *text, char prefix[AUTH_EMAIL_MAX + 1]);

#endif
