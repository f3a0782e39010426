/* The book replica and the revocation list: order, full lists, room, readers beside writers, writers that die. */
#include "unit/edge/edge_test.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "edge/edge_books.h"
#include "edge/edge_revoked.h"

#define BOOKS_BYTES   EDGE_BOOKS_BYTES_MIN
#define REVOKED_BYTES EDGE_REVOKED_BYTES_MIN

static edge_books_t new_books(void) {
    edge_books_t books = {.locks = TEST_LOCKS};
    assert_true(edge_books_init(&books, test_shared(BOOKS_BYTES), BOOKS_BYTES));
    return books;
}

static edge_book_found_t look(edge_books_t *books, uint64_t id, edge_book_t *book) {
    char text[EDGE_BOOKS_TEXT_MAX];
    return edge_books_read(books, id, book, text, sizeof(text));
}

static void put(edge_books_t *books, uint64_t id, uint64_t position, uint64_t price) {
    cart_book_record_t record = test_book(id, position, price, 9, "T");
    assert_true(edge_books_put(books, &record));
}

static void test_the_newest_position_wins(void **state) {
    (void)state;
    edge_books_t books = new_books();
    edge_book_t book;
    assert_int_equal(look(&books, 1, &book), EDGE_BOOK_MISSING);
    put(&books, 1, 10, 100);
    put(&books, 1, 9, 50);
    assert_int_equal(look(&books, 1, &book), EDGE_BOOK_FOUND);
    assert_int_equal(book.price_minor, 100);
    put(&books, 1, 11, 120);
    assert_int_equal(look(&books, 1, &book), EDGE_BOOK_FOUND);
    assert_true(book.price_minor == 120 && book.old_price[0] == 100 && book.changed_at[0] == 11);
    char text[4];
    assert_int_equal(edge_books_read(&books, 1, &book, text, sizeof(text)), EDGE_BOOK_NO_ROOM);
    assert_int_equal(munmap(books.memory, BOOKS_BYTES), 0);
}

/* A question's "unknown" gives way to whatever the feed says. */
static void test_unknown_gives_way(void **state) {
    (void)state;
    edge_books_t books = new_books();
    edge_book_t book;
    cart_book_record_t record = test_book(5, 100, 0, 0, "");
    record.state = CART_BOOK_UNKNOWN;
    assert_true(edge_books_put(&books, &record));
    assert_int_equal(look(&books, 5, &book), EDGE_BOOK_FOUND);
    assert_int_equal(book.state, CART_BOOK_UNKNOWN);
    put(&books, 5, 7, 300);
    assert_int_equal(look(&books, 5, &book), EDGE_BOOK_FOUND);
    assert_true(book.state == CART_BOOK_LIVE && book.changed_at[0] == 0);
    assert_int_equal(munmap(books.memory, BOOKS_BYTES), 0);
}

static void test_a_full_list_replaces(void **state) {
    (void)state;
    edge_books_t books = new_books();
    edge_books_stats_t stats;
    edge_book_t book;
    edge_books_full_begin(&books, 77);
    for (uint64_t id = 1; id <= 100; id++) put(&books, id, id, 100);
    edge_books_stats(&books, &stats);
    assert_false(stats.ready);
    edge_books_full_end(&books, 77, 100);
    edge_books_advance(&books, 77, 103);
    edge_books_advance(&books, 76, 999); /* another store's */
    edge_books_stats(&books, &stats);
    assert_true(stats.ready && stats.generation == 77 && stats.position == 103 && stats.count == 100);
    edge_books_full_begin(&books, 77);
    for (uint64_t id = 51; id <= 60; id++) put(&books, id, 500 + id, 200);
    put(&books, 61, 1, 1);                                     /* older than what we have: kept, and named */
    assert_int_equal(look(&books, 1, &book), EDGE_BOOK_FOUND); /* until the end */
    edge_books_full_end(&books, 77, 600);
    assert_int_equal(look(&books, 1, &book), EDGE_BOOK_MISSING);
    assert_int_equal(look(&books, 61, &book), EDGE_BOOK_FOUND);
    assert_int_equal(book.price_minor, 100);
    edge_books_stats(&books, &stats);
    assert_true(stats.count == 11 && stats.position == 600);
    edge_books_t other = {.locks = TEST_LOCKS};
    assert_true(edge_books_attach(&other, books.memory, BOOKS_BYTES));
    assert_int_equal(look(&other, 61, &book), EDGE_BOOK_FOUND);
    assert_false(edge_books_attach(&other, books.memory, BOOKS_BYTES * 2));
    assert_int_equal(munmap(books.memory, BOOKS_BYTES), 0);
}

