#include "services/library/library_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool make_room(library_text_t *text, size_t more) {
    if (text->failed) return false;
    if (text->used + more + 1 <= text->room) return true;
    size_t room = text->room == 0 ? 256 : text->room;
    while (room < text->used + more + 1) room *= 2;
    char *grown = realloc(text->bytes, room);
    text->failed = grown == NULL;
    if (text->failed) return false;
    text->bytes = grown;
    text->room = room;
    return true;
}

void library_text_put(library_text_t *text, const char *more) {
    size_t length = strlen(more);
    if (!make_room(text, length)) return;
    memcpy(text->bytes + text->used, more, length + 1);
    text->used += length;
}

void library_text_print(library_text_t *text, const char *format, ...) {
    va_list values, again;
    va_start(values, format);
    va_copy(again, values);
    int length = vsnprintf(NULL, 0, format, values);
    va_end(values);
    if (length < 0) text->failed = true;
    if (length >= 0 && make_room(text, (size_t)length)) {
        (void)vsnprintf(text->bytes + text->used, (size_t)length + 1, format, again); /* measured: it fits */
        text->used += (size_t)length;
    }
    va_end(again);
}

void library_text_next(library_text_t *text) {
    if (text->used > 0 && text->bytes[text->used - 1] != '[') library_text_put(text, ",");
}

void library_text_free(library_text_t *text) {
    free(text->bytes);
    *text = (library_text_t){0};
}
