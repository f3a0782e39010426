#include "services/library/library_shelf.h"

#include "platform/bc_log.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Names of one kind. Numbers are places in `list`; the table finds them by their key, at most half full. */
typedef struct {
    char *key;   /* owned */
    char *shown; /* owned */
} name_t;

typedef struct {
    name_t *list; /* owned; list[0] stays empty */
    uint32_t count, room;
    uint32_t *table; /* owned; 0 = free */
    uint32_t table_size;
} names_t;

struct library_shelf {
    pthread_mutex_t lock;
    int price_digits;
    uint64_t position; /* of the last row read; under lock, as all below */
    library_volume_t *volumes;
    size_t count, room;
    uint32_t *places; /* owned: by id, place in volumes + 1; 0 = free; at most half full */
    size_t places_size;
    names_t names[LIBRARY_NAMES_COUNT];
    bool failed; /* no memory while reading */
};

/* --- names --- */

static uint32_t hash_text(const char *text) {
    uint32_t hash = 2166136261u;
    for (; *text != '\0'; text++) hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash;
}

static uint32_t *name_slot(const names_t *names, const char *key) {
    uint32_t at = hash_text(key) & (names->table_size - 1);
    while (names->table[at] != 0 && strcmp(names->list[names->table[at]].key, key) != 0)
        at = (at + 1) & (names->table_size - 1);
    return &names->table[at];
}

static bool names_grow(names_t *names) {
    uint32_t room = names->room == 0 ? 64 : names->room * 2;
    name_t *list = realloc(names->list, room * sizeof(*list));
    if (list == NULL) return false;
    if (names->room == 0) {
        list[0] = (name_t){NULL, NULL};
        names->count = 1;
    }
    names->list = list;
    uint32_t *table = calloc(room * 2, sizeof(*table));
    if (table == NULL) return false; /* `room` stays: tried again with the next name */
    free(names->table);
    names->room = room;
    names->table = table;
    names->table_size = room * 2;
    for (uint32_t i = 1; i < names->count; i++) *name_slot(names, list[i].key) = i;
    return true;
}

/* 0 without memory. */
static uint32_t name_number(names_t *names, const char *shown) {
    char key[LIBRARY_FOLD_BYTES_MAX];
    library_fold(shown, key, sizeof(key));
    if (names->room > 0) {
        uint32_t known = *name_slot(names, key);
        if (known != 0) return known;
    }
    if (names->count == names->room && !names_grow(names)) return 0;
    name_t made = {strdup(key), strdup(shown)};
    if (made.key == NULL || made.shown == NULL) {
        free(made.key);
        free(made.shown);
        return 0;
    }
    names->list[names->count] = made;
    *name_slot(names, key) = names->count;
    return names->count++;
}

static void names_free(names_t *names) {
    for (uint32_t i = 1; i < names->count; i++) {
        free(names->list[i].key);
        free(names->list[i].shown);
    }
    free(names->list);
    free(names->table);
}

uint32_t library_shelf_names(const library_shelf_t *shelf, library_names_t kind) {
    return shelf->names[kind].count;
}

const char *library_shelf_name(const library_shelf_t *shelf, library_names_t kind, uint32_t number) {
    assert(number > 0 && number < shelf->names[kind].count);
    return shelf->names[kind].list[number].shown;
}

uint32_t library_shelf_number(const library_shelf_t *shelf, library_names_t kind, const char *key) {
    return shelf->names[kind].room == 0 ? 0 : *name_slot(&shelf->names[kind], key);
}

/* --- volumes --- */

