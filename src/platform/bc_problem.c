#include "platform/bc_problem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* clang-format off */
static const bc_problem_t table[] = {
    {"malformed-request", 400, {"The request is malformed", "La requête est mal formée", "Заявката е неправилно съставена"}},
    {"bad-cursor", 400, {"The cursor is not valid", "Le curseur n'est pas valide", "Курсорът е невалиден"}},
    {"idempotency-key-missing", 400, {"Idempotency-Key is needed", "Idempotency-Key est nécessaire", "Необходимо е Idempotency-Key"}},
    {"bad-signature", 400, {"The signature is not valid", "La signature n'est pas valide", "Подписът е невалиден"}},
    {"unauthorized", 401, {"A valid token is needed", "Un jeton valide est nécessaire", "Необходим е валиден токен"}},
    {"bad-credentials", 401, {"E-mail or password is wrong", "Adresse électronique ou mot de passe incorrect", "Грешен имейл или парола"}},
    {"bad-refresh-token", 401, {"The refresh token is not valid", "Le jeton de rafraîchissement n'est pas valide", "Токенът за подновяване е невалиден"}},
    {"payment-declined", 402, {"The payment was declined", "Le paiement a été refusé", "Плащането беше отказано"}},
    {"forbidden", 403, {"Not allowed", "Non autorisé", "Не е разрешено"}},
    {"registration-required", 403, {"Please register first", "Veuillez d'abord vous inscrire", "Първо се регистрирайте"}},
    {"account-disabled", 403, {"The account is disabled", "Le compte est désactivé", "Профилът е изключен"}},
    {"wrong-password", 403, {"The password is wrong", "Le mot de passe est incorrect", "Паролата е грешна"}},
    {"not-found", 404, {"Not found", "Introuvable", "Не е намерено"}},
    {"method-not-allowed", 405, {"The method is not allowed here", "La méthode n'est pas autorisée ici", "Методът не е разрешен тук"}},
    {"conflict", 409, {"The state does not allow this", "L'état ne le permet pas", "Състоянието не го позволява"}},
    {"email-taken", 409, {"The e-mail address is taken", "L'adresse électronique est déjà utilisée", "Имейл адресът е зает"}},
    {"already-registered", 409, {"This account is registered already", "Ce compte est déjà inscrit", "Този профил вече е регистриран"}},
    {"question-limit", 409, {"Too many of your questions wait for an answer", "Trop de vos questions attendent une réponse", "Твърде много ваши въпроси чакат отговор"}},
    {"message-limit", 409, {"This conversation is full", "Cette conversation est pleine", "Този разговор е пълен"}},
    {"last-admin", 409, {"The last administrator stays", "Le dernier administrateur reste", "Последният администратор остава"}},
    {"idempotency-key-in-use", 409, {"A request with this key still runs", "Une requête avec cette clé est en cours", "Заявка с този ключ още се изпълнява"}},
    {"cart-changed", 409, {"The cart has changed", "Le panier a changé", "Количката е променена"}},
    {"price-changed", 409, {"The price has changed", "Le prix a changé", "Цената е променена"}},
    {"out-of-stock", 409, {"There are not enough copies", "Il n'y a pas assez d'exemplaires", "Няма достатъчно екземпляри"}},
    {"order-open", 409, {"Another order awaits its payment", "Une autre commande attend son paiement", "Друга поръчка очаква плащане"}},
    {"payment-in-progress", 409, {"The order is being paid", "La commande est en cours de paiement", "Поръчката се плаща в момента"}},
    {"precondition-failed", 412, {"The precondition failed", "La précondition a échoué", "Предварителното условие не е изпълнено"}},
    {"body-too-large", 413, {"The body is too large", "Le corps est trop volumineux", "Тялото е твърде голямо"}},
    {"unsupported-media-type", 415, {"The media type is not supported", "Le type de média n'est pas pris en charge", "Типът съдържание не се поддържа"}},
    {"not-acceptable-value", 422, {"A value is not acceptable", "Une valeur n'est pas acceptable", "Стойност не е приемлива"}},
    {"idempotency-key-reused", 422, {"The key was used for another request", "La clé a servi à une autre requête", "Ключът е използван за друга заявка"}},
    {"bad-link", 422, {"The link is not valid any more", "Le lien n'est plus valable", "Връзката вече не е валидна"}},
    {"precondition-required", 428, {"If-Match is needed", "If-Match est nécessaire", "Необходимо е If-Match"}},
    {"too-many-requests", 429, {"Too many requests", "Trop de requêtes", "Твърде много заявки"}},
    {"internal-error", 500, {"Something went wrong on our side", "Une erreur est survenue de notre côté", "Възникна грешка при нас"}},
    {"unavailable", 503, {"Not available at the moment", "Indisponible pour le moment", "В момента не е достъпно"}},
};
/* clang-format on */

