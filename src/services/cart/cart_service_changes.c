/*
 * POST /internal/carts/{user}/changes: another service changes a cart, all or none, with the edge's words for changes. The caller's `id`
 * makes the request id, so that the same id again counts once (for as long as a cart remembers keys: CART_RECENT_KEEP_S).
 */
#include "services/cart/cart_service_state.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>

#define ID_CHARS_MAX 64
#define RETRY_MS     1000

/* Length first: no two lists of parts give the same bytes. */
static void add_part(crypto_generichash_state *state, const void *bytes, size_t length) {
    uint64_t size = length;
    (void)crypto_generichash_update(state, (const unsigned char *)&size, sizeof(size)); /* cannot fail; so the others */
    (void)crypto_generichash_update(state, bytes, length);
}

void cart_service_request_ids(cart_request_t *request, const char *id) {
    crypto_generichash_state state;
    static const char purpose[] = "a service's change of a cart"; /* never the id of an edge's request */
    (void)crypto_generichash_init(&state, NULL, 0, CART_REQUEST_BYTES);
    add_part(&state, purpose, sizeof(purpose) - 1);
    add_part(&state, request->user.bytes, sizeof(request->user.bytes));
    add_part(&state, id, strlen(id));
    (void)crypto_generichash_final(&state, request->request_id, CART_REQUEST_BYTES);
    request->keyed = true;

    uint8_t digest[16];
    (void)crypto_generichash_init(&state, NULL, 0, sizeof(digest));
    for (unsigned i = 0; i < request->change_count; i++) {
        const cart_change_t *change = &request->changes[i];
        uint64_t parts[] = {change->op, change->book, (uint64_t)(int64_t)change->quantity};
        add_part(&state, parts, sizeof(parts));
    }
    (void)crypto_generichash_final(&state, digest, sizeof(digest));
    memcpy(&request->digest, digest, sizeof(request->digest));
}

/* NULL, or what is wrong with it. */
static const char *read_change(const json_t *json, cart_change_t *change) {
    static const struct {
        const char *word;
        cart_op_t op;
    } ops[] = {{"add", CART_ADD}, {"set", CART_SET}, {"remove", CART_REMOVE}, {"clear", CART_CLEAR}};
    const char *word = json_string_value(json_object_get(json, "op"));
    const json_t *book = json_object_get(json, "book"), *quantity = json_object_get(json, "quantity");
    *change = (cart_change_t){.op = 0};
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]) && word != NULL; i++)
        if (strcmp(word, ops[i].word) == 0) change->op = (uint8_t)ops[i].op;
    if (change->op == 0) return "op is add, set, remove or clear";
    bool has_book = change->op != CART_CLEAR, has_quantity = change->op == CART_ADD || change->op == CART_SET;
    if (json_is_integer(book) != has_book || json_is_integer(quantity) != has_quantity ||
        json_object_size(json) != 1u + has_book + has_quantity)
        return "book and quantity are whole numbers, where the op has them";
    if (has_book && (json_integer_value(book) < 1 || (uint64_t)json_integer_value(book) > CART_BOOK_MAX))
        return "there is no such book";
    json_int_t least = change->op == CART_SET ? 0 : -CART_QUANTITY_MAX, most = CART_QUANTITY_MAX;
    json_int_t number = json_integer_value(quantity); /* 0 when it is not there */
    if (number < least || number > most || (change->op == CART_ADD && number == 0))
        return "the quantity is out of range";
    change->book = (uint64_t)json_integer_value(book);
    change->quantity = (int32_t)number;
    return NULL;
}

/* false: a problem was set. */
static bool read_body(const bc_request_t *http, bc_reply_t *reply, cart_request_t *request) {
    const char *id = bc_request_string(http, "id");
    const json_t *changes = json_object_get(bc_request_body(http), "changes");
    size_t count = json_array_size(changes);
    if (id[0] == '\0' || strlen(id) > ID_CHARS_MAX) {
        bc_reply_problem_field(reply, "malformed-request", "id", "bad-length", "1 to 64 bytes");
        return false;
    }
    if (count < 1 || count > CART_CHANGES_MAX) {
        bc_reply_problem_field(reply, "malformed-request", "changes", "bad-length", "1 to 100 changes");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const char *fault = read_change(json_array_get(changes, i), &request->changes[i]);
        if (fault == NULL) continue;
        char field[32];
        (void)snprintf(field, sizeof(field), "changes[%zu]", i); /* 100 at most */
        bc_reply_problem_field(reply, "malformed-request", field, "bad-change", fault);
        return false;
    }
    request->change_count = (uint16_t)count;
    cart_service_request_ids(request, id);
    assert(cart_request_check(request));
    return true;
}

static void answer(bc_reply_t *reply, const cart_request_t *request, const cart_verdict_t *verdict,
                   const cart_image_t *image) {
    switch ((cart_outcome_t)verdict->outcome) {
    case CART_APPLIED:
    case CART_REPEATED:
        bc_reply_json(reply, 200, cart_service_image_json(&request->user, image));
        return;
    case CART_KEY_REUSED:
        bc_reply_problem(reply, "idempotency-key-reused", NULL);
        return;
    case CART_SESSION_ENDED:
        bc_reply_problem(reply, "conflict", "the cart has been merged into another");
        return;
    case CART_LINE_LIMIT:
    case CART_QUANTITY_LIMIT:
        bc_reply_problem_field(reply, "not-acceptable-value", "changes",
                               verdict->outcome == CART_LINE_LIMIT ? "line-limit" : "quantity-limit", NULL);
        return;
    case CART_REFUSED:
        bc_reply_problem(reply, "unavailable", cart_service_reason(verdict));
        bc_reply_retry_after(reply, RETRY_MS);
        return;
    case CART_VERSION_MISMATCH: /* there is no condition, and every book is known */
    case CART_UNKNOWN_BOOK:
        break;
    }
    assert(!"an outcome that a service's change cannot have");
}

void cart_service_handle_changes(bc_request_t *http, bc_reply_t *reply, void *context) {
    cart_service_t *service = context;
    cart_request_t request = {.condition = CART_IF_NONE};
    const char *text = bc_request_part(http, "user");
    if (!cart_id_parse("usr_", text, strlen(text), &request.user) || cart_id_is_none(&request.user)) {
        bc_reply_not_found(reply);
        return;
    }
    if (!read_body(http, reply, &request)) return;
    cart_verdict_t verdict;
    cart_image_t image;
    (void)cart_service_change(service, &request, &verdict, &image); /* the verdict says it too */
    answer(reply, &request, &verdict, &image);
}
