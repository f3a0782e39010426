/* What this service asks of others: whether a book or an order is there, and where a user's mail goes. Answers are outside input. */
#include "platform/bc_client.h"
#include "platform/bc_log.h"
#include "services/question/question_service.h"

#include <stdio.h>
#include <string.h>

enum { part_timeout_ms = 3000 };

/* The answer to a GET, with its status; 0: there was none. The caller owns it; NULL: none that is JSON. */
static json_t *ask(const question_t *question, bc_key_t listen, const char *path, int *status) {
    json_t *answer = NULL;
    *status = 0;
    bc_client_t *client = bc_client_create(bc_config_text(question->config, listen), question->service_key);
    if (client == NULL ||
        !bc_client_call(client, "GET", path, NULL, part_timeout_ms, question->stopping, status, &answer)) {
        *status = 0;
    }
    bc_client_destroy(client);
    if (*status != 200 && *status != 404) {
        bc_log(BC_LOG_WARN, "part-away", bc_f_text("listener", bc_config_name(listen)), bc_f_int("status", *status));
    }
    return answer;
}

question_part_t question_part_book(const question_t *question, int64_t book) {
    char path[64];
    int status = 0;
    (void)snprintf(path, sizeof(path), "/internal/books?ids=%lld", (long long)book); /* fits */
    json_t *answer = ask(question, BC_LIBRARY_INTERNAL, path, &status);
    const json_t *items = json_object_get(answer, "items");
    question_part_t part = QUESTION_PART_AWAY;
    if (status == 200 && json_is_array(items)) {
        const json_t *first = json_array_get(items, 0);
        bool there = json_integer_value(json_object_get(first, "id")) == book;
        part = there && json_is_false(json_object_get(first, "gone")) ? QUESTION_PART_YES : QUESTION_PART_NO;
    }
    json_decref(answer);
    return part;
}

question_part_t question_part_order(const question_t *question, const cart_id_t *order, const cart_id_t *user) {
    char path[64], id[CART_ID_CHARS + 1], owner[CART_ID_CHARS + 1];
    int status = 0;
    cart_id_format(QUESTION_ORDER_PREFIX, order, id);
    cart_id_format(BC_PREFIX_USER, user, owner);
    (void)snprintf(path, sizeof(path), "/internal/orders/%s", id); /* fits */
    json_t *answer = ask(question, BC_PAYMENT_INTERNAL, path, &status);
    const char *whose = json_string_value(json_object_get(answer, "user"));
    question_part_t part = QUESTION_PART_AWAY;
    if (status == 404) part = QUESTION_PART_NO;
    if (status == 200 && whose != NULL) part = strcmp(whose, owner) == 0 ? QUESTION_PART_YES : QUESTION_PART_NO;
    json_decref(answer);
    return part;
}

static bc_language_t language_of(const char *tag) {
    for (int i = 0; tag != NULL && i < BC_LANGUAGE_COUNT; i++) {
        if (strcmp(bc_language_tag((bc_language_t)i), tag) == 0) return (bc_language_t)i;
    }
    return BC_EN;
}

bc_mail_found_t question_part_address(void *context, const cart_id_t *user, char address[BC_MAIL_ADDRESS_MAX + 1],
                                      bc_language_t *language) {
    const question_t *question = context;
    char path[64], id[CART_ID_CHARS + 1];
    int status = 0;
    cart_id_format(BC_PREFIX_USER, user, id);
    (void)snprintf(path, sizeof(path), "/internal/users/%s", id); /* fits */
    json_t *answer = ask(question, BC_AUTH_INTERNAL, path, &status);
    const char *email = json_string_value(json_object_get(answer, "email"));
    bc_mail_found_t found = BC_MAIL_LATER;
    if (status == 404) found = BC_MAIL_NOBODY;
    if (status == 200 && answer != NULL) {
        bool closed = json_is_true(json_object_get(answer, "closed"));
        found = closed || email == NULL || strlen(email) > BC_MAIL_ADDRESS_MAX ? BC_MAIL_NOBODY : BC_MAIL_FOUND;
    }
    if (found == BC_MAIL_FOUND) {
        (void)snprintf(address, BC_MAIL_ADDRESS_MAX + 1, "%s", email); /* checked to fit */
        *language = language_of(json_string_value(json_object_get(answer, "language")));
    }
    json_decref(answer);
    return found;
}
