#include "services/payment/payment_copies.h"

#include "services/payment/payment_store_orders.h"

#include <stdio.h>

#define BOOK_MAX     9007199254740991LL
#define QUANTITY_MAX 99

static bool refuse(bc_reply_t *reply, const char *problem, const char *field, size_t at, const char *code) {
    char place[64];
    (void)snprintf(place, sizeof(place), "%s[%zu]", field, at); /* a literal and a number */
    bc_reply_problem_field(reply, problem, place, code, NULL);
    return false;
}

bool payment_copies_read(bc_reply_t *reply, const char *field, const json_t *list, size_t least, char **text) {
    size_t count = json_array_size(list);
    if (count < least || count > ORDER_LINES_MAX) {
        bc_reply_problem_field(reply, "not-acceptable-value", field, "count", NULL);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *line = json_array_get(list, i), *book = json_object_get(line, "book"),
                     *quantity = json_object_get(line, "quantity");
        if (!json_is_integer(book) || !json_is_integer(quantity) || json_object_size(line) != 2)
            return refuse(reply, "malformed-request", field, i, "wrong-kind");
        if (json_integer_value(book) < 1 || json_integer_value(book) > BOOK_MAX || json_integer_value(quantity) < 1 ||
            json_integer_value(quantity) > QUANTITY_MAX)
            return refuse(reply, "not-acceptable-value", field, i, "range");
        for (size_t k = 0; k < i; k++) {
            if (json_equal(json_object_get(json_array_get(list, k), "book"), book) == 1)
                return refuse(reply, "not-acceptable-value", field, i, "repeated");
        }
    }
    *text = json_dumps(list, JSON_COMPACT);
    if (*text == NULL) bc_reply_problem(reply, "internal-error", NULL);
    return *text != NULL;
}
