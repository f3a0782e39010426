/* Bodies of changes: what is read, what is refused, and where it says the fault is. */
#include "unit/edge/edge_test.h"

#include "edge/edge_body.h"

typedef struct {
    edge_body_shape_t shape;
    const char *body;
    const char *code; /* NULL: good */
    const char *field;
    int offset; /* −1: not looked at */
} case_t;

static const case_t cases[] = {
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":2}", NULL, NULL, 0},
    {EDGE_BODY_LINE, " {\"quantity\" : -99 , \"book\":9007199254740991}\r\n\t", NULL, NULL, 0},
    {EDGE_BODY_LINE, "{\"b\\u006fok\":7,\"quantity\":2}", NULL, NULL, 0},
    {EDGE_BODY_LINE, "", "empty", "", 0},
    {EDGE_BODY_LINE, "  ", "empty", "", 0},
    {EDGE_BODY_LINE, "[]", "type", "", 0},
    {EDGE_BODY_LINE, "nonsense", "type", "", 0}, /* begins like null */
    {EDGE_BODY_LINE, "xyz", "syntax", "", 0},
    {EDGE_BODY_LINE, "{\"book\":7", "truncated", "", 9},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":1}x", "trailing", "", 23},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":1,}", "syntax", "", 23},
    {EDGE_BODY_LINE, "{\"book\":7}", "missing", "quantity", 0},
    {EDGE_BODY_LINE, "{\"quantity\":1}", "missing", "book", 0},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":1,\"colour\":1}", "unknown-field", "colour", 32},
    {EDGE_BODY_LINE, "{\"book\":7,\"book\":7,\"quantity\":1}", "duplicate-field", "book", 17},
    {EDGE_BODY_LINE, "{\"book\":7,\"b\\u006Fok\":7,\"quantity\":1}", "duplicate-field", "book", 22},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":1.5}", "fraction", "quantity", 22},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":1e1}", "exponent", "quantity", 22},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":1E1}", "exponent", "quantity", 22},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":01}", "number", "quantity", 22},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":-}", "number", "quantity", 22},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":9223372036854775808}", "overflow", "quantity", 21},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":18446744073709551617}", "overflow", "quantity", 21},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":\"1\"}", "type", "quantity", 21},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":null}", "type", "quantity", 21},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":[1]}", "type", "quantity", 21},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":0}", "zero", "quantity", 21},
    {EDGE_BODY_LINE, "{\"book\":7,\"quantity\":100}", "range", "quantity", 21},
    {EDGE_BODY_LINE, "{\"book\":0,\"quantity\":1}", "range", "book", 8},
    {EDGE_BODY_LINE, "{\"book\":-1,\"quantity\":1}", "range", "book", 8},
    {EDGE_BODY_LINE, "{\"book\":9007199254740992,\"quantity\":1}", "range", "book", 8},
    {EDGE_BODY_LINE, "{\"op\":\"add\",\"book\":7,\"quantity\":1}", "unknown-field", "op", 6},
    {EDGE_BODY_LINE, "{\"b\xffook\":7,\"quantity\":1}", "utf-8", "", 3},
    {EDGE_BODY_LINE, "{\"b\xc0\xafok\":7,\"quantity\":1}", "utf-8", "", 3},
    {EDGE_BODY_LINE, "{\"\xed\xa0\x80\":7,\"quantity\":1}", "utf-8", "", 2},
    {EDGE_BODY_LINE, "{\"\xf4\x90\x80\x80\":7,\"quantity\":1}", "utf-8", "", 2},
    {EDGE_BODY_LINE, "{\"\\ud800\":7,\"quantity\":1}", "escape", "", 2},
    {EDGE_BODY_LINE, "{\"\\udc00\":7,\"quantity\":1}", "escape", "", 2},
    {EDGE_BODY_LINE, "{\"\\x\":7,\"quantity\":1}", "escape", "", 2},
    {EDGE_BODY_LINE, "{\"a\nb\":7,\"quantity\":1}", "control-character", "", 3},
    {EDGE_BODY_LINE, "\xef\xbb\xbf{\"book\":7,\"quantity\":1}", "syntax", "", 0},
    {EDGE_BODY_QUANTITY_ONLY, "{\"quantity\":0}", NULL, NULL, 0},
    {EDGE_BODY_QUANTITY_ONLY, "{\"quantity\":99}", NULL, NULL, 0},
    {EDGE_BODY_QUANTITY_ONLY, "{\"quantity\":-1}", "range", "quantity", 12},
    {EDGE_BODY_QUANTITY_ONLY, "{\"book\":7,\"quantity\":1}", "unknown-field", "book", 8},
    {EDGE_BODY_QUANTITY_ONLY, "{}", "missing", "quantity", 0},
    {EDGE_BODY_CHANGES, "{\"changes\":[{\"op\":\"add\",\"book\":7,\"quantity\":1}]}", NULL, NULL, 0},
    {EDGE_BODY_CHANGES, "{\"changes\":[{\"op\":\"remove\",\"book\":7},{\"op\":\"set\",\"book\":8,\"quantity\":0}]}",
     NULL, NULL, 0},
    {EDGE_BODY_CHANGES, "{}", "missing", "changes", 0},
    {EDGE_BODY_CHANGES, "{\"changes\":[]}", "count", "changes", 11},
    {EDGE_BODY_CHANGES, "{\"changes\":{}}", "type", "changes", 11},
    {EDGE_BODY_CHANGES, "{\"changes\":[7]}", "type", "changes[0].", 12},
    {EDGE_BODY_CHANGES, "{\"changes\":[{\"op\":\"take\",\"book\":7,\"quantity\":1}]}", "op", "changes[0].op", 18},
    {EDGE_BODY_CHANGES, "{\"changes\":[{\"op\":\"take-it-all-away\",\"book\":7}]}", "op", "changes[0].op", 18},
    {EDGE_BODY_CHANGES, "{\"changes\":[{\"op\":\"remove\",\"book\":7,\"quantity\":1}]}", "unknown-field",
     "changes[0].quantity", -1},
    {EDGE_BODY_CHANGES, "{\"changes\":[{\"op\":\"add\",\"book\":7}]}", "missing", "changes[0].quantity", 12},
    {EDGE_BODY_CHANGES,
     "{\"changes\":[{\"op\":\"add\",\"book\":7,\"quantity\":1},{\"op\":\"set\",\"book\":7,\"quantity\":1.0}]}",
     "fraction", "changes[1].quantity", -1},
    {EDGE_BODY_CHANGES, "{\"changes\":[],\"changes\":[]}", "count", "changes", 11},
    {EDGE_BODY_CHANGES, "{\"changes\":[{\"op\":\"add\",\"book\":7,\"quantity\":1} {}]}", "syntax", "changes", -1},
};

