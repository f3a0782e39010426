/* What everyone may read: one book, the shop (and library_list.c). Every answer has a strong tag, so that the edge's page cache and
 * browsers ask again for the price of a 304. */
#include "platform/bc_rates.h"
#include "services/library/library_json.h"
#include "services/library/library_list_query.h"
#include "services/library/library_service.h"

#include <stdlib.h>
#include <string.h>

static const char public_cache[] = "public, no-cache";

static char *dump(const json_t *body) {
    return body == NULL ? NULL : json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(library_json_precision));
}

void library_reply(bc_reply_t *reply, int status, json_t *body) {
    char *text = dump(body);
    json_decref(body);
    if (text == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
        return;
    }
    bc_reply_bytes(reply, status, "application/json", text, strlen(text));
    free(text);
}

void library_reply_failed(bc_reply_t *reply) {
    bc_reply_problem(reply, "unavailable", NULL);
    bc_reply_retry_after(reply, 1000);
}

void library_reply_tagged(bc_request_t *request, bc_reply_t *reply, json_t *body) {
    char *text = dump(body);
    json_decref(body);
    if (text == NULL) {
        bc_reply_problem(reply, "internal-error", NULL);
        return;
    }
    char etag[BC_ETAG_BYTES];
    bc_etag_of(text, strlen(text), etag);
    bc_reply_cache(reply, public_cache);
    if (!bc_reply_etag(request, reply, etag)) bc_reply_bytes(reply, 200, "application/json", text, strlen(text));
    free(text);
}

bool library_path_id(const bc_request_t *request, bc_reply_t *reply, int64_t *id) {
    const char *text = bc_request_part(request, "id");
    int64_t value = 0;
    size_t length = strlen(text);
    bool good = length > 0 && length <= 16 && text[0] != '0'; /* one spelling per book */
    for (size_t i = 0; i < length && good; i++) {
        good = text[i] >= '0' && text[i] <= '9';
        value = value * 10 + (text[i] - '0');
    }
    if (!good || value > LIBRARY_ID_MAX) {
        bc_reply_not_found(reply);
        return false;
    }
    *id = value;
    return true;
}

/* --- one book --- */

typedef struct {
    const library_t *library;
    json_t *body; /* owned; NULL: gone, or no memory */
    bool gone;
    char etag[BC_ETAG_BYTES];
} one_book_t;

static bool show_book(void *context, const library_row_t *row) {
    one_book_t *one = context;
    const char *currency = bc_config_text(one->library->config, BC_CURRENCY);
    one->gone = row->gone;
    library_etag(row, library_store_generation(one->library->store), currency, one->etag);
    if (!row->gone) one->body = library_json_book(row, currency, false);
    return true;
}

void library_handle_book(bc_request_t *request, bc_reply_t *reply, void *context) {
    one_book_t one = {.library = context};
    int64_t id = 0;
    if (!library_path_id(request, reply, &id)) return;
    library_result_t result = library_store_get(one.library->store, id, show_book, &one);
    if (result == LIBRARY_FAILED) {
        library_reply_failed(reply);
    } else if (result == LIBRARY_ABSENT || one.gone) {
        bc_reply_not_found(reply);
    } else {
        bc_reply_cache(reply, public_cache);
        if (!bc_reply_etag(request, reply, one.etag)) library_reply(reply, 200, json_incref(one.body));
    }
    json_decref(one.body);
}

/* --- the shop --- */

/* The settings do not change while the service runs: read once. */
json_t *library_countries(const bc_config_t *config) {
    const char *setting = bc_config_text(config, BC_SHIPPING);
    bc_shipping_method_t methods[BC_SHIPPING_METHODS_MAX];
    json_t *countries = json_array();
    char code[BC_COUNTRY_CHARS + 1] = "";
    for (code[0] = 'A'; code[0] <= 'Z'; code[0]++) {
        for (code[1] = 'A'; code[1] <= 'Z' && countries != NULL; code[1]++) {
            if (bc_shipping_find(setting, code, methods) == 0) continue;
            if (json_array_append_new(countries, json_string(code)) != 0) {
                json_decref(countries);
                countries = NULL;
            }
        }
    }
    return countries;
}

void library_handle_shop(bc_request_t *request, bc_reply_t *reply, void *context) {
    const library_t *library = context;
    const bc_config_t *config = library->config;
    bool stripe = strncmp(bc_config_text(config, BC_PAYMENTS), "stripe:", 7) == 0;
    json_t *payment = json_pack("{s:s, s:o}", "provider", stripe ? "stripe" : "sandbox", "publishable_key",
                                stripe ? json_string(bc_config_text(config, BC_STRIPE_PUBLISHABLE_KEY)) : json_null());
    library_reply_tagged(request, reply,
                         json_pack("{s:s, s:s, s:[s, s, s], s:O, s:{s:i, s:i, s:i, s:i, s:i}, s:o}", "name",
                                   bc_config_text(config, BC_SHOP_NAME), "currency",
                                   bc_config_text(config, BC_CURRENCY), "languages", bc_language_tag(BC_EN),
                                   bc_language_tag(BC_FR), bc_language_tag(BC_BG), "countries", library->countries,
                                   "limits", "cart_lines", 100, "line_quantity", 99, "list_limit",
                                   (int)library_list_limit_max, "list_ids", (int)library_ids_max, "search_characters",
                                   (int)library_query_chars_max, "payment", payment));
}
