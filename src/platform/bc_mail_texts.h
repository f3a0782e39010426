/*
 * What mails say: one table (bc_mail_texts.c), kind × language, with {names} that are filled from the mail's data.
 *
 * The data comes from our own services but holds what people have written (titles, names, subjects): it is shown as plain text
 * (bc_mail_put_plain) and can neither end a line nor a header. Links carry tokens in their fragment, which browsers never send:
 * no log and no Referer of any server on the way has them.
 */
#ifndef BC_MAIL_TEXTS_H
#define BC_MAIL_TEXTS_H

#include "platform/bc_mail.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    const char *shop_name;
    const char *url; /* no slash at its end */
    bc_mail_kind_t kind;
    bc_language_t language;
    const json_t *data;
} bc_mail_facts_t; /* everything borrowed */

/* The caller frees both. false: the data lacks what this kind shows (*missing names it), or no memory (*missing is NULL). */
bool bc_mail_write(const bc_mail_facts_t *facts, char **subject, char **text, const char **missing);

/* "order-confirmed": the kind as tables and files name it. */
const char *bc_mail_kind_word(bc_mail_kind_t kind);
bool bc_mail_kind_parse(const char *word, bc_mail_kind_t *kind);

/* 1299 EUR as "€12.99" or "12,99 €" (no-break spaces). A currency without its own sign shows its code. Errors stay in `out`. */
void bc_mail_put_money(FILE *out, int64_t amount_minor, const char *currency, bc_language_t language);

#endif
