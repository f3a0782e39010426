/*
 * The payment service's tables.
 *
 * What must always hold, and payment_store_check (tests) executes:
 *  1. stock.on_hand = SUM(stock_entries.delta), stock.reserved = SUM(reservations.quantity), 0 ≤ reserved ≤ on_hand.
 *  2. An order holds reservations exactly while it awaits payment.
 *  3. orders.open_user is unique: one open order a user. It is null when the order is over (or the user had another at a merge).
 *  4. refunding_minor = sum of the order's refunds that did not fail, refunded_minor = sum of those that succeeded;
 *     refunded ≤ refunding ≤ paid_minor.
 *  5. A paid order has one ledger entry `sold` for each line, any other has none.
 *  6. A line's shipped + cancelled ≤ quantity, returned ≤ shipped.
 */
#include "services/payment/payment_service.h"

#include "platform/bc_events.h"
#include "platform/bc_mail.h"
#include "platform/bc_once.h"

#define STOCK                                                                                                          \
    "CREATE TABLE stock("                                                                                              \
    "  book " BC_SQL_BIGINT " PRIMARY KEY NOT NULL,"                                                                   \
    "  on_hand " BC_SQL_BIGINT " NOT NULL,"                                                                            \
    "  reserved " BC_SQL_BIGINT " NOT NULL,"                                                                           \
    "  revision " BC_SQL_BIGINT " NOT NULL,"                                                                           \
    "  dirty " BC_SQL_BIGINT " NOT NULL," /* 1: its newest revision was not announced yet */                           \
    "  CHECK(reserved >= 0), CHECK(on_hand >= reserved));"                                                             \
    "CREATE INDEX stock_dirty ON stock(dirty, book);"                                                                  \
    "CREATE TABLE stock_entries("                                                                                      \
    "  id " BC_SQL_SERIAL ","                                                                                          \
    "  book " BC_SQL_BIGINT " NOT NULL,"                                                                               \
    "  delta " BC_SQL_BIGINT " NOT NULL,"                                                                              \
    "  balance " BC_SQL_BIGINT " NOT NULL," /* on hand behind it */                                                    \
    "  reason VARCHAR(16) NOT NULL,"        /* opened, sold, returned, adjusted, counted */                            \
    "  reference VARCHAR(64) NOT NULL,"     /* whose change it is; once for each book and reason */                    \
    "  note VARCHAR(200),"                                                                                             \
    "  created_ms " BC_SQL_BIGINT " NOT NULL,"                                                                         \
    "  UNIQUE(book, reason, reference));"                                                                              \
    "CREATE INDEX stock_entries_by_book ON stock_entries(book, id);"                                                   \
    "CREATE TABLE reservations("                                                                                       \
    "  order_id " BC_SQL_ID " NOT NULL,"                                                                               \
    "  book " BC_SQL_BIGINT " NOT NULL,"                                                                               \
    "  quantity " BC_SQL_BIGINT " NOT NULL,"                                                                           \
    "  PRIMARY KEY(order_id, book));"

