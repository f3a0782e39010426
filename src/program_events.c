/*
 * `bookcart events`: how far each service follows the others' logs, and the events it could not apply; `replay` tries those again,
 * `discard` gives them up and prints them one last time. Like every command it asks no question back: it names one event or one type.
 * All of it by the services' internal listeners: they alone touch their databases.
 */
#include "program.h"

#include "platform/bc_client.h"
#include "platform/bc_events.h"
#include "platform/bc_secret.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS   10000
#define PAGES_MAX 1000 /* of 100 dead letters: a service has that many only when something is very wrong */

typedef struct {
    json_t *pages[PAGES_MAX]; /* owned */
    size_t count;             /* 0: the service is away */
} seen_t;

static json_t *call(const bc_config_t *config, size_t service, const char *key, const char *method, const char *path,
                    const json_t *body, int *status) {
    bc_client_t *client = bc_client_create(bc_config_text(config, program_services[service].internal), key);
    json_t *reply = NULL;
    *status = 0;
    if (client != NULL) (void)bc_client_call(client, method, path, body, CALL_MS, NULL, status, &reply);
    bc_client_destroy(client);
    return reply;
}

static void see(const bc_config_t *config, size_t service, const char *key, seen_t *seen) {
    char path[96] = BC_DEAD_LETTERS_PATH;
    const char *next = "";
    while (next != NULL && seen->count < PAGES_MAX) {
        int status = 0;
        json_t *reply = call(config, service, key, "GET", path, NULL, &status);
        if (status != 200 || reply == NULL) {
            json_decref(reply);
            return;
        }
        seen->pages[seen->count++] = reply;
        next = json_string_value(json_object_get(reply, "next"));
        if (next != NULL) (void)snprintf(path, sizeof(path), BC_DEAD_LETTERS_PATH "?after=%.20s", next); /* fits */
    }
}

static long long number_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? 0 : strtoll(text, NULL, 10);
}

static const char *text_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "?" : text;
}

static size_t index_of(const char *name) {
    size_t i = 0;
    while (i < PROGRAM_SERVICES && strcmp(program_services[i].name, name) != 0) i++;
    return i;
}

static void print_followed(size_t service, const seen_t *all) {
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(all[service].pages[0], "followed"), i, one) {
        const char *source = text_of(one, "source");
        size_t of = index_of(source);
        long long position = number_of(one, "position");
        if (of < PROGRAM_SERVICES && all[of].count > 0) {
            long long lag = number_of(json_object_get(all[of].pages[0], "log"), "head") - position;
            printf("%-8s follows %-8s position %lld, behind %lld\n", program_services[service].name, source, position,
                   lag > 0 ? lag : 0);
        } else {
            printf("%-8s follows %-8s position %lld, behind ? (it does not answer)\n", program_services[service].name,
                   source, position);
        }
    }
}

static size_t print_letters(size_t service, const seen_t *seen) {
    size_t count = 0;
    for (size_t page = 0; page < seen->count; page++) {
        size_t i;
        const json_t *letter;
        json_array_foreach(json_object_get(seen->pages[page], "items"), i, letter) {
            const json_t *event = json_object_get(letter, "event");
            json_int_t tries = json_integer_value(json_object_get(letter, "tries"));
            printf("%-8s dead: %s %s %s key %s, %s%s: %s\n", program_services[service].name, text_of(letter, "source"),
                   text_of(event, "id"), text_of(event, "type"), text_of(event, "subject"),
                   tries < 0    ? "to be tried again, since "
                   : tries == 0 ? "not tried, since "
                                : "since ",
                   text_of(letter, "failed_at"), text_of(letter, "reason"));
            count++;
        }
    }
    return count;
}

static int list(const bc_config_t *config, const char *key) {
    seen_t *all = calloc(PROGRAM_SERVICES, sizeof(*all));
    size_t dead = 0;
    bool whole = all != NULL;
    for (size_t i = 0; i < PROGRAM_SERVICES && all != NULL; i++) see(config, i, key, &all[i]);
    for (size_t i = 0; i < PROGRAM_SERVICES && all != NULL; i++) {
        if (all[i].count > 0) {
            print_followed(i, all);
            continue;
        }
        fprintf(stderr, "bookcart: events: %s does not answer\n", program_services[i].name);
        whole = false;
    }
    for (size_t i = 0; i < PROGRAM_SERVICES && all != NULL; i++) {
        dead += print_letters(i, &all[i]);
        for (size_t page = 0; page < all[i].count; page++) json_decref(all[i].pages[page]);
    }
    free(all);
    if (whole) printf("%zu dead letter%s\n", dead, dead == 1 ? "" : "s");
    return whole ? 0 : 1;
}

