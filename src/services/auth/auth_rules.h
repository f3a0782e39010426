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

/* The address in the one spelling it is stored and compared in: ASCII, lower case throughout (nobody runs two mailboxes that differ
 * in case, and an account must not be doubled by it). A dot-atom local part and a domain of two labels or more; anything else, quoted
 * local parts and address literals too, is refused. false: *normal unchanged. */
bool auth_email_normalise(const char *text, char normal[AUTH_EMAIL_MAX + 1]);

/* Code points of valid UTF-8. */
size_t auth_code_points(const char *text);
bool auth_password_acceptable(const char *text); /* AUTH_PASSWORD_MIN…MAX code points of whatever kind */
bool auth_name_acceptable(const char *text); /* 1…AUTH_NAME_MAX code points, no control characters, not only blanks */

#endif