/* A restored catalogue counts its positions from the start again: what it says holds, though its numbers are smaller. */
static void test_a_restored_store_is_believed(void **state) {
    (void)state;
    edge_books_t books = new_books();
    edge_book_t book;
    edge_books_full_begin(&books, 1);
    put(&books, 1, 900, 100);
    put(&books, 2, 901, 100);
    edge_books_full_end(&books, 1, 901);
    edge_books_full_begin(&books, 2);
    put(&books, 1, 6, 70); /* comes twice in the list: the greater position holds */
    put(&books, 1, 5, 60);
    edge_books_full_end(&books, 2, 6);
    assert_int_equal(look(&books, 1, &book), EDGE_BOOK_FOUND);
    assert_true(book.price_minor == 70 && book.position == 6 && book.changed_at[0] == 0);
    assert_int_equal(look(&books, 2, &book), EDGE_BOOK_MISSING);
    put(&books, 1, 4, 50);
    assert_int_equal(look(&books, 1, &book), EDGE_BOOK_FOUND);
    assert_int_equal(book.price_minor, 70);
    assert_int_equal(munmap(books.memory, BOOKS_BYTES), 0);
}

static void test_a_full_replica_gives_up_others(void **state) {
    (void)state;
    edge_books_t books = new_books();
    edge_books_stats_t stats;
    edge_book_t book;
    for (uint64_t id = 1; id <= 20000; id++) {
        put(&books, id, id, id);
        assert_int_equal(look(&books, id, &book), EDGE_BOOK_FOUND); /* what was just put is there */
        assert_int_equal(book.price_minor, id);
    }
    edge_books_stats(&books, &stats);
    assert_true(stats.evicted > 0 && stats.count + stats.evicted == 20000);
    assert_true(stats.count > CART_LINES_MAX); /* any one cart fits */
    assert_int_equal(munmap(books.memory, BOOKS_BYTES), 0);
}

static void test_long_texts_are_bounded(void **state) {
    (void)state;
    edge_books_t books = new_books();
    edge_book_t book;
    static char title[CART_BOOK_TITLE_MAX];
    static char url[CART_BOOK_URL_MAX];
    memset(title, 1, sizeof(title)); /* six bytes each, escaped */
    memset(url, '"', sizeof(url));
    cart_book_record_t record = test_book(1, 1, 1, 1, "");
    record.title = title;
    record.title_length = sizeof(title);
    record.url = url;
    record.url_length = sizeof(url);
    record.author_count = CART_BOOK_AUTHORS_MAX;
    for (unsigned i = 0; i < CART_BOOK_AUTHORS_MAX; i++) {
        record.authors[i] = url;
        record.author_lengths[i] = sizeof(url);
    }
    assert_true(edge_books_put(&books, &record));
    assert_int_equal(look(&books, 1, &book), EDGE_BOOK_FOUND);
    assert_true(book.text_length <= EDGE_BOOKS_TEXT_MAX);
    assert_int_equal(munmap(books.memory, BOOKS_BYTES), 0);
}

/* Each state of a book says its price in its title: a reader that sees two prices in one book has seen it torn. */
static void put_marked(edge_books_t *books, uint64_t id, uint64_t position) {
    char title[64];
    (void)snprintf(title, sizeof(title), "%0*llu", (int)(5 + position % 50), (unsigned long long)position);
    cart_book_record_t record = test_book(id, position, position, 9, title);
    assert_true(edge_books_put(books, &record));
}

