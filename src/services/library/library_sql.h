/*
 * Every SQL text of the library, in one place. Texts are literals: the statement cache is keyed by their addresses.
 */
#ifndef LIBRARY_SQL_H
#define LIBRARY_SQL_H

#include "platform/bc_db.h"
#include "platform/bc_images.h"
#include "services/library/library_store.h"

/* books.year of a book without one: sorts below every year. Stored: only another migration may change it. */
#define LIBRARY_YEAR_UNKNOWN (-100000)

/* Which table a list begins with: the narrowest filter that was given. */
typedef enum {
    LIBRARY_LIST_ALL,
    LIBRARY_LIST_AUTHOR,
    LIBRARY_LIST_GENRE,
    LIBRARY_LIST_IDS,
    LIBRARY_LIST_COUNT
} library_list_source_t;

extern const char *const library_sql_list[LIBRARY_LIST_COUNT][LIBRARY_SORT_COUNT];

/* read_row in library_store.c goes by this order. */
#define LIBRARY_ROW                                                                                                    \
    "b.id, b.state, b.title, b.title_key, b.authors, b.genres, b.language, b.isbn, b.description, b.cover_url, "       \
    "b.year, b.price_minor, b.stock, b.rating, b.ratings_count, b.position, b.updated_ms, b.content_position, "        \
    "b.banner_url "

#define LIBRARY_NEXT_POSITION "(SELECT COALESCE(MAX(position), 0) + 1 FROM books)"

#define LIBRARY_SQL_META_PUT   BC_SQL_INSERT_IGNORE "meta(name, value) VALUES(?1, ?2)"
#define LIBRARY_SQL_META_RENEW "DELETE FROM meta WHERE name = 'generation'"
#define LIBRARY_SQL_META_GET   "SELECT value FROM meta WHERE name = ?1"
#define LIBRARY_SQL_GET        "SELECT " LIBRARY_ROW "FROM books b WHERE b.id = ?1"
#define LIBRARY_SQL_ANY        "SELECT 1 FROM books LIMIT 1"
#define LIBRARY_SQL_FEED       "SELECT " LIBRARY_ROW "FROM books b WHERE b.position > ?1 ORDER BY b.position LIMIT ?2"
#define LIBRARY_SQL_LIVE       "SELECT " LIBRARY_ROW "FROM books b WHERE b.state = 0 AND b.id > ?1 ORDER BY b.id LIMIT ?2"
#define LIBRARY_SQL_KNOWN      "SELECT state, COALESCE(imported = ?2, 0) FROM books WHERE id = ?1"

/* A cover that was uploaded stays whatever an import says. ?15 digest, ?16 now, ?17 whether the source names a price: one that came from the rule never replaces what is there. */
#define LIBRARY_SQL_UPSERT                                                                                             \
    "INSERT INTO books(id, state, title, title_key, authors, genres, language, isbn, description, cover_url, year, "   \
    "price_minor, stock, rating, ratings_count, imported, position, content_position, created_ms, updated_ms) "        \
    "VALUES(?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, " LIBRARY_NEXT_POSITION               \
    ", " LIBRARY_NEXT_POSITION ", ?16, ?16)" BC_SQL_UPSERT(                                                            \
        "id") "title = excluded.title, title_key = excluded.title_key, "                                               \
              "authors = excluded.authors, genres = excluded.genres, language = excluded.language, isbn = "            \
              "excluded.isbn, "                                                                                        \
              "description = excluded.description, cover_url = CASE WHEN books.cover_url LIKE '" BC_IMAGES_PREFIX      \
              "%' THEN books.cover_url ELSE excluded.cover_url END, year = excluded.year, "                            \
              "price_minor = CASE WHEN ?17 THEN excluded.price_minor ELSE books.price_minor END, rating = "            \
              "excluded.rating, "                                                                                      \
              "ratings_count = excluded.ratings_count, imported = excluded.imported, position = excluded.position, "   \
              "content_position = excluded.content_position, "                                                         \
              "updated_ms = excluded.updated_ms WHERE books.state = 0 AND books.imported IS NOT excluded.imported"

