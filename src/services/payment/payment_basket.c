#include "services/payment/payment_basket.h"

#include "platform/bc_client.h"
#include "platform/bc_log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TITLE_MAX    2048 /* bytes that we copy of the library's */
#define QUANTITY_MAX 99   /* of one line, as carts have it */

bool basket_read_version(const bc_request_t *request, bc_reply_t *reply, int64_t *version) {
    const char *text = bc_request_string(request, "cart_version");
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) {
        bc_reply_problem_field(reply, "malformed-request", "cart_version", "invalid", "is not a cart's version");
        return false;
    }
    *version = number;
    return true;
}

void basket_drop(basket_t *basket) {
    json_decref(basket->books);
    basket->books = NULL;
}

/* 200 with an object, which the caller owns; NULL: no such answer. */
static json_t *ask(const payment_t *payment, bc_key_t listen, const char *path) {
    bc_client_t *client = bc_client_create(bc_config_text(payment->config, listen), payment->service_key);
    json_t *answer = NULL;
    int status = 0;
    bool answered = client != NULL &&
                    bc_client_call(client, "GET", path, NULL, PAYMENT_CALL_MS, payment->stopping, &status, &answer);
    bc_client_destroy(client);
    if (answered && status == 200 && json_is_object(answer)) return answer;
    bc_log(BC_LOG_WARN, "no-answer", bc_f_text("from", bc_config_name(listen)), bc_f_int("status", status));
    json_decref(answer);
    return NULL;
}

/* A number, or the text of one: versions are written as text. */
static bool read_int(const json_t *value, int64_t least, int64_t most, int64_t *number) {
    int64_t read = -1;
    if (json_is_integer(value)) {
        read = json_integer_value(value);
    } else if (json_is_string(value)) {
        char *end = NULL;
        errno = 0;
        read = strtoll(json_string_value(value), &end, 10);
        if (json_string_length(value) == 0 || *end != '\0' || errno != 0) return false;
    } else {
        return false;
    }
    if (read < least || read > most) return false;
    *number = read;
    return true;
}

/* Version and lines of the cart, every book once. false: not a cart. */
static bool read_cart(const json_t *cart, basket_t *basket) {
    const json_t *lines = json_object_get(cart, "lines");
    size_t count = json_array_size(lines);
    if (!read_int(json_object_get(cart, "version"), 0, INT64_MAX, &basket->version) || !json_is_array(lines) ||
        count > ORDER_LINES_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *line = json_array_get(lines, i);
        basket_line_t *read = &basket->lines[i];
        if (!read_int(json_object_get(line, "book"), 1, INT64_C(9007199254740991), &read->book) ||
            !read_int(json_object_get(line, "quantity"), 1, QUANTITY_MAX, &read->quantity))
            return false;
        for (size_t k = 0; k < i; k++) {
            if (basket->lines[k].book == read->book) return false;
        }
    }
    basket->count = count;
    return true;
}

static const json_t *find_book(const json_t *items, int64_t book) {
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        if (json_integer_value(json_object_get(item, "id")) == book) return item;
    }
    return NULL;
}

/* Prices and titles into the lines; books that are gone into `missing`. false: the library's answer is none. */
static bool read_books(basket_t *basket, json_t *missing) {
    const json_t *items = json_object_get(basket->books, "items");
    if (!json_is_array(items)) return false;
    for (size_t i = 0; i < basket->count; i++) {
        basket_line_t *line = &basket->lines[i];
        const json_t *item = find_book(items, line->book);
        if (item == NULL || json_is_true(json_object_get(item, "gone"))) {
            json_t *entry = json_pack("{s:I, s:i}", "book", (json_int_t)line->book, "available", 0);
            if (json_array_append_new(missing, entry) != 0) return false;
            continue;
        }
        line->title = json_string_value(json_object_get(item, "title"));
        line->isbn = json_string_value(json_object_get(item, "isbn"));
        if (line->title == NULL || strlen(line->title) > TITLE_MAX ||
            !read_int(json_object_get(item, "price_minor"), 0, INT64_MAX / (2 * QUANTITY_MAX), &line->unit_minor))
            return false;
    }
    return true;
}

static bool fetch_books(payment_t *payment, basket_t *basket, json_t *missing) {
    char path[ORDER_LINES_MAX * 20 + 32];
    int used = snprintf(path, sizeof(path), "/internal/books?ids=");
    for (size_t i = 0; i < basket->count; i++)
        used += snprintf(path + used, sizeof(path) - (size_t)used, "%s%lld", i == 0 ? "" : ",",
                         (long long)basket->lines[i].book);
    assert(used > 0 && (size_t)used < sizeof(path)); /* a book has at most 16 digits */
    basket->books = ask(payment, BC_LIBRARY_INTERNAL, path);
    return basket->books != NULL && read_books(basket, missing);
}