static bool is_whole(edge_books_t *books, uint64_t id, bool *found) {
    char text[EDGE_BOOKS_TEXT_MAX];
    edge_book_t book;
    char expected[128];
    *found = edge_books_read(books, id, &book, text, sizeof(text)) == EDGE_BOOK_FOUND;
    if (!*found) return true;
    int length = snprintf(expected, sizeof(expected), "{\"book\":%llu,\"title\":\"%0*llu\",", (unsigned long long)id,
                          (int)(5 + book.price_minor % 50), (unsigned long long)book.price_minor);
    return book.position == book.price_minor && book.text_length > length &&
           memcmp(text, expected, (size_t)length) == 0;
}

static _Atomic bool stop;
static void *write_for_ever(void *context) {
    for (uint64_t position = 8; !atomic_load(&stop); position++) put_marked(context, 1 + position % 7, position);
    return NULL;
}

static void test_readers_never_see_a_torn_book(void **state) {
    (void)state;
    edge_books_t books = new_books();
    pthread_t writer;
    unsigned seen = 0;
    for (uint64_t id = 1; id <= 7; id++) put_marked(&books, id, id); /* the writer's thread may start late */
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&writer, NULL, write_for_ever, &books), 0);
    for (unsigned i = 0; i < 300000; i++) {
        bool found = false;
        assert_true(is_whole(&books, 1 + i % 7, &found));
        seen += found;
    }
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(writer, NULL), 0);
    assert_true(seen > 0);
    assert_int_equal(munmap(books.memory, BOOKS_BYTES), 0);
}

/* kill -9 of a writer at any place: what a reader sees afterwards is whole, and the replica can be filled again. */
static void test_a_killed_writer_tears_nothing(void **state) {
    (void)state;
    uint64_t random = test_seed();
    for (unsigned round = 0; round < 40; round++) {
        edge_books_t books = new_books();
        edge_books_stats_t stats;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            edge_books_full_begin(&books, 1);
            edge_books_full_end(&books, 1, 1);
            for (uint64_t position = 1;; position++) put_marked(&books, 1 + position % 7, position);
        }
        usleep((useconds_t)(500 + test_random(&random) % 3000)); /* when it dies is what the seed decides */
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        for (uint64_t id = 1; id <= 7; id++) {
            bool found = false;
            assert_true(is_whole(&books, id, &found));
        }
        edge_books_stats(&books, &stats);
        if (stats.emptied) assert_true(!stats.ready && stats.position == 0);
        edge_books_full_begin(&books, 1);
        for (uint64_t id = 1; id <= 7; id++) put_marked(&books, id, UINT64_C(1) << 40 | id);
        edge_books_full_end(&books, 2, 9);
        edge_books_stats(&books, &stats);
        assert_true(stats.ready && !stats.emptied && stats.count == 7);
        assert_int_equal(munmap(books.memory, BOOKS_BYTES), 0);
    }
}

/* ---- revocations ------------------------------------------------------------------------------------------------------ */

static edge_revoked_t new_revoked(void) {
    edge_revoked_t revoked = {.locks = TEST_LOCKS};
    assert_true(edge_revoked_init(&revoked, test_shared(REVOKED_BYTES), REVOKED_BYTES));
    return revoked;
}

static cart_id_t id_of(uint64_t n) {
    cart_id_t id = {{0}};
    memcpy(id.bytes, &n, sizeof(n));
    memcpy(id.bytes + 8, &n, sizeof(n));
    return id;
}

static cart_revocation_t revocation(cart_revocation_kind_t kind, uint64_t n, uint64_t before, uint64_t expires) {
    return (cart_revocation_t){
        .id = id_of(n), .kind = (uint8_t)kind, .issued_before_s = before, .expires_s = expires, .position = n};
}

static edge_revoked_answer_t ask(edge_revoked_t *revoked, uint64_t session, uint64_t user, uint64_t issued) {
    cart_id_t s = id_of(session);
    cart_id_t u = id_of(user);
    return edge_revoked_ask(revoked, &s, &u, issued);
}

static void add(edge_revoked_t *revoked, cart_revocation_t what, bool full) {
    assert_int_equal(edge_revoked_add(revoked, &what, full, 0), EDGE_REVOKED_OK);
}

