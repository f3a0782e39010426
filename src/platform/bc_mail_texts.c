/*
 * The texts, and how their {names} are filled. A name that stands in a text and is not in `fillers` is our mistake: a test writes
 * every kind in every language.
 */
#include "platform/bc_mail_texts.h"

#include "platform/bc_mail_message.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NBSP      "\xc2\xa0"
#define THIN_NBSP "\xe2\x80\xaf"
#define LINES_MAX 200 /* order lines shown; an order has at most 100 */
#define VALUE_MAX 400 /* characters of one value shown */

typedef struct {
    const char *word;
    struct {
        const char *subject, *text;
    } in[BC_LANGUAGE_COUNT];
} kind_t;

/* clang-format off */
static const kind_t kinds[BC_MAIL_KIND_COUNT] = {
[BC_MAIL_VERIFY] = {"verify", {
    {"Please confirm your e-mail address",
     "Welcome to {shop}!\n\n"
     "Please confirm that this is your e-mail address by opening this link:\n\n"
     "{verify_link}\n\n"
     "The link works once and for a limited time. If you have not registered at\n"
     "{shop}, somebody has mistyped an address: you need not do anything.\n"},
    {"Veuillez confirmer votre adresse électronique",
     "Bienvenue chez {shop} !\n\n"
     "Veuillez confirmer qu'il s'agit bien de votre adresse électronique en\n"
     "ouvrant ce lien :\n\n"
     "{verify_link}\n\n"
     "Le lien ne sert qu'une fois et pour une durée limitée. Si vous ne vous êtes\n"
     "pas inscrit chez {shop}, quelqu'un s'est trompé en saisissant une adresse :\n"
     "vous n'avez rien à faire.\n"},
    {"Моля, потвърдете имейл адреса си",
     "Добре дошли в {shop}!\n\n"
     "Моля, потвърдете, че това е вашият имейл адрес, като отворите тази връзка:\n\n"
     "{verify_link}\n\n"
     "Връзката може да се използва само веднъж и за ограничено време. Ако не сте\n"
     "се регистрирали в {shop}, някой е сгрешил адреса си и не е нужно да правите\n"
     "нищо.\n"}}},
[BC_MAIL_RESET] = {"reset", {
    {"Choose a new password",
     "Somebody, hopefully you, has asked for a new password for your account at\n"
     "{shop}. Open this link to choose one:\n\n"
     "{reset_link}\n\n"
     "The link works once and for a limited time. If it was not you, ignore this\n"
     "message: your password stays as it is.\n"},
    {"Choisissez un nouveau mot de passe",
     "Quelqu'un, vous sans doute, a demandé un nouveau mot de passe pour votre\n"
     "compte chez {shop}. Ouvrez ce lien pour le choisir :\n\n"
     "{reset_link}\n\n"
     "Le lien ne sert qu'une fois et pour une durée limitée. Si la demande ne vient\n"
     "pas de vous, ignorez ce message : votre mot de passe reste inchangé.\n"},
    {"Изберете нова парола",
     "Някой, вероятно вие, поиска нова парола за профила ви в {shop}. Отворете\n"
     "тази връзка, за да я изберете:\n\n"
     "{reset_link}\n\n"
     "Връзката може да се използва само веднъж и за ограничено време. Ако не сте\n"
     "били вие, не обръщайте внимание на това съобщение: паролата ви остава същата.\n"}}},
[BC_MAIL_EMAIL_CHANGED] = {"email-changed", {
    {"Your e-mail address was changed",
     "The e-mail address of your account at {shop} was changed to\n"
     "{new_email_hint}. From now on we write to the new address only.\n\n"
     "If this was not you, somebody else may have had access to your account.\n"
     "Please tell us at once:\n\n"
     "{contact_link}\n"},
    {"Votre adresse électronique a été modifiée",
     "L'adresse électronique de votre compte chez {shop} est désormais\n"
     "{new_email_hint}. Nous n'écrirons plus qu'à cette nouvelle adresse.\n\n"
     "Si cette modification ne vient pas de vous, quelqu'un d'autre a peut-être eu\n"
     "accès à votre compte. Veuillez nous prévenir sans attendre :\n\n"
     "{contact_link}\n"},
    {"Имейл адресът ви беше променен",
     "Имейл адресът на профила ви в {shop} беше променен на {new_email_hint}.\n"
     "Отсега нататък ще пишем само на новия адрес.\n\n"
     "Ако не сте го променили вие, възможно е някой друг да е имал достъп до\n"
     "профила ви. Моля, съобщете ни незабавно:\n\n"
     "{contact_link}\n"}}},
[BC_MAIL_PASSWORD_CHANGED] = {"password-changed", {
    {"Your password was changed",
     "The password of your account at {shop} was changed, and your other devices\n"
     "were signed out.\n\n"
     "If this was not you, choose a new password at once:\n\n"
     "{forgot_link}\n"},
    {"Votre mot de passe a été modifié",
     "Le mot de passe de votre compte chez {shop} a été modifié, et vos autres\n"
     "appareils ont été déconnectés.\n\n"
     "Si cette modification ne vient pas de vous, choisissez sans attendre un\n"
     "nouveau mot de passe :\n\n"
     "{forgot_link}\n"},
    {"Паролата ви беше променена",
     "Паролата на профила ви в {shop} беше променена. На другите си устройства ще\n"
     "трябва да влезете отново.\n\n"
     "Ако не сте я променили вие, изберете незабавно нова парола:\n\n"
     "{forgot_link}\n"}}},
[BC_MAIL_ORDER_CONFIRMED] = {"order-confirmed", {
    {"Your order {number}",
     "Thank you for your order at {shop}!\n{test}\n"
     "Order {number}\n\n"
     "{lines}\n{totals}\n"
     "We deliver to:\n\n"
     "{address}\n"
     "You can follow your order here:\n\n"
     "{order_link}\n"},
    {"Votre commande {number}",
     "Merci pour votre commande chez {shop} !\n{test}\n"
     "Commande {number}\n\n"
     "{lines}\n{totals}\n"
     "Nous livrons à :\n\n"
     "{address}\n"
     "Vous pouvez suivre votre commande ici :\n\n"
     "{order_link}\n"},
    {"Вашата поръчка {number}",
     "Благодарим ви за поръчката в {shop}!\n{test}\n"
     "Поръчка {number}\n\n"
     "{lines}\n{totals}\n"
     "Ще доставим до:\n\n"
     "{address}\n"
     "Можете да следите поръчката си тук:\n\n"
     "{order_link}\n"}}},
[BC_MAIL_ORDER_SHIPPED] = {"order-shipped", {
    {"Your order {number} is on its way",
     "Good news: these books of your order {number} are on their way to you.\n\n"
     "{lines}\n"
     "Carrier: {carrier}\n"
     "Tracking number: {tracking}\n\n"
     "All your orders:\n\n"
     "{order_link}\n"},
    {"Votre commande {number} est en route",
     "Bonne nouvelle : ces livres de votre commande {number} sont en route.\n\n"
     "{lines}\n"
     "Transporteur : {carrier}\n"
     "Numéro de suivi : {tracking}\n\n"
     "Toutes vos commandes :\n\n"
     "{order_link}\n"},
    {"Поръчката ви {number} пътува към вас",
     "Добра новина: тези книги от поръчката ви {number} вече пътуват към вас.\n\n"
     "{lines}\n"
     "Превозвач: {carrier}\n"
     "Номер за проследяване: {tracking}\n\n"
     "Всичките ви поръчки:\n\n"
     "{order_link}\n"}}},
[BC_MAIL_ORDER_REFUNDED] = {"order-refunded", {
    {"A refund for your order {number}",
     "We have returned {amount} for your order {number}.\n\n"
     "The money goes back to the means of payment that you used. How many days it\n"
     "takes depends on your bank.\n\n"
     "{order_link}\n"},
    {"Un remboursement pour votre commande {number}",
     "Nous vous avons remboursé {amount} pour votre commande {number}.\n\n"
     "La somme est rendue au moyen de paiement que vous avez utilisé. Le délai\n"
     "dépend de votre banque.\n\n"
     "{order_link}\n"},
    {"Възстановена сума за поръчка {number}",
     "Възстановихме ви {amount} за поръчка {number}.\n\n"
     "Сумата се връща там, откъдето сте платили. Колко дни ще отнеме, зависи от\n"
     "вашата банка.\n\n"
     "{order_link}\n"}}},
[BC_MAIL_LATE_REFUNDED] = {"late-refunded", {
    {"Your payment for order {number} was returned",
     "Your payment for order {number} reached us after the order had expired,\n"
     "and the books were no longer available. We have therefore returned the whole\n"
     "amount, {amount}, and nothing will be sent.\n\n"
     "The money goes back to the means of payment that you used. How many days it\n"
     "takes depends on your bank. We are sorry, and would be glad to see you again:\n\n"
     "{url}\n"},
    {"Votre paiement pour la commande {number} vous a été rendu",
     "Votre paiement pour la commande {number} nous est parvenu après son\n"
     "expiration, et les livres n'étaient plus disponibles. Nous vous avons donc\n"
     "rendu la somme entière, {amount}, et rien ne sera expédié.\n\n"
     "La somme est rendue au moyen de paiement que vous avez utilisé. Le délai\n"
     "dépend de votre banque. Nous en sommes désolés et espérons vous revoir :\n\n"
     "{url}\n"},
    {"Плащането ви за поръчка {number} беше върнато",
     "Плащането ви за поръчка {number} пристигна, след като срокът ѝ беше изтекъл,\n"
     "а книгите вече не бяха налични. Затова върнахме цялата сума, {amount}, и няма\n"
     "да изпратим нищо.\n\n"
     "Сумата се връща там, откъдето сте платили. Колко дни ще отнеме, зависи от\n"
     "вашата банка. Съжаляваме и ще се радваме да ни посетите отново:\n\n"
     "{url}\n"}}},
[BC_MAIL_QUESTION_ANSWERED] = {"question-answered", {
    {"Your question: {subject}",
     "We have answered your question “{subject}”.\n\n"
     "You can read the answer, and write back, here:\n\n"
     "{question_link}\n"},
    {"Votre question : {subject}",
     "Nous avons répondu à votre question « {subject} ».\n\n"
     "Vous pouvez lire la réponse et nous écrire à nouveau ici :\n\n"
     "{question_link}\n"},
    {"Вашият въпрос: {subject}",
     "Отговорихме на въпроса ви „{subject}“.\n\n"
     "Можете да прочетете отговора и да ни пишете отново тук:\n\n"
     "{question_link}\n"}}},
};

