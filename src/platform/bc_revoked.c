/*
 * Follows auth's feed of revocations and answers for the claims of verified tokens.
 *
 * One thread asks; handlers look up under the mutex. Invariants:
 * 1. The table in use is a complete list: a full one is built beside it and takes its place in one step (rule 9).
 * 2. heard_ms is when the table in use was last known to be complete: the pages of a list still under way do not move it.
 * 3. A table that lacks an entry (the limit, no memory) is never vouched for: the whole list is asked for again until it fits,
 *    and auth leaves out what has expired.
 * A session known to have ended is refused also when nobody vouches for the list: revocations are not taken back.
 */
#include "platform/bc_revoked.h"

#include "platform/bc_client.h"
#include "platform/bc_log.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE         1000
#define WAIT_S       1 /* of one long poll: the thread is ended by its answer at the latest */
#define CALL_MS      ((WAIT_S + 4) * 1000)
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 1000
#define BUCKETS      4096 /* ids are random: a slice of them spreads */
#define WORD_MAX     128  /* of a generation */

typedef struct entry {
    struct entry *next;
    cart_id_t id;
    int64_t issued_before_s; /* of a user; a session is dead whenever issued */
    int64_t expires_s;
    bool is_session;
} entry_t;

typedef struct {
    entry_t *buckets[BUCKETS]; /* owned */
    size_t count;
    bool full; /* an entry is missing */
} table_t;

struct bc_revoked {
    bc_client_t *client; /* of the thread */
    pthread_t thread;
    int64_t feed_max_ms;
    size_t entries_max;
    volatile bool stopping;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    /* under mutex */
    table_t *table; /* owned; NULL: no complete list yet */
    int64_t heard_ms;
    /* of the thread */
    table_t *building; /* owned; a full list under way */
    char generation[WORD_MAX];
    uint64_t position;
};

static size_t bucket_of(const cart_id_t *id) {
    return (id->bytes[0] | (size_t)id->bytes[1] << 8) % BUCKETS;
}

static void table_destroy(table_t *table) {
    if (table == NULL) return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (table->buckets[i] != NULL) {
            entry_t *entry = table->buckets[i];
            table->buckets[i] = entry->next;
            free(entry);
        }
    }
    free(table);
}

/* Takes what has expired out of the bucket on the way. */
static void table_put(table_t *table, const entry_t *add, int64_t now_s, size_t entries_max) {
    entry_t **link = &table->buckets[bucket_of(&add->id)];
    while (*link != NULL) {
        entry_t *entry = *link;
        if (entry->is_session == add->is_session && cart_id_equal(&entry->id, &add->id)) {
            if (entry->issued_before_s < add->issued_before_s) entry->issued_before_s = add->issued_before_s;
            if (entry->expires_s < add->expires_s) entry->expires_s = add->expires_s;
            return;
        }
        if (entry->expires_s < now_s) {
            *link = entry->next;
            free(entry);
            table->count--;
            continue;
        }
        link = &entry->next;
    }
    entry_t *entry = table->count < entries_max ? malloc(sizeof(*entry)) : NULL;
    if (entry == NULL) {
        if (!table->full) bc_log(BC_LOG_ALERT, "revocations-full", bc_f_int("entries", (int64_t)table->count));
        table->full = true; /* what is not known cannot be vouched for */
        return;
    }
    *entry = *add;
    entry->next = NULL;
    *link = entry;
    table->count++;
}

static bool table_has(const table_t *table, const cart_id_t *id, bool is_session, int64_t issued_s) {
    for (const entry_t *entry = table->buckets[bucket_of(id)]; entry != NULL; entry = entry->next) {
        if (entry->is_session != is_session || !cart_id_equal(&entry->id, id)) continue;
        return is_session || issued_s < entry->issued_before_s;
    }
    return false;
}

/* ---- the feed ---------------------------------------------------------------------------------------------------- */

static bool read_number(const json_t *value, uint64_t *number) {
    const char *text = json_string_value(value);
    if (text == NULL || text[0] < '0' || text[0] > '9') return false;
    char *end = NULL;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (*end != '\0' || errno != 0) return false;
    *number = parsed;
    return true;
}

