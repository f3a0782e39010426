/* Books in JSON: as the API shows them, as the feed carries them, and as an import sends them. All return new references, or NULL
 * without memory. */
#ifndef LIBRARY_JSON_H
#define LIBRARY_JSON_H

#include "platform/bc_etag.h"
#include "services/library/library_store.h"

#include <jansson.h>

enum {
    library_feed_authors_max = 32, /* a cart names no more (cart/cart_worker.h: CART_BOOK_AUTHORS_MAX) */
    library_json_precision = 3,    /* digits of a rating: 4.34 */
};

/* `admin`: with state, which the shop's visitors are not told. Copies are the payment service's to tell (GET /admin/stock/{book}): a
 * number that changes with every sale would make every tag an admin holds an old one. */
json_t *library_json_book(const library_row_t *row, const char *currency, bool admin);
json_t *library_json_feed_item(const library_row_t *row);
/* What other services ask for (docs/EVENTS.md). */
json_t *library_json_some(const library_row_t *row);

/* The plain form {"id","title","authors",…,"price_minor","stock","rating" (hundredths)}: what an import sends, and what an admin's
 * PATCH is applied to. What is not known is left out. */
json_t *library_json_plain(const library_book_t *book);
json_t *library_json_plain_row(const library_row_t *row);
/* The minor units in {"amount","currency"?}: borrowed from `price`. NULL: of another form, or in another currency. */
json_t *library_json_price(const json_t *price, const char *currency);
/* Reads the plain form; *book borrows from it. The fault is that of library_book_check, or a value of the wrong kind. */
library_fault_t library_json_read(const json_t *plain, library_book_t *book);

/* The strong tag of a book: of the store, the book's last change and what is shown of its stock. */
void library_etag(const library_row_t *row, const char *generation, const char *currency, char etag[BC_ETAG_BYTES]);

#endif
