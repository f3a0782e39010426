#include "services/auth/auth_rules.h"

#include "platform/bc_problem.h"

#include <idn2.h>
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

static bool is_ascii(const char *text) {
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text >= 0x80) return false;
    }
    return true;
}

/* A domain in other letters as its A-labels; *size is of `folded`. false: it has none. */
static bool fold_domain(const char *domain, char *folded, size_t size) {
    uint8_t *found = NULL;
    if (idn2_lookup_u8((const uint8_t *)domain, &found, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK) return false;
    size_t length = strlen((const char *)found);
    bool fits = length < size;
    if (fits) memcpy(folded, found, length + 1);
    idn2_free(found);
    return fits;
}

bool auth_email_normalise(const char *text, char normal[AUTH_EMAIL_MAX + 1]) {
    char folded[AUTH_EMAIL_MAX + 1] = "";
    const char *at = strchr(text, '@');
    if (at == NULL || at - text > AUTH_EMAIL_LOCAL_MAX || strlen(at) > AUTH_EMAIL_MAX) return false;
    size_t local = (size_t)(at - text);
    memcpy(folded, text, local + 1);
    if (is_ascii(at + 1)) {
        if (local + strlen(at) > AUTH_EMAIL_MAX) return false;
        memcpy(folded + local, at, strlen(at) + 1);
    } else if (!fold_domain(at + 1, folded + local + 1, sizeof(folded) - local - 1)) {
        return false;
    }
    for (char *c = folded; *c != '\0'; c++) *c = lower(*c);
    if (!good_local(folded, local) || !good_domain(folded + local + 1)) return false;
    memcpy(normal, folded, strlen(folded) + 1);
    return true;
}

bool auth_email_prefix(const char *text, char prefix[AUTH_EMAIL_MAX + 1]) {
    size_t length = strlen(text);
    if (length == 0 || length > AUTH_EMAIL_MAX) return false;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f) return false;
    }
    for (size_t i = 0; i <= length; i++) prefix[i] = lower(text[i]);
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

bool auth_about_acceptable(const char *text) {
    if (auth_code_points(text) > AUTH_ABOUT_MAX) return false;
    for (; *text != '\0'; text++) {
        if (((unsigned char)*text < 0x20 && strchr("\n\r\t", *text) == NULL) || *text == 0x7f) return false;
    }
    return true;
}

bool auth_language_known(const char *text) {
    for (int i = 0; i < BC_LANGUAGE_COUNT; i++) {
        if (strcmp(text, bc_language_tag((bc_language_t)i)) == 0) return true;
    }
    return false;
}