static bool read_entry(const json_t *json, entry_t *entry) {
    const char *kind = json_string_value(json_object_get(json, "kind"));
    const char *id = json_string_value(json_object_get(json, "id"));
    if (kind == NULL || id == NULL) return false;
    *entry = (entry_t){.is_session = strcmp(kind, "session") == 0,
                       .issued_before_s = json_integer_value(json_object_get(json, "issued_before")),
                       .expires_s = json_integer_value(json_object_get(json, "expires"))};
    if (!entry->is_session && (strcmp(kind, "user") != 0 || entry->issued_before_s <= 0)) return false;
    if (entry->expires_s <= 0) return false;
    return cart_id_parse(entry->is_session ? BC_PREFIX_SESSION : BC_PREFIX_USER, id, strlen(id), &entry->id);
}

/* Takes a new generation: its whole list is to be heard. false: no memory. */
static bool begin_list(bc_revoked_t *revoked, const char *generation) {
    table_destroy(revoked->building);
    revoked->building = calloc(1, sizeof(*revoked->building));
    revoked->position = 0;
    (void)snprintf(revoked->generation, WORD_MAX, "%s", revoked->building == NULL ? "" : generation); /* measured */
    return revoked->building != NULL;
}

/* false: it does not fit, and the whole list must be heard again. */
static bool take_items(bc_revoked_t *revoked, const json_t *items, uint64_t position, bool more) {
    table_t *old = NULL;
    int64_t now_s = bc_time_s();
    (void)pthread_mutex_lock(&revoked->mutex);
    table_t *table = revoked->building != NULL ? revoked->building : revoked->table;
    assert(table != NULL);
    for (size_t i = 0; i < json_array_size(items); i++) {
        entry_t entry;
        if (read_entry(json_array_get(items, i), &entry)) table_put(table, &entry, now_s, revoked->entries_max);
    }
    bool fits = !table->full;
    revoked->position = position;
    if (fits && !more) {
        if (revoked->building != NULL) {
            old = revoked->table;
            revoked->table = revoked->building;
            revoked->building = NULL;
        }
        revoked->heard_ms = bc_monotonic_ms();
    }
    (void)pthread_mutex_unlock(&revoked->mutex);
    table_destroy(old);
    if (!fits) {
        table_destroy(revoked->building);
        revoked->building = NULL;
        revoked->generation[0] = '\0';
        revoked->position = 0;
    }
    return fits;
}

typedef enum { PAGE_TAKEN, PAGE_MALFORMED, PAGE_REFUSED /* none came, or it cannot be kept now */ } page_result_t;

/* One page is taken in whole or not at all. */
static page_result_t take_page(bc_revoked_t *revoked, const json_t *reply) {
    const char *generation = json_string_value(json_object_get(reply, "generation"));
    const json_t *items = json_object_get(reply, "items");
    bool more = json_is_true(json_object_get(reply, "more"));
    uint64_t position = 0;
    if (generation == NULL || generation[0] == '\0' || strlen(generation) >= WORD_MAX || !json_is_array(items) ||
        !read_number(json_object_get(reply, "position"), &position)) {
        return PAGE_MALFORMED;
    }
    if (strcmp(generation, revoked->generation) != 0) {
        /* Another store, or auth has started anew: its whole list replaces ours in one step, when it is complete. */
        bool asked_from_the_start = revoked->position == 0;
        if (!begin_list(revoked, generation)) return PAGE_REFUSED;
        if (!asked_from_the_start) return PAGE_TAKEN;
    }
    if (position < revoked->position || (more && position == revoked->position)) return PAGE_MALFORMED;
    for (size_t i = 0; i < json_array_size(items); i++) {
        entry_t entry;
        if (!read_entry(json_array_get(items, i), &entry)) return PAGE_MALFORMED;
    }
    return take_items(revoked, items, position, more) ? PAGE_TAKEN : PAGE_REFUSED;
}

static bool ask(bc_revoked_t *revoked) {
    char path[128];
    (void)snprintf(path, sizeof(path), "/internal/feed/revocations?after=%" PRIu64 "&limit=%d&wait=%d",
                   revoked->position, PAGE, revoked->building == NULL ? WAIT_S : 0); /* fits: words and three numbers */
    int status = 0;
    json_t *reply = NULL;
    if (!bc_client_call(revoked->client, "GET", path, NULL, CALL_MS, &revoked->stopping, &status, &reply)) return false;
    page_result_t result = status == 200 ? take_page(revoked, reply) : PAGE_REFUSED;
    if (result == PAGE_MALFORMED) bc_log(BC_LOG_ALERT, "feed-malformed", bc_f_text("feed", "revocations"));
    json_decref(reply);
    return result == PAGE_TAKEN;
}