enum { SUBTOTAL, SHIPPING, TAX, TAX_INCLUDED, TOTAL, LABELS };
static const char *const labels[BC_LANGUAGE_COUNT][LABELS] = {
    {"Subtotal", "Shipping", "Tax", "Tax included", "Total"},
    {"Sous-total", "Livraison", "Taxes", "Dont taxes", "Total"},
    {"Междинна сума", "Доставка", "Данъци", "В това число данъци", "Общо"},
};
static const char *const colons[BC_LANGUAGE_COUNT] = {":", NBSP ":", ":"};
static const char *const tests[BC_LANGUAGE_COUNT] = {
    "\nThis is a test order: no money has moved and nothing will be sent.\n",
    "\nCeci est une commande d'essai : aucun paiement n'a eu lieu et rien ne sera expédié.\n",
    "\nТова е пробна поръчка: не е извършено плащане и нищо няма да бъде изпратено.\n",
};
/* clang-format on */

/* --- money --- */

typedef struct {
    const char *code;
    unsigned digits; /* of the minor unit, ISO 4217 */
    const char *sign;
} currency_t;

static const currency_t currencies[] = {
    {"EUR", 2, "€"},  {"USD", 2, "$"},  {"GBP", 2, "£"},  {"BGN", 2, "лв."}, {"JPY", 0, "¥"},  {"BHD", 3, NULL},
    {"BIF", 0, NULL}, {"CLP", 0, NULL}, {"DJF", 0, NULL}, {"GNF", 0, NULL},  {"IQD", 3, NULL}, {"ISK", 0, NULL},
    {"JOD", 3, NULL}, {"KMF", 0, NULL}, {"KRW", 0, NULL}, {"KWD", 3, NULL},  {"LYD", 3, NULL}, {"OMR", 3, NULL},
    {"PYG", 0, NULL}, {"RWF", 0, NULL}, {"TND", 3, NULL}, {"UGX", 0, NULL},  {"VND", 0, NULL}, {"VUV", 0, NULL},
    {"XAF", 0, NULL}, {"XOF", 0, NULL}, {"XPF", 0, NULL}, {NULL, 2, NULL},
};