static void test_every_fault_says_what_and_where(void **state) {
    (void)state;
    guard_t guard;
    guard_open(&guard, EDGE_BODY_BYTES_MAX);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const case_t *c = &cases[i];
        cart_change_t changes[CART_CHANGES_MAX];
        uint16_t count = 0;
        edge_body_error_t error;
        size_t length = strlen(c->body);
        bool good = edge_body_parse(c->shape, 5, guard_put(&guard, c->body, length), length, changes, &count, &error);
        if (good != (c->code == NULL)) fail_msg("%s: %s", c->body, good ? "taken" : edge_body_code(&error));
        if (good) continue;
        if (strcmp(edge_body_code(&error), c->code) != 0)
            fail_msg("%s: %s, not %s", c->body, edge_body_code(&error), c->code);
        assert_string_equal(error.field, c->field);
        if (c->offset >= 0 && error.offset != (size_t)c->offset) fail_msg("%s: at %zu", c->body, error.offset);
        assert_true(strlen(edge_body_detail(&error)) > 0);
    }
    guard_close(&guard);
}

static void test_values_arrive(void **state) {
    (void)state;
    static const char body[] =
        "{\"changes\":[{\"quantity\":-3,\"op\":\"add\",\"book\":7},{\"op\":\"set\",\"book\":8,\"quantity\":99},"
        "{\"book\":9,\"op\":\"remove\"}]}";
    cart_change_t changes[CART_CHANGES_MAX];
    uint16_t count = 0;
    edge_body_error_t error;
    assert_true(edge_body_parse(EDGE_BODY_CHANGES, 0, body, sizeof(body) - 1, changes, &count, &error));
    assert_int_equal(count, 3);
    assert_true(changes[0].op == CART_ADD && changes[0].book == 7 && changes[0].quantity == -3);
    assert_true(changes[1].op == CART_SET && changes[1].book == 8 && changes[1].quantity == 99);
    assert_true(changes[2].op == CART_REMOVE && changes[2].book == 9 && changes[2].quantity == 0);
    assert_true(edge_body_parse(EDGE_BODY_QUANTITY_ONLY, 5, "{\"quantity\":4}", 14, changes, &count, &error));
    assert_true(count == 1 && changes[0].op == CART_SET && changes[0].book == 5 && changes[0].quantity == 4);
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    static const char body[] =
        "{\"changes\":[{\"op\":\"add\",\"book\":7,\"quantity\":1},{\"op\":\"remo\\u0076e\",\"book\":8}]}";
    guard_t guard;
    guard_open(&guard, sizeof(body));
    for (size_t length = 0; length < sizeof(body) - 1; length++) {
        cart_change_t changes[CART_CHANGES_MAX];
        uint16_t count = 0;
        edge_body_error_t error;
        assert_false(
            edge_body_parse(EDGE_BODY_CHANGES, 0, guard_put(&guard, body, length), length, changes, &count, &error));
        assert_true(error.offset <= length);
    }
    guard_close(&guard);
}