static void test_nothing_is_said_before_the_first_list(void **state) {
    (void)state;
    edge_revoked_t revoked = new_revoked();
    assert_int_equal(ask(&revoked, 1, 2, 0), EDGE_REVOKED_NOT_READY);
    edge_revoked_full_begin(&revoked);
    add(&revoked, revocation(CART_REVOKE_SESSION, 1, 0, 1000), true);
    assert_int_equal(ask(&revoked, 1, 2, 0), EDGE_REVOKED_NOT_READY);
    edge_revoked_full_end(&revoked, 5, 10);
    assert_int_equal(ask(&revoked, 1, 2, 0), EDGE_REVOKED_YES);
    assert_int_equal(ask(&revoked, 3, 2, 0), EDGE_REVOKED_NO);
    assert_int_equal(munmap(revoked.memory, REVOKED_BYTES), 0);
}

static void test_sessions_and_users(void **state) {
    (void)state;
    edge_revoked_t revoked = new_revoked();
    edge_revoked_full_begin(&revoked);
    edge_revoked_full_end(&revoked, 5, 10);
    add(&revoked, revocation(CART_REVOKE_USER, 2, 100, 1000), false);
    assert_int_equal(ask(&revoked, 1, 2, 99), EDGE_REVOKED_YES);
    assert_int_equal(ask(&revoked, 1, 2, 100), EDGE_REVOKED_NO);
    assert_int_equal(ask(&revoked, 2, 1, 99), EDGE_REVOKED_NO); /* a user's id is no session's */
    add(&revoked, revocation(CART_REVOKE_USER, 2, 50, 1000), false);
    assert_int_equal(ask(&revoked, 1, 2, 99), EDGE_REVOKED_YES); /* the stricter word holds */
    assert_int_equal(munmap(revoked.memory, REVOKED_BYTES), 0);
}

static void test_a_list_replaces_in_one_step(void **state) {
    (void)state;
    edge_revoked_t revoked = new_revoked();
    edge_revoked_stats_t stats;
    edge_revoked_full_begin(&revoked);
    add(&revoked, revocation(CART_REVOKE_SESSION, 1, 0, 1000), true);
    edge_revoked_full_end(&revoked, 5, 10);
    edge_revoked_full_begin(&revoked);
    add(&revoked, revocation(CART_REVOKE_SESSION, 2, 0, 1000), true);
    add(&revoked, revocation(CART_REVOKE_SESSION, 3, 0, 1000), false); /* comes while the list does */
    assert_int_equal(ask(&revoked, 1, 9, 0), EDGE_REVOKED_YES);
    assert_int_equal(ask(&revoked, 3, 9, 0), EDGE_REVOKED_YES);
    edge_revoked_full_end(&revoked, 6, 20);
    assert_int_equal(ask(&revoked, 1, 9, 0), EDGE_REVOKED_NO);
    assert_int_equal(ask(&revoked, 2, 9, 0), EDGE_REVOKED_YES);
    assert_int_equal(ask(&revoked, 3, 9, 0), EDGE_REVOKED_YES);
    edge_revoked_full_begin(&revoked); /* begun, never ended: the old one stays, and the next one is clean */
    add(&revoked, revocation(CART_REVOKE_SESSION, 4, 0, 1000), true);
    edge_revoked_full_begin(&revoked);
    edge_revoked_full_end(&revoked, 6, 30);
    assert_int_equal(ask(&revoked, 4, 9, 0), EDGE_REVOKED_NO);
    edge_revoked_stats(&revoked, &stats);
    assert_true(stats.ready && stats.position == 30 && stats.count == 0);
    edge_revoked_advance(&revoked, 6, 31);
    edge_revoked_advance(&revoked, 7, 99);
    edge_revoked_stats(&revoked, &stats);
    assert_int_equal(stats.position, 31);
    assert_int_equal(munmap(revoked.memory, REVOKED_BYTES), 0);
}