static void put_grouped(FILE *out, uint64_t whole, const char *separator) {
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%" PRIu64, whole);
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) (void)fputs(separator, out);
        (void)fputc(digits[i], out);
    }
}

void bc_mail_put_money(FILE *out, int64_t amount_minor, const char *currency, bc_language_t language) {
    static const char *const separators[BC_LANGUAGE_COUNT] = {",", THIN_NBSP, NBSP};
    const currency_t *row = currencies;
    while (row->code != NULL && strcmp(row->code, currency) != 0) row++;
    uint64_t amount = amount_minor < 0 ? -(uint64_t)amount_minor : (uint64_t)amount_minor, unit = 1;
    for (unsigned i = 0; i < row->digits; i++) unit *= 10;
    if (amount_minor < 0) (void)fputs("−", out); /* errors stay in `out`, here and below */
    bool before = language == BC_EN && row->sign != NULL && strcmp(currency, "BGN") != 0;
    if (before) (void)fputs(row->sign, out);
    if (!before && language == BC_EN) {
        bc_mail_put_plain(out, row->sign != NULL ? row->sign : currency, 8);
        (void)fputs(NBSP, out);
    }
    put_grouped(out, amount / unit, separators[language]);
    if (row->digits > 0)
        (void)fprintf(out, "%c%0*" PRIu64, language == BC_EN ? '.' : ',', (int)row->digits, amount % unit);
    if (language != BC_EN) {
        (void)fputs(NBSP, out);
        bc_mail_put_plain(out, row->sign != NULL ? row->sign : currency, 8);
    }
}

