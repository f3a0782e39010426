/* Events as they travel: CloudEvents 1.0 in structured JSON mode (https://github.com/cloudevents/spec), one extension: `topic`. */
#include "platform/bc_events_internal.h"
#include "platform/bc_time.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *bc_event_json(const char *service, const char *id, const char *topic, const char *type, const char *key,
                      int64_t created_ms, const char *data) {
    char time[BC_TIME_TEXT_BYTES], source[BC_EVENT_SOURCE_MAX + 2];
    json_t *facts = json_loads(data, JSON_REJECT_DUPLICATES, NULL);
    if (facts == NULL) return NULL;
    bc_time_format(created_ms, time);
    (void)snprintf(source, sizeof(source), "/%s", service); /* a service's name is short */
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "specversion", "1.0", "id", id, "source", source,
                     "type", type, "subject", key, "time", time, "datacontenttype", "application/json", "topic", topic,
                     "data", facts);
}

/* A text of 1…max bytes; NULL: it is none. */
static const char *text_of(const json_t *object, const char *name, size_t max) {
    const json_t *value = json_object_get(object, name);
    size_t length = json_string_length(value);
    return length > 0 && length <= max ? json_string_value(value) : NULL;
}

bool bc_event_read(const json_t *object, const char *source, bc_event_t *event) {
    const char *version = text_of(object, "specversion", 8), *from = text_of(object, "source", BC_EVENT_SOURCE_MAX + 1);
    const char *time = text_of(object, "time", BC_TIME_TEXT_BYTES);
    bc_event_t read = {
        .id = text_of(object, "id", BC_EVENT_ID_CHARS),
        .source = source,
        .topic = text_of(object, "topic", BC_EVENT_TOPIC_MAX),
        .type = text_of(object, "type", BC_EVENT_TYPE_MAX),
        .key = text_of(object, "subject", BC_EVENT_KEY_MAX),
        .data = json_object_get(object, "data"),
    };
    if (version == NULL || strcmp(version, "1.0") != 0 || from == NULL || from[0] != '/' ||
        strcmp(from + 1, source) != 0 || time == NULL || !bc_time_parse(time, &read.time_ms) || read.id == NULL ||
        read.topic == NULL || read.type == NULL || read.key == NULL || !json_is_object(read.data))
        return false;
    *event = read;
    return true;
}

bool bc_event_position(const json_t *text, uint64_t *position) {
    const char *digits = json_string_value(text);
    size_t length = digits == NULL ? 0 : strlen(digits);
    if (length == 0 || length > 19 || length != json_string_length(text) || strspn(digits, "0123456789") != length)
        return false;
    errno = 0;
    unsigned long long value = strtoull(digits, NULL, 10);
    if (errno != 0 || value > INT64_MAX) return false;
    *position = value;
    return true;
}

const char *bc_event_page(const json_t *reply, json_t **items) {
    json_t *found = json_object_get(reply, "items");
    const char *generation = text_of(reply, "generation", BC_GENERATION_MAX);
    if (generation == NULL || !json_is_array(found)) return NULL;
    *items = found;
    return generation;
}

bool bc_event_items(const json_t *items, const char *source, uint64_t after) {
    size_t i;
    const json_t *item;
    json_array_foreach(items, i, item) {
        bc_event_t event;
        uint64_t position;
        if (!bc_event_read(item, source, &event) || !bc_event_position(json_object_get(item, "position"), &position) ||
            position <= after)
            return false;
        after = position;
    }
    return true;
}
