/* What an order accepts as address and e-mail. Pure. */
#ifndef PAYMENT_ADDRESS_H
#define PAYMENT_ADDRESS_H

#include "platform/bc_mail.h"

#include <jansson.h>
#include <stdbool.h>

#define PAYMENT_ADDRESS_NAME_MAX     100 /* Unicode code points, as all below */
#define PAYMENT_ADDRESS_LINE_MAX     200
#define PAYMENT_ADDRESS_CITY_MAX     100
#define PAYMENT_ADDRESS_POSTCODE_MAX 16
#define PAYMENT_ADDRESS_PHONE_MAX    32

typedef struct {
    const char *field;  /* "city"; NULL: nothing is wrong */
    const char *code;   /* "required", "unknown", "invalid" */
    const char *detail; /* a literal */
} address_fault_t;

/* {"name","line1","line2"?,"city","region"?,"postcode"?,"country","phone"?} and nothing else; texts without control characters, not
 * blank; the country one of ISO 3166-1; the postcode of the country's form where that is known. */
address_fault_t payment_address_judge(const json_t *address);
/* The same for {"country","postcode"?}, where a quote is to be delivered. */
address_fault_t payment_place_judge(const json_t *place);

/* A dot-atom and a domain of two labels or more; at most BC_MAIL_ADDRESS_MAX bytes of ASCII. */
bool payment_email_good(const char *text);

/* 1…`most` code points of valid UTF-8 without control characters, not blank. */
bool payment_text_good(const char *text, size_t most);

#endif
