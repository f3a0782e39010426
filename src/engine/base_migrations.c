/*
 * The base's schema, step by step. A step that has been in a release is never changed: a further one is added.
 *
 * Integers of SQLite are signed: epochs, versions and seconds stay below 2^63.
 */
#include "engine/base_store.h"

const char *const base_migrations[] = {
    /* 1 */
    "CREATE TABLE cart ("
    " user BLOB NOT NULL PRIMARY KEY CHECK (length(user) = 16),"
    " epoch INTEGER NOT NULL CHECK (epoch > 0),"
    " version INTEGER NOT NULL CHECK (version >= 0),"
    " changed_s INTEGER NOT NULL," /* Unix seconds of the last change */
    " empty INTEGER NOT NULL,"
    " image BLOB NOT NULL," /* packed, cart/cart_image.h */
    " rings BLOB NOT NULL"  /* cart/cart_recent.h */
    ") WITHOUT ROWID;"
    /* Only empty carts are ever purged, so only they pay for the index. */
    "CREATE INDEX cart_purgeable ON cart (changed_s) WHERE empty = 1;"
    /* Who may write: the journal of the greatest epoch. A take-over adds a row. */
    "CREATE TABLE claims ("
    " epoch INTEGER PRIMARY KEY CHECK (epoch > 0),"
    " journal BLOB NOT NULL CHECK (length(journal) = 16),"
    " incarnation BLOB NOT NULL CHECK (length(incarnation) = 16)," /* the last process that served the claim */
    " claimed_s INTEGER NOT NULL"
    ");"
    /* At least as great as any version ever deleted; raised in the deleting transaction. */
    "CREATE TABLE floor (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL);"
    "INSERT INTO floor VALUES (1, 0);",
};
const unsigned base_migrations_count = sizeof(base_migrations) / sizeof(base_migrations[0]);