static void *follow(void *context) {
    bc_revoked_t *revoked = context;
    int64_t delay_ms = RETRY_MIN_MS;
    bool away = false;
    while (!revoked->stopping) {
        bool heard = ask(revoked);
        if (heard == away && !revoked->stopping) {
            bc_log(heard ? BC_LOG_INFO : BC_LOG_WARN, heard ? "feed-heard" : "feed-away",
                   bc_f_text("feed", "revocations"));
            away = !heard;
        }
        if (heard) {
            delay_ms = RETRY_MIN_MS;
            continue;
        }
        struct timespec until = bc_monotonic_deadline(delay_ms);
        (void)pthread_mutex_lock(&revoked->mutex);
        while (!revoked->stopping && pthread_cond_timedwait(&revoked->ended, &revoked->mutex, &until) == 0) continue;
        (void)pthread_mutex_unlock(&revoked->mutex);
        delay_ms = delay_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : delay_ms * 2;
    }
    return NULL;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

bc_revoked_t *bc_revoked_create(const bc_config_t *config, const char *service_key) {
    return bc_revoked_create_bounded(config, service_key, BC_REVOKED_MAX);
}

bc_revoked_t *bc_revoked_create_bounded(const bc_config_t *config, const char *service_key, size_t entries_max) {
    bc_revoked_t *revoked = calloc(1, sizeof(*revoked));
    if (revoked == NULL) return NULL;
    revoked->entries_max = entries_max;
    revoked->feed_max_ms = bc_config_number(config, BC_CART_FEED_MAX);
    revoked->client = bc_client_create(bc_config_text(config, BC_AUTH_INTERNAL), service_key);
    revoked->building = calloc(1, sizeof(*revoked->building));
    (void)pthread_mutex_init(&revoked->mutex, NULL); /* cannot fail on Linux without attributes */
    bc_cond_init(&revoked->ended);
    if (revoked->client == NULL || revoked->building == NULL ||
        pthread_create(&revoked->thread, NULL, follow, revoked) != 0) {
        bc_log(BC_LOG_ERROR, "revocations-not-followed");
        bc_client_destroy(revoked->client);
        table_destroy(revoked->building);
        free(revoked);
        return NULL;
    }
    return revoked;
}

void bc_revoked_stop(bc_revoked_t *revoked) {
    if (revoked == NULL) return;
    (void)pthread_mutex_lock(&revoked->mutex);
    revoked->stopping = true;
    (void)pthread_cond_broadcast(&revoked->ended);
    (void)pthread_mutex_unlock(&revoked->mutex);
}

void bc_revoked_destroy(bc_revoked_t *revoked) {
    if (revoked == NULL) return;
    bc_revoked_stop(revoked);
    (void)pthread_join(revoked->thread, NULL); /* joined once, here */
    bc_client_destroy(revoked->client);
    table_destroy(revoked->table);
    table_destroy(revoked->building);
    (void)pthread_cond_destroy(&revoked->ended);
    (void)pthread_mutex_destroy(&revoked->mutex);
    free(revoked);
}

/* Under mutex. */
static bool is_vouched(const bc_revoked_t *revoked) {
    return revoked->table != NULL && !revoked->table->full &&
           bc_monotonic_ms() - revoked->heard_ms <= revoked->feed_max_ms;
}

bool bc_revoked_is_vouched(bc_revoked_t *revoked) {
    (void)pthread_mutex_lock(&revoked->mutex);
    bool vouched = is_vouched(revoked);
    (void)pthread_mutex_unlock(&revoked->mutex);
    return vouched;
}

bc_standing_t bc_revoked_standing(bc_revoked_t *revoked, const bc_claims_t *claims) {
    (void)pthread_mutex_lock(&revoked->mutex);
    const table_t *table = revoked->table;
    bool dead = table != NULL && (table_has(table, &claims->session, true, claims->issued_s) ||
                                  table_has(table, &claims->user, false, claims->issued_s));
    bool vouched = is_vouched(revoked);
    (void)pthread_mutex_unlock(&revoked->mutex);
    return dead ? BC_STANDING_REVOKED : vouched ? BC_STANDING_GOOD : BC_STANDING_UNKNOWN;
}
