#include "platform/bc_rates.h"

#include <string.h>

/* ISO 3166-1 alpha-2, officially assigned, in order. */
static const char countries[][BC_COUNTRY_CHARS + 1] = {
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AQ", "AR", "AS", "AT", "AU", "AW", "AX", "AZ", "BA", "BB",
    "BD", "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS", "BT", "BV", "BW", "BY",
    "BZ", "CA", "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN", "CO", "CR", "CU", "CV", "CW", "CX",
    "CY", "CZ", "DE", "DJ", "DK", "DM", "DO", "DZ", "EC", "EE", "EG", "EH", "ER", "ES", "ET", "FI", "FJ", "FK",
    "FM", "FO", "FR", "GA", "GB", "GD", "GE", "GF", "GG", "GH", "GI", "GL", "GM", "GN", "GP", "GQ", "GR", "GS",
    "GT", "GU", "GW", "GY", "HK", "HM", "HN", "HR", "HT", "HU", "ID", "IE", "IL", "IM", "IN", "IO", "IQ", "IR",
    "IS", "IT", "JE", "JM", "JO", "JP", "KE", "KG", "KH", "KI", "KM", "KN", "KP", "KR", "KW", "KY", "KZ", "LA",
    "LB", "LC", "LI", "LK", "LR", "LS", "LT", "LU", "LV", "LY", "MA", "MC", "MD", "ME", "MF", "MG", "MH", "MK",
    "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS", "MT", "MU", "MV", "MW", "MX", "MY", "MZ", "NA", "NC", "NE",
    "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU", "NZ", "OM", "PA", "PE", "PF", "PG", "PH", "PK", "PL", "PM",
    "PN", "PR", "PS", "PT", "PW", "PY", "QA", "RE", "RO", "RS", "RU", "RW", "SA", "SB", "SC", "SD", "SE", "SG",
    "SH", "SI", "SJ", "SK", "SL", "SM", "SN", "SO", "SR", "SS", "ST", "SV", "SX", "SY", "SZ", "TC", "TD", "TF",
    "TG", "TH", "TJ", "TK", "TL", "TM", "TN", "TO", "TR", "TT", "TV", "TW", "TZ", "UA", "UG", "UM", "US", "UY",
    "UZ", "VA", "VC", "VE", "VG", "VI", "VN", "VU", "WF", "WS", "YE", "YT", "ZA", "ZM", "ZW",
};

enum { countries_count = sizeof(countries) / sizeof(countries[0]) };

/* Its number, or -1. */
static int country_number(const char *code, size_t length) {
    for (int i = 0; length == BC_COUNTRY_CHARS && i < countries_count; i++) {
        if (memcmp(countries[i], code, BC_COUNTRY_CHARS) == 0) return i;
    }
    return -1;
}

bool bc_country_is_known(const char *code) {
    return country_number(code, strlen(code)) >= 0;
}

/* A stretch of a setting. */
typedef struct {
    const char *text;
    size_t length;
} part_t;

/* The next part that is not empty, between any of `separators`; false at the end. */
static bool next_part(part_t *rest, const char *separators, part_t *part) {
    while (rest->length > 0 && strchr(separators, rest->text[0]) != NULL) rest->text++, rest->length--;
    size_t length = 0;
    while (length < rest->length && strchr(separators, rest->text[length]) == NULL) length++;
    *part = (part_t){rest->text, length};
    rest->text += length;
    rest->length -= length;
    return length > 0;
}

/* Cuts `part` at the first `mark`: what is before stays, what is behind is *behind. false: there is none. */
static bool cut(part_t *part, char mark, part_t *behind) {
    const char *at = memchr(part->text, mark, part->length);
    if (at == NULL) return false;
    size_t before = (size_t)(at - part->text);
    *behind = (part_t){at + 1, part->length - before - 1};
    part->length = before;
    return true;
}

static bool is_star(const part_t *part) {
    return part->length == 1 && part->text[0] == '*';
}

static bool is_country(const part_t *part, const char *country) {
    return part->length == BC_COUNTRY_CHARS && memcmp(part->text, country, BC_COUNTRY_CHARS) == 0;
}

static bool read_number(const part_t *part, int64_t most, int64_t *number) {
    int64_t value = 0;
    if (part->length == 0 || part->length > 12) return false;
    for (size_t i = 0; i < part->length; i++) {
        if (part->text[i] < '0' || part->text[i] > '9') return false;
        value = value * 10 + (part->text[i] - '0');
    }
    if (value > most) return false;
    *number = value;
    return true;
}

/* "standard=490" */
static bool read_method(part_t word, bc_shipping_method_t *method) {
    part_t price;
    if (!cut(&word, '=', &price) || word.length == 0 || word.length > BC_SHIPPING_METHOD_MAX) return false;
    for (size_t i = 0; i < word.length; i++) {
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789-", word.text[i]) == NULL) return false;
    }
    memcpy(method->id, word.text, word.length);
    method->id[word.length] = '\0';
    return read_number(&price, BC_SHIPPING_PRICE_MAX, &method->price_minor);
}

