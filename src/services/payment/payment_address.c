#include "services/payment/payment_address.h"

#include "platform/bc_rates.h"

#include <string.h>

bool payment_text_good(const char *text, size_t most) {
    size_t points = 0;
    bool blank = true;
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte == 0x7f) return false;
        if (byte == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0)
            return false; /* C1 controls */
        if (byte != ' ') blank = false;
        points += (byte & 0xc0) != 0x80;
    }
    return !blank && points <= most;
}

static bool good_postcode(const char *text) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 -";
    return payment_text_good(text, PAYMENT_ADDRESS_POSTCODE_MAX) && strspn(text, allowed) == strlen(text);
}

static bool good_phone(const char *text) {
    return payment_text_good(text, PAYMENT_ADDRESS_PHONE_MAX) && strspn(text, "0123456789 +()-./") == strlen(text) &&
           strpbrk(text, "0123456789") != NULL;
}

/* Where every address has a postcode and all of them one form: # is a digit, ~ a letter or digit, anything else itself. */
static const struct {
    char country[BC_COUNTRY_CHARS + 1];
    const char *form;
} postcodes[] = {
    {"AT", "####"},   {"BE", "####"},     {"BG", "####"},   {"CH", "####"},  {"DE", "#####"},
    {"DK", "####"},   {"EE", "#####"},    {"ES", "#####"},  {"FI", "#####"}, {"FR", "#####"},
    {"HR", "#####"},  {"HU", "####"},     {"IT", "#####"},  {"LU", "####"},  {"NO", "####"},
    {"PL", "##-###"}, {"PT", "####-###"}, {"RO", "######"}, {"SI", "####"},
};

static bool fits_form(const char *text, const char *form) {
    for (; *form != '\0'; text++, form++) {
        if (*form == '#' ? *text < '0' || *text > '9' : *text != *form) return false;
    }
    return *text == '\0';
}

static address_fault_t judge_postcode(const char *country, const char *postcode) {
    for (size_t i = 0; i < sizeof(postcodes) / sizeof(postcodes[0]); i++) {
        if (strcmp(postcodes[i].country, country) != 0) continue;
        if (postcode == NULL) return (address_fault_t){"postcode", "required", "addresses of this country have one"};
        if (!fits_form(postcode, postcodes[i].form))
            return (address_fault_t){"postcode", "invalid", "is not of this country's form"};
    }
    return (address_fault_t){NULL, NULL, NULL};
}

typedef struct {
    const char *name;
    size_t most;
    bool needed;
    bool (*good)(const char *text); /* NULL: any text of that length */
} part_t;

static const part_t parts[] = {
    {"name", PAYMENT_ADDRESS_NAME_MAX, true, NULL},
    {"line1", PAYMENT_ADDRESS_LINE_MAX, true, NULL},
    {"line2", PAYMENT_ADDRESS_LINE_MAX, false, NULL},
    {"city", PAYMENT_ADDRESS_CITY_MAX, true, NULL},
    {"region", PAYMENT_ADDRESS_CITY_MAX, false, NULL},
    {"postcode", PAYMENT_ADDRESS_POSTCODE_MAX, false, good_postcode},
    {"country", BC_COUNTRY_CHARS, true, bc_country_is_known},
    {"phone", PAYMENT_ADDRESS_PHONE_MAX, false, good_phone},
};
enum { parts_count = sizeof(parts) / sizeof(parts[0]) };

static const part_t *find_part(const char *name) {
    for (size_t i = 0; i < parts_count; i++) {
        if (strcmp(parts[i].name, name) == 0) return &parts[i];
    }
    return NULL;
}

/* `place`: only country and postcode exist. */
static address_fault_t judge(const json_t *address, bool place) {
    if (!json_is_object(address)) return (address_fault_t){"", "wrong-kind", "an address is an object"};
    for (void *at = json_object_iter((json_t *)(uintptr_t)address); at != NULL; /* jansson's iterator only reads */
         at = json_object_iter_next((json_t *)(uintptr_t)address, at)) {
        const part_t *part = find_part(json_object_iter_key(at));
        const char *text = json_string_value(json_object_iter_value(at));
        if (part == NULL || (place && strcmp(part->name, "country") != 0 && strcmp(part->name, "postcode") != 0))
            return (address_fault_t){"", "unknown", "the address has a part that there is not"};
        if (text == NULL || strlen(text) != json_string_length(json_object_iter_value(at)))
            return (address_fault_t){part->name, "wrong-kind", "is not a text"};
        if (!payment_text_good(text, part->most) || (part->good != NULL && !part->good(text)))
            return (address_fault_t){part->name, "invalid",
                                     "is empty, too long or has characters that do not belong there"};
    }
    for (size_t i = 0; i < parts_count; i++) {
        bool needed = place ? strcmp(parts[i].name, "country") == 0 : parts[i].needed;
        if (needed && json_object_get(address, parts[i].name) == NULL)
            return (address_fault_t){parts[i].name, "required", "is missing"};
    }
    const char *postcode = json_string_value(json_object_get(address, "postcode"));
    if (place && postcode == NULL) return (address_fault_t){NULL, NULL, NULL};
    return judge_postcode(json_string_value(json_object_get(address, "country")), postcode);
}

address_fault_t payment_address_judge(const json_t *address) {
    return judge(address, false);
}

address_fault_t payment_place_judge(const json_t *place) {
    return judge(place, true);
}

static bool good_label(const char *text, size_t length) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    return length > 0 && length <= 63 && strspn(text, letters) >= length && text[0] != '-' && text[length - 1] != '-';
}

bool payment_email_good(const char *text) {
    static const char atoms[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~.";
    size_t length = strlen(text), local = strcspn(text, "@"), labels = 0;
    if (length > BC_MAIL_ADDRESS_MAX || local == 0 || local > 64 || local == length) return false;
    if (strspn(text, atoms) < local || text[0] == '.' || text[local - 1] == '.') return false;
    for (size_t i = 1; i < local; i++) {
        if (text[i] == '.' && text[i - 1] == '.') return false;
    }
    const char *domain = text + local + 1;
    for (;;) {
        size_t label = strcspn(domain, ".");
        if (!good_label(domain, label)) return false;
        labels++;
        if (domain[label] == '\0') return labels >= 2 && strspn(domain, "0123456789") < label;
        domain += label + 1;
    }
}
