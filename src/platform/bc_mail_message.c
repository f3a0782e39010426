#include "platform/bc_mail_message.h"

#include "platform/bc_mail.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORD_BYTES                                                                                                     \
    39 /* of text in one encoded word: 64 characters with its frame, 73 behind "Subject: " (76 are allowed) */
#define QUOTED_LINE  75 /* characters, and a soft line break behind them */
#define BASE64_BYTES 57 /* a line of 76 characters */

/* --- UTF-8 for people --- */

/* The code point at `text` and its bytes; an invalid one is U+FFFD and one byte (RFC 3629: no overlong forms, no surrogates). */
static uint32_t next_point(const char *text, size_t *bytes) {
    const unsigned char *b = (const unsigned char *)text;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = b[0] < 0x80             ? 1
                    : (b[0] & 0xe0) == 0xc0 ? 2
                    : (b[0] & 0xf0) == 0xe0 ? 3
                    : (b[0] & 0xf8) == 0xf0 ? 4
                                            : 0;
    *bytes = 1;
    if (length == 0) return 0xfffd;
    if (length == 1) return b[0];
    uint32_t point = b[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((b[i] & 0xc0) != 0x80) return 0xfffd; /* the terminating zero stops here too */
        point = point << 6 | (b[i] & 0x3f);
    }
    if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return 0xfffd;
    *bytes = length;
    return point;
}

/* What moves the cursor instead of showing something: C0, DEL, C1, line and paragraph separators, direction controls, BOM. */
static bool is_control(uint32_t point) {
    return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x2028 || point == 0x2029 ||
           (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069) || point == 0x200e ||
           point == 0x200f || point == 0xfeff;
}

void bc_mail_put_plain(FILE *out, const char *text, size_t chars_max) {
    for (size_t shown = 0; *text != '\0'; shown++) {
        size_t bytes = 1;
        uint32_t point = next_point(text, &bytes);
        if (shown == chars_max) {
            (void)fputs("…", out); /* errors stay in `out`, here and below */
            return;
        }
        if (is_control(point)) {
            (void)fputc(' ', out);
        } else if (point == 0xfffd) {
            (void)fputs("\xef\xbf\xbd", out);
        } else {
            (void)fwrite(text, 1, bytes, out);
        }
        text += bytes;
    }
}

/* --- addresses and names --- */

static bool only(const char *text, size_t length, const char *allowed) {
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\0' || strchr(allowed, text[i]) == NULL) return false;
    }
    return length > 0;
}

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

bool bc_mail_address_fits(const char *text) {
    size_t length = strlen(text);
    const char *at = strchr(text, '@');
    if (length > BC_MAIL_ADDRESS_MAX || at == NULL) return false;
    size_t local = (size_t)(at - text), host = length - local - 1;
    if (!only(text, local, ALNUM "!#$%&'*+-/=?^_`{|}~.") || local > 64) return false;
    if (text[0] == '.' || at[-1] == '.' || strstr(text, "..") != NULL) return false;
    if (at[1] == '[') return host > 2 && at[host] == ']' && only(at + 2, host - 2, ALNUM ".:");
    return only(at + 1, host, ALNUM "-.") && at[1] != '.' && at[1] != '-' && at[host] != '-' && at[host] != '.';
}

void bc_mail_name(const char *key, char name[BC_MAIL_NAME_CHARS + 1]) {
    unsigned char digest[crypto_hash_sha256_BYTES];
    (void)crypto_hash_sha256(digest, (const unsigned char *)key, strlen(key));          /* always 0 */
    (void)sodium_bin2hex(name, BC_MAIL_NAME_CHARS + 1, digest, BC_MAIL_NAME_CHARS / 2); /* returns name */
}

/* --- headers --- */

static void put_base64(FILE *out, const char *bytes, size_t length) {
    char text[128];
    assert(sodium_base64_encoded_len(length, sodium_base64_VARIANT_ORIGINAL) <= sizeof(text));
    (void)fputs(
        sodium_bin2base64(text, sizeof(text), (const unsigned char *)bytes, length, sodium_base64_VARIANT_ORIGINAL),
        out);
}

/* Plain text as an unstructured header's value or a display name: as it is when every reader takes it so, else as encoded words
 * of whole characters, one a line. */
static void put_words(FILE *out, const char *text, size_t plain_max) {
    size_t length = strlen(text);
    if (length <= plain_max && only(text, length, ALNUM " -") && text[0] != ' ' && text[length - 1] != ' ') {
        (void)fputs(text, out);
        return;
    }
    bool first = true;
    while (*text != '\0') {
        size_t taken = 0, bytes = 1;
        while (text[taken] != '\0') {
            (void)next_point(text + taken, &bytes);
            if (taken + bytes > WORD_BYTES) break;
            taken += bytes;
        }
        (void)fputs(first ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?", out);
        put_base64(out, text, taken);
        (void)fputs("?=", out);
        text += taken;
        first = false;
    }
}

static char *plain_copy(const char *text, size_t chars_max) {
    char *copy = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&copy, &length);
    if (out == NULL) return NULL;
    bc_mail_put_plain(out, text, chars_max);
    if (fclose(out) == 0) return copy;
    free(copy);
    return NULL;
}