/* false: not {"amount":…,"currency":"…"}. */
static bool read_money(const json_t *money, int64_t *amount, const char **currency) {
    const json_t *number = json_object_get(money, "amount");
    const char *code = json_string_value(json_object_get(money, "currency"));
    if (!json_is_integer(number) || code == NULL) return false;
    *amount = json_integer_value(number);
    *currency = code;
    return true;
}

static bool put_money(FILE *out, const json_t *money, bc_language_t language) {
    int64_t amount = 0;
    const char *currency = "";
    if (!read_money(money, &amount, &currency)) return false;
    bc_mail_put_money(out, amount, currency, language);
    return true;
}

/* --- what stands for a {name}: false when the data lacks it --- */

static bool put_field(FILE *out, const bc_mail_facts_t *facts, const char *name) {
    const char *text = json_string_value(json_object_get(facts->data, name));
    if (text == NULL) return false;
    bc_mail_put_plain(out, text, VALUE_MAX);
    return true;
}

static bool put_shop(FILE *out, const bc_mail_facts_t *facts, const char *name) {
    (void)name;
    bc_mail_put_plain(out, facts->shop_name, VALUE_MAX);
    return true;
}

static bool put_url(FILE *out, const bc_mail_facts_t *facts, const char *name) {
    (void)name;
    (void)fputs(facts->url, out);
    return true;
}

/* Percent-encodes all but RFC 3986's unreserved characters. */
static void put_encoded(FILE *out, const char *text) {
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != '\0' && strchr("-._~", c) != NULL);
        if (plain) {
            (void)fputc(c, out);
        } else {
            (void)fprintf(out, "%%%02X", c);
        }
    }
}

