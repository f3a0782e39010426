#include "services/auth/auth_limits.h"

#include <assert.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t key; /* 0: free */
    int64_t touched_ms;
    int64_t amount;   /* address: requests left × ms of an hour, so that a bucket refills exactly; account: failures */
    int64_t until_ms; /* account: when it may try again */
} slot_t;

struct auth_limits {
    bool enabled;
    pthread_mutex_t lock;
    unsigned char hash_key[crypto_shorthash_KEYBYTES];
    slot_t slots[AUTH_LIMIT_SETS][AUTH_LIMIT_WAYS]; /* under lock */
};

static const struct {
    int64_t burst;    /* requests */
    int64_t per_hour; /* refilled */
} rates[] = {
    [AUTH_LIMIT_GUEST] = {60, 7200}, [AUTH_LIMIT_SIGN_IN] = {20, 1200}, [AUTH_LIMIT_REFRESH] = {60, 7200},
    [AUTH_LIMIT_FORGOT] = {10, 120}, [AUTH_LIMIT_MAIL] = {3, 6},        [AUTH_LIMIT_EXPORT] = {5, 20},
};

#define HOUR_MS (60LL * 60 * 1000)

auth_limits_t *auth_limits_create(bool enabled) {
    auth_limits_t *limits = calloc(1, sizeof(*limits));
    if (limits == NULL) return NULL;
    limits->enabled = enabled;
    (void)pthread_mutex_init(&limits->lock, NULL); /* default attributes: cannot fail */
    crypto_shorthash_keygen(limits->hash_key);
    return limits;
}

void auth_limits_destroy(auth_limits_t *limits) {
    if (limits == NULL) return;
    (void)pthread_mutex_destroy(&limits->lock);
    free(limits);
}

/* The slot of (kind, text), made if need be with `amount`; under lock. */
static slot_t *find_slot(auth_limits_t *limits, int kind, const char *text, int64_t now_ms, int64_t amount) {
    char whole[320];
    uint64_t key = 0;
    int length = snprintf(whole, sizeof(whole), "%d %s", kind, text);
    size_t used = length < 0 || (size_t)length >= sizeof(whole) ? sizeof(whole) - 1 : (size_t)length;
    (void)crypto_shorthash((unsigned char *)&key, (const unsigned char *)whole, used, limits->hash_key); /* always 0 */
    if (key == 0) key = 1;
    slot_t *set = limits->slots[key % AUTH_LIMIT_SETS], *oldest = set;
    for (int i = 0; i < AUTH_LIMIT_WAYS; i++) {
        if (set[i].key == key) return &set[i];
        if (set[i].touched_ms < oldest->touched_ms) oldest = &set[i];
    }
    *oldest = (slot_t){.key = key, .touched_ms = now_ms, .amount = amount};
    return oldest;
}

int64_t auth_limit_take(auth_limits_t *limits, auth_limit_t limit, const char *address, int64_t now_ms) {
    if (!limits->enabled) return 0;
    int64_t full = rates[limit].burst * HOUR_MS, per_hour = rates[limit].per_hour, wait = 0;
    (void)pthread_mutex_lock(&limits->lock); /* a default mutex: fails only on our own misuse */
    slot_t *slot = find_slot(limits, limit, address, now_ms, full);
    int64_t passed = now_ms > slot->touched_ms ? now_ms - slot->touched_ms : 0;
    slot->amount += (passed > 24 * HOUR_MS ? 24 * HOUR_MS : passed) * per_hour;
    if (slot->amount > full) slot->amount = full;
    slot->touched_ms = now_ms;
    if (slot->amount >= HOUR_MS) {
        slot->amount -= HOUR_MS;
    } else {
        wait = (HOUR_MS - slot->amount) / per_hour + 1;
    }
    (void)pthread_mutex_unlock(&limits->lock);
    return wait;
}

#define ACCOUNT 100 /* no auth_limit_t */

int64_t auth_account_wait(auth_limits_t *limits, const char *email, int64_t now_ms) {
    if (!limits->enabled) return 0;
    (void)pthread_mutex_lock(&limits->lock);
    slot_t *slot = find_slot(limits, ACCOUNT, email, now_ms, 0);
    int64_t wait = slot->until_ms > now_ms ? slot->until_ms - now_ms : 0;
    (void)pthread_mutex_unlock(&limits->lock);
    return wait;
}

void auth_account_failed(auth_limits_t *limits, const char *email, int64_t now_ms) {
    (void)pthread_mutex_lock(&limits->lock);
    slot_t *slot = find_slot(limits, ACCOUNT, email, now_ms, 0);
    if (now_ms - slot->touched_ms > AUTH_FAILURE_MEMORY_MS) slot->amount = 0;
    slot->touched_ms = now_ms;
    slot->amount++;
    if (slot->amount > AUTH_FAILURES_FREE) {
        int64_t over = slot->amount - AUTH_FAILURES_FREE - 1;
        int64_t delay = over > 5 ? AUTH_DELAY_MAX_MS : 1000LL << over;
        slot->until_ms = now_ms + (delay > AUTH_DELAY_MAX_MS ? AUTH_DELAY_MAX_MS : delay);
    }
    (void)pthread_mutex_unlock(&limits->lock);
}

void auth_account_succeeded(auth_limits_t *limits, const char *email) {
    (void)pthread_mutex_lock(&limits->lock);
    slot_t *slot = find_slot(limits, ACCOUNT, email, 0, 0);
    slot->amount = 0;
    slot->until_ms = 0;
    (void)pthread_mutex_unlock(&limits->lock);
}