/* RFC 5322 3.3, always UTC and in English, whatever the locale. */
static void put_date(FILE *out, int64_t date_ms) {
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(date_ms / 1000);
    struct tm utc = {.tm_mday = 1, .tm_year = 70, .tm_wday = 4};
    (void)gmtime_r(&seconds, &utc); /* a year that no tm holds: the epoch's first day is as good */
    (void)fprintf(out, "Date: %.3s, %d %.3s %04d %02d:%02d:%02d +0000\r\n", days + (size_t)utc.tm_wday * 3, utc.tm_mday,
                  months + (size_t)utc.tm_mon * 3, utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

/* --- the body: \n in, CR LF out --- */

/* One byte of a line as quoted-printable (RFC 2045 6.7); `last`: nothing follows it on its line. */
static bool needs_quoting(unsigned char c, bool last, bool first) {
    /* A leading dot or "From " would be altered by old transports. */
    return c < 0x20 || c > 0x7e || c == '=' || (c == ' ' && last) || (first && (c == '.' || c == 'F'));
}

static void put_quoted(FILE *out, const char *text, size_t length) {
    size_t column = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n') {
            (void)fputs("\r\n", out);
            column = 0;
            continue;
        }
        bool quoted = needs_quoting(c, i + 1 == length || text[i + 1] == '\n', column == 0);
        size_t width = quoted ? 3 : 1;
        if (column + width > QUOTED_LINE) {
            (void)fputs("=\r\n", out);
            column = 0;
            quoted = needs_quoting(c, i + 1 == length || text[i + 1] == '\n', true);
            width = quoted ? 3 : 1;
        }
        if (quoted) {
            (void)fprintf(out, "=%02X", c);
        } else {
            (void)fputc(c, out);
        }
        column += width;
    }
    if (column > 0) (void)fputs("\r\n", out);
}

/* `text` already has CR LF. */
static void put_base64_lines(FILE *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i += BASE64_BYTES) {
        put_base64(out, text + i, length - i < BASE64_BYTES ? length - i : BASE64_BYTES);
        (void)fputs("\r\n", out);
    }
}

/* A copy with only \n, spaces and what people can read. */
static char *clean_body(const char *text, size_t *length) {
    char *copy = NULL;
    FILE *out = open_memstream(&copy, length);
    if (out == NULL) return NULL;
    while (*text != '\0') {
        size_t line = strcspn(text, "\n");
        char *one = strndup(text, line);
        if (one == NULL) {
            (void)fclose(out); /* nothing of it is used */
            free(copy);
            return NULL;
        }
        bc_mail_put_plain(out, one, SIZE_MAX);
        (void)fputc('\n', out);
        free(one);
        text += line + (text[line] == '\n');
    }
    if (fclose(out) == 0) return copy;
    free(copy);
    return NULL;
}

static bool put_body(FILE *out, const char *text) {
    size_t length = 0, high = 0, lines = 0;
    char *body = clean_body(text, &length);
    if (body == NULL) return false;
    for (size_t i = 0; i < length; i++) {
        high += (unsigned char)body[i] >= 0x80;
        lines += body[i] == '\n';
    }
    bool quoted = length + high * 2 <= (length + lines) * 4 / 3;
    (void)fprintf(out, "Content-Transfer-Encoding: %s\r\n\r\n", quoted ? "quoted-printable" : "base64");
    if (quoted) {
        put_quoted(out, body, length);
        free(body);
        return true;
    }
    char *wired = malloc(length + lines + 1);
    if (wired != NULL) {
        size_t used = 0;
        for (size_t i = 0; i < length; i++) {
            if (body[i] == '\n') wired[used++] = '\r';
            wired[used++] = body[i];
        }
        put_base64_lines(out, wired, used);
    }
    free(wired);
    free(body);
    return wired != NULL;
}

bool bc_mail_compose(const bc_mail_letter_t *letter, char **bytes, size_t *length) {
    char *made = NULL, *subject = NULL, *from = NULL;
    size_t made_length = 0;
    bool good = false;
    assert(bc_mail_address_fits(letter->from_address));
    assert(bc_mail_address_fits(letter->to));
    if (strlen(letter->text) > BC_MAIL_TEXT_MAX) return false;
    FILE *out = open_memstream(&made, &made_length);
    if (out == NULL) return false;
    subject = plain_copy(letter->subject, BC_MAIL_SUBJECT_MAX);
    from = plain_copy(letter->from_name, 100);
    if (subject != NULL && from != NULL) {
        put_date(out, letter->date_ms);
        (void)fputs("From: ", out); /* errors are looked at in fclose, here and below */
        put_words(out, from, 40);
        (void)fprintf(out, "%s<%s>\r\nTo: <%s>\r\nMessage-ID: <%s@%s>\r\nSubject: ", from[0] == '\0' ? "" : "\r\n ",
                      letter->from_address, letter->to, letter->name, letter->host);
        put_words(out, subject, 60);
        /* RFC 3834: no holiday notice answers it. */
        (void)fprintf(out,
                      "\r\nAuto-Submitted: auto-generated\r\nContent-Language: %s\r\nMIME-Version: 1.0\r\n"
                      "Content-Type: text/plain; charset=utf-8\r\n",
                      bc_language_tag(letter->language));
        good = put_body(out, letter->text);
    }
    free(subject);
    free(from);
    if (fclose(out) != 0) good = false;
    if (!good) {
        free(made);
        return false;
    }
    *bytes = made;
    *length = made_length;
    return true;
}
