/*
 * Counting a list: how many books fit, and how they spread over genres, authors, languages, years, prices and availability. One pass
 * over the shelf or over what was found; the counters are as many as there are names, the answer is bounded by the library_facet_*_max.
 *
 * A facet counts the books of this very list (its own filter included), so a client narrows a list by adding a value.
 */
#include "services/library/library_shelf.h"

#include "services/library/library_sql.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    price_steps = 7,
    /* Ranges of years: centuries up to 1800, then decades. */
    decades_from = 1800,
    centuries = (decades_from - (library_year_least - 1)) / 100 + 1,
    year_ranges = centuries + (library_year_most - decades_from) / 10 + 1,
    availabilities = 3,
};

/* In major units; the last step has no end. */
static const int price_ends[price_steps] = {5, 10, 15, 20, 30, 50, 0};

typedef struct {
    uint32_t *names[LIBRARY_NAMES_COUNT]; /* owned */
    uint32_t years[year_ranges + 1];      /* the last: not known, and not shown */
    uint32_t prices[price_steps];
    uint32_t availability[availabilities];
    int64_t price_unit; /* minor units in a major one */
    uint64_t total;
} counts_t;

/* --- which fit --- */

typedef struct {
    const library_query_t *query;
    uint32_t author, genre, language;
    bool none; /* asks for a name that no book has */
} filter_t;

static void filter_name(const library_shelf_t *shelf, library_names_t kind, const char *key, uint32_t *number,
                        bool *none) {
    if (key == NULL) return;
    *number = library_shelf_number(shelf, kind, key);
    if (*number == 0) *none = true;
}

static filter_t filter_of(const library_shelf_t *shelf, const library_query_t *query) {
    filter_t filter = {.query = query};
    filter_name(shelf, LIBRARY_AUTHORS, query->author_key, &filter.author, &filter.none);
    filter_name(shelf, LIBRARY_GENRES, query->genre_key, &filter.genre, &filter.none);
    filter_name(shelf, LIBRARY_LANGUAGES, query->language, &filter.language, &filter.none);
    return filter;
}

static bool has_number(const uint32_t *numbers, size_t count, uint32_t number) {
    for (size_t i = 0; i < count; i++) {
        if (numbers[i] == number) return true;
    }
    return false;
}