bool basket_fetch(payment_t *payment, const cart_id_t *user, int64_t version, basket_t *basket, bc_reply_t *reply) {
    char path[64], text[CART_ID_CHARS + 1];
    bool good = false;
    json_t *missing = json_array();
    cart_id_format(BC_PREFIX_USER, user, text);
    (void)snprintf(path, sizeof(path), "/internal/carts/%s", text); /* fits */
    json_t *cart = ask(payment, BC_CART_INTERNAL, path);
    bool read = cart != NULL && missing != NULL && read_cart(cart, basket);
    bool wanted = read && basket->version == version && basket->count > 0;
    if (!read || (wanted && !fetch_books(payment, basket, missing))) {
        payment_answer_unavailable(reply);
    } else if (basket->version != version) {
        bc_reply_problem(reply, "cart-changed", "the cart is not the one that was shown; read it again");
    } else if (basket->count == 0) {
        bc_reply_problem_field(reply, "not-acceptable-value", "cart_version", "empty", "the cart is empty");
    } else if (json_array_size(missing) > 0) {
        basket_reply_short(reply, missing);
    } else {
        good = true;
    }
    json_decref(cart);
    json_decref(missing);
    return good;
}

bool basket_price(const payment_t *payment, const basket_t *basket, const char *country, const char *method,
                  basket_price_t *price, bc_reply_t *reply) {
    money_line_t lines[ORDER_LINES_MAX];
    basket_price_t made = {.currency = bc_config_text(payment->config, BC_CURRENCY),
                           .included = bc_config_flag(payment->config, BC_TAX_INCLUDED)};
    made.method_count = bc_shipping_find(bc_config_text(payment->config, BC_SHIPPING), country, made.methods);
    if (made.method_count == 0) {
        bc_reply_problem_field(reply, "not-acceptable-value", "country", "not-delivered",
                               "the shop does not send there");
        return false;
    }
    for (size_t i = 1; i < made.method_count && method == NULL; i++) {
        if (made.methods[i].price_minor < made.methods[made.chosen].price_minor) made.chosen = i;
    }
    while (method != NULL && made.chosen < made.method_count && strcmp(made.methods[made.chosen].id, method) != 0)
        made.chosen++;
    if (made.chosen == made.method_count) {
        bc_reply_problem_field(reply, "not-acceptable-value", "shipping_method", "unknown",
                               "the country has no such method");
        return false;
    }
    made.rate_bp = bc_tax_find(bc_config_text(payment->config, BC_TAX), country);
    assert(made.rate_bp >= 0); /* the settings were judged together */
    for (size_t i = 0; i < basket->count; i++)
        lines[i] = (money_line_t){basket->lines[i].quantity, basket->lines[i].unit_minor};
    if (!money_sum(lines, basket->count, made.methods[made.chosen].price_minor, made.rate_bp, made.included,
                   &made.sum)) {
        bc_reply_problem_field(reply, "not-acceptable-value", "cart_version", "too-much",
                               "costs more than one order may");
        return false;
    }
    *price = made;
    return true;
}

json_t *basket_lines_json(const basket_t *basket, const basket_price_t *price) {
    json_t *list = json_array();
    for (size_t i = 0; i < basket->count && list != NULL; i++) {
        const basket_line_t *line = &basket->lines[i];
        json_t *shown = json_pack("{s:I, s:s, s:s?, s:I, s:o, s:i, s:o}", "book", (json_int_t)line->book, "title",
                                  line->title, "isbn", line->isbn, "quantity", (json_int_t)line->quantity, "unit_price",
                                  money_json(line->unit_minor, price->currency), "tax_rate_bp", price->rate_bp, "total",
                                  money_json(line->unit_minor * line->quantity, price->currency)); /* summed before */
        if (json_array_append_new(list, shown) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

char *basket_lines_text(const basket_t *basket) {
    size_t size = basket->count * 64 + 3, used = 0;
    char *text = malloc(size);
    if (text == NULL) return NULL;
    text[used++] = '[';
    for (size_t i = 0; i < basket->count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s{\"book\":%lld,\"quantity\":%lld}", i == 0 ? "" : ",",
                                 (long long)basket->lines[i].book, (long long)basket->lines[i].quantity);
    assert(used + 2 <= size); /* 16 digits and 2 */
    text[used++] = ']';
    text[used] = '\0';
    return text;
}

void basket_reply_short(bc_reply_t *reply, const json_t *lines) {
    json_t *errors = json_array();
    for (size_t i = 0; i < json_array_size(lines) && errors != NULL; i++) {
        const json_t *line = json_array_get(lines, i);
        json_t *entry = json_pack("{s:s, s:s, s:O, s:O}", "field", "cart_version", "code", "not-enough-stock", "book",
                                  json_object_get(line, "book"), "available", json_object_get(line, "available"));
        if (json_array_append_new(errors, entry) == 0) continue;
        json_decref(errors);
        errors = NULL;
    }
    json_t *parts = json_pack("{s:s, s:o}", "name", "out-of-stock", "errors", errors);
    if (parts != NULL) {
        bc_reply_problem_from(reply, parts);
    } else {
        bc_reply_problem(reply, "out-of-stock", NULL);
    }
    json_decref(parts);
}
