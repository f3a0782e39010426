#include "services/library/library_sql.h"

#include "platform/bc_events.h"
#include "platform/bc_once.h"

/* Numbered, append only: a file that was migrated once is never migrated again by a changed text. */
const bc_migration_t library_migrations[] = {
    {"books", "CREATE TABLE meta(name VARCHAR(64) PRIMARY KEY, value " BC_SQL_BYTES " NOT NULL);"
              "CREATE TABLE books("
              " id INTEGER PRIMARY KEY CHECK(id BETWEEN 1 AND 9007199254740991),"
              " state INTEGER NOT NULL CHECK(state IN (0, 1))," /* 0 live, 1 gone */
              " title TEXT NOT NULL,"
              " title_key TEXT NOT NULL,"
              " authors TEXT NOT NULL," /* JSON array */
              " genres TEXT NOT NULL,"  /* JSON array */
              " language VARCHAR(3), isbn VARCHAR(13), description TEXT, cover_url TEXT,"
              " year INTEGER NOT NULL," /* LIBRARY_YEAR_UNKNOWN: not known */
              " price_minor " BC_SQL_BIGINT " NOT NULL CHECK(price_minor >= 0),"
              " stock " BC_SQL_BIGINT " NOT NULL CHECK(stock >= 0),"
              " rating INTEGER NOT NULL," /* hundredths; -1: none */
              " ratings_count " BC_SQL_BIGINT " NOT NULL,"
              " imported " BC_SQL_BYTES "," /* digest of the row imported last; null: never imported */
              " position " BC_SQL_BIGINT " NOT NULL UNIQUE,"
              " created_ms " BC_SQL_BIGINT " NOT NULL, updated_ms " BC_SQL_BIGINT " NOT NULL);"
              "CREATE INDEX books_by_title ON books(state, title_key, id);"
              "CREATE INDEX books_by_price ON books(state, price_minor, id);"
              "CREATE INDEX books_by_year ON books(state, year, id);"
              "CREATE INDEX books_by_rating ON books(state, rating, ratings_count, id);"
              "CREATE TABLE book_authors(author_key TEXT NOT NULL, book INTEGER NOT NULL REFERENCES books(id),"
              " PRIMARY KEY(author_key, book)) WITHOUT ROWID;"
              "CREATE INDEX book_authors_by_book ON book_authors(book);"
              "CREATE TABLE book_genres(genre_key TEXT NOT NULL, book INTEGER NOT NULL REFERENCES books(id),"
              " PRIMARY KEY(genre_key, book)) WITHOUT ROWID;"
              "CREATE INDEX book_genres_by_book ON book_genres(book);"},
    {"events", BC_EVENTS_MIGRATION},
    /* content_position: the position of the last change that was not one of stock (decision 0027). */
    {"stock by revision, import jobs, keys",
     "ALTER TABLE books ADD COLUMN stock_revision " BC_SQL_BIGINT " NOT NULL DEFAULT 0;"
     "ALTER TABLE books ADD COLUMN content_position " BC_SQL_BIGINT " NOT NULL DEFAULT 0;"
     "UPDATE books SET content_position = position;"
     "CREATE TABLE jobs("
     " id " BC_SQL_ID " PRIMARY KEY NOT NULL,"
     " state INTEGER NOT NULL CHECK(state IN (0, 1, 2))," /* 0 running, 1 done, 2 failed */
     " format INTEGER NOT NULL,"                          /* library_format_t */
     " stock_rule INTEGER NOT NULL,"                      /* library_stock_rule_t */
     " dry_run INTEGER NOT NULL,"
     " rows_total " BC_SQL_BIGINT " NOT NULL," /* -1: not counted yet */
     " rows_done " BC_SQL_BIGINT " NOT NULL DEFAULT 0, added " BC_SQL_BIGINT " NOT NULL DEFAULT 0,"
     " changed " BC_SQL_BIGINT " NOT NULL DEFAULT 0, unchanged " BC_SQL_BIGINT " NOT NULL DEFAULT 0,"
     " rejected " BC_SQL_BIGINT " NOT NULL DEFAULT 0,"
     " reason VARCHAR(300)," /* why it failed */
     " created_ms " BC_SQL_BIGINT " NOT NULL, ended_ms " BC_SQL_BIGINT " NOT NULL DEFAULT 0);"
     "CREATE INDEX jobs_by_state ON jobs(state, created_ms);"
     "CREATE TABLE job_rejects("
     " job " BC_SQL_ID " NOT NULL, line " BC_SQL_BIGINT " NOT NULL, reason VARCHAR(300) NOT NULL,"
     " PRIMARY KEY(job, line));" BC_ONCE_MIGRATION},
    {"banners", "ALTER TABLE books ADD COLUMN banner_url TEXT;"
                "CREATE INDEX books_by_cover ON books(cover_url);"
                "CREATE INDEX books_by_banner ON books(banner_url);"},
    {NULL, NULL},
};