static bool put_link(FILE *out, const bc_mail_facts_t *facts, const char *name) {
    static const struct {
        const char *name, *path;
        const char *field; /* goes behind the path; NULL: nothing */
        bool optional;
    } links[] = {
        {"verify_link", "/account/verify#token=", "token", false},
        {"reset_link", "/account/reset#token=", "token", false},
        {"forgot_link", "/account/forgot", NULL, false},
        {"contact_link", "/contact", NULL, false},
        {"order_link", "/orders/", "id", true},
        {"question_link", "/questions/", "question", false},
    };
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        if (strcmp(links[i].name, name) != 0) continue;
        const char *value =
            links[i].field == NULL ? "" : json_string_value(json_object_get(facts->data, links[i].field));
        if (value == NULL && !links[i].optional) return false;
        (void)fputs(facts->url, out);
        (void)fwrite(links[i].path, 1, strlen(links[i].path) - (value == NULL), out); /* /orders when there is no id */
        if (value != NULL) put_encoded(out, value);
        return true;
    }
    assert(!"a link that has no row");
    return false;
}

static bool put_amount(FILE *out, const bc_mail_facts_t *facts, const char *name) {
    return put_money(out, json_object_get(facts->data, name), facts->language);
}

/* "  2 × Emma   €25.98" a line; the price only where the data has one. */
static bool put_lines(FILE *out, const bc_mail_facts_t *facts, const char *name) {
    const json_t *lines = json_object_get(facts->data, name), *line;
    size_t index;
    if (!json_is_array(lines)) return false;
    json_array_foreach(lines, index, line) {
        const json_t *quantity = json_object_get(line, "quantity"), *book = json_object_get(line, "book");
        const char *title = json_string_value(json_object_get(line, "title"));
        if (index == LINES_MAX) {
            (void)fputs("  …\n", out);
            break;
        }
        if (!json_is_integer(quantity) || (title == NULL && !json_is_integer(book))) return false;
        (void)fprintf(out, "  %" JSON_INTEGER_FORMAT " × ", json_integer_value(quantity));
        if (title != NULL) {
            bc_mail_put_plain(out, title, VALUE_MAX);
        } else {
            (void)fprintf(out, "#%" JSON_INTEGER_FORMAT, json_integer_value(book));
        }
        const json_t *total = json_object_get(line, "total");
        if (total != NULL) {
            (void)fputs("   ", out);
            if (!put_money(out, total, facts->language)) return false;
        }
        (void)fputc('\n', out);
    }
    return true;
}

/* The sum of [{"rate_bp","base","amount"}], as an order has it. */
static bool read_taxes(const json_t *taxes, int64_t *sum) {
    *sum = 0;
    for (size_t i = 0; i < json_array_size(taxes); i++) {
        int64_t amount = 0;
        const char *currency = "";
        if (!read_money(json_object_get(json_array_get(taxes, i), "amount"), &amount, &currency) ||
            __builtin_add_overflow(*sum, amount, sum))
            return false;
    }
    return true;
}

static bool put_totals(FILE *out, const bc_mail_facts_t *facts, const char *name) {
    static const struct {
        const char *field;
        int label;
    } rows[] = {{"subtotal", SUBTOTAL}, {"shipping", SHIPPING}, {"tax", TAX}, {"total", TOTAL}};
    int64_t amounts[4] = {0};
    const char *currency = "";
    (void)name;
    for (size_t i = 0; i < 4; i++) {
        const json_t *value = json_object_get(facts->data, rows[i].field);
        if (json_is_array(value) ? !read_taxes(value, &amounts[i]) : !read_money(value, &amounts[i], &currency))
            return false;
    }
    bool included = amounts[0] + amounts[1] == amounts[3]; /* prices with their tax, or no tax at all */
    for (size_t i = 0; i < 4; i++) {
        if (rows[i].label == TAX && amounts[i] == 0) continue;
        int label = rows[i].label == TAX && included ? TAX_INCLUDED : rows[i].label;
        (void)fprintf(out, "  %s%s ", labels[facts->language][label], colons[facts->language]);
        bc_mail_put_money(out, amounts[i], currency, facts->language);
        (void)fputc('\n', out);
    }
    return true;
}