static int compare_ids(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* As FILTERS in library_sql.c, which chooses the rows that are shown. */
static bool fits(const filter_t *filter, const library_volume_t *volume) {
    const library_query_t *query = filter->query;
    if (filter->none) return false;
    if (filter->language != 0 && volume->language != filter->language) return false;
    if (query->has_year_from && volume->year_key < query->year_from) return false;
    if (query->has_year_to && (volume->year_key > query->year_to || volume->year_key == LIBRARY_YEAR_UNKNOWN))
        return false;
    if (query->has_price_max && volume->price_minor > query->price_max) return false;
    if (query->has_available && (volume->stock > 0) != query->available) return false;
    if (filter->author != 0 && !has_number(volume->names, volume->author_count, filter->author)) return false;
    if (filter->genre != 0 && !has_number(volume->names + volume->author_count, volume->genre_count, filter->genre))
        return false;
    return query->id_count == 0 ||
           bsearch(&volume->id, query->id_list, query->id_count, sizeof(int64_t), compare_ids) != NULL;
}

/* No filter at all: everything fits. */
static bool fits_all(const filter_t *filter) {
    const library_query_t *query = filter->query;
    return !filter->none && filter->language == 0 && filter->author == 0 && filter->genre == 0 &&
           query->id_count == 0 && !query->has_year_from && !query->has_year_to && !query->has_price_max &&
           !query->has_available;
}

/* --- counting --- */

static size_t year_range(int64_t year) {
    if (year >= decades_from) return (size_t)centuries + (size_t)(year - decades_from) / 10;
    return (size_t)(year - (decades_from - 100 * (int64_t)centuries)) / 100;
}

static int64_t range_begin(size_t range) {
    if (range >= centuries) return decades_from + 10 * (int64_t)(range - centuries);
    return decades_from - 100 * (int64_t)(centuries - range);
}

static int64_t price_unit(int price_digits) {
    int64_t unit = 1;
    for (int i = 0; i < price_digits; i++) unit *= 10;
    return unit;
}

/* Once for a volume, so that a pass over all of them only adds. */
void library_facets_place(library_volume_t *volume, int price_digits) {
    _Static_assert(year_ranges <= UINT16_MAX, "a range's number fits");
    int64_t unit = price_unit(price_digits);
    uint8_t step = 0;
    while (step + 1 < price_steps && volume->price_minor >= price_ends[step] * unit) step++;
    volume->price_step = step;
    volume->year_range =
        volume->year_key != LIBRARY_YEAR_UNKNOWN ? (uint16_t)year_range(volume->year_key) : year_ranges;
    volume->availability = volume->stock > library_low_stock ? 0 : volume->stock > 0 ? 1 : 2;
}

static void count_volume(counts_t *counts, const library_volume_t *volume) {
    counts->total++;
    for (uint32_t i = 0; i < volume->author_count; i++) counts->names[LIBRARY_AUTHORS][volume->names[i]]++;
    for (uint32_t i = 0; i < volume->genre_count; i++)
        counts->names[LIBRARY_GENRES][volume->names[volume->author_count + i]]++;
    counts->names[LIBRARY_LANGUAGES][volume->language]++; /* 0: not known, and not shown */
    counts->years[volume->year_range]++;
    counts->prices[volume->price_step]++;
    counts->availability[volume->availability]++;
}

/* --- the answer --- */

typedef struct {
    uint32_t number, count;
} top_t;

static json_t *names_json(const library_shelf_t *shelf, const counts_t *counts, library_names_t kind) {
    top_t top[library_facet_names_max];
    size_t used = 0;
    for (uint32_t number = 1; number < library_shelf_names(shelf, kind); number++) {
        uint32_t count = counts->names[kind][number];
        if (count == 0 || (used == library_facet_names_max && count <= top[used - 1].count)) continue;
        size_t at = used < library_facet_names_max ? used++ : used - 1;
        for (; at > 0 && top[at - 1].count < count; at--) top[at] = top[at - 1];
        top[at] = (top_t){.number = number, .count = count};
    }
    json_t *array = json_array();
    for (size_t i = 0; i < used && array != NULL; i++) {
        json_t *item = json_pack("{s:s, s:I}", "value", library_shelf_name(shelf, kind, top[i].number), "count",
                                 (json_int_t)top[i].count);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static bool put_range(json_t *array, int64_t from, int64_t to, bool open, uint32_t count) {
    json_t *item = json_pack("{s:I, s:o, s:I}", "from", (json_int_t)from, "to", open ? json_null() : json_integer(to),
                             "count", (json_int_t)count);
    return json_array_append_new(array, item) == 0;
}

static json_t *years_json(const counts_t *counts) {
    json_t *array = json_array();
    bool good = array != NULL;
    size_t first = year_ranges, shown = 0;
    while (first > 0 && shown < library_facet_years_max) shown += counts->years[--first] > 0;
    for (size_t i = first; i < year_ranges && good; i++) {
        if (counts->years[i] > 0)
            good = put_range(array, range_begin(i), range_begin(i) + (i < centuries ? 99 : 9), false, counts->years[i]);
    }
    if (good) return array;
    json_decref(array);
    return NULL;
}

static json_t *prices_json(const counts_t *counts) {
    json_t *array = json_array();
    bool good = array != NULL;
    for (size_t i = 0; i < price_steps && good; i++) {
        int64_t from = i == 0 ? 0 : price_ends[i - 1] * counts->price_unit;
        if (counts->prices[i] > 0)
            good =
                put_range(array, from, price_ends[i] * counts->price_unit - 1, i + 1 == price_steps, counts->prices[i]);
    }
    if (good) return array;
    json_decref(array);
    return NULL;
}

static json_t *availability_json(const counts_t *counts) {
    static const int64_t stocks[availabilities] = {library_low_stock + 1, 1, 0};
    json_t *array = json_array();
    for (size_t i = 0; i < availabilities && array != NULL; i++) {
        if (counts->availability[i] == 0) continue;
        json_t *item = json_pack("{s:s, s:I}", "value", library_availability(stocks[i]), "count",
                                 (json_int_t)counts->availability[i]);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *facets_json(const library_shelf_t *shelf, const counts_t *counts) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "genre", names_json(shelf, counts, LIBRARY_GENRES), "author",
                     names_json(shelf, counts, LIBRARY_AUTHORS), "language",
                     names_json(shelf, counts, LIBRARY_LANGUAGES), "year", years_json(counts), "price",
                     prices_json(counts), "availability", availability_json(counts));
}

/* --- one pass --- */

static bool counts_init(const library_shelf_t *shelf, counts_t *counts) {
    memset(counts, 0, sizeof(*counts));
    counts->price_unit = price_unit(library_shelf_price_digits(shelf));
    bool good = true;
    for (int kind = 0; kind < LIBRARY_NAMES_COUNT; kind++) {
        counts->names[kind] = calloc(library_shelf_names(shelf, (library_names_t)kind) + 1u, sizeof(uint32_t));
        good = good && counts->names[kind] != NULL;
    }
    return good;
}

static void pick_found(const library_shelf_t *shelf, const filter_t *filter, const library_found_t *found,
                       counts_t *counts, library_picks_t *picks) {
    for (size_t i = 0; i < found->count; i++) {
        const library_volume_t *volume = library_shelf_find(shelf, found->hits[i].book);
        if (volume == NULL || !fits(filter, volume)) continue;
        count_volume(counts, volume);
        picks->list[picks->count++] =
            (library_pick_t){.id = volume->id, .ratings_count = volume->ratings_count, .score = found->hits[i].score};
    }
}

/* Of a list without `q`. Named ids are looked up; everything else is a pass over all volumes. */
static void count_all(const library_shelf_t *shelf, const filter_t *filter, counts_t *counts) {
    const library_query_t *query = filter->query;
    bool all = fits_all(filter);
    if (query->id_count > 0) {
        for (size_t i = 0; i < query->id_count; i++) {
            const library_volume_t *volume = library_shelf_find(shelf, query->id_list[i]);
            if (volume != NULL && fits(filter, volume)) count_volume(counts, volume);
        }
        return;
    }
    for (size_t i = 0; i < library_shelf_size(shelf); i++) {
        const library_volume_t *volume = library_shelf_at(shelf, i);
        if (all || fits(filter, volume)) count_volume(counts, volume);
    }
}

bool library_shelf_pick(library_shelf_t *shelf, const library_query_t *query, const library_found_t *found,
                        library_picks_t *picks) {
    filter_t filter = filter_of(shelf, query);
    counts_t *counts = malloc(sizeof(*counts));
    memset(picks, 0, sizeof(*picks));
    bool good = counts != NULL && counts_init(shelf, counts);
    if (good && found != NULL) {
        picks->list = malloc((found->count + 1) * sizeof(*picks->list));
        good = picks->list != NULL;
        if (good) pick_found(shelf, &filter, found, counts, picks);
    } else if (good) {
        count_all(shelf, &filter, counts);
    }
    if (good) {
        picks->total = counts->total;
        picks->facets = facets_json(shelf, counts);
        good = picks->facets != NULL;
    }
    for (int kind = 0; kind < LIBRARY_NAMES_COUNT && counts != NULL; kind++) free(counts->names[kind]);
    free(counts);
    return good;
}

void library_picks_free(library_picks_t *picks) {
    free(picks->list);
    json_decref(picks->facets);
    memset(picks, 0, sizeof(*picks));
}
