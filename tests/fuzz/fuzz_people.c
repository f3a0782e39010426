/* Any text as what people type: addresses, names, passwords, a browser's name. What is accepted must be of the form it promises. */
#include "services/auth/auth_agent.h"
#include "services/auth/auth_rules.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char normal[AUTH_EMAIL_MAX + 1] = "", again[AUTH_EMAIL_MAX + 1] = "", prefix[AUTH_EMAIL_MAX + 1];
    char agent[AUTH_AGENT_BYTES], browser[AUTH_AGENT_BYTES], system[AUTH_AGENT_BYTES];
    char *text = malloc(size + 1); /* of its very size: reading past the zero is seen */
    if (text == NULL) return 0;
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    if (auth_email_normalise(text, normal)) {
        const char *at = strchr(normal, '@');
        check(at != NULL && at > normal && strchr(at + 1, '@') == NULL && strchr(at, '.') != NULL);
        for (const char *c = normal; *c != '\0'; c++) check(*c > ' ' && *c < 0x7f && !(*c >= 'A' && *c <= 'Z'));
        check(auth_email_normalise(normal, again) && strcmp(normal, again) == 0); /* one spelling */
        check(auth_email_prefix(normal, prefix) && strcmp(prefix, normal) == 0);
    }
    if (auth_name_acceptable(text)) check(auth_code_points(text) <= AUTH_NAME_MAX && strchr(text, '\n') == NULL);
    if (auth_about_acceptable(text)) check(auth_code_points(text) <= AUTH_ABOUT_MAX);
    if (auth_password_acceptable(text)) check(auth_code_points(text) >= AUTH_PASSWORD_MIN);
    auth_agent_name(text, agent);
    auth_agent_halves(agent, browser, system);
    check(strlen(browser) > 2 && strlen(system) > 2);
    auth_agent_halves(text, browser, system);
    check(strlen(browser) < AUTH_AGENT_BYTES && strlen(system) < AUTH_AGENT_BYTES);
    free(text);
    return 0;
}
