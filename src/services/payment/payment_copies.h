/* Lists of copies in requests: [{"book","quantity"}]. Pure. */
#ifndef PAYMENT_COPIES_H
#define PAYMENT_COPIES_H

#include "platform/bc_http.h"

/* Every book once, quantities 1…99, at most ORDER_LINES_MAX, `least` or more of them. *text is the list as the store takes it, the
 * caller frees it. false: a problem was set. */
bool payment_copies_read(bc_reply_t *reply, const char *field, const json_t *list, size_t least, char **text);

#endif