#define ORDERS                                                                                                         \
    "CREATE TABLE orders("                                                                                             \
    "  id " BC_SQL_ID " PRIMARY KEY NOT NULL,"                                                                         \
    "  number VARCHAR(16) NOT NULL UNIQUE,"                                                                            \
    "  user_id " BC_SQL_ID " NOT NULL,"                                                                                \
    "  open_user " BC_SQL_ID " UNIQUE,"                                                                                \
    "  state " BC_SQL_BIGINT " NOT NULL,"      /* order_state_t */                                                     \
    "  ending " BC_SQL_BIGINT " NOT NULL,"     /* 1: its cancelling was asked for */                                   \
    "  fulfilment " BC_SQL_BIGINT " NOT NULL," /* order_fulfilment_t */                                                \
    "  test " BC_SQL_BIGINT " NOT NULL,"                                                                               \
    "  provider VARCHAR(16) NOT NULL,"                                                                                 \
    "  payment_id VARCHAR(255) UNIQUE,"                                                                                \
    "  client_secret VARCHAR(255)," /* while it can be used */                                                         \
    "  last_error VARCHAR(64),"                                                                                        \
    "  cart_version " BC_SQL_BIGINT " NOT NULL,"                                                                       \
    "  digest " BC_SQL_BYTES " NOT NULL," /* of what the checkout asked for */                                         \
    "  language " BC_SQL_BIGINT " NOT NULL,"                                                                           \
    "  email VARCHAR(254),"          /* null: erased */                                                                \
    "  shipping_address TEXT,"       /* JSON; null: erased */                                                          \
    "  billing_address TEXT,"        /* JSON; null: none */                                                            \
    "  country VARCHAR(2) NOT NULL," /* shipped to: what the tax was for; stays */                                     \
    "  lines TEXT NOT NULL,"         /* JSON, as the API shows them */                                                 \
    "  currency VARCHAR(3) NOT NULL,"                                                                                  \
    "  shipping_method VARCHAR(24) NOT NULL,"                                                                          \
    "  subtotal_minor " BC_SQL_BIGINT " NOT NULL,"                                                                     \
    "  shipping_minor " BC_SQL_BIGINT " NOT NULL,"                                                                     \
    "  tax_rate_bp " BC_SQL_BIGINT " NOT NULL,"                                                                        \
    "  tax_included " BC_SQL_BIGINT " NOT NULL,"                                                                       \
    "  tax_minor " BC_SQL_BIGINT " NOT NULL,"                                                                          \
    "  total_minor " BC_SQL_BIGINT " NOT NULL,"                                                                        \
    "  paid_minor " BC_SQL_BIGINT " NOT NULL,"                                                                         \
    "  refunding_minor " BC_SQL_BIGINT " NOT NULL,"                                                                    \
    "  refunded_minor " BC_SQL_BIGINT " NOT NULL,"                                                                     \
    "  created_ms " BC_SQL_BIGINT " NOT NULL,"                                                                         \
    "  expires_ms " BC_SQL_BIGINT " NOT NULL,"                                                                         \
    "  ended_ms " BC_SQL_BIGINT " NOT NULL," /* paid, cancelled or expired; 0: open */                                 \
    "  check_ms " BC_SQL_BIGINT " NOT NULL," /* when the keeper looks at it next, while it is open */                  \
    "  tries " BC_SQL_BIGINT " NOT NULL,"                                                                              \
    "  CHECK(refunded_minor >= 0), CHECK(refunding_minor >= refunded_minor), CHECK(paid_minor >= refunding_minor));"   \
    "CREATE INDEX orders_due ON orders(state, check_ms);"                                                              \
    "CREATE INDEX orders_by_user ON orders(user_id, created_ms, id);"                                                  \
    "CREATE INDEX orders_by_time ON orders(created_ms, id);"                                                           \
    "CREATE TABLE order_lines("                                                                                        \
    "  order_id " BC_SQL_ID " NOT NULL,"                                                                               \
    "  book " BC_SQL_BIGINT " NOT NULL,"                                                                               \
    "  quantity " BC_SQL_BIGINT " NOT NULL,"                                                                           \
    "  shipped " BC_SQL_BIGINT " NOT NULL,"                                                                            \
    "  cancelled " BC_SQL_BIGINT " NOT NULL," /* went back to the shelf instead of out of the house */                 \
    "  returned " BC_SQL_BIGINT " NOT NULL,"  /* came back from the customer */                                        \
    "  PRIMARY KEY(order_id, book),"                                                                                   \
    "  CHECK(shipped >= 0), CHECK(cancelled >= 0), CHECK(returned >= 0), CHECK(shipped + cancelled <= quantity),"      \
    "  CHECK(returned <= shipped));"                                                                                   \
    "CREATE TABLE shipments("                                                                                          \
    "  id " BC_SQL_ID " PRIMARY KEY NOT NULL,"                                                                         \
    "  order_ref VARCHAR(30) NOT NULL," /* the order's public id: pages ask for many at once, in JSON */               \
    "  carrier VARCHAR(100) NOT NULL,"                                                                                 \
    "  tracking VARCHAR(100) NOT NULL,"                                                                                \
    "  lines TEXT NOT NULL," /* JSON [{"book","quantity"}] */                                                          \
    "  created_ms " BC_SQL_BIGINT " NOT NULL);"                                                                        \
    "CREATE INDEX shipments_by_order ON shipments(order_ref, created_ms);"