/* The methods of one group; what is wrong, or NULL. */
static const char *read_methods(part_t text, bc_shipping_method_t methods[BC_SHIPPING_METHODS_MAX], size_t *count) {
    part_t word;
    *count = 0;
    while (next_part(&text, " \t,", &word)) {
        if (*count == BC_SHIPPING_METHODS_MAX) return "has more than 8 methods for a country";
        if (!read_method(word, &methods[*count])) return "has a method that is not NAME=PRICE (minor units)";
        for (size_t i = 0; i < *count; i++) {
            if (strcmp(methods[i].id, methods[*count].id) == 0) return "names a method twice";
        }
        (*count)++;
    }
    return *count == 0 ? "has countries without a method" : NULL;
}

/* Notes one country (or *) of a list; what is wrong, or NULL. */
static const char *note_country(const part_t *word, bool seen[countries_count + 1]) {
    int number = is_star(word) ? countries_count : country_number(word->text, word->length);
    if (number < 0) return "names a country that ISO 3166 does not know";
    if (seen[number]) return "names a country twice";
    seen[number] = true;
    return NULL;
}

const char *bc_shipping_judge(const char *setting) {
    part_t rest = {setting, strlen(setting)}, group, methods, word;
    bool seen[countries_count + 1] = {false};
    bc_shipping_method_t list[BC_SHIPPING_METHODS_MAX];
    size_t count = 0;
    bool any = false;
    while (next_part(&rest, ";", &group)) {
        if (strspn(group.text, " \t") >= group.length) continue;
        if (!cut(&group, ':', &methods)) return "has a group that is not COUNTRIES: METHODS";
        size_t before = 0;
        for (; next_part(&group, " \t,", &word); before++) {
            const char *wrong = note_country(&word, seen);
            if (wrong != NULL) return wrong;
        }
        if (before == 0) return "has methods without a country";
        const char *wrong = read_methods(methods, list, &count);
        if (wrong != NULL) return wrong;
        any = true;
    }
    return any ? NULL : "delivers nowhere";
}

const char *bc_tax_judge(const char *setting) {
    part_t rest = {setting, strlen(setting)}, word, rate;
    bool seen[countries_count + 1] = {false};
    while (next_part(&rest, " \t,;", &word)) {
        int64_t number = 0;
        if (!cut(&word, '=', &rate) || !read_number(&rate, BC_TAX_RATE_MAX, &number))
            return "has an entry that is not COUNTRY=RATE (basis points, at most 10000)";
        const char *wrong = note_country(&word, seen);
        if (wrong != NULL) return wrong;
    }
    return NULL;
}

size_t bc_shipping_find(const char *setting, const char *country,
                        bc_shipping_method_t methods[BC_SHIPPING_METHODS_MAX]) {
    part_t rest = {setting, strlen(setting)}, group, behind, word, others = {NULL, 0};
    size_t count = 0;
    if (!bc_country_is_known(country)) return 0;
    while (next_part(&rest, ";", &group)) {
        if (!cut(&group, ':', &behind)) continue;
        while (next_part(&group, " \t,", &word)) {
            if (is_star(&word)) others = behind;
            if (!is_country(&word, country)) continue;
            (void)read_methods(behind, methods, &count); /* was judged */
            return count;
        }
    }
    if (others.text != NULL) (void)read_methods(others, methods, &count); /* was judged */
    return count;
}

int bc_tax_find(const char *setting, const char *country) {
    part_t rest = {setting, strlen(setting)}, word, rate;
    int64_t found = -1;
    while (next_part(&rest, " \t,;", &word)) {
        int64_t number = 0;
        if (!cut(&word, '=', &rate) || !read_number(&rate, BC_TAX_RATE_MAX, &number)) continue;
        if (is_country(&word, country)) return (int)number;
        if (is_star(&word)) found = number;
    }
    return (int)found;
}

const char *bc_shipping_country_at(const char *setting, size_t index) {
    bc_shipping_method_t methods[BC_SHIPPING_METHODS_MAX];
    for (int i = 0; i < countries_count; i++) {
        if (bc_shipping_find(setting, countries[i], methods) > 0 && index-- == 0) return countries[i];
    }
    return NULL;
}

const char *bc_rates_judge(const char *shipping, const char *tax) {
    bc_shipping_method_t methods[BC_SHIPPING_METHODS_MAX];
    for (int i = 0; i < countries_count; i++) {
        if (bc_shipping_find(shipping, countries[i], methods) > 0 && bc_tax_find(tax, countries[i]) < 0)
            return "has no rate for a country that BOOKCART_SHIPPING delivers to (`*=0` names every other)";
    }
    return NULL;
}
