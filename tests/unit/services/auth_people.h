/* People for tests of accounts: who registers, signs in, reads his mail; and a second pair of eyes on the tables. Beside auth_harness.h. */
#ifndef AUTH_PEOPLE_H
#define AUTH_PEOPLE_H

#include "auth_harness.h"

#include <dirent.h>
#include <sqlite3.h>

#define PASSWORD "correct horse"

typedef struct {
    char token[2048], refresh[256], id[40];
} person_t;

static inline person_t person_of(answer_t *answer, int status) {
    person_t person;
    assert_int_equal(answer->status, status);
    (void)snprintf(person.token, sizeof(person.token), "%s", member(answer, "access_token"));
    (void)snprintf(person.refresh, sizeof(person.refresh), "%s", member(answer, "refresh_token"));
    (void)snprintf(person.id, sizeof(person.id), "%s", member(answer, "user.id"));
    drop(answer);
    return person;
}

static inline person_t registered(const char *email) {
    answer_t answer = post("/api/v1/auth/register", NULL, registration(email));
    return person_of(&answer, 201);
}

static inline person_t signed_in(const char *email, const char *password) {
    answer_t answer = post("/api/v1/auth/login", NULL, credentials(email, password));
    return person_of(&answer, 200);
}

static inline person_t administrator(const char *email) {
    answer_t made =
        call_with(BC_AUTH_INTERNAL, "POST", "/internal/admins", service_key(), NULL, credentials(email, PASSWORD));
    expect(made, 204, NULL);
    return signed_in(email, PASSWORD);
}

static inline answer_t patch(const char *path, const char *token, json_t *body) {
    return call_with(BC_AUTH_LISTEN, "PATCH", path, token, NULL, body);
}

static inline answer_t refreshed(const person_t *person) {
    return post("/api/v1/auth/refresh", NULL, json_pack("{s:s}", "refresh_token", person->refresh));
}

/* Runs one statement on the service's file, beside the running service; the first column of its first row, or 0. */
static inline int64_t sql(const char *text) {
    char path[128];
    sqlite3 *file = NULL;
    sqlite3_stmt *statement = NULL;
    (void)snprintf(path, sizeof(path), "%s/auth.db", data_folder);
    assert_int_equal(sqlite3_open(path, &file), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(file, 5000), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(file, text, -1, &statement, NULL), SQLITE_OK);
    int result = sqlite3_step(statement);
    assert_true(result == SQLITE_ROW || result == SQLITE_DONE);
    int64_t value = result == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    sqlite3_close(file);
    return value;
}

static inline int events_of(const char *type) {
    char text[128];
    (void)snprintf(text, sizeof(text), "SELECT COUNT(*) FROM outbox WHERE type = '%s'", type);
    return (int)sql(text);
}

/* Quoted-printable, in place. */
static inline void unquote(char *text) {
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        unsigned value = 0;
        if (*in == '=' && in[1] == '\r' && in[2] == '\n') {
            in += 2;
        } else if (*in == '=' && sscanf(in + 1, "%2x", &value) == 1) {
            *out++ = (char)value;
            in += 2;
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
}

/* The text of the one mail to `address` that holds `sign`; waits for it. The caller frees it; the file is removed. */
static inline char *take_mail(const char *address, const char *sign) {
    char folder[128], to[300];
    (void)snprintf(folder, sizeof(folder), "%s/mail", data_folder);
    (void)snprintf(to, sizeof(to), "To: <%s>", address);
    for (int i = 0; i < 2000; i++, usleep(5000)) {
        DIR *files = opendir(folder);
        for (struct dirent *entry; files != NULL && (entry = readdir(files)) != NULL;) {
            char path[512];
            size_t length = strlen(entry->d_name);
            if (length < 4 || strcmp(entry->d_name + length - 4, ".eml") != 0) continue;
            (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            FILE *file = fopen(path, "r");
            char *text = calloc(1, 65536);
            assert_non_null(file);
            assert_non_null(text);
            assert_true(fread(text, 1, 65535, file) > 0);
            fclose(file);
            unquote(text);
            if (strstr(text, to) != NULL && strstr(text, sign) != NULL) {
                assert_int_equal(remove(path), 0);
                closedir(files);
                return text;
            }
            free(text);
        }
        if (files != NULL) closedir(files);
    }
    fail_msg("no mail to %s with %s", address, sign);
    return NULL;
}

/* The token behind `sign` ("/account/reset#token=") in a mail to `address`. */
static inline void take_token(const char *address, const char *sign, char token[128]) {
    char *text = take_mail(address, sign);
    (void)snprintf(token, 128, "%s", strstr(text, sign) + strlen(sign));
    token[strcspn(token, " \r\n")] = '\0';
    assert_int_equal(strlen(token), 47);
    free(text);
}

#define RESET_SIGN  "/account/reset#token="
#define VERIFY_SIGN "/account/verify#token="

#endif
