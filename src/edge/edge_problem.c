#include "edge/edge_problem.h"

#include <assert.h>

/* clang-format off */
static const struct {
    const char *name;
    unsigned status;
    const char *titles[EDGE_LANGUAGES];
} table[EDGE_PROBLEMS] = {
    [EDGE_PROBLEM_MALFORMED] = {"malformed-request", 400, {"The request is malformed", "La requête est mal formée", "Заявката е неправилно съставена"}},
    [EDGE_PROBLEM_UNAUTHORIZED] = {"unauthorized", 401, {"A valid token is needed", "Un jeton valide est nécessaire", "Необходим е валиден токен"}},
    [EDGE_PROBLEM_FORBIDDEN] = {"forbidden", 403, {"Not allowed", "Non autorisé", "Не е разрешено"}},
    [EDGE_PROBLEM_NOT_FOUND] = {"not-found", 404, {"Not found", "Introuvable", "Не е намерено"}},
    [EDGE_PROBLEM_METHOD] = {"method-not-allowed", 405, {"The method is not allowed here", "La méthode n'est pas autorisée ici", "Методът не е разрешен тук"}},
    [EDGE_PROBLEM_TIMEOUT] = {"request-timeout", 408, {"The request came too slowly", "La requête est arrivée trop lentement", "Заявката пристигна твърде бавно"}},
    [EDGE_PROBLEM_PRECONDITION] = {"precondition-failed", 412, {"The precondition failed", "La précondition a échoué", "Предварителното условие не е изпълнено"}},
    [EDGE_PROBLEM_TOO_LARGE] = {"body-too-large", 413, {"The body is too large", "Le corps est trop volumineux", "Тялото е твърде голямо"}},
    [EDGE_PROBLEM_URI_TOO_LONG] = {"uri-too-long", 414, {"The address is too long", "L'adresse est trop longue", "Адресът е твърде дълъг"}},
    [EDGE_PROBLEM_MEDIA_TYPE] = {"unsupported-media-type", 415, {"The media type is not supported", "Le type de média n'est pas pris en charge", "Типът съдържание не се поддържа"}},
    [EDGE_PROBLEM_UNKNOWN_BOOK] = {"unknown-book", 422, {"There is no such book", "Ce livre n'existe pas", "Няма такава книга"}},
    [EDGE_PROBLEM_QUANTITY_LIMIT] = {"quantity-limit", 422, {"At most 99 copies of a book", "Au plus 99 exemplaires d'un livre", "Най-много 99 броя от една книга"}},
    [EDGE_PROBLEM_LINE_LIMIT] = {"line-limit", 422, {"At most 100 books in a cart", "Au plus 100 livres dans un panier", "Най-много 100 книги в количката"}},
    [EDGE_PROBLEM_KEY_REUSED] = {"idempotency-key-reused", 422, {"The key was used for another request", "La clé a servi à une autre requête", "Ключът е използван за друга заявка"}},
    [EDGE_PROBLEM_TOO_MANY] = {"too-many-requests", 429, {"Too many requests", "Trop de requêtes", "Твърде много заявки"}},
    [EDGE_PROBLEM_HEADER_TOO_LARGE] = {"header-too-large", 431, {"The request's header is too large", "L'en-tête de la requête est trop volumineux", "Заглавната част на заявката е твърде голяма"}},
    [EDGE_PROBLEM_INTERNAL] = {"internal-error", 500, {"Something went wrong on our side", "Une erreur est survenue de notre côté", "Възникна грешка при нас"}},
    [EDGE_PROBLEM_NOT_IMPLEMENTED] = {"not-implemented", 501, {"Not implemented", "Non pris en charge", "Не се поддържа"}},
    [EDGE_PROBLEM_BAD_GATEWAY] = {"bad-gateway", 502, {"A service did not answer", "Un service n'a pas répondu", "Услуга не отговори"}},
    [EDGE_PROBLEM_CART_UNAVAILABLE] = {"cart-unavailable", 503, {"The cart is not available at the moment", "Le panier est indisponible pour le moment", "Количката в момента не е достъпна"}},
    [EDGE_PROBLEM_UNAVAILABLE] = {"unavailable", 503, {"Not available at the moment", "Indisponible pour le moment", "В момента не е достъпно"}},
    [EDGE_PROBLEM_GATEWAY_TIMEOUT] = {"gateway-timeout", 504, {"A service answered too late", "Un service a répondu trop tard", "Услуга отговори твърде късно"}},
};
/* clang-format on */