static void test_full_forgets_the_expired_and_else_refuses(void **state) {
    (void)state;
    edge_revoked_t revoked = new_revoked();
    edge_revoked_stats_t stats;
    edge_revoked_full_begin(&revoked);
    edge_revoked_full_end(&revoked, 5, 10);
    edge_revoked_stats(&revoked, &stats);
    for (uint64_t n = 1; n <= stats.capacity; n++)
        add(&revoked, revocation(CART_REVOKE_SESSION, n, 0, 100 + n % 2), false);
    cart_revocation_t one = revocation(CART_REVOKE_SESSION, stats.capacity + 1, 0, 500);
    assert_int_equal(edge_revoked_add(&revoked, &one, false, 100), EDGE_REVOKED_OK); /* half have expired */
    assert_int_equal(ask(&revoked, 1, 9999999, 0), EDGE_REVOKED_YES);
    assert_int_equal(ask(&revoked, 2, 9999999, 0), EDGE_REVOKED_NO);
    assert_int_equal(ask(&revoked, stats.capacity + 1, 9999999, 0), EDGE_REVOKED_YES);
    edge_revoked_result_t result = EDGE_REVOKED_OK;
    for (uint64_t n = 1; n <= stats.capacity && result == EDGE_REVOKED_OK; n++) {
        one = revocation(CART_REVOKE_SESSION, 1000000 + n, 0, 500);
        result = edge_revoked_add(&revoked, &one, false, 100);
    }
    assert_int_equal(result, EDGE_REVOKED_FULL);
    assert_int_equal(ask(&revoked, 77, 9999999, 0), EDGE_REVOKED_NOT_READY); /* rather none than one too many */
    edge_revoked_full_begin(&revoked);
    edge_revoked_full_end(&revoked, 5, 99);
    assert_int_equal(ask(&revoked, 77, 9999999, 0), EDGE_REVOKED_NO);
    assert_int_equal(munmap(revoked.memory, REVOKED_BYTES), 0);
}

/* kill -9 of a writer: session 1 is in every list, so it is never said to be good. */
static void test_a_killed_writer_lets_nobody_in(void **state) {
    (void)state;
    uint64_t random = test_seed();
    unsigned emptied = 0;
    for (unsigned round = 0; round < 40; round++) {
        edge_revoked_t revoked = new_revoked();
        edge_revoked_stats_t stats;
        edge_revoked_full_begin(&revoked);
        add(&revoked, revocation(CART_REVOKE_SESSION, 1, 0, 1000), true);
        edge_revoked_full_end(&revoked, 5, 1);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            for (uint64_t n = 2;; n++) {
                edge_revoked_full_begin(&revoked);
                add(&revoked, revocation(CART_REVOKE_SESSION, 1, 0, 1000), true);
                for (uint64_t k = 0; k < 20; k++) add(&revoked, revocation(CART_REVOKE_SESSION, n + k, 0, 1000), true);
                edge_revoked_full_end(&revoked, 5, n);
            }
        }
        usleep((useconds_t)(500 + test_random(&random) % 2000));
        for (unsigned i = 0; i < 2000; i++) assert_int_not_equal(ask(&revoked, 1, 9, 0), EDGE_REVOKED_NO);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        for (unsigned i = 0; i < 100; i++) assert_int_not_equal(ask(&revoked, 1, 9, 0), EDGE_REVOKED_NO);
        edge_revoked_stats(&revoked, &stats);
        emptied += stats.emptied;
        if (stats.emptied) assert_true(!stats.ready && stats.generation == 0 && stats.position == 0);
        edge_revoked_full_begin(&revoked);
        edge_revoked_full_end(&revoked, 6, 1);
        assert_int_equal(ask(&revoked, 1, 9, 0), EDGE_REVOKED_NO);
        assert_int_equal(munmap(revoked.memory, REVOKED_BYTES), 0);
    }
    printf("the lock's holder died in %u of 40 rounds\n", emptied);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_position_wins),
        cmocka_unit_test(test_unknown_gives_way),
        cmocka_unit_test(test_a_full_list_replaces),
        cmocka_unit_test(test_a_restored_store_is_believed),
        cmocka_unit_test(test_a_full_replica_gives_up_others),
        cmocka_unit_test(test_long_texts_are_bounded),
        cmocka_unit_test(test_readers_never_see_a_torn_book),
        cmocka_unit_test(test_a_killed_writer_tears_nothing),
        cmocka_unit_test(test_nothing_is_said_before_the_first_list),
        cmocka_unit_test(test_sessions_and_users),
        cmocka_unit_test(test_a_list_replaces_in_one_step),
        cmocka_unit_test(test_full_forgets_the_expired_and_else_refuses),
        cmocka_unit_test(test_a_killed_writer_lets_nobody_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
