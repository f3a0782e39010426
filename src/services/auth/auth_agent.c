#include "services/auth/auth_agent.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    const char *sign, *word;
} sign_t;

/* In this order: most browsers also claim to be those further down. */
static const sign_t browsers[] = {
    {"Edg", "edge"},       {"OPR/", "opera"},     {"SamsungBrowser/", "samsung"}, {"Firefox/", "firefox"},
    {"FxiOS/", "firefox"}, {"Chrome/", "chrome"}, {"CriOS/", "chrome"},           {"Safari/", "safari"},
    {"curl/", "curl"},     {NULL, "other"},
};
static const sign_t systems[] = {
    {"Android", "android"}, {"iPhone", "ios"},    {"iPad", "ios"},    {"Windows", "windows"},
    {"Macintosh", "macos"}, {"CrOS", "chromeos"}, {"Linux", "linux"}, {NULL, "other"},
};

static const char *word_of(const sign_t *signs, const char *text) {
    while (signs->sign != NULL && strstr(text, signs->sign) == NULL) signs++;
    return signs->word;
}

void auth_agent_name(const char *user_agent, char name[AUTH_AGENT_BYTES]) {
    const char *text = user_agent == NULL ? "" : user_agent;
    (void)snprintf(name, AUTH_AGENT_BYTES, "%s/%s", word_of(browsers, text),
                   word_of(systems, text)); /* words are short */
}

void auth_agent_halves(const char *name, char browser[AUTH_AGENT_BYTES], char system[AUTH_AGENT_BYTES]) {
    size_t length = strcspn(name, "/");
    bool whole = length > 0 && length < AUTH_AGENT_BYTES - 1 && name[length] == '/';
    (void)snprintf(browser, AUTH_AGENT_BYTES, "%.*s", whole ? (int)length : 5, whole ? name : "other");
    (void)snprintf(system, AUTH_AGENT_BYTES, "%s", whole ? name + length + 1 : "other");
}