/* ?15 now, ?16 the position that was read. */
#define LIBRARY_SQL_UPDATE                                                                                             \
    "UPDATE books SET title = ?2, title_key = ?3, authors = ?4, genres = ?5, language = ?6, isbn = ?7, "               \
    "description = ?8, cover_url = ?9, year = ?10, price_minor = ?11, stock = ?12, rating = ?13, ratings_count = "     \
    "?14, "                                                                                                            \
    "updated_ms = ?15, position = " LIBRARY_NEXT_POSITION ", content_position = " LIBRARY_NEXT_POSITION                \
    " WHERE id = ?1 AND state = 0 AND position = ?16"

/* ?2 the address, ?3 now. */
#define LIBRARY_SQL_REFER(column)                                                                                      \
    "UPDATE books SET " column " = ?2, updated_ms = ?3, position = " LIBRARY_NEXT_POSITION                             \
    ", content_position = " LIBRARY_NEXT_POSITION " WHERE id = ?1 AND state = 0 AND (" column " IS NULL OR " column    \
    " <> ?2)"
#define LIBRARY_SQL_COVER  LIBRARY_SQL_REFER("cover_url")
#define LIBRARY_SQL_BANNER LIBRARY_SQL_REFER("banner_url")
#define LIBRARY_SQL_PICTURE_USED                                                                                       \
    "SELECT 1 FROM books WHERE cover_url = ?1 UNION ALL SELECT 1 FROM books WHERE banner_url = ?1 LIMIT 1"

/* Of those of ?1 (ids) that ever were. */
#define LIBRARY_SQL_STATES                                                                                             \
    "SELECT b.id, b.state, " LIBRARY_NEXT_POSITION                                                                     \
    " FROM " BC_SQL_EACH("?1") " AS j CROSS JOIN books b ON b.id = j.value"
/* ?1 [{"book","position"}], ?2 now. */
#define LIBRARY_SQL_GIVEN_POSITION                                                                                     \
    "(SELECT j.value ->> '$.position' FROM " BC_SQL_EACH("?1") " AS j WHERE (j.value ->> '$.book') = books.id)"
#define LIBRARY_SQL_HIDE                                                                                               \
    "UPDATE books SET state = 1, updated_ms = ?2, position = " LIBRARY_SQL_GIVEN_POSITION                              \
    ", content_position = " LIBRARY_SQL_GIVEN_POSITION                                                                 \
    " WHERE state = 0 AND id IN (SELECT j.value ->> '$.book' FROM " BC_SQL_EACH("?1") " AS j)"

/* A book made by an admin: nobody has imported it. ?15 now. */
#define LIBRARY_SQL_CREATE                                                                                             \
    "INSERT INTO books(id, state, title, title_key, authors, genres, language, isbn, description, cover_url, year, "   \
    "price_minor, stock, rating, ratings_count, position, content_position, created_ms, updated_ms) "                  \
    "VALUES(?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, " LIBRARY_NEXT_POSITION                    \
    ", " LIBRARY_NEXT_POSITION ", ?15, ?15)"
#define LIBRARY_SQL_NEXT_OWN_ID "SELECT COALESCE(MAX(id) + 1, ?1) FROM books WHERE id BETWEEN ?1 AND ?2"

/* Only a newer revision is taken; the feed hears of it only when the number is another one. */
#define LIBRARY_SQL_STOCK                                                                                              \
    "UPDATE books SET position = CASE WHEN stock = ?2 THEN position ELSE " LIBRARY_NEXT_POSITION " END, "              \
    "stock = ?2, stock_revision = ?3 WHERE id = ?1 AND stock_revision < ?3"

#define LIBRARY_SQL_SOME "SELECT " LIBRARY_ROW "FROM json_each(?1) i CROSS JOIN books b ON b.id = i.value"

/* Live books in the order of their ids, for the one time they are all announced. */
#define LIBRARY_SQL_AFTER "SELECT id, stock FROM books WHERE state = 0 AND id > ?1 ORDER BY id LIMIT ?2"

#define LIBRARY_SQL_AUTHORS_DROP "DELETE FROM book_authors WHERE book = ?1"
#define LIBRARY_SQL_GENRES_DROP  "DELETE FROM book_genres WHERE book = ?1"
#define LIBRARY_SQL_AUTHORS_PUT                                                                                        \
    BC_SQL_INSERT_IGNORE "book_authors(author_key, book) SELECT value, ?1 FROM json_each(?2)"
#define LIBRARY_SQL_GENRES_PUT BC_SQL_INSERT_IGNORE "book_genres(genre_key, book) SELECT value, ?1 FROM json_each(?2)"

#endif