static void test_a_hundred_changes_and_no_more(void **state) {
    (void)state;
    char body[EDGE_BODY_BYTES_MAX];
    for (unsigned want = CART_CHANGES_MAX; want <= CART_CHANGES_MAX + 1; want++) {
        size_t length = (size_t)snprintf(body, sizeof(body), "{\"changes\":[");
        for (unsigned i = 0; i < want; i++) {
            length += (size_t)snprintf(body + length, sizeof(body) - length,
                                       "%s{\"op\":\"add\",\"book\":%u,\"quantity\":1}", i == 0 ? "" : ",", i + 1);
        }
        length += (size_t)snprintf(body + length, sizeof(body) - length, "]}");
        cart_change_t changes[CART_CHANGES_MAX];
        uint16_t count = 0;
        edge_body_error_t error;
        bool good = edge_body_parse(EDGE_BODY_CHANGES, 0, body, length, changes, &count, &error);
        assert_int_equal(good, want == CART_CHANGES_MAX);
        if (good)
            assert_int_equal(count, CART_CHANGES_MAX);
        else
            assert_string_equal(edge_body_code(&error), "count");
    }
}

static void test_depth_is_bounded(void **state) {
    (void)state;
    char text[256];
    for (unsigned depth = EDGE_JSON_DEPTH_MAX; depth <= EDGE_JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        edge_json_t json;
        edge_json_begin(&json, text, (size_t)2 * depth);
        assert_int_equal(edge_json_skip(&json), depth == EDGE_JSON_DEPTH_MAX);
        if (depth > EDGE_JSON_DEPTH_MAX) assert_int_equal(json.fault, EDGE_JSON_DEPTH);
    }
}

static void test_skip_takes_json_and_nothing_else(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } texts[] = {{"null", true},         {"true", true},
                 {"nul", false},         {"truex", false},
                 {"-0.5e+10", true},     {"1.", false},
                 {".5", false},          {"1e", false},
                 {"00", false},          {"\"\\ud83d\\ude00\"", true},
                 {"\"\\ud83d\"", false}, {"{\"a\":[1,{}]}", true},
                 {"{\"a\"}", false},     {"{,}", false},
                 {"[1,]", false},        {"[,1]", false},
                 {"[1 2]", false},       {"{\"a\":1 \"b\":2}", false},
                 {"[[],[],{}]", true},   {"{1:2}", false}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        edge_json_t json;
        edge_json_begin(&json, texts[i].text, strlen(texts[i].text));
        bool good = edge_json_skip(&json) && edge_json_end(&json);
        if (good != texts[i].good) fail_msg("%s", texts[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_fault_says_what_and_where),
        cmocka_unit_test(test_values_arrive),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_a_hundred_changes_and_no_more),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_skip_takes_json_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
