#include "services/auth/auth_rules.h"

#include <string.h>

static const char letters_digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* dot-atom of RFC 5322 3.2.3 */
static bool good_local(const char *text, size_t length) {
    static const char atoms[] = "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~.";
    if (length == 0 || length > AUTH_EMAIL_LOCAL_MAX || strspn(text, atoms) < length) return false;
    if (text[0] == '.' || text[length - 1] == '.') return false;
    for (size_t i = 1; i < length; i++) {
        if (text[i] == '.' && text[i - 1] == '.') return false;
    }
    return true;
}

static bool good_domain(const char *text) {
    int labels = 0;
    size_t label = 0;
    for (;; text += label + 1) {
        label = strcspn(text, ".");
        if (label == 0 || label > 63 || text[0] == '-' || text[label - 1] == '-') return false;
        for (size_t i = 0; i < label; i++) {
            if (text[i] != '-' && strchr(letters_digits, text[i]) == NULL) return false;
        }
        labels++;
        if (text[label] == '\0') break;
    }
    /* The last label is never a number: 192.0.2.1 is no domain. */
    return labels >= 2 && strspn(text, "0123456789") < label;
}

bool auth_email_normalise(const char *text, char normal[AUTH_EMAIL_MAX + 1]) {
    char folded[AUTH_EMAIL_MAX + 1] = "";
    size_t length = strlen(text);
    if (length > AUTH_EMAIL_MAX) return false;
    for (size_t i = 0; i <= length; i++) folded[i] = lower(text[i]);
    const char *at = strchr(folded, '@');
    if (at == NULL || !good_local(folded, (size_t)(at - folded)) || !good_domain(at + 1)) return false;
    memcpy(normal, folded, length + 1);
    return true;
}

size_t auth_code_points(const char *text) {
    size_t count = 0;
    for (; *text != '\0'; text++) count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

bool auth_password_acceptable(const char *text) {
    size_t count = auth_code_points(text);
    return count >= AUTH_PASSWORD_MIN && count <= AUTH_PASSWORD_MAX;
}

bool auth_name_acceptable(const char *text) {
    size_t count = auth_code_points(text);
    if (count == 0 || count > AUTH_NAME_MAX || strspn(text, " ") == strlen(text)) return false;
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) return false;
    }
    return true;
}