const char *edge_problem_name(edge_problem_t problem) {
    assert(problem < EDGE_PROBLEMS);
    return table[problem].name;
}

unsigned edge_problem_status(edge_problem_t problem) {
    assert(problem < EDGE_PROBLEMS);
    return table[problem].status;
}

const char *edge_problem_title(edge_problem_t problem, edge_language_t language) {
    assert(problem < EDGE_PROBLEMS && language < EDGE_LANGUAGES);
    return table[problem].titles[language];
}

edge_problem_t edge_problem_for_status(unsigned status) {
    if (status == 494) return EDGE_PROBLEM_HEADER_TOO_LARGE; /* nginx's own number for it */
    if (status >= 495 && status <= 497) return EDGE_PROBLEM_MALFORMED;
    if (status == 503) return EDGE_PROBLEM_UNAVAILABLE;
    if (status == 422) return EDGE_PROBLEM_MALFORMED;
    for (unsigned i = 0; i < EDGE_PROBLEMS; i++)
        if (table[i].status == status) return (edge_problem_t)i;
    return status >= 400 && status < 500 ? EDGE_PROBLEM_MALFORMED : EDGE_PROBLEM_INTERNAL;
}

static const char *const tags[EDGE_LANGUAGES] = {"en", "fr", "bg"};
const char *edge_language_tag(edge_language_t language) {
    assert(language < EDGE_LANGUAGES);
    return tags[language];
}

/* The weight behind a range, in thousandths; 1000 when there is none, 0 when it is none of RFC 9110's. */
static unsigned weight(const char *at, const char *end) {
    while (at < end && *at != ';') at++;
    if (at == end) return 1000;
    at++;
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    if (end - at < 3 || (*at != 'q' && *at != 'Q') || at[1] != '=' || (at[2] != '0' && at[2] != '1')) return 0;
    unsigned value = at[2] == '1' ? 1000 : 0;
    at += 3;
    if (at < end && *at == '.') {
        unsigned unit = 100;
        for (at++; at < end && *at >= '0' && *at <= '9' && unit > 0; at++, unit /= 10)
            value += (unsigned)(*at - '0') * unit;
    }
    return value > 1000 ? 0 : value;
}

edge_language_t edge_language_choose(const char *accept, size_t length) {
    edge_language_t best = EDGE_EN;
    unsigned best_weight = 0;
    const char *at = accept;
    const char *end = accept + length;
    while (at < end) {
        while (at < end && (*at == ' ' || *at == '\t' || *at == ',')) at++;
        const char *stop = at;
        while (stop < end && *stop != ',') stop++;
        for (unsigned i = 0; i < EDGE_LANGUAGES && stop - at >= 2; i++) {
            char rest = stop - at == 2 ? ';' : at[2];
            bool same = (at[0] | 0x20) == tags[i][0] && (at[1] | 0x20) == tags[i][1] &&
                        (rest == ';' || rest == '-' || rest == ' ');
            unsigned value = same ? weight(at, stop) : 0;
            if (value > best_weight) {
                best = (edge_language_t)i;
                best_weight = value;
            }
        }
        at = stop;
    }
    return best;
}

void edge_problem_render(edge_out_t *out, const edge_problem_text_t *text) {
    assert(text->problem < EDGE_PROBLEMS && text->language < EDGE_LANGUAGES);
    edge_out_literal(out, "{\"type\":\"");
    edge_out_text(out, text->base);
    edge_out_text(out, table[text->problem].name);
    edge_out_literal(out, "\",\"title\":\"");
    edge_out_text(out, table[text->problem].titles[text->language]);
    edge_out_literal(out, "\",\"status\":");
    edge_out_u64(out, table[text->problem].status);
    if (text->detail != NULL) {
        edge_out_literal(out, ",\"detail\":");
        edge_out_json(out, text->detail, strlen(text->detail));
    }
    edge_out_literal(out, ",\"request_id\":");
    edge_out_json(out, text->request_id, text->request_id_length);
    if (text->field != NULL) {
        edge_out_literal(out, ",\"errors\":[{\"field\":");
        edge_out_json(out, text->field, strlen(text->field));
        edge_out_literal(out, ",\"code\":");
        edge_out_json(out, text->code, strlen(text->code));
        edge_out_literal(out, ",\"detail\":");
        edge_out_json(out, text->field_detail, strlen(text->field_detail));
        if (text->has_offset) {
            edge_out_literal(out, ",\"offset\":");
            edge_out_u64(out, text->offset);
        }
        edge_out_literal(out, "}]");
    }
    edge_out_literal(out, "}");
}