static size_t id_slot(const library_shelf_t *shelf, int64_t id) {
    size_t at = (size_t)((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (shelf->places_size - 1);
    while (shelf->places[at] != 0 && shelf->volumes[shelf->places[at] - 1].id != id)
        at = (at + 1) & (shelf->places_size - 1);
    return at;
}

static bool volumes_grow(library_shelf_t *shelf) {
    size_t room = shelf->room == 0 ? 1024 : shelf->room * 2;
    library_volume_t *volumes = realloc(shelf->volumes, room * sizeof(*volumes));
    if (volumes == NULL) return false;
    shelf->volumes = volumes;
    uint32_t *places = calloc(room * 2, sizeof(*places));
    if (places == NULL) return false; /* `room` stays: tried again with the next book */
    free(shelf->places);
    shelf->places = places;
    shelf->places_size = room * 2;
    shelf->room = room;
    for (size_t i = 0; i < shelf->count; i++) shelf->places[id_slot(shelf, volumes[i].id)] = (uint32_t)i + 1;
    return true;
}

const library_volume_t *library_shelf_find(const library_shelf_t *shelf, int64_t id) {
    if (shelf->room == 0) return NULL;
    uint32_t place = shelf->places[id_slot(shelf, id)];
    return place == 0 ? NULL : &shelf->volumes[place - 1];
}

size_t library_shelf_size(const library_shelf_t *shelf) {
    return shelf->count;
}

const library_volume_t *library_shelf_at(const library_shelf_t *shelf, size_t index) {
    assert(index < shelf->count);
    return &shelf->volumes[index];
}

int library_shelf_price_digits(const library_shelf_t *shelf) {
    return shelf->price_digits;
}

/* The last one takes its place, and what was behind it in the table of ids moves up. */
static void remove_volume(library_shelf_t *shelf, int64_t id) {
    if (library_shelf_find(shelf, id) == NULL) return;
    size_t mask = shelf->places_size - 1, hole = id_slot(shelf, id);
    size_t place = shelf->places[hole] - 1;
    shelf->places[hole] = 0;
    for (size_t at = (hole + 1) & mask; shelf->places[at] != 0; at = (at + 1) & mask) {
        uint32_t moved = shelf->places[at];
        shelf->places[at] = 0;
        shelf->places[id_slot(shelf, shelf->volumes[moved - 1].id)] = moved;
    }
    free(shelf->volumes[place].names);
    if (place + 1 < shelf->count) {
        size_t slot = id_slot(shelf, shelf->volumes[shelf->count - 1].id);
        shelf->volumes[place] = shelf->volumes[shelf->count - 1];
        shelf->places[slot] = (uint32_t)place + 1;
    }
    shelf->count--;
}

/* Stored by us: a JSON array of strings. */
static bool number_names(names_t *names, const json_t *array, uint32_t *numbers) {
    for (size_t i = 0; i < json_array_size(array); i++) {
        numbers[i] = name_number(names, json_string_value(json_array_get(array, i)));
        if (numbers[i] == 0) return false;
    }
    return true;
}

static bool read_volume(library_shelf_t *shelf, const library_row_t *row, library_volume_t *volume) {
    *volume = (library_volume_t){.id = row->id,
                                 .price_minor = row->price_minor,
                                 .stock = row->stock,
                                 .ratings_count = row->ratings_count,
                                 .year_key = row->year_key};
    library_facets_place(volume, shelf->price_digits);
    json_t *authors = json_loads(row->authors, 0, NULL), *genres = json_loads(row->genres, 0, NULL);
    bool good = authors != NULL && genres != NULL;
    if (good) {
        volume->author_count = (uint32_t)json_array_size(authors);
        volume->genre_count = (uint32_t)json_array_size(genres);
        size_t count = volume->author_count + volume->genre_count;
        if (count > 0) volume->names = calloc(count, sizeof(*volume->names));
        good = count == 0 || volume->names != NULL;
    }
    good = good && (volume->author_count + volume->genre_count == 0 ||
                    (number_names(&shelf->names[LIBRARY_AUTHORS], authors, volume->names) &&
                     number_names(&shelf->names[LIBRARY_GENRES], genres, volume->names + volume->author_count)));
    if (good && row->language != NULL) {
        volume->language = name_number(&shelf->names[LIBRARY_LANGUAGES], row->language);
        good = volume->language != 0;
    }
    json_decref(authors);
    json_decref(genres);
    if (!good) free(volume->names);
    return good;
}

static bool take_row(void *context, const library_row_t *row) {
    library_shelf_t *shelf = context;
    assert(row->position > shelf->position);
    if (row->gone) {
        remove_volume(shelf, row->id);
    } else {
        library_volume_t volume;
        shelf->failed = (shelf->count == shelf->room && !volumes_grow(shelf)) || !read_volume(shelf, row, &volume);
        if (shelf->failed) return false;
        uint32_t *place = &shelf->places[id_slot(shelf, row->id)];
        if (*place == 0) {
            *place = (uint32_t)++shelf->count;
        } else {
            free(shelf->volumes[*place - 1].names);
        }
        shelf->volumes[*place - 1] = volume;
    }
    shelf->position = row->position;
    return true;
}

/* --- life --- */

bool library_shelf_enter(library_shelf_t *shelf, bc_db_t *db) {
    (void)pthread_mutex_lock(&shelf->lock); /* a default mutex: fails only on our own misuse */
    shelf->failed = false;
    library_result_t result = library_store_feed_inside(db, shelf->position, library_shelf_step_max, take_row, shelf);
    if (result == LIBRARY_OK && !shelf->failed) return true;
    if (shelf->failed) bc_log(BC_LOG_ERROR, "no-memory", bc_f_text("at", "shelf"));
    (void)pthread_mutex_unlock(&shelf->lock);
    return false;
}

void library_shelf_leave(library_shelf_t *shelf) {
    (void)pthread_mutex_unlock(&shelf->lock);
}

library_shelf_t *library_shelf_create(library_store_t *store, int price_digits) {
    library_shelf_t *shelf = calloc(1, sizeof(*shelf));
    if (shelf == NULL) return NULL;
    (void)pthread_mutex_init(&shelf->lock, NULL); /* a default mutex: cannot fail */
    shelf->price_digits = price_digits;
    uint64_t before;
    bool good = false;
    bc_db_t *db = bc_db_enter_read(library_store_db(store));
    do {
        before = shelf->position;
        good = library_shelf_enter(shelf, db);
        if (good) library_shelf_leave(shelf);
    } while (good && shelf->position != before);
    bc_db_leave(db);
    if (good) return shelf;
    library_shelf_destroy(shelf);
    return NULL;
}

void library_shelf_destroy(library_shelf_t *shelf) {
    if (shelf == NULL) return;
    for (size_t i = 0; i < shelf->count; i++) free(shelf->volumes[i].names);
    for (int kind = 0; kind < LIBRARY_NAMES_COUNT; kind++) names_free(&shelf->names[kind]);
    free(shelf->volumes);
    free(shelf->places);
    (void)pthread_mutex_destroy(&shelf->lock);
    free(shelf);
}