static int replay(const bc_config_t *config, const char *key, const char *event) {
    json_t *body = event == NULL ? json_object() : json_pack("{s:s}", "event", event);
    long long count = 0;
    bool whole = body != NULL;
    for (size_t i = 0; i < PROGRAM_SERVICES && body != NULL; i++) {
        int status = 0;
        json_t *reply = call(config, i, key, "POST", BC_DEAD_LETTERS_REPLAY_PATH, body, &status);
        if (status == 200) {
            count += (long long)json_integer_value(json_object_get(reply, "replayed"));
        } else if (status != 404) { /* 404: the event is not among its letters */
            fprintf(stderr, "bookcart: events: %s does not answer\n", program_services[i].name);
            whole = false;
        }
        json_decref(reply);
    }
    json_decref(body);
    if (whole && event != NULL && count == 0) {
        fprintf(stderr, "bookcart: events: no dead letter %s\n", event);
        return 1;
    }
    printf("%lld to be tried again\n", count);
    return whole ? 0 : 1;
}

/* --- discard: what cannot and need not be applied --- */

static void print_discarded(size_t service, const json_t *letters) {
    size_t i;
    const json_t *letter;
    json_array_foreach(letters, i, letter) {
        const json_t *event = json_object_get(letter, "event");
        char *text = json_dumps(event, JSON_COMPACT); /* the last copy there is */
        printf("%-8s discarded: %s %s %s key %s: %s\n  %s\n", program_services[service].name, text_of(letter, "source"),
               text_of(event, "id"), text_of(event, "type"), text_of(event, "subject"), text_of(letter, "reason"),
               text == NULL ? "" : text);
        free(text);
    }
}

typedef struct {
    size_t discarded, left;
    bool whole; /* every service has answered */
} discarded_t;

/* Asks one service until it has no more of them. */
static void discard_at(const bc_config_t *config, size_t service, const char *key, const json_t *body,
                       discarded_t *sum) {
    bool more = true;
    size_t left = 0;
    while (more) {
        int status = 0;
        json_t *reply = call(config, service, key, "POST", BC_DEAD_LETTERS_DISCARD_PATH, body, &status);
        if (status == 200) {
            const json_t *letters = json_object_get(reply, "items");
            print_discarded(service, letters);
            sum->discarded += json_array_size(letters);
            left = (size_t)json_integer_value(json_object_get(reply, "left"));
        } else if (status != 404) { /* 404: the event is not among its letters */
            fprintf(stderr, "bookcart: events: %s does not answer\n", program_services[service].name);
            sum->whole = false;
        }
        more = status == 200 && json_is_true(json_object_get(reply, "more"));
        json_decref(reply);
    }
    sum->left += left;
}

static int discard(const bc_config_t *config, const char *key, const char *event, const char *type) {
    json_t *body = event != NULL ? json_pack("{s:s}", "event", event) : json_pack("{s:s}", "type", type);
    discarded_t sum = {.whole = body != NULL};
    for (size_t i = 0; i < PROGRAM_SERVICES && body != NULL; i++) discard_at(config, i, key, body, &sum);
    json_decref(body);
    if (sum.whole && sum.discarded == 0) {
        fprintf(stderr, "bookcart: events: no dead letter %s%s\n", event != NULL ? "" : "of type ",
                event != NULL ? event : type);
        return 1;
    }
    printf("%zu discarded\n", sum.discarded);
    if (sum.left > 0) printf("%zu left; what was behind a discarded one can be replayed now\n", sum.left);
    return sum.whole ? 0 : 1;
}

int program_events(const bc_config_t *config, const char *verb, const char *event, const char *all_of) {
    char key[BC_SECRET_MAX + 1];
    bool lists = verb == NULL || strcmp(verb, "list") == 0;
    bool discards = !lists && strcmp(verb, "discard") == 0;
    bool fits = lists      ? event == NULL && all_of == NULL
                : discards ? (event == NULL) != (all_of == NULL)
                           : strcmp(verb, "replay") == 0 && all_of == NULL;
    if (!fits) {
        fprintf(stderr, "usage: bookcart events [list|replay [EVENT]|discard EVENT|discard --all-of TYPE] "
                        "--data DIR|--config FILE\n");
        return 2;
    }
    if (!bc_client_init() || !program_service_key(config, "events", key, sizeof(key))) return 1;
    int code = lists ? list(config, key) : discards ? discard(config, key, event, all_of) : replay(config, key, event);
    bc_secret_wipe(key, sizeof(key));
    return code;
}
