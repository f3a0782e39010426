/*
 * Pages of another service's log. What is taken has texts of the sizes that our tables hold, times that are read as they are written, and
 * positions that grow; a dead letter made of it is read again as it was.
 */
#include "platform/bc_events_internal.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_event(const json_t *item, uint64_t *after) {
    bc_event_t event, again;
    uint64_t position = 0;
    assert(bc_event_read(item, "payment", &event));
    assert(bc_event_position(json_object_get(item, "position"), &position) && position > *after &&
           position <= INT64_MAX);
    *after = position;
    assert(strlen(event.id) >= 1 && strlen(event.id) <= BC_EVENT_ID_CHARS);
    assert(strlen(event.key) >= 1 && strlen(event.key) <= BC_EVENT_KEY_MAX);
    assert(strlen(event.type) >= 1 && strlen(event.type) <= BC_EVENT_TYPE_MAX);
    assert(strlen(event.topic) >= 1 && strlen(event.topic) <= BC_EVENT_TOPIC_MAX);
    assert(json_is_object(event.data) && event.time_ms >= 0);
    char time[BC_TIME_TEXT_BYTES];
    int64_t read_ms = -1;
    bc_time_format(event.time_ms, time);
    assert(bc_time_parse(time, &read_ms) && read_ms == event.time_ms);
    char *kept = json_dumps(item, JSON_COMPACT);
    json_t *letter = kept == NULL ? NULL : json_loads(kept, 0, NULL);
    if (letter != NULL) assert(bc_event_read(letter, "payment", &again) && strcmp(again.id, event.id) == 0);
    json_decref(letter);
    free(kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *reply = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    json_t *items = NULL;
    const char *generation = bc_event_page(reply, &items);
    if (generation != NULL) {
        assert(strlen(generation) >= 1 && strlen(generation) <= BC_GENERATION_MAX && json_is_array(items));
        if (bc_event_items(items, "payment", 0)) {
            uint64_t after = 0;
            size_t i;
            const json_t *item;
            json_array_foreach(items, i, item) check_event(item, &after);
        }
    }
    json_decref(reply);
    return 0;
}