/* ?1 ?2 ?3 keys to be behind, ?4 limit, ?5… filters: null lets everything pass. */
#define FILTERS                                                                                                        \
    "b.state = 0 AND (?5 IS NULL OR b.language = ?5) AND (?6 IS NULL OR b.year >= ?6) "                                \
    "AND (?7 IS NULL OR (b.year <= ?7 AND b.year > -100000)) AND (?8 IS NULL OR b.price_minor <= ?8) "                 \
    "AND (?9 IS NULL OR (b.stock > 0) = ?9) "                                                                          \
    "AND (?10 IS NULL OR EXISTS(SELECT 1 FROM book_authors x WHERE x.author_key = ?10 AND x.book = b.id)) "            \
    "AND (?11 IS NULL OR EXISTS(SELECT 1 FROM book_genres y WHERE y.genre_key = ?11 AND y.book = b.id)) "

/* CROSS JOIN fixes the order of SQLite's loops: the narrow table first. */
#define FROM_ALL    "FROM books b WHERE "
#define FROM_AUTHOR "FROM book_authors a CROSS JOIN books b ON b.id = a.book WHERE a.author_key = ?10 AND "
#define FROM_GENRE  "FROM book_genres g CROSS JOIN books b ON b.id = g.book WHERE g.genre_key = ?11 AND "
#define FROM_IDS    "FROM json_each(?12) i CROSS JOIN books b ON b.id = i.value WHERE "

/* ?2 is compared only by rating; naming it elsewhere lets one binding serve all. */
#define BY_TITLE "AND (b.title_key, b.id) > (?1, ?3) AND ?2 IS NOT NULL ORDER BY b.title_key, b.id LIMIT ?4"
#define BY_PRICE "AND (b.price_minor, b.id) > (?1, ?3) AND ?2 IS NOT NULL ORDER BY b.price_minor, b.id LIMIT ?4"
#define BY_FALL                                                                                                        \
    "AND (b.price_minor, b.id) < (?1, ?3) AND ?2 IS NOT NULL ORDER BY b.price_minor DESC, b.id DESC LIMIT ?4"
#define BY_YEAR "AND (b.year, b.id) < (?1, ?3) AND ?2 IS NOT NULL ORDER BY b.year DESC, b.id DESC LIMIT ?4"
#define BY_RATING                                                                                                      \
    "AND (b.rating, b.ratings_count, b.id) < (?1, ?2, ?3) "                                                            \
    "ORDER BY b.rating DESC, b.ratings_count DESC, b.id DESC LIMIT ?4"

#define LISTS(FROM)                                                                                                    \
    {                                                                                                                  \
        [LIBRARY_SORT_TITLE] = "SELECT " LIBRARY_ROW FROM FILTERS BY_TITLE,                                            \
        [LIBRARY_SORT_PRICE] = "SELECT " LIBRARY_ROW FROM FILTERS BY_PRICE,                                            \
        [LIBRARY_SORT_PRICE_FALLING] = "SELECT " LIBRARY_ROW FROM FILTERS BY_FALL,                                     \
        [LIBRARY_SORT_NEWEST] = "SELECT " LIBRARY_ROW FROM FILTERS BY_YEAR,                                            \
        [LIBRARY_SORT_RATING] = "SELECT " LIBRARY_ROW FROM FILTERS BY_RATING,                                          \
    }

const char *const library_sql_list[LIBRARY_LIST_COUNT][LIBRARY_SORT_COUNT] = {
    [LIBRARY_LIST_ALL] = LISTS(FROM_ALL),
    [LIBRARY_LIST_AUTHOR] = LISTS(FROM_AUTHOR),
    [LIBRARY_LIST_GENRE] = LISTS(FROM_GENRE),
    [LIBRARY_LIST_IDS] = LISTS(FROM_IDS),
};
