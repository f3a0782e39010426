/*
 * Who waits for what: the worker's parked requests. Transitions are in cart_worker.h; each is one function here.
 *
 * Records come from chunks that never move, so that a callback that parks another request leaves the one at hand where it
 * is. Requests of one worker all have the same time-out: the order of parking is the order of deadlines.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cart/cart_planted.h"
#include "cart/cart_worker_state.h"

_Static_assert(CART_WORKER_PARKED_MAX <= 65536, "an index fits the lower half of a number");
_Static_assert(CART_WORKER_PARKED_MAX % PARKED_CHUNK == 0, "chunks fill the maximum exactly");

static void list_append(parked_list_t *list, parked_t *parked) {
    parked->next = NULL;
    parked->previous = list->last;
    if (list->last != NULL)
        list->last->next = parked;
    else
        list->first = parked;
    list->last = parked;
    list->count++;
}

static void list_remove(parked_list_t *list, parked_t *parked) {
    if (parked->previous != NULL)
        parked->previous->next = parked->next;
    else
        list->first = parked->next;
    if (parked->next != NULL)
        parked->next->previous = parked->previous;
    else
        list->last = parked->previous;
    assert(list->count > 0);
    list->count--;
}

static bool add_chunk(cart_worker_t *worker) {
    if (worker->chunk_count == CART_WORKER_PARKED_MAX / PARKED_CHUNK) return false;
    parked_t **chunks = realloc(worker->chunks, (worker->chunk_count + 1) * sizeof(*chunks));
    if (chunks == NULL) return false;
    worker->chunks = chunks;
    parked_t *chunk = calloc(PARKED_CHUNK, sizeof(*chunk));
    if (chunk == NULL) return false;
    chunks[worker->chunk_count] = chunk;
    for (unsigned i = PARKED_CHUNK; i-- > 0;) {
        chunk[i].index = (uint16_t)(worker->chunk_count * PARKED_CHUNK + i);
        chunk[i].next = worker->free_records;
        worker->free_records = &chunk[i];
    }
    worker->chunk_count++;
    return true;
}

parked_t *parked_new(cart_worker_t *worker, size_t bytes) {
    if (worker->free_records == NULL && !add_chunk(worker)) return NULL;
    parked_t *parked = worker->free_records;
    uint8_t *block = parked->own_bytes;
    if (bytes > sizeof(parked->own_bytes)) {
        block = malloc(bytes);
        if (block == NULL) return NULL;
    }
    worker->free_records = parked->next;
    parked->bytes = block;
    parked->generation = 0;
    parked->number = 0;
    parked->seat = false;
    return parked;
}

void parked_enqueue(cart_worker_t *worker, parked_t *parked) {
    assert(parked->state == PARKED_FREE);
    /* A caller's clock that stepped back by a tick does not break the order. */
    const parked_t *last = worker->waiting.last;
    if (last != NULL && last->deadline_ms > parked->deadline_ms) parked->deadline_ms = last->deadline_ms;
    parked->ticket = ++worker->tickets << 16 | parked->index;
    parked->state = PARKED_QUEUED;
    list_append(&worker->waiting, parked);
    if (worker->first_queued == NULL) worker->first_queued = parked;
}

static parked_t *parked_at(cart_worker_t *worker, unsigned index) {
    if (index >= worker->chunk_count * PARKED_CHUNK) return NULL;
    return &worker->chunks[index / PARKED_CHUNK][index % PARKED_CHUNK];
}

parked_t *parked_by_ticket(cart_worker_t *worker, cart_ticket_t ticket) {
    parked_t *parked = parked_at(worker, (unsigned)(ticket & 0xffff));
    if (parked == NULL || parked->ticket != ticket) return NULL;
    return parked->state == PARKED_QUEUED || parked->state == PARKED_SENT ? parked : NULL;
}