static const char *const tags[BC_LANGUAGE_COUNT] = {"en", "fr", "bg"};

const bc_problem_t *bc_problem_find(const char *name) {
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].name, name) == 0) return &table[i];
    }
    assert(!"a problem's name that is not in the table");
    return &table[0];
}

const bc_problem_t *bc_problem_at(size_t index) {
    return index < sizeof(table) / sizeof(table[0]) ? &table[index] : NULL;
}

json_t *bc_problem_body(const bc_problem_t *problem, bc_language_t language, const char *detail, const char *request_id,
                        json_t *errors) {
    char type[96];
    assert(language < BC_LANGUAGE_COUNT && strlen(problem->name) < sizeof(type) - 16);
    (void)snprintf(type, sizeof(type), "/problems/%s", problem->name); /* asserted to fit */
    json_t *body = json_pack("{s:s, s:s, s:i, s:s*, s:s*, s:o*}", "type", type, "title", problem->titles[language],
                             "status", problem->status, "detail", detail, "request_id", request_id, "errors", errors);
    /* A failed pack has released `errors` already (jansson 2.11 on). */
    return body;
}

const char *bc_language_tag(bc_language_t language) {
    assert(language < BC_LANGUAGE_COUNT);
    return tags[language];
}

/* q of one range in thousandths; 1000 when it has none; 0 when it is not a number between 0 and 1. */
static int quality(const char *parameters, size_t length) {
    const char *at = memchr(parameters, ';', length);
    if (at == NULL) return 1000;
    size_t left = length - (size_t)(at - parameters) - 1;
    at++;
    while (left > 0 && *at == ' ') at++, left--;
    if (left < 3 || (at[0] != 'q' && at[0] != 'Q') || at[1] != '=' || (at[2] != '0' && at[2] != '1')) return 0;
    int value = (at[2] - '0') * 1000, weight = 100;
    at += 3;
    left -= 3;
    if (left == 0 || *at != '.') return value;
    for (at++, left--; left > 0 && *at >= '0' && *at <= '9' && weight > 0; at++, left--, weight /= 10)
        value += (*at - '0') * weight;
    return value > 1000 ? 0 : value;
}

bc_language_t bc_language_choose(const char *accept_language) {
    bc_language_t best = BC_EN;
    int best_quality = 0;
    const char *at = accept_language == NULL ? "" : accept_language;
    while (*at != '\0') {
        at += strspn(at, ", \t");
        size_t length = strcspn(at, ",");
        int q = quality(at, length);
        for (int i = 0; i < BC_LANGUAGE_COUNT; i++) {
            /* "fr" and "fr-CA", not "fro". */
            bool same =
                length >= 2 && strncasecmp(at, tags[i], 2) == 0 && (length == 2 || strchr("-; ", at[2]) != NULL);
            if (same && q > best_quality) {
                best = (bc_language_t)i;
                best_quality = q;
            }
        }
        at += length;
    }
    return best;
}
