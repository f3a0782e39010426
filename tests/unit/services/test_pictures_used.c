/* What the services' tables say of pictures: who refers to one. A wrong "nobody" here would let a sweep take a picture that shows. */
#include "platform/bc_log.h"
#include "platform/bc_random.h"
#include "services/auth/auth_store.h"
#include "services/library/library_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BOOKS_A "/media/books/00000000000000000000000000000000/large.webp"
#define BOOKS_B "/media/books/11111111111111111111111111111111/large.webp"
#define USERS_A "/media/users/22222222222222222222222222222222/large.webp"

static char folder[64], path[96];
static library_store_t *store;
static bc_db_t *db;

static int set_up(void **state) {
    (void)state;
    bc_log_init("test", BC_LOG_ALERT + 1);
    (void)snprintf(folder, sizeof(folder), "/tmp/bookcart-used-XXXXXX");
    if (mkdtemp(folder) == NULL || !bc_random_init()) return -1;
    (void)snprintf(path, sizeof(path), "%s/test.db", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[128];
    library_store_close(store);
    bc_db_close(db);
    store = NULL;
    db = NULL;
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) == 0 ? 0 : -1;
}

static void import_book(int64_t id, const char *cover_url, int64_t price_minor) {
    const library_book_t book = {
        .id = id, .title = "Emma", .cover_url = cover_url, .has_price = true, .price_minor = price_minor};
    library_imported_t result;
    assert_int_equal(library_store_import(store, &book, 1, 1000, &result), LIBRARY_OK);
}

static bool refer(int64_t id, library_picture_t which, const char *url) {
    bool changed = false;
    assert_int_equal(bc_db_begin(library_store_db(store)), BC_DB_OK);
    assert_int_equal(library_store_picture_inside(store, id, which, url, 2000, &changed), LIBRARY_OK);
    assert_int_equal(bc_db_commit(library_store_db(store)), BC_DB_OK);
    return changed;
}

static bool book_uses(const char *url) {
    bool used = false;
    assert_int_equal(library_store_uses_picture(store, url, &used), LIBRARY_OK);
    return used;
}

typedef struct {
    char cover[128], banner[128];
    uint64_t position;
} seen_t;

static bool see(void *context, const library_row_t *row) {
    seen_t *seen = context;
    (void)snprintf(seen->cover, sizeof(seen->cover), "%s", row->cover_url == NULL ? "" : row->cover_url);
    (void)snprintf(seen->banner, sizeof(seen->banner), "%s", row->banner_url == NULL ? "" : row->banner_url);
    seen->position = row->position;
    return true;
}

static seen_t look(int64_t id) {
    seen_t seen = {.position = 0};
    assert_int_equal(library_store_get(store, id, see, &seen), LIBRARY_OK);
    return seen;
}

static void open_library(void) {
    assert_int_equal(bc_db_open(path, library_migrations, &db), BC_DB_OK);
    store = library_store_open(db, "fts5:");
    assert_non_null(store);
}

static void covers_and_banners_are_references(void **state) {
    (void)state;
    open_library();
    import_book(1, NULL, 100);
    import_book(2, NULL, 100);
    assert_false(book_uses(BOOKS_A));
    assert_true(refer(1, LIBRARY_COVER, BOOKS_A));
    assert_true(refer(2, LIBRARY_BANNER, BOOKS_B));
    assert_true(book_uses(BOOKS_A));
    assert_true(book_uses(BOOKS_B));
    assert_true(refer(1, LIBRARY_COVER, BOOKS_B)); /* shared from now on */
    assert_false(book_uses(BOOKS_A));
    assert_true(refer(2, LIBRARY_BANNER, BOOKS_A));
    assert_true(book_uses(BOOKS_B));
}

static void the_same_reference_is_no_change(void **state) {
    (void)state;
    open_library();
    import_book(1, NULL, 100);
    assert_true(refer(1, LIBRARY_COVER, BOOKS_A));
    uint64_t position = look(1).position;
    assert_false(refer(1, LIBRARY_COVER, BOOKS_A));
    assert_true(look(1).position == position);
    assert_true(refer(1, LIBRARY_BANNER, BOOKS_A));
    assert_true(look(1).position > position);
    assert_false(refer(99, LIBRARY_COVER, BOOKS_A)); /* never was */
}

static void a_deleted_book_keeps_its_pictures_and_takes_no_other(void **state) {
    (void)state;
    library_hidden_t hidden;
    open_library();
    import_book(1, NULL, 100);
    assert_true(refer(1, LIBRARY_COVER, BOOKS_A));
    assert_int_equal(bc_db_begin(library_store_db(store)), BC_DB_OK);
    assert_int_equal(library_store_hide_inside(store, 1, 3000, &hidden), LIBRARY_OK);
    assert_int_equal(bc_db_commit(library_store_db(store)), BC_DB_OK);
    assert_true(book_uses(BOOKS_A)); /* carts and orders still show it */
    assert_false(refer(1, LIBRARY_COVER, BOOKS_B));
    assert_false(book_uses(BOOKS_B));
}

static void an_import_replaces_addresses_elsewhere_only(void **state) {
    (void)state;
    open_library();
    import_book(1, "https://covers.example/1.jpg", 100);
    import_book(1, "https://covers.example/2.jpg", 101);
    assert_string_equal(look(1).cover, "https://covers.example/2.jpg");
    assert_true(refer(1, LIBRARY_COVER, BOOKS_A));
    assert_true(refer(1, LIBRARY_BANNER, BOOKS_B));
    import_book(1, "https://covers.example/3.jpg", 102);
    import_book(1, NULL, 103);
    assert_string_equal(look(1).cover, BOOKS_A);
    assert_string_equal(look(1).banner, BOOKS_B);
}

static void a_customers_picture_goes_with_him(void **state) {
    (void)state;
    auth_user_t user = {.id = bc_random_id(),
                        .kind = BC_KIND_CUSTOMER,
                        .email = "a@b.example",
                        .password_hash = "hash"},
                read;
    assert_int_equal(bc_db_open(path, auth_migrations, &db), BC_DB_OK);
    assert_int_equal(bc_db_begin(db), BC_DB_OK);
    assert_int_equal(auth_store_put_customer(db, &user, 1000), BC_DB_DONE);
    assert_true(auth_store_user(db, &user.id, &read));
    assert_string_equal(read.picture_url, "");
    assert_false(auth_store_uses_picture(db, USERS_A));
    assert_true(auth_store_set_picture(db, &user.id, USERS_A, 2000));
    assert_true(auth_store_uses_picture(db, USERS_A));
    assert_true(auth_store_user(db, &user.id, &read));
    assert_string_equal(read.picture_url, USERS_A);
    assert_true(auth_store_erase(db, &read, 2, 3000));
    assert_false(auth_store_uses_picture(db, USERS_A));
    assert_false(auth_store_set_picture(db, &user.id, USERS_A, 4000));
    assert_int_equal(bc_db_commit(db), BC_DB_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(covers_and_banners_are_references),
        CASE(the_same_reference_is_no_change),
        CASE(a_deleted_book_keeps_its_pictures_and_takes_no_other),
        CASE(an_import_replaces_addresses_elsewhere_only),
        CASE(a_customers_picture_goes_with_him),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
