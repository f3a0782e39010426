/* A growing text: what SQL parameters and engines' queries are put together in. The first failure sticks. */
#ifndef LIBRARY_TEXT_H
#define LIBRARY_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *bytes; /* owned, zero-terminated; NULL: empty */
    size_t used, room;
    bool failed; /* no memory: the text is not whole */
} library_text_t;

void library_text_put(library_text_t *text, const char *more);
void library_text_print(library_text_t *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A comma, unless the text is empty or ends in an opening bracket: between the items of a JSON array. */
void library_text_next(library_text_t *text);
void library_text_free(library_text_t *text); /* and makes it empty */

#endif
