#include "engine/journal_map.h"

#include <assert.h>
#include <stdlib.h>

static size_t home_of(const journal_map_t *map, const cart_id_t *user) {
    uint64_t hash;
    memcpy(&hash, user->bytes, sizeof(hash));
    /* Ids of tests and imports need not be random in every byte. */
    uint64_t other;
    memcpy(&other, user->bytes + 8, sizeof(other));
    hash = (hash ^ (other >> 1)) * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(hash >> 20) & (map->capacity - 1);
}

/* The cart's slot, or the free one where it would go. */
static size_t slot_of(const journal_map_t *map, const cart_id_t *user) {
    size_t at = home_of(map, user);
    while (map->slots[at].place.epoch != 0 && !cart_id_equal(&map->slots[at].user, user)) {
        at = (at + 1) & (map->capacity - 1);
    }
    return at;
}

bool journal_map_reserve(journal_map_t *map, size_t more) {
    size_t need = map->count + more;
    if (map->capacity != 0 && need <= map->capacity / 4 * 3) return true;
    size_t capacity = map->capacity == 0 ? 64 : map->capacity;
    while (need > capacity / 4 * 3) {
        if (capacity > SIZE_MAX / 4 / sizeof(journal_slot_t)) return false;
        capacity *= 2;
    }
    journal_map_t larger = {.slots = calloc(capacity, sizeof(journal_slot_t)),
                            .capacity = capacity,
                            .count = map->count,
                            .peak = map->peak};
    if (larger.slots == NULL) return false;
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].place.epoch == 0) continue;
        larger.slots[slot_of(&larger, &map->slots[i].user)] = map->slots[i];
    }
    free(map->slots);
    *map = larger;
    return true;
}

void journal_map_put(journal_map_t *map, const cart_id_t *user, cart_place_t place) {
    assert(place.epoch != 0);
    assert(map->count < map->capacity);
    journal_slot_t *slot = &map->slots[slot_of(map, user)];
    if (slot->place.epoch == 0) {
        slot->user = *user;
        slot->place = place;
        map->count++;
        if (map->count > map->peak) map->peak = map->count;
    } else if (cart_place_compare(place, slot->place) > 0) {
        slot->place = place;
    }
}

bool journal_map_forget(journal_map_t *map, const cart_id_t *user, cart_place_t place) {
    if (map->count == 0) return false;
    size_t hole = slot_of(map, user);
    if (map->slots[hole].place.epoch == 0 || cart_place_compare(map->slots[hole].place, place) > 0) return false;
    /* Whoever probed past the hole on the way from home moves into it. */
    for (size_t at = (hole + 1) & (map->capacity - 1); map->slots[at].place.epoch != 0;
         at = (at + 1) & (map->capacity - 1)) {
        size_t home = home_of(map, &map->slots[at].user);
        size_t way = (at - home) & (map->capacity - 1);
        size_t back = (at - hole) & (map->capacity - 1);
        if (way >= back) {
            map->slots[hole] = map->slots[at];
            hole = at;
        }
    }
    map->slots[hole].place = (cart_place_t){0, 0};
    assert(map->count > 0);
    map->count--;
    return true;
}

void journal_map_deinit(journal_map_t *map) {
    free(map->slots);
    *map = (journal_map_t){0};
}
