#include "services/question/question_rules.h"

/* U+0080…U+009F, which UTF-8 writes as C2 80…C2 9F: terminals obey them as they obey those below U+0020. */
static bool is_c1(const unsigned char *at) {
    return at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f;
}

const char *question_text_fault(const char *text, size_t chars_max, bool lines) {
    size_t chars = 0;
    bool something = false;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        bool line = *at == '\n' || *at == '\r' || *at == '\t';
        if ((*at < 0x20 && !(line && lines)) || *at == 0x7f || is_c1(at)) return "holds a control character";
        if ((*at & 0xc0) != 0x80) chars++; /* every byte but those that continue a character */
        if (!line && *at != ' ') something = true;
    }
    if (chars > chars_max) return "is too long";
    return something ? NULL : "is empty";
}