parked_t *parked_by_number(cart_worker_t *worker, uint32_t number) {
    parked_t *parked = parked_at(worker, number & 0xffff);
    if (parked == NULL || parked->number != number || number == 0) return NULL;
    return parked->state == PARKED_SENT || parked->state == PARKED_DEAD ? parked : NULL;
}

void parked_mark_sent(cart_worker_t *worker, parked_t *parked) {
    assert(parked->state == PARKED_QUEUED);
    assert(parked == worker->first_queued);
    if (++parked->uses == 0) parked->uses = 1; /* a number is never 0 */
    parked->number = (uint32_t)parked->uses << 16 | parked->index;
    parked->state = PARKED_SENT;
    worker->first_queued = parked->next;
}

static void take_off(cart_worker_t *worker, parked_t *parked) {
    if (parked == worker->first_queued) worker->first_queued = parked->next;
    list_remove(parked->state == PARKED_DEAD ? &worker->dead : &worker->waiting, parked);
}

static void recycle(cart_worker_t *worker, parked_t *parked) {
    if (parked->bytes != parked->own_bytes) free(parked->bytes);
    parked->bytes = NULL;
    parked->ticket = 0;
    parked->number = 0;
    parked->state = PARKED_FREE;
    parked->next = worker->free_records;
    worker->free_records = parked;
}

void parked_free(cart_worker_t *worker, parked_t *parked) {
    assert(parked->state != PARKED_FREE);
    take_off(worker, parked);
    recycle(worker, parked);
}

void parked_abandon(cart_worker_t *worker, parked_t *parked) {
    assert(parked->state == PARKED_QUEUED || parked->state == PARKED_SENT);
    bool owed = parked->state == PARKED_SENT;
    take_off(worker, parked);
    if (!owed) {
        recycle(worker, parked);
        return;
    }
    parked->ticket = 0;
    parked->state = PARKED_DEAD;
    list_append(&worker->dead, parked);
}

/* The planted bug: a request whose client was told 503 goes out once more. */
static void send_again(cart_worker_t *worker, parked_t *parked) {
    take_off(worker, parked);
    parked->state = PARKED_FREE;
    parked->deadline_ms += worker->config.write_timeout_ms;
    parked_enqueue(worker, parked);
    parked->ticket = 0;
}

void parked_link_lost(cart_worker_t *worker) {
    while (worker->dead.first != NULL) {
        if (CART_PLANTED(late_sent_again))
            send_again(worker, worker->dead.first);
        else
            parked_free(worker, worker->dead.first);
    }
    for (parked_t *parked = worker->waiting.first; parked != NULL; parked = parked->next) {
        parked->state = PARKED_QUEUED;
        parked->number = 0;
        parked->generation = 0;
    }
    worker->first_queued = worker->waiting.first;
}

void parked_destroy(cart_worker_t *worker) {
    while (worker->dead.first != NULL) parked_free(worker, worker->dead.first);
    while (worker->waiting.first != NULL) parked_free(worker, worker->waiting.first);
    for (unsigned i = 0; i < worker->chunk_count; i++) free(worker->chunks[i]);
    free(worker->chunks);
    worker->chunks = NULL;
    worker->chunk_count = 0;
    worker->free_records = NULL;
}

unsigned parked_count(const cart_worker_t *worker) {
    return worker->waiting.count + worker->dead.count;
}

bool parked_check(const cart_worker_t *worker) {
    bool queued = false;
    uint64_t deadline_ms = 0;
    unsigned count = 0;
    for (const parked_t *parked = worker->waiting.first; parked != NULL; parked = parked->next) {
        if (parked == worker->first_queued) queued = true;
        if (parked->state != (queued ? PARKED_QUEUED : PARKED_SENT)) return false;
        if (parked->ticket == 0 && !CART_PLANTED(late_sent_again)) return false;
        if (parked->deadline_ms < deadline_ms) return false;
        deadline_ms = parked->deadline_ms;
        count++;
    }
    return count == worker->waiting.count && queued == (worker->first_queued != NULL);
}