#define REFUNDS                                                                                                        \
    "CREATE TABLE refunds("                                                                                            \
    "  id " BC_SQL_ID " PRIMARY KEY NOT NULL,"                                                                         \
    "  order_ref VARCHAR(30)," /* null: of a payment that belongs to no order we know */                               \
    "  payment_id VARCHAR(255) NOT NULL,"                                                                              \
    "  provider_id VARCHAR(255) UNIQUE,"   /* null: the provider was not told, or its answer was lost */               \
    "  origin " BC_SQL_BIGINT " NOT NULL," /* refund_origin_t */                                                       \
    "  state " BC_SQL_BIGINT " NOT NULL,"  /* provider_refund_state_t */                                               \
    "  amount_minor " BC_SQL_BIGINT " NOT NULL,"                                                                       \
    "  currency VARCHAR(3) NOT NULL,"                                                                                  \
    "  reason VARCHAR(500) NOT NULL,"                                                                                  \
    "  restock TEXT NOT NULL," /* JSON [{"book","quantity"}] */                                                        \
    "  actor " BC_SQL_ID ","   /* the admin, and his Idempotency-Key: a repeat finds its refund */                     \
    "  once_key VARCHAR(64),"                                                                                          \
    "  digest " BC_SQL_BYTES ","                                                                                       \
    "  created_ms " BC_SQL_BIGINT " NOT NULL,"                                                                         \
    "  check_ms " BC_SQL_BIGINT " NOT NULL,"                                                                           \
    "  tries " BC_SQL_BIGINT " NOT NULL,"                                                                              \
    "  UNIQUE(order_ref, actor, once_key));"                                                                           \
    "CREATE INDEX refunds_due ON refunds(state, check_ms);"                                                            \
    "CREATE INDEX refunds_by_order ON refunds(order_ref, created_ms);"                                                 \
    "CREATE INDEX refunds_by_payment ON refunds(payment_id);"

#define INBOX                                                                                                          \
    "CREATE TABLE webhooks("                                                                                           \
    "  event_id VARCHAR(255) PRIMARY KEY NOT NULL,"                                                                    \
    "  type VARCHAR(64) NOT NULL,"                                                                                     \
    "  payment_id VARCHAR(255) NOT NULL,"                                                                              \
    "  state " BC_SQL_BIGINT " NOT NULL," /* webhook_state_t */                                                        \
    "  tries " BC_SQL_BIGINT " NOT NULL,"                                                                              \
    "  sent_ms " BC_SQL_BIGINT " NOT NULL,"                                                                            \
    "  received_ms " BC_SQL_BIGINT " NOT NULL,"                                                                        \
    "  next_ms " BC_SQL_BIGINT " NOT NULL);"                                                                           \
    "CREATE INDEX webhooks_due ON webhooks(state, next_ms);"                                                           \
    "CREATE INDEX webhooks_by_time ON webhooks(received_ms);"                                                          \
    "CREATE TABLE marks(name VARCHAR(32) PRIMARY KEY NOT NULL, value " BC_SQL_BIGINT " NOT NULL);"

/* Numbered, append only. */
const bc_migration_t payment_migrations[] = {
    {"events, mails, keys", BC_EVENTS_MIGRATION BC_MAIL_MIGRATION BC_ONCE_MIGRATION},
    {"stock, orders, refunds, webhooks", STOCK ORDERS REFUNDS INBOX},
    {NULL, NULL},
};
