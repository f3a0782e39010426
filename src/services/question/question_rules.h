/* What a text of a conversation may be: plain text, stored and shown as it was given, nothing in it ever interpreted. Pure. */
#ifndef QUESTION_RULES_H
#define QUESTION_RULES_H

#include <stdbool.h>
#include <stddef.h>

/* Characters are code points; a code point has at most four bytes. */
enum {
    question_subject_chars_max = 200,
    question_text_chars_max = 5000,
    question_faq_question_chars_max = 500,
    question_faq_items_max = 100,
    question_open_max = 20,      /* conversations of one customer that wait for an answer */
    question_messages_max = 100, /* in one conversation; its customer's last place is kept for the shop's answer */
    question_list_limit = 24,
    question_list_limit_max = 100,
};

/* NULL: fine. Else why not, static: empty (blanks only count as nothing), longer than `chars_max`, or with a control character.
 * `lines`: line breaks and tabs are fine. `text` is valid UTF-8. */
const char *question_text_fault(const char *text, size_t chars_max, bool lines);

#endif