static bool put_address(FILE *out, const bc_mail_facts_t *facts, const char *name) {
    static const char *const fields[] = {"name", "line1", "line2", "postcode", "city", "region", "country"};
    const json_t *address = json_object_get(facts->data, "shipping_address");
    (void)name;
    if (!json_is_object(address)) return false;
    bool line = false;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const char *text = json_string_value(json_object_get(address, fields[i]));
        bool joins = strcmp(fields[i], "city") == 0 && line; /* postcode and city share a line */
        if (text == NULL || text[0] == '\0') continue;
        if (line) (void)fputs(joins ? " " : "\n", out);
        if (!joins) (void)fputs("  ", out);
        bc_mail_put_plain(out, text, VALUE_MAX);
        line = true;
    }
    if (line) (void)fputc('\n', out);
    return true;
}

static bool put_test(FILE *out, const bc_mail_facts_t *facts, const char *name) {
    if (json_is_true(json_object_get(facts->data, name))) (void)fputs(tests[facts->language], out);
    return true;
}

static const struct {
    const char *name;
    bool (*put)(FILE *out, const bc_mail_facts_t *facts, const char *name);
} fillers[] = {
    {"shop", put_shop},
    {"url", put_url},
    {"verify_link", put_link},
    {"reset_link", put_link},
    {"forgot_link", put_link},
    {"contact_link", put_link},
    {"order_link", put_link},
    {"question_link", put_link},
    {"new_email_hint", put_field},
    {"number", put_field},
    {"subject", put_field},
    {"carrier", put_field},
    {"tracking", put_field},
    {"amount", put_amount},
    {"lines", put_lines},
    {"totals", put_totals},
    {"address", put_address},
    {"test", put_test},
};

/* `missing` points to a name of the table. */
static bool fill(FILE *out, const bc_mail_facts_t *facts, const char *text, const char **missing) {
    for (;;) {
        size_t plain = strcspn(text, "{");
        (void)fwrite(text, 1, plain, out); /* errors are looked at in fclose */
        text += plain;
        if (*text == '\0') return true;
        size_t length = strcspn(text + 1, "}");
        size_t i = 0;
        while (i < sizeof(fillers) / sizeof(fillers[0]) &&
               (strlen(fillers[i].name) != length || memcmp(fillers[i].name, text + 1, length) != 0))
            i++;
        assert(i < sizeof(fillers) / sizeof(fillers[0])); /* a {name} of ours that nothing fills */
        if (!fillers[i].put(out, facts, fillers[i].name)) {
            *missing = fillers[i].name;
            return false;
        }
        text += length + 2;
    }
}

static char *write_one(const bc_mail_facts_t *facts, const char *text, bool signature, const char **missing) {
    char *made = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&made, &length);
    if (out == NULL) return NULL;
    bool good = fill(out, facts, text, missing) &&
                (!signature || fill(out, facts, "\n-- \n{shop}\n{url}\n", missing)); /* the sign that readers know */
    if (fclose(out) == 0 && good) return made;
    free(made);
    return NULL;
}

bool bc_mail_write(const bc_mail_facts_t *facts, char **subject, char **text, const char **missing) {
    assert(facts->kind < BC_MAIL_KIND_COUNT);
    assert(facts->language < BC_LANGUAGE_COUNT);
    const kind_t *kind = &kinds[facts->kind];
    *missing = NULL;
    char *first = write_one(facts, kind->in[facts->language].subject, false, missing);
    char *second = first == NULL ? NULL : write_one(facts, kind->in[facts->language].text, true, missing);
    if (second == NULL) {
        free(first);
        return false;
    }
    *subject = first;
    *text = second;
    return true;
}

const char *bc_mail_kind_word(bc_mail_kind_t kind) {
    assert(kind < BC_MAIL_KIND_COUNT);
    return kinds[kind].word;
}

bool bc_mail_kind_parse(const char *word, bc_mail_kind_t *kind) {
    for (int i = 0; i < BC_MAIL_KIND_COUNT; i++) {
        if (strcmp(kinds[i].word, word) != 0) continue;
        *kind = (bc_mail_kind_t)i;
        return true;
    }
    return false;
}
